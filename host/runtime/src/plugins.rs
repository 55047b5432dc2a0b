//! The plugins of a host: loaded once, run by the operator or by their schedule, remembered in the database.

use crate::compile::{self, Compiler};
use crate::component::{Loaded, load};
use crate::engine::Engines;
use crate::indexer::GuestIndexer;
use crate::queries::{self, NamedQuery};
use crate::run::{self, RunOptions, RunReport};
use crate::schedule;
use serde::Serialize;
use serde_json::{Map, Value};
use shiphold_storage::manifest::{Plugin, Schedule, World};
use shiphold_storage::plugins::Run;
use shiphold_storage::schema::now_ns;
use shiphold_storage::series::Budget;
use shiphold_storage::series::query::Table;
use shiphold_storage::skills::SkillIndexer;
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result, Scope};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

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
    /// Failed runs in a row.
    pub failures: u32,
    /// Runs that were due while another went on.
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
    pub loaded: Result<Arc<Loaded>>,
    /// Of a query builder.
    pub queries: Vec<NamedQuery>,
    /// Of a skill indexer.
    pub indexer: Option<Arc<GuestIndexer>>,
    /// Runs of one plugin never overlap.
    busy: Arc<Mutex<()>>,
}

impl Slot {
    /// What was loaded, or why it was not.
    pub(crate) fn ready(&self) -> Result<&Arc<Loaded>> {
        let name = &self.plugin.name;
        self.loaded.as_ref().map_err(|e| {
            Error::new(e.kind(), format!("plugin `{name}` is not loaded: {}", e.message()))
                .hint(e.hint_text().unwrap_or("`shiphold check` shows what is wrong").to_string())
        })
    }
}

