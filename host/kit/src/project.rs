//! What stands in a folder: a plugin's project, by its `plugin.toml` and the files beside it.

use crate::Tools;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    RetentionPolicy,
    SkillIndexer,
    QueryBuilder,
    BackupTarget,
}

impl World {
    pub const ALL: [Self; 4] =
        [Self::RetentionPolicy, Self::SkillIndexer, Self::QueryBuilder, Self::BackupTarget];

    /// `retention-policy`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::RetentionPolicy => "retention-policy",
            Self::SkillIndexer => "skill-indexer",
            Self::QueryBuilder => "query-builder",
            Self::BackupTarget => "backup-target",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|w| w.name() == name)
    }
}

/// What it is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    Python,
    JavaScript,
}

impl Language {
    pub const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::JavaScript];

    /// As `--lang` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript => "js",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }
}

/// A project that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    pub folder: PathBuf,
    pub name: String,
    pub version: String,
    pub world: World,
    pub language: Language,
    /// The text of its plugin.toml.
    pub plugin_toml: String,
    /// What its plugin.toml asks for, as the manifest grants it.
    pub grants: toml::Table,
}

/// The parts of plugin.toml that a build needs; the host checks the rest.
#[derive(Deserialize)]
struct Descriptor {
    name: String,
    version: String,
    world: String,
    #[serde(default)]
    grants: toml::Table,
}

impl Project {
    /// The project in `folder`.
    pub fn find(folder: &Path) -> Result<Self> {
        let path = folder.join("plugin.toml");
        let plugin_toml = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => bail!(
                "{} is no plugin's project: it has no plugin.toml; `shiphold plugins new NAME --world W --lang L` makes one",
                folder.display()
            ),
            Err(e) => bail!("reading {}: {e}", path.display()),
        };
        let Descriptor { name, version, world, grants } =
            toml::from_str(&plugin_toml).with_context(|| format!("in {}", path.display()))?;
        check_name(&name).with_context(|| format!("in {}", path.display()))?;
        let Some(world) = World::parse(&world) else {
            let known: Vec<&str> = World::ALL.iter().map(|w| w.name()).collect();
            bail!(
                "{}: there is no world `{}`; there are {}",
                path.display(),
                world.escape_debug(),
                known.join(", ")
            )
        };
        let language = language(folder)?;
        Ok(Self { folder: folder.into(), name, version, world, language, plugin_toml, grants })
    }

    /// The component with its plugin.toml in it.
    pub fn build(&self, tools: &Tools) -> Result<Vec<u8>> {
        let wit = self.folder.join("wit");
        let mut component = match self.language {
            Language::Rust => crate::rust::build(&self.folder)?,
            Language::Python => crate::python::build(&self.folder, &wit, tools)?,
            Language::JavaScript => crate::javascript::build(&self.folder, &wit, tools)?,
        };
        crate::section::embed(&mut component, &self.plugin_toml)?;
        Ok(component)
    }

    /// Where its component goes.
    pub fn component_path(&self) -> PathBuf {
        self.folder.join("build").join(format!("{}.wasm", self.name))
    }
}

/// Exactly one of Cargo.toml, package.json and Python files.
fn language(folder: &Path) -> Result<Language> {
    let python = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .filter_map(Result::ok)
        .any(|e| e.path().extension().is_some_and(|x| x == "py"));
    let found: Vec<(Language, &str)> = [
        (folder.join("Cargo.toml").is_file(), Language::Rust, "Cargo.toml"),
        (python, Language::Python, "*.py"),
        (folder.join("package.json").is_file(), Language::JavaScript, "package.json"),
    ]
    .into_iter()
    .filter_map(|(there, language, file)| there.then_some((language, file)))
    .collect();
    match found.as_slice() {
        [(language, _)] => Ok(*language),
        [] => bail!(
            "{} has a plugin.toml, but no Cargo.toml, package.json or *.py beside it: nothing says what to build",
            folder.display()
        ),
        many => {
            let files: Vec<&str> = many.iter().map(|(_, file)| *file).collect();
            bail!(
                "{} has {}: keep the one to build, move the others into a folder",
                folder.display(),
                files.join(" and ")
            )
        }
    }
}

/// The manifest's rule for the names of plugins.
pub fn check_name(name: &str) -> Result<()> {
    let ok = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !ok {
        bail!(
            "`{}` is no name: a name has 1 to 64 of the characters a-z, 0-9, `-` and `_`, and starts with a letter or digit",
            name.escape_debug()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: &str =
        "name = \"a\"\nversion = \"0.1.0\"\nworld = \"skill-indexer\"\n[grants]\nskills = true\n";

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let text = if *file == "plugin.toml" { PLUGIN } else { "" };
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        dir
    }

    fn found(files: &[&str]) -> Result<Project> {
        Project::find(folder(files).path())
    }

    #[test]
    fn a_folder_is_what_its_files_say() {
        for (file, language) in [
            ("Cargo.toml", Language::Rust),
            ("plugin.py", Language::Python),
            ("package.json", Language::JavaScript),
        ] {
            let project = found(&["plugin.toml", file]).unwrap();
            assert_eq!((project.language, project.world), (language, World::SkillIndexer));
            assert_eq!(project.grants["skills"].as_bool(), Some(true));
            assert!(project.component_path().ends_with("build/a.wasm"));
        }
        for (files, words) in [
            (&[][..], "no plugin.toml"),
            (&["plugin.toml"], "nothing says what to build"),
            (&["plugin.toml", "Cargo.toml", "x.py"], "Cargo.toml and *.py"),
            (&["plugin.toml", "Cargo.toml", "package.json"], "keep the one"),
        ] {
            let said = format!("{:#}", found(files).unwrap_err());
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_wrong_description_is_named() {
        for (text, words) in [
            ("name = ", "plugin.toml"),
            ("version = \"1\"\nworld = \"skill-indexer\"", "name"),
            ("name = \"A\"\nversion = \"1\"\nworld = \"skill-indexer\"", "is no name"),
            ("name = \"a\"\nversion = \"1\"\nworld = \"w\"", "retention-policy, skill-indexer"),
        ] {
            let dir = folder(&["Cargo.toml"]);
            std::fs::write(dir.path().join("plugin.toml"), text).unwrap();
            let said = format!("{:#}", Project::find(dir.path()).unwrap_err());
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn names_are_the_manifests() {
        for good in ["a", "0", "keep-books", "a_b", &"x".repeat(64)] {
            check_name(good).unwrap();
        }
        for bad in ["", "-a", "_a", "A", "a b", "a/b", "..", "ä", "a\n", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
