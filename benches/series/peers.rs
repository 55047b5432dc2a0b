//! The embedded engine beside DuckDB, ArcticDB, Parquet and InfluxDB 2, on the same rows in the same run, answers compared.

use crate::engine::config;
use crate::machine::{self, folder_bytes, median_ms};
use crate::shapes::{self, Shape};
use crate::{Run, Table};
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::series::embedded::{EmbeddedEngine, EngineOptions};
use shiphold_storage::series::query::{self, Query};
use shiphold_storage::series::{Budget, Frame, Selector, SeriesEngine as _, TimeRange};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Sums of the same floats in another order differ by less.
const SUM_TOLERANCE: f64 = 1e-9;

/// What was measured, and of a query its answer: rows, and the sum of one column.
#[derive(Deserialize)]
struct Figure {
    value: f64,
    rows: Option<u64>,
    sum: Option<f64>,
}

/// What `peers.py` prints of a peer.
#[derive(Deserialize)]
struct Peer {
    peer: String,
    version: String,
    durability: String,
    figures: BTreeMap<String, Figure>,
    failed: Option<String>,
}

pub fn run(run: &Run, table: &mut Table) {
    let dir = tempfile::tempdir().unwrap();
    let shapes = [
        shapes::bars(run.size(50_000, 5_000)),
        shapes::ticks(run.size(10_000_000, 200_000)),
        shapes::books(run.size(200_000, 5_000)),
    ];
    let of = |s: &Shape| format!("{} rows of {} in batches of {}", s.rows(), s.name, s.batch_rows);
    println!(
        "\n{}; one writer, one query at a time, page cache warm, medians. Shiphold and the peers end with columns in memory, Shiphold in\n\
         a Rust process, the peers in a Python process. Shiphold: each batch is durable when acknowledged. Parquet is written once, a\n\
         file a symbol, and its files cannot be added to.",
        shapes.each_ref().map(of).join(", ")
    );
    let raw = machine::synced_writes_per_s(dir.path(), 480_000);
    println!("The disk does {raw:.0} writes with fdatasync of 480 KB a second.");
    let mut ours = BTreeMap::new();
    for shape in &shapes {
        measure(shape, dir.path(), &mut ours);
    }
    let peers = peers(&shapes, dir.path());
    for peer in &peers {
        match &peer.failed {
            None => {
                println!("{}: {}.", format!("{} {}", peer.peer, peer.version).trim_end(), peer.durability)
            }
            Some(why) => println!("{} is left out: {why}", peer.peer),
        }
    }
    for (name, figure) in &ours {
        let beside: Vec<(&str, &Figure)> =
            peers.iter().filter_map(|p| Some((p.peer.as_str(), p.figures.get(name)?))).collect();
        for (peer, theirs) in &beside {
            compare(name, figure, peer, theirs);
        }
        let mut row = |baseline: Option<(&str, f64)>| match name.rsplit('.').next() {
            Some("ingest") => table.rate(name, "rows/s", figure.value, baseline, ""),
            Some("bytes") => table.cost(name, "bytes/row", figure.value, baseline, ""),
            _ => table.cost(name, "ms", figure.value, baseline, ""),
        };
        if beside.is_empty() {
            row(None);
        }
        beside.iter().for_each(|(peer, theirs)| row(Some((peer, theirs.value))));
    }
}

/// A peer whose answer is another one has measured something else.
fn compare(name: &str, ours: &Figure, peer: &str, theirs: &Figure) {
    assert_eq!(ours.rows, theirs.rows, "{name}: rows of Shiphold and of {peer}");
    let (Some(a), Some(b)) = (ours.sum, theirs.sum) else {
        assert_eq!(ours.sum, theirs.sum, "{name}: Shiphold and {peer}");
        return;
    };
    assert!(
        (a - b).abs() <= SUM_TOLERANCE * a.abs(),
        "{name}: the sum of Shiphold is {a}, that of {peer} {b}"
    );
}

/// Rows of frames and the sum of one column.
fn answer(frames: impl Iterator<Item = Frame>, column: &str) -> (u64, f64) {
    frames.fold((0, 0.0), |(rows, sum), f| {
        let values = f.column(column).unwrap().floats().unwrap();
        (rows + f.len() as u64, sum + values.iter().sum::<f64>())
    })
}

