//! Content that comes in parts, and many small files at once.

use super::super::answer;
use super::super::body::{BodyReader, Input, Names, Params};
use super::super::problem::Answer;
use super::Host;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::Scope;
use shiphold_storage::files::{Provenance, PutOptions, SentFile};

type OfUpload = Names<(String, String)>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Batch {
    files: Vec<SentFile>,
}

/// Files in one transaction, all or none.
pub(in super::super) async fn batch(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    Input(batch): Input<Batch>,
) -> Answer {
    caller.require(Scope::Write, "files.write")?;
    answer::created(&app, move |layer| {
        let files = batch.files.into_iter().map(SentFile::read).collect::<Result<_, _>>()?;
        layer.files().put_many(&caller, &store, files)
    })
    .await
}

pub(in super::super) async fn list(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
) -> Answer {
    answer::json(&app, move |layer| layer.files().uploads(&caller, &store)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Begin {
    path: String,
    media_type: Option<String>,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    provenance: Provenance,
}

pub(in super::super) async fn begin(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    Input(b): Input<Begin>,
) -> Answer {
    answer::created(&app, move |layer| {
        let options = PutOptions { media_type: b.media_type, metadata: b.metadata, provenance: b.provenance };
        layer.files().begin_upload(&caller, &store, &b.path, options)
    })
    .await
}

pub(in super::super) async fn show(
    (State(app), Extension(caller)): Host,
    Names((store, id)): OfUpload,
) -> Answer {
    answer::json(&app, move |layer| layer.files().upload(&caller, &store, &id)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Part {
    offset: u64,
    /// Of the part, in hexadecimal.
    blake3: String,
}

/// The body is a part.
pub(in super::super) async fn append(
    (State(app), Extension(caller)): Host,
    Names((store, id)): OfUpload,
    Params(p): Params<Part>,
    body: Body,
) -> Answer {
    caller.require(Scope::Write, "files.write")?;
    // The bounds of the store end a part that is too large, while it comes.
    let mut part = BodyReader::new(body, u64::MAX);
    answer::json(&app, move |layer| {
        layer.files().append_upload(&caller, &store, &id, (p.offset, &p.blake3), &mut part)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Finish {
    /// Of the whole, in hexadecimal.
    blake3: Option<String>,
    /// Bytes.
    size: Option<u64>,
}

pub(in super::super) async fn finish(
    (State(app), Extension(caller)): Host,
    Names((store, id)): OfUpload,
    Input(f): Input<Finish>,
) -> Answer {
    caller.require(Scope::Write, "files.write")?;
    answer::created(&app, move |layer| {
        layer.files().finish_upload(&caller, &store, &id, (f.blake3.as_deref(), f.size))
    })
    .await
}

pub(in super::super) async fn abandon(
    (State(app), Extension(caller)): Host,
    Names((store, id)): OfUpload,
) -> Answer {
    caller.require(Scope::Write, "files.write")?;
    answer::json(&app, move |layer| {
        layer.files().abandon_upload(&caller, &store, &id)?;
        Ok(json!({ "store": store, "upload": id, "abandoned": true }))
    })
    .await
}
