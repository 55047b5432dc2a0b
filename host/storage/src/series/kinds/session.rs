//! Trading sessions: which instants of a date are traded, and bars that begin with the session.

use super::timeframe::{Bar, Timeframe, within};
use super::zone::{instant_of_local, zone};
use crate::error::{Error, Result};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Holidays of one calendar, and dates on which it closes early: each at most so many.
pub const SESSION_DATES_MAX: usize = 5_000;
/// Dates without a session in a row, at most: if every holiday were a Monday of a calendar of Mondays.
const DATES_WITHOUT_MAX: usize = (SESSION_DATES_MAX + 2) * 7;

/// When a market trades, as people write it. Times of day are local to `timezone`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// IANA zone.
    pub timezone: String,
    /// `09:30`. Where it is not before `close`, the session of a date opens the day before.
    pub open: String,
    /// `16:00`; the session's last instant is before it.
    pub close: String,
    /// Dates that have a session, by their day of the week: `mon` to `fri` by default.
    #[serde(default = "working_days")]
    pub weekdays: Vec<String>,
    /// Dates without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<String>,
    /// Dates that close earlier, and when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub early: BTreeMap<String, String>,
}

pub(crate) fn working_days() -> Vec<String> {
    ["mon", "tue", "wed", "thu", "fri"].map(String::from).to_vec()
}

/// A checked [`Session`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    zone: Tz,
    open: NaiveTime,
    close: NaiveTime,
    weekdays: [bool; 7],
    holidays: BTreeSet<NaiveDate>,
    early: BTreeMap<NaiveDate, NaiveTime>,
}

impl Session {
    /// Everything that is wrong with it, each with the key that it is wrong in; else what it means.
    pub(crate) fn check(&self) -> std::result::Result<Calendar, Vec<(&'static str, String)>> {
        let mut wrong = Vec::new();
        let zone = zone("timezone", Some(&self.timezone)).unwrap_or_else(|e| {
            wrong.push(("timezone", e.message().to_string()));
            Tz::UTC
        });
        let mut time = |key, text: &str| {
            time_of_day(text).unwrap_or_else(|| {
                wrong.push((key, format!("`{text}` is not a time of day, such as `09:30`")));
                NaiveTime::MIN
            })
        };
        let (open, close) = (time("open", &self.open), time("close", &self.close));
        let early: Vec<(&String, NaiveTime)> =
            self.early.iter().map(|(date, at)| (date, time("early", at))).collect();
        let mut weekdays = [false; 7];
        for name in &self.weekdays {
            let day = name.parse::<Weekday>().ok().filter(|_| name.len() == 3);
            match day.and_then(|d| weekdays.get_mut(d.num_days_from_monday() as usize)) {
                Some(day) => *day = true,
                None => {
                    wrong.push(("weekdays", format!("`{name}` is none of mon, tue, wed, thu, fri, sat, sun")))
                }
            }
        }
        if self.weekdays.is_empty() {
            wrong.push(("weekdays", "is empty: no date would have a session".into()));
        }
        for (key, count) in [("holidays", self.holidays.len()), ("early", self.early.len())] {
            if count > SESSION_DATES_MAX {
                wrong.push((key, format!("has {count} dates, more than {SESSION_DATES_MAX}")));
            }
        }
        let mut date = |key, text: &str| {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
            if date.is_none() {
                wrong.push((key, format!("`{text}` is not a date, such as `2024-07-04`")));
            }
            date
        };
        let holidays = self.holidays.iter().filter_map(|text| date("holidays", text)).collect();
        let early: BTreeMap<NaiveDate, NaiveTime> =
            early.into_iter().filter_map(|(text, at)| Some((date("early", text)?, at))).collect();
        for (date, at) in &early {
            if *at >= close || (open < close && *at <= open) {
                wrong.push((
                    "early",
                    format!("{date} closes at {at}, which is not within the session before its usual close"),
                ));
            }
        }
        if wrong.is_empty() {
            return Ok(Calendar { zone, open, close, weekdays, holidays, early });
        }
        Err(wrong)
    }

