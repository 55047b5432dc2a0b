//! A sealed chunk: rows of one series, a compressed column per field.

use super::body::{COLUMN_BYTES, Column, FIXED_BYTES, KIND, Loaded, VERSION};
use super::bytes::{self, ENVELOPE_BYTES, Input, checksum, digest, put_len};
use super::codec::{get_lane, get_numbers, put_lane, put_numbers, type_code};
use super::crew::{Crew, Pieces};
use super::run::{Lane, Run};
use super::statistics;
use crate::error::{Error, Result};
use crate::series::FieldType;
use std::sync::atomic::{AtomicU32, Ordering};

/// Values from which on several threads decode a chunk: fewer are decoded before a thread has woken.
const SHARED_VALUES_MIN: usize = 32 << 10;

/// What is known of a chunk without reading it. Kept in memory by its series, and pinned by scans.
#[derive(Debug)]
pub(super) struct Chunk {
    pub id: i64,
    pub series: i64,
    /// Where chunks overlap, the greater version wins.
    pub version: i64,
    pub min: i64,
    pub max: i64,
    /// Of the values in memory.
    pub raw_bytes: u64,
    /// Of the body: SQLite has none of 2 GiB.
    pub bytes: u32,
    pub rows: Rows,
}

/// The number of rows, and whether the chunk was found damaged, which is left out from then on: in one word, because
/// there are very many chunks.
#[derive(Debug)]
pub(super) struct Rows(AtomicU32);

const BAD: u32 = 1 << 31;

impl Rows {
    /// `None`: no chunk has so many.
    pub(super) fn new(rows: u32) -> Option<Self> {
        (rows < BAD).then(|| Self(AtomicU32::new(rows)))
    }
}

impl Chunk {
    pub(super) fn is_bad(&self) -> bool {
        self.rows.0.load(Ordering::Relaxed) & BAD != 0
    }
    /// False: it was already.
    pub(super) fn mark_bad(&self) -> bool {
        self.rows.0.fetch_or(BAD, Ordering::Relaxed) & BAD == 0
    }
    pub(super) fn rows(&self) -> u32 {
        self.rows.0.load(Ordering::Relaxed) & !BAD
    }
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
    /// Bytes that decoding it takes: what is stored, and the values.
    pub(super) fn decoding_bytes(&self) -> u64 {
        self.raw_bytes.saturating_add(u64::from(self.bytes))
    }
    /// Guards the columns of its row in the database.
    pub(super) fn checksum(&self) -> i64 {
        checksum(&[
            self.series,
            self.id,
            self.version,
            i64::from(self.rows()),
            self.min,
            self.max,
            i64::from(self.bytes),
            self.raw_bytes.cast_signed(),
        ])
    }
}

/// A chunk that is ready to be stored.
#[derive(Debug)]
pub(super) struct Sealed {
    pub chunk: Chunk,
    pub stats: Vec<u8>,
    pub body: Vec<u8>,
}

/// Encodes a run that is not empty.
pub(super) fn seal(series: i64, id: i64, version: i64, run: &Run) -> Result<Sealed> {
    let (Some(min), Some(max)) = (run.min(), run.max()) else {
        return Err(Error::internal("a chunk without rows"));
    };
    let head_len = ENVELOPE_BYTES + FIXED_BYTES + run.lanes.len() * COLUMN_BYTES;
    let mut head = bytes::envelope(KIND, VERSION, head_len);
    let mut columns = Vec::with_capacity(run.len() * run.lanes.len());
    put_len(&mut head, head_len)?;
    put_len(&mut head, run.len())?;
    head.extend_from_slice(&min.to_le_bytes());
    head.extend_from_slice(&max.to_le_bytes());
    put_len(&mut head, run.lanes.len())?;
    put_numbers(&mut columns, &run.times)?;
    put_len(&mut head, columns.len())?;
    head.extend_from_slice(&digest(&columns));
    for lane in &run.lanes {
        let from = columns.len();
        put_lane(&mut columns, lane)?;
        let column = columns.get(from..).unwrap_or_default();
        head.extend_from_slice(&lane.field.to_le_bytes());
        head.push(type_code(lane.field_type()));
        put_len(&mut head, column.len())?;
        head.extend_from_slice(&digest(column));
    }
    let mut body = bytes::close(head);
    body.extend_from_slice(&columns);
    let rows = u32::try_from(run.len()).ok().and_then(Rows::new);
    let chunk = Chunk {
        id,
        series,
        version,
        min,
        max,
        raw_bytes: run.size_bytes() as u64,
        bytes: u32::try_from(body.len()).map_err(|_| Error::internal("a chunk is too large"))?,
        rows: rows.ok_or_else(|| Error::internal("a chunk has too many rows"))?,
    };
    Ok(Sealed { chunk, stats: statistics::encode(&statistics::of_run(run))?, body })
}

