//! What skill indexers contribute to discovery: terms, tags and a vector for each skill, terms and a vector for each question.
//!
//! An indexer is asked before the transaction opens. One that fails keeps nothing from being stored: the skill is found by
//! plain full text, its entry says why, and [`Skills::reindex`] asks again.

use super::SkillVersion;
use super::store::{Skills, read_by_id};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::locks::{read, write};
use crate::schema::now_ns;
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use std::sync::Arc;

/// Terms of one skill.
pub const TERMS_MAX: usize = 256;
/// Terms that a question is widened by.
pub const EXPANSION_TERMS_MAX: usize = 64;
/// Tags that an indexer gives one skill.
pub const INDEX_TAGS_MAX: usize = 64;
/// Bytes of a term or tag.
pub const TERM_BYTES_MAX: usize = 128;
/// Dimensions of a vector.
pub const DIMENSIONS_MAX: usize = 256;
/// Bytes of the sentence that is kept of a failure.
const ERROR_BYTES_MAX: usize = 1_000;
/// Skills that are indexed between two commits.
const PAGE_SKILLS: usize = 64;
/// An indexer that fails so often in a row is not asked for the rest of a pass.
const FAILURES_MAX: u32 = 10;

/// What an indexer says of a skill.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexEntry {
    pub terms: Vec<String>,
    pub tags: Vec<String>,
    /// Empty: none.
    pub vector: Vec<f32>,
}

/// What an indexer says of a question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expansion {
    pub terms: Vec<String>,
    pub vector: Vec<f32>,
}

/// Says what full text alone would not find. Calls block.
pub trait SkillIndexer: Send + Sync + std::fmt::Debug {
    fn name(&self) -> &str;
    /// Changes when the same skill may be indexed otherwise.
    fn revision(&self) -> &str;
    fn index(&self, skill: &SkillVersion) -> Result<IndexEntry>;
    fn expand(&self, question: &str) -> Result<Expansion>;
}

/// What a pass over the skills did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reindexed {
    /// Entries that were made.
    pub indexed: u64,
    /// Entries that say why the indexer failed.
    pub failed: u64,
}

/// An entry on its way into the database.
#[derive(Debug, Clone)]
pub(crate) struct Contribution {
    plugin: String,
    revision: String,
    said: std::result::Result<Quantised, String>,
}

#[derive(Debug, Clone, Default)]
struct Quantised {
    terms: Vec<String>,
    tags: Vec<String>,
    vector: Vec<i8>,
}

fn texts(what: &str, given: &[String], most: usize) -> Result<()> {
    if given.len() > most {
        return Err(Error::limit(format!("{} {what}", given.len()), most, "give the most important ones"));
    }
    match given.iter().find(|t| t.len() > TERM_BYTES_MAX) {
        Some(t) => Err(Error::limit(
            format!("a text of {} bytes among the {what}", t.len()),
            TERM_BYTES_MAX,
            "give words",
        )),
        None => Ok(()),
    }
}

/// The direction of a vector, a signed byte per dimension; a vector without a direction becomes none.
pub(super) fn quantise(vector: &[f32]) -> Result<Vec<i8>> {
    if vector.len() > DIMENSIONS_MAX {
        return Err(Error::limit(
            format!("a vector of {} dimensions", vector.len()),
            DIMENSIONS_MAX,
            "project it to fewer",
        ));
    }
    if let Some(at) = vector.iter().position(|v| !v.is_finite()) {
        return Err(Error::invalid(format!("dimension {at} of the vector is not a finite number")));
    }
    let most = vector.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    if most == 0.0 {
        return Ok(Vec::new());
    }
    // Within -127..=127 by construction.
    #[allow(clippy::cast_possible_truncation)]
    let bytes = vector.iter().map(|v| (v / most * 127.0).round() as i8).collect();
    Ok(bytes)
}

impl IndexEntry {
    /// Refuses what is beyond the bounds of an entry.
    pub fn check(&self) -> Result<()> {
        checked(self.clone()).map(drop)
    }
}

