//! The executor: which series, which rows, what of them.

use super::buckets::{self, Buckets, Output};
use super::table::{Table, reverse};
use super::{Query, Time, time};
use crate::error::{Error, Kind, Result};
use crate::series::kinds::Timeframe;
use crate::series::{Budget, FieldType, Frame, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange};
use chrono_tz::Tz;

/// Aggregates of one window.
pub const AGGREGATES_MAX: usize = 256;
/// Fields that a query may name.
pub const FIELDS_MAX: usize = 4_096;

/// What is done with the rows of each series.
enum Shape<'q> {
    Rows,
    Ohlcv(Timeframe),
    Window(Timeframe, &'q [super::Aggregate]),
}

/// Answers a query. More than `rows_max` rows without a smaller `limit` in the query is [`Kind::Limit`].
pub fn execute(engine: &dyn SeriesEngine, query: &Query, budget: &Budget, rows_max: u64) -> Result<Table> {
    let zone = time::zone(query.timezone.as_deref())?;
    let range = range(query, zone)?;
    let shape = shape(query)?;
    if query.measurement.is_empty() {
        return Err(Error::invalid("the query names no measurement").hint("`shiphold series list` shows what there is"));
    }
    if query.fields.as_ref().is_some_and(|f| f.len() > FIELDS_MAX) {
        return Err(Error::limit("the number of fields of a query", FIELDS_MAX, "ask for fewer, or for all"));
    }
    if query.limit.is_some_and(|l| l > rows_max) {
        return Err(too_many(rows_max));
    }
    let selector = Selector { bucket: query.bucket.clone(), measurement: Some(query.measurement.clone()), tags: query.tags.clone() };
    let mut series = engine.list(&selector)?;
    // Nothing of a series without rows in the range is worth opening.
    series.retain(|s| matches!((s.min_time, s.max_time), (Some(min), Some(max)) if range.overlaps(min, max)));
    let labelled = query.measurement.contains('*') || series.len() > 1;
    let room = query.limit.unwrap_or(rows_max);
    let mut table = Table::default();
    for info in &series {
        budget.check()?;
        let left = room.saturating_sub(table.rows() as u64);
        // One row more than there is room for tells that there is more.
        let mut frame = rows_of(engine, query, info, range, &shape, (zone != Tz::UTC).then_some(zone), budget, left.saturating_add(1))?;
        if frame.is_empty() {
            continue;
        }
        if query.descending {
            reverse(&mut frame);
        }
        table.append(&if labelled { labels(&info.key) } else { Vec::new() }, frame);
        if table.rows() as u64 > room {
            if query.limit.is_none() {
                return Err(too_many(rows_max));
            }
            table.keep(usize::try_from(room).unwrap_or(usize::MAX));
            table.truncated = true;
            break;
        }
    }
    Ok(table)
}

fn too_many(rows_max: u64) -> Error {
    Error::limit("the number of rows of the answer", rows_max, "narrow the range, give a `limit`, resample, or raise `limits.query_rows` in shiphold.toml")
}

fn range(query: &Query, zone: Tz) -> Result<TimeRange> {
    let at = |key: &str, t: &Option<Time>, default: i64| t.as_ref().map_or(Ok(default), |t| t.ns(key, zone));
    TimeRange::new(at("start", &query.start, TimeRange::ALL.start)?, at("end", &query.end, TimeRange::ALL.end)?)
}

fn shape(query: &Query) -> Result<Shape<'_>> {
    match (&query.resample, &query.window) {
        (None, None) => Ok(Shape::Rows),
        (Some(t), None) => Timeframe::parse(t).map(Shape::Ohlcv).map_err(|e| e.context("resample")),
        (None, Some(w)) => {
            if w.aggregates.is_empty() {
                return Err(Error::invalid("the window has no aggregates").hint("name at least one field and function"));
            }
            if w.aggregates.len() > AGGREGATES_MAX {
                return Err(Error::limit("the number of aggregates", AGGREGATES_MAX, "ask for fewer at once"));
            }
            Timeframe::parse(&w.every).map(|t| Shape::Window(t, &w.aggregates)).map_err(|e| e.context("window"))
        }
        (Some(_), Some(_)) => Err(Error::invalid("`resample` and `window` exclude each other").hint("give one of them")),
    }
}

fn labels(key: &SeriesKey) -> Vec<(String, String)> {
    std::iter::once(("measurement".to_string(), key.measurement.clone())).chain(key.tags.iter().cloned()).collect()
}

