//! The rows of one archive: its file is copied where it can be read in any order, and its bytes are looked at on their way.

use super::cuts;
use super::index::Archive;
use super::room::{FIRST_BYTES, HELD_BYTES_MAX, Held, Mine, Room};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::files::{FileStores, as_error};
use crate::locks::lock;
use crate::nameless::{BLOCK_BYTES, nameless};
use crate::series::exchange::{SeriesFile, SeriesRows};
use crate::series::query::{chosen, with_values};
use crate::series::{Budget, FieldType, Frame, FrameStream, TimeRange, Values};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Bytes of files that are kept open for the next question; one more may be read beside them.
pub const KEPT_BYTES_MAX: u64 = 256 << 20;
/// Files that are kept open.
pub const KEPT_FILES_MAX: usize = 64;

/// Opens archives.
#[derive(Debug)]
pub(super) struct Shelf {
    files: Arc<FileStores>,
    /// Where copies are, which have no names.
    folder: PathBuf,
    /// By the digest of the file; the last one was asked for last.
    kept: Mutex<Vec<(String, u64, SeriesFile)>>,
    room: Arc<Room>,
}

/// The rows of an open file, whose pages and last frame are counted until the next one is asked for.
struct Counted {
    rows: SeriesRows,
    held: Held,
}

impl Iterator for Counted {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Result<Frame>> {
        let next = self.rows.next();
        let frame = next.as_ref().and_then(|f| f.as_ref().ok()).map_or(0, Frame::size_bytes);
        self.held.set((self.rows.open_bytes() + frame) as u64);
        next
    }
}

/// What is wrong with an archive, in the words of its place.
fn broken(a: &Archive, e: &Error) -> Error {
    let kind = match e.kind() {
        Kind::NotFound | Kind::Invalid | Kind::Limit | Kind::Corrupt => Kind::Corrupt,
        kind => kind,
    };
    if kind != Kind::Corrupt {
        return e.again().context(a.place());
    }
    Error::new(kind, format!("{} cannot be read: {}", a.place(), e.message())).hint(
        "restore the file from a backup; a range that ends before or begins behind it is answered; `shiphold series delete` gives its rows up",
    )
}

impl Shelf {
    pub(super) fn new(files: Arc<FileStores>, folder: PathBuf) -> Self {
        Self { files, folder, kept: Mutex::default(), room: Room::new(HELD_BYTES_MAX) }
    }

    pub(super) const fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(super) const fn files(&self) -> &Arc<FileStores> {
        &self.files
    }

    fn known(&self, a: &Archive) -> Option<SeriesFile> {
        let mut kept = lock(&self.kept);
        let at = kept.iter().position(|(hash, ..)| *hash == a.blake3)?;
        let one = kept.remove(at);
        let file = one.2.clone();
        kept.push(one);
        Some(file)
    }

    fn keep(&self, a: &Archive, file: &SeriesFile) {
        let mut kept = lock(&self.kept);
        if kept.iter().any(|(hash, ..)| *hash == a.blake3) {
            return;
        }
        kept.push((a.blake3.clone(), a.bytes, file.clone()));
        while kept.len() > KEPT_FILES_MAX
            || kept.iter().map(|(_, bytes, _)| bytes).sum::<u64>() > KEPT_BYTES_MAX
        {
            kept.remove(0);
        }
    }

    /// Every byte of the file is read, unless it was kept: damage is an error that names the archive.
    fn open(&self, a: &Archive, budget: &Budget) -> Result<SeriesFile> {
        if let Some(file) = self.known(a) {
            return Ok(file);
        }
        let file = self.copy(a, budget)?;
        self.keep(a, &file);
        Ok(file)
    }

    fn copy(&self, a: &Archive, budget: &Budget) -> Result<SeriesFile> {
        let there = self.files.get(&Caller::Operator, &a.store, &a.path, Some(a.version), None);
        let (version, mut content) = there.map_err(|e| broken(a, &e))?;
        if version.blake3.as_deref() != Some(&a.blake3) {
            return Err(broken(a, &Error::corrupt("its file is another one")));
        }
        let mut file = nameless(&self.folder)?;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            budget.check()?;
            let read = content.read(&mut block).map_err(|e| broken(a, &as_error(e)))?;
            if read == 0 {
                break;
            }
            file.write_all(block.get(..read).unwrap_or_default())
                .map_err(|e| Error::io(format!("reading {}", a.place()), e))?;
        }
        SeriesFile::open(file).map_err(|e| broken(a, &e))
    }

    fn counted(
        &self,
        a: &Archive,
        file: &SeriesFile,
        fields: Option<&[String]>,
        mine: &Mine,
        budget: &Budget,
    ) -> Result<Counted> {
        let held = self.room.enter(FIRST_BYTES, mine, budget)?;
        let rows = file.rows(&a.key, fields).map_err(|e| broken(a, &e))?;
        Ok(Counted { rows, held })
    }

    /// Every row of the file, which is read from its store whatever is kept.
    pub(super) fn fresh(&self, a: &Arc<Archive>, budget: &Budget) -> Result<FrameStream> {
        let archive = a.clone();
        let rows = self.counted(a, &self.copy(a, budget)?, None, &Mine::default(), budget)?;
        Ok(Box::new(rows.map(move |frame| frame.map_err(|e| broken(&archive, &e)))))
    }

    /// The rows of an archive within a range that were not deleted, as the file has them. `mine`: what the question holds.
    pub(super) fn exact(
        &self,
        a: &Arc<Archive>,
        range: TimeRange,
        fields: Option<&[String]>,
        mine: &Mine,
        budget: &Budget,
    ) -> Result<FrameStream> {
        let rows = self.counted(a, &self.open(a, budget)?, fields, mine, budget)?;
        let (archive, budget) = (a.clone(), budget.clone());
        // A row without any of the asked fields is not there.
        let asked = fields.is_some_and(|f| !f.is_empty());
        let mut over = false;
        Ok(Box::new(rows.map_while(move |frame| {
            if over {
                return None;
            }
            let kept = budget.check().and_then(|()| {
                let frame = frame.map_err(|e| broken(&archive, &e))?;
                over = frame.times.last().is_some_and(|t| *t >= range.end);
                let there = |t: &i64| range.contains(*t) && !cuts::has(&archive.cuts, *t);
                let keep: Vec<bool> = frame.times.iter().map(there).collect();
                let frame = chosen(frame, &keep);
                Ok(if asked { with_values(frame, &|_| true) } else { frame })
            });
            over |= kept.is_err();
            Some(kept)
        })))
    }

    /// [`Shelf::exact`] as the engine would give them: units are integers there.
    pub(super) fn stored(
        &self,
        a: &Arc<Archive>,
        range: TimeRange,
        fields: Option<&[String]>,
        mine: &Mine,
        budget: &Budget,
    ) -> Result<FrameStream> {
        let decimals = a.fields.iter().any(|(_, of)| matches!(of, FieldType::Decimal(_)));
        let rows = self.exact(a, range, fields, mine, budget)?;
        Ok(if decimals { Box::new(rows.map(|frame| Ok(units(frame?)))) } else { rows })
    }
}

fn units(mut frame: Frame) -> Frame {
    for column in &mut frame.columns {
        if let Values::Decimal(units, _) = &mut column.values {
            column.values = Values::Integer(std::mem::take(units));
        }
    }
    frame
}
