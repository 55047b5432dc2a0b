//! The world of one plugin. A Python or JavaScript component imports every interface of its world, whether its code calls it
//! or not; so it is built against a world that has only what its `plugin.toml` asks for.

use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::Path;

/// The name of that world.
pub const NAME: &str = "plugin";

/// Does the plugin ask for `wasi`?
pub fn asks_wasi(project: &Path) -> Result<bool> {
    Ok(grants(&read(project)?).get("wasi").and_then(toml::Value::as_bool).unwrap_or(false))
}

/// Writes the WIT package of `wit` with the world [`NAME`] of the plugin in `project` into the empty folder `into`.
pub fn write(project: &Path, wit: &Path, into: &Path) -> Result<()> {
    let about = read(project)?;
    let exported = about
        .get("world")
        .and_then(toml::Value::as_str)
        .with_context(|| format!("{} has no `world`", project.join("plugin.toml").display()))?;
    let worlds = std::fs::read_to_string(wit.join("world.wit"))
        .with_context(|| format!("reading the WIT package in {}", wit.display()))?;
    let possible = imports(&worlds, exported).with_context(|| {
        format!("{}: there is no world `{exported}`", project.join("plugin.toml").display())
    })?;
    let package = worlds.lines().next().unwrap_or_default();
    let mut text = format!("{package}\n\nworld {NAME} {{\n");
    for name in possible.into_iter().filter(|i| asks(&grants(&about), i)) {
        writeln!(text, "  import {name};")?;
    }
    writeln!(text, "  export {exported};\n}}")?;
    for entry in std::fs::read_dir(wit).with_context(|| format!("reading {}", wit.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|x| x == "wit")) {
            std::fs::copy(&path, into.join(name)).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    std::fs::write(into.join("this-plugin.wit"), text).context("writing the plugin's world")
}

fn read(project: &Path) -> Result<toml::Table> {
    let path = project.join("plugin.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn grants(about: &toml::Table) -> toml::Table {
    about.get("grants").and_then(toml::Value::as_table).cloned().unwrap_or_default()
}

/// What the world `NAME-plugin` can import; none if there is no such world.
fn imports<'a>(worlds: &'a str, exported: &str) -> Result<Vec<&'a str>> {
    let head = format!("world {exported}-plugin {{");
    let Some((_, body)) = worlds.split_once(&head) else { bail!("world.wit has no `{head}`") };
    let body = body.split('}').next().unwrap_or_default();
    Ok(body.lines().filter_map(|l| l.trim().strip_prefix("import ")?.strip_suffix(';')).collect())
}

/// Interfaces without a grant are always there; of the others, what is asked for in any form.
fn asks(grants: &toml::Table, import: &str) -> bool {
    if ["config", "log", "metrics", "retention-types"].contains(&import) {
        return true;
    }
    match grants.get(import) {
        // What is written of these is written by `commits`: the interface reads.
        Some(toml::Value::Table(of)) if matches!(import, "settings" | "skills") => {
            of.get("read").is_some_and(is_something)
        }
        Some(toml::Value::Table(of)) => of.values().any(is_something),
        Some(grant) => is_something(grant),
        None => false,
    }
}

fn is_something(grant: &toml::Value) -> bool {
    match grant {
        toml::Value::Boolean(on) => *on,
        toml::Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(about: &str) -> Result<String> {
        let (project, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(project.path().join("plugin.toml"), about).unwrap();
        write(project.path(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit"), into.path())?;
        assert!(into.path().join("types.wit").is_file());
        Ok(std::fs::read_to_string(into.path().join("this-plugin.wit")).unwrap())
    }

    #[test]
    fn a_world_has_what_is_asked_for_and_nothing_else() {
        let bare = world("world = \"query-builder\"").unwrap();
        assert!(bare.starts_with("package shiphold:host@0.1.2;"), "{bare}");
        assert!(bare.contains("import config;") && bare.contains("export query-builder;"), "{bare}");
        assert!(!bare.contains("series") && !bare.contains("clock"), "{bare}");
        let text = "world = \"query-builder\"\n[grants]\nclock = true\nrandom = true\nsettings = { read = [] }\n[grants.series]\nread = [\"*/*\"]";
        let more = world(text).unwrap();
        assert!(more.contains("import clock;") && more.contains("import series;"), "{more}");
        // Not an import of this world, and asked for with an empty list.
        assert!(!more.contains("random") && !more.contains("settings"), "{more}");
        let policy = world("world = \"retention-policy\"").unwrap();
        assert!(policy.contains("import retention-types;") && !policy.contains("commits"), "{policy}");
        let text = "world = \"retention-policy\"\n[grants]\ncommits = true\nskills = { write = [\"a\"] }\nstate = { write = [\"a\"] }\n\
                    settings = { write = [\"a\"] }";
        let writes = world(text).unwrap();
        assert!(writes.contains("import commits;") && writes.contains("import state;"), "{writes}");
        assert!(!writes.contains("import settings;"), "{writes}");
        let text = "world = \"query-builder\"\n[grants]\ntrades = { read = [\"paper-*\"] }\nfiles = { read = [\"models/*\"] }";
        let reads = world(text).unwrap();
        assert!(reads.contains("import trades;") && reads.contains("import files;"), "{reads}");
        let text = "world = \"skill-indexer\"\n[grants]\nskills = { read = true }";
        assert!(world(text).unwrap().contains("import skills;"));
        assert!(!world(&text.replace("true", "false")).unwrap().contains("import skills;"));
    }

    #[test]
    fn a_wrong_description_is_named() {
        for (about, words) in
            [("", "no `world`"), ("world = \"x\"", "no world `x`"), ("world", "plugin.toml")]
        {
            let said = format!("{:#}", world(about).unwrap_err());
            assert!(said.contains(words), "{said}");
        }
    }
}
