//! What a chunk says of each of its fields without being decoded: count, min, max, first, last, sum; and of each of its days.

use super::bytes::{self, Input, put_len};
use super::codec::{dense, type_code, type_of_code};
use super::days::{self, Days};
use super::run::{Lane, Run};
use crate::error::{Error, Result};
use crate::series::{Decimal, FieldType, Value, Values};
use std::ops::Range;

const KIND: u8 = b'S';
/// Version 1 has no days; else it is the same.
const VERSION: u8 = 2;
/// Values that are compared side by side.
const LANES: usize = 8;

/// The sum of a field: exact for whole numbers; booleans count what is true; strings have none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sum {
    Float(f64),
    Whole(i128),
    None,
}

/// One field of rows that follow each other; only rows with a value count, and there is one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Totals {
    pub field: u32,
    pub count: u32,
    pub first: Value,
    pub last: Value,
    /// `None` for strings.
    pub extremes: Option<(Value, Value)>,
    pub sum: Sum,
}

/// One field of a chunk, and the times of its first and its last value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldStats {
    pub first_time: i64,
    pub last_time: i64,
    pub totals: Totals,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statistics {
    pub fields: Vec<FieldStats>,
    pub days: Option<Days>,
}

pub(super) fn of_run(run: &Run) -> Statistics {
    Statistics { fields: fields_of(run), days: days::of_run(run) }
}

/// [`of_run`] without the days.
pub(super) fn fields_of(run: &Run) -> Vec<FieldStats> {
    run.lanes.iter().filter_map(|lane| of_lane(&run.times, lane)).collect()
}

fn of_lane(times: &[i64], lane: &Lane) -> Option<FieldStats> {
    let last_row = lane.last_row()?;
    let first_row = lane.valid.as_ref().map_or(Some(0), |v| v.iter().position(|b| *b))?;
    Some(FieldStats {
        first_time: *times.get(first_row)?,
        last_time: *times.get(last_row)?,
        totals: totals(lane, 0..lane.values.len())?,
    })
}

/// Of some rows of a lane; `None`: none of them has a value.
pub(super) fn totals(lane: &Lane, rows: Range<usize>) -> Option<Totals> {
    let there = match &lane.valid {
        Some(valid) => Some(valid.get(rows.clone())?),
        None => None,
    };
    let first_row = rows.start + there.map_or(Some(0), |v| v.iter().position(|b| *b))?;
    let last_row = rows.start + there.map_or(rows.len().checked_sub(1), |v| v.iter().rposition(|b| *b))?;
    let (bounds, sum) = match &lane.values {
        Values::Float(v) => {
            let kept = dense(v.get(rows.clone())?, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Float(a), Value::Float(b)));
            (bounds, Sum::Float(kept.iter().sum()))
        }
        Values::Integer(v) | Values::Decimal(v, _) => {
            let kept = dense(v.get(rows.clone())?, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Integer(a), Value::Integer(b)));
            (bounds, Sum::Whole(kept.iter().copied().map(i128::from).sum()))
        }
        Values::Unsigned(v) => {
            let kept = dense(v.get(rows.clone())?, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Unsigned(a), Value::Unsigned(b)));
            (bounds, Sum::Whole(kept.iter().copied().map(i128::from).sum()))
        }
        Values::Boolean(v) => {
            let kept = dense(v.get(rows.clone())?, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Boolean(a), Value::Boolean(b)));
            (bounds, Sum::Whole(kept.iter().copied().map(i128::from).sum()))
        }
        Values::String(_) => (None, Sum::None),
    };
    let count = there.map_or(rows.len(), |v| v.iter().filter(|there| **there).count());
    Some(Totals {
        field: lane.field,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        first: lane.values.get(first_row)?,
        last: lane.values.get(last_row)?,
        extremes: bounds,
        sum,
    })
}

/// The least and the greatest; several are compared at once. Of values that are equal the first one stands, which only the two
/// zeros of floats tell from another.
fn extremes<T: Copy + Default + PartialOrd>(values: &[T]) -> Option<(T, T)> {
    let first = *values.first()?;
    let pair = |(lo, hi): (T, T), v: &T| (if *v < lo { *v } else { lo }, if *v > hi { *v } else { hi });
    let mut lanes = [(first, first); LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, v) in lanes.iter_mut().zip(block) {
            *lane = pair(*lane, v);
        }
    }
    let found = lanes.iter().fold((first, first), |found, (lo, hi)| pair(pair(found, lo), hi));
    let found = rest.iter().fold(found, pair);
    let is_zero = |v: T| v == T::default();
    Some(if is_zero(found.0) || is_zero(found.1) { values.iter().fold((first, first), pair) } else { found })
}

pub(super) fn encode(statistics: &Statistics) -> Result<Vec<u8>> {
    encode_as(VERSION, statistics)
}

pub(super) fn encode_as(version: u8, Statistics { fields, days }: &Statistics) -> Result<Vec<u8>> {
    let mut out = bytes::envelope(KIND, version, 8 + fields.len() * 96);
    put_len(&mut out, fields.len())?;
    for FieldStats { first_time, last_time, totals } in fields {
        out.extend_from_slice(&totals.field.to_le_bytes());
        out.push(type_code(totals.first.field_type()));
        out.extend_from_slice(&totals.count.to_le_bytes());
        out.extend_from_slice(&first_time.to_le_bytes());
        out.extend_from_slice(&last_time.to_le_bytes());
        put_value(&mut out, &totals.first)?;
        put_value(&mut out, &totals.last)?;
        if let Some((min, max)) = &totals.extremes {
            put_value(&mut out, min)?;
            put_value(&mut out, max)?;
        }
        match totals.sum {
            Sum::Float(v) => out.extend_from_slice(&v.to_le_bytes()),
            Sum::Whole(v) => out.extend_from_slice(&v.to_le_bytes()),
            Sum::None => {}
        }
    }
    if version > 1 {
        days::put(&mut out, days.as_ref())?;
    }
    Ok(bytes::close(out))
}

