use super::*;
use crate::error::Kind;
use crate::series::embedded::bounds::{
    CONFLICTS_MAX, FIELDS_MAX, NAME_BYTES_MAX, STRING_BYTES_MAX, TAGS_MAX,
};
use crate::series::{FieldType, Value, Values};

#[test]
fn a_batch_that_is_written_twice_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    for _ in 0..2 {
        let report = engine.write(ramp(&k, 0..500, 0.5)).unwrap();
        assert_eq!((report.written, report.dropped), (500, 0));
        assert_eq!(count(&engine, &k), 500);
    }
    engine.seal().unwrap();
    engine.write(ramp(&k, 0..500, 0.5)).unwrap();
    assert_eq!(count(&engine, &k), 500);
}

#[test]
fn a_point_of_another_type_is_dropped_whole_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    engine.write(ramp(&k, 0..3, 0.0)).unwrap();
    let mixed = vec![
        Column {
            name: "v".into(),
            values: Values::Integer(vec![1, 2, 3]),
            valid: Some(vec![true, false, true]),
        },
        Column::float("w", vec![7.0, 8.0, 9.0]),
    ];
    let report = engine.write(batch(&k, vec![10, 11, 12], mixed)).unwrap();
    assert_eq!((report.written, report.dropped, report.conflicts.len()), (1, 2, 1));
    assert_eq!((report.conflicts[0].have, report.conflicts[0].got), (FieldType::Float, FieldType::Integer));
    let frames: Vec<_> =
        engine.scan(&k, TimeRange::ALL, None, &Budget::default()).unwrap().map(|f| f.unwrap()).collect();
    assert_eq!(frames.iter().flat_map(|f| f.times.clone()).collect::<Vec<_>>(), [0, 1, 2, 11]);
    // Nothing left: no commit, no new series.
    let commits = engine.stats().unwrap().commits;
    let other = SeriesKey::new("market", "m", vec![("a".into(), "b".into())]).unwrap();
    let report =
        engine.write(batch(&other, vec![1], vec![Column::new("v", Values::Boolean(vec![true]))])).unwrap();
    assert_eq!((report.written, report.dropped), (0, 1));
    assert_eq!(engine.stats().unwrap().commits, commits);
    assert_eq!(engine.stats().unwrap().series, 1);
    // The types outlive a start, and the first of one batch decides.
    drop(engine);
    let engine = open(dir.path());
    let int = |n: i64| vec![Column::new("x", Values::Integer(vec![n]))];
    let mut two = batch(&key("n"), vec![1], int(5));
    two.series.push((key("n"), Frame { times: vec![2], columns: vec![Column::float("x", vec![1.0])] }));
    two.series.push((
        k.clone(),
        Frame { times: vec![2], columns: vec![Column::new("v", Values::Integer(vec![1]))] },
    ));
    let report = engine.write(two).unwrap();
    assert_eq!((report.written, report.dropped, report.conflicts.len()), (1, 2, 2));
}

#[test]
fn a_report_lists_a_hundred_conflicts_and_counts_all() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let columns = |values: fn() -> Values| {
        (0..CONFLICTS_MAX + 20).map(|i| Column::new(format!("f{i}"), values())).collect()
    };
    engine.write(batch(&key("m"), vec![1], columns(|| Values::Float(vec![1.0])))).unwrap();
    let report = engine.write(batch(&key("m"), vec![2], columns(|| Values::Integer(vec![1])))).unwrap();
    assert_eq!((report.written, report.dropped, report.conflicts.len()), (0, 1, CONFLICTS_MAX));
}

#[test]
fn rows_without_any_value_are_not_rows() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let gap = Column {
        name: "v".into(),
        values: Values::Float(vec![f64::NAN, 2.0]),
        valid: Some(vec![false, true]),
    };
    let report = engine.write(batch(&key("m"), vec![1, 2], vec![gap.clone()])).unwrap();
    assert_eq!(report.written, 1);
    assert_eq!(rows(&engine, &key("m"), TimeRange::ALL), [(2, 2.0)]);
    // What a caller leaves where no value is goes nowhere.
    let left = Column {
        name: "s".into(),
        values: Values::String(vec!["?".into(), "x".into()]),
        valid: Some(vec![false, true]),
    };
    engine.write(batch(&key("m"), vec![2, 3], vec![Column::float("v", vec![2.0, 3.0]), left])).unwrap();
    let frames = engine.scan(&key("m"), TimeRange::ALL, None, &Budget::default()).unwrap();
    let frame = frames.map(|f| f.unwrap()).next().unwrap();
    assert_eq!(frame.column("s").unwrap().values, Values::String(vec![String::new(), "x".into()]));
    engine.seal().unwrap();
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
    let none = Column { valid: Some(vec![false, false]), ..gap };
    assert_eq!(engine.write(batch(&key("n"), vec![1, 2], vec![none])).unwrap().written, 0);
    assert_eq!(engine.write(batch(&key("n"), vec![1, 2], vec![])).unwrap().written, 0);
    assert_eq!(engine.stats().unwrap().series, 1);
}

