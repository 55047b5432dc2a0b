//! `/ping`, `/health` as InfluxDB's clients know them, and `/v1/host`.

use super::problem::Problem;
use crate::app::App;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde_json::{Value, json};
use shiphold_storage::disk::Level;
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

/// The protocol version that clients look at to see what they may send.
const INFLUXDB_VERSION: &str = "v2.7.12";

pub(super) async fn ping() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [("x-influxdb-version", INFLUXDB_VERSION), ("x-influxdb-build", "Shiphold")])
}

pub(super) async fn health(State(app): State<Arc<App>>) -> impl IntoResponse {
    let layer = app.layer.clone();
    let checks = super::blocking(move || {
        let disk = layer.disk().state();
        let disk = match &disk {
            Ok(s) => {
                let status = if s.level == Level::ReadOnly { "fail" } else { "pass" };
                let message = match s.level {
                    Level::Ok => "there is room",
                    Level::Warn => "little room is left: below disk.warn_below",
                    Level::ReadOnly => "the store is read-only: below disk.read_only_below",
                };
                json!({ "name": "disk", "status": status, "message": message, "free_bytes": s.free_bytes })
            }
            Err(e) => json!({ "name": "disk", "status": "fail", "message": e.message() }),
        };
        let series = match layer.series().stats(&Caller::Operator) {
            Ok(s) if s.quarantined > 0 => {
                json!({ "name": "series", "status": "fail", "message": format!("{} damaged chunks are left out: run `shiphold verify`", s.quarantined) })
            }
            Ok(_) => json!({ "name": "series", "status": "pass", "message": "ready" }),
            Err(e) => json!({ "name": "series", "status": "fail", "message": e.message() }),
        };
        let database = match layer.audit().len() {
            Ok(_) => json!({ "name": "database", "status": "pass", "message": "ready" }),
            Err(e) => json!({ "name": "database", "status": "fail", "message": e.message() }),
        };
        Ok(vec![database, series, disk])
    })
    .await
    .unwrap_or_else(|p| vec![json!({ "name": "host", "status": "fail", "message": p.0.message() })]);
    let failed: Vec<&str> = checks
        .iter()
        .filter(|c| c.get("status").and_then(Value::as_str) != Some("pass"))
        .filter_map(|c| c.get("message").and_then(Value::as_str))
        .collect();
    let (code, status) = if failed.is_empty() { (StatusCode::OK, "pass") } else { (StatusCode::SERVICE_UNAVAILABLE, "fail") };
    let message = if failed.is_empty() { "ready for queries and writes".into() } else { failed.join("; ") };
    let body = json!({
        "name": "shiphold", "status": status, "message": message,
        "version": env!("CARGO_PKG_VERSION"), "commit": "", "checks": checks,
    });
    (code, Json(body))
}

pub(super) async fn host(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Json<Value>, Problem> {
    caller.require(Scope::Read, "look at the host")?;
    let layer = app.layer.clone();
    let disk = super::blocking(move || layer.disk().state()).await?;
    let m = app.layer.manifest();
    Ok(Json(json!({
        "name": m.host.name, "version": env!("CARGO_PKG_VERSION"), "data": m.host.data, "pid": std::process::id(),
        "uptime_s": app.started.elapsed().as_secs(), "engine": m.series.engine, "disk": disk,
    })))
}
