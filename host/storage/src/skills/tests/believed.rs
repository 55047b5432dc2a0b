//! What was known at a time: which version was the current one, what it might be used for, and what it had achieved.

use super::super::types::PAGE_MAX;
use super::*;

const DAY: i64 = 86_400 * 1_000_000_000;

fn record(start: i64, end: i64, sharpe: f64, samples: u64) -> Performance {
    Performance {
        period_start: start * DAY,
        period_end: end * DAY,
        returns: 0.1,
        sharpe,
        win_rate: 0.5,
        max_drawdown: 0.05,
        samples,
    }
}

/// A time between what was and what will be.
fn now() -> i64 {
    let at = crate::schema::now_ns();
    while crate::schema::now_ns() <= at {}
    at
}

#[test]
fn what_was_believed_on_a_day_is_what_had_been_recorded_by_then() {
    let (_dir, _db, s) = skills();
    let before = now();
    let first = s.put(&OP, NewVersion { status: Some(Status::Draft), ..new("s", "a") }).unwrap();
    assert_eq!(
        s.get_at(&OP, "s", first.created_at).unwrap().code,
        "a",
        "from the moment on in which it was stored"
    );
    let stored = now();
    s.record_performance(&OP, "s", &v("0.1.0"), &record(0, 30, 2.0, 100)).unwrap();
    s.set_status(&OP, "s", None, Status::Active, None).unwrap();
    let live = now();
    s.put(&OP, new("s", "b")).unwrap();
    s.record_performance(&OP, "s", &v("0.1.1"), &record(0, 30, 9.0, 4)).unwrap();
    // What the first had achieved was counted wrong; and it went on.
    s.record_performance(&OP, "s", &v("0.1.0"), &record(0, 30, 0.5, 100)).unwrap();
    s.record_performance(&OP, "s", &v("0.1.0"), &record(30, 60, 1.5, 300)).unwrap();
    let revised = now();
    s.rollback(&OP, "s", &v("0.1.0")).unwrap();

    let at = |time: i64| s.believed(&OP, "s", None, Some(time)).unwrap();
    assert_eq!(s.believed(&OP, "s", None, Some(before)).unwrap_err().kind(), Kind::NotFound);
    let drafted = at(stored);
    assert_eq!((drafted.current, drafted.versions.len()), (v("0.1.0"), 1));
    assert_eq!((drafted.versions[0].status, &drafted.versions[0].performance), (Status::Draft, &None));
    let believed = at(live);
    let first = believed.versions[0].performance.clone().unwrap();
    assert_eq!((believed.versions[0].status, first.records, first.sharpe), (Status::Active, 1, 2.0));
    let later = at(revised);
    assert_eq!((later.current.clone(), later.versions.len()), (v("0.1.1"), 2));
    assert_eq!(later.versions[0].version, v("0.1.1"), "the highest first");
    let first = later.versions[1].performance.clone().unwrap();
    assert_eq!((first.records, first.replaced, first.samples, first.overlapping), (2, 1, 400, false));
    assert!(
        (first.sharpe - 1.25).abs() < 1e-12 && (first.returns.unwrap() - 0.21).abs() < 1e-12,
        "{first:?}"
    );
    let today = s.believed(&OP, "s", Some(&v("0.1.1")), None).unwrap();
    assert_eq!((today.current, today.versions.len()), (v("0.1.0"), 1));

    let code = |time: i64| s.get_at(&OP, "s", time).map(|x| (x.code, x.status));
    assert_eq!(code(before).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(code(stored).unwrap(), ("a".into(), Status::Draft));
    assert_eq!(code(revised).unwrap(), ("b".into(), Status::Active));
    assert_eq!(code(i64::MAX).unwrap(), ("a".into(), Status::Active));

    let listed = |filter: PerformanceFilter| s.performance_of(&OP, "s", &filter).unwrap();
    assert_eq!(listed(PerformanceFilter { at: Some(live), ..PerformanceFilter::default() }).len(), 1);
    let one = listed(PerformanceFilter { version: Some(v("0.1.1")), ..PerformanceFilter::default() });
    assert_eq!((one.len(), one[0].performance.sharpe), (1, 9.0));
}

#[test]
fn records_come_in_pages() {
    let (_dir, _db, s) = skills();
    s.put(&OP, new("s", "a")).unwrap();
    for day in [1, 2, 2, 3] {
        s.record_performance(&OP, "s", &v("0.1.0"), &record(day - 1, day, 1.0, 1)).unwrap();
    }
    let all = s.performance(&OP, "s").unwrap();
    assert_eq!(all.iter().map(|r| r.performance.period_end / DAY).collect::<Vec<_>>(), [3, 2, 2, 1]);
    assert!(all.windows(2).all(|w| w[0].seq != w[1].seq && w[0].recorded_at != w[1].recorded_at));
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let filter = PerformanceFilter { after, limit: Some(1), ..PerformanceFilter::default() };
        let Some(one) = s.performance_of(&OP, "s", &filter).unwrap().pop() else { break };
        after = Some(one.seq);
        paged.push(one);
    }
    assert_eq!(paged, all);
    let limit =
        |n| s.performance_of(&OP, "s", &PerformanceFilter { limit: Some(n), ..PerformanceFilter::default() });
    assert!(limit(PAGE_MAX).is_ok());
    assert_eq!(limit(PAGE_MAX + 1).unwrap_err().kind(), Kind::Limit);
    let unknown = PerformanceFilter { after: Some(99), ..PerformanceFilter::default() };
    assert_eq!(s.performance_of(&OP, "s", &unknown).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn times_never_go_back() {
    let (_dir, db, s) = skills();
    s.put(&OP, new("s", "a")).unwrap();
    // As if the clock had been an hour ahead.
    let ahead = crate::schema::now_ns() + 3_600 * 1_000_000_000;
    db.write(|tx| {
        tx.execute("INSERT INTO skill_currents(skill_id, version_id, since, set_by) VALUES (1, 1, ?1, 'x')", [ahead])?;
        tx.execute("INSERT INTO skill_statuses(version_id, status, set_at, set_by) VALUES (1, 'draft', ?1, 'x')", [ahead])?;
        tx.execute(
            "INSERT INTO skill_performance(version_id, period_start, period_end, returns, sharpe, win_rate, max_drawdown, samples,
                                           recorded_at, recorded_by) VALUES (1, 0, 1, 0, 0, 0, 0, 1, ?1, 'x')",
            [ahead],
        )?;
        Ok(())
    })
    .unwrap();
    s.put(&OP, new("s", "b")).unwrap();
    assert_eq!(s.set_status(&OP, "s", Some(&v("0.1.0")), Status::Active, None).unwrap().set_at, ahead + 1);
    s.record_performance(&OP, "s", &v("0.1.0"), &record(0, 1, 1.0, 1)).unwrap();
    assert_eq!(s.performance(&OP, "s").unwrap()[0].recorded_at, ahead + 1);
    assert_eq!(s.get_at(&OP, "s", ahead).unwrap().code, "a");
    assert_eq!(s.get_at(&OP, "s", ahead + 1).unwrap().code, "b");
}

#[test]
fn a_database_from_before_knows_its_versions_as_current() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let before: Vec<_> = crate::schema::MIGRATIONS.iter().filter(|m| m.number < 15).copied().collect();
    let db = Database::open(&path, Options::default(), &before).unwrap();
    db.write(|tx| {
        tx.execute_batch(
            "INSERT INTO skills(name, created_at) VALUES ('s', 100);
             INSERT INTO skill_versions(skill_id, version, hash, language, code, description, tags, metadata, depends, created_at, created_by)
             VALUES (1, '0.1.0', printf('%064d', 1), 'x', 'a', '', '[]', '{}', '{}', 100, 'operator'),
                    (1, '0.1.1', printf('%064d', 2), 'x', 'b', '', '[]', '{}', '{}', 200, 'operator');
             INSERT INTO skill_performance(version_id, period_start, period_end, returns, sharpe, win_rate, max_drawdown, samples,
                                           recorded_at, recorded_by) VALUES (1, 0, 1, 0, 0, 0, 0, 1, 150, 'operator');
             UPDATE skills SET current_id = 1;",
        )?;
        Ok(())
    })
    .unwrap();
    drop(db);
    let db = Arc::new(Database::open(&path, Options::default(), crate::schema::MIGRATIONS).unwrap());
    let s = Skills::new(db.clone(), Arc::default());
    let at = |time: i64| s.get_at(&OP, "s", time).unwrap().code;
    assert_eq!(
        (at(150), at(250), at(i64::MAX)),
        ("a".into(), "b".into(), "a".into()),
        "it had been rolled back"
    );
    let now = s.get(&OP, "s", None).unwrap();
    assert_eq!(
        (now.code.as_str(), now.status, now.provenance.clone()),
        ("a", Status::Active, Provenance::default())
    );
    assert_eq!(
        s.believed(&OP, "s", None, Some(150)).unwrap().versions[0].performance.as_ref().unwrap().records,
        1
    );
    let again: i64 =
        db.read(|c| Ok(c.query_row("SELECT count(*) FROM skill_currents", [], |r| r.get(0))?)).unwrap();
    assert_eq!(again, 3);
}
