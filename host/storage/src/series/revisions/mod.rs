//! Revisions: series that can be read as they were known at a time, so that a correction does not rewrite what a backtest saw.
//!
//! [`Recorder`] stands before an engine. A write to a series that a rule takes is one batch with a log of what was there before
//! ([`names`] says how it is kept); a read as of a time ([`Known`]) goes over the rows of now and puts back what was
//! changed after it. Rows that are only added cost one row of the log for each batch and series.

mod clock;
mod known;
pub(in crate::series) mod names;
mod overlay;
mod past;
mod prune;
mod rules;
#[cfg(test)]
pub(in crate::series) mod tests;
mod undo;

pub(crate) use rules::Rules;

use super::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, Frame, FrameStream, Latest,
    Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TimeStream, WriteBatch, WriteReport,
};
use crate::error::{Error, Kind, Result};
use crate::rollups::Watch;
use crate::schema::now_ns;
use crate::series::pieces::{PieceStream, Wanted};
use crate::series::tail::Tails;
use clock::{Clock, Ticket};
use known::Known;
use names::{hidden, hidden_bucket, is_hidden};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use undo::Undo;

/// Writers of series of different stripes do not wait for each other.
const STRIPES: usize = 64;

/// A time that no row of a series is after, for series that a rule takes.
type Newest = HashMap<SeriesKey, i64>;

/// An engine whose changes are recorded where a rule says so. What it records is not among its series.
#[derive(Debug)]
pub(crate) struct Recorder {
    engine: Arc<dyn SeriesEngine>,
    rules: Rules,
    /// What must be noted before late rows are written.
    watch: Arc<Watch>,
    /// Who hears of what is written.
    tails: Arc<Tails>,
    clock: Clock,
    /// Held by a writer from its look to its write.
    stripes: Vec<Mutex<Newest>>,
    /// What is stored was looked at: the newest rows, and the last time of the log.
    seeded: Mutex<bool>,
    pruned: Mutex<prune::State>,
}

impl Recorder {
    pub(crate) fn new(engine: Arc<dyn SeriesEngine>, rules: Rules) -> Arc<Self> {
        Self::watched(engine, rules, Arc::default())
    }

