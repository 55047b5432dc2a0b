use super::stream::Tmp;
use super::*;
use crate::caller::{Caller, Grants, Scope};
use crate::error::{Error, Kind, Result};
use crate::schema::MIGRATIONS;
use crate::sqlite::{Database, Options};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

pub(super) const ME: Caller = Caller::Operator;
pub(super) const CONFIG: StoreConfig = StoreConfig {
    quota_bytes: 1 << 20,
    quota_files: 1000,
    file_bytes_max: 1 << 20,
    ..StoreConfig::UNBOUNDED
};

pub(super) fn read_all(mut reader: Box<dyn Read + Send>) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.read_to_end(&mut out)?;
    Ok(out)
}

/// A store `s` on the real disk.
pub(super) struct Fixture {
    pub(super) files: FileStores,
    pub(super) db: Arc<Database>,
    pub(super) read_only: Arc<AtomicBool>,
    dir: TempDir,
}

impl Fixture {
    pub(super) fn new(config: StoreConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(
            Database::open(&dir.path().join("shiphold.db"), Options::default(), MIGRATIONS).unwrap(),
        );
        let read_only = Arc::new(AtomicBool::new(false));
        let files = stores(&dir, &db, &read_only, config).unwrap();
        Self { files, db, read_only, dir }
    }
    pub(super) fn reopen(self, config: StoreConfig) -> Self {
        let Self { files, db, read_only, dir } = self;
        drop(files);
        let files = stores(&dir, &db, &read_only, config).unwrap();
        Self { files, db, read_only, dir }
    }
    pub(super) fn put(&self, path: &str, content: &[u8]) -> Result<FileVersion> {
        self.files.put(&ME, "s", path, &mut { content }, PutOptions::default())
    }
    pub(super) fn get(&self, path: &str) -> Result<Vec<u8>> {
        let (_, reader) = self.files.get(&ME, "s", path, None, None)?;
        read_all(reader).map_err(as_error)
    }
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let all = self.files.list(&ME, "s", prefix, None, PAGE_MAX).unwrap();
        all.into_iter().map(|v| v.path).collect()
    }
    pub(super) fn verify(&self) -> FilesVerify {
        self.files.verify(&ME, "s", &mut |_| ()).unwrap()
    }
    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
    pub(super) fn object(&self, hash: &str) -> PathBuf {
        self.root().join("objects").join(&hash[..2]).join(hash)
    }
    pub(super) fn disk(&self) -> CapDisk {
        CapDisk::open(&self.root()).unwrap()
    }
    /// Files in `tmp/` and objects on the disk.
    pub(super) fn on_disk(&self) -> (usize, usize) {
        let disk = CapDisk::open(&self.root()).unwrap();
        (disk.list_tmp().unwrap().len(), disk.list(Area::Objects).unwrap().len())
    }
}

fn stores(
    dir: &TempDir,
    db: &Arc<Database>,
    read_only: &Arc<AtomicBool>,
    config: StoreConfig,
) -> Result<FileStores> {
    let disk = CapDisk::open(&dir.path().join("root")).map_err(|e| Error::io("root", e))?;
    let disks = BTreeMap::from([("s".to_string(), (Box::new(disk) as Box<dyn ObjectDisk>, config))]);
    let read_only = read_only.clone();
    let writable = move || match read_only.load(Ordering::SeqCst) {
        true => Err(Error::new(Kind::ReadOnly, "the disk is nearly full")),
        false => Ok(()),
    };
    FileStores::with_disks(disks, db.clone(), Arc::new(writable))
}

pub(super) fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

