//! The command line. Every verb of a noun builds a request to a JSON route and shows the answer: for people as a
//! table, for programs as JSON. Exit codes: 0 done, 1 refused or failed, 2 the call or the manifest is wrong.

mod audit;
mod backup;
mod check;
mod client;
mod commits;
mod completions;
mod events;
mod export;
mod files;
mod input;
mod kit;
mod logs;
mod migrate;
mod output;
mod plugins;
mod queries;
mod rollups;
mod series;
mod serve;
mod settings;
mod skills;
mod sql;
mod state;
mod tokens;
mod trades;
mod verify;

use clap::{Parser, Subcommand};
use client::Client;
use output::{Failure, Output};
use shiphold_storage::Manifest;
use std::path::PathBuf;
use std::process::ExitCode;

/// The storage host that stands beside an autonomous trader.
///
/// Nouns work whether or not the host runs: with a running host the command talks to it over the 0600 socket in the data
/// folder, otherwise it opens the data folder itself.
#[derive(Debug, Parser)]
#[command(name = "shiphold", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// The manifest; docs/manifest.md describes every key
    #[arg(
        long,
        short = 'm',
        global = true,
        env = "SHIPHOLD_MANIFEST",
        default_value = "shiphold.toml",
        value_name = "FILE"
    )]
    manifest: PathBuf,
    /// Print JSON for programs instead of tables for people
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host until SIGINT or SIGTERM
    Serve(serve::Args),
    /// Check the manifest and the components that it names; every problem at once, with its line
    Check,
    /// Re-read every store: databases, chunks, objects, the audit chain
    Verify,
    /// Migrations of the databases: how they stand, and applying them
    #[command(subcommand)]
    Migrate(migrate::Verb),
    /// Trading skills: versions, dependencies, search
    #[command(subcommand)]
    Skills(skills::Verb),
    /// Time series: bars, ticks, order books, signals, metrics
    #[command(subcommand)]
    Series(series::Verb),
    /// Named queries that plugins offer: VWAP, joins, sessions
    #[command(subcommand)]
    Queries(queries::Verb),
    /// Rollups of the manifest: how they stand, and running them
    #[command(subcommand)]
    Rollups(rollups::Verb),
    /// Settings: namespaces of typed values with revisions
    #[command(subcommand)]
    Settings(settings::Verb),
    Sql(sql::Args),
    /// Checkpoints of strategies: what each goes on from when it starts
    #[command(subcommand)]
    State(state::Verb),
    /// The trading record: accounts, orders, fills, positions, profit, statements
    #[command(subcommand)]
    Trades(trades::Verb),
    /// Units of work over all stores: everything or nothing
    #[command(subcommand)]
    Commits(commits::Verb),
    /// The audit trail: append-only and hash-chained
    #[command(subcommand)]
    Audit(audit::Verb),
    /// File stores: models, archives, logs; every put is a new version
    #[command(subcommand)]
    Files(files::Verb),
    /// Lines of the trader's logs: push, search, tail
    #[command(subcommand)]
    Logs(logs::Verb),
    /// Sandboxed plugins: run, history, grants
    #[command(subcommand)]
    Plugins(plugins::Verb),
    /// Backups of everything at one instant
    #[command(subcommand)]
    Backup(backup::Verb),
    /// Bearer tokens for HTTP clients
    #[command(subcommand)]
    Tokens(tokens::Verb),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Parses the arguments, does the work and says how it ended.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(cli.json);
    match run(cli, &out) {
        Ok(code) => code,
        Err(failure) => out.failure(&failure),
    }
}

fn run(cli: Cli, out: &Output) -> Result<ExitCode, Failure> {
    // The child that compiles a component sets limits on itself: it must not start a runtime first.
    if let Command::Plugins(plugins::Verb::Compile { input, output, memory_bytes, seconds }) = &cli.command {
        return plugins::compile(input, output, *memory_bytes, *seconds);
    }
    match cli.command {
        Command::Completions(args) => completions::run(&args),
        Command::Check => check::run(&cli.manifest, out),
        Command::Serve(args) => serve::run(&cli.manifest, args),
        Command::Plugins(plugins::Verb::Inspect { file }) => plugins::inspect(&file, out),
        Command::Plugins(plugins::Verb::Kit(verb)) => kit::run(verb, out),
        command => {
            crate::telemetry::init_quiet();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|e| Failure::plain(format!("starting the runtime: {e}")))?;
            runtime.block_on(async {
                let manifest = Manifest::load(&cli.manifest)?;
                if let Command::Migrate(verb) = &command {
                    return migrate::run(verb, &manifest, out).map(|()| ExitCode::SUCCESS);
                }
                // What works on a folder beside the host's own needs no host.
                if let Command::Backup(verb) = &command {
                    if let Some(done) = backup::run_without_host(verb, &manifest, out).await? {
                        return Ok(done);
                    }
                }
                if let Command::Audit(verb) = &command {
                    if let Some(done) = audit::run_without_host(verb, &manifest, out)? {
                        return Ok(done);
                    }
                }
                let client = Client::open(&manifest).await?;
                let done = noun(command, &client, out).await;
                let closed = client.close().await;
                let code = done?;
                closed?;
                Ok(code)
            })
        }
    }
}

async fn noun(command: Command, client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::Verify => return verify::run(client, out).await,
        Command::Skills(verb) => skills::run(verb, client, out).await?,
        Command::Series(verb) => return series::run(verb, client, out).await,
        Command::Queries(verb) => queries::run(verb, client, out).await?,
        Command::Rollups(verb) => return rollups::run(verb, client, out).await,
        Command::Settings(verb) => settings::run(verb, client, out).await?,
        Command::State(verb) => state::run(verb, client, out).await?,
        Command::Trades(verb) => trades::run(verb, client, out).await?,
        Command::Commits(verb) => commits::run(verb, client, out).await?,
        Command::Sql(args) => sql::run(args, client, out).await?,
        Command::Audit(verb) => return audit::run(verb, client, out).await,
        Command::Files(verb) => return files::run(verb, client, out).await,
        Command::Logs(verb) => logs::run(verb, client, out).await?,
        Command::Plugins(verb) => plugins::run(verb, client, out).await?,
        Command::Backup(verb) => backup::run(verb, client, out).await?,
        Command::Tokens(verb) => tokens::run(verb, client, out).await?,
        Command::Serve(_) | Command::Check | Command::Completions(_) | Command::Migrate(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}
