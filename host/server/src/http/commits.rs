//! `/v1/commits`

use super::answer;
use super::body::Input;
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use shiphold_storage::Caller;
use shiphold_storage::commits::Commit;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// `POST /v1/commits`: everything in the body or nothing. The key may stand in the header `Idempotency-Key`, too.
pub(super) async fn make(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(mut commit): Input<Commit>,
) -> Answer {
    if let Some(header) = headers.get("idempotency-key") {
        let key = header.to_str().map_err(|_| Problem::invalid("the header Idempotency-Key is no text"))?;
        if commit.idempotency_key.as_deref().is_some_and(|k| k != key) {
            return Err(Problem::invalid("the header Idempotency-Key and `idempotency_key` differ"));
        }
        commit.idempotency_key = Some(key.to_string());
    }
    answer::created(&app, move |layer| layer.commit(&caller, &commit)).await
}
