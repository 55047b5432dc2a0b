//! `/v1/plugins`

use super::answer::{self, Wants};
use super::body::{Input, Names, Params};
use super::problem::Answer;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use shiphold_runtime::RunOptions;
use shiphold_storage::{Caller, Error, Scope};
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// Runs of a history when the caller names no number.
const RUNS_DEFAULT: u64 = 20;

pub(super) async fn list((State(app), Extension(caller)): Host) -> Answer {
    caller.require(Scope::Read, "list plugins")?;
    let plugins = app.plugins().await?.clone();
    answer::json(&app, move |_| plugins.list(&caller)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    confirm: bool,
    now: Option<When>,
}

pub(super) async fn run(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
    Input(r): Input<Run>,
) -> Answer {
    caller.require(Scope::Admin, "run plugins")?;
    let now_ns = r.now.map(|t| t.ns("now")).transpose()?;
    let options = RunOptions {
        dry_run: r.dry_run,
        confirm: r.confirm,
        now_ns,
        trigger: "operator".into(),
        ..RunOptions::default()
    };
    let plugins = app.plugins().await?.clone();
    answer::work_async(Wants::of(&headers), async move { plugins.run(&caller, &name, options).await }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runs {
    limit: Option<u64>,
}

pub(super) async fn runs(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(r): Params<Runs>,
) -> Answer {
    let known = app.plugins_if_loaded().is_some_and(|p| p.knows(&name));
    answer::json(&app, move |layer| {
        let runs = layer.plugins().list(&caller, &name, r.limit.unwrap_or(RUNS_DEFAULT))?;
        // The history of a plugin that left the manifest stays readable.
        if runs.is_empty() && !known && !layer.manifest().plugins.contains_key(&name) {
            return Err(Error::not_found(format!("there is no plugin `{}`", name.escape_debug()))
                .hint("`shiphold plugins list` shows those of the manifest"));
        }
        Ok(runs)
    })
    .await
}

pub(super) async fn status((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    caller.require(Scope::Read, "see how a plugin does")?;
    let plugins = app.plugins().await?.clone();
    answer::json(&app, move |_| plugins.detail(&caller, &name)).await
}

pub(super) async fn grants((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    caller.require(Scope::Read, "see what a plugin may touch")?;
    let plugins = app.plugins().await?.clone();
    answer::json(&app, move |_| plugins.grants(&caller, &name)).await
}

pub(super) async fn logs(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(r): Params<Runs>,
) -> Answer {
    caller.require(Scope::Read, "read a plugin's log")?;
    let plugins = app.plugins().await?.clone();
    answer::json(&app, move |_| plugins.logs(&caller, &name, r.limit.unwrap_or(RUNS_DEFAULT))).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    /// Only this one.
    name: Option<String>,
}

pub(super) async fn reload(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(r): Input<Reload>,
) -> Answer {
    caller.require(Scope::Admin, "reload plugins")?;
    let plugins = app.plugins().await?.clone();
    answer::work_async(Wants::of(&headers), async move { plugins.reload(&caller, r.name.as_deref()).await })
        .await
}

pub(super) async fn rollback(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
) -> Answer {
    caller.require(Scope::Admin, "roll a plugin back")?;
    let plugins = app.plugins().await?.clone();
    answer::work_async(Wants::of(&headers), async move { plugins.roll_back(&caller, &name).await }).await
}

pub(super) async fn enable(host: Host, name: Names<String>) -> Answer {
    switch(host, name, true).await
}

pub(super) async fn disable(host: Host, name: Names<String>) -> Answer {
    switch(host, name, false).await
}

async fn switch((State(app), Extension(caller)): Host, Names(name): Names<String>, enabled: bool) -> Answer {
    caller.require(Scope::Admin, "enable or disable plugins")?;
    let plugins = app.plugins().await?.clone();
    answer::json(&app, move |_| {
        plugins.set_enabled(&caller, &name, enabled)?;
        Ok(json!({ "name": name, "enabled": enabled }))
    })
    .await
}
