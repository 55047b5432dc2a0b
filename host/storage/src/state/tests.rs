//! Compare-and-set, retries, history, large checkpoints and what goes with them.

use super::*;
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::layer::tests::{layer_over, manifest};
use crate::settings::Expect;
use serde_json::{Value, json};
use std::io::Read as _;
use std::sync::Arc;

const OP: Caller = Caller::Operator;
/// Keeps three revisions, and large ones among the models.
const TOML: &str =
    "[files.models]\nkind = \"models\"\nfile_max = \"1 MiB\"\n[state]\nstore = \"models\"\nkeep = 3";

fn layer(dir: &std::path::Path) -> Arc<DataLayer> {
    layer_over(&manifest(dir, TOML), None).0
}

fn at(revision: u64) -> Save {
    Save {
        expect: if revision == 0 { Expect::Absent } else { Expect::Revision(revision) },
        ..Save::default()
    }
}

fn save(layer: &DataLayer, strategy: &str, content: &[u8], save: Save) -> Result<Saved> {
    layer.state().save(&OP, strategy, &mut { content }, save)
}

fn load(layer: &DataLayer, strategy: &str, which: Which) -> Result<(Checkpoint, Vec<u8>)> {
    let (checkpoint, mut content) = layer.state().load(&OP, strategy, which)?;
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(crate::files::as_error)?;
    Ok((checkpoint, bytes))
}

fn large(n: u8) -> Vec<u8> {
    vec![n; INLINE_BYTES_MAX + 1]
}

/// Objects that a store's rows name, and files on its disk that none names.
fn objects(layer: &DataLayer) -> (u64, u64) {
    let looked = layer.files().verify(&OP, "models", &mut |_| ()).unwrap();
    assert!(looked.faults.is_empty(), "{:?}", looked.faults);
    let stats = layer.files().stats("models").unwrap();
    assert_eq!((stats.objects, stats.bytes), (looked.objects, looked.bytes), "the accounts fit the rows");
    (looked.objects, looked.orphans)
}

#[test]
fn a_strategy_goes_on_from_what_it_saved_last() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let first = load(&layer, "momentum", Which::Newest).unwrap_err();
    assert!(
        first.kind() == Kind::NotFound && first.hint_text().unwrap().contains("first start"),
        "{first:?}"
    );
    let saved = save(
        &layer,
        "momentum",
        b"{\"position\":1}",
        Save { media_type: Some("application/json".into()), metadata: json!({ "bar": 17 }), ..at(0) },
    )
    .unwrap();
    assert!(!saved.replayed && saved.checkpoint.revision == 1, "{saved:?}");
    assert_eq!(saved.checkpoint.saved_by, "operator");
    let (newest, content) = load(&layer, "momentum", Which::Newest).unwrap();
    assert_eq!((newest, content.as_slice()), (saved.checkpoint, &b"{\"position\":1}"[..]));
    // Whatever the bytes, and none at all.
    for (i, bytes) in [&b""[..], b"\0\xff\n", &[7; INLINE_BYTES_MAX], &large(8)].into_iter().enumerate() {
        let made = save(&layer, "momentum", bytes, at(i as u64 + 1)).unwrap().checkpoint;
        assert_eq!(made.store.is_some(), bytes.len() > INLINE_BYTES_MAX, "{i}");
        assert_eq!(load(&layer, "momentum", Which::Newest).unwrap(), (made, bytes.to_vec()), "{i}");
    }
    let listed = layer.state().list(&OP, None, 100).unwrap();
    assert_eq!(
        listed.iter().map(|c| (c.strategy.as_str(), c.revision)).collect::<Vec<_>>(),
        [("momentum", 5)]
    );
    drop(layer);
    let again = layer_over(&manifest(dir.path(), TOML), None).0;
    assert_eq!(load(&again, "momentum", Which::Newest).unwrap().1, large(8));
    assert_eq!(again.audit().verify(&OP).unwrap().broken, None);
    assert!(again.verify(&OP, &mut |_| ()).unwrap().ok);
}

