//! What is known of buckets, measurements, fields and series, and what each series holds in memory.

use super::chunk::Chunk;
use super::few::Few;
use super::guard::{Damage, keep_above};
use super::run::Run;
use super::tags::Tags;
use super::{lock, read, write};
use crate::caller::pattern_matches;
use crate::error::{Error, Result};
use crate::series::{FieldType, Selector, SeriesKey, Value};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

/// Different sets of fields of one measurement that its series share; further ones are each series' own.
const FIELD_SETS_MAX: usize = 64;

/// The fields of one measurement; a field's number is its place.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub list: Vec<(String, FieldType)>,
    by_name: HashMap<String, u32>,
    /// Numbers whose row in the catalogue is damaged: nobody knows their names and types.
    lost: Vec<u32>,
    /// Which fields its series have: mostly all the same.
    sets: Vec<Arc<[u32]>>,
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
    /// A set of fields, ascending, in one piece of memory for all series that have it.
    pub(super) fn share_set(&self, set: &[u32]) -> Arc<[u32]> {
        let mut fields = write(&self.fields);
        if let Some(shared) = fields.sets.iter().find(|s| ***s == *set) {
            return shared.clone();
        }
        let new: Arc<[u32]> = set.into();
        if fields.sets.len() < FIELD_SETS_MAX {
            fields.sets.push(new.clone());
        }
        new
    }
    /// The types of the fields, by number; `None`: not known, and what a chunk says is right.
    pub(super) fn types(&self) -> Vec<Option<FieldType>> {
        let fields = self.fields();
        let known = |number| fields.name(number).map(|f| f.1);
        (0_u32..).zip(&fields.list).map(|(number, _)| known(number)).collect()
    }
}

/// Small, because there are very many: see `it_takes_little_memory`.
#[derive(Debug)]
pub(super) struct Series {
    pub id: i64,
    pub measurement: Arc<Measurement>,
    tags: Tags,
    state: Mutex<State>,
}

/// The newest value of a field.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub field: u32,
    pub time: i64,
    pub value: Value,
}

/// What a series holds. Its rows are those of `chunks` and of those in memory; later ones win.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Ascending by version.
    pub chunks: Few<Arc<Chunk>>,
    /// `None`: all rows are in chunks, and the newest values are not known.
    live: Option<Box<Live>>,
    /// Numbers of the fields it has, ascending.
    pub fields: Arc<[u32]>,
    /// It is in the list of series with a head.
    pub dirty: bool,
}

/// What only a series has that is written or asked.
#[derive(Debug, Default)]
struct Live {
    /// Rows that are being sealed.
    frozen: Few<Arc<Run>>,
    /// Written since; durable in the log.
    head: Few<Arc<Run>>,
    /// The newest values, by field. `None`: not known.
    latest: Option<Box<[Last]>>,
}

impl State {
    /// Of a series that is not stored yet: it is known that there is no newest value.
    pub(super) fn fresh() -> Self {
        let live = Live { latest: Some(Box::default()), ..Live::default() };
        Self { live: Some(Box::new(live)), ..Self::default() }
    }
    /// Of a series that is stored.
    pub(super) fn stored(fields: Arc<[u32]>) -> Self {
        Self { fields, ..Self::default() }
    }
    /// The runs in memory, oldest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.live.iter().flat_map(|m| m.frozen.iter().chain(m.head.iter()))
    }
    pub(super) fn head(&mut self) -> &mut Few<Arc<Run>> {
        &mut self.live.get_or_insert_default().head
    }
    pub(super) fn frozen(&self) -> &[Arc<Run>] {
        self.live.as_ref().map_or(&[], |l| &l.frozen)
    }
    /// What was written up to now is to be sealed.
    pub(super) fn freeze(&mut self) {
        if let Some(live) = &mut self.live {
            live.head.take().into_iter().for_each(|run| live.frozen.push(run));
        }
    }
    /// The frozen runs, which are sealed.
    pub(super) fn thaw(&mut self) -> Vec<Arc<Run>> {
        let Some(live) = &mut self.live else { return Vec::new() };
        let frozen = live.frozen.take();
        if live.head.is_empty() && live.latest.is_none() {
            self.live = None;
        }
        frozen
    }
    /// `None`: not known yet.
    pub(super) fn latest(&self) -> Option<&[Last]> {
        self.live.as_ref()?.latest.as_deref()
    }
    pub(super) fn set_latest(&mut self, latest: Option<Box<[Last]>>) {
        if latest.is_some() || self.live.is_some() {
            self.live.get_or_insert_default().latest = latest;
        }
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
        let Some(latest) = self.live.as_mut().and_then(|l| l.latest.as_mut()) else { return };
        for lane in &run.lanes {
            let Some(row) = lane.last_row() else { continue };
            let (Some(time), Some(value)) = (run.times.get(row), lane.values.get(row)) else { continue };
            note(latest, Last { field: lane.field, time: *time, value });
        }
    }
}

