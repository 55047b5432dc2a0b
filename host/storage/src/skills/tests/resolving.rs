//! One version of each skill that is needed, and why it is that one.

use super::*;
use crate::skills::resolve::PASSED_OVER_MAX;

fn versioned(s: &Skills, name: &str, version: &str, depends: &[(&str, &str)]) {
    s.put(&OP, NewVersion { version: Some(v(version)), code: version.into(), ..needs(name, depends) })
        .unwrap();
}

/// `name@version` in the order to load them.
fn resolved(s: &Skills, name: &str) -> Vec<String> {
    s.resolve(&OP, name, None).unwrap().iter().map(|r| format!("{}@{}", r.name, r.version)).collect()
}

fn one<'r>(all: &'r [Resolved], name: &str) -> &'r Resolved {
    all.iter().find(|r| r.name == name).unwrap()
}

#[test]
fn dependencies_must_exist_and_must_not_circle() {
    let (_dir, _db, s) = skills();
    assert_eq!(s.put(&OP, needs("a", &[("gone", "*")])).unwrap_err().kind(), Kind::NotFound);
    s.put(&OP, new("c", "1")).unwrap();
    s.put(&OP, needs("b", &[("c", "^0.1")])).unwrap();
    s.put(&OP, needs("a", &[("b", "*"), ("c", ">=0.1.0")])).unwrap();
    let circle = s.put(&OP, needs("c", &[("a", "*")])).unwrap_err();
    assert!(circle.message().contains("c → a → c"), "{circle:?}");
    assert!(s.put(&OP, needs("c", &[("c", "*")])).is_err());
    let short = s.put(&OP, needs("d", &[("c", "^9")])).unwrap_err();
    assert!(short.message().contains("newest is 0.1.0"), "{short:?}");
}

#[test]
fn resolution_takes_the_highest_that_fits_deepest_first() {
    let (_dir, _db, s) = skills();
    for (version, code) in [("1.0.0", "1"), ("1.2.0", "2"), ("2.0.0", "3")] {
        s.put(&OP, NewVersion { version: Some(v(version)), ..new("base", code) }).unwrap();
    }
    s.put(&OP, needs("mid", &[("base", "^1")])).unwrap();
    s.put(&OP, needs("top", &[("mid", "*"), ("base", "1.2")])).unwrap();
    let order: Vec<String> =
        s.resolve(&OP, "top", None).unwrap().iter().map(|r| format!("{}@{}", r.name, r.version)).collect();
    assert_eq!(order, ["base@1.2.0", "mid@0.1.0", "top@0.1.0"]);
    let conflict = s.put(&OP, needs("torn", &[("base", "^2"), ("mid", "*")])).unwrap_err();
    assert_eq!(conflict.kind(), Kind::Conflict);
    assert!(conflict.message().contains("`mid` 0.1.0 needs `base` ^1"), "{conflict:?}");
    assert!(conflict.message().contains("`torn` needs `base` ^2"), "{conflict:?}");
}

#[test]
fn what_can_be_met_is_met() {
    let (_dir, _db, s) = skills();
    for version in ["1.0.0", "1.2.0", "2.0.0"] {
        versioned(&s, "base", version, &[]);
    }
    versioned(&s, "mid", "0.1.0", &[("base", "^1")]);
    // `base` is needed first, and its highest version does not suit `mid`.
    versioned(&s, "top", "0.1.0", &[("base", "*"), ("mid", "*")]);
    let all = s.resolve(&OP, "top", None).unwrap();
    assert_eq!(resolved(&s, "top"), ["base@1.2.0", "mid@0.1.0", "top@0.1.0"]);
    let base = one(&all, "base");
    let by: Vec<String> = base.required_by.iter().map(|r| format!("{} {}", r.by, r.range)).collect();
    assert_eq!(by, ["top@0.1.0 *", "mid@0.1.0 ^1"]);
    assert_eq!(base.passed_over.len(), 1);
    assert_eq!(
        (&base.passed_over[0].version, base.passed_over[0].because.as_str()),
        (&v("2.0.0"), "`mid@0.1.0` needs ^1")
    );
    assert!(base.why.contains("of the 2 versions") && base.why.contains("highest active"), "{}", base.why);
    assert_eq!(
        (one(&all, "top").why.as_str(), one(&all, "top").required_by.len()),
        ("it is the current version", 0)
    );
    // Where the newest version of `x` needs what cannot be had beside `mid`, an older one will do.
    versioned(&s, "x", "1.0.0", &[]);
    versioned(&s, "x", "1.1.0", &[("base", "^2")]);
    versioned(&s, "y", "0.1.0", &[("mid", "*"), ("x", "^1")]);
    let all = s.resolve(&OP, "y", None).unwrap();
    assert_eq!(resolved(&s, "y"), ["base@1.2.0", "mid@0.1.0", "x@1.0.0", "y@0.1.0"]);
    assert_eq!(one(&all, "x").passed_over[0].because, "it needs `base` ^2, and 1.2.0 is chosen");
    assert_eq!(one(&all, "mid").why, "the only version within * of y@0.1.0");
}

