//! `/v1/settings`

use super::answer;
use super::body::{Input, Names, Params};
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shiphold_storage::Caller;
use shiphold_storage::settings::Expect;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);
type Key = Names<(String, String)>;

/// Revisions of a history when the caller names no number.
const HISTORY_DEFAULT: u64 = 100;

pub(super) async fn namespaces((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.settings().namespaces(&caller)).await
}

pub(super) async fn list((State(app), Extension(caller)): Host, Names(namespace): Names<String>) -> Answer {
    answer::json(&app, move |layer| layer.settings().list(&caller, &namespace)).await
}

pub(super) async fn show((State(app), Extension(caller)): Host, Names((namespace, key)): Key) -> Answer {
    answer::json(&app, move |layer| layer.settings().get(&caller, &namespace, &key)).await
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
