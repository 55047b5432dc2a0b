//! One rollup of the manifest, and what it makes of a series.

use crate::caller::pattern_matches;
use crate::series::kinds::{self, Timeframe, rollup_measurement};
use crate::series::query::Aggregate;
use crate::series::{Selector, SeriesKey};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

/// The beginning of the measurement that windows of free measurements go to: `rollup.1h.metric.feed`.
pub const FREE_START: &str = "rollup.";

/// `[rollups.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Definition {
    pub name: String,
    /// `bucket` (default: that of `[series]`): of the source and of the rollup.
    pub bucket: String,
    /// `from`: `bar.1m.*`, `tick.*`, or with `aggregates` any pattern.
    pub from: String,
    /// `to`: the timeframe of the windows.
    pub to: Timeframe,
    /// `timezone` (default UTC): where days and weeks begin.
    #[serde(serialize_with = "name_of")]
    pub timezone: Tz,
    /// `aggregates`: what the windows of a free measurement hold. Empty: bars.
    pub aggregates: Vec<Aggregate>,
}

/// A zone by its IANA name.
pub(super) fn name_of<S: Serializer>(zone: &Tz, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(zone.name())
}

impl Definition {
    /// What two definitions of one name must agree in to be the same.
    pub(super) fn text(&self) -> String {
        let aggregates: Vec<String> = self.aggregates.iter().map(Aggregate::column).collect();
        format!("{}/{} to {} in {}: {}", self.bucket, self.from, self.to, self.timezone, aggregates.join(","))
    }

    pub(super) fn sources(&self) -> Selector {
        Selector { bucket: Some(self.bucket.clone()), measurement: Some(self.from.clone()), tags: Vec::new() }
    }

    pub(super) fn takes(&self, key: &SeriesKey) -> bool {
        self.bucket == key.bucket
            && pattern_matches(&self.from, &key.measurement)
            && self.target(key).is_some()
    }

    /// The series that the windows of a source go to; `None`: it is none.
    pub(super) fn target(&self, key: &SeriesKey) -> Option<SeriesKey> {
        let measurement = if self.aggregates.is_empty() {
            rollup_measurement(&key.measurement, &self.to.to_string())?
        } else {
            format!("{FREE_START}{}.{}", self.to, key.measurement)
        };
        Some(SeriesKey { measurement, ..key.clone() })
    }

    pub(super) fn aggregates(&self) -> Option<&[Aggregate]> {
        (!self.aggregates.is_empty()).then_some(self.aggregates.as_slice())
    }

    /// A pattern for the measurements that it writes.
    pub(crate) fn target_pattern(&self) -> String {
        if !self.aggregates.is_empty() {
            return format!("{FREE_START}{}.{}", self.to, self.from);
        }
        let symbol = match kinds::timeframe_of(&self.from) {
            Some(_) => self.from.splitn(3, '.').nth(2),
            None => self.from.split_once('.').map(|(_, s)| s),
        };
        kinds::bar_measurement(&self.to.to_string(), symbol.unwrap_or("*"))
    }
}

/// Is there a text that both patterns match?
pub(crate) fn patterns_meet(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // meets[j]: the rests of both, from the present place of `a` and from `j` in `b`, have a text in common.
    let mut below: Vec<bool> = (0..=b.len()).map(|j| b.iter().skip(j).all(|c| *c == b'*')).collect();
    for i in (0..a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            let at = |row: &[bool], j: usize| row.get(j).copied().unwrap_or_default();
            let met = match (a.get(i), b.get(j)) {
                // A star stands for nothing, or for one more of what the other has.
                (Some(b'*'), Some(b'*')) => at(&below, j) || at(&row, j + 1),
                (Some(b'*'), Some(_)) => at(&below, j) || at(&row, j + 1),
                (Some(b'*'), None) => at(&below, j),
                (Some(_), Some(b'*')) => at(&row, j + 1) || at(&below, j),
                (Some(x), Some(y)) => x == y && at(&below, j + 1),
                (_, None) | (None, _) => false,
            };
            if let Some(cell) = row.get_mut(j) {
                *cell = met;
            }
        }
        below = row;
    }
    below.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_one_text_fits_both() {
        for (a, b, want) in [
            ("bar.1m.*", "bar.1m.A", true),
            ("bar.1m.*", "bar.1h.*", false),
            ("*", "rollup.*", true),
            ("metric.*", "rollup.*", false),
            ("*.feed", "rollup.*", true),
            ("a*c", "ab*", true),
            ("a*c", "*b", false),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(patterns_meet(a, b), want, "{a} {b}");
            assert_eq!(patterns_meet(b, a), want, "{b} {a}");
        }
    }
}
