//! What a checkpoint is, and the bounds of its parts.

use crate::error::Result;
use crate::names;
use crate::settings::Expect;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of the content of a checkpoint that is kept in the database; larger content is an object of a file store, within the
/// `file_max` of that.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a strategy's name.
pub const NAME_BYTES_MAX: usize = 128;
/// Strategies that ever had a checkpoint, deleted ones among them.
pub const STRATEGIES_MAX: i64 = 10_000;
/// Checkpoints of one answer.
pub const PAGE_MAX: u64 = 10_000;
/// An idempotency key is remembered until its strategy has so many revisions more.
pub const KEYS_KEPT: u64 = 1_000;

/// One revision of a strategy's state, without its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub strategy: String,
    /// From 1; every save and every deletion adds one, and no number is used twice.
    pub revision: u64,
    /// BLAKE3 of the content in hexadecimal; `None`: this revision says that the state was deleted.
    pub blake3: Option<String>,
    /// Bytes of the content.
    pub size: u64,
    pub media_type: String,
    /// An object.
    pub metadata: Value,
    /// Nanoseconds since the Unix epoch; a later save has a later time, also where the clock was set back.
    pub saved_at: i64,
    pub saved_by: String,
    /// The file store that holds the content; `None`: the database does.
    pub store: Option<String>,
}

/// What was saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// It was saved by an earlier request with the same idempotency key.
    #[serde(default)]
    pub replayed: bool,
}

/// What is said of a checkpoint when it is saved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Save {
    /// Default `application/octet-stream`.
    pub media_type: Option<String>,
    /// An object.
    pub metadata: Value,
    /// The revision at which the state must be. A deleted state is absent, and at the revision that deleted it.
    pub expect: Expect,
    /// The same request with the same key is made once, and answered alike each time.
    pub idempotency_key: Option<String>,
}

/// Which checkpoint of a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    #[default]
    Newest,
    Revision(u64),
    /// The one that was the newest at a time, in nanoseconds since the Unix epoch.
    At(i64),
}

pub(super) fn check_name(name: &str) -> Result<()> {
    names::check_name("name of a strategy", name, NAME_BYTES_MAX)
}
