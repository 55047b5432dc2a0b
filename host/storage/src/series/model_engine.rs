//! A reference engine for tests: plain maps, obviously right, nothing fast. Other engines and the executor are
//! compared with it.

use super::{
    Budget, Capabilities, Column, CompactReport, DeleteReport, EngineStats, Fault, FieldType, Frame,
    FrameStream, Latest, LatestField, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TypeConflict,
    Value, Values, WriteBatch, WriteReport, units,
};
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Rows of a frame that [`ModelEngine::default`] gives.
pub const FRAME_ROWS: usize = 1_000;
/// Distinct conflicts that a report names.
const CONFLICTS_MAX: usize = 100;

/// One row: the values that it has, by field.
pub type Row = BTreeMap<String, Value>;

#[derive(Debug, Default)]
struct State {
    series: BTreeMap<SeriesKey, BTreeMap<i64, Row>>,
    /// Fixed by the first write, also after its rows are deleted.
    types: BTreeMap<(String, String, String), FieldType>,
    commits: u64,
    rows_written: u64,
}

/// Last write wins, fields merge, a row with a type conflict is dropped whole. A row exists while it has a value
/// of a field; a scan that names fields gives the rows that have one of them; a frame has the columns that have a
/// value in it, by name; a series without rows is not listed.
#[derive(Debug)]
pub struct ModelEngine {
    state: Mutex<State>,
    frame_rows: usize,
    /// What writes fail with.
    failing: Mutex<Option<Kind>>,
}

impl Default for ModelEngine {
    fn default() -> Self {
        Self::with_frame_rows(FRAME_ROWS)
    }
}

impl ModelEngine {
    /// With frames of at most this many rows (more than 0).
    pub fn with_frame_rows(frame_rows: usize) -> Self {
        Self { state: Mutex::default(), frame_rows: frame_rows.max(1), failing: Mutex::default() }
    }

    /// From now on writes fail as on a device that does not answer, or do not any more.
    pub fn fail_writes(&self, failing: bool) {
        self.fail_writes_with(failing.then_some(Kind::Io));
    }

    /// From now on writes fail with an error of this kind; `None`: they do not any more.
    pub fn fail_writes_with(&self, kind: Option<Kind>) {
        *lock(&self.failing) = kind;
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Error::internal("the model engine's lock is poisoned"))
    }

    /// All rows of a series.
    pub fn rows(&self, key: &SeriesKey) -> Result<BTreeMap<i64, Row>> {
        Ok(self.state()?.series.get(key).cloned().unwrap_or_default())
    }
}

/// The rows of a stream, whatever its frames and the order of its columns: the form in which engines are compared.
pub fn rows_of(stream: FrameStream) -> Result<Vec<(i64, Row)>> {
    let mut out = Vec::new();
    for frame in stream {
        let frame = frame?;
        for (row, time) in frame.times.iter().enumerate() {
            let values =
                frame.columns.iter().filter_map(|c| c.get(row).map(|v| (c.name.clone(), v))).collect();
            out.push((*time, values));
        }
    }
    Ok(out)
}

