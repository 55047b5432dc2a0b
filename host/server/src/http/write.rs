//! What writes rows: line protocol as InfluxDB's clients send it, the same for operators, and CSV files.

use super::answer::{self, Wants};
use super::body::{BodyReader, Params, Raw};
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use shiphold_storage::series::line_protocol::Precision;
use shiphold_storage::series::{CsvImport, WriteReport};
use shiphold_storage::{Caller, Error, Kind, Scope};
use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a CSV file.
const CSV_BYTES_MAX: u64 = 4 << 30;
/// Conflicts that one sentence names.
const CONFLICTS_NAMED: usize = 10;

/// Clients of InfluxDB send more than these (`org`, `consistency`): what is not known is not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Write {
    bucket: Option<String>,
    precision: Option<String>,
}

fn precision(text: Option<&str>) -> Result<Precision, Problem> {
    match text {
        None | Some("" | "ns" | "n") => Ok(Precision::Ns),
        Some("us" | "u") => Ok(Precision::Us),
        Some("ms") => Ok(Precision::Ms),
        Some("s") => Ok(Precision::S),
        Some(other) => Err(Problem::invalid(format!(
            "`{}` is not a precision: it is ns, us, ms or s",
            other.escape_debug()
        ))),
    }
}

/// One blocking call does all of it: unpacks, parses and writes.
async fn store(
    app: Arc<App>,
    caller: Caller,
    write: Write,
    headers: HeaderMap,
    body: Body,
) -> Result<WriteReport, Problem> {
    // Before the body: nobody sends 64 MiB to hear that he may not.
    caller.require(Scope::Write, "series.write")?;
    let precision = precision(write.precision.as_deref())?;
    let raw = Raw::read(&headers, body, app.body_max()).await?;
    let layer = app.layer.clone();
    let done = tokio::task::spawn_blocking(move || {
        let content = raw.content()?;
        let bucket = write.bucket.as_deref().filter(|b| !b.is_empty());
        let bucket = bucket.unwrap_or(&layer.manifest().series.bucket);
        Ok(layer.series().write_lines(&caller, bucket, &content, precision)?)
    });
    done.await.unwrap_or_else(|e| Err(answer::broken(&e)))
}

/// `POST /api/v2/write`
pub(super) async fn influx(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Params(write): Params<Write>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let report = store(app, caller, write, headers, body).await?;
    if report.dropped > 0 {
        return Err(partial(&report));
    }
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

/// `POST /v1/series/write`
pub(super) async fn lines(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Params(write): Params<Write>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let report = store(app, caller, write, headers, body).await?;
    if report.dropped > 0 { Err(partial(&report)) } else { answer::small(&report) }
}

/// The sentence of InfluxDB, word for word where its clients look for words.
fn partial(report: &WriteReport) -> Problem {
    let mut text = String::from("failure writing points to database: partial write: ");
    for (i, c) in report.conflicts.iter().take(CONFLICTS_NAMED).enumerate() {
        let _ = write!(
            text,
            "{}field type conflict: input field \"{}\" on measurement \"{}\" is type {}, already exists as type {}",
            if i == 0 { "" } else { "; " },
            c.field,
            c.measurement,
            c.got,
            c.have
        );
    }
    if report.conflicts.len() > CONFLICTS_NAMED {
        let _ = write!(text, "; and {} more", report.conflicts.len() - CONFLICTS_NAMED);
    }
    let _ = write!(text, " dropped={}", report.dropped);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::PartialWrite.code(), text)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    symbol: String,
    timeframe: String,
    bucket: Option<String>,
    timezone: Option<String>,
}

/// Counts what was read, for the progress.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// `POST /v1/series/import`: the file is read as it comes and never held whole.
pub(super) async fn import(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Params(i): Params<Import>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Write, "series.write")?;
    let total = body.size_hint().exact().unwrap_or(0);
    if total > CSV_BYTES_MAX {
        return Err(
            Error::limit("the CSV file", format!("{CSV_BYTES_MAX} bytes"), "import it in parts").into()
        );
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let mut input = Counted { inner: BodyReader::new(body, CSV_BYTES_MAX), bytes: bytes.clone() };
    answer::work(&app, Wants::of(&headers), move |layer, _, progress| {
        let options =
            CsvImport { bucket: i.bucket, symbol: i.symbol, timeframe: i.timeframe, timezone: i.timezone };
        layer.series().import_csv(&caller, &mut input, &options, &mut |rows| {
            progress.tell(bytes.load(Ordering::Relaxed), total, &format!("{rows} rows"));
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::series::{FieldType, TypeConflict};

    #[test]
    fn precisions() {
        assert_eq!(precision(None).unwrap(), Precision::Ns);
        assert_eq!(precision(Some("us")).unwrap(), Precision::Us);
        assert_eq!(precision(Some("ms")).unwrap(), Precision::Ms);
        assert_eq!(precision(Some("s")).unwrap(), Precision::S);
        assert_eq!(precision(Some("h")).unwrap_err().status, 400);
    }

    #[test]
    fn a_partial_write_is_said_in_the_words_of_influxdb() {
        let conflict = |field: usize| TypeConflict {
            bucket: "b".into(),
            measurement: "m".into(),
            field: format!("v{field}"),
            have: FieldType::Float,
            got: FieldType::String,
        };
        let report = WriteReport { written: 2, dropped: 1, conflicts: vec![conflict(0)] };
        assert_eq!(
            partial(&report).detail,
            "failure writing points to database: partial write: field type conflict: input field \"v0\" on \
             measurement \"m\" is type string, already exists as type float dropped=1"
        );
        let many = WriteReport { dropped: 40, conflicts: (0..12).map(conflict).collect(), ..report };
        let said = partial(&many).detail;
        assert!(said.contains("\"v9\"") && !said.contains("\"v10\""), "{said}");
        assert!(said.ends_with("; and 2 more dropped=40"), "{said}");
    }
}
