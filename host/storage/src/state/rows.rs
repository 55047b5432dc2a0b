//! The rows of checkpoints.

use super::types::{Checkpoint, STRATEGIES_MAX, Which};
use crate::error::{Error, Result};
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::Value;

/// Of `state_checkpoints c` and `state_strategies s`.
pub(super) const COLUMNS: &str =
    "s.name, c.revision, c.hash, c.size, c.media_type, c.metadata, c.saved_at, c.saved_by, c.store";
/// Where [`read`] ends, and other columns begin.
pub(super) const NEXT_COLUMN: usize = 9;

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    let metadata: String = row.get(5)?;
    Ok(Checkpoint {
        strategy: row.get(0)?,
        revision: row.get::<_, i64>(1)?.unsigned_abs(),
        blake3: row.get(2)?,
        size: row.get::<_, i64>(3)?.unsigned_abs(),
        media_type: row.get(4)?,
        metadata: serde_json::from_str(&metadata).unwrap_or(Value::String(metadata)),
        saved_at: row.get(6)?,
        saved_by: row.get(7)?,
        store: row.get(8)?,
    })
}

/// A checkpoint, deletions among them, without its content.
pub(super) fn find(c: &Connection, strategy: &str, which: Which) -> Result<Option<Checkpoint>> {
    let found = look(c, strategy, which, "NULL")?;
    Ok(found.map(|(checkpoint, _)| checkpoint))
}

/// A checkpoint, and its content where that is in the row.
pub(super) fn find_whole(
    c: &Connection,
    strategy: &str,
    which: Which,
) -> Result<Option<(Checkpoint, Option<Vec<u8>>)>> {
    look(c, strategy, which, "c.content")
}

fn look(
    c: &Connection,
    strategy: &str,
    which: Which,
    content: &str,
) -> Result<Option<(Checkpoint, Option<Vec<u8>>)>> {
    let (column, comparison, bound) = match which {
        Which::Newest => ("c.revision", "<=", i64::MAX),
        Which::Revision(n) => ("c.revision", "=", i64::try_from(n).unwrap_or(-1)),
        Which::At(time) => ("c.saved_at", "<=", time),
    };
    let sql = format!(
        "SELECT {COLUMNS}, {content} FROM state_strategies s JOIN state_checkpoints c ON c.strategy = s.id
         WHERE s.name = ?1 AND {column} {comparison} ?2 ORDER BY c.revision DESC LIMIT 1"
    );
    let row = c.prepare_cached(&sql)?.query_row((strategy, bound), |r| Ok((read(r)?, r.get(NEXT_COLUMN)?)));
    Ok(row.optional()?)
}

/// The oldest revision of a strategy that is kept.
pub(super) fn oldest(c: &Connection, strategy: &str) -> Result<Option<u64>> {
    let oldest: Option<i64> = c
        .prepare_cached(
            "SELECT c.revision FROM state_strategies s JOIN state_checkpoints c ON c.strategy = s.id
             WHERE s.name = ?1 ORDER BY c.revision LIMIT 1",
        )?
        .query_row([strategy], |r| r.get(0))
        .optional()?;
    Ok(oldest.map(i64::unsigned_abs))
}

/// The time of a save: later than every other.
pub(super) fn next_time(c: &Connection, now: i64) -> Result<i64> {
    let latest: Option<i64> = c
        .prepare_cached("SELECT saved_at FROM state_checkpoints ORDER BY seq DESC LIMIT 1")?
        .query_row([], |r| r.get(0))
        .optional()?;
    Ok(latest.map_or(now, |latest| now.max(latest.saturating_add(1))))
}

/// The number of a strategy, which gets one with its first save.
pub(super) fn strategy(tx: &Tx<'_>, name: &str) -> Result<i64> {
    let there: Option<i64> = tx
        .prepare_cached("SELECT id FROM state_strategies WHERE name = ?1")?
        .query_row([name], |r| r.get(0))
        .optional()?;
    if let Some(id) = there {
        return Ok(id);
    }
    let id: i64 = tx
        .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM state_strategies")?
        .query_row([], |r| r.get(0))?;
    if id > STRATEGIES_MAX {
        return Err(Error::limit(
            format!("one more strategy, `{name}`,"),
            format!("{STRATEGIES_MAX} strategies"),
            "use the name of one that is not needed any more; names are not freed",
        ));
    }
    tx.prepare_cached("INSERT INTO state_strategies(id, name) VALUES (?1, ?2)")?.execute((id, name))?;
    Ok(id)
}
