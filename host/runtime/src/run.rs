//! One run of a retention policy: plan, check, execute; again while the policy has more to say; remembered in the database.

use crate::call::{self, Used};
use crate::component::Loaded;
use crate::host::retention::from_guest;
use crate::plugins::Slot;
use crate::state::Errand;
use crate::text::printable;
use serde::Serialize;
use shiphold_storage::audit::RequestId;
use shiphold_storage::manifest::Plugin;
use shiphold_storage::plugins::Outcome;
use shiphold_storage::retention::{Action, CheckedPlan, PlanReport};
use shiphold_storage::schema::now_ns;
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result};
use std::sync::Arc;
use std::time::Instant;

/// Times that one run asks a policy that has more to say.
pub const ROUNDS_MAX: u32 = 100;
/// Reasons that an error lists.
const REASONS_MAX: usize = 20;

/// Bytes of one reason.
const REASON_BYTES_MAX: usize = 2_000;
/// Bytes of the name of what a refused step works on.
const OBJECT_BYTES_MAX: usize = 500;

/// How to run a plugin.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Show the plan and change nothing.
    pub dry_run: bool,
    /// The stores go when the run is done, as those of a fixture do: a dry run lets the guest write to them.
    pub throwaway: bool,
    /// The operator allows more than `safety.max_drop_share`.
    pub confirm: bool,
    /// The wall clock to pretend, in nanoseconds; ages still count from the newest point at most.
    pub now_ns: Option<i64>,
    /// `operator`, `schedule`, `catch-up`, `retry`.
    pub trigger: String,
}

/// What a run proposed and did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    pub run_id: i64,
    pub plugin: String,
    pub dry_run: bool,
    /// Every step of every round.
    pub plan: CheckedPlan,
    /// `None`: a dry run.
    pub report: Option<PlanReport>,
    /// The policy has more to say than a dry run can show.
    pub more: bool,
    pub duration_ms: u64,
    pub memory_peak_bytes: u64,
    pub fuel: Option<u64>,
    pub log: Vec<String>,
}

/// Runs a plugin whose slot the caller holds.
pub(crate) async fn once(layer: &Arc<DataLayer>, slot: &Slot, options: RunOptions) -> Result<RunReport> {
    let name = &slot.plugin.name;
    let loaded = slot.ready()?.clone();
    let run_id = begin(layer, name, &options).await?;
    let start = Instant::now();
    let mut used = Used::default();
    let done = rounds(layer, &loaded, &options, run_id, &mut used).await;
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    slot.counts.ran(done.is_ok(), start.elapsed(), used.memory_peak_bytes, used.fuel);
    let outcome = Outcome {
        ok: done.is_ok(),
        error: done.as_ref().err().map(|e| e.message().to_string()),
        duration_ms,
        memory_peak_bytes: used.memory_peak_bytes,
        fuel: used.fuel,
        actions: done.as_ref().map_or(0, |(plan, ..)| plan.steps.len() as u64),
        log: used.log.clone(),
        blameless: done.as_ref().is_err_and(|e| e.kind() == Kind::Busy),
    };
    finish(layer, slot, run_id, outcome, options.dry_run).await?;
    let (plan, report, more) = done?;
    Ok(RunReport {
        run_id,
        plugin: name.clone(),
        dry_run: options.dry_run,
        plan,
        report,
        more,
        duration_ms,
        memory_peak_bytes: used.memory_peak_bytes,
        fuel: used.fuel,
        log: used.log,
    })
}

/// Refuses a disabled plugin, or notes that a run begins.
async fn begin(layer: &Arc<DataLayer>, name: &str, options: &RunOptions) -> Result<i64> {
    let (layer, name) = (layer.clone(), name.to_string());
    let (trigger, dry_run) = (options.trigger.clone(), options.dry_run);
    blocking(move || {
        if !layer.plugins().state(&name)?.enabled {
            return Err(disabled(&name));
        }
        layer.plugins().begin(&name, &trigger, dry_run)
    })
    .await
}

/// Why a disabled plugin is not asked.
pub(crate) fn disabled(name: &str) -> Error {
    Error::denied(format!("plugin `{name}` is disabled")).hint(format!(
        "`shiphold plugins runs {name}` shows why; `shiphold plugins enable {name}` enables it"
    ))
}

/// Notes how it ended, on a thread of its own.
async fn finish(
    layer: &Arc<DataLayer>,
    slot: &Slot,
    run_id: i64,
    outcome: Outcome,
    dry_run: bool,
) -> Result<()> {
    let (layer, loaded) = (layer.clone(), slot.plugin.clone());
    blocking(move || ended(&layer, &loaded, run_id, &outcome, dry_run)).await.map(drop)
}

