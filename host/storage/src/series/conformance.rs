//! What every series engine must do alike: small named checks, each in a bucket of its own.
//!
//! [`run`] goes through all of them and then names each one that failed. The embedded engine, the model that
//! tests compare with, and a real InfluxDB run the same list.

use super::model::{TIME_MAX_NS, TIME_MIN_NS};
use super::{
    Budget, Column, FieldType, Frame, Selector, SeriesEngine, SeriesKey, TimeRange, Value, Values,
    WriteBatch, WriteReport,
};
use crate::error::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

type Check = fn(&dyn SeriesEngine, &str);

/// The checks, by name.
const CHECKS: &[(&str, Check)] = &[
    ("every type comes back", every_type_comes_back),
    ("unordered and repeated times", unordered_and_repeated_times),
    ("the last write wins and fields merge", last_wins_and_fields_merge),
    ("late data", late_data),
    ("fields are chosen", fields_are_chosen),
    ("ranges are half open", ranges_are_half_open),
    ("nothing is an answer", nothing_is_an_answer),
    ("a series is exact", a_series_is_exact),
    ("buckets are apart", buckets_are_apart),
    ("hostile names", hostile_names),
    ("hostile texts", hostile_texts),
    ("extreme numbers", extreme_numbers),
    ("extreme times", extreme_times),
    ("what no engine holds is refused", what_no_engine_holds_is_refused),
    ("sparse fields", sparse_fields),
    ("latest is per field", latest_is_per_field),
    ("list", list),
    ("selectors", selectors),
    ("delete a range", delete_a_range),
    ("delete by pattern", delete_by_pattern),
    ("delete by tag", delete_by_tag),
    ("conflicts are counted", conflicts_are_counted),
    ("conflicts within one batch", conflicts_within_one_batch),
    ("a type holds for all times", a_type_holds_for_all_times),
    ("rewriting changes nothing", rewriting_changes_nothing),
    ("a large batch", a_large_batch),
    ("many series", many_series),
    ("writers side by side", writers_side_by_side),
    ("budgets end a scan", budgets_end_a_scan),
];

/// Runs every check against an engine; names those that fail.
pub fn run(engine: &dyn SeriesEngine) {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        if catch_unwind(AssertUnwindSafe(|| check(engine, name))).is_err() {
            eprintln!("^ {}: {name}", engine.capabilities().name);
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{}: {failed:?}", engine.capabilities().name);
}

/// A row by field; values as text that keeps type and bits apart (`-0.0`, `1` and `1.0` all differ).
type Rows = BTreeMap<i64, BTreeMap<String, String>>;

fn shown(value: &Value) -> String {
    match value {
        Value::Float(v) => format!("f {v:?}"),
        Value::Integer(v) => format!("i {v}"),
        Value::Unsigned(v) => format!("u {v}"),
        Value::Boolean(v) => format!("b {v}"),
        Value::String(v) => format!("s {v}"),
    }
}

fn tags(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect()
}

fn key(bucket: &str, measurement: &str, with: &[(&str, &str)]) -> SeriesKey {
    SeriesKey::new(bucket, measurement, tags(with)).unwrap()
}

fn select(bucket: &str, measurement: &str, with: &[(&str, &str)]) -> Selector {
    Selector { bucket: Some(bucket.into()), measurement: Some(measurement.into()), tags: tags(with) }
}

fn frame(times: &[i64], columns: Vec<Column>) -> Frame {
    Frame { times: times.to_vec(), columns }
}

fn floats(name: &str, values: &[f64]) -> Column {
    Column::float(name, values.to_vec())
}

/// A column with gaps.
fn gappy(name: &str, values: &[Option<f64>]) -> Column {
    let mut column = Column::float(name, values.iter().map(|v| v.unwrap_or_default()).collect());
    column.valid = Some(values.iter().map(Option::is_some).collect());
    column
}

#[track_caller]
fn write(engine: &dyn SeriesEngine, key: &SeriesKey, frame: Frame) -> WriteReport {
    let report = try_write(engine, key, frame).unwrap();
    assert_eq!((report.dropped, report.conflicts.len()), (0, 0), "{report:?}");
    report
}

fn try_write(engine: &dyn SeriesEngine, key: &SeriesKey, frame: Frame) -> crate::Result<WriteReport> {
    engine.write(WriteBatch { series: vec![(key.clone(), frame)] })
}

/// The rows of a scan. Times must ascend strictly, over frames too; a row without any value counts as no row.
#[track_caller]
fn rows_in(engine: &dyn SeriesEngine, key: &SeriesKey, range: TimeRange, fields: Option<&[&str]>) -> Rows {
    let fields: Option<Vec<String>> = fields.map(|f| f.iter().map(|f| (*f).to_string()).collect());
    let mut rows = Rows::new();
    let mut last = None;
    for frame in engine.scan(key, range, fields.as_deref(), &Budget::default()).unwrap() {
        let frame = frame.unwrap();
        frame.validate().unwrap();
        for (row, time) in frame.times.iter().enumerate() {
            assert!(last.is_none_or(|l| l < *time), "{key}: {time} after {last:?}");
            assert!(range.contains(*time), "{key}: {time} is outside {range:?}");
            last = Some(*time);
            let values: BTreeMap<String, String> =
                frame.columns.iter().filter_map(|c| Some((c.name.clone(), shown(&c.get(row)?)))).collect();
            if !values.is_empty() {
                rows.insert(*time, values);
            }
        }
    }
    rows
}

#[track_caller]
fn rows(engine: &dyn SeriesEngine, key: &SeriesKey) -> Rows {
    rows_in(engine, key, TimeRange::ALL, None)
}

fn want(rows: &[(i64, &[(&str, &str)])]) -> Rows {
    rows.iter()
        .map(|(t, values)| (*t, values.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect()))
        .collect()
}

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(start, end).unwrap()
}

