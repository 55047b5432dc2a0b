//! A text word by word: what stands there is taken, or it is said what should.

use super::lex::{Lexer, Token};
use crate::error::Result;

/// Characters of a word that an error shows.
const SHOWN_CHARS_MAX: usize = 80;
/// Words that begin a part of a query where a name may stand before it.
const RESERVED: [&str; 20] = [
    "SELECT", "FROM", "BUCKET", "WHERE", "ASOF", "BOOK", "SESSION", "RESAMPLE", "GROUP", "FILL", "TIMEZONE",
    "ORDER", "LIMIT", "AS", "AFTER", "AND", "NOT", "IN", "IS", "time",
];

pub(super) struct Parser<'a> {
    pub(super) lexer: Lexer<'a>,
    /// The word that is looked at, and where it stands.
    pub(super) token: Token<'a>,
    pub(super) at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self> {
        let mut lexer = Lexer::new(text);
        let (token, at) = lexer.next()?;
        Ok(Self { lexer, token, at })
    }

    /// `(a, b)`, perhaps of nothing.
    pub(super) fn list<T>(
        &mut self,
        what: &str,
        item: impl Fn(&mut Self, &str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.expect("(")?;
        while self.token != Token::Sign(")") {
            all.push(item(self, what)?);
            if !self.sign(",")? {
                break;
            }
        }
        self.expect(")")?;
        Ok(all)
    }

    /// A name, with or without quotes.
    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        let name = match &self.token {
            Token::Name(name) => name.clone(),
            Token::Word(word) if !RESERVED.iter().any(|r| r.eq_ignore_ascii_case(word)) => {
                (*word).to_string()
            }
            _ => {
                return self.expected(&format!(
                    "{what} (a name that is also a word of the language stands in \"…\")"
                ));
            }
        };
        self.advance()?;
        Ok(name)
    }

    /// A text in apostrophes.
    pub(super) fn value(&mut self, what: &str) -> Result<String> {
        let Token::Text(text) = &self.token else { return self.expected(&format!("{what} in '…'")) };
        let text = text.clone();
        self.advance()?;
        Ok(text)
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let number = match &self.token {
            Token::Word(word) => word.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => {
                self.advance()?;
                Ok(number)
            }
            None => self.expected(what),
        }
    }

    /// `1h`, or `'1 h'`.
    pub(super) fn length(&mut self, what: &str) -> Result<String> {
        let length = match &self.token {
            Token::Word(word) if word.starts_with(|c: char| c.is_ascii_digit()) => (*word).to_string(),
            Token::Text(text) => text.clone(),
            _ => return self.expected(what),
        };
        self.advance()?;
        Ok(length)
    }

    pub(super) fn is(&self, word: &str) -> bool {
        matches!(&self.token, Token::Word(w) if w.eq_ignore_ascii_case(word))
    }

    pub(super) fn advance(&mut self) -> Result<()> {
        (self.token, self.at) = self.lexer.next()?;
        Ok(())
    }

    /// Takes a word of the language, if it is the next one.
    pub(super) fn take(&mut self, word: &str) -> Result<bool> {
        let is = self.is(word);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    pub(super) fn keyword(&mut self, word: &str) -> Result<()> {
        if self.take(word)? { Ok(()) } else { self.expected(word) }
    }

    pub(super) fn sign(&mut self, sign: &'static str) -> Result<bool> {
        let is = self.token == Token::Sign(sign);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    pub(super) fn expect(&mut self, sign: &'static str) -> Result<()> {
        if self.sign(sign)? { Ok(()) } else { self.expected(sign) }
    }

    pub(super) fn expected<T>(&self, what: &str) -> Result<T> {
        let mut found = self.token.shown();
        if let Some((end, _)) = found.char_indices().nth(SHOWN_CHARS_MAX) {
            found.truncate(end);
            found.push('…');
        }
        self.wrong(&format!("expected {what}, found {found}"))
    }

    pub(super) fn wrong<T>(&self, what: &str) -> Result<T> {
        Err(self.lexer.error(self.at, what))
    }
}
