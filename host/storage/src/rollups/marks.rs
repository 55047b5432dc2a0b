//! What is durable of rollups: how far each series is, and which windows wait to be rolled up again.

use super::definition::Definition;
use crate::error::{Error, Result};
use crate::series::{SeriesKey, TimeRange};
use crate::sqlite::Tx;
use rusqlite::{Connection, Row};

/// How far one series is in one rollup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) rollup: String,
    pub(super) key: SeriesKey,
    pub(super) until: i64,
}

/// Windows that wait to be rolled up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) id: i64,
    pub(super) rollup: String,
    pub(super) key: SeriesKey,
    pub(super) range: TimeRange,
}

/// Forgets rollups that there are no more, and those that became others.
pub(super) fn declare(tx: &Tx<'_>, wanted: &[Definition]) -> Result<()> {
    let there = declared(tx)?;
    let same = |name: &str, text: &str| wanted.iter().any(|d| d.name == name && d.text() == text);
    for (name, text) in &there {
        if !same(name, text) {
            for table in ["rollup_marks", "rollup_late"] {
                tx.execute(&format!("DELETE FROM {table} WHERE rollup = ?1"), [name])?;
            }
            tx.execute("DELETE FROM rollups WHERE name = ?1", [name])?;
        }
    }
    for d in wanted {
        tx.prepare_cached("INSERT INTO rollups(name, definition) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute((&d.name, d.text()))?;
    }
    Ok(())
}

/// The name and the definition of each rollup that was declared.
pub(super) fn declared(c: &Connection) -> Result<Vec<(String, String)>> {
    let mut statement = c.prepare_cached("SELECT name, definition FROM rollups")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn all(c: &Connection) -> Result<Vec<Mark>> {
    let mut statement =
        c.prepare_cached("SELECT rollup, bucket, measurement, tags, until_ns FROM rollup_marks")?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(Mark { rollup: r.get(0)?, key: key(r, 1)?, until: r.get(4)? });
    }
    Ok(out)
}

/// Notes how far a series is. Written after its windows.
pub(super) fn set(tx: &Tx<'_>, mark: &Mark) -> Result<()> {
    let Mark { rollup, key, until } = mark;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO rollup_marks(rollup, bucket, measurement, tags, until_ns) VALUES (?1,?2,?3,?4,?5)",
    )?
    .execute((rollup, &key.bucket, &key.measurement, tags(key)?, until))?;
    Ok(())
}

/// Notes windows that late rows are about to change.
pub(super) fn add_late(tx: &Tx<'_>, rollup: &str, key: &SeriesKey, range: TimeRange) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO rollup_late(rollup, bucket, measurement, tags, start_ns, end_ns)
         VALUES (?1,?2,?3,?4,?5,?6)",
    )?
    .execute((rollup, &key.bucket, &key.measurement, tags(key)?, range.start, range.end))?;
    Ok(())
}

/// The windows of a rollup that wait, of one series or of all; those that came first first.
pub(super) fn late(
    c: &Connection,
    rollup: &str,
    only: Option<&SeriesKey>,
    limit: usize,
) -> Result<Vec<Late>> {
    let mut statement = c.prepare_cached(
        "SELECT id, rollup, bucket, measurement, tags, start_ns, end_ns FROM rollup_late
         WHERE rollup = ?5 AND (?1 IS NULL OR (bucket = ?1 AND measurement = ?2 AND tags = ?3)) ORDER BY id LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let chosen = only.map(|k| Ok::<_, Error>((&k.bucket, &k.measurement, tags(k)?))).transpose()?;
    let mut rows = match &chosen {
        None => statement.query((None::<&str>, None::<&str>, None::<&str>, limit, rollup))?,
        Some((bucket, measurement, tags)) => {
            statement.query((Some(bucket), measurement, tags, limit, rollup))?
        }
    };
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        let range = TimeRange { start: r.get(5)?, end: r.get(6)? };
        out.push(Late { id: r.get(0)?, rollup: r.get(1)?, key: key(r, 2)?, range });
    }
    Ok(out)
}

/// The first time of a series that waits to be rolled up again.
pub(super) fn first_late(c: &Connection, rollup: &str, key: &SeriesKey) -> Result<Option<i64>> {
    let mut statement = c.prepare_cached(
        "SELECT min(start_ns) FROM rollup_late WHERE rollup = ?1 AND bucket = ?2 AND measurement = ?3 AND tags = ?4",
    )?;
    Ok(statement.query_row((rollup, &key.bucket, &key.measurement, tags(key)?), |r| r.get(0))?)
}

/// How many wait of a rollup.
pub(super) fn count_late(c: &Connection, rollup: &str) -> Result<u64> {
    let n: i64 = c
        .prepare_cached("SELECT count(*) FROM rollup_late WHERE rollup = ?1")?
        .query_row([rollup], |r| r.get(0))?;
    Ok(n.unsigned_abs())
}

/// Windows before `reached` are rolled up again.
pub(super) fn done_late(tx: &Tx<'_>, late: &Late, reached: i64) -> Result<()> {
    if reached >= late.range.end {
        tx.prepare_cached("DELETE FROM rollup_late WHERE id = ?1")?.execute([late.id])?;
    } else {
        tx.prepare_cached("UPDATE OR REPLACE rollup_late SET start_ns = ?2 WHERE id = ?1")?
            .execute((late.id, reached))?;
    }
    Ok(())
}

fn tags(key: &SeriesKey) -> Result<String> {
    serde_json::to_string(&key.tags).map_err(|e| Error::internal(format!("tags of {key}: {e}")))
}

fn key(row: &Row<'_>, at: usize) -> Result<SeriesKey> {
    let tags: String = row.get(at + 2)?;
    let tags = serde_json::from_str(&tags)
        .map_err(|e| Error::corrupt(format!("rollup_marks: the tags `{tags}` cannot be read: {e}")))?;
    SeriesKey::new(row.get::<_, String>(at)?, row.get::<_, String>(at + 1)?, tags)
}
