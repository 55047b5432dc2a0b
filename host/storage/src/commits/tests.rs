//! Commits over all stores, cut off at every step, and read meanwhile.

mod instant;
mod left;

use super::*;
use crate::caller::{Caller, Scope};
use crate::error::{Kind, Result};
use crate::layer::DataLayer;
use crate::layer::tests::{layer_over, manifest};
use crate::series::model_engine::ModelEngine;
use crate::series::query::Query;
use crate::series::{Budget, Column, Frame, Selector, SeriesKey, WriteBatch};
use crate::settings::{Expect, SettingWrite};
use crate::skills::{NewVersion, Performance, SkillQuery};
use crate::state::{INLINE_BYTES_MAX, Which};
use semver::Version;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const OP: Caller = Caller::Operator;
pub(crate) const TOML: &str = "[files.models]\nkind = \"models\"\n[state]\nstore = \"models\"";

fn layer(dir: &std::path::Path) -> Arc<DataLayer> {
    layer_over(&manifest(dir, TOML), None).0
}

/// Says that it is over, also when an assertion fails: other threads wait for it.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The n-th version of everything.
pub(crate) fn commit(n: i64) -> Commit {
    Commit {
        idempotency_key: None,
        skills: vec![CommitSkill {
            skill: NewVersion {
                name: "pullback".into(),
                version: Some(Version::new(0, 0, n as u64)),
                language: "python".into(),
                code: format!("# {n}"),
                ..NewVersion::default()
            },
            expect: ExpectSkill::Any,
        }],
        performance: vec![CommitPerformance {
            skill: "pullback".into(),
            version: None,
            performance: Performance {
                period_start: 0,
                period_end: 1,
                returns: n as f64,
                sharpe: 1.0,
                win_rate: 0.5,
                max_drawdown: 0.1,
                samples: 10,
            },
        }],
        files: vec![CommitFile {
            store: "models".into(),
            path: "pullback/model.bin".into(),
            text: Some(format!("weights {n}")),
            base64: None,
            media_type: None,
            metadata: json!({ "n": n }),
            expect: Expect::Any,
        }],
        settings: vec![SettingWrite {
            namespace: "live".into(),
            key: "version".into(),
            value: Some(json!(n)),
            expect: Expect::Any,
        }],
        series: vec![CommitRows {
            bucket: None,
            lines: format!("signal.pullback n={n}i 1000\nsignal.other n={n}i 1000"),
            precision: crate::series::line_protocol::Precision::Ns,
        }],
        state: vec![CommitCheckpoint {
            strategy: "pullback".into(),
            // Every other one is large: an object of the store in which the model is.
            text: Some(format!("{n} ").repeat(if n % 2 == 0 { INLINE_BYTES_MAX } else { 1 })),
            base64: None,
            media_type: None,
            metadata: json!({}),
            expect: Expect::Any,
        }],
        rows: WriteBatch::default(),
    }
}

/// The number in the newest checkpoint; 0 where there is none.
fn checkpoint(layer: &DataLayer) -> i64 {
    let Ok((_, mut content)) = layer.state().load(&OP, "pullback", Which::Newest) else { return 0 };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut content, &mut text).unwrap();
    let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap());
    let first = numbers.next().unwrap();
    assert!(numbers.all(|n: i64| n == first), "a torn checkpoint");
    first
}

/// What one store says of the newest commit, or 0 where there is none: the series, the settings, the skills, the files, what
/// skills achieved, the newest checkpoint, the answer to a question about skills.
pub(crate) fn seen_in(layer: &DataLayer, store: usize) -> Result<i64> {
    let or_none = |found: Result<i64>| match found {
        Err(e) if e.kind() == Kind::NotFound => Ok(0),
        other => other,
    };
    or_none(match store {
        0 => {
            let of = Selector { measurement: Some("signal.pullback".into()), ..Selector::default() };
            let rows = layer.series().latest(&OP, &of, None, &Budget::default())?;
            Ok(serde_json::to_value(rows).unwrap()[0]["fields"][0]["value"].as_i64().unwrap_or(0))
        }
        1 => {
            let setting = layer.settings().get(&OP, "live", "version", None);
            setting.map(|s| s.value.and_then(|v| v.as_i64()).unwrap_or(0))
        }
        2 => layer.skills().get(&OP, "pullback", None).map(|s| s.version.patch as i64),
        3 => layer.files().stat(&OP, "models", "pullback/model.bin", None).map(|f| f.version as i64),
        4 => layer.skills().performance(&OP, "pullback").map(|p| p.len() as i64),
        5 => Ok(checkpoint(layer)),
        _ => {
            let query = SkillQuery { text: "pullback".into(), ..SkillQuery::default() };
            let hits = layer.skills().search(&OP, &query)?.hits;
            Ok(hits.first().map_or(0, |hit| hit.version.patch as i64))
        }
    })
}

