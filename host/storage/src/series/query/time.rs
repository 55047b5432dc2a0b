//! Times as people and programs write them.

use super::ast::Time;
use crate::error::{Error, Result};
use crate::series::kinds::instant_of_local;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

/// Nanoseconds since the epoch of a text: RFC 3339; `2024-01-02`, `2024-01-02 13:30`, `2024-01-02 13:30:05.5` (also
/// with a `T`) in `zone`; or nanoseconds. `place` is the key that the caller wrote it under.
pub fn parse_time(place: &str, text: &str, zone: Tz) -> Result<i64> {
    let text = text.trim();
    let bad = || {
        Error::invalid(format!("`{place}`: `{text}` is not a time")).hint(
            "write RFC 3339 (`2024-01-02T13:30:00Z`), a date (`2024-01-02`), a date and a time (`2024-01-02 13:30`), \
             or nanoseconds since the epoch",
        )
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| bad());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return time.timestamp_nanos_opt().ok_or_else(|| {
            Error::invalid(format!(
                "`{place}`: `{text}` is outside the years 1678 to 2261 that can be stored"
            ))
        });
    }
    local(text).map(|t| instant_of_local(t, zone)).ok_or_else(bad)
}

/// A time as people read it: RFC 3339 in UTC.
pub fn shown_time(ns: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(ns).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// A date, perhaps with a time of day, without an offset.
pub(crate) fn local(text: &str) -> Option<NaiveDateTime> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_time(NaiveTime::MIN));
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}

impl Time {
    /// Nanoseconds since the epoch; see [`parse_time`].
    pub fn resolve(&self, place: &str, zone: Tz) -> Result<i64> {
        match self {
            Self::Ns(ns) => Ok(*ns),
            Self::Text(text) => parse_time(place, text, zone),
        }
    }
}

impl From<i64> for Time {
    fn from(ns: i64) -> Self {
        Self::Ns(ns)
    }
}

impl From<&str> for Time {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}
