//! What is summed up from statistics beside what is summed up from rows.

use super::model::frame;
use super::*;
use crate::series::Value;
use crate::series::pieces::{Piece, Total, Wanted, Within};
use crate::series::query::{self, Query};
use crate::series::rows_only::RowsOnly;
use proptest::prelude::*;
use std::sync::Arc;

const TENTH_NS: i64 = 100_000_000;

#[derive(Debug, Clone)]
enum Step {
    /// Rows of a time in tenths of a second and a number.
    Write(Vec<(i64, i64)>),
    /// Rows in order from a time on, as a feed writes them.
    Feed(i64, i64),
    Delete(i64, i64),
    Seal,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::vec((0_i64..900, 0_i64..1_000), 1..30).prop_map(Step::Write),
        4 => (0_i64..900, 1_i64..60).prop_map(|(from, n)| Step::Feed(from, n)),
        1 => (0_i64..900, 0_i64..80).prop_map(|(from, n)| Step::Delete(from, from + n)),
        5 => Just(Step::Seal),
        1 => Just(Step::Compact),
    ]
}

fn apply(engine: &EmbeddedEngine, step: &Step) {
    let write = |rows: Vec<(i64, i64)>| {
        let mut frame = frame(&rows);
        frame.times.iter_mut().for_each(|t| *t *= TENTH_NS);
        engine.write(WriteBatch { series: vec![(key("m"), frame)] }).unwrap();
    };
    match step {
        Step::Write(rows) => write(rows.clone()),
        Step::Feed(from, n) => write((*from..from + n).map(|t| (t, t * 7919 % 1_000)).collect()),
        Step::Delete(from, to) => {
            let range = TimeRange::new(from * TENTH_NS, to * TENTH_NS).unwrap();
            engine.delete(&all(), range).unwrap();
        }
        Step::Seal => engine.seal().unwrap(),
        Step::Compact => drop(engine.compact().unwrap()),
    }
}

fn ask(every: &str, fill: &str, start: i64, descending: bool) -> Query {
    let mut aggregates = Vec::new();
    for function in ["first", "last", "min", "max", "sum", "mean", "count"] {
        for field in ["price", "size", "side"] {
            if field != "side" || ["first", "last", "count"].contains(&function) {
                aggregates.push(serde_json::json!({ "field": field, "function": function }));
            }
        }
    }
    serde_json::from_value(serde_json::json!({
        "bucket": "market", "measurement": "m", "start": start * TENTH_NS, "end": 950 * TENTH_NS,
        "window": { "every": every, "aggregates": aggregates }, "fill": fill, "descending": descending,
    }))
    .unwrap()
}

