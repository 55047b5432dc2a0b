//! `cargo xtask test`: what is built and looked at, then tests side by side, then a table of what ran and what was skipped and why.

use crate::built::{self, Built};
use crate::report::{Out, Report, Step};
use crate::{guests, guests_folder, licences, peers, steps, target};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

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

/// Steps that run at a time: tests are held to times of their own, such as two seconds to shut down, so there are not more.
const LANES: usize = 2;

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
    let built = &built;
    let tests = |out: &Out, name: &str, args: &[&str]| {
        let mut command = with_peers(built.test(name)?);
        out.must(command.args(args))
    };
    let scenarios_of = |out: &Out, part: &str| tests(out, "scenarios", &[&format!("with_{part}::")]);
    // Most of them wait for disks, deadlines and other programs, each at another time; the longest begin first.
    let side_by_side = vec![
        Step::new("storage", |out| tests(out, "shiphold_storage", &["--skip", "::influxd::"])),
        Step::part("influxd", influxd.is_some(), require, |out| {
            tests(out, "shiphold_storage", &["::influxd::"])?;
            scenarios_of(out, "influxd")
        }),
        Step::new("scenarios", |out| {
            let others = PARTS.iter().flat_map(|part| ["--skip".to_string(), format!("with_{part}::")]);
            let mut command = with_peers(built.test("scenarios")?);
            out.must(command.args(others))
        }),
        Step::part("python", python.is_some(), require, |out| {
            if let Some(python) = &python {
                let mut tests = Command::new(python);
                tests
                    .args(["-B", "-m", "unittest", "--quiet"])
                    .current_dir(root.join("plugins/indicators-python"));
                out.must(&mut tests)?;
            }
            scenarios_of(out, "python")
        }),
        Step::part("node", node.is_some(), require, |out| {
            if let Some((node, _)) = &node {
                out.must(Command::new(node).arg("--test").current_dir(root.join("plugins/tags-javascript")))?;
            }
            scenarios_of(out, "node")
        }),
        Step::new("runtime", |out| tests(out, "shiphold_runtime", &[])),
        Step::new("plugins", |out| {
            let mut command = cargo(&["test", "--quiet", "--manifest-path", "plugins/Cargo.toml"]);
            out.must(built::linted(&mut command))
        }),
        Step::part("s3", s3.is_some() && restic.is_some(), require, |out| {
            let plugin = [
                "test",
                "--quiet",
                "--manifest-path",
                "plugins/Cargo.toml",
                "-p",
                "s3-target",
                "--test",
                "main",
            ];
            out.must(built::linted(&mut cargo(&plugin)))?;
            scenarios_of(out, "s3")
        }),
        Step::part("telegraf", telegraf.is_some(), require, |out| scenarios_of(out, "telegraf")),
        Step::new("fixtures", |out| fixtures(root, built.program("shiphold")?, out)),
        Step::new("server", |out| tests(out, "shiphold (program)", &[])),
        Step::new("kit", |out| tests(out, "shiphold_kit", &[])),
        Step::new("xtask", |out| tests(out, "xtask (program)", &[])),
    ];
    report.side_by_side(&target(root).join("test-output"), LANES, side_by_side)?;
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
fn fixtures(root: &Path, shiphold: &Path, out: &Out) -> Result<()> {
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
        out.must(command.arg(&folder).arg("--component").arg(component))?;
        tested += 1;
    }
    if tested == 0 {
        bail!("no example has fixtures");
    }
    Ok(())
}
