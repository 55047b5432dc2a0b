use super::super::ast::{
    Aggregate, Asof, Book, Direction, Fill, Function, Query, Sessions, TagFilter, Time, Window,
};
use super::*;
use crate::Kind;
use crate::series::kinds::Session;
use proptest::prelude::*;

fn same(text: &str, want: Query) {
    let got = parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    assert_eq!(got, want, "{text}");
    assert_eq!(parse(&to_text(&got)).unwrap(), got, "{}", to_text(&got));
}

fn of(measurement: &str) -> Query {
    Query { measurement: measurement.into(), ..Query::default() }
}

fn aggregate(function: Function, field: &str, q: Option<f64>) -> Aggregate {
    Aggregate { field: field.into(), function, q }
}

#[test]
fn the_text_is_the_query() {
    same("SELECT * FROM tick.AAPL", of("tick.AAPL"));
    same(
        r#"select mean(close), QUANTILE("close", 0.95) from "bar.1m.*" bucket market
           where exchange in ('XNAS', 'ARCX') and venue = 'a''b' and time >= '2024-01-01' and time < now() - 1d
           group by 1h fill previous timezone 'America/New_York' order by time desc limit 100"#,
        Query {
            bucket: Some("market".into()),
            tags: vec![("venue".into(), "a'b".into())],
            filters: vec![TagFilter {
                tag: "exchange".into(),
                any_of: Some(vec!["XNAS".into(), "ARCX".into()]),
                ..TagFilter::default()
            }],
            start: Some("2024-01-01".into()),
            end: Some("now() - 1d".into()),
            window: Some(Window {
                every: "1h".into(),
                aggregates: vec![
                    aggregate(Function::Mean, "close", None),
                    aggregate(Function::Quantile, "close", Some(0.95)),
                ],
            }),
            fill: Fill::Previous,
            timezone: Some("America/New_York".into()),
            descending: true,
            limit: Some(100),
            ..of("bar.1m.*")
        },
    );
    same(
        "SELECT open, \"select\" FROM bar.1m.A RESAMPLE '1d' SESSION nyse WHERE time >= -5 AND time < 9",
        Query {
            fields: Some(vec!["open".into(), "select".into()]),
            resample: Some("1d".into()),
            session: Some(Sessions::Named("nyse".into())),
            start: Some(Time::Ns(-5)),
            end: Some(Time::Ns(9)),
            ..of("bar.1m.A")
        },
    );
    same(
        "SELECT price FROM \"tick.*\" ASOF JOIN \"book.*\" BUCKET other FIELDS (seq) ON (venue = 'X' AND lit != '') \
         LEVELS (TOP, DEPTH 10) WITHIN 5s NEAREST EXCLUSIVE USING (symbol) PREFIX 'book_' AFTER '01ab'",
        Query {
            fields: Some(vec!["price".into()]),
            after: Some("01ab".into()),
            asof: Some(Asof {
                bucket: Some("other".into()),
                measurement: "book.*".into(),
                tags: vec![("venue".into(), "X".into())],
                filters: vec![TagFilter {
                    tag: "lit".into(),
                    equals: Some(String::new()),
                    not: true,
                    ..TagFilter::default()
                }],
                fields: Some(vec!["seq".into()]),
                book: Some(Book { top: true, depth: vec![10], imbalance: vec![] }),
                tolerance: Some("5 s".parse().unwrap()),
                direction: Direction::Nearest,
                exact: false,
                by: vec!["symbol".into()],
                prefix: "book_".into(),
            }),
            ..of("tick.*")
        },
    );
    same(
        "SELECT * FROM book.A BOOK (IMBALANCE 5) WHERE a =~ '^x' AND b !~ 'y' AND c NOT IN () AND d IS '' SESSION (TIMEZONE \
         'America/New_York' OPEN '09:30' CLOSE '16:00' HOLIDAYS ('2024-07-04') EARLY ('2024-07-03' '13:00'))",
        Query {
            book: Some(Book { imbalance: vec![5], ..Book::default() }),
            filters: vec![
                TagFilter { tag: "a".into(), matches: Some("^x".into()), ..TagFilter::default() },
                TagFilter { tag: "b".into(), matches: Some("y".into()), not: true, ..TagFilter::default() },
                TagFilter { tag: "c".into(), any_of: Some(vec![]), not: true, ..TagFilter::default() },
                TagFilter { tag: "d".into(), equals: Some(String::new()), ..TagFilter::default() },
            ],
            session: Some(Sessions::Given(Session::new_york())),
            ..of("book.A")
        },
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, place, word) in [
        ("", "line 1, column 1", "expected SELECT, found the end"),
        ("SELEC * FROM m", "line 1, column 1", "expected SELECT, found `SELEC`"),
        ("SELECT * FORM m", "line 1, column 10", "expected FROM, found `FORM`"),
        ("SELECT *\nFROM m\n  WHERE é ~ 'x'", "line 3, column 11", "`~` has no meaning"),
        ("SELECT * FROM m WHERE time > 5", "line 1, column 28", "expected >= or <"),
        ("SELECT * FROM m WHERE time >= 5 AND time >= 6", "line 1, column 42", "twice"),
        ("SELECT * FROM m WHERE a = b", "line 1, column 27", "a value in '…'"),
        ("SELECT * FROM m LIMIT 1 LIMIT 2", "line 1, column 25", "LIMIT stands there twice"),
        ("SELECT * FROM m LIMIT -1", "line 1, column 23", "a number of rows"),
        ("SELECT middle(close) FROM m GROUP BY 1h", "line 1, column 8", "none of the functions first, last"),
        ("SELECT mean(close) FROM m", "line 1, column 26", "need GROUP BY"),
        ("SELECT close FROM m GROUP BY 1h", "line 1, column 32", "needs functions"),
        ("SELECT close, mean(close) FROM m GROUP BY 1h", "line 1, column 27", "do not go together"),
        ("SELECT * FROM 'm'", "line 1, column 15", "expected a measurement"),
        ("SELECT * FROM \"m", "line 1, column 15", "\" is missing"),
        ("SELECT * FROM m; DROP", "line 1, column 16", "`;` has no meaning"),
        ("SELECT * FROM m FILL next", "line 1, column 22", "none, null, previous or linear"),
        ("SELECT * FROM m ASOF JOIN q WITHIN 5", "line 1, column 36", "unit is missing"),
        ("SELECT * FROM m WHERE time >= now", "line 1, column 34", "expected ("),
        ("SELECT * FROM m BOOK (TOP DEPTH 1)", "line 1, column 27", "expected )"),
    ] {
        let e = parse(text).unwrap_err();
        assert_eq!(e.kind(), Kind::Invalid);
        assert!(e.message().contains(place) && e.message().contains(word), "{text}: {e}");
        assert!(e.hint_text().unwrap().contains("SELECT mean(close)"));
    }
    let long = |n: usize| format!("SELECT * FROM {}", "m".repeat(n - 14));
    assert!(parse(&long(TEXT_BYTES_MAX)).is_ok());
    assert_eq!(parse(&long(TEXT_BYTES_MAX + 1)).unwrap_err().kind(), Kind::Limit);
    let shown = parse(&format!("SELECT * FROM m '{}'", "x".repeat(1_000))).unwrap_err();
    assert!(shown.message().len() < 400, "{shown}");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.*]{1,8}",
        "\\PC{0,8}",
        prop::sample::select(vec!["\"", "'", "') OR (\"", "\n", "FROM", "time", "1h"]).prop_map(String::from)
    ]
}