#[test]
fn a_file_and_its_versions() {
    let f = Fixture::new(CONFIG);
    let options = PutOptions {
        media_type: Some("text/plain".into()),
        metadata: json!({ "from": "training" }),
        ..PutOptions::default()
    };
    let one = f.files.put(&ME, "s", "momentum/w.bin", &mut &b"one"[..], options).unwrap();
    assert_eq!((one.version, one.size, one.blake3.as_deref()), (1, 3, Some(hash(b"one").as_str())));
    let two = f.put("momentum/w.bin", b"three").unwrap();
    assert_eq!(two.version, 2);
    f.put("momentum/x.bin", b"").unwrap();
    f.put("other", b"x").unwrap();
    assert_eq!(f.get("momentum/w.bin").unwrap(), b"three");
    assert_eq!(f.get("momentum/x.bin").unwrap(), b"");
    let (stat, reader) = f.files.get(&ME, "s", "momentum/w.bin", Some(1), None).unwrap();
    assert_eq!(read_all(reader).unwrap(), b"one");
    assert_eq!(stat, one);
    assert_eq!((stat.media_type.as_str(), &stat.metadata), ("text/plain", &json!({ "from": "training" })));
    assert_eq!(f.files.stat(&ME, "s", "momentum/w.bin", None).unwrap(), two);
    assert_eq!(f.files.versions(&ME, "s", "momentum/w.bin").unwrap(), [two, one]);
    assert_eq!(f.names(""), ["momentum/w.bin", "momentum/x.bin", "other"]);
    assert_eq!(f.names("momentum/"), ["momentum/w.bin", "momentum/x.bin"]);
    let page = f.files.list(&ME, "s", "", Some("momentum/w.bin"), 1).unwrap();
    assert_eq!(page.iter().map(|v| v.path.as_str()).collect::<Vec<_>>(), ["momentum/x.bin"]);
    assert_eq!(f.files.list(&ME, "s", "", None, PAGE_MAX + 1).unwrap_err().kind(), Kind::Limit);

    f.files.delete(&ME, "s", "momentum/w.bin", false).unwrap();
    assert_eq!(f.names("momentum/"), ["momentum/x.bin"]);
    assert_eq!(f.get("momentum/w.bin").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(
        f.files.delete(&ME, "s", "momentum/w.bin", false).unwrap_err().kind(),
        Kind::NotFound,
        "it is gone"
    );
    assert!(f.files.get(&ME, "s", "momentum/w.bin", Some(1), None).is_ok(), "its versions stay");
    assert_eq!(f.files.get(&ME, "s", "momentum/w.bin", Some(3), None).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(f.put("momentum/w.bin", b"four").unwrap().version, 4);
    for version in [0, 9, u64::MAX] {
        assert_eq!(
            f.files.stat(&ME, "s", "momentum/w.bin", Some(version)).unwrap_err().kind(),
            Kind::NotFound
        );
    }
    assert_eq!(f.files.stat(&ME, "nope", "a", None).unwrap_err().kind(), Kind::NotFound);
    let audit = crate::audit::Audit::new(f.db.clone());
    assert_eq!(audit.len().unwrap(), 6);
    assert!(audit.verify(&ME).unwrap().broken.is_none());
}

#[test]
fn one_content_is_one_object_and_counts_once() {
    let f = Fixture::new(CONFIG);
    for path in ["a", "b", "a"] {
        f.put(path, &[7; 1000]).unwrap();
    }
    let want = FilesStats { versions: 3, objects: 1, bytes: 1000, stored: 1000 };
    assert_eq!(f.files.stats("s").unwrap(), want);
    assert_eq!(f.on_disk(), (0, 1));
    let f = f.reopen(CONFIG);
    assert_eq!(f.files.stats("s").unwrap(), want);
    f.files.delete(&ME, "s", "a", true).unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default(), "`b` needs it");
    f.files.delete(&ME, "s", "b", true).unwrap();
    assert_eq!(
        f.files.stats("s").unwrap(),
        FilesStats { versions: 0, objects: 1, bytes: 1000, stored: 1000 }
    );
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport { removed: 1, bytes: 1000, ..GcReport::default() });
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default());
    assert_eq!(f.files.stats("s").unwrap(), FilesStats::default());
    assert_eq!(f.on_disk(), (0, 0));
    assert_eq!(f.files.delete(&ME, "s", "b", true).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(f.put("b", &[7; 1000]).unwrap().version, 1, "a purged name begins anew");
}

