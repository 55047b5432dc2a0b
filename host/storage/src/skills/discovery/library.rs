//! Every skill's current version as it is searched, in memory.

use super::field::Field;
use super::scores::steps;
use super::vectors::Vectors;
use crate::error::Result;
use crate::skills::Status;
use crate::skills::store::parse;
use rusqlite::{Connection, Row, Rows};
use std::collections::HashMap;
use std::sync::Arc;

/// How much a word counts by where it stands.
const WEIGHT_NAME: u8 = 4;
const WEIGHT_TAG: u8 = 2;
const WEIGHT_DESCRIPTION: u8 = 1;
/// What a proven performance adds to a score at most.
const WEIGHT_PERFORMANCE: f64 = 0.15;
/// Samples at which a performance counts half.
const SAMPLES_HALF: f64 = 30.0;

/// What is searched of a skill, as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub skill: i64,
    pub version: i64,
    pub name: String,
    pub description: String,
    pub tags: Vec<String>,
    pub language: String,
    pub by: String,
    pub status: Status,
    pub proven: Option<Proven>,
    pub said: Vec<Said>,
}

/// The newest record of a version's performance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proven {
    pub sharpe: f64,
    pub samples: i64,
}

impl Proven {
    /// Between 0 and its weight: the Sharpe ratio through a logistic curve, times `n / (n + 30)` for its samples.
    pub(super) fn part(self) -> f32 {
        let n = self.samples.max(0) as f64;
        let part = WEIGHT_PERFORMANCE / (1.0 + (-self.sharpe).exp()) * (n / (n + SAMPLES_HALF));
        // Of what is in a score, six digits count.
        #[allow(clippy::cast_possible_truncation)]
        let part = part as f32;
        part
    }
}

/// What an indexer said of a skill.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub plugin: String,
    pub revision: String,
    pub terms: Vec<String>,
    pub tags: Vec<String>,
    pub vector: Vec<i8>,
}

/// The documents of the skills after `after`, up to `last`, in order.
pub(super) fn documents(c: &Connection, after: i64, last: i64, most: usize) -> Result<Vec<Document>> {
    let mut statement = c.prepare_cached(
        "SELECT d.skill_id, d.version_id, d.name, d.description, d.tags, d.language, d.created_by, s.status
         FROM skill_documents d JOIN skills s ON s.id = d.skill_id
         WHERE d.skill_id > ?1 AND d.skill_id <= ?2 ORDER BY d.skill_id LIMIT ?3",
    )?;
    let mut found = Vec::new();
    let mut rows = statement.query((after, last, most as i64))?;
    while let Some(r) = rows.next()? {
        found.push(Document {
            skill: r.get(0)?,
            version: r.get(1)?,
            name: r.get(2)?,
            description: r.get(3)?,
            tags: parse(r.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?, "tags")?,
            language: r.get(5)?,
            by: r.get(6)?,
            status: r.get(7)?,
            proven: None,
            said: Vec::new(),
        });
    }
    let Some(last) = found.last().map(|d| d.skill) else { return Ok(found) };
    let mut statement = c.prepare_cached(
        "SELECT d.skill_id, p.sharpe, p.samples FROM skill_documents d JOIN skill_performance p ON p.version_id = d.version_id
         WHERE d.skill_id > ?1 AND d.skill_id <= ?2 ORDER BY d.skill_id, p.period_end, p.id",
    )?;
    beside(&mut found, statement.query((after, last))?, |d, r| {
        d.proven = Some(Proven { sharpe: r.get(1)?, samples: r.get(2)? });
        Ok(())
    })?;
    let mut statement = c.prepare_cached(
        "SELECT skill_id, plugin, revision, terms, tags, vector FROM skill_index
         WHERE skill_id > ?1 AND skill_id <= ?2 AND error IS NULL ORDER BY skill_id, plugin",
    )?;
    beside(&mut found, statement.query((after, last))?, |d, r| {
        let text = |i: usize| r.get_ref(i)?.as_str().map_err(rusqlite::Error::from);
        let vector = r.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
        d.said.push(Said {
            plugin: r.get(1)?,
            revision: r.get(2)?,
            terms: parse(text(3)?, "terms of an indexer")?,
            tags: parse(text(4)?, "tags of an indexer")?,
            vector: vector.iter().map(|b| b.cast_signed()).collect(),
        });
        Ok(())
    })?;
    Ok(found)
}

/// Gives each row to the document of its skill; both are in the order of the skills.
fn beside(
    found: &mut [Document],
    mut rows: Rows<'_>,
    mut give: impl FnMut(&mut Document, &Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut at = found.iter_mut();
    let mut one = at.next();
    while let Some(row) = rows.next()? {
        let skill: i64 = row.get(0)?;
        while one.as_ref().is_some_and(|d| d.skill < skill) {
            one = at.next();
        }
        if let Some(document) = one.as_mut().filter(|d| d.skill == skill) {
            give(document, row)?;
        }
    }
    Ok(())
}

/// Words that stand for something, each with a number.
#[derive(Debug, Default)]
pub(super) struct Labels {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

impl Labels {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(n) = self.numbers.get(text) {
            return *n;
        }
        let text: Arc<str> = text.into();
        let n = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.clone(), n);
        self.texts.push(text);
        n
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    pub(super) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |t| t)
    }
}

