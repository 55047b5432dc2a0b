//! A series as a stream of rows: a bounded page per query, tables per field merged into frames.
//!
//! A page is a span of time with a limit of points per field. The first one is small and open-ended; how many
//! points and bytes it brought says how much time the next one should span, so that the server never reads
//! far more than it sends.

use super::client::Client;
use super::types::or_empty;
use super::{flux, reply};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, Column, Frame, SeriesKey, TimeRange, Value, Values};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows of the first page.
const PAGE_ROWS_FIRST: usize = 1_024;
/// Rows of any page.
const PAGE_ROWS_MAX: usize = 65_536;
/// Rows of a page at least, however wide they are.
const PAGE_ROWS_MIN: usize = 16;
/// The bytes of CSV that a page should have.
const PAGE_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Scan {
    client: Arc<Client>,
    bucket: String,
    /// The filters of the query.
    filters: String,
    tags: Vec<(String, String)>,
    /// Fields that hold texts; `None`: nobody looked yet.
    texts: Option<BTreeSet<String>>,
    budget: Budget,
    next: i64,
    end: i64,
    page_rows: usize,
    /// The span of the next page in nanoseconds; `None`: up to the end.
    window: Option<i64>,
    rows: u64,
    done: bool,
}

impl Scan {
    pub fn new(
        client: Arc<Client>,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Self {
        let mut filters = flux::one_of("_measurement", [key.measurement.as_str()]);
        filters.push_str(&flux::tags(&key.tags));
        if let Some(fields) = fields {
            filters.push_str(&flux::one_of("_field", fields.iter().map(String::as_str)));
        }
        Self {
            client,
            bucket: key.bucket.clone(),
            filters,
            tags: key.tags.clone(),
            texts: None,
            budget: budget.clone(),
            next: range.start,
            end: range.end,
            page_rows: PAGE_ROWS_FIRST,
            window: None,
            rows: 0,
            done: range.start >= range.end || fields.is_some_and(<[String]>::is_empty),
        }
    }

    /// The fields of this series that hold texts in a range: no number equals a text, and none differs from it either.
    fn find_texts(&self, range: TimeRange) -> Result<BTreeSet<String>> {
        let source = format!("{}{}", flux::source(&self.bucket, range), self.filters);
        let query = format!(
            "{source}{} |> first() |> yield(name: \"texts\")\n{source}{} |> first() |> yield(name: \"empty\")",
            flux::TEXT,
            flux::EMPTY_TEXT
        );
        let tables = reply::parse(&or_empty(self.client.query(&query, &self.budget))?)?;
        Ok(tables.into_iter().filter(reply::Table::is_text).filter_map(|t| t.field).collect())
    }

    /// The tables of this very series, and the bytes of the reply. Of a field that holds texts there may be two.
    fn ask(
        &self,
        range: TimeRange,
        rows: usize,
        texts: &BTreeSet<String>,
    ) -> Result<(Vec<reply::Table>, usize)> {
        let source = format!("{}{}", flux::source(&self.bucket, range), self.filters);
        let limit = format!(" |> limit(n: {rows}) |> drop(columns: [\"_start\", \"_stop\"])");
        let query = if texts.is_empty() {
            format!("{source}{limit}")
        } else {
            let names = || texts.iter().map(String::as_str);
            let (others, these) = (flux::none_of("_field", names()), flux::one_of("_field", names()));
            format!(
                "{}{source}{others}{limit} |> yield(name: \"others\")\n\
                 {source}{these}{}{limit}{} |> yield(name: \"texts\")\n\
                 {source}{these}{}{limit} |> yield(name: \"empty\")",
                flux::GUARD_IMPORT,
                flux::TEXT,
                flux::GUARD_TEXT,
                flux::EMPTY_TEXT
            )
        };
        let body = or_empty(self.client.query(&query, &self.budget))?;
        self.budget.count(|c| c.reply(body.len()));
        // Series with more tags than these come along: InfluxDB has no filter for "no other tag".
        let mut tables: Vec<_> = reply::parse(&body)?.into_iter().filter(|t| t.tags == self.tags).collect();
        for table in tables.iter_mut().filter(|t| t.field.as_ref().is_some_and(|f| texts.contains(f))) {
            table.unguard();
        }
        Ok((tables, body.len()))
    }

    /// The next page; `None` when there is none, an empty frame when it had no rows.
    fn page(&mut self) -> Result<Option<Frame>> {
        self.budget.check()?;
        let (start, rows) = (self.next, self.page_rows);
        let stop = self.window.map_or(self.end, |w| start.saturating_add(w).min(self.end));
        let mut texts = match self.texts.take() {
            Some(texts) => texts,
            None => self.find_texts(TimeRange { start, end: self.end })?,
        };
        let (tables, bytes) = loop {
            let (tables, bytes) = self.ask(TimeRange { start, end: stop }, rows, &texts)?;
            let known = texts.len();
            texts.extend(tables.iter().filter(|t| t.is_text()).filter_map(|t| t.field.clone()));
            // A text that came to be meanwhile was read without care: again.
            if texts.len() == known {
                break (tables, bytes);
            }
        };
        self.texts = Some(texts);
        // A field that filled its limit may have more; what lies after its last point is for the next page.
        let mut last = stop - 1;
        for table in &tables {
            if table.times.iter().any(|t| *t < start || *t >= stop) {
                return Err(reply::out_of_range());
            }
            if table.times.len() >= rows {
                last = last.min(table.times.iter().copied().max().unwrap_or(last));
            }
        }
        let frame = merge(&tables, last)?;
        self.next = last.saturating_add(1);
        self.done = self.next >= self.end;
        let covered = match (self.window, frame.times.first()) {
            (_, None) => None,
            (Some(_), _) => Some(last - start),
            (None, Some(first)) => frame.times.last().map(|last| last.saturating_sub(*first)),
        };
        let per_row = bytes / frame.len().max(1) + 1;
        self.page_rows = (PAGE_BYTES / per_row).clamp(PAGE_ROWS_MIN, PAGE_ROWS_MAX);
        self.window = covered.map(|ns| {
            let ns = i128::from(ns.max(1)) * self.page_rows as i128 / frame.len() as i128;
            i64::try_from(ns).unwrap_or(i64::MAX).max(1)
        });
        Ok(Some(frame))
    }
}

impl Iterator for Scan {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.page() {
                Ok(Some(frame)) if frame.is_empty() => {}
                Ok(Some(frame)) => {
                    self.rows += frame.len() as u64;
                    if let Some(bound) = self.budget.rows_max.filter(|bound| self.rows > *bound) {
                        self.done = true;
                        return Some(Err(Error::limit(
                            "the query",
                            format!("{bound} rows"),
                            "narrow the range, or raise `limits.query_rows` in shiphold.toml",
                        )));
                    }
                    return Some(Ok(frame));
                }
                Ok(None) => self.done = true,
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            }
        }
        None
    }
}

