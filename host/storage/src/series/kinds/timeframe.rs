//! The length of a bar: a part of a day, or whole days, weeks, months of a calendar.

use super::zone::instant_of_local;
use crate::error::{Error, Result};
use crate::series::model::TIME_MIN_NS;
use crate::series::pieces::Even;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const NS_PER_S: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;
const DAY_NS: i64 = DAY_S * NS_PER_S;
/// The most days, weeks or months of one bar.
pub const CALENDAR_COUNT_MAX: u32 = 1_000;
/// 1970-01-01 in days since the first day of the common era.
const EPOCH_DAY_CE: i32 = 719_163;
/// Days from Monday, 29 December 1969, to the epoch, a Thursday.
const MONDAY_SHIFT_DAYS: i64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

impl Unit {
    const ALL: [(&'static str, Self); 6] = [
        ("s", Self::Second),
        ("m", Self::Minute),
        ("h", Self::Hour),
        ("d", Self::Day),
        ("w", Self::Week),
        ("mo", Self::Month),
    ];
}

/// The length of a bar: `1s 5s 1m 5m 15m 1h 4h` (a part of a day that divides it), or `1d 1w 1mo` of a calendar.
///
/// Days begin at local midnight, weeks on Monday, months on their first. Parts of a day are counted from local
/// midnight, in time that passes: where clocks change, the day has an hour more or less of them and its last bar
/// ends with it. Several days, weeks or months are counted from 1970-01-01 (weeks: from Monday, 1969-12-29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeframe {
    count: u32,
    unit: Unit,
}

/// One bar's span: `start` is in it, `end` is not. Nanoseconds UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    pub start: i64,
    pub end: i64,
}

impl Timeframe {
    /// Seconds of a bar that is a part of a day; `None` for days, weeks and months.
    pub(super) const fn part_of_day_s(&self) -> Option<i64> {
        match self.unit {
            Unit::Second => Some(self.count as i64),
            Unit::Minute => Some(self.count as i64 * 60),
            Unit::Hour => Some(self.count as i64 * 3_600),
            Unit::Day | Unit::Week | Unit::Month => None,
        }
    }

    /// Are its bars months, and so of different lengths?
    pub(crate) const fn is_of_months(&self) -> bool {
        matches!(self.unit, Unit::Month)
    }

