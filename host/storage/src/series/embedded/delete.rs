//! Deleting: rows in memory are sealed first, so that only chunks change, in one transaction. What is written
//! after the call began stays. A field whose last value goes is no longer one of its series.

use super::catalog::Series;
use super::chunk::Chunk;
use super::core::Core;
use super::merge::{Merge, Source};
use super::store::{Cutter, Writing};
use super::{lock, statistics, tables};
use crate::error::{Kind, Result};
use crate::series::{Budget, DeleteReport, Selector, TimeRange};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What happens to one series.
struct Change {
    series: Arc<Series>,
    gone: Vec<Arc<Chunk>>,
    /// Those that it has afterwards, where it loses some.
    fields: Option<Vec<u32>>,
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
                    changes.push(Change { series: series.clone(), gone, fields: None });
                }
            }
            if changes.is_empty() {
                return Ok(report);
            }
            // Nothing is committed meanwhile: a field that a batch has values of must not go.
            let commit = lock(&self.commit);
            for change in &mut changes {
                change.fields = self.fields_left(change, &writing)?;
            }
            let came = writing.finish(|tx| {
                for Change { series, gone, fields } in &changes {
                    gone.iter().try_for_each(|c| tables::retire_chunk(tx, c))?;
                    fields.iter().try_for_each(|fields| tables::put_series(tx, series, fields))?;
                }
                Ok(())
            })?;
            let mut came = came.into_iter().peekable();
            for Change { series, gone, fields } in changes {
                // The locks of fields come before those of series.
                let fields = fields.map(|fields| series.measurement.share_set(&fields));
                let mut state = series.state();
                fields.into_iter().for_each(|fields| state.fields = fields);
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
            drop(commit);
        }
        self.tidy_up();
        Ok(report)
    }

    /// The fields that a series has values of once its chunks are replaced; `None`: all that it has now. Chunks are looked at
    /// until every field was found, which most often the first one does.
    fn fields_left(&self, change: &Change, writing: &Writing<'_>) -> Result<Option<Vec<u32>>> {
        let types = change.series.measurement.types();
        let (had, runs, chunks) = {
            let state = change.series.state();
            let stays = |c: &&Arc<Chunk>| !change.gone.iter().any(|g| g.id == c.id);
            let chunks: Vec<Arc<Chunk>> = state.chunks.iter().rev().filter(stays).cloned().collect();
            (state.fields.clone(), state.runs().cloned().collect::<Vec<_>>(), chunks)
        };
        let mut left: BTreeSet<u32> = runs.iter().flat_map(|r| &r.lanes).map(|l| l.field).collect();
        for stats in writing.statistics(change.series.id) {
            left.extend(statistics::decode_fields(stats)?.iter().map(|s| s.totals.field));
        }
        let all = |left: &BTreeSet<u32>| had.iter().all(|field| left.contains(field));
        for chunk in chunks {
            if all(&left) {
                return Ok(None);
            }
            match self.sound_stats(&chunk, &types)? {
                Some(stats) => left.extend(stats.iter().map(|s| s.totals.field)),
                // What a damaged chunk has is not known.
                None => return Ok(None),
            }
        }
        Ok((!all(&left)).then(|| left.into_iter().collect()))
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
