//! Rows as they are read, straight into columns: per series, in order of arrival.

use super::Mapping;
use super::line::Reason;
use crate::error::Result;
use crate::series::decimals::FieldScales;
use crate::series::kinds::Kind;
use crate::series::{Column, FieldType, Frame, SeriesKey, Values, WriteBatch};
use std::borrow::Cow;
use std::collections::HashMap;

/// Columns that are searched one by one; beyond it by hash, so that many fields cost no square.
const SEARCHED_MAX: usize = 16;
/// A frame is closed when its rows × columns exceed this many times the values in it: fields that hardly ever come
/// together would fill memory with gaps.
const GAPS_FACTOR: usize = 8;
/// Cells that a frame may have whatever its gaps.
const GAPS_FREE: usize = 64;

/// One value of a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    Text(Cow<'a, str>),
    /// Units, and their scale.
    Decimal(i64, u8),
}

impl Cell<'_> {
    const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::Text(_) => FieldType::String,
            Self::Decimal(_, scale) => FieldType::Decimal(*scale),
        }
    }
}

/// A body's rows.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    bucket: String,
    mapping: Mapping<'a>,
    /// The keys as they stand in the body, each with its series and the key that came after it last time.
    raws: Vec<Raw<'a>>,
    by_raw: HashMap<&'a [u8], usize>,
    by_key: HashMap<SeriesKey, usize>,
    series: Vec<SeriesRows>,
    /// The raw key of the line before.
    last: Option<usize>,
    rows: u64,
    /// An empty vector for the next row.
    spare: Row<'a>,
}

/// The values of a line, each with the number of its field in the series.
pub(super) type Row<'a> = Vec<(usize, Cell<'a>)>;

#[derive(Debug)]
struct Raw<'a> {
    bytes: &'a [u8],
    series: usize,
    next: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(bucket: &str, mapping: &Mapping<'a>) -> Self {
        Self {
            bucket: bucket.to_string(),
            mapping: *mapping,
            raws: Vec::new(),
            by_raw: HashMap::new(),
            by_key: HashMap::new(),
            series: Vec::new(),
            last: None,
            rows: 0,
            spare: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The key that came after the last one before: feeds send their symbols in turn.
    pub(super) fn expected(&self) -> Option<(&'a [u8], usize)> {
        let next = self.raws.get(self.last?)?.next;
        self.raws.get(next).map(|raw| (raw.bytes, next))
    }

    /// The number of a raw key, if it was seen.
    pub(super) fn find(&self, raw: &'a [u8]) -> Option<usize> {
        self.by_raw.get(raw).copied()
    }

    /// Remembers a raw key and what it means.
    pub(super) fn register(
        &mut self,
        raw: &'a [u8],
        measurement: String,
        tags: Vec<(String, String)>,
    ) -> Result<usize> {
        let key = (self.mapping.place)(SeriesKey::new(self.bucket.as_str(), measurement, tags)?);
        let series = match self.by_key.get(&key) {
            Some(series) => *series,
            None => {
                let kind = if self.mapping.typed { Kind::of(&key.measurement) } else { Kind::Other };
                let scales = self.mapping.scales.map(|all| all.of(&key.bucket, &key.measurement));
                self.series.push(SeriesRows::new(key.clone(), kind, scales.unwrap_or_default()));
                self.by_key.insert(key, self.series.len() - 1);
                self.series.len() - 1
            }
        };
        let number = self.raws.len();
        self.raws.push(Raw { bytes: raw, series, next: number });
        self.by_raw.insert(raw, number);
        Ok(number)
    }

    /// The series of a raw key.
    pub(super) fn series(&mut self, raw: usize) -> Option<&mut SeriesRows> {
        let series = self.raws.get(raw)?.series;
        self.series.get_mut(series)
    }

    /// An empty row to collect into.
    pub(super) fn take_row(&mut self) -> Row<'a> {
        std::mem::take(&mut self.spare)
    }

    /// Adds a row to the series of a raw key.
    pub(super) fn commit(
        &mut self,
        raw: usize,
        mut row: Row<'a>,
        time: i64,
    ) -> std::result::Result<(), Reason> {
        if let Some(last) = self.last.and_then(|last| self.raws.get_mut(last)) {
            last.next = raw;
        }
        self.last = Some(raw);
        self.rows += 1;
        let done = self.series(raw).map_or(Ok(()), |series| series.commit(&mut row, time));
        row.clear();
        self.spare = row;
        done
    }

    pub(super) fn finish(self) -> Result<WriteBatch> {
        let mut batch = WriteBatch::default();
        for mut series in self.series {
            series.close();
            let mut frames = series.frames.into_iter().peekable();
            while let Some(frame) = frames.next() {
                if frames.peek().is_some() {
                    batch.series.push((series.key.clone(), frame));
                } else {
                    batch.series.push((series.key, frame));
                    break;
                }
            }
        }
        Ok(batch)
    }
}

