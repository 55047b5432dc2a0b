//! Live tail: whoever listens gets the rows of each acknowledged write, of each series in the order of the commits. A writer
//! never waits for a listener; while nobody listens, a write costs a lock that nobody else holds, and nothing is copied.

mod queue;
#[cfg(test)]
mod tests;

pub use queue::{Lagged, TAIL_BYTES_MAX, TailEvent};

use super::decimals::Scales;
use super::{
    Budget, FieldType, Frame, FrameStream, SeriesEngine, SeriesKey, Value, WriteBatch, WriteReport, units,
};
use crate::caller::{Caller, pattern_matches};
use crate::error::{Error, Kind, Result};
use queue::Queue;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// Listeners at once.
pub const TAILS_MAX: usize = 16;
/// Series whose history one listener may ask for.
pub const HISTORY_SERIES_MAX: usize = 1_000;
/// Writers of listened series of different stripes do not wait for each other.
const STRIPES: usize = 64;

/// What somebody wants to hear of.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub bucket: String,
    /// `*` stands for any run of characters.
    pub measurement: String,
    pub caller: Caller,
}

impl Wanted {
    pub(super) fn takes(&self, key: &SeriesKey) -> bool {
        self.bucket == key.bucket
            && pattern_matches(&self.measurement, &key.measurement)
            && self.caller.may_read_series(&key.bucket, &key.measurement).is_ok()
    }
}

/// One listener's end of the line.
#[derive(Debug)]
struct Ear {
    wanted: Wanted,
    queue: Mutex<Queue>,
    woken: Notify,
}

/// All who listen to an engine.
#[derive(Debug)]
pub(crate) struct Tails {
    /// Held by a writer from before its commit until its rows are told, and alone by who begins to listen: what is committed
    /// before is history, what comes after is told.
    gate: RwLock<()>,
    count: AtomicUsize,
    ears: RwLock<Vec<Arc<Ear>>>,
    /// Held by writers of series that are listened to, so that rows are told in the order in which they were committed.
    stripes: Vec<Mutex<()>>,
}

impl Default for Tails {
    fn default() -> Self {
        Self {
            gate: RwLock::default(),
            count: AtomicUsize::new(0),
            ears: RwLock::default(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }
}

/// A write that is under way.
pub(crate) struct Telling<'a> {
    _gate: RwLockReadGuard<'a, ()>,
    _turns: Vec<MutexGuard<'a, ()>>,
    told: Vec<(SeriesKey, Frame, Vec<Arc<Ear>>)>,
}

impl Tails {
    /// Before the commit of a batch.
    pub(crate) fn enter(&self, batch: &WriteBatch) -> Telling<'_> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        // Only who holds the gate alone begins to listen.
        if self.count.load(Ordering::Acquire) == 0 {
            return Telling { _gate: gate, _turns: Vec::new(), told: Vec::new() };
        }
        let ears = self.ears.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut told = Vec::new();
        let mut wanted = BTreeSet::new();
        for (key, frame) in &batch.series {
            let by: Vec<Arc<Ear>> = ears.iter().filter(|ear| ear.wanted.takes(key)).cloned().collect();
            if !by.is_empty() {
                wanted.insert(stripe(key));
                told.push((key.clone(), frame.clone(), by));
            }
        }
        // In one order by everybody.
        let turns = wanted.into_iter().filter_map(|at| self.stripes.get(at));
        let turns = turns.map(|s| s.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        Telling { _gate: gate, _turns: turns, told }
    }