/// Notes how a run ended; a plugin that failed too often in a row is disabled, and this says so.
pub(crate) fn ended(
    layer: &DataLayer,
    plugin: &Plugin,
    run_id: i64,
    outcome: &Outcome,
    dry_run: bool,
) -> Result<bool> {
    let (name, most) = (&plugin.name, plugin.on_failure.disable_after);
    let failures = layer.plugins().finish(run_id, outcome)?;
    if outcome.ok || outcome.blameless || dry_run || most == 0 || failures < most {
        return Ok(false);
    }
    let reason = format!("{failures} failed runs in a row: plugins.{name}.on_failure.disable_after = {most}");
    tracing::error!(plugin = name, reason, "the plugin is disabled");
    layer.plugins().set_enabled(&Caller::Operator, name, false, &reason)?;
    Ok(true)
}

/// Notes a call that belongs to no run: one that failed, or the first that went well after it. Whether the plugin is disabled now.
pub(crate) fn note(
    layer: &DataLayer,
    plugin: &Plugin,
    trigger: &str,
    error: Option<&Error>,
    start: Instant,
    used: Used,
) -> Result<bool> {
    let outcome = Outcome {
        ok: error.is_none(),
        error: error.map(|e| e.message().to_string()),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        memory_peak_bytes: used.memory_peak_bytes,
        fuel: used.fuel,
        actions: 0,
        log: used.log,
        blameless: error.is_some_and(|e| e.kind() == Kind::Busy),
    };
    let run_id = layer.plugins().begin(&plugin.name, trigger, false)?;
    ended(layer, plugin, run_id, &outcome, false)
}

/// Plan, check, execute; again while the policy has more to say.
async fn rounds(
    layer: &Arc<DataLayer>,
    loaded: &Arc<Loaded>,
    options: &RunOptions,
    run_id: i64,
    used: &mut Used,
) -> Result<(CheckedPlan, Option<PlanReport>, bool)> {
    let name = &loaded.plugin.name;
    let plugin = Caller::Plugin { name: name.clone(), grants: loaded.grants.clone() };
    let wall = options.now_ns.unwrap_or_else(now_ns);
    let share = layer.manifest().safety.max_drop_share_percent;
    let mut whole: Option<CheckedPlan> = None;
    let mut report = PlanReport::default();
    for _ in 0..ROUNDS_MAX {
        let (at, caller) = (layer.clone(), plugin.clone());
        let (now, summaries) = blocking(move || {
            let retention = at.retention();
            Ok((retention.now(wall)?, Arc::new(retention.summaries(&caller)?)))
        })
        .await?;
        let errand = Errand {
            request: Some(RequestId::new(&format!("run:{run_id}"))?),
            dry_run: options.dry_run && !options.throwaway,
        };
        let (said, spent) = call::plan(loaded, layer, summaries, now, errand).await;
        used.add(spent, &loaded.plugin.limits);
        let said = said?;
        if said.more && said.actions.is_empty() {
            return Err(never_ends(name, "it says that it has more to say, and proposes nothing"));
        }
        let actions = from_guest(said.actions).map_err(|e| {
            Error::new(Kind::Plugin, format!("the plan of `{name}` is refused whole: {}", e.message()))
                .hint("it is a fault of the plugin: its log is in `shiphold plugins runs NAME --log`")
        })?;
        let (at, caller, confirm) = (layer.clone(), plugin.clone(), options.confirm);
        let mut plan = blocking(move || at.retention().check(&caller, actions, now, confirm)).await?;
        // A reason repeats the names that the guest chose.
        for why in plan.steps.iter_mut().filter_map(|s| s.refused.as_mut()) {
            *why = printable(why, REASON_BYTES_MAX);
        }
        if let Some(before) = &whole {
            over_the_run(&mut plan, before, share, confirm);
        }
        if !options.dry_run {
            refuse(&plan)?;
            let (at, caller, checked) = (layer.clone(), plugin.clone(), plan.clone());
            let id = RequestId::new(&format!("run:{run_id}"))?;
            let did = blocking(move || id.during(|| at.retention().execute(&caller, &checked, &mut |_| {})))
                .await?;
            add(&mut report, &did);
        }
        let plan = match whole.take() {
            None => plan,
            Some(all) => joined(all, plan),
        };
        // What a dry run did not do would be proposed again.
        if !said.more || options.dry_run {
            return Ok((plan, (!options.dry_run).then_some(report), said.more));
        }
        whole = Some(plan);
    }
    Err(never_ends(name, &format!("it has more to say after {ROUNDS_MAX} rounds")))
}

fn never_ends(plugin: &str, what: &str) -> Error {
    Error::new(Kind::Plugin, format!("plugin `{plugin}`: {what}"))
        .hint("what it said before was executed; the plugin must be mended")
}

pub(crate) async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(f)
        .await
        .map_err(|e| Error::internal(format!("a storage call ended in a fault: {e}")))?
}

/// The share of rows that a run may drop counts over all of its rounds.
fn over_the_run(plan: &mut CheckedPlan, before: &CheckedPlan, share_percent: u32, confirmed: bool) {
    let dropped = before.drop_rows.saturating_add(plan.drop_rows);
    let most = u128::from(before.store_rows) * u128::from(share_percent);
    if !confirmed && plan.drop_rows > 0 && u128::from(dropped) * 100 > most {
        plan.needs_confirmation.get_or_insert_with(|| {
            format!("with its earlier rounds this run drops {dropped} of {} rows, more than safety.max_drop_share = {share_percent} %", before.store_rows)
        });
    }
}

