//! Bars, windows, aggregates.

use super::*;

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
