//! `/v1/settings`

use super::answer;
use super::body::{Input, Names, Params};
use super::feed::{self, Feed};
use super::problem::Answer;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shiphold_storage::settings::{Expect, SettingChange, SettingWrite};
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

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
    let feed = Feed {
        after: f.after,
        woken: app.layer.settings().follow(),
        last: |layer| layer.settings().last_change(),
        look: move |layer: &shiphold_storage::DataLayer, after| {
            layer.settings().changes(&caller, &namespace, after)
        },
        number: |change: &SettingChange| change.seq,
    };
    feed::follow(&app, &headers, feed).await
}
