//! An engine that also answers with rows of archives.

use super::index::{self, Archive, Index, OfSeries, State, info};
use super::merge::{Merged, Of, Wanted};
use super::source::Shelf;
use crate::error::{Error, Kind, Result};
use crate::files::FileStores;
use crate::locks::lock;
use crate::series::pieces::{Piece, PieceStream, Wanted as WantedPieces};
use crate::series::query::chosen;
use crate::series::units::misfit;
use crate::series::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, Frame, FrameStream, Latest,
    LatestField, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TimeStream, TypeConflict,
    WriteBatch, WriteReport,
};
use crate::sqlite::Database;
use crate::units::Span;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Distinct conflicts that a report lists.
const CONFLICTS_MAX: usize = 100;

/// The newest values of a series' archives, and the archives that they are of.
type Newest = (OfSeries, Arc<BTreeMap<String, LatestField>>);

/// A look at what is written to a series before a time.
#[derive(Debug)]
struct Look {
    key: SeriesKey,
    before: i64,
    written: Arc<AtomicBool>,
}

/// Stands before an engine, behind everything that knows what rows mean: revisions and decimals.
#[derive(Debug)]
pub(crate) struct Archived {
    raw: Arc<dyn SeriesEngine>,
    pub(super) index: Arc<Index>,
    pub(super) shelf: Arc<Shelf>,
    /// A scan of the engine gives what there was when it began, also of rows that are dropped meanwhile.
    pinned: bool,
    newest: Mutex<HashMap<SeriesKey, Newest>>,
    looks: Mutex<Vec<Look>>,
    looking: AtomicUsize,
    /// Held while rows are deleted, and by whoever puts rows back.
    deleting: Mutex<()>,
}

impl Archived {
    /// `folder`: where files are copied to be read.
    pub(crate) fn open(
        raw: Arc<dyn SeriesEngine>,
        db: Arc<Database>,
        files: Arc<FileStores>,
        folder: PathBuf,
    ) -> Result<Arc<Self>> {
        let pinned = raw.capabilities().name != "influxdb2";
        Ok(Arc::new(Self {
            raw,
            index: Arc::new(Index::open(db)?),
            shelf: Arc::new(Shelf::new(files, folder)),
            pinned,
            newest: Mutex::default(),
            looks: Mutex::default(),
            looking: AtomicUsize::new(0),
            deleting: Mutex::default(),
        }))
    }

    /// The engine itself.
    pub(crate) fn raw(&self) -> &Arc<dyn SeriesEngine> {
        &self.raw
    }

    /// Are there rows of the series that only an archive has?
    pub(crate) fn holds(&self, key: &SeriesKey) -> bool {
        self.index.of(key).is_some_and(|all| all.iter().any(|a| a.state == State::Only))
    }

    /// The chosen series that have archives in use.
    pub(super) fn chosen_keys(&self, selector: &Selector) -> Vec<SeriesKey> {
        self.index.chosen(selector).into_iter().map(|(key, _)| key).collect()
    }

    /// Those of a series that queries over a range read.
    pub(super) fn read(&self, key: &SeriesKey, range: TimeRange) -> Vec<Arc<Archive>> {
        self.index.of(key).map(|all| touched(&all, range)).unwrap_or_default()
    }

    /// The rows of these archives, without the engine's.
    pub(super) fn rows_of(
        &self,
        archives: Vec<Arc<Archive>>,
        range: TimeRange,
        budget: &Budget,
    ) -> FrameStream {
        let wanted = Wanted { range, fields: None, of: Of::Stored, budget: budget.clone() };
        Box::new(Merged::new(self.shelf.clone(), None, archives, wanted))
    }

    /// [`Archived::rows_of`] with decimals.
    pub(super) fn exact_of(
        &self,
        archives: Vec<Arc<Archive>>,
        range: TimeRange,
        budget: &Budget,
    ) -> FrameStream {
        let wanted = Wanted { range, fields: None, of: Of::Exact, budget: budget.clone() };
        Box::new(Merged::new(self.shelf.clone(), None, archives, wanted))
    }

