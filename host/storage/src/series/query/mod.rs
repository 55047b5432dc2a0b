//! The query AST, its JSON form and the one executor over an engine's `scan`.

mod buckets;
mod execute;
mod table;
#[cfg(test)]
mod tests;
mod time;

pub use buckets::resample_bars;
#[cfg(any(test, feature = "testing"))]
pub(in crate::series) use buckets::column as column_of;
pub use execute::execute;
pub use table::Table;
pub use time::Time;
pub(in crate::series) use time::{parse as parse_time, zone as parse_zone};

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
    /// A timeframe to resample bars or ticks (to OHLCV) to: `5m`, `1h`, `1d`, `1w`.
    pub resample: Option<String>,
    /// A window with aggregates, in place of `resample`.
    pub window: Option<Window>,
    /// IANA zone in which days and weeks begin; UTC by default.
    pub timezone: Option<String>,
    /// Rows of the answer at most, from the start.
    pub limit: Option<u64>,
    /// Newest first within each series.
    pub descending: bool,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    pub field: String,
    pub function: Function,
}

/// `first last min max sum` keep the type of the field, `mean` and `stddev` (of a sample) are floats, `count` is an
/// integer. Strings and booleans have `first`, `last` and `count` only.
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

impl Function {
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Count => "count",
            Self::Stddev => "stddev",
        }
    }
}
