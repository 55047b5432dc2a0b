//! Files that go, and a disk that is full.

use super::*;
use std::sync::atomic::Ordering;

#[test]
fn a_file_goes_with_its_object_when_it_is_old_enough() {
    let s = Store::new();
    let v = s.layer.files().put(&OP, "cold", "a/1", &mut &b"old"[..], Default::default()).unwrap();
    s.layer.files().put(&OP, "cold", "a/2", &mut &b"more"[..], Default::default()).unwrap();
    let act = || vec![Action::DropFile { store: "cold".into(), path: "a/1".into() }];
    let young = s.r().check(&s.plugin, act(), v.created_at + DAY - 1, false).unwrap();
    assert!(young.steps[0].refused.as_ref().unwrap().contains("younger"), "{young:?}");
    let plan = s.r().check(&s.plugin, act(), v.created_at + DAY, false).unwrap();
    assert!(plan.is_allowed(), "{plan:?}");
    let report = s.r().execute(&s.plugin, &plan, &mut |_| ()).unwrap();
    assert_eq!(report.dropped_files, 1);
    assert!(s.layer.files().stat(&OP, "cold", "a/1", Some(1)).is_err());
    let stats = s.layer.files().stats("cold").unwrap();
    assert_eq!((stats.versions, stats.objects, stats.bytes), (1, 1, 4));
}

#[test]
fn files_have_a_share_too() {
    let s = Store::with("");
    for i in 0..10 {
        s.layer.files().put(&OP, "cold", &format!("a/{i}"), &mut &b"x"[..], Default::default()).unwrap();
    }
    let plan = |n: usize| {
        let acts =
            (0..n).map(|i| Action::DropFile { store: "cold".into(), path: format!("a/{i}") }).collect();
        s.r().check(&s.plugin, acts, crate::schema::now_ns() + 2 * DAY, false).unwrap()
    };
    assert!(plan(2).is_allowed());
    assert!(plan(3).needs_confirmation.unwrap().contains("3 of 10 files"));
}

#[test]
fn retention_runs_on_a_read_only_disk() {
    let s = Store::new();
    s.ticks("A", steady(5));
    s.free.store(0, Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(s.layer.disk().writable().is_err());
    let before = START + 3 * DAY;
    let report = s.run(vec![down("tick.A", "1h", before), drop_before("tick.A", before)]);
    assert_eq!((report.rollup_bars, report.dropped_rows), (72, 3 * 144));
}
