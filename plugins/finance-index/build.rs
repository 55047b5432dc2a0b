//! Writes the vocabulary down as tables that lie ready in the component: a call begins with a fresh instance, and reading some
//! thousand phrases would take longer than answering.

#[allow(dead_code)] // What the index needs of them is not all that this needs.
#[path = "src/phrase.rs"]
mod phrase;
#[path = "src/read.rs"]
mod read;
#[allow(dead_code)]
#[path = "src/words.rs"]
mod words;

use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let written = read::read(&read::THEMES, read::HINTS)?;
    let mut out = String::from("static CONCEPTS: &[Concept] = &[\n");
    for read::Concept { id, words, hints, related } in &written.concepts {
        let words: Vec<(&str, &str)> = words.iter().map(|w| (w.written.as_str(), w.stem.as_str())).collect();
        let hints: Vec<(&str, &str)> = hints.iter().map(|w| (w.written.as_str(), w.stem.as_str())).collect();
        let related: Vec<(usize, f32)> = related.iter().map(|(other, weight)| (*other, *weight)).collect();
        writeln!(
            out,
            "    Concept {{ id: {id:?}, words: &{words:?}, hints: &{hints:?}, related: &{related:?} }},"
        )?;
    }
    out += "];\nstatic PHRASES: &[(&str, Option<usize>)] = &[\n";
    for (phrase, concept) in &written.phrases {
        writeln!(out, "    ({phrase:?}, {concept:?}),")?;
    }
    out += "];\nstatic HINTS: &[(&str, &[usize])] = &[\n";
    for (hint, concepts) in &written.hints {
        writeln!(out, "    ({hint:?}, &{:?}),", concepts.iter().collect::<Vec<_>>())?;
    }
    out += "];\n";
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("vocabulary.rs"), out)?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=vocabulary");
    Ok(())
}
