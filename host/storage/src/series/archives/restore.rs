//! Rows of archives back into the engine. Every piece is durable before the next, and writes only what the engine does not have;
//! when all are there, the archive is not read any more. Cut off anywhere, it can be run again.

use super::engine::Archived;
use super::index::{self, Archive};
use super::missing::missing;
use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::series::{Budget, Frame, SeriesEngine, SeriesKey, TimeRange, WriteBatch};
use serde_json::json;
use std::sync::Arc;

/// What the pieces of one series need.
pub(super) struct Back<'a> {
    pub(super) archived: &'a Archived,
    /// The engine alone, with decimals.
    pub(super) live: &'a dyn SeriesEngine,
    pub(super) caller: &'a Caller,
    pub(super) budget: &'a Budget,
}

impl Back<'_> {
    /// Brings the archives of a series that touch a range back, each of them whole. `alone` keeps writers away until what it
    /// gives is dropped; `progress` gets rows that were looked at. Gives the archives, and the rows that were written.
    pub(super) fn series<G>(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        alone: &dyn Fn() -> Result<G>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Vec<Arc<Archive>>, u64)> {
        let chosen = self.archived.read(key, range);
        let mut written = 0;
        for span in spans(&chosen) {
            let mut from = span.start;
            while from < span.end {
                from = self.pieces(key, TimeRange { start: from, ..span }, alone, progress, &mut written)?;
            }
        }
        let ids: Vec<i64> = chosen.iter().map(|a| a.id).collect();
        if !ids.is_empty() {
            let detail = json!({ "archives": ids, "written": written });
            self.archived.index.change(std::slice::from_ref(key), |tx| {
                ids.iter().try_for_each(|id| index::set_restored(tx, *id))?;
                let entry = Entry::new(self.caller, "series.restored", format!("series:{key}"));
                Audit::append(tx, &entry.detail(detail))?;
                Ok(())
            })?;
        }
        Ok((chosen, written))
    }

    /// Writes rows of a span until its end, or until its archives are not those any more; gives the time that comes next.
    fn pieces<G>(
        &self,
        key: &SeriesKey,
        span: TimeRange,
        alone: &dyn Fn() -> Result<G>,
        progress: &mut dyn FnMut(u64),
        written: &mut u64,
    ) -> Result<i64> {
        let archives = self.archived.index.of(key);
        let all = self.archived.read(key, span);
        let mut from = span.start;
        for frame in self.archived.exact_of(all, span, self.budget) {
            let frame = frame?;
            let Some(last) = frame.times.last().copied() else { continue };
            self.budget.check()?;
            let _alone = alone()?;
            let _no_deletion = self.archived.no_deletion();
            let same = match (&archives, &self.archived.index.of(key)) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            };
            if !same {
                return Ok(from);
            }
            let rows = frame.len() as u64;
            *written += put(self.live, self.live, key, frame, self.budget)?;
            progress(rows);
            from = last.saturating_add(1);
        }
        Ok(span.end)
    }
}

/// Writes the cells of a frame that `there` does not have; gives the rows that were new or got some.
pub(super) fn put(
    engine: &dyn SeriesEngine,
    there: &dyn SeriesEngine,
    key: &SeriesKey,
    frame: Frame,
    budget: &Budget,
) -> Result<u64> {
    let (Some(first), Some(last)) = (frame.times.first(), frame.times.last()) else { return Ok(0) };
    let range = TimeRange { start: *first, end: last.saturating_add(1) };
    let frame = missing(frame, there.scan(key, range, None, budget)?)?;
    if frame.is_empty() {
        return Ok(0);
    }
    let rows = frame.len() as u64;
    let report = engine.write(WriteBatch { series: vec![(key.clone(), frame)] })?;
    if report.dropped > 0 {
        let fields: Vec<String> =
            report.conflicts.iter().map(|c| format!("{} is {}, not {}", c.field, c.have, c.got)).collect();
        return Err(Error::conflict(format!(
            "{} archived rows of `{key}` have fields of other types than the engine: {}",
            report.dropped,
            fields.join(", ")
        ))
        .hint("export the rows, and delete those that are in the way"));
    }
    Ok(rows)
}

/// The times of some archives, overlapping ones as one span.
fn spans(archives: &[Arc<Archive>]) -> Vec<TimeRange> {
    let mut spans = Vec::new();
    for a in archives {
        super::cuts::add(&mut spans, TimeRange { start: a.first, end: a.last.saturating_add(1) });
    }
    spans
}
