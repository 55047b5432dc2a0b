//! What was found damaged, and what could not be read.

use super::super::verify::UNREAD_MAX;
use super::odd_disk::OddDisk;
use super::*;
use crate::testing::random::Random;

#[test]
fn a_damaged_object_is_named_and_the_rest_served() {
    let f = Fixture::new(CONFIG);
    let path = |content: &[u8]| f.object(&hash(content));
    for (name, content) in [("flipped", b"aaaa"), ("short", b"bbbb"), ("missing", b"cccc"), ("good", b"dddd")]
    {
        f.put(name, content).unwrap();
    }
    f.put("flipped-too", b"aaaa").unwrap();
    std::fs::write(path(b"aaaa"), b"aaab").unwrap();
    std::fs::write(path(b"bbbb"), b"bb").unwrap();
    std::fs::remove_file(path(b"cccc")).unwrap();
    let mut seen = 0;
    let report = f.files.verify(&ME, "s", &mut |n| seen += n).unwrap();
    assert_eq!((report.objects, report.bytes, report.orphans, seen), (4, 16, 0, 16));
    let mut faults: Vec<_> =
        report.faults.iter().map(|x| (x.files.clone(), x.problem.as_str(), x.blake3.clone())).collect();
    faults.sort();
    assert_eq!(
        faults,
        [
            (
                vec!["flipped".into(), "flipped-too".into()],
                "its content does not match its hash",
                hash(b"aaaa")
            ),
            (vec!["missing".to_string()], "it is missing", hash(b"cccc")),
            (vec!["short".to_string()], "it has 2 bytes instead of 4", hash(b"bbbb")),
        ]
    );
    for name in ["flipped", "short", "missing"] {
        let e = f.get(name).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{e:?}");
        assert!(e.message().contains(name), "{e:?}");
    }
    assert_eq!(f.get("good").unwrap(), b"dddd");
    // The same content put again heals it.
    for (name, content) in [("x", b"aaaa"), ("y", b"bbbb"), ("z", b"cccc")] {
        f.put(name, content).unwrap();
    }
    assert!(f.verify().faults.is_empty());
    assert_eq!(f.get("flipped").unwrap(), b"aaaa");
}

const CHUNKED: StoreConfig = StoreConfig {
    chunking: Chunking { above: 4096, min: 1024, average: 2048, max: 4096, pack_bytes_max: 1 << 20 },
    ..CONFIG
};

#[test]
fn what_cannot_be_read_is_named_and_not_set_aside() {
    let (f, odd) = OddDisk::fixture(CHUNKED);
    f.put("small", b"aaaa").unwrap();
    f.put("large", &Random::new(1).bytes(50_000)).unwrap();
    let whole = f.verify();
    assert_eq!(whole.faults, []);
    for errno in [libc::EIO, libc::EMFILE, libc::EACCES] {
        // Once: the second look says that all is well.
        odd.refuse(1, errno);
        assert_eq!(f.verify(), whole);
        odd.refuse(u64::MAX, errno);
        let report = f.verify();
        assert_eq!(report.faults.len() as u64, 1 + whole.chunks);
        assert!(report.faults.iter().all(|x| x.problem.contains("not set aside") && x.files.len() == 1));
        odd.refuse(0, errno);
        assert_eq!(f.get("small").unwrap(), b"aaaa", "served as before");
        assert_eq!(f.get("large").unwrap().len(), 50_000);
        assert_eq!(f.verify(), whole);
    }
    assert_eq!((f.audited("files.damaged"), f.audited("files.healed")), (0, 0));
    // What is known to be damaged stays so while nobody can look.
    std::fs::write(f.object(&hash(b"aaaa")), b"aaab").unwrap();
    assert_eq!(f.verify().faults.len(), 1);
    odd.refuse(2, libc::EIO);
    assert_eq!((f.verify().faults.len(), f.verify().healed), (1, 0));
    assert_eq!(f.get("small").unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_disk_that_gives_nothing_is_an_error_and_no_list_of_all_objects() {
    let (f, odd) = OddDisk::fixture(CONFIG);
    let put = |n: u64| f.put(&format!("n{n}"), &n.to_le_bytes()).unwrap();
    (1..UNREAD_MAX).for_each(|n| drop(put(n)));
    odd.refuse(u64::MAX, libc::EIO);
    assert_eq!(f.verify().faults.len() as u64, UNREAD_MAX - 1);
    put(UNREAD_MAX);
    let e = f.files.verify(&ME, "s", &mut |_| ()).unwrap_err();
    assert_eq!(e.kind(), Kind::Io);
    assert!(e.message().contains("`s`") && e.hint_text().is_some(), "{e:?}");
}

/// Between the reading and the mark: a slow verification sleeps there.
#[test]
fn what_came_anew_while_it_was_read_is_not_marked() {
    let f = Fixture::new(CHUNKED);
    for change in [None, Some("put"), Some("collected")] {
        f.put("a", b"aaaa").unwrap();
        std::fs::write(f.object(&hash(b"aaaa")), b"aaab").unwrap();
        let mut done = change.is_none();
        let report = f
            .files
            .verify(&ME, "s", &mut |_| {
                if std::mem::replace(&mut done, true) {
                    return;
                }
                if change == Some("collected") {
                    f.files.delete(&ME, "s", "a", true).unwrap();
                    f.files.gc(&ME, "s").unwrap();
                }
                f.put("a", b"aaaa").unwrap();
            })
            .unwrap();
        assert_eq!(report.faults.len(), usize::from(change.is_none()), "{change:?}");
        f.put("a", b"aaaa").unwrap();
        assert_eq!(f.get("a").unwrap(), b"aaaa", "{change:?}");
    }
    assert_eq!(f.audited("files.damaged"), 1);
}

#[test]
fn a_chunk_that_went_while_it_was_read_is_not_marked() {
    let f = Fixture::new(CHUNKED);
    let content = Random::new(1).bytes(50_000);
    f.put("a", &content).unwrap();
    for (name, _) in f.disk().list(Area::Packs).unwrap() {
        let place = f.root().join("packs").join(&name[..2]).join(&name);
        let mut bytes = std::fs::read(&place).unwrap();
        bytes.iter_mut().for_each(|b| *b ^= 1);
        std::fs::write(&place, bytes).unwrap();
    }
    let mut done = false;
    let report = f
        .files
        .verify(&ME, "s", &mut |_| {
            if !std::mem::replace(&mut done, true) {
                f.files.delete(&ME, "s", "a", true).unwrap();
                f.files.gc(&ME, "s").unwrap();
                f.put("b", &content).unwrap();
            }
        })
        .unwrap();
    assert_eq!((report.faults, f.audited("files.damaged")), (Vec::new(), 0));
    assert_eq!(f.get("b").unwrap(), content);
}
