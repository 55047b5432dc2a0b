//! Order books.

use super::*;
use crate::series::kinds::BOOK_LEVELS_MAX;
use std::collections::BTreeSet;

/// A snapshot of so many levels a side: bids below 100, asks above, sizes as given by level.
fn snapshot(levels: u32, bid: impl Fn(u32) -> f64, ask: impl Fn(u32) -> f64) -> Row {
    (1..=levels)
        .flat_map(|n| {
            let away = f64::from(n) / 8.0;
            [
                (format!("bid_price_{n}"), Value::Float(100.0 - away)),
                (format!("bid_size_{n}"), Value::Float(bid(n))),
                (format!("ask_price_{n}"), Value::Float(100.0 + away)),
                (format!("ask_size_{n}"), Value::Float(ask(n))),
            ]
        })
        .collect()
}

fn asked(book: Book) -> Query {
    Query { book: Some(book), ..query("book.A") }
}

fn all_of_it() -> Book {
    Book { top: true, depth: vec![1, 50], imbalance: vec![50, 2] }
}

#[test]
fn the_top_depth_and_imbalance_of_fifty_levels() {
    let engine = engine(&[(
        key("book.A", &[]),
        vec![(1, snapshot(50, f64::from, |n| 2.0 * f64::from(n))), (2, snapshot(50, |_| 3.0, |_| 1.0))],
    )]);
    let table = ask(&engine, &asked(all_of_it()));
    let names: Vec<&str> = table.frame.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "best_bid",
            "best_bid_size",
            "best_ask",
            "best_ask_size",
            "spread",
            "mid",
            "bid_depth_1",
            "ask_depth_1",
            "bid_depth_50",
            "ask_depth_50",
            "imbalance_50",
            "imbalance_2"
        ]
    );
    for (name, want) in [
        ("best_bid", [99.875, 99.875]),
        ("best_bid_size", [1.0, 3.0]),
        ("best_ask", [100.125, 100.125]),
        ("best_ask_size", [2.0, 1.0]),
        ("spread", [0.25, 0.25]),
        ("mid", [100.0, 100.0]),
        ("bid_depth_1", [1.0, 3.0]),
        ("bid_depth_50", [1275.0, 150.0]),
        ("ask_depth_50", [2550.0, 50.0]),
        ("imbalance_50", [-1.0 / 3.0, 0.5]),
        ("imbalance_2", [-1.0 / 3.0, 0.5]),
    ] {
        assert_eq!(floats(&table, name), some(&want), "{name}");
    }
}

#[test]
fn levels_that_are_missing_count_as_none() {
    let mut one_sided = snapshot(3, |_| 2.0, |_| 2.0);
    one_sided.retain(|name, _| !name.starts_with("ask"));
    let mut holes = snapshot(3, |_| 2.0, |_| 1.0);
    holes.remove("bid_size_2");
    let empty = snapshot(1, |_| 0.0, |_| 0.0);
    let other = row(&[("note", Value::String("halted".into()))]);
    let engine = engine(&[(key("book.A", &[]), vec![(1, one_sided), (2, holes), (3, empty), (4, other)])]);
    let table = ask(&engine, &asked(Book { top: true, depth: vec![3], imbalance: vec![3] }));
    assert_eq!(table.frame.times, [1, 2, 3], "a row without levels is no snapshot");
    let (n, s) = (None, Some);
    assert_eq!(floats(&table, "best_ask"), [n, s(100.125), s(100.125)]);
    assert_eq!(floats(&table, "spread"), [n, s(0.25), s(0.25)]);
    assert_eq!(floats(&table, "bid_depth_3"), [s(6.0), s(4.0), s(0.0)]);
    assert_eq!(floats(&table, "ask_depth_3"), [n, s(3.0), s(0.0)]);
    assert_eq!(floats(&table, "imbalance_3"), [s(1.0), s(1.0 / 7.0), n]);
}

