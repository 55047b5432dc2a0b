//! Skill indexers: whatever one says, the skill is stored, plain words find it, and the other indexer's words do.

use super::super::guest::Wat;
use super::{Beast, End, OP, SOON, indexer, manifest, words};
use crate::compile::{Compiler, folder};
use crate::component::load;
use crate::engine::Engines;
use crate::indexer::GuestIndexer;
use crate::run::blocking;
use shiphold_storage::DataLayer;
use shiphold_storage::Kind;
use shiphold_storage::skills::{NewVersion, SkillIndexer, SkillQuery};
use std::sync::Arc;

/// The term `gibberish`, at 128 as a list of one.
const TERM: [u32; 2] = [128, 1];
/// No expansion.
const NONE: &str = "(i32.const 16)";

/// An index entry at 160: terms, tags, vector.
fn entry(terms: [u32; 2], tags: [u32; 2], vector: [u32; 2], data: &str) -> Wat {
    let mut wat = indexer("(i32.const 160)", NONE);
    wat.fields = format!(
        "{} (data (i32.const 128) {}) (data (i32.const 160) {}) {data}",
        wat.fields,
        words(&[64, 9]),
        words(&[0, terms[0], terms[1], tags[0], tags[1], vector[0], vector[1]]),
    );
    wat
}

/// A list of `count` times the text at 64, of `len` bytes, at 65536.
fn many(count: u32, len: u32, vector: [u32; 2]) -> Wat {
    let mut wat = entry([65_536, count], [0, 0], vector, "");
    let body = format!(
        "(local $i i32) (loop $l (i32.store (i32.add (i32.const 65536) (local.get $i)) (i32.const 64))
            (i32.store (i32.add (i32.const 65540) (local.get $i)) (i32.const {len}))
            (local.set $i (i32.add (local.get $i) (i32.const 8)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const {}))))  (i32.const 160)",
        8 * count
    );
    wat.functions = indexer(&body, NONE).functions;
    // Its own words stand where the skill would be put.
    wat.realloc = "(i32.const 5200000)".into();
    wat
}

fn floats(bits: &[u32]) -> String {
    format!("(data (i32.const 1024) {})", words(bits))
}

/// Those whose call fails; `Harmless` is one whose entry the host refuses or takes, without a failed call.
pub(super) fn beasts() -> Vec<Beast> {
    let trapped = || End::Fails(Kind::Plugin, &["trapped"]);
    let soon = |name, wat: &Wat| {
        Beast::of(name, wat, End::Fails(Kind::Timeout, &["limits.deadline = 100 ms"])).with(SOON)
    };
    let said = |name, wat: &Wat| Beast::of(name, wat, End::Harmless);
    let fails = |name, wat: &Wat, kind, words| Beast::of(name, wat, End::Fails(kind, words));
    let endless = "(loop $l (br $l)) unreachable";
    let one = [1024, 1];
    vec![
        soon("indexes-for-ever", &indexer(endless, NONE)),
        fails("traps-when-it-indexes", &indexer("unreachable", NONE), Kind::Plugin, &["unreachable"]),
        soon(
            "takes-the-skill-for-ever",
            &indexer("unreachable", NONE).realloc("(loop $l (br $l)) unreachable"),
        ),
        fails(
            "takes-the-skill-nowhere",
            &indexer("unreachable", NONE).realloc("(i32.const -1)"),
            Kind::Plugin,
            &["realloc return"],
        ),
        said("takes-the-skill-at-zero", &entry(TERM, [0, 0], [0, 0], "").realloc("(i32.const 4096)")),
        Beast::of("gives-two-gib-of-terms", &entry([65_536, 1 << 31], [0, 0], [0, 0], ""), trapped()),
        Beast::of(
            "gives-unaligned-terms",
            &entry([129, 1], [0, 0], [0, 0], ""),
            End::Fails(Kind::Plugin, &["align"]),
        ),
        Beast::of("gives-two-gib-of-dimensions", &entry(TERM, [0, 0], [1024, 1 << 31], ""), trapped()),
        Beast::of(
            "gives-terms-that-are-not-utf-8",
            &entry(
                [2048, 1],
                [0, 0],
                [0, 0],
                &format!("(data (i32.const 2048) {}) (data (i32.const 2064) \"\\ff\")", words(&[2064, 1])),
            ),
            trapped(),
        ),
        fails("gives-a-million-terms", &many(500_000, 9, [0, 0]), Kind::Limit, &["limits.reply"]),
        said("gives-a-term-too-many", &many(257, 9, [0, 0])),
        said("gives-empty-terms", &many(256, 0, [0, 0])),
        said("gives-a-long-term", &many(1, 129, [0, 0])),
        said("gives-a-nul", &many(1, 11, [0, 0])),
        said("gives-one-term-often", &many(256, 9, [0, 0])),
        said("points-to-nan", &entry(TERM, [0, 0], one, &floats(&[0x7fc0_0000]))),
        said("points-to-infinity", &entry(TERM, [0, 0], one, &floats(&[0x7f80_0000]))),
        said("points-to-minus-zero", &entry(TERM, [0, 0], one, &floats(&[0x8000_0000]))),
        said("gives-the-smallest-number", &entry(TERM, [0, 0], one, &floats(&[1]))),
        said(
            "gives-the-largest-numbers",
            &entry(TERM, [0, 0], [1024, 2], &floats(&[0x7f7f_ffff, 0xff7f_ffff])),
        ),
        said("gives-257-dimensions", &entry(TERM, [0, 0], [1024, 257], "")),
        said("gives-ten-thousand-dimensions", &entry(TERM, [0, 0], [1024, 10_000], "")),
        said("gives-a-tag-too-many", &entry(TERM, [262_144, 65], [0, 0], "")),
        said("gives-other-dimensions-each-time", &entry(TERM, [0, 0], one, &floats(&[0x3f80_0000; 8]))),
        soon("expands-for-ever", &indexer("(i32.const 160)", endless)),
        fails(
            "traps-when-it-expands",
            &indexer("(i32.const 160)", "unreachable"),
            Kind::Plugin,
            &["unreachable"],
        ),
        said(
            "expands-to-nan",
            &indexer(
                "(i32.const 160)",
                "(i32.store (i32.const 216) (i32.const 1)) (i32.store (i32.const 212) (i32.const 1024)) (i32.store (i32.const 1024) (i32.const 0x7fc00000)) (i32.const 200)",
            ),
        ),
    ]
}