    pub(crate) fn watched(engine: Arc<dyn SeriesEngine>, rules: Rules, watch: Arc<Watch>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            rules,
            watch,
            tails: Arc::default(),
            clock: Clock::default(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            seeded: Mutex::default(),
            pruned: Mutex::default(),
        })
    }

    pub(crate) fn tails(&self) -> &Arc<Tails> {
        &self.tails
    }

    /// The engine itself, with what is recorded.
    pub(crate) fn stored(&self) -> &Arc<dyn SeriesEngine> {
        &self.engine
    }

    /// The series as they were known at a time. Later than now is as now; the same answer comes every time that a time which has
    /// passed is asked for, until it leaves the window.
    pub(crate) fn as_known_at(self: &Arc<Self>, at: i64) -> Result<Arc<dyn SeriesEngine>> {
        Ok(match self.known(at)? {
            Some(known) => Arc::new(known),
            None => self.clone(),
        })
    }

    /// `None`: the time has not come.
    fn known(self: &Arc<Self>, at: i64) -> Result<Option<Known>> {
        let now = now_ns();
        if at > now {
            return Ok(None);
        }
        self.seed()?;
        self.clock.pass(at);
        Ok(Some(Known { recorder: self.clone(), at, now }))
    }

    /// [`SeriesEngine::latest`] as of a time. Only series that were changed since are read.
    pub(crate) fn latest_as_known_at(
        self: &Arc<Self>,
        at: i64,
        selector: &Selector,
        budget: &Budget,
    ) -> Result<Vec<Latest>> {
        match self.known(at)? {
            Some(known) => known.latest_of(selector, budget),
            None => self.latest_within(selector, budget),
        }
    }

    fn is_watched(&self, key: &SeriesKey) -> bool {
        self.rules.has(key)
    }

    /// Is there, or may there be, something that callers must not see?
    fn hides(&self) -> bool {
        !(self.rules.rules.is_empty() && self.rules.ended.is_empty())
    }

    fn stripe(&self, key: &SeriesKey) -> usize {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or_default()
    }

    /// The turns of these stripes, taken in one order by everybody.
    fn turns(&self, wanted: BTreeSet<usize>) -> BTreeMap<usize, MutexGuard<'_, Newest>> {
        let turn =
            |i: usize| self.stripes.get(i).map(|s| (i, s.lock().unwrap_or_else(PoisonError::into_inner)));
        wanted.into_iter().filter_map(turn).collect()
    }

    fn all_turns(&self) -> BTreeMap<usize, MutexGuard<'_, Newest>> {
        self.turns((0..STRIPES).collect())
    }

    /// Waits for the writer of a series that is at work: it may have been given a time before the one that is asked about.
    fn settle(&self, key: &SeriesKey) {
        drop(self.turns(BTreeSet::from([self.stripe(key)])));
    }

    /// Looks at what is stored, once.
    fn seed(&self) -> Result<()> {
        let mut seeded = self.seeded.lock().unwrap_or_else(PoisonError::into_inner);
        if *seeded {
            return Ok(());
        }
        let all = Budget::default();
        for bucket in self.rules.buckets() {
            let log = Selector { bucket: Some(hidden_bucket(bucket)), ..Selector::default() };
            let last = self.engine.choose(&log, &all)?.iter().filter_map(|i| i.max_time).max();
            last.into_iter().for_each(|t| self.clock.pass(t));
        }
        for rule in &self.rules.rules {
            let chosen = Selector {
                bucket: Some(rule.bucket.clone()),
                measurement: Some(rule.measurement.clone()),
                tags: Vec::new(),
            };
            for info in self.engine.choose(&chosen, &all)? {
                let Some(max) = info.max_time else { continue };
                let at = self.stripe(&info.key);
                if let Some(newest) = self.turns(BTreeSet::from([at])).get_mut(&at) {
                    newest.insert(info.key, max);
                }
            }
        }
        *seeded = true;
        Ok(())
    }

    /// Writes with the log of what is replaced, as one batch.
    fn record(&self, batch: WriteBatch) -> Result<WriteReport> {
        self.seed()?;
        let mut turns = self.turns_of(&batch)?;
        let undone = self.undone(&batch, &turns)?;
        // An upper bound: it holds also if the write fails.
        for (key, frame) in self.watched_of(&batch) {
            let Some(newest) = turns.get_mut(&self.stripe(key)) else { continue };
            if let Some(last) = frame.times.iter().max() {
                newest.entry(key.clone()).and_modify(|n| *n = (*n).max(*last)).or_insert(*last);
            }
        }
        let entries = undone.iter().map(|(_, undo)| undo.len()).sum();
        if entries == 0 {
            return self.engine.write(batch);
        }
        let ticket = self.clock.draw(entries);
        let mut report = self.engine.write(undo::with_log(batch, undone, ticket.at))?;
        report.written = report.written.saturating_sub(entries as u64);
        Ok(report)
    }

    fn watched_of<'a>(&'a self, batch: &'a WriteBatch) -> impl Iterator<Item = &'a (SeriesKey, Frame)> {
        batch.series.iter().filter(|(key, _)| self.is_watched(key))
    }

    /// The turns of the series of a batch that a rule takes, whose frames are well formed.
    fn turns_of(&self, batch: &WriteBatch) -> Result<BTreeMap<usize, MutexGuard<'_, Newest>>> {
        self.watched_of(batch).try_for_each(|(key, frame)| frame.validate().map_err(|e| e.context(key)))?;
        Ok(self.turns(self.watched_of(batch).map(|(key, _)| self.stripe(key)).collect()))
    }

    /// What a batch changes of each series that a rule takes, by whoever has their turns.
    fn undone(
        &self,
        batch: &WriteBatch,
        turns: &BTreeMap<usize, MutexGuard<'_, Newest>>,
    ) -> Result<Vec<(SeriesKey, Undo)>> {
        let mut undone = Vec::new();
        for (key, frame) in self.watched_of(batch) {
            let Some(newest) = turns.get(&self.stripe(key)) else { continue };
            let undo = Undo::look(self.engine.as_ref(), key, frame, newest.get(key).copied())?;
            if undo.len() > 0 {
                undone.push((hidden(key), undo));
            }
        }
        Ok(undone)
    }

    /// Keeps the rows that a delete takes away. What of them is damaged can be given up: it is recorded as gone.
    fn keep<'a>(
        &'a self,
        key: &SeriesKey,
        range: TimeRange,
        budget: &Budget,
        turn: &mut Option<Ticket<'a>>,
    ) -> Result<()> {
        match self.keep_rows(key, range, budget, turn) {
            Err(e) if e.kind() == Kind::Corrupt => {
                tracing::warn!(series = %key, error = %e, "of rows that are deleted, damaged ones are not kept for what was known before");
            }
            other => return other,
        }
        // What was kept until the damage is kept once more: of several entries the first one says it.
        let mut from = range.start;
        for lost in self.engine.damaged(key, range, budget)? {
            self.keep_or_lose(key, TimeRange { start: from, end: lost.start }, budget, turn)?;
            self.lose(key, lost, turn)?;
            from = lost.end;
        }
        self.keep_or_lose(key, TimeRange { start: from, end: range.end }, budget, turn)
    }

    /// Keeps rows, or all of them are gone: nobody can say which of them are damaged.
    fn keep_or_lose<'a>(
        &'a self,
        key: &SeriesKey,
        range: TimeRange,
        budget: &Budget,
        turn: &mut Option<Ticket<'a>>,
    ) -> Result<()> {
        match self.keep_rows(key, range, budget, turn) {
            Err(e) if e.kind() == Kind::Corrupt => self.lose(key, range, turn),
            other => other,
        }
    }

    fn keep_rows<'a>(
        &'a self,
        key: &SeriesKey,
        range: TimeRange,
        budget: &Budget,
        turn: &mut Option<Ticket<'a>>,
    ) -> Result<()> {
        if range.start >= range.end {
            return Ok(());
        }
        for frame in self.engine.scan(key, range, None, budget)? {
            let frame = frame?;
            if frame.is_empty() {
                continue;
            }
            let (at, time) = self.clock.draw_more(frame.len(), turn);
            let series = Undo::of_rows(frame).into_frames(at, time);
            let batch = series.into_iter().map(|frame| (hidden(key), frame)).collect();
            self.engine.write(WriteBatch { series: batch })?;
        }
        Ok(())
    }

    /// Records that rows are gone, from what was known before, too.
    fn lose<'a>(&'a self, key: &SeriesKey, range: TimeRange, turn: &mut Option<Ticket<'a>>) -> Result<()> {
        let (at, time) = self.clock.draw_more(1, turn);
        let series = vec![(hidden(key), undo::gone(range, at, time))];
        self.engine.write(WriteBatch { series }).map(|_| ())
    }

    /// The buckets that a deletion of these series goes to: never one of the host's own.
    fn buckets(&self, selector: &Selector) -> Result<Vec<Selector>> {
        if let Some(bucket) = &selector.bucket {
            return Ok(if is_hidden(bucket) { Vec::new() } else { vec![selector.clone()] });
        }
        if !self.hides() {
            return Ok(vec![selector.clone()]);
        }
        let found = self.choose(selector, &Budget::default())?;
        let all: BTreeSet<String> = found.into_iter().map(|i| i.key.bucket).collect();
        Ok(all.into_iter().map(|b| Selector { bucket: Some(b), ..selector.clone() }).collect())
    }

    /// Deletes from an engine; `note` is called first for each of the series that has revisions, while nobody writes to one.
    fn take_away(
        &self,
        engine: &dyn SeriesEngine,
        selector: &Selector,
        range: TimeRange,
        budget: &Budget,
        note: &mut dyn FnMut(&SeriesKey) -> Result<()>,
    ) -> Result<DeleteReport> {
        let mut report = DeleteReport { series: 0, rows: Some(0) };
        if range.start >= range.end {
            return Ok(report);
        }
        self.seed()?;
        let _turns = self.all_turns();
        for chosen in self.buckets(selector)? {
            if self.rules.rules.iter().any(|r| chosen.bucket.as_ref() == Some(&r.bucket)) {
                let all = self.engine.choose(&chosen, budget)?;
                all.iter().map(|i| &i.key).filter(|key| self.is_watched(key)).try_for_each(&mut *note)?;
            }
            let done = engine.delete_within(&chosen, range, budget)?;
            report.series += done.series;
            report.rows = report.rows.zip(done.rows).map(|(a, b)| a + b);
        }
        Ok(report)
    }

    /// [`SeriesEngine::delete`] by retention, from what stores the rows and nothing else. Those of the span `gone` are gone from what
    /// was known before, too; the others are in archives, and are known as before.
    pub(crate) fn forget(
        &self,
        stored: &dyn SeriesEngine,
        selector: &Selector,
        range: TimeRange,
        gone: Option<TimeRange>,
    ) -> Result<DeleteReport> {
        let all = Budget::default();
        if !self.hides() {
            return stored.delete(selector, range);
        }
        self.take_away(stored, selector, range, &all, &mut |key| {
            let Some(gone) = gone.filter(|g| g.start < g.end) else { return Ok(()) };
            self.lose(key, gone, &mut None)
        })
    }
}

