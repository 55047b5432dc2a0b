//! What the engine's calls and its thread share.

use super::clock::Clock;
use super::commit::Job;
use super::head::Head;
use super::still::Stillness;
use super::tables;
use super::target::Target;
use super::{lock, read};
use crate::error::{Error, Kind, Result};
use crate::schema::now_ns;
use crate::series::influx::types::{Loaded, Types};
use crate::series::record;
use crate::sqlite::{Database, Options, Synchronous};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

/// After a failure the server is not asked for types for this long: writes do not wait for one that hangs.
pub(super) const ASK_PAUSE: Duration = Duration::from_secs(5);

/// How an outbox is opened.
#[derive(Debug, Clone)]
pub(in crate::series::influx) struct OutboxOptions {
    /// A registered SQLite VFS; `None`: the operating system's.
    pub vfs: Option<String>,
    pub synchronous: Synchronous,
    /// Bytes of all records together, those that were refused included.
    pub bytes_max: u64,
    /// How long a record waits for others to go with.
    pub batch_wait: Duration,
    /// Without a thread: only calls deliver. For tests that count operations.
    pub manual: bool,
    /// By which the thread waits.
    pub clock: Clock,
}

/// How far the deliveries are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last record that is delivered.
    pub delivered: i64,
    pub failures: u64,
    /// Why the last delivery failed, if it did.
    pub error: Option<Error>,
    /// Somebody waits for the deliveries: no waiting for more.
    pub hurry: bool,
}

#[derive(Debug)]
pub(super) struct Core {
    pub target: Arc<dyn Target>,
    pub db: Database,
    pub options: OutboxOptions,
    pub types: Types,
    pub head: RwLock<Head>,
    pub queue: Mutex<VecDeque<Job>>,
    /// Held while a group is committed.
    pub next_seq: Mutex<i64>,
    /// Held while a group is delivered.
    pub delivering: Mutex<()>,
    /// What holds deliveries and deletes up while a backup is taken.
    pub still: Stillness,
    /// Taken before `head` where both are.
    pub progress: Mutex<Progress>,
    /// Rings when `progress` or the head moves.
    pub moved: Condvar,
    pub closing: Arc<AtomicBool>,
    /// Until then the thread waits after a failure.
    pub paused_until: Mutex<Option<Instant>>,
    /// Number and bytes of what is set aside.
    pub refused: Mutex<(u64, u64)>,
    /// Until then the server is not asked for types.
    ask_again: Mutex<Option<Instant>>,
    /// Held while the server is asked for types: while it makes a bucket, it answers other questions about it with errors.
    asking: Mutex<()>,
    pub commits: AtomicU64,
    pub rows_written: AtomicU64,
}

impl Core {
    /// Opens or creates the file and reads what waits.
    pub fn open(target: Arc<dyn Target>, path: &Path, options: OutboxOptions) -> Result<Self> {
        let of_file = Options {
            vfs: options.vfs.clone(),
            synchronous: options.synchronous,
            readers: 2,
            ..Options::default()
        };
        let db = Database::open(path, of_file, tables::MIGRATIONS)?;
        let mut head = Head::default();
        let mut last = 0;
        let pin = db.pin()?;
        tables::each(&pin, (i64::MIN, i64::MAX), &mut |row| {
            // One that is damaged is named when its turn comes.
            let parts = record::decode(&row.record).unwrap_or_default();
            head.add(row.seq, row.at, row.record.len() as u64, &parts);
            last = row.seq;
            Ok(true)
        })?;
        let refused = tables::refused_totals(&pin)?;
        drop(pin);
        if head.records() > 0 {
            tracing::info!(
                records = head.records(),
                bytes = head.bytes(),
                "the outbox holds rows for InfluxDB"
            );
        }
        Ok(Self {
            target,
            db,
            options,
            types: Types::default(),
            head: RwLock::new(head),
            queue: Mutex::default(),
            next_seq: Mutex::new(last + 1),
            delivering: Mutex::default(),
            still: Stillness::default(),
            progress: Mutex::default(),
            moved: Condvar::new(),
            closing: Arc::default(),
            paused_until: Mutex::default(),
            refused: Mutex::new(refused),
            ask_again: Mutex::default(),
            asking: Mutex::default(),
            commits: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
        })
    }

    /// Tells those who wait that something moved.
    pub fn ring(&self) {
        drop(lock(&self.progress));
        self.moved.notify_all();
    }

    pub fn refused_bytes(&self) -> u64 {
        lock(&self.refused).1
    }

    pub fn last_error(&self) -> Option<String> {
        lock(&self.progress).error.as_ref().map(ToString::to_string)
    }

    pub fn may_ask_at(&self, at: Option<Instant>) {
        *lock(&self.ask_again) = at;
    }

    fn may_ask(&self) -> bool {
        lock(&self.ask_again).is_none_or(|at| self.options.clock.now() >= at)
    }

    /// Types of fields: the server's where it answers, with those of the rows that wait.
    pub fn load_types(&self, bucket: &str, measurements: &[&str]) -> Result<Loaded> {
        let stored = self.ask(bucket, measurements)?;
        let asked = stored.is_some();
        let head = read(&self.head);
        let mut fields: Vec<_> = measurements.iter().map(|m| head.types(bucket, m)).collect();
        for (fields, stored) in fields.iter_mut().zip(stored.unwrap_or_default()) {
            fields.extend(stored);
        }
        Ok(Loaded { fields, asked })
    }

    fn ask(
        &self,
        bucket: &str,
        measurements: &[&str],
    ) -> Result<Option<Vec<crate::series::influx::types::Fields>>> {
        if !self.may_ask() {
            return Ok(None);
        }
        let _alone = lock(&self.asking);
        // Whoever was before us may have found that nobody answers.
        if !self.may_ask() {
            return Ok(None);
        }
        match self.target.types(bucket, measurements) {
            Ok(fields) => Ok(Some(fields)),
            Err(e) if e.kind() == Kind::Unavailable => {
                tracing::debug!(error = %e, "the types of fields cannot be asked for");
                self.may_ask_at(Some(self.options.clock.now() + ASK_PAUSE));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Seconds since the oldest record that waits was acknowledged.
    pub fn oldest_s(&self) -> u64 {
        let at = read(&self.head).oldest_at();
        at.map_or(0, |at| u64::try_from(now_ns().saturating_sub(at) / 1_000_000_000).unwrap_or(0))
    }
}
