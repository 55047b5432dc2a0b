//! What versions came from, what changed between them, what they may be used for, and what was believed of them.

use super::{Host, version};
use crate::http::answer;
use crate::http::body::{Input, Names, Params};
use crate::http::problem::Answer;
use crate::http::time::When;
use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use shiphold_storage::skills::Status;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Between {
    from: Option<String>,
    to: Option<String>,
    /// Lines around a change.
    context: Option<usize>,
}

/// `GET /v1/skills/{name}/diff`
pub(in crate::http) async fn diff(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<Between>,
) -> Answer {
    let from = p.from.as_deref().map(version).transpose()?;
    let to = p.to.as_deref().map(version).transpose()?;
    answer::json(&app, move |layer| {
        layer.skills().diff(&caller, &name, from.as_ref(), to.as_ref(), p.context)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Line {
    version: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/skills/{name}/lineage`
pub(in crate::http) async fn lineage(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<Line>,
) -> Answer {
    let version = p.version.as_deref().map(version).transpose()?;
    answer::json(&app, move |layer| layer.skills().lineage(&caller, &name, version.as_ref(), p.limit)).await
}

/// `GET /v1/skills/{name}/status`: every change, newest first.
pub(in crate::http) async fn statuses(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
) -> Answer {
    answer::json(&app, move |layer| layer.skills().statuses(&caller, &name)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SetStatus {
    version: Option<String>,
    status: Status,
    reason: Option<String>,
}

/// `POST /v1/skills/{name}/status`
pub(in crate::http) async fn set_status(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Input(s): Input<SetStatus>,
) -> Answer {
    let version = s.version.as_deref().map(version).transpose()?;
    answer::json(&app, move |layer| {
        layer.skills().set_status(&caller, &name, version.as_ref(), s.status, s.reason.as_deref())
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Believed {
    version: Option<String>,
    at: Option<When>,
}

/// `GET /v1/skills/{name}/believed`: what was known at a time, and what it adds up to.
pub(in crate::http) async fn believed(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<Believed>,
) -> Answer {
    let version = p.version.as_deref().map(version).transpose()?;
    let at = p.at.map(|t| t.ns("at")).transpose()?;
    answer::json(&app, move |layer| layer.skills().believed(&caller, &name, version.as_ref(), at)).await
}
