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
use crate::series::query::{Aggregate, Function, windows_of};
use crate::series::{
    Budget, Column, Frame, FrameStream, SeriesEngine, SeriesKey, TimeRange, TypeConflict, Value, Values,
    WriteBatch,
};
use chrono_tz::Tz;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The field of a rolled-up bar that says how many rows it was made of (an integer).
pub const SOURCE_ROWS: &str = "source_rows";
/// Buckets that are rolled, compared and written at once.
const BUCKETS_PER_SLICE: usize = 4_096;

/// What a rollup read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rolled {
    pub(crate) rows: u64,
    /// Bars that were new or changed.
    pub(crate) bars: u64,
    /// Bars that late rows could only widen: their raw rows are gone.
    pub(crate) kept: u64,
}

/// The first time at or after `range.start`, if there is a row.
pub(crate) fn first_time(
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
pub(crate) struct Job<'a> {
    pub(crate) key: &'a SeriesKey,
    /// Where its rows are; `None`: where the target is.
    pub(crate) source: Option<&'a dyn SeriesEngine>,
    pub(crate) timeframe: Timeframe,
    /// The zone in which days and weeks begin.
    pub(crate) zone: Tz,
    /// `None`: bars of bars or ticks.
    pub(crate) aggregates: Option<&'a [Aggregate]>,
    pub(crate) target: &'a SeriesKey,
    /// Rows before this time are late.
    pub(crate) dropped: Option<i64>,
    /// Whole bars: their rows are rolled up.
    pub(crate) range: TimeRange,
    /// Bars that came from a feed may be replaced.
    pub(crate) overwrite: bool,
}

/// Some bars of a job.
#[derive(Debug)]
pub(crate) struct Slice {
    /// What is to be written into the target.
    pub(crate) new: Frame,
    pub(crate) rolled: Rolled,
    /// Rows before this time are in it.
    pub(crate) reached: i64,
}

/// Does one job; doing it again changes nothing. Each write has a `turn`, which is over when what it gives is dropped.
pub(crate) fn roll<T>(
    engine: &dyn SeriesEngine,
    job: Job<'_>,
    turn: &dyn Fn() -> Result<T>,
) -> Result<Rolled> {
    let mut out = Rolled::default();
    let mut from = job.range.start;
    while let Some(slice) = next_slice(engine, &job, from, BUCKETS_PER_SLICE)? {
        out.rows += slice.rolled.rows;
        out.bars += slice.rolled.bars;
        out.kept += slice.rolled.kept;
        if !slice.new.is_empty() {
            let turn = turn()?;
            let report = engine.write(WriteBatch { series: vec![(job.target.clone(), slice.new)] })?;
            drop(turn);
            if report.dropped > 0 {
                return Err(conflict(job.target, &report.conflicts));
            }
        }
        from = slice.reached;
    }
    Ok(out)
}

/// The target holds what the rollup cannot write beside.
pub(crate) fn conflict(target: &SeriesKey, conflicts: &[TypeConflict]) -> Error {
    let fields: Vec<String> = conflicts
        .iter()
        .filter(|c| c.bucket == target.bucket && c.measurement == target.measurement)
        .map(|c| format!("{} is {}, not {}", c.field, c.have, c.got))
        .collect();
    Error::new(
        Kind::Conflict,
        format!("the rollup {target} holds fields of other types: {}", fields.join(", ")),
    )
    .hint("delete that series, or roll up into another timeframe")
}

