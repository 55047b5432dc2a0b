//! The lines of a library, and a reader that takes nothing beyond its bounds.

use super::super::types::{check_line, shown};
use super::super::{NewProvenance, NewVersion, Performance, SkillName, Status, Version};
use super::{Bounds, LibraryCounts};
use crate::error::{Error, Kind, Result};
use semver::VersionReq;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};

/// The format that is written and read.
pub const FORMAT: u32 = 1;
/// Bytes of a line: the longest code and the longest prompt, each byte of them written as six.
pub const LINE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the name of who did something.
const ACTOR_BYTES_MAX: usize = 256;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    Library(Head),
    Skill(SkillLine),
    Version(Box<VersionLine>),
    Status(StatusLine),
    Current(CurrentLine),
    Performance(PerformanceLine),
    End(End),
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) format: u32,
    /// Nanoseconds since the Unix epoch.
    #[serde(default)]
    pub(super) exported_at: i64,
    /// What wrote it.
    #[serde(default)]
    pub(super) by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SkillLine {
    pub(super) name: String,
    pub(super) created_at: i64,
    #[serde(default)]
    pub(super) uses: u64,
    #[serde(default)]
    pub(super) last_used: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionLine {
    pub(super) name: String,
    pub(super) version: Version,
    /// BLAKE3 of the content, as the answers have it.
    pub(super) hash: String,
    pub(super) language: String,
    pub(super) code: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    pub(super) metadata: Value,
    #[serde(default)]
    pub(super) depends: BTreeMap<String, VersionReq>,
    #[serde(default)]
    pub(super) provenance: Origin,
    pub(super) created_at: i64,
    pub(super) created_by: String,
}

/// Where a version comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Origin {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<SkillName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusLine {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) status: Status,
    #[serde(default)]
    pub(super) reason: Option<String>,
    pub(super) set_at: i64,
    pub(super) set_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CurrentLine {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) since: i64,
    pub(super) set_by: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PerformanceLine {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) performance: Performance,
    pub(super) recorded_at: i64,
    pub(super) recorded_by: String,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) counts: LibraryCounts,
    /// Of all lines between the first and this one, with their ends.
    pub(super) blake3: String,
}

impl VersionLine {
    /// The same as it would be put.
    pub(super) fn content(&self) -> NewVersion {
        NewVersion {
            name: self.name.clone(),
            version: Some(self.version.clone()),
            language: self.language.clone(),
            code: self.code.clone(),
            description: self.description.clone(),
            tags: self.tags.clone(),
            metadata: self.metadata.clone(),
            depends: self.depends.clone(),
            status: None,
            provenance: NewProvenance {
                author: self.provenance.author.clone(),
                parent: None,
                prompt: self.provenance.prompt.clone(),
                run: self.provenance.run.clone(),
                import: None,
            },
        }
    }
}

pub(super) fn check_actor(name: &str) -> Result<()> {
    check_line("name of who did it", name, ACTOR_BYTES_MAX)
}

/// Lines of a file that is not trusted.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    bounds: Bounds,
    number: u64,
    bytes: u64,
    line: Vec<u8>,
    /// Of what lies between the first line and the last.
    hasher: blake3::Hasher,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, bounds: &Bounds) -> Self {
        let hasher = blake3::Hasher::new();
        Self { input, bounds: *bounds, number: 0, bytes: 0, line: Vec::new(), hasher }
    }

    /// The next line and its number, from 1.
    pub(super) fn next_line(&mut self) -> Result<Option<(u64, Line)>> {
        self.number += 1;
        let number = self.number;
        self.line.clear();
        let most = self.bounds.line_bytes.min(self.bounds.unpacked_bytes.saturating_sub(self.bytes));
        let read =
            (&mut self.input).take(most.saturating_add(1)).read_until(b'\n', &mut self.line).map_err(|e| {
                Error::invalid(format!("the file cannot be unpacked behind line {}: {e}", number - 1))
                    .hint("send a file that gzip or zstd wrote whole, or one that is not packed")
            })? as u64;
        self.bytes += read;
        if read == 0 {
            return Ok(None);
        }
        if self.bytes > self.bounds.unpacked_bytes {
            return Err(Error::limit(
                "the unpacked library",
                format!("{} bytes", self.bounds.unpacked_bytes),
                "export it in parts: a host for each part of the library",
            ));
        }
        if read > self.bounds.line_bytes {
            return Err(Error::limit(
                format!("line {number} of the library"),
                format!("{} bytes", self.bounds.line_bytes),
                "this is no library that a host exported",
            ));
        }
        let line: Line = serde_json::from_slice(&self.line).map_err(|e| {
            let begin = self.line.get(..64.min(self.line.len())).unwrap_or_default();
            Error::invalid(format!(
                "line {number} is no line of a library: {e} (it begins with `{}`)",
                shown(&String::from_utf8_lossy(begin))
            ))
            .hint("docs/library.md describes the lines; export the library again")
        })?;
        if let Line::Library(head) = &line {
            if head.format != FORMAT {
                return Err(Error::new(
                    Kind::Incompatible,
                    format!("the library has format {}, this host reads {FORMAT}", head.format),
                )
                .hint("use the version of the host that wrote it, or a newer one"));
            }
        }
        if !matches!(line, Line::Library(_) | Line::End(_)) {
            self.hasher.update(&self.line);
        }
        Ok(Some((number, line)))
    }

    /// The digest of what was read so far, in hexadecimal.
    pub(super) fn digest(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}
