//! Series as gzip of line protocol. A gzip file may have several members; each member here holds whole lines of at most
//! [`ROWS_PER_MEMBER`] rows, so that a reader needs no more memory than one of them.

use crate::error::{Error, Result};
use crate::series::line_protocol::{self, Precision};
use crate::series::{Decimal, Frame, FrameStream, SeriesEngine, SeriesKey, Values};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::{BufRead, Read, Write as _};

/// Rows of one member.
pub(crate) const ROWS_PER_MEMBER: usize = 4_096;
/// Bytes of one member's lines that a reader accepts.
pub(crate) const MEMBER_BYTES_MAX: u64 = 256 << 20;

/// The rows of a series as lines, one after another. Columns are sorted by name: the same rows give the same lines.
pub(super) struct Lines {
    head: String,
    stream: FrameStream,
    frame: Frame,
    next_row: usize,
}

impl Lines {
    pub(super) fn new(key: &SeriesKey, stream: FrameStream) -> Result<Self> {
        Ok(Self { head: head(key)?, stream, frame: Frame::default(), next_row: 0 })
    }

    /// Adds the next row's line; its time, or `None` at the end.
    pub(super) fn next(&mut self, out: &mut String) -> Result<Option<i64>> {
        loop {
            if self.next_row >= self.frame.len() {
                let Some(frame) = self.stream.next() else { return Ok(None) };
                (self.frame, self.next_row) = (frame?, 0);
                self.frame.columns.sort_by(|a, b| a.name.cmp(&b.name));
                continue;
            }
            let row = self.next_row;
            self.next_row += 1;
            if line(&self.head, &self.frame, row, out) {
                return Ok(self.frame.times.get(row).copied());
            }
        }
    }
}

/// The lines of a series, compressed while they are read. An error of the scan travels as an I/O error, and
/// [`Error::io`] gives it back.
pub(crate) struct SeriesReader {
    lines: Lines,
    ready: std::io::Cursor<Vec<u8>>,
    /// What was read so far: rows, the first and the last time.
    pub(crate) rows: u64,
    pub(crate) first: Option<i64>,
    pub(crate) last: Option<i64>,
}

impl SeriesReader {
    pub(crate) fn new(key: &SeriesKey, stream: FrameStream) -> Result<Self> {
        let lines = Lines::new(key, stream)?;
        Ok(Self { lines, ready: std::io::Cursor::default(), rows: 0, first: None, last: None })
    }

    /// Compresses the next rows; false at the end.
    fn refill(&mut self) -> std::io::Result<bool> {
        // Filled over the frames' edges: the same rows give the same bytes, however the engine cuts them.
        let mut text = String::new();
        for _ in 0..ROWS_PER_MEMBER {
            let Some(time) = self.lines.next(&mut text).map_err(std::io::Error::other)? else { break };
            self.rows += 1;
            self.last = Some(time);
            self.first = self.first.or(self.last);
        }
        if text.is_empty() {
            return Ok(false);
        }
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes())?;
        self.ready = std::io::Cursor::new(gzip.finish()?);
        Ok(true)
    }
}

impl Read for SeriesReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let n = self.ready.read(buffer)?;
            if n > 0 || buffer.is_empty() || !self.refill()? {
                return Ok(n);
            }
        }
    }
}

/// Reads lines back into an engine; how many rows they were.
pub(crate) fn read_series(
    bucket: &str,
    from: &mut dyn BufRead,
    place: &str,
    engine: &dyn SeriesEngine,
) -> Result<u64> {
    let mut rows = 0_u64;
    each_member(from, place, &mut |text| {
        let batch = line_protocol::parse(bucket, text, Precision::Ns, 0).map_err(|e| e.context(place))?;
        let parsed = batch.rows() as u64;
        let report = engine.write(batch)?;
        if report.dropped > 0 {
            return Err(match report.conflicts.is_empty() {
                true => Error::conflict(format!(
                    "{place}: {} rows were refused by the server",
                    report.dropped
                ))
                .hint(format!(
                    "are they older than the retention of its bucket `{bucket}`? lift it, or delete the \
                         empty bucket: a restore makes it anew"
                )),
                false => Error::conflict(format!(
                    "{place}: {} rows have a field of another type than the store",
                    report.dropped
                ))
                .hint("restore into an empty bucket"),
            });
        }
        rows = rows.saturating_add(parsed);
        Ok(())
    })?;
    Ok(rows)
}

/// Hands each member's lines on.
pub(crate) fn each_member(
    from: &mut dyn BufRead,
    place: &str,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::InvalidInput
        | std::io::ErrorKind::InvalidData
        | std::io::ErrorKind::UnexpectedEof => Error::corrupt(format!("{place}: it is not whole gzip: {e}")),
        _ => Error::io(place, e),
    };
    while !from.fill_buf().map_err(io)?.is_empty() {
        let mut text = Vec::new();
        flate2::bufread::GzDecoder::new(&mut *from)
            .take(MEMBER_BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(io)?;
        if text.len() as u64 > MEMBER_BYTES_MAX {
            return Err(Error::corrupt(format!(
                "{place}: a gzip member has more than {MEMBER_BYTES_MAX} bytes"
            )));
        }
        each(&text)?;
    }
    Ok(())
}

/// `measurement,tag=value`
fn head(key: &SeriesKey) -> Result<String> {
    let mut out = String::new();
    escape(&key.measurement, &[',', ' '], key, &mut out)?;
    for (k, v) in &key.tags {
        out.push(',');
        escape(k, &[',', ' ', '='], key, &mut out)?;
        out.push('=');
        escape(v, &[',', ' ', '='], key, &mut out)?;
    }
    Ok(out)
}

fn escape(text: &str, special: &[char], key: &SeriesKey, out: &mut String) -> Result<()> {
    if text.contains(['\n', '\r']) || text.ends_with('\\') || text.starts_with('#') {
        return Err(Error::invalid(format!(
            "line protocol cannot hold the name `{}` of {key}",
            text.escape_debug()
        )));
    }
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(())
}

/// One row; false if it has no field, and therefore no line.
fn line(head: &str, frame: &Frame, row: usize, out: &mut String) -> bool {
    let start = out.len();
    out.push_str(head);
    let mut separator = ' ';
    for column in frame.columns.iter().filter(|c| c.is_valid(row)) {
        out.push(separator);
        separator = ',';
        for c in column.name.chars() {
            if matches!(c, ',' | ' ' | '=') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('=');
        // Writing to a String cannot fail.
        let _ = match &column.values {
            Values::Float(v) => v.get(row).map_or(Ok(()), |x| write!(out, "{x}")),
            Values::Integer(v) => v.get(row).map_or(Ok(()), |x| write!(out, "{x}i")),
            Values::Decimal(v, scale) => {
                v.get(row).map_or(Ok(()), |x| write!(out, "{}", Decimal { units: *x, scale: *scale }))
            }
            Values::Unsigned(v) => v.get(row).map_or(Ok(()), |x| write!(out, "{x}u")),
            Values::Boolean(v) => v.get(row).map_or(Ok(()), |x| write!(out, "{x}")),
            Values::String(v) => v
                .get(row)
                .map_or(Ok(()), |x| write!(out, "\"{}\"", x.replace('\\', "\\\\").replace('"', "\\\""))),
        };
    }
    if separator == ' ' {
        out.truncate(start);
        return false;
    }
    let _ = writeln!(out, " {}", frame.times.get(row).copied().unwrap_or_default());
    true
}
