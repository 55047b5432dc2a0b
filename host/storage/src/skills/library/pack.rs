//! Packed and not: what is unpacked is bounded where it is read, so that a small file does not become a large one.

use super::{FILE_BYTES_MAX, unreadable};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};

/// Bytes of a file when it is unpacked: a library of a hundred thousand versions of ten kilobytes.
pub const UNPACKED_BYTES_MAX: u64 = 1 << 30;
/// Bytes that the unpacking of zstd may look back, as a power of two: 16 MiB. Its levels up to 19 need 8.
const WINDOW_LOG_MAX: u32 = 24;
/// Of zstd: fast, and half of what gzip makes of code.
const ZSTD_LEVEL: i32 = 6;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What is unpacked at once.
const BLOCK_BYTES: usize = 256 << 10;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pack {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// The content of a file, whatever it is packed with.
pub(in crate::skills) fn unpacked<'a>(mut input: impl BufRead + 'a) -> Result<Box<dyn BufRead + 'a>> {
    let begin = input.fill_buf().map_err(|e| unreadable(&e, FILE_BYTES_MAX))?;
    if begin.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(
            BLOCK_BYTES,
            flate2::bufread::MultiGzDecoder::new(input),
        )));
    }
    if begin.starts_with(&ZSTD) {
        let wrong = |e: io::Error| Error::internal(format!("unpacking zstd: {e}"));
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(wrong)?;
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(wrong)?;
        return Ok(Box::new(BufReader::with_capacity(BLOCK_BYTES, decoder)));
    }
    Ok(Box::new(input))
}

/// Packs what `write` writes.
pub(super) fn packed<T>(
    pack: Pack,
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let place = |e| Error::io("writing the library", e);
    match pack {
        Pack::None => write(out),
        Pack::Gzip => {
            let mut gz = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            let done = write(&mut gz)?;
            gz.finish().map_err(place)?;
            Ok(done)
        }
        Pack::Zstd => {
            let mut zstd = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL).map_err(place)?;
            zstd.include_checksum(true).map_err(place)?;
            let done = write(&mut zstd)?;
            zstd.finish().map_err(place)?;
            Ok(done)
        }
    }
}
