//! `cargo xtask test`: one step after another, then a table of what ran and what was skipped and why.

use crate::built::{self, Built};
use crate::{guests, guests_folder, licences, peers, steps};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How a step ended.
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Parts that `--require` can name.
const PARTS: [&str; 5] = ["influxd", "python", "node", "s3", "telegraf"];
/// Steps that run what the workspace builds.
const PROGRAMS: &[&str] = &[
    "xtask",
    "storage",
    "kit",
    "runtime",
    "server",
    "fixtures",
    "scenarios",
    "influxd",
    "python",
    "node",
    "s3",
    "telegraf",
];

pub fn run(root: &Path, require: &[String], only: Option<&str>) -> Result<()> {
    if let Some(unknown) = require.iter().find(|r| !PARTS.contains(&r.as_str())) {
        bail!("--require knows {}; `{unknown}` is none of them", PARTS.join(", "));
    }
    let influxd = peers::influxd();
    let python = peers::python(root);
    let (s3, restic) = (peers::s3(), peers::restic());
    let node = peers::node(root);
    let telegraf = peers::telegraf();
    let with_peers = |mut command: Command| {
        command.env("SHIPHOLD_GUESTS", guests_folder(root));
        if let Some(influxd) = &influxd {
            command.env("SHIPHOLD_INFLUXD", influxd);
        }
        if let Some(python) = &python {
            command.env("SHIPHOLD_PYTHON", python);
        }
        if let Some(telegraf) = &telegraf {
            command.env("SHIPHOLD_TELEGRAF", telegraf);
        }
        if let Some(s3) = &s3 {
            command.env("SHIPHOLD_S3", s3);
        }
        if let Some(restic) = &restic {
            command.env("SHIPHOLD_RESTIC", restic);
        }
        if let Some((node, modules)) = &node {
            command.env("SHIPHOLD_NODE", node).env("SHIPHOLD_NODE_MODULES", modules);
        }
        command
    };
    let cargo = |args: &[&str]| {
        let mut command = steps::cargo(root);
        command.args(args);
        with_peers(command)
    };

    let mut report = Report::new(only);
    report.step("format", || steps::must(&mut cargo(&["fmt", "--all", "--check"])));
    report.step("format plugins", || {
        steps::must(&mut cargo(&["fmt", "--all", "--check", "--manifest-path", "plugins/Cargo.toml"]))
    });
    report.step("licences", || licences::check(root));
    report.step("layers", || layers(root));
    report.step("guests", || guests::build_guests(root).map(|_| ()));
    let mut built = Built::default();
    report.step_for("lints and build", PROGRAMS, || {
        built = Built::new(root)?;
        Ok(())
    });
    let tests = |name: &str, args: &[&str]| {
        let mut command = with_peers(built.test(name)?);
        steps::must(command.args(args))
    };
    report.step("xtask", || tests("xtask (program)", &[]));
    report.step("storage", || tests("shiphold_storage", &["--skip", "::influxd::"]));
    report.step("plugins", || {
        let mut command = cargo(&["test", "--quiet", "--manifest-path", "plugins/Cargo.toml"]);
        steps::must(built::linted(&mut command))
    });
    report.step("kit", || tests("shiphold_kit", &[]));
    report.step("runtime", || tests("shiphold_runtime", &[]));
    report.step("server", || tests("shiphold (program)", &[]));
    report.step("fixtures", || fixtures(root, built.program("shiphold")?));
    report.step("scenarios", || {
        let others = PARTS.iter().flat_map(|part| ["--skip".to_string(), format!("with_{part}::")]);
        let mut command = with_peers(built.test("scenarios")?);
        steps::must(command.args(others))
    });
    let scenarios_of = |part: &str| tests("scenarios", &[&format!("with_{part}::")]);
    report.part("influxd", influxd.is_some(), require, || {
        tests("shiphold_storage", &["::influxd::"])?;
        scenarios_of("influxd")
    });
    report.part("python", python.is_some(), require, || {
        if let Some(python) = &python {
            let mut tests = Command::new(python);
            tests
                .args(["-B", "-m", "unittest", "--quiet"])
                .current_dir(root.join("plugins/indicators-python"));
            steps::must(&mut tests)?;
        }
        scenarios_of("python")
    });
    report.part("node", node.is_some(), require, || {
        if let Some((node, _)) = &node {
            steps::must(Command::new(node).arg("--test").current_dir(root.join("plugins/tags-javascript")))?;
        }
        scenarios_of("node")
    });
    report.part("s3", s3.is_some() && restic.is_some(), require, || {
        let plugin =
            ["test", "--quiet", "--manifest-path", "plugins/Cargo.toml", "-p", "s3-target", "--test", "main"];
        steps::must(built::linted(&mut cargo(&plugin)))?;
        scenarios_of("s3")
    });
    report.part("telegraf", telegraf.is_some(), require, || scenarios_of("telegraf"));
    report.finish()
}

