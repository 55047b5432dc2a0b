//! What a line is, and the bounds of its parts.

use crate::error::{Error, Result};
use serde::Serialize;

/// Bytes of the name of a stream.
pub const STREAM_BYTES_MAX: usize = 64;
/// Streams of a host.
pub const STREAMS_MAX: i64 = 1_000;
/// Bytes of one push: it is held in memory.
pub const PUSH_BYTES_MAX: usize = 16 << 20;
/// Lines of one push: short ones cost more than their bytes.
pub const PUSH_LINES_MAX: usize = 200_000;
/// Lines of one answer.
pub const LINES_PAGE_MAX: u64 = 10_000;
/// Bytes of lines that one search looks at; it goes on from there.
pub const SCAN_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the lines of one answer.
pub const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Lines of a tail.
pub const TAIL_MAX: u64 = 1_000;

/// How much a line matters. Lines of which that is not known come with every least level but a given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace = 1,
    Debug = 2,
    Info = 3,
    Warn = 4,
    Error = 5,
    Fatal = 6,
}

impl Level {
    const ALL: [(&'static str, Self); 6] = [
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("fatal", Self::Fatal),
    ];

    /// What people and libraries write; `None` of anything else.
    pub fn of(word: &str) -> Option<Self> {
        // The longest of the words below.
        if word.len() > 8 {
            return None;
        }
        match word.to_ascii_lowercase().as_str() {
            "trace" | "trc" => Some(Self::Trace),
            "debug" | "dbg" => Some(Self::Debug),
            "info" | "inf" | "notice" => Some(Self::Info),
            "warn" | "warning" | "wrn" => Some(Self::Warn),
            "error" | "err" => Some(Self::Error),
            "fatal" | "critical" | "crit" | "panic" | "alert" => Some(Self::Fatal),
            _ => None,
        }
    }

    /// A level that somebody asks for.
    pub fn parse(word: &str) -> Result<Self> {
        Self::of(word).ok_or_else(|| {
            let all = Self::ALL.map(|(name, _)| name).join(", ");
            Error::invalid(format!("`{}` is no level of a line", word.escape_debug()))
                .hint(format!("use one of {all}"))
        })
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }

    /// As a row has it; 0: not known.
    pub(super) fn number(level: Option<Self>) -> i64 {
        level.map_or(0, |l| l as i64)
    }

    pub(super) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.iter().map(|(_, level)| *level).find(|l| *l as i64 == number)
    }
}

/// A line of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// From 1, in the order in which lines came; none is left out.
    pub number: u64,
    /// Nanoseconds since the Unix epoch: what the line says, or when it came.
    pub time: i64,
    pub level: Option<&'static str>,
    /// The line as it came, without its end.
    pub text: String,
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pushed {
    pub lines: u64,
    /// Their numbers; 0 where there was no line.
    pub first: u64,
    pub last: u64,
    /// Lines that were longer than `logs.line_max` and were cut, with a mark at their end.
    pub cut: u64,
    /// Lines that were not UTF-8; what could not be read of them was replaced.
    pub replaced: u64,
}

/// Which lines are asked for. All that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Nanoseconds since the Unix epoch, the first that counts.
    pub from_ns: Option<i64>,
    /// The first that does not count any more.
    pub to_ns: Option<i64>,
    /// The least level.
    pub level: Option<Level>,
    /// What the line has in it, by case.
    pub text: Option<String>,
    /// Lines after this number.
    pub after: u64,
    /// At most [`LINES_PAGE_MAX`].
    pub limit: u64,
}

/// An answer to a search.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// Where to go on: `after` of the next page. `None`: that was all.
    pub next: Option<u64>,
    /// Segments that could not be read, and why; all else was.
    pub unreadable: Vec<String>,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stream {
    pub stream: String,
    /// Lines that ever came.
    pub lines: u64,
    /// Bytes of lines that are in no segment yet.
    pub waiting_bytes: u64,
    pub segments: u64,
    /// Bytes of the lines in them, before compression.
    pub segment_bytes: u64,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
}
