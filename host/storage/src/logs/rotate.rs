//! Lines become a segment: its object first, then one transaction with its row and without theirs.

use super::types::{Level, LogLine};
use super::{Logs, check_stream, none};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::files::{FileVersion, PutOptions};
use crate::locks::lock;
use crate::schema::now_ns;
use crate::settings::Expect;
use crate::sqlite::Tx;
use chrono::DateTime;
use rusqlite::OptionalExtension as _;
use serde_json::json;

/// Streams that one look of the background work makes segments of.
const STREAMS_STEP: i64 = 16;

struct Taken {
    id: i64,
    lines: Vec<LogLine>,
    bytes: u64,
}

impl Logs {
    /// Makes segments of all lines of a stream that wait; how many. Admin.
    pub fn rotate(&self, caller: &Caller, stream: &str) -> Result<u64> {
        caller.require(Scope::Admin, "rotate logs")?;
        check_stream(stream)?;
        self.rotate_stream(stream, true)
    }

    /// A step of the background work: lines that waited long enough become segments.
    pub(crate) fn maintain(&self) -> Result<()> {
        if self.rules.store.is_none() {
            return Ok(());
        }
        let before = now_ns().saturating_sub(self.rules.segment_age.as_nanos_i64());
        let due: Vec<String> = self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT name FROM log_streams WHERE since IS NOT NULL AND since < ?1 ORDER BY since LIMIT ?2",
            )?;
            let rows = statement.query_map((before, STREAMS_STEP), |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        // One that fails keeps no other from it.
        let mut done = Ok(());
        for stream in due {
            done = done.and(self.rotate_stream(&stream, true).map(drop));
        }
        done
    }

    /// Makes segments; with `all` of what is less than a segment, too.
    pub(super) fn rotate_stream(&self, stream: &str, all: bool) -> Result<u64> {
        let _one = lock(&self.rotating);
        let mut made = 0;
        loop {
            let taken = self.take(stream)?;
            if taken.lines.is_empty() || (!all && taken.bytes < self.rules.segment.0) {
                return Ok(made);
            }
            self.segment(stream, &taken)?;
            made += 1;
        }
    }

    /// The oldest lines that wait, as many as a segment has.
    fn take(&self, stream: &str) -> Result<Taken> {
        let most = self.rules.segment.0;
        self.db.read(|c| {
            let id: Option<i64> = c
                .prepare_cached("SELECT id FROM log_streams WHERE name = ?1")?
                .query_row([stream], |r| r.get(0))
                .optional()?;
            let Some(id) = id else { return Err(none(stream)) };
            let mut statement = c.prepare_cached(
                "SELECT number, time, level, text FROM log_lines WHERE stream = ?1 ORDER BY number",
            )?;
            let mut rows = statement.query([id])?;
            let mut taken = Taken { id, lines: Vec::new(), bytes: 0 };
            while let Some(row) = rows.next()? {
                let line = read(row)?;
                taken.bytes += line.text.len() as u64;
                taken.lines.push(line);
                if taken.bytes >= most {
                    break;
                }
            }
            Ok(taken)
        })
    }

    fn segment(&self, stream: &str, of: &Taken) -> Result<()> {
        let store = self.store()?;
        let (Some(first), Some(last)) = (of.lines.first(), of.lines.last()) else { return Ok(()) };
        let mut content = Vec::new();
        for line in &of.lines {
            serde_json::to_writer(&mut content, line)
                .map_err(|e| Error::internal(format!("writing a segment of logs: {e}")))?;
            content.push(b'\n');
        }
        let times = || of.lines.iter().map(|l| l.time);
        let (min, max) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        let date = DateTime::from_timestamp_nanos(first.time).format("%Y-%m-%d");
        let path = format!("{stream}/{date}/{:020}.jsonl", first.number);
        let options = PutOptions {
            media_type: Some("application/x-ndjson".into()),
            metadata: json!({ "first": first.number, "last": last.number, "min_time": min, "max_time": max }),
            ..PutOptions::default()
        };
        let (id, from, to) = (of.id, first.number.cast_signed(), last.number.cast_signed());
        let mut content = content.as_slice();
        let with = |tx: &Tx<'_>, made: &FileVersion| {
            let gone = tx
                .prepare_cached("DELETE FROM log_lines WHERE stream = ?1 AND number >= ?2 AND number <= ?3")?
                .execute((id, from, to))?;
            if gone != of.lines.len() {
                return Err(Error::new(Kind::Busy, "the lines of a segment went meanwhile"));
            }
            tx.prepare_cached(
                "INSERT INTO log_segments(stream, first, last, min_time, max_time, bytes, store, path, version)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
            )?
            .execute((id, from, to, min, max, of.bytes.cast_signed(), store, &path, made.version.cast_signed()))?;
            tx.prepare_cached(
                "UPDATE log_streams SET bytes = bytes - ?2,
                 since = iif(EXISTS (SELECT 1 FROM log_lines WHERE stream = ?1), ?3, NULL) WHERE id = ?1",
            )?
            .execute((id, of.bytes.cast_signed(), now_ns()))?;
            Ok(())
        };
        let me = Caller::Operator;
        self.files.put_with(&me, store, &path, &mut content, options, Expect::Any, |_| Ok(()), with).map(drop)
    }
}

pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<LogLine> {
    Ok(LogLine {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        time: row.get(1)?,
        level: Level::from_number(row.get(2)?).map(Level::name),
        text: row.get(3)?,
    })
}
