//! Reading all of a store again. What is found damaged is marked, so that nobody reads it as if it were whole; what is whole again
//! loses its mark.
//!
//! Damaged is what has another content than it must, or is not there. What could not be read is looked at once more and then told of, and
//! not marked: the machine may be at fault, and the next look finds it whole. And nothing is marked that is not what was read any more:
//! between the reading and the mark an object can be put anew, moved or collected.

use super::chunks::{self, Located};
use super::collect::is_known;
use super::disk::{Area, ObjectRead};
use super::read::read_chunk;
use super::rows;
use super::store::{FileStores, Store};
use super::stream::{damage, lost};
use super::types::{FilesFault, FilesVerify};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::hex;
use rusqlite::OptionalExtension as _;
use serde_json::json;
use std::io;
use std::time::{Duration, Instant};

/// Rows that are read at once.
const PAGE: i64 = 1_000;
/// Files that are looked up at once.
const PAGE_FILES: usize = 256;
/// Objects and chunks that cannot be read before a verification gives up: it is not they then.
pub(super) const UNREAD_MAX: u64 = 100;
/// Times that an object is read again because it was put anew meanwhile.
const LOOKS_MAX: usize = 3;
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

/// An object, as a row has it.
struct Known {
    hash: String,
    size: u64,
    chunked: bool,
    damaged: Option<String>,
}

/// What a look says.
enum Found {
    Whole,
    /// Why it must not be read.
    Damaged(String),
    /// It could not be read; nothing is known of it.
    Unread(io::Error),
}

impl Found {
    /// Looks, and once more where that fails.
    fn of(mut look: impl FnMut() -> io::Result<Option<String>>) -> Self {
        match look().or_else(|_| look()) {
            Ok(None) => Self::Whole,
            Ok(Some(problem)) => Self::Damaged(problem),
            Err(e) => Self::Unread(e),
        }
    }

    fn problem(&self) -> Option<&str> {
        match self {
            Self::Damaged(problem) => Some(problem),
            Self::Whole | Self::Unread(_) => None,
        }
    }
}

/// A pack that is read, by its row.
type OpenPack = (i64, Box<dyn ObjectRead>);

/// A verification on its way.
struct Look<'a> {
    files: &'a FileStores,
    caller: &'a Caller,
    s: &'a Store,
    store: &'a str,
    report: FilesVerify,
    unread: u64,
    step: &'a mut dyn FnMut(u64),
}

impl FileStores {
    /// [`FileStores::verify_at`] as fast as the disk gives.
    pub fn verify(&self, caller: &Caller, store: &str, progress: &mut dyn FnMut(u64)) -> Result<FilesVerify> {
        self.verify_at(caller, store, None, progress)
    }

