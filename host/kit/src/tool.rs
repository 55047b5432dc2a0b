//! Other programs: finding them, and hearing what they say.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The cargo that runs this or the one on the path, in `folder`.
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo set for this program must not reach the cargo that it starts.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            command.env_remove(&key);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// A program on the path.
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|d| d.join(program)).find(|f| f.is_file())
}

/// Runs to the end and gives back what it printed on standard output; its standard error goes to ours.
pub fn output(command: &mut Command) -> Result<String> {
    let out =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("starting {}", shown(command)))?;
    if !out.status.success() {
        bail!("{} failed: {}", shown(command), out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("{} printed what is not UTF-8", shown(command)))
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
