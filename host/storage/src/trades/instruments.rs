//! Instruments: what never changes of them, terms that change from a time on, and other names.

use super::fold::Terms;
use super::number::Number;
use super::types::{
    CHANGES_MAX, INSTRUMENTS_MAX, InstrumentKind, MULTIPLIER_MAX, PAGE_MAX, PRICE_MAX, QUANTITY_MAX, moment,
};
use super::writing::Writing;
use super::{Trades, check};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

const fn one() -> Number {
    Number::ONE
}

/// An instrument as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInstrument {
    pub name: String,
    pub kind: InstrumentKind,
    pub currency: String,
    /// What a price of one is worth a piece: 50 of a future on the S&P 500.
    #[serde(default = "one")]
    pub multiplier: Number,
    /// Its first terms, as [`NewTerms`] has them.
    #[serde(default)]
    pub tick: Number,
    #[serde(default)]
    pub lot: Number,
    #[serde(default)]
    pub bucket: Option<String>,
    #[serde(default)]
    pub measurement: Option<String>,
}

impl NewInstrument {
    fn terms(&self) -> NewTerms {
        let (bucket, measurement) = (self.bucket.clone(), self.measurement.clone());
        NewTerms { since: 0, tick: self.tick, lot: self.lot, bucket, measurement }
    }
}

/// Terms that hold from a time on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewTerms {
    /// Nanoseconds since the Unix epoch; 0: always.
    #[serde(deserialize_with = "moment")]
    pub since: i64,
    /// Prices of orders are whole numbers of it; 0: any.
    pub tick: Number,
    /// Quantities are whole numbers of it; 0: any.
    pub lot: Number,
    /// The series of its bars, from which prices come.
    pub bucket: Option<String>,
    pub measurement: Option<String>,
}

/// An instrument with the terms that hold at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instrument {
    pub name: String,
    pub kind: InstrumentKind,
    pub currency: String,
    pub multiplier: Number,
    pub tick: Number,
    pub lot: Number,
    pub bucket: Option<String>,
    pub measurement: Option<String>,
}

/// Another name of an instrument; the end is not in its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    pub alias: String,
    #[serde(default, deserialize_with = "moment")]
    pub since: i64,
    #[serde(default = "always", deserialize_with = "moment")]
    pub until: i64,
}

const fn always() -> i64 {
    i64::MAX
}

/// An instrument that was found.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub id: i64,
    pub name: String,
    pub currency: String,
    pub terms: Terms,
    /// Tick and lot, by when they hold from, the newest first.
    steps: Vec<(i64, Number, Number)>,
}

impl Known {
    /// Tick and lot at a time.
    pub fn steps(&self, time: i64) -> (Number, Number) {
        let held = self.steps.iter().find(|(since, ..)| *since <= time);
        held.map_or((Number::ZERO, Number::ZERO), |(_, tick, lot)| (*tick, *lot))
    }
}

