//! What versions achieved: the records, what they add up to, and what was known of it at any time.
//!
//! How the records of a version become one figure:
//!
//! - A later record of the same period (same start, same end) takes the place of the earlier one. All others count.
//! - **win rate**: the mean, each record weighted by its samples: the share of all trades that won.
//! - **Sharpe ratio**: the mean, each record weighted by its samples. The variance of the estimate from n independent returns is
//!   (1 + SR²/2)/n (A. W. Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), 2002), so weights by n are the
//!   inverse variances of records of one strategy: the mean of least error. Its standard error as an annualised figure is
//!   √(1/Y + SR²/(2n)) over Y years and n samples.
//! - **returns**: linked geometrically, ∏(1 + r) − 1, as performance standards (GIPS) have it. Nothing where periods overlap, for a
//!   day would count twice, or where one lost more than everything.
//! - **drawdown**: the deepest of the records and of the curve through the ends of their periods. A fall that began within one
//!   period and ended within another may have been deeper.

use super::status::{at_time, current_at, current_id, not_yet, skill_of};
use super::store::{Skills, may_read, parse_version, unknown, version_id};
use super::types::{PAGE_MAX, check_name};
use super::{Performance, PerformanceRecord, Status, Version};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

/// Nanoseconds of a year of 365.25 days.
const YEAR_NS: f64 = 365.25 * 86_400.0 * 1e9;

/// Which records to list, newest period first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerformanceFilter {
    /// Default: all versions.
    pub version: Option<Version>,
    /// Only what had been recorded by a time, in nanoseconds.
    pub at: Option<i64>,
    /// Only what follows this record (`seq`) in the list: the next page.
    pub after: Option<i64>,
    /// Default: all, at most [`PAGE_MAX`].
    pub limit: Option<u64>,
}

/// What the records of a version add up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Aggregate {
    /// Records that count.
    pub records: u64,
    /// Records in whose place a later one of the same period counts.
    pub replaced: u64,
    /// Of all records that count.
    pub samples: u64,
    /// Nanoseconds since the Unix epoch, from the first period to the last; the end is not in it.
    pub period_start: i64,
    pub period_end: i64,
    /// Do two periods share a time?
    pub overlapping: bool,
    /// Over all periods, as a fraction.
    pub returns: Option<f64>,
    /// Annualised.
    pub sharpe: f64,
    /// Standard error of `sharpe`.
    pub sharpe_error: f64,
    pub win_rate: f64,
    /// As a fraction, 0 to 1; at least this.
    pub max_drawdown: f64,
}

/// What was believed of a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionBelief {
    pub version: Version,
    pub status: Status,
    pub created_at: i64,
    /// `None`: nothing had been recorded.
    pub performance: Option<Aggregate>,
}

/// What was believed of a skill at a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Belief {
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub at: i64,
    /// The version that was the current one.
    pub current: Version,
    /// The versions that there were, highest first.
    pub versions: Vec<VersionBelief>,
}

impl Skills {
    /// What the versions of a skill achieved, newest period first; all of it, or nothing if there are more than [`PAGE_MAX`].
    pub fn performance(&self, caller: &Caller, name: &str) -> Result<Vec<PerformanceRecord>> {
        self.performance_of(caller, name, &PerformanceFilter::default())
    }