/// Keeps the newer of two; of the same time, the later written.
pub(super) fn note(latest: &mut Box<[Last]>, new: Last) {
    match latest.binary_search_by_key(&new.field, |l| l.field) {
        Ok(at) => {
            if let Some(have) = latest.get_mut(at).filter(|have| have.time <= new.time) {
                *have = new;
            }
        }
        Err(at) => {
            let mut more = std::mem::take(latest).into_vec();
            more.reserve_exact(1);
            more.insert(at, new);
            *latest = more.into_boxed_slice();
        }
    }
}

impl Series {
    pub(super) fn new(id: i64, tags: Tags, measurement: Arc<Measurement>, state: State) -> Self {
        Self { id, measurement, tags, state: Mutex::new(state) }
    }
    /// Made anew: a store keeps it once, in parts.
    pub(super) fn key(&self) -> SeriesKey {
        let Measurement { bucket, name, .. } = &*self.measurement;
        SeriesKey { bucket: bucket.clone(), measurement: name.clone(), tags: self.tags.unpack() }
    }
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A series at its place among those of its measurement.
#[derive(Debug)]
struct ByTags(Arc<Series>);

impl Borrow<[u8]> for ByTags {
    fn borrow(&self) -> &[u8] {
        self.0.tags.borrow()
    }
}
impl PartialEq for ByTags {
    fn eq(&self, other: &Self) -> bool {
        self.0.tags == other.0.tags
    }
}
impl Eq for ByTags {}
impl PartialOrd for ByTags {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ByTags {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.tags.cmp(&other.0.tags)
    }
}

/// Series by their numbers.
#[derive(Debug, Default)]
pub(super) struct ById(Vec<Arc<Series>>);

impl ById {
    pub(super) fn new(mut series: Vec<Arc<Series>>) -> Self {
        series.sort_unstable_by_key(|s| s.id);
        Self(series)
    }
    pub(super) fn get(&self, id: i64) -> Option<&Arc<Series>> {
        self.0.binary_search_by_key(&id, |s| s.id).ok().and_then(|at| self.0.get(at))
    }
    /// What a person knows it by.
    pub(super) fn name(&self, id: i64) -> String {
        self.get(id).map_or_else(|| format!("series {id}"), |s| s.key().to_string())
    }
}

/// A measurement and its series.
#[derive(Debug)]
struct Members {
    measurement: Arc<Measurement>,
    series: BTreeSet<ByTags>,
}

/// Every series, by bucket, measurement and tags: the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    buckets: BTreeMap<String, BTreeMap<String, Members>>,
    series: usize,
    pub next_series: i64,
    pub next_measurement: i64,
    /// What a start left out.
    pub damage: Damage,
}

