//! The one executor: streams the frames of an engine's `scan` and keeps only rows of the answer, or of one batch of it.

use super::ast::{Fill, Query};
use super::columns::{Builder, chosen, reverse, with_values};
use super::cursor::Cursor;
use super::explain::{Trace, micros};
use super::fill::{self, Filling};
use super::filter::Filter;
use super::join::Join;
use super::plan::{Plan, Work};
use super::sources::Source;
use super::table::Table;
use super::window::{Fold, Windows, count_rows};
use crate::error::{Error, Kind, Result};
use crate::series::kinds::Timeframe;
use crate::series::pieces::Piece;
use crate::series::{Budget, FieldType, Frame, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange};
use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// Rows of a batch of [`execute_into`]. A batch has at least so many, but for the last one, and less than those of one more
/// frame of the engine.
pub const BATCH_ROWS: usize = 65_536;
/// A search for the newest rows looks back this many times as far when it found too few.
const LOOK_BACK_FACTOR: i64 = 8;

/// Answers a query. More than `rows_max` rows without a `limit` in the query is [`Kind::Limit`].
pub fn execute(engine: &dyn SeriesEngine, query: &Query, budget: &Budget, rows_max: u64) -> Result<Table> {
    execute_for(engine, query, budget, rows_max, &|_| true)
}

/// Takes the batches of an answer: each has the same columns, and there is at least one. An error ends the query.
pub type Sink<'a> = dyn FnMut(Frame) -> Result<()> + 'a;

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// There were more rows than the query's limit.
    pub truncated: bool,
    /// Where the next page goes on, if there were.
    pub next: Option<String>,
    /// Rows that the engine gave.
    pub rows_read: u64,
}

/// [`execute`], handing out rows as they are found: no more than a batch is held, but for the windows of one series when the
/// newest come first.
pub fn execute_into(
    engine: &dyn SeriesEngine,
    query: &Query,
    budget: &Budget,
    rows_max: u64,
    sink: &mut Sink<'_>,
) -> Result<Done> {
    execute_by(engine, query, budget, rows_max, &|_| true, BATCH_ROWS, sink, &mut Trace::default())
}

/// [`execute`] over the series that `readable` lets through.
pub fn execute_for(
    engine: &dyn SeriesEngine,
    query: &Query,
    budget: &Budget,
    rows_max: u64,
    readable: &dyn Fn(&SeriesKey) -> bool,
) -> Result<Table> {
    let mut whole = Frame::default();
    let take = &mut |frame| {
        whole = frame;
        Ok(())
    };
    let trace = &mut Trace::default();
    let done = execute_by(engine, query, budget, rows_max, readable, usize::MAX, take, trace)?;
    Ok(Table { frame: whole, truncated: done.truncated, next: done.next })
}

#[allow(clippy::too_many_arguments)] // What the callers above choose, each something else.
pub(super) fn execute_by(
    engine: &dyn SeriesEngine,
    query: &Query,
    budget: &Budget,
    rows_max: u64,
    readable: &dyn Fn(&SeriesKey) -> bool,
    batch_rows: usize,
    sink: &mut Sink<'_>,
    trace: &mut Trace,
) -> Result<Done> {
    let begin = Instant::now();
    let plan = Plan::new(query)?;
    let resumed = query.after.as_deref().map(|text| Cursor::from_text(text, query)).transpose()?;
    budget.check()?;
    let chosen = |selector: &Selector, filters: &[Filter]| -> Result<Vec<SeriesInfo>> {
        let mut series = engine.choose(selector, budget)?;
        series.retain(|info| {
            info.rows > 0 && filters.iter().all(|f| f.takes(&info.key)) && readable(&info.key)
        });
        Ok(series)
    };
    let series = chosen(&plan.selector, &plan.filters)?;
    let rights = match &plan.joining {
        Some(joining) if !series.is_empty() => {
            let rights = chosen(&joining.selector, &joining.filters)?;
            trace.joined_series = rights.len() as u64;
            Some(joining.rights(rights)?)
        }
        _ => None,
    };
    let (sources, columns) = plan.sources(series, rights.as_ref())?;
    let (rows_read, summed_up) = (Cell::new(0), Cell::new(0));
    let limit = query.limit.filter(|l| *l <= rows_max);
    let mut run = Run {
        engine,
        plan: &plan,
        budget,
        rows_read: &rows_read,
        summed_up: &summed_up,
        rows_max,
        descending: query.descending,
        out: Output::new(&sources, columns, limit.unwrap_or(rows_max), limit.is_some(), batch_rows, sink),
    };
    plan.tell(&sources, trace);
    trace.choose_us = micros(begin);
    for source in &sources {
        budget.check()?;
        let here = match &resumed {
            Some(page) if source.info.key < page.key => continue,
            Some(page) if source.info.key == page.key => Some(page.time),
            _ => None,
        };
        let go_on = match plan.work {
            Work::Rows => {
                let range = run.rest(here, |time| time.saturating_add(1));
                if run.descending { run.newest_rows(source, range)? } else { run.rows(source, range)? }
            }
            Work::Resample(timeframe) | Work::Window(timeframe, _) => run.windows(source, timeframe, here)?,
        };
        if !go_on {
            break;
        }
    }
    let (truncated, last) = run.out.finish()?;
    trace.summed_up = summed_up.get();
    let next = last.filter(|_| truncated).map(|row| row.to_text(query)).transpose()?;
    Ok(Done { truncated, next, rows_read: rows_read.get() })
}