fn every_type_comes_back(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("a", "1"), ("b", "2")]);
    let columns = vec![
        floats("f", &[1.5, -0.25]),
        Column::new("i", Values::Integer(vec![-7, 7])),
        Column::new("u", Values::Unsigned(vec![0, 7])),
        Column::new("b", Values::Boolean(vec![true, false])),
        Column::new("s", Values::String(vec!["one".into(), "two".into()])),
        gappy("g", &[None, Some(0.5)]),
    ];
    assert_eq!(write(engine, &key, frame(&[10, 20], columns)).written, 2);
    assert_eq!(
        rows(engine, &key),
        want(&[
            (10, &[("f", "f 1.5"), ("i", "i -7"), ("u", "u 0"), ("b", "b true"), ("s", "s one")]),
            (
                20,
                &[
                    ("f", "f -0.25"),
                    ("i", "i 7"),
                    ("u", "u 7"),
                    ("b", "b false"),
                    ("s", "s two"),
                    ("g", "f 0.5")
                ]
            ),
        ])
    );
}

fn unordered_and_repeated_times(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let columns = vec![floats("v", &[3.0, 1.0, 2.0, 9.0]), gappy("w", &[Some(30.0), None, Some(20.0), None])];
    write(engine, &key, frame(&[3, 1, 2, 3], columns));
    assert_eq!(
        rows(engine, &key),
        want(&[
            (1, &[("v", "f 1.0")]),
            (2, &[("v", "f 2.0"), ("w", "f 20.0")]),
            (3, &[("v", "f 9.0"), ("w", "f 30.0")]),
        ])
    );
}

fn last_wins_and_fields_merge(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("s", "A")]);
    write(engine, &key, frame(&[1, 2], vec![floats("a", &[1.0, 2.0])]));
    write(engine, &key, frame(&[2, 3], vec![floats("b", &[20.0, 30.0])]));
    write(engine, &key, frame(&[1], vec![floats("a", &[-1.0])]));
    assert_eq!(
        rows(engine, &key),
        want(&[(1, &[("a", "f -1.0")]), (2, &[("a", "f 2.0"), ("b", "f 20.0")]), (3, &[("b", "f 30.0")])])
    );
}

fn late_data(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let day = 86_400_000_000_000;
    for (at, value) in [(100, 1.0), (50, 2.0), (75, 3.0), (1, 4.0), (99, 5.0)] {
        write(engine, &key, frame(&[at * day], vec![floats("v", &[value])]));
    }
    let found: Vec<(i64, String)> =
        rows(engine, &key).into_iter().map(|(t, r)| (t / day, r["v"].clone())).collect();
    let wanted = [(1, "f 4.0"), (50, "f 2.0"), (75, "f 3.0"), (99, "f 5.0"), (100, "f 1.0")];
    assert_eq!(found, wanted.map(|(t, v)| (t, v.to_string())));
}

fn fields_are_chosen(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let columns = vec![floats("a", &[1.0, 2.0]), floats("b", &[3.0, 4.0]), gappy("c", &[None, Some(5.0)])];
    write(engine, &key, frame(&[1, 2], columns));
    let of = |fields: &[&str]| rows_in(engine, &key, TimeRange::ALL, Some(fields));
    assert_eq!(of(&["b"]), want(&[(1, &[("b", "f 3.0")]), (2, &[("b", "f 4.0")])]));
    assert_eq!(
        of(&["c", "a", "none"]),
        want(&[(1, &[("a", "f 1.0")]), (2, &[("a", "f 2.0"), ("c", "f 5.0")])])
    );
    assert_eq!(of(&["c"]), want(&[(2, &[("c", "f 5.0")])]));
    assert_eq!(of(&["none"]), Rows::new());
    assert_eq!(of(&[]), Rows::new());
}

fn ranges_are_half_open(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    write(engine, &key, frame(&[-10, 0, 10, 20], vec![floats("v", &[1.0, 2.0, 3.0, 4.0])]));
    for (start, end, times) in [
        (-10, 20, vec![-10, 0, 10]),
        (-10, 21, vec![-10, 0, 10, 20]),
        (-9, 1, vec![0]),
        (0, 0, vec![]),
        (0, 1, vec![0]),
        (1, 10, vec![]),
        (20, 21, vec![20]),
        (21, 1_000, vec![]),
        (i64::MIN, -10, vec![]),
        (i64::MIN, i64::MAX, vec![-10, 0, 10, 20]),
    ] {
        let found: Vec<i64> = rows_in(engine, &key, range(start, end), None).into_keys().collect();
        assert_eq!(found, times, "{start}..{end}");
    }
}

