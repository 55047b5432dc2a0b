//! `shiphold plugins new | build | test`: the development kit. It needs no host, no manifest and no data folder.

mod ask;
mod inspect;
mod sandbox;
mod test;

pub(crate) use inspect::inspect;

use super::output::{Failure, Output};
use clap::Subcommand;
use serde_json::json;
use shiphold_kit::{Language, Project, Tools, World};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a project that builds and passes its tests at once
    New {
        /// Of the plugin: a-z, 0-9, `-` and `_`
        name: String,
        /// What it is: retention-policy, skill-indexer, query-builder, backup-target
        #[arg(long, value_name = "WORLD")]
        world: String,
        /// What it is written in: rust, python, js
        #[arg(long = "lang", value_name = "LANGUAGE", default_value = "rust")]
        language: String,
        /// The folder to write; by default one of the plugin's name
        #[arg(long, value_name = "FOLDER")]
        path: Option<PathBuf>,
    },
    /// Build a project into a component and show what to write into the manifest
    Build {
        /// The project
        #[arg(default_value = ".", value_name = "FOLDER")]
        folder: PathBuf,
        /// The component; by default build/NAME.wasm in the project
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Build a project and run its fixtures (tests/*.toml, *.json) in the real sandbox
    Test(test::Args),
}

pub(crate) fn run(verb: Verb, out: &Output) -> Result<ExitCode, Failure> {
    match verb {
        Verb::New { name, world, language, path } => {
            new(&name, &world, &language, path.as_deref(), out)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Build { folder, out: file } => {
            let built = build(&folder, file.as_deref())?;
            show(&built, out)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Test(args) => test::run(&args, out),
    }
}

/// The whole chain of an error of the kit on one line.
fn failed(e: &anyhow::Error) -> Failure {
    Failure { exit: 1, code: "kit".into(), message: format!("{e:#}"), hint: None }
}

fn new(name: &str, world: &str, language: &str, path: Option<&Path>, out: &Output) -> Result<(), Failure> {
    let known = |names: &[&str]| format!("there are {}", names.join(", "));
    let world = World::parse(world).ok_or_else(|| {
        Failure::usage(
            format!("there is no world `{}`", world.escape_debug()),
            known(&World::ALL.map(World::name)),
        )
    })?;
    let language = Language::parse(language).ok_or_else(|| {
        Failure::usage(
            format!("plugins are not written in `{}` here", language.escape_debug()),
            known(&Language::ALL.map(Language::name)),
        )
    })?;
    let folder = path.unwrap_or(Path::new(name));
    let files = shiphold_kit::new::write(folder, name, world, language).map_err(|e| failed(&e))?;
    if out.json {
        out.json(&json!({ "folder": folder, "files": files }));
        return Ok(());
    }
    let sources = files.iter().filter(|f| !f.starts_with("wit/"));
    for file in sources {
        out.line(format!("  {}", folder.join(file).display()));
    }
    out.line(format!("  {}/  the interfaces", folder.join("wit").display()));
    let shown = folder.display();
    out.line(format!("\n{name} is a {} in {}. Next:\n", world.name(), language.name()));
    match language {
        Language::Rust => {}
        Language::Python => {
            out.line(format!("  (cd {shown} && {})", shiphold_kit::python::INSTALL));
        }
        Language::JavaScript => out.line(format!("  (cd {shown} && npm install)")),
    }
    out.line(format!("  shiphold plugins test {shown}\n  shiphold plugins build {shown}"));
    Ok(())
}

/// A component that was built.
struct Built {
    project: Project,
    component: PathBuf,
}

/// Builds the project in `folder`.
fn build(folder: &Path, to: Option<&Path>) -> Result<Built, Failure> {
    let project = Project::find(folder).map_err(|e| failed(&e))?;
    let bytes = project.build(&tools()).map_err(|e| failed(&e))?;
    let component = to.map_or_else(|| project.component_path(), Path::to_path_buf);
    place(&component, &bytes).map_err(|e| Failure::plain(format!("{}: {e}", component.display())))?;
    Ok(Built { project, component })
}

/// What the operator names.
fn tools() -> Tools {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    Tools {
        python: var("SHIPHOLD_PYTHON"),
        node: var("SHIPHOLD_NODE"),
        node_modules: var("SHIPHOLD_NODE_MODULES"),
    }
}

/// A file that is there whole or not at all: a host may be reading it.
fn place(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&partial, bytes)?;
    std::fs::rename(&partial, path)
}

/// What was built, and the part of the manifest to paste.
fn show(built: &Built, out: &Output) -> Result<(), Failure> {
    let seen = shiphold_runtime::inspect(&built.component)?;
    let absolute = std::path::absolute(&built.component)
        .map_err(|e| Failure::plain(format!("{}: {e}", built.component.display())))?;
    let section = section(&built.project, &absolute, &seen.sha256)?;
    if out.json {
        out.json(&json!({
            "component": absolute,
            "world": seen.world,
            "size": seen.size,
            "sha256": seen.sha256,
            "imports": seen.imports,
            "manifest": section,
        }));
        return Ok(());
    }
    out.line(format!(
        "{}  {} bytes, a {} {}",
        built.component.display(),
        seen.size,
        seen.world.as_deref().unwrap_or("component of no world"),
        built.project.version
    ));
    out.line(format!("imports  {}", inspect::short(&seen.imports).join(", ")));
    out.line(format!("\nFor shiphold.toml: grant no more than it needs where you run it.\n\n{section}"));
    Ok(())
}

/// `[plugins.NAME]` with the pin, and every grant that it asks for.
fn section(project: &Project, component: &Path, sha256: &str) -> Result<String, Failure> {
    let mut plugin = toml::Table::new();
    plugin.insert("component".into(), component.to_string_lossy().into_owned().into());
    plugin.insert("world".into(), project.world.name().into());
    plugin.insert("sha256".into(), sha256.into());
    if !project.grants.is_empty() {
        plugin.insert("grants".into(), project.grants.clone().into());
    }
    let plugins = toml::Table::from_iter([(project.name.clone(), plugin.into())]);
    let whole = toml::Table::from_iter([("plugins".to_string(), plugins.into())]);
    toml::to_string(&whole).map_err(|e| Failure::plain(e.to_string()))
}
