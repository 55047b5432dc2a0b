//! `/v1/backup` and `/v1/verify`

use super::answer::{self, Wants};
use super::body::{Input, Names};
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use shiphold_storage::{Caller, Error, backup};
use std::path::PathBuf;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    to: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    from: PathBuf,
}

/// A folder of this machine is the operator's to name: a token would be let out of the stores with it.
fn folder(caller: &Caller, path: PathBuf) -> Result<PathBuf, Problem> {
    if !matches!(caller, Caller::Operator) {
        return Err(Error::denied("a token may not name folders of the host's machine")
            .hint("use `shiphold backup` there")
            .into());
    }
    // The host may run in another folder than the caller.
    if !path.is_absolute() {
        return Err(Problem::invalid(format!("`{}` is not an absolute path", path.display())));
    }
    Ok(path)
}

pub(super) async fn export(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(e): Input<Export>,
) -> Answer {
    let to = folder(&caller, e.to)?;
    answer::work(&app, Wants::of(&headers), move |layer, _, progress| {
        layer.export(&caller, &to, &mut |done, total| progress.tell(done, total, "exporting"))
    })
    .await
}

pub(super) async fn check(
    (State(app), Extension(caller)): Host,
    headers: HeaderMap,
    Input(c): Input<Check>,
) -> Answer {
    let from = folder(&caller, c.from)?;
    answer::work(&app, Wants::of(&headers), move |_, _, progress| {
        backup::check(&from, &mut |done, total| progress.tell(done, total, "reading"))
    })
    .await
}

/// The repository of `[backup.NAME]` within its plugin's reach, and work on it on a thread made for blocking.
async fn on<T: serde::Serialize + Send + 'static>(
    (app, caller): (Arc<App>, Caller),
    name: String,
    headers: HeaderMap,
    work: impl FnOnce(&backup::Backups<'_>, &Caller, backup::Progress<'_>) -> shiphold_storage::Result<T>
    + Send
    + 'static,
    label: &'static str,
) -> Answer {
    let plugin = app.layer.offsite(&name)?.plugin.clone();
    let blobs = app.plugins().await?.target(&caller, &plugin).await?;
    answer::work(&app, Wants::of(&headers), move |layer, _, progress| {
        let repository = layer.backups(&caller, &name, blobs)?;
        work(&repository, &caller, &mut |done, total| progress.tell(done, total, label))
    })
    .await
}

pub(super) async fn push(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
) -> Answer {
    on((app, caller), name, headers, |b, caller, progress| b.push(caller, progress), "pushing").await
}

pub(super) async fn snapshots(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
) -> Answer {
    on((app, caller), name, headers, |b, _, _| b.snapshots(), "reading").await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    #[serde(default)]
    read_data: bool,
}

pub(super) async fn verify_target(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
    Input(v): Input<Verify>,
) -> Answer {
    on((app, caller), name, headers, move |b, _, progress| b.check(v.read_data, progress), "reading").await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pull {
    id: String,
    to: PathBuf,
}

pub(super) async fn pull(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
    Input(p): Input<Pull>,
) -> Answer {
    let to = folder(&caller, p.to)?;
    on(
        (app, caller),
        name,
        headers,
        move |b, caller, progress| b.pull(caller, &p.id, &to, progress),
        "pulling",
    )
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forget {
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn forget(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    headers: HeaderMap,
    Input(f): Input<Forget>,
) -> Answer {
    on((app, caller), name, headers, move |b, caller, _| b.forget(caller, f.dry_run), "forgetting").await
}

pub(super) async fn verify((State(app), Extension(caller)): Host, headers: HeaderMap) -> Answer {
    answer::work(&app, Wants::of(&headers), move |layer, _, progress| {
        let mut done = 0;
        layer.verify(&caller, &mut |what| {
            done += 1;
            progress.tell(done, 0, what);
        })
    })
    .await
}
