//! Builds the guests — the example plugins and the hostile components of the tests — as components into
//! `target/guests/NAME.wasm`. How a crate becomes a component is the development kit's work.

use crate::{guests_folder, steps, target};
use anyhow::{Context, Result, bail};
use shiphold_kit::rust::{DEBIAN_PACKAGES, Module, TARGET, Toolchain, target_is_there};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A component that was built.
pub struct Built {
    pub name: String,
    pub component_path: PathBuf,
}

/// Builds every guest of the `plugins/` workspace. What is up to date is left as it is, bytes and time.
pub fn build_guests(root: &Path) -> Result<Vec<Built>> {
    let messages = steps::output(&mut build(root, &toolchain(root)?))?;
    let folder = guests_folder(root);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut built = Vec::new();
    for module in messages.lines().filter_map(Module::of_message) {
        let component = module.component().with_context(|| format!("the guest `{}`", module.name))?;
        let component_path = folder.join(format!("{}.wasm", module.name));
        place(&component_path, &component)?;
        built.push(Built { name: module.name, component_path });
    }
    if built.is_empty() {
        bail!("cargo built no guest in {}", root.join("plugins").display());
    }
    built.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(built)
}

/// The first way that works; installs what may be installed without asking.
fn toolchain(root: &Path) -> Result<Toolchain> {
    if target_is_there(root) {
        return Ok(Toolchain::Own);
    }
    if steps::exists("rustup") {
        steps::say(&format!("Adding the target {TARGET}"));
        match steps::must(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root)) {
            Ok(()) if target_is_there(root) => return Ok(Toolchain::Own),
            Ok(()) => {}
            Err(e) => eprintln!("{e:#}"),
        }
    }
    if let Some(found) = Toolchain::find(root) {
        return Ok(found);
    }
    if steps::exists("apt-get") && is_root() {
        steps::say(&format!("Installing Debian's {}", DEBIAN_PACKAGES.join(", ")));
        let apt = |args: &[&str]| {
            steps::must(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
        };
        // Images often come without package lists.
        let install = apt(&["update"]).and_then(|()| {
            apt(&[&["install", "--yes", "--no-install-recommends"][..], &DEBIAN_PACKAGES].concat())
        });
        if let Err(e) = install {
            eprintln!("{e:#}");
        }
    }
    Toolchain::need(root)
}

/// cargo on the guests' workspace; prints a message per artifact.
fn build(root: &Path, toolchain: &Toolchain) -> Command {
    let mut command = toolchain.build(root);
    command.args(["--workspace", "--lib", "--examples"]);
    command.arg("--manifest-path").arg(root.join("plugins/Cargo.toml"));
    command.arg("--target-dir").arg(target(root).join("guests-build"));
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

/// Puts `bytes` at `path` whole or not at all. The same bytes are not written again: what was compiled from them stays valid.
fn place(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    // Two builds at once must not share it.
    let temp = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temp, bytes).with_context(|| format!("writing {}", temp.display()))?;
    std::fs::rename(&temp, path).with_context(|| format!("putting {} in place", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_not_written_again() {
        let path = std::env::temp_dir().join(format!("shiphold-place-{}.wasm", std::process::id()));
        place(&path, b"one").unwrap();
        let before = path.metadata().unwrap().modified().unwrap();
        place(&path, b"one").unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), before);
        place(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        std::fs::remove_file(&path).unwrap();
    }
}
