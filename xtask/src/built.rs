//! The tests, built once for the whole workspace and linted as they are built.
//!
//! `cargo test -p` picks the features of dependencies anew for each package, and `cargo clippy` checks every dependency once more
//! beside the build: together they cost half of a cold run. So there is one build of everything, whose own crates go through
//! `clippy-driver`, which is rustc with more lints; a warning fails it. The steps then run what was built.

use crate::steps;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What cargo sets in front of rustc for our own crates, and the lints that are errors, as `cargo clippy -- -D warnings` does it.
const WRAPPER: [(&str, &str); 2] = [
    ("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"),
    ("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__"),
];

/// A test program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    /// Of its package: tests find their files from there.
    folder: PathBuf,
}

/// The test programs of a workspace, and its binaries, by name.
#[derive(Debug, Default)]
pub struct Built {
    tests: BTreeMap<String, Program>,
    programs: BTreeMap<String, PathBuf>,
}

/// The same lints for a command that builds.
pub fn linted(command: &mut Command) -> &mut Command {
    command.envs(WRAPPER)
}

impl Built {
    /// Builds every target of the workspace.
    pub fn new(root: &Path) -> Result<Self> {
        if !steps::exists("clippy-driver") {
            bail!("there is no clippy-driver: `rustup component add clippy`");
        }
        let mut command = steps::cargo(root);
        linted(&mut command)
            .args(["test", "--workspace", "--all-targets", "--no-run"])
            .arg("--message-format=json-render-diagnostics")
            .stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", steps::shown(&command)))?;
        let mut built = Self::default();
        for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
            built.note(&line.context("reading what cargo says")?);
        }
        if !child.wait()?.success() {
            bail!("{} failed: see the errors above", steps::shown(&command));
        }
        Ok(built)
    }

    /// One line of cargo's messages; those that are no program are left out.
    fn note(&mut self, line: &str) {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { return };
        let text = |pointer: &str| message.pointer(pointer).and_then(|v| v.as_str());
        let (Some(path), Some(name), Some(manifest)) =
            (text("/executable"), text("/target/name"), text("/manifest_path"))
        else {
            return;
        };
        let is_test = message.pointer("/profile/test").and_then(|v| v.as_bool()) == Some(true);
        let is_bin = text("/target/kind/0") == Some("bin");
        if is_test {
            let folder = Path::new(manifest).parent().unwrap_or(Path::new(".")).to_path_buf();
            let name = if is_bin { format!("{name} (program)") } else { name.to_string() };
            self.tests.insert(name, Program { path: path.into(), folder });
        } else if is_bin {
            self.programs.insert(name.into(), path.into());
        }
    }

    /// A command that runs tests, a dot each.
    pub fn test(&self, name: &str) -> Result<Command> {
        let known = || self.tests.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let program =
            self.tests.get(name).with_context(|| format!("no tests `{name}`; there are {}", known()))?;
        let mut command = Command::new(&program.path);
        command.current_dir(&program.folder).arg("--quiet");
        Ok(command)
    }

    pub fn program(&self, name: &str) -> Result<&Path> {
        self.programs.get(name).map(PathBuf::as_path).with_context(|| format!("`{name}` was not built"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_other_messages() {
        let mut built = Built::default();
        for line in [
            "no JSON",
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"executable":null,"target":{"name":"a","kind":["lib"]},"manifest_path":"/w/a/Cargo.toml","profile":{"test":false}}"#,
            r#"{"executable":"/t/a-1","target":{"name":"a","kind":["lib"]},"manifest_path":"/w/a/Cargo.toml","profile":{"test":true}}"#,
            r#"{"executable":"/t/b-1","target":{"name":"b","kind":["bin"]},"manifest_path":"/w/b/Cargo.toml","profile":{"test":true}}"#,
            r#"{"executable":"/t/b","target":{"name":"b","kind":["bin"]},"manifest_path":"/w/b/Cargo.toml","profile":{"test":false}}"#,
        ] {
            built.note(line);
        }
        assert_eq!(built.tests.keys().collect::<Vec<_>>(), ["a", "b (program)"]);
        assert_eq!(built.tests["a"], Program { path: "/t/a-1".into(), folder: "/w/a".into() });
        assert_eq!(built.program("b").unwrap(), Path::new("/t/b"));
        assert!(built.program("a").is_err());
        assert!(built.test("c").unwrap_err().to_string().contains("there are a, b (program)"));
    }
}
