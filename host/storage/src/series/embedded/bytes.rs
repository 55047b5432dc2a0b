//! Little-endian bytes in and out, bits, and the envelope with a checksum. Every length is checked before it
//! is used: what is read here may have been damaged or forged.

use crate::error::{Error, Result};

/// Bytes of a checksum: BLAKE3, cut.
pub(super) const DIGEST_BYTES: usize = 16;
/// Kind, version, checksum.
pub(super) const ENVELOPE_BYTES: usize = 2 + DIGEST_BYTES;

pub(super) type Digest = [u8; DIGEST_BYTES];

/// The checksum of bytes.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    blake3::hash(bytes).as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Starts what [`close`] finishes: a kind, a version of its format, room for the checksum.
pub(super) fn envelope(kind: u8, version: u8, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + capacity);
    out.extend_from_slice(&[kind, version]);
    out.extend_from_slice(&[0; DIGEST_BYTES]);
    out
}

/// Puts the checksum of all that was written into its place.
pub(super) fn close(mut out: Vec<u8>) -> Vec<u8> {
    if let Some((head, body)) = out.split_at_mut_checked(ENVELOPE_BYTES) {
        for (to, from) in head.iter_mut().skip(2).zip(digest(body)) {
            *to = from;
        }
    }
    out
}

/// The version and body of an envelope of this kind whose checksum is right. Every version up to the newest is read.
pub(super) fn open(bytes: &[u8], kind: u8, newest: u8) -> Result<(u8, Input<'_>)> {
    let (head, body) = bytes.split_at_checked(ENVELOPE_BYTES).ok_or_else(short)?;
    let version = match head {
        [k, v, ..] if *k == kind => *v,
        _ => return Err(Error::corrupt("it is of another kind")),
    };
    if !(1..=newest).contains(&version) {
        return Err(Error::corrupt(format!(
            "its format is version {version}, this binary reads up to {newest}"
        )));
    }
    if head.iter().skip(2).ne(&digest(body)) {
        return Err(Error::corrupt("its checksum does not match"));
    }
    Ok((version, Input { rest: body }))
}

/// A checksum that fits a SQLite integer.
pub(super) fn checksum(words: &[i64]) -> i64 {
    short_digest(words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>().as_slice())
}

/// The start of a digest, as a SQLite integer.
pub(super) fn short_digest(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(blake3::hash(bytes).as_bytes().first_chunk::<8>().copied().unwrap_or_default())
}

fn short() -> Error {
    Error::corrupt("it ends too early")
}

/// Bytes that are read from front to back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn of(rest: &'a [u8]) -> Self {
        Self { rest }
    }
    /// What was not read yet.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }
    /// Where it stands in `whole`, of which it is the end.
    pub(super) fn place_in(&self, whole: &[u8]) -> usize {
        whole.len().saturating_sub(self.rest.len())
    }
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(short)?;
        self.rest = rest;
        Ok(taken)
    }
    /// `n` things of `each` bytes.
    pub(super) fn take_many(&mut self, n: usize, each: usize) -> Result<&'a [u8]> {
        self.take(n.checked_mul(each).ok_or_else(short)?)
    }
    /// The next `n` bytes as an input of their own.
    pub(super) fn part(&mut self, n: usize) -> Result<Self> {
        Ok(Self { rest: self.take(n)? })
    }
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.first_chunk::<N>().copied().ok_or_else(short)
    }
    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }
    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub(super) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }
    /// A `u32` that counts or measures something in memory.
    pub(super) fn len(&mut self) -> Result<usize> {
        usize::try_from(self.u32()?).map_err(|_| short())
    }
    /// Nothing may follow.
    pub(super) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::corrupt("bytes follow after its end")) }
    }
}

/// A length or count; what is written is bounded far below 2³².
pub(super) fn put_len(out: &mut Vec<u8>, n: usize) -> Result<()> {
    let n = u32::try_from(n).map_err(|_| Error::internal(format!("{n} does not fit the format")))?;
    out.extend_from_slice(&n.to_le_bytes());
    Ok(())
}

/// A number of eight bytes.
pub(super) trait Word: Copy + Default + Send {
    fn to_bytes(self) -> [u8; 8];
    fn from_bytes(bytes: [u8; 8]) -> Self;
}

macro_rules! word {
    ($($t:ty),*) => { $(impl Word for $t {
        fn to_bytes(self) -> [u8; 8] { self.to_le_bytes() }
        fn from_bytes(bytes: [u8; 8]) -> Self { <$t>::from_le_bytes(bytes) }
    })* };
}
word!(i64, u64, f64);

/// The numbers as they are in memory.
pub(super) fn put_words<T: Word>(out: &mut Vec<u8>, values: &[T]) {
    let from = out.len();
    out.resize(from + values.len() * 8, 0);
    if let Some(room) = out.get_mut(from..) {
        // Compiles to a copy of memory.
        for (to, value) in room.as_chunks_mut::<8>().0.iter_mut().zip(values) {
            *to = value.to_bytes();
        }
    }
}

pub(super) fn get_words<T: Word>(bytes: &[u8]) -> Vec<T> {
    bytes.as_chunks::<8>().0.iter().map(|b| T::from_bytes(*b)).collect()
}

/// Bytes of so many bits.
pub(super) fn bits_len(n: usize) -> usize {
    n.div_ceil(8)
}

pub(super) fn put_bits(out: &mut Vec<u8>, bits: &[bool]) {
    out.extend(
        bits.chunks(8).map(|eight| eight.iter().enumerate().fold(0_u8, |b, (i, v)| b | (u8::from(*v) << i))),
    );
}

/// `n` bits; the bits after them must be zero.
pub(super) fn get_bits(bytes: &[u8], n: usize) -> Result<Vec<bool>> {
    if bytes.len() != bits_len(n) {
        return Err(short());
    }
    let mut out: Vec<bool> = bytes.iter().flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1)).collect();
    if out.iter().skip(n).any(|b| *b) {
        return Err(Error::corrupt("bits are set after the last row"));
    }
    out.truncate(n);
    Ok(out)
}
