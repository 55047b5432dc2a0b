//! Lists of orders, fills and movements of cash, in the order in which they were recorded, a page at a time.

use super::instruments::name_of;
use super::number::Number;
use super::orders::{self, Order};
use super::types::{AsOf, CashKind, NewFill, PAGE_MAX};
use super::writing::{known_seq, origin};
use super::{Trades, accounts, cash, fills, instruments};
use crate::caller::Caller;
use crate::error::{Error, Result};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// Rows of a page when none are asked for.
const PAGE_DEFAULT: u64 = 1_000;
/// Events of all orders of one page.
pub const PAGE_EVENTS_MAX: usize = 100_000;

/// Which rows of an account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListFilter {
    pub account: String,
    pub instrument: Option<String>,
    /// Of fills: those of this order.
    pub order: Option<String>,
    /// When it happened, in nanoseconds; the end is not in it.
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// Only what had been recorded by then.
    pub known_at: Option<i64>,
    /// Also versions in whose place another one counts, and what is void.
    pub all: bool,
    /// Only what follows this number: the next page.
    pub after: Option<i64>,
    /// Default 1,000, at most [`PAGE_MAX`].
    pub limit: Option<u64>,
}

impl ListFilter {
    fn limit(&self) -> Result<i64> {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT);
        if limit > PAGE_MAX {
            return Err(Error::limit(format!("a page of {limit} rows"), PAGE_MAX, "page with `after`"));
        }
        Ok(limit.cast_signed())
    }

    fn times(&self) -> (i64, i64) {
        (self.since.unwrap_or(i64::MIN), self.until.unwrap_or(i64::MAX))
    }
}

/// A version of a fill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fill {
    pub seq: i64,
    #[serde(flatten)]
    pub fill: NewFill,
    /// Its order had ended when it was recorded.
    pub late: bool,
    pub recorded_at: i64,
    pub recorded_by: String,
}

/// A version of a movement of cash; the amount has the sign that it has for the account.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CashRow {
    pub seq: i64,
    pub client_id: String,
    pub currency: String,
    pub kind: CashKind,
    pub amount: Number,
    pub time: i64,
    pub instrument: Option<String>,
    /// Number of the version in whose place it counts.
    pub supersedes: Option<i64>,
    pub void: bool,
    pub reason: Option<String>,
    pub recorded_at: i64,
    pub recorded_by: String,
}

impl Trades {
    /// Fills, those that count, in the order in which they were recorded.
    pub fn fills(&self, caller: &Caller, filter: &ListFilter) -> Result<Vec<Fill>> {
        caller.may_read_trades(&filter.account, "list fills")?;
        let (limit, (since, until)) = (filter.limit()?, filter.times());
        self.db.read(|c| {
            let (account, _) = accounts::account(c, &filter.account)?;
            let known = known_seq(c, filter.known_at)?;
            let instrument = instrument(c, filter.instrument.as_deref())?;
            let of_order = if filter.order.is_some() { "f.order_ref = ?7" } else { "?7 IS NULL" };
            let sql = format!(
                "SELECT {} FROM trade_fills f
                 WHERE f.account = ?1 AND f.seq > ?2 AND f.seq <= ?3 AND f.time >= ?4 AND f.time < ?5
                   AND (?6 IS NULL OR f.instrument = ?6) AND {of_order}
                   AND (?8 OR (f.void = 0 AND NOT EXISTS (SELECT 1 FROM trade_fills s WHERE s.supersedes = f.seq AND s.seq <= ?3)))
                 ORDER BY f.seq LIMIT ?9",
                fills::COLUMNS
            );
            let mut statement = c.prepare_cached(&sql)?;
            let values = (
                account,
                filter.after.unwrap_or(0),
                known,
                since,
                until,
                instrument,
                filter.order.as_deref(),
                filter.all,
                limit,
            );
            let rows = statement.query_map(values, fills::Text::read)?;
            rows.map(|row| shown(c, account, row?.stored()?)).collect()
        })
    }

