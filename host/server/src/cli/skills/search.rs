//! `shiphold skills search`

use super::past::STATUSES;
use crate::cli::client::Client;
use crate::cli::output::{Failure, Output};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    text: String,
    /// Only skills with this tag; may be given several times
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Only skills without this tag; may be given several times
    #[arg(long, value_name = "WORD")]
    without: Vec<String>,
    #[arg(long)]
    language: Option<String>,
    /// Who stored the current version, as `skills versions` shows it
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Whether the current version has a record of its performance
    #[arg(long, value_parser = ["proven", "unproven"])]
    proof: Option<String>,
    /// What the current version may be used for; may be given several times. Without it, retired skills are left out
    #[arg(long, value_name = "STATUS", value_parser = STATUSES)]
    status: Vec<String>,
    #[arg(long, default_value_t = 10)]
    limit: u64,
    /// Show what each part of each score comes from
    #[arg(long)]
    explain: bool,
    /// Count all that was found by tag, language, author, proof and status
    #[arg(long)]
    facets: bool,
}

pub(super) async fn run(args: Args, client: &Client, out: &Output) -> Result<(), Failure> {
    let Args { text, tags, without, language, by, proof, status, limit, explain, facets } = args;
    let body = json!({
        "text": text, "tags": tags, "without": without, "language": language, "by": by, "proof": proof,
        "status": status, "limit": limit, "explain": explain, "facets": facets,
    });
    let v = client.post("/v1/skills/search", &body).await?;
    if out.json {
        out.object(&v);
        return Ok(());
    }
    for read in list(&v, "/read_as") {
        let also: Vec<&str> = list(read, "/also").iter().filter_map(Value::as_str).collect();
        out.line(format!("`{}` was read as {}", super::word(read, "word"), also.join(", ")));
    }
    for widened in list(&v, "/widened") {
        let terms: Vec<&str> = list(widened, "/terms").iter().filter_map(Value::as_str).collect();
        if !terms.is_empty() {
            out.line(format!("`{}` added {}", super::word(widened, "indexer"), terms.join(", ")));
        }
    }
    out.list(
        v.get("hits").unwrap_or(&Value::Null),
        &[
            ("name", "name"),
            ("version", "version"),
            ("status", "status"),
            ("score", "score"),
            ("text", "parts.text"),
            ("typo", "parts.typo"),
            ("term", "parts.term"),
            ("vector", "parts.vector"),
            ("tag", "parts.tag"),
            ("performance", "parts.performance"),
            ("description", "description"),
        ],
        "nothing found",
    );
    if explain {
        out.line("");
        out.table(&["name", "part", "from", "score"], &reasons(&v));
    }
    if facets {
        out.line("");
        out.table(&["of", "value", "skills"], &counts(&v));
    }
    let count = |key: &str| v.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (shown, total, left_out) =
        (list(&v, "/hits").len() as u64, count("total"), count("retired_left_out"));
    if total > shown {
        out.line(format!("the best {shown} of {total}; --limit shows more"));
    }
    match left_out {
        0 => {}
        1 => out.line("1 retired skill is left out; --status retired shows it"),
        n => out.line(format!("{n} retired skills are left out; --status retired shows them")),
    }
    Ok(())
}

fn list<'v>(value: &'v Value, at: &str) -> &'v [Value] {
    value.pointer(at).and_then(Value::as_array).map_or(&[], |all| all)
}

fn reasons(answer: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for hit in list(answer, "/hits") {
        for reason in list(hit, "/reasons") {
            let score = reason.get("score").and_then(Value::as_f64).unwrap_or_default();
            let of = |key: &str| super::word(reason, key).to_string();
            rows.push(vec![super::word(hit, "name").into(), of("part"), of("from"), format!("{score:.4}")]);
        }
    }
    rows
}

fn counts(answer: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for facet in ["tags", "languages", "authors", "proof", "statuses"] {
        for one in list(answer, &format!("/facets/{facet}/values")) {
            let count = one.get("count").and_then(Value::as_u64).unwrap_or_default();
            rows.push(vec![facet.into(), super::word(one, "value").into(), count.to_string()]);
        }
        let more =
            answer.pointer(&format!("/facets/{facet}/more")).and_then(Value::as_u64).unwrap_or_default();
        if more > 0 {
            rows.push(vec![facet.into(), format!("and {more} more"), String::new()]);
        }
    }
    rows
}
