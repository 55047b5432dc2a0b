//! SQLite with a row per bar, tick or snapshot, the way most traders begin: a table in its own file, `WITHOUT ROWID`, WAL.

use crate::answer::{Clock, Figures, plain};
use crate::machine::folder_bytes;
use crate::shapes::{Join, Shape};
use rusqlite::{Connection, Params};
use shiphold_storage::series::{Column, Frame, Values};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DAY_NS: i64 = 86_400_000_000_000;
const MINUTE_NS: i64 = 60_000_000_000;

pub fn measure(clock: Clock, shapes: &[Shape], joins: &[Join], dir: &Path) -> Figures {
    let mut figures = Figures::new();
    for shape in shapes {
        let taken = feed(shape, &file(dir, shape.name));
        let mut put = |name: &str, value| figures.insert(format!("{}.{name}", shape.name), plain(value));
        put("ingest", shape.rows() as f64 / taken.as_secs_f64());
        let bytes = folder_bytes(file(dir, shape.name).parent().unwrap());
        put("bytes", bytes as f64 / shape.rows() as f64);
    }
    let connection = Connection::open_in_memory().unwrap();
    for shape in shapes {
        let path = file(dir, shape.name).display().to_string();
        connection.execute(&format!("ATTACH ?1 AS {}", shape.name), [path]).unwrap();
        connection.execute_batch(&format!("PRAGMA {}.cache_size=-65536", shape.name)).unwrap();
    }
    for shape in shapes {
        ask(&connection, shape, clock, &mut figures);
    }
    for join in joins {
        let joined: Vec<String> =
            std::iter::once("time").chain(join.fields.iter().copied()).map(|f| format!("r.{f}")).collect();
        let sql = format!(
            "SELECT l.time, l.price, {} FROM ticks.rows l LEFT JOIN {right}.rows r ON r.symbol = 0 AND r.time =
               (SELECT max(time) FROM {right}.rows WHERE symbol = 0 AND time <= l.time)
             WHERE l.symbol = 0 AND l.time >= ?1 AND l.time < ?2 ORDER BY l.time",
            joined.join(", "),
            right = join.right
        );
        let time = format!("{}time", join.prefix);
        let fields: Vec<String> = join.fields.iter().map(|f| format!("{}{f}", join.prefix)).collect();
        let names: Vec<&str> =
            ["price", &time].into_iter().chain(fields.iter().map(String::as_str)).collect();
        let ask = || gaps(&connection, &sql, (join.range.start, join.range.end), &names, &time);
        figures.insert(format!("ticks.{}", join.name), clock.timed(ask, |frame| vec![frame]));
    }
    figures
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("sqlite-{name}")).join("rows.db")
}

/// Inserts all batches, each a synced transaction; how long they took.
fn feed(shape: &Shape, path: &Path) -> Duration {
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let mut connection = Connection::open(path).unwrap();
    let columns: String = shape.columns().map(|c| format!("{c} REAL, ")).collect();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;
             CREATE TABLE rows(symbol INTEGER, time INTEGER, {columns} PRIMARY KEY(symbol, time)) WITHOUT ROWID"
        ))
        .unwrap();
    let marks = vec!["?"; shape.columns().count() + 2].join(", ");
    let mut taken = Duration::ZERO;
    for (symbol, frame) in shape.parts() {
        let columns: Vec<&[f64]> = frame.columns.iter().map(|c| c.floats().unwrap()).collect();
        let begin = Instant::now();
        let transaction = connection.transaction().unwrap();
        {
            let mut insert =
                transaction.prepare_cached(&format!("INSERT OR REPLACE INTO rows VALUES ({marks})")).unwrap();
            for (row, time) in frame.times.iter().enumerate() {
                insert.raw_bind_parameter(1_usize, symbol as i64).unwrap();
                insert.raw_bind_parameter(2_usize, time).unwrap();
                for (i, column) in columns.iter().enumerate() {
                    insert.raw_bind_parameter(i + 3, column[row]).unwrap();
                }
                insert.raw_execute().unwrap();
            }
        }
        transaction.commit().unwrap();
        taken += begin.elapsed();
    }
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    taken
}

/// Rows as columns: `time`, then floats of these names; `unit` nanoseconds are one of its `time`.
fn select(connection: &Connection, sql: &str, values: impl Params, names: &[&str], unit: i64) -> Frame {
    let mut select = connection.prepare_cached(sql).unwrap();
    let mut times = Vec::new();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    let mut found = select.query(values).unwrap();
    while let Some(row) = found.next().unwrap() {
        times.push(row.get_unwrap::<_, i64>(0) * unit);
        for (i, column) in columns.iter_mut().enumerate() {
            column.push(row.get_unwrap(i + 1));
        }
    }
    let columns = names.iter().zip(columns).map(|(name, values)| Column::float(*name, values)).collect();
    Frame { times, columns }
}

