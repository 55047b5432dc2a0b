//! Reload and roll-back: the new version is loaded beside the one that serves, and takes its place only when it is ready. What
//! is refused changes nothing.

use super::slot::{Previous, Slot, Stamp, Wanted, stamp};
use super::{Plugins, Slots};
use crate::component::{Loaded, load};
use crate::queries::{self, NamedQuery};
use crate::run::blocking;
use serde::Serialize;
use serde_json::{Value, json};
use shiphold_storage::audit::Entry;
use shiphold_storage::manifest::{Plugin, World};
use shiphold_storage::schema::now_ns;
use shiphold_storage::{Caller, Error, Manifest, Result, Scope};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the manifest's file and the components are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReloadReport {
    pub plugins: Vec<ReloadedPlugin>,
    /// Changed tables of the manifest that take effect at the next start.
    pub restart_needed: Vec<String>,
}

/// What a reload did with one plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReloadedPlugin {
    pub name: String,
    /// `unchanged`, `loaded`, `refused`, `disabled`, `removed`.
    pub outcome: String,
    /// Served before.
    pub before: Option<String>,
    /// Served now.
    pub version: Option<String>,
    pub sha256: Option<String>,
    /// Why it is refused.
    pub error: Option<String>,
}

fn version(slot: &Slot) -> Option<String> {
    slot.loaded.as_ref().ok().map(|l| l.version.clone())
}

fn told(name: &str, outcome: &str, before: Option<&Arc<Slot>>, now: Option<&Slot>) -> ReloadedPlugin {
    ReloadedPlugin {
        name: name.into(),
        outcome: outcome.into(),
        before: before.and_then(|s| version(s)),
        version: now.and_then(version),
        sha256: now.and_then(|s| s.loaded.as_ref().ok()).map(|l| l.sha256.clone()),
        error: now.and_then(|s| {
            s.refused.clone().or_else(|| s.loaded.as_ref().err().map(|e| e.message().to_string()))
        }),
    }
}

/// For the audit trail.
fn trace(slot: &Slot) -> Option<String> {
    let loaded = slot.loaded.as_ref().ok()?;
    Some(json!({ "version": loaded.version, "sha256": loaded.sha256, "grants": *loaded.grants }).to_string())
}

impl Plugins {
    /// Reads the manifest again and takes over what changed of its plugins, or of the one named; audited. Calls and runs
    /// under way end on the version with which they began.
    pub async fn reload(self: &Arc<Self>, caller: &Caller, name: Option<&str>) -> Result<ReloadReport> {
        caller.require(Scope::Admin, "reload plugins")?;
        let path = self.layer.manifest().path.clone();
        let manifest = blocking(move || Manifest::load(&path)).await?;
        let _one = self.reloading.lock().await;
        let mut slots: Slots = (*self.slots()).clone();
        if let Some(name) = name {
            if !manifest.plugins.contains_key(name) {
                self.slot(name)?;
            }
        }
        let chosen = |n: &str| name.is_none_or(|only| only == n);
        let (mut report, mut entries) = (Vec::new(), Vec::new());
        for (name, plugin) in manifest.plugins.iter().filter(|(n, _)| chosen(n)) {
            let old = slots.get(name).cloned();
            let Some(slot) = self.renewed(plugin, old.as_ref()).await? else {
                report.push(told(name, "unchanged", old.as_ref(), old.as_deref()));
                continue;
            };
            let outcome = match (&slot.loaded, &slot.refused) {
                (Ok(_), None) => "loaded",
                (Err(_), None) if !plugin.enabled => "disabled",
                _ => "refused",
            };
            if outcome != "disabled" {
                slot.counts.reloaded(outcome == "loaded");
            }
            let done = told(name, outcome, old.as_ref(), Some(&slot));
            if let Some(error) = &done.error {
                tracing::error!(plugin = name, error, "the changed plugin is not taken over");
            }
            entries.push(
                Entry::new(caller, "plugins.reload", format!("plugin:{name}"))
                    .change(old.as_deref().and_then(trace), trace(&slot))
                    .detail(json!({ "outcome": outcome, "error": done.error })),
            );
            report.push(done);
            slots.insert(name.clone(), Arc::new(slot));
        }
        let gone: Vec<String> =
            slots.keys().filter(|n| chosen(n) && !manifest.plugins.contains_key(*n)).cloned().collect();
        for name in gone {
            let old = slots.remove(&name);
            report.push(told(&name, "removed", old.as_ref(), None));
            entries.push(
                Entry::new(caller, "plugins.reload", format!("plugin:{name}"))
                    .change(old.as_deref().and_then(trace), None)
                    .detail(json!({ "outcome": "removed" })),
            );
        }
        if !entries.is_empty() {
            self.install(slots);
            self.audited(entries).await?;
        }
        Ok(ReloadReport { plugins: report, restart_needed: elsewhere(self.layer.manifest(), &manifest) })
    }

