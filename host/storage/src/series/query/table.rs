//! The answer.

use crate::series::{Column, Frame, Value, Values};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

/// The answer: `time` in nanoseconds, then columns. With a pattern as measurement, a string column per tag and
/// `measurement` say which series a row is of; rows are ordered by series, then time.
///
/// As JSON: `{"columns":[{"name","type","values"}],"rows","truncated"}`, the column `time` first, in nanoseconds.
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

    /// Adds the rows of a frame under labels; columns that one side lacks have gaps.
    pub(super) fn append(&mut self, labels: &[(String, String)], frame: Frame) {
        let before = self.frame.len();
        let added = frame.len();
        let labels = labels
            .iter()
            .map(|(name, value)| Column::new(name.clone(), Values::String(vec![value.clone(); added])));
        let new: Vec<Column> = labels.chain(frame.columns).collect();
        if before == 0 {
            self.frame = Frame { times: frame.times, columns: new };
            return;
        }
        self.frame.times.extend(frame.times);
        for column in new {
            match self.frame.columns.iter_mut().find(|c| c.name == column.name && c.values.field_type() == column.values.field_type()) {
                Some(there) => extend(there, column),
                None => {
                    let mut fresh = Column { valid: None, ..Column::new(column.name.clone(), Values::empty(column.values.field_type())) };
                    push_gaps(&mut fresh, before);
                    extend(&mut fresh, column);
                    self.frame.columns.push(fresh);
                }
            }
        }
        let all = self.frame.times.len();
        for column in &mut self.frame.columns {
            let missing = all - column.values.len();
            push_gaps(column, missing);
        }
    }

    /// Keeps the first rows.
    pub(super) fn keep(&mut self, rows: usize) {
        self.frame.times.truncate(rows);
        for c in &mut self.frame.columns {
            match &mut c.values {
                Values::Float(v) => v.truncate(rows),
                Values::Integer(v) => v.truncate(rows),
                Values::Unsigned(v) => v.truncate(rows),
                Values::Boolean(v) => v.truncate(rows),
                Values::String(v) => v.truncate(rows),
            }
            if let Some(valid) = &mut c.valid {
                valid.truncate(rows);
            }
        }
    }
}

/// Newest first.
pub(super) fn reverse(frame: &mut Frame) {
    frame.times.reverse();
    for c in &mut frame.columns {
        match &mut c.values {
            Values::Float(v) => v.reverse(),
            Values::Integer(v) => v.reverse(),
            Values::Unsigned(v) => v.reverse(),
            Values::Boolean(v) => v.reverse(),
            Values::String(v) => v.reverse(),
        }
        if let Some(valid) = &mut c.valid {
            valid.reverse();
        }
    }
}

fn extend(to: &mut Column, from: Column) {
    let (before, added) = (to.values.len(), from.values.len());
    match (&mut to.values, from.values) {
        (Values::Float(a), Values::Float(b)) => a.extend(b),
        (Values::Integer(a), Values::Integer(b)) => a.extend(b),
        (Values::Unsigned(a), Values::Unsigned(b)) => a.extend(b),
        (Values::Boolean(a), Values::Boolean(b)) => a.extend(b),
        (Values::String(a), Values::String(b)) => a.extend(b),
        // The caller compared the types.
        _ => return,
    }
    if to.valid.is_some() || from.valid.is_some() {
        let valid = to.valid.get_or_insert_with(|| vec![true; before]);
        match from.valid {
            Some(v) => valid.extend(v),
            None => valid.resize(before + added, true),
        }
    }
}

fn push_gaps(column: &mut Column, count: usize) {
    if count == 0 {
        return;
    }
    let before = column.values.len();
    let after = before + count;
    match &mut column.values {
        Values::Float(v) => v.resize(after, 0.0),
        Values::Integer(v) => v.resize(after, 0),
        Values::Unsigned(v) => v.resize(after, 0),
        Values::Boolean(v) => v.resize(after, false),
        Values::String(v) => v.resize(after, String::new()),
    }
    column.valid.get_or_insert_with(|| vec![true; before]).resize(after, false);
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(3))?;
        map.serialize_entry("columns", &Columns(&self.frame))?;
        map.serialize_entry("rows", &self.rows())?;
        map.serialize_entry("truncated", &self.truncated)?;
        map.end()
    }
}

struct Columns<'a>(&'a Frame);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct TimeColumn<'a> {
            name: &'static str,
            r#type: &'static str,
            values: &'a [i64],
        }
        let mut seq = s.serialize_seq(Some(1 + self.0.columns.len()))?;
        seq.serialize_element(&TimeColumn { name: "time", r#type: "time", values: &self.0.times })?;
        for c in &self.0.columns {
            seq.serialize_element(&OneColumn(c))?;
        }
        seq.end()
    }
}

struct OneColumn<'a>(&'a Column);

impl Serialize for OneColumn<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(3))?;
        map.serialize_entry("name", &self.0.name)?;
        map.serialize_entry("type", &self.0.values.field_type())?;
        map.serialize_entry("values", &Cells(self.0))?;
        map.end()
    }
}

struct Cells<'a>(&'a Column);

impl Serialize for Cells<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.valid.is_none() {
            return match &self.0.values {
                Values::Float(v) => v.serialize(s),
                Values::Integer(v) => v.serialize(s),
                Values::Unsigned(v) => v.serialize(s),
                Values::Boolean(v) => v.serialize(s),
                Values::String(v) => v.serialize(s),
            };
        }
        let cells = (0..self.0.values.len()).map(|row| self.0.get(row));
        s.collect_seq(cells.map(|v: Option<Value>| v))
    }
}
