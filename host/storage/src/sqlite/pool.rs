//! The readers: connections that cannot write, at most so many at once, each read in one transaction.

use super::{Options, READER_WAIT_MAX, connect};
use crate::error::{Error, Kind, Result};
use rusqlite::Connection;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Virtual-machine steps of SQLite between two looks at the clock.
const STEPS_PER_CHECK: i32 = 10_000;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    options: Options,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Connection>,
    /// Connections that exist, idle or in use.
    open: u32,
}

impl Readers {
    pub(super) fn new(path: PathBuf, options: Options) -> Self {
        Self { path, options, state: Mutex::default(), freed: Condvar::new() }
    }

    pub(super) fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut lent = Lent { connection: Some(self.take()?), pool: self };
        let Some(connection) = &mut lent.connection else {
            return Err(Error::internal("a reader was lent without a connection"));
        };
        let end = Instant::now() + self.options.read_max;
        connection.progress_handler(STEPS_PER_CHECK, Some(move || Instant::now() >= end))?;
        connection.execute_batch("BEGIN")?;
        let result = f(connection);
        result.map_err(|e| match e.kind() {
            Kind::Timeout => Error::new(
                Kind::Timeout,
                format!("a read of {} took longer than {:?}", self.path.display(), self.options.read_max),
            )
            .hint("ask for less at once, or page through it")
            .source(e),
            _ => e,
        })
    }

    fn take(&self) -> Result<Connection> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let end = Instant::now() + READER_WAIT_MAX;
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(connection);
            }
            if state.open < self.options.readers.max(1) {
                state.open += 1;
                drop(state);
                return connect(&self.path, &self.options, false).inspect_err(|_| {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
                    self.freed.notify_one();
                });
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(
                    Kind::Busy,
                    format!(
                        "all {} readers of {} were busy for {READER_WAIT_MAX:?}",
                        self.options.readers,
                        self.path.display()
                    ),
                )
                .hint("raise `limits.readers` in shiphold.toml"));
            }
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give_back(&self, mut connection: Connection) {
        // Ending the transaction lets the WAL be reused; a connection that cannot end it is closed instead.
        let sound = connection.progress_handler(0, None::<fn() -> bool>).is_ok()
            && (connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if sound {
            state.idle.push(connection);
        } else {
            state.open -= 1;
        }
        drop(state);
        self.freed.notify_one();
    }
}

/// Returns its connection also when the closure panics.
struct Lent<'a> {
    connection: Option<Connection>,
    pool: &'a Readers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }
}

/// A connection with an open read transaction: one snapshot.
#[derive(Debug)]
pub struct Pinned {
    connection: Connection,
}

impl Pinned {
    /// Pins the present state on a connection that is nobody else's.
    pub fn new(connection: Connection) -> Result<Self> {
        connection.execute_batch("BEGIN")?;
        // A deferred transaction takes its snapshot at the first read.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(Self { connection })
    }
}

impl Deref for Pinned {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}
