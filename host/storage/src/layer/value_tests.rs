//! What is kept in memory is what the rows say, whoever changed them in whichever way.

use super::tests::{layer_over, manifest};
use super::*;
use crate::commits::{Commit, CommitSkill, ExpectSkill};
use crate::error::Kind;
use crate::settings::{Expect, SettingWrite};
use crate::skills::{NewVersion, Performance, Status, Version};
use crate::sqlite::Noun;
use crate::testing::random::Random;
use crate::{Caller, Scope};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const OP: Caller = Caller::Operator;
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

fn skill(name: &str, code: u64) -> NewVersion {
    NewVersion {
        name: name.into(),
        language: "python".into(),
        code: format!("# {code}"),
        tags: vec!["x".into()],
        metadata: json!({ "n": code }),
        ..NewVersion::default()
    }
}

fn write(key: &str, value: Option<u64>) -> SettingWrite {
    SettingWrite {
        namespace: "n".into(),
        key: key.into(),
        value: value.map(|v| json!(v)),
        expect: Expect::Any,
    }
}

/// One change that somebody makes; it may fail, as callers' changes do.
fn change(layer: &DataLayer, random: &mut Random, n: u64) {
    let name = NAMES[random.below(NAMES.len())];
    let version = Version::new(0, 1, random.below(4) as u64);
    let _: Result<()> = match random.below(10) {
        0 | 1 => layer.skills().put(&OP, skill(name, n)).map(|_| ()),
        2 => layer.skills().rollback(&OP, name, &version).map(|_| ()),
        3 => layer.skills().record_use(&OP, name),
        4 => {
            let performance = Performance {
                period_start: 0,
                period_end: 1,
                returns: 0.1,
                sharpe: 1.0,
                win_rate: 0.5,
                max_drawdown: 0.1,
                samples: 1,
            };
            layer.skills().record_performance(&OP, name, &version, &performance)
        }
        5 => layer.settings().set(&OP, "n", name, json!(n), Expect::Any).map(|_| ()),
        6 => layer.settings().delete(&OP, "n", name, Expect::Any).map(|_| ()),
        8 => {
            let status = [Status::Active, Status::Draft, Status::Retired][random.below(3)];
            layer.skills().set_status(&OP, name, Some(&version), status, None).map(|_| ())
        }
        7 => layer.settings().change(&OP, &[write("alpha", Some(n)), write("beta", None)]).map(|_| ()),
        _ => {
            let skills = vec![CommitSkill { skill: skill(name, n), expect: ExpectSkill::Any }];
            let commit = Commit { skills, settings: vec![write(name, Some(n))], ..Commit::default() };
            layer.commit(&OP, &commit).map(|_| ())
        }
    };
}

#[test]
fn whatever_is_changed_the_answer_is_that_of_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), ""), None).0;
    // Another way to the same file, that keeps nothing.
    let options = Options { values_bytes_max: 0, ..Options::default() };
    let bare = Database::open(&dir.path().join("data").join(STRUCTURED_FILE), options, &[]).unwrap();
    let bare = Arc::new(bare);
    let (skills, settings) = (Skills::new(bare.clone(), Arc::default()), Settings::new(bare));
    let mut random = Random::new(7);
    for n in 0..300 {
        change(&layer, &mut random, n);
        for name in NAMES {
            let versions = (0..4).map(|patch| Some(Version::new(0, 1, patch)));
            for version in std::iter::once(None).chain(versions) {
                let version = version.as_ref();
                let (kept, read) = (layer.skills().get(&OP, name, version), skills.get(&OP, name, version));
                assert_eq!(kept.as_ref().ok(), read.as_ref().ok(), "{name} {version:?} after change {n}");
                let known = layer.skills().known(&OP, name, version);
                assert_eq!(known.as_deref(), kept.as_ref().ok());
            }
            let (kept, read) =
                (layer.settings().get(&OP, "n", name, None), settings.get(&OP, "n", name, None));
            assert_eq!(kept.ok(), read.ok(), "setting {name} after change {n}");
        }
    }
    let counts = layer.db.counts().values;
    for noun in [Noun::Skills, Noun::Settings] {
        let counts = counts[noun as usize];
        assert!(counts.hits > 100 && counts.outdated > 50, "{noun:?}: {counts:?}");
    }
}

