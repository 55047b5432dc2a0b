mod cached;
mod catalogue;
mod codecs;
mod damage;
mod fixtures;
mod flips;
mod fuzz;
mod memory;
mod model;
mod pieces;
mod rules;
mod space;
mod stuck;
mod threads;

use super::{EmbeddedEngine, EngineOptions};
use crate::manifest;
use crate::series::{Budget, Column, Frame, Selector, SeriesEngine, SeriesKey, TimeRange, WriteBatch};
use crate::units::{ByteSize, Span};
use std::path::Path;

pub(super) fn config() -> manifest::Embedded {
    manifest::Embedded {
        memory_max: ByteSize::mib(256),
        head_max: ByteSize::mib(64),
        chunk_rows: 1024,
        seal_after: Span::from_secs(300),
        compact_every: Span::from_secs(600),
        cache_max: ByteSize::mib(4),
    }
}

pub(super) fn open(dir: &Path) -> EmbeddedEngine {
    EmbeddedEngine::open(&dir.join("series.db"), &config(), EngineOptions::default()).unwrap()
}

pub(super) fn key(measurement: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, Vec::new()).unwrap()
}

pub(super) fn batch(key: &SeriesKey, times: Vec<i64>, columns: Vec<Column>) -> WriteBatch {
    WriteBatch { series: vec![(key.clone(), Frame { times, columns })] }
}

/// One field `v`, whose value is the time as a float plus `add`.
pub(super) fn ramp(key: &SeriesKey, times: std::ops::Range<i64>, add: f64) -> WriteBatch {
    let values = times.clone().map(|t| t as f64 + add).collect();
    batch(key, times.collect(), vec![Column::float("v", values)])
}

pub(super) fn rows(engine: &EmbeddedEngine, key: &SeriesKey, range: TimeRange) -> Vec<(i64, f64)> {
    let mut out = Vec::new();
    for frame in engine.scan(key, range, None, &Budget::default()).unwrap() {
        let frame = frame.unwrap();
        frame.validate().unwrap();
        assert!(frame.len() <= super::bounds::FRAME_ROWS_MAX);
        out.extend(
            frame.times.iter().copied().zip(frame.column("v").unwrap().floats().unwrap().iter().copied()),
        );
    }
    assert!(out.is_sorted_by(|a, b| a.0 < b.0));
    out
}

pub(super) fn count(engine: &EmbeddedEngine, key: &SeriesKey) -> usize {
    rows(engine, key, TimeRange::ALL).len()
}

pub(super) fn all() -> Selector {
    Selector::default()
}
