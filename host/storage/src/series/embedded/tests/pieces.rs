//! What is summed up from statistics beside what is summed up from rows.

use super::model::frame;
use super::*;
use crate::series::Value;
use crate::series::embedded::statistics;
use crate::series::pieces::{Piece, Total, Wanted, Within};
use crate::series::query::{self, Query};
use crate::series::rows_only::RowsOnly;
use proptest::prelude::*;
use std::sync::Arc;

const TENTH_NS: i64 = 100_000_000;
const TEN_MINUTES_NS: i64 = 600_000_000_000;
const DAY_NS: i64 = 144 * TEN_MINUTES_NS;

#[derive(Debug, Clone)]
enum Step {
    /// Rows of a time in units and a number.
    Write(Vec<(i64, i64)>),
    /// Rows in order from a time on, as a feed writes them.
    Feed(i64, i64),
    Delete(i64, i64),
    Seal,
    Compact,
}

/// Times in so many units, and feeds of so many rows at most.
fn step(times: std::ops::Range<i64>, feed: i64) -> impl Strategy<Value = Step> {
    let time = move || times.clone();
    prop_oneof![
        3 => prop::collection::vec((time(), 0_i64..1_000), 1..30).prop_map(Step::Write),
        4 => (time(), 1..feed).prop_map(|(from, n)| Step::Feed(from, n)),
        1 => (time(), 0_i64..80).prop_map(|(from, n)| Step::Delete(from, from + n)),
        5 => Just(Step::Seal),
        1 => Just(Step::Compact),
    ]
}

fn apply(engine: &EmbeddedEngine, step: &Step, unit: i64) {
    let write = |rows: Vec<(i64, i64)>| {
        let mut frame = frame(&rows);
        frame.times.iter_mut().for_each(|t| *t *= unit);
        engine.write(WriteBatch { series: vec![(key("m"), frame)] }).unwrap();
    };
    match step {
        Step::Write(rows) => write(rows.clone()),
        Step::Feed(from, n) => write((*from..from + n).map(|t| (t, t * 7919 % 1_000)).collect()),
        Step::Delete(from, to) => {
            let range = TimeRange::new(from * unit, to * unit).unwrap();
            engine.delete(&all(), range).unwrap();
        }
        Step::Seal => engine.seal().unwrap(),
        Step::Compact => drop(engine.compact().unwrap()),
    }
}

