//! The kinds of series and how measurements are named: `bar.1m.AAPL`, `tick.AAPL`, `book.AAPL`, `signal.NAME`,
//! `metric.COMPONENT`; and timeframes, the lengths of bars.

use super::model::SeriesKey;
use crate::error::{Error, Result};
use chrono::{DateTime, Datelike as _, Duration, NaiveDate, NaiveTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use serde::Serialize;
use std::fmt;

/// What a series holds, by its measurement's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Bar,
    Tick,
    Book,
    Signal,
    Metric,
    Other,
}

impl Kind {
    /// By the first part of the measurement's name.
    pub fn of(measurement: &str) -> Self {
        match measurement.split_once('.').map(|(kind, rest)| (kind, rest.is_empty())) {
            Some(("bar", false)) if timeframe_of(measurement).is_some() => Self::Bar,
            Some(("tick", false)) => Self::Tick,
            Some(("book", false)) => Self::Book,
            Some(("signal", false)) => Self::Signal,
            Some(("metric", false)) => Self::Metric,
            _ => Self::Other,
        }
    }
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bar => "bar",
            Self::Tick => "tick",
            Self::Book => "book",
            Self::Signal => "signal",
            Self::Metric => "metric",
            Self::Other => "other",
        }
    }
    /// Is this field of the kind a float whatever literal a feed writes for it?
    pub fn is_float_field(self, field: &str) -> bool {
        match self {
            Self::Bar => matches!(field, "open" | "high" | "low" | "close" | "volume" | "vwap" | "adj_close"),
            Self::Tick => matches!(field, "price" | "size" | "bid" | "ask" | "bid_size" | "ask_size"),
            Self::Book => field.starts_with("bid_") || field.starts_with("ask_"),
            Self::Signal | Self::Metric | Self::Other => false,
        }
    }
}

const SECOND_NS: i64 = 1_000_000_000;
/// The longest timeframe: 366 days.
const TIMEFRAME_MAX_S: i64 = 366 * 86_400;
/// Monday, 5 January 1970: weeks begin on Mondays.
const FIRST_MONDAY_NS: i64 = 4 * 86_400 * SECOND_NS;
const WEEK_NS: i64 = 7 * 86_400 * SECOND_NS;
const DAY_NS: i64 = 86_400 * SECOND_NS;

/// The length of a bar: `1s`, `5m`, `1h`, `1d`, `1w`. Its canonical form uses the largest unit that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timeframe(i64);

impl Timeframe {
    /// A whole number and one of `s m h d w`; at most 366 days.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("`{}` is not a timeframe", text.escape_debug()))
                .hint("write a number and one of s, m, h, d, w: `1m`, `1h`, `1d`, `1w`")
        };
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
        let unit_s = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return Err(wrong()),
        };
        let seconds = number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit_s)).ok_or_else(wrong)?;
        if !(1..=TIMEFRAME_MAX_S).contains(&seconds) {
            return Err(wrong());
        }
        Ok(Self(seconds * SECOND_NS))
    }

    /// Its length in nanoseconds; days and weeks in UTC.
    pub fn ns(self) -> i64 {
        self.0
    }

    /// The start of the bar that holds `time`, in UTC.
    pub fn floor(self, time: i64) -> i64 {
        let origin = if self.0 % WEEK_NS == 0 { FIRST_MONDAY_NS } else { 0 };
        let since = i128::from(time) - i128::from(origin);
        let floor = since.div_euclid(i128::from(self.0)) * i128::from(self.0) + i128::from(origin);
        i64::try_from(floor).unwrap_or(super::model::TIME_MIN_NS)
    }

    /// Start (in the bar) and end (not in it) of the bar that holds `time`, in a time zone: days and weeks begin at its
    /// midnight, so that they have 23 or 25 hours when clocks change.
    pub fn bounds(self, time: i64, zone: Option<Tz>) -> (i64, i64) {
        let plain = |time| {
            let start = self.floor(time);
            (start, start.saturating_add(self.0))
        };
        let Some(zone) = zone.filter(|z| *z != Tz::UTC) else { return plain(time) };
        let local = DateTime::from_timestamp_nanos(time).with_timezone(&zone);
        if self.0 % DAY_NS != 0 {
            let shift = i64::from(local.offset().fix().local_minus_utc()) * SECOND_NS;
            let (start, end) = plain(time.saturating_add(shift));
            return (start.saturating_sub(shift), end.saturating_sub(shift));
        }
        let days = self.0 / DAY_NS;
        let date = local.date_naive();
        // Days since Monday, 5 January 1970 for weeks, since the epoch otherwise.
        let number = i64::from(date.num_days_from_ce() - EPOCH_FROM_CE) - if self.0 % WEEK_NS == 0 { 4 } else { 0 };
        let first = date - Duration::days(number.rem_euclid(days));
        let start = midnight(first, zone);
        let end = midnight(first + Duration::days(days), zone);
        match (start, end) {
            (Some(s), Some(e)) if s <= time && time < e => (s, e),
            _ => plain(time),
        }
    }
}

