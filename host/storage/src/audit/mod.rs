//! The audit trail: append-only, hash-chained, written in the transaction of what it records.

mod archive;
mod chain;
mod checkpoint;
mod export;
mod reader;
mod request;
mod segments;

pub use archive::{ARCHIVE_BYTES_MAX, Archived};
pub use chain::{AuditBreak, AuditLine, AuditProof};
pub use checkpoint::{Checkpoint, DOCUMENT_BYTES_MAX, Signed, SigningKey, VerifyingKey};
pub use export::verify_export;
pub use reader::LINE_BYTES_MAX;
pub use request::{REQUEST_ID_BYTES_MAX, RequestId};
pub(crate) use segments::refuse_archived;
pub use segments::{Archive, SEGMENTS_MAX, Segment};

use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::hex;
use crate::schema::now_ns;
use crate::sqlite::{Database, Tx};
use chain::{COLUMNS, Walk};
use rusqlite::{Connection, ToSql};
use segments::Tables;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Bytes of an entry's detail.
pub const DETAIL_BYTES_MAX: usize = 64 << 10;
/// Entries of one page of a list.
pub const PAGE_MAX: u64 = 10_000;

/// What is recorded.
#[derive(Debug, Clone)]
pub struct Entry {
    /// [`Caller::actor`].
    pub actor: String,
    /// `noun.verb`: `skills.put`, `series.delete`.
    pub action: String,
    /// What it was done to: `skill:pullback@0.1.0`.
    pub object: String,
    /// Digests of the object before and after, where it has one.
    pub before: Option<String>,
    pub after: Option<String>,
    pub detail: Value,
    /// The request, or the plugin's run, on whose behalf this thread works: [`RequestId::current`].
    pub request: Option<RequestId>,
}

impl Entry {
    pub fn new(caller: &Caller, action: &str, object: impl Into<String>) -> Self {
        Self {
            actor: caller.actor(),
            action: action.into(),
            object: object.into(),
            before: None,
            after: None,
            detail: Value::Null,
            request: RequestId::current(),
        }
    }
    #[must_use]
    pub fn change(mut self, before: Option<String>, after: Option<String>) -> Self {
        (self.before, self.after) = (before, after);
        self
    }
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEntry {
    pub seq: i64,
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub detail: Value,
    /// The id of the request, or of the plugin's run, that made the change.
    pub request: Option<String>,
    /// In hexadecimal.
    pub hash: String,
}

impl From<AuditLine> for AuditEntry {
    fn from(line: AuditLine) -> Self {
        Self {
            seq: line.seq,
            time: line.time,
            actor: line.actor,
            action: line.action,
            object: line.object,
            before: line.before,
            after: line.after,
            // A detail that is no JSON was tampered with: shown as it is, for `verify` to name.
            detail: serde_json::from_str(&line.detail).unwrap_or(Value::String(line.detail)),
            request: line.request,
            hash: line.hash,
        }
    }
}

/// Which entries to list; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditFilter {
    pub actor: Option<String>,
    /// An action or the beginning of one: `skills.`.
    pub action: Option<String>,
    /// An object or the beginning of one.
    pub object: Option<String>,
    /// The id of a request, whole.
    pub request: Option<String>,
    /// Not before, in nanoseconds.
    pub since: Option<i64>,
    /// Before, in nanoseconds.
    pub until: Option<i64>,
    /// Only entries with a smaller sequence number: the next page of a list, newest first.
    pub before_seq: Option<i64>,
    /// Default 100.
    pub limit: Option<u64>,
}

/// The audit trail of a database.
#[derive(Debug)]
pub struct Audit {
    db: Arc<Database>,
}

impl Audit {
    pub(crate) const fn database(&self) -> &Arc<Database> {
        &self.db
    }

    pub fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// Appends inside the transaction of what is recorded: both are there, or neither.
    pub fn append(tx: &Tx<'_>, entry: &Entry) -> Result<i64> {
        let detail = entry.detail.to_string();
        if detail.len() > DETAIL_BYTES_MAX {
            return Err(Error::limit(
                format!("the audit detail of {} {} ({} bytes)", entry.action, entry.object, detail.len()),
                format!("{DETAIL_BYTES_MAX} bytes"),
                "make the change in smaller steps",
            ));
        }
        let (last, previous) = segments::last(tx)?;
        let mut line = AuditLine {
            seq: last + 1,
            time: now_ns(),
            actor: entry.actor.clone(),
            action: entry.action.clone(),
            object: entry.object.clone(),
            before: entry.before.clone(),
            after: entry.after.clone(),
            detail,
            request: entry.request.as_ref().map(ToString::to_string),
            hash: String::new(),
        };
        let hash = line.follows(&previous);
        line.hash = hex::encode(hash);
        tx.prepare_cached(&format!("INSERT INTO audit({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"))?
            .execute((
                line.seq,
                line.time,
                &line.actor,
                &line.action,
                &line.object,
                &line.before,
                &line.after,
                &line.detail,
                &line.request,
                hash,
            ))?;
        Ok(line.seq)
    }

