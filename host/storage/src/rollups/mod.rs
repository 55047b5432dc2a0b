//! Rollups that are declared in the manifest and kept up continuously: `docs/rollups.md` says what is promised.
//!
//! How far each series is stands in the structured store, and so do windows that late rows changed, before the rows are
//! acknowledged. A step of the work reads what is new, writes windows, and then says how far it came; whatever ends in between is
//! done again.

mod definition;
mod late;
mod marks;
mod pass;
pub(crate) mod roll;
#[cfg(test)]
mod tests;

pub(crate) use definition::patterns_meet;
pub use definition::{Definition, FREE_START};
pub(crate) use late::Watch;
pub use pass::STEP_TIME;
pub use roll::SOURCE_ROWS;

use crate::audit::Entry;
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::layer::DataLayer;
use crate::series::kinds::Timeframe;
use crate::series::{Budget, SeriesKey};
use crate::sqlite::Database;
use chrono_tz::Tz;
use pass::{Only, State, Turn};
use serde::Serialize;
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

/// Spans that a dry run lists.
pub const LISTED_MAX: usize = 10_000;

/// How one rollup stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub name: String,
    pub bucket: String,
    pub from: String,
    pub to: Timeframe,
    #[serde(serialize_with = "definition::name_of")]
    pub timezone: Tz,
    /// Sources with rows.
    pub series: u64,
    /// The longest stretch of finished windows of a series that is not rolled up, in nanoseconds; 0: none is behind.
    pub behind_ns: i64,
    /// Spans of windows that late rows changed and that wait.
    pub late: u64,
    /// Since the host started.
    pub counts: Counts,
    /// What went wrong last, while it does.
    pub error: Option<String>,
}

/// What was done since the host started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Raw rows that were read.
    pub rows: u64,
    /// Windows that were new or changed.
    pub windows: u64,
    /// Windows that were only widened: late rows came after retention had dropped their raw rows.
    pub kept: u64,
}

/// Windows of one series that a run would roll up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    pub rollup: String,
    pub key: SeriesKey,
    pub target: SeriesKey,
    /// From the first window; the least time there is: from its beginning.
    pub start: i64,
    pub end: i64,
    /// They were rolled up before, and late rows changed them.
    pub late: bool,
}

/// What a run did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub counts: Counts,
    /// Of a dry run: what is due, at most [`LISTED_MAX`] spans.
    pub due: Vec<Due>,
    pub errors: Vec<String>,
}

/// A rollup that raw rows must be in before they may go.
#[derive(Debug, Clone)]
pub(crate) struct Cover {
    pub(crate) timeframe: Timeframe,
    pub(crate) zone: Tz,
    pub(crate) target: SeriesKey,
    /// Rows before this time are in it.
    pub(crate) until: i64,
}

/// The rollups of a manifest.
#[derive(Debug)]
pub struct Rollups {
    definitions: Vec<Definition>,
    db: Arc<Database>,
    watch: Arc<Watch>,
    state: Mutex<State>,
    /// Whoever works holds it.
    turn: Mutex<Turn>,
}

impl Rollups {
    /// Reads how far everything is; a rollup that was declared otherwise before begins anew. Where that cannot be noted (a full disk
    /// must not keep a host from starting) it does not begin before the next start.
    pub(crate) fn open(mut definitions: Vec<Definition>, db: Arc<Database>) -> Result<Self> {
        let there = db.read(marks::declared)?;
        let same = |d: &Definition| there.iter().any(|(name, text)| d.name == *name && d.text() == *text);
        if there.len() != definitions.len() || !definitions.iter().all(same) {
            if let Err(e) = db.write_always(|tx| marks::declare(tx, &definitions)) {
                tracing::warn!(error = %e, "new rollups wait for the next start: they could not be noted");
                definitions.retain(same);
            }
        }
        let all = db.read(marks::all)?;
        let watch = Arc::new(Watch::new(definitions.clone(), db.clone(), &all));
        let state = State::new(&definitions, all);
        Ok(Self { definitions, db, watch, state: Mutex::new(state), turn: Mutex::default() })
    }

