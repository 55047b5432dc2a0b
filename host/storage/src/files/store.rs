//! Putting, getting, listing, deleting, collecting and verifying.

use super::disk::{CapDisk, ObjectDisk, ObjectRead};
use super::name;
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope, pattern_matches};
use crate::error::{Error, Kind, Result};
use crate::manifest::FileStore;
use crate::schema::now_ns;
use crate::sqlite::Database;
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Read, SeekFrom, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::time::Duration;

/// Bytes of one step of a stream.
const STEP_BYTES: usize = 256 << 10;
/// Rows of one answer.
pub const PAGE_MAX: u64 = 10_000;
/// How often and how long apart a collector tries to have a store alone.
const COLLECT_TRIES: u32 = 200;
const COLLECT_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of the metadata of a version.
pub const METADATA_BYTES_MAX: usize = 16 << 10;

/// May something be written now? The disk guard's answer.
pub type Writable = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// The bounds of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub quota_bytes: u64,
    pub quota_files: u64,
    pub file_bytes_max: u64,
}

impl From<&FileStore> for StoreConfig {
    fn from(s: &FileStore) -> Self {
        Self { quota_bytes: s.quota.0, quota_files: s.quota_files, file_bytes_max: s.file_max.0 }
    }
}

/// What is said of a file when it is put.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Default `application/octet-stream`.
    pub media_type: Option<String>,
    /// An object: provenance, labels.
    pub metadata: Value,
}

/// One immutable version of a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileVersion {
    pub store: String,
    pub path: String,
    /// From 1.
    pub version: u64,
    /// BLAKE3 of the content in hexadecimal; `None`: this version says that the file was deleted.
    pub blake3: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
    pub created_by: String,
    pub media_type: String,
    pub metadata: Value,
}

/// The newest version of a name, for lists.
pub type FileStat = FileVersion;

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FilesStats {
    pub versions: u64,
    pub objects: u64,
    /// Of the objects, each once.
    pub bytes: u64,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GcReport {
    pub removed: u64,
    pub bytes: u64,
}

/// Something wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilesFault {
    pub store: String,
    pub blake3: String,
    pub problem: String,
    /// The names that need the object.
    pub files: Vec<String>,
}

/// What a verification read and found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FilesVerify {
    pub objects: u64,
    pub bytes: u64,
    pub faults: Vec<FilesFault>,
    /// Objects that no row names; `gc` removes them.
    pub orphans: u64,
}

#[derive(Debug)]
struct Store {
    disk: Box<dyn ObjectDisk>,
    config: StoreConfig,
    usage: Mutex<FilesStats>,
    /// Putters share it from the object's move to its row; the collector has it alone.
    collecting: RwLock<()>,
}

/// The file stores of a host.
pub struct FileStores {
    db: Arc<Database>,
    stores: BTreeMap<String, Store>,
    writable: Writable,
    tmp: AtomicU64,
}

impl std::fmt::Debug for FileStores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStores").field("stores", &self.stores).finish_non_exhaustive()
    }
}

impl FileStores {
    /// Opens the stores of a manifest.
    pub fn open(stores: &BTreeMap<String, FileStore>, db: Arc<Database>, writable: Writable) -> Result<Self> {
        let mut disks = BTreeMap::new();
        for (name, store) in stores {
            let disk = CapDisk::open(&store.root)
                .map_err(|e| Error::io(format!("opening the store `{name}` at {}", store.root.display()), e))?;
            disks.insert(name.clone(), (Box::new(disk) as Box<dyn ObjectDisk>, StoreConfig::from(store)));
        }
        Self::with_disks(disks, db, writable)
    }

    /// Opens stores on given disks.
    pub fn with_disks(disks: BTreeMap<String, (Box<dyn ObjectDisk>, StoreConfig)>, db: Arc<Database>, writable: Writable) -> Result<Self> {
        let mut stores = BTreeMap::new();
        for (name, (disk, config)) in disks {
            // What an earlier process left half written.
            for tmp in disk.list_tmp().map_err(|e| Error::io(format!("store `{name}`"), e))? {
                disk.remove_tmp(&tmp).map_err(|e| Error::io(format!("store `{name}`: removing tmp/{tmp}"), e))?;
            }
            let usage = db.read(|c| usage(c, &name))?;
            stores.insert(name, Store { disk, config, usage: Mutex::new(usage), collecting: RwLock::new(()) });
        }
        Ok(Self { db, stores, writable, tmp: AtomicU64::new(0) })
    }

