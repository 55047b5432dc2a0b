//! The audit trail: append-only, hash-chained, written in the transaction of what it records.
//!
//! Each entry's hash is BLAKE3 over the hash of the entry before it (32 zero bytes for the first) and the
//! entry's fields in order — `seq time actor action object before after detail` — each as its length in eight
//! little-endian bytes and its UTF-8 bytes; numbers in decimal; an absent digest has the length 2⁶⁴−1.

use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::Database;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Bytes of an entry's detail.
pub const DETAIL_BYTES_MAX: usize = 64 << 10;
/// Entries of one page of a list.
pub const PAGE_MAX: u64 = 10_000;
/// Entries that `verify` reads in one transaction.
const VERIFY_PAGE: i64 = 10_000;

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
    /// In hexadecimal.
    pub hash: String,
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
    /// Not before, in nanoseconds.
    pub since: Option<i64>,
    /// Before, in nanoseconds.
    pub until: Option<i64>,
    /// Only entries with a smaller sequence number: the next page of a list, newest first.
    pub before_seq: Option<i64>,
    /// Default 100.
    pub limit: Option<u64>,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditProof {
    pub entries: u64,
    /// Hash of the last sound entry, in hexadecimal; keep it elsewhere to notice a cut tail.
    pub head: String,
    pub broken: Option<AuditBreak>,
}

/// The first link that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditBreak {
    pub seq: i64,
    pub problem: String,
}

/// The audit trail of a database.
#[derive(Debug)]
pub struct Audit {
    db: Arc<Database>,
}

