//! Storing and reading versions.

use super::discovery::Discovery;
use super::index::{self, Contribution, SkillIndexer};
use super::types::{PAGE_MAX, check_name};
use super::{NewVersion, Performance, Provenance, SkillFilter, SkillSummary, SkillVersion, Status};
use super::{provenance, resolve, status};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::changes::{Change, Changes};
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::{Database, Tx};
use rusqlite::{Connection, OptionalExtension, Row};
use semver::Version;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

/// The skills of a database.
#[derive(Debug)]
pub struct Skills {
    pub(super) db: Arc<Database>,
    pub(super) indexers: RwLock<Vec<Arc<dyn SkillIndexer>>>,
    pub(super) discovery: Discovery,
    pub(super) changes: Arc<Changes>,
}

pub(super) fn may_read(caller: &Caller) -> Result<()> {
    match caller {
        Caller::Plugin { grants, .. } if grants.skills_read => Ok(()),
        other => other.require(Scope::Read, "read skills"),
    }
}

/// What [`read_version`] reads, of `skills s` and `skill_versions v`. Of other tables, what is kept in memory goes when a row of
/// them changes (`sqlite/values.rs`), or is written before the version and never changes.
const COLUMNS: &str = "s.name, v.version, v.id = s.current_id, v.hash, v.language, v.code, v.description, v.tags, v.metadata, v.depends,
    v.created_at, v.created_by,
    (SELECT t.status FROM skill_statuses t WHERE t.version_id = v.id ORDER BY t.set_at DESC, t.id DESC LIMIT 1),
    (SELECT json_object('author', p.author, 'prompt', p.prompt, 'run', p.run,
            'parent', json((SELECT json_object('name', ps.name, 'version', pv.version)
                            FROM skill_versions pv JOIN skills ps ON ps.id = pv.skill_id WHERE pv.id = p.parent_id)),
            'import', (SELECT i.digest FROM skill_imports i WHERE i.id = p.import_id))
     FROM skill_provenance p WHERE p.version_id = v.id), s.id AS skill_row, v.id AS version_row";

impl Skills {
    pub fn new(db: Arc<Database>, changes: Arc<Changes>) -> Self {
        Self { db, indexers: RwLock::default(), discovery: Discovery::default(), changes }
    }

    /// Stores a version and makes it the current one. The same content again, with nothing else said of where it comes from, is the
    /// same version; other content under a version that exists is a conflict. Dependencies must exist and must not run in a circle.
    pub fn put(&self, caller: &Caller, new: NewVersion) -> Result<SkillVersion> {
        caller.require(Scope::Write, "store skills")?;
        new.check()?;
        let said = self.said_of(&new)?;
        let (stored, skill) = self.db.write(|tx| Self::put_in(tx, caller, &new, &said))?;
        self.discovery.follow(&self.db, [skill]);
        if self.changes.wanted(caller) {
            self.changes.tell([Change::Skill]);
        }
        Ok(stored)
    }

    /// What must be known before a transaction with [`Skills::put_in`].
    pub(crate) fn prepare(&self, caller: &Caller, new: &NewVersion) -> Result<Vec<Contribution>> {
        caller.may_write_skill(&new.name)?;
        new.check()?;
        self.said_of(new)
    }

    /// After a commit that changed a skill by [`Skills::put_in`] or [`Skills::record_performance_in`]: whoever asks from now on
    /// is answered from what it is now. Reads nothing, so that it can be called while readers wait for the commit to end;
    /// [`Skills::follow`] afterwards spares the next question the reading.
    pub(crate) fn touched(&self, skill: i64) {
        self.discovery.note(skill);
    }

    /// Reads what was noted by [`Skills::touched`].
    pub(crate) fn follow(&self) {
        self.discovery.follow(&self.db, []);
    }

    /// The current version of a skill, if it exists.
    pub(crate) fn current_in(c: &Connection, name: &str) -> Result<Option<Version>> {
        let version: Option<String> = c
            .prepare_cached("SELECT v.version FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name = ?1")?
            .query_row([name], |r| r.get(0))
            .optional()?;
        version.map(|v| parse_version(&v)).transpose()
    }

