//! The ASOF join: a merge of two scans in ascending time. Of the right series it holds a frame and the two rows before it, and
//! of the left one a frame, however long both are.

use super::ast::{Asof, Direction};
use super::book::Levels;
use super::columns::{Builder, with_values};
use super::filter::Filter;
use super::window::count_rows;
use crate::error::{Error, Result};
use crate::series::kinds;
use crate::series::{
    Budget, FieldType, Frame, FrameStream, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, Value,
};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// Tags that `by` names.
pub const BY_MAX: usize = 16;
/// Bytes of a prefix.
pub const PREFIX_BYTES_MAX: usize = 64;
/// The rows of the right series that are kept when its next frame comes: the last one, and the one before it, for whoever
/// may not have the last because it is at the same time.
const KEPT_ROWS: usize = 2;
/// How many times as far a look for the row before the first one of the left series goes back, when it found none.
const LOOK_BACK_FACTOR: i64 = 8;
/// Rows that are looked at one by one before the search halves.
const NEAR_ROWS: usize = 16;

/// A checked [`Asof`].
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) selector: Selector,
    pub(super) filters: Vec<Filter>,
    fields: Option<Vec<String>>,
    levels: Option<Levels>,
    /// Nanoseconds.
    tolerance: Option<i64>,
    direction: Direction,
    exact: bool,
    by: Vec<String>,
    prefix: String,
}

/// One right series and what is read of it.
#[derive(Debug)]
pub(super) struct Right {
    info: SeriesInfo,
    /// `None`: all.
    scan: Option<Vec<String>>,
    /// Each column that it gives: as it is called there, as it is called in the answer, its type.
    pub(super) columns: Vec<(String, String, FieldType)>,
}

