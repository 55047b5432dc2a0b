//! Windows without rows.

use super::*;

/// Values at minutes 0, 1, 4 and 6 of a day; a row at 5 that has another field only.
fn gappy() -> ModelEngine {
    let begin = ns("2024-01-02T00:00:00Z");
    let v = |x: f64, i: i64| row(&[("v", Value::Float(x)), ("i", Value::Integer(i))]);
    engine(&[(
        key("m", &[]),
        vec![
            (begin, v(1.0, 10)),
            (begin + MINUTE, v(2.0, 20)),
            (begin + 4 * MINUTE, v(8.0, 51)),
            (begin + 5 * MINUTE, row(&[("s", Value::String("x".into()))])),
            (begin + 6 * MINUTE, v(9.0, 60)),
        ],
    )])
}

fn minutes(fill: Fill, aggregates: &[(&str, Function)]) -> Query {
    let aggregates = aggregates.iter().map(|(f, function)| Aggregate {
        field: f.to_string(),
        function: *function,
        q: None,
    });
    Query {
        window: Some(Window { every: "1m".into(), aggregates: aggregates.collect() }),
        fill,
        ..query("m")
    }
}

const MEAN: &[(&str, Function)] = &[("v", Function::Mean)];

#[test]
fn windows_between_are_there_with_what_fill_says() {
    let engine = gappy();
    let means = |fill| floats(&ask(&engine, &minutes(fill, MEAN)), "v_mean");
    assert_eq!(means(Fill::None), some(&[1.0, 2.0, 8.0, 9.0]));
    let (n, s) = (None, Some);
    assert_eq!(means(Fill::Null), [s(1.0), s(2.0), n, n, s(8.0), n, s(9.0)]);
    assert_eq!(means(Fill::Previous), some(&[1.0, 2.0, 2.0, 2.0, 8.0, 8.0, 9.0]));
    assert_eq!(means(Fill::Linear), some(&[1.0, 2.0, 4.0, 6.0, 8.0, 8.5, 9.0]));
}

#[test]
fn the_range_says_how_far_and_before_the_first_value_nothing_is_known() {
    let engine = gappy();
    let range = |fill| Query {
        start: Some("2024-01-01 23:58:30".into()),
        end: Some("2024-01-02 00:08:30".into()),
        ..minutes(fill, MEAN)
    };
    let table = ask(&engine, &range(Fill::Previous));
    assert_eq!(table.frame.times.first(), Some(&ns("2024-01-01T23:58:00Z")));
    assert_eq!(table.frame.times.last(), Some(&ns("2024-01-02T00:08:00Z")));
    let means = floats(&table, "v_mean");
    assert_eq!((&means[..3], &means[9..]), (&[None, None, Some(1.0)][..], &[Some(9.0), Some(9.0)][..]));
    let line = floats(&ask(&engine, &range(Fill::Linear)), "v_mean");
    assert_eq!((&line[..3], &line[8..]), (&[None, None, Some(1.0)][..], &[Some(9.0), None, None][..]));
    // A series without any row in the range stays without.
    let nothing = Query {
        start: Some("2025-01-01".into()),
        end: Some("2025-01-02".into()),
        ..minutes(Fill::Null, MEAN)
    };
    assert_eq!(ask(&engine, &nothing).rows(), 0);
}

#[test]
fn each_type_is_filled_in_its_way() {
    let engine = gappy();
    let all = &[("i", Function::Last), ("s", Function::First), ("v", Function::Count)];
    let cells = |fill: Fill, all: &[(&str, Function)], name: &str| {
        let table = ask(&engine, &minutes(fill, all));
        let column = table.column(name).unwrap().clone();
        (0..table.rows()).map(|i| column.get(i)).collect::<Vec<_>>()
    };
    let int = |x: i64| Some(Value::Integer(x));
    // The row at minute 5 has no `i`: its window is there, and is filled as well.
    assert_eq!(cells(Fill::Previous, all, "i_last"), [10, 20, 20, 20, 51, 51, 60].map(int));
    assert_eq!(cells(Fill::Linear, &all[..1], "i_last"), [10, 20, 30, 41, 51, 56, 60].map(int));
    let text = Some(Value::String("x".into()));
    assert_eq!(cells(Fill::Previous, all, "s_first"), [None, None, None, None, None, text.clone(), text]);
    for fill in [Fill::Null, Fill::Previous] {
        assert_eq!(cells(fill, all, "v_count"), [1, 1, 0, 0, 1, 0, 1].map(int), "there are none: {fill:?}");
    }
    assert!(refused(&engine, &minutes(Fill::Linear, all)).message().contains("s_first"));
}

