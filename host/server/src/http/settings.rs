//! `/v1/settings`

use super::body::{Input, Params};
use super::problem::Problem;
use crate::app::App;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use shiphold_storage::Caller;
use shiphold_storage::settings::{Expect, Setting};
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Problem>;
type Door = (State<Arc<App>>, Extension<Caller>);
type Names = Path<(String, String)>;

pub(super) async fn namespaces((State(app), Extension(caller)): Door) -> Answer<Vec<String>> {
    Ok(Json(super::blocking(move || app.layer.settings().namespaces(&caller)).await?))
}

pub(super) async fn list((State(app), Extension(caller)): Door, Path(namespace): Path<String>) -> Answer<Vec<Setting>> {
    Ok(Json(super::blocking(move || app.layer.settings().list(&caller, &namespace)).await?))
}

pub(super) async fn show((State(app), Extension(caller)): Door, Path((namespace, key)): Names) -> Answer<Setting> {
    Ok(Json(super::blocking(move || app.layer.settings().get(&caller, &namespace, &key)).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetInput {
    value: Value,
    #[serde(default)]
    expect: Expect,
}

pub(super) async fn set((State(app), Extension(caller)): Door, Path((namespace, key)): Names, Input(i): Input<SetInput>) -> Answer<Setting> {
    Ok(Json(super::blocking(move || app.layer.settings().set(&caller, &namespace, &key, i.value, i.expect)).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteInput {
    #[serde(default)]
    expect: Expect,
}

pub(super) async fn remove((State(app), Extension(caller)): Door, Path((namespace, key)): Names, body: super::body::Whole) -> Answer<Setting> {
    let i: DeleteInput = if body.0.is_empty() {
        DeleteInput::default()
    } else {
        serde_json::from_slice(&body.0).map_err(|e| shiphold_storage::Error::invalid(format!("the body is not the JSON that this route takes: {e}")))?
    };
    Ok(Json(super::blocking(move || app.layer.settings().delete(&caller, &namespace, &key, i.expect)).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryParams {
    before: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn history((State(app), Extension(caller)): Door, Path((namespace, key)): Names, Params(p): Params<HistoryParams>) -> Answer<Vec<Setting>> {
    Ok(Json(super::blocking(move || app.layer.settings().history(&caller, &namespace, &key, p.before, p.limit.unwrap_or(100))).await?))
}