    /// What the indexers say of a version that is about to be stored.
    fn said_of(&self, new: &NewVersion) -> Result<Vec<Contribution>> {
        if self.indexers().is_empty() {
            return Ok(Vec::new());
        }
        let version = self.db.read(|c| number(c, new, &versions_of(c, &new.name)?, &new.hash()))?;
        Ok(self.contributions(&SkillVersion {
            name: new.name.clone(),
            version,
            current: true,
            hash: new.hash(),
            language: new.language.clone(),
            code: new.code.clone(),
            description: new.description.clone(),
            tags: new.tags.clone(),
            metadata: if new.metadata.is_null() { json!({}) } else { new.metadata.clone() },
            depends: new.depends.clone(),
            status: new.status.unwrap_or_default(),
            provenance: Provenance::default(),
            created_at: now_ns(),
            created_by: String::new(),
        }))
    }

    /// [`Skills::put`] inside a transaction; the version and the number of its skill.
    pub(crate) fn put_in(
        tx: &Tx<'_>,
        caller: &Caller,
        new: &NewVersion,
        said: &[Contribution],
    ) -> Result<(SkillVersion, i64)> {
        let mut new = new.clone();
        new.tags.sort();
        new.tags.dedup();
        if new.metadata.is_null() {
            new.metadata = json!({});
        }
        let hash = new.hash();
        let versions = versions_of(tx, &new.name)?;
        let version = number(tx, &new, &versions, &hash)?;
        if let Some((_, there)) = versions.iter().find(|(v, _)| *v == version) {
            let same = *there == hash;
            if same && provenance::agrees(tx, &new.name, &version, &new.provenance)? {
                return Ok((get_in(tx, &new.name, Some(&version))?, skill_id(tx, &new.name)?));
            }
            let other = if same { "another provenance" } else { "other content" };
            return Err(Error::conflict(format!(
                "skill `{}` has a version {version} with {other}",
                new.name
            ))
            .hint("versions never change: give it another number, or leave the number out"));
        }
        resolve::check(tx, &new.name, &new.depends)?;
        let before = current_hash(tx, &new.name)?;
        let now = now_ns();
        tx.prepare_cached(
            "INSERT INTO skills(name, created_at) VALUES (?1, ?2) ON CONFLICT(name) DO NOTHING",
        )?
        .execute((&new.name, now))?;
        let skill = skill_id(tx, &new.name)?;
        let parent = status::current_id(tx, skill)?;
        let id = insert_version(tx, skill, &new, (&version, &hash), (now, &caller.actor()))?;
        provenance::insert(tx, &new.name, id, &new.provenance, parent)?;
        if let Some(status) = new.status.filter(|s| *s != Status::default()) {
            status::insert(tx, id, status, None, now, &caller.actor())?;
        }
        make_current(tx, skill, id, said)?;
        status::note_current(tx, caller, skill, id, now)?;
        let entry = Entry::new(caller, "skills.put", format!("skill:{}@{version}", new.name))
            .change(before, Some(hash))
            .detail(new.provenance.detail(new.status));
        Audit::append(tx, &entry)?;
        Ok((get_in(tx, &new.name, Some(&version))?, skill))
    }

