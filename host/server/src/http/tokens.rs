//! `/v1/tokens`

use super::body::Input;
use super::problem::Problem;
use crate::app::App;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::tokens::TokenInfo;
use shiphold_storage::{Caller, Error, Scope};
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Problem>;
type Door = (State<Arc<App>>, Extension<Caller>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateInput {
    name: String,
    scope: Scope,
    #[serde(default)]
    expires: Value,
}

pub(super) async fn create((State(app), Extension(caller)): Door, Input(i): Input<CreateInput>) -> Answer<Value> {
    let expires = super::when("expires", &i.expires)?;
    let (info, secret) = super::blocking(move || app.layer.tokens().create(&caller, &i.name, i.scope, expires)).await?;
    let mut value = serde_json::to_value(&info).map_err(|e| Error::internal(format!("writing the answer: {e}")))?;
    if let Some(map) = value.as_object_mut() {
        map.insert("token".into(), secret.into());
    }
    Ok(Json(value))
}

pub(super) async fn list((State(app), Extension(caller)): Door) -> Answer<Vec<TokenInfo>> {
    Ok(Json(super::blocking(move || app.layer.tokens().list(&caller)).await?))
}

pub(super) async fn revoke((State(app), Extension(caller)): Door, Path(name): Path<String>) -> Answer<Value> {
    super::blocking(move || app.layer.tokens().revoke(&caller, &name)).await?;
    Ok(Json(json!({ "revoked": true })))
}
