//! Content on its way into a store: on the disk and synced before anything names it.
//!
//! What is small is a file of its own. What is larger is cut where its content says (FastCDC), so that a change moves no cuts but those
//! beside it; chunks that the store has already are not written again, the others go one after another into a pack, compressed where
//! a sample says that it pays.

use super::disk::{Area, ObjectDisk, TmpFile};
use super::pins::{ChunkHash, Held};
use super::store::{Store, tmp_name};
use super::stream::{Tmp, within};
use super::thrift::Thrift;
use super::types::{Chunking, full};
use crate::error::{Error, Result};
use crate::hex;
use crate::sqlite::Database;
use fastcdc::v2020::FastCDC;
use std::collections::HashSet;
use std::io::{self, Read, Write as _};

/// Bytes that are cut at once.
const WINDOW_BYTES: usize = 4 << 20;

/// Content that nothing names yet.
pub(super) struct Staged<'a> {
    /// BLAKE3 in hexadecimal.
    pub(super) hash: String,
    /// Bytes.
    pub(super) size: u64,
    body: Body<'a>,
}

enum Body<'a> {
    File(Tmp<'a>),
    Chunks(Chunks<'a>),
}

struct Chunks<'a> {
    packs: Vec<NewPack<'a>>,
    pieces: Vec<Piece>,
    held: Held,
}

/// A pack that is whole.
struct NewPack<'a> {
    tmp: Tmp<'a>,
    name: String,
    bytes: u64,
}

/// A chunk of a content.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Where it begins in the content.
    pub(super) at: u64,
    pub(super) size: usize,
    pub(super) hash: ChunkHash,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The store has it, as this row.
    There(i64),
    /// It was written for this content, into the pack of this number among the new ones.
    New { pack: usize, at: u64, stored: usize },
    /// The content has it twice, and it is new.
    Again,
}

/// Content that is in its place, for a transaction that names it. Its chunks stay while it lives.
pub(super) struct Placed {
    pub(super) hash: String,
    pub(super) size: u64,
    pub(super) chunks: Option<PlacedChunks>,
    /// It was in the store already, and nothing was moved.
    pub(super) is_there: bool,
    _held: Option<Held>,
}

pub(super) struct PlacedChunks {
    /// The names and bytes of its own packs.
    pub(super) packs: Vec<(String, u64)>,
    pub(super) pieces: Vec<Piece>,
}

impl<'a> Staged<'a> {
    /// Writes and syncs what `content` gives; `path` is what it is called in errors.
    pub(super) fn write(
        s: &'a Store,
        db: &Database,
        (store, path): (&str, &str),
        content: &mut dyn Read,
    ) -> Result<Self> {
        let mut first = Vec::new();
        let most = s.config.chunking.above as u64;
        Read::take(&mut *content, most.saturating_add(1))
            .read_to_end(&mut first)
            .map_err(|e| Error::io(format!("reading what is to be stored as `{store}/{path}`"), e))?;
        let mut whole = first.as_slice().chain(content);
        if first.len() as u64 <= most {
            return Self::whole(s, (store, path), &mut whole);
        }
        let mut stager = Stager::new(s, db, store)?;
        let (hash, size, pieces) = stager.add(path, &mut whole)?;
        let (packs, held) = stager.finish(path)?;
        Ok(Self { hash, size, body: Body::Chunks(Chunks { packs, pieces, held }) })
    }

    /// Writes and syncs what `content` gives as a file of its own, whatever its size.
    pub(super) fn whole(s: &'a Store, of: (&str, &str), content: &mut dyn Read) -> Result<Self> {
        let (tmp, hash, size) = Tmp::write(s.disk.as_ref(), tmp_name(), of, content, &s.config)?;
        Ok(Self { hash, size, body: Body::File(tmp) })
    }

    /// Bytes that it adds to what the store takes.
    pub(super) fn stored(&self) -> u64 {
        match &self.body {
            Body::File(_) => self.size,
            Body::Chunks(c) => c.packs.iter().map(|p| p.bytes).sum(),
        }
    }

