//! Windows of a series that the server sums up: a bounded page of them per query, a table for each field and part of its
//! summary, merged into one summary per window.
//!
//! Only what is known to be the same to the bit is left to the server, and only in windows of one length in UTC:
//! - first and last values of numbers and booleans, least and greatest numbers, and counts of any field: no arithmetic;
//! - sums of floats: the server's storage adds the values of a window one after another in order of time, from 0 on, as the
//!   executor does (`storage/reads/array_cursor.gen.go`), and a page never cuts a window;
//! - sums of whole numbers, where count and extremes prove that they cannot overflow: the server's wrap around, and that of the
//!   executor is an error.
//!
//! All else comes as rows: texts, which InfluxDB mixes up ([`flux::TEXT`]), windows at the ends of time, where the server's
//! arithmetic wraps around, and windows that were written meanwhile ([`Motion`]), as each part is another question.

use super::client::{Client, PAGE_BYTES_MAX};
use super::motion::{Motion, Moved};
use super::scan::{SHRINK_FACTOR, Scan};
use super::types::or_empty;
use super::{flux, reply};
use crate::error::{Error, Kind, Result};
use crate::series::kinds::{self, Timeframe};
use crate::series::model::TIME_MIN_NS;
use crate::series::pieces::{Even, FieldSummary, Part, Piece, Summary, Total, WantedField};
use crate::series::{Budget, FieldType, SeriesKey, TimeRange, Value, Values};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Points of a page: each is a part of a summary of a field in a window.
const PAGE_POINTS: usize = 65_536;
/// Windows of a page.
const PAGE_WINDOWS_MAX: usize = 16_384;
const PAGE_WINDOWS_MIN: usize = 16;
/// A page is so many times as long as one that brought little.
const GROW_FACTOR: i64 = 8;

/// Can the server sum this up, and give the very bits that rows give?
pub(super) fn is_equal(field: &WantedField) -> bool {
    field.parts.iter().all(|part| match (field.of, part) {
        (_, Part::Count) => true,
        (FieldType::Float | FieldType::Integer | FieldType::Unsigned, _) => true,
        (FieldType::Boolean, part) => matches!(part, Part::First | Part::Last),
        // Decimals stand before the engine, which has integers.
        (FieldType::String | FieldType::Decimal(_), _) => false,
    })
}

/// Are the sums of windows less to send than rows? A window that is no longer than the bars of its series holds one of them, whose
/// values are fewer than its sums. The rows give the same answer, whatever the series really holds.
pub(super) fn is_gain(measurement: &str, windows: Even) -> bool {
    let bars = kinds::timeframe_of(measurement).and_then(|text| text.parse::<Timeframe>().ok());
    bars.and_then(|bars| bars.even(Tz::UTC)).is_none_or(|bars| windows.length > bars.length)
}

/// A series whose windows the server sums up.
#[derive(Debug)]
pub(super) struct Summed {
    client: Arc<Client>,
    motion: Arc<Motion>,
    key: SeriesKey,
    /// What is read where rows are.
    scan: Option<Vec<String>>,
    windows: Even,
    fields: Vec<WantedField>,
    budget: Budget,
    /// What is left to be asked for.
    next: i64,
    end: i64,
    /// What follows it comes as rows.
    tail: Option<TimeRange>,
    /// Windows of the next page, and those that its reply may have: what follows them is on the next one.
    page: i64,
    most: usize,
    steps: VecDeque<Step>,
    rows: Option<Scan>,
    done: bool,
}

/// What is given next.
#[derive(Debug)]
enum Step {
    Summary(Summary),
    Rows(TimeRange),
}

/// What a page brought: summaries by the start of their window.
type Found = BTreeMap<i64, BTreeMap<usize, FieldSummary>>;

