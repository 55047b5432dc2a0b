//! Sealed segments in a file store: gzip of the lines of an export (`segment-00000001.jsonl.gz`), and beside it the checkpoint of the
//! last entry with its signature. The table goes when the file was read back and walked.

use super::chain::{PAGE, Walk};
use super::reader::Entries;
use super::segments::{Place, Segment, Tables, table_of};
use super::{Audit, AuditBreak, Entry, SigningKey};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::files::{FileStores, PutOptions};
use crate::hex;
use crate::schema::now_ns;
use crate::sqlite::Database;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use serde_json::json;
use std::io::{self, BufReader, Read};

/// Bytes of an archived segment, decompressed.
pub const ARCHIVE_BYTES_MAX: u64 = 1 << 40;

/// What was archived.
pub type Archived = Vec<Segment>;

impl Audit {
    /// Moves every sealed segment into `store`, each with a checkpoint signed with `key`. Admin; audited. A segment that is cut off
    /// on its way is moved by the next call.
    pub fn archive(
        &self,
        caller: &Caller,
        files: &FileStores,
        store: &str,
        key: &SigningKey,
        host: &str,
    ) -> Result<Archived> {
        caller.require(Scope::Admin, "archive the audit trail")?;
        let sealed: Vec<Segment> =
            self.segments(caller)?.into_iter().filter(|s| s.archive.is_none()).collect();
        for segment in &sealed {
            self.archive_one(caller, files, store, key, host, segment)?;
        }
        let ids: Vec<i64> = sealed.iter().map(|s| s.id).collect();
        Ok(self.segments(caller)?.into_iter().filter(|s| ids.contains(&s.id)).collect())
    }

    fn archive_one(
        &self,
        caller: &Caller,
        files: &FileStores,
        store: &str,
        key: &SigningKey,
        host: &str,
        segment: &Segment,
    ) -> Result<()> {
        let signed = Self::sign_segment(key, host, segment.last_seq, &segment.head)?;
        let name = |end: &str| format!("audit/segment-{:08}.{end}", segment.id);
        let path = name("jsonl.gz");
        let lines = Lines { db: &self.db, segment, seq: segment.first_seq - 1, buffer: Vec::new(), read: 0 };
        let options = |media: &str| PutOptions { media_type: Some(media.into()), ..PutOptions::default() };
        let mut content = GzEncoder::new(lines, Compression::default());
        let put = files.put(caller, store, &path, &mut content, options("application/gzip"))?;
        for (end, text) in [("checkpoint.json", &signed.document), ("checkpoint.sig", &signed.signature)] {
            files.put(caller, store, &name(end), &mut text.as_bytes(), options("application/json"))?;
        }
        let blake3 = put.blake3.unwrap_or_default();
        let (_, back) = files.get(caller, store, &path, Some(put.version), None)?;
        if let Some(broken) = walk(back, segment)? {
            return Err(Error::corrupt(format!(
                "segment {} of the audit trail breaks at entry {}: {}",
                segment.id, broken.seq, broken.problem
            ))
            .hint("it stays in the database; `shiphold audit verify` names what is wrong"));
        }
        self.db.write_always(|tx| {
            tx.execute(
                "UPDATE audit_segments SET store = ?2, path = ?3, blake3 = ?4, archived_at = ?5, document = ?6, signature = ?7
                 WHERE id = ?1",
                (segment.id, store, &path, &blake3, now_ns(), &signed.document, &signed.signature),
            )?;
            tx.execute_batch(&format!("DROP TABLE {}", table_of(segment.id)))?;
            let entry = Entry::new(caller, "audit.archive", format!("audit:{}", segment.id))
                .change(None, Some(blake3.clone()))
                .detail(json!({ "first": segment.first_seq, "last": segment.last_seq, "file": format!("{store}/{path}") }));
            Self::append(tx, &entry)?;
            Ok(())
        })
    }

    /// Reads every archived segment again and names the first that is not what was archived.
    pub fn verify_archives(&self, caller: &Caller, files: &FileStores) -> Result<Option<AuditBreak>> {
        for segment in self.segments(caller)? {
            let Some(archive) = &segment.archive else { continue };
            let place = format!("{}/{}", archive.store, archive.path);
            let versions = match files.versions(caller, &archive.store, &archive.path) {
                Err(e) if e.kind() == Kind::NotFound => Vec::new(),
                versions => versions?,
            };
            let same = versions.iter().find(|v| v.blake3.as_deref() == Some(&archive.blake3));
            let found = match same {
                None => Some(format!("its file {place} is not there any more")),
                Some(v) => {
                    let read = files
                        .get(caller, &archive.store, &archive.path, Some(v.version), None)
                        .and_then(|(_, content)| walk(content, &segment));
                    match read {
                        Ok(broken) => broken.map(|b| format!("{place}, entry {}: {}", b.seq, b.problem)),
                        Err(e)
                            if matches!(
                                e.kind(),
                                Kind::Corrupt | Kind::Io | Kind::NotFound | Kind::Invalid
                            ) =>
                        {
                            Some(format!("{place}: {e}"))
                        }
                        Err(e) => return Err(e),
                    }
                }
            };
            if let Some(problem) = found {
                let problem = format!("archived segment {}: {problem}", segment.id);
                return Ok(Some(AuditBreak { seq: segment.first_seq, problem }));
            }
        }
        Ok(None)
    }
}

/// Walks the file of a segment from what is before it to its head.
fn walk(content: impl Read, segment: &Segment) -> Result<Option<AuditBreak>> {
    let mut walk = Walk::after(segment.first_seq - 1, segment.previous);
    let lines = BufReader::new(GzDecoder::new(content).take(ARCHIVE_BYTES_MAX));
    for entry in Entries::new(lines, format!("the file of segment {}", segment.id)) {
        // It was whole when it was archived.
        walk.step(&entry.map_err(|e| Error::corrupt(e.to_string()))?);
        if walk.is_broken() {
            break;
        }
    }
    let place = walk.place();
    let broken = walk.end().broken;
    Ok(broken.or_else(|| {
        (place != (segment.last_seq, segment.head)).then(|| AuditBreak {
            seq: place.0 + 1,
            problem: format!(
                "it ends at entry {} with the hash {}, not at {} with {}",
                place.0,
                hex::encode(place.1),
                segment.last_seq,
                hex::encode(segment.head)
            ),
        })
    }))
}

/// The lines of a sealed segment, read a page at a time.
struct Lines<'a> {
    db: &'a Database,
    segment: &'a Segment,
    seq: i64,
    buffer: Vec<u8>,
    read: usize,
}

impl Read for Lines<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
            let page = self
                .db
                .read(|c| {
                    // A segment that was archived meanwhile has no table any more.
                    match Tables::read(c)?.holding(self.seq + 1) {
                        Place::Segment(s) if s.id == self.segment.id && s.archive.is_none() => {
                            Place::Segment(s).after(c, self.seq, PAGE)
                        }
                        _ => Ok(Vec::new()),
                    }
                })
                .map_err(io::Error::other)?;
            for line in &page {
                serde_json::to_writer(&mut self.buffer, line)?;
                self.buffer.push(b'\n');
                self.seq = line.seq;
            }
        }
        let left = self.buffer.get(self.read..).unwrap_or_default();
        let n = (&*left).read(out)?;
        self.read += n;
        Ok(n)
    }
}
