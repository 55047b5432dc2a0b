//! The durable outbox before InfluxDB: an acknowledged write is in a local file, then it is delivered in order.
//!
//! - A write is acknowledged when its records are synced ([`commit`]). A thread sends them in their order, many in one
//!   request, and forgets a record only after the server acknowledged it ([`deliver`]): after a loss of power or an outage some
//!   are sent again, which changes nothing, because the server keeps one value per series, time and field.
//! - Reads lay what waits over what the server has ([`overlay`]). If the server does not answer, they fail: half an
//!   answer is none.
//! - A delete waits until everything that was acknowledged before it is delivered, and then goes to the server itself: only
//!   there can it be told what it chooses. In an outage it is refused.
//! - Types of fields are checked before a write is acknowledged, with what is known; during an outage not all is. Rows that the
//!   server then refuses are set aside in the file, named in the log, in the figures and by `verify`, and hold up nobody. A
//!   delete of their time takes them, too.
//! - What waits and what is set aside is bounded; when it is full, writes are refused as busy.
//! - A backup holds deliveries and deletes still ([`still`]): server and file together are one instant.
//!
//! One thing no client can exclude: a request that was given up may reach a server that hung and be carried out after later ones.
//!
//! Locks are taken in this order: `delivering` or `next_seq`, `queue`, `progress`, `head`.

pub(crate) mod at_rest;
mod clock;
mod commit;
mod core;
mod deliver;
mod head;
mod overlay;
mod still;
mod tables;
mod target;
#[cfg(test)]
mod tests;

pub(super) use self::core::OutboxOptions;
pub(super) use clock::Clock;
pub(super) use deliver::jittered;
pub(crate) use still::Held;
pub(crate) use tables::MIGRATIONS;
pub(super) use target::Target;

use self::core::Core;
use crate::error::{Error, Kind, Result};
use crate::locks::{lock, read, write};
use crate::series::record;
use crate::series::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, Frame, FrameStream, Latest,
    Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TimeStream, WriteBatch, WriteReport,
    pieces::{Piece, PieceStream, Wanted},
};
use crate::units::Span;
use head::Waiting;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of waiting rows that one read fetches from the file.
const FETCHED_BYTES_MAX: usize = 256 << 20;
/// How long a list waits for deliveries before it lays over what waits.
const LIST_WAIT_MAX: Duration = Duration::from_secs(2);
/// What was set aside that `verify` names one by one.
const NAMED_MAX: u64 = 100;

/// An InfluxDB server behind an outbox.
#[derive(Debug)]
pub struct Outbox {
    core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Outbox {
    /// Opens the file and begins to deliver what is in it.
    pub(super) fn open(target: Arc<dyn Target>, path: &Path, options: OutboxOptions) -> Result<Self> {
        let manual = options.manual;
        let core = Arc::new(Core::open(target, path, options)?);
        let thread = match manual {
            true => None,
            false => {
                let core = core.clone();
                let thread = std::thread::Builder::new().name("outbox".into()).spawn(move || core.run());
                Some(thread.map_err(|e| Error::io("starting the thread of the outbox", e))?)
            }
        };
        Ok(Self { core, thread: Mutex::new(thread) })
    }

    fn stop(&self) {
        self.core.closing.store(true, Ordering::SeqCst);
        self.core.ring();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }

    /// What waits with its rows, in order. What was delivered since it was looked up is left out: the server has it, and it
    /// is asked later.
    fn fetch(&self, waiting: Vec<Waiting>) -> Result<Vec<(Waiting, Arc<Frame>)>> {
        let mut delivered = i64::MIN;
        let mut found = Vec::with_capacity(waiting.len());
        let mut bytes = 0;
        for part in waiting {
            let frame = match &part.frame {
                Some(frame) => frame.clone(),
                None => match self.core.db.read(|c| tables::one(c, part.seq))? {
                    None => {
                        delivered = delivered.max(part.seq);
                        continue;
                    }
                    Some(record) => {
                        bytes += record.len();
                        let parts = record::decode(&record)
                            .map_err(|e| e.context(format!("record {} of the outbox", part.seq)))?;
                        parts.into_iter().nth(part.part).map(|(_, f)| f).unwrap_or_default()
                    }
                },
            };
            if bytes > FETCHED_BYTES_MAX {
                return Err(Error::new(
                    Kind::Busy,
                    format!(
                        "more than {FETCHED_BYTES_MAX} bytes of the answer wait to be delivered to InfluxDB"
                    ),
                )
                .hint("narrow the range, or try again when they are delivered"));
            }
            found.push((part, frame));
        }
        // Records are delivered in order: an older one would hide what the server has by now.
        found.retain(|(part, _)| part.seq > delivered);
        Ok(found)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.stop();
    }
}

impl SeriesEngine for Outbox {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        super::check(&batch)?;
        self.core.write(batch)
    }

