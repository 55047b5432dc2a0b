//! The question.

use crate::series::FieldType;
use crate::series::kinds::Session;
use crate::units::Span;
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_known_at: Option<Time>,
    /// `next` of the page before: the answer goes on after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What is computed of the levels of order books.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub book: Option<Book>,
    /// Rows of another series that each row gets beside its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asof: Option<Asof>,
    /// Rows outside of these sessions are left out, and windows begin with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Sessions>,
}

/// Trading sessions: those of a calendar of the manifest (`[calendars.NAME]`), or as given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Sessions {
    Named(String),
    Given(Session),
}

impl<'de> Deserialize<'de> for Sessions {
    /// By hand, so that what is wrong within is said, not that no variant fits.
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(d)? {
            serde_json::Value::String(name) => Ok(Self::Named(name)),
            other => Session::deserialize(other).map(Self::Given).map_err(serde::de::Error::custom),
        }
    }
}

/// Columns that are computed of the levels of each snapshot of an order book: `bid_price_1`, the best one, to `bid_price_50`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Book {
    /// `best_bid best_bid_size best_ask best_ask_size spread mid`.
    pub top: bool,
    /// For each number of levels n `bid_depth_n` and `ask_depth_n`: the sizes of the best n, summed.
    pub depth: Vec<u32>,
    /// For each number of levels n `imbalance_n`: (bid − ask) / (bid + ask) of those depths.
    pub imbalance: Vec<u32>,
}

/// The row of another series that stands at, before or after each row: an ASOF join, as `pandas.merge_asof` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asof {
    /// `None`: that of the query.
    pub bucket: Option<String>,
    /// A measurement, `*` for any run of characters.
    pub measurement: String,
    pub tags: Vec<(String, String)>,
    #[serde(rename = "where")]
    pub filters: Vec<TagFilter>,
    /// Fields to give; `None`: all.
    pub fields: Option<Vec<String>>,
    /// Of order books, as in [`Query::book`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub book: Option<Book>,
    /// How far away the row may be, inclusive; `None`: any.
    pub tolerance: Option<Span>,
    pub direction: Direction,
    /// May the row be at the very same time?
    pub exact: bool,
    /// Tags that both series must have in common; `symbol` is also that of `tick.SYMBOL` and its like.
    pub by: Vec<String>,
    /// In front of the names of its columns, of which `time` is one.
    pub prefix: String,
}

impl Default for Asof {
    fn default() -> Self {
        Self {
            bucket: None,
            measurement: String::new(),
            tags: Vec::new(),
            filters: Vec::new(),
            fields: None,
            book: None,
            tolerance: None,
            direction: Direction::default(),
            exact: true,
            by: Vec::new(),
            prefix: "right_".into(),
        }
    }
}

/// Where an ASOF join looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// At the time of the row or before: the newest.
    #[default]
    Backward,
    /// At the time of the row or after: the oldest.
    Forward,
    /// Whichever of the two is nearer; of two that are equally near, the one before.
    Nearest,
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
        let is_number =
            matches!(of, FieldType::Float | FieldType::Integer | FieldType::Unsigned | FieldType::Decimal(_));
        match self {
            Self::Count => Some(FieldType::Integer),
            Self::First | Self::Last => Some(of),
            Self::Min | Self::Max | Self::Sum if is_number => Some(of),
            Self::Mean | Self::Stddev | Self::Quantile if is_number => Some(FieldType::Float),
            Self::Min | Self::Max | Self::Sum | Self::Mean | Self::Stddev | Self::Quantile => None,
        }
    }
}

impl Query {
    /// Each bucket and pattern of measurements that it reads; of a bucket that is not named, nothing is said.
    pub fn reads(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        let right = self
            .asof
            .iter()
            .map(|a| (a.bucket.as_deref().or(self.bucket.as_deref()), a.measurement.as_str()));
        std::iter::once((self.bucket.as_deref(), self.measurement.as_str())).chain(right)
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