    /// Notes from now on whether rows of a series before a time are written or deleted. Writers that are at work may not see it:
    /// wait for them. A deletion that is at work counts.
    pub(crate) fn look(&self, key: &SeriesKey, before: i64) -> Looking<'_> {
        let written = Arc::new(AtomicBool::new(false));
        let mut looks = lock(&self.looks);
        looks.push(Look { key: key.clone(), before, written: written.clone() });
        self.looking.store(looks.len(), Ordering::SeqCst);
        drop(looks);
        if self.deleting.try_lock().is_err() {
            written.store(true, Ordering::SeqCst);
        }
        Looking { archived: self, written }
    }

    /// Keeps deletions away.
    pub(super) fn no_deletion(&self) -> MutexGuard<'_, ()> {
        lock(&self.deleting)
    }

    fn note(&self, batch: &WriteBatch) {
        if self.looking.load(Ordering::SeqCst) == 0 {
            return;
        }
        for look in lock(&self.looks).iter() {
            let hit = |(key, frame): &(SeriesKey, Frame)| {
                *key == look.key && frame.times.iter().any(|t| *t < look.before)
            };
            if batch.series.iter().any(hit) {
                look.written.store(true, Ordering::SeqCst);
            }
        }
    }

    /// What begins to be read, as the archives stood before and after the engine was asked: what moves from one to the other
    /// meanwhile is in at least one of them.
    fn begin<T>(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        ask: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<Arc<Archive>>)> {
        let before = self.index.of(key);
        let answer = ask()?;
        let after = self.index.of(key);
        let mut now = after.as_deref().map(|all| touched(all, range)).unwrap_or_default();
        let moved = match (&before, &after) {
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let Some(before) = before.filter(|_| moved) {
            let cut = self.deleted(&before)?;
            now.extend(
                touched(&before, range)
                    .into_iter()
                    .filter(|a| now.iter().all(|n| n.id != a.id) && !cut.contains(&a.id))
                    .collect::<Vec<_>>(),
            );
        }
        Ok((answer, now))
    }

    /// Those of which every row was deleted since.
    fn deleted(&self, archives: &[Arc<Archive>]) -> Result<Vec<i64>> {
        self.index.db.read(|c| {
            let mut gone = Vec::new();
            for archive in archives {
                let state: String = c
                    .prepare_cached("SELECT state FROM archives WHERE id = ?1")?
                    .query_row([archive.id], |r| r.get(0))?;
                if state == State::Deleted.name() {
                    gone.push(archive.id);
                }
            }
            Ok(gone)
        })
    }

    /// Ends a stream with an error once rows that it may not have given yet have left the engine.
    fn guarded<T: Send + 'static>(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        read: &[Arc<Archive>],
        rows: Box<dyn Iterator<Item = Result<T>> + Send>,
    ) -> Box<dyn Iterator<Item = Result<T>> + Send> {
        if self.pinned {
            return rows;
        }
        let read = read.iter().map(|a| a.id).collect();
        Box::new(Guarded { rows, index: self.index.clone(), key: key.clone(), range, read, done: false })
    }

    fn merged(&self, engine: FrameStream, archives: Vec<Arc<Archive>>, wanted: Wanted) -> FrameStream {
        match archives.is_empty() {
            true => engine,
            false => Box::new(Merged::new(self.shelf.clone(), Some(engine), archives, wanted)),
        }
    }

    /// Takes out rows whose fields have other types in archives: the engine does not know these any more.
    fn fitting(&self, batch: WriteBatch) -> Result<(WriteBatch, WriteReport)> {
        let mut report = WriteReport::default();
        let mut out = WriteBatch::default();
        for (key, frame) in batch.series {
            let types = self.index.types(&key);
            let wrong = |c: &crate::series::Column| {
                types.get(&c.name).is_some_and(|have| *have != index::stored_as(c.values.field_type()))
            };
            if types.is_empty() || !frame.columns.iter().any(wrong) {
                out.series.push((key, frame));
                continue;
            }
            frame.validate().map_err(|e| e.context(&key))?;
            let mut keep = vec![true; frame.len()];
            for column in frame.columns.iter().filter(|c| wrong(c)) {
                let mut any = false;
                for (_, keep) in keep.iter_mut().enumerate().filter(|(row, _)| column.is_valid(*row)) {
                    *keep = false;
                    any = true;
                }
                let Some(have) = types.get(&column.name).copied().filter(|_| any) else { continue };
                let conflict = TypeConflict {
                    bucket: key.bucket.clone(),
                    measurement: key.measurement.clone(),
                    field: column.name.clone(),
                    have,
                    got: column.values.field_type(),
                    value: None,
                };
                if report.conflicts.len() < CONFLICTS_MAX && !report.conflicts.contains(&conflict) {
                    report.conflicts.push(conflict);
                }
            }
            report.dropped += keep.iter().filter(|k| !**k).count() as u64;
            let frame = chosen(frame, &keep);
            if !frame.is_empty() {
                out.series.push((key, frame));
            }
        }
        Ok((out, report))
    }

    /// The newest value of each field that the archives of a series have.
    fn newest_of(&self, key: &SeriesKey, all: &OfSeries) -> Result<Arc<BTreeMap<String, LatestField>>> {
        if let Some((of, newest)) = lock(&self.newest).get(key) {
            if Arc::ptr_eq(of, all) {
                return Ok(newest.clone());
            }
        }
        let mut newest: BTreeMap<String, LatestField> = BTreeMap::new();
        let mut archives = touched(all, TimeRange::ALL);
        archives.sort_by_key(|a| std::cmp::Reverse((a.last, a.id)));
        let budget = Budget::default();
        // From the newest times back, until every field of what is left is known to be newer.
        let mut at = 0;
        while let Some(next) = archives.get(at) {
            let known = |name: &String| newest.get(name).is_some_and(|l| l.time > next.last);
            if next.fields.iter().all(|(name, _)| known(name)) {
                at += 1;
                continue;
            }
            let range = TimeRange { start: next.first, end: next.last.saturating_add(1) };
            for frame in self.rows_of(touched(all, range), range, &budget) {
                let frame = frame?;
                for column in &frame.columns {
                    let last = (0..frame.len()).rev().find(|row| column.is_valid(*row));
                    let found = last.and_then(|row| Some((*frame.times.get(row)?, column.get(row)?)));
                    let Some((time, value)) = found else { continue };
                    if newest.get(&column.name).is_none_or(|l| l.time <= time) {
                        let name = column.name.clone();
                        newest.insert(name.clone(), LatestField { name, time, value });
                    }
                }
            }
            at += 1;
        }
        let newest = Arc::new(newest);
        lock(&self.newest).insert(key.clone(), (all.clone(), newest.clone()));
        Ok(newest)
    }

    /// What the engine says, and the archives as they stood before it was asked or stand after it.
    fn beside<T>(
        &self,
        selector: &Selector,
        ask: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<(SeriesKey, OfSeries)>)> {
        let before = self.index.chosen(selector);
        let answer = ask()?;
        let mut after: BTreeMap<SeriesKey, OfSeries> = self.index.chosen(selector).into_iter().collect();
        for (key, was) in before {
            let Some(now) = after.get(&key) else {
                after.insert(key, was);
                continue;
            };
            if Arc::ptr_eq(now, &was) {
                continue;
            }
            let gone = was.iter().filter(|a| a.state == State::Only && now.iter().all(|n| n.id != a.id));
            let mut both: Vec<Arc<Archive>> = gone.chain(now.iter()).cloned().collect();
            both.sort_by_key(|a| a.id);
            after.insert(key, Arc::new(both));
        }
        Ok((answer, after.into_iter().collect()))
    }

    /// The engine's newest values with those of archives that are newer.
    fn with_newest(&self, mut all: Vec<Latest>, archived: Vec<(SeriesKey, OfSeries)>) -> Result<Vec<Latest>> {
        for (key, archives) in archived {
            let only: Vec<&Arc<Archive>> = archives.iter().filter(|a| a.state == State::Only).collect();
            if only.is_empty() {
                continue;
            }
            let at = all.binary_search_by(|l| l.key.cmp(&key));
            let have = at.ok().and_then(|at| all.get(at));
            let time =
                |name: &str| have.and_then(|l| l.fields.iter().find(|f| f.name == name)).map(|f| f.time);
            let known =
                |a: &&Arc<Archive>| a.fields.iter().all(|(name, _)| time(name).is_some_and(|t| t >= a.last));
            if only.iter().all(known) {
                continue;
            }
            let newest = self.newest_of(&key, &archives)?;
            let mut fields: BTreeMap<String, LatestField> = newest.as_ref().clone();
            for field in have.iter().flat_map(|l| &l.fields) {
                if fields.get(&field.name).is_none_or(|f| f.time <= field.time) {
                    fields.insert(field.name.clone(), field.clone());
                }
            }
            let merged = Latest { key, fields: fields.into_values().collect() };
            match at {
                Ok(at) => all.iter_mut().skip(at).take(1).for_each(|l| *l = merged.clone()),
                Err(at) => all.insert(at, merged),
            }
        }
        Ok(all)
    }

    /// The engine's series with what archives have of them, and beside them.
    fn with_archived(all: Vec<SeriesInfo>, chosen: Vec<(SeriesKey, OfSeries)>) -> Vec<SeriesInfo> {
        if chosen.is_empty() {
            return all;
        }
        let mut all: BTreeMap<SeriesKey, SeriesInfo> = all.into_iter().map(|i| (i.key.clone(), i)).collect();
        for (key, archives) in chosen {
            for archive in archives.iter().filter(|a| a.state == State::Only) {
                let more = info(archive);
                let Some(have) = all.get_mut(&key) else {
                    all.insert(key.clone(), more);
                    continue;
                };
                have.rows = have.rows.saturating_add(more.rows);
                have.min_time = have.min_time.into_iter().chain(more.min_time).min();
                have.max_time = have.max_time.into_iter().chain(more.max_time).max();
                for (name, of) in more.fields {
                    if !have.fields.iter().any(|(n, _)| *n == name) {
                        have.fields.push((name, of));
                    }
                }
                have.fields.sort();
            }
        }
        all.into_values().collect()
    }

    /// Rows of a range: of the engine and archives together, and of the engine alone.
    fn count(&self, key: &SeriesKey, range: TimeRange) -> Result<(u64, u64)> {
        let budget = Budget::default();
        let sum = |times: TimeStream| times.map(|t| t.map(|t| t.len() as u64)).sum::<Result<u64>>();
        let all = sum(self.times(key, range, &budget)?)?;
        Ok((all, sum(self.raw.times(key, range, &budget)?)?))
    }

    /// What is left of an archive without a span. Where its rows cannot be read, they are counted as if all others were there.
    fn left(&self, a: &Archive, range: TimeRange) -> Result<Archive> {
        let mut cut = index::cut(a, range)?;
        if cut.state == State::Deleted {
            return Ok(cut);
        }
        let mut digest = super::digest::RowsDigest::default();
        let archive = Arc::new(cut.clone());
        let read = self.shelf.exact(&archive, TimeRange::ALL, None, &Budget::default());
        let read = read.and_then(|mut rows| rows.try_for_each(|f| f.map(|f| digest.add(&f))));
        if let Err(e) = read {
            tracing::warn!(error = %e, "rows were deleted from an archive that cannot be read");
            return Ok(cut);
        }
        match (digest.first, digest.last) {
            (Some(first), Some(last)) => {
                (cut.first, cut.last, cut.rows, cut.fields) = (first, last, digest.rows, digest.fields());
            }
            _ => (cut.rows, cut.state) = (0, State::Deleted),
        }
        Ok(cut)
    }
}

