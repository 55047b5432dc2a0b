//! Rows of a series into files of a store: written, read back, compared. Nothing of the series is changed.

use super::digest::RowsDigest;
use super::engine::Archived;
use super::index::{self, Archive, State};
use super::merge::OPEN_MAX;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::files::{FileVersion, PutOptions};
use crate::rollups::roll::first_time;
use crate::schema::now_ns;
use crate::series::exchange::SeriesOut;
use crate::series::kinds::Kind as SeriesKind;
use crate::series::model::TIME_MIN_NS;
use crate::series::{Budget, Frame, FrameStream, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange};
use crate::sqlite::Tx;
use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde_json::json;
use std::sync::Arc;

/// Rows of one file: what a question about an instant of it reads.
pub const FILE_ROWS_MAX: usize = 262_144;
/// Bytes of rows, before they are packed, after which a file is ended; one frame of the engine may come on top.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a measurement's name in a file's name.
const NAME_BYTES_MAX: usize = 120;
/// The form of the files.
const FORMAT: &str = "parquet";
const MEDIA_TYPE: &str = "application/vnd.apache.parquet";

/// Where rows go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) key: &'a SeriesKey,
    pub(crate) store: &'a str,
}

/// What is to be noted.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Rows before the time that are in files, those that were there already with them.
    pub(crate) rows: u64,
    new: Vec<Archive>,
    replaced: Vec<i64>,
}

impl Taken {
    /// Files that were not there before.
    pub(crate) fn files(&self) -> usize {
        self.new.len()
    }

    /// Notes it, with whatever else belongs to the same transaction.
    pub(crate) fn note(
        &self,
        archived: &Archived,
        key: &SeriesKey,
        more: impl FnOnce(&Tx<'_>) -> Result<()>,
    ) -> Result<()> {
        archived.index.change(std::slice::from_ref(key), |tx| {
            self.replaced.iter().try_for_each(|id| index::set_state(tx, *id, State::Replaced))?;
            self.new.iter().try_for_each(|archive| index::add(tx, archive))?;
            more(tx)
        })
    }
}

impl Archived {
    /// Writes the rows of a series before a time that are in no file of the store yet, or that were changed since. `live` has the
    /// rows of the engine alone, with decimals.
    pub(crate) fn take(&self, live: &dyn SeriesEngine, to: To<'_>, before: i64) -> Result<Taken> {
        let mut out = Taken::default();
        let infos = live.list(&Selector::of(to.key))?;
        let Some(info) = infos.into_iter().find(|i| i.key == *to.key) else { return Ok(out) };
        let all = self.index.of(to.key).unwrap_or_default();
        // Also those whose rows were about to leave when a process ended: they are there still.
        let left = |a: &Archive| a.state == State::Only && info.min_time.is_some_and(|t| t <= a.last);
        let here = |a: &&Arc<Archive>| {
            a.store == to.store && a.from < before && (a.state == State::Copy || left(a.as_ref()))
        };
        let mut copies: Vec<Arc<Archive>> = all.iter().filter(here).cloned().collect();
        copies.sort_by_key(|a| a.from);
        let taking = Taking { archived: self, live, to, info };
        let mut from = TIME_MIN_NS;
        for copy in copies {
            let holds = is_last(&all, &copy) && taking.holds(&copy)?;
            if copy.state == State::Only && !holds {
                continue;
            }
            taking.span(TimeRange { start: from, end: copy.from }, &mut out)?;
            if holds {
                out.rows += copy.rows;
            } else {
                out.replaced.push(copy.id);
                taking.span(TimeRange { start: copy.from.max(from), end: copy.until }, &mut out)?;
            }
            from = from.max(copy.until);
        }
        taking.span(TimeRange { start: from, end: before }, &mut out)?;
        Ok(out)
    }

