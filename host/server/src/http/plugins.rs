//! `/v1/plugins`

use super::body::{Input, Params};
use super::problem::Problem;
use super::work::Wants;
use crate::app::App;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_runtime::{PluginStatus, RunOptions};
use shiphold_storage::plugins::Run;
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Problem>;
type Door = (State<Arc<App>>, Extension<Caller>);

pub(super) async fn list((State(app), Extension(caller)): Door) -> Answer<Vec<PluginStatus>> {
    caller.require(Scope::Read, "list plugins")?;
    let plugins = app.plugins().await?.clone();
    Ok(Json(super::blocking(move || plugins.list(&caller)).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RunInput {
    dry_run: bool,
    confirm: bool,
    now: Value,
}

pub(super) async fn run((State(app), Extension(caller)): Door, Path(name): Path<String>, wants: Wants, Input(i): Input<RunInput>) -> Result<Response, Problem> {
    let options = RunOptions { dry_run: i.dry_run, confirm: i.confirm, now_ns: super::when("now", &i.now)?, trigger: "operator".into() };
    let plugins = app.plugins().await?.clone();
    Ok(wants.run_async(async move { plugins.run(&caller, &name, options).await }).await)
}

#[derive(Debug, Deserialize)]
pub(super) struct RunsParams {
    limit: Option<u64>,
}

pub(super) async fn runs((State(app), Extension(caller)): Door, Path(name): Path<String>, Params(p): Params<RunsParams>) -> Answer<Vec<Run>> {
    Ok(Json(super::blocking(move || app.layer.plugins().list(&caller, &name, p.limit.unwrap_or(20))).await?))
}

pub(super) async fn enable(door: Door, path: Path<String>) -> Answer<Value> {
    switch(door, path, true).await
}

pub(super) async fn disable(door: Door, path: Path<String>) -> Answer<Value> {
    switch(door, path, false).await
}

async fn switch((State(app), Extension(caller)): Door, Path(name): Path<String>, on: bool) -> Answer<Value> {
    let plugins = app.plugins().await?.clone();
    super::blocking(move || plugins.set_enabled(&caller, &name, on)).await?;
    Ok(Json(json!({ "enabled": on })))
}