impl Expansion {
    /// Refuses what is beyond the bounds of an expansion.
    pub fn check(&self) -> Result<()> {
        self.checked().map(drop)
    }

    /// Within its bounds, with the vector's direction.
    pub(super) fn checked(&self) -> Result<Vec<i8>> {
        texts("terms", &self.terms, EXPANSION_TERMS_MAX)?;
        quantise(&self.vector)
    }
}

fn checked(entry: IndexEntry) -> Result<Quantised> {
    texts("terms", &entry.terms, TERMS_MAX)?;
    texts("tags", &entry.tags, INDEX_TAGS_MAX)?;
    Ok(Quantised { vector: quantise(&entry.vector)?, terms: entry.terms, tags: entry.tags })
}

fn ask(indexer: &dyn SkillIndexer, skill: &SkillVersion) -> Contribution {
    let said = indexer.index(skill).and_then(checked).map_err(|e| {
        tracing::warn!(plugin = indexer.name(), skill = skill.name, error = %e, "the skill is stored without this index");
        let mut text = e.message().to_string();
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
        text
    });
    Contribution { plugin: indexer.name().into(), revision: indexer.revision().into(), said }
}

impl Skills {
    /// Replaces the indexers that are asked.
    pub fn set_indexers(&self, indexers: Vec<Arc<dyn SkillIndexer>>) {
        *write(&self.indexers) = indexers;
    }

    /// Those that are asked, in the order of their names.
    pub fn indexers(&self) -> Vec<Arc<dyn SkillIndexer>> {
        read(&self.indexers).clone()
    }

    /// What every indexer says of a version that is about to be current. Never inside a transaction.
    pub(super) fn contributions(&self, skill: &SkillVersion) -> Vec<Contribution> {
        self.indexers().iter().map(|i| ask(i.as_ref(), skill)).collect()
    }

