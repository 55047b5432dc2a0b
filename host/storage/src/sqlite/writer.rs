//! The one writer connection, shared by many callers: those that come while others are at it commit together, with one
//! sync of the disk for all of them.
//!
//! A caller runs its closure on its own thread, as a savepoint of the open group. It commits the group when nobody else waits for
//! the connection, or when the group is at its bound; otherwise it leaves that to whoever comes next. Nobody returns before the
//! commit of his group, so that what was returned for is durable. A failed commit fails every member of its group, and so does a
//! failed statement on which SQLite gives up the whole transaction (a full disk): none of them was told that it is done.

use super::values::{Change, Source, Touched, Values};
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use rusqlite::Connection;
use rusqlite::hooks::{Action, Wal};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Members of a group.
pub const GROUP_MEMBERS_MAX: usize = 256;
/// How long a group may stay open for others, from its beginning. One closure alone may take longer.
pub const GROUP_OPEN_MAX: Duration = Duration::from_millis(5);

/// A connection inside a transaction that the caller of [`super::Database::write`] neither begins nor ends.
#[derive(Debug)]
pub struct Tx<'a> {
    connection: &'a Connection,
    touched: &'a Mutex<Touched>,
}

impl Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Tx<'_> {
    /// Values that were made of this row are not true any more after the commit. For tables without a rowid: of the others SQLite
    /// says it.
    pub(crate) fn touches(&self, row: Source) {
        lock(self.touched).add(Change::Row(row));
    }
}

/// What was written so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Commits that they took.
    pub commits: u64,
}

#[derive(Debug)]
pub(super) struct Writer {
    seat: Mutex<Seat>,
    /// Callers that wait for the seat, and will come: each of them sees to the group that it finds.
    waiting: AtomicUsize,
    writes: AtomicU64,
    commits: AtomicU64,
    log: Option<PathBuf>,
    values: Arc<Values>,
    /// What the open group touched. What a member took back is in it, too: a value may go without need, never stay without right.
    touched: Arc<Mutex<Touched>>,
}

#[derive(Debug)]
struct Seat {
    connection: Connection,
    open: Option<Open>,
    /// Bytes of the log from which on a commit waits until it is moved into the file.
    log_bytes_max: u64,
    /// The same, or more after a reader did not end in time: a snapshot that is pinned must not stop every commit.
    log_next: u64,
}

/// A transaction that has begun.
#[derive(Debug)]
struct Open {
    group: Arc<Group>,
    members: usize,
    since: Instant,
}

/// How a transaction ended, for those who wait for it.
#[derive(Debug, Default)]
struct Group {
    end: Mutex<Option<Result<()>>>,
    ended: Condvar,
}

/// Holds the writer still while it lives; no transaction is open.
#[derive(Debug)]
pub struct WriterGuard<'a> {
    seat: MutexGuard<'a, Seat>,
}

impl Deref for WriterGuard<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.seat.connection
    }
}

impl Writer {
    pub(super) fn new(
        mut connection: Connection,
        log: Option<PathBuf>,
        log_bytes_max: u64,
        values: Arc<Values>,
    ) -> Result<Self> {
        let touched = Arc::<Mutex<Touched>>::default();
        let told = touched.clone();
        // SQLite does not call it for `DELETE` without a condition, nor for the rows that `OR REPLACE` takes the place of.
        connection.update_hook(Some(move |_: Action, _: &str, table: &str, rowid: i64| {
            if let Some(change) = Change::of(table, rowid) {
                lock(&told).add(change);
            }
        }))?;
        Ok(Self {
            log,
            values,
            touched,
            seat: Mutex::new(Seat { connection, open: None, log_bytes_max, log_next: log_bytes_max }),
            waiting: AtomicUsize::new(0),
            writes: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        })
    }

    pub(super) fn written(&self) -> Written {
        Written { writes: self.writes.load(Ordering::Relaxed), commits: self.commits.load(Ordering::Relaxed) }
    }

