//! What every series engine must do alike: small named checks, each in a bucket of its own.
//!
//! [`run`] goes through all of them and then names each one that failed. The embedded engine, the model that
//! tests compare with, and a real InfluxDB run the same list.

mod catalog;
mod conflicts;
mod decimals;
pub(super) mod extremes;
mod rows;

pub use decimals::run_decimals;

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
    ("every type comes back", rows::every_type_comes_back),
    ("unordered and repeated times", rows::unordered_and_repeated_times),
    ("the last write wins and fields merge", rows::last_wins_and_fields_merge),
    ("late data", rows::late_data),
    ("fields are chosen", rows::fields_are_chosen),
    ("ranges are half open", rows::ranges_are_half_open),
    ("nothing is an answer", rows::nothing_is_an_answer),
    ("a series is exact", rows::a_series_is_exact),
    ("buckets are apart", rows::buckets_are_apart),
    ("hostile names", extremes::hostile_names),
    ("hostile texts", extremes::hostile_texts),
    ("extreme numbers", extremes::extreme_numbers),
    ("extreme times", extremes::extreme_times),
    ("what no engine holds is refused", extremes::what_no_engine_holds_is_refused),
    ("sparse fields", rows::sparse_fields),
    ("latest is per field", catalog::latest_is_per_field),
    ("list", catalog::list),
    ("selectors", catalog::selectors),
    ("delete a range", catalog::delete_a_range),
    ("delete by pattern", catalog::delete_by_pattern),
    ("delete by tag", catalog::delete_by_tag),
    ("conflicts are counted", conflicts::conflicts_are_counted),
    ("conflicts within one batch", conflicts::conflicts_within_one_batch),
    ("a type holds for all times", conflicts::a_type_holds_for_all_times),
    ("rewriting changes nothing", rows::rewriting_changes_nothing),
    ("a large batch", rows::a_large_batch),
    ("many series", rows::many_series),
    ("writers side by side", rows::writers_side_by_side),
    ("budgets end a scan", rows::budgets_end_a_scan),
];

/// Runs every check against an engine; names those that fail.
pub fn run(engine: &dyn SeriesEngine) {
    run_some(engine, &[]);
}

/// [`run`] without the checks of these names.
pub fn run_some(engine: &dyn SeriesEngine, without: &[&str]) {
    let mut failed = Vec::new();
    for (name, check) in CHECKS.iter().filter(|(name, _)| !without.contains(name)) {
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
        Value::Decimal(v) => format!("d {v}"),
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

/// What an engine says of a batch beforehand, it does.
#[track_caller]
fn try_write(engine: &dyn SeriesEngine, key: &SeriesKey, frame: Frame) -> crate::Result<WriteReport> {
    let batch = WriteBatch { series: vec![(key.clone(), frame)] };
    let takes = engine.takes(&batch);
    let said = engine.write(batch);
    let whole = said.as_ref().is_ok_and(|report| report.dropped == 0);
    assert_eq!(takes.is_ok(), whole, "{takes:?}, then {said:?}");
    said
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

#[test]
fn the_model_conforms() {
    run(&super::model_engine::ModelEngine::default());
}

#[test]
fn embedded_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::Manifest::parse("", &dir.path().join("shiphold.toml")).unwrap().series.embedded;
    let path = dir.path().join("series.db");
    let engine =
        super::embedded::EmbeddedEngine::open(&path, &config, super::embedded::EngineOptions::default())
            .unwrap();
    run(&engine);
}
