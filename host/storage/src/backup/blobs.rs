//! What a backup target keeps: named blobs. A plugin holds them, and nothing that it says is taken on trust.

use crate::error::{Error, Kind, Result};
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use std::io::Read as _;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// Blobs of one repository: what a page of a list can lead to in all.
pub const BLOBS_MAX: usize = 1_000_000;
/// Bytes of one blob. Packs have some 32 MiB; what is larger is none of ours.
pub const BLOB_BYTES_MAX: u64 = 256 << 20;

/// Named blobs somewhere else. Its calls block, and come from threads of the repository's own.
pub trait BlobStore: Send + Sync + 'static {
    /// How people call it.
    fn name(&self) -> &str;
    /// Stores a blob under a name that has none yet. On return it is there, whole and durable, and was read back.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Exactly `length` bytes from `offset`, or an error.
    fn get(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>>;
    /// Every blob whose name begins with `prefix`, with its size; at most [`BLOBS_MAX`].
    fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>>;
    /// The size of a blob; `None`: there is none.
    fn stat(&self, name: &str) -> Result<Option<u64>>;
    /// A blob that is not there is no error.
    fn delete(&self, name: &str) -> Result<()>;
}

/// Blobs as the files of a repository in restic's layout.
pub(super) struct Files {
    pub blobs: Arc<dyn BlobStore>,
    /// What went wrong last, in our own words: the library only passes a sentence on.
    pub fault: Arc<Mutex<Option<Error>>>,
}

impl Files {
    fn tell(&self, e: Error) -> Box<RusticError> {
        let said = RusticError::new(ErrorKind::Backend, e.message().to_string());
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
        said
    }
}

/// Where restic keeps a file.
fn name_of(tpe: FileType, id: &Id) -> String {
    let hex = id.to_hex().to_string();
    match tpe {
        FileType::Config => "config".into(),
        FileType::Pack => format!("data/{}/{hex}", hex.get(..2).unwrap_or_default()),
        other => format!("{}/{hex}", other.dirname()),
    }
}

impl ReadBackend for Files {
    fn location(&self) -> String {
        format!("plugin:{}", self.blobs.name())
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if tpe == FileType::Config {
            let size = self.blobs.stat("config").map_err(|e| self.tell(e))?;
            return Ok(size
                .map(|s| (Id::default(), u32::try_from(s).unwrap_or(u32::MAX)))
                .into_iter()
                .collect());
        }
        let listed = self.blobs.list(&format!("{}/", tpe.dirname())).map_err(|e| self.tell(e))?;
        // What is not named as restic names it is not a file of the repository.
        let of = |(name, size): (String, u64)| {
            let id = Id::from_str(name.rsplit('/').next()?).ok()?;
            (name == name_of(tpe, &id)).then_some((id, u32::try_from(size).ok()?))
        };
        Ok(listed.into_iter().filter_map(of).collect())
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<bytes::Bytes> {
        let name = name_of(tpe, id);
        let read = || {
            let size = self.blobs.stat(&name)?.ok_or_else(|| lacks(self.blobs.name(), &name))?;
            if size > BLOB_BYTES_MAX {
                return Err(Error::limit(
                    format!("the blob `{name}` with {size} bytes"),
                    format!("{BLOB_BYTES_MAX} bytes"),
                    "it is not one that this host stored",
                ));
            }
            self.blobs.get(&name, 0, size)
        };
        read().map(Into::into).map_err(|e| self.tell(e))
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<bytes::Bytes> {
        let got = self.blobs.get(&name_of(tpe, id), offset.into(), length.into());
        got.map(Into::into).map_err(|e| self.tell(e))
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        name_of(tpe, id)
    }
}

impl WriteBackend for Files {
    fn write_bytes(&self, tpe: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let mut bytes = Vec::with_capacity(content.size());
        let read = content.reader().read_to_end(&mut bytes).map_err(|e| Error::io("a blob", e));
        read.and_then(|_| self.blobs.put(&name_of(tpe, id), &bytes)).map_err(|e| self.tell(e))
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        self.blobs.delete(&name_of(tpe, id)).map_err(|e| self.tell(e))
    }
}

pub(super) fn lacks(target: &str, name: &str) -> Error {
    Error::new(Kind::Corrupt, format!("the target `{target}` lacks the blob `{name}`"))
        .hint("`shiphold backup verify NAME` shows what else is missing; a new push adds what it has")
}
