//! The one door: HTTP, CLI and plugins all enter here, with a [`crate::Caller`].

mod audit;
mod secret;
mod verify;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod soak_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod text_tests;
#[cfg(test)]
mod value_tests;

pub use audit::{write_checkpoint, write_pair};
pub(crate) use secret::secret;
pub use verify::VerifyReport;
pub(crate) use verify::integrity;

use crate::audit::Audit;
use crate::backup::{BackupReport, Progress};
use crate::caller::Caller;
use crate::changes::Changes;
use crate::commits::Gate;
use crate::disk::{DiskGuard, FolderLock, Level};
use crate::error::{Error, Kind, Result};
use crate::files::FileStores;
use crate::logs::Logs;
use crate::manifest::{EngineKind, Influxdb2, Manifest};
use crate::plugins::PluginRuns;
use crate::retention::Retention;
use crate::rollups::Rollups;
use crate::series::archives::{Archived, Archives};
use crate::series::decimals;
use crate::series::embedded::{EmbeddedEngine, EngineOptions};
use crate::series::influx::{InfluxEngine, Outbox};
use crate::series::revisions::Rules;
use crate::series::{Budget, SeriesEngine, SeriesStore};
use crate::settings::Settings;
use crate::skills::Skills;
use crate::sql::{SqlAnswer, SqlQuery};
use crate::sqlite::{Counts, Database, Options, Synchronous};
use crate::state::States;
use crate::tokens::Tokens;
use crate::trades::Trades;
use std::path::Path;
use std::sync::Arc;

/// The file of the structured store in the data folder.
pub const STRUCTURED_FILE: &str = "shiphold.db";
/// The file of the embedded series engine in the data folder.
pub const SERIES_FILE: &str = "series.db";
/// The file of the InfluxDB engine in the data folder: what is acknowledged and not delivered yet.
pub const OUTBOX_FILE: &str = "outbox.db";

/// All stores behind one type.
#[derive(Debug)]
pub struct DataLayer {
    manifest: Manifest,
    disk: Arc<DiskGuard>,
    db: Arc<Database>,
    skills: Skills,
    settings: Settings,
    audit: Arc<Audit>,
    tokens: Tokens,
    files: Arc<FileStores>,
    state: States,
    trades: Trades,
    logs: Logs,
    plugins: PluginRuns,
    series: SeriesStore,
    rollups: Rollups,
    /// The same engine as in `series`, where it is the one that keeps its data here.
    embedded: Option<Arc<EmbeddedEngine>>,
    /// The same engine as in `series`, where it is the one before InfluxDB.
    outbox: Option<Arc<Outbox>>,
    changes: Arc<Changes>,
    kept: audit::Kept,
    gate: Arc<Gate>,
    /// One commit over several stores is made at a time.
    committing: std::sync::Mutex<()>,
    /// One plan is executed at a time: two would count and drop the same rows.
    retaining: std::sync::Mutex<()>,
    /// Who asks in SQL at this moment.
    asking: crate::sql::Desk,
    /// One backup is pushed at a time: each needs room for an export.
    pushing: std::sync::Mutex<()>,
    /// The last field: it goes when everything else is closed.
    _lock: FolderLock,
}

impl DataLayer {
    /// Takes the data folder's lock and opens the stores in order. [`crate::Kind::Busy`] if another process owns it.
    pub fn open(manifest: &Manifest) -> Result<Arc<Self>> {
        let lock = FolderLock::acquire(&manifest.host.data)?;
        let disk = Arc::new(DiskGuard::new(&manifest.host.data, &manifest.disk));
        Self::open_with(manifest, lock, disk, open_engine)
    }

