//! The log of one series after a time, read into what has to be put back.

use super::names::{AT, GONE, ROW, TO, hidden, reads};
use crate::error::{Error, Result};
use crate::series::model::TIME_MAX_NS;
use crate::series::query::chosen;
use crate::series::{Budget, Column, Frame, SeriesEngine, SeriesKey, TimeRange, Value, Values};
use std::collections::BTreeMap;

/// Rows that are put back, and spans that are left out, which one scan holds.
pub(super) const HELD_MAX: usize = 5_000_000;

/// What a range of a series was like at a time, where it is not as it is now.
#[derive(Debug)]
pub(super) struct Past {
    key: SeriesKey,
    /// Changes that were recorded after this time are undone.
    at: i64,
    range: TimeRange,
    reads: Option<Vec<String>>,
    /// The log was read up to here.
    read_to: i64,
    frames: Vec<Frame>,
    /// The rows that were there, by time: frame and row.
    rows: BTreeMap<i64, (usize, usize)>,
    /// Spans in which nothing else was, from the first time to the last; apart from each other.
    absent: BTreeMap<i64, i64>,
}

/// What there was at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// What is there now.
    Same,
    Nothing,
    /// Another row, or one that is not there now: see [`Past::row`].
    Row,
}

/// The whole number of a row; `None`: it has none.
pub(super) fn whole(column: Option<&Column>, row: usize) -> Option<i64> {
    let column = column?;
    match &column.values {
        Values::Integer(v) if column.is_valid(row) => v.get(row).copied(),
        _ => None,
    }
}

impl Past {
    pub(super) fn new(key: &SeriesKey, at: i64, range: TimeRange, fields: Option<&[String]>) -> Self {
        Self {
            key: hidden(key),
            at,
            range,
            reads: fields.map(reads),
            read_to: at,
            frames: Vec::new(),
            rows: BTreeMap::new(),
            absent: BTreeMap::new(),
        }
    }

    /// Reads what was recorded since the last call. The first entry about a time says what was there; later ones are about what
    /// came after.
    pub(super) fn read(&mut self, engine: &dyn SeriesEngine, budget: &Budget) -> Result<()> {
        let range = TimeRange { start: self.read_to.saturating_add(1), end: i64::MAX };
        for frame in engine.scan(&self.key, range, self.reads.as_deref(), budget)? {
            let frame = frame?;
            budget.check()?;
            self.read_to = frame.times.last().copied().unwrap_or(self.read_to);
            let (at, from) = (frame.column(AT), frame.column(ROW));
            let (to, gone) = (frame.column(TO), frame.column(GONE));
            let place = self.frames.len();
            let mut needed = vec![false; frame.len()];
            let mut kept = 0;
            for row in 0..frame.len() {
                let (Some(at), Some(from)) = (whole(at, row), whole(from, row)) else {
                    return Err(Error::corrupt(format!(
                        "the log of changes `{}` has a row without a time",
                        self.key
                    )));
                };
                if at <= self.at {
                    continue;
                }
                match whole(to, row) {
                    None if !self.range.contains(from) || self.knows(from) => {}
                    None => {
                        self.rows.insert(from, (place, kept));
                        kept += 1;
                        needed.iter_mut().skip(row).take(1).for_each(|n| *n = true);
                    }
                    Some(to) => {
                        let is_gone = gone.and_then(|g| g.get(row)) == Some(Value::Boolean(true));
                        self.leave_out(from, to, is_gone);
                    }
                }
            }
            if kept > 0 {
                self.frames.push(chosen(frame, &needed));
            }
            if self.rows.len() + self.absent.len() > HELD_MAX {
                return Err(Error::limit(
                    format!("what changed in `{}` since then", super::names::shown(&self.key)),
                    format!("{HELD_MAX} rows"),
                    "narrow the range of the query, or ask for a later `as_known_at`",
                ));
            }
        }
        Ok(())
    }

    fn knows(&self, time: i64) -> bool {
        self.rows.contains_key(&time) || self.is_absent(time)
    }

    fn is_absent(&self, time: i64) -> bool {
        self.absent.range(..=time).next_back().is_some_and(|(_, to)| *to >= time)
    }

    /// Nothing was from `from` to `to`, but for rows that are known; with `gone`, also for those.
    fn leave_out(&mut self, from: i64, to: i64, gone: bool) {
        let (mut from, mut to) = (from.max(self.range.start), to.min(self.range.end.saturating_sub(1)));
        if from > to {
            return;
        }
        if gone {
            let rows: Vec<i64> = self.rows.range(from..=to).map(|(t, _)| *t).collect();
            for time in rows {
                self.rows.remove(&time);
            }
        }
        // One span of all that overlap it.
        if let Some((start, end)) = self.absent.range(..from).next_back().map(|(s, e)| (*s, *e)) {
            if end >= from {
                from = start;
                to = to.max(end);
            }
        }
        let within: Vec<(i64, i64)> = self.absent.range(from..=to).map(|(s, e)| (*s, *e)).collect();
        for (start, end) in within {
            to = to.max(end);
            self.absent.remove(&start);
        }
        self.absent.insert(from, to);
    }

    pub(super) fn at(&self, time: i64) -> Then {
        if self.rows.contains_key(&time) {
            Then::Row
        } else if self.is_absent(time) {
            Then::Nothing
        } else {
            Then::Same
        }
    }

    /// Is everything from `first` to `last` as it is now?
    pub(super) fn same(&self, first: i64, last: i64) -> bool {
        self.rows.range(first..=last.max(first)).next().is_none()
            && self.absent.range(..=last).next_back().is_none_or(|(_, to)| *to < first)
    }

    /// The times of the rows that are put back, from `first` to `last`.
    pub(super) fn times(&self, first: i64, last: i64) -> impl Iterator<Item = i64> {
        self.rows.range(first..=last.max(first)).map(|(t, _)| *t)
    }

    /// The frame and row of what was at a time.
    pub(super) fn row(&self, time: i64) -> Option<(&Frame, usize)> {
        let (frame, row) = self.rows.get(&time)?;
        Some((self.frames.get(*frame)?, *row))
    }
}

/// The first and the last time of the rows that were changed after `at`; `None`: none was there before.
pub(super) fn span(
    engine: &dyn SeriesEngine,
    key: &SeriesKey,
    at: i64,
    budget: &Budget,
) -> Result<Option<(i64, i64)>> {
    let range = TimeRange { start: at.saturating_add(1), end: i64::MAX };
    let reads = [AT, ROW, TO].map(String::from);
    let mut out: Option<(i64, i64)> = None;
    for frame in engine.scan(&hidden(key), range, Some(&reads), budget)? {
        let frame = frame?;
        budget.check()?;
        let to = frame.column(TO);
        for row in (0..frame.len()).filter(|row| whole(to, *row).is_none()) {
            let Some(t) = whole(frame.column(ROW), row).filter(|t| *t <= TIME_MAX_NS) else { continue };
            out = Some(out.map_or((t, t), |(first, last)| (first.min(t), last.max(t))));
        }
    }
    Ok(out)
}
