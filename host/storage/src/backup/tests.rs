//! One instant out and in again; damage named; nothing left on failure.

mod faults;
mod hostile;
mod influxd;
mod lines;

use super::*;
use crate::caller::{Caller, Scope};
use crate::error::Kind;
use crate::files::PutOptions;
use crate::layer::DataLayer;
use crate::layer::tests::{bars, manifest};
use crate::manifest::Manifest;
use crate::series::{Selector, SeriesEngine as _};
use crate::settings::Expect;
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const OP: Caller = Caller::Operator;
pub(super) const STORES: &str = "[files.models]\nkind = \"models\"\n[files.logs]\nkind = \"logs\"\n";
const MINUTE: i64 = 60_000_000_000;

pub(super) struct Host {
    pub(super) dir: tempfile::TempDir,
    pub(super) manifest: Manifest,
    pub(super) layer: Arc<DataLayer>,
}

impl Host {
    /// A host with something in each store.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest(dir.path(), STORES);
        let layer = DataLayer::open(&manifest).unwrap();
        layer.settings().set(&OP, "system", "risk.max", json!(5), Expect::Any).unwrap();
        layer.series().engine().write(bars("A", (0..500).map(|i| i * MINUTE))).unwrap();
        for (store, path, content) in
            [("models", "m/1", "weights"), ("models", "m/2", "others"), ("logs", "m/1", "weights")]
        {
            layer.files().put(&OP, store, path, &mut content.as_bytes(), PutOptions::default()).unwrap();
        }
        Self { dir, manifest, layer }
    }
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub(super) fn export(&self, name: &str) -> (PathBuf, BackupReport) {
        let to = self.path(name);
        let report = self.layer.export(&OP, &to, &mut |done, total| assert!(done <= total)).unwrap();
        (to, report)
    }
    pub(super) fn restore(&self, from: &Path, into: &str) -> crate::Result<BackupReport> {
        restore(from, &self.path(into), Some(&self.manifest), false, &mut |_, _| ())
    }
    /// The names in the test's folder.
    pub(super) fn names(&self) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }
}

/// Opens a restored data folder.
pub(super) fn open(data: &Path) -> Arc<DataLayer> {
    let mut m = manifest(data.parent().unwrap(), STORES);
    m.host.data = data.to_path_buf();
    for (name, store) in &mut m.files {
        store.root = data.join("files").join(name);
    }
    DataLayer::open(&m).unwrap()
}

/// Every file below a folder, by relative path.
pub(super) fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, out: &mut Vec<String>) {
        for e in std::fs::read_dir(dir).unwrap() {
            let path = e.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out)
            } else {
                out.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_string())
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out.sort();
    out
}

#[test]
fn what_is_exported_is_checked_and_restored_and_nothing_that_came_later() {
    let host = Host::new();
    let (backup, report) = host.export("backup");
    assert_eq!((report.databases, report.objects, report.series_rows, report.audit_entries), (2, 3, 500, 4));
    assert_eq!(report.host, "shiphold");
    assert_eq!(check(&backup, &mut |_, _| ()).unwrap(), report);
    assert_eq!(tree(&backup).len(), 6, "{:?}", tree(&backup));
    host.layer.settings().set(&OP, "system", "risk.max", json!(9), Expect::Any).unwrap();
    host.layer.series().engine().write(bars("A", (500..900).map(|i| i * MINUTE))).unwrap();

    assert_eq!(host.restore(&backup, "restored").unwrap(), report);
    let there = open(&host.path("restored"));
    assert_eq!(there.settings().get(&OP, "system", "risk.max", None).unwrap().value, Some(json!(5)));
    assert_eq!(there.series().engine().list(&Selector::default()).unwrap()[0].rows, 500);
    let (_, mut content) = there.files().get(&OP, "logs", "m/1", None, None).unwrap();
    let mut text = String::new();
    content.read_to_string(&mut text).unwrap();
    assert_eq!(text, "weights");
    let verified = there.verify(&OP, &mut |_| ()).unwrap();
    assert!(verified.ok, "{verified:?}");
    // The audit of the one host goes on in the other.
    there.settings().set(&OP, "system", "x", json!(1), Expect::Any).unwrap();
    assert!(there.audit().verify(&OP).unwrap().broken.is_none());
    // The same content in two stores is one file with two names.
    use std::os::unix::fs::MetadataExt as _;
    let object = tree(&backup).into_iter().find(|p| p.starts_with("objects/logs/")).unwrap();
    assert_eq!(backup.join(object).metadata().unwrap().nlink(), 2);
}