    /// Serves again the version before the one that serves, until the component or its keys change; audited. A host that
    /// starts anew loads what the manifest names.
    pub async fn roll_back(self: &Arc<Self>, caller: &Caller, name: &str) -> Result<ReloadedPlugin> {
        caller.require(Scope::Admin, "roll a plugin back")?;
        let _one = self.reloading.lock().await;
        let old = self.slot(name)?;
        let Some(previous) = old.previous.clone() else {
            return Err(Error::conflict(format!("plugin `{name}` has no version to go back to"))
                .hint("the host remembers the version that it served before a reload, until it ends"));
        };
        let slot = self.slot_of(previous.plugin.clone(), Ok(previous.loaded.clone()), previous.queries, {
            let mut from = Carried::of(&old);
            from.rolled_back = true;
            from
        });
        let slot = slot.await?;
        let done = told(name, "rolled back", Some(&old), Some(&slot));
        let entry = Entry::new(caller, "plugins.rollback", format!("plugin:{name}"))
            .change(trace(&old), trace(&slot));
        let mut slots: Slots = (*self.slots()).clone();
        slots.insert(name.into(), Arc::new(slot));
        self.install(slots);
        self.audited(vec![entry]).await?;
        Ok(done)
    }

    async fn audited(&self, entries: Vec<Entry>) -> Result<()> {
        let layer = self.layer.clone();
        blocking(move || entries.iter().try_for_each(|e| layer.audit().record(e).map(drop))).await
    }

    /// The slot of a plugin that is new or changed; `None` where nothing changed.
    pub(super) async fn renewed(&self, plugin: &Plugin, old: Option<&Arc<Slot>>) -> Result<Option<Slot>> {
        let reading = plugin.clone();
        let wanted = blocking(move || Ok(Wanted::of(&reading))).await?;
        // One that failed is tried again: what it lacked may be there now.
        if old.is_some_and(|o| {
            o.wanted == wanted && o.refused.is_none() && (o.loaded.is_ok() || !plugin.enabled)
        }) {
            return Ok(None);
        }
        let name = &plugin.name;
        let changed = old.is_some_and(|o| o.wanted.sha256 != wanted.sha256);
        let mut from = old.map_or_else(|| Carried::new(wanted.clone()), |o| Carried::of(o));
        from.wanted = wanted;
        if !plugin.enabled {
            let why = Error::denied(format!("plugin `{name}` is disabled in the manifest"))
                .hint(format!("set `plugins.{name}.enabled = true` in shiphold.toml"));
            return self.slot_of(plugin.clone(), Err(why), Vec::new(), from).await.map(Some);
        }
        match (self.build(plugin, old).await, old.and_then(|o| o.served())) {
            (Ok((loaded, queries)), _) => {
                if changed {
                    self.forgive(plugin).await?;
                }
                self.slot_of(plugin.clone(), Ok(loaded), queries, from).await.map(Some)
            }
            (Err(e), Some(served)) => {
                let previous = old.and_then(|o| o.previous.clone());
                let mut slot = self.slot_of(served.plugin, Ok(served.loaded), served.queries, from).await?;
                slot.previous = previous;
                slot.since_ns = old.map_or(slot.since_ns, |o| o.since_ns);
                slot.indexer = old.and_then(|o| o.indexer.clone());
                slot.rolled_back = old.is_some_and(|o| o.rolled_back);
                slot.refused = Some(e.message().to_string());
                Ok(Some(slot))
            }
            (Err(e), None) => self.slot_of(plugin.clone(), Err(e), Vec::new(), from).await.map(Some),
        }
    }

    async fn build(
        &self,
        plugin: &Plugin,
        old: Option<&Arc<Slot>>,
    ) -> Result<(Arc<Loaded>, Vec<NamedQuery>)> {
        let mut loaded = load(&self.engines, plugin, &self.cache, &self.compiler).await?;
        if let Some(Ok(before)) = old.map(|o| &o.loaded) {
            loaded.gauges = before.gauges.clone();
        }
        let loaded = Arc::new(loaded);
        let described = match plugin.world {
            World::QueryBuilder => queries::describe(&loaded, &self.layer).await?,
            _ => Vec::new(),
        };
        Ok((loaded, described))
    }

