//! A log record: one batch, column by column. It is written, hashed and synced before a batch is acknowledged, so it is as
//! short as a look at the numbers makes it: narrowed where they can be, else as they are in memory. Nothing is searched or
//! compressed.
//!
//! Version 1 had every number in eight bytes, also where there is no value.
//!
//! The numbers that a chunk knows of its days are stored in the same way ([`put_numbers`]).

use super::bounds::RECORD_BYTES_MAX;
use super::bytes::{self, Input, bits_len, get_bits, get_words, put_bits, put_len, put_words};
use super::codec::{dense, spread, type_code, type_of_code};
use super::narrow::{Base, EXPONENT_MAX, Narrow, Near, Offset};
use super::run::{Lane, Run};
use crate::error::{Error, Result};
use crate::series::{FieldType, Values};

const KIND: u8 = b'L';
const VERSION: u8 = 2;
/// Rows of all sections: a batch of more is refused, for its times alone are [`RECORD_BYTES_MAX`] in memory.
pub(super) const ROWS_MAX: usize = RECORD_BYTES_MAX / 8;

/// Forms of a lane, as bits: some rows have no value; its numbers are narrowed.
const GAPS: u8 = 1;
const NARROW: u8 = 2;
/// What stands before narrowed numbers: the exponent, the bytes of an offset, the least number.
const BASE_BYTES: usize = 10;

/// Forms of times: each in eight bytes; the first and the step; the first, and of each other what it is after the one
/// before, in four bytes.
const EACH: u8 = 0;
const STEPS: u8 = 1;
const AFTER: u8 = 2;
/// Fewer times are not looked at.
const LOOKED_AT_MIN: usize = 3;

/// The rows of a batch for one series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    pub series: i64,
    pub run: Run,
}

pub(super) fn encode<'a>(sections: impl ExactSizeIterator<Item = (i64, &'a Run)> + Clone) -> Result<Vec<u8>> {
    // Mostly it becomes as short as this.
    let about: usize = sections.clone().map(|(_, r)| r.size_bytes() / 4 + 64 + 16 * r.lanes.len()).sum();
    let mut out = bytes::envelope(KIND, VERSION, about);
    put_len(&mut out, sections.len())?;
    for (series, run) in sections {
        out.extend_from_slice(&series.to_le_bytes());
        put_len(&mut out, run.len())?;
        put_len(&mut out, run.lanes.len())?;
        put_times(&mut out, &run.times);
        for lane in &run.lanes {
            out.extend_from_slice(&lane.field.to_le_bytes());
            out.push(type_code(lane.field_type()));
            put_lane(&mut out, lane)?;
        }
    }
    Ok(bytes::close(out))
}

fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    // They ascend.
    let after = || times.iter().zip(times.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a).cast_unsigned());
    let (first, step) = match (times.first(), after().next()) {
        (Some(first), Some(step)) if times.len() >= LOOKED_AT_MIN => (*first, step),
        _ => {
            out.push(EACH);
            return put_words(out, times);
        }
    };
    let (differ, bits) = after().fold((0, 0), |(differ, bits), n| (differ | (n ^ step), bits | n));
    if differ == 0 {
        out.push(STEPS);
        put_words(out, &[first, step.cast_signed()]);
    } else if u32::try_from(bits).is_ok() {
        out.push(AFTER);
        put_words(out, &[first]);
        u32::put_all(&after().map(u32::of_bits).collect::<Vec<_>>(), out);
    } else {
        out.push(EACH);
        put_words(out, times);
    }
}

fn put_lane(out: &mut Vec<u8>, lane: &Lane) -> Result<()> {
    let valid = lane.valid.as_deref();
    match &lane.values {
        Values::Float(v) => put_dense(out, &dense(v, valid), valid),
        Values::Integer(v) | Values::Decimal(v, _) => put_dense(out, &dense(v, valid), valid),
        Values::Unsigned(v) => put_dense(out, &dense(v, valid), valid),
        Values::Boolean(v) => {
            put_form(out, 0, valid);
            put_bits(out, &dense(v, valid));
        }
        Values::String(v) => {
            put_form(out, 0, valid);
            for s in v.iter().enumerate().filter(|(row, _)| lane.is_valid(*row)).map(|(_, s)| s) {
                put_len(out, s.len())?;
                out.extend_from_slice(s.as_bytes());
            }
        }
    }
    Ok(())
}

