//! The one way in: batches queue up, one thread commits those that wait as one transaction, then they are put
//! into the head in the order of the log.

use super::bounds;
use super::catalog::{Series, State};
use super::core::Core;
use super::prepare::{self, Prepared, Staged};
use super::run::{Run, merge};
use super::{lock, read, tables, write};
use crate::error::{Error, Result};
use crate::series::units::misfit;
use crate::series::{WriteBatch, WriteReport};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Bytes of log records that are committed together.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Rows of a run in the head that grows in place.
const RUN_ROWS_MAX: usize = 8_192;
/// Rows up to which two runs are merged rather than kept apart.
const JOIN_ROWS_MAX: usize = 1_024;

/// What only the committing thread changes.
#[derive(Debug)]
pub(super) struct Commit {
    pub next_seq: i64,
    /// Series with rows in the head.
    pub dirty: Vec<Arc<Series>>,
    /// Bytes of the log that the heads stand for.
    pub log_bytes: u64,
    /// Since when there are rows in the head.
    pub head_since: Option<Instant>,
}

/// A batch that waits, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    work: Work,
    slot: Slot,
}

type Slot = Arc<Mutex<Option<Result<WriteReport>>>>;

#[derive(Debug)]
enum Work {
    Ready(Prepared),
    /// Names something that the catalogue does not have, or conflicts with it.
    Raw(WriteBatch),
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Ready(p) => p.record.len(),
            Self::Raw(b) => b.series.iter().map(|(_, f)| f.size_bytes()).sum(),
        }
    }
}

impl Core {
    pub(super) fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        bounds::check(&batch)?;
        self.wait_for_room()?;
        let known = prepare::resolve_known(&read(&self.catalog), &batch);
        let work = match known {
            Some(resolved) => Work::Ready(prepare::build(batch, resolved, WriteReport::default())?),
            None => Work::Raw(batch),
        };
        let slot = Slot::default();
        lock(&self.queue).push_back(Job { work, slot: slot.clone() });
        let mut commit = lock(&self.commit);
        loop {
            // Another thread may have committed it meanwhile.
            if let Some(answer) = lock(&slot).take() {
                return answer;
            }
            let jobs = self.next_group();
            if jobs.is_empty() {
                return Err(Error::internal("the commit of this batch was broken off"));
            }
            self.lead(&mut commit, jobs);
            if self.gauges.head_bytes.get() >= self.head_max {
                self.bell.ring();
            }
        }
    }

    /// Would every row of a batch be stored? Nothing is changed.
    pub(super) fn takes(&self, batch: &WriteBatch) -> Result<()> {
        bounds::check(batch)?;
        let prepared = Staged::default().prepare(&read(&self.catalog), batch.clone(), self.series_max)?;
        prepared.report.conflicts.first().map_or(Ok(()), |conflict| Err(misfit(conflict)))
    }

    fn next_group(&self) -> Vec<Job> {
        let mut queue = lock(&self.queue);
        let mut bytes = 0;
        let mut jobs = Vec::new();
        while let Some(job) = queue.front() {
            bytes += job.work.bytes();
            if !jobs.is_empty() && bytes > GROUP_BYTES_MAX {
                break;
            }
            jobs.extend(queue.pop_front());
        }
        jobs
    }

    fn lead(&self, commit: &mut Commit, jobs: Vec<Job>) {
        let mut staged = Staged::default();
        let mut ready = Vec::with_capacity(jobs.len());
        for Job { work, slot } in jobs {
            let prepared = match work {
                Work::Ready(p) => {
                    staged.keep_fields(&p);
                    Ok(p)
                }
                Work::Raw(batch) => staged.prepare(&read(&self.catalog), batch, self.series_max),
            };
            match prepared {
                Ok(p) if p.parts.is_empty() => answer(&slot, Ok(p.report)),
                Ok(p) => ready.push((p, slot)),
                Err(e) => answer(&slot, Err(e)),
            }
        }
        if ready.is_empty() {
            return;
        }
        match self.commit_group(commit, &mut staged, &ready) {
            Ok(()) => ready.into_iter().for_each(|(p, slot)| self.apply(commit, p, &slot)),
            Err(e) if ready.len() == 1 => ready.iter().for_each(|(_, slot)| answer(slot, Err(again(&e)))),
            // One of them may be what the disk has no room for.
            Err(_) => {
                for one in ready {
                    match self.commit_group(commit, &mut staged, std::slice::from_ref(&one)) {
                        Ok(()) => self.apply(commit, one.0, &one.1),
                        Err(e) => answer(&one.1, Err(e)),
                    }
                }
            }
        }
    }

    /// One transaction: what is new in the catalogue, and a log row for each batch.
    fn commit_group(
        &self,
        commit: &mut Commit,
        staged: &mut Staged,
        group: &[(Prepared, Slot)],
    ) -> Result<()> {
        self.db.write(|tx| {
            staged.store(tx)?;
            for ((prepared, _), seq) in group.iter().zip(commit.next_seq..) {
                tables::insert_log(tx, seq, &prepared.record)?;
            }
            Ok(())
        })?;
        commit.next_seq += group.len() as i64;
        self.gauges.commits.add(1);
        if !staged.is_empty() {
            std::mem::take(staged).publish(&mut write(&self.catalog))?;
        }
        Ok(())
    }

    fn apply(&self, commit: &mut Commit, prepared: Prepared, slot: &Slot) {
        let record = prepared.record.len() as u64;
        commit.log_bytes += record;
        self.gauges.log_bytes.add(record);
        self.gauges.rows_written.add(prepared.report.written);
        for (series, run) in prepared.parts {
            self.put_into_head(commit, &series, run);
        }
        answer(slot, Ok(prepared.report));
    }

    /// Also used when the log is read at a start.
    pub(super) fn put_into_head(&self, commit: &mut Commit, series: &Arc<Series>, run: Run) {
        commit.head_since.get_or_insert_with(Instant::now);
        let mut state = series.state();
        if !std::mem::replace(&mut state.dirty, true) {
            commit.dirty.push(series.clone());
        }
        state.note_latest(&run);
        let (before, after) = absorb(&mut state, run);
        self.gauges.head_rows.add(after.0);
        self.gauges.head_rows.sub(before.0);
        self.gauges.head_bytes.add(after.1);
        self.gauges.head_bytes.sub(before.1);
    }
}

fn answer(slot: &Slot, with: Result<WriteReport>) {
    *lock(slot) = Some(with);
}

/// The same error once more.
fn again(e: &Error) -> Error {
    let copy = Error::new(e.kind(), e.message());
    match e.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}

/// Adds a run to the head; gives rows and bytes of what it touched, before and after.
fn absorb(state: &mut State, run: Run) -> ((u64, u64), (u64, u64)) {
    let size = |r: &Run| (r.len() as u64, r.size_bytes() as u64);
    let Some(last) = state.head.last_mut() else {
        let after = size(&run);
        state.head.push(Arc::new(run));
        return ((0, 0), after);
    };
    let rows = last.len() + run.len();
    if rows <= RUN_ROWS_MAX && last.max() < run.min() && last.same_shape(&run) {
        // In place, unless a scan reads it.
        if let Some(last) = Arc::get_mut(last) {
            let more = size(&run);
            last.append(run);
            return ((0, 0), more);
        }
    }
    if rows <= JOIN_ROWS_MAX {
        let before = size(last);
        *last = Arc::new(merge(Run::clone(last), run));
        return (before, size(last));
    }
    let after = size(&run);
    state.head.push(Arc::new(run));
    ((0, 0), after)
}
