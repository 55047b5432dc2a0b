use super::*;
use rusqlite::StatementStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const ONE: Migration = Migration::new(1, "init", "CREATE TABLE t(x INTEGER NOT NULL) STRICT");
const TWO: Migration = Migration::new(2, "more", "CREATE TABLE u(y INTEGER NOT NULL) STRICT");

pub(super) fn open(dir: &Path) -> Database {
    Database::open(&dir.join("a.db"), Options::default(), &[ONE]).unwrap()
}

pub(super) fn count(db: &Database) -> i64 {
    db.read(|c| Ok(c.query_row("SELECT count(*) FROM t", [], |r| r.get(0))?)).unwrap()
}

pub(super) fn insert(db: &Database, x: i64) -> Result<()> {
    db.write(|tx| {
        tx.execute("INSERT INTO t VALUES (?1)", [x])?;
        Ok(())
    })
}

/// SQLite plans a statement again when a value was bound to it that a better plan may be found for; rusqlite takes the values out
/// of each statement that it keeps, which counts as such.
#[test]
fn a_statement_is_planned_once_for_all_values() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let planned_again = |c: &Connection| -> Result<i32> {
        const SQL: &str = "SELECT count(*) FROM t JOIN t other ON other.rowid = t.x WHERE t.x = ?1";
        for x in [0, 1, 7, 7_000_000_000_i64] {
            c.prepare_cached(SQL)?.query_row([x], |r| r.get::<_, i64>(0))?;
        }
        Ok(c.prepare_cached(SQL)?.get_status(StatementStatus::RePrepare))
    };
    assert_eq!(db.read(planned_again).unwrap(), 0);
    assert_eq!(db.write(|tx| planned_again(tx)).unwrap(), 0);
    assert_eq!(planned_again(&db.pin().unwrap()).unwrap(), 0);
}

#[test]
fn a_write_is_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    insert(&db, 1).unwrap();
    let failed: Result<()> = db.write(|tx| {
        tx.execute("INSERT INTO t VALUES (2)", [])?;
        Err(Error::invalid("changed my mind"))
    });
    assert!(failed.is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.write(|tx| -> Result<()> {
            tx.execute("INSERT INTO t VALUES (3)", [])?;
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    insert(&db, 4).unwrap();
    assert_eq!(count(&db), 2);
}

#[test]
fn a_reader_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let refused = db.read(|c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?)).unwrap_err();
    assert_eq!(refused.kind(), Kind::ReadOnly);
    assert!(db.pin().unwrap().execute("INSERT INTO t VALUES (1)", []).is_err());
}

#[test]
fn a_read_sees_one_instant_and_a_pin_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    insert(&db, 1).unwrap();
    let pin = db.pin().unwrap();
    let pinned = |pin: &Pinned| pin.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap();
    db.read(|c| {
        let count =
            |c: &Connection| c.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap();
        let before = count(c);
        insert(&db, 2)?;
        assert_eq!(count(c), before);
        Ok(())
    })
    .unwrap();
    assert_eq!((count(&db), pinned(&pin)), (2, 1));
}

#[test]
fn a_read_that_outlives_its_bound_is_ended_and_the_reader_serves_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { readers: 1, read_max: Duration::from_millis(50), ..Options::default() };
    let db = Database::open(&dir.path().join("a.db"), options, &[ONE]).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let ended = db.read(|c| Ok(c.query_row(endless, [], |r| r.get::<_, i64>(0))?)).unwrap_err();
    assert_eq!(ended.kind(), Kind::Timeout);
    assert_eq!(count(&db), 0);
}

