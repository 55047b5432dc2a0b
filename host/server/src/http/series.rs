//! `/v1/series`, but for what writes rows.

use super::answer::{self, Wants};
use super::body::{Input, Params, Raw, media_type};
use super::problem::{Answer, Problem};
use super::table;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::{FromRequest, FromRequestParts as _, Request, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::series::coverage::CoverageQuery;
use shiphold_storage::series::query::{self, Query};
use shiphold_storage::series::{Selector, TimeRange};
use shiphold_storage::{Caller, Error};
use std::sync::Arc;

/// The media type of a query as a text.
const SQL: &str = "application/sql";

type Host = (State<Arc<App>>, Extension<Caller>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    bucket: Option<String>,
    measurement: Option<String>,
}

impl From<Choice> for Selector {
    fn from(c: Choice) -> Self {
        Self { bucket: c.bucket, measurement: c.measurement, tags: Vec::new() }
    }
}

pub(super) async fn list(host: Host, Params(choice): Params<Choice>) -> Answer {
    list_of(host, Input(choice.into())).await
}

pub(super) async fn list_of(
    (State(app), Extension(caller)): Host,
    Input(selector): Input<Selector>,
) -> Answer {
    answer::json(&app, move |layer| layer.series().list(&caller, &selector)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Newest {
    bucket: Option<String>,
    measurement: Option<String>,
    #[serde(default)]
    tags: Vec<(String, String)>,
    as_known_at: Option<When>,
}

pub(super) async fn latest(host: Host, Params(newest): Params<Newest>) -> Answer {
    latest_of(host, Input(newest)).await
}

pub(super) async fn latest_of((State(app), Extension(caller)): Host, Input(of): Input<Newest>) -> Answer {
    let at = of.as_known_at.map(|t| t.ns("as_known_at")).transpose()?;
    let selector = Selector { bucket: of.bucket, measurement: of.measurement, tags: of.tags };
    let (guard, budget) = answer::CancelOnDrop::new();
    let found = answer::json(&app, move |layer| layer.series().latest(&caller, &selector, at, &budget));
    guard.with(found.await)
}

/// A query as it is sent: in JSON, or as the text itself.
#[derive(Debug)]
pub(super) struct Asked(Query);

/// Beside a text that is the body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<String>,
}

impl FromRequest<Arc<App>> for Asked {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if media_type(request.headers()).as_deref() != Some(SQL) {
            let Input(given) = Input::<Value>::from_request(request, app).await?;
            return Ok(Self(query::read(given)?));
        }
        let (mut parts, body) = request.into_parts();
        let Params(Page { after }) = Params::from_request_parts(&mut parts, app).await?;
        let content = Raw::read(&parts.headers, body, app.body_max()).await?.content()?;
        let text = std::str::from_utf8(&content)
            .map_err(|e| Problem::invalid(format!("the text of the query is not UTF-8: {e}")))?;
        Ok(Self(query::read(json!({ "text": text, "after": after }))?))
    }
}

/// A query in the address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    q: String,
    after: Option<String>,
}

pub(super) async fn query_of(host: Host, headers: HeaderMap, Params(text): Params<Text>) -> Answer {
    query(host, headers, Asked(query::read(json!({ "text": text.q, "after": text.after }))?)).await
}

pub(super) async fn explain((State(app), Extension(caller)): Host, Asked(query): Asked) -> Answer {
    let (guard, budget) = answer::CancelOnDrop::new();
    let told = answer::json(&app, move |layer| layer.series().explain(&caller, &query, &budget));
    guard.with(told.await)
}

pub(super) async fn query(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Asked(query): Asked,
) -> Answer {
    let (guard, budget) = answer::CancelOnDrop::new();
    let layer = app.layer.clone();
    let rows = table::written(table::Form::of(&headers), move |take| {
        layer.series().query_into(&caller, &query, &budget, take)
    });
    guard.with(rows.await)
}

pub(super) async fn coverage(
    (State(app), Extension(caller)): Host,
    Input(query): Input<CoverageQuery>,
) -> Answer {
    let (guard, budget) = answer::CancelOnDrop::new();
    let found = answer::json(&app, move |layer| layer.series().coverage(&caller, &query, &budget));
    guard.with(found.await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletion {
    bucket: Option<String>,
    measurement: Option<String>,
    #[serde(default)]
    tags: Vec<(String, String)>,
    start: Option<When>,
    end: Option<When>,
}

pub(super) async fn delete((State(app), Extension(caller)): Host, Input(d): Input<Deletion>) -> Answer {
    let start = d.start.map(|t| t.ns("start")).transpose()?.unwrap_or(TimeRange::ALL.start);
    let end = d.end.map(|t| t.ns("end")).transpose()?.unwrap_or(TimeRange::ALL.end);
    let range = TimeRange::new(start, end)?;
    // Everything is never what an empty request means.
    if d.measurement.is_none() && d.tags.is_empty() {
        return Err(Problem::invalid("nothing says which series to delete from")
            .hint("give a measurement; `*` means every one"));
    }
    answer::json(&app, move |layer| {
        let bucket = d.bucket.unwrap_or_else(|| layer.manifest().series.bucket.clone());
        let selector = Selector { bucket: Some(bucket), measurement: d.measurement, tags: d.tags };
        layer.series().delete(&caller, &selector, range)
    })
    .await
}

pub(super) async fn stats((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.series().stats(&caller)).await
}

pub(super) async fn seal((State(app), Extension(caller)): Host, headers: HeaderMap) -> Answer {
    let work = move |layer: &shiphold_storage::DataLayer, _: &_, _: &mut _| {
        layer.series().seal(&caller)?;
        Ok::<_, Error>(json!({}))
    };
    answer::work(&app, Wants::of(&headers), work).await
}

pub(super) async fn compact((State(app), Extension(caller)): Host, headers: HeaderMap) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, _, _| layer.series().compact(&caller)).await
}

pub(super) async fn verify((State(app), Extension(caller)): Host, headers: HeaderMap) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, budget, _| layer.series().verify(&caller, budget))
        .await
}
