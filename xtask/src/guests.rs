//! Builds the guests — the example plugins and the hostile components of the tests — as components into
//! `target/guests/NAME.wasm`. How a crate becomes a component is the development kit's work.

use crate::{guests_folder, peers, steps, target};
use anyhow::{Context, Result, bail};
use shiphold_kit::Language;
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
    built.extend(scripted(root)?);
    built.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(built)
}

/// Plugins in other languages than Rust: the examples, and the guests of the tests.
const SCRIPTED: [(&str, Language); 4] = [
    ("plugins/indicators-python", Language::Python),
    ("plugins/tags-javascript", Language::JavaScript),
    ("tests/components/probe-python", Language::Python),
    ("tests/components/probe-javascript", Language::JavaScript),
];

/// Builds those whose tools are there. One whose files did not change is left as it is: a build takes ten seconds, and what
/// was compiled from it stays valid.
fn scripted(root: &Path) -> Result<Vec<Built>> {
    let (tools, wit) = (peers::tools(root), root.join("wit"));
    let mut built = Vec::new();
    for (at, language) in SCRIPTED {
        let project = root.join(at);
        let (pins, there) = match language {
            Language::JavaScript => ("peers/javascript/package-lock.json", tools.node_modules.is_some()),
            _ => ("tests/python/requirements.txt", tools.python.is_some()),
        };
        if !there {
            steps::say(&format!("{at} is not built: its tools are missing, `cargo xtask peers` brings them"));
            continue;
        }
        let name = project.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let component_path = guests_folder(root).join(format!("{name}.wasm"));
        let inputs = format!("{:016x}", inputs(&[&project, &wit, &root.join(pins)])?);
        let noted = component_path.with_extension("inputs");
        if !component_path.is_file() || !std::fs::read_to_string(&noted).is_ok_and(|old| old == inputs) {
            steps::say(&format!("Building {at}"));
            let mut component = match language {
                Language::JavaScript => shiphold_kit::javascript::build(&project, &wit, &tools),
                _ => shiphold_kit::python::build(&project, &wit, &tools),
            }
            .with_context(|| format!("the guest `{name}`"))?;
            let about = project.join("plugin.toml");
            let about =
                std::fs::read_to_string(&about).with_context(|| format!("reading {}", about.display()))?;
            shiphold_kit::section::embed(&mut component, &about)?;
            place(&component_path, &component)?;
            place(&noted, inputs.as_bytes())?;
        }
        built.push(Built { name, component_path });
    }
    Ok(built)
}

/// A digest of the files of folders, and of files, by name and content.
fn inputs(of: &[&Path]) -> Result<u64> {
    let mut text = Vec::new();
    for path in of {
        let mut files: Vec<PathBuf> = match path.is_dir() {
            true => std::fs::read_dir(path)
                .with_context(|| format!("reading {}", path.display()))?
                .filter_map(|e| Some(e.ok()?.path()).filter(|p| p.is_file()))
                .collect(),
            false => vec![path.to_path_buf()],
        };
        files.sort();
        for file in files {
            text.extend_from_slice(file.file_name().unwrap_or_default().as_encoded_bytes());
            let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            text.extend(bytes);
        }
    }
    Ok(peers::digest(&text))
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
