//! Orders, what is said of them, and how they stand.

use super::machine::{self, At, OrderState};
use super::number::Number;
use super::record::Recorder;
use super::types::{EVENTS_MAX, EventState, NewEvent, NewOrder, OrderType, Recorded, Side, TimeInForce};
use super::writing::{known_seq, origin};
use super::{AsOf, Trades, accounts, check};
use crate::caller::Caller;
use crate::error::{Error, Result};
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An order and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Order {
    pub seq: i64,
    #[serde(flatten)]
    pub order: NewOrder,
    pub state: OrderState,
    pub filled: Number,
    /// When it was recorded, in nanoseconds since the Unix epoch, and by whom.
    pub recorded_at: i64,
    pub recorded_by: String,
    pub events: Vec<OrderEvent>,
}

/// What was said of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderEvent {
    pub seq: i64,
    pub state: EventState,
    pub time: i64,
    pub reason: Option<String>,
}

/// What must be known of an order when something of it is recorded.
#[derive(Debug)]
pub(super) struct Standing {
    seq: i64,
    pub instrument: i64,
    pub side: Side,
    pub quantity: Number,
    pub filled: Number,
    /// When its fills were, and how many of each time.
    times: BTreeMap<i64, u32>,
    events: Vec<At>,
}

impl Standing {
    pub fn read(c: &Connection, account: i64, client_id: &str) -> Result<Option<Self>> {
        let row = c
            .prepare_cached(
                "SELECT seq, instrument, side, quantity FROM trade_orders WHERE account = ?1 AND client_id = ?2",
            )?
            .query_row((account, client_id), |r| {
                Ok((r.get(0)?, r.get(1)?, r.get::<_, String>(2)?, r.get::<_, String>(3)?))
            })
            .optional()?;
        let Some((seq, instrument, side, quantity)) = row else { return Ok(None) };
        let events =
            events(c, seq, AsOf::default(), i64::MAX)?.into_iter().map(|e| (e.time, e.state)).collect();
        let mut standing = Self {
            seq,
            instrument,
            side: Side::read(&side)?,
            quantity: quantity.parse()?,
            filled: Number::ZERO,
            times: BTreeMap::new(),
            events: machine::in_order(events)?,
        };
        for (time, quantity, instrument, side) in fills(c, account, client_id, AsOf::default(), i64::MAX)? {
            standing.add(client_id, instrument, side, quantity, time)?;
        }
        Ok(Some(standing))
    }

    /// Has it ended?
    pub fn end(&self) -> Option<At> {
        machine::end(&self.events)
    }

    fn takes(&self, order: &str, instrument: i64, side: Side) -> Result<()> {
        if (instrument, side) == (self.instrument, self.side) {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "a fill of order `{order}` is of another instrument or goes the other way"
        ))
        .hint("correct whichever of the two is wrong; a fill may name no order"))
    }

    /// Adds a fill; whether all of them fit is for [`Standing::holds`] to say.
    pub fn add(
        &mut self,
        order: &str,
        instrument: i64,
        side: Side,
        quantity: Number,
        time: i64,
    ) -> Result<()> {
        self.takes(order, instrument, side)?;
        self.filled = self.filled.plus(quantity)?;
        *self.times.entry(time).or_default() += 1;
        Ok(())
    }

    /// Takes a fill away, in whose place another one counts.
    pub fn remove(&mut self, quantity: Number, time: i64) -> Result<()> {
        self.filled = self.filled.minus(quantity)?;
        if let Some(count) = self.times.get_mut(&time) {
            *count -= 1;
            if *count == 0 {
                self.times.remove(&time);
            }
        }
        Ok(())
    }

    /// Do its fills fit it?
    pub fn holds(&self, order: &str) -> Result<()> {
        if self.filled > self.quantity {
            return Err(Error::conflict(format!(
                "of order `{order}` {} would be filled, and {} were ordered",
                self.filled, self.quantity
            ))
            .hint("if the broker did fill more, record the rest as a fill without an order"));
        }
        let last = self.times.last_key_value().map(|(time, _)| *time);
        match self.end().zip(last) {
            Some(((time, state), last)) if last > time => Err(Error::conflict(format!(
                "a fill of order `{order}` at {last} is after it was `{}` at {time}",
                state.word()
            ))
            .hint(
                "what happened before is taken, late as it is; if the broker did fill it afterwards, record it without an order",
            )),
            _ => Ok(()),
        }
    }
}

/// Time, quantity, instrument and side of the fills of an order that count.
fn fills(
    c: &Connection,
    account: i64,
    order: &str,
    as_of: AsOf,
    known: i64,
) -> Result<Vec<(i64, Number, i64, Side)>> {
    let mut statement = c.prepare_cached(
        "SELECT time, quantity, instrument, side FROM trade_fills f
         WHERE account = ?1 AND order_ref = ?2 AND time <= ?3 AND seq <= ?4 AND void = 0
           AND NOT EXISTS (SELECT 1 FROM trade_fills s WHERE s.supersedes = f.seq AND s.seq <= ?4)",
    )?;
    let rows = statement.query_map((account, order, as_of.at.unwrap_or(i64::MAX), known), |r| {
        Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?, r.get::<_, String>(3)?))
    })?;
    let read = |row: rusqlite::Result<(i64, String, i64, String)>| {
        let (time, quantity, instrument, side) = row?;
        Ok((time, quantity.parse()?, instrument, Side::read(&side)?))
    };
    rows.map(read).collect()
}