    /// The skills by name, their current versions.
    pub fn list(&self, caller: &Caller, filter: &SkillFilter) -> Result<Vec<SkillSummary>> {
        may_read(caller)?;
        let limit = filter.limit.unwrap_or(100);
        if limit > PAGE_MAX {
            return Err(Error::limit(format!("a page of {limit} skills"), PAGE_MAX, "page with `after`"));
        }
        let tagged = if filter.tag.is_some() {
            "s.id IN (SELECT skill_id FROM skill_tags WHERE tag = ?3) AND"
        } else {
            "?3 IS NULL AND"
        };
        self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT s.name, v.version, v.language, v.description, v.tags, s.uses, v.created_at,
                        (SELECT count(*) FROM skill_versions x WHERE x.skill_id = s.id), s.status
                 FROM skills s JOIN skill_versions v ON v.id = s.current_id
                 WHERE {tagged} s.name > ?1 AND (?2 IS NULL OR v.language = ?2) AND (?5 IS NULL OR s.status = ?5)
                 ORDER BY s.name LIMIT ?4"
            ))?;
            let after = filter.after.as_deref().unwrap_or_default();
            let rows = statement.query_map(
                (after, &filter.language, &filter.tag, limit.cast_signed(), filter.status),
                |r| {
                    Ok((
                        r.get::<_, String>(1)?,
                        r.get::<_, String>(4)?,
                        SkillSummary {
                            name: r.get(0)?,
                            version: Version::new(0, 0, 0),
                            status: r.get(8)?,
                            language: r.get(2)?,
                            description: r.get(3)?,
                            tags: Vec::new(),
                            uses: r.get::<_, i64>(5)?.unsigned_abs(),
                            created_at: r.get(6)?,
                            versions: r.get::<_, i64>(7)?.unsigned_abs(),
                        },
                    ))
                },
            )?;
            rows.map(|row| {
                let (version, tags, summary) = row?;
                Ok(SkillSummary { version: parse_version(&version)?, tags: parse(&tags, "tags")?, ..summary })
            })
            .collect()
        })
    }

    /// Makes an earlier version the current one. Nothing is deleted; audited.
    pub fn rollback(&self, caller: &Caller, name: &str, version: &Version) -> Result<SkillVersion> {
        caller.require(Scope::Write, "roll skills back")?;
        check_name(name)?;
        let said = if self.indexers().is_empty() {
            Vec::new()
        } else {
            self.contributions(&self.db.read(|c| get_in(c, name, Some(version)))?)
        };
        let (stored, touched) = self.db.write(|tx| {
            let before = get_in(tx, name, None)?;
            let target = get_in(tx, name, Some(version))?;
            if before.version == target.version {
                return Ok((target, None));
            }
            let (skill, id): (i64, i64) = tx.query_row(
                "SELECT s.id, v.id FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = ?1 AND v.version = ?2",
                (name, version.to_string()),
                |r| Ok((r.get(0)?, r.get(1)?)),
            )?;
            make_current(tx, skill, id, &said)?;
            status::note_current(tx, caller, skill, id, now_ns())?;
            let entry = Entry::new(caller, "skills.rollback", format!("skill:{name}@{version}"))
                .change(Some(before.hash), Some(target.hash.clone()))
                .detail(json!({ "from": before.version }));
            Audit::append(tx, &entry)?;
            Ok((get_in(tx, name, Some(version))?, Some(skill)))
        })?;
        self.discovery.follow(&self.db, touched);
        Ok(stored)
    }

    /// Notes what a version achieved; audited.
    pub fn record_performance(
        &self,
        caller: &Caller,
        name: &str,
        version: &Version,
        performance: &Performance,
    ) -> Result<()> {
        let skill =
            self.db.write(|tx| Self::record_performance_in(tx, caller, name, version, performance))?;
        self.discovery.follow(&self.db, [skill]);
        Ok(())
    }

    /// [`Skills::record_performance`] inside a transaction; the number of the skill.
    pub(crate) fn record_performance_in(
        tx: &Tx<'_>,
        caller: &Caller,
        name: &str,
        version: &Version,
        performance: &Performance,
    ) -> Result<i64> {
        caller.may_write_skill(name)?;
        check_name(name)?;
        performance.check()?;
        let id = version_id(tx, name, version)?;
        tx.execute(
            "INSERT INTO skill_performance(version_id, period_start, period_end, returns, sharpe, win_rate, max_drawdown, samples,
                                           recorded_at, recorded_by) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
            (
                id,
                performance.period_start,
                performance.period_end,
                performance.returns,
                performance.sharpe,
                performance.win_rate,
                performance.max_drawdown,
                i64::try_from(performance.samples).unwrap_or(i64::MAX),
                status::next_time(tx, "skill_performance", "recorded_at", "version_id", id)?,
                caller.actor(),
            ),
        )?;
        let entry = Entry::new(caller, "skills.performance", format!("skill:{name}@{version}"));
        Audit::append(tx, &entry.detail(json!(performance)))?;
        skill_id(tx, name)
    }

    /// Counts a use. Not audited: a trader uses a skill many times a minute.
    pub fn record_use(&self, caller: &Caller, name: &str) -> Result<()> {
        caller.require(Scope::Write, "count uses")?;
        check_name(name)?;
        self.db.write(|tx| {
            match tx.execute(
                "UPDATE skills SET uses = uses + 1, last_used = ?2 WHERE name = ?1",
                (name, now_ns()),
            )? {
                0 => Err(unknown(name)),
                _ => Ok(()),
            }
        })
    }
}

