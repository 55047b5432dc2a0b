//! File stores: content-addressed objects under capability-scoped folders, names and versions in SQLite.
//!
//! The order of every put: write the object, sync it, move it into place, sync the folder — then one transaction
//! with the version, its audit entry and all. What a row names is therefore on the disk; an object that no row names
//! is garbage and costs room until `gc`. Checkpoints of strategies name objects, too, beside the versions of files.
//!
//! Small content is a file by its hash. Larger content is cut into chunks (`content.rs`), each stored once in a pack; rows say of which
//! chunks an object is made (`chunks.rs`), and where these are. `gc` removes what no object is made of (`collect.rs`) and moves what
//! is left of a pack that is mostly dead (`repack.rs`); what a put or a reader is at is held meanwhile (`pins.rs`).

mod ages;
mod batch;
mod chunks;
mod collect;
mod content;
mod disk;
mod get;
mod labels;
mod maintain;
pub mod name;
mod naming;
mod pins;
mod provenance;
mod prune;
mod read;
mod refused;
mod repack;
mod rows;
mod store;
mod stream;
mod thrift;
mod types;
mod uploads;
mod verify;
mod weights;

#[cfg(test)]
mod chunk_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod fault_disk;
#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upload_tests;

pub use batch::{BATCH_BYTES_MAX, BATCH_FILES_MAX, BatchFile, SentFile};
pub use disk::{Area, CapDisk, ObjectDisk, ObjectRead, TmpFile};
pub(crate) use get::missing;
pub use labels::{LABEL_BYTES_MAX, LABELS_MAX, Label};
pub(crate) use naming::{LooseObject, Naming, NewObject};
pub use provenance::{MadeOf, Traced};
pub use prune::{NAMED_MAX, PruneReport, Pruned};
pub use store::FileStores;
pub use types::{
    Batches, CHUNKED_ABOVE_BYTES, Chunking, DATA_MAX, FileStat, FileVersion, FilesFault, FilesStats,
    FilesVerify, FromData, FromSkill, GcReport, MEDIA_TYPE_BYTES_MAX, METADATA_BYTES_MAX, PAGE_MAX,
    PROVENANCE_NAME_BYTES_MAX, Provenance, PutOptions, StoreConfig, Writable, as_error,
};
pub use uploads::{UPLOAD_IDLE_S, UPLOADS_MAX, Upload};
pub(crate) use weights::Weight;
