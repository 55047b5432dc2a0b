//! The trail outside of its database: a line of JSON for each entry, exactly as the hashes were made over it.

use super::chain::{AuditLine, BEGINNING, PAGE, Walk};
use super::checkpoint::Checkpoint;
use super::reader::Entries;
use super::segments::Tables;
use super::{Audit, AuditProof};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::hex;
use std::io::BufRead;

impl Audit {
    /// Every entry after `after` whose table is in this database, in order; the first that is not archived if that is none. What is
    /// added meanwhile may be among them.
    pub fn export(
        &self,
        caller: &Caller,
        after: i64,
        each: &mut dyn FnMut(&AuditLine) -> Result<()>,
    ) -> Result<u64> {
        caller.require(Scope::Read, "export the audit trail")?;
        let (mut seq, mut given) = (after.max(0), 0);
        loop {
            // A page a transaction: whoever takes the lines may be slow.
            let lines = self.db.read(|c| {
                let tables = Tables::read(c)?;
                let mut place = tables.holding(seq + 1);
                while let Some(archived) = place.archived() {
                    seq = archived.last_seq;
                    place = tables.holding(seq + 1);
                }
                place.after(c, seq, PAGE)
            })?;
            let Some(last) = lines.last() else { return Ok(given) };
            seq = last.seq;
            given += lines.len() as u64;
            lines.iter().try_for_each(&mut *each)?;
        }
    }
}

/// Walks the lines of an export, which needs no database. One that begins in the middle is walked from there: what was before it is
/// taken from its first line, and `checkpoints` say whether that is so.
pub fn verify_export(lines: impl BufRead, checkpoints: Vec<Checkpoint>) -> Result<AuditProof> {
    let mut walk: Option<Walk> = None;
    let mut to_meet = Some(checkpoints);
    let mut entries = Entries::new(lines, "the export");
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let walk = match &mut walk {
            Some(walk) => walk,
            None if entry.seq == 1 => walk.insert(Walk::new(to_meet.take().unwrap_or_default(), None)),
            None => {
                let (Some(hash), true) = (hex::decode_array(&entry.hash), entry.seq > 1) else {
                    return Err(Error::invalid(format!("{} is no entry of a trail", entries.place())));
                };
                // The first entry stands for all before it.
                walk = Some(Walk::after(entry.seq, hash).meeting(to_meet.take().unwrap_or_default()));
                continue;
            }
        };
        walk.step(&entry);
        if walk.is_broken() {
            break;
        }
    }
    let none = || Walk::after(0, BEGINNING).meeting(to_meet.take().unwrap_or_default());
    Ok(walk.unwrap_or_else(none).end())
}
