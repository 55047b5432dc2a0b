//! `shiphold skills diff`, `lineage`, `status`, `believed`, and where a version that is put comes from.

use super::{input, word};
use crate::cli::client::{Client, segment, with_query};
use crate::cli::output::{Failure, Output};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

pub(super) const STATUSES: [&str; 3] = ["draft", "active", "retired"];

/// Where a version comes from.
#[derive(Debug, Args)]
pub(crate) struct Origin {
    /// Who wrote it: a person or a model
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// What it was made from; by default the version that is current now
    #[arg(long, value_name = "[NAME@]X.Y.Z")]
    parent: Option<String>,
    /// File with what the model was asked
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    /// The run in which it was made, by your own name for it
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

impl Origin {
    pub(super) fn json(&self) -> Result<Value, Failure> {
        let mut out = Map::new();
        for (key, value) in [("author", &self.author), ("run", &self.run)] {
            if let Some(value) = value {
                out.insert(key.into(), json!(value));
            }
        }
        if let Some(file) = &self.prompt {
            out.insert("prompt".into(), json!(input::text(file)?));
        }
        if let Some(parent) = &self.parent {
            let parent = match parent.rsplit_once('@') {
                Some((name, version)) => json!({ "name": name, "version": version }),
                None => json!({ "version": parent }),
            };
            out.insert("parent".into(), parent);
        }
        Ok(Value::Object(out))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    name: String,
    /// By default what the other one was made from
    #[arg(long, value_name = "X.Y.Z")]
    from: Option<String>,
    /// The current one by default
    #[arg(long, value_name = "X.Y.Z")]
    to: Option<String>,
    /// Lines around a change
    #[arg(long, short = 'U', default_value_t = 3)]
    context: usize,
}

impl Diff {
    pub(super) async fn run(self, client: &Client, out: &Output) -> Result<(), Failure> {
        let query = [("from", self.from), ("to", self.to), ("context", Some(self.context.to_string()))];
        let v = client.get(&with_query(&format!("/v1/skills/{}/diff", segment(&self.name)), &query)).await?;
        if out.json {
            out.json(&v);
            return Ok(());
        }
        let code = word(&v, "code");
        if !code.is_empty() {
            out.line(crate::cli::output::printable(code.trim_end_matches('\n')));
            if v.get("shortest") == Some(&Value::Bool(false)) {
                out.line("(the texts have little in common: a shorter diff may exist)");
            }
        }
        let fields = v.get("fields").cloned().unwrap_or_default();
        if fields.as_array().is_some_and(|f| !f.is_empty()) {
            out.list(&fields, &[("field", "field"), ("from", "from"), ("to", "to")], "");
        } else if code.is_empty() {
            out.line("nothing changed");
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Lineage {
    name: String,
    /// The current one by default
    #[arg(long)]
    version: Option<String>,
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Lineage {
    pub(super) async fn run(self, client: &Client, out: &Output) -> Result<(), Failure> {
        let query = [("version", self.version), ("limit", Some(self.limit.to_string()))];
        let path = format!("/v1/skills/{}/lineage", segment(&self.name));
        let v = client.get(&with_query(&path, &query)).await?;
        let columns = [
            ("name", "name"),
            ("version", "version"),
            ("author", "author"),
            ("run", "run"),
            ("created", "created_at"),
            ("by", "created_by"),
        ];
        out.list(&v, &columns, "none");
        let last =
            v.as_array().and_then(|a| a.last()).and_then(|l| l.get("parent")).filter(|p| p.is_object());
        if let (Some(parent), false) = (last, out.json) {
            out.line(format!("… and {}@{} before", word(parent, "name"), word(parent, "version")));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    name: String,
    #[arg(value_parser = STATUSES)]
    set: Option<String>,
    /// The current one by default
    #[arg(long, requires = "set")]
    version: Option<String>,
    #[arg(long, requires = "set")]
    reason: Option<String>,
}

impl Status {
    pub(super) async fn run(self, client: &Client, out: &Output) -> Result<(), Failure> {
        let path = format!("/v1/skills/{}/status", segment(&self.name));
        let Some(status) = self.set else {
            let v = client.get(&path).await?;
            let columns = [
                ("version", "version"),
                ("status", "status"),
                ("since", "set_at"),
                ("by", "set_by"),
                ("reason", "reason"),
            ];
            out.list(&v, &columns, "every version is active: nobody said otherwise");
            return Ok(());
        };
        let body = json!({ "version": self.version, "status": status, "reason": self.reason });
        let v = client.post(&path, &body).await?;
        out.done(&v, format!("{}@{} is {}", self.name, word(&v, "version"), word(&v, "status")));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Believed {
    name: String,
    /// Only of this version
    #[arg(long)]
    version: Option<String>,
    /// RFC 3339, a date, or nanoseconds since the epoch; now by default
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl Believed {
    pub(super) async fn run(self, client: &Client, out: &Output) -> Result<(), Failure> {
        let query = [("version", self.version), ("at", self.at)];
        let path = format!("/v1/skills/{}/believed", segment(&self.name));
        let v = client.get(&with_query(&path, &query)).await?;
        if out.json {
            out.json(&v);
            return Ok(());
        }
        let at = v.get("at").and_then(Value::as_i64).unwrap_or_default();
        out.line(format!(
            "{}@{} is current at {}",
            self.name,
            word(&v, "current"),
            crate::cli::output::time(at)
        ));
        let versions = v.get("versions").cloned().unwrap_or_default();
        let columns = [
            ("version", "version"),
            ("status", "status"),
            ("records", "performance.records"),
            ("samples", "performance.samples"),
            ("from", "performance.period_start"),
            ("to", "performance.period_end"),
            ("returns", "performance.returns"),
            ("sharpe", "performance.sharpe"),
            ("± one error", "performance.sharpe_error"),
            ("win rate", "performance.win_rate"),
            ("drawdown", "performance.max_drawdown"),
        ];
        out.list(&versions, &columns, "no versions");
        Ok(())
    }
}

/// What to load, and why.
pub(super) fn resolved(v: &Value, out: &Output) {
    if out.json {
        return out.json(v);
    }
    out.list(
        v,
        &[("name", "name"), ("version", "version"), ("status", "status"), ("why", "why")],
        "nothing to load",
    );
    for one in v.as_array().into_iter().flatten() {
        for passed in one.get("passed_over").and_then(Value::as_array).into_iter().flatten() {
            out.line(format!(
                "{}@{} was passed over: {}",
                word(one, "name"),
                word(passed, "version"),
                word(passed, "because")
            ));
        }
    }
}
