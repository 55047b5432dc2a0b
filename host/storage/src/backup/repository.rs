//! A backup target as a repository in the format of restic: deduplicated, compressed, encrypted, and readable by a user's own
//! `restic`. The format is [restic's](https://github.com/restic/restic/blob/master/doc/design.rst), by way of `rustic_core`.
//!
//! The target sees names and ciphertext. Nothing is deleted but what [`Repository::forget`] decided here.

use super::blobs::{BlobStore, Files};
use super::{BackupReport, Progress};
use crate::error::{Error, Kind, Result};
use rustic_core::repofile::{SnapshotFile, SnapshotId};
use rustic_core::{
    BackupOptions, CheckOptions, ConfigOptions, Credentials, KeepOptions, KeyOptions, LocalDestination,
    LsOptions, OpenStatus, PathList, Progress as Bar, ProgressBars, ProgressType, PruneOptions,
    RepositoryBackends, RepositoryOptions, RestoreOptions, RusticError, RusticProgress, SnapshotOptions,
    jiff,
};
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The path under which a snapshot holds the backup.
const ROOT: &str = "/shiphold";
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// Problems of a check that are told.
const PROBLEMS_MAX: usize = 100;

/// One backup that a repository holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// 64 hexadecimal digits; the first eight are enough to name it.
    pub id: String,
    /// Nanoseconds since the epoch: the instant that was pinned.
    pub taken_at: i64,
    pub host: String,
    /// Bytes of the backup, and how many of them the repository did not have yet, compressed.
    pub bytes: u64,
    pub added_bytes: u64,
    pub files: u64,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pushed {
    pub snapshot: Snapshot,
    pub backup: BackupReport,
    /// The repository was made for it.
    pub created: bool,
}

/// What a check found; nothing: the repository is whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    pub snapshots: u64,
    /// Every pack was read and decrypted.
    pub read_data: bool,
    /// At most a hundred.
    pub problems: Vec<String>,
}

/// Which snapshots stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Keep {
    pub last: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
}

/// What forgetting did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forgotten {
    pub kept: u64,
    pub forgotten: Vec<Snapshot>,
    pub dry_run: bool,
}

/// Opens at each operation anew: what another host wrote meanwhile is seen.
pub struct Repository {
    blobs: Arc<dyn BlobStore>,
    password: String,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("target", &self.blobs.name()).finish_non_exhaustive()
    }
}

/// Counts what the library does, for a caller who looks now and then.
#[derive(Debug, Default, Clone)]
struct Counts(Arc<(AtomicU64, AtomicU64)>);

impl ProgressBars for Counts {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> Bar {
        match kind {
            ProgressType::Bytes => Bar::new(self.clone()),
            ProgressType::Spinner | ProgressType::Counter => Bar::hidden(),
        }
    }
}

impl RusticProgress for Counts {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, length: u64) {
        self.0.1.store(length, Ordering::Relaxed);
    }
    fn set_title(&self, _title: &str) {}
    fn inc(&self, by: u64) {
        self.0.0.fetch_add(by, Ordering::Relaxed);
    }
    fn finish(&self) {}
}

/// One opening of the repository, and what its backend said.
struct Opened {
    backends: RepositoryBackends,
    options: RepositoryOptions,
    credentials: Credentials,
    fault: Arc<Mutex<Option<Error>>>,
    counts: Counts,
    target: String,
}

impl Opened {
    /// The backend's own words where it was the backend.
    fn failed(&self, e: &RusticError) -> Error {
        if let Some(fault) = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return fault.context(format!("the backup target `{}`", self.target));
        }
        let said = format!("the repository of `{}`: {}", self.target, e.display_log());
        if e.is_incorrect_password() {
            return Error::denied(format!("the password does not open the repository of `{}`", self.target))
                .hint("the secret that `password` names must be the one of the first push");
        }
        Error::new(Kind::Corrupt, said).hint("`shiphold backup verify NAME` shows what is wrong")
    }

    fn raw(&self) -> Result<rustic_core::Repository<()>> {
        rustic_core::Repository::new_with_progress(&self.options, &self.backends, self.counts.clone())
            .map_err(|e| self.failed(&e))
    }

    fn exists(&self) -> Result<bool> {
        Ok(self.raw()?.config_id().map_err(|e| self.failed(&e))?.is_some())
    }

    fn open(&self) -> Result<rustic_core::Repository<OpenStatus>> {
        if !self.exists()? {
            return Err(Error::not_found(format!(
                "the backup target `{}` has no repository yet",
                self.target
            ))
            .hint("`shiphold backup push NAME` makes it"));
        }
        self.raw()?.open(&self.credentials).map_err(|e| self.failed(&e))
    }

    fn create(&self) -> Result<()> {
        let made = self.raw()?.init(&self.credentials, &KeyOptions::default(), &ConfigOptions::default());
        made.map(drop).map_err(|e| self.failed(&e))
    }
}