#[test]
fn stored_fields_come_along_and_windows_aggregate() {
    let minute = |m: i64, bid: f64| {
        let mut row = snapshot(1, |_| bid, |_| 1.0);
        row.insert("seq".into(), Value::Integer(m));
        (m * MINUTE / 2, row)
    };
    let engine = engine(&[(key("book.A", &[]), vec![minute(0, 3.0), minute(1, 1.0), minute(2, 0.0)])]);
    let beside =
        Query { fields: Some(vec!["seq".into()]), ..asked(Book { imbalance: vec![1], ..Book::default() }) };
    let table = ask(&engine, &beside);
    assert_eq!(
        table.frame.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["seq", "imbalance_1"]
    );
    let mean = Query {
        window: Some(Window {
            every: "1m".into(),
            aggregates: vec![
                Aggregate { field: "imbalance_1".into(), function: Function::Mean, q: None },
                Aggregate { field: "seq".into(), function: Function::Last, q: None },
            ],
        }),
        fill: Fill::Previous,
        ..asked(Book { imbalance: vec![1], ..Book::default() })
    };
    let table = ask(&engine, &mean);
    assert_eq!(floats(&table, "imbalance_1_mean"), some(&[0.25, -1.0]));
    assert_eq!(floats(&table, "seq_last"), some(&[1.0, 2.0]));
    // The quotes of the book beside each trade.
    let trades = [(10, row(&[("price", Value::Float(100.5))]))];
    engine.write(WriteBatch { series: vec![(key("tick.A", &[]), frame_of(&trades))] }).unwrap();
    let effective = Query {
        asof: Some(Asof {
            measurement: "book.*".into(),
            by: vec!["symbol".into()],
            book: Some(Book { top: true, ..Book::default() }),
            prefix: "book_".into(),
            ..Asof::default()
        }),
        ..query("tick.*")
    };
    let table = ask(&engine, &effective);
    assert_eq!(floats(&table, "book_mid"), some(&[100.0]));
    assert_eq!(table.column("book_time").unwrap().get(0), Some(Value::Integer(0)));
}

#[test]
fn a_window_reads_and_computes_only_what_it_aggregates() {
    let engine = engine(&[(
        key("book.A", &[]),
        vec![(1, snapshot(3, |_| 3.0, |_| 1.0)), (2, snapshot(3, |_| 1.0, |_| 3.0))],
    )]);
    let of = |fields: &[&str]| {
        let aggregate =
            |field: &&str| Aggregate { field: (*field).into(), function: Function::Mean, q: None };
        let window = Window { every: "1m".into(), aggregates: fields.iter().map(aggregate).collect() };
        Query { window: Some(window), ..asked(Book { top: true, depth: vec![3], imbalance: vec![1, 2] }) }
    };
    let sizes = ["ask_size_1", "ask_size_2", "ask_size_3", "bid_size_1", "bid_size_2", "bid_size_3"];
    for (fields, reads) in [
        (&["mid"][..], &["ask_price_1", "bid_price_1"][..]),
        (&["best_ask"], &["ask_price_1"]),
        (&["best_bid_size"], &["bid_size_1"]),
        (&["imbalance_1", "spread"], &["ask_price_1", "ask_size_1", "bid_price_1", "bid_size_1"]),
        (&["best_ask_size", "imbalance_1"], &["ask_size_1", "bid_size_1"]),
        (&["imbalance_2"], &["ask_size_1", "ask_size_2", "bid_size_1", "bid_size_2"]),
        (&["bid_depth_3"], &sizes),
        (&["bid_size_3"], &["bid_size_3"]),
    ] {
        let told = explain(&engine, &of(fields), &Budget::default(), ROWS_MAX).unwrap();
        assert_eq!(told.pushed_down.fields.unwrap(), reads, "{fields:?}");
        let computed = fields.iter().filter(|f| !f.contains("size_3")).copied().collect::<BTreeSet<_>>();
        let step = told.steps.iter().find(|s| s.starts_with("compute ")).unwrap();
        assert!(computed.iter().all(|name| step.contains(name)) && !step.contains("ask_depth"), "{step}");
    }
    let table = ask(&engine, &of(&["mid", "imbalance_2", "ask_depth_3", "bid_size_3"]));
    for (name, want) in
        [("mid_mean", 100.0), ("imbalance_2_mean", 0.0), ("ask_depth_3_mean", 6.0), ("bid_size_3_mean", 2.0)]
    {
        assert_eq!(floats(&table, name), some(&[want]), "{name}");
    }
    // What is joined to snapshots is of every one of them, also of those without a value of what is aggregated.
    let asof = Asof {
        measurement: "book.*".into(),
        by: vec!["symbol".into()],
        prefix: "joined_".into(),
        ..Asof::default()
    };
    let joined = Query { asof: Some(asof), ..of(&["mid"]) };
    let told = explain(&engine, &joined, &Budget::default(), ROWS_MAX).unwrap();
    assert_eq!(told.pushed_down.fields.unwrap().len(), 8);
}

