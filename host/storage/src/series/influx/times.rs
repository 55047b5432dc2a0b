//! The times of a series' rows without their values: what shows where rows are missing.
//!
//! A page is the least so many times of a range. Each field gives as many points, the least ones; of all of those, whatever the
//! field, each time is kept once, and again the least so many: a time that is missing has as many before it.

use super::client::{Client, PAGE_BYTES_MAX};
use super::scan::{PAGE_ROWS_FIRST, PAGE_ROWS_MAX, PAGE_SPAN_FIRST, look, pace};
use super::types::or_empty;
use super::{flux, reply};
use crate::error::Result;
use crate::series::{Budget, SeriesKey, TimeRange};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Times {
    client: Arc<Client>,
    key: SeriesKey,
    budget: Budget,
    next: i64,
    end: i64,
    rows: usize,
    /// The span of the next page in nanoseconds.
    window: i64,
    /// Fields that hold texts; `None`: nobody looked yet.
    texts: Option<BTreeSet<String>>,
    done: bool,
}

impl Times {
    pub fn new(client: Arc<Client>, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Self {
        Self {
            client,
            key: key.clone(),
            budget: budget.clone(),
            next: range.start,
            end: range.end,
            rows: PAGE_ROWS_FIRST,
            window: PAGE_SPAN_FIRST,
            texts: None,
            done: range.start >= range.end,
        }
    }

    fn page(&mut self) -> Result<Vec<i64>> {
        self.budget.check()?;
        let filters =
            flux::one_of("_measurement", [self.key.measurement.as_str()]) + &flux::tags(&self.key.tags);
        let SeriesKey { bucket, tags, .. } = &self.key;
        if self.texts.is_none() {
            let range = TimeRange { start: self.next, end: self.end };
            match look(&self.client, bucket, &filters, tags, range, &self.budget)? {
                Some(found) => {
                    (self.next, self.end) = (found.first, found.last.saturating_add(1));
                    self.texts = Some(found.texts);
                }
                None => {
                    self.done = true;
                    return Ok(Vec::new());
                }
            }
        }
        let start = self.next;
        let stop = start.saturating_add(self.window).min(self.end);
        let source = format!("{}{filters}", flux::source(bucket, TimeRange { start, end: stop }));
        let query = flux::times(&source, self.texts.iter().flatten().map(String::as_str), self.rows);
        let body = or_empty(self.client.query_up_to(&query, PAGE_BYTES_MAX, &self.budget))?;
        self.budget.count(|c| c.reply(body.len()));
        // Series with more tags than these come along: InfluxDB has no filter for "no other tag".
        let tables = reply::parse_times(&body)?.into_iter().filter(|t| t.tags == *tags);
        let times: Vec<i64> = tables.flat_map(|t| t.times).collect();
        if times.iter().any(|t| *t < start || *t >= stop) || !times.is_sorted_by(|a, b| a < b) {
            return Err(reply::out_of_range());
        }
        let last = if times.len() < self.rows { stop - 1 } else { times.last().copied().unwrap_or(stop - 1) };
        self.next = last.saturating_add(1);
        self.done = self.next >= self.end;
        self.rows = PAGE_ROWS_MAX;
        self.window = pace(self.window, last.saturating_sub(start), times.len(), self.rows);
        Ok(times)
    }
}

impl Iterator for Times {
    type Item = Result<Vec<i64>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.page() {
                Ok(times) if times.is_empty() => {}
                said => {
                    self.done |= said.is_err();
                    return Some(said);
                }
            }
        }
        None
    }
}
