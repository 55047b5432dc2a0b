//! Decoded chunks that were asked for lately. A chunk never changes, so that what is kept of it is right for as long as a
//! scan finds the chunk: what replaces it has another number, and a number is never used again.

use super::lock;
use super::run::Run;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What an entry takes beside its values, about.
const ENTRY_BYTES: u64 = 256;
/// A scan of more than this part of the cache leaves it alone: it would push out all else for rows that it reads once.
const SCAN_PART: u64 = 2;

#[derive(Debug)]
struct Entry {
    run: Arc<Run>,
    /// `None`: all fields.
    fields: Option<Vec<u32>>,
    bytes: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Kept {
    chunks: HashMap<i64, Entry>,
    /// When each was used last, the oldest first.
    order: BTreeMap<u64, i64>,
    bytes: u64,
    clock: u64,
}

impl Kept {
    fn remove(&mut self, chunk: i64) {
        if let Some(entry) = self.chunks.remove(&chunk) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
    /// What was used longest ago goes.
    fn shrink_to(&mut self, bytes: u64) {
        while self.bytes > bytes {
            let Some(oldest) = self.order.first_key_value().map(|(_, id)| *id) else { break };
            self.remove(oldest);
        }
    }
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: u64,
    kept: Mutex<Kept>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    /// 0 bytes: nothing is kept.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, kept: Mutex::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// May a scan of chunks of so many bytes of values use it?
    pub(super) fn is_for(&self, bytes: u64) -> bool {
        self.bytes_max > 0 && bytes <= self.bytes_max / SCAN_PART
    }

    /// All rows of a chunk with at least these fields.
    pub(super) fn get(&self, chunk: i64, fields: Option<&[u32]>) -> Option<Arc<Run>> {
        let mut kept = lock(&self.kept);
        let kept = &mut *kept;
        let now = kept.tick();
        let entry = kept.chunks.get_mut(&chunk).filter(|e| match (&e.fields, fields) {
            (None, _) => true,
            (Some(have), Some(want)) => want.iter().all(|f| have.contains(f)),
            (Some(_), None) => false,
        });
        let Some(entry) = entry else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        kept.order.remove(&entry.used);
        kept.order.insert(now, chunk);
        entry.used = now;
        Some(entry.run.clone())
    }

    /// Keeps it, in at most `room` bytes together with the others.
    pub(super) fn put(&self, chunk: i64, fields: Option<&[u32]>, run: &Arc<Run>, room: u64) {
        let bytes = run.size_bytes() as u64 + ENTRY_BYTES;
        let Some(others) = self.bytes_max.min(room).checked_sub(bytes) else { return };
        let mut kept = lock(&self.kept);
        kept.remove(chunk);
        kept.shrink_to(others);
        let used = kept.tick();
        kept.bytes += bytes;
        kept.order.insert(used, chunk);
        kept.chunks
            .insert(chunk, Entry { run: run.clone(), fields: fields.map(<[u32]>::to_vec), bytes, used });
    }

    /// Gives up what is more than so many bytes.
    pub(super) fn shrink_to(&self, bytes: u64) {
        if self.bytes_max > 0 {
            lock(&self.kept).shrink_to(bytes);
        }
    }

    /// Of a chunk that was replaced or found damaged.
    pub(super) fn forget(&self, chunk: i64) {
        if self.bytes_max > 0 {
            lock(&self.kept).remove(chunk);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        lock(&self.kept).bytes
    }
    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
    pub(super) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: i64) -> Arc<Run> {
        Arc::new(Run { times: (0..rows).collect(), lanes: Vec::new() })
    }

    #[test]
    fn the_one_that_was_used_longest_ago_goes_first_and_the_bound_holds() {
        let each = 800 + ENTRY_BYTES;
        let cache = Cache::new(3 * each);
        for id in 1..=3 {
            cache.put(id, None, &run(100), u64::MAX);
        }
        assert_eq!(cache.bytes(), 3 * each, "exactly full");
        assert!(cache.get(1, None).is_some());
        cache.put(4, None, &run(100), u64::MAX);
        assert!(cache.get(2, None).is_none(), "it was used longest ago");
        assert!([1, 3, 4].iter().all(|id| cache.get(*id, None).is_some()));
        cache.put(5, None, &run((3 * each as i64 - ENTRY_BYTES as i64) / 8 + 1), u64::MAX);
        assert!(cache.get(5, None).is_none(), "larger than all of it");
        cache.put(4, None, &run(100), u64::MAX);
        assert_eq!(cache.bytes(), 3 * each, "put twice, kept once");
        cache.forget(4);
        cache.forget(4);
        assert!(cache.get(4, None).is_none());
        assert_eq!((cache.bytes(), cache.hits(), cache.misses()), (2 * each, 4, 3));
        assert!(cache.is_for(3 * each / 2) && !cache.is_for(3 * each / 2 + 1));
        assert!(!Cache::new(0).is_for(0));
        cache.put(6, None, &run(100), each - 1);
        assert!(cache.get(6, None).is_none() && cache.bytes() == 2 * each, "there is no room");
        cache.put(6, None, &run(100), each);
        assert!(cache.get(6, None).is_some() && cache.bytes() == each, "it takes the place of the others");
        cache.shrink_to(each);
        assert_eq!(cache.bytes(), each);
        cache.shrink_to(each - 1);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn what_has_fewer_fields_does_not_serve() {
        let cache = Cache::new(1 << 20);
        cache.put(1, Some(&[1, 3]), &run(1), u64::MAX);
        assert!(cache.get(1, Some(&[3])).is_some() && cache.get(1, Some(&[])).is_some());
        assert!(cache.get(1, Some(&[2])).is_none() && cache.get(1, None).is_none());
        cache.put(1, None, &run(1), u64::MAX);
        assert!(cache.get(1, Some(&[2])).is_some());
    }
}
