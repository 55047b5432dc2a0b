//! Between the data layer's types and the WIT's. What comes from a guest is checked by the data layer afterwards.

use crate::bindings::shiphold::host::types as wit;
use shiphold_storage::series::{Column, Decimal, Frame, SeriesKey, Values};
use shiphold_storage::{Error, Result};

pub(super) fn key_to_guest(key: &SeriesKey) -> wit::SeriesKey {
    wit::SeriesKey {
        bucket: key.bucket.clone(),
        measurement: key.measurement.clone(),
        tags: key.tags.clone(),
    }
}

pub(super) fn key_from_guest(key: wit::SeriesKey) -> Result<SeriesKey> {
    SeriesKey::new(key.bucket, key.measurement, key.tags)
}

pub(crate) fn frame_to_guest(frame: Frame) -> wit::Frame {
    let columns = frame
        .columns
        .into_iter()
        .map(|c| wit::Column {
            name: c.name,
            values: match c.values {
                Values::Float(v) => wit::Values::Floats(v),
                Values::Integer(v) => wit::Values::Integers(v),
                Values::Unsigned(v) => wit::Values::Unsigneds(v),
                Values::Boolean(v) => wit::Values::Booleans(v),
                Values::String(v) => wit::Values::Strings(v),
                // This version of the interface has no decimals: a guest that knows only floats goes on to read the right prices.
                Values::Decimal(v, scale) => wit::Values::Floats(
                    v.into_iter().map(|units| Decimal { units, scale }.to_f64()).collect(),
                ),
            },
            valid: c.valid.unwrap_or_default(),
        })
        .collect();
    wit::Frame { times: frame.times, columns }
}

pub(crate) fn frame_from_guest(frame: wit::Frame) -> Result<Frame> {
    let columns = frame
        .columns
        .into_iter()
        .map(|c| Column {
            name: c.name,
            values: match c.values {
                wit::Values::Floats(v) => Values::Float(v),
                wit::Values::Integers(v) => Values::Integer(v),
                wit::Values::Unsigneds(v) => Values::Unsigned(v),
                wit::Values::Booleans(v) => Values::Boolean(v),
                wit::Values::Strings(v) => Values::String(v),
            },
            valid: (!c.valid.is_empty()).then_some(c.valid),
        })
        .collect();
    let frame = Frame { times: frame.times, columns };
    frame.validate().map_err(|e| Error::invalid(format!("the frame: {}", e.message())))?;
    Ok(frame)
}

/// Bytes of the names of a series.
pub(crate) fn size_of_key(k: &wit::SeriesKey) -> usize {
    k.bucket.len() + k.measurement.len() + k.tags.iter().map(|(a, b)| a.len() + b.len() + 16).sum::<usize>()
}

/// Bytes of a frame that crosses.
pub(crate) fn size_of_frame(frame: &wit::Frame) -> usize {
    let column = |c: &wit::Column| {
        c.name.len()
            + c.valid.len()
            + match &c.values {
                wit::Values::Floats(v) => v.len() * 8,
                wit::Values::Integers(v) => v.len() * 8,
                wit::Values::Unsigneds(v) => v.len() * 8,
                wit::Values::Booleans(v) => v.len(),
                wit::Values::Strings(v) => v.iter().map(|s| s.len() + size_of::<String>()).sum(),
            }
    };
    frame.times.len() * 8 + frame.columns.iter().map(column).sum::<usize>()
}

/// Rows `from..to` of a frame.
pub(crate) fn rows(frame: &Frame, from: usize, to: usize) -> Result<Frame> {
    let outside = || Error::internal("a frame is shorter than it says");
    fn part<T: Clone>(v: &[T], from: usize, to: usize) -> Option<Vec<T>> {
        v.get(from..to).map(<[T]>::to_vec)
    }
    let columns = frame
        .columns
        .iter()
        .map(|c| {
            let values = match &c.values {
                Values::Float(v) => part(v, from, to).map(Values::Float),
                Values::Integer(v) => part(v, from, to).map(Values::Integer),
                Values::Unsigned(v) => part(v, from, to).map(Values::Unsigned),
                Values::Boolean(v) => part(v, from, to).map(Values::Boolean),
                Values::String(v) => part(v, from, to).map(Values::String),
                Values::Decimal(v, scale) => part(v, from, to).map(|v| Values::Decimal(v, *scale)),
            }
            .ok_or_else(outside)?;
            let valid = c.valid.as_ref().map(|v| part(v, from, to).ok_or_else(outside)).transpose()?;
            Ok(Column { name: c.name.clone(), values, valid })
        })
        .collect::<Result<_>>()?;
    Ok(Frame { times: part(&frame.times, from, to).ok_or_else(outside)?, columns })
}
