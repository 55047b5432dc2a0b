//! Rolling raw rows up into bars, again and again without harm.
//!
//! Buckets whose raw rows are all there are rolled anew from them, so late rows are counted. Buckets whose raw rows were
//! dropped are only widened by what arrives late: the high rises, the low falls, the rest stays — see `docs/retention.md`.
//!
//! A bar that a rollup made carries [`SOURCE_ROWS`]; one without it came from a feed, and is left as it is unless the
//! plan's author may overwrite.

use crate::error::{Error, Kind, Result};
use crate::series::kinds::Timeframe;
use crate::series::model::TIME_MIN_NS;
use crate::series::query::resample_bars;
use crate::series::{
    Budget, Column, Frame, FrameStream, SeriesEngine, SeriesKey, TimeRange, Values, WriteBatch,
};
use chrono_tz::Tz::UTC;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The field of a rolled-up bar that says how many rows it was made of (an integer).
pub const SOURCE_ROWS: &str = "source_rows";
/// Buckets that are rolled, compared and written at once.
const BUCKETS_PER_SLICE: usize = 4_096;

/// What a rollup read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rolled {
    pub(super) rows: u64,
    /// Bars that were new or changed.
    pub(super) bars: u64,
}

/// The first time at or after `range.start`, if there is a row.
pub(super) fn first_time(
    engine: &dyn SeriesEngine,
    key: &SeriesKey,
    range: TimeRange,
    budget: &Budget,
) -> Result<Option<i64>> {
    if range.start >= range.end {
        return Ok(None);
    }
    for frame in engine.scan(key, range, None, budget)? {
        if let Some(t) = frame?.times.first() {
            return Ok(Some(*t));
        }
    }
    Ok(None)
}

/// What to roll up, and into what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) key: &'a SeriesKey,
    pub(super) timeframe: Timeframe,
    pub(super) target: &'a SeriesKey,
    /// Rows before this time are late.
    pub(super) dropped: Option<i64>,
    /// Rows before this time, a whole bar, are rolled up.
    pub(super) until: i64,
    /// Bars that came from a feed may be replaced.
    pub(super) overwrite: bool,
}

/// Does one job; doing it again changes nothing.
pub(super) fn roll(engine: &dyn SeriesEngine, job: Job<'_>) -> Result<Rolled> {
    let Job { key, timeframe, target, dropped, until, overwrite } = job;
    let budget = Budget::default();
    let mut out = Rolled::default();
    // From here on, every bucket has all its raw rows.
    let whole_from = dropped.map_or(TIME_MIN_NS, |d| ceil(timeframe, d));
    let mut from = TIME_MIN_NS;
    while let Some(first) = first_time(engine, key, TimeRange { start: from, end: until }, &budget)? {
        let start = timeframe.floor(first, UTC);
        let mut end = start;
        for _ in 0..BUCKETS_PER_SLICE {
            end = timeframe.next(end, UTC);
            if end >= until {
                end = until;
                break;
            }
        }
        let late = start < whole_from;
        if late {
            end = end.min(whole_from);
        }
        let slice = TimeRange { start: start.max(TIME_MIN_NS), end };
        let tally = Arc::new(Mutex::new(Tally::default()));
        let mut bars = resample_bars(
            tallied(engine.scan(key, slice, None, &budget)?, timeframe, tally.clone()),
            timeframe,
            &budget,
        )?;
        let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
        bars.columns.push(tally.column(&bars.times));
        let have = collect(engine.scan(target, slice, None, &budget)?)?;
        let mut new = if late { widened(&have, &bars) } else { changed(&have, &bars) };
        if !overwrite {
            new = select(&new, &|time, _, _| !have.is_of_a_feed(time));
        }
        out.rows += tally.rows;
        out.bars += new.len() as u64;
        if !new.is_empty() {
            let report = engine.write(WriteBatch { series: vec![(target.clone(), new)] })?;
            if report.dropped > 0 {
                let fields: Vec<String> = report
                    .conflicts
                    .iter()
                    .map(|c| format!("{} is {}, not {}", c.field, c.have, c.got))
                    .collect();
                return Err(Error::new(
                    Kind::Conflict,
                    format!("the rollup {target} holds fields of other types: {}", fields.join(", ")),
                )
                .hint("delete that series, or roll up into another timeframe"));
            }
        }
        from = end;
    }
    Ok(out)
}

fn ceil(timeframe: Timeframe, t: i64) -> i64 {
    if timeframe.floor(t, UTC) == t { t } else { timeframe.next(t, UTC) }
}

/// Rows of the source, by the bar that they fall into.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    /// The time of each bar, in order, and its rows.
    bars: Vec<(i64, i64)>,
}

