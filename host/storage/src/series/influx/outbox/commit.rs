//! The way in: writes queue up, one thread commits those that wait as one transaction, then they are in the head, in the
//! order of the file.

use super::core::Core;
use super::tables::{self, Row};
use super::{lock, read, write};
use crate::error::{Error, Kind, Result};
use crate::schema::now_ns;
use crate::series::record::{self, Part};
use crate::series::{WriteBatch, WriteReport};
use std::sync::{Arc, Mutex};

/// Bytes of records that are committed together.
const GROUP_BYTES_MAX: u64 = 16 << 20;
/// Series of all records together: what the index of the head may hold.
pub(super) const PARTS_MAX: u64 = 4_000_000;

type Slot = Arc<Mutex<Option<Result<()>>>>;

/// The records of one write, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    records: Vec<(Vec<u8>, Vec<Part>)>,
    checked: bool,
    slot: Slot,
}

impl Job {
    fn bytes(&self) -> u64 {
        self.records.iter().map(|(r, _)| r.len() as u64).sum()
    }
    fn parts(&self) -> u64 {
        self.records.iter().map(|(_, p)| p.len() as u64).sum()
    }
}

impl Core {
    /// Durable on return; delivered later.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        let admitted =
            self.types.admit(&batch, |bucket, measurements| self.load_types(bucket, measurements))?;
        let names: Vec<(String, String)> =
            batch.series.iter().map(|(k, _)| (k.bucket.clone(), k.measurement.clone())).collect();
        let (records, rows) = record::cut(batch.series, &admitted.refused);
        let report = WriteReport { written: rows, dropped: admitted.dropped, conflicts: admitted.conflicts };
        if records.is_empty() {
            return Ok(report);
        }
        let stored = self.store(records, admitted.checked);
        if let Err(e) = stored {
            // What was remembered as written is not there.
            names.iter().for_each(|(bucket, measurement)| self.types.forget(bucket, measurement));
            return Err(e);
        }
        self.rows_written.fetch_add(rows, std::sync::atomic::Ordering::Relaxed);
        Ok(report)
    }

    /// Would every row of a batch be acknowledged now, and none of them be refused later?
    pub(super) fn takes(&self, batch: &WriteBatch) -> Result<()> {
        self.types.take(batch, |bucket, measurements| self.load_types(bucket, measurements))?;
        let (records, _) = record::cut(batch.series.clone(), &[]);
        let job = self.job(records, true)?;
        let (bytes, parts) = self.used();
        if bytes + job.bytes() > self.options.bytes_max || parts + job.parts() > PARTS_MAX {
            return Err(self.full(bytes, parts));
        }
        Ok(())
    }

    fn job(&self, records: Vec<Vec<Part>>, checked: bool) -> Result<Job> {
        let records = records
            .into_iter()
            .map(|parts| Ok((record::encode(&parts)?, parts)))
            .collect::<Result<Vec<_>>>()?;
        let job = Job { records, checked, slot: Slot::default() };
        if job.bytes() > self.options.bytes_max {
            return Err(Error::limit(
                format!("the batch of {} bytes", job.bytes()),
                format!("series.influxdb2.outbox_max = {} bytes", self.options.bytes_max),
                "send smaller batches, or raise `outbox_max` in [series.influxdb2]",
            ));
        }
        Ok(job)
    }

    /// Bytes and parts of what waits; what is set aside counts.
    fn used(&self) -> (u64, u64) {
        let head = read(&self.head);
        (head.bytes().saturating_add(self.refused_bytes()), head.parts())
    }

    fn store(&self, records: Vec<Vec<Part>>, checked: bool) -> Result<()> {
        let job = self.job(records, checked)?;
        let slot = job.slot.clone();
        lock(&self.queue).push_back(job);
        let mut next_seq = lock(&self.next_seq);
        loop {
            // Another thread may have committed it meanwhile.
            if let Some(answer) = lock(&slot).take() {
                return answer;
            }
            let jobs = self.next_jobs();
            if jobs.is_empty() {
                return Err(Error::internal("the commit of this batch was broken off"));
            }
            self.commit(&mut next_seq, jobs);
        }
    }

    /// Jobs for one transaction; those for which there is no room are refused.
    fn next_jobs(&self) -> Vec<Job> {
        let (mut bytes, mut parts) = self.used();
        let mut queue = lock(&self.queue);
        let (mut jobs, mut group) = (Vec::new(), 0);
        while let Some(job) = queue.front() {
            if !jobs.is_empty() && group + job.bytes() > GROUP_BYTES_MAX {
                break;
            }
            let Some(job) = queue.pop_front() else { break };
            (bytes, parts) = (bytes + job.bytes(), parts + job.parts());
            if bytes > self.options.bytes_max || parts > PARTS_MAX {
                (bytes, parts) = (bytes - job.bytes(), parts - job.parts());
                *lock(&job.slot) = Some(Err(self.full(bytes, parts)));
                // Its own thread would find nothing to do and take that for a fault.
                jobs.push(Job { records: Vec::new(), ..job });
                continue;
            }
            group += job.bytes();
            jobs.push(job);
        }
        jobs
    }

    fn full(&self, bytes: u64, parts: u64) -> Error {
        let why = self.last_error().map_or_else(String::new, |e| format!("; the last delivery failed: {e}"));
        Error::new(
            Kind::Busy,
            format!(
                "the outbox is full: {bytes} bytes of series.influxdb2.outbox_max = {} and {parts} parts of \
                 {PARTS_MAX} wait for InfluxDB{why}",
                self.options.bytes_max
            ),
        )
        .hint("bring InfluxDB back, then send the batch again; `shiphold verify` names what InfluxDB refused")
    }

    fn commit(&self, next_seq: &mut i64, jobs: Vec<Job>) {
        let jobs: Vec<Job> = jobs.into_iter().filter(|j| !j.records.is_empty()).collect();
        if jobs.is_empty() {
            return;
        }
        match self.commit_group(next_seq, &jobs) {
            Ok(()) => jobs.iter().for_each(|j| *lock(&j.slot) = Some(Ok(()))),
            Err(e) if jobs.len() == 1 => jobs.iter().for_each(|j| *lock(&j.slot) = Some(Err(e.again()))),
            // One of them may be what the disk has no room for.
            Err(_) => {
                for job in &jobs {
                    *lock(&job.slot) = Some(self.commit_group(next_seq, std::slice::from_ref(job)));
                }
            }
        }
    }

    fn commit_group(&self, next_seq: &mut i64, jobs: &[Job]) -> Result<()> {
        let (first, at) = (*next_seq, now_ns());
        let records = || jobs.iter().flat_map(|j| j.records.iter().map(|r| (j.checked, r)));
        self.db.write(|tx| {
            for ((checked, (record, _)), seq) in records().zip(first..) {
                tables::insert(tx, &Row { seq, at, checked, record: record.clone() })?;
            }
            Ok(())
        })?;
        self.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut head = write(&self.head);
        for ((_, (record, parts)), seq) in records().zip(first..) {
            head.add(seq, at, record.len() as u64, parts);
            *next_seq = seq + 1;
        }
        drop(head);
        self.ring();
        Ok(())
    }
}
