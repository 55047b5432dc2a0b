//! What a real server sums up is, to the bit, what its rows come to.

use super::{key, open};
use crate::series::model_engine::{Row, frame_of};
use crate::series::query::{self, Explanation, Query};
use crate::series::rows_only::RowsOnly;
use crate::series::{Budget, Column, Frame, SeriesEngine, SeriesKey, TimeRange, Value, Values, WriteBatch};
use crate::testing::influxd::Influxd;
use crate::testing::random::Random;
use serde_json::json;

const MINUTE: i64 = 60_000_000_000;
/// 2024-01-02T00:00Z, a Tuesday: a week of the server's shards ends with Sunday.
const BEGIN: i64 = 1_704_153_600_000_000_000;

fn execute(engine: &dyn SeriesEngine, query: &Query) -> Result<Frame, (crate::Kind, String)> {
    let said = query::execute(engine, query, &Budget::default(), 1_000_000);
    said.map(|t| t.frame).map_err(|e| (e.kind(), e.message().to_string()))
}

fn explain(engine: &dyn SeriesEngine, query: &Query) -> Explanation {
    query::explain(engine, query, &Budget::default(), 1_000_000).unwrap()
}

/// Every value as its bits.
fn bits(frame: &Frame) -> Vec<String> {
    let cell = |c: &Column, row| match c.get(row) {
        Some(Value::Float(x)) => format!("{} {:x}", c.name, x.to_bits()),
        other => format!("{} {other:?}", c.name),
    };
    (0..frame.len())
        .map(|row| {
            let cells: Vec<String> = frame.columns.iter().map(|c| cell(c, row)).collect();
            format!("{} {}", frame.times[row], cells.join(" "))
        })
        .collect()
}

fn query(of: &SeriesKey, more: serde_json::Value) -> Query {
    let mut query = json!({ "bucket": of.bucket, "measurement": of.measurement });
    query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(query).unwrap()
}

fn window(every: &str, fields: &[(&str, &[&str])]) -> serde_json::Value {
    let aggregates: Vec<_> = fields
        .iter()
        .flat_map(|(field, functions)| {
            functions.iter().map(move |f| json!({ "field": field, "function": f }))
        })
        .collect();
    json!({ "window": { "every": every, "aggregates": aggregates } })
}

const ALL: &[&str] = &["first", "last", "min", "max", "sum", "mean", "count"];

#[test]
fn sums_of_floats_are_added_in_the_same_order() {
    let server = Influxd::start();
    let engine = open(&server);
    let key = key("market", "f");
    let mut random = Random::new(7);
    // Numbers whose sum depends on its order, over several shards; late and repeated ones lie in blocks of their own.
    let sizes = [1e16, 1.0, -1e16, 1e-9, 3.3, -7e8, 5e-324, 1e300, -1e300];
    let value =
        |random: &mut Random| sizes[random.below(sizes.len())] * (1.0 + random.below(1_000) as f64 / 7.0);
    for part in 0..6 {
        let times: Vec<i64> = (0..4_000)
            .map(|i| match part {
                0 => BEGIN + i * 7 * MINUTE,
                _ => BEGIN + random.between(0, 28_000 * MINUTE),
            })
            .collect();
        let columns = vec![
            Column::float("x", times.iter().map(|_| value(&mut random)).collect()),
            Column::new(
                "n",
                Values::Integer(times.iter().map(|_| random.between(-1_000_000, 1_000_000)).collect()),
            ),
            Column::new("u", Values::Unsigned(times.iter().map(|_| random.next() >> 20).collect())),
            Column::new("b", Values::Boolean(times.iter().map(|_| random.coin()).collect())),
            Column::new(
                "t",
                Values::String(times.iter().map(|_| if random.coin() { "" } else { "x" }.into()).collect()),
            ),
        ];
        engine.write(WriteBatch { series: vec![(key.clone(), Frame { times, columns })] }).unwrap();
    }
    let fields =
        [("x", ALL), ("n", ALL), ("u", ALL), ("b", &["first", "last", "count"][..]), ("t", &["count"][..])];
    let mut sums = std::collections::BTreeSet::new();
    for every in ["1m", "1h", "4h", "1d", "3d", "1w", "2w"] {
        let query = query(&key, window(every, &fields));
        let (summed, rows) =
            (execute(&engine, &query).unwrap(), execute(&RowsOnly(&engine), &query).unwrap());
        assert_eq!(bits(&summed), bits(&rows), "{every}");
        let told = explain(&engine, &query);
        assert_eq!(told.summed_up, summed.len() as u64, "{every}: every window is the server's");
        assert_eq!(told.rows_read, summed.len() as u64);
        sums.extend(bits(&summed));
    }
    assert!(sums.len() > 10_000, "{}", sums.len());
}

