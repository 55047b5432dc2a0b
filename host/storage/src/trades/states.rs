//! Sums that are kept: every [`STATE_EVERY`] fills of a position what they add up to. A sum as of any moment begins at the last of them
//! before it. They are a cache: with none of them every answer is the same. What changes the past takes away those after it, and they
//! are made anew at once, or where there are many in the background.

use super::Trades;
use super::fold::{Event, Key, State, Terms};
use super::instruments::name_of;
use super::number::Number;
use super::types::{InstrumentKind, Side};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Kind, Result};
use crate::sqlite::Tx;
use rusqlite::{CachedStatement, Connection};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// Fills from one state that is kept to the next.
pub const STATE_EVERY: u64 = 2;
/// Fills that are added up anew in one transaction, at most, whatever positions they are of.
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

/// Adds up positions: the statements for it, prepared once for however many there are.
pub(super) struct Sums<'c> {
    kept: CachedStatement<'c>,
    fills: CachedStatement<'c>,
}

impl<'c> Sums<'c> {
    pub fn new(c: &'c Connection) -> Result<Self> {
        let kept = c.prepare_cached(
            "SELECT time, fill, state FROM trade_states WHERE account = ?1 AND instrument = ?2 AND time <= ?3
             ORDER BY time DESC, fill DESC LIMIT 1",
        )?;
        let fills = c.prepare_cached(
            "SELECT time, fill, side, quantity, price, fee FROM trade_fills f
             WHERE account = ?1 AND instrument = ?2 AND (time, fill) > (?3, ?4) AND time <= ?5 AND seq <= ?6 AND void = 0
               AND NOT EXISTS (SELECT 1 FROM trade_fills s WHERE s.supersedes = f.seq AND s.seq <= ?6)
             ORDER BY time, fill",
        )?;
        Ok(Self { kept, fills })
    }

    /// The last state that is kept of a position up to a time, or the beginning.
    fn kept(&mut self, (account, instrument): (i64, i64), at: i64) -> Result<(Key, State)> {
        let mut rows = self.kept.query((account, instrument, at))?;
        let Some(row) = rows.next()? else { return Ok((FIRST, State::default())) };
        let state = State::decode(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        Ok(((row.get(0)?, row.get(1)?), state))
    }

    /// Adds up from a state on; `each` sees the state after every fill and may end it.
    fn walk(
        &mut self,
        (account, instrument): (i64, i64),
        terms: Terms,
        until: Until,
        splits: &[Split],
        (from, mut state): (Key, State),
        mut each: impl FnMut(Key, &State) -> Result<ControlFlow<()>>,
    ) -> Result<State> {
        // Those of the time of a state are in it.
        let mut splits = splits.iter().filter(|(time, ..)| *time > from.0 && *time <= until.at).peekable();
        let mut rows = self.fills.query((account, instrument, from.0, from.1, until.at, until.known))?;
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
    pub fn state_at(
        &mut self,
        of: (i64, i64),
        terms: Terms,
        until: Until,
        splits: &[Split],
    ) -> Result<State> {
        // What is kept is made of everything that is known.
        let from = match until.known {
            i64::MAX => self.kept(of, until.at)?,
            _ => (FIRST, State::default()),
        };
        self.walk(of, terms, until, splits, from, |_, _| Ok(ControlFlow::Continue(())))
    }
}

fn terms(c: &Connection, instrument: i64) -> Result<Terms> {
    let (kind, multiplier): (String, String) = c
        .prepare_cached("SELECT kind, multiplier FROM trade_instruments WHERE id = ?1")?
        .query_row([instrument], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(Terms { kind: InstrumentKind::read(&kind)?, multiplier: multiplier.parse()? })
}

/// Makes the states after the last one that is kept, of at most so many fills. Are all made?
fn extend(tx: &Tx<'_>, of: (i64, i64), fills_left: &mut u64) -> Result<bool> {
    if *fills_left == 0 {
        return Ok(false);
    }
    let mut sums = Sums::new(tx)?;
    let from = sums.kept(of, i64::MAX)?;
    let splits = splits(tx, of.1, Until::ALL)?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO trade_states(account, instrument, time, fill, state) VALUES (?1,?2,?3,?4,?5)",
    )?;
    let (mut since, mut all) = (0, true);
    let made = sums.walk(of, terms(tx, of.1)?, Until::ALL, &splits, from, |key, state| {
        since += 1;
        *fills_left = fills_left.saturating_sub(1);
        if since == STATE_EVERY {
            since = 0;
            insert.execute((of.0, of.1, key.0, key.1, state.encode()))?;
            if *fills_left == 0 {
                all = false;
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    });
    match made {
        Ok(_) => Ok(all),
        Err(e) => Err(e.context(format!("the position in `{}`", name_of(tx, of.1)?))),
    }
}

/// After fills of an account were recorded: takes away the states that are not true any more, and makes those that are. Must more be
/// made later?
pub(super) fn follow(tx: &Tx<'_>, account: i64, touched: &BTreeMap<i64, Key>) -> Result<bool> {
    let (mut fills_left, mut stale) = (STEP_FILLS_MAX, false);
    for (instrument, key) in touched {
        stale |= follow_one(tx, (account, *instrument), *key, &mut fills_left)?;
    }
    Ok(stale)
}

/// After splits of an instrument were recorded, from a time on. What may be made at once is shared by all accounts.
pub(super) fn follow_splits(tx: &Tx<'_>, instrument: i64, time: i64) -> Result<bool> {
    let mut statement = tx.prepare_cached("SELECT account FROM trade_positions WHERE instrument = ?1")?;
    let accounts =
        statement.query_map([instrument], |r| r.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let (mut fills_left, mut stale) = (STEP_FILLS_MAX, false);
    for account in accounts {
        stale |= follow_one(tx, (account, instrument), (time, i64::MIN), &mut fills_left)?;
    }
    Ok(stale)
}

fn follow_one(tx: &Tx<'_>, of: (i64, i64), from: Key, fills_left: &mut u64) -> Result<bool> {
    tx.prepare_cached(
        "INSERT INTO trade_positions(account, instrument) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?
    .execute(of)?;
    forget(tx, of, from)?;
    let stale = !extend(tx, of, fills_left)?;
    if stale {
        mark(tx, of, true)?;
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
                match extend(tx, of, &mut fills_left) {
                    Ok(false) => return Ok(false),
                    Ok(true) => {}
                    // It cannot be added up: whoever asks for it is told so, and what corrects it begins anew before it. Nobody else
                    // waits for that.
                    Err(e) if e.kind() == Kind::Limit => {}
                    Err(e) => return Err(e),
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
