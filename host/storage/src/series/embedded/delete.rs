//! Deleting: rows in memory are sealed first, so that only chunks change, in one transaction. What is written
//! after the call began stays.

use super::catalog::Series;
use super::chunk::Chunk;
use super::core::Core;
use super::merge::{Merge, Source};
use super::store::{Cutter, Writing};
use super::{lock, tables};
use crate::error::{Kind, Result};
use crate::series::{Budget, DeleteReport, Selector, TimeRange};
use std::sync::Arc;

/// What happens to one series.
struct Change {
    series: Arc<Series>,
    gone: Vec<Arc<Chunk>>,
}

impl Core {
    pub(super) fn delete(&self, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        let mut report = DeleteReport { series: 0, rows: Some(0) };
        if range.start >= range.end {
            return Ok(report);
        }
        {
            let _structure = lock(&self.structure);
            let chosen = self.select(selector);
            // Rows in memory elsewhere stay there: dropping what is old does not seal what is new.
            if chosen.iter().any(|s| in_memory(s, range)) {
                self.seal_now()?;
            }
            let mut writing = Writing::new(self);
            let mut changes = Vec::new();
            for series in &chosen {
                let (gone, rows) = self.cut_out(series, range, &mut writing)?;
                if !gone.is_empty() {
                    report.series += u64::from(rows > 0);
                    report.rows = report.rows.map(|n| n + rows);
                    changes.push(Change { series: series.clone(), gone });
                }
            }
            if changes.is_empty() {
                return Ok(report);
            }
            let came = writing.finish(|tx| {
                changes.iter().flat_map(|c| &c.gone).try_for_each(|c| tables::retire_chunk(tx, c))
            })?;
            let mut came = came.into_iter().peekable();
            for Change { series, gone } in changes {
                let mut state = series.state();
                state.chunks.retain(|c| !gone.iter().any(|g| g.id == c.id));
                while let Some(chunk) = came.next_if(|c| c.series == series.id) {
                    self.gauges.chunk_came(&chunk);
                    state.add_chunk(chunk);
                }
                state.set_latest(None);
                drop(state);
                gone.iter().for_each(|c| self.gauges.chunk_went(c));
                self.retire(gone);
            }
        }
        self.tidy_up();
        Ok(report)
    }

    /// The chunks of a series that a delete replaces, what is left of them written anew, and the number of
    /// rows that go.
    fn cut_out(
        &self,
        series: &Arc<Series>,
        range: TimeRange,
        writing: &mut Writing<'_>,
    ) -> Result<(Vec<Arc<Chunk>>, u64)> {
        let touched: Vec<Arc<Chunk>> = {
            let state = series.state();
            state.chunks.iter().filter(|c| c.max >= range.start && c.min < range.end).cloned().collect()
        };
        let mut rows = 0;
        if touched.iter().enumerate().any(|(i, a)| touched.iter().skip(i + 1).any(|b| a.overlaps(b))) {
            // A row that several chunks have counts once.
            let sources = touched.iter().filter(|c| !c.is_bad()).map(|c| Source::chunk(c.clone())).collect();
            let mut merge = Merge::new(series, sources, Some(Vec::new()), range);
            while let Some(run) = merge.next(self, &Budget::default())? {
                rows += run.len() as u64;
            }
            for chunk in &touched {
                self.keep_rest(series, chunk, range, writing)?;
            }
        } else {
            for chunk in &touched {
                rows += self.keep_rest(series, chunk, range, writing)?;
            }
        }
        // A damaged chunk that is not covered whole cannot be cut: it stays set aside.
        let covered = |c: &Chunk| c.min >= range.start && c.max < range.end;
        Ok((touched.into_iter().filter(|c| covered(c) || !c.is_bad()).collect(), rows))
    }

    /// Writes the rows of a chunk that are outside the range; gives the number of those within.
    fn keep_rest(
        &self,
        series: &Arc<Series>,
        chunk: &Arc<Chunk>,
        range: TimeRange,
        writing: &mut Writing<'_>,
    ) -> Result<u64> {
        if chunk.is_bad() {
            return Ok(0);
        }
        if chunk.min >= range.start && chunk.max < range.end {
            return Ok(u64::from(chunk.rows()));
        }
        let (mut run, _held) = match self.read_chunk(chunk, &series.measurement.types()) {
            Ok(read) => read,
            Err(e) if e.kind() == Kind::Corrupt => {
                self.quarantine(series, chunk, &e);
                return Ok(0);
            }
            Err(e) => return Err(e),
        };
        let before = run.len();
        let keep: Vec<bool> = run.times.iter().map(|t| !range.contains(*t)).collect();
        run.keep(&keep);
        let left = run.len();
        let mut cutter = Cutter::new(self, series.id, Some(chunk.version), left);
        cutter.push(run, writing)?;
        cutter.end(writing)?;
        Ok((before - left) as u64)
    }
}

fn in_memory(series: &Series, range: TimeRange) -> bool {
    let state = series.state();
    state.runs().any(|r| r.min().is_some_and(|t| t < range.end) && r.max().is_some_and(|t| t >= range.start))
}
