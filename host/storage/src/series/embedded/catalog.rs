//! What is known of buckets, measurements, fields and series, and what each series holds in memory.

use super::chunk::Chunk;
use super::guard::{Damage, keep_above};
use super::run::Run;
use super::{lock, read, write};
use crate::error::{Error, Result};
use crate::series::{FieldType, Selector, SeriesKey, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

/// The fields of one measurement; a field's number is its place.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub list: Vec<(String, FieldType)>,
    by_name: HashMap<String, u32>,
    /// Numbers whose row in the catalogue is damaged: nobody knows their names and types.
    lost: Vec<u32>,
}

impl Fields {
    pub(super) fn find(&self, name: &str) -> Option<(u32, FieldType)> {
        let number = *self.by_name.get(name)?;
        let (_, of) = self.list.get(usize::try_from(number).ok()?)?;
        Some((number, *of))
    }
    pub(super) fn push(&mut self, name: String, of: FieldType) {
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.by_name.insert(name.clone(), number);
        self.list.push((name, of));
    }
    /// A place for a field whose name and type are not known.
    fn push_lost(&mut self) {
        self.lost.push(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push((String::new(), FieldType::Float));
    }
    pub(super) fn is_lost(&self, number: u32) -> bool {
        self.lost.contains(&number)
    }
    /// Can values of this type be of that field?
    pub(super) fn fits(&self, number: u32, of: FieldType) -> bool {
        self.is_lost(number) || self.name(number).is_some_and(|f| f.1 == of)
    }
    pub(super) fn name(&self, number: u32) -> Option<(&str, FieldType)> {
        if self.is_lost(number) {
            return None;
        }
        self.list.get(usize::try_from(number).ok()?).map(|(n, t)| (n.as_str(), *t))
    }
}

#[derive(Debug)]
pub(super) struct Measurement {
    pub id: i64,
    pub bucket: String,
    pub name: String,
    fields: RwLock<Fields>,
}

impl Measurement {
    pub(super) fn new(id: i64, bucket: &str, name: &str) -> Self {
        Self { id, bucket: bucket.into(), name: name.into(), fields: RwLock::default() }
    }
    pub(super) fn fields(&self) -> std::sync::RwLockReadGuard<'_, Fields> {
        read(&self.fields)
    }
    pub(super) fn add_field(&self, name: String, of: FieldType) {
        write(&self.fields).push(name, of);
    }
    pub(super) fn add_lost_field(&self) {
        write(&self.fields).push_lost();
    }
    /// The types of the fields, by number; `None`: not known, and what a chunk says is right.
    pub(super) fn types(&self) -> Vec<Option<FieldType>> {
        let fields = self.fields();
        let known = |number| fields.name(number).map(|f| f.1);
        (0_u32..).zip(&fields.list).map(|(number, _)| known(number)).collect()
    }
}

#[derive(Debug)]
pub(super) struct Series {
    pub id: i64,
    pub key: SeriesKey,
    pub measurement: Arc<Measurement>,
    state: Mutex<State>,
}

/// The newest value of a field.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub field: u32,
    pub time: i64,
    pub value: Value,
}

/// What a series holds. Its rows are those of `chunks`, `frozen` and `head`; later ones win.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Ascending by version.
    pub chunks: Vec<Arc<Chunk>>,
    /// Being sealed.
    pub frozen: Vec<Arc<Run>>,
    /// Written since; durable in the log.
    pub head: Vec<Arc<Run>>,
    /// Numbers of the fields it has, ascending.
    pub fields: Vec<u32>,
    /// `None`: not known yet.
    pub latest: Option<Vec<Last>>,
    /// It is in the list of series with a head.
    pub dirty: bool,
}

