//! Bars of the instruments of the record: where they are, and how many of them one answer may hold.

use super::AsOf;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::series::query::{Query, Time};
use crate::series::{Budget, Column, Decimal, Frame, Values};

/// Rows of bars that one answer may be made of, over all its parts: the contracts of a chain, the instruments that a skill traded.
/// `limits.query_rows` may say less.
pub const BARS_MAX: u64 = 5_000_000;

/// Columns that are prices of a piece, and those that count pieces.
pub(super) const PRICES: [&str; 6] = ["open", "high", "low", "close", "vwap", "price"];
const PIECES: [&str; 2] = ["volume", "size"];

/// What one answer may read: rows and time, for all that it reads.
pub(super) struct Room {
    budget: Budget,
    most: u64,
    left: u64,
}

impl Room {
    /// `budget` has the deadline of the whole answer.
    pub fn new(budget: Budget, query_rows: u64) -> Self {
        let most = query_rows.min(BARS_MAX);
        Self { budget, most, left: most }
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes rows that are about to be kept.
    fn take(&mut self, rows: usize) -> Result<()> {
        self.left = self.left.checked_sub(rows as u64).ok_or_else(|| self.full())?;
        Ok(())
    }

    fn full(&self) -> Error {
        Error::limit(
            "what the bars of an answer are made of",
            format!("{} rows", self.most),
            "narrow it with `start` and `end`: all contracts of a chain and all instruments of a skill count together",
        )
    }
}

/// The series of an instrument's bars.
pub(super) struct Series {
    bucket: Option<String>,
    measurement: String,
}

impl Series {
    fn query(&self, (start, end): (i64, i64)) -> Query {
        Query {
            bucket: self.bucket.clone(),
            measurement: self.measurement.clone(),
            start: Some(Time::Ns(start)),
            end: Some(Time::Ns(end)),
            ..Query::default()
        }
    }
}

impl DataLayer {
    /// What the bars of one answer may take.
    pub(super) fn room(&self, budget: &Budget) -> Room {
        Room::new(self.series().budget(budget), self.manifest().limits.query_rows)
    }

    /// Where the bars of an instrument are, if somebody said so.
    pub(super) fn series_of(&self, name: &str, at: Option<i64>) -> Result<Option<Series>> {
        let (found, _) = self.trades().instrument(&Caller::Operator, name, at)?;
        Ok(found.measurement.map(|measurement| Series { bucket: found.bucket, measurement }))
    }

