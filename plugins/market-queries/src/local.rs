//! Instants of local times, also of those that a change of the clock skips or repeats: by the host's rule, so that a session
//! and a day of the host's own queries begin at the same instant.

use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// How far around a local time, taken as UTC, its instant can lie: zones reach from -12 h to +14 h.
const OFFSET_MAX_S: i64 = 36 * 3_600;
const NS_PER_S: i64 = 1_000_000_000;

/// The instant of so many minutes after midnight, by the clock on the wall; 1,440 is the next midnight. Of a time that
/// occurs twice the first; of one that is skipped the first instant after it.
pub fn instant(date: NaiveDate, minutes: u16, zone: Tz) -> Option<i64> {
    let local = date.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::minutes(minutes.into()))?;
    let seconds = match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => time.timestamp(),
        MappedLocalTime::None => {
            let guess = local.and_utc().timestamp();
            let (mut before, mut after) = (guess - OFFSET_MAX_S, guess + OFFSET_MAX_S);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                let reached = DateTime::from_timestamp(middle, 0)
                    .is_some_and(|time| time.with_timezone(&zone).naive_local() >= local);
                if reached {
                    after = middle;
                } else {
                    before = middle;
                }
            }
            after
        }
    };
    seconds.checked_mul(NS_PER_S)
}

/// The date on the calendar on the wall.
pub fn date(time: i64, zone: Tz) -> NaiveDate {
    DateTime::from_timestamp_nanos(time).with_timezone(&zone).date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ns;

    const NEW_YORK: Tz = Tz::America__New_York;

    fn at(date: &str, minutes: u16) -> i64 {
        instant(date.parse().unwrap(), minutes, NEW_YORK).unwrap()
    }

    #[test]
    fn the_same_hour_is_another_instant_in_summer() {
        assert_eq!(at("2026-03-06", 9 * 60 + 30), ns("2026-03-06T14:30:00Z"));
        assert_eq!(at("2026-03-09", 9 * 60 + 30), ns("2026-03-09T13:30:00Z"));
        assert_eq!(at("2026-03-07", 1_440), ns("2026-03-08T05:00:00Z"));
    }

    #[test]
    fn a_skipped_time_is_the_next_instant_and_a_repeated_one_the_first() {
        for minutes in [120, 150, 179, 180] {
            assert_eq!(at("2026-03-08", minutes), ns("2026-03-08T07:00:00Z"), "{minutes}");
        }
        assert_eq!(at("2026-11-01", 90), ns("2026-11-01T05:30:00Z"));
    }

    #[test]
    fn the_ends_of_time_have_dates_and_no_wrong_instants() {
        for (time, zone) in [(i64::MIN, Tz::Pacific__Apia), (i64::MAX, NEW_YORK), (0, Tz::UTC)] {
            let _ = instant(date(time, zone), 1_440, zone);
        }
        assert_eq!(instant(NaiveDate::MAX, 1_440, Tz::UTC), None);
        assert_eq!(instant(NaiveDate::MIN, 0, NEW_YORK), None);
    }
}