    /// From when this returns, rows are told; `before` runs at that moment, while nobody writes.
    pub(super) fn listen<T>(
        self: &Arc<Self>,
        wanted: Wanted,
        before: impl FnOnce() -> Result<T>,
    ) -> Result<(Tail, T)> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut ears = self.ears.write().unwrap_or_else(PoisonError::into_inner);
        if ears.len() >= TAILS_MAX {
            return Err(Error::new(Kind::Busy, format!("{TAILS_MAX} clients listen to series already"))
                .hint("end one of them, or listen to several series at once with a pattern"));
        }
        let found = before()?;
        let ear = Arc::new(Ear { wanted, queue: Mutex::default(), woken: Notify::new() });
        ears.push(ear.clone());
        self.count.store(ears.len(), Ordering::Release);
        Ok((Tail { tails: self.clone(), ear, scales: Arc::default() }, found))
    }
}

fn stripe(key: &SeriesKey) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or_default()
}

impl Telling<'_> {
    /// After the commit. Rows that were refused for the type of a field are left out.
    pub(crate) fn tell(self, report: &WriteReport, engine: &dyn SeriesEngine) {
        let mut types = HashMap::new();
        for (key, mut frame, ears) in self.told {
            if report.dropped > 0 {
                let known = types
                    .entry((key.bucket.clone(), key.measurement.clone()))
                    .or_insert_with(|| stored_types(engine, &key));
                frame = without_conflicts(frame, known);
            }
            let rows = Arc::new((key, frame));
            for ear in ears {
                ear.queue.lock().unwrap_or_else(PoisonError::into_inner).push(&rows);
                ear.woken.notify_one();
            }
        }
    }
}

/// The types of a measurement's fields. What cannot be read now is missing, and its rows are told.
fn stored_types(engine: &dyn SeriesEngine, key: &SeriesKey) -> HashMap<String, FieldType> {
    units::listed(key, |of| engine.choose(of, &Budget::default())).unwrap_or_default()
}

fn without_conflicts(frame: Frame, known: &HashMap<String, FieldType>) -> Frame {
    let wrong = |name: &str, of: FieldType| known.get(name).is_some_and(|have| *have != of);
    let bad: Vec<usize> = (0..frame.columns.len())
        .filter(|at| frame.columns.get(*at).is_some_and(|c| wrong(&c.name, c.values.field_type())))
        .collect();
    if bad.is_empty() {
        return frame;
    }
    let refused = |row: usize| bad.iter().any(|at| frame.columns.get(*at).is_some_and(|c| c.is_valid(row)));
    let keep: Vec<bool> = (0..frame.len()).map(|row| !refused(row)).collect();
    super::query::chosen(frame, &keep)
}

/// Somebody listens, until it is dropped.
#[derive(Debug)]
pub struct Tail {
    tails: Arc<Tails>,
    ear: Arc<Ear>,
    /// Rows are told as they are stored: what of them are decimals.
    scales: Arc<Scales>,
}

impl Tail {
    /// With decimals in their place from now on.
    pub(super) fn showing(self, scales: Arc<Scales>) -> Self {
        let mut shown = self;
        shown.scales = scales;
        shown
    }

    /// What is there now.
    pub fn take(&self) -> Option<TailEvent> {
        let event = self.ear.queue.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let TailEvent::Rows(rows) = &event else { return Some(event) };
        let scales = self.scales.of(&rows.0.bucket, &rows.0.measurement);
        if scales.is_empty() {
            return Some(event);
        }
        Some(TailEvent::Rows(Arc::new((rows.0.clone(), scales.show(rows.1.clone())))))
    }

    /// Waits for what comes next.
    pub async fn next(&self) -> TailEvent {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.ear.woken.notified().await;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut ears = self.tails.ears.write().unwrap_or_else(PoisonError::into_inner);
        ears.retain(|ear| !Arc::ptr_eq(ear, &self.ear));
        self.tails.count.store(ears.len(), Ordering::Release);
    }
}

/// The rows that were there before somebody listened: a stream for each series.
pub type History = Vec<(SeriesKey, FrameStream)>;

/// The fields of a row that have a value.
pub fn fields(frame: &Frame, row: usize) -> impl Iterator<Item = (&str, Value)> {
    frame.columns.iter().filter_map(move |c| Some((c.name.as_str(), c.get(row)?)))
}
