//! `/v1/audit`

use super::body::Params;
use super::problem::Problem;
use crate::app::App;
use axum::extract::State;
use axum::{Extension, Json};
use shiphold_storage::Caller;
use shiphold_storage::audit::{AuditEntry, AuditFilter, AuditProof};
use std::sync::Arc;

pub(super) async fn list(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Params(filter): Params<AuditFilter>) -> Result<Json<Vec<AuditEntry>>, Problem> {
    Ok(Json(super::blocking(move || app.layer.audit().list(&caller, &filter)).await?))
}

pub(super) async fn verify(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Json<AuditProof>, Problem> {
    Ok(Json(super::blocking(move || app.layer.audit().verify(&caller)).await?))
}
