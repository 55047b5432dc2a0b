//! Durations and windows of Flux: months have no fixed length, all else is nanoseconds.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};

/// A duration: months (also those of years) and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) months: i64,
    pub(super) ns: i64,
}

/// Longer units first where one begins like another.
const UNITS: [(&str, i64); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

impl Span {
    /// `1h30m`, `1mo`, `2y`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut span = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let count: i64 = rest.get(..digits)?.parse().ok()?;
            rest = rest.get(digits..)?;
            let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let name = rest.get(..unit)?;
            rest = rest.get(unit..)?;
            match name {
                "mo" => span.months = span.months.checked_add(count)?,
                "y" => span.months = span.months.checked_add(count.checked_mul(12)?)?,
                _ => {
                    let (_, ns) = UNITS.iter().find(|(unit, _)| *unit == name)?;
                    span.ns = span.ns.checked_add(count.checked_mul(*ns)?)?;
                }
            }
        }
        (!text.is_empty()).then_some(span)
    }

    pub(super) fn negative(self) -> Option<Self> {
        Some(Self { months: self.months.checked_neg()?, ns: self.ns.checked_neg()? })
    }

    /// So long after a time; `None`: that cannot be held.
    pub(super) fn after(self, time: i64) -> Option<i64> {
        let moved = if self.months == 0 {
            time
        } else {
            let count = Months::new(u32::try_from(self.months.unsigned_abs()).ok()?);
            let from = DateTime::from_timestamp_nanos(time);
            let to =
                if self.months > 0 { from.checked_add_months(count) } else { from.checked_sub_months(count) };
            to?.timestamp_nanos_opt()?
        };
        moved.checked_add(self.ns)
    }
}

/// RFC 3339 or a date, in nanoseconds since the epoch.
pub(super) fn literal(text: &str) -> Option<i64> {
    let time: DateTime<Utc> = match text.parse::<NaiveDate>() {
        Ok(date) => date.and_time(chrono::NaiveTime::MIN).and_utc(),
        Err(_) => DateTime::parse_from_rfc3339(text).ok()?.to_utc(),
    };
    time.timestamp_nanos_opt()
}

/// Months of a window: a thousand years, more than can be stored.
const MONTHS_MAX: i64 = 12_000;
/// By how much windows of months are moved at most.
const MONTH_OFFSET_NS_MAX: u64 = 31 * 86_400_000_000_000;

/// Windows of one length beside each other, from the epoch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    every: Span,
    offset: i64,
}

impl Windows {
    /// `None`: such a length is none (nothing, backwards, or months mixed with days), or months are moved by more than one.
    pub(super) fn new(every: Span, offset: i64) -> Option<Self> {
        let offset = match (every.months, every.ns) {
            (0, ns) if ns > 0 => offset.rem_euclid(ns),
            (months, 0)
                if (1..=MONTHS_MAX).contains(&months) && offset.unsigned_abs() <= MONTH_OFFSET_NS_MAX =>
            {
                offset
            }
            _ => return None,
        };
        Some(Self { every, offset })
    }

    /// Begin and end of the window that a time is in, as far as they can be held.
    pub(super) fn of(&self, time: i64) -> (i64, i64) {
        let at_least = time.saturating_add(1);
        let (time, offset) = (i128::from(time), i128::from(self.offset));
        let held = |t: i128| i64::try_from(t).unwrap_or(if t < 0 { i64::MIN } else { i64::MAX });
        let (begin, end) = if self.every.months == 0 {
            let every = i128::from(self.every.ns);
            let begin = (time - offset).div_euclid(every) * every;
            (begin, begin + every)
        } else {
            let at = DateTime::from_timestamp_nanos(held(time - offset));
            let month = (i64::from(at.year()) - 1970) * 12 + i64::from(at.month0());
            let first = month.div_euclid(self.every.months) * self.every.months;
            (month_begin(first), month_begin(first + self.every.months))
        };
        // At the end of time a window may be cut off, but each ends after what is in it.
        (held(begin + offset), held(end + offset).max(at_least))
    }
}

/// Nanoseconds of the begin of a month that is so many after January 1970.
fn month_begin(month: i64) -> i128 {
    let year = i32::try_from(1970 + month.div_euclid(12)).unwrap_or(i32::MAX);
    let of_year = u32::try_from(month.rem_euclid(12)).unwrap_or(0) + 1;
    let days = NaiveDate::from_ymd_opt(year, of_year, 1)
        .map_or(0, |date| date.signed_duration_since(NaiveDate::default()).num_days());
    i128::from(days) * 86_400_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn durations() {
        let of = |text| Span::parse(text).map(|s| (s.months, s.ns));
        assert_eq!(of("1h30m"), Some((0, 5_400 * S)));
        assert_eq!(of("1y2mo3d"), Some((14, 3 * 86_400 * S)));
        assert_eq!(of("1ms1us1µs1ns"), Some((0, 1_002_001)));
        for bad in ["", "1", "h", "1x", "1h2", "99999999999999999999s", "9223372036854775807w"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn windows_of_days_and_of_months() {
        let of =
            |every: &str, offset, time| Windows::new(Span::parse(every).unwrap(), offset).unwrap().of(time);
        assert_eq!(of("1m", 0, 61 * S), (60 * S, 120 * S));
        assert_eq!(of("1m", 0, -1), (-60 * S, 0));
        assert_eq!(of("1m", 10 * S, 5 * S), (-50 * S, 10 * S));
        let day = 86_400 * S;
        assert_eq!(of("1mo", 0, 45 * day), (31 * day, 59 * day));
        assert_eq!(of("1y", 0, -1), (-365 * day, 0));
        // At the ends of time nothing overflows.
        assert_eq!(of("1w", 0, i64::MAX - 2).1, i64::MAX);
        let month = 31 * day;
        for (time, offset) in
            [(i64::MAX - 2, -month), (i64::MAX - 2, month), (i64::MIN + 2, month), (i64::MIN + 2, -month)]
        {
            let (begin, end) = of("7mo", offset, time);
            assert!(begin <= time && time < end, "{time} {offset}: {begin} {end}");
        }
        assert_eq!(Windows::new(Span::parse("1mo").unwrap(), month + 1), None);
        assert_eq!(of("1m", 610 * S, 15 * S), of("1m", 10 * S, 15 * S));
        for bad in ["0s", "1mo1d"] {
            assert_eq!(Windows::new(Span::parse(bad).unwrap(), 0), None);
        }
        assert_eq!(Windows::new(Span::parse("1s").unwrap().negative().unwrap(), 0), None);
    }

    #[test]
    fn a_month_before_a_time() {
        let march = literal("2024-03-31").unwrap();
        let back = Span::parse("1mo").unwrap().negative().unwrap();
        assert_eq!(back.after(march), literal("2024-02-29"));
        assert_eq!(Span { months: i64::MAX, ns: 0 }.after(0), None);
        assert_eq!(Span { months: 0, ns: 1 }.after(i64::MAX), None);
    }
}
