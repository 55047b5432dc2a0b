//! An outbox of every released schema opens, and what waits in it is delivered.
//!
//! `tests/fixtures/outbox/NUMBER/` has the file as it was at that migration (`outbox.db.gz`) and its rows as text (`rows.jsonl`).
//! With a new migration, `SHIPHOLD_WRITE_FIXTURE=1 cargo test -p shiphold-storage --lib -- outbox::tests::fixtures::` writes the next one.
//! One that was committed never changes.

use super::*;
use crate::series::influx::MIGRATIONS;
use crate::testing::fixtures::{
    Row, folder, is_there, is_to_be_written, pack, rows as rows_of_file, unpacked,
};
use rusqlite::Connection;

/// Two writes that wait, and one that the server refused.
fn make(dir: &Path) {
    let server = Arc::<Server>::default();
    server.set_down(true);
    let outbox = open(&server, dir, options());
    outbox.write(batch(&key("m"), &[1, 2], 1.5)).unwrap();
    outbox.write(batch(&key("n"), &[5], -0.0)).unwrap();
    outbox.close().unwrap();
    drop(outbox);
    let c = Connection::open(dir.join("outbox.db")).unwrap();
    c.execute(
        r#"INSERT INTO refused(at, bucket, measurement, tags, min_time, max_time, rows, why, record)
           VALUES (1700000000000000000, 'market', 'o', '[["s","A"]]', 3, 4, 2, 'a conflict of types', x'00')"#,
        [],
    )
    .unwrap();
    c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn check(database: &[u8], kept: &[Row]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox.db");
    std::fs::write(&path, database).unwrap();
    let server = Arc::<Server>::default();
    server.set_down(true);
    let outbox = open(&server, dir.path(), options());
    let c = Connection::open(&path).unwrap();
    assert!(!kept.is_empty() && kept.iter().all(|row| is_there(&c, row)), "{kept:?}");
    assert_eq!(crate::layer::integrity(&c).unwrap(), Vec::<String>::new());
    let stats = outbox.stats().unwrap();
    assert_eq!((stats.outbox_records, stats.outbox_refused), (2, 1));
    let faults = outbox.verify(&Budget::default()).unwrap();
    assert!(faults.iter().any(|f| f.problem.contains("a conflict of types")), "{faults:?}");
    server.set_down(false);
    assert_eq!(rows(&outbox, &key("m")).unwrap().len(), 2, "what waits is seen");
    assert_eq!(server.rows(&key("m")), 0);
    outbox.write(batch(&key("m"), &[3], 2.5)).unwrap();
    outbox.seal().unwrap();
    assert_eq!((server.rows(&key("m")), server.rows(&key("n"))), (3, 1), "and delivered");
}

#[test]
fn an_outbox_of_every_released_schema_opens_and_is_delivered() {
    for number in MIGRATIONS.iter().map(|m| m.number) {
        let fixture = folder("outbox").join(format!("{number:04}"));
        if is_to_be_written(&fixture) && MIGRATIONS.last().is_some_and(|m| m.number == number) {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path());
            let path = dir.path().join("outbox.db");
            let lines: Vec<String> = rows_of_file(&Connection::open(&path).unwrap())
                .iter()
                .map(|row| serde_json::to_string(row).unwrap())
                .collect();
            pack(&std::fs::read(&path).unwrap(), &fixture.join("outbox.db.gz"));
            std::fs::write(fixture.join("rows.jsonl"), lines.join("\n") + "\n").unwrap();
        }
        assert!(
            fixture.exists(),
            "migration {number} has no fixture: run this test once with SHIPHOLD_WRITE_FIXTURE=1 and commit {}",
            fixture.display()
        );
        let text = std::fs::read_to_string(fixture.join("rows.jsonl")).unwrap();
        let kept: Vec<Row> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        check(&unpacked(&fixture.join("outbox.db.gz")), &kept);
    }
}
