use super::*;
use rusqlite::Connection;

/// The engine's file, changed behind its back.
fn tamper(dir: &Path, f: impl FnOnce(&Connection)) {
    let c = Connection::open(dir.join("series.db")).unwrap();
    f(&c);
}

fn flip(c: &Connection, table: &str, column: &str, row: &str, at: usize) {
    let mut bytes: Vec<u8> =
        c.query_row(&format!("SELECT {column} FROM {table} WHERE {row}"), [], |r| r.get(0)).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x10;
    c.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {row}"), [bytes]).unwrap();
}

fn two_chunks(dir: &Path) {
    let engine = open(dir);
    engine.write(ramp(&key("good"), 0..100, 0.0)).unwrap();
    engine.write(ramp(&key("hurt"), 0..100, 0.0)).unwrap();
    engine.seal().unwrap();
    engine.write(ramp(&key("hurt"), 200..210, 0.0)).unwrap();
    engine.seal().unwrap();
}

#[test]
fn a_damaged_chunk_is_named_and_left_out_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    two_chunks(dir.path());
    let body = |c: &Connection| {
        c.query_row("SELECT body FROM chunk_data WHERE id = 2", [], |r| r.get::<_, Vec<u8>>(0)).unwrap()
    };
    let c = Connection::open(dir.path().join("series.db")).unwrap();
    let sound = body(&c);
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        c.execute("UPDATE chunk_data SET body = ?1 WHERE id = 2", [bytes]).unwrap();
        if at % 16 != 0 {
            continue;
        }
        let engine = open(dir.path());
        let faults = engine.verify(&Budget::default()).unwrap();
        assert_eq!(faults.len(), 1, "byte {at}");
        assert_eq!(faults[0].object, "chunk 2 of market/hurt");
        assert_eq!(count(&engine, &key("hurt")), 10);
        assert_eq!(count(&engine, &key("good")), 100);
        assert_eq!(engine.stats().unwrap().quarantined, 1);
        assert_eq!(engine.list(&Selector::of(&key("hurt"))).unwrap()[0].rows, 10);
        assert_eq!(engine.latest(&Selector::of(&key("hurt"))).unwrap()[0].fields[0].time, 209);
        engine.compact().unwrap();
        assert_eq!(count(&engine, &key("hurt")), 10);
    }
    // It was never thrown away: the sound bytes make it readable again.
    c.execute("UPDATE chunk_data SET body = ?1 WHERE id = 2", [sound]).unwrap();
    let engine = open(dir.path());
    assert_eq!(count(&engine, &key("hurt")), 110);
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
}

#[test]
fn a_damaged_chunk_is_found_by_a_scan_and_can_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    two_chunks(dir.path());
    tamper(dir.path(), |c| flip(c, "chunk_data", "body", "id = 2", 50));
    let engine = open(dir.path());
    assert_eq!(count(&engine, &key("hurt")), 10);
    assert_eq!(engine.stats().unwrap().quarantined, 1);
    // Not covered whole: it cannot be cut.
    let report = engine.delete(&Selector::of(&key("hurt")), TimeRange::new(0, 50).unwrap()).unwrap();
    assert_eq!(report.rows, Some(0));
    assert_eq!(engine.verify(&Budget::default()).unwrap().len(), 1);
    engine.delete(&Selector::of(&key("hurt")), TimeRange::new(0, 100).unwrap()).unwrap();
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
    assert_eq!(engine.stats().unwrap().quarantined, 0);
    assert_eq!(engine.stats().unwrap().rows, 110);
}

#[test]
fn missing_data_and_damaged_rows_of_chunks_are_faults() {
    for change in [
        "DELETE FROM chunk_data WHERE id = 2",
        "UPDATE chunk SET min_time = min_time - 1 WHERE id = 2",
        "UPDATE chunk SET rows = 7 WHERE id = 2",
        "UPDATE chunk SET series = 77 WHERE id = 2",
        "UPDATE chunk SET version = version + 9 WHERE id = 2",
    ] {
        let dir = tempfile::tempdir().unwrap();
        two_chunks(dir.path());
        tamper(dir.path(), |c| assert_eq!(c.execute(change, []).unwrap(), 1));
        let engine = open(dir.path());
        assert_eq!(count(&engine, &key("hurt")), 10, "{change}");
        assert_eq!(count(&engine, &key("good")), 100);
        let faults = engine.verify(&Budget::default()).unwrap();
        assert_eq!(faults.len(), 1, "{change}");
        assert!(faults[0].object.starts_with("chunk 2 of "), "{change}: {:?}", faults[0]);
        engine.write(ramp(&key("hurt"), 300..301, 0.0)).unwrap();
        engine.seal().unwrap();
        assert_eq!(count(&engine, &key("hurt")), 11);
    }
}