fn nothing_is_an_answer(engine: &dyn SeriesEngine, bucket: &str) {
    let absent = key(bucket, "m", &[]);
    for _ in 0..2 {
        assert_eq!(rows(engine, &absent), Rows::new());
        assert_eq!(engine.latest(&select(bucket, "m", &[])).unwrap(), []);
        assert_eq!(engine.list(&select(bucket, "*", &[])).unwrap(), []);
        assert_eq!(engine.delete(&select(bucket, "m", &[]), TimeRange::ALL).unwrap().series, 0);
        assert_eq!(engine.write(WriteBatch::default()).unwrap(), WriteReport::default());
        // Again, with a bucket that exists and had something.
        write(engine, &key(bucket, "other", &[]), frame(&[1], vec![floats("v", &[1.0])]));
        assert_eq!(rows(engine, &key(bucket, "other", &[])).len(), 1);
        engine.delete(&select(bucket, "other", &[]), TimeRange::ALL).unwrap();
        assert_eq!(rows(engine, &key(bucket, "other", &[])), Rows::new());
    }
    assert_eq!(engine.latest(&select(bucket, "other", &[])).unwrap(), []);
}

fn a_series_is_exact(engine: &dyn SeriesEngine, bucket: &str) {
    let series = [
        key(bucket, "m", &[]),
        key(bucket, "m", &[("a", "1")]),
        key(bucket, "m", &[("a", "1"), ("b", "2")]),
        key(bucket, "m", &[("a", "2")]),
        key(bucket, "m", &[("b", "2")]),
        key(bucket, "mm", &[("a", "1")]),
    ];
    for (i, key) in series.iter().enumerate() {
        write(engine, key, frame(&[5], vec![floats("v", &[i as f64])]));
    }
    for (i, key) in series.iter().enumerate() {
        assert_eq!(rows(engine, key), want(&[(5, &[("v", &format!("f {i}.0"))])]), "{key}");
    }
    assert_eq!(rows(engine, &key(bucket, "m", &[("a", "3")])), Rows::new());
}

fn buckets_are_apart(engine: &dyn SeriesEngine, bucket: &str) {
    let other = format!("{bucket}, the other/one");
    write(engine, &key(bucket, "m", &[]), frame(&[1], vec![floats("v", &[1.0])]));
    write(engine, &key(&other, "m", &[]), frame(&[1], vec![Column::new("v", Values::Integer(vec![2]))]));
    assert_eq!(rows(engine, &key(bucket, "m", &[])), want(&[(1, &[("v", "f 1.0")])]));
    assert_eq!(rows(engine, &key(&other, "m", &[])), want(&[(1, &[("v", "i 2")])]));
    engine.delete(&select(bucket, "*", &[]), TimeRange::ALL).unwrap();
    assert_eq!(rows(engine, &key(bucket, "m", &[])), Rows::new());
    assert_eq!(rows(engine, &key(&other, "m", &[])).len(), 1);
}

/// Names that line protocol, Flux, CSV or SQL could trip over; both engines hold all of them.
const HOSTILE: &[&str] = &[
    "a b",
    "a,b",
    "a=b",
    "a\"b",
    "\"quoted\"",
    "it's",
    "back\\slash",
    "back\\nslash",
    "dollar ${x} $",
    "\") |> drop() //",
    "\"); DROP TABLE log; --",
    "x\" OR \"1\"=\"1",
    "schräg 日本 🦀",
    " lead and trail ",
    "1234",
    "-5i",
    "true",
    "%_*",
    "table",
    "result",
    "a.b/c:d;e",
    "{\"json\": [1]}",
];

fn hostile_names(engine: &dyn SeriesEngine, bucket: &str) {
    let mut batch = WriteBatch::default();
    for (i, name) in HOSTILE.iter().enumerate() {
        let key = key(bucket, name, &[(name, name), ("plain", "x")]);
        batch.series.push((key, frame(&[1, 2], vec![floats(name, &[i as f64, 0.5])])));
    }
    assert_eq!(engine.write(batch.clone()).unwrap().written, 2 * HOSTILE.len() as u64);
    let found = rows_of_all(engine, &batch);
    for (i, name) in HOSTILE.iter().enumerate() {
        let number = format!("f {i}.0");
        assert_eq!(found[i], want(&[(1, &[(name, &number)]), (2, &[(name, "f 0.5")])]), "{name}");
        let exact = select(bucket, name, &[(name, name)]);
        // A `*` in a name is a pattern in a selector: others may match, too.
        assert!(engine.latest(&exact).unwrap().iter().any(|l| l.key == batch.series[i].0), "{name}");
    }
    let listed: BTreeSet<SeriesKey> =
        engine.list(&select(bucket, "*", &[("plain", "x")])).unwrap().into_iter().map(|i| i.key).collect();
    assert_eq!(listed, batch.series.iter().map(|(k, _)| k.clone()).collect());
    // A delete takes what it names and nothing else.
    for (i, name) in HOSTILE.iter().enumerate().filter(|(_, n)| !n.contains('*')) {
        engine.delete(&select(bucket, name, &[(name, name)]), range(1, 2)).unwrap();
        assert_eq!(rows(engine, &batch.series[i].0), want(&[(2, &[(name, "f 0.5")])]), "{name}");
    }
    let untouched = HOSTILE.iter().position(|n| n.contains('*')).unwrap();
    assert_eq!(rows(engine, &batch.series[untouched].0).len(), 2);
}

