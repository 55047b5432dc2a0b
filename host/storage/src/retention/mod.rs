//! Retention plans: proposed by a plugin, checked against its grants and the safety floor, shown, executed, audited.
//! `docs/retention.md` says what is promised.

mod check;
mod execute;
mod grants;
mod marks;
mod summaries;

#[cfg(test)]
mod tests;

pub use check::{ACTIONS_MAX, KEEP_DEFAULT};
pub(crate) use marks::dropped_until;

use crate::caller::Caller;
use crate::error::Result;
use crate::series::SeriesKey;
use crate::series::kinds::Kind;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a policy sees of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesSummary {
    pub key: SeriesKey,
    pub kind: Kind,
    /// Of bars: `1m`, `1h`, `1d`.
    pub timeframe: Option<String>,
    pub rows: u64,
    pub first: i64,
    pub last: i64,
    /// Per target timeframe: rows before this time are in the rollup.
    pub rolled: BTreeMap<String, i64>,
}

/// What a policy sees of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileSummary {
    pub store: String,
    pub path: String,
    pub version: u64,
    /// Bytes of the newest version.
    pub size: u64,
    pub created_at: i64,
    /// Versions that are there, and the bytes of all of them.
    pub versions: u32,
    pub bytes: u64,
}

/// One of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Summary {
    Series(SeriesSummary),
    File(FileSummary),
}

/// One step of a plan. `before` in nanoseconds; what is not named is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Roll rows before `before` (rounded down to a whole bar) up into `bar.TIMEFRAME.SYMBOL`.
    Downsample {
        key: SeriesKey,
        timeframe: String,
        before: i64,
    },
    /// Write rows before `before` into a file store as Parquet, read back and compared.
    Archive {
        key: SeriesKey,
        store: String,
        before: i64,
    },
    /// Drop rows before `before` (rounded down to a whole bar of every rollup of the series).
    DropBefore {
        key: SeriesKey,
        before: i64,
    },
    DropFile {
        store: String,
        path: String,
    },
}

/// A step and what it would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// With `before` rounded as it will be used.
    #[serde(flatten)]
    pub action: Action,
    /// Rows (or files: 1) that the step reads or drops.
    pub rows: u64,
    /// Why the step is refused, if it is.
    pub refused: Option<String>,
    /// Where a rollup or an archive goes.
    pub target: Option<String>,
}

/// A plan that was looked at. It can be executed only if nothing in it is refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedPlan {
    pub plugin: String,
    /// The `now` that ages count from: the earlier of the wall clock and the newest point plus one day.
    pub now: i64,
    pub steps: Vec<Step>,
    /// Rows that would be dropped, and of how many.
    pub drop_rows: u64,
    pub store_rows: u64,
    /// The plan as a whole is refused: the share of dropped rows needs an operator's confirmation.
    pub needs_confirmation: Option<String>,
}

impl CheckedPlan {
    /// Nothing in it is refused.
    pub fn is_allowed(&self) -> bool {
        self.needs_confirmation.is_none() && self.steps.iter().all(|s| s.refused.is_none())
    }
}

/// What an execution did.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PlanReport {
    pub steps: u64,
    pub rolled_up_rows: u64,
    /// Bars that were written: those that were there already, the same, are not counted.
    pub rollup_bars: u64,
    pub archived_rows: u64,
    pub dropped_rows: u64,
    pub dropped_files: u64,
}

/// Retention over the stores of a data layer (borrowed from it).
#[derive(Debug)]
pub struct Retention<'a> {
    pub(crate) layer: &'a crate::DataLayer,
}

impl Retention<'_> {
    /// Ages count from here: min(wall clock, newest stored point + 1 day). A store without a point has no age to be
    /// wrong about: then the newest file counts, and without one the wall clock.
    pub fn now(&self, wall_ns: i64) -> Result<i64> {
        summaries::now(self.layer, wall_ns)
    }
    /// What the plugin may read, series first, then files, in order.
    pub fn summaries(&self, plugin: &Caller) -> Result<Vec<Summary>> {
        summaries::summaries(self.layer, plugin)
    }
    /// Checks a plan. `now_ns` comes from [`Retention::now`]. A refused step is in the result, with its reason, not an
    /// error.
    pub fn check(
        &self,
        plugin: &Caller,
        actions: Vec<Action>,
        now_ns: i64,
        confirmed: bool,
    ) -> Result<CheckedPlan> {
        check::check(self.layer, plugin, actions, now_ns, confirmed)
    }
    /// Executes an allowed plan in order; each step is durable before the next and audited. `progress` gets steps done.
    pub fn execute(
        &self,
        plugin: &Caller,
        plan: &CheckedPlan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<PlanReport> {
        execute::execute(self.layer, plugin, plan, progress)
    }
}
