//! Times as people and programs write them.

use super::ast::Time;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::series::TimeRange;
use crate::series::kinds::instant_of_local;
use crate::units::Span;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

/// Nanoseconds since the epoch of a text: RFC 3339; `2024-01-02`, `2024-01-02 13:30`, `2024-01-02 13:30:05.5` (also
/// with a `T`) in `zone`; nanoseconds; or `now`, `now() - 15 min`, `now() + 1d`. `place` is the key that the caller wrote it under.
pub fn parse_time(place: &str, text: &str, zone: Tz) -> Result<i64> {
    let text = text.trim();
    let bad = || {
        Error::invalid(format!("`{place}`: `{text}` is not a time")).hint(
            "write RFC 3339 (`2024-01-02T13:30:00Z`), a date (`2024-01-02`), a date and a time (`2024-01-02 13:30`), \
             nanoseconds since the epoch, or `now() - 1d`",
        )
    };
    if let Some(rest) = text.strip_prefix("now") {
        return relative(rest.strip_prefix("()").unwrap_or(rest))
            .map(|by| now_ns().saturating_add(by))
            .ok_or_else(bad);
    }
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

/// The range from one time to another as a request has them in `start` and `end`: the start is in it, the end is not, and what is left
/// out is open.
pub(in crate::series) fn between(start: Option<&Time>, end: Option<&Time>, zone: Tz) -> Result<TimeRange> {
    let at = |place, time: Option<&Time>, open| time.map_or(Ok(open), |t| t.resolve(place, zone));
    let all = TimeRange::ALL;
    let range = TimeRange { start: at("start", start, all.start)?, end: at("end", end, all.end)? };
    if range.start > range.end {
        return Err(
            Error::invalid("`start` is after `end`").hint("the start is in the range, the end is not")
        );
    }
    Ok(range)
}

/// A time as people read it: RFC 3339 in UTC.
pub fn shown_time(ns: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(ns).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// A span of time, of which `m` is minutes as in a timeframe.
pub(super) fn span_of(text: &str) -> Result<Span> {
    let minutes = text.strip_suffix('m').filter(|n| n.ends_with(|c: char| c.is_ascii_digit()));
    minutes.map_or_else(|| text.to_string(), |n| format!("{n} min")).parse()
}

/// What is added to the present, in nanoseconds: nothing, or a sign and a span, of which `m` is minutes as in a timeframe.
fn relative(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, span) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(span), _) => (-1, span.trim()),
        (_, Some(span)) => (1, span.trim()),
        _ => return text.is_empty().then_some(0),
    };
    Some(span_of(span).ok()?.as_nanos_i64().saturating_mul(sign))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_and_what_is_relative_to_it() {
        let minute = 60_000_000_000;
        for (text, by) in [
            ("", 0),
            (" - 1d", -1_440 * minute),
            ("-15m", -15 * minute),
            ("+ 15 min", 15 * minute),
            ("- 9999 w", -9_999 * 7 * 1_440 * minute),
        ] {
            assert_eq!(relative(text), Some(by), "{text}");
            let before = now_ns().saturating_add(by);
            let at = parse_time("start", &format!("now(){text}"), Tz::UTC).unwrap();
            assert!(before <= at && at <= now_ns().saturating_add(by), "{text}");
        }
        assert!(parse_time("start", "now", Tz::UTC).is_ok());
        for text in ["- 1", "1d", "- 1 month", "*2", "-", "é"] {
            assert!(
                relative(text).is_none() && parse_time("start", &format!("now(){text}"), Tz::UTC).is_err(),
                "{text}"
            );
        }
    }
}
