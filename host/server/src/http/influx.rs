//! `POST /api/v2/write`: line protocol, as InfluxDB 2 takes it and answers it.

use super::body::{Whole, too_large};
use super::problem::{Problem, decorate, status};
use crate::app::App;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::series::WriteReport;
use shiphold_storage::series::line_protocol::Precision;
use shiphold_storage::{Caller, Error, Kind, Result};
use std::io::Read as _;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
pub(super) struct Params {
    /// Asked for by every client; this host has one.
    #[serde(default)]
    #[allow(dead_code)]
    org: Option<String>,
    bucket: Option<String>,
    precision: Option<String>,
}

pub(super) fn precision(text: Option<&str>) -> Result<Precision> {
    match text {
        None | Some("" | "ns" | "n") => Ok(Precision::Ns),
        Some("us" | "u") => Ok(Precision::Us),
        Some("ms") => Ok(Precision::Ms),
        Some("s") => Ok(Precision::S),
        Some(other) => Err(Error::invalid(format!("invalid precision; valid precision units are ns, us, ms, and s: `{}`", other.escape_debug()))),
    }
}

/// The body, unpacked if it is gzip, at most `max` bytes of it.
pub(super) fn unpack(bytes: axum::body::Bytes, gzip: bool, max: u64) -> Result<axum::body::Bytes> {
    if !gzip {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_ref())
        .take(max.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|e| Error::invalid(format!("the body is not gzip: {e}")))?;
    if out.len() as u64 > max {
        return Err(too_large());
    }
    Ok(out.into())
}

pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool> {
    match headers.get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?")) {
        None | Some("" | "identity") => Ok(false),
        Some("gzip") => Ok(true),
        Some(other) => Err(Error::invalid(format!("the content encoding `{}` is not known; send gzip or none", other.escape_debug()))),
    }
}

pub(super) async fn write(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    super::body::Params(params): super::body::Params<Params>,
    headers: HeaderMap,
    body: std::result::Result<Whole, Problem>,
) -> Response {
    let written = async {
        let Whole(bytes) = body?;
        let precision = precision(params.precision.as_deref())?;
        let gzip = is_gzip(&headers)?;
        let layer = app.layer.clone();
        super::blocking(move || {
            let manifest = layer.manifest();
            let bucket = params.bucket.filter(|b| !b.is_empty()).unwrap_or_else(|| manifest.series.bucket.clone());
            let bytes = unpack(bytes, gzip, manifest.http.body_max.0)?;
            layer.series().write_lines(&caller, &bucket, &bytes, precision)
        })
        .await
    }
    .await;
    match written {
        Ok(report) if report.dropped == 0 => StatusCode::NO_CONTENT.into_response(),
        Ok(report) => refusal(&Error::new(Kind::PartialWrite, conflict(&report))),
        Err(Problem(e)) => refusal(&e),
    }
}

/// The sentence of the real server.
fn conflict(report: &WriteReport) -> String {
    let first = report.conflicts.first().map_or_else(String::new, |c| {
        format!(
            "input field \"{}\" on measurement \"{}\" is type {}, already exists as type {}",
            c.field, c.measurement, c.got, c.have
        )
    });
    format!(
        "failure writing points to database: partial write: field type conflict: {first} dropped={}",
        report.dropped
    )
}

/// An error in InfluxDB's own form.
pub(super) fn refusal(e: &Error) -> Response {
    let code = match e.kind() {
        Kind::Invalid => "invalid",
        Kind::PartialWrite => "unprocessable entity",
        Kind::NotFound => "not found",
        Kind::Conflict | Kind::Incompatible => "conflict",
        Kind::Denied => "forbidden",
        Kind::Unauthenticated => "unauthorized",
        Kind::Limit => "request too large",
        Kind::Busy | Kind::ReadOnly | Kind::Full | Kind::Unavailable | Kind::Timeout | Kind::Cancelled => "unavailable",
        Kind::Corrupt | Kind::Io | Kind::Plugin | Kind::Internal => "internal error",
    };
    // InfluxDB's clients show the message alone: the next step goes into it.
    let message = match (e.hint_text(), e.kind()) {
        (Some(hint), kind) if kind != Kind::Invalid => format!("{} ({}: {hint})", e.message(), e.code()),
        _ => e.message().to_string(),
    };
    let mut response = (status(e.kind()), Json(json!({ "code": code, "message": message }))).into_response();
    decorate(e.kind(), response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gz(bytes: &[u8]) -> axum::body::Bytes {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        e.write_all(bytes).unwrap();
        e.finish().unwrap().into()
    }

    #[test]
    fn a_bomb_is_bounded_at_its_limit() {
        let max = 1 << 20;
        assert_eq!(unpack(gz(&vec![b'x'; max]), true, max as u64).unwrap().len(), max);
        assert_eq!(unpack(gz(&vec![b'x'; max + 1]), true, max as u64).unwrap_err().kind(), Kind::Limit);
        assert_eq!(unpack(gz(&vec![0; 200 << 20]), true, max as u64).unwrap_err().kind(), Kind::Limit);
        assert_eq!(unpack("not gzip".into(), true, 100).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(unpack("plain".into(), false, 1).unwrap(), "plain");
    }

    #[test]
    fn precisions() {
        for (text, ok) in [(None, true), (Some("ns"), true), (Some("s"), true), (Some("m"), false), (Some("h"), false), (Some("weeks"), false)] {
            assert_eq!(precision(text).is_ok(), ok, "{text:?}");
        }
    }
}
