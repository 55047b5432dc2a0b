mod asof;
mod book;
mod explain;
mod gaps;
mod pages;
mod sessions;
mod where_tags;

use super::*;
use crate::Kind;
use crate::series::kinds::Timeframe;
use crate::series::model_engine::{ModelEngine, Row, frame_of};
use crate::series::{Budget, Column, Frame, SeriesEngine, SeriesKey, TimeRange, Value, Values, WriteBatch};
use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

const MINUTE: i64 = 60_000_000_000;
const ROWS_MAX: u64 = 100_000;

fn ns(text: &str) -> i64 {
    parse_time("t", text, Tz::UTC).unwrap()
}

fn key(measurement: &str, tags: &[(&str, &str)]) -> SeriesKey {
    let tags = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    SeriesKey::new("market", measurement, tags).unwrap()
}

fn row(values: &[(&str, Value)]) -> Row {
    values.iter().map(|(k, v)| (k.to_string(), v.clone())).collect()
}

fn bar(open: f64, high: f64, low: f64, close: f64, volume: f64) -> Row {
    let float = Value::Float;
    row(&[
        ("open", float(open)),
        ("high", float(high)),
        ("low", float(low)),
        ("close", float(close)),
        ("volume", float(volume)),
    ])
}

/// Small frames, so that windows cross their ends.
fn engine(series: &[(SeriesKey, Vec<(i64, Row)>)]) -> ModelEngine {
    let engine = ModelEngine::with_frame_rows(3);
    for (key, rows) in series {
        let report = engine.write(WriteBatch { series: vec![(key.clone(), frame_of(rows))] }).unwrap();
        assert_eq!(report.dropped, 0);
    }
    engine
}

fn query(measurement: &str) -> Query {
    Query { bucket: Some("market".into()), measurement: measurement.into(), ..Query::default() }
}

fn ask(engine: &ModelEngine, query: &Query) -> Table {
    let table = execute(engine, query, &Budget::default(), ROWS_MAX).unwrap_or_else(|e| panic!("{e:?}"));
    table.frame.validate().unwrap();
    for batch_rows in [1, 4] {
        assert_eq!(
            in_batches(engine, query, batch_rows).unwrap(),
            table,
            "batches of {batch_rows}: {query:?}"
        );
    }
    table
}

/// The same, a batch at a time.
fn in_batches(engine: &ModelEngine, query: &Query, batch_rows: usize) -> crate::Result<Table> {
    let (mut joined, mut batches) = (Joined::default(), Vec::new());
    let mut take = |frame: Frame| {
        batches.push(frame.len());
        joined.add(frame).map_err(crate::Error::internal)
    };
    let done = super::execute::execute_by(
        engine,
        query,
        &Budget::default(),
        ROWS_MAX,
        &|_| true,
        batch_rows,
        &mut take,
        &mut super::explain::Trace::default(),
    )?;
    let (last, before) = batches.split_last().unwrap();
    assert!(before.iter().all(|rows| *rows >= batch_rows), "{batches:?}");
    assert!(*last > 0 || before.is_empty(), "an empty batch only where there is nothing: {batches:?}");
    Ok(Table { frame: joined.frame, truncated: done.truncated, next: done.next })
}

fn refused(engine: &ModelEngine, query: &Query) -> crate::Error {
    let e = execute(engine, query, &Budget::default(), ROWS_MAX).unwrap_err();
    assert_eq!(e.kind(), Kind::Invalid, "{e:?}");
    assert!(e.hint_text().is_some(), "{e:?}");
    e
}

fn floats(table: &Table, name: &str) -> Vec<Option<f64>> {
    let column = table.column(name).unwrap_or_else(|| panic!("no {name} in {table:?}"));
    (0..table.rows()).map(|i| column.get(i).and_then(|v| v.as_f64())).collect()
}

fn some(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(Some).collect()
}

/// Ten bars of a minute from 2024-01-02 13:30, close 0 to 9.
fn ten() -> ModelEngine {
    let begin = ns("2024-01-02T13:30:00Z");
    let rows = (0..10).map(|i| {
        let p = i as f64;
        (begin + i * MINUTE, bar(p - 0.25, p + 0.5, p - 0.5, p, 10.0))
    });
    engine(&[(key("bar.1m.A", &[]), rows.collect())])
}

