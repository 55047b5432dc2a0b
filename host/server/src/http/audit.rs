//! `/v1/audit`

use super::answer;
use super::body::Params;
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use shiphold_storage::Caller;
use shiphold_storage::audit::AuditFilter;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

pub(super) async fn list(
    (State(app), Extension(caller)): Host,
    Params(filter): Params<AuditFilter>,
) -> Answer {
    answer::json(&app, move |layer| layer.audit().list(&caller, &filter)).await
}

pub(super) async fn verify((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.audit().verify(&caller)).await
}
