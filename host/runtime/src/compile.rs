//! Components become native code in a child process, because a compilation cannot be cancelled: the child has limits of
//! its own, is killed at its deadline and ends with the host. What it wrote is kept in a 0700 folder, and only that is ever loaded.

use crate::engine::{Mode, Ticked, compiler};
use crate::inspect::{COMPONENT_BYTES_MAX, sha256};
use crate::text::printable;
use shiphold_storage::manifest::HostPluginLimits;
use shiphold_storage::units::{ByteSize, Span};
use shiphold_storage::{Error, Kind, Result};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt as _;
use wasmtime::component::Component;

/// Processor time of the child for each second that it may take: its threads work at once.
const PROCESSORS: u64 = 2;
/// Bytes of native code of one component.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// Components that are not in use and whose code is kept.
const KEPT_MAX: usize = 32;
/// Bytes of what a failed child said that are told.
const SAID_BYTES_MAX: usize = 1_000;
/// Bytes of it that are read.
const READ_BYTES_MAX: u64 = 64 << 10;

/// How the name of a file of native code ends: it tells the child what kind of code is wanted.
fn ending(mode: Mode) -> &'static str {
    match (mode.fuel, mode.short) {
        (false, false) => ".plain.cwasm",
        (true, false) => ".fuel.cwasm",
        (false, true) => ".short.cwasm",
        (true, true) => ".short-fuel.cwasm",
    }
}

fn mode_of(output: &Path) -> Result<Mode> {
    let name = output.to_string_lossy();
    Mode::ALL.into_iter().find(|m| name.ends_with(ending(*m))).ok_or_else(|| {
        Error::invalid(format!("{name} does not end like a file of compiled code"))
            .hint("this command is the host's own: run the plugin instead")
    })
}

/// Where native code is kept in a data folder.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("cache").join("components")
}

/// The child: compiles `input` into `output` under limits that it sets on itself first: bytes of memory that it may write
/// to, and time. Whether the code counts fuel stands in the output's name. It ends when its standard input does, which the
/// host holds open: so it never outlives the host, however that ends.
pub fn run_child(input: &Path, output: &Path, memory: ByteSize, time: Span) -> Result<()> {
    end_with_the_host()?;
    limit(libc::RLIMIT_DATA, memory.0)?;
    limit(libc::RLIMIT_CPU, time.0.as_secs().max(1).saturating_mul(PROCESSORS))?;
    limit(libc::RLIMIT_FSIZE, CODE_BYTES_MAX)?;
    limit(libc::RLIMIT_CORE, 0)?;
    compile_file(input, output)
}

/// The kernel's own signal for this (`PR_SET_PDEATHSIG`) comes when the *thread* ends that made the child, and a runtime's
/// threads come and go. A pipe has its other end in the process.
fn end_with_the_host() -> Result<()> {
    let watch = || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(n) if n > 0) {}
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name("host".into())
        .spawn(watch)
        .map(drop)
        .map_err(|e| Error::io("starting a thread", e))
}

fn compile_file(input: &Path, output: &Path) -> Result<()> {
    let size = std::fs::metadata(input).map_err(|e| Error::io(input.display(), e))?.len();
    if size > COMPONENT_BYTES_MAX {
        return Err(Error::limit(
            format!("component {} ({size} bytes)", input.display()),
            format!("{COMPONENT_BYTES_MAX} bytes"),
            "build it for size",
        ));
    }
    let bytes = std::fs::read(input).map_err(|e| Error::io(input.display(), e))?;
    let code = native(&compiler(mode_of(output)?)?, &bytes)?;
    write_whole(output, &code)
}

