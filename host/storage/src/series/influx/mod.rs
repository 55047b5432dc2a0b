//! The InfluxDB 2 engine: a thin translation of [`SeriesEngine`] to a real server, and an [`Outbox`] before it.
//!
//! The `influxdb2` crate asks for health and organisations, and makes buckets. Plain HTTP serves where the
//! crate falls short: its query reader panics on a reply that is not the CSV it expects, holds a reply of any size and
//! hides `Retry-After`; its writes are not compressed and hide it, too; its delete cuts times to whole seconds; its list of
//! buckets fails on a retention of more than 68 years.
//!
//! What InfluxDB does otherwise, and what is done so that both engines give the same answers:
//! - it fixes a field's type per shard (a week), not per measurement: [`types`] refuses conflicts before they are sent;
//! - it gives a series back as one table per field: [`scan`] merges them into rows, a bounded page at a time; windows of
//!   whose sums it is known that they are equal are left to it: [`summed`];
//! - its delete takes one measurement and includes the end: patterns are resolved first, ranges made half-open;
//! - it cannot hold some names ([`lines`]) and cannot give back a point at the very last nanosecond.
//!
//! A batch goes out in requests of bounded size, and InfluxDB itself is not atomic across shards: after an error
//! part of a batch may be stored. Writing it again is harmless.

mod answers;
mod buckets;
mod catalog;
mod client;
mod flux;
mod lines;
mod motion;
mod outbox;
mod reply;
mod scan;
mod summed;
mod times;
mod types;
mod write;

#[cfg(test)]
pub(crate) mod fake_server;
#[cfg(test)]
mod influxd;
#[cfg(test)]
mod tests;

use super::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, FrameStream, Latest, Selector,
    SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TimeStream, WriteBatch, WriteReport,
    pieces::{Even, Piece, PieceStream, Wanted},
};
use crate::error::{Error, Kind, Result};
use crate::manifest::Influxdb2;
use crate::sqlite::Synchronous;
use crate::units::Span;
use answers::WriteAnswer;
use client::Client;
pub(crate) use client::address;
use motion::Motion;
pub(crate) use outbox::MIGRATIONS;
pub use outbox::Outbox;
pub(crate) use outbox::{Held, at_rest as outbox_at_rest};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use types::Types;

/// How long figures of [`SeriesEngine::stats`] are reused: they cost the server a count over everything.
const STATS_AGE_MAX: Duration = Duration::from_secs(30);

/// Series in an InfluxDB 2 server.
#[derive(Debug)]
pub struct InfluxEngine {
    client: Arc<Client>,
    create_buckets: bool,
    retention: BTreeMap<String, Span>,
    /// Buckets whose retention was looked at since the start.
    kept: Mutex<HashSet<String>>,
    types: Types,
    /// What is being written, for who sums up by several questions.
    motion: Arc<Motion>,
    requests: AtomicU64,
    rows_written: AtomicU64,
    stats: Mutex<Option<(Instant, EngineStats)>>,
    /// Hashes of the series that a write has reached.
    reached: RwLock<HashSet<u64>>,
    /// Held by a write to a series that none has reached. While the server makes a bucket it answers other requests to it
    /// with 500, and while it makes a series, what another request has just written to it may not be found yet.
    first: Mutex<()>,
}

impl InfluxEngine {
    /// Checks the settings; the server is first asked when it is needed, so a host starts without it.
    pub fn open(config: &Influxdb2, token: String) -> Result<Self> {
        Ok(Self {
            client: Arc::new(Client::new(config, token.trim())?),
            create_buckets: config.create_buckets,
            retention: config.retention.clone(),
            kept: Mutex::default(),
            types: Types::default(),
            motion: Arc::default(),
            requests: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            stats: Mutex::new(None),
            reached: RwLock::default(),
            first: Mutex::new(()),
        })
    }

    /// The server behind an outbox in the data folder.
    pub fn behind_outbox(self, config: &Influxdb2, path: &Path) -> Result<Outbox> {
        let options = outbox::OutboxOptions {
            vfs: None,
            synchronous: Synchronous::Full,
            bytes_max: config.outbox_max.0,
            batch_wait: config.batch_wait.0,
            manual: false,
            clock: outbox::Clock::default(),
        };
        Outbox::open(Arc::new(self), path, options)
    }

    /// The same server, with every bucket as it is: for rows that a retention would refuse.
    pub(crate) fn without_retention(self) -> Self {
        Self { retention: BTreeMap::new(), ..self }
    }

