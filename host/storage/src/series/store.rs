//! The door to the series: checks the caller, the limits and the disk, then asks the engine.

use super::line_protocol::Precision;
use super::query::{Query, Table};
use super::{
    Budget, CompactReport, DeleteReport, EngineStats, Fault, FrameStream, Latest, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, WriteBatch,
    WriteReport,
};
use crate::audit::Audit;
use crate::caller::Caller;
use crate::disk::DiskGuard;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use std::io::Read;
use std::sync::Arc;

/// How a CSV file becomes bars.
#[derive(Debug, Clone)]
pub struct CsvImport {
    /// `None`: the manifest's `series.bucket`.
    pub bucket: Option<String>,
    pub symbol: String,
    pub timeframe: String,
    /// IANA zone of times without an offset; UTC by default.
    pub timezone: Option<String>,
}

/// The series of a host.
#[derive(Debug)]
pub struct SeriesStore {
    engine: Arc<dyn SeriesEngine>,
}

impl SeriesStore {
    pub fn new(engine: Arc<dyn SeriesEngine>, _manifest: &Manifest, _disk: Arc<DiskGuard>, _audit: Arc<Audit>) -> Self {
        Self { engine }
    }
    pub fn engine(&self) -> &Arc<dyn SeriesEngine> {
        &self.engine
    }
    /// Durable on return.
    pub fn write(&self, _caller: &Caller, _batch: WriteBatch) -> Result<WriteReport> {
        Err(Error::internal("not written"))
    }
    /// Line protocol; maps lines to typed measurements (docs/line-protocol.md).
    pub fn write_lines(&self, _caller: &Caller, _bucket: &str, _body: &[u8], _precision: Precision) -> Result<WriteReport> {
        Err(Error::internal("not written"))
    }
    /// Answers a query within the host's limits; `budget` adds a cancel flag or a nearer deadline.
    pub fn query(&self, _caller: &Caller, _query: &Query, _budget: &Budget) -> Result<Table> {
        Err(Error::internal("not written"))
    }
    pub fn scan(&self, _caller: &Caller, _key: &SeriesKey, _range: TimeRange, _fields: Option<&[String]>, _budget: &Budget) -> Result<FrameStream> {
        Err(Error::internal("not written"))
    }
    /// Only what the caller may read.
    pub fn latest(&self, _caller: &Caller, _selector: &Selector) -> Result<Vec<Latest>> {
        Err(Error::internal("not written"))
    }
    /// Only what the caller may read.
    pub fn list(&self, _caller: &Caller, _selector: &Selector) -> Result<Vec<SeriesInfo>> {
        Err(Error::internal("not written"))
    }
    /// Admin; audited; allowed on a read-only disk.
    pub fn delete(&self, _caller: &Caller, _selector: &Selector, _range: TimeRange) -> Result<DeleteReport> {
        Err(Error::internal("not written"))
    }
    /// Rows written; `progress` gets rows so far.
    pub fn import_csv(&self, _caller: &Caller, _input: &mut dyn Read, _options: &CsvImport, _progress: &mut dyn FnMut(u64)) -> Result<WriteReport> {
        Err(Error::internal("not written"))
    }
    pub fn stats(&self, _caller: &Caller) -> Result<EngineStats> {
        Err(Error::internal("not written"))
    }
    pub fn seal(&self, _caller: &Caller) -> Result<()> {
        Err(Error::internal("not written"))
    }
    pub fn compact(&self, _caller: &Caller) -> Result<CompactReport> {
        Err(Error::internal("not written"))
    }
    pub fn verify(&self, _caller: &Caller, _budget: &Budget) -> Result<Vec<Fault>> {
        Err(Error::internal("not written"))
    }
}
