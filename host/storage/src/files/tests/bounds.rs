//! Quotas, also for several at once.

use super::*;
use std::collections::BTreeSet;

#[test]
fn every_bound_at_its_boundary() {
    let f = Fixture::new(StoreConfig {
        quota_bytes: 250,
        quota_files: 5,
        file_bytes_max: 100,
        ..StoreConfig::UNBOUNDED
    });
    let limit = |r: Result<FileVersion>| {
        let e = r.unwrap_err();
        assert_eq!(e.kind(), Kind::Limit, "{e:?}");
        assert!(e.hint_text().unwrap().contains("files.s."), "{e:?}");
    };
    f.put("a", &[1; 100]).unwrap();
    limit(f.put("a", &[2; 101]));
    f.put("b", &[2; 100]).unwrap();
    limit(f.put("c", &[3; 51]));
    f.put("c", &[3; 50]).unwrap();
    limit(f.put("d", &[4; 1]));
    f.put("d", &[1; 100]).unwrap();
    assert_eq!(f.files.stats("s").unwrap(), FilesStats { versions: 4, objects: 3, bytes: 250, stored: 250 });
    assert_eq!(f.on_disk(), (0, 3), "what is refused leaves nothing, or a quota would bound nothing");
    f.put("e", b"").unwrap();
    limit(f.put("f", b""));
    f.files.delete(&ME, "s", "e", false).unwrap();
    assert_eq!(f.files.stats("s").unwrap().versions, 6, "a deletion is never refused");
    f.files.delete(&ME, "s", "e", true).unwrap();
    f.put("f", b"").unwrap();
    // A quota that was lowered below what is there refuses, and serves.
    let f = f.reopen(StoreConfig {
        quota_bytes: 10,
        quota_files: 5,
        file_bytes_max: 100,
        ..StoreConfig::UNBOUNDED
    });
    limit(f.put("f", b"more"));
    assert_eq!(f.get("b").unwrap(), [2; 100]);
}

#[test]
fn many_puts_of_one_name_are_many_versions() {
    let f = Fixture::new(CONFIG);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let f = &f;
            scope.spawn(move || {
                for i in 0..10_u8 {
                    f.put("same", &[thread, i]).unwrap();
                }
            });
        }
    });
    let versions = f.files.versions(&ME, "s", "same").unwrap();
    assert_eq!(versions.iter().map(|v| v.version).rev().collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    let contents: BTreeSet<Vec<u8>> = versions
        .iter()
        .map(|v| read_all(f.files.get(&ME, "s", "same", Some(v.version), None).unwrap().1).unwrap())
        .collect();
    assert_eq!(contents.len(), 40);
    assert_eq!(f.files.stats("s").unwrap(), FilesStats { versions: 40, objects: 40, bytes: 80, stored: 80 });
    assert!(f.verify().faults.is_empty());
}

#[test]
fn puts_do_not_pass_a_quota_together() {
    for config in [
        StoreConfig { quota_bytes: 50, quota_files: 1000, file_bytes_max: 10, ..StoreConfig::UNBOUNDED },
        StoreConfig { quota_bytes: 1000, quota_files: 5, file_bytes_max: 10, ..StoreConfig::UNBOUNDED },
    ] {
        let f = Fixture::new(config);
        let stored: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u8)
                .map(|t| {
                    let f = &f;
                    scope.spawn(move || {
                        (0..4_u8).filter(|i| f.put(&format!("{t}-{i}"), &[t * 4 + i; 10]).is_ok()).count()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(stored, 5);
        assert_eq!(
            f.files.stats("s").unwrap(),
            FilesStats { versions: 5, objects: 5, bytes: 50, stored: 50 }
        );
        assert_eq!(f.on_disk(), (0, 5));
    }
}
