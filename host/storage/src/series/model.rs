//! The vocabulary of time series: keys, typed columns, frames of rows, ranges, selectors, budgets.

use super::decimals::{Decimal, SCALE_MAX};
use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The least time that can be stored, in nanoseconds since the Unix epoch (InfluxDB's own bound).
pub const TIME_MIN_NS: i64 = i64::MIN + 2;
/// The greatest time that can be stored, in nanoseconds since the Unix epoch. InfluxDB takes one nanosecond more
/// but cannot give it back: the end of a range in Flux is exclusive and ends there.
pub const TIME_MAX_NS: i64 = i64::MAX - 2;

/// Names one series: a bucket, a measurement and a set of tags.
///
/// Tags are sorted by key, keys are unique and neither keys nor values are empty: [`SeriesKey::new`] sees to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey {
    pub bucket: String,
    pub measurement: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
}

impl SeriesKey {
    /// Sorts the tags; refuses empty names and a tag key given twice.
    pub fn new(
        bucket: impl Into<String>,
        measurement: impl Into<String>,
        mut tags: Vec<(String, String)>,
    ) -> Result<Self> {
        tags.sort();
        let key = Self { bucket: bucket.into(), measurement: measurement.into(), tags };
        if key.bucket.is_empty() || key.measurement.is_empty() {
            return Err(Error::invalid("a series needs a bucket and a measurement"));
        }
        if let Some((k, _)) = key.tags.iter().find(|(k, v)| k.is_empty() || v.is_empty()) {
            return Err(Error::invalid(format!("series `{key}`: the tag `{k}` has an empty key or value")));
        }
        if let Some(w) = key.tags.windows(2).find(|w| matches!(w, [a, b] if a.0 == b.0)) {
            return Err(Error::invalid(format!(
                "series `{key}`: the tag `{}` is given twice",
                w.first().map_or("", |t| &t.0)
            )));
        }
        Ok(key)
    }

    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.measurement)?;
        for (k, v) in &self.tags {
            write!(f, ",{k}={v}")?;
        }
        Ok(())
    }
}

/// The type of a field. It is fixed per (bucket, measurement, field) by the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldType {
    Float,
    Integer,
    Unsigned,
    Boolean,
    String,
    /// With so many digits after the point. No engine knows it: the units are stored as integers, and
    /// [`super::decimals`] stands before.
    Decimal(u8),
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Decimal(scale) => return write!(f, "decimal({scale})"),
        })
    }
}

/// From what it is shown as.
impl std::str::FromStr for FieldType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let scale = text.strip_prefix("decimal(").and_then(|t| t.strip_suffix(')')?.parse::<u8>().ok());
        Ok(match text {
            "float" => Self::Float,
            "integer" => Self::Integer,
            "unsigned" => Self::Unsigned,
            "boolean" => Self::Boolean,
            "string" => Self::String,
            _ => match scale.filter(|scale| *scale <= SCALE_MAX) {
                Some(scale) => Self::Decimal(scale),
                None => {
                    return Err(Error::invalid(format!(
                        "`{}` is not a type of a field",
                        text.escape_debug()
                    ))
                    .hint("it is float, integer, unsigned, boolean, string or decimal(SCALE)"));
                }
            },
        })
    }
}

impl<'de> Deserialize<'de> for FieldType {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// As it is shown.
impl Serialize for FieldType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One value of a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    String(String),
    /// Written as its text; a text that is read is a string.
    #[serde(skip_deserializing)]
    Decimal(Decimal),
}

impl Value {
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
            Self::Decimal(d) => FieldType::Decimal(d.scale),
        }
    }
    /// How two numbers stand: whole ones of one type and decimals of one scale exactly, others as floats.
    pub fn order(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Unsigned(a), Self::Unsigned(b)) => Some(a.cmp(b)),
            (Self::Decimal(a), Self::Decimal(b)) if a.scale == b.scale => Some(a.units.cmp(&b.units)),
            _ => self.as_f64()?.partial_cmp(&other.as_f64()?),
        }
    }
    /// Numbers as a float; `None` for booleans and strings.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(v) => Some(*v),
            Self::Integer(v) => Some(*v as f64),
            Self::Unsigned(v) => Some(*v as f64),
            Self::Decimal(d) => Some(d.to_f64()),
            Self::Boolean(_) | Self::String(_) => None,
        }
    }
}

