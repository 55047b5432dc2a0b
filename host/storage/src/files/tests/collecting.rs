//! Collections, beside puts, readers and backups.

use super::super::collect::Collection;
use super::*;
use crate::testing::random::Random;

#[test]
fn a_collection_takes_nothing_that_a_put_just_stored() {
    let f = Fixture::new(CONFIG);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                f.files.gc(&ME, "s").unwrap();
            }
        });
        let putters: Vec<_> = (0..2)
            .map(|t| {
                let f = &f;
                scope.spawn(move || {
                    let name = format!("n{t}");
                    for i in 0..40_u8 {
                        // The same few contents, freed and stored anew by both.
                        f.put(&name, &[i % 3; 100]).unwrap();
                        assert_eq!(f.get(&name).unwrap(), [i % 3; 100]);
                        f.files.delete(&ME, "s", &name, true).unwrap();
                    }
                    f.put(&name, b"end").unwrap();
                })
            })
            .collect();
        let ends: Vec<_> = putters.into_iter().map(|t| t.join()).collect();
        done.store(true, Ordering::SeqCst);
        assert!(ends.into_iter().all(|e| e.is_ok()));
    });
    f.files.gc(&ME, "s").unwrap();
    let report = f.verify();
    assert_eq!((report.objects, report.orphans, report.faults.len()), (1, 0, 0));
}

#[test]
fn a_collection_waits_for_a_short_turn_of_others() {
    let f = Fixture::new(CONFIG);
    f.put("a", b"x").unwrap();
    f.files.delete(&ME, "s", "a", true).unwrap();
    let held = f.files.hold_objects();
    std::thread::scope(|scope| {
        let collected = scope.spawn(|| f.files.gc(&ME, "s"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!collected.is_finished());
        drop(held);
        assert_eq!(collected.join().unwrap().unwrap().removed, 1);
    });
}

#[test]
fn a_collection_waits_for_no_backup_and_stops_no_put() {
    let f = Fixture::new(CONFIG);
    let stored = f.put("a", b"x").unwrap();
    let held = f.files.hold_objects();
    f.files.delete(&ME, "s", "a", true).unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap_err().kind(), Kind::Busy);
    f.put("b", b"y").unwrap();
    let mut bytes = Vec::new();
    f.files.open_object("s", &stored.blake3.unwrap(), 1).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"x");
    drop(held);
    assert_eq!(f.files.gc(&ME, "s").unwrap().removed, 1);
}

#[test]
fn a_collection_of_many_goes_in_batches_and_is_audited() {
    let f = Fixture::new(CONFIG);
    for i in 0..600_u32 {
        let content = i.to_le_bytes();
        let name = hash(&content);
        let place = f.object(&name);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }
    f.put("a", &0_u32.to_le_bytes()).unwrap();
    assert_eq!(f.verify().orphans, 599);
    assert_eq!(
        f.files.gc(&ME, "s").unwrap(),
        GcReport { removed: 599, bytes: 4 * 599, ..GcReport::default() }
    );
    assert_eq!(f.get("a").unwrap(), 0_u32.to_le_bytes());
    let filter =
        crate::audit::AuditFilter { action: Some("files.gc".into()), ..crate::audit::AuditFilter::default() };
    let entries = crate::audit::Audit::new(f.db.clone()).list(&ME, &filter).unwrap();
    assert_eq!(entries.iter().map(|e| e.detail["objects"].as_u64().unwrap()).sum::<u64>(), 599);
}

/// A collection of a few rows at a time, with somebody who puts after each of its steps.
#[test]
fn a_collection_goes_in_steps_and_others_put_between_them() {
    let batches = Batches { objects: 2, chunks: 3, packs: 1, files: 2 };
    let chunking = Chunking { above: 2000, min: 256, average: 512, max: 1024, pack_bytes_max: 4000 };
    let f = Fixture::new(StoreConfig { batches, chunking, ..CONFIG });
    let content = |n: u64| Random::new(n + 1).bytes(if n.is_multiple_of(2) { 100 } else { 3000 });
    for n in 0..20 {
        f.put(&format!("n{n}"), &content(n)).unwrap();
    }
    for n in 0..20 {
        f.files.delete(&ME, "s", &format!("n{n}"), true).unwrap();
    }
    let mut collection = Collection::new();
    let mut steps = 0;
    let mut next = 0;
    let mut more = || {
        steps += 1;
        if next < 20 {
            f.put(&format!("n{next}"), &content(next)).unwrap();
            next += 1;
        }
        true
    };
    assert_eq!(f.files.collect(&ME, "s", &mut collection, &mut more).unwrap(), Some(true));
    assert!(steps > 40, "{steps}");
    for n in 0..20 {
        assert_eq!(f.get(&format!("n{n}")).unwrap(), content(n));
    }
    f.files.gc(&ME, "s").unwrap();
    let report = f.verify();
    assert_eq!((report.objects, report.orphans, report.faults), (20, 0, Vec::new()));
}

