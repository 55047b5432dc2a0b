//! One SQLite file: a writer connection, a bounded pool of readers, WAL, `synchronous=FULL`.
//!
//! A transaction is a closure, not a convention: [`Database::write`] commits when it returns `Ok` and rolls
//! back on an error or a panic; [`Database::read`] sees one snapshot. What `write` returned for is durable: it
//! survives `kill -9` and loss of power. Writes of several threads commit together (`writer.rs`).

mod migrate;
mod pool;
mod values;
mod writer;

pub use migrate::{Migration, MigrationState};
pub(crate) use migrate::{refuse_unknown, states as migration_states};
pub use pool::{Pinned, ReaderCounts, WAIT_BOUNDS};
pub use values::{ENTRY_BYTES, Noun, TOUCHED_MAX, VALUE_SHARE, VALUES_BYTES_MAX, ValueCounts};
pub(crate) use values::{Kept, Source, bytes_of_json};
pub use writer::{GROUP_MEMBERS_MAX, GROUP_OPEN_MAX, Tx, WriterGuard, Written};

use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use pool::Readers;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use values::Values;
use writer::Writer;

/// Says whether something may be written now.
pub type Guard = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// What readers pass before they begin.
pub(crate) trait ReadGate: Send + Sync {
    /// Waits until it is open.
    fn pass(&self) -> Result<()>;

    /// Would [`ReadGate::pass`] not wait now?
    fn is_open(&self) -> bool;
}

/// The oldest SQLite that is accepted: older ones can lose a WAL that is reset while another connection
/// checkpoints.
pub const SQLITE_OLDEST: i32 = 3_051_003;
/// The longest that a read transaction may live; a longer one would let the WAL grow without bound.
pub const READ_MAX: Duration = Duration::from_secs(5);
/// [`Options::reader_wait_max`] unless it is chosen.
pub const READER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection: more than there are.
const STATEMENTS_KEPT: usize = 512;
/// [`Options::log_bytes_max`] unless it is chosen.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// [`Options::wal_kept_bytes`] unless it is chosen.
const WAL_KEPT_BYTES: u64 = 4 << 20;

/// How much a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// A commit is on the disk when it returns.
    Full,
    /// Tests only: shows that the crash harness notices lost writes.
    Off,
}

/// How a database is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// A registered VFS; `None`: the operating system's.
    pub vfs: Option<String>,
    /// Reader connections.
    pub readers: u32,
    pub synchronous: Synchronous,
    /// Bytes, for a new file.
    pub page_size: u32,
    /// Free pages can be given back without a full VACUUM; for a new file.
    pub auto_vacuum_incremental: bool,
    /// Page cache of each connection.
    pub cache_bytes: u64,
    /// Bytes to which the WAL file is cut back after a checkpoint. Room that is there already is written twice as fast as
    /// room that is new: a file of many writes keeps what it needs again.
    pub wal_kept_bytes: u64,
    /// The longest that one read may take.
    pub read_max: Duration,
    /// How long a caller waits for a free reader.
    pub reader_wait_max: Duration,
    /// Bytes of the WAL after which a commit waits for the readers that keep it from being moved into the file.
    pub log_bytes_max: u64,
    /// Bytes of the values that are kept in memory; 0: none is.
    pub values_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            vfs: None,
            readers: 4,
            synchronous: Synchronous::Full,
            page_size: 4096,
            auto_vacuum_incremental: true,
            cache_bytes: 8 << 20,
            wal_kept_bytes: WAL_KEPT_BYTES,
            read_max: READ_MAX,
            reader_wait_max: READER_WAIT_MAX,
            log_bytes_max: LOG_BYTES_MAX,
            values_bytes_max: VALUES_BYTES_MAX,
        }
    }
}

/// How a database is used, since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub readers: ReaderCounts,
    pub written: Written,
    /// What is kept in memory, in the order of [`Noun::ALL`].
    pub values: [ValueCounts; Noun::ALL.len()],
    /// What all of that may take, in bytes.
    pub values_bytes_max: u64,
}

