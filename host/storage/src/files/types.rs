//! What a file is, and the bounds of its parts.

use crate::error::{Error, Kind, Result};
use crate::manifest::{FileStore, Keep, Layout};
use serde::{Deserialize, Serialize};
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

/// How content is cut into chunks.
#[derive(Debug, Clone, Copy)]
pub struct Chunking {
    /// Bytes; content of more is cut, other is a file of its own.
    pub above: usize,
    /// Bytes of a chunk.
    pub min: usize,
    pub average: usize,
    pub max: usize,
    /// Bytes of a pack.
    pub pack_bytes_max: u64,
}

/// Content of more is cut into chunks.
pub const CHUNKED_ABOVE_BYTES: usize = 64 << 10;

impl Chunking {
    /// With chunks of 64 KiB a change of one place in a model costs about as much, and a gigabyte has some 16,000 rows.
    pub const DEFAULT: Self = Self {
        above: CHUNKED_ABOVE_BYTES,
        min: 16 << 10,
        average: 64 << 10,
        max: 256 << 10,
        pack_bytes_max: 256 << 20,
    };
}

/// What a collection does at once. Others wait for no more than that, and it can end after any of them.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// Objects that are looked at.
    pub objects: usize,
    /// Chunks that are looked at, or that the objects of one transaction may have; one object alone may have more, as one put made
    /// them in one transaction.
    pub chunks: usize,
    /// Packs that are looked at.
    pub packs: usize,
    /// Files that are removed.
    pub files: usize,
}

impl Batches {
    pub const DEFAULT: Self = Self { objects: 256, chunks: 4_096, packs: 64, files: 256 };
}

/// The bounds and rules of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Of what lies on the disk for it: objects and packs.
    pub quota_bytes: u64,
    /// Versions.
    pub quota_files: u64,
    /// Of one version.
    pub file_bytes_max: u64,
    /// Of all versions that one token or plugin put there.
    pub caller_bytes: u64,
    /// Versions that one token or plugin put there.
    pub caller_files: u64,
    pub layout: Layout,
    pub keep: Keep,
    pub chunking: Chunking,
    pub batches: Batches,
}

impl StoreConfig {
    /// Nothing is refused for want of room.
    pub const UNBOUNDED: Self = Self {
        quota_bytes: u64::MAX,
        quota_files: u64::MAX,
        file_bytes_max: u64::MAX,
        caller_bytes: u64::MAX,
        caller_files: u64::MAX,
        layout: Layout::Free,
        keep: Keep::ALL,
        chunking: Chunking::DEFAULT,
        batches: Batches::DEFAULT,
    };
}

impl From<&FileStore> for StoreConfig {
    fn from(s: &FileStore) -> Self {
        Self {
            quota_bytes: s.quota.0,
            quota_files: s.quota_files,
            file_bytes_max: s.file_max.0,
            caller_bytes: s.caller_quota.0,
            caller_files: s.caller_quota_files,
            layout: s.layout,
            keep: s.keep,
            chunking: Chunking::DEFAULT,
            batches: Batches::DEFAULT,
        }
    }
}

/// Measurements that one version names.
pub const DATA_MAX: usize = 16;
/// Bytes of the name of a skill, of its version and of a measurement.
pub const PROVENANCE_NAME_BYTES_MAX: usize = 256;

/// What a version was made by, and from which data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<FromSkill>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<FromData>,
}

/// A version of a skill; the skill need not be stored here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromSkill {
    pub name: String,
    pub version: String,
}

/// Rows of a measurement, `from_ns` included and `to_ns` not, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromData {
    pub measurement: String,
    pub from_ns: i64,
    pub to_ns: i64,
}

impl Provenance {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<()> {
        let name = |what: &str, text: &str| {
            if (1..=PROVENANCE_NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
                return Ok(());
            }
            Err(Error::invalid(format!("the {what} of the provenance is not a name"))
                .hint(format!("write 1 to {PROVENANCE_NAME_BYTES_MAX} bytes without control characters")))
        };
        if let Some(skill) = &self.skill {
            name("skill", &skill.name)?;
            name("version of the skill", &skill.version)?;
        }
        if self.data.len() > DATA_MAX {
            return Err(Error::limit(
                format!("a provenance with {} ranges of data", self.data.len()),
                DATA_MAX,
                "name the measurements that matter, and the rest in the metadata",
            ));
        }
        for data in &self.data {
            name("measurement", &data.measurement)?;
            if data.from_ns >= data.to_ns {
                return Err(Error::invalid(format!(
                    "the range {}..{} of `{}` is empty",
                    data.from_ns,
                    data.to_ns,
                    data.measurement.escape_debug()
                ))
                .hint("`from_ns` is the first nanosecond that was read, `to_ns` the first that was not"));
            }
        }
        Ok(())
    }
}

/// What is said of a file when it is put.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Default `application/octet-stream`.
    pub media_type: Option<String>,
    /// An object: what nobody looks up.
    pub metadata: Value,
    pub provenance: Provenance,
}

impl PutOptions {
    /// Both parts within their bounds; `what` names in an error what they are said of.
    pub(crate) fn checked(self, what: &str) -> Result<(String, Value)> {
        self.provenance.check()?;
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
    /// Bytes that they take: what they have in common once, and compressed where that pays.
    pub stored: u64,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GcReport {
    /// Objects.
    pub removed: u64,
    /// Bytes of files that are gone, less those that were written for it.
    pub bytes: u64,
    /// Chunks that no object is made of.
    pub chunks: u64,
    /// Packs of which little was needed, and that was moved to others.
    pub repacked: u64,
}

/// Something wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilesFault {
    pub store: String,
    /// Of the object, or of the chunk that several objects can have.
    pub blake3: String,
    pub problem: String,
    /// The names that need the object, at most 100 of them.
    pub files: Vec<String>,
}

/// What a verification read and found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FilesVerify {
    pub objects: u64,
    /// Of the objects.
    pub bytes: u64,
    pub chunks: u64,
    /// What was found damaged before and is whole again.
    pub healed: u64,
    pub faults: Vec<FilesFault>,
    /// Objects and packs that no row names; `gc` removes them.
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
