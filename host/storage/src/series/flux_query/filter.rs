//! Predicates of `filter`: what they say of a series is known before it is read, what they say of a value when it is there.

use super::face::Face;
use super::syntax::{Comparison, Expr, Node};
use super::unsupported;
use super::value::{Scope, Value};
use crate::error::{Error, Result};
use crate::series::{self, Frame};
use regex::{Regex, RegexBuilder};
use std::sync::Arc;

/// Bytes of a regular expression.
const REGEX_BYTES_MAX: usize = 1_000;
/// Bytes of one that is compiled. It runs in time linear to the text, whatever it is.
const REGEX_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// A condition that was checked.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Always(bool),
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    /// Of a tag, `_measurement` or `_field`: equal to a text, or not.
    Text {
        key: String,
        text: String,
        not: bool,
    },
    Matches {
        key: String,
        regex: Arc<Regex>,
        not: bool,
    },
    Exists(String),
    /// Of `_value`.
    Value(Comparison, Literal),
    ValueMatches {
        regex: Arc<Regex>,
        not: bool,
    },
    /// Of `_time`, in nanoseconds since the epoch.
    Time(Comparison, i64),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Text(String),
}

/// The columns that no tag is.
const OWN: [&str; 4] = ["_start", "_stop", "_time", "_value"];

impl Test {
    /// Of `fn: (r) => …`.
    pub(super) fn of(scope: &mut Scope<'_>, parameters: &[String], body: &Expr) -> Result<Self> {
        let [row] = parameters else {
            return Err(scope.wrong(body.at, "a filter needs a function of one row"));
        };
        Reader { scope, row }.test(body)
    }

    /// Of a series and a field, as far as it is known without a value.
    pub(super) fn known(&self, face: &Face, field: &str) -> Option<bool> {
        match self {
            Self::Always(v) => Some(*v),
            Self::All(parts) => {
                let mut all = Some(true);
                for part in parts {
                    match part.known(face, field) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                all
            }
            Self::Any(parts) => {
                let mut any = Some(false);
                for part in parts {
                    match part.known(face, field) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => any = None,
                    }
                }
                any
            }
            Self::Not(of) => of.known(face, field).map(|v| !v),
            Self::Text { key, text, not } => Some(match of_series(face, field, key) {
                Some(value) => (value == text) != *not,
                // Nothing is equal to nothing, and InfluxDB takes what is missing for an empty text.
                None => *not && !text.is_empty(),
            }),
            Self::Matches { key, regex, not } => {
                Some(regex.is_match(of_series(face, field, key).unwrap_or_default()) != *not)
            }
            Self::Exists(key) => Some(of_series(face, field, key).is_some()),
            Self::Value(..) | Self::ValueMatches { .. } | Self::Time(..) => None,
        }
    }

    /// Of a row.
    fn holds(&self, face: &Face, field: &str, time: i64, value: &series::Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|p| p.holds(face, field, time, value)),
            Self::Any(parts) => parts.iter().any(|p| p.holds(face, field, time, value)),
            Self::Not(of) => !of.holds(face, field, time, value),
            Self::Value(how, literal) => compares(*how, value, literal),
            Self::ValueMatches { regex, not } => {
                matches!(value, series::Value::String(text) if regex.is_match(text) != *not)
            }
            Self::Time(how, literal) => meets(*how, time.cmp(literal)),
            Self::Always(_) | Self::Text { .. } | Self::Matches { .. } | Self::Exists(_) => {
                self.known(face, field).unwrap_or(false)
            }
        }
    }

    /// Which rows of a frame with the one column `_value` hold. A row without a value does not.
    pub(super) fn rows(&self, face: &Face, field: &str, frame: &Frame) -> Vec<bool> {
        let Some(column) = frame.columns.first() else { return vec![false; frame.len()] };
        let row = |(at, time): (usize, &i64)| {
            column.get(at).is_some_and(|value| self.holds(face, field, *time, &value))
        };
        frame.times.iter().enumerate().map(row).collect()
    }

    /// Does it name this measurement itself, by its name or by an expression that matches it?
    pub(super) fn names(&self, measurement: &str) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|p| p.names(measurement)),
            Self::Not(of) => of.names(measurement),
            Self::Text { key, text, not } => !not && key == "_measurement" && text == measurement,
            Self::Matches { key, regex, not } => !not && key == "_measurement" && regex.is_match(measurement),
            _ => false,
        }
    }

    /// The only measurements for which it can hold, if it says so.
    pub(super) fn measurements(&self) -> Option<Vec<&str>> {
        match self {
            Self::Text { key, text, not: false } if key == "_measurement" => Some(vec![text]),
            Self::All(parts) => parts.iter().find_map(Self::measurements),
            Self::Any(parts) => {
                let each: Option<Vec<Vec<&str>>> = parts.iter().map(Self::measurements).collect();
                each.map(|lists| lists.concat())
            }
            _ => None,
        }
    }
}

