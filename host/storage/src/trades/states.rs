//! Sums that are kept: every [`STATE_EVERY`] fills of a position what they add up to. A sum as of any moment begins at the last of them
//! before it. They are a cache: with none of them every answer is the same. What changes the past takes away those after it, and they
//! are made anew at once, or where there are many in the background.

use super::Trades;
use super::fold::{Event, Key, State, Terms};
use super::number::Number;
use super::types::{InstrumentKind, Side};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::Result;
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// Fills from one state that is kept to the next.
pub const STATE_EVERY: u64 = 2;
/// Fills that are added up anew in one transaction, at most.
pub const STEP_FILLS_MAX: u64 = 20_000;
/// Positions that are looked at in one step.
const STEP_POSITIONS_MAX: i64 = 100;

/// Steps at once: others write between them.
const STEPS_MAX: usize = 10;

/// Before everything.
const FIRST: Key = (i64::MIN, i64::MIN);

/// Up to where, and as far as what was known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    pub at: i64,
    /// `i64::MAX`: everything, so that states that are kept can be used.
    pub known: i64,
}

impl Until {
    pub const ALL: Self = Self { at: i64::MAX, known: i64::MAX };
}

/// A split of an instrument: its time, and how many pieces of how many.
pub(super) type Split = (i64, i64, i64);

