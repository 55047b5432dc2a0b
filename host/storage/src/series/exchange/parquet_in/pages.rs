//! The pages of one column of a row group: each is bounded before it is read, again before it is unpacked, and looked at before
//! a decoder sees it.

use super::footer::{Chunk, Leaf, broken, read_at};
use super::thrift::{Bad, Read, Thrift, Type};
use crate::error::{Error, Result};
use bytes::Bytes;
use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::Page;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

/// Bytes of one page before and after it is unpacked. Writers make them of a mebibyte.
pub const PAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of the head of a page, with the statistics that are not looked at.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// What is read at first of it.
const HEAD_BYTES_FIRST: usize = 4 << 10;
/// What a decoder holds of one value of a dictionary, in bytes.
const ENTRY_BYTES: usize = 32;
/// Values that the blocks of a delta encoding may have: writers use 128.
const DELTA_BLOCK_MAX: u64 = 1 << 16;

/// A page, and what it costs.
pub(super) struct Taken {
    pub(super) page: Page,
    /// Rows in it; none in a dictionary.
    pub(super) rows: u64,
    /// Bytes held as long as it is the present one.
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Pages {
    file: Arc<File>,
    leaf: Leaf,
    codec: i64,
    at: u64,
    end: u64,
    /// Rows that are still to come.
    left: u64,
    dictionary: bool,
}

#[derive(Debug, Default)]
struct Head {
    kind: i64,
    unpacked: i64,
    packed: i64,
    data: Option<Data>,
    dictionary: Option<(i64, i64)>,
}

/// Of a page with values.
#[derive(Debug, Clone, Copy)]
struct Data {
    values: i64,
    nulls: i64,
    encoding: i64,
    /// Bytes before the values in the second version of the format; `None` in the first.
    levels: Option<(i64, i64)>,
    level_encoding: i64,
    packed: bool,
}

fn encoding(number: i64) -> Option<Encoding> {
    Some(match number {
        0 => Encoding::PLAIN,
        2 | 8 => Encoding::RLE_DICTIONARY,
        3 => Encoding::RLE,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        // 7, DELTA_BYTE_ARRAY, is not among them: a few bytes make texts of any size.
        _ => return None,
    })
}

impl Pages {
    pub(super) fn new(file: Arc<File>, leaf: &Leaf, chunk: Chunk, rows: u64) -> Result<Self> {
        if !matches!(chunk.codec, 0 | 1 | 2 | 6) {
            let name = match chunk.codec {
                3 => "LZO",
                4 => "Brotli",
                5 | 7 => "LZ4",
                _ => "an unknown method",
            };
            return Err(Error::invalid(format!("the column `{}` is compressed with {name}", leaf.name))
                .hint("write the file with zstd, snappy, gzip or without compression"));
        }
        let Chunk { codec, start, end } = chunk;
        Ok(Self { file, leaf: leaf.clone(), codec, at: start, end, left: rows, dictionary: false })
    }

    fn wrong(&self, why: &str) -> Error {
        broken(&format!("column `{}`: {why}", self.leaf.name))
    }

