//! A disk in memory that knows what was synced.
//!
//! Every file has the bytes that readers see, the bytes that are safe, and the changes since its last sync. Entries
//! of folders are safe when their folder was synced, as POSIX has it: a synced file whose entry was not is lost.

use super::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// Disks write whole sectors of so many bytes; what is larger can be torn between two.
const SECTOR_BYTES: u64 = 512;
/// Bytes of one file; a larger one is refused as if the disk were full.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 30;

/// A file, also after its name went.
pub type FileId = u64;

/// What the loss of power takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: only the process died (`kill -9`).
    Nothing,
    /// Everything that was not synced.
    Unsynced,
    /// Per file and for the folders, a beginning of what was not synced survives, the last write torn. The number
    /// seeds the choice.
    Tail(u64),
    /// Of what was not synced, any sectors survive, in any order. The number seeds the choice.
    Sectors(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(FileId),
}

/// A change of a folder that is not synced.
#[derive(Debug, Clone)]
struct Move {
    path: String,
    node: Option<Node>,
    /// A rename: this name goes at the same instant.
    from: Option<String>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Debug, Clone, Default)]
struct Bytes {
    now: Vec<u8>,
    safe: Vec<u8>,
    pending: Vec<Change>,
}

/// The disk. Paths are text; the folder of a path is what stands before its last `/`. Folders exist without being
/// made, but one that was made can be lost, with all that is in it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    entries: BTreeMap<String, Node>,
    safe: BTreeMap<String, Node>,
    moves: Vec<Move>,
    made: BTreeSet<String>,
    files: BTreeMap<FileId, Bytes>,
    next: FileId,
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn apply_move(entries: &mut BTreeMap<String, Node>, m: &Move) {
    if let Some(from) = &m.from {
        entries.remove(from);
    }
    match m.node {
        Some(node) => entries.insert(m.path.clone(), node),
        None => entries.remove(&m.path),
    };
}

fn write_to(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let Some(end) = start.checked_add(data.len()) else { return };
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(start..end) {
        place.copy_from_slice(data);
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => write_to(bytes, *offset, data),
        Change::Cut(size) => bytes.resize(usize::try_from(*size).unwrap_or(usize::MAX), 0),
    }
}

/// The parts of a write that a disk can lose one by one.
fn sectors(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(1);
        let (part, left) = rest.split_at(room.min(rest.len()));
        let here = at;
        (at, rest) = (at + part.len() as u64, left);
        Some((here, part))
    })
}

impl Disk {
    /// Makes an empty file; over one that is there.
    pub fn create(&mut self, path: &str) -> FileId {
        self.next += 1;
        self.files.insert(self.next, Bytes::default());
        self.enter(path, Some(Node::File(self.next)), None);
        self.next
    }

    fn enter(&mut self, path: &str, node: Option<Node>, from: Option<&str>) {
        let m = Move { path: path.into(), node, from: from.map(Into::into) };
        apply_move(&mut self.entries, &m);
        self.moves.push(m);
    }

    /// Makes a folder; false if there is one.
    pub fn create_folder(&mut self, path: &str) -> bool {
        if self.entries.contains_key(path) {
            return false;
        }
        self.made.insert(path.into());
        self.enter(path, Some(Node::Folder), None);
        true
    }

    /// Is there a folder that was made?
    pub fn has_folder(&self, path: &str) -> bool {
        self.entries.get(path) == Some(&Node::Folder)
    }

    /// The file of a name.
    pub fn find(&self, path: &str) -> Option<FileId> {
        match self.entries.get(path) {
            Some(Node::File(id)) => Some(*id),
            _ => None,
        }
    }

    /// Removes a name; false if there is none.
    pub fn remove(&mut self, path: &str) -> bool {
        let there = self.find(path).is_some();
        if there {
            self.enter(path, None, None);
        }
        there
    }

