//! When changes are recorded: nanoseconds by the host's clock, each only once, never backwards.

use crate::schema::now_ns;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far the recording is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last time that was given away.
    pub(super) last: i64,
    /// Batches that have a time and are not stored yet.
    pub(super) in_flight: u64,
}

#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Progress>);

/// A time that was given to a batch which is being stored.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    clock: &'a Clock,
    pub(super) at: i64,
}

impl Clock {
    fn state(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self) -> Progress {
        *self.state()
    }

    /// Every later time is after this one.
    pub(super) fn pass(&self, time: i64) {
        let mut state = self.state();
        state.last = state.last.max(time);
    }

    /// The first of `entries` times that nobody else gets, for a batch; its turn ends when the ticket goes.
    pub(super) fn draw(&self, entries: usize) -> Ticket<'_> {
        let mut state = self.state();
        let at = now_ns().max(state.last.saturating_add(1));
        state.last = at.saturating_add(i64::try_from(entries).unwrap_or(i64::MAX)).saturating_sub(1).max(at);
        state.in_flight += 1;
        Ticket { clock: self, at }
    }

    /// More times of a batch that is stored in parts: when all of it is recorded, and the first of the times of this part.
    pub(super) fn draw_more<'a>(&'a self, entries: usize, ticket: &mut Option<Ticket<'a>>) -> (i64, i64) {
        match ticket {
            None => {
                let first = self.draw(entries);
                let at = first.at;
                *ticket = Some(first);
                (at, at)
            }
            Some(first) => {
                let mut state = self.state();
                let time = state.last.saturating_add(1);
                let more = i64::try_from(entries).unwrap_or(i64::MAX);
                state.last = state.last.saturating_add(more).max(time);
                (first.at, time)
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.clock.state();
        state.in_flight = state.in_flight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_given_twice_and_none_is_before_what_has_passed() {
        let clock = Clock::default();
        let first = clock.draw(3).at;
        let second = clock.draw(1);
        assert!(second.at >= first + 3);
        assert_eq!(clock.progress().in_flight, 1);
        let far = now_ns() + 1_000_000_000_000;
        clock.pass(far);
        clock.pass(0);
        assert_eq!(clock.draw(1).at, far + 1);
        drop(second);
        assert_eq!(clock.progress(), Progress { last: far + 1, in_flight: 0 });
    }
}
