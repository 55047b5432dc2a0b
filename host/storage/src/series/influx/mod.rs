//! The InfluxDB 2 engine: a thin translation of [`SeriesEngine`] to a real server, and an [`Outbox`] before it.
//!
//! The `influxdb2` crate asks for health and organisations, and lists and makes buckets. Plain HTTP serves where the
//! crate falls short: its query reader panics on a reply that is not the CSV it expects, holds a reply of any size and
//! hides `Retry-After`; its writes are not compressed and hide it, too; its delete cuts times to whole seconds.
//!
//! What InfluxDB does otherwise, and what is done so that both engines give the same answers:
//! - it fixes a field's type per shard (a week), not per measurement: [`types`] refuses conflicts before they are sent;
//! - it gives a series back as one table per field: [`scan`] merges them into rows, a bounded page at a time;
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
mod outbox;
mod reply;
mod scan;
mod types;
mod write;

#[cfg(test)]
pub(super) mod fake_server;
#[cfg(test)]
mod influxd;
#[cfg(test)]
mod tests;

use super::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, FrameStream, Latest, Selector,
    SeriesEngine, SeriesInfo, SeriesKey, TimeRange, WriteBatch, WriteReport,
};
use crate::error::{Error, Kind, Result};
use crate::manifest::Influxdb2;
use crate::sqlite::Synchronous;
use crate::units::Span;
use answers::WriteAnswer;
use client::Client;
pub use outbox::Outbox;
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
        };
        Outbox::open(Arc::new(self), path, options)
    }

    /// Makes a bucket that a write needs.
    fn make_bucket(&self, bucket: &str) -> Result<()> {
        if self.create_buckets {
            return self.client.create_bucket(bucket);
        }
        Err(Error::not_found(format!("InfluxDB has no bucket `{bucket}`"))
            .hint("create it there, or set `create_buckets = true` in [series.influxdb2]"))
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

    /// Gives a bucket the retention of the manifest, once a start. What it fails for is no reason to refuse rows.
    fn keep(&self, bucket: &str) {
        let Some(span) = self.retention.get(bucket) else { return };
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept().contains(bucket) {
            return;
        }
        match self.client.set_retention(bucket, *span) {
            Ok(()) => {
                kept().insert(bucket.to_string());
            }
            Err(e) => {
                tracing::warn!(error = ?e, "the retention of a bucket could not be set: the next write tries again")
            }
        }
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

impl SeriesEngine for InfluxEngine {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        for (key, frame) in &batch.series {
            frame.validate()?;
            lines::check_names(key, frame)?;
        }
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

    fn delete(&self, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        let series = catalog::delete(&self.client, selector, range)?;
        self.types.forget_all();
        self.reached.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(DeleteReport { series, rows: None })
    }

    fn latest(&self, selector: &Selector) -> Result<Vec<Latest>> {
        catalog::latest(&self.client, selector)
    }

    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        catalog::list(&self.client, selector)
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

    /// Asks the server for its health: what it stores, it verifies itself.
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.client.health(budget)
    }
}