fn refuse_hidden(batch: &WriteBatch) -> Result<()> {
    match batch.series.iter().find(|(key, _)| is_hidden(&key.bucket)) {
        None => Ok(()),
        Some((key, _)) => Err(Error::invalid(format!("the bucket `{}` is the host's own", key.bucket))
            .hint("write to another bucket")),
    }
}

impl SeriesEngine for Recorder {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        refuse_hidden(&batch)?;
        let _turn = self.watch.enter(&batch)?;
        let telling = self.tails.enter(&batch);
        let report = if batch.series.iter().any(|(k, _)| self.is_watched(k)) {
            self.record(batch)?
        } else {
            self.engine.write(batch)?
        };
        telling.tell(&report, self.engine.as_ref());
        Ok(report)
    }

    fn admit(&self, batch: &WriteBatch) -> Result<()> {
        refuse_hidden(batch)?;
        self.engine.admit(batch)
    }

    /// With the log that a write would add.
    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        refuse_hidden(batch)?;
        if self.watched_of(batch).next().is_none() {
            return self.engine.takes(batch);
        }
        self.seed()?;
        let undone = self.undone(batch, &self.turns_of(batch)?)?;
        self.engine.takes(&undo::with_log(batch.clone(), undone, now_ns()))
    }

    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        if is_hidden(&key.bucket) {
            return Ok(Box::new(std::iter::empty()));
        }
        self.engine.scan(key, range, fields, budget)
    }

    fn scan_pieces(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        wanted: Wanted,
        budget: &Budget,
    ) -> Result<PieceStream> {
        if is_hidden(&key.bucket) {
            return Ok(Box::new(std::iter::empty()));
        }
        self.engine.scan_pieces(key, range, fields, wanted, budget)
    }

    fn times(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<TimeStream> {
        if is_hidden(&key.bucket) {
            return Ok(Box::new(std::iter::empty()));
        }
        self.engine.times(key, range, budget)
    }

    /// What goes from a series with revisions is kept for its window.
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        if !self.hides() {
            return self.engine.delete_within(selector, range, budget);
        }
        let mut ticket = None;
        self.take_away(self.engine.as_ref(), selector, range, budget, &mut |key| {
            self.keep(key, range, budget, &mut ticket)
        })
    }

    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        let mut all = self.engine.latest_within(selector, budget)?;
        all.retain(|l| !is_hidden(&l.key.bucket));
        Ok(all)
    }

    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        let mut all = self.engine.list(selector)?;
        all.retain(|i| !is_hidden(&i.key.bucket));
        Ok(all)
    }

    fn choose(&self, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
        let mut all = self.engine.choose(selector, budget)?;
        all.retain(|i| !is_hidden(&i.key.bucket));
        Ok(all)
    }

    fn retentions(&self) -> Result<BTreeMap<String, Option<crate::units::Span>>> {
        self.stored().retentions()
    }

    fn capabilities(&self) -> Capabilities {
        self.engine.capabilities()
    }

    /// Without the series and rows of the logs.
    fn stats(&self) -> Result<EngineStats> {
        let mut stats = self.engine.stats()?;
        let buckets: BTreeSet<&str> =
            self.rules.buckets().into_iter().chain(self.rules.ended.iter().map(String::as_str)).collect();
        for bucket in buckets {
            let log = Selector { bucket: Some(hidden_bucket(bucket)), ..Selector::default() };
            for info in self.engine.list(&log)? {
                stats.series = stats.series.saturating_sub(1);
                stats.rows = stats.rows.saturating_sub(info.rows);
            }
        }
        Ok(stats)
    }

    fn seal(&self) -> Result<()> {
        self.engine.seal()
    }
    fn compact(&self) -> Result<CompactReport> {
        self.engine.compact()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.engine.verify(budget)
    }
    fn close(&self) -> Result<()> {
        self.engine.close()
    }
}
