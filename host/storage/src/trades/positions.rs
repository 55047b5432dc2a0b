//! Positions, profit and cash of an account as of any moment: sums over its fills and movements of cash.

use super::fold::{State, Terms};
use super::instruments;
use super::number::Number;
use super::states::{self, Split, Sums, Until};
use super::types::{AsOf, InstrumentKind};
use super::writing::known_seq;
use super::{Trades, accounts, cash};
use crate::caller::Caller;
use crate::error::Result;
use crate::sqlite::Database;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Positions that are added up from their beginnings in one read: each read has an end.
const PAST_AT_ONCE: usize = 16;

/// Which positions, and at which prices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PositionsQuery {
    pub account: String,
    pub at: Option<i64>,
    pub known_at: Option<i64>,
    /// Also those of which nothing is held any more.
    pub flat: bool,
    /// Prices by the names of instruments; of others the last fill has it.
    pub prices: BTreeMap<String, Number>,
}

/// What an account holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Positions {
    pub account: String,
    /// As it was asked; nanoseconds since the Unix epoch.
    pub at: Option<i64>,
    pub known_at: Option<i64>,
    /// By the names of instruments.
    pub positions: Vec<Position>,
    /// By currency, over all positions, those that are not shown among them.
    pub balances: Vec<Balance>,
}

/// A position in one instrument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    pub instrument: String,
    pub currency: String,
    /// Below zero: it was sold short.
    pub quantity: Number,
    /// Cost of a piece, rounded towards zero at the last digit; none of nothing, and where it is too large to be held.
    pub average: Option<Number>,
    pub cost: Number,
    pub realised: Number,
    pub fees: Number,
    /// Fills that count.
    pub fills: u64,
    /// At which it is valued.
    pub price: Number,
    /// What it is worth at that price; with its sign.
    pub value: Number,
    pub unrealised: Number,
}

/// Money in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Balance {
    pub currency: String,
    /// What there is: movements of cash, and what fills paid and cost.
    pub cash: Number,
    /// Of it, movements of cash without a trade.
    pub moved: Number,
    pub realised: Number,
    pub unrealised: Number,
    pub fees: Number,
    /// Cash, and what would be there if all positions were closed at their prices: moved + realised + unrealised − fees.
    pub equity: Number,
}

/// A position, and what its sum rests on.
pub(super) struct Held {
    pub instrument: i64,
    pub name: String,
    pub currency: String,
    pub terms: Terms,
    split: bool,
}

/// Every instrument that an account ever had fills of.
pub(super) fn held(c: &Connection, account: i64) -> Result<Vec<Held>> {
    let mut statement = c.prepare_cached(
        "SELECT i.id, i.name, i.currency, i.kind, i.multiplier,
                EXISTS (SELECT 1 FROM trade_actions a WHERE a.instrument = p.instrument)
         FROM trade_positions p JOIN trade_instruments i ON i.id = p.instrument WHERE p.account = ?1",
    )?;
    let mut rows = statement.query([account])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let terms = Terms { kind: InstrumentKind::read(text(3)?)?, multiplier: text(4)?.parse()? };
        all.push(Held {
            instrument: row.get(0)?,
            name: row.get(1)?,
            currency: row.get(2)?,
            terms,
            split: row.get(5)?,
        });
    }
    Ok(all)
}

impl Held {
    pub fn splits(&self, c: &Connection, until: Until) -> Result<Vec<Split>> {
        if self.split { states::splits(c, self.instrument, until) } else { Ok(Vec::new()) }
    }

    fn state(&self, c: &Connection, sums: &mut Sums<'_>, account: i64, until: Until) -> Result<State> {
        let splits = self.splits(c, until)?;
        sums.state_at((account, self.instrument), self.terms, until, &splits)
            .map_err(|e| e.context(format!("the position in `{}`", self.name)))
    }
}

/// Positions, and what moved of each currency.
type Added = (Vec<(Held, State)>, BTreeMap<String, Number>);

