//! Compaction: overlapping chunks are merged, small neighbours joined; the swap is one transaction. Running
//! it again does nothing more.

use super::catalog::Series;
use super::chunk::Chunk;
use super::core::Core;
use super::join::Joins;
use super::{lock, read};
use crate::error::Result;
use crate::series::{CompactReport, Selector};
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
/// Passes over the series: the first takes overlaps away, each later one leaves fewer chunks.
const PASSES_MAX: usize = 8;

/// The background compaction: where it stands.
#[derive(Debug)]
pub(super) struct Pass {
    /// The last series that was looked at; `None`: no pass goes on.
    after: Option<Arc<Series>>,
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
        let mut left = self.select(&Selector::default());
        // Chunks that overlapped are fewer rows than they said, and so may fit with their neighbours only after they
        // were merged.
        for _ in 0..PASSES_MAX {
            let mut joins = Joins::new(self);
            let mut again = Vec::new();
            for series in left {
                if self.compact_series(&series, true, &mut joins)? {
                    again.push(series);
                }
                if self.gauges.head_bytes.get() >= self.head_max {
                    self.seal()?;
                }
            }
            joins.flush()?;
            left = again;
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
        let mut joins = Joins::new(self);
        while begin.elapsed() < STEP_MAX {
            let next = read(&self.catalog).after(pass.after.as_deref());
            let Some(series) = next else {
                joins.flush()?;
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
            self.compact_series(&series, false, &mut joins)?;
            pass.after = Some(series);
        }
        joins.flush()
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

    /// Joins what there is to join of a series; false: there is nothing.
    fn compact_series(&self, series: &Arc<Series>, all: bool, joins: &mut Joins<'_>) -> Result<bool> {
        let chunks: Vec<Arc<Chunk>> = series.state().chunks.iter().filter(|c| !c.is_bad()).cloned().collect();
        let groups =
            if chunks.len() < 2 { Vec::new() } else { plan(chunks, self.chunk_rows, self.chunk_bytes, all) };
        let any = !groups.is_empty();
        groups.into_iter().try_for_each(|group| joins.add(series, group))?;
        Ok(any)
    }
}

/// Which chunks to merge with each other. `all`: whatever makes fewer of them.
fn plan(mut chunks: Vec<Arc<Chunk>>, chunk_rows: usize, chunk_bytes: u64, all: bool) -> Vec<Vec<Arc<Chunk>>> {
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
    let rows = |c: &[Arc<Chunk>]| c.iter().map(|c| c.rows() as usize).sum::<usize>();
    let bytes = |c: &[Arc<Chunk>]| c.iter().map(|c| c.raw_bytes).sum::<u64>();
    let mut groups: Vec<Vec<Arc<Chunk>>> = Vec::new();
    for cluster in clusters {
        let fits = groups.last().is_some_and(|g| {
            rows(g) + rows(&cluster) <= chunk_rows && bytes(g) + bytes(&cluster) <= chunk_bytes
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => group.extend(cluster),
            None => groups.push(cluster),
        }
    }
    groups.retain(|group| {
        let overlap = group.windows(2).any(|w| matches!(w, [a, b] if a.overlaps(b)));
        let largest = group.iter().map(|c| c.rows() as usize).max().unwrap_or(0);
        let pays = all || group.len() >= JOIN_COUNT || largest * 2 <= rows(group);
        group.len() > 1 && (overlap || pays)
    });
    groups
}
