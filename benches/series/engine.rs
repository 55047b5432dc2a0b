//! The embedded engine in process, beside SQLite with a row per bar.

use crate::data::{self, BEGIN_NS, MINUTE_NS, SYMBOLS};
use crate::machine::{self, folder_bytes, median_ms};
use crate::{Run, Table};
use rusqlite::Connection;
use shiphold_storage::series::embedded::{EmbeddedEngine, EngineOptions};
use shiphold_storage::series::query::{self, Query};
use shiphold_storage::series::{Budget, Selector, SeriesEngine, TimeRange};
use shiphold_storage::{manifest, units::Span};
use std::path::Path;
use std::time::Instant;

/// Rows of one durable batch.
const BATCH_ROWS: usize = 10_000;
/// Fresh stores that a burst is measured on.
const BURSTS: usize = 7;
/// Rows of the range that is read: thirty days of minutes.
const RANGE_ROWS: usize = 43_200;

/// Figures are taken without what a cache would have kept decoded.
pub fn config() -> manifest::Embedded {
    manifest::Embedded {
        memory_max: shiphold_storage::units::ByteSize::mib(256),
        head_max: shiphold_storage::units::ByteSize::mib(64),
        chunk_rows: 65_536,
        seal_after: Span::from_secs(300),
        compact_every: Span::from_secs(600),
        cache_max: shiphold_storage::units::ByteSize(0),
    }
}

pub fn run(run: &Run, table: &mut Table) {
    let per_symbol = run.size(50_000, 5_000);
    let rows = per_symbol * SYMBOLS;
    table.note(format!(
        "{rows} one-minute bars ({SYMBOLS} symbols, 5 fields, steps of 0.01), one writer, batches of {BATCH_ROWS}, each durable when \
         acknowledged (SQLite: synchronous=FULL for both); page cache warm; median of several rounds."
    ));
    let dir = tempfile::tempdir().unwrap();
    let bars = data::bars(per_symbol);
    let base = Baseline::fill(dir.path(), &bars);

    let folder = dir.path().join("engine");
    let engine = bursts(table, dir.path(), &folder, &bars, base.rows_per_s);
    engine.seal().unwrap();
    engine.compact().unwrap();
    let bytes = folder_bytes(&folder) as f64 / rows as f64;
    table.cost(
        "on disk after compaction",
        "bytes/row",
        bytes,
        Some(("SQLite row per bar", base.bytes_per_row)),
        "4.5",
    );

    let key = data::key(3);
    let take = RANGE_ROWS.min(per_symbol);
    let range = TimeRange { start: BEGIN_NS, end: BEGIN_NS + take as i64 * MINUTE_NS };
    let budget = Budget::default();
    let ours = median_ms(31, || {
        let rows: usize = engine.scan(&key, range, None, &budget).unwrap().map(|f| f.unwrap().len()).sum();
        assert_eq!(rows, take);
    });
    table.cost(
        "range of 43,200 rows, 6 columns",
        "ms",
        ours,
        Some(("SQLite row per bar", base.range_ms(take))),
        "1.5",
    );

    let daily: Query = serde_json::from_value(serde_json::json!({
        "bucket": "market", "measurement": key.measurement, "resample": "1d"
    }))
    .unwrap();
    let ours = median_ms(31, || {
        let table = query::execute(&engine, &daily, &budget, 1_000_000).unwrap();
        assert!(table.rows() >= per_symbol / 1_440);
    });
    table.cost(
        "one symbol to daily OHLCV",
        "ms",
        ours,
        Some(("SQLite row per bar", base.daily_ms(per_symbol))),
        "1",
    );

    let all =
        Selector { bucket: Some("market".into()), measurement: Some("bar.1m.*".into()), tags: Vec::new() };
    let ours = median_ms(101, || assert_eq!(engine.latest(&all).unwrap().len(), SYMBOLS));
    table.cost("last bar of 20 symbols", "ms", ours, Some(("SQLite row per bar", base.latest_ms())), "0.05");
    drop(engine);

    if !run.quick {
        sustained(table, dir.path(), &bars);
    }
}

/// A burst on each of several fresh stores, what the disk does of such writes by itself between them; gives the store of
/// the last one, which is in `folder`.
fn bursts(
    table: &mut Table,
    dir: &Path,
    folder: &Path,
    bars: &[data::Bars],
    sqlite_rows_per_s: f64,
) -> EmbeddedEngine {
    let rows = (bars.len() * bars[0].times.len()) as f64;
    let (mut rates, mut disk) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..BURSTS {
        drop(last.take());
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir(folder).unwrap();
        disk.push(machine::synced_writes_per_s(dir, BATCH_ROWS * 48) * BATCH_ROWS as f64);
        let batches = data::batches(bars, BATCH_ROWS);
        let engine =
            EmbeddedEngine::open(&folder.join("series.db"), &config(), EngineOptions::default()).unwrap();
        let begin = Instant::now();
        for batch in batches {
            engine.write(batch).unwrap();
        }
        rates.push(rows / begin.elapsed().as_secs_f64());
        last = Some(engine);
    }
    let show = |all: &[f64]| all.iter().map(|r| format!("{:.2}", r / 1e6)).collect::<Vec<_>>().join(", ");
    table.note(format!(
        "Bursts of {rows} rows, each into a fresh store, M rows/s: {}. The disk writes and syncs the raw columns of such batches, at \
         the same times, at M rows/s: {}.",
        show(&rates),
        show(&disk)
    ));
    rates.sort_by(f64::total_cmp);
    disk.sort_by(f64::total_cmp);
    let baseline = Some(("SQLite row per bar", sqlite_rows_per_s));
    table.rate("ingest, burst: median", "rows/s", rates[BURSTS / 2], baseline, "5 M");
    let baseline = Some(("raw write + fdatasync, median", disk[BURSTS / 2]));
    table.rate("the same beside the disk", "rows/s", rates[BURSTS / 2], baseline, "");
    table.rate("ingest, burst: slowest", "rows/s", rates[0], Some(("the disk, slowest", disk[0])), "");
    table.rate("ingest, burst: fastest", "rows/s", rates[BURSTS - 1], None, "");
    last.unwrap()
}

