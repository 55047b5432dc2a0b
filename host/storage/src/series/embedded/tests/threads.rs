use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn writers_scans_sealing_compaction_and_deletes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = manifest::Embedded { head_max: ByteSize::kib(64), chunk_rows: 1024, ..config() };
    let engine =
        EmbeddedEngine::open(&dir.path().join("series.db"), &config, EngineOptions::default()).unwrap();
    let done = AtomicBool::new(false);
    const BATCHES: i64 = 60;
    const ROWS: i64 = 100;
    std::thread::scope(|s| {
        let writers: Vec<_> = (0..3)
            .map(|w| {
                let engine = &engine;
                s.spawn(move || {
                    for b in 0..BATCHES {
                        // Two series in one batch, and a series that all writers share.
                        let mut batch = ramp(&key(&format!("w{w}")), b * ROWS..(b + 1) * ROWS, 0.0);
                        let from = (b * 3 + w) * ROWS;
                        batch.series.extend(ramp(&key("shared"), from..from + ROWS, 0.0).series);
                        assert_eq!(engine.write(batch).unwrap().written, 2 * ROWS as u64);
                    }
                })
            })
            .collect();
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.seal().unwrap();
                engine.compact().unwrap();
                engine.maintain().unwrap();
            }
        });
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A batch is there whole or not at all.
                let rows = rows(&engine, &key("w1"), TimeRange::ALL);
                assert_eq!(rows.len() as i64 % ROWS, 0);
                assert!(rows.iter().all(|(t, v)| *t as f64 == *v));
                if let Some(last) = engine.latest(&Selector::of(&key("w1"))).unwrap().first() {
                    assert!(last.fields[0].time >= rows.last().map_or(0, |r| r.0));
                }
                engine.delete(&Selector::of(&key("w2")), TimeRange::new(0, 50).unwrap()).unwrap();
                assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
            }
        });
        // The others end also when a writer fails.
        let failed = writers.into_iter().map(|w| w.join()).filter(Result::is_err).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
    let each = (BATCHES * ROWS) as usize;
    let check = |engine: &EmbeddedEngine| {
        assert_eq!(count(engine, &key("w0")), each);
        assert_eq!(count(engine, &key("w1")), each);
        assert_eq!(count(engine, &key("shared")), 3 * each);
        assert!(count(engine, &key("w2")) >= each - 50);
    };
    check(&engine);
    let commits = engine.stats().unwrap().commits;
    assert!(commits <= 3 * BATCHES as u64, "writers share commits: {commits}");
    drop(engine);
    let engine = open(dir.path());
    check(&engine);
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
}

#[test]
fn a_slow_scan_keeps_what_it_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    for i in 0..8 {
        engine.write(ramp(&k, i * 100..i * 100 + 100, 0.0)).unwrap();
        engine.seal().unwrap();
    }
    engine.write(ramp(&k, 800..900, 0.0)).unwrap();
    let mut slow = engine.scan(&k, TimeRange::ALL, None, &Budget::default()).unwrap();
    let mut times = slow.next().unwrap().unwrap().times;
    engine.compact().unwrap();
    engine.delete(&all(), TimeRange::ALL).unwrap();
    engine.write(ramp(&k, 0..10, 0.5)).unwrap();
    engine.compact().unwrap();
    for frame in slow {
        times.extend(frame.unwrap().times);
    }
    assert_eq!(times, (0..900).collect::<Vec<_>>());
    assert_eq!(rows(&engine, &k, TimeRange::ALL).len(), 10);
    // What it held is given up once it ends.
    engine.seal().unwrap();
    engine.compact().unwrap();
    let left: i64 = engine
        .database()
        .read(|c| Ok(c.query_row("SELECT count(*) FROM chunk_data", [], |r| r.get(0))?))
        .unwrap();
    assert_eq!(left, 1);
}

#[test]
fn writers_wait_while_the_head_is_full_and_then_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = manifest::Embedded { head_max: ByteSize::kib(16), ..config() };
    let engine =
        EmbeddedEngine::open(&dir.path().join("series.db"), &config, EngineOptions::default()).unwrap();
    for i in 0..100 {
        engine.write(ramp(&key("m"), i * 1000..i * 1000 + 1000, 0.0)).unwrap();
        let head = engine.stats().unwrap().head_bytes;
        assert!(head <= 2 * (16 << 10) + 16_000, "{head} bytes");
    }
    assert_eq!(count(&engine, &key("m")), 100_000);
    assert!(engine.stats().unwrap().chunks > 0);
}