/// All positions of an account, and what moved of each currency. As far as everything is known it is one snapshot; what was known at a
/// time does not change any more, and is read in pieces.
fn add_up(db: &Database, account: &str, as_of: AsOf) -> Result<Added> {
    let at = as_of.at.unwrap_or(i64::MAX);
    let (id, until, all, moved) = {
        let whole = db.read(|c| {
            let (id, _) = accounts::account(c, account)?;
            let until = Until { at, known: known_seq(c, as_of.known_at)? };
            let (all, moved) = (held(c, id)?, cash::moved(c, id, at, until.known)?);
            if until.known != i64::MAX {
                return Ok(Err((id, until, all, moved)));
            }
            let mut sums = Sums::new(c)?;
            let add = |held: Held| {
                let state = held.state(c, &mut sums, id, until)?;
                Ok((held, state))
            };
            Ok(Ok((all.into_iter().map(add).collect::<Result<Vec<_>>>()?, moved)))
        })?;
        match whole {
            Ok(done) => return Ok(done),
            Err(past) => past,
        }
    };
    let mut added = Vec::with_capacity(all.len());
    let mut all = all.into_iter().peekable();
    while all.peek().is_some() {
        let some: Vec<Held> = all.by_ref().take(PAST_AT_ONCE).collect();
        let states = db.read(|c| {
            let mut sums = Sums::new(c)?;
            some.iter().map(|h| h.state(c, &mut sums, id, until)).collect::<Result<Vec<_>>>()
        })?;
        added.extend(some.into_iter().zip(states));
    }
    Ok((added, moved))
}

impl Trades {
    /// What an account holds as of a moment: of what had happened by `at` and was known by `known_at`.
    pub fn positions(&self, caller: &Caller, query: &PositionsQuery) -> Result<Positions> {
        caller.may_read_trades(&query.account, "read positions")?;
        let as_of = AsOf { at: query.at, known_at: query.known_at };
        let (added, moved) = add_up(&self.db, &query.account, as_of)?;
        let mut balances: BTreeMap<String, Balance> = BTreeMap::new();
        for (currency, moved) in moved {
            let balance = balance(&mut balances, &currency);
            (balance.cash, balance.moved, balance.equity) = (moved, moved, moved);
        }
        let mut positions = Vec::new();
        for (held, state) in added {
            if state.fills == 0 {
                continue;
            }
            let price = query.prices.get(&held.name).copied().unwrap_or(state.last_price);
            let value = held.terms.value(state.quantity, price)?;
            let unrealised = value.minus(state.cost)?;
            let balance = balance(&mut balances, &held.currency);
            balance.cash = balance.cash.plus(state.cash)?;
            balance.realised = balance.realised.plus(state.realised)?;
            balance.unrealised = balance.unrealised.plus(unrealised)?;
            balance.fees = balance.fees.plus(state.fees)?;
            balance.equity = balance.equity.plus(state.realised)?.plus(unrealised)?.minus(state.fees)?;
            if query.flat || !state.quantity.is_zero() {
                positions.push(Position {
                    average: state.average(held.terms),
                    instrument: held.name,
                    currency: held.currency,
                    quantity: state.quantity,
                    cost: state.cost,
                    realised: state.realised,
                    fees: state.fees,
                    fills: state.fills,
                    price,
                    value,
                    unrealised,
                });
            }
        }
        positions.sort_by(|a, b| a.instrument.cmp(&b.instrument));
        Ok(Positions {
            account: query.account.clone(),
            at: query.at,
            known_at: query.known_at,
            positions,
            balances: balances.into_values().collect(),
        })
    }

    /// What one position is as of a moment, and what it rests on.
    pub fn position_state(
        &self,
        caller: &Caller,
        account: &str,
        instrument: &str,
        as_of: AsOf,
    ) -> Result<(State, Terms)> {
        caller.may_read_trades(account, "read positions")?;
        self.db.read(|c| {
            let (account, _) = accounts::account(c, account)?;
            let known = instruments::resolve(c, instrument, as_of.at.unwrap_or(i64::MAX))?;
            let until = Until { at: as_of.at.unwrap_or(i64::MAX), known: known_seq(c, as_of.known_at)? };
            let splits = states::splits(c, known.id, until)?;
            Ok((Sums::new(c)?.state_at((account, known.id), known.terms, until, &splits)?, known.terms))
        })
    }
}

fn balance<'a>(all: &'a mut BTreeMap<String, Balance>, currency: &str) -> &'a mut Balance {
    all.entry(currency.into()).or_insert_with(|| Balance {
        currency: currency.into(),
        cash: Number::ZERO,
        moved: Number::ZERO,
        realised: Number::ZERO,
        unrealised: Number::ZERO,
        fees: Number::ZERO,
        equity: Number::ZERO,
    })
}
