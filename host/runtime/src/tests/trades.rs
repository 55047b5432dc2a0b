//! The import `trades`, as a guest's calls reach it.

use super::files::{Outcome, kind, within};
use super::guest::{EMPTY, Guest};
use super::{Host, OP};
use crate::bindings::shiphold::host::trades::{
    Batch, EventState, Filter, Holdings, Host as _, NewEvent, NewFill, NewOrder, OrderState, OrderType,
    PerformanceQuery, PositionsQuery, Receipt, Side, TimeInForce,
};
use crate::state::State;
use shiphold_storage::audit::AuditFilter;
use shiphold_storage::trades::{Account, InstrumentKind, NewInstrument, Number};

const TABLES: &str = "[plugins.p.grants]\ntrades = { read = [\"paper-*\"], write = [\"paper-1\"] }\n\
    series = { read = [\"market/bar.1d.*\"] }\n";
const ABOUT: &str = "[grants]\ntrades = { read = [\"*\"], write = [\"*\"] }\nseries = { read = [\"*/*\"] }";

/// The accounts `main`, `paper-1` and `paper-2`, and the instruments `A` and `B`, of which `A` has daily bars.
async fn host() -> Host {
    let host = Host::new(&Guest::new(EMPTY).about(ABOUT), "", TABLES).await.with_bars(&["A"]);
    let trades = host.layer.trades();
    for name in ["main", "paper-1", "paper-2"] {
        let account = Account { name: name.into(), currency: "USD".into(), broker: None };
        trades.open_account(&OP, &account).unwrap();
    }
    for (name, measurement) in [("A", Some("bar.1d.A")), ("B", None)] {
        let new = NewInstrument {
            name: name.into(),
            kind: InstrumentKind::Equity,
            currency: "USD".into(),
            multiplier: Number::ONE,
            tick: "0.01".parse().unwrap(),
            lot: Number::ZERO,
            bucket: None,
            measurement: measurement.map(Into::into),
        };
        trades.add_instrument(&OP, &new).unwrap();
    }
    host
}

fn order(id: &str) -> NewOrder {
    NewOrder {
        client_id: id.into(),
        instrument: "A".into(),
        side: Side::Buy,
        type_: OrderType::Limit,
        quantity: "10".into(),
        limit_price: Some("1.50".into()),
        stop_price: None,
        time_in_force: TimeInForce::Day,
        skill: Some("pullback".into()),
        version: Some("1.0.0".into()),
        signal: Some("{\"rsi\":28.5}".into()),
        time: 1,
    }
}

fn fill(id: &str, order: Option<&str>) -> NewFill {
    NewFill {
        client_id: id.into(),
        instrument: "A".into(),
        side: Side::Buy,
        quantity: "4".into(),
        price: "1.250000000000000001".into(),
        fee: Some("0.5".into()),
        time: 3,
        order: order.map(Into::into),
        broker_id: None,
        corrects: None,
        void: false,
        reason: None,
    }
}

fn accepted(order: &str) -> NewEvent {
    NewEvent { order: order.into(), state: EventState::Accepted, time: 2, reason: Some("broker".into()) }
}

fn of_fills(account: &str, fills: Vec<NewFill>) -> Batch {
    Batch { account: account.into(), orders: Vec::new(), fills, events: Vec::new() }
}

fn of(account: &str) -> Filter {
    Filter {
        account: account.into(),
        instrument: None,
        order: None,
        since: None,
        until: None,
        known_at: None,
        all: false,
    }
}

async fn submit(s: &mut State, batch: Batch) -> Outcome<Receipt> {
    s.submit(batch).await.unwrap()
}

