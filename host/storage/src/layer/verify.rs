//! `verify`: every store is read again, and what is wrong is named.

use super::DataLayer;
use crate::audit::Audit;
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, Fault};
use rusqlite::Connection;
use serde::Serialize;

/// Lines kept of one database's `integrity_check` and `foreign_key_check`.
const PROBLEMS_MAX: usize = 100;

/// What `verify` looked at and found.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct VerifyReport {
    pub ok: bool,
    pub databases: u64,
    pub audit_entries: u64,
    pub chunks: u64,
    pub objects: u64,
    /// Each names the object and what is wrong.
    pub faults: Vec<Fault>,
}

pub(super) fn run(
    layer: &DataLayer,
    caller: &Caller,
    progress: &mut dyn FnMut(&str),
) -> Result<VerifyReport> {
    caller.require(Scope::Admin, "verify the stores")?;
    let mut report = VerifyReport::default();
    let mut databases = vec![(super::STRUCTURED_FILE, layer.db.as_ref())];
    if let Some(engine) = &layer.embedded {
        databases.push((super::SERIES_FILE, engine.database()));
    }
    for (name, database) in databases {
        progress(name);
        report.databases += 1;
        let problems = database.pin().and_then(|c| integrity(&c)).unwrap_or_else(|e| vec![e.to_string()]);
        report.faults.extend(problems.into_iter().map(|problem| Fault { object: name.into(), problem }));
    }
    progress("audit");
    match layer.db.pin().and_then(|c| Audit::verify_connection(&c)) {
        Ok(proof) => {
            report.audit_entries = proof.entries;
            if let Some(broken) = proof.broken {
                report
                    .faults
                    .push(Fault { object: format!("audit entry {}", broken.seq), problem: broken.problem });
            }
        }
        Err(e) => report.faults.push(Fault { object: "audit".into(), problem: e.to_string() }),
    }
    for (id, why) in crate::commits::aside(&layer.db)? {
        report.faults.push(Fault { object: format!("rows of commit {id}"), problem: why });
    }
    progress("series");
    let engine = layer.series.engine();
    if engine.capabilities().maintained_here {
        report.faults.extend(engine.verify(&Budget::default()).or_else(|e| as_fault("series", e))?);
        report.chunks = engine.stats()?.chunks;
    }
    for store in layer.files.names() {
        progress(store);
        match layer.files.verify(caller, store, &mut |_| ()) {
            Ok(found) => {
                report.objects += found.objects;
                report.faults.extend(found.faults.into_iter().map(|f| Fault {
                    object: format!(
                        "object {} of store `{}`, needed by {}",
                        f.blake3,
                        f.store,
                        named(&f.files)
                    ),
                    problem: f.problem,
                }));
            }
            Err(e) => report.faults.extend(as_fault(&format!("store `{store}`"), e)?),
        }
    }
    report.ok = report.faults.is_empty();
    Ok(report)
}

/// A store that cannot be read is a finding; a caller who cancels, or may not ask, is not.
fn as_fault(object: &str, e: Error) -> Result<Vec<Fault>> {
    match e.kind() {
        Kind::Corrupt | Kind::Io | Kind::NotFound | Kind::Incompatible => {
            Ok(vec![Fault { object: object.into(), problem: e.to_string() }])
        }
        _ => Err(e),
    }
}

fn named(files: &[String]) -> String {
    match files {
        [] => "no file".into(),
        [one] => format!("`{one}`"),
        [first, rest @ ..] => format!("`{first}` and {} more", rest.len()),
    }
}

/// What SQLite finds wrong in a whole file: damaged pages, indexes that do not fit, rows that refer to nothing.
pub(crate) fn integrity(connection: &Connection) -> Result<Vec<String>> {
    let mut problems: Vec<String> = Vec::new();
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            problems.push(line);
        }
    }
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if problems.len() >= PROBLEMS_MAX {
            break;
        }
        let (table, id, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let id = id.map_or_else(String::new, |i| format!(" {i}"));
        problems.push(format!("row{id} of `{table}` refers to a row of `{parent}` that is not there"));
    }
    Ok(problems)
}
