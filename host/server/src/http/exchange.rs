//! `/v1/series/export`: whole series as a file, sent as it is written.

use super::answer;
use super::body::{Input, Params};
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use shiphold_storage::series::exchange::{Export, Format};
use shiphold_storage::series::query::Time;
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    #[serde(default = "parquet")]
    format: Format,
}

const fn parquet() -> Format {
    Format::Parquet
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    measurement: String,
    bucket: Option<String>,
    /// With commas between them.
    fields: Option<String>,
    start: Option<String>,
    end: Option<String>,
    #[serde(default = "parquet")]
    format: Format,
}

/// `GET /v1/series/export`
pub(super) async fn export(host: Host, Params(c): Params<Choice>) -> Answer {
    let request = Export {
        bucket: c.bucket,
        measurement: c.measurement,
        fields: c.fields.map(|list| list.split(',').map(str::to_string).collect()),
        start: c.start.map(Time::Text),
        end: c.end.map(Time::Text),
        ..Export::default()
    };
    export_of(host, Params(Form { format: c.format }), Input(request)).await
}

/// `POST /v1/series/export`
pub(super) async fn export_of(
    (State(app), Extension(caller)): Host,
    Params(form): Params<Form>,
    Input(request): Input<Export>,
) -> Answer {
    caller.require(Scope::Read, "series.export")?;
    let (guard, budget) = answer::CancelOnDrop::new();
    let layer = app.layer.clone();
    let file = answer::written(form.format.media_type(), move |out| {
        // What is refused is refused before the first byte.
        out.begin();
        layer.series().export(&caller, &request, form.format, &budget, out).map(drop)
    });
    guard.with(file.await)
}