    /// Rows before a time are about to leave the engine: from now on queries read what archives have of them. Copies in stores
    /// that are not there any more do not count.
    pub(crate) fn leave(
        &self,
        key: &SeriesKey,
        before: i64,
        more: impl FnOnce(&Tx<'_>) -> Result<()>,
    ) -> Result<()> {
        let there = |store: &str| self.shelf.files().names().any(|n| n == store);
        self.index.change(std::slice::from_ref(key), |tx| {
            // The lock on changes is held: nothing is added between this look and the transaction.
            let copies = self.index.of(key);
            let leaves = |a: &Archive| a.state == State::Copy && a.from < before && there(&a.store);
            let read = copies.iter().flat_map(|all| all.iter()).filter(|a| a.state == State::Only || leaves(a));
            if meeting(read.map(|a| (a.first, a.last))) > OPEN_MAX {
                return Err(Error::limit(
                    format!("the archives of `{key}` that overlap at one time"),
                    OPEN_MAX,
                    "nothing was dropped: bring them back with `shiphold series restore`, and archive them again as one",
                ));
            }
            for a in copies.iter().flat_map(|all| all.iter()) {
                if leaves(a) {
                    if !index::file_is_there(tx, a)? {
                        return Err(Error::new(
                            Kind::Busy,
                            format!(
                                "the file `{}/{}` of rows that were about to leave went meanwhile",
                                a.store, a.path
                            ),
                        )
                        .hint("nothing was dropped; run the plan again"));
                    }
                    index::set_state(tx, a.id, State::Only)?;
                }
            }
            more(tx)
        })
    }
}

/// Is no later file read of the time of this one? Then its values are right where the engine has none.
fn is_last(all: &[Arc<Archive>], a: &Archive) -> bool {
    let later = |other: &&Arc<Archive>| other.id > a.id && other.state == State::Only;
    all.iter().filter(later).all(|other| other.last < a.first || other.first > a.last)
}

/// How many of some spans meet at one time, at most; each with its last moment.
fn meeting(spans: impl Iterator<Item = (i64, i64)>) -> usize {
    // At one time what begins comes before what ends.
    let mut borders: Vec<(i64, bool)> =
        spans.flat_map(|(first, last)| [(first, false), (last, true)]).collect();
    borders.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, ends) in borders {
        now = if ends { now.saturating_sub(1) } else { now + 1 };
        most = most.max(now);
    }
    most
}

struct Taking<'a> {
    archived: &'a Archived,
    live: &'a dyn SeriesEngine,
    to: To<'a>,
    info: SeriesInfo,
}

impl Taking<'_> {
    /// Has the file of a copy the rows that the engine has in its span, still and whole? What was deleted of it since would
    /// stay hidden, so a copy with cuts does not do.
    fn holds(&self, copy: &Archive) -> Result<bool> {
        if !copy.cuts.is_empty() {
            return Ok(false);
        }
        if !self.archived.index.db.read(|c| index::file_is_there(c, copy))? {
            return Ok(false);
        }
        let span = TimeRange { start: copy.from, end: copy.until };
        let mut digest = RowsDigest::default();
        for frame in self.live.scan(self.to.key, span, None, &Budget::default())? {
            digest.add(&frame?);
        }
        // The bytes may have gone bad since they were compared.
        Ok(digest.hex() == copy.digest && self.compare(copy).is_ok())
    }

    /// Every row of a span, a file per date and number of rows.
    fn span(&self, span: TimeRange, out: &mut Taken) -> Result<()> {
        let budget = Budget::default();
        let mut from = span.start;
        while let Some(first) =
            first_time(self.live, self.to.key, TimeRange { start: from, end: span.end }, &budget)?
        {
            let (date, end) = slice_of(self.to.key, first);
            let end = end.min(span.end);
            let frames = self.live.scan(self.to.key, TimeRange { start: first, end }, None, &budget)?;
            let mut rows = Reader { frames, rest: None };
            while let Some(archive) = self.file(&date, &mut rows)? {
                out.rows += archive.rows;
                out.new.push(archive);
            }
            from = end;
        }
        Ok(())
    }

    /// The next rows as a file that was read back; `None`: there are no more.
    fn file(&self, date: &str, rows: &mut Reader) -> Result<Option<Archive>> {
        let key = self.to.key;
        let mut bytes = Vec::new();
        let mut digest = RowsDigest::default();
        let mut file = SeriesOut::new(&self.info, &mut bytes)?;
        let (mut count, mut size) = (0, 0);
        while count < FILE_ROWS_MAX && size < FILE_BYTES_MAX {
            let Some(frame) = rows.next(FILE_ROWS_MAX - count)? else { break };
            digest.add(&frame);
            count += frame.len();
            size += frame.size_bytes();
            file.rows(&frame)?;
        }
        file.finish()?;
        let (Some(first), Some(last)) = (digest.first, digest.last) else { return Ok(None) };
        let hex = digest.hex();
        let path = format!("{}-{}.parquet", path(key, date, first, last), hex.get(..8).unwrap_or_default());
        let made = |version: FileVersion| Archive {
            id: 0,
            key: key.clone(),
            state: State::Copy,
            format: FORMAT.into(),
            from: first,
            until: last.saturating_add(1),
            first,
            last,
            rows: digest.rows,
            fields: digest.fields(),
            store: self.to.store.into(),
            path: path.clone(),
            version: version.version,
            blake3: version.blake3.unwrap_or_default(),
            bytes: version.size,
            digest: hex.clone(),
            cuts: Vec::new(),
            created_at: now_ns(),
        };
        // Written by a run that was cut off, or before the rows were restored.
        let there = self.archived.shelf.files().stat(&Caller::Operator, self.to.store, &path, None);
        match there {
            Ok(version) if version.metadata.get("digest").and_then(|d| d.as_str()) == Some(&hex) => {
                let archive = made(version);
                if self.compare(&archive).is_ok() {
                    return Ok(Some(archive));
                }
            }
            Err(e) if e.kind() != Kind::NotFound => return Err(e),
            _ => {}
        }
        let metadata = json!({
            "format": FORMAT, "bucket": key.bucket, "measurement": key.measurement, "tags": key.tags,
            "rows": digest.rows, "first": first, "last": last, "digest": hex,
        });
        let options = PutOptions { media_type: Some(MEDIA_TYPE.into()), metadata, ..PutOptions::default() };
        let files = self.archived.shelf.files();
        let archive =
            made(files.put(self.to.caller, self.to.store, &path, &mut bytes.as_slice(), options)?);
        self.compare(&archive)?;
        Ok(Some(archive))
    }

    /// Reads a file from its store, and compares its rows with those that went into it.
    fn compare(&self, archive: &Archive) -> Result<()> {
        let archive = Arc::new(archive.clone());
        let mut digest = RowsDigest::default();
        for frame in self.archived.shelf.fresh(&archive, &Budget::default())? {
            digest.add(&frame?);
        }
        if digest.hex() == archive.digest && digest.rows == archive.rows {
            return Ok(());
        }
        // A field that came since the catalogue was asked has no column.
        Err(Error::new(
            Kind::Busy,
            format!("archiving {}: what was read back is not what was written", self.to.key),
        )
        .hint("run the plan again; if it says so again, `shiphold verify` tells what is damaged"))
    }
}

