use super::*;

/// Of the file, and of its WAL.
fn bytes(dir: &Path) -> (u64, u64) {
    let of = |name: &str| dir.join(name).metadata().map_or(0, |m| m.len());
    (of("series.db"), of("series.db-wal"))
}

/// What the WAL may hold before a commit moves it into the file, and the largest transaction of this test.
const WAL_BYTES_MAX: u64 = (2_048 << 14) + (8 << 20);

#[test]
fn the_file_stops_growing_when_as_much_goes_as_comes() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        manifest::Embedded { head_max: ByteSize::kib(256), compact_every: Span::from_millis(1), ..config() };
    let options = EngineOptions { synchronous: crate::sqlite::Synchronous::Off, ..EngineOptions::default() };
    let engine = EmbeddedEngine::open(&dir.path().join("series.db"), &config, options).unwrap();
    const ROUND: i64 = 20_000;
    let mut most = 0;
    for round in 0..30 {
        // Values that do not compress: what is freed and not used again would be seen.
        let times: Vec<i64> = (round * ROUND..(round + 1) * ROUND).collect();
        let mix = |t: &i64| t.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) as f64 / 3.0;
        let values = times.iter().map(mix).collect();
        engine.write(batch(&key("m"), times, vec![Column::float("v", values)])).unwrap();
        engine.seal().unwrap();
        engine.maintain().unwrap();
        let old = TimeRange { start: 0, end: (round - 2).max(0) * ROUND };
        engine.delete(&all(), old).unwrap();
        engine.maintain().unwrap();
        engine.database().checkpoint().unwrap();
        let (now, wal) = bytes(dir.path());
        assert!(wal <= WAL_BYTES_MAX);
        match round {
            0..10 => most = most.max(now),
            _ => assert!(now <= most + most / 4, "round {round}: {now} bytes after {most}"),
        }
    }
    assert_eq!(count(&engine, &key("m")) as i64, 3 * ROUND);
}

#[test]
fn small_chunks_of_many_series_are_joined_together() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions { synchronous: crate::sqlite::Synchronous::Off, ..EngineOptions::default() };
    let engine = EmbeddedEngine::open(&dir.path().join("series.db"), &config(), options).unwrap();
    // More chunks than one transaction replaces.
    const SERIES: i64 = 400;
    let named = |n: i64| key(&format!("m{n}"));
    for round in 0..4 {
        let series = (0..SERIES).flat_map(|n| ramp(&named(n), round * 10..round * 10 + 10, n as f64).series);
        engine.write(WriteBatch { series: series.collect() }).unwrap();
        engine.seal().unwrap();
    }
    let report = engine.compact().unwrap();
    assert_eq!((report.chunks_before, report.chunks_after), (4 * SERIES as u64, SERIES as u64));
    for n in [0, 255, 256, 257, SERIES - 1] {
        let want: Vec<_> = (0..40).map(|t| (t, (t + n) as f64)).collect();
        assert_eq!(rows(&engine, &named(n), TimeRange::ALL), want);
    }
    let left: i64 = engine
        .database()
        .read(|c| Ok(c.query_row("SELECT count(*) FROM chunk_data", [], |r| r.get(0))?))
        .unwrap();
    assert_eq!(left, SERIES, "what was replaced is given up");
    assert_eq!(engine.verify(&Budget::default()).unwrap(), vec![]);
}
