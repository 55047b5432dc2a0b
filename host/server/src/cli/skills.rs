//! `shiphold skills …`

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
    },
    /// Show a version with its code
    Get {
        name: String,
        #[arg(long)]
        version: Option<String>,
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
        /// Only names after this one
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Every version of a skill, highest first
    Versions { name: String },
    /// Find skills by plain words; stems and misspelt words match too, "in quotes" a phrase, mom* any ending
    Search(search::Args),
    /// Make the index anew, and ask the indexers for the skills that wait for them
    Reindex {
        /// Ask them for every skill, also those that are indexed
        #[arg(long)]
        all: bool,
    },
    /// The versions that a skill needs, in the order to load them
    Resolve { name: String },
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
    },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Put { name, code, language, description, version, tags, depends, metadata } => {
            let mut ranges = Map::new();
            for d in depends {
                let (skill, range) = d.split_once('@').unwrap_or((&d, "*"));
                ranges.insert(skill.into(), range.into());
            }
            let metadata = metadata.map(|m| parse_json("--metadata", &m)).transpose()?.unwrap_or(Value::Null);
            let body = json!({
                "name": name, "version": version, "language": language, "code": input::text(&code)?,
                "description": description, "tags": tags, "depends": ranges, "metadata": metadata,
            });
            let v = client.post("/v1/skills", &body).await?;
            out.done(&v, format!("{}@{} is stored and current", word(&v, "name"), word(&v, "version")));
        }
        Verb::Get { name, version, code } => {
            let v = client
                .get(&with_query(&format!("/v1/skills/{}", segment(&name)), &[("version", version)]))
                .await?;
            if code && !out.json { out.line(word(&v, "code").trim_end()) } else { out.object(&v) }
        }
        Verb::List { tag, language, after, limit } => {
            let query =
                [("tag", tag), ("language", language), ("after", after), ("limit", Some(limit.to_string()))];
            let v = client.get(&with_query("/v1/skills", &query)).await?;
            out.list(
                &v,
                &[
                    ("name", "name"),
                    ("version", "version"),
                    ("language", "language"),
                    ("versions", "versions"),
                    ("tags", "tags"),
                    ("description", "description"),
                ],
                "no skills yet: `shiphold skills put` stores one",
            );
        }
        Verb::Versions { name } => {
            let v = client.get(&format!("/v1/skills/{}/versions", segment(&name))).await?;
            out.list(
                &v,
                &[
                    ("version", "version"),
                    ("current", "current"),
                    ("created", "created_at"),
                    ("by", "created_by"),
                    ("hash", "hash"),
                ],
                "none",
            );
        }
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
        Verb::Resolve { name } => {
            let v = client.get(&format!("/v1/skills/{}/resolve", segment(&name))).await?;
            out.list(&v, &[("name", "name"), ("version", "version")], "nothing to load");
        }
        Verb::Rollback { name, version } => {
            let v = client
                .post(&format!("/v1/skills/{}/rollback", segment(&name)), &json!({ "version": version }))
                .await?;
            out.done(&v, format!("{name}@{version} is current"));
        }
        Verb::Performance { name, record, version } => {
            let path = format!("/v1/skills/{}/performance", segment(&name));
            if let Some(record) = record {
                let body = json!({ "version": version, "performance": parse_json("--record", &record)? });
                let v = client.post(&path, &body).await?;
                out.done(&v, "recorded");
            } else {
                let v = client.get(&path).await?;
                out.list(
                    &v,
                    &[
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