/// Held while a run goes on.
type Alone = OwnedMutexGuard<()>;

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
        let engines = Engines::new(&layer.manifest().limits.plugins);
        let cache = compile::folder(&layer.manifest().host.data);
        let mut slots: BTreeMap<String, Arc<Slot>> = BTreeMap::new();
        for (name, plugin) in &layer.manifest().plugins {
            let mut queries = Vec::new();
            let loaded = if plugin.enabled {
                let loaded = match load(&engines, plugin, &cache, compiler).await.map(Arc::new) {
                    Ok(loaded) if plugin.world == World::QueryBuilder => {
                        queries::describe(&loaded, &layer).await.map(|described| {
                            queries = described;
                            loaded
                        })
                    }
                    other => other,
                };
                loaded.inspect_err(|e| tracing::error!(plugin = name, error = ?e, "the plugin is not loaded"))
            } else {
                Err(Error::denied(format!("plugin `{name}` is disabled in the manifest"))
                    .hint(format!("set `plugins.{name}.enabled = true` in shiphold.toml")))
            };
            let mut indexer = None;
            if let (Ok(loaded), World::SkillIndexer) = (&loaded, plugin.world) {
                let (at, asked) = (layer.clone(), name.clone());
                let enabled = run::blocking(move || Ok(at.plugins().state(&asked)?.enabled)).await?;
                indexer = Some(Arc::new(GuestIndexer::new(loaded.clone(), &layer, enabled)));
            }
            let slot = Slot { plugin: plugin.clone(), loaded, queries, indexer, busy: Arc::default() };
            slots.insert(name.clone(), Arc::new(slot));
        }
        let indexers = slots.values().filter_map(|s| s.indexer.clone()).map(|i| i as Arc<dyn SkillIndexer>);
        layer.skills().set_indexers(indexers.collect());
        let in_use =
            slots.values().filter_map(|s| s.loaded.as_ref().ok()).map(|l| l.code.as_path()).collect();
        compile::prune(&cache, &in_use);
        Ok(Arc::new(Self { layer, slots }))
    }

    pub(crate) fn slot(&self, name: &str) -> Result<&Arc<Slot>> {
        self.slots.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.slots.keys().map(String::as_str).collect();
            Error::not_found(format!("there is no plugin `{}`", name.escape_debug())).hint(format!(
                "plugins of this manifest: {}; add [plugins.NAME] for another",
                known.join(", ")
            ))
        })
    }

    /// Every plugin of the manifest, by name.
    pub fn list(&self, caller: &Caller) -> Result<Vec<PluginStatus>> {
        caller.require(Scope::Read, "list plugins")?;
        self.slots.values().map(|slot| self.status(caller, slot)).collect()
    }

    fn status(&self, caller: &Caller, slot: &Slot) -> Result<PluginStatus> {
        let (plugin, name) = (&slot.plugin, &slot.plugin.name);
        let state = self.layer.plugins().state(name)?;
        let loaded = slot.loaded.as_ref().ok();
        let enabled = plugin.enabled && state.enabled;
        let now = now_ns();
        let last = state.last_due.unwrap_or(now);
        Ok(PluginStatus {
            name: name.clone(),
            world: plugin.world.name().into(),
            version: loaded.map(|l| l.version.clone()),
            sha256: loaded.map(|l| l.sha256.clone()),
            enabled,
            loaded: loaded.is_some(),
            error: slot.loaded.as_ref().err().filter(|_| plugin.enabled).map(|e| e.message().to_string()),
            schedule: plugin.schedule.as_ref().map(|s| match s {
                Schedule::Cron(line) => format!("{line} ({})", plugin.timezone),
                Schedule::Every(span) => format!("every {span}"),
            }),
            next_run_ns: plugin
                .schedule
                .as_ref()
                .filter(|_| enabled)
                .and_then(|s| schedule::next(s, &plugin.timezone, last, now)),
            failures: state.failures,
            skipped: state.skipped,
            last_run: self.layer.plugins().list(caller, name, 1)?.into_iter().next(),
        })
    }

    /// Runs a plugin now; [`Kind::Busy`] while it runs already. A run that began goes on to its end even if nobody waits
    /// for the answer any more.
    pub async fn run(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
        options: RunOptions,
    ) -> Result<RunReport> {
        caller.require(Scope::Admin, "run plugins")?;
        let slot = self.slot(name)?;
        let instead = match slot.plugin.world {
            World::RetentionPolicy => None,
            World::SkillIndexer => Some(
                "it is asked for each skill and question; `shiphold skills reindex` asks it for those that wait",
            ),
            World::QueryBuilder => {
                Some("`shiphold queries list` shows its queries, `shiphold queries run` runs them")
            }
            World::BackupTarget => Some("`shiphold backup push NAME` uses it"),
        };
        if let Some(hint) = instead {
            let world = slot.plugin.world.name();
            return Err(
                Error::invalid(format!("plugin `{name}` is a {world}: it has no runs of its own")).hint(hint)
            );
        }
        let Ok(alone) = slot.busy.clone().try_lock_owned() else {
            return Err(Error::new(Kind::Busy, format!("plugin `{name}` is running already"))
                .hint(format!("`shiphold plugins runs {name}` shows its runs")));
        };
        self.detached(slot, alone, options).await.1
    }

    /// In a task of its own: a client that goes away would otherwise leave a run half noted, and let a second one begin
    /// beside what the first still executes.
    async fn detached(
        &self,
        slot: &Arc<Slot>,
        alone: Alone,
        options: RunOptions,
    ) -> (Option<Alone>, Result<RunReport>) {
        let (layer, slot) = (self.layer.clone(), slot.clone());
        let task = tokio::spawn(async move {
            let done = run::once(&layer, &slot, options).await;
            (Some(alone), done)
        });
        task.await.unwrap_or_else(|e| (None, Err(Error::internal(format!("a run ended in a fault: {e}")))))
    }

    /// Lets a plugin run again, or keeps it from running; audited.
    pub fn set_enabled(&self, caller: &Caller, name: &str, enabled: bool) -> Result<()> {
        let slot = self.slot(name)?;
        if enabled && !slot.plugin.enabled {
            return Err(Error::conflict(format!("plugin `{name}` is disabled in the manifest")).hint(
                format!("set `plugins.{name}.enabled = true` in shiphold.toml and start the host again"),
            ));
        }
        self.layer.plugins().set_enabled(caller, name, enabled, "by hand")?;
        if let Some(indexer) = &slot.indexer {
            indexer.switch(enabled);
        }
        Ok(())
    }

    /// Every query that the plugins offer, by name.
    pub fn queries(&self, caller: &Caller) -> Result<Vec<NamedQuery>> {
        caller.require(Scope::Read, "list queries")?;
        let mut all: Vec<NamedQuery> = self.slots.values().flat_map(|s| s.queries.iter().cloned()).collect();
        all.sort_by(|a, b| (&a.name, &a.plugin).cmp(&(&b.name, &b.plugin)));
        Ok(all)
    }

    /// A query by its name, and by its plugin where two offer the same.
    pub fn query(&self, caller: &Caller, plugin: Option<&str>, name: &str) -> Result<NamedQuery> {
        let mut found = self.queries(caller)?;
        found.retain(|q| q.name == name && plugin.is_none_or(|p| q.plugin == p));
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(query), None) => Ok(query),
            (Some(one), Some(other)) => Err(Error::invalid(format!(
                "`{name}` is a query of `{}` and of `{}`",
                one.plugin, other.plugin
            ))
            .hint("say which: `--plugin` on the command line, `_plugin` over HTTP")),
            (None, _) => Err(Error::not_found(format!("there is no query `{}`", name.escape_debug()))
                .hint("`shiphold queries list` shows them; a query builder in shiphold.toml adds some")),
        }
    }

    /// Runs a query with the parameters that its plugin described.
    pub async fn ask(
        &self,
        caller: &Caller,
        plugin: Option<&str>,
        name: &str,
        params: &Map<String, Value>,
        budget: &Budget,
    ) -> Result<Table> {
        let query = self.query(caller, plugin, name)?;
        let slot = self.slot(&query.plugin)?;
        let loaded = slot.ready()?;
        let (layer, asked) = (self.layer.clone(), query.plugin.clone());
        if !run::blocking(move || Ok(layer.plugins().state(&asked)?.enabled)).await? {
            return Err(run::disabled(&query.plugin));
        }
        queries::ask(loaded, &self.layer, &query, params, budget).await
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
        let mut tasks: Vec<JoinHandle<()>> = self
            .slots
            .values()
            .filter(|s| s.plugin.schedule.is_some() && s.loaded.is_ok())
            .map(|slot| tokio::spawn(schedule::follow(self.clone(), slot.clone(), shutdown.clone())))
            .collect();
        if self.slots.values().any(|s| s.indexer.is_some()) {
            tasks.push(tokio::spawn(keep_indexed(self.layer.clone(), shutdown)));
        }
        tokio::spawn(async move {
            for task in tasks {
                let _ = task.await;
            }
        })
    }

    pub(crate) fn layer(&self) -> &Arc<DataLayer> {
        &self.layer
    }

    #[cfg(test)]
    pub(crate) fn loaded(&self, name: &str) -> Arc<Loaded> {
        self.slot(name).unwrap().ready().unwrap().clone()
    }

    #[cfg(test)]
    pub(crate) async fn due(&self, name: &str, trigger: &str) {
        let slot = self.slot(name).unwrap().clone();
        self.run_due(&slot, trigger).await;
    }

    /// A scheduled run with its retries; a run that is due while another goes on is skipped and counted.
    pub(crate) async fn run_due(&self, slot: &Arc<Slot>, trigger: &str) {
        let name = &slot.plugin.name;
        let Ok(mut alone) = slot.busy.clone().try_lock_owned() else {
            tracing::warn!(plugin = name, "it is due while a run goes on: skipped");
            let (layer, name) = (self.layer.clone(), name.clone());
            if let Err(e) = run::blocking(move || layer.plugins().count_skipped(&name)).await {
                tracing::error!(plugin = slot.plugin.name, error = ?e, "the skipped run could not be counted");
            }
            return;
        };
        let policy = &slot.plugin.on_failure;
        let mut pause = policy.backoff.0;
        for attempt in 0..=policy.retries {
            let trigger = if attempt == 0 { trigger } else { "retry" };
            let options = RunOptions { trigger: trigger.into(), ..RunOptions::default() };
            let (held, done) = self.detached(slot, alone, options).await;
            match done {
                Ok(_) => return,
                // The plugin is disabled, or its plan is refused: the same answer would come again.
                Err(e) if e.kind() == Kind::Denied => {
                    tracing::warn!(plugin = name, error = ?e, "the run was refused");
                    return;
                }
                Err(e) => tracing::error!(plugin = name, attempt, error = ?e, "the run failed"),
            }
            let Some(held) = held else { return };
            alone = held;
            if attempt < policy.retries {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
    }
}

/// How often skills that an indexer failed on are tried again.
const REINDEX_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// Indexes what waits: at the start, for an indexer that is new or changed; then, for one that failed, again and again.
async fn keep_indexed(layer: Arc<DataLayer>, mut shutdown: watch::Receiver<bool>) {
    loop {
        let (at, stop) = (layer.clone(), shutdown.clone());
        let pass =
            run::blocking(move || at.skills().reindex(&Caller::Operator, false, &mut |_| !*stop.borrow()));
        match pass.await {
            Ok(done) if done.indexed + done.failed > 0 => {
                tracing::info!(indexed = done.indexed, failed = done.failed, "skills were indexed");
            }
            Ok(_) => {}
            Err(e) => tracing::error!(error = ?e, "skills wait for their indexer"),
        }
        tokio::select! {
            () = tokio::time::sleep(REINDEX_EVERY) => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}
