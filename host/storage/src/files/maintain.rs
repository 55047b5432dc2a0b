//! What is done for the stores without being asked: some at a time, for the thread that does it has other work.

use super::collect::Collection;
use super::prune::Pruning;
use super::store::FileStores;
use crate::caller::Caller;
use crate::error::Result;
use crate::locks::lock;
use crate::schema::now_ns;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two looks at what is too old.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// So long the background work goes on with what a look found; then others have their turn. What it is at is ended first.
const WORK_MAX: Duration = Duration::from_millis(200);

/// When the stores were last looked after, and what is left to do.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<(Option<Instant>, VecDeque<Work>)>);

#[derive(Debug)]
enum Work {
    Prune(String, Pruning),
    Collect(String, Collection),
}

impl FileStores {
    /// Once an hour: gives up idle uploads, takes versions away that a store keeps no longer, and collects what they leave; in steps, a
    /// few with each call. A store that a backup holds waits for it.
    pub(crate) fn maintain(&self) -> Result<()> {
        let mut looked = lock(&self.looked.0);
        let mut done = Ok(());
        if looked.1.is_empty() && looked.0.is_none_or(|l| l.elapsed() >= LOOK_EVERY) {
            let now = self.ages.now(now_ns(), Instant::now());
            looked.0 = Some(Instant::now());
            for store in self.names() {
                // One that fails keeps no other from being looked after.
                done = done.and(self.look_at(store, now, &mut looked.1));
            }
        }
        let end = Instant::now() + WORK_MAX;
        done.and(self.work(&mut looked.1, &mut || Instant::now() < end))
    }

    fn look_at(&self, store: &str, now: i64, work: &mut VecDeque<Work>) -> Result<()> {
        self.expire_uploads(store, now)?;
        let pruning = self.pruning(store, false, now)?;
        work.extend(pruning.map(|pruning| Work::Prune(store.into(), pruning)));
        Ok(())
    }

    /// Goes on with what is left while `more` says so.
    fn work(&self, left: &mut VecDeque<Work>, more: &mut dyn FnMut() -> bool) -> Result<()> {
        let mut held = VecDeque::new();
        let mut done = Ok(());
        while more() {
            let Some(work) = left.pop_front() else { break };
            match self.some(work, more) {
                Ok((Some(work), true)) => left.push_front(work),
                // A backup has the store: another call.
                Ok((Some(work), false)) => held.push_back(work),
                Ok((None, _)) => {}
                Err(e) => done = done.and(Err(e)),
            }
        }
        left.append(&mut held);
        done
    }

    /// Goes on with one; what is left of it, and whether it could go on.
    fn some(&self, work: Work, more: &mut dyn FnMut() -> bool) -> Result<(Option<Work>, bool)> {
        match work {
            Work::Prune(store, mut pruning) => {
                while more() {
                    if self.prune_step(&Caller::Operator, &store, &mut pruning)? {
                        continue;
                    }
                    let pruned = pruning.report;
                    if pruned.versions == 0 {
                        return Ok((None, true));
                    }
                    let (versions, bytes) = (pruned.versions, pruned.bytes);
                    tracing::info!(store, versions, bytes, "old versions were taken away");
                    return Ok((Some(Work::Collect(store, Collection::new())), true));
                }
                Ok((Some(Work::Prune(store, pruning)), true))
            }
            Work::Collect(store, mut collection) => {
                match self.collect(&Caller::Operator, &store, &mut collection, more)? {
                    Some(true) => Ok((None, true)),
                    Some(false) => Ok((Some(Work::Collect(store, collection)), true)),
                    None => Ok((Some(Work::Collect(store, collection)), false)),
                }
            }
        }
    }

    /// A look at a store at a time, and all that comes of it.
    #[cfg(test)]
    pub(super) fn look_after(&self, store: &str, now: i64) -> Result<()> {
        let mut work = VecDeque::new();
        self.look_at(store, now, &mut work)?;
        self.work(&mut work, &mut || true)
    }

    /// The same, a step at a time; how many it took.
    #[cfg(test)]
    pub(super) fn look_after_in_steps(&self, store: &str, now: i64) -> Result<u64> {
        let mut work = VecDeque::new();
        self.look_at(store, now, &mut work)?;
        let mut steps = 0;
        while !work.is_empty() {
            // Asked before the work is taken up, and before its first step.
            let mut asked = 0;
            self.work(&mut work, &mut || {
                asked += 1;
                asked <= 2
            })?;
            steps += 1;
        }
        Ok(steps)
    }
}
