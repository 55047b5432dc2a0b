//! What is done for the stores without being asked.

use super::store::FileStores;
use crate::caller::Caller;
use crate::error::{Kind, Result};
use crate::locks::lock;
use crate::schema::now_ns;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two looks at what is too old.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// When the stores were last looked after.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<Option<Instant>>);

impl FileStores {
    /// Once an hour: gives up idle uploads, takes versions away that a store keeps no longer, and collects what they leave. A store that
    /// a backup holds waits for the next look.
    pub(crate) fn maintain(&self) -> Result<()> {
        {
            let mut last = lock(&self.looked.0);
            if last.is_some_and(|l| l.elapsed() < LOOK_EVERY) {
                return Ok(());
            }
            *last = Some(Instant::now());
        }
        let names: Vec<String> = self.names().map(str::to_string).collect();
        let mut done = Ok(());
        for store in names {
            // One that fails keeps no other from being looked after.
            done = done.and(self.look_after(&store, now_ns()));
        }
        done
    }

    pub(super) fn look_after(&self, store: &str, now: i64) -> Result<()> {
        self.expire_uploads(store, now)?;
        let pruned = self.prune_at(&Caller::Operator, store, false, now)?;
        if pruned.versions == 0 {
            return Ok(());
        }
        tracing::info!(
            store,
            versions = pruned.versions,
            bytes = pruned.bytes,
            "old versions were taken away"
        );
        match self.gc(&Caller::Operator, store) {
            Err(e) if e.kind() == Kind::Busy => Ok(()),
            done => done.map(drop),
        }
    }
}