    /// What it means; `place` is the key that the caller wrote it under.
    pub fn calendar(&self, place: &str) -> Result<Calendar> {
        self.check().map_err(|wrong| {
            let said: Vec<String> = wrong.iter().take(10).map(|(key, why)| format!("`{place}.{key}`: {why}")).collect();
            Error::invalid(said.join("; ")).hint(
                r#"such as {"timezone":"America/New_York","open":"09:30","close":"16:00","holidays":["2024-07-04"]}"#,
            )
        })
    }
}

fn time_of_day(text: &str) -> Option<NaiveTime> {
    ["%H:%M", "%H:%M:%S"].iter().find_map(|format| NaiveTime::parse_from_str(text, format).ok())
}

impl Calendar {
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Do whole bars of a part of a day, counted from midnight, fill the session from its opening on? Bars of days and longer
    /// begin outside of it.
    pub fn is_filled_by(&self, bars: &Timeframe) -> bool {
        let open_s = i64::from(chrono::Timelike::num_seconds_from_midnight(&self.open));
        bars.part_of_day_s().is_some_and(|s| open_s % s == 0)
    }

    /// The session of a date. `None`: there is none.
    fn of(&self, date: NaiveDate) -> Option<Bar> {
        let day = date.weekday().num_days_from_monday() as usize;
        if !self.weekdays.get(day).copied().unwrap_or(false) || self.holidays.contains(&date) {
            return None;
        }
        let opens = if self.open < self.close { date } else { date.pred_opt()? };
        let close = self.early.get(&date).unwrap_or(&self.close);
        let start = instant_of_local(opens.and_time(self.open), self.zone);
        let end = instant_of_local(date.and_time(*close), self.zone);
        (start < end).then_some(Bar { start, end })
    }

    /// The session that holds `time`, or the next one, with the date that it belongs to.
    pub fn session_from(&self, time: i64) -> Option<(NaiveDate, Bar)> {
        let date = DateTime::from_timestamp_nanos(time).with_timezone(&self.zone).date_naive();
        let dates = std::iter::successors(date.pred_opt(), NaiveDate::succ_opt).take(DATES_WITHOUT_MAX);
        dates.filter_map(|d| Some((d, self.of(d)?))).find(|(_, session)| session.end > time)
    }

    /// The bar that holds `time`, or the next one. Parts of a day are counted from the opening and end with the close; days
    /// are sessions; weeks and longer have the sessions of their dates, and begin with the first of them.
    pub fn bar_from(&self, timeframe: Timeframe, time: i64) -> Option<Bar> {
        let (date, session) = self.session_from(time)?;
        if let Some(length_s) = timeframe.part_of_day_s() {
            return Some(within(session, time.max(session.start), length_s));
        }
        let index = timeframe.index_of(date);
        let dates = |from: Option<NaiveDate>, step: fn(&NaiveDate) -> Option<NaiveDate>| {
            std::iter::successors(from, step)
        };
        let first = dates(timeframe.first_date(index), NaiveDate::succ_opt).take_while(|d| *d <= date);
        let next = timeframe.first_date(index + 1).and_then(|d| d.pred_opt());
        let last = dates(next, NaiveDate::pred_opt).take_while(|d| *d >= date);
        Some(Bar {
            start: first.filter_map(|d| self.of(d)).next().unwrap_or(session).start,
            end: last.filter_map(|d| self.of(d)).next().unwrap_or(session).end,
        })
    }

    /// Which of the ascending `times` are within a session.
    pub fn within(&self, times: &[i64]) -> Vec<bool> {
        let mut keep = vec![false; times.len()];
        let mut at = 0;
        while let Some(time) = times.get(at) {
            let Some((_, session)) = self.session_from(*time) else { break };
            let rest = times.get(at..).unwrap_or_default();
            let from = at + rest.partition_point(|t| *t < session.start);
            let to = at + rest.partition_point(|t| *t < session.end);
            if let Some(kept) = keep.get_mut(from..to) {
                kept.fill(true);
            }
            at = to.max(at + 1);
        }
        keep
    }
}

impl Session {
    /// New York's stocks, for tests.
    #[cfg(test)]
    pub(crate) fn new_york() -> Self {
        Self {
            timezone: "America/New_York".into(),
            open: "09:30".into(),
            close: "16:00".into(),
            weekdays: working_days(),
            holidays: vec!["2024-07-04".into()],
            early: [("2024-07-03".to_string(), "13:00".to_string())].into(),
        }
    }
}