#[test]
fn names_are_checked_and_have_one_spelling() {
    let f = Fixture::new(CONFIG);
    for name in ["", "/etc/passwd", "../a", "a/../../b", "a\0b", "nul", "a/", "a\u{10ffff}"] {
        assert_eq!(f.put(name, b"x").unwrap_err().kind(), Kind::Invalid, "{name:?}");
    }
    f.put("Weights.bin", b"x").unwrap();
    let conflict = f.put("weights.BIN", b"y").unwrap_err();
    assert_eq!(conflict.kind(), Kind::Conflict);
    assert!(conflict.message().contains("Weights.bin"));
    f.files.delete(&ME, "s", "Weights.bin", false).unwrap();
    assert_eq!(f.put("weights.BIN", b"y").unwrap_err().kind(), Kind::Conflict, "its versions are there");
    f.files.delete(&ME, "s", "Weights.bin", true).unwrap();
    f.put("weights.BIN", b"y").unwrap();
    f.files.gc(&ME, "s").unwrap();
    assert_eq!(f.on_disk(), (0, 1), "nothing of what was refused");
}

#[test]
fn every_bound_at_its_boundary() {
    let f = Fixture::new(StoreConfig {
        quota_bytes: 250,
        quota_files: 5,
        file_bytes_max: 100,
        ..StoreConfig::UNBOUNDED
    });
    let limit = |r: Result<FileVersion>| {
        let e = r.unwrap_err();
        assert_eq!(e.kind(), Kind::Limit, "{e:?}");
        assert!(e.hint_text().unwrap().contains("files.s."), "{e:?}");
    };
    f.put("a", &[1; 100]).unwrap();
    limit(f.put("a", &[2; 101]));
    f.put("b", &[2; 100]).unwrap();
    limit(f.put("c", &[3; 51]));
    f.put("c", &[3; 50]).unwrap();
    limit(f.put("d", &[4; 1]));
    f.put("d", &[1; 100]).unwrap();
    assert_eq!(f.files.stats("s").unwrap(), FilesStats { versions: 4, objects: 3, bytes: 250, stored: 250 });
    assert_eq!(f.on_disk(), (0, 3), "what is refused leaves nothing, or a quota would bound nothing");
    f.put("e", b"").unwrap();
    limit(f.put("f", b""));
    f.files.delete(&ME, "s", "e", false).unwrap();
    assert_eq!(f.files.stats("s").unwrap().versions, 6, "a deletion is never refused");
    f.files.delete(&ME, "s", "e", true).unwrap();
    f.put("f", b"").unwrap();
    // A quota that was lowered below what is there refuses, and serves.
    let f = f.reopen(StoreConfig {
        quota_bytes: 10,
        quota_files: 5,
        file_bytes_max: 100,
        ..StoreConfig::UNBOUNDED
    });
    limit(f.put("f", b"more"));
    assert_eq!(f.get("b").unwrap(), [2; 100]);
}

#[test]
fn what_is_said_of_a_file_is_bounded() {
    let f = Fixture::new(CONFIG);
    let put = |media_type: Option<String>, metadata| {
        f.files
            .put(&ME, "s", "a", &mut &b"x"[..], PutOptions { media_type, metadata, ..PutOptions::default() })
            .map_err(|e| e.kind())
    };
    let overhead = json!({ "k": "" }).to_string().len();
    put(None, json!({ "k": "x".repeat(METADATA_BYTES_MAX - overhead) })).unwrap();
    assert_eq!(put(None, json!({ "k": "x".repeat(METADATA_BYTES_MAX - overhead + 1) })), Err(Kind::Limit));
    assert_eq!(put(None, json!([1])), Err(Kind::Invalid));
    put(Some("a".repeat(MEDIA_TYPE_BYTES_MAX)), json!({})).unwrap();
    for bad in ["a".repeat(MEDIA_TYPE_BYTES_MAX + 1), String::new(), "a\r\nX: y".into(), "ä".into()] {
        assert_eq!(put(Some(bad.clone()), json!({})), Err(Kind::Invalid), "{bad:?}");
    }
}