fn refused(engine: &EmbeddedEngine, batch: WriteBatch) -> crate::Error {
    let before = engine.stats().unwrap();
    let e = engine.write(batch).unwrap_err();
    assert_eq!(engine.stats().unwrap(), before, "a refused batch leaves nothing");
    e
}

#[test]
fn bounds_hold_at_their_boundary() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let text =
        |n: usize| batch(&key("t"), vec![1], vec![Column::new("s", Values::String(vec!["x".repeat(n)]))]);
    engine.write(text(STRING_BYTES_MAX)).unwrap();
    assert_eq!(refused(&engine, text(STRING_BYTES_MAX + 1)).kind(), Kind::Limit);

    let named = |n: usize| ramp(&key(&"m".repeat(n)), 0..1, 0.0);
    engine.write(named(NAME_BYTES_MAX)).unwrap();
    assert_eq!(refused(&engine, named(NAME_BYTES_MAX + 1)).kind(), Kind::Limit);

    let tagged = |n: usize| {
        let tags = (0..n).map(|i| (format!("k{i}"), "v".to_string())).collect();
        ramp(&SeriesKey::new("market", "tagged", tags).unwrap(), 0..1, 0.0)
    };
    engine.write(tagged(TAGS_MAX)).unwrap();
    assert_eq!(refused(&engine, tagged(TAGS_MAX + 1)).kind(), Kind::Limit);

    let fields = |from: usize, n: usize| {
        let columns = (from..from + n).map(|i| Column::float(format!("f{i}"), vec![1.0])).collect();
        batch(&key("fields"), vec![1], columns)
    };
    assert_eq!(refused(&engine, fields(0, FIELDS_MAX + 1)).kind(), Kind::Limit);
    engine.write(fields(0, FIELDS_MAX)).unwrap();
    assert_eq!(refused(&engine, fields(FIELDS_MAX, 1)).kind(), Kind::Limit);
    engine.seal().unwrap();
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);

    let unsorted = SeriesKey { tags: vec![("b".into(), "1".into()), ("a".into(), "1".into())], ..key("m") };
    assert_eq!(refused(&engine, ramp(&unsorted, 0..1, 0.0)).kind(), Kind::Invalid);
    let infinite = batch(&key("m"), vec![1], vec![Column::float("v", vec![f64::INFINITY])]);
    assert_eq!(refused(&engine, infinite).kind(), Kind::Invalid);
}

#[test]
fn one_series_too_many_is_refused_with_its_key_in_the_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions { series_max: 3, ..EngineOptions::default() };
    let path = dir.path().join("series.db");
    let engine = EmbeddedEngine::open(&path, &config(), options.clone()).unwrap();
    let named = |n: i32| ramp(&key(&format!("m{n}")), 0..1, 0.0);
    engine.write(named(0)).unwrap();
    let mut two = named(1);
    two.series.extend(named(2).series);
    engine.write(two).unwrap();
    let e = refused(&engine, named(3));
    assert_eq!(e.kind(), Kind::Limit);
    assert!(e.hint_text().unwrap().contains("limits.series_max"));
    engine.write(named(1)).unwrap();
    // A series without rows gives its place up at the next start.
    engine.delete(&Selector::of(&key("m1")), TimeRange::ALL).unwrap();
    drop(engine);
    let engine = EmbeddedEngine::open(&path, &config(), options).unwrap();
    assert_eq!(engine.stats().unwrap().series, 2);
    engine.write(named(3)).unwrap();
    assert_eq!(count(&engine, &key("m3")), 1);
    assert_eq!(count(&engine, &key("m1")), 0);
}

