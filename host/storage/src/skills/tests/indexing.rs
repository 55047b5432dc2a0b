//! What indexers contribute, what their failure costs, and what is asked again.

use super::super::index::quantise;
use super::super::*;
use super::{OP, new};
use crate::error::{Error, Kind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Knows that a dip is a retracement.
#[derive(Debug, Default)]
struct Thesaurus {
    revision: String,
    calls: AtomicUsize,
    fails: AtomicBool,
    dimensions: usize,
}

impl Thesaurus {
    fn new(revision: &str, dimensions: usize) -> Arc<Self> {
        Arc::new(Self { revision: revision.into(), dimensions, ..Self::default() })
    }

    fn concepts(&self, text: &str) -> (Vec<String>, Vec<f32>) {
        let is = |words: &[&str]| words.iter().any(|w| text.contains(w));
        let mut vector = vec![0.0; self.dimensions];
        let mut terms = Vec::new();
        if is(&["dip", "retracement"]) {
            terms.push("pullback".to_string());
            vector[0] = 1.0;
        }
        if is(&["spread", "pairs"]) {
            terms.push("relative".to_string());
            vector[1] = 1.0;
        }
        (terms, vector)
    }
}

impl SkillIndexer for Thesaurus {
    fn name(&self) -> &str {
        "thesaurus"
    }
    fn revision(&self) -> &str {
        &self.revision
    }
    fn index(&self, skill: &SkillVersion) -> Result<IndexEntry> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Plugin, "no words today"));
        }
        let (terms, vector) = self.concepts(&skill.description);
        Ok(IndexEntry { tags: terms.clone(), terms, vector })
    }
    fn expand(&self, question: &str) -> Result<Expansion> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Plugin, "no words today"));
        }
        let (terms, vector) = self.concepts(question);
        Ok(Expansion { terms, vector })
    }
}

fn store() -> (tempfile::TempDir, Skills) {
    let (dir, _, skills) = super::skills();
    (dir, skills)
}

fn names(skills: &Skills, question: &str) -> Vec<String> {
    let query = SkillQuery { text: question.into(), ..SkillQuery::default() };
    skills.search(&OP, &query).unwrap().hits.into_iter().map(|h| h.name).collect()
}

fn described(skills: &Skills, name: &str, description: &str) -> SkillVersion {
    skills.put(&OP, NewVersion { description: description.into(), ..new(name, "x") }).unwrap()
}

#[test]
fn an_indexer_finds_what_shares_no_word() {
    let (_dir, skills) = store();
    skills.set_indexers(vec![Thesaurus::new("1", 2)]);
    described(&skills, "ema", "enters after a retracement");
    described(&skills, "ratio", "trades the spread of two stocks");
    let query = SkillQuery { text: "buy dips".into(), ..SkillQuery::default() };
    let hits = skills.search(&OP, &query).unwrap().hits;
    assert_eq!(hits.len(), 1);
    let parts = hits[0].parts;
    assert_eq!(hits[0].name, "ema");
    assert!(parts.term > 0.0 && parts.vector > 0.5 && parts.text == 0.0, "{parts:?}");
    assert!((hits[0].score - parts.term - parts.vector - parts.tag).abs() < 1e-12);
    skills.set_indexers(Vec::new());
    assert!(names(&skills, "buy dips").is_empty());
}

#[test]
fn the_entry_follows_the_current_version() {
    let (_dir, skills) = store();
    skills.set_indexers(vec![Thesaurus::new("1", 2)]);
    described(&skills, "s", "a retracement");
    assert_eq!(names(&skills, "dips"), ["s"]);
    let next = NewVersion { description: "pairs".into(), code: "other".into(), ..new("s", "x") };
    skills.put(&OP, next).unwrap();
    assert!(names(&skills, "dips").is_empty());
    assert_eq!(names(&skills, "spreads"), ["s"]);
    skills.rollback(&OP, "s", &Version::new(0, 1, 0)).unwrap();
    assert_eq!(names(&skills, "dips"), ["s"]);
    assert!(names(&skills, "spreads").is_empty());
}

#[test]
fn a_failing_indexer_keeps_nothing_from_being_stored_and_is_asked_again() {
    let (_dir, skills) = store();
    let indexer = Thesaurus::new("1", 2);
    skills.set_indexers(vec![indexer.clone()]);
    indexer.fails.store(true, Ordering::Relaxed);
    described(&skills, "s", "a retracement");
    assert_eq!(names(&skills, "retracement"), ["s"], "plain full text");
    assert_eq!(skills.unindexed().unwrap(), [("thesaurus".to_string(), 1)]);
    indexer.fails.store(false, Ordering::Relaxed);
    assert!(names(&skills, "dip").is_empty());
    let done = skills.reindex(&OP, false, &mut |_| true).unwrap();
    assert_eq!(done, Reindexed { indexed: 1, failed: 0 });
    assert_eq!(names(&skills, "dip"), ["s"]);
    assert_eq!(skills.reindex(&OP, false, &mut |_| true).unwrap(), Reindexed::default(), "nothing waits");
    assert_eq!(skills.unindexed().unwrap(), [("thesaurus".to_string(), 0)]);
}

