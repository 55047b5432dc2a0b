//! The tables of the outbox: what waits, and what the server refused.

use crate::error::Result;
use crate::series::record::{self, Part};
use crate::series::{Selector, SeriesKey, TimeRange};
use crate::sqlite::Migration;
use rusqlite::{Connection, OptionalExtension};

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration::new(1, "outbox", include_str!("../../../../../../migrations/outbox/0001_outbox.sql"))];

/// A record as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub seq: i64,
    pub at: i64,
    pub checked: bool,
    pub record: Vec<u8>,
}

pub(super) fn insert(c: &Connection, row: &Row) -> Result<()> {
    c.prepare_cached("INSERT INTO outbox(seq, at, checked, record) VALUES (?1, ?2, ?3, ?4)")?.execute((
        row.seq,
        row.at,
        row.checked,
        &row.record,
    ))?;
    Ok(())
}

/// Hands on the records from `first` to `last` in their order, until `each` says that it has enough.
pub(super) fn each(
    c: &Connection,
    (first, last): (i64, i64),
    each: &mut dyn FnMut(Row) -> Result<bool>,
) -> Result<()> {
    let mut found = c.prepare_cached(
        "SELECT seq, at, checked, record FROM outbox WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
    )?;
    let mut rows = found.query((first, last))?;
    while let Some(row) = rows.next()? {
        let row = Row { seq: row.get(0)?, at: row.get(1)?, checked: row.get(2)?, record: row.get(3)? };
        if !each(row)? {
            break;
        }
    }
    Ok(())
}

/// One record; `None` when it is delivered.
pub(super) fn one(c: &Connection, seq: i64) -> Result<Option<Vec<u8>>> {
    let mut found = c.prepare_cached("SELECT record FROM outbox WHERE seq = ?1")?;
    Ok(found.query_row([seq], |r| r.get(0)).optional()?)
}

/// Forgets what was delivered, up to and with `seq`.
pub(super) fn remove(c: &Connection, seq: i64) -> Result<()> {
    c.prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?.execute([seq])?;
    Ok(())
}

/// What was set aside of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub id: i64,
    pub key: SeriesKey,
    pub min: i64,
    pub max: i64,
    pub rows: u64,
    pub why: String,
}

pub(super) fn set_aside(c: &Connection, at: i64, part: &Part, why: &str) -> Result<()> {
    let (key, frame) = part;
    let record = record::encode(std::slice::from_ref(part))?;
    let tags = serde_json::json!(key.tags).to_string();
    let (min, max) = (frame.times.iter().min().copied(), frame.times.iter().max().copied());
    c.prepare_cached(
        "INSERT INTO refused(at, bucket, measurement, tags, min_time, max_time, rows, why, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        at,
        &key.bucket,
        &key.measurement,
        tags,
        min.unwrap_or_default(),
        max.unwrap_or_default(),
        frame.len() as i64,
        why,
        record,
    ))?;
    Ok(())
}

/// A record that cannot be read is kept as it is, under no series.
pub(super) fn set_damaged_aside(c: &Connection, row: &Row, why: &str) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO refused(at, bucket, measurement, tags, min_time, max_time, rows, why, record)
         VALUES (?1, '?', ?2, '[]', 0, 0, 0, ?3, ?4)",
    )?
    .execute((row.at, format!("record {}", row.seq), why, &row.record))?;
    Ok(())
}

/// At most `limit` of what was set aside, the oldest first.
pub(super) fn refused(c: &Connection, limit: u64) -> Result<Vec<Refused>> {
    let mut found = c.prepare(
        "SELECT id, bucket, measurement, tags, min_time, max_time, rows, why FROM refused ORDER BY id LIMIT ?1",
    )?;
    let mut rows = found.query([limit.min(i64::MAX as u64) as i64])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let tags: String = row.get(3)?;
        out.push(Refused {
            id: row.get(0)?,
            key: SeriesKey {
                bucket: row.get(1)?,
                measurement: row.get(2)?,
                tags: serde_json::from_str(&tags).unwrap_or_default(),
            },
            min: row.get(4)?,
            max: row.get(5)?,
            rows: row.get::<_, i64>(6)?.unsigned_abs(),
            why: row.get(7)?,
        });
    }
    Ok(out)
}

/// How many are set aside, and their bytes.
pub(super) fn refused_totals(c: &Connection) -> Result<(u64, u64)> {
    let totals = c.query_row("SELECT count(*), coalesce(sum(length(record)), 0) FROM refused", [], |r| {
        Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?))
    })?;
    Ok((totals.0.unsigned_abs(), totals.1.unsigned_abs()))
}

/// Forgets what was set aside of the chosen series and lies within `range` as a whole.
pub(super) fn forget_refused(c: &Connection, selector: &Selector, range: TimeRange) -> Result<u64> {
    let mut gone = 0;
    for r in refused(c, u64::MAX)? {
        if selector.matches(&r.key) && range.contains(r.min) && range.contains(r.max) {
            gone += c.prepare_cached("DELETE FROM refused WHERE id = ?1")?.execute([r.id])? as u64;
        }
    }
    Ok(gone)
}