    /// A page of what was recorded.
    pub fn performance_of(
        &self,
        caller: &Caller,
        name: &str,
        filter: &PerformanceFilter,
    ) -> Result<Vec<PerformanceRecord>> {
        may_read(caller)?;
        check_name(name)?;
        let limit = filter.limit.unwrap_or(PAGE_MAX);
        if limit > PAGE_MAX {
            return Err(Error::limit(format!("a page of {limit} records"), PAGE_MAX, "page with `after`"));
        }
        self.db.read(|c| {
            let skill = skill_of(c, name)?;
            let version = filter.version.as_ref().map(|v| version_id(c, name, v)).transpose()?;
            let after = filter.after.map(|seq| place_of(c, skill, seq)).transpose()?;
            let mut statement = c.prepare_cached(
                "SELECT v.version, p.period_start, p.period_end, p.returns, p.sharpe, p.win_rate, p.max_drawdown, p.samples,
                        p.id, p.recorded_at, p.recorded_by
                 FROM skill_versions v JOIN skill_performance p ON p.version_id = v.id
                 WHERE v.skill_id = ?1 AND (?2 IS NULL OR v.id = ?2) AND p.recorded_at <= ?3
                   AND (?4 IS NULL OR (p.period_end, p.id) < (?4, ?5))
                 ORDER BY p.period_end DESC, p.id DESC LIMIT ?6",
            )?;
            let at = filter.at.unwrap_or(i64::MAX);
            let (end, seq) = after.unzip();
            // One more than is given shows that there are more.
            let rows = statement.query_map((skill, version, at, end, seq, limit.cast_signed() + 1), |r| {
                Ok((r.get::<_, String>(0)?, figures(r)?, r.get(8)?, r.get(9)?, r.get(10)?))
            })?;
            let mut records = Vec::new();
            for row in rows {
                let (version, performance, seq, recorded_at, recorded_by) = row?;
                let version = parse_version(&version)?;
                records.push(PerformanceRecord { seq, version, performance, recorded_at, recorded_by });
            }
            if filter.limit.is_none() && records.len() as u64 > limit {
                return Err(Error::limit(
                    format!("the performance of skill `{name}` in one answer"),
                    format!("{PAGE_MAX} records"),
                    "ask for pages (`limit` and `after`), or for what they add up to",
                ));
            }
            records.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(records)
        })
    }

    /// What was believed of a skill at a time (default: now): which versions there were, which of them was the current one, what they
    /// might be used for, and what their performance that had been recorded by then adds up to. `version`: of this one only.
    pub fn believed(
        &self,
        caller: &Caller,
        name: &str,
        version: Option<&Version>,
        at: Option<i64>,
    ) -> Result<Belief> {
        may_read(caller)?;
        check_name(name)?;
        self.db.read(|c| {
            let skill = skill_of(c, name)?;
            let id = version.map(|v| version_id(c, name, v)).transpose()?;
            let current = match at {
                Some(at) => current_at(c, skill, at)?.ok_or_else(|| not_yet(name))?,
                None => current_id(c, skill)?.ok_or_else(|| unknown(name))?,
            };
            let until = at.unwrap_or(i64::MAX);
            let mut found = versions_until(c, name, skill, id, until)?;
            let current: String = c
                .prepare_cached("SELECT version FROM skill_versions WHERE id = ?1")?
                .query_row([current], |r| r.get(0))?;
            found.sort_by(|a, b| b.1.cmp(&a.1));
            let versions = found.into_iter().map(|(id, version, created_at)| {
                let (status, performance) = (at_time(c, id, until)?, aggregate(c, id, until)?);
                Ok(VersionBelief { version, status, created_at, performance })
            });
            Ok(Belief {
                name: name.into(),
                at: at.unwrap_or_else(now_ns),
                current: parse_version(&current)?,
                versions: versions.collect::<Result<_>>()?,
            })
        })
    }
}

