//! What the stores do to a disk, behind one small trait, so that tests can take the disk away at any step.
//!
//! `objects/ab/abcdef…` holds the object whose BLAKE3 is `abcdef…`; `packs/` the chunks of those that are in chunks, `uploads/` what
//! comes in parts, both by random names of the same form; `tmp/` what is being written.

use cap_fs_ext::{DirExt as _, FollowSymlinks, OpenOptionsFollowExt as _};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// A file being written.
pub trait TmpFile: Write + Send {
    /// On the disk when it returns.
    fn sync(&mut self) -> io::Result<()>;
}

/// An object being read.
pub trait ObjectRead: Read + Seek + Send {}
impl<T: Read + Seek + Send> ObjectRead for T {}

/// The folders of a store in which files stay, each by a name of 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    Objects,
    Packs,
    Uploads,
}

impl Area {
    pub(super) const ALL: [Self; 3] = [Self::Objects, Self::Packs, Self::Uploads];

    /// The name of the folder.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Packs => "packs",
            Self::Uploads => "uploads",
        }
    }
}

/// The disk of one store. Names are hashes in hexadecimal; nothing else reaches it.
pub trait ObjectDisk: Send + Sync + std::fmt::Debug {
    fn create_tmp(&self, name: &str) -> io::Result<Box<dyn TmpFile>>;
    fn remove_tmp(&self, name: &str) -> io::Result<()>;
    fn list_tmp(&self) -> io::Result<Vec<String>>;
    /// Moves a file into its place, over what may be there.
    fn publish(&self, tmp: &str, area: Area, name: &str) -> io::Result<()>;
    /// Makes the place of a file durable: its folder's entry for it, and the folder's own.
    fn sync_folder_of(&self, area: Area, name: &str) -> io::Result<()>;
    /// A file of [`Area::Uploads`] that is cut to `at` bytes and written on from there; made if there is none. One that is
    /// shorter is an error.
    fn append(&self, name: &str, at: u64) -> io::Result<Box<dyn TmpFile>>;
    fn open(&self, area: Area, name: &str) -> io::Result<Box<dyn ObjectRead>>;
    fn remove(&self, area: Area, name: &str) -> io::Result<()>;
    /// The folders of an area that files can be in, in order.
    fn folders(&self, area: Area) -> io::Result<Vec<String>>;
    /// Every file of one of them and its size in bytes.
    fn list_in(&self, area: Area, folder: &str) -> io::Result<Vec<(String, u64)>>;
    /// Every file of an area.
    fn list(&self, area: Area) -> io::Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        for folder in self.folders(area)? {
            out.extend(self.list_in(area, &folder)?);
        }
        Ok(out)
    }
}

/// A folder as a capability: opened once, and nothing outside it can be reached through it.
#[derive(Debug)]
pub struct CapDisk {
    /// In the order of [`Area::ALL`].
    areas: [Dir; 3],
    tmp: Dir,
}

impl CapDisk {
    /// Opens (and makes) the store's folder, for its owner only.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_folder(root)?;
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        let folder = |name: &str| {
            match dir.create_dir(name) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            // A symlink in the place of the folder would lead elsewhere.
            dir.open_dir_nofollow(name)
        };
        let [objects, packs, uploads] = Area::ALL.map(|area| folder(area.folder()));
        let (areas, tmp) = ([objects?, packs?, uploads?], folder("tmp")?);
        sync_dir(&dir)?;
        Ok(Self { areas, tmp })
    }

    fn area(&self, area: Area) -> &Dir {
        let [objects, packs, uploads] = &self.areas;
        match area {
            Area::Objects => objects,
            Area::Packs => packs,
            Area::Uploads => uploads,
        }
    }

    fn folder_of(&self, area: Area, name: &str) -> io::Result<Dir> {
        self.area(area).open_dir_nofollow(prefix(name)?)
    }

    /// Makes the folder of a file, unless it is there.
    fn make_folder_of(&self, area: Area, name: &str) -> io::Result<Dir> {
        match self.area(area).create_dir(prefix(name)?) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        self.folder_of(area, name)
    }
}

/// Makes a folder and those above it that are missing, and makes each of them durable.
fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let above = path.parent().filter(|p| !p.as_os_str().is_empty());
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let Some(above) = above else { return Err(e) };
            make_folder(above)?;
            return make_folder(path);
        }
        // What is there was perhaps made by a process that died before it synced.
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    std::fs::File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

const HASH_DIGITS: usize = 64;

