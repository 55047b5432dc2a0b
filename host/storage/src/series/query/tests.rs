use super::*;
use crate::error::Kind;
use crate::series::model_engine::ModelEngine;
use crate::series::{Budget, Column, Frame, SeriesEngine as _, SeriesKey, Value, Values, WriteBatch};
use proptest::prelude::*;
use serde_json::json;

const MINUTE: i64 = 60_000_000_000;

fn key(m: &str, tags: &[(&str, &str)]) -> SeriesKey {
    SeriesKey::new("market", m, tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()).unwrap()
}

fn engine(series: Vec<(SeriesKey, Frame)>) -> ModelEngine {
    let engine = ModelEngine::default();
    engine.write(WriteBatch { series }).unwrap();
    engine
}

/// `n` one-minute bars from `start`: open = i, high = i + 2, low = i - 2, close = i + 1, volume = 10.
fn bars(start: i64, n: i64) -> Frame {
    let f = |g: fn(f64) -> f64| (0..n).map(|i| g(i as f64)).collect();
    Frame {
        times: (0..n).map(|i| start + i * MINUTE).collect(),
        columns: vec![
            Column::float("open", f(|i| i)),
            Column::float("high", f(|i| i + 2.0)),
            Column::float("low", f(|i| i - 2.0)),
            Column::float("close", f(|i| i + 1.0)),
            Column::float("volume", f(|_| 10.0)),
        ],
    }
}

fn ask(engine: &ModelEngine, query: serde_json::Value) -> crate::Result<Table> {
    execute(engine, &serde_json::from_value(query).unwrap(), &Budget::default(), 1_000)
}

fn floats(t: &Table, name: &str) -> Vec<f64> {
    t.column(name).unwrap_or_else(|| panic!("no {name} in {t:?}")).floats().unwrap().to_vec()
}

#[test]
fn rows_fields_range_and_limit() {
    let e = engine(vec![(key("bar.1m.A", &[]), bars(0, 100))]);
    let t = ask(&e, json!({ "measurement": "bar.1m.A", "fields": ["close", "open"], "start": MINUTE, "end": 4 * MINUTE })).unwrap();
    assert_eq!(t.frame.times, [MINUTE, 2 * MINUTE, 3 * MINUTE]);
    assert_eq!(t.frame.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["close", "open"]);
    assert_eq!(floats(&t, "close"), [2.0, 3.0, 4.0]);
    let t = ask(&e, json!({ "measurement": "bar.1m.A", "limit": 2 })).unwrap();
    assert_eq!((t.rows(), t.truncated), (2, true));
    let t = ask(&e, json!({ "measurement": "bar.1m.A", "limit": 100 })).unwrap();
    assert_eq!((t.rows(), t.truncated), (100, false));
    let t = ask(&e, json!({ "measurement": "bar.1m.A", "limit": 2, "descending": true })).unwrap();
    assert_eq!((t.frame.times.clone(), t.truncated), (vec![99 * MINUTE, 98 * MINUTE], true));
    assert_eq!(ask(&e, json!({ "measurement": "bar.1m.B" })).unwrap().rows(), 0);
    assert_eq!(ask(&e, json!({ "measurement": "bar.1m.A", "fields": ["nothing"] })).unwrap().rows(), 0);
}

#[test]
fn the_row_limit_holds_at_its_edge() {
    let e = engine(vec![(key("bar.1m.A", &[]), bars(0, 1_000))]);
    assert_eq!(ask(&e, json!({ "measurement": "*" })).unwrap().rows(), 1_000);
    let e = engine(vec![(key("bar.1m.A", &[]), bars(0, 1_001))]);
    let refused = ask(&e, json!({ "measurement": "*" })).unwrap_err();
    assert_eq!(refused.kind(), Kind::Limit);
    assert!(refused.hint_text().unwrap().contains("limits.query_rows"));
    assert_eq!(ask(&e, json!({ "measurement": "*", "limit": 1_000 })).unwrap().rows(), 1_000);
    assert_eq!(ask(&e, json!({ "measurement": "*", "limit": 1_001 })).unwrap_err().kind(), Kind::Limit);
    assert_eq!(ask(&e, json!({ "measurement": "*", "resample": "1h" })).unwrap().rows(), 17);
}

#[test]
fn bars_resample_to_ohlcv() {
    let e = engine(vec![(key("bar.1m.A", &[]), bars(5 * MINUTE, 10))]);
    let t = ask(&e, json!({ "measurement": "bar.1m.A", "resample": "10m" })).unwrap();
    assert_eq!(t.frame.times, [0, 10 * MINUTE]);
    for (name, want) in [("open", [0.0, 5.0]), ("high", [6.0, 11.0]), ("low", [-2.0, 3.0]), ("close", [5.0, 10.0]), ("volume", [50.0, 50.0])] {
        assert_eq!(floats(&t, name), want, "{name}");
    }
    let one = ask(&e, json!({ "measurement": "bar.1m.A", "resample": "10m", "fields": ["close"] })).unwrap();
    assert_eq!(one.frame.columns.len(), 1);
}

