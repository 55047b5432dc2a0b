//! Content that comes in parts.

use super::tests::{CONFIG, Fixture, ME, Meanwhile, hash};
use super::*;
use crate::caller::{Caller, Scope};
use crate::error::{Kind, Result};
use std::io::Read;
use std::sync::atomic::Ordering;

fn begin(f: &Fixture, path: &str) -> Upload {
    f.files.begin_upload(&ME, "s", path, PutOptions::default()).unwrap()
}

fn append(f: &Fixture, id: &str, offset: u64, part: &[u8]) -> Result<Upload> {
    f.files.append_upload(&ME, "s", id, (offset, &hash(part)), &mut { part })
}

fn uploads_on_disk(f: &Fixture) -> usize {
    f.disk().list(Area::Uploads).unwrap().len()
}

#[test]
fn parts_become_a_version() {
    let f = Fixture::new(CONFIG);
    let options = PutOptions {
        media_type: Some("text/plain".into()),
        metadata: serde_json::json!({ "k": 1 }),
        provenance: Provenance {
            skill: Some(FromSkill { name: "m".into(), version: "1.0.0".into() }),
            data: Vec::new(),
        },
    };
    let upload = f.files.begin_upload(&ME, "s", "m/a.bin", options).unwrap();
    let id = upload.id.as_str();
    assert_eq!((upload.received, upload.version), (0, None));
    assert_eq!(append(&f, id, 0, b"first ").unwrap().received, 6);
    assert_eq!(append(&f, id, 6, b"second").unwrap().received, 12);
    // A part of before, one that leaves a gap, one that was changed on its way: nothing happens.
    for (offset, part, want) in [(0, b"x", Kind::Conflict), (13, b"x", Kind::Conflict)] {
        assert_eq!(append(&f, id, offset, part).unwrap_err().kind(), want);
    }
    let e = f.files.append_upload(&ME, "s", id, (12, &hash(b"other")), &mut &b"third"[..]).unwrap_err();
    assert_eq!(e.kind(), Kind::Invalid);
    assert_eq!(f.files.upload(&ME, "s", id).unwrap().received, 12);
    assert_eq!(append(&f, id, 12, b".").unwrap().received, 13, "what was written of it is cut off");
    let whole = hash(b"first second.");
    assert_eq!(f.files.finish_upload(&ME, "s", id, (None, Some(12))).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(
        f.files.finish_upload(&ME, "s", id, (Some(&hash(b"x")), None)).unwrap_err().kind(),
        Kind::Invalid
    );
    assert_eq!(f.names(""), Vec::<String>::new());
    let made = f.files.finish_upload(&ME, "s", id, (Some(&whole.to_uppercase()), Some(13))).unwrap();
    assert_eq!((made.version, made.size, made.media_type.as_str()), (1, 13, "text/plain"));
    assert_eq!(f.get("m/a.bin").unwrap(), b"first second.");
    assert_eq!(f.files.provenance(&ME, &made).unwrap().skill.unwrap().name, "m");
    // Again: the answer got lost.
    assert_eq!(f.files.finish_upload(&ME, "s", id, (Some(&whole), None)).unwrap(), made);
    assert_eq!(append(&f, id, 13, b"x").unwrap_err().kind(), Kind::Conflict);
    assert_eq!(f.files.abandon_upload(&ME, "s", id).unwrap_err().kind(), Kind::Conflict);
    assert_eq!((uploads_on_disk(&f), f.files.uploads(&ME, "s").unwrap().len()), (0, 0));
    // Of nothing at all.
    let empty = begin(&f, "empty");
    assert_eq!(f.files.finish_upload(&ME, "s", &empty.id, (None, None)).unwrap().size, 0);
}

#[test]
fn an_upload_goes_on_after_a_start_and_ends_when_it_is_given_up() {
    let f = Fixture::new(CONFIG);
    let (one, two) = (begin(&f, "one"), begin(&f, "two"));
    append(&f, &one.id, 0, b"aa").unwrap();
    append(&f, &two.id, 0, b"bb").unwrap();
    let f = f.reopen(CONFIG);
    assert_eq!(f.files.upload(&ME, "s", &one.id).unwrap().received, 2);
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default(), "they are not garbage");
    append(&f, &one.id, 2, b"cc").unwrap();
    assert_eq!(f.files.uploads(&ME, "s").unwrap().len(), 2);
    f.read_only.store(true, Ordering::SeqCst);
    assert_eq!(append(&f, &two.id, 2, b"x").unwrap_err().kind(), Kind::ReadOnly);
    f.files.abandon_upload(&ME, "s", &two.id).unwrap();
    f.read_only.store(false, Ordering::SeqCst);
    assert_eq!(f.files.upload(&ME, "s", &two.id).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(uploads_on_disk(&f), 1);
    f.files.finish_upload(&ME, "s", &one.id, (None, None)).unwrap();
    assert_eq!(f.get("one").unwrap(), b"aacc");
    // Idle for a day: given up, the finished one forgotten.
    let three = begin(&f, "three");
    append(&f, &three.id, 0, b"dd").unwrap();
    let idle = f.files.upload(&ME, "s", &three.id).unwrap().expires_at;
    f.files.look_after("s", idle - 1_000_000_000).unwrap();
    assert_eq!(f.files.upload(&ME, "s", &three.id).unwrap().received, 2);
    f.files.look_after("s", idle + 1).unwrap();
    for id in [&one.id, &three.id] {
        assert_eq!(f.files.upload(&ME, "s", id).unwrap_err().kind(), Kind::NotFound);
    }
    assert_eq!(uploads_on_disk(&f), 0);
    assert_eq!(f.get("one").unwrap(), b"aacc");
}

#[test]
fn what_is_not_what_it_was_to_be_takes_no_room() {
    let f = Fixture::new(CONFIG);
    let upload = begin(&f, "large");
    // Enough for chunks.
    let part: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    append(&f, &upload.id, 0, &part).unwrap();
    for _ in 0..3 {
        let e = f.files.finish_upload(&ME, "s", &upload.id, (Some(&hash(b"x")), None)).unwrap_err();
        assert_eq!(e.kind(), Kind::Invalid);
    }
    let areas = [Area::Packs, Area::Objects].map(|area| f.disk().list(area).unwrap().len());
    assert_eq!(areas, [0, 0]);
    f.files.finish_upload(&ME, "s", &upload.id, (Some(&hash(&part)), None)).unwrap();
    assert_eq!(f.get("large").unwrap(), part);
    assert_eq!(f.disk().list(Area::Packs).unwrap().len(), 1);
}

/// Gives some bytes and then an error.
struct Breaks(usize);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        self.0 -= 1;
        buffer.fill(1);
        Ok(buffer.len().min(1000))
    }
}