fn of_series<'a>(face: &'a Face, field: &'a str, key: &str) -> Option<&'a str> {
    match key {
        "_measurement" => Some(&face.measurement),
        "_field" => Some(field),
        _ => face.tag(key),
    }
}

fn meets(how: Comparison, order: std::cmp::Ordering) -> bool {
    match how {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Matches | Comparison::MatchesNot => false,
    }
}

/// Values of different kinds are in no order: InfluxDB leaves such rows out.
fn compares(how: Comparison, value: &series::Value, literal: &Literal) -> bool {
    use series::Value as V;
    let order = match (value, literal) {
        (V::Integer(a), Literal::Integer(b)) => Some(a.cmp(b)),
        (V::Unsigned(a), Literal::Integer(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (V::Float(a), Literal::Integer(b)) => a.partial_cmp(&(*b as f64)),
        (V::Integer(a), Literal::Float(b)) => (*a as f64).partial_cmp(b),
        (V::Unsigned(a), Literal::Float(b)) => (*a as f64).partial_cmp(b),
        (V::Float(a), Literal::Float(b)) => a.partial_cmp(b),
        (V::Boolean(a), Literal::Boolean(b)) => Some(a.cmp(b)),
        (V::String(a), Literal::Text(b)) => Some(a.cmp(b)),
        _ => None,
    };
    order.is_some_and(|order| meets(how, order))
}

struct Reader<'a, 's> {
    scope: &'a mut Scope<'s>,
    /// The name of the row.
    row: &'a str,
}

impl Reader<'_, '_> {
    fn test(&mut self, expr: &Expr) -> Result<Test> {
        Ok(match &expr.node {
            Node::All(parts) => Test::All(parts.iter().map(|p| self.test(p)).collect::<Result<_>>()?),
            Node::Any(parts) => Test::Any(parts.iter().map(|p| self.test(p)).collect::<Result<_>>()?),
            Node::Not(of) => Test::Not(Box::new(self.test(of)?)),
            Node::Exists(of) => match self.column(of) {
                Some(key) if OWN.contains(&key) => Test::Always(true),
                Some(key) => Test::Exists(key.to_string()),
                None => {
                    return Err(self.scope.wrong(expr.at, "`exists` is followed by no column of the row"));
                }
            },
            Node::Compare(how, left, right) => match (self.column(left), self.column(right)) {
                (Some(key), None) => {
                    let (key, value) = (key.to_string(), self.scope.value(right)?);
                    self.compare(expr.at, *how, key, value)?
                }
                (None, Some(key)) => {
                    let (key, value) = (key.to_string(), self.scope.value(left)?);
                    self.compare(expr.at, turned(*how), key, value)?
                }
                _ => return Err(unsupported("a comparison that is not one of a column with a value")),
            },
            Node::Call(of, arguments) if matches!(&of.node, Node::Name(n) if n == "contains") => {
                self.contains(expr.at, arguments)?
            }
            Node::Name(_) => match self.scope.value(expr)? {
                Value::Boolean(v) => Test::Always(v),
                _ => return Err(self.scope.wrong(expr.at, "a filter needs a condition")),
            },
            _ => return Err(unsupported("such a condition of a filter")),
        })
    }

    /// `contains(value: r.host, set: ["a", "b"])`
    fn contains(&mut self, at: usize, arguments: &[(String, Expr)]) -> Result<Test> {
        let of = |name: &str| arguments.iter().find(|(n, _)| n == name).map(|(_, expr)| expr);
        let (Some(value), Some(set), 2) = (of("value"), of("set"), arguments.len()) else {
            return Err(self.scope.wrong(at, "contains: the arguments are `value` and `set`"));
        };
        let Some(key) = self.column(value).map(str::to_string) else {
            return Err(unsupported("`contains` of what is not a column"));
        };
        let Value::Array(items) = self.scope.value(set)? else {
            return Err(self.scope.wrong(at, "contains: `set` is no list"));
        };
        let each = items.into_iter().map(|item| self.compare(at, Comparison::Equal, key.clone(), item));
        Ok(Test::Any(each.collect::<Result<_>>()?))
    }

    /// The column of the row that an expression is.
    fn column<'e>(&self, expr: &'e Expr) -> Option<&'e str> {
        match &expr.node {
            Node::Member(of, name) if matches!(&of.node, Node::Name(n) if n == self.row) => Some(name),
            _ => None,
        }
    }

    fn compare(&self, at: usize, how: Comparison, key: String, value: Value) -> Result<Test> {
        let not = matches!(how, Comparison::NotEqual | Comparison::MatchesNot);
        let is_match = matches!(how, Comparison::Matches | Comparison::MatchesNot);
        if is_match {
            let Value::Regex(pattern) = value else {
                return Err(self.scope.wrong(at, "`=~` and `!~` need a regular expression, such as /^a/"));
            };
            let regex = Arc::new(regex(&key, &pattern)?);
            return match key.as_str() {
                "_value" => Ok(Test::ValueMatches { regex, not }),
                "_time" | "_start" | "_stop" => Err(self.scope.wrong(at, format!("`{key}` is no text"))),
                _ => Ok(Test::Matches { key, regex, not }),
            };
        }
        match (key.as_str(), value) {
            ("_time", Value::Time(time)) => Ok(Test::Time(how, time)),
            ("_time" | "_start" | "_stop", _) => {
                Err(unsupported(format!("such a comparison of `{key}` (give bounds to `range`)")))
            }
            ("_value", Value::Integer(v)) => Ok(Test::Value(how, Literal::Integer(v))),
            ("_value", Value::Float(v)) => Ok(Test::Value(how, Literal::Float(v))),
            ("_value", Value::Boolean(v)) => Ok(Test::Value(how, Literal::Boolean(v))),
            ("_value", Value::Text(v)) => Ok(Test::Value(how, Literal::Text(v))),
            ("_value", _) => Err(unsupported("such a comparison of `_value`")),
            (_, Value::Text(text)) if matches!(how, Comparison::Equal | Comparison::NotEqual) => {
                Ok(Test::Text { key, text, not })
            }
            (_, Value::Text(_)) => Err(unsupported("the order of tags")),
            _ => Err(self
                .scope
                .wrong(at, format!("`{}` is a text and is compared with none", key.escape_debug()))),
        }
    }
}

const fn turned(how: Comparison) -> Comparison {
    match how {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        other => other,
    }
}

fn regex(key: &str, pattern: &str) -> Result<Regex> {
    let key = key.escape_debug();
    if pattern.len() > REGEX_BYTES_MAX {
        let what = format!("the expression for `{key}`");
        return Err(Error::limit(what, format!("{REGEX_BYTES_MAX} bytes"), "compare with `==` and `or`"));
    }
    RegexBuilder::new(pattern).size_limit(REGEX_PROGRAM_BYTES_MAX).build().map_err(|e| {
        let said = match e {
            regex::Error::CompiledTooBig(_) => "it becomes too large".to_string(),
            other => other.to_string().lines().last().unwrap_or_default().to_string(),
        };
        Error::invalid(format!("the expression for `{key}` is none: {said}"))
            .hint("it has the syntax of Rust's regex, which is nearly that of Go")
    })
}
