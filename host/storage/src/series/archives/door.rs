//! What callers ask of archives: which there are, and to have them back.

use super::index::{self, Archive, State};
use super::old::{self, OldArchive};
use super::restore::{Back, put};
use crate::audit::Entry;
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::retention::{Action, CheckedPlan, PlanReport};
use crate::schema::now_ns;
use crate::series::line_protocol::{self, Mapping, Precision};
use crate::series::query::{Time, between};
use crate::series::{Budget, Selector, SeriesKey};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Archives of one page of a list, and those that a report names.
pub const LISTED_MAX: usize = 10_000;

/// Chooses archives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchivesQuery {
    /// `None`: every bucket.
    pub bucket: Option<String>,
    /// A measurement, `*` for any run of characters; `None`: every one.
    pub measurement: Option<String>,
    pub tags: Vec<(String, String)>,
    /// Those with rows in this range; the end is not in it.
    pub start: Option<Time>,
    pub end: Option<Time>,
    /// `None`: those in use, which are `copy` and `only`.
    pub state: Option<String>,
    /// Those with a greater number.
    pub after: Option<i64>,
    /// At most [`LISTED_MAX`], which it is by default.
    pub limit: Option<u64>,
}

impl ArchivesQuery {
    fn selector(&self) -> Selector {
        Selector {
            bucket: self.bucket.clone(),
            measurement: self.measurement.clone(),
            tags: self.tags.clone(),
        }
    }
}

/// What is brought back: the archives that only hold the rows and touch the range, each of them whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restore {
    /// `None`: the manifest's `series.bucket`.
    pub bucket: Option<String>,
    /// A measurement, `*` for any run of characters. Not with `file`.
    pub measurement: Option<String>,
    pub tags: Vec<(String, String)>,
    pub start: Option<Time>,
    pub end: Option<Time>,
    /// `STORE/PATH` of an archive of line protocol, of before there was an index.
    pub file: Option<String>,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// Rows that are archived by hand: as a policy would, by the same rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archiving {
    /// `None`: the manifest's `series.bucket`.
    #[serde(default)]
    pub bucket: Option<String>,
    /// A measurement, `*` for any run of characters.
    pub measurement: String,
    #[serde(default)]
    pub tags: Vec<(String, String)>,
    pub store: String,
    /// Rows before this time.
    pub before: Time,
    /// The rows stay in the engine, too.
    #[serde(default)]
    pub copy: bool,
    /// More than `safety.max_drop_share` may leave the engine.
    #[serde(default)]
    pub confirm: bool,
    #[serde(default)]
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArchivedByHand {
    pub plan: CheckedPlan,
    /// `None` of a dry run, and where no chosen series has such rows.
    pub report: Option<PlanReport>,
}

/// What was brought back, or would be.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Restored {
    pub dry_run: bool,
    pub series: u64,
    /// Files, and rows in them.
    pub files: u64,
    pub rows: u64,
    /// Rows that were new to the engine, or got values that it did not have.
    pub written: u64,
    /// The first [`LISTED_MAX`] of the files.
    pub archives: Vec<Archive>,
    pub old: Option<OldArchive>,
}

/// Gets rows that were looked at, and how many there are.
pub type RestoreProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// The archives of a data layer (borrowed from it).
#[derive(Debug)]
pub struct Archives<'a> {
    pub(crate) layer: &'a DataLayer,
}

