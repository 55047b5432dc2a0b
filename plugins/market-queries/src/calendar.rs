//! Trading sessions: when a market opens and closes, by its own clock.

use crate::local;
use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// One session's span: `open` is in it, `close` is not. Nanoseconds UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub open: i64,
    pub close: i64,
}

impl Session {
    pub fn holds(&self, time: i64) -> bool {
        (self.open..self.close).contains(&time)
    }
}

/// At most one session per date. A session that crosses midnight has the date of its close, as exchanges count them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub name: String,
    pub zone: Tz,
    /// Minutes after midnight. Not before `close`: the session opens on the day before its date.
    pub open: u16,
    /// Minutes after midnight, at most 1,440.
    pub close: u16,
    /// From Monday: has the weekday a session?
    pub days: [bool; 7],
    pub holidays: BTreeSet<NaiveDate>,
    /// What holds in place of `close`.
    pub early_closes: BTreeMap<NaiveDate, u16>,
}

impl Calendar {
    pub fn crosses_midnight(&self) -> bool {
        self.open >= self.close
    }

    /// The session that holds a time, if the market is open then.
    pub fn session_at(&self, time: i64) -> Option<Session> {
        let today = local::date(time, self.zone);
        // A session may have opened yesterday for today, or today for tomorrow.
        let dates = [Some(today), today.succ_opt()];
        dates.into_iter().flatten().filter_map(|date| self.session_of(date)).find(|s| s.holds(time))
    }

    fn session_of(&self, date: NaiveDate) -> Option<Session> {
        let weekday = usize::try_from(date.weekday().num_days_from_monday()).ok()?;
        if !*self.days.get(weekday)? || self.holidays.contains(&date) {
            return None;
        }
        let opens_on = if self.crosses_midnight() { date.pred_opt()? } else { date };
        let close = self.early_closes.get(&date).copied().unwrap_or(self.close);
        Some(Session {
            open: local::instant(opens_on, self.open, self.zone)?,
            close: local::instant(date, close, self.zone)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{futures, ns, nyse};

    /// The session around a time, as texts.
    fn session(calendar: &Calendar, time: &str) -> Option<(i64, i64)> {
        calendar.session_at(ns(time)).map(|s| (s.open, s.close))
    }

    fn span(open: &str, close: &str) -> Option<(i64, i64)> {
        Some((ns(open), ns(close)))
    }

    #[test]
    fn the_open_is_in_the_session_and_the_close_is_not() {
        let day = span("2026-06-26T13:30:00Z", "2026-06-26T20:00:00Z");
        for time in ["2026-06-26T13:30:00Z", "2026-06-26T19:59:59Z"] {
            assert_eq!(session(&nyse(), time), day, "{time}");
        }
        for time in ["2026-06-26T13:29:59Z", "2026-06-26T20:00:00Z", "2026-06-27T15:00:00Z"] {
            assert_eq!(session(&nyse(), time), None, "{time}");
        }
    }

    #[test]
    fn the_clock_of_the_market_changes_and_so_does_its_open() {
        for (friday, monday) in [
            (
                span("2026-03-06T14:30:00Z", "2026-03-06T21:00:00Z"),
                span("2026-03-09T13:30:00Z", "2026-03-09T20:00:00Z"),
            ),
            (
                span("2026-10-30T13:30:00Z", "2026-10-30T20:00:00Z"),
                span("2026-11-02T14:30:00Z", "2026-11-02T21:00:00Z"),
            ),
        ] {
            for day in [friday, monday] {
                let open = day.unwrap().0;
                assert_eq!(nyse().session_at(open).map(|s| (s.open, s.close)), day);
                assert_eq!(nyse().session_at(open - 1), None);
            }
        }
    }

    #[test]
    fn holidays_have_no_session_and_early_closes_a_shorter_one() {
        assert_eq!(session(&nyse(), "2026-07-03T15:00:00Z"), None);
        let eve = span("2026-12-24T14:30:00Z", "2026-12-24T18:00:00Z");
        assert_eq!(session(&nyse(), "2026-12-24T17:59:59Z"), eve);
        assert_eq!(session(&nyse(), "2026-12-24T18:00:00Z"), None);
    }

    #[test]
    fn an_overnight_session_has_the_date_of_its_close() {
        // Sunday evening is Monday's; the clocks went forward that morning.
        let monday = span("2026-03-08T22:00:00Z", "2026-03-09T21:00:00Z");
        for time in ["2026-03-08T22:00:00Z", "2026-03-09T03:59:00Z", "2026-03-09T20:59:59Z"] {
            assert_eq!(session(&futures(), time), monday, "{time}");
        }
        // The break from 17:00 to 18:00, Friday evening, Sunday noon.
        for time in ["2026-03-09T21:00:00Z", "2026-03-06T23:30:00Z", "2026-03-08T16:00:00Z"] {
            assert_eq!(session(&futures(), time), None, "{time}");
        }
        // A holiday takes the evening before with it; an early close leaves it.
        assert_eq!(session(&futures(), "2026-07-02T23:00:00Z"), None);
        let eve = span("2026-12-23T23:00:00Z", "2026-12-24T18:00:00Z");
        assert_eq!(session(&futures(), "2026-12-24T01:00:00Z"), eve);
    }

    #[test]
    fn a_session_in_which_the_clock_changes_is_an_hour_shorter_or_longer() {
        let sundays = Calendar { days: [true; 7], ..futures() };
        let hours = |time| sundays.session_at(ns(time)).map(|s| (s.close - s.open) / 3_600_000_000_000);
        assert_eq!(hours("2026-03-07T12:00:00Z"), Some(23));
        assert_eq!(hours("2026-03-08T12:00:00Z"), Some(22));
        assert_eq!(hours("2026-11-01T12:00:00Z"), Some(24));
    }

    #[test]
    fn days_without_a_break() {
        let all = Calendar { open: 0, close: 1_440, days: [true; 7], ..nyse() };
        assert_eq!(
            session(&all, "2026-06-27T03:59:59Z"),
            span("2026-06-26T04:00:00Z", "2026-06-27T04:00:00Z")
        );
        let forex = Calendar { open: 17 * 60, close: 17 * 60, ..nyse() };
        let monday = span("2026-06-28T21:00:00Z", "2026-06-29T21:00:00Z");
        assert_eq!(session(&forex, "2026-06-28T21:00:00Z"), monday);
        assert_eq!(session(&forex, "2026-06-28T20:59:59Z"), None);
    }

    #[test]
    fn the_ends_of_time_are_no_session_or_a_right_one() {
        for time in [i64::MIN, i64::MIN + 2, i64::MAX - 1, i64::MAX] {
            for calendar in [nyse(), futures()] {
                assert!(calendar.session_at(time).is_none_or(|s| s.holds(time)));
            }
        }
    }
}
