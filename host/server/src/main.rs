//! The binary `shiphold`: a command line, HTTP, telemetry.

mod app;
mod cli;
mod http;
mod serve;
mod telemetry;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
