//! `shiphold trades statement …`

use super::of_account;
use crate::cli::client::{Client, with_query};
use crate::cli::input;
use crate::cli::output::{Failure, Output};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Compare a statement in CSV with the record, and keep what differs
    Compare {
        account: String,
        file: PathBuf,
        /// Which column is what, in TOML or JSON; docs/trades.md shows one
        #[arg(long, value_name = "FILE")]
        mapping: PathBuf,
        /// The time that the statement is of; by default from its first trade to its last
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Not in it
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Statements that were compared, the newest first
    List {
        account: String,
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// What differs
    Show {
        account: String,
        statement: i64,
        /// Only what is not resolved
        #[arg(long)]
        open: bool,
    },
    /// Resolve a difference: correct the record as the broker has it, or let ours stand
    Resolve {
        account: String,
        statement: i64,
        number: i64,
        /// Whose side is right
        #[arg(value_parser = ["theirs", "ours"])]
        action: String,
        #[arg(long)]
        reason: String,
    },
}

const DIFFERENCES: [(&str, &str); 14] = [
    ("number", "number"),
    ("kind", "kind"),
    ("line", "theirs.line"),
    ("time", "theirs.time"),
    ("theirs", "theirs.instrument"),
    ("side", "theirs.side"),
    ("quantity", "theirs.quantity"),
    ("price", "theirs.price"),
    ("fee", "theirs.fee"),
    ("ours", "ours.client_id"),
    ("quantity", "ours.quantity"),
    ("price", "ours.price"),
    ("fee", "ours.fee"),
    ("resolved", "resolved.action"),
];

pub(super) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |account: &str, statement: i64| of_account(account, &format!("statements/{statement}"));
    match verb {
        Verb::Compare { account, file, mapping, since, until } => {
            let body = json!({ "csv": input::text(&file)?, "mapping": read_mapping(&mapping)?, "since": since, "until": until });
            let v = client.post(&of_account(&account, "statements"), &body).await?;
            let number = |key: &str| v.get(key).and_then(Value::as_i64).unwrap_or_default();
            let said = format!(
                "statement {}: {} trades, {} of them the same here, {} differences",
                number("seq"),
                number("lines"),
                number("matched"),
                number("differences")
            );
            out.done(&v, said);
        }
        Verb::List { account, limit } => {
            let query = [("limit", Some(limit.to_string()))];
            let v = client.get(&with_query(&of_account(&account, "statements"), &query)).await?;
            let columns = [
                ("statement", "seq"),
                ("recorded", "recorded_at"),
                ("by", "recorded_by"),
                ("trades", "lines"),
                ("same", "matched"),
                ("differences", "differences"),
                ("resolved", "resolved"),
            ];
            out.list(&v, &columns, "no statement was compared");
        }
        Verb::Show { account, statement, open } => {
            let query = [("open", open.then(|| "true".into()))];
            let v = client.get(&with_query(&at(&account, statement), &query)).await?;
            out.list(&v, &DIFFERENCES, "nothing differs");
        }
        Verb::Resolve { account, statement, number, action, reason } => {
            let body = json!({ "number": number, "action": action, "reason": reason });
            let v = client.post(&format!("{}/resolve", at(&account, statement)), &body).await?;
            out.done(&v, format!("difference {number} is resolved: {action}"));
        }
    }
    Ok(())
}

/// A mapping in TOML, or in JSON where the file is named so.
fn read_mapping(file: &Path) -> Result<Value, Failure> {
    let text = input::text(file)?;
    let wrong = |e: String| {
        Failure::usage(
            format!("{}: {e}", file.display()),
            "docs/trades.md shows a mapping in TOML; name files of JSON *.json",
        )
    };
    if file.extension().is_some_and(|e| e == "json") {
        return serde_json::from_str(&text).map_err(|e| wrong(e.to_string()));
    }
    toml::from_str(&text).map_err(|e| wrong(e.to_string()))
}
