//! JavaScript: `plugin.js` and what it imports, with the engine SpiderMonkey inside, by componentize-js.

use crate::python::end_of;
use crate::{Tools, tool, world};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The command that installs what is needed.
pub const INSTALL: &str = "npm install --save-dev --save-exact @bytecodealliance/componentize-js@0.23.0 @bytecodealliance/preview2-shim@0.25.0";
/// The module that has the plugin's exports.
const PLUGIN: &str = "plugin.js";
/// Where the builder stands below `node_modules`.
const COMPONENTIZE: &str = "@bytecodealliance/componentize-js/src/componentize.js";

/// Its arguments: the builder, the plugin, the WIT package, the world, the output, features to leave out.
const SCRIPT: &str = "
const [builder, sourcePath, witPath, worldName, output, without] = process.argv.slice(1);
const { pathToFileURL } = await import('node:url');
const { writeFileSync } = await import('node:fs');
const { componentize } = await import(pathToFileURL(builder));
const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures: without.split(',') });
writeFileSync(output, component);
";

/// The bytes of the component of a project, without its `plugin.toml` section.
pub fn build(project: &Path, wit: &Path, tools: &Tools) -> Result<Vec<u8>> {
    let plugin = project.join(PLUGIN);
    if !plugin.is_file() {
        bail!("{} has no {PLUGIN}, where a JavaScript plugin begins", project.display());
    }
    let node = tools.node.clone().or_else(|| tool::find("node"));
    let node = node
        .context("there is no Node.js: install version 20 or newer (Debian: apt-get install nodejs npm)")?;
    // The build runs in the project's folder, so a path from here would lead elsewhere.
    let builder = componentize_js(project, tools)?.canonicalize()?;
    let scratch = tempfile::tempdir().context("making a folder for the build")?;
    let (package, component) = (scratch.path().join("wit"), scratch.path().join("component.wasm"));
    std::fs::create_dir(&package).context("making a folder for the build")?;
    world::write(project, wit, &package)?;
    let mut command = Command::new(node);
    command.args(["--input-type=module", "--eval", SCRIPT, "--"]);
    command.arg(builder).arg(plugin.canonicalize()?).arg(package).arg(world::NAME).arg(&component);
    // Without them it imports no `wasi:*` at all.
    command.arg(match world::asks_wasi(project)? {
        true => "http,fetch-event",
        false => "random,stdio,clocks,http,fetch-event",
    });
    command.current_dir(project).stdin(Stdio::null());
    let out = command.output().context("starting Node.js")?;
    if !out.status.success() {
        bail!("componentize-js: {}", end_of(&out.stdout, &out.stderr));
    }
    std::fs::read(&component).context("reading the component that componentize-js made")
}

/// The project's own packages, or those that were named.
fn componentize_js(project: &Path, tools: &Tools) -> Result<PathBuf> {
    [tools.node_modules.clone(), Some(project.join("node_modules"))]
        .into_iter()
        .flatten()
        .map(|modules| modules.join(COMPONENTIZE))
        .find(|p| p.is_file())
        .with_context(|| format!("there is no componentize-js, which makes components of JavaScript. In the project: `{INSTALL}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let tools = Tools { node: Some("/nowhere/node".into()), ..Tools::default() };
        let said = || format!("{:#}", build(dir.path(), dir.path(), &tools).unwrap_err());
        assert!(said().contains("no plugin.js"));
        std::fs::write(dir.path().join("plugin.js"), "").unwrap();
        assert!(said().contains(INSTALL), "{}", said());
    }
}