#[test]
fn ranges() {
    let f = Fixture::new(CONFIG);
    let content: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    let stored = f.put("a", &content).unwrap();
    let range = |r: std::ops::Range<u64>| {
        f.files.get(&ME, "s", "a", None, Some(r)).map(|(_, reader)| read_all(reader).map_err(as_error))
    };
    for r in [0..0, 0..1, 5..9, 59_999..60_000, 60_000..60_000, 0..60_000] {
        let want = &content[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()];
        assert_eq!(range(r).unwrap().unwrap(), want);
    }
    #[allow(clippy::reversed_empty_ranges)]
    for r in [0..60_001, 60_001..60_001, 5..4, 0..u64::MAX, u64::MAX..u64::MAX] {
        assert_eq!(range(r).unwrap_err().kind(), Kind::Invalid);
    }
    // A range that is the whole is verified like the whole.
    let mut bytes = content.clone();
    bytes[10] ^= 1;
    std::fs::write(f.object(&stored.blake3.unwrap()), bytes).unwrap();
    assert_eq!(range(0..60_000).unwrap().unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(range(20..30).unwrap().unwrap(), &content[20..30]);
}

#[test]
fn a_damaged_object_is_named_and_the_rest_served() {
    let f = Fixture::new(CONFIG);
    let path = |content: &[u8]| f.object(&hash(content));
    for (name, content) in [("flipped", b"aaaa"), ("short", b"bbbb"), ("missing", b"cccc"), ("good", b"dddd")]
    {
        f.put(name, content).unwrap();
    }
    f.put("flipped-too", b"aaaa").unwrap();
    std::fs::write(path(b"aaaa"), b"aaab").unwrap();
    std::fs::write(path(b"bbbb"), b"bb").unwrap();
    std::fs::remove_file(path(b"cccc")).unwrap();
    let mut seen = 0;
    let report = f.files.verify(&ME, "s", &mut |n| seen += n).unwrap();
    assert_eq!((report.objects, report.bytes, report.orphans, seen), (4, 16, 0, 16));
    let mut faults: Vec<_> =
        report.faults.iter().map(|x| (x.files.clone(), x.problem.as_str(), x.blake3.clone())).collect();
    faults.sort();
    assert_eq!(
        faults,
        [
            (
                vec!["flipped".into(), "flipped-too".into()],
                "its content does not match its hash",
                hash(b"aaaa")
            ),
            (vec!["missing".to_string()], "it is missing", hash(b"cccc")),
            (vec!["short".to_string()], "it has 2 bytes instead of 4", hash(b"bbbb")),
        ]
    );
    for name in ["flipped", "short", "missing"] {
        let e = f.get(name).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{e:?}");
        assert!(e.message().contains(name), "{e:?}");
    }
    assert_eq!(f.get("good").unwrap(), b"dddd");
    // The same content put again heals it.
    for (name, content) in [("x", b"aaaa"), ("y", b"bbbb"), ("z", b"cccc")] {
        f.put(name, content).unwrap();
    }
    assert!(f.verify().faults.is_empty());
    assert_eq!(f.get("flipped").unwrap(), b"aaaa");
}

/// Gives some bytes and then an error.
struct Breaks(usize);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        self.0 -= 1;
        buffer.fill(1);
        Ok(buffer.len())
    }
}

#[test]
fn a_put_that_fails_leaves_nothing() {
    let f = Fixture::new(CONFIG);
    let e = f.files.put(&ME, "s", "a", &mut Breaks(2), PutOptions::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::Io);
    f.read_only.store(true, Ordering::SeqCst);
    assert_eq!(f.put("a", b"x").unwrap_err().kind(), Kind::ReadOnly);
    f.read_only.store(false, Ordering::SeqCst);
    assert_eq!((f.on_disk(), f.names("").len()), ((0, 0), 0));
    f.put("a", b"x").unwrap();
    f.read_only.store(true, Ordering::SeqCst);
    f.files.delete(&ME, "s", "a", true).unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap().removed, 1, "a full disk can be emptied");
}

