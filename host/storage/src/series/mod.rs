//! Time series: one small trait, two engines, one executor.

pub mod archives;
pub mod buckets;
#[cfg(test)]
mod conformance;
pub mod coverage;
pub mod decimals;
#[cfg(test)]
mod differential;
pub mod embedded;
pub mod exchange;
pub mod flux_query;
pub mod influx;
pub mod kinds;
pub mod line_protocol;
pub mod model;
#[cfg(any(test, feature = "testing"))]
pub mod model_engine;
pub mod pieces;
pub mod query;
pub(crate) mod record;
pub(crate) mod revisions;
mod rows;
#[cfg(test)]
mod rows_only;
pub mod store;
pub mod tail;
mod units;

pub use decimals::{Decimal, SCALE_MAX};
pub use model::{
    Budget, Column, FieldType, Frame, Latest, LatestField, ScanCounters, Selector, SeriesInfo, SeriesKey,
    TimeRange, TypeConflict, Value, Values, WriteBatch, WriteReport,
};
pub use store::SeriesStore;

use crate::error::Result;
use crate::units::Span;
use pieces::{Piece, PieceStream, Wanted};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows of one series in ascending time, in bounded frames.
pub type FrameStream = Box<dyn Iterator<Item = Result<Frame>> + Send>;

/// Times of rows of one series in ascending order, in bounded parts.
pub type TimeStream = Box<dyn Iterator<Item = Result<Vec<i64>>> + Send>;

/// What an engine does itself; the executor does the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// `embedded` or `influxdb2`.
    pub name: &'static str,
    /// An acknowledged write survives loss of power on this machine.
    pub durable_on_return: bool,
    /// `seal`, `compact` and `verify` do something.
    pub maintained_here: bool,
}

/// What a delete removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DeleteReport {
    pub series: u64,
    /// Rows removed; `None` where the engine does not count (InfluxDB).
    pub rows: Option<u64>,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CompactReport {
    pub chunks_before: u64,
    pub chunks_after: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// One thing that `verify` found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What is damaged, by a name that a person can find: `chunk 17 of market/bar.1m.AAPL`.
    pub object: String,
    pub problem: String,
}

/// What an engine holds, for `/metrics` and the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct EngineStats {
    pub series: u64,
    pub rows: u64,
    /// Rows in memory that are durable in the log and not sealed yet.
    pub head_rows: u64,
    pub head_bytes: u64,
    pub chunks: u64,
    /// Bytes of the sealed chunks.
    pub chunk_bytes: u64,
    pub quarantined: u64,
    pub log_bytes: u64,
    pub commits: u64,
    pub rows_written: u64,
    /// Records that are acknowledged and not delivered to InfluxDB yet.
    pub outbox_records: u64,
    pub outbox_bytes: u64,
    /// Seconds since the oldest of them was acknowledged; 0 when none waits.
    pub outbox_oldest_s: u64,
    /// What InfluxDB refused for good and is set aside.
    pub outbox_refused: u64,
    /// `memory_max`; what of it is in use, and the most that was since the start.
    pub memory_max: u64,
    pub memory_bytes: u64,
    pub memory_peak: u64,
    /// How often a writer or a query waited for room in it.
    pub memory_waits: u64,
    /// Bytes of rows that queries and merges hold.
    pub decoded_bytes: u64,
    /// Bytes of sealed rows that queries hold, as they found them in memory.
    pub pinned_bytes: u64,
    /// Bytes of decoded chunks that are kept in memory.
    pub cache_bytes: u64,
    /// Bytes of archives that queries hold unpacked, beside `memory_max`.
    pub archive_bytes: u64,
    /// Chunks that a read found there, and that it did not, since the start.
    pub cache_hits: u64,
    pub cache_misses: u64,
}

