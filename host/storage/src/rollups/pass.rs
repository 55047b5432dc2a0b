//! The work: what is due is found, rolled up in slices, written in batches of many series, and then marked.

use super::definition::Definition;
use super::marks::{self, Late, Mark};
use super::roll::{self, Job};
use super::{Counts, Due, LISTED_MAX, Report, Rollups};
use crate::error::{Error, Result};
use crate::layer::DataLayer;
use crate::schema::now_ns;
use crate::series::model::TIME_MIN_NS;
use crate::series::{Budget, Selector, SeriesInfo, SeriesKey, TimeRange, WriteBatch};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Of one step of the background work.
pub const STEP_TIME: Duration = Duration::from_millis(250);
/// A window is finished when a later one has a row, or this long after its end by the clock.
const GRACE_NS: i64 = 10_000_000_000;
/// Listing the sources takes this part of the time at most: with many series they are listed less often.
const LIST_SHARE: u32 = 20;
/// Spans of late windows that one step takes up.
const LATE_MAX: usize = 1_024;
/// Raw rows that a slice is meant to read, about; and its windows at most.
const SLICE_ROWS: u64 = 500_000;
const SLICE_WINDOWS_MAX: u64 = 4_096;
/// A source that failed is tried again by the background work after this time.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Conflicts that an engine tells of one batch; it may leave out more.
const CONFLICTS_TOLD: usize = 100;
/// Windows, and slices, that are written together.
const BATCH_WINDOWS: usize = 65_536;
const BATCH_SLICES: usize = 1_024;

/// What is chosen of all rollups and sources.
#[derive(Debug, Clone, Copy)]
pub(super) struct Only<'a> {
    pub(super) rollup: Option<&'a str>,
    pub(super) key: Option<&'a SeriesKey>,
}

impl Only<'_> {
    const ALL: Self = Self { rollup: None, key: None };

    fn takes(&self, d: &Definition, key: &SeriesKey) -> bool {
        self.rollup.is_none_or(|name| name == d.name) && self.key.is_none_or(|k| k == key)
    }
}

/// What is told of one rollup.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) series: u64,
    pub(super) behind_ns: i64,
    pub(super) counts: Counts,
    pub(super) error: Option<String>,
}

/// How far everything is.
#[derive(Debug)]
pub(super) struct State {
    /// By rollup and source: as it is marked.
    until: HashMap<(usize, SeriesKey), i64>,
    told: Vec<Told>,
}

impl State {
    pub(super) fn new(definitions: &[Definition], all: Vec<Mark>) -> Self {
        let place = |m: &Mark| definitions.iter().position(|d| d.name == m.rollup);
        let until = all.into_iter().filter_map(|m| Some(((place(&m)?, m.key), m.until))).collect();
        Self { until, told: vec![Told::default(); definitions.len()] }
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.clone()
    }

    pub(super) fn until(&self, rollup: usize, key: &SeriesKey) -> i64 {
        self.until.get(&(rollup, key.clone())).copied().unwrap_or(TIME_MIN_NS)
    }
}

/// What whoever works remembers from step to step.
#[derive(Debug, Default)]
pub(super) struct Turn {
    listed: Option<(Instant, Duration)>,
    waiting: VecDeque<Work>,
    /// Sources that failed, and when.
    stuck: HashMap<(usize, SeriesKey), Instant>,
}

impl Turn {
    /// Is it time to look at all sources again?
    fn is_due(&self) -> bool {
        self.listed.is_none_or(|(at, took)| at.elapsed() >= took.saturating_mul(LIST_SHARE))
    }
}

/// Windows of one source.
#[derive(Debug)]
struct Work {
    rollup: usize,
    key: SeriesKey,
    range: TimeRange,
    late: Option<Late>,
    /// Windows of one slice.
    windows: usize,
}

/// Where the windows of a source that are finished end.
fn finished(d: &Definition, info: &SeriesInfo, now: i64) -> Option<i64> {
    let bar = d.to.bar_at(info.max_time?, d.timezone);
    Some(if bar.end.saturating_add(GRACE_NS) <= now { bar.end } else { bar.start })
}