/// Left between any two steps, by a process that ended or by background work that has other things to do.
#[test]
fn a_collection_that_is_left_goes_on_or_begins_anew() {
    let keep = crate::manifest::Keep {
        versions: None,
        span: Some(crate::units::Span::from_secs(1)),
        whole_names: true,
    };
    let batches = Batches { objects: 1, chunks: 2, packs: 1, files: 1 };
    let chunking = Chunking { above: 2000, min: 256, average: 512, max: 1024, pack_bytes_max: 4000 };
    let f = Fixture::new(StoreConfig { keep, batches, chunking, ..CONFIG });
    let fill = || {
        for n in 0..4 {
            f.put(&format!("n{n}"), &Random::new(n + 1).bytes(1000 + 1000 * n as usize)).unwrap();
        }
        crate::schema::now_ns() + 2_000_000_000
    };
    let now = fill();
    let steps = f.files.look_after_in_steps("s", now).unwrap();
    assert!(steps > 15, "{steps}");
    let gone = |f: &Fixture| {
        assert_eq!((f.on_disk(), f.disk().list(Area::Packs).unwrap()), ((0, 0), Vec::new()));
        assert_eq!(f.files.stats("s").unwrap(), FilesStats::default());
    };
    gone(&f);
    for left in 0..steps {
        let now = fill();
        f.files.prune_at(&ME, "s", false, now).unwrap();
        let mut some = left;
        let mut more = || {
            some = some.saturating_sub(1);
            some > 0
        };
        f.files.collect(&ME, "s", &mut Collection::new(), &mut more).unwrap();
        assert_eq!(f.verify().faults, []);
        f.files.gc(&ME, "s").unwrap();
        gone(&f);
    }
}

/// An object of more chunks than a transaction may take goes alone; two that have so many together do not go together.
#[test]
fn one_transaction_takes_so_many_chunks() {
    let chunking = Chunking { above: 2000, min: 1000, average: 1024, max: 2000, pack_bytes_max: 1 << 20 };
    for (chunks, want) in [(7, 3), (8, 2), (3, 3)] {
        let batches = Batches { objects: 100, chunks, packs: 100, files: 100 };
        let f = Fixture::new(StoreConfig { batches, chunking, ..CONFIG });
        for n in 0..3 {
            f.put(&format!("n{n}"), &Random::new(n + 1).bytes(4000)).unwrap();
            f.files.delete(&ME, "s", &format!("n{n}"), true).unwrap();
        }
        // Of four chunks each, as far as their sizes say.
        let mut steps = 0;
        let mut more = || {
            let left = f.files.stats("s").unwrap().objects;
            steps += u64::from(left > 0);
            true
        };
        f.files.collect(&ME, "s", &mut Collection::new(), &mut more).unwrap();
        assert_eq!(steps, want, "{chunks}");
    }
}

#[test]
fn a_verification_beside_puts_and_collections_finds_nothing_wrong() {
    let f = Fixture::new(CONFIG);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..60_u8 {
                f.put("a", &[i % 3; 100]).unwrap();
                f.put("b", &Random::new(u64::from(i % 3) + 1).bytes(100_000)).unwrap();
                f.files.delete(&ME, "s", "a", true).unwrap();
                f.files.delete(&ME, "s", "b", true).unwrap();
                f.files.gc(&ME, "s").unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            assert_eq!(f.verify().faults, []);
        }
    });
    assert_eq!((f.audited("files.damaged"), f.verify().orphans), (0, 0));
}
