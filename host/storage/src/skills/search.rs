//! Discovery: full text with stemming and prefixes, trigrams for misspelt words, what indexers say, tags and proven
//! performance, in one ranked answer with its parts.
//!
//! `score = text + typo + term + vector + tag + performance`, each part between 0 and its weight:
//! text: bm25 of the stemmed words (name ×4, tags ×2), as `b / (b + 1)` so that it saturates;
//! typo: share of the question's trigrams found, only for words that the full text does not know;
//! term: bm25 of the question's words and of what the indexers widened it by, over the terms that they gave the skills;
//! vector: the cosine between question and skill in an indexer's space;
//! tag: share of the question's words that are tags; performance: the latest record's Sharpe ratio, squashed and
//! discounted by its sample count. Equal scores are ordered by name.

use super::index::{self, Expansion, SkillIndexer};
use super::store::{Skills, may_read, parse, parse_version};
use crate::caller::Caller;
use crate::error::{Error, Result};
use rusqlite::Connection;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes of a question.
pub const QUESTION_BYTES_MAX: usize = 4 << 10;
/// Words of a question that are looked at.
pub const WORDS_MAX: usize = 32;
/// Words that an indexer widens a question by.
const WIDENED_WORDS_MAX: usize = 128;
/// Hits of one answer.
pub const HITS_MAX: u64 = 1_000;
/// Candidates that each index contributes; the ranking of more would cost more than it gains.
const CANDIDATES: usize = 200;

const WEIGHT_TYPO: f64 = 0.6;
const WEIGHT_TERM: f64 = 0.8;
const WEIGHT_VECTOR: f64 = 0.6;
const WEIGHT_TAG: f64 = 0.3;
const WEIGHT_PERFORMANCE: f64 = 0.15;

/// A question.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SkillQuery {
    /// In plain words. Operators are words too.
    pub text: String,
    /// Tags that a skill must have, all of them.
    pub tags: Vec<String>,
    pub language: Option<String>,
    /// Default 10.
    pub limit: u64,
}

/// Where a score comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ScoreParts {
    pub text: f64,
    pub typo: f64,
    pub term: f64,
    pub vector: f64,
    pub tag: f64,
    pub performance: f64,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkillHit {
    pub name: String,
    pub version: Version,
    pub language: String,
    pub description: String,
    pub tags: Vec<String>,
    pub score: f64,
    pub parts: ScoreParts,
}

impl Skills {
    /// The skills that answer a question best.
    pub fn search(&self, caller: &Caller, query: &SkillQuery) -> Result<Vec<SkillHit>> {
        may_read(caller)?;
        if query.text.len() > QUESTION_BYTES_MAX {
            return Err(Error::limit(
                "the question",
                format!("{QUESTION_BYTES_MAX} bytes"),
                "ask in fewer words",
            ));
        }
        let limit = if query.limit == 0 { 10 } else { query.limit };
        if limit > HITS_MAX {
            return Err(Error::limit(format!("an answer of {limit} hits"), HITS_MAX, "ask for fewer"));
        }
        let words = words(&query.text);
        if words.is_empty() {
            return Err(Error::invalid("the question has no words")
                .hint("ask with letters or digits, such as `buy the dip`"));
        }
        let indexers = self.indexers();
        let widened = widen(&indexers, &query.text);
        self.db.read(|c| {
            let mut found: BTreeMap<i64, ScoreParts> = BTreeMap::new();
            for (id, text) in full_text(c, &words)? {
                found.entry(id).or_default().text = text;
            }
            let unknown: Vec<&String> = words
                .iter()
                .filter(|w| w.chars().count() >= 3)
                .map(|w| known(c, w).map(|k| (w, k)))
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .filter(|(_, known)| !known)
                .map(|(w, _)| w)
                .collect();
            for word in &unknown {
                for (id, share) in similar(c, word)? {
                    found.entry(id).or_default().typo += WEIGHT_TYPO * share / unknown.len() as f64;
                }
            }
            for w in &widened {
                for (id, term) in terms(c, &words, w)? {
                    let parts = found.entry(id).or_default();
                    parts.term = parts.term.max(WEIGHT_TERM * term);
                }
                let (plugin, revision) = (w.indexer.name(), w.indexer.revision());
                for (id, cosine) in self.vectors.nearest(c, plugin, revision, &w.direction, CANDIDATES)? {
                    let parts = found.entry(id).or_default();
                    parts.vector = parts.vector.max(WEIGHT_VECTOR * cosine);
                }
            }
            let mut hits = Vec::with_capacity(found.len());
            for (id, parts) in found {
                if let Some(hit) = hit(c, id, parts, &words, query, &indexers)? {
                    hits.push(hit);
                }
            }
            hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.name.cmp(&b.name)));
            hits.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(hits)
        })
    }
}