#[test]
fn a_put_removes_only_what_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let disk = CapDisk::open(dir.path()).unwrap();
    let others = dir.path().join("tmp/1-1");
    std::fs::write(&others, "another's").unwrap();
    let put = |name: &str| Tmp::write(&disk, name.into(), ("s", "a"), &mut &b"mine"[..], &CONFIG);
    assert!(put("1-1").is_err());
    assert_eq!(std::fs::read(&others).unwrap(), b"another's");
    let (tmp, name, size) = put("1-2").unwrap();
    assert_eq!((name.as_str(), size), (hash(b"mine").as_str(), 4));
    drop(tmp);
    assert_eq!(disk.list_tmp().unwrap(), ["1-1"]);
    // Published: nothing is left to remove.
    put("1-3").unwrap().0.publish(Area::Objects, &name).unwrap();
    assert_eq!(disk.list(Area::Objects).unwrap(), [(name.clone(), 4)]);
    // A publication that fails takes its own file away and harms no object.
    let (tmp, _, _) = put("1-4").unwrap();
    assert!(tmp.publish(Area::Objects, "../../etc/passwd").is_err());
    assert_eq!((disk.list_tmp().unwrap().len(), disk.list(Area::Objects).unwrap()), (1, vec![(name, 4)]));
}

#[test]
fn many_puts_of_one_name_are_many_versions() {
    let f = Fixture::new(CONFIG);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let f = &f;
            scope.spawn(move || {
                for i in 0..10_u8 {
                    f.put("same", &[thread, i]).unwrap();
                }
            });
        }
    });
    let versions = f.files.versions(&ME, "s", "same").unwrap();
    assert_eq!(versions.iter().map(|v| v.version).rev().collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    let contents: BTreeSet<Vec<u8>> = versions
        .iter()
        .map(|v| read_all(f.files.get(&ME, "s", "same", Some(v.version), None).unwrap().1).unwrap())
        .collect();
    assert_eq!(contents.len(), 40);
    assert_eq!(f.files.stats("s").unwrap(), FilesStats { versions: 40, objects: 40, bytes: 80, stored: 80 });
    assert!(f.verify().faults.is_empty());
}

#[test]
fn puts_do_not_pass_a_quota_together() {
    for config in [
        StoreConfig { quota_bytes: 50, quota_files: 1000, file_bytes_max: 10, ..StoreConfig::UNBOUNDED },
        StoreConfig { quota_bytes: 1000, quota_files: 5, file_bytes_max: 10, ..StoreConfig::UNBOUNDED },
    ] {
        let f = Fixture::new(config);
        let stored: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u8)
                .map(|t| {
                    let f = &f;
                    scope.spawn(move || {
                        (0..4_u8).filter(|i| f.put(&format!("{t}-{i}"), &[t * 4 + i; 10]).is_ok()).count()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(stored, 5);
        assert_eq!(
            f.files.stats("s").unwrap(),
            FilesStats { versions: 5, objects: 5, bytes: 50, stored: 50 }
        );
        assert_eq!(f.on_disk(), (0, 5));
    }
}

#[test]
fn a_collection_takes_nothing_that_a_put_just_stored() {
    let f = Fixture::new(CONFIG);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                f.files.gc(&ME, "s").unwrap();
            }
        });
        let putters: Vec<_> = (0..2)
            .map(|t| {
                let f = &f;
                scope.spawn(move || {
                    let name = format!("n{t}");
                    for i in 0..40_u8 {
                        // The same few contents, freed and stored anew by both.
                        f.put(&name, &[i % 3; 100]).unwrap();
                        assert_eq!(f.get(&name).unwrap(), [i % 3; 100]);
                        f.files.delete(&ME, "s", &name, true).unwrap();
                    }
                    f.put(&name, b"end").unwrap();
                })
            })
            .collect();
        let ends: Vec<_> = putters.into_iter().map(|t| t.join()).collect();
        done.store(true, Ordering::SeqCst);
        assert!(ends.into_iter().all(|e| e.is_ok()));
    });
    f.files.gc(&ME, "s").unwrap();
    let report = f.verify();
    assert_eq!((report.objects, report.orphans, report.faults.len()), (1, 0, 0));
}

#[test]
fn a_collection_waits_for_no_backup_and_stops_no_put() {
    let f = Fixture::new(CONFIG);
    let stored = f.put("a", b"x").unwrap();
    let held = f.files.hold_objects();
    f.files.delete(&ME, "s", "a", true).unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap_err().kind(), Kind::Busy);
    f.put("b", b"y").unwrap();
    let mut bytes = Vec::new();
    f.files.open_object("s", &stored.blake3.unwrap(), 1).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"x");
    drop(held);
    assert_eq!(f.files.gc(&ME, "s").unwrap().removed, 1);
}

