//! The one way in: batches queue up, one thread commits those that wait as one transaction, then they are put
//! into the head in the order of the log.

use super::bounds;
use super::catalog::{Series, State};
use super::core::Core;
use super::memory::Room;
use super::prepare::{self, JOIN_ROWS_MAX, Prepared, Space, Staged};
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
    room: Room,
    space: Space,
}

/// A batch that is about to be committed, with its place in memory.
type Ready = (Prepared, Slot, Room, Space);

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
        let known = prepare::resolve_known(&read(&self.catalog), &batch);
        let mut space = prepare::space(&batch, known.as_deref());
        let mut room = self.wait_for_room(space.head.saturating_add(space.record))?;
        let work = match known {
            Some(resolved) => {
                let prepared = prepare::build(batch, resolved, WriteReport::default())?;
                // Frames of one series with different columns fill each other up.
                if prepared.values_bytes() > space.head {
                    space.head = prepared.values_bytes();
                    drop(room);
                    room = self.wait_for_room(space.head.saturating_add(space.record))?;
                }
                Work::Ready(prepared)
            }
            None => Work::Raw(batch),
        };
        let slot = Slot::default();
        lock(&self.queue).push_back(Job { work, slot: slot.clone(), room, space });
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
        for Job { work, slot, room, space } in jobs {
            let prepared = match work {
                Work::Ready(p) => {
                    staged.keep_fields(&p);
                    Ok(p)
                }
                Work::Raw(batch) => staged.prepare(&read(&self.catalog), batch, self.series_max),
            };
            match prepared {
                Ok(p) if p.parts.is_empty() => answer(&slot, Ok(p.report)),
                Ok(p) => ready.push((p, slot, room, space)),
                Err(e) => answer(&slot, Err(e)),
            }
        }
        if ready.is_empty() {
            return;
        }
        match self.commit_group(commit, &mut staged, &ready) {
            Ok(()) => ready.into_iter().for_each(|one| self.apply(commit, one)),
            Err(e) if ready.len() == 1 => ready.iter().for_each(|(_, slot, ..)| answer(slot, Err(again(&e)))),
            // One of them may be what the disk has no room for.
            Err(_) => {
                for one in ready {
                    match self.commit_group(commit, &mut staged, std::slice::from_ref(&one)) {
                        Ok(()) => self.apply(commit, one),
                        Err(e) => answer(&one.1, Err(e)),
                    }
                }
            }
        }
    }

    /// One transaction: what is new in the catalogue, and a log row for each batch.
    fn commit_group(&self, commit: &mut Commit, staged: &mut Staged, group: &[Ready]) -> Result<()> {
        self.store(|tx| {
            staged.store(tx)?;
            for ((prepared, ..), seq) in group.iter().zip(commit.next_seq..) {
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

    fn apply(&self, commit: &mut Commit, (prepared, slot, room, space): Ready) {
        let record = prepared.record.len() as u64;
        commit.log_bytes += record;
        self.gauges.log_bytes.add(record);
        self.gauges.rows_written.add(prepared.report.written);
        // What may be filled up beside the values themselves.
        let mut spare = space.head.saturating_sub(prepared.values_bytes());
        let mut head = Change::default();
        for (series, run) in prepared.parts {
            let own = run.size_bytes() as u64;
            let change = self.put_into_head(commit, &series, run, own + spare);
            spare = spare.saturating_sub(change.after.1.saturating_sub(change.before.1 + own));
            head.add(change);
        }
        room.used(head.before.1, head.after.1);
        self.bell.room_came();
        answer(&slot, Ok(prepared.report));
    }

    /// Also used when the log is read at a start. The head grows by `bytes_max` at most, if that is enough for the run.
    pub(super) fn put_into_head(
        &self,
        commit: &mut Commit,
        series: &Arc<Series>,
        run: Run,
        bytes_max: u64,
    ) -> Change {
        commit.head_since.get_or_insert_with(Instant::now);
        let mut state = series.state();
        if !std::mem::replace(&mut state.dirty, true) {
            commit.dirty.push(series.clone());
        }
        state.note_latest(&run);
        let change = absorb(&mut state, run, bytes_max);
        self.gauges.head_rows.add(change.after.0);
        self.gauges.head_rows.sub(change.before.0);
        self.gauges.head_bytes.add(change.after.1);
        self.gauges.head_bytes.sub(change.before.1);
        change
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

/// Rows and bytes of what a batch touches in the head.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change {
    pub before: (u64, u64),
    pub after: (u64, u64),
}

impl Change {
    fn add(&mut self, other: Self) {
        let sum = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        (self.before, self.after) = (sum(self.before, other.before), sum(self.after, other.after));
    }
}

/// Adds a run to the head.
fn absorb(state: &mut State, run: Run, bytes_max: u64) -> Change {
    let size = |r: &Run| (r.len() as u64, r.size_bytes() as u64);
    let more = Change { before: (0, 0), after: size(&run) };
    let Some(last) = state.head().last_mut() else {
        state.head().push(Arc::new(run));
        return more;
    };
    let rows = last.len() + run.len();
    if rows <= RUN_ROWS_MAX && last.max() < run.min() && last.same_shape(&run) {
        // In place, unless a scan reads it.
        if let Some(last) = Arc::get_mut(last) {
            last.append(run);
            return more;
        }
    }
    let before = size(last);
    if rows <= JOIN_ROWS_MAX && last.merged_bytes_max(&run) as u64 <= before.1.saturating_add(bytes_max) {
        *last = Arc::new(merge(Run::clone(last), run));
        return Change { before, after: size(last) };
    }
    state.head().push(Arc::new(run));
    more
}
