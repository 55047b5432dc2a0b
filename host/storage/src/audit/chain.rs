//! The chain: each entry's hash is BLAKE3 over the hash of the entry before it (32 zero bytes for the first) and the entry's
//! fields in order — `seq time actor action object before after detail`, and `request` where it has one — each as its length in
//! eight little-endian bytes and its UTF-8 bytes; numbers in decimal; an absent digest has the length 2⁶⁴−1.

use super::checkpoint::{Checkpoint, VerifyingKey};
use super::segments::{Segment, Tables};
use crate::error::Result;
use crate::hex;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

/// Entries that are read in one transaction.
pub(super) const PAGE: u32 = 10_000;
/// A hash before the first entry.
pub(super) const BEGINNING: [u8; 32] = [0; 32];
pub(super) const COLUMNS: &str = "seq, time, actor, action, object, before, after, detail, request, hash";

/// An entry exactly as it is stored, and as it stands in an export: with it the chain can be walked anywhere. `detail` is a text
/// that holds JSON, because the hash is over its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditLine {
    pub seq: i64,
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub detail: String,
    /// The id of the request, or of the plugin's run, that made the change.
    pub request: Option<String>,
    /// In hexadecimal.
    pub hash: String,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditProof {
    /// Entries, those in archived segments included.
    pub entries: u64,
    /// Hash of the last sound entry, in hexadecimal.
    pub head: String,
    /// Entries that are in an archive and were not read: their segment's place in the chain was looked at.
    pub archived: u64,
    /// Signed checkpoints that the chain agrees with.
    pub checkpoints: u64,
    pub broken: Option<AuditBreak>,
}

/// The first link that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditBreak {
    pub seq: i64,
    pub problem: String,
}

impl AuditLine {
    /// From [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            time: row.get(1)?,
            actor: row.get(2)?,
            action: row.get(3)?,
            object: row.get(4)?,
            before: row.get(5)?,
            after: row.get(6)?,
            detail: row.get(7)?,
            request: row.get(8)?,
            hash: hex::encode(row.get::<_, Vec<u8>>(9)?),
        })
    }

    /// The hash that it must have after an entry with the hash `previous`.
    pub(super) fn follows(&self, previous: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(previous);
        let mut field = |f: Option<&str>| {
            hasher.update(&f.map_or(u64::MAX, |f| f.len() as u64).to_le_bytes());
            hasher.update(f.unwrap_or_default().as_bytes());
        };
        field(Some(&self.seq.to_string()));
        field(Some(&self.time.to_string()));
        for text in [&self.actor, &self.action, &self.object] {
            field(Some(text));
        }
        field(self.before.as_deref());
        field(self.after.as_deref());
        field(Some(&self.detail));
        if let Some(request) = &self.request {
            field(Some(request));
        }
        *hasher.finalize().as_bytes()
    }
}

/// Follows the chain from its beginning, entry by entry.
#[derive(Debug)]
pub(super) struct Walk {
    seq: i64,
    hash: [u8; 32],
    archived: u64,
    checkpoints: u64,
    /// To be met on the way; the next one is the last.
    to_meet: Vec<Checkpoint>,
    /// Whose signature archived segments must carry, where it is known.
    key: Option<VerifyingKey>,
    broken: Option<AuditBreak>,
}

impl Walk {
    pub(super) fn new(mut to_meet: Vec<Checkpoint>, key: Option<VerifyingKey>) -> Self {
        to_meet.sort_by_key(|c| std::cmp::Reverse(c.seq));
        Self { seq: 0, hash: BEGINNING, archived: 0, checkpoints: 0, to_meet, key, broken: None }
    }

    /// From the middle: after entry `seq` with the hash `hash`.
    pub(super) fn after(seq: i64, hash: [u8; 32]) -> Self {
        Self { seq, hash, ..Self::new(Vec::new(), None) }
    }

