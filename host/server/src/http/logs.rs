//! `/v1/logs`: lines in, and looked up again.

use super::answer;
use super::body::{Names, Params, Raw};
use super::problem::Answer;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::logs::{Level, LogQuery, PUSH_BYTES_MAX};
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// Lines of an answer when the caller names no number.
const LINES_DEFAULT: u64 = 1_000;
const TAIL_DEFAULT: u64 = 100;

pub(super) async fn list((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.logs().streams(&caller)).await
}

/// `POST /v1/logs/{stream}`: the body is lines.
pub(super) async fn push(
    (State(app), Extension(caller)): Host,
    Names(stream): Names<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Write, "push logs")?;
    let raw = Raw::read(&headers, body, app.body_max().min(PUSH_BYTES_MAX as u64)).await?;
    let lines = answer::blocking(move || raw.content()).await.map_err(|e| answer::broken(&e))??;
    answer::created(&app, move |layer| layer.logs().push(&caller, &stream, &lines)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    from: Option<When>,
    to: Option<When>,
    level: Option<String>,
    text: Option<String>,
    after: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn search(
    (State(app), Extension(caller)): Host,
    Names(stream): Names<String>,
    Params(s): Params<Search>,
) -> Answer {
    answer::json(&app, move |layer| {
        let query = LogQuery {
            from_ns: s.from.map(|t| t.ns("from")).transpose()?,
            to_ns: s.to.map(|t| t.ns("to")).transpose()?,
            level: s.level.as_deref().map(Level::parse).transpose()?,
            text: s.text,
            after: s.after.unwrap_or_default(),
            limit: s.limit.unwrap_or(LINES_DEFAULT),
        };
        layer.logs().search(&caller, &stream, &query)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tail {
    lines: Option<u64>,
}

pub(super) async fn tail(
    (State(app), Extension(caller)): Host,
    Names(stream): Names<String>,
    Params(t): Params<Tail>,
) -> Answer {
    answer::json(&app, move |layer| layer.logs().tail(&caller, &stream, t.lines.unwrap_or(TAIL_DEFAULT)))
        .await
}

pub(super) async fn rotate((State(app), Extension(caller)): Host, Names(stream): Names<String>) -> Answer {
    answer::json(&app, move |layer| {
        let segments = layer.logs().rotate(&caller, &stream)?;
        Ok(json!({ "stream": stream, "segments": segments }))
    })
    .await
}
