//! The files of the VFS: SQLite's methods on an open file, and on the shared memory of its WAL index.

#![allow(unsafe_code)]

use super::disk::{Disk, FileId};
use super::locks::{FileLock, Held, Level, SHM_LOCKS, Shm};
use super::vfs::{State, lock};
use rusqlite::ffi;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard};

/// What the operating system's VFS says on a local disk.
const SECTOR_BYTES: c_int = 4096;

/// An open file, in the memory that SQLite gives us for it.
#[repr(C)]
pub(super) struct Handle {
    pub(super) base: ffi::sqlite3_file,
    pub(super) open: *mut Open,
}

pub(super) struct Open {
    pub(super) shared: Arc<Mutex<State>>,
    pub(super) generation: u64,
    pub(super) file: FileId,
    pub(super) path: String,
    pub(super) level: Level,
    pub(super) held: Held,
    pub(super) shm: Option<Arc<Mutex<Shm>>>,
    /// The folder is to be synced with the first sync.
    pub(super) sync_folder: bool,
    pub(super) delete_on_close: bool,
}

impl Open {
    /// The state, if this handle still belongs to it and there is power.
    fn alive(&self) -> Option<MutexGuard<'_, State>> {
        let state = lock(&self.shared);
        (state.generation == self.generation && !state.faults.dead()).then_some(state)
    }
}

fn code(result: std::result::Result<(), c_int>) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(code) => code,
    }
}

pub(super) static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
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
