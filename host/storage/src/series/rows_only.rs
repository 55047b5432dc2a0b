//! What an engine sums up is compared with what its rows come to.

use super::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, FrameStream, Latest, Selector,
    SeriesEngine, SeriesInfo, SeriesKey, TimeRange, WriteBatch, WriteReport,
};
use crate::error::Result;

/// The same engine, of which only rows are known.
#[derive(Debug)]
pub(in crate::series) struct RowsOnly<'a>(pub(in crate::series) &'a dyn SeriesEngine);

impl SeriesEngine for RowsOnly<'_> {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        self.0.write(batch)
    }
    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        self.0.scan(key, range, fields, budget)
    }
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        self.0.delete_within(selector, range, budget)
    }
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        self.0.latest_within(selector, budget)
    }
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        self.0.list(selector)
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn stats(&self) -> Result<EngineStats> {
        self.0.stats()
    }
    fn seal(&self) -> Result<()> {
        self.0.seal()
    }
    fn compact(&self) -> Result<CompactReport> {
        self.0.compact()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.0.verify(budget)
    }
}
