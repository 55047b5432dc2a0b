//! Files on their way in and out of a backup: hashed while they are copied, synced, and gone again on failure.

use crate::error::{Error, Kind, Result};
use crate::hex;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes of one step.
const STEP_BYTES: usize = 1 << 20;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    pub bytes: u64,
    pub blake3: String,
    /// Only if it was asked for.
    pub sha256: Option<String>,
}

/// Reads to the end, at most one byte more than `bytes_max`, handing each piece on.
pub(super) fn digest(
    source: &mut dyn Read,
    bytes_max: u64,
    sha: bool,
    place: &dyn std::fmt::Display,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Digest> {
    use sha2::Digest as _;
    let mut source = source.take(bytes_max.saturating_add(1));
    let mut step = vec![0; STEP_BYTES];
    let mut out = Digest { bytes: 0, blake3: String::new(), sha256: None };
    let mut blake = blake3::Hasher::new();
    let mut sha256 = sha.then(sha2::Sha256::new);
    loop {
        let n = match source.read(&mut step) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io(place, e)),
        };
        let part = step.get(..n).unwrap_or_default();
        blake.update(part);
        if let Some(sha256) = &mut sha256 {
            sha256.update(part);
        }
        out.bytes += n as u64;
        each(part)?;
    }
    out.blake3 = blake.finalize().to_hex().to_string();
    out.sha256 = sha256.map(|s| hex::encode(s.finalize()));
    Ok(out)
}

/// Copies into a new file for its owner only; durable on return but for its folder's entry.
pub(super) fn copy(
    source: &mut dyn Read,
    to: &Path,
    bytes_max: u64,
    sha: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Digest> {
    let io = |e| Error::io(format!("writing {}", to.display()), e);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(io)?;
    let read = digest(source, bytes_max, sha, &to.display(), &mut |part| {
        file.write_all(part).map_err(io)?;
        progress(part.len() as u64);
        Ok(())
    })?;
    file.sync_all().map_err(io)?;
    Ok(read)
}

/// The digest of a file that is there.
pub(super) fn digest_of(path: &Path) -> Result<Digest> {
    let mut file = File::open(path).map_err(|e| Error::io(path.display(), e))?;
    digest(&mut file, u64::MAX - 1, true, &path.display(), &mut |_| Ok(()))
}

/// Makes a folder and those above it, for their owner only.
pub(super) fn make_dirs(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::io(format!("making {}", path.display()), e))
}

pub(super) fn sync_file(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::io(format!("syncing {}", path.display()), e))
}

/// Syncs every folder below and `root` itself.
pub(super) fn sync_folders(root: &Path) -> Result<()> {
    let io = |e| Error::io(format!("syncing {}", root.display()), e);
    for entry in std::fs::read_dir(root).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_file(root)
}

/// Is there anything at this path, a broken link included?
pub(super) fn exists(path: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(path.display(), e)),
    }
}

/// A folder that is filled beside its place, moved there when it is whole, and removed when it is not.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) path: PathBuf,
    target: PathBuf,
    /// What `drop` removes.
    remove: Option<PathBuf>,
}

impl Partial {
    /// Makes `TARGET.partial`.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let path = beside(target)?;
        if exists(&path)? {
            return Err(Error::conflict(format!("{} exists: an earlier run was cut off", path.display()))
                .hint("look at it, and remove it if nobody works on it"));
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(|e| {
            Error::io(format!("making {}", path.display()), e)
                .hint("the folder that it is in must exist and be writable")
        })?;
        Ok(Self { remove: Some(path.clone()), path, target: target.to_path_buf() })
    }

    /// Syncs everything and moves it into its place. It is still removed on drop until [`Partial::keep`].
    pub(super) fn publish(&mut self) -> Result<()> {
        sync_folders(&self.path)?;
        std::fs::rename(&self.path, &self.target).map_err(|e| {
            Error::io(format!("moving {} to {}", self.path.display(), self.target.display()), e)
        })?;
        self.remove = Some(self.target.clone());
        self.target.parent().map_or(Ok(()), sync_file)
    }

    /// All of it is in place.
    pub(super) fn keep(mut self) {
        self.remove = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.remove.take() {
            if let Err(e) = std::fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), error = %e, "what was left half done could not be removed");
            }
        }
    }
}

/// `NAME.partial`
pub(super) fn beside(target: &Path) -> Result<PathBuf> {
    let mut name = target
        .file_name()
        .ok_or_else(|| {
            Error::invalid(format!("{} has no name", target.display())).hint("give the path of a new folder")
        })?
        .to_os_string();
    name.push(".partial");
    Ok(target.with_file_name(name))
}

/// Opens a database file that nobody writes, without leaving a file beside it.
pub(super) fn open_immutable(path: &Path) -> Result<rusqlite::Connection> {
    use rusqlite::OpenFlags as F;
    let mut uri = String::from("file:");
    for b in path.as_os_str().as_bytes() {
        match b {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(*b)),
            _ => uri.push_str(&format!("%{b:02x}")),
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    let flags = F::SQLITE_OPEN_READ_ONLY | F::SQLITE_OPEN_URI | F::SQLITE_OPEN_NO_MUTEX;
    let named = |e: rusqlite::Error| {
        let error = Error::from(e).context(path.display());
        if error.kind() == Kind::Internal { Error::corrupt(error.message().to_string()) } else { error }
    };
    let connection = rusqlite::Connection::open_with_flags(uri, flags).map_err(named)?;
    // Without trust in what the schema says: a view or trigger of a hostile file calls nothing.
    connection
        .execute_batch("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA query_only=ON")
        .map_err(named)?;
    Ok(connection)
}