fn skill(name: &str) -> NewVersion {
    NewVersion {
        name: name.into(),
        language: "python".into(),
        code: "pass".into(),
        description: "breakout of the morning range".into(),
        ..NewVersion::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_indexer_says_costs_nothing_but_its_own_words() {
    let mut all = beasts();
    all.push(Beast::of("good", &entry(TERM, [0, 0], [0, 0], ""), End::Harmless));
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest(dir.path(), &all);
    let layer = DataLayer::open(&manifest).unwrap();
    let engines = Engines::new(&manifest.limits.plugins);
    let cache = folder(&manifest.host.data);
    let mut indexers = Vec::new();
    for beast in &all {
        let loaded = load(&engines, &manifest.plugins[beast.name], &cache, &Compiler::InProcess).await;
        let loaded = Arc::new(loaded.unwrap_or_else(|e| panic!("{}: {e:?}", beast.name)));
        indexers.push(Arc::new(GuestIndexer::new(loaded, &layer, true, Arc::default())));
    }
    let good = indexers.pop().unwrap();
    all.pop();
    for (i, (beast, one)) in all.iter().zip(indexers).enumerate() {
        let (at, good, name) = (layer.clone(), good.clone(), format!("skill-{i}"));
        let (stored, found, plain) = blocking(move || {
            at.skills().set_indexers(vec![one as Arc<dyn SkillIndexer>, good]);
            let stored = at.skills().put(&OP, skill(&name))?;
            let ask = |text: &str| {
                at.skills()
                    .search(&OP, &SkillQuery { text: text.into(), limit: 100, ..SkillQuery::default() })
            };
            let mut names = Vec::new();
            for text in ["gibberish", "breakout"] {
                names.push(ask(text)?.hits.into_iter().map(|h| h.name).collect::<Vec<_>>());
            }
            Ok((stored, names.remove(0), names.remove(0)))
        })
        .await
        .unwrap_or_else(|e| panic!("{}: {e:?}", beast.name));
        assert_eq!(stored.name, format!("skill-{i}"));
        for names in [found, plain] {
            assert!(names.contains(&stored.name) && names.len() == i + 1, "{}: {names:?}", beast.name);
        }
        let runs = layer.plugins().list(&OP, beast.name, 10).unwrap();
        match (&beast.end, runs.into_iter().find_map(|r| r.error)) {
            (End::Fails(_, words), Some(error)) => {
                assert!(words.iter().all(|w| error.contains(w)), "{}: {error}", beast.name);
                assert!(error.contains(beast.name), "{error}");
            }
            (End::Harmless, None) => {}
            (end, run) => panic!("{}: {end:?}, {run:?}", beast.name),
        }
        assert!(layer.plugins().list(&OP, "good", 1).unwrap().is_empty(), "after {}", beast.name);
    }
}
