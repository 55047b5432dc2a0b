//! What is in chunks: shared between versions, compressed where it pays, read in ranges, damaged in one place, collected and moved.

use super::tests::{CONFIG, Fixture, ME, hash, read_all};
use super::*;
use crate::caller::Caller;
use crate::error::{Kind, Result};
use crate::testing::random::Random;
use std::collections::BTreeSet;
use std::io::{Seek as _, SeekFrom, Write as _};

const SMALL: Chunking =
    Chunking { above: 4096, min: 1024, average: 2048, max: 4096, pack_bytes_max: 64 << 10 };
const CHUNKED: StoreConfig = StoreConfig {
    quota_bytes: 64 << 20,
    quota_files: 10_000,
    file_bytes_max: 32 << 20,
    chunking: SMALL,
    ..StoreConfig::UNBOUNDED
};

/// Content that cannot be compressed, of a seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    Random::new(seed.wrapping_add(1)).bytes(bytes)
}

fn packs(f: &Fixture) -> Vec<(String, u64)> {
    f.disk().list(Area::Packs).unwrap()
}

fn get(f: &Fixture, path: &str, version: u64) -> Result<Vec<u8>> {
    let (_, reader) = f.files.get(&ME, "s", path, Some(version), None)?;
    read_all(reader).map_err(as_error)
}

#[test]
fn what_is_larger_is_in_chunks_and_has_the_same_name() {
    let f = Fixture::new(CHUNKED);
    for (path, bytes) in [("at", 4096), ("above", 4097), ("large", 300_000)] {
        let content = noise(bytes as u64, bytes);
        let stored = f.put(path, &content).unwrap();
        assert_eq!(stored.blake3.as_deref(), Some(hash(&content).as_str()));
        assert_eq!(stored.size, bytes as u64);
        assert_eq!(f.get(path).unwrap(), content, "{path}");
        assert_eq!(f.object(&hash(&content)).exists(), bytes <= 4096, "{path}");
    }
    // Of no more bytes than the bound each, but for one chunk.
    assert!(packs(&f).iter().all(|(_, bytes)| *bytes <= 64 << 10), "{:?}", packs(&f));
    assert!(packs(&f).len() > 5);
    let f = f.reopen(CHUNKED);
    assert_eq!(f.get("large").unwrap(), noise(300_000, 300_000));
    let report = f.verify();
    assert_eq!((report.faults.len(), report.orphans, report.objects), (0, 0, 3));
    assert_eq!(report.bytes, 4096 + 4097 + 300_000);
}

/// Ten versions, of which each changes one part in a hundred, in runs at some places: less than 1.3 times one.
#[test]
fn versions_share_what_did_not_change() {
    const BYTES: usize = 4 << 20;
    let f = Fixture::new(StoreConfig {
        chunking: Chunking { above: 4096, min: 512, average: 1024, max: 4096, ..SMALL },
        ..CHUNKED
    });
    let mut content = noise(1, BYTES);
    f.put("model", &content).unwrap();
    let one = f.files.stats("s").unwrap().stored;
    for version in 2..=10_u64 {
        for run in 0..4 {
            let at = (noise(version * 100 + run, 8).iter().fold(0_usize, |n, b| n * 256 + usize::from(*b))
                % (BYTES - BYTES / 400))
                .min(BYTES);
            let new = noise(version * 1000 + run, BYTES / 400);
            content[at..at + new.len()].copy_from_slice(&new);
        }
        // Something grew: all behind it moved.
        content.splice(7..7, noise(version, 3));
        assert_eq!(f.put("model", &content).unwrap().version, version);
    }
    let stats = f.files.stats("s").unwrap();
    assert!(stats.bytes >= 10 * BYTES as u64 && stats.objects == 10);
    assert!(stats.stored * 10 < one * 13, "{} of {one}", stats.stored);
    assert_eq!(get(&f, "model", 1).unwrap(), noise(1, BYTES));
    assert_eq!(f.get("model").unwrap(), content);
    assert_eq!(packs(&f).iter().map(|(_, bytes)| bytes).sum::<u64>(), stats.stored, "as the rows say");
}

