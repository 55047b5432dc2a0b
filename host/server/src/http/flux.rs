//! `POST /api/v2/query`: Flux as InfluxDB's clients send it, answered in annotated CSV. The language is the series store's;
//! here are its envelope and its CSV.

mod csv;
mod given;

use super::answer::{self, CancelOnDrop};
use super::body::Raw;
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use chrono::DateTime;
use csv::{Dialect, Encoder};
use serde::Deserialize;
use shiphold_storage::schema::now_ns;
use shiphold_storage::series::buckets;
use shiphold_storage::series::flux_query::FluxQuery;
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

const CSV: &str = "text/csv; charset=utf-8";

/// What clients send; more than these (`params` of the cloud) is not looked at.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    query: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    dialect: Option<Dialect>,
    /// What `now()` is.
    now: Option<String>,
    /// Values that the text may name, as a syntax tree.
    #[serde(rename = "extern")]
    given: Option<serde_json::Value>,
}

impl Asked {
    fn of(headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .map(|v| String::from_utf8_lossy(v.as_bytes()).to_ascii_lowercase());
        let kind =
            kind.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_string();
        if kind == "application/vnd.flux" {
            let text = std::str::from_utf8(body)
                .map_err(|e| Problem::invalid(format!("the query is not UTF-8: {e}")))?;
            return Ok(Self { query: Some(text.into()), ..Self::default() });
        }
        serde_json::from_slice(body).map_err(|e| {
            Problem::invalid(format!("failed to decode request body: {e}"))
                .hint("send {\"query\":\"from(…)\"} or, as application/vnd.flux, the text alone")
        })
    }

    fn parsed(self) -> Result<(FluxQuery, Dialect), Problem> {
        if let Some(kind) = self.kind.filter(|k| !k.is_empty() && k != "flux") {
            return Err(Problem::invalid(format!("unknown query type: {}", kind.escape_debug()))
                .hint("this host understands a subset of `flux`: docs/flux.md"));
        }
        let dialect = self.dialect.unwrap_or_default();
        dialect.check()?;
        let now = match self.now {
            None => now_ns(),
            Some(text) => DateTime::parse_from_rfc3339(&text)
                .ok()
                .and_then(|t| t.timestamp_nanos_opt())
                .ok_or_else(|| Problem::invalid(format!("`now` is not a time: {}", text.escape_debug())))?,
        };
        let Some(text) = self.query.filter(|q| !q.trim().is_empty()) else {
            return Err(Problem::invalid("failed to decode request body: request body requires a query"));
        };
        let given = self.given.map_or(Ok(Vec::new()), |tree| given::values(&tree))?;
        Ok((FluxQuery::parse(&text, now, given)?, dialect))
    }
}

/// `POST /api/v2/query`
pub(super) async fn query(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Read, "series.read")?;
    let content = Raw::read(&headers, body, app.body_max()).await?.content()?;
    let (query, dialect) = Asked::of(&headers, &content)?.parsed()?;
    let (guard, budget) = CancelOnDrop::new();
    let layer = app.layer.clone();
    let rows = answer::written(CSV, move |out| {
        out.last_words(csv::last_words);
        buckets::require(&layer, &caller, query.buckets())?;
        let mut encoder = Encoder::new(dialect);
        layer.series().flux(&caller, &query, &budget, &mut |part| {
            out.begin();
            encoder.part(&part, out)
        })
    });
    guard.with(rows.await)
}
