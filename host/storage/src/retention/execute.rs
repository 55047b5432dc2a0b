//! Doing what a plan says, a step after another. Each step is durable and recorded before the next begins; a process that
//! dies in between leaves a store in which the same plan can be run again.

use super::check::{View, target_of, timeframe_in};
use super::marks::{self, Marks, archive_target};
use super::{Action, CheckedPlan, PlanReport};
use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::disk::Level;
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::rollups::roll as rollup;
use crate::series::archives::To;
use crate::series::model::TIME_MIN_NS;
use crate::series::{Budget, Selector, SeriesEngine, SeriesKey, TimeRange};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Reasons named in one error.
const REASONS_SHOWN: usize = 20;
/// How often rows that are about to go are looked at again because others were written beside them.
const LOOKS_MAX: u32 = 10;

pub(super) fn execute(
    layer: &DataLayer,
    caller: &Caller,
    plan: &CheckedPlan,
    progress: &mut dyn FnMut(u64),
) -> Result<PlanReport> {
    let _alone = layer.retaining();
    refuse(
        plan.needs_confirmation.iter().chain(plan.steps.iter().filter_map(|s| s.refused.as_ref())),
        "is refused",
    )?;
    // The world may have changed since the plan was checked, and a plan is data.
    let actions = plan.steps.iter().map(|s| s.action.clone()).collect();
    let view = View::new(layer, plan.now)?;
    let again = view.judge(caller, actions);
    refuse(again.iter().filter_map(|s| s.refused.as_ref()), "no longer holds")?;

    let object = format!("plan:{}", plan.plugin);
    let digest = serde_json::to_vec(plan).map(|j| blake3::hash(&j).to_hex().to_string()).ok();
    layer.audit().record(&Entry::new(caller, "retention.plan", &object).change(None, digest).detail(json!({
        "now": plan.now, "steps": plan.steps.len(), "drop_rows": plan.drop_rows, "store_rows": plan.store_rows,
    })))?;
    let mut report = PlanReport::default();
    let result = layer.disk().make_room(|| {
        let live = layer.series().live();
        let mut run = Run { layer, live, caller, view: &view, targets: BTreeSet::new() };
        let mut stores = BTreeSet::new();
        for step in &plan.steps {
            run.step(&step.action, &mut report)
                .map_err(|e| e.context(format!("step {} of {}", report.steps + 1, plan.steps.len())))?;
            if let Action::DropFile { store, .. } = &step.action {
                stores.insert(store.as_str());
            }
            report.steps += 1;
            progress(report.steps);
        }
        run.give_back(&stores, &report);
        Ok(())
    });
    let detail = match &result {
        Ok(()) => json!({ "ok": true, "report": report }),
        Err(e) => json!({ "ok": false, "report": report, "error": e.to_string() }),
    };
    let recorded = layer.audit().record(&Entry::new(caller, "retention.done", &object).detail(detail));
    result?;
    recorded?;
    Ok(report)
}

fn refuse<'a>(reasons: impl Iterator<Item = &'a String>, what: &str) -> Result<()> {
    let all: Vec<&str> = reasons.map(String::as_str).collect();
    if all.is_empty() {
        return Ok(());
    }
    let more = all.len().saturating_sub(REASONS_SHOWN);
    let shown: Vec<&str> = all.into_iter().take(REASONS_SHOWN).collect();
    let rest = if more > 0 { format!("; and {more} more reasons") } else { String::new() };
    Err(Error::denied(format!("the plan {what}, as a whole: {}{rest}", shown.join("; ")))
        .hint("nothing was done; look at it with `shiphold plugins run NAME --dry-run`"))
}

struct Run<'a> {
    layer: &'a DataLayer,
    /// The engine alone, without what only archives have.
    live: Arc<dyn SeriesEngine>,
    caller: &'a Caller,
    view: &'a View<'a>,
    /// Rollups of this run: they may hold no bar yet.
    targets: BTreeSet<SeriesKey>,
}

