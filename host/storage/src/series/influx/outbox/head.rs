//! What waits, in memory: an index by series, with the rows themselves as far as there is room.

use crate::series::record::Part;
use crate::series::{FieldType, Frame, Selector, SeriesKey, TimeRange};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Bytes of rows that are kept in memory; of what waits beyond them, reads fetch the rows from the file.
pub(super) const KEPT_BYTES_MAX: u64 = 64 << 20;

/// The rows of one series in one record.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub key: Arc<SeriesKey>,
    pub seq: i64,
    /// Which part of the record it is.
    pub part: usize,
    /// `None`: only in the file.
    pub frame: Option<Arc<Frame>>,
    min: i64,
    max: i64,
    bytes: u64,
}

/// A record that waits.
#[derive(Debug)]
struct Entry {
    seq: i64,
    at: i64,
    bytes: u64,
    rows: u64,
    keys: Vec<Arc<SeriesKey>>,
}

/// What waits, in order.
#[derive(Debug, Default)]
pub(super) struct Head {
    entries: VecDeque<Entry>,
    series: BTreeMap<Arc<SeriesKey>, VecDeque<Waiting>>,
    bytes: u64,
    rows: u64,
    parts: u64,
    kept: u64,
}

impl Head {
    pub fn add(&mut self, seq: i64, at: i64, bytes: u64, parts: &[Part]) {
        let mut entry = Entry { seq, at, bytes, rows: 0, keys: Vec::with_capacity(parts.len()) };
        for (part, (key, frame)) in parts.iter().enumerate() {
            let (Some(min), Some(max)) = (frame.times.iter().min(), frame.times.iter().max()) else {
                continue;
            };
            let size = frame.size_bytes() as u64;
            let keep = self.kept.saturating_add(size) <= KEPT_BYTES_MAX;
            if keep {
                self.kept += size;
            }
            let known = self.series.get_key_value(key.as_ref()).map(|(k, _)| k.clone());
            let key = known.unwrap_or_else(|| key.clone());
            entry.keys.push(key.clone());
            entry.rows += frame.len() as u64;
            self.series.entry(key.clone()).or_default().push_back(Waiting {
                key,
                seq,
                part,
                frame: keep.then(|| frame.clone()),
                min: *min,
                max: *max,
                bytes: size,
            });
        }
        self.bytes += entry.bytes;
        self.rows += entry.rows;
        self.parts += entry.keys.len() as u64;
        self.entries.push_back(entry);
    }

    /// Forgets the records up to and with `seq`.
    pub fn remove(&mut self, seq: i64) {
        while let Some(entry) = self.entries.front().filter(|e| e.seq <= seq) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.rows = self.rows.saturating_sub(entry.rows);
            self.parts = self.parts.saturating_sub(entry.keys.len() as u64);
            for key in &entry.keys {
                let Some(parts) = self.series.get_mut(key.as_ref()) else { continue };
                while let Some(part) = parts.front().filter(|p| p.seq <= seq) {
                    if part.frame.is_some() {
                        self.kept = self.kept.saturating_sub(part.bytes);
                    }
                    parts.pop_front();
                }
                if parts.is_empty() {
                    self.series.remove(key.as_ref());
                }
            }
            self.entries.pop_front();
        }
    }

    /// The first and the last record.
    pub fn span(&self) -> Option<(i64, i64)> {
        Some((self.entries.front()?.seq, self.entries.back()?.seq))
    }
    pub fn records(&self) -> u64 {
        self.entries.len() as u64
    }
    /// Parts of records: what the index holds.
    pub fn parts(&self) -> u64 {
        self.parts
    }
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    pub fn rows(&self) -> u64 {
        self.rows
    }
    pub fn kept_bytes(&self) -> u64 {
        self.kept
    }
    /// When the oldest was acknowledged.
    pub fn oldest_at(&self) -> Option<i64> {
        self.entries.front().map(|e| e.at)
    }

    /// What waits of one series within a range, in order.
    pub fn of_series(&self, key: &SeriesKey, range: TimeRange) -> Vec<Waiting> {
        let parts = self.series.get(key).into_iter().flatten();
        parts.filter(|p| range.overlaps(p.min, p.max)).cloned().collect()
    }

    /// The first and the last time of what may wait of one series within a range.
    pub fn span_of(&self, key: &SeriesKey, range: TimeRange) -> Option<(i64, i64)> {
        let parts = self.series.get(key).into_iter().flatten().filter(|p| range.overlaps(p.min, p.max));
        parts.map(|p| (p.min, p.max)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// What waits of the chosen series; each in order.
    pub fn of_selector(&self, selector: &Selector) -> Vec<Waiting> {
        let chosen = self.series.iter().filter(|(key, _)| selector.matches(key));
        chosen.flat_map(|(_, parts)| parts.iter().cloned()).collect()
    }

    /// The types of a measurement's fields, as far as the rows in memory tell.
    pub fn types(&self, bucket: &str, measurement: &str) -> HashMap<String, FieldType> {
        let first = SeriesKey { bucket: bucket.into(), measurement: measurement.into(), tags: Vec::new() };
        let mut types = HashMap::new();
        let of = self.series.range(Arc::new(first)..);
        for (_, parts) in of.take_while(|(k, _)| k.bucket == bucket && k.measurement == measurement) {
            for column in parts.iter().filter_map(|p| p.frame.as_ref()).flat_map(|f| &f.columns) {
                if !types.contains_key(&column.name) && (0..column.values.len()).any(|r| column.is_valid(r)) {
                    types.insert(column.name.clone(), column.values.field_type());
                }
            }
        }
        types
    }
}
