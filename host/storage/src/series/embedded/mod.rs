//! The embedded engine: an LSM whose durable substrate is SQLite.
//!
//! A commit is one row of a log table; its rows are in memory (the head) until they are sealed into compressed
//! chunks, one transaction that also forgets their log rows. A start rebuilds the head from the log. Chunks of
//! a series may overlap (late data): the newer one wins per time and field, and compaction merges them.
//!
//! Locks are taken in this order: `pass`, `structure`, `commit`, `catalog`, a measurement's
//! fields, a series' state, the memory's parts, the cache. Nothing else is locked by whoever holds the queue of the
//! decoding threads.

mod body;
pub mod bounds;
mod bytes;
mod cache;
mod catalog;
mod chunk;
mod codec;
mod commit;
mod compact;
mod core;
mod crew;
mod days;
mod delete;
mod few;
mod guard;
mod join;
mod latest;
mod memory;
mod merge;
mod narrow;
mod open;
mod prepare;
mod record;
mod run;
mod scan;
mod seal;
mod statistics;
mod store;
mod tables;
mod tags;
#[cfg(test)]
mod tests;
mod verify;
mod wal;

pub(crate) use tables::MIGRATIONS;

use self::core::Core;
use crate::error::Result;
use crate::locks::{lock, read, write};
use crate::manifest;
use crate::series::pieces::{PieceStream, Wanted};
use crate::series::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, FrameStream, Latest, Selector,
    SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TimeStream, WriteBatch, WriteReport,
};
use crate::sqlite::{Database, Synchronous};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// How the engine's file is opened.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// A registered SQLite VFS; `None`: the operating system's.
    pub vfs: Option<String>,
    pub synchronous: Synchronous,
    /// Reader connections.
    pub readers: u32,
    /// `limits.series_max`: series in the store.
    pub series_max: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { vfs: None, synchronous: Synchronous::Full, readers: 4, series_max: 1_000_000 }
    }
}

/// The embedded engine over one file of its own. Threads of its own seal what is in memory and move the WAL.
#[derive(Debug)]
pub struct EmbeddedEngine {
    core: Arc<Core>,
    /// The threads that seal and that move the WAL.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl EmbeddedEngine {
    /// Opens or creates the file and rebuilds what is in memory. A damaged log record is set aside, logged and
    /// counted in [`EngineStats::quarantined`].
    pub fn open(path: &Path, config: &manifest::Embedded, options: EngineOptions) -> Result<Self> {
        let (core, ear) = open::open(path, config, &options)?;
        let core = Arc::new(core);
        // From here on what is begun is ended, also where the second thread cannot be.
        let engine = Self { core: core.clone(), threads: Mutex::default() };
        lock(&engine.threads).push(seal::spawn(core.clone())?);
        lock(&engine.threads).push(wal::spawn(core, ear)?);
        Ok(engine)
    }

    /// The file underneath, for backups. Everything that was acknowledged is in it.
    pub fn database(&self) -> &Database {
        &self.core.db
    }

    /// Background work that is due: seals what is too much or too old, compacts a little. Takes a fraction of a
    /// second; call it about once a second.
    pub fn maintain(&self) -> Result<()> {
        self.core.maintain()
    }

    /// Refuses further writes, ends the threads and moves the WAL into the file.
    pub fn close(&self) -> Result<()> {
        self.stop();
        self.core.db.checkpoint()
    }

    fn stop(&self) {
        self.core.bell.stop();
        self.core.wal.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the series store panicked");
            }
        }
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        self.stop();
    }
}

impl SeriesEngine for EmbeddedEngine {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        self.core.write(batch)
    }
    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        scan::scan(&self.core, key, range, fields, budget)
    }
    fn scan_pieces(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        wanted: Wanted,
        budget: &Budget,
    ) -> Result<PieceStream> {
        scan::scan_pieces(&self.core, key, range, fields, wanted.within, budget)
    }
    fn times(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<TimeStream> {
        Ok(Box::new(self.scan(key, range, Some(&[]), budget)?.map(|frame| frame.map(|f| f.times))))
    }
    fn admit(&self, batch: &WriteBatch) -> Result<()> {
        bounds::check(batch)
    }
    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        self.core.takes(batch)
    }
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        budget.check()?;
        self.core.delete(selector, range)
    }
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        self.core.latest(selector, budget)
    }
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        Ok(self.core.list(selector))
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "embedded", durable_on_return: true, maintained_here: true }
    }
    fn stats(&self) -> Result<EngineStats> {
        Ok(self.core.stats())
    }
    fn seal(&self) -> Result<()> {
        self.core.seal()
    }
    fn compact(&self) -> Result<CompactReport> {
        self.core.compact()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.core.verify(budget)
    }
}