#[test]
fn a_budget_ends_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    engine.write(ramp(&k, 0..3000, 0.0)).unwrap();
    engine.seal().unwrap();
    let scan = |budget: &Budget| -> Result<usize, crate::Error> {
        engine.scan(&k, TimeRange::ALL, None, budget)?.map(|f| f.map(|f| f.len())).sum()
    };
    assert_eq!(scan(&Budget { rows_max: Some(3000), ..Budget::default() }).unwrap(), 3000);
    assert_eq!(scan(&Budget { rows_max: Some(2999), ..Budget::default() }).unwrap_err().kind(), Kind::Limit);
    let past = Budget { deadline: Some(std::time::Instant::now()), ..Budget::default() };
    assert_eq!(scan(&past).unwrap_err().kind(), Kind::Timeout);
    let cancel = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let budget = Budget { cancel: Some(cancel.clone()), ..Budget::default() };
    let mut stream = engine.scan(&k, TimeRange::ALL, None, &budget).unwrap();
    assert!(stream.next().unwrap().is_ok());
    cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(stream.next().unwrap().unwrap_err().kind(), Kind::Cancelled);
    assert!(stream.next().is_none());
}

#[test]
fn fields_are_chosen_and_every_frame_has_the_same_columns() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    engine.write(ramp(&k, 0..10, 0.0)).unwrap();
    engine.seal().unwrap();
    engine.write(batch(&k, vec![20], vec![Column::new("w", Values::Boolean(vec![true]))])).unwrap();
    let scan = |fields: Option<&[String]>| -> Vec<Frame> {
        engine.scan(&k, TimeRange::ALL, fields, &Budget::default()).unwrap().map(|f| f.unwrap()).collect()
    };
    for frame in scan(None) {
        assert_eq!(frame.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["v", "w"]);
    }
    let chosen = scan(Some(&["w".into(), "v".into(), "w".into(), "x".into()]));
    assert_eq!(chosen[0].columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["w", "v"]);
    let only = scan(Some(&["w".into()]));
    assert_eq!(only.len(), 1);
    assert_eq!((only[0].times.clone(), only[0].columns[0].get(0)), (vec![20], Some(Value::Boolean(true))));
    assert!(scan(Some(&["x".into()])).is_empty());
    let times: usize = scan(Some(&[])).iter().map(Frame::len).sum();
    assert_eq!(times, 11);
    assert!(engine.scan(&key("none"), TimeRange::ALL, None, &Budget::default()).unwrap().next().is_none());
}

#[test]
fn what_is_too_old_or_too_much_in_memory_is_sealed_by_maintain() {
    let dir = tempfile::tempdir().unwrap();
    let now = manifest::Embedded {
        seal_after: Span::from_secs(0),
        compact_every: Span::from_millis(1),
        ..config()
    };
    let engine = EmbeddedEngine::open(&dir.path().join("series.db"), &now, EngineOptions::default()).unwrap();
    let k = key("m");
    for i in 0..10 {
        engine.write(ramp(&k, i * 10..i * 10 + 10, 0.0)).unwrap();
        engine.maintain().unwrap();
        assert_eq!(engine.stats().unwrap().head_rows, 0);
        assert_eq!(engine.stats().unwrap().log_bytes, 0);
    }
    std::thread::sleep(std::time::Duration::from_millis(2));
    engine.maintain().unwrap();
    assert!(engine.stats().unwrap().chunks < 10, "small neighbours were joined");
    assert_eq!(count(&engine, &k), 100);
    engine.close().unwrap();
    assert_eq!(engine.write(ramp(&k, 0..1, 0.0)).unwrap_err().kind(), Kind::Busy);
    assert_eq!(count(&engine, &k), 100);
}

#[test]
fn space_goes_back_to_the_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    engine.write(ramp(&k, 0..200_000, 0.5)).unwrap();
    engine.seal().unwrap();
    engine.delete(&all(), TimeRange::new(1000, i64::MAX).unwrap()).unwrap();
    let report = engine.compact().unwrap();
    assert_eq!(report.chunks_after, 1);
    let bytes: u64 =
        std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 600_000, "{bytes} bytes");
    assert_eq!(count(&engine, &k), 1000);
}