/// Days from the first day of year 1 to the epoch.
const EPOCH_FROM_CE: i32 = 719_163;

/// The first instant of a day; clocks may skip midnight itself.
fn midnight(day: NaiveDate, zone: Tz) -> Option<i64> {
    let at = day.and_time(NaiveTime::MIN);
    (0..4)
        .find_map(|half_hours| zone.from_local_datetime(&(at + Duration::minutes(30 * half_hours))).earliest())?
        .timestamp_nanos_opt()
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / SECOND_NS;
        for (unit, length) in [("w", 7 * 86_400), ("d", 86_400), ("h", 3_600), ("m", 60)] {
            if seconds % length == 0 {
                return write!(f, "{}{unit}", seconds / length);
            }
        }
        write!(f, "{seconds}s")
    }
}

/// Of `bar.TIMEFRAME.SYMBOL`.
pub fn timeframe_of(measurement: &str) -> Option<Timeframe> {
    let (timeframe, symbol) = measurement.strip_prefix("bar.")?.split_once('.')?;
    if symbol.is_empty() { None } else { Timeframe::parse(timeframe).ok() }
}

/// Of a bar, tick or book.
pub fn symbol_of(measurement: &str) -> Option<&str> {
    match Kind::of(measurement) {
        Kind::Bar => measurement.splitn(3, '.').nth(2),
        Kind::Tick | Kind::Book => measurement.split_once('.').map(|(_, symbol)| symbol),
        Kind::Signal | Kind::Metric | Kind::Other => None,
    }
}

/// Where bars of `timeframe` rolled up from a bar or tick series go.
pub fn rollup_measurement(measurement: &str, timeframe: Timeframe) -> Option<String> {
    match Kind::of(measurement) {
        Kind::Bar | Kind::Tick => symbol_of(measurement).map(|symbol| format!("bar.{timeframe}.{symbol}")),
        _ => None,
    }
}

