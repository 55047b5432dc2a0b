//! Files and their rows on one disk, with the power taken away and the disk filled at every operation of either.

use super::fault_disk::FaultDisk;
use super::tests::read_all;
use super::{BatchFile, Batches, Chunking, FileStores, ObjectDisk, PutOptions, StoreConfig};
use crate::audit::Audit;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::schema::MIGRATIONS;
use crate::settings::Expect;
use crate::sqlite::{Database, Options};
use crate::testing::crash::{Report, Workload, fail_everywhere, lose_power_everywhere};
use crate::testing::{Disk, Fault, FaultVfs, Loss};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const ME: Caller = Caller::Operator;
const ROOT: &str = "/files";
/// So that a few kilobytes are several chunks in several packs.
const CHUNKING: Chunking = Chunking { above: 2000, min: 64, average: 512, max: 1024, pack_bytes_max: 2500 };

/// So that a collection of a few objects has several steps, and the power goes between them, too.
const BATCHES: Batches = Batches { objects: 2, chunks: 4, packs: 1, files: 1 };

enum Step {
    Put(&'static str, u8),
    /// Several at once.
    Batch(&'static [(&'static str, u8)]),
    /// A put that is refused in its transaction, when its content is in its place.
    Refused(u8),
    Delete(&'static str),
    Purge(&'static str),
    Label(&'static str, u64),
    Unlabel,
    /// An upload of a content, in two parts.
    Begin(&'static str),
    Append(u8, bool),
    Finish(u8),
    Abandon,
    Gc,
}

/// Every kind of step with small files, with contents that are shared, freed and stored anew.
const SMALL: &[Step] = &[
    Step::Put("a", 1),
    Step::Put("b", 1),
    Step::Put("a", 2),
    Step::Put("c", 3),
    Step::Refused(5),
    Step::Delete("b"),
    Step::Purge("c"),
    Step::Gc,
    Step::Put("b", 3),
    Step::Purge("a"),
    Step::Put("d", 2),
    Step::Gc,
    Step::Gc,
];

/// Contents from 10 on are in chunks, and have most of these in common.
const CHUNKS: &[Step] = &[
    Step::Put("l", 10),
    Step::Put("l", 11),
    Step::Label("l", 1),
    Step::Refused(15),
    Step::Batch(&[("c", 4), ("d", 13), ("e", 4)]),
    Step::Label("d", 1),
    Step::Purge("l"),
    Step::Gc,
    Step::Unlabel,
    Step::Put("l", 11),
    Step::Purge("d"),
    Step::Gc,
    Step::Gc,
];

const UPLOADS: &[Step] = &[
    Step::Begin("u"),
    Step::Append(12, false),
    Step::Gc,
    Step::Append(12, true),
    Step::Finish(12),
    Step::Begin("v"),
    Step::Append(14, false),
    Step::Abandon,
    Step::Purge("u"),
    Step::Gc,
];

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "l", "u", "v"];

fn content(n: u8) -> Vec<u8> {
    if n < 10 {
        return vec![n; 1500 + usize::from(n)];
    }
    let noise = |seed: u64, bytes| crate::testing::random::Random::new(seed).bytes(bytes);
    [noise(1, 3000), noise(n.into(), 1500)].concat()
}

/// What is there after some steps.
#[derive(Default)]
struct Model {
    /// The versions of every name: their contents, `None` for a deletion.
    names: BTreeMap<&'static str, Vec<Option<u8>>>,
    label: Option<(&'static str, u64)>,
    /// An upload that is not finished: its name, and what was received of it.
    upload: Option<(&'static str, usize)>,
}

/// The part of an upload: what it begins at, and its bytes.
fn part(n: u8, second: bool) -> (usize, Vec<u8>) {
    let mut whole = content(n);
    let rest = whole.split_off(2000);
    if second { (2000, rest) } else { (0, whole) }
}

fn expected(steps: &[Step]) -> Model {
    let mut m = Model::default();
    for step in steps {
        match step {
            Step::Put(name, n) => m.names.entry(*name).or_default().push(Some(*n)),
            Step::Batch(all) => {
                all.iter().for_each(|(name, n)| m.names.entry(*name).or_default().push(Some(*n)));
            }
            Step::Delete(name) => m.names.entry(*name).or_default().push(None),
            Step::Purge(name) => {
                m.names.remove(name);
            }
            Step::Label(name, version) => m.label = Some((*name, *version)),
            Step::Unlabel => m.label = None,
            Step::Begin(name) => m.upload = Some((*name, 0)),
            Step::Append(n, second) => {
                let (at, bytes) = part(*n, *second);
                m.upload = m.upload.map(|(name, _)| (name, at + bytes.len()));
            }
            Step::Finish(n) => {
                let (name, _) = m.upload.take().unwrap();
                m.names.entry(name).or_default().push(Some(*n));
            }
            Step::Abandon => m.upload = None,
            Step::Gc | Step::Refused(_) => {}
        }
    }
    m
}

struct Files {
    vfs: Arc<FaultVfs>,
    steps: &'static [Step],
    careless: bool,
}

struct Open {
    files: FileStores,
    audit: Audit,
    disk: FaultDisk,
}

impl Files {
    fn matches(&self, open: &Open, done: usize) -> std::result::Result<(), String> {
        let text = |e: Error| format!("{e:?}");
        let want = expected(&self.steps[..done]);
        for name in NAMES {
            let have = match open.files.versions(&ME, "s", name) {
                Err(e) if e.kind() == Kind::NotFound => Vec::new(),
                other => other.map_err(text)?,
            };
            let want = want.names.get(name).cloned().unwrap_or_default();
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
        let versions: usize = want.names.values().map(Vec::len).sum();
        let label = match open.files.label(&ME, "s", "production") {
            Err(e) if e.kind() == Kind::NotFound => None,
            other => other.map_err(text)?.path.zip(Some(())).map(|(path, ())| path),
        };
        if label.as_deref() != want.label.map(|(name, _)| name) {
            return Err(format!("the label stands for {label:?}"));
        }
        let uploads = open.files.uploads(&ME, "s").map_err(text)?;
        let received: Vec<_> = uploads.iter().map(|u| (u.path.as_str(), u.received)).collect();
        let wanted: Vec<_> = want.upload.iter().map(|(name, bytes)| (*name, *bytes as u64)).collect();
        if received != wanted {
            return Err(format!("uploads: {received:?} instead of {wanted:?}"));
        }
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
        let config = StoreConfig {
            quota_bytes: 1 << 20,
            quota_files: 1000,
            file_bytes_max: 1 << 20,
            chunking: CHUNKING,
            batches: BATCHES,
            ..StoreConfig::UNBOUNDED
        };
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
        self.steps.len()
    }

    fn step(&self, open: &Open, index: usize) -> Result<()> {
        match &self.steps[index] {
            Step::Put(name, n) => {
                open.files.put(&ME, "s", name, &mut content(*n).as_slice(), PutOptions::default()).map(|_| ())
            }
            Step::Batch(all) => {
                let files = all.iter().map(|(name, n)| BatchFile {
                    path: (*name).into(),
                    content: content(*n),
                    options: PutOptions::default(),
                });
                open.files.put_many(&ME, "s", files.collect()).map(drop)
            }
            Step::Refused(n) => match refused(&open.files, &content(*n)) {
                Err(e) if e.kind() == Kind::Conflict => Ok(()),
                other => other,
            },
            Step::Label(name, version) => {
                open.files.set_label(&ME, "s", "production", (name, Some(*version)), Expect::Any).map(drop)
            }
            Step::Unlabel => open.files.remove_label(&ME, "s", "production", Expect::Any).map(drop),
            Step::Begin(name) => open.files.begin_upload(&ME, "s", name, PutOptions::default()).map(drop),
            Step::Append(n, second) => {
                let (at, bytes) = part(*n, *second);
                let hash = blake3::hash(&bytes).to_hex().to_string();
                let id = upload(open)?;
                open.files.append_upload(&ME, "s", &id, (at as u64, &hash), &mut bytes.as_slice()).map(drop)
            }
            Step::Finish(n) => {
                let hash = blake3::hash(&content(*n)).to_hex().to_string();
                open.files.finish_upload(&ME, "s", &upload(open)?, (Some(&hash), None)).map(drop)
            }
            Step::Abandon => open.files.abandon_upload(&ME, "s", &upload(open)?),
            Step::Delete(name) => open.files.delete(&ME, "s", name, false),
            Step::Purge(name) => open.files.delete(&ME, "s", name, true),
            Step::Gc => open.files.gc(&ME, "s").map(|_| ()),
        }
    }

    fn check(&self, open: &Open, done: usize, in_flight: bool) -> std::result::Result<(), String> {
        let now = self.matches(open, done);
        if in_flight && now.is_err() {
            return self.matches(open, done + 1).map_err(|e| format!("{e}, and before: {now:?}"));
        }
        now
    }

    fn probe(&self, open: &Open) -> Result<()> {
        let name = "probe";
        open.files.put(&ME, "s", name, &mut content(9).as_slice(), PutOptions::default())?;
        open.files.put(&ME, "s", name, &mut content(19).as_slice(), PutOptions::default())?;
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

/// Stores a content and refuses its name.
fn refused(files: &FileStores, content: &[u8]) -> Result<()> {
    let no = |_: &crate::sqlite::Tx<'_>, _: &super::FileVersion| Err(Error::conflict("no"));
    let mut content = content;
    files.put_with(&ME, "s", "r", &mut content, PutOptions::default(), Expect::Any, |_| Ok(()), no).map(drop)
}

/// The upload that there is.
fn upload(open: &Open) -> Result<String> {
    let uploads = open.files.uploads(&ME, "s")?;
    uploads.first().map(|u| u.id.clone()).ok_or_else(|| Error::internal("there is no upload"))
}

fn workload(name: &str, steps: &'static [Step]) -> (Files, Disk) {
    let w = Files { vfs: FaultVfs::new(name).unwrap(), steps, careless: false };
    drop(w.open(w.vfs.name()).unwrap());
    let image = w.vfs.disk();
    (w, image)
}

fn sound(report: &Report) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= 80, "{report:?}");
}

fn lose_power(name: &str, steps: &'static [Step]) {
    let (w, image) = workload(name, steps);
    let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 1), &|n| match n % 3 {
        0 => vec![Loss::Unsynced, Loss::Tail(n)],
        1 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Unsynced],
    });
    sound(&report);
}

#[test]
fn power_lost_at_every_operation_loses_no_file() {
    lose_power("files-power", SMALL);
}

#[test]
fn power_lost_at_every_operation_loses_no_chunk_and_no_label() {
    lose_power("files-power-chunks", CHUNKS);
}

#[test]
fn power_lost_at_every_operation_loses_no_part_of_an_upload() {
    lose_power("files-power-uploads", UPLOADS);
}

fn fail(name: &str, steps: &'static [Step], stride: u64) {
    let (w, image) = workload(name, steps);
    for fault in [Fault::Full, Fault::Io] {
        for forever in [false, true] {
            let report = fail_everywhere(&w.vfs, &w, &image, (1, stride), fault, forever);
            assert!(report.findings.is_empty(), "{:#?}", report.findings);
            assert!(report.points >= 30, "{report:?}");
        }
    }
}

#[test]
fn a_full_or_failing_disk_refuses_whole_files() {
    let (w, image) = workload("files-fail", SMALL);
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&w.vfs, &w, &image, (1, 1), fault, false));
        sound(&fail_everywhere(&w.vfs, &w, &image, (1, 2), fault, true));
    }
}

