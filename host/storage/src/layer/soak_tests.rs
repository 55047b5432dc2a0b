//! Many readers and writers at once, with what must hold looked at all the time.

use super::tests::{layer_over, manifest};
use super::*;
use crate::commits::{Commit, CommitCheckpoint, CommitFile, CommitRows};
use crate::error::Kind;
use crate::series::Selector;
use crate::settings::{Expect, SettingWrite};
use crate::skills::{NewVersion, SkillQuery};
use crate::state::Which;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const OP: Caller = Caller::Operator;
const READERS: usize = 32;
const WRITERS: usize = 8;
/// Bytes of the log, and of what one commit adds to it.
const LOG_MAX: u64 = 4 << 20;
const COMMIT_MAX: u64 = 1 << 20;
/// Entries of 30 kB: several times what the log may have.
const NOTES: u32 = 600;

/// `SHIPHOLD_SOAK_SECONDS`, else 3.
fn seconds() -> u64 {
    std::env::var("SHIPHOLD_SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3)
}

fn setting(key: &str, value: u64, expect: Expect) -> SettingWrite {
    SettingWrite { namespace: "soak".into(), key: key.into(), value: Some(json!(value)), expect }
}

/// Adds one to a counter that all writers share: reads it, and sets it if nobody did meanwhile.
fn count_up(layer: &DataLayer) {
    loop {
        let now = layer.settings().get(&OP, "soak", "counter", None).unwrap();
        let next = now.value.unwrap().as_u64().unwrap() + 1;
        match layer.settings().set(&OP, "soak", "counter", json!(next), Expect::Revision(now.revision)) {
            Ok(_) => return,
            Err(e) => assert_eq!(e.kind(), Kind::Conflict, "{e:?}"),
        }
    }
}

/// A pair of settings, a file, a checkpoint and a row that always say the same number.
fn pair(writer: usize, n: u64) -> Commit {
    Commit {
        settings: vec![
            setting(&format!("a{writer}"), n, Expect::Any),
            setting(&format!("b{writer}"), n, Expect::Any),
        ],
        files: vec![CommitFile {
            store: "models".into(),
            path: format!("soak/{writer}"),
            text: Some(n.to_string()),
            base64: None,
            media_type: None,
            metadata: json!({}),
            expect: Expect::Any,
        }],
        state: vec![CommitCheckpoint {
            strategy: format!("soak{writer}"),
            text: Some(n.to_string()),
            base64: None,
            media_type: None,
            metadata: json!({}),
            expect: if n == 1 { Expect::Absent } else { Expect::Revision(n - 1) },
        }],
        series: vec![CommitRows {
            bucket: None,
            lines: format!("signal.soak{writer} n={n}i 1"),
            precision: crate::series::line_protocol::Precision::Ns,
        }],
        ..Commit::default()
    }
}

fn write(layer: &DataLayer, writer: usize, n: u64) {
    count_up(layer);
    layer.commit(&OP, &pair(writer, n)).unwrap();
    let new = NewVersion {
        name: format!("soak-{writer}"),
        language: "python".into(),
        code: format!("# {n}"),
        description: format!("word{n} buys the dip"),
        ..NewVersion::default()
    };
    layer.skills().put(&OP, new).unwrap();
}

fn read(layer: &DataLayer, turn: u64) {
    let writer = turn as usize % WRITERS;
    let value = |list: &[crate::settings::Setting], key: &str| {
        list.iter().find(|s| s.key == key).map_or(0, |s| s.value.as_ref().unwrap().as_u64().unwrap())
    };
    match turn % 4 {
        0 => {
            // One read, one instant.
            let list = layer.settings().list(&OP, "soak", None, None).unwrap();
            let (a, b) = (value(&list, &format!("a{writer}")), value(&list, &format!("b{writer}")));
            assert_eq!(a, b, "a torn commit");
            // Others, later: never older.
            let saved = layer.state().load(&OP, &format!("soak{writer}"), Which::Newest);
            let saved = saved
                .map_or(0, |(_, content)| std::io::read_to_string(content).unwrap().parse::<u64>().unwrap());
            assert!(saved >= a, "the checkpoint says {saved} after settings said {a}");
            let selector =
                Selector { measurement: Some(format!("signal.soak{writer}")), ..Selector::default() };
            let latest = layer.series().latest(&OP, &selector, None, &Budget::default()).unwrap();
            let there = latest.first().map_or(0, |l| match l.fields[0].value {
                crate::series::Value::Integer(n) => n.unsigned_abs(),
                ref other => panic!("{other:?}"),
            });
            assert!(there >= a, "rows say {there} after settings said {a}");
        }
        1 => {
            let query = SkillQuery { text: "dips".into(), limit: 5, ..SkillQuery::default() };
            layer.skills().search(&OP, &query).unwrap();
        }
        2 => {
            let entries = layer.audit().list(&OP, &crate::audit::AuditFilter::default()).unwrap();
            assert!(entries.windows(2).all(|w| w[0].seq == w[1].seq + 1), "the trail has no holes");
        }
        _ => {
            if let Ok(stat) = layer.files().stat(&OP, "models", &format!("soak/{writer}"), None) {
                let (_, mut content) =
                    layer.files().get(&OP, "models", &stat.path, Some(stat.version), None).unwrap();
                let mut text = String::new();
                std::io::Read::read_to_string(&mut content, &mut text).unwrap();
                assert_eq!(text, stat.version.to_string());
            }
        }
    }
}

#[test]
fn many_readers_and_writers_lose_and_tear_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), "[files.models]\nkind = \"models\""), None).0;
    layer.settings().set(&OP, "soak", "counter", json!(0), Expect::Absent).unwrap();
    let over = AtomicBool::new(false);
    let (reads, written) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (layer, over, reads) = (&layer, &over, &reads);
            scope.spawn(move || {
                let mut turn = reader as u64;
                while !over.load(Ordering::Relaxed) {
                    read(layer, turn);
                    turn += 1;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (layer, written) = (&layer, &written);
                scope.spawn(move || {
                    let end = Instant::now() + Duration::from_secs(seconds());
                    let mut n = 0;
                    while Instant::now() < end {
                        n += 1;
                        write(layer, writer, n);
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let end = Instant::now() + Duration::from_secs(seconds());
        while Instant::now() < end {
            assert_eq!(layer.audit().verify(&OP).unwrap().broken, None);
            layer.maintain().unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        let ended: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        over.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|e| e.unwrap());
    });
    let (reads, written) = (reads.into_inner(), written.into_inner());
    let counter = layer.settings().get(&OP, "soak", "counter", None).unwrap().value.unwrap();
    assert_eq!(counter.as_u64().unwrap(), written, "no update was lost");
    assert!(reads > 100 && written > WRITERS as u64, "{reads} reads, {written} rounds of writes");
    let report = layer.verify(&OP, &mut |_| ()).unwrap();
    assert!(report.ok, "{report:?}");
    let done = layer.database().written();
    assert!(done.commits < done.writes, "writers committed together: {done:?}");
}

#[test]
fn a_reader_that_stalls_does_not_let_the_log_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { read_max: Duration::from_millis(300), log_bytes_max: LOG_MAX, ..Options::default() };
    let path = dir.path().join("a.db");
    let db = Database::open(&path, options, crate::schema::MIGRATIONS).unwrap();
    let log = || std::fs::metadata(dir.path().join("a.db-wal")).map_or(0, |m| m.len());
    let note = || {
        db.write(|tx| {
            let entry = crate::audit::Entry::new(&OP, "test.note", "x").detail(json!("y".repeat(30_000)));
            Audit::append(tx, &entry)
        })
        .unwrap()
    };
    let over = AtomicBool::new(false);
    let (mut highest, mut stalls) = (0, 0_u64);
    std::thread::scope(|scope| {
        let stalling = scope.spawn(|| {
            let mut stalls = 0;
            while !over.load(Ordering::SeqCst) {
                let endless =
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
                let ended = db.read(|c| {
                    c.query_row("SELECT count(*) FROM audit", [], |r| r.get::<_, i64>(0))?;
                    Ok(c.query_row(endless, [], |r| r.get::<_, i64>(0))?)
                });
                assert_eq!(ended.unwrap_err().kind(), Kind::Timeout);
                stalls += 1;
                // Others may read, too; between two of them the log can begin anew.
                std::thread::sleep(Duration::from_millis(20));
            }
            stalls
        });
        for _ in 0..NOTES {
            note();
            highest = highest.max(log());
        }
        over.store(true, Ordering::SeqCst);
        stalls = stalling.join().unwrap();
    });
    assert!(stalls >= 2, "{stalls}");
    assert!(highest <= LOG_MAX + COMMIT_MAX, "the log had {highest} bytes");
    let written = std::fs::metadata(&path).unwrap().len();
    assert!(written > 2 * LOG_MAX, "{written} bytes are too few to tell");
    for _ in 0..200 {
        note();
    }
    assert!(log() <= LOG_MAX + COMMIT_MAX, "nobody reads: the log has {} bytes", log());
}
