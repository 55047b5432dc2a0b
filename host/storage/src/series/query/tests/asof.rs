//! Rows of another series beside each row.

use super::*;

fn price(x: f64) -> Row {
    row(&[("price", Value::Float(x))])
}

fn quote(bid: f64) -> Row {
    row(&[("bid", Value::Float(bid)), ("venue", Value::String(format!("V{bid}")))])
}

/// The example of the documentation of `pandas.merge_asof`: left 1, 5, 10; right 1, 2, 3, 6, 7.
fn pandas() -> ModelEngine {
    engine(&[
        (key("tick.A", &[]), vec![(1, price(1.0)), (5, price(5.0)), (10, price(10.0))]),
        (key("quote", &[]), [1, 2, 3, 6, 7].map(|t| (t, quote(t as f64))).to_vec()),
    ])
}

fn join(asof: Asof) -> Query {
    Query { asof: Some(Asof { measurement: "quote".into(), ..asof }), ..query("tick.A") }
}

fn bids(engine: &ModelEngine, asof: Asof) -> Vec<Option<f64>> {
    floats(&ask(engine, &join(asof)), "right_bid")
}

#[test]
fn rows_are_joined_as_pandas_does() {
    let engine = pandas();
    let (n, s) = (None, Some);
    let at = |direction| Asof { direction, ..Asof::default() };
    let apart = |direction| Asof { exact: false, ..at(direction) };
    // What `pd.merge_asof(left, right, on="a", direction=…, allow_exact_matches=…)` gives.
    assert_eq!(bids(&engine, at(Direction::Backward)), [s(1.0), s(3.0), s(7.0)]);
    assert_eq!(bids(&engine, apart(Direction::Backward)), [n, s(3.0), s(7.0)]);
    assert_eq!(bids(&engine, at(Direction::Forward)), [s(1.0), s(6.0), n]);
    assert_eq!(bids(&engine, apart(Direction::Forward)), [s(2.0), s(6.0), n]);
    assert_eq!(bids(&engine, at(Direction::Nearest)), [s(1.0), s(6.0), s(7.0)]);
    assert_eq!(bids(&engine, apart(Direction::Nearest)), [s(2.0), s(6.0), s(7.0)]);
    let near = |ns: u64, direction| Asof {
        tolerance: Some(crate::units::Span(std::time::Duration::from_nanos(ns))),
        ..at(direction)
    };
    assert_eq!(bids(&engine, near(1, Direction::Backward)), [s(1.0), n, n]);
    assert_eq!(bids(&engine, near(2, Direction::Backward)), [s(1.0), s(3.0), n], "so far is near enough");
    assert_eq!(bids(&engine, near(0, Direction::Nearest)), [s(1.0), n, n]);
}

#[test]
fn the_row_comes_whole_with_its_time_and_behind_the_own_columns() {
    let engine = engine(&[
        (key("tick.A", &[]), vec![(5, row(&[("price", Value::Float(1.0)), ("x", Value::Float(9.0))]))]),
        (key("quote", &[]), vec![(1, quote(1.0)), (3, row(&[("venue", Value::String("W".into()))]))]),
    ]);
    let names = |q: &Query| ask(&engine, q).frame.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    let q = join(Asof { prefix: "q.".into(), ..Asof::default() });
    assert_eq!(names(&q), ["price", "x", "q.time", "q.bid", "q.venue"]);
    let table = ask(&engine, &q);
    // The newest row has no bid: an older one does not stand in for it.
    assert_eq!(table.column("q.time").unwrap().get(0), Some(Value::Integer(3)));
    assert_eq!(table.column("q.bid").unwrap().get(0), None);
    assert_eq!(table.column("q.venue").unwrap().get(0), Some(Value::String("W".into())));
    // Of the chosen fields it is the newest row that has one of them.
    let q = Query {
        fields: Some(vec!["x".into()]),
        ..join(Asof { fields: Some(vec!["bid".into()]), prefix: String::new(), ..Asof::default() })
    };
    assert_eq!(names(&q), ["x", "time", "bid"]);
    assert_eq!(floats(&ask(&engine, &q), "bid"), some(&[1.0]));
}