impl Tally {
    fn add(&mut self, times: &[i64], timeframe: Timeframe) {
        self.rows += times.len() as u64;
        let mut rest = times;
        while let Some(first) = rest.first() {
            let bar = timeframe.bar_at(*first, UTC);
            let (these, later) = rest.split_at(rest.partition_point(|t| *t < bar.end).max(1));
            let n = i64::try_from(these.len()).unwrap_or(i64::MAX);
            match self.bars.last_mut() {
                Some((at, rows)) if *at == bar.start => *rows = rows.saturating_add(n),
                _ => self.bars.push((bar.start, n)),
            }
            rest = later;
        }
    }

    /// The rows of the bars at these times.
    fn column(&self, times: &[i64]) -> Column {
        let rows =
            |t: &i64| self.bars.binary_search_by_key(t, |(at, _)| *at).ok().and_then(|i| self.bars.get(i));
        Column::new(
            SOURCE_ROWS,
            Values::Integer(times.iter().map(|t| rows(t).map_or(0, |(_, n)| *n)).collect()),
        )
    }
}

/// Counts what passes. What a source says of its own rollup is none of the target's business.
fn tallied(stream: FrameStream, timeframe: Timeframe, tally: Arc<Mutex<Tally>>) -> FrameStream {
    Box::new(stream.map(move |frame| {
        let mut frame = frame?;
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(&frame.times, timeframe);
        frame.columns.retain(|c| c.name != SOURCE_ROWS);
        Ok(frame)
    }))
}

/// Time → frame and row of what is there.
struct Have {
    frames: Vec<Frame>,
    at: HashMap<i64, (usize, usize)>,
}

impl Have {
    fn column(&self, time: i64, name: &str) -> Option<Option<crate::series::Value>> {
        let (frame, row) = self.at.get(&time)?;
        Some(self.frames.get(*frame)?.column(name).and_then(|c| c.get(*row)))
    }

    /// Is there a bar that no rollup made?
    fn is_of_a_feed(&self, time: i64) -> bool {
        self.column(time, SOURCE_ROWS) == Some(None)
    }
}

fn collect(stream: FrameStream) -> Result<Have> {
    let mut have = Have { frames: Vec::new(), at: HashMap::new() };
    for frame in stream {
        let frame = frame?;
        for (row, t) in frame.times.iter().enumerate() {
            have.at.insert(*t, (have.frames.len(), row));
        }
        have.frames.push(frame);
    }
    Ok(have)
}

/// The bars that differ from what is there: writing the others again would only cost room.
fn changed(have: &Have, bars: &Frame) -> Frame {
    select(bars, &|time, column, row| {
        let new = column.get(row);
        new.is_some() && have.column(time, &column.name) != Some(new)
    })
}

/// New bars whole; of bars that are there, a higher high and a lower low.
fn widened(have: &Have, bars: &Frame) -> Frame {
    select(bars, &|time, column, row| {
        let Some(new) = column.get(row) else { return false };
        let Some(old) = have.column(time, &column.name) else { return true };
        let number = |v: &crate::series::Value| v.as_f64();
        match (column.name.as_str(), old.as_ref().and_then(number), number(&new)) {
            ("high", Some(old), Some(new)) => new > old,
            ("low", Some(old), Some(new)) => new < old,
            // Open, close, volume and rows of a bar whose rows are gone cannot be told again.
            _ => false,
        }
    })
}

/// The values that `keep` wants, as a frame without empty rows.
fn select(bars: &Frame, keep: &dyn Fn(i64, &Column, usize) -> bool) -> Frame {
    let wanted = |row: usize, time: i64| bars.columns.iter().any(|c| c.is_valid(row) && keep(time, c, row));
    let rows: Vec<(usize, i64)> =
        bars.times.iter().copied().enumerate().filter(|(row, t)| wanted(*row, *t)).collect();
    let columns = bars.columns.iter().filter_map(|c| {
        let valid: Vec<bool> = rows.iter().map(|(row, t)| c.is_valid(*row) && keep(*t, c, *row)).collect();
        if !valid.iter().any(|v| *v) {
            return None;
        }
        let values = pick(&c.values, &rows);
        Some(Column { name: c.name.clone(), values, valid: (!valid.iter().all(|v| *v)).then_some(valid) })
    });
    Frame { columns: columns.collect(), times: rows.iter().map(|(_, t)| *t).collect() }
}

fn pick(values: &Values, rows: &[(usize, i64)]) -> Values {
    fn of<T: Clone + Default>(v: &[T], rows: &[(usize, i64)]) -> Vec<T> {
        rows.iter().map(|(row, _)| v.get(*row).cloned().unwrap_or_default()).collect()
    }
    match values {
        Values::Float(v) => Values::Float(of(v, rows)),
        Values::Integer(v) => Values::Integer(of(v, rows)),
        Values::Unsigned(v) => Values::Unsigned(of(v, rows)),
        Values::Boolean(v) => Values::Boolean(of(v, rows)),
        Values::String(v) => Values::String(of(v, rows)),
    }
}
