//! `/v1/skills/@library` and `@voyager`: whole libraries, sent as they are written, and kept until all of them was read. No skill has
//! such a name.

use super::Host;
use crate::http::answer::{self, CancelOnDrop, Wants};
use crate::http::body::{BodyReader, Params};
use crate::http::problem::Answer;
use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use shiphold_storage::skills::library::{FILE_BYTES_MAX, ImportOptions, Pack, too_large};
use shiphold_storage::skills::{Status, VOYAGER_BYTES_MAX, VoyagerOptions};
use shiphold_storage::{Error, Scope};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Form {
    #[serde(default)]
    pack: Pack,
}

const fn media_type(pack: Pack) -> &'static str {
    match pack {
        Pack::None => "application/x-ndjson",
        Pack::Gzip => "application/gzip",
        Pack::Zstd => "application/zstd",
    }
}

/// `GET /v1/skills/@library`
pub(in crate::http) async fn export(
    (State(app), Extension(caller)): Host,
    Params(f): Params<Form>,
) -> Answer {
    caller.require(Scope::Read, "export a library of skills")?;
    let (guard, _) = CancelOnDrop::new();
    let layer = app.layer.clone();
    let file = answer::written(media_type(f.pack), move |out| {
        out.begin();
        layer.skills().export(&caller, f.pack, out).map(drop)
    });
    guard.with(file.await)
}

/// `POST /v1/skills/@library`: the body is a file that an export wrote.
pub(in crate::http) async fn import(
    (State(app), Extension(caller)): Host,
    Params(options): Params<ImportOptions>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    // Before the body: nobody sends a library to hear that he may not.
    caller.require(Scope::Admin, "import a library of skills")?;
    let mut input = reader(body, FILE_BYTES_MAX)?;
    app.with_indexers().await?;
    answer::work(&app, Wants::of(&headers), move |layer, budget, progress| {
        layer.import_skills(&caller, &mut input, options, &mut |what, done| {
            progress.tell(done, 0, what);
            budget.check()
        })
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Voyager {
    language: Option<String>,
    author: Option<String>,
    run: Option<String>,
    status: Option<Status>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /v1/skills/@voyager`: the body is a `skills.json`.
pub(in crate::http) async fn import_voyager(
    (State(app), Extension(caller)): Host,
    Params(v): Params<Voyager>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Write, "import skills")?;
    let mut input = reader(body, VOYAGER_BYTES_MAX)?;
    app.with_indexers().await?;
    let Voyager { language, author, run, status, dry_run } = v;
    let options = VoyagerOptions { language, author, run, status, dry_run };
    answer::work(&app, Wants::of(&headers), move |layer, budget, progress| {
        layer.import_voyager(&caller, &mut input, &options, &mut |what, done| {
            progress.tell(done, 0, what);
            budget.check()
        })
    })
    .await
}

/// A body of at most so many bytes.
fn reader(body: Body, most: u64) -> Result<BodyReader, Error> {
    match body.size_hint().exact() {
        Some(bytes) if bytes > most => Err(too_large(most)),
        _ => Ok(BodyReader::new(body, most)),
    }
}