#[test]
fn a_version_that_is_asked_for_is_resolved() {
    let (_dir, _db, s) = skills();
    versioned(&s, "base", "1.0.0", &[]);
    versioned(&s, "top", "1.0.0", &[("base", "*")]);
    versioned(&s, "top", "2.0.0", &[]);
    assert_eq!(resolved(&s, "top"), ["top@2.0.0"]);
    let old = s.resolve(&OP, "top", Some(&v("1.0.0"))).unwrap();
    assert_eq!((old.len(), old[1].why.as_str()), (2, "it was asked for"));
    assert_eq!(s.resolve(&OP, "top", Some(&v("3.0.0"))).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(s.resolve(&OP, "none", None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn drafts_and_retired_versions_are_the_last_resort() {
    let (_dir, _db, s) = skills();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        versioned(&s, "base", version, &[]);
    }
    versioned(&s, "top", "0.1.0", &[("base", "^1")]);
    let set = |version: &str, status| s.set_status(&OP, "base", Some(&v(version)), status, None).unwrap();
    set("1.2.0", Status::Draft);
    let all = s.resolve(&OP, "top", None).unwrap();
    assert_eq!(one(&all, "base").version, v("1.1.0"));
    assert_eq!(one(&all, "base").passed_over[0].because, "it is draft");
    set("1.1.0", Status::Retired);
    assert_eq!(resolved(&s, "top"), ["base@1.0.0", "top@0.1.0"]);
    set("1.0.0", Status::Retired);
    let all = s.resolve(&OP, "top", None).unwrap();
    assert_eq!((&one(&all, "base").version, one(&all, "base").status), (&v("1.2.0"), Status::Draft));
    assert!(one(&all, "base").why.contains("no active one will do"), "{}", one(&all, "base").why);
    set("1.2.0", Status::Retired);
    assert_eq!(resolved(&s, "top"), ["base@1.2.0", "top@0.1.0"], "the highest of the retired ones");
}

#[test]
fn conflicts_name_both_who_need() {
    let (_dir, _db, s) = skills();
    for version in ["1.0.0", "2.0.0"] {
        versioned(&s, "base", version, &[]);
        // Ten that have nothing to do with it, with many versions each: they are not tried in all combinations.
        for i in 0..10 {
            versioned(&s, &format!("c{i}"), version, &[]);
            versioned(&s, &format!("c{i}"), &version.replace(".0.0", ".1.0"), &[]);
        }
    }
    versioned(&s, "a", "1.0.0", &[("base", "^1")]);
    versioned(&s, "z", "1.0.0", &[("base", "^2")]);
    let between: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    let mut depends: Vec<(&str, &str)> = between.iter().map(|n| (n.as_str(), "*")).collect();
    depends.extend([("a", "*"), ("z", "*")]);
    let torn = s.put(&OP, needs("torn", &depends)).unwrap_err();
    assert_eq!(torn.kind(), Kind::Conflict);
    for part in ["`z` 1.0.0 needs `base` ^2", "`a` 1.0.0 needs `base` ^1"] {
        assert!(torn.message().contains(part), "{torn:?}");
    }
    // Both ranges come before anything is chosen of it.
    versioned(&s, "p", "1.0.0", &[]);
    let apart = s.put(&OP, needs("q", &[("base", "=1.0.0, >1")])).unwrap_err();
    assert_eq!(apart.kind(), Kind::NotFound, "{apart:?}");
    assert!(apart.message().contains("the newest is 2.0.0"), "{apart:?}");
}

#[test]
fn a_circle_is_avoided_where_another_version_will_do() {
    let (_dir, _db, s) = skills();
    versioned(&s, "b", "1.0.0", &[]);
    versioned(&s, "a", "1.0.0", &[]);
    versioned(&s, "b", "2.0.0", &[("a", "^1")]);
    // `b` 2.0.0 would lead back to `a`; 1.0.0 does not.
    versioned(&s, "a", "1.1.0", &[("b", "*")]);
    let all = s.resolve(&OP, "a", None).unwrap();
    assert_eq!(resolved(&s, "a"), ["b@1.0.0", "a@1.1.0"]);
    assert_eq!(one(&all, "b").passed_over[0].because, "it needs `a`, which all of this is for");
    let circle = s.put(&OP, needs("a", &[("b", "^2")])).unwrap_err();
    assert!(circle.message().contains("a → b → a"), "{circle:?}");
    // A circle that what is asked for is no part of: stored behind the back of `put`.
    let (_dir, db, s) = skills();
    for name in ["e", "f", "g"] {
        versioned(&s, name, "1.0.0", &[]);
    }
    depend_on(&db, "f", "2.0.0", r#"{"g":"*"}"#);
    depend_on(&db, "g", "2.0.0", r#"{"f":"*"}"#);
    versioned(&s, "e", "2.0.0", &[("f", "*")]);
    assert_eq!(resolved(&s, "e").len(), 3, "one of the two gives way");
    let circle = s.put(&OP, needs("e", &[("f", "^2"), ("g", "^2")])).unwrap_err();
    assert!(circle.message().contains("f → g → f"), "{circle:?}");
}

/// A version as a damaged or tampered database might have it.
fn depend_on(db: &Database, name: &str, version: &str, depends: &str) {
    db.write(|tx| {
        tx.execute("INSERT OR IGNORE INTO skills(name, created_at) VALUES (?1, 0)", [name])?;
        tx.execute(
            "INSERT INTO skill_versions(skill_id, version, hash, language, code, description, tags, metadata, depends, created_at, created_by)
             SELECT id, ?2, printf('%064d', id), 'x', 'x', '', '[]', '{}', ?3, 0, 'test' FROM skills WHERE name = ?1",
            (name, version, depends),
        )?;
        tx.execute("UPDATE skills SET current_id = ?2 WHERE name = ?1", (name, tx.last_insert_rowid()))?;
        Ok(())
    })
    .unwrap();
}

/// A chain of so many skills, `s0` at its end.
fn chain(db: &Database, n: usize) {
    for i in 0..n {
        let depends = if i == 0 { "{}".into() } else { format!(r#"{{"s{}":"*"}}"#, i - 1) };
        depend_on(db, &format!("s{i}"), "1.0.0", &depends);
    }
}

#[test]
fn a_chain_has_a_bound() {
    let (_dir, db, s) = skills();
    chain(&db, RESOLVED_MAX + 1);
    let at = |i: usize| s.resolve(&OP, &format!("s{i}"), None).map(|all| all.len());
    assert_eq!(at(RESOLVED_MAX - 1).unwrap(), RESOLVED_MAX);
    let long = at(RESOLVED_MAX).unwrap_err();
    assert_eq!(long.kind(), Kind::Limit);
    assert!(long.message().contains("1000 skills"), "{long:?}");
    // On top of a chain that is just not too long, and on one that is.
    assert!(s.put(&OP, needs("fits", &[(&format!("s{}", RESOLVED_MAX - 2), "*")])).is_ok());
    let long = s.put(&OP, needs("long", &[(&format!("s{}", RESOLVED_MAX - 1), "*")])).unwrap_err();
    assert_eq!(long.kind(), Kind::Limit);
}

#[test]
fn a_chain_of_ten_thousand_is_refused_by_name() {
    let (_dir, db, s) = skills();
    chain(&db, 10_000);
    let long = s.resolve(&OP, "s9999", None).unwrap_err();
    assert!(
        long.message().contains("the dependencies of `s9999`") && long.message().contains("1000 skills"),
        "{long:?}"
    );
    assert_eq!(s.put(&OP, needs("top", &[("s9999", "*")])).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn what_takes_too_many_steps_is_refused() {
    let (_dir, db, s) = skills();
    // Pigeons: each of ten needs a place of its own among nine, said in ranges.
    let (pigeons, places) = (10, 9);
    for place in 0..places {
        for pigeon in 0..pigeons {
            depend_on(&db, &format!("place{place}"), &format!("{}.0.0", pigeon + 1), "{}");
        }
    }
    for pigeon in 0..pigeons {
        for place in 0..places {
            let depends = format!(r#"{{"place{place}":"={}.0.0"}}"#, pigeon + 1);
            depend_on(&db, &format!("pigeon{pigeon}"), &format!("{}.0.0", place + 1), &depends);
        }
    }
    let all: Vec<String> = (0..pigeons).map(|p| format!("pigeon{p}")).collect();
    let depends: Vec<(&str, &str)> = all.iter().map(|p| (p.as_str(), "*")).collect();
    let refused = s.put(&OP, needs("loft", &depends)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Limit);
    assert!(refused.message().contains("1000000 steps"), "{refused:?}");
    assert!(s.put(&OP, needs("loft", &depends[..places])).is_ok(), "with a pigeon less there is room");
}

#[test]
fn what_was_passed_over_is_counted_where_it_is_not_shown() {
    let (_dir, _db, s) = skills();
    for minor in 0..PASSED_OVER_MAX + 4 {
        versioned(&s, "base", &format!("1.{minor}.0"), &[]);
    }
    versioned(&s, "top", "0.1.0", &[("base", "<1.2")]);
    let all = s.resolve(&OP, "top", None).unwrap();
    let base = one(&all, "base");
    assert_eq!(
        (base.version.clone(), base.passed_over.len(), base.passed_over_more),
        (v("1.1.0"), PASSED_OVER_MAX, 2)
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    /// What is chosen meets every range, and nothing is chosen only where no choice at all would do.
    #[test]
    fn the_solver_agrees_with_trying_everything(
        edges in proptest::collection::vec((0_usize..4, 0_usize..3, 0_usize..5, 0_usize..5), 0..14)
    ) {
        let (_dir, db, s) = skills();
        let ranges = ["*", "=1.0.0", "=2.0.0", ">=2.0.0", "<3.0.0"];
        // Version `major` of skill `i` needs later skills only.
        let mut needs_of = vec![vec![std::collections::BTreeMap::<usize, &str>::new(); 3]; 5];
        for (of, major, to, range) in edges {
            if to > of {
                needs_of[of][major].insert(to, ranges[range]);
            }
        }
        for (i, versions) in needs_of.iter().enumerate().rev() {
            for (major, needs) in versions.iter().enumerate() {
                let depends: std::collections::BTreeMap<String, &str> =
                    needs.iter().map(|(to, range)| (format!("k{to}"), *range)).collect();
                depend_on(&db, &format!("k{i}"), &format!("{}.0.0", major + 1), &json!(depends).to_string());
            }
        }
        // Every choice of versions of the five, the root at its highest.
        let fits = |chosen: &[usize; 5]| {
            let (mut open, mut seen) = (vec![0_usize], [false; 5]);
            while let Some(i) = open.pop() {
                if std::mem::replace(&mut seen[i], true) {
                    continue;
                }
                for (to, range) in &needs_of[i][chosen[i]] {
                    if !VersionReq::parse(range).unwrap().matches(&Version::new(chosen[*to] as u64 + 1, 0, 0)) {
                        return false;
                    }
                    open.push(*to);
                }
            }
            true
        };
        let any = (0..81).any(|n| fits(&[2, n % 3, n / 3 % 3, n / 9 % 3, n / 27]));
        match s.resolve(&OP, "k0", None) {
            Ok(all) => {
                let mut chosen = [0; 5];
                for r in &all {
                    chosen[r.name[1..].parse::<usize>().unwrap()] = r.version.major as usize - 1;
                }
                assert!(fits(&chosen), "{all:?}");
                for (at, r) in all.iter().enumerate() {
                    for by in &r.required_by {
                        assert!(all.iter().skip(at).any(|x| x.name == by.by.name), "each after what it needs: {all:?}");
                    }
                }
            }
            Err(e) => assert!(!any, "{e:?}"),
        }
    }
}
