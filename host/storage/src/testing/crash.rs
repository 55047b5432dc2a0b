//! Runs a workload and takes the disk away at every operation.
//!
//! A [`Workload`] is a list of steps on a store. A step that returned `Ok` is acknowledged. At every operation of the
//! disk, [`lose_power_everywhere`] takes the power, starts again from what was left, and asks the workload whether what was
//! acknowledged is there, and the step in flight whole or absent; [`fail_everywhere`] lets the operation fail instead
//! and asks the same of the living store. What is wrong comes back as sentences, so a test can also show that the
//! harness finds something.

use super::disk::{Disk, Loss};
use super::faults::Fault;
use super::vfs::{FaultVfs, Wreck};
use crate::error::Result;
use std::collections::HashSet;

/// Findings of one run; more add nothing.
const FINDINGS_MAX: usize = 20;

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

    /// Starts from what is there, and asks for what was acknowledged.
    fn look<W: Workload>(&mut self, place: &str, vfs: &FaultVfs, w: &W, (done, in_flight): (usize, bool)) {
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
/// from the operation's number; every start is from `image`. A store that was opened once must open again.
pub fn lose_power_everywhere<W: Workload>(
    vfs: &FaultVfs,
    w: &W,
    image: &Disk,
    (first, stride): (u64, u64),
    losses: &dyn Fn(u64) -> Vec<Loss>,
) -> Report {
    let mut report = Report::default();
    let mut n = first.max(1);
    loop {
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
        let hit = vfs.hit();
        let wreck = vfs.disk();
        report.points += u64::from(hit);
        for loss in losses(n) {
            let place = format!("power lost at operation {n} ({loss:?}), {done} steps acknowledged");
            vfs.load(wreck.after(loss));
            report.look(&place, vfs, w, (done, in_flight));
        }
        if !hit {
            return report;
        }
        n += stride.max(1);
    }
}

/// Operations that one run of the workload is recorded at: each keeps a disk in memory.
const RECORDED: u64 = 32;

/// [`lose_power_everywhere`] at every operation, for workloads that take long: one run gives what the loss of power at many operations in
/// a row leaves, and what several of these leave alike is looked at once. What is swallowed by a step that went on without power is
/// not seen: there the step counts as on its way.
pub fn lose_power_recorded<W: Workload>(
    vfs: &FaultVfs,
    w: &W,
    image: &Disk,
    losses: &dyn Fn(u64) -> Vec<Loss>,
) -> Report {
    let mut report = Report::default();
    for first in (1..).step_by(usize::try_from(RECORDED).unwrap_or(1)) {
        vfs.load(image.clone());
        vfs.record(first..first + RECORDED);
        match w.open(vfs.name()) {
            Err(e) => {
                report.find("without any fault", e);
                return report;
            }
            Ok(store) => {
                for step in 0..w.steps() {
                    vfs.is_at(step, true);
                    if let Err(e) = w.step(&store, step) {
                        report.find("without any fault", e);
                        return report;
                    }
                }
                vfs.is_at(w.steps(), false);
            }
        }
        let (mut wrecks, count) = vfs.recorded();
        let ended = count < first + RECORDED;
        if ended {
            // After the last of all.
            wrecks.push(Wreck { number: count + 1, disk: vfs.disk(), at: (w.steps(), false) });
        }
        report.points += wrecks.len() as u64 - u64::from(ended);
        let mut seen = HashSet::new();
        for Wreck { number, disk, at: (done, in_flight) } in wrecks {
            for loss in losses(number) {
                let found = disk.after(loss);
                if !seen.insert((found.digest(), done, in_flight)) {
                    continue;
                }
                vfs.load(found);
                let place = format!("power lost at operation {number} ({loss:?}), {done} steps acknowledged");
                report.look(&place, vfs, w, (done, in_flight));
            }
        }
        if ended {
            return report;
        }
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