    /// What writers are compared with.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How each rollup stands, by name.
    pub fn list(&self, caller: &Caller) -> Result<Vec<Status>> {
        caller.require(Scope::Read, "read rollups")?;
        let told = self.state().told();
        let mut out = Vec::with_capacity(self.definitions.len());
        for (d, told) in self.definitions.iter().zip(told) {
            out.push(Status {
                name: d.name.clone(),
                bucket: d.bucket.clone(),
                from: d.from.clone(),
                to: d.to,
                timezone: d.timezone,
                series: told.series,
                behind_ns: told.behind_ns,
                late: self.db.read(|c| marks::count_late(c, &d.name))?,
                counts: told.counts,
                error: told.error,
            });
        }
        Ok(out)
    }

    /// Rolls up everything that is due, of one rollup or of all; a dry run says what that is. Admin; audited.
    pub fn run(
        &self,
        layer: &DataLayer,
        caller: &Caller,
        name: Option<&str>,
        dry_run: bool,
        budget: &Budget,
    ) -> Result<Report> {
        caller.require(Scope::Admin, "run rollups")?;
        if let Some(name) = name.filter(|n| self.definitions.iter().all(|d| d.name != **n)) {
            return Err(Error::not_found(format!("there is no rollup `{}`", name.escape_debug()))
                .hint("`shiphold rollups list` shows those of the manifest"));
        }
        let only = Only { rollup: name, key: None };
        if dry_run {
            return pass::look(self, layer, only);
        }
        let report = pass::all(self, &mut self.turn(), layer, only, budget)?;
        layer.audit().record(
            &Entry::new(caller, "rollups.run", format!("rollup:{}", name.unwrap_or("*")))
                .detail(json!({ "rows": report.counts.rows, "windows": report.counts.windows })),
        )?;
        Ok(report)
    }

    /// A step of the background work, of [`STEP_TIME`] or a little more.
    pub(crate) fn maintain(&self, layer: &DataLayer) -> Result<()> {
        if self.definitions.is_empty() {
            return Ok(());
        }
        match self.turn.try_lock() {
            Ok(mut turn) => pass::step(self, &mut turn, layer, Instant::now() + STEP_TIME),
            Err(TryLockError::Poisoned(e)) => {
                pass::step(self, &mut e.into_inner(), layer, Instant::now() + STEP_TIME)
            }
            // Somebody works already.
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    /// The rollups of a series, and how far each holds its rows.
    pub(crate) fn covers(&self, key: &SeriesKey) -> Result<Vec<Cover>> {
        let mut out = Vec::new();
        for (at, d) in self.definitions.iter().enumerate() {
            let Some(target) = d.target(key).filter(|_| d.takes(key)) else { continue };
            let until = self.state().until(at, key);
            let late = self.db.read(|c| marks::first_late(c, &d.name, key))?;
            let until = until.min(late.unwrap_or(i64::MAX));
            out.push(Cover { timeframe: d.to, zone: d.timezone, target, until });
        }
        Ok(out)
    }

    /// Rolls up what is due of one series: its raw rows before a time are about to go.
    pub(crate) fn catch_up(&self, layer: &DataLayer, key: &SeriesKey, before: i64) -> Result<()> {
        if !self.definitions.iter().any(|d| d.takes(key)) {
            return Ok(());
        }
        let report = pass::all(
            self,
            &mut self.turn(),
            layer,
            Only { rollup: None, key: Some(key) },
            &Budget::default(),
        )?;
        for cover in self.covers(key)? {
            if cover.until < cover.timeframe.floor(before, cover.zone) {
                return Err(Error::conflict(format!(
                    "the rollup {} of {key} is not complete: {}",
                    cover.target,
                    report.errors.first().map_or("its windows are not finished", String::as_str)
                ))
                .hint("`shiphold rollups list` says how it stands; raw rows go only after their rollup is durable"));
            }
        }
        Ok(())
    }
}
