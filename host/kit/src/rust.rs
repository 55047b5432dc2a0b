//! Rust crates become components: cargo makes a core module that carries its WIT world in a custom section, and
//! `wit-component` wraps it into a component and checks it.

use crate::tool;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's toolchain with everything that a guest needs, where rustup cannot fetch the target.
pub const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "rust-web-llvm", "lld-22"];

/// Variables with flags meant for this machine's processor: they break a build for WebAssembly.
const FLAGS: [&str; 4] =
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"];

/// What builds WebAssembly here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The compiler in use has the target.
    Own,
    /// A compiler without it, and the sources of the standard library.
    Debian { rustc: PathBuf },
}

impl Toolchain {
    /// What is there, for a crate in `folder`; installs nothing.
    pub fn find(folder: &Path) -> Option<Self> {
        if target_is_there(folder) {
            return Some(Self::Own);
        }
        debian_rustc().map(|rustc| Self::Debian { rustc })
    }

    /// [`Toolchain::find`], or the sentence with the next step.
    pub fn need(folder: &Path) -> Result<Self> {
        Self::find(folder).with_context(|| {
            if tool::find("cargo").is_none() && std::env::var_os("CARGO").is_none() {
                return "there is no `cargo`: install Rust with rustup, then run this again".to_string();
            }
            format!(
                "this Rust toolchain cannot build for {TARGET}: install it with `rustup target add {TARGET}`, or on Debian \
                 with `apt-get install {}`, then run this again",
                DEBIAN_PACKAGES.join(" ")
            )
        })
    }

    /// `cargo build` as a release for [`TARGET`], to be given what to build; prints a message per artifact.
    pub fn build(&self, folder: &Path) -> Command {
        let mut command = tool::cargo(folder);
        for flags in FLAGS {
            command.env_remove(flags);
        }
        command.args(["build", "--quiet", "--release", "--target", TARGET]);
        command.args(["--message-format", "json-render-diagnostics"]);
        if let Self::Debian { rustc } = self {
            // Debian ships no standard library for this target, but its sources: cargo builds it along.
            command.arg("-Zbuild-std=std,panic_abort").env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// Does the compiler that cargo uses have the standard library of the target?
pub fn target_is_there(folder: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output();
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

/// A core module that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    pub name: String,
    pub wasm: PathBuf,
    /// `plugin.toml` beside the crate's manifest; of an example, `NAME.toml` beside its source.
    pub plugin_toml: PathBuf,
}

impl Module {
    /// Reads one line of cargo's messages; none if it is about something else.
    pub fn of_message(line: &str) -> Option<Self> {
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
    pub fn component(&self) -> Result<Vec<u8>> {
        let mut component = self.encode()?;
        let toml = std::fs::read_to_string(&self.plugin_toml)
            .with_context(|| format!("reading {}", self.plugin_toml.display()))?;
        crate::section::embed(&mut component, &toml)
            .with_context(|| format!("with {}", self.plugin_toml.display()))?;
        Ok(component)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let core = std::fs::read(&self.wasm).with_context(|| format!("reading {}", self.wasm.display()))?;
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&core)
            .context("reading the WIT world that the module carries")?
            .encode()
            .context("making it a component")
    }
}

/// Builds the crate in `folder` into a component, without its `plugin.toml`.
pub fn build(folder: &Path) -> Result<Vec<u8>> {
    // cargo runs in the folder: a path from here would be looked for below it.
    let folder = &std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))?;
    let manifest = folder.join("Cargo.toml");
    let mut command = Toolchain::need(folder)?.build(folder);
    command.arg("--lib").arg("--manifest-path").arg(&manifest);
    let messages = tool::output(&mut command).context("cargo's own words stand above")?;
    let here = std::fs::canonicalize(folder).with_context(|| format!("reading {}", folder.display()))?;
    // A dependency can be a cdylib of its own.
    let mut modules = messages
        .lines()
        .filter_map(Module::of_message)
        .filter(|m| m.plugin_toml.parent().and_then(|p| p.canonicalize().ok()).is_some_and(|p| p == here));
    let Some(module) = modules.next() else {
        bail!("{} builds no `cdylib`: it needs `crate-type = [\"cdylib\"]` under [lib]", manifest.display())
    };
    module.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
