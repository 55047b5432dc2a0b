//! Between the data layer's types and the WIT's. What comes from a guest is checked by the data layer afterwards.

use crate::bindings::shiphold::host::types as wit;
use shiphold_storage::series::{Column, Frame, SeriesKey, Values};
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

pub(super) fn frame_to_guest(frame: Frame) -> wit::Frame {
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
            },
            valid: c.valid.unwrap_or_default(),
        })
        .collect();
    wit::Frame { times: frame.times, columns }
}

pub(super) fn frame_from_guest(frame: wit::Frame) -> Result<Frame> {
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
