//! Backups of `[backup.NAME]`: an export of one instant, pushed into a repository on a backup target, and back.

use super::repository::{Checked, Forgotten, Pushed, Repository, Snapshot};
use super::{BackupReport, BlobStore, Progress, export};
use crate::audit::Entry;
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::manifest::Offsite;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Where an export waits to be pushed, in the data folder: private, and on a disk that has room for the data.
const OUTGOING: &str = "outgoing";

/// A repository of the manifest with the target that keeps it.
pub struct Backups<'a> {
    layer: &'a DataLayer,
    name: &'a str,
    settings: &'a Offsite,
    repository: Repository,
}

impl std::fmt::Debug for Backups<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DataLayer {
    /// `[backup.NAME]` of the manifest.
    pub fn offsite(&self, name: &str) -> Result<&Offsite> {
        self.manifest().backups.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.manifest().backups.keys().map(String::as_str).collect();
            Error::not_found(format!("there is no [backup.{}]", name.escape_debug())).hint(format!(
                "backups of this manifest: {}; add [backup.NAME] for another",
                known.join(", ")
            ))
        })
    }

    /// The repository of `[backup.NAME]`, over the target that its plugin is. Admin.
    pub fn backups<'a>(
        &'a self,
        caller: &Caller,
        name: &'a str,
        blobs: Arc<dyn BlobStore>,
    ) -> Result<Backups<'a>> {
        caller.require(Scope::Admin, "use a backup repository")?;
        let settings = self.offsite(name)?;
        let repository = Repository::new(blobs, self.secret(&settings.password)?);
        Ok(Backups { layer: self, name, settings, repository })
    }
}

impl Backups<'_> {
    /// One instant of everything, as a new snapshot; audited. One push of a host goes on at a time.
    pub fn push(&self, caller: &Caller, progress: Progress<'_>) -> Result<Pushed> {
        let Some(_alone) = self.layer.pushing() else {
            return Err(
                Error::new(Kind::Busy, "a backup is being pushed already").hint("wait until it is done")
            );
        };
        let outgoing = self.layer.manifest().host.data.join(OUTGOING);
        // What a push that was cut off left.
        let clear = || match std::fs::remove_dir_all(&outgoing) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(outgoing.display(), e)),
            _ => Ok(()),
        };
        clear()?;
        std::fs::create_dir(&outgoing).map_err(|e| Error::io(outgoing.display(), e))?;
        let folder = outgoing.join(self.name);
        let pushed = export::write(self.layer, &folder, &mut *progress)
            .and_then(|(report, _)| self.repository.push(&folder, report, progress));
        let (after, detail) = match &pushed {
            Ok(p) => (
                Some(p.snapshot.id.clone()),
                json!({ "ok": true, "taken_at": p.backup.taken_at, "bytes": p.snapshot.bytes, "added_bytes": p.snapshot.added_bytes }),
            ),
            Err(e) => (None, json!({ "ok": false, "error": e.message() })),
        };
        let entry = Entry::new(caller, "backup.push", format!("backup:{}", self.name)).change(None, after);
        self.layer.audit().record(&entry.detail(detail))?;
        if let Err(e) = clear() {
            tracing::warn!(error = ?e, "the export of a push is still there; the next push takes it away");
        }
        pushed
    }

    /// Oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.repository.snapshots()
    }

    /// Reads the repository, and with `read_data` every byte of it.
    pub fn check(&self, read_data: bool, progress: Progress<'_>) -> Result<Checked> {
        self.repository.check(read_data, progress)
    }

    /// Brings a snapshot back into a new folder and verifies it there; audited. `backup restore` takes it from there.
    pub fn pull(&self, caller: &Caller, id: &str, to: &Path, progress: Progress<'_>) -> Result<BackupReport> {
        export::refuse_target(self.layer, to)?;
        let snapshot = self.repository.pull(id, to, &mut *progress)?;
        let report = super::check(to, progress)?;
        let entry = Entry::new(caller, "backup.pull", format!("backup:{}", self.name));
        self.layer.audit().record(&entry.change(None, Some(snapshot.id)))?;
        Ok(report)
    }

    /// Forgets what the rules of the manifest do not keep; audited.
    pub fn forget(&self, caller: &Caller, dry_run: bool) -> Result<Forgotten> {
        let Some(_alone) = self.layer.pushing() else {
            return Err(Error::new(Kind::Busy, "a backup is being pushed").hint("wait until it is done"));
        };
        let planned = self.repository.forget(self.settings.keep, true)?;
        if dry_run {
            return Ok(planned);
        }
        // Before the first goes: what is deleted is accounted for, however it ends.
        let ids: Vec<&str> = planned.forgotten.iter().map(|s| s.id.as_str()).collect();
        let entry = |what: &str| Entry::new(caller, what, format!("backup:{}", self.name));
        let detail = json!({ "kept": planned.kept, "forgotten": ids });
        self.layer.audit().record(&entry("backup.forget").detail(detail))?;
        let done = self.repository.forget(self.settings.keep, false);
        let detail = match &done {
            Ok(done) => json!({ "ok": true, "forgotten": done.forgotten.len() }),
            Err(e) => json!({ "ok": false, "error": e.message() }),
        };
        self.layer.audit().record(&entry("backup.forgotten").detail(detail))?;
        done
    }
}