impl Repository {
    pub fn new(blobs: Arc<dyn BlobStore>, password: String) -> Self {
        Self { blobs, password }
    }

    fn opened(&self) -> Opened {
        let fault = Arc::new(Mutex::new(None));
        let files = Files { blobs: self.blobs.clone(), fault: fault.clone() };
        let mut options = RepositoryOptions::default();
        // The library's cache would be a second copy in the user's home folder.
        options.no_cache = true;
        Opened {
            backends: RepositoryBackends::new(Arc::new(files), None),
            options,
            credentials: Credentials::password(&self.password),
            fault,
            counts: Counts::default(),
            target: self.blobs.name().to_string(),
        }
    }

    /// Restic's clients say by a file in `locks/` that they are at work; what they do must not meet what we do.
    fn alone(&self) -> Result<()> {
        let locks = self.blobs.list("locks/")?;
        if locks.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Busy,
            format!("the repository of `{}` is locked by {} other client(s)", self.blobs.name(), locks.len()),
        )
        .hint("wait for it; `restic unlock` takes away what a client that died left behind"))
    }

    /// A creation that was cut off before its `config` leaves a key of a repository that never was; beside the next one's it
    /// would open nothing.
    fn clear_keys(&self) -> Result<()> {
        let target = self.blobs.name();
        for held in ["data/", "snapshots/"] {
            if let Some((name, _)) = self.blobs.list(held)?.first() {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!(
                        "the target `{target}` holds `{name}` and no `config`: its repository is damaged"
                    ),
                )
                .hint("bring `config` back, or choose another place for a new repository"));
            }
        }
        for (name, _) in self.blobs.list("keys/")? {
            self.blobs.delete(&name)?;
        }
        Ok(())
    }

    /// Adds a backup that was exported to a folder.
    pub fn push(&self, folder: &Path, backup: BackupReport, progress: Progress<'_>) -> Result<Pushed> {
        self.alone()?;
        let at = self.opened();
        let created = !at.exists()?;
        if created {
            self.clear_keys()?;
            at.create()?;
        }
        let counts = at.counts.clone();
        let host = backup.host.clone();
        let snapshot = beside(&counts, progress, || {
            let wrong = |e: Box<RusticError>| at.failed(&e);
            let repo = at.open()?.to_indexed_ids().map_err(wrong)?;
            let source = PathList::from_iter(Some(folder))
                .sanitize()
                .map_err(|e| Error::io(folder.display(), std::io::Error::other(e)))?;
            let mut of = SnapshotOptions::default();
            of.host = Some(host);
            of.label = Some("shiphold".into());
            of.time = Some(time_of(backup.taken_at)?);
            let mut options = BackupOptions::default();
            options.as_path = Some(ROOT.into());
            let snapshot = of.to_snapshot().and_then(|s| repo.backup(&options, &source, s)).map_err(wrong)?;
            Ok(shown(&snapshot))
        })?;
        Ok(Pushed { snapshot, backup, created })
    }

    /// Oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let at = self.opened();
        let mut all = at.open()?.get_all_snapshots().map_err(|e| at.failed(&e))?;
        all.sort();
        Ok(all.iter().map(shown).collect())
    }

    /// Reads the structure of the repository, and with `read_data` every byte of it.
    pub fn check(&self, read_data: bool, progress: Progress<'_>) -> Result<Checked> {
        let at = self.opened();
        let counts = at.counts.clone();
        beside(&counts, progress, || {
            let repo = at.open()?;
            let snapshots = repo.get_all_snapshots().map_err(|e| at.failed(&e))?.len() as u64;
            let options = CheckOptions::default().read_data(read_data);
            let problems = match repo.check(options) {
                Ok(found) => {
                    found.0.iter().take(PROBLEMS_MAX).map(|(level, e)| format!("{level:?}: {e}")).collect()
                }
                // What cannot be read at all is what a check is for.
                Err(e) => vec![at.failed(&e).message().to_string()],
            };
            Ok(Checked { snapshots, read_data, problems })
        })
    }

    /// Brings a snapshot back as the folder that was exported; `to` must not exist. It is not verified here.
    pub fn pull(&self, id: &str, to: &Path, progress: Progress<'_>) -> Result<Snapshot> {
        // `latest` and beginnings of an id: no path, no expression.
        if id != "latest" && !(id.len() >= 4 && id.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(Error::invalid(format!("`{}` names no snapshot", id.escape_debug()))
                .hint("`shiphold backup snapshots NAME` lists them; `latest` is the newest"));
        }
        let at = self.opened();
        let counts = at.counts.clone();
        beside(&counts, progress, || {
            let wrong = |e: Box<RusticError>| at.failed(&e);
            let repo = at.open()?;
            let found = repo.get_snapshot_from_str(id, |_| true).map_err(|e| {
                let fault = at.failed(&e);
                if fault.kind() == Kind::Corrupt {
                    return Error::not_found(format!(
                        "the repository of `{}` has no snapshot `{id}`",
                        at.target
                    ))
                    .hint("`shiphold backup snapshots NAME` lists them");
                }
                fault
            })?;
            let repo = repo.to_indexed().map_err(wrong)?;
            let node =
                repo.node_from_snapshot_and_path(&found, ROOT.trim_start_matches('/')).map_err(wrong)?;
            let listing = repo.ls(&node, &LsOptions::default()).map_err(wrong)?;
            let destination =
                LocalDestination::new(&format!("{}/", to.display()), true, false).map_err(wrong)?;
            // As the user who restores: the owner of another machine means nothing here.
            let options = RestoreOptions::default().no_ownership(true);
            let plan = repo.prepare_restore(&options, listing.clone(), &destination, false).map_err(wrong)?;
            repo.restore(plan, &options, listing, &destination).map_err(wrong)?;
            Ok(shown(&found))
        })
    }

    /// Forgets what the rules do not keep, then frees what nothing names any more: packs are marked first and deleted a day
    /// later, so that a push that goes on meanwhile loses nothing.
    pub fn forget(&self, keep: Keep, dry_run: bool) -> Result<Forgotten> {
        self.alone()?;
        let at = self.opened();
        let wrong = |e: Box<RusticError>| at.failed(&e);
        let repo = at.open()?;
        let all = repo.get_all_snapshots().map_err(wrong)?;
        let count = |n: u32| Some(i32::try_from(n).unwrap_or(i32::MAX)).filter(|n| *n > 0);
        let mut rules = KeepOptions::default();
        rules.keep_last = count(keep.last.max(1));
        rules.keep_daily = count(keep.daily);
        rules.keep_weekly = count(keep.weekly);
        rules.keep_monthly = count(keep.monthly);
        let judged = rules.apply(all, &jiff::Zoned::now()).map_err(wrong)?;
        let kept = judged.iter().filter(|s| s.keep).count() as u64;
        let gone: Vec<&SnapshotFile> = judged.iter().filter(|s| !s.keep).map(|s| &s.snapshot).collect();
        let forgotten = gone.iter().map(|s| shown(s)).collect();
        if !dry_run {
            let ids: Vec<SnapshotId> = gone.iter().map(|s| s.id).collect();
            if !ids.is_empty() {
                repo.delete_snapshots(&ids).map_err(wrong)?;
            }
            let options = PruneOptions::default();
            let plan = repo.prune_plan(&options).map_err(wrong)?;
            repo.prune(&options, plan).map_err(wrong)?;
        }
        Ok(Forgotten { kept, forgotten, dry_run })
    }
}

