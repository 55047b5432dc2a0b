//! The question.

use crate::series::FieldType;
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
    /// What tags must hold beside that, all of it.
    #[serde(rename = "where")]
    pub filters: Vec<TagFilter>,
    /// Fields to give; `None`: all.
    pub fields: Option<Vec<String>>,
    /// RFC 3339, a date, or nanoseconds since the epoch; the start is in the range, the end is not.
    pub start: Option<Time>,
    pub end: Option<Time>,
    /// A timeframe to resample bars or ticks (OHLCV) to: `5m`, `1h`, `1d`, `1w`.
    pub resample: Option<String>,
    /// A window with aggregates, in place of `resample`.
    pub window: Option<Window>,
    /// Windows without rows, between those that have some and to the ends of the range.
    pub fill: Fill,
    /// IANA zone in which days and weeks begin, and of times without an offset; UTC by default.
    pub timezone: Option<String>,
    /// Rows of the answer at most, from the start.
    pub limit: Option<u64>,
    /// Newest first.
    pub descending: bool,
    /// The series as they were known at this time: what was written, corrected and deleted since is left out.
    pub as_known_at: Option<Time>,
}

/// What a tag must hold: exactly one of `equals`, `in`, `matches`; a series without the tag is as one whose tag is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TagFilter {
    pub tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Vec<String>>,
    /// A regular expression that matches somewhere in the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// The opposite.
    pub not: bool,
}

/// What a window without rows holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// There is no such window.
    #[default]
    None,
    /// No value.
    Null,
    /// The last value; of bars a flat one at the last close, without volume.
    Previous,
    /// The line between the values on both sides.
    Linear,
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

/// One aggregate of one field; the column's name is `field_function`, of a quantile `field_quantile_0.95`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    pub field: String,
    pub function: Function,
    /// Of `quantile`: from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<f64>,
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
    /// Of a sample (n − 1); no value for fewer than two.
    Stddev,
    /// Of all values, between two of them by their distance (type 7 of Hyndman and Fan, 1996: what NumPy and R give).
    Quantile,
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
            Self::Quantile => "quantile",
        }
    }

    /// The type of the aggregate of a field; `None` if there is none (the mean of strings).
    pub const fn gives(self, of: FieldType) -> Option<FieldType> {
        let is_number = matches!(of, FieldType::Float | FieldType::Integer | FieldType::Unsigned);
        match self {
            Self::Count => Some(FieldType::Integer),
            Self::First | Self::Last => Some(of),
            Self::Min | Self::Max | Self::Sum if is_number => Some(of),
            Self::Mean | Self::Stddev | Self::Quantile if is_number => Some(FieldType::Float),
            Self::Min | Self::Max | Self::Sum | Self::Mean | Self::Stddev | Self::Quantile => None,
        }
    }
}

impl Aggregate {
    /// The name of its column.
    pub fn column(&self) -> String {
        match self.q {
            Some(q) => format!("{}_{}_{q}", self.field, self.function.name()),
            None => format!("{}_{}", self.field, self.function.name()),
        }
    }
}
