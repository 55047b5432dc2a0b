//! The door to the series: checks the caller, the limits and the disk, then asks the engine.

mod commits;
mod imports;
mod read;
mod tails;
#[cfg(test)]
pub(super) mod tests;
mod write;

pub use write::LOOK_TIME_MAX;

use super::archives::Archived;
use super::decimals::{DecimalEngine, Face, Scales};
use super::exchange::import::{Desk, Positions};
use super::query::Sessions;
use super::revisions::{Recorder, Rules};
use super::units::Units;
use super::{Budget, CompactReport, EngineStats, Fault, SeriesEngine, SeriesKey, kinds};
use crate::audit::Audit;
use crate::caller::{Caller, Scope};
use crate::changes::{Change, Changes};
use crate::disk::DiskGuard;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Limits, Manifest};
use crate::rollups::Watch;
use crate::schema::now_ns;
use crate::sqlite::Database;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Instant;

/// Bytes of a bucket's name.
pub const BUCKET_BYTES_MAX: usize = 255;

/// The series of a host.
#[derive(Debug)]
pub struct SeriesStore {
    engine: Arc<dyn SeriesEngine>,
    /// The same engine for whoever knows no decimals: they are floats to him.
    floats: Arc<dyn SeriesEngine>,
    /// It stands before the one that stores, and knows no decimals either: they are integers to it.
    recorder: Arc<Recorder>,
    scales: Arc<Scales>,
    /// What stands between the recorder and the engine that stores. Present in a host.
    archives: Option<Arc<Archived>>,
    pub(super) limits: Limits,
    pub(super) bucket: String,
    /// `[calendars.NAME]`
    calendars: BTreeMap<String, kinds::Session>,
    pub(super) disk: Arc<DiskGuard>,
    pub(super) audit: Arc<Audit>,
    /// Where files are imported.
    pub(super) desk: Desk,
    /// Held by whoever writes rows, the host's own rollups among them. Held alone by a writer that may only add (no row comes between
    /// its look and its write), by a commit (none comes between what it refuses and what it stores), by retention from its last look at
    /// rows until they are dropped, and by a restore for each of its pieces.
    adding: RwLock<()>,
    changes: Arc<Changes>,
    /// Present in a host: who reads one store must not see a commit that is not in another yet.
    units: Option<Units>,
}

impl SeriesStore {
    pub fn new(
        engine: Arc<dyn SeriesEngine>,
        manifest: &Manifest,
        disk: Arc<DiskGuard>,
        audit: Arc<Audit>,
        changes: Arc<Changes>,
    ) -> Self {
        let bucket = manifest.series.bucket.clone();
        let recorder = Recorder::new(engine, Rules::default());
        let scales = Arc::new(Scales::new(&manifest.series.decimals));
        let desk = Desk::new(manifest.host.data.clone(), Positions::new(audit.database().clone()));
        Self {
            engine: DecimalEngine::over(recorder.clone(), &scales, Face::Exact),
            floats: DecimalEngine::over(recorder.clone(), &scales, Face::Float),
            recorder,
            scales,
            archives: None,
            limits: manifest.limits.clone(),
            bucket,
            calendars: manifest.calendars.clone(),
            disk,
            audit,
            desk,
            adding: RwLock::new(()),
            changes,
            units: None,
        }
    }

    /// Answers with rows of archives, too; before [`SeriesStore::recording`].
    #[must_use]
    pub(crate) fn archiving(mut self, archives: Arc<Archived>) -> Self {
        self.recorder = Recorder::new(archives.clone(), Rules::default());
        self.engine = DecimalEngine::over(self.recorder.clone(), &self.scales, Face::Exact);
        self.floats = DecimalEngine::over(self.recorder.clone(), &self.scales, Face::Float);
        self.archives = Some(archives);
        self
    }

    /// Records changes by these rules, and has late rows noted, from now on.
    #[must_use]
    pub(crate) fn recording(mut self, rules: Rules, watch: Arc<Watch>) -> Self {
        self.recorder = Recorder::watched(self.recorder.stored().clone(), rules, watch);
        self.engine = DecimalEngine::over(self.recorder.clone(), &self.scales, Face::Exact);
        self.floats = DecimalEngine::over(self.recorder.clone(), &self.scales, Face::Float);
        self
    }

    /// Waits for commits over several stores, from now on.
    #[must_use]
    pub(crate) fn in_units(mut self, db: Arc<Database>, gate: Arc<crate::commits::Gate>) -> Self {
        self.units = Some(Units::new(db, gate));
        self
    }

