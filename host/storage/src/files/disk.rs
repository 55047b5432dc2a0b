//! What the stores do to a disk, behind one small trait, so that tests can take the disk away at any step.
//!
//! `objects/ab/abcdef…` holds the object whose BLAKE3 is `abcdef…`; `tmp/` what is being written.

use cap_fs_ext::{DirExt as _, FollowSymlinks, OpenOptionsFollowExt as _};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
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

/// The disk of one store. Names of objects are hashes in hexadecimal; nothing else reaches it.
pub trait ObjectDisk: Send + Sync + std::fmt::Debug {
    fn create_tmp(&self, name: &str) -> io::Result<Box<dyn TmpFile>>;
    fn remove_tmp(&self, name: &str) -> io::Result<()>;
    fn list_tmp(&self) -> io::Result<Vec<String>>;
    /// Moves a file into its place as an object, over what may be there.
    fn publish(&self, tmp: &str, hash: &str) -> io::Result<()>;
    /// Makes the place of an object durable: its folder's entry for it, and the folder's own.
    fn sync_folder_of(&self, hash: &str) -> io::Result<()>;
    fn open(&self, hash: &str) -> io::Result<Box<dyn ObjectRead>>;
    fn remove(&self, hash: &str) -> io::Result<()>;
    /// Every object and its size in bytes.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
}

/// A folder as a capability: opened once, and nothing outside it can be reached through it.
#[derive(Debug)]
pub struct CapDisk {
    objects: Dir,
    tmp: Dir,
}

impl CapDisk {
    /// Opens (and makes) the store's folder, for its owner only.
    pub fn open(root: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        let folder = |name: &str| {
            match dir.create_dir(name) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            // A symlink in the place of the folder would lead elsewhere.
            dir.open_dir_nofollow(name)
        };
        let (objects, tmp) = (folder("objects")?, folder("tmp")?);
        sync_dir(&dir)?;
        if let Some(parent) = root.parent() {
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self { objects, tmp })
    }

    fn folder_of(&self, hash: &str) -> io::Result<Dir> {
        self.objects.open_dir_nofollow(prefix(hash)?)
    }
}

fn prefix(hash: &str) -> io::Result<&str> {
    hash.get(..2).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a hash has 64 digits"))
}

fn sync_dir(dir: &Dir) -> io::Result<()> {
    // Opened again: the handle of a `Dir` may be a mere path, which cannot be synced.
    dir.open(".")?.sync_all()
}

fn options(write: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    if write {
        options.write(true).create_new(true);
    } else {
        options.read(true);
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
        self.tmp.entries()?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
    }
    fn publish(&self, tmp: &str, hash: &str) -> io::Result<()> {
        match self.objects.create_dir(prefix(hash)?) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        self.tmp.rename(tmp, &self.folder_of(hash)?, hash)
    }
    fn sync_folder_of(&self, hash: &str) -> io::Result<()> {
        sync_dir(&self.folder_of(hash)?)?;
        sync_dir(&self.objects)
    }
    fn open(&self, hash: &str) -> io::Result<Box<dyn ObjectRead>> {
        let file = self.folder_of(hash)?.open_with(hash, &options(false))?.into_std();
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a plain file"));
        }
        Ok(Box::new(file))
    }
    fn remove(&self, hash: &str) -> io::Result<()> {
        self.folder_of(hash)?.remove_file(hash)
    }
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        for folder in self.objects.entries()? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for entry in folder.open_dir()?.entries()? {
                let entry = entry?;
                if let Some(name) = entry.file_name().to_str().filter(|n| n.len() == 64) {
                    out.push((name.to_string(), entry.metadata()?.len()));
                }
            }
        }
        Ok(out)
    }
}