    /// Gives a file another name, over what has it; false if there is no such file.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(id) = self.find(from) else { return false };
        self.enter(to, Some(Node::File(id)), Some(from));
        true
    }

    /// The names in a folder that was made, or of every file below none.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let names = self.entries.keys().filter(|p| folder_of(p) == folder && !p.is_empty());
        names.map(|p| p.rsplit_once('/').map_or(p.as_str(), |(_, name)| name).to_string()).collect()
    }

    pub fn size(&self, file: FileId) -> u64 {
        self.files.get(&file).map_or(0, |f| f.now.len() as u64)
    }

    /// Fills `buffer` from `offset`; bytes that were there.
    pub fn read(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = self.files.get(&file).and_then(|f| f.now.get(start..)).unwrap_or_default();
        let n = there.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), there.get(..n)) {
            to.copy_from_slice(from);
        }
        n
    }

    /// Writes; false if the file would become too large.
    pub fn write(&mut self, file: FileId, offset: u64, data: &[u8]) -> bool {
        let fits = offset.checked_add(data.len() as u64).is_some_and(|end| end <= FILE_BYTES_MAX);
        self.change(file, fits.then(|| Change::Write(offset, data.to_vec())))
    }

    /// Cuts a file, or makes it longer with zeros; false if it would become too large.
    pub fn truncate(&mut self, file: FileId, size: u64) -> bool {
        self.change(file, (size <= FILE_BYTES_MAX).then_some(Change::Cut(size)))
    }

    fn change(&mut self, file: FileId, change: Option<Change>) -> bool {
        let (Some(bytes), Some(change)) = (self.files.get_mut(&file), change) else { return false };
        apply(&mut bytes.now, &change);
        bytes.pending.push(change);
        true
    }

    /// Makes the bytes of a file safe; not its name.
    pub fn sync(&mut self, file: FileId) {
        if let Some(bytes) = self.files.get_mut(&file) {
            for change in bytes.pending.drain(..) {
                apply(&mut bytes.safe, &change);
            }
        }
    }

    /// A sync that failed: some of the bytes may have reached the disk (`seed` chooses: none, all, any sectors), and the
    /// system forgets that the rest did not: the next sync says that all is well, as Linux does.
    pub fn fail_sync(&mut self, file: FileId, seed: u64) {
        if let Some(bytes) = self.files.get_mut(&file) {
            match seed % 3 {
                0 => {}
                1 => bytes.pending.iter().for_each(|change| apply(&mut bytes.safe, change)),
                _ => bytes.safe = bytes.after(Loss::Sectors(seed), file),
            }
            bytes.pending.clear();
        }
    }

    /// Makes the names in a folder safe.
    pub fn sync_folder(&mut self, folder: &str) {
        let mut left = Vec::new();
        for m in std::mem::take(&mut self.moves) {
            let from_elsewhere = m.from.clone().filter(|f| folder_of(f) != folder);
            if folder_of(&m.path) == folder {
                let here = Move { from: m.from.filter(|f| folder_of(f) == folder), ..m };
                apply_move(&mut self.safe, &here);
                left.extend(from_elsewhere.map(|path| Move { path, node: None, from: None }));
            } else if m.from.as_deref().is_some_and(|f| folder_of(f) == folder) {
                // The journal of a file system holds a rename whole.
                apply_move(&mut self.safe, &m);
            } else {
                left.push(m);
            }
        }
        self.moves = left;
    }

    /// Of all that can be seen of it. Two disks after a loss of power with one digest are the same for whoever starts from them.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (path, node) in &self.entries {
            hasher.update(path.as_bytes()).update(&[0]);
            if let Node::File(id) = node {
                let bytes = self.files.get(id).map(|f| f.now.as_slice()).unwrap_or_default();
                hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
            }
        }
        hasher.finalize().into()
    }

    /// Syncs the folder of a path.
    pub fn sync_folder_of(&mut self, path: &str) {
        self.sync_folder(folder_of(path));
    }

    /// Flips bits of a file, as a failing medium does; false if it has no such byte.
    pub fn damage(&mut self, file: FileId, offset: u64) -> bool {
        let Some(bytes) = self.files.get_mut(&file) else { return false };
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        for image in [&mut bytes.safe, &mut bytes.now] {
            match image.get_mut(at) {
                Some(byte) => *byte ^= 0xff,
                None => return false,
            }
        }
        true
    }

    /// What the next start finds on the disk.
    #[must_use]
    pub fn after(&self, loss: Loss) -> Self {
        let mut entries = self.safe.clone();
        let mut rng = choices(loss, 0);
        let kept = match loss {
            Loss::Unsynced => 0,
            Loss::Tail(_) => rng.below(self.moves.len() + 1),
            Loss::Nothing | Loss::Sectors(_) => self.moves.len(),
        };
        for m in self.moves.iter().take(kept) {
            if !matches!(loss, Loss::Sectors(_)) || rng.coin() {
                apply_move(&mut entries, m);
            }
        }
        // What is in a folder that is lost is lost with it; parents come before their children in order.
        let mut found = BTreeMap::new();
        for (path, node) in entries {
            let folder = folder_of(&path);
            if !self.made.contains(folder) || found.contains_key(folder) {
                found.insert(path, node);
            }
        }
        let mut files = BTreeMap::new();
        for node in found.values() {
            if let Node::File(id) = node {
                let now = self.files.get(id).map(|f| f.after(loss, *id)).unwrap_or_default();
                files.insert(*id, Bytes { safe: now.clone(), now, pending: Vec::new() });
            }
        }
        let made = self.made.iter().filter(|f| found.contains_key(*f)).cloned().collect();
        Self { safe: found.clone(), entries: found, moves: Vec::new(), made, files, next: self.next }
    }
}

impl Bytes {
    fn after(&self, loss: Loss, id: FileId) -> Vec<u8> {
        let mut rng = choices(loss, id);
        let mut bytes = match loss {
            Loss::Nothing => return self.now.clone(),
            _ => self.safe.clone(),
        };
        match loss {
            Loss::Nothing | Loss::Unsynced => {}
            Loss::Tail(_) => {
                let kept = rng.below(self.pending.len() + 1);
                self.pending.iter().take(kept).for_each(|c| apply(&mut bytes, c));
                if let Some(Change::Write(offset, data)) = self.pending.get(kept) {
                    let whole = sectors(*offset, data).count();
                    for (at, part) in sectors(*offset, data).take(rng.below(whole)) {
                        write_to(&mut bytes, at, part);
                    }
                }
            }
            Loss::Sectors(_) => {
                for change in &self.pending {
                    match change {
                        Change::Write(offset, data) => {
                            sectors(*offset, data)
                                .filter(|_| rng.coin())
                                .for_each(|(at, part)| write_to(&mut bytes, at, part));
                        }
                        Change::Cut(_) if rng.coin() => apply(&mut bytes, change),
                        Change::Cut(_) => {}
                    }
                }
            }
        }
        bytes
    }
}

/// The choices of a loss for one file.
fn choices(loss: Loss, id: FileId) -> Random {
    let seed = match loss {
        Loss::Nothing | Loss::Unsynced => 0,
        Loss::Tail(seed) | Loss::Sectors(seed) => seed,
    };
    let mut random = Random::new(seed ^ id.wrapping_mul(0xd134_2543_de82_ef95));
    random.next();
    random
}
