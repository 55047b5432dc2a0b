//! `shiphold tokens …`

use super::client::{Client, segment};
use super::output::{Failure, Output};
use super::skills::word;
use axum::http::Method;
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a token; its secret is shown once
    Create {
        name: String,
        #[arg(long, default_value = "write", value_parser = ["read", "write", "admin"])]
        scope: String,
        /// RFC 3339 or a date; never by default
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Tokens without their secrets
    List,
    /// Make a token worthless
    Revoke { name: String },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Create { name, scope, expires } => {
            let v = client
                .post("/v1/tokens", &json!({ "name": name, "scope": scope, "expires": expires }))
                .await?;
            out.done(&v, format!("{}\nKeep it: it is not shown again. Use it as `Authorization: Bearer …` or InfluxDB's `Token …`.", word(&v, "token")));
        }
        Verb::List => {
            let v = client.get("/v1/tokens").await?;
            out.list(
                &v,
                &[
                    ("name", "name"),
                    ("scope", "scope"),
                    ("created", "created_at"),
                    ("expires", "expires_at"),
                    ("last used", "last_used_at"),
                ],
                "no tokens yet: `shiphold tokens create NAME --scope write`",
            );
        }
        Verb::Revoke { name } => {
            let v = client.json(Method::DELETE, &format!("/v1/tokens/{}", segment(&name)), None).await?;
            out.done(&v, format!("{name} is revoked"));
        }
    }
    Ok(())
}