    /// The names of the stores.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stores.keys().map(String::as_str)
    }

    fn store(&self, name: &str) -> Result<&Store> {
        self.stores.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            Error::not_found(format!("there is no file store `{}`", name.escape_debug()))
                .hint(format!("stores of this manifest: {}; add [files.NAME] for another", known.join(", ")))
        })
    }

    /// Stores what `content` gives as the next version of a name. Durable on return.
    pub fn put(&self, caller: &Caller, store: &str, path: &str, content: &mut dyn Read, options: PutOptions) -> Result<FileVersion> {
        may(caller, Access::Write, store, path)?;
        let s = self.store(store)?;
        name::check(path)?;
        (self.writable)()?;
        let metadata = if options.metadata.is_null() { json!({}) } else { options.metadata };
        if metadata.to_string().len() > METADATA_BYTES_MAX {
            return Err(Error::limit(format!("the metadata of `{store}/{path}`"), format!("{METADATA_BYTES_MAX} bytes"), "store it as a file"));
        }
        let used = *lock(&s.usage);
        if used.versions >= s.config.quota_files {
            return Err(Error::limit(format!("one more version in store `{store}`"), format!("{} versions", s.config.quota_files), format!("raise `files.{store}.quota_files`, or delete with --purge")));
        }
        let tmp = format!("{}-{}", std::process::id(), self.tmp.fetch_add(1, Ordering::Relaxed));
        let written = write_tmp(s, store, path, &tmp, content, s.config.quota_bytes.saturating_sub(used.bytes));
        let result = written.and_then(|(hash, size)| {
            let _putting = s.collecting.read().unwrap_or_else(PoisonError::into_inner);
            let io = |e| Error::io(format!("storing `{store}/{path}`"), e);
            // Over an object that is there already: the content is the same, and if that one was damaged it is healed.
            s.disk.publish(&tmp, &hash).map_err(io)?;
            s.disk.sync_folder_of(&hash).map_err(io)?;
            let version = FileVersion {
                store: store.into(),
                path: path.into(),
                version: 0,
                blake3: Some(hash),
                size,
                created_at: now_ns(),
                created_by: caller.actor(),
                media_type: options.media_type.unwrap_or_else(|| "application/octet-stream".into()),
                metadata,
            };
            self.insert(caller, s, version)
        });
        if result.is_err() {
            // Also when it was moved already: then there is none, and the object is garbage for `gc`.
            let _ = s.disk.remove_tmp(&tmp);
        }
        result
    }

    fn insert(&self, caller: &Caller, s: &Store, mut new: FileVersion) -> Result<FileVersion> {
        let mut usage = lock(&s.usage);
        let mut after = *usage;
        let deletes = new.blake3.is_none();
        let work = |tx: &Transaction<'_>| {
            let folded = name::fold(&new.path);
            let spelt: Option<String> = tx
                .prepare_cached("SELECT path FROM file_names WHERE store = ?1 AND folded = ?2")?
                .query_row((&new.store, &folded), |r| r.get(0))
                .optional()?;
            match spelt {
                Some(other) if other != new.path => {
                    return Err(Error::conflict(format!("`{}/{}` differs from `{other}` only by case or width", new.store, new.path))
                        .hint("on many disks these are one file: use the name that is there"));
                }
                Some(_) => {}
                None => {
                    tx.prepare_cached("INSERT INTO file_names(store, folded, path) VALUES (?1, ?2, ?3)")?.execute((&new.store, &folded, &new.path))?;
                }
            }
            let before = newest(tx, &new.store, &new.path)?;
            new.version = before.as_ref().map_or(1, |v| v.version + 1);
            if let Some(hash) = &new.blake3 {
                let added = tx
                    .prepare_cached("INSERT INTO file_objects(store, hash, size, created_at) VALUES (?1,?2,?3,?4) ON CONFLICT DO NOTHING")?
                    .execute((&new.store, hash, new.size.cast_signed(), new.created_at))?;
                if added == 1 {
                    after.objects += 1;
                    after.bytes += new.size;
                    if after.bytes > s.config.quota_bytes {
                        return Err(full(&new.store, s.config.quota_bytes));
                    }
                }
            }
            after.versions += 1;
            tx.prepare_cached(
                "INSERT INTO file_versions(store, path, version, hash, size, created_at, created_by, media_type, metadata)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
            )?
            .execute((
                &new.store,
                &new.path,
                new.version.cast_signed(),
                &new.blake3,
                new.size.cast_signed(),
                new.created_at,
                &new.created_by,
                &new.media_type,
                new.metadata.to_string(),
            ))?;
            let action = if new.blake3.is_some() { "files.put" } else { "files.delete" };
            let entry = Entry::new(caller, action, format!("file:{}/{}", new.store, new.path))
                .change(before.and_then(|b| b.blake3), new.blake3.clone())
                .detail(json!({ "version": new.version, "size": new.size }));
            Audit::append(tx, &entry)?;
            Ok(new)
        };
        // A deletion is allowed on a read-only disk.
        let stored = if deletes { self.db.write_always(work) } else { self.db.write(work) }?;
        *usage = after;
        Ok(stored)
    }

    /// What is known of a version; the newest without a number.
    pub fn stat(&self, caller: &Caller, store: &str, path: &str, version: Option<u64>) -> Result<FileVersion> {
        may(caller, Access::Read, store, path)?;
        self.store(store)?;
        let found = self.db.read(|c| match version {
            None => newest(c, store, path),
            Some(v) => Ok(c
                .prepare_cached(&format!("SELECT {COLUMNS} FROM file_versions WHERE store = ?1 AND path = ?2 AND version = ?3"))?
                .query_row((store, path, v.cast_signed()), read)
                .optional()?),
        })?;
        found.filter(|v| v.blake3.is_some()).ok_or_else(|| {
            Error::not_found(format!("there is no file `{store}/{}`{}", path.escape_debug(), version.map_or(String::new(), |v| format!(" in version {v}"))))
                .hint(format!("`shiphold files list {store}` shows what there is"))
        })
    }

    /// A version and its bytes, whole or a range. A whole read is hashed on its way: the stream ends with an error
    /// of kind `InvalidData` if the object is damaged.
    pub fn get(&self, caller: &Caller, store: &str, path: &str, version: Option<u64>, range: Option<Range<u64>>) -> Result<(FileVersion, Box<dyn Read + Send>)> {
        let stat = self.stat(caller, store, path, version)?;
        let s = self.store(store)?;
        let hash = stat.blake3.clone().unwrap_or_default();
        let damaged = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Error::corrupt(format!("the object {hash} of `{store}/{path}` is missing")).hint("restore it from a backup"),
            _ => Error::io(format!("reading `{store}/{path}`"), e),
        };
        let mut object = s.disk.open(&hash).map_err(damaged)?;
        let reader: Box<dyn Read + Send> = match range {
            None => Box::new(Verifying { object, hasher: blake3::Hasher::new(), left: stat.size, hash, name: format!("{store}/{path}") }),
            Some(r) if r.start > r.end || r.end > stat.size => {
                return Err(Error::invalid(format!("the range {}..{} is outside the {} bytes of `{store}/{path}`", r.start, r.end, stat.size)));
            }
            Some(r) => {
                object.seek(SeekFrom::Start(r.start)).map_err(|e| Error::io(format!("reading `{store}/{path}`"), e))?;
                Box::new(object.take(r.end - r.start))
            }
        };
        Ok((stat, reader))
    }

    /// The files whose name begins with `prefix`, in order, after a name; deleted ones are left out.
    pub fn list(&self, caller: &Caller, store: &str, prefix: &str, after: Option<&str>, limit: u64) -> Result<Vec<FileStat>> {
        may(caller, Access::Read, store, prefix)?;
        self.store(store)?;
        if limit > PAGE_MAX {
            return Err(Error::limit(format!("a page of {limit} files"), PAGE_MAX, "page with `after`"));
        }
        self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM file_versions v WHERE store = ?1 AND path >= ?2 AND path < ?3 AND path > ?4
                 AND version = (SELECT max(version) FROM file_versions x WHERE x.store = v.store AND x.path = v.path)
                 AND hash IS NOT NULL ORDER BY path LIMIT ?5"
            ))?;
            let end = format!("{prefix}\u{10ffff}");
            let rows = statement.query_map((store, prefix, end, after.unwrap_or_default(), limit.cast_signed()), read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Every version of a name, newest first.
    pub fn versions(&self, caller: &Caller, store: &str, path: &str) -> Result<Vec<FileVersion>> {
        may(caller, Access::Read, store, path)?;
        self.store(store)?;
        let all: Vec<FileVersion> = self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM file_versions WHERE store = ?1 AND path = ?2 ORDER BY version DESC LIMIT ?3"
            ))?;
            let rows = statement.query_map((store, path, PAGE_MAX.cast_signed()), read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        if all.is_empty() {
            return Err(Error::not_found(format!("there is no file `{store}/{}`", path.escape_debug())));
        }
        Ok(all)
    }

    /// Says that a file is gone; its versions stay readable by number. With `purge` the versions go too, and `gc` frees
    /// their room.
    pub fn delete(&self, caller: &Caller, store: &str, path: &str, purge: bool) -> Result<()> {
        caller.require(Scope::Admin, "delete files")?;
        let s = self.store(store)?;
        if !purge {
            let there = self.stat(caller, store, path, None)?;
            let gone = FileVersion { blake3: None, size: 0, created_at: now_ns(), created_by: caller.actor(), metadata: json!({}), ..there };
            return self.insert(caller, s, gone).map(|_| ());
        }
        self.purge_for(caller, store, path)
    }

    /// Takes every version of a name away, for a caller whose right to do so was looked at already.
    pub(crate) fn purge_for(&self, caller: &Caller, store: &str, path: &str) -> Result<()> {
        let s = self.store(store)?;
        let mut usage = lock(&s.usage);
        let left = self.db.write_always(|tx| {
            let before = newest(tx, store, path)?
                .ok_or_else(|| Error::not_found(format!("there is no file `{store}/{}`", path.escape_debug())))?;
            let gone = tx.execute("DELETE FROM file_versions WHERE store = ?1 AND path = ?2", (store, path))?;
            tx.execute("DELETE FROM file_names WHERE store = ?1 AND path = ?2", (store, path))?;
            let entry = Entry::new(caller, "files.purge", format!("file:{store}/{path}")).change(before.blake3, None);
            Audit::append(tx, &entry.detail(json!({ "versions": gone })))?;
            self::usage(tx, store)
        })?;
        *usage = left;
        Ok(())
    }

    /// Removes objects that no version names. Run twice it does no more; killed at any step it does no harm: the row goes
    /// first, an object without a row is found again by its file.
    pub fn gc(&self, caller: &Caller, store: &str) -> Result<GcReport> {
        caller.require(Scope::Admin, "collect garbage")?;
        let s = self.store(store)?;
        let _alone = alone(s, store)?;
        let mut usage = lock(&s.usage);
        *usage = self.db.write_always(|tx| {
            tx.execute(
                "DELETE FROM file_objects WHERE store = ?1
                 AND NOT EXISTS (SELECT 1 FROM file_versions v WHERE v.store = file_objects.store AND v.hash = file_objects.hash)",
                [store],
            )?;
            self::usage(tx, store)
        })?;
        drop(usage);
        let mut report = GcReport::default();
        let io = |e| Error::io(format!("collecting store `{store}`"), e);
        for (hash, size) in s.disk.list().map_err(io)? {
            if self.db.read(|c| object_is_known(c, store, &hash))? {
                continue;
            }
            s.disk.remove(&hash).map_err(io)?;
            report.removed += 1;
            report.bytes += size;
        }
        Ok(report)
    }

    /// Re-hashes every object and names what is damaged or missing, with the files that need it.
    pub fn verify(&self, caller: &Caller, store: &str, progress: &mut dyn FnMut(u64)) -> Result<FilesVerify> {
        caller.require(Scope::Read, "verify files")?;
        let s = self.store(store)?;
        let mut report = FilesVerify::default();
        let mut after = String::new();
        loop {
            let page: Vec<(String, u64)> = self.db.read(|c| {
                let mut statement = c.prepare_cached("SELECT hash, size FROM file_objects WHERE store = ?1 AND hash > ?2 ORDER BY hash LIMIT 1000")?;
                let rows = statement.query_map((store, &after), |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs())))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (hash, size) in page {
                if let Some(problem) = damage(s.disk.as_ref(), &hash, size) {
                    let files = self.db.read(|c| {
                        let mut statement = c.prepare_cached("SELECT DISTINCT path FROM file_versions WHERE store = ?1 AND hash = ?2 LIMIT 100")?;
                        let rows = statement.query_map((store, &hash), |r| r.get(0))?;
                        Ok(rows.collect::<rusqlite::Result<_>>()?)
                    })?;
                    report.faults.push(FilesFault { store: store.into(), blake3: hash, problem, files });
                }
                report.objects += 1;
                report.bytes += size;
                progress(size);
            }
        }
        for (hash, _) in s.disk.list().map_err(|e| Error::io(format!("store `{store}`"), e))? {
            report.orphans += u64::from(!self.db.read(|c| object_is_known(c, store, &hash))?);
        }
        Ok(report)
    }

    /// What a store holds.
    pub fn stats(&self, store: &str) -> Result<FilesStats> {
        Ok(*lock(&self.store(store)?.usage))
    }

    /// An object for a backup, which has its own snapshot of the rows.
    pub(crate) fn open_object(&self, store: &str, hash: &str) -> Result<Box<dyn ObjectRead>> {
        self.store(store)?.disk.open(hash).map_err(|e| Error::io(format!("object {hash} of store `{store}`"), e))
    }

    /// While it is held, no object goes: a backup copies what its snapshot names.
    pub(crate) fn hold_objects(&self) -> Vec<std::sync::RwLockReadGuard<'_, ()>> {
        self.stores.values().map(|s| s.collecting.read().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

/// Waits for putters and backups, but without a place in their queue: a collector that waits in it would make every
/// put wait for a backup's end.
fn alone<'a>(s: &'a Store, store: &str) -> Result<RwLockWriteGuard<'a, ()>> {
    for _ in 0..COLLECT_TRIES {
        match s.collecting.try_write() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(e)) => return Ok(e.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(COLLECT_PAUSE),
        }
    }
    Err(Error::new(Kind::Busy, format!("store `{store}` is in use by a backup")).hint("collect again when the backup is done"))
}

