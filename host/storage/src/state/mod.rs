//! The state of strategies: checkpoints with compare-and-set and a history, from which a strategy goes on when it starts again.
//!
//! A checkpoint is opaque bytes with a media type and metadata. Each save is a revision; the newest is the state. Content up to
//! [`INLINE_BYTES_MAX`] is in the row, larger content is an object of the file store that `state.store` of the manifest names: written
//! first, as every object, and named by the row, so that a collection leaves it alone. Of each strategy the newest `state.keep`
//! revisions stay; older ones go with a save, and what only they named is removed in the background (`collect.rs`).

mod collect;
mod feed;
mod load;
mod rows;
mod save;
mod types;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

pub use feed::{FEED_PAGE_MAX, StateChange};
pub use save::PRUNE_STEP;
pub(crate) use save::Prepared;
pub use types::{
    Checkpoint, INLINE_BYTES_MAX, KEYS_KEPT, NAME_BYTES_MAX, PAGE_MAX, STRATEGIES_MAX, Save, Saved, Which,
};

use crate::files::FileStores;
use crate::manifest;
use crate::sqlite::Database;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;

/// The checkpoints of a host.
#[derive(Debug)]
pub struct States {
    db: Arc<Database>,
    files: Arc<FileStores>,
    rules: manifest::State,
    /// Number of the last save that was committed, for those who follow.
    last: watch::Sender<i64>,
    /// Objects may wait for being removed.
    dropped: AtomicBool,
}

impl States {
    pub fn new(db: Arc<Database>, files: Arc<FileStores>, rules: manifest::State) -> Self {
        // What an earlier process left is looked for once.
        Self { db, files, rules, last: watch::Sender::new(0), dropped: AtomicBool::new(true) }
    }
}
