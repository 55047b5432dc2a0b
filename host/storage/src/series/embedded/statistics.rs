//! What a chunk says of each of its fields without being decoded: count, min, max, first, last, sum.

use super::bytes::{self, Input, put_len};
use super::codec::{dense, type_code, type_of_code};
use super::run::{Lane, Run};
use crate::error::{Error, Result};
use crate::series::{Decimal, FieldType, Value, Values};

const KIND: u8 = b'S';
const VERSION: u8 = 1;
/// Values that are compared side by side.
const LANES: usize = 8;

/// The sum of a field: exact for whole numbers; booleans count what is true; strings have none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sum {
    Float(f64),
    Whole(i128),
    None,
}

/// One field of a chunk; only rows with a value count.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldStats {
    pub field: u32,
    pub count: u32,
    pub first_time: i64,
    pub last_time: i64,
    pub first: Value,
    pub last: Value,
    /// `None` for strings.
    pub extremes: Option<(Value, Value)>,
    pub sum: Sum,
}

pub(super) fn of_run(run: &Run) -> Vec<FieldStats> {
    run.lanes.iter().filter_map(|lane| of_lane(&run.times, lane)).collect()
}

fn of_lane(times: &[i64], lane: &Lane) -> Option<FieldStats> {
    let last_row = lane.last_row()?;
    let first_row = lane.valid.as_ref().map_or(Some(0), |v| v.iter().position(|b| *b))?;
    let there = lane.valid.as_deref();
    let (bounds, sum) = match &lane.values {
        Values::Float(v) => {
            let kept = dense(v, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Float(a), Value::Float(b)));
            (bounds, Sum::Float(kept.iter().sum()))
        }
        Values::Integer(v) | Values::Decimal(v, _) => {
            let kept = dense(v, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Integer(a), Value::Integer(b)));
            (bounds, Sum::Whole(kept.iter().copied().map(i128::from).sum()))
        }
        Values::Unsigned(v) => {
            let kept = dense(v, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Unsigned(a), Value::Unsigned(b)));
            (bounds, Sum::Whole(kept.iter().copied().map(i128::from).sum()))
        }
        Values::Boolean(v) => {
            let kept = dense(v, there);
            let bounds = extremes(&kept).map(|(a, b)| (Value::Boolean(a), Value::Boolean(b)));
            (bounds, Sum::Whole(kept.iter().copied().map(i128::from).sum()))
        }
        Values::String(_) => (None, Sum::None),
    };
    let count = there.map_or(lane.values.len(), |v| v.iter().filter(|there| **there).count());
    Some(FieldStats {
        field: lane.field,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        first_time: *times.get(first_row)?,
        last_time: *times.get(last_row)?,
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

pub(super) fn encode(stats: &[FieldStats]) -> Result<Vec<u8>> {
    let mut out = bytes::envelope(KIND, VERSION, 4 + stats.len() * 96);
    put_len(&mut out, stats.len())?;
    for s in stats {
        out.extend_from_slice(&s.field.to_le_bytes());
        out.push(type_code(s.first.field_type()));
        out.extend_from_slice(&s.count.to_le_bytes());
        out.extend_from_slice(&s.first_time.to_le_bytes());
        out.extend_from_slice(&s.last_time.to_le_bytes());
        put_value(&mut out, &s.first)?;
        put_value(&mut out, &s.last)?;
        if let Some((min, max)) = &s.extremes {
            put_value(&mut out, min)?;
            put_value(&mut out, max)?;
        }
        match s.sum {
            Sum::Float(v) => out.extend_from_slice(&v.to_le_bytes()),
            Sum::Whole(v) => out.extend_from_slice(&v.to_le_bytes()),
            Sum::None => {}
        }
    }
    Ok(bytes::close(out))
}

pub(super) fn decode(stored: &[u8]) -> Result<Vec<FieldStats>> {
    let (_, mut input) = bytes::open(stored, KIND, VERSION)?;
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
        stats.push(FieldStats { field, count, first_time, last_time, first, last, extremes, sum });
    }
    input.end()?;
    Ok(stats)
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