impl Trades {
    /// Records an instrument; the same once more changes nothing. Audited.
    pub fn add_instrument(&self, caller: &Caller, new: &NewInstrument) -> Result<Instrument> {
        caller.require(Scope::Write, "record instruments")?;
        check::instrument_name("an instrument", &new.name)?;
        check::currency(&new.currency)?;
        if new.multiplier <= Number::ZERO || new.multiplier > MULTIPLIER_MAX {
            return Err(Error::invalid(format!(
                "the multiplier {} is not above zero and at most {MULTIPLIER_MAX}",
                new.multiplier
            ))
            .hint("it is 1 of shares"));
        }
        let terms = new.terms();
        check_terms(&terms)?;
        self.db.write(|tx| {
            if let Some(there) = find(tx, &new.name)? {
                let same = (there.terms.kind, there.terms.multiplier, &there.currency)
                    == (new.kind, new.multiplier, &new.currency);
                if same && newest_terms(tx, there.id, 0)?.is_some_and(|t| t == terms) {
                    return show(tx, &there.name, i64::MAX);
                }
                return Err(Error::conflict(format!("instrument `{}` is there, and is another one", new.name))
                    .hint("kind, currency and multiplier never change; `shiphold trades instrument terms` changes the rest"));
            }
            if alias_at(tx, &new.name, 0, i64::MAX)?.is_some() {
                return Err(Error::conflict(format!("`{}` is another name of an instrument", new.name))
                    .hint("`shiphold trades instrument list` shows them"));
            }
            let id: i64 = tx
                .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM trade_instruments")?
                .query_row([], |r| r.get(0))?;
            if id > INSTRUMENTS_MAX {
                return Err(Error::limit("one more instrument", format!("{INSTRUMENTS_MAX} instruments"), "use one that is there"));
            }
            let mut writing = Writing::begin(tx)?;
            let seq = writing.row("instruments", new)?;
            tx.prepare_cached(
                "INSERT INTO trade_instruments(id, name, kind, currency, multiplier, seq) VALUES (?1,?2,?3,?4,?5,?6)",
            )?
            .execute((id, &new.name, new.kind.word(), &new.currency, new.multiplier.to_string(), seq))?;
            insert_terms(&mut writing, id, &new.name, &terms)?;
            let detail = json!({ "kind": new.kind, "currency": new.currency, "multiplier": new.multiplier });
            writing.finish(caller, "trades.instrument", format!("instrument:{}", new.name), detail)?;
            show(tx, &new.name, i64::MAX)
        })
    }

    /// Other terms from a time on. Audited.
    pub fn set_terms(&self, caller: &Caller, name: &str, terms: &NewTerms) -> Result<Instrument> {
        caller.require(Scope::Write, "record instruments")?;
        check_terms(terms)?;
        self.db.write(|tx| {
            let there = named(tx, name)?;
            if newest_terms(tx, there.id, terms.since)?.is_none_or(|t| t != *terms) {
                let mut writing = Writing::begin(tx)?;
                insert_terms(&mut writing, there.id, name, terms)?;
                writing.finish(caller, "trades.terms", format!("instrument:{name}"), json!(terms))?;
            }
            show(tx, name, terms.since)
        })
    }

    /// Another name of an instrument for a time; it must not mean another one then. Audited.
    pub fn add_alias(&self, caller: &Caller, name: &str, new: &Alias) -> Result<Vec<Alias>> {
        caller.require(Scope::Write, "record instruments")?;
        check::instrument_name("an instrument", &new.alias)?;
        if new.since < 0 || new.until <= new.since {
            return Err(
                Error::invalid("the alias ends before it begins").hint("`until` is later than `since`")
            );
        }
        self.db.write(|tx| {
            let there = named(tx, name)?;
            if find(tx, &new.alias)?.is_some() {
                return Err(Error::conflict(format!("`{}` is the name of an instrument", new.alias))
                    .hint("an alias is a name that no instrument has"));
            }
            match alias_at(tx, &new.alias, new.since, new.until)? {
                Some((instrument, since, until)) if (instrument, since, until) == (there.id, new.since, new.until) => {}
                Some(_) => {
                    return Err(Error::conflict(format!("`{}` means an instrument already within that time", new.alias))
                        .hint("let it begin when the other one ends"));
                }
                None => {
                    bounded("name of an instrument", u32::try_from(aliases(tx, there.id)?.len()).unwrap_or(u32::MAX))?;
                    let mut writing = Writing::begin(tx)?;
                    let seq = writing.row("aliases", &json!({ "instrument": name, "alias": new }))?;
                    tx.prepare_cached(
                        "INSERT INTO trade_aliases(seq, alias, instrument, since, until) VALUES (?1,?2,?3,?4,?5)",
                    )?
                    .execute((seq, &new.alias, there.id, new.since, new.until))?;
                    writing.finish(caller, "trades.alias", format!("instrument:{name}"), json!(new))?;
                }
            }
            aliases(tx, there.id)
        })
    }