#[test]
fn a_collection_of_many_goes_in_batches_and_is_audited() {
    let f = Fixture::new(CONFIG);
    for i in 0..600_u32 {
        let content = i.to_le_bytes();
        let name = hash(&content);
        let place = f.object(&name);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }
    f.put("a", &0_u32.to_le_bytes()).unwrap();
    assert_eq!(f.verify().orphans, 599);
    assert_eq!(
        f.files.gc(&ME, "s").unwrap(),
        GcReport { removed: 599, bytes: 4 * 599, ..GcReport::default() }
    );
    assert_eq!(f.get("a").unwrap(), 0_u32.to_le_bytes());
    let filter =
        crate::audit::AuditFilter { action: Some("files.gc".into()), ..crate::audit::AuditFilter::default() };
    let entries = crate::audit::Audit::new(f.db.clone()).list(&ME, &filter).unwrap();
    assert_eq!(entries.iter().map(|e| e.detail["objects"].as_u64().unwrap()).sum::<u64>(), 599);
}

#[test]
fn callers_need_their_grants() {
    let f = Fixture::new(CONFIG);
    for name in ["m/a", "m/b", "n/a", "m-secret"] {
        f.put(name, b"x").unwrap();
    }
    let plugin = |read: &[&str], write: &[&str]| Caller::Plugin {
        name: "p".into(),
        grants: Arc::new(Grants {
            files_read: read.iter().map(|s| (*s).into()).collect(),
            files_write: write.iter().map(|s| (*s).into()).collect(),
            ..Grants::default()
        }),
    };
    let p = plugin(&["s/m/*", "s/*a"], &["s/m/*"]);
    let names = |prefix: &str| {
        f.files.list(&p, "s", prefix, None, 10).map(|l| l.into_iter().map(|v| v.path).collect::<Vec<_>>())
    };
    assert_eq!(names("m/").unwrap(), ["m/a", "m/b"]);
    assert_eq!(names("n").unwrap_err().kind(), Kind::Denied);
    // A grant that matches the prefix gives nothing that it does not match.
    let odd = plugin(&["s/m"], &[]);
    assert!(f.files.list(&odd, "s", "m", None, 10).unwrap().is_empty());
    assert!(f.files.get(&p, "s", "n/a", None, None).is_ok());
    assert_eq!(f.files.get(&p, "s", "m-secret", None, None).err().unwrap().kind(), Kind::Denied);
    let put = |c: &Caller, path: &str| f.files.put(c, "s", path, &mut &b"y"[..], PutOptions::default());
    assert_eq!(put(&p, "m/c").unwrap().created_by, "plugin:p");
    assert_eq!(put(&p, "n/a").unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.files.delete(&p, "s", "m/c", false).unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.files.gc(&p, "s").unwrap_err().kind(), Kind::Denied);
    let reader = Caller::Token { id: 1, name: "r".into(), scope: Scope::Read };
    assert_eq!(put(&reader, "m/c").unwrap_err().kind(), Kind::Denied);
    assert!(f.files.get(&reader, "s", "m/c", None, None).is_ok());
}

// ---- what somebody planted in the folder ----

#[test]
fn a_symlink_in_the_place_of_a_folder_leads_nowhere() {
    let f = Fixture::new(CONFIG);
    let outside = tempfile::tempdir().unwrap();
    let name = hash(b"content");
    let folder = f.root().join("objects").join(&name[..2]);
    symlink(outside.path(), &folder).unwrap();
    std::fs::write(outside.path().join(&name), "planted").unwrap();
    assert_eq!(f.put("a", b"content").unwrap_err().kind(), Kind::Io);
    assert_eq!(f.on_disk(), (0, 0), "nor is it listed");
    assert_eq!(f.files.gc(&ME, "s").unwrap().removed, 0);
    assert_eq!(std::fs::read(outside.path().join(&name)).unwrap(), b"planted");
    std::fs::remove_file(&folder).unwrap();
    f.put("a", b"content").unwrap();
    assert_eq!(f.get("a").unwrap(), b"content");
    // The whole of `objects` or `tmp`: the store does not open.
    for part in ["objects", "tmp"] {
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join(part)).unwrap();
        assert!(CapDisk::open(dir.path()).is_err(), "{part}");
    }
}

