//! What a skill is, and the bounds of its parts.

use super::{NewProvenance, Provenance, Status};
use crate::error::{Error, Result};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::is_nfc;

pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of a version's number.
pub const VERSION_BYTES_MAX: usize = 128;
/// Bytes of a range of versions.
pub const RANGE_BYTES_MAX: usize = 256;
pub const CODE_BYTES_MAX: usize = 1 << 20;
pub const DESCRIPTION_BYTES_MAX: usize = 16 << 10;
pub const LANGUAGE_BYTES_MAX: usize = 32;
pub const TAGS_MAX: usize = 64;
pub const TAG_BYTES_MAX: usize = 64;
pub const METADATA_BYTES_MAX: usize = 64 << 10;
pub const DEPENDS_MAX: usize = 256;
/// Samples that one record of performance rests on: whole numbers up to here are exact as a float, and so are sums of many.
pub const SAMPLES_MAX: u64 = 1_000_000_000_000;
/// The size of a return or a Sharpe ratio: beyond it the figure is a mistake.
pub const FIGURE_MAX: f64 = 1e9;
/// Bytes of a wrong text that its error shows.
const SHOWN_BYTES_MAX: usize = 256;
/// Rows of one answer.
pub const PAGE_MAX: u64 = 10_000;

/// A version to be stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    pub name: String,
    /// Default: the next patch of the highest version; `0.1.0` for a new skill.
    #[serde(default)]
    pub version: Option<Version>,
    /// `python`, `rust`, …
    pub language: String,
    pub code: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub tags: Vec<String>,
    /// An object; anything the trader wants to keep beside the code.
    #[serde(default)]
    pub metadata: Value,
    /// Skills that this one calls, each with the range of versions that will do.
    #[serde(default)]
    pub depends: BTreeMap<String, VersionReq>,
    /// What it may be used for at first; `active` by default. [`Skills::set_status`](super::Skills::set_status) changes it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Where it comes from; with the content, what makes it this version.
    #[serde(default, skip_serializing_if = "NewProvenance::is_empty")]
    pub provenance: NewProvenance,
}

/// A stored version; it never changes, but for its status and for which one is current.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkillVersion {
    pub name: String,
    pub version: Version,
    /// Is it the one that `get` without a version gives?
    pub current: bool,
    /// BLAKE3 of its content, in hexadecimal.
    pub hash: String,
    pub language: String,
    pub code: String,
    pub description: String,
    pub tags: Vec<String>,
    pub metadata: Value,
    pub depends: BTreeMap<String, VersionReq>,
    pub status: Status,
    pub provenance: Provenance,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
    pub created_by: String,
}

/// A line of the versions of a skill: without what is long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionSummary {
    pub version: Version,
    pub current: bool,
    pub status: Status,
    pub hash: String,
    pub language: String,
    pub description: String,
    pub tags: Vec<String>,
    pub author: Option<String>,
    pub parent: Option<super::SkillName>,
    pub run: Option<String>,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
    pub created_by: String,
}

/// Which versions of a skill to give, highest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VersionFilter {
    /// Only versions below this one: the next page.
    pub before: Option<Version>,
    /// Default: all, at most [`PAGE_MAX`].
    pub limit: Option<u64>,
}

/// A line of a list: the current version without its code.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkillSummary {
    pub name: String,
    pub version: Version,
    /// Of this version.
    pub status: Status,
    pub language: String,
    pub description: String,
    pub tags: Vec<String>,
    pub versions: u64,
    pub uses: u64,
    pub created_at: i64,
}

/// Which skills to list, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SkillFilter {
    pub tag: Option<String>,
    pub language: Option<String>,
    /// Only skills whose current version has it.
    pub status: Option<Status>,
    /// Only names after this one: the next page.
    pub after: Option<String>,
    /// Default 100.
    pub limit: Option<u64>,
}

/// What a version achieved over a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Performance {
    /// Nanoseconds since the Unix epoch; the end is not in the period.
    pub period_start: i64,
    pub period_end: i64,
    /// Of the period, as a fraction: 0.02 is two percent.
    pub returns: f64,
    /// Annualised Sharpe ratio.
    pub sharpe: f64,
    /// Share of trades that won, 0 to 1.
    pub win_rate: f64,
    /// The deepest fall from a peak, as a fraction, 0 to 1.
    pub max_drawdown: f64,
    /// Trades or returns that these figures rest on; at least 1.
    pub samples: u64,
}

/// A stored performance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerformanceRecord {
    /// Names the record, for the next page.
    pub seq: i64,
    pub version: Version,
    #[serde(flatten)]
    pub performance: Performance,
    /// Nanoseconds since the Unix epoch; a later record of a version has a later time, also where the clock was set back.
    pub recorded_at: i64,
    pub recorded_by: String,
}

