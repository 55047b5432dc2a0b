//! Standing still for a backup: nothing is delivered and nothing deleted, so the server keeps what it held at one instant and
//! the file holds the rest. Writes go on: they are acknowledged as ever, and wait.

use super::core::Core;
use super::{Outbox, lock};
use crate::error::{Error, Kind, Result};
use crate::series::SeriesEngine;
use crate::sqlite::Database;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a backup waits for deletes that go on.
const DELETES_MAX: Duration = Duration::from_secs(60);

/// Who may change the server: deletes, or a backup that wants none.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A backup is there: no delete begins.
    wanted: bool,
    /// No delete goes on any more: nothing is delivered.
    held: bool,
    deletes: u32,
}

/// A delete that goes on.
#[derive(Debug)]
pub(super) struct Deleting<'a>(&'a Stillness);

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).deletes -= 1;
        self.0.moved.notify_all();
    }
}

fn being_backed_up(what: &str) -> Error {
    Error::new(Kind::Busy, format!("{what} while a backup of the series in InfluxDB is taken"))
        .hint("try again when the backup is done")
}

impl Stillness {
    pub fn is_held(&self) -> bool {
        lock(&self.state).held
    }

    /// An error where what was acknowledged cannot be delivered before the backup is done.
    pub fn may_deliver(&self) -> Result<()> {
        if self.is_held() { Err(being_backed_up("nothing is delivered")) } else { Ok(()) }
    }

    /// Begins a delete; refused while a backup is taken.
    pub fn deleting(&self) -> Result<Deleting<'_>> {
        let mut state = lock(&self.state);
        if state.wanted {
            return Err(being_backed_up("nothing is deleted"));
        }
        state.deletes += 1;
        Ok(Deleting(self))
    }

    fn hold(&self, wait_max: Duration) -> Result<()> {
        let begin = Instant::now();
        let mut state = lock(&self.state);
        if state.wanted {
            return Err(being_backed_up("no second one begins"));
        }
        state.wanted = true;
        while state.deletes > 0 {
            let left = wait_max.saturating_sub(begin.elapsed());
            if left.is_zero() {
                state.wanted = false;
                return Err(Error::new(Kind::Busy, "a delete in InfluxDB goes on: no backup is taken")
                    .hint("try again when it is done"));
            }
            let waited = self.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.held = true;
        Ok(())
    }

    fn release(&self) {
        let mut state = lock(&self.state);
        (state.wanted, state.held) = (false, false);
    }
}

/// An outbox that stands still, until this goes.
#[derive(Debug)]
pub(crate) struct Held(Arc<Core>);

impl Outbox {
    /// Ends what is being delivered and lets nothing more go out.
    pub(crate) fn hold(&self) -> Result<Held> {
        self.core.still.hold(DELETES_MAX)?;
        let held = Held(self.core.clone());
        // The delivery that goes on.
        drop(lock(&self.core.delivering));
        Ok(held)
    }
}

impl Held {
    /// The server itself, without what waits.
    pub(crate) fn server(&self) -> &dyn SeriesEngine {
        self.0.target.engine()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.db
    }

    /// No write is acknowledged while this is kept.
    pub(crate) fn barrier(&self) -> MutexGuard<'_, i64> {
        lock(&self.0.next_seq)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.still.release();
        self.0.ring();
    }
}
