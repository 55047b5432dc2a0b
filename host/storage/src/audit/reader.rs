//! The trail outside of its database, read a line at a time: an export, and the file of an archived segment.

use super::chain::AuditLine;
use crate::error::{Error, Result};
use std::io::{BufRead, Read as _};

/// Bytes of a line of an export.
pub const LINE_BYTES_MAX: u64 = 1 << 20;

/// The entries of lines, in their order. Nothing follows an error.
pub(super) struct Entries<R> {
    lines: R,
    /// What is read, as errors name it.
    of: String,
    number: u64,
    line: String,
    over: bool,
}

impl<R: BufRead> Entries<R> {
    pub(super) fn new(lines: R, of: impl Into<String>) -> Self {
        Self { lines, of: of.into(), number: 0, line: String::new(), over: false }
    }

    /// How an error names the line that was read last.
    pub(super) fn place(&self) -> String {
        format!("line {} of {}", self.number, self.of)
    }

    fn read(&mut self) -> Result<Option<AuditLine>> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.lines)
            .take(LINE_BYTES_MAX + 1)
            .read_line(&mut self.line)
            .map_err(|e| Error::io(self.place(), e))?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 > LINE_BYTES_MAX {
            let hint = "this is no export of an audit trail";
            return Err(Error::limit(self.place(), format!("{LINE_BYTES_MAX} bytes"), hint));
        }
        let entry = serde_json::from_str(&self.line);
        entry.map(Some).map_err(|e| Error::invalid(format!("{} is no entry: {e}", self.place())))
    }
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = Result<AuditLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let entry = self.read().transpose();
        self.over = !matches!(entry, Some(Ok(_)));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use serde_json::json;

    fn line(seq: i64, filler: usize) -> String {
        let line = json!({ "seq": seq, "time": 0, "actor": "operator", "action": "a.b", "object": "o", "before": null, "after": null,
                           "detail": "x".repeat(filler), "request": null, "hash": "" });
        format!("{line}\n")
    }

    #[test]
    fn entries_end_with_the_lines_or_with_an_error() {
        let read = |text: &str| -> Vec<Result<i64>> {
            Entries::new(text.as_bytes(), "the export").map(|e| e.map(|e| e.seq)).collect()
        };
        let two = line(1, 0) + line(2, 0).trim_end();
        assert_eq!(read(&two).into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);
        assert!(read("").is_empty());
        let wrong = read(&format!("{}{{}}\n{}", line(1, 0), line(3, 0)));
        assert_eq!(wrong.len(), 2, "nothing follows an error");
        let e = wrong[1].as_ref().unwrap_err();
        assert!(e.kind() == Kind::Invalid && e.message().contains("line 2 of the export"), "{e}");
        assert_eq!(read("\u{fffd}\n")[0].as_ref().unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn a_line_has_a_bound() {
        let most = usize::try_from(LINE_BYTES_MAX).unwrap();
        let filler = most - line(1, 0).len();
        for (more, want) in [(0, Ok(1)), (1, Err(Kind::Limit))] {
            let text = line(1, filler + more);
            let first = Entries::new(text.as_bytes(), "the export").next().unwrap();
            assert_eq!(first.map(|e| e.seq).map_err(|e| e.kind()), want, "{more}");
        }
    }
}
