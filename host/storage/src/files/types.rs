//! What a file is, and the bounds of its parts.

use crate::error::{Error, Kind, Result};
use crate::manifest::FileStore;
use serde::Serialize;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;

/// Rows of one answer.
pub const PAGE_MAX: u64 = 10_000;
/// Bytes of the metadata of a version.
pub const METADATA_BYTES_MAX: usize = 16 << 10;
/// Bytes of a media type.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// May something be written now? The disk guard's answer.
pub type Writable = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// The bounds of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Of all objects, each once.
    pub quota_bytes: u64,
    /// Versions.
    pub quota_files: u64,
    /// Of one version.
    pub file_bytes_max: u64,
}

impl From<&FileStore> for StoreConfig {
    fn from(s: &FileStore) -> Self {
        Self { quota_bytes: s.quota.0, quota_files: s.quota_files, file_bytes_max: s.file_max.0 }
    }
}

/// What is said of a file when it is put.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Default `application/octet-stream`.
    pub media_type: Option<String>,
    /// An object: provenance, labels.
    pub metadata: Value,
}

impl PutOptions {
    /// Both parts within their bounds; `what` names in an error what they are said of.
    pub(crate) fn checked(self, what: &str) -> Result<(String, Value)> {
        let metadata = match self.metadata {
            Value::Null => json!({}),
            object @ Value::Object(_) => object,
            _ => return Err(Error::invalid(format!("the metadata of {what} is not a JSON object"))),
        };
        if metadata.to_string().len() > METADATA_BYTES_MAX {
            return Err(Error::limit(
                format!("the metadata of {what}"),
                format!("{METADATA_BYTES_MAX} bytes"),
                "store it as content",
            ));
        }
        let media_type = self.media_type.unwrap_or_else(|| "application/octet-stream".into());
        // It comes back as an HTTP header.
        let visible = media_type.bytes().all(|b| (b' '..=b'~').contains(&b));
        if !visible || !(1..=MEDIA_TYPE_BYTES_MAX).contains(&media_type.len()) {
            return Err(Error::invalid(format!("`{}` is not a media type", media_type.escape_debug()))
                .hint(format!("write 1 to {MEDIA_TYPE_BYTES_MAX} characters, such as `application/json`")));
        }
        Ok((media_type, metadata))
    }
}

/// One immutable version of a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileVersion {
    pub store: String,
    pub path: String,
    /// From 1.
    pub version: u64,
    /// BLAKE3 of the content in hexadecimal; `None`: this version says that the file was deleted.
    pub blake3: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
    pub created_by: String,
    pub media_type: String,
    pub metadata: Value,
}

/// The newest version of a name, for lists.
pub type FileStat = FileVersion;

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FilesStats {
    pub versions: u64,
    pub objects: u64,
    /// Of the objects, each once.
    pub bytes: u64,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GcReport {
    pub removed: u64,
    pub bytes: u64,
}

/// Something wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilesFault {
    pub store: String,
    pub blake3: String,
    pub problem: String,
    /// The names that need the object, at most 100 of them.
    pub files: Vec<String>,
}

/// What a verification read and found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FilesVerify {
    pub objects: u64,
    pub bytes: u64,
    pub faults: Vec<FilesFault>,
    /// Objects that no row names; `gc` removes them.
    pub orphans: u64,
}

/// A store that has no room for what a put brings.
pub(super) fn full(store: &str, quota: u64) -> Error {
    Error::limit(
        format!("the objects of store `{store}`"),
        format!("{quota} bytes"),
        format!(
            "raise `files.{store}.quota` in shiphold.toml, or `shiphold files delete --purge` and `shiphold files gc {store}`"
        ),
    )
}

/// A stored object that is damaged, as the kind of error that callers act on.
pub fn as_error(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::InvalidData => {
            Error::new(Kind::Corrupt, e.to_string()).hint("restore it from a backup")
        }
        _ => Error::io("reading a file", e),
    }
}
