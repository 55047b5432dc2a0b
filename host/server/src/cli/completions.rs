//! `shiphold completions SHELL`

use super::Cli;
use super::output::Failure;
use clap::CommandFactory as _;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    clap_complete::generate(args.shell, &mut Cli::command(), "shiphold", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
