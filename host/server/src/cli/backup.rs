//! `shiphold backup …`

use super::client::{Client, segment};
use super::output::{Failure, Output};
use clap::Subcommand;
use serde_json::{Value, json};
use shiphold_storage::{Manifest, backup};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write everything, at one instant, into a new folder
    Export { to: PathBuf },
    /// Re-read a backup and compare every digest
    Check { from: PathBuf },
    /// Restore a backup into a new data folder, verified before it is moved into place
    Restore {
        from: PathBuf,
        /// The data folder to make; it must not exist
        to: PathBuf,
        /// Check everything and leave nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Push everything, at one instant, into the encrypted repository of [backup.NAME]
    Push { name: String },
    /// The snapshots that a repository holds
    Snapshots { name: String },
    /// Read a repository on its target and say what is wrong with it
    Verify {
        name: String,
        /// Read and decrypt every byte, not the structure alone
        #[arg(long)]
        read_data: bool,
    },
    /// Bring a snapshot back into a new folder and verify it; `backup restore` takes it from there
    Pull {
        name: String,
        /// The first digits of its id, or `latest`
        id: String,
        to: PathBuf,
    },
    /// Forget the snapshots that the rules of [backup.NAME] do not keep, and free their room
    Forget {
        name: String,
        /// Show what would go and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// `check` and `restore` work on folders that no host owns.
pub(crate) async fn run_without_host(
    verb: &Verb,
    manifest: &Manifest,
    out: &Output,
) -> Result<Option<ExitCode>, Failure> {
    let bar = out.progress("reading");
    let moved = bar.clone();
    let mut progress = move |done: u64, total: u64| {
        moved.set_length(total);
        moved.set_position(done);
    };
    let (report, sentence) = match verb {
        Verb::Export { .. }
        | Verb::Push { .. }
        | Verb::Snapshots { .. }
        | Verb::Verify { .. }
        | Verb::Pull { .. }
        | Verb::Forget { .. } => return Ok(None),
        Verb::Check { from } => {
            let from = absolute(from)?;
            let work = tokio::task::spawn_blocking(move || backup::check(&from, &mut progress)).await;
            (work, "the backup is whole")
        }
        Verb::Restore { from, to, dry_run } => {
            let (from, to, dry, manifest) = (absolute(from)?, absolute(to)?, *dry_run, manifest.clone());
            // A backup restored elsewhere than the manifest's own data folder takes the stores' default places there.
            let work = tokio::task::spawn_blocking(move || {
                let own = (manifest.host.data == to).then_some(&manifest);
                backup::restore(&from, &to, own, dry, &mut progress)
            })
            .await;
            (work, if *dry_run { "the backup would restore" } else { "restored and verified" })
        }
    };
    bar.finish_and_clear();
    let report = report.map_err(|e| Failure::plain(format!("the work ended early: {e}")))??;
    show(&serde_json::to_value(&report).unwrap_or_default(), out, sentence);
    Ok(Some(ExitCode::SUCCESS))
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |name: &str, what: &str| format!("/v1/backup/at/{}/{what}", segment(name));
    match verb {
        Verb::Export { to } => {
            let to = absolute(&to)?;
            let v = client.work("/v1/backup/export", &json!({ "to": to }), out, "exporting").await?;
            show(&v, out, &format!("exported to {}", to.display()));
        }
        Verb::Push { name } => {
            let v = client.work(&at(&name, "push"), &json!({}), out, &format!("pushing to {name}")).await?;
            let s = v.get("snapshot").unwrap_or(&Value::Null);
            let mb = |k: &str| s.get(k).and_then(Value::as_u64).unwrap_or_default() as f64 / 1e6;
            let us = v.pointer("/backup/barrier_us").and_then(Value::as_u64).unwrap_or_default();
            out.done(
                &v,
                format!(
                    "snapshot {}: {:.1} MB, of which {:.1} MB were new; encrypted, read back and compared (writers stood still for {us} µs)",
                    short(s), mb("bytes"), mb("added_bytes")
                ),
            );
        }
        Verb::Snapshots { name } => {
            let v = client.get(&at(&name, "snapshots")).await?;
            out.list(
                &v,
                &[
                    ("snapshot", "id"),
                    ("taken at", "taken_at"),
                    ("host", "host"),
                    ("bytes", "bytes"),
                    ("new bytes", "added_bytes"),
                    ("files", "files"),
                ],
                "the repository has no snapshot",
            );
        }
        Verb::Verify { name, read_data } => {
            let body = json!({ "read_data": read_data });
            let v = client.work(&at(&name, "verify"), &body, out, &format!("reading {name}")).await?;
            let problems: Vec<&str> = v
                .get("problems")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if !problems.is_empty() {
                out.done(&v, problems.join("\n"));
                return Err(Failure::plain(format!(
                    "the repository of {name} has {} problem(s)",
                    problems.len()
                )));
            }
            let snapshots = v.get("snapshots").and_then(Value::as_u64).unwrap_or_default();
            out.done(
                &v,
                format!(
                    "the repository is whole: {snapshots} snapshots{}",
                    if read_data { ", every byte read" } else { "" }
                ),
            );
        }
        Verb::Pull { name, id, to } => {
            let to = absolute(&to)?;
            let v = client
                .work(
                    &at(&name, "pull"),
                    &json!({ "id": id, "to": to }),
                    out,
                    &format!("pulling from {name}"),
                )
                .await?;
            show(&v, out, &format!("pulled to {} and verified", to.display()));
        }
        Verb::Forget { name, dry_run } => {
            let v =
                client.work(&at(&name, "forget"), &json!({ "dry_run": dry_run }), out, "forgetting").await?;
            let gone = v.get("forgotten").and_then(Value::as_array).map_or(0, Vec::len);
            let kept = v.get("kept").and_then(Value::as_u64).unwrap_or_default();
            let would = if dry_run { "would be " } else { "" };
            out.done(&v, format!("{gone} snapshots {would}forgotten, {kept} kept"));
        }
        Verb::Check { .. } | Verb::Restore { .. } => {}
    }
    Ok(())
}

fn short(snapshot: &Value) -> &str {
    snapshot.get("id").and_then(Value::as_str).and_then(|id| id.get(..8)).unwrap_or_default()
}

fn show(v: &Value, out: &Output, sentence: &str) {
    let n = |k: &str| v.get(k).and_then(Value::as_u64).unwrap_or_default();
    let waiting = match n("outbox_records") {
        0 => String::new(),
        waiting => format!(", {waiting} writes that wait for InfluxDB"),
    };
    out.done(v, format!(
        "{sentence}: {} databases, {} objects, {:.1} MB, {} rows of series{waiting}, {} audit entries; taken at {} (writers stood still for {} µs)",
        n("databases"), n("objects"), n("bytes") as f64 / 1e6, n("series_rows"), n("audit_entries"),
        v.get("taken_at").and_then(Value::as_i64).map(super::output::time).unwrap_or_default(), n("barrier_us"),
    ));
}

/// The host may run in another folder than this command.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display()), "name a folder"))
}