    /// [`DataLayer::series_of`] where there must be bars.
    pub(super) fn bars_of(&self, name: &str, as_of: AsOf) -> Result<Series> {
        self.series_of(name, as_of.at)?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("nobody said where the bars of `{name}` are"))
                .hint("`shiphold trades instrument terms NAME --measurement bar.1d.AAPL`")
        })
    }

    /// Adds the bars of a range to those that are there, as floats.
    pub(super) fn add_bars(
        &self,
        caller: &Caller,
        series: &Series,
        range: (i64, i64),
        room: &mut Room,
        whole: &mut Frame,
    ) -> Result<()> {
        let mut last = i64::MIN;
        self.pieces(caller, series.query(range), room, |mut piece| {
            if !piece.times.is_sorted() || piece.times.first().is_some_and(|first| *first < last) {
                return Err(Error::invalid(format!("`{}` has bars of several series", series.measurement))
                    .hint("name one series of bars in the terms of the instrument"));
            }
            last = piece.times.last().copied().unwrap_or(last);
            piece.columns.retain(|c| PRICES.contains(&c.name.as_str()) || PIECES.contains(&c.name.as_str()));
            for column in &mut piece.columns {
                column.values = Values::Float(floats(&column.values));
            }
            append(whole, piece);
            Ok(())
        })
    }

    /// The last close in a range, and its time.
    pub(super) fn last_close(
        &self,
        caller: &Caller,
        series: &Series,
        range: (i64, i64),
        budget: &Budget,
    ) -> Result<Option<(i64, f64)>> {
        let query = Query {
            fields: Some(vec!["close".into()]),
            descending: true,
            limit: Some(1),
            ..series.query(range)
        };
        let table = self.series().query(caller, &query, budget)?;
        let close = table.column("close").and_then(|c| numbers(c).first().copied());
        Ok(table.frame.times.first().copied().zip(close).filter(|(_, c)| c.is_finite()))
    }

    /// Closes of an instrument in a range, in the order of their times; nothing where nobody said where its bars are.
    pub(super) fn closes(
        &self,
        caller: &Caller,
        instrument: &str,
        range: (i64, i64),
        room: &mut Room,
    ) -> Result<Vec<(i64, f64)>> {
        let mut all = Vec::new();
        if let Some(series) = self.series_of(instrument, None)? {
            let query = Query { fields: Some(vec!["close".into()]), ..series.query(range) };
            self.pieces(caller, query, room, |piece| {
                let closes = piece.column("close").map(numbers).unwrap_or_default();
                all.extend(piece.times.iter().copied().zip(closes).filter(|(_, c)| c.is_finite()));
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// Asks for rows and gives them on a piece at a time, each after there was room for it.
    fn pieces(
        &self,
        caller: &Caller,
        query: Query,
        room: &mut Room,
        mut each: impl FnMut(Frame) -> Result<()>,
    ) -> Result<()> {
        // Of a full room one row more is asked for: is there one?
        let query = Query { limit: Some(room.left.max(1)), ..query };
        let budget = room.budget.clone();
        let done = self.series().query_into(caller, &query, &budget, &mut |piece| {
            room.take(piece.len())?;
            each(piece)
        })?;
        if done.truncated { Err(room.full()) } else { Ok(()) }
    }
}

/// The numbers of a column; where there is none, not a number.
fn numbers(column: &Column) -> Vec<f64> {
    let mut all = floats(&column.values);
    for (number, there) in all.iter_mut().zip(column.valid.iter().flatten()) {
        if !there {
            *number = f64::NAN;
        }
    }
    all
}

fn floats(values: &Values) -> Vec<f64> {
    match values {
        Values::Float(v) => v.clone(),
        Values::Integer(v) => v.iter().map(|v| *v as f64).collect(),
        Values::Unsigned(v) => v.iter().map(|v| *v as f64).collect(),
        Values::Decimal(v, scale) => {
            v.iter().map(|units| Decimal { units: *units, scale: *scale }.to_f64()).collect()
        }
        Values::Boolean(v) => vec![f64::NAN; v.len()],
        Values::String(v) => vec![f64::NAN; v.len()],
    }
}

/// Adds the rows of a later part; a column that only one of both has is empty in the other.
fn append(whole: &mut Frame, part: Frame) {
    if whole.is_empty() {
        *whole = part;
        return;
    }
    let (before, more) = (whole.len(), part.len());
    let mut part_columns = part.columns;
    for column in &mut whole.columns {
        let found = part_columns.iter().position(|c| c.name == column.name);
        match found.map(|at| part_columns.swap_remove(at)) {
            Some(Column { values: Values::Float(next), valid, .. }) => {
                extend(&mut column.values, next);
                if column.valid.is_some() || valid.is_some() {
                    let all = column.valid.get_or_insert_with(|| vec![true; before]);
                    all.extend(valid.unwrap_or_else(|| vec![true; more]));
                }
            }
            _ => {
                extend(&mut column.values, vec![f64::NAN; more]);
                column.valid.get_or_insert_with(|| vec![true; before]).extend(vec![false; more]);
            }
        }
    }
    for Column { name, values, valid } in part_columns {
        let mut all = Values::Float(vec![f64::NAN; before]);
        extend(&mut all, floats(&values));
        let mut there = vec![false; before];
        there.extend(valid.unwrap_or_else(|| vec![true; more]));
        whole.columns.push(Column { name, values: all, valid: Some(there) });
    }
    whole.times.extend(part.times);
}

fn extend(values: &mut Values, next: Vec<f64>) {
    if let Values::Float(values) = values {
        values.extend(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_take_from_one_room() {
        let mut room = Room::new(Budget::default(), u64::MAX);
        room.take(BARS_MAX as usize - 1).unwrap();
        room.take(1).unwrap();
        room.take(0).unwrap();
        let e = room.take(1).unwrap_err();
        assert!(e.kind() == Kind::Limit && e.message().contains("5000000 rows"), "{e:?}");
        assert!(e.hint_text().unwrap().contains("`start` and `end`"), "{e:?}");
        let mut less = Room::new(Budget::default(), 2);
        assert!(less.take(2).is_ok() && less.take(1).is_err());
    }

    #[test]
    fn columns_that_one_part_has_are_empty_in_the_other() {
        let frame = |times: &[i64], columns: Vec<Column>| Frame { times: times.to_vec(), columns };
        let mut whole = Frame::default();
        append(&mut whole, frame(&[1, 2], vec![Column::float("close", vec![1.0, 2.0])]));
        append(
            &mut whole,
            frame(&[3], vec![Column::float("close", vec![3.0]), Column::float("vwap", vec![9.0])]),
        );
        append(&mut whole, frame(&[4], vec![Column::float("vwap", vec![8.0])]));
        append(&mut whole, Frame::default());
        assert_eq!(whole.times, [1, 2, 3, 4]);
        let [close, vwap] = whole.columns.as_slice() else { panic!("{whole:?}") };
        assert_eq!((close.valid.as_deref(), close.values.len()), (Some(&[true, true, true, false][..]), 4));
        assert_eq!((vwap.valid.as_deref(), vwap.values.len()), (Some(&[false, false, true, true][..]), 4));
        let Values::Float(values) = &vwap.values else { panic!("{whole:?}") };
        assert_eq!(values[2..], [9.0, 8.0]);
    }
}