#[test]
fn bars_are_flat_at_the_last_close_without_volume() {
    let begin = ns("2024-01-02T00:00:00Z");
    let engine = engine(&[(
        key("bar.1m.A", &[]),
        vec![(begin, bar(1.0, 3.0, 0.5, 2.0, 10.0)), (begin + 2 * MINUTE, bar(5.0, 6.0, 4.0, 5.5, 20.0))],
    )]);
    let q = |fill| Query { resample: Some("1m".into()), fill, ..query("bar.1m.A") };
    let table = ask(&engine, &q(Fill::Previous));
    for (name, want) in [
        ("open", [1.0, 2.0, 5.0]),
        ("high", [3.0, 2.0, 6.0]),
        ("low", [0.5, 2.0, 4.0]),
        ("close", [2.0, 2.0, 5.5]),
        ("volume", [10.0, 0.0, 20.0]),
    ] {
        assert_eq!(floats(&table, name), some(&want), "{name}");
    }
    assert_eq!(floats(&ask(&engine, &q(Fill::Null)), "volume"), [Some(10.0), None, Some(20.0)]);
    assert!(refused(&engine, &q(Fill::Linear)).message().contains("nobody traded"));
    assert!(
        refused(&engine, &Query { fill: Fill::Null, ..query("bar.1m.A") }).message().contains("no meaning")
    );
}

#[test]
fn days_that_the_clocks_change_are_one_window_each() {
    let v = row(&[("v", Value::Float(1.0))]);
    let engine = engine(&[(
        key("m", &[]),
        vec![(ns("2024-11-01T12:00:00Z"), v.clone()), (ns("2024-11-05T12:00:00Z"), v)],
    )]);
    let q = Query {
        window: Some(Window { every: "1d".into(), ..minutes(Fill::Null, MEAN).window.unwrap() }),
        timezone: Some("America/New_York".into()),
        ..minutes(Fill::Null, MEAN)
    };
    let hours: Vec<i64> =
        ask(&engine, &q).frame.times.windows(2).map(|t| (t[1] - t[0]) / (60 * MINUTE)).collect();
    assert_eq!(hours, [24, 24, 25, 24], "summer time ends on the third");
}

#[test]
fn limits_hold_for_windows_that_are_filled_in() {
    let engine = gappy();
    let q = |limit| Query { limit, ..minutes(Fill::Null, MEAN) };
    let table = ask(&engine, &q(Some(3)));
    assert_eq!((table.rows(), table.truncated), (3, true));
    let whole = ask(&engine, &q(Some(7)));
    assert_eq!((whole.rows(), whole.truncated), (7, false));
    let newest = ask(&engine, &Query { descending: true, ..q(Some(2)) });
    assert_eq!(floats(&newest, "v_mean"), [Some(9.0), None]);
    for descending in [false, true] {
        let run = |most| execute(&engine, &Query { descending, ..q(None) }, &Budget::default(), most);
        assert_eq!(run(7).unwrap().rows(), 7);
        assert_eq!(run(6).unwrap_err().kind(), Kind::Limit, "{descending}");
    }
    // Centuries of seconds: refused, not counted out.
    let far = Query { start: Some("1700-01-01".into()), ..minutes(Fill::Null, MEAN) };
    assert_eq!(execute(&engine, &far, &Budget::default(), ROWS_MAX).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn quantiles_lie_between_values() {
    let begin = ns("2024-01-02T00:00:00Z");
    let rows: Vec<(i64, Row)> = [7.0, 1.0, 4.0, 10.0]
        .into_iter()
        .enumerate()
        .map(|(i, x)| (begin + i as i64, row(&[("v", Value::Float(x)), ("s", Value::String("x".into()))])))
        .collect();
    let engine = engine(&[(key("m", &[]), rows)]);
    let ask_for = |field: &str, function, q| Query {
        window: Some(Window {
            every: "1m".into(),
            aggregates: vec![Aggregate { field: field.into(), function, q }],
        }),
        ..query("m")
    };
    // As `numpy.quantile([7, 1, 4, 10], q)` gives them.
    for (q, want) in [(0.0, 1.0), (0.25, 3.25), (0.5, 5.5), (0.9, 9.1), (1.0, 10.0)] {
        let table = ask(&engine, &ask_for("v", Function::Quantile, Some(q)));
        let got = floats(&table, &format!("v_quantile_{q}"))[0].unwrap();
        assert!((got - want).abs() < 1e-12, "{q}: {got}");
    }
    for (field, function, q, word) in [
        ("v", Function::Quantile, None, "needs a `q`"),
        ("v", Function::Quantile, Some(1.5), "from 0 to 1"),
        ("v", Function::Quantile, Some(f64::NAN), "from 0 to 1"),
        ("v", Function::Mean, Some(0.5), "has no `q`"),
        ("s", Function::Quantile, Some(0.5), "string"),
    ] {
        assert!(refused(&engine, &ask_for(field, function, q)).message().contains(word), "{field} {q:?}");
    }
}
