//! A SQLite VFS on a [`Disk`] in memory, which loses what was not synced and fails when it is told to.
//!
//! It behaves as SQLite's own VFS for Unix does on a local disk: the folder is synced with the first sync of a
//! handle to a journal or WAL (not of a new database), an empty file counts as none, a file that cannot be made is
//! `SQLITE_CANTOPEN`, overwriting part of a sector leaves the rest alone.

#![allow(unsafe_code)]

use super::disk::{Disk, FileId, Loss};
use super::faults::{Fault, Faults, Verdict};
use super::locks::{FileLock, Held, Level, Shm};
use super::vfs_file::{Handle, METHODS, Open};
use crate::error::{Error, Result};
use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::size_of;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a path.
const PATH_BYTES_MAX: c_int = 1024;

/// A file system in memory that SQLite can be pointed at by [`FaultVfs::name`].
#[derive(Debug)]
pub struct FaultVfs {
    name: String,
    shared: Arc<Mutex<State>>,
    registered: Registered,
}

#[derive(Debug)]
struct Registered(*mut ffi::sqlite3_vfs);

// SAFETY: the pointer is only handed to SQLite's (un)registration, which has a lock of its own.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) disk: Disk,
    pub(super) faults: Faults,
    /// Handles of an older one are dead.
    pub(super) generation: u64,
    pub(super) locks: BTreeMap<FileId, FileLock>,
    pub(super) shms: BTreeMap<FileId, Arc<Mutex<Shm>>>,
    temporary: u64,
    recorded: Option<Recording>,
}

/// What the loss of power would leave at some operations in a row, one after another.
#[derive(Debug, Default)]
struct Recording {
    /// Operations so far, and those that are recorded.
    count: u64,
    range: std::ops::Range<u64>,
    /// What is done of the workload.
    at: (usize, bool),
    wrecks: Vec<Wreck>,
}

/// The disk of a power-up that ended in an operation.
#[derive(Debug, Clone)]
pub struct Wreck {
    /// Of the operation, from 1.
    pub number: u64,
    pub disk: Disk,
    /// [`FaultVfs::is_at`] of then.
    pub at: (usize, bool),
}

