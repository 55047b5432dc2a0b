//! A typed reader over a parsed TOML document that collects every problem with its line instead of stopping
//! at the first. A [`Section`] remembers which keys were asked for; what is left over is unknown.

use crate::units::{ByteSize, Span};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::load::Problem;

/// The problems found so far and the text they point into.
pub(super) struct Findings<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, problems: RefCell::default() }
    }

    pub(super) fn add(&self, at: Option<Range<usize>>, key: impl Into<String>, message: impl Into<String>) {
        let line =
            at.map_or(1, |span| 1 + self.text.bytes().take(span.start).filter(|b| *b == b'\n').count());
        self.problems.borrow_mut().push(Problem { line, key: key.into(), message: message.into() });
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        problems
    }
}

/// One table of the document.
pub(super) struct Section<'f, 'd> {
    pub(super) findings: &'f Findings<'f>,
    table: Option<&'d DeTable<'d>>,
    /// Where the table stands, for what is missing in it.
    at: Option<Range<usize>>,
    path: String,
    asked: RefCell<BTreeSet<String>>,
}

impl<'f, 'd> Section<'f, 'd> {
    pub(super) fn root(findings: &'f Findings<'f>, table: &'d DeTable<'d>) -> Self {
        Self { findings, table: Some(table), at: None, path: String::new(), asked: RefCell::default() }
    }

    pub(super) fn dotted(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_string(),
            (path, "") => path.to_string(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    fn raw(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.borrow_mut().insert(key.to_string());
        self.table?.get(key)
    }

    /// The place of a key, or of the table when the key is absent.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.table.and_then(|t| t.get(key)).map(Spanned::span).or_else(|| self.at.clone())
    }

    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        self.findings.add(self.span(key), self.dotted(key), message);
    }

    fn wrong(&self, key: &str, found: &DeValue<'_>, wanted: &str) {
        self.problem(key, format!("expected {wanted}, found {}", article(found.type_str())));
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        let value = self.raw(key)?.get_ref();
        match value {
            DeValue::String(s) => Some(s.to_string()),
            other => {
                self.wrong(key, other, "a string");
                None
            }
        }
    }

    /// A string that must be there.
    pub(super) fn required(&self, key: &str, example: &str) -> Option<String> {
        if self.table.is_none_or(|t| t.get(key).is_none()) {
            self.asked.borrow_mut().insert(key.to_string());
            self.problem(key, format!("is missing; write `{key} = {example}`"));
            return None;
        }
        self.text(key)
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        match self.raw(key).map(Spanned::get_ref) {
            None => default,
            Some(DeValue::Boolean(b)) => *b,
            Some(other) => {
                self.wrong(key, other, "true or false");
                default
            }
        }
    }

    /// Does a table stand there?
    pub(super) fn is_table(&self, key: &str) -> bool {
        matches!(self.raw(key).map(Spanned::get_ref), Some(DeValue::Table(_)))
    }

    pub(super) fn number(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.number_opt(key, range).unwrap_or(default)
    }