/// The values of one column, one per row. A row whose `valid` bit is false holds the type's default here.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Float(Vec<f64>),
    Integer(Vec<i64>),
    Unsigned(Vec<u64>),
    Boolean(Vec<bool>),
    String(Vec<String>),
    /// Units, and their scale.
    Decimal(Vec<i64>, u8),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Integer(v) => v.len(),
            Self::Unsigned(v) => v.len(),
            Self::Boolean(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Decimal(v, _) => v.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
            Self::Decimal(_, scale) => FieldType::Decimal(*scale),
        }
    }
    /// An empty column of a type.
    pub fn empty(of: FieldType) -> Self {
        match of {
            FieldType::Float => Self::Float(Vec::new()),
            FieldType::Integer => Self::Integer(Vec::new()),
            FieldType::Unsigned => Self::Unsigned(Vec::new()),
            FieldType::Boolean => Self::Boolean(Vec::new()),
            FieldType::String => Self::String(Vec::new()),
            FieldType::Decimal(scale) => Self::Decimal(Vec::new(), scale),
        }
    }
    /// The values with these numbers, in this order; a number that it does not have is passed over.
    pub(crate) fn picked(&self, rows: &[usize]) -> Self {
        match self {
            Self::Float(v) => Self::Float(picked_of(v, rows)),
            Self::Integer(v) => Self::Integer(picked_of(v, rows)),
            Self::Unsigned(v) => Self::Unsigned(picked_of(v, rows)),
            Self::Boolean(v) => Self::Boolean(picked_of(v, rows)),
            Self::String(v) => Self::String(picked_of(v, rows)),
            Self::Decimal(v, scale) => Self::Decimal(picked_of(v, rows), *scale),
        }
    }
    /// The value of a row; `None` past the end.
    pub fn get(&self, row: usize) -> Option<Value> {
        match self {
            Self::Float(v) => v.get(row).copied().map(Value::Float),
            Self::Integer(v) => v.get(row).copied().map(Value::Integer),
            Self::Unsigned(v) => v.get(row).copied().map(Value::Unsigned),
            Self::Boolean(v) => v.get(row).copied().map(Value::Boolean),
            Self::String(v) => v.get(row).cloned().map(Value::String),
            Self::Decimal(v, scale) => {
                v.get(row).map(|units| Value::Decimal(Decimal { units: *units, scale: *scale }))
            }
        }
    }
}

/// [`Values::picked`] of values of one type.
pub(crate) fn picked_of<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|row| values.get(*row).cloned()).collect()
}

/// A named, typed column. `valid: None` means that every row has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub values: Values,
    pub valid: Option<Vec<bool>>,
}

impl Column {
    pub fn new(name: impl Into<String>, values: Values) -> Self {
        Self { name: name.into(), values, valid: None }
    }
    pub fn float(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self::new(name, Values::Float(values))
    }
    /// Takes the rows from `at` on, which is at most its length.
    fn split_off(&mut self, at: usize) -> Self {
        let values = match &mut self.values {
            Values::Float(v) => Values::Float(v.split_off(at)),
            Values::Integer(v) => Values::Integer(v.split_off(at)),
            Values::Decimal(v, scale) => Values::Decimal(v.split_off(at), *scale),
            Values::Unsigned(v) => Values::Unsigned(v.split_off(at)),
            Values::Boolean(v) => Values::Boolean(v.split_off(at)),
            Values::String(v) => Values::String(v.split_off(at)),
        };
        Self {
            name: self.name.clone(),
            values,
            valid: self.valid.as_mut().map(|v| v.split_off(at.min(v.len()))),
        }
    }
    /// Does this row have a value?
    pub fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().map_or(row < self.values.len(), |v| v.get(row).copied().unwrap_or(false))
    }
    /// The value of a row, `None` where it has none.
    pub fn get(&self, row: usize) -> Option<Value> {
        if self.is_valid(row) { self.values.get(row) } else { None }
    }
    /// The floats of a column without gaps; `None` if it is of another type or has gaps.
    pub fn floats(&self) -> Option<&[f64]> {
        match (&self.values, &self.valid) {
            (Values::Float(v), None) => Some(v),
            _ => None,
        }
    }
}

