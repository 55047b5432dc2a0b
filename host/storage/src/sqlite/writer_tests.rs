//! Writes that commit together.

use super::tests::{ONE, count, insert, open};
use super::*;
use crate::testing::{Fault, FaultVfs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

type Write = Box<dyn FnOnce(&Database) -> Result<()> + Send>;

/// All of `writes` at once: each waits for the writer before the first may begin.
fn together(db: &Arc<Database>, writes: Vec<Write>) -> Vec<std::thread::Result<Result<()>>> {
    let held = db.barrier();
    let n = writes.len();
    let threads: Vec<JoinHandle<Result<()>>> = writes
        .into_iter()
        .map(|write| {
            let db = db.clone();
            spawn(move || write(&db))
        })
        .collect();
    while db.writer.waiting() < n {
        std::thread::yield_now();
    }
    drop(held);
    threads.into_iter().map(JoinHandle::join).collect()
}

fn write(x: i64) -> Write {
    Box::new(move |db| insert(db, x))
}

#[test]
fn writes_that_wait_commit_together() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(dir.path()));
    let n = GROUP_MEMBERS_MAX + 1;
    for done in together(&db, (0..n as i64).map(write).collect()) {
        done.unwrap().unwrap();
    }
    assert_eq!(count(&db), n as i64);
    let written = db.written();
    assert_eq!(written.writes, n as u64);
    // One that was slow to wake may be left out of a group; and a group has a bound.
    assert!((2..=written.writes / 4).contains(&written.commits), "{written:?}");
}

#[test]
fn one_that_fails_or_panics_takes_nothing_of_the_others_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(dir.path()));
    let mut writes: Vec<Write> = Vec::new();
    for x in 0..30 {
        writes.push(Box::new(move |db| {
            db.write(|tx| {
                tx.execute("INSERT INTO t VALUES (?1)", [x])?;
                match x % 3 {
                    0 => Ok(()),
                    1 => Err(Error::invalid("no")),
                    _ => panic!("in the middle"),
                }
            })
        }));
    }
    let done = together(&db, writes);
    for (x, done) in done.into_iter().enumerate() {
        match x % 3 {
            0 => done.unwrap().unwrap(),
            1 => assert_eq!(done.unwrap().unwrap_err().kind(), Kind::Invalid),
            _ => assert!(done.is_err()),
        }
    }
    let kept: i64 =
        db.read(|c| Ok(c.query_row("SELECT sum(x % 3) + count(*) FROM t", [], |r| r.get(0))?)).unwrap();
    assert_eq!(kept, 10);
    insert(&db, 1).unwrap();
}

#[test]
fn a_commit_that_fails_fails_every_member_and_leaves_nothing() {
    for fault in [Fault::Full, Fault::Io] {
        // At every operation of the commit of a group.
        for n in 1.. {
            let vfs = FaultVfs::new("group").unwrap();
            let options = Options { vfs: Some(vfs.name().into()), readers: 1, ..Options::default() };
            let db = Arc::new(Database::open(Path::new("/data/a.db"), options.clone(), &[ONE]).unwrap());
            insert(&db, 1).unwrap();
            let before = count(&db);
            vfs.fail_from(n, fault);
            let done = together(&db, (2..6).map(write).collect());
            let hit = vfs.hit();
            vfs.heal();
            let acknowledged = done.into_iter().filter(|d| d.as_ref().unwrap().is_ok()).count() as i64;
            assert_eq!(count(&db) - before, acknowledged, "operation {n}, {fault:?}");
            insert(&db, 7).unwrap();
            drop(db);
            let again = Database::open(Path::new("/data/a.db"), options, &[ONE]).unwrap();
            assert_eq!(count(&again) - before, acknowledged + 1, "operation {n}, {fault:?}");
            if !hit {
                assert_eq!(acknowledged, 4);
                break;
            }
        }
    }
}

#[test]
fn the_barrier_finds_no_transaction_open() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(dir.path()));
    let writers: Vec<_> = (0..8)
        .map(|t| {
            let db = db.clone();
            spawn(move || (0..50).for_each(|i| insert(&db, t * 100 + i).unwrap()))
        })
        .collect();
    for _ in 0..50 {
        let held = db.barrier();
        assert!(held.is_autocommit());
        assert_eq!(held.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), count(&db));
    }
    writers.into_iter().for_each(|w| w.join().unwrap());
    assert_eq!(count(&db), 400);
}

#[test]
fn a_panic_alone_leaves_the_writer_sound() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let panicked = catch_unwind(AssertUnwindSafe(|| db.write(|_| -> Result<()> { panic!("alone") })));
    assert!(panicked.is_err());
    assert_eq!(db.written(), Written { writes: 0, commits: 0 });
    insert(&db, 1).unwrap();
    assert_eq!((count(&db), db.written()), (1, Written { writes: 1, commits: 1 }));
}
