//! What somebody planted in the folder of a store.

use super::*;
use std::os::unix::fs::{PermissionsExt as _, symlink};

#[test]
fn a_symlink_in_the_place_of_a_folder_leads_nowhere() {
    let f = Fixture::new(CONFIG);
    let outside = tempfile::tempdir().unwrap();
    let name = hash(b"content");
    let folder = f.root().join("objects").join(&name[..2]);
    symlink(outside.path(), &folder).unwrap();
    std::fs::write(outside.path().join(&name), "planted").unwrap();
    assert_eq!(f.put("a", b"content").unwrap_err().kind(), Kind::Io);
    assert_eq!(f.on_disk(), (0, 0), "nor is it listed");
    assert_eq!(f.files.gc(&ME, "s").unwrap().removed, 0);
    assert_eq!(std::fs::read(outside.path().join(&name)).unwrap(), b"planted");
    std::fs::remove_file(&folder).unwrap();
    f.put("a", b"content").unwrap();
    assert_eq!(f.get("a").unwrap(), b"content");
    // The whole of `objects` or `tmp`: the store does not open.
    for part in ["objects", "tmp"] {
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join(part)).unwrap();
        assert!(CapDisk::open(dir.path()).is_err(), "{part}");
    }
}

#[test]
fn an_object_is_a_plain_file_in_its_place() {
    let f = Fixture::new(CONFIG);
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "same!").unwrap();
    let plant = |make: &dyn Fn(&std::path::Path)| {
        f.put("a", b"same!").unwrap();
        let place = f.object(&hash(b"same!"));
        std::fs::remove_file(&place).unwrap();
        make(&place);
        let e = f.get("a").unwrap_err();
        assert!(matches!(e.kind(), Kind::Io | Kind::Corrupt), "{e:?}");
        assert_eq!(f.verify().faults.len(), 1);
    };
    plant(&|place| symlink(outside.path(), place).unwrap());
    // Nobody writes to this pipe: it must not be waited for.
    plant(&|place| {
        let done = std::process::Command::new("mkfifo").arg(place).status().unwrap();
        assert!(done.success());
    });
    // A file that stands in another's folder is no object, and does not stop a collection.
    f.put("a", b"same!").unwrap();
    assert_eq!(f.get("a").unwrap(), b"same!", "the planted one is replaced");
    let elsewhere = f.root().join("objects/zz");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join(hash(b"q")), "q").unwrap();
    std::fs::write(f.root().join("objects/file"), "q").unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default());
    assert!(f.verify().faults.is_empty());
    assert_eq!(std::fs::read(outside.path()).unwrap(), b"same!");
}

#[test]
fn a_store_is_for_its_owner_and_makes_the_folders_above() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b/c");
    let disk = CapDisk::open(&root).unwrap();
    assert_eq!(root.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(CapDisk::open(&root).is_ok(), "again");
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(CapDisk::open(&dir.path().join("file")).is_err());
    assert!(CapDisk::open(&dir.path().join("file/below")).is_err());
    for name in ["", "..", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
        for area in Area::ALL {
            assert!(disk.open(area, name).is_err() && disk.remove(area, name).is_err(), "{name}");
            assert!(disk.publish("x", area, name).is_err(), "{name}");
            assert!(disk.sync_folder_of(area, name).is_err(), "{name}");
        }
        assert!(disk.append(name, 0).is_err(), "{name}");
    }
}

/// By hand, or by a restore that went wrong.
#[test]
fn a_folder_in_the_place_of_an_object_stops_no_collection() {
    let f = Fixture::new(CONFIG);
    let place = f.object(&hash(b"x"));
    std::fs::create_dir_all(place.join("below")).unwrap();
    f.put("b", b"y").unwrap();
    f.files.delete(&ME, "s", "b", true).unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap().removed, 1);
    assert_eq!(f.verify().orphans, 0);
    assert_eq!(f.put("a", b"x").unwrap_err().kind(), Kind::Io);
    std::fs::remove_dir_all(&place).unwrap();
    f.put("a", b"x").unwrap();
    assert_eq!(f.get("a").unwrap(), b"x");
    // A file in the place of the folder of an object that is there.
    let folder = place.parent().unwrap();
    std::fs::rename(folder, f.root().join("away")).unwrap();
    std::fs::write(folder, "").unwrap();
    assert_eq!(f.verify().faults.len(), 1);
    assert_eq!(f.get("a").unwrap_err().kind(), Kind::Corrupt);
}
