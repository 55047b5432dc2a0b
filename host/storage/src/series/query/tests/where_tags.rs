//! What tags must hold.

use super::*;

fn exchanges() -> ModelEngine {
    let v = |x| row(&[("v", Value::Float(x))]);
    engine(&[
        (key("m", &[("exchange", "XNAS")]), vec![(1, v(1.0))]),
        (key("m", &[("exchange", "XNYS"), ("lit", "yes")]), vec![(1, v(2.0))]),
        (key("m", &[("exchange", "ARCX")]), vec![(1, v(3.0))]),
        (key("m", &[]), vec![(1, v(4.0))]),
    ])
}

fn found(filters: serde_json::Value) -> Vec<f64> {
    let q: Query =
        serde_json::from_value(json!({ "bucket": "market", "measurement": "m", "where": filters })).unwrap();
    let mut found: Vec<f64> = floats_of(&ask(&exchanges(), &q));
    found.sort_by(f64::total_cmp);
    found
}

fn floats_of(table: &Table) -> Vec<f64> {
    table.column("v").map_or_else(Vec::new, |_| floats(table, "v").into_iter().flatten().collect())
}

#[test]
fn a_tag_is_one_of_several_matches_or_is_not() {
    let exchange = |rest: serde_json::Value| {
        let mut filter = json!({ "tag": "exchange" });
        filter.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        found(json!([filter]))
    };
    assert_eq!(exchange(json!({ "equals": "XNAS" })), [1.0]);
    assert_eq!(exchange(json!({ "in": ["XNAS", "ARCX", "NONE"] })), [1.0, 3.0]);
    assert_eq!(exchange(json!({ "in": [] })), [0.0; 0]);
    assert_eq!(exchange(json!({ "matches": "^XN" })), [1.0, 2.0]);
    assert_eq!(exchange(json!({ "matches": "(?i)arc" })), [3.0]);
    // Without the tag is as an empty one.
    assert_eq!(exchange(json!({ "equals": "" })), [4.0]);
    assert_eq!(exchange(json!({ "matches": "^$" })), [4.0]);
    assert_eq!(exchange(json!({ "not": true, "equals": "XNAS" })), [2.0, 3.0, 4.0]);
    assert_eq!(exchange(json!({ "not": true, "matches": "X" })), [4.0]);
    assert_eq!(exchange(json!({ "not": true, "in": [] })), [1.0, 2.0, 3.0, 4.0]);
    // All of them hold.
    let both =
        json!([{ "tag": "exchange", "matches": "^X" }, { "tag": "lit", "not": true, "equals": "yes" }]);
    assert_eq!(found(both), [1.0]);
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let with = |filters: Vec<TagFilter>| Query { filters, ..query("m") };
    let filter = |tag: &str| TagFilter { tag: tag.into(), ..TagFilter::default() };
    for (filters, word) in [
        (vec![filter("a")], "exactly one of"),
        (
            vec![TagFilter { equals: Some("x".into()), matches: Some("x".into()), ..filter("a") }],
            "exactly one of",
        ),
        (vec![TagFilter { equals: Some("x".into()), ..filter("") }], "names no tag"),
        (vec![TagFilter { matches: Some("(".into()), ..filter("a") }], "the expression for `a`"),
        (vec![TagFilter { matches: Some("(?:a{1000}){1000}".into()), ..filter("a") }], "too large"),
    ] {
        let e = refused(&exchanges(), &with(filters.clone()));
        assert!(e.message().contains(word), "{filters:?}: {e}");
    }
    let limit = |filters: Vec<TagFilter>| {
        execute(&exchanges(), &with(filters), &Budget::default(), ROWS_MAX).err().map(|e| e.kind())
    };
    let equal = TagFilter { equals: Some("x".into()), ..filter("a") };
    assert_eq!(limit(vec![equal.clone(); FILTERS_MAX]), None);
    assert_eq!(limit(vec![equal; FILTERS_MAX + 1]), Some(Kind::Limit));
    let many = |n: usize| vec![TagFilter { any_of: Some(vec!["x".into(); n]), ..filter("a") }];
    assert_eq!(limit(many(FILTER_VALUES_MAX)), None);
    assert_eq!(limit(many(FILTER_VALUES_MAX + 1)), Some(Kind::Limit));
    let long = |n: usize| vec![TagFilter { matches: Some("x".repeat(n)), ..filter("a") }];
    assert_eq!(limit(long(REGEX_BYTES_MAX)), None);
    assert_eq!(limit(long(REGEX_BYTES_MAX + 1)), Some(Kind::Limit));
    let unknown = json!({ "measurement": "m", "where": [{ "tag": "a", "equal": "x" }] });
    assert!(serde_json::from_value::<Query>(unknown).is_err());
}

proptest! {
    #[test]
    fn no_expression_panics(pattern in "\\PC{0,40}", value in "\\PC{0,20}") {
        let filter = TagFilter { tag: "t".into(), matches: Some(pattern), ..TagFilter::default() };
        let engine = engine(&[(key("m", &[("t", &format!("x{value}"))]), vec![(1, row(&[("v", Value::Float(1.0))]))])]);
        let _ = execute(&engine, &Query { filters: vec![filter], ..query("m") }, &Budget::default(), ROWS_MAX);
    }
}
