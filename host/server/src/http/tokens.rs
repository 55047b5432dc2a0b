//! `/v1/tokens`

use super::answer;
use super::body::{Input, Names};
use super::problem::Answer;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    name: String,
    #[serde(default = "write")]
    scope: Scope,
    expires: Option<When>,
}

fn write() -> Scope {
    Scope::Write
}

pub(super) async fn list((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.tokens().list(&caller)).await
}

pub(super) async fn create((State(app), Extension(caller)): Host, Input(c): Input<Create>) -> Answer {
    let expires = c.expires.map(|t| t.ns("expires")).transpose()?;
    answer::created(&app, move |layer| {
        let (info, secret) = layer.tokens().create(&caller, &c.name, c.scope, expires)?;
        Ok(json!({
            "token": secret, "name": info.name, "scope": info.scope,
            "created_at": info.created_at, "expires_at": info.expires_at,
        }))
    })
    .await
}

pub(super) async fn revoke((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    answer::json(&app, move |layer| {
        layer.tokens().revoke(&caller, &name)?;
        Ok(json!({ "name": name, "revoked": true }))
    })
    .await
}
