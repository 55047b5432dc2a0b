//! Moving what is still needed out of packs that are mostly dead. Killed anywhere it does no harm: the new pack is on the disk before
//! the rows that point into it, and the old one goes after them. One pack at a time: no more is read, written and moved at once.

use super::chunks::{self, Located};
use super::collect::remove_packs;
use super::content::new_name;
use super::disk::{Area, ObjectDisk, TmpFile};
use super::read::{read_chunk, read_stored};
use super::store::{FileStores, Store, tmp_name};
use super::stream::Tmp;
use super::types::GcReport;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use std::collections::BTreeSet;
use std::io;

/// A pack of which less is needed is written anew, in percent.
const NEEDED_PERCENT: i64 = 50;

impl FileStores {
    /// Moves what is needed out of the first pack after a row of which too little is; the last that it looked at.
    pub(super) fn repack(
        &self,
        s: &Store,
        store: &str,
        after: i64,
        report: &mut GcReport,
    ) -> Result<Option<i64>> {
        // It needs room before it makes room.
        if (self.writable)().is_err() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT p.id, CASE WHEN p.store = ?1 THEN (SELECT sum(c.stored) FROM file_chunks c WHERE c.pack = p.id) * 100
             < p.bytes * {NEEDED_PERCENT} END FROM file_packs p WHERE p.id > ?2 ORDER BY p.id LIMIT ?3"
        );
        let (wasteful, last) = self.page(&sql, (store, after, s.config.batches.packs))?;
        // Who reads one now goes on; the next collection has another look.
        let Some(pack) = wasteful.into_iter().find(|pack| !s.pins.lock().has_pack(*pack)) else {
            return Ok(last);
        };
        one(self, s, store, pack, report)?;
        Ok(Some(pack))
    }
}

fn one(files: &FileStores, s: &Store, store: &str, pack: i64, report: &mut GcReport) -> Result<()> {
    let io = |e: io::Error| Error::io(format!("moving chunks of store `{store}`"), e);
    let needed: Vec<Located> = files.db.read(|c| {
        let mut statement = c.prepare_cached(
            "SELECT c.id, 0, c.size, c.hash, c.pack, p.name, c.at, c.stored
             FROM file_packs p JOIN file_chunks c ON c.pack = p.id WHERE p.id = ?1 ORDER BY c.at",
        )?;
        let rows = statement.query_map([pack], chunks::locate)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    })?;
    let Some(first) = needed.first() else { return Ok(()) };
    let mut from = match s.disk.open(Area::Packs, &first.pack_name) {
        // What is damaged stays where it is, for whoever looks at it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(io)?,
    };
    let mut to = Moving::new(s.disk.as_ref())?;
    let mut moved = Vec::with_capacity(needed.len());
    for chunk in &needed {
        if read_chunk(from.as_mut(), chunk).map_err(io)?.is_err() {
            return Ok(());
        }
        let Ok(stored) = read_stored(from.as_mut(), chunk).map_err(io)? else { return Ok(()) };
        moved.push((chunk.id, to.add(&stored).map_err(io)?));
    }
    drop(from);
    // Puts need not wait for the disk: what comes between a file and its row is a collection, and this is the only one.
    let new = to.publish().map_err(io)?;
    let written = new.1;
    let pinned = s.pins.lock();
    let gone = files.db.write_always(|tx| {
        let rows = chunks::add_packs(tx, store, &[new], now_ns())?;
        let to = rows.first().ok_or_else(|| Error::internal("a pack without a row"))?;
        let mut point =
            tx.prepare_cached("UPDATE file_chunks SET pack = ?3, at = ?4 WHERE id = ?1 AND pack = ?2")?;
        for (id, at) in &moved {
            point.execute((id, pack, to, at.cast_signed()))?;
        }
        chunks::drop_empty(tx, &BTreeSet::from([pack]), &pinned)
    })?;
    drop(pinned);
    let freed = remove_packs(s.disk.as_ref(), store, &gone)?;
    report.repacked += 1;
    report.bytes += freed.saturating_sub(written);
    Ok(())
}

/// The pack that live chunks move to when most of their old one is dead.
struct Moving<'a> {
    tmp: Tmp<'a>,
    file: Box<dyn TmpFile>,
    name: String,
    bytes: u64,
}

impl<'a> Moving<'a> {
    fn new(disk: &'a dyn ObjectDisk) -> Result<Self> {
        let name = new_name()?;
        let (tmp, file) = Tmp::create(disk, tmp_name()).map_err(|e| Error::io("moving chunks", e))?;
        Ok(Self { tmp, file, name, bytes: 0 })
    }

    /// Where it is now.
    fn add(&mut self, stored: &[u8]) -> io::Result<u64> {
        self.file.write_all(stored)?;
        let at = self.bytes;
        self.bytes += stored.len() as u64;
        Ok(at)
    }

    /// Synced and in its place.
    fn publish(mut self) -> io::Result<(String, u64)> {
        self.file.sync()?;
        self.tmp.publish(Area::Packs, &self.name)?;
        Ok((self.name, self.bytes))
    }
}
