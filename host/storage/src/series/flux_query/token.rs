//! Words of a text in Flux.

use super::times::{self, Span};
use super::unsupported;
use crate::error::{Error, Result};

/// Bytes of a query.
pub const QUERY_BYTES_MAX: usize = 64 << 10;
/// Words of a query.
pub const TOKENS_MAX: usize = 16_384;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Duration(Span),
    /// Nanoseconds since the epoch.
    Time(i64),
    Regex(String),
    /// Operators and brackets.
    Sign(&'static str),
}

/// A word and where it begins, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: usize,
}

/// Longer ones first.
const SIGNS: [&str; 26] = [
    "|>", "=>", "==", "!=", "=~", "!~", "<=", ">=", "<-", "(", ")", "[", "]", "{", "}", ",", ":", ".", "=",
    "<", ">", "-", "+", "*", "?", "|",
];

/// The words of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Error::limit(
            "the Flux query",
            format!("{QUERY_BYTES_MAX} bytes"),
            "ask for less at once",
        ));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    while let Some(placed) = lexer.next()? {
        if found.len() == TOKENS_MAX {
            return Err(Error::limit(
                "the Flux query",
                format!("{TOKENS_MAX} words"),
                "ask for less at once",
            ));
        }
        found.push(placed);
    }
    Ok(found)
}

/// Line and column of a byte, both from 1, as Flux counts them.
pub(super) fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
    format!("{line}:{column}")
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, at: usize, what: impl std::fmt::Display) -> Error {
        Error::invalid(format!("error @{}: {what}", place(self.text, at)))
    }

    /// Bytes that a test holds for, from the present place on.
    fn run(&self, test: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        rest.find(|c: char| !test(c)).unwrap_or(rest.len())
    }

    fn skip_blanks(&mut self) {
        loop {
            self.at += self.run(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.at += self.run(|c| c != '\n');
        }
    }

    fn next(&mut self) -> Result<Option<Placed>> {
        self.skip_blanks();
        let at = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        let token = match first {
            '"' => self.string()?,
            // Nothing is divided in the subset: a slash begins an expression.
            '/' => self.regex()?,
            '0'..='9' => self.number()?,
            c if c == '_' || c.is_alphabetic() => {
                let len = self.run(|c| c == '_' || c.is_alphanumeric());
                let name = self.rest().get(..len).unwrap_or_default().to_string();
                self.at += len;
                Token::Name(name)
            }
            c => {
                let Some(sign) = SIGNS.iter().find(|s| self.rest().starts_with(**s)) else {
                    return Err(self.wrong(at, format!("`{}` is no part of Flux", c.escape_debug())));
                };
                self.at += sign.len();
                Token::Sign(sign)
            }
        };
        Ok(Some(Placed { token, at }))
    }

    fn string(&mut self) -> Result<Token> {
        let begin = self.at;
        let mut out = Vec::new();
        let bytes = self.rest().as_bytes();
        let mut i = 1;
        loop {
            let escaped = bytes.get(i + 1).copied();
            match bytes.get(i).copied() {
                None => return Err(self.wrong(begin, "a string does not end")),
                Some(b'"') => break,
                Some(b'$') if escaped == Some(b'{') => {
                    return Err(unsupported("an expression within a string"));
                }
                Some(b'\\') => {
                    let byte = match escaped {
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(c @ (b'"' | b'\\' | b'$')) => c,
                        Some(b'x') => {
                            let digits = bytes.get(i + 2..i + 4).and_then(|d| std::str::from_utf8(d).ok());
                            let byte = digits
                                .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
                                .and_then(|d| u8::from_str_radix(d, 16).ok())
                                .ok_or_else(|| self.wrong(begin + i, "`\\x` needs two hexadecimal digits"))?;
                            i += 2;
                            byte
                        }
                        _ => return Err(self.wrong(begin + i, "an unknown escape within a string")),
                    };
                    out.push(byte);
                    i += 2;
                }
                Some(b) => {
                    out.push(b);
                    i += 1;
                }
            }
        }
        let text = String::from_utf8(out).map_err(|_| self.wrong(begin, "a string is not UTF-8"))?;
        self.at = begin + i + 1;
        Ok(Token::Text(text))
    }

    fn regex(&mut self) -> Result<Token> {
        let begin = self.at;
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        loop {
            match chars.next() {
                None | Some((_, '\n')) => return Err(self.wrong(begin, "a regular expression does not end")),
                Some((i, '/')) => {
                    self.at = begin + i + 1;
                    return Ok(Token::Regex(out));
                }
                Some((_, '\\')) => match chars.next() {
                    Some((_, '/')) => out.push('/'),
                    Some((_, c)) => out.extend(['\\', c]),
                    None => out.push('\\'),
                },
                Some((_, c)) => out.push(c),
            }
        }
    }

    /// A time, a duration, or a number.
    fn number(&mut self) -> Result<Token> {
        let begin = self.at;
        let digits = self.run(|c| c.is_ascii_digit());
        let rest = self.rest();
        let after = rest.as_bytes().get(digits).copied();
        if digits == 4 && after == Some(b'-') {
            let len = self.run(|c| c.is_ascii_digit() || matches!(c, '-' | ':' | 'T' | 'Z' | '.' | '+'));
            let text = rest.get(..len).unwrap_or_default();
            let time = times::literal(text)
                .ok_or_else(|| self.wrong(begin, format!("`{}` is not a time", text.escape_debug())))?;
            self.at += len;
            return Ok(Token::Time(time));
        }
        if after.is_some_and(|c| c.is_ascii_alphabetic())
            || rest.get(digits..).is_some_and(|r| r.starts_with('µ'))
        {
            let len = self.run(|c| c.is_ascii_digit() || c.is_ascii_alphabetic() || c == 'µ');
            let text = rest.get(..len).unwrap_or_default();
            let span = Span::parse(text)
                .ok_or_else(|| self.wrong(begin, format!("`{}` is not a duration", text.escape_debug())))?;
            self.at += len;
            return Ok(Token::Duration(span));
        }
        let fraction = rest
            .get(digits + 1..)
            .filter(|_| after == Some(b'.'))
            .map(|r| r.find(|c: char| !c.is_ascii_digit()).unwrap_or(r.len()));
        let len = digits + fraction.filter(|f| *f > 0).map_or(0, |f| f + 1);
        let text = rest.get(..len).unwrap_or_default();
        let token = if len > digits {
            text.parse().ok().filter(|x: &f64| x.is_finite()).map(Token::Float)
        } else {
            text.parse().ok().map(Token::Integer)
        };
        let token = token.ok_or_else(|| self.wrong(begin, format!("the number {text} is too large")))?;
        self.at += len;
        Ok(token)
    }
}
