//! An engine as it was known at a time: for reading only.

use super::Recorder;
use super::names::{field, hidden_bucket, shown};
use super::overlay::Overlay;
use super::past::{self, Past};
use crate::error::{Error, Result};
use crate::series::{
    Budget, Capabilities, CompactReport, DeleteReport, EngineStats, Fault, FieldType, FrameStream, Latest,
    LatestField, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, WriteBatch, WriteReport,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The series as they were known at `at`.
#[derive(Debug)]
pub(crate) struct Known {
    pub(super) recorder: Arc<Recorder>,
    pub(super) at: i64,
    /// The time of the question, by which windows are counted.
    pub(super) now: i64,
}

impl Known {
    fn engine(&self) -> &dyn SeriesEngine {
        self.recorder.engine.as_ref()
    }

    fn reaches(&self, key: &SeriesKey) -> Result<()> {
        self.recorder.rules.reaches(key, self.at, self.now)
    }

    /// A series that was not changed since is as it is now.
    pub(super) fn latest_of(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        // Writers that are at work may have been given a time before this one.
        drop(self.recorder.all_turns());
        // What changes after this look is in a log by the next one.
        let now = self.recorder.latest_within(selector, budget)?;
        let changed: BTreeSet<SeriesKey> = self.logs(selector)?.iter().map(|log| shown(&log.key)).collect();
        let mut out = Vec::with_capacity(now.len());
        for latest in now.into_iter().filter(|l| !changed.contains(&l.key)) {
            self.reaches(&latest.key)?;
            out.push(latest);
        }
        for key in changed {
            self.reaches(&key)?;
            out.extend(newest(self, key, budget)?);
        }
        out.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(out)
    }

    /// The logs of the chosen series that hold something recorded after the time.
    fn logs(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        let buckets: Vec<&str> = match &selector.bucket {
            Some(bucket) => vec![bucket],
            None => self.recorder.rules.buckets(),
        };
        let mut all = Vec::new();
        for bucket in buckets {
            let hidden = Selector { bucket: Some(hidden_bucket(bucket)), ..selector.clone() };
            all.extend(self.engine().list(&hidden)?);
        }
        all.retain(|log| log.max_time.is_some_and(|t| t > self.at));
        Ok(all)
    }
}

/// The newest value of each field of a series, by a scan of it.
fn newest(engine: &dyn SeriesEngine, key: SeriesKey, budget: &Budget) -> Result<Option<Latest>> {
    let mut newest: BTreeMap<String, LatestField> = BTreeMap::new();
    for frame in engine.scan(&key, TimeRange::ALL, None, budget)? {
        budget.check()?;
        let frame = frame?;
        for column in &frame.columns {
            let last = (0..frame.len()).rev().find(|row| column.is_valid(*row));
            let Some((row, time)) = last.and_then(|row| Some((row, *frame.times.get(row)?))) else {
                continue;
            };
            if let Some(value) = column.get(row) {
                let name = column.name.clone();
                newest.insert(name.clone(), LatestField { name, time, value });
            }
        }
    }
    Ok((!newest.is_empty()).then(|| Latest { key, fields: newest.into_values().collect() }))
}

fn read_only() -> Error {
    Error::invalid("what was known at a time is read, never written")
}

impl SeriesEngine for Known {
    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        self.reaches(key)?;
        self.recorder.settle(key);
        let now = self.engine().scan(key, range, fields, budget)?;
        let past = Past::new(key, self.at, range, fields);
        Ok(Box::new(Overlay::new(self.recorder.clone(), now, past, range, fields, budget)?))
    }

    /// Also series that are gone since. Rows, and the span where rows were changed, are upper bounds; fields that came later are
    /// named too.
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        let now = self.recorder.list(selector)?;
        let mut all: BTreeMap<SeriesKey, SeriesInfo> = now.into_iter().map(|i| (i.key.clone(), i)).collect();
        for log in self.logs(selector)? {
            let key = shown(&log.key);
            let Some((first, last)) = past::span(self.engine(), &key, self.at, &Budget::default())? else {
                continue;
            };
            let info = all.entry(key.clone()).or_insert_with(|| SeriesInfo {
                key,
                fields: Vec::new(),
                rows: 0,
                min_time: None,
                max_time: None,
            });
            info.rows = info.rows.saturating_add(log.rows);
            info.min_time = Some(info.min_time.map_or(first, |t| t.min(first)));
            info.max_time = Some(info.max_time.map_or(last, |t| t.max(last)));
            let mut fields: BTreeMap<String, FieldType> = info.fields.drain(..).collect();
            for (name, of) in log.fields.iter().filter_map(|(kept, _)| field(kept)) {
                fields.entry(name.to_string()).or_insert(of);
            }
            info.fields = fields.into_iter().collect();
        }
        all.keys().try_for_each(|key| self.reaches(key))?;
        Ok(all.into_values().collect())
    }

    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        self.latest_of(selector, budget)
    }

    fn write(&self, _: WriteBatch) -> Result<WriteReport> {
        Err(read_only())
    }
    fn delete_within(&self, _: &Selector, _: TimeRange, _: &Budget) -> Result<DeleteReport> {
        Err(read_only())
    }
    fn seal(&self) -> Result<()> {
        Err(read_only())
    }
    fn compact(&self) -> Result<CompactReport> {
        Err(read_only())
    }
    fn capabilities(&self) -> Capabilities {
        self.engine().capabilities()
    }
    fn stats(&self) -> Result<EngineStats> {
        self.recorder.stats()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.engine().verify(budget)
    }
}