    /// One try to send the lines of one request; makes the bucket where it may.
    fn send_once(
        &self,
        bucket: &str,
        request: &lines::Request,
        budget: &Budget,
    ) -> std::result::Result<Sent, (Error, Option<Duration>)> {
        let at_once = |e: Error| (e, None);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut answer = self.client.write(bucket, &request.body, budget).map_err(at_once)?;
        if matches!(answer, WriteAnswer::NoBucket) {
            self.make_bucket(bucket).map_err(at_once)?;
            answer = self.client.write(bucket, &request.body, budget).map_err(at_once)?;
        }
        Ok(match answer {
            WriteAnswer::Stored => Sent::Stored,
            WriteAnswer::Busy { error, after } => Sent::Busy { error, after },
            WriteAnswer::Partly { dropped, conflict, said } => {
                if let Some(conflict) = &conflict {
                    // Somebody else wrote this field: what is remembered about the measurement is stale.
                    self.types.forget(bucket, &conflict.measurement);
                }
                Sent::Partly { dropped: dropped.min(request.rows), conflict, said }
            }
            WriteAnswer::NoBucket => {
                return Err(at_once(Error::not_found(format!("InfluxDB has no bucket `{bucket}`"))));
            }
        })
    }

    /// Sends the lines of one request, several times to a server that is busy, and adds what became of them to `report`.
    fn send(&self, bucket: &str, request: &lines::Request, report: &mut WriteReport) -> Result<()> {
        let mut backoff = client::BACKOFF;
        for attempt in 1.. {
            match self.send_once(bucket, request, &Budget::default()).map_err(|(e, _)| e)? {
                Sent::Stored => report.written += request.rows,
                Sent::Partly { dropped, conflict, .. } => {
                    report.written += request.rows - dropped;
                    report.dropped += dropped;
                    if let Some(conflict) = conflict {
                        types::note(&mut report.conflicts, types::in_bucket(bucket, conflict));
                    }
                }
                Sent::Busy { error, after } => {
                    let after = after.unwrap_or_else(|| outbox::jittered(backoff));
                    if attempt >= client::TRIES_MAX || after > client::RETRY_AFTER_MAX {
                        return Err(error);
                    }
                    self.client.rest(after, &Budget::default())?;
                    backoff *= 2;
                    continue;
                }
            }
            break;
        }
        Ok(())
    }

    /// Hands the rows that are not refused on as requests of bounded size, bucket by bucket.
    fn send_batch<E>(
        &self,
        batch: &WriteBatch,
        refused: &[Option<Vec<bool>>],
        send: &mut dyn FnMut(&str, lines::Request) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let _turn = self.motion.write(batch);
        let mut buckets: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, (key, _)) in batch.series.iter().enumerate() {
            buckets.entry(&key.bucket).or_default().push(at);
        }
        for (bucket, series) in buckets {
            let mut out = lines::Lines::default();
            for at in series {
                let Some((key, frame)) = batch.series.get(at) else { continue };
                let refused = refused.get(at).and_then(Option::as_deref);
                out.add(key, frame, refused, &mut |request| send(bucket, request))?;
            }
            out.finish(&mut |request| send(bucket, request))?;
        }
        Ok(())
    }

    /// The fields of measurements and their types, as the server has them; makes the bucket where it may.
    fn load_types(&self, bucket: &str, measurements: &[&str]) -> Result<Vec<types::Fields>> {
        let loaded = match types::load(&self.client, bucket, measurements) {
            Err(e) if e.kind() == Kind::NotFound => {
                self.make_bucket(bucket)?;
                types::load(&self.client, bucket, measurements)
            }
            other => other,
        }?;
        self.keep(bucket);
        Ok(loaded)
    }

    fn write_checked(&self, batch: &WriteBatch) -> Result<WriteReport> {
        let admitted = self.types.admit(batch, |bucket, measurements| {
            Ok(types::Loaded::asked(self.load_types(bucket, measurements)?))
        })?;
        let mut report = WriteReport { written: 0, dropped: admitted.dropped, conflicts: admitted.conflicts };
        self.send_batch(batch, &admitted.refused, &mut |bucket, request| {
            self.send(bucket, &request, &mut report)
        })?;
        self.rows_written.fetch_add(report.written, Ordering::Relaxed);
        Ok(report)
    }
}

/// What became of one request of lines.
#[derive(Debug)]
enum Sent {
    Stored,
    /// Some were refused, by the server's own count.
    Partly {
        dropped: u64,
        conflict: Option<answers::Conflict>,
        said: String,
    },
    Busy {
        error: Error,
        after: Option<Duration>,
    },
}