async fn held(s: &mut State, account: &str, at: Option<i64>, after: Option<&str>) -> Outcome<Holdings> {
    let prices = vec![("A".to_string(), "2".to_string())];
    let query = PositionsQuery { account: account.into(), at, known_at: None, flat: false, prices };
    s.positions(query, after.map(Into::into), 1).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_recorded_once_and_read_back_to_the_last_digit() {
    let host = host().await;
    within(&host, |s| {
        Box::pin(async move {
            let batch = || Batch {
                account: "paper-1".into(),
                orders: vec![order("o-1")],
                fills: vec![fill("f-1", Some("o-1"))],
                events: vec![accepted("o-1")],
            };
            let made = submit(s, batch()).await.unwrap();
            assert!(made.recorded == 3 && !made.fills[0].replayed && !made.fills[0].late, "{made:?}");
            let again = submit(s, batch()).await.unwrap();
            assert_eq!((again.recorded, again.fills[0].seq), (0, made.fills[0].seq));
            assert!(again.orders[0].replayed && again.fills[0].replayed && again.events[0].replayed);
            let mut other = batch();
            other.fills[0].price = "1.25".into();
            assert_eq!(kind(submit(s, other).await), "conflict");

            let found = s.orders(of("paper-1"), None, 9).await.unwrap().unwrap();
            let one = &found[0];
            assert_eq!((found.len(), one.state, one.filled.as_str()), (1, OrderState::PartiallyFilled, "4"));
            assert_eq!((one.order.limit_price.as_deref(), one.order.type_), (Some("1.5"), OrderType::Limit));
            assert_eq!(one.order.signal.as_deref(), Some("{\"rsi\":28.5}"));
            assert_eq!((one.events.len(), one.recorded_by.as_str()), (1, "plugin:p"));
            let fills = s.fills(of("paper-1"), None, 9).await.unwrap().unwrap();
            assert_eq!(fills[0].fill.price, "1.250000000000000001");
            assert_eq!((fills[0].fill.fee.as_deref(), fills[0].fill.time), (Some("0.5"), 3));
            let of_order = |order: &str| Filter { order: Some(order.into()), ..of("paper-1") };
            assert_eq!(s.fills(of_order("o-1"), None, 9).await.unwrap().unwrap().len(), 1);
            assert_eq!(s.fills(of_order("o-2"), None, 9).await.unwrap().unwrap().len(), 0);
            let before = Filter { until: Some(3), ..of("paper-1") };
            assert_eq!(s.fills(before, None, 9).await.unwrap().unwrap().len(), 0, "the end is not in it");

            let now = held(s, "paper-1", None, None).await.unwrap();
            let position = &now.positions[0];
            assert_eq!((position.quantity.as_str(), position.value.as_str()), ("4", "8"));
            assert_eq!(position.cost, "5.000000000000000004");
            assert_eq!(now.balances[0].equity, "2.499999999999999996", "{now:?}");
            assert!(held(s, "paper-1", Some(2), None).await.unwrap().positions.is_empty(), "as it was");
            let next = held(s, "paper-1", None, Some("A")).await.unwrap();
            assert!(next.positions.is_empty(), "{next:?}");
            assert_eq!(next.balances[0].equity, now.balances[0].equity, "of all of it, whichever page");
        })
    })
    .await
    .unwrap();
    let entry = host.layer.audit().list(&OP, &AuditFilter::default()).unwrap().remove(0);
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("trades.record", "plugin:p"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_granted_is_denied_whether_it_is_there_or_not() {
    let host = host().await;
    within(&host, |s| {
        Box::pin(async move {
            let names = s.accounts(None, 1_000).await.unwrap().unwrap();
            assert_eq!(names.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["paper-1", "paper-2"]);
            for account in ["main", "nowhere", "", "*", "paper", "PAPER-1", "../paper-1", "main\0paper-1"] {
                assert_eq!(kind(s.orders(of(account), None, 9).await.unwrap()), "denied", "{account:?}");
                assert_eq!(kind(s.fills(of(account), None, 9).await.unwrap()), "denied", "{account:?}");
                assert_eq!(kind(held(s, account, None, None).await), "denied", "{account:?}");
                let query = PerformanceQuery {
                    account: account.into(),
                    skill: "pullback".into(),
                    version: "1.0.0".into(),
                    start: 0,
                    end: 9,
                    capital: None,
                    known_at: None,
                };
                assert_eq!(kind(s.performance(query).await.unwrap()), "denied", "{account:?}");
            }
            // It reads the one and does not add to it.
            for account in ["main", "nowhere", "paper-2", "paper-*"] {
                let said = submit(s, of_fills(account, vec![fill("f-1", None)])).await;
                assert_eq!(kind(said), "denied", "{account:?}");
            }
            s.errand.dry_run = true;
            assert_eq!(
                kind(submit(s, of_fills("paper-1", vec![fill("f-1", None)])).await),
                "denied",
                "a dry run"
            );
        })
    })
    .await
    .unwrap();
    for account in ["main", "paper-1", "paper-2"] {
        let filter = shiphold_storage::trades::ListFilter { account: account.into(), ..Default::default() };
        assert_eq!(host.layer.trades().fills(&OP, &filter).unwrap(), [], "{account}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_an_end_and_a_bound() {
    let host = host().await;
    within(&host, |s| {
        Box::pin(async move {
            // As many as fill a page, and one more.
            let all = (0..=1_000).map(|i| fill(&format!("f-{i}"), None)).collect();
            assert_eq!(submit(s, of_fills("paper-1", all)).await.unwrap().recorded, 1_001);
            let page = s.fills(of("paper-1"), None, 1_000).await.unwrap().unwrap();
            assert_eq!(page.len(), 1_000);
            let last = page.last().map(|f| f.seq);
            let rest = s.fills(of("paper-1"), last, 1_000).await.unwrap().unwrap();
            assert_eq!((rest.len(), rest[0].fill.client_id.as_str()), (1, "f-1000"));
            for more in [1_001, u32::MAX] {
                assert_eq!(kind(s.fills(of("paper-1"), None, more).await.unwrap()), "limit");
                assert_eq!(kind(s.orders(of("paper-1"), None, more).await.unwrap()), "limit");
                assert_eq!(kind(s.accounts(None, more).await.unwrap()), "limit");
                assert_eq!(kind(s.instruments(None, more).await.unwrap()), "limit");
            }
            let found = s.instruments(None, 1).await.unwrap().unwrap();
            assert_eq!((found.len(), found[0].name.as_str(), found[0].tick.as_str()), (1, "A", "0.01"));
            assert_eq!(s.instruments(Some("A".into()), 9).await.unwrap().unwrap()[0].name, "B");
            assert_eq!(s.accounts(Some("paper-1".into()), 9).await.unwrap().unwrap().len(), 1);
        })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_refused_whole_and_named() {
    let host = host().await;
    within(&host, |s| {
        Box::pin(async move {
            type Spoil = fn(&mut NewFill);
            let bad: [(Spoil, &str); 12] = [
                (|f| f.client_id = String::new(), "invalid"),
                (|f| f.client_id = "a b".into(), "invalid"),
                (|f| f.client_id = "f\0".into(), "invalid"),
                (|f| f.client_id = "f".repeat(129), "invalid"),
                (|f| f.instrument = "'; DROP TABLE trade_fills; --".into(), "not-found"),
                (|f| f.quantity = "0".into(), "invalid"),
                (|f| f.quantity = "-1".into(), "invalid"),
                (|f| f.quantity = "1e9".into(), "invalid"),
                (|f| f.price = "1,5".into(), "invalid"),
                (|f| f.price = "9".repeat(1_000), "invalid"),
                (|f| f.time = i64::MAX, "invalid"),
                (|f| f.void = true, "invalid"),
            ];
            for (i, (spoil, expected)) in bad.into_iter().enumerate() {
                let mut spoilt = fill("f-2", None);
                spoil(&mut spoilt);
                let said = submit(s, of_fills("paper-1", vec![fill("f-1", None), spoilt])).await;
                let text = format!("{said:?}");
                assert_eq!(kind(said), expected, "{i}: {text}");
                assert!(
                    text.contains("fills[1]: ") && text.len() < 2_000 && !text.contains('\u{1b}'),
                    "{text}"
                );
            }
            let mut orders = of_fills("paper-1", Vec::new());
            orders.orders = vec![NewOrder { signal: Some("[".repeat(5_000)), ..order("o-1") }];
            assert_eq!(kind(submit(s, orders).await), "invalid", "a deep signal");
            let found = s.fills(of("paper-1"), None, 9).await.unwrap().unwrap();
            assert!(found.is_empty(), "a batch is whole or not there: {found:?}");
            let name = "A\u{1b}[2J\u{202e}".repeat(100);
            assert_eq!(kind(s.find_instrument(name, None).await.unwrap()), "not-found");
        })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_a_skill_is_judged_at_prices_that_may_be_read() {
    let host = host().await;
    within(&host, |s| {
        Box::pin(async move {
            let batch = Batch {
                account: "paper-1".into(),
                orders: vec![order("o-1")],
                fills: vec![NewFill { price: "1".into(), ..fill("f-1", Some("o-1")) }],
                events: Vec::new(),
            };
            submit(s, batch).await.unwrap();
            let query = |version: &str| PerformanceQuery {
                account: "paper-1".into(),
                skill: "pullback".into(),
                version: version.into(),
                start: 0,
                end: 2 * 86_400_000_000_000,
                capital: Some("100".into()),
                known_at: None,
            };
            let found = s.performance(query("1.0.0")).await.unwrap().unwrap();
            // 4 at 1, which are at 2 on the second day, less the fee.
            assert_eq!((found.equity.as_str(), found.unrealised.as_str()), ("103.5", "4"), "{found:?}");
            assert_eq!((found.fills, found.samples), (1, 2), "{found:?}");
            assert_eq!(kind(s.performance(query("2.0.0")).await.unwrap()), "not-found");
            assert_eq!(kind(s.performance(query("one")).await.unwrap()), "invalid");
        })
    })
    .await
    .unwrap();
}
