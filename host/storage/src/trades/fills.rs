//! Fills and their corrections.

use super::check;
use super::number::Number;
use super::orders::another;
use super::record::Recorder;
use super::types::{CORRECTIONS_MAX, NewFill, Recorded, Side};
use crate::error::{Error, Result};
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::json;

/// A version of a fill as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub seq: i64,
    pub instrument: i64,
    pub time: i64,
    pub fill: i64,
    pub client_id: String,
    pub supersedes: Option<i64>,
    pub void: bool,
    pub order: Option<String>,
    pub side: Side,
    pub quantity: Number,
    pub price: Number,
    pub fee: Number,
    pub broker_id: Option<String>,
    pub late: bool,
    pub reason: Option<String>,
}

/// Of `trade_fills f`, in the order of [`Text`].
pub(super) const COLUMNS: &str = "f.seq, f.instrument, f.time, f.fill, f.client_id, f.supersedes, f.void, f.order_ref, f.side, \
                                  f.quantity, f.price, f.fee, f.broker_id, f.late, f.reason";

/// [`Stored`] before its numbers are read.
pub(super) struct Text {
    stored: Stored,
    side: String,
    numbers: [String; 3],
}

impl Text {
    pub fn read(r: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            stored: Stored {
                seq: r.get(0)?,
                instrument: r.get(1)?,
                time: r.get(2)?,
                fill: r.get(3)?,
                client_id: r.get(4)?,
                supersedes: r.get(5)?,
                void: r.get(6)?,
                order: r.get(7)?,
                side: Side::Buy,
                quantity: Number::ZERO,
                price: Number::ZERO,
                fee: Number::ZERO,
                broker_id: r.get(12)?,
                late: r.get(13)?,
                reason: r.get(14)?,
            },
            side: r.get(8)?,
            numbers: [r.get(9)?, r.get(10)?, r.get(11)?],
        })
    }

    pub fn stored(self) -> Result<Stored> {
        let [quantity, price, fee] = self.numbers;
        Ok(Stored {
            side: Side::read(&self.side)?,
            quantity: quantity.parse()?,
            price: price.parse()?,
            fee: fee.parse()?,
            ..self.stored
        })
    }
}

/// The version that a client's id names.
pub(super) fn by_client_id(c: &Connection, account: i64, client_id: &str) -> Result<Option<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM trade_fills f WHERE f.account = ?1 AND f.client_id = ?2");
    let row = c.prepare_cached(&sql)?.query_row((account, client_id), Text::read).optional()?;
    row.map(Text::stored).transpose()
}

/// The client id of the first version of a fill.
pub(super) fn first_id(c: &Connection, account: i64, fill: i64) -> Result<String> {
    Ok(c.prepare_cached("SELECT client_id FROM trade_fills WHERE account = ?1 AND seq = ?2")?
        .query_row((account, fill), |r| r.get(0))?)
}

/// The version that counts of a fill, which may be corrected once more. Every version before it is counted, whichever of them the
/// correction names.
fn newest(c: &Connection, account: i64, of: &Stored) -> Result<Stored> {
    let first = format!("SELECT {COLUMNS} FROM trade_fills f WHERE f.account = ?1 AND f.seq = ?2");
    let mut fill = c.prepare_cached(&first)?.query_row((account, of.fill), Text::read)?.stored()?;
    let sql = format!("SELECT {COLUMNS} FROM trade_fills f WHERE f.supersedes = ?1");
    let mut statement = c.prepare_cached(&sql)?;
    for _ in 0..CORRECTIONS_MAX {
        match statement.query_row([fill.seq], Text::read).optional()? {
            Some(next) => fill = next.stored()?,
            None => return Ok(fill),
        }
    }
    Err(Error::limit(
        format!("one more correction of fill `{}`", of.client_id),
        CORRECTIONS_MAX,
        "look at what corrects it again and again",
    ))
}

