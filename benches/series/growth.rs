//! One store that grows: how fast rows come in for long, and that a query does not take longer for rows outside of its range.

use crate::data::{self, BEGIN_NS, MINUTE_NS, SYMBOLS};
use crate::engine::config;
use crate::machine::{self, folder_bytes, median_ms};
use crate::{Run, Table};
use serde_json::json;
use shiphold_storage::series::embedded::{EmbeddedEngine, EngineOptions};
use shiphold_storage::series::query::{self, Query};
use shiphold_storage::series::{Budget, Selector, SeriesEngine as _, TimeRange};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BATCH_ROWS: usize = 10_000;
/// Rows of one symbol that each query reads or resamples at most: thirty days of minutes.
const MONTH_ROWS: usize = 43_200;
const DAY_ROWS: usize = 1_440;
/// A query is as fast as with the fewest rows, but for what chance does to a time.
const NOT_SLOWER: &str = "0.7×";

pub fn run(run: &Run, table: &mut Table) {
    let per_symbol = run.size(50_000, 5_000);
    let round_rows = per_symbol * SYMBOLS;
    // Of rounds of the same prices at later and later times.
    let stores: &[usize] = if run.quick { &[1, 3] } else { &[1, 10, 100] };
    let dir = tempfile::tempdir().unwrap();
    let raw = machine::synced_writes_per_s(dir.path(), BATCH_ROWS * 48);
    table.note(format!(
        "One store of {SYMBOLS} symbols with {round_rows} rows, then more of them; one writer, batches of {BATCH_ROWS}, each durable \
         when acknowledged, sealing and compaction going on beside it. Queries after a compaction, of the first month. The disk does \
         {raw:.0} writes with fdatasync of {} KB a second.",
        BATCH_ROWS * 48 / 1000
    ));
    let engine =
        EmbeddedEngine::open(&dir.path().join("series.db"), &config(), EngineOptions::default()).unwrap();
    let bars = data::bars(per_symbol);
    let (mut round, mut taken, mut first) = (0, Duration::ZERO, None);
    for until in stores {
        taken += fill(&engine, &bars, round..*until);
        round = *until;
        let rows = round * round_rows;
        if until == stores.last().unwrap_or(until) {
            let rate = rows as f64 / taken.as_secs_f64();
            table.rate(&format!("ingest, sustained over {rows} rows"), "rows/s", rate, None, "2 M");
            let (_, peak) = machine::memory_mib(std::process::id());
            table.cost("peak memory of the process by then", "MiB", peak, None, "");
            let begin = Instant::now();
            engine.seal().unwrap();
            engine.compact().unwrap();
            let left = begin.elapsed().as_secs_f64();
            table.cost_beside_itself(
                "what compaction had left to do",
                "s",
                left,
                ("ingest", taken.as_secs_f64()),
                "",
            );
            let bytes = folder_bytes(dir.path()) as f64 / rows as f64;
            table.cost("on disk, compacted", "bytes/row", bytes, None, "4.5");
        } else {
            engine.seal().unwrap();
            engine.compact().unwrap();
        }
        let here = queries(&engine, per_symbol);
        let before = *first.get_or_insert(here);
        let smallest = format!("{round_rows} rows");
        for (i, what) in
            ["a day of one symbol", "a month to daily OHLCV", "last bar of 20 symbols"].iter().enumerate()
        {
            let what = format!("{what}, {rows} rows stored");
            if until == &stores[0] {
                table.cost(&what, "ms", here[i], None, "");
            } else {
                table.cost_beside_itself(&what, "ms", here[i], (&smallest, before[i]), NOT_SLOWER);
            }
        }
    }
}

/// Writes rounds of rows while the engine does its work beside it, as the host lets it once a second; how long it took.
fn fill(engine: &EmbeddedEngine, bars: &[data::Bars], rounds: std::ops::Range<usize>) -> Duration {
    let span_ns = bars[0].times.len() as i64 * MINUTE_NS;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.maintain().unwrap();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let begin = Instant::now();
        for round in rounds {
            for mut batch in data::batches(bars, BATCH_ROWS) {
                for (_, frame) in &mut batch.series {
                    frame.times.iter_mut().for_each(|t| *t += round as i64 * span_ns);
                }
                engine.write(batch).unwrap();
            }
        }
        let taken = begin.elapsed();
        done.store(true, Ordering::Relaxed);
        taken
    })
}

/// Milliseconds of a day, of a month to daily bars, and of the last bars.
fn queries(engine: &EmbeddedEngine, per_symbol: usize) -> [f64; 3] {
    let budget = Budget::default();
    let key = data::key(3);
    let range = |rows: usize| TimeRange { start: BEGIN_NS, end: BEGIN_NS + rows as i64 * MINUTE_NS };
    let day = median_ms(51, || {
        let stream = engine.scan(&key, range(DAY_ROWS), None, &budget).unwrap();
        assert_eq!(stream.map(|f| f.unwrap().len()).sum::<usize>(), DAY_ROWS);
    });
    let month = MONTH_ROWS.min(per_symbol);
    let TimeRange { start, end } = range(month);
    let daily: Query = serde_json::from_value(json!({
        "bucket": "market", "measurement": key.measurement, "resample": "1d", "start": start, "end": end
    }))
    .unwrap();
    let daily = median_ms(51, || {
        let days = query::execute(engine, &daily, &budget, 1_000_000).unwrap().rows();
        assert_eq!(days, month.div_ceil(DAY_ROWS));
    });
    let all =
        Selector { bucket: Some("market".into()), measurement: Some("bar.1m.*".into()), tags: Vec::new() };
    let latest = median_ms(101, || assert_eq!(engine.latest(&all).unwrap().len(), SYMBOLS));
    [day, daily, latest]
}
