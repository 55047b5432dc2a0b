//! A store that was opened and does nothing: how long that took, and what memory the process has. Each in a process of its
//! own, which is this program once more.

use crate::data::{self, BEGIN_NS, MINUTE_NS, SYMBOLS};
use crate::engine::config;
use crate::machine;
use crate::{Run, Table};
use shiphold_storage::series::embedded::{EmbeddedEngine, EngineOptions};
use shiphold_storage::series::{Column, Frame, SeriesEngine as _, SeriesKey, WriteBatch};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The argument by which the program is told to open the store that follows.
const OPEN: &str = "--open";
const BATCH_ROWS: usize = 10_000;
/// Rows of each of very many series.
const ROWS_EACH: usize = 20;
/// Starts of a process; the middle one counts.
const STARTS: usize = 5;

/// The other process: opens the store that it is told and prints what [`start`] reads.
pub fn opened_for_another() -> bool {
    let mut args = std::env::args().skip_while(|a| a != OPEN).skip(1);
    let Some(path) = args.next() else { return false };
    let (before, _) = machine::memory_mib(std::process::id());
    let begin = Instant::now();
    let engine = EmbeddedEngine::open(Path::new(&path), &config(), EngineOptions::default()).unwrap();
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let (now, peak) = machine::memory_mib(std::process::id());
    let stats = engine.stats().unwrap();
    println!("{ms} {before} {now} {peak} {} {}", stats.series, stats.rows);
    true
}

struct Start {
    ms: f64,
    before_mib: f64,
    now_mib: f64,
    peak_mib: f64,
}

/// Starts a process on a store again and again; the one with the middle time.
fn start(store: &Path, series: usize, rows: usize) -> Start {
    let mut all: Vec<Start> = (0..STARTS)
        .map(|_| {
            let out = Command::new(std::env::current_exe().unwrap()).arg(OPEN).arg(store).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let text = String::from_utf8(out.stdout).unwrap();
            let figures: Vec<f64> = text.split_whitespace().map(|f| f.parse().unwrap()).collect();
            assert_eq!(figures[4..], [series as f64, rows as f64]);
            Start { ms: figures[0], before_mib: figures[1], now_mib: figures[2], peak_mib: figures[3] }
        })
        .collect();
    all.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    all.swap_remove(STARTS / 2)
}

pub fn run(run: &Run, table: &mut Table) {
    let dir = tempfile::tempdir().unwrap();
    many(run, table, dir.path());
    large(run, table, dir.path());
}

/// Very many series with few rows, all sealed.
fn many(run: &Run, table: &mut Table, dir: &Path) {
    let series = run.size(100_000, 10_000);
    let store = dir.join("many.db");
    let engine = EmbeddedEngine::open(&store, &config(), EngineOptions::default()).unwrap();
    let named = |i: usize| {
        let tags =
            vec![("host".into(), format!("host-{:04}", i / 100)), ("unit".into(), format!("{}", i % 100))];
        SeriesKey::new("market", "system.load", tags).unwrap()
    };
    let rows = |i: usize| Frame {
        times: (0..ROWS_EACH).map(|r| BEGIN_NS + r as i64 * MINUTE_NS).collect(),
        columns: vec![Column::float("value", (0..ROWS_EACH).map(|r| (i + r) as f64 / 100.0).collect())],
    };
    for from in (0..series).step_by(BATCH_ROWS) {
        let part = (from..from + BATCH_ROWS).map(|i| (named(i), rows(i))).collect();
        engine.write(WriteBatch { series: part }).unwrap();
    }
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    let it = start(&store, series, series * ROWS_EACH);
    table.cost(&format!("at rest, {series} series known"), "MiB", it.now_mib, None, "60 for the host");
    table.cost("of that, before the store was opened", "MiB", it.before_mib, None, "");
    table.cost("the most while it was opened", "MiB", it.peak_mib, None, "");
    let each = (it.now_mib - it.before_mib) * 1024.0 * 1024.0 / series as f64;
    table.cost("for each series", "bytes", each, None, "");
    table.cost("opening it", "ms", it.ms, None, "");
}

/// Many rows, and a log as long as it becomes before it is sealed; the files as a kill leaves them.
fn large(run: &Run, table: &mut Table, dir: &Path) {
    let per_symbol = run.size(50_000, 5_000);
    let rounds = 10_i64;
    let (store, copy) = (dir.join("large.db"), dir.join("copy.db"));
    let engine = EmbeddedEngine::open(&store, &config(), EngineOptions::default()).unwrap();
    let bars = data::bars(per_symbol);
    let mut rows = 0;
    let mut write = |round: i64, bytes_max: u64| {
        for mut batch in data::batches(&bars, BATCH_ROWS) {
            for (_, frame) in &mut batch.series {
                frame.times.iter_mut().for_each(|t| *t += round * per_symbol as i64 * MINUTE_NS);
            }
            let bytes = batch.series.iter().map(|(_, f)| f.size_bytes() as u64).sum::<u64>();
            if engine.stats().unwrap().head_bytes + bytes >= bytes_max {
                return;
            }
            rows += batch.rows();
            engine.write(batch).unwrap();
        }
    };
    (0..rounds).for_each(|round| write(round, u64::MAX));
    engine.seal().unwrap();
    engine.compact().unwrap();
    (rounds..rounds + 2).for_each(|round| write(round, config().head_max.0));
    let log = engine.stats().unwrap().log_bytes as f64 / 1024.0 / 1024.0;
    for end in ["", "-wal"] {
        let name = |path: &Path| format!("{}{end}", path.display());
        std::fs::copy(name(&store), name(&copy)).unwrap();
    }
    drop(engine);
    let wal = std::fs::metadata(dir.join("copy.db-wal")).unwrap().len() as f64 / 1024.0 / 1024.0;
    table.note(format!(
        "{rows} rows of {SYMBOLS} symbols, of them a log of {log:.0} MiB; a WAL of {wal:.0} MiB, as a kill leaves it (the first start \
         moves it into the file); page cache warm; the middle of {STARTS} starts."
    ));
    let it = start(&copy, SYMBOLS, rows);
    table.cost(&format!("a start, {rows} rows and a log at its bound"), "ms", it.ms, None, "300");
    table.cost("memory after it", "MiB", it.now_mib, None, "");
}