/// What is wrong with an object, if anything.
fn damage(disk: &dyn ObjectDisk, hash: &str, size: u64) -> Option<String> {
    let mut object = match disk.open(hash) {
        Ok(o) => o,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Some("it is missing".into()),
        Err(e) => return Some(format!("it cannot be opened: {e}")),
    };
    let mut hasher = blake3::Hasher::new();
    match io::copy(&mut object, &mut hasher) {
        Err(e) => Some(format!("it cannot be read: {e}")),
        Ok(n) if n != size => Some(format!("it has {n} bytes instead of {size}")),
        Ok(_) if hasher.finalize().to_hex().as_str() != hash => Some("its content does not match its hash".into()),
        Ok(_) => None,
    }
}

enum Access {
    Read,
    Write,
}

fn may(caller: &Caller, access: Access, store: &str, path: &str) -> Result<()> {
    let (scope, key) = match access {
        Access::Read => (Scope::Read, "files.read"),
        Access::Write => (Scope::Write, "files.write"),
    };
    let Caller::Plugin { name, grants } = caller else { return caller.require(scope, key) };
    let patterns = match access {
        Access::Read => &grants.files_read,
        Access::Write => &grants.files_write,
    };
    let wanted = format!("{store}/{path}");
    if patterns.iter().any(|p| pattern_matches(p, &wanted)) {
        return Ok(());
    }
    Err(Error::denied(format!("plugin `{name}` has no `{key}` grant for `{wanted}`")).hint(format!("add a pattern to `grants.{key}` of the plugin in shiphold.toml")))
}