fn rows_of_all(engine: &dyn SeriesEngine, batch: &WriteBatch) -> Vec<Rows> {
    batch.series.iter().map(|(key, _)| rows(engine, key)).collect()
}

fn hostile_texts(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let long = "long \"text\", ".repeat(2_000);
    let mut texts: Vec<String> = HOSTILE.iter().map(|s| (*s).to_string()).collect();
    texts.extend(
        [
            "",
            "\n",
            "\r\n",
            "a\rb",
            "\\n",
            "a\r\n#datatype,string\r\n,b",
            "\\",
            "\\\\",
            "\"",
            "\\\"",
            ",",
            "\t",
        ]
        .map(String::from),
    );
    texts.push(long);
    let times: Vec<i64> = (0..texts.len() as i64).collect();
    write(engine, &key, frame(&times, vec![Column::new("s", Values::String(texts.clone()))]));
    let found: Vec<String> = rows(engine, &key).into_values().map(|r| r["s"][2..].to_string()).collect();
    for (found, text) in found.iter().zip(&texts) {
        assert!(found == text, "{:?}", &text[..text.len().min(80)]);
    }
    assert_eq!(found.len(), texts.len());
    let last = texts.len() - 1;
    write(
        engine,
        &key,
        frame(&[times[last] + 1], vec![Column::new("s", Values::String(vec!["a\r\nb\rc\\n".into()]))]),
    );
    let latest = engine.latest(&select(bucket, "m", &[])).unwrap();
    assert_eq!(latest[0].fields[0].value, Value::String("a\r\nb\rc\\n".into()));
}

fn extreme_numbers(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let f = [
        -0.0,
        0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        0.1 + 0.2,
        1.0 / 3.0,
        1e15 + 0.3,
        9007199254740993.0,
        123456789.12345679,
        f64::EPSILON,
    ];
    let i = [i64::MIN, i64::MAX, 0, -1, 1 << 53, (1 << 53) + 1, i64::MAX - 1, 7, 8, 9, 10, 11];
    let u = [u64::MAX, 0, u64::MAX - 1, 1 << 63, (1 << 63) - 1, (1 << 53) + 1, 1, 2, 3, 4, 5, 6];
    let times: Vec<i64> = (0..f.len() as i64).collect();
    let columns = vec![
        floats("f", &f),
        Column::new("i", Values::Integer(i.to_vec())),
        Column::new("u", Values::Unsigned(u.to_vec())),
    ];
    write(engine, &key, frame(&times, columns));
    let found = rows(engine, &key);
    for (at, row) in times.iter().map(|t| &found[t]).enumerate() {
        assert_eq!(row["f"], shown(&Value::Float(f[at])));
        assert_eq!(row["i"], shown(&Value::Integer(i[at])));
        assert_eq!(row["u"], shown(&Value::Unsigned(u[at])));
    }
}

fn extreme_times(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let times = [TIME_MIN_NS, TIME_MIN_NS + 1, -1, 0, 1, TIME_MAX_NS - 1, TIME_MAX_NS];
    write(engine, &key, frame(&times, vec![floats("v", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])]));
    assert_eq!(rows(engine, &key).into_keys().collect::<Vec<_>>(), times);
    let latest = engine.latest(&select(bucket, "m", &[])).unwrap();
    assert_eq!((latest[0].fields[0].time, &latest[0].fields[0].value), (TIME_MAX_NS, &Value::Float(7.0)));
    let info = &engine.list(&select(bucket, "m", &[])).unwrap()[0];
    assert_eq!((info.rows, info.min_time, info.max_time), (7, Some(TIME_MIN_NS), Some(TIME_MAX_NS)));
    for bad in [TIME_MIN_NS - 1, i64::MIN, TIME_MAX_NS + 1, i64::MAX] {
        let error = try_write(engine, &key, frame(&[bad], vec![floats("v", &[1.0])])).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{bad}");
    }
    engine.delete(&select(bucket, "m", &[]), range(i64::MIN, 0)).unwrap();
    assert_eq!(rows(engine, &key).into_keys().collect::<Vec<_>>(), times[3..]);
    engine.delete(&select(bucket, "m", &[]), range(TIME_MAX_NS, i64::MAX)).unwrap();
    assert_eq!(rows(engine, &key).into_keys().collect::<Vec<_>>(), times[3..6]);
    engine.delete(&select(bucket, "m", &[]), range(i64::MIN, i64::MAX)).unwrap();
    assert_eq!(rows(engine, &key), Rows::new());
}

