//! What only tests and benchmarks need, built or installed once and cached outside the work tree, so that a
//! fresh clone does not pay for it again: `$SHIPHOLD_PEERS`, else the user's cache folder.

use crate::steps;
use anyhow::{Context, Result, bail};
use shiphold_kit::{Tools, tool};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version in the folder's name makes a new pin a new build.
const INFLUXD: &str = "influxd-2.7.12";
const S3: &str = "versitygw-1.8.0";
const RESTIC: &str = "restic-0.18.1";
const TELEGRAF: &str = "telegraf-1.37.2";

/// Where peers are kept.
fn folder() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("SHIPHOLD_PEERS")
        .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("shiphold/peers")))
        .or_else(|| var("HOME").map(|d| d.join(".cache/shiphold/peers")))
        .unwrap_or_else(|| PathBuf::from("target/peers"))
}

/// The real InfluxDB server, if it has been built.
pub fn influxd() -> Option<PathBuf> {
    Some(folder().join(INFLUXD).join("influxd")).filter(|p| p.is_file())
}

/// The real S3 server, if it has been built.
pub fn s3() -> Option<PathBuf> {
    Some(folder().join(S3).join("versitygw")).filter(|p| p.is_file())
}

/// The real restic, which must be able to read what the host writes, if it has been built.
pub fn restic() -> Option<PathBuf> {
    Some(folder().join(RESTIC).join("restic")).filter(|p| p.is_file())
}

/// Packages of Python that the tests need.
const OF_TESTS: &str = "tests/python/requirements.txt";
/// Packages of Python that the benchmarks measure.
const OF_BENCHES: &str = "benches/python/requirements.txt";

/// The real Telegraf, which writes to the host, if it has been built.
pub fn telegraf() -> Option<PathBuf> {
    Some(folder().join(TELEGRAF).join("telegraf")).filter(|p| p.is_file())
}

/// The Python of the virtual environment with the packages of `tests/python/requirements.txt`, if it is complete.
pub fn python(root: &Path) -> Option<PathBuf> {
    python_with(root, OF_TESTS)
}

fn python_with(root: &Path, requirements: &str) -> Option<PathBuf> {
    let venv = venv(root, requirements)?;
    Some(venv.join("bin/python")).filter(|p| p.exists() && venv.join("complete").is_file())
}

/// The folder's name holds a digest of the requirements.
fn venv(root: &Path, requirements: &str) -> Option<PathBuf> {
    let text = std::fs::read(root.join(requirements)).ok()?;
    Some(folder().join(format!("python-{:016x}", digest(&text))))
}

/// The Python with the stores that benchmarks measure beside ours, installed if need be.
pub fn bench_python(root: &Path) -> Result<PathBuf> {
    install_python(root, OF_BENCHES)?;
    python_with(root, OF_BENCHES).context("the virtual environment has no Python")
}

fn install_python(root: &Path, requirements: &str) -> Result<()> {
    if python_with(root, requirements).is_some() {
        return Ok(());
    }
    steps::say(&format!("python: packages of {requirements}"));
    let venv = venv(root, requirements).with_context(|| format!("{requirements} is missing"))?;
    steps::must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))
        .context("making a virtual environment (Debian: apt-get install python3-venv)")?;
    steps::must(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "-r"])
            .arg(root.join(requirements)),
    )?;
    std::fs::write(venv.join("complete"), b"").context("marking the environment as complete")
}

/// FNV-1a: names what is wanted, and protects from nothing.
pub fn digest(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Node, and the `node_modules` with the packages of `peers/javascript`, if both are there.
pub fn node(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let folder = javascript(root)?;
    let node = tool::find("node")?;
    folder.join("complete").is_file().then(|| (node, folder.join("node_modules")))
}

/// The folder's name holds a digest of the locked versions.
fn javascript(root: &Path) -> Option<PathBuf> {
    let text = std::fs::read(root.join("peers/javascript/package-lock.json")).ok()?;
    Some(folder().join(format!("javascript-{:016x}", digest(&text))))
}

/// What builds plugins of Python and JavaScript.
pub fn tools(root: &Path) -> Tools {
    let (node, node_modules) = node(root).unzip();
    Tools { python: python(root), node, node_modules }
}

/// The oldest Node.js that componentize-js runs on.
const NODE_MAJOR_MIN: u32 = 20;

fn install_javascript(root: &Path) -> Result<()> {
    let into = javascript(root).context("peers/javascript/package-lock.json is missing")?;
    let version = steps::output(Command::new("node").arg("--version"))
        .context("JavaScript plugins need Node.js (Debian: apt-get install nodejs npm)")?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|m| m.parse().ok());
    if major.is_none_or(|m: u32| m < NODE_MAJOR_MIN) {
        bail!("Node.js {} is too old: install {NODE_MAJOR_MIN} or newer", version.trim());
    }
    std::fs::create_dir_all(&into).with_context(|| format!("creating {}", into.display()))?;
    for file in ["package.json", "package-lock.json"] {
        let from = root.join("peers/javascript").join(file);
        std::fs::copy(&from, into.join(file)).with_context(|| format!("copying {}", from.display()))?;
    }
    steps::must(
        Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&into),
    )?;
    std::fs::write(into.join("complete"), b"").context("marking the packages as complete")
}

pub fn install(root: &Path) -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    steps::say("influxd: a real InfluxDB 2 server (five minutes the first time)");
    steps::must(Command::new("bash").arg(root.join("peers/influxd/build.sh")).arg(folder.join(INFLUXD)))?;
    steps::say("s3: versitygw, a real S3 server (a minute the first time)");
    steps::must(Command::new("bash").arg(root.join("peers/s3/build.sh")).arg(folder.join(S3)))?;
    steps::say("restic: the real one (a minute the first time)");
    steps::must(Command::new("bash").arg(root.join("peers/restic/build.sh")).arg(folder.join(RESTIC)))?;
    steps::say("telegraf: the real one, with the plugins that the tests use (a minute the first time)");
    steps::must(Command::new("bash").arg(root.join("peers/telegraf/build.sh")).arg(folder.join(TELEGRAF)))?;
    install_python(root, OF_TESTS)?;
    steps::say("node: packages of peers/javascript");
    if node(root).is_none() {
        install_javascript(root)?;
    }
    let node = node(root).map(|(node, _)| node);
    let there = [
        ("influxd", influxd()),
        ("s3", s3()),
        ("restic", restic()),
        ("telegraf", telegraf()),
        ("python", python(root)),
        ("node", node),
    ];
    for (name, path) in there.iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
        println!("{name:<8} {}", path.display());
    }
    Ok(())
}
