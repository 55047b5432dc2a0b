//! Reading all of a store again. What is found damaged is marked, so that nobody reads it as if it were whole; what is whole again
//! loses its mark.

use super::chunks::{self, Located};
use super::collect::{BATCH, is_known};
use super::disk::{Area, ObjectRead};
use super::read::read_chunk;
use super::rows;
use super::store::{FileStores, Store};
use super::stream::damage;
use super::types::{FilesFault, FilesVerify};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::hex;
use serde_json::json;
use std::io;
use std::time::{Duration, Instant};

/// Rows that are read at once.
const PAGE: i64 = 1_000;
/// Names that a fault lists.
const FILES_NAMED_MAX: i64 = 100;

/// Keeps reading within bytes per second.
struct Pace {
    began: Instant,
    done: u64,
    per_second: Option<u64>,
}

impl Pace {
    fn new(per_second: Option<u64>) -> Self {
        Self { began: Instant::now(), done: 0, per_second: per_second.filter(|n| *n > 0) }
    }

    /// How long to wait after so many bytes, when so much time went by.
    fn due(done: u64, per_second: u64, gone: Duration) -> Duration {
        let nanos = u128::from(done) * 1_000_000_000 / u128::from(per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).saturating_sub(gone)
    }

    fn step(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        if let Some(per_second) = self.per_second {
            std::thread::sleep(Self::due(self.done, per_second, self.began.elapsed()));
        }
    }
}

/// An object or a chunk, as a row has it.
struct Known {
    hash: String,
    size: u64,
    chunked: bool,
    damaged: Option<String>,
}

impl FileStores {
    /// [`FileStores::verify_at`] as fast as the disk gives.
    pub fn verify(&self, caller: &Caller, store: &str, progress: &mut dyn FnMut(u64)) -> Result<FilesVerify> {
        self.verify_at(caller, store, None, progress)
    }

