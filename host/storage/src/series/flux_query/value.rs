//! What expressions come to, outside of the predicates of filters.

use super::plan::Pipeline;
use super::syntax::{Expr, Node};
use super::times::{self, Span};
use super::token::place;
use super::unsupported;
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Values of all lists and records of a query.
const ITEMS_MAX: usize = 10_000;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Duration(Span),
    Time(i64),
    Regex(String),
    Array(Vec<Value>),
    Record(Vec<(String, Value)>),
    /// A function that the host knows, by name.
    Known(String),
    Function(Vec<String>, Box<Expr>),
    Pipeline(Pipeline),
}

/// A value that a client gives beside the text, under a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Nanoseconds.
    Duration(i64),
    /// Nanoseconds since the epoch.
    Time(i64),
    List(Vec<Given>),
}

impl From<Given> for Value {
    fn from(given: Given) -> Self {
        match given {
            Given::Text(v) => Self::Text(v),
            Given::Integer(v) => Self::Integer(v),
            Given::Float(v) => Self::Float(v),
            Given::Boolean(v) => Self::Boolean(v),
            Given::Duration(ns) => Self::Duration(Span { months: 0, ns }),
            Given::Time(v) => Self::Time(v),
            Given::List(v) => Self::Array(v.into_iter().map(Self::from).collect()),
        }
    }
}

impl Value {
    /// Values within it.
    fn items(&self) -> usize {
        match self {
            Self::Array(items) => items.iter().map(|v| 1 + v.items()).sum(),
            Self::Record(items) => items.iter().map(|(_, v)| 1 + v.items()).sum(),
            _ => 0,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Duration(_) => "a duration",
            Self::Time(_) => "a time",
            Self::Regex(_) => "a regular expression",
            Self::Array(_) => "a list",
            Self::Record(_) => "a record",
            Self::Known(_) | Self::Function(..) => "a function",
            Self::Pipeline(_) => "a stream of tables",
        }
    }
}

/// Names and what they stand for.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) text: &'a str,
    /// Nanoseconds since the epoch.
    pub(super) now: i64,
    pub(super) names: HashMap<String, Value>,
    pub(super) items: usize,
}

impl Scope<'_> {
    pub(super) fn wrong(&self, at: usize, what: impl std::fmt::Display) -> Error {
        Error::invalid(format!("error @{}: {what}", place(self.text, at)))
    }

    pub(super) fn value(&mut self, expr: &Expr) -> Result<Value> {
        Ok(match &expr.node {
            Node::Text(v) => Value::Text(v.clone()),
            Node::Integer(v) => Value::Integer(*v),
            Node::Float(v) => Value::Float(*v),
            Node::Duration(v) => Value::Duration(*v),
            Node::Time(v) => Value::Time(*v),
            Node::Regex(v) => Value::Regex(v.clone()),
            Node::Name(name) => self.named(name, expr.at)?,
            Node::Array(items) => {
                self.count(items.len())?;
                Value::Array(items.iter().map(|i| self.value(i)).collect::<Result<_>>()?)
            }
            Node::Record(items) => {
                self.count(items.len())?;
                let mut record = Vec::with_capacity(items.len());
                for (name, item) in items {
                    record.push((name.clone(), self.value(item)?));
                }
                Value::Record(record)
            }
            Node::Minus(of) => match self.value(of)? {
                Value::Integer(v) => Value::Integer(v.saturating_neg()),
                Value::Float(v) => Value::Float(-v),
                Value::Duration(v) => Value::Duration(
                    v.negative().ok_or_else(|| self.wrong(expr.at, "the duration is too long"))?,
                ),
                other => return Err(self.wrong(expr.at, format!("{} has no opposite", other.kind()))),
            },
            Node::Member(of, name) => match self.value(of)? {
                Value::Record(items) => {
                    items.into_iter().find(|(n, _)| n == name).map(|(_, v)| v).ok_or_else(|| {
                        self.wrong(expr.at, format!("the record has no `{}`", name.escape_debug()))
                    })?
                }
                other => {
                    return Err(unsupported(format!("`{}` of {}", name.escape_debug(), other.kind())));
                }
            },
            Node::Call(of, arguments) => match &of.node {
                Node::Name(name) if name == "from" => {
                    Value::Pipeline(Pipeline::from(self, expr.at, arguments)?)
                }
                Node::Name(name) if name == "now" && arguments.is_empty() => Value::Time(self.now),
                Node::Name(name) if name == "time" => self.time(expr.at, arguments)?,
                Node::Name(name) => return Err(self.unknown(name)),
                Node::Member(..) => return Err(unsupported(format!("`{}`", shown(of)))),
                _ => return Err(unsupported("a call of an expression")),
            },
            Node::Pipe(source, steps) => {
                let mut pipeline = match self.value(source)? {
                    Value::Pipeline(pipeline) => pipeline,
                    other => return Err(self.wrong(source.at, format!("{} cannot be piped", other.kind()))),
                };
                for step in steps {
                    match &step.node {
                        Node::Call(of, arguments) => match &of.node {
                            Node::Name(name) => pipeline.step(self, step.at, name, arguments)?,
                            _ => return Err(unsupported(format!("`{}`", shown(of)))),
                        },
                        _ => return Err(self.wrong(step.at, "`|>` leads to no call")),
                    }
                }
                Value::Pipeline(pipeline)
            }
            Node::Function(names, body) => Value::Function(names.clone(), body.clone()),
            Node::All(_) | Node::Any(_) | Node::Not(_) | Node::Exists(_) | Node::Compare(..) => {
                return Err(unsupported("a condition outside of a filter"));
            }
        })
    }

    fn count(&mut self, more: usize) -> Result<()> {
        self.items += more;
        if self.items > ITEMS_MAX {
            return Err(Error::limit(
                "the values of the lists of a Flux query",
                ITEMS_MAX,
                "use a regular expression",
            ));
        }
        Ok(())
    }

    fn named(&mut self, name: &str, at: usize) -> Result<Value> {
        if let Some(value) = self.names.get(name).cloned() {
            // A name may stand for a long list, and stand often.
            self.count(value.items())?;
            return Ok(value);
        }
        match name {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ if super::fold::named(name).is_some() => Ok(Value::Known(name.to_string())),
            _ => Err(self.wrong(at, format!("undefined identifier {}", name.escape_debug()))),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        unsupported(format!("`{}`", name.escape_debug()))
    }

    /// `time(v: …)`: RFC 3339, or nanoseconds since the epoch.
    fn time(&mut self, at: usize, arguments: &[(String, Expr)]) -> Result<Value> {
        let mut arguments = Arguments::of(self, at, "time", arguments)?;
        let given = arguments.need("v")?;
        arguments.end()?;
        match given {
            Value::Integer(ns) | Value::Time(ns) => Ok(Value::Time(ns)),
            Value::Text(text) => times::literal(&text)
                .map(Value::Time)
                .ok_or_else(|| self.wrong(at, format!("`{}` is not a time", text.escape_debug()))),
            other => Err(self.wrong(at, format!("{} is not a time", other.kind()))),
        }
    }
}