/// Rows of one series as columns: `times` in nanoseconds UTC, and columns of the same length.
///
/// A frame that an engine returns has strictly ascending times; one that a caller writes may have any order
/// and repeat times (the last one wins, fields merge).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    pub times: Vec<i64>,
    pub columns: Vec<Column>,
}

impl Frame {
    pub fn len(&self) -> usize {
        self.times.len()
    }
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
    /// Takes the rows from `at` on.
    pub fn split_off(&mut self, at: usize) -> Self {
        let at = at.min(self.len());
        let columns = self.columns.iter_mut().map(|c| c.split_off(at)).collect();
        Self { times: self.times.split_off(at), columns }
    }
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
    /// Bytes of the values in memory, strings included.
    pub fn size_bytes(&self) -> usize {
        let columns: usize = self
            .columns
            .iter()
            .map(|c| {
                c.valid.as_ref().map_or(0, Vec::len)
                    + match &c.values {
                        Values::Float(v) => v.len() * 8,
                        Values::Integer(v) | Values::Decimal(v, _) => v.len() * 8,
                        Values::Unsigned(v) => v.len() * 8,
                        Values::Boolean(v) => v.len(),
                        Values::String(v) => v.iter().map(|s| s.len() + size_of::<String>()).sum(),
                    }
            })
            .sum();
        self.times.len() * 8 + columns
    }
    /// Every column as long as `times`, names unique and not empty, times within bounds, no NaN or infinity
    /// (InfluxDB cannot hold them, so neither engine does).
    pub fn validate(&self) -> Result<()> {
        if let Some(t) = self.times.iter().find(|t| !(TIME_MIN_NS..=TIME_MAX_NS).contains(*t)) {
            return Err(Error::invalid(format!("time {t} ns is outside {TIME_MIN_NS}..={TIME_MAX_NS}")));
        }
        for (i, c) in self.columns.iter().enumerate() {
            if c.name.is_empty() {
                return Err(Error::invalid("a field needs a name"));
            }
            if self.columns.iter().take(i).any(|o| o.name == c.name) {
                return Err(Error::invalid(format!("the field `{}` is given twice", c.name)));
            }
            if c.values.len() != self.len() || c.valid.as_ref().is_some_and(|v| v.len() != self.len()) {
                return Err(Error::invalid(format!(
                    "the field `{}` has {} values for {} rows",
                    c.name,
                    c.values.len(),
                    self.len()
                )));
            }
            if let Values::Float(v) = &c.values {
                if let Some(row) = v.iter().position(|x| !x.is_finite()) {
                    if c.is_valid(row) {
                        return Err(Error::invalid(format!(
                            "the field `{}` is not a finite number at row {row}",
                            c.name
                        ))
                        .hint("leave the field out where it has no value"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Rows of several series that are stored together or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WriteBatch {
    pub series: Vec<(SeriesKey, Frame)>,
}

impl WriteBatch {
    pub fn rows(&self) -> usize {
        self.series.iter().map(|(_, f)| f.len()).sum()
    }
}

/// A half-open span of time: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    pub start: i64,
    pub end: i64,
}

impl TimeRange {
    pub const ALL: Self = Self { start: TIME_MIN_NS, end: i64::MAX };
    pub fn new(start: i64, end: i64) -> Result<Self> {
        if start > end {
            return Err(Error::invalid(format!("the range starts at {start} ns, after its end at {end} ns")));
        }
        Ok(Self { start, end })
    }
    pub fn contains(&self, time: i64) -> bool {
        self.start <= time && time < self.end
    }
    /// Does it share an instant with the closed span `min..=max`?
    pub fn overlaps(&self, min: i64, max: i64) -> bool {
        self.start <= max && min < self.end
    }
}

/// Chooses series: a bucket (exact), a measurement pattern (`*` any run), tags that must be equal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// `None`: every bucket.
    #[serde(default)]
    pub bucket: Option<String>,
    /// `None`: every measurement.
    #[serde(default)]
    pub measurement: Option<String>,
    #[serde(default)]
    pub tags: Vec<(String, String)>,
}

impl Selector {
    pub fn matches(&self, key: &SeriesKey) -> bool {
        self.bucket.as_ref().is_none_or(|b| *b == key.bucket)
            && self.measurement.as_ref().is_none_or(|m| crate::caller::pattern_matches(m, &key.measurement))
            && self.tags.iter().all(|(k, v)| key.tag(k) == Some(v))
    }
    /// Chooses exactly the measurement of a key (a `*` in its name would still match others; engines that
    /// need one series compare keys).
    pub fn of(key: &SeriesKey) -> Self {
        Self {
            bucket: Some(key.bucket.clone()),
            measurement: Some(key.measurement.clone()),
            tags: key.tags.clone(),
        }
    }
}

/// What a read may spend: a deadline, a number of rows, and a flag that cancels it.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    pub deadline: Option<Instant>,
    /// Rows that may be read from the engine; `None`: no bound.
    pub rows_max: Option<u64>,
    pub cancel: Option<Arc<AtomicBool>>,
    /// Where an engine counts what it reads, if somebody wants to know.
    pub counters: Option<Arc<ScanCounters>>,
}

/// What scans of an engine read.
#[derive(Debug, Default)]
pub struct ScanCounters {
    pub chunks_read: AtomicU64,
    /// Chunks of a series that was read, left out because of their times.
    pub chunks_skipped: AtomicU64,
    /// Stored bytes of the chunks that were read.
    pub chunk_bytes: AtomicU64,
    /// Requests to a server, and the bytes of its replies.
    pub requests: AtomicU64,
    pub reply_bytes: AtomicU64,
    /// Files of archives that were read, and their bytes.
    pub archives_read: AtomicU64,
    pub archive_bytes: AtomicU64,
}

impl ScanCounters {
    pub fn chunk(&self, bytes: u64) {
        self.chunks_read.fetch_add(1, Ordering::Relaxed);
        self.chunk_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    pub fn skipped(&self, chunks: usize) {
        self.chunks_skipped.fetch_add(chunks as u64, Ordering::Relaxed);
    }
    pub fn archive(&self, bytes: u64) {
        self.archives_read.fetch_add(1, Ordering::Relaxed);
        self.archive_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    pub fn reply(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.reply_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Budget {
    /// Counts, if somebody wants to know.
    pub fn count(&self, what: impl FnOnce(&ScanCounters)) {
        if let Some(counters) = &self.counters {
            what(counters);
        }
    }

    /// Called between chunks of work, at least every 65,536 rows.
    pub fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed)) {
            return Err(Error::new(Kind::Cancelled, "the query was cancelled"));
        }
        if self.deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(Error::new(Kind::Timeout, "the query ran out of time")
                .hint("narrow the range, or raise `limits.query_time` in shiphold.toml"));
        }
        Ok(())
    }

    /// So many rows were read by now.
    pub(crate) fn rows(&self, given: u64) -> Result<()> {
        match self.rows_max.filter(|most| given > *most) {
            None => Ok(()),
            Some(most) => Err(Error::limit(
                "the number of rows read",
                most,
                "narrow the range, or raise `limits.query_rows` in shiphold.toml",
            )),
        }
    }
}

/// One series as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesInfo {
    pub key: SeriesKey,
    pub fields: Vec<(String, FieldType)>,
    /// Rows stored; an upper bound while runs overlap (late data not yet compacted). InfluxDB's are exact up to a number of points; of
    /// series beyond it they are those of the fullest field.
    pub rows: u64,
    /// First and last time, `None` when the series is empty.
    pub min_time: Option<i64>,
    pub max_time: Option<i64>,
}

/// The last value of each field of a series, as InfluxDB's `last()` gives it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latest {
    pub key: SeriesKey,
    pub fields: Vec<LatestField>,
}

/// The newest value of one field and when it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatestField {
    pub name: String,
    pub time: i64,
    pub value: Value,
}

/// A field whose type did not fit what the measurement already has; its rows were not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeConflict {
    pub bucket: String,
    pub measurement: String,
    pub field: String,
    pub have: FieldType,
    pub got: FieldType,
    /// Of a decimal: the first value that is none of its scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct WriteReport {
    /// Rows stored, durable when the call returns.
    pub written: u64,
    /// Rows refused for a type conflict; the others of the batch are stored.
    pub dropped: u64,
    /// Distinct conflicts, at most 100.
    pub conflicts: Vec<TypeConflict>,
}
