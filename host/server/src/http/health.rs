//! `/ping` and `/health` as InfluxDB's clients know them, and `/v1/host`.

use super::answer;
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use shiphold_storage::disk::Level;
use shiphold_storage::{Caller, DataLayer, Scope};
use std::sync::Arc;
use std::time::Duration;

/// The protocol that is spoken here, in the form that clients read; what stands behind the `+` says who speaks it.
const INFLUXDB_VERSION: &str = concat!("v2.7.0+shiphold.", env!("CARGO_PKG_VERSION"));

/// Age of the oldest record that waits for InfluxDB, in seconds, from which on it is told.
const OUTBOX_AGE_NAMED_S: u64 = 60;

pub(super) async fn ping() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [("x-influxdb-version", INFLUXDB_VERSION), ("x-influxdb-build", "OSS")])
}

fn check(name: &str, result: Result<String, String>) -> Value {
    let (status, message) = match result {
        Ok(m) => ("pass", m),
        Err(m) => ("fail", m),
    };
    json!({ "name": name, "status": status, "message": message })
}

/// A look at each store. Nothing here says more than that it works: anyone may ask.
fn checks(layer: &DataLayer) -> Vec<Value> {
    let failed = |e: shiphold_storage::Error| {
        tracing::error!(error = ?e, "a health check failed");
        format!("failed ({}): the host's log says why", e.code())
    };
    let disk = layer.disk().state().map_err(failed).and_then(|s| match s.level {
        Level::Ok => Ok("there is room".into()),
        Level::Warn => Ok("little room is left: below disk.warn_below".into()),
        Level::ReadOnly => Err("the store is read-only: less room than disk.read_only_below".into()),
    });
    let structured = layer.audit().len().map(|_| "ready".into()).map_err(failed);
    let series = layer.series().stats(&Caller::Operator).map_err(failed).map(|s| match s {
        s if s.quarantined > 0 => {
            format!("ready, but {} damaged chunks are left out: run `shiphold verify`", s.quarantined)
        }
        s if s.outbox_refused > 0 => {
            format!("ready, but InfluxDB refused {} records: run `shiphold verify`", s.outbox_refused)
        }
        s if s.outbox_oldest_s > OUTBOX_AGE_NAMED_S => {
            format!("ready for writes, but the oldest has waited {} s for InfluxDB", s.outbox_oldest_s)
        }
        _ => "ready".into(),
    });
    vec![check("structured", structured), check("series", series), check("disk", disk)]
}

pub(super) async fn health(State(app): State<Arc<App>>) -> impl IntoResponse {
    let name = app.layer.manifest().host.name.clone();
    let checks = answer::call(&app, |layer| Ok(checks(layer)))
        .await
        .unwrap_or_else(|problem| vec![check("host", Err(problem.detail))]);
    let failed: Vec<&str> = checks
        .iter()
        .filter(|c| c.get("status").and_then(Value::as_str) != Some("pass"))
        .filter_map(|c| c.get("message").and_then(Value::as_str))
        .collect();
    let message =
        if failed.is_empty() { "ready for queries and writes".to_string() } else { failed.join("; ") };
    let (status, word) =
        if failed.is_empty() { (StatusCode::OK, "pass") } else { (StatusCode::SERVICE_UNAVAILABLE, "fail") };
    let body = json!({
        "name": name, "message": message, "status": word, "checks": checks,
        "version": env!("CARGO_PKG_VERSION"), "commit": "",
    });
    (status, axum::Json(body))
}

/// `GET /ready`: what is served at all is ready, for the stores were opened before.
pub(super) async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let started = DateTime::from_timestamp_nanos(app.started_at).to_rfc3339_opts(SecondsFormat::Nanos, true);
    axum::Json(json!({ "status": "ready", "started": started, "up": go_duration(app.started.elapsed()) }))
}

/// A span as Go writes it: `1h2m3.5s`, `403.568691ms`.
fn go_duration(span: Duration) -> String {
    let ns = span.as_nanos();
    let short = |unit: u128, name: &str| {
        let digits = format!("{:0width$}", ns % unit, width = unit.ilog10() as usize);
        let fraction = digits.trim_end_matches('0');
        let point = if fraction.is_empty() || unit == 1 { String::new() } else { format!(".{fraction}") };
        format!("{}{point}{name}", ns / unit)
    };
    match ns {
        0 => "0s".into(),
        1..1_000 => short(1, "ns"),
        1_000..1_000_000 => short(1_000, "µs"),
        1_000_000..1_000_000_000 => short(1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (span.as_secs() / 3_600, span.as_secs() / 60 % 60);
            let rest = Duration::new(span.as_secs() % 60, span.subsec_nanos()).as_nanos();
            let digits = format!("{:09}", rest % 1_000_000_000);
            let fraction = digits.trim_end_matches('0');
            let point = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
            let seconds = format!("{}{point}s", rest / 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, m) => format!("{m}m{seconds}"),
                (h, m) => format!("{h}h{m}m{seconds}"),
            }
        }
    }
}

pub(super) async fn host(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Answer {
    let (uptime_s, started_at) = (app.started.elapsed().as_secs(), app.started_at);
    answer::json(&app, move |layer| {
        caller.require(Scope::Read, "look at the host")?;
        let m = layer.manifest();
        Ok(json!({
            "name": m.host.name, "version": env!("CARGO_PKG_VERSION"), "data": m.host.data, "engine": m.series.engine,
            "listen": m.http.enabled.then_some(m.http.listen), "pid": std::process::id(),
            "started_at": started_at, "uptime_s": uptime_s, "disk": layer.disk().state()?,
        }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_as_go_writes_them() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (403_568_691, "403.568691ms"),
            (1_000_000_000, "1s"),
            (61_500_000_000, "1m1.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_000_000_001, "25h1m1.000000001s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(ns)), text);
        }
    }
}
