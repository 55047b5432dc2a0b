//! What the figures were taken on, and what its disk can do.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Processor, cores, memory, kernel, version and day, and how busy the machine was with something else.
pub fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown processor", |l| l.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory_kib: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_string();
    format!(
        "{model}, {cores} cores, {} GiB, Linux {}, Shiphold {}, {}; load average {load} in the minute before.",
        memory_kib >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        env!("CARGO_PKG_VERSION"),
        chrono::Utc::now().format("%Y-%m-%d")
    )
}

/// Writes of `bytes` followed by fdatasync that the disk does in a second. Nothing of them is left.
pub fn synced_writes_per_s(dir: &Path, bytes: usize) -> f64 {
    let path = dir.join("raw");
    let mut file = std::fs::File::create(&path).unwrap();
    let block = vec![0x5a_u8; bytes];
    let begin = Instant::now();
    let mut n = 0_u32;
    while begin.elapsed() < Duration::from_secs(1) {
        file.write_all(&block).unwrap();
        file.sync_data().unwrap();
        n += 1;
    }
    let rate = f64::from(n) / begin.elapsed().as_secs_f64();
    // Its bytes are not those of the store beside it, and the disk gets them back before the clock of another starts.
    drop(file);
    std::fs::remove_file(path).unwrap();
    rate
}

/// The median of several rounds, in milliseconds.
pub fn median_ms(rounds: usize, mut f: impl FnMut()) -> f64 {
    f();
    let times = (0..rounds).map(|_| {
        let begin = Instant::now();
        f();
        begin.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect())
}

/// The figure in the middle.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Bytes that the disk gave to every file below a folder.
pub fn folder_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|e| {
            let path = e.unwrap().path();
            if path.is_dir() { folder_bytes(&path) } else { path.metadata().map_or(0, |m| m.blocks() * 512) }
        })
        .sum()
}

/// Resident memory of a process, now and at its peak, in MiB.
pub fn memory_mib(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let get = |key: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(key)?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1024.0
    };
    (get("VmRSS:"), get("VmHWM:"))
}