fn what_no_engine_holds_is_refused(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = try_write(engine, &key, frame(&[1, 2], vec![floats("v", &[1.0, bad])])).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{bad}");
    }
    for columns in [
        vec![floats("", &[1.0, 2.0])],
        vec![floats("v", &[1.0])],
        vec![floats("v", &[1.0, 2.0]), floats("v", &[1.0, 2.0])],
    ] {
        let error = try_write(engine, &key, frame(&[1, 2], columns)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
    // The batch is refused whole: its good series is not there, either.
    let good = self::key(bucket, "good", &[]);
    let batch = WriteBatch {
        series: vec![
            (good.clone(), frame(&[1], vec![floats("v", &[1.0])])),
            (key, frame(&[1], vec![floats("v", &[f64::NAN])])),
        ],
    };
    assert!(engine.write(batch).is_err());
    assert_eq!(rows(engine, &good), Rows::new());
}

fn sparse_fields(engine: &dyn SeriesEngine, bucket: &str) {
    // Fields of very different density, with a gap of years: pages must not tear rows apart.
    let key = key(bucket, "m", &[]);
    let minute = 60_000_000_000;
    let year = 365 * 1_440 * minute;
    let mut times: Vec<i64> = (0..5_000).map(|i| i * minute).collect();
    times.extend((0..300).map(|i| 10 * year + i * minute));
    let every = |n: i64| -> Column {
        gappy(
            &format!("every {n}"),
            &times.iter().map(|t| (t / minute % n == 0).then_some(*t as f64)).collect::<Vec<_>>(),
        )
    };
    write(engine, &key, frame(&times, vec![every(1), every(7), every(1_000)]));
    let found = rows(engine, &key);
    assert_eq!(found.len(), times.len());
    for (t, row) in &found {
        let fields = [1, 7, 1_000].iter().filter(|n| t / minute % **n == 0).count();
        assert_eq!(row.len(), fields, "{t}");
    }
    assert_eq!(rows_in(engine, &key, range(9 * year, 11 * year), None).len(), 300);
    let rare = rows_in(engine, &key, TimeRange::ALL, Some(&["every 1000"]));
    assert_eq!(rare.len(), times.iter().filter(|t| **t / minute % 1_000 == 0).count());
}

fn latest_is_per_field(engine: &dyn SeriesEngine, bucket: &str) {
    let (a, b) = (key(bucket, "m.A", &[("s", "A")]), key(bucket, "m.B", &[("s", "B")]));
    write(engine, &b, frame(&[7], vec![floats("v", &[70.0])]));
    write(engine, &a, frame(&[3, 1, 2], vec![floats("v", &[3.0, 1.0, 2.0])]));
    write(engine, &a, frame(&[2], vec![Column::new("w", Values::Integer(vec![20]))]));
    write(engine, &a, frame(&[1], vec![Column::new("z", Values::String(vec!["early".into()]))]));
    let latest = engine.latest(&select(bucket, "m.*", &[])).unwrap();
    assert_eq!(latest.iter().map(|l| &l.key).collect::<Vec<_>>(), [&a, &b], "ordered by key");
    let fields = |at: usize| -> BTreeMap<String, (i64, String)> {
        latest[at].fields.iter().map(|f| (f.name.clone(), (f.time, shown(&f.value)))).collect()
    };
    let wanted = [("v", 3, "f 3.0"), ("w", 2, "i 20"), ("z", 1, "s early")];
    assert_eq!(fields(0), wanted.iter().map(|(n, t, v)| (n.to_string(), (*t, v.to_string()))).collect());
    assert_eq!(fields(1)["v"], (7, "f 70.0".to_string()));
    // The newest is overwritten, then deleted.
    write(engine, &a, frame(&[3], vec![floats("v", &[33.0])]));
    let of_v = |engine: &dyn SeriesEngine| {
        let said = engine.latest(&select(bucket, "*", &[("s", "A")])).unwrap();
        said[0].fields.iter().find(|f| f.name == "v").map(|f| (f.time, shown(&f.value))).unwrap()
    };
    assert_eq!(of_v(engine), (3, "f 33.0".into()));
    engine.delete(&select(bucket, "m.A", &[]), range(3, 4)).unwrap();
    assert_eq!(of_v(engine), (2, "f 2.0".into()));
}

fn list(engine: &dyn SeriesEngine, bucket: &str) {
    let (a, b) = (key(bucket, "bar.1m.A", &[("s", "A")]), key(bucket, "bar.1m.B", &[]));
    write(engine, &b, frame(&[5, 6, 7], vec![floats("v", &[1.0, 2.0, 3.0])]));
    let columns = vec![floats("v", &[1.0, 2.0]), Column::new("n", Values::Integer(vec![1, 2]))];
    write(engine, &a, frame(&[-4, 9], columns));
    // A row of other fields counts as a row.
    write(engine, &a, frame(&[1], vec![Column::new("s", Values::String(vec!["x".into()]))]));
    let listed = engine.list(&select(bucket, "*", &[])).unwrap();
    assert_eq!(listed.iter().map(|i| &i.key).collect::<Vec<_>>(), [&a, &b], "ordered by key");
    let of = |at: usize| (listed[at].rows, listed[at].min_time, listed[at].max_time);
    assert_eq!(of(0), (3, Some(-4), Some(9)));
    assert_eq!(of(1), (3, Some(5), Some(7)));
    let fields: BTreeMap<_, _> = listed[0].fields.iter().cloned().collect();
    let wanted = [("n", FieldType::Integer), ("s", FieldType::String), ("v", FieldType::Float)];
    assert_eq!(fields, wanted.iter().map(|(n, t)| (n.to_string(), *t)).collect());
}

fn selectors(engine: &dyn SeriesEngine, bucket: &str) {
    let all = [
        key(bucket, "bar.1m.A", &[("x", "1"), ("y", "1")]),
        key(bucket, "bar.1m.A", &[("x", "2")]),
        key(bucket, "bar.5m.A", &[("x", "1")]),
        key(bucket, "tick.A", &[]),
    ];
    for key in &all {
        write(engine, key, frame(&[1], vec![floats("v", &[1.0])]));
    }
    let found = |measurement: &str, tags: &[(&str, &str)]| -> Vec<usize> {
        let keys: Vec<SeriesKey> =
            engine.list(&select(bucket, measurement, tags)).unwrap().into_iter().map(|i| i.key).collect();
        all.iter().enumerate().filter(|(_, k)| keys.contains(k)).map(|(i, _)| i).collect()
    };
    assert_eq!(found("*", &[]), [0, 1, 2, 3]);
    assert_eq!(found("bar.*", &[]), [0, 1, 2]);
    assert_eq!(found("bar.1m.A", &[]), [0, 1]);
    assert_eq!(found("*.A", &[("x", "1")]), [0, 2]);
    assert_eq!(found("*", &[("x", "1"), ("y", "1")]), [0]);
    assert_eq!(found("*", &[("x", "3")]), [] as [usize; 0]);
    assert_eq!(found("*", &[("x", "")]), [] as [usize; 0]);
    assert_eq!(found("bar", &[]), [] as [usize; 0]);
    let everywhere = Selector { bucket: None, measurement: Some("tick.A".into()), tags: Vec::new() };
    assert!(engine.list(&everywhere).unwrap().iter().any(|i| i.key == all[3]));
    let of_bucket = Selector { bucket: Some(bucket.into()), ..Selector::default() };
    assert_eq!(engine.list(&of_bucket).unwrap().len(), all.len());
}

fn delete_a_range(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let times: Vec<i64> = (0..10).collect();
    write(engine, &key, frame(&times, vec![floats("v", &[1.0; 10]), floats("w", &[2.0; 10])]));
    let left = |engine: &dyn SeriesEngine| rows(engine, &key).into_keys().collect::<Vec<_>>();
    let said = engine.delete(&select(bucket, "m", &[]), range(3, 6)).unwrap();
    assert_eq!(said.series, 1);
    assert!(said.rows.is_none_or(|n| n == 3), "{said:?}");
    assert_eq!(left(engine), [0, 1, 2, 6, 7, 8, 9]);
    engine.delete(&select(bucket, "m", &[]), range(6, 6)).unwrap();
    engine.delete(&select(bucket, "m", &[]), range(9, 9)).unwrap();
    assert_eq!(left(engine), [0, 1, 2, 6, 7, 8, 9]);
    engine.delete(&select(bucket, "m", &[]), range(-100, 1)).unwrap();
    engine.delete(&select(bucket, "m", &[]), range(9, 100)).unwrap();
    assert_eq!(left(engine), [1, 2, 6, 7, 8]);
    // Again, what is gone stays gone, and what is written anew is there.
    engine.delete(&select(bucket, "m", &[]), range(3, 6)).unwrap();
    write(engine, &key, frame(&[4], vec![floats("v", &[4.0])]));
    assert_eq!(left(engine), [1, 2, 4, 6, 7, 8]);
}

fn delete_by_pattern(engine: &dyn SeriesEngine, bucket: &str) {
    let names = ["bar.1m.A", "bar.1m.B", "bar.5m.A", "tick.A"];
    for name in names {
        write(engine, &key(bucket, name, &[]), frame(&[1, 2], vec![floats("v", &[1.0, 2.0])]));
    }
    let said = engine.delete(&select(bucket, "bar.1m.*", &[]), range(0, 2)).unwrap();
    assert_eq!(said.series, 2);
    assert!(said.rows.is_none_or(|n| n == 2), "{said:?}");
    let left = names.map(|n| rows(engine, &key(bucket, n, &[])).len());
    assert_eq!(left, [1, 1, 2, 2]);
    engine.delete(&select(bucket, "*", &[]), TimeRange::ALL).unwrap();
    assert_eq!(names.map(|n| rows(engine, &key(bucket, n, &[])).len()), [0; 4]);
}

fn delete_by_tag(engine: &dyn SeriesEngine, bucket: &str) {
    let all = [
        key(bucket, "m", &[("x", "1")]),
        key(bucket, "m", &[("x", "1"), ("y", "2")]),
        key(bucket, "m", &[("x", "2"), ("y", "2")]),
        key(bucket, "n", &[("x", "1")]),
        key(bucket, "m", &[]),
    ];
    for key in &all {
        write(engine, key, frame(&[1, 2, 3], vec![floats("v", &[1.0, 2.0, 3.0])]));
    }
    let left = |engine: &dyn SeriesEngine| all.each_ref().map(|k| rows(engine, k).len());
    assert_eq!(engine.delete(&select(bucket, "m", &[("x", "1")]), range(1, 2)).unwrap().series, 2);
    assert_eq!(left(engine), [2, 2, 3, 3, 3]);
    engine.delete(&select(bucket, "m", &[("y", "2"), ("x", "1")]), range(2, 3)).unwrap();
    assert_eq!(left(engine), [2, 1, 3, 3, 3]);
    engine.delete(&select(bucket, "*", &[("x", "1")]), TimeRange::ALL).unwrap();
    assert_eq!(left(engine), [0, 0, 3, 0, 3]);
}

fn conflicts_are_counted(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("s", "A")]);
    write(engine, &key, frame(&[1], vec![floats("v", &[1.0]), floats("w", &[1.0])]));
    // Another series of the measurement: the type is the measurement's. Only rows with the field are refused.
    let other = self::key(bucket, "m", &[("s", "B")]);
    let mut v = Column::new("v", Values::Integer(vec![5, 0, 5, 0]));
    v.valid = Some(vec![true, false, true, false]);
    let said =
        try_write(engine, &other, frame(&[1, 2, 3, 4], vec![v, floats("w", &[1.0, 2.0, 3.0, 4.0])])).unwrap();
    assert_eq!((said.written, said.dropped), (2, 2));
    assert_eq!(said.conflicts.len(), 1);
    let conflict = &said.conflicts[0];
    assert_eq!(
        (conflict.bucket.as_str(), conflict.measurement.as_str(), conflict.field.as_str()),
        (bucket, "m", "v")
    );
    assert_eq!((conflict.have, conflict.got), (FieldType::Float, FieldType::Integer));
    assert_eq!(rows(engine, &other), want(&[(2, &[("w", "f 2.0")]), (4, &[("w", "f 4.0")])]));
    assert_eq!(rows(engine, &key).len(), 1);
    // Every other type is refused, too, and another measurement is free.
    for values in [Values::Unsigned(vec![1]), Values::Boolean(vec![true]), Values::String(vec!["1.0".into()])]
    {
        let got = values.field_type();
        let said = try_write(engine, &key, frame(&[9], vec![Column::new("v", values)])).unwrap();
        assert_eq!((said.written, said.dropped, said.conflicts.len()), (0, 1, 1));
        assert_eq!(said.conflicts[0].got, got);
    }
    write(
        engine,
        &self::key(bucket, "n", &[]),
        frame(&[1], vec![Column::new("v", Values::Integer(vec![1]))]),
    );
}

