//! The query AST, its JSON form and the one executor over an engine's `scan`.

use super::{Budget, Column, Frame, Selector, SeriesEngine};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A question to one measurement, or to every measurement that a pattern matches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// `None`: the manifest's `series.bucket`.
    pub bucket: Option<String>,
    /// A measurement, `*` for any run of characters.
    pub measurement: String,
    /// Tags that must be equal.
    pub tags: Vec<(String, String)>,
    /// Fields to give; `None`: all.
    pub fields: Option<Vec<String>>,
    /// RFC 3339, a date, or nanoseconds since the epoch; the start is in the range, the end is not.
    pub start: Option<Time>,
    pub end: Option<Time>,
    /// A timeframe to resample bars (OHLCV) to: `5m`, `1h`, `1d`, `1w`.
    pub resample: Option<String>,
    /// A window with aggregates, in place of `resample`.
    pub window: Option<Window>,
    /// IANA zone in which days and weeks begin; UTC by default.
    pub timezone: Option<String>,
    /// Rows of the answer at most, from the start.
    pub limit: Option<u64>,
    /// Newest first.
    pub descending: bool,
}

/// A point in time as a caller writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Time {
    Ns(i64),
    Text(String),
}

/// Aggregates over windows of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// `15m`, `1h`, `1d`, `1w`.
    pub every: String,
    pub aggregates: Vec<Aggregate>,
}

/// One aggregate of one field; the column's name is `field_function`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    pub field: String,
    pub function: Function,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    First,
    Last,
    Min,
    Max,
    Sum,
    Mean,
    Count,
    Stddev,
}

/// The answer: `time` in nanoseconds, then columns. With more than one series, a string column per tag and
/// `measurement` say which a row is of; rows are ordered by series, then time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    pub frame: Frame,
    /// There were more rows than the limit.
    pub truncated: bool,
}

impl Table {
    pub fn rows(&self) -> usize {
        self.frame.len()
    }
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.frame.column(name)
    }
}

/// Answers a query. More than `rows_max` rows without a `limit` in the query is [`crate::Kind::Limit`].
pub fn execute(_engine: &dyn SeriesEngine, _query: &Query, _budget: &Budget, _rows_max: u64) -> Result<Table> {
    let _ = Selector::default();
    Err(Error::internal("not written"))
}