#[test]
fn exactly_one_of_many_wins_a_compare_and_set() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    save(&layer, "s", b"0", at(0)).unwrap();
    for big in [false, true] {
        let from = load(&layer, "s", Which::Newest).unwrap().0.revision;
        let threads: Vec<_> = (1..=8)
            .map(|n| {
                let layer = layer.clone();
                std::thread::spawn(move || {
                    let content = if big { large(n) } else { vec![n] };
                    save(&layer, "s", &content, at(from)).map(|_| n)
                })
            })
            .collect();
        let done: Vec<Result<u8>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let won: Vec<u8> = done.iter().filter_map(|d| d.as_ref().ok().copied()).collect();
        assert!(done.iter().filter_map(|d| d.as_ref().err()).all(|e| e.kind() == Kind::Conflict), "{done:?}");
        assert_eq!(won.len(), 1);
        let (newest, content) = load(&layer, "s", Which::Newest).unwrap();
        assert_eq!((newest.revision, content[0]), (from + 1, won[0]));
    }
    // Those who lost after their object was written leave nothing of it.
    layer.maintain().unwrap();
    assert_eq!(objects(&layer), (1, 0));
    assert_eq!(save(&layer, "s", b"x", at(0)).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn a_save_that_is_sent_again_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let keyed = |revision: u64, key: &str| Save { idempotency_key: Some(key.into()), ..at(revision) };
    for (i, content) in [vec![1], large(2)].into_iter().enumerate() {
        let (revision, key) = (i as u64, format!("k{i}"));
        let first = save(&layer, "s", &content, keyed(revision, &key)).unwrap();
        let again = save(&layer, "s", &content, keyed(revision, &key)).unwrap();
        assert_eq!(again, Saved { replayed: true, ..first });
        for other in [
            save(&layer, "s", b"other", keyed(revision, &key)),
            save(&layer, "s", &content, keyed(revision + 7, &key)),
            save(&layer, "s", &content, Save { metadata: json!({ "a": 1 }), ..keyed(revision, &key) }),
        ] {
            let e = other.unwrap_err();
            assert!(e.kind() == Kind::Conflict && e.message().contains(&key), "{e:?}");
        }
    }
    // Also when the state has gone on since, and for whoever comes at the same time.
    save(&layer, "s", b"3", at(2)).unwrap();
    assert_eq!(save(&layer, "s", &[1], keyed(0, "k0")).unwrap().checkpoint.revision, 1);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (layer, save_as) = (layer.clone(), keyed(3, "k3"));
            std::thread::spawn(move || save(&layer, "s", &large(4), save_as).unwrap())
        })
        .collect();
    let done: Vec<Saved> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(done.iter().all(|d| d.checkpoint.revision == 4));
    assert_eq!(done.iter().filter(|d| !d.replayed).count(), 1);
    // Keys are each caller's and each strategy's own.
    let writer = Caller::Token { id: 1, name: "w".into(), scope: Scope::Write };
    let theirs = layer.state().save(&writer, "s", &mut &b"w"[..], keyed(4, "k0")).unwrap();
    assert_eq!((theirs.replayed, theirs.checkpoint.revision), (false, 5));
    assert_eq!(save(&layer, "t", b"t", keyed(0, "k0")).unwrap().checkpoint.revision, 1);
    for bad in ["", "a b", "ä"] {
        assert_eq!(save(&layer, "s", b"", keyed(5, bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    layer.maintain().unwrap();
    assert_eq!(objects(&layer).1, 0);
}

#[test]
fn a_key_is_forgotten_after_so_many_revisions() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let keyed = Save { idempotency_key: Some("k".into()), ..Save::default() };
    save(&layer, "s", b"first", keyed.clone()).unwrap();
    // As if there had been many saves since.
    let jump = |to: u64| {
        layer
            .database()
            .write(|tx| {
                tx.execute("UPDATE state_checkpoints SET revision = ?1", [to.cast_signed()])?;
                Ok(())
            })
            .unwrap();
    };
    jump(KEYS_KEPT - 1);
    let other = |key: &str| Save { idempotency_key: Some(key.into()), ..Save::default() };
    assert_eq!(save(&layer, "s", b"x", other("a")).unwrap().checkpoint.revision, KEYS_KEPT);
    assert!(
        save(&layer, "s", b"first", keyed.clone()).unwrap().replayed,
        "revision 1 is {KEYS_KEPT} away in one more"
    );
    assert_eq!(save(&layer, "s", b"x", other("b")).unwrap().checkpoint.revision, KEYS_KEPT + 1);
    assert!(!save(&layer, "s", b"first", keyed).unwrap().replayed);
}

#[test]
fn the_newest_revisions_stay_and_are_read_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let mut times = Vec::new();
    for n in 1..=5_u8 {
        times.push(save(&layer, "s", &large(n), at(u64::from(n) - 1)).unwrap().checkpoint.saved_at);
    }
    assert!(times.is_sorted_by(|a, b| a < b), "times grow, whatever the clock says");
    let history = layer.state().history(&OP, "s", None, 100).unwrap();
    assert_eq!(history.iter().map(|c| c.revision).collect::<Vec<_>>(), [5, 4, 3]);
    assert_eq!(layer.state().history(&OP, "s", Some(5), 1).unwrap()[0].revision, 4);
    for n in 3..=5_u8 {
        assert_eq!(load(&layer, "s", Which::Revision(n.into())).unwrap().1, large(n));
        assert_eq!(load(&layer, "s", Which::At(times[usize::from(n) - 1])).unwrap().1, large(n));
    }
    for (which, words) in [
        (Which::Revision(2), "is not kept any more"),
        (Which::Revision(6), "does not exist"),
        (Which::Revision(0), "is not kept any more"),
        (Which::Revision(u64::MAX), "does not exist"),
        (Which::At(times[1]), "is not kept any more"),
        (Which::At(i64::MIN), "is not kept any more"),
    ] {
        let e = load(&layer, "s", which).unwrap_err();
        assert!(e.kind() == Kind::NotFound && e.message().contains(words), "{which:?}: {e:?}");
        assert!(e.hint_text().unwrap().contains("from 3 on"), "{e:?}");
    }
    // What went took its object along, by itself, and a collection leaves the others alone.
    assert_eq!(objects(&layer).0, 5);
    layer.maintain().unwrap();
    assert_eq!(objects(&layer), (3, 0));
    assert_eq!(layer.files().gc(&OP, "models").unwrap().removed, 0);
    assert_eq!(load(&layer, "s", Which::Newest).unwrap().1, large(5));
}

#[test]
fn content_that_something_else_names_stays() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let put = |n: u8| {
        let content = large(n);
        layer.files().put(&OP, "models", "m", &mut content.as_slice(), Default::default()).unwrap()
    };
    put(1);
    save(&layer, "a", &large(1), at(0)).unwrap();
    save(&layer, "b", &large(1), at(0)).unwrap();
    layer.state().delete(&OP, "a", Expect::Any, true).unwrap();
    layer.maintain().unwrap();
    assert_eq!(objects(&layer), (1, 0));
    layer.files().delete(&OP, "models", "m", true).unwrap();
    assert_eq!(layer.files().gc(&OP, "models").unwrap().removed, 0, "`b` needs it");
    assert_eq!(load(&layer, "b", Which::Newest).unwrap().1, large(1));
    // While a backup copies, it stays, and goes afterwards.
    let held = layer.files().hold_objects();
    layer.state().delete(&OP, "b", Expect::Revision(1), true).unwrap();
    layer.maintain().unwrap();
    assert_eq!(objects(&layer), (1, 0));
    drop(held);
    layer.maintain().unwrap();
    assert_eq!(objects(&layer), (0, 0));
    // Another save of it, before it is looked at.
    save(&layer, "c", &large(2), at(0)).unwrap();
    layer.state().delete(&OP, "c", Expect::Any, true).unwrap();
    save(&layer, "d", &large(2), at(0)).unwrap();
    layer.maintain().unwrap();
    assert_eq!(load(&layer, "d", Which::Newest).unwrap().1, large(2));
    layer.state().delete(&OP, "d", Expect::Any, true).unwrap();
    layer.maintain().unwrap();
    assert_eq!(objects(&layer), (0, 0));
}

