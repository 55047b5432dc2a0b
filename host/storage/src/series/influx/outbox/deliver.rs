//! The way out: records in their order, as many in one request as fit, again and again until the server has them.

use super::core::Core;
use super::tables::{self, Row};
use super::target::Delivery;
use super::{lock, read, write};
use crate::error::{Error, Kind, Result};
use crate::schema::now_ns;
use crate::series::influx::lines::{REQUEST_BYTES_MAX, REQUEST_LINES_MAX};
use crate::series::query::picked;
use crate::series::record;
use crate::series::{Frame, SeriesKey, WriteBatch};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The wait after the first failure; it doubles.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait after a failure.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A longer `Retry-After` is cut to this: a server that asks for a year is not believed.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// How long a delete waits for what was acknowledged before it.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(30);

/// What one delivery came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// Nothing waits.
    Idle,
    Delivered,
    /// Not now; how long the server asked to be left alone.
    Later(Option<Duration>),
    /// A backup is taken.
    Held,
}

/// Records that go out together.
#[derive(Debug, Default)]
struct Group {
    rows: Vec<Row>,
    batches: Vec<WriteBatch>,
    /// The first record that cannot be read; it follows those above.
    damaged: Option<(Row, String)>,
}

impl Group {
    fn whole(&self) -> WriteBatch {
        WriteBatch { series: self.batches.iter().flat_map(|b| b.series.iter().cloned()).collect() }
    }
}

impl Core {
    /// Delivers the oldest records, at most a request's worth.
    pub(super) fn deliver_next(&self) -> Pumped {
        let _turn = lock(&self.delivering);
        if self.still.is_held() {
            return Pumped::Held;
        }
        let pumped = self.try_next();
        let (pumped, error) = match pumped {
            Ok(p) => (p, None),
            Err((e, after)) => (Pumped::Later(after), Some(e)),
        };
        if pumped != Pumped::Idle {
            self.note(error);
        }
        pumped
    }

    fn try_next(&self) -> std::result::Result<Pumped, (Error, Option<Duration>)> {
        let at_once = |e: Error| (e, None);
        let group = self.next_group().map_err(at_once)?;
        if let (Some(last), true) = (group.rows.last(), self.closing.load(Ordering::SeqCst)) {
            return Err(at_once(Error::new(
                Kind::Cancelled,
                format!("record {} waits for a start", last.seq),
            )));
        }
        match group.rows.last() {
            None => {}
            Some(last) => match self.send(&group.whole(), group.rows.iter().all(|r| r.checked)) {
                Delivery::Stored => self.remove(last.seq).map_err(at_once)?,
                Delivery::Later { error, after } => return Err((error, after)),
                Delivery::Refused { .. } => self.one_by_one(&group)?,
            },
        }
        if let Some((row, why)) = &group.damaged {
            tracing::error!(record = row.seq, why, "a record of the outbox is damaged: it is set aside");
            self.set_aside(row.seq, |tx| tables::set_damaged_aside(tx, row, why)).map_err(at_once)?;
        }
        let any = !group.rows.is_empty() || group.damaged.is_some();
        Ok(if any { Pumped::Delivered } else { Pumped::Idle })
    }

    fn send(&self, batch: &WriteBatch, checked: bool) -> Delivery {
        let budget = crate::series::Budget { cancel: Some(self.closing.clone()), ..Default::default() };
        self.target.deliver(batch, checked, &budget)
    }

    /// Finds the record that the server refuses.
    fn one_by_one(&self, group: &Group) -> std::result::Result<(), (Error, Option<Duration>)> {
        for (row, batch) in group.rows.iter().zip(&group.batches) {
            match self.send(batch, row.checked) {
                Delivery::Stored => self.remove(row.seq).map_err(|e| (e, None))?,
                Delivery::Later { error, after } => return Err((error, after)),
                Delivery::Refused { why, rows } => {
                    self.refuse(row, batch, &why, rows.as_deref()).map_err(|e| (e, None))?;
                }
            }
        }
        Ok(())
    }

