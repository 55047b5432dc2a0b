//! The body of a chunk as it is stored, of which only what is asked for is read.
//!
//! A head, which is an envelope of its own: its length, rows, first and last time, number of columns; the length and
//! checksum of the times, and of each column its field, its type, its length and its checksum. Then the times and the
//! columns. So columns that are not asked for are not read, and those that are are checked by whoever decodes them.
//!
//! Until version 2 one envelope held all: the times follow the number of columns, and the bytes of each column its length.

use super::bounds::CHUNK_ROWS_MAX;
use super::bytes::{self, DIGEST_BYTES, Digest, ENVELOPE_BYTES, Input, digest};
use super::chunk::{Chunk, Wanted};
use super::codec::{skip_numbers, type_of_code};
use crate::error::{Error, Result};
use crate::series::FieldType;
use std::ops::Range;

pub(super) const KIND: u8 = b'C';
/// Version 1 has no numbers that are narrowed; else it is version 2.
pub(super) const VERSION: u8 = 3;
/// The first version whose head is an envelope.
const WITH_HEAD: u8 = 3;
/// Bytes that are read first: the head of most chunks.
const HEAD_BYTES: usize = 4 << 10;
/// What stands before the columns of a head: its length, rows, two times, the number of columns; length and checksum of the times.
pub(super) const FIXED_BYTES: usize = 4 + 4 + 8 + 8 + 4 + 4 + DIGEST_BYTES;
/// Of each column: field, type, length, checksum.
pub(super) const COLUMN_BYTES: usize = 4 + 1 + 4 + DIGEST_BYTES;
/// Columns that are not wanted are read too where they are so short: another read would cost more.
const GAP_BYTES_MAX: usize = 4 << 10;

/// Where the body of a chunk is read from.
pub(super) trait Stored {
    fn len(&self) -> usize;
    /// Bytes that are all there.
    fn read(&self, at: usize, len: usize) -> Result<Vec<u8>>;
}

impl Stored for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }
    fn read(&self, at: usize, len: usize) -> Result<Vec<u8>> {
        self.get(at..at.saturating_add(len)).map(<[u8]>::to_vec).ok_or_else(short)
    }
}

fn short() -> Error {
    Error::corrupt("it ends too early")
}

/// What of a chunk's body is needed, read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub rows: usize,
    pub min: i64,
    pub max: i64,
    /// What was read, in one piece or several.
    pub parts: Vec<Vec<u8>>,
    pub times: Place,
    /// All that there are.
    pub columns: Vec<Column>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub field: u32,
    pub of: FieldType,
    /// `None`: it was not read.
    pub place: Option<Place>,
}

/// Where bytes are in the parts that were read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    part: usize,
    at: Range<usize>,
    /// `None`: they were checked.
    digest: Option<Digest>,
}

impl Place {
    pub(super) fn checked<'a>(&self, parts: &'a [Vec<u8>]) -> Result<&'a [u8]> {
        let bytes = parts.get(self.part).and_then(|part| part.get(self.at.clone())).ok_or_else(short)?;
        if self.digest.is_some_and(|want| digest(bytes) != want) {
            return Err(Error::corrupt("the checksum of a column does not match"));
        }
        Ok(bytes)
    }
}

/// Reads what is needed of the body of `chunk`.
pub(super) fn load(stored: &impl Stored, chunk: &Chunk, wanted: Wanted<'_>) -> Result<Loaded> {
    let mut first = stored.read(0, stored.len().min(HEAD_BYTES))?;
    if first.get(1).is_some_and(|version| *version > VERSION) {
        bytes::open(&first, KIND, VERSION)?;
    }
    let loaded = if first.get(1).is_some_and(|version| *version >= WITH_HEAD) {
        let head_len = Input::of(first.get(ENVELOPE_BYTES..).unwrap_or_default()).len()?;
        if head_len > stored.len() {
            return Err(short());
        }
        if head_len > first.len() {
            first.extend(stored.read(first.len(), head_len - first.len())?);
        }
        let head = first.get(..head_len).ok_or_else(short)?;
        load_columns(stored, &first, head, wanted)?
    } else {
        let more = stored.len() - first.len();
        if more > 0 {
            first.extend(stored.read(first.len(), more)?);
        }
        whole(first)?
    };
    if loaded.rows > CHUNK_ROWS_MAX
        || loaded.rows != usize::try_from(chunk.rows()).unwrap_or(0)
        || loaded.min != chunk.min
        || loaded.max != chunk.max
    {
        return Err(Error::corrupt("its rows or times are not those of its row in the database"));
    }
    Ok(loaded)
}

