//! What looks at all objects of a store: collecting those that nothing names, verifying, copying for a backup.

use super::disk::ObjectRead;
use super::rows;
use super::store::{FileStores, Store};
use super::stream::damage;
use super::types::{FilesFault, FilesVerify, GcReport};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::sqlite::Tx;
use rusqlite::OptionalExtension as _;
use serde_json::json;
use std::io;
use std::sync::{PoisonError, RwLockReadGuard, TryLockError};

/// Objects that are removed while puts wait.
const BATCH: usize = 256;
/// Rows that `verify` reads at once.
const VERIFY_PAGE: i64 = 1_000;
/// Names that a fault lists.
const FILES_NAMED_MAX: i64 = 100;
/// Of a row of `file_objects`: nothing names the object.
const UNNAMED: &str = "NOT EXISTS (SELECT 1 FROM file_versions v WHERE v.store = file_objects.store AND v.hash = file_objects.hash)
     AND NOT EXISTS (SELECT 1 FROM state_checkpoints s WHERE s.store = file_objects.store AND s.hash = file_objects.hash)";

impl FileStores {
    /// Removes objects that neither a version of a file nor a checkpoint of a strategy names. Run twice it does no more; killed at any step it does no harm: the row goes
    /// first, an object without a row is found again by its file. [`Kind::Busy`] while a backup copies.
    pub fn gc(&self, caller: &Caller, store: &str) -> Result<GcReport> {
        caller.require(Scope::Admin, "collect garbage")?;
        let s = self.store(store)?;
        // Not waiting: a backup can take hours.
        let _alone = match s.holds.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(p)) => p.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    Kind::Busy,
                    format!("a backup or another collection works on store `{store}`"),
                )
                .hint("collect when it is done"));
            }
        };
        let mut usage = s.usage();
        *usage = self.db.write_always(|tx| {
            tx.execute(&format!("DELETE FROM file_objects WHERE store = ?1 AND {UNNAMED}"), [store])?;
            rows::usage(tx, store)
        })?;
        drop(usage);
        let listed = s.disk.list().map_err(|e| Error::io(format!("collecting store `{store}`"), e))?;
        let mut report = GcReport::default();
        for batch in listed.chunks(BATCH) {
            self.collect(caller, s, store, batch, &mut report)?;
        }
        Ok(report)
    }

    fn collect(
        &self,
        caller: &Caller,
        s: &Store,
        store: &str,
        batch: &[(String, u64)],
        report: &mut GcReport,
    ) -> Result<()> {
        let unknown = |c: &rusqlite::Connection| {
            let mut out = Vec::new();
            for object in batch {
                if !rows::object_is_known(c, store, &object.0)? {
                    out.push(object);
                }
            }
            Ok::<_, Error>(out)
        };
        if self.db.read(unknown)?.is_empty() {
            return Ok(());
        }
        // No put is between its object and its row while this is held.
        let _still = s.usage();
        // The commit of a put that failed may be on the disk all the same, and would come back with the next start. This
        // one writes over it, so that what is removed now is named by nothing, whatever happens.
        let gone = self.db.write_always(|tx| {
            let gone = unknown(tx)?;
            let bytes: u64 = gone.iter().map(|(_, size)| size).sum();
            if !gone.is_empty() {
                let entry = Entry::new(caller, "files.gc", format!("store:{store}"));
                Audit::append(tx, &entry.detail(json!({ "objects": gone.len(), "bytes": bytes })))?;
            }
            Ok(gone)
        })?;
        for (hash, size) in gone {
            match s.disk.remove(hash) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("collecting object {hash} of store `{store}`"), e));
                }
                _ => {}
            }
            report.removed += 1;
            report.bytes += size;
        }
        Ok(())
    }

    /// Removes those of some objects that nothing names. `note` must write something in the same transaction. `false`: a backup
    /// copies or a collection goes on, so that nothing was done; ask again later. Of a store that the manifest has no more,
    /// nothing is touched.
    pub(crate) fn take_away(
        &self,
        store: &str,
        hashes: &[String],
        note: &dyn Fn(&Tx<'_>) -> Result<()>,
    ) -> Result<bool> {
        let Some(s) = self.stores.get(store) else { return Ok(true) };
        let _alone = match s.holds.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(p)) => p.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        // No put is between its object and its row while this is held.
        let mut usage = s.usage();
        let before = *usage;
        // As with a collection, this commit writes over one that failed and may be on the disk all the same.
        let (gone, after) = self.db.write_always(|tx| {
            note(tx)?;
            let (mut gone, mut after) = (Vec::new(), before);
            let sql = format!(
                "DELETE FROM file_objects WHERE store = ?1 AND hash = ?2 AND {UNNAMED} RETURNING size"
            );
            for hash in hashes {
                let size = tx.prepare_cached(&sql)?.query_row((store, hash), |r| r.get::<_, i64>(0));
                if let Some(size) = size.optional()? {
                    after.objects = after.objects.saturating_sub(1);
                    after.bytes = after.bytes.saturating_sub(size.unsigned_abs());
                }
                if !rows::object_is_known(tx, store, hash)? {
                    gone.push(hash);
                }
            }
            Ok((gone, after))
        })?;
        *usage = after;
        for hash in gone {
            match s.disk.remove(hash) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("removing object {hash} of store `{store}`"), e));
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// Re-hashes every object and names what is damaged or missing, with the files that need it. `progress` gets the
    /// bytes of each object.
    pub fn verify(&self, caller: &Caller, store: &str, progress: &mut dyn FnMut(u64)) -> Result<FilesVerify> {
        caller.require(Scope::Read, "verify files")?;
        let s = self.store(store)?;
        let mut report = FilesVerify::default();
        let mut after = String::new();
        loop {
            let page: Vec<(String, u64)> = self.db.read(|c| {
                let mut statement = c.prepare_cached(
                    "SELECT hash, size FROM file_objects WHERE store = ?1 AND hash > ?2 ORDER BY hash LIMIT ?3",
                )?;
                let rows = statement.query_map((store, &after, VERIFY_PAGE), |r| {
                    Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs()))
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (hash, size) in page {
                if let Some(problem) = damage(s.disk.as_ref(), &hash, size) {
                    // Collected since the page was read: nothing is wrong.
                    if !self.db.read(|c| rows::object_is_known(c, store, &hash))? {
                        continue;
                    }
                    let files = self.files_of(store, &hash)?;
                    report.faults.push(FilesFault { store: store.into(), blake3: hash, problem, files });
                }
                report.objects += 1;
                report.bytes += size;
                progress(size);
            }
        }
        let listed = s.disk.list().map_err(|e| Error::io(format!("verifying store `{store}`"), e))?;
        for batch in listed.chunks(BATCH) {
            report.orphans += self.db.read(|c| {
                batch
                    .iter()
                    .try_fold(0, |n, (hash, _)| Ok(n + u64::from(!rows::object_is_known(c, store, hash)?)))
            })?;
        }
        Ok(report)
    }

    fn files_of(&self, store: &str, hash: &str) -> Result<Vec<String>> {
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT DISTINCT path FROM file_versions WHERE store = ?1 AND hash = ?2
                 UNION ALL SELECT 'state:' || s.name || '@' || c.revision
                 FROM state_checkpoints c JOIN state_strategies s ON s.id = c.strategy WHERE c.store = ?1 AND c.hash = ?2
                 ORDER BY 1 LIMIT ?3",
            )?;
            let rows = statement.query_map((store, hash, FILES_NAMED_MAX), |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// An object for a backup, which has its own snapshot of the rows.
    pub(crate) fn open_object(&self, store: &str, hash: &str) -> Result<Box<dyn ObjectRead>> {
        let opened = self.store(store)?.disk.open(hash);
        opened.map_err(|e| Error::io(format!("object {hash} of store `{store}`"), e))
    }

    /// While it is held, no object goes: a backup copies what its snapshot names. Take it before the writer's barrier
    /// and the snapshot, never after: a collection that runs is waited for, and it needs the writer.
    pub(crate) fn hold_objects(&self) -> Vec<RwLockReadGuard<'_, ()>> {
        self.stores.values().map(|s| s.holds.read().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}