impl Summed {
    #[allow(clippy::too_many_arguments)] // Each is something else.
    pub fn new(
        client: Arc<Client>,
        motion: Arc<Motion>,
        key: &SeriesKey,
        range: TimeRange,
        scan: Option<&[String]>,
        windows: Even,
        fields: Vec<WantedField>,
        budget: &Budget,
    ) -> Self {
        // A window that begins or ends beyond the times that there are is not for the server.
        let two = windows.length.saturating_mul(2);
        let low = windows.end_of(TIME_MIN_NS.saturating_add(two));
        let high = windows.start_of(i64::MAX.saturating_sub(two)).max(low);
        let end = range.end.max(range.start);
        let (a, b) = (range.start.clamp(low, high).min(end), end.clamp(low, high).max(range.start));
        let mut steps = VecDeque::new();
        if range.start < a {
            steps.push_back(Step::Rows(TimeRange { start: range.start, end: a }));
        }
        let tail = (b.max(a) < end).then_some(TimeRange { start: b.max(a), end });
        let most = page_windows(&fields);
        let page = i64::try_from(most).unwrap_or(i64::MAX);
        Self {
            client,
            motion,
            key: key.clone(),
            scan: scan.map(<[String]>::to_vec),
            windows,
            fields,
            budget: budget.clone(),
            next: a,
            end: b,
            tail,
            page,
            most,
            steps,
            rows: None,
            done: false,
        }
    }

    /// The text of a page's question: a result for each part, and for sums of whole numbers the extremes of all of it.
    pub(super) fn question(&self, range: TimeRange) -> String {
        let source = |fields: &[&str]| {
            format!(
                "{}{}{}{}",
                flux::source(&self.key.bucket, range),
                flux::one_of("_measurement", [self.key.measurement.as_str()]),
                flux::tags(&self.key.tags),
                flux::one_of("_field", fields.iter().copied())
            )
        };
        // One window more than a page may have tells that there are more.
        let limit = self.most + 1;
        let parts: BTreeSet<Part> = self.fields.iter().flat_map(|f| f.parts.iter().copied()).collect();
        let mut out = String::new();
        for part in parts {
            let of: Vec<&str> =
                self.fields.iter().filter(|f| f.parts.contains(&part)).map(|f| f.name.as_str()).collect();
            let name = function(part);
            let windows = flux::windows(self.windows, name);
            out += &format!(
                "{}{windows} |> limit(n: {limit}){} |> yield(name: \"{name}\")\n",
                source(&of),
                flux::BARE
            );
            let whole: Vec<&str> =
                self.fields.iter().filter(|f| is_whole_sum(f)).map(|f| f.name.as_str()).collect();
            if part == Part::Sum && !whole.is_empty() {
                for bound in ["min", "max"] {
                    out += &format!(
                        "{} |> {bound}(){} |> yield(name: \"all {bound}\")\n",
                        source(&whole),
                        flux::BARE
                    );
                }
                // The proof needs to know how many there are.
                out += &format!(
                    "{}{} |> limit(n: {limit}){} |> yield(name: \"all count\")\n",
                    source(&whole),
                    flux::windows(self.windows, "count"),
                    flux::BARE
                );
            }
        }
        out
    }

    /// Asks for the next page, and says what is to be given of it.
    fn ask(&mut self) -> Result<()> {
        self.budget.check()?;
        let start = self.next;
        let span = i128::from(self.windows.start_of(start))
            + i128::from(self.page) * i128::from(self.windows.length);
        let stop = i64::try_from(span).unwrap_or(i64::MAX).min(self.end);
        let range = TimeRange { start, end: stop };
        let mark = self.motion.mark(&self.key);
        let body =
            match or_empty(self.client.query_up_to(&self.question(range), PAGE_BYTES_MAX, &self.budget)) {
                Err(e) if e.kind() == Kind::Limit && self.most > PAGE_WINDOWS_MIN => {
                    self.most = (self.most / SHRINK_FACTOR).max(PAGE_WINDOWS_MIN);
                    return Ok(());
                }
                said => said?,
            };
        self.budget.count(|c| c.reply(body.len()));
        let mut tables = reply::parse(&body)?;
        // Series with more tags than these come along: InfluxDB has no filter for "no other tag".
        tables.retain(|t| t.tags == self.key.tags);
        let most = self.most;
        let mut cut = stop;
        for table in tables.iter().filter(|t| t.times.len() > most) {
            // The window after the last whole one begins the next page.
            let last = table.times.get(most).copied().unwrap_or(start);
            cut = cut.min(self.windows.start_of(last));
        }
        if cut <= start {
            return Err(reply::out_of_range());
        }
        let range = TimeRange { start, end: cut };
        let longest = tables.iter().map(|t| t.times.len()).max().unwrap_or(0);
        if cut < stop {
            let covered = (i128::from(cut) - i128::from(start)) / i128::from(self.windows.length.max(1));
            self.page = i64::try_from(covered).unwrap_or(i64::MAX).max(1);
        } else if longest < most / GROW_FACTOR as usize {
            self.page = self.page.saturating_mul(GROW_FACTOR);
        }
        let moved = match self.motion.since(mark, range) {
            Moved::Nothing => None,
            Moved::Between(first, last) => Some(TimeRange {
                start: self.windows.start_of(first).max(start),
                end: self.windows.end_of(last).min(cut),
            }),
        };
        match self.summaries(&tables, range)? {
            Some(found) => self.plan(found, range, moved.into_iter().collect()),
            None => self.steps.push_back(Step::Rows(range)),
        }
        self.next = cut;
        Ok(())
    }