#[test]
fn a_part_is_whole_or_not_there_and_the_bounds_hold() {
    let f = Fixture::new(StoreConfig { quota_bytes: 5_000, file_bytes_max: 3_000, ..CONFIG });
    let a = begin(&f, "a");
    let broken = f.files.append_upload(&ME, "s", &a.id, (0, &hash(b"")), &mut Breaks(2)).unwrap_err();
    assert_eq!(broken.kind(), Kind::Io);
    assert_eq!(f.files.upload(&ME, "s", &a.id).unwrap().received, 0);
    let on_disk = || f.disk().list(Area::Uploads).unwrap().iter().map(|(_, bytes)| bytes).sum::<u64>();
    assert_eq!(on_disk(), 0, "what came of it is gone");
    append(&f, &a.id, 0, &[1; 3_000]).unwrap();
    assert_eq!(append(&f, &a.id, 3_000, b"x").unwrap_err().kind(), Kind::Limit, "of one file");
    let b = begin(&f, "b");
    assert_eq!(append(&f, &b.id, 0, &[2; 2_001]).unwrap_err().kind(), Kind::Limit, "of the store");
    append(&f, &b.id, 0, &[2; 2_000]).unwrap();
    f.files.abandon_upload(&ME, "s", &a.id).unwrap();
    append(&f, &b.id, 2_000, &[2; 1_000]).unwrap();
    for path in ["../x", "/x", ""] {
        let e = f.files.begin_upload(&ME, "s", path, PutOptions::default()).unwrap_err();
        assert_eq!(e.kind(), Kind::Invalid);
    }
    for id in ["", "../../etc/passwd", &"0".repeat(64)] {
        assert_eq!(append(&f, id, 0, b"x").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(f.files.finish_upload(&ME, "s", id, (None, None)).unwrap_err().kind(), Kind::NotFound);
    }
    let token = |scope| Caller::Token { id: 1, name: "t".into(), scope };
    for (caller, kind) in [(token(Scope::Read), Kind::Denied), (token(Scope::Write), Kind::Denied)] {
        assert_eq!(f.files.upload(&caller, "s", &b.id).unwrap_err().kind(), kind, "another's");
        assert_eq!(f.files.uploads(&caller, "s").unwrap_err().kind(), kind);
    }
    assert_eq!(
        f.files.begin_upload(&token(Scope::Read), "s", "x", PutOptions::default()).unwrap_err().kind(),
        Kind::Denied
    );
    let own = f.files.begin_upload(&token(Scope::Write), "s", "x", PutOptions::default()).unwrap();
    f.files.abandon_upload(&token(Scope::Write), "s", &own.id).unwrap();
    for i in f.files.uploads(&ME, "s").unwrap().len()..usize::try_from(UPLOADS_MAX).unwrap() {
        begin(&f, &format!("n{i}"));
    }
    let e = f.files.begin_upload(&ME, "s", "more", PutOptions::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::Limit);
}

#[test]
fn parts_at_once_do_not_pass_the_quota_together() {
    let f = Fixture::new(StoreConfig { quota_bytes: 5_000, file_bytes_max: 4_000, ..CONFIG });
    let (a, b, c) = (begin(&f, "a"), begin(&f, "b"), begin(&f, "c"));
    let slow = |id: &str, n: usize, then: &dyn Fn()| {
        let part = vec![1; n];
        f.files.append_upload(&ME, "s", id, (0, &hash(&part)), &mut Meanwhile(&part, Some(then)))
    };
    // While one is on its way, another is refused what that one has taken.
    slow(&a.id, 3_000, &|| {
        assert_eq!(append(&f, &b.id, 0, &[2; 2_001]).unwrap_err().kind(), Kind::Limit);
        append(&f, &b.id, 0, &[2; 2_000]).unwrap();
    })
    .unwrap();
    assert_eq!(append(&f, &c.id, 0, b"x").unwrap_err().kind(), Kind::Limit);
    // One that began when there was room, and ends when there is none.
    f.files.abandon_upload(&ME, "s", &a.id).unwrap();
    let e = slow(&c.id, 1_000, &|| {
        append(&f, &b.id, 2_000, &[2; 2_000]).unwrap();
        f.db.write(|tx| Ok(tx.execute("UPDATE file_uploads SET received = 4001 WHERE id = ?1", [&b.id])?))
            .unwrap();
    });
    assert_eq!(e.unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.files.upload(&ME, "s", &c.id).unwrap().received, 0);
    let sizes: Vec<u64> = f.disk().list(Area::Uploads).unwrap().iter().map(|(_, bytes)| *bytes).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 4_000, "what was refused is gone: {sizes:?}");
}

