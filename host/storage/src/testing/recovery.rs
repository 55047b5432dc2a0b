//! The power taken, or the disk failing, while a store recovers from the loss of power before.

use super::crash::{Report, Workload, run};
use super::disk::{Disk, Loss};
use super::faults::Fault;
use super::vfs::FaultVfs;

/// What goes wrong during a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The power goes once more.
    Power,
    /// One operation fails; the process goes on.
    Fails(Fault),
}

/// Takes the power at every `stride`-th operation of the workload from `first` on, and then lets `again` happen at every operation
/// of the start that follows, which may fail or not. The start after that must find what was acknowledged; then all steps
/// are done once more, which must do no harm.
pub fn fail_in_recovery<W: Workload>(
    vfs: &FaultVfs,
    w: &W,
    image: &Disk,
    (first, stride): (u64, u64),
    losses: &dyn Fn(u64) -> Loss,
    again: Again,
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
        }
        if !vfs.hit() {
            return report;
        }
        let wreck = vfs.disk().after(losses(n));
        for m in 1.. {
            vfs.load(wreck.clone());
            match again {
                Again::Power => vfs.crash_at(m),
                Again::Fails(fault) => vfs.fail_at(m, fault),
            }
            // Whether it opens or not: what counts is what the next start finds.
            drop(w.open(vfs.name()));
            if !vfs.hit() {
                break;
            }
            let place =
                format!("power lost at operation {n}, then {again:?} at operation {m} of the recovery");
            let found = vfs.disk().after(if again == Again::Power { losses(n ^ m) } else { Loss::Unsynced });
            report.points += 1;
            vfs.load(found);
            report.checks += 1;
            let Some(store) = report.must(&place, w.open(vfs.name())) else { continue };
            report.must(&place, w.check(&store, done, in_flight));
            report.must(&place, w.probe(&store));
            report.go_on(&place, w, &store, done);
        }
        n += stride.max(1);
    }
}
