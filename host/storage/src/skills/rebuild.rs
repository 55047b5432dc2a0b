//! Makes anew what is derived from the versions: what is searched of each skill, its tags, and the index in memory.

use super::store::{Skills, document, set_tags};
use crate::caller::{Caller, Scope};
use crate::error::Result;

/// Skills that are made anew between two commits.
const PAGE_SKILLS: i64 = 1_000;

impl Skills {
    /// Writes every skill's document and tags again from its current version and forgets the index in memory, which the next
    /// question makes. Each page is a transaction, and each row right by itself: wherever it ends, it can begin again. `progress`
    /// gets skills done so far and says whether to go on; gives how many there were.
    pub fn rebuild(&self, caller: &Caller, progress: &mut dyn FnMut(u64) -> bool) -> Result<u64> {
        caller.require(Scope::Write, "index skills")?;
        let (mut after, mut done) = (0_i64, 0_u64);
        loop {
            let page = self.db.write(|tx| {
                let mut statement = tx.prepare_cached(
                    "SELECT s.id, v.tags FROM skills s JOIN skill_versions v ON v.id = s.current_id
                     WHERE s.id > ?1 ORDER BY s.id LIMIT ?2",
                )?;
                let rows = statement.query_map((after, PAGE_SKILLS), |r| Ok((r.get(0)?, r.get(1)?)))?;
                let page: Vec<(i64, String)> = rows.collect::<rusqlite::Result<_>>()?;
                for (skill, tags) in &page {
                    set_tags(tx, *skill, tags)?;
                    document(tx, *skill)?;
                }
                Ok(page)
            })?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            done += page.len() as u64;
            if !progress(done) {
                break;
            }
        }
        self.discovery.forget();
        Ok(done)
    }
}