#[test]
fn a_full_or_failing_disk_refuses_whole_chunks() {
    fail("files-fail-chunks", CHUNKS, 2);
}

#[test]
fn a_full_or_failing_disk_refuses_whole_parts() {
    fail("files-fail-uploads", UPLOADS, 2);
}

#[test]
fn the_harness_finds_an_object_that_was_not_synced() {
    for (name, steps) in
        [("files-careless", SMALL), ("files-careless-chunks", CHUNKS), ("files-careless-uploads", UPLOADS)]
    {
        let (mut w, image) = workload(name, steps);
        w.careless = true;
        let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 1), &|_| vec![Loss::Unsynced]);
        assert!(!report.findings.is_empty(), "{name}");
    }
}

/// The commit of a put fails, and is on the disk all the same: what it names must be there when it comes back, also where the same
/// content was refused since.
#[test]
fn what_is_refused_takes_nothing_that_a_failed_commit_names() {
    let (w, image) = workload("files-doubt", SMALL);
    for again in [false, true] {
        let (mut n, mut came_back) = (1, 0);
        loop {
            w.vfs.load(image.clone());
            let open = w.open(w.vfs.name()).unwrap();
            w.vfs.fail_at(n, Fault::Io);
            let put = open.files.put(&ME, "s", "a", &mut content(1).as_slice(), PutOptions::default());
            if !w.vfs.hit() {
                put.unwrap();
                break;
            }
            w.vfs.heal();
            if again {
                assert_eq!(refused(&open.files, &content(1)).unwrap_err().kind(), Kind::Conflict);
            }
            let wreck = w.vfs.disk();
            for loss in [Loss::Nothing, Loss::Unsynced, Loss::Sectors(n)] {
                w.vfs.load(wreck.after(loss));
                let open = w.open(w.vfs.name()).unwrap();
                let verified = open.files.verify(&ME, "s", &mut |_| ()).unwrap();
                assert_eq!(verified.faults, [], "operation {n}, {loss:?}, refused: {again}");
                came_back += verified.objects;
            }
            n += 1;
        }
        assert!(n > 10 && (again || came_back > 0), "{n} {came_back}");
    }
}
