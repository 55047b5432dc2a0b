//! One instant of all stores as a plain folder, and back.

use crate::error::{Error, Result};
use crate::manifest::Manifest;
use serde::Serialize;
use std::path::Path;

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
    /// How long the writers stood still.
    pub barrier_us: u64,
}

/// Bytes done and bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Re-reads a backup and compares every digest, `integrity_check` and the audit chain.
pub fn check(_from: &Path, _progress: Progress<'_>) -> Result<BackupReport> {
    Err(Error::internal("not written"))
}

/// Restores a backup into `data`, which must not exist, verified before it is moved into place. File stores of the
/// manifest whose root lies elsewhere keep their root; the default roots are below `data`.
pub fn restore(_from: &Path, _data: &Path, _manifest: Option<&Manifest>, _dry_run: bool, _progress: Progress<'_>) -> Result<BackupReport> {
    Err(Error::internal("not written"))
}
