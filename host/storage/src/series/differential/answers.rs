//! What engines answer, and when two answers are the same.

use super::questions::Question;
use crate::Kind;
use crate::series::coverage::Coverage;
use crate::series::model_engine::Row;
use crate::series::query::{Fill, Function, Query};
use crate::series::{Column, Frame, Latest, SeriesInfo, Value};

/// Sums, means and deviations of floats, and values on a line between two, may differ by so much of `1 + |value|`: engines
/// add in different orders. All else is equal, but that 0.0 as least or greatest value may have either sign.
pub(super) const TOLERANCE: f64 = 1e-9;

#[derive(Debug)]
pub(super) enum Answer {
    Rows(Vec<(i64, Row)>),
    Latest(Vec<Latest>),
    List(Vec<SeriesInfo>),
    Table(Frame, bool),
    Coverage(Vec<Coverage>),
    Refused(Kind, String),
}

impl Answer {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Rows(rows) => rows.is_empty(),
            Self::Latest(all) => all.is_empty(),
            Self::List(all) => all.is_empty(),
            Self::Table(frame, _) => frame.is_empty(),
            Self::Coverage(all) => all.is_empty(),
            Self::Refused(..) => true,
        }
    }
}

/// Says how two answers differ. Without `exact`, rows of a list are an upper bound; `to_the_bit`, nothing is only near.
pub(super) fn same(
    question: &Question,
    got: &Answer,
    wanted: &Answer,
    exact: bool,
    to_the_bit: bool,
) -> Result<(), String> {
    match (got, wanted) {
        (Answer::Rows(a), Answer::Rows(b)) => rows(a, b),
        (Answer::Latest(a), Answer::Latest(b)) => all(a, b, |a, b| {
            let fields = |l: &Latest| {
                let mut fields: Vec<_> =
                    l.fields.iter().map(|f| (f.name.clone(), f.time, bits(Some(&f.value)))).collect();
                fields.sort();
                fields
            };
            a.key == b.key && fields(a) == fields(b)
        }),
        (Answer::List(a), Answer::List(b)) => all(a, b, |a, b| {
            let fields = |i: &SeriesInfo| {
                let mut fields = i.fields.clone();
                fields.sort();
                fields
            };
            let counted = if exact { a.rows == b.rows } else { a.rows >= b.rows };
            a.key == b.key
                && fields(a) == fields(b)
                && counted
                && (a.min_time, a.max_time) == (b.min_time, b.max_time)
        }),
        (Answer::Table(a, more), Answer::Table(b, less)) => {
            if more != less {
                return Err("only one of them is cut".into());
            }
            table(question, a, b, to_the_bit)
        }
        (Answer::Coverage(a), Answer::Coverage(b)) => all(a, b, |a, b| a == b),
        (Answer::Refused(a, said), Answer::Refused(b, asked)) if (a, said) == (b, asked) => Ok(()),
        _ => Err("they are of different kinds".into()),
    }
}

fn all<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> Result<(), String> {
    if a.len() != b.len() {
        return Err(format!("{} and {} entries", a.len(), b.len()));
    }
    match a.iter().zip(b).position(|(a, b)| !same(a, b)) {
        Some(at) => Err(format!("entry {at}")),
        None => Ok(()),
    }
}

/// A value to the last bit, so that it can be compared: -0.0 is not 0.0, and 1 is not 1.0.
pub(super) fn bits(value: Option<&Value>) -> String {
    match value {
        Some(Value::Float(v)) => format!("float {v:e} {:x}", v.to_bits()),
        other => format!("{other:?}"),
    }
}

