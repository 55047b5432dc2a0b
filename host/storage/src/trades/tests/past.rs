//! As of the moment at which it happened, and as of the moment at which it was known.

use super::*;

fn quantity_at(desk: &Desk, at: Option<i64>, known_at: Option<i64>) -> Number {
    let all = desk.positions(at.map(|s| T + s * SECOND), known_at).positions;
    all.into_iter().find(|p| p.instrument == "A").map_or(Number::ZERO, |p| p.quantity)
}

#[test]
fn what_was_known_then_stays_what_was_known_then() {
    let desk = Desk::new();
    let before = desk.last_recorded();
    desk.fill(buy("1", "A", "10", "100", 10)).unwrap();
    let first = desk.last_recorded();
    desk.fill(buy("2", "A", "5", "100", 5)).unwrap();
    let late = desk.last_recorded();
    desk.fill(corrects("1", buy("1-2", "A", "11", "100", 20))).unwrap();
    let corrected = desk.last_recorded();
    assert!(before < first && first < late && late < corrected);
    for (at, known_at, want) in [
        (None, None, "16"),
        (Some(15), None, "5"),
        (Some(4), None, "0"),
        (Some(5), None, "5"),
        (None, Some(before), "0"),
        (None, Some(first), "10"),
        (None, Some(late - 1), "10"),
        (None, Some(late), "15"),
        (Some(7), Some(first), "0"),
        (Some(7), Some(late), "5"),
        (Some(15), Some(late), "15"),
        (None, Some(corrected), "16"),
        (Some(15), Some(corrected), "5"),
        (None, Some(i64::MAX), "16"),
        (None, Some(0), "0"),
    ] {
        assert_eq!(quantity_at(&desk, at, known_at), n(want), "at {at:?}, known at {known_at:?}");
    }
    let listed =
        |known_at| desk.trades.fills(&OP, &ListFilter { known_at: Some(known_at), ..filter() }).unwrap();
    assert_eq!((listed(late).len(), listed(late)[0].fill.client_id.as_str()), (2, "1"));
    assert_eq!(listed(corrected).last().unwrap().fill.client_id, "1-2");
}

