//! Versions that a store keeps no longer: `keep_versions` and `keep_for` of its manifest. Run twice it does no more.

use super::rows;
use super::store::FileStores;
use super::types::FileVersion;
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::Result;
use crate::schema::now_ns;
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use serde_json::json;
use std::time::Instant;

/// Versions that go in one transaction.
const STEP: i64 = 500;
/// Versions that are looked at at once.
const LOOK: i64 = 2_000;
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
#[derive(Debug)]
struct Due {
    /// Of more versions the older ones go.
    versions: i64,
    /// What was made before goes.
    before: i64,
    whole_names: bool,
}

/// A look through the versions of a store on its way.
#[derive(Debug)]
pub(super) struct Pruning {
    of: Due,
    /// The last version that was looked at.
    after: (String, u64),
    pub(super) report: PruneReport,
}

/// What may go of some versions, and the last that was looked at; `None`: there are no more.
type Found = (Vec<FileVersion>, Option<(String, u64)>);

/// Versions that may go, by name and version, of the next after one. What a label stands for stays, and what the audit trail was archived
/// as. What a checkpoint needs is the object, which `gc` leaves.
fn due(c: &Connection, store: &str, of: &Due, after: &(String, u64)) -> Result<Found> {
    let mut end = c.prepare_cached(
        "SELECT path, version FROM file_versions WHERE store = ?1 AND (path, version) > (?2, ?3)
         ORDER BY path, version LIMIT 1 OFFSET ?4",
    )?;
    let place = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs()));
    let end: Option<(String, u64)> =
        end.query_row((store, &after.0, after.1.cast_signed(), LOOK - 1), place).optional()?;
    let (path, version) = end.clone().unwrap_or_else(|| ("\u{10ffff}".into(), i64::MAX.unsigned_abs()));
    let mut statement = c.prepare_cached(&format!(
        "SELECT {} FROM file_versions v WHERE v.store = ?1 AND (v.path, v.version) > (?2, ?3) AND (v.path, v.version) <= (?8, ?9)
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
        (
            store,
            &after.0,
            after.1.cast_signed(),
            of.before,
            of.whole_names,
            of.versions,
            STEP,
            path,
            version.cast_signed(),
        ),
        rows::read,
    )?;
    let found: Vec<FileVersion> = rows.collect::<rusqlite::Result<_>>()?;
    // There may be more before the end of the look.
    let full = found.last().filter(|_| found.len() as u64 >= STEP.unsigned_abs());
    let next = full.map_or(end, |last| Some((last.path.clone(), last.version)));
    Ok((found, next))
}

impl FileStores {
    /// Takes the versions away that the rules of the store do not keep; with `dry_run` it only says which. Audited.
    pub fn prune(&self, caller: &Caller, store: &str, dry_run: bool) -> Result<PruneReport> {
        self.prune_at(caller, store, dry_run, self.ages.now(now_ns(), Instant::now()))
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
        let Some(mut pruning) = self.pruning(store, dry_run, now)? else {
            return Ok(PruneReport { dry_run, ..PruneReport::default() });
        };
        while self.prune_step(caller, store, &mut pruning)? {}
        Ok(pruning.report)
    }

    /// What a store has to do by its rules; `None`: all stays. Ages count from `now`.
    pub(super) fn pruning(&self, store: &str, dry_run: bool, now: i64) -> Result<Option<Pruning>> {
        let keep = self.store(store)?.config.keep;
        if keep.versions.is_none() && keep.span.is_none() {
            return Ok(None);
        }
        let of = Due {
            versions: keep.versions.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX)),
            before: keep.span.map_or(i64::MIN, |span| now.saturating_sub(span.as_nanos_i64())),
            whole_names: keep.whole_names,
        };
        let report = PruneReport { dry_run, ..PruneReport::default() };
        Ok(Some(Pruning { of, after: (String::new(), 0), report }))
    }

    /// The next versions; whether there are more. Killed between two it does no harm.
    pub(super) fn prune_step(&self, caller: &Caller, store: &str, at: &mut Pruning) -> Result<bool> {
        let s = self.store(store)?;
        // Outside of a transaction: a look that finds nothing keeps no writer waiting.
        let (mut found, next) = self.db.read(|c| due(c, store, &at.of, &at.after))?;
        if !at.report.dry_run && !found.is_empty() {
            let _placing = s.placing();
            found = self.db.write_always(|tx| {
                // What is due is asked in the transaction: a label that was set just now holds.
                let (found, _) = due(tx, store, &at.of, &at.after)?;
                take(tx, caller, store, &found)?;
                Ok(found)
            })?;
        }
        let report = &mut at.report;
        report.versions += found.len() as u64;
        report.bytes += found.iter().map(|v| v.size).sum::<u64>();
        let room = NAMED_MAX.saturating_sub(report.named.len());
        report.named.extend(found.iter().take(room).map(Pruned::from));
        let more = next.is_some();
        at.after = next.unwrap_or_default();
        Ok(more)
    }
}

fn take(tx: &Tx<'_>, caller: &Caller, store: &str, versions: &[FileVersion]) -> Result<()> {
    let mut delete =
        tx.prepare_cached("DELETE FROM file_versions WHERE store = ?1 AND path = ?2 AND version = ?3")?;
    for v in versions {
        delete.execute((store, &v.path, v.version.cast_signed()))?;
        if rows::newest(tx, store, &v.path)?.is_none() {
            rows::forget_name(tx, store, &v.path)?;
        }
    }
    let Some((first, last)) = versions.first().zip(versions.last()) else { return Ok(()) };
    let detail = json!({
        "versions": versions.len(), "bytes": versions.iter().map(|v| v.size).sum::<u64>(),
        "first": format!("{}@{}", first.path, first.version), "last": format!("{}@{}", last.path, last.version),
    });
    let entry = Entry::new(caller, "files.prune", format!("store:{store}"));
    Audit::append(tx, &entry.detail(detail)).map(drop)
}
