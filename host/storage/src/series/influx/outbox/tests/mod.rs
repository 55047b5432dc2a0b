//! The outbox over the reference engine as its server, which a test may take away.

mod crash;
mod faults;
mod fixtures;
mod hour;
mod influxd;
mod overlay;
mod still;
mod takes;

use super::{Outbox, OutboxOptions, Target, target::Delivery};
use crate::error::{Error, Kind, Result};
use crate::series::influx::types::Fields;
use crate::series::model_engine::{ModelEngine, Row, rows_of};
use crate::series::{
    Budget, Capabilities, Column, CompactReport, DeleteReport, EngineStats, Fault, Frame, FrameStream,
    Latest, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, WriteBatch, WriteReport,
};
use crate::sqlite::Synchronous;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The reference engine behind a line that can be cut.
#[derive(Debug, Default)]
pub(super) struct Server {
    model: Mutex<Arc<ModelEngine>>,
    pub down: AtomicBool,
    /// Rows of each delivery that came through.
    pub deliveries: Mutex<Vec<usize>>,
}

impl Server {
    fn model(&self) -> Arc<ModelEngine> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Empties it.
    pub fn reset(&self) {
        *self.model.lock().unwrap() = Arc::default();
    }
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
    fn reach(&self) -> Result<Arc<ModelEngine>> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Unavailable, "the server is down"));
        }
        Ok(self.model())
    }
    /// What the server itself has.
    pub fn rows(&self, key: &SeriesKey) -> usize {
        self.model().rows(key).unwrap().len()
    }
}

impl SeriesEngine for Server {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        self.reach()?.write(batch)
    }
    fn scan(&self, k: &SeriesKey, r: TimeRange, f: Option<&[String]>, b: &Budget) -> Result<FrameStream> {
        self.reach()?.scan(k, r, f, b)
    }
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        self.reach()?.delete_within(selector, range, budget)
    }
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        self.reach()?.latest_within(selector, budget)
    }
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        self.reach()?.list(selector)
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "outbox", durable_on_return: true, maintained_here: false }
    }
    fn stats(&self) -> Result<EngineStats> {
        self.reach()?.stats()
    }
    fn seal(&self) -> Result<()> {
        Ok(())
    }
    fn compact(&self) -> Result<CompactReport> {
        Ok(CompactReport::default())
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.reach()?.verify(budget)
    }
}

/// So that a test keeps its server.
#[derive(Debug)]
pub(super) struct Line(pub Arc<Server>);

impl Target for Line {
    fn engine(&self) -> &dyn SeriesEngine {
        &*self.0
    }
    fn types(&self, bucket: &str, measurements: &[&str]) -> Result<Vec<Fields>> {
        let model = self.0.reach()?;
        measurements
            .iter()
            .map(|m| {
                let all = model.list(&Selector { bucket: Some(bucket.into()), ..Selector::default() })?;
                Ok(all.into_iter().filter(|i| i.key.measurement == *m).flat_map(|i| i.fields).collect())
            })
            .collect()
    }
    fn deliver(&self, batch: &WriteBatch, _: bool, budget: &Budget) -> Delivery {
        match budget.check().and_then(|()| self.0.reach()).and_then(|m| m.write(batch.clone())) {
            Ok(report) if report.dropped > 0 => Delivery::Refused { why: "a conflict".into(), rows: None },
            Ok(_) => {
                self.0.deliveries.lock().unwrap().push(batch.rows());
                Delivery::Stored
            }
            Err(error) => Delivery::Later { error, after: None },
        }
    }
}

/// Without waiting for the disk: `crash` has the tests of that.
pub(super) fn options() -> OutboxOptions {
    OutboxOptions {
        vfs: None,
        synchronous: Synchronous::Off,
        bytes_max: 64 << 20,
        batch_wait: Duration::ZERO,
        manual: true,
        clock: super::Clock::default(),
    }
}

pub(super) fn open(server: &Arc<Server>, folder: &Path, options: OutboxOptions) -> Outbox {
    Outbox::open(Arc::new(Line(server.clone())), &folder.join("outbox.db"), options).unwrap()
}

pub(super) fn key(measurement: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, vec![("s".into(), "A".into())]).unwrap()
}

pub(super) fn batch(key: &SeriesKey, times: &[i64], value: f64) -> WriteBatch {
    let columns = vec![Column::float("v", vec![value; times.len()])];
    WriteBatch { series: vec![(key.clone(), Frame { times: times.to_vec(), columns })] }
}

pub(super) fn rows(engine: &dyn SeriesEngine, key: &SeriesKey) -> Result<Vec<(i64, Row)>> {
    rows_of(engine.scan(key, TimeRange::ALL, None, &Budget::default())?)
}
