//! Reads and checks the manifest; collects every problem with its line.

use std::fmt;

/// One thing wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// 1-based line.
    pub line: usize,
    /// The key, dotted: `series.engine`.
    pub key: String,
    pub message: String,
}

/// Everything wrong with a manifest, in order of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.0 {
            writeln!(f, "line {}: {}: {}", p.line, p.key, p.message)?;
        }
        Ok(())
    }
}