fn put_form(out: &mut Vec<u8>, form: u8, valid: Option<&[bool]>) {
    out.push(form | if valid.is_some() { GAPS } else { 0 });
    if let Some(valid) = valid {
        put_bits(out, valid);
    }
}

/// Numbers, narrowed where that is shorter.
pub(super) fn put_numbers<T: bytes::Word + Narrow>(out: &mut Vec<u8>, values: &[T]) {
    put_dense(out, values, None);
}

/// The values of the rows that have one.
fn put_dense<T: bytes::Word + Narrow>(out: &mut Vec<u8>, values: &[T], valid: Option<&[bool]>) {
    // One value is no shorter.
    let near = if values.len() > 1 { T::near(values) } else { None };
    let Some(near) = near else {
        put_form(out, 0, valid);
        return put_words(out, values);
    };
    match near.span {
        0..=0xff => put_near::<u8, T>(out, &near, values, valid),
        0x100..=0xffff => put_near::<u16, T>(out, &near, values, valid),
        _ => put_near::<u32, T>(out, &near, values, valid),
    }
}

fn put_near<O: Offset, T: bytes::Word>(
    out: &mut Vec<u8>,
    near: &Near<'_>,
    values: &[T],
    valid: Option<&[bool]>,
) {
    if BASE_BYTES + values.len() * usize::from(O::BYTES) >= values.len() * 8 {
        put_form(out, 0, valid);
        return put_words(out, values);
    }
    put_form(out, NARROW, valid);
    out.extend_from_slice(&[near.base.exponent, O::BYTES]);
    out.extend_from_slice(&near.base.least.to_le_bytes());
    O::put_all(&near.offsets::<O>(), out);
}

pub(super) fn decode(record: &[u8]) -> Result<Vec<Section>> {
    let (version, mut input) = bytes::open(record, KIND, VERSION)?;
    let mut sections = Vec::new();
    let mut rows_left = ROWS_MAX;
    for _ in 0..input.len()? {
        let series = input.i64()?;
        let rows = input.len()?;
        let lanes = input.len()?;
        rows_left = rows_left.checked_sub(rows).ok_or_else(|| Error::corrupt("it has too many rows"))?;
        let times = match version {
            1 => get_words(input.take_many(rows, 8)?),
            _ => get_times(&mut input, rows)?,
        };
        if !times.is_sorted_by(|a, b| a < b) {
            return Err(Error::corrupt("its times do not ascend"));
        }
        let mut run = Run { times, lanes: Vec::new() };
        for _ in 0..lanes {
            let field = input.u32()?;
            let of = type_of_code(input.u8()?)?;
            run.lanes.push(match version {
                1 => first_lane(&mut input, field, of, rows)?,
                _ => lane(&mut input, field, of, rows)?,
            });
        }
        if !run.lanes.is_sorted_by(|a, b| a.field < b.field) {
            return Err(Error::corrupt("its fields do not ascend"));
        }
        sections.push(Section { series, run });
    }
    input.end()?;
    Ok(sections)
}

fn get_times(input: &mut Input<'_>, rows: usize) -> Result<Vec<i64>> {
    let past = || Error::corrupt("its times are out of their range");
    Ok(match input.u8()? {
        EACH => get_words(input.take_many(rows, 8)?),
        STEPS => {
            let (first, step) = (input.i64()?, input.i64()?);
            // They take no bytes of their own, but every row has a value: a bit at least.
            if rows > input.rest().len().saturating_mul(8) {
                return Err(Error::corrupt("it has more rows than values"));
            }
            let mut times = Vec::with_capacity(rows);
            let mut time = first;
            for row in 0..rows {
                if row > 0 {
                    time = time.checked_add(step).ok_or_else(past)?;
                }
                times.push(time);
            }
            times
        }
        AFTER => {
            let mut time = input.i64()?;
            let after = rows.checked_sub(1).ok_or_else(|| Error::corrupt("it has times without rows"))?;
            let after = input.take_many(after, usize::from(u32::BYTES))?;
            let mut times = Vec::with_capacity(rows);
            times.push(time);
            for n in u32::all_of(after) {
                time = time.checked_add(i64::from(n)).ok_or_else(past)?;
                times.push(time);
            }
            times
        }
        form => return Err(Error::corrupt(format!("its times have the unknown form {form}"))),
    })
}