/// What one indexer makes of a question.
struct Widened<'a> {
    indexer: &'a dyn SkillIndexer,
    words: Vec<String>,
    direction: Vec<i8>,
}

/// Asks every indexer. One that fails leaves the question as it is: an answer without it is better than none.
fn widen<'a>(indexers: &'a [Arc<dyn SkillIndexer>], question: &str) -> Vec<Widened<'a>> {
    let ask = |indexer: &'a Arc<dyn SkillIndexer>| {
        let said: Result<(Expansion, Vec<i8>)> =
            indexer.expand(question).and_then(|e| e.checked().map(|direction| (e, direction)));
        match said {
            Ok((e, direction)) => Some(Widened {
                indexer: indexer.as_ref(),
                words: words_up_to(&e.terms.join(" "), WIDENED_WORDS_MAX),
                direction,
            }),
            Err(e) => {
                tracing::warn!(plugin = indexer.name(), error = %e, "the question is answered without this indexer");
                None
            }
        }
    };
    indexers.iter().filter_map(ask).collect()
}

/// Skills whose terms have the question's words, or those that it was widened by; each between 0 and 1.
fn terms(c: &Connection, own: &[String], widened: &Widened<'_>) -> Result<Vec<(i64, f64)>> {
    let question = own.iter().chain(&widened.words).map(|w| quoted(w)).collect::<Vec<_>>().join(" OR ");
    let mut statement = c.prepare_cached(
        "SELECT i.skill_id, bm25(skill_terms) AS rank FROM skill_terms t JOIN skill_index i ON i.id = t.rowid
         WHERE skill_terms MATCH ?1 AND i.plugin = ?2 ORDER BY rank, i.skill_id LIMIT ?3",
    )?;
    let rows = statement.query_map((question, widened.indexer.name(), CANDIDATES as i64), |r| {
        Ok((r.get(0)?, r.get::<_, f64>(1)?))
    })?;
    rows.map(|row| row.map(|(id, rank)| (id, saturated(rank))).map_err(Error::from)).collect()
}

/// bm25 is negative in FTS5; a word that half of all skills have gives nearly nothing.
fn saturated(rank: f64) -> f64 {
    let b = (-rank).max(1e-6);
    b / (b + 1.0)
}

fn words(text: &str) -> Vec<String> {
    words_up_to(text, WORDS_MAX)
}

/// Lower-case words of letters and digits, each once, in order.
fn words_up_to(text: &str, most: usize) -> Vec<String> {
    let mut seen = BTreeSet::new();
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .filter(|w| seen.insert(w.clone()))
        .take(most)
        .collect()
}