    /// Callers that wait for the connection at this moment.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// The connection alone: commits what is open first.
    pub(super) fn alone(&self) -> WriterGuard<'_> {
        let mut seat = lock(&self.seat);
        self.commit(&mut seat);
        WriterGuard { seat }
    }

    /// After each commit `told` is given the pages that the log has; SQLite moves none of them by itself any more.
    pub(super) fn watch_log<F>(&self, told: F) -> Result<()>
    where
        F: FnMut(&mut Wal, i32) -> rusqlite::Result<()> + Send + 'static,
    {
        Ok(lock(&self.seat).connection.wal_hook(Some(told))?)
    }

    /// [`super::Database::write_always`].
    pub(super) fn write<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.write_in(false, f)
    }

    /// [`Writer::write`] in a group of its own: nobody else's closure runs between it and its commit.
    pub(super) fn write_alone<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.write_in(true, f)
    }

    fn write_in<T>(&self, alone: bool, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut seat = lock(&self.seat);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if alone {
            self.commit(&mut seat);
        }
        let group = seat.join()?;
        let tx = Tx { connection: &seat.connection, touched: &self.touched };
        let done = catch_unwind(AssertUnwindSafe(|| f(&tx)));
        seat.leave(match &done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(e.again()),
            Err(_) => Err(Error::internal("a write ended in a fault of the host")),
        });
        if alone || self.waiting.load(Ordering::SeqCst) == 0 || seat.is_full() {
            self.commit(&mut seat);
        }
        drop(seat);
        let done = done.unwrap_or_else(|panic| resume_unwind(panic));
        // Whatever the closure saw, a conflict too, was not there if the group failed.
        group.wait()?;
        if done.is_ok() {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// Commits the open group, if there is one, and tells its members.
    fn commit(&self, seat: &mut Seat) {
        let Some(open) = seat.open.take() else { return };
        let touched = std::mem::take(&mut *lock(&self.touched));
        let end = match open.members {
            0 => step(&seat.connection, "ROLLBACK"),
            _ => {
                self.values.commit_begins(touched);
                let end = step(&seat.connection, "COMMIT");
                self.values.commit_ended();
                end
            }
        };
        if end.is_ok() && open.members > 0 {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        if end.is_err() && !seat.connection.is_autocommit() {
            // What cannot be rolled back now is rolled back before the next transaction begins.
            let _ = step(&seat.connection, "ROLLBACK");
        }
        open.group.finish(end.map_err(Error::from));
        let length = self.log.as_ref().and_then(|log| std::fs::metadata(log).ok()).map_or(0, |m| m.len());
        seat.bound_log(length);
    }
}

/// A step of a transaction. They are few and there are many of each: their statements are kept.
fn step(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

impl Seat {
    /// Takes part in the open group, or begins one.
    fn join(&mut self) -> Result<Arc<Group>> {
        if let Some(open) = &self.open {
            step(&self.connection, "SAVEPOINT member")?;
            return Ok(open.group.clone());
        }
        if !self.connection.is_autocommit() {
            step(&self.connection, "ROLLBACK")?;
        }
        step(&self.connection, "BEGIN IMMEDIATE")?;
        step(&self.connection, "SAVEPOINT member")?;
        let group = Arc::<Group>::default();
        self.open = Some(Open { group: group.clone(), members: 0, since: Instant::now() });
        Ok(group)
    }

    /// Keeps what a member did, or takes it back; ends the group where the transaction is lost with it.
    fn leave(&mut self, done: Result<()>) {
        let Some(open) = &mut self.open else { return };
        let ends = if self.connection.is_autocommit() {
            // SQLite gave the transaction up, on a full disk for example.
            Some(done.err().unwrap_or_else(|| {
                Error::new(
                    Kind::Io,
                    "the database took a whole transaction back while one of its writes went on",
                )
            }))
        } else {
            let ended = match done {
                Ok(()) => step(&self.connection, "RELEASE member").map(|()| open.members += 1),
                Err(_) => step(&self.connection, "ROLLBACK TO member")
                    .and_then(|()| step(&self.connection, "RELEASE member")),
            };
            ended.err().map(Error::from)
        };
        if let Some(e) = ends {
            open.group.finish(Err(e));
            self.open = None;
        }
    }

    /// Moves a log that is too long into the file, for which it waits until those who read from it are done: each read has an end.
    fn bound_log(&mut self, length: u64) {
        if length <= self.log_next {
            return;
        }
        let busy =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.log_next = match busy {
            Ok(0) => self.log_bytes_max,
            _ => length.saturating_mul(2),
        };
    }

    fn is_full(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|o| o.members >= GROUP_MEMBERS_MAX || o.since.elapsed() >= GROUP_OPEN_MAX)
    }
}

impl Group {
    fn finish(&self, end: Result<()>) {
        *lock(&self.end) = Some(end);
        self.ended.notify_all();
    }

    fn wait(&self) -> Result<()> {
        let mut end = lock(&self.end);
        loop {
            match &*end {
                Some(Ok(())) => return Ok(()),
                Some(Err(e)) => return Err(e.again()),
                None => end = self.ended.wait(end).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
