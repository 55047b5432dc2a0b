//! How far each series is in its rollups and archives, and how far it was dropped.

use crate::error::{Error, Result};
use crate::series::SeriesKey;
use crate::sqlite::Tx;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// The target of an archive in a store.
pub(super) fn archive_target(store: &str) -> String {
    format!("archive:{store}")
}

/// The marks of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Marks {
    /// Target → rows before this time are in it.
    pub(super) until: BTreeMap<String, i64>,
    /// Rows before this time were dropped.
    pub(super) dropped_until: Option<i64>,
}

impl Marks {
    /// The store of each archive and how far it goes.
    pub(super) fn archives(&self) -> impl Iterator<Item = (&str, i64)> {
        self.until.iter().filter_map(|(t, until)| Some((t.strip_prefix("archive:")?, *until)))
    }
    /// The measurement of each rollup and how far it goes.
    pub(super) fn rollups(&self) -> impl Iterator<Item = (&str, i64)> {
        self.until.iter().filter(|(t, _)| !t.starts_with("archive:")).map(|(t, until)| (t.as_str(), *until))
    }
}

/// Every mark, by series.
pub(super) fn all(c: &Connection) -> Result<BTreeMap<SeriesKey, Marks>> {
    let mut out: BTreeMap<SeriesKey, Marks> = BTreeMap::new();
    let mut statement =
        c.prepare_cached("SELECT bucket, measurement, tags, target, rolled_until_ns FROM retention_marks")?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        out.entry(key(r)?).or_default().until.insert(r.get(3)?, r.get(4)?);
    }
    let mut statement =
        c.prepare_cached("SELECT bucket, measurement, tags, dropped_until_ns FROM retention_drops")?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        out.entry(key(r)?).or_default().dropped_until = Some(r.get(3)?);
    }
    Ok(out)
}

/// The marks of one series.
pub(super) fn of(c: &Connection, key: &SeriesKey) -> Result<Marks> {
    let mut out = Marks::default();
    let at = (&key.bucket, &key.measurement, tags(key)?);
    let mut statement =
        c.prepare_cached("SELECT target, rolled_until_ns FROM retention_marks WHERE bucket = ?1 AND measurement = ?2 AND tags = ?3")?;
    let mut rows = statement.query((at.0, at.1, &at.2))?;
    while let Some(r) = rows.next()? {
        out.until.insert(r.get(0)?, r.get(1)?);
    }
    out.dropped_until = dropped_until(c, key)?;
    Ok(out)
}

/// Rows of a series before this time were dropped.
pub(crate) fn dropped_until(c: &Connection, key: &SeriesKey) -> Result<Option<i64>> {
    let mut statement = c.prepare_cached(
        "SELECT dropped_until_ns FROM retention_drops WHERE bucket = ?1 AND measurement = ?2 AND tags = ?3",
    )?;
    let mut rows = statement.query((&key.bucket, &key.measurement, tags(key)?))?;
    Ok(rows.next()?.map(|r| r.get(0)).transpose()?)
}

/// Notes that rows before `until` are in a target; a mark never goes back.
pub(super) fn set_until(tx: &Tx<'_>, key: &SeriesKey, target: &str, until: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO retention_marks(bucket, measurement, tags, target, rolled_until_ns) VALUES (?1,?2,?3,?4,?5)
         ON CONFLICT DO UPDATE SET rolled_until_ns = max(rolled_until_ns, excluded.rolled_until_ns)",
    )?
    .execute((&key.bucket, &key.measurement, tags(key)?, target, until))?;
    Ok(())
}

/// Notes that rows before `until` are dropped; a mark never goes back.
pub(super) fn set_dropped(tx: &Tx<'_>, key: &SeriesKey, until: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO retention_drops(bucket, measurement, tags, dropped_until_ns) VALUES (?1,?2,?3,?4)
         ON CONFLICT DO UPDATE SET dropped_until_ns = max(dropped_until_ns, excluded.dropped_until_ns)",
    )?
    .execute((&key.bucket, &key.measurement, tags(key)?, until))?;
    Ok(())
}

fn tags(key: &SeriesKey) -> Result<String> {
    serde_json::to_string(&key.tags).map_err(|e| Error::internal(format!("tags of {key}: {e}")))
}

fn key(row: &rusqlite::Row<'_>) -> Result<SeriesKey> {
    let tags: String = row.get(2)?;
    let tags = serde_json::from_str(&tags)
        .map_err(|e| Error::corrupt(format!("retention_marks: the tags `{tags}` cannot be read: {e}")))?;
    SeriesKey::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?, tags)
}