    /// A changed component runs again where the failures of the one before had disabled it.
    async fn forgive(&self, plugin: &Plugin) -> Result<()> {
        let (layer, name, most) = (self.layer.clone(), plugin.name.clone(), plugin.on_failure.disable_after);
        blocking(move || {
            let state = layer.plugins().state(&name)?;
            if state.enabled || most == 0 || state.failures < most {
                return Ok(());
            }
            layer.plugins().set_enabled(&Caller::Operator, &name, true, "its component was changed")
        })
        .await
    }

    async fn slot_of(
        &self,
        plugin: Plugin,
        loaded: Result<Arc<Loaded>>,
        queries: Vec<NamedQuery>,
        from: Carried,
    ) -> Result<Slot> {
        let indexer = match (&loaded, plugin.world) {
            (Ok(loaded), World::SkillIndexer) => {
                let (at, asked) = (self.layer.clone(), plugin.name.clone());
                let enabled = blocking(move || Ok(at.plugins().state(&asked)?.enabled)).await?;
                let counts = from.counts.clone();
                let indexer = crate::indexer::GuestIndexer::new(loaded.clone(), &self.layer, enabled, counts);
                Some(Arc::new(indexer))
            }
            _ => None,
        };
        Ok(Slot {
            plugin,
            loaded,
            queries,
            indexer,
            since_ns: now_ns(),
            refused: None,
            rolled_back: from.rolled_back,
            previous: from.previous,
            wanted: from.wanted,
            busy: from.busy,
            counts: from.counts,
        })
    }

    /// Looks at the files of the manifest and takes over what changed, until `shutdown` says true.
    pub(super) async fn watch_files(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut done = self.stamps();
        let mut seen = done.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(WATCH_EVERY) => {}
                _ = shutdown.wait_for(|down| *down) => return,
            }
            let plugins = self.clone();
            let Ok(now) = blocking(move || Ok(plugins.stamps())).await else { continue };
            // A file that still changes is being written; it keeps no other from being taken over.
            let before = std::mem::replace(&mut seen, now.clone());
            let settled: Vec<_> = now.into_iter().filter(|(path, s)| before.get(path) == Some(s)).collect();
            if settled.iter().all(|(path, s)| done.get(path) == Some(s)) {
                continue;
            }
            // What was looked at before the reload, never after it: a file that changes meanwhile must be seen to have changed.
            // Components that a new manifest names differ from it too, and are looked at once more.
            done.extend(settled);
            match self.reload(&Caller::Operator, None).await {
                Ok(report) => {
                    for p in report.plugins.iter().filter(|p| p.outcome != "unchanged") {
                        tracing::info!(
                            plugin = p.name,
                            outcome = p.outcome,
                            sha256 = p.sha256,
                            "its files changed"
                        );
                    }
                    if !report.restart_needed.is_empty() {
                        tracing::warn!(tables = ?report.restart_needed, "the manifest changed where only a start takes it over");
                    }
                }
                Err(e) => {
                    tracing::error!(error = ?e, "the changed manifest is refused; the plugins go on as before")
                }
            }
        }
    }

    fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let slots = self.slots();
        let components = slots.values().filter_map(|s| s.wanted.component());
        let manifest = self.layer.manifest().path.clone();
        components.chain([manifest]).map(|path| (path.clone(), stamp(&path))).collect()
    }
}

/// What a slot hands to the one that takes its place.
struct Carried {
    previous: Option<Previous>,
    wanted: Wanted,
    rolled_back: bool,
    busy: Arc<tokio::sync::Mutex<()>>,
    counts: Arc<super::counts::Counts>,
}

impl Carried {
    fn new(wanted: Wanted) -> Self {
        Self { previous: None, wanted, rolled_back: false, busy: Arc::default(), counts: Arc::default() }
    }

    fn of(slot: &Slot) -> Self {
        Self {
            previous: slot.served().or_else(|| slot.previous.clone()),
            wanted: slot.wanted.clone(),
            rolled_back: false,
            busy: slot.busy.clone(),
            counts: slot.counts.clone(),
        }
    }
}

/// The tables beside `[plugins]` that differ.
fn elsewhere(running: &Manifest, read: &Manifest) -> Vec<String> {
    let tables = |m: &Manifest| match serde_json::to_value(m) {
        Ok(Value::Object(all)) => all,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (tables(running), tables(read));
    old.iter()
        .filter(|(k, v)| !["plugins", "path"].contains(&k.as_str()) && new.get(*k) != Some(v))
        .map(|(k, _)| k.clone())
        .collect()
}
