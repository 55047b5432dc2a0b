//! Runs a workload and takes the disk away at every operation.
//!
//! A [`Workload`] is a list of steps on a store. A step that returned `Ok` is acknowledged. At every operation of the
//! disk, [`lose_power_everywhere`] takes the power, starts again from what was left, and asks the workload whether what was
//! acknowledged is there, and the step in flight whole or absent. The disk is kept before each operation of one run, which is
//! what a loss of power in it finds, so the workload does not run for each; [`fail_everywhere`] lets the operation fail instead
//! and asks the same of the living store. What is wrong comes back as sentences, so a test can also show that the
//! harness finds something.

use super::disk::{Disk, Loss};
use super::faults::Fault;
use super::vfs::{FaultVfs, Snapshot};
use crate::error::Result;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Findings of one run; more add nothing.
const FINDINGS_MAX: usize = 20;
/// Disks of one run of the workload that are in memory at once; for more it runs again.
const SNAPSHOTS_MAX: usize = 32;
/// The progress of a workload whose store is being opened.
const OPENING: u64 = u64::MAX;

/// What the harness drives. Steps run in order; each may rely on those before it.
pub trait Workload {
    type Store;
    /// Opens the store on the VFS of this name.
    fn open(&self, vfs: &str) -> Result<Self::Store>;
    /// Steps there are.
    fn steps(&self) -> usize;
    /// Runs one; durable when it returns `Ok`, without effect when it returns an error.
    fn step(&self, store: &Self::Store, index: usize) -> Result<()>;
    /// Says what is wrong if not exactly the first `done` steps are there; with `in_flight`, the next one may be
    /// there too, but whole.
    fn check(&self, store: &Self::Store, done: usize, in_flight: bool) -> std::result::Result<(), String>;
    /// A write that must work after every recovery, and that `check` does not mind.
    fn probe(&self, store: &Self::Store) -> Result<()>;
    /// A step that was done, or done in part as far as its caller knows, can be done again without harm.
    fn repeatable(&self) -> bool {
        false
    }
}

/// What a run did and found.
#[derive(Debug, Default)]
pub struct Report {
    /// Operations at which something went wrong.
    pub points: u64,
    /// Starts after which everything was checked.
    pub checks: u64,
    pub findings: Vec<String>,
}

impl Report {
    fn find(&mut self, place: &str, what: impl std::fmt::Display) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(format!("{place}: {what}"));
        }
    }

    /// Starts from what a loss of power left, and asks for everything.
    fn look<W: Workload>(
        &mut self,
        vfs: &FaultVfs,
        w: &W,
        wreck: Disk,
        place: &str,
        (done, in_flight): (usize, bool),
    ) {
        vfs.load(wreck);
        self.checks += 1;
        let Some(store) = self.must(place, w.open(vfs.name())) else { return };
        self.must(place, w.check(&store, done, in_flight));
        self.must(place, w.probe(&store));
        self.must(place, w.check(&store, done, in_flight));
        self.go_on(place, w, &store, done);
    }

    /// Does what is left of the workload, the step in doubt once more, and asks for all of it.
    pub(super) fn go_on<W: Workload>(&mut self, place: &str, w: &W, store: &W::Store, done: usize) {
        if !w.repeatable() {
            return;
        }
        let place = format!("{place}, and gone on from step {done}");
        let (done, failed) = run(w, store, done);
        match failed {
            Some(e) => self.find(&place, format!("step {done} fails: {e}")),
            None => {
                self.must(&place, w.check(store, done, false));
            }
        }
    }

    /// Notes a result that must be good.
    pub(super) fn must<T, E: std::fmt::Display>(
        &mut self,
        place: &str,
        result: std::result::Result<T, E>,
    ) -> Option<T> {
        result.map_err(|e| self.find(place, e)).ok()
    }
}

/// Runs steps from `done` on until one fails; how many are done.
pub(super) fn run<W: Workload>(w: &W, store: &W::Store, done: usize) -> (usize, Option<crate::Error>) {
    for i in done..w.steps() {
        if let Err(e) = w.step(store, i) {
            return (i, Some(e));
        }
    }
    (w.steps(), None)
}

