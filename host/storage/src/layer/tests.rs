//! Opening, the read-only disk, verify, secrets.

use super::*;
use crate::audit::{AuditFilter, Entry};
use crate::caller::Scope;
use crate::error::Kind;
use crate::files::PutOptions;
use crate::plugins::Outcome;
use crate::series::{Frame, SeriesKey, WriteBatch};
use crate::settings::Expect;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

const OP: Caller = Caller::Operator;

/// A manifest in a folder, without a reserve: tests open hundreds of layers.
pub(crate) fn manifest(dir: &Path, more: &str) -> Manifest {
    let text =
        format!("[disk]\nreserve = \"0 B\"\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\n{more}");
    Manifest::parse(&text, &dir.join("shiphold.toml")).unwrap_or_else(|e| panic!("{e}"))
}

/// A layer over an engine of the test's, and the free space that its disk says it has.
pub(crate) fn layer_over(
    manifest: &Manifest,
    engine: Option<Arc<dyn SeriesEngine>>,
) -> (Arc<DataLayer>, Arc<AtomicU64>) {
    let free = Arc::new(AtomicU64::new(1 << 40));
    let seen = free.clone();
    let lock = FolderLock::acquire(&manifest.host.data).unwrap();
    let probe = Box::new(move || Ok(seen.load(Ordering::SeqCst)));
    let disk = Arc::new(DiskGuard::with_probe(&manifest.host.data, &manifest.disk, probe));
    let layer = DataLayer::open_with(manifest, lock, disk, |m| match engine {
        Some(engine) => Ok(OpenEngine { engine, embedded: None, outbox: None }),
        None => open_engine(m),
    });
    (layer.unwrap(), free)
}

pub(crate) fn bars(symbol: &str, times: impl IntoIterator<Item = i64>) -> WriteBatch {
    let times: Vec<i64> = times.into_iter().collect();
    let columns = ["open", "high", "low", "close", "volume"]
        .map(|n| crate::series::Column::float(n, times.iter().map(|t| (t % 1_000) as f64 + 1.5).collect()));
    let key = SeriesKey::new("market", format!("bar.1m.{symbol}"), Vec::new()).unwrap();
    WriteBatch { series: vec![(key, Frame { times, columns: columns.into() })] }
}

#[test]
fn one_process_owns_the_folder_and_what_it_wrote_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "");
    let layer = DataLayer::open(&m).unwrap();
    assert_eq!(DataLayer::open(&m).unwrap_err().kind(), Kind::Busy);
    layer.settings().set(&OP, "system", "a", json!(1), Expect::Any).unwrap();
    layer.series().engine().write(bars("A", (0..100).map(|i| i * 60_000_000_000))).unwrap();
    let run = layer.plugins().begin("p", "operator", false).unwrap();
    layer.maintain().unwrap();
    layer.close().unwrap();
    drop(layer);
    let layer = DataLayer::open(&m).unwrap();
    assert_eq!(layer.settings().get(&OP, "system", "a", None).unwrap().value, Some(json!(1)));
    assert_eq!(layer.series().engine().list(&crate::series::Selector::default()).unwrap()[0].rows, 100);
    let runs = layer.plugins().list(&OP, "p", 10).unwrap();
    assert_eq!((runs[0].id, runs[0].state.as_str()), (run, "interrupted"));
}