fn native(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Vec<u8>> {
    engine.precompile_component(bytes).map_err(|e| {
        Error::invalid(format!(
            "the component does not compile: {}",
            printable(&format!("{e:#}"), SAID_BYTES_MAX)
        ))
    })
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

/// Native code, loaded.
pub(crate) struct Compiled {
    pub component: Component,
    /// The file that it is mapped from.
    pub code: PathBuf,
    /// It was not in the cache.
    pub now: bool,
}

/// Native code of a component: from the cache, or compiled now.
pub(crate) async fn load(
    ticked: &Ticked,
    bytes: &[u8],
    cache: &Path,
    compiler: &Compiler,
) -> Result<Compiled> {
    own(cache)?;
    let key = format!("{}-{:016x}", sha256(bytes), compatibility(ticked));
    let code = cache.join(format!("{key}{}", ending(ticked.mode)));
    let digest = code.with_extension("sha256");
    if let Some(component) = from_cache(ticked, &code, &digest) {
        return Ok(Compiled { component, code, now: false });
    }
    match compiler {
        Compiler::Child(exe) => {
            let _alone = ticked.room.compiling.lock().await;
            // The child reads exactly the bytes that were checked, whatever happens to the plugin's file meanwhile.
            let input = cache.join(format!("{key}.wasm"));
            write_whole(&input, bytes)?;
            let done = child(exe, &input, &code, &ticked.room.limits).await;
            let _ = std::fs::remove_file(&input);
            if done.is_err() {
                forget_partial(cache, &key);
            }
            done?;
        }
        Compiler::InProcess => write_whole(&code, &native(&ticked.engine, bytes)?)?,
    }
    let written = std::fs::read(&code).map_err(|e| Error::io(code.display(), e))?;
    write_whole(&digest, sha256(&written).as_bytes())?;
    drop(written);
    match deserialise(ticked, &code) {
        Ok(component) => Ok(Compiled { component, code, now: true }),
        Err(e) => {
            let _ = std::fs::remove_file(&digest);
            let _ = std::fs::remove_file(&code);
            // It was compiled for this very engine: it needs more than a place of the pool has.
            let said = printable(&format!("{e:#}"), SAID_BYTES_MAX);
            Err(Error::invalid(format!("the component asks for more than an instance may have: {said}"))
                .hint("build it with one memory and one table, as toolchains do by themselves"))
        }
    }
}

/// Removes what a child wrote that was ended while it wrote.
fn forget_partial(cache: &Path, key: &str) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(key) && name.contains(".partial-") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Makes the folder, or sees that it is this user's and nobody else's: what stands in it is run as it is.
fn own(cache: &Path) -> Result<()> {
    let place = |e| Error::io(cache.display(), e);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(cache).map_err(place)?;
    let meta = std::fs::symlink_metadata(cache).map_err(place)?;
    if !meta.is_dir() || meta.uid() != me() {
        return Err(Error::denied(format!("{} is not a folder of this user", cache.display()))
            .hint("remove it: it holds only what can be compiled again"));
    }
    if meta.mode() & 0o077 != 0 {
        std::fs::set_permissions(cache, std::fs::Permissions::from_mode(0o700)).map_err(place)?;
    }
    Ok(())
}

fn me() -> u32 {
    // SAFETY: the call takes nothing, touches no memory and cannot fail.
    #[allow(unsafe_code)]
    unsafe {
        libc::geteuid()
    }
}

/// Keeps the code `in_use` and that of [`KEPT_MAX`] other components, the ones that were compiled last.
pub(crate) fn prune(cache: &Path, in_use: &BTreeSet<&Path>) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    let mut others: Vec<(std::time::SystemTime, PathBuf)> = entries
        .filter_map(|e| {
            let path = e.ok()?.path();
            let code = path.extension().is_some_and(|x| x == "cwasm") && !in_use.contains(path.as_path());
            Some((path.metadata().ok()?.modified().ok()?, path)).filter(|_| code)
        })
        .collect();
    others.sort();
    let old = others.len().saturating_sub(KEPT_MAX);
    for (_, code) in others.into_iter().take(old) {
        // The digest first: code without one is never loaded.
        let _ = std::fs::remove_file(code.with_extension("sha256"));
        let _ = std::fs::remove_file(code);
    }
}

/// What the child wrote, if it is unchanged.
fn from_cache(ticked: &Ticked, code: &Path, digest: &Path) -> Option<Component> {
    let want = std::fs::read_to_string(digest).ok()?;
    let meta = std::fs::symlink_metadata(code).ok()?;
    if !meta.is_file() || meta.uid() != me() || meta.mode() & 0o022 != 0 {
        tracing::warn!(file = %code.display(), "the cached code could be another user's: it is compiled anew");
        return None;
    }
    let bytes = std::fs::read(code).ok()?;
    if sha256(&bytes) != want.trim() {
        tracing::warn!(file = %code.display(), "the cached code was changed: it is compiled anew");
        return None;
    }
    drop(bytes);
    deserialise(ticked, code)
        .inspect_err(
            |e| tracing::warn!(file = %code.display(), error = %e, "the cached code is of another build"),
        )
        .ok()
}

fn deserialise(ticked: &Ticked, code: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file stands in a folder that only this user can write, was written by our own compiler from a component
    // that was validated, and has the digest that was taken then.
    #[allow(unsafe_code)]
    unsafe {
        Component::deserialize_file(&ticked.engine, code)
    }
}

fn compatibility(ticked: &Ticked) -> u64 {
    let mut hasher = DefaultHasher::new();
    ticked.engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Runs the child to its end, or kills it; either way it is gone afterwards.
async fn child(exe: &Path, input: &Path, output: &Path, limits: &HostPluginLimits) -> Result<()> {
    let time = limits.compile_time;
    let mut command = tokio::process::Command::new(exe);
    command.args(["plugins", "compile"]).arg(input).arg(output);
    command.args(["--memory-bytes", &limits.compile_memory.0.to_string()]);
    command.args(["--seconds", &time.0.as_secs().max(1).to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).env_clear().kill_on_drop(true);
    let mut running =
        command.spawn().map_err(|e| Error::io(format!("starting the compiler {}", exe.display()), e))?;
    // Held until it ended: `wait` would close it.
    let _held = running.stdin.take();
    let stderr = running.stderr.take();
    let ended = tokio::time::timeout(time.0, async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            stderr.take(READ_BYTES_MAX).read_to_end(&mut said).await?;
        }
        Ok((running.wait().await?, said))
    })
    .await;
    match ended {
        Err(_) => {
            running.kill().await.map_err(|e| Error::io("ending the compiler", e))?;
            Err(too_slow(limits))
        }
        Ok(Err(e)) => Err(Error::io("waiting for the compiler", e)),
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, said))) => Err(failed(status, &said, limits)),
    }
}