/// The number of a version that is stored without one: that of the newest if it is the same already, else the next patch.
fn number(c: &Connection, new: &NewVersion, there: &[(Version, String)], hash: &str) -> Result<Version> {
    let newest = there.iter().max_by(|a, b| a.0.cmp(&b.0));
    Ok(match (&new.version, newest) {
        (Some(v), _) => v.clone(),
        (None, Some((v, h))) if h == hash && provenance::agrees(c, &new.name, v, &new.provenance)? => {
            v.clone()
        }
        (None, Some((v, _))) => Version::new(v.major, v.minor, v.patch.saturating_add(1)),
        (None, None) => Version::new(0, 1, 0),
    })
}

/// Adds a version, by its number and hash, as of a time and somebody; gives its row number.
pub(super) fn insert_version(
    tx: &Tx<'_>,
    skill: i64,
    new: &NewVersion,
    (version, hash): (&Version, &str),
    (at, by): (i64, &str),
) -> Result<i64> {
    tx.prepare_cached(
        "INSERT INTO skill_versions(skill_id, version, hash, language, code, description, tags, metadata, depends, created_at, created_by)
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
    )?
    .execute((
        skill,
        version.to_string(),
        hash,
        &new.language,
        &new.code,
        &new.description,
        json!(new.tags).to_string(),
        new.metadata.to_string(),
        json!(new.depends).to_string(),
        at,
        by,
    ))?;
    Ok(tx.last_insert_rowid())
}

pub(super) fn skill_id(c: &Connection, name: &str) -> Result<i64> {
    Ok(c.prepare_cached("SELECT id FROM skills WHERE name = ?1")?.query_row([name], |r| r.get(0))?)
}

/// Points a skill to a version, and what is searched to that version's words and to what was said of it.
pub(super) fn make_current(tx: &Tx<'_>, skill: i64, version: i64, said: &[Contribution]) -> Result<()> {
    tx.prepare_cached("UPDATE skills SET current_id = ?2 WHERE id = ?1")?.execute((skill, version))?;
    let tags: String = tx
        .prepare_cached("SELECT tags FROM skill_versions WHERE id = ?1")?
        .query_row([version], |r| r.get(0))?;
    set_tags(tx, skill, &tags)?;
    document(tx, skill)?;
    index::forget(tx, skill)?;
    said.iter().try_for_each(|one| index::store(tx, skill, one))
}

/// The tags that a skill is listed by, from those of its current version.
pub(super) fn set_tags(tx: &Tx<'_>, skill: i64, tags: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM skill_tags WHERE skill_id = ?1")?.execute([skill])?;
    let tags: BTreeSet<String> = parse(tags, "tags")?;
    for tag in &tags {
        tx.prepare_cached("INSERT INTO skill_tags(tag, skill_id) VALUES (?1, ?2)")?.execute((tag, skill))?;
    }
    Ok(())
}

/// Writes down what is searched of a skill.
pub(super) fn document(tx: &Tx<'_>, skill: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO skill_documents(skill_id, version_id, name, description, tags, language, created_by)
         SELECT s.id, v.id, s.name, v.description, v.tags, v.language, v.created_by
         FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.id = ?1",
    )?
    .execute([skill])?;
    Ok(())
}

/// The version of a row number.
pub(super) fn read_by_id(c: &Connection, version: i64) -> Result<SkillVersion> {
    c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE v.id = ?1"
    ))?
    .query_row([version], read_version)?
}