impl FaultVfs {
    /// Registers a VFS on an empty disk. `name` is made unique.
    pub fn new(name: &str) -> Result<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let text = CString::new(name.clone()).map_err(|_| Error::invalid("the name of a VFS has no NUL"))?;
        let shared = Arc::new(Mutex::new(State::default()));
        // Both are leaked: a connection that outlives this value may still call in. What is large is dropped.
        let app: &'static Arc<Mutex<State>> = Box::leak(Box::new(shared.clone()));
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<Handle>()).unwrap_or(c_int::MAX),
            mxPathname: PATH_BYTES_MAX,
            pNext: null_mut(),
            zName: text.into_raw(),
            pAppData: std::ptr::from_ref(app).cast_mut().cast(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(x_randomness),
            xSleep: Some(x_sleep),
            xCurrentTime: Some(x_current_time),
            xGetLastError: Some(x_get_last_error),
            xCurrentTimeInt64: Some(x_current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is whole and lives for ever; it does not become the default.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        if code != ffi::SQLITE_OK {
            return Err(Error::internal(format!("SQLite refused the VFS `{name}` with code {code}")));
        }
        Ok(Arc::new(Self { name, shared, registered: Registered(vfs) }))
    }

    /// What SQLite knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The power goes now and comes back: every open handle is dead, the disk holds what `loss` left, nothing is planned.
    pub fn crash(&self, loss: Loss) {
        let after = lock(&self.shared).disk.after(loss);
        self.load(after);
    }

    /// Puts another disk in: every open handle is dead, nothing is planned.
    pub fn load(&self, disk: Disk) {
        let mut state = lock(&self.shared);
        state.disk = disk;
        state.faults.clear();
        state.recorded = None;
        state.generation += 1;
        state.locks.clear();
        state.shms.clear();
    }

    /// The disk as it is, with what is not synced.
    pub fn disk(&self) -> Disk {
        lock(&self.shared).disk.clone()
    }

    /// Changes the disk behind SQLite's back.
    pub fn with_disk<T>(&self, f: impl FnOnce(&mut Disk) -> T) -> T {
        f(&mut lock(&self.shared).disk)
    }

    /// Which power-up this is; what belongs to an older one is dead.
    pub fn generation(&self) -> u64 {
        lock(&self.shared).generation
    }

    /// An operation of something else on the same disk, under the same plan: `f` gets what becomes of it and does what
    /// is left to do; it is not called when there is no power.
    pub fn operate<T>(
        &self,
        generation: u64,
        f: impl Fn(&mut Disk, Verdict) -> io::Result<T>,
    ) -> io::Result<T> {
        let no_power = || io::Error::other("there is no power");
        let mut state = lock(&self.shared);
        if state.generation != generation {
            return Err(no_power());
        }
        let power_fails = |disk: &mut Disk| {
            let _ = f(disk, Verdict::PowerFails);
        };
        if state.record(power_fails) {
            return f(&mut state.disk, Verdict::Go);
        }
        match state.faults.operation() {
            Verdict::Dead => Err(no_power()),
            Verdict::PowerFails => {
                let _ = f(&mut state.disk, Verdict::PowerFails);
                Err(no_power())
            }
            verdict => f(&mut state.disk, verdict),
        }
    }

    /// Nothing goes wrong: of each of these operations, counted from now and from 1, the disk is kept as the loss of power in it would leave
    /// it, before it is done.
    pub fn record(&self, range: std::ops::Range<u64>) {
        lock(&self.shared).recorded = Some(Recording { range, ..Recording::default() });
    }

    /// Says how much of the workload is done, and whether something of it is on its way, for what is recorded from now on.
    pub fn is_at(&self, done: usize, in_flight: bool) {
        let mut state = lock(&self.shared);
        if let Some(recorded) = &mut state.recorded {
            recorded.at = (done, in_flight);
        }
    }

    /// What was recorded, and how many operations there were.
    pub fn recorded(&self) -> (Vec<Wreck>, u64) {
        let recorded = lock(&self.shared).recorded.take();
        recorded.map(|r| (r.wrecks, r.count)).unwrap_or_default()
    }

    /// Looks at the disk, if there is power.
    pub fn look<T>(&self, generation: u64, f: impl FnOnce(&Disk) -> io::Result<T>) -> io::Result<T> {
        let state = lock(&self.shared);
        if state.generation != generation || state.faults.dead() {
            return Err(io::Error::other("there is no power"));
        }
        f(&state.disk)
    }

    /// From the n-th operation on, counted from now and from 1, everything fails as if the power went.
    pub fn crash_at(&self, n: u64) {
        lock(&self.shared).faults.crash_at(n);
    }

    /// The n-th operation from now, from 1, fails; those after it work.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        lock(&self.shared).faults.fail_at(n, fault, false);
    }

    /// The n-th operation from now, from 1, fails, and so do all after it until [`FaultVfs::heal`].
    pub fn fail_from(&self, n: u64, fault: Fault) {
        lock(&self.shared).faults.fail_at(n, fault, true);
    }

    /// Nothing goes wrong any more; the count begins at 0.
    pub fn heal(&self) {
        lock(&self.shared).faults.clear();
    }

    /// Operations that change the disk — create, write, truncate, sync, delete — since the last plan was made.
    pub fn operations(&self) -> u64 {
        lock(&self.shared).faults.operations()
    }

    /// Did what was planned happen?
    pub fn hit(&self) -> bool {
        lock(&self.shared).faults.hit()
    }
}