/// Writes and syncs the content; its hash and size.
fn write_tmp(s: &Store, store: &str, path: &str, tmp: &str, content: &mut dyn Read, room: u64) -> Result<(String, u64)> {
    let io = |e| Error::io(format!("storing `{store}/{path}`"), e);
    let mut file = s.disk.create_tmp(tmp).map_err(io)?;
    let mut hasher = blake3::Hasher::new();
    let mut step = vec![0; STEP_BYTES];
    let mut size = 0_u64;
    loop {
        let n = match content.read(&mut step) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io(format!("reading what is to be stored as `{store}/{path}`"), e)),
        };
        let part = step.get(..n).unwrap_or(&step);
        size += n as u64;
        if size > s.config.file_bytes_max {
            return Err(Error::limit(
                format!("the file `{store}/{path}`"),
                format!("{} bytes", s.config.file_bytes_max),
                format!("raise `files.{store}.file_max` in shiphold.toml"),
            ));
        }
        // An object that is there already needs no room: only what cannot possibly fit is refused here.
        if size > room.saturating_add(s.config.file_bytes_max) {
            return Err(full(store, s.config.quota_bytes));
        }
        hasher.update(part);
        file.write_all(part).map_err(io)?;
    }
    file.sync().map_err(io)?;
    Ok((hasher.finalize().to_hex().to_string(), size))
}

