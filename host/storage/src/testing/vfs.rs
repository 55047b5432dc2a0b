//! A SQLite VFS on a [`Disk`] in memory, which loses what was not synced and fails when it is told to.
//!
//! It behaves as SQLite's own VFS for Unix does on a local disk: the folder is synced with the first sync of a
//! handle to a journal or WAL (not of a new database), an empty file counts as none, a file that cannot be made is
//! `SQLITE_CANTOPEN`, overwriting part of a sector leaves the rest alone.

#![allow(unsafe_code)]

use super::disk::{Disk, FileId, Loss};
use super::faults::{Fault, Faults, Verdict};
use super::locks::{FileLock, Held, Level, SHM_LOCKS, Shm};
use crate::error::{Error, Result};
use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::size_of;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a path.
const PATH_BYTES_MAX: c_int = 1024;
/// What the operating system's VFS says on a local disk.
const SECTOR_BYTES: c_int = 4096;

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
struct State {
    disk: Disk,
    faults: Faults,
    /// Handles of an older one are dead.
    generation: u64,
    locks: BTreeMap<FileId, FileLock>,
    shms: BTreeMap<FileId, Arc<Mutex<Shm>>>,
    temporary: u64,
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
        f: impl FnOnce(&mut Disk, Verdict) -> io::Result<T>,
    ) -> io::Result<T> {
        let no_power = || io::Error::other("there is no power");
        let mut state = lock(&self.shared);
        if state.generation != generation {
            return Err(no_power());
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open file, in the memory that SQLite gives us for it.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    shared: Arc<Mutex<State>>,
    generation: u64,
    file: FileId,
    path: String,
    level: Level,
    held: Held,
    shm: Option<Arc<Mutex<Shm>>>,
    /// The folder is to be synced with the first sync.
    sync_folder: bool,
    delete_on_close: bool,
}

impl Open {
    /// The state, if this handle still belongs to it and there is power.
    fn alive(&self) -> Option<MutexGuard<'_, State>> {
        let state = lock(&self.shared);
        (state.generation == self.generation && !state.faults.dead()).then_some(state)
    }
}