/// So that a slice reads about [`SLICE_ROWS`].
fn windows(d: &Definition, info: &SeriesInfo) -> usize {
    let (Some(min), Some(max)) = (info.min_time, info.max_time) else { return 1 };
    let bar = d.to.bar_at(max, d.timezone);
    let there = u128::from(max.abs_diff(min) / bar.end.abs_diff(bar.start).max(1)).saturating_add(1);
    let per_window = u128::from(info.rows.max(1)).div_ceil(there);
    let windows = u64::try_from(u128::from(SLICE_ROWS) / per_window.max(1)).unwrap_or(u64::MAX);
    usize::try_from(windows.clamp(1, SLICE_WINDOWS_MAX)).unwrap_or(1)
}

/// Finished windows that are not rolled up. Nothing is changed but what is told.
fn forward(r: &Rollups, layer: &DataLayer, only: Only<'_>) -> Result<Vec<Work>> {
    let now = now_ns();
    let mut out = Vec::new();
    for (rollup, d) in r.definitions.iter().enumerate() {
        let sources = match only.key {
            Some(key) if !d.takes(key) => continue,
            Some(key) => Selector::of(key),
            None => d.sources(),
        };
        let there = layer.series().engine().list(&sources)?;
        let mut state = r.state();
        let (mut series, mut behind) = (0, 0_i64);
        for info in there {
            if !d.takes(&info.key) {
                continue;
            }
            series += 1;
            let Some(end) = finished(d, &info, now) else { continue };
            let start = state.until(rollup, &info.key);
            if end > start {
                behind = behind.max(end.saturating_sub(start.max(info.min_time.unwrap_or(start))));
                if only.takes(d, &info.key) {
                    let windows = windows(d, &info);
                    let range = TimeRange { start, end };
                    out.push(Work { rollup, key: info.key, range, late: None, windows });
                }
            }
        }
        if let Some(told) = state.told.get_mut(rollup).filter(|_| only.key.is_none()) {
            (told.series, told.behind_ns) = (series, behind);
        }
    }
    Ok(out)
}

/// The windows that wait, of each rollup so many: one that is stuck does not stand in the way of others.
fn late_of(r: &Rollups, only: Only<'_>, limit: usize) -> Result<Vec<Late>> {
    let mut out = Vec::new();
    for d in r.definitions.iter().filter(|d| only.rollup.is_none_or(|name| name == d.name)) {
        out.extend(r.db.read(|c| marks::late(c, &d.name, only.key, limit))?);
    }
    Ok(out)
}

/// What is due, and not to be taken for in order by anybody from now on.
fn plan(r: &Rollups, layer: &DataLayer, only: Only<'_>) -> Result<VecDeque<Work>> {
    let mut out = forward(r, layer, only)?;
    let bumps: Vec<(usize, SeriesKey, i64)> =
        out.iter().map(|w| (w.rollup, w.key.clone(), w.range.end)).collect();
    if bumps.is_empty() && late_of(r, only, 1)?.is_empty() {
        // Nothing for which writers would have to be waited for.
        return Ok(VecDeque::new());
    }
    let late = r.watch.advance(&bumps, || late_of(r, only, LATE_MAX))?;
    for late in late {
        let Some(rollup) = r.definitions.iter().position(|d| d.name == late.rollup) else { continue };
        if r.definitions.get(rollup).is_some_and(|d| only.takes(d, &late.key)) {
            let (key, range) = (late.key.clone(), late.range);
            // Late rows are few, or a whole history that is sent again: a slice is what a step has time for.
            out.push(Work { rollup, key, range, late: Some(late), windows: 64 });
        }
    }
    Ok(out.into())
}

/// A step of the background work.
pub(super) fn step(r: &Rollups, turn: &mut Turn, layer: &DataLayer, deadline: Instant) -> Result<()> {
    if turn.waiting.is_empty() {
        if !turn.is_due() {
            return Ok(());
        }
        let begin = Instant::now();
        let mut waiting = plan(r, layer, Only::ALL)?;
        turn.listed = Some((Instant::now(), begin.elapsed()));
        turn.stuck.retain(|_, at| at.elapsed() < RETRY_AFTER);
        waiting.retain(|w| !turn.stuck.contains_key(&(w.rollup, w.key.clone())));
        turn.waiting = waiting;
    }
    work(r, turn, layer, &mut || Ok(Instant::now() < deadline), &mut Report::default())
}

