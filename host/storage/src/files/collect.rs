//! Collecting what nothing names: objects, the chunks that they were made of, packs.
//!
//! Run twice it does no more; killed at any step it does no harm: a row goes first, a file without a row is found again.

use super::chunks;
use super::disk::{Area, ObjectDisk};
use super::repack::repack;
use super::rows;
use super::store::{FileStores, Store};
use super::types::GcReport;
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError};

/// Files that are removed while puts wait.
pub(super) const BATCH: usize = 256;
/// Chunks that are looked at in one transaction.
const CHUNKS_STEP: i64 = 4_096;
/// Of a row of `file_objects`: nothing names the object.
const UNNAMED: &str = "NOT EXISTS (SELECT 1 FROM file_versions v WHERE v.store = file_objects.store AND v.hash = file_objects.hash)
     AND NOT EXISTS (SELECT 1 FROM state_checkpoints s WHERE s.store = file_objects.store AND s.hash = file_objects.hash)";

impl FileStores {
    /// Removes objects that neither a version of a file nor a checkpoint of a strategy names, and chunks that no object is made of.
    /// [`Kind::Busy`] while a backup copies.
    pub fn gc(&self, caller: &Caller, store: &str) -> Result<GcReport> {
        caller.require(Scope::Admin, "collect garbage")?;
        let s = self.store(store)?;
        let _alone = alone(s)?.ok_or_else(|| {
            Error::new(Kind::Busy, format!("a backup or another collection works on store `{store}`"))
                .hint("collect when it is done")
        })?;
        let mut report = GcReport::default();
        // Nor does an object go that a put found there and relies on.
        let still = s.placing();
        report.removed += self.db.write_always(|tx| {
            let sql = format!("DELETE FROM file_objects WHERE store = ?1 AND {UNNAMED} RETURNING chunked");
            let mut gone = tx.prepare_cached(&sql)?;
            let in_chunks = gone.query_map([store], |r| r.get::<_, bool>(0))?;
            Ok(in_chunks.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().filter(|c| *c).count() as u64)
        })?;
        drop(still);
        self.collect_chunks(s, store, &mut report)?;
        for area in Area::ALL {
            let listed =
                s.disk.list(area).map_err(|e| Error::io(format!("collecting store `{store}`"), e))?;
            for batch in listed.chunks(BATCH) {
                self.collect_files(caller, s, (store, area), batch, &mut report)?;
            }
        }
        Ok(report)
    }