fn conflicts_within_one_batch(engine: &dyn SeriesEngine, bucket: &str) {
    let (a, b) = (key(bucket, "m", &[("s", "A")]), key(bucket, "m", &[("s", "B")]));
    let batch = WriteBatch {
        series: vec![
            (a.clone(), frame(&[1, 2], vec![floats("v", &[1.0, 2.0])])),
            (b.clone(), frame(&[1, 2, 3], vec![Column::new("v", Values::Boolean(vec![true; 3]))])),
        ],
    };
    let said = engine.write(batch).unwrap();
    assert_eq!((said.written, said.dropped, said.conflicts.len()), (2, 3, 1), "the first one decides");
    assert_eq!((rows(engine, &a).len(), rows(engine, &b).len()), (2, 0));
}

fn a_type_holds_for_all_times(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    write(engine, &key, frame(&[0], vec![floats("v", &[1.0])]));
    let years = 50 * 365 * 86_400_000_000_000;
    let said =
        try_write(engine, &key, frame(&[years], vec![Column::new("v", Values::Integer(vec![1]))])).unwrap();
    assert_eq!((said.written, said.dropped), (0, 1));
    assert_eq!(rows(engine, &key).len(), 1);
}

fn rewriting_changes_nothing(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("s", "A")]);
    let times: Vec<i64> = (0..1_000).map(|i| i * 1_000).collect();
    let values: Vec<f64> = times.iter().map(|t| *t as f64 / 7.0).collect();
    let batch = || frame(&times, vec![floats("v", &values)]);
    assert_eq!(write(engine, &key, batch()).written, 1_000);
    let once = rows(engine, &key);
    for _ in 0..3 {
        assert_eq!(write(engine, &key, batch()).written, 1_000);
    }
    assert_eq!(rows(engine, &key), once);
    engine.seal().unwrap();
    engine.compact().unwrap();
    assert_eq!(rows(engine, &key), once);
    assert_eq!(engine.list(&select(bucket, "m", &[])).unwrap()[0].rows, 1_000);
    assert_eq!(engine.verify(&Budget::default()).unwrap(), []);
}

