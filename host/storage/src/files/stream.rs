//! Bytes on their way in and out: hashed as they pass, and never short without an error.

use super::disk::{Area, ObjectDisk, ObjectRead, TmpFile};
use super::types::{StoreConfig, full};
use crate::error::{Error, Result};
use std::io::{self, Read, Write as _};

/// Bytes of one step of a stream.
const STEP_BYTES: usize = 256 << 10;

/// A file in `tmp/` that this value made and takes away again, unless it was moved.
pub(super) struct Tmp<'a> {
    disk: &'a dyn ObjectDisk,
    name: String,
    moved: bool,
}

impl<'a> Tmp<'a> {
    /// An empty file of this name, and what writes to it.
    pub(super) fn create(disk: &'a dyn ObjectDisk, name: String) -> io::Result<(Self, Box<dyn TmpFile>)> {
        let file = disk.create_tmp(&name)?;
        // From here on it is ours: a name that was taken is another's file and stays.
        Ok((Self { disk, name, moved: false }, file))
    }

    /// Writes and syncs what `content` gives; the file, its hash and its size in bytes.
    pub(super) fn write(
        disk: &'a dyn ObjectDisk,
        name: String,
        (store, path): (&str, &str),
        content: &mut dyn Read,
        config: &StoreConfig,
    ) -> Result<(Self, String, u64)> {
        let io = |e| Error::io(format!("storing `{store}/{path}`"), e);
        let (tmp, mut file) = Self::create(disk, name).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        let mut step = vec![0; STEP_BYTES];
        let mut size = 0_u64;
        loop {
            let n = match content.read(&mut step) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    return Err(Error::io(format!("reading what is to be stored as `{store}/{path}`"), e));
                }
            };
            let part = step
                .get(..n)
                .ok_or_else(|| Error::internal(format!("the content of `{store}/{path}` gave {n} bytes")))?;
            size = size.saturating_add(n as u64);
            within((store, path), size, config)?;
            // Less may be there already and need no room; so much cannot be.
            if size > config.quota_bytes {
                return Err(full(store, config.quota_bytes));
            }
            hasher.update(part);
            file.write_all(part).map_err(io)?;
        }
        file.sync().map_err(io)?;
        Ok((tmp, hasher.finalize().to_hex().to_string(), size))
    }

    /// Moves it into its place, durably.
    pub(super) fn publish(mut self, area: Area, name: &str) -> io::Result<()> {
        // Over an object that is there already: the content is the same, and if that one was damaged it is healed.
        self.disk.publish(&self.name, area, name)?;
        self.moved = true;
        self.disk.sync_folder_of(area, name)
    }
}

/// Refuses content that is larger than a file of this store may be.
pub(super) fn within((store, path): (&str, &str), size: u64, config: &StoreConfig) -> Result<()> {
    if size <= config.file_bytes_max {
        return Ok(());
    }
    Err(Error::limit(
        format!("the file `{store}/{path}`"),
        format!("{} bytes", config.file_bytes_max),
        format!("raise `files.{store}.file_max` in shiphold.toml"),
    ))
}

impl Drop for Tmp<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // What stays is removed at the next start.
            let _ = self.disk.remove_tmp(&self.name);
        }
    }
}

/// Hashes what it gives; the end is an error when the hash or the size is not what it must be.
pub(super) struct Verifying<R> {
    object: R,
    hasher: blake3::Hasher,
    left: u64,
    hash: String,
    name: String,
}

impl<R: Read> Verifying<R> {
    pub(super) fn new(object: R, size: u64, hash: String, name: String) -> Self {
        Self { object, hasher: blake3::Hasher::new(), left: size, hash, name }
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.object.read(buffer)?;
        let damaged = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the object {} of `{}` is damaged", self.hash, self.name),
            )
        };
        if n == 0 {
            let whole = self.left == 0 && self.hasher.finalize().to_hex().as_str() == self.hash;
            return if whole { Ok(0) } else { Err(damaged()) };
        }
        self.left = self.left.checked_sub(n as u64).ok_or_else(damaged)?;
        self.hasher.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Gives exactly so many bytes; an object that ends before is an error, not a short answer.
pub(super) struct Exact {
    object: Box<dyn ObjectRead>,
    left: u64,
    name: String,
}

impl Exact {
    pub(super) fn new(object: Box<dyn ObjectRead>, bytes: u64, name: String) -> Self {
        Self { object, left: bytes, name }
    }
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(part) = buffer.get_mut(..want).filter(|p| !p.is_empty()) else { return Ok(0) };
        let n = self.object.read(part)?;
        if n == 0 {
            let what = format!("the object of `{}` ends {} bytes early", self.name, self.left);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

/// Is told of the bytes of each step of a stream, and may wait.
pub(super) type Step<'a> = &'a mut dyn FnMut(u64);

/// What is wrong with an object in a file of its own, if anything. An error says nothing of the object.
pub(super) fn damage(
    disk: &dyn ObjectDisk,
    hash: &str,
    size: u64,
    step: Step<'_>,
) -> io::Result<Option<String>> {
    let mut object = match disk.open(Area::Objects, hash) {
        Ok(o) => o,
        Err(e) => return lost(e).map(Some),
    };
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; STEP_BYTES];
    let mut read = 0_u64;
    loop {
        let n = match object.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(buffer.get(..n).unwrap_or_default());
        read = read.saturating_add(n as u64);
        step(n as u64);
        // One that grew is not read for ever.
        if read > size {
            break;
        }
    }
    if read != size {
        let more = if read > size { "more than " } else { "" };
        return Ok(Some(format!("it has {more}{} bytes instead of {size}", read.min(size))));
    }
    let same = hasher.finalize().to_hex().as_str() == hash;
    Ok((!same).then(|| "its content does not match its hash".into()))
}

/// What is wrong with a file that could not be opened: it is not there, or something else is. Any other error may be of the moment, or of
/// the machine.
pub(super) fn lost(e: io::Error) -> io::Result<String> {
    match e.kind() {
        io::ErrorKind::NotFound => Ok("it is missing".into()),
        io::ErrorKind::InvalidData => Ok(e.to_string()),
        _ => Err(e),
    }
}
