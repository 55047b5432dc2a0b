//! Versions of names, what is said of them, and who may see them.

use super::*;
use crate::caller::{Grants, Scope};
use serde_json::json;

#[test]
fn a_file_and_its_versions() {
    let f = Fixture::new(CONFIG);
    let options = PutOptions {
        media_type: Some("text/plain".into()),
        metadata: json!({ "from": "training" }),
        ..PutOptions::default()
    };
    let one = f.files.put(&ME, "s", "momentum/w.bin", &mut &b"one"[..], options).unwrap();
    assert_eq!((one.version, one.size, one.blake3.as_deref()), (1, 3, Some(hash(b"one").as_str())));
    let two = f.put("momentum/w.bin", b"three").unwrap();
    assert_eq!(two.version, 2);
    f.put("momentum/x.bin", b"").unwrap();
    f.put("other", b"x").unwrap();
    assert_eq!(f.get("momentum/w.bin").unwrap(), b"three");
    assert_eq!(f.get("momentum/x.bin").unwrap(), b"");
    let (stat, reader) = f.files.get(&ME, "s", "momentum/w.bin", Some(1), None).unwrap();
    assert_eq!(read_all(reader).unwrap(), b"one");
    assert_eq!(stat, one);
    assert_eq!((stat.media_type.as_str(), &stat.metadata), ("text/plain", &json!({ "from": "training" })));
    assert_eq!(f.files.stat(&ME, "s", "momentum/w.bin", None).unwrap(), two);
    assert_eq!(f.files.versions(&ME, "s", "momentum/w.bin").unwrap(), [two, one]);
    assert_eq!(f.names(""), ["momentum/w.bin", "momentum/x.bin", "other"]);
    assert_eq!(f.names("momentum/"), ["momentum/w.bin", "momentum/x.bin"]);
    let page = f.files.list(&ME, "s", "", Some("momentum/w.bin"), 1).unwrap();
    assert_eq!(page.iter().map(|v| v.path.as_str()).collect::<Vec<_>>(), ["momentum/x.bin"]);
    assert_eq!(f.files.list(&ME, "s", "", None, PAGE_MAX + 1).unwrap_err().kind(), Kind::Limit);

    f.files.delete(&ME, "s", "momentum/w.bin", false).unwrap();
    assert_eq!(f.names("momentum/"), ["momentum/x.bin"]);
    assert_eq!(f.get("momentum/w.bin").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(
        f.files.delete(&ME, "s", "momentum/w.bin", false).unwrap_err().kind(),
        Kind::NotFound,
        "it is gone"
    );
    assert!(f.files.get(&ME, "s", "momentum/w.bin", Some(1), None).is_ok(), "its versions stay");
    assert_eq!(f.files.get(&ME, "s", "momentum/w.bin", Some(3), None).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(f.put("momentum/w.bin", b"four").unwrap().version, 4);
    for version in [0, 9, u64::MAX] {
        assert_eq!(
            f.files.stat(&ME, "s", "momentum/w.bin", Some(version)).unwrap_err().kind(),
            Kind::NotFound
        );
    }
    assert_eq!(f.files.stat(&ME, "nope", "a", None).unwrap_err().kind(), Kind::NotFound);
    let audit = crate::audit::Audit::new(f.db.clone());
    assert_eq!(audit.len().unwrap(), 6);
    assert!(audit.verify(&ME).unwrap().broken.is_none());
}

#[test]
fn one_content_is_one_object_and_counts_once() {
    let f = Fixture::new(CONFIG);
    for path in ["a", "b", "a"] {
        f.put(path, &[7; 1000]).unwrap();
    }
    let want = FilesStats { versions: 3, objects: 1, bytes: 1000, stored: 1000 };
    assert_eq!(f.files.stats("s").unwrap(), want);
    assert_eq!(f.on_disk(), (0, 1));
    let f = f.reopen(CONFIG);
    assert_eq!(f.files.stats("s").unwrap(), want);
    f.files.delete(&ME, "s", "a", true).unwrap();
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default(), "`b` needs it");
    f.files.delete(&ME, "s", "b", true).unwrap();
    assert_eq!(
        f.files.stats("s").unwrap(),
        FilesStats { versions: 0, objects: 1, bytes: 1000, stored: 1000 }
    );
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport { removed: 1, bytes: 1000, ..GcReport::default() });
    assert_eq!(f.files.gc(&ME, "s").unwrap(), GcReport::default());
    assert_eq!(f.files.stats("s").unwrap(), FilesStats::default());
    assert_eq!(f.on_disk(), (0, 0));
    assert_eq!(f.files.delete(&ME, "s", "b", true).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(f.put("b", &[7; 1000]).unwrap().version, 1, "a purged name begins anew");
}

#[test]
fn names_are_checked_and_have_one_spelling() {
    let f = Fixture::new(CONFIG);
    for name in ["", "/etc/passwd", "../a", "a/../../b", "a\0b", "nul", "a/", "a\u{10ffff}"] {
        assert_eq!(f.put(name, b"x").unwrap_err().kind(), Kind::Invalid, "{name:?}");
    }
    f.put("Weights.bin", b"x").unwrap();
    let conflict = f.put("weights.BIN", b"y").unwrap_err();
    assert_eq!(conflict.kind(), Kind::Conflict);
    assert!(conflict.message().contains("Weights.bin"));
    f.files.delete(&ME, "s", "Weights.bin", false).unwrap();
    assert_eq!(f.put("weights.BIN", b"y").unwrap_err().kind(), Kind::Conflict, "its versions are there");
    f.files.delete(&ME, "s", "Weights.bin", true).unwrap();
    f.put("weights.BIN", b"y").unwrap();
    f.files.gc(&ME, "s").unwrap();
    assert_eq!(f.on_disk(), (0, 1), "nothing of what was refused");
}

#[test]
fn what_is_said_of_a_file_is_bounded() {
    let f = Fixture::new(CONFIG);
    let put = |media_type: Option<String>, metadata| {
        f.files
            .put(&ME, "s", "a", &mut &b"x"[..], PutOptions { media_type, metadata, ..PutOptions::default() })
            .map_err(|e| e.kind())
    };
    let overhead = json!({ "k": "" }).to_string().len();
    put(None, json!({ "k": "x".repeat(METADATA_BYTES_MAX - overhead) })).unwrap();
    assert_eq!(put(None, json!({ "k": "x".repeat(METADATA_BYTES_MAX - overhead + 1) })), Err(Kind::Limit));
    assert_eq!(put(None, json!([1])), Err(Kind::Invalid));
    put(Some("a".repeat(MEDIA_TYPE_BYTES_MAX)), json!({})).unwrap();
    for bad in ["a".repeat(MEDIA_TYPE_BYTES_MAX + 1), String::new(), "a\r\nX: y".into(), "ä".into()] {
        assert_eq!(put(Some(bad.clone()), json!({})), Err(Kind::Invalid), "{bad:?}");
    }
}

#[test]
fn ranges() {
    let f = Fixture::new(CONFIG);
    let content: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    let stored = f.put("a", &content).unwrap();
    let range = |r: std::ops::Range<u64>| {
        f.files.get(&ME, "s", "a", None, Some(r)).map(|(_, reader)| read_all(reader).map_err(as_error))
    };
    for r in [0..0, 0..1, 5..9, 59_999..60_000, 60_000..60_000, 0..60_000] {
        let want = &content[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()];
        assert_eq!(range(r).unwrap().unwrap(), want);
    }
    #[allow(clippy::reversed_empty_ranges)]
    for r in [0..60_001, 60_001..60_001, 5..4, 0..u64::MAX, u64::MAX..u64::MAX] {
        assert_eq!(range(r).unwrap_err().kind(), Kind::Invalid);
    }
    // A range that is the whole is verified like the whole.
    let mut bytes = content.clone();
    bytes[10] ^= 1;
    std::fs::write(f.object(&stored.blake3.unwrap()), bytes).unwrap();
    assert_eq!(range(0..60_000).unwrap().unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(range(20..30).unwrap().unwrap(), &content[20..30]);
}

#[test]
fn callers_need_their_grants() {
    let f = Fixture::new(CONFIG);
    for name in ["m/a", "m/b", "n/a", "m-secret"] {
        f.put(name, b"x").unwrap();
    }
    let plugin = |read: &[&str], write: &[&str]| Caller::Plugin {
        name: "p".into(),
        grants: Arc::new(Grants {
            files_read: read.iter().map(|s| (*s).into()).collect(),
            files_write: write.iter().map(|s| (*s).into()).collect(),
            ..Grants::default()
        }),
    };
    let p = plugin(&["s/m/*", "s/*a"], &["s/m/*"]);
    let names = |prefix: &str| {
        f.files.list(&p, "s", prefix, None, 10).map(|l| l.into_iter().map(|v| v.path).collect::<Vec<_>>())
    };
    assert_eq!(names("m/").unwrap(), ["m/a", "m/b"]);
    assert_eq!(names("n").unwrap_err().kind(), Kind::Denied);
    // A grant that matches the prefix gives nothing that it does not match.
    let odd = plugin(&["s/m"], &[]);
    assert!(f.files.list(&odd, "s", "m", None, 10).unwrap().is_empty());
    assert!(f.files.get(&p, "s", "n/a", None, None).is_ok());
    assert_eq!(f.files.get(&p, "s", "m-secret", None, None).err().unwrap().kind(), Kind::Denied);
    let put = |c: &Caller, path: &str| f.files.put(c, "s", path, &mut &b"y"[..], PutOptions::default());
    assert_eq!(put(&p, "m/c").unwrap().created_by, "plugin:p");
    assert_eq!(put(&p, "n/a").unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.files.delete(&p, "s", "m/c", false).unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.files.gc(&p, "s").unwrap_err().kind(), Kind::Denied);
    let reader = Caller::Token { id: 1, name: "r".into(), scope: Scope::Read };
    assert_eq!(put(&reader, "m/c").unwrap_err().kind(), Kind::Denied);
    assert!(f.files.get(&reader, "s", "m/c", None, None).is_ok());
}

#[test]
fn the_manifest_opens_stores() {
    let dir = tempfile::tempdir().unwrap();
    let db =
        Arc::new(Database::open(&dir.path().join("shiphold.db"), Options::default(), MIGRATIONS).unwrap());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let store = |root: PathBuf| crate::manifest::FileStore {
        kind: crate::manifest::FileKind::Models,
        root,
        quota: crate::units::ByteSize::mib(1),
        quota_files: 10,
        file_max: crate::units::ByteSize::mib(1),
        caller_quota: crate::units::ByteSize::mib(1),
        caller_quota_files: 10,
        layout: crate::manifest::Layout::Free,
        keep: crate::manifest::Keep::ALL,
        backup: true,
    };
    let open = |root| {
        FileStores::open(&BTreeMap::from([("m".into(), store(root))]), db.clone(), Arc::new(|| Ok(())))
    };
    let files = open(dir.path().join("m")).unwrap();
    assert_eq!(files.names().collect::<Vec<_>>(), ["m"]);
    let e = open(file).unwrap_err();
    assert!(e.message().contains("`m`"), "{e:?}");
}