fn a_large_batch(engine: &dyn SeriesEngine, bucket: &str) {
    const ROWS: usize = 20_000;
    let key = key(bucket, "bar.1m.A", &[("symbol", "A")]);
    let times: Vec<i64> = (0..ROWS as i64).map(|i| 1_600_000_000_000_000_000 + i * 60_000_000_000).collect();
    let price: Vec<f64> = (0..ROWS).map(|i| 100.0 + (i % 997) as f64 / 100.0).collect();
    let volume: Vec<i64> = (0..ROWS as i64).map(|i| i * i).collect();
    let columns = vec![floats("close", &price), Column::new("volume", Values::Integer(volume.clone()))];
    assert_eq!(write(engine, &key, frame(&times, columns)).written, ROWS as u64);
    let mut at = 0;
    for frame in engine.scan(&key, TimeRange::ALL, None, &Budget::default()).unwrap() {
        let frame = frame.unwrap();
        for row in 0..frame.len() {
            assert_eq!(frame.times[row], times[at]);
            assert_eq!(frame.column("close").unwrap().get(row), Some(Value::Float(price[at])));
            assert_eq!(frame.column("volume").unwrap().get(row), Some(Value::Integer(volume[at])));
            at += 1;
        }
    }
    assert_eq!(at, ROWS);
    let info = &engine.list(&select(bucket, "*", &[])).unwrap()[0];
    assert_eq!(
        (info.rows, info.min_time, info.max_time),
        (ROWS as u64, Some(times[0]), times.last().copied())
    );
    assert_eq!(rows_in(engine, &key, range(times[777], times[19_000]), None).len(), 19_000 - 777);
}

