//! Files and their rows on one disk, with the power taken away and the disk filled at every operation of either.

use super::fault_disk::FaultDisk;
use super::tests::read_all;
use super::{FileStores, ObjectDisk, PutOptions, StoreConfig};
use crate::audit::Audit;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::schema::MIGRATIONS;
use crate::sqlite::{Database, Options};
use crate::testing::crash::{Report, Workload, fail_everywhere, lose_power_everywhere};
use crate::testing::{Disk, Fault, FaultVfs, Loss};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const ME: Caller = Caller::Operator;
const ROOT: &str = "/files";

enum Step {
    Put(&'static str, u8),
    Delete(&'static str),
    Purge(&'static str),
    Gc,
}

/// Every kind of step, with contents that are shared, freed and stored anew.
const STEPS: &[Step] = &[
    Step::Put("a", 1),
    Step::Put("b", 1),
    Step::Put("a", 2),
    Step::Put("c", 3),
    Step::Delete("b"),
    Step::Purge("c"),
    Step::Gc,
    Step::Put("b", 3),
    Step::Purge("a"),
    Step::Put("d", 2),
    Step::Gc,
    Step::Gc,
];

fn content(n: u8) -> Vec<u8> {
    vec![n; 1500 + usize::from(n)]
}

/// The versions of every name after some steps: their contents, `None` for a deletion.
fn expected(done: usize) -> BTreeMap<&'static str, Vec<Option<u8>>> {
    let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for step in &STEPS[..done] {
        match step {
            Step::Put(name, n) => names.entry(*name).or_default().push(Some(*n)),
            Step::Delete(name) => names.entry(*name).or_default().push(None),
            Step::Purge(name) => {
                names.remove(name);
            }
            Step::Gc => {}
        }
    }
    names
}

struct Files {
    vfs: Arc<FaultVfs>,
    careless: bool,
}

struct Open {
    files: FileStores,
    audit: Audit,
    disk: FaultDisk,
}

impl Files {
    fn matches(open: &Open, done: usize) -> std::result::Result<(), String> {
        let text = |e: Error| format!("{e:?}");
        let want = expected(done);
        for name in ["a", "b", "c", "d"] {
            let have = match open.files.versions(&ME, "s", name) {
                Err(e) if e.kind() == Kind::NotFound => Vec::new(),
                other => other.map_err(text)?,
            };
            let want = want.get(name).cloned().unwrap_or_default();
            if have.len() != want.len() {
                return Err(format!("`{name}` has {} versions, not {}", have.len(), want.len()));
            }
            for (version, n) in have.iter().rev().zip(want) {
                match n {
                    None if version.blake3.is_none() => {}
                    None => return Err(format!("version {} of `{name}` is not deleted", version.version)),
                    Some(n) => {
                        let got =
                            open.files.get(&ME, "s", name, Some(version.version), None).map_err(text)?;
                        let bytes = read_all(got.1).map_err(|e| e.to_string())?;
                        if bytes != content(n) {
                            return Err(format!("`{name}` has other bytes"));
                        }
                    }
                }
            }
        }
        let verified = open.files.verify(&ME, "s", &mut |_| ()).map_err(text)?;
        let stats = open.files.stats("s").map_err(text)?;
        let versions: usize = want.values().map(Vec::len).sum();
        if !verified.faults.is_empty() || stats.versions != versions as u64 {
            return Err(format!("{verified:?} {stats:?}"));
        }
        if stats.objects != verified.objects || stats.bytes != verified.bytes {
            return Err(format!("the accounts do not fit the rows: {stats:?} {verified:?}"));
        }
        if let Some(broken) = open.audit.verify(&ME).map_err(text)?.broken {
            return Err(format!("{broken:?}"));
        }
        Ok(())
    }
}

impl Workload for Files {
    type Store = Open;

    fn open(&self, vfs: &str) -> Result<Open> {
        let options = Options { vfs: Some(vfs.into()), readers: 1, ..Options::default() };
        let db = Arc::new(Database::open(Path::new("/data/shiphold.db"), options, MIGRATIONS)?);
        let config = StoreConfig { quota_bytes: 1 << 20, quota_files: 1000, file_bytes_max: 1 << 20 };
        let mut disk = FaultDisk::new(&self.vfs, ROOT);
        disk.careless = self.careless;
        let disks = BTreeMap::from([("s".to_string(), (Box::new(disk) as Box<dyn ObjectDisk>, config))]);
        let files = FileStores::with_disks(disks, db.clone(), Arc::new(|| Ok(())))?;
        let open = Open { files, audit: Audit::new(db), disk: FaultDisk::new(&self.vfs, ROOT) };
        if !open.disk.list_tmp().map_err(|e| Error::io("tmp", e))?.is_empty() {
            return Err(Error::internal("tmp is not empty"));
        }
        Ok(open)
    }

    fn steps(&self) -> usize {
        STEPS.len()
    }

    fn step(&self, open: &Open, index: usize) -> Result<()> {
        match &STEPS[index] {
            Step::Put(name, n) => {
                open.files.put(&ME, "s", name, &mut content(*n).as_slice(), PutOptions::default()).map(|_| ())
            }
            Step::Delete(name) => open.files.delete(&ME, "s", name, false),
            Step::Purge(name) => open.files.delete(&ME, "s", name, true),
            Step::Gc => open.files.gc(&ME, "s").map(|_| ()),
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
        let name = "probe";
        open.files.put(&ME, "s", name, &mut content(9).as_slice(), PutOptions::default())?;
        let got = open.files.get(&ME, "s", name, None, None)?;
        read_all(got.1).map_err(|e| Error::io(name, e))?;
        open.files.delete(&ME, "s", name, true)?;
        open.files.gc(&ME, "s")?;
        let orphans = open.files.verify(&ME, "s", &mut |_| ())?.orphans;
        if orphans > 0 {
            return Err(Error::internal(format!("{orphans} orphans after a collection")));
        }
        Ok(())
    }
}

fn workload(name: &str) -> (Files, Disk) {
    let w = Files { vfs: FaultVfs::new(name).unwrap(), careless: false };
    drop(w.open(w.vfs.name()).unwrap());
    let image = w.vfs.disk();
    (w, image)
}

fn sound(report: &Report) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= 80, "{report:?}");
}

#[test]
fn power_lost_at_every_operation_loses_no_file() {
    let (w, image) = workload("files-power");
    let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 1), &|n| match n % 3 {
        0 => vec![Loss::Unsynced, Loss::Tail(n)],
        1 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Unsynced],
    });
    sound(&report);
}

#[test]
fn a_full_or_failing_disk_refuses_whole_files() {
    let (w, image) = workload("files-fail");
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&w.vfs, &w, &image, (1, 1), fault, false));
        sound(&fail_everywhere(&w.vfs, &w, &image, (1, 2), fault, true));
    }
}

#[test]
fn the_harness_finds_an_object_that_was_not_synced() {
    let (mut w, image) = workload("files-careless");
    w.careless = true;
    let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 7), &|_| vec![Loss::Unsynced]);
    assert!(!report.findings.is_empty());
}
