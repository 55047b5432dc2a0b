//! Running other programs, and saying what goes on.

use anyhow::{Context, Result, bail};
use shiphold_kit::tool::find;
pub use shiphold_kit::tool::{cargo, output, shown};
use std::process::Command;

/// A headline on standard error.
pub fn say(text: &str) {
    eprintln!("\x1b[1m==> {text}\x1b[0m");
}

/// Runs to the end; a failure names the command.
pub fn must(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Is a program on the path?
pub fn exists(program: &str) -> bool {
    find(program).is_some()
}
