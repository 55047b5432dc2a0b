//! The plugins of a host: loaded once, run by the operator or by their schedule, remembered in the database.

use crate::call::{self, Used};
use crate::compile::Compiler;
use crate::component::{Loaded, load};
use crate::engine::Engines;
use crate::host::retention::from_guest;
use crate::schedule;
use serde::Serialize;
use shiphold_storage::manifest::{Plugin, Schedule};
use shiphold_storage::plugins::{Outcome, Run};
use shiphold_storage::retention::{Action, CheckedPlan, PlanReport};
use shiphold_storage::schema::now_ns;
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result, Scope};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// Times that one run asks a policy that has more to say.
pub const ROUNDS_MAX: u32 = 100;
/// Reasons that an error lists.
const REASONS_MAX: usize = 20;

/// How to run a plugin.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Show the plan and change nothing.
    pub dry_run: bool,
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

/// How a plugin does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginStatus {
    pub name: String,
    pub world: String,
    pub version: Option<String>,
    pub sha256: Option<String>,
    pub enabled: bool,
    pub loaded: bool,
    /// Why it is not loaded.
    pub error: Option<String>,
    pub schedule: Option<String>,
    pub next_run_ns: Option<i64>,
    pub failures: u32,
    pub skipped: u32,
    pub last_run: Option<Run>,
}

/// A number of a plugin's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginMetric {
    pub plugin: String,
    pub name: String,
    pub value: f64,
}

/// One plugin of the manifest.
pub(crate) struct Slot {
    pub plugin: Plugin,
    loaded: Result<Arc<Loaded>>,
    /// Runs of one plugin never overlap.
    busy: Mutex<()>,
}

/// The plugins of a host.
pub struct Plugins {
    layer: Arc<DataLayer>,
    slots: BTreeMap<String, Arc<Slot>>,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").field("names", &self.slots.keys()).finish_non_exhaustive()
    }
}

impl Plugins {
    /// Loads every enabled plugin of the manifest. One that cannot be loaded is remembered with its error; the others and
    /// the host go on. `exe` is the program that compiles components as `EXE plugins compile IN OUT`.
    pub async fn load(layer: Arc<DataLayer>, exe: PathBuf) -> Result<Arc<Self>> {
        Self::load_with(layer, &Compiler::Child(exe)).await
    }

    /// [`Plugins::load`] with a compiler of the caller's choice.
    pub async fn load_with(layer: Arc<DataLayer>, compiler: &Compiler) -> Result<Arc<Self>> {
        let engines = Engines::new(true);
        let cache = layer.manifest().host.data.join("cache").join("components");
        let mut slots = BTreeMap::new();
        for (name, plugin) in &layer.manifest().plugins {
            let loaded = if plugin.enabled {
                load(&engines, plugin, &cache, compiler).await.map(Arc::new)
            } else {
                Err(Error::denied(format!("plugin `{name}` is disabled in the manifest"))
                    .hint(format!("set `plugins.{name}.enabled = true` in shiphold.toml")))
            };
            slots.insert(
                name.clone(),
                Arc::new(Slot { plugin: plugin.clone(), loaded, busy: Mutex::new(()) }),
            );
        }
        Ok(Arc::new(Self { layer, slots }))
    }