#[test]
fn ticks_become_bars() {
    let frame = Frame {
        times: vec![0, 1, 2, MINUTE],
        columns: vec![
            Column::float("price", vec![5.0, 9.0, 4.0, 7.0]),
            Column::new("size", Values::Float(vec![1.0, 2.0, 3.0, 4.0])),
            Column::new("side", Values::String(vec!["buy".into(); 4])),
        ],
    };
    let e = engine(vec![(key("tick.A", &[]), frame.clone())]);
    let t = ask(&e, json!({ "measurement": "tick.A", "resample": "1m" })).unwrap();
    assert_eq!((floats(&t, "open"), floats(&t, "high"), floats(&t, "low"), floats(&t, "close"), floats(&t, "volume")), (vec![5.0, 7.0], vec![9.0, 7.0], vec![4.0, 7.0], vec![4.0, 7.0], vec![6.0, 4.0]));
    let rolled = resample_bars(Box::new(vec![Ok(frame)].into_iter()), crate::series::kinds::Timeframe::parse("1m").unwrap(), &Budget::default()).unwrap();
    assert_eq!(rolled, t.frame);
    let e = engine(vec![(key("m", &[]), Frame { times: vec![0], columns: vec![Column::float("x", vec![1.0])] })]);
    assert_eq!(ask(&e, json!({ "measurement": "m", "resample": "1m" })).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn days_of_a_time_zone_have_their_own_length() {
    // Three days of hourly bars around the change of clocks in New York, 8 March 2026.
    let start = 1_772_859_600_000_000_000; // 2026-03-07T05:00Z: midnight in New York.
    let hours: Vec<i64> = (0..71).map(|h| start + h * 60 * MINUTE).collect();
    let frame = Frame { times: hours.clone(), columns: vec![Column::float("close", vec![1.0; 71]), Column::float("volume", vec![1.0; 71])] };
    let e = engine(vec![(key("bar.1h.A", &[]), frame)]);
    let t = ask(&e, json!({ "measurement": "bar.1h.A", "resample": "1d", "timezone": "America/New_York" })).unwrap();
    assert_eq!(floats(&t, "volume"), [24.0, 23.0, 24.0]);
    assert_eq!(t.frame.times, [start, start + 24 * 60 * MINUTE, start + 47 * 60 * MINUTE]);
    assert_eq!(ask(&e, json!({ "measurement": "*", "timezone": "Mars" })).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn windows_keep_types() {
    let frame = Frame {
        times: vec![0, 1, 2, MINUTE],
        columns: vec![
            Column::new("n", Values::Integer(vec![i64::MAX - 1, 1, -5, 7])),
            Column::new("u", Values::Unsigned(vec![u64::MAX, 0, 0, 1])),
            Column::new("ok", Values::Boolean(vec![true, false, true, false])),
            Column { name: "f".into(), values: Values::Float(vec![1.0, 0.0, 4.0, 0.0]), valid: Some(vec![true, false, true, false]) },
        ],
    };
    let e = engine(vec![(key("m", &[]), frame)]);
    let a = |field: &str, function: &str| json!({ "field": field, "function": function });
    let t = ask(&e, json!({ "measurement": "m", "window": { "every": "1m", "aggregates": [
        a("n", "min"), a("n", "sum"), a("u", "max"), a("ok", "last"), a("f", "mean"), a("f", "count"), a("f", "stddev"), a("gone", "sum")] } }))
    .unwrap();
    let get = |name: &str| (0..2).map(|r| t.column(name).unwrap().get(r)).collect::<Vec<_>>();
    assert_eq!(get("n_min"), [Some(Value::Integer(-5)), Some(Value::Integer(7))]);
    assert_eq!(get("n_sum"), [Some(Value::Integer(i64::MAX - 5)), Some(Value::Integer(7))]);
    assert_eq!(get("u_max"), [Some(Value::Unsigned(u64::MAX)), Some(Value::Unsigned(1))]);
    assert_eq!(get("ok_last"), [Some(Value::Boolean(true)), Some(Value::Boolean(false))]);
    assert_eq!(get("f_mean"), [Some(Value::Float(2.5)), None]);
    assert_eq!(get("f_count"), [Some(Value::Integer(2)), Some(Value::Integer(0))]);
    let Some(Value::Float(s)) = get("f_stddev")[0].clone() else { panic!("no stddev") };
    assert!((s - 4.5_f64.sqrt()).abs() < 1e-12);
    assert!(t.column("gone_sum").is_none());
    for bad in [json!({ "every": "1m", "aggregates": [a("ok", "sum")] }), json!({ "every": "1m", "aggregates": [] }), json!({ "every": "soon", "aggregates": [a("n", "sum")] })] {
        assert_eq!(ask(&e, json!({ "measurement": "m", "window": bad })).unwrap_err().kind(), Kind::Invalid);
    }
    let sum = ask(&e, json!({ "measurement": "m", "window": { "every": "1h", "aggregates": [a("u", "sum")] } }));
    assert_eq!(sum.unwrap_err().kind(), Kind::Invalid, "a sum that does not fit is no other number");
}

#[test]
fn several_series_are_labelled() {
    let row = |v| Frame { times: vec![1], columns: vec![Column::float("v", vec![v])] };
    let other = Frame { times: vec![1], columns: vec![Column::new("w", Values::Integer(vec![3]))] };
    let e = engine(vec![(key("m", &[("host", "a")]), row(1.0)), (key("m", &[("host", "b")]), row(2.0)), (key("n", &[]), other)]);
    let t = ask(&e, json!({ "measurement": "*" })).unwrap();
    assert_eq!(t.rows(), 3);
    let text = |c: &str, r: usize| t.column(c).unwrap().get(r);
    assert_eq!(text("measurement", 2), Some(Value::String("n".into())));
    assert_eq!((text("host", 1), text("host", 2)), (Some(Value::String("b".into())), None));
    assert_eq!((text("v", 2), text("w", 2), text("w", 0)), (None, Some(Value::Integer(3)), None));
    let t = ask(&e, json!({ "measurement": "m", "tags": [["host", "b"]] })).unwrap();
    assert_eq!((t.rows(), t.column("measurement")), (1, None));
    assert_eq!(serde_json::to_value(&t).unwrap(), json!({ "columns": [{ "name": "time", "type": "time", "values": [1] }, { "name": "v", "type": "float", "values": [2.0] }], "rows": 1, "truncated": false }));
}

#[test]
fn wrong_questions() {
    let e = ModelEngine::default();
    for q in [json!({ "measurement": "" }), json!({ "measurement": "m", "start": 5, "end": 4 }), json!({ "measurement": "m", "start": "soon" }), json!({ "measurement": "m", "resample": "x" }), json!({ "measurement": "m", "resample": "1h", "window": { "every": "1h", "aggregates": [] } })] {
        assert_eq!(ask(&e, q.clone()).unwrap_err().kind(), Kind::Invalid, "{q}");
    }
    assert!(serde_json::from_value::<Query>(json!({ "measurment": "m" })).is_err());
    let cancelled = Budget { cancel: Some(std::sync::Arc::new(true.into())), ..Budget::default() };
    let e = engine(vec![(key("m", &[]), bars(0, 1))]);
    let q = Query { measurement: "m".into(), ..Query::default() };
    assert_eq!(execute(&e, &q, &cancelled, 10).unwrap_err().kind(), Kind::Cancelled);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_resample_is_what_a_naive_one_gives(steps in proptest::collection::vec((1_i64..4_000, -50_i64..50), 1..300), frame in prop::sample::select(vec!["7m", "1h", "1d", "1w"])) {
        let mut t = -3 * 86_400_000_000_000_i64;
        let rows: Vec<(i64, f64)> = steps.iter().map(|(dt, v)| { t += dt * 1_000_000_000; (t, *v as f64) }).collect();
        let f = Frame { times: rows.iter().map(|r| r.0).collect(), columns: ["open", "high", "low", "close", "volume"].iter().map(|n| Column::float(*n, rows.iter().map(|r| r.1).collect())).collect() };
        let e = engine(vec![(key("bar.1s.A", &[]), f)]);
        let got = ask(&e, json!({ "measurement": "bar.1s.A", "resample": frame })).unwrap();
        let timeframe = crate::series::kinds::Timeframe::parse(frame).unwrap();
        let mut naive: std::collections::BTreeMap<i64, Vec<f64>> = Default::default();
        for (t, v) in &rows { naive.entry(timeframe.floor(*t)).or_default().push(*v); }
        prop_assert_eq!(&got.frame.times, &naive.keys().copied().collect::<Vec<_>>());
        let by = |f: fn(&[f64]) -> f64| naive.values().map(|v| f(v)).collect::<Vec<_>>();
        prop_assert_eq!(floats(&got, "open"), by(|v| v[0]));
        prop_assert_eq!(floats(&got, "high"), by(|v| v.iter().copied().fold(f64::MIN, f64::max)));
        prop_assert_eq!(floats(&got, "low"), by(|v| v.iter().copied().fold(f64::MAX, f64::min)));
        prop_assert_eq!(floats(&got, "close"), by(|v| v[v.len() - 1]));
        prop_assert_eq!(floats(&got, "volume"), by(|v| v.iter().sum()));
    }
}
