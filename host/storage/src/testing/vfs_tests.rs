//! SQLite on the VFS in memory.

use super::{Fault, FaultVfs, Loss};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::sync::Arc;

fn open(vfs: &FaultVfs, journal: &str) -> Connection {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let c = Connection::open_with_flags_and_vfs("/d/t.db", flags, vfs.name()).unwrap();
    let got: String = c.query_row(&format!("PRAGMA journal_mode={journal}"), [], |r| r.get(0)).unwrap();
    assert_eq!(got, journal);
    // With a rollback journal only EXTRA syncs the folder after the commit, FULL may lose the last one.
    let synchronous = if journal == "wal" { "FULL" } else { "EXTRA" };
    c.execute_batch(&format!("PRAGMA synchronous={synchronous}")).unwrap();
    c.execute_batch("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)").unwrap();
    c
}

fn count(c: &Connection) -> i64 {
    c.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).unwrap()
}

#[test]
fn several_connections_see_one_database() {
    for journal in ["wal", "delete"] {
        let vfs = FaultVfs::new("several").unwrap();
        let (a, b) = (open(&vfs, journal), open(&vfs, journal));
        a.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 2)").unwrap();
        b.busy_timeout(std::time::Duration::ZERO).unwrap();
        let busy = b.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        assert_eq!(busy.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        assert_eq!(count(&b), 0, "it is not committed");
        a.execute_batch("COMMIT").unwrap();
        assert_eq!(count(&b), 1);
        b.execute_batch("INSERT INTO t VALUES (2, 2)").unwrap();
        assert_eq!(count(&a), 2);
        drop((a, b));
        assert_eq!(count(&open(&vfs, journal)), 2);
    }
}

#[test]
fn a_snapshot_stays_while_others_write_and_checkpoint() {
    let vfs = FaultVfs::new("snapshot").unwrap();
    let (a, b) = (open(&vfs, "wal"), open(&vfs, "wal"));
    b.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&b), 0);
    for i in 0..200 {
        a.execute("INSERT INTO t VALUES (?1, zeroblob(3000))", [i]).unwrap();
    }
    a.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    assert_eq!(count(&b), 0);
    b.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&b), 200);
    let busy: i64 = a.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).unwrap();
    assert_eq!(busy, 0);
    assert_eq!(count(&b), 200);
}

#[test]
fn writers_on_many_threads_lose_nothing() {
    let vfs = FaultVfs::new("threads").unwrap();
    drop(open(&vfs, "wal"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let vfs = Arc::clone(&vfs);
            scope.spawn(move || {
                let c = open(&vfs, "wal");
                c.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
                for _ in 0..50 {
                    c.execute("INSERT INTO t(b) VALUES (zeroblob(500))", []).unwrap();
                    count(&c);
                }
            });
        }
    });
    let c = open(&vfs, "wal");
    assert_eq!(count(&c), 200);
    let ok: String = c.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(ok, "ok");
}

#[test]
fn what_was_committed_is_there_and_old_handles_are_dead() {
    for journal in ["wal", "delete"] {
        let vfs = FaultVfs::new("dead").unwrap();
        let old = open(&vfs, journal);
        old.execute("INSERT INTO t VALUES (1, 1)", []).unwrap();
        vfs.crash(Loss::Unsynced);
        let dead = old.execute("INSERT INTO t VALUES (2, 1)", []).unwrap_err();
        assert_eq!(dead.sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
        let new = open(&vfs, journal);
        assert_eq!(count(&new), 1);
        drop(old);
        new.execute("INSERT INTO t VALUES (2, 1)", []).unwrap();
        assert_eq!(count(&new), 2);
    }
}

#[test]
fn faults_come_as_sqlite_knows_them() {
    let vfs = FaultVfs::new("faults").unwrap();
    let c = open(&vfs, "wal");
    let insert = |i: i64| c.execute("INSERT INTO t VALUES (?1, 1)", [i]);
    for (fault, code) in [(Fault::Full, ErrorCode::DiskFull), (Fault::Io, ErrorCode::SystemIoFailure)] {
        vfs.fail_at(1, fault);
        assert_eq!(insert(1).unwrap_err().sqlite_error_code(), Some(code));
        assert!(vfs.hit());
        vfs.fail_from(1, fault);
        for _ in 0..3 {
            assert_eq!(insert(1).unwrap_err().sqlite_error_code(), Some(code));
            assert_eq!(count(&c), 0, "reading goes on");
        }
        vfs.heal();
    }
    insert(1).unwrap();
    assert!(vfs.operations() >= 2, "a write and a sync");
    assert!(!vfs.hit());
    // A sync that failed is not made good by the next one.
    vfs.fail_at(vfs.operations(), Fault::Io);
    vfs.crash_at(1);
    assert!(insert(2).is_err() && c.query_row("SELECT count(*) FROM t", [], |_| Ok(())).is_err());
    vfs.crash(Loss::Unsynced);
    assert_eq!(count(&open(&vfs, "wal")), 1);
}

#[test]
fn a_connection_may_outlive_its_vfs() {
    let vfs = FaultVfs::new("gone").unwrap();
    let name = vfs.name().to_string();
    let c = open(&vfs, "wal");
    drop(vfs);
    assert!(c.execute("INSERT INTO t VALUES (1, 1)", []).is_err());
    drop(c);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    assert!(Connection::open_with_flags_and_vfs("/d/t.db", flags, name.as_str()).is_err());
}