/// Rows in ascending time as one frame; columns by name, each of the type of its first value.
pub fn frame_of(rows: &[(i64, Row)]) -> Frame {
    let mut columns: BTreeMap<&str, FieldType> = BTreeMap::new();
    for (_, row) in rows {
        for (name, value) in row {
            columns.entry(name).or_insert_with(|| value.field_type());
        }
    }
    let columns = columns
        .into_iter()
        .map(|(name, of)| {
            let cells: Vec<Option<&Value>> = rows.iter().map(|(_, row)| row.get(name)).collect();
            let mut values = Values::empty(of);
            for cell in &cells {
                match (&mut values, cell) {
                    (Values::Float(v), cell) => v.push(cell.and_then(|c| c.as_f64()).unwrap_or_default()),
                    (Values::Integer(v), Some(Value::Integer(x))) => v.push(*x),
                    (Values::Decimal(v, _), Some(Value::Decimal(x))) => v.push(x.units),
                    (Values::Integer(v) | Values::Decimal(v, _), _) => v.push(0),
                    (Values::Unsigned(v), Some(Value::Unsigned(x))) => v.push(*x),
                    (Values::Unsigned(v), _) => v.push(0),
                    (Values::Boolean(v), Some(Value::Boolean(x))) => v.push(*x),
                    (Values::Boolean(v), _) => v.push(false),
                    (Values::String(v), Some(Value::String(x))) => v.push(x.clone()),
                    (Values::String(v), _) => v.push(String::new()),
                }
            }
            let valid: Vec<bool> = cells.iter().map(Option::is_some).collect();
            let valid = (!valid.iter().all(|v| *v)).then_some(valid);
            Column { name: name.to_string(), values, valid }
        })
        .collect();
    Frame { times: rows.iter().map(|(t, _)| *t).collect(), columns }
}