#[test]
fn series_are_joined_by_what_they_have_in_common() {
    let engine = engine(&[
        (key("tick.A", &[("venue", "X")]), vec![(5, price(1.0))]),
        (key("tick.A", &[("venue", "Y")]), vec![(5, price(2.0))]),
        (key("tick.B", &[("venue", "X")]), vec![(5, price(3.0))]),
        (key("tick.C", &[("venue", "X")]), vec![(5, price(4.0))]),
        (key("q", &[("symbol", "A"), ("venue", "X")]), vec![(1, quote(10.0))]),
        (key("q", &[("symbol", "A"), ("venue", "Y")]), vec![(1, quote(20.0))]),
        (key("q", &[("symbol", "B"), ("venue", "X")]), vec![(1, quote(30.0))]),
    ]);
    let by = |by: &[&str]| Query {
        asof: Some(Asof {
            measurement: "q".into(),
            by: by.iter().map(|s| s.to_string()).collect(),
            fields: Some(vec!["bid".into()]),
            ..Asof::default()
        }),
        ..query("tick.*")
    };
    let table = ask(&engine, &by(&["symbol", "venue"]));
    assert_eq!(floats(&table, "right_bid"), [Some(10.0), Some(20.0), Some(30.0), None]);
    let e = refused(&engine, &by(&["symbol"]));
    assert!(e.message().contains("more than one") && e.hint_text().unwrap().contains("asof.by"), "{e:?}");
    let one = Query {
        asof: Some(Asof {
            tags: vec![("symbol".into(), "B".into())],
            by: Vec::new(),
            ..by(&[]).asof.unwrap()
        }),
        ..query("tick.*")
    };
    assert_eq!(floats(&ask(&engine, &one), "right_bid"), some(&[30.0; 4]), "one for all");
}

#[test]
fn windows_aggregate_what_is_joined() {
    let engine = pandas();
    let q = Query {
        window: Some(Window {
            every: "1s".into(),
            aggregates: vec![
                Aggregate { field: "right_bid".into(), function: Function::Mean, q: None },
                Aggregate { field: "price".into(), function: Function::Count, q: None },
            ],
        }),
        ..join(Asof::default())
    };
    let table = ask(&engine, &q);
    assert!((floats(&table, "right_bid_mean")[0].unwrap() - 11.0 / 3.0).abs() < 1e-12);
    assert_eq!(table.column("price_count").unwrap().get(0), Some(Value::Integer(3)));
    let only = Query {
        window: Some(Window {
            aggregates: vec![q.window.as_ref().unwrap().aggregates[0].clone()],
            every: "1s".into(),
        }),
        ..q
    };
    assert_eq!(ask(&engine, &only).frame.columns[0].name, "right_bid_mean");
}

#[test]
fn a_join_that_makes_no_sense_is_refused() {
    let engine = pandas();
    let quote = || Asof { measurement: "quote".into(), ..Asof::default() };
    for (asof, word) in [
        (Asof { measurement: "nothing".into(), ..quote() }, "no series is there to join"),
        (Asof::default(), "names no measurement"),
        (Asof { fields: Some(vec![]), ..quote() }, "`asof.fields` is empty"),
        (Asof { fields: Some(vec!["shut".into()]), ..quote() }, "`shut`"),
        (Asof { fields: Some(vec!["bid".into(), "bid".into()]), ..quote() }, "twice"),
        (Asof { by: vec![String::new()], ..quote() }, "empty name"),
        (Asof { measurement: "tick.A".into(), prefix: String::new(), ..quote() }, "of its own"),
        (Asof { book: Some(Book { top: true, ..Book::default() }), ..quote() }, "no levels"),
    ] {
        let q = Query { asof: Some(asof), ..query("tick.A") };
        assert!(refused(&engine, &q).message().contains(word), "{word}");
    }
    let bars = Query { resample: Some("1h".into()), ..join(Asof::default()) };
    assert!(refused(&engine, &bars).message().contains("without `book` and `asof`"));
    let kind = |asof| execute(&engine, &join(asof), &Budget::default(), ROWS_MAX).map_err(|e| e.kind());
    let by = |n: usize| Asof { by: vec!["x".into(); n], ..Asof::default() };
    let prefix = |n: usize| Asof { prefix: "x".repeat(n), ..Asof::default() };
    assert!(
        kind(by(super::super::asof::BY_MAX)).is_ok()
            && kind(prefix(super::super::asof::PREFIX_BYTES_MAX)).is_ok()
    );
    assert_eq!(kind(by(super::super::asof::BY_MAX + 1)).unwrap_err(), Kind::Limit);
    assert_eq!(kind(prefix(super::super::asof::PREFIX_BYTES_MAX + 1)).unwrap_err(), Kind::Limit);
    // What is read of the other series counts as well: three rows here, two there so far.
    let few = Budget { rows_max: Some(5), ..Budget::default() };
    assert_eq!(execute(&engine, &join(Asof::default()), &few, ROWS_MAX).unwrap_err().kind(), Kind::Limit);
    let hidden = |k: &SeriesKey| k.measurement != "quote";
    let e = execute_for(&engine, &join(Asof::default()), &Budget::default(), ROWS_MAX, &hidden).unwrap_err();
    assert!(e.message().contains("no series is there"), "what may not be read is not there: {e:?}");
}

