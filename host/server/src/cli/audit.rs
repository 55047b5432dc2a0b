//! `shiphold audit …`

use super::client::{Client, with_query};
use super::output::{Failure, Output};
use clap::Subcommand;
use serde_json::Value;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Entries, newest first
    List {
        /// operator, token:NAME or plugin:NAME
        #[arg(long)]
        actor: Option<String>,
        /// An action or its beginning: skills.
        #[arg(long)]
        action: Option<String>,
        /// An object or its beginning: skill:pullback
        #[arg(long)]
        object: Option<String>,
        /// Only entries before this number: the next page
        #[arg(long, value_name = "SEQ")]
        before: Option<i64>,
        #[arg(long, default_value_t = 50)]
        limit: u64,
    },
    /// Walk the hash chain; names the first broken link
    Verify,
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List { actor, action, object, before, limit } => {
            let query = [
                ("actor", actor),
                ("action", action),
                ("object", object),
                ("before_seq", before.map(|b| b.to_string())),
                ("limit", Some(limit.to_string())),
            ];
            let v = client.get(&with_query("/v1/audit", &query)).await?;
            out.list(
                &v,
                &[
                    ("seq", "seq"),
                    ("time", "time"),
                    ("actor", "actor"),
                    ("action", "action"),
                    ("object", "object"),
                    ("detail", "detail"),
                ],
                "nothing was recorded yet",
            );
        }
        Verb::Verify => {
            let v = client.get("/v1/audit/verify").await?;
            let entries = v.get("entries").and_then(Value::as_u64).unwrap_or_default();
            match v.get("broken").filter(|b| !b.is_null()) {
                None => out.done(
                    &v,
                    format!(
                        "{entries} entries, the chain holds; its head is {}",
                        v.get("head").and_then(Value::as_str).unwrap_or_default()
                    ),
                ),
                Some(broken) => {
                    let text = |k: &str| {
                        broken
                            .get(k)
                            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string))
                            .unwrap_or_default()
                    };
                    out.done(
                        &v,
                        format!("the chain is BROKEN at entry {}: {}", text("seq"), text("problem")),
                    );
                    return Ok(ExitCode::from(1));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
