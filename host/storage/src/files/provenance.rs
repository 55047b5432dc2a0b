//! What versions were made by, and from which data: kept in columns, so that it can be asked.

use super::rows;
use super::store::{Access, FileStores, may};
use super::types::{FileVersion, FromData, FromSkill, PAGE_MAX, Provenance};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;

pub(super) fn insert(tx: &Tx<'_>, of: &FileVersion, made_of: &Provenance) -> Result<()> {
    let version = of.version.cast_signed();
    if let Some(skill) = &made_of.skill {
        tx.prepare_cached(
            "INSERT INTO file_provenance(store, path, version, skill, skill_version) VALUES (?1,?2,?3,?4,?5)",
        )?
        .execute((&of.store, &of.path, version, &skill.name, &skill.version))?;
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO file_data(store, path, version, number, measurement, from_ns, to_ns) VALUES (?1,?2,?3,?4,?5,?6,?7)",
    )?;
    for (number, data) in (1_i64..).zip(&made_of.data) {
        insert.execute((
            &of.store,
            &of.path,
            version,
            number,
            &data.measurement,
            data.from_ns,
            data.to_ns,
        ))?;
    }
    Ok(())
}

fn read(c: &Connection, of: &FileVersion) -> Result<Provenance> {
    let version = of.version.cast_signed();
    let skill = c
        .prepare_cached(
            "SELECT skill, skill_version FROM file_provenance WHERE store = ?1 AND path = ?2 AND version = ?3",
        )?
        .query_row((&of.store, &of.path, version), |r| Ok(FromSkill { name: r.get(0)?, version: r.get(1)? }))
        .optional()?;
    let mut statement = c.prepare_cached(
        "SELECT measurement, from_ns, to_ns FROM file_data WHERE store = ?1 AND path = ?2 AND version = ?3 ORDER BY number",
    )?;
    let data = statement.query_map((&of.store, &of.path, version), |r| {
        Ok(FromData { measurement: r.get(0)?, from_ns: r.get(1)?, to_ns: r.get(2)? })
    })?;
    Ok(Provenance { skill, data: data.collect::<rusqlite::Result<_>>()? })
}

/// Which versions are asked for. All that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct MadeOf {
    /// The name of a skill, and its version or any.
    pub skill: Option<String>,
    pub skill_version: Option<String>,
    /// A measurement, and a time in nanoseconds that its range has.
    pub measurement: Option<String>,
    pub at_ns: Option<i64>,
}

/// A version with what it was made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Traced {
    #[serde(flatten)]
    pub file: FileVersion,
    pub provenance: Provenance,
}

impl FileStores {
    /// What a version was made of; empty where nothing was said.
    pub fn provenance(&self, caller: &Caller, of: &FileVersion) -> Result<Provenance> {
        may(caller, Access::Read, &of.store, &of.path)?;
        self.store(&of.store)?;
        self.db.read(|c| read(c, of))
    }

    /// The versions of a store that were made by a skill or from a measurement, by name and version, after one; at most
    /// [`PAGE_MAX`]. Such that the caller may not read are left out.
    pub fn find(
        &self,
        caller: &Caller,
        store: &str,
        made_of: &MadeOf,
        after: Option<(&str, u64)>,
        limit: u64,
    ) -> Result<Vec<Traced>> {
        if matches!(caller, Caller::Plugin { .. }) {
            may(caller, Access::Read, store, "")?;
        } else {
            caller.require(crate::caller::Scope::Read, "files.read")?;
        }
        self.store(store)?;
        if limit > PAGE_MAX {
            return Err(Error::limit(format!("a page of {limit} files"), PAGE_MAX, "page with `after`"));
        }
        if made_of.skill.is_none() && made_of.measurement.is_none() {
            return Err(Error::invalid("nothing says what is looked for")
                .hint("name a `skill`, a `measurement` or both"));
        }
        if made_of.skill.is_none() && made_of.skill_version.is_some()
            || made_of.measurement.is_none() && made_of.at_ns.is_some()
        {
            return Err(Error::invalid("a version needs its `skill`, a time its `measurement`"));
        }
        let (path, version) = after.unwrap_or_default();
        let sql = if made_of.skill.is_some() {
            "SELECT path, version FROM file_provenance p WHERE p.store = ?1 AND p.skill = ?2
             AND (?3 IS NULL OR p.skill_version = ?3) AND (p.path, p.version) > (?6, ?7)
             AND (?4 IS NULL OR EXISTS (SELECT 1 FROM file_data d WHERE d.store = p.store AND d.path = p.path AND d.version = p.version
             AND d.measurement = ?4 AND (?5 IS NULL OR (d.from_ns <= ?5 AND d.to_ns > ?5))))
             ORDER BY p.path, p.version LIMIT ?8"
        } else {
            "SELECT DISTINCT path, version FROM file_data d WHERE d.store = ?1 AND d.measurement = ?4
             AND (?5 IS NULL OR (d.from_ns <= ?5 AND d.to_ns > ?5)) AND (d.path, d.version) > (?6, ?7)
             AND ?2 IS NULL AND ?3 IS NULL ORDER BY d.path, d.version LIMIT ?8"
        };
        let found: Vec<(String, i64)> = self.db.read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(
                (
                    store,
                    &made_of.skill,
                    &made_of.skill_version,
                    &made_of.measurement,
                    made_of.at_ns,
                    path,
                    version.cast_signed(),
                    limit.cast_signed(),
                ),
                |r| Ok((r.get(0)?, r.get(1)?)),
            )?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        self.db.read(|c| {
            let mut out = Vec::with_capacity(found.len());
            for (path, version) in &found {
                if may(caller, Access::Read, store, path).is_err() {
                    continue;
                }
                if let Some(file) = rows::version(c, store, path, version.unsigned_abs())? {
                    let provenance = read(c, &file)?;
                    out.push(Traced { file, provenance });
                }
            }
            Ok(out)
        })
    }
}