/// Number, version and time of those that there were at a time.
fn versions_until(
    c: &Connection,
    name: &str,
    skill: i64,
    only: Option<i64>,
    until: i64,
) -> Result<Vec<(i64, Version, i64)>> {
    let mut statement = c.prepare_cached(
        "SELECT id, version, created_at FROM skill_versions
         WHERE skill_id = ?1 AND (?2 IS NULL OR id = ?2) AND created_at <= ?3 LIMIT ?4",
    )?;
    let rows = statement.query_map((skill, only, until, PAGE_MAX.cast_signed() + 1), |r| {
        Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (id, version, created_at) = row?;
        found.push((id, parse_version(&version)?, created_at));
    }
    if found.len() as u64 > PAGE_MAX {
        return Err(Error::limit(
            format!("what is believed of skill `{name}`"),
            format!("{PAGE_MAX} versions"),
            "ask for one version",
        ));
    }
    Ok(found)
}

/// Where a record stands in the list.
fn place_of(c: &Connection, skill: i64, seq: i64) -> Result<(i64, i64)> {
    use rusqlite::OptionalExtension as _;
    let end = c
        .prepare_cached(
            "SELECT p.period_end FROM skill_performance p JOIN skill_versions v ON v.id = p.version_id
             WHERE p.id = ?1 AND v.skill_id = ?2",
        )?
        .query_row((seq, skill), |r| r.get(0))
        .optional()?
        .ok_or_else(|| {
            Error::not_found(format!("this skill has no record of performance with the number {seq}"))
                .hint("`after` takes the `seq` of the last record of a page")
        })?;
    Ok((end, seq))
}

/// The figures of a record, from the second column on.
fn figures(r: &Row<'_>) -> rusqlite::Result<Performance> {
    Ok(Performance {
        period_start: r.get(1)?,
        period_end: r.get(2)?,
        returns: r.get(3)?,
        sharpe: r.get(4)?,
        win_rate: r.get(5)?,
        max_drawdown: r.get(6)?,
        samples: r.get::<_, i64>(7)?.unsigned_abs(),
    })
}

/// What was recorded of a version by a time adds up to this.
pub(super) fn aggregate(c: &Connection, version: i64, until: i64) -> Result<Option<Aggregate>> {
    let mut statement = c.prepare_cached(
        "SELECT id, period_start, period_end, returns, sharpe, win_rate, max_drawdown, samples FROM skill_performance
         WHERE version_id = ?1 AND recorded_at <= ?2 ORDER BY period_start, period_end, recorded_at, id",
    )?;
    let mut rows = statement.query((version, until))?;
    let mut sum = Sum::default();
    // The last one of a period counts: one is added when another period begins.
    let mut waiting: Option<Performance> = None;
    while let Some(row) = rows.next()? {
        let next = figures(row)?;
        if let Some(before) = waiting.take() {
            match (before.period_start, before.period_end) == (next.period_start, next.period_end) {
                true => sum.replaced += 1,
                false => sum.add(&before),
            }
        }
        waiting = Some(next);
    }
    waiting.iter().for_each(|last| sum.add(last));
    Ok(sum.end())
}

/// Records in the order of their periods, added up.
#[derive(Debug)]
struct Sum {
    records: u64,
    replaced: u64,
    samples: u64,
    start: i64,
    end: i64,
    overlapping: bool,
    years: f64,
    sharpe: f64,
    win_rate: f64,
    drawdown: f64,
    /// What one unit became, and the most that it ever was; `None` once it cannot be said.
    curve: Option<(f64, f64)>,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            records: 0,
            replaced: 0,
            samples: 0,
            start: 0,
            end: i64::MIN,
            overlapping: false,
            years: 0.0,
            sharpe: 0.0,
            win_rate: 0.0,
            drawdown: 0.0,
            curve: Some((1.0, 1.0)),
        }
    }
}

impl Sum {
    fn add(&mut self, p: &Performance) {
        if self.records == 0 {
            self.start = p.period_start;
        } else if p.period_start < self.end {
            self.overlapping = true;
        }
        self.end = self.end.max(p.period_end);
        self.records += 1;
        self.samples = self.samples.saturating_add(p.samples);
        // Means as they go: no sum of large figures loses the small ones.
        let share = p.samples as f64 / self.samples as f64;
        self.sharpe += (p.sharpe - self.sharpe) * share;
        self.win_rate += (p.win_rate - self.win_rate) * share;
        self.years += (p.period_end as f64 - p.period_start as f64) / YEAR_NS;
        self.drawdown = self.drawdown.max(p.max_drawdown);
        self.curve = self.curve.filter(|_| !self.overlapping).and_then(|(value, most)| {
            let next = value * (1.0 + p.returns);
            (next.is_finite() && next >= 0.0).then_some((next, most.max(next)))
        });
        if let Some((value, most)) = self.curve {
            self.drawdown = self.drawdown.max(1.0 - value / most);
        }
    }

