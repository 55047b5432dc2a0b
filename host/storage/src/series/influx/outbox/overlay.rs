//! What waits, laid over what the server has: the newest write of a field wins.

use super::super::scan::push;
use super::head::Waiting;
use crate::error::{Error, Result};
use crate::series::{
    Budget, Column, FieldType, Frame, FrameStream, Latest, LatestField, SeriesInfo, SeriesKey, TimeRange,
    Values,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows of a frame that are not between rows of the server.
const FRAME_ROWS_MAX: usize = 8_192;

/// A row that waits: its time, and where it is. Rows of a time are in the order in which they were written.
type Place = (i64, u32, u32);

/// A series as the server has it, with the rows that wait.
pub(super) struct Overlay {
    stored: FrameStream,
    frames: Vec<Arc<Frame>>,
    /// By time.
    rows: Vec<Place>,
    next: usize,
    fields: Option<Vec<String>>,
    budget: Budget,
    given: u64,
    /// A frame of the server's stream, or its end, is still to come.
    open: bool,
}

fn is_chosen(fields: Option<&[String]>, name: &str) -> bool {
    fields.is_none_or(|f| f.iter().any(|f| f == name))
}

impl Overlay {
    pub fn new(
        stored: FrameStream,
        waiting: &[Arc<Frame>],
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Self {
        let mut rows: Vec<Place> = Vec::new();
        for (at, frame) in (0_u32..).zip(waiting) {
            let columns: Vec<&Column> = frame.columns.iter().filter(|c| is_chosen(fields, &c.name)).collect();
            for (row, time) in (0_u32..).zip(&frame.times) {
                if range.contains(*time) && columns.iter().any(|c| c.is_valid(row as usize)) {
                    rows.push((*time, at, row));
                }
            }
        }
        rows.sort_unstable();
        Self {
            stored,
            frames: waiting.to_vec(),
            rows,
            next: 0,
            fields: fields.map(<[String]>::to_vec),
            budget: budget.clone(),
            given: 0,
            open: true,
        }
    }

    /// The rows that wait up to and with a time, at most so many that the frame stays small.
    fn take(&mut self, last: Option<i64>) -> Vec<Place> {
        let left = self.rows.get(self.next..).unwrap_or_default();
        let n = match last {
            Some(last) => left.partition_point(|r| r.0 <= last),
            None => {
                // Rows of one time are not cut apart.
                let end = left.get(FRAME_ROWS_MAX).map(|r| r.0);
                end.map_or(left.len(), |time| left.partition_point(|r| r.0 <= time))
            }
        };
        self.next += n;
        left.get(..n).unwrap_or_default().to_vec()
    }

    fn merged(&self, stored: &Frame, waiting: &[Place]) -> Frame {
        let mut rows: BTreeMap<i64, (Option<usize>, Vec<Place>)> = BTreeMap::new();
        for (row, time) in stored.times.iter().enumerate() {
            rows.entry(*time).or_default().0 = Some(row);
        }
        for place in waiting {
            rows.entry(place.0).or_default().1.push(*place);
        }
        let mut types: BTreeMap<&str, FieldType> = BTreeMap::new();
        for column in &stored.columns {
            types.insert(&column.name, column.values.field_type());
        }
        let used: BTreeSet<u32> = waiting.iter().map(|p| p.1).collect();
        for frame in used.iter().filter_map(|at| self.frames.get(*at as usize)) {
            for column in frame.columns.iter().filter(|c| is_chosen(self.fields.as_deref(), &c.name)) {
                types.entry(&column.name).or_insert(column.values.field_type());
            }
        }
        let mut columns = Vec::with_capacity(types.len());
        for (name, of) in types {
            let from: BTreeMap<u32, &Column> = used
                .iter()
                .filter_map(|at| Some((*at, self.frames.get(*at as usize)?.column(name)?)))
                // One of another type will be refused when it is delivered.
                .filter(|(_, c)| c.values.field_type() == of)
                .collect();
            let below = stored.column(name);
            let (mut values, mut valid) = (Values::empty(of), Vec::with_capacity(rows.len()));
            for (at, above) in rows.values() {
                let newest = above.iter().rev().find_map(|(_, at, row)| from.get(at)?.get(*row as usize));
                let cell = newest.or_else(|| below.zip(*at).and_then(|(c, row)| c.get(row)));
                valid.push(cell.is_some());
                push(&mut values, cell);
            }
            if valid.contains(&true) {
                let all = valid.iter().all(|v| *v);
                columns.push(Column { name: name.to_string(), values, valid: (!all).then_some(valid) });
            }
        }
        Frame { times: rows.into_keys().collect(), columns }
    }

    fn step(&mut self) -> Result<Option<Frame>> {
        self.budget.check()?;
        if self.open {
            match self.stored.next().transpose()? {
                Some(frame) => {
                    let Some(last) = frame.times.last().copied() else { return Ok(Some(frame)) };
                    let waiting = self.take(Some(last));
                    return Ok(Some(if waiting.is_empty() { frame } else { self.merged(&frame, &waiting) }));
                }
                None => self.open = false,
            }
        }
        let waiting = self.take(None);
        Ok((!waiting.is_empty()).then(|| self.merged(&Frame::default(), &waiting)))
    }
}

impl Iterator for Overlay {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose()?;
        let checked = step.and_then(|frame| {
            self.given += frame.len() as u64;
            match self.budget.rows_max.filter(|bound| self.given > *bound) {
                None => Ok(frame),
                Some(bound) => Err(Error::limit(
                    "the query",
                    format!("{bound} rows"),
                    "narrow the range, or raise `limits.query_rows` in shiphold.toml",
                )),
            }
        });
        if checked.is_err() {
            // Nothing follows an error.
            (self.open, self.next) = (false, self.rows.len());
        }
        Some(checked)
    }
}

/// The newest values of the server with those that wait.
pub(super) fn latest(stored: Vec<Latest>, waiting: &[(Waiting, Arc<Frame>)]) -> Vec<Latest> {
    let mut all: BTreeMap<SeriesKey, BTreeMap<String, LatestField>> = BTreeMap::new();
    for Latest { key, fields } in stored {
        all.insert(key, fields.into_iter().map(|f| (f.name.clone(), f)).collect());
    }
    for (part, frame) in waiting {
        for column in &frame.columns {
            let newest = (0..frame.len())
                .filter(|row| column.is_valid(*row))
                .filter_map(|row| Some((*frame.times.get(row)?, row)))
                .max();
            let Some((time, value)) = newest.and_then(|(t, row)| Some((t, column.get(row)?))) else {
                continue;
            };
            let fields = all.entry(SeriesKey::clone(&part.key)).or_default();
            let older = fields
                .get(&column.name)
                .is_none_or(|f| f.time <= time && f.value.field_type() == value.field_type());
            if older {
                fields.insert(column.name.clone(), LatestField { name: column.name.clone(), time, value });
            }
        }
    }
    all.into_iter().map(|(key, fields)| Latest { key, fields: fields.into_values().collect() }).collect()
}

/// The series of the server with what waits. A time that both have counts twice: the number of rows is an upper bound.
pub(super) fn list(stored: Vec<SeriesInfo>, waiting: &[(Waiting, Arc<Frame>)]) -> Vec<SeriesInfo> {
    let mut times: BTreeMap<&SeriesKey, BTreeSet<i64>> = BTreeMap::new();
    let mut all: BTreeMap<SeriesKey, SeriesInfo> = stored.into_iter().map(|i| (i.key.clone(), i)).collect();
    for (part, frame) in waiting {
        let info = all.entry(SeriesKey::clone(&part.key)).or_insert_with(|| SeriesInfo {
            key: SeriesKey::clone(&part.key),
            fields: Vec::new(),
            rows: 0,
            min_time: None,
            max_time: None,
        });
        for column in frame.columns.iter().filter(|c| (0..frame.len()).any(|row| c.is_valid(row))) {
            if !info.fields.iter().any(|(name, _)| *name == column.name) {
                info.fields.push((column.name.clone(), column.values.field_type()));
            }
        }
        info.fields.sort();
        let (min, max) = (frame.times.iter().min().copied(), frame.times.iter().max().copied());
        info.min_time = [info.min_time, min].into_iter().flatten().min();
        info.max_time = info.max_time.max(max);
        times.entry(&part.key).or_default().extend(&frame.times);
    }
    for (key, times) in times {
        if let Some(info) = all.get_mut(key) {
            info.rows += times.len() as u64;
        }
    }
    all.into_values().collect()
}
