//! What rows take in memory, counted: never more than the manifest says, whoever does what at once.

use super::*;
use crate::Kind;
use std::sync::atomic::{AtomicBool, Ordering};

fn of(dir: &Path, memory_max: ByteSize, chunk_rows: u32) -> EmbeddedEngine {
    let config = manifest::Embedded {
        memory_max,
        head_max: ByteSize(memory_max.0 / 4),
        cache_max: ByteSize(memory_max.0 / 8),
        chunk_rows,
        ..config()
    };
    let options = EngineOptions { synchronous: crate::sqlite::Synchronous::Off, ..EngineOptions::default() };
    EmbeddedEngine::open(&dir.join("series.db"), &config, options).unwrap()
}

fn within(engine: &EmbeddedEngine) {
    let stats = engine.stats().unwrap();
    assert!(stats.memory_peak <= stats.memory_max && stats.memory_bytes <= stats.memory_peak, "{stats:?}");
}

#[test]
fn writers_readers_and_compaction_at_once_stay_within_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let engine = of(dir.path(), ByteSize::kib(640), 1_024);
    let done = AtomicBool::new(false);
    const BATCHES: i64 = 60;
    const ROWS: i64 = 1_500;
    std::thread::scope(|s| {
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let engine = &engine;
                s.spawn(move || {
                    for b in 0..BATCHES {
                        let mut batch = ramp(&key(&format!("w{w}")), b * ROWS..(b + 1) * ROWS, 0.0);
                        // Late, and with fields in turn, so that rows in memory are filled up.
                        let field = Column::float(format!("f{}", b % 5), vec![1.0; 100]);
                        let times = (0..100).map(|t| t * 50 + (b * 37 + w) % 50).collect();
                        batch.series.extend(super::batch(&key("shared"), times, vec![field]).series);
                        engine.write(batch).unwrap();
                    }
                })
            })
            .collect();
        for reader in 0..3 {
            let (engine, done) = (&engine, &done);
            s.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let rows = rows(engine, &key(&format!("w{reader}")), TimeRange::ALL);
                    assert_eq!(rows.len() as i64 % ROWS, 0);
                }
            });
        }
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A slow one holds what it began with.
                let mut slow = engine.scan(&key("w3"), TimeRange::ALL, None, &Budget::default()).unwrap();
                let first = slow.next().map(Result::unwrap);
                engine.compact().unwrap();
                let rest: usize = slow.map(|f| f.unwrap().len()).sum();
                assert_eq!((first.map_or(0, |f| f.len()) + rest) as i64 % ROWS, 0);
            }
        });
        let failed = writers.into_iter().map(|w| w.join()).filter(Result::is_err).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
    within(&engine);
    let stats = engine.stats().unwrap();
    assert!(stats.memory_waits > 0 && stats.chunks > 0, "{stats:?}");
    assert!(stats.memory_peak > stats.memory_max / 2, "it is used: {stats:?}");
    (0..4).for_each(|w| assert_eq!(count(&engine, &key(&format!("w{w}"))) as i64, BATCHES * ROWS));
    engine.seal().unwrap();
    let after = engine.stats().unwrap();
    assert_eq!((after.head_bytes, after.decoded_bytes), (0, 0));
    assert_eq!(after.memory_bytes, after.cache_bytes, "what was taken was given back");
}

#[test]
fn a_batch_that_never_fits_is_refused_and_the_largest_that_does_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let engine = of(dir.path(), ByteSize::mib(1), 1_024);
    // In the half of 512 KiB: values and record of 16 bytes a row, 128 for the series, 64 KiB to fill up.
    let most = ((512 << 10) - (64 << 10) - 128) / 32;
    for _ in 0..3 {
        engine.write(ramp(&key("m"), 0..most, 0.0)).unwrap();
    }
    let refused = engine.write(ramp(&key("m"), 0..most + 1, 1.0)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Limit);
    assert!(refused.hint_text().unwrap().contains("series.embedded.memory_max"), "{refused:?}");
    assert_eq!(rows(&engine, &key("m"), TimeRange::ALL).last(), Some(&(most - 1, (most - 1) as f64)));
    within(&engine);
}

/// Chunks that were written with more memory than there is now, each larger than all that may be decoded.
fn large_chunks(dir: &Path) -> i64 {
    const ROWS: i64 = 60_000;
    let engine = of(dir, ByteSize::mib(64), 65_536);
    // Three that lie over each other, the newest half a step behind.
    for (from, add) in [(0, 0.0), (ROWS / 2, 0.0), (ROWS / 4, 0.5)] {
        engine.write(ramp(&key("m"), from..from + ROWS, add)).unwrap();
        engine.seal().unwrap();
    }
    assert_eq!(engine.stats().unwrap().chunks, 3);
    ROWS
}