#[test]
fn damaged_statistics_are_a_fault_and_the_values_serve_instead() {
    let dir = tempfile::tempdir().unwrap();
    two_chunks(dir.path());
    tamper(dir.path(), |c| flip(c, "chunk", "stats", "id = 3", 40));
    let engine = open(dir.path());
    assert_eq!(engine.latest(&Selector::of(&key("hurt"))).unwrap()[0].fields[0].time, 209);
    let faults = engine.verify(&Budget::default()).unwrap();
    assert_eq!(faults.iter().map(|f| f.object.as_str()).collect::<Vec<_>>(), ["chunk 3 of market/hurt"]);
    assert_eq!(count(&engine, &key("hurt")), 110);
}

#[test]
fn a_damaged_log_record_is_set_aside_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open(dir.path());
        for i in 0..3 {
            engine.write(ramp(&key("m"), i * 10..i * 10 + 10, 0.0)).unwrap();
        }
    }
    tamper(dir.path(), |c| flip(c, "log", "body", "seq = 2", 60));
    let engine = open(dir.path());
    let times: Vec<i64> = rows(&engine, &key("m"), TimeRange::ALL).iter().map(|r| r.0).collect();
    assert_eq!(times, (0..10).chain(20..30).collect::<Vec<_>>());
    assert_eq!(engine.stats().unwrap().quarantined, 1);
    assert_eq!(engine.verify(&Budget::default()).unwrap()[0].object, "log record 2");
    engine.seal().unwrap();
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(engine.stats().unwrap().quarantined, 1, "it stays set aside");
    assert_eq!(count(&engine, &key("m")), 20);
}

#[test]
fn every_damaged_byte_of_a_record_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    engine.write(ramp(&key("m"), 0..4, 0.0)).unwrap();
    let c = Connection::open(dir.path().join("series.db")).unwrap();
    let sound: Vec<u8> = c.query_row("SELECT body FROM log", [], |r| r.get(0)).unwrap();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        c.execute("UPDATE log SET body = ?1", [bytes]).unwrap();
        let faults = engine.verify(&Budget::default()).unwrap();
        assert_eq!(faults.len(), 1, "byte {at}");
        assert_eq!(faults[0].object, "log record 1");
    }
    assert_eq!(count(&engine, &key("m")), 4, "memory has it");
}

#[test]
fn what_was_written_ahead_of_a_transaction_that_never_came_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    two_chunks(dir.path());
    tamper(dir.path(), |c| {
        c.execute("INSERT INTO chunk_data(id, body) VALUES (99, x'00')", []).unwrap();
        c.execute("INSERT INTO unowned(id) VALUES (99)", []).unwrap();
    });
    drop(open(dir.path()));
    tamper(dir.path(), |c| {
        let n: i64 = c.query_row("SELECT count(*) FROM chunk_data", [], |r| r.get(0)).unwrap();
        let m: i64 = c.query_row("SELECT count(*) FROM unowned", [], |r| r.get(0)).unwrap();
        assert_eq!((n, m), (3, 0));
    });
}

#[test]
fn a_damaged_chunk_that_is_decoded_ahead_is_left_out_when_its_turn_comes() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open(dir.path());
        for i in 0..6 {
            engine.write(ramp(&key("m"), i * 1000..i * 1000 + 1000, 0.0)).unwrap();
            engine.seal().unwrap();
        }
    }
    tamper(dir.path(), |c| flip(c, "chunk_data", "body", "id = 4", 77));
    let engine = open(dir.path());
    let mut scan = engine.scan(&key("m"), TimeRange::ALL, None, &Budget::default()).unwrap();
    for chunk in 0..3 {
        assert_eq!(
            scan.next().unwrap().unwrap().times,
            (chunk * 1000..chunk * 1000 + 1000).collect::<Vec<_>>()
        );
        assert_eq!(engine.stats().unwrap().quarantined, 0, "it is not needed yet");
    }
    let rest: Vec<i64> = scan.flat_map(|f| f.unwrap().times).collect();
    assert_eq!(rest, (4000..6000).collect::<Vec<_>>());
    assert_eq!(engine.stats().unwrap().quarantined, 1);
    // One who stops early leaves nothing behind that a chunk is held by.
    let mut scan = engine.scan(&key("m"), TimeRange::ALL, None, &Budget::default()).unwrap();
    assert_eq!(scan.by_ref().take(3).count(), 3);
    drop(scan);
    assert_eq!(engine.delete(&all(), TimeRange::ALL).unwrap().rows, Some(5000));
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
}
