//! `shiphold plugins new`: a project that builds and passes its tests at once.

use crate::{Language, World, project, wit};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// A template: where it goes in the project, and its text.
type Template = (&'static str, &'static str);

macro_rules! template {
    ($to:literal, $from:literal) => {
        ($to, include_str!(concat!("templates/", $from)))
    };
}

/// What every language shares of a world.
const fn of_world(world: World) -> &'static [Template] {
    match world {
        World::RetentionPolicy => &[
            template!("plugin.toml", "worlds/retention-policy/plugin.toml.txt"),
            template!("tests/old-ticks-go.toml", "worlds/retention-policy/tests/old-ticks-go.toml.txt"),
            template!(
                "tests/young-ticks-stay.toml",
                "worlds/retention-policy/tests/young-ticks-stay.toml.txt"
            ),
            template!("tests/wrong-config.toml", "worlds/retention-policy/tests/wrong-config.toml.txt"),
        ],
        World::SkillIndexer => &[
            template!("plugin.toml", "worlds/skill-indexer/plugin.toml.txt"),
            template!("tests/dips.toml", "worlds/skill-indexer/tests/dips.toml.txt"),
        ],
        World::QueryBuilder => &[
            template!("plugin.toml", "worlds/query-builder/plugin.toml.txt"),
            template!("tests/daily-range.toml", "worlds/query-builder/tests/daily-range.toml.txt"),
        ],
        World::BackupTarget => &[
            template!("plugin.toml", "worlds/backup-target/plugin.toml.txt"),
            template!("tests/contract.toml", "worlds/backup-target/tests/contract.toml.txt"),
            template!("tests/blobs.toml", "worlds/backup-target/tests/blobs.toml.txt"),
        ],
    }
}

const fn sources(world: World, language: Language) -> &'static [Template] {
    match (language, world) {
        (Language::Rust, World::RetentionPolicy) => &[
            template!("Cargo.toml", "rust/Cargo.toml.txt"),
            template!("src/lib.rs", "rust/retention-policy/lib.rs.txt"),
            template!("src/policy.rs", "rust/retention-policy/policy.rs.txt"),
        ],
        (Language::Rust, World::SkillIndexer) => &[
            template!("Cargo.toml", "rust/Cargo.toml.txt"),
            template!("src/lib.rs", "rust/skill-indexer/lib.rs.txt"),
            template!("src/vocabulary.rs", "rust/skill-indexer/vocabulary.rs.txt"),
        ],
        (Language::Rust, World::QueryBuilder) => &[
            template!("Cargo.toml", "rust/Cargo.toml.txt"),
            template!("src/lib.rs", "rust/query-builder/lib.rs.txt"),
            template!("src/range.rs", "rust/query-builder/range.rs.txt"),
        ],
        (Language::Rust, World::BackupTarget) => &[
            template!("Cargo.toml", "rust/Cargo.toml.txt"),
            template!("src/lib.rs", "rust/backup-target/lib.rs.txt"),
            template!("src/blobs.rs", "rust/backup-target/blobs.rs.txt"),
        ],
        (Language::Python, World::RetentionPolicy) => {
            &[template!("app.py", "python/retention-policy/app.py.txt")]
        }
        (Language::Python, World::SkillIndexer) => &[template!("app.py", "python/skill-indexer/app.py.txt")],
        (Language::Python, World::QueryBuilder) => &[template!("app.py", "python/query-builder/app.py.txt")],
        (Language::Python, World::BackupTarget) => &[
            template!("app.py", "python/backup-target/app.py.txt"),
            template!("backup_target.py", "python/backup-target/backup_target.py.txt"),
            template!("blobs.py", "python/backup-target/blobs.py.txt"),
        ],
        (Language::JavaScript, World::RetentionPolicy) => &[
            template!("package.json", "javascript/package.json.txt"),
            template!("plugin.js", "javascript/retention-policy/plugin.js.txt"),
        ],
        (Language::JavaScript, World::SkillIndexer) => &[
            template!("package.json", "javascript/package.json.txt"),
            template!("plugin.js", "javascript/skill-indexer/plugin.js.txt"),
        ],
        (Language::JavaScript, World::QueryBuilder) => &[
            template!("package.json", "javascript/package.json.txt"),
            template!("plugin.js", "javascript/query-builder/plugin.js.txt"),
        ],
        (Language::JavaScript, World::BackupTarget) => &[
            template!("package.json", "javascript/package.json.txt"),
            template!("plugin.js", "javascript/backup-target/plugin.js.txt"),
        ],
    }
}

