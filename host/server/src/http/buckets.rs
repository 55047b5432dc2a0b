//! `/api/v2/buckets` and `/api/v2/orgs`, as far as InfluxDB's clients need them. There is one organisation, the host, which
//! answers to every name.

use super::answer;
use super::body::{Names, Params, Raw};
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::series::buckets;
use shiphold_storage::{Caller, Error, Kind, Scope};
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// InfluxDB's bounds of a page.
const PAGE_MAX: usize = 100;
const PAGE: usize = 20;

/// Clients send more than these (`org`, `orgID`): what is not known is not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    name: Option<String>,
    id: Option<String>,
    limit: Option<String>,
    offset: Option<String>,
    /// A bucket's number; those after it.
    after: Option<String>,
}

fn number(name: &str, text: Option<&str>, default: usize) -> Result<usize, Problem> {
    match text {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Problem::invalid(format!("{name} is invalid"))),
    }
}

fn shown(app: &App, name: &str, keep_s: Option<u64>) -> Value {
    let (id, org) = (buckets::id(name), org_id(app));
    let keep_s = keep_s.unwrap_or(0);
    json!({
        "id": id, "orgID": org, "type": "user", "name": name, "labels": [],
        "retentionRules": [{ "type": "expire", "everySeconds": keep_s, "shardGroupDurationSeconds": 604_800 }],
        "links": {
            "labels": format!("/api/v2/buckets/{id}/labels"), "members": format!("/api/v2/buckets/{id}/members"),
            "org": format!("/api/v2/orgs/{org}"), "owners": format!("/api/v2/buckets/{id}/owners"),
            "self": format!("/api/v2/buckets/{id}"), "write": format!("/api/v2/write?org={org}&bucket={id}"),
        },
    })
}

fn org_id(app: &App) -> String {
    buckets::org_id(&app.layer.manifest().host.name)
}

/// `GET /api/v2/buckets`
pub(super) async fn list((State(app), Extension(caller)): Host, Params(page): Params<Page>) -> Answer {
    let limit = number("limit", page.limit.as_deref(), PAGE)?;
    let offset = number("offset", page.offset.as_deref(), 0)?;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::invalid(format!("limit must be between 1 and {PAGE_MAX}")));
    }
    let mut all = answer::call(&app, move |layer| buckets::list(layer, &caller)).await?;
    if let Some(after) = &page.after {
        let at = all.iter().position(|b| buckets::id(&b.name) == *after);
        all.drain(..at.map_or(0, |at| at + 1));
    }
    all.retain(|b| {
        page.name.as_ref().is_none_or(|n| *n == b.name)
            && page.id.as_ref().is_none_or(|id| *id == buckets::id(&b.name))
    });
    let link = |offset: usize| format!("/api/v2/buckets?descending=false&limit={limit}&offset={offset}");
    let mut links = serde_json::Map::from_iter([("self".to_string(), json!(link(offset)))]);
    let next = offset.saturating_add(limit);
    if all.len() > next {
        links.insert("next".into(), json!(link(next)));
    }
    let page = all.iter().skip(offset).take(limit);
    let page: Vec<Value> = page.map(|b| shown(&app, &b.name, b.keep_s)).collect();
    answer::small(&json!({ "links": links, "buckets": page }))
}

/// `GET /api/v2/buckets/{id}`
pub(super) async fn show((State(app), Extension(caller)): Host, Names(id): Names<String>) -> Answer {
    let all = answer::call(&app, move |layer| buckets::list(layer, &caller)).await?;
    match all.iter().find(|b| buckets::id(&b.name) == id) {
        Some(b) => answer::small(&shown(&app, &b.name, b.keep_s)),
        None => Err(Error::not_found("bucket not found").into()),
    }
}

/// `GET /v1/series/buckets`
pub(super) async fn of_series((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| buckets::list(layer, &caller)).await
}

/// What a client sends to make one; more is not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    name: String,
    #[serde(default)]
    retention_rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    every_seconds: i64,
}

/// `POST /api/v2/buckets`
pub(super) async fn make((State(app), Extension(caller)): Host, headers: HeaderMap, body: Body) -> Answer {
    caller.require(Scope::Write, "make buckets")?;
    let content = Raw::read(&headers, body, app.body_max()).await?.content()?;
    let wanted: Wanted = serde_json::from_slice(&content)
        .map_err(|e| Problem::invalid(format!("failed to unmarshal json: {e}")))?;
    // Nobody may believe that rows go by themselves.
    if wanted.retention_rules.iter().any(|rule| rule.every_seconds != 0) {
        return Err(Problem::invalid("a client gives a bucket of this host no retention")
            .hint("make it without retention rules; docs/retention.md says what lets rows go"));
    }
    let name = wanted.name.clone();
    match answer::call(&app, move |layer| buckets::make(layer, &caller, &name)).await {
        // InfluxDB's status for it.
        Err(problem) if problem.code == Kind::Conflict.code() => {
            Err(Problem { status: StatusCode::UNPROCESSABLE_ENTITY, ..problem })
        }
        Err(problem) => Err(problem),
        Ok(()) => {
            let mut answer: Response<Body> = answer::small(&shown(&app, &wanted.name, None))?;
            *answer.status_mut() = StatusCode::CREATED;
            Ok(answer)
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Org {
    org: Option<String>,
    #[serde(rename = "orgID")]
    id: Option<String>,
}

/// `GET /api/v2/orgs`: by name, whichever it is, as writes and queries take any.
pub(super) async fn orgs((State(app), Extension(caller)): Host, Params(asked): Params<Org>) -> Answer {
    caller.require(Scope::Read, "look at the organisation")?;
    let id = org_id(&app);
    if asked.id.is_some_and(|i| i != id) {
        return Err(Error::not_found("organization not found").into());
    }
    let name = asked.org.filter(|n| !n.is_empty()).unwrap_or_else(|| app.layer.manifest().host.name.clone());
    answer::small(&json!({ "links": { "self": "/api/v2/orgs" }, "orgs": [{
        "id": id, "name": name, "description": "",
        "links": { "self": format!("/api/v2/orgs/{id}"), "buckets": format!("/api/v2/buckets?orgID={id}") },
    }] }))
}
