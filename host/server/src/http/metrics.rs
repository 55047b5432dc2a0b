//! `/metrics` in Prometheus' text format.

mod structured;

use super::answer;
use super::problem::Answer;
use crate::app::App;
use crate::telemetry::Text;
use axum::Extension;
use axum::extract::State;
use shiphold_runtime::{PluginCounts, PluginStatus, Plugins};
use shiphold_storage::disk::Level;
use shiphold_storage::rollups::Status;
use shiphold_storage::{Caller, DataLayer, Error, Result, Scope};
use std::io::Write as _;
use std::sync::Arc;

pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Answer {
    caller.require(Scope::Read, "read metrics")?;
    answer::written("text/plain; version=0.0.4; charset=utf-8", move |out| {
        let mut t = Text::default();
        t.head("shiphold_build_info", "gauge", "The version that runs.");
        t.value("shiphold_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        t.one(
            "shiphold_uptime_seconds",
            "gauge",
            "Since the host started.",
            app.started.elapsed().as_secs_f64(),
        );
        app.counters.write(&mut t);
        structured::write(&app.layer, &mut t);
        // A store that cannot answer must not take the other figures away.
        for part in [series, rollups, disk, files] {
            if let Err(e) = part(&app.layer, &mut t) {
                tracing::warn!(error = ?e, "a part of the metrics is missing");
            }
        }
        if let Some(plugins) = app.plugins_if_loaded() {
            if let Err(e) = runs(plugins, &mut t) {
                tracing::warn!(error = ?e, "the plugins' part of the metrics is missing");
            }
        }
        out.begin();
        out.write_all(t.0.as_bytes()).map_err(|e| Error::io("writing the answer", e))
    })
    .await
}

fn rollups(layer: &DataLayer, t: &mut Text) -> Result<()> {
    let all = layer.rollups().list(&Caller::Operator)?;
    if all.is_empty() {
        return Ok(());
    }
    let mut each = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Status) -> f64| {
        t.head(name, kind, help);
        for r in &all {
            t.value(name, &[("rollup", &r.name)], value(r));
        }
    };
    each("shiphold_rollup_series", "gauge", "Sources with rows.", &|r| r.series as f64);
    each(
        "shiphold_rollup_behind_seconds",
        "gauge",
        "The longest stretch of finished windows that is not rolled up.",
        &|r| r.behind_ns as f64 / 1e9,
    );
    each("shiphold_rollup_late_spans", "gauge", "Spans of windows with late rows that wait.", &|r| {
        r.late as f64
    });
    each("shiphold_rollup_failing", "gauge", "1 while something is wrong.", &|r| {
        f64::from(u8::from(r.error.is_some()))
    });
    each("shiphold_rollup_rows_total", "counter", "Raw rows read.", &|r| r.counts.rows as f64);
    each("shiphold_rollup_windows_total", "counter", "Windows that were new or changed.", &|r| {
        r.counts.windows as f64
    });
    each(
        "shiphold_rollup_kept_total",
        "counter",
        "Windows only widened by late rows: retention had dropped their raw rows.",
        &|r| r.counts.kept as f64,
    );
    Ok(())
}

fn series(layer: &DataLayer, t: &mut Text) -> Result<()> {
    let s = layer.series().stats(&Caller::Operator)?;
    for (name, kind, help, value) in [
        ("shiphold_series_series", "gauge", "Series.", s.series),
        ("shiphold_series_rows", "gauge", "Rows stored.", s.rows),
        (
            "shiphold_series_head_rows",
            "gauge",
            "Rows in memory: durable in the log, not sealed yet.",
            s.head_rows,
        ),
        ("shiphold_series_head_bytes", "gauge", "Bytes of the rows in memory.", s.head_bytes),
        ("shiphold_series_chunks", "gauge", "Sealed chunks.", s.chunks),
        ("shiphold_series_chunk_bytes", "gauge", "Bytes of the sealed chunks.", s.chunk_bytes),
        ("shiphold_series_quarantined", "gauge", "Damaged chunks that are left out.", s.quarantined),
        ("shiphold_series_log_bytes", "gauge", "Bytes of the log.", s.log_bytes),
        ("shiphold_series_commits_total", "counter", "Durable commits since the start.", s.commits),
        ("shiphold_series_rows_written_total", "counter", "Rows written since the start.", s.rows_written),
        (
            "shiphold_series_outbox_records",
            "gauge",
            "Acknowledged records that wait for InfluxDB.",
            s.outbox_records,
        ),
        ("shiphold_series_outbox_bytes", "gauge", "Bytes of the records that wait.", s.outbox_bytes),
        (
            "shiphold_series_outbox_oldest_seconds",
            "gauge",
            "Since the oldest record that waits was acknowledged.",
            s.outbox_oldest_s,
        ),
        (
            "shiphold_series_outbox_refused",
            "gauge",
            "Records that InfluxDB refused for good: set aside.",
            s.outbox_refused,
        ),
        ("shiphold_series_memory_max", "gauge", "Bytes that rows may take in memory.", s.memory_max),
        ("shiphold_series_memory_bytes", "gauge", "Bytes that they take.", s.memory_bytes),
        ("shiphold_series_memory_peak", "gauge", "The most that they took since the start.", s.memory_peak),
        (
            "shiphold_series_memory_waits_total",
            "counter",
            "Writers and queries that waited for memory.",
            s.memory_waits,
        ),
        ("shiphold_series_decoded_bytes", "gauge", "Bytes that queries and merges hold.", s.decoded_bytes),
        (
            "shiphold_series_pinned_bytes",
            "gauge",
            "Bytes of sealed rows that queries hold as they found them in memory.",
            s.pinned_bytes,
        ),
        (
            "shiphold_series_archive_bytes",
            "gauge",
            "Bytes of archives that queries hold unpacked, beside the above.",
            s.archive_bytes,
        ),
        ("shiphold_series_cache_bytes", "gauge", "Bytes of decoded chunks in memory.", s.cache_bytes),
        ("shiphold_series_cache_hits_total", "counter", "Chunks that a read found decoded.", s.cache_hits),
        (
            "shiphold_series_cache_misses_total",
            "counter",
            "Chunks that a read looked for there in vain.",
            s.cache_misses,
        ),
        ("shiphold_audit_entries_total", "counter", "Entries of the audit trail.", layer.audit().len()?),
    ] {
        t.one(name, kind, help, value as f64);
    }
    Ok(())
}

