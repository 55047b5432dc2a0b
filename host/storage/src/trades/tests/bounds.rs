//! What is refused, at its boundary.

use super::*;
use crate::schema::now_ns;

#[test]
fn quantities_prices_and_values() {
    let desk = Desk::new();
    let most = QUANTITY_MAX.to_string();
    for (good, fill) in [
        (true, buy("q", "B", &most, "0", 0)),
        // What is held then could not be valued.
        (false, buy("x", "B", "1", &PRICE_MAX.to_string(), 0)),
        (false, buy("x", "A", &format!("{most}.000000000000000001"), "0", 0)),
        (false, buy("x", "A", "0", "1", 0)),
        (false, buy("x", "A", "-1", "1", 0)),
        (true, buy("s", "A", "0.000000000000000001", "1", 0)),
        (true, buy("p", "A", "1", &PRICE_MAX.to_string(), 0)),
        (false, buy("x", "A", "1", "1000000000000.01", 0)),
        (false, buy("x", "A", "1", "-0.01", 0)),
        (true, buy("z", "A", "1", "0", 0)),
        (true, buy("n", "F", "1", "-37.63", 0)),
        (true, buy("v", "A", "100", &PRICE_MAX.to_string(), 0)),
        (false, buy("x", "A", "100.01", &PRICE_MAX.to_string(), 0)),
        // Worth less than the last digit.
        (true, buy("t", "A", "0.0000000001", "0.0000000001", 0)),
        (false, NewFill { fee: n("100000000000000.01"), ..buy("x", "A", "1", "1", 0) }),
        (true, NewFill { fee: n("-0.25"), ..buy("r", "A", "1", "1", 0) }),
        (false, buy("x", "NOWHERE", "1", "1", 0)),
    ] {
        let got = desk.fill(fill.clone());
        assert_eq!(got.is_ok(), good, "{fill:?}: {got:?}");
        assert!(
            got.is_ok_and(|_| true)
                || desk.trades.fills(&OP, &filter()).unwrap().iter().all(|f| f.fill.client_id != "x")
        );
    }
}

