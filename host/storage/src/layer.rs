//! The one door: HTTP, CLI and plugins all enter here, with a [`crate::Caller`].

use crate::audit::Audit;
use crate::backup::{BackupReport, Progress};
use crate::caller::Caller;
use crate::disk::DiskGuard;
use crate::error::{Error, Result};
use crate::files::FileStores;
use crate::manifest::Manifest;
use crate::plugins::PluginRuns;
use crate::retention::Retention;
use crate::series::SeriesStore;
use crate::settings::Settings;
use crate::skills::Skills;
use crate::tokens::Tokens;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// What `verify` looked at and found.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct VerifyReport {
    pub ok: bool,
    pub databases: u64,
    pub audit_entries: u64,
    pub chunks: u64,
    pub objects: u64,
    /// Each names the object and what is wrong.
    pub faults: Vec<crate::series::Fault>,
}

/// All stores behind one type.
#[derive(Debug)]
pub struct DataLayer {
    manifest: Manifest,
    disk: Arc<DiskGuard>,
    skills: Skills,
    settings: Settings,
    audit: Arc<Audit>,
    tokens: Tokens,
    files: FileStores,
    plugins: PluginRuns,
    series: SeriesStore,
}

impl DataLayer {
    /// Takes the data folder's lock and opens the stores in order. [`crate::Kind::Busy`] if another process owns it.
    pub fn open(_manifest: &Manifest) -> Result<Arc<Self>> {
        Err(Error::internal("not written"))
    }
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    pub fn disk(&self) -> &Arc<DiskGuard> {
        &self.disk
    }
    pub fn skills(&self) -> &Skills {
        &self.skills
    }
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }
    pub fn files(&self) -> &FileStores {
        &self.files
    }
    pub fn plugins(&self) -> &PluginRuns {
        &self.plugins
    }
    pub fn series(&self) -> &SeriesStore {
        &self.series
    }
    pub fn retention(&self) -> Retention<'_> {
        Retention { layer: self }
    }
    /// Exports everything at one instant into a new folder `to`. Admin.
    pub fn export(&self, _caller: &Caller, _to: &Path, _progress: Progress<'_>) -> Result<BackupReport> {
        Err(Error::internal("not written"))
    }
    /// Re-reads every store: `integrity_check`, chunks, objects, the audit chain.
    pub fn verify(&self, _caller: &Caller, _progress: &mut dyn FnMut(&str)) -> Result<VerifyReport> {
        Err(Error::internal("not written"))
    }
    /// Background work that is due: seal, compact, watermarks. Call it about once a second.
    pub fn maintain(&self) -> Result<()> {
        Err(Error::internal("not written"))
    }
    /// The value of a secret of the manifest.
    pub fn secret(&self, _name: &str) -> Result<String> {
        Err(Error::internal("not written"))
    }
    /// Seals nothing, moves the WALs into their files. The lock goes with the value.
    pub fn close(&self) -> Result<()> {
        Err(Error::internal("not written"))
    }
}
