//! Discovery: full text with stemming, prefixes, phrases and forgiveness for slips of the hand, what indexers say, tags and
//! proven performance, in one ranked answer with its parts.
//!
//! `score = text + typo + term + vector + tag + performance`, each part between 0 and its weight:
//!
//! - text: the share of the question that the skill has. Each word of the question weighs by how few skills have it (the
//!   idf of BM25), and counts by how often and in how long a text the skill has it (name ×4, tags ×2).
//! - typo: the same for words that nobody has, by the words within a slip of the hand; each slip takes a fifth.
//! - term: BM25 `b` of the question's words and of what an indexer widened it by, over the terms that it gave the
//!   skills, as `b / (b + 16)`.
//! - vector: the cosine between question and skill in an indexer's space. Both count the less, the better the words of
//!   the question alone find some skill: by `1 - 1.5 × text` of the best one, and never below 0.3.
//! - tag: the share of the question's words that are tags.
//! - performance: the newest record's Sharpe ratio, squashed and discounted by its sample count.
//!
//! Scores are whole millionths, and equal ones are ordered by name: the same library gives the same answer, whether its
//! index was just made or has followed every change.

use super::discovery::{Asked, Asking, Hit, Question, Reading, Widened};
use super::index::SkillIndexer;
use super::status::Status;
use super::store::{Skills, may_read, parse, parse_version};
use crate::caller::Caller;
use crate::error::{Error, Result};
use rusqlite::Connection;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Hits of one answer.
pub const HITS_MAX: u64 = 1_000;
/// Tags that a question asks for or excludes.
pub const FILTER_TAGS_MAX: usize = 64;
/// Words that one indexer widens a question by; of more, the first.
const WIDENED_WORDS_MAX: usize = 128;

/// A question.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SkillQuery {
    /// In plain words. What stands in double quotes must stand so in the skill; `mom*` is any word that begins so; other
    /// operators are text.
    pub text: String,
    /// Tags that a skill must have, all of them.
    pub tags: Vec<String>,
    /// Tags that it must not have.
    pub without: Vec<String>,
    pub language: Option<String>,
    /// Who stored its current version.
    pub by: Option<String>,
    pub proof: Option<Proof>,
    /// What the current version may be used for, any of these. Empty: active and draft, for what is retired is no longer for use.
    pub status: BTreeSet<Status>,
    /// Default 10.
    pub limit: u64,
    /// Say of each hit where its score comes from.
    pub explain: bool,
    /// Count all that was found by tag, language, author, proof and status.
    pub facets: bool,
}

/// Has the current version a record of its performance?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    Proven,
    Unproven,
}

impl Proof {
    pub(super) fn of(proven: bool) -> Self {
        if proven { Self::Proven } else { Self::Unproven }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
        }
    }
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

/// One thing that a part of a score comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The name of the part.
    pub part: &'static str,
    /// A word, a tag, what an indexer said, a record of performance.
    pub from: String,
    /// What it adds to the part, to within a millionth.
    pub score: f64,
}

/// One of the skills that answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkillHit {
    pub name: String,
    pub version: Version,
    pub status: Status,
    pub language: String,
    pub description: String,
    pub tags: Vec<String>,
    pub score: f64,
    pub parts: ScoreParts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// A word of the question that was read as others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadAs {
    pub word: String,
    pub also: Vec<String>,
}

/// What a question was widened by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WidenedBy {
    pub indexer: String,
    pub terms: Vec<String>,
}

/// How many of the skills that were found have which value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FacetValue {
    pub value: String,
    pub count: u64,
}

/// The most frequent values, and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facet {
    pub values: Vec<FacetValue>,
    pub more: u64,
}

/// Counts over all that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facets {
    pub tags: Facet,
    pub languages: Facet,
    pub authors: Facet,
    pub proof: Facet,
    pub statuses: Facet,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SkillAnswer {
    /// Best first.
    pub hits: Vec<SkillHit>,
    /// Skills that were found, of which the hits are the best.
    pub total: u64,
    /// Skills that would have been found too, were they not retired. 0 where retired ones were asked for.
    pub retired_left_out: u64,
    /// Words that were misspelt or not yet whole.
    pub read_as: Vec<ReadAs>,
    /// With `explain`: what each indexer added to the question.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<WidenedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facets: Option<Facets>,
}

impl SkillQuery {
    /// Is a skill with this status asked for?
    pub(super) fn takes(&self, status: Status) -> bool {
        match self.status.is_empty() {
            true => status != Status::Retired,
            false => self.status.contains(&status),
        }
    }

