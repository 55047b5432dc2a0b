//! Reading what is in chunks: each is compared with its hash before a byte of it is given.

use super::chunks::{self, Located};
use super::disk::{Area, ObjectDisk, ObjectRead};
use super::pins::{Held, Pins};
use crate::error::{Error, Kind, Result};
use crate::sqlite::Database;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, SeekFrom};
use std::sync::Arc;

/// Chunks that are looked up at once.
const PAGE: i64 = 4_096;
/// Bytes of a chunk: what says that it is larger is none of ours.
pub(super) const CHUNK_BYTES_MAX: usize = 16 << 20;
/// A collection can take packs away between a look and its pin; so often in a row it does not.
const LOOKS_MAX: usize = 10;

/// A part of an object that is in chunks.
pub(super) struct Chunked {
    db: Arc<Database>,
    disk: Arc<dyn ObjectDisk>,
    pins: Arc<Pins>,
    /// The row of the object.
    object: i64,
    /// What is given next, and where it ends, in bytes of the content.
    at: u64,
    end: u64,
    pieces: VecDeque<Located>,
    /// The packs of `pieces`.
    held: Held,
    /// The object: while a page of it is read, nothing is asked of the database, and the next one must be there all the same.
    _object: Held,
    open: Option<(i64, Box<dyn ObjectRead>)>,
    current: Vec<u8>,
    /// What of `current` was given.
    given: usize,
    /// What it is called in errors.
    name: String,
}

impl Chunked {
    pub(super) fn new(
        db: Arc<Database>,
        disk: Arc<dyn ObjectDisk>,
        pins: Arc<Pins>,
        (object, held, name): (i64, Held, String),
        range: std::ops::Range<u64>,
    ) -> Result<Self> {
        let mut new = Self {
            db,
            disk,
            object,
            at: range.start,
            end: range.end,
            pieces: VecDeque::new(),
            held: Held::new(pins.clone()),
            pins,
            _object: held,
            open: None,
            current: Vec::new(),
            given: 0,
            name,
        };
        if new.at < new.end {
            new.page()?;
        }
        Ok(new)
    }

    /// Looks the next chunks up and holds their packs.
    fn page(&mut self) -> Result<()> {
        for _ in 0..LOOKS_MAX {
            let pieces = self.db.read(|c| chunks::located(c, self.object, self.at, self.end, PAGE))?;
            let packs: BTreeSet<i64> = pieces.iter().map(|p| p.pack).collect();
            let mut held = Held::new(self.pins.clone());
            held.packs(packs.iter().copied());
            if self.db.read(|c| chunks::packs_are_there(c, &packs))? {
                (self.pieces, self.held) = (pieces.into(), held);
                return Ok(());
            }
        }
        Err(Error::new(Kind::Busy, format!("the {} is moved again and again while it is read", self.name))
            .hint("read it again"))
    }

    fn damaged(&self, what: impl std::fmt::Display) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("the {} is damaged: {what}", self.name))
    }

    /// Its recipe went: the same content came anew, because a chunk of it is damaged.
    fn is_another(&self) -> bool {
        self.db.read(|c| chunks::is_chunked(c, self.object)).is_ok_and(|there| !there)
    }

    /// Brings the chunk in that has the next byte.
    fn advance(&mut self) -> io::Result<()> {
        if self.pieces.is_empty() {
            self.page().map_err(io::Error::other)?;
        }
        let Some(piece) = self.pieces.pop_front() else {
            if self.is_another() {
                let what = format!("the {} was stored anew while it was read", self.name);
                return Err(io::Error::other(Error::new(Kind::Busy, what).hint("read it again")));
            }
            return Err(self.damaged(format!("nothing says what follows after byte {}", self.at)));
        };
        let skip = self.at.checked_sub(piece.at).and_then(|n| usize::try_from(n).ok());
        let Some(skip) = skip.filter(|n| *n < piece.size) else {
            return Err(self.damaged(format!("nothing says what is at byte {}", self.at)));
        };
        let open = match self.open.take() {
            Some(open) if open.0 == piece.pack => open,
            _ => {
                let opened = self.disk.open(Area::Packs, &piece.pack_name);
                let opened = opened.map_err(|e| match e.kind() {
                    io::ErrorKind::NotFound => self.damaged(format!("pack {} is missing", piece.pack_name)),
                    _ => e,
                })?;
                (piece.pack, opened)
            }
        };
        let open = self.open.insert(open);
        match read_chunk(open.1.as_mut(), &piece)? {
            Ok(content) => (self.current, self.given) = (content, skip),
            Err(problem) => return Err(self.damaged(format!("its chunk at byte {}: {problem}", piece.at))),
        }
        Ok(())
    }
}

impl Read for Chunked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.at >= self.end {
            return Ok(0);
        }
        if self.given >= self.current.len() {
            self.advance()?;
        }
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let there = self.current.get(self.given..).unwrap_or_default();
        let n = buffer.len().min(there.len()).min(left);
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), there.get(..n)) {
            to.copy_from_slice(from);
        }
        self.given += n;
        self.at += n as u64;
        Ok(n)
    }
}

/// The content of a chunk, or what is wrong with it.
pub(super) fn read_chunk(pack: &mut dyn ObjectRead, of: &Located) -> io::Result<Result<Vec<u8>, String>> {
    let stored = match read_stored(pack, of)? {
        Ok(stored) => stored,
        Err(problem) => return Ok(Err(problem)),
    };
    let content = if of.stored == of.size {
        stored
    } else {
        match zstd::bulk::decompress(&stored, of.size) {
            Ok(content) => content,
            Err(e) => return Ok(Err(format!("it cannot be decompressed: {e}"))),
        }
    };
    if content.len() != of.size || blake3::hash(&content).as_bytes() != &of.hash {
        return Ok(Err("its content does not match its hash".into()));
    }
    Ok(Ok(content))
}

/// The bytes of a chunk as they lie in its pack.
pub(super) fn read_stored(pack: &mut dyn ObjectRead, of: &Located) -> io::Result<Result<Vec<u8>, String>> {
    if of.size > CHUNK_BYTES_MAX || of.stored > of.size {
        return Ok(Err(format!("it cannot have {} bytes", of.size)));
    }
    pack.seek(SeekFrom::Start(of.pack_at))?;
    let mut stored = vec![0; of.stored];
    match pack.read_exact(&mut stored) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Err("its pack ends before it".into())),
        Err(e) => Err(e),
        Ok(()) => Ok(Ok(stored)),
    }
}