fn full(store: &str, quota: u64) -> Error {
    Error::limit(
        format!("the objects of store `{store}`"),
        format!("{quota} bytes"),
        format!("raise `files.{store}.quota` in shiphold.toml, or `shiphold files delete --purge` and `shiphold files gc {store}`"),
    )
}

/// Hashes what it gives; the end is an error when the hash or the size is not what it must be.
struct Verifying {
    object: Box<dyn ObjectRead>,
    hasher: blake3::Hasher,
    left: u64,
    hash: String,
    name: String,
}

impl Read for Verifying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.object.read(buffer)?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("the object {} of `{}` is damaged", self.hash, self.name));
        if n == 0 {
            let whole = self.left == 0 && self.hasher.finalize().to_hex().as_str() == self.hash;
            return if whole { Ok(0) } else { Err(damaged()) };
        }
        self.left = self.left.checked_sub(n as u64).ok_or_else(damaged)?;
        self.hasher.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

const COLUMNS: &str = "store, path, version, hash, size, created_at, created_by, media_type, metadata";

fn read(row: &Row<'_>) -> rusqlite::Result<FileVersion> {
    let metadata: String = row.get(8)?;
    Ok(FileVersion {
        store: row.get(0)?,
        path: row.get(1)?,
        version: row.get::<_, i64>(2)?.unsigned_abs(),
        blake3: row.get(3)?,
        size: row.get::<_, i64>(4)?.unsigned_abs(),
        created_at: row.get(5)?,
        created_by: row.get(6)?,
        media_type: row.get(7)?,
        metadata: serde_json::from_str(&metadata).unwrap_or(Value::String(metadata)),
    })
}