    /// Re-hashes every object and chunk and names what is damaged or missing, with the files that need it; at most so many bytes
    /// a second. What is damaged is set aside: reads of it say so at once, and all else is served. What cannot be read is named, too,
    /// and not set aside; where that is much, it is the error. `progress` gets the bytes that were read.
    pub fn verify_at(
        &self,
        caller: &Caller,
        store: &str,
        bytes_per_second: Option<u64>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<FilesVerify> {
        caller.require(Scope::Read, "verify files")?;
        let s = self.store(store)?;
        let mut pace = Pace::new(bytes_per_second);
        let mut step = |bytes: u64| {
            progress(bytes);
            pace.step(bytes);
        };
        let report = FilesVerify::default();
        let mut look = Look { files: self, caller, s, store, report, unread: 0, step: &mut step };
        look.objects()?;
        look.chunks()?;
        look.orphans()?;
        Ok(look.report)
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

impl Look<'_> {
    fn objects(&mut self) -> Result<()> {
        let mut after = String::new();
        loop {
            let page: Vec<Known> = self.files.db.read(|c| {
                let mut statement = c.prepare_cached(
                    "SELECT hash, size, chunked, damaged FROM file_objects WHERE store = ?1 AND hash > ?2 ORDER BY hash LIMIT ?3",
                )?;
                let rows = statement.query_map((self.store, &after, PAGE), |r| {
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
                self.report.objects += 1;
                self.report.bytes += known.size;
                let found = if known.chunked { self.recipe(&known)? } else { self.file(&known)? };
                // Collected or put anew in the other form since the page was read: nothing is wrong with it.
                let Some(found) = found else { continue };
                let files = match found {
                    Found::Whole => None,
                    _ => Some(self.files.files_of(self.store, &known.hash)?),
                };
                self.tell(&found, known.hash, files)?;
            }
        }
    }

    /// Reads an object in a file of its own, and notes what was found of it; `None`: it is none any more.
    fn file(&mut self, known: &Known) -> Result<Option<Found>> {
        for _ in 0..LOOKS_MAX {
            let watch = self.s.watches.begin(&known.hash);
            let mut read = 0_u64;
            let found = Found::of(|| {
                let mut each = |bytes| {
                    read = read.saturating_add(bytes);
                    (self.step)(bytes);
                };
                damage(self.s.disk.as_ref(), &known.hash, known.size, &mut each)
            });
            // What is not there counts, too, so that all of a store is all of it.
            (self.step)(known.size.saturating_sub(read));
            // While it is held no put comes into its place, and no collection takes it.
            let _placing = self.s.placing();
            if watch.is_over() {
                continue;
            }
            return self.mark(known, None, found);
        }
        // It is put again and again, and so it is whole.
        Ok(None)
    }

    /// Looks whether something is missing between the chunks of an object, and notes what was found.
    fn recipe(&mut self, known: &Known) -> Result<Option<Found>> {
        let object = self.files.db.read(|c| rows::chunked(c, self.store, &known.hash))?;
        let problem = match object {
            None => Some("nothing says of which chunks it is made".into()),
            Some(object) => self.gap(object, known.size)?,
        };
        let _placing = self.s.placing();
        self.mark(known, object, problem.map_or(Found::Whole, Found::Damaged))
    }

    /// What is missing between the chunks of an object.
    fn gap(&self, object: i64, size: u64) -> Result<Option<String>> {
        let mut at = 0;
        while at < size {
            let pieces = self.files.db.read(|c| chunks::located(c, object, at, size, PAGE))?;
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
        Ok((at != size).then(|| format!("its chunks have {at} bytes instead of {size}")))
    }

    /// Notes what was found of an object, if that is new; `None`: it is another one by now. `recipe`: the number of what was looked at.
    fn mark(&mut self, known: &Known, recipe: Option<i64>, found: Found) -> Result<Option<Found>> {
        let (store, hash) = (self.store, known.hash.as_str());
        if matches!(found, Found::Whole) && known.damaged.is_none() {
            return Ok(Some(found));
        }
        let is_same = |c: &rusqlite::Connection| {
            let there = rows::object(c, store, hash)?.filter(|t| t.chunked == known.chunked);
            let same = !known.chunked || rows::chunked(c, store, hash)? == recipe;
            Ok::<_, Error>(there.filter(|_| same))
        };
        if matches!(found, Found::Unread(_)) || known.damaged.as_deref() == found.problem() {
            return Ok(self.files.db.read(is_same)?.map(|_| found));
        }
        let problem = found.problem();
        let there = self.files.db.write_always(|tx| {
            let Some(there) = is_same(tx)? else { return Ok(None) };
            if there.damaged.as_deref() != problem {
                tx.prepare_cached("UPDATE file_objects SET damaged = ?3 WHERE store = ?1 AND hash = ?2")?
                    .execute((store, hash, problem))?;
                note(tx, self.caller, store, hash, problem)?;
            }
            Ok(Some(()))
        })?;
        self.report.healed += u64::from(there.is_some() && problem.is_none());
        Ok(there.map(|()| found))
    }

    fn chunks(&mut self) -> Result<()> {
        let mut after = (0_i64, -1_i64);
        let mut open = None;
        loop {
            // In the order in which they lie on the disk.
            let page: Vec<(Located, Option<String>)> = self.files.db.read(|c| {
                let mut statement = c.prepare_cached(
                    "SELECT c.id, 0, c.size, c.hash, c.pack, p.name, c.at, c.stored, c.damaged
                     FROM file_chunks c JOIN file_packs p ON p.id = c.pack
                     WHERE (c.pack, c.at) > (?2, ?3) AND +c.store = ?1 ORDER BY c.pack, c.at LIMIT ?4",
                )?;
                let rows = statement.query_map((self.store, after.0, after.1, PAGE), |r| {
                    Ok((chunks::locate(r)?, r.get(8)?))
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = (last.pack, last.pack_at.cast_signed());
            for (chunk, damaged) in page {
                let found = Found::of(|| self.chunk(&mut open, &chunk));
                (self.step)(chunk.stored as u64);
                if !self.mark_chunk(&chunk, damaged.as_deref(), &found)? {
                    continue;
                }
                self.report.chunks += 1;
                // What nothing is made of any more waits for `gc`: nothing is lost by it.
                let files = match found {
                    Found::Whole => None,
                    _ => self.files.files_in(chunk.id)?,
                };
                self.tell(&found, hex::encode(chunk.hash), files)?;
            }
        }
    }

    /// What is wrong with a chunk. Its pack stays open for the next one.
    fn chunk(&self, open: &mut Option<OpenPack>, of: &Located) -> io::Result<Option<String>> {
        let pack = match open.take() {
            Some((pack, file)) if pack == of.pack => file,
            _ => match self.s.disk.open(Area::Packs, &of.pack_name) {
                Err(e) => {
                    return lost(e).map(|problem| Some(format!("its pack {}: {problem}", of.pack_name)));
                }
                Ok(file) => file,
            },
        };
        let (_, pack) = open.insert((of.pack, pack));
        let read = read_chunk(pack.as_mut(), of);
        if read.is_err() {
            *open = None;
        }
        Ok(read?.err())
    }

    /// Notes what was found of a chunk, if that is new; `false`: it is gone, or elsewhere by now.
    fn mark_chunk(&mut self, of: &Located, damaged: Option<&str>, found: &Found) -> Result<bool> {
        let problem = found.problem();
        if matches!(found, Found::Whole) && damaged.is_none() {
            return Ok(true);
        }
        let there = |c: &rusqlite::Connection| {
            let mut statement =
                c.prepare_cached("SELECT damaged FROM file_chunks WHERE id = ?1 AND pack = ?2 AND at = ?3")?;
            let row = statement.query_row((of.id, of.pack, of.pack_at.cast_signed()), |r| r.get(0));
            Ok::<Option<Option<String>>, Error>(row.optional()?)
        };
        if matches!(found, Found::Unread(_)) || damaged == problem {
            return Ok(self.files.db.read(there)?.is_some());
        }
        let is_there = self.files.db.write_always(|tx| {
            let Some(known) = there(tx)? else { return Ok(false) };
            if known.as_deref() != problem {
                tx.prepare_cached("UPDATE file_chunks SET damaged = ?2 WHERE id = ?1")?
                    .execute((of.id, problem))?;
                note(tx, self.caller, self.store, &hex::encode(of.hash), problem)?;
            }
            Ok(true)
        })?;
        self.report.healed += u64::from(is_there && problem.is_none());
        Ok(is_there)
    }

    /// Names what is wrong with an object or a chunk, for files that need it.
    fn tell(&mut self, found: &Found, blake3: String, files: Option<Vec<String>>) -> Result<()> {
        let problem = match found {
            Found::Whole => return Ok(()),
            Found::Damaged(problem) => problem.clone(),
            Found::Unread(e) => {
                self.unread += 1;
                if self.unread >= UNREAD_MAX {
                    let what = format!("{UNREAD_MAX} objects and chunks of store `{}`", self.store);
                    return Err(Error::new(Kind::Io, format!("{what} cannot be read, the last one: {e}"))
                        .hint("none of them was set aside; see to the disk or to the limits of the process, and verify again"));
                }
                format!("it cannot be read, and was not set aside: {e}")
            }
        };
        if let Some(files) = files {
            self.report.faults.push(FilesFault { store: self.store.into(), blake3, problem, files });
        }
        Ok(())
    }

    /// Counts what no row names.
    fn orphans(&mut self) -> Result<()> {
        let io = |e| Error::io(format!("verifying store `{}`", self.store), e);
        for area in [Area::Objects, Area::Packs] {
            for folder in self.s.disk.folders(area).map_err(io)? {
                for batch in self.s.disk.list_in(area, &folder).map_err(io)?.chunks(PAGE_FILES) {
                    self.report.orphans += self.files.db.read(|c| {
                        batch.iter().try_fold(0, |n, (name, _)| {
                            Ok(n + u64::from(!is_known(c, self.store, area, name)?))
                        })
                    })?;
                }
            }
        }
        Ok(())
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
