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
    List { namespace: Option<String> },
    /// A value
    Get { namespace: String, key: String },
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
        Verb::List { namespace: None } => {
            let v = client.get("/v1/settings").await?;
            if out.json {
                out.json(&v);
            } else {
                let names = v.as_array().into_iter().flatten().filter_map(Value::as_str);
                names.for_each(|n| out.line(n));
            }
        }
        Verb::List { namespace: Some(namespace) } => {
            let v = client.get(&format!("/v1/settings/{}", segment(&namespace))).await?;
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
        Verb::Get { namespace, key } => {
            let v = client.get(&at(&namespace, &key)).await?;
            let value = v.get("value").cloned().unwrap_or_default();
            out.done(&v, value.to_string());
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