#[test]
fn readers_are_lent_one_at_a_time_and_come_back_after_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { readers: 1, ..Options::default() };
    let db = Arc::new(Database::open(&dir.path().join("a.db"), options, &[ONE]).unwrap());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.read(|_| -> Result<()> { panic!("while reading") })
    }));
    assert!(panicked.is_err());
    let inside = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (db, inside) = (db.clone(), inside.clone());
            std::thread::spawn(move || {
                for _ in 0..50 {
                    db.read(|_| {
                        assert!(!inside.swap(true, Ordering::SeqCst), "two at once on one reader");
                        inside.store(false, Ordering::SeqCst);
                        Ok(())
                    })
                    .unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn waits_for_a_reader_are_counted_and_have_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let wait = Duration::from_millis(500);
    let options = Options { readers: 1, reader_wait_max: wait, ..Options::default() };
    let db = Arc::new(Database::open(&dir.path().join("a.db"), options, &[ONE]).unwrap());
    count(&db);
    let counts = db.counts().readers;
    assert_eq!((counts.max, counts.open, counts.in_use, counts.waiting, counts.reads), (1, 1, 0, 0, 1));
    assert_eq!(counts.waited, [1; WAIT_BOUNDS.len()], "it found one, so that it waited no time");
    let other = db.clone();
    db.read(|_| {
        assert_eq!(db.counts().readers.in_use, 1);
        let begin = std::time::Instant::now();
        let refused = db.read(|_| Ok(())).unwrap_err();
        assert_eq!(refused.kind(), Kind::Busy);
        assert!(refused.message().contains("all 1 readers") && refused.hint_text().is_some(), "{refused:?}");
        assert!(begin.elapsed() >= wait);
        let waiter = std::thread::spawn(move || count(&other));
        while db.counts().readers.waiting == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        Ok(waiter)
    })
    .unwrap()
    .join()
    .unwrap();
    let counts = db.counts().readers;
    assert_eq!((counts.reads, counts.refused, counts.in_use, counts.waiting), (3, 1, 0, 0));
    assert!(counts.wait_time >= Duration::from_millis(20), "{counts:?}");
    assert_eq!((counts.waited[0], counts.waited[5]), (2, 3), "one of them waited: {counts:?}");
}

#[test]
fn migrations_run_once_and_take_a_backup_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    insert(&open(dir.path()), 7).unwrap();
    let db = Database::open(&path, Options::default(), &[ONE, TWO]).unwrap();
    assert_eq!(count(&db), 1);
    drop(db);
    let before = Connection::open(dir.path().join("a.db.before-0002")).unwrap();
    assert_eq!(before.query_row("SELECT x FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 7);
    assert!(before.query_row("SELECT y FROM u", [], |r| r.get::<_, i64>(0)).is_err());
    Database::open(&path, Options::default(), &[ONE, TWO]).unwrap();
}

#[test]
fn what_sql_cannot_do_is_done_after_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    insert(&open(dir.path()), 7).unwrap();
    let with = TWO.then(|c| {
        c.execute("INSERT INTO u SELECT x * 2 FROM t", [])?;
        Ok(())
    });
    for _ in 0..2 {
        let db = Database::open(&path, Options::default(), &[ONE, with]).unwrap();
        let all: Vec<i64> = db
            .read(|c| {
                Ok(c.prepare("SELECT y FROM u")?
                    .query_map([], |r| r.get(0))?
                    .collect::<std::result::Result<_, _>>()?)
            })
            .unwrap();
        assert_eq!(all, [14]);
    }
}

#[test]
fn what_is_too_large_or_damaged_is_migrated_without_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    insert(&open(dir.path()), 7).unwrap();
    let c = Connection::open(dir.path().join("a.db")).unwrap();
    let number = |pragma: &str| c.query_row(pragma, [], |r| r.get::<_, i64>(0)).unwrap();
    let bytes = (number("PRAGMA page_count") * number("PRAGMA page_size")) as u64;
    let to = dir.path().join("copy");
    migrate::copy_before(&c, &to, bytes - 1).unwrap();
    assert!(!to.exists());
    migrate::copy_before(&c, &to, bytes).unwrap();
    assert!(to.exists());
    // A page whose structure is broken: it is said, and the rest is opened.
    let page: i64 = number("SELECT rootpage FROM sqlite_schema WHERE name = 't'");
    let at = ((page - 1) * number("PRAGMA page_size")) as usize;
    drop(c);
    let mut all = std::fs::read(dir.path().join("a.db")).unwrap();
    all[at] = 0xff;
    std::fs::write(dir.path().join("a.db"), all).unwrap();
    let db = Database::open(&dir.path().join("a.db"), Options::default(), &[ONE, TWO]).unwrap();
    assert_eq!(
        db.read(|c| Ok(c.query_row("SELECT count(*) FROM u", [], |r| r.get::<_, i64>(0))?)).unwrap(),
        0
    );
}

#[test]
fn a_newer_or_changed_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    Database::open(&path, Options::default(), &[ONE, TWO]).unwrap();
    let newer = Database::open(&path, Options::default(), &[ONE]).unwrap_err();
    assert_eq!(newer.kind(), Kind::Incompatible);
    assert!(newer.message().contains("newer version"), "{newer:?}");
    let other = Migration { sql: "CREATE TABLE t(x TEXT NOT NULL) STRICT", ..ONE };
    let changed = Database::open(&path, Options::default(), &[other, TWO]).unwrap_err();
    assert_eq!(changed.kind(), Kind::Incompatible);
}

