//! What the files of a store weigh with all of their versions.

use super::FileStores;
use crate::error::Result;
use std::collections::BTreeMap;

/// Versions that are there, and the bytes of their objects, each counted once.
pub(crate) type Weight = (u32, u64);

impl FileStores {
    /// Of the names from `first` to `last`, both included.
    pub(crate) fn weights(&self, store: &str, first: &str, last: &str) -> Result<BTreeMap<String, Weight>> {
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT path, sum(n), sum(size) FROM (SELECT path, count(*) AS n, max(size) AS size FROM file_versions
                 WHERE store = ?1 AND path >= ?2 AND path <= ?3 AND hash IS NOT NULL GROUP BY path, hash)
                 GROUP BY path",
            )?;
            let rows = statement.query_map((store, first, last), |r| {
                let versions = u32::try_from(r.get::<_, i64>(1)?).unwrap_or(u32::MAX);
                Ok((r.get(0)?, (versions, r.get::<_, i64>(2)?.unsigned_abs())))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}
