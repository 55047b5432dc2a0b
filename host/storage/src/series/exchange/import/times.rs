//! Times as cells of files have them.

use crate::series::kinds::instant_of_local;
use crate::series::line_protocol::Precision;
use crate::series::query::parse_time;
use chrono::DateTime;
use chrono_tz::Tz;

/// Hours and minutes behind a time, without what RFC 3339 wants: `+00`, `+0530`.
const OFFSET_SHORT: [usize; 2] = [3, 5];

/// How a file's times are read.
#[derive(Debug, Clone, Copy)]
pub(in crate::series::exchange) struct Times {
    /// Of whole numbers; `None`: they are told apart by their size, where `guess` allows that.
    pub(in crate::series::exchange) unit: Option<Precision>,
    pub(in crate::series::exchange) guess: bool,
    /// Of times without an offset.
    pub(in crate::series::exchange) zone: Tz,
}

impl Times {
    /// Nanoseconds since the epoch; `None` of what is no time, or none that can be stored.
    pub(in crate::series::exchange) fn of_text(&self, text: &str) -> Option<i64> {
        let text = text.trim();
        if let Ok(n) = text.parse::<i64>() {
            return self.of_number(n);
        }
        // The present is no time of a row.
        if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+')) {
            return None;
        }
        let read = |text: &str| parse_time("time", text, self.zone).ok();
        read(text).or_else(|| read(&with_offset(text)?)).or_else(|| read(&american(text)?))
    }

    pub(in crate::series::exchange) fn of_number(&self, n: i64) -> Option<i64> {
        n.checked_mul(match self.unit {
            Some(unit) => unit.ns(),
            None if self.guess => by_size(n),
            None => return None,
        })
    }

    /// Whole numbers are times only if somebody says of what.
    pub(in crate::series::exchange) const fn takes_numbers(&self) -> bool {
        self.unit.is_some() || self.guess
    }

    /// The instant at which a clock of the zone shows so many nanoseconds since the epoch.
    pub(in crate::series::exchange) fn of_clock(&self, ns: i64) -> Option<i64> {
        match self.zone {
            Tz::UTC => Some(ns),
            zone => Some(instant_of_local(DateTime::from_timestamp_nanos(ns).naive_utc(), zone)),
        }
    }
}

/// Nanoseconds of one unit of an epoch in seconds, milliseconds, microseconds or nanoseconds: any day after 1973 has 12 or more
/// digits in milliseconds.
const fn by_size(n: i64) -> i64 {
    match n.unsigned_abs() {
        0..=99_999_999_999 => 1_000_000_000,
        100_000_000_000..=99_999_999_999_999 => 1_000_000,
        100_000_000_000_000..=99_999_999_999_999_999 => 1_000,
        _ => 1,
    }
}

/// `2024-01-02 13:30:00+00` and `…+0000`, as DuckDB and polars write it.
fn with_offset(text: &str) -> Option<String> {
    let at = text.rfind(['+', '-']).filter(|at| OFFSET_SHORT.contains(&(text.len() - at)))?;
    // Not the day of a date.
    text.get(..at)?.contains(':').then_some(())?;
    let (time, offset) = text.split_at(at);
    let (hours, minutes) = offset.split_at_checked(3)?;
    let minutes = if minutes.is_empty() { "00" } else { minutes };
    Some(format!("{time}{hours}:{minutes}"))
}

/// `1/31/1999`, as spreadsheets and American exchanges write it, month first.
fn american(text: &str) -> Option<String> {
    let mut parts = text.splitn(3, '/');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |t: &str, most: u32| t.parse::<u32>().ok().filter(|n| (1..=most).contains(n));
    let (month, day) = (number(month, 12)?, number(day, 31)?);
    (year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()))
        .then(|| format!("{year}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARS: Times = Times { unit: None, guess: true, zone: Tz::UTC };

    #[test]
    fn epochs_by_their_size() {
        for (text, want) in [
            ("0", 0),
            ("1719408600", 1_719_408_600_000_000_000),
            ("1719408600000", 1_719_408_600_000_000_000),
            ("1719408600000000", 1_719_408_600_000_000_000),
            ("1719408600000000000", 1_719_408_600_000_000_000),
            ("1/4/1999", 915_408_000_000_000_000),
            ("12/31/2018", 1_546_214_400_000_000_000),
        ] {
            assert_eq!(BARS.of_text(text), Some(want), "{text}");
        }
        for bad in
            ["31/1/1999", "1/32/1999", "2/30/1999", "1/1/99", "1/1/1999/1", "//", "0/1/1999", "now()", ""]
        {
            assert_eq!(BARS.of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_need_a_unit_where_nothing_else_says_it() {
        let of = |unit| Times { unit, guess: false, zone: Tz::UTC }.of_text("5");
        assert_eq!(
            (of(None), of(Some(Precision::Ms)), of(Some(Precision::Ns))),
            (None, Some(5_000_000), Some(5))
        );
    }

    #[test]
    fn every_writer_s_offsets() {
        let want = 1_704_202_200_123_000_000;
        for text in [
            "2024-01-02T13:30:00.123Z",
            "2024-01-02 13:30:00.123",
            "2024-01-02 13:30:00.123+00:00",
            "2024-01-02 13:30:00.123+00",
            "2024-01-02T13:30:00.123000+0000",
            "2024-01-02 19:00:00.123+0530",
            "2024-01-02 08:30:00.123-05",
        ] {
            assert_eq!(BARS.of_text(text), Some(want), "{text}");
        }
        let new_york = Times { zone: chrono_tz::America::New_York, ..BARS };
        assert_eq!(new_york.of_text("2024-01-02 08:30:00.123"), Some(want));
        assert_eq!(new_york.of_clock(want), Some(want + 5 * 3_600_000_000_000));
        assert_eq!(BARS.of_clock(want), Some(want));
    }
}