#[test]
fn one_caller_cannot_take_the_room_of_all_uploads() {
    let f = Fixture::new(StoreConfig { caller_bytes: 100, ..CONFIG });
    let token = |name: &str| Caller::Token { id: 1, name: name.into(), scope: Scope::Write };
    let part = |caller: &Caller, n: usize| {
        let id = f.files.begin_upload(caller, "s", "x", PutOptions::default()).unwrap().id;
        let part = vec![1; n];
        f.files.append_upload(caller, "s", &id, (0, &hash(&part)), &mut part.as_slice()).map_err(|e| {
            assert!(e.hint_text().unwrap().contains("caller_quota"), "{e:?}");
            e.kind()
        })
    };
    part(&token("a"), 60).unwrap();
    assert_eq!(part(&token("a"), 41).unwrap_err(), Kind::Limit);
    part(&token("a"), 40).unwrap();
    part(&token("b"), 100).unwrap();
    part(&ME, 1_000).unwrap();
}

#[test]
fn an_upload_that_two_finish_is_one_version() {
    let f = Fixture::new(CONFIG);
    for round in 1..=40_u64 {
        let upload = begin(&f, "a");
        append(&f, &upload.id, 0, &round.to_le_bytes()).unwrap();
        let made: Vec<Result<u64>> = std::thread::scope(|scope| {
            let finish = || f.files.finish_upload(&ME, "s", &upload.id, (None, None)).map(|v| v.version);
            let all: Vec<_> = (0..3).map(|_| scope.spawn(finish)).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        for made in made {
            match made {
                Ok(version) => assert_eq!(version, round),
                Err(e) => assert_eq!(e.kind(), Kind::Busy, "{e:?}"),
            }
        }
        assert_eq!(f.files.versions(&ME, "s", "a").unwrap().len() as u64, round);
        assert_eq!(append(&f, &upload.id, 8, b"x").unwrap_err().kind(), Kind::Conflict);
    }
    assert_eq!(uploads_on_disk(&f), 0);
}

/// Somebody ended it between the first look at it and the turn: what the turn finds counts.
#[test]
fn an_upload_that_ended_meanwhile_does_not_end_again() {
    let f = Fixture::new(CONFIG);
    let upload = begin(&f, "a");
    append(&f, &upload.id, 0, b"aa").unwrap();
    // Its end comes while its content is read for the first time: the last moment before its transaction.
    f.db.write(|tx| {
        Ok(tx.execute_batch(&format!(
            "CREATE TRIGGER meanwhile AFTER INSERT ON file_versions BEGIN
             UPDATE file_uploads SET received = 1 WHERE id = '{}'; END",
            upload.id
        ))?)
    })
    .unwrap();
    assert_eq!(f.files.finish_upload(&ME, "s", &upload.id, (None, None)).unwrap_err().kind(), Kind::Conflict);
    f.db.write(|tx| Ok(tx.execute_batch("DROP TRIGGER meanwhile")?)).unwrap();
    assert_eq!((f.names(""), f.on_disk()), (Vec::new(), (0, 0)));
    assert_eq!(f.files.finish_upload(&ME, "s", &upload.id, (None, None)).unwrap().version, 1);
}