impl Joining {
    pub(super) fn new(asof: &Asof, bucket: &str) -> Result<Self> {
        if asof.measurement.is_empty() {
            return Err(Error::invalid("`asof` names no measurement").hint(
                "set `asof.measurement`, such as `tick.AAPL`, or `tick.*` with `\"by\": [\"symbol\"]`",
            ));
        }
        if asof.by.len() > BY_MAX {
            return Err(Error::limit(format!("{} tags of `asof.by`", asof.by.len()), BY_MAX, "name fewer"));
        }
        if asof.by.iter().any(String::is_empty) {
            return Err(Error::invalid("`asof.by` has an empty name").hint("name tags, or `symbol`"));
        }
        if asof.prefix.len() > PREFIX_BYTES_MAX {
            return Err(Error::limit("`asof.prefix`", format!("{PREFIX_BYTES_MAX} bytes"), "shorten it"));
        }
        if asof.fields.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("`asof.fields` is empty").hint("leave it out for all fields"));
        }
        super::plan::no_repeats("asof.fields", asof.fields.iter().flatten().cloned())?;
        Ok(Self {
            selector: Selector {
                bucket: Some(asof.bucket.clone().unwrap_or_else(|| bucket.to_string())),
                measurement: Some(asof.measurement.clone()),
                tags: asof.tags.clone(),
            },
            filters: Filter::all(&asof.filters)?,
            fields: asof.fields.clone(),
            levels: asof.book.as_ref().map(|b| Levels::new("asof.book", b)).transpose()?,
            tolerance: asof.tolerance.map(crate::units::Span::as_nanos_i64),
            direction: asof.direction,
            exact: asof.exact,
            by: asof.by.clone(),
            prefix: asof.prefix.clone(),
        })
    }

    /// The right series by what they must have in common with a left one. At least one of them must have each field.
    pub(super) fn rights(&self, series: Vec<SeriesInfo>) -> Result<Rights> {
        let mut by: HashMap<Vec<String>, Vec<Arc<Right>>> = HashMap::new();
        if series.is_empty() {
            return Err(Error::invalid(format!(
                "no series is there to join: `asof` asks for `{}`",
                self.selector.measurement.as_deref().unwrap_or_default()
            ))
            .hint("`shiphold series list` shows what there is; a plugin sees what it may read"));
        }
        for field in self.fields.iter().flatten() {
            if !series.iter().any(|info| info.fields.iter().any(|(name, _)| name == field)) {
                let known =
                    series.iter().flat_map(|info| info.fields.iter().map(|(name, _)| name.clone())).collect();
                return Err(super::plan::unknown_field(field, &known).context("`asof.fields`"));
            }
        }
        for info in series {
            let group = self.group(&info.key);
            by.entry(group).or_default().push(Arc::new(self.right(info)?));
        }
        Ok(Rights(by))
    }

    fn right(&self, info: SeriesInfo) -> Result<Right> {
        let mut scan = self.fields.clone();
        let mut gives: Vec<(String, FieldType)> = match (&self.fields, &self.levels) {
            (None, Some(_)) => Vec::new(),
            (fields, _) => {
                let chosen = |name: &String| fields.as_ref().is_none_or(|f| f.contains(name));
                info.fields.iter().filter(|(name, _)| chosen(name)).cloned().collect()
            }
        };
        if let Some(fields) = &self.fields {
            gives.sort_by_key(|(name, _)| fields.iter().position(|f| f == name));
        }
        if let Some(levels) = &self.levels {
            levels.fits(&info)?;
            scan.get_or_insert_default().extend(levels.needs());
            gives.extend(levels.gives());
        }
        let named = |(name, of): (String, FieldType)| (name.clone(), format!("{}{name}", self.prefix), of);
        let mut columns = vec![(String::new(), format!("{}time", self.prefix), FieldType::Integer)];
        columns.extend(gives.into_iter().map(named));
        Ok(Right { info, scan, columns })
    }

    /// What a series must have in common with its partner.
    fn group(&self, key: &SeriesKey) -> Vec<String> {
        let of = |name: &String| match key.tag(name) {
            None if name == "symbol" => kinds::symbol_of(&key.measurement),
            tag => tag,
        };
        self.by.iter().map(|name| of(name).unwrap_or_default().to_string()).collect()
    }

    /// The partner of a left series, if it has one.
    pub(super) fn partner(&self, left: &SeriesInfo, rights: &Rights) -> Result<Option<Arc<Right>>> {
        let right = match rights.0.get(&self.group(&left.key)).map(Vec::as_slice) {
            None | Some([]) => return Ok(None),
            Some([right]) => right,
            Some([a, b, ..]) => {
                return Err(Error::invalid(format!(
                    "`{}` has more than one series to join: `{}`, `{}`",
                    left.key, a.info.key, b.info.key
                ))
                .hint("choose one with `asof.tags` or `asof.where`, or say with `asof.by` which tags they have in common"));
            }
        };
        for (_, name, _) in &right.columns {
            if left.fields.iter().any(|(field, _)| field == name) {
                return Err(Error::invalid(format!("`{}` has a field `{name}` of its own", left.key))
                    .hint("choose another `asof.prefix`"));
            }
        }
        Ok(Some(right.clone()))
    }
}

impl std::fmt::Display for Joining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let where_to = match self.direction {
            Direction::Backward => "at or before",
            Direction::Forward => "at or after",
            Direction::Nearest => "nearest to",
        };
        let measurement = self.selector.measurement.as_deref().unwrap_or_default();
        write!(f, "join to each row the one of {measurement} {where_to} its time")?;
        match self.tolerance {
            Some(ns) => write!(f, ", within {ns} ns"),
            None => Ok(()),
        }
    }
}

/// The right series, by what they have in common with a left one.
#[derive(Debug)]
pub(super) struct Rights(HashMap<Vec<String>, Vec<Arc<Right>>>);

/// A join under way.
pub(super) struct Join<'a> {
    engine: &'a dyn SeriesEngine,
    how: &'a Joining,
    right: &'a Right,
    budget: &'a Budget,
    /// No left row is at or after it.
    end: i64,
    cursor: Option<Cursor>,
    out: Vec<Builder>,
    /// Rows read by the whole query.
    rows_read: &'a Cell<u64>,
}