/// Those that queries over a range read.
fn touched(all: &[Arc<Archive>], range: TimeRange) -> Vec<Arc<Archive>> {
    all.iter().filter(|a| a.state == State::Only && a.overlaps(range)).cloned().collect()
}

/// A look that is over when it is dropped.
#[derive(Debug)]
pub(crate) struct Looking<'a> {
    archived: &'a Archived,
    written: Arc<AtomicBool>,
}

impl Looking<'_> {
    /// Were rows written or deleted since?
    pub(crate) fn written(&self) -> bool {
        self.written.load(Ordering::SeqCst)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut looks = lock(&self.archived.looks);
        looks.retain(|l| !Arc::ptr_eq(&l.written, &self.written));
        self.archived.looking.store(looks.len(), Ordering::SeqCst);
    }
}

/// See [`Archived::guarded`].
struct Guarded<T> {
    rows: Box<dyn Iterator<Item = Result<T>> + Send>,
    index: Arc<Index>,
    key: SeriesKey,
    range: TimeRange,
    read: Vec<i64>,
    done: bool,
}

impl<T> Iterator for Guarded<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.done {
            return None;
        }
        let next = self.rows.next();
        let now = self.index.of(&self.key).map(|all| touched(&all, self.range)).unwrap_or_default();
        if now.iter().any(|a| !self.read.contains(&a.id)) {
            self.done = true;
            let moved = format!("rows of `{}` were moved into an archive while they were read", self.key);
            return Some(Err(Error::new(Kind::Busy, moved).hint("ask again")));
        }
        next
    }
}

