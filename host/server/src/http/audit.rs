//! `/v1/audit`

use super::answer;
use super::body::{Input, Params};
use super::problem::Answer;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use shiphold_storage::audit::{AuditFilter, AuditLine, Signed};
use shiphold_storage::{Caller, Error, Result, Scope};
use std::io::Write as _;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// Checkpoints of one request.
const CHECKPOINTS_MAX: usize = 1_000;

pub(super) async fn list(
    (State(app), Extension(caller)): Host,
    Params(filter): Params<AuditFilter>,
) -> Answer {
    answer::json(&app, move |layer| layer.audit().list(&caller, &filter)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Against {
    checkpoints: Vec<Signed>,
    /// Read archived segments too.
    archives: bool,
}

/// `GET /v1/audit/verify`
pub(super) async fn verify((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.audit_verify(&caller, &[], false)).await
}

/// `POST /v1/audit/verify`
pub(super) async fn verify_against(
    (State(app), Extension(caller)): Host,
    Input(against): Input<Against>,
) -> Answer {
    answer::json(&app, move |layer| {
        let given = &against.checkpoints;
        if given.len() > CHECKPOINTS_MAX {
            return Err(Error::limit(
                format!("{} checkpoints", given.len()),
                CHECKPOINTS_MAX,
                "send the newest: each stands for all before it",
            ));
        }
        layer.audit_verify(&caller, given, against.archives)
    })
    .await
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Jsonl,
    Csv,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Part {
    format: Form,
    /// Only entries with a larger number.
    after: i64,
}

/// `GET /v1/audit/export`
pub(super) async fn export((State(app), Extension(caller)): Host, Params(part): Params<Part>) -> Answer {
    caller.require(Scope::Read, "export the audit trail")?;
    let layer = app.layer.clone();
    let media_type = match part.format {
        Form::Jsonl => answer::NDJSON,
        Form::Csv => "text/csv",
    };
    answer::written(media_type, move |out| {
        out.begin();
        let io = |e| Error::io("writing the answer", e);
        match part.format {
            Form::Jsonl => layer.audit().export(&caller, part.after, &mut |line| {
                answer::write_json(out, line)?;
                out.write_all(b"\n").map_err(io)
            }),
            Form::Csv => {
                let mut csv = csv::Writer::from_writer(&mut *out);
                csv.write_record(COLUMNS).map_err(|e| io(e.into()))?;
                let given = layer.audit().export(&caller, part.after, &mut |line| row(&mut csv, line))?;
                csv.flush().map_err(io)?;
                Ok(given)
            }
        }
        .map(drop)
    })
    .await
}

const COLUMNS: [&str; 10] =
    ["seq", "time", "actor", "action", "object", "before", "after", "detail", "request", "hash"];

fn row(csv: &mut csv::Writer<impl std::io::Write>, line: &AuditLine) -> Result<()> {
    let (seq, time) = (line.seq.to_string(), line.time.to_string());
    let text = |t: &'_ Option<String>| t.clone().unwrap_or_default();
    csv.write_record([
        &seq,
        &time,
        &line.actor,
        &line.action,
        &line.object,
        &text(&line.before),
        &text(&line.after),
        &line.detail,
        &text(&line.request),
        &line.hash,
    ])
    .map_err(|e| Error::io("writing the answer", e.into()))
}

pub(super) async fn segments((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.audit().segments(&caller)).await
}

pub(super) async fn seal((State(app), Extension(caller)): Host) -> Answer {
    answer::json(&app, move |layer| layer.audit().seal(&caller)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    /// The file store.
    store: String,
}

pub(super) async fn archive((State(app), Extension(caller)): Host, Input(to): Input<To>) -> Answer {
    answer::json(&app, move |layer| layer.audit_archive(&caller, &to.store)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<u64>,
}

pub(super) async fn checkpoints((State(app), Extension(caller)): Host, Params(page): Params<Page>) -> Answer {
    answer::json(&app, move |layer| layer.audit().checkpoints(&caller, page.limit.unwrap_or(100))).await
}

pub(super) async fn checkpoint((State(app), Extension(caller)): Host) -> Answer {
    answer::created(&app, move |layer| layer.audit_checkpoint(&caller)).await
}
