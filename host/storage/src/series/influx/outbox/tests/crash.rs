//! The outbox with the power taken away, and the disk filled, at every operation; the server keeps what it has.

use super::*;
use crate::testing::crash::{Report, Workload, lose_power_at};
use crate::testing::series::{SeriesWorkload, Step};
use crate::testing::{Disk, Fault as DiskFault, FaultVfs, Loss};

/// Starts with an empty server, and delivers what is left when it is looked at.
struct Delivered<F> {
    server: Arc<Server>,
    inner: SeriesWorkload<F>,
}

impl<F: Fn(&str) -> Result<Outbox>> Workload for Delivered<F> {
    type Store = Outbox;
    fn open(&self, vfs: &str) -> Result<Outbox> {
        self.inner.open(vfs)
    }
    fn steps(&self) -> usize {
        self.inner.steps()
    }
    fn step(&self, store: &Outbox, index: usize) -> Result<()> {
        if index == 0 {
            self.server.reset();
        }
        self.inner.step(store, index)
    }
    fn check(&self, store: &Outbox, done: usize, in_flight: bool) -> std::result::Result<(), String> {
        // As it is, partly here and partly there; then all of it there.
        self.inner.check(store, done, in_flight)?;
        if in_flight || done == 0 {
            return Ok(());
        }
        store.core.deliver_next();
        self.inner.check(store, done, in_flight)
    }
    fn probe(&self, store: &Outbox) -> Result<()> {
        store.seal()?;
        self.inner.probe(store)
    }
}

type Opens = Box<dyn Fn(&str) -> Result<Outbox>>;

fn workload(name: &str, synchronous: Synchronous) -> (Arc<FaultVfs>, Delivered<Opens>, Disk) {
    let vfs = FaultVfs::new(name).unwrap();
    let server = Arc::<Server>::default();
    let of_engine = server.clone();
    let open: Opens = Box::new(move |vfs| {
        let options = OutboxOptions { vfs: Some(vfs.into()), synchronous, ..options() };
        Outbox::open(Arc::new(Line(of_engine.clone())), Path::new("/data/outbox.db"), options)
    });
    use Step::{Delete, Seal, Write};
    let mut inner = SeriesWorkload::new(open);
    // A seal delivers. A delete does, too, and is the server's own.
    inner.steps = vec![Write(0), Write(1), Seal, Write(2), Write(1), Delete(1), Write(3), Seal, Write(4)];
    let w = Delivered { server, inner };
    drop(w.open(vfs.name()).unwrap());
    let image = vfs.disk();
    (vfs, w, image)
}

/// One point at a time, each from an empty server.
fn lose_power(
    vfs: &FaultVfs,
    w: &Delivered<Opens>,
    image: &Disk,
    losses: &dyn Fn(u64) -> Vec<Loss>,
) -> Report {
    let mut all = Report::default();
    for n in 1.. {
        w.server.reset();
        let report = lose_power_at(vfs, w, image, n, &losses(n));
        all.checks += report.checks;
        all.points += report.points;
        all.findings.extend(report.findings);
        if report.points == 0 {
            break;
        }
    }
    all
}

fn sound(report: &Report) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= 30, "{report:?}");
}

#[test]
fn power_lost_at_every_operation_loses_no_acknowledged_batch() {
    let (vfs, w, image) = workload("outbox-power", Synchronous::Full);
    sound(&lose_power(&vfs, &w, &image, &|n| match n % 3 {
        0 => vec![Loss::Unsynced, Loss::Tail(n)],
        1 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Tail(n ^ 0xa5a5), Loss::Sectors(n ^ 0x5a5a)],
    }));
}

/// Lets the n-th operation fail, and those after it if `forever`. What failed had no effect, and works on a mended disk; then
/// the power goes. False: there is no n-th operation.
fn fail(
    (vfs, w, image): &(Arc<FaultVfs>, Delivered<Opens>, Disk),
    n: u64,
    fault: DiskFault,
    forever: bool,
) -> bool {
    w.server.reset();
    vfs.load(image.clone());
    if forever {
        vfs.fail_from(n, fault)
    } else {
        vfs.fail_at(n, fault)
    };
    let mut hit = false;
    let mut store = w.open(vfs.name()).unwrap_or_else(|_| {
        hit = vfs.hit();
        vfs.heal();
        w.open(vfs.name()).unwrap()
    });
    for step in 0..w.steps() {
        if let Err(e) = w.inner.step(&store, step) {
            hit |= vfs.hit();
            assert!(hit, "without any fault: {e:?}");
            w.inner.check(&store, step, false).unwrap_or_else(|f| panic!("{fault:?} at {n}, after {e}: {f}"));
            vfs.heal();
            w.inner.step(&store, step).unwrap();
        }
    }
    hit |= vfs.hit();
    vfs.heal();
    for _ in 0..2 {
        w.inner.check(&store, w.steps(), false).unwrap_or_else(|f| panic!("{fault:?} at {n}: {f}"));
        let disk = vfs.disk();
        drop(store);
        vfs.load(disk.after(Loss::Unsynced));
        store = w.open(vfs.name()).unwrap();
    }
    store.seal().unwrap();
    w.inner.check(&store, w.steps(), false).unwrap();
    hit
}

#[test]
fn a_full_or_failing_disk_refuses_whole_batches() {
    let all = workload("outbox-fail", Synchronous::Full);
    for (fault, forever) in
        [(DiskFault::Full, false), (DiskFault::Full, true), (DiskFault::Io, false), (DiskFault::Io, true)]
    {
        let points = (1..).take_while(|n| fail(&all, *n, fault, forever)).count();
        assert!(points >= 30, "{points}");
    }
}

#[test]
fn the_harness_finds_a_lost_batch_when_nothing_is_synced() {
    let (vfs, w, image) = workload("outbox-off", Synchronous::Off);
    let report = lose_power(&vfs, &w, &image, &|_| vec![Loss::Unsynced]);
    assert!(!report.findings.is_empty(), "`synchronous=OFF` passed: the harness proves nothing");
}
