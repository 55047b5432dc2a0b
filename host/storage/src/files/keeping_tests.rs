//! Labels, provenance, what stays, and what one caller may put.

use super::tests::{CONFIG, Fixture, ME};
use super::*;
use crate::caller::{Caller, Grants, Scope};
use crate::error::{Kind, Result};
use crate::manifest::{Keep, Layout};
use crate::settings::Expect;
use crate::units::Span;
use std::sync::Arc;

const SECOND: i64 = 1_000_000_000;

fn token(name: &str, scope: Scope) -> Caller {
    Caller::Token { id: 1, name: name.into(), scope }
}

#[test]
fn a_label_stands_for_one_version_and_its_history_stays() {
    let f = Fixture::new(CONFIG);
    for content in [b"1", b"2", b"3"] {
        f.put("m/w.bin", content).unwrap();
    }
    f.put("n/w.bin", b"n").unwrap();
    let set = |to, expect| f.files.set_label(&ME, "s", "production", to, expect);
    assert_eq!(f.files.label(&ME, "s", "production").unwrap_err().kind(), Kind::NotFound);
    let one = set(("m/w.bin", Some(2)), Expect::Absent).unwrap();
    assert_eq!((one.revision, one.version), (1, Some(2)));
    assert_eq!(set(("m/w.bin", None), Expect::Absent).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(set(("m/w.bin", None), Expect::Revision(2)).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(set(("m/w.bin", None), Expect::Revision(1)).unwrap().version, Some(3));
    assert_eq!(f.files.label(&ME, "s", "production").unwrap().revision, 2);
    for (path, version) in [("m/w.bin", Some(4)), ("gone", None)] {
        assert_eq!(set((path, version), Expect::Any).unwrap_err().kind(), Kind::NotFound);
    }
    // What has a label does not go.
    let e = f.files.delete(&ME, "s", "m/w.bin", true).unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
    assert!(e.message().contains("production") && e.hint_text().unwrap().contains("unlabel"), "{e:?}");
    assert!(
        f.db.write(|tx| Ok(tx.execute("DELETE FROM file_versions WHERE path = 'm/w.bin'", [])?)).is_err()
    );
    f.files.delete(&ME, "s", "m/w.bin", false).unwrap();
    assert_eq!(
        set(("m/w.bin", Some(4)), Expect::Any).unwrap_err().kind(),
        Kind::NotFound,
        "a deletion is no version"
    );
    set(("n/w.bin", None), Expect::Any).unwrap();
    f.files.set_label(&ME, "s", "canary", ("n/w.bin", None), Expect::Absent).unwrap();
    let gone = f.files.remove_label(&ME, "s", "production", Expect::Revision(3)).unwrap();
    assert_eq!((gone.revision, gone.path), (4, None));
    assert_eq!(f.files.remove_label(&ME, "s", "production", Expect::Any).unwrap_err().kind(), Kind::NotFound);
    f.files.delete(&ME, "s", "m/w.bin", true).unwrap();
    let history = f.files.label_history(&ME, "s", "production", None, 10).unwrap();
    let seen: Vec<_> = history.iter().map(|l| (l.revision, l.path.as_deref(), l.version)).collect();
    assert_eq!(
        seen,
        [
            (4, None, None),
            (3, Some("n/w.bin"), Some(1)),
            (2, Some("m/w.bin"), Some(3)),
            (1, Some("m/w.bin"), Some(2))
        ]
    );
    assert_eq!(f.files.label_history(&ME, "s", "production", Some(3), 1).unwrap()[0].revision, 2);
    assert_eq!(f.files.label_history(&ME, "s", "none", None, 10).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(set(("n/w.bin", None), Expect::Absent).unwrap().revision, 5, "absent again");
    let labels = f.files.labels(&ME, "s", None, 10).unwrap();
    assert_eq!(labels.iter().map(|l| l.label.as_str()).collect::<Vec<_>>(), ["canary", "production"]);
    assert_eq!(f.files.labels(&ME, "s", Some("canary"), 10).unwrap().len(), 1);
    for bad in ["", "Production", "a/b", "../x", &"a".repeat(LABEL_BYTES_MAX + 1)] {
        let e = f.files.set_label(&ME, "s", bad, ("n/w.bin", None), Expect::Any).unwrap_err();
        assert_eq!(e.kind(), Kind::Invalid, "{bad}");
    }
    let reader = token("r", Scope::Read);
    assert_eq!(
        f.files.set_label(&reader, "s", "x", ("n/w.bin", None), Expect::Any).unwrap_err().kind(),
        Kind::Denied
    );
    f.files.label(&reader, "s", "canary").unwrap();
    assert!(crate::audit::Audit::new(f.db.clone()).verify(&ME).unwrap().broken.is_none());
}

#[test]
fn two_who_set_one_label_do_not_both_win() {
    let f = Fixture::new(CONFIG);
    f.put("a", b"x").unwrap();
    let won: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| f.files.set_label(&ME, "s", "l", ("a", None), Expect::Absent).is_ok()))
            .collect();
        all.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_plugin_sets_labels_of_what_it_may_write_and_learns_of_no_other() {
    let f = Fixture::new(CONFIG);
    for path in ["m/a", "m/b", "n/secret"] {
        f.put(path, b"x").unwrap();
    }
    f.put("m/a", b"y").unwrap();
    f.files.set_label(&ME, "s", "theirs", ("n/secret", None), Expect::Any).unwrap();
    let plugin = |read: &[&str], write: &[&str]| {
        let all = |names: &[&str]| names.iter().map(|n| (*n).into()).collect();
        let grants = Grants { files_read: all(read), files_write: all(write), ..Grants::default() };
        Caller::Plugin { name: "p".into(), grants: Arc::new(grants) }
    };
    let p = plugin(&["s/m/*"], &["s/m/*"]);
    let set = |c: &Caller, label: &str, to, expect| f.files.set_label(c, "s", label, to, expect);
    let made = set(&p, "production", ("m/a", Some(1)), Expect::Absent).unwrap();
    assert_eq!((made.version, made.set_by.as_str()), (Some(1), "plugin:p"));
    assert_eq!(set(&p, "production", ("m/a", None), Expect::Revision(1)).unwrap().version, Some(2));
    assert_eq!(set(&p, "production", ("m/a", None), Expect::Revision(1)).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(f.files.label(&p, "s", "production").unwrap().revision, 2);
    // What is not its own it may neither point at, nor take a label from, whatever it expects; and it is not told what that is.
    assert_eq!(set(&p, "x", ("n/secret", None), Expect::Any).unwrap_err().kind(), Kind::Denied);
    assert_eq!(set(&p, "x", ("n/gone", None), Expect::Any).unwrap_err().kind(), Kind::Denied);
    for e in [
        set(&p, "theirs", ("m/a", None), Expect::Any).unwrap_err(),
        set(&p, "theirs", ("m/a", None), Expect::Absent).unwrap_err(),
        f.files.remove_label(&p, "s", "theirs", Expect::Any).unwrap_err(),
        f.files.label(&p, "s", "theirs").unwrap_err(),
    ] {
        assert!(e.kind() == Kind::Denied && e.message().contains("`theirs`"), "{e:?}");
        assert!(!format!("{e:?}").contains("secret"), "{e:?}");
    }
    let names = |c: &Caller| {
        let all = f.files.labels(c, "s", None, 1).unwrap();
        all.into_iter().map(|l| l.label).collect::<Vec<_>>()
    };
    assert_eq!(names(&p), ["production"], "of a page of one");
    assert_eq!(f.files.labels(&p, "s", Some("production"), 9).unwrap(), []);
    assert_eq!(names(&plugin(&["*"], &[])), ["production"]);
    // One that reads does not write, and the other way round; one of another store sees none.
    let reads = plugin(&["s/m/*"], &[]);
    assert_eq!(set(&reads, "production", ("m/b", None), Expect::Any).unwrap_err().kind(), Kind::Denied);
    assert_eq!(
        f.files.remove_label(&reads, "s", "production", Expect::Any).unwrap_err().kind(),
        Kind::Denied
    );
    let writes = plugin(&[], &["s/m/*"]);
    assert_eq!(f.files.label(&writes, "s", "production").unwrap_err().kind(), Kind::Denied);
    assert_eq!(set(&writes, "production", ("m/b", None), Expect::Revision(2)).unwrap().revision, 3);
    let other = plugin(&["ss/*", "t/*"], &["ss/*", "t/*"]);
    for e in [
        f.files.label(&other, "s", "none").unwrap_err(),
        f.files.labels(&other, "s", None, 9).unwrap_err(),
        f.files.labels(&other, "nowhere", None, 9).unwrap_err(),
        f.files.labels(&p, "s/m", None, 9).unwrap_err(),
        f.files.remove_label(&other, "nowhere", "none", Expect::Any).unwrap_err(),
    ] {
        assert_eq!(e.kind(), Kind::Denied, "{e:?}");
    }
    assert_eq!(f.files.label_history(&p, "s", "production", None, 9).unwrap_err().kind(), Kind::Denied);
    f.files.remove_label(&p, "s", "production", Expect::Revision(3)).unwrap();
    assert_eq!(f.files.label(&p, "s", "production").unwrap_err().kind(), Kind::NotFound);
    let entry = crate::audit::Audit::new(f.db.clone()).list(&ME, &Default::default()).unwrap().remove(0);
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("files.unlabel", "plugin:p"));
}

fn made_of(skill: Option<(&str, &str)>, data: &[(&str, i64, i64)]) -> PutOptions {
    let skill = skill.map(|(name, version)| FromSkill { name: name.into(), version: version.into() });
    let data =
        data.iter().map(|(m, from, to)| FromData { measurement: (*m).into(), from_ns: *from, to_ns: *to });
    PutOptions { provenance: Provenance { skill, data: data.collect() }, ..PutOptions::default() }
}

#[test]
fn it_can_be_asked_what_a_version_was_made_of() {
    let f = Fixture::new(CONFIG);
    let put = |path: &str, options| f.files.put(&ME, "s", path, &mut path.as_bytes(), options);
    put("a", made_of(Some(("mean", "1.0.0")), &[("bar.1m.X", 0, 100), ("bar.1m.Y", 50, 60)])).unwrap();
    put("a", made_of(Some(("mean", "2.0.0")), &[("bar.1m.X", 100, 200)])).unwrap();
    let b = put("b", made_of(Some(("mean", "2.0.0")), &[])).unwrap();
    put("c", made_of(None, &[("bar.1m.X", 150, 160), ("bar.1m.X", 170, 180)])).unwrap();
    put("d", PutOptions::default()).unwrap();
    let find =
        |skill: Option<&str>, version: Option<&str>, measurement: Option<&str>, at| -> Result<Vec<String>> {
            let of = MadeOf {
                skill: skill.map(Into::into),
                skill_version: version.map(Into::into),
                measurement: measurement.map(Into::into),
                at_ns: at,
            };
            let found = f.files.find(&ME, "s", &of, None, 100)?;
            crate::error::Result::Ok(
                found.iter().map(|t| format!("{}@{}", t.file.path, t.file.version)).collect::<Vec<_>>(),
            )
        };
    assert_eq!(find(Some("mean"), None, None, None).unwrap(), ["a@1", "a@2", "b@1"]);
    assert_eq!(find(Some("mean"), Some("2.0.0"), None, None).unwrap(), ["a@2", "b@1"]);
    assert_eq!(find(Some("mean"), None, Some("bar.1m.Y"), None).unwrap(), ["a@1"]);
    assert_eq!(find(None, None, Some("bar.1m.X"), None).unwrap(), ["a@1", "a@2", "c@1"]);
    for (at, want) in
        [(99, vec!["a@1"]), (100, vec!["a@2"]), (155, vec!["a@2", "c@1"]), (200, vec![]), (-1, vec![])]
    {
        assert_eq!(find(None, None, Some("bar.1m.X"), Some(at)).unwrap(), want, "{at}");
    }
    assert_eq!(find(Some("none"), None, None, None).unwrap(), Vec::<String>::new());
    for (skill, version, measurement, at) in
        [(None, None, None, None), (None, Some("1"), Some("m"), None), (Some("s"), None, None, Some(1))]
    {
        assert_eq!(find(skill, version, measurement, at).unwrap_err().kind(), Kind::Invalid);
    }
    let of = MadeOf { skill: Some("mean".into()), ..MadeOf::default() };
    let page = f.files.find(&ME, "s", &of, Some(("a", 1)), 1).unwrap();
    assert_eq!((page[0].file.version, page[0].provenance.data[0].from_ns), (2, 100));
    assert_eq!(f.files.find(&ME, "s", &of, None, PAGE_MAX + 1).unwrap_err().kind(), Kind::Limit);
    let plugin = Caller::Plugin {
        name: "p".into(),
        grants: Arc::new(Grants { files_read: vec!["s/b*".into(), "s/".into()], ..Grants::default() }),
    };
    assert_eq!(f.files.find(&plugin, "s", &of, None, 10).unwrap().len(), 1, "what it may read");
    assert_eq!(f.files.provenance(&ME, &b).unwrap().skill.unwrap().version, "2.0.0");
    // It goes with the version.
    f.files.delete(&ME, "s", "b", true).unwrap();
    assert_eq!(find(Some("mean"), Some("2.0.0"), None, None).unwrap(), ["a@2"]);
    for bad in [
        made_of(Some(("", "1")), &[]),
        made_of(Some(("a\nb", "1")), &[]),
        made_of(Some((&"a".repeat(PROVENANCE_NAME_BYTES_MAX + 1), "1")), &[]),
        made_of(None, &[("m", 5, 5)]),
        made_of(None, &[("", 5, 6)]),
    ] {
        assert_eq!(put("e", bad).unwrap_err().kind(), Kind::Invalid);
    }
    put("e", made_of(None, &[("m", 0, 1); DATA_MAX])).unwrap();
    assert_eq!(put("e", made_of(None, &[("m", 0, 1); DATA_MAX + 1])).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn old_versions_go_when_the_rules_say_so() {
    let keep = |versions, seconds: u64, whole_names| Keep {
        versions,
        span: (seconds > 0).then_some(Span::from_secs(seconds)),
        whole_names,
    };
    let f = Fixture::new(StoreConfig { keep: keep(Some(2), 0, false), ..CONFIG });
    for content in [b"1", b"2", b"3", b"4"] {
        f.put("a", content).unwrap();
    }
    f.put("b", b"1").unwrap();
    f.files.set_label(&ME, "s", "production", ("a", Some(1)), Expect::Any).unwrap();
    let now = crate::schema::now_ns();
    let dry = f.files.prune_at(&ME, "s", true, now).unwrap();
    assert_eq!((dry.versions, dry.named[0].version, dry.dry_run), (1, 2, true));
    assert_eq!(f.files.stats("s").unwrap().versions, 5, "a dry run does nothing");
    let done = f.files.prune_at(&ME, "s", false, now).unwrap();
    assert_eq!((done.versions, &done.named), (1, &dry.named));
    let left =
        |f: &Fixture| f.files.versions(&ME, "s", "a").unwrap().iter().map(|v| v.version).collect::<Vec<_>>();
    assert_eq!(left(&f), [4, 3, 1], "a label holds");
    assert_eq!(f.files.prune_at(&ME, "s", false, now).unwrap().versions, 0, "twice harmless");
    f.files.remove_label(&ME, "s", "production", Expect::Any).unwrap();
    assert_eq!(f.files.prune_at(&ME, "s", false, now).unwrap().versions, 1);

    // By age the newest of a name stays, except where names are written once.
    let f = f.reopen(StoreConfig { keep: keep(None, 60, false), ..CONFIG });
    assert_eq!(f.files.prune_at(&ME, "s", false, now + 50 * SECOND).unwrap().versions, 0);
    assert_eq!(f.files.prune_at(&ME, "s", false, now + 70 * SECOND).unwrap().versions, 1);
    assert_eq!(left(&f), [4]);
    let f = f.reopen(StoreConfig { keep: keep(None, 60, true), ..CONFIG });
    f.files.look_after("s", now + 70 * SECOND).unwrap();
    assert_eq!(f.names(""), Vec::<String>::new());
    assert_eq!(f.on_disk(), (0, 0), "what it leaves is collected");
    assert_eq!(f.put("A", b"x").unwrap().version, 1, "the name is free in every spelling");
    let f = f.reopen(CONFIG);
    assert_eq!(f.files.prune_at(&ME, "s", false, i64::MAX).unwrap().versions, 0, "without rules all stays");
    assert_eq!(f.files.prune(&token("w", Scope::Write), "s", false).unwrap_err().kind(), Kind::Denied);
    f.files.prune(&token("r", Scope::Read), "s", true).unwrap();
}

#[test]
fn a_clock_that_jumps_takes_nothing_away() {
    let keep = Keep { versions: None, span: Some(Span::from_secs(14 * 86_400)), whole_names: true };
    let f = Fixture::new(StoreConfig { keep, ..CONFIG });
    f.put("a", b"1").unwrap();
    f.put("a", b"2").unwrap();
    let upload = f.files.begin_upload(&ME, "s", "u", PutOptions::default()).unwrap();
    let year = 365 * 86_400 * SECOND;
    let jump = |f: &Fixture| {
        for _ in 0..3 {
            let now = f.files.ages.now(crate::schema::now_ns() + 10 * year, std::time::Instant::now());
            f.files.look_after("s", now).unwrap();
            assert_eq!(f.files.prune_at(&ME, "s", false, now).unwrap().versions, 0);
        }
        assert_eq!(f.files.versions(&ME, "s", "a").unwrap().len(), 2);
        assert_eq!(f.files.upload(&ME, "s", &upload.id).unwrap().received, 0);
    };
    jump(&f);
    jump(&f.reopen(StoreConfig { keep, ..CONFIG }));
}

#[test]
fn many_old_versions_go_in_steps() {
    let keep = Keep { versions: Some(1), span: None, whole_names: false };
    let f = Fixture::new(StoreConfig { keep, quota_files: 10_000, ..CONFIG });
    for _ in 0..2 {
        for batch in 0..2 {
            let files = (0..600).map(|i| BatchFile {
                path: format!("{batch}/{i}"),
                content: b"x".to_vec(),
                ..BatchFile::default()
            });
            f.files.put_many(&ME, "s", files.collect()).unwrap();
        }
    }
    let report = f.files.prune(&ME, "s", false).unwrap();
    assert_eq!((report.versions, report.bytes, report.named.len()), (1200, 1200, NAMED_MAX));
    assert_eq!(f.audited("files.prune"), 3, "500 at a time");
    assert_eq!(f.files.stats("s").unwrap().versions, 1200);
}

#[test]
fn one_caller_cannot_take_the_room_of_others() {
    let f = Fixture::new(StoreConfig { caller_bytes: 100, caller_files: 3, ..CONFIG });
    let put = |caller: &Caller, path: &str, bytes: usize| {
        f.files.put(caller, "s", path, &mut vec![7; bytes].as_slice(), PutOptions::default()).map_err(|e| {
            assert!(e.hint_text().unwrap().contains("caller_quota"), "{e:?}");
            e.kind()
        })
    };
    let (a, b) = (token("a", Scope::Write), token("b", Scope::Write));
    put(&a, "1", 60).unwrap();
    assert_eq!(put(&a, "2", 41), Err(Kind::Limit));
    put(&a, "2", 40).unwrap();
    put(&a, "2", 0).unwrap();
    assert_eq!(put(&a, "3", 0), Err(Kind::Limit), "of versions");
    put(&b, "3", 100).unwrap();
    put(&ME, "4", 1000).unwrap();
    let plugin = Caller::Plugin {
        name: "p".into(),
        grants: Arc::new(Grants { files_write: vec!["s/*".into()], ..Grants::default() }),
    };
    put(&plugin, "5", 100).unwrap();
    assert_eq!(put(&plugin, "5", 1), Err(Kind::Limit));
    f.files.delete(&ME, "s", "1", true).unwrap();
    put(&a, "1", 60).unwrap();
    let batch = vec![BatchFile { path: "6".into(), content: vec![1], ..BatchFile::default() }];
    assert_eq!(f.files.put_many(&a, "s", batch).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn a_store_may_want_a_date_in_names() {
    let f = Fixture::new(CONFIG);
    f.put("free", b"x").unwrap();
    let f = f.reopen(StoreConfig { layout: Layout::Dated, ..CONFIG });
    assert_eq!(f.put("free", b"y").unwrap_err().kind(), Kind::Invalid);
    f.put("momentum/2026-06-26/w", b"y").unwrap();
    assert_eq!(f.get("free").unwrap(), b"x", "what is there stays readable");
    f.files.delete(&ME, "s", "free", true).unwrap();
}

#[test]
fn what_is_expected_of_a_name_holds() {
    let f = Fixture::new(CONFIG);
    let put = |expect| {
        f.files.put_as(&ME, "s", "a", &mut &b"x"[..], PutOptions::default(), expect).map(|v| v.version)
    };
    assert_eq!(put(Expect::Revision(1)).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(put(Expect::Absent).unwrap(), 1);
    assert_eq!(put(Expect::Absent).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(put(Expect::Revision(1)).unwrap(), 2);
    f.files.delete(&ME, "s", "a", false).unwrap();
    assert_eq!(put(Expect::Absent).unwrap(), 4);
    let won: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| put(Expect::Revision(4)).is_ok())).collect();
        all.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
    });
    assert_eq!(won, 1, "two writers of one name");
}

#[test]
fn a_folder_of_a_hundred_thousand() {
    let f = Fixture::new(StoreConfig { quota_bytes: 1 << 30, quota_files: 1_000_000, ..CONFIG });
    let put = |batch: u32| {
        let files = (0..1000_u32).map(|i| BatchFile {
            path: format!("folder/{:06}", batch * 1000 + i),
            content: i.to_le_bytes().to_vec(),
            ..BatchFile::default()
        });
        f.files.put_many(&ME, "s", files.collect()).unwrap().len()
    };
    let mut expected = put(0);
    // Those in the middle are as the first ones; the last ones come into a folder that is full.
    let middle = "WITH RECURSIVE n(batch) AS (SELECT 1 UNION ALL SELECT batch + 1 FROM n WHERE batch < 98)
         INSERT INTO file_versions(store, path, version, hash, size, created_at, created_by, media_type, metadata)
         SELECT store, printf('folder/%06d', batch * 1000 + substr(path, 8)), version, hash, size, created_at, created_by, media_type, metadata
         FROM file_versions, n";
    let names = "INSERT INTO file_names(store, folded, path) SELECT store, path, path FROM file_versions WHERE true ON CONFLICT DO NOTHING";
    expected +=
        f.db.write(|tx| {
            let copied = tx.execute(middle, [])?;
            tx.execute(names, [])?;
            Ok(copied)
        })
        .unwrap();
    expected += put(99);
    let mut seen = 0;
    let mut after: Option<String> = None;
    loop {
        let page = f.files.list(&ME, "s", "folder/", after.as_deref(), PAGE_MAX).unwrap();
        let Some(last) = page.last() else { break };
        seen += page.len();
        after = Some(last.path.clone());
    }
    assert_eq!((seen, expected), (100_000, 100_000));
    assert_eq!(f.files.list(&ME, "s", "folder/09999", None, 100).unwrap().len(), 10);
    assert_eq!(f.get("folder/099999").unwrap(), 999_u32.to_le_bytes());
    assert_eq!(f.files.stats("s").unwrap().objects, 1000);
}
