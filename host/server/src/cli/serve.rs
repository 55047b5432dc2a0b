//! `shiphold serve`

use super::output::Failure;
use crate::telemetry;
use shiphold_storage::Manifest;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Lines for people, or JSON for a log collector; RUST_LOG chooses what is logged
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
}

pub(crate) fn run(manifest: &Path, args: Args) -> Result<ExitCode, Failure> {
    telemetry::init(args.log_format == "json");
    let manifest = Manifest::load(manifest)?;
    crate::serve::run(manifest)?;
    Ok(ExitCode::SUCCESS)
}