#[test]
fn a_stored_field_stays_beside_the_column_that_is_made_of_it() {
    let engine = engine(&[(key("book.A", &[]), vec![(1, snapshot(1, |_| 3.0, |_| 1.0))])]);
    let fields = ["bid_price_1", "ask_size_1"].map(String::from).to_vec();
    let both = Query { fields: Some(fields), ..asked(Book { top: true, ..Book::default() }) };
    let table = ask(&engine, &both);
    for (name, want) in [
        ("bid_price_1", 99.875),
        ("best_bid", 99.875),
        ("ask_size_1", 1.0),
        ("best_ask_size", 1.0),
        ("best_bid_size", 3.0),
        ("best_ask", 100.125),
        ("mid", 100.0),
    ] {
        assert_eq!(floats(&table, name), some(&[want]), "{name}");
    }
    assert_eq!(table.frame.columns.len(), 8);
}

#[test]
fn a_book_that_makes_no_sense_is_refused() {
    let engine = engine(&[
        (key("book.A", &[]), vec![(1, snapshot(1, |_| 1.0, |_| 1.0))]),
        (key("bar.1m.A", &[]), vec![(1, bar(1.0, 1.0, 1.0, 1.0, 1.0))]),
        (
            key("book.B", &[]),
            vec![(1, row(&[("bid_price_1", Value::Float(1.0)), ("mid", Value::Float(1.0))]))],
        ),
    ]);
    let top = Book { top: true, ..Book::default() };
    for (q, word) in [
        (asked(Book::default()), "asks for nothing"),
        (asked(Book { depth: vec![2, 2], ..Book::default() }), "twice"),
        (Query { book: Some(top.clone()), ..query("bar.1m.A") }, "no levels"),
        (Query { book: Some(top.clone()), ..query("book.B") }, "of its own"),
        (Query { resample: Some("1h".into()), ..asked(top) }, "without `book`"),
    ] {
        assert!(refused(&engine, &q).message().contains(word), "{word}");
    }
    let kind = |n: u32| {
        execute(&engine, &asked(Book { depth: vec![n], ..Book::default() }), &Budget::default(), ROWS_MAX)
            .err()
            .map(|e| e.kind())
    };
    assert_eq!((kind(1), kind(BOOK_LEVELS_MAX)), (None, None));
    assert_eq!((kind(0), kind(BOOK_LEVELS_MAX + 1)), (Some(Kind::Limit), Some(Kind::Limit)));
}

proptest! {
    #[test]
    fn books_agree_with_their_definition(
        rows in prop::collection::vec(prop::collection::btree_map(
            (any::<bool>(), 1_u32..=BOOK_LEVELS_MAX), 0_u32..1_000, 1..100), 1..8),
        depth in 1_u32..=BOOK_LEVELS_MAX,
    ) {
        let snapshots: Vec<(i64, Row)> = rows.iter().enumerate().map(|(i, row)| {
            let cells = row.iter().map(|((bid, n), size)| {
                let side = if *bid { "bid" } else { "ask" };
                (format!("{side}_size_{n}"), Value::Float(f64::from(*size)))
            });
            (i as i64, cells.collect())
        }).collect();
        let engine = engine(&[(key("book.A", &[]), snapshots)]);
        let q = asked(Book { depth: vec![depth], imbalance: vec![depth], ..Book::default() });
        let Ok(table) = execute(&engine, &q, &Budget::default(), ROWS_MAX) else {
            // No snapshot has any of the levels that are asked for.
            prop_assert!(rows.iter().all(|row| row.keys().all(|(_, n)| *n > depth)));
            return Ok(());
        };
        for (row, time) in table.frame.times.iter().enumerate() {
            let sum = |side: bool| {
                let sizes: Vec<f64> = rows[*time as usize].iter()
                    .filter(|((bid, n), _)| *bid == side && *n <= depth).map(|(_, s)| f64::from(*s)).collect();
                (!sizes.is_empty()).then(|| sizes.iter().sum::<f64>())
            };
            let (bid, ask) = (sum(true), sum(false));
            prop_assert_eq!(floats(&table, &format!("bid_depth_{depth}"))[row], bid);
            prop_assert_eq!(floats(&table, &format!("ask_depth_{depth}"))[row], ask);
            let (b, a) = (bid.unwrap_or(0.0), ask.unwrap_or(0.0));
            let want = (b + a > 0.0).then(|| (b - a) / (b + a));
            prop_assert_eq!(floats(&table, &format!("imbalance_{depth}"))[row], want);
        }
    }
}
