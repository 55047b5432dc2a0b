//! `/metrics` in Prometheus' text format.

use super::problem::Problem;
use crate::app::App;
use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use shiphold_storage::disk::Level;
use shiphold_storage::{Caller, Scope};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS_S: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// What is counted of requests: per route pattern and status, so that no client can make the set grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    durations: Mutex<Durations>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Durations {
    buckets: [u64; BUCKETS_S.len()],
    count: u64,
    sum: Duration,
}

impl Counters {
    fn add(&self, route: &str, status: u16, took: Duration) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route.into(), status)).or_default() += 1;
        let mut d = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        d.count += 1;
        d.sum += took;
        for (bound, n) in BUCKETS_S.iter().zip(d.buckets.iter_mut()) {
            *n += u64::from(took.as_secs_f64() <= *bound);
        }
    }
}

/// Counts every request by its route pattern.
pub(super) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".into(), |p| p.as_str().to_string());
    let method = request.method().clone();
    let response = next.run(request).await;
    let took = begin.elapsed();
    app.counters.add(&route, response.status().as_u16(), took);
    tracing::debug!(%method, route, status = response.status().as_u16(), took_us = took.as_micros() as u64, "request");
    response
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.value(name, &[], value);
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<impl IntoResponse, Problem> {
    caller.require(Scope::Read, "read metrics")?;
    let text = super::blocking(move || {
        let mut t = Text(String::new());
        t.head("shiphold_build_info", "gauge", "The version that runs.");
        t.value("shiphold_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        t.one("shiphold_uptime_seconds", "gauge", "Since the host started.", app.started.elapsed().as_secs_f64());
        http(&mut t, &app.counters);
        let s = app.layer.series().stats(&caller)?;
        for (name, kind, help, v) in [
            ("shiphold_series_count", "gauge", "Series.", s.series),
            ("shiphold_series_rows", "gauge", "Rows stored.", s.rows),
            ("shiphold_series_head_rows", "gauge", "Rows in memory, durable in the log, not sealed yet.", s.head_rows),
            ("shiphold_series_head_bytes", "gauge", "Bytes of the rows in memory.", s.head_bytes),
            ("shiphold_series_chunks", "gauge", "Sealed chunks.", s.chunks),
            ("shiphold_series_chunk_bytes", "gauge", "Bytes of the sealed chunks.", s.chunk_bytes),
            ("shiphold_series_quarantined", "gauge", "Damaged chunks and log records left out.", s.quarantined),
            ("shiphold_series_log_bytes", "gauge", "Bytes of the log.", s.log_bytes),
            ("shiphold_series_commits_total", "counter", "Durable commits since the start.", s.commits),
            ("shiphold_series_rows_written_total", "counter", "Rows written since the start.", s.rows_written),
            ("shiphold_audit_entries", "gauge", "Entries of the audit trail.", app.layer.audit().len()?),
        ] {
            t.one(name, kind, help, v as f64);
        }
        let disk = app.layer.disk().state()?;
        t.one("shiphold_disk_free_bytes", "gauge", "Free space of the data folder's disk.", disk.free_bytes as f64);
        let level = match disk.level {
            Level::Ok => 0.0,
            Level::Warn => 1.0,
            Level::ReadOnly => 2.0,
        };
        t.one("shiphold_disk_level", "gauge", "0 ok, 1 below disk.warn_below, 2 read-only.", level);
        t.head("shiphold_files_bytes", "gauge", "Bytes of a file store's objects.");
        let stores: Vec<String> = app.layer.files().names().map(str::to_string).collect();
        for store in &stores {
            t.value("shiphold_files_bytes", &[("store", store)], app.layer.files().stats(store)?.bytes as f64);
        }
        if let Some(plugins) = app.plugins_if_loaded() {
            t.head("shiphold_plugin_loaded", "gauge", "1 when the plugin is ready to run.");
            let list = plugins.list(&Caller::Operator)?;
            for p in &list {
                t.value("shiphold_plugin_loaded", &[("plugin", &p.name)], f64::from(u8::from(p.loaded)));
            }
            t.head("shiphold_plugin_failures", "gauge", "Failed runs in a row.");
            for p in &list {
                t.value("shiphold_plugin_failures", &[("plugin", &p.name)], f64::from(p.failures));
            }
            t.head("shiphold_plugin_gauge", "gauge", "Numbers of the plugins' own.");
            for m in plugins.metrics() {
                t.value("shiphold_plugin_gauge", &[("plugin", &m.plugin), ("name", &m.name)], m.value);
            }
        }
        Ok(t.0)
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

fn http(t: &mut Text, counters: &Counters) {
    t.head("shiphold_http_requests_total", "counter", "Requests by route and status.");
    for ((route, status), n) in counters.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        t.value("shiphold_http_requests_total", &[("route", route), ("status", &status.to_string())], *n as f64);
    }
    let d = *counters.durations.lock().unwrap_or_else(PoisonError::into_inner);
    let name = "shiphold_http_request_duration_seconds";
    t.head(name, "histogram", "Time until the head of the answer.");
    for (bound, n) in BUCKETS_S.iter().zip(d.buckets) {
        t.value(&format!("{name}_bucket"), &[("le", &bound.to_string())], n as f64);
    }
    t.value(&format!("{name}_bucket"), &[("le", "+Inf")], d.count as f64);
    t.value(&format!("{name}_sum"), &[], d.sum.as_secs_f64());
    t.value(&format!("{name}_count"), &[], d.count as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_buckets_are_cumulative() {
        let mut t = Text(String::new());
        t.value("x", &[("a", "q\"\\\n")], 1.0);
        assert_eq!(t.0, "x{a=\"q\\\"\\\\\\n\"} 1\n");
        let c = Counters::default();
        c.add("/r", 200, Duration::from_millis(4));
        let mut t = Text(String::new());
        http(&mut t, &c);
        assert!(t.0.contains("_bucket{le=\"0.0025\"} 0\n") && t.0.contains("_bucket{le=\"0.005\"} 1\n"), "{}", t.0);
        assert!(t.0.contains("shiphold_http_requests_total{route=\"/r\",status=\"200\"} 1\n"), "{}", t.0);
    }
}
