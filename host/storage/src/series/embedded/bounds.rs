//! The bounds of what is stored, and the check of a batch against them.

use crate::error::{Error, Result};
use crate::series::{Frame, SeriesKey, Values, WriteBatch};

/// Bytes of one string value (InfluxDB's own bound).
pub const STRING_BYTES_MAX: usize = 64 << 10;
/// Bytes of a bucket, a measurement, a tag's key or value, a field's name.
pub const NAME_BYTES_MAX: usize = 1 << 10;
/// Tags of one series.
pub const TAGS_MAX: usize = 64;
/// Fields of one measurement.
pub const FIELDS_MAX: usize = 1_024;
/// Bytes of one batch in the log.
pub const RECORD_BYTES_MAX: usize = 256 << 20;
/// Rows of a chunk that is read; twice what the manifest allows to be written.
pub const CHUNK_ROWS_MAX: usize = 2 << 20;
/// Bytes in memory of one chunk's values; long strings make a chunk shorter than `chunk_rows`.
pub const CHUNK_RAW_BYTES_MAX: usize = 64 << 20;
/// Rows of one frame of a scan.
pub const FRAME_ROWS_MAX: usize = 65_536;
/// Rows that a merge of overlapping chunks holds decoded at once, and the least it holds of each chunk.
pub const MERGE_ROWS_MAX: usize = 1 << 20;
pub const MERGE_ROWS_EACH_MIN: usize = 1_024;
/// Distinct type conflicts that a report lists.
pub const CONFLICTS_MAX: usize = 100;

/// Every series and frame of a batch is well formed and within the bounds.
pub(super) fn check(batch: &WriteBatch) -> Result<()> {
    let mut bytes = 0_usize;
    for (key, frame) in &batch.series {
        check_key(key)?;
        frame.validate().map_err(|e| e.context(key))?;
        check_frame(frame).map_err(|e| e.context(key))?;
        bytes = bytes.saturating_add(frame.size_bytes());
    }
    if bytes > RECORD_BYTES_MAX {
        return Err(Error::limit(
            "the batch's size in bytes",
            RECORD_BYTES_MAX,
            "write it in several batches",
        ));
    }
    Ok(())
}

fn check_key(key: &SeriesKey) -> Result<()> {
    let sorted = key.tags.windows(2).all(|w| matches!(w, [a, b] if a.0 < b.0));
    let empty = key.tags.iter().any(|(k, v)| k.is_empty() || v.is_empty());
    if !sorted || empty || key.bucket.is_empty() || key.measurement.is_empty() {
        SeriesKey::new(&key.bucket, &key.measurement, key.tags.clone())?;
        if !sorted {
            return Err(Error::invalid(format!("series `{key}`: the tags are not sorted by key")));
        }
    }
    if key.tags.len() > TAGS_MAX {
        return Err(Error::limit(format!("the number of tags of `{key}`"), TAGS_MAX, "use fewer tags"));
    }
    let tags = key.tags.iter().flat_map(|(k, v)| [("tag key", k), ("tag value", v)]);
    for (what, name) in [("bucket", &key.bucket), ("measurement", &key.measurement)].into_iter().chain(tags) {
        check_name(what, name)?;
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        let start: String = name.chars().take(32).collect();
        return Err(Error::limit(
            format!("the length of the {what} `{start}…` ({} bytes)", name.len()),
            format!("{NAME_BYTES_MAX} bytes"),
            "use a shorter name",
        ));
    }
    Ok(())
}

fn check_frame(frame: &Frame) -> Result<()> {
    for column in &frame.columns {
        check_name("field name", &column.name)?;
        if let Values::String(values) = &column.values {
            if let Some(long) = values.iter().find(|s| s.len() > STRING_BYTES_MAX) {
                return Err(Error::limit(
                    format!("the length of a value of `{}` ({} bytes)", column.name, long.len()),
                    format!("{STRING_BYTES_MAX} bytes"),
                    "keep long texts in a file store and write their name",
                ));
            }
        }
    }
    if frame.columns.len() > FIELDS_MAX {
        return Err(too_many_fields());
    }
    Ok(())
}

pub(super) fn too_many_fields() -> Error {
    Error::limit(
        "the number of fields of one measurement",
        FIELDS_MAX,
        "spread them over several measurements",
    )
}