/// What each store says of the newest commit; 0 where there is none.
pub(crate) fn seen(layer: &DataLayer) -> [i64; 7] {
    let query: Query =
        serde_json::from_value(json!({ "measurement": "signal.pullback", "start": 0, "end": 2000 })).unwrap();
    let table = layer.series().query(&OP, &query, &Budget::default()).unwrap();
    let all = [0, 1, 2, 3, 4, 5, 6].map(|store| seen_in(layer, store).unwrap());
    assert_eq!(table.rows() as i64, i64::from(all[0] > 0));
    all
}

#[test]
fn everything_is_there_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let done = layer.commit(&OP, &commit(1)).unwrap();
    assert_eq!((done.id, done.rows, done.replayed), (1, 2, false));
    assert_eq!(done.skills[0].version, Version::new(0, 0, 1));
    assert_eq!((done.files[0].version, done.settings[0].revision), (1, 1));
    assert_eq!(seen(&layer), [1; 7]);
    let bad: [fn(&mut Commit); 13] = [
        |c| c.skills[0].skill.code = String::new(),
        |c| c.skills[0].expect = ExpectSkill::Absent,
        |c| c.skills[0].expect = ExpectSkill::Version(Version::new(9, 9, 9)),
        |c| c.performance[0].performance.win_rate = 2.0,
        |c| c.files[0].expect = Expect::Revision(7),
        |c| c.files[0].path = "../x".into(),
        |c| c.settings[0].expect = Expect::Absent,
        |c| c.state[0].expect = Expect::Absent,
        |c| c.state[0].expect = Expect::Revision(7),
        |c| c.state[0].strategy = "../x".into(),
        |c| c.state.push(c.state[0].clone()),
        |c| c.series[0].lines = "signal.pullback n=1i 1000\nsignal.pullback n=".into(),
        // Another type than the one that is there: a plain write would drop this row and keep the others.
        |c| c.series[0].lines = "signal.pullback n=\"text\" 1000\nsignal.other n=2i 1000".into(),
    ];
    for (i, spoil) in bad.into_iter().enumerate() {
        let mut c = commit(2);
        spoil(&mut c);
        let refused = layer.commit(&OP, &c).unwrap_err();
        assert!(matches!(refused.kind(), Kind::Invalid | Kind::Conflict), "{i}: {refused:?}");
        assert_eq!(seen(&layer), [1; 7], "{i}");
    }
    assert_eq!(layer.files().stats("models").unwrap().versions, 1);
    layer.maintain().unwrap();
    let looked = layer.files().verify(&OP, "models", &mut |_| ()).unwrap();
    assert_eq!(
        (looked.objects, looked.orphans),
        (1, 0),
        "nothing is left of the refused models and checkpoints"
    );
    assert_eq!(layer.commit(&OP, &commit(2)).unwrap().id, 2);
    assert_eq!(seen(&layer), [2; 7]);
    assert_eq!(layer.files().stats("models").unwrap().versions, 2);
    assert!(layer.audit().verify(&OP).unwrap().broken.is_none());
    assert!(layer.verify(&OP, &mut |_| ()).unwrap().ok);
    let reader = Caller::Token { id: 1, name: "r".into(), scope: Scope::Read };
    assert_eq!(layer.commit(&reader, &commit(3)).unwrap_err().kind(), Kind::Denied);
}

/// Takes something from the grants of a plugin.
type Less = fn(&mut crate::Grants);

/// A plugin that may do all that [`commit`] does, changed by `less`.
fn plugin(less: Less) -> Caller {
    let of = |pattern: &str| vec![pattern.to_string()];
    let mut grants = crate::Grants {
        commits: true,
        skills_write: of("pull*"),
        settings_write: of("live"),
        files_write: of("models/pullback/*"),
        series_write: of("market/signal.*"),
        state_write: of("pullback"),
        ..Default::default()
    };
    less(&mut grants);
    Caller::Plugin { name: "learner".into(), grants: Arc::new(grants) }
}

