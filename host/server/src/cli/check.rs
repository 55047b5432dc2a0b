//! `shiphold check`: the manifest and the components that it names, every problem at once.

use super::output::{Failure, Output};
use serde_json::json;
use shiphold_storage::Manifest;
use shiphold_storage::manifest::Problem;
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
