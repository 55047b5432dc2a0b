//! Backups that somebody made to do harm.

use super::super::format::{BucketEntry, Contents, Engine, FORMAT, FileEntry, Place};
use super::*;

fn entry(path: &str) -> FileEntry {
    FileEntry { path: path.into(), bytes: 1, blake3: "a".repeat(64), sha256: None, bucket: None, rows: None }
}

fn contents(files: Vec<FileEntry>) -> Contents {
    Contents {
        format: FORMAT,
        host: "h".into(),
        taken_at: 0,
        software: "0".into(),
        schema: 1,
        engine: Engine::Embedded,
        series_rows: 0,
        outbox_records: None,
        buckets: Vec::new(),
        audit_entries: 0,
        audit_head: "0".repeat(64),
        barrier_us: 0,
        files: [vec![entry("series.db"), entry("shiphold.db")], files].concat(),
    }
}

fn read(c: &Contents) -> crate::Result<Contents> {
    Contents::from_bytes(&c.to_bytes().unwrap())
}

#[test]
fn only_the_paths_of_the_layout_are_paths() {
    let hash = "a".repeat(64);
    for bad in [
        "../shiphold.db",
        "/etc/passwd",
        "",
        ".",
        "objects",
        "objects/models",
        "objects/../aa/x",
        "series/../x.lp.gz",
        "series/1.lp.gz",
        "series/00000001.lp.gz/x",
        "lock",
        "SHIPHOLD.DB",
        "shiphold.db-wal",
        "shiphold.db\0",
        &format!("objects/models/ab/{hash}"),
        &format!("objects/../aa/{hash}"),
        &format!("objects/Models/aa/{hash}"),
        &format!("objects/{}/aa/{hash}", "m".repeat(65)),
        &format!("objects//aa/{hash}"),
        &format!("objects/models/aa/{}", "A".repeat(64)),
        &format!("objects/models/aa/{hash}/x"),
        &format!("/objects/models/aa/{hash}"),
    ] {
        assert_eq!(entry(bad).place(), None, "{bad}");
        let e = read(&contents(vec![entry(bad)])).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{bad}: {e:?}");
    }
    let good = format!("objects/models/aa/{hash}");
    assert_eq!(entry(&good).place(), Some(Place::Object { store: "models", hash: &hash }));
    assert_eq!(entry("series/00000001.lp.gz").place(), Some(Place::Lines));
    read(&contents(vec![entry(&good)])).unwrap();
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let hash = "a".repeat(64);
    let good = || contents(vec![entry(&format!("objects/models/aa/{hash}"))]);
    type Change = (&'static str, fn(&mut Contents));
    let changes: [Change; 10] = [
        ("twice", |c| c.files.push(c.files[0].clone())),
        ("no series", |c| drop(c.files.remove(0))),
        ("no structured", |c| drop(c.files.remove(1))),
        ("engine", |c| c.engine = Engine::Influxdb2),
        ("digest", |c| c.files[0].blake3 = "x".into()),
        ("sha", |c| c.files[0].sha256 = Some("x".into())),
        ("object's digest", |c| c.files[2].blake3 = "b".repeat(64)),
        ("bytes", |c| c.files[0].bytes = u64::MAX),
        ("outbox", |c| {
            (c.outbox_records, c.files) = (Some(0), [c.files.clone(), vec![entry("outbox.db")]].concat())
        }),
        ("records of no outbox", |c| c.outbox_records = Some(1)),
    ];
    read(&good()).unwrap();
    // One of InfluxDB, with its outbox and buckets; and what the first format lacks.
    let of_influx = |records: Option<u64>, files: Vec<FileEntry>| {
        let mut c = good();
        drop(c.files.remove(0));
        c.files.extend(files);
        (c.engine, c.outbox_records) = (Engine::Influxdb2, records);
        c.buckets = vec![BucketEntry { name: "market".into(), keep_s: Some(3_600) }];
        read(&c)
    };
    assert_eq!(of_influx(Some(3), vec![entry("outbox.db")]).unwrap().report().outbox_records, 3);
    assert_eq!(of_influx(None, vec![]).unwrap().report().outbox_records, 0);
    assert_eq!(of_influx(None, vec![entry("outbox.db")]).unwrap_err().kind(), Kind::Corrupt);
    let first = Contents { format: 1, ..good() };
    assert_eq!(read(&first).unwrap(), first);
    let none = Contents { format: 0, ..good() };
    assert_eq!(read(&none).unwrap_err().kind(), Kind::Incompatible);
    for (what, change) in changes {
        let mut c = good();
        change(&mut c);
        assert_eq!(read(&c).unwrap_err().kind(), Kind::Corrupt, "{what}");
    }
    let mut newer = good();
    newer.format = FORMAT + 1;
    assert_eq!(read(&newer).unwrap_err().kind(), Kind::Incompatible);
    let text = String::from_utf8(good().to_bytes().unwrap()).unwrap();
    for (what, bytes) in [
        ("seal", text.replace("\"host\": \"h\"", "\"host\": \"i\"")),
        ("unknown key", text.replace("\"host\"", "\"evil\": 1, \"host\"")),
        ("no JSON", text[1..].to_string()),
        ("empty", String::new()),
        ("deep", "[".repeat(100_000)),
    ] {
        assert_eq!(Contents::from_bytes(bytes.as_bytes()).unwrap_err().kind(), Kind::Corrupt, "{what}");
    }
}

/// Changes a file of a backup and makes its manifest say so, as one who knows the format can.
fn forge(backup: &Path, name: &str, change: impl FnOnce(&Path)) {
    let path = backup.join(name);
    change(&path);
    let mut c = Contents::from_bytes(&std::fs::read(backup.join(MANIFEST_FILE)).unwrap()).unwrap();
    let d = super::super::copy::digest_of(&path).unwrap();
    let e = c.files.iter_mut().find(|f| f.path == name).unwrap();
    (e.bytes, e.blake3, e.sha256) = (d.bytes, d.blake3, d.sha256);
    std::fs::write(backup.join(MANIFEST_FILE), c.to_bytes().unwrap()).unwrap();
}

#[test]
fn a_forged_database_is_found_by_what_is_in_it() {
    for (sql, word) in [
        (
            "DROP TRIGGER audit_is_append_only_1; UPDATE audit SET actor = 'nobody' WHERE seq = 2",
            "audit trail breaks at entry 2",
        ),
        (
            "DROP TRIGGER audit_is_append_only_2; DELETE FROM audit WHERE seq = 4",
            "audit trail ends at entry 3",
        ),
        (
            "INSERT INTO file_objects(store, hash, size, created_at) VALUES ('models', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', 1, 0)",
            "not in the backup",
        ),
        (
            "PRAGMA foreign_keys=OFF; DELETE FROM file_versions; DELETE FROM file_objects WHERE store = 'logs'",
            "named by no row",
        ),
        ("PRAGMA foreign_keys=OFF; INSERT INTO skill_tags VALUES ('x', 99)", "skill_tags"),
    ] {
        let host = Host::new();
        let (backup, _) = host.export("backup");
        forge(&backup, "shiphold.db", |p| rusqlite::Connection::open(p).unwrap().execute_batch(sql).unwrap());
        let e = check(&backup, &mut |_, _| ()).unwrap_err();
        assert!(e.message().contains(word) && e.message().contains("shiphold.db"), "{sql}: {e:?}");
        let before = host.names();
        let e = host.restore(&backup, "restored").unwrap_err();
        assert!(e.message().contains(word), "{sql}: {e:?}");
        assert_eq!(host.names(), before);
    }
}

#[test]
fn a_file_that_is_no_database_is_no_panic() {
    for (name, bytes) in [
        ("shiphold.db", &b""[..]),
        ("series.db", b"SQLite format 3\0 and then nonsense"),
        ("series.db", &[0xff; 8192]),
    ] {
        let host = Host::new();
        let (backup, _) = host.export("backup");
        forge(&backup, name, |p| std::fs::write(p, bytes).unwrap());
        let e = check(&backup, &mut |_, _| ()).unwrap_err();
        assert!(e.message().contains(name), "{e:?}");
        assert!(host.restore(&backup, "restored").is_err());
        assert!(!host.path("restored").exists());
    }
}

#[test]
fn a_link_in_a_backup_leads_nowhere() {
    let host = Host::new();
    let (backup, _) = host.export("backup");
    let object = tree(&backup).into_iter().find(|p| p.starts_with("objects/logs/")).unwrap();
    let outside = host.path("outside");
    std::fs::rename(backup.join(&object), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, backup.join(&object)).unwrap();
    assert!(check(&backup, &mut |_, _| ()).is_err());
    assert!(host.restore(&backup, "restored").is_err());
}