/// Are these, of whichever version, the statistics of the run?
pub(super) fn are_of(stored: &[u8], run: &Run) -> Result<bool> {
    // The version is not under the checksum: of one that nobody wrote nothing agrees.
    let version = stored.get(1).copied().unwrap_or(VERSION).clamp(1, VERSION);
    Ok(encode_as(version, &of_run(run))? == stored)
}

/// The days of the fields that are wanted; `None` stands for all.
pub(super) fn decode(stored: &[u8], wanted: Option<&[u32]>) -> Result<Statistics> {
    let (version, mut input, fields) = begin(stored)?;
    let days = if version > 1 { days::get(&mut input, wanted)? } else { None };
    input.end()?;
    Ok(Statistics { fields, days })
}

/// [`decode`] without the days.
pub(super) fn decode_fields(stored: &[u8]) -> Result<Vec<FieldStats>> {
    Ok(begin(stored)?.2)
}

/// All fields are of these types; one that is not known fits.
pub(super) fn fit(stats: &[FieldStats], types: &[Option<FieldType>]) -> bool {
    let fits = |Totals { field, last, .. }: &Totals| {
        types.get(*field as usize).is_some_and(|t| t.is_none_or(|t| t == last.field_type()))
    };
    stats.iter().all(|s| fits(&s.totals))
}

fn begin(stored: &[u8]) -> Result<(u8, Input<'_>, Vec<FieldStats>)> {
    let (version, mut input) = bytes::open(stored, KIND, VERSION)?;
    let mut stats = Vec::new();
    for _ in 0..input.len()? {
        let field = input.u32()?;
        let of = type_of_code(input.u8()?)?;
        let count = input.u32()?;
        let (first_time, last_time) = (input.i64()?, input.i64()?);
        let (first, last) = (get_value(&mut input, of)?, get_value(&mut input, of)?);
        let extremes = match of {
            FieldType::String => None,
            _ => Some((get_value(&mut input, of)?, get_value(&mut input, of)?)),
        };
        let sum = match of {
            FieldType::Float => Sum::Float(f64::from_bits(input.i64()?.cast_unsigned())),
            FieldType::String => Sum::None,
            _ => {
                let low = u128::from(input.i64()?.cast_unsigned());
                let high = u128::from(input.i64()?.cast_unsigned());
                Sum::Whole((high << 64 | low).cast_signed())
            }
        };
        let totals = Totals { field, count, first, last, extremes, sum };
        stats.push(FieldStats { first_time, last_time, totals });
    }
    Ok((version, input, stats))
}

fn put_value(out: &mut Vec<u8>, value: &Value) -> Result<()> {
    match value {
        Value::Float(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Integer(v) | Value::Decimal(Decimal { units: v, .. }) => {
            out.extend_from_slice(&v.to_le_bytes());
        }
        Value::Unsigned(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Boolean(v) => out.push(u8::from(*v)),
        Value::String(v) => {
            put_len(out, v.len())?;
            out.extend_from_slice(v.as_bytes());
        }
    }
    Ok(())
}

fn get_value(input: &mut Input<'_>, of: FieldType) -> Result<Value> {
    Ok(match of {
        FieldType::Float => Value::Float(f64::from_bits(input.i64()?.cast_unsigned())),
        FieldType::Integer | FieldType::Decimal(_) => Value::Integer(input.i64()?),
        FieldType::Unsigned => Value::Unsigned(input.i64()?.cast_unsigned()),
        FieldType::Boolean => match input.u8()? {
            0 => Value::Boolean(false),
            1 => Value::Boolean(true),
            _ => return Err(Error::corrupt("a boolean is neither true nor false")),
        },
        FieldType::String => {
            let len = input.len()?;
            let text = std::str::from_utf8(input.take(len)?);
            Value::String(text.map_err(|_| Error::corrupt("a string is not UTF-8"))?.to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statistics_of_a_version_that_nobody_wrote_agree_with_nothing() {
        let lane = Lane { field: 0, values: Values::Integer(vec![3, 4]), valid: None };
        let run = Run { times: vec![1, 2], lanes: vec![lane] };
        for version in 1..=VERSION {
            let mut stored = encode_as(version, &of_run(&run)).unwrap();
            assert!(are_of(&stored, &run).unwrap());
            for other in [0, 1, 2, 3, 255].into_iter().filter(|other| *other != version) {
                stored[1] = other;
                assert!(!are_of(&stored, &run).unwrap(), "{version} as {other}");
            }
        }
    }

    proptest! {
        /// Also the bits of a zero: what a chunk says of itself is compared with its values, byte by byte.
        #[test]
        fn extremes_are_those_of_one_after_another(values in prop::collection::vec(-3_i8..4, 0..40)) {
            let float = |v: &i8| if *v == 3 { -0.0 } else { f64::from(*v) / 4.0 };
            let floats: Vec<f64> = values.iter().map(float).collect();
            let mut want: Option<(f64, f64)> = None;
            for v in &floats {
                let (lo, hi) = want.unwrap_or((*v, *v));
                want = Some((if *v < lo { *v } else { lo }, if *v > hi { *v } else { hi }));
            }
            let bits = |found: Option<(f64, f64)>| found.map(|(lo, hi)| (lo.to_bits(), hi.to_bits()));
            prop_assert_eq!(bits(extremes(&floats)), bits(want));
            let least = values.iter().copied().min();
            prop_assert_eq!(extremes(&values), least.zip(values.iter().copied().max()));
        }
    }
}