/// Ten times the rows, with sealing and compaction going on, and what it needed of memory.
fn sustained(table: &mut Table, dir: &Path, bars: &[data::Bars]) {
    let folder = dir.join("sustained");
    std::fs::create_dir(&folder).unwrap();
    let engine =
        EmbeddedEngine::open(&folder.join("series.db"), &config(), EngineOptions::default()).unwrap();
    let span = bars[0].times.len() as i64 * MINUTE_NS;
    let begin = Instant::now();
    let mut rows = 0;
    for round in 0..10 {
        for mut batch in data::batches(bars, BATCH_ROWS) {
            for (_, frame) in &mut batch.series {
                frame.times.iter_mut().for_each(|t| *t += round * span);
            }
            rows += batch.rows();
            engine.write(batch).unwrap();
        }
    }
    table.rate(
        "ingest, 10 M rows, sealing beside it",
        "rows/s",
        rows as f64 / begin.elapsed().as_secs_f64(),
        None,
        "",
    );
    let (_, peak) = machine::memory_mib(std::process::id());
    table.cost("peak memory of the process by then", "MiB", peak, None, "400 for the host, see http");
    engine.seal().unwrap();
    engine.compact().unwrap();
    table.cost("on disk, 10 M rows", "bytes/row", folder_bytes(&folder) as f64 / rows as f64, None, "");
}

/// SQLite with a row per bar, the way most traders begin.
struct Baseline {
    connection: Connection,
    rows_per_s: f64,
    bytes_per_row: f64,
}

impl Baseline {
    fn fill(dir: &Path, bars: &[data::Bars]) -> Self {
        let path = dir.join("baseline.db");
        let mut connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;
                 CREATE TABLE bar(symbol INTEGER, time INTEGER, open REAL, high REAL, low REAL, close REAL, volume REAL,
                                  PRIMARY KEY(symbol, time)) WITHOUT ROWID",
            )
            .unwrap();
        let begin = Instant::now();
        let per_symbol = bars[0].times.len();
        for from in (0..per_symbol).step_by(BATCH_ROWS) {
            for b in bars {
                let tx = connection.transaction().unwrap();
                {
                    let mut insert = tx
                        .prepare_cached("INSERT OR REPLACE INTO bar VALUES (?1,?2,?3,?4,?5,?6,?7)")
                        .unwrap();
                    for i in from..(from + BATCH_ROWS).min(per_symbol) {
                        let [o, h, l, c, v] = std::array::from_fn(|f| b.fields[f][i]);
                        insert.execute((b.symbol as i64, b.times[i], o, h, l, c, v)).unwrap();
                    }
                }
                tx.commit().unwrap();
            }
        }
        let rows = per_symbol * bars.len();
        let rows_per_s = rows as f64 / begin.elapsed().as_secs_f64();
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let bytes_per_row = path.metadata().unwrap().len() as f64 / rows as f64;
        Self { connection, rows_per_s, bytes_per_row }
    }

    fn range_ms(&self, rows: usize) -> f64 {
        median_ms(11, || {
            let mut select = self
                .connection
                .prepare_cached("SELECT time,open,high,low,close,volume FROM bar WHERE symbol=3 AND time<?1")
                .unwrap();
            let mut columns: [Vec<f64>; 5] = Default::default();
            let mut times: Vec<i64> = Vec::new();
            let mut found = select.query([BEGIN_NS + rows as i64 * MINUTE_NS]).unwrap();
            while let Some(row) = found.next().unwrap() {
                times.push(row.get_unwrap(0));
                for (i, c) in columns.iter_mut().enumerate() {
                    c.push(row.get_unwrap(i + 1));
                }
            }
            assert_eq!(times.len(), rows);
        })
    }

    fn daily_ms(&self, rows: usize) -> f64 {
        median_ms(11, || {
            let mut select = self
                .connection
                .prepare_cached(
                    "SELECT day, (SELECT open FROM bar WHERE symbol=3 AND time=lo), high, low,
                            (SELECT close FROM bar WHERE symbol=3 AND time=hi), volume
                     FROM (SELECT time/86400000000000 AS day, min(time) AS lo, max(time) AS hi, max(high) AS high,
                                  min(low) AS low, sum(volume) AS volume FROM bar WHERE symbol=3 GROUP BY day)",
                )
                .unwrap();
            let opens: Result<Vec<f64>, _> = select.query_map([], |r| r.get(1)).unwrap().collect();
            let n = opens.unwrap().len();
            assert!(n >= rows / 1_440);
        })
    }

    fn latest_ms(&self) -> f64 {
        median_ms(101, || {
            let mut select = self
                .connection
                .prepare_cached("SELECT * FROM bar WHERE symbol=?1 ORDER BY time DESC LIMIT 1")
                .unwrap();
            for symbol in 0..SYMBOLS as i64 {
                select.query_row([symbol], |r| r.get::<_, f64>(5)).unwrap();
            }
        })
    }
}
