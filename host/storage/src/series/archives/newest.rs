//! The newest values, of which some may be in archives.

use super::engine::Archived;
use super::index::{Archive, OfSeries, State};
use super::reading::touched;
use crate::error::Result;
use crate::locks::lock;
use crate::series::{Budget, Latest, LatestField, SeriesKey, TimeRange};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

/// The newest values of a series' archives, and the archives that they are of.
type Newest = (OfSeries, Arc<BTreeMap<String, LatestField>>);

/// Those that were read, by series.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<SeriesKey, Newest>>);

impl Archived {
    /// The newest value of each field that the archives of a series have.
    fn newest_of(
        &self,
        key: &SeriesKey,
        all: &OfSeries,
        budget: &Budget,
    ) -> Result<Arc<BTreeMap<String, LatestField>>> {
        if let Some((of, newest)) = lock(&self.newest.0).get(key) {
            if Arc::ptr_eq(of, all) {
                return Ok(newest.clone());
            }
        }
        let mut newest: BTreeMap<String, LatestField> = BTreeMap::new();
        let mut archives = touched(all, TimeRange::ALL);
        archives.sort_by_key(|a| std::cmp::Reverse((a.last, a.id)));
        // From the newest times back, until every field of what is left is known to be newer.
        let mut at = 0;
        while let Some(next) = archives.get(at) {
            let known = |name: &String| newest.get(name).is_some_and(|l| l.time > next.last);
            if next.fields.iter().all(|(name, _)| known(name)) {
                at += 1;
                continue;
            }
            let range = TimeRange { start: next.first, end: next.last.saturating_add(1) };
            for frame in self.rows_of(touched(all, range), range, budget) {
                let frame = frame?;
                for column in &frame.columns {
                    let last = (0..frame.len()).rev().find(|row| column.is_valid(*row));
                    let found = last.and_then(|row| Some((*frame.times.get(row)?, column.get(row)?)));
                    let Some((time, value)) = found else { continue };
                    if newest.get(&column.name).is_none_or(|l| l.time <= time) {
                        let name = column.name.clone();
                        newest.insert(name.clone(), LatestField { name, time, value });
                    }
                }
            }
            at += 1;
        }
        let newest = Arc::new(newest);
        lock(&self.newest.0).insert(key.clone(), (all.clone(), newest.clone()));
        Ok(newest)
    }

    /// The engine's newest values with those of archives that are newer.
    pub(super) fn with_newest(
        &self,
        mut all: Vec<Latest>,
        archived: Vec<(SeriesKey, OfSeries)>,
        budget: &Budget,
    ) -> Result<Vec<Latest>> {
        for (key, archives) in archived {
            let only: Vec<&Arc<Archive>> = archives.iter().filter(|a| a.state == State::Only).collect();
            if only.is_empty() {
                continue;
            }
            let at = all.binary_search_by(|l| l.key.cmp(&key));
            let have = at.ok().and_then(|at| all.get(at));
            let time =
                |name: &str| have.and_then(|l| l.fields.iter().find(|f| f.name == name)).map(|f| f.time);
            let known =
                |a: &&Arc<Archive>| a.fields.iter().all(|(name, _)| time(name).is_some_and(|t| t >= a.last));
            if only.iter().all(known) {
                continue;
            }
            let newest = self.newest_of(&key, &archives, budget)?;
            let mut fields: BTreeMap<String, LatestField> = newest.as_ref().clone();
            for field in have.iter().flat_map(|l| &l.fields) {
                if fields.get(&field.name).is_none_or(|f| f.time <= field.time) {
                    fields.insert(field.name.clone(), field.clone());
                }
            }
            let merged = Latest { key, fields: fields.into_values().collect() };
            match at {
                Ok(at) => all.iter_mut().skip(at).take(1).for_each(|l| *l = merged.clone()),
                Err(at) => all.insert(at, merged),
            }
        }
        Ok(all)
    }
}
