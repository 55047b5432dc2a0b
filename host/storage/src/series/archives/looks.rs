//! Whether rows that are about to leave the engine are written or deleted meanwhile.

use super::engine::Archived;
use crate::locks::lock;
use crate::series::{Frame, Selector, SeriesKey, WriteBatch};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A look at what is written to a series before a time.
#[derive(Debug)]
struct Look {
    key: SeriesKey,
    before: i64,
    written: Arc<AtomicBool>,
}

/// Those that go on.
#[derive(Debug, Default)]
pub(super) struct Looks {
    all: Mutex<Vec<Look>>,
    /// Writers ask no further where there is none.
    any: AtomicUsize,
}

impl Looks {
    /// Notes rows that are about to be written.
    pub(super) fn note(&self, batch: &WriteBatch) {
        if self.any.load(Ordering::SeqCst) == 0 {
            return;
        }
        for look in lock(&self.all).iter() {
            let hit = |(key, frame): &(SeriesKey, Frame)| {
                *key == look.key && frame.times.iter().any(|t| *t < look.before)
            };
            if batch.series.iter().any(hit) {
                look.written.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Notes a deletion that is about to begin, whatever its range.
    pub(super) fn note_deletion(&self, selector: &Selector) {
        for look in lock(&self.all).iter().filter(|l| selector.matches(&l.key)) {
            look.written.store(true, Ordering::SeqCst);
        }
    }
}

impl Archived {
    /// Notes from now on whether rows of a series before a time are written or deleted. Writers that are at work may not see it:
    /// wait for them. A deletion that is at work counts.
    pub(crate) fn look(&self, key: &SeriesKey, before: i64) -> Looking<'_> {
        let written = Arc::new(AtomicBool::new(false));
        let mut looks = lock(&self.looks.all);
        looks.push(Look { key: key.clone(), before, written: written.clone() });
        self.looks.any.store(looks.len(), Ordering::SeqCst);
        drop(looks);
        if self.is_deleting() {
            written.store(true, Ordering::SeqCst);
        }
        Looking { looks: &self.looks, written }
    }
}

/// A look that is over when it is dropped.
#[derive(Debug)]
pub(crate) struct Looking<'a> {
    looks: &'a Looks,
    written: Arc<AtomicBool>,
}

impl Looking<'_> {
    /// Were rows written or deleted since?
    pub(crate) fn written(&self) -> bool {
        self.written.load(Ordering::SeqCst)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut looks = lock(&self.looks.all);
        looks.retain(|l| !Arc::ptr_eq(&l.written, &self.written));
        self.looks.any.store(looks.len(), Ordering::SeqCst);
    }
}