fn events(c: &Connection, order: i64, as_of: AsOf, known: i64) -> Result<Vec<OrderEvent>> {
    let mut statement = c.prepare_cached(
        "SELECT seq, state, time, reason FROM trade_order_events WHERE order_id = ?1 AND time <= ?2 AND seq <= ?3
         ORDER BY time, seq",
    )?;
    let rows = statement.query_map((order, as_of.at.unwrap_or(i64::MAX), known), |r| {
        Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?, r.get(3)?))
    })?;
    rows.map(|row| {
        let (seq, state, time, reason) = row?;
        Ok(OrderEvent { seq, state: EventState::read(&state)?, time, reason })
    })
    .collect()
}

impl Recorder<'_> {
    pub(super) fn order(&mut self, new: &NewOrder) -> Result<Recorded> {
        check::order(new)?;
        let recorded =
            |seq, replayed| Recorded { client_id: new.client_id.clone(), seq, replayed, late: false };
        let instrument = self.instrument(&new.instrument, new.time)?;
        let order = NewOrder { instrument: instrument.name.clone(), ..new.clone() };
        if let Some(there) = find(self.writing.tx, self.account, &new.client_id)? {
            return match there.1 == order {
                true => Ok(recorded(there.0, true)),
                false => Err(another("an order", &new.client_id)),
            };
        }
        let (tick, lot) = instrument.steps(new.time);
        check::quantity(new.quantity, lot)?;
        for price in [new.limit_price, new.stop_price].into_iter().flatten() {
            check::price(price, instrument.terms.kind)?;
            check::value("an order", instrument.terms.value(new.quantity, price)?)?;
            if !price.is_multiple_of(tick) {
                return Err(Error::invalid(format!("the price {price} is no multiple of the tick {tick}"))
                    .hint(
                        "record the tick that holds from a time on with `shiphold trades instrument terms`",
                    ));
            }
        }
        if let (Some(skill), Some(version)) = (&new.skill, &new.version) {
            check::id("name of a skill", skill)?;
            version.parse::<crate::skills::Version>().map_err(|e| {
                Error::invalid(format!("`{}` is no version: {e}", version.escape_debug()))
                    .hint("write it as in `1.0.0`")
            })?;
        }
        let seq = self.writing.row("orders", &json!({ "account": self.account, "order": order }))?;
        let signal = if order.signal.is_null() { None } else { Some(order.signal.to_string()) };
        self.writing
            .tx
            .prepare_cached(
                "INSERT INTO trade_orders(seq, account, client_id, instrument, side, type, quantity, limit_price, stop_price,
                     time_in_force, skill, version, signal, placed_at)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
            )?
            .execute((
                seq,
                self.account,
                &order.client_id,
                instrument.id,
                order.side.word(),
                order.kind.word(),
                order.quantity.to_string(),
                order.limit_price.map(|p| p.to_string()),
                order.stop_price.map(|p| p.to_string()),
                order.time_in_force.word(),
                &order.skill,
                &order.version,
                signal,
                order.time,
            ))?;
        // Fills that came before it are its own from now on, if they can be.
        self.forget(&order.client_id);
        match self.standing(&order.client_id)? {
            Some(standing) => standing.holds(&order.client_id)?,
            None => return Err(Error::internal("an order is not there after it was recorded")),
        }
        Ok(recorded(seq, false))
    }

    pub(super) fn event(&mut self, new: &NewEvent) -> Result<Recorded> {
        check::id("client id of an order", &new.order)?;
        check::time(new.time)?;
        check::text("reason", new.reason.as_deref())?;
        let recorded = |seq, replayed| Recorded { client_id: new.order.clone(), seq, replayed, late: false };
        let tx = self.writing.tx;
        let Some(standing) = self.standing(&new.order)? else { return Err(unknown(&new.order)) };
        let order = standing.seq;
        let there: Option<(i64, Option<String>)> = tx
            .prepare_cached(
                "SELECT seq, reason FROM trade_order_events WHERE order_id = ?1 AND time = ?2 AND state = ?3",
            )?
            .query_row((order, new.time, new.state.word()), |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        if let Some((seq, reason)) = there {
            return match reason == new.reason {
                true => Ok(recorded(seq, true)),
                false => Err(another("an event of order", &new.order)),
            };
        }
        if standing.events.len() >= EVENTS_MAX {
            return Err(Error::limit(
                format!("one more event of order `{}`", new.order),
                EVENTS_MAX,
                "look at what sends them again and again",
            ));
        }
        let mut events = standing.events.clone();
        events.push((new.time, new.state));
        standing.events = machine::in_order(events)?;
        standing.holds(&new.order)?;
        let seq = self.writing.row("order_events", &json!({ "account": self.account, "event": new }))?;
        tx.prepare_cached(
            "INSERT INTO trade_order_events(seq, order_id, time, state, reason) VALUES (?1,?2,?3,?4,?5)",
        )?
        .execute((seq, order, new.time, new.state.word(), &new.reason))?;
        Ok(recorded(seq, false))
    }
}

