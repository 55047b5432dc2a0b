//! The engine under a load that is large in one way: many ticks, many series, readers beside a writer.

use crate::data::{self, BEGIN_NS};
use crate::engine::config;
use crate::machine;
use crate::{Run, Table};
use shiphold_storage::series::embedded::{EmbeddedEngine, EngineOptions};
use shiphold_storage::series::query::{self, Query};
use shiphold_storage::series::{Budget, Column, Frame, SeriesEngine, SeriesKey, TimeRange, WriteBatch};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rounds of a query; the fastest counts, for whatever else the machine does only adds.
const ROUNDS: usize = 9;

fn open(dir: &Path, name: &str) -> EmbeddedEngine {
    let folder = dir.join(name);
    std::fs::create_dir(&folder).unwrap();
    EmbeddedEngine::open(&folder.join("series.db"), &config(), EngineOptions::default()).unwrap()
}

fn least_ms(rounds: usize, mut f: impl FnMut()) -> f64 {
    let once = |f: &mut dyn FnMut()| {
        let begin = Instant::now();
        f();
        begin.elapsed().as_secs_f64() * 1e3
    };
    (0..rounds).map(|_| once(&mut f)).fold(f64::INFINITY, f64::min)
}

pub fn run(run: &Run, table: &mut Table) {
    let dir = tempfile::tempdir().unwrap();
    ticks(run, table, &open(dir.path(), "ticks"));
    beside(run, table, &open(dir.path(), "beside"));
    many(run, table, dir.path());
}

/// Ticks of one symbol at irregular times, on average one in 100 ms, to bars of a minute.
fn ticks(run: &Run, table: &mut Table, engine: &EmbeddedEngine) {
    let rows = run.size(10_000_000, 500_000);
    let key = SeriesKey::new("market", "tick.SYM", Vec::new()).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let (mut time, mut price) = (BEGIN_NS, 100_000_i64);
    let mut busy = Duration::ZERO;
    for _ in 0..rows / 10_000 {
        let mut times = Vec::with_capacity(10_000);
        let mut columns = [Vec::with_capacity(10_000), Vec::with_capacity(10_000)];
        for _ in 0..10_000 {
            time += 1_000 * (1 + dice(200_000) as i64);
            price = (price + dice(5) as i64 - 2).max(100);
            times.push(time);
            columns[0].push(price as f64 / 100.0);
            columns[1].push((1 + dice(500)) as f64);
        }
        let [price, size] = columns;
        let columns = vec![Column::float("price", price), Column::float("size", size)];
        let write = Instant::now();
        engine.write(WriteBatch { series: vec![(key.clone(), Frame { times, columns })] }).unwrap();
        busy += write.elapsed();
    }
    table.rate("ingest of ticks", "rows/s", rows as f64 / busy.as_secs_f64(), None, "");
    engine.seal().unwrap();
    engine.compact().unwrap();
    let ask = |what: &str| -> Query {
        serde_json::from_value(
            serde_json::json!({ "bucket": "market", "measurement": "tick.SYM", "resample": what }),
        )
        .unwrap()
    };
    for (what, target) in [("1m", "150"), ("1d", "")] {
        let query = ask(what);
        let ms = least_ms(ROUNDS, || {
            assert!(query::execute(engine, &query, &Budget::default(), 1_000_000).unwrap().rows() > 0);
        });
        table.cost(&format!("{rows} irregular ticks to {what}"), "ms", ms, None, target);
    }
    let ms = least_ms(ROUNDS, || {
        let stream = engine.scan(&key, TimeRange::ALL, None, &Budget::default()).unwrap();
        assert_eq!(stream.map(|f| f.unwrap().len()).sum::<usize>(), rows);
    });
    table.rate("full scan of ticks, 3 columns", "rows/s", rows as f64 / ms * 1e3, None, "");
}

