//! Chunks on their way into the file: rows are cut into chunks, encoded, and their data written ahead in
//! bounded transactions; the rows that own them come last, in one.

use super::chunk::{self, Chunk, Sealed};
use super::core::Core;
use super::run::Run;
use super::tables;
use crate::error::Result;
use crate::sqlite::Tx;
use std::sync::Arc;

/// Encoded bytes that wait in memory.
pub(super) const AHEAD_BYTES_MAX: usize = 4 << 20;

/// Chunks that are being written. What is not finished is given up.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    core: &'a Core,
    waiting: Vec<Sealed>,
    waiting_bytes: usize,
    /// Chunks whose data is in the file already, and their statistics.
    ahead: Vec<(Chunk, Vec<u8>)>,
    finished: bool,
}

impl<'a> Writing<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core, waiting: Vec::new(), waiting_bytes: 0, ahead: Vec::new(), finished: false }
    }

    pub(super) fn add(&mut self, series: i64, version: Option<i64>, run: &Run) -> Result<()> {
        let id = self.core.new_chunk_id();
        let sealed = chunk::seal(series, id, version.unwrap_or(id), run)?;
        self.waiting_bytes += sealed.body.len();
        self.waiting.push(sealed);
        if self.waiting_bytes > AHEAD_BYTES_MAX { self.write_ahead() } else { Ok(()) }
    }

    /// Of encoded chunks that are not in the file yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The statistics of its chunks of a series.
    pub(super) fn statistics(&self, series: i64) -> impl Iterator<Item = &[u8]> {
        let waiting = self.waiting.iter().map(|s| (&s.chunk, &s.stats));
        let all = self.ahead.iter().map(|(chunk, stats)| (chunk, stats)).chain(waiting);
        all.filter(move |(chunk, _)| chunk.series == series).map(|(_, stats)| stats.as_slice())
    }

    /// Finishes the chunks of another with its own.
    pub(super) fn take_over(&mut self, mut other: Self) {
        self.waiting.append(&mut other.waiting);
        self.waiting_bytes += std::mem::take(&mut other.waiting_bytes);
        self.ahead.append(&mut other.ahead);
    }

    fn write_ahead(&mut self) -> Result<()> {
        let waiting = &self.waiting;
        self.core.store(|tx| {
            for sealed in waiting {
                tables::insert_sealed(tx, sealed)?;
                tables::disown(tx, sealed.chunk.id)?;
            }
            Ok(())
        })?;
        self.ahead.extend(self.waiting.drain(..).map(|s| (s.chunk, s.stats)));
        self.waiting_bytes = 0;
        Ok(())
    }

    /// One transaction: the chunks become owned, and what else `f` does. Gives the chunks, those written ahead first, else in order.
    pub(super) fn finish(mut self, f: impl FnOnce(&Tx<'_>) -> Result<()>) -> Result<Vec<Arc<Chunk>>> {
        let (ahead, waiting) = (&self.ahead, &self.waiting);
        self.core.store(|tx| {
            for (chunk, stats) in ahead {
                tables::own(tx, chunk.id)?;
                tables::insert_chunk(tx, chunk, stats)?;
            }
            for sealed in waiting {
                tables::insert_sealed(tx, sealed)?;
                tables::insert_chunk(tx, &sealed.chunk, &sealed.stats)?;
            }
            f(tx)
        })?;
        self.finished = true;
        let ahead = self.ahead.drain(..).map(|c| c.0);
        Ok(ahead.chain(self.waiting.drain(..).map(|s| s.chunk)).map(Arc::new).collect())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody holds them: the next collection takes their data.
            self.core.retire(self.ahead.drain(..).map(|c| Arc::new(c.0)));
        }
    }
}

/// Cuts ascending rows into chunks of about the same size.
#[derive(Debug)]
pub(super) struct Cutter {
    series: i64,
    version: Option<i64>,
    rows_each: usize,
    bytes_max: u64,
    pending: Run,
}

impl Cutter {
    /// `rows`: an upper bound of the rows that come. `version: None`: each chunk's own id.
    pub(super) fn new(core: &Core, series: i64, version: Option<i64>, rows: usize) -> Self {
        let chunks = rows.div_ceil(core.chunk_rows).max(1);
        let rows_each = rows.div_ceil(chunks).max(1);
        Self { series, version, rows_each, bytes_max: core.chunk_bytes, pending: Run::default() }
    }

    pub(super) fn push(&mut self, run: Run, to: &mut Writing<'_>) -> Result<()> {
        self.pending.append(run);
        while self.pending.len() >= self.rows_each {
            let rest = self.pending.split_off(self.rows_each);
            self.write(to)?;
            self.pending = rest;
        }
        // Long strings and many fields fill a chunk before its rows do.
        while self.pending.size_bytes() as u64 > self.bytes_max {
            let half = self.pending.len() / 2;
            if half == 0 {
                break;
            }
            let rest = self.pending.split_off(half);
            self.write(to)?;
            self.pending = rest;
        }
        Ok(())
    }

    pub(super) fn end(mut self, to: &mut Writing<'_>) -> Result<()> {
        self.write(to)
    }

    fn write(&mut self, to: &mut Writing<'_>) -> Result<()> {
        let mut run = std::mem::take(&mut self.pending);
        run.tidy();
        self.cut(run, to)
    }

    /// One chunk, or several of as many bytes as one may have.
    fn cut(&self, mut run: Run, to: &mut Writing<'_>) -> Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        if run.len() == 1 || run.size_bytes() as u64 <= self.bytes_max {
            return to.add(self.series, self.version, &run);
        }
        let rest = run.split_off(run.len() / 2);
        self.cut(run, to)?;
        self.cut(rest, to)
    }
}