/// All that is due.
pub(super) fn all(
    r: &Rollups,
    turn: &mut Turn,
    layer: &DataLayer,
    only: Only<'_>,
    budget: &Budget,
) -> Result<Report> {
    let mut report = Report::default();
    loop {
        // What a step has begun is looked at anew.
        turn.waiting = plan(r, layer, only)?;
        if turn.waiting.is_empty() {
            break;
        }
        let done = work(r, turn, layer, &mut || budget.check().map(|()| true), &mut report);
        turn.waiting.clear();
        done?;
        if !report.errors.is_empty() {
            break;
        }
    }
    forward(r, layer, only)?;
    Ok(report)
}

/// What would be done.
pub(super) fn look(r: &Rollups, layer: &DataLayer, only: Only<'_>) -> Result<Report> {
    let mut all: Vec<Due> = Vec::new();
    let mut add = |rollup: usize, key: &SeriesKey, range: TimeRange, late: bool| {
        let Some(d) = r.definitions.get(rollup).filter(|d| only.takes(d, key)) else { return };
        let Some(target) = d.target(key) else { return };
        if all.len() < LISTED_MAX {
            let (start, end) = (range.start, range.end);
            all.push(Due { rollup: d.name.clone(), key: key.clone(), target, start, end, late });
        }
    };
    for w in forward(r, layer, only)? {
        add(w.rollup, &w.key, w.range, false);
    }
    for late in late_of(r, only, LISTED_MAX)? {
        if let Some(rollup) = r.definitions.iter().position(|d| d.name == late.rollup) {
            add(rollup, &late.key, late.range, true);
        }
    }
    Ok(Report { due: all, ..Report::default() })
}

/// Slices that are computed and not written.
#[derive(Default)]
struct Batch {
    batch: WriteBatch,
    windows: usize,
    done: Vec<Done>,
}

/// A slice of a source: what was read, and how far.
struct Done {
    rollup: usize,
    key: SeriesKey,
    late: Option<Late>,
    reached: i64,
    counts: Counts,
}

/// Works until nothing waits or `go_on` says no; what is left stays in the queue.
fn work(
    r: &Rollups,
    turn: &mut Turn,
    layer: &DataLayer,
    go_on: &mut dyn FnMut() -> Result<bool>,
    report: &mut Report,
) -> Result<()> {
    let engine = layer.series().engine().as_ref();
    let mut batch = Batch::default();
    let mut touched: HashSet<usize> = HashSet::new();
    while go_on()? {
        let Some(mut next) = turn.waiting.pop_front() else { break };
        let Some(d) = r.definitions.get(next.rollup) else { continue };
        let Some(target) = d.target(&next.key) else { continue };
        touched.insert(next.rollup);
        let job = Job {
            key: &next.key,
            source: None,
            timeframe: d.to,
            zone: d.timezone,
            aggregates: d.aggregates(),
            target: &target,
            dropped: r.db.read(|c| crate::retention::dropped_until(c, &next.key))?,
            range: next.range,
            overwrite: false,
        };
        let slice = match roll::next_slice(engine, &job, next.range.start, next.windows) {
            Ok(slice) => slice,
            Err(e) => {
                let e = e.context(&next.key);
                fail(r, turn, next.rollup, next.key, &e, report);
                continue;
            }
        };
        let mut counts = Counts::default();
        let reached = match slice {
            None => next.range.end,
            Some(slice) => {
                counts =
                    Counts { rows: slice.rolled.rows, windows: slice.rolled.bars, kept: slice.rolled.kept };
                batch.windows += slice.new.len();
                if !slice.new.is_empty() {
                    batch.batch.series.push((target, slice.new));
                }
                slice.reached
            }
        };
        let (rollup, key, late) = (next.rollup, next.key.clone(), next.late.clone());
        batch.done.push(Done { rollup, key, late, reached, counts });
        if reached < next.range.end {
            next.range.start = reached;
            turn.waiting.push_front(next);
        }
        if batch.windows >= BATCH_WINDOWS || batch.done.len() >= BATCH_SLICES {
            store(r, turn, layer, std::mem::take(&mut batch), report)?;
        }
    }
    store(r, turn, layer, batch, report)?;
    let mut state = r.state();
    for rollup in touched {
        let is_stuck = turn.stuck.keys().any(|(stuck, _)| *stuck == rollup);
        if let Some(told) = state.told.get_mut(rollup).filter(|_| !is_stuck) {
            told.error = None;
        }
    }
    Ok(())
}

