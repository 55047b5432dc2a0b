//! What a commit is asked to make, and what it made.

use super::apply::encode;
use crate::error::{Error, Result};
use crate::series::WriteBatch;
use crate::series::line_protocol::Precision;
use crate::settings::{Expect, Setting, SettingWrite};
use crate::skills::{NewVersion, Performance};
use crate::state::Checkpoint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Skills, performances, files, settings or bodies of lines in one commit; of each.
pub const PARTS_MAX: usize = 1_000;
/// Files of one commit, and checkpoints: each can be an object of its own on the disk.
pub const FILES_MAX: usize = 100;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// How long an idempotency key is remembered, in nanoseconds: seven days.
pub const KEYS_KEPT: i64 = 7 * 86_400 * 1_000_000_000;

/// Everything that is made together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commit {
    /// The same request with the same key is made once, and answered alike each time.
    pub idempotency_key: Option<String>,
    pub skills: Vec<CommitSkill>,
    pub performance: Vec<CommitPerformance>,
    pub files: Vec<CommitFile>,
    pub settings: Vec<SettingWrite>,
    pub series: Vec<CommitRows>,
    /// Not part of the digest where there is none: requests from before there were checkpoints keep theirs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<CommitCheckpoint>,
    /// Rows of series that are there as columns, for callers within the host.
    #[serde(skip)]
    pub rows: WriteBatch,
}

/// A version of a skill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitSkill {
    pub skill: NewVersion,
    /// `absent`, or `{"version": "1.2.0"}`: the current version must be this one.
    #[serde(default)]
    pub expect: ExpectSkill,
}

/// What must hold of a skill.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectSkill {
    #[default]
    Any,
    Absent,
    Version(Version),
}

/// What a version achieved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitPerformance {
    pub skill: String,
    /// Default: the one that this commit makes, else the current one.
    #[serde(default)]
    pub version: Option<Version>,
    pub performance: Performance,
}

/// A file. Its content is `text`, or `base64`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitFile {
    pub store: String,
    pub path: String,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub base64: Option<String>,
    #[serde(default)]
    pub media_type: Option<String>,
    #[serde(default)]
    pub metadata: Value,
    /// `absent`, or `{"revision": N}`: the newest version must be this one.
    #[serde(default)]
    pub expect: Expect,
}

/// Rows of series as line protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitRows {
    /// Default: that of the manifest.
    #[serde(default)]
    pub bucket: Option<String>,
    pub lines: String,
    #[serde(default)]
    pub precision: Precision,
}

/// A checkpoint of a strategy. Its content is `text`, or `base64`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitCheckpoint {
    pub strategy: String,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub base64: Option<String>,
    #[serde(default)]
    pub media_type: Option<String>,
    #[serde(default)]
    pub metadata: Value,
    /// `absent`, or `{"revision": N}`: the state must be at this revision.
    #[serde(default)]
    pub expect: Expect,
}

/// What was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// Grows with each commit.
    pub id: i64,
    /// Nanoseconds since the Unix epoch.
    pub made_at: i64,
    pub skills: Vec<CommitSkillDone>,
    pub files: Vec<CommitFileDone>,
    pub settings: Vec<Setting>,
    /// Rows of series.
    pub rows: u64,
    #[serde(default)]
    pub state: Vec<Checkpoint>,
    /// It was made by an earlier request with the same idempotency key.
    #[serde(default)]
    pub replayed: bool,
}

/// A version that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommitSkillDone {
    pub name: String,
    pub version: Version,
    pub hash: String,
}

/// A version of a file that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommitFileDone {
    pub store: String,
    pub path: String,
    pub version: u64,
    pub blake3: String,
    pub size: u64,
}

impl CommitFile {
    pub(super) fn content(&self) -> Result<Vec<u8>> {
        content(self.text.as_ref(), self.base64.as_ref())
            .map_err(|e| e.context(format!("the file `{}/{}`", self.store, self.path.escape_debug())))
    }
}

impl CommitCheckpoint {
    pub(super) fn content(&self) -> Result<Vec<u8>> {
        content(self.text.as_ref(), self.base64.as_ref())
            .map_err(|e| e.context(format!("the checkpoint of `{}`", self.strategy.escape_debug())))
    }
}

/// The content, from whichever form it came in.
pub(crate) fn content(text: Option<&String>, base64: Option<&String>) -> Result<Vec<u8>> {
    let wrong = |why: &str| Error::invalid(why).hint("give the content as `text`, or as `base64`");
    match (text, base64) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(base64)) => {
            STANDARD.decode(base64).map_err(|e| wrong(&format!("the content is no base64: {e}")))
        }
        (None, None) => Err(wrong("it has no content")),
        (Some(_), Some(_)) => Err(wrong("it has two contents")),
    }
}

/// Content as the `base64` of a file or a checkpoint.
pub fn as_base64(content: &[u8]) -> String {
    STANDARD.encode(content)
}

/// Refuses what is no idempotency key.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let shown: String = key.chars().take(IDEMPOTENCY_KEY_BYTES_MAX).collect();
    Err(Error::invalid(format!("`{}` is no idempotency key", shown.escape_debug())).hint(format!(
        "use 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters without spaces, such as a UUID"
    )))
}

impl Commit {
    /// Every part within its bound.
    pub(super) fn check(&self) -> Result<()> {
        for (what, n, max) in [
            ("skills", self.skills.len(), PARTS_MAX),
            ("performances", self.performance.len(), PARTS_MAX),
            ("files", self.files.len(), FILES_MAX),
            ("settings", self.settings.len(), PARTS_MAX),
            ("bodies of lines", self.series.len(), PARTS_MAX),
            ("frames of rows", self.rows.series.len(), PARTS_MAX),
            ("checkpoints", self.state.len(), FILES_MAX),
        ] {
            if n > max {
                return Err(Error::limit(format!("a commit of {n} {what}"), max, "make several commits"));
            }
        }
        if self.parts() == 0 {
            return Err(Error::invalid("the commit is empty")
                .hint("give it `skills`, `performance`, `files`, `settings`, `series` or `state`"));
        }
        let mut strategies = BTreeSet::new();
        if let Some(twice) = self.state.iter().find(|s| !strategies.insert(&s.strategy)) {
            let name = twice.strategy.escape_debug();
            return Err(Error::invalid(format!("the state of strategy `{name}` is saved twice")));
        }
        self.idempotency_key.as_deref().map_or(Ok(()), check_key)
    }

    pub(super) fn parts(&self) -> usize {
        self.skills.len()
            + self.performance.len()
            + self.files.len()
            + self.settings.len()
            + self.series.len()
            + self.state.len()
            + self.rows.series.len()
    }

    /// BLAKE3 of what is asked for, in hexadecimal; the key is not part of it.
    pub(super) fn digest(&self) -> Result<String> {
        let bare = Self { idempotency_key: None, ..self.clone() };
        let text =
            serde_json::to_vec(&bare).map_err(|e| Error::internal(format!("writing a commit: {e}")))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&text);
        if let Some(record) = encode(&self.rows)? {
            hasher.update(&record);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}
