//! `/v1/settings`

use super::answer::{self, CancelOnDrop};
use super::body::{Input, Names, Params};
use super::events::{self, Form, HEARTBEAT_EVERY, Over, Part, say, send};
use super::problem::{Answer, Problem};
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use shiphold_storage::schema::now_ns;
use shiphold_storage::settings::{Expect, SettingWrite};
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};

type Host = (State<Arc<App>>, Extension<Caller>);
type Key = Names<(String, String)>;

/// Revisions of a history when the caller names no number.
const HISTORY_DEFAULT: u64 = 100;

pub(super) async fn namespaces((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.settings().namespaces(&caller)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    after: Option<String>,
    at: Option<When>,
}

pub(super) async fn list(
    (State(app), Extension(caller)): Host,
    Names(namespace): Names<String>,
    Params(l): Params<List>,
) -> Answer {
    let at = l.at.map(|t| t.ns("at")).transpose()?;
    answer::json(&app, move |layer| layer.settings().list(&caller, &namespace, l.after.as_deref(), at)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Show {
    at: Option<When>,
}

pub(super) async fn show(
    (State(app), Extension(caller)): Host,
    Names((namespace, key)): Key,
    Params(s): Params<Show>,
) -> Answer {
    let at = s.at.map(|t| t.ns("at")).transpose()?;
    answer::json(&app, move |layer| layer.settings().get(&caller, &namespace, &key, at)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Many {
    changes: Vec<SettingWrite>,
}

/// `POST /v1/settings`: all of them or none.
pub(super) async fn change((State(app), Extension(caller)): Host, Input(many): Input<Many>) -> Answer {
    answer::json(&app, move |layer| layer.settings().change(&caller, &many.changes)).await
}

pub(super) async fn schema((State(app), Extension(caller)): Host, Names((namespace, key)): Key) -> Answer {
    answer::json(&app, move |layer| layer.settings().schema(&caller, &namespace, &key)).await
}

/// The body is the schema.
pub(super) async fn set_schema(
    (State(app), Extension(caller)): Host,
    Names((namespace, key)): Key,
    Input(schema): Input<Value>,
) -> Answer {
    answer::json(&app, move |layer| layer.settings().set_schema(&caller, &namespace, &key, Some(schema)))
        .await
}

pub(super) async fn remove_schema(
    (State(app), Extension(caller)): Host,
    Names((namespace, key)): Key,
) -> Answer {
    answer::json(&app, move |layer| layer.settings().set_schema(&caller, &namespace, &key, None)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    /// `null` is a value; no value at all is an error.
    #[serde(deserialize_with = "any")]
    value: Value,
    #[serde(default)]
    expect: Expect,
}

/// With a function of its own, a missing key is an error where `Value` alone would take it for `null`.
fn any<'de, D: Deserializer<'de>>(d: D) -> Result<Value, D::Error> {
    Value::deserialize(d)
}

pub(super) async fn set(
    (State(app), Extension(caller)): Host,
    Names((namespace, key)): Key,
    Input(s): Input<Set>,
) -> Answer {
    answer::json(&app, move |layer| layer.settings().set(&caller, &namespace, &key, s.value, s.expect)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    #[serde(default)]
    expect: Expect,
}

pub(super) async fn remove(
    (State(app), Extension(caller)): Host,
    Names((namespace, key)): Key,
    Input(r): Input<Remove>,
) -> Answer {
    answer::json(&app, move |layer| layer.settings().delete(&caller, &namespace, &key, r.expect)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    before: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn history(
    (State(app), Extension(caller)): Host,
    Names((namespace, key)): Key,
    Params(h): Params<History>,
) -> Answer {
    answer::json(&app, move |layer| {
        let limit = h.limit.unwrap_or(HISTORY_DEFAULT);
        layer.settings().history(&caller, &namespace, &key, h.before, limit)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Follow {
    /// Changes after this one; from now on by default.
    after: Option<i64>,
}

/// `GET /v1/settings/{namespace}/@changes`: the changes of a namespace in order, without an end. A client that reconnects says in
/// `Last-Event-ID`, or with `after`, what it saw last; nothing is left out.
pub(super) async fn follow(
    (State(app), Extension(caller)): Host,
    Names(namespace): Names<String>,
    Params(f): Params<Follow>,
    headers: HeaderMap,
) -> Answer {
    caller.require(Scope::Read, "follow settings")?;
    let form = Form::of(&headers);
    let seen = match headers.get("last-event-id") {
        None => f.after,
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.parse().ok())
                .ok_or_else(|| Problem::invalid("the header Last-Event-ID holds no number of a change"))?,
        ),
    };
    // Before the first look, so that nothing falls between the two.
    let mut woken = app.layer.settings().follow();
    let mut cursor = match seen {
        Some(after) => after,
        None => answer::call(&app, |layer| layer.settings().last_change()).await?,
    };
    let (guard, _) = CancelOnDrop::new();
    let speaking = app.clone();
    let answer = events::respond(form, app.ending.subscribe(), move |to: mpsc::Sender<Part>| async move {
        let mut heart = interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
        loop {
            let (caller, namespace) = (caller.clone(), namespace.clone());
            let layer = speaking.layer.clone();
            let look =
                tokio::task::spawn_blocking(move || layer.settings().changes(&caller, &namespace, cursor));
            let found =
                look.await.map_err(|e| Over::Failed(shiphold_storage::Error::internal(e.to_string())))??;
            let mut buffer = Vec::new();
            for change in &found {
                cursor = change.seq;
                form.write_numbered(&mut buffer, "change", Some(change.seq), change)?;
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
