//! Late rows are noticed where they are written.

use super::definition::Definition;
use super::marks;
use crate::error::Result;
use crate::series::{SeriesKey, TimeRange, WriteBatch};
use crate::sqlite::Database;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

/// Spans of windows that one batch marks of one series; more become one.
const SPANS_MAX: usize = 64;

/// Where the rollups are, for writers to compare with. Rows in order cost them a look into a table.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    definitions: Vec<Definition>,
    db: Option<Arc<Database>>,
    /// Held by a writer from its look to the end of its write.
    known: RwLock<HashMap<SeriesKey, Vec<Seen>>>,
    /// Windows that are marked and that the rollup has not come to: marking them again would change nothing.
    marked: Mutex<HashSet<Marked>>,
}

/// A rollup has taken, or is about to take, the windows of a series before a time.
#[derive(Debug, Clone, Copy)]
struct Seen {
    rollup: usize,
    until: i64,
}

type Marked = (usize, SeriesKey, i64, i64);

/// A writer's turn; it ends with its write.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _known: Option<RwLockReadGuard<'a, HashMap<SeriesKey, Vec<Seen>>>>,
}

impl Watch {
    pub(super) fn new(definitions: Vec<Definition>, db: Arc<Database>, marks: &[marks::Mark]) -> Self {
        let mut known: HashMap<SeriesKey, Vec<Seen>> = HashMap::new();
        for mark in marks {
            if let Some(rollup) = definitions.iter().position(|d| d.name == mark.rollup) {
                known.entry(mark.key.clone()).or_default().push(Seen { rollup, until: mark.until });
            }
        }
        Self { definitions, db: Some(db), known: RwLock::new(known), marked: Mutex::default() }
    }

    /// Before a batch is written. Windows that it changes of what a rollup has taken are marked, durably, before it returns.
    pub(crate) fn enter(&self, batch: &WriteBatch) -> Result<Turn<'_>> {
        let Some(db) = self.db.as_ref().filter(|_| !self.definitions.is_empty()) else {
            return Ok(Turn { _known: None });
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut late = Vec::new();
        for (key, frame) in &batch.series {
            let Some(seen) = known.get(key) else { continue };
            let Some(first) = frame.times.iter().min() else { continue };
            for seen in seen.iter().filter(|s| *first < s.until) {
                let Some(definition) = self.definitions.get(seen.rollup) else { continue };
                let times = frame.times.iter().copied().filter(|t| *t < seen.until);
                for span in spans(definition, times.collect()) {
                    late.push((seen.rollup, key.clone(), span.start, span.end));
                }
            }
        }
        if !late.is_empty() {
            let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
            late.retain(|l| !marked.contains(l));
            if !late.is_empty() {
                db.write_always(|tx| {
                    for (rollup, key, start, end) in &late {
                        let Some(definition) = self.definitions.get(*rollup) else { continue };
                        let range = TimeRange { start: *start, end: *end };
                        marks::add_late(tx, &definition.name, key, range)?;
                    }
                    Ok(())
                })?;
                marked.extend(late);
            }
        }
        Ok(Turn { _known: Some(known) })
    }

    /// Waits for writers at work and lets those that come compare with `bumps`; reads, with `read`, what was marked until now.
    pub(super) fn advance<T>(
        &self,
        bumps: &[(usize, SeriesKey, i64)],
        read: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let out = read()?;
        self.marked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for (rollup, key, until) in bumps {
            let seen = known.entry(key.clone()).or_default();
            match seen.iter_mut().find(|s| s.rollup == *rollup) {
                Some(s) => s.until = s.until.max(*until),
                None => seen.push(Seen { rollup: *rollup, until: *until }),
            }
        }
        Ok(out)
    }
}

/// The windows of these times; those side by side are one.
fn spans(definition: &Definition, mut times: Vec<i64>) -> Vec<TimeRange> {
    times.sort_unstable();
    let mut out: Vec<TimeRange> = Vec::new();
    for t in times {
        if out.last().is_some_and(|s| t < s.end) {
            continue;
        }
        let bar = definition.to.bar_at(t, definition.timezone);
        match out.last_mut() {
            Some(last) if last.end == bar.start => last.end = bar.end,
            _ => out.push(TimeRange { start: bar.start, end: bar.end }),
        }
    }
    match (out.first(), out.last()) {
        (Some(first), Some(last)) if out.len() > SPANS_MAX => {
            vec![TimeRange { start: first.start, end: last.end }]
        }
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_side_by_side_are_one_span_and_too_many_are_one_too() {
        let definition = Definition {
            name: "r".into(),
            bucket: "b".into(),
            from: "bar.1m.*".into(),
            to: "1h".parse().unwrap(),
            timezone: chrono_tz::Tz::UTC,
            aggregates: Vec::new(),
        };
        let hour = 3_600_000_000_000_i64;
        let of = |hours: Vec<i64>| -> Vec<(i64, i64)> {
            let times = hours.iter().map(|h| h * hour + 5).collect();
            spans(&definition, times).iter().map(|s| (s.start / hour, s.end / hour)).collect()
        };
        assert_eq!(of(vec![7, 2, 3, 2]), [(2, 4), (7, 8)]);
        assert_eq!(of((0..64).map(|h| h * 2).collect()).len(), 64);
        assert_eq!(of((0..65).map(|h| h * 2).collect()), [(0, 129)]);
    }
}