    pub(super) fn number_opt(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.raw(key)?.get_ref();
        let DeValue::Integer(digits) = value else {
            self.wrong(key, value, "a whole number");
            return None;
        };
        match u64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(n) if range.contains(&n) => Some(n),
            _ => {
                self.problem(
                    key,
                    format!("{} is outside {}..={}", digits.as_str(), range.start(), range.end()),
                );
                None
            }
        }
    }

    fn with_unit<T: FromStr<Err = crate::Error>>(&self, key: &str, default: T, example: &str) -> T {
        let Some(value) = self.raw(key) else { return default };
        match value.get_ref() {
            DeValue::String(s) => match s.parse() {
                Ok(v) => v,
                Err(e) => {
                    self.problem(key, format!("{e}; {}", e.hint_text().unwrap_or_default()));
                    default
                }
            },
            DeValue::Integer(n) => {
                self.problem(
                    key,
                    format!("`{}` has no unit; write it as text with one, such as \"{example}\"", n.as_str()),
                );
                default
            }
            other => {
                self.wrong(key, other, &format!("a text with a unit, such as \"{example}\""));
                default
            }
        }
    }

    pub(super) fn size(&self, key: &str, default: ByteSize, range: RangeInclusive<ByteSize>) -> ByteSize {
        let value = self.with_unit(key, default, "64 MiB");
        self.within(key, value, default, range)
    }

    pub(super) fn time(&self, key: &str, default: Span, range: RangeInclusive<Span>) -> Span {
        let value = self.with_unit(key, default, "250 ms");
        self.within(key, value, default, range)
    }

    fn within<T: PartialOrd + std::fmt::Display + Copy>(
        &self,
        key: &str,
        value: T,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        if range.contains(&value) {
            return value;
        }
        self.problem(key, format!("`{value}` is outside {} to {}", range.start(), range.end()));
        default
    }

    /// One of a list of words.
    pub(super) fn choice<T: Copy>(&self, key: &str, default: T, words: &[(&str, T)]) -> T {
        let Some(text) = self.text(key) else { return default };
        match words.iter().find(|(w, _)| *w == text) {
            Some((_, value)) => *value,
            None => {
                let names: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
                self.problem(
                    key,
                    format!("`{text}` is not one of {}{}", names.join(", "), nearest(&text, &names)),
                );
                default
            }
        }
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value.get_ref(), "a list of strings");
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(s) => out.push(s.to_string()),
                other => self.findings.add(
                    Some(item.span()),
                    self.dotted(key),
                    format!("expected a list of strings, found {} in it", article(other.type_str())),
                ),
            }
        }
        out
    }

    /// A table below this one; an absent one reads as empty.
    pub(super) fn section(&self, key: &str) -> Section<'f, 'd> {
        let (table, at) = match self.raw(key) {
            None => (None, self.at.clone()),
            Some(value) => match value.get_ref() {
                DeValue::Table(t) => (Some(t), Some(value.span())),
                other => {
                    self.wrong(key, other, "a table");
                    (None, Some(value.span()))
                }
            },
        };
        Section { findings: self.findings, table, at, path: self.dotted(key), asked: RefCell::default() }
    }

    /// The tables below this one by name: `[files.NAME]`.
    pub(super) fn named(&self, key: &str) -> Vec<(String, Section<'f, 'd>)> {
        let all = self.section(key);
        all.keys().into_iter().map(|name| (name.clone(), all.section(&name))).collect()
    }

    /// The tables of a list of tables: `[[series.revisions]]`.
    pub(super) fn list(&self, key: &str) -> Vec<Section<'f, 'd>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value.get_ref(), &format!("a list of tables, `[[{}]]`", self.dotted(key)));
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(t) => out.push(Section {
                    findings: self.findings,
                    table: Some(t),
                    at: Some(item.span()),
                    path: self.dotted(key),
                    asked: RefCell::default(),
                }),
                other => self.findings.add(
                    Some(item.span()),
                    self.dotted(key),
                    format!("expected a table, found {}", article(other.type_str())),
                ),
            }
        }
        out
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.table.map(|t| t.iter().map(|(k, _)| k.get_ref().to_string()).collect()).unwrap_or_default()
    }

    /// Any value, as JSON.
    pub(super) fn json(&self, key: &str) -> serde_json::Value {
        let Some(value) = self.raw(key) else { return serde_json::Value::Null };
        self.to_json(key, value)
    }

    fn to_json(&self, key: &str, value: &Spanned<DeValue<'d>>) -> serde_json::Value {
        use serde_json::Value as J;
        match value.get_ref() {
            DeValue::String(s) => J::from(s.as_ref()),
            DeValue::Boolean(b) => J::from(*b),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => J::from(n),
                Err(_) => {
                    self.findings.add(
                        Some(value.span()),
                        self.dotted(key),
                        format!("{} does not fit 64 bits", n.as_str()),
                    );
                    J::Null
                }
            },
            DeValue::Float(f) => match f.as_str().parse::<f64>().ok().filter(|f| f.is_finite()) {
                Some(f) => J::from(f),
                None => {
                    self.findings.add(Some(value.span()), self.dotted(key), "is not a finite number");
                    J::Null
                }
            },
            DeValue::Datetime(d) => J::from(d.to_string()),
            DeValue::Array(items) => J::Array(items.iter().map(|v| self.to_json(key, v)).collect()),
            DeValue::Table(t) => {
                J::Object(t.iter().map(|(k, v)| (k.get_ref().to_string(), self.to_json(key, v))).collect())
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(&self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        let known: Vec<&str> = asked.iter().map(String::as_str).collect();
        for (key, _) in table.iter() {
            if !asked.contains(key.get_ref().as_ref()) {
                self.findings.add(
                    Some(key.span()),
                    self.dotted(key.get_ref()),
                    format!("unknown key{}", nearest(key.get_ref(), &known)),
                );
            }
        }
    }
}

fn article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if an { "an" } else { "a" })
}

/// `; did you mean …` when a known word is close.
fn nearest(word: &str, known: &[&str]) -> String {
    let best = known.iter().map(|k| (edits(word, k), k)).min();
    match best {
        Some((d, k)) if d <= 2 && d < k.len() => format!("; did you mean `{k}`?"),
        _ if known.is_empty() => String::new(),
        _ => format!("; known here: {}", known.join(", ")),
    }
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, cb) in row.iter_mut().skip(1).zip(b.chars()) {
            let value = (diagonal + usize::from(ca != cb)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = value;
            left = value;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn distance_between_words() {
        for (a, b, want) in
            [("engine", "engine", 0), ("engin", "engine", 1), ("", "abc", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!(super::edits(a, b), want, "{a} {b}");
        }
    }
}
