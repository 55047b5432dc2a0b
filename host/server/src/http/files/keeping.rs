//! Labels, provenance, and what a store keeps.

use super::super::answer::{self, Wants};
use super::super::body::{Input, Names, Params};
use super::super::content::Expected;
use super::super::problem::Answer;
use super::super::time::When;
use super::{Host, LIST_DEFAULT, serve};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::files::MadeOf;

type OfLabel = Names<(String, String)>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Page {
    after: Option<String>,
    limit: Option<u64>,
}

pub(in super::super) async fn labels(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    Params(p): Params<Page>,
) -> Answer {
    answer::json(&app, move |layer| {
        layer.files().labels(&caller, &store, p.after.as_deref(), p.limit.unwrap_or(LIST_DEFAULT))
    })
    .await
}

pub(in super::super) async fn label(
    (State(app), Extension(caller)): Host,
    Names((store, label)): OfLabel,
) -> Answer {
    answer::json(&app, move |layer| layer.files().label(&caller, &store, &label)).await
}

/// The content of the version that a label stands for.
pub(in super::super) async fn content(
    (State(app), Extension(caller)): Host,
    Names((store, label)): OfLabel,
    headers: HeaderMap,
) -> Answer {
    let (who, of) = (caller.clone(), store.clone());
    let found = answer::call(&app, move |layer| layer.files().label(&who, &of, &label)).await?;
    serve(app, caller, store, found.path.unwrap_or_default(), found.version, &headers).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct To {
    path: String,
    version: Option<u64>,
}

pub(in super::super) async fn set_label(
    (State(app), Extension(caller)): Host,
    Names((store, label)): OfLabel,
    Params(expected): Params<Expected>,
    Input(to): Input<To>,
) -> Answer {
    let expect = expected.read("number", "read")?;
    answer::json(&app, move |layer| {
        layer.files().set_label(&caller, &store, &label, (&to.path, to.version), expect)
    })
    .await
}

pub(in super::super) async fn remove_label(
    (State(app), Extension(caller)): Host,
    Names((store, label)): OfLabel,
    Params(expected): Params<Expected>,
) -> Answer {
    let expect = expected.read("number", "read")?;
    answer::json(&app, move |layer| layer.files().remove_label(&caller, &store, &label, expect)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct History {
    before: Option<u64>,
    limit: Option<u64>,
}

pub(in super::super) async fn label_history(
    (State(app), Extension(caller)): Host,
    Names((store, label)): OfLabel,
    Params(h): Params<History>,
) -> Answer {
    answer::json(&app, move |layer| {
        layer.files().label_history(&caller, &store, &label, h.before, h.limit.unwrap_or(LIST_DEFAULT))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Find {
    skill: Option<String>,
    skill_version: Option<String>,
    measurement: Option<String>,
    at: Option<When>,
    /// The name and version of the last one of the page before.
    after: Option<String>,
    after_version: Option<u64>,
    limit: Option<u64>,
}

/// Versions by what they were made of.
pub(in super::super) async fn find(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    Params(f): Params<Find>,
) -> Answer {
    answer::json(&app, move |layer| {
        let of = MadeOf {
            skill: f.skill,
            skill_version: f.skill_version,
            measurement: f.measurement,
            at_ns: f.at.map(|at| at.ns("at")).transpose()?,
        };
        let after = f.after.as_deref().map(|path| (path, f.after_version.unwrap_or_default()));
        layer.files().find(&caller, &store, &of, after, f.limit.unwrap_or(LIST_DEFAULT))
    })
    .await
}

/// What is known of a version: itself, and what it was made of.
pub(in super::super) async fn about(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    Params(p): Params<About>,
) -> Answer {
    answer::json(&app, move |layer| {
        let file = layer.files().stat(&caller, &store, &p.path, p.version)?;
        let provenance = layer.files().provenance(&caller, &file)?;
        Ok(json!({ "file": file, "provenance": provenance }))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct About {
    path: String,
    version: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Prune {
    #[serde(default)]
    dry_run: bool,
}

pub(in super::super) async fn prune(
    (State(app), Extension(caller)): Host,
    Names(store): Names<String>,
    headers: HeaderMap,
    Input(p): Input<Prune>,
) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, _, _| {
        layer.files().prune(&caller, &store, p.dry_run)
    })
    .await
}
