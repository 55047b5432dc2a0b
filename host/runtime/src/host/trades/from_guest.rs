//! What a guest asks and submits. The data layer looks at all of it; here only texts become numbers.

use super::PRICES_MAX;
use crate::bindings::shiphold::host::trades as wit;
use serde_json::Value;
use shiphold_storage::trades::{
    Batch, EventState, NewEvent, NewFill, NewOrder, Number, OrderType, PerformanceQuery, Side, TimeInForce,
};
use shiphold_storage::{Error, Result};
use std::collections::BTreeMap;

/// An enum of the interface as the one of the same name and cases.
macro_rules! case {
    ($of:expr => $name:ident: $($case:ident)+) => {
        match $of { $(wit::$name::$case => $name::$case),+ }
    };
}

fn side(of: wit::Side) -> Side {
    case!(of => Side: Buy Sell)
}

fn number(what: &str, text: &str) -> Result<Number> {
    text.parse().map_err(|e: Error| e.context(what))
}

fn maybe(what: &str, text: Option<&String>) -> Result<Option<Number>> {
    text.map(|text| number(what, text)).transpose()
}

/// Prices by the names of instruments.
pub(super) fn prices(all: Vec<(String, String)>) -> Result<BTreeMap<String, Number>> {
    if all.len() > PRICES_MAX {
        return Err(Error::limit(
            format!("{} prices", all.len()),
            PRICES_MAX,
            "give those of what is held, a page at a time",
        ));
    }
    let mut out = BTreeMap::new();
    for (name, price) in all {
        let shown = name.escape_debug().to_string();
        let price = number(&format!("the price of `{shown}`"), &price)?;
        if out.insert(name, price).is_some() {
            return Err(Error::invalid(format!("the price of `{shown}` is given twice"))
                .hint("give one price for each instrument"));
        }
    }
    Ok(out)
}

pub(super) fn performance_query(query: wit::PerformanceQuery) -> Result<PerformanceQuery> {
    Ok(PerformanceQuery {
        capital: maybe("capital", query.capital.as_ref())?,
        account: query.account,
        skill: query.skill,
        version: query.version,
        start: query.start,
        end: query.end,
        known_at: query.known_at,
    })
}

fn order(new: wit::NewOrder) -> Result<NewOrder> {
    let signal = new.signal.map_or(Ok(Value::Null), |text| {
        serde_json::from_str(&text).map_err(|e| {
            Error::invalid(format!("the signal is not JSON: {e}")).hint("write a JSON value, or leave it out")
        })
    })?;
    Ok(NewOrder {
        client_id: new.client_id,
        instrument: new.instrument,
        side: side(new.side),
        kind: case!(new.type_ => OrderType: Market Limit Stop StopLimit Other),
        quantity: number("quantity", &new.quantity)?,
        limit_price: maybe("limit-price", new.limit_price.as_ref())?,
        stop_price: maybe("stop-price", new.stop_price.as_ref())?,
        time_in_force: case!(new.time_in_force => TimeInForce: Day Gtc Ioc Fok Gtd Opg Cls),
        skill: new.skill,
        version: new.version,
        signal,
        time: new.time,
    })
}

fn fill(new: wit::NewFill) -> Result<NewFill> {
    Ok(NewFill {
        client_id: new.client_id,
        instrument: new.instrument,
        side: side(new.side),
        quantity: number("quantity", &new.quantity)?,
        price: number("price", &new.price)?,
        fee: maybe("fee", new.fee.as_ref())?.unwrap_or(Number::ZERO),
        time: new.time,
        order: new.order,
        broker_id: new.broker_id,
        corrects: new.corrects,
        void: new.void,
        reason: new.reason,
    })
}

fn event(new: wit::NewEvent) -> NewEvent {
    NewEvent {
        order: new.order,
        state: case!(new.state => EventState: Submitted Accepted CancelRequested Cancelled Rejected Expired),
        time: new.time,
        reason: new.reason,
    }
}

/// What is wrong is named as the data layer names it: `fills[3]: …`.
fn each<T, U>(what: &str, rows: Vec<T>, f: impl Fn(T) -> Result<U>) -> Result<Vec<U>> {
    let one = |(i, row)| f(row).map_err(|e| e.context(format!("{what}[{i}]")));
    rows.into_iter().enumerate().map(one).collect()
}