    fn slot(&self, name: &str) -> Result<&Arc<Slot>> {
        self.slots.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.slots.keys().map(String::as_str).collect();
            Error::not_found(format!("there is no plugin `{}`", name.escape_debug())).hint(format!(
                "plugins of this manifest: {}; add [plugins.NAME] for another",
                known.join(", ")
            ))
        })
    }

    pub fn list(&self, caller: &Caller) -> Result<Vec<PluginStatus>> {
        caller.require(Scope::Read, "list plugins")?;
        self.slots
            .iter()
            .map(|(name, slot)| {
                let state = self.layer.plugins().state(name)?;
                let loaded = slot.loaded.as_ref().ok();
                let enabled = slot.plugin.enabled && state.enabled;
                Ok(PluginStatus {
                    name: name.clone(),
                    world: slot.plugin.world.name().into(),
                    version: loaded.map(|l| l.version.clone()),
                    sha256: loaded.map(|l| l.sha256.clone()),
                    enabled,
                    loaded: loaded.is_some(),
                    error: slot
                        .loaded
                        .as_ref()
                        .err()
                        .filter(|_| slot.plugin.enabled)
                        .map(|e| e.message().to_string()),
                    schedule: slot.plugin.schedule.as_ref().map(|s| match s {
                        Schedule::Cron(line) => format!("{line} ({})", slot.plugin.timezone),
                        Schedule::Every(span) => format!("every {span}"),
                    }),
                    next_run_ns: slot.plugin.schedule.as_ref().filter(|_| enabled).and_then(|s| {
                        schedule::next(
                            s,
                            &slot.plugin.timezone,
                            state.last_due.unwrap_or_else(now_ns),
                            now_ns(),
                        )
                    }),
                    failures: state.failures,
                    skipped: state.skipped,
                    last_run: self.layer.plugins().list(caller, name, 1)?.into_iter().next(),
                })
            })
            .collect()
    }

    /// Runs a plugin now; [`Kind::Busy`] while it runs already.
    pub async fn run(&self, caller: &Caller, name: &str, options: RunOptions) -> Result<RunReport> {
        caller.require(Scope::Admin, "run plugins")?;
        let slot = self.slot(name)?;
        let Ok(_alone) = slot.busy.try_lock() else {
            return Err(Error::new(Kind::Busy, format!("plugin `{name}` is running already"))
                .hint(format!("`shiphold plugins runs {name}` shows its runs")));
        };
        self.run_alone(slot, options).await
    }

    async fn run_alone(&self, slot: &Slot, options: RunOptions) -> Result<RunReport> {
        let name = &slot.plugin.name;
        let loaded = match &slot.loaded {
            Ok(loaded) => loaded.clone(),
            Err(e) => {
                return Err(Error::new(e.kind(), format!("plugin `{name}` is not loaded: {}", e.message()))
                    .hint(e.hint_text().unwrap_or("`shiphold check` shows what is wrong").to_string()));
            }
        };
        if !self.layer.plugins().state(name)?.enabled {
            return Err(Error::denied(format!("plugin `{name}` is disabled")).hint(format!(
                "`shiphold plugins runs {name}` shows why; `shiphold plugins enable {name}` enables it"
            )));
        }
        let run_id = self.layer.plugins().begin(name, &options.trigger, options.dry_run)?;
        let begin = Instant::now();
        let mut used = Used::default();
        let done = self.rounds(&loaded, &options, &mut used).await;
        let duration_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outcome = Outcome {
            ok: done.is_ok(),
            error: done.as_ref().err().map(|e| e.message().to_string()),
            duration_ms,
            memory_peak_bytes: used.memory_peak_bytes,
            fuel: used.fuel,
            actions: done.as_ref().map_or(0, |(plan, ..)| plan.steps.len() as u64),
            log: used.log.clone(),
        };
        let failures = self.layer.plugins().finish(run_id, &outcome)?;
        let most = slot.plugin.on_failure.disable_after;
        if done.is_err() && !options.dry_run && most > 0 && failures >= most {
            let reason =
                format!("{failures} failed runs in a row: plugins.{name}.on_failure.disable_after = {most}");
            tracing::error!(plugin = name, reason, "the plugin is disabled");
            self.layer.plugins().set_enabled(&Caller::Operator, name, false, &reason)?;
        }
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

    /// Plan, check, execute; again while the policy has more to say.
    async fn rounds(
        &self,
        loaded: &Arc<Loaded>,
        options: &RunOptions,
        used: &mut Used,
    ) -> Result<(CheckedPlan, Option<PlanReport>, bool)> {
        let plugin = Caller::Plugin { name: loaded.plugin.name.clone(), grants: loaded.grants.clone() };
        let wall = options.now_ns.unwrap_or_else(now_ns);
        let mut whole: Option<CheckedPlan> = None;
        let mut report = PlanReport::default();
        for _ in 0..ROUNDS_MAX {
            let (layer, caller) = (self.layer.clone(), plugin.clone());
            let (now, summaries) = blocking(move || {
                let retention = layer.retention();
                Ok((retention.now(wall)?, Arc::new(retention.summaries(&caller)?)))
            })
            .await?;
            let (said, spent) = call::plan(loaded, &self.layer, summaries, now).await;
            used.add(spent);
            let said = said?;
            let actions = from_guest(said.actions).map_err(|e| {
                Error::new(
                    Kind::Plugin,
                    format!("the plan of `{}` is refused whole: {}", loaded.plugin.name, e.message()),
                )
                .hint("it is a fault of the plugin: its log is in `shiphold plugins runs NAME --log`")
            })?;
            let (layer, caller, confirm) = (self.layer.clone(), plugin.clone(), options.confirm);
            let mut plan = blocking(move || layer.retention().check(&caller, actions, now, confirm)).await?;
            if let Some(before) = &whole {
                over_the_run(&mut plan, before, self.layer.manifest().safety.max_drop_share_percent, confirm);
            }
            if !options.dry_run {
                refuse(&plan)?;
                let (layer, caller, checked) = (self.layer.clone(), plugin.clone(), plan.clone());
                let did = blocking(move || layer.retention().execute(&caller, &checked, &mut |_| {})).await?;
                add(&mut report, &did);
            }
            if said.more && plan.steps.is_empty() {
                return Err(Error::new(
                    Kind::Plugin,
                    format!(
                        "plugin `{}` says that it has more to say and proposes nothing",
                        loaded.plugin.name
                    ),
                )
                .hint("mend the plugin: `more` asks for another call"));
            }
            whole = Some(match whole.take() {
                None => plan,
                Some(mut all) => {
                    all.steps.extend(plan.steps);
                    all.drop_rows += plan.drop_rows;
                    all.needs_confirmation = all.needs_confirmation.or(plan.needs_confirmation);
                    all
                }
            });
            // What a dry run did not do would be proposed again.
            if !said.more || options.dry_run {
                let plan = whole.ok_or_else(|| Error::internal("a run without a plan"))?;
                return Ok((plan, (!options.dry_run).then_some(report), said.more && options.dry_run));
            }
        }
        Err(Error::new(
            Kind::Plugin,
            format!("plugin `{}` has more to say after {ROUNDS_MAX} rounds", loaded.plugin.name),
        )
        .hint("what it said was executed; run it again, or mend it"))
    }

    /// Lets a plugin run again, or keeps it from running; audited.
    pub fn set_enabled(&self, caller: &Caller, name: &str, enabled: bool) -> Result<()> {
        self.slot(name)?;
        self.layer.plugins().set_enabled(caller, name, enabled, "by hand")
    }

    /// The runs of a plugin, newest first.
    pub fn runs(&self, caller: &Caller, name: &str, limit: u64) -> Result<Vec<Run>> {
        self.slot(name)?;
        self.layer.plugins().list(caller, name, limit)
    }

    /// The gauges that plugins set.
    pub fn metrics(&self) -> Vec<PluginMetric> {
        let mut out = Vec::new();
        for (plugin, slot) in &self.slots {
            let Ok(loaded) = &slot.loaded else { continue };
            for (name, value) in loaded.gauges.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                out.push(PluginMetric { plugin: plugin.clone(), name: name.clone(), value: *value });
            }
        }
        out
    }

    /// Runs what is due until `shutdown` says true. A run under way is waited for by nobody: what it executed is durable
    /// step by step, and it is marked as interrupted at the next start.
    pub fn spawn_scheduler(self: &Arc<Self>, shutdown: watch::Receiver<bool>) -> JoinHandle<()> {
        let tasks: Vec<JoinHandle<()>> = self
            .slots
            .values()
            .filter(|s| s.plugin.schedule.is_some() && s.loaded.is_ok())
            .map(|slot| tokio::spawn(schedule::follow(self.clone(), slot.clone(), shutdown.clone())))
            .collect();
        tokio::spawn(async move {
            for task in tasks {
                let _ = task.await;
            }
        })
    }

    pub(crate) fn layer(&self) -> &Arc<DataLayer> {
        &self.layer
    }

    /// A scheduled run with its retries; a run that is due while another goes on is skipped and counted.
    pub(crate) async fn run_due(&self, slot: &Slot, trigger: &str) {
        let name = &slot.plugin.name;
        let Ok(_alone) = slot.busy.try_lock() else {
            tracing::warn!(plugin = name, "it is due while a run goes on: skipped");
            if let Err(e) = self.layer.plugins().count_skipped(name) {
                tracing::error!(plugin = name, error = ?e, "the skipped run could not be counted");
            }
            return;
        };
        let policy = &slot.plugin.on_failure;
        let mut pause = policy.backoff.0;
        for attempt in 0..=policy.retries {
            let trigger = if attempt == 0 { trigger } else { "retry" };
            let options = RunOptions { trigger: trigger.into(), ..RunOptions::default() };
            match self.run_alone(slot, options).await {
                Ok(_) => return,
                // A disabled plugin is not a failure of this run.
                Err(e)
                    if e.kind() == Kind::Denied
                        && !self.layer.plugins().state(name).is_ok_and(|s| s.enabled) =>
                {
                    return;
                }
                Err(e) => tracing::error!(plugin = name, attempt, error = ?e, "the run failed"),
            }
            if attempt < policy.retries {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
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
    match action {
        Action::Downsample { key, timeframe, .. } => format!("downsample {key} to {timeframe}"),
        Action::Archive { key, store, .. } => format!("archive {key} to {store}"),
        Action::DropBefore { key, .. } => format!("drop {key}"),
        Action::DropFile { store, path } => format!("drop {store}/{path}"),
    }
    .escape_debug()
    .to_string()
}

fn add(all: &mut PlanReport, one: &PlanReport) {
    all.steps += one.steps;
    all.rolled_up_rows += one.rolled_up_rows;
    all.rollup_bars += one.rollup_bars;
    all.archived_rows += one.archived_rows;
    all.dropped_rows += one.dropped_rows;
    all.dropped_files += one.dropped_files;
}
