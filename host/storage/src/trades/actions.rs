//! Splits and dividends of instruments, and the rolls of chains of futures.

use super::number::Number;
use super::types::{PAGE_MAX, SPLIT_MAX, VALUE_MAX, moment};
use super::writing::{Writing, known_seq};
use super::{AsOf, Trades, check, instruments, states};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::atomic::Ordering;

/// What happened to an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ActionKind {
    /// So many pieces take the place of so many: 3 of 1, or 1 of 10.
    Split { new: i64, old: i64 },
    /// So much was paid a piece, in the currency of the instrument. What an account got is a movement of cash.
    Dividend { amount: Number },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAction {
    pub instrument: String,
    /// The start of the first bar that trades without it (of daily bars: midnight UTC of the day), in nanoseconds since the Unix epoch:
    /// bars that begin before it are told to be before it.
    #[serde(deserialize_with = "moment")]
    pub time: i64,
    #[serde(flatten)]
    pub action: ActionKind,
}

/// A split or a dividend that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Names it.
    pub seq: i64,
    pub time: i64,
    #[serde(flatten)]
    pub action: ActionKind,
}

/// From a time on a chain goes on with a contract; with none: there is no roll at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRoll {
    pub chain: String,
    #[serde(deserialize_with = "moment")]
    pub time: i64,
    #[serde(default)]
    pub instrument: Option<String>,
}

/// A contract of a chain, and from when on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Roll {
    pub time: i64,
    pub instrument: String,
}

impl Trades {
    /// Records a split or a dividend; the same once more changes nothing. A split changes every position from its time on. Audited.
    pub fn add_action(&self, caller: &Caller, new: &NewAction) -> Result<Action> {
        caller.require(Scope::Write, "record splits and dividends")?;
        check::time(new.time)?;
        match new.action {
            ActionKind::Split { new, old } => {
                if !(1..=SPLIT_MAX).contains(&new) || !(1..=SPLIT_MAX).contains(&old) || new == old {
                    return Err(Error::invalid(format!("a split of {old} into {new} is none")).hint(
                        format!("both are from 1 to {SPLIT_MAX}: `new` 3 and `old` 1 make three of one"),
                    ));
                }
            }
            ActionKind::Dividend { amount } => {
                if amount <= Number::ZERO || amount > VALUE_MAX {
                    return Err(Error::invalid(format!(
                        "a dividend of {amount} a piece is not above zero and at most {VALUE_MAX}"
                    ))
                    .hint("what it is paid for what was sold short is a movement of cash"));
                }
            }
        }
        let (action, stale) = self.db.write(|tx| {
            let instrument = instruments::named(tx, &new.instrument)?;
            let all = actions(tx, instrument.id, AsOf::default())?;
            if let Some(there) = all.into_iter().find(|a| (a.time, a.action) == (new.time, new.action)) {
                return Ok((there, false));
            }
            // Each can be taken back once.
            let recorded = tx
                .prepare_cached("SELECT count(*) FROM trade_actions WHERE instrument = ?1 AND voids IS NULL")?
                .query_row([instrument.id], |r| r.get(0))?;
            instruments::bounded("split or dividend of an instrument", recorded)?;
            let mut writing = Writing::begin(tx)?;
            let seq = writing.row("actions", new)?;
            let (kind, pieces, amount) = match new.action {
                ActionKind::Split { new, old } => ("split", Some((new, old)), None),
                ActionKind::Dividend { amount } => ("dividend", None, Some(amount.to_string())),
            };
            let (new_pieces, old_pieces) = pieces.unzip();
            insert(tx, seq, (instrument.id, new.time, kind), (new_pieces, old_pieces, amount), None)?;
            let stale = kind == "split" && states::follow_splits(tx, instrument.id, new.time)?;
            let object = format!("instrument:{}", new.instrument);
            writing.finish(
                caller,
                &format!("trades.{kind}"),
                object,
                json!({ "time": new.time, "action": new.action }),
            )?;
            Ok((Action { seq, time: new.time, action: new.action }, stale))
        })?;
        self.wake(stale);
        Ok(action)
    }

    /// Records that a split or a dividend did not happen. Audited.
    pub fn void_action(&self, caller: &Caller, instrument: &str, seq: i64, reason: &str) -> Result<()> {
        caller.require(Scope::Write, "record splits and dividends")?;
        check::text("reason", Some(reason))?;
        let stale = self.db.write(|tx| {
            let known = instruments::named(tx, instrument)?;
            let all = actions(tx, known.id, AsOf::default())?;
            let Some(there) = all.into_iter().find(|a| a.seq == seq) else {
                return Err(Error::not_found(format!(
                    "instrument `{instrument}` has no split or dividend {seq}"
                ))
                .hint("`shiphold trades instrument show` lists them"));
            };
            let mut writing = Writing::begin(tx)?;
            let row = writing.row("actions", &json!({ "voids": seq, "reason": reason }))?;
            let (kind, pieces, amount) = match there.action {
                ActionKind::Split { new, old } => ("split", Some((new, old)), None),
                ActionKind::Dividend { amount } => ("dividend", None, Some(amount.to_string())),
            };
            let (new_pieces, old_pieces) = pieces.unzip();
            insert(tx, row, (known.id, there.time, kind), (new_pieces, old_pieces, amount), Some(seq))?;
            let stale = kind == "split" && states::follow_splits(tx, known.id, there.time)?;
            let detail = json!({ "voids": seq, "reason": reason });
            writing.finish(caller, "trades.void", format!("instrument:{instrument}"), detail)?;
            Ok(stale)
        })?;
        self.wake(stale);
        Ok(())
    }

