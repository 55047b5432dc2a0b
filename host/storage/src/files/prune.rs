//! Versions that a store keeps no longer: `keep_versions` and `keep_for` of its manifest. Run twice it does no more.

use super::rows;
use super::store::FileStores;
use super::types::FileVersion;
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::Result;
use crate::schema::now_ns;
use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;

/// Versions that go in one transaction.
const STEP: i64 = 500;
/// Versions that a report names.
pub const NAMED_MAX: usize = 100;

/// What went, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PruneReport {
    /// Nothing was done.
    pub dry_run: bool,
    pub versions: u64,
    /// Of their contents; `gc` frees what nothing else needs of it.
    pub bytes: u64,
    /// Some of them, at most [`NAMED_MAX`].
    pub named: Vec<Pruned>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub path: String,
    pub version: u64,
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
}

impl From<&FileVersion> for Pruned {
    fn from(v: &FileVersion) -> Self {
        Self { path: v.path.clone(), version: v.version, size: v.size, created_at: v.created_at }
    }
}

/// The rules of a store at one time.
struct Due {
    /// Of more versions the older ones go.
    versions: i64,
    /// What was made before goes.
    before: i64,
    whole_names: bool,
}

/// Versions that may go, by name and version, after one. What a label stands for stays, and what the audit trail was archived as. What
/// a checkpoint needs is the object, which `gc` leaves.
fn due(c: &Connection, store: &str, of: &Due, after: (&str, u64)) -> Result<Vec<FileVersion>> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {} FROM file_versions v WHERE v.store = ?1 AND (v.path, v.version) > (?2, ?3)
         AND ((v.created_at < ?4 AND (?5 OR EXISTS (SELECT 1 FROM file_versions n WHERE n.store = v.store AND n.path = v.path
         AND n.version > v.version))) OR (?6 < 9223372036854775807 AND (SELECT count(*) FROM (SELECT 1 FROM file_versions n
         WHERE n.store = v.store AND n.path = v.path AND n.version > v.version LIMIT ?6)) >= ?6))
         AND NOT EXISTS (SELECT 1 FROM file_labels l WHERE l.store = v.store AND l.path = v.path AND l.version = v.version)
         AND NOT EXISTS (SELECT 1 FROM audit_segments a WHERE a.store = v.store AND a.path = v.path)
         AND NOT EXISTS (SELECT 1 FROM archives a WHERE a.store = v.store AND a.path = v.path AND a.version = v.version
         AND a.state IN ('copy', 'only'))
         ORDER BY v.path, v.version LIMIT ?7",
        rows::COLUMNS
    ))?;
    let rows = statement.query_map(
        (store, after.0, after.1.cast_signed(), of.before, of.whole_names, of.versions, STEP),
        rows::read,
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

impl FileStores {
    /// Takes the versions away that the rules of the store do not keep; with `dry_run` it only says which. Audited.
    pub fn prune(&self, caller: &Caller, store: &str, dry_run: bool) -> Result<PruneReport> {
        self.prune_at(caller, store, dry_run, now_ns())
    }

    pub(super) fn prune_at(
        &self,
        caller: &Caller,
        store: &str,
        dry_run: bool,
        now: i64,
    ) -> Result<PruneReport> {
        let scope = if dry_run { Scope::Read } else { Scope::Admin };
        caller.require(scope, "take old versions away")?;
        let s = self.store(store)?;
        let keep = s.config.keep;
        let mut report = PruneReport { dry_run, ..PruneReport::default() };
        if keep.versions.is_none() && keep.span.is_none() {
            return Ok(report);
        }
        let of = Due {
            versions: keep.versions.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX)),
            before: keep.span.map_or(i64::MIN, |span| now.saturating_sub(span.as_nanos_i64())),
            whole_names: keep.whole_names,
        };
        let mut after = (String::new(), 0);
        loop {
            // Outside of a transaction: a look that finds nothing keeps no writer waiting.
            let found = self.db.read(|c| due(c, store, &of, (&after.0, after.1)))?;
            let found = if dry_run || found.is_empty() {
                found
            } else {
                let _placing = s.placing();
                // What is due is asked in the transaction: a label that was set just now holds.
                self.db.write_always(|tx| {
                    let found = due(tx, store, &of, (&after.0, after.1))?;
                    let mut delete = tx.prepare_cached(
                        "DELETE FROM file_versions WHERE store = ?1 AND path = ?2 AND version = ?3",
                    )?;
                    for v in &found {
                        delete.execute((store, &v.path, v.version.cast_signed()))?;
                        if rows::newest(tx, store, &v.path)?.is_none() {
                            rows::forget_name(tx, store, &v.path)?;
                        }
                    }
                    if let Some((first, last)) = found.first().zip(found.last()) {
                        let detail = json!({
                            "versions": found.len(), "bytes": found.iter().map(|v| v.size).sum::<u64>(),
                            "first": format!("{}@{}", first.path, first.version), "last": format!("{}@{}", last.path, last.version),
                        });
                        let entry = Entry::new(caller, "files.prune", format!("store:{store}"));
                        Audit::append(tx, &entry.detail(detail))?;
                    }
                    Ok(found)
                })?
            };
            let Some(last) = found.last() else { return Ok(report) };
            after = (last.path.clone(), last.version);
            report.versions += found.len() as u64;
            report.bytes += found.iter().map(|v| v.size).sum::<u64>();
            let room = NAMED_MAX.saturating_sub(report.named.len());
            report.named.extend(found.iter().take(room).map(Pruned::from));
        }
    }
}
