//! `/v1/series/export` and `import`: whole series as a file, sent as it is written, and kept until all of it was read.

use super::answer::{self, Wants};
use super::body::{BodyReader, Input, Params};
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use shiphold_storage::series::exchange::import::{Import, Stage};
use shiphold_storage::series::exchange::{Export, Format};
use shiphold_storage::series::query::Time;
use shiphold_storage::{Caller, Error, Scope};
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

/// How a file is read; lists with commas between them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reading {
    bucket: Option<String>,
    measurement: Option<String>,
    symbol: Option<String>,
    timeframe: Option<String>,
    time: Option<String>,
    unit: Option<String>,
    timezone: Option<String>,
    tags: Option<String>,
    tag: Option<String>,
    fields: Option<String>,
}

fn list(text: Option<String>) -> Vec<String> {
    text.map(|text| text.split(',').map(str::to_string).collect()).unwrap_or_default()
}

impl TryFrom<Reading> for Import {
    type Error = Problem;

    fn try_from(r: Reading) -> Result<Self, Problem> {
        let pair = |text: String| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.into(), value.into())),
            _ => Err(Problem::invalid(format!("`tag`: `{}` is not KEY=VALUE", text.escape_debug()))),
        };
        Ok(Self {
            bucket: r.bucket,
            measurement: r.measurement,
            symbol: r.symbol,
            timeframe: r.timeframe,
            time: r.time,
            unit: r.unit,
            timezone: r.timezone,
            tags: list(r.tags),
            tag: list(r.tag).into_iter().map(pair).collect::<Result<_, _>>()?,
            fields: list(r.fields),
        })
    }
}

/// `POST /v1/series/import`: the body is a file in Parquet or CSV.
pub(super) async fn import(
    (State(app), Extension(caller)): Host,
    Params(reading): Params<Reading>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    // Before the body: nobody sends gigabytes to hear that he may not.
    caller.require(Scope::Write, "series.import")?;
    let import = Import::try_from(reading)?;
    let most = app.layer.manifest().limits.import_file;
    let bytes = body.size_hint().exact().unwrap_or(0);
    if bytes > most.0 {
        return Err(Error::limit(
            "the file that is imported",
            format!("limits.import_file = {most}"),
            "import it in parts, or raise `limits.import_file` in shiphold.toml",
        )
        .into());
    }
    let mut input = BodyReader::new(body, most.0);
    answer::work(&app, Wants::of(&headers), move |layer, budget, progress| {
        layer.series().import(&caller, &mut input, &import, budget, &mut |stage, done, total| {
            let (total, text) = match stage {
                Stage::Receiving => (bytes, "sending the file, in bytes".to_string()),
                Stage::Checking => (total, "checking, in rows".to_string()),
                Stage::Writing { resumed: 0 } => (total, "writing, in rows".to_string()),
                Stage::Writing { resumed } => (total, format!("writing, goes on behind row {resumed}")),
            };
            progress.tell(done, total, &text);
        })
    })
    .await
}