/// The same of rows that may lack values, of which the column `time` holds nanoseconds.
fn gaps(connection: &Connection, sql: &str, values: impl Params, names: &[&str], time: &str) -> Frame {
    let mut select = connection.prepare_cached(sql).unwrap();
    let (mut times, mut joined) = (Vec::new(), Vec::new());
    let mut columns: Vec<Vec<Option<f64>>> = vec![Vec::new(); names.len()];
    let mut found = select.query(values).unwrap();
    while let Some(row) = found.next().unwrap() {
        times.push(row.get_unwrap::<_, i64>(0));
        for (i, name) in names.iter().enumerate() {
            if *name == time {
                joined.push(row.get_unwrap::<_, Option<i64>>(i + 1));
            } else {
                columns[i].push(row.get_unwrap(i + 1));
            }
        }
    }
    let columns = names.iter().zip(columns).map(|(name, values)| {
        let (values, valid) = if *name == time {
            let valid = joined.iter().map(Option::is_some).collect();
            (Values::Integer(joined.iter().map(|v| v.unwrap_or(0)).collect()), valid)
        } else {
            let valid = values.iter().map(Option::is_some).collect();
            (Values::Float(values.into_iter().map(|v| v.unwrap_or(0.0)).collect()), valid)
        };
        Column { name: (*name).into(), values, valid: Some(valid) }
    });
    Frame { columns: columns.collect(), times }
}

fn ask(connection: &Connection, shape: &Shape, clock: Clock, figures: &mut Figures) {
    let from = format!("FROM {}.rows", shape.name);
    let names: Vec<&str> = shape.columns().collect();
    let listed = names.join(", ");
    let symbol = shape.asked as i64;
    let mut put = |name: &str, figure| figures.insert(format!("{}.{name}", shape.name), figure);
    let sql =
        format!("SELECT time, {listed} {from} WHERE symbol = ?1 AND time >= ?2 AND time < ?3 ORDER BY time");
    let values = (symbol, shape.range.start, shape.range.end);
    put("range", clock.timed(|| select(connection, &sql, values, &names, 1), |frame| vec![frame]));
    let sql = format!("SELECT time, {listed} {from} ORDER BY symbol, time");
    put("scan", clock.timed(|| select(connection, &sql, [], &names, 1), |frame| vec![frame]));
    let sql = format!("SELECT time, {listed} {from} WHERE symbol = ?1 ORDER BY time DESC LIMIT 1");
    let newest = || -> Vec<Frame> {
        (0..shape.series.len() as i64).map(|symbol| select(connection, &sql, [symbol], &names, 1)).collect()
    };
    put("latest", clock.timed(newest, |frames| frames));
    let mut resampled = |every: i64, [open, high, low, close, volume]: [&str; 5]| {
        let sql = format!(
            "SELECT at, (SELECT {open} {from} WHERE symbol = ?1 AND time = lo), high, low,
                    (SELECT {close} {from} WHERE symbol = ?1 AND time = hi), volume
             FROM (SELECT time / {every} AS at, min(time) AS lo, max(time) AS hi, max({high}) AS high, min({low}) AS low,
                          sum({volume}) AS volume {from} WHERE symbol = ?1 GROUP BY at) ORDER BY at"
        );
        let names = ["open", "high", "low", "close", "volume"];
        put(
            "resample",
            clock.timed(|| select(connection, &sql, [symbol], &names, every), |frame| vec![frame]),
        );
    };
    match shape.name {
        "bars" => resampled(DAY_NS, ["open", "high", "low", "close", "volume"]),
        "ticks" => resampled(MINUTE_NS, ["price", "price", "price", "price", "size"]),
        _ => books(connection, &from, clock, figures),
    }
}

fn books(connection: &Connection, from: &str, clock: Clock, figures: &mut Figures) {
    let sizes = |side: &str, levels: usize| {
        let all: Vec<String> = (1..=levels).map(|level| format!("{side}_size_{level}")).collect();
        format!("({})", all.join(" + "))
    };
    let mut put = |name: &str, sql: &str, names: &[&str], unit| {
        figures.insert(
            format!("books.{name}"),
            clock.timed(|| select(connection, sql, [], names, unit), |frame| vec![frame]),
        );
    };
    let (bid, ask) = (sizes("bid", 5), sizes("ask", 5));
    let imbalance = format!("({bid} - {ask}) / ({bid} + {ask})");
    let minutes = format!(
        "SELECT at, imbalance, (SELECT (bid_price_1 + ask_price_1) / 2 {from} WHERE symbol = 0 AND time = hi)
         FROM (SELECT time / {MINUTE_NS} AS at, max(time) AS hi, avg({imbalance}) AS imbalance {from} WHERE symbol = 0 GROUP BY at)
         ORDER BY at"
    );
    put("resample", &minutes, &["imbalance_5_mean", "mid_last"], MINUTE_NS);
    let top = format!(
        "SELECT time, bid_price_1, bid_size_1, ask_price_1, ask_size_1, ask_price_1 - bid_price_1, (bid_price_1 + ask_price_1) / 2
         {from} ORDER BY symbol, time"
    );
    let names = ["best_bid", "best_bid_size", "best_ask", "best_ask_size", "spread", "mid"];
    put("top", &top, &names, 1);
    let depth = format!(
        "SELECT time, {}, {}, {imbalance} {from} ORDER BY symbol, time",
        sizes("bid", 10),
        sizes("ask", 10)
    );
    put("depth", &depth, &["bid_depth_10", "ask_depth_10", "imbalance_5"], 1);
}