/// Tables of single fields as rows, up to and with the time `last`.
fn merge(tables: &[reply::Table], last: i64) -> Result<Frame> {
    let mut times: Vec<i64> =
        tables.iter().flat_map(|t| t.times.iter().copied()).filter(|t| *t <= last).collect();
    times.sort_unstable();
    times.dedup();
    let mut columns: Vec<Column> = Vec::new();
    let mut fields: Vec<&str> = Vec::new();
    for table in tables {
        let name = table.field()?;
        if !fields.contains(&name) {
            fields.push(name);
        }
    }
    for name in fields {
        let parts = || tables.iter().filter(|t| t.field.as_deref() == Some(name));
        let mut order: Vec<(i64, Value)> = Vec::new();
        for table in parts() {
            let points = table.times.iter().enumerate().filter(|(_, t)| **t <= last);
            order.extend(points.filter_map(|(i, t)| Some((*t, table.values.get(i)?))));
        }
        let Some(of) = order.first().map(|(_, v)| v.field_type()) else { continue };
        if order.iter().any(|(_, v)| v.field_type() != of) {
            return Err(Error::new(
                Kind::Corrupt,
                format!("the field `{}` has two types in InfluxDB", reply::short(name)),
            )
            .hint("delete one of them: a client wrote it past the host"));
        }
        order.sort_by_key(|(time, _)| *time);
        let mut valid = vec![false; times.len()];
        let mut values = Values::empty(of);
        let mut points = order.into_iter().peekable();
        for (time, is_valid) in times.iter().zip(&mut valid) {
            let mut here = None;
            while let Some((_, value)) = points.next_if(|(t, _)| t == time) {
                here = Some(value);
            }
            *is_valid = here.is_some();
            push(&mut values, here);
        }
        let all = valid.iter().all(|v| *v);
        columns.push(Column { name: name.to_string(), values, valid: (!all).then_some(valid) });
    }
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Frame { times, columns })
}

/// Adds a value of the column's own type, or the type's default.
pub(super) fn push(values: &mut Values, value: Option<Value>) {
    match (values, value) {
        (Values::Float(v), Some(Value::Float(x))) => v.push(x),
        (Values::Float(v), _) => v.push(0.0),
        (Values::Integer(v), Some(Value::Integer(x))) => v.push(x),
        (Values::Integer(v), _) => v.push(0),
        (Values::Unsigned(v), Some(Value::Unsigned(x))) => v.push(x),
        (Values::Unsigned(v), _) => v.push(0),
        (Values::Boolean(v), Some(Value::Boolean(x))) => v.push(x),
        (Values::Boolean(v), _) => v.push(false),
        (Values::String(v), Some(Value::String(x))) => v.push(x),
        (Values::String(v), _) => v.push(String::new()),
    }
}