fn many_series(engine: &dyn SeriesEngine, bucket: &str) {
    const SERIES: usize = 500;
    let keys: Vec<SeriesKey> = (0..SERIES)
        .map(|i| key(bucket, &format!("bar.1m.S{:03}", i / 5), &[("venue", &format!("V{}", i % 5))]))
        .collect();
    let series = keys
        .iter()
        .enumerate()
        .map(|(i, k)| (k.clone(), frame(&[1, 2], vec![floats("v", &[i as f64, 0.0])])));
    assert_eq!(engine.write(WriteBatch { series: series.collect() }).unwrap().written, 2 * SERIES as u64);
    let listed = engine.list(&select(bucket, "*", &[])).unwrap();
    assert_eq!(listed.iter().map(|i| &i.key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert!(listed.iter().all(|i| i.rows == 2));
    assert_eq!(engine.latest(&select(bucket, "bar.1m.S01*", &[("venue", "V3")])).unwrap().len(), 10);
    for i in [0, 1, 77, SERIES - 1] {
        assert_eq!(rows(engine, &keys[i])[&1]["v"], format!("f {i}.0"));
    }
    assert!(engine.stats().unwrap().rows_written >= 2 * SERIES as u64);
}

fn writers_side_by_side(engine: &dyn SeriesEngine, bucket: &str) {
    const WRITERS: i64 = 4;
    const BATCHES: i64 = 5;
    const ROWS: i64 = 200;
    let key = key(bucket, "m", &[]);
    std::thread::scope(|s| {
        for writer in 0..WRITERS {
            let key = &key;
            s.spawn(move || {
                for batch in 0..BATCHES {
                    let first = (writer * BATCHES + batch) * ROWS;
                    let times: Vec<i64> = (first..first + ROWS).collect();
                    write(engine, key, frame(&times, vec![floats("v", &[writer as f64; ROWS as usize])]));
                    assert!(rows_in(engine, key, range(first, first + ROWS), None).len() == ROWS as usize);
                }
            });
        }
    });
    let found = rows(engine, &key);
    assert_eq!(found.len() as i64, WRITERS * BATCHES * ROWS);
    assert!(found.iter().all(|(t, r)| r["v"] == format!("f {}.0", t / (BATCHES * ROWS))));
}

fn budgets_end_a_scan(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    write(engine, &key, frame(&[1, 2], vec![floats("v", &[1.0, 2.0])]));
    let said = |budget: Budget| -> crate::Result<Vec<Frame>> {
        engine.scan(&key, TimeRange::ALL, None, &budget)?.collect()
    };
    let late = Budget { deadline: Some(Instant::now()), ..Budget::default() };
    assert_eq!(said(late).unwrap_err().kind(), Kind::Timeout);
    let cancelled = Budget { cancel: Some(Arc::new(AtomicBool::new(true))), ..Budget::default() };
    assert_eq!(said(cancelled).unwrap_err().kind(), Kind::Cancelled);
    let enough = Budget { rows_max: Some(2), ..Budget::default() };
    assert_eq!(said(enough).unwrap().iter().map(Frame::len).sum::<usize>(), 2);
}