#[test]
fn what_can_be_compressed_is() {
    let f = Fixture::new(CHUNKED);
    let text: Vec<u8> =
        (0..20_000).flat_map(|i| format!("{{\"line\":{i},\"level\":\"info\"}}\n").into_bytes()).collect();
    f.put("log", &text).unwrap();
    let stats = f.files.stats("s").unwrap();
    assert!(stats.stored * 3 < text.len() as u64, "{stats:?}");
    assert_eq!(f.get("log").unwrap(), text);
    // One that cannot be takes no more than it has, and the next that can is found out in the middle.
    let mixed: Vec<u8> = noise(5, 200_000).into_iter().chain(text.iter().copied().rev()).collect();
    f.put("mixed", &mixed).unwrap();
    let after = f.files.stats("s").unwrap().stored - stats.stored;
    assert!(after >= 200_000 && after < 200_000 + text.len() as u64 / 2, "{after}");
    assert_eq!(f.get("mixed").unwrap(), mixed);
    // Zeros are one chunk, many times.
    f.put("zeros", &vec![0; 1 << 20]).unwrap();
    assert!(f.files.stats("s").unwrap().stored - stats.stored - after < 1000);
    assert_eq!(f.get("zeros").unwrap(), vec![0; 1 << 20]);
}

#[test]
fn ranges_of_what_is_in_chunks() {
    let f = Fixture::new(CHUNKED);
    let content = noise(9, 100_001);
    f.put("a", &content).unwrap();
    let range = |r: std::ops::Range<u64>| {
        f.files.get(&ME, "s", "a", None, Some(r)).and_then(|(_, reader)| read_all(reader).map_err(as_error))
    };
    for r in
        [0..0, 0..1, 1023..1025, 50_000..50_001, 4096..90_000, 100_000..100_001, 100_001..100_001, 0..100_001]
    {
        let want = &content[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()];
        assert_eq!(range(r.clone()).unwrap(), want, "{r:?}");
    }
    assert_eq!(range(0..100_002).unwrap_err().kind(), Kind::Invalid);
}

/// Flips a bit of a file on the disk.
fn flip(f: &Fixture, area: Area, name: &str, at: u64) {
    let place = f.root().join(area.folder()).join(&name[..2]).join(name);
    let mut bytes = std::fs::read(&place).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 4;
    let mut file = std::fs::OpenOptions::new().write(true).open(&place).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&bytes[usize::try_from(at).unwrap()..=usize::try_from(at).unwrap()]).unwrap();
}

#[test]
fn a_flipped_bit_is_named_set_aside_and_healed() {
    let f = Fixture::new(CHUNKED);
    let (a, b) = (noise(1, 60_000), noise(2, 60_000));
    let mut a2 = a.clone();
    a2[59_999] ^= 1;
    f.put("a", &a).unwrap();
    f.put("a-too", &a2).unwrap();
    f.put("b", &b).unwrap();
    let first = packs(&f).into_iter().find(|(name, _)| {
        let place = f.root().join("packs").join(&name[..2]).join(name);
        std::fs::read(place).unwrap().starts_with(&a[..100])
    });
    flip(&f, Area::Packs, &first.unwrap().0, 50);
    // Before anybody looked: no byte of the damaged chunk is given.
    let e = f.get("a").unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt, "{e:?}");
    assert_eq!(
        f.files.get(&ME, "s", "a", None, Some(50_000..60_000)).map(|(_, r)| read_all(r).unwrap()).unwrap(),
        a[50_000..]
    );
    let mut read = 0;
    let report = f.files.verify_at(&ME, "s", Some(u64::MAX), &mut |n| read += n).unwrap();
    assert_eq!(report.faults.len(), 1);
    assert_eq!(report.faults[0].files, ["a", "a-too"]);
    assert!(report.faults[0].problem.contains("hash"), "{:?}", report.faults);
    assert_eq!(read, f.files.stats("s").unwrap().stored);
    // Now a look at the rows is enough, for every part of it.
    for path in ["a", "a-too"] {
        let e = f.files.get(&ME, "s", path, None, Some(50_000..60_000)).err().unwrap();
        assert_eq!(e.kind(), Kind::Corrupt);
        assert!(e.message().contains(path) && e.hint_text().is_some(), "{e:?}");
    }
    assert_eq!(f.get("b").unwrap(), b, "the rest is served");
    assert_eq!(f.verify().faults.len(), 1, "again");
    let audit = crate::audit::Audit::new(f.db.clone());
    let damaged = crate::audit::AuditFilter { action: Some("files.damaged".into()), ..Default::default() };
    assert_eq!(audit.list(&ME, &damaged).unwrap().len(), 1, "noted once");
    // The content again heals it, for all that have the chunk.
    f.put("elsewhere", &a).unwrap();
    assert_eq!(f.get("a-too").unwrap(), a2);
    assert_eq!(f.verify().faults, []);
    // A file that is put back by hand is found whole.
    let small = f.put("small", b"abc").unwrap().blake3.unwrap();
    flip(&f, Area::Objects, &small, 1);
    assert_eq!(f.verify().faults.len(), 1);
    assert!(f.get("small").unwrap_err().message().contains("set aside"));
    flip(&f, Area::Objects, &small, 1);
    assert_eq!(f.get("small").unwrap_err().kind(), Kind::Corrupt, "until somebody looks");
    assert_eq!(f.verify().healed, 1);
    assert_eq!(f.get("small").unwrap(), b"abc");
    // A pack that is gone.
    let pack = f.root().join("packs");
    std::fs::rename(&pack, f.root().join("away")).unwrap();
    std::fs::create_dir(&pack).unwrap();
    let f = f.reopen(CHUNKED);
    assert!(f.verify().faults.iter().all(|x| x.problem.contains("missing")));
    assert_eq!(f.get("b").unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(f.get("small").unwrap(), b"abc");
}

