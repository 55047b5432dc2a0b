//! `/v1/backup/export` and `/v1/verify`

use super::body::Input;
use super::problem::Problem;
use super::work::Wants;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use shiphold_storage::{Caller, Error};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportInput {
    /// An absolute path on the host's machine.
    to: PathBuf,
}

pub(super) async fn export(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, wants: Wants, Input(i): Input<ExportInput>) -> Result<Response, Problem> {
    // A path on the host's disk is the operator's to name, not a token's.
    if !matches!(caller, Caller::Operator) {
        return Err(Problem(Error::denied("only the operator exports to a folder of the host").hint("use `shiphold backup export` on the host's machine")));
    }
    if !i.to.is_absolute() {
        return Err(Problem(Error::invalid(format!("`{}` is not an absolute path", i.to.display()))));
    }
    Ok(wants.run(move |p| app.layer.export(&caller, &i.to, &mut |done, total| p.tell(done, total, "exporting"))).await)
}

pub(super) async fn verify(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, wants: Wants) -> Response {
    wants
        .run(move |p| {
            let mut done = 0;
            app.layer.verify(&caller, &mut |what| {
                done += 1;
                p.tell(done, 0, what);
            })
        })
        .await
}
