//! Answers without an end: events as they come, a line of JSON each or as server-sent events.

use super::answer;
use super::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use serde::Serialize;
use serde_json::json;
use shiphold_storage::{Error, Kind, Result};
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Between two signs of life where nothing is written.
pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// How long a client may leave us waiting before it is let go.
const READ_SILENCE_MAX: Duration = Duration::from_secs(30);
/// Parts that may wait for the client, beside what waits for the listener.
const PARTS_WAITING_MAX: usize = 4;

const EVENTS: &str = "text/event-stream";

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Events,
}

pub(super) type Part = io::Result<Bytes>;

/// Why nothing more is said.
pub(super) enum Over {
    /// The client went away, or does not read on.
    Gone,
    Failed(Error),
}

impl From<Error> for Over {
    fn from(e: Error) -> Self {
        if e.kind() == Kind::Cancelled { Self::Gone } else { Self::Failed(e) }
    }
}

impl Form {
    /// What `Accept` asks for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if answer::accepts(headers, EVENTS) { Self::Events } else { Self::Lines }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Lines => answer::NDJSON,
            Self::Events => EVENTS,
        }
    }

    /// `{"row":{…}}`, or `event: row` and its data.
    pub(super) fn write(self, to: &mut Vec<u8>, name: &str, data: &impl Serialize) -> Result<()> {
        self.write_numbered(to, name, None, data)
    }

    /// With a number by which a client that reconnects says what it saw last (`Last-Event-ID`).
    pub(super) fn write_numbered(
        self,
        to: &mut Vec<u8>,
        name: &str,
        id: Option<i64>,
        data: &impl Serialize,
    ) -> Result<()> {
        match self {
            Self::Lines => {
                to.extend_from_slice(format!("{{\"{name}\":").as_bytes());
                answer::write_json(to, data)?;
                to.extend_from_slice(b"}\n");
            }
            Self::Events => {
                if let Some(id) = id {
                    to.extend_from_slice(format!("id: {id}\n").as_bytes());
                }
                to.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
                answer::write_json(to, data)?;
                to.extend_from_slice(b"\n\n");
            }
        }
        Ok(())
    }
}

/// An answer that `speak` writes until it is over, the client goes, or the host ends.
pub(super) fn respond<F>(
    form: Form,
    ending: watch::Receiver<bool>,
    speak: impl FnOnce(mpsc::Sender<Part>) -> F,
) -> Response<Body>
where
    F: Future<Output = Result<(), Over>> + Send + 'static,
{
    let (to, parts) = mpsc::channel(PARTS_WAITING_MAX);
    tokio::spawn(until_over(form, speak(to.clone()), to, ending));
    let parts = futures_util::stream::unfold(parts, |mut parts| async {
        parts.recv().await.map(|part| (part, parts))
    });
    let mut answer = Response::new(Body::from_stream(parts));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn until_over(
    form: Form,
    done: impl Future<Output = Result<(), Over>>,
    to: mpsc::Sender<Part>,
    mut ending: watch::Receiver<bool>,
) {
    let ended = async {
        let _ = ending.wait_for(|end| *end).await;
    };
    let said = tokio::select! {
        said = done => said,
        () = ended => {
            say(form, &to, "end", &json!({ "reason": "the host ends" })).await
        }
    };
    match said {
        Ok(()) => {}
        Err(Over::Gone) => tracing::debug!("a client does not listen any more"),
        Err(Over::Failed(e)) => {
            tracing::warn!(error = ?e, "a stream of events was cut off");
            let _ = say(form, &to, "error", &Problem::from(&e).document()).await;
            let _ = to.send(Err(io::Error::other(e))).await;
        }
    }
}

pub(super) async fn say(
    form: Form,
    to: &mpsc::Sender<Part>,
    name: &str,
    data: &impl Serialize,
) -> Result<(), Over> {
    let mut line = Vec::new();
    form.write(&mut line, name, data)?;
    send(to, line).await
}

pub(super) async fn send(to: &mpsc::Sender<Part>, part: Vec<u8>) -> Result<(), Over> {
    if part.is_empty() {
        return Ok(());
    }
    match timeout(READ_SILENCE_MAX, to.send(Ok(Bytes::from(part)))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Over::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    /// Speaks until nobody takes it; how many parts were taken, and how long the last was waited for.
    async fn spoken_to_nobody(reads: usize) -> (usize, Duration) {
        let (_host, ending) = watch::channel(false);
        let (told, hears) = oneshot::channel();
        let answer = respond(Form::Lines, ending, |to| async move {
            for n in 0.. {
                let asked = Instant::now();
                if let Err(over) = say(Form::Lines, &to, "row", &json!(n)).await {
                    told.send((n, asked.elapsed())).unwrap();
                    return Err(over);
                }
            }
            unreachable!("it is let go before")
        });
        let mut body = answer.into_body();
        for n in 0..reads {
            let part = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
            assert_eq!(part.into_data().unwrap(), format!("{{\"row\":{n}}}\n"));
            tokio::time::sleep(READ_SILENCE_MAX - Duration::from_millis(1)).await;
        }
        hears.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_on_is_let_go_after_a_stated_time() {
        for reads in [0, 1, 3] {
            let (taken, waited) = spoken_to_nobody(reads).await;
            assert_eq!(taken, PARTS_WAITING_MAX + reads);
            assert_eq!(waited, READ_SILENCE_MAX);
        }
    }
}
