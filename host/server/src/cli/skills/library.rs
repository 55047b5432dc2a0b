//! `shiphold skills export` and `import`.

use super::past::STATUSES;
use crate::cli::client::{Client, request, with_query};
use crate::cli::output::{Failure, Output};
use axum::http::Method;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A name that ends in .gz or .zst is packed
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// By the ending of a file's name.
fn pack(path: &Path) -> &'static str {
    let ends = |with: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(with));
    if ends("gz") {
        "gzip"
    } else if ends("zst") {
        "zstd"
    } else {
        "none"
    }
}

impl Export {
    pub(super) async fn run(self, client: &Client, out: &Output) -> Result<(), Failure> {
        let path = with_query("/v1/skills/@library", &[("pack", Some(pack(&self.to).into()))]);
        let asked = request(Method::GET, &path, None, "*/*")?;
        let bytes = client.download(asked, &self.to, &out.progress("exporting the library")).await?;
        let said = format!("{bytes} bytes written to {}", self.to.display());
        out.done(&json!({ "file": self.to, "bytes": bytes }), said);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// What `export` wrote
    Library,
    /// A skills.json: {"name": {"code", "description"}}
    Voyager,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    file: PathBuf,
    #[arg(long, default_value = "library")]
    format: Format,
    /// Of skills that are here already, too: take over the file's current versions and statuses
    #[arg(long)]
    adopt: bool,
    /// Change nothing; say what would be
    #[arg(long)]
    dry_run: bool,
    /// Of a skills.json: the language of its code; javascript by default
    #[arg(long)]
    language: Option<String>,
    /// Of a skills.json: who wrote it
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// Of a skills.json: the run in which it was made
    #[arg(long)]
    run: Option<String>,
    /// Of a skills.json: what its skills may be used for at first
    #[arg(long, value_parser = STATUSES)]
    status: Option<String>,
}

impl Import {
    pub(super) async fn run(self, client: &Client, out: &Output) -> Result<(), Failure> {
        let flag = |on: bool| on.then(|| "true".to_string());
        let dry_run = ("dry_run", flag(self.dry_run));
        let of_voyager =
            [&self.language, &self.author, &self.run, &self.status].into_iter().any(Option::is_some);
        let path = match self.format {
            Format::Library if of_voyager => {
                return Err(Failure::usage(
                    "--language, --author, --run and --status are of a skills.json",
                    "a library says all of this itself; add --format voyager for a skills.json",
                ));
            }
            Format::Voyager if self.adopt => {
                return Err(Failure::usage("--adopt is of a library", "leave it out"));
            }
            Format::Library => with_query("/v1/skills/@library", &[("adopt", flag(self.adopt)), dry_run]),
            Format::Voyager => with_query(
                "/v1/skills/@voyager",
                &[
                    ("language", self.language),
                    ("author", self.author),
                    ("run", self.run),
                    ("status", self.status),
                    dry_run,
                ],
            ),
        };
        let v = client.work_with_file(&path, &self.file, out, "importing").await?;
        out.done(&v, said(&v));
        if !out.json {
            let left_out = v.get("left_out").and_then(Value::as_array).into_iter().flatten();
            left_out.filter_map(Value::as_str).for_each(|l| out.line(format!("left out: {l}")));
        }
        Ok(())
    }
}

fn said(v: &Value) -> String {
    let count = |pointer: &str| v.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let tense = match v.get("dry_run") {
        Some(Value::Bool(true)) => "would be added",
        _ => "added",
    };
    format!(
        "{} skills, {} versions, {} records of performance {tense}; {} versions were here; {} taken over",
        count("/added/skills"),
        count("/added/versions"),
        count("/added/performance"),
        count("/kept/versions"),
        count("/adopted")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_how_it_is_packed() {
        for (name, want) in
            [("a.jsonl", "none"), ("a", "none"), ("a.jsonl.gz", "gzip"), ("a.ZST", "zstd"), ("gz", "none")]
        {
            assert_eq!(pack(Path::new(name)), want, "{name}");
        }
    }
}
