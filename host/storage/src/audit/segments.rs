//! Where entries are: in the open table, in the table of a sealed segment, or in an archive.

use super::chain::{AuditLine, BEGINNING, COLUMNS};
use super::checkpoint::Signed;
use super::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::hex;
use crate::schema::now_ns;
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::Serialize;
use serde_json::json;

/// Segments of a trail.
pub const SEGMENTS_MAX: i64 = 100_000;

/// A part of the trail that nothing is added to any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// From 1.
    pub id: i64,
    pub first_seq: i64,
    pub last_seq: i64,
    /// Hash of the entry before the first.
    #[serde(serialize_with = "in_hex")]
    pub previous: [u8; 32],
    /// Hash of the last entry.
    #[serde(serialize_with = "in_hex")]
    pub head: [u8; 32],
    /// Nanoseconds since the Unix epoch.
    pub sealed_at: i64,
    /// Where its entries are, when they are not in the database any more.
    pub archive: Option<Archive>,
}

/// The file of an archived segment, and the proof with which it was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archive {
    pub store: String,
    pub path: String,
    /// Of the file's content, in hexadecimal.
    pub blake3: String,
    /// Nanoseconds since the Unix epoch.
    pub archived_at: i64,
    /// The checkpoint of the segment's last entry.
    pub checkpoint: Signed,
}

fn in_hex<S: serde::Serializer>(hash: &[u8; 32], s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_str(&hex::encode(hash))
}

impl Segment {
    pub fn entries(&self) -> u64 {
        (self.last_seq - self.first_seq + 1).unsigned_abs()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let archived_at: Option<i64> = row.get(9)?;
        let archive = match archived_at {
            None => None,
            Some(archived_at) => Some(Archive {
                store: row.get(6)?,
                path: row.get(7)?,
                blake3: row.get(8)?,
                archived_at,
                checkpoint: Signed { document: row.get(10)?, signature: row.get(11)? },
            }),
        };
        Ok(Self {
            id: row.get(0)?,
            first_seq: row.get(1)?,
            last_seq: row.get(2)?,
            previous: row.get(3)?,
            head: row.get(4)?,
            sealed_at: row.get(5)?,
            archive,
        })
    }
}

/// The segments of a database, in order; what follows them is in the open table.
#[derive(Debug)]
pub(super) struct Tables(Vec<Segment>);

/// One of the places where entries are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Segment(&'a Segment),
    Open,
}

impl Tables {
    pub(super) fn read(connection: &Connection) -> Result<Self> {
        let mut statement = connection.prepare_cached(
            "SELECT id, first_seq, last_seq, previous, head, sealed_at, store, path, blake3, archived_at, document, signature
             FROM audit_segments ORDER BY id LIMIT ?1",
        )?;
        let segments = statement.query_map([SEGMENTS_MAX], Segment::read)?;
        Ok(Self(segments.collect::<rusqlite::Result<_>>()?))
    }

    pub(super) fn into_segments(self) -> Vec<Segment> {
        self.0
    }

    /// The place of entry `seq`, or of the next one that could be there.
    pub(super) fn holding(&self, seq: i64) -> Place<'_> {
        self.0.iter().find(|s| s.last_seq >= seq).map_or(Place::Open, Place::Segment)
    }

    /// The places whose entries are in this database, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = Place<'_>> {
        let sealed = self.0.iter().rev().filter(|s| s.archive.is_none()).map(Place::Segment);
        std::iter::once(Place::Open).chain(sealed)
    }
}

impl<'a> Place<'a> {
    /// The segment, if it is one.
    pub(super) fn segment(self) -> Option<&'a Segment> {
        match self {
            Self::Segment(s) => Some(s),
            Self::Open => None,
        }
    }

    /// The segment, if its entries are in an archive.
    pub(super) fn archived(self) -> Option<&'a Segment> {
        self.segment().filter(|s| s.archive.is_some())
    }

    pub(super) fn table(self) -> String {
        match self {
            Self::Open => "audit".into(),
            Self::Segment(s) => table_of(s.id),
        }
    }

    /// Are there fewer than `limit` entries since a time? Then they are found by the time, and sorted; more of them are met one after
    /// another from the newest entry on.
    pub(super) fn has_few_since(self, connection: &Connection, time: i64, limit: u64) -> Result<bool> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} WHERE time >= ?1 LIMIT ?2)",
            self.table()
        ))?;
        let n: i64 = statement.query_row((time, limit.cast_signed()), |r| r.get(0))?;
        Ok(n.cast_unsigned() < limit)
    }

    /// At most `limit` entries after `seq`, in order.
    pub(super) fn after(self, connection: &Connection, seq: i64, limit: u32) -> Result<Vec<AuditLine>> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM {} WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            self.table()
        ))?;
        let lines = statement.query_map((seq, limit), AuditLine::read)?;
        Ok(lines.collect::<rusqlite::Result<_>>()?)
    }
}

pub(super) fn table_of(id: i64) -> String {
    format!("audit_segment_{id}")
}