impl SeriesEngine for ModelEngine {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        if let Some(kind) = *lock(&self.failing) {
            return Err(Error::new(kind, "the device does not answer"));
        }
        for (_, frame) in &batch.series {
            frame.validate()?;
        }
        let mut state = self.state()?;
        let mut report = WriteReport::default();
        for (key, frame) in &batch.series {
            for (i, time) in frame.times.iter().enumerate() {
                let row: Row =
                    frame.columns.iter().filter_map(|c| c.get(i).map(|v| (c.name.clone(), v))).collect();
                if row.is_empty() {
                    continue;
                }
                let mut conflicts = Vec::new();
                for (field, value) in &row {
                    let name = (key.bucket.clone(), key.measurement.clone(), field.clone());
                    let have = *state.types.get(&name).unwrap_or(&value.field_type());
                    if have != value.field_type() {
                        conflicts.push(TypeConflict {
                            bucket: name.0,
                            measurement: name.1,
                            field: name.2,
                            have,
                            got: value.field_type(),
                            value: None,
                        });
                    }
                }
                if !conflicts.is_empty() {
                    report.dropped += 1;
                    for conflict in conflicts {
                        if report.conflicts.len() < CONFLICTS_MAX && !report.conflicts.contains(&conflict) {
                            report.conflicts.push(conflict);
                        }
                    }
                    continue;
                }
                for (field, value) in &row {
                    let name = (key.bucket.clone(), key.measurement.clone(), field.clone());
                    state.types.entry(name).or_insert_with(|| value.field_type());
                }
                state.series.entry(key.clone()).or_default().entry(*time).or_default().extend(row);
                report.written += 1;
            }
        }
        state.commits += 1;
        state.rows_written += report.written;
        Ok(report)
    }

    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        self.admit(batch)?;
        let state = self.state()?;
        units::fit(batch, &mut |key| {
            let of = |name: &(String, String, String)| name.0 == key.bucket && name.1 == key.measurement;
            Ok(state.types.iter().filter(|(n, _)| of(n)).map(|(n, of)| (n.2.clone(), *of)).collect())
        })
    }

    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        let mut rows = Vec::new();
        if let Some(series) = self.state()?.series.get(key) {
            for (time, row) in series.iter().filter(|(t, _)| range.contains(**t)) {
                let row: Row = row
                    .iter()
                    .filter(|(name, _)| fields.is_none_or(|f| f.contains(name)))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                if !row.is_empty() {
                    rows.push((*time, row));
                }
            }
        }
        let frames: Vec<Frame> = rows.chunks(self.frame_rows).map(frame_of).collect();
        let budget = budget.clone();
        Ok(Box::new(frames.into_iter().map(move |f| budget.check().map(|()| f))))
    }

    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        budget.check()?;
        let mut state = self.state()?;
        let mut report = DeleteReport { series: 0, rows: Some(0) };
        for (_, rows) in state.series.iter_mut().filter(|(key, _)| selector.matches(key)) {
            let before = rows.len();
            rows.retain(|time, _| !range.contains(*time));
            let gone = (before - rows.len()) as u64;
            if gone > 0 {
                report.series += 1;
                report.rows = report.rows.map(|r| r + gone);
            }
        }
        state.series.retain(|_, rows| !rows.is_empty());
        Ok(report)
    }

    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        budget.check()?;
        let state = self.state()?;
        let chosen = state.series.iter().filter(|(key, _)| selector.matches(key));
        Ok(chosen
            .map(|(key, rows)| {
                let mut newest: BTreeMap<&String, (i64, &Value)> = BTreeMap::new();
                for (time, row) in rows {
                    newest.extend(row.iter().map(|(name, value)| (name, (*time, value))));
                }
                let fields = newest
                    .into_iter()
                    .map(|(name, (time, value))| LatestField {
                        name: name.clone(),
                        time,
                        value: value.clone(),
                    })
                    .collect();
                Latest { key: key.clone(), fields }
            })
            .collect())
    }

    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        let state = self.state()?;
        let chosen = state.series.iter().filter(|(key, _)| selector.matches(key));
        Ok(chosen
            .map(|(key, rows)| {
                let fields: BTreeMap<&String, FieldType> = rows
                    .values()
                    .flat_map(|row| row.iter().map(|(name, value)| (name, value.field_type())))
                    .collect();
                SeriesInfo {
                    key: key.clone(),
                    fields: fields.into_iter().map(|(name, of)| (name.clone(), of)).collect(),
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
        let state = self.state()?;
        let rows = state.series.values().map(|r| r.len() as u64).sum();
        Ok(EngineStats {
            series: state.series.len() as u64,
            rows,
            head_rows: rows,
            commits: state.commits,
            rows_written: state.rows_written,
            ..EngineStats::default()
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SeriesKey {
        SeriesKey::new("b", "m", Vec::new()).unwrap()
    }

    fn write(engine: &ModelEngine, time: i64, field: &str, value: Value) -> WriteReport {
        let frame = frame_of(&[(time, Row::from([(field.to_string(), value)]))]);
        engine.write(WriteBatch { series: vec![(key(), frame)] }).unwrap()
    }

    #[test]
    fn the_last_write_wins_and_fields_merge() {
        let engine = ModelEngine::with_frame_rows(1);
        write(&engine, 2, "a", Value::Float(1.0));
        write(&engine, 2, "b", Value::Integer(5));
        write(&engine, 2, "a", Value::Float(3.0));
        write(&engine, 1, "a", Value::Float(9.0));
        let conflict = write(&engine, 3, "a", Value::Integer(1));
        assert_eq!((conflict.written, conflict.dropped, conflict.conflicts.len()), (0, 1, 1));
        let rows = rows_of(engine.scan(&key(), TimeRange::ALL, None, &Budget::default()).unwrap()).unwrap();
        assert_eq!(rows.iter().map(|(t, r)| (*t, r.len())).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
        assert_eq!(rows[1].1["a"], Value::Float(3.0));
        let only_b = engine.scan(&key(), TimeRange::ALL, Some(&["b".into()]), &Budget::default()).unwrap();
        assert_eq!(rows_of(only_b).unwrap().len(), 1);
        let latest = engine.latest(&Selector::default()).unwrap();
        assert_eq!(latest[0].fields.iter().map(|f| f.time).collect::<Vec<_>>(), [2, 2]);

        let gone = engine.delete(&Selector::of(&key()), TimeRange { start: 2, end: 3 }).unwrap();
        assert_eq!(gone, DeleteReport { series: 1, rows: Some(1) });
        assert_eq!(engine.list(&Selector::default()).unwrap()[0].max_time, Some(1));
        engine.delete(&Selector::default(), TimeRange::ALL).unwrap();
        assert!(engine.list(&Selector::default()).unwrap().is_empty());
        // The type stays.
        assert_eq!(write(&engine, 3, "a", Value::Integer(1)).dropped, 1);
    }
}