#[test]
fn rows_come_with_the_usual_fields_first() {
    let table = ask(&ten(), &query("bar.1m.A"));
    let names: Vec<&str> = table.frame.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["open", "high", "low", "close", "volume"]);
    assert_eq!((table.rows(), table.truncated), (10, false));
}

#[test]
fn a_range_is_half_open_and_read_in_many_forms() {
    let engine = ten();
    for (start, end) in [
        (Time::from("2024-01-02T13:31:00Z"), Time::from("2024-01-02T13:33:00Z")),
        (Time::from("2024-01-02 13:31"), Time::from("2024-01-02 13:33:00")),
        (Time::from("2024-01-02T14:31:00+01:00"), Time::from("2024-01-02 13:32:00.000000001")),
        (Time::Ns(ns("2024-01-02 13:31")), Time::from(ns("2024-01-02 13:33").to_string().as_str())),
    ] {
        let q = Query { start: Some(start), end: Some(end), ..query("bar.1m.A") };
        assert_eq!(floats(&ask(&engine, &q), "close"), some(&[1.0, 2.0]), "{q:?}");
    }
    let zoned = Query {
        start: Some("2024-01-02 08:38".into()),
        timezone: Some("America/New_York".into()),
        fields: Some(vec!["close".into()]),
        ..query("bar.1m.A")
    };
    let table = ask(&engine, &zoned);
    assert_eq!(floats(&table, "close"), some(&[8.0, 9.0]));
    assert_eq!(table.frame.columns.len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_hint() {
    let engine = ten();
    let base = || query("bar.1m.A");
    let window = |field: &str, function| Window {
        every: "5m".into(),
        aggregates: vec![Aggregate { field: field.into(), function, q: None }],
    };
    for (q, word) in [
        (Query { bucket: None, ..base() }, "bucket"),
        (query(""), "measurement"),
        (Query { start: Some("soon".into()), ..base() }, "`start`: `soon`"),
        (Query { end: Some("2024-13-01".into()), ..base() }, "`end`: `2024-13-01`"),
        (Query { start: Some(2.into()), end: Some(1.into()), ..base() }, "`start` is after `end`"),
        (Query { timezone: Some("Nowhere".into()), ..base() }, "`timezone`: `Nowhere`"),
        (Query { resample: Some("7h".into()), ..base() }, "`resample`: `7h`"),
        (Query { resample: Some("30s".into()), ..base() }, "`1m`"),
        (
            Query { resample: Some("1h".into()), window: Some(window("close", Function::Mean)), ..base() },
            "exclude",
        ),
        (Query { window: Some(window("shut", Function::Mean)), ..base() }, "`shut`"),
        (
            Query {
                window: Some(Window { aggregates: vec![], ..window("close", Function::Mean) }),
                ..base()
            },
            "aggregates",
        ),
        (Query { fields: Some(vec!["shut".into()]), ..base() }, "`shut`"),
        (Query { fields: Some(vec!["shut".into()]), resample: Some("1h".into()), ..base() }, "`shut`"),
        (Query { fields: Some(vec![]), ..base() }, "`fields`"),
        (Query { fields: Some(vec!["open".into(), "open".into()]), ..base() }, "twice"),
        (Query { limit: Some(0), ..base() }, "`limit`"),
    ] {
        let e = refused(&engine, &q);
        assert!(e.message().contains(word), "{word}: {e:?}");
    }
    let e = refused(&engine, &Query { fields: Some(vec!["shut".into()]), ..base() });
    assert!(e.hint_text().unwrap().contains("close"), "{e:?}");
    let late = Query { start: Some("9999-01-01T00:00:00Z".into()), ..base() };
    assert_eq!(execute(&engine, &late, &Budget::default(), 1).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn limits_hold_at_their_boundary() {
    let engine = ten();
    let run = |limit, descending, rows_max| {
        let q = Query { limit, descending, ..query("bar.1m.A") };
        execute(&engine, &q, &Budget::default(), rows_max).map(|t| (floats(&t, "close"), t.truncated))
    };
    assert_eq!(run(Some(3), false, 10).unwrap(), (some(&[0.0, 1.0, 2.0]), true));
    assert_eq!(run(Some(3), true, 10).unwrap(), (some(&[9.0, 8.0, 7.0]), true));
    for descending in [false, true] {
        assert!(run(Some(9), descending, 10).unwrap().1);
        assert!(!run(Some(10), descending, 10).unwrap().1);
        assert!(!run(None, descending, 10).unwrap().1);
        assert_eq!(run(None, descending, 10).unwrap().0.len(), 10);
        let e = run(None, descending, 9).unwrap_err();
        assert_eq!(e.kind(), Kind::Limit, "{e:?}");
        assert!(e.message().contains("limits.query_rows") && e.hint_text().is_some(), "{e:?}");
        assert_eq!(run(Some(10), descending, 9).unwrap_err().kind(), Kind::Limit, "the host's limit stands");
        assert_eq!(run(Some(9), descending, 9).unwrap().0.len(), 9);
    }
    let hourly = |limit, rows_max, descending| {
        let q = Query { resample: Some("5m".into()), limit, descending, ..query("bar.1m.A") };
        execute(&engine, &q, &Budget::default(), rows_max).map(|t| (floats(&t, "close"), t.truncated))
    };
    assert_eq!(hourly(None, 2, false).unwrap(), (some(&[4.0, 9.0]), false));
    assert_eq!(hourly(Some(1), 2, false).unwrap(), (some(&[4.0]), true));
    assert_eq!(hourly(Some(1), 2, true).unwrap(), (some(&[9.0]), true));
    assert_eq!(hourly(None, 1, false).unwrap_err().kind(), Kind::Limit);
    assert_eq!(hourly(None, 1, true).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn a_budget_ends_a_query() {
    use std::sync::{Arc, atomic::AtomicBool};
    let engine = ten();
    let with = |budget: Budget| execute(&engine, &query("bar.1m.A"), &budget, ROWS_MAX).map_err(|e| e.kind());
    assert_eq!(with(Budget { rows_max: Some(9), ..Budget::default() }).unwrap_err(), Kind::Limit);
    assert_eq!(with(Budget { rows_max: Some(10), ..Budget::default() }).unwrap().rows(), 10);
    let cancelled = Some(Arc::new(AtomicBool::new(true)));
    assert_eq!(with(Budget { cancel: cancelled, ..Budget::default() }).unwrap_err(), Kind::Cancelled);
    let past = Some(std::time::Instant::now());
    assert_eq!(with(Budget { deadline: past, ..Budget::default() }).unwrap_err(), Kind::Timeout);
}

#[test]
fn bars_are_resampled() {
    let begin = ns("2024-01-02T13:30:00Z");
    let mut rows: Vec<(i64, Row)> = vec![
        (begin, bar(1.0, 3.0, 0.5, 2.0, 10.0)),
        (begin + MINUTE, bar(2.0, 9.0, 1.0, 3.0, 20.0)),
        (begin + 29 * MINUTE, bar(5.0, 6.0, 0.25, 4.0, 30.0)),
        (begin + 30 * MINUTE, bar(7.0, 8.0, 6.0, 7.5, 40.0)),
    ];
    rows[1].1.insert("trades".into(), Value::Integer(7));
    rows[1].1.insert("venue".into(), Value::String("X".into()));
    let engine = engine(&[(key("bar.1m.A", &[]), rows)]);
    let table = ask(&engine, &Query { resample: Some("30m".into()), ..query("bar.1m.A") });
    assert_eq!(table.frame.times, [begin, begin + 30 * MINUTE]);
    assert_eq!(
        table.frame.columns,
        [
            Column::float("open", vec![1.0, 7.0]),
            Column::float("high", vec![9.0, 8.0]),
            Column::float("low", vec![0.25, 6.0]),
            Column::float("close", vec![4.0, 7.5]),
            Column::float("volume", vec![60.0, 40.0]),
            Column {
                name: "trades".into(),
                values: Values::Integer(vec![7, 0]),
                valid: Some(vec![true, false])
            },
        ]
    );
    let only = Query {
        resample: Some("1h".into()),
        fields: Some(vec!["close".into(), "high".into()]),
        ..query("bar.1m.A")
    };
    let table = ask(&engine, &only);
    assert_eq!(
        table.frame.columns,
        [Column::float("close", vec![4.0, 7.5]), Column::float("high", vec![9.0, 8.0])]
    );
}

#[test]
fn ticks_are_resampled_to_bars() {
    let tick = |price, size| {
        row(&[
            ("price", Value::Float(price)),
            ("size", Value::Float(size)),
            ("side", Value::String("buy".into())),
        ])
    };
    let begin = ns("2024-01-02T13:30:00Z");
    let rows = vec![
        (begin + 1, tick(10.0, 1.0)),
        (begin + 5, tick(12.0, 2.0)),
        (begin + 9, tick(9.0, 3.0)),
        (begin + MINUTE, tick(11.0, 4.0)),
    ];
    let engine = engine(&[(key("tick.A", &[]), rows)]);
    let table = ask(&engine, &Query { resample: Some("1m".into()), ..query("tick.A") });
    assert_eq!(table.frame.times, [begin, begin + MINUTE]);
    assert_eq!(
        table.frame.columns,
        [
            Column::float("open", vec![10.0, 11.0]),
            Column::float("high", vec![12.0, 11.0]),
            Column::float("low", vec![9.0, 11.0]),
            Column::float("close", vec![9.0, 11.0]),
            Column::float("volume", vec![6.0, 4.0]),
        ]
    );
    let stream = engine.scan(&key("tick.A", &[]), TimeRange::ALL, None, &Budget::default()).unwrap();
    assert_eq!(resample_bars(stream, "1m".parse().unwrap(), &Budget::default()).unwrap(), table.frame);
}

#[test]
fn what_is_neither_bars_nor_ticks_is_not_resampled() {
    let engine = engine(&[
        (key("cpu", &[]), vec![(1, row(&[("busy", Value::Float(1.0))]))]),
        (key("bar.1d.A", &[]), vec![(1, bar(1.0, 1.0, 1.0, 1.0, 1.0))]),
    ]);
    assert!(
        refused(&engine, &Query { resample: Some("1h".into()), ..query("cpu") }).message().contains("cpu")
    );
    let finer = refused(&engine, &Query { resample: Some("1h".into()), ..query("bar.1d.A") });
    assert!(finer.message().contains("`1d`"), "{finer:?}");
}

#[test]
fn weeks_begin_on_monday_and_days_follow_the_clocks() {
    // Hourly bars over the change to summer time in New York, 10 March 2024.
    let begin = ns("2024-03-08T00:00:00Z");
    let rows: Vec<(i64, Row)> =
        (0..120).map(|i| (begin + i * 60 * MINUTE, bar(1.0, 1.0, 1.0, i as f64, 1.0))).collect();
    let engine = engine(&[(key("bar.1h.A", &[]), rows)]);
    let resampled = |timeframe: &str, zone: &str| {
        let q = Query { resample: Some(timeframe.into()), timezone: Some(zone.into()), ..query("bar.1h.A") };
        let table = ask(&engine, &q);
        table
            .frame
            .times
            .iter()
            .copied()
            .zip(floats(&table, "volume").into_iter().flatten())
            .collect::<Vec<_>>()
    };
    let days = resampled("1d", "America/New_York");
    assert_eq!(
        days,
        [
            (ns("2024-03-07T00:00:00-05:00"), 5.0),
            (ns("2024-03-08T00:00:00-05:00"), 24.0),
            (ns("2024-03-09T00:00:00-05:00"), 24.0),
            (ns("2024-03-10T00:00:00-05:00"), 23.0),
            (ns("2024-03-11T00:00:00-04:00"), 24.0),
            (ns("2024-03-12T00:00:00-04:00"), 20.0),
        ]
    );
    let weeks = resampled("1w", "UTC");
    assert_eq!(weeks, [(ns("2024-03-04T00:00:00Z"), 72.0), (ns("2024-03-11T00:00:00Z"), 48.0)]);
    assert_eq!(resampled("1mo", "UTC"), [(ns("2024-03-01T00:00:00Z"), 120.0)]);
}

#[test]
fn windows_aggregate() {
    let aggregates = [
        Function::First,
        Function::Last,
        Function::Min,
        Function::Max,
        Function::Sum,
        Function::Mean,
        Function::Count,
        Function::Stddev,
    ]
    .map(|function| Aggregate { field: "close".into(), function, q: None });
    let q = Query {
        window: Some(Window { every: "15m".into(), aggregates: aggregates.to_vec() }),
        start: Some("2024-01-02 13:31".into()),
        ..query("bar.1m.A")
    };
    let table = ask(&ten(), &q);
    let cells: Vec<(String, Value)> =
        table.frame.columns.iter().map(|c| (c.name.clone(), c.get(0).unwrap())).collect();
    let float = Value::Float;
    assert_eq!(
        cells[..7],
        [
            ("close_first".into(), float(1.0)),
            ("close_last".into(), float(9.0)),
            ("close_min".into(), float(1.0)),
            ("close_max".into(), float(9.0)),
            ("close_sum".into(), float(45.0)),
            ("close_mean".into(), float(5.0)),
            ("close_count".into(), Value::Integer(9)),
        ]
    );
    let stddev = cells[7].1.as_f64().unwrap();
    assert!((stddev - 7.5_f64.sqrt()).abs() < 1e-12, "{stddev}");
}

#[test]
fn aggregates_keep_whole_numbers_whole() {
    let rows = vec![
        (
            1,
            row(&[
                ("n", Value::Integer(i64::MAX - 1)),
                ("u", Value::Unsigned(u64::MAX)),
                ("s", Value::String("a".into())),
            ]),
        ),
        (2, row(&[("n", Value::Integer(1)), ("s", Value::String("b".into())), ("b", Value::Boolean(true))])),
        (3, row(&[("b", Value::Boolean(false))])),
    ];
    let engine = engine(&[(key("m", &[]), rows)]);
    let window = |aggregates: &[(&str, Function)]| Query {
        window: Some(Window {
            every: "1d".into(),
            aggregates: aggregates
                .iter()
                .map(|(field, function)| Aggregate { field: field.to_string(), function: *function, q: None })
                .collect(),
        }),
        ..query("m")
    };
    let table = ask(
        &engine,
        &window(&[
            ("n", Function::Sum),
            ("u", Function::Max),
            ("s", Function::Last),
            ("b", Function::Count),
            ("n", Function::Stddev),
            ("u", Function::Stddev),
        ]),
    );
    let cells: Vec<Option<Value>> = table.frame.columns.iter().map(|c| c.get(0)).collect();
    assert_eq!(
        cells[..4],
        [
            Some(Value::Integer(i64::MAX)),
            Some(Value::Unsigned(u64::MAX)),
            Some(Value::String("b".into())),
            Some(Value::Integer(2)),
        ]
    );
    assert!(cells[4].is_some() && cells[5].is_none(), "one value has no deviation: {cells:?}");
    assert!(refused(&engine, &window(&[("s", Function::Mean)])).message().contains("string"));
    engine
        .write(WriteBatch {
            series: vec![(key("m", &[]), frame_of(&[(9, row(&[("n", Value::Integer(2))]))]))],
        })
        .unwrap();
    assert!(refused(&engine, &window(&[("n", Function::Sum)])).message().contains("out of its range"));
}

#[test]
fn several_series_say_which_a_row_is_of() {
    let v = |x| row(&[("v", Value::Float(x)), ("host", Value::Float(-1.0))]);
    let engine = engine(&[
        (key("cpu", &[("host", "b")]), vec![(1, v(3.0))]),
        (key("cpu", &[("host", "a"), ("core", "1")]), vec![(1, v(1.0)), (2, v(2.0))]),
        (key("mem", &[]), vec![(5, row(&[("v", Value::Integer(4))]))]),
    ]);
    let table = ask(&engine, &query("*"));
    let texts = |name: &str| {
        let column = table.column(name).unwrap();
        (0..table.rows())
            .map(|i| match column.get(i) {
                Some(Value::String(s)) => s,
                _ => "-".into(),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(table.frame.times, [1, 2, 1, 5]);
    assert_eq!(texts("measurement"), ["cpu", "cpu", "cpu", "mem"]);
    assert_eq!(texts("core"), ["1", "1", "-", "-"]);
    assert_eq!(texts("tag.host"), ["a", "a", "b", "-"], "the field `host` has the name");
    assert_eq!(floats(&table, "v"), some(&[1.0, 2.0, 3.0, 4.0]), "numbers of two types are floats");
    let newest = ask(&engine, &Query { descending: true, limit: Some(3), ..query("*") });
    assert_eq!((newest.frame.times.as_slice(), newest.truncated), (&[2, 1, 1][..], true));
    let tagged = ask(&engine, &Query { tags: vec![("host".into(), "a".into())], ..query("cpu") });
    assert_eq!(tagged.frame.times, [1, 2]);
    assert!(tagged.column("measurement").is_none());

    let only =
        execute_for(&engine, &query("*"), &Budget::default(), 10, &|k| k.measurement == "mem").unwrap();
    assert_eq!(only.frame.times, [5]);
    assert_eq!(ask(&engine, &query("nothing")).rows(), 0);
}

#[test]
fn fields_of_types_that_do_not_go_together_are_refused() {
    let engine = engine(&[
        (key("a", &[]), vec![(1, row(&[("v", Value::Float(1.0)), ("w", Value::Float(1.0))]))]),
        (key("b", &[]), vec![(1, row(&[("v", Value::String("x".into())), ("w", Value::Float(2.0))]))]),
    ]);
    let e = refused(&engine, &query("*"));
    assert!(e.message().contains("`v`") && e.message().contains("string"), "{e:?}");
    assert_eq!(ask(&engine, &Query { fields: Some(vec!["w".into()]), ..query("*") }).rows(), 2);
}

#[test]
fn rows_without_a_chosen_field_are_left_out() {
    let engine = engine(&[(
        key("m", &[]),
        vec![
            (1, row(&[("a", Value::Float(1.0))])),
            (2, row(&[("b", Value::Float(2.0))])),
            (3, row(&[("a", Value::Float(3.0)), ("b", Value::Float(3.0))])),
        ],
    )]);
    let table = ask(&engine, &Query { fields: Some(vec!["b".into()]), ..query("m") });
    assert_eq!(table.frame.times, [2, 3]);
    let frame = Frame {
        times: vec![1, 2],
        columns: vec![
            Column {
                name: "a".into(),
                values: Values::Float(vec![1.0, 0.0]),
                valid: Some(vec![true, false]),
            },
            Column::float("b", vec![1.0, 2.0]),
        ],
    };
    assert_eq!(super::columns::with_values(frame.clone(), &|n| n == "a").times, [1]);
    assert_eq!(super::columns::with_values(frame.clone(), &|n| n == "b"), frame);
    assert!(super::columns::with_values(frame, &|n| n == "c").is_empty());
}

#[test]
fn the_json_forms() {
    let q: Query = serde_json::from_value(json!({
        "bucket": "market", "measurement": "bar.1m.A", "tags": [["venue", "X"]], "start": 5, "end": "2024-01-02",
        "window": {"every": "1h", "aggregates": [{"field": "close", "function": "stddev"}]}, "limit": 3
    }))
    .unwrap();
    assert_eq!((q.start, q.end), (Some(Time::Ns(5)), Some(Time::Text("2024-01-02".into()))));
    assert!(serde_json::from_value::<Query>(json!({"measurement": "m", "limt": 3})).is_err());

    let table = Table {
        frame: Frame {
            times: vec![1, 2],
            columns: vec![
                Column {
                    name: "close".into(),
                    values: Values::Float(vec![1.5, 0.0]),
                    valid: Some(vec![true, false]),
                },
                Column::new("n", Values::Unsigned(vec![1, u64::MAX])),
                Column::new("s", Values::String(vec!["a".into(), "b".into()])),
            ],
        },
        truncated: true,
        next: None,
    };
    assert_eq!(
        serde_json::to_value(&table).unwrap(),
        json!({
            "columns": [
                {"name": "time", "type": "time", "values": [1, 2]},
                {"name": "close", "type": "float", "values": [1.5, null]},
                {"name": "n", "type": "unsigned", "values": [1, u64::MAX]},
                {"name": "s", "type": "string", "values": ["a", "b"]},
            ],
            "rows": 2,
            "truncated": true,
        })
    );
}

#[test]
fn a_rollup_of_many_frames_is_that_of_the_query() {
    let begin = ns("2023-12-30T00:00:00Z");
    let rows: Vec<(i64, Row)> = (0..500)
        .map(|i| {
            let p = (i * 37 % 101) as f64;
            (begin + i * 7 * MINUTE, bar(p, p + 1.0, p - 1.0, p + 0.5, i as f64))
        })
        .collect();
    let engine = engine(&[(key("bar.1m.A", &[]), rows)]);
    for timeframe in ["15m", "1h", "1d", "1w", "1mo"] {
        let stream = engine.scan(&key("bar.1m.A", &[]), TimeRange::ALL, None, &Budget::default()).unwrap();
        let mut rolled = resample_bars(stream, timeframe.parse().unwrap(), &Budget::default()).unwrap();
        let asked = ask(&engine, &Query { resample: Some(timeframe.into()), ..query("bar.1m.A") });
        rolled.columns.sort_by_key(|c| asked.frame.columns.iter().position(|a| a.name == c.name));
        assert_eq!(rolled, asked.frame, "{timeframe}");
    }
    let stream = engine.scan(&key("bar.1m.A", &[]), TimeRange::ALL, None, &Budget::default()).unwrap();
    let few = Budget { rows_max: Some(499), ..Budget::default() };
    assert_eq!(resample_bars(stream, "1h".parse().unwrap(), &few).unwrap_err().kind(), Kind::Limit);
}

/// Of the quantiles below.
const QUANTILE: f64 = 0.3;

/// What an aggregate is, by its definition, over the values of one window.
fn naive(function: Function, values: &[Value]) -> Option<Value> {
    let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    let sum: f64 = numbers.iter().sum();
    let n = numbers.len() as f64;
    match function {
        Function::Count => Some(Value::Integer(values.len() as i64)),
        _ if values.is_empty() => None,
        Function::First => values.first().cloned(),
        Function::Last => values.last().cloned(),
        Function::Min => numbers.iter().copied().reduce(f64::min).map(Value::Float),
        Function::Max => numbers.iter().copied().reduce(f64::max).map(Value::Float),
        Function::Sum => Some(Value::Float(sum)),
        Function::Mean => Some(Value::Float(sum / n)),
        Function::Quantile => {
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let place = QUANTILE * (n - 1.0);
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            Some(Value::Float(sorted[below] + (sorted[above] - sorted[below]) * place.fract()))
        }
        Function::Stddev if values.len() < 2 => None,
        Function::Stddev => {
            let mean = sum / n;
            let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
            Some(Value::Float((squares / (n - 1.0)).sqrt()))
        }
    }
}

fn close_to(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => (x - y).abs() <= 1e-9 * (1.0 + x.abs().max(y.abs())),
            _ => a == b,
        },
        (a, b) => a == b,
    }
}

fn a_row() -> impl Strategy<Value = Row> {
    let float = || (-1_000_i32..1_000).prop_map(|c| Value::Float(f64::from(c) / 8.0));
    (
        prop::option::weighted(0.8, float()),
        prop::option::weighted(0.5, (-50_i64..50).prop_map(Value::Integer)),
        prop::option::weighted(0.3, "[a-c]".prop_map(Value::String)),
    )
        .prop_map(|(f, i, s)| {
            [("f", f), ("i", i), ("s", s)]
                .into_iter()
                .filter_map(|(k, v)| Some((k.to_string(), v?)))
                .collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn windows_agree_with_their_definition(
        // Around the end of summer time in New York, minutes.
        rows in prop::collection::btree_map(0_i64..12_000, a_row(), 0..60),
        frame_rows in 1_usize..9,
        every in prop::sample::select(vec!["15m", "1h", "4h", "1d", "1w", "1mo"]),
        zone in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kolkata"]),
        range in (0_i64..12_000, 0_i64..12_000),
        descending: bool,
        limit in prop::option::of(1_u64..20),
    ) {
        let begin = ns("2024-10-30T00:00:00Z");
        let rows: BTreeMap<i64, Row> =
            rows.into_iter().filter(|(_, r)| !r.is_empty()).map(|(m, r)| (begin + m * MINUTE, r)).collect();
        let engine = ModelEngine::with_frame_rows(frame_rows);
        let all: Vec<(i64, Row)> = rows.iter().map(|(t, r)| (*t, r.clone())).collect();
        engine.write(WriteBatch { series: vec![(key("m", &[]), frame_of(&all))] }).unwrap();

        let (start, end) = (begin + range.0.min(range.1) * MINUTE, begin + range.0.max(range.1) * MINUTE);
        let functions = [
            ("f", Function::First), ("f", Function::Last), ("f", Function::Min), ("f", Function::Max),
            ("f", Function::Sum), ("f", Function::Mean), ("f", Function::Count), ("f", Function::Stddev),
            ("f", Function::Quantile), ("i", Function::Quantile), ("i", Function::Sum), ("i", Function::Min), ("i", Function::Mean), ("s", Function::First),
            ("s", Function::Last), ("s", Function::Count),
        ];
        let known: Vec<(&str, Function)> =
            functions.into_iter().filter(|(f, _)| rows.values().any(|r| r.contains_key(*f))).collect();
        let aggregates: Vec<Aggregate> =
            known.iter().map(|(f, function)| {
                let q = (*function == Function::Quantile).then_some(QUANTILE);
                Aggregate { field: f.to_string(), function: *function, q }
            }).collect();
        prop_assume!(!aggregates.is_empty());
        let q = Query {
            start: Some(start.into()),
            end: Some(end.into()),
            window: Some(Window { every: every.into(), aggregates }),
            timezone: Some(zone.into()),
            descending,
            limit,
            ..query("m")
        };
        let table = ask(&engine, &q);

        let (timeframe, tz): (Timeframe, Tz) = (every.parse().unwrap(), zone.parse().unwrap());
        let mut windows: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
        for (time, row) in rows.range(start..end) {
            if known.iter().any(|(f, _)| row.contains_key(*f)) {
                windows.entry(timeframe.floor(*time, tz)).or_default().push(row);
            }
        }
        let mut want: Vec<(i64, Vec<Option<Value>>)> = windows
            .into_iter()
            .map(|(time, rows)| {
                let cell = |(field, function): &(&str, Function)| {
                    let values: Vec<Value> = rows.iter().filter_map(|r| r.get(*field).cloned()).collect();
                    naive(*function, &values)
                };
                (time, known.iter().map(cell).collect())
            })
            .collect();
        if descending {
            want.reverse();
        }
        let count = want.len();
        want.truncate(limit.map_or(usize::MAX, |l| l as usize));
        prop_assert_eq!(table.truncated, want.len() < count);
        prop_assert_eq!(&table.frame.times, &want.iter().map(|(t, _)| *t).collect::<Vec<_>>());
        for (i, (_, cells)) in want.iter().enumerate() {
            for (cell, column) in cells.iter().zip(&table.frame.columns) {
                prop_assert!(close_to(column.get(i).as_ref(), cell.as_ref()), "{} {:?} {:?}", column.name, column.get(i), cell);
            }
        }
    }

    #[test]
    fn rows_agree_with_the_model(
        rows in prop::collection::btree_map(0_i64..500, a_row(), 0..80),
        frame_rows in 1_usize..20,
        range in (0_i64..500, 0_i64..500),
        fields in prop::option::of(prop::sample::subsequence(vec!["f", "i", "s"], 1..3)),
        descending: bool,
        limit in prop::option::of(1_u64..30),
    ) {
        // Times that cluster, so that a search from the end misses at first.
        let rows: Vec<(i64, Row)> =
            rows.into_iter().filter(|(_, r)| !r.is_empty()).map(|(t, r)| (t * t * t, r)).collect();
        let engine = ModelEngine::with_frame_rows(frame_rows);
        engine.write(WriteBatch { series: vec![(key("m", &[]), frame_of(&rows))] }).unwrap();
        let (start, end) = (range.0.min(range.1).pow(3), range.0.max(range.1).pow(3));
        let fields: Option<Vec<String>> = fields
            .map(|f| f.into_iter().filter(|f| rows.iter().any(|(_, r)| r.contains_key(*f))).map(String::from).collect::<Vec<_>>())
            .filter(|f| !f.is_empty());
        let q = Query {
            start: Some(start.into()), end: Some(end.into()), fields: fields.clone(), descending, limit,
            ..query("m")
        };
        let table = ask(&engine, &q);
        let mut want: Vec<(i64, Row)> = rows
            .into_iter()
            .filter(|(t, _)| start <= *t && *t < end)
            .map(|(t, mut r)| {
                r.retain(|name, _| fields.as_ref().is_none_or(|f| f.contains(name)));
                (t, r)
            })
            .filter(|(_, r)| !r.is_empty())
            .collect();
        if descending {
            want.reverse();
        }
        let count = want.len();
        want.truncate(limit.map_or(usize::MAX, |l| l as usize));
        prop_assert_eq!(table.truncated, want.len() < count);
        let got: Vec<(i64, Row)> = (0..table.rows())
            .map(|i| {
                let cells = table.frame.columns.iter().filter_map(|c| Some((c.name.clone(), c.get(i)?)));
                (table.frame.times[i], cells.collect())
            })
            .collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_text_of_a_time_panics(text in "[-0-9T:Z+. ]{0,30}") {
        let _ = parse_time("t", &text, Tz::America__New_York);
    }
}