fn too_slow(limits: &HostPluginLimits) -> Error {
    let time = limits.compile_time;
    Error::new(
        Kind::Limit,
        format!("compiling the component took longer than limits.plugins.compile_time = {time}"),
    )
    .hint("build a smaller component, or raise `limits.plugins.compile_time` in shiphold.toml")
}

fn failed(status: ExitStatus, said: &[u8], limits: &HostPluginLimits) -> Error {
    match status.signal() {
        Some(libc::SIGXCPU) => return too_slow(limits),
        // So it ends when it is refused memory.
        Some(libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS) => {
            let memory = limits.compile_memory;
            return Error::new(
                Kind::Limit,
                format!("compiling the component needs more than limits.plugins.compile_memory = {memory}, or broke the compiler ({status})"),
            )
            .hint("build a smaller component, or raise `limits.plugins.compile_memory` in shiphold.toml");
        }
        _ => {}
    }
    let said = String::from_utf8_lossy(said);
    let line = printable(said.lines().next().unwrap_or("").trim_start_matches("error: "), SAID_BYTES_MAX);
    let line = if line.is_empty() { format!("the compiler ended with {status}") } else { line };
    Error::invalid(line).hint(
        "build the component with a current toolchain; `shiphold plugins inspect FILE` shows what it is",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Programs that every Linux has, in place of the compiler.
    fn program(name: &str) -> PathBuf {
        let found = ["/bin", "/usr/bin"].iter().map(|d| Path::new(d).join(name)).find(|p| p.exists());
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    async fn run(exe: &Path, output: &Path, compile_time: Span) -> Result<()> {
        let limits = HostPluginLimits { compile_time, ..HostPluginLimits::default() };
        child(exe, Path::new("in"), output, &limits).await
    }

    /// A program in place of the compiler: it has the output's path in `$4`. Another process writes it: what this one opened for
    /// writing could be inherited by the child of another test at that moment, and then cannot be started (`ETXTBSY`).
    fn script(dir: &Path, lines: &str) -> PathBuf {
        let path = dir.join("compiler");
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 700 "$0""#;
        let written =
            std::process::Command::new("/bin/sh").args(["-c", write]).arg(&path).arg(lines).status();
        assert!(written.unwrap().success());
        path
    }

    #[tokio::test]
    async fn a_child_that_never_ends_is_killed_at_its_deadline_and_gone() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        // It waits for the end of its standard input, which does not come while the host is there.
        let exe = script(dir.path(), "echo $$ > \"$4\"; read nothing");
        let e = run(&exe, &pid, Span::from_millis(1_500)).await.unwrap_err();
        assert_eq!(e.kind(), Kind::Limit);
        assert!(e.message().contains("limits.plugins.compile_time = 1500 ms"), "{e:?}");
        assert!(e.hint_text().unwrap().contains("limits.plugins.compile_time"), "{e:?}");
        let pid = std::fs::read_to_string(&pid).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "it is gone when the error comes");
    }

    #[tokio::test]
    async fn a_child_that_a_limit_ended_is_told_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        for (signal, key) in [("XCPU", "compile_time"), ("ABRT", "compile_memory")] {
            let exe = script(dir.path(), &format!("kill -{signal} $$"));
            let e = run(&exe, Path::new("out"), Span::from_secs(60)).await.unwrap_err();
            assert!(
                e.kind() == Kind::Limit && e.message().contains(&format!("limits.plugins.{key} = ")),
                "{e:?}"
            );
        }
        // What it was told, and a flood of words.
        let exe = script(dir.path(), "echo \"$*\" >&2; head -c 10000000 /dev/zero >&2; exit 1");
        let e = run(&exe, Path::new("out"), Span::from_secs(61)).await.unwrap_err();
        assert!(
            e.message().contains("plugins compile in out --memory-bytes 3221225472 --seconds 61"),
            "{e:?}"
        );
    }

    /// A program that compiles as the child of a host does: this test's own, which runs [`as_the_child`] alone.
    fn compiler_program(dir: &Path) -> PathBuf {
        let me = std::env::current_exe().unwrap();
        let lines = format!(
            "echo $$ > {0}/pid\nCOMPILE_IN=\"$3\" COMPILE_OUT=\"$4\" exec {1} --exact compile::tests::as_the_child --ignored",
            dir.display(),
            me.display()
        );
        script(dir, &lines)
    }

    #[test]
    #[ignore = "it is the child of another test"]
    fn as_the_child() {
        let place = |key: &str| PathBuf::from(std::env::var_os(key).unwrap());
        let limits = HostPluginLimits::default();
        run_child(&place("COMPILE_IN"), &place("COMPILE_OUT"), limits.compile_memory, limits.compile_time)
            .unwrap();
    }

    fn leb(out: &mut Vec<u8>, mut n: usize) {
        while n >= 0x80 {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }

    /// A component of one core module: `count` functions, each with as many blocks and branches.
    fn laborious(count: usize, blocks: usize) -> Vec<u8> {
        let section = |id: u8, body: &[u8]| {
            let mut out = vec![id];
            leb(&mut out, body.len());
            [out, body.to_vec()].concat()
        };
        let counted = |parts: Vec<u8>| {
            let mut out = Vec::new();
            leb(&mut out, count);
            [out, parts].concat()
        };
        // local 0 = local 0 * 7 + 13; block; local 0 as i32; br_if; end
        let step =
            [0x20, 0, 0x42, 7, 0x7e, 0x42, 13, 0x7c, 0x21, 0, 0x02, 0x40, 0x20, 0, 0xa7, 0x0d, 0, 0x0b];
        let code = [&[0][..], &step.repeat(blocks), &[0x0b]].concat();
        let mut body = Vec::new();
        leb(&mut body, code.len());
        body.extend(code);
        let module = [
            b"\0asm\x01\0\0\0".to_vec(),
            section(1, &[1, 0x60, 1, 0x7e, 0]),
            section(3, &counted(vec![0; count])),
            section(10, &counted(body.repeat(count))),
        ]
        .concat();
        [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
    }

    #[tokio::test]
    async fn a_component_that_takes_minutes_is_given_up_and_its_child_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let program = compiler_program(dir.path());
        let (input, output) = (dir.path().join("in.wasm"), dir.path().join("out.plain.cwasm"));
        // The same way does compile what is small.
        std::fs::write(&input, laborious(2, 10)).unwrap();
        child(&program, &input, &output, &HostPluginLimits::default()).await.unwrap();
        assert!(output.exists());
        std::fs::remove_file(&output).unwrap();
        let large = laborious(150, 20_000);
        assert!(large.len() as u64 <= COMPONENT_BYTES_MAX && crate::inspect::inspect_bytes(&large).is_ok());
        std::fs::write(&input, large).unwrap();
        let short = HostPluginLimits { compile_time: Span::from_secs(2), ..HostPluginLimits::default() };
        let e = child(&program, &input, &output, &short).await.unwrap_err();
        assert!(e.kind() == Kind::Limit && e.message().contains("compile_time = 2 s"), "{e:?}");
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let place = PathBuf::from("/proc").join(pid.trim());
        // It was killed; somebody has to have asked for its status before it is gone from the list.
        for _ in 0..1_000 {
            if !place.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!place.exists(), "process {pid} is still there");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "the program, its pid and its input: {left:?}");
    }

    #[tokio::test]
    async fn what_an_ended_child_had_half_written_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "echo half > \"${4%cwasm}partial-$$\"\nexit 1");
        let ticked = crate::engine::Engines::without_pool().get(false).unwrap();
        let cache = dir.path().join("cache");
        let loaded = load(&ticked, b"\0asm\x0d\0\x01\0", &cache, &Compiler::Child(program)).await;
        assert!(loaded.is_err());
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_child_that_fails_is_told_with_its_own_words() {
        let run = async |name| run(&program(name), Path::new("out"), Span::from_secs(60)).await;
        let e = run("false").await.unwrap_err();
        assert!(e.kind() == Kind::Invalid && e.message().contains("exit status: 1"), "{e:?}");
        let dir = tempfile::tempdir().unwrap();
        let exe = script(dir.path(), "echo 'error: it is no component' >&2; echo more >&2; exit 3");
        let e = super::child(&exe, Path::new("in"), Path::new("out"), &HostPluginLimits::default())
            .await
            .unwrap_err();
        assert_eq!(e.message(), "it is no component");
        assert!(run("true").await.is_ok());
    }

    #[test]
    fn the_name_of_the_output_tells_the_kind_of_code() {
        for mode in Mode::ALL {
            assert_eq!(mode_of(Path::new(&format!("/x/abc-01{}", ending(mode)))).unwrap(), mode);
        }
        assert_eq!(mode_of(Path::new("/x/abc.cwasm")).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn a_component_is_compiled_into_a_whole_file_of_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in.wasm"), dir.path().join("out.plain.cwasm"));
        std::fs::write(&input, b"\0asm\x0d\0\x01\0").unwrap();
        compile_file(&input, &output).unwrap();
        assert_eq!(output.metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::write(&input, b"\0asm\x01\0\0\0").unwrap();
        let other = dir.path().join("other.plain.cwasm");
        assert_eq!(compile_file(&input, &other).unwrap_err().kind(), Kind::Invalid);
        assert!(!other.exists() && std::fs::read_dir(dir.path()).unwrap().count() == 2);
        std::fs::File::create(&input).unwrap().set_len(COMPONENT_BYTES_MAX + 1).unwrap();
        assert_eq!(compile_file(&input, &other).unwrap_err().kind(), Kind::Limit);
        assert_eq!(compile_file(&dir.path().join("none"), &other).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn the_cache_keeps_what_is_in_use_and_the_newest_of_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let begin = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let name = |i: usize| dir.path().join(format!("{i:03}.plain.cwasm"));
        for i in 0..KEPT_MAX + 3 {
            std::fs::write(name(i), "").unwrap();
            std::fs::write(name(i).with_extension("sha256"), "").unwrap();
            let at = begin + Duration::from_secs(i as u64);
            std::fs::File::options().write(true).open(name(i)).unwrap().set_modified(at).unwrap();
        }
        prune(dir.path(), &BTreeSet::from([name(0).as_path()]));
        let there: Vec<usize> = (0..KEPT_MAX + 3).filter(|i| name(*i).exists()).collect();
        let want: Vec<usize> = std::iter::once(0).chain(3..KEPT_MAX + 3).collect();
        assert_eq!(there, want);
        assert!(want.iter().all(|i| name(*i).with_extension("sha256").exists()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), want.len() * 2);
        prune(&dir.path().join("none"), &BTreeSet::new());
    }
}
