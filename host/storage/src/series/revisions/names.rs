//! Where the changes of a series are kept: a series of the same measurement and tags in a bucket of the host's own, which
//! no caller can name when it writes (a slash is refused) and which every answer leaves out.
//!
//! A row of it says what was there just before the batch that was recorded at `at`, in nanoseconds by the host's clock. Its time is
//! unique in its series and not before `at`. It is one of three:
//!
//! - `row` and fields: the whole row at time `row`;
//! - `row` and `to`: nothing, from time `row` to time `to`, both included;
//! - `row`, `to` and `gone`: what was there is not known any more, retention dropped it.
//!
//! Each says what was true, whether or not the write that it came with was stored in the end; so a crash between them is harmless.

use crate::series::{FieldType, SeriesKey};

/// The beginning of the bucket's name. A slash is in it, as in the `database/policy` names that InfluxDB itself makes; and it comes before
/// other names, so that an engine that goes from bucket to bucket writes the log first.
const BUCKET_START: &str = ".revisions/";
/// When the row was recorded.
pub(super) const AT: &str = "at";
/// The time of the row that it tells about, or the first of several.
pub(super) const ROW: &str = "row";
/// The last time of a span.
pub(super) const TO: &str = "to";
/// The span was dropped by retention.
pub(super) const GONE: &str = "gone";

/// Does the host keep this bucket for itself?
pub(super) fn is_hidden(bucket: &str) -> bool {
    bucket.starts_with(BUCKET_START)
}

pub(in crate::series) fn hidden_bucket(bucket: &str) -> String {
    format!("{BUCKET_START}{bucket}")
}

/// The series that holds the changes of another.
pub(super) fn hidden(key: &SeriesKey) -> SeriesKey {
    SeriesKey { bucket: hidden_bucket(&key.bucket), ..key.clone() }
}

/// The series whose changes another holds.
pub(super) fn shown(hidden: &SeriesKey) -> SeriesKey {
    let bucket = hidden.bucket.strip_prefix(BUCKET_START).unwrap_or(&hidden.bucket);
    SeriesKey { bucket: bucket.to_string(), ..hidden.clone() }
}

const TYPES: [(FieldType, &str); 5] = [
    (FieldType::Float, "f."),
    (FieldType::Integer, "i."),
    (FieldType::Unsigned, "u."),
    (FieldType::Boolean, "b."),
    (FieldType::String, "s."),
];

/// The name under which a field is kept. Its type is in it: a measurement whose rows were all deleted may get another one.
pub(super) fn kept(name: &str, of: FieldType) -> String {
    let start = TYPES.iter().find(|(t, _)| *t == of).map_or("", |(_, start)| start);
    format!("{start}{name}")
}

/// The field that is kept under a name; `None` for `at`, `row`, `to` and `gone`.
pub(in crate::series) fn field(kept: &str) -> Option<(&str, FieldType)> {
    TYPES.iter().find_map(|(of, start)| Some((kept.strip_prefix(start)?, *of)))
}

/// Everything that is read for these fields.
pub(super) fn reads(fields: &[String]) -> Vec<String> {
    let own = [AT, ROW, TO, GONE].map(String::from);
    let kept = fields.iter().flat_map(|name| TYPES.iter().map(move |(_, start)| format!("{start}{name}")));
    own.into_iter().chain(kept).collect()
}
