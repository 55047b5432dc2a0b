//! What only tests and benchmarks need, built or installed once and cached outside the work tree, so that a
//! fresh clone does not pay for it again: `$SHIPHOLD_PEERS`, else the user's cache folder.

use crate::steps;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version in the folder's name makes a new pin a new build.
const INFLUXD: &str = "influxd-2.7.12";
const S3: &str = "versitygw-1.8.0";
const RESTIC: &str = "restic-0.18.1";

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

/// The Python of the virtual environment with the packages of `tests/python/requirements.txt`, if it is complete.
pub fn python(root: &Path) -> Option<PathBuf> {
    let venv = venv(root)?;
    Some(venv.join("bin/python")).filter(|p| p.exists() && venv.join("complete").is_file())
}

/// The folder's name holds a digest of the requirements.
fn venv(root: &Path) -> Option<PathBuf> {
    let text = std::fs::read(root.join("tests/python/requirements.txt")).ok()?;
    let digest = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    Some(folder().join(format!("python-{digest:016x}")))
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
    steps::say("python: packages of tests/python/requirements.txt");
    if python(root).is_none() {
        let venv = venv(root).context("tests/python/requirements.txt is missing")?;
        steps::must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))
            .context("making a virtual environment (Debian: apt-get install python3-venv)")?;
        steps::must(
            Command::new(venv.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "-r"])
                .arg(root.join("tests/python/requirements.txt")),
        )?;
        std::fs::write(venv.join("complete"), b"").context("marking the environment as complete")?;
    }
    let there = [("influxd", influxd()), ("s3", s3()), ("restic", restic()), ("python", python(root))];
    for (name, path) in there.iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
        println!("{name:<8} {}", path.display());
    }
    Ok(())
}
