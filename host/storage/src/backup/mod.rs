//! One instant of all stores as a plain folder, and back. `docs/backup.md` describes the format.

mod blobs;
mod check;
mod copy;
mod export;
mod format;
pub(crate) mod lines;
mod offsite;
mod remote;
mod repository;
mod restore;

#[cfg(test)]
mod tests;

pub use blobs::{BLOB_BYTES_MAX, BLOBS_MAX, BlobStore};
pub use check::check;
pub(crate) use export::export;
pub use format::{FORMAT, MANIFEST_BYTES_MAX, MANIFEST_FILE};
pub use offsite::Backups;
pub use repository::{Checked, Forgotten, Keep, Pushed, Repository, Snapshot};
pub use restore::restore;

use serde::Serialize;

/// What a backup holds, or what was restored.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BackupReport {
    /// Nanoseconds since the epoch: the instant that was pinned.
    pub taken_at: i64,
    pub host: String,
    pub databases: u64,
    pub objects: u64,
    /// Of databases and objects.
    pub bytes: u64,
    pub audit_entries: u64,
    /// Hash of the last audit entry.
    pub audit_head: String,
    pub series_rows: u64,
    /// Acknowledged writes that InfluxDB does not have yet: with a restored data folder the host delivers them.
    pub outbox_records: u64,
    /// How long the writers stood still.
    pub barrier_us: u64,
    /// What a person should know: a store that the manifest lacks.
    pub warnings: Vec<String>,
}

/// Bytes done and bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
