//! The ASOF join: a merge of two scans in ascending time. Of the right series it holds a frame and the two rows before it, and
//! of the left one a frame, however long both are.

use super::asof::{Joining, Right};
use super::ast::Direction;
use super::columns::{Builder, NO_ROW, with_values};
use super::window::count_rows;
use crate::error::Result;
use crate::series::{Budget, Frame, FrameStream, SeriesEngine, TimeRange, Value};
use std::cell::Cell;

/// The rows of the right series that are kept when its next frame comes: the last one, and the one before it, for whoever
/// may not have the last because it is at the same time.
const KEPT_ROWS: usize = 2;
/// How many times as far a look for the row before the first one of the left series goes back, when it found none.
const LOOK_BACK_FACTOR: i64 = 8;
/// Rows that are looked at one by one before the search halves.
const NEAR_ROWS: usize = 16;

/// A join under way.
pub(super) struct Join<'a> {
    engine: &'a dyn SeriesEngine,
    how: &'a Joining,
    right: &'a Right,
    budget: &'a Budget,
    /// No left row is at or after it.
    end: i64,
    cursor: Option<Cursor>,
    out: Vec<Builder>,
    /// Rows read by the whole query.
    rows_read: &'a Cell<u64>,
}

/// Where the join stands in the right series.
struct Cursor {
    stream: FrameStream,
    /// The rows before `frame`, at most [`KEPT_ROWS`], each a frame of its own.
    before: Vec<Frame>,
    frame: Frame,
    /// The first row that is not before the time that was looked for last, counted from the first of `before`.
    at: usize,
    /// For each left row that is not written yet: the right row, or [`NO_ROW`].
    picks: Vec<usize>,
}

impl<'a> Join<'a> {
    pub(super) fn new(
        engine: &'a dyn SeriesEngine,
        how: &'a Joining,
        right: &'a Right,
        end: i64,
        budget: &'a Budget,
        rows_read: &'a Cell<u64>,
    ) -> Self {
        let out = right.columns.iter().map(|(_, name, of)| Builder::new(name.as_str(), *of)).collect();
        Self { engine, how, right, budget, end, cursor: None, out, rows_read }
    }

