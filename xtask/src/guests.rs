//! Builds the guests — the example plugins and the hostile components of the tests — as components into
//! `target/guests/NAME.wasm`.
//!
//! cargo makes a core module that carries its WIT world in a custom section; `wit-component` wraps it into a component and
//! checks it; the crate's `plugin.toml` goes in as a custom section of the component.

use crate::{guests_folder, steps, target};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
/// Where the host looks for the `plugin.toml` of a component.
const PLUGIN_SECTION: &str = "shiphold:plugin";
/// Debian's toolchain with everything that a guest needs, where rustup cannot fetch the target.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "rust-web-llvm", "lld-22"];

/// A component that was built.
pub struct Built {
    pub name: String,
    pub component_path: PathBuf,
}

/// Builds every guest of the `plugins/` workspace. What is up to date is left as it is, bytes and time.
pub fn build_guests(root: &Path) -> Result<Vec<Built>> {
    let toolchain = Toolchain::find(root)?;
    let messages = steps::output(&mut toolchain.build(root))?;
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

/// What builds WebAssembly here.
enum Toolchain {
    /// The compiler in use has the target.
    Own,
    /// A compiler without it, and the sources of the standard library.
    Debian { rustc: PathBuf },
}

impl Toolchain {
    /// The first way that works; installs what may be installed without asking.
    fn find(root: &Path) -> Result<Self> {
        if target_is_there(root) {
            return Ok(Self::Own);
        }
        if steps::exists("rustup") {
            steps::say(&format!("Adding the target {TARGET}"));
            match steps::must(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root)) {
                Ok(()) if target_is_there(root) => return Ok(Self::Own),
                Ok(()) => {}
                Err(e) => eprintln!("{e:#}"),
            }
        }
        if let Some(rustc) = debian_rustc() {
            return Ok(Self::Debian { rustc });
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
            match (install, debian_rustc()) {
                (Ok(()), Some(rustc)) => return Ok(Self::Debian { rustc }),
                (Ok(()), None) => {}
                (Err(e), _) => eprintln!("{e:#}"),
            }
        }
        bail!(
            "this Rust toolchain cannot build for {TARGET}, which the plugins need. Install it with `rustup target add \
             {TARGET}`, or on Debian with `apt-get install {}`, then run this again",
            DEBIAN_PACKAGES.join(" ")
        )
    }

    /// cargo on the guests' workspace; prints a message per artifact.
    fn build(&self, root: &Path) -> Command {
        let mut command = steps::cargo(root);
        // Flags meant for this machine's processor break a build for WebAssembly.
        for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            command.env_remove(flags);
        }
        command.args(["build", "--quiet", "--release", "--target", TARGET]);
        command.args(["--workspace", "--lib", "--examples", "--message-format", "json-render-diagnostics"]);
        command.arg("--manifest-path").arg(root.join("plugins/Cargo.toml"));
        command.arg("--target-dir").arg(target(root).join("guests-build"));
        if let Self::Debian { rustc } = self {
            // Debian ships no standard library for this target, but its sources: cargo builds it along.
            command.arg("-Zbuild-std=std,panic_abort").env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// Does the compiler that cargo uses have the standard library of the target?
fn target_is_there(root: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed =
        Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).current_dir(root).output();
    let Ok(printed) = printed else { return false };
    printed.status.success() && Path::new(String::from_utf8_lossy(&printed.stdout).trim()).is_dir()
}

/// The compiler of Debian's packages, if all of them are installed.
fn debian_rustc() -> Option<PathBuf> {
    let listed = |package: &str| {
        let out = Command::new("dpkg").args(["-L", package]).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let files: Vec<String> = DEBIAN_PACKAGES.iter().map(|p| listed(p)).collect::<Option<_>>()?;
    files.first()?.lines().find(|l| l.ends_with("/bin/rustc")).map(PathBuf::from)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

/// A core module that cargo built.
#[derive(Debug, PartialEq)]
struct Module {
    name: String,
    wasm: PathBuf,
    /// `plugin.toml` beside the crate's manifest; of an example, `NAME.toml` beside its source.
    plugin_toml: PathBuf,
}

impl Module {
    /// Reads one line of cargo's messages; none if it is about something else.
    fn of_message(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(str::to_string);
        if text(&message, "reason")? != "compiler-artifact" {
            return None;
        }
        let made = message.get("target")?;
        let is = |kind: &str, key: &str| {
            made.get(key).and_then(Value::as_array).is_some_and(|k| k.iter().any(|v| v == kind))
        };
        if !is("cdylib", "crate_types") {
            return None;
        }
        let files = message.get("filenames")?.as_array()?;
        let wasm =
            files.iter().filter_map(Value::as_str).find(|f| f.ends_with(".wasm")).map(PathBuf::from)?;
        let plugin_toml = if is("example", "kind") {
            PathBuf::from(text(made, "src_path")?).with_extension("toml")
        } else {
            PathBuf::from(text(&message, "manifest_path")?).with_file_name("plugin.toml")
        };
        Some(Self { name: text(made, "name")?.replace('_', "-"), wasm, plugin_toml })
    }

    /// The checked component with its `plugin.toml` in it.
    fn component(&self) -> Result<Vec<u8>> {
        let core = std::fs::read(&self.wasm).with_context(|| format!("reading {}", self.wasm.display()))?;
        let toml = std::fs::read_to_string(&self.plugin_toml)
            .with_context(|| format!("reading {}", self.plugin_toml.display()))?;
        toml::from_str::<toml::Table>(&toml).with_context(|| format!("in {}", self.plugin_toml.display()))?;
        let mut component = wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&core)
            .context("reading the WIT world that the module carries")?
            .encode()
            .context("making it a component")?;
        append_section(&mut component, PLUGIN_SECTION, toml.as_bytes())?;
        wasmparser::Validator::new().validate_all(&component).context("checking the component")?;
        Ok(component)
    }
}

/// Adds a custom section: id 0, length, length of the name, name, bytes.
fn append_section(component: &mut Vec<u8>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut body = Vec::new();
    leb128(&mut body, u32::try_from(name.len())?);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(bytes);
    component.push(0);
    leb128(component, u32::try_from(body.len())?);
    component.append(&mut body);
    Ok(())
}

/// An unsigned number, seven bits a byte, the lowest first.
fn leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
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
    fn numbers_take_seven_bits_a_byte() {
        for (value, want) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            leb128(&mut out, value);
            assert_eq!(out, want, "{value}");
        }
    }

    #[test]
    fn a_section_is_read_back() {
        let text = "name = \"x\"\n".repeat(50);
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        append_section(&mut component, PLUGIN_SECTION, text.as_bytes()).unwrap();
        wasmparser::Validator::new().validate_all(&component).unwrap();
        let found: Vec<(String, Vec<u8>)> = wasmparser::Parser::new(0)
            .parse_all(&component)
            .filter_map(|payload| match payload.unwrap() {
                wasmparser::Payload::CustomSection(s) => Some((s.name().to_string(), s.data().to_vec())),
                _ => None,
            })
            .collect();
        assert_eq!(found, [(PLUGIN_SECTION.to_string(), text.into_bytes())]);
    }

    #[test]
    fn messages_of_cargo() {
        let line = |kind: &str, types: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/r/plugins/my/Cargo.toml","target":{{"kind":["{kind}"],"crate_types":["{types}"],"name":"my_plugin","src_path":"/r/t/my_plugin.rs"}},"filenames":["/t/my.d","/t/my.wasm"]}}"#
            )
        };
        let lib = Module::of_message(&line("cdylib", "cdylib")).unwrap();
        assert_eq!(
            lib,
            Module {
                name: "my-plugin".into(),
                wasm: "/t/my.wasm".into(),
                plugin_toml: "/r/plugins/my/plugin.toml".into()
            }
        );
        let example = Module::of_message(&line("example", "cdylib")).unwrap();
        assert_eq!(example.plugin_toml, Path::new("/r/t/my_plugin.toml"));
        assert_eq!(Module::of_message(&line("lib", "lib")), None);
        assert_eq!(Module::of_message(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(Module::of_message("not JSON"), None);
    }

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
