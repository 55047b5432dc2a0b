//! The safety floor and the grants.

use super::*;
use crate::error::Kind as ErrorKind;

fn five_days() -> Store {
    let s = Store::new();
    s.ticks("A", steady(5));
    s
}

#[test]
fn a_clock_that_jumps_ten_years_moves_no_age() {
    let s = five_days();
    let newest = START + 5 * DAY - 600 * SECOND;
    let wall = newest + 3_650 * DAY;
    assert_eq!(s.r().now(wall).unwrap(), newest + DAY);
    assert_eq!(s.r().now(START + DAY).unwrap(), START + DAY, "a clock that is behind is believed");
    assert_eq!(s.r().now(i64::MAX).unwrap(), newest + DAY);
    // A policy that works with the wall clock proposes to drop everything.
    let why = s.refused(
        &s.plugin,
        vec![down("tick.A", "1h", wall - 30 * DAY), drop_before("tick.A", wall - 30 * DAY)],
    );
    assert!(why.contains("after now"), "{why}");
}

#[test]
fn a_store_without_a_point_counts_from_its_newest_file_or_the_clock() {
    let s = Store::new();
    assert_eq!(s.r().now(42).unwrap(), 42);
    let v = s.layer.files().put(&OP, "cold", "a", &mut &b"x"[..], Default::default()).unwrap();
    assert_eq!(s.r().now(v.created_at + 3_650 * DAY).unwrap(), v.created_at + DAY);
}