/// Equal, but for the last bits of sums of floats.
fn alike(a: &Frame, b: &Frame) -> bool {
    let near = |a: Value, b: Value| match (a, b) {
        (Value::Float(a), Value::Float(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1.0),
        (a, b) => a == b,
    };
    a.times == b.times
        && a.columns.len() == b.columns.len()
        && a.columns.iter().zip(&b.columns).all(|(a, b)| {
            a.name == b.name
                && (0..a.values.len().max(b.values.len())).all(|row| match (a.get(row), b.get(row)) {
                    (Some(x), Some(y)) if a.name.contains("sum") || a.name.contains("mean") => near(x, y),
                    (x, y) => x == y,
                })
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_the_same_with_statistics_and_without(steps in prop::collection::vec(step(), 1..20), start in 0_i64..300) {
        let dir = tempfile::tempdir().unwrap();
        let config = manifest::Embedded { chunk_rows: 16, ..config() };
        let options =
            EngineOptions { synchronous: crate::sqlite::Synchronous::Off, ..EngineOptions::default() };
        let engine = EmbeddedEngine::open(&dir.path().join("s.db"), &config, options).unwrap();
        steps.iter().for_each(|s| apply(&engine, s));
        for every in ["1s", "10s", "1m", "1d"] {
            for (fill, descending) in [("none", false), ("none", true), ("previous", false)] {
                let query = ask(every, fill, start, descending);
                let answer = |engine: &dyn SeriesEngine| {
                    query::execute(engine, &query, &Budget::default(), 10_000).map(|t| t.frame).map_err(|e| e.kind())
                };
                match (answer(&engine), answer(&RowsOnly(&engine))) {
                    (Ok(with), Ok(without)) => prop_assert!(alike(&with, &without), "{every}\n{with:?}\n{without:?}"),
                    (with, without) => prop_assert_eq!(with, without),
                }
            }
        }
    }
}

fn wanted(within: Arc<Within>) -> Wanted {
    Wanted { within, windows: None, fields: Vec::new() }
}

/// Rows that were read, and rows that were known.
fn looked(engine: &EmbeddedEngine, range: TimeRange, fields: Option<&[String]>, span: i64) -> (u64, u64) {
    let wanted = wanted(Arc::new(move |first, last| first / span == last / span));
    let mut found = (0, 0);
    for piece in engine.scan_pieces(&key("m"), range, fields, wanted, &Budget::default()).unwrap() {
        match piece.unwrap() {
            Piece::Rows(frame) => found.0 += frame.len() as u64,
            Piece::Summary(summary) => {
                assert_eq!(summary.fields.len(), 1);
                assert!(summary.first >= range.start && summary.last < range.end);
                found.1 += summary.rows;
            }
        }
    }
    found
}

#[test]
fn chunks_within_a_window_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for i in 0..3 {
        engine.write(ramp(&key("m"), i * 100..i * 100 + 100, 0.0)).unwrap();
        engine.seal().unwrap();
    }
    engine.write(ramp(&key("m"), 300..310, 0.0)).unwrap();
    let range = |from, to| TimeRange::new(from, to).unwrap();
    assert_eq!(looked(&engine, TimeRange::ALL, None, 1_000), (10, 300), "what is in memory is read");
    assert_eq!(looked(&engine, TimeRange::ALL, None, 150), (110, 200), "the second lies in two windows");
    assert_eq!(looked(&engine, range(1, 300), None, 1_000), (99, 200), "the first is cut");
    assert_eq!(looked(&engine, range(0, 299), None, 1_000), (99, 200), "the last is cut");
    assert_eq!(looked(&engine, range(0, 300), Some(&["v".into()]), 1_000), (0, 300));
    assert_eq!(looked(&engine, range(0, 300), Some(&["w".into()]), 1_000), (0, 0));
    let all = || wanted(Arc::new(|_, _| true));
    let mut pieces = engine.scan_pieces(&key("m"), range(100, 200), None, all(), &Budget::default()).unwrap();
    let Piece::Summary(summary) = pieces.next().unwrap().unwrap() else { panic!("rows were read") };
    let field = &summary.fields[0];
    assert_eq!((summary.first, summary.last, summary.rows, field.count), (100, 199, 100, 100));
    assert_eq!((&field.first, &field.last), (&Some(Value::Float(100.0)), &Some(Value::Float(199.0))));
    assert_eq!((&field.least, &field.greatest), (&field.first, &field.last));
    assert_eq!(field.sum, Total::Float((100..200).map(f64::from).sum()));
    assert!(pieces.next().is_none());
    // The second is overlapped by what came late, in memory and then in a chunk.
    engine.write(ramp(&key("m"), 150..151, 0.5)).unwrap();
    assert_eq!(looked(&engine, range(0, 300), None, 1_000), (100, 200));
    engine.seal().unwrap();
    assert_eq!(looked(&engine, range(0, 300), None, 1_000), (100, 200));
    engine.compact().unwrap();
    assert_eq!(looked(&engine, range(0, 310), None, 1_000), (0, 310));
    // Where the statistics are damaged, the rows tell.
    let c = rusqlite::Connection::open(dir.path().join("series.db")).unwrap();
    c.execute("UPDATE chunk SET stats = zeroblob(40)", []).unwrap();
    assert_eq!(looked(&engine, range(0, 310), None, 1_000), (310, 0));
    let few = Budget { rows_max: Some(309), ..Budget::default() };
    let mut pieces = engine.scan_pieces(&key("m"), range(0, 310), None, all(), &few).unwrap();
    assert_eq!(pieces.next().unwrap().unwrap_err().kind(), crate::Kind::Limit);
}