/// What the README says of the files and of the tools of a language.
const fn words(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Rust => (
            "- `src/` is the plugin: `lib.rs` alone knows of WebAssembly, the rest is plain Rust with tests of its own\n  (`cargo test`).\n",
            "It needs a Rust toolchain with the target: `rustup target add wasm32-unknown-unknown`.",
        ),
        Language::Python => (
            "- `app.py` is the plugin: plain Python.\n",
            "It needs componentize-py, on the path or in `.venv`: `python3 -m venv .venv && .venv/bin/pip install\ncomponentize-py==0.25.1`.",
        ),
        Language::JavaScript => (
            "- `plugin.js` is the plugin: plain JavaScript.\n",
            "It needs Node 20 or newer and componentize-js: `npm install` brings it into `node_modules`.",
        ),
    }
}

/// Why a Python plugin asks for it.
const WASI_REASON: &str = "wasi = \"CPython imports it; it holds nothing\"\n";

/// Every file of a new project: its path and its text.
pub fn files(name: &str, world: World, language: Language) -> Result<Vec<(String, String)>> {
    project::check_name(name)?;
    let sources = sources(world, language);
    let (files, needs) = words(language);
    let wasi = language == Language::Python;
    let filled = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{world}}", world.name())
            .replace("{{language}}", language.name())
            .replace("{{files}}", files)
            .replace("{{needs}}", needs)
            .replace("{{grants}}", if wasi { "[grants]\nwasi = true\n" } else { "" })
            .replace("{{reasons}}", if wasi { WASI_REASON } else { "" })
            .replace(
                "{{alone}}",
                &if wasi {
                    format!("[grants]\nwasi = true\n\n[reasons]\n{WASI_REASON}\n")
                } else {
                    String::new()
                },
            )
    };
    let mut out = vec![
        ("README.md".into(), filled(include_str!("templates/README.md.txt"))),
        (".gitignore".into(), include_str!("templates/gitignore.txt").to_string()),
    ];
    out.extend(of_world(world).iter().chain(sources).map(|(path, text)| (path.to_string(), filled(text))));
    out.extend(wit::FILES.iter().map(|(path, text)| (format!("wit/{path}"), text.to_string())));
    Ok(out)
}

/// Writes a project into `folder`, which must be new or empty; gives back the paths of its files.
pub fn write(folder: &Path, name: &str, world: World, language: Language) -> Result<Vec<String>> {
    let files = files(name, world, language)?;
    if folder.exists() {
        if !folder.is_dir() {
            bail!("{} exists and is no folder: choose another with --path", folder.display());
        }
        let mut there = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        if there.next().is_some() {
            bail!("{} exists and is not empty: choose another with --path", folder.display());
        }
    }
    for (path, text) in &files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Project, fixture};

    #[test]
    fn every_template_is_a_project_with_fixtures_that_are_read() {
        let mut seen = 0;
        for world in World::ALL {
            for language in Language::ALL {
                let dir = tempfile::tempdir().unwrap();
                let folder = dir.path().join("p");
                write(&folder, "my-plugin", world, language).unwrap();
                let project = Project::find(&folder).unwrap();
                assert_eq!((project.world, project.language), (world, language));
                assert_eq!(project.name, "my-plugin");
                let fixtures = fixture::list(&folder).unwrap();
                assert!(!fixtures.is_empty());
                for path in fixtures {
                    fixture::Fixture::read(&path, world).unwrap();
                }
                for (path, text) in files("my-plugin", world, language).unwrap() {
                    assert!(!text.contains("{{"), "{path}");
                }
                seen += 1;
            }
        }
        assert_eq!(seen, World::ALL.len() * Language::ALL.len());
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let new = |name: &str, folder: &str| {
            write(&dir.path().join(folder), name, World::SkillIndexer, Language::Rust)
                .map_err(|e| format!("{e:#}"))
        };
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(new("a", "empty").is_ok());
        assert!(new("a", "empty").unwrap_err().contains("not empty"));
        std::fs::write(dir.path().join("file"), "x").unwrap();
        assert!(new("a", "file").unwrap_err().contains("no folder"));
        assert!(new("../a", "b").unwrap_err().contains("is no name"));
        assert!(!dir.path().join("b").exists());
    }
}
