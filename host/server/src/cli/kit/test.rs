//! `shiphold plugins test`: fixtures in, a table of results out.

use super::sandbox::Sandbox;
use super::{Built, ask, build};
use crate::cli::output::{Failure, Output, one_line};
use serde_json::{Value, json};
use shiphold_kit::Project;
use shiphold_kit::fixture::{self, Fixture};
use shiphold_storage::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tokio::runtime::Runtime;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Only the fixtures whose file name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write what came out into the fixtures
    #[arg(long)]
    update: bool,
    /// Test this component and build nothing
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

/// How a fixture ended.
struct Outcome {
    name: String,
    /// `passed`, `FAILED`, `updated`.
    result: &'static str,
    ms: u64,
    /// What is wrong, for people.
    problems: Vec<String>,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, Failure> {
    let project = Project::find(&args.folder).map_err(|e| super::failed(&e))?;
    let mut paths = fixture::list(&args.folder).map_err(|e| super::failed(&e))?;
    let name = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let all = paths.len();
    paths.retain(|p| args.filter.as_ref().is_none_or(|f| name(p).contains(f.as_str())));
    if paths.is_empty() {
        let what = match all {
            0 => format!("{} has no fixtures", args.folder.join("tests").display()),
            _ => format!("none of the {all} fixtures has such a name"),
        };
        return Err(Error::not_found(what)
            .hint("a fixture is a file tests/*.toml or tests/*.json; docs/fixtures.md describes it")
            .into());
    }
    let component = match &args.component {
        Some(file) => file.clone(),
        None => {
            let Built { component, .. } = build(&args.folder, None)?;
            component
        }
    };
    let component = std::path::absolute(&component)
        .map_err(|e| Failure::plain(format!("{}: {e}", component.display())))?;
    // A component that cannot be read fails once, not once a fixture.
    shiphold_runtime::inspect(&component)?;
    let exe = std::env::current_exe().map_err(|e| Error::io("finding this program's own file", e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::plain(format!("starting the runtime: {e}")))?;
    let mut bench = Bench { runtime, project, component, exe, update: args.update, last: None };
    let mut outcomes = Vec::with_capacity(paths.len());
    for path in &paths {
        let begin = Instant::now();
        let (result, problems) = bench.one(path);
        let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        outcomes.push(Outcome { name: name(path), result, ms, problems });
    }
    Ok(report(&outcomes, out))
}

/// What the fixtures of one project share.
struct Bench {
    runtime: Runtime,
    project: Project,
    component: PathBuf,
    exe: PathBuf,
    update: bool,
    last: Option<Sandbox>,
}

impl Bench {
    fn one(&mut self, path: &Path) -> (&'static str, Vec<String>) {
        match self.tried(path) {
            Ok(outcome) => outcome,
            Err(problem) => ("FAILED", vec![problem]),
        }
    }

    fn tried(&mut self, path: &Path) -> Result<(&'static str, Vec<String>), String> {
        let fixture = Fixture::read(path, self.project.world).map_err(|e| e.to_string())?;
        let said = |e: Error| {
            let hint = e.hint_text().map_or_else(String::new, |h| format!("\nhint: {h}"));
            format!("{}: {}{hint}", path.display(), e.message())
        };
        let beside = path.parent().unwrap_or(Path::new("."));
        let before = self.last.take();
        let sandbox =
            Sandbox::open(&self.project, &self.component, &fixture, beside, before).map_err(said)?;
        let actual = ask::ask(&self.runtime, &sandbox, &self.project, &fixture, &self.exe);
        self.last = Some(sandbox);
        let actual = actual.map_err(said)?;
        let problems = fixture::compare(&fixture.expect, &actual);
        if !self.update {
            return Ok((if problems.is_empty() { "passed" } else { "FAILED" }, problems));
        }
        let place = |e: std::io::Error| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(place)?;
        let written = fixture::updated(path, &text, &fixture, self.project.world, &actual)
            .map_err(|e| format!("{}: {e:#}", path.display()))?;
        if written == text {
            return Ok(("passed", Vec::new()));
        }
        super::place(path, written.as_bytes()).map_err(place)?;
        Ok(("updated", Vec::new()))
    }
}

fn report(outcomes: &[Outcome], out: &Output) -> ExitCode {
    let count = |result: &str| outcomes.iter().filter(|o| o.result == result).count();
    let (passed, failed, updated) = (count("passed"), count("FAILED"), count("updated"));
    if out.json {
        let fixtures: Vec<Value> = outcomes
            .iter()
            .map(|o| json!({ "name": o.name, "result": o.result.to_lowercase(), "ms": o.ms, "problems": o.problems }))
            .collect();
        out.json(&json!({ "passed": passed, "failed": failed, "updated": updated, "fixtures": fixtures }));
    } else {
        let rows: Vec<Vec<String>> =
            outcomes.iter().map(|o| vec![o.name.clone(), o.result.into(), o.ms.to_string()]).collect();
        out.table(&["fixture", "result", "ms"], &rows);
        for o in outcomes.iter().filter(|o| !o.problems.is_empty()) {
            out.line(format!("\n{}:", o.name));
            // What a plugin said is a stranger's text.
            o.problems.iter().flat_map(|p| p.lines()).for_each(|l| out.line(format!("  {}", one_line(l))));
        }
        let more =
            if updated > 0 { format!(", {updated} updated: look at the difference") } else { String::new() };
        out.line(format!("\n{passed} passed, {failed} failed{more}"));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