#[test]
fn ids_names_and_texts() {
    let desk = Desk::new();
    let id = |id: String| desk.fill(buy(&id, "A", "1", "1", 0)).map(drop);
    id("x".repeat(CLIENT_ID_BYTES_MAX)).unwrap();
    for wrong in [
        String::new(),
        "x".repeat(CLIENT_ID_BYTES_MAX + 1),
        "a b".into(),
        "ü".into(),
        "a\0".into(),
        "a\n".into(),
    ] {
        assert_eq!(id(wrong.clone()).unwrap_err().kind(), Kind::Invalid, "{wrong:?}");
    }
    let name = |name: String| desk.trades.add_instrument(&OP, &share(&name)).map(drop);
    for good in [
        "BTC/USDT".into(),
        "^GSPC".into(),
        "ES.U26".into(),
        "EURUSD=X".into(),
        "x".repeat(INSTRUMENT_BYTES_MAX),
    ] {
        name(good).unwrap();
    }
    for wrong in [
        String::new(),
        "x".repeat(INSTRUMENT_BYTES_MAX + 1),
        "../x".into(),
        "a b".into(),
        "ß".into(),
        ".".into(),
    ] {
        assert_eq!(name(wrong.clone()).unwrap_err().kind(), Kind::Invalid, "{wrong:?}");
    }
    let reason = |bytes: usize| {
        desk.fill(NewFill { reason: Some("r".repeat(bytes)), ..buy(&format!("r{bytes}"), "A", "1", "1", 0) })
            .map(drop)
    };
    reason(TEXT_BYTES_MAX).unwrap();
    for wrong in [0, TEXT_BYTES_MAX + 1] {
        assert_eq!(reason(wrong).unwrap_err().kind(), Kind::Limit);
    }
    let signal = |bytes: usize| {
        let signal = serde_json::Value::String("s".repeat(bytes - 2));
        let orders = vec![NewOrder { signal, ..limit(&format!("o{bytes}"), Side::Buy, "1", 0) }];
        desk.record(Batch { orders, ..Batch::default() }).map(drop)
    };
    signal(SIGNAL_BYTES_MAX).unwrap();
    assert_eq!(signal(SIGNAL_BYTES_MAX + 1).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn times() {
    let desk = Desk::new();
    let at = |id: &str, time| desk.fill(NewFill { time, ..buy(id, "A", "1", "1", 0) }).map(drop);
    at("first", 0).unwrap();
    at("ahead", now_ns() + AHEAD_MAX_NS).unwrap();
    for wrong in [-1, i64::MIN, i64::MAX, now_ns() + AHEAD_MAX_NS + 60 * SECOND] {
        assert_eq!(at("wrong", wrong).unwrap_err().kind(), Kind::Invalid, "{wrong}");
    }
}

#[test]
fn batches_and_pages() {
    let desk = Desk::new();
    let fills = |count: usize| -> Vec<NewFill> {
        (0..count).map(|i| buy(&format!("f{}", i % 10), "A", "1", "1", (i % 10) as i64)).collect()
    };
    assert_eq!(desk.record(Batch { fills: fills(BATCH_ROWS_MAX), ..Batch::default() }).unwrap().recorded, 10);
    let beyond = desk.record(Batch { fills: fills(BATCH_ROWS_MAX + 1), ..Batch::default() });
    assert_eq!(beyond.unwrap_err().kind(), Kind::Limit);
    let page = |after, limit| desk.trades.fills(&OP, &ListFilter { after, limit: Some(limit), ..filter() });
    assert_eq!(page(None, PAGE_MAX).unwrap().len(), 10);
    assert_eq!(page(None, PAGE_MAX + 1).unwrap_err().kind(), Kind::Limit);
    let first = page(None, 4).unwrap();
    let second = page(Some(first[3].seq), 10).unwrap();
    assert_eq!((first.len(), second.len()), (4, 6));
    assert!(second[0].seq > first[3].seq);
}

#[test]
fn the_greatest_fills_add_up() {
    let desk = Desk::new();
    let fill = |i: usize| buy(&format!("f{i}"), "A", "100", &PRICE_MAX.to_string(), 0);
    let answer = desk.record(Batch { fills: (0..1_000).map(fill).collect(), ..Batch::default() }).unwrap();
    assert_eq!(answer.recorded, 1_000);
    assert_eq!(desk.positions(None, None).positions[0].cost.to_string(), "100000000000000000");
}

#[test]
fn aliases_mean_one_instrument_at_a_time() {
    let desk = Desk::new();
    let alias = |name: &str, since, until| {
        desk.trades.add_alias(&OP, name, &Alias { alias: "FB".into(), since, until })
    };
    alias("A", 0, T).unwrap();
    assert_eq!(alias("A", 0, T).unwrap().len(), 1, "the same again");
    for (name, since, until) in [("B", T - 1, T + 1), ("B", 0, i64::MAX), ("A", 5, T)] {
        assert_eq!(alias(name, since, until).unwrap_err().kind(), Kind::Conflict);
    }
    alias("B", T, i64::MAX).unwrap();
    desk.fill(NewFill { time: T - 1, ..buy("1", "FB", "1", "1", 0) }).unwrap();
    desk.fill(NewFill { time: T, ..buy("2", "FB", "2", "1", 0) }).unwrap();
    assert_eq!((desk.quantity("A"), desk.quantity("B")), (n("1"), n("2")));
    assert_eq!(alias("B", 9, 9).unwrap_err().kind(), Kind::Invalid);
    let taken = desk.trades.add_alias(&OP, "A", &Alias { alias: "B".into(), since: 0, until: 1 });
    assert_eq!(taken.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(desk.trades.add_instrument(&OP, &share("FB")).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(desk.trades.instrument(&OP, "FB", None).unwrap().0.name, "B");
}

#[test]
fn what_never_changes_is_refused_and_the_same_again_is_not() {
    let desk = Desk::new();
    set_up(&desk.trades).unwrap();
    let other = NewInstrument { multiplier: Number::whole(2), ..share("A") };
    assert_eq!(desk.trades.add_instrument(&OP, &other).unwrap_err().kind(), Kind::Conflict);
    let other = Account { name: "main".into(), currency: "EUR".into(), broker: None };
    assert_eq!(desk.trades.open_account(&OP, &other).unwrap_err().kind(), Kind::Conflict);
    for multiplier in [Number::ZERO, n("-1"), MULTIPLIER_MAX.plus(Number::ONE).unwrap()] {
        let wrong = NewInstrument { multiplier, ..share("W") };
        assert_eq!(desk.trades.add_instrument(&OP, &wrong).unwrap_err().kind(), Kind::Invalid);
    }
    desk.trades.add_instrument(&OP, &NewInstrument { multiplier: MULTIPLIER_MAX, ..share("W") }).unwrap();
}

#[test]
fn what_may_be_said_of_one_thing() {
    let desk = Desk::new();
    let time = |i: usize| T + i as i64;
    let event = |i: usize| {
        let state = if i.is_multiple_of(2) { EventState::Accepted } else { EventState::CancelRequested };
        NewEvent { order: "o".into(), state, time: time(i), reason: None }
    };
    let batch = Batch {
        orders: vec![limit("o", Side::Buy, "1", 0)],
        events: (0..EVENTS_MAX).map(event).collect(),
        ..Batch::default()
    };
    desk.record(batch).unwrap();
    let more = Batch { events: vec![event(EVENTS_MAX)], ..Batch::default() };
    assert_eq!(desk.record(more).unwrap_err().kind(), Kind::Limit);

    desk.fill(buy("c", "A", "1", "1", 0)).unwrap();
    let fix = |i: usize| corrects("c", buy(&format!("c{i}"), "A", "1", &format!("{}", i + 2), 0));
    let fixes = (0..CORRECTIONS_MAX).map(fix).collect();
    desk.record(Batch { fills: fixes, ..Batch::default() }).unwrap();
    assert_eq!(desk.fill(fix(CORRECTIONS_MAX)).unwrap_err().kind(), Kind::Limit);
    assert_eq!(desk.quantity("A"), n("1"));

    // Its first terms came with it.
    for i in 1..CHANGES_MAX {
        desk.trades.set_terms(&OP, "A", &NewTerms { since: time(i), ..NewTerms::default() }).unwrap();
    }
    let one_more = NewTerms { since: time(CHANGES_MAX), ..NewTerms::default() };
    assert_eq!(desk.trades.set_terms(&OP, "A", &one_more).unwrap_err().kind(), Kind::Limit);
    let dividend = |i: usize| {
        let action = ActionKind::Dividend { amount: n("1") };
        desk.trades.add_action(&OP, &NewAction { instrument: "A".into(), time: time(i), action })
    };
    for i in 0..CHANGES_MAX {
        dividend(i).unwrap();
    }
    assert_eq!(dividend(CHANGES_MAX).unwrap_err().kind(), Kind::Limit);
    // What was taken back was recorded, too.
    let last = desk.trades.actions(&OP, "A", AsOf::default()).unwrap().pop().unwrap();
    desk.trades.void_action(&OP, "A", last.seq, "it was not").unwrap();
    assert_eq!(dividend(CHANGES_MAX).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn corrections_are_counted_whichever_version_they_name() {
    let desk = Desk::new();
    let id = |i: usize| format!("f{i}");
    let fix = |i: usize| corrects(&id(i - 1), buy(&id(i), "A", "1", &i.to_string(), 0));
    let fills = [buy(&id(0), "A", "1", "1", 0)].into_iter().chain((1..=CORRECTIONS_MAX).map(fix)).collect();
    desk.record(Batch { fills, ..Batch::default() }).unwrap();
    for named in [id(0), id(CORRECTIONS_MAX / 2), id(CORRECTIONS_MAX)] {
        let e = desk.fill(corrects(&named, buy("more", "A", "1", "7", 0))).unwrap_err();
        assert_eq!(e.kind(), Kind::Limit, "{named}: {e:?}");
    }
    let fix = |i: usize| NewCash {
        corrects: Some(id(i - 1)),
        reason: Some("again".into()),
        ..deposit(&id(i), &(i + 1).to_string(), 0)
    };
    let cash = [deposit(&id(0), "1", 0)].into_iter().chain((1..=CORRECTIONS_MAX).map(fix)).collect();
    desk.record(Batch { cash, ..Batch::default() }).unwrap();
    for named in [0, CORRECTIONS_MAX / 2, CORRECTIONS_MAX] {
        let more = NewCash { client_id: "more".into(), ..fix(named + 1) };
        let e = desk.record(Batch { cash: vec![more], ..Batch::default() }).unwrap_err();
        assert_eq!(e.kind(), Kind::Limit, "{named}: {e:?}");
    }
    assert_eq!(desk.positions(None, None).balances[0].moved, Number::whole(CORRECTIONS_MAX as i64 + 1));
}

#[test]
fn rolls_of_a_chain_are_counted_with_those_that_were_replaced() {
    let desk = Desk::new();
    let roll = |i: usize, instrument: Option<&str>| {
        let new = NewRoll { chain: "ES".into(), time: T, instrument: instrument.map(Into::into) };
        desk.trades.add_roll(&OP, &new).map(|all| assert!(all.len() <= 1, "{i}"))
    };
    let name = |i: usize| Some(if i.is_multiple_of(2) { "A" } else { "B" });
    for i in 0..CHANGES_MAX {
        roll(i, name(i)).unwrap();
    }
    assert_eq!(roll(CHANGES_MAX, name(CHANGES_MAX)).unwrap_err().kind(), Kind::Limit);
    // The last one may be taken away, and does not come back.
    roll(CHANGES_MAX, None).unwrap();
    assert_eq!(roll(CHANGES_MAX, name(0)).unwrap_err().kind(), Kind::Limit);
    assert_eq!(desk.trades.rolls(&OP, "ES", AsOf::default()).unwrap(), []);
}

#[test]
fn a_page_of_orders_has_so_many_events() {
    let desk = Desk::new();
    let count = PAGE_EVENTS_MAX / EVENTS_MAX + 1;
    let orders = (0..count).map(|i| limit(&format!("o{i}"), Side::Buy, "1", 0)).collect();
    desk.record(Batch { orders, ..Batch::default() }).unwrap();
    // All orders but the last one have as many as one may have.
    let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
               INSERT INTO trade_order_events(seq, order_id, time, state)
               SELECT 1000000 + o.seq * 1000 + i, o.seq, i, CASE i % 2 WHEN 0 THEN 'accepted' ELSE 'cancel-requested' END
               FROM n, trade_orders o WHERE o.client_id <> ?2";
    let last = format!("o{}", count - 1);
    desk.db.write(|tx| Ok(tx.execute(sql, (EVENTS_MAX as i64, &last))?)).unwrap();
    let page = |limit: usize| desk.trades.orders(&OP, &ListFilter { limit: Some(limit as u64), ..filter() });
    assert_eq!(page(count).unwrap().len(), count);
    let event = NewEvent { order: last, state: EventState::Accepted, time: T, reason: None };
    desk.record(Batch { events: vec![event], ..Batch::default() }).unwrap();
    let e = page(count).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.hint_text().unwrap().contains("`limit`"), "{e:?}");
    assert_eq!(page(count - 1).unwrap().len(), count - 1);
}
