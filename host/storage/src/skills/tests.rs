//! Versions, dependencies, performance, discovery.

mod believed;
mod bounds;
mod discovery;
mod indexing;
mod origins;
mod resolving;

use super::*;
use crate::audit::Audit;
use crate::caller::{Caller, Grants};
use crate::error::Kind;
use crate::sqlite::{Database, Options};
use semver::{Version, VersionReq};
use serde_json::json;
use std::sync::Arc;

const OP: Caller = Caller::Operator;

fn skills() -> (tempfile::TempDir, Arc<Database>, Skills) {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(
        Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
    );
    (dir, db.clone(), Skills::new(db, Arc::default()))
}

fn new(name: &str, code: &str) -> NewVersion {
    NewVersion { name: name.into(), language: "python".into(), code: code.into(), ..NewVersion::default() }
}

fn described(name: &str, description: &str, tags: &[&str]) -> NewVersion {
    NewVersion {
        description: description.into(),
        tags: tags.iter().map(|t| (*t).into()).collect(),
        ..new(name, "x")
    }
}

fn needs(name: &str, depends: &[(&str, &str)]) -> NewVersion {
    let depends = depends.iter().map(|(n, r)| ((*n).to_string(), VersionReq::parse(r).unwrap())).collect();
    NewVersion { depends, ..new(name, "x") }
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[test]
fn versions_are_immutable_and_numbered() {
    let (_dir, db, s) = skills();
    assert_eq!(s.put(&OP, new("sma", "a")).unwrap().version, v("0.1.0"));
    assert_eq!(
        s.put(&OP, new("sma", "a")).unwrap().version,
        v("0.1.0"),
        "the same content is the same version"
    );
    assert_eq!(s.put(&OP, new("sma", "b")).unwrap().version, v("0.1.1"));
    let numbered =
        |version: &str, code: &str| s.put(&OP, NewVersion { version: Some(v(version)), ..new("sma", code) });
    assert_eq!(numbered("2.0.0", "c").unwrap().version, v("2.0.0"));
    assert_eq!(numbered("0.1.0", "other").unwrap_err().kind(), Kind::Conflict);
    assert_eq!(numbered("2.0.0", "c").unwrap().code, "c");
    assert_eq!(
        s.versions(&OP, "sma").unwrap().iter().map(|x| x.version.to_string()).collect::<Vec<_>>(),
        ["2.0.0", "0.1.1", "0.1.0"]
    );
    assert!(db.write(|tx| Ok(tx.execute("UPDATE skill_versions SET code = 'x'", [])?)).is_err());
    assert!(db.write(|tx| Ok(tx.execute("DELETE FROM skill_versions", [])?)).is_err());
    assert_eq!(Audit::new(db).verify(&OP).unwrap().entries, 3);
}

#[test]
fn a_rollback_points_back_and_deletes_nothing() {
    let (_dir, _db, s) = skills();
    s.put(&OP, described("x", "momentum", &[])).unwrap();
    s.put(&OP, described("x", "reversion", &["tag"])).unwrap();
    let back = s.rollback(&OP, "x", &v("0.1.0")).unwrap();
    assert!(back.current);
    assert_eq!(s.get(&OP, "x", None).unwrap().description, "momentum");
    let search =
        |t: &str| s.search(&OP, &SkillQuery { text: t.into(), ..SkillQuery::default() }).unwrap().hits.len();
    assert_eq!((search("momentum"), search("reversion")), (1, 0), "discovery follows the current version");
    assert_eq!(
        s.list(&OP, &SkillFilter { tag: Some("tag".into()), ..SkillFilter::default() }).unwrap().len(),
        0
    );
    assert_eq!(s.rollback(&OP, "x", &v("9.9.9")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(s.versions(&OP, "x").unwrap().len(), 2);
}

fn library() -> (tempfile::TempDir, Arc<Database>, Skills) {
    let (dir, db, s) = skills();
    for (name, description, tags) in [
        ("pullback", "Buys the dip in an uptrend after a pullback to its mean", &["entry", "trend"][..]),
        ("breakout", "Momentum breakout above the highest high of twenty bars", &["entry", "momentum"]),
        ("sizer", "Sizes positions by volatility", &["risk"]),
        ("pairs", "Trades the spread of two cointegrated stocks", &["arbitrage"]),
    ] {
        s.put(&OP, described(name, description, tags)).unwrap();
    }
    (dir, db, s)
}

fn names(s: &Skills, text: &str) -> Vec<String> {
    s.search(&OP, &SkillQuery { text: text.into(), ..SkillQuery::default() })
        .unwrap()
        .hits
        .into_iter()
        .map(|h| h.name)
        .collect()
}

#[test]
fn discovery_stems_completes_and_forgives() {
    let (_dir, _db, s) = library();
    assert_eq!(names(&s, "buying dips")[0], "pullback");
    assert_eq!(names(&s, "position sizing")[0], "sizer");
    assert_eq!(names(&s, "cointeg"), ["pairs"], "a word still being typed");
    assert_eq!(names(&s, "momentm brekout")[0], "breakout", "misspelt");
    assert_eq!(names(&s, "volatlity")[0], "sizer");
    assert!(names(&s, "zebra").is_empty());
}

#[test]
fn a_question_is_never_syntax() {
    let (_dir, _db, s) = library();
    for text in [
        "dip AND NOT uptrend",
        "\"dip",
        "dip*",
        "name:dip",
        "dip) OR (x",
        "NEAR(dip uptrend)",
        "dip'; DROP TABLE skills; --",
        "^dip",
        "{dip}",
    ] {
        assert_eq!(names(&s, text)[0], "pullback", "{text}");
    }
    for text in ["", "   ", "!!!", "\"\"", "🙂"] {
        assert_eq!(
            s.search(&OP, &SkillQuery { text: text.into(), ..SkillQuery::default() }).unwrap_err().kind(),
            Kind::Invalid,
            "{text}"
        );
    }
    assert_eq!(s.get(&OP, "pullback", None).unwrap().name, "pullback");
}

#[test]
fn filters_performance_and_order() {
    let (_dir, _db, s) = library();
    let by_tag = SkillQuery { text: "the".into(), tags: vec!["momentum".into()], ..SkillQuery::default() };
    assert_eq!(s.search(&OP, &by_tag).unwrap().hits.len(), 1);
    for name in ["twin-a", "twin-b"] {
        s.put(&OP, described(name, "gamma scalping of options", &[])).unwrap();
    }
    assert_eq!(names(&s, "gamma scalping"), ["twin-a", "twin-b"], "equal scores are ordered by name");
    let good = Performance {
        period_start: 0,
        period_end: 1,
        returns: 0.1,
        sharpe: 2.0,
        win_rate: 0.6,
        max_drawdown: 0.1,
        samples: 200,
    };
    s.record_performance(&OP, "twin-b", &v("0.1.0"), &good).unwrap();
    assert_eq!(names(&s, "gamma scalping"), ["twin-b", "twin-a"], "what is proven comes first");
    assert_eq!(s.performance(&OP, "twin-b").unwrap()[0].performance, good);
    let hit = &s.search(&OP, &SkillQuery { text: "gamma".into(), ..SkillQuery::default() }).unwrap().hits[0];
    let parts = hit.parts.text + hit.parts.typo + hit.parts.tag + hit.parts.performance;
    assert!((parts - hit.score).abs() < 1e-12);
    for bad in [
        Performance { win_rate: 1.1, ..good.clone() },
        Performance { sharpe: f64::NAN, ..good.clone() },
        Performance { period_end: 0, ..good.clone() },
        Performance { samples: 0, ..good.clone() },
    ] {
        assert_eq!(s.record_performance(&OP, "twin-b", &v("0.1.0"), &bad).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn every_part_has_a_bound() {
    let (_dir, _db, s) = skills();
    use super::types::*;
    let ok = |n: NewVersion| s.put(&OP, n).map(|_| ()).map_err(|e| e.kind());
    for name in [
        "",
        "-a",
        "A",
        "a b",
        "a/b",
        "../a",
        "Ä",
        "a\0",
        "a\u{308}",
        "🙂",
        "\u{300}a",
        "a\u{200b}",
        &"a".repeat(NAME_BYTES_MAX + 1),
        &"ä".repeat(NAME_BYTES_MAX / 2 + 1),
    ] {
        assert_eq!(ok(new(name, "x")), Err(Kind::Invalid), "{name:?}");
    }
    assert_eq!(ok(new(&"a".repeat(NAME_BYTES_MAX), "x")), Ok(()));
    for name in [
        "ä-größe",
        "均值回归",
        "возврат_к_среднему",
        "עסקה",
        "औसत-वापसी",
        "平均回帰",
        "2σ",
        &"ä".repeat(NAME_BYTES_MAX / 2),
    ] {
        assert_eq!(ok(new(name, "x")), Ok(()), "{name:?}");
    }
    assert_eq!(ok(new("c", &"x".repeat(CODE_BYTES_MAX))), Ok(()));
    assert_eq!(ok(new("c", &"x".repeat(CODE_BYTES_MAX + 1))), Err(Kind::Limit));
    assert_eq!(ok(new("c", "")), Err(Kind::Invalid));
    assert_eq!(ok(described("d", &"x".repeat(DESCRIPTION_BYTES_MAX), &[])), Ok(()));
    assert_eq!(ok(described("d", &"x".repeat(DESCRIPTION_BYTES_MAX + 1), &[])), Err(Kind::Limit));
    let tags = |n: usize| NewVersion { tags: (0..n).map(|i| format!("t{i}")).collect(), ..new("t", "x") };
    assert_eq!((ok(tags(TAGS_MAX)), ok(tags(TAGS_MAX + 1))), (Ok(()), Err(Kind::Limit)));
    assert_eq!(ok(described("t2", "", &["two words"])), Err(Kind::Invalid));
    assert_eq!(ok(NewVersion { metadata: json!([1]), ..new("m", "x") }), Err(Kind::Invalid));
    let question = |n: usize| {
        s.search(&OP, &SkillQuery { text: "a".repeat(n), ..SkillQuery::default() })
            .map(|_| ())
            .map_err(|e| e.kind())
    };
    assert_eq!((question(4 << 10), question((4 << 10) + 1)), (Ok(()), Err(Kind::Limit)));
}

#[test]
fn callers_see_what_they_may() {
    let (_dir, _db, s) = library();
    let plugin = |skills_read| Caller::Plugin {
        name: "p".into(),
        grants: Arc::new(Grants { skills_read, ..Grants::default() }),
    };
    assert!(s.get(&plugin(true), "pullback", None).is_ok());
    assert_eq!(s.get(&plugin(false), "pullback", None).unwrap_err().kind(), Kind::Denied);
    assert_eq!(s.put(&plugin(true), new("x", "y")).unwrap_err().kind(), Kind::Denied);
    s.record_use(&OP, "pullback").unwrap();
    assert_eq!(
        s.list(&OP, &SkillFilter::default()).unwrap().iter().find(|x| x.name == "pullback").unwrap().uses,
        1
    );
}

/// No statement of the nouns reads a whole table that grows.
#[test]
fn no_query_scans_a_table() {
    let (_dir, db, _s) = library();
    for sql in [
        "SELECT v.version FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name = 'x'",
        "SELECT v.version, v.hash FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = 'x'",
        "SELECT s.name FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name > 'a' ORDER BY s.name LIMIT 10",
        "SELECT s.name FROM skills s WHERE s.id IN (SELECT skill_id FROM skill_tags WHERE tag = 't') AND s.name > '' ORDER BY s.name",
        "SELECT sharpe FROM skill_performance WHERE version_id = 1 ORDER BY period_end DESC LIMIT 1",
        "SELECT name FROM skill_documents WHERE skill_id > 1 AND skill_id <= 2 ORDER BY skill_id LIMIT 10",
        "SELECT p.sharpe FROM skill_documents d JOIN skill_performance p ON p.version_id = d.version_id
         WHERE d.skill_id > 1 AND d.skill_id <= 2 ORDER BY d.skill_id, p.period_end, p.id",
        "SELECT terms FROM skill_index WHERE skill_id > 1 AND skill_id <= 2 AND error IS NULL ORDER BY skill_id, plugin",
        "SELECT d.name FROM skill_versions v JOIN skill_documents d ON d.skill_id = v.skill_id WHERE v.id = 1",
        "SELECT s.id FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.id > 1 ORDER BY s.id LIMIT 10",
        "SELECT value FROM setting_revisions WHERE namespace = 'a' AND key = 'b' ORDER BY revision DESC LIMIT 1",
        "SELECT seq FROM audit WHERE object >= 'a' AND object < 'b' ORDER BY seq DESC LIMIT 10",
        "SELECT id FROM tokens WHERE hash = x'00'",
        "SELECT id FROM plugin_runs WHERE plugin = 'p' ORDER BY id DESC LIMIT 10",
        "SELECT path FROM file_versions WHERE store = 's' AND path >= 'a' AND path < 'b' ORDER BY path",
        "SELECT 1 FROM file_versions WHERE store = 's' AND hash = 'h'",
    ] {
        let plan: Vec<String> = db
            .read(|c| {
                let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let rows = statement.query_map([], |r| r.get(3))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .unwrap();
        let scans = plan.iter().any(|step| {
            step.starts_with("SCAN")
                && !step.contains("USING INDEX")
                && !step.contains("USING COVERING INDEX")
        });
        assert!(!scans, "{sql}: {plan:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// Whatever is put and rolled back, `get` gives what a simple model says.
    #[test]
    fn get_agrees_with_a_model(steps in proptest::collection::vec((0u8..3, 0u8..4), 1..30)) {
        let (_dir, db, s) = skills();
        let mut versions: Vec<(Version, String)> = Vec::new();
        let mut current: Option<usize> = None;
        for (step, n) in steps {
            if step < 2 {
                let code = format!("code {n}");
                let put = s.put(&OP, new("m", &code)).unwrap();
                let newest = versions.iter().enumerate().max_by(|a, b| a.1.0.cmp(&b.1.0)).map(|(i, _)| i);
                match newest {
                    Some(i) if versions[i].1 == code => assert_eq!(put.version, versions[i].0),
                    _ => {
                        versions.push((put.version, code));
                        current = Some(versions.len() - 1);
                    }
                }
            } else if let Some(i) = versions.len().checked_sub(1).map(|last| usize::from(n).min(last)) {
                s.rollback(&OP, "m", &versions[i].0.clone()).unwrap();
                current = Some(i);
            }
            if let Some(i) = current {
                let got = s.get(&OP, "m", None).unwrap();
                assert_eq!((&got.version, &got.code), (&versions[i].0, &versions[i].1));
            }
        }
        assert_eq!(Audit::new(db).verify(&OP).unwrap().broken, None);
    }
}
