//! Sealing: what is in memory becomes chunks, and the log rows that stood for it go in the same transaction.

use super::catalog::Series;
use super::core::Core;
use super::lock;
use super::memory::Room;
use super::merge::{Merge, Source};
use super::store::{Cutter, Writing};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, TimeRange};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The head may grow to so many times `head_max` before writers wait.
const HEAD_FACTOR: u64 = 2;
/// How long a writer waits for room.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two tries of a sealing that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Wakes the sealing thread, and those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<BellState>,
    rung: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct BellState {
    wanted: bool,
    /// A writer waits for memory: what there is is sealed, however little.
    pressed: bool,
    stopped: bool,
    /// Why the last sealing failed.
    failed: Option<(Kind, String)>,
}

impl Bell {
    pub(super) fn ring(&self) {
        lock(&self.state).wanted = true;
        self.rung.notify_one();
    }
    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.rung.notify_all();
        self.room.notify_all();
    }
    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.state).stopped
    }
    /// Waits for a ring. `Some(true)`: a writer waits; `None`: the engine closes.
    fn wait(&self) -> Option<bool> {
        let mut state = lock(&self.state);
        while !state.wanted && !state.stopped {
            state = self.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.wanted = false;
        let pressed = std::mem::take(&mut state.pressed);
        (!state.stopped).then_some(pressed)
    }
    /// Wakes writers that wait for what others took more of than they needed.
    pub(super) fn room_came(&self) {
        self.room.notify_all();
    }
    fn sealed(&self, result: &Result<()>) {
        lock(&self.state).failed = result.as_ref().err().map(|e| (e.kind(), e.message().to_owned()));
        self.room.notify_all();
    }
    /// Waits before the next try; a stop ends the wait.
    fn pause(&self) {
        let mut state = lock(&self.state);
        state.wanted = true;
        let end = Instant::now() + RETRY_AFTER;
        while !state.stopped {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

pub(super) fn spawn(core: Arc<Core>) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("series-sealer".into())
        .spawn(move || {
            while let Some(pressed) = core.bell.wait() {
                if core.gauges.head_bytes.get() < core.head_max && !pressed {
                    continue;
                }
                if let Err(e) = core.seal() {
                    tracing::error!("the series in memory cannot be sealed: {e}");
                    core.bell.pause();
                }
            }
        })
        .map_err(|e| Error::io("the sealing thread", e))
}

impl Core {
    /// Holds a writer back while sealing does not keep up; gives it room for so many bytes.
    pub(super) fn wait_for_room(&self, bytes: u64) -> Result<Room> {
        if bytes > self.memory.written_max() {
            return Err(Error::limit(
                format!("the memory that the batch needs ({bytes} bytes)"),
                format!("{} bytes", self.memory.written_max()),
                "write it in several batches, or raise `series.embedded.memory_max` in shiphold.toml",
            ));
        }
        let mut waited = false;
        let end = Instant::now() + ROOM_WAIT_MAX;
        let mut state = lock(&self.bell.state);
        loop {
            if state.stopped {
                return Err(Error::new(Kind::Busy, "the series store is closed"));
            }
            let full = self.gauges.head_bytes.get() > self.head_max.saturating_mul(HEAD_FACTOR);
            let room = if full { None } else { self.memory.try_write(bytes) };
            if let Some(room) = room {
                return Ok(room);
            }
            if !std::mem::replace(&mut waited, true) {
                self.memory.note_wait();
            }
            state.pressed |= !full;
            if let Some((kind, why)) = &state.failed {
                return Err(Error::new(*kind, format!("rows in memory cannot be sealed: {why}"))
                    .hint("free space on the disk that holds the data folder, then write again"));
            }
            if Instant::now() >= end {
                return Err(Error::new(Kind::Busy, "sealing does not keep up with writing")
                    .hint("write again later, or raise `series.embedded.memory_max` in shiphold.toml"));
            }
            state.wanted = true;
            self.bell.rung.notify_one();
            let wait = Duration::from_millis(50);
            state = self.bell.room.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn seal(&self) -> Result<()> {
        let result = {
            let _structure = lock(&self.structure);
            self.seal_now()
        };
        self.bell.sealed(&result);
        result?;
        self.tidy_up();
        Ok(())
    }

    /// Seals all that was committed before; the caller holds `structure`.
    pub(super) fn seal_now(&self) -> Result<()> {
        let Some(frozen) = self.freeze() else { return Ok(()) };
        let result = self.seal_frozen(&frozen);
        if result.is_err() {
            // Frozen rows stay readable; the next try takes them and what came since.
            let mut commit = lock(&self.commit);
            for series in &frozen.series {
                if !std::mem::replace(&mut series.state().dirty, true) {
                    commit.dirty.push(series.clone());
                }
            }
            commit.log_bytes += frozen.log_bytes;
            commit.head_since.get_or_insert_with(Instant::now);
        }
        result
    }

    /// Sets aside what is in the heads; what is written from now on is not part of it.
    fn freeze(&self) -> Option<Frozen> {
        let mut commit = lock(&self.commit);
        let series = std::mem::take(&mut commit.dirty);
        if series.is_empty() {
            return None;
        }
        for s in &series {
            let mut state = s.state();
            state.freeze();
            state.dirty = false;
        }
        commit.head_since = None;
        Some(Frozen {
            series,
            through: commit.next_seq - 1,
            log_bytes: std::mem::take(&mut commit.log_bytes),
        })
    }

    fn seal_frozen(&self, frozen: &Frozen) -> Result<()> {
        let mut writing = Writing::new(self);
        for series in &frozen.series {
            let sources: Vec<Source> =
                series.state().frozen().iter().map(|r| Source::run(r.clone())).collect();
            let rows = sources.iter().map(Source::rows).sum();
            let mut cutter = Cutter::new(self, series.id, None, rows);
            let mut merge = Merge::new(series, sources, None, TimeRange::ALL).strict();
            while let Some(run) = merge.next(self, &Budget::default())? {
                cutter.push(run, &mut writing)?;
            }
            cutter.end(&mut writing)?;
        }
        let through = frozen.through;
        let chunks = writing.finish(|tx| {
            tx.prepare_cached("DELETE FROM log WHERE seq <= ?1")?.execute([through])?;
            Ok(())
        })?;
        let mut chunks = chunks.into_iter().peekable();
        for series in &frozen.series {
            let mut state = series.state();
            let runs = state.thaw();
            for run in &runs {
                self.gauges.head_rows.sub(run.len() as u64);
                self.gauges.head_bytes.sub(run.size_bytes() as u64);
            }
            self.memory.sealed(runs);
            while let Some(chunk) = chunks.next_if(|c| c.series == series.id) {
                self.gauges.chunk_came(&chunk);
                state.add_chunk(chunk);
            }
        }
        self.gauges.log_bytes.sub(frozen.log_bytes);
        Ok(())
    }
}

struct Frozen {
    series: Vec<Arc<Series>>,
    /// The last log row that it stands for.
    through: i64,
    log_bytes: u64,
}