fn timed(rounds: usize, ask: impl Fn() -> (u64, f64)) -> Figure {
    let (rows, sum) = ask();
    Figure { value: median_ms(rounds, || assert_eq!(ask().0, rows)), rows: Some(rows), sum: Some(sum) }
}

fn measure(shape: &Shape, dir: &Path, figures: &mut BTreeMap<String, Figure>) {
    let folder = dir.join(format!("engine-{}", shape.name));
    std::fs::create_dir(&folder).unwrap();
    let engine =
        EmbeddedEngine::open(&folder.join("series.db"), &config(), EngineOptions::default()).unwrap();
    let mut taken = Duration::ZERO;
    for batch in shape.batches() {
        let begin = Instant::now();
        engine.write(batch).unwrap();
        taken += begin.elapsed();
    }
    engine.seal().unwrap();
    engine.compact().unwrap();
    let mut put = |name: &str, figure| figures.insert(format!("{}.{name}", shape.name), figure);
    let plain = |value| Figure { value, rows: None, sum: None };
    put("ingest", plain(shape.rows() as f64 / taken.as_secs_f64()));
    put("bytes", plain(folder_bytes(&folder) as f64 / shape.rows() as f64));

    let budget = Budget::default();
    let scan = |key, range| engine.scan(key, range, None, &budget).unwrap().map(|f| f.unwrap());
    let asked = &shape.series[shape.asked].0;
    put("range", timed(15, || answer(scan(asked, shape.range), shape.sum)));
    put(
        "scan",
        timed(5, || answer(shape.series.iter().flat_map(|(k, _)| scan(k, TimeRange::ALL)), shape.sum)),
    );
    let resampled = |every: &str| -> (u64, f64) {
        let query: Query = serde_json::from_value(
            json!({ "bucket": asked.bucket, "measurement": asked.measurement, "resample": every }),
        )
        .unwrap();
        let table = query::execute(&engine, &query, &budget, 10_000_000).unwrap();
        answer(std::iter::once(table.frame), "close")
    };
    match shape.name {
        "bars" => {
            put("resample", timed(15, || resampled("1d")));
            let all = Selector {
                bucket: Some("market".into()),
                measurement: Some("bar.1m.*".into()),
                tags: Vec::new(),
            };
            let latest = || {
                let found = engine.latest(&all).unwrap();
                let close = found.iter().flat_map(|l| &l.fields).filter(|f| f.name == "close");
                (found.len() as u64, close.filter_map(|f| f.value.as_f64()).sum())
            };
            put("latest", timed(101, latest));
        }
        "ticks" => {
            put("resample", timed(5, || resampled("1m")));
        }
        _ => {}
    }
}

/// Runs `peers.py` on the same rows, if there is a Python with its packages.
fn peers(shapes: &[Shape], dir: &Path) -> Vec<Peer> {
    let Some(python) = std::env::var_os("SHIPHOLD_BENCH_PYTHON") else {
        let why = std::env::var("SHIPHOLD_BENCH_PYTHON_MISSING")
            .unwrap_or_else(|_| "SHIPHOLD_BENCH_PYTHON is not set: run `cargo xtask bench series`".into());
        println!("DuckDB, ArcticDB, Parquet and InfluxDB 2 are left out: {why}");
        return Vec::new();
    };
    let (data, work) = (dir.join("data"), dir.join("work"));
    std::fs::create_dir(&work).unwrap();
    let mut tables = serde_json::Map::new();
    for shape in shapes {
        shape.write(&data);
        let columns: Vec<&str> = std::iter::once("time").chain(shape.columns()).collect();
        let told = json!({
            "rows": shape.rows_per_series(), "symbols": shape.series.len(), "batch": shape.batch_rows, "columns": columns,
            "symbol": shape.asked, "range": [shape.range.start, shape.range.end], "sum": shape.sum,
        });
        tables.insert(shape.name.to_string(), told);
    }
    let plan = dir.join("plan.json");
    let told = json!({ "data": data, "work": work, "tables": tables });
    std::fs::write(&plan, told.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/series/peers.py");
    let output = Command::new(python).arg(script).arg(&plan).output().unwrap();
    assert!(output.status.success(), "peers.py: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
