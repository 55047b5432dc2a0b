//! A store on the real disk, and what holds of it.

mod bounds;
mod collecting;
mod damage;
mod odd_disk;
mod planted;
mod refused;
mod versions;

use super::*;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::schema::MIGRATIONS;
use crate::sqlite::{Database, Options};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

pub(super) const ME: Caller = Caller::Operator;
pub(super) const CONFIG: StoreConfig = StoreConfig {
    quota_bytes: 1 << 20,
    quota_files: 1000,
    file_bytes_max: 1 << 20,
    ..StoreConfig::UNBOUNDED
};

pub(super) fn read_all(mut reader: Box<dyn Read + Send>) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.read_to_end(&mut out)?;
    Ok(out)
}

/// Gives bytes, and does something before their end.
pub(super) struct Meanwhile<'a>(pub(super) &'a [u8], pub(super) Option<&'a dyn Fn()>);

impl Read for Meanwhile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buffer)?;
        if n == 0
            && let Some(then) = self.1.take()
        {
            then();
        }
        Ok(n)
    }
}

/// A store `s` on the real disk.
pub(super) struct Fixture {
    pub(super) files: FileStores,
    pub(super) db: Arc<Database>,
    pub(super) read_only: Arc<AtomicBool>,
    dir: TempDir,
}

impl Fixture {
    pub(super) fn new(config: StoreConfig) -> Self {
        Self::with(config, Options::default(), |disk| Box::new(disk))
    }
    pub(super) fn with(
        config: StoreConfig,
        options: Options,
        disk: impl FnOnce(CapDisk) -> Box<dyn ObjectDisk>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(Database::open(&dir.path().join("shiphold.db"), options, MIGRATIONS).unwrap());
        let read_only = Arc::new(AtomicBool::new(false));
        let disk = disk(CapDisk::open(&dir.path().join("root")).unwrap());
        let files = stores(disk, &db, &read_only, config).unwrap();
        Self { files, db, read_only, dir }
    }
    pub(super) fn reopen(self, config: StoreConfig) -> Self {
        let Self { files, db, read_only, dir } = self;
        drop(files);
        let disk = CapDisk::open(&dir.path().join("root")).unwrap();
        let files = stores(Box::new(disk), &db, &read_only, config).unwrap();
        Self { files, db, read_only, dir }
    }
    pub(super) fn put(&self, path: &str, content: &[u8]) -> Result<FileVersion> {
        self.files.put(&ME, "s", path, &mut { content }, PutOptions::default())
    }
    pub(super) fn get(&self, path: &str) -> Result<Vec<u8>> {
        let (_, reader) = self.files.get(&ME, "s", path, None, None)?;
        read_all(reader).map_err(as_error)
    }
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let all = self.files.list(&ME, "s", prefix, None, PAGE_MAX).unwrap();
        all.into_iter().map(|v| v.path).collect()
    }
    pub(super) fn verify(&self) -> FilesVerify {
        self.files.verify(&ME, "s", &mut |_| ()).unwrap()
    }
    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
    pub(super) fn object(&self, hash: &str) -> PathBuf {
        self.root().join("objects").join(&hash[..2]).join(hash)
    }
    pub(super) fn disk(&self) -> CapDisk {
        CapDisk::open(&self.root()).unwrap()
    }
    /// Entries of the audit trail of an action.
    pub(super) fn audited(&self, action: &str) -> usize {
        let filter = crate::audit::AuditFilter { action: Some(action.into()), ..Default::default() };
        crate::audit::Audit::new(self.db.clone()).list(&ME, &filter).unwrap().len()
    }
    /// Files in `tmp/` and objects on the disk.
    pub(super) fn on_disk(&self) -> (usize, usize) {
        let disk = CapDisk::open(&self.root()).unwrap();
        (disk.list_tmp().unwrap().len(), disk.list(Area::Objects).unwrap().len())
    }
}

fn stores(
    disk: Box<dyn ObjectDisk>,
    db: &Arc<Database>,
    read_only: &Arc<AtomicBool>,
    config: StoreConfig,
) -> Result<FileStores> {
    let disks = BTreeMap::from([("s".to_string(), (disk, config))]);
    let read_only = read_only.clone();
    let writable = move || match read_only.load(Ordering::SeqCst) {
        true => Err(Error::new(Kind::ReadOnly, "the disk is nearly full")),
        false => Ok(()),
    };
    FileStores::with_disks(disks, db.clone(), Arc::new(writable))
}

pub(super) fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}
