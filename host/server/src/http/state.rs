//! `/v1/state`: content is streamed both ways.

use super::answer;
use super::body::{BodyReader, Names, Params};
use super::content::{self, Expected};
use super::feed::{self, Feed};
use super::problem::{Answer, Problem};
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Response, StatusCode, header};
use serde::Deserialize;
use shiphold_storage::state::{Checkpoint, Save, StateChange, Which};
use shiphold_storage::{Caller, Scope};
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// Of an answer with content: the revision, and when it was saved in nanoseconds since the Unix epoch.
const REVISION: HeaderName = HeaderName::from_static("x-shiphold-revision");
const SAVED_AT: HeaderName = HeaderName::from_static("x-shiphold-saved-at");
/// Strategies of a list, and revisions of a history, when the caller names no number.
const LIST_DEFAULT: u64 = 1_000;
const HISTORY_DEFAULT: u64 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    after: Option<String>,
    limit: Option<u64>,
}

pub(super) async fn list((State(app), Extension(caller)): Host, Params(l): Params<List>) -> Answer {
    answer::json(&app, move |layer| {
        layer.state().list(&caller, l.after.as_deref(), l.limit.unwrap_or(LIST_DEFAULT))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    revision: Option<u64>,
    at: Option<When>,
}

/// `GET /v1/state/{strategy}`: what a strategy goes on from, in one answer.
pub(super) async fn load(
    (State(app), Extension(caller)): Host,
    Names(strategy): Names<String>,
    Params(l): Params<Load>,
    headers: HeaderMap,
) -> Answer {
    let which = match (l.revision, l.at) {
        (None, None) => Which::Newest,
        (Some(n), None) => Which::Revision(n),
        (None, Some(at)) => Which::At(at.ns("at")?),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("`revision` and `at` both say which checkpoint")
                .hint("give one of them, or none for the newest"));
        }
    };
    let (checkpoint, content) =
        answer::call(&app, move |layer| layer.state().load(&caller, &strategy, which)).await?;
    let hash = checkpoint.blake3.as_deref().unwrap_or_default();
    if content::is_known(&headers, hash) {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        describe(answer.headers_mut(), &checkpoint);
        return Ok(answer);
    }
    let mut answer = answer::written("application/octet-stream", move |out| {
        out.begin();
        content::stream(content, out)
    })
    .await?;
    describe(answer.headers_mut(), &checkpoint);
    content::send_as(answer.headers_mut(), &checkpoint.media_type, checkpoint.size);
    Ok(answer)
}

/// What is known of a checkpoint, as headers.
fn describe(headers: &mut HeaderMap, checkpoint: &Checkpoint) {
    let hash = checkpoint.blake3.as_deref().unwrap_or_default();
    content::describe(
        headers,
        hash,
        &checkpoint.metadata,
        [(REVISION, checkpoint.revision.to_string()), (SAVED_AT, checkpoint.saved_at.to_string())],
    );
}

/// `PUT /v1/state/{strategy}`: the body is the content.
pub(super) async fn save(
    (State(app), Extension(caller)): Host,
    Names(strategy): Names<String>,
    Params(expected): Params<Expected>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Write, "state.write")?;
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_string);
    let save = Save {
        media_type: text(header::CONTENT_TYPE),
        metadata: content::metadata(&headers)?,
        expect: expected.read("revision", "loaded")?,
        idempotency_key: match headers.get("idempotency-key") {
            None => None,
            Some(key) => Some(
                key.to_str()
                    .map_err(|_| Problem::invalid("the header Idempotency-Key is no text"))?
                    .to_string(),
            ),
        },
    };
    // The bounds of the store end an upload that is too large, while it comes.
    let mut content = BodyReader::new(body, u64::MAX);
    answer::created(&app, move |layer| layer.state().save(&caller, &strategy, &mut content, save)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    expect: Option<String>,
    #[serde(default)]
    purge: bool,
}

pub(super) async fn remove(
    (State(app), Extension(caller)): Host,
    Names(strategy): Names<String>,
    Params(r): Params<Remove>,
) -> Answer {
    let expect = Expected { expect: r.expect }.read("revision", "loaded")?;
    answer::json(&app, move |layer| layer.state().delete(&caller, &strategy, expect, r.purge)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    before: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn history(
    (State(app), Extension(caller)): Host,
    Names(strategy): Names<String>,
    Params(h): Params<History>,
) -> Answer {
    answer::json(&app, move |layer| {
        layer.state().history(&caller, &strategy, h.before, h.limit.unwrap_or(HISTORY_DEFAULT))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Follow {
    /// Of one strategy; of all by default.
    strategy: Option<String>,
    after: Option<i64>,
}

/// `GET /v1/state/@changes`: saves and deletions in order, without an end.
pub(super) async fn follow(
    (State(app), Extension(caller)): Host,
    Params(f): Params<Follow>,
    headers: HeaderMap,
) -> Answer {
    caller.require(Scope::Read, "follow strategies")?;
    let feed = Feed {
        after: f.after,
        woken: app.layer.state().follow(),
        last: |layer| layer.state().last_change(),
        look: move |layer: &shiphold_storage::DataLayer, after| {
            layer.state().changes(&caller, f.strategy.as_deref(), after)
        },
        number: |change: &StateChange| change.seq,
    };
    feed::follow(&app, &headers, feed).await
}
