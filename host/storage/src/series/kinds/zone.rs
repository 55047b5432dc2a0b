//! Time zones: names, and the instants of local times, also of those that a change of the clock skips or repeats.

use crate::error::{Error, Result};
use chrono::{DateTime, MappedLocalTime, NaiveDateTime, TimeZone};
use chrono_tz::Tz;

/// How far around a local time, taken as UTC, its instant can lie: zones reach from -12 h to +14 h.
const OFFSET_MAX_S: i64 = 36 * 3_600;
const NS_PER_S: i64 = 1_000_000_000;

/// An IANA zone by name; UTC if none is named. `place` is the key that the caller wrote it under.
pub fn zone(place: &str, name: Option<&str>) -> Result<Tz> {
    let Some(name) = name else { return Ok(Tz::UTC) };
    name.parse().map_err(|_| {
        Error::invalid(format!("`{place}`: `{name}` is not a time zone"))
            .hint("write an IANA name such as `America/New_York`, `Europe/Berlin` or `UTC`")
    })
}

/// Nanoseconds since the epoch of a local time. Of a time that occurs twice (clocks go back) the first; of one
/// that is skipped (clocks go forward) the first instant after it. Saturates at what an `i64` holds.
pub fn instant_of_local(local: NaiveDateTime, zone: Tz) -> i64 {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(t) | MappedLocalTime::Ambiguous(t, _) => {
            saturating_ns(t.timestamp(), i64::from(t.timestamp_subsec_nanos()))
        }
        MappedLocalTime::None => {
            let guess = local.and_utc().timestamp();
            let (mut before, mut after) = (guess - OFFSET_MAX_S, guess + OFFSET_MAX_S);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                let reached = DateTime::from_timestamp(middle, 0)
                    .is_some_and(|t| t.with_timezone(&zone).naive_local() >= local);
                if reached {
                    after = middle;
                } else {
                    before = middle;
                }
            }
            saturating_ns(after, 0)
        }
    }
}

fn saturating_ns(secs: i64, nanos: i64) -> i64 {
    secs.saturating_mul(NS_PER_S).saturating_add(nanos)
}
