//! `shiphold check`: the manifest and the components that it names, every problem at once.

use super::client::Client;
use super::output::{Failure, Output};
use serde_json::json;
use shiphold_storage::manifest::Problem;
use shiphold_storage::series::{SeriesInfo, decimals};
use shiphold_storage::{DataLayer, Manifest};
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(path: &Path, out: &Output) -> Result<ExitCode, Failure> {
    let wrong = |f: Failure| Failure { exit: 2, ..f };
    let text = Manifest::read(path).map_err(|e| wrong(e.into()))?;
    let absolute =
        std::path::absolute(path).map_err(|e| wrong(Failure::plain(format!("{}: {e}", path.display()))))?;
    let problems: Vec<Problem> = match Manifest::parse(&text, &absolute) {
        Err(problems) => problems.problems,
        Ok(manifest) => shiphold_runtime::check(&manifest)
            .into_iter()
            .chain(stored(&manifest).map_err(wrong)?)
            .map(|(key, message)| Problem { line: Manifest::line_of(&text, &key), key, message })
            .collect(),
    };
    if out.json {
        out.json(&json!({ "manifest": path, "ok": problems.is_empty(), "problems": problems }));
    } else if problems.is_empty() {
        out.line(format!("{} is right", path.display()));
    } else {
        for p in &problems {
            eprintln!("{}:{}: {}: {}", path.display(), p.line, p.key, p.message);
        }
        eprintln!(
            "error: {} problem{} in the manifest\nhint: docs/manifest.md describes every key",
            problems.len(),
            if problems.len() == 1 { "" } else { "s" }
        );
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Declarations of decimals that do not fit the rows that are stored; a host that runs is asked for them.
fn stored(manifest: &Manifest) -> Result<Vec<(String, String)>, Failure> {
    let found = match DataLayer::check(manifest)? {
        Some(found) => found,
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| Failure::plain(format!("starting the runtime: {e}")))?;
            let socket = Client::Socket(manifest.host.data.join(crate::serve::SOCKET));
            let shown = runtime.block_on(socket.get("/v1/series"))?;
            let shown: Vec<SeriesInfo> = serde_json::from_value(shown)
                .map_err(|e| Failure::plain(format!("the host's list of series cannot be read: {e}")))?;
            decimals::misread(&manifest.series.decimals, &shown)
        }
    };
    let problem = |what: String| ("series.decimals".to_string(), format!("{what}; {}", decimals::HINT));
    Ok(found.into_iter().map(problem).collect())
}