#[test]
fn a_backup_under_writers_is_one_instant() {
    let host = Host::new();
    let stop = Arc::new(AtomicBool::new(false));
    // Each writer's n-th step is a row of `A`, then the setting n, then a file n: a later one is never there without
    // the earlier ones.
    let writer = {
        let (layer, stop) = (host.layer.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut n = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                layer.series().engine().write(bars("W", [n * MINUTE])).unwrap();
                layer.settings().set(&OP, "system", "n", json!(n), Expect::Any).unwrap();
                let content = n.to_string();
                layer
                    .files()
                    .put(&OP, "models", "n", &mut content.as_bytes(), PutOptions::default())
                    .unwrap();
                n += 1;
            }
            n
        })
    };
    let mut last = -1;
    for i in 0..4 {
        std::thread::sleep(std::time::Duration::from_millis(30));
        let (backup, report) = host.export(&format!("b{i}"));
        host.restore(&backup, &format!("r{i}")).unwrap();
        let there = open(&host.path(&format!("r{i}")));
        let rows = there
            .series()
            .engine()
            .list(&Selector { measurement: Some("bar.1m.W".into()), ..Selector::default() })
            .unwrap();
        let rows = rows.first().map_or(0, |r| i64::try_from(r.rows).unwrap());
        let setting =
            there.settings().get(&OP, "system", "n", None).map_or(-1, |s| s.value.unwrap().as_i64().unwrap());
        let file =
            there.files().stat(&OP, "models", "n", None).map_or(0, |f| i64::try_from(f.version).unwrap());
        assert!(rows == setting + 1 || rows == setting + 2, "{rows} rows at setting {setting}");
        assert!(file == setting || file == setting + 1, "{file} files at setting {setting}");
        assert!(setting >= last);
        last = setting;
        assert!(report.barrier_us < 50_000, "{report:?}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 0);
}

#[test]
fn damage_to_any_file_is_named_by_check_and_restore_and_leaves_nothing() {
    let host = Host::new();
    let (backup, _) = host.export("backup");
    let before = host.names();
    for file in tree(&backup) {
        let path = backup.join(&file);
        let good = std::fs::read(&path).unwrap();
        type Damage = (&'static str, fn(&[u8]) -> Option<Vec<u8>>);
        let damages: [Damage; 4] = [
            ("a bit", |b| {
                let mut b = b.to_vec();
                let i = b.len() / 2;
                b[i] ^= 1;
                Some(b)
            }),
            ("cut", |b| Some(b[..b.len() - 1].to_vec())),
            ("longer", |b| Some([b, b"}"].concat())),
            ("gone", |_| None),
        ];
        for (what, damage) in damages {
            // A new file: objects of one content are hard links.
            std::fs::remove_file(&path).unwrap();
            if let Some(bad) = damage(&good) {
                std::fs::write(&path, bad).unwrap();
            }
            let name = file.rsplit('/').next().unwrap();
            let e = check(&backup, &mut |_, _| ()).unwrap_err();
            assert!(e.message().contains(name), "{what} {file}: {e:?}");
            assert!(matches!(e.kind(), Kind::Corrupt | Kind::NotFound), "{what} {file}: {e:?}");
            let e = host.restore(&backup, "restored").unwrap_err();
            assert!(e.message().contains(name), "{what} {file}: {e:?}");
            assert_eq!(host.names(), before, "{what} {file}");
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, &good).unwrap();
        }
    }
    check(&backup, &mut |_, _| ()).unwrap();
}

#[test]
fn a_file_that_nothing_names_is_found() {
    let host = Host::new();
    let (backup, _) = host.export("backup");
    std::fs::write(backup.join("objects/models/extra"), b"x").unwrap();
    let e = check(&backup, &mut |_, _| ()).unwrap_err();
    assert!(e.message().contains("objects/models/extra"), "{e:?}");
}

#[test]
fn nothing_is_ever_overwritten() {
    let host = Host::new();
    let (backup, _) = host.export("backup");
    let e = host.layer.export(&OP, &backup, &mut |_, _| ()).unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
    assert!(e.hint_text().is_some());
    let e = host.restore(&backup, "data").unwrap_err();
    assert!(e.kind() == Kind::Conflict && e.hint_text().is_some(), "{e:?}");
    let e = host.layer.export(&OP, &host.path("data/inside"), &mut |_, _| ()).unwrap_err();
    assert!(e.message().contains("inside"), "{e:?}");
    std::fs::create_dir(host.path("restored.partial")).unwrap();
    assert!(host.restore(&backup, "restored").unwrap_err().message().contains("restored.partial"));
    assert!(host.path("restored.partial").exists(), "it may be somebody's");
    std::fs::create_dir(host.path("empty")).unwrap();
    host.export("empty");
    let token = Caller::Token { id: 1, name: "t".into(), scope: Scope::Write };
    assert_eq!(host.layer.export(&token, &host.path("x"), &mut |_, _| ()).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_dry_run_makes_every_check_and_writes_nothing() {
    let host = Host::new();
    let (backup, report) = host.export("backup");
    let before = (host.names(), tree(&backup));
    let dry = restore(&backup, &host.path("restored"), Some(&host.manifest), true, &mut |_, _| ()).unwrap();
    assert_eq!(dry, report);
    assert_eq!((host.names(), tree(&backup)), before);
    std::fs::write(backup.join("shiphold.db"), b"no database").unwrap();
    assert!(restore(&backup, &host.path("restored"), None, true, &mut |_, _| ()).is_err());
}

#[test]
fn a_store_with_a_root_of_its_own_is_restored_there() {
    let host = Host::new();
    let (backup, _) = host.export("backup");
    let mut m = host.manifest.clone();
    m.files.get_mut("models").unwrap().root = host.path("elsewhere/models");
    let go = |into: &str| restore(&backup, &host.path(into), Some(&m), false, &mut |_, _| ());
    go("r1").unwrap();
    assert_eq!(tree(&host.path("elsewhere/models")).len(), 2);
    assert!(!host.path("r1/files/models").exists() && host.path("r1/files/logs").exists());
    // It is full now, of the very same objects: they are left as they are.
    go("r2").unwrap();
    // Of others: refused, and nothing is left.
    let first = host.path("elsewhere/models").join(&tree(&host.path("elsewhere/models"))[0]);
    std::fs::write(&first, b"changed").unwrap();
    let e = go("r3").unwrap_err();
    assert!(e.kind() == Kind::Conflict && e.message().contains("damaged"), "{e:?}");
    std::fs::remove_file(&first).unwrap();
    assert!(go("r3").unwrap_err().message().contains("lacks"));
    assert!(!host.path("r3").exists());
}

#[test]
fn a_store_that_the_manifest_lacks_is_restored_with_a_warning() {
    let host = Host::new();
    let (backup, _) = host.export("backup");
    let mut m = host.manifest.clone();
    m.files.remove("logs");
    let report = restore(&backup, &host.path("r1"), Some(&m), false, &mut |_, _| ()).unwrap();
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].contains("logs"));
    assert_eq!(tree(&host.path("r1/files/logs")).len(), 1);
    assert!(restore(&backup, &host.path("r2"), None, false, &mut |_, _| ()).unwrap().warnings.is_empty());
}

#[test]
fn a_missing_or_damaged_object_fails_the_export_and_leaves_nothing() {
    let host = Host::new();
    let before = host.names();
    // Not the one that another store holds too: that would be taken from there.
    let hash = blake3::hash(b"others").to_hex().to_string();
    let object = format!("objects/{}/{hash}", &hash[..2]);
    let path = host.manifest.files["models"].root.join(&object);
    let good = std::fs::read(&path).unwrap();
    for bad in [Some(vec![b'x'; good.len()]), Some(Vec::new()), None] {
        std::fs::remove_file(&path).unwrap();
        if let Some(bad) = bad {
            std::fs::write(&path, bad).unwrap();
        }
        let e = host.layer.export(&OP, &host.path("backup"), &mut |_, _| ()).unwrap_err();
        assert!(e.message().contains(&hash), "{e:?}");
        assert_eq!(host.names(), before);
        std::fs::write(&path, &good).unwrap();
    }
    host.export("backup");
}

#[test]
fn an_export_is_in_the_audit() {
    let host = Host::new();
    host.export("backup");
    let list = host.layer.audit().list(&OP, &crate::audit::AuditFilter::default()).unwrap();
    assert_eq!(list[0].action, "backup.export");
    assert!(list[0].after.is_some());
}
