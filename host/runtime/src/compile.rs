//! Components become native code in a child process, because a compilation cannot be cancelled: the child has limits of
//! its own and is killed at its deadline. What it wrote is kept in a 0700 folder, and only that is ever loaded.

use crate::engine::{Ticked, compiler};
use crate::inspect::{COMPONENT_BYTES_MAX, sha256};
use shiphold_storage::{Error, Kind, Result};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use wasmtime::component::Component;

/// The longest that a compilation may take.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of memory that the child may write to.
const COMPILE_DATA_BYTES_MAX: u64 = 3 << 30;
/// Bytes of native code of one component.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// Ending of a file whose code counts its instructions.
const FUEL: &str = ".fuel.cwasm";
const PLAIN: &str = ".cwasm";

/// The child: compiles `input` into `output` under limits that it sets on itself first. Whether the code counts fuel
/// stands in the output's name.
pub fn run_child(input: &Path, output: &Path) -> Result<()> {
    limit(libc::RLIMIT_DATA, COMPILE_DATA_BYTES_MAX)?;
    limit(libc::RLIMIT_CPU, COMPILE_TIME_MAX.as_secs() * 2)?;
    limit(libc::RLIMIT_FSIZE, CODE_BYTES_MAX)?;
    limit(libc::RLIMIT_CORE, 0)?;
    let size = std::fs::metadata(input).map_err(|e| Error::io(input.display(), e))?.len();
    if size > COMPONENT_BYTES_MAX {
        return Err(Error::limit(
            format!("component {} ({size} bytes)", input.display()),
            format!("{COMPONENT_BYTES_MAX} bytes"),
            "build it for size",
        ));
    }
    let bytes = std::fs::read(input).map_err(|e| Error::io(input.display(), e))?;
    let fuel = output.to_string_lossy().ends_with(FUEL);
    let code = compiler(fuel)?
        .precompile_component(&bytes)
        .map_err(|e| Error::invalid(format!("the component does not compile: {e:#}")))?;
    write_whole(output, &code)
}

fn limit(what: libc::__rlimit_resource_t, most: u64) -> Result<()> {
    let bound = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the structure is valid for the time of the call, which only reads it.
    #[allow(unsafe_code)]
    let set = unsafe { libc::setrlimit(what, &bound) };
    if set == 0 {
        Ok(())
    } else {
        Err(Error::io("setting a limit on the compiler", std::io::Error::last_os_error()))
    }
}

/// A file of the owner alone that is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let place = |e| Error::io(path.display(), e);
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let written = (|| {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.map_err(place)
}

/// How components are compiled: the real way is a child of this program.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// `EXE plugins compile IN OUT`.
    Child(PathBuf),
    /// In this process: for tests and benchmarks of trusted components only.
    InProcess,
}

/// Native code of a component: from the cache, or compiled now. The second part tells whether it was compiled.
pub(crate) async fn load(
    ticked: &Ticked,
    fuel: bool,
    bytes: &[u8],
    cache: &Path,
    compiler: &Compiler,
) -> Result<(Component, bool)> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(cache)
        .map_err(|e| Error::io(cache.display(), e))?;
    let key = format!("{}-{:016x}", sha256(bytes), compatibility(ticked));
    let code = cache.join(format!("{key}{}", if fuel { FUEL } else { PLAIN }));
    let digest = cache.join(format!("{key}{}.sha256", if fuel { ".fuel" } else { "" }));
    if let Some(component) = from_cache(ticked, &code, &digest) {
        return Ok((component, false));
    }
    match compiler {
        Compiler::Child(exe) => {
            // The child reads exactly the bytes that were checked, whatever happens to the plugin's file meanwhile.
            let input = cache.join(format!("{key}.wasm"));
            write_whole(&input, bytes)?;
            let done = child(exe, &input, &code).await;
            let _ = std::fs::remove_file(&input);
            done?;
        }
        Compiler::InProcess => {
            let compiled = ticked
                .engine
                .precompile_component(bytes)
                .map_err(|e| Error::invalid(format!("the component does not compile: {e:#}")))?;
            write_whole(&code, &compiled)?;
        }
    }
    let written = std::fs::read(&code).map_err(|e| Error::io(code.display(), e))?;
    write_whole(&digest, sha256(&written).as_bytes())?;
    drop(written);
    from_cache(ticked, &code, &digest).map(|c| (c, true)).ok_or_else(|| {
        Error::internal(format!("the code that was just compiled cannot be loaded: {}", code.display()))
    })
}

/// What the child wrote, if it is unchanged.
fn from_cache(ticked: &Ticked, code: &Path, digest: &Path) -> Option<Component> {
    let want = std::fs::read_to_string(digest).ok()?;
    let bytes = std::fs::read(code).ok()?;
    if sha256(&bytes) != want.trim() {
        tracing::warn!(file = %code.display(), "the cached code was changed: it is compiled anew");
        return None;
    }
    drop(bytes);
    // SAFETY: the file stands in a folder that only this user can write, was written by our own compiler from a component
    // that was validated, and has the digest that was taken then.
    #[allow(unsafe_code)]
    let loaded = unsafe { Component::deserialize_file(&ticked.engine, code) };
    loaded
        .inspect_err(
            |e| tracing::warn!(file = %code.display(), error = %e, "the cached code is of another build"),
        )
        .ok()
}

fn compatibility(ticked: &Ticked) -> u64 {
    let mut hasher = DefaultHasher::new();
    ticked.engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

async fn child(exe: &Path, input: &Path, output: &Path) -> Result<()> {
    let mut command = tokio::process::Command::new(exe);
    command.args(["plugins", "compile"]).arg(input).arg(output);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_clear().kill_on_drop(true);
    let running =
        command.spawn().map_err(|e| Error::io(format!("starting the compiler {}", exe.display()), e))?;
    let ended = tokio::time::timeout(COMPILE_TIME_MAX, running.wait_with_output()).await;
    match ended {
        Err(_) => Err(Error::new(
            Kind::Limit,
            format!("compiling the component took longer than {COMPILE_TIME_MAX:?}"),
        )
        .hint("build a smaller component")),
        Ok(Err(e)) => Err(Error::io("waiting for the compiler", e)),
        Ok(Ok(out)) if out.status.success() => Ok(()),
        Ok(Ok(out)) => {
            let said = String::from_utf8_lossy(&out.stderr);
            let line = said.lines().next().unwrap_or("").trim_start_matches("error: ").to_string();
            let line = if line.is_empty() {
                format!("the compiler ended with {} (out of memory or time?)", out.status)
            } else {
                line
            };
            Err(Error::invalid(line).hint("build the component with a current toolchain; `shiphold plugins inspect FILE` shows what it is"))
        }
    }
}