#[test]
fn a_collection_takes_chunks_that_nobody_needs_and_moves_what_is_left() {
    let f = Fixture::new(StoreConfig { chunking: Chunking { pack_bytes_max: 1 << 20, ..SMALL }, ..CHUNKED });
    // One pack with a little that is needed elsewhere.
    let shared = noise(1, 40_000);
    let first: Vec<u8> = shared.iter().copied().chain(noise(2, 400_000)).collect();
    f.put("first", &first).unwrap();
    let second: Vec<u8> = shared.iter().copied().chain(noise(3, 40_000)).collect();
    f.put("second", &second).unwrap();
    f.put("third", &noise(4, 100_000)).unwrap();
    let before = f.files.stats("s").unwrap().stored;
    f.files.delete(&ME, "s", "first", true).unwrap();
    f.files.delete(&ME, "s", "third", true).unwrap();
    let report = f.files.gc(&ME, "s").unwrap();
    assert_eq!((report.removed, report.repacked), (2, 1), "{report:?}");
    assert!(report.chunks > 100, "{report:?}");
    let after = f.files.stats("s").unwrap().stored;
    assert_eq!(before - after, report.bytes);
    assert!(after < 100_000, "{after}");
    assert_eq!(packs(&f).iter().map(|(_, bytes)| bytes).sum::<u64>(), after);
    assert_eq!(f.get("second").unwrap(), second);
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default(), "twice harmless");
    let verified = f.verify();
    assert_eq!((verified.faults.len(), verified.orphans), (0, 0));
    f.files.delete(&ME, "s", "second", true).unwrap();
    f.files.gc(&ME, "s").unwrap();
    assert_eq!(f.files.stats("s").unwrap(), FilesStats::default());
    assert_eq!(packs(&f), []);
}

#[test]
fn a_reader_goes_on_while_its_file_is_collected() {
    let f = Fixture::new(CHUNKED);
    let content = noise(1, 200_000);
    f.put("a", &content).unwrap();
    let (_, mut reader) = f.files.get(&ME, "s", "a", None, None).unwrap();
    let mut first = vec![0; 1000];
    std::io::Read::read_exact(&mut reader, &mut first).unwrap();
    f.files.delete(&ME, "s", "a", true).unwrap();
    f.files.gc(&ME, "s").unwrap();
    first.extend(read_all(reader).unwrap());
    assert_eq!(first, content);
    // When nobody reads any more, the next collection has the room.
    assert!(!packs(&f).is_empty());
    f.files.gc(&ME, "s").unwrap();
    assert_eq!((packs(&f).len(), f.files.stats("s").unwrap().stored), (0, 0));
}

/// Of more chunks than are looked up at once.
#[test]
fn a_reader_of_a_large_file_goes_on_while_it_is_collected() {
    let chunking = Chunking { above: 4096, min: 64, average: 256, max: 1024, ..SMALL };
    let f = Fixture::new(StoreConfig { chunking, ..CHUNKED });
    let content = noise(1, 3 << 20);
    f.put("a", &content).unwrap();
    assert!(f.verify().chunks > 2 * 4_096);
    for range in [None, Some(100_000..3_000_000)] {
        let (from, to) = range.clone().map_or((0, content.len()), |r| (r.start as usize, r.end as usize));
        let (_, mut reader) = f.files.get(&ME, "s", "a", None, range).unwrap();
        let mut first = vec![0; 1000];
        std::io::Read::read_exact(&mut reader, &mut first).unwrap();
        f.files.delete(&ME, "s", "a", true).unwrap();
        f.files.gc(&ME, "s").unwrap();
        first.extend(read_all(reader).unwrap());
        assert!(first == content[from..to]);
        f.files.gc(&ME, "s").unwrap();
        assert_eq!((packs(&f).len(), f.files.stats("s").unwrap()), (0, FilesStats::default()));
        f.put("a", &content).unwrap();
    }
}

