//! What a series has, and where rows are missing.

use super::kinds::{self, Calendar, Timeframe};
use super::query::{Sessions, Time, between};
use super::{Budget, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange};
use crate::error::{Error, Result};
use crate::units::Span;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Gaps of one series that are listed, the first ones; all are counted.
pub const GAPS_MAX: usize = 10_000;

/// Which series are looked at, and what counts as a gap.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoverageQuery {
    pub bucket: Option<String>,
    pub measurement: Option<String>,
    pub tags: Vec<(String, String)>,
    pub start: Option<Time>,
    pub end: Option<Time>,
    /// The timeframe in which a row is expected; of bars their own by default. In UTC.
    pub every: Option<String>,
    /// Gaps that are not longer are neither listed nor counted: nights and weekends.
    pub longer_than: Option<Span>,
    /// Rows are expected in these sessions only, in windows that begin with them; rows outside count as none.
    pub session: Option<Sessions>,
    /// The series as they were known at this time. The store gives the engine that answers so.
    pub as_known_at: Option<Time>,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    pub key: SeriesKey,
    pub every: String,
    pub rows: u64,
    /// First and last row in the range; none where there is no row.
    pub first: Option<i64>,
    pub last: Option<i64>,
    pub gaps: Vec<Gap>,
    /// All of them, listed or not.
    pub gaps_found: u64,
    /// Windows without a row within those gaps.
    pub missing: u64,
}

/// Windows without a row, between two rows of the series. Half-open, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub start: i64,
    pub end: i64,
    pub missing: u64,
}

impl CoverageQuery {
    pub fn selector(&self) -> Selector {
        Selector {
            bucket: self.bucket.clone(),
            measurement: self.measurement.clone(),
            tags: self.tags.clone(),
        }
    }

    fn range(&self) -> Result<TimeRange> {
        between(self.start.as_ref(), self.end.as_ref(), Tz::UTC)
    }

    fn every(&self, key: &SeriesKey) -> Result<Timeframe> {
        match self.every.as_deref().or_else(|| kinds::timeframe_of(&key.measurement)) {
            Some(text) => text.parse().map_err(|e: Error| e.context("`every`")),
            None => Err(Error::invalid(format!("`{key}` has no timeframe of its own"))
                .hint("say how often a row is expected: `every`, such as `1m`")),
        }
    }
}

/// Reads the time of every row of the series in the range.
pub fn coverage(
    engine: &dyn SeriesEngine,
    series: Vec<SeriesInfo>,
    query: &CoverageQuery,
    budget: &Budget,
) -> Result<Vec<Coverage>> {
    let range = query.range()?;
    if query.as_known_at.is_some() {
        return Err(Error::internal("the engine of the query does not know what was known at a time"));
    }
    let least = query.longer_than.map_or(0, Span::as_nanos_i64);
    let calendar = match &query.session {
        None => None,
        Some(Sessions::Given(session)) => Some(session.calendar("session")?),
        Some(Sessions::Named(name)) => {
            return Err(Error::invalid(format!("there is no calendar `{}`", name.escape_debug()))
                .hint("write [calendars.NAME] in shiphold.toml, or give the session itself"));
        }
    };
    let mut all = Vec::with_capacity(series.len());
    for info in series {
        let every = query.every(&info.key)?;
        let mut found = Coverage {
            every: every.to_string(),
            key: info.key,
            rows: 0,
            first: None,
            last: None,
            gaps: Vec::new(),
            gaps_found: 0,
            missing: 0,
        };
        for times in engine.times(&found.key, range, budget)? {
            budget.check()?;
            let times = times?;
            let Some(calendar) = &calendar else {
                times.into_iter().for_each(|time| found.row(time, every, least));
                continue;
            };
            for (time, _) in times.iter().zip(calendar.within(&times)).filter(|(_, within)| *within) {
                found.row_of_session(*time, every, least, calendar, budget)?;
            }
        }
        all.push(found);
    }
    Ok(all)
}