#[test]
fn a_plugin_commits_within_its_grants_and_nothing_of_what_is_beyond() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let less: [(&str, Less); 11] = [
        ("commits", |g| g.commits = false),
        ("skills.write", |g| g.skills_write.clear()),
        ("skills.write", |g| g.skills_write = vec!["push*".into()]),
        ("settings.write", |g| g.settings_write.clear()),
        ("settings.write", |g| g.settings_write = vec!["system".into()]),
        ("files.write", |g| g.files_write.clear()),
        ("files.write", |g| g.files_write = vec!["models/other/*".into()]),
        ("series.write", |g| g.series_write.clear()),
        ("series.write", |g| g.series_write = vec!["market/signal.pullback".into()]),
        ("state.write", |g| g.state_write.clear()),
        ("state.write", |g| g.state_write = vec!["other".into()]),
    ];
    for (grant, less) in less {
        let refused = layer.commit(&plugin(less), &commit(1)).unwrap_err();
        assert!(refused.kind() == Kind::Denied && refused.message().contains(grant), "{grant}: {refused:?}");
        assert!(refused.hint_text().is_some_and(|h| h.contains("shiphold.toml")), "{refused:?}");
        assert_eq!(seen(&layer), [0; 7], "{grant}");
    }
    // Only what a skill achieved.
    let only = Commit { performance: commit(1).performance, ..Commit::default() };
    let refused = layer.commit(&plugin(|g| g.skills_write.clear()), &only).unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied);
    layer.commit(&plugin(|_| ()), &commit(1)).unwrap();
    assert_eq!(seen(&layer), [1; 7]);
    let entry = layer.audit().list(&OP, &Default::default()).unwrap().remove(0);
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("commits.make", "plugin:learner"));
    // Rows are only added, unless it may overwrite.
    let refused = layer.commit(&plugin(|_| ()), &commit(2)).unwrap_err();
    assert!(refused.kind() == Kind::Conflict && refused.message().contains("may only add"), "{refused:?}");
    assert_eq!(seen(&layer), [1; 7]);
    layer.commit(&plugin(|g| g.overwrite = true), &commit(2)).unwrap();
    assert_eq!(seen(&layer), [2; 7]);
}

#[test]
fn rows_as_columns_are_part_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let with = |n: i64| {
        let key = SeriesKey::new("market", "signal.pullback", Vec::new()).unwrap();
        let values = crate::series::Values::Integer(vec![n]);
        let columns = vec![Column { name: "n".into(), values, valid: None }];
        Commit {
            idempotency_key: Some("k".into()),
            series: Vec::new(),
            rows: WriteBatch { series: vec![(key, Frame { times: vec![1000], columns })] },
            ..commit(1)
        }
    };
    assert_eq!(layer.commit(&OP, &with(1)).unwrap().rows, 1);
    assert!(layer.commit(&OP, &with(1)).unwrap().replayed);
    assert_eq!(layer.commit(&OP, &with(2)).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(seen(&layer), [1; 7]);
    // A plugin that may only add sends the same again, at once and from several threads.
    let adds = |time: i64| {
        let mut c = with(1);
        c.idempotency_key = Some(format!("k{time}"));
        c.rows.series[0].1.times = vec![time];
        c
    };
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (layer, c) = (layer.clone(), adds(2000));
            std::thread::spawn(move || layer.commit(&plugin(|_| ()), &c).unwrap())
        })
        .collect();
    let done: Vec<Committed> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(done.iter().filter(|d| !d.replayed).count(), 1);
}

#[test]
fn a_key_makes_a_request_once() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let keyed = |n, key: &str| Commit { idempotency_key: Some(key.into()), ..commit(n) };
    let first = layer.commit(&OP, &keyed(1, "k1")).unwrap();
    let again = layer.commit(&OP, &keyed(1, "k1")).unwrap();
    assert_eq!(again, Committed { replayed: true, ..first });
    assert_eq!(layer.commit(&OP, &keyed(2, "k1")).unwrap_err().kind(), Kind::Conflict);
    let other = Caller::Token { id: 1, name: "w".into(), scope: Scope::Write };
    assert_eq!(layer.commit(&other, &keyed(2, "k1")).unwrap().id, 2, "keys of others are others");
    // Eight at once with one key: one makes it, all get its answer.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let layer = layer.clone();
            let c = keyed(3, "k3");
            std::thread::spawn(move || layer.commit(&OP, &c).unwrap())
        })
        .collect();
    let done: Vec<Committed> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(done.iter().all(|d| d.id == 3));
    assert_eq!(done.iter().filter(|d| !d.replayed).count(), 1);
    assert_eq!(seen(&layer), [3; 7]);
    for bad in ["", "a b", "ä", &"x".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1)] {
        assert_eq!(layer.commit(&OP, &keyed(4, bad)).unwrap_err().kind(), Kind::Invalid);
    }
    assert!(layer.commit(&OP, &keyed(4, &"x".repeat(IDEMPOTENCY_KEY_BYTES_MAX))).is_ok());
}

