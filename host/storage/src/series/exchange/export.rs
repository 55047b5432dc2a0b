//! Reads the chosen series one after another, and hands their rows to a writer in groups.

use super::Format;
use super::columns::Columns;
use super::csv_out::CsvFile;
use super::parquet_out::ParquetFile;
use crate::error::Result;
use crate::series::query::{Filters, TagFilter, Time, between, with_values};
use crate::series::{Budget, Frame, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange};
use serde::{Deserialize, Serialize};
use std::io::Write;

/// Rows that are held before they are written: a row group of Parquet.
pub const GROUP_ROWS: usize = 131_072;
/// Bytes of rows that are held before they are written. One frame of the engine comes on top.
pub const GROUP_BYTES: usize = 32 << 20;

/// Which rows of which series.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    /// `None`: the manifest's `series.bucket`.
    pub bucket: Option<String>,
    /// A measurement, `*` for any run of characters.
    pub measurement: String,
    /// Tags that must be equal.
    pub tags: Vec<(String, String)>,
    /// What tags must hold beside that, all of it.
    #[serde(rename = "where")]
    pub filters: Vec<TagFilter>,
    /// `None`: all.
    pub fields: Option<Vec<String>>,
    /// RFC 3339, a date, or nanoseconds since the epoch; the start is in the range, the end is not.
    pub start: Option<Time>,
    pub end: Option<Time>,
}

impl Export {
    pub(crate) fn range(&self) -> Result<TimeRange> {
        between(self.start.as_ref(), self.end.as_ref(), chrono_tz::Tz::UTC)
    }

    pub(crate) fn selector(&self) -> Selector {
        Selector {
            bucket: self.bucket.clone(),
            measurement: Some(self.measurement.clone()),
            tags: self.tags.clone(),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Exported {
    pub series: u64,
    pub rows: u64,
}

/// A file that grows by groups of rows of one series.
pub(super) trait Sink {
    /// Adds rows, and writes what is held once it is a group.
    fn rows(&mut self, key: &SeriesKey, frame: &Frame) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Writes all rows of the chosen series, ordered by series, then time. What is held is one group and one frame of the engine,
/// whatever the size of the file. Nothing is written before everything about the request was checked; an error after that
/// leaves a file that no reader takes for a whole one if it is Parquet, and one that ends within a line or early if it is CSV.
pub fn export(
    engine: &dyn SeriesEngine,
    request: &Export,
    format: Format,
    budget: &Budget,
    out: &mut (dyn Write + Send),
) -> Result<Exported> {
    let range = request.range()?;
    let filters = Filters::new(&request.filters)?;
    let mut series: Vec<SeriesInfo> = engine.choose(&request.selector(), budget)?;
    series.retain(|info| info.rows > 0 && filters.take(&info.key));
    // Nothing is known of the fields of no series.
    let columns = match series.is_empty() {
        true => Columns::default(),
        false => Columns::of(&series, request.fields.as_deref())?,
    };
    budget.check()?;
    let mut sink: Box<dyn Sink + '_> = match format {
        Format::Parquet => Box::new(ParquetFile::new(columns, out)?),
        Format::Csv => Box::new(CsvFile::new(columns, out)?),
    };
    let mut done = Exported::default();
    for info in &series {
        let mut rows = 0;
        for frame in engine.scan(&info.key, range, request.fields.as_deref(), budget)? {
            let frame = match &request.fields {
                Some(fields) => with_values(frame?, &|name| fields.iter().any(|f| f == name)),
                None => frame?,
            };
            budget.check()?;
            rows += frame.len() as u64;
            if !frame.is_empty() {
                sink.rows(&info.key, &frame)?;
            }
        }
        done.series += u64::from(rows > 0);
        done.rows += rows;
    }
    sink.finish()?;
    Ok(done)
}