    /// Splits and dividends of an instrument in the order of their times, those that count as of a moment.
    pub fn actions(&self, caller: &Caller, instrument: &str, as_of: AsOf) -> Result<Vec<Action>> {
        caller.may_read_instruments("read splits and dividends")?;
        self.db.read(|c| {
            let known = instruments::resolve(c, instrument, as_of.at.unwrap_or(i64::MAX))?;
            actions(c, known.id, as_of)
        })
    }

    /// Records with which contract a chain of futures goes on from a time on. Audited.
    pub fn add_roll(&self, caller: &Caller, new: &NewRoll) -> Result<Vec<Roll>> {
        caller.require(Scope::Write, "record rolls")?;
        check::instrument_name("a chain", &new.chain)?;
        check::time(new.time)?;
        self.db.write(|tx| {
            let instrument =
                new.instrument.as_deref().map(|name| instruments::named(tx, name)).transpose()?;
            let all = rolls(tx, &new.chain, AsOf::default())?;
            let there = all.iter().find(|r| r.time == new.time).map(|r| &r.instrument);
            if there != instrument.as_ref().map(|i| &i.name) {
                // There is at most one that takes it away for each of them.
                if instrument.is_some() {
                    let recorded = tx
                        .prepare_cached(
                            "SELECT count(*) FROM trade_rolls WHERE chain = ?1 AND instrument IS NOT NULL",
                        )?
                        .query_row([&new.chain], |r| r.get(0))?;
                    instruments::bounded("roll of a chain", recorded)?;
                }
                let mut writing = Writing::begin(tx)?;
                let seq = writing.row("rolls", new)?;
                tx.prepare_cached(
                    "INSERT INTO trade_rolls(seq, chain, time, instrument) VALUES (?1,?2,?3,?4)",
                )?
                .execute((seq, &new.chain, new.time, instrument.map(|i| i.id)))?;
                writing.finish(caller, "trades.roll", format!("chain:{}", new.chain), json!(new))?;
            }
            rolls(tx, &new.chain, AsOf::default())
        })
    }

    /// The contracts of a chain in the order of their times, as of a moment.
    pub fn rolls(&self, caller: &Caller, chain: &str, as_of: AsOf) -> Result<Vec<Roll>> {
        caller.require(Scope::Read, "read rolls")?;
        check::instrument_name("a chain", chain)?;
        self.db.read(|c| rolls(c, chain, as_of))
    }

    fn wake(&self, stale: bool) {
        if stale {
            self.stale.store(true, Ordering::Relaxed);
        }
    }
}

type Amounts = (Option<i64>, Option<i64>, Option<String>);

fn insert(
    c: &Connection,
    seq: i64,
    (instrument, time, kind): (i64, i64, &str),
    (new_pieces, old_pieces, amount): Amounts,
    voids: Option<i64>,
) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO trade_actions(seq, instrument, time, kind, new_pieces, old_pieces, amount, voids)
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
    )?
    .execute((seq, instrument, time, kind, new_pieces, old_pieces, amount, voids))?;
    Ok(())
}

pub(super) fn actions(c: &Connection, instrument: i64, as_of: AsOf) -> Result<Vec<Action>> {
    let known = known_seq(c, as_of.known_at)?;
    let mut statement = c.prepare_cached(
        "SELECT seq, time, new_pieces, old_pieces, amount FROM trade_actions a
         WHERE instrument = ?1 AND time <= ?2 AND seq <= ?3 AND voids IS NULL
           AND NOT EXISTS (SELECT 1 FROM trade_actions v WHERE v.voids = a.seq AND v.seq <= ?3)
         ORDER BY time, seq LIMIT ?4",
    )?;
    let values = (instrument, as_of.at.unwrap_or(i64::MAX), known, PAGE_MAX.cast_signed());
    let rows = statement.query_map(values, |r| {
        let pieces = r.get::<_, Option<i64>>(2)?.zip(r.get::<_, Option<i64>>(3)?);
        Ok((r.get(0)?, r.get(1)?, pieces, r.get::<_, Option<String>>(4)?))
    })?;
    rows.map(|row| {
        let (seq, time, pieces, amount) = row?;
        let action = match (pieces, amount) {
            (Some((new, old)), _) => ActionKind::Split { new, old },
            (None, Some(amount)) => ActionKind::Dividend { amount: amount.parse()? },
            (None, None) => return Err(Error::corrupt(format!("action {seq} of an instrument is empty"))),
        };
        Ok(Action { seq, time, action })
    })
    .collect()
}

pub(super) fn rolls(c: &Connection, chain: &str, as_of: AsOf) -> Result<Vec<Roll>> {
    let known = known_seq(c, as_of.known_at)?;
    let mut statement = c.prepare_cached(
        "SELECT r.time, i.name FROM trade_rolls r LEFT JOIN trade_instruments i ON i.id = r.instrument
         WHERE r.chain = ?1 AND r.time <= ?2 AND r.seq <= ?3
           AND NOT EXISTS (SELECT 1 FROM trade_rolls x WHERE x.chain = r.chain AND x.time = r.time AND x.seq > r.seq AND x.seq <= ?3)
         ORDER BY r.time LIMIT ?4",
    )?;
    let values = (chain, as_of.at.unwrap_or(i64::MAX), known, PAGE_MAX.cast_signed());
    let rows = statement.query_map(values, |r| Ok((r.get(0)?, r.get::<_, Option<String>>(1)?)))?;
    let all = rows.collect::<rusqlite::Result<Vec<(i64, Option<String>)>>>()?;
    Ok(all.into_iter().filter_map(|(time, name)| Some(Roll { time, instrument: name? })).collect())
}