impl Coverage {
    fn row(&mut self, time: i64, every: Timeframe, least: i64) {
        self.rows += 1;
        self.first.get_or_insert(time);
        let Some(last) = self.last.replace(time) else { return };
        let (start, end) = (every.bar_at(last, Tz::UTC).end, every.bar_at(time, Tz::UTC).start);
        if end <= start || end.saturating_sub(start) <= least {
            return;
        }
        // In UTC windows are of one length, but for months, of which a gap has few.
        let missing = if every.is_of_months() {
            let mut bars = std::iter::successors(Some(start), |at| Some(every.bar_at(*at, Tz::UTC).end));
            bars.position(|at| at >= end).unwrap_or_default() as u64
        } else {
            let bar = every.bar_at(start, Tz::UTC);
            end.abs_diff(start).div_ceil(bar.end.abs_diff(bar.start).max(1))
        };
        self.gap(Gap { start, end, missing });
    }

    fn gap(&mut self, gap: Gap) {
        self.gaps_found += 1;
        self.missing += gap.missing;
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        }
    }

    /// A row within a session. A gap begins and ends within sessions, and what lies between them is not missing.
    fn row_of_session(
        &mut self,
        time: i64,
        every: Timeframe,
        least: i64,
        calendar: &Calendar,
        budget: &Budget,
    ) -> Result<()> {
        self.rows += 1;
        self.first.get_or_insert(time);
        let Some(last) = self.last.replace(time) else { return Ok(()) };
        let bar_from = |time| calendar.bar_from(every, time);
        let (Some(of_last), Some(of_this)) = (bar_from(last), bar_from(time)) else { return Ok(()) };
        let (mut at, end) = (of_last.end, of_this.start);
        let mut gap = Gap { start: end, end, missing: 0 };
        let mut silence = 0_i64;
        while let Some((_, session)) = calendar.session_from(at).filter(|(_, s)| s.start.max(at) < end) {
            budget.check()?;
            let Some(bar) = bar_from(at).filter(|b| b.start < end) else { break };
            gap.start = gap.start.min(bar.start);
            // All windows of a session are of one length, but for the last; longer ones are looked at one by one.
            let until = end.min(session.end.max(bar.end));
            silence = silence.saturating_add(until.saturating_sub(bar.start));
            gap.missing += until.abs_diff(bar.start).div_ceil(bar.end.abs_diff(bar.start).max(1));
            at = until;
        }
        if gap.missing > 0 && silence > least {
            self.gap(gap);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::series::model_engine::ModelEngine;
    use crate::series::{Column, Frame, WriteBatch};

    const MINUTE: i64 = 60_000_000_000;

    fn look(measurement: &str, times: &[i64], query: &CoverageQuery) -> Result<Coverage> {
        let engine = ModelEngine::with_frame_rows(2);
        let key = SeriesKey::new("market", measurement, Vec::new())?;
        let frame =
            Frame { times: times.to_vec(), columns: vec![Column::float("close", vec![1.0; times.len()])] };
        engine.write(WriteBatch { series: vec![(key, frame)] })?;
        let series = engine.list(&query.selector())?;
        coverage(&engine, series, query, &Budget::default()).map(|mut all| all.remove(0))
    }

    #[test]
    fn missing_bars_are_listed_and_counted() {
        let times = [0, 1, 4, 5, 65].map(|m| m * MINUTE);
        let found = look("bar.1m.A", &times, &CoverageQuery::default()).unwrap();
        assert_eq!((found.rows, found.first, found.last), (5, Some(0), Some(65 * MINUTE)));
        let gap =
            |start, end| Gap { start: start * MINUTE, end: end * MINUTE, missing: (end - start) as u64 };
        assert_eq!(found.gaps, [gap(2, 4), gap(6, 65)]);
        assert_eq!((found.every.as_str(), found.gaps_found, found.missing), ("1m", 2, 61));
        let long = CoverageQuery { longer_than: Some("2 min".parse().unwrap()), ..CoverageQuery::default() };
        assert_eq!(
            look("bar.1m.A", &times, &long).unwrap().gaps,
            [gap(6, 65)],
            "exactly as long is not longer"
        );
        let part = CoverageQuery { end: Some((5 * MINUTE).into()), ..CoverageQuery::default() };
        assert_eq!(look("bar.1m.A", &times, &part).unwrap().gaps, [gap(2, 4)]);
    }

    #[test]
    fn rows_at_any_time_count_for_their_window() {
        let hourly = CoverageQuery { every: Some("1h".into()), ..CoverageQuery::default() };
        let found = look("tick.A", &[5 * MINUTE, 59 * MINUTE, 61 * MINUTE, 250 * MINUTE], &hourly).unwrap();
        assert_eq!(found.gaps, [Gap { start: 120 * MINUTE, end: 240 * MINUTE, missing: 2 }]);
        let e = look("tick.A", &[0], &CoverageQuery::default()).unwrap_err();
        assert!(e.kind() == Kind::Invalid && e.hint_text().unwrap().contains("every"), "{e}");
        let months = CoverageQuery { every: Some("1mo".into()), ..CoverageQuery::default() };
        let day = 24 * 60 * MINUTE;
        // January, then July 1970.
        assert_eq!(look("tick.A", &[0, 200 * day], &months).unwrap().missing, 5);
    }

    #[test]
    fn what_is_not_traded_is_not_missing() {
        let day = |text: &str| {
            chrono::DateTime::parse_from_rfc3339(&format!("2024-07-{text}:00-04:00"))
                .unwrap()
                .timestamp_nanos_opt()
                .unwrap()
        };
        let new_york = |every: &str, longer_than: Option<&str>| CoverageQuery {
            every: Some(every.into()),
            longer_than: longer_than.map(|t| t.parse().unwrap()),
            session: Some(Sessions::Given(kinds::Session::new_york())),
            ..CoverageQuery::default()
        };
        // Monday's last row, Tuesday's first, one before the opening that does not count, and Friday's second: Wednesday closes
        // early, on Thursday nobody trades.
        let times = [day("01T15:30"), day("02T09:30"), day("03T04:00"), day("05T10:00")];
        let found = look("bar.30m.A", &times, &new_york("30m", None)).unwrap();
        assert_eq!((found.rows, found.first, found.last), (3, Some(times[0]), Some(times[3])));
        let gap = Gap { start: day("02T10:00"), end: day("05T10:00"), missing: 12 + 7 + 1 };
        assert_eq!((found.gaps.as_slice(), found.missing), (&[gap][..], 20));
        // Ten hours of trading are silent, not three days.
        let is_there =
            |longer| !look("bar.30m.A", &times, &new_york("30m", Some(longer))).unwrap().gaps.is_empty();
        assert!(is_there("599 min") && !is_there("600 min"));
        let days = look("bar.30m.A", &times, &new_york("1d", None)).unwrap();
        assert_eq!(days.gaps, [Gap { start: day("03T09:30"), end: day("05T09:30"), missing: 1 }]);
        let months = [day("01T15:30"), day("01T15:30") + 130 * 24 * 60 * MINUTE];
        assert_eq!(look("m", &months, &new_york("1mo", None)).unwrap().missing, 3);
        let named = CoverageQuery { session: Some(Sessions::Named("x".into())), ..new_york("1d", None) };
        assert_eq!(look("m", &months, &named).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn only_so_many_gaps_are_listed() {
        let times: Vec<i64> = (0..GAPS_MAX as i64 + 2).map(|i| i * 2 * MINUTE).collect();
        let found = look("bar.1m.A", &times, &CoverageQuery::default()).unwrap();
        assert_eq!((found.gaps.len(), found.gaps_found), (GAPS_MAX, GAPS_MAX as u64 + 1));
        let found = look("bar.1s.A", &[0, i64::MAX - 2], &CoverageQuery::default()).unwrap();
        assert!(found.missing > 9_000_000_000, "centuries are counted at once: {found:?}");
    }
}
