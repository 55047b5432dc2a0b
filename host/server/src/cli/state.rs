//! `shiphold state …`

use super::client::{Client, body_json, file_body, segment, with_query};
use super::output::{Failure, Output};
use super::{files, input};
use axum::http::{Method, Request, header};
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The strategies that have a checkpoint, with the newest of each
    List {
        /// Only names after this one: the next page
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// Save a file as the next checkpoint of a strategy
    Save {
        strategy: String,
        file: PathBuf,
        /// Only if the state is at this revision; `absent`: only if there is none
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
        /// Sent again with the same key it is saved once
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[arg(long, value_name = "TYPE/SUBTYPE")]
        media_type: Option<String>,
        /// A JSON object: what helps people
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
    },
    /// Write the newest checkpoint to standard output, or to --output (replaced only when it came whole)
    Load {
        strategy: String,
        #[arg(long, conflicts_with = "at")]
        revision: Option<u64>,
        /// As it was: RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// The revisions of a strategy that are kept, newest first
    History {
        strategy: String,
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Say that a strategy has no state any more; what is kept of its history stays readable
    Delete {
        strategy: String,
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
        /// Remove every older revision, too
        #[arg(long)]
        purge: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print saves and deletions as they come, a line of JSON each
    Follow {
        /// Of one strategy; of all by default
        strategy: Option<String>,
        /// Those after this number; from now on by default
        #[arg(long, value_name = "SEQ")]
        after: Option<i64>,
    },
}

const COLUMNS: [(&str, &str); 5] = [
    ("revision", "revision"),
    ("bytes", "size"),
    ("saved", "saved_at"),
    ("by", "saved_by"),
    ("blake3", "blake3"),
];

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |strategy: &str| format!("/v1/state/{}", segment(strategy));
    let number = |v: &Value, key: &str| v.get(key).and_then(Value::as_u64).unwrap_or_default();
    match verb {
        Verb::List { after, limit } => {
            let query = [("after", after), ("limit", Some(limit.to_string()))];
            let v = client.get(&with_query("/v1/state", &query)).await?;
            let columns = [&[("strategy", "strategy")][..], &COLUMNS].concat();
            out.list(&v, &columns, "no strategy has a checkpoint");
        }
        Verb::Save { strategy, file, expect, idempotency_key, media_type, metadata } => {
            let metadata = metadata.map(|m| super::skills::parse_json("--metadata", &m)).transpose()?;
            let mut builder = Request::builder()
                .method(Method::PUT)
                .uri(with_query(&at(&strategy), &[("expect", expect)]))
                .header(header::HOST, "localhost");
            for (name, value) in [
                ("content-type", media_type),
                ("idempotency-key", idempotency_key),
                ("x-shiphold-metadata", metadata.map(|m| m.to_string())),
            ] {
                if let Some(value) = value {
                    builder = builder.header(name, value);
                }
            }
            let request = builder.body(file_body(&file).await?).map_err(|e| {
                Failure::usage(format!("the checkpoint cannot be sent: {e}"), "look at the options")
            })?;
            let v = body_json(client.send(request).await?).await?;
            let was =
                if v.get("replayed") == Some(&Value::Bool(true)) { "was saved before" } else { "is saved" };
            let said = format!(
                "{strategy} revision {} {was} ({} bytes)",
                number(&v, "revision"),
                number(&v, "size")
            );
            out.done(&v, said);
        }
        Verb::Load { strategy, revision, at: when, output } => {
            let query = [("revision", revision.map(|r| r.to_string())), ("at", when)];
            files::download(client, &with_query(&at(&strategy), &query), output.as_deref()).await?;
        }
        Verb::History { strategy, limit } => {
            let query = [("limit", Some(limit.to_string()))];
            let v = client.get(&with_query(&format!("{}/history", at(&strategy)), &query)).await?;
            out.list(&v, &COLUMNS, "it never had a checkpoint");
        }
        Verb::Delete { strategy, expect, purge, yes } => {
            if purge {
                input::confirm(yes, &format!("remove every checkpoint of {strategy}"))?;
            }
            let query = [("expect", expect), ("purge", purge.then(|| "true".into()))];
            let v = client.json(Method::DELETE, &with_query(&at(&strategy), &query), None).await?;
            out.done(&v, format!("{strategy} is {}", if purge { "purged" } else { "deleted" }));
        }
        Verb::Follow { strategy, after } => {
            let query = [("strategy", strategy), ("after", after.map(|a| a.to_string()))];
            let path = with_query("/v1/state/@changes", &query);
            super::events::follow(client, &path, out, &|event| event.get("change").map(Value::to_string))
                .await?;
        }
    }
    Ok(())
}