fn time_of(ns: i64) -> Result<jiff::Zoned> {
    let at = jiff::Timestamp::from_nanosecond(ns.into())
        .map_err(|e| Error::internal(format!("the time of a backup: {e}")))?;
    Ok(at.to_zoned(jiff::tz::TimeZone::UTC))
}

fn shown(s: &SnapshotFile) -> Snapshot {
    let (bytes, added_bytes, files) = s
        .summary
        .as_ref()
        .map_or((0, 0, 0), |x| (x.total_bytes_processed, x.data_added_packed, x.total_files_processed));
    Snapshot {
        id: s.id.to_hex().to_string(),
        taken_at: i64::try_from(s.time.timestamp().as_nanosecond()).unwrap_or_default(),
        host: s.hostname.clone(),
        bytes,
        added_bytes,
        files,
    }
}

/// Works on a thread of its own, because the library tells its progress to threads of its own, and a caller has one.
fn beside<T: Send>(
    counts: &Counts,
    progress: Progress<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            std::thread::sleep(TELL_EVERY);
            progress(counts.0.0.load(Ordering::Relaxed), counts.0.1.load(Ordering::Relaxed));
        }
        working.join().unwrap_or_else(|_| Err(Error::internal("the repository ended in a fault")))
    })
}

#[cfg(test)]
mod tests;