fn joined(mut all: CheckedPlan, more: CheckedPlan) -> CheckedPlan {
    all.steps.extend(more.steps);
    all.drop_rows = all.drop_rows.saturating_add(more.drop_rows);
    all.needs_confirmation = all.needs_confirmation.or(more.needs_confirmation);
    all
}

/// One refused step refuses the whole plan.
fn refuse(plan: &CheckedPlan) -> Result<()> {
    if plan.is_allowed() {
        return Ok(());
    }
    let refused: Vec<String> = plan
        .steps
        .iter()
        .filter_map(|s| Some(format!("{}: {}", object(&s.action), s.refused.as_ref()?)))
        .collect();
    if refused.is_empty() {
        let why = plan.needs_confirmation.clone().unwrap_or_default();
        return Err(Error::denied(format!("the plan of `{}` is refused: {why}", plan.plugin))
            .hint("look at it with --dry-run; if it is right, run it with --confirm"));
    }
    let mut reasons = refused.iter().take(REASONS_MAX).cloned().collect::<Vec<_>>().join("\n  ");
    if refused.len() > REASONS_MAX {
        reasons.push_str(&format!("\n  and {} more", refused.len() - REASONS_MAX));
    }
    if let Some(why) = &plan.needs_confirmation {
        reasons.push_str(&format!("\n  {why}"));
    }
    Err(Error::denied(format!(
        "the plan of `{}` is refused whole, for {} of its {} steps:\n  {reasons}",
        plan.plugin,
        refused.len(),
        plan.steps.len()
    ))
    .hint("look at it with --dry-run; grants and the safety floor stand in shiphold.toml"))
}

/// What a step works on, by a name that a person can find.
fn object(action: &Action) -> String {
    let text = match action {
        Action::Downsample { key, timeframe, .. } => format!("downsample {key} to {timeframe}"),
        Action::Archive { key, store, .. } => format!("archive {key} to {store}"),
        Action::DropBefore { key, .. } => format!("drop {key}"),
        Action::DropFile { store, path } => format!("drop {store}/{path}"),
    };
    printable(&text, OBJECT_BYTES_MAX)
}

fn add(all: &mut PlanReport, one: &PlanReport) {
    all.steps += one.steps;
    all.rolled_up_rows += one.rolled_up_rows;
    all.rollup_bars += one.rollup_bars;
    all.archived_rows += one.archived_rows;
    all.dropped_rows += one.dropped_rows;
    all.dropped_files += one.dropped_files;
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::retention::Step;

    fn plan(drop_rows: u64, refused: &[Option<&str>]) -> CheckedPlan {
        let step = |r: &Option<&str>| Step {
            action: Action::DropFile { store: "s".into(), path: "p".into() },
            rows: 0,
            refused: r.map(Into::into),
            target: None,
        };
        CheckedPlan {
            plugin: "p".into(),
            now: 0,
            steps: refused.iter().map(step).collect(),
            drop_rows,
            store_rows: 100,
            needs_confirmation: None,
        }
    }

    #[test]
    fn the_share_counts_over_the_rounds_of_a_run() {
        let second = |drop, confirmed| {
            let mut next = plan(drop, &[]);
            over_the_run(&mut next, &plan(15, &[]), 20, confirmed);
            next.needs_confirmation
        };
        assert_eq!(second(5, false), None, "at the share");
        assert!(
            second(6, false).is_some_and(|w| w.contains("max_drop_share = 20 %") && w.contains("21 of 100"))
        );
        assert_eq!(second(6, true), None);
        assert_eq!(second(0, false), None);
    }

    #[test]
    fn a_refusal_lists_its_reasons_up_to_a_bound() {
        assert!(refuse(&plan(0, &[None])).is_ok());
        let e = refuse(&plan(0, &[None, Some("why not")])).unwrap_err();
        assert!(e.message().contains("1 of its 2 steps") && e.message().contains("drop s/p: why not"), "{e}");
        let many = vec![Some("no"); REASONS_MAX + 2];
        assert!(refuse(&plan(0, &many)).unwrap_err().message().ends_with("and 2 more"));
        let mut share = plan(0, &[None]);
        share.needs_confirmation = Some("too much".into());
        let e = refuse(&share).unwrap_err();
        assert!(e.message().contains("too much") && e.hint_text().is_some_and(|h| h.contains("--confirm")));
        assert_eq!(e.kind(), Kind::Denied);
    }

    #[test]
    fn rounds_add_up() {
        let all = joined(plan(1, &[None]), plan(2, &[Some("x"), None]));
        assert_eq!((all.steps.len(), all.drop_rows, all.store_rows), (3, 3, 100));
        let mut report = PlanReport { steps: 1, dropped_rows: 2, ..PlanReport::default() };
        add(&mut report, &PlanReport { steps: 2, dropped_rows: 3, rollup_bars: 4, ..PlanReport::default() });
        assert_eq!(report, PlanReport { steps: 3, dropped_rows: 5, rollup_bars: 4, ..PlanReport::default() });
    }
}
