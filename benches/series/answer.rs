//! A query's time and the digest of its answer, by which one engine's is compared with another's. `benches/python/common.py` does the
//! same for peers in Python.

use serde::Deserialize;
use shiphold_storage::series::{Column, Frame, Values};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Rounds of a query at most.
const ROUNDS_MAX: usize = 101;
/// Prices are in steps of 0.01; what is computed of them may differ in its last bits.
const STEPS: f64 = 1e4;

/// What was measured: milliseconds of a query with its answer, rows a second, bytes a row.
#[derive(Debug, Deserialize)]
pub struct Figure {
    pub value: f64,
    pub answer: Option<Answer>,
}

/// By the name of what was measured, such as `ticks.range`.
pub type Figures = BTreeMap<String, Figure>;

/// Rows, and of each column a number that any other value, or the same value at another time, would change: the sum, modulo 2⁶⁴, of
/// (1 + the value in steps of 10⁻⁴) × (its row's time | 1). Where there is no value nothing is added, so the order of rows is free.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub struct Answer {
    rows: u64,
    columns: BTreeMap<String, String>,
}

impl Answer {
    pub fn of(frames: &[Frame]) -> Self {
        let mut rows = 0;
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for frame in frames {
            rows += frame.len() as u64;
            let times = Column::new("time", Values::Integer(frame.times.clone()));
            for column in frame.columns.iter().chain([&times]) {
                let sum = sums.entry(column.name.clone()).or_default();
                *sum = sum.wrapping_add(digest(&frame.times, column));
            }
        }
        let columns = sums.into_iter().map(|(name, sum)| (name, format!("{sum:016x}"))).collect();
        Self { rows, columns }
    }

    /// Where they differ, in words.
    pub fn differs(&self, other: &Self) -> Option<String> {
        if self.rows != other.rows {
            return Some(format!("{} rows and {}", self.rows, other.rows));
        }
        let names: BTreeSet<&String> = self.columns.keys().chain(other.columns.keys()).collect();
        let others: Vec<_> =
            names.into_iter().filter(|n| self.columns.get(*n) != other.columns.get(*n)).collect();
        (!others.is_empty()).then(|| format!("other values of {others:?} in {} rows", self.rows))
    }
}

fn digest(times: &[i64], column: &Column) -> u64 {
    let steps = |row: usize| -> i64 {
        match &column.values {
            Values::Float(v) => (v[row] * STEPS).round_ties_even() as i64,
            Values::Integer(v) => v[row],
            other => panic!("{}: no digest of {}", column.name, other.field_type()),
        }
    };
    let here = (0..times.len()).filter(|row| column.is_valid(*row));
    here.fold(0, |sum: u64, row| {
        sum.wrapping_add((steps(row) as u64).wrapping_add(1).wrapping_mul(times[row] as u64 | 1))
    })
}

/// A query is asked once for its answer, which counts if it took that long; else again for as long, and the median counts.
#[derive(Clone, Copy)]
pub struct Clock(pub Duration);

impl Clock {
    /// Milliseconds of `ask`; `shown` makes frames of its answer when the clock has stopped.
    pub fn timed<T>(self, ask: impl Fn() -> T, shown: impl Fn(T) -> Vec<Frame>) -> Figure {
        let once = || {
            let begin = Instant::now();
            let found = ask();
            (begin.elapsed(), found)
        };
        let (first, found) = once();
        let answer = Answer::of(&shown(found));
        let mut taken: Vec<Duration> = Vec::new();
        while first < self.0 && taken.len() < ROUNDS_MAX && taken.iter().sum::<Duration>() < self.0 {
            taken.push(once().0);
        }
        taken.sort();
        let median = taken.get(taken.len() / 2).copied().unwrap_or(first);
        Figure { value: median.as_secs_f64() * 1e3, answer: Some(answer) }
    }
}

/// What has no answer: a rate, a size.
pub fn plain(value: f64) -> Figure {
    Figure { value, answer: None }
}

/// Answers that differ in one value, in when a value was, or in whether there is one, must not pass for the same.
pub fn check_digest() {
    let frame = |times: [i64; 2], values: [f64; 2], valid: Option<Vec<bool>>| {
        let columns = vec![Column { name: "v".into(), values: Values::Float(values.to_vec()), valid }];
        Answer::of(&[Frame { times: times.to_vec(), columns }])
    };
    let one = frame([10, 20], [1.0, 2.0], None);
    assert_eq!(one.differs(&frame([10, 20], [1.0, 2.0], Some(vec![true, true]))), None);
    for other in [
        frame([10, 20], [1.0, 2.0001], None),
        frame([10, 20], [2.0, 1.0], None),
        frame([10, 30], [1.0, 2.0], None),
        frame([10, 20], [1.0, 2.0], Some(vec![true, false])),
        frame([10, 20], [1.0, 0.0], Some(vec![true, false])),
    ] {
        assert!(one.differs(&other).is_some(), "{one:?} passes for {other:?}");
    }
}
