//! What the record holds, for a guest. Numbers are the texts that JSON has.

use crate::bindings::shiphold::host::trades as wit;
use serde_json::Value;
use shiphold_storage::trades::{
    Account, Balance, BatchAnswer, EventState, Fill, Instrument, InstrumentKind, NewFill, NewOrder, Order,
    OrderEvent, OrderState, OrderType, Position, Recorded, Side, SkillPerformance, TimeInForce,
};

/// An enum of the record as the one of the interface with the same name and cases.
macro_rules! case {
    ($of:expr => $name:ident: $($case:ident)+) => {
        match $of { $($name::$case => wit::$name::$case),+ }
    };
}

fn side(of: Side) -> wit::Side {
    case!(of => Side: Buy Sell)
}

pub(super) fn account(a: Account) -> wit::Account {
    wit::Account { name: a.name, currency: a.currency, broker: a.broker }
}

pub(super) fn instrument(i: Instrument) -> wit::Instrument {
    wit::Instrument {
        name: i.name,
        kind: case!(i.kind => InstrumentKind: Equity Fund Bond Option Future Currency Crypto Other),
        currency: i.currency,
        multiplier: i.multiplier.to_string(),
        tick: i.tick.to_string(),
        lot: i.lot.to_string(),
        bucket: i.bucket,
        measurement: i.measurement,
    }
}

fn new_order(o: NewOrder) -> wit::NewOrder {
    wit::NewOrder {
        client_id: o.client_id,
        instrument: o.instrument,
        side: side(o.side),
        type_: case!(o.kind => OrderType: Market Limit Stop StopLimit Other),
        quantity: o.quantity.to_string(),
        limit_price: o.limit_price.map(|p| p.to_string()),
        stop_price: o.stop_price.map(|p| p.to_string()),
        time_in_force: case!(o.time_in_force => TimeInForce: Day Gtc Ioc Fok Gtd Opg Cls),
        skill: o.skill,
        version: o.version,
        signal: (o.signal != Value::Null).then(|| o.signal.to_string()),
        time: o.time,
    }
}

fn order_event(e: OrderEvent) -> wit::OrderEvent {
    let state = case!(e.state => EventState: Submitted Accepted CancelRequested Cancelled Rejected Expired);
    wit::OrderEvent { seq: e.seq, state, time: e.time, reason: e.reason }
}

pub(super) fn order(o: Order) -> wit::Order {
    let state = case!(o.state => OrderState:
        New Submitted Accepted PartiallyFilled CancelRequested Filled Cancelled Rejected Expired);
    wit::Order {
        seq: o.seq,
        order: new_order(o.order),
        state,
        filled: o.filled.to_string(),
        events: o.events.into_iter().map(order_event).collect(),
        recorded_at: o.recorded_at,
        recorded_by: o.recorded_by,
    }
}

fn new_fill(f: NewFill) -> wit::NewFill {
    wit::NewFill {
        client_id: f.client_id,
        instrument: f.instrument,
        side: side(f.side),
        quantity: f.quantity.to_string(),
        price: f.price.to_string(),
        fee: Some(f.fee.to_string()),
        time: f.time,
        order: f.order,
        broker_id: f.broker_id,
        corrects: f.corrects,
        void: f.void,
        reason: f.reason,
    }
}

pub(super) fn fill(f: Fill) -> wit::Fill {
    wit::Fill {
        seq: f.seq,
        fill: new_fill(f.fill),
        late: f.late,
        recorded_at: f.recorded_at,
        recorded_by: f.recorded_by,
    }
}

pub(super) fn position(p: Position) -> wit::Position {
    wit::Position {
        instrument: p.instrument,
        currency: p.currency,
        quantity: p.quantity.to_string(),
        average: p.average.map(|a| a.to_string()),
        cost: p.cost.to_string(),
        realised: p.realised.to_string(),
        fees: p.fees.to_string(),
        fills: p.fills,
        price: p.price.to_string(),
        value: p.value.to_string(),
        unrealised: p.unrealised.to_string(),
    }
}

pub(super) fn balance(b: Balance) -> wit::Balance {
    wit::Balance {
        currency: b.currency,
        cash: b.cash.to_string(),
        moved: b.moved.to_string(),
        realised: b.realised.to_string(),
        unrealised: b.unrealised.to_string(),
        fees: b.fees.to_string(),
        equity: b.equity.to_string(),
    }
}

pub(super) fn performance(p: SkillPerformance) -> wit::SkillPerformance {
    let figures = p.performance;
    wit::SkillPerformance {
        currency: p.currency,
        capital: p.capital.to_string(),
        equity: p.equity.to_string(),
        realised: p.realised.to_string(),
        unrealised: p.unrealised.to_string(),
        fees: p.fees.to_string(),
        fills: p.fills,
        trades: p.trades,
        exposure: p.exposure,
        returns: figures.returns,
        sharpe: figures.sharpe,
        win_rate: figures.win_rate,
        max_drawdown: figures.max_drawdown,
        samples: figures.samples,
    }
}

fn recorded(r: Recorded) -> wit::Recorded {
    wit::Recorded { client_id: r.client_id, seq: r.seq, replayed: r.replayed, late: r.late }
}

pub(super) fn receipt(done: BatchAnswer) -> wit::Receipt {
    let all = |rows: Vec<Recorded>| rows.into_iter().map(recorded).collect();
    wit::Receipt {
        recorded: done.recorded,
        orders: all(done.orders),
        fills: all(done.fills),
        events: all(done.events),
    }
}