#[test]
fn a_token_is_known_until_it_is_revoked_or_expires() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), ""), None).0;
    let tokens = layer.tokens();
    let (_, secret) = tokens.create(&OP, "feed", Scope::Write, None).unwrap();
    assert!(tokens.known(&secret).is_none(), "its first use is noted");
    // The first use is written, which takes what was read away; from the second on it is known.
    tokens.authenticate(&secret).unwrap();
    tokens.authenticate(&secret).unwrap();
    assert!(
        matches!(tokens.known(&secret), Some(Caller::Token { name, scope: Scope::Write, .. }) if name == "feed")
    );
    tokens.revoke(&OP, "feed").unwrap();
    assert!(tokens.known(&secret).is_none());
    assert_eq!(tokens.authenticate(&secret).unwrap_err().kind(), Kind::Unauthenticated);
    let soon = crate::schema::now_ns() + 1_000_000_000;
    let (_, secret) = tokens.create(&OP, "brief", Scope::Read, Some(soon)).unwrap();
    tokens.authenticate(&secret).unwrap();
    tokens.authenticate(&secret).unwrap();
    assert!(tokens.known(&secret).is_some() || crate::schema::now_ns() >= soon);
    while crate::schema::now_ns() < soon {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(tokens.known(&secret).is_none());
    assert_eq!(tokens.authenticate(&secret).unwrap_err().kind(), Kind::Unauthenticated);
    for bad in ["", "shp_", "shp_x"] {
        assert!(tokens.known(bad).is_none());
    }
}

#[test]
fn a_change_of_one_skill_leaves_the_others_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), ""), None).0;
    let skills = layer.skills();
    for (n, name) in (0..).zip(NAMES) {
        skills.put(&OP, skill(name, n)).unwrap();
        skills.get(&OP, name, None).unwrap();
    }
    let is_known = |name: &str| skills.known(&OP, name, None).is_some();
    let changes: [&dyn Fn(); 5] = [
        &|| drop(skills.put(&OP, skill("alpha", 7)).unwrap()),
        &|| drop(skills.rollback(&OP, "alpha", &Version::new(0, 1, 0)).unwrap()),
        &|| drop(skills.set_status(&OP, "alpha", None, Status::Retired, None).unwrap()),
        &|| skills.record_use(&OP, "alpha").unwrap(),
        &|| drop(layer.settings().set(&OP, "n", "alpha", json!(1), Expect::Any).unwrap()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        skills.get(&OP, "alpha", None).unwrap();
        change();
        assert_eq!(is_known("alpha"), at == 4, "change {at}");
        assert!(is_known("beta") && is_known("gamma"), "change {at}");
    }
}

/// Grants are asked each time: what one may read is not given to another.
#[test]
fn what_is_kept_is_given_to_nobody_who_may_not_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), ""), None).0;
    layer.skills().put(&OP, skill("alpha", 1)).unwrap();
    layer.settings().set(&OP, "n", "a", json!(1), Expect::Any).unwrap();
    layer.skills().get(&OP, "alpha", None).unwrap();
    layer.settings().get(&OP, "n", "a", None).unwrap();
    let plugin = Caller::Plugin { name: "p".into(), grants: Arc::default() };
    assert_eq!(layer.skills().get(&plugin, "alpha", None).unwrap_err().kind(), Kind::Denied);
    assert!(layer.skills().known(&plugin, "alpha", None).is_none());
    assert_eq!(layer.settings().get(&plugin, "n", "a", None).unwrap_err().kind(), Kind::Denied);
    assert!(layer.skills().known(&OP, "alpha", None).is_some());
}

/// Readers look at skills and settings that others change: nobody sees less than was acknowledged, or seen, before he asked.
#[test]
fn readers_beside_writers_never_go_back() {
    const ROUNDS: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), ""), None).0;
    for name in NAMES {
        layer.skills().put(&OP, skill(name, 0)).unwrap();
        layer.settings().set(&OP, "n", name, json!(0), Expect::Any).unwrap();
    }
    // By name: the patch of the skill, the revision of the setting.
    let known: [[AtomicU64; 2]; NAMES.len()] = Default::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let (layer, known, over) = (&layer, &known, &over);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !over.load(Ordering::SeqCst) {
                    let at = random.below(NAMES.len());
                    let what = random.below(2);
                    let before = known[at][what].load(Ordering::SeqCst);
                    let now = match what {
                        0 => layer.skills().shared(&OP, NAMES[at], None).unwrap().version.patch,
                        _ => layer.settings().get(&OP, "n", NAMES[at], None).unwrap().revision,
                    };
                    assert!(now >= before, "{} {what}: {now} after {before}", NAMES[at]);
                    known[at][what].fetch_max(now, Ordering::SeqCst);
                }
            });
        }
        let writers: Vec<_> = (0..NAMES.len())
            .map(|at| {
                let (layer, known) = (&layer, &known);
                scope.spawn(move || {
                    for n in 1..=ROUNDS {
                        let stored = layer.skills().put(&OP, skill(NAMES[at], n)).unwrap();
                        known[at][0].fetch_max(stored.version.patch, Ordering::SeqCst);
                        let set = layer.settings().set(&OP, "n", NAMES[at], json!(n), Expect::Any).unwrap();
                        known[at][1].fetch_max(set.revision, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let done: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        done.into_iter().for_each(|d| d.unwrap());
    });
    for (at, name) in NAMES.iter().enumerate() {
        assert_eq!(layer.skills().get(&OP, name, None).unwrap().version.patch, ROUNDS);
        assert_eq!(known[at][1].load(Ordering::SeqCst), ROUNDS + 1);
    }
}
