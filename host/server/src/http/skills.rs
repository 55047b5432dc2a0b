//! `/v1/skills`

use super::body::{Input, Params};
use super::problem::Problem;
use crate::app::App;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use shiphold_storage::skills::{NewVersion, Performance, PerformanceRecord, Resolved, SkillFilter, SkillHit, SkillQuery, SkillSummary, SkillVersion, Version};
use shiphold_storage::{Caller, Error};
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Problem>;
type Door = (State<Arc<App>>, Extension<Caller>);

fn version(text: &str) -> Result<Version, Error> {
    text.parse().map_err(|e| Error::invalid(format!("`{}` is not a version: {e}", text.escape_debug())).hint("write three numbers: 1.2.3"))
}

pub(super) async fn put((State(app), Extension(caller)): Door, Input(new): Input<NewVersion>) -> Answer<SkillVersion> {
    Ok(Json(super::blocking(move || app.layer.skills().put(&caller, new)).await?))
}

pub(super) async fn list((State(app), Extension(caller)): Door, Params(filter): Params<SkillFilter>) -> Answer<Vec<SkillSummary>> {
    Ok(Json(super::blocking(move || app.layer.skills().list(&caller, &filter)).await?))
}

pub(super) async fn search((State(app), Extension(caller)): Door, Input(query): Input<SkillQuery>) -> Answer<Vec<SkillHit>> {
    Ok(Json(super::blocking(move || app.layer.skills().search(&caller, &query)).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct VersionParam {
    version: Option<String>,
}

pub(super) async fn show((State(app), Extension(caller)): Door, Path(name): Path<String>, Params(p): Params<VersionParam>) -> Answer<SkillVersion> {
    let v = p.version.as_deref().map(version).transpose()?;
    Ok(Json(super::blocking(move || app.layer.skills().get(&caller, &name, v.as_ref())).await?))
}

pub(super) async fn versions((State(app), Extension(caller)): Door, Path(name): Path<String>) -> Answer<Vec<SkillVersion>> {
    Ok(Json(super::blocking(move || app.layer.skills().versions(&caller, &name)).await?))
}

pub(super) async fn resolve((State(app), Extension(caller)): Door, Path(name): Path<String>) -> Answer<Vec<Resolved>> {
    Ok(Json(super::blocking(move || app.layer.skills().resolve(&caller, &name)).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackInput {
    version: String,
}

pub(super) async fn rollback((State(app), Extension(caller)): Door, Path(name): Path<String>, Input(i): Input<RollbackInput>) -> Answer<SkillVersion> {
    let v = version(&i.version)?;
    Ok(Json(super::blocking(move || app.layer.skills().rollback(&caller, &name, &v)).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PerformanceInput {
    version: String,
    performance: Performance,
}

pub(super) async fn record_performance((State(app), Extension(caller)): Door, Path(name): Path<String>, Input(i): Input<PerformanceInput>) -> Answer<Value> {
    let v = version(&i.version)?;
    super::blocking(move || app.layer.skills().record_performance(&caller, &name, &v, &i.performance)).await?;
    Ok(Json(json!({ "recorded": true })))
}

pub(super) async fn performance((State(app), Extension(caller)): Door, Path(name): Path<String>) -> Answer<Vec<PerformanceRecord>> {
    Ok(Json(super::blocking(move || app.layer.skills().performance(&caller, &name)).await?))
}

pub(super) async fn record_use((State(app), Extension(caller)): Door, Path(name): Path<String>) -> Answer<Value> {
    super::blocking(move || app.layer.skills().record_use(&caller, &name)).await?;
    Ok(Json(json!({ "recorded": true })))
}
