//! Series that an engine keeps elsewhere: as gzip of line protocol, a file each, and back.
//!
//! The rows go through the server's API of queries and writes, and not through its own backups: `docs/backup.md` says why.

use super::check::{Source, refuse};
use super::copy::{copy, digest, make_dirs};
use super::format::{BucketEntry, FILE_BYTES_MAX, FileEntry, Place};
use super::lines::{Lines, SeriesReader, each_member, read_series};
use crate::error::{Error, Result};
use crate::layer::DataLayer;
use crate::series::influx::Held;
use crate::series::line_protocol::{self, Precision};
use crate::series::{Budget, FrameStream, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a row counts for in the progress: about what it takes as gzip.
const ROW_BYTES: u64 = 16;
/// Files of series: their names have eight digits.
const SERIES_MAX: usize = 100_000_000;

/// The engine of a host that keeps its series elsewhere, standing still where it can.
pub(super) struct Remote {
    held: Option<Held>,
    engine: Arc<dyn SeriesEngine>,
    series: Vec<SeriesInfo>,
    buckets: Vec<BucketEntry>,
}

impl Remote {
    /// `None`: the host keeps its series itself.
    pub(super) fn open(layer: &DataLayer) -> Result<Option<Self>> {
        if layer.embedded().is_some() {
            return Ok(None);
        }
        let held = layer.outbox().map(|o| o.hold()).transpose()?;
        let engine = layer.series().stored().clone();
        let mut remote = Self { held, engine, series: Vec::new(), buckets: Vec::new() };
        remote.series = remote.server().list(&Selector::default())?;
        if remote.series.len() > SERIES_MAX {
            return Err(Error::limit("the number of series", SERIES_MAX, "delete some"));
        }
        let entry = |(name, keep): (String, Option<crate::units::Span>)| {
            let keep_s = keep.map(|k| k.0.as_secs());
            BucketEntry { name, keep_s }
        };
        remote.buckets = remote.server().retentions()?.into_iter().map(entry).collect();
        Ok(Some(remote))
    }

    pub(super) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    fn server(&self) -> &dyn SeriesEngine {
        self.held.as_ref().map_or(&*self.engine, Held::server)
    }

    pub(super) fn progress_bytes(&self) -> u64 {
        self.series.iter().fold(0_u64, |sum, s| sum.saturating_add(s.rows)).saturating_mul(ROW_BYTES)
    }

    /// Writes every series; how many rows they were.
    pub(super) fn export(
        &self,
        folder: &Path,
        files: &mut Vec<FileEntry>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<u64> {
        make_dirs(&folder.join("series"))?;
        let mut total = 0_u64;
        for (i, info) in self.series.iter().enumerate() {
            let path = format!("series/{i:08}.lp.gz");
            let read = Arc::new(AtomicU64::new(0));
            let counted = {
                let read = read.clone();
                let stream = self.server().scan(&info.key, TimeRange::ALL, None, &Budget::default())?;
                stream.inspect(move |f| {
                    let rows = f.as_ref().map_or(0, |f| f.len() as u64);
                    read.fetch_add(rows, Ordering::Relaxed);
                })
            };
            let mut reader = SeriesReader::new(&info.key, Box::new(counted))?;
            let d = copy(&mut reader, &folder.join(&path), FILE_BYTES_MAX, true, &mut |_| {
                advance(read.swap(0, Ordering::Relaxed) * ROW_BYTES);
            })?;
            total = total.saturating_add(reader.rows);
            files.push(FileEntry {
                path,
                bytes: d.bytes,
                blake3: d.blake3,
                sha256: d.sha256,
                bucket: Some(info.key.bucket.clone()),
                rows: Some(reader.rows),
            });
        }
        Ok(total)
    }

    /// Lets deliveries go on; the buckets that there were.
    pub(super) fn release(self) -> Vec<BucketEntry> {
        self.buckets
    }
}

/// What an engine has of the rows of a file.
#[derive(Debug, PartialEq, Eq)]
enum Has {
    All,
    /// Some of them, and nothing else.
    Some,
    /// At this time something that the file has not.
    Other(i64),
}

/// The file of a series.
struct SeriesFile<'a> {
    source: &'a Source,
    entry: &'a FileEntry,
    key: SeriesKey,
}

impl<'a> SeriesFile<'a> {
    /// Checks the digest and the gzip, and reads the key; `None`: it holds no row.
    fn open(source: &'a Source, entry: &'a FileEntry) -> Result<Option<Self>> {
        let found = digest(&mut source.file(entry)?, entry.bytes, true, &entry.path, &mut |_| Ok(()))?;
        refuse(&source.root, super::check::mismatch(entry, &found).into_iter().collect())?;
        let mut key = None;
        each_member(&mut BufReader::new(source.file(entry)?), &entry.path, &mut |text| {
            if key.is_none() {
                let batch = parse(entry, text)?;
                key = batch.into_iter().next().map(|(key, _)| key);
            }
            Ok(())
        })?;
        Ok(key.map(|key| Self { source, entry, key }))
    }

    /// Compares the rows of an engine with those of the file.
    fn compare(&self, engine: &dyn SeriesEngine) -> Result<Has> {
        let mut there =
            Lines::new(&self.key, engine.scan(&self.key, TimeRange::ALL, None, &Budget::default())?)?;
        let (mut mine, mut theirs) = (String::new(), String::new());
        let mut next = there.next(&mut theirs)?;
        let (mut whole, mut other) = (true, None);
        let mut reader = BufReader::new(self.source.file(self.entry)?);
        each_member(&mut reader, &self.entry.path, &mut |text| {
            for (key, frame) in parse(self.entry, text)? {
                if key != self.key {
                    return Err(Error::corrupt(format!("{} holds more than one series", self.entry.path)));
                }
                let frame: FrameStream = Box::new(std::iter::once(Ok(frame)));
                let mut rows = Lines::new(&self.key, frame)?;
                while other.is_none() {
                    mine.clear();
                    let Some(time) = rows.next(&mut mine)? else { break };
                    match next {
                        Some(t) if t < time || (t == time && mine != theirs) => other = Some(t),
                        Some(t) if t == time => {
                            theirs.clear();
                            next = there.next(&mut theirs)?;
                        }
                        _ => whole = false,
                    }
                }
            }
            Ok(())
        })?;
        Ok(match other.or(next) {
            Some(time) => Has::Other(time),
            None if whole => Has::All,
            None => Has::Some,
        })
    }
}

fn parse(entry: &FileEntry, text: &[u8]) -> Result<Vec<(SeriesKey, crate::series::Frame)>> {
    let bucket = entry.bucket.as_deref().unwrap_or_default();
    let batch = line_protocol::parse(bucket, text, Precision::Ns, 0);
    Ok(batch.map_err(|e| e.context(&entry.path))?.series)
}

/// Writes the files of series into an engine that holds nothing else in their buckets, and reads them back; how many rows they
/// were. What an earlier restore left there is no obstacle: it is compared, and what is whole is not written again.
/// Nothing is written from a damaged backup, or where something else is.
pub(super) fn write_lines(
    source: &Source,
    engine: &dyn SeriesEngine,
    advance: &mut dyn FnMut(u64),
) -> Result<u64> {
    let mut files: BTreeMap<SeriesKey, SeriesFile<'_>> = BTreeMap::new();
    for entry in source.contents.files.iter().filter(|f| f.place() == Some(Place::Lines)) {
        let Some(file) = SeriesFile::open(source, entry)? else { continue };
        if let Some(first) = files.insert(file.key.clone(), file) {
            return Err(Error::corrupt(format!("{} and {} hold one series", first.entry.path, entry.path)));
        }
    }
    let whole = what_is_there(&files, engine)?;
    let mut rows = 0_u64;
    for (key, file) in &files {
        let entry = file.entry;
        if !whole.contains(key) {
            let mut reader = BufReader::new(source.file(entry)?);
            let read = read_series(&key.bucket, &mut reader, &entry.path, engine)?;
            if Some(read) != entry.rows {
                return Err(Error::corrupt(format!(
                    "{} holds {read} rows instead of {}",
                    entry.path,
                    entry.rows.unwrap_or_default()
                )));
            }
        }
        advance(entry.bytes / 2);
        rows = rows.saturating_add(entry.rows.unwrap_or_default());
    }
    for (key, file) in &files {
        if !whole.contains(key) && file.compare(engine)? != Has::All {
            return Err(Error::corrupt(format!("what was written of `{key}` is not what is read back"))
                .hint("does somebody else write to that bucket? stop it, and restore again"));
        }
        advance(file.entry.bytes - file.entry.bytes / 2);
    }
    Ok(rows)
}

/// The series that are there already, whole.
fn what_is_there(
    files: &BTreeMap<SeriesKey, SeriesFile<'_>>,
    engine: &dyn SeriesEngine,
) -> Result<BTreeSet<SeriesKey>> {
    let buckets: BTreeSet<&str> = files.keys().map(|k| k.bucket.as_str()).collect();
    let mut whole = BTreeSet::new();
    for bucket in buckets {
        let of_bucket = Selector { bucket: Some(bucket.into()), ..Selector::default() };
        let occupied = |what: String| {
            Error::conflict(format!("the bucket `{bucket}` is not empty: {what}")).hint(
                "a restore never overwrites: delete what is in that bucket, or restore to another server",
            )
        };
        for info in engine.list(&of_bucket)? {
            let Some(file) = files.get(&info.key) else {
                return Err(occupied(format!("it has `{}`, which the backup has not", info.key)));
            };
            match file.compare(engine)? {
                Has::All => {
                    whole.insert(info.key);
                }
                Has::Some => {}
                Has::Other(time) => {
                    return Err(occupied(format!(
                        "it has `{}` at {time} ns otherwise than the backup",
                        info.key
                    )));
                }
            }
        }
    }
    Ok(whole)
}