impl Recorder<'_> {
    pub(super) fn fill(&mut self, new: &NewFill) -> Result<Recorded> {
        check::fill(new)?;
        let recorded =
            |seq, late, replayed| Recorded { client_id: new.client_id.clone(), seq, replayed, late };
        let instrument = self.instrument(&new.instrument, new.time)?;
        let tx = self.writing.tx;
        if let Some(there) = by_client_id(tx, self.account, &new.client_id)? {
            return match same(tx, self.account, &there, new, instrument.id)? {
                true => Ok(recorded(there.seq, there.late, true)),
                false => Err(another("a fill", &new.client_id)),
            };
        }
        let (_, lot) = instrument.steps(new.time);
        // That it did not happen can be said of any quantity, whatever the lot is by now.
        check::quantity(new.quantity, if new.void { Number::ZERO } else { lot })?;
        check::price(new.price, instrument.terms.kind)?;
        check::value("a fill", instrument.terms.value(new.quantity, new.price)?)?;
        let before = match &new.corrects {
            None => None,
            Some(id) => Some(self.corrected(id)?),
        };
        // As they stand without this fill.
        if let Some(order) = before.as_ref().and_then(|b| b.order.as_ref()) {
            self.standing(order)?;
        }
        let late = match &new.order {
            Some(order) => self.standing(order)?.is_some_and(|s| s.end().is_some()),
            None => false,
        };
        let normal = NewFill { instrument: instrument.name.clone(), ..new.clone() };
        let seq =
            self.writing.row("fills", &json!({ "account": self.account, "fill": normal, "late": late }))?;
        let first = before.as_ref().map_or(seq, |b| b.fill);
        tx.prepare_cached(
            "INSERT INTO trade_fills(account, instrument, time, fill, seq, client_id, supersedes, void, order_ref, side, quantity,
                 price, fee, broker_id, late, reason)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)",
        )?
        .execute((
            self.account,
            instrument.id,
            new.time,
            first,
            seq,
            &new.client_id,
            before.as_ref().map(|b| b.seq),
            new.void,
            &new.order,
            new.side.word(),
            new.quantity.to_string(),
            new.price.to_string(),
            new.fee.to_string(),
            &new.broker_id,
            late,
            &new.reason,
        ))?;
        self.touch(instrument.id, (new.time, first));
        if let Some(before) = &before {
            self.touch(before.instrument, (before.time, before.fill));
            if let Some(order) = before.order.as_ref().filter(|_| !before.void)
                && let Some(standing) = self.standing(order)?
            {
                standing.remove(before.quantity, before.time)?;
            }
        }
        if let Some(order) = &new.order
            && let Some(standing) = self.standing(order)?
        {
            if !new.void {
                standing.add(order, instrument.id, new.side, new.quantity, new.time)?;
            }
            standing.holds(order)?;
        }
        Ok(recorded(seq, late, false))
    }

    /// The version in whose place a correction counts.
    fn corrected(&self, client_id: &str) -> Result<Stored> {
        let there = by_client_id(self.writing.tx, self.account, client_id)?.ok_or_else(|| {
            Error::not_found(format!("there is no fill `{client_id}` to correct"))
                .hint("record it first; `shiphold trades fills ACCOUNT` lists them")
        })?;
        newest(self.writing.tx, self.account, &there)
    }
}

/// Does the row say the same? A correction may name any version of its fill.
fn same(c: &Connection, account: i64, there: &Stored, new: &NewFill, instrument: i64) -> Result<bool> {
    let row =
        (there.instrument, there.time, there.void, &there.order, there.side, &there.broker_id, &there.reason);
    let asked = (instrument, new.time, new.void, &new.order, new.side, &new.broker_id, &new.reason);
    let numbers = (there.quantity, there.price, there.fee) == (new.quantity, new.price, new.fee);
    let corrects = match &new.corrects {
        None => there.supersedes.is_none(),
        Some(id) => {
            let of = by_client_id(c, account, id)?;
            there.supersedes.is_some() && of.is_some_and(|of| of.fill == there.fill)
        }
    };
    Ok(row == asked && numbers && corrects)
}