    /// The chunks and packs of a store that are not needed, and packs of which little is.
    fn collect_chunks(&self, s: &Store, store: &str, report: &mut GcReport) -> Result<()> {
        let mut after = 0_i64;
        loop {
            let unused: Vec<i64> = self.db.read(|c| {
                let mut statement = c.prepare_cached(
                    "SELECT id FROM file_chunks WHERE id > ?2 AND +store = ?1
                     AND NOT EXISTS (SELECT 1 FROM file_recipes r WHERE r.chunk = file_chunks.id) ORDER BY id LIMIT ?3",
                )?;
                let rows = statement.query_map((store, after, CHUNKS_STEP), |r| r.get(0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })?;
            let Some(last) = unused.last() else { break };
            after = *last;
            let before = self.chunk_count(store)?;
            self.drop_chunks(s, store, &unused, report)?;
            report.chunks += before.saturating_sub(self.chunk_count(store)?);
        }
        // Packs that a reader held the last time.
        let empty: BTreeSet<i64> = self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT id FROM file_packs WHERE store = ?1 AND NOT EXISTS (SELECT 1 FROM file_chunks c WHERE c.pack = file_packs.id)",
            )?;
            let rows = statement.query_map([store], |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        if !empty.is_empty() {
            let pinned = s.pins.lock();
            let gone = self.db.write_always(|tx| chunks::drop_empty(tx, &empty, &pinned))?;
            drop(pinned);
            report.bytes += remove_packs(s.disk.as_ref(), store, &gone)?;
        }
        // It needs room before it makes room.
        if (self.writable)().is_ok() {
            repack(self, s, store, report)?;
        }
        Ok(())
    }

    fn chunk_count(&self, store: &str) -> Result<u64> {
        self.db.read(|c| {
            let mut statement = c.prepare_cached("SELECT count(*) FROM file_chunks WHERE store = ?1")?;
            Ok(statement.query_row([store], |r| r.get::<_, i64>(0))?.unsigned_abs())
        })
    }

    /// Takes away those of some chunks that no object is made of, and the packs that hold nothing more.
    fn drop_chunks(&self, s: &Store, store: &str, of: &[i64], report: &mut GcReport) -> Result<()> {
        let pinned = s.pins.lock();
        let gone = self.db.write_always(|tx| {
            let packs = chunks::drop_unused(tx, of, &pinned)?;
            chunks::drop_empty(tx, &packs, &pinned)
        })?;
        drop(pinned);
        report.bytes += remove_packs(s.disk.as_ref(), store, &gone)?;
        Ok(())
    }

    /// Files of an area that no row names.
    fn collect_files(
        &self,
        caller: &Caller,
        s: &Store,
        (store, area): (&str, Area),
        batch: &[(String, u64)],
        report: &mut GcReport,
    ) -> Result<()> {
        let unknown = |c: &Connection| {
            let mut out = Vec::new();
            for file in batch {
                if !is_known(c, store, area, &file.0)? {
                    out.push(file);
                }
            }
            Ok::<_, Error>(out)
        };
        if self.db.read(unknown)?.is_empty() {
            return Ok(());
        }
        // No put is between its object and its row while this is held.
        let _still = s.placing();
        // The commit of a put that failed may be on the disk all the same, and would come back with the next start. This
        // one writes over it, so that what is removed now is named by nothing, whatever happens.
        let gone = self.db.write_always(|tx| {
            let gone = unknown(tx)?;
            let bytes: u64 = gone.iter().map(|(_, size)| size).sum();
            if !gone.is_empty() {
                let entry = Entry::new(caller, "files.gc", format!("store:{store}"));
                Audit::append(
                    tx,
                    &entry.detail(json!({ "area": area.folder(), "objects": gone.len(), "bytes": bytes })),
                )?;
            }
            Ok(gone)
        })?;
        for (name, size) in gone {
            // An upload that begins at this moment has its row before its file.
            remove(s.disk.as_ref(), store, area, name)?;
            report.removed += u64::from(area == Area::Objects);
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
        let Some(_alone) = alone(s)? else { return Ok(false) };
        // No put is between its object and its row while this is held.
        let _still = s.placing();
        // As with a collection, this commit writes over one that failed and may be on the disk all the same.
        let (gone, unused) = self.db.write_always(|tx| {
            note(tx)?;
            let (mut gone, mut unused) = (Vec::new(), Vec::new());
            let sql = format!(
                "DELETE FROM file_objects WHERE store = ?1 AND hash = ?2 AND {UNNAMED} RETURNING chunked"
            );
            for hash in hashes {
                let made_of = chunks::of_object(tx, store, hash)?;
                let in_chunks = tx.prepare_cached(&sql)?.query_row((store, hash), |r| r.get::<_, bool>(0));
                match in_chunks.optional()? {
                    Some(true) => unused.extend(made_of),
                    _ if !rows::object_is_known(tx, store, hash)? => gone.push(hash),
                    _ => {}
                }
            }
            Ok((gone, unused))
        })?;
        for hash in gone {
            remove(s.disk.as_ref(), store, Area::Objects, hash)?;
        }
        for unused in unused.chunks(usize::try_from(CHUNKS_STEP).unwrap_or(1)) {
            self.drop_chunks(s, store, unused, &mut GcReport::default())?;
        }
        Ok(true)
    }

    /// An object for a backup, which has its own snapshot of the rows.
    pub(crate) fn open_object(&self, store: &str, hash: &str, size: u64) -> Result<Box<dyn Read + Send>> {
        self.open_content(store, (hash, size), &format!("{store}:{hash}"), 0..size)
    }

    /// While it is held, no object goes: a backup copies what its snapshot names. Take it before the writer's barrier
    /// and the snapshot, never after: a collection that runs is waited for, and it needs the writer.
    pub(crate) fn hold_objects(&self) -> Vec<RwLockReadGuard<'_, ()>> {
        self.stores.values().map(|s| s.holds.read().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

/// The store for oneself; `None`: a backup has it, or another collection. Not waiting: a backup can take hours.
fn alone(s: &Store) -> Result<Option<RwLockWriteGuard<'_, ()>>> {
    match s.holds.try_write() {
        Ok(guard) => Ok(Some(guard)),
        Err(TryLockError::Poisoned(p)) => Ok(Some(p.into_inner())),
        Err(TryLockError::WouldBlock) => Ok(None),
    }
}

/// Does a row name the file?
pub(super) fn is_known(c: &Connection, store: &str, area: Area, name: &str) -> Result<bool> {
    let sql = match area {
        Area::Objects => "SELECT 1 FROM file_objects WHERE store = ?1 AND hash = ?2 AND chunked = 0",
        Area::Packs => "SELECT 1 FROM file_packs WHERE store = ?1 AND name = ?2",
        Area::Uploads => "SELECT 1 FROM file_uploads WHERE store = ?1 AND id = ?2 AND version IS NULL",
    };
    Ok(c.prepare_cached(sql)?.exists((store, name))?)
}

/// Removes a file that may be gone already.
pub(super) fn remove(disk: &dyn ObjectDisk, store: &str, area: Area, name: &str) -> Result<()> {
    match disk.remove(area, name) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}/{name} of store `{store}`", area.folder()), e))
        }
        _ => Ok(()),
    }
}

/// Removes packs whose rows are gone; their bytes.
pub(super) fn remove_packs(disk: &dyn ObjectDisk, store: &str, packs: &[(String, u64)]) -> Result<u64> {
    for (name, _) in packs {
        remove(disk, store, Area::Packs, name)?;
    }
    Ok(packs.iter().map(|(_, bytes)| bytes).sum())
}