#[test]
fn a_deletion_is_a_revision_and_a_purge_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let s = layer.state();
    assert_eq!(s.delete(&OP, "s", Expect::Any, false).unwrap_err().kind(), Kind::NotFound);
    save(&layer, "s", b"1", at(0)).unwrap();
    assert_eq!(s.delete(&OP, "s", Expect::Revision(7), false).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(s.delete(&OP, "s", Expect::Revision(1), false).unwrap().revision, 2);
    let gone = load(&layer, "s", Which::Newest).unwrap_err();
    assert!(gone.kind() == Kind::NotFound && gone.message().contains("deleted, by operator"), "{gone:?}");
    assert!(load(&layer, "s", Which::Revision(2)).unwrap_err().message().contains("is a deletion"));
    assert_eq!(load(&layer, "s", Which::Revision(1)).unwrap().1, b"1");
    assert!(s.list(&OP, None, 100).unwrap().is_empty());
    assert_eq!(s.delete(&OP, "s", Expect::Any, false).unwrap_err().kind(), Kind::NotFound);
    // It is absent, and no number comes back.
    assert_eq!(save(&layer, "s", b"3", at(0)).unwrap().checkpoint.revision, 3);
    s.delete(&OP, "s", Expect::Any, true).unwrap();
    let left = s.history(&OP, "s", None, 100).unwrap();
    assert_eq!(left.iter().map(|c| (c.revision, c.blake3.is_some())).collect::<Vec<_>>(), [(4, false)]);
    assert_eq!(save(&layer, "s", b"5", at(4)).unwrap().checkpoint.revision, 5);
    let entries = layer.audit().list(&OP, &crate::audit::AuditFilter::default()).unwrap();
    let actions: Vec<&str> = entries.iter().rev().map(|e| e.action.as_str()).collect();
    assert_eq!(actions, ["state.save", "state.delete", "state.save", "state.purge", "state.save"]);
    assert!(entries.iter().all(|e| e.object == "state:s"));
    assert_eq!(entries[0].after, Some(blake3::hash(b"5").to_hex().to_string()));
    assert_eq!(layer.audit().verify(&OP).unwrap().broken, None);
}

