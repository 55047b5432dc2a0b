use super::*;
use crate::error::Kind;
use crate::sqlite::Options;

const OP: Caller = Caller::Operator;

fn settings() -> (tempfile::TempDir, Arc<Database>, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(
        Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
    );
    (dir, db.clone(), Settings::new(db))
}

#[test]
fn a_value_has_a_history() {
    let (_dir, db, s) = settings();
    assert_eq!(s.get(&OP, "system", "risk.max", None).unwrap_err().kind(), Kind::NotFound);
    for (i, value) in [json!(1), json!({"a": [true, null]}), json!("x")].into_iter().enumerate() {
        assert_eq!(s.set(&OP, "system", "risk.max", value, Expect::Any).unwrap().revision, i as u64 + 1);
    }
    assert_eq!(s.get(&OP, "system", "risk.max", None).unwrap().value, Some(json!("x")));
    s.delete(&OP, "system", "risk.max", Expect::Revision(3)).unwrap();
    assert_eq!(s.get(&OP, "system", "risk.max", None).unwrap_err().kind(), Kind::NotFound);
    assert!(s.list(&OP, "system", None, None).unwrap().is_empty());
    assert_eq!(s.delete(&OP, "system", "risk.max", Expect::Any).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(s.set(&OP, "system", "risk.max", json!(2), Expect::Absent).unwrap().revision, 5);
    let history = s.history(&OP, "system", "risk.max", None, 100).unwrap();
    assert_eq!(history.iter().map(|h| h.revision).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    assert_eq!(s.history(&OP, "system", "risk.max", Some(3), 1).unwrap()[0].revision, 2);
    assert_eq!(s.list(&OP, "system", None, None).unwrap().len(), 1);
    let proof = Audit::new(db).verify(&OP).unwrap();
    assert_eq!((proof.entries, proof.broken), (5, None));
}

#[test]
fn exactly_one_of_many_wins_a_compare_and_set() {
    let (_dir, _db, s) = settings();
    let s = Arc::new(s);
    s.set(&OP, "state", "k", json!(0), Expect::Any).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let s = s.clone();
            std::thread::spawn(move || s.set(&OP, "state", "k", json!(i), Expect::Revision(1)).is_ok())
        })
        .collect();
    let wins = threads.into_iter().filter(|_| true).map(|t| t.join().unwrap()).filter(|won| *won).count();
    assert_eq!(wins, 1);
    assert_eq!(s.get(&OP, "state", "k", None).unwrap().revision, 2);
    assert_eq!(s.set(&OP, "state", "k", json!(0), Expect::Absent).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn names_and_values_have_bounds() {
    let (_dir, _db, s) = settings();
    for bad in ["", "A", "a b", "a/b", "ä", "x'; DROP TABLE audit; --", &"a".repeat(NAME_BYTES_MAX + 1)] {
        assert_eq!(
            s.set(&OP, "system", bad, json!(1), Expect::Any).unwrap_err().kind(),
            Kind::Invalid,
            "{bad}"
        );
        assert_eq!(s.set(&OP, bad, "k", json!(1), Expect::Any).unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    assert!(s.set(&OP, "system", &"a".repeat(NAME_BYTES_MAX), json!(1), Expect::Any).is_ok());
    assert!(s.set(&OP, "system", "k", json!("x".repeat(VALUE_BYTES_MAX - 2)), Expect::Any).is_ok());
    assert_eq!(
        s.set(&OP, "system", "k", json!("x".repeat(VALUE_BYTES_MAX - 1)), Expect::Any).unwrap_err().kind(),
        Kind::Limit
    );
}

#[test]
fn a_plugin_reads_its_namespaces_and_changes_none() {
    let (_dir, _db, s) = settings();
    s.set(&OP, "system", "k", json!(1), Expect::Any).unwrap();
    let grants = crate::Grants { settings_read: vec!["system".into()], ..crate::Grants::default() };
    let plugin = Caller::Plugin { name: "p".into(), grants: Arc::new(grants) };
    assert!(s.get(&plugin, "system", "k", None).is_ok());
    assert_eq!(s.get(&plugin, "user", "k", None).unwrap_err().kind(), Kind::Denied);
    assert_eq!(s.set(&plugin, "system", "k", json!(2), Expect::Any).unwrap_err().kind(), Kind::Denied);
    let grants = crate::Grants { settings_write: vec!["live.*".into()], ..crate::Grants::default() };
    let writer = Caller::Plugin { name: "w".into(), grants: Arc::new(grants) };
    assert!(s.set(&writer, "live.a", "k", json!(2), Expect::Any).is_ok());
    let both = ["live.a", "system"]
        .map(|n| SettingWrite { namespace: n.into(), ..write("k", Some(json!(3)), Expect::Any) });
    assert_eq!(s.change(&writer, &both).unwrap_err().kind(), Kind::Denied);
    assert_eq!(s.get(&OP, "live.a", "k", None).unwrap().value, Some(json!(2)));
}

fn write(key: &str, value: Option<Value>, expect: Expect) -> SettingWrite {
    SettingWrite { namespace: "system".into(), key: key.into(), value, expect }
}

#[test]
fn many_change_together_or_not_at_all() {
    let (_dir, _db, s) = settings();
    let made = s
        .change(&OP, &[write("a", Some(json!(1)), Expect::Absent), write("b", Some(json!(2)), Expect::Any)])
        .unwrap();
    assert_eq!(made.iter().map(|m| m.revision).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(made[0].changed_at, made[1].changed_at);
    for refused in [
        [write("a", Some(json!(9)), Expect::Any), write("b", Some(json!(9)), Expect::Revision(7))],
        [write("a", Some(json!(9)), Expect::Any), write("c", None, Expect::Any)],
        [write("a", Some(json!(9)), Expect::Any), write("a", Some(json!(8)), Expect::Any)],
        [write("a", Some(json!(9)), Expect::Any), write("B", Some(json!(8)), Expect::Any)],
        [write("a", Some(json!(9)), Expect::Any), write("my_password", Some(json!("x")), Expect::Any)],
    ] {
        assert!(s.change(&OP, &refused).is_err());
        assert_eq!(s.get(&OP, "system", "a", None).unwrap().value, Some(json!(1)));
        assert_eq!(s.last_change().unwrap(), 2);
    }
    let many: Vec<_> =
        (0..CHANGES_MAX).map(|i| write(&format!("k{i}"), Some(json!(i)), Expect::Any)).collect();
    s.change(&OP, &many).unwrap();
    let more = [many, vec![write("one-more", Some(json!(1)), Expect::Any)]].concat();
    assert_eq!(s.change(&OP, &more).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn a_key_and_a_namespace_are_read_as_they_were() {
    let (_dir, _db, s) = settings();
    let mut times = Vec::new();
    for i in 0..4 {
        times.push(s.set(&OP, "system", "a", json!(i), Expect::Any).unwrap().changed_at);
        if i == 1 {
            s.set(&OP, "system", "b", json!("x"), Expect::Any).unwrap();
        }
        if i == 2 {
            s.delete(&OP, "system", "b", Expect::Any).unwrap();
        }
    }
    assert!(times.is_sorted_by(|a, b| a < b), "times grow, whatever the clock says");
    for (i, at) in times.iter().enumerate() {
        assert_eq!(s.get(&OP, "system", "a", Some(*at)).unwrap().value, Some(json!(i)));
        let keys: Vec<String> =
            s.list(&OP, "system", None, Some(*at)).unwrap().into_iter().map(|s| s.key).collect();
        assert_eq!(keys, if i == 2 { vec!["a", "b"] } else { vec!["a"] }, "{i}");
    }
    assert_eq!(s.get(&OP, "system", "a", Some(times[0] - 1)).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(s.list(&OP, "system", Some("a"), Some(times[2])).unwrap().len(), 1);
}

#[test]
fn a_schema_refuses_what_does_not_fit() {
    let (_dir, db, s) = settings();
    let schema = json!({ "type": "integer", "minimum": 1, "maximum": 10 });
    s.set(&OP, "system", "risk", json!(50), Expect::Any).unwrap();
    let unfit = s.set_schema(&OP, "system", "risk", Some(schema.clone())).unwrap_err();
    assert!(unfit.message().contains("50 is outside 1 to 10"), "{unfit:?}");
    s.set(&OP, "system", "risk", json!(5), Expect::Any).unwrap();
    assert_eq!(s.set_schema(&OP, "system", "risk", Some(schema.clone())).unwrap().version, 1);
    assert_eq!(s.schema(&OP, "system", "risk").unwrap().schema, Some(schema));
    for bad in [json!(0), json!(11), json!("5"), json!(null)] {
        assert_eq!(s.set(&OP, "system", "risk", bad, Expect::Any).unwrap_err().kind(), Kind::Invalid);
    }
    s.set(&OP, "system", "risk", json!(10), Expect::Any).unwrap();
    s.delete(&OP, "system", "risk", Expect::Any).unwrap();
    assert!(s.set_schema(&OP, "system", "risk", Some(json!({ "pattern": "x" }))).is_err());
    assert_eq!(s.set_schema(&OP, "system", "risk", None).unwrap().version, 2);
    s.set(&OP, "system", "risk", json!("anything"), Expect::Any).unwrap();
    let large =
        |bytes: usize| Some(json!({ "title": "x".repeat(bytes - json!({ "title": "" }).to_string().len()) }));
    assert!(s.set_schema(&OP, "system", "big", large(SCHEMA_BYTES_MAX)).is_ok());
    assert_eq!(
        s.set_schema(&OP, "system", "big", large(SCHEMA_BYTES_MAX + 1)).unwrap_err().kind(),
        Kind::Limit
    );
    let writer = Caller::Token { id: 1, name: "w".into(), scope: Scope::Write };
    assert_eq!(s.set_schema(&writer, "system", "risk", None).unwrap_err().kind(), Kind::Denied);
    assert_eq!(Audit::new(db).verify(&OP).unwrap().broken, None);
}

#[test]
fn who_follows_sees_every_change_once_and_in_order() {
    let (_dir, _db, s) = settings();
    let s = Arc::new(s);
    let mut follow = s.follow();
    let writers: Vec<_> = (0..4)
        .map(|t| {
            let s = s.clone();
            std::thread::spawn(move || {
                for i in 0..50 {
                    s.set(&OP, "system", &format!("k{t}"), json!(i), Expect::Any).unwrap();
                    s.set(&OP, "user", "other", json!(i), Expect::Any).unwrap();
                }
            })
        })
        .collect();
    let (mut cursor, mut seen) = (0, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    while seen.len() < 200 {
        for change in s.changes(&OP, "system", cursor).unwrap() {
            assert!(change.seq > cursor);
            cursor = change.seq;
            seen.push((change.setting.key, change.setting.revision));
        }
        if seen.len() < 200 {
            let woken =
                async { tokio::time::timeout(std::time::Duration::from_secs(20), follow.changed()).await };
            runtime.block_on(woken).expect("a change wakes").unwrap();
        }
    }
    writers.into_iter().for_each(|w| w.join().unwrap());
    for t in 0..4 {
        let of: Vec<u64> = seen.iter().filter(|(k, _)| *k == format!("k{t}")).map(|(_, r)| *r).collect();
        assert_eq!(of, (1..=50).collect::<Vec<_>>());
    }
    assert!(s.changes(&OP, "system", cursor).unwrap().is_empty());
}