fn filter() -> impl Strategy<Value = TagFilter> {
    (text(), 0..3, prop::collection::vec(text(), 0..3), text(), any::<bool>()).prop_map(
        |(tag, which, any_of, one, not)| {
            let (equals, any_of, matches) = match which {
                0 => (Some(one), None, None),
                1 => (None, Some(any_of), None),
                _ => (None, None, Some(one)),
            };
            TagFilter { tag, equals, any_of, matches, not }
        },
    )
}

fn tags() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 0..3)
}

fn book() -> impl Strategy<Value = Option<Book>> {
    let levels = || prop::collection::vec(any::<u32>(), 0..3);
    prop::option::of((any::<bool>(), levels(), levels()).prop_map(|(top, depth, imbalance)| Book {
        top,
        depth,
        imbalance,
    }))
}

fn asof() -> impl Strategy<Value = Asof> {
    let direction = prop::sample::select(vec![Direction::Backward, Direction::Forward, Direction::Nearest]);
    let names = || prop::collection::vec(text(), 0..3);
    (
        (
            prop::option::of(text()),
            text(),
            tags(),
            prop::collection::vec(filter(), 0..2),
            prop::option::of(names()),
        ),
        (book(), prop::option::of(0..u64::MAX / 2), direction, any::<bool>(), names(), text()),
    )
        .prop_map(
            |(
                (bucket, measurement, tags, filters, fields),
                (book, tolerance, direction, exact, by, prefix),
            )| Asof {
                bucket,
                measurement,
                tags,
                filters,
                fields,
                book,
                tolerance: tolerance.map(|ns| crate::units::Span(std::time::Duration::from_nanos(ns))),
                direction,
                exact,
                by,
                prefix,
            },
        )
}

