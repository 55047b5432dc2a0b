//! The body of a request as a file: what is checked first and written then is read more than once. The file has no name, so that
//! nothing is left of it, however the host ends.

use crate::disk::DiskGuard;
use crate::error::{Error, Kind, Result};
use crate::nameless::{BLOCK_BYTES, keep, nameless};
use crate::units::ByteSize;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// How a file that gzip wrote begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file without a name, and the digest of its bytes.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    file: Arc<File>,
    pub(super) bytes: u64,
    pub(super) digest: blake3::Hash,
}

impl Spooled {
    /// Copies `input`, unpacked if gzip wrote it, into the folder. `progress` gets bytes so far.
    pub(super) fn copy(
        input: &mut dyn Read,
        folder: &Path,
        most: ByteSize,
        disk: &DiskGuard,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let mut file = nameless(folder)?;
        let mut input = BufReader::with_capacity(BLOCK_BYTES, input);
        let packed = input.fill_buf().map_err(|e| unreadable(&e, most))?.starts_with(&GZIP);
        let mut input: Box<dyn Read + '_> =
            if packed { Box::new(flate2::read::MultiGzDecoder::new(input)) } else { Box::new(input) };
        let mut hasher = blake3::Hasher::new();
        let bytes =
            keep(&mut input, &mut file, disk, most.0, &|e| unreadable(e, most), &mut |read, bytes| {
                hasher.update(read);
                progress(bytes);
                Ok(())
            })?;
        Ok(Self { file: Arc::new(file), bytes, digest: hasher.finalize() })
    }

    pub(super) const fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(to, at)
    }
}

fn too_large(most: ByteSize) -> Error {
    Error::limit(
        "the file that is imported",
        format!("limits.import_file = {most}"),
        "import it in parts, or raise `limits.import_file` in shiphold.toml",
    )
}

fn unreadable(e: &io::Error, most: ByteSize) -> Error {
    match e.kind() {
        io::ErrorKind::FileTooLarge => too_large(most),
        io::ErrorKind::TimedOut => Error::new(Kind::Timeout, format!("the file: {e}")),
        _ => Error::invalid(format!("the file cannot be read to its end: {e}")).hint("send it again"),
    }
}
