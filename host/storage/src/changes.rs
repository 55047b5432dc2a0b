//! What was committed, for whoever waits for it. Nobody waits for a listener: names are put into a set, each once, and a
//! listener takes the set when it comes to it.

use crate::caller::Caller;
use crate::error::Result;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// Names that wait to be taken; more of them count as [`Change::Everything`].
pub const CHANGES_MAX: usize = 10_000;

/// Tells those who follow the numbers of changes which one is the newest, after its commit; where nobody follows it is not looked
/// up. Two commits may come here in the other order: a number never goes back.
pub(crate) fn tell_newest(last: &watch::Sender<i64>, newest: impl FnOnce() -> Result<i64>) -> Result<()> {
    if last.receiver_count() > 0 {
        let newest = newest()?;
        last.send_if_modified(|there| {
            let newer = newest > *there;
            *there = newest.max(*there);
            newer
        });
    }
    Ok(())
}

/// Something that was committed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Rows of a measurement.
    Series { bucket: String, measurement: String },
    /// A version of a skill.
    Skill,
    /// More than could be named.
    Everything,
}

/// The changes that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Changes {
    wanted: AtomicBool,
    there: Mutex<BTreeSet<Change>>,
    woken: Notify,
}

impl Changes {
    /// Whether somebody will take them; otherwise nothing is kept, and a write costs nothing more.
    pub fn listen(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Must the names be gathered? What a plugin wrote wakes no plugin: two of them would wake each other for ever.
    pub(crate) fn wanted(&self, caller: &Caller) -> bool {
        self.wanted.load(Ordering::Relaxed) && !matches!(caller, Caller::Plugin { .. })
    }

    /// After the commit.
    pub(crate) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            if there.len() < CHANGES_MAX {
                there.insert(change);
            } else {
                there.insert(Change::Everything);
                break;
            }
        }
        drop(there);
        self.woken.notify_one();
    }

    /// Waits until there are some, and takes them.
    pub async fn take(&self) -> BTreeSet<Change> {
        loop {
            let taken = std::mem::take(&mut *self.there.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.woken.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn series(n: usize) -> Change {
        Change::Series { bucket: "market".into(), measurement: format!("tick.{n:06}") }
    }

    #[tokio::test]
    async fn each_is_told_once_and_beyond_the_bound_everything_is() {
        let changes = Changes::default();
        changes.tell([series(1), series(1), Change::Skill]);
        assert_eq!(changes.take().await, BTreeSet::from([series(1), Change::Skill]));
        changes.tell((0..CHANGES_MAX).map(series));
        let taken = changes.take().await;
        assert!(taken.len() == CHANGES_MAX && !taken.contains(&Change::Everything));
        changes.tell((0..=CHANGES_MAX).map(series));
        assert!(changes.take().await.contains(&Change::Everything));
    }

    #[test]
    fn nothing_is_kept_that_nobody_wants_or_that_a_plugin_wrote() {
        let changes = Changes::default();
        let plugin = Caller::Plugin { name: "p".into(), grants: Arc::default() };
        assert!(!changes.wanted(&Caller::Operator));
        changes.listen(true);
        assert!(changes.wanted(&Caller::Operator) && !changes.wanted(&plugin));
        changes.listen(false);
        assert!(!changes.wanted(&Caller::Operator));
    }
}