/// The same id with other content.
pub(super) fn another(what: &str, id: &str) -> Error {
    Error::conflict(format!("{what} `{id}` is recorded, and is another one"))
        .hint("give each an id of its own; what was wrong is corrected by a row that names it in `corrects`")
}

fn unknown(order: &str) -> Error {
    Error::not_found(format!("there is no order `{order}`"))
        .hint("record the order first; only fills may come before it")
}

/// Number and content of an order.
fn find(c: &Connection, account: i64, client_id: &str) -> Result<Option<(i64, NewOrder)>> {
    let row = c
        .prepare_cached(
            "SELECT o.seq, o.client_id, i.name, o.side, o.type, o.quantity, o.limit_price, o.stop_price, o.time_in_force,
                    o.skill, o.version, o.signal, o.placed_at
             FROM trade_orders o JOIN trade_instruments i ON i.id = o.instrument WHERE o.account = ?1 AND o.client_id = ?2",
        )?
        .query_row((account, client_id), |r| Ok((r.get(0)?, Text::read(r)?)))
        .optional()?;
    row.map(|(seq, text): (i64, Text)| Ok((seq, text.order()?))).transpose()
}

/// An order as its columns have it, from the second on.
pub(super) struct Text {
    client_id: String,
    instrument: String,
    words: [String; 4],
    prices: [Option<String>; 2],
    skill: Option<String>,
    version: Option<String>,
    signal: Option<String>,
    time: i64,
}

impl Text {
    pub fn read(r: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            client_id: r.get(1)?,
            instrument: r.get(2)?,
            words: [r.get(3)?, r.get(4)?, r.get(5)?, r.get(8)?],
            prices: [r.get(6)?, r.get(7)?],
            skill: r.get(9)?,
            version: r.get(10)?,
            signal: r.get(11)?,
            time: r.get(12)?,
        })
    }

    pub fn order(self) -> Result<NewOrder> {
        let [side, kind, quantity, time_in_force] = self.words;
        let [limit, stop] = self.prices;
        let signal = match self.signal {
            None => Value::Null,
            Some(text) => serde_json::from_str(&text)
                .map_err(|e| Error::corrupt(format!("the signal of order `{}`: {e}", self.client_id)))?,
        };
        Ok(NewOrder {
            client_id: self.client_id,
            instrument: self.instrument,
            side: Side::read(&side)?,
            kind: OrderType::read(&kind)?,
            quantity: quantity.parse()?,
            limit_price: limit.map(|p| p.parse()).transpose()?,
            stop_price: stop.map(|p| p.parse()).transpose()?,
            time_in_force: TimeInForce::read(&time_in_force)?,
            skill: self.skill,
            version: self.version,
            signal,
            time: self.time,
        })
    }
}

/// An order with what became of it as of a moment.
pub(super) fn whole(c: &Connection, account: i64, seq: i64, order: NewOrder, as_of: AsOf) -> Result<Order> {
    let known = known_seq(c, as_of.known_at)?;
    let events = events(c, seq, as_of, known)?;
    let mut filled = Number::ZERO;
    for (_, quantity, ..) in fills(c, account, &order.client_id, as_of, known)? {
        filled = filled.plus(quantity)?;
    }
    let said = machine::in_order(events.iter().map(|e| (e.time, e.state)).collect())?;
    let (recorded_at, recorded_by) = origin(c, seq)?;
    Ok(Order {
        seq,
        state: machine::state(&said, filled, order.quantity),
        order,
        filled,
        recorded_at,
        recorded_by,
        events,
    })
}

impl Trades {
    /// An order and what became of it as of a moment.
    pub fn order(&self, caller: &Caller, account: &str, client_id: &str, as_of: AsOf) -> Result<Order> {
        caller.may_read_trades(account, "read orders")?;
        check::id("client id of an order", client_id)?;
        self.db.read(|c| {
            let (account, _) = accounts::account(c, account)?;
            let Some((seq, order)) = find(c, account, client_id)? else { return Err(unknown(client_id)) };
            let known = known_seq(c, as_of.known_at)?;
            if seq > known || as_of.at.is_some_and(|at| at < order.time) {
                return Err(Error::not_found(format!(
                    "order `{client_id}` was not there, or not known, at that time"
                ))
                .hint("ask without `at` and `known_at`"));
            }
            whole(c, account, seq, order, as_of)
        })
    }
}