    fn end(self) -> Option<Aggregate> {
        (self.records > 0).then(|| Aggregate {
            records: self.records,
            replaced: self.replaced,
            samples: self.samples,
            period_start: self.start,
            period_end: self.end,
            overlapping: self.overlapping,
            returns: self.curve.map(|(value, _)| value - 1.0),
            sharpe: self.sharpe,
            sharpe_error: (1.0 / self.years + self.sharpe * self.sharpe / (2.0 * self.samples as f64)).sqrt(),
            win_rate: self.win_rate,
            max_drawdown: self.drawdown.min(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400 * 1_000_000_000;

    fn record(start: i64, end: i64, returns: f64, samples: u64) -> Performance {
        Performance {
            period_start: start * DAY,
            period_end: end * DAY,
            returns,
            sharpe: 0.0,
            win_rate: 0.5,
            max_drawdown: 0.0,
            samples,
        }
    }

    fn sum(records: &[Performance]) -> Aggregate {
        let mut sum = Sum::default();
        records.iter().for_each(|r| sum.add(r));
        sum.end().unwrap()
    }

    #[test]
    fn returns_are_linked_and_falls_between_periods_show() {
        let all = sum(&[record(0, 1, 0.1, 1), record(1, 2, -0.5, 1), record(3, 4, 0.2, 1)]);
        assert!((all.returns.unwrap() - (1.1 * 0.5 * 1.2 - 1.0)).abs() < 1e-12);
        assert!((all.max_drawdown - 0.5).abs() < 1e-12, "{all:?}");
        assert_eq!((all.period_start, all.period_end, all.overlapping), (0, 4 * DAY, false));
        // A loss in the first period is a fall from what was put in.
        assert!((sum(&[record(0, 1, -0.25, 1)]).max_drawdown - 0.25).abs() < 1e-12);
        let deep = Performance { max_drawdown: 0.7, ..record(0, 1, 0.1, 1) };
        assert_eq!(sum(&[deep]).max_drawdown.to_bits(), 0.7_f64.to_bits());
    }

    #[test]
    fn what_cannot_be_linked_is_not() {
        let overlapping = sum(&[record(0, 10, 0.1, 1), record(1, 2, 0.1, 1), record(20, 21, 0.1, 1)]);
        assert_eq!((overlapping.overlapping, overlapping.returns), (true, None));
        assert_eq!(overlapping.period_end, 21 * DAY);
        assert_eq!(sum(&[record(0, 1, -1.5, 1)]).returns, None, "more than everything was lost");
        assert_eq!(sum(&[record(0, 1, -1.0, 1), record(1, 2, 0.5, 1)]).returns, Some(-1.0));
        let huge: Vec<Performance> = (0..40).map(|i| record(i, i + 1, 1e9, 1)).collect();
        assert_eq!(sum(&huge).returns, None, "beyond what a float can say");
        assert_eq!(Sum::default().end(), None);
    }

    #[test]
    fn samples_weigh() {
        let with = |sharpe, win_rate, samples| Performance { sharpe, win_rate, ..record(0, 1, 0.0, samples) };
        let all = sum(&[
            with(2.0, 0.9, 10),
            Performance { period_start: DAY, period_end: 2 * DAY, ..with(1.0, 0.5, 30) },
        ]);
        assert!((all.sharpe - 1.25).abs() < 1e-12 && (all.win_rate - 0.6).abs() < 1e-12);
        assert_eq!(all.samples, 40);
        let years: f64 = 2.0 / 365.25;
        assert!((all.sharpe_error - (1.0 / years + 1.25_f64.powi(2) / 80.0).sqrt()).abs() < 1e-9);
        // A year of daily returns of a strategy without an edge: the error is one over the square root of the years.
        let year = Performance { period_end: (YEAR_NS) as i64, ..record(0, 0, 0.0, 252) };
        assert!((sum(&[year]).sharpe_error - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_largest_figures_add_up() {
        use super::super::types::{FIGURE_MAX, SAMPLES_MAX};
        let large = |sharpe, i: i64| Performance {
            sharpe,
            returns: FIGURE_MAX,
            ..record(i, i + 1, 0.0, SAMPLES_MAX)
        };
        let all = sum(&[large(FIGURE_MAX, 0), large(-FIGURE_MAX, 1)]);
        assert!(all.sharpe.abs() < 1e-3 && all.sharpe_error.is_finite(), "{all:?}");
        assert_eq!(all.samples, 2 * SAMPLES_MAX);
    }
}