#[test]
fn splits_change_what_is_held_from_their_time_on() {
    let desk = Desk::new();
    let fills = (0..20).map(|i| buy(&format!("{i}"), "A", "1", "90", i)).collect();
    desk.record(Batch { fills, ..Batch::default() }).unwrap();
    let known = desk.last_recorded();
    let split = |new, old, seconds| {
        let action = ActionKind::Split { new, old };
        desk.trades.add_action(&OP, &NewAction { instrument: "A".into(), time: T + seconds * SECOND, action })
    };
    let three = split(3, 1, 10).unwrap();
    assert_eq!(split(3, 1, 10).unwrap(), three, "the same again");
    assert_eq!(quantity_at(&desk, None, None), n("40"), "ten before it and ten after");
    assert_eq!(quantity_at(&desk, Some(9), None), n("10"));
    assert_eq!(quantity_at(&desk, Some(10), None), n("31"), "a fill of its time is after it");
    assert_eq!(quantity_at(&desk, None, Some(known)), n("20"));
    split(1, 2, 100).unwrap();
    assert_eq!((quantity_at(&desk, None, None), quantity_at(&desk, Some(99), None)), (n("20"), n("40")));
    desk.trades.void_action(&OP, "A", three.seq, "of another company").unwrap();
    assert_eq!(quantity_at(&desk, None, None), n("10"));
    assert_eq!(desk.trades.void_action(&OP, "A", three.seq, "again").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(desk.trades.actions(&OP, "A", AsOf::default()).unwrap().len(), 1);
    for (new, old) in [(0, 1), (1, 0), (-1, 1), (1, 1), (SPLIT_MAX + 1, 1), (1, SPLIT_MAX + 1)] {
        assert_eq!(split(new, old, 50).unwrap_err().kind(), Kind::Invalid, "{new}:{old}");
    }
    split(SPLIT_MAX, 1, 200).unwrap();
    let dividend = |amount: &str| {
        let action = ActionKind::Dividend { amount: n(amount) };
        desk.trades.add_action(&OP, &NewAction { instrument: "A".into(), time: T, action })
    };
    dividend("0.24").unwrap();
    assert_eq!(dividend("0").unwrap_err().kind(), Kind::Invalid);
    assert_eq!(dividend("-1").unwrap_err().kind(), Kind::Invalid);
}

/// What is left of an odd number of pieces has eighteen digits, and the price has two more.
#[test]
fn what_a_reverse_split_leaves_can_be_sold() {
    let desk = Desk::new();
    desk.record(Batch {
        fills: vec![buy("1", "A", "10", "100", 0), buy("2", "A", "10", "0.07", 1)],
        cash: vec![deposit("d", "10000", 0)],
        ..Batch::default()
    })
    .unwrap();
    let action = ActionKind::Split { new: 1, old: 3 };
    desk.trades.add_action(&OP, &NewAction { instrument: "A".into(), time: T + 5 * SECOND, action }).unwrap();
    let held = quantity_at(&desk, None, None);
    assert_eq!(held, n("6.666666666666666666"));
    // In the time of the split, and so after it.
    desk.fill(sell("3", "A", &held.to_string(), "301.25", 5)).unwrap();
    let all = desk.positions(None, None);
    let (a, usd) = (&all.positions[0], &all.balances[0]);
    assert_eq!((a.quantity, a.cost, a.value, a.fills), (n("0"), n("0"), n("0"), 3));
    // 6.666666666666666666 × 301.25 = 2008.3333333333333331325
    assert_eq!(a.realised, n("2008.333333333333333132").minus(n("1000.7")).unwrap());
    assert_eq!(usd.cash, n("10000").plus(a.realised).unwrap().minus(n("1.5")).unwrap());
    assert_eq!((usd.cash, usd.unrealised), (usd.equity, n("0")));
}

#[test]
fn a_chain_rolls_from_contract_to_contract() {
    let desk = Desk::new();
    let roll = |time, instrument: Option<&str>| {
        let new = NewRoll { chain: "ES".into(), time: T + time, instrument: instrument.map(Into::into) };
        desk.trades
            .add_roll(&OP, &new)
            .map(|all| all.into_iter().map(|r| (r.time - T, r.instrument)).collect::<Vec<_>>())
    };
    roll(0, Some("A")).unwrap();
    let first = desk.last_recorded();
    assert_eq!(roll(9, Some("B")).unwrap(), [(0, "A".into()), (9, "B".into())]);
    assert_eq!(roll(9, Some("F")).unwrap(), [(0, "A".into()), (9, "F".into())]);
    let last = desk.last_recorded();
    roll(9, Some("F")).unwrap();
    assert_eq!(desk.last_recorded(), last, "the same again is not recorded");
    assert_eq!(roll(9, None).unwrap(), [(0, "A".into())]);
    let then = desk.trades.rolls(&OP, "ES", AsOf { at: None, known_at: Some(first) }).unwrap();
    assert_eq!(then.len(), 1);
    assert_eq!(roll(9, Some("Z")).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_is_kept_is_made_anew_and_the_same() {
    let desk = Desk::new();
    let side = |i: i64| {
        if i % 3 == 0 {
            sell(&format!("{i}"), "A", "2", "101", i)
        } else {
            buy(&format!("{i}"), "A", "1", "99", i)
        }
    };
    desk.record(Batch { fills: (0..500).map(side).collect(), ..Batch::default() }).unwrap();
    let states = || -> i64 {
        desk.db.read(|c| Ok(c.query_row("SELECT count(*) FROM trade_states", [], |r| r.get(0))?)).unwrap()
    };
    let moments =
        || -> Vec<Positions> { (0..520).map(|i| desk.positions(Some(T + i * SECOND), None)).collect() };
    let before = moments();
    assert_eq!(states(), 500 / STATE_EVERY as i64);
    assert_eq!(desk.trades.rebuild(&OP, "main").unwrap(), 500 / STATE_EVERY);
    assert_eq!((states(), moments()), (0, before.clone()), "without any of them");
    assert!(desk.trades.maintain().unwrap());
    assert_eq!((states(), moments()), (500 / STATE_EVERY as i64, before));
}

#[test]
fn a_change_of_the_far_past_is_followed_in_the_background() {
    let desk = Desk::new();
    let count = STEP_FILLS_MAX as i64 + 5_000;
    let fills =
        |from: i64, to: i64| (from..to).map(|i| buy(&format!("{i}"), "A", "1", "99", 10 + i)).collect();
    desk.record(Batch { fills: fills(0, 15_000), ..Batch::default() }).unwrap();
    desk.record(Batch { fills: fills(15_000, count), ..Batch::default() }).unwrap();
    desk.fill(buy("late", "A", "7", "1", 0)).unwrap();
    let whole = Number::whole(count + 7);
    assert_eq!(desk.quantity("A"), whole, "before the states are there");
    let stale = || -> i64 {
        desk.db
            .read(|c| {
                Ok(c.query_row("SELECT count(*) FROM trade_positions WHERE stale = 1", [], |r| r.get(0))?)
            })
            .unwrap()
    };
    assert_eq!(stale(), 1);
    assert!(desk.trades.maintain().unwrap());
    assert_eq!((stale(), desk.quantity("A")), (0, whole));
    // A host that ended meanwhile goes on.
    desk.trades.rebuild(&OP, "main").unwrap();
    assert!(Trades::new(desk.db.clone()).maintain().unwrap());
    assert_eq!((stale(), desk.quantity("A")), (0, whole));
}

fn stale(desk: &Desk) -> i64 {
    let sql = "SELECT count(*) FROM trade_positions WHERE stale = 1";
    desk.db.read(|c| Ok(c.query_row(sql, [], |r| r.get(0))?)).unwrap()
}

/// What may be made anew at once is for all accounts together.
#[test]
fn a_split_in_many_accounts_is_followed_in_the_background() {
    let desk = Desk::new();
    let each = STEP_FILLS_MAX as i64 / 2 + 10;
    let account = |name: &str| Account { name: name.into(), currency: "USD".into(), broker: None };
    for name in ["main", "second", "third"] {
        desk.trades.open_account(&OP, &account(name)).unwrap();
        let fills = (0..each).map(|i| buy(&format!("{i}"), "A", "1", "99", 10 + i)).collect();
        let batch = Batch { account: name.into(), fills, ..Batch::default() };
        desk.trades.record(&OP, &batch).unwrap();
    }
    assert_eq!(stale(&desk), 0);
    let action = ActionKind::Split { new: 2, old: 1 };
    desk.trades.add_action(&OP, &NewAction { instrument: "A".into(), time: T, action }).unwrap();
    assert_eq!(stale(&desk), 2, "of the second some, of the third all");
    let held = |name: &str| {
        let query = PositionsQuery { account: name.into(), ..PositionsQuery::default() };
        desk.trades.positions(&OP, &query).unwrap().positions[0].clone()
    };
    let before = ["main", "second", "third"].map(held);
    assert!(before.iter().all(|p| p.quantity == Number::whole(each)), "{before:?}");
    assert!(desk.trades.maintain().unwrap());
    assert_eq!((stale(&desk), ["main", "second", "third"].map(held)), (0, before));
}

/// A sum that cannot be held is known only when it is added up, which may be in the background: then it is said of whoever asks for it, and
/// holds up nobody else.
#[test]
fn what_cannot_be_added_up_holds_up_nobody() {
    let desk = Desk::new();
    let most = "100000000000000";
    let fills = (0..STEP_FILLS_MAX as i64 + 10).map(|i| buy(&format!("{i}"), "B", "0.001", "1", 10 + i));
    let all: Vec<_> = [buy("much", "B", most, "0", 9)].into_iter().chain(fills).collect();
    desk.record(Batch { fills: all, ..Batch::default() }).unwrap();
    desk.trades.maintain().unwrap();
    let action = ActionKind::Split { new: SPLIT_MAX, old: 1 };
    let late = T + 1_000_000 * SECOND;
    desk.trades.add_action(&OP, &NewAction { instrument: "B".into(), time: late, action }).unwrap();
    desk.fill(buy("a", "A", "1", "1", 0)).unwrap();
    // Twice as much times a million is more than there are numbers for.
    desk.fill(buy("more", "B", most, "0", 0)).unwrap();
    let query = PositionsQuery { account: "main".into(), ..PositionsQuery::default() };
    let e = desk.trades.positions(&OP, &query).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("the position in `B`"), "{e:?}");
    desk.trades.rebuild(&OP, "main").unwrap();
    assert!(desk.trades.maintain().unwrap());
    let sql = "SELECT count(*) FROM trade_states s JOIN trade_instruments i ON i.id = s.instrument WHERE i.name = 'B'";
    let states: i64 = desk.db.read(|c| Ok(c.query_row(sql, [], |r| r.get(0))?)).unwrap();
    assert_eq!((stale(&desk), states), (0, (STEP_FILLS_MAX as i64 + 12) / STATE_EVERY as i64));
    let e = desk.fill(buy("next", "B", "1", "0", 2_000_000)).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("the position in `B`"), "{e:?}");
    // Corrected, it can.
    desk.fill(NewFill { void: true, ..corrects("more", buy("more-2", "B", most, "0", 0)) }).unwrap();
    assert!(desk.trades.maintain().unwrap());
    assert!(desk.quantity("B") > n(most) && desk.quantity("A") == n("1"));
}