    /// The next page that holds something, `None` after the last row.
    pub(super) fn next(&mut self) -> Result<Option<Taken>> {
        while self.left > 0 {
            let (head, bytes) = self.read()?;
            let taken = match head.kind {
                0 | 3 => self.data(&head, &bytes)?,
                2 => Some(self.dictionary(&head, &bytes)?),
                // Indexes of pages and what is to come.
                _ => None,
            };
            if let Some(taken) = taken {
                self.left -= taken.rows;
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// The head of the next page, and its bytes as they lie in the file.
    fn read(&mut self) -> Result<(Head, Vec<u8>)> {
        let room = self.end - self.at;
        if room == 0 {
            return Err(self.wrong("it has fewer values than rows"));
        }
        let within = |most: usize| usize::try_from(room).unwrap_or(usize::MAX).min(most);
        let mut bytes = Vec::new();
        let mut read = (Err(Bad::Short), 0);
        for most in [HEAD_BYTES_FIRST, HEAD_BYTES_MAX] {
            bytes.resize(within(most), 0);
            read_at(&self.file, &mut bytes, self.at)?;
            read = head(&bytes);
            if !matches!(read.0, Err(Bad::Short)) || bytes.len() < most {
                break;
            }
        }
        let (head, length) = read;
        let head = head.map_err(|bad| match bad {
            Bad::Short => self.wrong("the head of a page is too long or ends early"),
            Bad::Wrong(why) => self.wrong(&format!("the head of a page has {why}")),
        })?;
        let size = |n: i64| usize::try_from(n).ok().filter(|n| *n <= PAGE_BYTES_MAX);
        let (Some(packed), Some(_)) = (size(head.packed), size(head.unpacked)) else {
            return Err(Error::limit(
                format!("a page of the column `{}`", self.leaf.name),
                format!("{PAGE_BYTES_MAX} bytes"),
                "write the file with smaller pages (pyarrow: data_page_size)",
            ));
        };
        let start = self.at + length as u64;
        let end = start.checked_add(packed as u64).filter(|end| *end <= self.end);
        self.at = end.ok_or_else(|| self.wrong("a page ends behind its column"))?;
        let mut page = vec![0; packed];
        read_at(&self.file, &mut page, start)?;
        Ok((head, page))
    }

    fn unpack(&self, bytes: &[u8], size: usize) -> Result<Vec<u8>> {
        unpack(self.codec, bytes, size)
            .filter(|out| out.len() == size)
            .ok_or_else(|| self.wrong("a page does not unpack to the size that it says"))
    }

    fn dictionary(&mut self, head: &Head, bytes: &[u8]) -> Result<Taken> {
        let (values, of) = head.dictionary.ok_or_else(|| self.wrong("a page without a head"))?;
        if std::mem::replace(&mut self.dictionary, true) {
            return Err(self.wrong("it has two dictionaries"));
        }
        let unpacked = self.unpack(bytes, usize::try_from(head.unpacked).unwrap_or_default())?;
        let width = match self.leaf.physical {
            Physical::BOOLEAN => return Err(self.wrong("booleans have no dictionary")),
            Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 4,
            Physical::INT64 | Physical::DOUBLE => 8,
            Physical::INT96 => 12,
            Physical::FIXED_LEN_BYTE_ARRAY => self.leaf.length,
        };
        let count = u32::try_from(values).ok().filter(|n| *n as usize <= unpacked.len() / width);
        let num_values = count.ok_or_else(|| self.wrong("its dictionary has fewer values than it says"))?;
        if !matches!(of, 0 | 2) {
            return Err(self.wrong("its dictionary is encoded in an unknown way"));
        }
        let bytes = unpacked.len() + num_values as usize * ENTRY_BYTES;
        let page = Page::DictionaryPage {
            buf: Bytes::from(unpacked),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        Ok(Taken { page, rows: 0, bytes })
    }

    fn data(&self, head: &Head, bytes: &[u8]) -> Result<Option<Taken>> {
        let data = head.data.ok_or_else(|| self.wrong("a page without a head"))?;
        let rows = u32::try_from(data.values).ok().filter(|n| u64::from(*n) <= self.left);
        let num_values = rows.ok_or_else(|| self.wrong("it has more values than rows"))?;
        if num_values == 0 {
            return Ok(None);
        }
        let of = encoding(data.encoding).ok_or_else(|| {
            Error::invalid(format!(
                "the column `{}` is encoded in a way that is not read (number {})",
                self.leaf.name, data.encoding
            ))
            .hint("write it with the encodings PLAIN or RLE_DICTIONARY")
        })?;
        let unpacked_size = usize::try_from(head.unpacked).unwrap_or_default();
        let (page, held) = match data.levels {
            None => {
                let unpacked = self.unpack(bytes, unpacked_size)?;
                if self.leaf.optional && data.level_encoding != 3 {
                    return Err(self.wrong("its nulls are encoded in an outdated way"));
                }
                let values = if self.leaf.optional { after_levels(&unpacked) } else { Some(&*unpacked) };
                let values = values.ok_or_else(|| self.wrong("a page ends within its levels"))?;
                let of = self.look(of, values, num_values)?;
                let held = unpacked.len();
                let page = Page::DataPage {
                    buf: Bytes::from(unpacked),
                    num_values,
                    encoding: of,
                    def_level_encoding: Encoding::RLE,
                    rep_level_encoding: Encoding::RLE,
                    statistics: None,
                };
                (page, held)
            }
            Some((definition, repetition)) => {
                let length =
                    usize::try_from(definition).ok().filter(|n| *n <= bytes.len().min(unpacked_size));
                let length = length.filter(|_| repetition == 0);
                let length = length.ok_or_else(|| self.wrong("a page ends within its levels"))?;
                let (levels, rest) = bytes.split_at(length);
                let size = unpacked_size - length;
                let values = if !data.packed || (rest.is_empty() && size == 0) {
                    rest.to_vec()
                } else {
                    self.unpack(rest, size)?
                };
                let nulls = u32::try_from(data.nulls).ok().filter(|n| *n <= num_values);
                let num_nulls = nulls.ok_or_else(|| self.wrong("a page has more nulls than values"))?;
                let of = self.look(of, &values, num_values)?;
                let buf = [levels, &values].concat();
                let held = buf.len();
                let page = Page::DataPageV2 {
                    buf: Bytes::from(buf),
                    num_values,
                    encoding: of,
                    num_nulls,
                    num_rows: num_values,
                    def_levels_byte_len: u32::try_from(length).unwrap_or(u32::MAX),
                    rep_levels_byte_len: 0,
                    is_compressed: false,
                    statistics: None,
                };
                (page, held)
            }
        };
        Ok(Some(Taken { page, rows: u64::from(num_values), bytes: held }))
    }

    /// How the values are to be read. Refuses what a decoder would make room for before it looks.
    fn look(&self, of: Encoding, values: &[u8], rows: u32) -> Result<Encoding> {
        match of {
            // Nothing but nulls: the decoders of other encodings want a head.
            _ if values.is_empty() => Ok(Encoding::PLAIN),
            Encoding::RLE_DICTIONARY if !self.dictionary && values.len() == 1 => Ok(Encoding::PLAIN),
            Encoding::RLE_DICTIONARY if !self.dictionary => {
                Err(self.wrong("its values are in a dictionary that is not there"))
            }
            Encoding::RLE_DICTIONARY if values.first().is_some_and(|width| *width > 32) => {
                Err(self.wrong("its places in the dictionary are too wide"))
            }
            Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                let mut t = Thrift::new(values);
                let mut next = || t.unsigned().unwrap_or(u64::MAX);
                let (block, parts, count) = (next(), next(), next());
                if block <= DELTA_BLOCK_MAX && parts <= block && count <= u64::from(rows) {
                    return Ok(of);
                }
                Err(self.wrong("its differences come in blocks without a bound"))
            }
            _ => Ok(of),
        }
    }
}

/// What follows the levels, which have their length in front.
fn after_levels(page: &[u8]) -> Option<&[u8]> {
    let (length, rest) = page.split_first_chunk::<4>()?;
    rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
}

fn head(bytes: &[u8]) -> (Read<Head>, usize) {
    let mut t = Thrift::new(bytes);
    let mut head = Head::default();
    let read = t.structure(Type::STRUCT, |t, id, of| {
        match id {
            1 => head.kind = t.int(of)?,
            2 => head.unpacked = t.int(of)?,
            3 => head.packed = t.int(of)?,
            5 => head.data = Some(first_version(t, of)?),
            7 => {
                let (mut values, mut encoding) = (0, 0);
                t.structure(of, |t, id, of| {
                    match id {
                        1 => values = t.int(of)?,
                        2 => encoding = t.int(of)?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                head.dictionary = Some((values, encoding));
            }
            8 => head.data = Some(second_version(t, of)?),
            _ => return Ok(false),
        }
        Ok(true)
    });
    (read.map(|()| head), bytes.len() - t.left())
}

fn first_version(t: &mut Thrift<'_>, of: Type) -> Read<Data> {
    let mut d = Data { values: 0, nulls: 0, encoding: -1, levels: None, level_encoding: -1, packed: true };
    t.structure(of, |t, id, of| {
        match id {
            1 => d.values = t.int(of)?,
            2 => d.encoding = t.int(of)?,
            3 => d.level_encoding = t.int(of)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(d)
}

fn second_version(t: &mut Thrift<'_>, of: Type) -> Read<Data> {
    let mut d =
        Data { values: 0, nulls: 0, encoding: -1, levels: Some((0, 0)), level_encoding: 3, packed: true };
    let (mut definition, mut repetition) = (0, 0);
    t.structure(of, |t, id, of| {
        match id {
            1 => d.values = t.int(of)?,
            2 => d.nulls = t.int(of)?,
            4 => d.encoding = t.int(of)?,
            5 => definition = t.int(of)?,
            6 => repetition = t.int(of)?,
            7 => d.packed = Thrift::boolean(of)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    d.levels = Some((definition, repetition));
    Ok(d)
}

/// At most `size` bytes and one more; `None` where they do not unpack.
fn unpack(codec: i64, bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    match codec {
        0 => Some(bytes.to_vec()),
        1 => {
            if snap::raw::decompress_len(bytes).ok()? != size {
                return None;
            }
            let mut out = vec![0; size];
            let written = snap::raw::Decoder::new().decompress(bytes, &mut out).ok()?;
            out.truncate(written);
            Some(out)
        }
        2 => {
            let mut out = Vec::with_capacity(size);
            let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(size as u64 + 1);
            reader.read_to_end(&mut out).ok()?;
            Some(out)
        }
        6 => {
            // It stops where the room ends.
            let mut out = Vec::with_capacity(size);
            let mut decoder = zstd::bulk::Decompressor::new().ok()?;
            decoder.decompress_to_buffer(bytes, &mut out).ok()?;
            Some(out)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn every_method_unpacks_to_what_was_packed_and_never_to_more() {
        let content = vec![7_u8; 100_000];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&content).unwrap();
        let packed = [
            (1, snap::raw::Encoder::new().compress_vec(&content).unwrap()),
            (2, gz.finish().unwrap()),
            (6, zstd::bulk::compress(&content, 3).unwrap()),
        ];
        for (codec, bytes) in packed {
            assert_eq!(unpack(codec, &bytes, content.len()).as_ref(), Some(&content), "{codec}");
            for size in [0, 1, content.len() - 1] {
                let out = unpack(codec, &bytes, size);
                assert!(out.is_none_or(|out| out.len() == size + 1), "{codec} {size}");
            }
            assert!(unpack(codec, &bytes, content.len() + 1).is_none_or(|out| out.len() == content.len()));
            let half = bytes.get(..bytes.len() / 2).unwrap();
            assert!(unpack(codec, half, content.len()).is_none_or(|o| o.len() < content.len()), "{codec}");
        }
    }
}
