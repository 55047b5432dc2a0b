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
    /// Everything about one plugin
    Status { name: String },
    /// What a plugin may touch, in words
    Grants { name: String },
    /// What a plugin wrote in its last runs, the oldest line first
    Logs {
        name: String,
        /// Runs
        #[arg(long, default_value_t = 20)]
        limit: u64,
    },
    /// Read the manifest again and take over changed components and keys of plugins
    Reload {
        /// Only this one
        name: Option<String>,
    },
    /// Serve again the version before the last reload
    Rollback { name: String },
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
        Verb::Status { name } => {
            let v = client.get(&format!("/v1/plugins/{}", segment(&name))).await?;
            out.object(&v);
        }
        Verb::Grants { name } => {
            let v = client.get(&at(&name, "grants")).await?;
            if out.json { out.json(&v) } else { grants(&v, out) }
        }
        Verb::Logs { name, limit } => {
            let v =
                client.get(&with_query(&at(&name, "logs"), &[("limit", Some(limit.to_string()))])).await?;
            if out.json {
                out.json(&v);
            } else {
                logs(&v, out);
            }
        }
        Verb::Reload { name } => {
            let v = client.work("/v1/plugins/reload", &json!({ "name": name }), out, "reloading").await?;
            if out.json {
                out.json(&v);
            } else {
                let plugins = v.get("plugins").unwrap_or(&Value::Null);
                out.list(
                    plugins,
                    &[
                        ("name", "name"),
                        ("outcome", "outcome"),
                        ("before", "before"),
                        ("version", "version"),
                        ("error", "error"),
                    ],
                    "this manifest has no plugins",
                );
                for table in v.get("restart_needed").and_then(Value::as_array).into_iter().flatten() {
                    let table = table.as_str().unwrap_or_default();
                    out.line(format!("[{table}] changed too: it takes effect when the host starts again"));
                }
            }
        }
        Verb::Rollback { name } => {
            let v = client.work(&at(&name, "rollback"), &json!({}), out, "rolling back").await?;
            let version = v.get("version").and_then(Value::as_str).unwrap_or_default().to_string();
            out.done(&v, format!("{name} serves version {version} again"));
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

/// One sentence a line, with the plugin's own reason.
fn grants(v: &Value, out: &Output) {
    let word = |v: &Value, k: &str| {
        v.get(k).and_then(Value::as_str).map(super::output::one_line).unwrap_or_default().to_string()
    };
    out.line(format!("{} {} ({})", word(v, "plugin"), word(v, "version"), word(v, "world")));
    for (key, title) in [("may", ""), ("not_given", "\nNot given:"), ("not_asked", "\nGiven without effect:")]
    {
        let lines: Vec<&Value> = v.get(key).and_then(Value::as_array).into_iter().flatten().collect();
        if !lines.is_empty() && !title.is_empty() {
            out.line(title);
        }
        for line in lines {
            let reason = match word(line, "reason") {
                r if r.is_empty() => r,
                r => format!(" It says why: {r}"),
            };
            out.line(format!("{}{reason}", word(line, "sentence")));
        }
    }
    out.line(String::new());
    for sentence in v.get("cannot").and_then(Value::as_array).into_iter().flatten() {
        out.line(sentence.as_str().unwrap_or_default());
    }
}

fn logs(v: &Value, out: &Output) {
    let lines = v.as_array().map(Vec::as_slice).unwrap_or_default();
    if lines.is_empty() {
        out.line("it wrote nothing in these runs");
    }
    for l in lines {
        let at = l.get("started_at").and_then(Value::as_i64).map(super::output::time).unwrap_or_default();
        let text = l.get("line").and_then(Value::as_str).unwrap_or_default();
        out.line(format!(
            "{at} run {} {}",
            l.get("run").unwrap_or(&Value::Null),
            super::output::one_line(text)
        ));
    }
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
