//! What the embedded engine does with the rows that all stores are given.

use crate::answer::{Clock, Figures, plain};
use crate::engine::config;
use crate::machine::folder_bytes;
use crate::shapes::{Join, Shape};
use serde_json::{Value, json};
use shiphold_storage::series::embedded::{EmbeddedEngine, EngineOptions};
use shiphold_storage::series::query::{self, Query};
use shiphold_storage::series::{
    Budget, Column, Frame, Latest, Selector, SeriesEngine as _, SeriesKey, TimeRange, WriteBatch,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// No query is to end at it.
const ROWS_MAX: u64 = 100_000_000;

pub fn measure(clock: Clock, shapes: &[Shape], joins: &[Join], dir: &Path) -> Figures {
    let mut figures = Figures::new();
    // A store of its own for each kind, so that its bytes are known; then one with all, to ask.
    for shape in shapes {
        let folder = dir.join(format!("engine-{}", shape.name));
        let engine = open(&folder);
        let taken = feed(&engine, shape);
        let mut put = |name: &str, value| figures.insert(format!("{}.{name}", shape.name), plain(value));
        put("ingest", shape.rows() as f64 / taken.as_secs_f64());
        put("bytes", folder_bytes(&folder) as f64 / shape.rows() as f64);
        drop(engine);
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let engine = open(&dir.join("engine"));
    for shape in shapes {
        feed(&engine, shape);
    }
    for shape in shapes {
        ask(&engine, shape, clock, &mut figures);
    }
    for join in joins {
        let query = json!({
            "bucket": "market", "measurement": "tick.SYM00", "fields": ["price"], "start": join.range.start, "end": join.range.end,
            "asof": { "measurement": join.measurement, "fields": join.fields, "prefix": join.prefix },
        });
        figures.insert(
            format!("ticks.{}", join.name),
            clock.timed(|| execute(&engine, query.clone()), |frame| vec![frame]),
        );
    }
    figures
}

fn open(folder: &Path) -> EmbeddedEngine {
    std::fs::create_dir(folder).unwrap();
    EmbeddedEngine::open(&folder.join("series.db"), &config(), EngineOptions::default()).unwrap()
}

/// Writes all batches, then seals and compacts; how long the writes took.
fn feed(engine: &EmbeddedEngine, shape: &Shape) -> Duration {
    let write = |batch: WriteBatch| {
        let begin = Instant::now();
        engine.write(batch).unwrap();
        begin.elapsed()
    };
    let taken = shape.batches().map(write).sum();
    engine.seal().unwrap();
    engine.compact().unwrap();
    taken
}

fn execute(engine: &EmbeddedEngine, query: Value) -> Frame {
    let query: Query = serde_json::from_value(query).unwrap();
    query::execute(engine, &query, &Budget::default(), ROWS_MAX).unwrap().frame
}

fn ask(engine: &EmbeddedEngine, shape: &Shape, clock: Clock, figures: &mut Figures) {
    let budget = Budget::default();
    let scan = |key: &SeriesKey, range| -> Vec<Frame> {
        engine.scan(key, range, None, &budget).unwrap().map(|f| f.unwrap()).collect()
    };
    let asked = &shape.series[shape.asked].0;
    let mut put = |name: &str, figure| figures.insert(format!("{}.{name}", shape.name), figure);
    put("range", clock.timed(|| scan(asked, shape.range), |frames| frames));
    let all =
        || -> Vec<Frame> { shape.series.iter().flat_map(|(key, _)| scan(key, TimeRange::ALL)).collect() };
    put("scan", clock.timed(all, |frames| frames));
    let (kind, _) = asked.measurement.rsplit_once('.').unwrap();
    let selector = Selector {
        bucket: Some(asked.bucket.clone()),
        measurement: Some(format!("{kind}.*")),
        tags: Vec::new(),
    };
    let latest = clock.timed(
        || engine.latest(&selector).unwrap(),
        |found| {
            assert_eq!(found.len(), shape.series.len());
            found.into_iter().map(row).collect()
        },
    );
    put("latest", latest);
    let mut query = |name: &str, rest: Value| {
        let mut query = json!({ "bucket": asked.bucket, "measurement": asked.measurement });
        query.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        put(name, clock.timed(|| execute(engine, query.clone()), |frame| vec![frame]));
    };
    match shape.name {
        "bars" => query("resample", json!({ "resample": "1d" })),
        "ticks" => query("resample", json!({ "resample": "1m" })),
        _ => {
            let aggregates = json!([{ "field": "imbalance_5", "function": "mean" }, { "field": "mid", "function": "last" }]);
            query(
                "resample",
                json!({ "book": { "top": true, "imbalance": [5] }, "window": { "every": "1m", "aggregates": aggregates } }),
            );
            query("top", json!({ "book": { "top": true } }));
            query("depth", json!({ "book": { "depth": [10], "imbalance": [5] } }));
        }
    }
}

/// The newest values of a series, which all came in its last row.
fn row(latest: Latest) -> Frame {
    let times = vec![latest.fields[0].time];
    assert!(latest.fields.iter().all(|f| f.time == times[0]), "{latest:?}");
    let columns =
        latest.fields.iter().map(|f| Column::float(f.name.clone(), vec![f.value.as_f64().unwrap()]));
    Frame { columns: columns.collect(), times }
}