impl Audit {
    pub fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// Appends inside the transaction of what is recorded: both are there, or neither.
    pub fn append(tx: &Transaction<'_>, entry: &Entry) -> Result<i64> {
        let detail = entry.detail.to_string();
        if detail.len() > DETAIL_BYTES_MAX {
            return Err(Error::limit(
                format!("the audit detail of {} {} ({} bytes)", entry.action, entry.object, detail.len()),
                format!("{DETAIL_BYTES_MAX} bytes"),
                "make the change in smaller steps",
            ));
        }
        let last: Option<(i64, Vec<u8>)> = tx
            .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
            .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        let (seq, previous) = last.map_or((1, vec![0; 32]), |(s, h)| (s + 1, h));
        let time = now_ns();
        let fields = Fields {
            seq,
            time,
            actor: &entry.actor,
            action: &entry.action,
            object: &entry.object,
            before: entry.before.as_deref(),
            after: entry.after.as_deref(),
            detail: &detail,
        };
        let hash = fields.hash(&previous);
        tx.prepare_cached(
            "INSERT INTO audit(seq, time, actor, action, object, before, after, detail, hash) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
        )?
        .execute((seq, time, &entry.actor, &entry.action, &entry.object, &entry.before, &entry.after, &detail, hash.as_slice()))?;
        Ok(seq)
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
        let mut sql = String::from(
            "SELECT seq, time, actor, action, object, before, after, detail, hash FROM audit WHERE 1",
        );
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut and = |condition: &str, value: Box<dyn ToSql>| {
            values.push(value);
            sql.push_str(&format!(" AND {} ", condition.replace('?', &format!("?{}", values.len()))));
        };
        if let Some(v) = &filter.actor {
            and("actor = ?", Box::new(v.clone()));
        }
        for (column, prefix) in [("action", &filter.action), ("object", &filter.object)] {
            if let Some(v) = prefix {
                and(&format!("{column} >= ?"), Box::new(v.clone()));
                and(&format!("{column} < ?"), Box::new(format!("{v}\u{10ffff}")));
            }
        }
        if let Some(v) = filter.since {
            and("time >= ?", Box::new(v));
        }
        if let Some(v) = filter.until {
            and("time < ?", Box::new(v));
        }
        if let Some(v) = filter.before_seq {
            and("seq < ?", Box::new(v));
        }
        sql.push_str(&format!(" ORDER BY seq DESC LIMIT {limit}"));
        self.db.read(|c| {
            let mut statement = c.prepare_cached(&sql)?;
            let rows = statement
                .query_map(rusqlite::params_from_iter(values.iter().map(AsRef::as_ref)), read_entry)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Entries so far.
    pub fn len(&self) -> Result<u64> {
        self.db.read(|c| {
            Ok(c.query_row("SELECT coalesce(max(seq), 0) FROM audit", [], |r| r.get::<_, i64>(0))?
                .unsigned_abs())
        })
    }

    /// Is there none?
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Walks the chain from its beginning and names the first link that does not hold.
    pub fn verify(&self, caller: &Caller) -> Result<AuditProof> {
        caller.require(Scope::Read, "verify the audit trail")?;
        let mut walk = Walk::default();
        while walk.broken.is_none() {
            // A page a transaction: a long trail must not hold a snapshot open.
            if self.db.read(|c| walk.page(c))? == 0 {
                break;
            }
        }
        Ok(walk.proof())
    }

    /// [`Audit::verify`] over a connection that is not this host's: a backup.
    pub fn verify_connection(connection: &Connection) -> Result<AuditProof> {
        let mut walk = Walk::default();
        while walk.broken.is_none() && walk.page(connection)? > 0 {}
        Ok(walk.proof())
    }
}

struct Walk {
    seq: i64,
    hash: Vec<u8>,
    broken: Option<AuditBreak>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { seq: 0, hash: vec![0; 32], broken: None }
    }
}

impl Walk {
    fn proof(self) -> AuditProof {
        AuditProof { entries: self.seq.unsigned_abs(), head: hex(&self.hash), broken: self.broken }
    }

    /// Follows the chain over one page; entries read.
    fn page(&mut self, connection: &Connection) -> Result<usize> {
        let mut statement = connection.prepare_cached(
            "SELECT seq, time, actor, action, object, before, after, detail, hash FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = statement.query((self.seq, VERIFY_PAGE))?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let hash: Vec<u8> = row.get(8)?;
            let (actor, action, object): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let (before, after): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
            let detail: String = row.get(7)?;
            let expected = Fields {
                seq,
                time: row.get(1)?,
                actor: &actor,
                action: &action,
                object: &object,
                before: before.as_deref(),
                after: after.as_deref(),
                detail: &detail,
            }
            .hash(&self.hash);
            let problem = if seq != self.seq + 1 {
                Some(format!("entries {} to {} are missing", self.seq + 1, seq - 1))
            } else if hash != expected {
                Some("its hash does not follow from its fields and the entry before it: one of the two was changed".into())
            } else {
                None
            };
            if let Some(problem) = problem {
                self.broken = Some(AuditBreak { seq: self.seq + 1, problem });
                return Ok(read);
            }
            (self.seq, self.hash) = (seq, hash);
            read += 1;
        }
        Ok(read)
    }
}

struct Fields<'a> {
    seq: i64,
    time: i64,
    actor: &'a str,
    action: &'a str,
    object: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
    detail: &'a str,
}

impl Fields<'_> {
    fn hash(&self, previous: &[u8]) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(previous);
        let (seq, time) = (self.seq.to_string(), self.time.to_string());
        for field in [
            Some(seq.as_str()),
            Some(&time),
            Some(self.actor),
            Some(self.action),
            Some(self.object),
            self.before,
            self.after,
            Some(self.detail),
        ] {
            let length = field.map_or(u64::MAX, |f| f.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(field.unwrap_or_default().as_bytes());
        }
        hasher.finalize().as_bytes().to_vec()
    }
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let detail: String = row.get(7)?;
    Ok(AuditEntry {
        seq: row.get(0)?,
        time: row.get(1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        object: row.get(4)?,
        before: row.get(5)?,
        after: row.get(6)?,
        // A detail that is no JSON was tampered with: shown as it is, for `verify` to name.
        detail: serde_json::from_str(&detail).unwrap_or(Value::String(detail)),
        hash: hex(&row.get::<_, Vec<u8>>(8)?),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Options;
    use serde_json::json;

    fn trail(entries: i64) -> (tempfile::TempDir, Arc<Database>, Audit) {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(
            Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
        );
        let audit = Audit::new(db.clone());
        for i in 0..entries {
            let entry = Entry::new(
                &Caller::Operator,
                if i % 2 == 0 { "skills.put" } else { "settings.set" },
                format!("o:{i}"),
            );
            audit.record(&entry.change(None, Some("d".into())).detail(json!({ "i": i }))).unwrap();
        }
        (dir, db, audit)
    }

    /// What someone with the file and no scruples can do.
    fn tamper(dir: &tempfile::TempDir, sql: &str) {
        let raw = Connection::open(dir.path().join("a.db")).unwrap();
        raw.execute_batch(&format!(
            "DROP TRIGGER audit_is_append_only_1; DROP TRIGGER audit_is_append_only_2; {sql}"
        ))
        .unwrap();
    }

    #[test]
    fn a_sound_chain_is_proven() {
        let (_dir, _db, audit) = trail(25);
        let proof = audit.verify(&Caller::Operator).unwrap();
        assert_eq!((proof.entries, proof.broken), (25, None));
        assert_ne!(proof.head, "0".repeat(64));
    }

    #[test]
    fn every_kind_of_tampering_is_named_with_its_place() {
        for (sql, seq, word) in [
            ("UPDATE audit SET actor = 'nobody' WHERE seq = 7", 7, "changed"),
            ("UPDATE audit SET detail = '{\"i\":1}' WHERE seq = 1", 1, "changed"),
            ("UPDATE audit SET after = NULL WHERE seq = 3", 3, "changed"),
            ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 9", 9, "changed"),
            ("DELETE FROM audit WHERE seq = 5", 5, "missing"),
            ("DELETE FROM audit WHERE seq < 4", 1, "missing"),
            (
                "UPDATE audit SET seq = 100 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 100",
                2,
                "changed",
            ),
        ] {
            let (dir, _db, audit) = trail(12);
            tamper(&dir, sql);
            let broken = audit.verify(&Caller::Operator).unwrap().broken.unwrap_or_else(|| panic!("{sql}"));
            assert_eq!(broken.seq, seq, "{sql}: {broken:?}");
            assert!(broken.problem.contains(word), "{sql}: {broken:?}");
        }
    }

    #[test]
    fn the_table_refuses_changes() {
        let (_dir, db, _audit) = trail(2);
        for sql in [
            "UPDATE audit SET actor = 'x'",
            "DELETE FROM audit",
            "REPLACE INTO audit SELECT * FROM audit WHERE seq = 1",
        ] {
            assert!(db.write(|tx| Ok(tx.execute(sql, [])?)).is_err(), "{sql}");
        }
    }

    #[test]
    fn an_entry_goes_with_the_transaction_that_it_records() {
        let (_dir, db, audit) = trail(1);
        let undone: Result<()> = db.write(|tx| {
            Audit::append(tx, &Entry::new(&Caller::Operator, "skills.put", "x"))?;
            Err(Error::invalid("no"))
        });
        assert!(undone.is_err());
        assert_eq!(audit.len().unwrap(), 1);
    }

    #[test]
    fn filters_and_pages() {
        let (_dir, _db, audit) = trail(10);
        let list = |f: AuditFilter| {
            audit.list(&Caller::Operator, &f).unwrap().iter().map(|e| e.seq).collect::<Vec<_>>()
        };
        assert_eq!(
            list(AuditFilter { action: Some("settings.".into()), ..AuditFilter::default() }),
            [10, 8, 6, 4, 2]
        );
        assert_eq!(list(AuditFilter { object: Some("o:3".into()), ..AuditFilter::default() }), [4]);
        assert_eq!(
            list(AuditFilter { limit: Some(2), before_seq: Some(5), ..AuditFilter::default() }),
            [4, 3]
        );
        assert_eq!(list(AuditFilter { actor: Some("token:x".into()), ..AuditFilter::default() }), [0_i64; 0]);
        assert!(
            audit
                .list(&Caller::Operator, &AuditFilter { limit: Some(PAGE_MAX), ..AuditFilter::default() })
                .is_ok()
        );
        assert!(
            audit
                .list(&Caller::Operator, &AuditFilter { limit: Some(PAGE_MAX + 1), ..AuditFilter::default() })
                .is_err()
        );
    }

    #[test]
    fn a_detail_has_a_bound() {
        let (_dir, _db, audit) = trail(0);
        let entry =
            |n: usize| Entry::new(&Caller::Operator, "a.b", "x").detail(Value::String("y".repeat(n - 2)));
        assert!(audit.record(&entry(DETAIL_BYTES_MAX)).is_ok());
        assert_eq!(audit.record(&entry(DETAIL_BYTES_MAX + 1)).unwrap_err().kind(), crate::Kind::Limit);
    }
}