    /// The summaries of a page; `None`: nothing proves that its sums did not overflow.
    fn summaries(&self, tables: &[reply::Table], range: TimeRange) -> Result<Option<Found>> {
        let mut found = Found::new();
        let mut bounds: BTreeMap<usize, u128> = BTreeMap::new();
        let mut counts: BTreeMap<usize, u128> = BTreeMap::new();
        for table in tables {
            let name = table.field()?;
            let at = self.fields.iter().position(|f| f.name == name);
            let Some((at, field)) = at.and_then(|at| Some((at, self.fields.get(at)?))) else {
                return Err(reply::unasked("a field"));
            };
            match table.result.as_str() {
                "all min" | "all max" => {
                    let value = whole(&table.value()?).ok_or_else(|| two_types(name))?;
                    let bound = bounds.entry(at).or_default();
                    *bound = (*bound).max(value.unsigned_abs());
                    continue;
                }
                "all count" => {
                    let Values::Integer(values) = &table.values else {
                        return Err(reply::unasked("a count"));
                    };
                    let most = values.iter().copied().max().unwrap_or(0);
                    counts.insert(at, u128::try_from(most).unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let part = field.parts.iter().copied().find(|p| function(*p) == table.result);
            let part = part.ok_or_else(|| reply::unasked("a result"))?;
            let of = if part == Part::Count { FieldType::Integer } else { field.of };
            if table.values.field_type() != of {
                return Err(two_types(name));
            }
            let mut before = i64::MIN;
            for (row, time) in table.times.iter().enumerate() {
                if *time < range.start || *time < before {
                    return Err(reply::out_of_range());
                }
                if *time >= range.end {
                    break;
                }
                let start = self.windows.start_of(*time);
                if start == self.windows.start_of(before) {
                    return Err(reply::unasked("a window twice"));
                }
                before = *time;
                let Some(value) = table.values.get(row) else { continue };
                let summary = found.entry(start).or_default().entry(at).or_insert_with(|| nothing(field));
                put(summary, part, value)?;
            }
        }
        let fits = |at: usize, field: &WantedField| {
            let most = match field.of {
                FieldType::Unsigned => u128::from(u64::MAX),
                _ => i64::MAX as u128,
            };
            let (bound, count) =
                (bounds.get(&at).copied().unwrap_or(0), counts.get(&at).copied().unwrap_or(0));
            bound.checked_mul(count).is_some_and(|sum| sum <= most)
        };
        let proven =
            self.fields.iter().enumerate().filter(|(_, f)| is_whole_sum(f)).all(|(at, f)| fits(at, f));
        Ok(proven.then_some(found))
    }

    /// What is given of a page: summaries, but rows where something is in doubt.
    fn plan(&mut self, found: Found, range: TimeRange, mut doubtful: Vec<TimeRange>) {
        let span = |start: i64| TimeRange {
            start: start.max(range.start),
            end: self.windows.end_of(start).min(range.end),
        };
        for (start, fields) in &found {
            // A part that came to be, or went, between two questions.
            let whole = fields.iter().all(|(at, f)| self.fields.get(*at).is_some_and(|w| has_all(w, f)));
            if !whole {
                doubtful.push(span(*start));
            }
        }
        doubtful.sort_by_key(|r| r.start);
        let mut spans: Vec<TimeRange> = Vec::new();
        for next in doubtful {
            match spans.last_mut() {
                Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
                _ => spans.push(next),
            }
        }
        let mut rows = spans.into_iter().peekable();
        for (start, fields) in found {
            let TimeRange { start, end } = span(start);
            while let Some(span) = rows.next_if(|r| r.end <= start) {
                self.steps.push_back(Step::Rows(span));
            }
            if rows.peek().is_some_and(|r| r.start < end) {
                continue;
            }
            let fields = fields.into_values().collect();
            self.steps.push_back(Step::Summary(Summary { first: start, last: end - 1, rows: 1, fields }));
        }
        self.steps.extend(rows.map(Step::Rows));
    }

    fn step(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(rows) = &mut self.rows {
                match rows.next().transpose()? {
                    Some(frame) => return Ok(Some(Piece::Rows(frame))),
                    None => self.rows = None,
                }
            }
            match self.steps.pop_front() {
                Some(Step::Summary(summary)) => return Ok(Some(Piece::Summary(summary))),
                Some(Step::Rows(range)) => {
                    let fields = self.scan.as_deref();
                    self.rows = Some(Scan::new(self.client.clone(), &self.key, range, fields, &self.budget));
                }
                None if self.next < self.end => self.ask()?,
                None => match self.tail.take() {
                    Some(range) => self.steps.push_back(Step::Rows(range)),
                    None => return Ok(None),
                },
            }
        }
    }
}

impl Iterator for Summed {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// Windows of a page: fewer, where much is asked of each.
fn page_windows(fields: &[WantedField]) -> usize {
    let parts: usize = fields.iter().map(|f| f.parts.len() + usize::from(is_whole_sum(f))).sum();
    (PAGE_POINTS / parts.max(1)).clamp(PAGE_WINDOWS_MIN, PAGE_WINDOWS_MAX)
}

fn is_whole_sum(field: &WantedField) -> bool {
    field.parts.contains(&Part::Sum) && field.of != FieldType::Float
}

/// Flux's name of what gives a part.
const fn function(part: Part) -> &'static str {
    match part {
        Part::First => "first",
        Part::Last => "last",
        Part::Least => "min",
        Part::Greatest => "max",
        Part::Sum => "sum",
        Part::Count => "count",
    }
}

/// Nothing is known yet. A count that was asked for is 0 until it comes.
fn nothing(field: &WantedField) -> FieldSummary {
    let (name, count) = (field.name.clone(), u64::from(!field.parts.contains(&Part::Count)));
    FieldSummary { name, count, first: None, last: None, least: None, greatest: None, sum: Total::None }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(v) => Some(i128::from(*v)),
        Value::Unsigned(v) => Some(i128::from(*v)),
        _ => None,
    }
}

fn put(summary: &mut FieldSummary, part: Part, value: Value) -> Result<()> {
    match part {
        Part::First => summary.first = Some(value),
        Part::Last => summary.last = Some(value),
        Part::Least => summary.least = Some(value),
        Part::Greatest => summary.greatest = Some(value),
        Part::Sum => {
            summary.sum = match (&value, whole(&value)) {
                (Value::Float(v), _) => Total::Float(*v),
                (_, Some(v)) => Total::Whole(v),
                _ => return Err(reply::unasked("a sum")),
            };
        }
        Part::Count => {
            summary.count = whole(&value).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        }
    }
    Ok(())
}

/// Does a summary have all that was asked for?
fn has_all(wanted: &WantedField, summary: &FieldSummary) -> bool {
    wanted.parts.iter().all(|part| match part {
        Part::First => summary.first.is_some(),
        Part::Last => summary.last.is_some(),
        Part::Least => summary.least.is_some(),
        Part::Greatest => summary.greatest.is_some(),
        Part::Sum => summary.sum != Total::None,
        Part::Count => summary.count > 0,
    })
}

fn two_types(field: &str) -> Error {
    Error::new(Kind::Corrupt, format!("the field `{}` has two types in InfluxDB", reply::short(field)))
        .hint("delete one of them: a client wrote it past the host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_one_bar_are_no_gain() {
        const MINUTE: i64 = 60_000_000_000;
        let gain = |measurement: &str, length| is_gain(measurement, Even { length, first: 0 });
        for (measurement, length, want) in [
            ("bar.1m.AAPL", MINUTE - 1, false),
            ("bar.1m.AAPL", MINUTE, false),
            ("bar.1m.AAPL", MINUTE + 1, true),
            ("bar.1d.AAPL", 1_440 * MINUTE, false),
            ("bar.1w.AAPL", 1_440 * MINUTE, false),
            // Months have no length, and of others nobody knows how near their rows are.
            ("bar.1mo.AAPL", 1, true),
            ("bar.odd.AAPL", 1, true),
            ("tick.AAPL", 1, true),
        ] {
            assert_eq!(gain(measurement, length), want, "{measurement} {length}");
        }
    }
}