#[test]
fn what_is_moved_is_less_by_far() {
    let server = Influxd::start();
    let engine = open(&server);
    let key = key("market", "bar.1m.AAPL");
    const ROWS: i64 = 30_000;
    let times: Vec<i64> = (0..ROWS).map(|i| BEGIN + i * MINUTE).collect();
    let column = |name: &str, by: f64| {
        Column::float(name, (0..ROWS).map(|i| 190.0 + (i % 700) as f64 / 100.0 + by).collect())
    };
    let columns = [("open", 0.0), ("high", 0.3), ("low", -0.3), ("close", 0.1), ("volume", 900.7)];
    let columns = columns.map(|(name, by)| column(name, by)).to_vec();
    engine.write(WriteBatch { series: vec![(key.clone(), Frame { times, columns })] }).unwrap();
    for (what, query, summed) in [
        ("resample 1h", query(&key, json!({ "resample": "1h" })), true),
        ("resample 1d", query(&key, json!({ "resample": "1d" })), true),
        ("mean of 1h", query(&key, window("1h", &[("close", &["mean"])])), true),
        ("resample 5m", query(&key, json!({ "resample": "5m" })), true),
        // Of one bar a window has no less to send.
        ("resample 1m", query(&key, json!({ "resample": "1m" })), false),
        ("mean of 1s", query(&key, window("1s", &[("close", &["mean"])])), false),
    ] {
        let (with, without) = (explain(&engine, &query), explain(&RowsOnly(&engine), &query));
        assert_eq!(
            bits(&execute(&engine, &query).unwrap()),
            bits(&execute(&RowsOnly(&engine), &query).unwrap())
        );
        eprintln!(
            "{what}: {} rows, {} requests, {} bytes, {} µs; of rows: {}, {}, {}, {}; {:.1} times the bytes, {:.1} times the time",
            with.rows_read,
            with.requests,
            with.reply_bytes,
            with.total_us,
            without.rows_read,
            without.requests,
            without.reply_bytes,
            without.total_us,
            without.reply_bytes as f64 / with.reply_bytes as f64,
            without.total_us as f64 / with.total_us as f64,
        );
        assert_eq!(with.rows_read, with.rows, "{what}: a window is a row");
        assert_eq!(with.summed_up, if summed { with.rows } else { 0 }, "{what}");
        assert_eq!((without.rows_read, without.summed_up), (ROWS as u64, 0), "{what}");
    }
    // What the server cannot be left comes as rows, and the answer says so.
    let median = json!({ "field": "close", "function": "quantile", "q": 0.5 });
    let median = query(&key, json!({ "window": { "every": "1h", "aggregates": [median] } }));
    let mut zone = query(&key, json!({ "resample": "1d" }));
    zone.timezone = Some("America/New_York".into());
    let month = query(&key, json!({ "resample": "1mo" }));
    for query in [&median, &zone, &month] {
        let told = explain(&engine, query);
        assert_eq!((told.rows_read, told.summed_up), (ROWS as u64, 0), "{query:?}");
    }
    assert_eq!(explain(&engine, &median).pushed_down.aggregates, None);
}

