//! What writes rows: line protocol as InfluxDB's clients send it, and the same for operators.

use super::answer;
use super::body::{Params, Raw};
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use shiphold_storage::series::WriteReport;
use shiphold_storage::series::line_protocol::Precision;
use shiphold_storage::{Caller, Kind, Scope};
use std::fmt::Write as _;
use std::sync::Arc;

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
    let done = answer::blocking(move || {
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
        if let Some(value) = &c.value {
            let _ = write!(text, " (`{}` is no {})", value.escape_debug(), c.have);
        }
    }
    if report.conflicts.len() > CONFLICTS_NAMED {
        let _ = write!(text, "; and {} more", report.conflicts.len() - CONFLICTS_NAMED);
    }
    let _ = write!(text, " dropped={}", report.dropped);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::PartialWrite.code(), text)
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
            value: None,
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
        let inexact = TypeConflict {
            have: FieldType::Decimal(2),
            got: FieldType::Float,
            value: Some("1.234".into()),
            ..conflict(0)
        };
        let said = partial(&WriteReport { written: 0, dropped: 1, conflicts: vec![inexact] }).detail;
        assert!(
            said.ends_with(
                "is type float, already exists as type decimal(2) (`1.234` is no decimal(2)) dropped=1"
            ),
            "{said}"
        );
    }
}
