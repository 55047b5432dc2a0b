//! Points in time and zones as a caller writes them.

use crate::error::{Error, Result};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// A point in time as a caller writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Time {
    /// Nanoseconds since the Unix epoch.
    Ns(i64),
    /// RFC 3339, `2024-01-02 13:30:05`, `2024-01-02 13:30` or `2024-01-02`; without an offset in the query's zone.
    Text(String),
}

impl Time {
    /// In nanoseconds; `key` names it in an error.
    pub fn ns(&self, key: &str, zone: Tz) -> Result<i64> {
        match self {
            Self::Ns(ns) => Ok(*ns),
            Self::Text(text) => parse(text, zone).ok_or_else(|| {
                Error::invalid(format!("`{key}`: `{}` is not a time", text.escape_debug()))
                    .hint("write RFC 3339 (2026-06-26T13:30:00Z), a date (2026-06-26), or nanoseconds since the epoch")
            }),
        }
    }
}

/// `None` when it is no time, does not exist in the zone, or cannot be told in nanoseconds.
pub(in crate::series) fn parse(text: &str, zone: Tz) -> Option<i64> {
    let text = text.trim();
    if let Ok(t) = DateTime::parse_from_rfc3339(text) {
        return t.timestamp_nanos_opt();
    }
    let naive = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|f| NaiveDateTime::parse_from_str(text, f).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|d| d.and_time(NaiveTime::MIN)))?;
    // Where clocks go back, the first of the two is meant.
    zone.from_local_datetime(&naive).earliest()?.timestamp_nanos_opt()
}

/// An IANA zone; UTC without one.
pub(in crate::series) fn zone(name: Option<&str>) -> Result<Tz> {
    match name {
        None => Ok(Tz::UTC),
        Some(name) => name.parse().map_err(|_| {
            Error::invalid(format!("`{}` is not a time zone", name.escape_debug())).hint("write an IANA name: America/New_York")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let ny = zone(Some("America/New_York")).unwrap();
        for (text, zone, want) in [
            ("1970-01-01T00:00:01Z", Tz::UTC, Some(1_000_000_000)),
            ("1970-01-01", Tz::UTC, Some(0)),
            ("1970-01-01 00:01", Tz::UTC, Some(60_000_000_000)),
            ("1970-01-01T00:00:00.5", Tz::UTC, Some(500_000_000)),
            ("1970-01-01", ny, Some(5 * 3_600_000_000_000)),
            ("2026-03-08 02:30", ny, None),
            ("1970-13-01", Tz::UTC, None),
            ("9999-01-01", Tz::UTC, None),
            ("", Tz::UTC, None),
            ("now", Tz::UTC, None),
        ] {
            assert_eq!(parse(text, zone), want, "{text}");
        }
        assert!(zone(Some("Mars/Olympus")).is_err());
    }
}