/// Writes the windows, then how far they go.
fn store(r: &Rollups, turn: &mut Turn, layer: &DataLayer, batch: Batch, report: &mut Report) -> Result<()> {
    let Batch { batch, done, .. } = batch;
    if done.is_empty() {
        return Ok(());
    }
    let mut conflicts = Vec::new();
    if !batch.series.is_empty() {
        let turn = layer.series().beside()?;
        let written = layer.series().engine().write(batch)?;
        drop(turn);
        if written.dropped > 0 && !(1..CONFLICTS_TOLD).contains(&written.conflicts.len()) {
            // Nobody can say of which: none of them counts as stored.
            return Err(Error::conflict(format!("{} windows were not stored", written.dropped))
                .hint("a target holds fields of other types: delete it, or roll up into another timeframe"));
        }
        conflicts = written.conflicts;
    }
    let refused = |d: &Done| -> Option<SeriesKey> {
        let target = r.definitions.get(d.rollup)?.target(&d.key)?;
        let hit = conflicts.iter().any(|c| c.bucket == target.bucket && c.measurement == target.measurement);
        hit.then_some(target)
    };
    let (bad, good): (Vec<Done>, Vec<Done>) = done.into_iter().partition(|d| refused(d).is_some());
    for d in &bad {
        if let Some(target) = refused(d) {
            fail(r, turn, d.rollup, d.key.clone(), &roll::conflict(&target, &conflicts), report);
        }
    }
    r.db.write_always(|tx| {
        for d in &good {
            let Some(definition) = r.definitions.get(d.rollup) else { continue };
            match &d.late {
                Some(late) => marks::done_late(tx, late, d.reached)?,
                None => {
                    let (rollup, key) = (definition.name.clone(), d.key.clone());
                    marks::set(tx, &Mark { rollup, key, until: d.reached })?;
                }
            }
        }
        Ok(())
    })?;
    let mut state = r.state();
    for d in good {
        turn.stuck.remove(&(d.rollup, d.key.clone()));
        if let Some(told) = state.told.get_mut(d.rollup) {
            for sum in [&mut told.counts, &mut report.counts] {
                sum.rows += d.counts.rows;
                sum.windows += d.counts.windows;
                sum.kept += d.counts.kept;
            }
        }
        if d.counts.kept > 0 {
            tracing::warn!(
                series = %d.key, windows = d.counts.kept,
                "late rows came into windows whose raw rows retention dropped: the rollup is widened, not made anew"
            );
        }
        if d.late.is_none() {
            state.until.insert((d.rollup, d.key), d.reached);
        }
    }
    Ok(())
}

/// Says once what is wrong; it is tried again after [`RETRY_AFTER`].
fn fail(r: &Rollups, turn: &mut Turn, rollup: usize, key: SeriesKey, e: &Error, report: &mut Report) {
    let text = e.to_string();
    turn.stuck.insert((rollup, key), Instant::now());
    if let Some(told) = r.state().told.get_mut(rollup) {
        if told.error.as_deref() != Some(text.as_str()) {
            let name = r.definitions.get(rollup).map_or("", |d| d.name.as_str());
            tracing::warn!(rollup = name, error = %text, "a rollup is stuck");
        }
        told.error = Some(text.clone());
    }
    if report.errors.len() < 100 && !report.errors.contains(&text) {
        report.errors.push(text);
    }
}
