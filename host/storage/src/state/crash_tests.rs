//! Checkpoints and their objects on one disk, with the power taken away and the disk filled at every operation.

use super::{Save, States, Which};
use crate::audit::Audit;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::files::fault_disk::FaultDisk;
use crate::files::{FileStores, ObjectDisk, StoreConfig, as_error};
use crate::manifest;
use crate::schema::MIGRATIONS;
use crate::settings::Expect;
use crate::sqlite::{Database, Options};
use crate::testing::crash::{Report, Workload, fail_everywhere, lose_power_everywhere};
use crate::testing::{Disk, Fault, FaultVfs, Loss};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const ME: Caller = Caller::Operator;
const KEEP: u64 = 2;
const LARGE: usize = super::INLINE_BYTES_MAX + 1;

#[derive(Clone, Copy)]
enum Step {
    /// A strategy, the byte that its checkpoint is made of, and how many of it.
    Save(&'static str, u8, usize),
    Delete(&'static str),
    Purge(&'static str),
    Maintain,
    Gc,
}

/// Every kind of step, with contents that are shared, pruned and saved anew.
const STEPS: &[Step] = &[
    Step::Save("a", 1, 10),
    Step::Save("a", 2, LARGE),
    Step::Save("b", 2, LARGE),
    Step::Save("a", 3, LARGE),
    Step::Save("a", 4, 5_000),
    Step::Maintain,
    Step::Delete("b"),
    Step::Gc,
    Step::Purge("b"),
    Step::Maintain,
    Step::Save("b", 3, LARGE),
    Step::Save("a", 5, 0),
    Step::Maintain,
];

/// Its number, and the byte and the length of its content; `None`: a deletion.
type Revision = (u64, Option<(u8, usize)>);

/// The revisions of each strategy that are kept after some steps, oldest first: the number, and what it is made of.
fn expected(done: usize) -> BTreeMap<&'static str, Vec<Revision>> {
    let mut all: BTreeMap<_, Vec<Revision>> = BTreeMap::new();
    for step in &STEPS[..done] {
        let (name, content, keep) = match *step {
            Step::Save(name, n, size) => (name, Some((n, size)), KEEP as usize),
            Step::Delete(name) => (name, None, KEEP as usize),
            Step::Purge(name) => (name, None, 1),
            Step::Maintain | Step::Gc => continue,
        };
        let revisions = all.entry(name).or_default();
        revisions.push((revisions.last().map_or(1, |(r, _)| r + 1), content));
        let old = revisions.len().saturating_sub(keep);
        revisions.drain(..old);
    }
    all
}

struct Checkpoints {
    vfs: Arc<FaultVfs>,
    careless: bool,
}

struct Open {
    state: States,
    files: Arc<FileStores>,
    audit: Audit,
}

impl Checkpoints {
    fn matches(open: &Open, done: usize) -> std::result::Result<(), String> {
        let text = |e: Error| format!("{e:?}");
        let want = expected(done);
        for name in ["a", "b"] {
            let mut have = open.state.history(&ME, name, None, 100).map_err(text)?;
            have.reverse();
            let want = want.get(name).cloned().unwrap_or_default();
            if have.iter().map(|c| c.revision).ne(want.iter().map(|(r, _)| *r)) {
                return Err(format!("`{name}` has {have:?}, not {want:?}"));
            }
            for (revision, content) in &want {
                let loaded = match open.state.load(&ME, name, Which::Revision(*revision)) {
                    Err(e) if e.kind() == Kind::NotFound => None,
                    other => {
                        Some(std::io::read_to_string(other.map_err(text)?.1).map_err(|e| text(as_error(e)))?)
                    }
                };
                let content = content.map(|(n, size)| vec![n; size]);
                if loaded.map(String::into_bytes) != content {
                    return Err(format!("revision {revision} of `{name}` has other bytes"));
                }
            }
        }
        let verified = open.files.verify(&ME, "s", &mut |_| ()).map_err(text)?;
        let stats = open.files.stats("s").map_err(text)?;
        if !verified.faults.is_empty() || (stats.objects, stats.bytes) != (verified.objects, verified.bytes) {
            return Err(format!("the accounts do not fit the rows: {stats:?} {verified:?}"));
        }
        match open.audit.verify(&ME).map_err(text)?.broken {
            Some(broken) => Err(format!("{broken:?}")),
            None => Ok(()),
        }
    }
}

impl Workload for Checkpoints {
    type Store = Open;

    fn open(&self, vfs: &str) -> Result<Open> {
        let options = Options { vfs: Some(vfs.into()), readers: 1, ..Options::default() };
        let db = Arc::new(Database::open(Path::new("/data/shiphold.db"), options, MIGRATIONS)?);
        let config = StoreConfig {
            quota_bytes: 1 << 24,
            quota_files: 1000,
            file_bytes_max: 1 << 20,
            ..StoreConfig::UNBOUNDED
        };
        let mut disk = FaultDisk::new(&self.vfs, "/files");
        disk.careless = self.careless;
        let disks = BTreeMap::from([("s".to_string(), (Box::new(disk) as Box<dyn ObjectDisk>, config))]);
        let files = Arc::new(FileStores::with_disks(disks, db.clone(), Arc::new(|| Ok(())))?);
        let rules = manifest::State { store: Some("s".into()), keep: KEEP };
        Ok(Open { state: States::new(db.clone(), files.clone(), rules), files, audit: Audit::new(db) })
    }

    fn steps(&self) -> usize {
        STEPS.len()
    }

    fn step(&self, open: &Open, index: usize) -> Result<()> {
        match STEPS[index] {
            Step::Save(name, n, size) => {
                let before = expected(index).get(name).and_then(|r| r.last().map(|(r, _)| *r));
                let expect = before.map_or(Expect::Absent, Expect::Revision);
                let save = Save { expect, ..Save::default() };
                open.state.save(&ME, name, &mut vec![n; size].as_slice(), save).map(drop)
            }
            Step::Delete(name) => open.state.delete(&ME, name, Expect::Any, false).map(drop),
            Step::Purge(name) => open.state.delete(&ME, name, Expect::Any, true).map(drop),
            Step::Maintain => open.state.maintain(),
            Step::Gc => open.files.gc(&ME, "s").map(drop),
        }
    }

    fn check(&self, open: &Open, done: usize, in_flight: bool) -> std::result::Result<(), String> {
        let now = Self::matches(open, done);
        if in_flight && now.is_err() {
            return Self::matches(open, done + 1).map_err(|e| format!("{e}, and before: {now:?}"));
        }
        now
    }

    fn probe(&self, open: &Open) -> Result<()> {
        let save = || Save::default();
        open.state.save(&ME, "probe", &mut vec![9; LARGE].as_slice(), save())?;
        open.state.save(&ME, "probe", &mut &b"small"[..], save())?;
        open.state.delete(&ME, "probe", Expect::Any, true)?;
        open.state.maintain()?;
        open.files.gc(&ME, "s")?;
        match open.files.verify(&ME, "s", &mut |_| ())?.orphans {
            0 => Ok(()),
            n => Err(Error::internal(format!("{n} orphans after a collection"))),
        }
    }
}

fn workload(name: &str) -> (Checkpoints, Disk) {
    let w = Checkpoints { vfs: FaultVfs::new(name).unwrap(), careless: false };
    drop(w.open(w.vfs.name()).unwrap());
    let image = w.vfs.disk();
    (w, image)
}

fn sound(report: &Report) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= 80, "{report:?}");
}

#[test]
fn power_lost_at_every_operation_loses_no_checkpoint() {
    let (w, image) = workload("state-power");
    // An object is written in steps of a thousand bytes, which are many and alike.
    let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 5), &|n| match n % 3 {
        0 => vec![Loss::Unsynced, Loss::Tail(n)],
        1 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Unsynced],
    });
    sound(&report);
}

#[test]
fn a_full_or_failing_disk_refuses_whole_checkpoints() {
    let (w, image) = workload("state-fail");
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&w.vfs, &w, &image, (1, 5), fault, false));
        sound(&fail_everywhere(&w.vfs, &w, &image, (2, 6), fault, true));
    }
}

#[test]
fn the_harness_finds_a_checkpoint_that_was_not_synced() {
    let (mut w, image) = workload("state-careless");
    w.careless = true;
    let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 7), &|_| vec![Loss::Unsynced]);
    assert!(!report.findings.is_empty());
}