    fn limit(&self) -> Result<usize> {
        let limit = if self.limit == 0 { 10 } else { self.limit };
        if limit > HITS_MAX {
            return Err(Error::limit(format!("an answer of {limit} hits"), HITS_MAX, "ask for fewer"));
        }
        for (what, tags) in [("tags", &self.tags), ("excluded tags", &self.without)] {
            if tags.len() > FILTER_TAGS_MAX {
                return Err(Error::limit(format!("{} {what}", tags.len()), FILTER_TAGS_MAX, "ask for fewer"));
            }
        }
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }
}

impl Skills {
    /// The skills that answer a question best.
    pub fn search(&self, caller: &Caller, query: &SkillQuery) -> Result<SkillAnswer> {
        may_read(caller)?;
        let limit = query.limit()?;
        let question = Question::parse(&query.text)?;
        // The index is read like a store: not while a commit is in one and not yet in the others.
        self.db.pass_gate()?;
        let indexers = self.indexers();
        let revisions = revisions(&indexers);
        let asked = self.discovery.with(&self.db, &revisions, |library, _| library.read(&question))?;
        let (widened, by) = widen(&indexers, &query.text, &asked);
        let ask = Asking { query, limit, question: &question, asked: &asked, widened: &widened };
        let ranked =
            self.discovery.with(&self.db, &revisions, |library, scratch| library.rank(scratch, &ask))?;
        // Versions never change, so what is read now is what was ranked.
        let hits =
            self.db.read(|c| ranked.hits.into_iter().map(|hit| told(c, hit)).collect::<Result<_>>())?;
        Ok(SkillAnswer {
            hits,
            total: ranked.total,
            retired_left_out: ranked.retired_left_out,
            read_as: read_as(asked),
            widened: if query.explain { by } else { Vec::new() },
            facets: ranked.facets,
        })
    }

    /// Makes the index that questions are answered from, which the first question would have to wait for.
    pub fn warm(&self) -> Result<()> {
        self.discovery.ready(&self.db, &revisions(&self.indexers()))
    }
}

fn revisions(indexers: &[Arc<dyn SkillIndexer>]) -> Vec<(String, String)> {
    indexers.iter().map(|i| (i.name().to_string(), i.revision().to_string())).collect()
}

fn read_as(asked: Asked) -> Vec<ReadAs> {
    let told = |(word, reading)| match reading {
        Reading::Begun(also) | Reading::Misspelt(_, also) => {
            Some(ReadAs { word, also: also.iter().map(ToString::to_string).collect() })
        }
        Reading::Known | Reading::Unknown => None,
    };
    asked.words.into_iter().filter_map(told).collect()
}

/// Asks every indexer, with the words that a misspelt one may have been. One that fails leaves the question as it is: an answer
/// without it is better than none.
fn widen(
    indexers: &[Arc<dyn SkillIndexer>],
    question: &str,
    asked: &Asked,
) -> (Vec<Option<Widened>>, Vec<WidenedBy>) {
    let mut text = question.to_string();
    for (_, reading) in &asked.words {
        if let Reading::Misspelt(_, words) = reading {
            words.iter().for_each(|w| text.extend([" ", w]));
        }
    }
    let mut by = Vec::new();
    let ask = |indexer: &Arc<dyn SkillIndexer>| {
        let said = indexer.expand(&text).and_then(|e| e.checked().map(|direction| (e.terms, direction)));
        match said {
            Ok((terms, direction)) => {
                let words = super::discovery::words_of(&terms, WIDENED_WORDS_MAX);
                by.push(WidenedBy { indexer: indexer.name().into(), terms });
                Some(Widened { words, direction })
            }
            Err(e) => {
                tracing::warn!(plugin = indexer.name(), error = %e, "the question is answered without this indexer");
                None
            }
        }
    };
    (indexers.iter().map(ask).collect(), by)
}

fn told(c: &Connection, hit: Hit) -> Result<SkillHit> {
    let (name, version, language, description, tags): (String, String, String, String, String) = c
        .prepare_cached(
            // The document first: in the version's row a long code stands before the description.
            "SELECT d.name, v.version, v.language, iif(d.version_id = v.id, d.description, v.description),
                    iif(d.version_id = v.id, d.tags, v.tags)
             FROM skill_versions v JOIN skill_documents d ON d.skill_id = v.skill_id WHERE v.id = ?1",
        )?
        .query_row([hit.version], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))?;
    Ok(SkillHit {
        name,
        version: parse_version(&version)?,
        status: hit.status,
        language,
        description,
        tags: parse(&tags, "tags")?,
        score: hit.score,
        parts: hit.parts,
        reasons: hit.reasons,
    })
}