    /// Opens everything over an engine that `open_series` gives, and a given watch of the disk.
    pub(crate) fn open_with(
        manifest: &Manifest,
        lock: FolderLock,
        disk: Arc<DiskGuard>,
        open_series: impl FnOnce(&Manifest) -> Result<OpenEngine>,
    ) -> Result<Arc<Self>> {
        if let Err(e) = disk.hold_reserve() {
            // Without a reserve the host still works; on a full disk it must start, to make room.
            tracing::warn!(error = %e, "no reserve could be held back");
        }
        let path = manifest.host.data.join(STRUCTURED_FILE);
        let options = Options {
            readers: manifest.limits.readers,
            values_bytes_max: manifest.limits.cache_max.0,
            ..Options::default()
        };
        let db = Arc::new(Database::open(&path, options, crate::schema::MIGRATIONS)?);
        let guard = disk.clone();
        let writable: crate::files::Writable = Arc::new(move || guard.writable());
        db.set_guard(writable.clone());
        let plugins = PluginRuns::new(db.clone());
        let interrupted = plugins.mark_interrupted()?;
        if interrupted > 0 {
            tracing::warn!(runs = interrupted, "plugin runs were cut off when the host ended");
        }
        let audit = Arc::new(Audit::new(db.clone()));
        let files = Arc::new(FileStores::open(&manifest.files, db.clone(), writable)?);
        let OpenEngine { engine, embedded, outbox } = open_series(manifest)?;
        decimals::settle(&db, engine.as_ref(), &manifest.series.decimals)?;
        let changes: Arc<Changes> = Arc::default();
        let rollups = Rollups::open(manifest.rollups.clone(), db.clone())?;
        let rules = Rules::declare(&db, &manifest.series.revisions, crate::schema::now_ns());
        let gate = Arc::<Gate>::default();
        let archived = Archived::open(engine.clone(), db.clone(), files.clone(), manifest.host.data.clone())?;
        let series = SeriesStore::new(engine, manifest, disk.clone(), audit.clone(), changes.clone())
            .archiving(archived)
            .recording(rules, rollups.watch())
            .in_units(db.clone(), gate.clone());
        // Before anybody reads; what cannot be applied now keeps readers of series waiting, and not the host from starting.
        if let Err(e) = series.settled() {
            tracing::error!(error = %e, "rows of a commit are not applied yet");
        }
        db.set_gate(gate.clone());
        Ok(Arc::new(Self {
            series,
            rollups,
            skills: Skills::new(db.clone(), changes.clone()),
            settings: Settings::new(db.clone()),
            tokens: Tokens::new(db.clone()),
            state: States::new(db.clone(), files.clone(), manifest.state.clone()),
            trades: Trades::new(db.clone()),
            logs: Logs::new(db.clone(), files.clone(), manifest.logs.clone()),
            manifest: manifest.clone(),
            disk,
            db,
            audit,
            files,
            plugins,
            embedded,
            outbox,
            changes,
            kept: audit::Kept::default(),
            gate,
            committing: std::sync::Mutex::default(),
            retaining: std::sync::Mutex::default(),
            asking: crate::sql::Desk::default(),
            pushing: std::sync::Mutex::default(),
            _lock: lock,
        }))
    }

    /// What a start with this manifest would refuse of what is stored; nothing is changed. `None`: a host runs over the data
    /// folder, and knows.
    pub fn check(manifest: &Manifest) -> Result<Option<Vec<String>>> {
        let path = manifest.host.data.join(STRUCTURED_FILE);
        if !path.exists() {
            return Ok(Some(Vec::new()));
        }
        let declared = &manifest.series.decimals;
        let read_only = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let c = rusqlite::Connection::open_with_flags(&path, read_only)?;
        if decimals::is_settled(&c, declared)? {
            return Ok(Some(Vec::new()));
        }
        let _lock = match FolderLock::acquire(&manifest.host.data) {
            Err(e) if e.kind() == Kind::Busy => return Ok(None),
            lock => lock?,
        };
        let OpenEngine { engine, .. } = open_engine(manifest)?;
        let wrong = decimals::unsettled(&c, engine.as_ref(), declared);
        engine.close()?;
        wrong.map(Some)
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
    /// Checkpoints of strategies.
    pub fn state(&self) -> &States {
        &self.state
    }
    /// Accounts, orders, fills and what they add up to.
    pub fn trades(&self) -> &Trades {
        &self.trades
    }
    /// Lines of the trader's logs.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }
    pub fn plugins(&self) -> &PluginRuns {
        &self.plugins
    }
    pub fn series(&self) -> &SeriesStore {
        &self.series
    }
    pub fn rollups(&self) -> &Rollups {
        &self.rollups
    }
    /// What was committed and nobody has taken yet.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }
    pub fn retention(&self) -> Retention<'_> {
        Retention { layer: self }
    }
    /// Old rows in files, which are still read.
    pub fn archives(&self) -> Archives<'_> {
        Archives { layer: self }
    }
    /// How the structured store is used.
    pub fn structured_counts(&self) -> Counts {
        self.db.counts()
    }
    /// The structured store's file.
    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.db
    }
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
    /// Held while a commit over several stores is made.
    pub(crate) fn committing(&self) -> &std::sync::Mutex<()> {
        &self.committing
    }
    /// Held while a plan is executed.
    pub(crate) fn retaining(&self) -> std::sync::MutexGuard<'_, ()> {
        self.retaining.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    /// Held while a backup is pushed; `None`: one is.
    pub(crate) fn pushing(&self) -> Option<std::sync::MutexGuard<'_, ()>> {
        match self.pushing.try_lock() {
            Ok(held) => Some(held),
            Err(std::sync::TryLockError::Poisoned(e)) => Some(e.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
    /// The engine that keeps its data in the data folder, if it is that one.
    pub(crate) fn embedded(&self) -> Option<&Arc<EmbeddedEngine>> {
        self.embedded.as_ref()
    }

    /// The engine before InfluxDB, if it is that one.
    pub(crate) fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.outbox.as_ref()
    }

    /// Exports everything at one instant into a new folder `to`. Admin; audited.
    pub fn export(&self, caller: &Caller, to: &Path, progress: Progress<'_>) -> Result<BackupReport> {
        crate::backup::export(self, caller, to, progress)
    }

    /// Re-reads every store: `integrity_check`, chunks, objects, the audit chain. What is wrong is in the report, not
    /// an error. Admin.
    pub fn verify(&self, caller: &Caller, progress: &mut dyn FnMut(&str)) -> Result<VerifyReport> {
        verify::run(self, caller, progress)
    }

    /// Answers one SQL statement that only reads the structured store. Admin.
    pub fn sql(&self, caller: &Caller, query: &SqlQuery, budget: &Budget) -> Result<SqlAnswer> {
        crate::sql::ask(&self.db, &self.asking, caller, query, &self.series.budget(budget))
    }

    /// Background work that is due: seal, compact, watermarks. Call it about once a second.
    pub fn maintain(&self) -> Result<()> {
        // They make room.
        let state = self.state.maintain().and(self.files.maintain());
        // On a read-only disk nothing is written that could be left; retention compacts when it made room.
        if self.disk.state()?.level == Level::ReadOnly {
            return state;
        }
        if let Some(engine) = &self.embedded {
            engine.maintain()?;
        }
        let (kept, rolled) = (self.series.maintain(&self.db), self.rollups.maintain(self));
        let (logs, summed) = (self.logs.maintain(), self.trades.maintain().map(drop));
        self.disk.hold_reserve().and(kept).and(rolled).and(state).and(logs).and(summed).and(self.keep_audit())
    }

    /// The value of a secret of the manifest, without the newline at its end. Never written to a log.
    pub fn secret(&self, name: &str) -> Result<String> {
        secret(&self.manifest, name)
    }

    /// Seals nothing, moves the WALs into their files. The lock goes with the value.
    pub fn close(&self) -> Result<()> {
        let engine = match &self.embedded {
            Some(engine) => engine.close(),
            None => self.series.engine().close(),
        };
        self.db.checkpoint().and(engine)
    }
}

