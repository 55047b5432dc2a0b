//! One answer from all that is known; an index that follows; a rebuild that mends.

use super::super::*;
use super::{OP, described, library, names, new, skills, v};
use crate::error::Kind;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn asked(text: &str) -> SkillQuery {
    SkillQuery { text: text.into(), ..SkillQuery::default() }
}

fn ask(s: &Skills, query: &SkillQuery) -> Vec<String> {
    s.search(&OP, query).unwrap().hits.into_iter().map(|h| h.name).collect()
}

#[test]
fn what_was_read_otherwise_is_said() {
    let (_dir, _db, s) = library();
    let answer = s.search(&OP, &asked("momentm pullbck")).unwrap();
    let read: Vec<(&str, Vec<&str>)> = answer
        .read_as
        .iter()
        .map(|r| (r.word.as_str(), r.also.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(read, [("momentm", vec!["momentum"]), ("pullbck", vec!["pullback"])]);
    assert!(answer.hits.iter().all(|h| h.parts.typo > 0.0 && h.parts.text == 0.0), "{answer:?}");
    let answer = s.search(&OP, &asked("vol*")).unwrap();
    assert_eq!(
        (answer.read_as[0].also.as_slice(), answer.hits[0].name.as_str()),
        (&["volatility".to_string()][..], "sizer")
    );
    let answer = s.search(&OP, &asked("cointegrated stocks")).unwrap();
    assert!(answer.read_as.is_empty() && answer.total == 1);
    assert!(ask(&s, &asked("qqqqqqq")).is_empty(), "no word is near");
}

#[test]
fn a_phrase_stands_so() {
    let (_dir, _db, s) = library();
    assert_eq!(ask(&s, &asked("\"highest high\"")), ["breakout"]);
    assert_eq!(ask(&s, &asked("\"buying the dips\"")), ["pullback"], "stems");
    assert!(ask(&s, &asked("\"high highest\"")).is_empty());
    assert!(ask(&s, &asked("\"unknown words\" dip")).is_empty());
    // Not over the end of a text: `pairs` is the name, `Trades` begins the description.
    assert!(ask(&s, &asked("\"pairs trades\"")).is_empty());
    assert_eq!(
        ask(&s, &asked("\"highest high dip")),
        ["breakout", "pullback"],
        "a quote that nothing closes is text"
    );
}

#[test]
fn filters_and_counts() {
    let (_dir, _db, s) = library();
    let good = Performance {
        period_start: 0,
        period_end: 1,
        returns: 0.1,
        sharpe: 2.0,
        win_rate: 0.6,
        max_drawdown: 0.1,
        samples: 200,
    };
    s.record_performance(&OP, "breakout", &v("0.1.0"), &good).unwrap();
    let all = SkillQuery { facets: true, ..asked("uptrend momentum volatility stocks") };
    let answer = s.search(&OP, &all).unwrap();
    assert_eq!(answer.total, 4);
    let facets = answer.facets.unwrap();
    let tags: Vec<(&str, u64)> = facets.tags.values.iter().map(|f| (f.value.as_str(), f.count)).collect();
    assert_eq!(tags, [("entry", 2), ("arbitrage", 1), ("momentum", 1), ("risk", 1), ("trend", 1)]);
    let proof: Vec<(&str, u64)> = facets.proof.values.iter().map(|f| (f.value.as_str(), f.count)).collect();
    assert_eq!((proof, facets.tags.more), (vec![("unproven", 3), ("proven", 1)], 0));
    let with = |change: &dyn Fn(&mut SkillQuery)| {
        let mut query = asked("uptrend momentum volatility stocks");
        change(&mut query);
        let mut found = ask(&s, &query);
        found.sort();
        found
    };
    assert_eq!(with(&|q| q.tags = vec!["entry".into()]), ["breakout", "pullback"]);
    assert_eq!(with(&|q| q.tags = vec!["entry".into(), "trend".into()]), ["pullback"]);
    assert_eq!(with(&|q| q.tags = vec!["nobody".into()]), [""; 0]);
    assert_eq!(with(&|q| q.without = vec!["entry".into(), "nobody".into()]), ["pairs", "sizer"]);
    assert_eq!(with(&|q| q.proof = Some(Proof::Proven)), ["breakout"]);
    assert_eq!(with(&|q| q.proof = Some(Proof::Unproven)).len(), 3);
    assert_eq!(with(&|q| q.language = Some("rust".into())), [""; 0]);
    assert_eq!(with(&|q| q.by = Some(OP.actor())).len(), 4);
    assert_eq!(with(&|q| q.limit = 2).len(), 2);
    let kind = |query: &SkillQuery| s.search(&OP, query).map(|_| ()).map_err(|e| e.kind());
    for (tags, want) in [(64, Ok(())), (65, Err(Kind::Limit))] {
        let tags: Vec<String> = (0..tags).map(|i| i.to_string()).collect();
        assert_eq!(kind(&SkillQuery { tags: tags.clone(), ..asked("dip") }), want);
        assert_eq!(kind(&SkillQuery { without: tags, ..asked("dip") }), want);
    }
    for (limit, want) in [(1_000, Ok(())), (1_001, Err(Kind::Limit))] {
        assert_eq!(kind(&SkillQuery { limit, ..asked("dip") }), want);
    }
}

#[test]
fn what_is_retired_is_found_only_where_it_is_asked_for() {
    let (_dir, _db, s) = library();
    s.warm().unwrap();
    let query = |status: &[Status]| SkillQuery {
        status: status.iter().copied().collect(),
        facets: true,
        ..asked("uptrend momentum volatility stocks")
    };
    let found = |status: &[Status]| {
        let answer = s.search(&OP, &query(status)).unwrap();
        assert_eq!(answer.total, answer.hits.len() as u64);
        let mut found: Vec<_> = answer.hits.into_iter().map(|h| (h.name, h.status)).collect();
        found.sort();
        let names = found.into_iter().map(|(name, status)| format!("{name} {status}")).collect::<Vec<_>>();
        let counts = answer.facets.unwrap().statuses.values.into_iter();
        let counts = counts.map(|f| format!("{} {}", f.count, f.value)).collect::<Vec<_>>();
        (names.join(", "), counts.join(", "), answer.retired_left_out)
    };
    let want = |names: &str, counts: &str, left_out| (names.to_string(), counts.to_string(), left_out);
    let all = "breakout active, pairs active, pullback active, sizer active";
    assert_eq!(found(&[]), want(all, "4 active", 0));
    let scores = |status: &[Status]| {
        let hits = s.search(&OP, &query(status)).unwrap().hits;
        hits.into_iter().map(|h| (h.name, h.score)).collect::<Vec<_>>()
    };
    let before = scores(&[]);
    s.set_status(&OP, "pairs", None, Status::Retired, Some("decayed")).unwrap();
    s.set_status(&OP, "sizer", None, Status::Draft, None).unwrap();
    assert_eq!(found(&[]), want("breakout active, pullback active, sizer draft", "2 active, 1 draft", 1));
    assert_eq!(found(&[Status::Active]), want("breakout active, pullback active", "2 active", 1));
    assert_eq!(found(&[Status::Retired]), want("pairs retired", "1 retired", 0));
    assert_eq!(found(&[Status::Draft, Status::Retired]).0, "pairs retired, sizer draft");
    assert_eq!(scores(&Status::ALL), before, "a status changes no score");
    // What other filters leave out is not said to be left out for its status.
    let entries = SkillQuery { tags: vec!["entry".into()], ..query(&[]) };
    let answer = s.search(&OP, &entries).unwrap();
    assert_eq!((answer.total, answer.retired_left_out), (2, 0));
    // Of several versions the current one counts.
    s.put(&OP, NewVersion { code: "y".into(), ..described("pairs", "Trades stocks", &[]) }).unwrap();
    assert_eq!(found(&[Status::Active]).0, "breakout active, pairs active, pullback active");
    s.rollback(&OP, "pairs", &v("0.1.0")).unwrap();
    assert_eq!(found(&[]).2, 1);
    s.set_status(&OP, "pairs", Some(&v("0.1.1")), Status::Draft, None).unwrap();
    assert_eq!(found(&[]).2, 1);
    s.set_status(&OP, "pairs", None, Status::Active, None).unwrap();
    assert_eq!(scores(&[]), before);
}

#[test]
fn facets_say_how_many_values_they_leave_out() {
    let (_dir, _db, s) = skills();
    let tags: Vec<String> = (0..64).map(|i| format!("t{i:02}")).collect();
    s.put(&OP, described("s", "dip", &tags.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    let facets = s.search(&OP, &SkillQuery { facets: true, ..asked("dip") }).unwrap().facets.unwrap();
    assert_eq!((facets.tags.values.len(), facets.tags.more), (50, 14));
}

#[test]
fn reasons_add_up_to_the_parts() {
    let (_dir, _db, s) = library();
    let good = Performance {
        period_start: 0,
        period_end: 1,
        returns: 0.1,
        sharpe: 2.0,
        win_rate: 0.6,
        max_drawdown: 0.1,
        samples: 200,
    };
    s.record_performance(&OP, "breakout", &v("0.1.0"), &good).unwrap();
    let answer = s
        .search(&OP, &SkillQuery { explain: true, ..asked("momentum brekout of the highest entry") })
        .unwrap();
    let hit = &answer.hits[0];
    assert_eq!(hit.name, "breakout");
    let sum = |part: &str| hit.reasons.iter().filter(|r| r.part == part).map(|r| r.score).sum::<f64>();
    let parts = hit.parts;
    for (name, want) in
        [("text", parts.text), ("typo", parts.typo), ("tag", parts.tag), ("performance", parts.performance)]
    {
        assert!(want > 0.0 && (sum(name) - want).abs() < 1e-5, "{name}: {} of {want}: {hit:?}", sum(name));
    }
    let all = parts.text + parts.typo + parts.term + parts.vector + parts.tag + parts.performance;
    assert!((all - hit.score).abs() < 1e-12);
    assert!(s.search(&OP, &asked("momentum")).unwrap().hits[0].reasons.is_empty(), "only when asked");
}

#[test]
fn words_in_every_script_are_found() {
    let (_dir, _db, s) = skills();
    for (name, description) in [
        ("均值回归", "价格偏离移动平均线后回归时买入"),
        ("возврат", "Покупает после отката к средней"),
        ("größe", "Bestimmt die Größe der Position"),
        ("平均回帰", "移動平均からの乖離を売買する"),
        ("회귀", "가격이 평균으로 돌아갈 때 매수"),
        ("औसत", "औसत पर वापसी"),
    ] {
        s.put(&OP, described(name, description, &[])).unwrap();
        assert_eq!(s.get(&OP, name, None).unwrap().name, name);
        assert_eq!(ask(&s, &asked(name))[0], name);
    }
    for (text, want) in [
        ("移动平均", "均值回归"),
        ("откат*", "возврат"),
        ("GROSSE grosse Größe", "größe"),
        ("乖離", "平均回帰"),
        ("\"移动平均\"", "均值回归"),
        ("평균", "회귀"),
        ("वापसी", "औसत"),
    ] {
        assert_eq!(ask(&s, &asked(text))[0], want, "{text}");
    }
}

#[test]
fn who_stored_a_skill_finds_it_while_others_ask() {
    let (_dir, _db, s) = library();
    let (s, end) = (Arc::new(s), Arc::new(AtomicBool::new(false)));
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let (s, end) = (s.clone(), end.clone());
            std::thread::spawn(move || {
                let mut asked_for = 0;
                while !end.load(Ordering::Relaxed) || asked_for == 0 {
                    assert!(names(&s, "dip uptrend").contains(&"pullback".into()));
                    asked_for += 1;
                }
            })
        })
        .collect();
    let writing: Vec<_> = (0..3)
        .map(|w| {
            let s = s.clone();
            std::thread::spawn(move || {
                for i in 0..30 {
                    let (name, word) = (format!("s{w}"), format!("word{w}x{i}"));
                    s.put(&OP, NewVersion { code: word.clone(), ..described(&name, &word, &[]) }).unwrap();
                    assert_eq!(names(&s, &word), [name]);
                    if i % 10 == 0 {
                        // The index is made again in the midst of it.
                        s.set_indexers(Vec::new());
                        s.rebuild(&OP, &mut |_| true).unwrap();
                    }
                }
            })
        })
        .collect();
    writing.into_iter().for_each(|t| t.join().unwrap());
    end.store(true, Ordering::Relaxed);
    asking.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn what_a_commit_noted_is_read_by_the_next_question() {
    let (_dir, db, s) = library();
    assert!(names(&s, "zorble").is_empty(), "makes the index");
    let late = described("late", "zorble", &[]);
    let said = s.prepare(&OP, &late).unwrap();
    let (_, skill) = db.write(|tx| Skills::put_in(tx, &OP, &late, &said)).unwrap();
    assert!(names(&s, "zorble").is_empty(), "nobody said that it changed");
    s.touched(skill);
    assert_eq!(names(&s, "zorble"), ["late"]);
}

/// A gate that refuses everybody while it is shut.
struct Shut(Arc<AtomicBool>);

impl crate::sqlite::ReadGate for Shut {
    fn pass(&self) -> crate::Result<()> {
        match self.is_open() {
            true => Ok(()),
            false => Err(crate::Error::new(Kind::Busy, "no reader comes in")),
        }
    }

    fn is_open(&self) -> bool {
        !self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_write_that_could_not_be_followed_is_read_by_the_next_question() {
    let (_dir, db, s) = library();
    s.warm().unwrap();
    let shut = Arc::new(AtomicBool::new(true));
    let at = shut.clone();
    db.set_gate(Arc::new(Shut(at)));
    s.put(&OP, described("late", "zorble", &[])).unwrap();
    let refused = s.search(&OP, &asked("zorble")).unwrap_err();
    assert_eq!(refused.kind(), Kind::Busy, "rather than an answer without it");
    shut.store(false, Ordering::SeqCst);
    assert_eq!(names(&s, "zorble"), ["late"]);
}

#[test]
fn a_rebuild_mends_what_somebody_damaged_and_may_end_anywhere() {
    let (_dir, db, s) = library();
    for i in 0..1_500 {
        db.write(|tx| {
            tx.execute("INSERT INTO skills(id, name, current_id, created_at) VALUES (?1, ?2, ?1, 0)", (100 + i, format!("s{i}")))?;
            Ok(tx.execute(
                "INSERT INTO skill_versions(id, skill_id, version, hash, language, code, description, tags, metadata, depends, created_at, created_by)
                 VALUES (?1, ?1, '0.1.0', ?2, 'python', 'x', 'grows', '[\"grown\"]', '{}', '{}', 0, 'x')",
                (100 + i, format!("{i:064}")),
            )?)
        })
        .unwrap();
    }
    let before = ask(&s, &asked("dip uptrend"));
    db.write(|tx| {
        tx.execute_batch(
            "UPDATE skill_documents SET description = 'nothing', version_id = 1; DELETE FROM skill_tags;",
        )?;
        Ok(())
    })
    .unwrap();
    let mut seen = Vec::new();
    s.rebuild(&OP, &mut |n| {
        seen.push(n);
        false
    })
    .unwrap();
    assert_eq!(seen, [1_000], "ended after its first page");
    assert_eq!(ask(&s, &asked("dip uptrend")), before, "what was done holds");
    assert_eq!(s.rebuild(&OP, &mut |_| true).unwrap(), 1_504);
    assert_eq!(s.rebuild(&OP, &mut |_| true).unwrap(), 1_504, "twice does no harm");
    assert_eq!(s.search(&OP, &asked("grows")).unwrap().total, 1_500);
    let grown = SkillFilter { tag: Some("grown".into()), limit: Some(2_000), ..SkillFilter::default() };
    assert_eq!(s.list(&OP, &grown).unwrap().len(), 1_500);
    assert_eq!(s.get(&OP, "s7", None).unwrap().description, "grows");
}

#[test]
fn a_library_of_before_is_found_after_the_migration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let old: Vec<_> = crate::schema::MIGRATIONS.iter().filter(|m| m.number <= 8).copied().collect();
    let db = crate::sqlite::Database::open(&path, crate::sqlite::Options::default(), &old).unwrap();
    db.write(|tx| {
        Ok(tx.execute_batch(
            "INSERT INTO skills(id, name, current_id, created_at) VALUES (1, 'old', 2, 0), (2, 'empty', NULL, 0);
             INSERT INTO skill_versions(id, skill_id, version, hash, language, code, description, tags, metadata, depends, created_at, created_by)
             SELECT value, 1, '0.1.' || value, printf('%064d', value), 'python', 'x', 'retracement ' || value, '[\"t\"]', '{}', '{}', 0, 'x'
             FROM json_each('[1, 2, 3]');
             INSERT INTO skill_text(rowid, name, description, tags) VALUES (1, 'old', 'retracement', 't');",
        )?)
    })
    .unwrap();
    drop(db);
    let db = Arc::new(
        crate::sqlite::Database::open(&path, crate::sqlite::Options::default(), crate::schema::MIGRATIONS)
            .unwrap(),
    );
    let s = Skills::new(db, Arc::default());
    let hits = s.search(&OP, &asked("retracements")).unwrap().hits;
    assert_eq!((hits.len(), hits[0].description.as_str()), (1, "retracement 2"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// An index that followed every change answers as one that is made anew, to the last digit of each score.
    #[test]
    fn following_is_the_same_as_making_anew(steps in prop::collection::vec((0u8..5, 0usize..6, prop::collection::vec(0usize..12, 1..8)), 1..25)) {
        const WORDS: [&str; 12] = ["dip", "dips", "trend", "trending", "momentum", "moment", "gap", "range", "ranges", "mean", "means", "均值回归"];
        let (_dir, _db, s) = skills();
        s.warm().unwrap();
        for (step, name, words) in &steps {
            let text: Vec<&str> = words.iter().map(|w| WORDS[*w]).collect();
            let name = format!("s{name}");
            if *step == 0 {
                if let Ok(there) = s.versions(&OP, &name) {
                    s.rollback(&OP, &name, &there[words[0] % there.len()].version).unwrap();
                }
            } else if *step == 1 {
                if let Ok(there) = s.get(&OP, &name, None) {
                    let p = Performance { period_start: 0, period_end: 1, returns: 0.1, sharpe: words[0] as f64 / 4.0, win_rate: 0.6, max_drawdown: 0.1, samples: 20 };
                    s.record_performance(&OP, &name, &there.version, &p).unwrap();
                }
            } else if *step == 2 {
                if let Ok(there) = s.versions(&OP, &name) {
                    let version = &there[words[0] % there.len()].version;
                    s.set_status(&OP, &name, Some(version), Status::ALL[words.len() % 3], None).unwrap();
                }
            } else {
                let put = NewVersion { description: text.join(" "), tags: vec![text[0].into()], ..new(&name, &text.join("/")) };
                s.put(&OP, put).unwrap();
            }
        }
        let questions = WORDS.iter().map(|w| SkillQuery { facets: true, explain: true, ..asked(w) })
            .chain(["momentun gapp", "rang* mean", "\"dip trend\""].map(asked))
            .chain(WORDS.map(|w| SkillQuery { status: Status::ALL.into(), ..asked(w) }));
        let answers = |s: &Skills| questions.clone().map(|q| s.search(&OP, &q).unwrap()).collect::<Vec<_>>();
        let followed = answers(&s);
        s.rebuild(&OP, &mut |_| true).unwrap();
        prop_assert_eq!(followed, answers(&s));
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,80}|(dip|AND|OR|NOT|NEAR|\"|\\*|\\(|\\)|:|-| )*") {
        let (_dir, _db, s) = library();
        match s.search(&OP, &asked(&text)) {
            Ok(answer) => prop_assert!(answer.hits.len() as u64 <= answer.total),
            Err(e) => prop_assert!(matches!(e.kind(), Kind::Invalid | Kind::Limit), "{e:?}"),
        }
    }
}