impl Archives<'_> {
    /// In the order of their numbers; only of series that the caller may read.
    pub fn list(&self, caller: &Caller, query: &ArchivesQuery) -> Result<Vec<Archive>> {
        if !matches!(caller, Caller::Plugin { .. }) {
            caller.require(Scope::Read, "list archives")?;
        }
        let limit = query.limit.unwrap_or(LISTED_MAX as u64);
        if limit > LISTED_MAX as u64 {
            return Err(Error::limit(format!("a page of {limit} archives"), LISTED_MAX, "page with `after`"));
        }
        let range = between(query.start.as_ref(), query.end.as_ref(), chrono_tz::Tz::UTC)?;
        let state: Option<State> = query.state.as_deref().map(str::parse).transpose()?;
        let selector = query.selector();
        let chosen = |a: &Archive| {
            state.map_or(matches!(a.state, State::Copy | State::Only), |s| s == a.state)
                && selector.matches(&a.key)
                && a.overlaps(range)
                && caller.may_read_series(&a.key.bucket, &a.key.measurement).is_ok()
        };
        let limit = usize::try_from(limit).unwrap_or(LISTED_MAX);
        let after = query.after.unwrap_or_default();
        self.layer.database().read(|c| index::page(c, &chosen, after, limit))
    }

    /// Files of line protocol, of before there was an index. Admin: their series are not known before they are read.
    pub fn old(&self, caller: &Caller) -> Result<Vec<OldArchive>> {
        caller.require(Scope::Admin, "list old archives")?;
        old::list(self.layer.files())
    }

    /// Writes old rows of the chosen series into files, and takes them out of the engine: a plan of retention, checked, executed and
    /// audited as that of a plugin. Admin. `progress` gets steps done, and how many there are.
    pub fn archive(
        &self,
        caller: &Caller,
        request: &Archiving,
        progress: RestoreProgress<'_>,
    ) -> Result<ArchivedByHand> {
        caller.require(Scope::Admin, "archive series")?;
        let before = request.before.resolve("before", chrono_tz::Tz::UTC)?;
        let bucket = request.bucket.clone().unwrap_or_else(|| self.layer.manifest().series.bucket.clone());
        let selector = Selector {
            bucket: Some(bucket),
            measurement: Some(request.measurement.clone()),
            tags: request.tags.clone(),
        };
        let mut actions = Vec::new();
        for info in self.layer.series().live().list(&selector)? {
            if info.min_time.is_none_or(|t| t >= before) {
                continue;
            }
            let (key, store) = (info.key, request.store.clone());
            actions.push(Action::Archive { key: key.clone(), store, before });
            if !request.copy {
                actions.push(Action::DropBefore { key, before });
            }
        }
        let retention = self.layer.retention();
        let now = retention.now(now_ns())?;
        let plan = retention.check(caller, actions, now, request.confirm)?;
        if request.dry_run || plan.steps.is_empty() {
            return Ok(ArchivedByHand { plan, report: None });
        }
        if let Some(why) = &plan.needs_confirmation {
            return Err(Error::denied(why.clone())
                .hint("look at it with --dry-run, and say --confirm if that is what is meant"));
        }
        let total = plan.steps.len() as u64;
        let report = retention.execute(caller, &plan, &mut |done| progress(done, total))?;
        Ok(ArchivedByHand { plan, report: Some(report) })
    }

    /// Durable when it returns; what it had written when it was cut off stays, and the same call goes on from there. Admin; audited.
    pub fn restore(
        &self,
        caller: &Caller,
        request: &Restore,
        budget: &Budget,
        progress: RestoreProgress<'_>,
    ) -> Result<Restored> {
        caller.require(Scope::Admin, "restore archives")?;
        let named = request.measurement.is_some() || !request.tags.is_empty();
        let ranged = request.start.is_some() || request.end.is_some();
        match (&request.file, &request.measurement) {
            (Some(_), _) if named || ranged => {
                Err(Error::invalid("a file is brought back whole, whatever series it is of")
                    .hint("give `file`, or `measurement` with tags and a range"))
            }
            (Some(file), _) => self.restore_old(caller, request, file, budget, progress),
            (None, None) => Err(Error::invalid("nothing says which series are brought back")
                .hint("name a `measurement`, `*` for all of them")),
            (None, Some(_)) => self.restore_chosen(caller, request, budget, progress),
        }
    }

    fn restore_chosen(
        &self,
        caller: &Caller,
        request: &Restore,
        budget: &Budget,
        progress: RestoreProgress<'_>,
    ) -> Result<Restored> {
        let series = self.layer.series();
        let archived = series.archives()?;
        let range = between(request.start.as_ref(), request.end.as_ref(), chrono_tz::Tz::UTC)?;
        let bucket = request.bucket.clone().unwrap_or_else(|| self.layer.manifest().series.bucket.clone());
        let selector = Selector {
            bucket: Some(bucket.clone()),
            measurement: request.measurement.clone(),
            tags: request.tags.clone(),
        };
        let mut out = Restored { dry_run: request.dry_run, ..Restored::default() };
        let mut keys: Vec<SeriesKey> = Vec::new();
        for key in archived.chosen_keys(&selector) {
            let chosen = archived.read(&key, range);
            if chosen.is_empty() {
                continue;
            }
            out.series += 1;
            out.files += chosen.len() as u64;
            out.rows += chosen.iter().map(|a| a.rows).sum::<u64>();
            let room = LISTED_MAX.saturating_sub(out.archives.len());
            out.archives.extend(chosen.iter().take(room).map(|a| a.as_ref().clone()));
            keys.push(key);
        }
        if request.dry_run || keys.is_empty() {
            return Ok(out);
        }
        self.layer.disk().writable()?;
        // A plan that drops what is brought back would find it in the middle.
        let _plans = self.layer.retaining();
        let measurement = request.measurement.as_deref().unwrap_or("*");
        let detail = json!({
            "tags": request.tags, "start": range.start, "end": range.end, "files": out.files, "rows": out.rows,
        });
        let entry = Entry::new(caller, "series.restore", format!("series:{bucket}/{measurement}"));
        self.layer.audit().record(&entry.detail(detail))?;
        let alone = || -> Result<_> {
            let turn = series.alone();
            series.settled()?;
            self.layer.disk().writable()?;
            Ok(turn)
        };
        let live = series.live();
        let back = Back { archived, live: live.as_ref(), caller, budget };
        let (mut looked, total) = (0, out.rows);
        progress(0, total);
        out.rows = 0;
        for key in keys {
            let mut step = |rows| {
                looked += rows;
                progress(looked, total);
            };
            let (_, written) = back.series(&key, range, &alone, &mut step).map_err(|e| told(e, looked))?;
            out.written += written;
        }
        out.rows = looked;
        Ok(out)
    }

    fn restore_old(
        &self,
        caller: &Caller,
        request: &Restore,
        file: &str,
        budget: &Budget,
        progress: RestoreProgress<'_>,
    ) -> Result<Restored> {
        let (store, path) = file.split_once('/').ok_or_else(|| {
            Error::invalid(format!("`{}` is no file of a store", file.escape_debug()))
                .hint("write STORE/PATH, as `shiphold series archives --old` lists it")
        })?;
        let files = self.layer.files();
        let old = old::find(files, store, path)?;
        let mut out = Restored {
            dry_run: request.dry_run,
            series: 1,
            files: 1,
            rows: old.rows,
            old: Some(old.clone()),
            ..Restored::default()
        };
        if request.dry_run {
            return Ok(out);
        }
        self.layer.disk().writable()?;
        let object = format!("file:{store}/{path}");
        let detail = json!({ "bucket": old.bucket, "rows": old.rows });
        self.layer.audit().record(&Entry::new(caller, "series.restore", &object).detail(detail))?;
        let series = self.layer.series();
        let (live, all) = (series.live(), series.engine());
        // No plan drops what comes back meanwhile.
        let _plans = self.layer.retaining();
        let (mut looked, total) = (0, old.rows);
        progress(0, total);
        out.rows = 0;
        let mapping = Mapping { scales: Some(series.scales()), ..Mapping::default() };
        old::parts(files, &old, &mut |part| {
            budget.check()?;
            let batch = line_protocol::parse_mapped(&old.bucket, part, Precision::Ns, 0, &mapping)?;
            for (key, frame) in batch.series {
                looked += frame.len() as u64;
                let _turn = series.alone();
                series.settled()?;
                out.written += put(live.as_ref(), all.as_ref(), &key, frame, budget)?;
            }
            progress(looked, total);
            Ok(())
        })
        .map_err(|e| told(e, looked))?;
        out.rows = looked;
        let detail = json!({ "rows": looked, "written": out.written });
        self.layer.audit().record(&Entry::new(caller, "series.restored", object).detail(detail))?;
        Ok(out)
    }
}

fn told(e: Error, rows: u64) -> Error {
    let e = e.context(format!("{rows} rows are back, and the same restore goes on from there"));
    match e.kind() {
        Kind::Cancelled => Error::new(Kind::Cancelled, e.message().replace("the query", "the restore")),
        _ => e,
    }
}