    /// Instruments by name, those after one, with their newest terms.
    pub fn instruments(&self, caller: &Caller, after: Option<&str>, limit: u64) -> Result<Vec<Instrument>> {
        caller.may_read_instruments("list instruments")?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT name FROM trade_instruments WHERE name > ?1 ORDER BY name LIMIT ?2",
            )?;
            let limit = limit.min(PAGE_MAX).cast_signed();
            let names = statement.query_map((after.unwrap_or_default(), limit), |r| r.get::<_, String>(0))?;
            names.map(|name| show(c, &name?, i64::MAX)).collect()
        })
    }

    /// An instrument by its name or by an alias, with the terms that hold at a time (default: the newest), and its other names.
    pub fn instrument(
        &self,
        caller: &Caller,
        name: &str,
        at: Option<i64>,
    ) -> Result<(Instrument, Vec<Alias>)> {
        caller.may_read_instruments("list instruments")?;
        let at = at.unwrap_or(i64::MAX);
        self.db.read(|c| {
            let known = resolve(c, name, at)?;
            Ok((show(c, &known.name, at)?, aliases(c, known.id)?))
        })
    }
}

fn check_terms(terms: &NewTerms) -> Result<()> {
    check::time(terms.since)?;
    for (what, step, most) in [("tick", terms.tick, PRICE_MAX), ("lot", terms.lot, QUANTITY_MAX)] {
        if step.is_negative() || step > most {
            return Err(
                Error::invalid(format!("the {what} {step} is not from 0 to {most}")).hint("0 takes any")
            );
        }
    }
    check::text("bucket", terms.bucket.as_deref())?;
    check::text("measurement", terms.measurement.as_deref())?;
    if terms.bucket.is_some() && terms.measurement.is_none() {
        return Err(
            Error::invalid("a bucket alone names no series").hint("give the measurement of its bars, too")
        );
    }
    Ok(())
}

fn insert_terms(writing: &mut Writing<'_>, id: i64, name: &str, terms: &NewTerms) -> Result<()> {
    let there: u32 = writing
        .tx
        .prepare_cached("SELECT count(*) FROM trade_terms WHERE instrument = ?1")?
        .query_row([id], |r| r.get(0))?;
    bounded("terms of an instrument", there)?;
    let seq = writing.row("terms", &json!({ "instrument": name, "terms": terms }))?;
    writing
        .tx
        .prepare_cached(
            "INSERT INTO trade_terms(seq, instrument, since, tick, lot, bucket, measurement) VALUES (?1,?2,?3,?4,?5,?6,?7)",
        )?
        .execute((
            seq,
            id,
            terms.since,
            terms.tick.to_string(),
            terms.lot.to_string(),
            &terms.bucket,
            &terms.measurement,
        ))?;
    Ok(())
}

/// May there be one more?
pub(super) fn bounded(what: &str, there: u32) -> Result<()> {
    if usize::try_from(there).is_ok_and(|there| there < CHANGES_MAX) {
        return Ok(());
    }
    Err(Error::limit(format!("one more {what}"), CHANGES_MAX, "look at what records them again and again"))
}