impl Catalog {
    pub(super) fn new() -> Self {
        Self { next_series: 1, next_measurement: 1, ..Self::default() }
    }
    fn members(&self, bucket: &str, name: &str) -> Option<&Members> {
        self.buckets.get(bucket)?.get(name)
    }
    pub(super) fn get(&self, key: &SeriesKey) -> Option<&Arc<Series>> {
        let members = self.members(&key.bucket, &key.measurement)?;
        members.series.get::<[u8]>(Tags::pack(&key.tags).borrow()).map(|s| &s.0)
    }
    pub(super) fn measurement(&self, bucket: &str, name: &str) -> Option<&Arc<Measurement>> {
        self.members(bucket, name).map(|m| &m.measurement)
    }
    pub(super) fn len(&self) -> usize {
        self.series
    }
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.buckets.values().flat_map(BTreeMap::values).flat_map(|m| &m.series).map(|s| &s.0)
    }
    pub(super) fn add_measurement(&mut self, measurement: Arc<Measurement>) {
        keep_above(&mut self.next_measurement, measurement.id);
        let bucket = self.buckets.entry(measurement.bucket.clone()).or_default();
        bucket
            .entry(measurement.name.clone())
            .and_modify(|m| m.measurement = measurement.clone())
            .or_insert_with(|| Members { measurement, series: BTreeSet::new() });
    }
    /// The measurement comes before its series. One that is there already stays.
    pub(super) fn add_series(&mut self, series: Arc<Series>) -> Result<()> {
        keep_above(&mut self.next_series, series.id);
        let Measurement { bucket, name, .. } = &*series.measurement;
        let members = self.buckets.get_mut(bucket).and_then(|b| b.get_mut(name));
        let members = members.ok_or_else(|| {
            Error::internal(format!("the series `{}` came before its measurement", series.key()))
        })?;
        if members.series.contains::<[u8]>(series.tags.borrow()) {
            return Err(Error::corrupt(format!("the series `{}` is in the catalogue twice", series.key())));
        }
        members.series.insert(ByTags(series));
        self.series += 1;
        Ok(())
    }
    pub(super) fn remove_series(&mut self, series: &Series) {
        let Measurement { bucket, name, .. } = &*series.measurement;
        let members = self.buckets.get_mut(bucket).and_then(|b| b.get_mut(name));
        if members.is_some_and(|m| m.series.remove::<[u8]>(series.tags.borrow())) {
            self.series -= 1;
        }
    }

    /// The first series, or the next after one.
    pub(super) fn after(&self, before: Option<&Series>) -> Option<Arc<Series>> {
        let Some(before) = before else { return self.all().next().cloned() };
        let Measurement { bucket, name, .. } = &*before.measurement;
        let tags: &[u8] = before.tags.borrow();
        let own = self.members(bucket, name);
        let own = own.and_then(|m| m.series.range::<[u8], _>((Excluded(tags), Unbounded)).next());
        let first = |m: &'_ Members| m.series.first().map(|s| s.0.clone());
        let of_bucket = || {
            let later = self.buckets.get(bucket)?.range::<str, _>((Excluded(name.as_str()), Unbounded));
            later.map(|(_, m)| m).find_map(first)
        };
        let of_others = || {
            let later = self.buckets.range::<str, _>((Excluded(bucket.as_str()), Unbounded));
            later.flat_map(|(_, b)| b.values()).find_map(first)
        };
        own.map(|s| s.0.clone()).or_else(of_bucket).or_else(of_others)
    }

    /// The chosen series, by key. The bucket and the start of the measurement's pattern narrow the walk.
    pub(super) fn select(&self, selector: &Selector) -> Vec<Arc<Series>> {
        let pattern = selector.measurement.as_deref();
        let prefix = pattern.and_then(|p| p.split('*').next()).unwrap_or("");
        let wanted = Tags::pack(&selector.tags);
        let mut chosen = Vec::new();
        let buckets =
            self.buckets.iter().filter(|(name, _)| selector.bucket.as_ref().is_none_or(|b| b == *name));
        for (_, bucket) in buckets {
            let like = bucket.range::<str, _>((Included(prefix), Unbounded));
            for (_, members) in like
                .take_while(|(name, _)| name.starts_with(prefix))
                .filter(|(name, _)| pattern.is_none_or(|p| pattern_matches(p, name)))
            {
                let series = members.series.iter().map(|s| &s.0);
                chosen.extend(series.filter(|s| s.tags.have(&wanted)).cloned());
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(id: i64, bucket: &str, name: &str, tags: &[(&str, &str)]) -> Arc<Series> {
        let tags: Vec<_> = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let measurement = Arc::new(Measurement::new(id, bucket, name));
        Arc::new(Series::new(id, Tags::pack(&tags), measurement, State::default()))
    }

    #[test]
    fn series_are_walked_and_chosen_by_key() {
        let mut catalog = Catalog::new();
        let all = [
            series(7, "a", "m", &[]),
            series(3, "a", "m", &[("h", "1")]),
            series(5, "a", "m", &[("h", "1"), ("i", "1")]),
            series(2, "a", "m", &[("h", "2")]),
            series(9, "a", "m2", &[]),
            series(1, "b", "a", &[]),
        ];
        for s in [4, 1, 0, 5, 2, 3].map(|i: usize| &all[i]) {
            catalog.add_measurement(s.measurement.clone());
            catalog.add_series(s.clone()).unwrap();
        }
        let ids = |found: &[Arc<Series>]| found.iter().map(|s| s.id).collect::<Vec<_>>();
        assert_eq!(ids(&catalog.all().cloned().collect::<Vec<_>>()), [7, 3, 5, 2, 9, 1]);
        let mut walked: Vec<Arc<Series>> = Vec::new();
        while let Some(next) = catalog.after(walked.last().map(|s| &**s)) {
            walked.push(next);
        }
        assert_eq!(ids(&walked), [7, 3, 5, 2, 9, 1]);
        assert_eq!((catalog.len(), catalog.next_series, catalog.next_measurement), (6, 10, 10));
        let choose = |bucket: Option<&str>, measurement: Option<&str>, tags: &[(&str, &str)]| {
            let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let selector =
                Selector { bucket: bucket.map(Into::into), measurement: measurement.map(Into::into), tags };
            let found = catalog.select(&selector);
            assert!(found.iter().all(|s| selector.matches(&s.key())));
            assert_eq!(found.len(), all.iter().filter(|s| selector.matches(&s.key())).count());
            ids(&found)
        };
        assert_eq!(choose(None, None, &[]), [7, 3, 5, 2, 9, 1]);
        assert_eq!(choose(Some("a"), Some("m*"), &[("h", "1")]), [3, 5]);
        assert_eq!(choose(None, Some("*2"), &[]), [9]);
        assert_eq!(choose(Some("c"), None, &[]), [0_i64; 0]);
        assert!(catalog.get(&all[2].key()).is_some_and(|s| s.id == 5));
        assert!(
            catalog
                .add_series(series(11, "a", "m", &[("h", "2")]))
                .is_err_and(|e| e.message().contains("twice"))
        );
        catalog.remove_series(&all[2]);
        catalog.remove_series(&all[2]);
        assert!(catalog.get(&all[2].key()).is_none());
        // Where a series went meanwhile, the walk goes on after its place.
        assert_eq!(catalog.after(Some(&all[2])).map(|s| s.key()), Some(all[3].key()));
        assert_eq!(catalog.len(), 5);
    }

    /// Each byte is a hundred kilobytes of a hundred thousand series.
    #[test]
    fn it_takes_little_memory() {
        assert!(size_of::<Series>() <= 88, "{} bytes", size_of::<Series>());
        assert!(size_of::<Chunk>() <= 56, "{} bytes", size_of::<Chunk>());
        let (one, other) = (series(1, "a", "m", &[]), series(2, "a", "m", &[]));
        let shared = [one.measurement.share_set(&[0, 2]), one.measurement.share_set(&[0, 2])];
        assert!(Arc::ptr_eq(&shared[0], &shared[1]));
        for n in 0..FIELD_SETS_MAX as u32 + 9 {
            assert_eq!(*other.measurement.share_set(&[n]), [n]);
        }
        assert_eq!(other.measurement.fields().sets.len(), FIELD_SETS_MAX);
    }
}
