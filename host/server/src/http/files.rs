//! `/v1/files`: content is streamed both ways.

use super::answer::{self, Wants};
use super::body::{BodyReader, Names, Params};
use super::problem::{Answer, Problem};
use super::range;
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::files::{FileVersion, PutOptions, as_error};
use shiphold_storage::{Caller, Error, Scope};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);
type Path = Names<(String, String)>;

/// A JSON object beside the content.
const METADATA: HeaderName = HeaderName::from_static("x-shiphold-metadata");
const VERSION: HeaderName = HeaderName::from_static("x-shiphold-version");
/// Bytes of one step of a download.
const STEP_BYTES: usize = 128 << 10;
/// Bytes of metadata that go into a header of an answer; more is in `versions`.
const METADATA_HEADER_BYTES_MAX: usize = 4 << 10;
/// Files of a list when the caller names no number.
const LIST_DEFAULT: u64 = 1_000;

pub(super) async fn stores((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| {
        caller.require(Scope::Read, "list file stores")?;
        let stores = layer.manifest().files.iter().map(|(name, store)| {
            let s = layer.files().stats(name)?;
            Ok(json!({
                "store": name, "kind": store.kind, "versions": s.versions, "objects": s.objects, "bytes": s.bytes,
                "quota_bytes": store.quota.0, "quota_files": store.quota_files, "file_bytes_max": store.file_max.0,
            }))
        });
        stores.collect::<Result<Vec<Value>, Error>>()
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<u64>,
}

pub(super) async fn list(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    Params(l): Params<List>,
) -> Answer {
    answer::json(&app, move |layer| {
        let limit = l.limit.unwrap_or(LIST_DEFAULT);
        layer.files().list(&caller, &store, &l.prefix, l.after.as_deref(), limit)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfPath {
    path: String,
}

pub(super) async fn versions(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    Params(p): Params<OfPath>,
) -> Answer {
    answer::json(&app, move |layer| layer.files().versions(&caller, &store, &p.path)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfVersion {
    version: Option<u64>,
}

pub(super) async fn content(
    (State(app), Extension(caller)): Host,
    Names((store, path)): Path,
    Params(p): Params<OfVersion>,
    headers: HeaderMap,
) -> Answer {
    let (who, of, name) = (caller.clone(), store.clone(), path.clone());
    let file = answer::call(&app, move |layer| layer.files().stat(&who, &of, &name, p.version)).await?;
    if is_known(&headers, &file) {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        describe(answer.headers_mut(), &file);
        return Ok(answer);
    }
    let range = range::asked(&headers, file.size)?;
    let (layer, wanted, number) = (app.layer.clone(), range.clone(), file.version);
    let mut answer = answer::written("application/octet-stream", move |out| {
        // The version is named: the newest one may be another by now.
        let (_, mut content) = layer.files().get(&caller, &store, &path, Some(number), wanted)?;
        let mut step = vec![0; STEP_BYTES];
        out.begin();
        loop {
            let n = content.read(&mut step).map_err(as_error)?;
            if n == 0 {
                return Ok(());
            }
            let part = step.get(..n).unwrap_or(&step);
            out.write_all(part).map_err(|e| Error::io("sending a file", e))?;
        }
    })
    .await?;
    describe(answer.headers_mut(), &file);
    send_as(&mut answer, &file, range);
    Ok(answer)
}

/// `If-None-Match` names what is there.
fn is_known(headers: &HeaderMap, file: &FileVersion) -> bool {
    let Some(hash) = &file.blake3 else { return false };
    headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|all| {
        all.split(',').any(|tag| tag.trim().trim_start_matches("W/").trim_matches('"') == hash)
    })
}

/// What is known of a file, as headers.
fn describe(headers: &mut HeaderMap, file: &FileVersion) {
    let ascii = ascii_json(&file.metadata);
    let words = [
        (header::ETAG, file.blake3.as_ref().map(|hash| format!("\"{hash}\""))),
        (VERSION, Some(file.version.to_string())),
        (METADATA, Some(ascii).filter(|m| m.len() <= METADATA_HEADER_BYTES_MAX && file.metadata.is_object())),
    ];
    for (name, value) in words {
        if let Some(value) = value.and_then(|v| HeaderValue::try_from(v).ok()) {
            headers.insert(name, value);
        }
    }
}

fn send_as(answer: &mut Response<Body>, file: &FileVersion, range: Option<Range<u64>>) {
    if range.is_some() {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = answer.headers_mut();
    if let Ok(kind) = HeaderValue::try_from(&file.media_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Content of strangers is for saving, never for showing.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    let length = range.as_ref().map_or(file.size, |r| r.end - r.start);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(r) = range {
        let text = format!("bytes {}-{}/{}", r.start, r.end.saturating_sub(1), file.size);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(header::CONTENT_RANGE, value);
        }
    }
}

/// JSON whose every character may stand in a header.
fn ascii_json(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|u| out.push_str(&format!("\\u{u:04x}")));
        }
    }
    out
}

pub(super) async fn put(
    (State(app), Extension(caller)): Host,
    Names((store, path)): Path,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Write, "files.write")?;
    let metadata = match headers.get(METADATA) {
        None => Value::Null,
        Some(v) => serde_json::from_slice(v.as_bytes())
            .map_err(|e| Problem::invalid(format!("the header X-Shiphold-Metadata is not JSON: {e}")))?,
    };
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_string);
    // The store's own bounds end an upload that is too large, while it comes.
    let mut content = BodyReader::new(body, u64::MAX);
    answer::created(&app, move |layer| {
        layer.files().put(&caller, &store, &path, &mut content, PutOptions { media_type, metadata })
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    #[serde(default)]
    purge: bool,
}

pub(super) async fn remove(
    (State(app), Extension(caller)): Host,
    Names((store, path)): Path,
    Params(r): Params<Remove>,
) -> Answer {
    answer::json(&app, move |layer| {
        layer.files().delete(&caller, &store, &path, r.purge)?;
        Ok(json!({ "store": store, "path": path, "purged": r.purge }))
    })
    .await
}

pub(super) async fn gc(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    headers: HeaderMap,
) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, _, _| layer.files().gc(&caller, &store)).await
}

pub(super) async fn verify(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    headers: HeaderMap,
) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, _, progress| {
        let total = layer.files().stats(&store)?.bytes;
        let mut done = 0;
        layer.files().verify(&caller, &store, &mut |bytes| {
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
    fn metadata_goes_into_a_header_and_comes_back() {
        let value = json!({ "who": "Zoë 模 🦀", "tab": "\t\u{7f}" });
        let text = ascii_json(&value);
        assert!(text.is_ascii() && HeaderValue::try_from(&text).is_ok(), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