/// Takes the power at every `stride`-th operation from `first` on, and after the last step. What is lost is chosen by `losses`
/// from the operation's number; every start is from `image`, and everything of the store is on the disk. A store that was opened once must open again. What no start could
/// tell from a disk that was looked at is not looked at again.
pub fn lose_power_everywhere<W: Workload>(
    vfs: &FaultVfs,
    w: &W,
    image: &Disk,
    (first, stride): (u64, u64),
    losses: &dyn Fn(u64) -> Vec<Loss>,
) -> Report {
    let mut report = Report::default();
    let (mut n, stride) = (first.max(1), stride.max(1));
    let mut seen = HashSet::new();
    loop {
        vfs.load(image.clone());
        let progress = Arc::new(AtomicU64::new(OPENING));
        vfs.record((n, stride), SNAPSHOTS_MAX, &progress);
        match w.open(vfs.name()) {
            Ok(store) => {
                for step in 0..w.steps() {
                    progress.store(step as u64, Ordering::SeqCst);
                    if let Err(e) = w.step(&store, step) {
                        report.find("without any fault", e);
                        return report;
                    }
                }
                progress.store(w.steps() as u64, Ordering::SeqCst);
            }
            Err(e) => {
                report.find("opening without any fault", e);
                return report;
            }
        }
        let (mut taken, operations) = (vfs.recorded(), vfs.operations());
        report.points += taken.len() as u64;
        n += stride * taken.len() as u64;
        let over = n > operations;
        if over {
            let progress = progress.load(Ordering::SeqCst);
            taken.push(Snapshot { operation: n, progress, disk: vfs.disk() });
        }
        for Snapshot { operation, progress, disk } in taken {
            // While the store opens no step is in flight.
            let done = if progress == OPENING { 0 } else { usize::try_from(progress).unwrap_or_default() };
            let in_flight = progress != OPENING && done < w.steps();
            for loss in losses(operation) {
                let place =
                    format!("power lost at operation {operation} ({loss:?}), {done} steps acknowledged");
                let wreck = disk.after(loss);
                if seen.insert((wreck.digest(), done, in_flight)) {
                    report.look(vfs, w, wreck, &place, (done, in_flight));
                }
            }
        }
        if over {
            return report;
        }
    }
}

/// Takes the power at the n-th operation of a run from `image` on: for workloads that have something beside the disk, which goes on
/// from where it was. Its points are 0 where there is no such operation.
pub fn lose_power_at<W: Workload>(vfs: &FaultVfs, w: &W, image: &Disk, n: u64, losses: &[Loss]) -> Report {
    let mut report = Report::default();
    vfs.load(image.clone());
    vfs.crash_at(n);
    let (mut done, mut in_flight) = (0, false);
    if let Ok(store) = w.open(vfs.name()) {
        let (d, failed) = run(w, &store, 0);
        (done, in_flight) = (d, failed.is_some());
        if let Some(e) = failed.filter(|_| !vfs.hit()) {
            report.find("without any fault", e);
            return report;
        }
    }
    report.points = u64::from(vfs.hit());
    let wreck = vfs.disk();
    for loss in losses {
        let place = format!("power lost at operation {n} ({loss:?}), {done} steps acknowledged");
        report.look(vfs, w, wreck.after(*loss), &place, (done, in_flight));
    }
    report
}

/// Lets every `stride`-th operation fail, once or (with `forever`) until the disk is mended. The step that saw it must
/// have no effect, the store must go on, and what it acknowledges in the end must survive a loss of power.
pub fn fail_everywhere<W: Workload>(
    vfs: &FaultVfs,
    w: &W,
    image: &Disk,
    (first, stride): (u64, u64),
    fault: Fault,
    forever: bool,
) -> Report {
    let mut report = Report::default();
    let mut n = first.max(1);
    loop {
        vfs.load(image.clone());
        if forever {
            vfs.fail_from(n, fault);
        } else {
            vfs.fail_at(n, fault);
        }
        let place = format!("{fault:?} at operation {n}");
        let (mut hit, mut wreck) = (false, None);
        let store = match w.open(vfs.name()) {
            Ok(store) => Ok(store),
            Err(_) if vfs.hit() => {
                hit = true;
                vfs.heal();
                w.open(vfs.name())
            }
            Err(e) => Err(e),
        };
        let Some(store) = report.must(&place, store) else { return report };
        let (mut done, mut failed) = run(w, &store, 0);
        hit |= vfs.hit();
        if let Some(e) = failed.take() {
            if !hit {
                report.find("without any fault", e);
                return report;
            }
            report.must(&format!("{place}, after `{e}`"), w.check(&store, done, false));
            wreck = Some((vfs.disk(), done));
            if forever && w.step(&store, done).is_ok() {
                // Not every step needs the disk.
                done += 1;
            }
            vfs.heal();
            let (all, failed) = run(w, &store, done);
            done = all;
            if let Some(e) = failed {
                report.find(&place, format!("step {done} fails on a mended disk: {e}"));
            }
        }
        vfs.heal();
        report.points += u64::from(hit);
        report.must(&place, w.check(&store, done, false));
        report.must(&place, w.probe(&store));
        let end = vfs.disk();
        drop(store);
        // The step that failed is in doubt after a loss of power, until the next one wrote over it.
        let then = [("then power lost", wreck, true), ("mended, then power lost", Some((end, done)), false)];
        for (then, disk, in_flight) in then {
            let Some((disk, done)) = disk else { continue };
            vfs.load(disk.after(Loss::Unsynced));
            let place = format!("{place}, {then}");
            report.checks += 1;
            if let Some(store) = report.must(&place, w.open(vfs.name())) {
                report.must(&place, w.check(&store, done, in_flight));
            }
        }
        if !hit {
            return report;
        }
        n += stride.max(1);
    }
}
