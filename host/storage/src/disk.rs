//! Who owns the data folder, and how much room is left on its disk.

use crate::error::{Error, Kind, Result};
use crate::manifest::Disk;
use crate::units::ByteSize;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a reading of the free space is believed.
const READING_KEPT: Duration = Duration::from_millis(500);
/// Space above a watermark, in percent of it, before the state goes back: it must not flap.
const HYSTERESIS_PERCENT: u64 = 10;
/// Bytes of one write when the reserve is laid down.
const RESERVE_BLOCK_BYTES: usize = 1 << 20;

/// The lock of a data folder; it ends with the process, however that ends.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Makes the folder (only for its owner) and takes it. [`Kind::Busy`] names the process that has it.
    pub fn acquire(data: &Path) -> Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(|e| Error::io(format!("making the data folder {}", data.display()), e))?;
        std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700))
            .map_err(|e| Error::io(format!("closing the data folder {} to others", data.display()), e))?;
        let path = data.join("lock");
        let place = |e| Error::io(path.display(), e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(place)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The number is a help for the reader, no more.
                let _ = std::io::Read::by_ref(&mut file).take(32).read_to_string(&mut pid);
                return Err(Error::new(
                    Kind::Busy,
                    format!("the data folder {} is in use by process {}", data.display(), pid.trim()),
                )
                .hint("stop that process, or let the command line talk to it with the same manifest"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(place(e)),
        }
        file.set_len(0).map_err(place)?;
        file.rewind().map_err(place)?;
        writeln!(file, "{}", std::process::id()).map_err(place)?;
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    /// A process that another thread is starting has this file, too, until its program begins: closing alone would leave it locked
    /// until then.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock of the data folder goes when its file is closed");
        }
    }
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Ok,
    /// Below `disk.warn_below`.
    Warn,
    /// Below `disk.read_only_below`: writes are refused.
    ReadOnly,
}

/// The room at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskState {
    pub level: Level,
    pub free_bytes: u64,
}

type Probe = Box<dyn Fn() -> std::io::Result<u64> + Send + Sync>;

/// Watches the free space, and holds some back so that retention can run on a full disk.
pub struct DiskGuard {
    limits: Disk,
    reserve: PathBuf,
    probe: Probe,
    last: Mutex<Option<(Instant, DiskState)>>,
}

impl std::fmt::Debug for DiskGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskGuard").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl DiskGuard {
    /// Watches the disk of the data folder.
    pub fn new(data: &Path, limits: &Disk) -> Self {
        let folder = data.to_path_buf();
        Self::with_probe(data, limits, Box::new(move || free_bytes(&folder)))
    }

    /// With another way to learn the free space.
    pub fn with_probe(data: &Path, limits: &Disk, probe: Probe) -> Self {
        Self { limits: limits.clone(), reserve: data.join("reserve"), probe, last: Mutex::new(None) }
    }

    /// The present state, at most half a second old.
    pub fn state(&self) -> Result<DiskState> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, state)) = *last {
            if at.elapsed() < READING_KEPT {
                return Ok(state);
            }
        }
        let free_bytes =
            (self.probe)().map_err(|e| Error::io("reading the free space of the data folder's disk", e))?;
        let before = last.map(|(_, s)| s.level);
        let state = DiskState { level: self.level(free_bytes, before), free_bytes };
        if before != Some(state.level) {
            let free = ByteSize(free_bytes >> 20 << 20);
            match state.level {
                Level::Ok if before.is_some() => tracing::info!(%free, "the disk has room again"),
                Level::Ok => {}
                Level::Warn => {
                    tracing::warn!(%free, warn_below = %self.limits.warn_below, "the disk is filling up")
                }
                Level::ReadOnly => {
                    tracing::error!(%free, read_only_below = %self.limits.read_only_below, "the disk is nearly full: read-only");
                }
            }
        }
        *last = Some((Instant::now(), state));
        Ok(state)
    }

    fn level(&self, free: u64, before: Option<Level>) -> Level {
        // To leave a state, the space must be clear of its watermark.
        let above = |mark: ByteSize, held: bool| {
            let margin = if held { mark.0 / 100 * HYSTERESIS_PERCENT } else { 0 };
            free >= mark.0.saturating_add(margin)
        };
        if !above(self.limits.read_only_below, before == Some(Level::ReadOnly)) {
            Level::ReadOnly
        } else if !above(self.limits.warn_below, before.is_some_and(|b| b != Level::Ok)) {
            Level::Warn
        } else {
            Level::Ok
        }
    }

    /// May something be written? [`Kind::ReadOnly`] says why not and what to do.
    pub fn writable(&self) -> Result<()> {
        let state = self.state()?;
        if state.level != Level::ReadOnly {
            return Ok(());
        }
        Err(Error::new(
            Kind::ReadOnly,
            format!(
                "the store is read-only: {} MiB are free on its disk, less than disk.read_only_below = {}",
                state.free_bytes >> 20,
                self.limits.read_only_below
            ),
        )
        .hint("free space, or let retention make some with `shiphold plugins run NAME` or `shiphold series delete`"))
    }

    /// Lays the reserve down, if there is room for it above the warning mark.
    pub fn hold_reserve(&self) -> Result<()> {
        let want = self.limits.reserve.0;
        let held = std::fs::metadata(&self.reserve).map_or(0, |m| m.len());
        if held == want {
            return Ok(());
        }
        if held > want || want == 0 {
            return self.release_reserve();
        }
        let free =
            (self.probe)().map_err(|e| Error::io("reading the free space of the data folder's disk", e))?;
        if free < want.saturating_add(self.limits.warn_below.0) {
            tracing::warn!(reserve = %self.limits.reserve, "no room to hold a reserve back");
            return Ok(());
        }
        let place = |e| Error::io(self.reserve.display(), e);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.reserve)
            .map_err(place)?;
        // Written, not only sized: a hole would hold nothing back. Not zeros, which some file systems fold away.
        let block = vec![0x5a_u8; RESERVE_BLOCK_BYTES];
        let mut left = want;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            file.write_all(block.get(..part).unwrap_or(&block)).map_err(place)?;
            left -= part as u64;
        }
        file.sync_all().map_err(place)
    }

    /// Gives the reserve to what makes room: retention, a deletion, a compaction.
    pub fn release_reserve(&self) -> Result<()> {
        match std::fs::remove_file(&self.reserve) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(self.reserve.display(), e)),
            _ => Ok(()),
        }
    }

    /// Runs what makes room. On a disk that is nearly full the reserve is released before and laid down again after.
    pub fn make_room<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.state()?.level == Level::ReadOnly {
            self.release_reserve()?;
        }
        let result = work();
        if let Err(e) = self.hold_reserve() {
            tracing::warn!(error = %e, "the reserve could not be laid down again");
        }
        result
    }
}

