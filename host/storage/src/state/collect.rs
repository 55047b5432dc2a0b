//! Objects that went with their last revision are removed in the background: a strategy that saves a large checkpoint each minute must
//! not fill its store.

use super::States;
use super::save::wait;
use crate::error::Result;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Objects that are looked at in one step.
const STEP: usize = 256;

impl States {
    /// A step of the background work; call it about once a second. Killed anywhere it does no harm: an object waits until it is gone.
    pub(crate) fn maintain(&self) -> Result<()> {
        if !self.dropped.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let done = self.take_away();
        // More may wait, a backup may hold them, or it failed: another look.
        if !matches!(done, Ok(true)) {
            self.dropped.store(true, Ordering::Relaxed);
        }
        done.map(drop)
    }

    /// Whether nothing waits any more.
    fn take_away(&self) -> Result<bool> {
        let waiting: Vec<(String, String)> = self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT store, hash FROM state_dropped ORDER BY looks, store, hash LIMIT ?1",
            )?;
            let rows = statement.query_map([STEP.cast_signed()], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        let mut all = waiting.len() < STEP;
        let mut stores: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (store, hash) in waiting {
            stores.entry(store).or_default().push(hash);
        }
        for (store, hashes) in stores {
            let looked = self.files.take_away(&store, &hashes, &|tx| {
                let mut note = tx.prepare_cached(
                    "UPDATE state_dropped SET looks = looks + 1 WHERE store = ?1 AND hash = ?2",
                )?;
                hashes.iter().try_for_each(|hash| note.execute((&store, hash)).map(drop))?;
                Ok(())
            })?;
            if !looked {
                all = false;
                continue;
            }
            // What lost another name since the look has none of it: `looks` is 0 again.
            self.db.write_always(|tx| {
                let mut forget = tx.prepare_cached(
                    "DELETE FROM state_dropped WHERE store = ?1 AND hash = ?2 AND looks > 0",
                )?;
                hashes.iter().try_for_each(|hash| forget.execute((&store, hash)).map(drop))?;
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// An object that a save left without a name. If this fails, too, it is garbage for `files gc`.
    pub(crate) fn drop_later(&self, store: &str, hash: &str) {
        match self.db.write_always(|tx| wait(tx, store, hash)) {
            Ok(()) => self.dropped.store(true, Ordering::Relaxed),
            Err(e) => tracing::debug!(store, hash, error = %e, "an object was left without a name"),
        }
    }
}