    /// Asks the indexers for every skill that has no entry of theirs, one of another revision, or one that says that they
    /// failed; with `all`, for every skill. `progress` gets entries made so far and says whether to go on.
    pub fn reindex(
        &self,
        caller: &Caller,
        all: bool,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Reindexed> {
        caller.require(Scope::Write, "index skills")?;
        let mut done = Reindexed::default();
        for indexer in self.indexers() {
            let (mut after, mut row) = (0, 0);
            loop {
                let page = self.db.read(|c| waiting(c, indexer.as_ref(), all, after))?;
                let Some((last, ..)) = page.last() else { break };
                after = *last;
                let mut entries = Vec::with_capacity(page.len());
                for (skill, version, content) in &page {
                    let said = ask(indexer.as_ref(), content);
                    row = if said.said.is_err() { row + 1 } else { 0 };
                    entries.push((*skill, *version, said));
                    if row >= FAILURES_MAX {
                        break;
                    }
                }
                self.db.write(|tx| {
                    for (skill, version, said) in &entries {
                        // A version that came meanwhile was indexed by its own put.
                        if current_version(tx, *skill)? == Some(*version) {
                            store(tx, *skill, said)?;
                        }
                    }
                    Ok(())
                })?;
                self.discovery.follow(&self.db, entries.iter().map(|e| e.0));
                for (_, _, said) in &entries {
                    if said.said.is_ok() { done.indexed += 1 } else { done.failed += 1 }
                }
                let go_on = progress(done.indexed + done.failed);
                if row >= FAILURES_MAX {
                    let why =
                        entries.last().and_then(|(.., s)| s.said.as_ref().err().cloned()).unwrap_or_default();
                    return Err(Error::new(
                        crate::error::Kind::Plugin,
                        format!(
                            "indexer `{}` failed {FAILURES_MAX} times in a row, at last: {why}",
                            indexer.name()
                        ),
                    )
                    .hint(format!(
                        "{} entries were made; mend it and run `shiphold skills reindex` again",
                        done.indexed
                    )));
                }
                if !go_on {
                    return Ok(done);
                }
            }
        }
        Ok(done)
    }

    /// Skills that wait for an indexer, per indexer.
    pub fn unindexed(&self) -> Result<Vec<(String, u64)>> {
        self.indexers()
            .iter()
            .map(|i| {
                let n: i64 = self.db.read(|c| {
                    Ok(c.prepare_cached(
                        "SELECT (SELECT count(*) FROM skills WHERE current_id IS NOT NULL)
                              - (SELECT count(*) FROM skill_index WHERE plugin = ?1 AND revision = ?2 AND error IS NULL)",
                    )?
                    .query_row((i.name(), i.revision()), |r| r.get(0))?)
                })?;
                Ok((i.name().to_string(), n.max(0).unsigned_abs()))
            })
            .collect()
    }
}

/// The next skills that wait, by id: id, version, content.
fn waiting(
    c: &Connection,
    indexer: &dyn SkillIndexer,
    all: bool,
    after: i64,
) -> Result<Vec<(i64, i64, SkillVersion)>> {
    let mut statement = c.prepare_cached(
        "SELECT s.id, s.current_id FROM skills s
         LEFT JOIN skill_index i ON i.skill_id = s.id AND i.plugin = ?1
         WHERE s.id > ?2 AND s.current_id IS NOT NULL
           AND (?3 OR i.id IS NULL OR i.revision <> ?4 OR i.error IS NOT NULL)
         ORDER BY s.id LIMIT ?5",
    )?;
    let rows = statement
        .query_map((indexer.name(), after, all, indexer.revision(), PAGE_SKILLS as i64), |r| {
            Ok((r.get(0)?, r.get(1)?))
        })?;
    rows.map(|row| {
        let (skill, version) = row?;
        Ok((skill, version, read_by_id(c, version)?))
    })
    .collect()
}

fn current_version(c: &Connection, skill: i64) -> Result<Option<i64>> {
    Ok(c.prepare_cached("SELECT current_id FROM skills WHERE id = ?1")?
        .query_row([skill], |r| r.get(0))
        .optional()?
        .flatten())
}

/// What was said of the version before does not hold for the next one.
pub(super) fn forget(tx: &Tx<'_>, skill: i64) -> Result<()> {
    tx.prepare_cached("DELETE FROM skill_index WHERE skill_id = ?1")?.execute([skill])?;
    Ok(())
}

/// Stores what an indexer said of the current version.
pub(super) fn store(tx: &Tx<'_>, skill: i64, given: &Contribution) -> Result<()> {
    tx.prepare_cached("DELETE FROM skill_index WHERE skill_id = ?1 AND plugin = ?2")?
        .execute((skill, &given.plugin))?;
    let said = given.said.clone().and_then(|said| match other_dimensions(tx, given, said.vector.len()) {
        Ok(None) => Ok(said),
        Ok(Some(have)) => {
            Err(format!("a vector of {} dimensions, where others have {have}", said.vector.len()))
        }
        Err(e) => Err(e.message().to_string()),
    });
    let (said, error) = match said {
        Ok(said) => (said, None),
        Err(e) => (Quantised::default(), Some(e)),
    };
    let vector: Vec<u8> = said.vector.iter().map(|v| v.cast_unsigned()).collect();
    tx.prepare_cached(
        "INSERT INTO skill_index(skill_id, plugin, revision, terms, tags, vector, error, indexed_at) VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
    )?
    .execute((
        skill,
        &given.plugin,
        &given.revision,
        serde_json::json!(said.terms).to_string(),
        serde_json::json!(said.tags).to_string(),
        vector,
        error,
        now_ns(),
    ))?;
    Ok(())
}

/// The dimensions that this revision has used, if they are others.
fn other_dimensions(tx: &Tx<'_>, given: &Contribution, dimensions: usize) -> Result<Option<usize>> {
    if dimensions == 0 {
        return Ok(None);
    }
    let have: Option<i64> = tx
        .prepare_cached("SELECT length(vector) FROM skill_index WHERE plugin = ?1 AND revision = ?2 AND length(vector) > 0 LIMIT 1")?
        .query_row((&given.plugin, &given.revision), |r| r.get(0))
        .optional()?;
    Ok(have.and_then(|n| usize::try_from(n).ok()).filter(|n| *n != dimensions))
}
