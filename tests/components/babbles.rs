//! A skill indexer that is wrong in the way that the skill's description, or the question, asks for.

wit_bindgen::generate!({ world: "skill-indexer-plugin", path: "../../wit" });

use exports::shiphold::host::skill_indexer::{Expansion, Guest, IndexEntry, Skill};
use shiphold::host::log;
use shiphold::host::types::Error;

struct Babbles;

impl Guest for Babbles {
    fn index(skill: Skill) -> Result<IndexEntry, Error> {
        let (terms, vector) = said(&skill.description)?;
        Ok(IndexEntry { terms, tags: Vec::new(), vector })
    }

    fn expand(question: String) -> Result<Expansion, Error> {
        let (terms, vector) = said(&question)?;
        Ok(Expansion { terms, vector })
    }
}

fn said(text: &str) -> Result<(Vec<String>, Vec<f32>), Error> {
    let has = |word: &str| text.contains(word);
    if has("loopforever") {
        let mut n = 0_u64;
        loop {
            n = std::hint::black_box(n.wrapping_add(1));
        }
    }
    if has("trapnow") {
        panic!("on purpose");
    }
    if has("eatmemory") {
        let mut hoard = Vec::new();
        loop {
            hoard.push(vec![1_u8; 1 << 20]);
            std::hint::black_box(&hoard);
        }
    }
    if has("recurse") {
        std::hint::black_box(deep(u64::MAX));
    }
    if has("floodlog") {
        for i in 0..100_000 {
            log::write(log::Level::Info, &format!("line {i}"));
        }
    }
    if has("toomanyterms") {
        return Ok((vec!["t".into(); 100_000], Vec::new()));
    }
    if has("hugeterm") {
        return Ok((vec!["t".repeat(100_000)], Vec::new()));
    }
    if has("manydimensions") {
        return Ok((Vec::new(), vec![1.0; 100_000]));
    }
    if has("notanumber") {
        return Ok((Vec::new(), vec![f32::NAN; 4]));
    }
    if has("refuseit") {
        return Err(Error::Unavailable("it does not want to".into()));
    }
    // What it says when it is good: `babble` is found by `gibberish`.
    Ok(if has("babble") || has("gibberish") {
        (vec!["nonsense".into()], vec![1.0, 0.0, 0.0, 0.0])
    } else {
        (Vec::new(), Vec::new())
    })
}

fn deep(n: u64) -> u64 {
    std::hint::black_box([n; 64]);
    if n == 0 { 0 } else { deep(n - 1) + 1 }
}

export!(Babbles);
