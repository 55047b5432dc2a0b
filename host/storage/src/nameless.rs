//! Files that go with their handles: nothing is left of them, however the host ends.

use crate::error::{Error, Result};
use crate::locks::lock;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;

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
