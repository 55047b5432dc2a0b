use super::*;

fn looks(engine: &EmbeddedEngine) -> (u64, u64) {
    let stats = engine.stats().unwrap();
    (stats.cache_hits, stats.cache_misses)
}

#[test]
fn what_was_read_is_served_from_memory_until_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    engine.write(ramp(&k, 0..1000, 0.0)).unwrap();
    engine.seal().unwrap();
    let range = |from, to| TimeRange::new(from, to).unwrap();
    assert_eq!(rows(&engine, &k, range(0, 500)).len(), 500);
    assert_eq!(engine.stats().unwrap().cache_bytes, 0, "what is cut is not kept");
    let all = rows(&engine, &k, TimeRange::ALL);
    assert!(engine.stats().unwrap().cache_bytes > 16_000);
    assert_eq!(looks(&engine), (0, 2));
    assert_eq!(rows(&engine, &k, TimeRange::ALL), all);
    assert_eq!(rows(&engine, &k, range(300, 400)), all[300..400]);
    assert_eq!(looks(&engine), (2, 2));
    // The bytes on the disk are not asked.
    let c = rusqlite::Connection::open(dir.path().join("series.db")).unwrap();
    c.execute("UPDATE chunk_data SET body = zeroblob(100)", []).unwrap();
    assert_eq!(rows(&engine, &k, TimeRange::ALL), all);
    // Damage that is found is not hidden by it.
    assert_eq!(engine.verify(&Budget::default()).unwrap().len(), 1);
    assert_eq!(count(&engine, &k), 0);
    assert_eq!(engine.stats().unwrap().cache_bytes, 0);
}

#[test]
fn late_rows_and_deletes_are_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let k = key("m");
    engine.write(ramp(&k, 0..1000, 0.0)).unwrap();
    engine.seal().unwrap();
    assert_eq!(count(&engine, &k), 1000);
    engine.write(ramp(&k, 500..501, 0.5)).unwrap();
    assert_eq!(rows(&engine, &k, TimeRange::ALL)[500], (500, 500.5));
    engine.seal().unwrap();
    assert_eq!(rows(&engine, &k, TimeRange::ALL)[500], (500, 500.5));
    engine.compact().unwrap();
    assert_eq!(rows(&engine, &k, TimeRange::ALL)[500], (500, 500.5));
    let held = engine.stats().unwrap().cache_bytes;
    assert!(held > 0);
    engine.delete(&all(), TimeRange::new(0, 900).unwrap()).unwrap();
    assert_eq!(engine.stats().unwrap().cache_bytes, 0, "chunks that were replaced are not kept");
    assert_eq!(rows(&engine, &k, TimeRange::ALL)[0], (900, 900.0));
}

#[test]
fn it_can_be_turned_off_and_is_left_alone_by_long_scans() {
    for (cache, bytes) in [(ByteSize(0), 0), (ByteSize::kib(20), 0), (ByteSize::kib(64), 16_000)] {
        let dir = tempfile::tempdir().unwrap();
        let config = manifest::Embedded { cache_max: cache, ..config() };
        let engine =
            EmbeddedEngine::open(&dir.path().join("s.db"), &config, EngineOptions::default()).unwrap();
        engine.write(ramp(&key("m"), 0..1000, 0.0)).unwrap();
        engine.seal().unwrap();
        for _ in 0..2 {
            assert_eq!(count(&engine, &key("m")), 1000);
        }
        let stats = engine.stats().unwrap();
        assert!((bytes..=bytes + 1000).contains(&stats.cache_bytes), "{cache:?}: {stats:?}");
        assert_eq!(stats.cache_hits, u64::from(bytes > 0));
    }
}
