//! Deletions where rows are in files, and what of files cannot be read.

use super::cuts;
use super::digest::RowsDigest;
use super::engine::Archived;
use super::index::{self, Archive, OfSeries, State};
use super::room::Mine;
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::series::{Budget, DeleteReport, Selector, SeriesEngine as _, SeriesKey, TimeRange, TimeStream};
use std::sync::{Arc, MutexGuard, TryLockError};

/// Of one series, rows of a span that is to be deleted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// In archives, and not in the engine.
    archived: u64,
    own: u64,
}

impl Archived {
    /// Keeps deletions away.
    pub(super) fn no_deletion(&self) -> MutexGuard<'_, ()> {
        lock(&self.deleting)
    }

    pub(super) fn is_deleting(&self) -> bool {
        matches!(self.deleting.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// What archives have of the range is not read any more, before the first row goes. Nothing is changed where the budget ends
    /// it; once something is, it goes on to its end.
    pub(super) fn remove(
        &self,
        selector: &Selector,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<DeleteReport> {
        let _one = lock(&self.deleting);
        self.looks.note_deletion(selector);
        let touched: Vec<(SeriesKey, OfSeries)> = self
            .index
            .chosen(selector)
            .into_iter()
            .filter(|(_, all)| all.iter().any(|a| a.overlaps(range)))
            .collect();
        if touched.is_empty() {
            return self.raw().delete_within(selector, range, budget);
        }
        let (mut series, mut rows) = (0, Some(0));
        let mut left = Vec::new();
        for (key, all) in &touched {
            match self.count(key, range, budget) {
                Ok(Counted { archived, own }) => {
                    series += u64::from(archived > 0 && own == 0);
                    rows = rows.map(|n| n + archived);
                }
                // What is damaged can be deleted, too.
                Err(e) if e.kind() == Kind::Corrupt => rows = None,
                Err(e) => return Err(e),
            }
            for archive in all.iter().filter(|a| a.overlaps(range)) {
                left.push(self.left(archive, range, budget)?);
            }
        }
        budget.check()?;
        self.index.edit(&left)?;
        let mut report = self.raw().delete(selector, range)?;
        report.series += series;
        report.rows = report.rows.zip(rows).map(|(a, b)| a + b);
        Ok(report)
    }

    /// Rows of a range that only archives have, and those of the engine.
    fn count(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<Counted> {
        let archives = self.read(key, range);
        if archives.is_empty() {
            return Ok(Counted { archived: 0, own: 0 });
        }
        if let Some(known) = self.count_known(key, range, archives, budget)? {
            return Ok(known);
        }
        let sum = |times: TimeStream| times.map(|t| t.map(|t| t.len() as u64)).sum::<Result<u64>>();
        let all = sum(self.times(key, range, budget)?)?;
        let own = sum(self.raw().times(key, range, budget)?)?;
        Ok(Counted { archived: all.saturating_sub(own), own })
    }

    /// [`Archived::count`] by the index, without a look into a file: where whole archives go that meet no other rows.
    fn count_known(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        mut archives: Vec<Arc<Archive>>,
        budget: &Budget,
    ) -> Result<Option<Counted>> {
        archives.sort_by_key(|a| a.first);
        let whole = |a: &Arc<Archive>| a.cuts.is_empty() && range.contains(a.first) && range.contains(a.last);
        let apart = archives.windows(2).all(|w| matches!(w, [a, b] if a.last < b.first));
        if !apart || !archives.iter().all(whole) {
            return Ok(None);
        }
        let meets = |t: &i64| {
            let at = archives.partition_point(|a| a.last < *t);
            archives.get(at).is_some_and(|a| a.first <= *t)
        };
        let mut own = 0;
        for times in self.raw().times(key, range, budget)? {
            let times = times?;
            if times.iter().any(meets) {
                return Ok(None);
            }
            own += times.len() as u64;
        }
        Ok(Some(Counted { archived: archives.iter().map(|a| a.rows).sum(), own }))
    }

    /// What is left of an archive without a span. Where its rows cannot be read, they are counted as if all others were there.
    fn left(&self, a: &Archive, range: TimeRange, budget: &Budget) -> Result<Archive> {
        let mut cut = index::cut(a, range)?;
        // A copy with cuts is made anew before its rows leave the engine.
        if cut.state != State::Only {
            return Ok(cut);
        }
        let mut digest = RowsDigest::default();
        let archive = Arc::new(cut.clone());
        let read = self.shelf.exact(&archive, TimeRange::ALL, None, &Mine::default(), budget);
        match read.and_then(|mut rows| rows.try_for_each(|f| f.map(|f| digest.add(&f)))) {
            Ok(()) => {}
            Err(e) if has_ended(&e) => return Err(e),
            Err(e) => {
                tracing::warn!(error = %e, "rows were deleted from an archive that cannot be read");
                return Ok(cut);
            }
        }
        match (digest.first, digest.last) {
            (Some(first), Some(last)) => {
                (cut.first, cut.last, cut.rows, cut.fields) = (first, last, digest.rows, digest.fields());
            }
            _ => (cut.rows, cut.state) = (0, State::Deleted),
        }
        Ok(cut)
    }

    /// The spans of archives that queries over a range read, and cannot.
    pub(super) fn unreadable(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<TimeRange>> {
        let mut out = Vec::new();
        for archive in self.read(key, range) {
            let read = self.shelf.stored(&archive, range, None, &Mine::default(), budget);
            match read.and_then(|mut rows| rows.try_for_each(|frame| frame.map(drop))) {
                Ok(()) => {}
                Err(e) if e.kind() == Kind::Corrupt => {
                    let (start, end) = (archive.first, archive.last.saturating_add(1));
                    cuts::add(&mut out, TimeRange { start: start.max(range.start), end: end.min(range.end) });
                }
                Err(e) => return Err(e),
            }
        }
        Ok(out)
    }
}

/// Not by what the file is like.
fn has_ended(e: &Error) -> bool {
    matches!(e.kind(), Kind::Timeout | Kind::Cancelled | Kind::Busy)
}