#[test]
fn an_object_is_a_plain_file_in_its_place() {
    let f = Fixture::new(CONFIG);
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "same!").unwrap();
    let plant = |make: &dyn Fn(&std::path::Path)| {
        f.put("a", b"same!").unwrap();
        let place = f.object(&hash(b"same!"));
        std::fs::remove_file(&place).unwrap();
        make(&place);
        let e = f.get("a").unwrap_err();
        assert!(matches!(e.kind(), Kind::Io | Kind::Corrupt), "{e:?}");
        assert_eq!(f.verify().faults.len(), 1);
    };
    plant(&|place| symlink(outside.path(), place).unwrap());
    // Nobody writes to this pipe: it must not be waited for.
    plant(&|place| {
        let done = std::process::Command::new("mkfifo").arg(place).status().unwrap();
        assert!(done.success());
    });
    // A file that stands in another's folder is no object, and does not stop a collection.
    f.put("a", b"same!").unwrap();
    assert_eq!(f.get("a").unwrap(), b"same!", "the planted one is replaced");
    let elsewhere = f.root().join("objects/zz");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join(hash(b"q")), "q").unwrap();
    std::fs::write(f.root().join("objects/file"), "q").unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default());
    assert!(f.verify().faults.is_empty());
    assert_eq!(std::fs::read(outside.path()).unwrap(), b"same!");
}

#[test]
fn what_was_left_in_tmp_goes_when_the_store_opens() {
    let f = Fixture::new(CONFIG);
    f.put("a", b"x").unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(f.root().join("tmp/123-0"), "half").unwrap();
    symlink(outside.path(), f.root().join("tmp/link")).unwrap();
    std::fs::create_dir(f.root().join("tmp/folder")).unwrap();
    assert_eq!(f.on_disk(), (2, 1));
    let f = f.reopen(CONFIG);
    assert_eq!(f.on_disk(), (0, 1));
    assert!(outside.path().exists() && f.root().join("tmp/folder").exists());
    assert_eq!(f.get("a").unwrap(), b"x");
}

#[test]
fn a_store_is_for_its_owner_and_makes_the_folders_above() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b/c");
    let disk = CapDisk::open(&root).unwrap();
    assert_eq!(root.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(CapDisk::open(&root).is_ok(), "again");
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(CapDisk::open(&dir.path().join("file")).is_err());
    assert!(CapDisk::open(&dir.path().join("file/below")).is_err());
    for name in ["", "..", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
        for area in Area::ALL {
            assert!(disk.open(area, name).is_err() && disk.remove(area, name).is_err(), "{name}");
            assert!(disk.publish("x", area, name).is_err(), "{name}");
            assert!(disk.sync_folder_of(area, name).is_err(), "{name}");
        }
        assert!(disk.append(name, 0).is_err(), "{name}");
    }
}

#[test]
fn the_manifest_opens_stores() {
    let dir = tempfile::tempdir().unwrap();
    let db =
        Arc::new(Database::open(&dir.path().join("shiphold.db"), Options::default(), MIGRATIONS).unwrap());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let store = |root: PathBuf| crate::manifest::FileStore {
        kind: crate::manifest::FileKind::Models,
        root,
        quota: crate::units::ByteSize::mib(1),
        quota_files: 10,
        file_max: crate::units::ByteSize::mib(1),
        caller_quota: crate::units::ByteSize::mib(1),
        caller_quota_files: 10,
        layout: crate::manifest::Layout::Free,
        keep: crate::manifest::Keep::ALL,
        backup: true,
    };
    let open = |root| {
        FileStores::open(&BTreeMap::from([("m".into(), store(root))]), db.clone(), Arc::new(|| Ok(())))
    };
    let files = open(dir.path().join("m")).unwrap();
    assert_eq!(files.names().collect::<Vec<_>>(), ["m"]);
    let e = open(file).unwrap_err();
    assert!(e.message().contains("`m`"), "{e:?}");
}
