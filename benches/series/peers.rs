//! The embedded engine beside SQLite, DuckDB, ArcticDB, Parquet and InfluxDB 2, on the same rows in the same run, answers compared.

use crate::answer::{self, Clock, Figures};
use crate::machine;
use crate::shapes::{self, Join, Shape};
use crate::{Run, Table, ours, sqlite};
use serde::Deserialize;
use serde_json::json;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What they are called here, and by `peers.py`.
const IN_PYTHON: [(&str, &str); 4] =
    [("DuckDB", "duckdb"), ("ArcticDB", "arcticdb"), ("Parquet", "parquet"), ("InfluxDB 2", "influxdb")];

/// How long each query is asked again and again.
const TIMED_MS: usize = 2_000;
const TIMED_QUICK_MS: usize = 100;
/// InfluxDB has compacted what it was given when its folder stays as large for so long.
const SETTLED_S: usize = 6;
const SETTLED_QUICK_S: usize = 3;

/// What each figure is called by all programs, and in the table.
const ROWS: [(&str, &str, &str); 22] = [
    ("bars.ingest", "bars: ingest", "rows/s"),
    ("bars.bytes", "bars: on disk", "bytes/row"),
    ("bars.range", "bars: a month of one symbol", "ms"),
    ("bars.resample", "bars: one symbol to days", "ms"),
    ("bars.latest", "bars: the last of each symbol", "ms"),
    ("bars.scan", "bars: all", "ms"),
    ("ticks.ingest", "ticks: ingest", "rows/s"),
    ("ticks.bytes", "ticks: on disk", "bytes/row"),
    ("ticks.range", "ticks: a tenth, from the middle", "ms"),
    ("ticks.resample", "ticks: all to minutes", "ms"),
    ("ticks.latest", "ticks: the last", "ms"),
    ("ticks.asof-books", "ticks: ASOF best bid and ask, while there are books", "ms"),
    ("ticks.asof-bars", "ticks: a tenth, ASOF minute bars", "ms"),
    ("ticks.scan", "ticks: all", "ms"),
    ("books.ingest", "books: ingest", "rows/s"),
    ("books.bytes", "books: on disk", "bytes/row"),
    ("books.range", "books: a tenth, from the middle, 40 fields", "ms"),
    ("books.resample", "books: imbalance and middle of each minute", "ms"),
    ("books.latest", "books: the last", "ms"),
    ("books.top", "books: best bid and ask, spread, middle of all", "ms"),
    ("books.depth", "books: depth and imbalance of all", "ms"),
    ("books.scan", "books: all", "ms"),
];

/// A store that was measured.
#[derive(Deserialize)]
struct Peer {
    #[serde(default)]
    name: String,
    version: String,
    durability: String,
    figures: Figures,
    failed: Option<String>,
}

pub fn run(run: &Run, table: &mut Table) {
    answer::check_digest();
    let dir = tempfile::tempdir().unwrap();
    let shapes = [
        shapes::bars(run.size(50_000, 5_000)),
        shapes::ticks(run.size(10_000_000, 200_000)),
        shapes::books(run.size(200_000, 5_000)),
    ];
    let joins = shapes::joins(&shapes);
    let clock = Clock(Duration::from_millis(run.size(TIMED_MS, TIMED_QUICK_MS) as u64));
    let of = |s: &Shape| format!("{} {} in batches of {}", s.rows(), s.name, s.batch_rows);
    table.note(format!(
        "{}; one writer, one query at a time, page cache warm, medians. All end with columns in memory: Shiphold and SQLite in a Rust \
         process, the others in a Python process each. A peer's cell has its figure and the ratio; in bold: Shiphold loses.",
        shapes.each_ref().map(of).join(", ")
    ));
    let raw = machine::synced_writes_per_s(dir.path(), 480_000);
    table.note(format!("The disk does {raw:.0} writes with fdatasync of 480 KB a second."));
    let ours = ours::measure(clock, &shapes, &joins, dir.path());
    table.note("Shiphold: durable: each batch is synced.");
    let peers = measured(run, clock, &shapes, &joins, dir.path());
    for peer in &peers {
        let name = format!("{} {}", peer.name, peer.version);
        table.note(match &peer.failed {
            None => format!("{}: {}.", name.trim_end(), peer.durability),
            Some(why) => format!("{} is left out: {why}", peer.name),
        });
    }
    for (name, what, unit) in ROWS {
        let figure = &ours[name];
        let mut beside = Vec::new();
        for peer in &peers {
            let Some(theirs) = peer.figures.get(name) else { continue };
            // A peer whose answer is another one has measured something else.
            if let (Some(a), Some(b)) = (&figure.answer, &theirs.answer) {
                let differs = a.differs(b);
                assert_eq!(differs, None, "{name}: Shiphold and {} answer differently", peer.name);
            }
            assert_eq!(figure.answer.is_some(), theirs.answer.is_some(), "{name} of {}", peer.name);
            beside.push((peer.name.as_str(), theirs.value));
        }
        table.beside(what, unit, unit == "rows/s", figure.value, &beside, "");
    }
    for name in ours.keys().chain(peers.iter().flat_map(|p| p.figures.keys())) {
        assert!(ROWS.iter().any(|(row, _, _)| row == name), "`{name}` was measured and is in no row");
    }
}