/// Bytes that this process may still write on the disk of a folder.
fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte and the kernel fills the structure when it returns 0.
    #[allow(unsafe_code)]
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        stat.assume_init()
    };
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The width differs between platforms.
    Ok(u64::from(stat.f_bavail).saturating_mul(stat.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn limits() -> Disk {
        Disk { warn_below: ByteSize(2_000), read_only_below: ByteSize(1_000), reserve: ByteSize(100) }
    }

    fn guard(dir: &Path) -> (DiskGuard, Arc<AtomicU64>) {
        let free = Arc::new(AtomicU64::new(1 << 40));
        let seen = free.clone();
        (DiskGuard::with_probe(dir, &limits(), Box::new(move || Ok(seen.load(Ordering::SeqCst)))), free)
    }

    fn level(guard: &DiskGuard) -> Level {
        if let Some((at, _)) = guard.last.lock().unwrap().as_mut() {
            *at = at.checked_sub(READING_KEPT).unwrap();
        }
        guard.state().unwrap().level
    }

    #[test]
    fn the_watermarks_hold_at_their_edges() {
        for (free, want) in [
            (2_000, Level::Ok),
            (1_999, Level::Warn),
            (1_000, Level::Warn),
            (999, Level::ReadOnly),
            (0, Level::ReadOnly),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (g, f) = guard(dir.path());
            f.store(free, Ordering::SeqCst);
            assert_eq!(level(&g), want, "{free}");
            assert_eq!(g.writable().is_ok(), want != Level::ReadOnly, "{free}");
        }
    }

    #[test]
    fn the_state_does_not_flap() {
        let dir = tempfile::tempdir().unwrap();
        let (g, f) = guard(dir.path());
        let at = |free| {
            f.store(free, Ordering::SeqCst);
            level(&g)
        };
        assert_eq!(
            (at(999), at(1_000), at(1_099), at(1_100)),
            (Level::ReadOnly, Level::ReadOnly, Level::ReadOnly, Level::Warn)
        );
        assert_eq!((at(2_000), at(2_199), at(2_200)), (Level::Warn, Level::Warn, Level::Ok));
        let refused = {
            at(0);
            g.writable().unwrap_err()
        };
        assert_eq!(refused.kind(), Kind::ReadOnly);
        assert!(refused.hint_text().unwrap().contains("plugins run"));
    }

    #[test]
    fn the_reserve_is_real_and_released_for_what_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let (g, f) = guard(dir.path());
        let held = || dir.path().join("reserve").metadata().map_or(0, |m| m.len());
        g.hold_reserve().unwrap();
        assert_eq!(held(), 100);
        f.store(500, Ordering::SeqCst);
        g.make_room(|| {
            assert_eq!(held(), 0, "released while room is made");
            f.store(1 << 30, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(held(), 100);
        // Without room above the warning mark it is not laid down: that would make things worse.
        g.release_reserve().unwrap();
        f.store(2_099, Ordering::SeqCst);
        g.hold_reserve().unwrap();
        assert_eq!(held(), 0);
        f.store(2_100, Ordering::SeqCst);
        g.hold_reserve().unwrap();
        assert_eq!(held(), 100);
    }

    #[test]
    fn one_owner_at_a_time_and_a_stale_file_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let lock = FolderLock::acquire(&data).unwrap();
        let busy = FolderLock::acquire(&data).unwrap_err();
        assert_eq!(busy.kind(), Kind::Busy);
        assert!(busy.message().contains(&std::process::id().to_string()), "{busy:?}");
        let of_a_fork = lock.file.try_clone().unwrap();
        drop(lock);
        std::fs::write(data.join("lock"), "999999").unwrap();
        FolderLock::acquire(&data).unwrap();
        drop(of_a_fork);
        assert_eq!(data.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_real_disk_has_room() {
        assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
    }
}
