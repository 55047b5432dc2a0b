//! Long work: JSON at its end, or lines of progress for those who ask for `application/x-ndjson`.

use super::problem::Problem;
use axum::Json;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value, json};
use shiphold_storage::{Error, Result};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The least time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Lines under way; progress that does not fit is left out.
const LINES_AHEAD: usize = 16;

/// Does the client want lines of progress?
#[derive(Debug, Clone, Copy)]
pub(super) struct Wants(bool);

impl<S: Send + Sync> FromRequestParts<S> for Wants {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Ok(Self(accept.contains("application/x-ndjson")))
    }
}

/// Where work tells how far it is.
pub(super) struct Progress {
    sender: Option<mpsc::Sender<Value>>,
    last: Option<Instant>,
}

impl Progress {
    /// Units done, of so many (0: not known), and what is being done.
    pub(super) fn tell(&mut self, done: u64, total: u64, text: &str) {
        let Some(sender) = &self.sender else { return };
        if self.last.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let _ = sender.try_send(json!({ "progress": { "done": done, "total": total, "text": text } }));
    }
}

impl Wants {
    /// Runs blocking work to its end, whether or not the client stays.
    pub(super) async fn run<T: Serialize + Send + 'static>(self, work: impl FnOnce(&mut Progress) -> Result<T> + Send + 'static) -> Response {
        if !self.0 {
            let done = super::blocking(move || work(&mut Progress { sender: None, last: None })).await;
            return match done {
                Ok(value) => Json(value).into_response(),
                Err(problem) => problem.into_response(),
            };
        }
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        tokio::task::spawn_blocking(move || {
            let mut progress = Progress { sender: Some(sender.clone()), last: None };
            let _ = sender.blocking_send(last_line(work(&mut progress)));
        });
        lines(receiver)
    }

    /// The same for work that is not blocking.
    pub(super) async fn run_async<T: Serialize + Send + 'static>(self, work: impl Future<Output = Result<T>> + Send + 'static) -> Response {
        // A task of its own: a client that goes away must not leave a plan half executed without a record.
        let task = tokio::spawn(work);
        let end = async move {
            task.await.unwrap_or_else(|e| {
                tracing::error!(error = %e, "a task ended in a panic");
                Err(Error::internal("the work ended in a fault of the host").hint("look at the host's log and report it"))
            })
        };
        if !self.0 {
            return match end.await {
                Ok(value) => Json(value).into_response(),
                Err(e) => Problem(e).into_response(),
            };
        }
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        tokio::spawn(async move {
            let line = last_line(end.await);
            let _ = sender.send(line).await;
        });
        lines(receiver)
    }
}

fn last_line<T: Serialize>(result: Result<T>) -> Value {
    match result.and_then(|v| serde_json::to_value(v).map_err(|e| Error::internal(format!("writing the answer: {e}")))) {
        Ok(value) => json!({ "result": value }),
        Err(e) => json!({ "error": Problem(e).document() }),
    }
}

fn lines(receiver: mpsc::Receiver<Value>) -> Response {
    let stream = futures_util::stream::unfold(receiver, |mut r| async {
        r.recv().await.map(|v| (Ok::<_, Infallible>(format!("{v}\n")), r))
    });
    let mut response = Body::from_stream(stream).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}
