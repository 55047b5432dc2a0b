//! The usual line: no escapes, no comment, no error, one pass.

use super::Clock;
use super::line::{self, UNCOMMON};
use super::number;
use super::rows::{Batch, Cell};
use crate::series::model::{TIME_MAX_NS, TIME_MIN_NS};
use std::borrow::Cow;

/// Digits of a timestamp that always fit an `i64`.
const TIME_DIGITS_MAX: usize = 18;

/// Reads the line at `at` into the batch and gives the place of the next. `None`: the line is unusual, nothing of
/// it was taken.
pub(super) fn line<'a>(body: &'a [u8], at: usize, batch: &mut Batch<'a>, clock: Clock) -> Option<usize> {
    let (raw, mut i) = key(body, at, batch)?;
    let mut row = batch.take_row();
    let series = batch.series(raw)?;
    loop {
        // The name, most likely that of the same place in the row before.
        let rest = body.get(i..)?;
        let expected = series
            .expected(row.len())
            .filter(|(_, name)| rest.get(name.len()) == Some(&b'=') && rest.get(..name.len()) == Some(*name));
        let number = match expected {
            Some((number, name)) => {
                i += name.len() + 1;
                number
            }
            None => {
                let length = rest
                    .iter()
                    .position(|b| matches!(b, b'=' | b' ' | b',' | b'\\' | b'"' | b'\n'))
                    .filter(|n| *n > 0 && rest.get(*n) == Some(&b'='))?;
                let name = std::str::from_utf8(rest.get(..length)?).ok()?;
                // A new name is checked once, slowly.
                let number = series.find(name)?;
                i += length + 1;
                number
            }
        };
        let (cell, end) = match series.scale(number) {
            None => value(body, i)?,
            Some(scale) => decimal(body, i, scale)?,
        };
        row.push((number, cell));
        i = end;
        match body.get(i) {
            Some(b',') => i += 1,
            Some(b' ') => {
                let (time, next) = timestamp(body, i + 1, clock)?;
                return batch.commit(raw, row, time).ok().map(|()| next);
            }
            _ => {
                let next = line_end(body, i)?;
                return batch.commit(raw, row, clock.now_ns).ok().map(|()| next);
            }
        }
    }
}

/// The key, and where the fields begin.
fn key<'a>(body: &'a [u8], at: usize, batch: &mut Batch<'a>) -> Option<(usize, usize)> {
    let rest = body.get(at..)?;
    if let Some((bytes, raw)) = batch.expected() {
        if rest.get(bytes.len()) == Some(&b' ') && rest.get(..bytes.len()) == Some(bytes) {
            return Some((raw, at + bytes.len() + 1));
        }
    }
    if rest.first().is_none_or(|b| UNCOMMON.contains(b)) {
        return None;
    }
    let length = rest.iter().position(|b| matches!(b, b' ' | b'\\' | b'\n'))?;
    if rest.get(length) != Some(&b' ') {
        return None;
    }
    let bytes = rest.get(..length)?;
    let raw = match batch.find(bytes) {
        Some(raw) => raw,
        None => {
            let (measurement, tags) = line::key_parts(bytes).ok()?;
            batch.register(bytes, measurement, tags).ok()?
        }
    };
    Some((raw, at + length + 1))
}

fn value(body: &[u8], at: usize) -> Option<(Cell<'_>, usize)> {
    let rest = body.get(at..)?;
    match rest.first()? {
        b'0'..=b'9' | b'-' | b'.' => match number::short(body, at) {
            Some((cell, end)) if ends_value(body, end) => Some((cell, end)),
            _ => {
                let length = length_of(rest);
                Some((number::token(rest.get(..length)?).ok()?, at + length))
            }
        },
        b'"' => {
            let inside = rest.get(1..)?;
            let length = inside.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            if inside.get(length) != Some(&b'"') || length > super::STRING_BYTES_MAX {
                return None;
            }
            let text = std::str::from_utf8(inside.get(..length)?).ok()?;
            let end = at + length + 2;
            ends_value(body, end).then_some((Cell::Text(Cow::Borrowed(text)), end))
        }
        b't' | b'T' | b'f' | b'F' => {
            let length = length_of(rest);
            Some((number::boolean(rest.get(..length)?).ok()?, at + length))
        }
        _ => None,
    }
}

/// The value of a field that is a decimal.
fn decimal(body: &[u8], at: usize, scale: u8) -> Option<(Cell<'_>, usize)> {
    let rest = body.get(at..)?;
    if !matches!(rest.first()?, b'0'..=b'9' | b'-' | b'.') {
        return value(body, at);
    }
    match number::units(body, at, scale) {
        Some((units, end)) if ends_value(body, end) => Some((Cell::Decimal(units, scale), end)),
        _ => {
            let length = length_of(rest);
            Some((number::decimal(rest.get(..length)?, scale).ok()?, at + length))
        }
    }
}

/// Bytes of a value without quotes.
fn length_of(rest: &[u8]) -> usize {
    rest.iter().position(|b| matches!(b, b',' | b' ' | b'\n' | b'\r')).unwrap_or(rest.len())
}

fn ends_value(body: &[u8], at: usize) -> bool {
    body.get(at).is_none_or(|b| matches!(b, b',' | b' ' | b'\n' | b'\r'))
}

fn timestamp(body: &[u8], at: usize, clock: Clock) -> Option<(i64, usize)> {
    let mut i = at;
    let negative = body.get(i) == Some(&b'-');
    i += usize::from(negative);
    let first = i;
    let mut value: i64 = 0;
    while let Some(digit) = body.get(i).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        i += 1;
    }
    let digits = i - first;
    // The nanoseconds of our days have nineteen digits; they surely fit below nine times ten to the eighteenth.
    let fits = digits <= TIME_DIGITS_MAX || (digits == TIME_DIGITS_MAX + 1 && body.get(first) < Some(&b'9'));
    if digits == 0 || !fits {
        return None;
    }
    let next = line_end(body, i)?;
    let time = if negative { -value } else { value }.checked_mul(clock.unit_ns)?;
    (TIME_MIN_NS..=TIME_MAX_NS).contains(&time).then_some((time, next))
}

/// Where the next line begins, if this one ends here.
fn line_end(body: &[u8], at: usize) -> Option<usize> {
    match body.get(at) {
        None => Some(at),
        Some(b'\n') => Some(at + 1),
        Some(b'\r') => match body.get(at + 1) {
            None => Some(at + 1),
            Some(b'\n') => Some(at + 2),
            Some(_) => None,
        },
        Some(_) => None,
    }
}
