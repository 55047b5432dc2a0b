//! Rows become pieces: batches of bounded size, by series, each row looked at before it is in one.

use super::bars;
use super::cells::{Block, Cell, decimal_text};
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::series::decimals::FieldScales;
use crate::series::model::{TIME_MAX_NS, TIME_MIN_NS};
use crate::series::{Column, FieldType, Frame, SeriesKey, Values, WriteBatch};
use std::collections::HashMap;

/// Rows of the file that are written at once, and after which the position is recorded.
pub const PIECE_ROWS: u64 = 65_536;
/// Bytes of rows that are held before they are written; one row comes on top.
pub const PIECE_BYTES: usize = 32 << 20;
/// What a column of a series takes before it holds a value.
const SLOT_BYTES: usize = 64;

/// Rows of a file one after another.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) batch: WriteBatch,
    /// Rows of the file, with those that hold nothing.
    pub(super) rows: u64,
    /// Rows without a value, which are no rows.
    pub(super) empty: u64,
    /// Cells that were not a number, which are no values.
    pub(super) nan: u64,
}

/// Gathers rows until they are a piece.
pub(super) struct Pieces<'a> {
    plan: &'a Plan,
    rows_max: u64,
    series: Vec<Partial>,
    known: HashMap<SeriesKey, usize>,
    /// The series of the row before, and the texts that name it.
    last: Option<(Vec<Option<String>>, usize)>,
    /// What a row takes if it has a value in every column, as every row does that comes before one that has: texts come on top.
    row_bytes: usize,
    bytes: usize,
    told: Piece,
}

struct Partial {
    key: SeriesKey,
    scales: FieldScales,
    times: Vec<i64>,
    /// One per field of the plan; `None` until there is a value.
    columns: Vec<Option<(Values, Vec<bool>)>>,
}

fn utf8<'t>(bytes: &'t [u8], what: &str) -> Result<&'t str> {
    std::str::from_utf8(bytes).map_err(|_| {
        Error::invalid(format!("{what}: the text is not UTF-8")).hint("write the file with UTF-8 texts")
    })
}

impl<'a> Pieces<'a> {
    pub(super) fn new(plan: &'a Plan, write_rows: u64) -> Self {
        let cell = |of: Option<FieldType>| match of {
            Some(FieldType::String) => size_of::<String>() + 1,
            _ => size_of::<u64>() + 1,
        };
        let cells: usize = plan.fields.iter().map(|f| cell(f.of)).sum();
        Self {
            row_bytes: size_of::<i64>() + cells,
            plan,
            rows_max: PIECE_ROWS.min(write_rows.max(1)),
            series: Vec::new(),
            known: HashMap::new(),
            last: None,
            bytes: 0,
            told: Piece::default(),
        }
    }

    /// Takes the rows of a block from one on, and gives every piece that is full.
    pub(super) fn take(
        &mut self,
        block: &Block,
        from: usize,
        full: &mut dyn FnMut(Piece) -> Result<()>,
    ) -> Result<()> {
        for row in from..block.times.len() {
            self.row(block, row).map_err(|e| e.context(block.place(row)))?;
            if self.told.rows >= self.rows_max || self.bytes >= PIECE_BYTES {
                full(self.end())?;
            }
        }
        Ok(())
    }

    /// What is left of the last rows.
    pub(super) fn end(&mut self) -> Piece {
        self.known.clear();
        self.last = None;
        self.bytes = 0;
        let series = std::mem::take(&mut self.series);
        let made = series.into_iter().map(|partial| partial.frame(self.plan)).collect();
        Piece { batch: WriteBatch { series: made }, ..std::mem::take(&mut self.told) }
    }

    fn row(&mut self, block: &Block, row: usize) -> Result<()> {
        self.told.rows += 1;
        let time = block.times.get(row).copied().unwrap_or_default();
        if !(TIME_MIN_NS..=TIME_MAX_NS).contains(&time) {
            return Err(Error::invalid(format!(
                "the time {time} ns is outside {TIME_MIN_NS}..={TIME_MAX_NS}"
            )));
        }
        if self.plan.bars {
            bars::check(|name| {
                let at = self.plan.fields.iter().position(|f| f.name == name)?;
                match block.fields.get(at)?.get(row)? {
                    Cell::Float(v) => Some(v).filter(|v| v.is_finite()),
                    // A decimal, which stays a text until it is written.
                    Cell::Text(text) => std::str::from_utf8(text.data()).ok()?.parse().ok(),
                    Cell::Decimal(units, digits) => decimal_text(units, digits).parse().ok(),
                    _ => None,
                }
            })?;
        }
        let (plan, mut to) = (self.plan, None);
        for (slot, (field, cells)) in plan.fields.iter().zip(&block.fields).enumerate() {
            let Some(cell) = cells.get(row) else { continue };
            if let Cell::Float(v) = cell {
                if v.is_nan() {
                    self.told.nan += 1;
                    continue;
                }
                if v.is_infinite() {
                    return Err(Error::invalid(format!(
                        "column `{}`: {v} is not a finite number",
                        field.name
                    ))
                    .hint("leave the cell empty where there is no value"));
                }
            }
            let at = match to {
                Some(at) => at,
                None => {
                    let at = self.series_of(block, row)?;
                    if let Some(partial) = self.series.get_mut(at) {
                        partial.times.push(time);
                        self.bytes += self.row_bytes;
                    }
                    to = Some(at);
                    at
                }
            };
            if let Some(partial) = self.series.get_mut(at) {
                self.bytes += partial.push(slot, cell, &field.name)?;
            }
        }
        self.told.empty += u64::from(to.is_none());
        Ok(())
    }

