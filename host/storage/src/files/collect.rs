//! Collecting what nothing names: objects, the chunks that they were made of, packs.
//!
//! Run twice it does no more; killed at any step it does no harm: a row goes first, a file without a row is found again. Each step is
//! bounded ([`super::Batches`]), so that nobody waits for the whole of a large store, and the background work does some of them at a
//! time.

use super::chunks;
use super::disk::{Area, ObjectDisk};
use super::rows;
use super::store::{FileStores, Store};
use super::types::GcReport;
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::json;
use std::io::{self, Read};
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

/// How long a collection that somebody asked for waits for the store: longer than the background work takes in one turn.
const ALONE_WAIT_MAX: Duration = Duration::from_secs(2);
const ALONE_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Of a row of `file_objects`: nothing names the object.
const UNNAMED: &str = "NOT EXISTS (SELECT 1 FROM file_versions v WHERE v.store = file_objects.store AND v.hash = file_objects.hash)
     AND NOT EXISTS (SELECT 1 FROM state_checkpoints s WHERE s.store = file_objects.store AND s.hash = file_objects.hash)";

/// How far a collection is. It may be left at any of these and go on later, while others put and delete: whether something is needed
/// is asked again in the transaction that takes it away.
#[derive(Debug)]
enum At {
    /// Objects after this hash.
    Objects(String),
    /// Chunks after this row.
    Chunks(i64),
    /// Packs that hold nothing, after this row.
    Packs(i64),
    /// Packs of which too little is needed, after this row.
    Repack(i64),
    /// Files that no row names: of which area, in which folders more are looked for, and those that were found.
    Files { area: usize, folders: Vec<String>, files: Vec<(String, u64)> },
}

/// A collection on its way.
#[derive(Debug)]
pub(super) struct Collection {
    at: At,
    report: GcReport,
}

impl Collection {
    pub(super) fn new() -> Self {
        Self { at: At::Objects(String::new()), report: GcReport::default() }
    }
}

/// A page of a table: rows that may go, and where the next page begins; `None`: there is none.
type Page = (Vec<i64>, Option<i64>);

impl FileStores {
    /// Removes objects that neither a version of a file nor a checkpoint of a strategy names, and chunks that no object is made of.
    /// [`Kind::Busy`] while a backup copies; the turn of the background work is waited for.
    pub fn gc(&self, caller: &Caller, store: &str) -> Result<GcReport> {
        caller.require(Scope::Admin, "collect garbage")?;
        let mut collection = Collection::new();
        let begin = Instant::now();
        while self.collect(caller, store, &mut collection, &mut || true)?.is_none() {
            if begin.elapsed() >= ALONE_WAIT_MAX {
                return Err(Error::new(
                    Kind::Busy,
                    format!("a backup or another collection works on store `{store}`"),
                )
                .hint("collect when it is done"));
            }
            std::thread::sleep(ALONE_LOOK_EVERY);
        }
        Ok(collection.report)
    }

    /// Goes on with a collection while `more` says so; whether it is done. `None`: a backup or another one works on the store.
    pub(super) fn collect(
        &self,
        caller: &Caller,
        store: &str,
        collection: &mut Collection,
        more: &mut dyn FnMut() -> bool,
    ) -> Result<Option<bool>> {
        let s = self.store(store)?;
        let Some(_alone) = alone(s)? else { return Ok(None) };
        while more() {
            let Collection { at, report } = collection;
            let next = match at {
                At::Objects(after) => match self.collect_objects(s, store, after, report)? {
                    Some(last) => At::Objects(last),
                    None => At::Chunks(0),
                },
                At::Chunks(after) => match self.collect_chunks(s, store, *after, report)? {
                    Some(last) => At::Chunks(last),
                    None => At::Packs(0),
                },
                At::Packs(after) => match self.collect_packs(s, store, *after, report)? {
                    Some(last) => At::Packs(last),
                    None => At::Repack(0),
                },
                At::Repack(after) => match self.repack(s, store, *after, report)? {
                    Some(last) => At::Repack(last),
                    None => At::Files { area: 0, folders: self.folders(s, store, 0)?, files: Vec::new() },
                },
                At::Files { area, folders, files } => {
                    let Some(of) = Area::ALL.get(*area) else { return Ok(Some(true)) };
                    let most = s.config.batches.files;
                    if files.len() >= most || (folders.is_empty() && !files.is_empty()) {
                        let batch = files.split_off(files.len().saturating_sub(most));
                        self.collect_files(caller, s, (store, *of), &batch, report)?;
                    } else if let Some(folder) = folders.pop() {
                        files.extend(self.unknown(s, (store, *of), &folder)?);
                    } else {
                        *area += 1;
                        *folders = self.folders(s, store, *area)?;
                    }
                    continue;
                }
            };
            *at = next;
        }
        Ok(Some(false))
    }

