//! Keeps readers waiting between the two halves of a commit.

use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::sqlite::ReadGate;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a read waits for a commit.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

thread_local! {
    /// Is this the thread that closed it?
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Open but for the moment in which a commit is in one store and not yet in another.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    state: Mutex<()>,
    opened: Condvar,
}

/// Opens the gate when it is dropped.
pub(super) struct Closed<'a>(&'a Gate);

impl ReadGate for Gate {
    fn pass(&self) -> Result<()> {
        if self.is_open() {
            return Ok(());
        }
        let end = Instant::now() + WAIT_MAX;
        let mut state = lock(&self.state);
        while self.closed.load(Ordering::SeqCst) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(
                    Kind::Busy,
                    format!("a commit over several stores took longer than {WAIT_MAX:?}"),
                )
                .hint("try again; the host's log says why"));
            }
            state = self.opened.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::SeqCst) || INSIDE.get()
    }
}

impl Gate {
    /// Closes it for everybody but this thread. One commit at a time may: the caller sees to that.
    pub(super) fn close(&self) -> Closed<'_> {
        self.closed.store(true, Ordering::SeqCst);
        INSIDE.set(true);
        Closed(self)
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        INSIDE.set(false);
        let _state = lock(&self.0.state);
        self.0.closed.store(false, Ordering::SeqCst);
        self.0.opened.notify_all();
    }
}