impl NewVersion {
    /// Every part within its bound.
    pub(super) fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        let size = |what: &str, bytes: usize, max: usize| match bytes {
            b if b > max => Err(Error::limit(
                format!("the {what} of skill `{}` ({b})", self.name),
                max,
                "store large things as files and name them in the metadata",
            )),
            _ => Ok(()),
        };
        size("code in bytes", self.code.len(), CODE_BYTES_MAX)?;
        size("description in bytes", self.description.len(), DESCRIPTION_BYTES_MAX)?;
        size("number of tags", self.tags.len(), TAGS_MAX)?;
        size("metadata in bytes", self.metadata.to_string().len(), METADATA_BYTES_MAX)?;
        size("number of dependencies", self.depends.len(), DEPENDS_MAX)?;
        if self.code.is_empty() {
            return Err(Error::invalid(format!("skill `{}` has no code", self.name)));
        }
        let word = |s: &str, max: usize| {
            (1..=max).contains(&s.len()) && !s.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        if !word(&self.language, LANGUAGE_BYTES_MAX) {
            return Err(Error::invalid(format!(
                "`{}` is not a language of skill `{}`",
                shown(&self.language),
                self.name
            ))
            .hint("write one word, such as `python`"));
        }
        if let Some(tag) = self.tags.iter().find(|t| !word(t, TAG_BYTES_MAX)) {
            return Err(Error::invalid(format!("`{}` is not a tag", shown(tag)))
                .hint(format!("a tag is one word of 1 to {TAG_BYTES_MAX} bytes")));
        }
        if !matches!(self.metadata, Value::Null | Value::Object(_)) {
            return Err(Error::invalid(format!(
                "the metadata of skill `{}` is not a JSON object",
                self.name
            )));
        }
        if let Some(version) = &self.version {
            size("version in bytes", version.to_string().len(), VERSION_BYTES_MAX)?;
        }
        for (name, range) in &self.depends {
            check_name(name)?;
            size("range of a dependency in bytes", range.to_string().len(), RANGE_BYTES_MAX)?;
            if *name == self.name {
                return Err(Error::invalid(format!("skill `{name}` depends on itself")));
            }
        }
        self.provenance.check(&self.name)
    }

    /// BLAKE3 over each part as its length (eight little-endian bytes) and its bytes.
    pub(crate) fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |s: &str| {
            hasher.update(&(s.len() as u64).to_le_bytes());
            hasher.update(s.as_bytes());
        };
        part(&self.name);
        part(&self.language);
        part(&self.code);
        part(&self.description);
        part(&self.metadata.to_string());
        self.tags.iter().for_each(|t| part(t));
        for (name, range) in &self.depends {
            part(name);
            part(&range.to_string());
        }
        hasher.finalize().to_hex().to_string()
    }
}

impl Performance {
    pub(super) fn check(&self) -> Result<()> {
        if self.samples > SAMPLES_MAX {
            return Err(Error::limit(
                format!("a performance of {} samples", self.samples),
                SAMPLES_MAX,
                "count the trades or returns that the figures rest on",
            ));
        }
        if let Some(figure) = [self.returns, self.sharpe].into_iter().find(|v| v.abs() > FIGURE_MAX) {
            return Err(Error::limit(
                format!("the figure {figure} of a performance"),
                FIGURE_MAX,
                "returns are fractions (0.02 is two percent), the Sharpe ratio is annualised",
            ));
        }
        let finite =
            [self.returns, self.sharpe, self.win_rate, self.max_drawdown].iter().all(|v| v.is_finite());
        let shares = [self.win_rate, self.max_drawdown].iter().all(|v| (0.0..=1.0).contains(v));
        if finite && shares && self.period_end > self.period_start && self.samples > 0 {
            return Ok(());
        }
        Err(Error::invalid("the performance does not add up")
            .hint("win rate and drawdown are fractions from 0 to 1, the period ends after its start, samples is at least 1"))
    }
}

/// Names are in any script, in one spelling: a name that looks the same is the same.
pub(super) fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| {
        (c.is_alphanumeric() || is_combining_mark(c) || matches!(c, '.' | '_' | '-'))
            && c.to_lowercase().eq(std::iter::once(c))
    };
    let ok = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(fits)
        && is_nfc(name)
        && name.starts_with(char::is_alphanumeric);
    if ok {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is not a name of a skill", shown(name))).hint(format!(
        "use 1 to {NAME_BYTES_MAX} bytes of lower-case letters of any script (composed, NFC), digits, `.`, `_` and `-`, beginning with a letter or digit"
    )))
}

/// A text of one line for people: not blank, without control characters, nor those that turn the direction of writing round.
pub(super) fn check_line(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(Error::limit(
            format!("the {what} in bytes ({})", text.len()),
            bytes_max,
            "keep long texts in the metadata or in a file",
        ));
    }
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if text.trim().is_empty() || text.chars().any(|c| c.is_control() || turns(c)) {
        return Err(Error::invalid(format!("`{}` cannot be a {what}", shown(text)))
            .hint(format!("write one line of 1 to {bytes_max} bytes, in any script")));
    }
    Ok(())
}

/// The beginning of a wrong text: an error must not be as long as what it refuses.
pub(super) fn shown(text: &str) -> String {
    let cut = text.floor_char_boundary(SHOWN_BYTES_MAX);
    let more = if cut < text.len() { "…" } else { "" };
    format!("{}{more}", text.get(..cut).unwrap_or_default().escape_debug())
}
