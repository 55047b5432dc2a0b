//! The changes of settings in the order of their commits, for those who follow: nothing is left out and nothing told twice, also over
//! a reconnect, because each change has a number.

use super::{Setting, Settings, read};
use crate::caller::Caller;
use crate::error::Result;
use serde::Serialize;
use tokio::sync::watch;

/// Changes in one look.
pub const FEED_PAGE_MAX: u32 = 1_000;

/// A change and its place in the order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingChange {
    pub seq: i64,
    #[serde(flatten)]
    pub setting: Setting,
}

impl Settings {
    /// The number of the last change; 0 when there is none.
    pub fn last_change(&self) -> Result<i64> {
        self.db.read(|c| {
            Ok(c.prepare_cached("SELECT coalesce(max(seq), 0) FROM setting_changes")?
                .query_row([], |r| r.get(0))?)
        })
    }

    /// At most [`FEED_PAGE_MAX`] changes of a namespace after a number, in order.
    pub fn changes(&self, caller: &Caller, namespace: &str, after: i64) -> Result<Vec<SettingChange>> {
        caller.may_read_settings(namespace)?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT r.namespace, r.key, r.revision, r.value, r.changed_at, r.changed_by, n.seq
                 FROM setting_changes n JOIN setting_revisions r USING (namespace, key, revision)
                 WHERE n.seq > ?1 AND n.namespace = ?2 ORDER BY n.seq LIMIT ?3",
            )?;
            let rows = statement.query_map((after, namespace, FEED_PAGE_MAX), |r| {
                Ok(SettingChange { setting: read(r)?, seq: r.get(6)? })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Wakes when a change was committed. Look with [`Settings::changes`] after each waking, and once before the first.
    pub fn follow(&self) -> watch::Receiver<i64> {
        self.last.subscribe()
    }
}