    fn series_of(&mut self, block: &Block, row: usize) -> Result<usize> {
        let mut names = Vec::with_capacity(block.names.len());
        for column in &block.names {
            let text = column.get(row).and_then(Option::as_ref);
            names.push(text.map(|t| utf8(t.data(), "a tag or a measurement")).transpose()?);
        }
        if let Some((last, at)) = &self.last {
            if last.iter().map(Option::as_deref).eq(names.iter().copied()) {
                return Ok(*at);
            }
        }
        let key = self.plan.key(&names)?;
        let at = match self.known.get(&key) {
            Some(at) => *at,
            None => {
                let at = self.series.len();
                let slots = self.plan.fields.len();
                self.bytes += slots * SLOT_BYTES + key.to_string().len();
                self.known.insert(key.clone(), at);
                let columns = std::iter::repeat_with(|| None).take(slots).collect();
                let scales = self.plan.scales.of(&key.bucket, &key.measurement);
                self.series.push(Partial { key, scales, times: Vec::new(), columns });
                at
            }
        };
        self.last = Some((names.into_iter().map(|n| n.map(str::to_string)).collect(), at));
        Ok(at)
    }
}

impl Partial {
    /// Puts a value into the row that was begun last; gives the bytes of a text.
    fn push(&mut self, slot: usize, cell: Cell<'_>, name: &str) -> Result<usize> {
        let row = self.times.len() - 1;
        let cell = match cell {
            Cell::Decimal(..) => cell.as_declared(self.scales.scale(name)).map_err(|why| {
                Error::invalid(format!("column `{name}`: it {why}"))
                    .hint("declare more digits for it in [[series.decimals]], or write numbers of so many")
            })?,
            other => other,
        };
        let Some(column) = self.columns.get_mut(slot) else { return Ok(0) };
        let (values, valid) = column.get_or_insert_with(|| (Values::empty(cell.field_type()), Vec::new()));
        pad(values, row);
        valid.resize(row, false);
        valid.push(true);
        let mut bytes = 0;
        match (values, cell) {
            (Values::Float(v), Cell::Float(x)) => v.push(x),
            (Values::Integer(v), Cell::Integer(x)) => v.push(x),
            (Values::Unsigned(v), Cell::Unsigned(x)) => v.push(x),
            (Values::Boolean(v), Cell::Boolean(x)) => v.push(x),
            (Values::Decimal(v, _), Cell::Units(d)) => v.push(d.units),
            (Values::String(v), Cell::Text(x)) => {
                let text = utf8(x.data(), &format!("column `{name}`"))?;
                bytes = text.len();
                v.push(text.to_string());
            }
            _ => return Err(Error::internal(format!("the column `{name}` changed its type"))),
        }
        Ok(bytes)
    }

    fn frame(self, plan: &Plan) -> (SeriesKey, Frame) {
        let rows = self.times.len();
        let columns = self.columns.into_iter().zip(&plan.fields).filter_map(|(column, field)| {
            let (mut values, mut valid) = column?;
            pad(&mut values, rows);
            valid.resize(rows, false);
            let valid = valid.contains(&false).then_some(valid);
            Some(Column { name: field.name.clone(), values, valid })
        });
        let columns = columns.collect();
        (self.key, Frame { times: self.times, columns })
    }
}

/// Rows without a value, up to a number of rows.
fn pad(values: &mut Values, rows: usize) {
    match values {
        Values::Float(v) => v.resize(rows, 0.0),
        Values::Integer(v) => v.resize(rows, 0),
        Values::Unsigned(v) => v.resize(rows, 0),
        Values::Boolean(v) => v.resize(rows, false),
        Values::String(v) => v.resize(rows, String::new()),
        Values::Decimal(v, _) => v.resize(rows, 0),
    }
}