#[test]
fn a_read_only_disk_refuses_what_takes_room_and_allows_what_makes_some() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "[files.logs]\nkind = \"logs\"");
    let (layer, free) = layer_over(&m, None);
    let put = |name: &str| layer.files().put(&OP, "logs", name, &mut &b"x"[..], PutOptions::default());
    layer.settings().set(&OP, "system", "a", json!(1), Expect::Any).unwrap();
    layer.tokens().create(&OP, "t", Scope::Read, None).unwrap();
    put("a/b").unwrap();
    put("a/c").unwrap();
    free.store(1_000, Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(600));

    let refused = layer.settings().set(&OP, "system", "a", json!(2), Expect::Any).unwrap_err();
    assert_eq!(refused.kind(), Kind::ReadOnly);
    assert!(refused.hint_text().is_some());
    assert_eq!(layer.tokens().create(&OP, "u", Scope::Read, None).unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!(put("a/d").unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!(
        layer.settings().get(&OP, "system", "a", None).unwrap().value,
        Some(json!(1)),
        "reading goes on"
    );

    layer.settings().delete(&OP, "system", "a", Expect::Any).unwrap();
    layer.tokens().revoke(&OP, "t").unwrap();
    layer.files().delete(&OP, "logs", "a/b", false).unwrap();
    layer.files().delete(&OP, "logs", "a/c", true).unwrap();
    assert_eq!(layer.files().gc(&OP, "logs").unwrap().removed, 0, "the deleted file keeps its version");
    let run = layer.plugins().begin("p", "operator", false).unwrap();
    layer.plugins().finish(run, &Outcome { ok: true, ..Outcome::default() }).unwrap();
    layer.plugins().set_enabled(&OP, "p", false, "test").unwrap();
    layer.audit().record(&Entry::new(&OP, "series.delete", "series:x")).unwrap();
    layer.maintain().unwrap();

    free.store(1 << 40, Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(600));
    layer.settings().set(&OP, "system", "a", json!(2), Expect::Any).unwrap();
    assert!(layer.audit().verify(&OP).unwrap().broken.is_none());
}

#[test]
fn verify_reads_everything_and_names_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "[files.models]\nkind = \"models\"");
    let layer = DataLayer::open(&m).unwrap();
    layer.series().engine().write(bars("A", (0..100).map(|i| i * 60_000_000_000))).unwrap();
    let v = layer.files().put(&OP, "models", "m/1", &mut &b"weights"[..], PutOptions::default()).unwrap();
    let mut seen = Vec::new();
    let report = layer.verify(&OP, &mut |what| seen.push(what.to_string())).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.databases, report.objects, report.audit_entries), (2, 1, 1));
    assert_eq!(seen, ["shiphold.db", "series.db", "audit", "series", "models"]);
    let token = Caller::Token { id: 1, name: "t".into(), scope: Scope::Write };
    assert_eq!(layer.verify(&token, &mut |_| ()).unwrap_err().kind(), Kind::Denied);

    let hash = v.blake3.unwrap();
    let object = m.files["models"].root.join("objects").join(&hash[..2]).join(&hash);
    std::fs::write(&object, b"WEIGHTS").unwrap();
    let raw = rusqlite::Connection::open(m.host.data.join(STRUCTURED_FILE)).unwrap();
    raw.execute_batch("PRAGMA foreign_keys=OFF; DROP TRIGGER audit_is_append_only_1; UPDATE audit SET actor = 'nobody'; INSERT INTO skill_tags VALUES ('x', 99)").unwrap();
    let report = layer.verify(&OP, &mut |_| ()).unwrap();
    assert!(!report.ok);
    let all = format!("{:?}", report.faults);
    for word in [hash.as_str(), "m/1", "audit entry 1", "skill_tags"] {
        assert!(all.contains(word), "{word} in {all}");
    }
    assert_eq!(report.faults.len(), 3, "{all}");
}

#[test]
fn a_secret_comes_from_where_the_manifest_says() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("good", b"s3cret\r\n");
    write("empty", b"\n");
    write("binary", &[0xff, 0xfe]);
    write("edge", "x".repeat(64 << 10).as_bytes());
    write("large", "x".repeat((64 << 10) + 1).as_bytes());
    write("gone", b"x");
    let names = ["good", "empty", "binary", "edge", "large", "gone"];
    let mut text: String = names.iter().map(|n| format!("[secrets.{n}]\nfile = \"{n}\"\n")).collect();
    text.push_str(
        "[secrets.env]\nenv = \"PATH\"\n[secrets.unset]\nenv = \"SHIPHOLD_TEST_NO_SUCH_VARIABLE\"\n",
    );
    let m = manifest(dir.path(), &text);
    std::fs::remove_file(dir.path().join("gone")).unwrap();
    assert_eq!(secret(&m, "good").unwrap(), "s3cret");
    assert_eq!(secret(&m, "env").unwrap(), std::env::var("PATH").unwrap());
    assert_eq!(secret(&m, "edge").unwrap().len(), 64 << 10);
    for (name, kind) in [
        ("empty", Kind::Invalid),
        ("binary", Kind::Invalid),
        ("large", Kind::Limit),
        ("gone", Kind::NotFound),
        ("unset", Kind::NotFound),
        ("never", Kind::NotFound),
    ] {
        let e = secret(&m, name).unwrap_err();
        assert_eq!(e.kind(), kind, "{name}: {e:?}");
        assert!(e.message().contains(name), "{e:?}");
    }
}

#[test]
fn the_audit_of_a_layer_is_one_trail() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "[files.logs]\nkind = \"logs\"");
    let layer = DataLayer::open(&m).unwrap();
    layer.settings().set(&OP, "system", "a", json!(1), Expect::Any).unwrap();
    layer.files().put(&OP, "logs", "a", &mut &b"x"[..], PutOptions::default()).unwrap();
    layer.tokens().create(&OP, "t", Scope::Read, None).unwrap();
    let actions: Vec<String> =
        layer.audit().list(&OP, &AuditFilter::default()).unwrap().into_iter().map(|e| e.action).collect();
    assert_eq!(actions, ["tokens.create", "files.put", "settings.set"]);
}

#[test]
fn garbage_waits_for_a_backup_and_nothing_waits_for_the_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "[files.logs]\nkind = \"logs\"");
    let layer = DataLayer::open(&m).unwrap();
    let put = |name: &str| layer.files().put(&OP, "logs", name, &mut name.as_bytes(), PutOptions::default());
    put("a").unwrap();
    layer.files().delete(&OP, "logs", "a", true).unwrap();
    let held = layer.files().hold_objects();
    std::thread::scope(|s| {
        let collector = s.spawn(|| layer.files().gc(&OP, "logs"));
        put("b").unwrap();
        let busy = collector.join().unwrap().unwrap_err();
        assert!(busy.kind() == Kind::Busy && busy.hint_text().is_some(), "{busy:?}");
    });
    drop(held);
    assert_eq!(layer.files().gc(&OP, "logs").unwrap().removed, 1);
}
