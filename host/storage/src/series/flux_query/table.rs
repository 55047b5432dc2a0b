//! Tables of an answer, as they are handed out.

use super::face::Face;
use crate::error::Result;
use crate::series::{Column, FieldType, Frame, Value, Values};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Nanoseconds since the epoch.
    Time,
    Field(FieldType),
}

/// The value of a column that is the same in all rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fixed {
    Time(i64),
    Text(String),
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadColumn {
    pub name: String,
    pub of: Of,
    /// Of the group key: the value of all rows.
    pub fixed: Option<Fixed>,
}

/// What stands over the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The name of the `yield`.
    pub result: String,
    /// Counts from 0 in each result.
    pub table: u64,
    /// In the order of InfluxDB.
    pub columns: Vec<HeadColumn>,
}

/// What is handed out: a table's head, then its rows, a batch at a time.
#[derive(Debug)]
pub enum Part<'a> {
    Head(&'a Head),
    /// The frame's times are of the column `_time`, if the head has one; its columns are those of the head that are neither
    /// that nor fixed, in their order. A float may be NaN.
    Rows(&'a Frame),
    /// The end of a result, also of one without tables.
    End,
}

/// Takes the parts of an answer. An error ends the query.
pub type TableSink<'a> = dyn FnMut(Part<'_>) -> Result<()> + 'a;

/// The column of values before a pivot.
pub(super) const VALUE: &str = "_value";

impl Head {
    /// Of one field of a series, or of several that were made columns.
    pub(super) fn new(
        result: &str,
        table: u64,
        range: (i64, i64),
        face: &Face,
        field: Option<&str>,
        timed: bool,
        values: &[(String, FieldType)],
    ) -> Self {
        let fixed = |name: &str, fixed: Fixed| {
            let of = if matches!(fixed, Fixed::Time(_)) { Of::Time } else { Of::Field(FieldType::String) };
            HeadColumn { name: name.into(), of, fixed: Some(fixed) }
        };
        let mut tags = vec![fixed("_measurement", Fixed::Text(face.measurement.clone()))];
        tags.extend(field.map(|field| fixed("_field", Fixed::Text(field.into()))));
        tags.extend(face.tags.iter().map(|(key, value)| fixed(key, Fixed::Text(value.clone()))));
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        let values = values.iter().map(|(name, of)| HeadColumn {
            name: name.clone(),
            of: Of::Field(*of),
            fixed: None,
        });
        let mut columns = vec![fixed("_start", Fixed::Time(range.0)), fixed("_stop", Fixed::Time(range.1))];
        columns.extend(timed.then(|| HeadColumn { name: "_time".into(), of: Of::Time, fixed: None }));
        if field.is_some() {
            columns.extend(values.chain(tags));
        } else {
            columns.extend(tags.into_iter().chain(values));
        }
        Self { result: result.into(), table, columns }
    }

    /// Have both the same columns? Then one head stands over both in CSV.
    pub fn is_like(&self, other: &Self) -> bool {
        let column = |c: &HeadColumn| (c.of, c.fixed.is_some());
        self.result == other.result
            && self.columns.len() == other.columns.len()
            && self
                .columns
                .iter()
                .zip(&other.columns)
                .all(|(a, b)| a.name == b.name && column(a) == column(b))
    }
}

/// A column that grows. Unlike those of queries it may hold NaN, which is what InfluxDB says of a deviation of one value.
#[derive(Debug)]
pub(super) struct Growing {
    name: String,
    values: Values,
    valid: Vec<bool>,
}

impl Growing {
    pub(super) fn new(name: &str, of: FieldType) -> Self {
        Self { name: name.into(), values: Values::empty(of), valid: Vec::new() }
    }

    /// Adds a value of the column's type; anything else is a gap.
    pub(super) fn push(&mut self, value: Option<Value>) {
        let valid = match (&mut self.values, value) {
            (Values::Float(v), Some(Value::Float(x))) => {
                v.push(x);
                true
            }
            (Values::Integer(v), Some(Value::Integer(x))) => {
                v.push(x);
                true
            }
            (Values::Unsigned(v), Some(Value::Unsigned(x))) => {
                v.push(x);
                true
            }
            (Values::Boolean(v), Some(Value::Boolean(x))) => {
                v.push(x);
                true
            }
            (Values::String(v), Some(Value::String(x))) => {
                v.push(x);
                true
            }
            (Values::Decimal(v, scale), Some(Value::Decimal(x))) if x.scale == *scale => {
                v.push(x.units);
                true
            }
            (values, _) => {
                match values {
                    Values::Float(v) => v.push(0.0),
                    Values::Integer(v) | Values::Decimal(v, _) => v.push(0),
                    Values::Unsigned(v) => v.push(0),
                    Values::Boolean(v) => v.push(false),
                    Values::String(v) => v.push(String::new()),
                }
                false
            }
        };
        self.valid.push(valid);
    }

    pub(super) fn into_column(self) -> Column {
        let valid = (!self.valid.iter().all(|v| *v)).then_some(self.valid);
        Column { name: self.name, values: self.values, valid }
    }
}
