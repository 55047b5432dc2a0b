//! What connections of one process share about a file besides its bytes: SQLite's five lock levels, and the shared
//! memory of its WAL index with its eight locks.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};

/// SQLite's levels, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Level {
    pub(super) fn from_sqlite(level: i32) -> Self {
        match level {
            i32::MIN..=0 => Self::None,
            1 => Self::Shared,
            2 => Self::Reserved,
            3 => Self::Pending,
            _ => Self::Exclusive,
        }
    }
}

/// The locks of one file.
#[derive(Debug, Default)]
pub(super) struct FileLock {
    /// Handles at [`Level::Shared`] or above.
    sharers: u32,
    /// One of them is at [`Level::Reserved`] or above.
    reserved: bool,
    /// That one waits for the others to go, or is alone.
    pending: bool,
}

impl FileLock {
    /// Raises a handle's level; false: another handle is in the way.
    pub(super) fn raise(&mut self, mine: &mut Level, to: Level) -> bool {
        if *mine >= to {
            return true;
        }
        if *mine == Level::None {
            if self.pending {
                return false;
            }
            self.sharers += 1;
            *mine = Level::Shared;
        }
        if to >= Level::Reserved && *mine < Level::Reserved {
            if self.reserved {
                return false;
            }
            self.reserved = true;
            *mine = Level::Reserved;
        }
        if to >= Level::Pending {
            self.pending = true;
            *mine = Level::Pending;
            if to == Level::Exclusive {
                if self.sharers > 1 {
                    return false;
                }
                *mine = Level::Exclusive;
            }
        }
        true
    }

    pub(super) fn lower(&mut self, mine: &mut Level, to: Level) {
        if *mine >= Level::Reserved && to < Level::Reserved {
            self.reserved = false;
            self.pending = false;
        }
        if *mine >= Level::Shared && to == Level::None {
            self.sharers = self.sharers.saturating_sub(1);
        }
        *mine = (*mine).min(to);
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.reserved
    }
}

/// Zeroed memory that stays where it is.
#[derive(Debug)]
struct Region {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: the region owns its memory; what is done in it is SQLite's to order, by the locks and barriers below.
unsafe impl Send for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout and is freed once.
        unsafe { dealloc(self.start, self.layout) }
    }
}

/// Locks of a shared memory.
pub(super) const SHM_LOCKS: usize = 8;

/// What one connection holds of a shared memory: a bit per lock.
#[derive(Debug, Default)]
pub(super) struct Held {
    shared: u8,
    exclusive: u8,
}

/// The shared memory of one file.
#[derive(Debug, Default)]
pub(super) struct Shm {
    regions: Vec<Region>,
    shared: [u32; SHM_LOCKS],
    exclusive: u8,
    /// Connections that have it mapped.
    pub(super) users: u32,
}

impl Shm {
    /// A region that is there.
    pub(super) fn region(&self, index: usize) -> Option<*mut u8> {
        self.regions.get(index).map(|r| r.start)
    }

    /// Adds regions up to and with `index`; false: no memory.
    pub(super) fn grow(&mut self, index: usize, bytes: usize) -> bool {
        while self.regions.len() <= index {
            let Ok(layout) = Layout::from_size_align(bytes.max(8), 64) else { return false };
            // SAFETY: the layout is not of size 0.
            let start = unsafe { alloc_zeroed(layout) };
            if start.is_null() {
                return false;
            }
            self.regions.push(Region { start, layout });
        }
        true
    }

    /// Takes `n` locks from `first`; false: another connection is in the way.
    pub(super) fn lock(&mut self, held: &mut Held, first: usize, n: usize, exclusive: bool) -> bool {
        let Some(slots) = self.shared.get_mut(first..first + n) else { return false };
        let mask = mask(first, n);
        if exclusive {
            let others = slots.iter().any(|s| *s > 0) || self.exclusive & !held.exclusive & mask != 0;
            if others {
                return false;
            }
            self.exclusive |= mask;
            held.exclusive |= mask;
        } else if held.shared & mask != mask {
            if self.exclusive & mask != 0 {
                return false;
            }
            slots.iter_mut().for_each(|s| *s += 1);
            held.shared |= mask;
        }
        true
    }

    /// Gives `n` locks from `first` back, of either kind.
    pub(super) fn unlock(&mut self, held: &mut Held, first: usize, n: usize) {
        let mask = mask(first, n);
        self.exclusive &= !(held.exclusive & mask);
        for (i, slot) in self.shared.iter_mut().enumerate() {
            if held.shared & mask & (1 << i) != 0 {
                *slot = slot.saturating_sub(1);
            }
        }
        held.exclusive &= !mask;
        held.shared &= !mask;
    }
}

fn mask(first: usize, n: usize) -> u8 {
    (first..first + n).fold(0, |m, i| m | 1_u8.checked_shl(u32::try_from(i).unwrap_or(u32::MAX)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_waits_for_the_readers() {
        let mut lock = FileLock::default();
        let (mut a, mut b, mut c) = (Level::None, Level::None, Level::None);
        assert!(lock.raise(&mut a, Level::Shared) && lock.raise(&mut b, Level::Shared));
        assert!(lock.raise(&mut a, Level::Reserved) && lock.is_reserved());
        assert!(!lock.raise(&mut b, Level::Reserved), "one at a time");
        assert!(!lock.raise(&mut a, Level::Exclusive), "b reads");
        assert_eq!(a, Level::Pending);
        assert!(!lock.raise(&mut c, Level::Shared), "no new readers while one waits");
        lock.lower(&mut b, Level::None);
        assert!(lock.raise(&mut a, Level::Exclusive));
        assert!(!lock.raise(&mut b, Level::Shared));
        lock.lower(&mut a, Level::Shared);
        assert!(lock.raise(&mut b, Level::Reserved));
        lock.lower(&mut a, Level::None);
        lock.lower(&mut b, Level::None);
        assert!(!lock.is_reserved() && lock.raise(&mut c, Level::Exclusive));
    }

    #[test]
    fn shared_locks_count_and_exclusive_ones_exclude() {
        let mut shm = Shm::default();
        let (mut a, mut b) = (Held::default(), Held::default());
        assert!(shm.lock(&mut a, 3, 1, false) && shm.lock(&mut b, 3, 1, false));
        assert!(!shm.lock(&mut a, 1, 4, true));
        shm.unlock(&mut a, 3, 1);
        assert!(!shm.lock(&mut a, 3, 1, true));
        shm.unlock(&mut b, 3, 1);
        assert!(shm.lock(&mut a, 0, 8, true));
        assert!(!shm.lock(&mut b, 7, 1, false) && !shm.lock(&mut b, 7, 1, true));
        shm.unlock(&mut b, 7, 1);
        assert!(!shm.lock(&mut b, 7, 1, true), "what one does not hold one cannot give back");
        shm.unlock(&mut a, 7, 1);
        assert!(shm.lock(&mut b, 7, 1, true));
        assert!(!shm.lock(&mut b, 8, 1, true), "there are eight");
    }

    #[test]
    fn regions_stay_where_they_are() {
        let mut shm = Shm::default();
        assert!(shm.region(0).is_none());
        assert!(shm.grow(0, 32 << 10));
        let first = shm.region(0).unwrap();
        assert!(shm.grow(40, 32 << 10));
        assert_eq!(shm.region(0).unwrap(), first);
        assert!(shm.region(40).is_some() && shm.region(41).is_none());
    }
}