    /// Sets a record aside, or those of its rows that are known to be refused.
    fn refuse(
        &self,
        row: &Row,
        batch: &WriteBatch,
        why: &str,
        rows: Option<&[Option<Vec<bool>>]>,
    ) -> Result<()> {
        let mut parts: Vec<(SeriesKey, Frame)> = Vec::new();
        for (at, (key, frame)) in batch.series.iter().enumerate() {
            let is_refused = |row: &usize| match rows {
                None => true,
                Some(rows) => {
                    rows.get(at).and_then(Option::as_ref).is_some_and(|r| r.get(*row) == Some(&true))
                }
            };
            let rows: Vec<usize> = (0..frame.len()).filter(is_refused).collect();
            if !rows.is_empty() {
                tracing::error!(series = %key, rows = rows.len(), why, "InfluxDB refuses acknowledged rows: set aside");
                parts.push((key.clone(), picked(frame, &rows)));
            }
        }
        for (key, _) in &parts {
            self.types.forget(&key.bucket, &key.measurement);
        }
        self.set_aside(row.seq, |tx| {
            for (key, frame) in &parts {
                tables::set_aside(tx, now_ns(), &(key.clone().into(), frame.clone().into()), why)?;
            }
            Ok(())
        })
    }

    fn set_aside(&self, seq: i64, keep: impl FnOnce(&crate::sqlite::Tx<'_>) -> Result<()>) -> Result<()> {
        let totals = self.db.write_always(|tx| {
            keep(tx)?;
            tables::remove(tx, seq)?;
            tables::refused_totals(tx)
        })?;
        *lock(&self.refused) = totals;
        self.forget(seq);
        Ok(())
    }

    /// Forgets what the server acknowledged; until then it would be delivered again.
    fn remove(&self, seq: i64) -> Result<()> {
        self.db.write_always(|tx| tables::remove(tx, seq))?;
        self.forget(seq);
        Ok(())
    }

    fn forget(&self, seq: i64) {
        write(&self.head).remove(seq);
        lock(&self.progress).delivered = seq;
        self.moved.notify_all();
    }

    fn next_group(&self) -> Result<Group> {
        let mut group = Group::default();
        // What is committed and not in the head yet must not be delivered: the head would keep it for ever.
        let Some(span) = read(&self.head).span() else { return Ok(group) };
        let (mut rows, mut bytes) = (0_u64, 0_usize);
        self.db.read(|c| {
            tables::each(c, span, &mut |row| {
                let parts = match record::decode(&row.record) {
                    Ok(parts) => parts,
                    Err(e) => {
                        group.damaged = Some((row, e.to_string()));
                        return Ok(false);
                    }
                };
                let of_record: u64 = parts.iter().map(|(_, f)| f.len() as u64).sum();
                let fits =
                    rows + of_record <= REQUEST_LINES_MAX && bytes + row.record.len() <= REQUEST_BYTES_MAX;
                if !(fits || group.rows.is_empty()) {
                    return Ok(false);
                }
                (rows, bytes) = (rows + of_record, bytes + row.record.len());
                let series =
                    parts.into_iter().map(|(k, f)| (SeriesKey::clone(&k), Frame::clone(&f))).collect();
                group.batches.push(WriteBatch { series });
                group.rows.push(row);
                Ok(true)
            })
        })?;
        Ok(group)
    }

    /// Notes how the last delivery went, for those who wait and those who ask.
    fn note(&self, error: Option<Error>) {
        let mut progress = lock(&self.progress);
        let was_down = progress.error.is_some();
        match &error {
            Some(e) if !was_down && e.kind() != Kind::Cancelled => {
                tracing::warn!(error = ?e, "InfluxDB takes nothing: what is acknowledged waits in the outbox");
            }
            None if was_down => tracing::info!("InfluxDB takes what waits in the outbox"),
            _ => {}
        }
        let failed = error.is_some();
        progress.failures += u64::from(failed);
        progress.error = error;
        drop(progress);
        self.moved.notify_all();
        self.may_ask_at(failed.then(|| self.options.clock.now() + super::core::ASK_PAUSE));
    }

    /// Returns when everything that was acknowledged before is delivered; an error where that cannot be now.
    pub(super) fn flush(&self, wait_max: Duration) -> Result<()> {
        let Some((_, last)) = read(&self.head).span() else { return Ok(()) };
        let begin = Instant::now();
        let failures = lock(&self.progress).failures;
        loop {
            self.still.may_deliver()?;
            if self.options.manual {
                match self.deliver_next() {
                    Pumped::Idle => return Ok(()),
                    Pumped::Delivered => continue,
                    Pumped::Later(_) | Pumped::Held => {}
                }
            }
            let mut progress = lock(&self.progress);
            progress.hurry = true;
            self.moved.notify_all();
            if progress.delivered >= last {
                return Ok(());
            }
            if let Some(e) =
                progress.error.as_ref().filter(|_| progress.failures > failures || self.is_pausing())
            {
                return Err(e.again().context("what was acknowledged before is not delivered yet"));
            }
            if begin.elapsed() >= wait_max {
                return Err(Error::new(
                    Kind::Busy,
                    format!("records up to {last} are not delivered yet, {} are", progress.delivered),
                )
                .hint("try again when `outbox_records` of the figures is small"));
            }
            let left = wait_max.saturating_sub(begin.elapsed());
            let _ = self.moved.wait_timeout(progress, left.min(Duration::from_millis(500)));
        }
    }

    fn is_pausing(&self) -> bool {
        lock(&self.paused_until).is_some()
    }

    /// What the thread of the engine does until it is closed.
    pub(super) fn run(&self) {
        let mut backoff = BACKOFF_FIRST;
        while !self.closing.load(Ordering::SeqCst) {
            self.gather();
            match self.deliver_next() {
                Pumped::Idle | Pumped::Held => {}
                Pumped::Delivered => backoff = BACKOFF_FIRST,
                Pumped::Later(after) => {
                    let wait = after.map_or(jittered(backoff), |a| a.min(RETRY_AFTER_MAX));
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    self.sleep(wait);
                }
            }
        }
    }

    /// Waits until there is something that may go out, then a little longer for more of it.
    fn gather(&self) {
        let closing = || self.closing.load(Ordering::SeqCst);
        let mut progress = lock(&self.progress);
        while (read(&self.head).span().is_none() || self.still.is_held()) && !closing() {
            progress = self.moved.wait(progress).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let clock = &self.options.clock;
        let until = clock.now() + self.options.batch_wait;
        loop {
            let left = until.saturating_duration_since(clock.now());
            let enough = {
                let head = read(&self.head);
                head.rows() >= REQUEST_LINES_MAX || head.bytes() >= REQUEST_BYTES_MAX as u64
            };
            if left.is_zero() || enough || progress.hurry || closing() {
                progress.hurry = false;
                return;
            }
            progress = match self.moved.wait_timeout(progress, clock.at_once(left)) {
                Ok((p, _)) => p,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn sleep(&self, wait: Duration) {
        let clock = &self.options.clock;
        let until = clock.now() + wait;
        *lock(&self.paused_until) = Some(until);
        let mut progress = lock(&self.progress);
        while !self.closing.load(Ordering::SeqCst) {
            let left = until.saturating_duration_since(clock.now());
            if left.is_zero() {
                break;
            }
            progress = match self.moved.wait_timeout(progress, clock.at_once(left)) {
                Ok((p, _)) => p,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        drop(progress);
        *lock(&self.paused_until) = None;
    }
}

/// Between half of a wait and all of it: hosts that lost the same server do not come back at the same instant.
pub(in crate::series::influx) fn jittered(wait: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    let _ = getrandom::fill(&mut byte);
    let [random] = byte;
    wait / 2 + wait / 2 * u32::from(random) / 255
}