#[test]
fn bounds_hold_at_their_edges() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    for bad in ["", "A", "a b", "a/b", "ä", "x'; DROP TABLE audit; --", &"a".repeat(NAME_BYTES_MAX + 1)] {
        assert_eq!(save(&layer, bad, b"", at(0)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        assert_eq!(load(&layer, bad, Which::Newest).unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    assert!(save(&layer, &"a".repeat(NAME_BYTES_MAX), b"", at(0)).is_ok());
    for metadata in [json!([]), json!("x"), json!({ "a": "x".repeat(crate::files::METADATA_BYTES_MAX) })] {
        assert!(save(&layer, "s", b"", Save { metadata, ..at(0) }).is_err());
    }
    let typed = |media_type: &str| Save { media_type: Some(media_type.into()), ..at(0) };
    assert_eq!(save(&layer, "s", b"", typed("a\nb")).unwrap_err().kind(), Kind::Invalid);
    // The store's own bound on a file.
    let most = 1 << 20;
    assert!(save(&layer, "s", &vec![1; most], at(0)).is_ok());
    let e = save(&layer, "s", &vec![1; most + 1], at(1)).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.hint_text().unwrap().contains("file_max"), "{e:?}");
    let strategies = |n: i64| {
        layer
            .database()
            .write(|tx| {
                tx.execute("INSERT INTO state_strategies(id, name) VALUES (?1, ?2)", (n, format!("n{n}")))?;
                Ok(())
            })
            .unwrap();
    };
    strategies(STRATEGIES_MAX - 1);
    assert!(save(&layer, "last", b"", at(0)).is_ok());
    let e = save(&layer, "one-more", b"", at(0)).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("10000"), "{e:?}");
    assert!(save(&layer, "last", b"", at(1)).is_ok());
}

#[test]
fn without_a_store_large_ones_are_refused_with_the_key_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), ""), None).0;
    save(&layer, "s", &vec![1; INLINE_BYTES_MAX], at(0)).unwrap();
    let e = save(&layer, "s", &large(1), at(1)).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.hint_text().unwrap().contains("state.store"), "{e:?}");
    assert_eq!(load(&layer, "s", Which::Newest).unwrap().0.revision, 1);
    drop(layer);
    // What is in a store that the manifest lost is named.
    let with = layer_over(&manifest(dir.path(), TOML), None).0;
    save(&with, "s", &large(2), at(1)).unwrap();
    drop(with);
    let without = layer_over(&manifest(dir.path(), ""), None).0;
    let e = load(&without, "s", Which::Newest).unwrap_err();
    assert!(e.kind() == Kind::Unavailable && e.message().contains("file store `models`"), "{e:?}");
    assert!(load(&without, "s", Which::Revision(1)).is_ok());
}