/// `first`: what was read already, of which the head is the start.
fn load_columns(stored: &impl Stored, first: &[u8], head: &[u8], wanted: Wanted<'_>) -> Result<Loaded> {
    let (_, mut input) = bytes::open(head, KIND, VERSION)?;
    input.len()?;
    let rows = input.len()?;
    let (min, max) = (input.i64()?, input.i64()?);
    let lanes = input.len()?;
    let (mut at, end) = (head.len(), stored.len());
    let mut reads = Reads::default();
    let mut next = |reads: &mut Reads, len: usize, digest: Digest, wanted: bool| {
        let from = at;
        at = at.checked_add(len).filter(|to| *to <= end).ok_or_else(short)?;
        Ok::<_, Error>(wanted.then(|| reads.place(from..at, digest)))
    };
    let (len, digest) = (input.len()?, input.array()?);
    let times = next(&mut reads, len, digest, true)?.ok_or_else(short)?;
    let mut columns = Vec::new();
    for _ in 0..lanes {
        let field = input.u32()?;
        let of = type_of_code(input.u8()?)?;
        let (len, digest) = (input.len()?, input.array()?);
        let wanted = wanted.fields.is_none_or(|f| f.contains(&field));
        columns.push(Column { field, of, place: next(&mut reads, len, digest, wanted)? });
    }
    input.end()?;
    if at != end {
        return Err(Error::corrupt("bytes follow after its end"));
    }
    let part = |of: &Range<usize>| match first.get(of.clone()) {
        Some(have) => Ok(have.to_vec()),
        None => stored.read(of.start, of.len()),
    };
    let parts = reads.parts.iter().map(part).collect::<Result<_>>()?;
    Ok(Loaded { rows, min, max, parts, times, columns })
}

/// Parts of a body that are read each at once.
#[derive(Debug, Default)]
struct Reads {
    parts: Vec<Range<usize>>,
}

impl Reads {
    /// They come in the order in which they are stored.
    fn place(&mut self, at: Range<usize>, digest: Digest) -> Place {
        match self.parts.last_mut() {
            Some(last) if at.start - last.end <= GAP_BYTES_MAX => last.end = at.end,
            _ => self.parts.push(at.clone()),
        }
        let part = self.parts.len() - 1;
        let from = self.parts.last().map_or(0, |last| last.start);
        Place { part, at: at.start - from..at.end - from, digest: Some(digest) }
    }
}

/// A body without a head of its own.
fn whole(body: Vec<u8>) -> Result<Loaded> {
    let (_, mut input) = bytes::open(&body, KIND, WITH_HEAD - 1)?;
    let rows = input.len()?;
    let (min, max) = (input.i64()?, input.i64()?);
    let lanes = input.len()?;
    let place = |at| Place { part: 0, at, digest: None };
    let from = input.place_in(&body);
    skip_numbers(&mut input)?;
    let times = place(from..input.place_in(&body));
    let mut columns = Vec::new();
    for _ in 0..lanes {
        let field = input.u32()?;
        let of = type_of_code(input.u8()?)?;
        let len = input.len()?;
        let from = input.place_in(&body);
        input.take(len)?;
        columns.push(Column { field, of, place: Some(place(from..from + len)) });
    }
    input.end()?;
    Ok(Loaded { rows, min, max, parts: vec![body], times, columns })
}

/// With every checksum right, as far as it can be found what they are of.
#[cfg(test)]
pub(super) fn mend(mut body: Vec<u8>) -> Vec<u8> {
    let len = |body: &[u8], at: usize| {
        body.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b) as usize)
    };
    if body.get(1) != Some(&VERSION) {
        return bytes::close(body);
    }
    let head_len = len(&body, ENVELOPE_BYTES);
    // The times have a length and a checksum as the columns do.
    let mut entry = ENVELOPE_BYTES + FIXED_BYTES - DIGEST_BYTES - 4;
    let mut from = head_len;
    while entry + 4 + DIGEST_BYTES <= head_len.min(body.len()) {
        let to = from.saturating_add(len(&body, entry));
        let Some(found) = body.get(from..to).map(digest) else { break };
        body[entry + 4..entry + 4 + DIGEST_BYTES].copy_from_slice(&found);
        // The next one has a field and a type before its length.
        (from, entry) = (to, entry + COLUMN_BYTES);
    }
    let head = head_len.clamp(ENVELOPE_BYTES, body.len().max(ENVELOPE_BYTES));
    if let Some(found) = body.get(ENVELOPE_BYTES..head).map(digest) {
        body[2..ENVELOPE_BYTES].copy_from_slice(&found);
    }
    body
}
