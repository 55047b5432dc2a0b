use super::disk::{Disk, FILE_BYTES_MAX, Loss};
use std::collections::BTreeSet;

fn text(disk: &Disk, path: &str) -> Option<Vec<u8>> {
    let file = disk.find(path)?;
    let mut out = vec![0; usize::try_from(disk.size(file)).unwrap()];
    assert_eq!(disk.read(file, 0, &mut out), out.len());
    Some(out)
}

#[test]
fn only_what_was_synced_is_there() {
    let mut d = Disk::default();
    let f = d.create("d/a");
    d.write(f, 0, b"one");
    d.sync(f);
    assert_eq!(text(&d.after(Loss::Unsynced), "d/a"), None, "its name was not synced");
    d.sync_folder("d");
    d.write(f, 3, b"two");
    assert_eq!(text(&d, "d/a").unwrap(), b"onetwo");
    assert_eq!(text(&d.after(Loss::Unsynced), "d/a").unwrap(), b"one");
    assert_eq!(text(&d.after(Loss::Nothing), "d/a").unwrap(), b"onetwo");
    d.truncate(f, 1);
    assert_eq!(text(&d.after(Loss::Unsynced), "d/a").unwrap(), b"one");
    d.sync(f);
    assert_eq!(text(&d.after(Loss::Unsynced), "d/a").unwrap(), b"o");
    d.remove("d/a");
    assert_eq!(text(&d, "d/a"), None);
    assert_eq!(text(&d.after(Loss::Unsynced), "d/a").unwrap(), b"o", "the removal was not synced");
    d.sync_folder_of("d/a");
    assert_eq!(text(&d.after(Loss::Unsynced), "d/a"), None);
}

#[test]
fn a_rename_is_never_neither() {
    let mut d = Disk::default();
    let f = d.create("tmp/a");
    d.write(f, 0, b"x");
    d.sync(f);
    d.sync_folder("tmp");
    d.rename("tmp/a", "objects/a");
    for seed in 0..50 {
        for loss in [Loss::Tail(seed), Loss::Sectors(seed), Loss::Unsynced] {
            let after = d.after(loss);
            assert!(after.find("tmp/a").is_some() != after.find("objects/a").is_some());
        }
    }
    d.sync_folder("objects");
    let after = d.after(Loss::Unsynced);
    assert_eq!(text(&after, "objects/a").unwrap(), b"x");
    assert!(after.find("tmp/a").is_some(), "the other folder was not synced");
    d.sync_folder("tmp");
    assert!(d.after(Loss::Unsynced).find("tmp/a").is_none());
}

#[test]
fn a_lost_folder_takes_its_files_along() {
    let mut d = Disk::default();
    assert!(d.create_folder("objects/ab"));
    assert!(!d.create_folder("objects/ab"));
    let f = d.create("objects/ab/x");
    d.sync(f);
    d.sync_folder("objects/ab");
    assert!(d.after(Loss::Unsynced).find("objects/ab/x").is_none());
    d.sync_folder("objects");
    assert!(d.after(Loss::Unsynced).find("objects/ab/x").is_some());
    assert_eq!(d.list("objects"), ["ab"]);
    assert_eq!(d.list("objects/ab"), ["x"]);
}

#[test]
fn torn_writes_keep_whole_sectors_and_every_choice_comes() {
    let mut d = Disk::default();
    let f = d.create("a");
    d.sync_folder("");
    d.write(f, 0, &[1; 2048]);
    d.sync(f);
    d.write(f, 100, &[2; 1500]);
    d.write(f, 2048, &[3; 512]);
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        for loss in [Loss::Tail(seed), Loss::Sectors(seed)] {
            let bytes = text(&d.after(loss), "a").unwrap();
            assert!(bytes[..100].iter().all(|b| *b == 1), "a write harms nothing beside it");
            assert!(bytes[1600..2048].iter().all(|b| *b == 1));
            for sector in [100..512, 512..1024, 1024..1536, 1536..1600] {
                assert!(bytes[sector.clone()].iter().all(|b| *b == bytes[sector.start]));
            }
            seen.insert(bytes.iter().step_by(511).copied().collect::<Vec<_>>());
        }
    }
    assert!(seen.len() >= 10, "{}", seen.len());
    assert_eq!(text(&d.after(Loss::Tail(7)), "a"), text(&d.after(Loss::Tail(7)), "a"));
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let mut d = Disk::default();
    let f = d.create("a");
    d.sync_folder("");
    d.write(f, 0, b"x");
    d.fail_sync(f, 0);
    d.sync(f);
    assert_eq!(text(&d, "a").unwrap(), b"x");
    assert_eq!(text(&d.after(Loss::Unsynced), "a").unwrap(), b"", "nothing of it arrived");
    d.write(f, 0, b"y");
    d.fail_sync(f, 1);
    assert_eq!(text(&d.after(Loss::Unsynced), "a").unwrap(), b"y", "all of it arrived");
}

#[test]
fn a_file_has_a_bound() {
    let mut d = Disk::default();
    let f = d.create("a");
    assert!(!d.write(f, FILE_BYTES_MAX, b"x"));
    assert!(!d.write(f, u64::MAX, b"x"));
    assert!(!d.truncate(f, FILE_BYTES_MAX + 1));
    assert_eq!(d.size(f), 0);
    assert!(!d.damage(f, 0));
}
