//! Over a store with the embedded engine: what is told, to whom, and in which order.

use super::*;
use crate::layer::DataLayer;
use crate::manifest::Manifest;
use crate::series::line_protocol::Precision;
use crate::series::{Budget, Column, Values};

const OP: Caller = Caller::Operator;

fn layer(toml: &str) -> (tempfile::TempDir, Arc<DataLayer>) {
    let dir = tempfile::tempdir().unwrap();
    let text =
        format!("[disk]\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\nreserve = \"0 B\"\n{toml}");
    let manifest = Manifest::parse(&text, &dir.path().join("shiphold.toml")).unwrap();
    (dir, DataLayer::open(&manifest).unwrap())
}

fn write(layer: &DataLayer, lines: &str) {
    layer.series().write_lines(&OP, "market", lines.as_bytes(), Precision::Ns).unwrap();
}

fn listen(layer: &DataLayer, pattern: &str, from: Option<i64>) -> (Tail, History) {
    layer.series().tail(&OP, None, pattern, from, &Budget::default()).unwrap()
}

/// `measurement time value` of each row that is there.
fn heard(tail: &Tail) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(event) = tail.take() {
        match event {
            TailEvent::Rows(rows) => all.extend(shown(&rows.0, &rows.1)),
            TailEvent::Lagged(lagged) => all.push(format!("lagged {}", lagged.rows)),
        }
    }
    all
}

fn shown(key: &SeriesKey, frame: &Frame) -> Vec<String> {
    let row = |at: usize| {
        let values: Vec<String> =
            fields(frame, at).map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{} {} {}", key.measurement, frame.times[at], values.join(","))
    };
    (0..frame.len()).map(row).collect()
}

#[test]
fn rows_are_told_as_they_are_written_and_only_to_who_listens() {
    let (_dir, layer) = layer("");
    write(&layer, "m v=1 1");
    let (tail, history) = listen(&layer, "m*", None);
    assert!(history.is_empty() && tail.take().is_none());
    write(&layer, "m v=2 2\nm v=3 2\nother v=1 1\nm2,host=a v=4 1");
    assert_eq!(heard(&tail), ["m 2 v=Float(2.0)", "m 2 v=Float(3.0)", "m2 1 v=Float(4.0)"]);
    layer.series().write_lines(&OP, "elsewhere", b"m v=1 1", Precision::Ns).unwrap();
    assert!(heard(&tail).is_empty());
    drop(tail);
    write(&layer, "m v=5 5");
    let (again, _) = listen(&layer, "m", None);
    assert!(heard(&again).is_empty());
}

#[test]
fn rows_that_were_refused_are_not_told() {
    let (_dir, layer) = layer("");
    write(&layer, "m v=1 1");
    let (tail, _) = listen(&layer, "m", None);
    let report =
        layer.series().write_lines(&OP, "market", b"m v=\"x\" 2\nm v=2 3\nm w=1i 4", Precision::Ns).unwrap();
    assert_eq!((report.written, report.dropped), (2, 1));
    assert_eq!(heard(&tail), ["m 3 v=Float(2.0)", "m 4 w=Integer(1)"]);
    // Nor is anything of a write that failed.
    let key = SeriesKey::new("market", "m", Vec::new()).unwrap();
    let frame = Frame { times: vec![1], columns: vec![Column::new("v", Values::Float(vec![f64::NAN]))] };
    assert!(layer.series().write(&OP, WriteBatch { series: vec![(key, frame)] }).is_err());
    assert!(heard(&tail).is_empty());
}

/// Writers go on while somebody begins to listen: each row comes once, from the history or as it is written.
#[test]
fn between_history_and_what_is_written_there_is_no_gap_and_no_repeat() {
    let (_dir, layer) = layer("");
    const ROWS: i64 = 400;
    std::thread::scope(|scope| {
        for series in 0..3 {
            let layer = &layer;
            scope.spawn(move || (0..ROWS).for_each(|t| write(layer, &format!("m{series} v={t} {t}"))));
        }
        for _ in 0..5 {
            let (tail, history) = listen(&layer, "m*", Some(0));
            let mut rows: Vec<String> = Vec::new();
            for (key, frames) in history {
                frames.for_each(|frame| rows.extend(shown(&key, &frame.unwrap())));
            }
            let last = |s: i64| format!("m{s} {} v=Float({:?})", ROWS - 1, (ROWS - 1) as f64);
            let begin = std::time::Instant::now();
            while !(0..3).all(|s| rows.contains(&last(s))) {
                rows.extend(heard(&tail));
                assert!(begin.elapsed().as_secs() < 60, "{} rows came", rows.len());
                std::thread::yield_now();
            }
            rows.extend(heard(&tail));
            for series in 0..3 {
                let of: Vec<&String> =
                    rows.iter().filter(|r| r.starts_with(&format!("m{series} "))).collect();
                let want: Vec<String> =
                    (0..ROWS).map(|t| format!("m{series} {t} v=Float({:?})", t as f64)).collect();
                assert_eq!(of, want.iter().collect::<Vec<_>>());
            }
        }
    });
}