#[test]
fn a_shorter_history_is_cut_in_steps() {
    let dir = tempfile::tempdir().unwrap();
    let long = TOML.replace("keep = 3", "keep = 500");
    let with = layer_over(&manifest(dir.path(), &long), None).0;
    for n in 0..250 {
        save(&with, "s", b"x", at(n)).unwrap();
    }
    drop(with);
    let layer = layer(dir.path());
    let kept = || layer.state().history(&OP, "s", None, 1_000).unwrap().len() as u64;
    assert_eq!(kept(), 250);
    save(&layer, "s", b"x", at(250)).unwrap();
    assert_eq!(kept(), 251 - PRUNE_STEP);
    save(&layer, "s", b"x", at(251)).unwrap();
    save(&layer, "s", b"x", at(252)).unwrap();
    assert_eq!(kept(), 3);
}

#[test]
fn what_is_damaged_is_named_and_never_given() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), TOML);
    let layer = layer(dir.path());
    save(&layer, "s", b"small", at(0)).unwrap();
    let big = save(&layer, "s", &large(1), at(1)).unwrap().checkpoint.blake3.unwrap();
    let object = m.files["models"].root.join("objects").join(&big[..2]).join(&big);
    std::fs::write(&object, large(2)).unwrap();
    let e = load(&layer, "s", Which::Newest).unwrap_err();
    assert!(e.kind() == Kind::Corrupt && e.message().contains("state:s@2"), "{e:?}");
    let report = layer.verify(&OP, &mut |_| ()).unwrap();
    assert!(!report.ok && format!("{:?}", report.faults).contains("state:s@2"), "{report:?}");
    std::fs::remove_file(&object).unwrap();
    // It is set aside: what is said of it is what the newest look found.
    layer.verify(&OP, &mut |_| ()).unwrap();
    let e = load(&layer, "s", Which::Newest).unwrap_err();
    assert!(e.kind() == Kind::Corrupt && e.message().contains("is missing"), "{e:?}");
    layer
        .database()
        .write(|tx| Ok(tx.execute("UPDATE state_checkpoints SET content = x'00' WHERE revision = 1", [])?))
        .unwrap();
    let e = load(&layer, "s", Which::Revision(1)).unwrap_err();
    assert!(e.kind() == Kind::Corrupt && e.hint_text().is_some(), "{e:?}");
    // The strategy goes on with a new one.
    save(&layer, "s", &large(1), at(2)).unwrap();
    assert_eq!(load(&layer, "s", Which::Newest).unwrap().1, large(1));
}

#[test]
fn a_content_that_does_not_come_whole_is_not_saved() {
    struct Ends(usize);
    impl std::io::Read for Ends {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = out.len().min(self.0);
            self.0 -= n;
            if n == 0 { Err(std::io::Error::other("the line broke")) } else { Ok(n) }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    for bytes in [10, INLINE_BYTES_MAX * 3] {
        let e = layer.state().save(&OP, "s", &mut Ends(bytes), at(0)).unwrap_err();
        assert!(e.message().contains("the line broke"), "{e:?}");
    }
    assert_eq!(load(&layer, "s", Which::Newest).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(objects(&layer), (0, 0));
}

#[test]
fn each_caller_may_what_he_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let s = layer.state();
    save(&layer, "mine.a", b"1", at(0)).unwrap();
    save(&layer, "yours", b"1", at(0)).unwrap();
    let token = |scope| Caller::Token { id: 1, name: "t".into(), scope };
    let denied = |r: Result<Value, Error>| assert_eq!(r.unwrap_err().kind(), Kind::Denied);
    let read = |c: &Caller, name: &str| s.load(c, name, Which::Newest).map(|_| json!(0));
    let write = |c: &Caller, name: &str| s.save(c, name, &mut &b"x"[..], Save::default()).map(|_| json!(0));
    let purge = |c: &Caller| s.delete(c, "yours", Expect::Any, true).map(|_| json!(0));
    assert!(read(&token(Scope::Read), "yours").is_ok());
    denied(write(&token(Scope::Read), "yours"));
    assert!(write(&token(Scope::Write), "yours").is_ok());
    denied(purge(&token(Scope::Write)));
    let grants = crate::Grants {
        state_read: vec!["mine.*".into()],
        state_write: vec!["mine.b".into()],
        ..Default::default()
    };
    let plugin = Caller::Plugin { name: "p".into(), grants: Arc::new(grants) };
    assert!(read(&plugin, "mine.a").is_ok());
    denied(read(&plugin, "yours"));
    denied(write(&plugin, "mine.a"));
    assert!(write(&plugin, "mine.b").is_ok());
    denied(s.delete(&plugin, "mine.b", Expect::Any, false).map(|_| json!(0)));
    denied(s.list(&plugin, None, 10).map(|_| json!(0)));
    denied(s.changes(&plugin, None, 0).map(|_| json!(0)));
    assert!(s.changes(&plugin, Some("mine.a"), 0).is_ok());
}

#[test]
fn who_follows_sees_every_change_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), &TOML.replace("keep = 3", "keep = 1000")), None).0;
    let mut follow = layer.state().follow();
    let writers: Vec<_> = (0..4)
        .map(|t| {
            let layer = layer.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    save(&layer, &format!("s{t}"), b"x", at(n)).unwrap();
                }
            })
        })
        .collect();
    let (mut cursor, mut seen) = (0, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    while seen.len() < 200 {
        for change in layer.state().changes(&OP, None, cursor).unwrap() {
            assert!(change.seq > cursor);
            cursor = change.seq;
            seen.push((change.checkpoint.strategy, change.checkpoint.revision));
        }
        if seen.len() < 200 {
            let woken =
                async { tokio::time::timeout(std::time::Duration::from_secs(20), follow.changed()).await };
            runtime.block_on(woken).expect("a change wakes").unwrap();
        }
    }
    writers.into_iter().for_each(|w| w.join().unwrap());
    for t in 0..4 {
        let of: Vec<u64> = seen.iter().filter(|(s, _)| *s == format!("s{t}")).map(|(_, r)| *r).collect();
        assert_eq!(of, (1..=50).collect::<Vec<_>>());
        assert_eq!(layer.state().changes(&OP, Some(&format!("s{t}")), 0).unwrap().len(), 50);
    }
    assert!(layer.state().changes(&OP, None, cursor).unwrap().is_empty());
    assert_eq!(layer.state().last_change().unwrap(), cursor);
}

