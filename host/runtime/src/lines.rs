//! The lines of a call: what it logged, and what it printed, in their order and within its limits.

use crate::host::secrets::without;
use crate::text::printable;
use shiphold_storage::units::ByteSize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a log line that are kept.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4 << 10;

/// Where a guest prints to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    Stdout,
    Stderr,
}

/// Shared by the store of a call and the streams that its guest prints to.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    plugin: String,
    max: usize,
    bytes_max: u64,
    bytes: u64,
    kept: Vec<String>,
    more: u64,
    /// Secrets that are blanked out.
    hidden: Vec<String>,
    /// What was printed since the last end of a line.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(plugin: &str, max: u32, bytes_max: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            plugin: plugin.into(),
            max: max as usize,
            bytes_max,
            bytes: 0,
            kept: Vec::new(),
            more: 0,
            hidden: Vec::new(),
            stdout: Vec::new(),
            stderr: Vec::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line: at most `max` of them with `bytes_max` together.
    pub(crate) fn push(&self, line: &str) {
        self.inner().push(line);
    }

    /// From now on this secret stands in no line.
    pub(crate) fn hide(&self, secret: &str) {
        crate::host::secrets::hide(&mut self.inner().hidden, secret);
    }

    /// A text of the guest's without the secrets that it read.
    pub(crate) fn without_secrets(&self, text: &str) -> String {
        without(&self.inner().hidden, text)
    }

    /// Bytes that were printed: each whole line is kept like one that was logged. A line longer than
    /// [`LOG_LINE_BYTES_MAX`] becomes several.
    pub(crate) fn print(&self, to: Printed, bytes: &[u8]) {
        let mut inner = self.inner();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            for piece in part.chunks(LOG_LINE_BYTES_MAX) {
                let open = inner.open(to);
                let (text, ends) = match piece.split_last() {
                    Some((b'\n', text)) => (text, true),
                    _ => (piece, false),
                };
                let room = LOG_LINE_BYTES_MAX.saturating_sub(open.len());
                if text.len() > room {
                    inner.end(to);
                }
                inner.open(to).extend_from_slice(text);
                if ends {
                    inner.end(to);
                }
            }
        }
    }

    /// The lines, with a last one that counts what was not kept.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut inner = self.inner();
        for to in [Printed::Stdout, Printed::Stderr] {
            if !inner.open(to).is_empty() {
                inner.end(to);
            }
        }
        let mut lines = std::mem::take(&mut inner.kept);
        if inner.more > 0 {
            lines.push(format!(
                "… {} more lines were not kept: limits.log_lines = {}, limits.log_bytes = {}",
                inner.more,
                inner.max,
                ByteSize(inner.bytes_max)
            ));
        }
        lines
    }
}

impl Inner {
    fn push(&mut self, line: &str) {
        if self.kept.len() >= self.max {
            self.more += 1;
            return;
        }
        let kept = printable(&without(&self.hidden, line), LOG_LINE_BYTES_MAX);
        let bytes = self.bytes.saturating_add(kept.len() as u64);
        if bytes > self.bytes_max {
            self.more += 1;
            return;
        }
        self.bytes = bytes;
        tracing::debug!(plugin = self.plugin, "{kept}");
        self.kept.push(kept);
    }

    fn open(&mut self, to: Printed) -> &mut Vec<u8> {
        match to {
            Printed::Stdout => &mut self.stdout,
            Printed::Stderr => &mut self.stderr,
        }
    }

    fn end(&mut self, to: Printed) {
        let bytes = std::mem::take(self.open(to));
        let name = match to {
            Printed::Stdout => "stdout",
            Printed::Stderr => "stderr",
        };
        self.push(&format!("{name}: {}", String::from_utf8_lossy(&bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_becomes_lines() {
        let lines = Lines::new("p", 10, u64::MAX);
        lines.print(Printed::Stdout, b"one\ntw");
        lines.push("info: between");
        lines.print(Printed::Stderr, b"bad");
        lines.print(Printed::Stdout, b"o\n\n");
        lines.print(Printed::Stdout, b"");
        assert_eq!(lines.take(), ["stdout: one", "info: between", "stdout: two", "stdout: ", "stderr: bad"]);
        assert!(lines.take().is_empty());
        lines.hide("hunter22");
        lines.push("info: hunter22");
        lines.print(Printed::Stdout, b"my hunter22\n");
        assert_eq!(lines.take(), ["info: [secret]", "stdout: my [secret]"]);
    }

    #[test]
    fn lines_over_the_bound_are_counted_and_long_ones_are_broken() {
        let lines = Lines::new("p", 2, 1 << 20);
        lines.print(Printed::Stdout, b"1\n2\n3\n4\n5");
        assert_eq!(
            lines.take(),
            [
                "stdout: 1",
                "stdout: 2",
                "… 3 more lines were not kept: limits.log_lines = 2, limits.log_bytes = 1 MiB"
            ]
        );
        let lines = Lines::new("p", 10, u64::MAX);
        lines.print(Printed::Stdout, &vec![b'x'; LOG_LINE_BYTES_MAX]);
        lines.print(Printed::Stdout, b"\n");
        assert_eq!(lines.take().len(), 1);
        lines.print(Printed::Stdout, &vec![b'x'; LOG_LINE_BYTES_MAX + 1]);
        assert_eq!(lines.take().len(), 2);
        // A flood without an end of a line is held in one line's room.
        for _ in 0..1_000 {
            lines.print(Printed::Stderr, &[b'x'; 1_000]);
        }
        assert!(lines.inner().stderr.len() <= LOG_LINE_BYTES_MAX);
    }
}