    fn folders(&self, s: &Store, store: &str, area: usize) -> Result<Vec<String>> {
        let Some(area) = Area::ALL.get(area) else { return Ok(Vec::new()) };
        s.disk.folders(*area).map_err(|e| Error::io(format!("collecting store `{store}`"), e))
    }

    /// Takes objects away that nothing names, of those after a hash; the last that it looked at.
    fn collect_objects(
        &self,
        s: &Store,
        store: &str,
        after: &str,
        report: &mut GcReport,
    ) -> Result<Option<String>> {
        let of = s.config.batches;
        let page: Vec<(String, u64, bool)> = self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT hash, iif(chunked, size, 0), {UNNAMED} FROM file_objects WHERE store = ?1 AND hash > ?2 ORDER BY hash LIMIT ?3"
            ))?;
            let rows = statement.query_map((store, after, signed(of.objects)), |r| {
                Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs(), r.get(2)?))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        let mut last = page.last().map(|(hash, ..)| hash.clone());
        // With an object go the rows of its chunks: so many that it can have.
        let (mut gone, mut chunks) = (Vec::new(), 0_u64);
        let least = s.config.chunking.min.max(1) as u64;
        let mut seen = None;
        for (hash, size, unnamed) in page {
            if unnamed {
                chunks = chunks.saturating_add(size.div_ceil(least));
                if chunks > of.chunks as u64 && !gone.is_empty() {
                    last = seen;
                    break;
                }
                gone.push(hash.clone());
            }
            seen = Some(hash);
        }
        if !gone.is_empty() {
            // Nor does an object go that a put found there and relies on.
            let _still = s.placing();
            let pinned = s.pins.lock();
            report.removed += self.db.write_always(|tx| {
                let mut in_chunks = 0;
                // Who reads one goes on; the next collection has another look.
                for hash in gone.iter().filter(|hash| !pinned.has_object(hash)) {
                    in_chunks += u64::from(drop_unnamed(tx, store, hash)? == Some(true));
                }
                Ok(in_chunks)
            })?;
        }
        Ok(last)
    }

    /// Takes chunks away that no object is made of, of those after a row, and the packs that hold nothing more; the last that it looked
    /// at.
    fn collect_chunks(
        &self,
        s: &Store,
        store: &str,
        after: i64,
        report: &mut GcReport,
    ) -> Result<Option<i64>> {
        // Those of other stores, too: so each look has a bound.
        let (unused, last) = self.page(
            "SELECT id, store = ?1 AND NOT EXISTS (SELECT 1 FROM file_recipes r WHERE r.chunk = file_chunks.id)
             FROM file_chunks WHERE id > ?2 ORDER BY id LIMIT ?3",
            (store, after, s.config.batches.chunks),
        )?;
        if !unused.is_empty() {
            self.drop_chunks(s, store, &unused, report)?;
        }
        Ok(last)
    }

    /// Takes packs away that hold no chunk: those that a reader held the last time.
    fn collect_packs(
        &self,
        s: &Store,
        store: &str,
        after: i64,
        report: &mut GcReport,
    ) -> Result<Option<i64>> {
        let (empty, last) = self.page(
            "SELECT id, store = ?1 AND NOT EXISTS (SELECT 1 FROM file_chunks c WHERE c.pack = file_packs.id)
             FROM file_packs WHERE id > ?2 ORDER BY id LIMIT ?3",
            (store, after, s.config.batches.packs),
        )?;
        if !empty.is_empty() {
            let pinned = s.pins.lock();
            let empty = empty.into_iter().collect();
            let gone = self.db.write_always(|tx| chunks::drop_empty(tx, &empty, &pinned))?;
            drop(pinned);
            report.bytes += remove_packs(s.disk.as_ref(), store, &gone)?;
        }
        Ok(last)
    }

    /// Rows after one, at most so many, those of which a statement says that they are meant; and the last of all.
    pub(super) fn page(&self, sql: &str, (store, after, most): (&str, i64, usize)) -> Result<Page> {
        let rows: Vec<(i64, Option<bool>)> = self.db.read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map((store, after, signed(most)), |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        let last = rows.last().map(|(id, _)| *id);
        Ok((rows.into_iter().filter(|(_, meant)| *meant == Some(true)).map(|(id, _)| id).collect(), last))
    }

    /// Takes those of some chunks away that no object is made of, and the packs that hold nothing more.
    fn drop_chunks(&self, s: &Store, store: &str, of: &[i64], report: &mut GcReport) -> Result<()> {
        let pinned = s.pins.lock();
        let (chunks, gone) = self.db.write_always(|tx| {
            let (chunks, packs) = chunks::drop_unused(tx, of, &pinned)?;
            Ok((chunks, chunks::drop_empty(tx, &packs, &pinned)?))
        })?;
        drop(pinned);
        report.chunks += chunks;
        report.bytes += remove_packs(s.disk.as_ref(), store, &gone)?;
        Ok(())
    }

    /// The files of a folder that no row names at this moment.
    fn unknown(&self, s: &Store, of: (&str, Area), folder: &str) -> Result<Vec<(String, u64)>> {
        let listed = s.disk.list_in(of.1, folder);
        let listed = listed.map_err(|e| Error::io(format!("collecting store `{}`", of.0), e))?;
        let mut found = Vec::new();
        for batch in listed.chunks(s.config.batches.files.max(1)) {
            found.extend(
                self.db.read(|c| Ok(unknown(c, of, batch)?.into_iter().cloned().collect::<Vec<_>>()))?,
            );
        }
        Ok(found)
    }

    /// Removes files of an area that no row names.
    fn collect_files(
        &self,
        caller: &Caller,
        s: &Store,
        (store, area): (&str, Area),
        batch: &[(String, u64)],
        report: &mut GcReport,
    ) -> Result<()> {
        // No put is between its object and its row while this is held.
        let _still = s.placing();
        // The commit of a put that failed may be on the disk all the same, and would come back with the next start. This
        // one writes over it, so that what is removed now is named by nothing, whatever happens.
        let gone = self.db.write_always(|tx| {
            let gone = unknown(tx, (store, area), batch)?;
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
            let pinned = s.pins.lock();
            // One that is read in chunks, which others named, waits for a collection.
            for hash in hashes.iter().filter(|hash| !pinned.has_object(hash)) {
                let made_of = chunks::of_object(tx, store, hash)?;
                match drop_unnamed(tx, store, hash)? {
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
        for unused in unused.chunks(s.config.batches.chunks) {
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

/// As a bound of a statement.
fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The store for oneself; `None`: a backup has it, or another collection. Not waiting: a backup can take hours.
fn alone(s: &Store) -> Result<Option<RwLockWriteGuard<'_, ()>>> {
    match s.holds.try_write() {
        Ok(guard) => Ok(Some(guard)),
        Err(TryLockError::Poisoned(p)) => Ok(Some(p.into_inner())),
        Err(TryLockError::WouldBlock) => Ok(None),
    }
}

/// Takes the row of an object that nothing names; whether it was in chunks.
fn drop_unnamed(tx: &Tx<'_>, store: &str, hash: &str) -> Result<Option<bool>> {
    let sql =
        format!("DELETE FROM file_objects WHERE store = ?1 AND hash = ?2 AND {UNNAMED} RETURNING chunked");
    Ok(tx.prepare_cached(&sql)?.query_row((store, hash), |r| r.get(0)).optional()?)
}

/// Those of some files that no row names.
fn unknown<'a>(
    c: &Connection,
    (store, area): (&str, Area),
    files: &'a [(String, u64)],
) -> Result<Vec<&'a (String, u64)>> {
    let mut out = Vec::new();
    for file in files {
        if !is_known(c, store, area, &file.0)? {
            out.push(file);
        }
    }
    Ok(out)
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