fn disk(layer: &DataLayer, t: &mut Text) -> Result<()> {
    let disk = layer.disk().state()?;
    t.one(
        "shiphold_disk_free_bytes",
        "gauge",
        "Free space of the data folder's disk.",
        disk.free_bytes as f64,
    );
    let level = match disk.level {
        Level::Ok => 0.0,
        Level::Warn => 1.0,
        Level::ReadOnly => 2.0,
    };
    t.one("shiphold_disk_level", "gauge", "0 ok, 1 below disk.warn_below, 2 read-only.", level);
    Ok(())
}

fn files(layer: &DataLayer, t: &mut Text) -> Result<()> {
    let mut stores = Vec::new();
    for (name, store) in &layer.manifest().files {
        stores.push((name, layer.files().stats(name)?, store.quota.0));
    }
    let mut each =
        |name: &str, help: &str, value: &dyn Fn(&(_, shiphold_storage::files::FilesStats, u64)) -> u64| {
            t.head(name, "gauge", help);
            for s in &stores {
                let store: &String = s.0;
                t.value(name, &[("store", store)], value(s) as f64);
            }
        };
    each("shiphold_files_versions", "Versions in a file store.", &|s| s.1.versions);
    each("shiphold_files_objects", "Objects of a file store.", &|s| s.1.objects);
    each("shiphold_files_bytes", "Bytes of a file store's objects.", &|s| s.1.bytes);
    each("shiphold_files_stored_bytes", "Bytes that a file store takes of its disk.", &|s| s.1.stored);
    each("shiphold_files_quota_bytes", "Bytes that a file store may hold.", &|s| s.2);
    Ok(())
}

fn runs(plugins: &Plugins, t: &mut Text) -> Result<()> {
    let list = plugins.list(&Caller::Operator)?;
    t.head("shiphold_plugin_loaded", "gauge", "1 when the plugin is ready to run.");
    for p in &list {
        t.value("shiphold_plugin_loaded", &[("plugin", &p.name)], f64::from(u8::from(p.loaded)));
    }
    t.head("shiphold_plugin_failures", "gauge", "Failed runs in a row.");
    for p in &list {
        t.value("shiphold_plugin_failures", &[("plugin", &p.name)], f64::from(p.failures));
    }
    let mut each = |name: &str, kind: &'static str, help: &str, value: &dyn Fn(&PluginStatus) -> f64| {
        t.head(name, kind, help);
        for p in &list {
            t.value(name, &[("plugin", &p.name)], value(p));
        }
    };
    each("shiphold_plugin_enabled", "gauge", "1 when the plugin may run.", &|p| {
        f64::from(u8::from(p.enabled))
    });
    each("shiphold_plugin_skipped_total", "counter", "Runs that were due while another went on.", &|p| {
        f64::from(p.skipped)
    });
    each("shiphold_plugin_memory_peak_bytes", "gauge", "The most memory of one run or call.", &|p| {
        p.counts.memory_peak_bytes as f64
    });
    each("shiphold_plugin_fuel_total", "counter", "Instructions, where fuel is metered.", &|p| {
        p.counts.fuel as f64
    });
    let mut outcomes = |name: &str, help: &str, value: &dyn Fn(&PluginCounts) -> [(&'static str, u64); 2]| {
        t.head(name, "counter", help);
        for p in &list {
            for (outcome, n) in value(&p.counts) {
                t.value(name, &[("plugin", &p.name), ("outcome", outcome)], n as f64);
            }
        }
    };
    outcomes("shiphold_plugin_runs_total", "Runs since the host started.", &|c| {
        [("ok", c.runs_ok), ("failed", c.runs_failed)]
    });
    outcomes("shiphold_plugin_calls_total", "Calls of indexers and queries since the host started.", &|c| {
        [("ok", c.calls_ok), ("failed", c.calls_failed)]
    });
    outcomes("shiphold_plugin_reloads_total", "Changed versions that were tried.", &|c| {
        [("ok", c.reloads_ok), ("refused", c.reloads_refused)]
    });
    let mut times = |name: &str, help: &str, value: &dyn Fn(&PluginCounts) -> (f64, u64)| {
        t.head(name, "summary", help);
        for p in &list {
            let (sum, count) = value(&p.counts);
            t.value(&format!("{name}_sum"), &[("plugin", &p.name)], sum);
            t.value(&format!("{name}_count"), &[("plugin", &p.name)], count as f64);
        }
    };
    times("shiphold_plugin_run_duration_seconds", "Time of runs.", &|c| {
        (c.run_seconds, c.runs_ok + c.runs_failed)
    });
    times("shiphold_plugin_call_duration_seconds", "Time of calls of indexers and queries.", &|c| {
        (c.call_seconds, c.calls_ok + c.calls_failed)
    });
    t.head("shiphold_plugin_gauge", "gauge", "Numbers of the plugins' own.");
    for m in plugins.metrics() {
        t.value("shiphold_plugin_gauge", &[("plugin", &m.plugin), ("name", &m.name)], m.value);
    }
    Ok(())
}
