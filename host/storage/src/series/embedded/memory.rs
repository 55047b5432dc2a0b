//! The memory that rows take, in one budget: `series.embedded.memory_max`.
//!
//! One half is of what is written: batches on their way and the head. Sealing empties it, and writers wait for that. A scan
//! may hold rows of the head that were sealed meanwhile: they count here until it ends.
//!
//! The other half is of what is decoded: for a moment, kept by scans and merges, and the cache, which gives way to both.
//! Whoever decodes waits for room; what does not fit is kept in part and decoded again for the rest. Half of it is only
//! for those that decode for a moment: they wait for nothing else and soon give it back, so that everybody goes on.
//!
//! Nothing but the cache is locked by whoever holds the parts.

use super::cache::Cache;
use super::lock;
use super::run::Run;
use crate::error::{Error, Kind, Result};
use crate::series::Budget;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long somebody who decodes waits for room.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the deadline of who waits, and at what scans have let go.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The part of the decoding half that one may decode at once.
const AT_ONCE_PART: u64 = 2;
/// The part of it in which chunks are kept whole, and as much again for pieces of those that do not fit.
const KEPT_PART: u64 = 4;
/// A piece is this part of what is left for pieces, at most.
const PIECE_PART: u64 = 4;

/// Bytes of each part.
#[derive(Debug, Default)]
struct Parts {
    /// Batches on their way, and the head.
    written: u64,
    /// Being decoded, and kept.
    decoded: u64,
    /// Of `decoded`: what scans and merges go on holding.
    kept: u64,
    /// Rows of the head that were sealed, and that a scan holds.
    pinned: Vec<(Weak<Run>, u64)>,
    pinned_bytes: u64,
    peak: u64,
    waits: u64,
}

impl Parts {
    /// But for the cache.
    fn sum(&self) -> u64 {
        self.written + self.decoded + self.pinned_bytes
    }
    fn let_go(&mut self) {
        self.pinned.retain(|(run, _)| run.strong_count() > 0);
        self.pinned_bytes = self.pinned.iter().map(|p| p.1).sum();
    }
}

/// What the parts take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub max: u64,
    /// All parts.
    pub sum: u64,
    /// The most that it was.
    pub peak: u64,
    pub decoded: u64,
    /// What scans hold of the head after it was sealed.
    pub pinned: u64,
    pub cached: u64,
    /// How often somebody had to wait for room.
    pub waits: u64,
}

#[derive(Debug)]
pub(super) struct Memory {
    /// Of what is written; and of what is decoded.
    written_max: u64,
    decoded_max: u64,
    parts: Mutex<Parts>,
    freed: Condvar,
    pub cache: Cache,
}

impl Memory {
    pub(super) fn new(bytes_max: u64, cache_max: u64) -> Arc<Self> {
        let written_max = bytes_max / 2;
        let decoded_max = bytes_max - written_max;
        Arc::new(Self {
            written_max,
            decoded_max,
            parts: Mutex::default(),
            freed: Condvar::new(),
            cache: Cache::new(cache_max.min(decoded_max)),
        })
    }

    pub(super) fn written_max(&self) -> u64 {
        self.written_max
    }

    /// Room for a batch, if there is.
    pub(super) fn try_write(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let mut parts = lock(&self.parts);
        parts.let_go();
        let taken = (parts.written + parts.pinned_bytes).saturating_add(bytes);
        let fits = taken <= self.written_max && self.make_room(&parts, bytes);
        fits.then(|| {
            parts.written += bytes;
            self.note_peak(&mut parts);
            Room { memory: self.clone(), bytes }
        })
    }

    /// What a start finds in the log.
    pub(super) fn wrote(&self, before: u64, after: u64) {
        let mut parts = lock(&self.parts);
        parts.written = (parts.written + after).saturating_sub(before);
        self.note_peak(&mut parts);
    }

    pub(super) fn note_wait(&self) {
        lock(&self.parts).waits += 1;
    }

    /// Runs that were sealed.
    pub(super) fn sealed(&self, runs: Vec<Arc<Run>>) {
        let mut parts = lock(&self.parts);
        for run in runs {
            let bytes = run.size_bytes() as u64;
            parts.written = parts.written.saturating_sub(bytes);
            // A scan that holds it took it before: a count of one stays one.
            if Arc::strong_count(&run) > 1 {
                parts.pinned.push((Arc::downgrade(&run), bytes));
                parts.pinned_bytes += bytes;
            }
        }
        drop(parts);
        self.freed.notify_all();
    }

