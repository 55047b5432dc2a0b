//! The plugins of a host: run by the operator or by their schedule, remembered in the database, replaced while they serve.

mod ask;
mod counts;
mod grants;
mod reload;
mod runs;
mod slot;
mod status;

pub(crate) use counts::Counts;
pub use counts::PluginCounts;
pub use grants::{GrantLine, GrantsReport};
pub use reload::{ReloadReport, ReloadedPlugin};
pub(crate) use slot::Slot;
pub use status::{LogLine, PluginDetail, PluginMetric, PluginStatus};

use crate::compile::{self, Compiler};
use crate::engine::Engines;
use crate::run;
use crate::schedule;
use shiphold_storage::plugins::Run;
use shiphold_storage::skills::SkillIndexer;
use shiphold_storage::{Caller, DataLayer, Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Slots = BTreeMap<String, Arc<Slot>>;

/// The plugins of a host.
pub struct Plugins {
    layer: Arc<DataLayer>,
    engines: Engines,
    cache: PathBuf,
    compiler: Compiler,
    /// Replaced whole: whoever reads it sees one moment.
    slots: RwLock<Arc<Slots>>,
    /// One reload or roll-back at a time.
    reloading: tokio::sync::Mutex<()>,
    /// Told when slots were replaced.
    changed: watch::Sender<()>,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").field("names", &self.slots().keys()).finish_non_exhaustive()
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
        let it = Self {
            engines: Engines::new(&layer.manifest().limits.plugins),
            cache: compile::folder(&layer.manifest().host.data),
            compiler: compiler.clone(),
            layer: layer.clone(),
            slots: RwLock::default(),
            reloading: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(()),
        };
        let mut slots = Slots::new();
        for (name, plugin) in &layer.manifest().plugins {
            if let Some(slot) = it.renewed(plugin, None).await? {
                if let Some(e) = slot.loaded.as_ref().err().filter(|_| plugin.enabled) {
                    tracing::error!(plugin = name, error = ?e, "the plugin is not loaded");
                }
                slots.insert(name.clone(), Arc::new(slot));
            }
        }
        it.install(slots);
        Ok(Arc::new(it))
    }

    /// Lets other slots serve from now on.
    fn install(&self, slots: Slots) {
        let indexers: Vec<Arc<dyn SkillIndexer>> =
            slots.values().filter_map(|s| s.indexer.clone()).map(|i| i as Arc<dyn SkillIndexer>).collect();
        let served = slots.values().filter_map(|s| s.loaded.as_ref().ok());
        let before = slots.values().filter_map(|s| s.previous.as_ref()).map(|p| &p.loaded);
        compile::prune(&self.cache, &served.chain(before).map(|l| l.code.as_path()).collect());
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(slots);
        self.layer.skills().set_indexers(indexers);
        self.changed.send_replace(());
    }

    /// The plugins at this moment.
    pub(crate) fn slots(&self) -> Arc<Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Is there a plugin of this name?
    pub fn knows(&self, name: &str) -> bool {
        self.slots().contains_key(name)
    }

    pub(crate) fn slot(&self, name: &str) -> Result<Arc<Slot>> {
        let slots = self.slots();
        slots.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = slots.keys().map(String::as_str).collect();
            Error::not_found(format!("there is no plugin `{}`", name.escape_debug())).hint(format!(
                "plugins of this manifest: {}; add [plugins.NAME] for another",
                known.join(", ")
            ))
        })
    }

    #[cfg(test)]
    pub(crate) fn loaded(&self, name: &str) -> Arc<crate::component::Loaded> {
        self.slot(name).unwrap().ready().unwrap().clone()
    }

    /// Lets a plugin run again, or keeps it from running; audited.
    pub fn set_enabled(&self, caller: &Caller, name: &str, enabled: bool) -> Result<()> {
        let slot = self.slot(name)?;
        if enabled && !slot.plugin.enabled {
            return Err(Error::conflict(format!("plugin `{name}` is disabled in the manifest")).hint(
                format!("set `plugins.{name}.enabled = true` in shiphold.toml and `shiphold plugins reload`"),
            ));
        }
        self.layer.plugins().set_enabled(caller, name, enabled, "by hand")?;
        if let Some(indexer) = &slot.indexer {
            indexer.switch(enabled);
        }
        Ok(())
    }

    /// The runs of a plugin, newest first.
    pub fn runs(&self, caller: &Caller, name: &str, limit: u64) -> Result<Vec<Run>> {
        self.slot(name)?;
        self.layer.plugins().list(caller, name, limit)
    }

    /// Runs what is due until `shutdown` says true. A run under way is waited for by nobody: what it executed is durable
    /// step by step, and it is marked as interrupted at the next start.
    pub fn spawn_scheduler(self: &Arc<Self>, shutdown: watch::Receiver<bool>) -> JoinHandle<()> {
        let (plugins, watching) = (self.clone(), self.layer.manifest().host.watch);
        tokio::spawn(async move {
            let watch = async {
                if watching {
                    plugins.clone().watch_files(shutdown.clone()).await;
                }
            };
            tokio::join!(
                schedule::supervise(plugins.clone(), shutdown.clone()),
                keep_indexed(plugins.clone(), shutdown.clone()),
                crate::events::follow(plugins.clone(), shutdown.clone()),
                watch
            );
        })
    }

    /// Told when slots were replaced.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn layer(&self) -> &Arc<DataLayer> {
        &self.layer
    }

    #[cfg(test)]
    pub(crate) async fn due(&self, name: &str, trigger: &str) {
        self.run_due(name, trigger).await;
    }
}

/// How often skills that an indexer failed on are tried again.
const REINDEX_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// Makes the index that questions are answered from, and indexes what waits: at the start, for an indexer that is new or changed; then, for one that failed, again and again.
async fn keep_indexed(plugins: Arc<Plugins>, mut shutdown: watch::Receiver<bool>) {
    let mut changed = plugins.changes();
    loop {
        let layer = plugins.layer.clone();
        if let Err(e) = run::blocking(move || layer.skills().warm()).await {
            tracing::error!(error = ?e, "the index of skills could not be made; the next question tries again");
        }
        if plugins.slots().values().any(|s| s.indexer.is_some()) {
            let (at, stop) = (plugins.layer.clone(), shutdown.clone());
            let pass = run::blocking(move || {
                at.skills().reindex(&Caller::Operator, false, &mut |_| !*stop.borrow())
            });
            match pass.await {
                Ok(done) if done.indexed + done.failed > 0 => {
                    tracing::info!(indexed = done.indexed, failed = done.failed, "skills were indexed");
                }
                Ok(_) => {}
                Err(e) => tracing::error!(error = ?e, "skills wait for their indexer"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(REINDEX_EVERY) => {}
            _ = changed.changed() => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}
