//! A scan that need not read what is known already: rows, or a summary of rows that lie wholly in one window.

use super::{FieldType, Frame, Value};
use crate::error::Result;
use std::sync::Arc;

/// Is the span from the first time to the last, both in it, one whose rows may be summed up?
pub type Within = dyn Fn(i64, i64) -> bool + Send + Sync;

/// Parts of one series in ascending time.
pub type PieceStream = Box<dyn Iterator<Item = Result<Piece>> + Send>;

/// What whoever sums up wants to know.
#[derive(Clone)]
pub struct Wanted {
    pub within: Arc<Within>,
    /// The windows themselves, where they are all of one length: `within` takes the rows of each.
    pub windows: Option<Even>,
    /// What is asked of each field; of other fields and parts nothing need be known.
    pub fields: Vec<WantedField>,
}

/// A field, and what is asked of it in each window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedField {
    pub name: String,
    pub of: FieldType,
    /// Each at most once.
    pub parts: Vec<Part>,
}

/// A part of a [`FieldSummary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    First,
    Last,
    Least,
    Greatest,
    Sum,
    Count,
}

/// Windows of one length that follow each other. Nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Even {
    /// More than 0.
    pub length: i64,
    /// A time at which one of them begins.
    pub first: i64,
}

impl Even {
    /// The start of the window that holds `time`; saturates.
    pub fn start_of(self, time: i64) -> i64 {
        self.bound(time, 0)
    }

    /// The end of the window that holds `time`, which is not in it; saturates.
    pub fn end_of(self, time: i64) -> i64 {
        self.bound(time, 1)
    }

    fn bound(self, time: i64, more: i64) -> i64 {
        let length = self.length.max(1);
        let near = || {
            let at = time.checked_sub(self.first)?.div_euclid(length).checked_add(more)?;
            at.checked_mul(length)?.checked_add(self.first)
        };
        // Dividing in twice as many bits takes ten times as long; only at the ends of time is it needed.
        near().unwrap_or_else(|| {
            let (length, first) = (i128::from(length), i128::from(self.first));
            let at = ((i128::from(time) - first).div_euclid(length) + i128::from(more)) * length + first;
            i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX })
        })
    }
}

/// A part of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Rows(Frame),
    Summary(Summary),
}

/// What is known of rows that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// No row is before the first of these times and none after the last, nanoseconds; they lie in the window of the rows.
    pub first: i64,
    pub last: i64,
    /// What it costs of a budget of rows: the rows that it stands for, or 1 where they stayed on a server.
    pub rows: u64,
    /// Fields with a value in one of the rows.
    pub fields: Vec<FieldSummary>,
}

/// One field; only rows with a value count. What was not asked for may be unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldSummary {
    pub name: String,
    /// Values, at least 1; exact where [`Part::Count`] was asked for.
    pub count: u64,
    pub first: Option<Value>,
    pub last: Option<Value>,
    /// Also `None` for strings.
    pub least: Option<Value>,
    pub greatest: Option<Value>,
    pub sum: Total,
}

/// The sum of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Total {
    /// Added in order of time.
    Float(f64),
    /// Exact.
    Whole(i128),
    /// Exact: units, and their scale.
    Decimal(i128, u8),
    /// Of strings there is none.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_windows_begin_where_they_say_and_saturate() {
        let week = Even { length: 70, first: -30 };
        let bounds = |t| (week.start_of(t), week.end_of(t));
        assert_eq!([-31, -30, 39, 40].map(bounds), [(-100, -30), (-30, 40), (-30, 40), (40, 110)]);
        let long = Even { length: i64::MAX, first: 5 };
        assert_eq!((long.start_of(0), long.end_of(i64::MAX)), (5 - i64::MAX, i64::MAX));
        assert_eq!((week.start_of(i64::MIN), week.end_of(i64::MAX)), (i64::MIN, i64::MAX));
        // The same with as many bits as it takes, near the ends of time too.
        for (length, first) in [(1, 0), (7, -3), (70, i64::MIN), (60_000_000_000, 5), (i64::MAX, i64::MAX)] {
            let even = Even { length, first };
            for time in [i64::MIN, i64::MIN + 1, -71, -1, 0, 1, 69, 1 << 40, i64::MAX - 1, i64::MAX] {
                let wide = |more: i128| {
                    let (l, f) = (i128::from(length), i128::from(first));
                    let at = ((i128::from(time) - f).div_euclid(l) + more) * l + f;
                    at.clamp(i64::MIN.into(), i64::MAX.into())
                };
                let got = [even.start_of(time), even.end_of(time)].map(i128::from);
                assert_eq!(got, [wide(0), wide(1)], "{time} in {even:?}");
            }
        }
    }
}
