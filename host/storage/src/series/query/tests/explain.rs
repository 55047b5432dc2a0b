//! What a query took.

use super::*;
use crate::manifest::Manifest;
use crate::series::embedded::{EmbeddedEngine, EngineOptions};

#[test]
fn the_steps_and_rows_are_told() {
    let engine = ten();
    let q = Query {
        window: Some(Window {
            every: "5m".into(),
            aggregates: vec![Aggregate { field: "close".into(), function: Function::Mean, q: None }],
        }),
        start: Some("2024-01-02T13:32:00Z".into()),
        fill: Fill::Null,
        filters: vec![TagFilter { tag: "x".into(), equals: Some(String::new()), ..TagFilter::default() }],
        limit: Some(1),
        ..query("bar.1m.*")
    };
    let e = explain(&engine, &q, &Budget::default(), ROWS_MAX).unwrap();
    assert_eq!((e.series, e.rows_read, e.rows, e.truncated), (1, 8, 1, true));
    assert_eq!(e.series_shown, ["market/bar.1m.A"]);
    assert_eq!(e.pushed_down.fields, Some(vec!["close".to_string()]));
    assert_eq!(e.pushed_down.range.start, ns("2024-01-02T13:32:00Z"));
    assert_eq!(
        e.steps,
        [
            "choose series by 1 filters of `where`",
            "make windows of 5m: close_mean",
            "fill windows without rows"
        ]
    );
    assert!(explain(&engine, &Query { limit: Some(0), ..q }, &Budget::default(), ROWS_MAX).is_err());
}

#[test]
fn chunks_outside_of_the_range_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = Manifest::parse("", &dir.path().join("shiphold.toml")).unwrap();
    let engine = EmbeddedEngine::open(
        &dir.path().join("series.db"),
        &manifest.series.embedded,
        EngineOptions::default(),
    )
    .unwrap();
    for part in 0..3 {
        let rows: Vec<(i64, Row)> =
            (0..100).map(|i| (part * 1_000 + i, row(&[("v", Value::Float(i as f64))]))).collect();
        engine.write(WriteBatch { series: vec![(key("m", &[]), frame_of(&rows))] }).unwrap();
        engine.seal().unwrap();
    }
    let of = |start: i64, end: i64| {
        let q = Query { start: Some(start.into()), end: Some(end.into()), ..query("m") };
        explain(&engine, &q, &Budget::default(), ROWS_MAX).unwrap()
    };
    let all = of(0, 10_000);
    assert_eq!((all.engine, all.chunks_skipped, all.rows_read), ("embedded", 0, 300));
    let one = of(1_000, 1_050);
    assert_eq!(one.rows_read, 50);
    assert_eq!(one.chunks_read + one.chunks_skipped, all.chunks_read);
    assert!(
        one.chunks_skipped > 0 && 0 < one.chunk_bytes && one.chunk_bytes < all.chunk_bytes,
        "{one:?} {all:?}"
    );
    assert_eq!((one.requests, one.reply_bytes), (0, 0));
}