impl Run<'_> {
    fn step(&mut self, action: &Action, report: &mut PlanReport) -> Result<()> {
        match action {
            Action::Downsample { key, timeframe, before } => {
                let (_, target) = target_of(key, timeframe)?;
                let rolled = self.downsample(key, &target.measurement, *before)?;
                report.rolled_up_rows += rolled.rows;
                report.rollup_bars += rolled.bars;
                self.targets.insert(target);
            }
            Action::Archive { key, store, before } => {
                report.archived_rows += self.archive(key, store, *before)?
            }
            Action::DropBefore { key, before } => report.dropped_rows += self.drop_before(key, *before)?,
            Action::DropFile { store, path } => {
                let entry = Entry::new(self.caller, "retention.drop", format!("file:{store}/{path}"));
                self.layer.audit().record(&entry.detail(json!({ "files": 1 })))?;
                self.layer.files().purge_for(self.caller, store, path)?;
                report.dropped_files += 1;
            }
        }
        Ok(())
    }

    fn marks(&self, key: &SeriesKey) -> Result<Marks> {
        self.layer.database().read(|c| marks::of(c, key))
    }

    fn record(
        &self,
        action: &str,
        key: &SeriesKey,
        detail: Value,
        mark: impl FnOnce(&crate::sqlite::Tx<'_>) -> Result<()>,
    ) -> Result<()> {
        self.layer.database().write_always(|tx| {
            mark(tx)?;
            Audit::append(tx, &Entry::new(self.caller, action, format!("series:{key}")).detail(detail))?;
            Ok(())
        })
    }

    fn downsample(&self, key: &SeriesKey, measurement: &str, before: i64) -> Result<rollup::Rolled> {
        let timeframe = timeframe_in(measurement)?;
        let target = SeriesKey { measurement: measurement.into(), ..key.clone() };
        let dropped = self.marks(key)?.dropped_until;
        let overwrite = match self.caller {
            Caller::Plugin { grants, .. } => grants.overwrite,
            Caller::Operator | Caller::Token { .. } => true,
        };
        let job = rollup::Job {
            key,
            source: Some(self.live.as_ref()),
            timeframe,
            zone: chrono_tz::Tz::UTC,
            aggregates: None,
            target: &target,
            dropped,
            range: TimeRange { start: TIME_MIN_NS, end: before },
            overwrite,
        };
        let series = self.layer.series();
        let rolled = rollup::roll(series.engine().as_ref(), job, &|| series.beside())?;
        let detail = json!({ "target": target.to_string(), "before": before, "rows": rolled.rows, "bars": rolled.bars });
        self.record("retention.downsample", key, detail, |tx| {
            marks::set_until(tx, key, measurement, before)
        })?;
        Ok(rolled)
    }

    fn archive(&self, key: &SeriesKey, store: &str, before: i64) -> Result<u64> {
        let archives = self.layer.series().archives()?;
        let to = To { caller: self.caller, key, store };
        let taken = archives.take(self.live.as_ref(), to, before)?;
        let detail = json!({ "store": store, "before": before, "rows": taken.rows, "files": taken.files() });
        taken.note(archives, key, |tx| {
            marks::set_until(tx, key, &archive_target(store), before)?;
            let entry = Entry::new(self.caller, "retention.archive", format!("series:{key}"));
            Audit::append(tx, &entry.detail(detail))?;
            Ok(())
        })?;
        Ok(taken.rows)
    }

    /// Brings rollups and archives up to what is there: of what arrived since they were made they know nothing. Gives the time
    /// before which every row is in an archive.
    fn catch_up(&self, key: &SeriesKey, before: i64) -> Result<Option<i64>> {
        let marks = self.marks(key)?;
        for (measurement, _) in marks.rollups() {
            let target = SeriesKey { measurement: measurement.into(), ..key.clone() };
            if self.targets.contains(&target) || self.view.has(&target) {
                self.downsample(key, measurement, before)?;
            }
        }
        self.layer.rollups().catch_up(self.layer, key, before)?;
        let mut archived = None;
        for (store, until) in marks.archives() {
            if self.layer.files().names().any(|n| n == store) {
                let until = until.min(before);
                self.archive(key, store, until)?;
                archived = archived.max(Some(until));
            }
        }
        Ok(archived)
    }

    /// Who writes or deletes rows that are about to go makes them be looked at again: none goes that is in no rollup and no archive.
    fn drop_before(&self, key: &SeriesKey, before: i64) -> Result<u64> {
        let (series, archives) = (self.layer.series(), self.layer.series().archives()?);
        let range = TimeRange { start: TIME_MIN_NS, end: before };
        for _ in 0..LOOKS_MAX {
            let look = archives.look(key, before);
            // Writers that began before the look.
            drop(series.alone());
            let archived = self.catch_up(key, before)?;
            let _alone = series.alone();
            series.settled()?;
            if look.written() {
                continue;
            }
            // What is dropped is whatever has these tags, and more.
            let also = self.live.list(&Selector::of(key))?;
            if let Some(other) = also.iter().find(|info| info.key != *key) {
                return Err(Error::new(
                    Kind::Busy,
                    format!("{} came while {key} was about to be dropped, and would go with it", other.key),
                )
                .hint("nothing was dropped; run the plan again, which looks at both"));
            }
            let mut rows = 0_u64;
            for times in self.live.times(key, range, &Budget::default())? {
                rows += times?.len() as u64;
            }
            // The mark first: rows before it are late from now on, and never make a rollup bar smaller, and queries read them in their
            // archives, also if the process dies before they are gone.
            let detail = json!({ "before": before, "rows": rows });
            archives.leave(key, before, |tx| {
                marks::set_dropped(tx, key, before)?;
                let entry = Entry::new(self.caller, "retention.drop", format!("series:{key}"));
                Audit::append(tx, &entry.detail(detail))?;
                Ok(())
            })?;
            let gone = Some(archived.unwrap_or(TIME_MIN_NS)).filter(|from| *from < before);
            let deleted = series.forget(&Selector::of(key), range, gone)?;
            return Ok(deleted.rows.unwrap_or(rows));
        }
        Err(Error::new(Kind::Busy, format!("rows of {key} that are about to go are written all the time"))
            .hint("nothing was dropped; run the plan again when its old rows are left alone"))
    }

    /// Gives the room back to the file system. What fails here is tried again by the background work.
    fn give_back(&self, stores: &BTreeSet<&str>, report: &PlanReport) {
        for store in stores {
            if let Err(e) = self.layer.files().gc(&Caller::Operator, store) {
                tracing::warn!(store, error = %e, "dropped files still take room");
            }
        }
        let tight = self.layer.disk().state().is_ok_and(|s| s.level != Level::Ok);
        if report.dropped_rows > 0 && tight {
            if let Err(e) = self.layer.series().engine().compact() {
                tracing::warn!(error = %e, "dropped rows still take room");
            }
        }
    }
}