impl State {
    /// The runs in memory, oldest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.frozen.iter().chain(&self.head)
    }
    pub(super) fn has_rows(&self) -> bool {
        self.runs().next().is_some() || self.chunks.iter().any(|c| !c.is_bad())
    }
    /// Puts a chunk at its place by version.
    pub(super) fn add_chunk(&mut self, chunk: Arc<Chunk>) {
        let at = self.chunks.partition_point(|c| (c.version, c.id) < (chunk.version, chunk.id));
        self.chunks.insert(at, chunk);
    }
    pub(super) fn note_latest(&mut self, run: &Run) {
        let Some(latest) = &mut self.latest else { return };
        for lane in &run.lanes {
            let Some(row) = lane.last_row() else { continue };
            let (Some(time), Some(value)) = (run.times.get(row), lane.values.get(row)) else { continue };
            note(latest, Last { field: lane.field, time: *time, value });
        }
    }
}

/// Keeps the newer of two; of the same time, the later written.
pub(super) fn note(latest: &mut Vec<Last>, new: Last) {
    match latest.binary_search_by_key(&new.field, |l| l.field) {
        Ok(at) => {
            if let Some(have) = latest.get_mut(at).filter(|have| have.time <= new.time) {
                *have = new;
            }
        }
        Err(at) => latest.insert(at, new),
    }
}

impl Series {
    pub(super) fn new(id: i64, key: SeriesKey, measurement: Arc<Measurement>, state: State) -> Self {
        Self { id, key, measurement, state: Mutex::new(state) }
    }
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Every series by key; every measurement by bucket and name.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    series: BTreeMap<SeriesKey, Arc<Series>>,
    measurements: HashMap<String, HashMap<String, Arc<Measurement>>>,
    pub next_series: i64,
    pub next_measurement: i64,
    /// What a start left out.
    pub damage: Damage,
}

impl Catalog {
    pub(super) fn new() -> Self {
        Self { next_series: 1, next_measurement: 1, ..Self::default() }
    }
    pub(super) fn get(&self, key: &SeriesKey) -> Option<&Arc<Series>> {
        self.series.get(key)
    }
    pub(super) fn measurement(&self, bucket: &str, name: &str) -> Option<&Arc<Measurement>> {
        self.measurements.get(bucket)?.get(name)
    }
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.series.values()
    }
    pub(super) fn add_measurement(&mut self, measurement: Arc<Measurement>) {
        keep_above(&mut self.next_measurement, measurement.id);
        let bucket = self.measurements.entry(measurement.bucket.clone()).or_default();
        bucket.insert(measurement.name.clone(), measurement);
    }
    pub(super) fn add_series(&mut self, series: Arc<Series>) -> Result<()> {
        keep_above(&mut self.next_series, series.id);
        if self.series.contains_key(&series.key) {
            return Err(Error::corrupt(format!("the series `{}` is in the catalogue twice", series.key)));
        }
        self.series.insert(series.key.clone(), series);
        Ok(())
    }
    pub(super) fn remove_series(&mut self, key: &SeriesKey) {
        self.series.remove(key);
    }

    /// The first series, or the next after a key.
    pub(super) fn after(&self, key: Option<&SeriesKey>) -> Option<Arc<Series>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = key.map_or(Unbounded, Excluded);
        self.series.range::<SeriesKey, _>((from, Unbounded)).next().map(|(_, s)| s.clone())
    }

    /// The chosen series, by key. The bucket and the start of the measurement's pattern narrow the walk.
    pub(super) fn select(&self, selector: &Selector) -> Vec<Arc<Series>> {
        let Some(bucket) = &selector.bucket else {
            return self.series.values().filter(|s| selector.matches(&s.key)).cloned().collect();
        };
        let pattern = selector.measurement.as_deref().unwrap_or("");
        let prefix = pattern.split('*').next().unwrap_or("");
        let from = SeriesKey { bucket: bucket.clone(), measurement: prefix.into(), tags: Vec::new() };
        self.series
            .range(from..)
            .take_while(|(k, _)| k.bucket == *bucket && k.measurement.starts_with(prefix))
            .filter(|(k, _)| selector.matches(k))
            .map(|(_, s)| s.clone())
            .collect()
    }
}
