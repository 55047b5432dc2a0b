//! What a version may be used for, and which version was the current one when. Both are only ever added to, so that it can be
//! said how they were at any time.

use super::store::{Skills, may_read, parse_version, read_by_id, unknown, version_id};
use super::types::{PAGE_MAX, check_line, check_name};
use super::{SkillVersion, Version};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::changes::Change;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::{Source, Tx};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use std::str::FromStr;

/// Bytes of the reason for a status.
pub const REASON_BYTES_MAX: usize = 1_000;

/// What a version may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// For use. What nothing was said of is active.
    #[default]
    Active,
    /// Still being tried out: chosen for a dependency only where no active version will do.
    Draft,
    /// No longer for use: chosen for a dependency only where nothing else will do.
    Retired,
}

impl Status {
    pub const ALL: [Self; 3] = [Self::Active, Self::Draft, Self::Retired];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draft => "draft",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|_| FromSqlError::InvalidType)
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|s| s.word() == word).ok_or_else(|| {
            Error::invalid(format!("`{}` is no status", word.escape_debug()))
                .hint("it is active, draft or retired")
        })
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.word().into())
    }
}

/// A version got a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusChange {
    pub version: Version,
    pub status: Status,
    pub reason: Option<String>,
    /// Nanoseconds since the Unix epoch; a later change of a version has a later time, also where the clock was set back.
    pub set_at: i64,
    pub set_by: String,
}

impl Skills {
    /// Gives a version (default: the current one) a status; audited. The one that it has is left as it is.
    pub fn set_status(
        &self,
        caller: &Caller,
        name: &str,
        version: Option<&Version>,
        status: Status,
        reason: Option<&str>,
    ) -> Result<StatusChange> {
        caller.require(Scope::Write, "set the status of skills")?;
        check_name(name)?;
        reason.map_or(Ok(()), |r| check_line("reason", r, REASON_BYTES_MAX))?;
        let (change, skill) = self.db.write(|tx| {
            let (skill, id, version) = wanted(tx, name, version)?;
            let before = of(tx, id)?;
            if before == status {
                return Ok((last(tx, id, version)?, None));
            }
            let set_at = next_time(tx, "skill_statuses", "set_at", "version_id", id)?;
            let change = StatusChange {
                version,
                status,
                reason: reason.map(Into::into),
                set_at,
                set_by: caller.actor(),
            };
            insert(tx, id, status, reason, set_at, &change.set_by)?;
            follow_current(tx, skill)?;
            let entry = Entry::new(caller, "skills.status", format!("skill:{name}@{}", change.version));
            Audit::append(tx, &entry.detail(json!({ "from": before, "to": status, "reason": reason })))?;
            Ok((change, Some(skill)))
        })?;
        if let Some(skill) = skill {
            self.discovery.follow(&self.db, [skill]);
            if self.changes.wanted(caller) {
                self.changes.tell([Change::Skill]);
            }
        }
        Ok(change)
    }