#[test]
fn sums_that_might_overflow_are_made_of_rows() {
    let server = Influxd::start();
    let engine = open(&server);
    let write = |key: &SeriesKey, values: Values| {
        let times = (0..values.len() as i64).map(|i| BEGIN + i * MINUTE).collect();
        let frame = Frame { times, columns: vec![Column::new("v", values)] };
        engine.write(WriteBatch { series: vec![(key.clone(), frame)] }).unwrap();
    };
    let (most, umost) = (i64::MAX, u64::MAX);
    for (name, values, summed) in [
        ("fits", Values::Integer(vec![most / 2, most / 2, 1]), false),
        ("wraps", Values::Integer(vec![most, 1]), false),
        ("wraps and comes back", Values::Integer(vec![most, most, -most, -most]), false),
        ("least", Values::Integer(vec![i64::MIN]), false),
        ("one", Values::Integer(vec![most]), true),
        ("at the bound", Values::Integer(vec![most / 2, -(most / 2)]), true),
        ("above the bound", Values::Integer(vec![most / 2 + 1, 0]), false),
        ("unsigned", Values::Unsigned(vec![umost / 2, umost / 2]), true),
        ("unsigned wraps", Values::Unsigned(vec![umost, 1]), false),
    ] {
        let key = key("market", name);
        write(&key, values);
        for every in ["1h", "1d"] {
            let query = query(&key, window(every, &[("v", &["sum", "mean"])]));
            let (with, without) = (execute(&engine, &query), execute(&RowsOnly(&engine), &query));
            assert_eq!(with.as_ref().map(bits), without.as_ref().map(bits), "{name}");
            if with.is_ok() {
                assert_eq!(explain(&engine, &query).summed_up > 0, summed, "{name}");
            }
        }
    }
}

#[test]
fn holes_ends_of_time_and_many_windows() {
    let server = Influxd::start();
    let engine = open(&server);
    let key = key("market", "holes");
    let (least, most) = (crate::series::model::TIME_MIN_NS, crate::series::model::TIME_MAX_NS);
    // Centuries of nothing between rows, more windows than a page has, and both ends of time.
    let mut times = vec![least, least + 1, -MINUTE * 1_000_000, -1, 0, most - 1, most];
    times.extend((0..40_000).map(|i| BEGIN + i * 1_000_000_000));
    times.sort_unstable();
    let rows: Vec<(i64, Row)> = times
        .iter()
        .enumerate()
        .map(|(i, t)| (*t, Row::from([("v".to_string(), Value::Float(i as f64 / 3.0))])))
        .collect();
    engine.write(WriteBatch { series: vec![(key.clone(), frame_of(&rows))] }).unwrap();
    for (every, summed) in [("1s", 40_003), ("1m", 670), ("1d", 4), ("1000w", 2)] {
        let query = query(&key, window(every, &[("v", ALL)]));
        let (with, without) =
            (execute(&engine, &query).unwrap(), execute(&RowsOnly(&engine), &query).unwrap());
        assert_eq!(bits(&with), bits(&without), "{every}");
        let told = explain(&engine, &query);
        assert!(told.summed_up >= summed, "{every}: {told:?}");
        assert!(told.requests < 100, "{every}: {} requests", told.requests);
        for (start, end) in [(1, most), (BEGIN + 1, BEGIN + 3_601_000_000_001), (least, 0), (-7, 7)] {
            let mut part = query.clone();
            (part.start, part.end) = (Some(start.into()), Some(end.into()));
            for descending in [false, true] {
                part.descending = descending;
                assert_eq!(
                    bits(&execute(&engine, &part).unwrap()),
                    bits(&execute(&RowsOnly(&engine), &part).unwrap()),
                    "{every} {start}"
                );
            }
        }
    }
    let _ = TimeRange::ALL;
}
