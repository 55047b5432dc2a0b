//! Money that comes and goes without a trade.

use super::check;
use super::number::Number;
use super::orders::another;
use super::record::Recorder;
use super::types::{CORRECTIONS_MAX, CashKind, NewCash, Recorded};
use crate::error::{Error, Result};
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::json;
use std::collections::BTreeMap;

/// A version of a movement as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub seq: i64,
    pub currency: String,
    pub time: i64,
    pub entry: i64,
    pub client_id: String,
    pub supersedes: Option<i64>,
    pub void: bool,
    pub kind: CashKind,
    /// With the sign that it has for the account.
    pub amount: Number,
    pub instrument: Option<i64>,
    pub reason: Option<String>,
}

/// Of `trade_cash m`, in the order of [`Text`].
pub(super) const COLUMNS: &str = "m.seq, m.currency, m.time, m.entry, m.client_id, m.supersedes, m.void, m.kind, m.amount, m.instrument, m.reason";

pub(super) struct Text {
    stored: Stored,
    kind: String,
    amount: String,
}

impl Text {
    pub fn read(r: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            stored: Stored {
                seq: r.get(0)?,
                currency: r.get(1)?,
                time: r.get(2)?,
                entry: r.get(3)?,
                client_id: r.get(4)?,
                supersedes: r.get(5)?,
                void: r.get(6)?,
                kind: CashKind::Other,
                amount: Number::ZERO,
                instrument: r.get(9)?,
                reason: r.get(10)?,
            },
            kind: r.get(7)?,
            amount: r.get(8)?,
        })
    }

    pub fn stored(self) -> Result<Stored> {
        Ok(Stored { kind: CashKind::read(&self.kind)?, amount: self.amount.parse()?, ..self.stored })
    }
}

fn by_client_id(c: &Connection, account: i64, client_id: &str) -> Result<Option<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM trade_cash m WHERE m.account = ?1 AND m.client_id = ?2");
    let row = c.prepare_cached(&sql)?.query_row((account, client_id), Text::read).optional()?;
    row.map(Text::stored).transpose()
}

impl Recorder<'_> {
    pub(super) fn cash(&mut self, new: &NewCash) -> Result<Recorded> {
        let amount = check::cash(new)?;
        let recorded =
            |seq, replayed| Recorded { client_id: new.client_id.clone(), seq, replayed, late: false };
        let instrument = match &new.instrument {
            Some(name) => Some(self.instrument(name, new.time)?.id),
            None => None,
        };
        let tx = self.writing.tx;
        let before = match &new.corrects {
            Some(id) => Some(by_client_id(tx, self.account, id)?.ok_or_else(|| {
                Error::not_found(format!("there is no movement of cash `{id}` to correct"))
                    .hint("record it first")
            })?),
            None => None,
        };
        if let Some(there) = by_client_id(tx, self.account, &new.client_id)? {
            let row = (
                &there.currency,
                there.time,
                there.void,
                there.kind,
                there.amount,
                there.instrument,
                &there.reason,
            );
            let asked = (&new.currency, new.time, new.void, new.kind, amount, instrument, &new.reason);
            let corrects = match &before {
                None => there.supersedes.is_none(),
                Some(before) => there.supersedes.is_some() && before.entry == there.entry,
            };
            return match row == asked && corrects {
                true => Ok(recorded(there.seq, true)),
                false => Err(another("a movement of cash", &new.client_id)),
            };
        }
        let before = before.map(|b| newest(tx, self.account, &b)).transpose()?;
        let seq = self.writing.row("cash", &json!({ "account": self.account, "cash": new }))?;
        tx.prepare_cached(
            "INSERT INTO trade_cash(account, currency, time, entry, seq, client_id, supersedes, void, kind, amount, instrument, reason)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        )?
        .execute((
            self.account,
            &new.currency,
            new.time,
            before.as_ref().map_or(seq, |b| b.entry),
            seq,
            &new.client_id,
            before.as_ref().map(|b| b.seq),
            new.void,
            new.kind.word(),
            amount.to_string(),
            instrument,
            &new.reason,
        ))?;
        Ok(recorded(seq, false))
    }
}

/// The version of a movement that counts, which may be corrected once more; all before it are counted.
fn newest(c: &Connection, account: i64, of: &Stored) -> Result<Stored> {
    let first = format!("SELECT {COLUMNS} FROM trade_cash m WHERE m.account = ?1 AND m.seq = ?2");
    let mut entry = c.prepare_cached(&first)?.query_row((account, of.entry), Text::read)?.stored()?;
    let sql = format!("SELECT {COLUMNS} FROM trade_cash m WHERE m.supersedes = ?1");
    let mut statement = c.prepare_cached(&sql)?;
    for _ in 0..CORRECTIONS_MAX {
        match statement.query_row([entry.seq], Text::read).optional()? {
            Some(next) => entry = next.stored()?,
            None => return Ok(entry),
        }
    }
    Err(Error::limit(
        format!("one more correction of movement of cash `{}`", of.client_id),
        CORRECTIONS_MAX,
        "look at what corrects it again and again",
    ))
}

/// What moved of each currency, up to a time and as far as it was known.
pub(super) fn moved(c: &Connection, account: i64, at: i64, known: i64) -> Result<BTreeMap<String, Number>> {
    let mut statement = c.prepare_cached(
        "SELECT currency, amount FROM trade_cash m
         WHERE account = ?1 AND time <= ?2 AND seq <= ?3 AND void = 0
           AND NOT EXISTS (SELECT 1 FROM trade_cash s WHERE s.supersedes = m.seq AND s.seq <= ?3)",
    )?;
    let mut rows = statement.query((account, at, known))?;
    let mut all: BTreeMap<String, Number> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let (currency, amount) = (text(0)?, text(1)?.parse()?);
        match all.get_mut(currency) {
            Some(sum) => *sum = sum.plus(amount)?,
            None => drop(all.insert(currency.into(), amount)),
        }
    }
    Ok(all)
}