    /// Appends in a transaction of its own, for what happens outside this database; on a read-only disk too, for
    /// deletions are recorded.
    pub fn record(&self, entry: &Entry) -> Result<i64> {
        self.db.write_always(|tx| Self::append(tx, entry))
    }

    /// Entries, newest first.
    pub fn list(&self, caller: &Caller, filter: &AuditFilter) -> Result<Vec<AuditEntry>> {
        caller.require(Scope::Read, "list the audit trail")?;
        let limit = filter.limit.unwrap_or(100);
        if limit > PAGE_MAX {
            return Err(Error::limit(
                format!("a page of {limit} audit entries"),
                PAGE_MAX,
                "page with `before_seq`",
            ));
        }
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut conditions = String::from("1");
        let mut and = |condition: &str, value: Box<dyn ToSql>| {
            values.push(value);
            conditions.push_str(&format!(" AND {}", condition.replace('?', &format!("?{}", values.len()))));
        };
        for (column, wanted) in [("actor", &filter.actor), ("request", &filter.request)] {
            if let Some(v) = wanted {
                and(&format!("{column} = ?"), Box::new(v.clone()));
            }
        }
        for (column, prefix) in [("action", &filter.action), ("object", &filter.object)] {
            if let Some(v) = prefix {
                and(&format!("{column} >= ?"), Box::new(v.clone()));
                and(&format!("{column} < ?"), Box::new(format!("{v}\u{10ffff}")));
            }
        }
        for (condition, bound) in
            [("time >= ?", filter.since), ("time < ?", filter.until), ("seq < ?", filter.before_seq)]
        {
            if let Some(v) = bound {
                and(condition, Box::new(v));
            }
        }
        self.db.read(|c| {
            let mut found: Vec<AuditEntry> = Vec::new();
            for place in Tables::read(c)?.newest_first() {
                let left = limit - found.len() as u64;
                if left == 0 {
                    break;
                }
                // With a sign the order is no reason to read the table from its end.
                let order = match filter.since {
                    Some(since) if place.has_few_since(c, since, left)? => "+seq",
                    _ => "seq",
                };
                let mut statement = c.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM {} WHERE {conditions} ORDER BY {order} DESC LIMIT {left}",
                    place.table()
                ))?;
                let values = rusqlite::params_from_iter(values.iter().map(AsRef::as_ref));
                for line in statement.query_map(values, AuditLine::read)? {
                    found.push(line?.into());
                }
            }
            Ok(found)
        })
    }

    /// Entries so far, those in archived segments included.
    pub fn len(&self) -> Result<u64> {
        Ok(self.last_seq()?.unsigned_abs())
    }

    /// Is there none?
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Walks the chain from its beginning and names the first link that does not hold.
    pub fn verify(&self, caller: &Caller) -> Result<AuditProof> {
        self.verify_against(caller, Vec::new(), None)
    }

    /// [`Audit::verify`] of a trail that must agree with what was signed: with each of `checkpoints`, and with `key`, which must have
    /// signed archived segments.
    pub fn verify_against(
        &self,
        caller: &Caller,
        checkpoints: Vec<Checkpoint>,
        key: Option<VerifyingKey>,
    ) -> Result<AuditProof> {
        caller.require(Scope::Read, "verify the audit trail")?;
        let mut walk = Walk::new(checkpoints, key);
        // A page a transaction: a long trail must not hold a snapshot open.
        while !walk.is_broken() && self.db.read(|c| walk.page(c))? {}
        Ok(walk.end())
    }

    /// [`Audit::verify`] over a connection that is not this host's: a backup.
    pub fn verify_connection(connection: &Connection) -> Result<AuditProof> {
        let mut walk = Walk::new(Vec::new(), None);
        while !walk.is_broken() && walk.page(connection)? {}
        Ok(walk.end())
    }
}

#[cfg(test)]
mod tests;