    /// What callers see, without the host's own logs.
    pub fn engine(&self) -> &Arc<dyn SeriesEngine> {
        &self.engine
    }

    /// Everything that the engine stores, for what copies all of it: without rows that only archives have.
    pub(crate) fn stored(&self) -> &Arc<dyn SeriesEngine> {
        self.archives.as_ref().map_or(self.recorder.stored(), |archives| archives.raw())
    }

    /// The engine without rows that only archives have, for what moves rows between the two: what is written here is not new to
    /// anybody.
    pub(crate) fn live(&self) -> Arc<dyn SeriesEngine> {
        let hiding = Recorder::new(self.stored().clone(), Rules::default());
        DecimalEngine::over(hiding, &self.scales, Face::Exact)
    }

    pub(crate) fn archives(&self) -> Result<&Arc<Archived>> {
        self.archives.as_ref().ok_or_else(|| Error::internal("these series have no archives"))
    }

    /// What the manifest declares as decimals.
    pub(crate) fn scales(&self) -> &Scales {
        &self.scales
    }

    /// A step of the background work on revisions; call it about once a second.
    pub(crate) fn maintain(&self, db: &Database) -> Result<()> {
        self.recorder.maintain(db, now_ns())
    }

    /// The host's own deadline, or a nearer one.
    pub fn budget(&self, given: &Budget) -> Budget {
        let own = Instant::now() + self.limits.query_time.0;
        Budget { deadline: Some(given.deadline.map_or(own, |d| d.min(own))), ..given.clone() }
    }

    /// Of a field that is a decimal: the digits after its point.
    pub fn scale(&self, key: &SeriesKey, field: &str) -> Option<u8> {
        self.scales.of(&key.bucket, &key.measurement).scale(field)
    }

    pub fn stats(&self, caller: &Caller) -> Result<EngineStats> {
        caller.require(Scope::Read, "read figures of series")?;
        self.engine.stats()
    }

    pub fn seal(&self, caller: &Caller) -> Result<()> {
        caller.require(Scope::Admin, "seal series")?;
        self.engine.seal()
    }

    pub fn compact(&self, caller: &Caller) -> Result<CompactReport> {
        caller.require(Scope::Admin, "compact series")?;
        // What is in memory overlaps what is sealed as much as chunks do.
        self.disk.make_room(|| {
            self.engine.seal()?;
            self.engine.compact()
        })
    }

    pub fn verify(&self, caller: &Caller, budget: &Budget) -> Result<Vec<Fault>> {
        caller.require(Scope::Read, "verify series")?;
        self.engine.verify(budget)
    }

    /// Puts the sessions of the manifest where their name stands.
    fn calendar(&self, sessions: &mut Option<Sessions>) -> Result<()> {
        let Some(Sessions::Named(name)) = sessions else { return Ok(()) };
        let Some(session) = self.calendars.get(name) else {
            let known: Vec<&str> = self.calendars.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!("`session`: there is no calendar `{}`", name.escape_debug()))
                .hint(match known.is_empty() {
                    true => "write [calendars.NAME] in shiphold.toml, or give the session itself".to_string(),
                    false => format!("the calendars of shiphold.toml are {}", known.join(", ")),
                }));
        };
        *sessions = Some(Sessions::Given(session.clone()));
        Ok(())
    }

    fn may_look(&self, caller: &Caller) -> Result<()> {
        self.pass()?;
        if matches!(caller, Caller::Plugin { .. }) {
            Ok(())
        } else {
            caller.require(Scope::Read, "read series")
        }
    }
}

fn changed(key: &SeriesKey) -> Change {
    Change::Series { bucket: key.bucket.clone(), measurement: key.measurement.clone() }
}

pub(crate) fn check_bucket(bucket: &str) -> Result<()> {
    let ok = (1..=BUCKET_BYTES_MAX).contains(&bucket.len())
        && !bucket.starts_with('_')
        // A grant is a pattern over `bucket/measurement`: a slash would let one bucket pass for another.
        && !bucket.contains('/')
        && !bucket.chars().any(char::is_control);
    if ok {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, format!("`{}` is not a name of a bucket", bucket.escape_debug())).hint(
        format!(
            "use 1 to {BUCKET_BYTES_MAX} bytes, no slash, no control characters, and no underscore at the beginning"
        ),
    ))
}
