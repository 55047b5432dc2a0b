//! Words of a text.

use crate::error::{Error, Result};

/// The example that errors show.
const EXAMPLE: &str =
    r#"such as SELECT mean(close), max(high) FROM "bar.1m.AAPL" WHERE time >= '2024-01-02' GROUP BY 1h"#;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, a name without quotes, a number or a span: letters, digits, `_` and `.`.
    Word(&'a str),
    /// `"…"`
    Name(String),
    /// `'…'`
    Text(String),
    /// `( ) , * - + = != =~ !~ < <= > >=`
    Sign(&'static str),
    End,
}

impl Token<'_> {
    /// As an error shows it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Name(name) => format!("`\"{}\"`", name.escape_debug()),
            Self::Text(text) => format!("`'{}'`", text.escape_debug()),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".into(),
        }
    }
}

/// The longer signs first.
const SIGNS: [&str; 14] = ["!=", "=~", "!~", "<=", ">=", "(", ")", ",", "*", "-", "+", "=", "<", ">"];

/// Reads a text word by word.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// Where the next word begins, in bytes.
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next word and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize)> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        let (rest, at) = (self.rest(), self.at);
        let Some(first) = rest.chars().next() else { return Ok((Token::End, at)) };
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok((Token::Sign(sign), at));
        }
        if matches!(first, '"' | '\'') {
            let inside = self.quoted(first)?;
            return Ok((if first == '"' { Token::Name(inside) } else { Token::Text(inside) }, at));
        }
        let length =
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        if length == 0 {
            let what = format!(
                "`{}` has no meaning here; names stand in \"…\", values in '…'",
                first.escape_debug()
            );
            return Err(self.error(at, &what));
        }
        self.at += length;
        Ok((Token::Word(rest.get(..length).unwrap_or_default()), at))
    }

    /// What stands between two of `mark`, of which two stand for one.
    fn quoted(&mut self, mark: char) -> Result<String> {
        let begin = self.at;
        self.at += 1;
        let mut inside = String::new();
        loop {
            let Some(length) = self.rest().find(mark) else {
                return Err(
                    self.error(begin, &format!("what begins with {mark} does not end: {mark} is missing"))
                );
            };
            inside.push_str(self.rest().get(..length).unwrap_or_default());
            self.at += length + 1;
            if !self.rest().starts_with(mark) {
                return Ok(inside);
            }
            inside.push(mark);
            self.at += 1;
        }
    }

    /// What is wrong at a place, by line and column.
    pub(super) fn error(&self, at: usize, what: &str) -> Error {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error::invalid(format!("the text of the query, line {line}, column {column}: {what}")).hint(EXAMPLE)
    }
}
