//! A consumer that takes its time: it holds no transaction open, so the WAL is cut meanwhile, and it gets the rows that were
//! there when it began, whatever becomes of their chunks.

use super::*;
use crate::series::query::{Query, execute_into};
use std::path::PathBuf;

/// Chunks of the scan that gets stuck.
const CHUNKS: i64 = 12;
const CHUNK: i64 = 1_024;

fn wal(dir: &Path) -> PathBuf {
    dir.join("series.db-wal")
}

fn wal_bytes(dir: &Path) -> u64 {
    wal(dir).metadata().map_or(0, |m| m.len())
}

/// Replaces every chunk of the series: overwritten, merged, and at last deleted.
fn replace_all(engine: &EmbeddedEngine, k: &SeriesKey, add: f64) {
    for chunk in 0..CHUNKS {
        engine.write(ramp(k, chunk * CHUNK..(chunk + 1) * CHUNK, add)).unwrap();
        engine.seal().unwrap();
    }
    engine.compact().unwrap();
}

#[test]
fn a_stuck_scan_keeps_its_rows_and_lets_the_wal_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    replace_all(&engine, &k, 0.0);
    let mut stuck = engine.scan(&k, TimeRange::ALL, None, &Budget::default()).unwrap();
    let first = stuck.next().unwrap().unwrap();
    assert!(first.len() < (CHUNKS * CHUNK) as usize, "there is more to come");
    for round in 1..=5 {
        replace_all(&engine, &k, round as f64 * 0.25);
        // A reader that held a snapshot would keep the WAL from being cut.
        engine.database().checkpoint().unwrap();
        assert_eq!(wal_bytes(dir.path()), 0, "round {round}");
    }
    engine.delete(&all(), TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    assert_eq!(count(&engine, &k), 0);
    let mut time = 0;
    for frame in std::iter::once(Ok(first)).chain(stuck.by_ref()) {
        let frame = frame.unwrap();
        for (t, v) in frame.times.iter().zip(frame.column("v").unwrap().floats().unwrap()) {
            assert_eq!((*t, *v), (time, time as f64), "as it was when the scan began");
            time += 1;
        }
    }
    assert_eq!(time, CHUNKS * CHUNK);
    // What it held is given up with it.
    drop(stuck);
    engine.compact().unwrap();
    let left =
        |sql: &str| engine.database().read(|c| Ok(c.query_row(sql, [], |r| r.get::<_, i64>(0))?)).unwrap();
    assert_eq!((left("SELECT count(*) FROM chunk_data"), left("SELECT count(*) FROM unowned")), (0, 0));
}

/// The consumer of a query's batches stands still in the middle of one, and does not hinder writers, sealing or deletes.
#[test]
fn a_query_whose_client_stands_still_hinders_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let config = manifest::Embedded { chunk_rows: 65_536, ..config() };
    let engine =
        EmbeddedEngine::open(&dir.path().join("series.db"), &config, EngineOptions::default()).unwrap();
    let k = key("m");
    const ROWS: i64 = 200_000;
    engine.write(ramp(&k, 0..ROWS, 0.0)).unwrap();
    engine.seal().unwrap();
    let query = Query { bucket: Some("market".into()), measurement: "m".into(), ..Query::default() };
    let (mut rows, mut batches) = (0, 0);
    execute_into(&engine, &query, &Budget::default(), u64::MAX, &mut |frame| {
        batches += 1;
        if batches == 1 {
            engine.write(ramp(&k, 0..ROWS, 0.5)).unwrap();
            engine.seal().unwrap();
            engine.compact().unwrap();
            engine.delete(&all(), TimeRange::new(0, ROWS / 2).unwrap()).unwrap();
            engine.database().checkpoint().unwrap();
            assert_eq!(wal_bytes(dir.path()), 0);
        }
        let values = frame.column("v").unwrap().floats().unwrap();
        assert!(frame.times.iter().zip(values).all(|(t, v)| *t as f64 == *v), "batch {batches}");
        rows += frame.len() as i64;
        Ok(())
    })
    .unwrap();
    assert!(batches > 1, "the client stood still before the last batch");
    assert_eq!(rows, ROWS);
    assert_eq!(count(&engine, &k) as i64, ROWS / 2);
}

/// More stuck scans than there are reader connections: none of them holds one.
#[test]
fn many_stuck_scans_take_no_reader_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    replace_all(&engine, &k, 0.0);
    let readers = EngineOptions::default().readers as usize;
    let mut stuck: Vec<_> = (0..readers * 4)
        .map(|_| engine.scan(&k, TimeRange::ALL, None, &Budget::default()).unwrap())
        .collect();
    stuck.iter_mut().for_each(|s| assert!(s.next().unwrap().is_ok()));
    assert_eq!(count(&engine, &k) as i64, CHUNKS * CHUNK);
    engine.delete(&all(), TimeRange::ALL).unwrap();
    for scan in stuck {
        let rest: usize = scan.map(|f| f.unwrap().len()).sum();
        assert!(rest > 0 && rest < (CHUNKS * CHUNK) as usize);
    }
    assert_eq!(count(&engine, &k), 0);
}