/// A range of a symbol, alone and while another thread writes as fast as it can.
fn beside(run: &Run, table: &mut Table, engine: &EmbeddedEngine) {
    let per_symbol = run.size(50_000, 5_000);
    let bars = data::bars(per_symbol);
    for batch in data::batches(&bars, 10_000) {
        engine.write(batch).unwrap();
    }
    engine.seal().unwrap();
    let range = TimeRange { start: BEGIN_NS, end: BEGIN_NS + per_symbol as i64 * data::MINUTE_NS };
    let read = || {
        let stream = engine.scan(&data::key(3), range, None, &Budget::default()).unwrap();
        assert_eq!(stream.map(|f| f.unwrap().len()).sum::<usize>(), per_symbol);
    };
    let rounds = run.size(300, 100);
    let alone = machine::median_ms(rounds, read);
    let done = AtomicBool::new(false);
    let (during, rows) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut round, mut rows) = (1, 0);
            let begin = Instant::now();
            while !done.load(Ordering::Relaxed) {
                for mut batch in data::batches(&bars, 10_000) {
                    for (_, frame) in &mut batch.series {
                        frame
                            .times
                            .iter_mut()
                            .for_each(|t| *t += round * per_symbol as i64 * data::MINUTE_NS);
                    }
                    rows += batch.rows();
                    engine.write(batch).unwrap();
                }
                round += 1;
            }
            rows as f64 / begin.elapsed().as_secs_f64()
        });
        let during = machine::median_ms(rounds, read);
        done.store(true, Ordering::Relaxed);
        (during, writer.join().unwrap())
    });
    table.cost(&format!("range of {per_symbol} rows, alone"), "ms", alone, None, "");
    table.cost_beside_itself(
        "the same beside a writer at full speed",
        "ms",
        during,
        ("alone", alone),
        "0.5×",
    );
    table.rate("that writer meanwhile", "rows/s", rows, None, "");
}

/// 100,000 series, one point each a second, in batches of one second.
fn many(run: &Run, table: &mut Table, dir: &Path) {
    let series = run.size(100_000, 10_000);
    let seconds = run.size(60, 10) as i64;
    let engine = open(dir, "many");
    let keys: Vec<SeriesKey> = (0..series)
        .map(|i| {
            let tags =
                vec![("host".into(), format!("h{:04}", i / 100)), ("n".into(), format!("{}", i % 100))];
            SeriesKey::new("market", "system.load", tags).unwrap()
        })
        .collect();
    let (before, _) = machine::memory_mib(std::process::id());
    let mut slowest = Duration::ZERO;
    let mut busy = Duration::ZERO;
    for second in 0..seconds {
        let time = BEGIN_NS + second * 1_000_000_000;
        let point = |(i, key): (usize, &SeriesKey)| {
            let columns = vec![Column::float("value", vec![(i as i64 + second) as f64 / 100.0])];
            (key.clone(), Frame { times: vec![time], columns })
        };
        let batch = WriteBatch { series: keys.iter().enumerate().map(point).collect() };
        let write = Instant::now();
        engine.write(batch).unwrap();
        if second > 0 {
            slowest = slowest.max(write.elapsed());
            busy += write.elapsed();
        }
    }
    let points = (series as i64 * (seconds - 1)) as f64;
    table.rate(
        &format!("{series} series, a point each a batch"),
        "points/s",
        points / busy.as_secs_f64(),
        None,
        "100 k",
    );
    table.cost("the slowest such batch", "ms", slowest.as_secs_f64() * 1e3, None, "1000");
    let (now, _) = machine::memory_mib(std::process::id());
    table.cost("memory that came with them", "MiB", now - before, None, "1024");
    let seal = Instant::now();
    engine.seal().unwrap();
    table.cost("sealing them", "s", seal.elapsed().as_secs_f64(), None, "");
    let chunks = engine.stats().unwrap().chunks;
    let compact = Instant::now();
    engine.compact().unwrap();
    let each = compact.elapsed().as_secs_f64() * 1e6 / chunks.max(1) as f64;
    table.cost("compacting them, of each chunk", "µs", each, None, "");
    drop(engine);
    let again = Instant::now();
    let path = dir.join("many").join("series.db");
    let engine = EmbeddedEngine::open(&path, &config(), EngineOptions::default()).unwrap();
    table.cost("opening the store with them", "ms", again.elapsed().as_secs_f64() * 1e3, None, "");
    assert_eq!(engine.stats().unwrap().series, series as u64);
}
