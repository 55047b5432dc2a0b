//! Tests that go on for as long as one wants: what runs for some seconds with every `cargo xtask test` runs here from any seed.

use crate::built::Built;
use crate::{guests, guests_folder, peers, steps, target};
use anyhow::Result;
use clap::ValueEnum;
use std::path::Path;
use std::process::Command;

/// What is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Soak {
    /// `kill -9` of a host at random while writers, sealing, compaction and retention go on.
    Kill,
    /// Random workloads to the engines, every kind of question compared; with a real influxd if there is one.
    Engines,
}

/// What is given bytes that nobody wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Changed and random components, compiled in children.
    Components,
    /// Line protocol.
    Lines,
    /// Queries as JSON.
    Query,
    /// Texts in Flux, parsed, planned and answered.
    Flux,
    /// Sealed chunks and their statistics.
    Chunk,
    /// Records of the log.
    Record,
    /// Parquet files that are imported.
    Parquet,
    /// Libraries of skills that are imported.
    Library,
}

impl Target {
    /// Its package, the library whose tests hold it, and its tests.
    const fn tests(self) -> (&'static str, &'static str) {
        match self {
            Self::Components => ("shiphold-runtime", "tests::fuzz::"),
            Self::Lines => ("shiphold-storage", "fuzz::lines"),
            Self::Query => ("shiphold-storage", "fuzz::query"),
            Self::Flux => ("shiphold-storage", "fuzz::flux"),
            Self::Chunk => ("shiphold-storage", "fuzz::chunk"),
            Self::Record => ("shiphold-storage", "fuzz::record"),
            Self::Parquet => ("shiphold-storage", "fuzz::parquet"),
            Self::Library => ("shiphold-storage", "fuzz::library"),
        }
    }
}

/// A seed that nobody chose.
fn of_the_clock() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

pub fn soak(root: &Path, what: Soak, rounds: u64, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(of_the_clock);
    let run = |mut command: Command, tests: &[&str]| {
        command.args(tests).arg("--nocapture").env("SHIPHOLD_GUESTS", guests_folder(root));
        command.env("SHIPHOLD_SOAK_ROUNDS", rounds.to_string()).env("SHIPHOLD_SOAK_SEED", seed.to_string());
        if let Some(influxd) = peers::influxd() {
            command.env("SHIPHOLD_INFLUXD", influxd);
        }
        steps::say(&format!("{} from seed {seed} on, {rounds} rounds", tests.join(" ")));
        steps::must(&mut command)
    };
    match what {
        Soak::Kill => {
            guests::build_guests(root)?;
            run(Built::new(root)?.test("scenarios")?, &["kill::soak::"])
        }
        Soak::Engines => {
            let with =
                if peers::influxd().is_some() { "differential::influxd::" } else { "differential::embedded" };
            let mut command = library("shiphold-storage", root);
            command.arg("--");
            run(command, &[with, "differential::past::"])
        }
    }
}

/// Runs a target's tests for longer. Components are compiled with the host's own compiler.
pub fn fuzz(root: &Path, what: Target, seconds: u64, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(of_the_clock);
    let (package, tests) = what.tests();
    let mut command = library(package, root);
    command.args(["--", tests, "--nocapture"]);
    if what == Target::Components {
        guests::build_guests(root)?;
        steps::must(steps::cargo(root).args(["build", "--quiet", "--package", "shiphold"]))?;
        command.env("SHIPHOLD_GUESTS", guests_folder(root));
        command.env("SHIPHOLD_FUZZ_COMPILER", target(root).join("debug/shiphold"));
    }
    let name = what.to_possible_value().map_or_else(String::new, |v| v.get_name().to_string());
    steps::say(&format!("{name} from seed {seed} on, for {seconds} s"));
    command.env("SHIPHOLD_FUZZ_SECONDS", seconds.to_string()).env("SHIPHOLD_FUZZ_SEED", seed.to_string());
    steps::must(&mut command)
}

fn library(package: &str, root: &Path) -> Command {
    let mut command = steps::cargo(root);
    command.args(["test", "--quiet", "--package", package, "--lib"]);
    command
}