fn rows(a: &[(i64, Row)], b: &[(i64, Row)]) -> Result<(), String> {
    if a.len() != b.len() {
        return Err(format!("{} and {} rows", a.len(), b.len()));
    }
    for ((t, row), (u, other)) in a.iter().zip(b) {
        let shown = |r: &Row| r.iter().map(|(k, v)| (k.clone(), bits(Some(v)))).collect::<Vec<_>>();
        if t != u || shown(row) != shown(other) {
            return Err(format!("at {t} is {:?}, and at {u} {:?}", shown(row), shown(other)));
        }
    }
    Ok(())
}

fn table(question: &Question, a: &Frame, b: &Frame, to_the_bit: bool) -> Result<(), String> {
    let names =
        |f: &Frame| f.columns.iter().map(|c| (c.name.clone(), c.values.field_type())).collect::<Vec<_>>();
    if names(a) != names(b) {
        return Err(format!("the columns are {:?} and {:?}", names(a), names(b)));
    }
    if a.times != b.times {
        let at = a.times.iter().zip(&b.times).position(|(a, b)| a != b);
        return Err(format!("{} and {} rows; their times differ at {at:?}", a.len(), b.len()));
    }
    for (one, other) in a.columns.iter().zip(&b.columns) {
        let how = match sameness(question, &one.name) {
            Sameness::Near if to_the_bit => Sameness::Bits,
            how => how,
        };
        for row in 0..a.len() {
            let (x, y) = (one.get(row), other.get(row));
            if !how.holds(x.as_ref(), y.as_ref()) {
                let at = a.times.get(row);
                return Err(format!("`{}` at {at:?} ({how:?}) is {x:?} and {y:?}", one.name));
            }
        }
        let said =
            |c: &Column| c.valid.as_ref().is_none_or(|v| v.len() == a.len()) && c.values.len() == a.len();
        if !said(one) {
            return Err(format!("`{}` is not as long as the times", one.name));
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sameness {
    Bits,
    /// As numbers: the sign of 0.0 may differ.
    Number,
    Near,
}

impl Sameness {
    fn holds(self, a: Option<&Value>, b: Option<&Value>) -> bool {
        match (a, b) {
            (Some(Value::Float(x)), Some(Value::Float(y))) => match self {
                Self::Bits => x.to_bits() == y.to_bits(),
                Self::Number => x == y,
                Self::Near => x == y || (x - y).abs() <= TOLERANCE * (1.0 + x.abs().max(y.abs())),
            },
            _ => bits(a) == bits(b),
        }
    }
}

/// How a column of an answer is compared.
fn sameness(question: &Question, column: &str) -> Sameness {
    let Question::Query(query, _) = question else { return Sameness::Bits };
    let Query { window, resample, fill, .. } = query.as_ref();
    if let Some(window) = window {
        if *fill == Fill::Linear {
            return Sameness::Near;
        }
        return match window.aggregates.iter().find(|a| a.column() == column).map(|a| a.function) {
            Some(Function::Sum | Function::Mean | Function::Stddev) => Sameness::Near,
            Some(Function::Min | Function::Max) => Sameness::Number,
            _ => Sameness::Bits,
        };
    }
    match (resample, column) {
        (Some(_), "volume") => Sameness::Near,
        (Some(_), "high" | "low") => Sameness::Number,
        _ => Sameness::Bits,
    }
}

#[test]
fn only_what_is_summed_may_differ_and_only_by_the_tolerance() {
    let (one, zero) = (Value::Float(1.0), Value::Float(0.0));
    let near = |by: f64| Sameness::Near.holds(Some(&one), Some(&Value::Float(1.0 + by)));
    assert!(near(0.9 * 2.0 * TOLERANCE) && !near(1.1 * 2.0 * TOLERANCE) && !near(f64::NAN));
    let minus = Value::Float(-0.0);
    assert!(Sameness::Number.holds(Some(&zero), Some(&minus)));
    assert!(!Sameness::Bits.holds(Some(&zero), Some(&minus)));
    assert!(
        !Sameness::Near.holds(Some(&one), None)
            && !Sameness::Near.holds(Some(&one), Some(&Value::Integer(1)))
    );
}
