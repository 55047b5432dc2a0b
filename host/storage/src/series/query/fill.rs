//! Windows without rows: left out, or there with a value that `fill` says.

use super::ast::{Fill, Function};
use super::columns::Builder;
use super::window::{Spec, Windows};
use crate::series::model::TIME_MIN_NS;
use crate::series::{Column, Decimal, FieldType, Frame, TimeRange, Value};

/// How the windows of one series are filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling<'a> {
    pub(super) fill: Fill,
    pub(super) windows: &'a Windows,
    pub(super) range: TimeRange,
    /// Windows up to this one are not given: the page before had them.
    pub(super) after: Option<i64>,
    /// Bars, whose gaps are flat at the last close.
    pub(super) bars: bool,
    pub(super) specs: &'a [Spec],
}

/// The windows of `frame`, ascending, and those between: from the range's start, if it has one, to its end, if it has one; at
/// most `most` of them. A series without any row in the range stays without.
pub(super) fn filled(frame: &Frame, how: &Filling<'_>, most: usize) -> Frame {
    let windows = windows(&frame.times, how, most);
    let columns = frame
        .columns
        .iter()
        .zip(how.specs)
        .map(|(column, spec)| Filled::new(column, &frame.times).column(&windows, spec, how, frame))
        .collect();
    Frame { times: windows.iter().map(|w| w.start).collect(), columns }
}

/// A window, and the first row that is not before it.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: i64,
    next: usize,
    /// That row is its own.
    there: bool,
}

fn windows(times: &[i64], how: &Filling<'_>, most: usize) -> Vec<Window> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Vec::new() };
    let from = if how.range.start > TIME_MIN_NS { how.range.start } else { *first };
    let until = if how.range.end < i64::MAX { how.range.end } else { last.saturating_add(1) };
    let mut out = Vec::new();
    let (mut next_bar, mut next) = (how.windows.from(from), 0);
    while let Some(bar) = next_bar.filter(|b| b.start < until && out.len() < most) {
        while times.get(next).is_some_and(|t| *t < bar.start) {
            next += 1;
        }
        if how.after.is_none_or(|after| bar.start > after) {
            out.push(Window { start: bar.start, next, there: times.get(next) == Some(&bar.start) });
        }
        next_bar = how.windows.from(bar.end).filter(|after| after.start > bar.start);
    }
    out
}

/// A column, and where its values are.
struct Filled<'a> {
    column: &'a Column,
    times: &'a [i64],
    /// For each row: the last row up to it, and the first from it on, that has a value.
    before: Vec<Option<usize>>,
    after: Vec<Option<usize>>,
}

impl<'a> Filled<'a> {
    fn new(column: &'a Column, times: &'a [i64]) -> Self {
        let rows = times.len();
        let (mut before, mut after) = (vec![None; rows], vec![None; rows]);
        let mut last = None;
        for (row, slot) in before.iter_mut().enumerate() {
            last = if column.is_valid(row) { Some(row) } else { last };
            *slot = last;
        }
        last = None;
        for (row, slot) in after.iter_mut().enumerate().rev() {
            last = if column.is_valid(row) { Some(row) } else { last };
            *slot = last;
        }
        Self { column, times, before, after }
    }

    fn column(&self, windows: &[Window], spec: &Spec, how: &Filling<'_>, frame: &Frame) -> Column {
        let mut out = Builder::new(self.column.name.as_str(), self.column.values.field_type());
        for w in windows {
            let own = w.there.then(|| self.column.get(w.next)).flatten();
            out.push(own.or_else(|| self.missing(w, spec, how, frame)));
        }
        out.into_column()
    }

    /// The value of a window that has none of its own.
    fn missing(&self, w: &Window, spec: &Spec, how: &Filling<'_>, frame: &Frame) -> Option<Value> {
        // Of nothing there are none, whatever is said of other values.
        if spec.function == Function::Count && !w.there {
            return Some(Value::Integer(0));
        }
        let previous = w.next.checked_sub(1).and_then(|row| self.before.get(row).copied().flatten());
        match how.fill {
            Fill::None | Fill::Null => None,
            Fill::Previous if how.bars && !w.there => match spec.output.as_str() {
                "open" | "high" | "low" | "close" => {
                    let close = frame.column("close")?;
                    (0..w.next).rev().find_map(|row| close.get(row))
                }
                // Nothing was traded; before the first trade nothing is known.
                "volume" => previous.map(|_| zero(self.column.values.field_type())),
                _ => self.column.get(previous?),
            },
            Fill::Previous => self.column.get(previous?),
            Fill::Linear => {
                let next = self.after.get(w.next).copied().flatten()?;
                self.between(previous?, next, w.start)
            }
        }
    }

    /// On the line between two values; whole numbers are rounded.
    fn between(&self, from: usize, to: usize, at: i64) -> Option<Value> {
        let (a, b) = (self.column.get(from)?, self.column.get(to)?);
        let (start, end) = (i128::from(*self.times.get(from)?), i128::from(*self.times.get(to)?));
        let (gone, all) = (i128::from(at) - start, end - start);
        if let (Value::Decimal(a), Value::Decimal(b)) = (&a, &b) {
            let units = decimal_between(a.units, b.units, gone, all)?;
            return Some(Value::Decimal(Decimal { units, scale: a.scale }));
        }
        let (a, b) = (a.as_f64()?, b.as_f64()?);
        let share = gone as f64 / all as f64;
        let value = a + (b - a) * share;
        match self.column.values.field_type() {
            FieldType::Float => Some(Value::Float(value)),
            FieldType::Integer => Some(Value::Integer(value.round() as i64)),
            FieldType::Unsigned => Some(Value::Unsigned(value.round() as u64)),
            FieldType::Boolean | FieldType::String | FieldType::Decimal(_) => None,
        }
    }
}

/// The units at `gone` of `all` from one to the other, rounded to the nearest, halves away from the first. Without a float: its 53
/// bits are not enough for all units.
fn decimal_between(from: i64, to: i64, gone: i128, all: i128) -> Option<i64> {
    let way = i128::from(to) - i128::from(from);
    let (size, gone, all) = (way.unsigned_abs(), gone.unsigned_abs(), all.unsigned_abs());
    // Both are less than 2^64: the product fits.
    let product = size.checked_mul(gone)?;
    let (steps, rest) = (product.checked_div(all)?, product.checked_rem(all)?);
    let steps = i128::try_from(steps + u128::from(rest >= all.div_ceil(2))).ok()?;
    i64::try_from(i128::from(from) + steps * way.signum()).ok()
}

fn zero(of: FieldType) -> Value {
    match of {
        FieldType::Integer => Value::Integer(0),
        FieldType::Unsigned => Value::Unsigned(0),
        FieldType::Decimal(scale) => Value::Decimal(Decimal { units: 0, scale }),
        FieldType::Float | FieldType::Boolean | FieldType::String => Value::Float(0.0),
    }
}
