//! Files that go with their handles: nothing is left of them, however the host ends. What is imported is kept in one, because it is
//! read twice.

use crate::disk::DiskGuard;
use crate::error::{Error, Result};
use crate::locks::lock;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;

/// What is copied at once.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;

/// A file of its own in a folder, for reading and writing.
pub(crate) fn nameless(folder: &Path) -> Result<File> {
    static ONE: Mutex<()> = Mutex::new(());
    // Between its making and the loss of its name it is nobody else's.
    let _one = lock(&ONE);
    let path = folder.join("import.partial");
    let place = |e| Error::io(path.display(), e);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(place)?;
    std::fs::remove_file(&path).map_err(place)?;
    Ok(file)
}

/// Writes `input` to its end into a file and gives its bytes. Of more than `most` it says what `refused` says of
/// [`io::ErrorKind::FileTooLarge`], as of whatever reading fails with. `each` gets every block, and the bytes so far with it.
pub(crate) fn keep(
    input: &mut dyn Read,
    file: &mut File,
    disk: &DiskGuard,
    most: u64,
    refused: &dyn Fn(&io::Error) -> Error,
    each: &mut dyn FnMut(&[u8], u64) -> Result<()>,
) -> Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut bytes = 0_u64;
    loop {
        let read = match input.read(&mut block) {
            Ok(0) => return Ok(bytes),
            Ok(read) => block.get(..read).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(refused(&e)),
        };
        bytes += read.len() as u64;
        if bytes > most {
            return Err(refused(&io::ErrorKind::FileTooLarge.into()));
        }
        disk.writable()?;
        file.write_all(read).map_err(|e| Error::io("keeping the file that is imported", e))?;
        each(read, bytes)?;
    }
}
