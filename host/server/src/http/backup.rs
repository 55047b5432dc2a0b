//! `/v1/backup` and `/v1/verify`

use super::answer::{self, Wants};
use super::body::Input;
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