/// The last entry's number and hash; 0 and zeros when there is none.
pub(super) fn last(connection: &Connection) -> Result<(i64, [u8; 32])> {
    for sql in [
        "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
        "SELECT last_seq, head FROM audit_segments ORDER BY id DESC LIMIT 1",
    ] {
        let found =
            connection.prepare_cached(sql)?.query_row([], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        if let Some(last) = found {
            return Ok(last);
        }
    }
    Ok((0, BEGINNING))
}

/// Refuses to take a file away that is a part of the trail: its table went when it was archived.
pub(crate) fn refuse_archived(c: &Connection, store: &str, path: &str) -> Result<()> {
    let mut statement =
        c.prepare_cached("SELECT id FROM audit_segments WHERE store = ?1 AND path = ?2 LIMIT 1")?;
    let part: Option<i64> = statement.query_row((store, path), |r| r.get(0)).optional()?;
    let Some(part) = part else { return Ok(()) };
    Err(Error::conflict(format!("`{store}/{path}` is segment {part} of the audit trail, and its only copy"))
        .hint("nothing that was recorded is taken away"))
}

impl Audit {
    /// The sealed segments, in order.
    pub fn segments(&self, caller: &Caller) -> Result<Vec<Segment>> {
        caller.require(Scope::Read, "list the segments of the audit trail")?;
        self.db.read(|c| Ok(Tables::read(c)?.into_segments()))
    }

    /// Makes a segment of the entries of the open table; `None` when it is empty. Admin; audited, as the first entry of the
    /// next one.
    pub fn seal(&self, caller: &Caller) -> Result<Option<Segment>> {
        caller.require(Scope::Admin, "seal the audit trail")?;
        self.db.write_always(|tx| seal(tx, caller, 1))
    }

    /// [`Audit::seal`] when the open table has at least `entries`.
    pub fn seal_when(&self, entries: u64) -> Result<Option<Segment>> {
        let open = self.db.read(|c| {
            Ok(c.prepare_cached(
                "SELECT coalesce((SELECT max(seq) FROM audit) - (SELECT min(seq) FROM audit) + 1, 0)",
            )?
            .query_row([], |r| r.get::<_, i64>(0))?)
        })?;
        if open.unsigned_abs() < entries {
            return Ok(None);
        }
        self.db.write_always(|tx| seal(tx, &Caller::Operator, entries))
    }
}

fn seal(tx: &Tx<'_>, caller: &Caller, entries_min: u64) -> Result<Option<Segment>> {
    let ends: Option<(i64, i64)> =
        tx.query_row("SELECT (SELECT min(seq) FROM audit), (SELECT max(seq) FROM audit)", [], |r| {
            Ok(r.get(0).and_then(|a| Ok((a, r.get(1)?))).ok())
        })?;
    let Some((first_seq, last_seq)) = ends else { return Ok(None) };
    if (last_seq - first_seq + 1).unsigned_abs() < entries_min {
        return Ok(None);
    }
    let before: Option<(i64, i64, [u8; 32])> = tx
        .query_row("SELECT id, last_seq, head FROM audit_segments ORDER BY id DESC LIMIT 1", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .optional()?;
    let (id, end, previous) = before.map_or((1, 0, BEGINNING), |(id, end, head)| (id + 1, end, head));
    if id > SEGMENTS_MAX {
        return Err(Error::limit(
            format!("segment {id} of the audit trail"),
            SEGMENTS_MAX,
            "raise `audit.segment_entries`",
        ));
    }
    if first_seq != end + 1 {
        return Err(Error::corrupt(format!("the audit trail has no entry {}: it is not sealed", end + 1))
            .hint("`shiphold audit verify` names what is wrong"));
    }
    let head: [u8; 32] = tx.query_row("SELECT hash FROM audit WHERE seq = ?1", [last_seq], |r| r.get(0))?;
    let sealed_at = now_ns();
    // The triggers and indexes go with the table; the next one gets its own.
    let next = id + 1;
    tx.execute_batch(&format!(
        "ALTER TABLE audit RENAME TO {table};
         CREATE TABLE audit(
             seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
             before TEXT, after TEXT, detail TEXT NOT NULL CHECK (json_valid(detail)), hash BLOB NOT NULL CHECK (length(hash) = 32),
             request TEXT
         ) STRICT;
         CREATE INDEX audit_by_object_{next} ON audit(object, seq);
         CREATE INDEX audit_by_actor_{next} ON audit(actor, seq);
         CREATE INDEX audit_by_action_{next} ON audit(action, seq);
         CREATE INDEX audit_by_request_{next} ON audit(request, seq) WHERE request IS NOT NULL;
         CREATE INDEX audit_by_time_{next} ON audit(time);
         CREATE TRIGGER audit_is_append_only_{next}_1 BEFORE UPDATE ON audit
         BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
         CREATE TRIGGER audit_is_append_only_{next}_2 BEFORE DELETE ON audit
         BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
         CREATE TRIGGER audit_segment_{id}_is_sealed BEFORE INSERT ON {table}
         BEGIN SELECT RAISE(ABORT, 'this segment of the audit trail is sealed'); END;",
        table = table_of(id),
    ))?;
    tx.execute(
        "INSERT INTO audit_segments(id, first_seq, last_seq, previous, head, sealed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (id, first_seq, last_seq, previous, head, sealed_at),
    )?;
    let segment = Segment { id, first_seq, last_seq, previous, head, sealed_at, archive: None };
    let entry = Entry::new(caller, "audit.seal", format!("audit:{id}"))
        .change(None, Some(hex::encode(head)))
        .detail(json!({ "first": first_seq, "last": last_seq }));
    Audit::append(tx, &entry)?;
    Ok(Some(segment))
}
