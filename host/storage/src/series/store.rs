//! The door to the series: checks the caller, the limits and the disk, then asks the engine.

use super::coverage::{self, Coverage, CoverageQuery};
use super::decimals::{self, DecimalEngine, Face, Scales};
use super::exchange::import::{Desk, Import, ImportProgress, Imported, Positions};
use super::flux_query::{self, FluxQuery, TableSink};
use super::line_protocol::{self, Mapping, Precision};
use super::query::{self, Explanation, Query, Sessions, Table};
use super::revisions::{Recorder, Rules};
use super::tail::{self, History, Tail, Wanted};
use super::units::{Read, Units, misfit};
use super::{
    Budget, CompactReport, DeleteReport, EngineStats, Fault, Frame, FrameStream, Latest, Selector,
    SeriesEngine, SeriesInfo, SeriesKey, TimeRange, WriteBatch, WriteReport, exchange, kinds,
};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::changes::{Change, Changes};
use crate::disk::DiskGuard;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Limits, Manifest};
use crate::rollups::Watch;
use crate::schema::now_ns;
use crate::sqlite::Database;
use crate::units::Span;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Bytes of a bucket's name.
pub const BUCKET_BYTES_MAX: usize = 255;

/// Looking for rows at the times of a plugin's batch; other writers wait that long at most.
pub const LOOK_TIME_MAX: Duration = Duration::from_millis(500);

/// The series of a host.
#[derive(Debug)]
pub struct SeriesStore {
    engine: Arc<dyn SeriesEngine>,
    /// The same engine for whoever knows no decimals: they are floats to him.
    floats: Arc<dyn SeriesEngine>,
    /// It stands before the one that stores, and knows no decimals either: they are integers to it.
    recorder: Arc<Recorder>,
    scales: Arc<Scales>,
    pub(super) limits: Limits,
    pub(super) bucket: String,
    /// `[calendars.NAME]`
    calendars: BTreeMap<String, kinds::Session>,
    pub(super) disk: Arc<DiskGuard>,
    pub(super) audit: Arc<Audit>,
    /// Where files are imported.
    pub(super) desk: Desk,
    /// Held alone by a writer that may only add: no row comes between its look and its write.
    adding: RwLock<()>,
    changes: Arc<Changes>,
    /// Present in a host: who reads one store must not see a commit that is not in another yet.
    units: Option<Units>,
}

