//! What reading archives takes of memory: pages and rows of the files that are open, of all questions together. Beside
//! `series.embedded.memory_max`, which is of the engine's own rows, and with InfluxDB there is none.

use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::series::Budget;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of all questions together. Who opens one file more waits for the others.
pub const HELD_BYTES_MAX: u64 = 256 << 20;
/// What a file is thought to take until its first rows are there.
pub(super) const FIRST_BYTES: u64 = 8 << 20;
/// How long a question waits for the others.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the deadline of who waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What one question holds.
pub(super) type Mine = Arc<AtomicU64>;

#[derive(Debug)]
pub(super) struct Room {
    max: u64,
    held: Mutex<u64>,
    freed: Condvar,
}

impl Room {
    pub(super) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { max, held: Mutex::default(), freed: Condvar::new() })
    }

    pub(super) fn held(&self) -> u64 {
        *lock(&self.held)
    }

    /// Room for one file more of a question, once it is there. The first one of all is let in however large it is.
    pub(super) fn enter(self: &Arc<Self>, bytes: u64, mine: &Mine, budget: &Budget) -> Result<Held> {
        let end = Instant::now() + WAIT_MAX;
        let mut held = lock(&self.held);
        loop {
            if *held == 0 || held.saturating_add(bytes) <= self.max {
                *held += bytes;
                mine.fetch_add(bytes, Ordering::Relaxed);
                return Ok(Held { room: self.clone(), mine: mine.clone(), bytes });
            }
            if *held == mine.load(Ordering::Relaxed) {
                // It would wait for itself.
                return Err(Error::limit(
                    "the memory for archives that overlap at one time",
                    format!("{} bytes", self.max),
                    "ask for fewer fields, or bring them back with `shiphold series restore` and archive them again as one",
                ));
            }
            budget.check()?;
            if Instant::now() >= end {
                return Err(Error::new(Kind::Busy, "the memory for archives is in use by other queries")
                    .hint("ask again later"));
            }
            held = self.freed.wait_timeout(held, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What an open file takes; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Room>,
    mine: Mine,
    bytes: u64,
}

impl Held {
    /// So many bytes are there now. Nobody waits in the middle of a file.
    pub(super) fn set(&mut self, bytes: u64) {
        let mut held = lock(&self.room.held);
        *held = (*held + bytes).saturating_sub(self.bytes);
        drop(held);
        self.mine.fetch_add(bytes, Ordering::Relaxed);
        self.mine.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
        self.room.freed.notify_all();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_at_its_last_byte_and_nobody_waits_for_himself() {
        let room = Room::new(100);
        let (a, b) = (Mine::default(), Mine::default());
        let mut first = room.enter(60, &a, &Budget::default()).unwrap();
        let second = room.enter(40, &a, &Budget::default()).unwrap();
        assert_eq!(room.held(), 100);
        assert_eq!(room.enter(1, &a, &Budget::default()).unwrap_err().kind(), Kind::Limit);
        let late = Budget { deadline: Some(Instant::now()), ..Budget::default() };
        assert_eq!(room.enter(1, &b, &late).unwrap_err().kind(), Kind::Timeout, "it would be given back");
        first.set(59);
        let third = room.enter(1, &b, &late).unwrap();
        // What grew in the middle of a file counts.
        first.set(90);
        assert_eq!(room.held(), 131);
        drop((first, second, third));
        assert_eq!((room.held(), a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)), (0, 0, 0));
        drop(room.enter(101, &b, &late).unwrap());
    }

    #[test]
    fn who_waits_is_woken() {
        let room = Room::new(10);
        let first = room.enter(10, &Mine::default(), &Budget::default()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| room.enter(10, &Mine::default(), &Budget::default()).map(drop));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(first);
            waiting.join().unwrap().unwrap();
        });
    }
}