#[test]
fn long_strings_make_short_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let config = manifest::Embedded { chunk_rows: 65_536, ..config() };
    let engine =
        EmbeddedEngine::open(&dir.path().join("series.db"), &config, EngineOptions::default()).unwrap();
    let k = key("text");
    for i in 0..3 {
        let texts = (0..400).map(|n| format!("{n}").repeat(20_000)).collect();
        let times = (i * 400..i * 400 + 400).collect();
        engine.write(batch(&k, times, vec![Column::new("s", Values::String(texts))])).unwrap();
    }
    engine.seal().unwrap();
    engine.compact().unwrap();
    let before = engine.stats().unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.stats().unwrap(), before);
    let n: usize =
        engine.scan(&k, TimeRange::ALL, None, &Budget::default()).unwrap().map(|f| f.unwrap().len()).sum();
    assert_eq!(n, 1200);
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
}

fn fields(engine: &EmbeddedEngine, key: &SeriesKey) -> Vec<String> {
    let found = engine.list(&Selector::of(key)).unwrap();
    found.into_iter().flat_map(|s| s.fields).map(|f| f.0).collect()
}

fn one_field(key: &SeriesKey, name: &str, times: std::ops::Range<i64>) -> WriteBatch {
    let mut out = ramp(key, times, 0.0);
    out.series[0].1.columns[0].name = name.into();
    out
}

/// As InfluxDB lists it: a field without a value is not there, until it is written again.
#[test]
fn a_field_whose_last_value_is_deleted_is_no_longer_one_of_its_series() {
    let dir = tempfile::tempdir().unwrap();
    let k = key("m");
    let mut engine = open(dir.path());
    engine.write(one_field(&k, "v", 0..10)).unwrap();
    engine.write(one_field(&k, "w", 0..10)).unwrap();
    engine.seal().unwrap();
    engine.write(one_field(&k, "v", 10..20)).unwrap();
    engine.seal().unwrap();
    engine.write(one_field(&k, "v", 20..25)).unwrap();
    let gone = |engine: &EmbeddedEngine, from, to| {
        engine.delete(&Selector::of(&k), TimeRange::new(from, to).unwrap()).unwrap()
    };
    gone(&engine, 0, 9);
    assert_eq!(fields(&engine, &k), ["v", "w"], "one value is left");
    gone(&engine, 9, 10);
    for _ in 0..2 {
        assert_eq!(fields(&engine, &k), ["v"]);
        assert_eq!(engine.latest(&Selector::of(&k)).unwrap()[0].fields.len(), 1);
        drop(engine);
        engine = open(dir.path());
    }
    engine.write(one_field(&k, "w", 30..31)).unwrap();
    for _ in 0..2 {
        assert_eq!(fields(&engine, &k), ["v", "w"]);
        drop(engine);
        engine = open(dir.path());
    }
    assert_eq!(engine.write(one_field(&k, "w", 30..32)).unwrap().conflicts, []);
    gone(&engine, 0, 100);
    engine.write(one_field(&k, "v", 0..1)).unwrap();
    assert_eq!(fields(&engine, &k), ["v"], "it came back with less");
    assert_eq!(engine.verify(&Budget::default()).unwrap(), []);
}

/// A batch that names a field while a delete takes its last other value.
#[test]
fn what_is_written_while_the_last_value_of_its_field_goes_is_there() {
    const ROUNDS: i64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let k = key("m");
    let engine = open(dir.path());
    engine.write(one_field(&k, "v", 0..10)).unwrap();
    for round in 0..ROUNDS {
        engine.write(one_field(&k, "w", 0..10)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| engine.delete(&Selector::of(&k), TimeRange::new(0, 10).unwrap()).unwrap());
            scope.spawn(|| engine.write(one_field(&k, "w", 1_000 + round..1_001 + round)).unwrap());
        });
        let rest = TimeRange::new(1_000, 2_000).unwrap();
        let names = ["w".to_string()];
        let found = |engine: &EmbeddedEngine| {
            let frames = engine.scan(&k, rest, Some(&names), &Budget::default()).unwrap();
            frames.map(|f| f.unwrap().len()).sum::<usize>()
        };
        assert_eq!(found(&engine), 1, "round {round}");
        if round % 10 == 0 {
            engine.seal().unwrap();
            drop(open_copy(dir.path(), |copy| assert_eq!(found(copy), 1, "after a start, round {round}")));
        }
        engine.delete(&Selector::of(&k), rest).unwrap();
    }
}

/// What another start would find in the file as it is now.
fn open_copy(dir: &Path, f: impl FnOnce(&EmbeddedEngine)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("series.db");
    let c = rusqlite::Connection::open(dir.join("series.db")).unwrap();
    c.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
    f(&open(copy.path()));
    copy
}