fn newest(c: &Connection, store: &str, path: &str) -> Result<Option<FileVersion>> {
    Ok(c.prepare_cached(&format!("SELECT {COLUMNS} FROM file_versions WHERE store = ?1 AND path = ?2 ORDER BY version DESC LIMIT 1"))?
        .query_row((store, path), read)
        .optional()?)
}

fn object_is_known(c: &Connection, store: &str, hash: &str) -> Result<bool> {
    Ok(c.prepare_cached("SELECT 1 FROM file_objects WHERE store = ?1 AND hash = ?2")?.exists((store, hash))?)
}

fn usage(c: &Connection, store: &str) -> Result<FilesStats> {
    let versions: i64 = c.query_row("SELECT count(*) FROM file_versions WHERE store = ?1", [store], |r| r.get(0))?;
    let (objects, bytes): (i64, i64) =
        c.query_row("SELECT count(*), coalesce(sum(size), 0) FROM file_objects WHERE store = ?1", [store], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(FilesStats { versions: versions.unsigned_abs(), objects: objects.unsigned_abs(), bytes: bytes.unsigned_abs() })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stored object that is damaged, as the kind of error that callers act on.
pub fn as_error(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::InvalidData => Error::new(Kind::Corrupt, e.to_string()).hint("restore it from a backup"),
        _ => Error::io("reading a file", e),
    }
}