#[test]
fn a_query_larger_than_the_budget_streams() {
    let dir = tempfile::tempdir().unwrap();
    let each = large_chunks(dir.path());
    let engine = of(dir.path(), ByteSize::mib(1), 1_024);
    let mut stuck: Vec<_> =
        (0..6).map(|_| engine.scan(&key("m"), TimeRange::ALL, None, &Budget::default()).unwrap()).collect();
    let first: Vec<usize> = stuck.iter_mut().map(|s| s.next().unwrap().unwrap().len()).collect();
    let expect = |t: i64| if (each / 4..each / 4 + each).contains(&t) { t as f64 + 0.5 } else { t as f64 };
    let found = rows(&engine, &key("m"), TimeRange::ALL);
    assert_eq!(found.len() as i64, each + each / 2);
    assert!(found.iter().zip(0..).all(|((t, v), at)| *t == at && *v == expect(at)));
    within(&engine);
    // Whoever began earlier goes on, in turns.
    let mut counts = first;
    let mut more = true;
    while more {
        more = false;
        for (scan, count) in stuck.iter_mut().zip(&mut counts) {
            if let Some(frame) = scan.next() {
                *count += frame.unwrap().len();
                more = true;
            }
        }
    }
    assert!(counts.iter().all(|count| *count as i64 == each + each / 2), "{counts:?}");
    within(&engine);
    engine.compact().unwrap();
    assert!(engine.verify(&Budget::default()).unwrap().is_empty());
    assert_eq!(rows(&engine, &key("m"), TimeRange::ALL), found);
    within(&engine);
    let stats = engine.stats().unwrap();
    assert!(stats.chunks > 3, "chunks are as large as the memory allows: {stats:?}");
    assert_eq!(engine.compact().unwrap().chunks_after, stats.chunks, "and stay so");
}

#[test]
fn a_start_seals_what_is_more_than_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let large = of(dir.path(), ByteSize::mib(64), 1_024);
    for part in 0..20 {
        large.write(ramp(&key("m"), part * 10_000..(part + 1) * 10_000, 0.0)).unwrap();
    }
    assert_eq!(large.stats().unwrap().chunks, 0);
    drop(large);
    let engine = of(dir.path(), ByteSize::mib(1), 1_024);
    within(&engine);
    let stats = engine.stats().unwrap();
    assert!(stats.chunks > 0 && stats.head_bytes > 0 && stats.log_bytes < 1 << 20, "{stats:?}");
    assert_eq!(count(&engine, &key("m")), 200_000);
    drop(engine);
    assert_eq!(count(&of(dir.path(), ByteSize::mib(1), 1_024), &key("m")), 200_000);
}

#[test]
fn what_a_scan_holds_of_the_head_counts_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let engine = of(dir.path(), ByteSize::mib(1), 1_024);
    engine.write(ramp(&key("m"), 0..10_000, 0.0)).unwrap();
    let scan = engine.scan(&key("m"), TimeRange::ALL, None, &Budget::default()).unwrap();
    engine.seal().unwrap();
    let stats = engine.stats().unwrap();
    assert_eq!((stats.head_bytes, stats.pinned_bytes, stats.memory_bytes), (0, 160_000, 160_000));
    assert_eq!(scan.map(|f| f.unwrap().len()).sum::<usize>(), 10_000);
    let stats = engine.stats().unwrap();
    assert_eq!((stats.pinned_bytes, stats.memory_bytes), (0, 0));
}

#[test]
fn wide_rows_fill_a_chunk_before_their_number_does() {
    let dir = tempfile::tempdir().unwrap();
    let engine = of(dir.path(), ByteSize::mib(16), 65_536);
    let fields = 200;
    for part in 0..4_i64 {
        let times: Vec<i64> = (part * 500..(part + 1) * 500).collect();
        let columns = (0..fields).map(|f| Column::float(format!("f{f}"), vec![f as f64; 500])).collect();
        engine.write(batch(&key("m"), times, columns)).unwrap();
    }
    engine.seal().unwrap();
    // 1,608 bytes a row, two MiB a chunk.
    let chunks = engine.stats().unwrap().chunks;
    assert!((2..=4).contains(&chunks), "{chunks}");
    engine.compact().unwrap();
    assert_eq!(engine.stats().unwrap().chunks, chunks);
    let stream = engine.scan(&key("m"), TimeRange::ALL, None, &Budget::default()).unwrap();
    assert_eq!(stream.map(|f| f.unwrap().len()).sum::<usize>(), 2_000);
    within(&engine);
}