/// The typed key of a line of line protocol, as docs/line-protocol.md says; a line that lacks a tag that its kind needs
/// stays the free measurement that it is.
pub fn typed(key: SeriesKey) -> SeriesKey {
    let needed: &[&str] = match key.measurement.as_str() {
        "bar" => &["timeframe", "symbol"],
        "tick" | "book" => &["symbol"],
        "signal" => &["strategy"],
        "metric" | "metrics" => &["component"],
        _ => return key,
    };
    let mut name = if key.measurement == "metrics" { "metric".to_string() } else { key.measurement.clone() };
    for tag in needed {
        let Some(value) = key.tag(tag) else { return key };
        // One spelling of a timeframe, or `60s` and `1m` would be two series.
        let canonical = match *tag {
            "timeframe" => match Timeframe::parse(value) {
                Ok(t) => t.to_string(),
                Err(_) => return key,
            },
            _ => value.to_string(),
        };
        name.push('.');
        name.push_str(&canonical);
    }
    let tags = key.tags.into_iter().filter(|(k, _)| !needed.contains(&k.as_str())).collect();
    SeriesKey { bucket: key.bucket, measurement: name, tags }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_have_kinds() {
        for (name, kind, symbol) in [
            ("bar.1m.AAPL", Kind::Bar, Some("AAPL")),
            ("bar.1m.BRK.B", Kind::Bar, Some("BRK.B")),
            ("bar.x.AAPL", Kind::Other, None),
            ("bar.1m.", Kind::Other, None),
            ("tick.BRK.B", Kind::Tick, Some("BRK.B")),
            ("book.A", Kind::Book, Some("A")),
            ("signal.momentum", Kind::Signal, None),
            ("metric.feed", Kind::Metric, None),
            ("bar", Kind::Other, None),
            ("tick.", Kind::Other, None),
            ("cpu", Kind::Other, None),
        ] {
            assert_eq!((Kind::of(name), symbol_of(name)), (kind, symbol), "{name}");
        }
    }

    #[test]
    fn timeframes() {
        for (text, canonical) in [("1m", "1m"), ("60s", "1m"), ("24h", "1d"), ("7d", "1w"), ("90s", "90s"), ("366d", "366d")] {
            assert_eq!(Timeframe::parse(text).unwrap().to_string(), canonical, "{text}");
        }
        for bad in ["", "m", "0m", "-1m", "1", "1x", "1.5h", "367d", "99999999999999999999d", "1 m", "1mo", "١m"] {
            assert!(Timeframe::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(rollup_measurement("tick.A", Timeframe::parse("60s").unwrap()).as_deref(), Some("bar.1m.A"));
        assert_eq!(rollup_measurement("bar.1m.A.B", Timeframe::parse("1h").unwrap()).as_deref(), Some("bar.1h.A.B"));
        assert_eq!(rollup_measurement("book.A", Timeframe::parse("1h").unwrap()), None);
    }

    fn ns(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
    }

    #[test]
    fn bars_begin_where_calendars_say() {
        let of = |t: &str| Timeframe::parse(t).unwrap();
        assert_eq!(of("1w").floor(ns("2026-06-28T23:59:59Z")), ns("2026-06-22T00:00:00Z"), "weeks begin on Mondays");
        assert_eq!(of("1d").floor(-1), -86_400 * SECOND_NS);
        assert_eq!(of("1h").floor(super::super::model::TIME_MIN_NS), super::super::model::TIME_MIN_NS);
        let ny = Some(chrono_tz::America::New_York);
        // Clocks go forward on 8 March 2026 and back on 1 November 2026.
        for (time, start, hours) in [
            ("2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", 23),
            ("2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", 25),
            ("2026-06-26T03:59:59Z", "2026-06-25T04:00:00Z", 24),
        ] {
            let (s, e) = of("1d").bounds(ns(time), ny);
            assert_eq!((s, (e - s) / (3_600 * SECOND_NS)), (ns(start), hours), "{time}");
        }
        assert_eq!(of("1w").bounds(ns("2026-06-28T12:00:00Z"), ny).0, ns("2026-06-22T04:00:00Z"));
        let kolkata = Some(chrono_tz::Asia::Kolkata);
        assert_eq!(of("1h").bounds(ns("2026-06-26T10:10:00Z"), kolkata).0, ns("2026-06-26T09:30:00Z"));
        // In Havana clocks skip midnight.
        let havana = Some(chrono_tz::America::Havana);
        let (s, e) = of("1d").bounds(ns("2026-03-08T12:00:00Z"), havana);
        assert_eq!((s, (e - s) / (3_600 * SECOND_NS)), (ns("2026-03-08T05:00:00Z"), 23));
    }

    #[test]
    fn lines_become_typed_series() {
        let key = |m: &str, tags: &[(&str, &str)]| {
            SeriesKey::new("b", m, tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()).unwrap()
        };
        for (m, tags, want) in [
            ("bar", &[("symbol", "A"), ("timeframe", "60s")][..], "b/bar.1m.A"),
            ("bar", &[("symbol", "A"), ("timeframe", "1m"), ("venue", "X")], "b/bar.1m.A,venue=X"),
            ("bar", &[("symbol", "A")], "b/bar,symbol=A"),
            ("bar", &[("symbol", "A"), ("timeframe", "soon")], "b/bar,symbol=A,timeframe=soon"),
            ("tick", &[("symbol", "BRK.B")], "b/tick.BRK.B"),
            ("signal", &[("strategy", "pairs"), ("symbol", "A")], "b/signal.pairs,symbol=A"),
            ("metrics", &[("component", "feed")], "b/metric.feed"),
            ("cpu", &[("host", "a")], "b/cpu,host=a"),
            ("bar.1m.A", &[], "b/bar.1m.A"),
        ] {
            assert_eq!(typed(key(m, tags)).to_string(), want);
        }
    }
}