    /// Room to decode, when it is there. A chunk of more than half, written when there was more memory, counts as half.
    pub(super) fn decode(self: &Arc<Self>, bytes: u64, budget: &Budget) -> Result<Held> {
        let bytes = bytes.min(self.decoded_max / AT_ONCE_PART);
        let end = Instant::now() + ROOM_WAIT_MAX;
        let mut parts = lock(&self.parts);
        let mut waited = false;
        loop {
            if self.fits(&parts, bytes) {
                return Ok(self.take(parts, bytes, false));
            }
            parts.waits += u64::from(!std::mem::replace(&mut waited, true));
            budget.check()?;
            if Instant::now() >= end {
                return Err(Error::new(Kind::Busy, "the memory for decoding is in use by other queries")
                    .hint("ask again later, or raise `series.embedded.memory_max` in shiphold.toml"));
            }
            parts = self.freed.wait_timeout(parts, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Room to keep something, if there is without waiting.
    pub(super) fn try_keep(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let parts = lock(&self.parts);
        let fits = parts.kept + bytes <= self.decoded_max / KEPT_PART && self.fits(&parts, bytes);
        fits.then(|| self.take(parts, bytes, true))
    }

    /// Counts what is decoded where nobody may wait.
    pub(super) fn decode_at_once(self: &Arc<Self>, bytes: u64) -> Held {
        let parts = lock(&self.parts);
        self.make_room(&parts, bytes);
        self.take(parts, bytes, false)
    }

    /// Bytes of a piece that is to be kept, beside so many others of the same merge.
    pub(super) fn piece(&self, others: usize) -> u64 {
        let quarter = self.decoded_max / KEPT_PART;
        let left = (2 * quarter).saturating_sub(lock(&self.parts).kept);
        (left / PIECE_PART).min(quarter / (others as u64 + 1))
    }

    /// Puts a decoded chunk into the cache, as far as the others leave room.
    pub(super) fn cache(&self, chunk: i64, fields: Option<&[u32]>, run: &Arc<Run>) {
        let mut parts = lock(&self.parts);
        let room = (self.written_max + self.decoded_max).saturating_sub(parts.sum());
        let room = room.min(self.decoded_max.saturating_sub(parts.decoded));
        self.cache.put(chunk, fields, run, room);
        self.note_peak(&mut parts);
    }

    pub(super) fn counted(&self) -> Counted {
        let mut parts = lock(&self.parts);
        parts.let_go();
        let cached = self.cache.bytes();
        Counted {
            max: self.written_max + self.decoded_max,
            sum: parts.sum() + cached,
            peak: parts.peak,
            decoded: parts.decoded,
            pinned: parts.pinned_bytes,
            cached,
            waits: parts.waits,
        }
    }

    /// Is there room for so many bytes more that are decoded?
    fn fits(&self, parts: &Parts, bytes: u64) -> bool {
        parts.decoded.saturating_add(bytes) <= self.decoded_max && self.make_room(parts, bytes)
    }

    /// Lets the cache give way; false: the others take too much.
    fn make_room(&self, parts: &Parts, bytes: u64) -> bool {
        let max = self.written_max + self.decoded_max;
        let Some(left) = max.checked_sub(parts.sum().saturating_add(bytes)) else { return false };
        self.cache.shrink_to(left);
        true
    }

    fn take(self: &Arc<Self>, mut parts: MutexGuard<'_, Parts>, bytes: u64, kept: bool) -> Held {
        parts.decoded += bytes;
        if kept {
            parts.kept += bytes;
        }
        self.note_peak(&mut parts);
        Held { memory: self.clone(), bytes, kept }
    }

    fn note_peak(&self, parts: &mut Parts) {
        parts.peak = parts.peak.max(parts.sum() + self.cache.bytes());
    }
}

/// Room for a batch, from before it is queued until it is in the head.
#[derive(Debug)]
pub(super) struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Room {
    /// The batch is in the head; what it touched there took so many bytes before and after.
    pub(super) fn used(mut self, before: u64, after: u64) {
        let mut parts = lock(&self.memory.parts);
        parts.written = (parts.written + after).saturating_sub(before + std::mem::take(&mut self.bytes));
        self.memory.note_peak(&mut parts);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut parts = lock(&self.memory.parts);
            parts.written = parts.written.saturating_sub(self.bytes);
        }
    }
}

/// Room for decoded rows; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    bytes: u64,
    kept: bool,
}

impl Held {
    /// What was decoded for a moment stays, in so many bytes; false: there is no room for that, and nothing changes.
    pub(super) fn keep(&mut self, bytes: u64) -> bool {
        let may = {
            let parts = lock(&self.memory.parts);
            let others = parts.kept - if self.kept { self.bytes } else { 0 };
            others + bytes <= self.memory.decoded_max / KEPT_PART
        };
        if may {
            self.keep_anyway(bytes);
        }
        may
    }