#[test]
fn a_read_only_disk_takes_no_save_and_still_deletes_and_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, free) = layer_over(&manifest(dir.path(), TOML), None);
    save(&layer, "s", &large(1), at(0)).unwrap();
    free.store(1_000, std::sync::atomic::Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(600));
    for content in [vec![1], large(2)] {
        assert_eq!(save(&layer, "s", &content, at(1)).unwrap_err().kind(), Kind::ReadOnly);
    }
    assert_eq!(load(&layer, "s", Which::Newest).unwrap().1, large(1));
    layer.state().delete(&OP, "s", Expect::Any, true).unwrap();
    layer.maintain().unwrap();
    assert_eq!(objects(&layer), (0, 0));
}

#[test]
fn a_backup_has_the_checkpoints_and_a_restore_brings_them_back() {
    let dir = tempfile::tempdir().unwrap();
    // The manifest changed its mind about the store in which they are.
    let layer = layer(dir.path());
    save(&layer, "big", &large(7), at(0)).unwrap();
    save(&layer, "little", b"8", Save { metadata: json!({ "a": 1 }), ..at(0) }).unwrap();
    layer.files().put(&OP, "models", "m", &mut &b"model"[..], Default::default()).unwrap();
    let saved = layer.state().list(&OP, None, 10).unwrap();
    drop(layer);
    for (name, toml) in [
        ("whole", TOML.to_string()),
        ("apart", "[files.models]\nkind = \"models\"\nbackup = false".to_string()),
    ] {
        let m = manifest(dir.path(), &toml);
        let layer = DataLayer::open(&m).unwrap();
        let to = dir.path().join(name);
        layer.export(&OP, &to, &mut |_, _| ()).unwrap();
        drop(layer);
        crate::backup::check(&to, &mut |_, _| ()).unwrap();
        let home = dir.path().join(format!("{name}-restored"));
        std::fs::create_dir(&home).unwrap();
        let again = manifest(&home, TOML);
        crate::backup::restore(&to, &again.host.data, Some(&again), false, &mut |_, _| ()).unwrap();
        let restored = DataLayer::open(&again).unwrap();
        assert_eq!(restored.state().list(&OP, None, 10).unwrap(), saved, "{name}");
        assert_eq!(load(&restored, "big", Which::Newest).unwrap().1, large(7), "{name}");
        assert_eq!(restored.files().stat(&OP, "models", "m", None).is_ok(), name == "whole");
        assert!(restored.verify(&OP, &mut |_| ()).unwrap().ok, "{name}");
    }
}
