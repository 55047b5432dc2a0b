//! `shiphold plugins …`

use super::client::{Client, segment, with_query};
use super::output::{Failure, Output};
use clap::Subcommand;
use serde_json::{Value, json};
use shiphold_storage::units::{ByteSize, Span};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The plugins of the manifest and how they do
    List,
    /// Run a plugin now
    Run {
        name: String,
        /// Show the plan and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Allow a run that drops more than safety.max_drop_share
        #[arg(long)]
        confirm: bool,
        /// Pretend that it is this time (RFC 3339); ages still count from the newest point at most
        #[arg(long, value_name = "TIME")]
        now: Option<String>,
    },
    /// The runs of a plugin, newest first
    Runs {
        name: String,
        #[arg(long, default_value_t = 20)]
        limit: u64,
        /// Show the log of each run
        #[arg(long)]
        log: bool,
    },
    /// Show what a component is and wants, without running it
    Inspect { file: PathBuf },
    #[command(flatten)]
    Kit(super::kit::Verb),
    /// Let a plugin run again and forget its failures
    Enable { name: String },
    /// Keep a plugin from running
    Disable { name: String },
    /// Compile a component (used by the host: its child does this under limits)
    #[command(hide = true)]
    Compile {
        input: PathBuf,
        output: PathBuf,
        /// Memory that it may write to
        #[arg(long, default_value_t = 3 << 30)]
        memory_bytes: u64,
        /// The time that it may take
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |name: &str, what: &str| format!("/v1/plugins/{}/{what}", segment(name));
    match verb {
        Verb::List => {
            let v = client.get("/v1/plugins").await?;
            out.list(
                &v,
                &[
                    ("name", "name"),
                    ("world", "world"),
                    ("version", "version"),
                    ("enabled", "enabled"),
                    ("loaded", "loaded"),
                    ("schedule", "schedule"),
                    ("next run", "next_run_ns"),
                    ("failures", "failures"),
                    ("error", "error"),
                ],
                "this manifest has no plugins: add [plugins.NAME]",
            );
        }
        Verb::Run { name, dry_run, confirm, now } => {
            let body = json!({ "dry_run": dry_run, "confirm": confirm, "now": now });
            let v = client.work(&at(&name, "run"), &body, out, &format!("running {name}")).await?;
            if out.json { out.json(&v) } else { report(&v, out) }
        }
        Verb::Runs { name, limit, log } => {
            let v =
                client.get(&with_query(&at(&name, "runs"), &[("limit", Some(limit.to_string()))])).await?;
            out.list(
                &v,
                &[
                    ("run", "id"),
                    ("started", "started_at"),
                    ("trigger", "trigger"),
                    ("dry", "dry_run"),
                    ("state", "state"),
                    ("ms", "duration_ms"),
                    ("memory", "memory_peak_bytes"),
                    ("actions", "actions"),
                    ("error", "error"),
                ],
                "it did not run yet",
            );
            if log && !out.json {
                for run in v.as_array().into_iter().flatten() {
                    out.line(format!("\nrun {}:", run.get("id").unwrap_or(&Value::Null)));
                    run.get("log")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .for_each(|l| out.line(format!("  {}", super::output::one_line(l))));
                }
            }
        }
        Verb::Enable { name } => {
            let v = client.post(&at(&name, "enable"), &json!({})).await?;
            out.done(&v, format!("{name} is enabled"));
        }
        Verb::Disable { name } => {
            let v = client.post(&at(&name, "disable"), &json!({})).await?;
            out.done(&v, format!("{name} is disabled"));
        }
        // Done before a host is looked for.
        Verb::Inspect { .. } | Verb::Compile { .. } | Verb::Kit(_) => {}
    }
    Ok(())
}

/// The plan as a table, then what was done.
fn report(v: &Value, out: &Output) {
    let text = |v: &Value, k: &str| {
        v.get(k)
            .filter(|x| !x.is_null())
            .map(|x| x.as_str().map_or_else(|| x.to_string(), str::to_string))
            .unwrap_or_default()
    };
    let plan = v.get("plan").unwrap_or(&Value::Null);
    let steps: Vec<&Value> = plan.get("steps").and_then(Value::as_array).into_iter().flatten().collect();
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|s| {
            let object = s.get("key").map_or_else(
                || format!("{}/{}", text(s, "store"), text(s, "path")),
                |k| format!("{}/{}", text(k, "bucket"), text(k, "measurement")),
            );
            let before = s.get("before").and_then(Value::as_i64).map(super::output::time).unwrap_or_default();
            vec![text(s, "action"), object, before, text(s, "rows"), text(s, "target"), text(s, "refused")]
        })
        .collect();
    if rows.is_empty() {
        out.line("the plan is empty: nothing is due");
    } else {
        out.table(&["action", "series", "before", "rows", "target", "refused"], &rows);
    }
    let share = format!("{} of {} rows would go", text(plan, "drop_rows"), text(plan, "store_rows"));
    match v.get("report").filter(|r| !r.is_null()) {
        None => out.line(format!("dry run: {share}; nothing was changed")),
        Some(r) => out.line(format!(
            "{} rows rolled up into {} bars, {} rows archived, {} rows and {} files dropped in {} ms",
            text(r, "rolled_up_rows"),
            text(r, "rollup_bars"),
            text(r, "archived_rows"),
            text(r, "dropped_rows"),
            text(r, "dropped_files"),
            text(v, "duration_ms")
        )),
    }
}

/// Without a host: a stranger's file is looked at, never run.
pub(crate) fn inspect(file: &Path, out: &Output) -> Result<ExitCode, Failure> {
    super::kit::inspect(file, out)
}

pub(crate) fn compile(input: &Path, output: &Path, memory: u64, seconds: u64) -> Result<ExitCode, Failure> {
    shiphold_runtime::compile::run_child(input, output, ByteSize(memory), Span::from_secs(seconds))?;
    Ok(ExitCode::SUCCESS)
}