/// `texts`: of the strings too, of which days are not summed up.
fn ask(every: &str, fill: &str, range: TimeRange, descending: bool, zone: &str, texts: bool) -> Query {
    let mut aggregates = Vec::new();
    for function in ["first", "last", "min", "max", "sum", "mean", "count"] {
        for field in ["price", "size", "side"] {
            if field != "side" || texts && ["first", "last", "count"].contains(&function) {
                aggregates.push(serde_json::json!({ "field": field, "function": function }));
            }
        }
    }
    serde_json::from_value(serde_json::json!({
        "bucket": "market", "measurement": "m", "start": range.start, "end": range.end, "timezone": zone,
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

/// An engine without syncs, for many cases.
fn quick(dir: &Path, chunk_rows: u32) -> EmbeddedEngine {
    let config = manifest::Embedded { chunk_rows, ..config() };
    let options = EngineOptions { synchronous: crate::sqlite::Synchronous::Off, ..EngineOptions::default() };
    EmbeddedEngine::open(&dir.join("s.db"), &config, options).unwrap()
}

fn answers_are_the_same(engine: &EmbeddedEngine, query: &Query) -> Result<(), TestCaseError> {
    let answer = |engine: &dyn SeriesEngine| {
        query::execute(engine, query, &Budget::default(), 10_000).map(|t| t.frame).map_err(|e| e.kind())
    };
    match (answer(engine), answer(&RowsOnly(engine))) {
        (Ok(with), Ok(without)) => prop_assert!(alike(&with, &without), "{query:?}\n{with:?}\n{without:?}"),
        (with, without) => prop_assert_eq!(with, without),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_the_same_with_statistics_and_without(steps in prop::collection::vec(step(0..900, 60), 1..20), start in 0_i64..300) {
        let dir = tempfile::tempdir().unwrap();
        let engine = quick(dir.path(), 16);
        steps.iter().for_each(|s| apply(&engine, s, TENTH_NS));
        let range = TimeRange::new(start * TENTH_NS, 950 * TENTH_NS).unwrap();
        for every in ["1s", "10s", "1m", "1d"] {
            for (fill, descending) in [("none", false), ("none", true), ("previous", false)] {
                answers_are_the_same(&engine, &ask(every, fill, range, descending, "UTC", true))?;
            }
        }
    }

    /// Chunks of several days: whole ones, cut ones, days of which some rows came late.
    #[test]
    fn the_answer_is_the_same_with_days_and_without(
        steps in prop::collection::vec(step(-600..1_200, 900), 1..12),
        from in -700_i64..1_000,
        len in 1_i64..1_500,
        whole in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let engine = quick(dir.path(), 1_024);
        steps.iter().for_each(|s| apply(&engine, s, TEN_MINUTES_NS));
        let unit = if whole { 144 } else { 1 };
        let (start, end) = (from / unit * unit, (from + len) / unit * unit);
        let range = TimeRange::new(start * TEN_MINUTES_NS, end.max(start + 1) * TEN_MINUTES_NS).unwrap();
        for every in ["1h", "1d", "3d", "1w", "1mo"] {
            for zone in ["UTC", "America/New_York"] {
                for range in [range, TimeRange { start: -700 * TEN_MINUTES_NS, end: 2_200 * TEN_MINUTES_NS }] {
                    answers_are_the_same(&engine, &ask(every, "none", range, false, zone, false))?;
                }
            }
        }
        answers_are_the_same(&engine, &ask("1d", "none", range, true, "UTC", true))?;
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

/// A row each ten minutes, counted from 1970-01-01.
fn every_ten_minutes(rows: std::ops::Range<i64>) -> WriteBatch {
    let values = rows.clone().map(|n| n as f64).collect();
    let times = rows.map(|n| n * TEN_MINUTES_NS).collect();
    batch(&key("m"), times, vec![Column::float("v", values)])
}

#[test]
fn days_within_a_window_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    // Half a day, six whole ones, and ten hours and forty minutes.
    engine.write(every_ten_minutes(72..1_072)).unwrap();
    engine.seal().unwrap();
    assert_eq!(engine.stats().unwrap().chunks, 1);
    let hours = |from: i64, to: i64| TimeRange::new(from * DAY_NS / 24, to * DAY_NS / 24).unwrap();
    let days = |range| looked(&engine, range, None, DAY_NS);
    assert_eq!(days(TimeRange::ALL), (0, 1_000), "also those that the chunk has a part of");
    assert_eq!(looked(&engine, TimeRange::ALL, None, 7 * DAY_NS), (0, 1_000));
    assert_eq!(looked(&engine, TimeRange::ALL, None, DAY_NS / 24), (1_000, 0));
    assert_eq!(days(hours(24, 1_000)), (0, 928));
    assert_eq!(days(hours(18, 1_000)), (36, 928), "the first is cut");
    assert_eq!(days(hours(12, 168)), (0, 936));
    assert_eq!(days(hours(12, 156)), (864, 0), "the last is cut: all before it is decoded for it");
    assert_eq!(days(hours(48, 72)), (0, 144));
    assert_eq!(days(hours(60, 96)), (72, 144));
    assert_eq!(days(hours(60, 72)), (72, 0));
    assert_eq!(looked(&engine, hours(24, 1_000), Some(&["v".into()]), DAY_NS), (0, 928));
    assert_eq!(looked(&engine, hours(24, 1_000), Some(&["w".into()]), DAY_NS), (0, 0));
    // One is worth as many rows as it has, and says what they come to.
    let within = wanted(Arc::new(|first, last| first / DAY_NS == last / DAY_NS));
    let few = Budget { rows_max: Some(72 + 144), ..Budget::default() };
    let mut pieces = engine.scan_pieces(&key("m"), TimeRange::ALL, None, within, &few).unwrap();
    let mut next = || match pieces.next().unwrap() {
        Ok(Piece::Summary(summary)) => Ok(summary),
        Ok(Piece::Rows(_)) => panic!("rows were read"),
        Err(e) => Err(e.kind()),
    };
    let first = next().unwrap();
    assert_eq!((first.first, first.last, first.rows), (DAY_NS / 2, DAY_NS - 1, 72));
    let second = next().unwrap();
    let v = &second.fields[0];
    assert_eq!((second.first, second.last, second.rows, v.count), (DAY_NS, 2 * DAY_NS - 1, 144, 144));
    assert_eq!((&v.first, &v.last), (&Some(Value::Float(144.0)), &Some(Value::Float(287.0))));
    assert_eq!((&v.least, &v.greatest), (&v.first, &v.last));
    assert_eq!(v.sum, Total::Float((144..288).map(f64::from).sum()));
    assert_eq!(next().unwrap_err(), crate::Kind::Limit);
    // What comes after the chunk is in its last day too; what came late is in one before.
    engine.write(every_ten_minutes(1_080..1_081)).unwrap();
    assert_eq!(days(TimeRange::ALL), (1, 1_000));
    engine.write(every_ten_minutes(500..501)).unwrap();
    assert_eq!(days(TimeRange::ALL), (1_001, 0));
    assert_eq!(days(hours(4 * 24, 1_000)), (1, 496), "behind it");
    engine.seal().unwrap();
    engine.compact().unwrap();
    assert_eq!((days(TimeRange::ALL), engine.stats().unwrap().chunks), ((0, 1_001), 1));
    // Of what is deleted no day knows.
    engine.delete(&all(), hours(30, 40)).unwrap();
    assert_eq!(days(TimeRange::ALL), (0, 941));
    assert_eq!(engine.verify(&Budget::default()).unwrap(), []);
    // Statistics of the first version have none, and are sound; in damaged ones nothing is believed.
    let c = rusqlite::Connection::open(dir.path().join("series.db")).unwrap();
    let stored: Vec<u8> = c.query_row("SELECT stats FROM chunk", [], |r| r.get(0)).unwrap();
    let older = statistics::encode_as(1, &statistics::decode(&stored, None).unwrap()).unwrap();
    let mut damaged = stored.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!((older[1], damaged[1], stored[1]), (1, 2, 2));
    for (stats, known, faults) in [(older, (941, 0), 0), (damaged, (941, 0), 1), (stored, (0, 941), 0)] {
        c.execute("UPDATE chunk SET stats = ?1", [&stats]).unwrap();
        assert_eq!(days(TimeRange::ALL), known);
        assert_eq!(engine.verify(&Budget::default()).unwrap().len(), faults);
    }
}

/// What is looked for and not there costs no chunk that is read ahead; what is there is not decoded.
/// What is known of the days of a chunk counts until all of it was given, and where there is no room for it the rows tell.
#[test]
fn days_that_wait_to_be_given_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = quick(dir.path(), 1_024);
    engine.write(every_ten_minutes(0..144 * 5)).unwrap();
    engine.seal().unwrap();
    let counted = || engine.stats().unwrap().decoded_bytes;
    assert_eq!(counted(), 0);
    // The first day is not whole.
    let range = TimeRange::new(TEN_MINUTES_NS, 5 * DAY_NS).unwrap();
    let day = |first: i64, last: i64| first.div_euclid(DAY_NS) == last.div_euclid(DAY_NS);
    let asked = || engine.scan_pieces(&key("m"), range, None, wanted(Arc::new(day)), &Budget::default());
    let mut pieces = asked().unwrap();
    let mut summed = 0;
    for piece in &mut pieces {
        if matches!(piece.unwrap(), Piece::Summary(_)) {
            summed += 1;
            assert_eq!(counted() > 0, summed < 4, "{summed} of 4 days were given");
        }
    }
    assert_eq!(summed, 4);
    let mut pieces = asked().unwrap();
    assert!(pieces.next().is_some() && pieces.next().is_some());
    drop(pieces);
    assert_eq!(counted(), 0, "and no longer than somebody wants it");
    // Others keep all that may be kept.
    let quarter = engine.stats().unwrap().memory_max / 8;
    let held = engine.core.memory.try_keep(quarter).unwrap();
    let given = asked().unwrap().map(|p| matches!(p.unwrap(), Piece::Summary(_))).filter(|s| *s).count();
    assert_eq!(given, 0);
    drop(held);
}

#[test]
fn days_of_many_chunks_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for chunk in 0..5 {
        engine.write(every_ten_minutes(chunk * 1_000..chunk * 1_000 + 1_000)).unwrap();
        engine.seal().unwrap();
    }
    let from = TimeRange::new(DAY_NS / 2, i64::MAX).unwrap();
    let count = |every: &str| {
        let query = ask(every, "none", from, false, "UTC", false);
        let query = Query { window: query.window.map(only_v), ..query };
        query::explain(&engine, &query, &Budget::default(), 10_000).unwrap()
    };
    let days = count("1d");
    assert_eq!((days.chunks_read, days.chunks_skipped, days.rows_read), (1, 4, 4_928));
    let hours = count("1h");
    assert_eq!((hours.chunks_read, hours.summed_up, hours.rows_read), (5, 0, 4_928));
    // As a version before stored them.
    let c = rusqlite::Connection::open(dir.path().join("series.db")).unwrap();
    let stored: Vec<u8> =
        c.query_row("SELECT stats FROM chunk ORDER BY min_time LIMIT 1", [], |r| r.get(0)).unwrap();
    let older = statistics::encode_as(1, &statistics::decode(&stored, None).unwrap()).unwrap();
    for known in 1..=5 {
        c.execute("UPDATE chunk SET stats = ?1 WHERE id = (SELECT id FROM chunk WHERE substr(stats, 2, 1) = x'02' ORDER BY min_time LIMIT 1)", [&older])
            .unwrap();
        let some = count("1d");
        assert_eq!((some.chunks_read, some.chunks_skipped, some.rows_read), (known, 5 - known, 4_928));
    }
}

fn only_v(window: query::Window) -> query::Window {
    let functions =
        ["sum", "max", "last"].map(|function| serde_json::json!({ "field": "v", "function": function }));
    query::Window { aggregates: serde_json::from_value(functions.to_vec().into()).unwrap(), ..window }
}
