//! Looking lines up, within bounds: a page says where the next one goes on.

use super::rotate::read;
use super::types::{
    ANSWER_BYTES_MAX, LINES_PAGE_MAX, Level, LogLine, LogPage, LogQuery, SCAN_BYTES_MAX, TAIL_MAX,
};
use super::{Logs, check_stream, none};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::files::as_error;
use memchr::memmem::Finder;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;
use std::io::{BufRead as _, BufReader, Read as _};

/// Lines that wait, of one step.
const STEP: i64 = 1_000;
/// Bytes of one line of a segment: the longest line, with all of it escaped.
const SEGMENT_LINE_BYTES_MAX: u64 = 16 << 20;

/// A segment, as its row has it.
struct Segment {
    first: u64,
    last: u64,
    store: String,
    path: String,
    version: u64,
}

/// A line of a segment.
#[derive(Deserialize)]
struct Kept {
    number: u64,
    time: i64,
    level: Option<String>,
    text: String,
}

/// What comes next in a stream, of one moment.
enum Next {
    Segment(Segment),
    Waiting(Vec<LogLine>),
}

/// What a query is, made ready.
struct Wanted<'a> {
    from: i64,
    to: i64,
    level: Option<Level>,
    text: Option<Finder<'a>>,
}

impl Wanted<'_> {
    fn has(&self, time: i64, level: Option<Level>, text: &str) -> bool {
        (self.from..self.to).contains(&time)
            && self.level.is_none_or(|least| level.is_some_and(|l| l >= least))
            && self.text.as_ref().is_none_or(|finder| finder.find(text.as_bytes()).is_some())
    }
}

/// A page on its way.
struct Filling<'a> {
    page: LogPage,
    wanted: Wanted<'a>,
    /// The number of the last line that was looked at.
    at: u64,
    limit: u64,
    scanned: u64,
    bytes: u64,
}

impl Filling<'_> {
    /// Takes a line in if it is wanted; `false`: the page is full before it.
    fn see(&mut self, line: LogLine) -> bool {
        let wanted = self.wanted.has(line.time, line.level.and_then(Level::of), &line.text);
        if wanted && !self.page.lines.is_empty() && self.bytes + line.text.len() as u64 > ANSWER_BYTES_MAX {
            return false;
        }
        self.at = line.number;
        self.scanned += line.text.len() as u64;
        if wanted {
            self.bytes += line.text.len() as u64;
            self.page.lines.push(line);
        }
        self.page.lines.len() as u64 != self.limit && self.scanned < SCAN_BYTES_MAX
    }
}

impl Logs {
    /// The lines of a stream that a query asks for, in the order in which they came. It looks at [`SCAN_BYTES_MAX`] at most, and says
    /// where to go on.
    pub fn search(&self, caller: &Caller, stream: &str, query: &LogQuery) -> Result<LogPage> {
        caller.may_read_logs(stream, "search logs")?;
        let id = self.id(stream)?;
        if query.limit > LINES_PAGE_MAX {
            let what = format!("a page of {} lines", query.limit);
            return Err(Error::limit(what, LINES_PAGE_MAX, "page with `after`"));
        }
        let wanted = Wanted {
            from: query.from_ns.unwrap_or(i64::MIN),
            to: query.to_ns.unwrap_or(i64::MAX),
            level: query.level,
            text: query.text.as_deref().filter(|t| !t.is_empty()).map(Finder::new),
        };
        let mut filling = Filling {
            page: LogPage::default(),
            wanted,
            at: query.after,
            limit: query.limit.max(1),
            scanned: 0,
            bytes: 0,
        };
        loop {
            let (from, to) = (filling.wanted.from, filling.wanted.to);
            // In one look: what becomes a segment between two would be in neither.
            let more = match self.db.read(|c| next(c, id, filling.at, from, to))? {
                Next::Segment(segment) => self.see_segment(&segment, &mut filling)?,
                Next::Waiting(lines) if lines.is_empty() => return Ok(filling.page),
                Next::Waiting(lines) => lines.into_iter().all(|line| filling.see(line)),
            };
            if !more {
                filling.page.next = Some(filling.at);
                return Ok(filling.page);
            }
        }
    }

