//! Chunks that are merged with each other, of many series in one transaction: the disk is waited for once, not once for
//! each of a hundred thousand series.

use super::catalog::Series;
use super::chunk::Chunk;
use super::core::Core;
use super::merge::{Merge, Source};
use super::store::{AHEAD_BYTES_MAX, Cutter, Writing};
use super::{lock, tables};
use crate::error::{Kind, Result};
use crate::series::{Budget, TimeRange};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Chunks that one transaction replaces, about: it holds sealing up.
const REPLACED_PER_COMMIT: usize = 1_024;

/// A group of chunks of a series, and what it becomes.
#[derive(Debug)]
struct Joined<'a> {
    series: Arc<Series>,
    group: Vec<Arc<Chunk>>,
    writing: Writing<'a>,
}

/// Groups that wait for their transaction. What is not flushed is given up.
#[derive(Debug)]
pub(super) struct Joins<'a> {
    core: &'a Core,
    waiting: Vec<Joined<'a>>,
    bytes: usize,
    chunks: usize,
}

impl<'a> Joins<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core, waiting: Vec::new(), bytes: 0, chunks: 0 }
    }

    /// Merges a group. A damaged chunk is set aside; the next pass joins the others.
    pub(super) fn add(&mut self, series: &Arc<Series>, group: Vec<Arc<Chunk>>) -> Result<()> {
        match self.merge(series, group) {
            Err(e) if e.kind() == Kind::Corrupt => {
                tracing::warn!("{} is not compacted: {e}", series.key());
            }
            other => other?,
        }
        if self.bytes > AHEAD_BYTES_MAX || self.chunks >= REPLACED_PER_COMMIT { self.flush() } else { Ok(()) }
    }

    fn merge(&mut self, series: &Arc<Series>, mut group: Vec<Arc<Chunk>>) -> Result<()> {
        group.sort_by_key(|c| (c.version, c.id));
        let version = group.last().map(|c| c.version);
        let sources: Vec<Source> = group.iter().map(|c| Source::chunk(c.clone())).collect();
        let rows = sources.iter().map(Source::rows).sum();
        let mut writing = Writing::new(self.core);
        let mut cutter = Cutter::new(self.core, series.id, version, rows);
        let mut merge = Merge::new(series, sources, None, TimeRange::ALL).strict();
        while let Some(run) = merge.next(self.core, &Budget::default())? {
            cutter.push(run, &mut writing)?;
        }
        cutter.end(&mut writing)?;
        self.bytes += writing.waiting_bytes();
        self.chunks += group.len();
        self.waiting.push(Joined { series: series.clone(), group, writing });
        Ok(())
    }

    /// One transaction for all that waits.
    pub(super) fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.bytes, self.chunks) = (0, 0);
        if waiting.is_empty() {
            return Ok(());
        }
        self.core.swap(waiting)?;
        self.core.collect_garbage()
    }
}

impl Core {
    fn swap(&self, joins: Vec<Joined<'_>>) -> Result<()> {
        let _structure = lock(&self.structure);
        let mut writing = Writing::new(self);
        let mut gone: BTreeMap<i64, (Arc<Series>, Vec<Arc<Chunk>>)> = BTreeMap::new();
        for Joined { series, group, writing: joined } in joins {
            let there = {
                let state = series.state();
                group.iter().all(|c| !c.is_bad() && state.chunks.iter().any(|s| s.id == c.id))
            };
            // Else a delete came between: what was merged is out of date.
            if there {
                writing.take_over(joined);
                gone.entry(series.id).or_insert_with(|| (series, Vec::new())).1.extend(group);
            }
        }
        let came = writing.finish(|tx| {
            gone.values().flat_map(|(_, chunks)| chunks).try_for_each(|c| tables::retire_chunk(tx, c))
        })?;
        let mut by_series: HashMap<i64, Vec<Arc<Chunk>>> = HashMap::new();
        for chunk in came {
            by_series.entry(chunk.series).or_default().push(chunk);
        }
        for (id, (series, gone)) in gone {
            let mut state = series.state();
            state.chunks.retain(|c| !gone.iter().any(|g| g.id == c.id));
            for chunk in by_series.remove(&id).unwrap_or_default() {
                self.gauges.chunk_came(&chunk);
                state.add_chunk(chunk);
            }
            drop(state);
            gone.iter().for_each(|c| self.gauges.chunk_went(c));
            self.retire(gone);
        }
        Ok(())
    }
}