#[test]
fn the_json_form_has_defaults_and_no_unknown_keys() {
    let asof: Asof = serde_json::from_value(json!({ "measurement": "quote", "tolerance": "5s" })).unwrap();
    assert_eq!((asof.exact, asof.prefix.as_str(), asof.direction), (true, "right_", Direction::Backward));
    assert_eq!(asof.tolerance, Some("5 s".parse().unwrap()));
    for wrong in [json!({ "measurement": "m", "tolerance": "5" }), json!({ "measurment": "m" })] {
        assert!(serde_json::from_value::<Asof>(wrong).is_err());
    }
}

/// What a join is, by its definition.
fn naive(rights: &[i64], time: i64, how: &Asof) -> Option<i64> {
    let fits = |t: &i64| {
        let near = how.tolerance.is_none_or(|s| t.abs_diff(time) as i64 <= s.as_nanos_i64());
        near && (how.exact || *t != time)
    };
    let before = rights.iter().copied().filter(fits).filter(|t| *t <= time).max();
    let after = rights.iter().copied().filter(fits).filter(|t| *t >= time).min();
    match how.direction {
        Direction::Backward => before,
        Direction::Forward => after,
        Direction::Nearest => [before, after].into_iter().flatten().min_by_key(|t| t.abs_diff(time)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn joins_agree_with_their_definition(
        left in prop::collection::btree_set(0_i64..200, 1..40),
        right in prop::collection::btree_set(0_i64..200, 1..120),
        scale in prop::sample::select(vec![1_i64, 1_000_000_007]),
        frame_rows in 1_usize..12,
        tolerance in prop::option::of(0_u64..30),
        direction in prop::sample::select(vec![Direction::Backward, Direction::Forward, Direction::Nearest]),
        exact: bool,
        descending: bool,
        limit in prop::option::of(1_u64..40),
        range in (0_i64..200, 0_i64..200),
    ) {
        let engine = ModelEngine::with_frame_rows(frame_rows);
        let rows = |times: &std::collections::BTreeSet<i64>| {
            times.iter().map(|t| (t * scale, price((t * scale) as f64))).collect::<Vec<_>>()
        };
        let all = [("tick.A", &left), ("quote", &right)].map(|(name, times)| (key(name, &[]), frame_of(&rows(times))));
        engine.write(WriteBatch { series: all.to_vec() }).unwrap();
        let tolerance = tolerance.map(|t| crate::units::Span(std::time::Duration::from_nanos(t * scale as u64)));
        let asof = Asof { tolerance, direction, exact, measurement: "quote".into(), ..Asof::default() };
        let (start, end) = (range.0.min(range.1) * scale, range.0.max(range.1) * scale);
        let q = Query {
            start: Some(start.into()), end: Some(end.into()), descending, limit, asof: Some(asof.clone()),
            ..query("tick.A")
        };
        let table = ask(&engine, &q);
        let rights: Vec<i64> = right.iter().map(|t| t * scale).collect();
        let mut want: Vec<(i64, Option<i64>)> = left
            .iter()
            .map(|t| t * scale)
            .filter(|t| start <= *t && *t < end)
            .map(|t| (t, naive(&rights, t, &asof)))
            .collect();
        if descending {
            want.reverse();
        }
        want.truncate(limit.map_or(usize::MAX, |l| l as usize));
        let times = table.column("right_time").unwrap();
        let got: Vec<(i64, Option<i64>)> = table.frame.times.iter().enumerate().map(|(i, t)| match times.get(i) {
            Some(Value::Integer(at)) => (*t, Some(at)),
            _ => (*t, None),
        }).collect();
        prop_assert_eq!(&got, &want);
        let prices = floats(&table, "right_price");
        for ((_, at), price) in want.iter().zip(prices) {
            prop_assert_eq!(at.map(|t| t as f64), price, "the row that the time is of");
        }
    }
}
