//! `shiphold rollups …`

use super::client::Client;
use super::output::{Failure, Output, time};
use super::skills::word;
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Rows of a table start here when everything there is is due.
const BEGINNING: &str = "the beginning";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How each rollup of the manifest stands
    List,
    /// Roll up everything that is due, of one or of all; the host does it by itself too
    Run {
        name: Option<String>,
        /// Show what is due, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List => {
            let v = client.get("/v1/rollups").await?;
            if out.json { out.json(&v) } else { list(&v, out) }
        }
        Verb::Run { name, dry_run } => {
            let body = json!({ "name": name, "dry_run": dry_run });
            let v = client.work("/v1/rollups/run", &body, out, "rolling up").await?;
            if out.json {
                out.json(&v);
            } else if dry_run {
                due(&v, out);
            } else {
                out.line(format!(
                    "{} windows written from {} rows",
                    number(&v, "windows"),
                    number(&v, "rows")
                ));
            }
            let errors = v.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if !out.json {
                errors.iter().filter_map(Value::as_str).for_each(|e| out.line(e));
            }
            if !errors.is_empty() {
                return Ok(ExitCode::from(1));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn number(v: &Value, key: &str) -> i64 {
    v.get(key).and_then(Value::as_i64).unwrap_or_default()
}

fn list(v: &Value, out: &Output) {
    let rows: Vec<Vec<String>> = v
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| {
            let counts = r.get("counts").unwrap_or(&Value::Null);
            vec![
                word(r, "name").to_string(),
                format!("{}/{}", word(r, "bucket"), word(r, "from")),
                word(r, "to").to_string(),
                number(r, "series").to_string(),
                format!("{} s", number(r, "behind_ns") / 1_000_000_000),
                number(r, "late").to_string(),
                number(counts, "windows").to_string(),
                word(r, "error").to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return out.line("no rollups: [rollups.NAME] in shiphold.toml declares one");
    }
    out.table(&["name", "from", "to", "series", "behind", "late", "windows", "error"], &rows);
}

fn due(v: &Value, out: &Output) {
    let at = |row: &Value, key: &str| {
        let ns = number(row, key);
        if ns <= i64::MIN + 2 { BEGINNING.to_string() } else { time(ns) }
    };
    let name = |row: &Value, key: &str| word(row.get(key).unwrap_or(&Value::Null), "measurement").to_string();
    let rows: Vec<Vec<String>> = v
        .get("due")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|row| {
            let late = row.get("late").and_then(Value::as_bool).unwrap_or_default();
            let why = if late { "late rows" } else { "new" };
            vec![
                word(row, "rollup").to_string(),
                name(row, "key"),
                name(row, "target"),
                at(row, "start"),
                at(row, "end"),
                why.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return out.line("nothing is due");
    }
    out.table(&["rollup", "series", "into", "from", "to", "why"], &rows);
}
