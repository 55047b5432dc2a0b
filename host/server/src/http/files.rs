//! `/v1/files`: content is streamed both ways.

pub(super) mod keeping;
pub(super) mod uploads;

use super::answer::{self, Wants};
use super::body::{BodyReader, Input, Names, Params};
use super::content::{self, Expected};
use super::problem::Answer;
use super::range;
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::files::{FileVersion, PutOptions};
use shiphold_storage::{Caller, Error, Scope};
use std::ops::Range;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);
type Path = Names<(String, String)>;

const VERSION: HeaderName = HeaderName::from_static("x-shiphold-version");
/// Files of a list when the caller names no number.
const LIST_DEFAULT: u64 = 1_000;

pub(super) async fn stores((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| {
        caller.require(Scope::Read, "list file stores")?;
        let stores = layer.manifest().files.iter().map(|(name, store)| {
            let s = layer.files().stats(name)?;
            Ok(json!({
                "store": name, "kind": store.kind, "versions": s.versions, "objects": s.objects, "bytes": s.bytes,
                "stored_bytes": s.stored, "keep": store.keep, "layout": store.layout,
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
    serve(app, caller, store, path, p.version, &headers).await
}

/// The content of a version, as the headers of the request want it.
async fn serve(
    app: Arc<App>,
    caller: Caller,
    store: String,
    path: String,
    version: Option<u64>,
    headers: &HeaderMap,
) -> Answer {
    let (who, of, name) = (caller.clone(), store.clone(), path.clone());
    let file = answer::call(&app, move |layer| layer.files().stat(&who, &of, &name, version)).await?;
    if content::is_known(headers, file.blake3.as_deref().unwrap_or_default()) {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        describe(answer.headers_mut(), &file);
        return Ok(answer);
    }
    let range = range::asked(headers, file.size)?;
    let (layer, wanted, number) = (app.layer.clone(), range.clone(), file.version);
    let mut answer = answer::written("application/octet-stream", move |out| {
        // The version is named: the newest one may be another by now.
        let (_, content) = layer.files().get(&caller, &store, &path, Some(number), wanted)?;
        out.begin();
        content::stream(content, out)
    })
    .await?;
    describe(answer.headers_mut(), &file);
    send_as(&mut answer, &file, range);
    Ok(answer)
}

/// What is known of a file, as headers.
fn describe(headers: &mut HeaderMap, file: &FileVersion) {
    let hash = file.blake3.as_deref().unwrap_or_default();
    content::describe(headers, hash, &file.metadata, [(VERSION, file.version.to_string())]);
}

fn send_as(answer: &mut Response<Body>, file: &FileVersion, range: Option<Range<u64>>) {
    if range.is_some() {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = answer.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    content::send_as(headers, &file.media_type, range.as_ref().map_or(file.size, |r| r.end - r.start));
    if let Some(r) = range {
        let text = format!("bytes {}-{}/{}", r.start, r.end.saturating_sub(1), file.size);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(header::CONTENT_RANGE, value);
        }
    }
}

pub(super) async fn put(
    (State(app), Extension(caller)): Host,
    Names((store, path)): Path,
    Params(expected): Params<Expected>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Write, "files.write")?;
    let expect = expected.read("number", "read")?;
    let (metadata, provenance) = (content::metadata(&headers)?, content::provenance(&headers)?);
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_string);
    // The store's own bounds end an upload that is too large, while it comes.
    let mut content = BodyReader::new(body, u64::MAX);
    answer::created(&app, move |layer| {
        let options = PutOptions { media_type, metadata, provenance };
        layer.files().put_as(&caller, &store, &path, &mut content, options, expect)
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    /// So that trading has the disk, too.
    bytes_per_second: Option<u64>,
}

pub(super) async fn verify(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    headers: HeaderMap,
    Input(v): Input<Verify>,
) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, _, progress| {
        let total = layer.files().stats(&store)?.stored;
        let mut done = 0;
        layer.files().verify_at(&caller, &store, v.bytes_per_second, &mut |bytes| {
            done += bytes;
            progress.tell(done, total, "hashing");
        })
    })
    .await
}