#[test]
fn an_indexer_that_comes_later_or_changes_sees_every_skill() {
    let (_dir, skills) = store();
    for i in 0..150 {
        described(&skills, &format!("s{i}"), "a retracement");
    }
    skills.set_indexers(vec![Thesaurus::new("1", 2)]);
    let mut seen = Vec::new();
    assert_eq!(
        skills
            .reindex(&OP, false, &mut |n| {
                seen.push(n);
                true
            })
            .unwrap()
            .indexed,
        150
    );
    assert_eq!(seen, [64, 128, 150]);
    // Another revision may have other dimensions.
    skills.set_indexers(vec![Thesaurus::new("2", 3)]);
    assert_eq!(skills.reindex(&OP, false, &mut |_| true).unwrap().indexed, 150);
    assert_eq!(skills.reindex(&OP, true, &mut |_| true).unwrap().indexed, 150);
    assert_eq!(names(&skills, "dip").len(), 10);
}

#[test]
fn a_pass_stops_when_the_indexer_only_fails() {
    let (_dir, skills) = store();
    for i in 0..30 {
        described(&skills, &format!("s{i}"), "a retracement");
    }
    let indexer = Thesaurus::new("1", 2);
    indexer.fails.store(true, Ordering::Relaxed);
    skills.set_indexers(vec![indexer.clone()]);
    let e = skills.reindex(&OP, false, &mut |_| true).unwrap_err();
    assert!(e.message().contains("10 times in a row") && e.message().contains("no words today"), "{e}");
    assert_eq!(indexer.calls.load(Ordering::Relaxed), 10);
    // Found by plain words all the same.
    assert_eq!(names(&skills, "retracement").len(), 10);
}

#[derive(Debug)]
struct Says(IndexEntry);

impl SkillIndexer for Says {
    fn name(&self) -> &str {
        "says"
    }
    fn revision(&self) -> &str {
        "1"
    }
    fn index(&self, _: &SkillVersion) -> Result<IndexEntry> {
        Ok(self.0.clone())
    }
    fn expand(&self, _: &str) -> Result<Expansion> {
        Ok(Expansion { terms: vec!["x".into(); EXPANSION_TERMS_MAX + 1], vector: Vec::new() })
    }
}

#[test]
fn what_an_indexer_says_has_bounds() {
    let texts = |n: usize, bytes: usize| (0..n).map(|i| format!("{i:0bytes$}")).collect::<Vec<_>>();
    let with = |terms: usize, bytes: usize, tags: usize, dimensions: usize| IndexEntry {
        terms: texts(terms, bytes),
        tags: texts(tags, 4),
        vector: vec![0.5; dimensions],
    };
    for (entry, fits) in [
        (with(TERMS_MAX, TERM_BYTES_MAX, INDEX_TAGS_MAX, DIMENSIONS_MAX), true),
        (with(TERMS_MAX + 1, 4, 0, 0), false),
        (with(1, TERM_BYTES_MAX + 1, 0, 0), false),
        (with(0, 4, INDEX_TAGS_MAX + 1, 0), false),
        (with(0, 4, 0, DIMENSIONS_MAX + 1), false),
        (IndexEntry { vector: vec![f32::NAN], ..IndexEntry::default() }, false),
    ] {
        let (_dir, skills) = store();
        skills.set_indexers(vec![Arc::new(Says(entry))]);
        described(&skills, "s", "word");
        assert_eq!(skills.unindexed().unwrap()[0].1 == 0, fits);
        assert_eq!(names(&skills, "word"), ["s"], "an expansion beyond its bound changes nothing");
    }
}

#[test]
fn a_revision_has_one_number_of_dimensions() {
    let (_dir, skills) = store();
    for (name, n) in [("a", 3), ("b", 4), ("c", 0), ("d", 3)] {
        let entry = IndexEntry { terms: vec!["t".into()], vector: vec![1.0; n], ..IndexEntry::default() };
        skills.set_indexers(vec![Arc::new(Says(entry))]);
        described(&skills, name, "word");
    }
    assert_eq!(skills.unindexed().unwrap()[0].1, 1, "b is refused");
}

#[test]
fn a_vector_keeps_its_direction() {
    assert_eq!(quantise(&[0.0, 0.5, -1.0]).unwrap(), [0, 64, -127]);
    assert_eq!(quantise(&[f32::MIN_POSITIVE, f32::MIN_POSITIVE]).unwrap(), [127, 127]);
    assert_eq!(quantise(&[f32::MAX, -f32::MAX]).unwrap(), [127, -127]);
    assert!(quantise(&[0.0; 7]).unwrap().is_empty() && quantise(&[]).unwrap().is_empty());
    assert!(quantise(&[1.0, f32::INFINITY]).is_err());
}
