//! Saves and deletions in the order of their commits, for those who follow. Each has a number, by which a reconnect goes on. What a
//! follower comes too late for may have gone with `state.keep`; the newest of each strategy never has.

use super::types::Checkpoint;
use super::{States, rows};
use crate::caller::{Caller, Scope};
use crate::changes::tell_newest;
use crate::error::Result;
use serde::Serialize;
use tokio::sync::watch;

/// Changes in one look.
pub const FEED_PAGE_MAX: u32 = 1_000;

/// A save or a deletion, and its place in the order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateChange {
    pub seq: i64,
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
}

impl States {
    /// The number of the last change; 0 when there is none.
    pub fn last_change(&self) -> Result<i64> {
        self.db.read(|c| {
            Ok(c.prepare_cached("SELECT coalesce(max(seq), 0) FROM state_checkpoints")?
                .query_row([], |r| r.get(0))?)
        })
    }

    /// At most [`FEED_PAGE_MAX`] changes after a number, in order; of one strategy, or of all.
    pub fn changes(&self, caller: &Caller, strategy: Option<&str>, after: i64) -> Result<Vec<StateChange>> {
        match strategy {
            Some(strategy) => caller.may_read_state(strategy)?,
            None => caller.require(Scope::Read, "follow strategies")?,
        }
        self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT {}, c.seq FROM state_checkpoints c JOIN state_strategies s ON s.id = c.strategy
                 WHERE c.seq > ?1 AND (?2 IS NULL OR s.name = ?2) ORDER BY c.seq LIMIT ?3",
                rows::COLUMNS
            ))?;
            let found = statement.query_map((after, strategy, FEED_PAGE_MAX), |r| {
                Ok(StateChange { checkpoint: rows::read(r)?, seq: r.get(rows::NEXT_COLUMN)? })
            })?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Wakes when a change was committed. Look with [`States::changes`] after each waking, and once before the first.
    pub fn follow(&self) -> watch::Receiver<i64> {
        self.last.subscribe()
    }

    /// Tells those who follow that something was committed.
    pub(super) fn told(&self) -> Result<()> {
        tell_newest(&self.last, || self.last_change())
    }
}
