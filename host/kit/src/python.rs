//! Python: `app.py` and what it imports, with CPython inside, by componentize-py.

use crate::{Tools, tool, world};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The command that installs what is needed.
pub const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1";
/// The module that has the plugin's classes.
const APP: &str = "app";
/// Bytes of what a failed build said that are told.
const SAID_BYTES_MAX: usize = 4_000;

/// The bytes of the component of a project, without its `plugin.toml` section.
pub fn build(project: &Path, wit: &Path, tools: &Tools) -> Result<Vec<u8>> {
    if !project.join(APP).with_extension("py").is_file() {
        bail!("{} has no {APP}.py, where a Python plugin begins", project.display());
    }
    if !world::asks_wasi(project)? {
        bail!(
            "{}: a Python component imports `wasi:*`. Say `wasi = true` under [grants], and under [reasons] why",
            project.join("plugin.toml").display()
        );
    }
    let componentize = componentize_py(project, tools)?;
    let scratch = tempfile::tempdir().context("making a folder for the build")?;
    let (package, component) = (scratch.path().join("wit"), scratch.path().join("component.wasm"));
    std::fs::create_dir(&package).context("making a folder for the build")?;
    world::write(project, wit, &package)?;
    let mut command = Command::new(componentize);
    command.arg("--quiet").arg("--wit-path").arg(&package).args(["--world", world::NAME]);
    command.args(["componentize", APP, "--python-path"]).arg(project).arg("--output").arg(&component);
    // Of the environment only what stands in the project goes in.
    command.env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    let out = command.output().with_context(|| format!("starting {}", tool::shown(&command)))?;
    if !out.status.success() {
        bail!("componentize-py: {}", end_of(&out.stdout, &out.stderr));
    }
    std::fs::read(&component).context("reading the component that componentize-py made")
}

/// The project's own environment, the Python that was named, or the path.
fn componentize_py(project: &Path, tools: &Tools) -> Result<PathBuf> {
    let beside = |python: &PathBuf| Some(python.with_file_name("componentize-py"));
    let own = project.join(".venv/bin/componentize-py");
    [tools.python.as_ref().and_then(beside), Some(own), tool::find("componentize-py")]
        .into_iter()
        .flatten()
        .find(|p| p.is_file())
        .with_context(|| {
            format!(
                "there is no componentize-py, which makes components of Python. In the project: `{INSTALL}`"
            )
        })
}

/// The end of what a program said, where the reason stands.
pub(crate) fn end_of(stdout: &[u8], stderr: &[u8]) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    let said = said.trim();
    let skip = said.len().saturating_sub(SAID_BYTES_MAX);
    let skip = (skip..said.len()).find(|i| said.is_char_boundary(*i)).unwrap_or(said.len());
    said.get(skip..).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let said = |tools: &Tools| format!("{:#}", build(dir.path(), dir.path(), tools).unwrap_err());
        let none = Tools { python: Some("/nowhere/python".into()), ..Tools::default() };
        assert!(said(&none).contains("no app.py"));
        std::fs::write(dir.path().join("app.py"), "").unwrap();
        std::fs::write(dir.path().join("plugin.toml"), "world = \"query-builder\"").unwrap();
        assert!(said(&none).contains("`wasi = true`"), "{}", said(&none));
        std::fs::write(dir.path().join("plugin.toml"), "world = \"query-builder\"\ngrants = { wasi = true }")
            .unwrap();
        if tool::find("componentize-py").is_none() {
            assert!(said(&none).contains(INSTALL), "{}", said(&none));
        }
    }

    #[test]
    fn the_end_is_told() {
        assert_eq!(end_of(b"a\n", b"b\n"), "a\nb");
        let long = "ä".repeat(SAID_BYTES_MAX);
        let told = end_of(b"x", long.as_bytes());
        assert!(told.len() <= SAID_BYTES_MAX && told.starts_with('ä'));
    }
}
