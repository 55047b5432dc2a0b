//! `shiphold backup …`

use super::client::Client;
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
        Verb::Export { .. } => return Ok(None),
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
    if let Verb::Export { to } = verb {
        let to = absolute(&to)?;
        let v = client.work("/v1/backup/export", &json!({ "to": to }), out, "exporting").await?;
        show(&v, out, &format!("exported to {}", to.display()));
    }
    Ok(())
}

fn show(v: &Value, out: &Output, sentence: &str) {
    let n = |k: &str| v.get(k).and_then(Value::as_u64).unwrap_or_default();
    out.done(v, format!(
        "{sentence}: {} databases, {} objects, {:.1} MB, {} rows of series, {} audit entries; taken at {} (writers stood still for {} µs)",
        n("databases"), n("objects"), n("bytes") as f64 / 1e6, n("series_rows"), n("audit_entries"),
        v.get("taken_at").and_then(Value::as_i64).map(super::output::time).unwrap_or_default(), n("barrier_us"),
    ));
}

/// The host may run in another folder than this command.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display()), "name a folder"))
}
