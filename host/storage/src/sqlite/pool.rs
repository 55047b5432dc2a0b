//! The readers: connections that cannot write, at most so many at once, each read in one transaction.

use super::{Options, READER_WAIT_MAX, connect};
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use rusqlite::Connection;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Virtual-machine steps of SQLite between two looks at the clock.
const STEPS_PER_CHECK: i32 = 10_000;
/// Upper bounds of [`ReaderCounts::waited`]; nobody waits much longer than the last one.
pub const WAIT_BOUNDS: [Duration; 6] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    READER_WAIT_MAX,
];

/// The readers of a file, and how long callers waited for one, since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Connections that there may be.
    pub max: u32,
    /// Connections that there are, idle or in use.
    pub open: u32,
    pub in_use: u32,
    /// Callers that wait at this moment.
    pub waiting: u32,
    /// Reads that got a reader, one that was free or one that they waited for.
    pub reads: u64,
    /// Of these, those that waited no longer than each of [`WAIT_BOUNDS`]. One that found a free reader did not wait.
    pub waited: [u64; WAIT_BOUNDS.len()],
    /// What all of them waited together.
    pub wait_time: Duration,
    /// Reads that were refused after [`Options::reader_wait_max`].
    pub refused: u64,
}

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
    /// `max` and `in_use` are filled in when somebody asks.
    counts: ReaderCounts,
}

impl State {
    /// A reader goes to somebody who waited so long.
    fn lent(&mut self, waited: Duration) {
        self.counts.reads += 1;
        self.counts.wait_time += waited;
        for (bound, n) in WAIT_BOUNDS.iter().zip(&mut self.counts.waited) {
            *n += u64::from(waited <= *bound);
        }
    }
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
        connection.prepare_cached("BEGIN")?.execute([])?;
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

    pub(super) fn counts(&self) -> ReaderCounts {
        let state = self.state();
        let idle = u32::try_from(state.idle.len()).unwrap_or(u32::MAX);
        ReaderCounts { max: self.max(), in_use: state.counts.open.saturating_sub(idle), ..state.counts }
    }

    fn max(&self) -> u32 {
        self.options.readers.max(1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn take(&self) -> Result<Connection> {
        let mut state = self.state();
        if let Some(connection) = state.idle.pop() {
            state.lent(Duration::ZERO);
            return Ok(connection);
        }
        let begin = Instant::now();
        loop {
            if state.counts.open < self.max() {
                state.counts.open += 1;
                state.lent(begin.elapsed());
                drop(state);
                return connect(&self.path, &self.options, false).inspect_err(|_| {
                    self.state().counts.open -= 1;
                    self.freed.notify_one();
                });
            }
            let left = self.options.reader_wait_max.saturating_sub(begin.elapsed());
            if left.is_zero() {
                state.counts.refused += 1;
                return Err(Error::new(
                    Kind::Busy,
                    format!(
                        "all {} readers of {} were busy for {:?}",
                        self.max(),
                        self.path.display(),
                        self.options.reader_wait_max
                    ),
                )
                .hint("raise `limits.readers` in shiphold.toml"));
            }
            state.counts.waiting += 1;
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.counts.waiting -= 1;
            if let Some(connection) = state.idle.pop() {
                state.lent(begin.elapsed());
                return Ok(connection);
            }
        }
    }

    fn give_back(&self, mut connection: Connection) {
        // Ending the transaction lets the WAL be reused; a connection that cannot end it is closed instead.
        let sound = connection.progress_handler(0, None::<fn() -> bool>).is_ok()
            && (connection.is_autocommit() || roll_back(&connection).is_ok());
        let mut state = self.state();
        if sound {
            state.idle.push(connection);
        } else {
            state.counts.open -= 1;
        }
        drop(state);
        self.freed.notify_one();
    }
}

fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("ROLLBACK")?.execute([]).map(|_| ())
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
