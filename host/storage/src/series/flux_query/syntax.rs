//! What a text says, before it is known what it means.

use super::times::Span;

/// An expression and where it begins, in bytes of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expr {
    pub(super) node: Node,
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Name(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Duration(Span),
    Time(i64),
    Regex(String),
    Array(Vec<Expr>),
    Record(Vec<(String, Expr)>),
    Call(Box<Expr>, Vec<(String, Expr)>),
    /// `r.host` and `r["host"]`.
    Member(Box<Expr>, String),
    /// A source and what its tables go through.
    Pipe(Box<Expr>, Vec<Expr>),
    /// Names of parameters and what is given back.
    Function(Vec<String>, Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Exists(Box<Expr>),
    Minus(Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    MatchesNot,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// `name = expression`, also with `option` before it.
    Assign {
        name: String,
        value: Expr,
        option: bool,
    },
    Show(Expr),
}