#[allow(clippy::too_many_arguments)] // Each is one part of the question.
fn rows_of(
    engine: &dyn SeriesEngine,
    query: &Query,
    info: &SeriesInfo,
    range: TimeRange,
    shape: &Shape<'_>,
    zone: Option<Tz>,
    budget: &Budget,
    wanted: u64,
) -> Result<Frame> {
    let fields: Vec<(String, FieldType)> = match &query.fields {
        None => info.fields.clone(),
        Some(names) => info.fields.iter().filter(|(n, _)| names.contains(n)).cloned().collect(),
    };
    if fields.is_empty() {
        return Ok(Frame::default());
    }
    match shape {
        Shape::Rows => plain(engine, query, &info.key, range, &fields, budget, wanted),
        Shape::Ohlcv(timeframe) => bucketed(engine, info, range, *timeframe, zone, buckets::ohlcv(&fields)?, budget),
        Shape::Window(timeframe, aggregates) => {
            bucketed(engine, info, range, *timeframe, zone, buckets::window(aggregates, &info.fields)?, budget)
        }
    }
}

fn plain(engine: &dyn SeriesEngine, query: &Query, key: &SeriesKey, range: TimeRange, fields: &[(String, FieldType)], budget: &Budget, wanted: u64) -> Result<Frame> {
    let names: Vec<String> = fields.iter().map(|(n, _)| n.clone()).collect();
    let chosen = query.fields.is_some().then_some(names.as_slice());
    let mut table = Table::default();
    for frame in engine.scan(key, range, chosen, budget)? {
        budget.check()?;
        let mut frame = frame?;
        if query.fields.is_some() {
            drop_empty_rows(&mut frame);
        }
        if frame.is_empty() {
            continue;
        }
        table.append(&[], frame);
        let enough = table.rows() as u64 >= wanted;
        if enough && !query.descending {
            break;
        }
        // Newest first: the older rows that cannot be in the answer are let go as newer ones come.
        if query.descending && table.rows() as u64 > wanted.saturating_mul(2).max(1 << 17) {
            let keep = usize::try_from(wanted).unwrap_or(usize::MAX);
            reverse(&mut table.frame);
            table.keep(keep);
            reverse(&mut table.frame);
        }
    }
    // In the order in which they were asked for.
    if let Some(asked) = &query.fields {
        table.frame.columns.sort_by_key(|c| asked.iter().position(|n| *n == c.name));
    }
    if !query.descending {
        table.keep(usize::try_from(wanted).unwrap_or(usize::MAX));
    }
    Ok(table.frame)
}

/// A row that has none of the chosen fields is not an answer.
fn drop_empty_rows(frame: &mut Frame) {
    if frame.columns.iter().any(|c| c.valid.is_none()) {
        return;
    }
    let keep: Vec<bool> = (0..frame.len()).map(|row| frame.columns.iter().any(|c| c.is_valid(row))).collect();
    if keep.iter().all(|k| *k) {
        return;
    }
    fn only<T>(values: &mut Vec<T>, keep: &[bool]) {
        let mut marks = keep.iter();
        values.retain(|_| marks.next().copied().unwrap_or(false));
    }
    only(&mut frame.times, &keep);
    for c in &mut frame.columns {
        match &mut c.values {
            crate::series::Values::Float(v) => only(v, &keep),
            crate::series::Values::Integer(v) => only(v, &keep),
            crate::series::Values::Unsigned(v) => only(v, &keep),
            crate::series::Values::Boolean(v) => only(v, &keep),
            crate::series::Values::String(v) => only(v, &keep),
        }
        if let Some(v) = &mut c.valid {
            only(v, &keep);
        }
    }
}

fn bucketed(engine: &dyn SeriesEngine, info: &SeriesInfo, range: TimeRange, timeframe: Timeframe, zone: Option<Tz>, outputs: Vec<Output>, budget: &Budget) -> Result<Frame> {
    if outputs.is_empty() {
        return Ok(Frame::default());
    }
    let mut inputs: Vec<String> = outputs.iter().map(|o| o.input.clone()).collect();
    inputs.sort();
    inputs.dedup();
    let mut buckets = Buckets::new(timeframe, zone, outputs, &info.fields);
    for frame in engine.scan(&info.key, range, Some(&inputs), budget)? {
        budget.check()?;
        buckets.feed(&frame?)?;
        if buckets.bars() > BUCKETS_MAX {
            return Err(Error::new(Kind::Limit, format!("one series has more than {BUCKETS_MAX} windows in the range")).hint("narrow the range, or use a longer window"));
        }
    }
    buckets.finish()
}

/// Windows of one series in one answer.
pub const BUCKETS_MAX: usize = 10_000_000;