/// Frames, in parts.
struct Reader {
    frames: FrameStream,
    rest: Option<Frame>,
}

impl Reader {
    /// At most so many rows.
    fn next(&mut self, rows: usize) -> Result<Option<Frame>> {
        let next = match self.rest.take() {
            Some(rest) => Some(rest),
            None => self.frames.next().transpose()?,
        };
        let Some(mut frame) = next else { return Ok(None) };
        if frame.len() > rows {
            self.rest = Some(frame.split_off(rows));
        }
        Ok(Some(frame))
    }
}

/// `tick/tick.AAPL-1a2b3c4d/2026-06-26/FIRST-LAST`, without its ending. The eight digits tell series apart whose names differ only
/// by what a file's name cannot hold: bucket, tags, case.
fn path(key: &SeriesKey, date: &str, first: i64, last: i64) -> String {
    let safe: String = key
        .measurement
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .take(NAME_BYTES_MAX)
        .collect();
    let id = blake3::hash(key.to_string().as_bytes()).to_hex();
    let time = |ns| DateTime::<Utc>::from_timestamp_nanos(ns).format("%Y%m%dT%H%M%S.%9fZ");
    let kind = SeriesKind::of(&key.measurement).name();
    let id = id.get(..8).unwrap_or_default();
    format!("{kind}/{safe}-{id}/{date}/{}-{}", time(first), time(last))
}

/// A path that stands for those of a series, for a look at the grants.
pub(crate) fn example_path(key: &SeriesKey, at: i64) -> String {
    format!("{}-00000000.parquet", path(key, &slice_of(key, at).0, at, at))
}

/// The date of the file that holds a time, and where that file ends.
fn slice_of(key: &SeriesKey, t: i64) -> (String, i64) {
    let day = DateTime::<Utc>::from_timestamp_nanos(t).date_naive();
    let (start, next) = match SeriesKind::of(&key.measurement) {
        SeriesKind::Tick | SeriesKind::Book => (day, day.succ_opt()),
        _ => {
            let first = NaiveDate::from_ymd_opt(day.year(), day.month(), 1).unwrap_or(day);
            (first, first.checked_add_months(Months::new(1)))
        }
    };
    let end = next
        .and_then(|d| d.and_hms_opt(0, 0, 0))
        .and_then(|d| d.and_utc().timestamp_nanos_opt())
        .unwrap_or(i64::MAX);
    (start.format("%Y-%m-%d").to_string(), end)
}