#[test]
fn every_grant_that_a_step_needs_is_looked_at() {
    let s = five_days();
    let before = START + 2 * DAY;
    let steps =
        || vec![down("tick.A", "1h", before), archive("tick.A", before), drop_before("tick.A", before)];
    type Cut = (&'static str, fn(&mut Grants));
    let cut: [Cut; 5] = [
        ("series.read", |g| g.series_read.clear()),
        ("series.write", |g| g.series_write = vec!["market/tick.*".into()]),
        ("series.drop", |g| g.series_drop = vec!["market/bar.*".into()]),
        ("files.write", |g| g.files_write = vec!["cold/bar/*".into()]),
        ("files.write", |g| g.files_write = vec!["warm/*".into()]),
    ];
    for (grant, cut) in cut {
        let mut grants = all_grants();
        cut(&mut grants);
        let why = s.refused(&plugin(grants), steps());
        assert!(why.contains(grant), "{grant}: {why}");
    }
    let token = Caller::Token { id: 1, name: "t".into(), scope: crate::Scope::Write };
    assert!(s.refused(&token, steps()).contains("admin"));
    assert!(s.r().check(&OP, steps(), s.now(), false).unwrap().is_allowed());
}

#[test]
fn one_refused_step_refuses_the_plan_and_every_reason_is_told() {
    let s = five_days();
    let why = s.refused(
        &s.plugin,
        vec![
            down("tick.A", "1h", START + DAY),
            down("tick.GONE", "1h", START + DAY),
            drop_before("book.B", START + DAY),
        ],
    );
    assert!(why.contains("as a whole") && why.contains("tick.GONE") && why.contains("book.B"), "{why}");
}

#[test]
fn a_step_that_makes_no_sense_is_refused_with_the_reason() {
    let s = five_days();
    s.put("book.A", Frame { times: vec![START], columns: vec![Column::float("bid", vec![1.0])] });
    s.put("bar.1h.A", Frame { times: vec![START], columns: vec![Column::float("close", vec![1.0])] });
    let now = s.now();
    for (actions, word) in [
        (vec![down("bar.1h.A", "1m", START)], "cannot be rolled up"),
        (vec![down("bar.1h.A", "1h", START)], "cannot be rolled up"),
        (vec![down("book.A", "1h", START)], "no ticks or bars"),
        (vec![down("tick.A", "1 fortnight", START)], "fortnight"),
        (vec![down("tick.A", "", START)], "timeframe"),
        (vec![down("tick.A", "1h", now + 1)], "after now"),
        (vec![drop_before("tick.A", i64::MAX)], "after now"),
        (vec![drop_before("tick.A", i64::MIN)], "no time"),
        (vec![down("tick.A", "1h", START), down("tick.A", "1h", START + HOUR)], "twice"),
        (vec![Action::Archive { key: key("tick.A"), store: "../x".into(), before: START }], "no file store"),
        (vec![Action::DropFile { store: "cold".into(), path: "gone".into() }], "no file"),
    ] {
        let why = s.refused(&s.plugin, actions.clone());
        assert!(why.contains(word), "{actions:?}: {why}");
    }
}

#[test]
fn ticks_and_bars_go_only_when_their_rollup_covers_them() {
    let s = five_days();
    let until = START + 2 * DAY;
    assert!(s.refused(&s.plugin, vec![drop_before("tick.A", until)]).contains("would be lost"));
    // In the wrong order.
    assert!(
        s.refused(&s.plugin, vec![drop_before("tick.A", until), down("tick.A", "1h", until)])
            .contains("would be lost")
    );
    // Not far enough; one of two not far enough.
    let why = s.refused(&s.plugin, vec![down("tick.A", "1h", until - HOUR), drop_before("tick.A", until)]);
    assert!(why.contains("bar.1h.A") && why.contains("roll up first"), "{why}");
    let two =
        vec![down("tick.A", "1h", until), down("tick.A", "1d", until - DAY), drop_before("tick.A", until)];
    assert!(s.refused(&s.plugin, two).contains("bar.1d.A"));
    assert!(
        s.refused(&s.plugin, vec![archive("tick.A", until - 1), drop_before("tick.A", until)])
            .contains("would be lost")
    );
    // A mark of an earlier run covers.
    s.run(vec![down("tick.A", "1h", until)]);
    assert!(s.refused(&s.plugin, vec![drop_before("tick.A", until + HOUR)]).contains("roll up first"));
    assert!(s.check(vec![drop_before("tick.A", until)]).is_allowed());
    assert!(
        s.check(vec![drop_before("tick.A", until + HOUR - 1)]).is_allowed(),
        "rounded down to a whole bar"
    );
    // A rollup that an operator deleted protects nothing, and does not stand in the way of another.
    s.engine.delete(&Selector::of(&key("bar.1h.A")), TimeRange::ALL).unwrap();
    assert!(s.refused(&s.plugin, vec![drop_before("tick.A", until)]).contains("would be lost"));
    s.run(vec![down("tick.A", "1d", until + DAY), drop_before("tick.A", until + DAY)]);
}

#[test]
fn a_deletion_that_would_hit_another_series_is_refused() {
    let s = Store::new();
    s.put(
        "book.A",
        Frame { times: vec![START, START + 9 * DAY], columns: vec![Column::float("bid", vec![1.0; 2])] },
    );
    let tagged = SeriesKey::new("market", "book.A", vec![("venue".into(), "X".into())]).unwrap();
    let frame = Frame { times: vec![START], columns: vec![Column::float("bid", vec![1.0])] };
    s.engine.write(WriteBatch { series: vec![(tagged.clone(), frame)] }).unwrap();
    assert!(s.refused(&s.plugin, vec![drop_before("book.A", START + DAY)]).contains("venue=X"));
    assert!(s.check(vec![Action::DropBefore { key: tagged, before: START + DAY }]).is_allowed());
}

#[test]
fn the_least_age_holds_at_its_edge() {
    let s = Store::with("[safety]\nmax_drop_share = \"100 %\"\n[safety.keep_at_least]\nbook = \"2 d\"");
    for (kind, keep) in [("book.A", 2 * DAY), ("signal.A", DAY)] {
        let times: Vec<i64> = (0..=100).map(|i| START + i * HOUR).collect();
        s.put(kind, Frame { columns: vec![Column::float("v", vec![1.0; times.len()])], times });
        let edge = s.now() - keep;
        assert!(s.refused(&s.plugin, vec![drop_before(kind, edge + 1)]).contains("keep_at_least"), "{kind}");
        assert!(s.check(vec![drop_before(kind, edge)]).is_allowed(), "{kind}");
    }
}

#[test]
fn the_share_of_a_run_holds_at_its_edge() {
    let s = Store::with("");
    let times: Vec<i64> = (0..100).map(|i| START + i * DAY).collect();
    s.put("book.A", Frame { columns: vec![Column::float("v", vec![1.0; 100])], times });
    let plan = |rows: i64, confirmed| {
        s.r().check(&s.plugin, vec![drop_before("book.A", START + rows * DAY)], s.now(), confirmed).unwrap()
    };
    let exact = plan(20, false);
    assert_eq!((exact.drop_rows, exact.store_rows), (20, 100));
    assert!(exact.is_allowed(), "exactly 20 % may go");
    let more = plan(21, false);
    assert!(more.needs_confirmation.as_ref().unwrap().contains("21 of 100"), "{more:?}");
    assert!(s.refused(&s.plugin, vec![drop_before("book.A", START + 21 * DAY)]).contains("max_drop_share"));
    // All of it, in as many steps as one likes: it is the run that counts.
    s.put("book.B", Frame { times: vec![START], columns: vec![Column::float("v", vec![1.0])] });
    let all = s.refused(
        &s.plugin,
        vec![drop_before("book.A", START + 20 * DAY), drop_before("book.B", START + DAY)],
    );
    assert!(all.contains("21 of 101"), "{all}");
    let confirmed = plan(21, true);
    assert!(confirmed.is_allowed());
    assert_eq!(s.r().execute(&s.plugin, &confirmed, &mut |_| ()).unwrap().dropped_rows, 21);
}

#[test]
fn a_plan_that_was_allowed_is_looked_at_again_when_it_is_executed() {
    let s = five_days();
    let until = START + 2 * DAY;
    let plan = s.check(vec![down("tick.A", "1h", until), drop_before("tick.A", until)]);
    assert!(plan.is_allowed());
    let mut forged = plan.clone();
    forged.steps.remove(0);
    let e = s.r().execute(&s.plugin, &forged, &mut |_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied);
    assert!(e.message().contains("no longer holds"), "{e:?}");
    // By somebody who may less.
    assert!(s.r().execute(&plugin(Grants::default()), &plan, &mut |_| ()).is_err());
    assert_eq!(s.rows("tick.A").len(), 5 * 144);
}

#[test]
fn a_plan_has_a_bound() {
    let s = Store::new();
    let many = vec![Action::DropFile { store: "cold".into(), path: "x".into() }; ACTIONS_MAX + 1];
    assert_eq!(s.r().check(&s.plugin, many, 0, false).unwrap_err().kind(), ErrorKind::Limit);
}
