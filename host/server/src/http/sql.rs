//! `/v1/sql`

use super::answer;
use super::body::Input;
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use shiphold_storage::Caller;
use shiphold_storage::sql::SqlQuery;
use std::sync::Arc;

pub(super) async fn ask(
    (State(app), Extension(caller)): (State<Arc<App>>, Extension<Caller>),
    Input(query): Input<SqlQuery>,
) -> Answer {
    let (guard, budget) = answer::CancelOnDrop::new();
    guard.with(answer::json(&app, move |layer| layer.sql(&caller, &query, &budget)).await)
}
