//! How the plugins do.

use super::counts::PluginCounts;
use super::slot::READ_MAX;
use super::{Plugins, Slot};
use crate::inspect::{read, sha256};
use crate::schedule;
use serde::Serialize;
use shiphold_storage::manifest::{OnFailure, PluginLimits, Schedule};
use shiphold_storage::plugins::Run;
use shiphold_storage::schema::now_ns;
use shiphold_storage::{Caller, Grants, Result, Scope};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::PoisonError;

/// Of the newest runs, those among which one that goes on is looked for.
const RUNNING_LOOKED_AT: u64 = 5;

fn time(ns: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// How a plugin does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginStatus {
    pub name: String,
    pub world: String,
    pub version: Option<String>,
    pub sha256: Option<String>,
    /// Whose key signed the component, where the manifest asks for a signature.
    pub signed_by: Option<String>,
    pub enabled: bool,
    pub loaded: bool,
    /// Why it is not loaded, or why its newest version is not the one that serves.
    pub error: Option<String>,
    /// Since when this version serves, in nanoseconds.
    pub since_ns: Option<i64>,
    /// Served before; `shiphold plugins rollback` comes back to it.
    pub previous_version: Option<String>,
    /// An operator went back to this version.
    pub rolled_back: bool,
    pub counts: PluginCounts,
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

/// Everything about one plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginDetail {
    #[serde(flatten)]
    pub status: PluginStatus,
    pub component: PathBuf,
    /// `loaded`: the file is what serves; `changed`: it is another; `missing`.
    pub source: String,
    pub grants: Grants,
    pub limits: PluginLimits,
    pub on_failure: OnFailure,
    /// A run that goes on.
    pub current_run: Option<Run>,
    pub gauges: BTreeMap<String, f64>,
}

/// A line that a plugin wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogLine {
    /// When its run began, in nanoseconds.
    pub started_at: i64,
    pub run: i64,
    pub trigger: String,
    pub line: String,
}

impl Plugins {
    /// Every plugin of the manifest, by name.
    pub fn list(&self, caller: &Caller) -> Result<Vec<PluginStatus>> {
        caller.require(Scope::Read, "list plugins")?;
        self.slots().values().map(|slot| self.status(caller, slot)).collect()
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
            signed_by: loaded.and_then(|l| l.signed_by.clone()),
            enabled,
            loaded: loaded.is_some(),
            error: match (&slot.loaded, &slot.refused) {
                (Ok(l), Some(why)) => Some(format!(
                    "serving version {} since {}; the new one was refused: {why}",
                    l.version,
                    time(slot.since_ns)
                )),
                (Err(e), _) if plugin.enabled => Some(e.message().to_string()),
                _ => None,
            },
            since_ns: loaded.map(|_| slot.since_ns),
            previous_version: slot.previous.as_ref().map(|p| p.loaded.version.clone()),
            rolled_back: slot.rolled_back,
            counts: slot.counts.now(),
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

    /// Everything about one plugin. Reads its component: not for a thread that must not block.
    pub fn detail(&self, caller: &Caller, name: &str) -> Result<PluginDetail> {
        caller.require(Scope::Read, "see how a plugin does")?;
        let slot = self.slot(name)?;
        let status = self.status(caller, &slot)?;
        let loaded = slot.loaded.as_ref().ok();
        let component = slot.wanted.component().unwrap_or_else(|| slot.plugin.component.clone());
        let source = match read(&component, READ_MAX) {
            Err(_) => "missing",
            Ok(bytes) if loaded.is_some_and(|l| l.sha256 == sha256(&bytes)) => "loaded",
            Ok(_) => "changed",
        };
        let running = self.layer.plugins().list(caller, name, RUNNING_LOOKED_AT)?;
        Ok(PluginDetail {
            component,
            source: source.into(),
            grants: loaded.map_or_else(Grants::default, |l| (*l.grants).clone()),
            limits: slot.plugin.limits.clone(),
            on_failure: slot.plugin.on_failure.clone(),
            current_run: running.into_iter().find(|r| r.state == "running"),
            gauges: loaded.map_or_else(BTreeMap::new, |l| {
                l.gauges.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }),
            status,
        })
    }

    /// What a plugin wrote in its last `runs` runs, the oldest line first; the error that ended a run is its last line.
    pub fn logs(&self, caller: &Caller, name: &str, runs: u64) -> Result<Vec<LogLine>> {
        let mut out = Vec::new();
        for run in self.runs(caller, name, runs)?.into_iter().rev() {
            let error = run.error.iter().map(|e| format!("the run failed: {e}"));
            out.extend(run.log.iter().cloned().chain(error).map(|line| LogLine {
                started_at: run.started_at,
                run: run.id,
                trigger: run.trigger.clone(),
                line,
            }));
        }
        Ok(out)
    }

    /// The gauges that plugins set.
    pub fn metrics(&self) -> Vec<PluginMetric> {
        let mut out = Vec::new();
        for (plugin, slot) in self.slots().iter() {
            let Ok(loaded) = &slot.loaded else { continue };
            for (name, value) in loaded.gauges.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                out.push(PluginMetric { plugin: plugin.clone(), name: name.clone(), value: *value });
            }
        }
        out
    }
}