/// A SQLite file that this process owns.
pub struct Database {
    path: PathBuf,
    options: Options,
    writer: Writer,
    readers: Readers,
    values: Arc<Values>,
    guard: OnceLock<Guard>,
    gate: OnceLock<Arc<dyn ReadGate>>,
    /// Held while the WAL is moved into the file.
    moving: Mutex<()>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.path)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens or creates the file and brings it to the newest migration.
    pub fn open(path: &Path, options: Options, migrations: &[Migration]) -> Result<Self> {
        refuse_old_sqlite(rusqlite::version_number())?;
        let mut writer = connect(path, &options, true)?;
        migrate::run(&mut writer, path, migrations)?;
        let values = Arc::new(Values::new(options.values_bytes_max));
        let writer = Writer::new(writer, log_of(path, &options), options.log_bytes_max, values.clone())?;
        let readers = Readers::new(path.to_path_buf(), options.clone());
        Ok(Self {
            path: path.to_path_buf(),
            options,
            writer,
            readers,
            values,
            guard: OnceLock::new(),
            gate: OnceLock::new(),
            moving: Mutex::new(()),
        })
    }

    /// From now on [`Database::write`] asks `guard` first. Set once; a second one is ignored.
    pub fn set_guard(&self, guard: Guard) {
        let _ = self.guard.set(guard);
    }

    /// One transaction on the one writer; durable on return; rolled back on `Err` or a panic. Refused with the guard's
    /// error ([`Kind::ReadOnly`]) when it says no. What other threads write at the same time may commit together with it: `f`
    /// sees what those before it wrote, and nobody is told that he is done before all of it is durable.
    pub fn write<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        if let Some(guard) = self.guard.get() {
            guard()?;
        }
        self.write_always(f)
    }

    /// [`Database::write`] without asking the guard: for what makes room on a full disk, and for what must be
    /// recorded of it.
    pub fn write_always<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.writer.write(f)
    }

    /// [`Database::write`] whose commit follows `f` at once, with nobody else's write in it or between.
    pub fn write_alone<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        if let Some(guard) = self.guard.get() {
            guard()?;
        }
        self.writer.write_alone(f)
    }

    /// From now on [`Database::read`] asks `gate` first. Set once; a second one is ignored.
    pub(crate) fn set_gate(&self, gate: Arc<dyn ReadGate>) {
        let _ = self.gate.set(gate);
    }

    /// Writes and the commits that they took, since the file was opened.
    pub fn written(&self) -> Written {
        self.writer.written()
    }

    /// One snapshot on a pooled reader that cannot write. Ends after [`Options::read_max`] with
    /// [`Kind::Timeout`].
    pub fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.pass_gate()?;
        self.readers.read(f)
    }

    /// Waits as [`Database::read`] does before it begins: for who reads what is held in memory of the file.
    pub(crate) fn pass_gate(&self) -> Result<()> {
        self.gate.get().map_or(Ok(()), |gate| gate.pass())
    }

    /// A value from memory, if somebody read it before and no commit touched a row of it since; else as `read` gives it, with the
    /// rows that it is made of. Never older than what was committed before the call. An error is not kept.
    pub(crate) fn value<V: Kept>(
        &self,
        key: &[u8],
        read: impl FnOnce(&Connection) -> Result<(V, Vec<Source>)>,
    ) -> Result<Arc<V>> {
        self.pass_gate()?;
        let ticket = match self.values.get(V::NOUN, key) {
            Ok(found) => return found.downcast().map_err(|_| another_type(V::NOUN)),
            Err(ticket) => ticket,
        };
        let (value, sources) = self.read(read)?;
        let value = Arc::new(value);
        self.values.keep(ticket, V::NOUN, key, value.clone(), value.bytes(), sources);
        Ok(value)
    }

    /// [`Database::value`], if it is there and needs no waiting.
    pub(crate) fn known<V: Kept>(&self, key: &[u8]) -> Option<Arc<V>> {
        if self.gate.get().is_some_and(|gate| !gate.is_open()) {
            return None;
        }
        self.values.peek(V::NOUN, key)?.downcast().ok()
    }

    /// What was counted since the file was opened.
    pub fn counts(&self) -> Counts {
        Counts {
            readers: self.readers.counts(),
            written: self.written(),
            values: self.values.counts(),
            values_bytes_max: self.options.values_bytes_max,
        }
    }

    /// Holds the writer still, for a snapshot over several files.
    pub fn barrier(&self) -> WriterGuard<'_> {
        self.writer.alone()
    }

    /// A fresh connection with an open read transaction: a snapshot of this instant that lives as long as it
    /// is kept. It is not one of the pool and has no time limit; keep it short, for the WAL grows meanwhile.
    pub fn pin(&self) -> Result<Pinned> {
        Pinned::new(self.connection()?)
    }

    /// A fresh connection that cannot write, for [`Pinned::new`] where the pin itself must be quick.
    pub fn connection(&self) -> Result<Connection> {
        connect(&self.path, &self.options, false)
    }

    /// From now on `watch` is told after each commit how many pages the WAL has, and has to see to it that they are moved:
    /// SQLite does it no more.
    pub fn watch_wal(&self, watch: impl Fn(u32) + Send + 'static) -> Result<()> {
        let told = move |_: &mut Wal, pages: i32| {
            watch(u32::try_from(pages).unwrap_or(0));
            Ok(())
        };
        self.writer.watch_log(told)
    }

    /// Moves the WAL into the file: most of it while others write on, and then, while they wait, what came meanwhile. The
    /// next write begins the WAL anew, unless a read keeps it.
    pub fn move_wal(&self) -> Result<()> {
        let _moving = lock(&self.moving);
        let passive = |c: &Connection| c.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        passive(&self.connection()?)?;
        passive(&self.writer.alone())?;
        Ok(())
    }

    /// Moves the WAL into the file and cuts it to nothing.
    pub fn checkpoint(&self) -> Result<()> {
        let _moving = lock(&self.moving);
        let busy: i64 =
            self.writer.alone().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            tracing::debug!(path = %self.path.display(), "a reader kept the WAL from being cut");
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn another_type(noun: Noun) -> Error {
    Error::internal(format!("a value of {} is kept as another type", noun.name()))
}

/// The WAL of a file of the operating system.
fn log_of(path: &Path, options: &Options) -> Option<PathBuf> {
    let mut name = path.as_os_str().to_os_string();
    name.push("-wal");
    options.vfs.is_none().then(|| name.into())
}

/// Makes a database, or brings it to the newest of `migrations`, without serving from it.
pub(crate) fn migrate(path: &Path, migrations: &[Migration]) -> Result<()> {
    refuse_old_sqlite(rusqlite::version_number())?;
    let mut writer = connect(path, &Options::default(), true)?;
    migrate::run(&mut writer, path, migrations)
}

fn refuse_old_sqlite(version: i32) -> Result<()> {
    if version < SQLITE_OLDEST {
        return Err(Error::new(
            Kind::Incompatible,
            format!("SQLite {version} is older than {SQLITE_OLDEST}, which mends a fault that can lose committed data"),
        )
        .hint("build with the bundled SQLite"));
    }
    Ok(())
}

/// A connection with every pragma that this host relies on.
fn connect(path: &Path, options: &Options, write: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_READ_WRITE;
    if write {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let place = |e: rusqlite::Error| Error::from(e).context(path.display());
    let connection = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str()),
        None => Connection::open_with_flags(path, flags),
    }
    .map_err(place)?;
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Off => "OFF",
    };
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // A plan is for every value. Without this SQLite plans most statements again whenever a value is bound to them, which takes longer
    // than most of them take to run; and what `plans.rs` checked would be the plan for no value at all.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if write {
        connection
            .execute_batch(&format!(
                "PRAGMA page_size={};PRAGMA auto_vacuum={};",
                options.page_size,
                if options.auto_vacuum_incremental { "INCREMENTAL" } else { "NONE" }
            ))
            .map_err(place)?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).map_err(place)?;
        if mode != "wal" {
            return Err(Error::new(
                Kind::Io,
                format!("{}: the file system allows no WAL (journal mode `{mode}`)", path.display()),
            )
            .hint("put the data folder on a local disk"));
        }
    }
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous={synchronous};PRAGMA foreign_keys=ON;PRAGMA trusted_schema=OFF;PRAGMA recursive_triggers=ON;PRAGMA mmap_size=0;\
             PRAGMA journal_size_limit={};PRAGMA temp_store=MEMORY;PRAGMA cache_size=-{};PRAGMA query_only={};",
            options.wal_kept_bytes,
            options.cache_bytes / 1024,
            if write { "OFF" } else { "ON" }
        ))
        .map_err(place)?;
    Ok(connection)
}

#[cfg(test)]
mod plans;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod writer_tests;
