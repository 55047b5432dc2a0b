//! `/v1/series`

use super::body::{Input, Params, Whole, reader};
use super::problem::Problem;
use super::work::Wants;
use crate::app::App;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use shiphold_storage::series::query::{Query, Table};
use shiphold_storage::series::{
    Budget, CsvImport, DeleteReport, EngineStats, Latest, Selector, SeriesInfo, TimeRange, WriteReport,
};
use shiphold_storage::{Caller, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Answer<T> = Result<Json<T>, Problem>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    bucket: Option<String>,
    measurement: Option<String>,
}

pub(super) async fn list(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Params(p): Params<ListParams>) -> Answer<Vec<SeriesInfo>> {
    let selector = Selector { bucket: p.bucket, measurement: p.measurement, tags: Vec::new() };
    Ok(Json(super::blocking(move || app.layer.series().list(&caller, &selector)).await?))
}

pub(super) async fn list_of(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Input(selector): Input<Selector>) -> Answer<Vec<SeriesInfo>> {
    Ok(Json(super::blocking(move || app.layer.series().list(&caller, &selector)).await?))
}

pub(super) async fn latest(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Input(selector): Input<Selector>) -> Answer<Vec<Latest>> {
    Ok(Json(super::blocking(move || app.layer.series().latest(&caller, &selector)).await?))
}

/// Sets the flag when the client goes away: its future is dropped then.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn query(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, headers: HeaderMap, Input(query): Input<Query>) -> Result<Response, Problem> {
    let cancel = Arc::new(AtomicBool::new(false));
    let _guard = CancelOnDrop(cancel.clone());
    let wants_csv = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("text/csv"));
    let body = super::blocking(move || {
        let budget = Budget { cancel: Some(cancel), ..Budget::default() };
        let table = app.layer.series().query(&caller, &query, &budget)?;
        if wants_csv { csv(&table) } else { serde_json::to_vec(&table).map_err(|e| Error::internal(format!("writing the answer: {e}"))) }
    })
    .await?;
    let kind = if wants_csv { "text/csv; charset=utf-8" } else { "application/json" };
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn csv(table: &Table) -> Result<Vec<u8>, Error> {
    let wrong = |e: csv::Error| Error::internal(format!("writing the answer: {e}"));
    let mut out = csv::Writer::from_writer(Vec::new());
    let names = std::iter::once("time").chain(table.frame.columns.iter().map(|c| c.name.as_str()));
    out.write_record(names).map_err(wrong)?;
    for (row, time) in table.frame.times.iter().enumerate() {
        let cells = table.frame.columns.iter().map(|c| match c.get(row) {
            None => String::new(),
            Some(shiphold_storage::series::Value::String(s)) => s,
            Some(v) => serde_json::to_string(&v).unwrap_or_default(),
        });
        out.write_record(std::iter::once(time.to_string()).chain(cells)).map_err(wrong)?;
    }
    out.into_inner().map_err(|e| Error::internal(format!("writing the answer: {e}")))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteParams {
    bucket: Option<String>,
    precision: Option<String>,
}

pub(super) async fn write(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Params(p): Params<WriteParams>, headers: HeaderMap, Whole(bytes): Whole) -> Answer<WriteReport> {
    let precision = super::influx::precision(p.precision.as_deref())?;
    let gzip = super::influx::is_gzip(&headers)?;
    let report = super::blocking(move || {
        let m = app.layer.manifest();
        let bytes = super::influx::unpack(bytes, gzip, m.http.body_max.0)?;
        app.layer.series().write_lines(&caller, p.bucket.as_deref().unwrap_or(&m.series.bucket), &bytes, precision)
    })
    .await?;
    Ok(Json(report))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportParams {
    symbol: String,
    timeframe: String,
    bucket: Option<String>,
    timezone: Option<String>,
}

pub(super) async fn import(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Params(p): Params<ImportParams>, wants: Wants, body: Body) -> Response {
    let mut input = reader(body);
    wants
        .run(move |progress| {
            let options = CsvImport { bucket: p.bucket, symbol: p.symbol, timeframe: p.timeframe, timezone: p.timezone };
            app.layer.series().import_csv(&caller, &mut input, &options, &mut |rows| progress.tell(rows, 0, "importing"))
        })
        .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteInput {
    bucket: Option<String>,
    measurement: Option<String>,
    #[serde(default)]
    tags: Vec<(String, String)>,
    #[serde(default)]
    start: Value,
    #[serde(default)]
    end: Value,
}

pub(super) async fn delete(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Input(i): Input<DeleteInput>) -> Answer<DeleteReport> {
    let start = super::when("start", &i.start)?.unwrap_or(TimeRange::ALL.start);
    let end = super::when("end", &i.end)?.unwrap_or(TimeRange::ALL.end);
    let range = TimeRange::new(start, end)?;
    if i.measurement.is_none() && i.tags.is_empty() {
        return Err(Problem(Error::invalid("nothing says which series to delete from").hint("give a measurement; `*` means every one")));
    }
    let report = super::blocking(move || {
        let bucket = i.bucket.unwrap_or_else(|| app.layer.manifest().series.bucket.clone());
        let selector = Selector { bucket: Some(bucket), measurement: i.measurement, tags: i.tags };
        app.layer.series().delete(&caller, &selector, range)
    })
    .await?;
    Ok(Json(report))
}

pub(super) async fn stats(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Answer<EngineStats> {
    Ok(Json(super::blocking(move || app.layer.series().stats(&caller)).await?))
}

pub(super) async fn seal(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, wants: Wants) -> Response {
    wants.run(move |_| app.layer.series().seal(&caller)).await
}

pub(super) async fn compact(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, wants: Wants) -> Response {
    wants.run(move |_| app.layer.series().compact(&caller)).await
}

pub(super) async fn verify(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, wants: Wants) -> Response {
    wants.run(move |_| app.layer.series().verify(&caller, &Budget::default())).await
}
