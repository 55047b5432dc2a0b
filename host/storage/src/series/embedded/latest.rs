//! The newest value of each field: kept up to date by writes, found out from the statistics of chunks when it
//! is first asked for or after a delete.

use super::catalog::{Last, Series, State, note};
use super::chunk::{Chunk, Wanted};
use super::core::Core;
use super::statistics;
use crate::error::{Kind, Result};
use crate::series::{Budget, FieldType, Latest, LatestField, Selector};
use std::sync::Arc;

/// Series between two looks at the budget: most of them cost a copy of what is known.
const CHECK_EVERY: usize = 256;

impl Core {
    pub(super) fn latest(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        let mut out = Vec::new();
        for (n, series) in self.select(selector).into_iter().enumerate() {
            if n.is_multiple_of(CHECK_EVERY) {
                budget.check()?;
            }
            out.extend(self.latest_of(&series)?);
        }
        Ok(out)
    }

    fn latest_of(&self, series: &Series) -> Result<Option<Latest>> {
        // The locks of fields come before those of series.
        let mut types = series.measurement.types();
        loop {
            let mut state = series.state();
            if state.latest().is_none() {
                match self.find_latest(&types, &mut state)? {
                    None => {}
                    Some((chunk, why)) => {
                        drop(state);
                        // A field may have come between.
                        let now = series.measurement.types();
                        if now.len() == types.len() {
                            self.quarantine(series, &chunk, &why);
                        }
                        types = now;
                        continue;
                    }
                }
            }
            let latest = state.latest().map(<[Last]>::to_vec).unwrap_or_default();
            drop(state);
            if latest.is_empty() {
                return Ok(None);
            }
            let names = series.measurement.fields();
            let fields = latest.into_iter().filter_map(|l| {
                let (name, _) = names.name(l.field)?;
                Some(LatestField { name: name.to_owned(), time: l.time, value: l.value })
            });
            return Ok(Some(Latest { key: series.key(), fields: fields.collect() }));
        }
    }

    /// The series' lock is held, so that no chunk comes or goes meanwhile. Gives a chunk that is damaged.
    fn find_latest(
        &self,
        types: &[Option<FieldType>],
        state: &mut State,
    ) -> Result<Option<(Arc<Chunk>, crate::Error)>> {
        let mut latest: Box<[Last]> = Box::default();
        let chunks = state.chunks.iter().filter(|c| !c.is_bad());
        for chunk in chunks {
            match self.chunk_latest(types, chunk) {
                Ok(found) => found.into_iter().for_each(|l| note(&mut latest, l)),
                Err(e) if e.kind() == Kind::Corrupt => return Ok(Some((chunk.clone(), e))),
                Err(e) => return Err(e),
            }
        }
        state.set_latest(Some(latest));
        for run in state.runs().cloned().collect::<Vec<_>>() {
            state.note_latest(&run);
        }
        Ok(None)
    }

    fn chunk_latest(&self, types: &[Option<FieldType>], chunk: &Chunk) -> Result<Vec<Last>> {
        let stats = match self.sound_stats(chunk, types)? {
            Some(stats) => stats,
            // Replaced meanwhile in the file, or damaged: the values themselves tell.
            None => {
                // Who waited here would hold the series' lock.
                let _held = self.memory.decode_at_once(chunk.decoding_bytes());
                statistics::fields_of(&self.begin_chunk(chunk, types, Wanted::ALL)?.finish()?)
            }
        };
        Ok(stats
            .into_iter()
            .map(|s| Last { field: s.totals.field, time: s.last_time, value: s.totals.last })
            .collect())
    }

    /// The statistics of a chunk, if they are there and whole.
    pub(super) fn sound_stats(
        &self,
        chunk: &Chunk,
        types: &[Option<FieldType>],
    ) -> Result<Option<Vec<statistics::FieldStats>>> {
        let stored = self.stored_stats(chunk)?.map(|s| statistics::decode_fields(&s));
        Ok(stored.and_then(Result::ok).filter(|stats| statistics::fit(stats, types)))
    }

    pub(super) fn stored_stats(&self, chunk: &Chunk) -> Result<Option<Vec<u8>>> {
        use rusqlite::OptionalExtension;
        self.db.read(|c| {
            let mut select = c.prepare_cached("SELECT stats FROM chunk WHERE series = ?1 AND id = ?2")?;
            Ok(select.query_row((chunk.series, chunk.id), |row| row.get(0)).optional()?)
        })
    }
}