fn lane(input: &mut Input<'_>, field: u32, of: FieldType, rows: usize) -> Result<Lane> {
    let form = input.u8()?;
    if form & !(GAPS | NARROW) != 0 {
        return Err(Error::corrupt(format!("a column has the unknown form {form}")));
    }
    let narrow = form & NARROW != 0;
    let valid = if form & GAPS == 0 { None } else { Some(get_bits(input.take(bits_len(rows))?, rows)?) };
    let count = valid.as_ref().map_or(rows, |v| v.iter().filter(|there| **there).count());
    let gaps = valid.as_deref();
    let values = match of {
        FieldType::Float => Values::Float(spread(numbers(input, count, narrow)?, gaps)),
        FieldType::Integer | FieldType::Decimal(_) => {
            Values::Integer(spread(numbers(input, count, narrow)?, gaps))
        }
        FieldType::Unsigned => Values::Unsigned(spread(numbers(input, count, narrow)?, gaps)),
        FieldType::Boolean | FieldType::String if narrow => {
            return Err(Error::corrupt(format!("a column of {of}s has the unknown form {form}")));
        }
        FieldType::Boolean => Values::Boolean(spread(get_bits(input.take(bits_len(count))?, count)?, gaps)),
        FieldType::String => Values::String(spread(strings(input, count)?, gaps)),
    };
    Ok(Lane { field, values, valid })
}

/// `count` numbers that [`put_numbers`] wrote.
pub(super) fn get_numbers<T: bytes::Word + Narrow>(input: &mut Input<'_>, count: usize) -> Result<Vec<T>> {
    match input.u8()? {
        form if form & !NARROW == 0 => numbers(input, count, form & NARROW != 0),
        form => Err(Error::corrupt(format!("numbers have the unknown form {form}"))),
    }
}

fn numbers<T: bytes::Word + Narrow>(input: &mut Input<'_>, count: usize, narrow: bool) -> Result<Vec<T>> {
    if !narrow {
        return Ok(get_words(input.take_many(count, 8)?));
    }
    let (exponent, width, least) = (input.u8()?, input.u8()?, input.i64()?);
    if exponent > EXPONENT_MAX {
        return Err(Error::corrupt(format!("a column has the exponent {exponent}")));
    }
    if ![u8::BYTES, u16::BYTES, u32::BYTES].contains(&width) {
        return Err(Error::corrupt(format!("a column has offsets of {width} bytes")));
    }
    let base = Base { least, exponent };
    let offsets = input.take_many(count, usize::from(width))?;
    let mut out = Vec::with_capacity(count);
    match width {
        u8::BYTES => T::widen(base, u8::all_of(offsets), &mut out),
        u16::BYTES => T::widen(base, u16::all_of(offsets), &mut out),
        _ => T::widen(base, u32::all_of(offsets), &mut out),
    }
    Ok(out)
}

fn strings(input: &mut Input<'_>, count: usize) -> Result<Vec<String>> {
    let mut strings = Vec::new();
    for _ in 0..count {
        let len = input.len()?;
        let text = std::str::from_utf8(input.take(len)?);
        strings.push(text.map_err(|_| Error::corrupt("a string is not UTF-8"))?.to_owned());
    }
    Ok(strings)
}

/// A lane of version 1: every row has its place.
fn first_lane(input: &mut Input<'_>, field: u32, of: FieldType, rows: usize) -> Result<Lane> {
    let valid = match input.u8()? {
        0 => None,
        GAPS => Some(get_bits(input.take(bits_len(rows))?, rows)?),
        flag => return Err(Error::corrupt(format!("a column has the unknown flag {flag}"))),
    };
    let values = match of {
        FieldType::Float => Values::Float(get_words(input.take_many(rows, 8)?)),
        FieldType::Integer | FieldType::Decimal(_) => Values::Integer(get_words(input.take_many(rows, 8)?)),
        FieldType::Unsigned => Values::Unsigned(get_words(input.take_many(rows, 8)?)),
        FieldType::Boolean => Values::Boolean(get_bits(input.take(bits_len(rows))?, rows)?),
        FieldType::String => Values::String(strings(input, rows)?),
    };
    Ok(Lane { field, values, valid })
}
