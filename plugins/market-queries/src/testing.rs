//! What the tests share.

use crate::calendar::Calendar;
use crate::config::Config;
use crate::frame::{Column, Frame, Values};

pub const CALENDARS: &str = r#"{"bucket":"market","calendars":[
    {"name":"nyse","timezone":"America/New_York","open":"09:30","close":"16:00",
     "days":["mon","tue","wed","thu","fri"],"holidays":["2026-07-03"],
     "early_closes":[{"date":"2026-12-24","close":"13:00"}]},
    {"name":"futures","timezone":"America/New_York","open":"18:00","close":"17:00",
     "days":["mon","tue","wed","thu","fri"],"holidays":["2026-07-03"],
     "early_closes":[{"date":"2026-12-24","close":"13:00"}]}]}"#;

pub fn nyse() -> Calendar {
    Config::parse(CALENDARS).unwrap().calendars.swap_remove(0)
}

pub fn futures() -> Calendar {
    Config::parse(CALENDARS).unwrap().calendars.swap_remove(1)
}

/// Nanoseconds since the epoch of an RFC 3339 text.
pub fn ns(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
}

/// Rows of floats, `NaN` where there is no value: a time, then a value per name.
pub fn frame<const N: usize>(names: [&str; N], rows: &[(i64, [f64; N])]) -> Frame {
    let column =
        |(i, name): (usize, &str)| crate::frame::floats(name, rows.iter().map(|(_, values)| Some(values[i])));
    Frame {
        times: rows.iter().map(|(time, _)| *time).collect(),
        columns: names.into_iter().enumerate().map(column).collect(),
    }
}

/// A frame in batches of so many rows.
pub fn batches(frame: &Frame, rows: usize) -> Vec<Frame> {
    let part = |from: usize| {
        let span = from..(from + rows).min(frame.times.len());
        let column = |c: &Column| Column {
            name: c.name.clone(),
            values: match &c.values {
                Values::Floats(v) => Values::Floats(v[span.clone()].into()),
                Values::Integers(v) => Values::Integers(v[span.clone()].into()),
                Values::Unsigneds(v) => Values::Unsigneds(v[span.clone()].into()),
                Values::Booleans(v) => Values::Booleans(v[span.clone()].into()),
                Values::Strings(v) => Values::Strings(v[span.clone()].into()),
            },
            valid: if c.valid.is_empty() { Vec::new() } else { c.valid[span.clone()].into() },
        };
        Frame { times: frame.times[span.clone()].into(), columns: frame.columns.iter().map(column).collect() }
    };
    (0..frame.times.len()).step_by(rows.max(1)).map(part).collect()
}

/// A cell of an answer.
pub fn cell(column: &Column, row: usize) -> Option<f64> {
    let frame = Frame { times: vec![0], columns: vec![column.clone()] };
    frame.numbers(&column.name).unwrap().get(row)
}

/// An answer, row by row: the time, then the values.
pub fn rows(frames: &[Frame]) -> Vec<(i64, Vec<Option<f64>>)> {
    let of = |f: &Frame| {
        let row = |(i, time): (usize, &i64)| (*time, f.columns.iter().map(|c| cell(c, i)).collect());
        f.times.iter().enumerate().map(row).collect::<Vec<_>>()
    };
    frames.iter().flat_map(of).collect()
}

/// The answer of a fold over a frame, held to be the same for batches of every size, with and without an empty one at the
/// end, and of the same columns throughout.
pub fn folded(
    frame: &Frame,
    mut fold: impl FnMut() -> Box<dyn FnMut(&Frame, bool) -> Result<Frame, String>>,
) -> Vec<(i64, Vec<Option<f64>>)> {
    let whole = fold()(frame, true).unwrap();
    for size in 1..=frame.times.len() {
        for empty_last in [false, true] {
            let mut parts = batches(frame, size);
            if empty_last {
                parts.push(Frame::default());
            }
            let count = parts.len();
            let mut one = fold();
            let answers: Vec<Frame> =
                parts.iter().enumerate().map(|(i, part)| one(part, i + 1 == count).unwrap()).collect();
            let shape = |f: &Frame| -> Vec<_> {
                f.columns.iter().map(|c| (c.name.clone(), std::mem::discriminant(&c.values))).collect()
            };
            assert!(answers.iter().all(|f| shape(f) == shape(&whole)), "batches of {size}");
            assert_eq!(rows(&answers), rows(std::slice::from_ref(&whole)), "batches of {size}");
        }
    }
    rows(&[whole])
}

/// Numbers that repeat from run to run.
pub struct Dice(pub u64);

impl Dice {
    /// From 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
