//! What is refused or fails leaves nothing behind.

use super::super::stream::Tmp;
use super::*;
use std::os::unix::fs::symlink;

/// Gives some bytes and then an error.
struct Breaks(usize);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        self.0 -= 1;
        buffer.fill(1);
        Ok(buffer.len())
    }
}

#[test]
fn a_put_that_fails_leaves_nothing() {
    let f = Fixture::new(CONFIG);
    let e = f.files.put(&ME, "s", "a", &mut Breaks(2), PutOptions::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::Io);
    f.read_only.store(true, Ordering::SeqCst);
    assert_eq!(f.put("a", b"x").unwrap_err().kind(), Kind::ReadOnly);
    f.read_only.store(false, Ordering::SeqCst);
    assert_eq!((f.on_disk(), f.names("").len()), ((0, 0), 0));
    f.put("a", b"x").unwrap();
    f.read_only.store(true, Ordering::SeqCst);
    f.files.delete(&ME, "s", "a", true).unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap().removed, 1, "a full disk can be emptied");
}

#[test]
fn a_put_removes_only_what_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let disk = CapDisk::open(dir.path()).unwrap();
    let others = dir.path().join("tmp/1-1");
    std::fs::write(&others, "another's").unwrap();
    let put = |name: &str| Tmp::write(&disk, name.into(), ("s", "a"), &mut &b"mine"[..], &CONFIG);
    assert!(put("1-1").is_err());
    assert_eq!(std::fs::read(&others).unwrap(), b"another's");
    let (tmp, name, size) = put("1-2").unwrap();
    assert_eq!((name.as_str(), size), (hash(b"mine").as_str(), 4));
    drop(tmp);
    assert_eq!(disk.list_tmp().unwrap(), ["1-1"]);
    // Published: nothing is left to remove.
    put("1-3").unwrap().0.publish(Area::Objects, &name).unwrap();
    assert_eq!(disk.list(Area::Objects).unwrap(), [(name.clone(), 4)]);
    // A publication that fails takes its own file away and harms no object.
    let (tmp, _, _) = put("1-4").unwrap();
    assert!(tmp.publish(Area::Objects, "../../etc/passwd").is_err());
    assert_eq!((disk.list_tmp().unwrap().len(), disk.list(Area::Objects).unwrap()), (1, vec![(name, 4)]));
}

#[test]
fn what_was_left_in_tmp_goes_when_the_store_opens() {
    let f = Fixture::new(CONFIG);
    f.put("a", b"x").unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(f.root().join("tmp/123-0"), "half").unwrap();
    symlink(outside.path(), f.root().join("tmp/link")).unwrap();
    std::fs::create_dir(f.root().join("tmp/folder")).unwrap();
    assert_eq!(f.on_disk(), (2, 1));
    let f = f.reopen(CONFIG);
    assert_eq!(f.on_disk(), (0, 1));
    assert!(outside.path().exists() && f.root().join("tmp/folder").exists());
    assert_eq!(f.get("a").unwrap(), b"x");
}

fn noise_batch(n: u64) -> Vec<BatchFile> {
    let file = |i: u64| BatchFile {
        path: format!("b{i}"),
        content: crate::testing::random::Random::new(i + 1).bytes(10_000),
        ..BatchFile::default()
    };
    (0..n).map(file).collect()
}

/// Each alone would be taken: that they are too many is known in their transaction only, when their pack is in its place.
#[test]
fn a_batch_that_is_refused_in_its_transaction_takes_no_room() {
    let f = Fixture::new(StoreConfig { quota_files: 3, ..CONFIG });
    for _ in 0..3 {
        assert_eq!(f.files.put_many(&ME, "s", noise_batch(4)).unwrap_err().kind(), Kind::Limit);
        assert_eq!(f.disk().list(Area::Packs).unwrap(), []);
    }
    assert_eq!((f.files.stats("s").unwrap(), f.verify().orphans), (FilesStats::default(), 0));
    f.files.put_many(&ME, "s", noise_batch(3)).unwrap();
    assert_eq!(f.get("b2").unwrap().len(), 10_000);
}

#[test]
fn what_is_refused_in_its_transaction_goes_unless_another_has_it() {
    let f = Fixture::new(CONFIG);
    let large = crate::testing::random::Random::new(1).bytes(100_000);
    let refused = |content: &[u8]| {
        let no = |_: &crate::sqlite::Tx<'_>, _: &FileVersion| Err(Error::conflict("no"));
        let any = crate::settings::Expect::Any;
        let put =
            f.files.put_with(&ME, "s", "a", &mut { content }, PutOptions::default(), any, |_| Ok(()), no);
        assert_eq!(put.unwrap_err().kind(), Kind::Conflict);
    };
    let on_disk = || [Area::Objects, Area::Packs].map(|area| f.disk().list(area).unwrap().len());
    refused(b"small");
    refused(&large);
    assert_eq!(on_disk(), [0, 0]);
    f.put("mine", b"small").unwrap();
    f.put("mine-too", &large).unwrap();
    let there = on_disk();
    refused(b"small");
    refused(&large);
    assert_eq!(on_disk(), there);
    assert_eq!((f.get("mine").unwrap(), f.get("mine-too").unwrap()), (b"small".to_vec(), large));
    assert_eq!(f.verify().faults, []);
    assert_eq!(f.audited("files.refused"), 1);
}

/// Two senders of one large content: what the second brought is there already, and counts once.
#[test]
fn one_content_that_comes_twice_at_once_takes_its_room_once() {
    let f = Fixture::new(CONFIG);
    let content = crate::testing::random::Random::new(1).bytes(300_000);
    let first = || drop(f.put("a", &content).unwrap());
    let mut second = Meanwhile(&content, Some(&first));
    f.files.put(&ME, "s", "b", &mut second, PutOptions::default()).unwrap();
    let stats = f.files.stats("s").unwrap();
    assert_eq!((stats.objects, stats.stored), (1, 300_000), "{stats:?}");
    assert_eq!((f.get("a").unwrap(), f.verify().orphans), (f.get("b").unwrap(), 0));
}
