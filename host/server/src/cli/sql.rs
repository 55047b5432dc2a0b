//! `shiphold sql STATEMENT`

use super::client::Client;
use super::output::{Failure, Output, one_line};
use axum::http::Method;
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::io::Read as _;

/// Bytes that are read of a statement on standard input: more than the host takes, so that it can say so.
const STDIN_BYTES_MAX: u64 = 1 << 20;

/// Ask the structured store in SQL: one statement that only reads
///
/// `SELECT name, sql FROM sqlite_schema` shows the tables; they are not an interface, and change with versions.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The statement; `-` reads it from standard input
    #[arg(value_name = "STATEMENT")]
    sql: String,
    /// Rows at most
    #[arg(long, default_value_t = 1_000)]
    limit: u64,
}

pub(crate) async fn run(args: Args, client: &Client, out: &Output) -> Result<(), Failure> {
    let sql = if args.sql == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(STDIN_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|e| Failure::plain(format!("reading the statement: {e}")))?;
        text
    } else {
        args.sql
    };
    let answer =
        client.json(Method::POST, "/v1/sql", Some(&json!({ "sql": sql, "limit": args.limit }))).await?;
    if out.json {
        out.json(&answer);
        return Ok(());
    }
    let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let heads = list("columns");
    let heads: Vec<&str> = heads.iter().filter_map(Value::as_str).collect();
    let rows: Vec<Vec<String>> =
        list("rows").iter().map(|row| row.as_array().into_iter().flatten().map(cell).collect()).collect();
    out.table(&heads, &rows);
    if answer.get("truncated").and_then(Value::as_bool) == Some(true) {
        eprintln!("there are more rows than {}: `--limit` raises it", rows.len());
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => one_line(text),
        other => other.to_string(),
    }
}