/// The storage crate is built and tested without wasmtime, an HTTP server or a command line.
fn layers(root: &Path) -> Result<()> {
    let mut command = steps::cargo(root);
    command.args([
        "tree",
        "--package",
        "shiphold-storage",
        "--edges",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let tree = steps::output(&mut command)?;
    let of = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
    let names: std::collections::BTreeSet<String> = tree.lines().map(of).collect();
    if !names.contains("rusqlite") {
        bail!("`cargo tree` shows no dependency of the storage crate");
    }
    match ["wasmtime", "axum", "clap", "shiphold-runtime"].iter().find(|n| names.contains(**n)) {
        Some(above) => bail!("the storage crate must not depend on {above}"),
        None => Ok(()),
    }
}

/// The fixtures of the examples, with the components that the step `guests` built.
fn fixtures(root: &Path, shiphold: &Path) -> Result<()> {
    let mut tested = 0;
    for entry in std::fs::read_dir(root.join("plugins"))? {
        let folder = entry?.path();
        let has = std::fs::read_dir(folder.join("tests")).is_ok_and(|files| {
            files.filter_map(Result::ok).any(|file| file.path().extension().is_some_and(|x| x == "toml"))
        });
        let Some(name) = folder.file_name().filter(|_| has) else { continue };
        let component = guests_folder(root).join(name).with_extension("wasm");
        let mut command = Command::new(shiphold);
        command.args(["plugins", "test"]);
        steps::must(command.arg(&folder).arg("--component").arg(component))?;
        tested += 1;
    }
    if tested == 0 {
        bail!("no example has fixtures");
    }
    Ok(())
}

struct Report<'a> {
    only: Option<&'a str>,
    rows: Vec<(&'static str, Outcome, Duration)>,
}

impl<'a> Report<'a> {
    fn new(only: Option<&'a str>) -> Self {
        Self { only, rows: Vec::new() }
    }

    fn step(&mut self, name: &'static str, f: impl FnOnce() -> Result<()>) {
        self.step_for(name, &[], f);
    }

    /// A step that others need: it runs with them too.
    fn step_for(&mut self, name: &'static str, needed_by: &[&str], f: impl FnOnce() -> Result<()>) {
        if self.only.is_some_and(|o| !needed_by.iter().chain([&name]).any(|n| n.contains(o))) {
            return;
        }
        steps::say(name);
        let begin = Instant::now();
        let outcome = match f() {
            Ok(()) => Outcome::Passed,
            Err(e) => {
                eprintln!("error: {e:#}");
                Outcome::Failed(format!("{e:#}"))
            }
        };
        self.rows.push((name, outcome, begin.elapsed()));
    }

    /// A step that needs a peer; without it, it is skipped, or failed if it is required.
    fn part(
        &mut self,
        name: &'static str,
        present: bool,
        require: &[String],
        f: impl FnOnce() -> Result<()>,
    ) {
        if present {
            return self.step(name, f);
        }
        if self.only.is_some_and(|o| !name.contains(o)) {
            return;
        }
        let why = format!("{name} is not installed: run `cargo xtask peers`");
        let outcome = if require.iter().any(|r| r == name) {
            Outcome::Failed(format!("required, but {why}"))
        } else {
            Outcome::Skipped(why)
        };
        self.rows.push((name, outcome, Duration::ZERO));
    }

    fn finish(self) -> Result<()> {
        let count = |f: fn(&Outcome) -> bool| self.rows.iter().filter(|r| f(&r.1)).count();
        let passed = count(|o| matches!(o, Outcome::Passed));
        let failed = count(|o| matches!(o, Outcome::Failed(_)));
        let skipped = count(|o| matches!(o, Outcome::Skipped(_)));
        println!("\n{:<18} {:<8} {:>8}  why", "step", "result", "time");
        for (name, outcome, took) in &self.rows {
            let (result, why) = match outcome {
                Outcome::Passed => ("passed", ""),
                Outcome::Failed(why) => ("FAILED", why.lines().next().unwrap_or_default()),
                Outcome::Skipped(why) => ("skipped", why.as_str()),
            };
            println!("{name:<18} {result:<8} {:>6.1} s  {why}", took.as_secs_f64());
        }
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} step{} failed", if failed == 1 { "" } else { "s" });
        }
        if passed == 0 {
            bail!("no step ran");
        }
        Ok(())
    }
}
