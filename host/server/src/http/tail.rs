//! `GET /v1/series/tail`: the rows of each acknowledged write as they come, as a line of JSON each or as server-sent events.
//! What was there before comes first, if it is asked for.

use super::answer::{self, CancelOnDrop};
use super::body::Params;
use super::problem::{Answer, Problem};
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::json;
use shiphold_storage::schema::now_ns;
use shiphold_storage::series::tail::{self, History, Tail, TailEvent};
use shiphold_storage::series::{Frame, SeriesKey, Value};
use shiphold_storage::{Caller, Error, Kind, Result};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, timeout};

/// Between two signs of life where nothing is written.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// How long a client may leave us waiting before it is let go.
const READ_SILENCE_MAX: Duration = Duration::from_secs(30);
/// Bytes that are put together before they are sent.
const PART_BYTES: usize = 64 << 10;
/// Parts that may wait for the client, beside what waits for the listener.
const PARTS_WAITING_MAX: usize = 4;

const EVENTS: &str = "text/event-stream";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    bucket: Option<String>,
    measurement: String,
    from: Option<When>,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Events,
}

impl Form {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Lines => answer::NDJSON,
            Self::Events => EVENTS,
        }
    }

    /// `{"row":{…}}`, or `event: row` and its data.
    fn write(self, to: &mut Vec<u8>, name: &str, data: &impl Serialize) -> Result<()> {
        match self {
            Self::Lines => {
                to.extend_from_slice(format!("{{\"{name}\":").as_bytes());
                answer::write_json(to, data)?;
                to.extend_from_slice(b"}\n");
            }
            Self::Events => {
                to.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
                answer::write_json(to, data)?;
                to.extend_from_slice(b"\n\n");
            }
        }
        Ok(())
    }
}

/// `GET /v1/series/tail`
pub(super) async fn tail(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Params(asked): Params<Asked>,
    headers: HeaderMap,
) -> Answer {
    let form = if answer::accepts(&headers, EVENTS) { Form::Events } else { Form::Lines };
    let from = asked.from.map(|t| t.ns("from")).transpose()?;
    let (guard, budget) = CancelOnDrop::new();
    let (tail, history) = answer::call(&app, move |layer| {
        layer.series().tail(&caller, asked.bucket.as_deref(), &asked.measurement, from, &budget)
    })
    .await?;
    let (to, parts) = mpsc::channel(PARTS_WAITING_MAX);
    tokio::spawn(speak(form, tail, history, to, app.ending.subscribe()));
    let parts = futures_util::stream::unfold(parts, |mut parts| async {
        parts.recv().await.map(|part| (part, parts))
    });
    let mut answer = Response::new(Body::from_stream(parts));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    guard.with(Ok(answer))
}

type Part = io::Result<Bytes>;

/// Why nothing more is said.
enum Over {
    /// The client went away, or does not read on.
    Gone,
    Failed(Error),
}

impl From<Error> for Over {
    fn from(e: Error) -> Self {
        if e.kind() == Kind::Cancelled { Self::Gone } else { Self::Failed(e) }
    }
}

async fn speak(
    form: Form,
    tail: Tail,
    history: History,
    to: mpsc::Sender<Part>,
    mut ending: watch::Receiver<bool>,
) {
    let done = async {
        if !history.is_empty() {
            let (to, runtime) = (to.clone(), Handle::current());
            let told = tokio::task::spawn_blocking(move || tell(form, history, &runtime, &to));
            told.await.unwrap_or_else(|e| Err(Over::Failed(Error::internal(e.to_string()))))?;
        }
        say(form, &to, "live", &json!({ "time": now_ns() })).await?;
        live(form, &tail, &to).await
    };
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
            tracing::warn!(error = ?e, "a tail was cut off");
            let _ = say(form, &to, "error", &Problem::from(&e).document()).await;
            let _ = to.send(Err(io::Error::other(e))).await;
        }
    }
}

/// What was there before, on a blocking thread.
fn tell(form: Form, history: History, runtime: &Handle, to: &mpsc::Sender<Part>) -> Result<(), Over> {
    let mut buffer = Vec::new();
    for (key, frames) in history {
        for frame in frames {
            let frame = frame?;
            for row in 0..frame.len() {
                form.write(&mut buffer, "row", &Row { key: &key, frame: &frame, row })?;
                if buffer.len() >= PART_BYTES {
                    runtime.block_on(send(to, std::mem::take(&mut buffer)))?;
                }
            }
        }
    }
    runtime.block_on(send(to, buffer))
}

/// What is written from now on, until the client goes.
async fn live(form: Form, tail: &Tail, to: &mpsc::Sender<Part>) -> Result<(), Over> {
    let mut heart = interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
    loop {
        let event = tokio::select! {
            event = tail.next() => event,
            _ = heart.tick() => {
                say(form, to, "heartbeat", &json!({ "time": now_ns() })).await?;
                continue;
            }
            () = to.closed() => return Err(Over::Gone),
        };
        heart.reset();
        let mut buffer = Vec::new();
        let mut next = Some(event);
        // What waits already is sent with it.
        while let Some(event) = next {
            match event {
                TailEvent::Rows(rows) => {
                    for row in 0..rows.1.len() {
                        form.write(&mut buffer, "row", &Row { key: &rows.0, frame: &rows.1, row })?;
                        if buffer.len() >= PART_BYTES {
                            send(to, std::mem::take(&mut buffer)).await?;
                        }
                    }
                }
                TailEvent::Lagged(lagged) => form.write(&mut buffer, "lagged", &lagged)?,
            }
            next = if buffer.len() < PART_BYTES { tail.take() } else { None };
        }
        send(to, buffer).await?;
    }
}

async fn say(form: Form, to: &mpsc::Sender<Part>, name: &str, data: &impl Serialize) -> Result<(), Over> {
    let mut line = Vec::new();
    form.write(&mut line, name, data)?;
    send(to, line).await
}

async fn send(to: &mpsc::Sender<Part>, part: Vec<u8>) -> Result<(), Over> {
    if part.is_empty() {
        return Ok(());
    }
    match timeout(READ_SILENCE_MAX, to.send(Ok(Bytes::from(part)))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Over::Gone),
    }
}

/// `{"key":{"bucket","measurement","tags"},"time","fields":{…}}`: no field without a value.
struct Row<'a> {
    key: &'a SeriesKey,
    frame: &'a Frame,
    row: usize,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(3))?;
        out.serialize_entry("key", self.key)?;
        out.serialize_entry("time", &self.frame.times.get(self.row))?;
        out.serialize_entry("fields", &Fields(self.frame, self.row))?;
        out.end()
    }
}

struct Fields<'a>(&'a Frame, usize);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        for (name, value) in tail::fields(self.0, self.1) {
            match value {
                Value::Float(v) => out.serialize_entry(name, &v)?,
                Value::Integer(v) => out.serialize_entry(name, &v)?,
                Value::Unsigned(v) => out.serialize_entry(name, &v)?,
                Value::Boolean(v) => out.serialize_entry(name, &v)?,
                Value::String(v) => out.serialize_entry(name, &v)?,
            }
        }
        out.end()
    }
}