fn hash(key: &SeriesKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Is every frame well formed, under names that the server can hold?
fn check(batch: &WriteBatch) -> Result<()> {
    for (key, frame) in &batch.series {
        frame.validate().map_err(|e| e.context(key))?;
        lines::check_names(key, frame)?;
    }
    Ok(())
}

impl SeriesEngine for InfluxEngine {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        check(&batch)?;
        let series: Vec<u64> = batch.series.iter().map(|(key, _)| hash(key)).collect();
        let known = {
            let reached = self.reached.read().unwrap_or_else(PoisonError::into_inner);
            series.iter().all(|s| reached.contains(s))
        };
        let alone = (!known).then(|| self.first.lock().unwrap_or_else(PoisonError::into_inner));
        let result = self.write_checked(&batch);
        if alone.is_some() && result.is_ok() {
            self.reached.write().unwrap_or_else(PoisonError::into_inner).extend(series);
        }
        drop(alone);
        if result.is_err() {
            // What was remembered as written may not be there.
            for (key, _) in &batch.series {
                self.types.forget(&key.bucket, &key.measurement);
            }
        }
        result
    }

    fn admit(&self, batch: &WriteBatch) -> Result<()> {
        check(batch)
    }

    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        check(batch)?;
        self.types.take(batch, |bucket, measurements| {
            Ok(types::Loaded::asked(self.load_types(bucket, measurements)?))
        })
    }

    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        budget.check()?;
        Ok(Box::new(scan::Scan::new(self.client.clone(), key, range, fields, budget)))
    }

    /// Windows whose sums the server gives to the bit are left to it; see [`summed`].
    fn scan_pieces(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        wanted: Wanted,
        budget: &Budget,
    ) -> Result<PieceStream> {
        let equal = !wanted.fields.is_empty() && wanted.fields.iter().all(summed::is_equal);
        let summed = |windows: &Even| equal && summed::is_gain(&key.measurement, *windows);
        let Some(windows) = wanted.windows.filter(summed) else {
            return Ok(Box::new(self.scan(key, range, fields, budget)?.map(|f| f.map(Piece::Rows))));
        };
        budget.check()?;
        let (client, motion) = (self.client.clone(), self.motion.clone());
        let of = wanted.fields;
        Ok(Box::new(summed::Summed::new(client, motion, key, range, fields, windows, of, budget)))
    }

    fn times(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<TimeStream> {
        budget.check()?;
        Ok(Box::new(times::Times::new(self.client.clone(), key, range, budget)))
    }

    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        budget.check()?;
        let _turn = self.motion.delete(range);
        let series = catalog::delete(&self.client, selector, range)?;
        self.types.forget_all();
        self.reached.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(DeleteReport { series, rows: None })
    }

    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        catalog::latest(&self.client, selector, budget)
    }

    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        catalog::list(&self.client, selector)
    }

    fn choose(&self, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
        budget.check()?;
        catalog::choose(&self.client, selector, budget)
    }

    fn retentions(&self) -> Result<BTreeMap<String, Option<Span>>> {
        Ok(self.client.buckets(&Budget::default())?.into_iter().map(|b| (b.name, b.keep)).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "influxdb2", durable_on_return: true, maintained_here: false }
    }

    fn stats(&self) -> Result<EngineStats> {
        let mut cached = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let (series, rows) = match *cached {
            Some((at, known)) if at.elapsed() < STATS_AGE_MAX => (known.series, known.rows),
            _ => catalog::totals(&self.client)?,
        };
        let fresh = EngineStats {
            series,
            rows,
            commits: self.requests.load(Ordering::Relaxed),
            rows_written: self.rows_written.load(Ordering::Relaxed),
            ..EngineStats::default()
        };
        if !cached.is_some_and(|(at, _)| at.elapsed() < STATS_AGE_MAX) {
            *cached = Some((Instant::now(), fresh));
        }
        Ok(fresh)
    }

    fn seal(&self) -> Result<()> {
        Ok(())
    }

    fn compact(&self) -> Result<CompactReport> {
        Ok(CompactReport::default())
    }

    /// Asks the server for its health, and whether its buckets have the retention of the manifest: what it stores, it
    /// verifies itself.
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        let mut faults = self.client.health(budget)?;
        if faults.is_empty() {
            faults = self.strayed(budget)?;
        }
        Ok(faults)
    }
}