    /// Adds the columns of the right series to rows of the left one, which come in ascending time.
    pub(super) fn add(&mut self, left: &mut Frame) -> Result<()> {
        let Some(first) = left.times.first() else { return Ok(()) };
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.begin(*first)?,
        };
        for time in &left.times {
            let pick = self.pick(&mut cursor, *time)?;
            cursor.picks.push(pick.unwrap_or(NO_ROW));
        }
        self.write(&mut cursor);
        self.cursor = Some(cursor);
        left.columns.extend(self.out.iter_mut().map(|b| b.take().into_column()));
        Ok(())
    }

    /// The right row of a left one at `time`.
    fn pick(&mut self, cursor: &mut Cursor, time: i64) -> Result<Option<usize>> {
        while !cursor.reach(time) && self.next_frame(cursor)? {}
        let mut same = cursor.time(cursor.at) == Some(time);
        if same && !self.how.exact && self.how.direction != Direction::Backward && cursor.is_last() {
            self.next_frame(cursor)?;
            same = cursor.time(cursor.at) == Some(time);
        }
        let (before, after) = match (same, self.how.exact) {
            (true, true) => (Some(cursor.at), Some(cursor.at)),
            (true, false) => (cursor.at.checked_sub(1), Some(cursor.at + 1)),
            (false, _) => (cursor.at.checked_sub(1), Some(cursor.at)),
        };
        let near = |row: Option<usize>| {
            let away = cursor.time(row?)?.abs_diff(time);
            let within = self.how.tolerance.is_none_or(|t| away <= t.unsigned_abs());
            within.then_some((away, row?))
        };
        Ok(match self.how.direction {
            Direction::Backward => near(before),
            Direction::Forward => near(after),
            Direction::Nearest => {
                [near(before), near(after)].into_iter().flatten().min_by_key(|(away, _)| *away)
            }
        }
        .map(|(_, row)| row))
    }

    /// Opens the right series where the first left row may need it: at the newest row before it, wherever that is.
    fn begin(&mut self, first: i64) -> Result<Cursor> {
        let tolerance = self.how.tolerance.unwrap_or(i64::MAX);
        let start = match self.how.direction {
            Direction::Backward | Direction::Nearest => self.look_back(first, tolerance)?,
            Direction::Forward => first,
        };
        let end = match self.how.direction {
            Direction::Backward => self.end,
            Direction::Forward | Direction::Nearest => self.end.saturating_add(tolerance),
        };
        let stream = self.open(TimeRange { start, end: end.max(start) })?;
        Ok(Cursor { stream, before: Vec::new(), frame: Frame::default(), at: 0, picks: Vec::new() })
    }

    /// A time from which on the right series has the newest row before `first`, if it has one: pieces backwards, each longer
    /// than the one before, until there is a row in one.
    fn look_back(&self, first: i64, tolerance: i64) -> Result<i64> {
        let Right { info, .. } = self.right;
        let least = info.min_time.unwrap_or(i64::MAX);
        let low = first.saturating_sub(tolerance).max(least);
        let until = if self.how.exact { first.saturating_add(1) } else { first };
        if low >= until {
            return Ok(first);
        }
        let rows = i64::try_from(info.rows).unwrap_or(i64::MAX).max(1);
        let newest = info.max_time.unwrap_or(i64::MAX);
        let mut span = (newest.saturating_sub(least) / rows).max(1).saturating_mul(2);
        loop {
            let start = first.saturating_sub(span).max(low);
            let found = self.open(TimeRange { start, end: until })?.next().transpose()?;
            count_rows(self.rows_read, found.as_ref().map_or(0, |f| f.len() as u64), self.budget)?;
            if found.is_some() || start == low {
                return Ok(start);
            }
            span = span.saturating_mul(LOOK_BACK_FACTOR);
        }
    }

    /// Rows of the right series that have one of the fields, never an empty frame.
    fn open(&self, range: TimeRange) -> Result<FrameStream> {
        let fields = self.right.scan.clone();
        let levels = self.how.levels.clone();
        let stream = self.engine.scan(&self.right.info.key, range, fields.as_deref(), self.budget)?;
        let prepared = move |frame: Result<Frame>| {
            let mut frame = frame?;
            if let Some(fields) = &fields {
                frame = with_values(frame, &|name| fields.iter().any(|f| f == name));
            }
            if let Some(levels) = &levels {
                levels.add(&mut frame, &|_| true);
            }
            Ok(frame)
        };
        Ok(Box::new(stream.map(prepared).filter(|f| f.as_ref().map_or(true, |f| !f.is_empty()))))
    }

    /// Goes on to the next frame of the right series. False: there is none, and nothing changed.
    fn next_frame(&mut self, cursor: &mut Cursor) -> Result<bool> {
        self.budget.check()?;
        let Some(next) = cursor.stream.next().transpose()? else { return Ok(false) };
        count_rows(self.rows_read, next.len() as u64, self.budget)?;
        self.write(cursor);
        cursor.go_on(next);
        Ok(true)
    }

    /// Writes the right rows that were chosen.
    fn write(&mut self, cursor: &mut Cursor) {
        let split = cursor.before.len();
        // Times ascend, and so do the rows: those of the frame come last, and are copied column by column.
        let last = cursor.picks.iter().rposition(|row| *row < split).map_or(0, |last| last + 1);
        let (before, within) = cursor.picks.split_at(last);
        // What stands for no row is no row of the frame either.
        let rows = within.iter().map(|row| row.saturating_sub(split));
        for ((name, _, _), out) in self.right.columns.iter().zip(&mut self.out) {
            if name.is_empty() {
                before.iter().for_each(|row| out.push(cursor.time(*row).map(Value::Integer)));
                out.gather_times(&cursor.frame.times, rows.clone());
                continue;
            }
            let frame = cursor.frame.column(name);
            for row in before {
                out.push(match row.checked_sub(split) {
                    None => cursor.before.get(*row).and_then(|f| f.column(name)?.get(0)),
                    Some(row) => frame.and_then(|column| column.get(row)),
                });
            }
            out.gather(frame, rows.clone());
        }
        cursor.picks.clear();
    }
}

impl Cursor {
    fn len(&self) -> usize {
        self.before.len() + self.frame.len()
    }

    fn is_last(&self) -> bool {
        self.at + 1 == self.len()
    }

    fn time(&self, row: usize) -> Option<i64> {
        match row.checked_sub(self.before.len()) {
            None => self.before.get(row)?.times.first().copied(),
            Some(row) => self.frame.times.get(row).copied(),
        }
    }

    /// Goes to the first row that is not before `time`. False: there is none so far.
    fn reach(&mut self, time: i64) -> bool {
        let mut near = 0;
        while self.time(self.at).is_some_and(|t| t < time) {
            self.at += 1;
            near += 1;
            if near == NEAR_ROWS {
                if let Some(from) = self.at.checked_sub(self.before.len()) {
                    let rest = self.frame.times.get(from..).unwrap_or_default();
                    self.at += rest.partition_point(|t| *t < time);
                }
            }
        }
        self.at < self.len()
    }

    /// Takes the next frame; the last rows of what there was stay.
    fn go_on(&mut self, next: Frame) {
        let from_end = self.len().saturating_sub(self.at);
        let last = std::mem::replace(&mut self.frame, next);
        self.before.extend((last.len().saturating_sub(KEPT_ROWS)..last.len()).map(|row| one_row(&last, row)));
        self.before.drain(..self.before.len().saturating_sub(KEPT_ROWS));
        self.at = self.before.len().saturating_sub(from_end);
    }
}

fn one_row(frame: &Frame, row: usize) -> Frame {
    let columns = frame.columns.iter().map(|column| {
        let mut one = Builder::new(column.name.as_str(), column.values.field_type());
        one.push(column.get(row));
        one.into_column()
    });
    Frame { times: frame.times.get(row).copied().into_iter().collect(), columns: columns.collect() }
}