    /// The statuses that the versions of a skill got, newest first. A version that is not among them is active.
    pub fn statuses(&self, caller: &Caller, name: &str) -> Result<Vec<StatusChange>> {
        may_read(caller)?;
        check_name(name)?;
        let all = self.db.read(|c| {
            let skill = skill_of(c, name)?;
            let mut statement = c.prepare_cached(&format!(
                "SELECT v.version, t.status, t.reason, t.set_at, t.set_by
                 FROM skill_versions v JOIN skill_statuses t ON t.version_id = v.id WHERE v.skill_id = ?1
                 ORDER BY t.set_at DESC, t.id DESC LIMIT {}",
                PAGE_MAX + 1
            ))?;
            let rows = statement.query_map([skill], |r| {
                Ok((r.get::<_, String>(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
            })?;
            rows.map(|row| {
                let (version, status, reason, set_at, set_by) = row?;
                Ok(StatusChange { version: parse_version(&version)?, status, reason, set_at, set_by })
            })
            .collect::<Result<Vec<_>>>()
        })?;
        if all.len() as u64 > PAGE_MAX {
            return Err(Error::limit(
                format!("the statuses of skill `{name}`"),
                format!("{PAGE_MAX} changes"),
                "ask for those of a time: `skills get NAME --at TIME`",
            ));
        }
        Ok(all)
    }

    /// The version that was the current one at a time in nanoseconds, with the status that it had then.
    pub fn get_at(&self, caller: &Caller, name: &str, at: i64) -> Result<SkillVersion> {
        may_read(caller)?;
        check_name(name)?;
        self.db.read(|c| {
            let id = current_at(c, skill_of(c, name)?, at)?.ok_or_else(|| not_yet(name))?;
            Ok(SkillVersion { status: at_time(c, id, at)?, ..read_by_id(c, id)? })
        })
    }
}

pub(super) fn not_yet(name: &str) -> Error {
    Error::not_found(format!("there was no skill `{name}` at that time"))
        .hint(format!("`shiphold skills versions {name}` shows since when there is"))
}

/// The number of a skill.
pub(super) fn skill_of(c: &Connection, name: &str) -> Result<i64> {
    c.prepare_cached("SELECT id FROM skills WHERE name = ?1")?
        .query_row([name], |r| r.get(0))
        .optional()?
        .ok_or_else(|| unknown(name))
}

/// Number of the skill, number and name of the version: the one that is asked for, or the current one.
pub(super) fn wanted(c: &Connection, name: &str, version: Option<&Version>) -> Result<(i64, i64, Version)> {
    let skill = skill_of(c, name)?;
    match version {
        Some(v) => Ok((skill, version_id(c, name, v)?, v.clone())),
        None => {
            let (id, version): (i64, String) = c
                .prepare_cached("SELECT v.id, v.version FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.id = ?1")?
                .query_row([skill], |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()?
                .ok_or_else(|| unknown(name))?;
            Ok((skill, id, parse_version(&version)?))
        }
    }
}

/// The number of a skill's current version.
pub(super) fn current_id(c: &Connection, skill: i64) -> Result<Option<i64>> {
    Ok(c.prepare_cached("SELECT current_id FROM skills WHERE id = ?1")?.query_row([skill], |r| r.get(0))?)
}

/// The status of a version.
pub(super) fn of(c: &Connection, version: i64) -> Result<Status> {
    at_time(c, version, i64::MAX)
}

/// The status of a version as it was at a time.
pub(super) fn at_time(c: &Connection, version: i64, at: i64) -> Result<Status> {
    Ok(c.prepare_cached(
        "SELECT status FROM skill_statuses WHERE version_id = ?1 AND set_at <= ?2 ORDER BY set_at DESC, id DESC LIMIT 1",
    )?
    .query_row((version, at), |r| r.get(0))
    .optional()?
    .unwrap_or_default())
}

/// The last change of a version's status; when it was stored, if there was none.
fn last(c: &Connection, id: i64, version: Version) -> Result<StatusChange> {
    let found = c
        .prepare_cached(
            "SELECT status, reason, set_at, set_by FROM skill_statuses WHERE version_id = ?1 ORDER BY set_at DESC, id DESC LIMIT 1",
        )?
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .optional()?;
    let (status, reason, set_at, set_by) = match found {
        Some(row) => row,
        None => {
            let (at, by) = c
                .prepare_cached("SELECT created_at, created_by FROM skill_versions WHERE id = ?1")?
                .query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))?;
            (Status::Active, None, at, by)
        }
    };
    Ok(StatusChange { version, status, reason, set_at, set_by })
}

pub(super) fn insert(
    tx: &Tx<'_>,
    version: i64,
    status: Status,
    reason: Option<&str>,
    set_at: i64,
    set_by: &str,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO skill_statuses(version_id, status, reason, set_at, set_by) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((version, status, reason, set_at, set_by))?;
    tx.touches(Source::SkillVersion(version));
    Ok(())
}

/// The status of a skill is that of its current version. Call it after either changed.
pub(super) fn follow_current(tx: &Tx<'_>, skill: i64) -> Result<()> {
    let status = current_id(tx, skill)?.map_or(Ok(Status::Active), |id| of(tx, id))?;
    tx.prepare_cached("UPDATE skills SET status = ?2 WHERE id = ?1 AND status <> ?2")?
        .execute((skill, status))?;
    Ok(())
}

/// Notes that a version is the current one from `now` on: at the time at which it was stored, it is that already.
pub(super) fn note_current(tx: &Tx<'_>, caller: &Caller, skill: i64, version: i64, now: i64) -> Result<()> {
    let since = later(tx, "skill_currents", "since", "skill_id", skill, now)?;
    insert_current(tx, skill, version, since, &caller.actor())?;
    follow_current(tx, skill)
}

pub(super) fn insert_current(tx: &Tx<'_>, skill: i64, version: i64, since: i64, set_by: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO skill_currents(skill_id, version_id, since, set_by) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((skill, version, since, set_by))?;
    Ok(())
}

/// The version that was the current one of a skill at a time.
pub(super) fn current_at(c: &Connection, skill: i64, at: i64) -> Result<Option<i64>> {
    Ok(c.prepare_cached(
        "SELECT version_id FROM skill_currents WHERE skill_id = ?1 AND since <= ?2 ORDER BY since DESC, id DESC LIMIT 1",
    )?
    .query_row((skill, at), |r| r.get(0))
    .optional()?)
}

/// Now, but later than what was noted last: reads as of a time go by the time, and a clock may be set back.
pub(super) fn next_time(c: &Connection, table: &str, time: &str, of: &str, id: i64) -> Result<i64> {
    later(c, table, time, of, id, now_ns())
}

fn later(c: &Connection, table: &str, time: &str, of: &str, id: i64, now: i64) -> Result<i64> {
    let last: Option<i64> = c
        .prepare_cached(&format!("SELECT max({time}) FROM {table} WHERE {of} = ?1"))?
        .query_row([id], |r| r.get(0))?;
    Ok(last.map_or(now, |t| now.max(t.saturating_add(1))))
}
