//! `cargo xtask`: builds the guests, runs the main job, the tests and the benchmarks, and brings what only
//! they need. Every command does all of its set-up.

mod bench;
mod built;
mod demo;
mod guests;
mod licences;
mod peers;
mod report;
mod soak;
mod steps;
mod tests;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, main job, tests, benchmarks and peers of Shiphold")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the main job end to end on an empty data folder and leave the host serving.
    Run {
        /// Stop the host when the job is done.
        #[arg(long)]
        exit: bool,
        /// One-minute bars per symbol to feed (20 symbols).
        #[arg(long, default_value_t = 46_800)]
        bars: usize,
    },
    /// Format, lints, licences, and every test; ends with a table of what ran and what was skipped and why.
    Test {
        /// Parts whose skip is a failure, comma separated: influxd, python, node, s3.
        #[arg(long, value_delimiter = ',')]
        require: Vec<String>,
        /// Only the steps whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Build and cache what only tests and benchmarks need: a real influxd, S3 server, restic and Telegraf, packages of Python and Node.js.
    Peers,
    /// Measure, beside baselines in the same run.
    Bench {
        /// Only the groups whose name contains this: series, series-scale, series-rest, series-peers, series-growth, series-http, http, plugins, skills, data.
        group: Option<String>,
        /// Fewer rows, to see in some minutes that every benchmark runs.
        #[arg(long)]
        quick: bool,
        /// Put the tables into this file too: between its marks, as in docs/benchmarks.md, or a new one.
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
    },
    /// Repeat a test of survival from a seed, for as many rounds as you want.
    Soak {
        what: soak::Soak,
        #[arg(long, default_value_t = 200)]
        rounds: u64,
        /// The first round's seed; from the clock by default.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Feed one part with bytes that nobody wrote, until the time is over or one does harm.
    Fuzz {
        /// The part.
        #[arg(long, value_enum, default_value_t = soak::Target::Components)]
        target: soak::Target,
        /// How long.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// The first case's seed, each next one's is one more; from the clock by default.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Build the example plugins and the hostile guests as components into target/guests.
    Guests,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let root = root()?;
    match command {
        Command::Run { exit, bars } => demo::run(&root, &demo::Options { exit, bars }),
        Command::Test { require, only } => tests::run(&root, &require, only.as_deref()),
        Command::Peers => peers::install(&root),
        Command::Bench { group, quick, markdown } => {
            bench::run(&root, &bench::Options { group, quick, markdown })
        }
        Command::Soak { what, rounds, seed } => soak::soak(&root, what, rounds, seed),
        Command::Fuzz { target, seconds, seed } => soak::fuzz(&root, target, seconds, seed),
        Command::Guests => {
            for guest in guests::build_guests(&root)? {
                println!("{:24} {}", guest.name, guest.component_path.display());
            }
            Ok(())
        }
    }
}

/// The folder that holds the workspace.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask stands in the workspace")?.to_path_buf())
}

/// Where cargo puts what it builds.
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Where the components are.
pub fn guests_folder(root: &Path) -> PathBuf {
    target(root).join("guests")
}
