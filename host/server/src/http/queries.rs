//! `/v1/queries`: what query builders offer, by its own names.

use super::answer;
use super::body::{Input, Names, Params};
use super::problem::{Answer, Problem};
use super::table;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Map, Value};
use shiphold_storage::series::query::Done;
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// Names the plugin where two offer a query of one name; no parameter can be called so, for it would need a letter first.
const PLUGIN: &str = "_plugin";

pub(super) async fn list((State(app), Extension(caller)): Host) -> Answer {
    caller.require(Scope::Read, "list queries")?;
    let plugins = app.plugins().await?.clone();
    answer::json(&app, move |_| plugins.queries(&caller)).await
}

/// The parameters stand in the query string, or in a JSON object.
pub(super) async fn ask(
    host: Host,
    name: Names<String>,
    headers: HeaderMap,
    Params(given): Params<Map<String, Value>>,
) -> Answer {
    ask_with(host, name, headers, Input(given)).await
}

pub(super) async fn ask_with(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
    Input(mut given): Input<Map<String, Value>>,
) -> Answer {
    caller.require(Scope::Read, "run queries")?;
    let plugin = match given.remove(PLUGIN) {
        None => None,
        Some(Value::String(plugin)) => Some(plugin),
        Some(_) => return Err(Problem::invalid("`_plugin` is the name of a plugin")),
    };
    let (guard, budget) = answer::CancelOnDrop::new();
    let plugins = app.plugins().await?.clone();
    let mut batches = plugins.answer(&caller, plugin.as_deref(), &name, &given, &budget).await?;
    let rows = table::written(table::Form::of(&headers), move |take| {
        while let Some(frame) = batches.next_blocking() {
            take(frame?)?;
        }
        Ok(Done { truncated: batches.truncated(), ..Done::default() })
    });
    guard.with(rows.await)
}
