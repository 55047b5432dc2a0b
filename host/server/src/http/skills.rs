//! `/v1/skills`

pub(super) mod library;
pub(super) mod past;

use super::answer::{self, Wants};
use super::body::{Input, Names, Params};
use super::problem::Answer;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use semver::Version;
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::skills::{
    NewVersion, Performance, PerformanceFilter, Proof, SkillFilter, SkillQuery, Status, VersionFilter,
};
use shiphold_storage::{Caller, Error, Scope};
use std::sync::Arc;

/// Bytes of code and of what it was made from up to which a skill is written where its request came in: writing more would keep others waiting.
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
    /// The same.
    #[serde(default)]
    without: String,
    language: Option<String>,
    by: Option<String>,
    proof: Option<Proof>,
    /// Several with commas.
    #[serde(default)]
    status: String,
    #[serde(default)]
    limit: u64,
    #[serde(default)]
    explain: bool,
    #[serde(default)]
    facets: bool,
}

pub(super) async fn search(host: Host, Params(s): Params<Search>) -> Answer {
    let words = |t: &str| t.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_string).collect();
    let status: Vec<String> = words(&s.status);
    let query = SkillQuery {
        text: s.text,
        tags: words(&s.tag),
        without: words(&s.without),
        language: s.language,
        by: s.by,
        proof: s.proof,
        status: status.iter().map(|word| word.parse::<Status>()).collect::<Result<_, Error>>()?,
        limit: s.limit,
        explain: s.explain,
        facets: s.facets,
    };
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
        let mut go_on = |done: u64, all: u64| {
            progress.tell(done, all.max(done), "skills");
            budget.check().is_ok()
        };
        let rebuilt = skills.rebuild(&caller, &mut |done| go_on(done, 0))?;
        let waiting = if r.all {
            rebuilt.saturating_mul(skills.indexers().len() as u64)
        } else {
            skills.unindexed()?.iter().map(|(_, n)| n).sum()
        };
        let said = skills.reindex(&caller, r.all, &mut |done| go_on(done, waiting))?;
        skills.warm()?;
        budget.check()?;
        Ok(json!({ "rebuilt": rebuilt, "indexed": said.indexed, "failed": said.failed }))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfVersion {
    version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    version: Option<String>,
    at: Option<When>,
}

/// `GET /v1/skills/{name}`: a version, the current one, or the one that was current at a time.
pub(super) async fn show(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<Which>,
) -> Answer {
    let version = p.version.as_deref().map(version).transpose()?;
    let at = p.at.map(|t| t.ns("at")).transpose()?;
    if version.is_some() && at.is_some() {
        return Err(Error::invalid("`version` and `at` name two versions")
            .hint("a version is the same at all times: leave `at` out")
            .into());
    }
    // What is in memory needs no thread that may block, and no wait for one.
    let known = if at.is_none() { app.layer.skills().known(&caller, &name, version.as_ref()) } else { None };
    if let Some(known) = known
        && known.code.len() + known.provenance.bytes() <= AT_ONCE_BYTES_MAX
    {
        return answer::small(&*known);
    }
    answer::json(&app, move |layer| match at {
        Some(at) => layer.skills().get_at(&caller, &name, at),
        None => layer.skills().get(&caller, &name, version.as_ref()),
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Versions {
    before: Option<String>,
    limit: Option<u64>,
    /// Without code, prompts and metadata.
    #[serde(default)]
    brief: bool,
}

/// `GET /v1/skills/{name}/versions`, highest first.
pub(super) async fn versions(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<Versions>,
) -> Answer {
    let before = p.before.as_deref().map(version).transpose()?;
    let filter = VersionFilter { before, limit: p.limit };
    if p.brief {
        return answer::json(&app, move |layer| layer.skills().version_summaries(&caller, &name, &filter))
            .await;
    }
    answer::json(&app, move |layer| layer.skills().versions_of(&caller, &name, &filter)).await
}

pub(super) async fn resolve(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<OfVersion>,
) -> Answer {
    let version = p.version.as_deref().map(version).transpose()?;
    answer::json(&app, move |layer| layer.skills().resolve(&caller, &name, version.as_ref())).await
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    version: Option<String>,
    at: Option<When>,
    after: Option<i64>,
    limit: Option<u64>,
}

/// `GET /v1/skills/{name}/performance`: the records, newest period first.
pub(super) async fn performance(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(p): Params<Records>,
) -> Answer {
    let filter = PerformanceFilter {
        version: p.version.as_deref().map(version).transpose()?,
        at: p.at.map(|t| t.ns("at")).transpose()?,
        after: p.after,
        limit: p.limit,
    };
    answer::json(&app, move |layer| layer.skills().performance_of(&caller, &name, &filter)).await
}

pub(super) async fn record_use((State(app), Extension(caller)): Host, Names(name): Names<String>) -> Answer {
    answer::json(&app, move |layer| {
        layer.skills().record_use(&caller, &name)?;
        Ok(json!({}))
    })
    .await
}