/// The splits of an instrument that happened, in order.
pub(super) fn splits(c: &Connection, instrument: i64, until: Until) -> Result<Vec<Split>> {
    let mut statement = c.prepare_cached(
        "SELECT time, new_pieces, old_pieces FROM trade_actions a
         WHERE instrument = ?1 AND time <= ?2 AND seq <= ?3 AND kind = 'split' AND voids IS NULL
           AND NOT EXISTS (SELECT 1 FROM trade_actions v WHERE v.voids = a.seq AND v.seq <= ?3) ORDER BY time, seq",
    )?;
    let rows = statement
        .query_map((instrument, until.at, until.known), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The last state that is kept of a position up to a time.
fn kept(c: &Connection, account: i64, instrument: i64, at: i64) -> Result<Option<(Key, State)>> {
    let row = c
        .prepare_cached(
            "SELECT time, fill, state FROM trade_states WHERE account = ?1 AND instrument = ?2 AND time <= ?3
             ORDER BY time DESC, fill DESC LIMIT 1",
        )?
        .query_row((account, instrument, at), |r| {
            let bytes = r.get_ref(2)?.as_blob().map(State::decode);
            Ok(((r.get(0)?, r.get(1)?), bytes))
        })
        .optional()?;
    row.map(|(key, state)| Ok((key, state.map_err(rusqlite::Error::from)??))).transpose()
}

/// Adds up from a state on; `each` sees the state after every fill and may end it.
pub(super) fn walk(
    c: &Connection,
    (account, instrument): (i64, i64),
    terms: Terms,
    until: Until,
    splits: &[Split],
    (from, mut state): (Key, State),
    mut each: impl FnMut(Key, &State) -> Result<ControlFlow<()>>,
) -> Result<State> {
    // Those of the time of a state are in it.
    let mut splits = splits.iter().filter(|(time, ..)| *time > from.0 && *time <= until.at).peekable();
    let mut statement = c.prepare_cached(
        "SELECT time, fill, side, quantity, price, fee FROM trade_fills f
         WHERE account = ?1 AND instrument = ?2 AND (time, fill) > (?3, ?4) AND time <= ?5 AND seq <= ?6 AND void = 0
           AND NOT EXISTS (SELECT 1 FROM trade_fills s WHERE s.supersedes = f.seq AND s.seq <= ?6)
         ORDER BY time, fill",
    )?;
    let mut rows = statement.query((account, instrument, from.0, from.1, until.at, until.known))?;
    while let Some(row) = rows.next()? {
        let key: Key = (row.get(0)?, row.get(1)?);
        while let Some((_, new, old)) = splits.next_if(|(time, ..)| *time <= key.0) {
            state.add(terms, Event::Split { new: *new, old: *old })?;
        }
        let number = |column: usize| -> Result<Number> {
            let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
            text.parse()
        };
        let side = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from).map(Side::read)??;
        let fill = Event::Fill { side, quantity: number(3)?, price: number(4)?, fee: number(5)? };
        state.add(terms, fill)?;
        if each(key, &state)?.is_break() {
            return Ok(state);
        }
    }
    for (_, new, old) in splits {
        state.add(terms, Event::Split { new: *new, old: *old })?;
    }
    Ok(state)
}

/// What a position is as of a moment.
pub(super) fn state_at(
    c: &Connection,
    of: (i64, i64),
    terms: Terms,
    until: Until,
    splits: &[Split],
) -> Result<State> {
    // What is kept is made of everything that is known.
    let from = match until.known {
        i64::MAX => kept(c, of.0, of.1, until.at)?.unwrap_or((FIRST, State::default())),
        _ => (FIRST, State::default()),
    };
    walk(c, of, terms, until, splits, from, |_, _| Ok(ControlFlow::Continue(())))
}

fn terms(c: &Connection, instrument: i64) -> Result<Terms> {
    let (kind, multiplier): (String, String) = c
        .prepare_cached("SELECT kind, multiplier FROM trade_instruments WHERE id = ?1")?
        .query_row([instrument], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(Terms { kind: InstrumentKind::read(&kind)?, multiplier: multiplier.parse()? })
}

/// Makes the states after the last one that is kept, of at most so many fills. Are all made?
fn extend(tx: &Tx<'_>, of: (i64, i64), fills_left: &mut u64) -> Result<bool> {
    let from = kept(tx, of.0, of.1, i64::MAX)?.unwrap_or((FIRST, State::default()));
    let splits = splits(tx, of.1, Until::ALL)?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO trade_states(account, instrument, time, fill, state) VALUES (?1,?2,?3,?4,?5)",
    )?;
    let (mut since, mut all) = (0, true);
    walk(tx, of, terms(tx, of.1)?, Until::ALL, &splits, from, |key, state| {
        since += 1;
        if since == STATE_EVERY {
            since = 0;
            insert.execute((of.0, of.1, key.0, key.1, state.encode()))?;
            if *fills_left < STATE_EVERY {
                all = false;
                return Ok(ControlFlow::Break(()));
            }
            *fills_left -= STATE_EVERY;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

/// After fills of an account were recorded: takes away the states that are not true any more, and makes those that are. Must more be
/// made later?
pub(super) fn follow(tx: &Tx<'_>, account: i64, touched: &BTreeMap<i64, Key>) -> Result<bool> {
    let (mut fills_left, mut stale) = (STEP_FILLS_MAX, false);
    for (instrument, key) in touched {
        let of = (account, *instrument);
        tx.prepare_cached(
            "INSERT INTO trade_positions(account, instrument) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?
        .execute(of)?;
        forget(tx, of, *key)?;
        if !extend(tx, of, &mut fills_left)? {
            mark(tx, of, true)?;
            stale = true;
        }
    }
    Ok(stale)
}

/// After splits of an instrument were recorded, from a time on.
pub(super) fn follow_splits(tx: &Tx<'_>, instrument: i64, time: i64) -> Result<bool> {
    let mut statement = tx.prepare_cached("SELECT account FROM trade_positions WHERE instrument = ?1")?;
    let accounts =
        statement.query_map([instrument], |r| r.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut stale = false;
    for account in accounts {
        stale |= follow(tx, account, &BTreeMap::from([(instrument, (time, i64::MIN))]))?;
    }
    Ok(stale)
}

fn forget(tx: &Tx<'_>, of: (i64, i64), from: Key) -> Result<usize> {
    let gone = tx
        .prepare_cached(
            "DELETE FROM trade_states WHERE account = ?1 AND instrument = ?2 AND (time, fill) >= (?3, ?4)",
        )?
        .execute((of.0, of.1, from.0, from.1))?;
    Ok(gone)
}

fn mark(tx: &Tx<'_>, of: (i64, i64), stale: bool) -> Result<()> {
    tx.prepare_cached("UPDATE trade_positions SET stale = ?3 WHERE account = ?1 AND instrument = ?2")?
        .execute((of.0, of.1, stale))?;
    Ok(())
}

impl Trades {
    /// Makes states that wait for it, a bounded number. Are all made?
    pub fn maintain(&self) -> Result<bool> {
        if !self.stale.swap(false, Ordering::Relaxed) {
            return Ok(true);
        }
        let mut done = Ok(false);
        for _ in 0..STEPS_MAX {
            done = self.step();
            if !matches!(done, Ok(false)) {
                break;
            }
        }
        if !matches!(done, Ok(true)) {
            self.stale.store(true, Ordering::Relaxed);
        }
        done
    }

    fn step(&self) -> Result<bool> {
        let waiting = |c: &Connection| -> Result<Vec<(i64, i64)>> {
            let mut statement =
                c.prepare_cached("SELECT account, instrument FROM trade_positions WHERE stale = 1 LIMIT ?1")?;
            let rows = statement.query_map([STEP_POSITIONS_MAX], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        if self.db.read(waiting)?.is_empty() {
            return Ok(true);
        }
        self.db.write(|tx| {
            let mut fills_left = STEP_FILLS_MAX;
            for of in waiting(tx)? {
                if !extend(tx, of, &mut fills_left)? {
                    return Ok(false);
                }
                mark(tx, of, false)?;
            }
            Ok(waiting(tx)?.is_empty())
        })
    }

    /// Takes away all states of an account; they are made anew in the background, and meanwhile every answer is the same, slower.
    pub fn rebuild(&self, caller: &Caller, account: &str) -> Result<u64> {
        caller.require(Scope::Admin, "rebuild positions")?;
        let gone = self.db.write(|tx| {
            let (id, _) = super::accounts::account(tx, account)?;
            tx.prepare_cached("UPDATE trade_positions SET stale = 1 WHERE account = ?1")?.execute([id])?;
            let gone = tx.prepare_cached("DELETE FROM trade_states WHERE account = ?1")?.execute([id])?;
            let entry = Entry::new(caller, "trades.rebuild", format!("account:{account}"));
            Audit::append(tx, &entry.detail(json!({ "states": gone })))?;
            Ok(gone as u64)
        })?;
        self.stale.store(true, Ordering::Relaxed);
        Ok(gone)
    }
}
