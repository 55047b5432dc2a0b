//! A batch that is being recorded: the numbers of its rows, its digest, and its entry in the audit trail.

use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use serde_json::{Value, json};

/// Rows of one transaction.
pub(super) struct Writing<'a> {
    pub tx: &'a Tx<'a>,
    first: i64,
    next: i64,
    after: i64,
    digest: blake3::Hasher,
}

impl<'a> Writing<'a> {
    pub fn begin(tx: &'a Tx<'a>) -> Result<Self> {
        let last: Option<(i64, i64)> = tx
            .prepare_cached(
                "SELECT first_seq + rows, recorded_at FROM trade_batches ORDER BY first_seq DESC LIMIT 1",
            )?
            .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        let (first, after) = last.unwrap_or((1, 0));
        Ok(Self { tx, first, next: first, after, digest: blake3::Hasher::new() })
    }

    /// The number of a row of `table`, whose content goes into the digest.
    pub fn row(&mut self, table: &str, row: &impl Serialize) -> Result<i64> {
        let seq = self.next;
        let line = serde_json::to_string(&json!({ "seq": seq, "table": table, "row": row }))
            .map_err(|e| Error::internal(format!("writing a row: {e}")))?;
        self.digest.update(line.as_bytes()).update(b"\n");
        self.next += 1;
        Ok(seq)
    }

    pub const fn rows(&self) -> i64 {
        self.next - self.first
    }

    /// Notes the batch and its audit entry; nothing where it has no rows. Its time.
    pub fn finish(
        self,
        caller: &Caller,
        action: &str,
        object: String,
        mut detail: Value,
    ) -> Result<Option<i64>> {
        let rows = self.rows();
        if rows == 0 {
            return Ok(None);
        }
        let recorded_at = now_ns().max(self.after.saturating_add(1));
        let digest = self.digest.finalize().to_hex().to_string();
        self.tx
            .prepare_cached(
                "INSERT INTO trade_batches(first_seq, rows, recorded_at, recorded_by, digest) VALUES (?1,?2,?3,?4,?5)",
            )?
            .execute((self.first, rows, recorded_at, caller.actor(), &digest))?;
        if let Value::Object(detail) = &mut detail {
            detail.insert("seq".into(), self.first.into());
            detail.insert("rows".into(), rows.into());
        }
        Audit::append(
            self.tx,
            &Entry::new(caller, action, object).change(None, Some(digest)).detail(detail),
        )?;
        Ok(Some(recorded_at))
    }
}

/// The last number that was known at a time; every number when none is given.
pub(super) fn known_seq(c: &Connection, known_at: Option<i64>) -> Result<i64> {
    let Some(at) = known_at else { return Ok(i64::MAX) };
    let last: Option<(i64, i64)> = c
        .prepare_cached(
            "SELECT first_seq + rows - 1, (SELECT max(recorded_at) FROM trade_batches) FROM trade_batches
             WHERE recorded_at <= ?1 ORDER BY recorded_at DESC LIMIT 1",
        )?
        .query_row([at], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    Ok(match last {
        None => 0,
        // All that there is: what was added up already can be used.
        Some((_, newest)) if newest <= at => i64::MAX,
        Some((seq, _)) => seq,
    })
}

/// Who recorded a row, and when.
pub(super) fn origin(c: &Connection, seq: i64) -> Result<(i64, String)> {
    Ok(c.prepare_cached(
        "SELECT recorded_at, recorded_by FROM trade_batches WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
    )?
    .query_row([seq], |r| Ok((r.get(0)?, r.get(1)?)))?)
}
