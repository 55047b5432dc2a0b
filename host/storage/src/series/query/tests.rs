mod asof;
mod book;
mod explain;
mod gaps;
mod model;
mod pages;
mod sessions;
mod where_tags;
mod windows;

use super::*;
use crate::Kind;
use crate::series::kinds::Timeframe;
use crate::series::model_engine::{ModelEngine, Row, frame_of};
use crate::series::{
    Budget, Column, FieldType, Frame, SeriesEngine, SeriesKey, TimeRange, Value, Values, WriteBatch,
};
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
fn the_end_of_a_window_is_found_however_far_it_is() {
    for rows in [1_i64, 15, 16, 17, 31, 32, 33, 64, 1_000] {
        let times: Vec<i64> = (0..rows).map(|t| t * 2).collect();
        for end in 1..=2 * rows {
            let want = times.iter().filter(|t| **t < end).count();
            assert_eq!(super::window::run_length(&times, end), want, "{end} of {rows}");
        }
    }
}

#[test]
fn rows_are_gathered_as_if_one_by_one() {
    use super::columns::{Builder, NO_ROW};
    let rows = [2, NO_ROW, 0, 0, 3, 1];
    let columns = [
        Values::Float(vec![1.5, 2.5, -0.0, 4.0]),
        Values::Float(vec![1.5, f64::INFINITY, 3.5, f64::NAN]),
        Values::Integer(vec![i64::MIN, 2, 3, 4]),
        Values::Unsigned(vec![u64::MAX, 2, 3, 4]),
        Values::Boolean(vec![true, false, true, false]),
        Values::String(["a", "b", "", "d"].map(String::from).to_vec()),
        Values::Decimal(vec![1, 2, 3, 4], 2),
    ];
    let types = columns.clone().map(|values| values.field_type());
    for values in columns {
        for valid in [None, Some(vec![true, false, true, true])] {
            let column = Column { name: "c".into(), values: values.clone(), valid };
            // Also into a column of another type.
            for of in types {
                let (mut gathered, mut pushed) = (Builder::new("c", of), Builder::new("c", of));
                for some in [&rows[2..4], &rows, &rows[..1]] {
                    gathered.gather(Some(&column), some.iter().copied());
                    some.iter().for_each(|row| pushed.push(column.get(*row)));
                }
                gathered.gather(None, rows.iter().copied());
                pushed.gap(rows.len());
                assert_eq!(gathered.into_column(), pushed.into_column(), "{column:?} into {of}");
            }
        }
    }
    let mut times = Builder::new("time", FieldType::Integer);
    times.gather_times(&[7, 8], [1, 0].into_iter());
    times.gather_times(&[7, 8], [1, NO_ROW, 2].into_iter());
    let times = times.into_column();
    assert_eq!(
        (times.values, times.valid),
        (Values::Integer(vec![8, 7, 8, 0, 0]), Some(vec![true, true, true, false, false]))
    );
}

#[test]
fn a_whole_column_is_taken_as_it_is() {
    use super::columns::Builder;
    let column = |values, valid| Column { name: "c".into(), values: Values::Float(values), valid };
    let mut builder = Builder::new("c", FieldType::Float);
    builder.absorb(Some(column(vec![1.0, 0.0], Some(vec![true, false]))), 2);
    builder.absorb(Some(column(vec![3.0, 4.0], None)), 1);
    builder.absorb(None, 1);
    let want = column(vec![1.0, 0.0, 3.0, 0.0], Some(vec![true, false, true, false]));
    assert_eq!(builder.into_column(), want);
    // What is of another type, or too long, is not.
    let mut builder = Builder::new("c", FieldType::Float);
    builder.absorb(Some(Column::new("c", Values::Integer(vec![1, 2, 3]))), 2);
    assert_eq!(builder.into_column(), column(vec![1.0, 2.0], None));
}
