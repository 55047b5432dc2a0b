//! What the parts of the engine share: the file, the catalogue, the locks, the counters.

use super::body::{self, Loaded, Stored};
use super::catalog::{Catalog, Series};
use super::chunk::{self, Chunk, Decoding, Wanted};
use super::commit::{Commit, Job};
use super::compact::Pass;
use super::crew::Crew;
use super::memory::{Held, Memory};
use super::run::Run;
use super::seal::Bell;
use super::wal::WalLength;
use super::{lock, read, tables};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, EngineStats, FieldType, Selector, SeriesInfo};
use crate::sqlite::Database;
use crate::units::Span;
use rusqlite::blob::Blob;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// Retired chunks whose data goes in one transaction.
const GARBAGE_PER_COMMIT: usize = 64;

/// Bodies of chunks that are read at once: of longer ones what is needed is read in place.
const SHORT_BYTES_MAX: u32 = 16 << 10;

/// The body of a chunk in the file.
enum Body<'a> {
    Short(Vec<u8>),
    Long(Blob<'a>, usize),
}

impl Stored for Body<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Short(bytes) => bytes.len(),
            Self::Long(_, len) => *len,
        }
    }
    fn read(&self, at: usize, len: usize) -> Result<Vec<u8>> {
        match self {
            Self::Short(bytes) => bytes.as_slice().read(at, len),
            Self::Long(blob, _) => {
                let mut out = vec![0; len];
                blob.read_at_exact(&mut out, at)?;
                Ok(out)
            }
        }
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    pub(super) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
    pub(super) fn get(&self) -> u64 {
        // An add and a sub of two threads may be seen in either order.
        let value = self.0.load(Ordering::Relaxed);
        if value > u64::MAX / 2 { 0 } else { value }
    }
}

#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Head and frozen.
    pub head_rows: Gauge,
    pub head_bytes: Gauge,
    pub chunks: Gauge,
    pub chunk_rows: Gauge,
    pub chunk_bytes: Gauge,
    pub log_bytes: Gauge,
    pub quarantined: Gauge,
    pub commits: Gauge,
    pub rows_written: Gauge,
}

impl Gauges {
    pub(super) fn chunk_came(&self, chunk: &Chunk) {
        self.chunks.add(1);
        self.chunk_rows.add(u64::from(chunk.rows()));
        self.chunk_bytes.add(u64::from(chunk.bytes));
    }
    pub(super) fn chunk_went(&self, chunk: &Chunk) {
        self.chunks.sub(1);
        self.chunk_bytes.sub(u64::from(chunk.bytes));
        if chunk.is_bad() {
            self.quarantined.sub(1);
        } else {
            self.chunk_rows.sub(u64::from(chunk.rows()));
        }
    }
}

#[derive(Debug)]
pub(super) struct Core {
    pub db: Database,
    pub head_max: u64,
    pub chunk_rows: usize,
    /// Bytes in memory of one chunk's values: a chunk must fit, decoded, beside others.
    pub chunk_bytes: u64,
    pub seal_after: Span,
    pub compact_every: Span,
    pub series_max: u64,
    pub catalog: RwLock<Catalog>,
    /// Batches that wait for a commit.
    pub queue: Mutex<VecDeque<Job>>,
    /// Held by the one thread that commits.
    pub commit: Mutex<Commit>,
    /// Held while chunks come and go.
    pub structure: Mutex<()>,
    /// Held while a compaction goes on.
    pub pass: Mutex<Pass>,
    /// Chunks that were replaced; their data goes when no scan holds them.
    pub retired: Mutex<Vec<Arc<Chunk>>>,
    pub next_chunk: AtomicI64,
    pub gauges: Gauges,
    pub bell: Bell,
    pub wal: WalLength,
    pub crew: Crew,
    pub memory: Arc<Memory>,
}

impl Core {
    pub(super) fn new_chunk_id(&self) -> i64 {
        self.next_chunk.fetch_add(1, Ordering::Relaxed)
    }

    /// Reads and decodes a whole chunk, once there is room for it. [`Kind::Corrupt`] says that it is damaged.
    pub(super) fn read_chunk(&self, chunk: &Chunk, types: &[Option<FieldType>]) -> Result<(Run, Held)> {
        let held = self.memory.decode(chunk.decoding_bytes(), &Budget::default())?;
        Ok((self.begin_chunk(chunk, types, Wanted::ALL)?.finish()?, held))
    }

    /// Reads a chunk and begins to decode it, for whoever has room for it.
    pub(super) fn begin_chunk(
        &self,
        chunk: &Chunk,
        types: &[Option<FieldType>],
        wanted: Wanted<'_>,
    ) -> Result<Decoding> {
        chunk::begin(self.load(chunk, wanted)?, chunk, types, wanted, &self.crew)
    }

    fn load(&self, chunk: &Chunk, wanted: Wanted<'_>) -> Result<Loaded> {
        self.body(chunk.id, |stored| body::load(stored, chunk, wanted))
    }

    /// The whole body of a chunk.
    pub(super) fn fetch(&self, id: i64) -> Result<Vec<u8>> {
        self.body(id, |body| body.read(0, body.len()))
    }

