//! `GET /v1/series/tail`: the rows of each acknowledged write as they come, as a line of JSON each or as server-sent events.
//! What was there before comes first, if it is asked for.

use super::answer::{self, CancelOnDrop};
use super::body::Params;
use super::events::{self, Form, HEARTBEAT_EVERY, Over, Part, say, send};
use super::problem::Answer;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::json;
use shiphold_storage::schema::now_ns;
use shiphold_storage::series::tail::{self, History, Tail, TailEvent};
use shiphold_storage::series::{Frame, SeriesKey, Value};
use shiphold_storage::{Caller, Error};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};

/// Bytes that are put together before they are sent.
const PART_BYTES: usize = 64 << 10;
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    bucket: Option<String>,
    measurement: String,
    from: Option<When>,
}

/// `GET /v1/series/tail`
pub(super) async fn tail(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Params(asked): Params<Asked>,
    headers: HeaderMap,
) -> Answer {
    let form = Form::of(&headers);
    let from = asked.from.map(|t| t.ns("from")).transpose()?;
    let (guard, budget) = CancelOnDrop::new();
    let (tail, history) = answer::call(&app, move |layer| {
        layer.series().tail(&caller, asked.bucket.as_deref(), &asked.measurement, from, &budget)
    })
    .await?;
    let spoken = events::respond(form, app.ending.subscribe(), |to| speak(form, tail, history, to));
    guard.with(Ok(spoken))
}

async fn speak(form: Form, tail: Tail, history: History, to: mpsc::Sender<Part>) -> Result<(), Over> {
    if !history.is_empty() {
        let (to, runtime) = (to.clone(), Handle::current());
        let told = tokio::task::spawn_blocking(move || tell(form, history, &runtime, &to));
        told.await.unwrap_or_else(|e| Err(Over::Failed(Error::internal(e.to_string()))))?;
    }
    say(form, &to, "live", &json!({ "time": now_ns() })).await?;
    live(form, &tail, &to).await
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
                Value::Decimal(v) => out.serialize_entry(name, &v)?,
                Value::Unsigned(v) => out.serialize_entry(name, &v)?,
                Value::Boolean(v) => out.serialize_entry(name, &v)?,
                Value::String(v) => out.serialize_entry(name, &v)?,
            }
        }
        out.end()
    }
}