impl SeriesEngine for Archived {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        let (batch, mut report) = self.fitting(batch)?;
        if batch.series.is_empty() && report.dropped > 0 {
            return Ok(report);
        }
        self.note(&batch);
        let inner = self.raw.write(batch)?;
        report.written += inner.written;
        report.dropped += inner.dropped;
        report.conflicts.extend(inner.conflicts);
        report.conflicts.truncate(CONFLICTS_MAX);
        Ok(report)
    }

    fn admit(&self, batch: &WriteBatch) -> Result<()> {
        self.raw.admit(batch)
    }

    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        let (_, report) = self.fitting(batch.clone())?;
        report.conflicts.first().map_or(Ok(()), |conflict| Err(misfit(conflict)))?;
        self.raw.takes(batch)
    }

    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        let (rows, archives) = self.begin(key, range, || self.raw.scan(key, range, fields, budget))?;
        let rows = self.guarded(key, range, &archives, rows);
        let fields = fields.map(<[String]>::to_vec);
        Ok(self.merged(rows, archives, Wanted { range, fields, of: Of::Stored, budget: budget.clone() }))
    }

    /// Summed up only behind the last row of an archive.
    fn scan_pieces(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        wanted: WantedPieces,
        budget: &Budget,
    ) -> Result<PieceStream> {
        let Some(last) = self.read(key, range).iter().map(|a| a.last).max() else {
            let ask = || self.raw.scan_pieces(key, range, fields, wanted, budget);
            let (pieces, archives) = self.begin(key, range, ask)?;
            if archives.is_empty() {
                return Ok(self.guarded(key, range, &archives, pieces));
            }
            // An archive came in between: its rows, not sums.
            return Ok(Box::new(self.scan(key, range, fields, budget)?.map(|f| f.map(Piece::Rows))));
        };
        let middle = last.saturating_add(1).clamp(range.start, range.end);
        let rows = self.scan(key, TimeRange { start: range.start, end: middle }, fields, budget)?;
        let rows = rows.map(|frame| frame.map(Piece::Rows));
        let rest = TimeRange { start: middle, end: range.end };
        if rest.start >= rest.end {
            return Ok(Box::new(rows));
        }
        Ok(Box::new(rows.chain(self.scan_pieces(key, rest, fields, wanted, budget)?)))
    }

    fn times(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<TimeStream> {
        let (times, archives) = self.begin(key, range, || self.raw.times(key, range, budget))?;
        let times = self.guarded(key, range, &archives, times);
        if archives.is_empty() {
            return Ok(times);
        }
        let rows = times.map(|times| times.map(|times| Frame { times, columns: Vec::new() }));
        let wanted = Wanted { range, fields: None, of: Of::Times, budget: budget.clone() };
        Ok(Box::new(self.merged(Box::new(rows), archives, wanted).map(|frame| frame.map(|f| f.times))))
    }

    /// What archives have of the range is not read any more, before the first row goes.
    fn delete(&self, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        let _one = lock(&self.deleting);
        for look in lock(&self.looks).iter().filter(|l| selector.matches(&l.key)) {
            look.written.store(true, Ordering::SeqCst);
        }
        let touched: Vec<(SeriesKey, OfSeries)> = self
            .index
            .chosen(selector)
            .into_iter()
            .filter(|(_, all)| all.iter().any(|a| a.overlaps(range)))
            .collect();
        if touched.is_empty() {
            return self.raw.delete(selector, range);
        }
        let (mut series, mut rows) = (0, Some(0));
        let mut left = Vec::new();
        for (key, all) in &touched {
            let only = all.iter().any(|a| a.state == State::Only && a.overlaps(range));
            match if only { self.count(key, range) } else { Ok((0, 0)) } {
                Ok((all, own)) => {
                    series += u64::from(all > 0 && own == 0);
                    rows = rows.map(|n| n + all.saturating_sub(own));
                }
                // What is damaged can be deleted, too.
                Err(e) if e.kind() == Kind::Corrupt => rows = None,
                Err(e) => return Err(e),
            }
            for archive in all.iter().filter(|a| a.overlaps(range)) {
                left.push(self.left(archive, range)?);
            }
        }
        self.index.edit(&left)?;
        let mut report = self.raw.delete(selector, range)?;
        report.series += series;
        report.rows = report.rows.zip(rows).map(|(a, b)| a + b);
        Ok(report)
    }

    fn latest(&self, selector: &Selector) -> Result<Vec<Latest>> {
        let (all, archived) = self.beside(selector, || self.raw.latest(selector))?;
        self.with_newest(all, archived)
    }

    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        let (all, archived) = self.beside(selector, || self.raw.list(selector))?;
        Ok(Self::with_archived(all, archived))
    }

    fn choose(&self, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
        let (all, archived) = self.beside(selector, || self.raw.choose(selector, budget))?;
        Ok(Self::with_archived(all, archived))
    }

    fn retentions(&self) -> Result<BTreeMap<String, Option<Span>>> {
        self.raw.retentions()
    }
    fn capabilities(&self) -> Capabilities {
        self.raw.capabilities()
    }
    fn stats(&self) -> Result<EngineStats> {
        self.raw.stats()
    }
    fn seal(&self) -> Result<()> {
        self.raw.seal()
    }
    fn compact(&self) -> Result<CompactReport> {
        self.raw.compact()
    }

    /// With archives whose file is not there; the bytes of files are looked at by their store.
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        let mut faults = self.raw.verify(budget)?;
        for (_, all) in self.index.chosen(&Selector::default()) {
            budget.check()?;
            for archive in all.iter().filter(|a| a.state == State::Only) {
                let known = self.shelf.files().names().any(|n| n == archive.store);
                let problem = match (known, self.index.db.read(|c| index::file_is_there(c, archive))?) {
                    (false, _) => format!("there is no store `{}`", archive.store),
                    (true, false) => "its file is not there".to_string(),
                    (true, true) => continue,
                };
                faults.push(Fault { object: archive.place(), problem });
            }
        }
        Ok(faults)
    }

    fn close(&self) -> Result<()> {
        self.raw.close()
    }
}