#[test]
fn a_migration_that_fails_leaves_the_database_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    insert(&open(dir.path()), 1).unwrap();
    let broken = Migration::new(2, "broken", "CREATE TABLE u(y INTEGER); INSERT INTO nowhere VALUES (1);");
    assert!(Database::open(&path, Options::default(), &[ONE, broken]).is_err());
    let half = TWO.then(|c| {
        c.execute("DELETE FROM t", [])?;
        Err(Error::corrupt("no"))
    });
    let e = Database::open(&path, Options::default(), &[ONE, half]).unwrap_err();
    assert!(e.message().contains("migration 0002 `more`"), "{e}");
    let db = Database::open(&path, Options::default(), &[ONE, TWO]).unwrap();
    assert_eq!(count(&db), 1);
}

#[test]
fn an_old_sqlite_and_a_file_that_is_no_database_are_refused() {
    assert!(refuse_old_sqlite(SQLITE_OLDEST).is_ok());
    assert_eq!(refuse_old_sqlite(SQLITE_OLDEST - 1).unwrap_err().kind(), Kind::Incompatible);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.db"), [b'x'; 8192]).unwrap();
    let refused = Database::open(&dir.path().join("a.db"), Options::default(), &[ONE]).unwrap_err();
    assert_eq!(refused.kind(), Kind::Corrupt);
}

#[test]
fn the_barrier_holds_writers_and_not_readers() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(dir.path()));
    let guard = db.barrier();
    let (other, done) = (db.clone(), Arc::new(AtomicBool::new(false)));
    let flag = done.clone();
    let writer = std::thread::spawn(move || {
        insert(&other, 1).unwrap();
        flag.store(true, Ordering::SeqCst);
    });
    assert_eq!(count(&db), 0);
    std::thread::sleep(Duration::from_millis(30));
    assert!(!done.load(Ordering::SeqCst));
    drop(guard);
    writer.join().unwrap();
    assert_eq!(count(&db), 1);
}

#[test]
fn a_guard_stops_writes_but_not_those_that_must_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let open = Arc::new(AtomicBool::new(true));
    let seen = open.clone();
    db.set_guard(Arc::new(move || match seen.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(Error::new(Kind::ReadOnly, "the disk is full")),
    }));
    db.set_guard(Arc::new(|| Ok(())));
    insert(&db, 1).unwrap();
    open.store(false, Ordering::SeqCst);
    assert_eq!(insert(&db, 2).unwrap_err().kind(), Kind::ReadOnly);
    db.write_always(|tx| Ok(tx.execute("INSERT INTO t VALUES (3)", [])?)).unwrap();
    assert_eq!(count(&db), 2);
}