    /// Do whole bars of `finer` fill one bar of this? True for itself.
    pub fn is_filled_by(&self, finer: &Self) -> bool {
        match (self.part_of_day_s(), finer.part_of_day_s()) {
            (Some(mine), Some(theirs)) => mine % theirs == 0,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) if self.unit == finer.unit => self.count.is_multiple_of(finer.count),
            (None, None) => finer.unit == Unit::Day && finer.count == 1,
        }
    }

    /// The start of the bar that holds `time`.
    pub fn floor(&self, time: i64, zone: Tz) -> i64 {
        self.bar_at(time, zone).start
    }

    /// The start of the bar after the one that holds `time`.
    pub fn next(&self, time: i64, zone: Tz) -> i64 {
        self.bar_at(time, zone).end
    }

    /// Its bars, where they are all of one length: in UTC all but months.
    pub(crate) fn even(&self, zone: Tz) -> Option<Even> {
        if zone != Tz::UTC {
            return None;
        }
        let count = i64::from(self.count);
        match (self.unit, self.part_of_day_s()) {
            // Parts of a day divide it, and days divide the time since the epoch.
            (_, Some(length_s)) => Some(Even { length: length_s.saturating_mul(NS_PER_S), first: 0 }),
            (Unit::Day, None) => Some(Even { length: DAY_NS.saturating_mul(count), first: 0 }),
            (Unit::Week, None) => {
                Some(Even { length: (7 * DAY_NS).saturating_mul(count), first: -MONDAY_SHIFT_DAYS * DAY_NS })
            }
            (Unit::Second | Unit::Minute | Unit::Hour | Unit::Month, None) => None,
        }
    }

    /// The bar that holds `time`. A start before the least storable time is that time.
    pub fn bar_at(&self, time: i64, zone: Tz) -> Bar {
        let bar = match (self.even(zone), self.part_of_day_s()) {
            (Some(even), _) => Bar { start: even.start_of(time), end: even.end_of(time) },
            (None, Some(length_s)) => {
                within(Self { count: 1, unit: Unit::Day }.calendar_bar(time, zone), time, length_s)
            }
            (None, None) => self.calendar_bar(time, zone),
        };
        Bar { start: bar.start.max(TIME_MIN_NS), end: bar.end }
    }

    /// The boundaries are the starts of local days, so bars share no instant and leave none out, whatever the
    /// clocks do; a date that a zone skipped is an empty bar.
    fn calendar_bar(&self, time: i64, zone: Tz) -> Bar {
        let date = DateTime::from_timestamp_nanos(time).with_timezone(&zone).date_naive();
        let mut index = self.index_of(date);
        while self.begin(index, zone) > time {
            index -= 1;
        }
        loop {
            let end = self.begin(index + 1, zone);
            if end > time || end == i64::MAX {
                return Bar { start: self.begin(index, zone), end };
            }
            index += 1;
        }
    }

    /// The number of the bar that a date is in.
    pub(super) fn index_of(&self, date: NaiveDate) -> i64 {
        let count = i64::from(self.count);
        let days = i64::from(date.num_days_from_ce() - EPOCH_DAY_CE);
        match self.unit {
            Unit::Week => (days + MONDAY_SHIFT_DAYS).div_euclid(7 * count),
            Unit::Month => {
                ((i64::from(date.year()) - 1970) * 12 + i64::from(date.month0())).div_euclid(count)
            }
            Unit::Second | Unit::Minute | Unit::Hour | Unit::Day => days.div_euclid(count),
        }
    }

    /// The first date of a bar, if there is such a date.
    pub(super) fn first_date(&self, index: i64) -> Option<NaiveDate> {
        let first = index.saturating_mul(i64::from(self.count));
        match self.unit {
            Unit::Month => i32::try_from(first.div_euclid(12).saturating_add(1970))
                .ok()
                .zip(u32::try_from(first.rem_euclid(12)).ok())
                .and_then(|(year, month0)| NaiveDate::from_ymd_opt(year, month0 + 1, 1)),
            Unit::Week => day(first.saturating_mul(7).saturating_sub(MONDAY_SHIFT_DAYS)),
            Unit::Second | Unit::Minute | Unit::Hour | Unit::Day => day(first),
        }
    }

    /// The instant at which a bar begins; saturates.
    fn begin(&self, index: i64, zone: Tz) -> i64 {
        match self.first_date(index) {
            Some(date) => instant_of_local(date.and_time(NaiveTime::MIN), zone),
            None if index < 0 => i64::MIN,
            None => i64::MAX,
        }
    }
}

fn day(since_epoch: i64) -> Option<NaiveDate> {
    let ce = i32::try_from(since_epoch).ok()?.checked_add(EPOCH_DAY_CE)?;
    NaiveDate::from_num_days_from_ce_opt(ce)
}

/// The part of `whole` that holds `time`, in parts of so many seconds counted from its start; the last ends with it.
pub(super) fn within(whole: Bar, time: i64, length_s: i64) -> Bar {
    let parts = Even { length: length_s.saturating_mul(NS_PER_S), first: whole.start };
    Bar { start: parts.start_of(time), end: parts.end_of(time).min(whole.end) }
}

impl FromStr for Timeframe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("`{text}` is not a timeframe: {why}"))
                .hint("write a whole number and a unit (s, m, h, d, w, mo), such as `1m`, `15m`, `4h`, `1d`, `1w`, `1mo`")
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = Unit::ALL.iter().find(|(name, _)| *name == unit).map(|(_, u)| *u).ok_or_else(|| {
            bad(if unit.is_empty() { "the unit is missing" } else { "the unit is unknown" })
        })?;
        let count: u32 = number.parse().map_err(|_| bad("the number is missing or too large"))?;
        // One spelling for one name: `01m` would be another measurement than `1m`.
        if count == 0 || number.starts_with('0') {
            return Err(bad("the number starts with 0"));
        }
        if count > DAY_S as u32 {
            return Err(bad("the number is too large"));
        }
        let timeframe = Self { count, unit };
        match timeframe.part_of_day_s() {
            Some(s) if s >= DAY_S => Err(bad("parts of a day are shorter than a day; use `d`")),
            Some(s) if DAY_S % s != 0 => Err(bad("it does not divide a day")),
            None if count > CALENDAR_COUNT_MAX => Err(bad("the number is above 1,000")),
            _ => Ok(timeframe),
        }
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Unit::ALL.iter().find(|(_, u)| *u == self.unit).map_or("", |(name, _)| name);
        write!(f, "{}{unit}", self.count)
    }
}

impl Serialize for Timeframe {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timeframe {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(|e: Error| serde::de::Error::custom(e.message()))
    }
}
