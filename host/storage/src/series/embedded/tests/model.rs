//! The engine beside a map, under random workloads.

use super::{all, config, key};
use crate::series::embedded::merge::{Merge, Source};
use crate::series::embedded::{EmbeddedEngine, EngineOptions, read, scan};
use crate::series::{
    Budget, Column, Frame, Selector, SeriesEngine, SeriesKey, TimeRange, Value, Values, WriteBatch,
};
use crate::units::ByteSize;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Per series, time, field.
type Model = BTreeMap<SeriesKey, BTreeMap<i64, BTreeMap<String, Value>>>;

#[derive(Debug, Clone)]
enum Step {
    /// Series, and rows of time and a number; which fields have a value follows from the number.
    Write(Vec<(u8, Vec<(i64, i64)>)>),
    Delete(Option<u8>, i64, i64),
    Seal,
    Compact,
    Maintain,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![4 => 0_i64..60, 1 => 0_i64..5_000];
    let rows = prop::collection::vec((time.clone(), 0_i64..1_000), 1..40);
    prop_oneof![
        8 => prop::collection::vec((0_u8..3, rows), 1..3).prop_map(Step::Write),
        2 => (prop::option::of(0_u8..3), time, 0_i64..60).prop_map(|(s, from, n)| Step::Delete(s, from, from + n)),
        3 => Just(Step::Seal),
        1 => Just(Step::Compact),
        1 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
    ]
}

fn series(n: u8) -> SeriesKey {
    let tags = if n == 2 { vec![("host".into(), "a".into())] } else { Vec::new() };
    SeriesKey::new("market", format!("m{}", n.min(1)), tags).unwrap()
}

/// The fields of a row: a float, an integer and a string, each present or not.
fn fields(n: i64) -> Vec<(&'static str, Value)> {
    let all = [
        ("price", Value::Float(n as f64 / 100.0)),
        ("size", Value::Integer(n - 500)),
        ("side", Value::String(if n % 2 == 0 { "buy".into() } else { String::new() })),
    ];
    all.into_iter().enumerate().filter(|(i, _)| n % 7 == 0 || (n >> i) & 1 == 1).map(|(_, f)| f).collect()
}

pub(super) fn frame(rows: &[(i64, i64)]) -> Frame {
    let mut columns = [
        Column::new("price", Values::Float(Vec::new())),
        Column::new("size", Values::Integer(Vec::new())),
        Column::new("side", Values::String(Vec::new())),
    ];
    for c in &mut columns {
        let mut valid = Vec::new();
        for (_, n) in rows {
            let value = fields(*n).into_iter().find(|f| f.0 == c.name).map(|f| f.1);
            valid.push(value.is_some());
            match (&mut c.values, value) {
                (Values::Float(v), Some(Value::Float(x))) => v.push(x),
                (Values::Integer(v), Some(Value::Integer(x))) => v.push(x),
                (Values::String(v), Some(Value::String(x))) => v.push(x),
                (Values::Float(v), _) => v.push(f64::NAN),
                (Values::Integer(v), _) => v.push(9),
                (Values::String(v), _) => v.push("?".into()),
                _ => unreachable!(),
            }
        }
        c.valid = Some(valid);
    }
    Frame { times: rows.iter().map(|r| r.0).collect(), columns: columns.into() }
}

fn apply(model: &mut Model, engine: &EmbeddedEngine, step: &Step) {
    match step {
        Step::Write(parts) => {
            let batch = parts.iter().map(|(s, rows)| (series(*s), frame(rows))).collect();
            let report = engine.write(WriteBatch { series: batch }).unwrap();
            let mut written = 0;
            for (s, rows) in parts {
                for (time, n) in rows {
                    let fields = fields(*n);
                    written += u64::from(!fields.is_empty());
                    if !fields.is_empty() {
                        let row = model.entry(series(*s)).or_default().entry(*time).or_default();
                        row.extend(fields.into_iter().map(|(k, v)| (k.to_string(), v)));
                    }
                }
            }
            assert_eq!((report.written, report.dropped), (written, 0));
        }
        Step::Delete(s, from, to) => {
            let selector = s.map_or_else(all, |s| Selector::of(&series(s)));
            let report = engine.delete(&selector, TimeRange::new(*from, *to).unwrap()).unwrap();
            let (mut gone, mut of) = (0, 0);
            for (key, rows) in model.iter_mut().filter(|(k, _)| selector.matches(k)) {
                let before = rows.len();
                rows.retain(|t, _| !(*from..*to).contains(t));
                gone += before - rows.len();
                of += u64::from(before > rows.len());
                let _ = key;
            }
            assert_eq!((report.rows, report.series), (Some(gone as u64), of));
        }
        Step::Seal => engine.seal().unwrap(),
        Step::Compact => {
            engine.compact().unwrap();
            let again = engine.compact().unwrap();
            assert_eq!((again.chunks_before, again.bytes_before), (again.chunks_after, again.bytes_after));
        }
        Step::Maintain => engine.maintain().unwrap(),
        Step::Reopen => {}
    }
}

fn read_back(
    engine: &EmbeddedEngine,
    key: &SeriesKey,
    range: TimeRange,
    fields: Option<&[String]>,
) -> BTreeMap<i64, BTreeMap<String, Value>> {
    let mut out = BTreeMap::new();
    for frame in engine.scan(key, range, fields, &Budget::default()).unwrap() {
        let frame = frame.unwrap();
        frame.validate().unwrap();
        assert!(!frame.is_empty());
        for (row, time) in frame.times.iter().enumerate() {
            let values = frame.columns.iter().filter_map(|c| Some((c.name.clone(), c.get(row)?)));
            assert!(out.last_key_value().is_none_or(|(t, _)| t < time), "times ascend");
            out.insert(*time, values.collect());
        }
    }
    out
}

