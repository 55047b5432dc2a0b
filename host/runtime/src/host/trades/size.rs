//! Bytes of what crosses, for `limits.output` and `limits.input`.

use crate::bindings::shiphold::host::trades as wit;

/// Bytes of a text that may be absent, beside its place in a record.
pub(super) fn maybe(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

fn all<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    texts.into_iter().map(String::len).sum()
}

fn any<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> usize {
    texts.into_iter().map(|t| maybe(t.as_ref())).sum()
}

pub(super) fn account(a: &wit::Account) -> usize {
    size_of_val(a) + all([&a.name, &a.currency]) + maybe(a.broker.as_ref())
}

pub(super) fn instrument(i: &wit::Instrument) -> usize {
    size_of_val(i)
        + all([&i.name, &i.currency, &i.multiplier, &i.tick, &i.lot])
        + any([&i.bucket, &i.measurement])
}

fn new_order(o: &wit::NewOrder) -> usize {
    size_of_val(o)
        + all([&o.client_id, &o.instrument, &o.quantity])
        + any([&o.limit_price, &o.stop_price, &o.skill, &o.version, &o.signal])
}

fn new_fill(f: &wit::NewFill) -> usize {
    size_of_val(f)
        + all([&f.client_id, &f.instrument, &f.quantity, &f.price])
        + any([&f.fee, &f.order, &f.broker_id, &f.corrects, &f.reason])
}

fn new_event(e: &wit::NewEvent) -> usize {
    size_of_val(e) + e.order.len() + maybe(e.reason.as_ref())
}

pub(super) fn batch(b: &wit::Batch) -> usize {
    b.account.len()
        + b.orders.iter().map(new_order).sum::<usize>()
        + b.fills.iter().map(new_fill).sum::<usize>()
        + b.events.iter().map(new_event).sum::<usize>()
}

pub(super) fn receipt(r: &wit::Receipt) -> usize {
    let one = |r: &wit::Recorded| size_of_val(r) + r.client_id.len();
    size_of_val(r) + r.orders.iter().chain(&r.fills).chain(&r.events).map(one).sum::<usize>()
}

pub(super) fn filter(f: &wit::Filter) -> usize {
    size_of_val(f) + f.account.len() + any([&f.instrument, &f.order])
}

pub(super) fn order(o: &wit::Order) -> usize {
    let event = |e: &wit::OrderEvent| size_of_val(e) + maybe(e.reason.as_ref());
    size_of_val(o)
        + new_order(&o.order)
        + all([&o.filled, &o.recorded_by])
        + o.events.iter().map(event).sum::<usize>()
}

pub(super) fn fill(f: &wit::Fill) -> usize {
    size_of_val(f) + new_fill(&f.fill) + f.recorded_by.len()
}

pub(super) fn positions_query(q: &wit::PositionsQuery) -> usize {
    let price = |(name, price): &(String, String)| 2 * size_of::<String>() + name.len() + price.len();
    size_of_val(q) + q.account.len() + q.prices.iter().map(price).sum::<usize>()
}

pub(super) fn holdings(h: &wit::Holdings) -> usize {
    let position = |p: &wit::Position| {
        let own = [&p.instrument, &p.currency, &p.quantity, &p.cost, &p.realised, &p.fees];
        size_of_val(p) + all(own) + all([&p.price, &p.value, &p.unrealised]) + maybe(p.average.as_ref())
    };
    let balance = |b: &wit::Balance| {
        let own = [&b.currency, &b.cash, &b.moved, &b.realised, &b.unrealised, &b.fees, &b.equity];
        size_of_val(b) + all(own)
    };
    h.positions.iter().map(position).sum::<usize>() + h.balances.iter().map(balance).sum::<usize>()
}

pub(super) fn performance_query(q: &wit::PerformanceQuery) -> usize {
    size_of_val(q) + all([&q.account, &q.skill, &q.version]) + maybe(q.capital.as_ref())
}

pub(super) fn performance(p: &wit::SkillPerformance) -> usize {
    size_of_val(p) + all([&p.currency, &p.capital, &p.equity, &p.realised, &p.unrealised, &p.fees])
}