    /// Moves it into its place, durably; the caller holds `placing`. `there`: whether the store has it in chunks, if it has it and
    /// nothing is known against it; then there is no use for what came, but for a file in the place of the one that is there: that one
    /// may be damaged, and nobody looked yet.
    pub(super) fn publish(self, s: &Store, there: Option<bool>) -> io::Result<Placed> {
        let Self { hash, size, body } = self;
        if there.is_some_and(|chunked| chunked || matches!(body, Body::Chunks(_))) {
            return Ok(Placed { hash, size, chunks: None, is_there: true, _held: None });
        }
        let (chunks, held) = match body {
            Body::File(tmp) => {
                let moved = tmp.publish(Area::Objects, &hash);
                s.watches.placed(&hash);
                moved?;
                (None, None)
            }
            Body::Chunks(Chunks { packs, pieces, held }) => {
                (Some(PlacedChunks { packs: publish(s.disk.as_ref(), packs)?, pieces }), Some(held))
            }
        };
        Ok(Placed { hash, size, chunks, is_there: false, _held: held })
    }
}

/// Moves packs into their places: all of them, or none stays.
fn publish(disk: &dyn ObjectDisk, packs: Vec<NewPack<'_>>) -> io::Result<Vec<(String, u64)>> {
    let mut moved = Vec::with_capacity(packs.len());
    for p in packs {
        moved.push((p.name.clone(), p.bytes));
        if let Err(e) = p.tmp.publish(Area::Packs, &p.name) {
            // No row names them; what cannot be removed either is garbage for `gc`.
            moved.iter().for_each(|(name, _)| drop(disk.remove(Area::Packs, name)));
            return Err(e);
        }
    }
    Ok(moved)
}

/// Several contents in packs that they share, on the disk and synced.
pub(super) struct Many<'a> {
    /// Hash, size and chunks of each.
    pub(super) each: Vec<(String, u64, Vec<Piece>)>,
    packs: Vec<NewPack<'a>>,
    held: Held,
}

impl Many<'_> {
    pub(super) fn stored(&self) -> u64 {
        self.packs.iter().map(|p| p.bytes).sum()
    }

    /// Moves the packs into their places.
    pub(super) fn publish(self, s: &Store) -> io::Result<PlacedMany> {
        let packs = publish(s.disk.as_ref(), self.packs)?;
        let placed = self.each.into_iter().map(|(hash, size, pieces)| {
            let chunks = Some(PlacedChunks { packs: Vec::new(), pieces });
            Placed { hash, size, chunks, is_there: false, _held: None }
        });
        Ok(PlacedMany { packs, each: placed.collect(), _held: self.held })
    }
}

/// Several contents in packs that they share, in their places.
pub(super) struct PlacedMany {
    /// Names and bytes of the packs.
    pub(super) packs: Vec<(String, u64)>,
    /// The contents, without packs of their own.
    pub(super) each: Vec<Placed>,
    _held: Held,
}

/// Cuts contents into chunks and writes those that the store has not.
pub(super) struct Stager<'a, 'b> {
    s: &'a Store,
    db: &'b Database,
    store: &'b str,
    held: Held,
    packs: Vec<NewPack<'a>>,
    open: Option<OpenPack<'a>>,
    /// Bytes of packs, of the open one too.
    stored: u64,
    new: HashSet<ChunkHash>,
    thrift: Thrift,
}

struct OpenPack<'a> {
    tmp: Tmp<'a>,
    file: Box<dyn TmpFile>,
    name: String,
    bytes: u64,
}

impl<'a, 'b> Stager<'a, 'b> {
    pub(super) fn new(s: &'a Store, db: &'b Database, store: &'b str) -> Result<Self> {
        Ok(Self {
            s,
            db,
            store,
            held: Held::new(s.pins.clone()),
            packs: Vec::new(),
            open: None,
            stored: 0,
            new: HashSet::new(),
            thrift: Thrift::new()?,
        })
    }

    /// The hash, the size and the chunks of one content.
    pub(super) fn add(&mut self, path: &str, content: &mut dyn Read) -> Result<(String, u64, Vec<Piece>)> {
        let Chunking { min, average, max, .. } = self.s.config.chunking;
        let mut window = vec![0; WINDOW_BYTES.max(2 * max)];
        let (mut filled, mut size, mut at) = (0, 0_u64, 0_u64);
        let mut pieces = Vec::new();
        let mut hasher = blake3::Hasher::new();
        loop {
            let n = fill(window.get_mut(filled..).unwrap_or_default(), content).map_err(|e| {
                Error::io(format!("reading what is to be stored as `{}/{path}`", self.store), e)
            })?;
            let ended = filled + n < window.len();
            size = size.saturating_add(n as u64);
            within((self.store, path), size, &self.s.config)?;
            hasher.update(window.get(filled..filled + n).unwrap_or_default());
            filled += n;
            let there = window.get(..filled).unwrap_or_default();
            let mut cuts = Vec::new();
            let mut from = 0;
            for chunk in FastCDC::new(there, min, average, max) {
                // What follows may move the cut of a chunk that ends where the window does.
                if !ended && filled - chunk.offset < max {
                    break;
                }
                from = chunk.offset + chunk.length;
                cuts.push(chunk.offset..from);
            }
            let chunks: Vec<&[u8]> = cuts.into_iter().filter_map(|r| there.get(r)).collect();
            self.take(path, &chunks, &mut at, &mut pieces)?;
            if ended {
                break;
            }
            window.copy_within(from..filled, 0);
            filled -= from;
        }
        Ok((hasher.finalize().to_hex().to_string(), size, pieces))
    }