/// Whoever reads slowly holds no transaction: nothing bounds how long it takes.
#[test]
fn a_reader_takes_longer_than_a_transaction_may() {
    let read_max = std::time::Duration::from_millis(100);
    let options = crate::sqlite::Options { read_max, ..Default::default() };
    let chunking = Chunking { above: 4096, min: 64, average: 256, max: 1024, ..SMALL };
    let f = Fixture::with(StoreConfig { chunking, ..CHUNKED }, options, |disk| Box::new(disk));
    let content = noise(1, 3 << 20);
    f.put("a", &content).unwrap();
    let (_, mut reader) = f.files.get(&ME, "s", "a", None, None).unwrap();
    let (mut read, mut part) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        let n = std::io::Read::read(&mut reader, &mut part).unwrap();
        if n == 0 {
            break;
        }
        if read.len() / (1 << 20) != (read.len() + n) / (1 << 20) {
            std::thread::sleep(read_max);
        }
        read.extend_from_slice(&part[..n]);
    }
    assert!(read == content);
}

#[test]
fn puts_and_collections_at_once_lose_no_chunk() {
    let f = Fixture::new(CHUNKED);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                f.files.gc(&ME, "s").unwrap();
            }
        });
        let putters: Vec<_> = (0..2_u64)
            .map(|t| {
                let f = &f;
                scope.spawn(move || {
                    for i in 0..15_u64 {
                        let name = format!("n{t}");
                        // Chunks that both free and store anew.
                        let content: Vec<u8> =
                            (0..3).flat_map(|part| noise((i + part) % 4, 20_000)).collect();
                        f.put(&name, &content).unwrap();
                        assert_eq!(f.get(&name).unwrap(), content);
                        f.files.delete(&ME, "s", &name, true).unwrap();
                    }
                    f.put(&format!("end{t}"), &noise(1, 50_000)).unwrap();
                })
            })
            .collect();
        let ends: Vec<_> = putters.into_iter().map(|t| t.join()).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(ends.into_iter().all(|e| e.is_ok()));
    });
    f.files.gc(&ME, "s").unwrap();
    let report = f.verify();
    assert_eq!((report.objects, report.orphans, report.faults.len()), (1, 0, 0));
    assert_eq!(f.get("end0").unwrap(), noise(1, 50_000));
}

#[test]
fn many_small_files_come_in_one_batch_or_not_at_all() {
    let f = Fixture::new(StoreConfig { quota_files: 250, ..CHUNKED });
    let batch = |from: u64, n: u64| -> Vec<BatchFile> {
        (from..from + n)
            .map(|i| BatchFile { path: format!("b/{i:05}"), content: noise(i, 1000), ..BatchFile::default() })
            .collect()
    };
    let made = f.files.put_many(&ME, "s", batch(0, 200)).unwrap();
    assert_eq!((made.len(), made[7].version, made[7].path.as_str()), (200, 1, "b/00007"));
    assert_eq!(made[7].blake3.as_deref(), Some(hash(&noise(7, 1000)).as_str()));
    assert_eq!(f.get("b/00199").unwrap(), noise(199, 1000));
    assert_eq!(packs(&f).len(), 4, "200,000 bytes");
    // The last of them is one too many: none is there.
    assert_eq!(f.files.put_many(&ME, "s", batch(200, 51)).unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.files.stats("s").unwrap().versions, 200);
    let mut bad = batch(300, 3);
    bad[2].path = "../x".into();
    assert_eq!(f.files.put_many(&ME, "s", bad).unwrap_err().kind(), Kind::Invalid);
    f.files.gc(&ME, "s").unwrap();
    assert_eq!(f.verify().orphans, 0);
    // The same again, one name twice, an empty one, one that is large: each is what it is alone.
    let mut mixed = batch(0, 2);
    mixed.push(BatchFile { path: "b/00000".into(), content: Vec::new(), ..BatchFile::default() });
    mixed.push(BatchFile { path: "large".into(), content: noise(77, 50_000), ..BatchFile::default() });
    let made = f.files.put_many(&ME, "s", mixed).unwrap();
    assert_eq!(made.iter().map(|m| m.version).collect::<Vec<_>>(), [2, 2, 3, 1]);
    assert_eq!((f.get("b/00000").unwrap(), f.get("large").unwrap()), (Vec::new(), noise(77, 50_000)));
    let too_many = vec![BatchFile { path: "x".into(), ..BatchFile::default() }; BATCH_FILES_MAX + 1];
    assert_eq!(f.files.put_many(&ME, "s", too_many).unwrap_err().kind(), Kind::Limit);
    assert!(f.verify().faults.is_empty());
    let reader = Caller::Token { id: 1, name: "r".into(), scope: crate::caller::Scope::Read };
    assert_eq!(f.files.put_many(&reader, "s", batch(0, 1)).unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.files.put_many(&ME, "s", Vec::new()).unwrap(), []);
}

