//! `/v1/series/archives`, `archive` and `restore`: old rows in files, and back.

use super::answer::{self, Wants};
use super::body::{Input, Params};
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use shiphold_storage::Caller;
use shiphold_storage::series::archives::{ArchivesQuery, Archiving, Restore};
use shiphold_storage::series::query::Time;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    bucket: Option<String>,
    measurement: Option<String>,
    start: Option<String>,
    end: Option<String>,
    state: Option<String>,
    after: Option<i64>,
    limit: Option<u64>,
    /// Those of line protocol, which no index knows.
    #[serde(default)]
    old: bool,
}

/// `GET /v1/series/archives`
pub(super) async fn list((State(app), Extension(caller)): Host, Params(c): Params<Choice>) -> Answer {
    if c.old {
        return answer::json(&app, move |layer| layer.archives().old(&caller)).await;
    }
    let query = ArchivesQuery {
        bucket: c.bucket,
        measurement: c.measurement,
        tags: Vec::new(),
        start: c.start.map(Time::Text),
        end: c.end.map(Time::Text),
        state: c.state,
        after: c.after,
        limit: c.limit,
    };
    list_of((State(app), Extension(caller)), Input(query)).await
}

/// `POST /v1/series/archives`: chosen by tags, too.
pub(super) async fn list_of(
    (State(app), Extension(caller)): Host,
    Input(query): Input<ArchivesQuery>,
) -> Answer {
    answer::json(&app, move |layer| layer.archives().list(&caller, &query)).await
}

/// `POST /v1/series/archive`
pub(super) async fn archive(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(request): Input<Archiving>,
) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, _, progress| {
        layer.archives().archive(&caller, &request, &mut |done, total| {
            progress.tell(done, total, "archiving, in steps");
        })
    })
    .await
}

/// `POST /v1/series/restore`
pub(super) async fn restore(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(request): Input<Restore>,
) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, budget, progress| {
        layer.archives().restore(&caller, &request, budget, &mut |done, total| {
            progress.tell(done, total, "bringing back, in rows");
        })
    })
    .await
}