/// Where the join stands in the right series.
struct Cursor {
    stream: FrameStream,
    /// The rows before `frame`, at most [`KEPT_ROWS`], each a frame of its own.
    before: Vec<Frame>,
    frame: Frame,
    /// The first row that is not before the time that was looked for last, counted from the first of `before`.
    at: usize,
    /// For each left row that is not written yet: the right row.
    picks: Vec<Option<usize>>,
}

impl<'a> Join<'a> {
    pub(super) fn new(
        engine: &'a dyn SeriesEngine,
        how: &'a Joining,
        right: &'a Right,
        end: i64,
        budget: &'a Budget,
        rows_read: &'a Cell<u64>,
    ) -> Self {
        let out = right.columns.iter().map(|(_, name, of)| Builder::new(name.as_str(), *of)).collect();
        Self { engine, how, right, budget, end, cursor: None, out, rows_read }
    }

    /// Adds the columns of the right series to rows of the left one, which come in ascending time.
    pub(super) fn add(&mut self, left: &mut Frame) -> Result<()> {
        let Some(first) = left.times.first() else { return Ok(()) };
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.begin(*first)?,
        };
        for time in &left.times {
            let pick = self.pick(&mut cursor, *time)?;
            cursor.picks.push(pick);
        }
        self.write(&mut cursor);
        self.cursor = Some(cursor);
        left.columns.extend(self.out.iter_mut().map(|b| b.take().into_column()));
        Ok(())
    }

    /// The right row of a left one at `time`.
    fn pick(&mut self, cursor: &mut Cursor, time: i64) -> Result<Option<usize>> {
        while !cursor.reach(time) && self.next_frame(cursor)? {}
        let mut same = cursor.time(cursor.at) == Some(time);
        if same && !self.how.exact && self.how.direction != Direction::Backward && cursor.is_last() {
            self.next_frame(cursor)?;
            same = cursor.time(cursor.at) == Some(time);
        }
        let (before, after) = match (same, self.how.exact) {
            (true, true) => (Some(cursor.at), Some(cursor.at)),
            (true, false) => (cursor.at.checked_sub(1), Some(cursor.at + 1)),
            (false, _) => (cursor.at.checked_sub(1), Some(cursor.at)),
        };
        let near = |row: Option<usize>| {
            let away = cursor.time(row?)?.abs_diff(time);
            let within = self.how.tolerance.is_none_or(|t| away <= t.unsigned_abs());
            within.then_some((away, row?))
        };
        Ok(match self.how.direction {
            Direction::Backward => near(before),
            Direction::Forward => near(after),
            Direction::Nearest => {
                [near(before), near(after)].into_iter().flatten().min_by_key(|(away, _)| *away)
            }
        }
        .map(|(_, row)| row))
    }

    /// Opens the right series where the first left row may need it: at the newest row before it, wherever that is.
    fn begin(&mut self, first: i64) -> Result<Cursor> {
        let tolerance = self.how.tolerance.unwrap_or(i64::MAX);
        let start = match self.how.direction {
            Direction::Backward | Direction::Nearest => self.look_back(first, tolerance)?,
            Direction::Forward => first,
        };
        let end = match self.how.direction {
            Direction::Backward => self.end,
            Direction::Forward | Direction::Nearest => self.end.saturating_add(tolerance),
        };
        let stream = self.open(TimeRange { start, end: end.max(start) })?;
        Ok(Cursor { stream, before: Vec::new(), frame: Frame::default(), at: 0, picks: Vec::new() })
    }

    /// A time from which on the right series has the newest row before `first`, if it has one: pieces backwards, each longer
    /// than the one before, until there is a row in one.
    fn look_back(&self, first: i64, tolerance: i64) -> Result<i64> {
        let Right { info, .. } = self.right;
        let least = info.min_time.unwrap_or(i64::MAX);
        let low = first.saturating_sub(tolerance).max(least);
        let until = if self.how.exact { first.saturating_add(1) } else { first };
        if low >= until {
            return Ok(first);
        }
        let rows = i64::try_from(info.rows).unwrap_or(i64::MAX).max(1);
        let newest = info.max_time.unwrap_or(i64::MAX);
        let mut span = (newest.saturating_sub(least) / rows).max(1).saturating_mul(2);
        loop {
            let start = first.saturating_sub(span).max(low);
            let found = self.open(TimeRange { start, end: until })?.next().transpose()?;
            count_rows(self.rows_read, found.as_ref().map_or(0, |f| f.len() as u64), self.budget)?;
            if found.is_some() || start == low {
                return Ok(start);
            }
            span = span.saturating_mul(LOOK_BACK_FACTOR);
        }
    }

    /// Rows of the right series that have one of the fields, never an empty frame.
    fn open(&self, range: TimeRange) -> Result<FrameStream> {
        let fields = self.right.scan.clone();
        let levels = self.how.levels.clone();
        let stream = self.engine.scan(&self.right.info.key, range, fields.as_deref(), self.budget)?;
        let prepared = move |frame: Result<Frame>| {
            let mut frame = frame?;
            if let Some(fields) = &fields {
                frame = with_values(frame, &|name| fields.iter().any(|f| f == name));
            }
            if let Some(levels) = &levels {
                levels.add(&mut frame);
            }
            Ok(frame)
        };
        Ok(Box::new(stream.map(prepared).filter(|f| f.as_ref().map_or(true, |f| !f.is_empty()))))
    }

    /// Goes on to the next frame of the right series. False: there is none, and nothing changed.
    fn next_frame(&mut self, cursor: &mut Cursor) -> Result<bool> {
        self.budget.check()?;
        let Some(next) = cursor.stream.next().transpose()? else { return Ok(false) };
        count_rows(self.rows_read, next.len() as u64, self.budget)?;
        self.write(cursor);
        cursor.go_on(next);
        Ok(true)
    }

    /// Writes the right rows that were chosen.
    fn write(&mut self, cursor: &mut Cursor) {
        let split = cursor.before.len();
        for ((name, _, _), out) in self.right.columns.iter().zip(&mut self.out) {
            if name.is_empty() {
                for pick in &cursor.picks {
                    out.push(pick.and_then(|row| cursor.time(row)).map(Value::Integer));
                }
                continue;
            }
            let frame = cursor.frame.column(name);
            for pick in &cursor.picks {
                out.push(pick.and_then(|row| match row.checked_sub(split) {
                    None => cursor.before.get(row)?.column(name)?.get(0),
                    Some(row) => frame?.get(row),
                }));
            }
        }
        cursor.picks.clear();
    }
}