#[test]
fn a_quota_counts_what_lies_on_the_disk() {
    let f = Fixture::new(StoreConfig { quota_bytes: 120_000, ..CHUNKED });
    let content = noise(1, 50_000);
    for version in 1..=5 {
        let mut next = content.clone();
        next[0] = version;
        f.put("a", &next).unwrap();
    }
    assert!(f.files.stats("s").unwrap().bytes > 120_000);
    assert_eq!(f.put("b", &noise(2, 100_000)).unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.put("b", &noise(2, 130_000)).unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.verify().orphans, 0, "what is refused leaves nothing");
    f.put("b", &noise(2, 30_000)).unwrap();
}

/// What was stored before chunks were is read as before, and is one object with what is stored now.
#[test]
fn an_object_in_a_file_of_its_own_stays_one() {
    let f = Fixture::new(CONFIG);
    let content = noise(1, 60_000);
    let old = f.put("a", &content).unwrap();
    let f = f.reopen(CHUNKED);
    assert_eq!(f.get("a").unwrap(), content);
    f.put("b", &content).unwrap();
    assert_eq!(f.files.stats("s").unwrap().objects, 1);
    f.files.gc(&ME, "s").unwrap();
    assert_eq!(f.verify().orphans, 0);
    // Damaged, it is healed by what is in chunks now, and its file goes.
    let object = old.blake3.unwrap();
    flip(&f, Area::Objects, &object, 100);
    assert_eq!(f.verify().faults.len(), 1);
    f.put("c", &content).unwrap();
    assert_eq!(f.get("a").unwrap(), content);
    f.files.gc(&ME, "s").unwrap();
    assert_eq!((f.on_disk(), f.verify().faults.len()), ((0, 0), 0));
    let names: BTreeSet<_> = f.names("").into_iter().collect();
    assert_eq!(names.len(), 3);
}

/// Small content of a batch is in a pack; what comes alone is a file of its own, and heals it all the same.
#[test]
fn a_small_file_of_a_damaged_pack_is_healed_by_one_that_comes_alone() {
    let f = Fixture::new(CHUNKED);
    let content = noise(1, 1_000);
    let file = |path: &str, content: &[u8]| BatchFile {
        path: path.into(),
        content: content.to_vec(),
        ..BatchFile::default()
    };
    f.files.put_many(&ME, "s", vec![file("a", &content), file("b", &noise(2, 1_000))]).unwrap();
    let (pack, _) = packs(&f).into_iter().next().unwrap();
    let place = f.root().join("packs").join(&pack[..2]).join(&pack);
    let bytes = std::fs::read(place).unwrap();
    let at = bytes.windows(100).position(|w| w == &content[..100]).unwrap();
    flip(&f, Area::Packs, &pack, at as u64 + 50);
    assert_eq!(f.verify().faults.len(), 1);
    assert_eq!(f.get("a").unwrap_err().kind(), Kind::Corrupt);
    f.put("alone", &content).unwrap();
    for path in ["a", "alone"] {
        assert_eq!(f.get(path).unwrap(), content);
    }
    assert_eq!(f.files.stats("s").unwrap().objects, 2);
    assert_eq!(f.verify().faults, Vec::new(), "nothing is made of the damaged chunk any more");
    f.files.gc(&ME, "s").unwrap();
    let report = f.verify();
    assert_eq!((report.faults, report.orphans), (Vec::new(), 0));
    assert_eq!(f.get("b").unwrap(), noise(2, 1_000));
    assert_eq!(f.reopen(CHUNKED).get("a").unwrap(), content);
}
