//! Where a page of an answer ended, so that the next one goes on there.
//!
//! It names the last row by its series and time, not by a number of rows: rows that are written or deleted meanwhile move
//! nothing. To a caller it is a word without meaning, in hexadecimal:
//! a version byte, 8 bytes of what the query asks, 8 bytes of the time, then bucket, measurement, tag, value and so on, each with
//! 4 bytes of its length before it; all little-endian.

use super::ast::Query;
use crate::error::{Error, Result};
use crate::hex;
use crate::series::SeriesKey;

/// Bytes of a cursor as text. A series' key has 64 KiB at most, so none that a page gives is longer.
pub const CURSOR_BYTES_MAX: usize = 256 << 10;
const VERSION: u8 = 1;

/// The last row of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) key: SeriesKey,
    pub(super) time: i64,
}

/// What two pages of one answer have in common: all but where they begin, how long they are, and the range, which may be said
/// relative to the present.
fn fingerprint(query: &Query) -> Result<[u8; 8]> {
    let same = Query { after: None, limit: None, start: None, end: None, ..query.clone() };
    let text = serde_json::to_vec(&same).map_err(|e| Error::internal(format!("a query as JSON: {e}")))?;
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&text).as_bytes();
    Ok([a, b, c, d, e, f, g, h])
}

impl Cursor {
    /// As text, for the next page of `query`.
    pub(super) fn to_text(&self, query: &Query) -> Result<String> {
        let mut bytes = vec![VERSION];
        bytes.extend(fingerprint(query)?);
        bytes.extend(self.time.to_le_bytes());
        let tags = self.key.tags.iter().flat_map(|(key, value)| [key, value]);
        for part in [&self.key.bucket, &self.key.measurement].into_iter().chain(tags) {
            let length = u32::try_from(part.len()).map_err(|_| Error::internal("a name of 4 GiB"))?;
            bytes.extend(length.to_le_bytes());
            bytes.extend(part.as_bytes());
        }
        Ok(hex::encode(bytes))
    }

    /// Of the text that a page of `query` gave.
    pub(super) fn from_text(text: &str, query: &Query) -> Result<Self> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(Error::limit(
                "`after`",
                format!("{CURSOR_BYTES_MAX} bytes"),
                "give it as `next` of the page before had it",
            ));
        }
        let wrong = |what: &str| {
            Error::invalid(format!("`after` {what}"))
                .hint("give it as `next` of the page before had it, or begin without it")
        };
        let bytes = hex::decode(text).ok_or_else(|| wrong("is not what a page gave"))?;
        let mut rest = bytes.as_slice();
        let [VERSION] = *take::<1>(&mut rest).ok_or_else(|| wrong("is empty"))? else {
            return Err(wrong("is of another version of the host"));
        };
        let cut = || wrong("is cut off");
        if *take::<8>(&mut rest).ok_or_else(cut)? != fingerprint(query)? {
            return Err(wrong("is of another query"));
        }
        let time = i64::from_le_bytes(*take::<8>(&mut rest).ok_or_else(cut)?);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(*take::<4>(&mut rest).ok_or_else(cut)?);
            let (part, after) =
                usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n)).ok_or_else(cut)?;
            rest = after;
            let part = std::str::from_utf8(part).map_err(|_| wrong("is not what a page gave"))?;
            parts.push(part.to_string());
        }
        let mut parts = parts.into_iter();
        let (bucket, measurement) = parts.next().zip(parts.next()).ok_or_else(cut)?;
        let mut tags = Vec::new();
        while let Some(key) = parts.next() {
            tags.push((key, parts.next().ok_or_else(cut)?));
        }
        let key = SeriesKey::new(bucket, measurement, tags).map_err(|_| wrong("is not what a page gave"))?;
        Ok(Self { key, time })
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(first)
}