    /// Movements of cash, in the order in which they were recorded.
    pub fn cash_movements(&self, caller: &Caller, filter: &ListFilter) -> Result<Vec<CashRow>> {
        caller.may_read_trades(&filter.account, "list movements of cash")?;
        let (limit, (since, until)) = (filter.limit()?, filter.times());
        self.db.read(|c| {
            let (account, _) = accounts::account(c, &filter.account)?;
            let known = known_seq(c, filter.known_at)?;
            let sql = format!(
                "SELECT {} FROM trade_cash m
                 WHERE m.account = ?1 AND m.seq > ?2 AND m.seq <= ?3 AND m.time >= ?4 AND m.time < ?5
                   AND (?6 OR (m.void = 0 AND NOT EXISTS (SELECT 1 FROM trade_cash s WHERE s.supersedes = m.seq AND s.seq <= ?3)))
                 ORDER BY m.seq LIMIT ?7",
                cash::COLUMNS
            );
            let mut statement = c.prepare_cached(&sql)?;
            let values = (account, filter.after.unwrap_or(0), known, since, until, filter.all, limit);
            let rows = statement.query_map(values, cash::Text::read)?;
            rows.map(|row| {
                let m = row?.stored()?;
                let (recorded_at, recorded_by) = origin(c, m.seq)?;
                Ok(CashRow {
                    seq: m.seq,
                    client_id: m.client_id,
                    currency: m.currency,
                    kind: m.kind,
                    amount: m.amount,
                    time: m.time,
                    instrument: m.instrument.map(|i| name_of(c, i)).transpose()?,
                    supersedes: m.supersedes,
                    void: m.void,
                    reason: m.reason,
                    recorded_at,
                    recorded_by,
                })
            })
            .collect()
        })
    }

    /// Orders with what became of them, in the order in which they were recorded. `since` and `until` are of when they were placed.
    pub fn orders(&self, caller: &Caller, filter: &ListFilter) -> Result<Vec<Order>> {
        caller.may_read_trades(&filter.account, "list orders")?;
        let (limit, (since, until)) = (filter.limit()?, filter.times());
        self.db.read(|c| {
            let (account, _) = accounts::account(c, &filter.account)?;
            let known = known_seq(c, filter.known_at)?;
            let instrument = instrument(c, filter.instrument.as_deref())?;
            let mut statement = c.prepare_cached(
                "SELECT o.seq, o.client_id, i.name, o.side, o.type, o.quantity, o.limit_price, o.stop_price, o.time_in_force,
                        o.skill, o.version, o.signal, o.placed_at
                 FROM trade_orders o JOIN trade_instruments i ON i.id = o.instrument
                 WHERE o.account = ?1 AND o.seq > ?2 AND o.seq <= ?3 AND o.placed_at >= ?4 AND o.placed_at < ?5
                   AND (?6 IS NULL OR o.instrument = ?6) AND (?7 IS NULL OR o.client_id = ?7)
                 ORDER BY o.seq LIMIT ?8",
            )?;
            let values = (
                account,
                filter.after.unwrap_or(0),
                known,
                since,
                until,
                instrument,
                filter.order.as_deref(),
                limit,
            );
            let rows = statement.query_map(values, |r| Ok((r.get(0)?, orders::Text::read(r)?)))?;
            let as_of = AsOf { at: None, known_at: filter.known_at };
            let (mut all, mut events) = (Vec::new(), 0);
            for row in rows {
                let (seq, text) = row?;
                let order = orders::whole(c, account, seq, text.order()?, as_of)?;
                events += order.events.len();
                if events > PAGE_EVENTS_MAX {
                    return Err(Error::limit(
                        "what happened to the orders of a page",
                        format!("{PAGE_EVENTS_MAX} events"),
                        "ask for fewer orders with `limit`, and page with `after`",
                    ));
                }
                all.push(order);
            }
            Ok(all)
        })
    }
}

fn instrument(c: &Connection, name: Option<&str>) -> Result<Option<i64>> {
    name.map(|name| instruments::resolve(c, name, i64::MAX).map(|i| i.id)).transpose()
}

pub(super) fn shown(c: &Connection, account: i64, stored: fills::Stored) -> Result<Fill> {
    let corrects: Option<String> = match stored.supersedes {
        None => None,
        // The id of its first version, by which a client knows it.
        Some(_) => Some(fills::first_id(c, account, stored.fill)?),
    };
    let (recorded_at, recorded_by) = origin(c, stored.seq)?;
    Ok(Fill {
        seq: stored.seq,
        fill: NewFill {
            client_id: stored.client_id,
            instrument: name_of(c, stored.instrument)?,
            side: stored.side,
            quantity: stored.quantity,
            price: stored.price,
            fee: stored.fee,
            time: stored.time,
            order: stored.order,
            broker_id: stored.broker_id,
            corrects,
            void: stored.void,
            reason: stored.reason,
        },
        late: stored.late,
        recorded_at,
        recorded_by,
    })
}