    /// A small content as one chunk.
    pub(super) fn add_small(&mut self, path: &str, content: &[u8]) -> Result<(String, u64, Vec<Piece>)> {
        let size = content.len() as u64;
        within((self.store, path), size, &self.s.config)?;
        let mut pieces = Vec::new();
        if !content.is_empty() {
            self.take(path, &[content], &mut 0, &mut pieces)?;
        }
        // The hash of the only chunk is that of the whole.
        let hash =
            pieces.first().map_or_else(|| blake3::hash(b"").to_hex().to_string(), |p| hex::encode(p.hash));
        Ok((hash, size, pieces))
    }

    /// Chunks that follow each other: looked up together, and written where they are new.
    fn take(&mut self, path: &str, chunks: &[&[u8]], at: &mut u64, pieces: &mut Vec<Piece>) -> Result<()> {
        let hashed: Vec<ChunkHash> = chunks.iter().map(|c| *blake3::hash(c).as_bytes()).collect();
        // Before the look: a collection that comes between takes nothing that is held.
        self.held.chunks(hashed.iter().copied());
        let store = self.store;
        let there = self.db.read(|c| super::chunks::sound(c, store, &hashed))?;
        for ((chunk, hash), there) in chunks.iter().zip(hashed).zip(there) {
            let place = match there {
                Some(id) => Place::There(id),
                None if !self.new.insert(hash) => Place::Again,
                None => self.write(path, chunk)?,
            };
            pieces.push(Piece { at: *at, size: chunk.len(), hash, place });
            *at += chunk.len() as u64;
        }
        Ok(())
    }

    fn write(&mut self, path: &str, chunk: &[u8]) -> Result<Place> {
        let store = self.store;
        let io = |e| Error::io(format!("storing `{store}/{path}`"), e);
        let quota = self.s.config.quota_bytes;
        let packed = self.thrift.pack(chunk);
        let bytes = packed.as_deref().unwrap_or(chunk);
        self.stored = self.stored.saturating_add(bytes.len() as u64);
        if self.stored > quota {
            return Err(full(store, quota));
        }
        let full = |open: &OpenPack<'_>| {
            open.bytes.saturating_add(bytes.len() as u64) > self.s.config.chunking.pack_bytes_max
        };
        if self.open.as_ref().is_some_and(full) {
            self.close(path)?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let name = new_name()?;
                let (tmp, file) = Tmp::create(self.s.disk.as_ref(), tmp_name()).map_err(io)?;
                none.insert(OpenPack { tmp, file, name, bytes: 0 })
            }
        };
        open.file.write_all(bytes).map_err(io)?;
        let at = open.bytes;
        open.bytes += bytes.len() as u64;
        Ok(Place::New { pack: self.packs.len(), at, stored: bytes.len() })
    }

    fn close(&mut self, path: &str) -> Result<()> {
        if let Some(mut open) = self.open.take() {
            open.file.sync().map_err(|e| Error::io(format!("storing `{}/{path}`", self.store), e))?;
            self.packs.push(NewPack { tmp: open.tmp, name: open.name, bytes: open.bytes });
        }
        Ok(())
    }

    fn finish(mut self, path: &str) -> Result<(Vec<NewPack<'a>>, Held)> {
        self.close(path)?;
        Ok((self.packs, self.held))
    }

    /// All that was added, synced.
    pub(super) fn many(self, each: Vec<(String, u64, Vec<Piece>)>) -> Result<Many<'a>> {
        let (packs, held) = self.finish("…")?;
        Ok(Many { each, packs, held })
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(buffer: &mut [u8], content: &mut dyn Read) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
        let most = room.len();
        match content.read(room) {
            Ok(0) => break,
            Ok(n) if n <= most => filled += n,
            Ok(n) => return Err(io::Error::other(format!("{n} bytes were given instead of {most}"))),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// A name that no pack has.
pub(super) fn new_name() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::internal(format!("the machine gave no random bytes: {e}")))?;
    Ok(hex::encode(bytes))
}
