//! InfluxDB line protocol, as the real server's version 2 reads it. `docs/line-protocol.md` says where we differ.
//!
//! Most lines take [`fast`]: one pass over the bytes, straight into columns. It gives up on whatever is unusual (an
//! escape, a comment, an error), and [`line`] reads that line again, slowly and with an error that names it.

mod fast;
mod line;
mod number;
mod rows;

#[cfg(test)]
mod tests;

use super::decimals::Scales;
use super::{SeriesKey, WriteBatch};
use crate::error::{Error, Kind, Result};
pub(super) use number::POWERS;
use rows::Batch;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::str::FromStr;

/// Bytes of a line's measurement and tags, and of those with a field's name and four more (the real server's bound).
pub const KEY_BYTES_MAX: usize = 65_535;
/// Bytes of one string value (the real server's bound).
pub const STRING_BYTES_MAX: usize = 1_048_576;
/// Tags of one series.
pub const TAGS_MAX: usize = 256;
/// The name that no field and no tag may have.
pub const RESERVED_NAME: &str = "time";
/// Unparsable lines that an error shows; the others are counted.
pub const FAILED_LINES_MAX: usize = 50;
/// Bytes of an unparsable line that an error shows.
pub const SHOWN_BYTES_MAX: usize = 512;

/// The unit of a line's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    Ns,
    Us,
    Ms,
    S,
}

impl Precision {
    /// Nanoseconds of one unit.
    pub const fn ns(self) -> i64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
            Self::S => 1_000_000_000,
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// `ns us ms s`, and `n` and `u` as InfluxDB 1 writes them.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ns" | "n" => Ok(Self::Ns),
            "us" | "u" | "µs" => Ok(Self::Us),
            "ms" => Ok(Self::Ms),
            "s" => Ok(Self::S),
            _ => Err(Error::invalid(format!("invalid precision `{text}`")).hint("use ns, us, ms or s")),
        }
    }
}

/// How a line's time is made.
#[derive(Debug, Clone, Copy)]
struct Clock {
    unit_ns: i64,
    /// Of a line without a timestamp: now, in whole units, as the real server rounds it.
    now_ns: i64,
}

/// How keys become series, and what a batch may hold.
#[derive(Debug, Clone, Copy)]
pub struct Mapping<'a> {
    /// What the key of a line becomes.
    pub place: fn(SeriesKey) -> SeriesKey,
    /// Whole numbers become floats in the fields that are floats by definition of a typed measurement.
    pub typed: bool,
    /// Lines with data; one more is [`Kind::Limit`].
    pub rows_max: u64,
    /// Which fields are decimals: their numbers are read from their digits.
    pub scales: Option<&'a Scales>,
}

impl Default for Mapping<'_> {
    fn default() -> Self {
        Self { place: |key| key, typed: false, rows_max: u64::MAX, scales: None }
    }
}

impl Mapping<'_> {
    /// The typed mapping of `docs/line-protocol.md`: `bar,symbol=A,timeframe=1m` becomes `bar.1m.A`.
    pub fn typed(rows_max: u64) -> Self {
        Self { place: super::kinds::typed_key, typed: true, rows_max, scales: None }
    }
}

/// Parses a body; a line without a timestamp gets `now_ns`. An unparsable line refuses the whole body and is named.
///
/// Rows are in the order of their lines. A series can occur in the batch more than once: in several frames, in
/// order, where a field changes its type or its rows have few fields in common.
pub fn parse(bucket: &str, body: &[u8], precision: Precision, now_ns: i64) -> Result<WriteBatch> {
    parse_mapped(bucket, body, precision, now_ns, &Mapping::default())
}

/// [`parse`] with [`Mapping::typed`].
pub fn parse_typed(
    bucket: &str,
    body: &[u8],
    precision: Precision,
    now_ns: i64,
    rows_max: u64,
) -> Result<WriteBatch> {
    parse_mapped(bucket, body, precision, now_ns, &Mapping::typed(rows_max))
}

/// [`parse`] with a mapping of keys and a bound on rows.
pub fn parse_mapped(
    bucket: &str,
    body: &[u8],
    precision: Precision,
    now_ns: i64,
    mapping: &Mapping<'_>,
) -> Result<WriteBatch> {
    read_body(bucket, body, precision, now_ns, mapping, true)
}

/// Reads every line; `quick` allows the fast path, which must never change the outcome.
fn read_body(
    bucket: &str,
    body: &[u8],
    precision: Precision,
    now_ns: i64,
    mapping: &Mapping<'_>,
    quick: bool,
) -> Result<WriteBatch> {
    let unit_ns = precision.ns();
    let clock = Clock { unit_ns, now_ns: now_ns.saturating_sub(now_ns.rem_euclid(unit_ns)) };
    let mut batch = Batch::new(bucket, mapping);
    let mut failures = Failures::default();
    let mut at = 0;
    while at < body.len() && batch.rows() <= mapping.rows_max {
        if quick {
            if let Some(next) = fast::line(body, at, &mut batch, clock) {
                at = next;
                continue;
            }
        }
        let (block, next) = line::block(body, at);
        if let Err((text, reason)) = line::read(block, &mut batch, clock) {
            failures.add(body, at, text, &reason);
        }
        at = next;
    }
    if failures.count > 0 {
        return Err(failures.into_error());
    }
    if batch.rows() > mapping.rows_max {
        return Err(too_many_rows(mapping.rows_max));
    }
    batch.finish()
}

/// [`Kind::Limit`]: a batch has more rows than the host takes.
pub fn too_many_rows(rows_max: u64) -> Error {
    Error::new(Kind::Limit, format!("the batch has more than {rows_max} rows, the limit `limits.write_rows`"))
        .hint("send smaller batches, or raise `limits.write_rows` in shiphold.toml")
}

/// The lines that could not be parsed.
#[derive(Debug, Default)]
struct Failures {
    count: usize,
    message: String,
    lines: Vec<usize>,
    /// Up to where line ends were counted, and how many there were.
    counted: (usize, usize),
}

impl Failures {
    fn add(&mut self, body: &[u8], at: usize, text: &[u8], reason: &str) {
        self.count += 1;
        if self.count > FAILED_LINES_MAX {
            return;
        }
        let ends = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
        self.counted = (at, self.counted.1 + body.get(self.counted.0..at).map_or(0, ends));
        self.lines.push(self.counted.1 + 1);
        let shown = text.get(..SHOWN_BYTES_MAX).unwrap_or(text);
        let more = if shown.len() < text.len() { "…" } else { "" };
        if !self.message.is_empty() {
            self.message.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write!(
            self.message,
            "unable to parse '{}{more}': {reason}",
            String::from_utf8_lossy(shown).trim_end_matches('\u{fffd}')
        );
    }

    fn into_error(mut self) -> Error {
        let more = self.count.saturating_sub(self.lines.len());
        if more > 0 {
            let _ = write!(self.message, "\nand {more} more lines");
        }
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        let noun = if self.count == 1 { "line" } else { "lines" };
        let end = if more > 0 { ", …" } else { "" };
        Error::invalid(self.message)
            .hint(format!("{noun} {}{end} of the body; nothing of it was stored", lines.join(", ")))
    }
}