    fn admit(&self, batch: &WriteBatch) -> Result<()> {
        super::check(batch)
    }

    /// What the server is known to hold decides: in an outage that is what it said before.
    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        super::check(batch)?;
        self.core.takes(batch)
    }

    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        let waiting = read(&self.core.head).of_series(key, range);
        let waiting = self.fetch(waiting)?;
        // After what waits was looked up: what is delivered meanwhile is in both, and never in none.
        let stored = self.core.target.engine().scan(key, range, fields, budget)?;
        if waiting.is_empty() {
            return Ok(stored);
        }
        let frames: Vec<Arc<Frame>> = waiting.into_iter().map(|(_, f)| f).collect();
        Ok(Box::new(overlay::Overlay::new(stored, &frames, range, fields, budget)))
    }

    /// Windows in which rows wait come as rows; the server may sum up the others.
    fn scan_pieces(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        wanted: Wanted,
        budget: &Budget,
    ) -> Result<PieceStream> {
        let engine = self.core.target.engine();
        let Some((first, last)) = read(&self.core.head).span_of(key, range) else {
            return engine.scan_pieces(key, range, fields, wanted, budget);
        };
        let rows = |range| -> Result<PieceStream> {
            Ok(Box::new(self.scan(key, range, fields, budget)?.map(|f| f.map(Piece::Rows))))
        };
        let Some(windows) = wanted.windows else { return rows(range) };
        let from = windows.start_of(first).clamp(range.start, range.end);
        let to = windows.end_of(last).clamp(from, range.end);
        let before = TimeRange { start: range.start, end: from };
        let after = TimeRange { start: to, end: range.end };
        let before = engine.scan_pieces(key, before, fields, wanted.clone(), budget)?;
        let waiting = rows(TimeRange { start: from, end: to })?;
        Ok(Box::new(before.chain(waiting).chain(engine.scan_pieces(key, after, fields, wanted, budget)?)))
    }

    fn times(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<TimeStream> {
        if read(&self.core.head).span_of(key, range).is_none() {
            return self.core.target.engine().times(key, range, budget);
        }
        Ok(Box::new(self.scan(key, range, None, budget)?.map(|frame| frame.map(|f| f.times))))
    }

    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        budget.check()?;
        let _deleting = self.core.still.deleting()?;
        self.core.flush(deliver::FLUSH_MAX)?;
        let report = self.core.target.engine().delete_within(selector, range, budget)?;
        self.core.types.forget_all();
        if lock(&self.core.refused).0 > 0 {
            let totals = self.core.db.write_always(|tx| {
                tables::forget_refused(tx, selector, range)?;
                tables::refused_totals(tx)
            })?;
            *lock(&self.core.refused) = totals;
        }
        Ok(report)
    }

    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        let waiting = read(&self.core.head).of_selector(selector);
        let waiting = self.fetch(waiting)?;
        Ok(overlay::latest(self.core.target.engine().latest_within(selector, budget)?, &waiting))
    }

    /// Waits for what was acknowledged before, so that no row is counted twice; what is not delivered in time is laid over.
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        if !self.core.options.manual && !read(&self.core.head).of_selector(selector).is_empty() {
            if self.core.flush(LIST_WAIT_MAX).is_ok() {
                return self.core.target.engine().list(selector);
            }
        }
        // Nothing is delivered between the two looks, or its rows would count twice.
        let _still = lock(&self.core.delivering);
        let waiting = read(&self.core.head).of_selector(selector);
        let waiting = self.fetch(waiting)?;
        Ok(overlay::list(self.core.target.engine().list(selector)?, &waiting))
    }

    /// Waits for nothing: what is delivered between the two looks counts twice, but rows are a guess.
    fn choose(&self, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
        let waiting = read(&self.core.head).of_selector(selector);
        let waiting = self.fetch(waiting)?;
        Ok(overlay::list(self.core.target.engine().choose(selector, budget)?, &waiting))
    }

    fn retentions(&self) -> Result<BTreeMap<String, Option<Span>>> {
        self.core.target.engine().retentions()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { maintained_here: true, ..self.core.target.engine().capabilities() }
    }

    /// The outbox's own figures are there also when the server is not: an alarm hangs on them.
    fn stats(&self) -> Result<EngineStats> {
        let stored = self.core.target.engine().stats().or_else(|e| match e.kind() {
            Kind::Unavailable => Ok(EngineStats::default()),
            _ => Err(e),
        })?;
        let oldest_s = self.core.oldest_s();
        let head = read(&self.core.head);
        Ok(EngineStats {
            head_rows: head.rows(),
            head_bytes: head.kept_bytes(),
            outbox_records: head.records(),
            outbox_bytes: head.bytes(),
            outbox_oldest_s: oldest_s,
            outbox_refused: lock(&self.core.refused).0,
            commits: self.core.commits.load(Ordering::Relaxed),
            rows_written: self.core.rows_written.load(Ordering::Relaxed),
            ..stored
        })
    }

    /// Waits until everything that was acknowledged is delivered.
    fn seal(&self) -> Result<()> {
        self.core.flush(deliver::FLUSH_MAX)
    }

    fn compact(&self) -> Result<CompactReport> {
        self.core.target.engine().compact()
    }

    /// What is set aside, what is damaged in the file, and what the server says is wrong with it.
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        let pin = self.core.db.pin()?;
        let mut faults: Vec<Fault> = crate::layer::integrity(&pin)?
            .into_iter()
            .map(|problem| Fault { object: "the outbox of InfluxDB".into(), problem })
            .collect();
        tables::each(&pin, (i64::MIN, i64::MAX), &mut |row| {
            budget.check()?;
            if let Err(e) = record::decode(&row.record) {
                let object = format!("record {} of the outbox", row.seq);
                faults.push(Fault { object, problem: e.to_string() });
            }
            Ok(true)
        })?;
        for r in tables::refused(&pin, NAMED_MAX)? {
            faults.push(Fault {
                object: format!("{} rows of `{}`, {} ns to {} ns", r.rows, r.key, r.min, r.max),
                problem: format!("InfluxDB refused them, they are set aside in the outbox: {}", r.why),
            });
        }
        let unnamed = tables::refused_totals(&pin)?.0.saturating_sub(NAMED_MAX);
        if unnamed > 0 {
            let problem = "more is set aside in the outbox".to_string();
            faults.push(Fault { object: format!("{unnamed} more"), problem });
        }
        match self.core.target.engine().verify(budget) {
            Ok(more) => faults.extend(more),
            Err(e) if matches!(e.kind(), Kind::Cancelled | Kind::Timeout) => return Err(e),
            Err(e) => faults.push(Fault { object: "InfluxDB".into(), problem: e.to_string() }),
        }
        Ok(faults)
    }

    /// Ends the deliveries; what waits is kept for the next start.
    fn close(&self) -> Result<()> {
        self.stop();
        self.core.db.checkpoint()
    }
}
