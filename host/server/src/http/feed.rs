//! A feed of numbered changes: each once, in the order of the commits, also over a reconnect, for which the client says what it saw last.

use super::answer::{self, CancelOnDrop};
use super::events::{self, Form, HEARTBEAT_EVERY, Over, Part, say, send};
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::json;
use shiphold_storage::schema::now_ns;
use shiphold_storage::{DataLayer, Error, Result};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at};

/// What feeds have in common.
pub(super) struct Feed<L, N> {
    /// Changes after this number; from now on by default. `Last-Event-ID` counts more.
    pub after: Option<i64>,
    /// Wakes when something was committed. Subscribed before the first look, so that nothing falls between the two.
    pub woken: watch::Receiver<i64>,
    /// The number of the last change.
    pub last: fn(&DataLayer) -> Result<i64>,
    /// A page of changes after a number.
    pub look: L,
    /// The number of a change.
    pub number: N,
}

/// `change` events without an end.
pub(super) async fn follow<C, L, N>(app: &Arc<App>, headers: &HeaderMap, feed: Feed<L, N>) -> Answer
where
    C: Serialize + Send + 'static,
    L: Fn(&DataLayer, i64) -> Result<Vec<C>> + Clone + Send + 'static,
    N: Fn(&C) -> i64 + Send + Sync + 'static,
{
    let form = Form::of(headers);
    let Feed { after, mut woken, last, look, number } = feed;
    let mut cursor = match (seen(headers)?, after) {
        (Some(seen), _) | (None, Some(seen)) => seen,
        (None, None) => answer::call(app, last).await?,
    };
    let (guard, _) = CancelOnDrop::new();
    let speaking = app.clone();
    let answer = events::respond(form, app.ending.subscribe(), move |to: mpsc::Sender<Part>| async move {
        let mut heart = interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
        loop {
            let (layer, look) = (speaking.layer.clone(), look.clone());
            let found = tokio::task::spawn_blocking(move || look(&layer, cursor))
                .await
                .map_err(|e| Over::Failed(Error::internal(e.to_string())))??;
            let mut buffer = Vec::new();
            for change in &found {
                cursor = number(change);
                form.write_numbered(&mut buffer, "change", Some(cursor), change)?;
            }
            send(&to, buffer).await?;
            if !found.is_empty() {
                heart.reset();
                continue;
            }
            tokio::select! {
                more = woken.changed() => more.map_err(|_| Over::Gone)?,
                _ = heart.tick() => say(form, &to, "heartbeat", &json!({ "time": now_ns(), "seq": cursor })).await?,
                () = to.closed() => return Err(Over::Gone),
            }
        }
    });
    guard.with(Ok(answer))
}

/// The number that a client which reconnects saw last.
fn seen(headers: &HeaderMap) -> std::result::Result<Option<i64>, Problem> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let number = id.to_str().ok().and_then(|id| id.parse().ok());
    number.map(Some).ok_or_else(|| Problem::invalid("the header Last-Event-ID holds no number of a change"))
}