/// The first bars at or after `from`, at most `buckets` of them; `None`: there are no more rows.
pub(crate) fn next_slice(
    engine: &dyn SeriesEngine,
    job: &Job<'_>,
    from: i64,
    buckets: usize,
) -> Result<Option<Slice>> {
    let Job { key, source, timeframe, zone, aggregates, target, dropped, range, overwrite } = *job;
    let source = source.unwrap_or(engine);
    let (budget, until) = (Budget::default(), range.end);
    let Some(first) = first_time(source, key, TimeRange { start: from, end: until }, &budget)? else {
        return Ok(None);
    };
    let start = timeframe.floor(first, zone);
    let mut end = start;
    for _ in 0..buckets.max(1) {
        end = timeframe.next(end, zone);
        if end >= until {
            end = until;
            break;
        }
    }
    // From here on, every bucket has all its raw rows.
    let whole_from = dropped.map_or(TIME_MIN_NS, |d| ceil(timeframe, zone, d));
    let late = start < whole_from;
    if late {
        end = end.min(whole_from);
    }
    let slice = TimeRange { start: start.max(TIME_MIN_NS), end };
    let tally = Arc::new(Mutex::new(Tally::default()));
    let rows = tallied(source.scan(key, slice, None, &budget)?, timeframe, zone, tally.clone());
    let mut bars = windows_of(rows, timeframe, zone, aggregates, &budget)?;
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    bars.columns.push(tally.column(&bars.times));
    let have = collect(engine.scan(target, slice, None, &budget)?)?;
    let kept = bars.times.iter().filter(|t| late && have.at.contains_key(*t)).count() as u64;
    let mut new = if late { widened(&have, &bars, aggregates) } else { changed(&have, &bars) };
    if !overwrite {
        new = select(&new, &|time, _, _| !have.is_of_a_feed(time));
    }
    let rolled = Rolled { rows: tally.rows, bars: new.len() as u64, kept };
    Ok(Some(Slice { new, rolled, reached: end }))
}

/// The start of the first whole bar at or after a time.
pub(crate) fn ceil(timeframe: Timeframe, zone: Tz, t: i64) -> i64 {
    if timeframe.floor(t, zone) == t { t } else { timeframe.next(t, zone) }
}

/// Rows of the source, by the bar that they fall into.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    /// The time of each bar, in order, and its rows.
    bars: Vec<(i64, i64)>,
}

impl Tally {
    fn add(&mut self, times: &[i64], timeframe: Timeframe, zone: Tz) {
        self.rows += times.len() as u64;
        let mut rest = times;
        while let Some(first) = rest.first() {
            let bar = timeframe.bar_at(*first, zone);
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
fn tallied(stream: FrameStream, timeframe: Timeframe, zone: Tz, tally: Arc<Mutex<Tally>>) -> FrameStream {
    Box::new(stream.map(move |frame| {
        let mut frame = frame?;
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(&frame.times, timeframe, zone);
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
    fn column(&self, time: i64, name: &str) -> Option<Option<Value>> {
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
        new.is_some_and(|new| !have.column(time, &column.name).flatten().is_some_and(|old| same(&old, &new)))
    })
}

/// A number may be a decimal in the source and a float in the target, or the other way round.
fn same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Decimal(_), Value::Decimal(_)) => old == new,
        (Value::Decimal(_), _) | (_, Value::Decimal(_)) => old.as_f64() == new.as_f64(),
        _ => old == new,
    }
}

/// New bars whole; of bars that are there, a higher high and a lower low.
fn widened(have: &Have, bars: &Frame, aggregates: Option<&[Aggregate]>) -> Frame {
    let is = |column: &str, function: Function, of_bars: &str| match aggregates {
        None => column == of_bars,
        Some(all) => all.iter().any(|a| a.function == function && a.column() == column),
    };
    select(bars, &|time, column, row| {
        let Some(new) = column.get(row) else { return false };
        let Some(old) = have.column(time, &column.name) else { return true };
        match old.and_then(|old| new.order(&old)) {
            Some(order) if is(&column.name, Function::Max, "high") => order.is_gt(),
            Some(order) if is(&column.name, Function::Min, "low") => order.is_lt(),
            // Open, close, volume and rows of a bar whose rows are gone cannot be told again.
            _ => false,
        }
    })
}

/// The values that `keep` wants, as a frame without empty rows.
fn select(bars: &Frame, keep: &dyn Fn(i64, &Column, usize) -> bool) -> Frame {
    let wanted = |row: usize, time: i64| bars.columns.iter().any(|c| c.is_valid(row) && keep(time, c, row));
    let (rows, times): (Vec<usize>, Vec<i64>) =
        bars.times.iter().copied().enumerate().filter(|(row, t)| wanted(*row, *t)).unzip();
    let columns = bars.columns.iter().filter_map(|c| {
        let kept = rows.iter().zip(&times).map(|(row, t)| c.is_valid(*row) && keep(*t, c, *row));
        let valid: Vec<bool> = kept.collect();
        if !valid.iter().any(|v| *v) {
            return None;
        }
        let values = c.values.picked(&rows);
        Some(Column { name: c.name.clone(), values, valid: (!valid.iter().all(|v| *v)).then_some(valid) })
    });
    let columns = columns.collect();
    Frame { times, columns }
}
