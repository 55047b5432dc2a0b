//! A series as a stream of rows: a bounded page per query, tables per field merged into frames.
//!
//! Both ends are looked up first. A page is a span of time with a limit of points per field. The first one is small; how many
//! points and bytes it brought says how much time the next one should span, so that the server never reads far more than it
//! sends: it reads all of the span, whatever the limit.

use super::client::{Client, PAGE_BYTES_MAX};
use super::types::or_empty;
use super::{flux, reply};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, Column, Frame, SeriesKey, TimeRange, Value, Values};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows of the first page.
pub(super) const PAGE_ROWS_FIRST: usize = 1_024;
/// Rows of any page.
pub(super) const PAGE_ROWS_MAX: usize = 65_536;
/// Rows of a page at least, however wide they are.
const PAGE_ROWS_MIN: usize = 16;
/// The bytes of CSV that a page should have.
const PAGE_BYTES: usize = 8 << 20;
/// Nanoseconds that the first page spans, an hour.
pub(super) const PAGE_SPAN_FIRST: i64 = 3_600_000_000_000;
/// A page spans so many times what the one before did, at most.
const GROW_FACTOR: i64 = 8;
/// A page whose reply is too long is asked for again, so many times shorter.
pub(super) const SHRINK_FACTOR: usize = 8;

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
    /// The span of the next page in nanoseconds.
    window: i64,
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
            window: PAGE_SPAN_FIRST,
            rows: 0,
            done: range.start >= range.end || fields.is_some_and(<[String]>::is_empty),
        }
    }

    /// The tables of this very series, and the bytes of the reply. Of a field that holds texts there may be two.
    fn ask(
        &self,
        range: TimeRange,
        rows: usize,
        texts: &BTreeSet<String>,
    ) -> Result<(Vec<reply::Table>, usize)> {
        let source = format!("{}{}", flux::source(&self.bucket, range), self.filters);
        let limit = format!(" |> limit(n: {rows}){}", flux::BARE);
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
        let body = or_empty(self.client.query_up_to(&query, PAGE_BYTES_MAX, &self.budget))?;
        self.budget.count(|c| c.reply(body.len()));
        // Series with more tags than these come along: InfluxDB has no filter for "no other tag".
        let mut tables: Vec<_> = reply::parse(&body)?.into_iter().filter(|t| t.tags == self.tags).collect();
        for table in tables.iter_mut().filter(|t| t.field.as_ref().is_some_and(|f| texts.contains(f))) {
            table.unguard();
        }
        Ok((tables, body.len()))
    }

    /// Asks, before the first page, where rows are; false: nowhere.
    fn begin(&mut self) -> Result<bool> {
        let range = TimeRange { start: self.next, end: self.end };
        let Some(found) = look(&self.client, &self.bucket, &self.filters, &self.tags, range, &self.budget)?
        else {
            return Ok(false);
        };
        (self.next, self.end) = (found.first, found.last.saturating_add(1));
        self.texts = Some(found.texts);
        Ok(true)
    }

    /// The next page; `None` when there is none, an empty frame when it had no rows.
    fn page(&mut self) -> Result<Option<Frame>> {
        self.budget.check()?;
        if self.texts.is_none() && !self.begin()? {
            return Ok(None);
        }
        let (start, mut rows) = (self.next, self.page_rows);
        let stop = start.saturating_add(self.window).min(self.end);
        let mut texts = self.texts.take().unwrap_or_default();
        let (tables, bytes) = loop {
            let (tables, bytes) = match self.ask(TimeRange { start, end: stop }, rows, &texts) {
                Err(e) if e.kind() == Kind::Limit && rows > PAGE_ROWS_MIN => {
                    rows = (rows / SHRINK_FACTOR).max(PAGE_ROWS_MIN);
                    continue;
                }
                said => said?,
            };
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
        let per_row = bytes / frame.len().max(1) + 1;
        self.page_rows = (PAGE_BYTES / per_row).clamp(PAGE_ROWS_MIN, PAGE_ROWS_MAX);
        self.window = pace(self.window, last.saturating_sub(start), frame.len(), self.page_rows);
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

/// Where the rows of a series are in a range, and which of its fields hold texts, by the first value of each.
#[derive(Debug)]
pub(super) struct Look {
    pub first: i64,
    pub last: i64,
    pub texts: BTreeSet<String>,
}

/// Looks at both ends of a range, which costs the server nothing; `None`: the series has no rows there.
pub(super) fn look(
    client: &Client,
    bucket: &str,
    filters: &str,
    tags: &[(String, String)],
    range: TimeRange,
    budget: &Budget,
) -> Result<Option<Look>> {
    let source = format!("{}{filters}", flux::source(bucket, range));
    let end = |name: &str| format!("{source} |> {name}(){} |> yield(name: \"{name}\")\n", flux::BARE);
    let body = or_empty(client.query(&(end("first") + &end("last")), budget))?;
    budget.count(|c| c.reply(body.len()));
    let mut tables = reply::parse(&body)?;
    // Also those of series with more tags, which come along with the pages.
    let texts = tables.iter().filter(|t| t.is_text()).filter_map(|t| t.field.clone()).collect();
    tables.retain(|t| t.tags == tags);
    let times = || tables.iter().flat_map(|t| t.times.iter().copied());
    if times().any(|t| !range.contains(t)) {
        return Err(reply::out_of_range());
    }
    let Some((first, last)) = times().min().zip(times().max()) else { return Ok(None) };
    Ok(Some(Look { first, last, texts }))
}

/// The span of the page after one over `covered` nanoseconds that had so many of the rows that it could have had.
pub(super) fn pace(window: i64, covered: i64, rows: usize, wanted: usize) -> i64 {
    let most = window.saturating_mul(GROW_FACTOR);
    if rows == 0 {
        return most;
    }
    let span = i128::from(covered.max(1)) * wanted as i128 / rows as i128;
    i64::try_from(span).unwrap_or(i64::MAX).clamp(1, most)
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
        (Values::Integer(v) | Values::Decimal(v, _), _) => v.push(0),
        (Values::Unsigned(v), Some(Value::Unsigned(x))) => v.push(x),
        (Values::Unsigned(v), _) => v.push(0),
        (Values::Boolean(v), Some(Value::Boolean(x))) => v.push(x),
        (Values::Boolean(v), _) => v.push(false),
        (Values::String(v), Some(Value::String(x))) => v.push(x),
        (Values::String(v), _) => v.push(String::new()),
    }
}