    /// A piece of it stays, for which there is always room.
    pub(super) fn keep_anyway(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        let mut parts = lock(&self.memory.parts);
        parts.kept = parts.kept + bytes - if self.kept { self.bytes } else { 0 };
        parts.decoded = parts.decoded + bytes - self.bytes;
        drop(parts);
        (self.bytes, self.kept) = (bytes, true);
        self.memory.freed.notify_all();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut parts = lock(&self.memory.parts);
        parts.decoded -= self.bytes;
        if self.kept {
            parts.kept -= self.bytes;
        }
        drop(parts);
        self.memory.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: i64) -> Arc<Run> {
        Arc::new(Run { times: (0..rows).collect(), lanes: Vec::new() })
    }

    #[test]
    fn each_half_is_full_at_its_last_byte() {
        let memory = Memory::new(2_001, 0);
        let room = memory.try_write(1_000).unwrap();
        assert!(memory.try_write(1).is_none(), "writers have half");
        room.used(0, 400);
        assert!(memory.try_write(601).is_none());
        drop(memory.try_write(600).unwrap());
        let budget = Budget { deadline: Some(Instant::now()), ..Budget::default() };
        let decode = |bytes: u64| memory.decode(bytes, &budget);
        let mut held = decode(u64::MAX).unwrap();
        let all = [decode(500).unwrap(), decode(1).unwrap()];
        assert_eq!(decode(1).unwrap_err().kind(), Kind::Timeout, "half, and half of that at once");
        assert!(!held.keep(251) && held.keep(250), "a quarter is kept");
        assert!(memory.try_keep(1).is_none());
        drop(decode(250).unwrap());
        assert!(decode(251).is_err());
        held.keep_anyway(100);
        // Of the second quarter, which the first one lends its rest.
        assert_eq!((memory.piece(0), memory.piece(4)), (100, 50));
        drop(all);
        assert!(memory.try_keep(151).is_none() && memory.try_keep(150).is_some());
        let counted = memory.counted();
        assert_eq!((counted.sum, counted.peak, counted.waits, counted.max), (500, 1_401, 2, 2_001));
        drop(held);
        assert_eq!((memory.counted().sum, memory.counted().decoded), (400, 0));
    }

    #[test]
    fn the_cache_gives_way_to_who_decodes() {
        let memory = Memory::new(20_000, 8_000);
        for chunk in 0..4 {
            memory.cache(chunk, None, &run(200));
        }
        let cached = memory.counted().cached;
        assert!(cached > 6_400 && cached <= 8_000, "{cached}");
        let held = [memory.decode(3_000, &Budget::default()), memory.decode(3_000, &Budget::default())];
        // Of the half that writers do not use now they may have all.
        assert_eq!(memory.counted().cached, cached);
        let room = memory.try_write(9_000).unwrap();
        let left = memory.counted().cached;
        assert!(left > 0 && left <= 5_000, "{left}");
        memory.cache(9, None, &run(200));
        assert!(memory.counted().cached <= 4_000);
        drop((held, room));
        memory.cache(9, None, &run(200));
        assert!(memory.counted().peak <= 20_000);
    }

    #[test]
    fn what_a_scan_holds_of_sealed_rows_counts_until_it_ends() {
        let memory = Memory::new(20_000, 0);
        let (held, free) = (run(500), run(500));
        memory.wrote(0, 8_000);
        memory.sealed(vec![held.clone(), free]);
        let counted = memory.counted();
        assert_eq!((counted.sum, counted.pinned, counted.decoded), (4_000, 4_000, 0));
        assert!(memory.try_write(6_001).is_none() && memory.try_write(6_000).is_some());
        // Whoever reads goes on.
        let all = [memory.decode(5_000, &Budget::default()), memory.decode(5_000, &Budget::default())];
        assert!(all.iter().all(Result::is_ok));
        drop(held);
        assert!(memory.try_write(10_000).is_some());
        drop(all);
        assert_eq!((memory.counted().sum, memory.counted().pinned), (0, 0));
    }

    #[test]
    fn who_waits_is_woken() {
        let memory = Memory::new(2_000, 0);
        let held = [memory.decode(500, &Budget::default()), memory.decode(500, &Budget::default())];
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.decode(500, &Budget::default()).map(drop));
            while memory.counted().waits == 0 {
                std::thread::yield_now();
            }
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }
}