    /// Checkpoints that lie after where it stands.
    pub(super) fn meeting(mut self, mut to_meet: Vec<Checkpoint>) -> Self {
        to_meet.retain(|c| c.seq >= self.seq);
        to_meet.sort_by_key(|c| std::cmp::Reverse(c.seq));
        self.to_meet = to_meet;
        self.reach(self.seq, self.hash);
        self
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn place(&self) -> (i64, [u8; 32]) {
        (self.seq, self.hash)
    }

    fn breaks(&mut self, seq: i64, problem: impl Into<String>) {
        self.broken.get_or_insert(AuditBreak { seq, problem: problem.into() });
    }

    /// The next entry.
    pub(super) fn step(&mut self, line: &AuditLine) {
        if self.is_broken() {
            return;
        }
        let expected = line.follows(&self.hash);
        let next = self.seq + 1;
        if line.seq != next {
            self.breaks(next, format!("entries {next} to {} are missing", line.seq - 1));
        } else if line.hash != hex::encode(expected) {
            self.breaks(next, "its hash does not follow from its fields and the entry before it: one of the two was changed");
        } else {
            self.reach(line.seq, expected);
        }
    }

    /// A whole segment whose entries are elsewhere: only its ends are looked at.
    pub(super) fn skip(&mut self, segment: &Segment) {
        if self.is_broken() {
            return;
        }
        if segment.first_seq != self.seq + 1 || segment.previous != self.hash {
            return self
                .breaks(self.seq + 1, format!("segment {} does not follow what is before it", segment.id));
        }
        if let (Some(key), Some(archive)) = (&self.key, &segment.archive) {
            let signed = archive.checkpoint.check(key);
            if !signed.is_ok_and(|c| (c.seq, c.hash) == (segment.last_seq, hex::encode(segment.head))) {
                return self.breaks(
                    segment.first_seq,
                    format!(
                        "segment {} was archived without a checkpoint signed with the key {key}",
                        segment.id
                    ),
                );
            }
        }
        self.archived += segment.entries();
        // What lies inside of it cannot be met here: its own checkpoint stands for it.
        self.to_meet.retain(|c| c.seq < segment.first_seq || c.seq >= segment.last_seq);
        self.reach(segment.last_seq, segment.head);
    }

    fn reach(&mut self, seq: i64, hash: [u8; 32]) {
        (self.seq, self.hash) = (seq, hash);
        while let Some(c) = self.to_meet.pop_if(|c| c.seq <= seq) {
            if c.seq == seq && c.hash == hex::encode(hash) {
                self.checkpoints += 1;
            } else {
                return self.breaks(
                    c.seq,
                    format!(
                        "a checkpoint signed at {} says that it has the hash {}: the trail was written anew",
                        c.signed_at(),
                        c.hash
                    ),
                );
            }
        }
    }

    /// Nothing comes after what was seen.
    pub(super) fn end(mut self) -> AuditProof {
        if let (false, Some(c)) = (self.is_broken(), self.to_meet.first()) {
            let (seq, when) = (c.seq, c.signed_at());
            self.breaks(self.seq + 1, format!(
                "entries {} to {seq} are missing: a checkpoint signed at {when} says that there were {seq}",
                self.seq + 1
            ));
        }
        AuditProof {
            entries: self.seq.unsigned_abs(),
            head: hex::encode(self.hash),
            archived: self.archived,
            checkpoints: self.checkpoints,
            broken: self.broken,
        }
    }

    /// Follows what is in a database, from where the walk stands, a page for each call; `false` at the end.
    pub(super) fn page(&mut self, connection: &Connection) -> Result<bool> {
        let tables = Tables::read(connection)?;
        let place = tables.holding(self.seq + 1);
        if let Some(archived) = place.archived() {
            self.skip(archived);
            return Ok(true);
        }
        let lines = place.after(connection, self.seq, PAGE)?;
        for line in &lines {
            self.step(line);
        }
        if let (true, Some(segment)) = (lines.len() < PAGE as usize, place.segment()) {
            if !self.is_broken() && (self.seq, self.hash) != (segment.last_seq, segment.head) {
                let next = self.seq + 1;
                self.breaks(
                    next,
                    format!("segment {} ends here, not at entry {}", segment.id, segment.last_seq),
                );
            }
        }
        Ok(!lines.is_empty())
    }
}