impl Drop for FaultVfs {
    fn drop(&mut self) {
        // SAFETY: it was registered by `new`; the structure itself stays, for connections that are still open.
        unsafe { ffi::sqlite3_vfs_unregister(self.registered.0) };
        self.load(Disk::default());
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Keeps what the loss of power in this operation would leave, `half` of it done; whether anything is recorded.
    fn record(&mut self, half: impl FnOnce(&mut Disk)) -> bool {
        let Some(recorded) = &mut self.recorded else { return false };
        recorded.count += 1;
        if recorded.range.contains(&recorded.count) {
            let mut disk = self.disk.clone();
            half(&mut disk);
            recorded.wrecks.push(Wreck { number: recorded.count, disk, at: recorded.at });
        }
        true
    }

    /// Counts an operation; `half` is done of it when the power goes in its middle. `Err` is the code for SQLite.
    pub(super) fn operation(
        &mut self,
        full: c_int,
        io: c_int,
        half: impl FnOnce(&mut Disk),
    ) -> std::result::Result<(), c_int> {
        if self.recorded.is_some() {
            self.record(half);
            return Ok(());
        }
        match self.faults.operation() {
            Verdict::Go => Ok(()),
            Verdict::Fail(Fault::Full) => Err(full),
            Verdict::Fail(Fault::Io) => Err(io),
            Verdict::PowerFails => {
                half(&mut self.disk);
                Err(io)
            }
            Verdict::Dead => Err(io),
        }
    }
}

// ---- the file system ----

/// The state behind a VFS.
///
/// SAFETY for callers: `vfs` must be one that [`FaultVfs::new`] registered.
unsafe fn shared<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Arc<Mutex<State>> {
    // SAFETY: `pAppData` was leaked by `new` and points to this type.
    unsafe { &*(*vfs).pAppData.cast::<Arc<Mutex<State>>>() }
}

/// A path that SQLite gives; lossy, for it is only a key here.
///
/// SAFETY for callers: `path` must be NUL-terminated.
unsafe fn text(path: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let handle = file.cast::<Handle>();
    // SAFETY: SQLite gives `szOsFile` bytes, the size of a `Handle`; without methods it is never closed.
    unsafe {
        (*handle).base.pMethods = std::ptr::null();
        (*handle).open = null_mut();
    }
    // SAFETY: SQLite calls with the VFS that was registered and, if any, a NUL-terminated name.
    let (shared, name) = unsafe { (shared(vfs), (!name.is_null()).then(|| text(name))) };
    let mut state = lock(shared);
    if state.faults.dead() {
        return ffi::SQLITE_IOERR;
    }
    let temporary = name.is_none();
    let path = name.unwrap_or_else(|| {
        state.temporary += 1;
        format!("temporary-{}", state.temporary)
    });
    let exclusive = ffi::SQLITE_OPEN_EXCLUSIVE | ffi::SQLITE_OPEN_CREATE;
    let journal = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
    let id = match state.disk.find(&path) {
        Some(_) if flags & exclusive == exclusive => return ffi::SQLITE_CANTOPEN,
        Some(id) => id,
        None if flags & ffi::SQLITE_OPEN_CREATE == 0 => return ffi::SQLITE_CANTOPEN,
        None => {
            let half = |disk: &mut Disk| {
                disk.create(&path);
            };
            if let Err(code) = state.operation(ffi::SQLITE_CANTOPEN, ffi::SQLITE_CANTOPEN, half) {
                return code;
            }
            state.disk.create(&path)
        }
    };
    let open = Open {
        shared: shared.clone(),
        generation: state.generation,
        file: id,
        path,
        level: Level::None,
        held: Held::default(),
        shm: None,
        sync_folder: flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journal != 0,
        delete_on_close: temporary || flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0,
    };
    drop(state);
    // SAFETY: `handle` is ours, as above; `flags_out` may be null.
    unsafe {
        (*handle).open = Box::into_raw(Box::new(open));
        (*handle).base.pMethods = &raw const METHODS;
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite calls with the VFS that was registered and a NUL-terminated name.
    let (shared, path) = unsafe { (shared(vfs), text(name)) };
    let mut state = lock(shared);
    if state.faults.dead() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    if state.disk.find(&path).is_none() {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    }
    let half = |disk: &mut Disk| {
        disk.remove(&path);
    };
    if let Err(code) = state.operation(ffi::SQLITE_IOERR_DELETE, ffi::SQLITE_IOERR_DELETE, half) {
        return code;
    }
    state.disk.remove(&path);
    if sync != 0 {
        let synced = state.operation(ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC, |_| ());
        if let Err(code) = synced {
            return code;
        }
        state.disk.sync_folder_of(&path);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with the VFS that was registered and a NUL-terminated name.
    let (shared, path) = unsafe { (shared(vfs), text(name)) };
    let state = lock(shared);
    if state.faults.dead() {
        return ffi::SQLITE_IOERR_ACCESS;
    }
    let found = state.disk.find(&path);
    // SQLite's own VFS for Unix takes an empty file for none.
    let there = found.is_some_and(|f| flags != ffi::SQLITE_ACCESS_EXISTS || state.disk.size(f) > 0);
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = c_int::from(there) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a NUL-terminated name and `bytes` bytes for the answer.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > usize::try_from(bytes).unwrap_or(0) {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_randomness(_vfs: *mut ffi::sqlite3_vfs, bytes: c_int, out: *mut c_char) -> c_int {
    let n = usize::try_from(bytes).unwrap_or(0);
    let mut random = vec![0; n];
    if getrandom::fill(&mut random).is_err() {
        return 0;
    }
    // SAFETY: SQLite gives `bytes` bytes for the answer.
    unsafe { std::ptr::copy_nonoverlapping(random.as_ptr().cast(), out, n) };
    bytes
}

unsafe extern "C" fn x_sleep(_vfs: *mut ffi::sqlite3_vfs, us: c_int) -> c_int {
    std::thread::sleep(std::time::Duration::from_micros(u64::try_from(us).unwrap_or(0)));
    us
}

/// Milliseconds since noon of 24 November 4714 BC, as SQLite counts.
fn julian_ms() -> i64 {
    const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;
    UNIX_EPOCH_JULIAN_MS + crate::schema::now_ns() / 1_000_000
}

unsafe extern "C" fn x_current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    #[allow(clippy::cast_precision_loss)]
    let days = julian_ms() as f64 / 86_400_000.0;
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = days };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_current_time_int64(_vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = julian_ms() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_get_last_error(_vfs: *mut ffi::sqlite3_vfs, _n: c_int, _out: *mut c_char) -> c_int {
    0
}