struct Run<'a, 's> {
    engine: &'a dyn SeriesEngine,
    plan: &'a Plan,
    budget: &'a Budget,
    rows_read: &'a Cell<u64>,
    summed_up: &'a Cell<u64>,
    rows_max: u64,
    descending: bool,
    out: Output<'a, 's>,
}

impl Run<'_, '_> {
    /// What is left of the range after the last row of the page before; `next` is the first time after that row.
    fn rest(&self, page: Option<i64>, next: impl FnOnce(i64) -> i64) -> TimeRange {
        let TimeRange { start, end } = self.plan.range;
        match page {
            None => TimeRange { start, end },
            Some(time) if self.descending => TimeRange { start, end: end.min(time).max(start) },
            Some(time) => TimeRange { start: start.max(next(time)).min(end), end },
        }
    }

    /// The frames of a source within a range; `take` says whether to go on.
    fn scan(
        &mut self,
        source: &Source,
        range: TimeRange,
        take: &mut dyn FnMut(&mut Self, Frame) -> Result<bool>,
    ) -> Result<bool> {
        let stream = self.engine.scan(&source.info.key, range, source.scan.as_deref(), self.budget)?;
        let plan = self.plan;
        let mut join = plan.joining.as_ref().zip(source.right.as_deref()).map(|(joining, right)| {
            Join::new(self.engine, joining, right, range.end, self.budget, self.rows_read)
        });
        for frame in stream {
            let mut frame = frame?;
            self.budget.check()?;
            count_rows(self.rows_read, frame.len() as u64, self.budget)?;
            if let Some(fields) = &source.scan {
                frame = with_values(frame, &|name| fields.iter().any(|f| f == name));
            }
            if let Some(calendar) = &plan.calendar {
                let within = calendar.within(&frame.times);
                frame = chosen(frame, &within);
            }
            if let Some(levels) = &plan.levels {
                let keep = |name: &str| {
                    plan.joining.is_some()
                        || plan.fields.iter().flatten().any(|field| field == name)
                        || source.specs.iter().any(|spec| spec.input == name)
                };
                levels.add(&mut frame, &keep);
            }
            if let Some(join) = &mut join {
                join.add(&mut frame)?;
            }
            if !frame.is_empty() && !take(self, frame)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rows(&mut self, source: &Source, range: TimeRange) -> Result<bool> {
        self.scan(source, range, &mut |run, frame| run.out.append(&source.info.key, frame))
    }

    /// The newest rows first: pieces from the end of the range backwards, each longer than the one before, until
    /// there are enough.
    fn newest_rows(&mut self, source: &Source, range: TimeRange) -> Result<bool> {
        let least = source.info.min_time.map_or(range.start, |t| t.max(range.start));
        let mut end = source.info.max_time.map_or(range.end, |t| t.saturating_add(1).min(range.end));
        let rows = i64::try_from(source.info.rows).unwrap_or(i64::MAX).max(1);
        let gap = (end.saturating_sub(least) / rows).max(1);
        let wanted = |run: &Self| run.out.room().saturating_add(1);
        let mut span = i64::try_from(wanted(self)).unwrap_or(i64::MAX).saturating_mul(2).saturating_mul(gap);
        while least < end {
            let start = end.saturating_sub(span).max(least);
            let enough = wanted(self);
            let mut kept = VecDeque::new();
            let mut count = 0_u64;
            self.scan(source, TimeRange { start, end }, &mut |_, frame| {
                count += frame.len() as u64;
                kept.push_back(frame);
                // Only the newest are wanted: older frames go when those after them are enough.
                while kept.front().is_some_and(|f: &Frame| count - f.len() as u64 >= enough) {
                    count -= kept.pop_front().map_or(0, |f| f.len() as u64);
                }
                Ok(true)
            })?;
            while let Some(mut frame) = kept.pop_back() {
                reverse(&mut frame);
                if !self.out.append(&source.info.key, frame)? {
                    return Ok(false);
                }
            }
            end = start;
            span = span.saturating_mul(LOOK_BACK_FACTOR);
        }
        Ok(true)
    }

    /// The parts of a source for its windows: rows, or what the engine knows of the rows of one window without reading them.
    fn pieces(
        &mut self,
        source: &Source,
        range: TimeRange,
        windows: &Windows,
        take: &mut dyn FnMut(&mut Self, Piece) -> Result<bool>,
    ) -> Result<bool> {
        let Some(wanted) = self.plan.wanted(source, windows) else {
            return self.scan(source, range, &mut |run, frame| take(run, Piece::Rows(frame)));
        };
        let key = &source.info.key;
        // What was written since the series was listed need not be there.
        let (min, max) = (source.info.min_time, source.info.max_time);
        let end = max.map_or(range.end, |t| t.saturating_add(1).min(range.end));
        let range = TimeRange { start: min.map_or(range.start, |t| t.max(range.start)).min(end), end };
        let stream = self.engine.scan_pieces(key, range, source.scan.as_deref(), wanted, self.budget)?;
        for piece in stream {
            let mut piece = piece?;
            self.budget.check()?;
            let rows = match &piece {
                Piece::Rows(frame) => frame.len() as u64,
                Piece::Summary(summary) => {
                    self.summed_up.set(self.summed_up.get().saturating_add(1));
                    summary.rows
                }
            };
            count_rows(self.rows_read, rows, self.budget)?;
            if let (Piece::Rows(frame), Some(fields)) = (&mut piece, &source.scan) {
                *frame = with_values(std::mem::take(frame), &|name| fields.iter().any(|f| f == name));
            }
            if rows > 0 && !take(self, piece)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `page` is the last window of the page before, if that was of this series.
    fn windows(&mut self, source: &Source, timeframe: Timeframe, page: Option<i64>) -> Result<bool> {
        if source.specs.is_empty() {
            return Ok(true);
        }
        let windows = self.plan.windows(timeframe);
        let mut fold = Fold::new(windows.clone(), source.specs.clone());
        // What fills a gap may lie on the pages before.
        let range = match self.plan.fill {
            Fill::None => self.rest(page, |time| windows.from(time).map_or(i64::MAX, |bar| bar.end)),
            Fill::Null | Fill::Previous | Fill::Linear => self.plan.range,
        };
        let go_on = self.pieces(source, range, &windows, &mut |run, piece| {
            match piece {
                Piece::Rows(frame) => fold.frame(&frame)?,
                Piece::Summary(summary) => fold.summary(&summary)?,
            }
            let rows = fold.rows();
            if run.descending || run.plan.fill != Fill::None {
                // The newest come last, and a gap is filled from both sides: all are made before the limit of the query is
                // applied.
                return if rows as u64 > run.rows_max { Err(too_many(run.rows_max)) } else { Ok(true) };
            }
            if rows >= run.out.batch_rows || rows as u64 > run.out.room() {
                return run.out.append(&source.info.key, fold.take());
            }
            Ok(true)
        })?;
        if !go_on {
            return Ok(false);
        }
        let mut frame = fold.finish()?;
        if self.plan.fill != Fill::None {
            let filling = Filling {
                fill: self.plan.fill,
                windows: &windows,
                range,
                after: page.filter(|_| !self.descending),
                bars: matches!(self.plan.work, Work::Resample(_)),
                specs: &source.specs,
            };
            let most = if self.descending { self.rows_max } else { self.out.room() };
            let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
            frame = fill::filled(&frame, &filling, most);
            if self.descending && frame.len() == most {
                return Err(too_many(self.rows_max));
            }
        }
        if self.descending {
            reverse(&mut frame);
            if let Some(page) = page {
                let keep: Vec<bool> = frame.times.iter().map(|t| *t < page).collect();
                frame = chosen(frame, &keep);
            }
        }
        self.out.append(&source.info.key, frame)
    }
}

/// The rows of the answer that were not handed out yet.
struct Output<'a, 's> {
    times: Vec<i64>,
    measurement: Option<Builder>,
    /// A column per tag key that a series has.
    tags: Vec<(String, Builder)>,
    fields: Vec<Builder>,
    /// Rows that may still come.
    room: u64,
    /// Rows at most.
    cap: u64,
    /// The query set the cap: more rows are left out. Else they are an error.
    by_query: bool,
    truncated: bool,
    /// The last row so far.
    last: Option<Cursor>,
    batch_rows: usize,
    handed_out: bool,
    sink: &'a mut Sink<'s>,
}

impl<'a, 's> Output<'a, 's> {
    fn new(
        sources: &[Source],
        columns: Vec<(String, FieldType)>,
        cap: u64,
        by_query: bool,
        batch_rows: usize,
        sink: &'a mut Sink<'s>,
    ) -> Self {
        let mut taken: BTreeSet<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        // A tag or field may be called as a column that says which series a row is of.
        let mut free = |name: &str| {
            let mut name = name.to_string();
            while !taken.insert(name.clone()) {
                name.insert_str(0, "tag.");
            }
            Builder::new(name, FieldType::String)
        };
        let several = sources.len() > 1;
        let measurement = several.then(|| free("measurement"));
        let keys: BTreeSet<&String> =
            sources.iter().filter(|_| several).flat_map(|s| s.info.key.tags.iter().map(|(k, _)| k)).collect();
        let tags = keys.into_iter().map(|key| (key.clone(), free(key))).collect();
        let fields = columns.into_iter().map(|(name, of)| Builder::new(name, of)).collect();
        Self {
            times: Vec::new(),
            measurement,
            tags,
            fields,
            room: cap,
            cap,
            by_query,
            truncated: false,
            last: None,
            batch_rows,
            handed_out: false,
            sink,
        }
    }

    /// Rows that still fit.
    fn room(&self) -> u64 {
        self.room
    }

    /// Adds rows; false: there is no room for more. An engine may give as many at once as it holds in memory: they are handed on
    /// a batch at a time.
    fn append(&mut self, key: &SeriesKey, mut frame: Frame) -> Result<bool> {
        let each = self.batch_rows.max(1);
        let mut later = Vec::new();
        while frame.len() > each {
            // From the end, so that each row is moved once.
            let at = (frame.len() - 1) / each * each;
            later.push(frame.split_off(at));
        }
        let mut more = self.append_batch(key, frame)?;
        while more && let Some(next) = later.pop() {
            more = self.append_batch(key, next)?;
        }
        Ok(more)
    }

    fn append_batch(&mut self, key: &SeriesKey, mut frame: Frame) -> Result<bool> {
        let fits = usize::try_from(self.room).unwrap_or(usize::MAX).min(frame.len());
        if fits < frame.len() && !self.by_query {
            return Err(too_many(self.cap));
        }
        self.room -= fits as u64;
        let last = fits.checked_sub(1).and_then(|row| frame.times.get(row)).copied();
        self.truncated |= fits < frame.len();
        if self.times.is_empty() && fits == frame.len() {
            self.times = std::mem::take(&mut frame.times);
        } else {
            self.times.extend(frame.times.iter().take(fits));
        }
        if let Some(measurement) = &mut self.measurement {
            measurement.repeat(Some(&key.measurement), fits);
        }
        for (tag, column) in &mut self.tags {
            column.repeat(key.tag(tag), fits);
        }
        for column in &mut self.fields {
            let place = frame.columns.iter().position(|c| c.name == column.name);
            column.absorb(place.map(|place| frame.columns.swap_remove(place)), fits);
        }
        if let Some(time) = last.filter(|_| self.by_query) {
            self.last = Some(Cursor { key: key.clone(), time });
        }
        if self.times.len() >= self.batch_rows {
            self.hand_out()?;
        }
        Ok(!self.truncated)
    }

    fn hand_out(&mut self) -> Result<()> {
        let columns = self
            .measurement
            .iter_mut()
            .chain(self.tags.iter_mut().map(|(_, column)| column))
            .chain(&mut self.fields)
            .map(|b| b.take().into_column())
            .collect();
        self.handed_out = true;
        (self.sink)(Frame { times: std::mem::take(&mut self.times), columns })
    }

    /// Hands out what is left, or the columns alone where there was no row.
    fn finish(mut self) -> Result<(bool, Option<Cursor>)> {
        if !self.times.is_empty() || !self.handed_out {
            self.hand_out()?;
        }
        Ok((self.truncated, self.last))
    }
}

fn too_many(rows_max: u64) -> Error {
    Error::new(
        Kind::Limit,
        format!("the answer has more than {rows_max} rows, the limit `limits.query_rows`"),
    )
    .hint("narrow the range, resample, or page: a `limit`, then the `next` of each page as `after`")
}