#[test]
fn bounds_hold_at_their_edges() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    assert_eq!(layer.commit(&OP, &Commit::default()).unwrap_err().kind(), Kind::Invalid);
    let settings = |n: usize| Commit {
        settings: (0..n)
            .map(|i| SettingWrite {
                namespace: "live".into(),
                key: format!("k{i}"),
                value: Some(json!(i)),
                expect: Expect::Any,
            })
            .collect(),
        ..Commit::default()
    };
    assert!(layer.commit(&OP, &settings(PARTS_MAX)).is_ok());
    assert_eq!(layer.commit(&OP, &settings(PARTS_MAX + 1)).unwrap_err().kind(), Kind::Limit);
    let state = |n: usize| Commit {
        state: (0..n)
            .map(|i| CommitCheckpoint { strategy: format!("s{i}"), ..commit(1).state[0].clone() })
            .collect(),
        ..Commit::default()
    };
    assert!(layer.commit(&OP, &state(FILES_MAX)).is_ok());
    assert_eq!(layer.commit(&OP, &state(FILES_MAX + 1)).unwrap_err().kind(), Kind::Limit);
    let files = |n: usize| Commit {
        files: (0..n).map(|i| CommitFile { path: format!("f/{i}"), ..commit(1).files[0].clone() }).collect(),
        ..Commit::default()
    };
    assert!(layer.commit(&OP, &files(FILES_MAX)).is_ok());
    assert_eq!(layer.commit(&OP, &files(FILES_MAX + 1)).unwrap_err().kind(), Kind::Limit);
    for (text, base64) in [(None, None), (Some("x"), Some("eA==")), (None, Some("?"))] {
        let mut c = files(1);
        c.files[0].text = text.map(str::to_string);
        c.files[0].base64 = base64.map(str::to_string);
        assert_eq!(layer.commit(&OP, &c).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn a_reader_never_goes_back_before_a_commit_that_it_saw() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    layer.commit(&OP, &commit(1)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|turn| {
            let (layer, over) = (layer.clone(), over.clone());
            std::thread::spawn(move || {
                let mut looks = 0_u64;
                while !over.load(Ordering::SeqCst) {
                    // Each store once, in another order each time: later looks are never older.
                    let mut order = [0, 1, 2, 3, 4, 5, 6];
                    order.rotate_left((looks as usize + turn) % 7);
                    let mut newest = 0;
                    for store in order {
                        let now = seen_in(&layer, store).unwrap();
                        assert!(now >= newest, "store {store} says {now} after {newest} was seen");
                        newest = now;
                    }
                    looks += 1;
                }
                looks
            })
        })
        .collect();
    for n in 2..60 {
        layer.commit(&OP, &commit(n)).unwrap();
    }
    let best = layer.skills().search(&OP, &SkillQuery { text: "pullback".into(), ..SkillQuery::default() });
    assert!(best.unwrap().hits[0].parts.performance > 0.0, "the performance of a commit is searched too");
    over.store(true, Ordering::SeqCst);
    let looks: u64 = readers.into_iter().map(|r| r.join().unwrap()).sum();
    assert!(looks > 50, "{looks}");
    assert_eq!(seen(&layer), [59; 7]);
}

#[test]
fn what_could_not_be_applied_is_applied_before_anybody_reads_or_writes() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), TOML);
    let engine = Arc::new(ModelEngine::default());
    let (layer, _) = layer_over(&m, Some(engine.clone()));
    layer.commit(&OP, &commit(1)).unwrap();
    engine.fail_writes(true);
    let done = layer.commit(&OP, &commit(2)).unwrap();
    assert_eq!(done.rows, 2, "it is durable");
    // Nobody sees one half of it.
    let refused = layer.series().latest(&OP, &Selector::default(), None, &Budget::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!(refused.message().contains("commit 2"), "{refused:?}");
    let lines = b"signal.pullback n=7i 1000";
    let write =
        || layer.series().write_lines(&OP, "market", lines, crate::series::line_protocol::Precision::Ns);
    assert_eq!(write().unwrap_err().kind(), Kind::Unavailable);
    assert!(layer.commit(&OP, &commit(3)).is_err());
    engine.fail_writes(false);
    assert_eq!(seen(&layer), [2; 7]);
    // What is written after it stays: it is not applied twice.
    write().unwrap();
    drop(layer);
    let (layer, _) = layer_over(&m, Some(engine));
    assert_eq!(seen(&layer), [7, 2, 2, 2, 2, 2, 2]);
}