pub(super) fn get_in(c: &Connection, name: &str, version: Option<&Version>) -> Result<SkillVersion> {
    find(c, name, version, read_version)
}

/// A version by its name, as `read` takes it from [`COLUMNS`].
pub(super) fn find<T>(
    c: &Connection,
    name: &str,
    version: Option<&Version>,
    read: fn(&Row<'_>) -> rusqlite::Result<Result<T>>,
) -> Result<T> {
    let found = match version {
        Some(v) => c
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = ?1 AND v.version = ?2"
            ))?
            .query_row((name, v.to_string()), read)
            .optional()?,
        None => c
            .prepare_cached(&format!("SELECT {COLUMNS} FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name = ?1"))?
            .query_row([name], read)
            .optional()?,
    };
    found.unwrap_or_else(|| Err(version.map_or_else(|| unknown(name), |v| unknown_version(name, v))))
}

pub(super) fn read_version(row: &Row<'_>) -> rusqlite::Result<Result<SkillVersion>> {
    let (version, tags, metadata, depends): (String, String, String, String) =
        (row.get(1)?, row.get(7)?, row.get(8)?, row.get(9)?);
    let rest = SkillVersion {
        name: row.get(0)?,
        version: Version::new(0, 0, 0),
        current: row.get(2)?,
        hash: row.get(3)?,
        language: row.get(4)?,
        code: row.get(5)?,
        description: row.get(6)?,
        tags: Vec::new(),
        metadata: Value::Null,
        depends: std::collections::BTreeMap::new(),
        status: row.get::<_, Option<Status>>(12)?.unwrap_or_default(),
        provenance: Provenance::default(),
        created_at: row.get(10)?,
        created_by: row.get(11)?,
    };
    let provenance: Option<String> = row.get(13)?;
    let whole = || {
        Ok(SkillVersion {
            version: parse_version(&version)?,
            tags: parse(&tags, "tags")?,
            metadata: parse(&metadata, "metadata")?,
            depends: parse(&depends, "depends")?,
            provenance: provenance.map_or_else(|| Ok(Provenance::default()), |p| parse(&p, "provenance"))?,
            ..rest
        })
    };
    Ok(whole())
}

/// Version and content hash of each version of a skill.
pub(super) fn versions_of(c: &Connection, name: &str) -> Result<Vec<(Version, String)>> {
    let mut statement = c.prepare_cached(
        "SELECT v.version, v.hash FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = ?1",
    )?;
    let rows = statement.query_map([name], |r| Ok((r.get::<_, String>(0)?, r.get(1)?)))?;
    rows.map(|row| {
        let (version, hash) = row?;
        Ok((parse_version(&version)?, hash))
    })
    .collect()
}

fn current_hash(c: &Connection, name: &str) -> Result<Option<String>> {
    Ok(c.prepare_cached(
        "SELECT v.hash FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name = ?1",
    )?
    .query_row([name], |r| r.get(0))
    .optional()?)
}

pub(super) fn version_id(c: &Connection, name: &str, version: &Version) -> Result<i64> {
    c.prepare_cached("SELECT v.id FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = ?1 AND v.version = ?2")?
        .query_row((name, version.to_string()), |r| r.get(0))
        .optional()?
        .ok_or_else(|| unknown_version(name, version))
}

pub(super) fn unknown(name: &str) -> Error {
    Error::not_found(format!("there is no skill `{name}`")).hint("`shiphold skills list` shows them")
}

fn unknown_version(name: &str, version: &Version) -> Error {
    Error::not_found(format!("there is no skill `{name}` in version {version}"))
        .hint(format!("`shiphold skills versions {name}` shows what there is"))
}

/// What stands in the database may have been changed by somebody: it is checked, not trusted.
pub(super) fn parse_version(text: &str) -> Result<Version> {
    Version::parse(text)
        .map_err(|e| Error::corrupt(format!("the stored version `{text}` cannot be read: {e}")))
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::corrupt(format!("the stored {what} cannot be read: {e}")))
}