    /// The newest lines of a stream, oldest of them first; at most [`TAIL_MAX`].
    pub fn tail(&self, caller: &Caller, stream: &str, lines: u64) -> Result<LogPage> {
        caller.may_read_logs(stream, "search logs")?;
        let id = self.id(stream)?;
        if lines > TAIL_MAX {
            return Err(Error::limit(format!("a tail of {lines} lines"), TAIL_MAX, "search with `after`"));
        }
        // Lines have numbers without a gap, so the tail begins at one that is known.
        let next: i64 = self.db.read(|c| {
            let mut statement = c.prepare_cached("SELECT next FROM log_streams WHERE id = ?1")?;
            Ok(statement.query_row([id], |r| r.get(0))?)
        })?;
        let after = next.unsigned_abs().saturating_sub(1).saturating_sub(lines);
        let mut all = LogPage::default();
        if lines == 0 {
            return Ok(all);
        }
        let mut at = after;
        loop {
            let page =
                self.search(caller, stream, &LogQuery { after: at, limit: lines, ..LogQuery::default() })?;
            all.unreadable.extend(page.unreadable);
            all.lines.extend(page.lines);
            // What came since is not waited for.
            match page.next {
                Some(next) if (all.lines.len() as u64) < lines => at = next,
                _ => return Ok(all),
            }
        }
    }

    fn id(&self, stream: &str) -> Result<i64> {
        check_stream(stream)?;
        self.db
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT id FROM log_streams WHERE name = ?1")?;
                Ok(statement.query_row([stream], |r| r.get(0)).optional()?)
            })?
            .ok_or_else(|| none(stream))
    }

    /// Looks through a segment; whether there is room for more. One that cannot be read is named and passed over.
    fn see_segment(&self, segment: &Segment, filling: &mut Filling<'_>) -> Result<bool> {
        let unreadable = |filling: &mut Filling<'_>, e: Error| {
            let Segment { store, path, first, last, .. } = segment;
            filling.page.unreadable.push(format!("lines {first} to {last} in `{store}/{path}`: {e}"));
            filling.at = *last;
            filling.page.unreadable.len() < 100
        };
        // Compared with its hash before a line of it is given.
        let Segment { store, path, version, .. } = segment;
        let content = match self.files.get_checked(&Caller::Operator, store, path, Some(*version)) {
            Ok((_, content)) => content,
            Err(e) if matches!(e.kind(), Kind::Corrupt | Kind::Io | Kind::NotFound) => {
                return Ok(unreadable(filling, e));
            }
            Err(e) => return Err(e),
        };
        let mut content = BufReader::with_capacity(256 << 10, content);
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = match content.by_ref().take(SEGMENT_LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(n) => n,
                Err(e) => return Ok(unreadable(filling, as_error(e))),
            };
            if n == 0 {
                filling.at = filling.at.max(segment.last);
                return Ok(true);
            }
            let kept: Kept = match serde_json::from_slice(&line) {
                Ok(kept) => kept,
                Err(e) => return Ok(unreadable(filling, Error::corrupt(format!("it is no segment: {e}")))),
            };
            // It counts, but what was looked at before does not come again.
            if kept.number <= filling.at {
                continue;
            }
            let level = kept.level.as_deref().and_then(Level::of).map(Level::name);
            if !filling.see(LogLine { number: kept.number, time: kept.time, level, text: kept.text }) {
                return Ok(false);
            }
        }
    }
}

/// The segment that has the next lines between two times, or lines that wait. Segments that have none of these times are passed over.
fn next(c: &Connection, stream: i64, after: u64, from: i64, to: i64) -> Result<Next> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let segment = c
        .prepare_cached(
            "SELECT first, last, store, path, version FROM log_segments WHERE stream = ?1 AND last > ?2
             AND max_time >= ?3 AND min_time < ?4 ORDER BY first LIMIT 1",
        )?
        .query_row((stream, after, from, to), |r| {
            Ok(Segment {
                first: r.get::<_, i64>(0)?.unsigned_abs(),
                last: r.get::<_, i64>(1)?.unsigned_abs(),
                store: r.get(2)?,
                path: r.get(3)?,
                version: r.get::<_, i64>(4)?.unsigned_abs(),
            })
        })
        .optional()?;
    if let Some(segment) = segment {
        return Ok(Next::Segment(segment));
    }
    let mut statement = c.prepare_cached(
        "SELECT number, time, level, text FROM log_lines WHERE stream = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let rows = statement.query_map((stream, after, STEP), read)?;
    Ok(Next::Waiting(rows.collect::<rusqlite::Result<_>>()?))
}
