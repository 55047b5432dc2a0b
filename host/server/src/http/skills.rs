//! `/v1/skills`

use super::answer::{self, Wants};
use super::body::{Input, Names, Params};
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use semver::Version;
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::skills::{NewVersion, Performance, SkillFilter, SkillQuery};
use shiphold_storage::{Caller, Error, Scope};
use std::sync::Arc;

/// Bytes of code up to which a skill is written where its request came in: writing more would keep others waiting.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;

type Host = (State<Arc<App>>, Extension<Caller>);

fn version(text: &str) -> Result<Version, Error> {
    text.parse().map_err(|e| {
        Error::invalid(format!("`{}` is not a version: {e}", text.escape_debug()))
            .hint("write three numbers: 1.2.3")
    })
}

pub(super) async fn put((State(app), Extension(caller)): Host, Input(new): Input<NewVersion>) -> Answer {
    app.with_indexers().await?;
    answer::created(&app, move |layer| layer.skills().put(&caller, new)).await
}

pub(super) async fn list(
    (State(app), Extension(caller)): Host,
    Params(filter): Params<SkillFilter>,
) -> Answer {
    answer::json(&app, move |layer| layer.skills().list(&caller, &filter)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    #[serde(default)]
    text: String,
    /// Several with commas.
    #[serde(default)]
    tag: String,
    language: Option<String>,
    #[serde(default)]
    limit: u64,
}

pub(super) async fn search(host: Host, Params(s): Params<Search>) -> Answer {
    let tags = s.tag.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_string).collect();
    let query = SkillQuery { text: s.text, tags, language: s.language, limit: s.limit };
    search_of(host, Input(query)).await
}

pub(super) async fn search_of(
    (State(app), Extension(caller)): Host,
    Input(query): Input<SkillQuery>,
) -> Answer {
    app.with_indexers().await?;
    answer::json(&app, move |layer| layer.skills().search(&caller, &query)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reindex {
    #[serde(default)]
    all: bool,
}

pub(super) async fn reindex(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(r): Input<Reindex>,
) -> Answer {
    caller.require(Scope::Write, "index skills")?;
    app.with_indexers().await?;
    answer::work(&app, Wants::of(&headers), move |layer, budget, progress| {
        let skills = layer.skills();
        let waiting: u64 = skills.unindexed()?.iter().map(|(_, n)| n).sum();
        skills.reindex(&caller, r.all, &mut |done| {
            progress.tell(done, waiting.max(done), "skills");
            budget.check().is_ok()
        })
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfVersion {
    version: Option<String>,
}

pub(super) async fn show(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<OfVersion>,
) -> Answer {
    let version = p.version.as_deref().map(version).transpose()?;
    // What is in memory needs no thread that may block, and no wait for one.
    match app.layer.skills().known(&caller, &name, version.as_ref()) {
        Some(known) if known.code.len() <= AT_ONCE_BYTES_MAX => answer::small(&*known),
        _ => answer::json(&app, move |layer| layer.skills().get(&caller, &name, version.as_ref())).await,
    }
}

pub(super) async fn versions((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    answer::json(&app, move |layer| layer.skills().versions(&caller, &name)).await
}

pub(super) async fn resolve((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    answer::json(&app, move |layer| layer.skills().resolve(&caller, &name)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    version: String,
}

pub(super) async fn rollback(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Input(r): Input<Rollback>,
) -> Answer {
    let version = version(&r.version)?;
    app.with_indexers().await?;
    answer::json(&app, move |layer| layer.skills().rollback(&caller, &name, &version)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: String,
    performance: Performance,
}

pub(super) async fn record_performance(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Input(r): Input<Record>,
) -> Answer {
    let version = version(&r.version)?;
    answer::created(&app, move |layer| {
        layer.skills().record_performance(&caller, &name, &version, &r.performance)?;
        Ok(json!({}))
    })
    .await
}

pub(super) async fn performance((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    answer::json(&app, move |layer| layer.skills().performance(&caller, &name)).await
}

pub(super) async fn record_use((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    answer::json(&app, move |layer| {
        layer.skills().record_use(&caller, &name)?;
        Ok(json!({}))
    })
    .await
}
