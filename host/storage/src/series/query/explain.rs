//! What a query did: it is run as it is, and its rows are counted in place of being given.

use super::ast::Query;
use super::execute::{BATCH_ROWS, Done, execute_by};
use crate::error::Result;
use crate::series::{Budget, ScanCounters, SeriesEngine, TimeRange};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Series that are named, the first ones; all are counted.
pub const SHOWN_SERIES_MAX: usize = 100;

/// What was left to the engine, what the executor did, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// `embedded` or `influxdb2`.
    pub engine: &'static str,
    /// Series that were chosen by bucket, measurement, tags and filters.
    pub series: u64,
    pub series_shown: Vec<String>,
    /// Series that may be joined to them.
    pub joined_series: u64,
    pub pushed_down: PushedDown,
    /// The steps of the executor, in their order.
    pub steps: Vec<String>,
    /// Rows that the engine gave or summed up; of those that InfluxDB summed up, one for each window.
    pub rows_read: u64,
    /// Parts of series that the engine gave summed up, in place of their rows.
    pub summed_up: u64,
    /// Rows of the answer.
    pub rows: u64,
    pub truncated: bool,
    /// Of the embedded engine: chunks of the series that were decoded, those that were not looked at because of their times, and
    /// the bytes of the former. A chunk that is read in parts counts each time.
    pub chunks_read: u64,
    pub chunks_skipped: u64,
    pub chunk_bytes: u64,
    /// Of InfluxDB: requests for rows and windows, and the bytes of their replies.
    pub requests: u64,
    pub reply_bytes: u64,
    /// Files of archives whose rows are in the answer, and their bytes: none was summed up by the engine.
    pub archives_read: u64,
    pub archive_bytes: u64,
    /// Microseconds until it was known which series are read, and of all of it.
    pub choose_us: u64,
    pub total_us: u64,
}

/// What the engine was asked for: no other series, time or field was read for the left side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushedDown {
    /// Nanoseconds since the epoch, half-open.
    pub range: TimeRange,
    /// `None`: all.
    pub fields: Option<Vec<String>>,
    /// What of them the engine may sum up itself, such as `close_last`; `None`: it gives rows.
    pub aggregates: Option<Vec<String>>,
}

/// What the executor says of a query, while it goes.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) series: u64,
    pub(super) series_shown: Vec<String>,
    pub(super) joined_series: u64,
    pub(super) range: Option<TimeRange>,
    pub(super) fields: Option<Vec<String>>,
    pub(super) aggregates: Option<Vec<String>>,
    pub(super) summed_up: u64,
    pub(super) steps: Vec<String>,
    pub(super) choose_us: u64,
}

/// Runs a query and gives, in place of its rows, what it took.
pub fn explain(
    engine: &dyn SeriesEngine,
    query: &Query,
    budget: &Budget,
    rows_max: u64,
) -> Result<Explanation> {
    let begin = Instant::now();
    let counters = Arc::new(ScanCounters::default());
    let budget = Budget { counters: Some(counters.clone()), ..budget.clone() };
    let (mut rows, mut trace) = (0, Trace::default());
    let take = &mut |frame: crate::series::Frame| {
        rows += frame.len() as u64;
        Ok(())
    };
    let Done { truncated, rows_read, .. } =
        execute_by(engine, query, &budget, rows_max, &|_| true, BATCH_ROWS, take, &mut trace)?;
    let counted = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
    Ok(Explanation {
        engine: engine.capabilities().name,
        series: trace.series,
        series_shown: trace.series_shown,
        joined_series: trace.joined_series,
        pushed_down: PushedDown {
            range: trace.range.unwrap_or(TimeRange::ALL),
            fields: trace.fields,
            aggregates: trace.aggregates,
        },
        steps: trace.steps,
        rows_read,
        summed_up: trace.summed_up,
        rows,
        truncated,
        chunks_read: counted(&counters.chunks_read),
        chunks_skipped: counted(&counters.chunks_skipped),
        chunk_bytes: counted(&counters.chunk_bytes),
        requests: counted(&counters.requests),
        reply_bytes: counted(&counters.reply_bytes),
        archives_read: counted(&counters.archives_read),
        archive_bytes: counted(&counters.archive_bytes),
        choose_us: trace.choose_us,
        total_us: micros(begin),
    })
}

pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
