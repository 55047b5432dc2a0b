//! The development kit through the binary: a new project builds and passes its fixtures at once, without a host, a manifest
//! or a data folder; a fixture that is wrong says how.

use crate::support::{Said, binary, guests};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Projects of the same name build into one folder: another test's would take the place of a component before it is read.
/// Cargo tells them apart by the times of their sources alone, so that these are set to now before each command
/// ([`Desk::run`]): what was edited before another test's build began would pass for built.
static BUILDING: Mutex<()> = Mutex::new(());

/// A folder to work in, and the program in it.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Said {
        let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        let source = self.path("mine/src/lib.rs");
        if let Ok(file) = std::fs::File::options().append(true).open(source) {
            file.set_modified(std::time::SystemTime::now()).unwrap();
        }
        let mut command = binary();
        command.args(args).current_dir(self.dir.path());
        // Beside the guests, whose dependencies are the same; and what they needed is in the registry's cache.
        command
            .env("CARGO_TARGET_DIR", guests().with_file_name("kit-build"))
            .env("CARGO_NET_OFFLINE", "true");
        command.output().unwrap().into()
    }

    /// A new Rust project, its component built.
    fn with(world: &str) -> Self {
        let desk = Self::new();
        desk.run(&["plugins", "new", "mine", "--world", world, "--lang", "rust"]).ok();
        desk
    }

    fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.path(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old} in {text}");
        std::fs::write(path, text.replace(old, new)).unwrap();
    }

    /// Nothing but the project: no data folder appeared.
    fn left(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_project_of_each_world_builds_and_passes_at_once() {
    for world in ["retention-policy", "skill-indexer", "query-builder", "backup-target"] {
        let desk = Desk::with(world);
        let tested = desk.run(&["--json", "plugins", "test", "mine"]).json();
        let fixtures = names(&desk.path("mine/tests")).len();
        assert_eq!(tested["passed"], fixtures, "{world}: {tested:#}");
        assert_eq!(tested["failed"], 0, "{tested:#}");
        assert!(desk.path("mine/build/mine.wasm").is_file());
        assert_eq!(desk.left(), ["mine"]);
    }
}

#[test]
fn what_is_built_is_shown_and_its_section_is_a_manifest() {
    let desk = Desk::with("retention-policy");
    let built = desk.run(&["--json", "plugins", "build", "mine"]).json();
    assert_eq!(built["world"], "retention-policy");
    let shown = desk.run(&["plugins", "inspect", "mine/build/mine.wasm"]);
    for words in [
        "retention-policy",
        built["sha256"].as_str().unwrap(),
        "series.drop",
        "to have ticks dropped",
        "days",
    ] {
        assert!(shown.ok().contains(words), "no `{words}` in {shown:?}");
    }
    let config = "[plugins.mine.config]\ndays = 3\n";
    std::fs::write(desk.path("shiphold.toml"), format!("{}{config}", built["manifest"].as_str().unwrap()))
        .unwrap();
    desk.run(&["check"]).ok();
    // Another build than the one that was pinned is refused.
    desk.edit("mine/plugin.toml", "version = \"0.1.0\"", "version = \"0.2.0\"");
    desk.run(&["plugins", "build", "mine"]).ok();
    desk.run(&["check"]).fails(2, &["sha256"]);
}

#[test]
fn a_fixture_that_is_wrong_fails_with_the_difference_and_can_be_updated() {
    let desk = Desk::with("retention-policy");
    let file = "mine/tests/old-ticks-go.toml";
    desk.edit(
        file,
        "before 2026-05-04T00:00:00Z (72 rows)\",\n]",
        "before 2026-05-05T00:00:00Z (96 rows)\",\n]",
    );
    let failed = desk.run(&["plugins", "test", "mine", "--filter", "old"]);
    assert_eq!(failed.code, 1, "{failed:#?}");
    for line in [
        "    downsample market/tick.AAPL to 1m before 2026-05-04T00:00:00Z (72 rows)",
        "  - drop market/tick.AAPL before 2026-05-05T00:00:00Z (96 rows)",
        "  + drop market/tick.AAPL before 2026-05-04T00:00:00Z (72 rows)",
        "0 passed, 1 failed",
    ] {
        assert!(failed.out.lines().any(|l| l == line), "no `{line}` in {failed:#?}");
    }
    desk.run(&["plugins", "test", "mine", "--filter", "old", "--update"]).ok();
    let again = desk.run(&["--json", "plugins", "test", "mine"]).json();
    assert_eq!((again["passed"].as_u64(), again["failed"].as_u64()), (Some(3), Some(0)), "{again:#}");

    std::fs::write(desk.path("mine/tests/broken.toml"), "now = 1\n").unwrap();
    let broken = desk.run(&["plugins", "test", "mine", "--filter", "broken"]);
    assert!(broken.code == 1 && broken.out.contains("broken.toml:1: "), "{broken:#?}");
    desk.run(&["plugins", "test", "mine", "--filter", "none-such"]).fails(1, &["none of the 4"]);
}

#[test]
fn a_target_that_breaks_its_contract_is_told_which_rules() {
    let desk = Desk::with("backup-target");
    desk.edit("mine/src/lib.rs", "Some(_) => files::remove(&store, &path),", "Some(_) => Ok(()),");
    desk.edit("mine/src/lib.rs", "announced.whole().map_err(Error::Invalid)?;", "let _ = announced.whole();");
    let tested = desk.run(&["plugins", "test", "mine", "--filter", "contract"]);
    assert_eq!(tested.code, 1);
    for rule in [
        "it breaks the contract of a backup target",
        "an upload of 6 bytes that was finished after 3 is taken",
        "a blob that was deleted is still there",
    ] {
        assert!(tested.out.contains(rule), "{rule}: {tested:#?}");
    }
    assert!(!tested.out.contains("`get` of"), "what holds is not told: {tested:#?}");
}

#[test]
fn what_cannot_be_made_is_refused_with_the_next_step() {
    let desk = Desk::new();
    let new = |name: &str, world: &str, language: &str| {
        desk.run(&["plugins", "new", name, "--world", world, "--lang", language])
    };
    new("Bad Name", "skill-indexer", "rust").fails(1, &["is no name"]);
    new("../up", "skill-indexer", "rust").fails(1, &["is no name"]);
    new("a", "indexer", "rust").fails(2, &["there is no world", "skill-indexer"]);
    new("a", "skill-indexer", "cobol").fails(2, &["cobol", "rust, python, js"]);
    assert!(desk.left().is_empty());
    new("a", "skill-indexer", "rust").ok();
    new("a", "skill-indexer", "rust").fails(1, &["not empty", "--path"]);
    desk.run(&["plugins", "build", "nowhere"]).fails(1, &["plugins new"]);
    desk.edit("a/src/lib.rs", "struct Plugin;", "struct Plugin");
    desk.run(&["plugins", "build", "a"]).fails(1, &["cargo"]);
}