/// The rows of one series.
#[derive(Debug)]
pub(super) struct SeriesRows {
    key: SeriesKey,
    kind: Kind,
    scales: FieldScales,
    /// Every field seen, in order of arrival; those not `touched` have no value in the open frame.
    fields: Vec<Field>,
    /// Fields by name, kept once there are many.
    by_name: HashMap<String, usize>,
    /// The fields of the row before, in its order: most likely those of the next.
    order: Vec<usize>,
    touched: Vec<usize>,
    times: Vec<i64>,
    /// Values in the open frame.
    filled: usize,
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct Field {
    name: String,
    is_float: bool,
    /// Of a decimal.
    scale: Option<u8>,
    values: Values,
    valid: Option<Vec<bool>>,
}

impl SeriesRows {
    fn new(key: SeriesKey, kind: Kind, scales: FieldScales) -> Self {
        Self {
            key,
            kind,
            scales,
            fields: Vec::new(),
            by_name: HashMap::new(),
            order: Vec::new(),
            touched: Vec::new(),
            times: Vec::new(),
            filled: 0,
            frames: Vec::new(),
        }
    }

    /// The field that was `position`-th in the row before, and its name.
    pub(super) fn expected(&self, position: usize) -> Option<(usize, &[u8])> {
        let number = *self.order.get(position)?;
        self.fields.get(number).map(|f| (number, f.name.as_bytes()))
    }

    /// Of a field that is a decimal.
    pub(super) fn scale(&self, number: usize) -> Option<u8> {
        self.fields.get(number)?.scale
    }

