//! The plainest engine that is right: a map. What the real ones do is compared with it.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Rows = BTreeMap<i64, BTreeMap<String, Value>>;

/// Rows of one frame of an answer; small, so that tests see several frames.
const FRAME_ROWS: usize = 100;

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<SeriesKey, Rows>,
    /// Of (bucket, measurement, field), for ever.
    types: BTreeMap<(String, String, String), FieldType>,
    written: u64,
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct ModelEngine {
    state: Mutex<State>,
}

impl ModelEngine {
    pub fn new() -> Self {
        Self::default()
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeriesEngine for ModelEngine {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        for (_, frame) in &batch.series {
            frame.validate()?;
        }
        let mut state = self.lock();
        let mut report = WriteReport::default();
        for (key, frame) in batch.series {
            for (row, time) in frame.times.iter().enumerate() {
                let values: Vec<(String, Value)> = frame.columns.iter().filter_map(|c| Some((c.name.clone(), c.get(row)?))).collect();
                let name = |field: &String| (key.bucket.clone(), key.measurement.clone(), field.clone());
                let conflict = values.iter().find_map(|(field, v)| {
                    let have = *state.types.get(&name(field))?;
                    (have != v.field_type()).then(|| TypeConflict {
                        bucket: key.bucket.clone(),
                        measurement: key.measurement.clone(),
                        field: field.clone(),
                        have,
                        got: v.field_type(),
                    })
                });
                if let Some(conflict) = conflict {
                    report.dropped += 1;
                    if !report.conflicts.contains(&conflict) && report.conflicts.len() < 100 {
                        report.conflicts.push(conflict);
                    }
                    continue;
                }
                if values.is_empty() {
                    continue;
                }
                for (field, v) in values {
                    state.types.entry(name(&field)).or_insert(v.field_type());
                    state.rows.entry(key.clone()).or_default().entry(*time).or_default().insert(field, v);
                }
                report.written += 1;
            }
        }
        state.written += report.written;
        Ok(report)
    }

    fn scan(&self, key: &SeriesKey, range: TimeRange, fields: Option<&[String]>, budget: &Budget) -> Result<FrameStream> {
        budget.check()?;
        let state = self.lock();
        let Some(rows) = state.rows.get(key) else { return Ok(Box::new(std::iter::empty())) };
        let wanted = |name: &String| fields.is_none_or(|f| f.contains(name));
        let rows: Vec<(i64, BTreeMap<&String, &Value>)> = rows
            .iter()
            .filter(|(t, _)| range.contains(**t))
            .map(|(t, r)| (*t, r.iter().filter(|(n, _)| wanted(n)).collect::<BTreeMap<_, _>>()))
            .filter(|(_, r)| !r.is_empty())
            .collect();
        if budget.rows_max.is_some_and(|max| rows.len() as u64 > max) {
            return Err(crate::Error::limit("the rows of a scan", budget.rows_max.unwrap_or(0), "narrow the range"));
        }
        let frames: Vec<Result<Frame>> = rows
            .chunks(FRAME_ROWS)
            .map(|part| {
                let names: BTreeSet<&String> = part.iter().flat_map(|(_, r)| r.keys().copied()).collect();
                let columns = names
                    .into_iter()
                    .filter_map(|n| {
                        let cells: Vec<Option<Value>> = part.iter().map(|(_, r)| r.get(n).map(|v| (*v).clone())).collect();
                        let of = cells.iter().flatten().next()?.field_type();
                        Some(query::column_of(n.clone(), of, &cells))
                    })
                    .collect();
                Ok(Frame { times: part.iter().map(|(t, _)| *t).collect(), columns })
            })
            .collect();
        Ok(Box::new(frames.into_iter()))
    }

    fn delete(&self, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        let mut state = self.lock();
        let (mut series, mut gone) = (0, 0);
        for (_, rows) in state.rows.iter_mut().filter(|(k, _)| selector.matches(k)) {
            let before = rows.len();
            rows.retain(|t, _| !range.contains(*t));
            series += u64::from(rows.len() < before);
            gone += (before - rows.len()) as u64;
        }
        state.rows.retain(|_, rows| !rows.is_empty());
        Ok(DeleteReport { series, rows: Some(gone) })
    }

    fn latest(&self, selector: &Selector) -> Result<Vec<Latest>> {
        let state = self.lock();
        Ok(state
            .rows
            .iter()
            .filter(|(k, _)| selector.matches(k))
            .map(|(key, rows)| {
                let mut fields: BTreeMap<&String, LatestField> = BTreeMap::new();
                for (time, row) in rows.iter().rev() {
                    for (name, value) in row {
                        fields.entry(name).or_insert_with(|| LatestField { name: name.clone(), time: *time, value: value.clone() });
                    }
                }
                Latest { key: key.clone(), fields: fields.into_values().collect() }
            })
            .collect())
    }

    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        let state = self.lock();
        Ok(state
            .rows
            .iter()
            .filter(|(k, _)| selector.matches(k))
            .map(|(key, rows)| {
                let mut fields: BTreeMap<String, FieldType> = BTreeMap::new();
                for (name, value) in rows.values().flatten() {
                    fields.insert(name.clone(), value.field_type());
                }
                SeriesInfo {
                    key: key.clone(),
                    fields: fields.into_iter().collect(),
                    rows: rows.len() as u64,
                    min_time: rows.keys().next().copied(),
                    max_time: rows.keys().next_back().copied(),
                }
            })
            .collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "model", durable_on_return: false, maintained_here: false }
    }
    fn stats(&self) -> Result<EngineStats> {
        let state = self.lock();
        let rows = state.rows.values().map(|r| r.len() as u64).sum();
        Ok(EngineStats { series: state.rows.len() as u64, rows, rows_written: state.written, ..EngineStats::default() })
    }
    fn seal(&self) -> Result<()> {
        Ok(())
    }
    fn compact(&self) -> Result<CompactReport> {
        Ok(CompactReport::default())
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        budget.check()?;
        Ok(Vec::new())
    }
}