fn session() -> impl Strategy<Value = Sessions> {
    let texts = || prop::collection::vec(text(), 0..3);
    prop_oneof![
        text().prop_map(Sessions::Named),
        (text(), text(), text(), texts(), texts(), prop::collection::btree_map(text(), text(), 0..3))
            .prop_map(|(timezone, open, close, weekdays, holidays, early)| {
                Sessions::Given(Session { timezone, open, close, weekdays, holidays, early })
            }),
    ]
}

fn time() -> impl Strategy<Value = Option<Time>> {
    prop::option::of(prop_oneof![any::<i64>().prop_map(Time::Ns), text().prop_map(Time::Text)])
}

fn query() -> impl Strategy<Value = Query> {
    let function = prop::sample::select(vec![Function::First, Function::Mean, Function::Quantile]);
    let aggregates = (text(), function, prop::option::of(0.0..1.0_f64))
        .prop_map(|(field, function, q)| Aggregate { field, function, q });
    let window = (text(), prop::collection::vec(aggregates, 1..3))
        .prop_map(|(every, aggregates)| Window { every, aggregates });
    let fill = prop::sample::select(vec![Fill::None, Fill::Null, Fill::Previous, Fill::Linear]);
    (
        (prop::option::of(text()), text(), tags(), prop::collection::vec(filter(), 0..3)),
        (prop::option::of(prop::collection::vec(text(), 1..3)), time(), time(), prop::option::of(text())),
        (
            prop::option::of(window),
            fill,
            prop::option::of(text()),
            prop::option::of(any::<u64>()),
            any::<bool>(),
        ),
        (time(), prop::option::of(text()), book(), prop::option::of(asof()), prop::option::of(session())),
    )
        .prop_map(|(from, range, shape, more)| {
            let (bucket, measurement, tags, filters) = from;
            let (fields, start, end, resample) = range;
            let (window, fill, timezone, limit, descending) = shape;
            let (as_known_at, after, book, asof, session) = more;
            // A window names its fields itself.
            let fields = fields.filter(|_| window.is_none());
            Query {
                bucket,
                measurement,
                tags,
                filters,
                fields,
                start,
                end,
                resample,
                window,
                fill,
                timezone,
                limit,
                descending,
                as_known_at,
                after,
                book,
                asof,
                session,
            }
        })
}

#[test]
fn a_minute_is_written_as_in_a_timeframe() {
    let within = |span: &str| parse(&format!("SELECT * FROM a ASOF JOIN b WITHIN {span}")).unwrap();
    assert_eq!(within("1m"), within("60s"));
    assert_eq!(within("'1 min'"), within("60s"));
    assert!(parse("SELECT * FROM a ASOF JOIN b WITHIN 1x").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever stands in a name or a value, it is read as that and as nothing else.
    #[test]
    fn a_printed_query_is_the_same_query(query in query()) {
        let text = to_text(&query);
        prop_assert_eq!(parse(&text).map_err(|e| format!("{text}: {e}")).unwrap(), query);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_words_panic(words in prop::collection::vec(prop::sample::select(vec![
        "SELECT", "FROM", "m", "*", "(", ")", ",", "WHERE", "time", ">=", "now", "-", "1d", "'x'", "\"x\"", "ASOF", "JOIN",
        "BOOK", "SESSION", "GROUP", "BY", "mean", "LIMIT", "5", "IN", "NOT", "AND", "=", "EARLY", "WITHIN", "\"", "'",
    ]), 0..20)) {
        let text = format!("SELECT * FROM m {}", words.join(" "));
        let _ = parse(&text);
    }
}
