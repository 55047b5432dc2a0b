//! Taking lines in.

use super::line::{self, Line};
use super::types::{Level, PUSH_BYTES_MAX, PUSH_LINES_MAX, Pushed, STREAMS_MAX, Stream};
use super::{Logs, check_stream};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::Tx;
use rusqlite::OptionalExtension as _;
use serde_json::json;

/// Segments' worth of lines that may wait, when none can be made.
const WAITING_SEGMENTS_MAX: u64 = 4;

impl Logs {
    /// Adds lines to a stream, which is made with its first: JSON or plain text, each as it is. Durable on return, all or none. What is
    /// audited is that a stream and its segments come to be, not each line.
    pub fn push(&self, caller: &Caller, stream: &str, body: &[u8]) -> Result<Pushed> {
        caller.require(Scope::Write, "push logs")?;
        check_stream(stream)?;
        self.store()?;
        if body.len() > PUSH_BYTES_MAX {
            let what = format!("a push of {} bytes", body.len());
            return Err(Error::limit(what, format!("{PUSH_BYTES_MAX} bytes"), "send the lines in several"));
        }
        if body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).nth(PUSH_LINES_MAX).is_some() {
            let most = format!("{PUSH_LINES_MAX} lines");
            return Err(Error::limit("the lines of a push", most, "send them in several"));
        }
        let now = now_ns();
        let max = usize::try_from(self.rules.line_max.0).unwrap_or(usize::MAX);
        let lines: Vec<Line> =
            body.split(|b| *b == b'\n').filter_map(|bytes| line::read(bytes, max, now)).collect();
        if lines.is_empty() {
            return Ok(Pushed::default());
        }
        let (pushed, waiting) = self.db.write(|tx| self.add(tx, caller, stream, &lines, now))?;
        if waiting >= self.rules.segment.0 {
            // They are durable already; the next push or the background work tries again.
            if let Err(e) = self.rotate_stream(stream, false) {
                tracing::warn!(stream, error = %e, "lines of a log wait: no segment could be made of them");
            }
        }
        Ok(pushed)
    }

    /// What was added, and the bytes of the lines that wait.
    fn add(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        stream: &str,
        lines: &[Line],
        now: i64,
    ) -> Result<(Pushed, u64)> {
        let row: Option<(i64, i64, i64)> = tx
            .prepare_cached("SELECT id, next, bytes FROM log_streams WHERE name = ?1")?
            .query_row([stream], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        let (id, first, waiting) = match row {
            Some(row) => row,
            None => (make(tx, caller, stream, now)?, 1, 0),
        };
        let most = self.rules.segment.0.saturating_mul(WAITING_SEGMENTS_MAX);
        if waiting.unsigned_abs() >= most {
            return Err(Error::limit(
                format!("the lines of stream `{stream}` that wait for a segment"),
                format!("{most} bytes"),
                "no segment could be made of them: `shiphold logs rotate` says why; the store may be full",
            ));
        }
        let mut insert = tx.prepare_cached(
            "INSERT INTO log_lines(stream, number, time, level, text) VALUES (?1,?2,?3,?4,?5)",
        )?;
        let mut pushed = Pushed { first: first.unsigned_abs(), ..Pushed::default() };
        let (mut number, mut bytes) = (first, waiting);
        for line in lines {
            insert.execute((id, number, line.time, Level::number(line.level), &line.text))?;
            number += 1;
            bytes = bytes.saturating_add(i64::try_from(line.text.len()).unwrap_or(i64::MAX));
            pushed.lines += 1;
            pushed.cut += u64::from(line.cut);
            pushed.replaced += u64::from(line.replaced);
        }
        pushed.last = number.unsigned_abs() - 1;
        tx.prepare_cached(
            "UPDATE log_streams SET next = ?2, bytes = ?3, since = coalesce(since, ?4) WHERE id = ?1",
        )?
        .execute((id, number, bytes, now))?;
        Ok((pushed, bytes.unsigned_abs()))
    }

    /// The streams, by name.
    pub fn streams(&self, caller: &Caller) -> Result<Vec<Stream>> {
        caller.require(Scope::Read, "list logs")?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT s.name, s.next - 1, s.bytes, s.created_at,
                 (SELECT count(*) FROM log_segments g WHERE g.stream = s.id),
                 (SELECT coalesce(sum(g.bytes), 0) FROM log_segments g WHERE g.stream = s.id)
                 FROM log_streams s ORDER BY s.name LIMIT ?1",
            )?;
            let rows = statement.query_map([STREAMS_MAX], |r| {
                let number = |column| r.get::<_, i64>(column).map(i64::unsigned_abs);
                Ok(Stream {
                    stream: r.get(0)?,
                    lines: number(1)?,
                    waiting_bytes: number(2)?,
                    created_at: r.get(3)?,
                    segments: number(4)?,
                    segment_bytes: number(5)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn make(tx: &Tx<'_>, caller: &Caller, stream: &str, now: i64) -> Result<i64> {
    let there: i64 = tx.prepare_cached("SELECT count(*) FROM log_streams")?.query_row([], |r| r.get(0))?;
    if there >= STREAMS_MAX {
        return Err(Error::limit("one more stream of logs", STREAMS_MAX, "push to one that there is"));
    }
    let id = tx
        .prepare_cached(
            "INSERT INTO log_streams(name, next, created_at, bytes) VALUES (?1, 1, ?2, 0) RETURNING id",
        )?
        .query_row((stream, now), |r| r.get(0))?;
    let entry = Entry::new(caller, "logs.begin", format!("logs:{stream}"));
    Audit::append(tx, &entry.detail(json!({})))?;
    Ok(id)
}
