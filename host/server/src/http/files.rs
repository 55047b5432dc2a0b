//! `/v1/files`: content is streamed both ways.

use super::body::{Params, reader, stream};
use super::problem::Problem;
use super::work::Wants;
use crate::app::App;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::files::{FileStat, FileVersion, PutOptions};
use shiphold_storage::{Caller, Error, Scope};
use std::ops::Range;
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Problem>;
type Door = (State<Arc<App>>, Extension<Caller>);
type Names = Path<(String, String)>;

/// A JSON object beside the content of a put.
const METADATA: &str = "x-shiphold-metadata";

pub(super) async fn stores((State(app), Extension(caller)): Door) -> Answer<Vec<Value>> {
    caller.require(Scope::Read, "list file stores")?;
    let list = super::blocking(move || {
        let manifest = app.layer.manifest();
        manifest
            .files
            .iter()
            .map(|(name, store)| {
                let s = app.layer.files().stats(name)?;
                Ok(json!({ "store": name, "kind": store.kind, "versions": s.versions, "objects": s.objects, "bytes": s.bytes, "quota_bytes": store.quota.0, "quota_files": store.quota_files }))
            })
            .collect()
    })
    .await?;
    Ok(Json(list))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<u64>,
}

pub(super) async fn list((State(app), Extension(caller)): Door, Path(store): Path<String>, Params(p): Params<ListParams>) -> Answer<Vec<FileStat>> {
    Ok(Json(super::blocking(move || app.layer.files().list(&caller, &store, &p.prefix, p.after.as_deref(), p.limit.unwrap_or(1_000))).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct ContentParams {
    version: Option<u64>,
}

pub(super) async fn content((State(app), Extension(caller)): Door, Path((store, path)): Names, Params(p): Params<ContentParams>, headers: HeaderMap) -> Result<Response, Problem> {
    let wanted = headers.get(header::RANGE).and_then(|v| v.to_str().ok()).map(str::to_string);
    let (file, range, content) = super::blocking(move || {
        let stat = app.layer.files().stat(&caller, &store, &path, p.version)?;
        let range = wanted.map(|w| byte_range(&w, stat.size)).transpose()?.flatten();
        // The version is named: the newest one may be another by now.
        let (file, content) = app.layer.files().get(&caller, &store, &path, Some(stat.version), range.clone())?;
        Ok((file, range, content))
    })
    .await?;
    let length = range.as_ref().map_or(file.size, |r| r.end - r.start);
    let mut response = stream(content).into_response();
    let h = response.headers_mut();
    h.insert(header::CONTENT_TYPE, HeaderValue::from_str(&file.media_type).unwrap_or(HeaderValue::from_static("application/octet-stream")));
    h.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    h.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    h.insert("x-shiphold-version", HeaderValue::from(file.version));
    // Content of strangers must not run in a browser.
    h.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    h.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    if let Some(tag) = file.blake3.as_ref().and_then(|b| HeaderValue::from_str(&format!("\"{b}\"")).ok()) {
        h.insert(header::ETAG, tag);
    }
    if let Some(r) = range {
        if let Ok(v) = HeaderValue::from_str(&format!("bytes {}-{}/{}", r.start, r.end.saturating_sub(1), file.size)) {
            h.insert(header::CONTENT_RANGE, v);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// One range of RFC 9110; several, or another unit, are answered with the whole, as the RFC allows.
fn byte_range(text: &str, size: u64) -> Result<Option<Range<u64>>, Error> {
    let Some(spec) = text.strip_prefix("bytes=") else { return Ok(None) };
    if spec.contains(',') {
        return Ok(None);
    }
    let wrong = || Error::invalid(format!("the range `{}` is outside the {size} bytes", text.escape_debug()));
    let (a, b) = spec.split_once('-').ok_or_else(wrong)?;
    let number = |t: &str| t.trim().parse::<u64>().map_err(|_| wrong());
    let range = match (a.trim(), b.trim()) {
        ("", last) => size.saturating_sub(number(last)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(size),
    };
    if range.start >= range.end { Err(wrong()) } else { Ok(Some(range)) }
}

pub(super) async fn put((State(app), Extension(caller)): Door, Path((store, path)): Names, headers: HeaderMap, body: Body) -> Answer<FileVersion> {
    let metadata = match headers.get(METADATA) {
        None => Value::Null,
        Some(v) => serde_json::from_slice(v.as_bytes()).map_err(|e| Error::invalid(format!("the header {METADATA} is not JSON: {e}")))?,
    };
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_string);
    let mut input = reader(body);
    Ok(Json(super::blocking(move || app.layer.files().put(&caller, &store, &path, &mut input, PutOptions { media_type, metadata })).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct RemoveParams {
    #[serde(default)]
    purge: bool,
}

pub(super) async fn remove((State(app), Extension(caller)): Door, Path((store, path)): Names, Params(p): Params<RemoveParams>) -> Answer<Value> {
    super::blocking(move || app.layer.files().delete(&caller, &store, &path, p.purge)).await?;
    Ok(Json(json!({ "deleted": true, "purged": p.purge })))
}

#[derive(Debug, Deserialize)]
pub(super) struct PathParam {
    path: String,
}

pub(super) async fn versions((State(app), Extension(caller)): Door, Path(store): Path<String>, Params(p): Params<PathParam>) -> Answer<Vec<FileVersion>> {
    Ok(Json(super::blocking(move || app.layer.files().versions(&caller, &store, &p.path)).await?))
}

pub(super) async fn gc((State(app), Extension(caller)): Door, Path(store): Path<String>, wants: Wants) -> Response {
    wants.run(move |_| app.layer.files().gc(&caller, &store)).await
}

pub(super) async fn verify((State(app), Extension(caller)): Door, Path(store): Path<String>, wants: Wants) -> Response {
    wants
        .run(move |progress| {
            let total = app.layer.files().stats(&store)?.bytes;
            let mut done = 0;
            app.layer.files().verify(&caller, &store, &mut |bytes| {
                done += bytes;
                progress.tell(done, total, "hashing");
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, want) in [("bytes=0-0", Some(0..1)), ("bytes=5-", Some(5..10)), ("bytes=-3", Some(7..10)), ("bytes=0-99", Some(0..10)), ("bytes=-99", Some(0..10)), ("lines=1-2", None), ("bytes=0-1,3-4", None)] {
            assert_eq!(byte_range(text, 10).unwrap(), want, "{text}");
        }
        for bad in ["bytes=10-", "bytes=5-4", "bytes=x-1", "bytes=", "bytes=-0"] {
            assert!(byte_range(bad, 10).is_err(), "{bad}");
        }
    }
}