/// The terms that were recorded last for a time.
fn newest_terms(c: &Connection, instrument: i64, since: i64) -> Result<Option<NewTerms>> {
    let row = c
        .prepare_cached(
            "SELECT since, tick, lot, bucket, measurement FROM trade_terms WHERE instrument = ?1 AND since <= ?2
             ORDER BY since DESC, seq DESC LIMIT 1",
        )?
        .query_row((instrument, since), |r| {
            Ok((r.get(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get(3)?, r.get(4)?))
        })
        .optional()?;
    row.map(|(since, tick, lot, bucket, measurement)| {
        Ok(NewTerms { since, tick: tick.parse()?, lot: lot.parse()?, bucket, measurement })
    })
    .transpose()
}

/// What an alias means within a time: the instrument, and from when until when.
fn alias_at(c: &Connection, alias: &str, since: i64, until: i64) -> Result<Option<(i64, i64, i64)>> {
    Ok(c.prepare_cached(
        "SELECT instrument, since, until FROM trade_aliases WHERE alias = ?1 AND since < ?3 AND until > ?2 LIMIT 1",
    )?
    .query_row((alias, since, until), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
    .optional()?)
}

fn aliases(c: &Connection, instrument: i64) -> Result<Vec<Alias>> {
    let mut statement = c.prepare_cached(
        "SELECT alias, since, until FROM trade_aliases WHERE instrument = ?1 ORDER BY since, alias LIMIT 10000",
    )?;
    let rows = statement
        .query_map([instrument], |r| Ok(Alias { alias: r.get(0)?, since: r.get(1)?, until: r.get(2)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn find(c: &Connection, name: &str) -> Result<Option<Known>> {
    let row = c
        .prepare_cached("SELECT id, name, kind, currency, multiplier FROM trade_instruments WHERE name = ?1")?
        .query_row([name], columns)
        .optional()?;
    row.map(|row| known(c, row)).transpose()
}

/// The name of an instrument, for lists.
pub(super) fn name_of(c: &Connection, instrument: i64) -> Result<String> {
    Ok(c.prepare_cached("SELECT name FROM trade_instruments WHERE id = ?1")?
        .query_row([instrument], |r| r.get(0))?)
}

pub(super) fn by_id(c: &Connection, id: i64) -> Result<Known> {
    let row = c
        .prepare_cached("SELECT id, name, kind, currency, multiplier FROM trade_instruments WHERE id = ?1")?
        .query_row([id], columns)?;
    known(c, row)
}

type Columns = (i64, String, String, String, String);

fn columns(r: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
}

fn known(c: &Connection, (id, name, kind, currency, multiplier): Columns) -> Result<Known> {
    let mut statement = c.prepare_cached(
        "SELECT since, tick, lot FROM trade_terms WHERE instrument = ?1 ORDER BY since DESC, seq DESC",
    )?;
    let rows =
        statement.query_map([id], |r| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?)))?;
    let mut steps = Vec::new();
    for row in rows {
        let (since, tick, lot) = row?;
        steps.push((since, tick.parse()?, lot.parse()?));
    }
    let terms = Terms { kind: InstrumentKind::read(&kind)?, multiplier: multiplier.parse()? };
    Ok(Known { id, name, currency, terms, steps })
}

fn unknown(name: &str) -> Error {
    let shown: String = name.chars().take(super::types::INSTRUMENT_BYTES_MAX).collect();
    Error::not_found(format!("there is no instrument `{}`", shown.escape_debug()))
        .hint("`shiphold trades instrument add NAME --kind equity --currency USD` records it")
}

/// The instrument of a name; no alias.
pub(super) fn named(c: &Connection, name: &str) -> Result<Known> {
    find(c, name)?.ok_or_else(|| unknown(name))
}

/// The instrument of a name, or of an alias that meant it at a time.
pub(super) fn resolve(c: &Connection, name: &str, time: i64) -> Result<Known> {
    match find(c, name)? {
        Some(found) => Ok(found),
        None => by_id(c, meant(c, name, time)?),
    }
}

/// The name of the instrument of a name, or of an alias that meant it at a time; its terms are not read.
pub(super) fn name_at(c: &Connection, name: &str, time: i64) -> Result<String> {
    let named = c.prepare_cached("SELECT 1 FROM trade_instruments WHERE name = ?1")?.exists([name])?;
    if named { Ok(name.to_string()) } else { name_of(c, meant(c, name, time)?) }
}

/// The number of the instrument that an alias meant at a time.
pub(super) fn meant(c: &Connection, alias: &str, time: i64) -> Result<i64> {
    // The last moment that there is has no moment after it.
    let (since, until) = (time.min(i64::MAX - 1), time.saturating_add(1));
    alias_at(c, alias, since, until)?.map(|(id, ..)| id).ok_or_else(|| unknown(alias))
}

/// An instrument with the terms that hold at a time.
fn show(c: &Connection, name: &str, at: i64) -> Result<Instrument> {
    let (id, name, kind, currency, multiplier) = c
        .prepare_cached("SELECT id, name, kind, currency, multiplier FROM trade_instruments WHERE name = ?1")?
        .query_row([name], columns)
        .optional()?
        .ok_or_else(|| unknown(name))?;
    let terms = newest_terms(c, id, at)?.unwrap_or_default();
    Ok(Instrument {
        name,
        kind: InstrumentKind::read(&kind)?,
        currency,
        multiplier: multiplier.parse()?,
        tick: terms.tick,
        lot: terms.lot,
        bucket: terms.bucket,
        measurement: terms.measurement,
    })
}