/// Every peer that is there, each on the same rows.
fn measured(run: &Run, clock: Clock, shapes: &[Shape], joins: &[Join], dir: &Path) -> Vec<Peer> {
    let mut peers = vec![Peer {
        name: "SQLite".into(),
        version: rusqlite::version().into(),
        durability: "a row per row, WITHOUT ROWID, WAL; durable: synchronous=FULL".into(),
        figures: sqlite::measure(clock, shapes, joins, dir),
        failed: None,
    }];
    let Some(python) = std::env::var_os("SHIPHOLD_BENCH_PYTHON") else {
        let why = std::env::var("SHIPHOLD_BENCH_PYTHON_MISSING")
            .unwrap_or_else(|_| "SHIPHOLD_BENCH_PYTHON is not set: run `cargo xtask bench series`".into());
        peers.extend(IN_PYTHON.map(|(name, _)| failed(name, why.clone())));
        return peers;
    };
    let plan = plan(shapes, joins, clock, run.size(SETTLED_S, SETTLED_QUICK_S), dir);
    peers.extend(IN_PYTHON.map(|(name, of_python)| {
        eprintln!("   {name} …");
        in_python(&python, &plan, of_python)
            .map_or_else(|why| failed(name, why), |peer| Peer { name: name.into(), ..peer })
    }));
    peers
}

fn failed(name: &str, why: String) -> Peer {
    let (version, durability) = (String::new(), String::new());
    Peer { name: name.into(), version, durability, figures: Figures::new(), failed: Some(why) }
}

/// Writes the rows and what to ask of them; the file that says so.
fn plan(shapes: &[Shape], joins: &[Join], clock: Clock, settled_s: usize, dir: &Path) -> PathBuf {
    let (data, work) = (dir.join("data"), dir.join("work"));
    std::fs::create_dir(&work).unwrap();
    let mut tables = serde_json::Map::new();
    for shape in shapes {
        shape.write(&data);
        let columns: Vec<&str> = std::iter::once("time").chain(shape.columns()).collect();
        let told = json!({
            "rows": shape.rows_per_series(), "symbols": shape.series.len(), "batch": shape.batch_rows, "columns": columns,
            "symbol": shape.asked, "range": [shape.range.start, shape.range.end],
        });
        tables.insert(shape.name.to_string(), told);
    }
    let asof = joins.iter().map(|j| {
        let told = json!({
            "right": j.right, "symbol": 0, "fields": j.fields, "prefix": j.prefix, "range": [j.range.start, j.range.end],
        });
        (j.name.to_string(), told)
    });
    let asof: serde_json::Map<_, _> = asof.collect();
    let plan = dir.join("plan.json");
    let told = json!({ "data": data, "work": work, "tables": tables, "asof": asof, "settled_s": settled_s, "timed_s": clock.0.as_secs_f64() });
    std::fs::write(&plan, told.to_string()).unwrap();
    plan
}

/// Runs `peers.py` in a process of its own: a store that ends its process ends no other.
fn in_python(python: &OsStr, plan: &Path, peer: &str) -> Result<Peer, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/python/peers.py");
    let output =
        Command::new(python).arg(script).arg(plan).arg(peer).stderr(Stdio::inherit()).output().unwrap();
    if !output.status.success() {
        return Err(format!("its process ended with {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("its figures cannot be read: {e}"))
}
