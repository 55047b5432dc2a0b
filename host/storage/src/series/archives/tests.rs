//! Rows that go into files and come back, asked for on their way.

mod crash;
mod damage;
mod random;
mod rules;

use super::restore::Back;
use super::*;
use crate::caller::Caller;
use crate::error::Result;
use crate::files::fault_disk::FaultDisk;
use crate::files::{CapDisk, FileStores, ObjectDisk, StoreConfig};
use crate::schema::MIGRATIONS;
use crate::series::model::TIME_MIN_NS;
use crate::series::model_engine::{Row, rows_of};
use crate::series::{
    Budget, Column, Frame, Selector, SeriesEngine, SeriesKey, TimeRange, Values, WriteBatch,
};
use crate::sqlite::{Database, Options};
use crate::testing::FaultVfs;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(super) const OP: Caller = Caller::Operator;
pub(super) const STORE: &str = "cold";
pub(super) const HOUR: i64 = 3_600_000_000_000;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const START: i64 = 20_000 * DAY;

pub(super) fn config() -> StoreConfig {
    StoreConfig {
        quota_bytes: 1 << 30,
        quota_files: 1_000_000,
        file_bytes_max: 1 << 28,
        ..StoreConfig::UNBOUNDED
    }
}

/// An engine with a store for its old rows.
pub(in crate::series) struct Cold {
    pub(in crate::series) archived: Arc<Archived>,
    pub(in crate::series) files: Arc<FileStores>,
    pub(in crate::series) db: Arc<Database>,
    /// Puts decimals before an engine.
    face: fn(Arc<dyn SeriesEngine>) -> Arc<dyn SeriesEngine>,
}

impl Cold {
    /// Over a folder in which it may have been before.
    pub(in crate::series) fn open(raw: Arc<dyn SeriesEngine>, folder: &Path) -> Self {
        Self::on(raw, folder, Box::new(CapDisk::open(&folder.join(STORE)).unwrap()))
    }

    /// [`Cold::open`] with the files of its store in memory: many of them, and none waits for a disk.
    pub(in crate::series) fn quick(
        raw: Arc<dyn SeriesEngine>,
        folder: &Path,
        memory: &Arc<FaultVfs>,
    ) -> Self {
        Self::on(raw, folder, Box::new(FaultDisk::new(memory, "/files")))
    }

    fn on(raw: Arc<dyn SeriesEngine>, folder: &Path, disk: Box<dyn ObjectDisk>) -> Self {
        let options = Options { synchronous: crate::sqlite::Synchronous::Off, ..Options::default() };
        let db = Arc::new(Database::open(&folder.join("a.db"), options, MIGRATIONS).unwrap());
        let disks = BTreeMap::from([(STORE.to_string(), (disk, config()))]);
        Self::over(raw, db, disks, folder).unwrap()
    }

    pub(super) fn over(
        raw: Arc<dyn SeriesEngine>,
        db: Arc<Database>,
        disks: BTreeMap<String, (Box<dyn ObjectDisk>, StoreConfig)>,
        folder: &Path,
    ) -> Result<Self> {
        let files = Arc::new(FileStores::with_disks(disks, db.clone(), Arc::new(|| Ok(())))?);
        let archived = Archived::open(raw, db.clone(), files.clone(), folder.to_path_buf())?;
        Ok(Self { archived, files, db, face: |engine| engine })
    }

    pub(in crate::series) fn with_face(
        mut self,
        face: fn(Arc<dyn SeriesEngine>) -> Arc<dyn SeriesEngine>,
    ) -> Self {
        self.face = face;
        self
    }

    /// What callers see.
    pub(in crate::series) fn engine(&self) -> Arc<dyn SeriesEngine> {
        (self.face)(self.archived.clone())
    }

    pub(in crate::series) fn live(&self) -> Arc<dyn SeriesEngine> {
        (self.face)(self.archived.raw().clone())
    }

    /// The rows before a time are in files, and still in the engine.
    pub(in crate::series) fn copy(&self, key: &SeriesKey, before: i64) -> Result<u64> {
        let taken =
            self.archived.take(self.live().as_ref(), To { caller: &OP, key, store: STORE }, before)?;
        taken.note(&self.archived, key, |_| Ok(()))?;
        Ok(taken.rows)
    }

    /// The rows before a time are in files, and in the engine no more.
    pub(in crate::series) fn archive(&self, key: &SeriesKey, before: i64) -> Result<u64> {
        let rows = self.copy(key, before)?;
        self.archived.leave(key, before, |_| Ok(()))?;
        // Not those of another series with more tags: retention sees to it that there is none.
        let others = self.archived.raw().list(&Selector::of(key))?.len() > 1;
        if !others {
            self.archived.raw().delete(&Selector::of(key), TimeRange { start: TIME_MIN_NS, end: before })?;
        }
        Ok(rows)
    }

    pub(in crate::series) fn restore(&self, key: &SeriesKey, range: TimeRange) -> Result<u64> {
        let live = self.live();
        let back =
            Back { archived: &self.archived, live: live.as_ref(), caller: &OP, budget: &Budget::default() };
        Ok(back.series(key, range, &|| Ok(()), &mut |_| ())?.1)
    }

    /// Every archive there ever was.
    pub(super) fn index(&self) -> Vec<Archive> {
        self.db.read(|c| super::index::page(c, &|_| true, 0, LISTED_MAX)).unwrap()
    }

    pub(super) fn rows(&self, key: &SeriesKey) -> Vec<(i64, Row)> {
        rows(self.engine().as_ref(), key, TimeRange::ALL).unwrap()
    }
}

/// Rows with a value.
pub(super) fn rows(engine: &dyn SeriesEngine, key: &SeriesKey, range: TimeRange) -> Result<Vec<(i64, Row)>> {
    let all = rows_of(engine.scan(key, range, None, &Budget::default())?)?;
    assert!(all.windows(2).all(|w| w[0].0 < w[1].0), "times ascend");
    Ok(all.into_iter().filter(|(_, row)| !row.is_empty()).collect())
}

pub(super) fn key(measurement: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, Vec::new()).unwrap()
}

/// An integer field of some rows.
pub(super) fn put(engine: &dyn SeriesEngine, key: &SeriesKey, field: &str, rows: &[(i64, i64)]) {
    let (times, values): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
    let frame = Frame { times, columns: vec![Column::new(field, Values::Integer(values))] };
    let report = engine.write(WriteBatch { series: vec![(key.clone(), frame)] }).unwrap();
    assert_eq!(report.dropped, 0, "{report:?}");
}