    /// Re-hashes every object and chunk and names what is damaged or missing, with the files that need it; at most so many bytes
    /// a second. What is damaged is set aside: reads of it say so at once, and all else is served. `progress` gets the bytes that
    /// were read.
    pub fn verify_at(
        &self,
        caller: &Caller,
        store: &str,
        bytes_per_second: Option<u64>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<FilesVerify> {
        caller.require(Scope::Read, "verify files")?;
        let s = self.store(store)?;
        let mut report = FilesVerify::default();
        let mut pace = Pace::new(bytes_per_second);
        let mut step = |bytes: u64| {
            progress(bytes);
            pace.step(bytes);
        };
        self.verify_objects(caller, s, store, &mut report, &mut step)?;
        self.verify_chunks(caller, s, store, &mut report, &mut step)?;
        for area in [Area::Objects, Area::Packs] {
            let listed = s.disk.list(area).map_err(|e| Error::io(format!("verifying store `{store}`"), e))?;
            for batch in listed.chunks(BATCH) {
                report.orphans += self.db.read(|c| {
                    batch
                        .iter()
                        .try_fold(0, |n, (name, _)| Ok(n + u64::from(!is_known(c, store, area, name)?)))
                })?;
            }
        }
        Ok(report)
    }

    fn verify_objects(
        &self,
        caller: &Caller,
        s: &Store,
        store: &str,
        report: &mut FilesVerify,
        step: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut after = String::new();
        loop {
            let page: Vec<Known> = self.db.read(|c| {
                let mut statement = c.prepare_cached(
                    "SELECT hash, size, chunked, damaged FROM file_objects WHERE store = ?1 AND hash > ?2 ORDER BY hash LIMIT ?3",
                )?;
                let rows = statement.query_map((store, &after, PAGE), |r| {
                    Ok(Known {
                        hash: r.get(0)?,
                        size: r.get::<_, i64>(1)?.unsigned_abs(),
                        chunked: r.get(2)?,
                        damaged: r.get(3)?,
                    })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.hash);
            for known in page {
                report.objects += 1;
                report.bytes += known.size;
                let problem = match known.chunked {
                    true => self.gap(store, &known)?,
                    false => {
                        let mut read = 0_u64;
                        let mut each = |bytes| {
                            read = read.saturating_add(bytes);
                            step(bytes);
                        };
                        let problem = damage(s.disk.as_ref(), &known.hash, known.size, &mut each);
                        // What is not there counts, too, so that all of a store is all of it.
                        step(known.size.saturating_sub(read));
                        problem
                    }
                };
                // Collected or put anew since the page was read: nothing is wrong with it.
                let there = self.db.read(|c| rows::object(c, store, &known.hash))?;
                if there.is_none_or(|t| t.chunked != known.chunked) {
                    continue;
                }
                self.mark(caller, store, &known, problem.as_deref(), report)?;
                if let Some(problem) = problem {
                    let files = self.files_of(store, &known.hash)?;
                    report.faults.push(FilesFault {
                        store: store.into(),
                        blake3: known.hash,
                        problem,
                        files,
                    });
                }
            }
        }
    }

    /// What is missing between the chunks of an object.
    fn gap(&self, store: &str, known: &Known) -> Result<Option<String>> {
        let Some(object) = self.db.read(|c| rows::chunked(c, store, &known.hash))? else {
            return Ok(Some("nothing says of which chunks it is made".into()));
        };
        let mut at = 0;
        while at < known.size {
            let pieces = self.db.read(|c| chunks::located(c, object, at, known.size, PAGE))?;
            if pieces.is_empty() {
                return Ok(Some(format!("nothing says what is at its byte {at}")));
            }
            for piece in pieces {
                if piece.at != at {
                    return Ok(Some(format!("nothing says what is at its byte {at}")));
                }
                at += piece.size as u64;
            }
        }
        Ok((at != known.size).then(|| format!("its chunks have {at} bytes instead of {}", known.size)))
    }

    /// Notes what was found of an object, if that is new.
    fn mark(
        &self,
        caller: &Caller,
        store: &str,
        known: &Known,
        problem: Option<&str>,
        report: &mut FilesVerify,
    ) -> Result<()> {
        if known.damaged.as_deref() == problem {
            return Ok(());
        }
        report.healed += u64::from(problem.is_none());
        self.db.write_always(|tx| {
            tx.prepare_cached("UPDATE file_objects SET damaged = ?3 WHERE store = ?1 AND hash = ?2")?
                .execute((store, &known.hash, problem))?;
            note(tx, caller, store, &known.hash, problem)
        })
    }

    fn verify_chunks(
        &self,
        caller: &Caller,
        s: &Store,
        store: &str,
        report: &mut FilesVerify,
        step: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut after = (0_i64, -1_i64);
        let mut open: Option<(i64, io::Result<Box<dyn ObjectRead>>)> = None;
        loop {
            // In the order in which they lie on the disk.
            let page: Vec<(Located, Option<String>)> = self.db.read(|c| {
                let mut statement = c.prepare_cached(
                    "SELECT c.id, 0, c.size, c.hash, c.pack, p.name, c.at, c.stored, c.damaged
                     FROM file_chunks c JOIN file_packs p ON p.id = c.pack
                     WHERE (c.pack, c.at) > (?2, ?3) AND +c.store = ?1 ORDER BY c.pack, c.at LIMIT ?4",
                )?;
                let rows = statement
                    .query_map((store, after.0, after.1, PAGE), |r| Ok((chunks::locate(r)?, r.get(8)?)))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = (last.pack, last.pack_at.cast_signed());
            for (chunk, damaged) in page {
                let there = match &mut open {
                    Some((pack, opened)) if *pack == chunk.pack => opened,
                    other => &mut other.insert((chunk.pack, s.disk.open(Area::Packs, &chunk.pack_name))).1,
                };
                let problem = match there {
                    Ok(pack) => match read_chunk(pack.as_mut(), &chunk) {
                        Ok(read) => read.err(),
                        Err(e) => Some(format!("it cannot be read: {e}")),
                    },
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        Some(format!("its pack {} is missing", chunk.pack_name))
                    }
                    Err(e) => Some(format!("its pack {} cannot be opened: {e}", chunk.pack_name)),
                };
                step(chunk.stored as u64);
                if problem.is_some() && !self.is_still_there(&chunk)? {
                    continue;
                }
                report.chunks += 1;
                let hash = hex::encode(chunk.hash);
                if damaged != problem {
                    report.healed += u64::from(problem.is_none());
                    self.db.write_always(|tx| {
                        tx.prepare_cached("UPDATE file_chunks SET damaged = ?3 WHERE id = ?1 AND pack = ?2")?
                            .execute((chunk.id, chunk.pack, &problem))?;
                        note(tx, caller, store, &hash, problem.as_deref())
                    })?;
                }
                if let Some(problem) = problem {
                    // What nothing is made of any more waits for `gc`: nothing is lost by it.
                    if let Some(files) = self.files_in(chunk.id)? {
                        report.faults.push(FilesFault { store: store.into(), blake3: hash, problem, files });
                    }
                }
            }
        }
    }

    /// Is a chunk where it was? A collection may have taken or moved it since.
    fn is_still_there(&self, of: &Located) -> Result<bool> {
        self.db.read(|c| {
            let mut statement =
                c.prepare_cached("SELECT 1 FROM file_chunks WHERE id = ?1 AND pack = ?2 AND at = ?3")?;
            Ok(statement.exists((of.id, of.pack, of.pack_at.cast_signed()))?)
        })
    }

    /// The names that need an object.
    fn files_of(&self, store: &str, hash: &str) -> Result<Vec<String>> {
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT DISTINCT path FROM file_versions WHERE store = ?1 AND hash = ?2
                 UNION ALL SELECT 'state:' || s.name || '@' || c.revision
                 FROM state_checkpoints c JOIN state_strategies s ON s.id = c.strategy WHERE c.store = ?1 AND c.hash = ?2
                 ORDER BY 1 LIMIT ?3",
            )?;
            let rows = statement.query_map((store, hash, FILES_NAMED_MAX), |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The names that need a chunk; `None`: no object is made of it.
    fn files_in(&self, chunk: i64) -> Result<Option<Vec<String>>> {
        let objects: Vec<(String, String)> = self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT DISTINCT o.store, o.hash FROM file_recipes r JOIN file_chunked o ON o.id = r.object WHERE r.chunk = ?1 LIMIT ?2",
            )?;
            let rows = statement.query_map((chunk, FILES_NAMED_MAX), |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        if objects.is_empty() {
            return Ok(None);
        }
        let mut files = std::collections::BTreeSet::new();
        for (store, hash) in objects {
            files.extend(self.files_of(&store, &hash)?);
        }
        let most = usize::try_from(FILES_NAMED_MAX).unwrap_or(usize::MAX);
        Ok(Some(files.into_iter().take(most).collect()))
    }
}

/// The entry of a mark, or of its end.
fn note(
    tx: &crate::sqlite::Tx<'_>,
    caller: &Caller,
    store: &str,
    hash: &str,
    problem: Option<&str>,
) -> Result<()> {
    let action = if problem.is_some() { "files.damaged" } else { "files.healed" };
    let entry = Entry::new(caller, action, format!("store:{store}"));
    Audit::append(tx, &entry.detail(json!({ "blake3": hash, "problem": problem })))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_waits_for_what_it_is_ahead() {
        let second = Duration::from_secs(1);
        assert_eq!(Pace::due(100, 100, Duration::ZERO), second);
        assert_eq!(Pace::due(100, 100, second), Duration::ZERO);
        assert_eq!(Pace::due(50, 100, second), Duration::ZERO);
        assert_eq!(Pace::due(300, 100, second), 2 * second);
        assert_eq!(Pace::due(u64::MAX, u64::MAX, Duration::ZERO), second);
    }
}