/// How a write stands to others.
enum Turn<'a> {
    Beside { _lock: RwLockReadGuard<'a, ()> },
    Alone { _lock: RwLockWriteGuard<'a, ()> },
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

    /// Waits for a commit that is in one store and not yet in another.
    fn pass(&self) -> Result<()> {
        self.units.as_ref().map_or(Ok(()), |units| units.pass(&self.adding, self.recorder.as_ref()))
    }

    /// [`SeriesStore::pass`] for who changes rows.
    fn pass_to_write(&self) -> Result<()> {
        self.units.as_ref().map_or(Ok(()), |units| units.pass_to_write(&self.adding, self.recorder.as_ref()))
    }

    /// What is read, as of one instant with regard to commits.
    fn at_once<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        match &self.units {
            Some(units) => units.at_once(&self.adding, |_| read().map(Read::Held)),
            None => read(),
        }
    }

    /// Keeps other callers from writing.
    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.adding.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies what earlier commits left, by whoever has [`SeriesStore::alone`].
    pub(crate) fn settled(&self) -> Result<()> {
        self.units.as_ref().map_or(Ok(()), |units| units.settle(self.recorder.as_ref()))
    }

    /// A batch as it is stored, if every row of it would be; else an error that says why not, or that this cannot be told.
    pub(crate) fn takes_all(&self, batch: WriteBatch) -> Result<WriteBatch> {
        let (stored, report) = decimals::stored(&self.scales, batch)?;
        if let Some(conflict) = report.conflicts.first() {
            return Err(misfit(conflict));
        }
        self.recorder.takes(&stored)?;
        Ok(stored)
    }

    /// The rows of a commit that is durable, as they are stored, by whoever has [`SeriesStore::alone`]. What cannot be applied now is
    /// tried again before anybody reads or writes.
    pub(crate) fn apply_commit(&self, caller: &Caller, batch: WriteBatch, id: i64) {
        let Some(units) = &self.units else { return };
        let names: BTreeSet<Change> = batch.series.iter().map(|(key, _)| changed(key)).collect();
        units.apply(self.recorder.as_ref(), batch, id);
        if self.changes.wanted(caller) {
            self.changes.tell(names);
        }
    }

    /// What callers see, without the host's own logs.
    pub fn engine(&self) -> &Arc<dyn SeriesEngine> {
        &self.engine
    }

    /// Everything that is stored, for what copies all of it.
    pub(crate) fn stored(&self) -> &Arc<dyn SeriesEngine> {
        self.recorder.stored()
    }

    /// A step of the background work on revisions; call it about once a second.
    pub(crate) fn maintain(&self, db: &Database) -> Result<()> {
        self.recorder.maintain(db, now_ns())
    }

    /// Drops rows for retention: unlike those of a delete, they are gone from what was known before, too.
    pub(crate) fn forget(&self, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        self.pass_to_write()?;
        self.desk.positions().forget_of(selector)?;
        self.recorder.forget(selector, range)
    }

    /// The engine that answers a query: of now, or as it was known at a time.
    fn answering(&self, query: &mut Query) -> Result<Arc<dyn SeriesEngine>> {
        let Some(time) = query.as_known_at.take() else { return Ok(self.engine.clone()) };
        let zone = kinds::zone("timezone", query.timezone.as_deref())?;
        let known = self.recorder.as_known_at(time.resolve("as_known_at", zone)?)?;
        Ok(DecimalEngine::over(known, &self.scales, Face::Exact))
    }

    /// Durable on return. A plugin without `overwrite` only adds. Whole numbers in fields that are floats by definition
    /// (a bar's volume) become floats, and numbers in fields that are declared as decimals become those.
    pub fn write(&self, caller: &Caller, batch: WriteBatch) -> Result<WriteReport> {
        let batch = self.checked(caller, batch)?;
        self.pass_to_write()?;
        self.disk.writable()?;
        let _turn = match caller {
            Caller::Plugin { name, grants } if !grants.overwrite => {
                let lock = self.adding.write().unwrap_or_else(PoisonError::into_inner);
                let budget = Budget { deadline: Some(Instant::now() + LOOK_TIME_MAX), ..Budget::default() };
                for (key, frame) in &batch.series {
                    self.only_adds(name, key, frame, &budget)?;
                }
                Turn::Alone { _lock: lock }
            }
            _ => Turn::Beside { _lock: self.adding.read().unwrap_or_else(PoisonError::into_inner) },
        };
        let names: Option<BTreeSet<Change>> =
            self.changes.wanted(caller).then(|| batch.series.iter().map(|(key, _)| changed(key)).collect());
        let report = self.engine.write(batch)?;
        if let Some(names) = names {
            self.changes.tell(names);
        }
        Ok(report)
    }

    /// A batch as it may be stored.
    pub(crate) fn checked(&self, caller: &Caller, mut batch: WriteBatch) -> Result<WriteBatch> {
        if batch.rows() as u64 > self.limits.write_rows {
            return Err(Error::limit(
                format!("the batch of {} rows", batch.rows()),
                format!("limits.write_rows = {}", self.limits.write_rows),
                "send smaller batches, or raise `limits.write_rows` in shiphold.toml",
            ));
        }
        self.allow(caller, &mut batch)?;
        Ok(batch)
    }

    /// May the caller write such rows? Whole numbers in fields that are floats by definition become floats.
    fn allow(&self, caller: &Caller, batch: &mut WriteBatch) -> Result<()> {
        for (key, frame) in &mut batch.series {
            caller.may_write_series(&key.bucket, &key.measurement)?;
            check_bucket(&key.bucket)?;
            kinds::check_levels(&key.measurement, frame)?;
            let scales = self.scales.of(&key.bucket, &key.measurement);
            kinds::fit(&key.measurement, frame, |field| scales.scale(field).is_none());
        }
        Ok(())
    }

    /// Lets the fields of a CSV file that are decimals by the manifest stay texts: they become decimals where they are written.
    pub(super) fn keep_digits(&self, plan: &mut exchange::import::Plan) {
        let one = plan.only_measurement().map(|m| self.scales.of(&plan.bucket, m));
        let scales = one.clone().unwrap_or_else(|| self.scales.of_bucket(&plan.bucket));
        for field in plan.fields.iter_mut().filter(|f| f.of == Some(super::FieldType::Float)) {
            match (scales.scale(&field.name), &one) {
                (None, _) => {}
                (Some(_), Some(_)) => (field.of, field.decimal) = (Some(super::FieldType::String), true),
                (Some(_), None) => field.exact = true,
            }
        }
    }

    /// Lets the fields of a Parquet file that are decimals there and in the manifest keep their units.
    pub(super) fn keep_units(&self, plan: &mut exchange::import::Plan, is_decimal: impl Fn(usize) -> bool) {
        let one = plan.only_measurement().map(|m| self.scales.of(&plan.bucket, m));
        let scales = one.unwrap_or_else(|| self.scales.of_bucket(&plan.bucket));
        for field in plan.fields.iter_mut().filter(|f| f.of == Some(super::FieldType::Float)) {
            field.decimal = is_decimal(field.column) && scales.scale(&field.name).is_some();
        }
        plan.scales = self.scales.clone();
    }

    /// Looks at a batch as [`SeriesStore::write`] does, and writes nothing.
    pub(super) fn admit(&self, caller: &Caller, batch: &mut WriteBatch) -> Result<()> {
        self.allow(caller, batch)?;
        self.engine.admit(batch)
    }

    /// Refuses rows of a plugin at times that are taken.
    fn only_adds(&self, name: &str, key: &SeriesKey, frame: &Frame, budget: &Budget) -> Result<()> {
        let (Some(first), Some(last)) = (frame.times.iter().min(), frame.times.iter().max()) else {
            return Ok(());
        };
        let new: BTreeSet<i64> = frame.times.iter().copied().collect();
        let range = TimeRange { start: *first, end: last.saturating_add(1) };
        for there in self.engine.scan(key, range, None, budget)? {
            let there = there.map_err(|e| match e.kind() {
                Kind::Timeout => Error::limit(
                    format!("looking for rows of `{key}` that the plugin would replace"),
                    format!("{} ms", LOOK_TIME_MAX.as_millis()),
                    "write rows whose times are near each other, or set `grants.overwrite = true` of the plugin",
                ),
                _ => e,
            })?;
            if let Some(time) = there.times.iter().find(|t| new.contains(t)) {
                return Err(Error::conflict(format!(
                    "plugin `{name}` may only add, and `{key}` has a row at {time} ns"
                ))
                .hint(
                    "set `grants.overwrite = true` of the plugin in shiphold.toml if it may replace rows",
                ));
            }
        }
        Ok(())
    }

    /// Line protocol; maps lines to typed measurements (docs/line-protocol.md).
    pub fn write_lines(
        &self,
        caller: &Caller,
        bucket: &str,
        body: &[u8],
        precision: Precision,
    ) -> Result<WriteReport> {
        let batch = self.parsed(caller, Some(bucket), body, precision)?;
        if batch.series.is_empty() {
            return Ok(WriteReport::default());
        }
        self.write(caller, batch)
    }

    /// The rows of line protocol.
    pub(crate) fn parsed(
        &self,
        caller: &Caller,
        bucket: Option<&str>,
        body: &[u8],
        precision: Precision,
    ) -> Result<WriteBatch> {
        // Before any work is done for someone who may not write at all.
        if !matches!(caller, Caller::Plugin { .. }) {
            caller.require(Scope::Write, "write series")?;
        }
        let bucket = bucket.unwrap_or(&self.bucket);
        check_bucket(bucket)?;
        self.disk.writable()?;
        let mapping =
            Mapping { scales: Some(self.scales.as_ref()), ..Mapping::typed(self.limits.write_rows) };
        line_protocol::parse_mapped(bucket, body, precision, now_ns(), &mapping)
    }

    /// Answers a query within the host's limits; `budget` adds a cancel flag or a nearer deadline.
    pub fn query(&self, caller: &Caller, query: &Query, budget: &Budget) -> Result<Table> {
        let mut query = self.permitted(caller, query)?;
        let engine = self.answering(&mut query)?;
        let budget = self.budget(budget);
        self.at_once(|| query::execute(engine.as_ref(), &query, &budget, self.limits.query_rows))
    }

    /// Runs a query and says, in place of its rows, what it took.
    pub fn explain(&self, caller: &Caller, query: &Query, budget: &Budget) -> Result<Explanation> {
        let mut query = self.permitted(caller, query)?;
        let engine = self.answering(&mut query)?;
        query::explain(engine.as_ref(), &query, &self.budget(budget), self.limits.query_rows)
    }

    /// [`SeriesStore::query`] batch by batch, without the answer ever being held. The limit on time covers all of it, with what
    /// `sink` takes. An answer of one batch is of one instant; of a longer one each series is.
    pub fn query_into(
        &self,
        caller: &Caller,
        query: &Query,
        budget: &Budget,
        sink: &mut query::Sink<'_>,
    ) -> Result<query::Done> {
        let mut query = self.permitted(caller, query)?;
        let budget = self.budget(budget);
        let engine = self.answering(&mut query)?;
        let Some(units) = &self.units else {
            return query::execute_into(engine.as_ref(), &query, &budget, self.limits.query_rows, sink);
        };
        let (last, done) = units.at_once(&self.adding, |no_commit| {
            let (mut held, mut handed_out) = (None, false);
            let mut take = |frame| match held.replace(frame) {
                None => Ok(()),
                Some(before) => {
                    handed_out = true;
                    // Whoever takes the answer may be slow.
                    *no_commit = None;
                    sink(before)
                }
            };
            let done =
                query::execute_into(engine.as_ref(), &query, &budget, self.limits.query_rows, &mut take)?;
            Ok(if handed_out { Read::HandedOut((held, done)) } else { Read::Held((held, done)) })
        })?;
        last.map_or(Ok(()), sink)?;
        Ok(done)
    }

    /// Whole series into `out`, in bounded memory. No limit on rows, and none on time but the budget's own: who writes out
    /// years of ticks means it.
    pub fn export(
        &self,
        caller: &Caller,
        request: &exchange::Export,
        format: exchange::Format,
        budget: &Budget,
        out: &mut (dyn Write + Send),
    ) -> Result<exchange::Exported> {
        let mut request = request.clone();
        let bucket = request.bucket.get_or_insert_with(|| self.bucket.clone());
        caller.may_read_series(bucket, &request.measurement)?;
        self.pass()?;
        exchange::export(self.engine.as_ref(), &request, format, budget, out)
    }

    /// A query with what it leaves to the manifest, if the caller may read all that it names.
    fn permitted(&self, caller: &Caller, query: &Query) -> Result<Query> {
        self.pass()?;
        let mut query = query.clone();
        query.bucket.get_or_insert_with(|| self.bucket.clone());
        for (bucket, measurement) in query.reads() {
            caller.may_read_series(bucket.unwrap_or(&self.bucket), measurement)?;
        }
        self.calendar(&mut query.session)?;
        Ok(query)
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

    /// Answers a query in Flux table by table, from what the caller may read. Of a bucket that is none there are no tables:
    /// `buckets::require` tells.
    pub fn flux(
        &self,
        caller: &Caller,
        query: &FluxQuery,
        budget: &Budget,
        sink: &mut TableSink<'_>,
    ) -> Result<()> {
        self.may_look(caller)?;
        let readable = |key: &SeriesKey| caller.may_read_series(&key.bucket, &key.measurement).is_ok();
        let budget = self.budget(budget);
        flux_query::run(self.floats.as_ref(), query, &budget, self.limits.query_rows, &readable, sink)
    }

    /// Hears of every row that is written to the series of a pattern from now on; with `from`, beside that the rows from that
    /// time on that are there now, and none of them twice. With InfluxDB as the engine a row that is written while those are
    /// read may come with them too.
    pub fn tail(
        &self,
        caller: &Caller,
        bucket: Option<&str>,
        measurement: &str,
        from: Option<i64>,
        budget: &Budget,
    ) -> Result<(Tail, History)> {
        let bucket = bucket.unwrap_or(&self.bucket).to_string();
        if measurement.is_empty() {
            return Err(Error::invalid("nothing says which series to listen to")
                .hint("give a measurement, such as `bar.1m.*`; `*` means every one"));
        }
        caller.may_read_series(&bucket, measurement)?;
        self.pass()?;
        let wanted = Wanted { bucket, measurement: measurement.into(), caller: caller.clone() };
        let history = || match from {
            Some(from) => self.history(&wanted, from, budget),
            None => Ok(History::new()),
        };
        let tails = self.recorder.tails();
        // A scan of the embedded engine is of the moment at which it begins; InfluxDB is asked when rows are taken, and must not
        // keep writers waiting.
        if self.engine.capabilities().maintained_here {
            tails
                .listen(wanted.clone(), history)
                .map(|(tail, rows)| (tail.showing(self.scales.clone()), rows))
        } else {
            let (tail, ()) = tails.listen(wanted.clone(), || Ok(()))?;
            Ok((tail.showing(self.scales.clone()), history()?))
        }
    }

    fn history(&self, wanted: &Wanted, from: i64, budget: &Budget) -> Result<History> {
        let of = Selector {
            bucket: Some(wanted.bucket.clone()),
            measurement: Some(wanted.measurement.clone()),
            tags: Vec::new(),
        };
        let range = TimeRange { start: from, end: i64::MAX };
        let mut series = self.engine.choose(&of, budget)?;
        series.retain(|info| info.max_time.is_some_and(|t| t >= from) && wanted.takes(&info.key));
        if series.len() > tail::HISTORY_SERIES_MAX {
            return Err(Error::limit(
                format!("the history of {} series", series.len()),
                format!("{} series", tail::HISTORY_SERIES_MAX),
                "choose fewer with the pattern, or leave `from` out",
            ));
        }
        let open = |info: SeriesInfo| {
            let rows = self.engine.scan(&info.key, range, None, budget)?;
            Ok((info.key, rows))
        };
        series.into_iter().map(open).collect()
    }

    /// Of a field that is a decimal: the digits after its point.
    pub fn scale(&self, key: &SeriesKey, field: &str) -> Option<u8> {
        self.scales.of(&key.bucket, &key.measurement).scale(field)
    }

    /// The host's own deadline, or a nearer one.
    pub fn budget(&self, given: &Budget) -> Budget {
        let own = Instant::now() + self.limits.query_time.0;
        Budget { deadline: Some(given.deadline.map_or(own, |d| d.min(own))), ..given.clone() }
    }

    pub fn scan(
        &self,
        caller: &Caller,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        caller.may_read_series(&key.bucket, &key.measurement)?;
        self.pass()?;
        self.engine.scan(key, range, fields, &self.budget(budget))
    }

    /// Only what the caller may read; `as_known_at`, in nanoseconds: as it was known at that time.
    pub fn latest(
        &self,
        caller: &Caller,
        selector: &Selector,
        as_known_at: Option<i64>,
        budget: &Budget,
    ) -> Result<Vec<Latest>> {
        self.may_look(caller)?;
        let budget = self.budget(budget);
        let mut all = self.at_once(|| match as_known_at {
            None => self.engine.latest(selector),
            Some(at) => {
                let units = self.recorder.latest_as_known_at(at, selector, &budget)?;
                Ok(decimals::newest(&self.scales, Face::Exact, units))
            }
        })?;
        all.retain(|l| caller.may_read_series(&l.key.bucket, &l.key.measurement).is_ok());
        Ok(all)
    }

    /// Only what the caller may read.
    pub fn list(&self, caller: &Caller, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        self.readable(caller, self.engine.as_ref(), selector)
    }

    fn readable(
        &self,
        caller: &Caller,
        engine: &dyn SeriesEngine,
        selector: &Selector,
    ) -> Result<Vec<SeriesInfo>> {
        self.may_look(caller)?;
        let mut all = self.at_once(|| engine.list(selector))?;
        all.retain(|s| caller.may_read_series(&s.key.bucket, &s.key.measurement).is_ok());
        Ok(all)
    }

    /// The buckets of the engine and how long it keeps their rows. Not for plugins: they see series, not the server.
    pub fn retentions(&self, caller: &Caller) -> Result<BTreeMap<String, Option<Span>>> {
        if matches!(caller, Caller::Plugin { .. }) {
            return Ok(BTreeMap::new());
        }
        caller.require(Scope::Read, "look at buckets")?;
        self.engine.retentions()
    }

    /// What the chosen series have and where rows are missing; only what the caller may read.
    pub fn coverage(&self, caller: &Caller, query: &CoverageQuery, budget: &Budget) -> Result<Vec<Coverage>> {
        self.may_look(caller)?;
        let budget = self.budget(budget);
        let mut query = query.clone();
        let engine = match query.as_known_at.take() {
            None => self.engine.clone(),
            Some(time) => self.recorder.as_known_at(time.resolve("as_known_at", chrono_tz::Tz::UTC)?)?,
        };
        self.calendar(&mut query.session)?;
        let readable = |s: &SeriesInfo| caller.may_read_series(&s.key.bucket, &s.key.measurement).is_ok();
        self.at_once(|| {
            let mut series = engine.choose(&query.selector(), &budget)?;
            series.retain(|s| s.rows > 0 && readable(s));
            coverage::coverage(engine.as_ref(), series, &query, &budget)
        })
    }

    fn may_look(&self, caller: &Caller) -> Result<()> {
        self.pass()?;
        if matches!(caller, Caller::Plugin { .. }) {
            Ok(())
        } else {
            caller.require(Scope::Read, "read series")
        }
    }

    /// Admin; audited before the first row goes and again when all are gone; allowed on a read-only disk.
    pub fn delete(&self, caller: &Caller, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        caller.require(Scope::Admin, "delete series")?;
        self.pass_to_write()?;
        let object = format!(
            "series:{}/{}",
            selector.bucket.as_deref().unwrap_or("*"),
            selector.measurement.as_deref().unwrap_or("*")
        );
        let asked = json!({ "tags": selector.tags, "start": range.start, "end": range.end });
        self.audit.record(&Entry::new(caller, "series.delete", &object).detail(asked))?;
        self.desk.positions().forget_of(selector)?;
        let result = self.disk.make_room(|| self.engine.delete(selector, range));
        let done = match &result {
            Ok(report) => json!({ "ok": true, "series": report.series, "rows": report.rows }),
            Err(e) => json!({ "ok": false, "error": e.to_string() }),
        };
        self.audit.record(&Entry::new(caller, "series.deleted", object).detail(done))?;
        result
    }

    /// Rows of a file in Parquet or CSV. All of it is looked at before the first row is written: a file that is wrong anywhere writes
    /// nothing. The rows are written in pieces, each durable before it is noted how far the file is: the same import of the same
    /// file, begun again after it was cut off, goes on from there. Times that are there already are replaced, so it can be run
    /// twice. One file at a time; the next one waits.
    pub fn import(
        &self,
        caller: &Caller,
        input: &mut dyn Read,
        import: &Import,
        budget: &Budget,
        progress: ImportProgress<'_>,
    ) -> Result<Imported> {
        exchange::import::run(self, caller, input, import, budget, progress)
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Grants;
    use crate::series::model_engine::ModelEngine;
    use crate::sqlite::Options;

    const OP: Caller = Caller::Operator;

    pub(in crate::series) fn store(toml: &str) -> (tempfile::TempDir, SeriesStore) {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Manifest::parse(toml, &dir.path().join("shiphold.toml")).unwrap();
        std::fs::create_dir_all(&manifest.host.data).unwrap();
        let db = Arc::new(
            Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
        );
        let limits = crate::manifest::Disk {
            warn_below: crate::units::ByteSize(0),
            read_only_below: crate::units::ByteSize(0),
            reserve: crate::units::ByteSize(0),
        };
        let disk = Arc::new(DiskGuard::new(dir.path(), &limits));
        (
            dir,
            SeriesStore::new(
                Arc::new(ModelEngine::default()),
                &manifest,
                disk,
                Arc::new(Audit::new(db)),
                Arc::default(),
            ),
        )
    }

    fn plugin(read: &[&str], write: &[&str], overwrite: bool) -> Caller {
        let list = |l: &[&str]| l.iter().map(|s| (*s).into()).collect();
        Caller::Plugin {
            name: "p".into(),
            grants: Arc::new(Grants {
                series_read: list(read),
                series_write: list(write),
                overwrite,
                ..Grants::default()
            }),
        }
    }

    #[test]
    fn lines_in_and_rows_out() {
        let (_dir, s) = store("");
        let r = s
            .write_lines(
                &OP,
                "market",
                b"bar,symbol=A,timeframe=1m open=1,high=2,low=1,close=2,volume=5 60",
                Precision::S,
            )
            .unwrap();
        assert_eq!((r.written, r.dropped), (1, 0));
        let q = Query { measurement: "bar.1m.A".into(), ..Query::default() };
        assert_eq!(s.query(&OP, &q, &Budget::default()).unwrap().frame.times, [60_000_000_000]);
        assert_eq!(s.write_lines(&OP, "market", b"# nothing", Precision::S).unwrap(), WriteReport::default());
        for bad in ["", "_internal", "a/b", "a\nb", &"b".repeat(BUCKET_BYTES_MAX + 1)] {
            assert_eq!(
                s.write_lines(&OP, bad, b"m v=1", Precision::S).unwrap_err().kind(),
                Kind::Invalid,
                "{bad}"
            );
        }
        assert!(s.write_lines(&OP, &"b".repeat(BUCKET_BYTES_MAX), b"m v=1", Precision::S).is_ok());
    }

    #[test]
    fn a_batch_has_a_bound() {
        let (_dir, s) = store("[limits]\nwrite_rows = 2");
        assert!(s.write_lines(&OP, "b", b"m v=1 1\nm v=1 2", Precision::Ns).is_ok());
        let e = s.write_lines(&OP, "b", b"m v=1 1\nm v=1 2\nm v=1 3", Precision::Ns).unwrap_err();
        assert_eq!(e.kind(), Kind::Limit);
        assert!(e.message().contains("write_rows"));
    }

    #[test]
    fn scopes_and_grants() {
        let (_dir, s) = store("");
        let token = |scope| Caller::Token { id: 1, name: "t".into(), scope };
        assert_eq!(
            s.write_lines(&token(Scope::Read), "market", b"m v=1", Precision::Ns).unwrap_err().kind(),
            Kind::Denied
        );
        s.write_lines(&token(Scope::Write), "market", b"m v=1 1\nn v=1 1", Precision::Ns).unwrap();
        assert_eq!(
            s.delete(&token(Scope::Write), &Selector::default(), TimeRange::ALL).unwrap_err().kind(),
            Kind::Denied
        );
        let p = plugin(&["market/m"], &["market/out"], false);
        assert_eq!(s.list(&p, &Selector::default()).unwrap().len(), 1);
        assert_eq!(s.latest(&p, &Selector::default(), None, &Budget::default()).unwrap().len(), 1);
        let all = Query { measurement: "*".into(), ..Query::default() };
        assert_eq!(s.query(&p, &all, &Budget::default()).unwrap_err().kind(), Kind::Denied);
        assert_eq!(s.write_lines(&p, "market", b"m v=2 2", Precision::Ns).unwrap_err().kind(), Kind::Denied);
        s.write_lines(&p, "market", b"out v=1 1", Precision::Ns).unwrap();
        s.write_lines(&p, "market", b"out v=1 2", Precision::Ns).unwrap();
        assert_eq!(
            s.write_lines(&p, "market", b"out v=9 2", Precision::Ns).unwrap_err().kind(),
            Kind::Conflict
        );
        s.write_lines(&plugin(&[], &["market/out"], true), "market", b"out v=9 2", Precision::Ns).unwrap();
    }

    #[test]
    fn a_join_reads_only_what_may_be_read() {
        let (_dir, s) = store("");
        s.write_lines(&OP, "market", b"m v=1 5\nn v=2 4", Precision::Ns).unwrap();
        s.write_lines(&OP, "other", b"n v=3 4", Precision::Ns).unwrap();
        let joined = |bucket: Option<&str>, measurement: &str| Query {
            measurement: "m".into(),
            asof: Some(query::Asof {
                bucket: bucket.map(String::from),
                measurement: measurement.into(),
                ..query::Asof::default()
            }),
            ..Query::default()
        };
        let value = |p: &Caller, q: &Query| {
            let table = s.query(p, q, &Budget::default()).map_err(|e| (e.kind(), e.to_string()))?;
            let column = table.column("right_v").unwrap().get(0);
            // The same rows one after another.
            let mut rows = 0;
            s.query_into(p, q, &Budget::default(), &mut |frame| {
                rows += frame.len();
                Ok(())
            })
            .unwrap();
            assert_eq!(rows, table.rows());
            Ok(column.and_then(|v| v.as_f64()))
        };
        let both = plugin(&["market/m", "market/n"], &[], false);
        assert_eq!(value(&both, &joined(None, "n")), Ok(Some(2.0)));
        assert_eq!(value(&OP, &joined(Some("other"), "n")), Ok(Some(3.0)));
        for (bucket, measurement) in [(Some("other"), "n"), (None, "*"), (None, "m*")] {
            let (kind, said) = value(&both, &joined(bucket, measurement)).unwrap_err();
            assert!(kind == Kind::Denied && said.contains("series.read"), "{bucket:?} {measurement}: {said}");
        }
        let left_only = plugin(&["market/m"], &[], false);
        assert_eq!(value(&left_only, &joined(None, "n")).unwrap_err().0, Kind::Denied);
        let right_only = plugin(&["market/n"], &[], false);
        assert_eq!(value(&right_only, &joined(None, "n")).unwrap_err().0, Kind::Denied);
        let e =
            s.query_into(&left_only, &joined(None, "n"), &Budget::default(), &mut |_| Ok(())).unwrap_err();
        assert_eq!(e.kind(), Kind::Denied);
    }

    #[test]
    fn a_session_is_one_of_the_manifest() {
        let (_dir, s) = store("[calendars.short]\ntimezone = \"UTC\"\nopen = \"00:00\"\nclose = \"00:01\"");
        s.write_lines(&OP, "market", b"m v=1 0\nm v=2 61", Precision::S).unwrap();
        let asked = |name: &str| {
            let session = Some(Sessions::Named(name.into()));
            let q = Query { measurement: "m".into(), session, ..Query::default() };
            s.query(&OP, &q, &Budget::default()).map(|t| t.rows())
        };
        assert_eq!(asked("short").unwrap(), 1);
        let e = asked("long").unwrap_err();
        assert!(e.kind() == Kind::Invalid && e.hint_text().unwrap().contains("short"), "{e:?}");
    }

    #[test]
    fn a_book_has_fifty_levels_a_side() {
        let (_dir, s) = store("");
        let write = |field: &str| {
            let line = format!("book,symbol=A {field}=1 1");
            s.write_lines(&OP, "market", line.as_bytes(), Precision::Ns).map_err(|e| e.kind())
        };
        for good in
            ["bid_price_1", "ask_size_50", "bid_size_49", "bid_price", "sequence_51", "bid_price_mean"]
        {
            assert_eq!(write(good).map(|r| r.written), Ok(1), "{good}");
        }
        for bad in ["bid_price_51", "ask_size_0", "bid_size_01", "ask_price_99999999999"] {
            assert_eq!(write(bad), Err(Kind::Limit), "{bad}");
        }
        // What is not the book of a symbol may have fields of any name.
        assert!(s.write_lines(&OP, "market", b"deep bid_price_51=1 1", Precision::Ns).is_ok());
    }

    /// A feed and a plugin write the same times at once: whoever comes first, the plugin replaces nothing.
    #[test]
    fn no_row_comes_between_the_look_of_a_plugin_and_its_write() {
        let (_dir, s) = store("");
        let p = plugin(&[], &["market/m"], false);
        for t in 0..200 {
            let line = |v| format!("m v={v} {t}");
            let refused = std::thread::scope(|scope| {
                let feed = scope.spawn(|| s.write_lines(&OP, "market", line(1).as_bytes(), Precision::Ns));
                let refused = s.write_lines(&p, "market", line(2).as_bytes(), Precision::Ns).is_err();
                feed.join().unwrap().unwrap();
                refused
            });
            let q = Query { measurement: "m".into(), ..Query::default() };
            let table = s.query(&OP, &q, &Budget::default()).unwrap();
            // The feed may replace the plugin's row, never the other way round.
            assert_eq!(
                table.frame.columns[0].get(t),
                Some(super::super::Value::Float(1.0)),
                "{t}, refused {refused}"
            );
        }
    }

    #[test]
    fn whole_numbers_fit_into_fields_of_bars() {
        let (_dir, s) = store("");
        let key = SeriesKey::new("market", "bar.1m.A", Vec::new()).unwrap();
        let write = |values| {
            let columns = vec![super::super::Column::new("volume", values)];
            s.write(&OP, WriteBatch { series: vec![(key.clone(), Frame { times: vec![1], columns })] })
                .unwrap()
        };
        use super::super::Values;
        for values in [Values::Float(vec![1.5]), Values::Integer(vec![-7]), Values::Unsigned(vec![7])] {
            assert_eq!(write(values).dropped, 0);
        }
        let q = Query { measurement: "bar.1m.A".into(), ..Query::default() };
        let table = s.query(&OP, &q, &Budget::default()).unwrap();
        assert_eq!(table.frame.column("volume").unwrap().floats().unwrap(), [7.0]);
    }

    #[test]
    fn a_delete_is_audited() {
        let (_dir, s) = store("");
        s.write_lines(&OP, "market", b"m v=1 1\nm v=1 2", Precision::Ns).unwrap();
        let chosen = Selector { measurement: Some("m".into()), ..Selector::default() };
        assert_eq!(s.delete(&OP, &chosen, TimeRange { start: 0, end: 2 }).unwrap().rows, Some(1));
        let entries = s.audit.list(&OP, &crate::audit::AuditFilter::default()).unwrap();
        let told: Vec<_> = entries.iter().map(|e| (e.action.as_str(), e.detail["rows"].as_u64())).collect();
        assert_eq!(
            told,
            [("series.deleted", Some(1)), ("series.delete", None)],
            "the intent first, then the result"
        );
    }
}