/// A word as FTS5 takes it literally: in quotes. Words have no quote in them; doubling keeps that true of any text.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// Ranked by bm25, each between 0 and 1.
fn full_text(c: &Connection, words: &[String]) -> Result<Vec<(i64, f64)>> {
    // The last word may still be being typed.
    let last = words.len() - 1;
    let question = words.iter().enumerate().map(|(i, w)| {
        if i == last && w.chars().count() >= 2 { format!("{}*", quoted(w)) } else { quoted(w) }
    });
    // Either form of the last word: a prefix is not stemmed, `dips` should still find `dip`.
    let question = question.chain(words.last().map(|w| quoted(w))).collect::<Vec<_>>().join(" OR ");
    let mut statement = c.prepare_cached(
        "SELECT rowid, bm25(skill_text, 4.0, 1.0, 2.0) AS rank FROM skill_text WHERE skill_text MATCH ?1 ORDER BY rank, rowid LIMIT ?2",
    )?;
    let rows =
        statement.query_map((question, CANDIDATES as i64), |r| Ok((r.get(0)?, r.get::<_, f64>(1)?)))?;
    rows.map(|row| row.map(|(id, rank)| (id, saturated(rank))).map_err(Error::from)).collect()
}

/// Does the full text know this word (stemmed)?
fn known(c: &Connection, word: &str) -> Result<bool> {
    let mut statement = c.prepare_cached("SELECT 1 FROM skill_text WHERE skill_text MATCH ?1 LIMIT 1")?;
    Ok(statement.exists([quoted(word)])?)
}

/// Skills that share trigrams with a word, each with the share of the word's trigrams that it has.
fn similar(c: &Connection, word: &str) -> Result<Vec<(i64, f64)>> {
    let letters: Vec<char> = word.chars().collect();
    let trigrams: BTreeSet<String> = letters.windows(3).map(|w| w.iter().collect()).collect();
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for trigram in &trigrams {
        let mut statement =
            c.prepare_cached("SELECT rowid FROM skill_trigrams WHERE skill_trigrams MATCH ?1 LIMIT ?2")?;
        let rows =
            statement.query_map((quoted(trigram), (CANDIDATES * 10) as i64), |r| r.get::<_, i64>(0))?;
        for id in rows {
            *counts.entry(id?).or_default() += 1;
        }
    }
    let mut shares: Vec<(i64, f64)> = counts
        .into_iter()
        .map(|(id, n)| (id, n as f64 / trigrams.len() as f64))
        .filter(|(_, share)| *share >= 0.5)
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    shares.truncate(CANDIDATES);
    Ok(shares)
}

fn hit(
    c: &Connection,
    id: i64,
    mut parts: ScoreParts,
    words: &[String],
    query: &SkillQuery,
    indexers: &[Arc<dyn SkillIndexer>],
) -> Result<Option<SkillHit>> {
    let (name, version, language, description, tags, current): (String, String, String, String, String, i64) = c
        .prepare_cached(
            "SELECT s.name, v.version, v.language, v.description, v.tags, v.id FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.id = ?1",
        )?
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)))?;
    let tags: Vec<String> = parse(&tags, "tags")?;
    if query.language.as_ref().is_some_and(|l| *l != language) || !query.tags.iter().all(|t| tags.contains(t))
    {
        return Ok(None);
    }
    let given = index::tags(c, id, indexers)?;
    let tagged =
        words.iter().filter(|w| tags.iter().chain(&given).any(|t| t.eq_ignore_ascii_case(w))).count();
    parts.tag = WEIGHT_TAG * tagged as f64 / words.len() as f64;
    parts.performance = performance(c, current)?;
    let score = parts.text + parts.typo + parts.term + parts.vector + parts.tag + parts.performance;
    Ok(Some(SkillHit { name, version: parse_version(&version)?, language, description, tags, score, parts }))
}

/// Between 0 and its weight: the latest Sharpe ratio through a logistic curve, times `n / (n + 30)` for its samples.
fn performance(c: &Connection, version: i64) -> Result<f64> {
    use rusqlite::OptionalExtension as _;
    let latest: Option<(f64, i64)> = c
        .prepare_cached("SELECT sharpe, samples FROM skill_performance WHERE version_id = ?1 ORDER BY period_end DESC LIMIT 1")?
        .query_row([version], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    Ok(latest.map_or(0.0, |(sharpe, samples)| {
        let n = samples as f64;
        WEIGHT_PERFORMANCE * (1.0 / (1.0 + (-sharpe).exp())) * (n / (n + 30.0))
    }))
}
