//! Compaction: overlapping chunks are merged, small neighbours joined; the swap is one transaction. Running
//! it again does nothing more.

use super::bounds::CHUNK_RAW_BYTES_MAX;
use super::catalog::Series;
use super::chunk::Chunk;
use super::core::Core;
use super::merge::{Merge, Source};
use super::store::{Cutter, Writing};
use super::{lock, read, tables};
use crate::error::{Kind, Result};
use crate::series::{Budget, CompactReport, Selector, SeriesKey, TimeRange};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one call of `maintain` may spend on compaction.
const STEP_MAX: Duration = Duration::from_millis(200);
/// Free pages that are given back in one transaction.
const PAGES_PER_COMMIT: u32 = 256;
/// Transactions of it in one call of `maintain`.
const SHRINKS_PER_STEP: u32 = 4;
/// In the background, neighbours are joined when there are so many, or when none is most of the whole: a
/// chunk that grows row by row is not rewritten each time.
const JOIN_COUNT: usize = 8;

/// The background compaction: where it stands.
#[derive(Debug)]
pub(super) struct Pass {
    /// The last series that was looked at; `None`: no pass goes on.
    after: Option<SeriesKey>,
    running: bool,
    ended: Instant,
}

impl Pass {
    pub(super) fn new() -> Self {
        Self { after: None, running: false, ended: Instant::now() }
    }
}

impl Core {
    /// Everything that can be merged is; free pages go back to the file system; the WAL is cut.
    pub(super) fn compact(&self) -> Result<CompactReport> {
        let pass = lock(&self.pass);
        // What is due to be sealed comes first: chunks that came behind the pass would be left for the next one.
        if self.gauges.head_bytes.get() >= self.head_max {
            self.seal()?;
        }
        let before = self.stats();
        for series in self.select(&Selector::default()) {
            self.compact_series(&series, true)?;
            if self.gauges.head_bytes.get() >= self.head_max {
                self.seal()?;
            }
        }
        drop(pass);
        self.collect_garbage()?;
        while self.shrink(0)? {}
        self.db.checkpoint()?;
        let after = self.stats();
        Ok(CompactReport {
            chunks_before: before.chunks,
            chunks_after: after.chunks,
            bytes_before: before.chunk_bytes,
            bytes_after: after.chunk_bytes,
        })
    }

    pub(super) fn maintain(&self) -> Result<()> {
        if self.bell.is_stopped() {
            return Ok(());
        }
        let old = lock(&self.commit).head_since.is_some_and(|t| t.elapsed() >= self.seal_after.0);
        if old || self.gauges.head_bytes.get() >= self.head_max {
            // If another thread seals, there is nothing to do here.
            if let Ok(structure) = self.structure.try_lock() {
                let result = self.seal_now();
                drop(structure);
                result?;
            }
        }
        self.collect_garbage()?;
        self.compact_some()
    }

    fn compact_some(&self) -> Result<()> {
        let Ok(mut pass) = self.pass.try_lock() else { return Ok(()) };
        if self.compact_every.0.is_zero() || (!pass.running && pass.ended.elapsed() < self.compact_every.0) {
            return Ok(());
        }
        pass.running = true;
        let begin = Instant::now();
        while begin.elapsed() < STEP_MAX {
            let next = read(&self.catalog).after(pass.after.as_ref());
            let Some(series) = next else {
                // Room that the log will need again is kept.
                let keep = self.head_max / u64::from(super::open::PAGE_BYTES);
                for _ in 0..SHRINKS_PER_STEP {
                    if !self.shrink(keep)? {
                        *pass = Pass::new();
                        break;
                    }
                }
                return Ok(());
            };
            pass.after = Some(series.key.clone());
            self.compact_series(&series, false)?;
        }
        Ok(())
    }

    /// Gives some free pages back; false: there are no more than `keep`.
    fn shrink(&self, keep: u64) -> Result<bool> {
        self.db.write(|tx| {
            let free: u64 =
                tx.query_row("PRAGMA freelist_count", [], |r| r.get::<_, i64>(0))?.cast_unsigned();
            let pages = free.saturating_sub(keep).min(u64::from(PAGES_PER_COMMIT));
            if pages == 0 {
                return Ok(false);
            }
            // Each step frees a page.
            let mut vacuum = tx.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            let left: u64 =
                tx.query_row("PRAGMA freelist_count", [], |r| r.get::<_, i64>(0))?.cast_unsigned();
            Ok(left < free)
        })
    }