impl State {
    /// Counts an operation; `half` is done of it when the power goes in its middle. `Err` is the code for SQLite.
    fn operation(
        &mut self,
        full: c_int,
        io: c_int,
        half: impl FnOnce(&mut Disk),
    ) -> std::result::Result<(), c_int> {
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

fn code(result: std::result::Result<(), c_int>) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(code) => code,
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

// ---- files ----

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: Some(x_shm_map),
    xShmLock: Some(x_shm_lock),
    xShmBarrier: Some(x_shm_barrier),
    xShmUnmap: Some(x_shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The open file behind a handle.
///
/// SAFETY for callers: `file` must be one that `x_open` opened and `x_close` has not closed. SQLite uses one handle
/// from one thread at a time, so the reference is the only one.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: the caller's promise; `x_open` put a leaked box there.
    unsafe { &mut *(*file.cast::<Handle>()).open }
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file once; the box goes back to where it came from.
    let mut open = unsafe {
        let handle = file.cast::<Handle>();
        (*handle).base.pMethods = std::ptr::null();
        Box::from_raw(std::mem::replace(&mut (*handle).open, null_mut()))
    };
    unmap(&mut open);
    let open = *open;
    let mut level = open.level;
    if let Some(mut state) = open.alive() {
        if let Some(lock) = state.locks.get_mut(&open.file) {
            lock.lower(&mut level, Level::None);
        }
        if open.delete_on_close {
            state.disk.remove(&open.path);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file and `bytes` bytes of memory, by SQLite's contract.
    let (open, to) = unsafe {
        let n = usize::try_from(bytes).unwrap_or(0);
        std::ptr::write_bytes(to.cast::<u8>(), 0, n);
        (opened(file), std::slice::from_raw_parts_mut(to.cast::<u8>(), n))
    };
    let Some(state) = open.alive() else { return ffi::SQLITE_IOERR_READ };
    if state.disk.read(open.file, offset.unsigned_abs(), to) < to.len() {
        return ffi::SQLITE_IOERR_SHORT_READ;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file and `bytes` bytes of memory, by SQLite's contract.
    let (open, from) = unsafe {
        (opened(file), std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(bytes).unwrap_or(0)))
    };
    let (id, offset) = (open.file, offset.unsigned_abs());
    let Some(mut state) = open.alive() else { return ffi::SQLITE_IOERR_WRITE };
    let write = |disk: &mut Disk, from: &[u8]| disk.write(id, offset, from);
    let half = |disk: &mut Disk| {
        write(disk, from);
    };
    match state.operation(ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, half) {
        Err(ffi::SQLITE_FULL) => {
            // The last room of a disk takes a part.
            let part = from.get(..from.len() / 2).unwrap_or_default();
            write(&mut state.disk, part);
            ffi::SQLITE_FULL
        }
        Err(code) => code,
        Ok(()) if write(&mut state.disk, from) => ffi::SQLITE_OK,
        Ok(()) => ffi::SQLITE_FULL,
    }
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    let (id, size) = (open.file, size.unsigned_abs());
    let Some(mut state) = open.alive() else { return ffi::SQLITE_IOERR_TRUNCATE };
    let done = state.operation(ffi::SQLITE_IOERR_TRUNCATE, ffi::SQLITE_IOERR_TRUNCATE, |disk| {
        disk.truncate(id, size);
    });
    match done {
        Err(code) => code,
        Ok(()) if state.disk.truncate(id, size) => ffi::SQLITE_OK,
        Ok(()) => ffi::SQLITE_IOERR_TRUNCATE,
    }
}

unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    let (sync_folder, mut folder_synced) = (open.sync_folder, false);
    let result = match open.alive() {
        None => ffi::SQLITE_IOERR_FSYNC,
        Some(mut state) => {
            let synced = state.operation(ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_FSYNC, |_| ());
            match synced {
                Err(code) => {
                    if !state.faults.dead() {
                        let seed = state.faults.operations();
                        state.disk.fail_sync(open.file, seed);
                    }
                    code
                }
                Ok(()) => {
                    state.disk.sync(open.file);
                    if sync_folder {
                        // SQLite's own VFS tries once and lets a failure pass, so it is not an operation that can fail.
                        state.disk.sync_folder_of(&open.path);
                        folder_synced = true;
                    }
                    ffi::SQLITE_OK
                }
            }
        }
    };
    if folder_synced {
        open.sync_folder = false;
    }
    result
}

unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    let Some(state) = open.alive() else { return ffi::SQLITE_IOERR_FSTAT };
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = state.disk.size(open.file).cast_signed() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    let mut mine = open.level;
    let raised = match open.alive() {
        None => return ffi::SQLITE_IOERR_LOCK,
        Some(mut state) => {
            state.locks.entry(open.file).or_default().raise(&mut mine, Level::from_sqlite(level))
        }
    };
    open.level = mine;
    if raised { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn x_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    let mut mine = open.level;
    if let Some(mut state) = open.alive() {
        state.locks.entry(open.file).or_default().lower(&mut mine, Level::from_sqlite(level));
    }
    open.level = mine;
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    let Some(state) = open.alive() else { return ffi::SQLITE_IOERR_CHECKRESERVEDLOCK };
    let reserved = state.locks.get(&open.file).is_some_and(FileLock::is_reserved);
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = c_int::from(reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_control(_file: *mut ffi::sqlite3_file, _op: c_int, _arg: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn x_sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn x_device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_SUBPAGE_READ
}

// ---- shared memory ----

unsafe extern "C" fn x_shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = null_mut() };
    let (Ok(region), Ok(bytes)) = (usize::try_from(region), usize::try_from(bytes)) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    let mut mapped = open.shm.clone();
    let result = match open.alive() {
        None => return ffi::SQLITE_IOERR_SHMMAP,
        Some(mut state) => {
            let shm = mapped.get_or_insert_with(|| state.shms.entry(open.file).or_default().clone()).clone();
            let mut shm = lock(&shm);
            if open.shm.is_none() {
                shm.users += 1;
            }
            // The file of a real shared memory grows here, on the same disk.
            let grown = match shm.region(region) {
                None if extend != 0 => state
                    .operation(ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMSIZE, |_| ())
                    .and_then(|()| shm.grow(region, bytes).then_some(()).ok_or(ffi::SQLITE_NOMEM)),
                _ => Ok(()),
            };
            if let (Ok(()), Some(start)) = (grown, shm.region(region)) {
                // SAFETY: SQLite gives a place for the answer.
                unsafe { *out = start.cast() };
            }
            code(grown)
        }
    };
    open.shm = mapped;
    result
}

unsafe extern "C" fn x_shm_lock(file: *mut ffi::sqlite3_file, first: c_int, n: c_int, flags: c_int) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    let open = unsafe { opened(file) };
    let (Ok(first), Ok(n)) = (usize::try_from(first), usize::try_from(n)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let Some(shm) = open.shm.clone().filter(|_| first < SHM_LOCKS && n <= SHM_LOCKS - first) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let alive = open.alive().is_some();
    let mut shm = lock(&shm);
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        shm.unlock(&mut open.held, first, n);
        return ffi::SQLITE_OK;
    }
    if !alive {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    if shm.lock(&mut open.held, first, n, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_BUSY
    }
}

unsafe extern "C" fn x_shm_barrier(file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
    // SAFETY: an open file, by SQLite's contract.
    drop(lock(&unsafe { opened(file) }.shared));
}

unsafe extern "C" fn x_shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: an open file, by SQLite's contract.
    unmap(unsafe { opened(file) });
    ffi::SQLITE_OK
}

/// Lets go of the shared memory; the last one takes it away, as the first to come would clear it.
fn unmap(open: &mut Open) {
    let Some(shm) = open.shm.take() else { return };
    let mut state = lock(&open.shared);
    let users = {
        let mut shm = lock(&shm);
        shm.unlock(&mut open.held, 0, SHM_LOCKS);
        shm.users = shm.users.saturating_sub(1);
        shm.users
    };
    if users == 0 && state.generation == open.generation {
        state.shms.remove(&open.file);
    }
}
