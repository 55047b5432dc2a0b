//! Orders, what becomes of them, and fills that come before or after they should.

use super::*;

fn event(order: &str, state: EventState, seconds: i64) -> NewEvent {
    NewEvent { order: order.into(), state, time: T + seconds * SECOND, reason: None }
}

fn orders(orders: Vec<NewOrder>) -> Batch {
    Batch { orders, ..Batch::default() }
}

fn events(events: Vec<NewEvent>) -> Batch {
    Batch { events, ..Batch::default() }
}

#[test]
fn an_order_from_its_signal_to_its_last_fill() {
    let desk = Desk::new();
    let new = limit("o", Side::Buy, "10", 0);
    desk.record(orders(vec![new.clone()])).unwrap();
    assert_eq!((desk.order("o").state, &desk.order("o").order), (OrderState::New, &new));
    desk.record(events(vec![event("o", EventState::Submitted, 1), event("o", EventState::Accepted, 2)]))
        .unwrap();
    assert_eq!(desk.order("o").state, OrderState::Accepted);
    desk.fill(of("o", buy("f1", "A", "4", "10", 3))).unwrap();
    assert_eq!((desk.order("o").state, desk.order("o").filled), (OrderState::PartiallyFilled, n("4")));
    desk.fill(of("o", buy("f2", "A", "6", "9.5", 4))).unwrap();
    assert_eq!(desk.order("o").state, OrderState::Filled);
    let at = |at| desk.trades.order(&OP, "main", "o", AsOf { at: Some(T + at * SECOND), known_at: None });
    assert_eq!(at(3).unwrap().state, OrderState::PartiallyFilled);
    assert_eq!(at(1).unwrap().state, OrderState::Submitted);
    assert_eq!(at(-1).unwrap_err().kind(), Kind::NotFound);
    // The same again, and another one under its id.
    assert!(desk.record(orders(vec![new.clone()])).unwrap().orders[0].replayed);
    let other = NewOrder { quantity: n("11"), ..new };
    assert_eq!(desk.record(orders(vec![other])).unwrap_err().kind(), Kind::Conflict);
    let again = desk.record(events(vec![event("o", EventState::Accepted, 2)])).unwrap();
    assert!(again.events[0].replayed && again.recorded == 0);
    let e = desk
        .record(events(vec![NewEvent { reason: Some("x".into()), ..event("o", EventState::Accepted, 2) }]));
    assert_eq!(e.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(
        desk.record(events(vec![event("p", EventState::Accepted, 2)])).unwrap_err().kind(),
        Kind::NotFound
    );
    let listed = desk.trades.orders(&OP, &filter()).unwrap();
    assert_eq!((listed.len(), listed[0].events.len()), (1, 2));
}

#[test]
fn a_fill_may_come_before_its_order() {
    let desk = Desk::new();
    desk.fill(of("o", buy("f1", "A", "4", "10", 3))).unwrap();
    assert_eq!(desk.quantity("A"), n("4"), "it counts at once");
    desk.record(orders(vec![limit("o", Side::Buy, "10", 0)])).unwrap();
    assert_eq!((desk.order("o").state, desk.order("o").filled), (OrderState::PartiallyFilled, n("4")));
    // An order that cannot be that of the fill is refused.
    desk.fill(of("q", buy("f2", "A", "4", "10", 3))).unwrap();
    for wrong in [
        limit("q", Side::Sell, "10", 0),
        limit("q", Side::Buy, "3", 0),
        NewOrder { instrument: "B".into(), ..limit("q", Side::Buy, "10", 0) },
    ] {
        assert_eq!(desk.record(orders(vec![wrong])).unwrap_err().kind(), Kind::Conflict);
    }
    // Corrected, it fits.
    desk.fill(of("q", corrects("f2", buy("f2-2", "A", "3", "10", 3)))).unwrap();
    desk.record(orders(vec![limit("q", Side::Buy, "3", 0)])).unwrap();
    assert_eq!(desk.order("q").state, OrderState::Filled);
}

#[test]
fn a_fill_after_a_cancel_is_taken_where_it_happened_before_and_says_that_it_is_late() {
    let desk = Desk::new();
    desk.record(orders(vec![limit("o", Side::Buy, "10", 0)])).unwrap();
    desk.record(events(vec![
        event("o", EventState::CancelRequested, 4),
        event("o", EventState::Cancelled, 5),
    ]))
    .unwrap();
    assert_eq!(desk.order("o").state, OrderState::Cancelled);
    let late = desk.fill(of("o", buy("f1", "A", "4", "10", 5))).unwrap();
    assert!(late.late);
    assert!(desk.fill(of("o", buy("f1", "A", "4", "10", 5))).unwrap().late, "the same answer again");
    assert!(desk.trades.fills(&OP, &filter()).unwrap()[0].late);
    assert_eq!((desk.order("o").state, desk.order("o").filled), (OrderState::Cancelled, n("4")));
    let after = desk.fill(of("o", buy("f2", "A", "1", "10", 6))).unwrap_err();
    assert!(
        after.kind() == Kind::Conflict && after.hint_text().unwrap().contains("without an order"),
        "{after:?}"
    );
    assert!(!desk.fill(buy("f2", "A", "1", "10", 6)).unwrap().late);
    // The other way round it is refused alike.
    desk.record(orders(vec![limit("p", Side::Buy, "10", 0)])).unwrap();
    desk.fill(of("p", buy("f3", "A", "4", "10", 6))).unwrap();
    assert_eq!(
        desk.record(events(vec![event("p", EventState::Cancelled, 5)])).unwrap_err().kind(),
        Kind::Conflict
    );
    desk.record(events(vec![event("p", EventState::Cancelled, 6)])).unwrap();
    // All that was ordered came before the cancel: it is filled.
    desk.fill(of("p", buy("f4", "A", "6", "10", 2))).unwrap();
    assert_eq!(desk.order("p").state, OrderState::Filled);
}

#[test]
fn no_more_is_filled_than_was_ordered() {
    let desk = Desk::new();
    desk.record(orders(vec![limit("o", Side::Buy, "10", 0)])).unwrap();
    desk.fill(of("o", buy("f1", "A", "6", "10", 1))).unwrap();
    for wrong in [buy("f2", "A", "5", "10", 1), sell("f2", "A", "1", "10", 1), buy("f2", "B", "1", "10", 1)] {
        assert_eq!(desk.fill(of("o", wrong)).unwrap_err().kind(), Kind::Conflict);
    }
    let both = vec![of("o", buy("f2", "A", "2", "10", 1)), of("o", buy("f3", "A", "3", "10", 1))];
    assert_eq!(desk.record(Batch { fills: both, ..Batch::default() }).unwrap_err().kind(), Kind::Conflict);
    let too_much = of("o", corrects("f1", buy("f1-2", "A", "11", "10", 1)));
    assert_eq!(desk.fill(too_much).unwrap_err().kind(), Kind::Conflict);
    desk.fill(of("o", corrects("f1", buy("f1-2", "A", "10", "10", 1)))).unwrap();
    assert_eq!(desk.order("o").state, OrderState::Filled);
    // A correction may give the fill to another order, or to none.
    desk.record(orders(vec![limit("p", Side::Buy, "10", 0)])).unwrap();
    desk.fill(of("p", corrects("f1", buy("f1-3", "A", "10", "10", 1)))).unwrap();
    assert_eq!((desk.order("o").state, desk.order("p").state), (OrderState::New, OrderState::Filled));
}

#[test]
fn events_that_cannot_follow_each_other_are_refused() {
    let desk = Desk::new();
    desk.record(orders(vec![limit("o", Side::Buy, "10", 0)])).unwrap();
    desk.record(events(vec![event("o", EventState::Accepted, 2)])).unwrap();
    for wrong in [
        event("o", EventState::Rejected, 3),
        event("o", EventState::Submitted, 3),
        event("o", EventState::Cancelled, 1),
    ] {
        assert_eq!(desk.record(events(vec![wrong.clone()])).unwrap_err().kind(), Kind::Conflict, "{wrong:?}");
    }
    // One that was on its way for long takes its place.
    desk.record(events(vec![event("o", EventState::Submitted, 1)])).unwrap();
    desk.record(events(vec![event("o", EventState::Expired, 9)])).unwrap();
    let said: Vec<_> = desk.order("o").events.iter().map(|e| e.state).collect();
    assert_eq!(said, [EventState::Submitted, EventState::Accepted, EventState::Expired]);
}

#[test]
fn orders_keep_to_tick_lot_and_type() {
    let desk = Desk::new();
    let stepped = NewInstrument { tick: n("0.25"), lot: n("10"), ..share("S") };
    desk.trades.add_instrument(&OP, &stepped).unwrap();
    let good =
        NewOrder { instrument: "S".into(), limit_price: Some(n("10.25")), ..limit("o", Side::Buy, "20", 0) };
    for wrong in [
        NewOrder { limit_price: Some(n("10.1")), ..good.clone() },
        NewOrder { quantity: n("15"), ..good.clone() },
        NewOrder { limit_price: None, ..good.clone() },
        NewOrder { kind: OrderType::Market, ..good.clone() },
        NewOrder { kind: OrderType::StopLimit, ..good.clone() },
        NewOrder { version: None, ..good.clone() },
        NewOrder { version: Some("one".into()), ..good.clone() },
        NewOrder { limit_price: Some(n("-10.25")), ..good.clone() },
    ] {
        assert_eq!(desk.record(orders(vec![wrong.clone()])).unwrap_err().kind(), Kind::Invalid, "{wrong:?}");
    }
    desk.record(orders(vec![good.clone()])).unwrap();
    // Other terms hold from a time on.
    let terms = NewTerms { since: T + 100 * SECOND, tick: n("0.1"), lot: n("1"), ..NewTerms::default() };
    desk.trades.set_terms(&OP, "S", &terms).unwrap();
    let later = NewOrder { client_id: "p".into(), limit_price: Some(n("10.1")), quantity: n("15"), ..good };
    assert_eq!(desk.record(orders(vec![later.clone()])).unwrap_err().kind(), Kind::Invalid);
    desk.record(orders(vec![NewOrder { time: T + 100 * SECOND, ..later }])).unwrap();
    assert_eq!(desk.trades.instrument(&OP, "S", Some(T)).unwrap().0.tick, n("0.25"));
    assert_eq!(desk.trades.instrument(&OP, "S", None).unwrap().0.tick, n("0.1"));
}