    /// The number of a field, if it was seen.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        if self.fields.len() > SEARCHED_MAX {
            return self.by_name.get(name).copied();
        }
        self.fields.iter().position(|f| f.name == name)
    }

    /// The number of a field.
    pub(super) fn field(&mut self, name: &str) -> usize {
        if let Some(number) = self.find(name) {
            return number;
        }
        let number = self.fields.len();
        self.fields.push(Field {
            name: name.to_string(),
            is_float: self.kind.is_float_field(name),
            scale: self.scales.scale(name),
            values: Values::Float(Vec::new()),
            valid: None,
        });
        if self.fields.len() > SEARCHED_MAX {
            if self.by_name.is_empty() {
                self.by_name = self.fields.iter().enumerate().map(|(i, f)| (f.name.clone(), i)).collect();
            } else {
                self.by_name.insert(name.to_string(), number);
            }
        }
        number
    }

    /// Adds a row and empties it.
    fn commit(&mut self, row: &mut Row<'_>, time: i64) -> std::result::Result<(), Reason> {
        let mut fits = true;
        for (number, cell) in row.iter_mut() {
            let Some(field) = self.fields.get(*number) else { continue };
            if field.is_float {
                match cell {
                    Cell::Integer(v) => *cell = Cell::Float(*v as f64),
                    Cell::Unsigned(v) => *cell = Cell::Float(*v as f64),
                    Cell::Float(_) | Cell::Boolean(_) | Cell::Text(_) | Cell::Decimal(..) => {}
                }
            }
            fits &= field.values.is_empty() || field.values.field_type() == cell.field_type();
        }
        if !fits {
            // A column has one type: the row begins a frame of its own, and the engine decides which type stands.
            self.close();
        }
        if self.order.len() != row.len() || self.order.iter().zip(row.iter()).any(|(o, (n, _))| o != n) {
            self.order.clear();
            self.order.extend(row.iter().map(|(number, _)| *number));
        }
        let at = self.times.len();
        self.filled += row.len();
        for (number, cell) in row.drain(..) {
            let Some(field) = self.fields.get_mut(number) else { continue };
            if field.values.is_empty() {
                self.touched.push(number);
                field.values = Values::empty(cell.field_type());
            }
            field.push(at, cell)?;
        }
        self.times.push(time);
        if self.touched.len().saturating_mul(self.times.len()) > GAPS_FACTOR * self.filled + GAPS_FREE {
            self.close();
        }
        Ok(())
    }

    /// Ends the open frame.
    fn close(&mut self) {
        let times = std::mem::take(&mut self.times);
        let touched = std::mem::take(&mut self.touched);
        self.filled = 0;
        let rows = times.len();
        let mut columns = Vec::with_capacity(touched.len());
        for number in touched {
            let Some(field) = self.fields.get_mut(number) else { continue };
            field.pad(rows);
            let empty = Values::empty(field.values.field_type());
            columns.push(Column {
                name: field.name.clone(),
                values: std::mem::replace(&mut field.values, empty),
                valid: field.valid.take(),
            });
        }
        if rows > 0 {
            self.frames.push(Frame { times, columns });
        }
    }
}

impl Field {
    fn push(&mut self, at: usize, cell: Cell<'_>) -> std::result::Result<(), Reason> {
        if self.values.len() != at {
            if self.values.len() > at {
                // The field stands twice in the line: the last one wins.
                return self.replace_last(cell);
            }
            self.pad(at);
        }
        match (&mut self.values, cell) {
            (Values::Float(v), Cell::Float(x)) => v.push(x),
            (Values::Integer(v), Cell::Integer(x)) => v.push(x),
            // Of one field, so of one scale.
            (Values::Decimal(v, _), Cell::Decimal(x, _)) => v.push(x),
            (Values::Unsigned(v), Cell::Unsigned(x)) => v.push(x),
            (Values::Boolean(v), Cell::Boolean(x)) => v.push(x),
            (Values::String(v), Cell::Text(x)) => v.push(x.into_owned()),
            _ => return Err("a field is given twice with two types".into()),
        }
        if let Some(valid) = &mut self.valid {
            valid.push(true);
        }
        Ok(())
    }

    fn replace_last(&mut self, cell: Cell<'_>) -> std::result::Result<(), Reason> {
        match &mut self.values {
            Values::Float(v) => drop(v.pop()),
            Values::Integer(v) | Values::Decimal(v, _) => drop(v.pop()),
            Values::Unsigned(v) => drop(v.pop()),
            Values::Boolean(v) => drop(v.pop()),
            Values::String(v) => drop(v.pop()),
        }
        if let Some(valid) = &mut self.valid {
            valid.pop();
        }
        self.push(self.values.len(), cell)
    }

    /// Gives the rows up to `to` that have no value a place.
    fn pad(&mut self, to: usize) {
        let have = self.values.len();
        if have >= to {
            return;
        }
        self.valid.get_or_insert_with(|| vec![true; have]).resize(to, false);
        match &mut self.values {
            Values::Float(v) => v.resize(to, 0.0),
            Values::Integer(v) | Values::Decimal(v, _) => v.resize(to, 0),
            Values::Unsigned(v) => v.resize(to, 0),
            Values::Boolean(v) => v.resize(to, false),
            Values::String(v) => v.resize(to, String::new()),
        }
    }
}
