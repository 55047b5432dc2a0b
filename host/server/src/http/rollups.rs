//! `/v1/rollups`

use super::answer::{self, Wants};
use super::body::Input;
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use shiphold_storage::Caller;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

pub(super) async fn list((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.rollups().list(&caller)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// One of them; all by default.
    name: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn run(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(r): Input<Run>,
) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, budget, _| {
        layer.rollups().run(layer, &caller, r.name.as_deref(), r.dry_run, budget)
    })
    .await
}
