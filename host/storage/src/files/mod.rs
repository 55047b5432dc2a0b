//! File stores: content-addressed objects under capability-scoped folders, names and versions in SQLite.
//!
//! The order of every put: write the object, sync it, move it into place, sync the folder — then one transaction
//! with the version, its audit entry and all. What a row names is therefore on the disk; an object that no row names
//! is garbage and costs room until `gc`. Checkpoints of strategies name objects, too, beside the versions of files.

mod collect;
mod disk;
pub mod name;
mod naming;
mod rows;
mod store;
mod stream;
mod types;
mod weights;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod fault_disk;
#[cfg(test)]
mod tests;

pub use disk::{CapDisk, ObjectDisk, ObjectRead, TmpFile};
pub(crate) use naming::{LooseObject, Naming, NewObject};
pub use store::FileStores;
pub(crate) use store::missing;
pub use types::{
    FileStat, FileVersion, FilesFault, FilesStats, FilesVerify, GcReport, MEDIA_TYPE_BYTES_MAX,
    METADATA_BYTES_MAX, PAGE_MAX, PutOptions, StoreConfig, Writable, as_error,
};
pub(crate) use weights::Weight;
