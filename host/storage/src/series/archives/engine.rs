//! An engine that also answers with rows of archives.

use super::index::{self, Archive, Index, OfSeries, State, info};
use super::looks::Looks;
use super::merge::{Merged, Of, Wanted, few_of};
use super::newest::Known;
use super::reading::touched;
use super::source::Shelf;
use crate::error::Result;
use crate::files::FileStores;
use crate::series::pieces::{Piece, PieceStream, Wanted as WantedPieces};
use crate::series::units::misfit;
use crate::series::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, Frame, FrameStream, Latest,
    Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TimeStream, WriteBatch, WriteReport,
};
use crate::sqlite::Database;
use crate::units::Span;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Distinct conflicts that a report lists.
pub(super) const CONFLICTS_MAX: usize = 100;

/// Stands before an engine, behind everything that knows what rows mean: revisions and decimals.
#[derive(Debug)]
pub(crate) struct Archived {
    raw: Arc<dyn SeriesEngine>,
    pub(super) index: Arc<Index>,
    pub(super) shelf: Arc<Shelf>,
    /// A scan of the engine gives what there was when it began, also of rows that are dropped meanwhile.
    pub(super) pinned: bool,
    pub(super) newest: Known,
    pub(super) looks: Looks,
    /// Held while rows are deleted, and by whoever puts rows back.
    pub(super) deleting: Mutex<()>,
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
            newest: Known::default(),
            looks: Looks::default(),
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

    fn merged(&self, engine: FrameStream, archives: Vec<Arc<Archive>>, wanted: Wanted) -> FrameStream {
        match archives.is_empty() {
            true => engine,
            false => Box::new(Merged::new(self.shelf.clone(), Some(engine), archives, wanted)),
        }
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
}

impl SeriesEngine for Archived {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        let (batch, mut report) = self.fitting(batch)?;
        if batch.series.is_empty() && report.dropped > 0 {
            return Ok(report);
        }
        self.looks.note(&batch);
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
        let rest = self.scan_pieces(key, rest, fields, wanted, budget)?;
        Ok(few_of(Box::new(rows.chain(rest)), budget))
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

    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        self.remove(selector, range, budget)
    }

    fn damaged(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<Vec<TimeRange>> {
        self.unreadable(key, range, budget)
    }

    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        let (all, archived) = self.beside(selector, || self.raw.latest_within(selector, budget))?;
        self.with_newest(all, archived, budget)
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
        Ok(EngineStats { archive_bytes: self.shelf.room().held(), ..self.raw.stats()? })
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