/// Several writers overwrite one row: what is told last is what is stored.
#[test]
fn rows_of_a_series_are_told_in_the_order_of_their_commits() {
    let (_dir, layer) = layer("");
    let (tail, _) = listen(&layer, "m", None);
    for round in 0..20 {
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let layer = &layer;
                scope.spawn(move || write(layer, &format!("m v={} 1", round * 4 + writer)));
            }
        });
        let told = heard(&tail);
        let (_, history) = listen(&layer, "m", Some(0));
        let (key, mut frames) = history.into_iter().next().unwrap();
        assert_eq!(told.last(), shown(&key, &frames.next().unwrap().unwrap()).last());
        assert_eq!(told.len(), 4);
    }
}

#[test]
fn the_bounds_and_what_may_not_be_heard() {
    let (_dir, layer) = layer("");
    let mut tails: Vec<Tail> = (0..TAILS_MAX).map(|_| listen(&layer, "m", None).0).collect();
    let more =
        || layer.series().tail(&OP, None, "m", None, &Budget::default()).map(|_| ()).map_err(|e| e.kind());
    assert_eq!(more(), Err(Kind::Busy));
    tails.pop();
    assert_eq!(more(), Ok(()));
    assert_eq!(
        layer.series().tail(&OP, None, "", None, &Budget::default()).map(|_| ()).unwrap_err().kind(),
        Kind::Invalid
    );
    tails.clear();
    let grants = crate::Grants { series_read: vec!["market/a*".into()], ..crate::Grants::default() };
    let plugin = Caller::Plugin { name: "p".into(), grants: Arc::new(grants) };
    let as_plugin =
        |pattern| layer.series().tail(&plugin, None, pattern, Some(0), &Budget::default()).map(|_| ());
    assert_eq!(as_plugin("m").unwrap_err().kind(), Kind::Denied);
    assert!(as_plugin("ab*").is_ok());
    let many = |n: usize| (0..n).map(|i| format!("s{i} v=1 1\n")).collect::<String>();
    write(&layer, &many(HISTORY_SERIES_MAX));
    assert_eq!(listen(&layer, "s*", Some(0)).1.len(), HISTORY_SERIES_MAX);
    write(&layer, "s v=1 1");
    let over = layer.series().tail(&OP, None, "s*", Some(0), &Budget::default());
    assert_eq!(over.map(|_| ()).unwrap_err().kind(), Kind::Limit);
    // One that failed does not listen.
    assert_eq!(listen(&layer, "s*", Some(2)).1.len(), 0);
}

#[tokio::test]
async fn who_waits_is_woken_and_a_slow_one_keeps_nobody_waiting() {
    let (_dir, layer) = layer("");
    let (tail, _) = listen(&layer, "m", None);
    let (slow, _) = listen(&layer, "*", None);
    let waits = tokio::spawn(async move {
        let event = tail.next().await;
        (tail, event)
    });
    tokio::task::yield_now().await;
    write(&layer, "m v=1 1");
    let (_tail, event) = waits.await.unwrap();
    assert!(matches!(event, TailEvent::Rows(rows) if rows.1.times == [1]));
    let text = "x".repeat(60_000);
    for i in 0..200 {
        write(&layer, &format!("big s=\"{text}\" {i}"));
    }
    let told = heard(&slow);
    let lagged: u64 = told.iter().filter_map(|t| t.strip_prefix("lagged ")?.parse::<u64>().ok()).sum();
    assert_eq!(told.iter().filter(|t| t.starts_with("big")).count() as u64 + lagged, 200);
    assert!(lagged > 0 && told.last().unwrap().starts_with("lagged"));
}
