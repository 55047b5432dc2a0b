//! `shiphold skills …`

mod library;
mod past;
mod search;

use super::client::{Client, segment, with_query};
use super::input;
use super::output::{Failure, Output};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Store a version of a skill and make it the current one
    Put {
        name: String,
        /// File with the code; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        code: PathBuf,
        /// One word, such as python
        #[arg(long, default_value = "python")]
        language: String,
        #[arg(long, default_value = "")]
        description: String,
        /// Semantic version; the next patch by default
        #[arg(long, value_name = "X.Y.Z")]
        version: Option<String>,
        /// May be given several times
        #[arg(long = "tag", value_name = "WORD")]
        tags: Vec<String>,
        /// A skill that this one calls, with the range of versions that will do: sma@^1
        #[arg(long, value_name = "NAME@RANGE")]
        depends: Vec<String>,
        /// A JSON object kept beside the code
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
        /// What it may be used for at first
        #[arg(long, value_parser = past::STATUSES)]
        status: Option<String>,
        #[command(flatten)]
        origin: past::Origin,
    },
    /// Show a version with its code
    Get {
        name: String,
        #[arg(long)]
        version: Option<String>,
        /// The one that was current then: RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, value_name = "TIME", conflicts_with = "version")]
        at: Option<String>,
        /// Print nothing but the code
        #[arg(long)]
        code: bool,
    },
    /// List the current versions by name
    List {
        #[arg(long)]
        tag: Option<String>,
        #[arg(long)]
        language: Option<String>,
        #[arg(long, value_parser = past::STATUSES)]
        status: Option<String>,
        /// Only names after this one
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// The versions of a skill, highest first
    Versions {
        name: String,
        /// Only versions below this one
        #[arg(long, value_name = "X.Y.Z")]
        before: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// What changed between two versions: code as a unified diff, the rest by field
    Diff(past::Diff),
    /// What a version was made from, back to the first
    Lineage(past::Lineage),
    /// The statuses of a skill's versions; with one of them, set it
    Status(past::Status),
    /// What was known of a skill at a time: its current version, statuses, and what its performance adds up to
    Believed(past::Believed),
    /// Write the whole library as one file
    Export(library::Export),
    /// Take a library in, all of it or nothing: a file that `export` wrote, or a skills.json of Voyager
    Import(library::Import),
    /// Find skills by plain words; stems and misspelt words match too, "in quotes" a phrase, mom* any ending
    Search(search::Args),
    /// Make the index anew, and ask the indexers for the skills that wait for them
    Reindex {
        /// Ask them for every skill, also those that are indexed
        #[arg(long)]
        all: bool,
    },
    /// The versions that a skill needs, in the order to load them, and why each was chosen
    Resolve {
        name: String,
        /// The current one by default
        #[arg(long)]
        version: Option<String>,
    },
    /// Make an earlier version the current one
    Rollback { name: String, version: String },
    /// Show what was recorded of a skill's performance, or record one (a JSON object)
    Performance {
        name: String,
        /// {"period_start":NS,"period_end":NS,"returns":0.02,"sharpe":1.1,"win_rate":0.5,"max_drawdown":0.1,"samples":40}
        #[arg(long, value_name = "JSON", requires = "version")]
        record: Option<String>,
        #[arg(long)]
        version: Option<String>,
        /// Only what had been recorded by then: RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, value_name = "TIME", conflicts_with = "record")]
        at: Option<String>,
        /// Only what follows this record
        #[arg(long, value_name = "SEQ", conflicts_with = "record")]
        after: Option<i64>,
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Put { name, code, language, description, version, tags, depends, metadata, status, origin } => {
            let mut ranges = Map::new();
            for d in depends {
                let (skill, range) = d.split_once('@').unwrap_or((&d, "*"));
                ranges.insert(skill.into(), range.into());
            }
            let metadata = metadata.map(|m| parse_json("--metadata", &m)).transpose()?.unwrap_or(Value::Null);
            let body = json!({
                "name": name, "version": version, "language": language, "code": input::text(&code)?,
                "description": description, "tags": tags, "depends": ranges, "metadata": metadata, "status": status,
                "provenance": origin.json()?,
            });
            let v = client.post("/v1/skills", &body).await?;
            out.done(&v, format!("{}@{} is stored and current", word(&v, "name"), word(&v, "version")));
        }
        Verb::Get { name, version, at, code } => {
            let query = [("version", version), ("at", at)];
            let v = client.get(&with_query(&format!("/v1/skills/{}", segment(&name)), &query)).await?;
            if code && !out.json { out.line(word(&v, "code").trim_end()) } else { out.object(&v) }
        }
        Verb::List { tag, language, status, after, limit } => {
            let query = [
                ("tag", tag),
                ("language", language),
                ("status", status),
                ("after", after),
                ("limit", Some(limit.to_string())),
            ];
            let v = client.get(&with_query("/v1/skills", &query)).await?;
            out.list(
                &v,
                &[
                    ("name", "name"),
                    ("version", "version"),
                    ("status", "status"),
                    ("language", "language"),
                    ("versions", "versions"),
                    ("tags", "tags"),
                    ("description", "description"),
                ],
                "no skills yet: `shiphold skills put` stores one",
            );
        }
        Verb::Versions { name, before, limit } => {
            let query =
                [("brief", Some("true".into())), ("before", before), ("limit", Some(limit.to_string()))];
            let v =
                client.get(&with_query(&format!("/v1/skills/{}/versions", segment(&name)), &query)).await?;
            out.list(
                &v,
                &[
                    ("version", "version"),
                    ("current", "current"),
                    ("status", "status"),
                    ("from", "parent.version"),
                    ("author", "author"),
                    ("run", "run"),
                    ("created", "created_at"),
                    ("by", "created_by"),
                    ("hash", "hash"),
                ],
                "none",
            );
        }
        Verb::Diff(diff) => diff.run(client, out).await?,
        Verb::Lineage(lineage) => lineage.run(client, out).await?,
        Verb::Status(status) => status.run(client, out).await?,
        Verb::Believed(believed) => believed.run(client, out).await?,
        Verb::Export(export) => export.run(client, out).await?,
        Verb::Import(import) => import.run(client, out).await?,
        Verb::Search(args) => search::run(args, client, out).await?,
        Verb::Reindex { all } => {
            let v = client.work("/v1/skills/reindex", &json!({ "all": all }), out, "indexing").await?;
            let count = |key: &str| v.get(key).and_then(Value::as_u64).unwrap_or_default();
            let (rebuilt, made, failed) = (count("rebuilt"), count("indexed"), count("failed"));
            out.done(
                &v,
                format!("{rebuilt} skills indexed anew; {made} entries of indexers made, {failed} failed"),
            );
        }
        Verb::Resolve { name, version } => {
            let path = format!("/v1/skills/{}/resolve", segment(&name));
            let v = client.get(&with_query(&path, &[("version", version)])).await?;
            past::resolved(&v, out);
        }
        Verb::Rollback { name, version } => {
            let v = client
                .post(&format!("/v1/skills/{}/rollback", segment(&name)), &json!({ "version": version }))
                .await?;
            out.done(&v, format!("{name}@{version} is current"));
        }
        Verb::Performance { name, record, version, at, after, limit } => {
            let path = format!("/v1/skills/{}/performance", segment(&name));
            if let Some(record) = record {
                let body = json!({ "version": version, "performance": parse_json("--record", &record)? });
                let v = client.post(&path, &body).await?;
                out.done(&v, "recorded");
            } else {
                let query = [
                    ("version", version),
                    ("at", at),
                    ("after", after.map(|n| n.to_string())),
                    ("limit", Some(limit.to_string())),
                ];
                let v = client.get(&with_query(&path, &query)).await?;
                out.list(
                    &v,
                    &[
                        ("seq", "seq"),
                        ("version", "version"),
                        ("from", "period_start"),
                        ("to", "period_end"),
                        ("returns", "returns"),
                        ("sharpe", "sharpe"),
                        ("win rate", "win_rate"),
                        ("drawdown", "max_drawdown"),
                        ("samples", "samples"),
                    ],
                    "nothing recorded yet",
                );
            }
        }
    }
    Ok(())
}

pub(super) fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn parse_json(what: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|e| {
        Failure::usage(
            format!("{what} is not JSON: {e}"),
            "quote strings inside the shell's quotes: '\"text\"'",
        )
    })
}
