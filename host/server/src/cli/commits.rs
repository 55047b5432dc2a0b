//! `shiphold commits …`

use super::client::Client;
use super::output::{Failure, Output};
use super::skills::parse_json;
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make skills, performance, files, settings, checkpoints and rows of series at once, all or nothing
    Make {
        /// JSON as docs/commits.md has it, or - for standard input
        file: PathBuf,
        /// Sent again with the same key it is made once
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let Verb::Make { file, idempotency_key } = verb;
    let mut commit = parse_json("the commit", &super::input::text(&file)?)?;
    if let (Some(key), Some(map)) = (idempotency_key, commit.as_object_mut()) {
        map.insert("idempotency_key".into(), Value::String(key));
    }
    let v = client.post("/v1/commits", &commit).await?;
    let count = |key: &str| v.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let number = |key: &str| v.get(key).and_then(Value::as_i64).unwrap_or_default();
    let was = if v.get("replayed") == Some(&Value::Bool(true)) { "was made before" } else { "is made" };
    let said = format!(
        "commit {} {was}: {} skills, {} files, {} settings, {} checkpoints, {} rows",
        number("id"),
        count("skills"),
        count("files"),
        count("settings"),
        count("state"),
        number("rows")
    );
    out.done(&v, said);
    Ok(())
}