/// The words of a name with members.
fn shown(expr: &Expr) -> String {
    match &expr.node {
        Node::Name(name) => name.escape_debug().to_string(),
        Node::Member(of, name) => format!("{}.{}", shown(of), name.escape_debug()),
        _ => "…".into(),
    }
}

/// The arguments of a call, taken one by one; what is left at the end is not understood.
#[derive(Debug)]
pub(super) struct Arguments {
    function: String,
    place: String,
    given: Vec<(String, Value)>,
}

impl Arguments {
    pub(super) fn of(
        scope: &mut Scope<'_>,
        at: usize,
        function: &str,
        given: &[(String, Expr)],
    ) -> Result<Self> {
        let mut values = Vec::with_capacity(given.len());
        for (name, expr) in given {
            values.push((name.clone(), scope.value(expr)?));
        }
        Ok(Self { function: function.into(), place: place(scope.text, at), given: values })
    }

    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::invalid(format!("error @{}: {}: {what}", self.place, self.function))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.given.iter().position(|(n, _)| n == name)?;
        Some(self.given.remove(at).1)
    }

    pub(super) fn need(&mut self, name: &str) -> Result<Value> {
        self.take(name).ok_or_else(|| self.wrong(format!("missing required argument {name}")))
    }

    fn is_not(&self, name: &str, value: &Value, wanted: &str) -> Error {
        self.wrong(format!("`{name}` is {}, not {wanted}", value.kind()))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.is_not(name, &other, "a string")),
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Boolean(v)) => Ok(Some(v)),
            Some(other) => Err(self.is_not(name, &other, "a boolean")),
        }
    }

    /// A number of rows.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Integer(v)) => match u64::try_from(v) {
                Ok(v) => Ok(Some(v)),
                Err(_) => Err(self.wrong(format!("`{name}` is below 0"))),
            },
            Some(other) => Err(self.is_not(name, &other, "an integer")),
        }
    }

    pub(super) fn duration(&mut self, name: &str) -> Result<Option<Span>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Duration(v)) => Ok(Some(v)),
            Some(other) => Err(self.is_not(name, &other, "a duration")),
        }
    }

    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                let texts = items.into_iter().map(|item| match item {
                    Value::Text(text) => Ok(text),
                    other => Err(self.is_not(name, &other, "a list of strings")),
                });
                texts.collect::<Result<_>>().map(Some)
            }
            Some(other) => Err(self.is_not(name, &other, "a list of strings")),
        }
    }

    /// A point in time as `range` takes it: a duration is so long from now, an integer counts seconds.
    pub(super) fn point(&mut self, name: &str, now: i64) -> Result<Option<i64>> {
        let held = |time: Option<i64>, a: &Self| {
            time.map(Some).ok_or_else(|| a.wrong(format!("`{name}` is further away than can be stored")))
        };
        match self.take(name) {
            None => Ok(None),
            Some(Value::Time(v)) => Ok(Some(v)),
            Some(Value::Duration(v)) => held(v.after(now), self),
            Some(Value::Integer(v)) => held(v.checked_mul(1_000_000_000), self),
            Some(other) => Err(self.is_not(name, &other, "a time, a duration or an integer")),
        }
    }

    pub(super) fn end(self) -> Result<()> {
        match self.given.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(unsupported(format!("the argument `{}` of `{}`", name.escape_debug(), self.function)))
            }
        }
    }
}