/// A store of time series. Calls block; async callers use a blocking thread.
///
/// Writes are idempotent per (series, time, field): the last one wins and fields merge. A write returns when
/// it is durable. Every method may be called from many threads at once.
pub trait SeriesEngine: Send + Sync + std::fmt::Debug {
    /// Stores a batch whole, but for rows with a type conflict, which are counted in the report.
    fn write(&self, batch: WriteBatch) -> Result<WriteReport>;

    /// Refuses a batch that [`SeriesEngine::write`] would refuse for what it holds, whatever is stored; writes nothing.
    fn admit(&self, batch: &WriteBatch) -> Result<()> {
        batch.series.iter().try_for_each(|(key, frame)| frame.validate().map_err(|e| e.context(key)))
    }

    /// Refuses a batch of which [`SeriesEngine::write`] would not store every row as things stand: for what it holds, for a field of
    /// another type than is there, for want of room. Stores no row. [`crate::Kind::Unavailable`]: that cannot be told now.
    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        self.admit(batch)?;
        units::fit(batch, &mut |key| units::listed(key, |of| self.choose(of, &Budget::default())))
    }

    /// The rows of one series within `range`, in ascending time without repeats. `fields: None` means all;
    /// a field that the series does not have is left out. A series that does not exist has no rows.
    /// What is written after the call began may be missing from the stream, never half of a batch of it.
    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream>;

    /// [`SeriesEngine::scan`] for whoever sums up: where the engine knows what the rows of a span hold without giving
    /// them, and `wanted` says that they may be taken together, it may give that in place of them.
    fn scan_pieces(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        wanted: Wanted,
        budget: &Budget,
    ) -> Result<PieceStream> {
        drop(wanted);
        Ok(Box::new(self.scan(key, range, fields, budget)?.map(|frame| frame.map(Piece::Rows))))
    }

    /// The times of [`SeriesEngine::scan`] of every field.
    fn times(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<TimeStream> {
        Ok(Box::new(self.scan(key, range, None, budget)?.map(|frame| frame.map(|f| f.times))))
    }

    /// Removes rows of the chosen series within `range`; durable on return. The budget is of what must be read first.
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport>;

    /// [`SeriesEngine::delete_within`], whatever it takes.
    fn delete(&self, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        self.delete_within(selector, range, &Budget::default())
    }

    /// The newest value of each field of the chosen series, ordered by key.
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>>;

    /// [`SeriesEngine::latest_within`], whatever it takes.
    fn latest(&self, selector: &Selector) -> Result<Vec<Latest>> {
        self.latest_within(selector, &Budget::default())
    }

    /// Spans of a series' rows within `range` that cannot be read, in order and apart, because what holds them is damaged: whoever
    /// reads them gets an error. None of an engine that leaves out what is damaged, and of one that cannot tell.
    fn damaged(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<Vec<TimeRange>> {
        let _ = (key, range);
        budget.check().map(|()| Vec::new())
    }

    /// The chosen series, ordered by key.
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>>;

    /// [`SeriesEngine::list`] for who reads the series then, within its budget: rows may be a guess, which is 0 only where there
    /// is none.
    fn choose(&self, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
        budget.check()?;
        self.list(selector)
    }

    /// The buckets that the engine itself knows, and how long it keeps their rows; `None`: for ever. None at all where a bucket
    /// is but a part of a series' name.
    fn retentions(&self) -> Result<BTreeMap<String, Option<Span>>> {
        Ok(BTreeMap::new())
    }

    fn capabilities(&self) -> Capabilities;

    fn stats(&self) -> Result<EngineStats>;

    /// Turns what is in memory into sealed chunks now. No effect where the engine keeps none.
    fn seal(&self) -> Result<()>;

    /// Merges chunks and gives free space back to the file system.
    fn compact(&self) -> Result<CompactReport>;

    /// Re-reads everything that is stored and names what is damaged.
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>>;

    /// Ends work in the background; what is acknowledged stays. No effect where there is none.
    fn close(&self) -> Result<()> {
        Ok(())
    }
}