impl Cursor {
    fn len(&self) -> usize {
        self.before.len() + self.frame.len()
    }

    fn is_last(&self) -> bool {
        self.at + 1 == self.len()
    }

    fn time(&self, row: usize) -> Option<i64> {
        match row.checked_sub(self.before.len()) {
            None => self.before.get(row)?.times.first().copied(),
            Some(row) => self.frame.times.get(row).copied(),
        }
    }

    /// Goes to the first row that is not before `time`. False: there is none so far.
    fn reach(&mut self, time: i64) -> bool {
        let mut near = 0;
        while self.time(self.at).is_some_and(|t| t < time) {
            self.at += 1;
            near += 1;
            if near == NEAR_ROWS {
                if let Some(from) = self.at.checked_sub(self.before.len()) {
                    let rest = self.frame.times.get(from..).unwrap_or_default();
                    self.at += rest.partition_point(|t| *t < time);
                }
            }
        }
        self.at < self.len()
    }

    /// Takes the next frame; the last rows of what there was stay.
    fn go_on(&mut self, next: Frame) {
        let from_end = self.len().saturating_sub(self.at);
        let last = std::mem::replace(&mut self.frame, next);
        self.before.extend((last.len().saturating_sub(KEPT_ROWS)..last.len()).map(|row| one_row(&last, row)));
        self.before.drain(..self.before.len().saturating_sub(KEPT_ROWS));
        self.at = self.before.len().saturating_sub(from_end);
    }
}

fn one_row(frame: &Frame, row: usize) -> Frame {
    let columns = frame.columns.iter().map(|column| {
        let mut one = Builder::new(column.name.as_str(), column.values.field_type());
        one.push(column.get(row));
        one.into_column()
    });
    Frame { times: frame.times.get(row).copied().into_iter().collect(), columns: columns.collect() }
}