/// An engine, and the same one again as what it is, where it keeps something in the data folder.
pub(crate) struct OpenEngine {
    pub(crate) engine: Arc<dyn SeriesEngine>,
    pub(crate) embedded: Option<Arc<EmbeddedEngine>>,
    pub(crate) outbox: Option<Arc<Outbox>>,
}

/// The engine that the manifest chooses.
fn open_engine(manifest: &Manifest) -> Result<OpenEngine> {
    match manifest.series.engine {
        EngineKind::Embedded => {
            let engine = Arc::new(open_embedded(&manifest.host.data.join(SERIES_FILE), Some(manifest))?);
            Ok(OpenEngine { engine: engine.clone(), embedded: Some(engine), outbox: None })
        }
        EngineKind::Influxdb2 => {
            let (server, settings) = open_influx(manifest)?;
            let path = manifest.host.data.join(OUTBOX_FILE);
            let engine = Arc::new(server.behind_outbox(settings, &path)?);
            Ok(OpenEngine { engine: engine.clone(), embedded: None, outbox: Some(engine) })
        }
    }
}

/// The embedded engine over a file, with a manifest's bounds or the defaults.
pub(crate) fn open_embedded(path: &Path, manifest: Option<&Manifest>) -> Result<EmbeddedEngine> {
    let default;
    let manifest = match manifest {
        Some(m) => m,
        None => {
            default = Manifest::parse("", Path::new("/shiphold.toml"))
                .map_err(|e| Error::internal(format!("the empty manifest is refused: {e}")))?;
            &default
        }
    };
    EmbeddedEngine::open(
        path,
        &manifest.series.embedded,
        EngineOptions {
            vfs: None,
            synchronous: Synchronous::Full,
            readers: manifest.limits.readers,
            series_max: manifest.limits.series_max,
        },
    )
}

/// The InfluxDB server of a manifest, without an outbox, and its settings.
pub(crate) fn open_influx(manifest: &Manifest) -> Result<(InfluxEngine, &Influxdb2)> {
    let settings =
        manifest.series.influxdb2.as_ref().ok_or_else(|| {
            Error::invalid("series.engine is `influxdb2`, but [series.influxdb2] is missing")
        })?;
    Ok((InfluxEngine::open(settings, secret(manifest, &settings.token)?)?, settings))
}
