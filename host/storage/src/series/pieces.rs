//! A scan that need not read what is known already: rows, or a summary of rows that lie wholly in one window.

use super::{Frame, Value};
use crate::error::Result;

/// Is the span from the first time to the last, both in it, one whose rows may be summed up?
pub type Within = dyn Fn(i64, i64) -> bool + Send;

/// Parts of one series in ascending time.
pub type PieceStream = Box<dyn Iterator<Item = Result<Piece>> + Send>;

/// A part of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Rows(Frame),
    Summary(Summary),
}

/// What is known of rows that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Times of the first row and of the last, nanoseconds.
    pub first: i64,
    pub last: i64,
    pub rows: u64,
    /// Fields with a value in one of the rows.
    pub fields: Vec<FieldSummary>,
}

/// One field; only rows with a value count.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldSummary {
    pub name: String,
    pub count: u64,
    pub first: Value,
    pub last: Value,
    /// The least and the greatest; `None` for strings.
    pub extremes: Option<(Value, Value)>,
    pub sum: Total,
}

/// The sum of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Total {
    /// Added in order of time.
    Float(f64),
    /// Exact.
    Whole(i128),
    /// Of strings there is none.
    None,
}
