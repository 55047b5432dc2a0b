//! A text becomes a query.

use super::super::ast::{
    Aggregate, Asof, Book, Direction, Fill, Function, Query, Sessions, TagFilter, Time, Window,
};
use super::super::time::span_of;
use super::TEXT_BYTES_MAX;
use super::lex::Token;
use super::words::Parser;
use crate::error::{Error, Result};
use crate::series::kinds::Session;

/// Reads a text. What it says is checked as the query is, when it is asked.
pub fn parse(text: &str) -> Result<Query> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::limit(
            "the text of the query",
            format!("{TEXT_BYTES_MAX} bytes"),
            "give the query as JSON: docs/query.md",
        ));
    }
    Parser::new(text)?.query()
}

const FUNCTIONS: [Function; 9] = [
    Function::First,
    Function::Last,
    Function::Min,
    Function::Max,
    Function::Sum,
    Function::Mean,
    Function::Count,
    Function::Stddev,
    Function::Quantile,
];

impl Parser<'_> {
    fn query(mut self) -> Result<Query> {
        let mut query = Query::default();
        self.keyword("SELECT")?;
        let aggregates = self.columns(&mut query)?;
        self.keyword("FROM")?;
        query.measurement = self.name("a measurement")?;
        query.bucket = self.bucket()?;
        let mut every = None;
        // Each clause once; the order of the grammar is a custom, not a rule.
        let mut seen: Vec<&str> = Vec::new();
        while self.token != Token::End {
            let at = self.at;
            let clause = match () {
                () if self.take("WHERE")? => {
                    self.conditions(&mut query)?;
                    "WHERE"
                }
                () if self.take("ASOF")? => {
                    self.keyword("JOIN")?;
                    query.asof = Some(self.asof()?);
                    "ASOF JOIN"
                }
                () if self.take("BOOK")? => {
                    query.book = Some(self.book()?);
                    "BOOK"
                }
                () if self.take("SESSION")? => {
                    query.session = Some(self.session()?);
                    "SESSION"
                }
                () if self.take("RESAMPLE")? => {
                    query.resample = Some(self.length("a timeframe, such as 1h")?);
                    "RESAMPLE"
                }
                () if self.take("GROUP")? => {
                    self.keyword("BY")?;
                    every = Some(self.length("a timeframe, such as 1h")?);
                    "GROUP BY"
                }
                () if self.take("FILL")? => {
                    query.fill = self.fill()?;
                    "FILL"
                }
                () if self.take("TIMEZONE")? => {
                    query.timezone = Some(self.value("a time zone")?);
                    "TIMEZONE"
                }
                () if self.take("ORDER")? => {
                    self.keyword("BY")?;
                    self.keyword("time")?;
                    query.descending = self.take("DESC")?;
                    if !query.descending {
                        self.take("ASC")?;
                    }
                    "ORDER BY"
                }
                () if self.take("LIMIT")? => {
                    query.limit = Some(self.number("a number of rows")?);
                    "LIMIT"
                }
                () if self.take("AS")? => {
                    self.keyword("KNOWN")?;
                    self.keyword("AT")?;
                    query.as_known_at = Some(self.time()?);
                    "AS KNOWN AT"
                }
                () if self.take("AFTER")? => {
                    query.after = Some(self.value("what the page before gave as `next`")?);
                    "AFTER"
                }
                () => {
                    return self.expected(
                        "WHERE, ASOF JOIN, BOOK, SESSION, RESAMPLE, GROUP BY, FILL, TIMEZONE, ORDER BY, LIMIT, AS KNOWN AT, AFTER or the end",
                    );
                }
            };
            if seen.contains(&clause) {
                return Err(self.lexer.error(at, &format!("{clause} stands there twice")));
            }
            seen.push(clause);
        }
        match (every, aggregates.is_empty()) {
            (None, true) => {}
            (Some(every), false) => query.window = Some(Window { every, aggregates }),
            (Some(_), true) => {
                return self.wrong("GROUP BY needs functions of fields, such as SELECT mean(close)");
            }
            (None, false) => {
                return self.wrong("functions of fields need GROUP BY and a timeframe, such as GROUP BY 1h");
            }
        }
        Ok(query)
    }

    /// `*`, fields, or functions of fields.
    fn columns(&mut self, query: &mut Query) -> Result<Vec<Aggregate>> {
        let mut aggregates = Vec::new();
        if self.sign("*")? {
            return Ok(aggregates);
        }
        let mut fields = Vec::new();
        loop {
            let (quoted, at) = (matches!(self.token, Token::Name(_)), self.at);
            let name = self.name("a field, a function of one, or *")?;
            if self.token == Token::Sign("(") {
                let function = FUNCTIONS.iter().find(|f| !quoted && f.name().eq_ignore_ascii_case(&name));
                let Some(function) = function else {
                    let names = FUNCTIONS.map(Function::name).join(", ");
                    return Err(self
                        .lexer
                        .error(at, &format!("`{}` is none of the functions {names}", name.escape_debug())));
                };
                self.expect("(")?;
                let field = self.name("a field")?;
                let q = if self.sign(",")? { Some(self.number("a share from 0 to 1")?) } else { None };
                self.expect(")")?;
                aggregates.push(Aggregate { field, function: *function, q });
            } else {
                fields.push(name);
            }
            if !self.sign(",")? {
                break;
            }
        }
        if !fields.is_empty() && !aggregates.is_empty() {
            return self.wrong("fields and functions of fields do not go together: choose one");
        }
        query.fields = (!fields.is_empty()).then_some(fields);
        Ok(aggregates)
    }

    fn bucket(&mut self) -> Result<Option<String>> {
        if self.take("BUCKET")? { self.name("a bucket").map(Some) } else { Ok(None) }
    }

    fn conditions(&mut self, query: &mut Query) -> Result<()> {
        loop {
            if self.is("time") {
                self.bound(query)?;
            } else {
                self.tag(&mut query.tags, &mut query.filters)?;
            }
            if !self.take("AND")? {
                return Ok(());
            }
        }
    }

    /// `time >= …` or `time < …`.
    fn bound(&mut self, query: &mut Query) -> Result<()> {
        self.advance()?;
        let at = self.at;
        let slot = if self.sign(">=")? {
            &mut query.start
        } else if self.sign("<")? {
            &mut query.end
        } else {
            return self.expected(">= or <, for the start is in the range and the end is not,");
        };
        if slot.is_some() {
            return Err(self.lexer.error(at, "this end of the range stands there twice"));
        }
        *slot = Some(self.time()?);
        Ok(())
    }

    /// `'2024-01-02'`, nanoseconds, or `now() - 1d`.
    fn time(&mut self) -> Result<Time> {
        if let Token::Text(_) = self.token {
            return self.value("a time").map(Time::Text);
        }
        if self.take("now")? {
            self.expect("(")?;
            self.expect(")")?;
            for sign in ["-", "+"] {
                if self.sign(sign)? {
                    return Ok(Time::Text(format!("now() {sign} {}", self.length("a span, such as 1d")?)));
                }
            }
            return Ok(Time::Text("now()".into()));
        }
        let minus = if self.sign("-")? { "-" } else { "" };
        match &self.token {
            Token::Word(word) => match format!("{minus}{word}").parse() {
                Ok(ns) => {
                    self.advance()?;
                    Ok(Time::Ns(ns))
                }
                Err(_) => self.expected("a time: '2024-01-02', now() - 1d, or nanoseconds"),
            },
            _ => self.expected("a time: '2024-01-02', now() - 1d, or nanoseconds"),
        }
    }

    /// What a tag must hold.
    fn tag(&mut self, tags: &mut Vec<(String, String)>, filters: &mut Vec<TagFilter>) -> Result<()> {
        let tag = self.name("a tag, or time")?;
        if self.sign("=")? {
            tags.push((tag, self.value("a value")?));
            return Ok(());
        }
        let mut filter = TagFilter { tag, ..TagFilter::default() };
        if self.take("IS")? {
            filter.not = self.take("NOT")?;
            filter.equals = Some(self.value("a value")?);
        } else if self.sign("!=")? {
            filter.not = true;
            filter.equals = Some(self.value("a value")?);
        } else if self.sign("=~")? {
            filter.matches = Some(self.value("a regular expression")?);
        } else if self.sign("!~")? {
            filter.not = true;
            filter.matches = Some(self.value("a regular expression")?);
        } else {
            filter.not = self.take("NOT")?;
            self.keyword("IN")?;
            filter.any_of = Some(self.list("a value", Self::value)?);
        }
        filters.push(filter);
        Ok(())
    }

    fn asof(&mut self) -> Result<Asof> {
        let mut asof = Asof { measurement: self.name("a measurement")?, ..Asof::default() };
        asof.bucket = self.bucket()?;
        loop {
            if self.take("FIELDS")? {
                asof.fields = Some(self.list("a field", Self::name)?);
            } else if self.take("ON")? {
                self.expect("(")?;
                self.tag(&mut asof.tags, &mut asof.filters)?;
                while self.take("AND")? {
                    self.tag(&mut asof.tags, &mut asof.filters)?;
                }
                self.expect(")")?;
            } else if self.take("LEVELS")? {
                asof.book = Some(self.book()?);
            } else if self.take("WITHIN")? {
                let at = self.at;
                let span = self.length("a span, such as 5s")?;
                let said = |e: Error| self.lexer.error(at, e.message());
                asof.tolerance = Some(span_of(&span).map_err(said)?);
            } else if self.take("BACKWARD")? {
                asof.direction = Direction::Backward;
            } else if self.take("FORWARD")? {
                asof.direction = Direction::Forward;
            } else if self.take("NEAREST")? {
                asof.direction = Direction::Nearest;
            } else if self.take("EXCLUSIVE")? {
                asof.exact = false;
            } else if self.take("USING")? {
                asof.by = self.list("a tag", Self::name)?;
            } else if self.take("PREFIX")? {
                asof.prefix = self.value("a prefix")?;
            } else {
                return Ok(asof);
            }
        }
    }

    /// `(TOP, DEPTH 10, IMBALANCE 5)`
    fn book(&mut self) -> Result<Book> {
        let mut book = Book::default();
        self.expect("(")?;
        while self.token != Token::Sign(")") {
            if self.take("TOP")? {
                book.top = true;
            } else if self.take("DEPTH")? {
                book.depth.push(self.number("a number of levels")?);
            } else if self.take("IMBALANCE")? {
                book.imbalance.push(self.number("a number of levels")?);
            } else {
                return self.expected("TOP, DEPTH n or IMBALANCE n");
            }
            if !self.sign(",")? {
                break;
            }
        }
        self.expect(")")?;
        Ok(book)
    }

    /// A calendar's name, or a session in brackets.
    fn session(&mut self) -> Result<Sessions> {
        if !self.sign("(")? {
            return self.name("the name of a calendar, or (").map(Sessions::Named);
        }
        let mut given = Session {
            timezone: String::new(),
            open: String::new(),
            close: String::new(),
            weekdays: crate::series::kinds::working_days(),
            holidays: Vec::new(),
            early: Default::default(),
        };
        while !self.sign(")")? {
            if self.take("TIMEZONE")? {
                given.timezone = self.value("a time zone")?;
            } else if self.take("OPEN")? {
                given.open = self.value("a time of day")?;
            } else if self.take("CLOSE")? {
                given.close = self.value("a time of day")?;
            } else if self.take("WEEKDAYS")? {
                given.weekdays = self.list("a day of the week, such as 'mon'", Self::value)?;
            } else if self.take("HOLIDAYS")? {
                given.holidays = self.list("a date", Self::value)?;
            } else if self.take("EARLY")? {
                let early = |p: &mut Self, what: &str| Ok((p.value(what)?, p.value("a time of day")?));
                given.early = self.list("a date", early)?.into_iter().collect();
            } else {
                return self.expected("TIMEZONE, OPEN, CLOSE, WEEKDAYS, HOLIDAYS, EARLY or )");
            }
        }
        Ok(Sessions::Given(given))
    }

    fn fill(&mut self) -> Result<Fill> {
        for (word, fill) in [
            ("none", Fill::None),
            ("null", Fill::Null),
            ("previous", Fill::Previous),
            ("linear", Fill::Linear),
        ] {
            if self.take(word)? {
                return Ok(fill);
            }
        }
        self.expected("none, null, previous or linear")
    }
}
