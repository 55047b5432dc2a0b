//! Dropping what is older than its window, a little at a time.

use super::Recorder;
use super::names::{hidden_bucket, shown};
use crate::error::Result;
use crate::series::model::TIME_MIN_NS;
use crate::series::{Selector, SeriesInfo, TimeRange};
use crate::sqlite::Database;
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A pass over all logs begins so often.
const EVERY: Duration = Duration::from_secs(600);
/// Logs that are cut in one step.
const STEP_MAX: usize = 64;
/// A log is cut once this part of its window is past it, so that it is not cut a row at a time.
const SLACK_SHARE: i64 = 64;
/// The wall clock counts only so far beyond the last change that was recorded: one that jumps ahead drops nothing.
const AHEAD_NS: i64 = 86_400_000_000_000;

/// Where the present pass is.
#[derive(Debug, Default)]
pub(super) struct State {
    begun: Option<Instant>,
    waiting: Vec<(Selector, i64)>,
    /// Buckets whose rules have ended, and of which nothing is left after this pass.
    over: Vec<String>,
}

impl Recorder {
    /// A step of the background work. Dropping twice is harmless.
    pub(crate) fn maintain(&self, db: &Database, wall_ns: i64) -> Result<()> {
        if !self.hides() {
            return Ok(());
        }
        let mut state = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            if state.begun.is_some_and(|t| t.elapsed() < EVERY) {
                return Ok(());
            }
            self.seed()?;
            state.begun = Some(Instant::now());
            state.waiting = self.due(wall_ns)?;
            let wanted: BTreeSet<&str> = self.rules.buckets().into_iter().collect();
            state.over = self.rules.ended.iter().filter(|b| !wanted.contains(b.as_str())).cloned().collect();
        }
        for _ in 0..STEP_MAX {
            let Some((log, before)) = state.waiting.pop() else { break };
            self.engine.delete(&log, TimeRange { start: TIME_MIN_NS, end: before })?;
        }
        if state.waiting.is_empty() {
            for bucket in std::mem::take(&mut state.over) {
                super::Rules::forget(db, &bucket)?;
            }
        }
        Ok(())
    }

    /// The logs that reach further back than they need, and to where.
    fn due(&self, wall_ns: i64) -> Result<Vec<(Selector, i64)>> {
        let buckets: BTreeSet<&str> =
            self.rules.buckets().into_iter().chain(self.rules.ended.iter().map(String::as_str)).collect();
        let mut logs = Vec::new();
        for bucket in buckets {
            let all = Selector { bucket: Some(hidden_bucket(bucket)), ..Selector::default() };
            logs.extend(self.engine.list(&all)?);
        }
        let Some(newest) = logs.iter().filter_map(|log| log.max_time).max() else { return Ok(Vec::new()) };
        let now = wall_ns.min(newest.saturating_add(AHEAD_NS));
        let long = |log: &SeriesInfo| {
            let before = self.cut(log, now);
            let slack = self.rules.window_ns(&shown(&log.key)).unwrap_or_default() / SLACK_SHARE;
            let due = log.min_time.is_some_and(|t| t < before.saturating_sub(slack));
            due.then(|| (Selector::of(&log.key), before))
        };
        Ok(logs.iter().filter_map(long).collect())
    }

    /// The time before which a log is not needed; a name with `*` may choose others, and is cut as the longest of them.
    fn cut(&self, log: &SeriesInfo, now: i64) -> i64 {
        let window = if log.key.measurement.contains('*') {
            self.rules.rules.iter().map(|r| r.window.as_nanos_i64()).max()
        } else {
            self.rules.window_ns(&shown(&log.key))
        };
        window.map_or(i64::MAX, |w| now.saturating_sub(w))
    }
}
