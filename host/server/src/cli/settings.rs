//! `shiphold settings …`

use super::client::{Client, segment, with_query};
use super::output::{Failure, Output};
use super::skills::parse_json;
use axum::http::Method;
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The keys of a namespace, or the namespaces
    List {
        namespace: Option<String>,
        /// As they were: RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, value_name = "TIME", requires = "namespace")]
        at: Option<String>,
    },
    /// A value
    Get {
        namespace: String,
        key: String,
        /// As it was: RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Make many changes at once, all or none: a file with [{"namespace","key","value","expect"}], or - for standard input
    Apply { file: std::path::PathBuf },
    /// The JSON Schema of a key; with --set or --remove it changes
    Schema {
        namespace: String,
        key: String,
        /// A file with a JSON Schema; the value that is there must fit
        #[arg(long, value_name = "FILE", conflicts_with = "remove")]
        set: Option<std::path::PathBuf>,
        /// From now on anything goes
        #[arg(long)]
        remove: bool,
    },
    /// Print changes of a namespace as they come, a line of JSON each
    Follow {
        namespace: String,
        /// Those after this number; from now on by default
        #[arg(long, value_name = "SEQ")]
        after: Option<i64>,
    },
    /// Set a value (JSON; a word that is no JSON is taken as a string)
    Set {
        namespace: String,
        key: String,
        value: String,
        /// Only if the key is at this revision; `absent`: only if it does not exist
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
    },
    /// Delete a key; its history stays
    Delete {
        namespace: String,
        key: String,
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
    },
    /// The revisions of a key, newest first
    History {
        namespace: String,
        key: String,
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
}

fn expectation(text: Option<&str>) -> Result<Value, Failure> {
    match text {
        None => Ok(json!("any")),
        Some("absent") => Ok(json!("absent")),
        Some(n) => n.parse::<u64>().map(|n| json!({ "revision": n })).map_err(|_| {
            Failure::usage(
                format!("`{n}` is no revision"),
                "give a number from `settings get --json`, or `absent`",
            )
        }),
    }
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |namespace: &str, key: &str| format!("/v1/settings/{}/{}", segment(namespace), segment(key));
    match verb {
        Verb::List { namespace: None, .. } => {
            let v = client.get("/v1/settings").await?;
            if out.json {
                out.json(&v);
            } else {
                let names = v.as_array().into_iter().flatten().filter_map(Value::as_str);
                names.for_each(|n| out.line(n));
            }
        }
        Verb::List { namespace: Some(namespace), at: when } => {
            let path = format!("/v1/settings/{}", segment(&namespace));
            let v = client.get(&with_query(&path, &[("at", when)])).await?;
            out.list(
                &v,
                &[
                    ("key", "key"),
                    ("value", "value"),
                    ("revision", "revision"),
                    ("changed", "changed_at"),
                    ("by", "changed_by"),
                ],
                "no settings there",
            );
        }
        Verb::Get { namespace, key, at: when } => {
            let v = client.get(&with_query(&at(&namespace, &key), &[("at", when)])).await?;
            let value = v.get("value").cloned().unwrap_or_default();
            out.done(&v, value.to_string());
        }
        Verb::Apply { file } => {
            let changes = parse_json("the file", &super::input::text(&file)?)?;
            let v = client.post("/v1/settings", &json!({ "changes": changes })).await?;
            out.done(&v, format!("{} settings changed", v.as_array().map_or(0, Vec::len)));
        }
        Verb::Schema { namespace, key, set, remove } => {
            let path = format!("{}/schema", at(&namespace, &key));
            let v = match (set, remove) {
                (Some(file), _) => {
                    let schema = parse_json("the schema", &super::input::text(&file)?)?;
                    client.json(Method::PUT, &path, Some(&schema)).await?
                }
                (None, true) => client.json(Method::DELETE, &path, None).await?,
                (None, false) => client.get(&path).await?,
            };
            let schema = v.get("schema").cloned().unwrap_or_default();
            out.done(&v, if schema.is_null() { "anything goes".into() } else { schema.to_string() });
        }
        Verb::Follow { namespace, after } => {
            let path = format!("/v1/settings/{}/@changes", segment(&namespace));
            let path = with_query(&path, &[("after", after.map(|a| a.to_string()))]);
            super::events::follow(client, &path, out, &|event| event.get("change").map(Value::to_string))
                .await?;
        }
        Verb::Set { namespace, key, value, expect } => {
            let value = parse_json("the value", &value).unwrap_or(Value::String(value));
            let body = json!({ "value": value, "expect": expectation(expect.as_deref())? });
            let v = client.json(Method::PUT, &at(&namespace, &key), Some(&body)).await?;
            out.done(
                &v,
                format!("{namespace}/{key} is at revision {}", v.get("revision").unwrap_or(&Value::Null)),
            );
        }
        Verb::Delete { namespace, key, expect } => {
            let body = json!({ "expect": expectation(expect.as_deref())? });
            let v = client.json(Method::DELETE, &at(&namespace, &key), Some(&body)).await?;
            out.done(&v, format!("{namespace}/{key} is deleted"));
        }
        Verb::History { namespace, key, limit } => {
            let v = client
                .get(&with_query(
                    &format!("{}/history", at(&namespace, &key)),
                    &[("limit", Some(limit.to_string()))],
                ))
                .await?;
            out.list(
                &v,
                &[
                    ("revision", "revision"),
                    ("value", "value"),
                    ("changed", "changed_at"),
                    ("by", "changed_by"),
                ],
                "it never had a value",
            );
        }
    }
    Ok(())
}