fn compare(model: &Model, engine: &EmbeddedEngine) {
    let full: Vec<_> = model.iter().filter(|(_, rows)| !rows.is_empty()).collect();
    let list = engine.list(&all()).unwrap();
    assert_eq!(list.iter().map(|i| &i.key).collect::<Vec<_>>(), full.iter().map(|m| m.0).collect::<Vec<_>>());
    for ((key, rows), info) in full.iter().zip(&list) {
        assert_eq!(info.min_time, rows.keys().next().copied());
        assert_eq!(info.max_time, rows.keys().last().copied());
        assert!(info.rows >= rows.len() as u64);
        assert_eq!(&read_back(engine, key, TimeRange::ALL, None), *rows);
        let range = TimeRange::new(20, 45).unwrap();
        let want: BTreeMap<_, _> = rows.range(20..45).map(|(t, r)| (*t, r.clone())).collect();
        assert_eq!(read_back(engine, key, range, None), want);
        let want: BTreeMap<_, BTreeMap<_, _>> = rows
            .iter()
            .filter_map(|(t, r)| Some((*t, [("size".to_string(), r.get("size")?.clone())].into())))
            .collect();
        assert_eq!(read_back(engine, key, TimeRange::ALL, Some(&["size".into(), "none".into()])), want);
    }
    let latest = engine.latest(&all()).unwrap();
    assert_eq!(
        latest.iter().map(|l| &l.key).collect::<Vec<_>>(),
        full.iter().map(|m| m.0).collect::<Vec<_>>()
    );
    for ((_, rows), latest) in full.iter().zip(latest) {
        let have: BTreeMap<_, _> = latest.fields.into_iter().map(|f| (f.name, (f.time, f.value))).collect();
        let mut want = BTreeMap::new();
        for (time, row) in rows.iter() {
            want.extend(row.iter().map(|(k, v)| (k.clone(), (*time, v.clone()))));
        }
        assert_eq!(have, want);
    }
    let stats = engine.stats().unwrap();
    assert_eq!(stats.rows, list.iter().map(|i| i.rows).sum::<u64>());
    assert_eq!(stats.quarantined, 0);
    assert!(stats.head_bytes > 0 || stats.head_rows == 0);
}

fn reopen(engine: EmbeddedEngine, dir: &std::path::Path) -> EmbeddedEngine {
    drop(engine);
    open(dir)
}

/// Chunks so short that a few rows make many.
fn open(dir: &std::path::Path) -> EmbeddedEngine {
    let config = crate::manifest::Embedded { chunk_rows: 16, head_max: ByteSize::kib(64), ..config() };
    // The disk's part is tested elsewhere.
    let options = EngineOptions { synchronous: crate::sqlite::Synchronous::Off, ..EngineOptions::default() };
    EmbeddedEngine::open(&dir.join("series.db"), &config, options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_written(steps in prop::collection::vec(step(), 1..24)) {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = open(dir.path());
        let mut model = Model::new();
        for step in &steps {
            apply(&mut model, &engine, step);
            if matches!(step, Step::Reopen) {
                engine = reopen(engine, dir.path());
            }
            compare(&model, &engine);
        }
        prop_assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
        let engine = reopen(engine, dir.path());
        compare(&model, &engine);
        engine.seal().unwrap();
        compare(&model, &engine);
    }
}

#[test]
fn many_overlapping_chunks_are_merged_within_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::manifest::Embedded { chunk_rows: 4096, ..config() };
    let engine = EmbeddedEngine::open(&dir.path().join("s.db"), &config, EngineOptions::default()).unwrap();
    let k = key("wide");
    for n in 0..6 {
        // Each chunk spans the whole range; every seventh row is written twice.
        let times: Vec<i64> = (0..4_000).map(|i| i * 6 + if i % 7 == 0 { 0 } else { n }).collect();
        let values = times.iter().map(|t| (*t * 10 + n) as f64).collect();
        engine.write(super::batch(&k, times, vec![Column::float("v", values)])).unwrap();
        engine.seal().unwrap();
    }
    let series = read(&engine.core.catalog).get(&k).unwrap().clone();
    let collect = |mut merge: Merge| {
        let mut rows = Vec::new();
        while let Some(run) = merge.next(&engine.core, &Budget::default()).unwrap() {
            let Values::Float(v) = &run.lanes[0].values else { panic!("not floats") };
            rows.extend(run.times.iter().copied().zip(v.iter().map(|v| v.to_bits())));
        }
        rows
    };
    let merge = || {
        let sources: Vec<Source> = scan::sources(&series, TimeRange::ALL);
        Merge::new(&series, sources, None, TimeRange::ALL)
    };
    let whole = collect(merge());
    assert_eq!(whole, collect(merge().hold_at_most(5_000)));
    let last = 5;
    assert_eq!(whole[0], (0, (last as f64).to_bits()), "the newest wins");
    let before = engine.stats().unwrap();
    engine.compact().unwrap();
    assert!(engine.stats().unwrap().rows < before.rows);
    assert_eq!(engine.stats().unwrap().rows, whole.len() as u64);
    assert_eq!(collect(merge()), whole);
}