/// What of a chunk is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// `None`: all.
    pub fields: Option<&'a [u32]>,
    /// Rows at this time and later are not.
    pub before: i64,
}

impl Wanted<'_> {
    pub(super) const ALL: Wanted<'static> = Wanted { fields: None, before: i64::MAX };
}

/// Decodes the body of `chunk`; `types` are those of the measurement's fields, by number.
#[cfg(test)]
pub(super) fn decode(body: &[u8], chunk: &Chunk, types: &[FieldType], wanted: Wanted<'_>) -> Result<Run> {
    let types: Vec<_> = types.iter().copied().map(Some).collect();
    begin(super::body::load(&body, chunk, wanted)?, chunk, &types, wanted, &Crew::of(1)?)?.finish()
}

/// Checks what was loaded of `chunk`, and begins to decode it. A type that is not known fits.
pub(super) fn begin(
    loaded: Loaded,
    chunk: &Chunk,
    types: &[Option<FieldType>],
    wanted: Wanted<'_>,
    crew: &Crew,
) -> Result<Decoding> {
    let Loaded { rows, min, max, parts, times: times_at, columns: all } = loaded;
    let mut columns = Vec::new();
    let mut before = None;
    for Column { field, of, place } in all {
        let number = usize::try_from(field).unwrap_or(usize::MAX);
        if types.get(number).is_none_or(|have| have.is_some_and(|have| have != of)) {
            return Err(Error::corrupt(format!("its field number {field} is not a {of} in the catalogue")));
        }
        if before.replace(field).is_some_and(|before| before >= field) {
            return Err(Error::corrupt("its fields do not ascend"));
        }
        if wanted.fields.is_none_or(|f| f.contains(&field)) {
            columns.push((field, of, place.ok_or_else(|| Error::internal("a column was not read"))?));
        }
    }
    // Only where the chunk is cut do its times say how many rows of the columns are needed.
    let times = if wanted.before > chunk.max {
        None
    } else {
        let mut times = get_times(times_at.checked(&parts)?, rows, (min, max))?;
        times.truncate(times.partition_point(|t| *t < wanted.before));
        Some(times)
    };
    let take = times.as_ref().map_or(rows, Vec::len);
    let first = usize::from(times.is_none());
    let pieces = columns.len() + first;
    let piece = move |at: usize| match at.checked_sub(first) {
        None => get_times(times_at.checked(&parts)?, rows, (min, max)).map(Part::Times),
        Some(at) => {
            let (field, of, place) = columns.get(at).ok_or_else(|| Error::internal("a column too many"))?;
            get_lane(Input::of(place.checked(&parts)?), *field, *of, rows, take).map(Part::Lane)
        }
    };
    let crew = if take * pieces >= SHARED_VALUES_MIN { Some(crew) } else { None };
    Ok(Decoding { times, parts: Pieces::begin(crew, pieces, piece) })
}

fn get_times(stored: &[u8], rows: usize, (min, max): (i64, i64)) -> Result<Vec<i64>> {
    let mut input = Input::of(stored);
    let times: Vec<i64> = get_numbers(&mut input, rows, rows)?;
    input.end()?;
    if !times.is_sorted_by(|a, b| a < b) || times.first() != Some(&min) || times.last() != Some(&max) {
        return Err(Error::corrupt("its times do not ascend between its first and last"));
    }
    Ok(times)
}

/// Rows that are being decoded.
#[derive(Debug)]
pub(super) struct Decoding {
    /// Where they had to be known first.
    times: Option<Vec<i64>>,
    parts: Pieces<Result<Part>>,
}

#[derive(Debug)]
enum Part {
    Times(Vec<i64>),
    Lane(Lane),
}

impl Decoding {
    pub(super) fn finish(self) -> Result<Run> {
        let mut run = Run { times: self.times.unwrap_or_default(), lanes: Vec::new() };
        for part in self.parts.finish()? {
            match part? {
                Part::Times(times) => run.times = times,
                Part::Lane(lane) => run.lanes.push(lane),
            }
        }
        Ok(run)
    }
}