fn is_hash(name: &str) -> bool {
    name.len() == HASH_DIGITS && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The folder of a file; refuses what is no hash, so that nothing else becomes a path.
fn prefix(name: &str) -> io::Result<&str> {
    let no_hash = || io::Error::new(io::ErrorKind::InvalidInput, "an object's name is 64 hexadecimal digits");
    name.get(..2).filter(|_| is_hash(name)).ok_or_else(no_hash)
}

fn sync_dir(dir: &Dir) -> io::Result<()> {
    // A `Dir` is a handle by path (O_PATH), which cannot be synced: open the folder itself.
    dir.open(".")?.sync_all()
}

fn options(write: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    if write {
        options.write(true).create_new(true);
    } else {
        // Opening a pipe that somebody put there must not wait for its other end.
        options.read(true).custom_flags(libc::O_NONBLOCK);
    }
    options.follow(FollowSymlinks::No);
    options
}

struct RealTmp(std::fs::File);

impl Write for RealTmp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl TmpFile for RealTmp {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl ObjectDisk for CapDisk {
    fn create_tmp(&self, name: &str) -> io::Result<Box<dyn TmpFile>> {
        Ok(Box::new(RealTmp(self.tmp.open_with(name, &options(true))?.into_std())))
    }
    fn remove_tmp(&self, name: &str) -> io::Result<()> {
        self.tmp.remove_file(name)
    }
    fn list_tmp(&self) -> io::Result<Vec<String>> {
        let mut out = Vec::new();
        for entry in self.tmp.entries()? {
            let entry = entry?;
            // Only what we could have written.
            if let Some(name) = entry.file_name().to_str().filter(|_| !is_dir(&entry)) {
                out.push(name.to_string());
            }
        }
        Ok(out)
    }
    fn publish(&self, tmp: &str, area: Area, name: &str) -> io::Result<()> {
        let folder = self.make_folder_of(area, name)?;
        self.tmp.rename(tmp, &folder, name)
    }
    fn sync_folder_of(&self, area: Area, name: &str) -> io::Result<()> {
        sync_dir(&self.folder_of(area, name)?)?;
        sync_dir(self.area(area))
    }
    fn append(&self, name: &str, at: u64) -> io::Result<Box<dyn TmpFile>> {
        let mut options = options(false);
        options.write(true).create(true);
        let folder = self.make_folder_of(Area::Uploads, name)?;
        let mut file = folder.open_with(name, &options)?.into_std();
        let there = file.metadata()?;
        if !there.is_file() || there.len() < at {
            let what = format!("it has {} bytes instead of {at}", there.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        file.set_len(at)?;
        file.seek(io::SeekFrom::Start(at))?;
        Ok(Box::new(RealTmp(file)))
    }
    fn open(&self, area: Area, name: &str) -> io::Result<Box<dyn ObjectRead>> {
        let opened = self.folder_of(area, name).and_then(|folder| folder.open_with(name, &options(false)));
        let file = opened.map_err(not_plain)?.into_std();
        if !file.metadata()?.is_file() {
            return Err(no_file());
        }
        Ok(Box::new(file))
    }
    fn remove(&self, area: Area, name: &str) -> io::Result<()> {
        self.folder_of(area, name)?.remove_file(name)
    }
    fn folders(&self, area: Area) -> io::Result<Vec<String>> {
        let mut out = Vec::new();
        for folder in self.area(area).entries()? {
            let folder = folder?;
            let name = folder.file_name();
            out.extend(name.to_str().filter(|n| n.len() == 2 && is_dir(&folder)).map(str::to_string));
        }
        out.sort_unstable();
        Ok(out)
    }
    fn list_in(&self, area: Area, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        for entry in self.area(area).open_dir_nofollow(folder)?.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            // What does not stand in its own place is no file of ours, and neither is a folder.
            let Some(name) = name.to_str().filter(|n| is_hash(n) && n.starts_with(folder) && !is_dir(&entry))
            else {
                continue;
            };
            match entry.metadata() {
                // It went since the folder was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                found => out.push((name.to_string(), found?.len())),
            }
        }
        Ok(out)
    }
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not a plain file")
}

/// A symlink or a socket in the place of a file, or something else in that of its folder: the file is not there, and no other try
/// will find it.
fn not_plain(e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(libc::ELOOP | libc::ENOTDIR | libc::ENXIO) => no_file(),
        _ => e,
    }
}

/// A symlink is none, wherever it leads.
fn is_dir(entry: &cap_std::fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|t| t.is_dir())
}