    fn body<T>(&self, id: i64, f: impl FnOnce(&Body<'_>) -> Result<T>) -> Result<T> {
        self.db
            .read(|c| {
                let mut select = c.prepare_cached(
                    "SELECT length(body), iif(length(body) <= ?2, body, NULL) FROM chunk_data WHERE id = ?1",
                )?;
                let (len, short) = select.query_row((id, SHORT_BYTES_MAX), |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
                })?;
                match short {
                    Some(bytes) => f(&Body::Short(bytes)),
                    None => {
                        let blob = c.blob_open("main", "chunk_data", "body", id, true)?;
                        f(&Body::Long(blob, usize::try_from(len).unwrap_or(0)))
                    }
                }
            })
            .map_err(|e| match e.kind() {
                Kind::NotFound => Error::corrupt("its data is missing"),
                _ => e,
            })
    }

    /// Leaves a damaged chunk out from here on, and says so once.
    pub(super) fn quarantine(&self, series: &Series, chunk: &Chunk, why: &Error) {
        if !chunk.mark_bad() {
            return;
        }
        tracing::error!(
            "chunk {} of {} is damaged and left out: {why}; run `shiphold verify` and restore the newest backup",
            chunk.id,
            series.key()
        );
        self.memory.cache.forget(chunk.id);
        self.gauges.quarantined.add(1);
        self.gauges.chunk_rows.sub(u64::from(chunk.rows()));
        series.state().set_latest(None);
    }

    /// Takes chunks that were replaced.
    pub(super) fn retire(&self, chunks: impl IntoIterator<Item = Arc<Chunk>>) {
        lock(&self.retired).extend(chunks.into_iter().inspect(|c| self.memory.cache.forget(c.id)));
    }

    /// Gives up the data of retired chunks that no scan holds.
    pub(super) fn collect_garbage(&self) -> Result<()> {
        loop {
            // Whoever holds one took it before it was retired, so a count of one stays one.
            let free: Vec<Arc<Chunk>> = {
                let mut retired = lock(&self.retired);
                let mut room = GARBAGE_PER_COMMIT;
                retired
                    .extract_if(.., |c| {
                        let free = room > 0 && Arc::strong_count(c) == 1;
                        room -= usize::from(free);
                        free
                    })
                    .collect()
            };
            if free.is_empty() {
                return Ok(());
            }
            let done = self.db.write(|tx| free.iter().try_for_each(|c| tables::delete_data(tx, c.id)));
            if let Err(e) = done {
                self.retire(free);
                return Err(e);
            }
        }
    }

    /// [`Core::collect_garbage`] after work that is done and durable: that it cannot be tidied up after on a full disk
    /// must not make it look as if it had failed. The next one tidies up for both.
    pub(super) fn tidy_up(&self) {
        if let Err(e) = self.collect_garbage() {
            tracing::warn!(error = %e, "the data of replaced chunks could not be given up yet");
        }
    }

    pub(super) fn select(&self, selector: &Selector) -> Vec<Arc<Series>> {
        read(&self.catalog).select(selector)
    }

    pub(super) fn list(&self, selector: &Selector) -> Vec<SeriesInfo> {
        self.select(selector).iter().filter_map(|s| info(s)).collect()
    }

    pub(super) fn stats(&self) -> EngineStats {
        let (g, memory) = (&self.gauges, self.memory.counted());
        EngineStats {
            series: read(&self.catalog).len() as u64,
            rows: g.chunk_rows.get() + g.head_rows.get(),
            head_rows: g.head_rows.get(),
            head_bytes: g.head_bytes.get(),
            chunks: g.chunks.get(),
            chunk_bytes: g.chunk_bytes.get(),
            quarantined: g.quarantined.get(),
            log_bytes: g.log_bytes.get(),
            commits: g.commits.get(),
            rows_written: g.rows_written.get(),
            memory_max: memory.max,
            memory_bytes: memory.sum,
            memory_peak: memory.peak,
            memory_waits: memory.waits,
            decoded_bytes: memory.decoded,
            pinned_bytes: memory.pinned,
            cache_bytes: memory.cached,
            cache_hits: self.memory.cache.hits(),
            cache_misses: self.memory.cache.misses(),
            ..EngineStats::default()
        }
    }
}

/// What the list says of a series; nothing once its last row is deleted.
fn info(series: &Series) -> Option<SeriesInfo> {
    // The locks of fields come before those of series.
    let names = series.measurement.fields();
    let state = series.state();
    if !state.has_rows() {
        return None;
    }
    let chunks = || state.chunks.iter().filter(|c| !c.is_bad());
    let rows = chunks().map(|c| u64::from(c.rows())).sum::<u64>()
        + state.runs().map(|r| r.len() as u64).sum::<u64>();
    let min = chunks().map(|c| c.min).chain(state.runs().filter_map(|r| r.min())).min();
    let max = chunks().map(|c| c.max).chain(state.runs().filter_map(|r| r.max())).max();
    let fields = state.fields.iter().filter_map(|f| names.name(*f)).map(|(n, t)| (n.to_owned(), t)).collect();
    Some(SeriesInfo { key: series.key(), fields, rows, min_time: min, max_time: max })
}
