//! What is read while rows move between the engine and archives: whatever comes in between, they are in one of the two.

use super::engine::Archived;
use super::index::{Archive, Index, OfSeries, State};
use crate::error::{Error, Kind, Result};
use crate::series::{Selector, SeriesKey, TimeRange};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Archived {
    /// What begins to be read, as the archives stood before and after the engine was asked: what moves from one to the other
    /// meanwhile is in at least one of them.
    pub(super) fn begin<T>(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        ask: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<Arc<Archive>>)> {
        let before = self.index.of(key);
        let answer = ask()?;
        let after = self.index.of(key);
        let mut now = after.as_deref().map(|all| touched(all, range)).unwrap_or_default();
        let moved = match (&before, &after) {
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let Some(before) = before.filter(|_| moved) {
            let cut = self.deleted(&before)?;
            now.extend(
                touched(&before, range)
                    .into_iter()
                    .filter(|a| now.iter().all(|n| n.id != a.id) && !cut.contains(&a.id))
                    .collect::<Vec<_>>(),
            );
        }
        Ok((answer, now))
    }

    /// Those of which every row was deleted since.
    fn deleted(&self, archives: &[Arc<Archive>]) -> Result<Vec<i64>> {
        self.index.db.read(|c| {
            let mut gone = Vec::new();
            for archive in archives {
                let state: String = c
                    .prepare_cached("SELECT state FROM archives WHERE id = ?1")?
                    .query_row([archive.id], |r| r.get(0))?;
                if state == State::Deleted.name() {
                    gone.push(archive.id);
                }
            }
            Ok(gone)
        })
    }

    /// Ends a stream with an error once rows that it may not have given yet have left the engine.
    pub(super) fn guarded<T: Send + 'static>(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        read: &[Arc<Archive>],
        rows: Box<dyn Iterator<Item = Result<T>> + Send>,
    ) -> Box<dyn Iterator<Item = Result<T>> + Send> {
        if self.pinned {
            return rows;
        }
        let read = read.iter().map(|a| a.id).collect();
        Box::new(Guarded { rows, index: self.index.clone(), key: key.clone(), range, read, done: false })
    }

    /// What the engine says, and the archives as they stood before it was asked or stand after it.
    pub(super) fn beside<T>(
        &self,
        selector: &Selector,
        ask: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<(SeriesKey, OfSeries)>)> {
        let before = self.index.chosen(selector);
        let answer = ask()?;
        let mut after: BTreeMap<SeriesKey, OfSeries> = self.index.chosen(selector).into_iter().collect();
        for (key, was) in before {
            let Some(now) = after.get(&key) else {
                after.insert(key, was);
                continue;
            };
            if Arc::ptr_eq(now, &was) {
                continue;
            }
            let gone = was.iter().filter(|a| a.state == State::Only && now.iter().all(|n| n.id != a.id));
            let mut both: Vec<Arc<Archive>> = gone.chain(now.iter()).cloned().collect();
            both.sort_by_key(|a| a.id);
            after.insert(key, Arc::new(both));
        }
        Ok((answer, after.into_iter().collect()))
    }
}

/// Those that queries over a range read.
pub(super) fn touched(all: &[Arc<Archive>], range: TimeRange) -> Vec<Arc<Archive>> {
    all.iter().filter(|a| a.state == State::Only && a.overlaps(range)).cloned().collect()
}

/// See [`Archived::guarded`].
struct Guarded<T> {
    rows: Box<dyn Iterator<Item = Result<T>> + Send>,
    index: Arc<Index>,
    key: SeriesKey,
    range: TimeRange,
    read: Vec<i64>,
    done: bool,
}

impl<T> Iterator for Guarded<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.done {
            return None;
        }
        let next = self.rows.next();
        let now = self.index.of(&self.key).map(|all| touched(&all, self.range)).unwrap_or_default();
        if now.iter().any(|a| !self.read.contains(&a.id)) {
            self.done = true;
            let moved = format!("rows of `{}` were moved into an archive while they were read", self.key);
            return Some(Err(Error::new(Kind::Busy, moved).hint("ask again")));
        }
        next
    }
}