pub(super) fn batch(batch: wit::Batch) -> Result<Batch> {
    Ok(Batch {
        account: batch.account,
        orders: each("orders", batch.orders, order)?,
        fills: each("fills", batch.fills, fill)?,
        events: batch.events.into_iter().map(event).collect(),
        cash: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::Kind;

    fn new_order() -> wit::NewOrder {
        wit::NewOrder {
            client_id: "o-1".into(),
            instrument: "AAPL".into(),
            side: wit::Side::Sell,
            type_: wit::OrderType::StopLimit,
            quantity: "10.50".into(),
            limit_price: Some("190.5".into()),
            stop_price: Some("191".into()),
            time_in_force: wit::TimeInForce::Gtd,
            skill: Some("pullback".into()),
            version: Some("1.0.0".into()),
            signal: Some("{\"rsi\":28.5}".into()),
            time: 7,
        }
    }

    fn new_fill() -> wit::NewFill {
        wit::NewFill {
            client_id: "f-1".into(),
            instrument: "AAPL".into(),
            side: wit::Side::Buy,
            quantity: "0.000000000000000001".into(),
            price: "-37.63".into(),
            fee: None,
            time: 8,
            order: Some("o-1".into()),
            broker_id: Some("b".into()),
            corrects: Some("f-0".into()),
            void: true,
            reason: Some("never".into()),
        }
    }

    #[test]
    fn rows_come_as_they_were_given() {
        let n = |text: &str| text.parse::<Number>().unwrap();
        let expected = NewOrder {
            client_id: "o-1".into(),
            instrument: "AAPL".into(),
            side: Side::Sell,
            kind: OrderType::StopLimit,
            quantity: n("10.5"),
            limit_price: Some(n("190.5")),
            stop_price: Some(n("191")),
            time_in_force: TimeInForce::Gtd,
            skill: Some("pullback".into()),
            version: Some("1.0.0".into()),
            signal: serde_json::json!({ "rsi": 28.5 }),
            time: 7,
        };
        assert_eq!(order(new_order()).unwrap(), expected);
        let expected = NewFill {
            client_id: "f-1".into(),
            instrument: "AAPL".into(),
            side: Side::Buy,
            quantity: n("0.000000000000000001"),
            price: n("-37.63"),
            fee: Number::ZERO,
            time: 8,
            order: Some("o-1".into()),
            broker_id: Some("b".into()),
            corrects: Some("f-0".into()),
            void: true,
            reason: Some("never".into()),
        };
        assert_eq!(fill(new_fill()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_number_is_named_by_its_place() {
        let of = |orders: Vec<wit::NewOrder>, fills: Vec<wit::NewFill>| {
            batch(wit::Batch { account: "main".into(), orders, fills, events: Vec::new() }).unwrap_err()
        };
        type SpoilOrder = fn(&mut wit::NewOrder);
        let orders: [(SpoilOrder, &str); 4] = [
            (|o| o.quantity = "1e3".into(), "orders[1]: quantity: "),
            (|o| o.limit_price = Some(String::new()), "orders[1]: limit-price: "),
            (|o| o.stop_price = Some("NaN".into()), "orders[1]: stop-price: "),
            (|o| o.signal = Some("{".into()), "orders[1]: the signal is not JSON"),
        ];
        for (spoil, words) in orders {
            let mut bad = new_order();
            spoil(&mut bad);
            let e = of(vec![new_order(), bad], Vec::new());
            assert!(e.kind() == Kind::Invalid && e.message().starts_with(words), "{words}: {e:?}");
        }
        type SpoilFill = fn(&mut wit::NewFill);
        let fills: [(SpoilFill, &str); 3] = [
            (|f| f.quantity = "1,5".into(), "fills[0]: quantity: "),
            (|f| f.price = "\u{1b}[2J".into(), "fills[0]: price: "),
            (|f| f.fee = Some("9".repeat(1 << 20)), "fills[0]: fee: "),
        ];
        for (spoil, words) in fills {
            let mut bad = new_fill();
            spoil(&mut bad);
            let e = of(Vec::new(), vec![bad]);
            assert!(e.kind() == Kind::Invalid && e.message().starts_with(words), "{words}: {e:?}");
            assert!(e.message().len() < 1_000 && !e.message().contains('\u{1b}'), "{e:?}");
        }
    }
}