    fn compact_series(&self, series: &Arc<Series>, all: bool) -> Result<()> {
        let chunks: Vec<Arc<Chunk>> = {
            let state = series.state();
            state.chunks.iter().filter(|c| !c.is_bad()).cloned().collect()
        };
        if chunks.len() < 2 {
            return Ok(());
        }
        for group in plan(chunks, self.chunk_rows, all) {
            match self.join(series, group) {
                // The damaged chunk is out; the next pass joins the others.
                Err(e) if e.kind() == Kind::Corrupt => tracing::warn!("{} is not compacted: {e}", series.key),
                other => other?,
            }
            self.collect_garbage()?;
        }
        Ok(())
    }

    fn join(&self, series: &Arc<Series>, mut group: Vec<Arc<Chunk>>) -> Result<()> {
        group.sort_by_key(|c| (c.version, c.id));
        let version = group.last().map(|c| c.version);
        let sources: Vec<Source> = group.iter().map(|c| Source::chunk(c.clone())).collect();
        let rows = sources.iter().map(Source::rows).sum();
        let mut writing = Writing::new(self);
        let mut cutter = Cutter::new(series.id, version, rows, self.chunk_rows);
        let mut merge = Merge::new(series, sources, None, TimeRange::ALL).strict();
        while let Some(run) = merge.next(self, &Budget::default())? {
            cutter.push(run, &mut writing)?;
        }
        cutter.end(&mut writing)?;
        drop(merge);

        let _structure = lock(&self.structure);
        let there = {
            let state = series.state();
            group.iter().all(|c| !c.is_bad() && state.chunks.iter().any(|s| s.id == c.id))
        };
        if !there {
            // A delete came between: what was merged is out of date.
            return Ok(());
        }
        let joined = writing.finish(|tx| group.iter().try_for_each(|c| tables::retire_chunk(tx, c)))?;
        let mut state = series.state();
        state.chunks.retain(|c| !group.iter().any(|g| g.id == c.id));
        for chunk in joined {
            self.gauges.chunk_came(&chunk);
            state.add_chunk(chunk);
        }
        drop(state);
        group.iter().for_each(|c| self.gauges.chunk_went(c));
        self.retire(group);
        Ok(())
    }
}

/// Which chunks to merge with each other. `all`: whatever makes fewer of them.
fn plan(mut chunks: Vec<Arc<Chunk>>, chunk_rows: usize, all: bool) -> Vec<Vec<Arc<Chunk>>> {
    chunks.sort_by_key(|c| (c.min, c.version));
    // Chunks that overlap, directly or through others, belong together.
    let mut clusters: Vec<Vec<Arc<Chunk>>> = Vec::new();
    let mut until = i64::MIN;
    for chunk in chunks {
        let max = chunk.max;
        match clusters.last_mut() {
            Some(cluster) if chunk.min <= until => cluster.push(chunk),
            _ => clusters.push(vec![chunk]),
        }
        until = until.max(max);
    }
    let rows = |c: &[Arc<Chunk>]| c.iter().map(|c| c.rows as usize).sum::<usize>();
    let bytes = |c: &[Arc<Chunk>]| c.iter().map(|c| c.raw_bytes).sum::<u64>();
    let mut groups: Vec<Vec<Arc<Chunk>>> = Vec::new();
    for cluster in clusters {
        let fits = groups.last().is_some_and(|g| {
            rows(g) + rows(&cluster) <= chunk_rows && bytes(g) + bytes(&cluster) <= CHUNK_RAW_BYTES_MAX as u64
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => group.extend(cluster),
            None => groups.push(cluster),
        }
    }
    groups.retain(|group| {
        let overlap = group.windows(2).any(|w| matches!(w, [a, b] if a.overlaps(b)));
        let largest = group.iter().map(|c| c.rows as usize).max().unwrap_or(0);
        let pays = all || group.len() >= JOIN_COUNT || largest * 2 <= rows(group);
        group.len() > 1 && (overlap || pays)
    });
    groups
}