/// Which skills have which tag, their own and those that indexers gave them, in lower case as questions have them.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    labels: Labels,
    /// By slot, in order.
    of: Vec<Box<[u32]>>,
    /// By tag: slots, in order.
    slots: Vec<Vec<u32>>,
}

impl Tagged {
    fn set(&mut self, slot: u32, tags: impl Iterator<Item = String>) {
        let mut tags: Vec<u32> = tags.map(|t| self.labels.number(&t)).collect();
        tags.sort_unstable();
        tags.dedup();
        let i = slot as usize;
        if self.of.len() <= i {
            self.of.resize_with(i + 1, Box::default);
        }
        self.slots.resize_with(self.labels.texts.len(), Vec::new);
        let before = self.of.get_mut(i).map(|held| std::mem::replace(held, tags.clone().into()));
        for (all, there) in [(before.unwrap_or_default().into_vec(), false), (tags, true)] {
            for tag in all {
                let Some(slots) = self.slots.get_mut(tag as usize) else { continue };
                match slots.binary_search(&slot) {
                    Ok(at) if !there => drop(slots.remove(at)),
                    Err(at) if there => slots.insert(at, slot),
                    _ => {}
                }
            }
        }
    }

    /// The skills that have a tag.
    pub(super) fn with(&self, tag: &str) -> &[u32] {
        self.labels.find(tag).and_then(|n| self.slots.get(n as usize)).map_or(&[], |slots| slots)
    }
}

/// What is known of a skill beside its words.
#[derive(Debug)]
pub(super) struct Skill {
    pub version: i64,
    pub name: Box<str>,
    pub tags: Box<[u32]>,
    pub language: u32,
    pub by: u32,
    pub proven: Option<Proven>,
}

/// What one indexer said of all skills.
#[derive(Debug)]
pub(super) struct Space {
    pub plugin: String,
    pub revision: String,
    pub terms: Field,
    /// Of this revision only: those of another lie in another space.
    pub vectors: Vectors,
}

#[derive(Debug, Default)]
pub(in crate::skills) struct Library {
    slots: HashMap<i64, u32>,
    pub(super) skills: Vec<Skill>,
    /// By slot: that part of every score, in steps. Apart from `skills`, because a question goes over all of it.
    pub(super) performance: Vec<u32>,
    /// By slot, apart for the same reason.
    pub(super) statuses: Vec<Status>,
    pub(super) text: Field,
    pub(super) spaces: Vec<Space>,
    /// Tags as they are written.
    pub(super) tags: Labels,
    pub(super) tagged: Tagged,
    /// Languages and authors.
    pub(super) labels: Labels,
}

impl Library {
    /// An empty one, for these indexers and their revisions.
    pub(super) fn new(indexers: &[(String, String)]) -> Self {
        let space = |(plugin, revision): &(String, String)| Space {
            plugin: plugin.clone(),
            revision: revision.clone(),
            terms: Field::default(),
            vectors: Vectors::default(),
        };
        Self { spaces: indexers.iter().map(space).collect(), ..Self::default() }
    }

    pub(super) fn is_for(&self, indexers: &[(String, String)]) -> bool {
        self.spaces.len() == indexers.len()
            && self.spaces.iter().zip(indexers).all(|(s, (p, r))| s.plugin == *p && s.revision == *r)
    }

    /// Takes a skill in, or what it is now.
    pub(super) fn set(&mut self, document: &Document) {
        let new = u32::try_from(self.skills.len()).unwrap_or(u32::MAX);
        let slot = *self.slots.entry(document.skill).or_insert(new);
        let skill = Skill {
            version: document.version,
            name: document.name.as_str().into(),
            tags: document.tags.iter().map(|t| self.tags.number(t)).collect(),
            language: self.labels.number(&document.language),
            by: self.labels.number(&document.by),
            proven: document.proven,
        };
        let performance = steps(document.proven.map_or(0.0, Proven::part));
        let at = slot as usize;
        match (self.skills.get_mut(at), self.performance.get_mut(at), self.statuses.get_mut(at)) {
            (Some(there), Some(part), Some(status)) => {
                (*there, *part, *status) = (skill, performance, document.status);
            }
            _ => {
                self.skills.push(skill);
                self.performance.push(performance);
                self.statuses.push(document.status);
            }
        }
        let here = |s: &&Said| self.spaces.iter().any(|space| space.plugin == s.plugin);
        let given = document.said.iter().filter(here).flat_map(|s| &s.tags);
        self.tagged.set(slot, document.tags.iter().chain(given).map(|t| t.to_lowercase()));
        let mut parts =
            vec![(document.name.as_str(), WEIGHT_NAME), (&document.description, WEIGHT_DESCRIPTION)];
        parts.extend(document.tags.iter().map(|t| (t.as_str(), WEIGHT_TAG)));
        self.text.set(slot, &parts);
        for space in &mut self.spaces {
            let said = document.said.iter().find(|s| s.plugin == space.plugin);
            let terms: Vec<_> = said.into_iter().flat_map(|s| &s.terms).map(|t| (t.as_str(), 1)).collect();
            space.terms.set(slot, &terms);
            space.vectors.set(slot, said.filter(|s| s.revision == space.revision).map_or(&[], |s| &s.vector));
        }
    }
}
