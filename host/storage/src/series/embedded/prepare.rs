//! From a batch to what is committed: names become numbers, rows with a type conflict go, rows become runs.

use super::bounds::{CONFLICTS_MAX, FIELDS_MAX, RECORD_BYTES_MAX, too_many_fields};
use super::catalog::{Catalog, Measurement, Series, State};
use super::record;
use super::run::{Lane, Run, merge};
use super::tables;
use super::tags::Tags;
use crate::error::{Error, Result};
use crate::series::{FieldType, Frame, SeriesKey, TypeConflict, WriteBatch, WriteReport};
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows up to which two runs of the head are merged rather than kept apart.
pub(super) const JOIN_ROWS_MAX: usize = 1_024;
/// Bytes of a batch for rows of the head that get lanes which they did not have.
const FILLED_BYTES_MAX: u64 = 64 << 10;

/// A batch that is ready to be committed.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Each series once.
    pub parts: Vec<(Arc<Series>, Run)>,
    pub record: Vec<u8>,
    pub report: WriteReport,
}

impl Prepared {
    pub(super) fn values_bytes(&self) -> u64 {
        self.parts.iter().map(|(_, run)| run.size_bytes() as u64).sum()
    }
}

/// A frame whose series is known, and the number of each of its columns (`None`: it holds no value).
type Resolved = (Arc<Series>, Vec<Option<u32>>);

/// What the present commit adds to the catalogue; published once it is durable.
#[derive(Debug, Default)]
pub(super) struct Staged {
    measurements: HashMap<(String, String), Arc<Measurement>>,
    /// Fields to add, in the order of their numbers.
    fields: Vec<(Arc<Measurement>, u32, String, FieldType)>,
    /// The same by measurement and name.
    names: HashMap<i64, HashMap<String, (u32, FieldType)>>,
    series: HashMap<SeriesKey, Arc<Series>>,
    /// Series with all their fields, old and new.
    touched: HashMap<i64, (Arc<Series>, Vec<u32>)>,
}

/// Numbers for a batch whose names are all in the catalogue, with the right types; `None` if any is not.
pub(super) fn resolve_known(catalog: &Catalog, batch: &WriteBatch) -> Option<Vec<Resolved>> {
    let mut all = Vec::with_capacity(batch.series.len());
    for (key, frame) in &batch.series {
        let series = catalog.get(key)?;
        let fields = series.measurement.fields();
        let state = series.state();
        let mut numbers = Vec::with_capacity(frame.columns.len());
        for column in &frame.columns {
            let (number, of) = fields.find(&column.name)?;
            if of != column.values.field_type() || state.fields.binary_search(&number).is_err() {
                return None;
            }
            numbers.push(Some(number));
        }
        all.push((series.clone(), numbers));
    }
    Some(all)
}

/// What a batch takes in memory until it is in the head, at most.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Space {
    /// In the head.
    pub head: u64,
    pub record: u64,
}

/// `resolved`: as [`resolve_known`] says. A series that has more fields than its frame fills up their lanes.
pub(super) fn space(batch: &WriteBatch, resolved: Option<&[Resolved]>) -> Space {
    let mut space = Space { head: FILLED_BYTES_MAX, record: 0 };
    for (at, (_, frame)) in batch.series.iter().enumerate() {
        let series = resolved.and_then(|r| r.get(at)).map(|r| &r.0);
        let lanes = series.map_or(0, |s| s.state().fields.len()).max(frame.columns.len());
        let (rows, values) = (frame.len(), frame.size_bytes());
        // More rows are a run of their own. Of those before them, mostly as many get a lane that they did not have.
        let joined = if rows <= JOIN_ROWS_MAX { rows } else { 0 };
        let filled = joined * (lanes + 8 * (lanes - frame.columns.len()) + 9 * lanes);
        space.head = space.head.saturating_add((values + filled) as u64);
        space.record = space.record.saturating_add((values + 64 * (1 + frame.columns.len())) as u64);
    }
    space
}

/// Runs and record of a batch whose names are resolved.
pub(super) fn build(batch: WriteBatch, resolved: Vec<Resolved>, mut report: WriteReport) -> Result<Prepared> {
    let mut parts: Vec<(Arc<Series>, Run)> = Vec::with_capacity(resolved.len());
    let mut places: HashMap<i64, usize> = HashMap::new();
    for ((_, frame), (series, numbers)) in batch.series.into_iter().zip(resolved) {
        let lanes = frame.columns.into_iter().zip(numbers).filter_map(|(column, number)| {
            Some(Lane { field: number?, values: column.values, valid: column.valid })
        });
        let mut run = Run { times: frame.times, lanes: lanes.collect() };
        run.tidy();
        report.written += run.len() as u64;
        if run.is_empty() {
            continue;
        }
        let run = Run::from_rows(run.times, run.lanes);
        match places.get(&series.id).and_then(|at| parts.get_mut(*at)) {
            Some((_, have)) => *have = merge(std::mem::take(have), run),
            None => {
                places.insert(series.id, parts.len());
                parts.push((series, run));
            }
        }
    }
    let record = record::encode(parts.iter().map(|(s, r)| (s.id, r)))?;
    if record.len() > RECORD_BYTES_MAX {
        return Err(Error::limit(
            "the batch's size in bytes",
            RECORD_BYTES_MAX,
            "write it in several batches",
        ));
    }
    Ok(Prepared { parts, record, report })
}

impl Staged {
    pub(super) fn is_empty(&self) -> bool {
        self.measurements.is_empty()
            && self.fields.is_empty()
            && self.series.is_empty()
            && self.touched.is_empty()
    }

    /// Resolves a batch, adding what is new; drops rows that conflict.
    pub(super) fn prepare(
        &mut self,
        catalog: &Catalog,
        mut batch: WriteBatch,
        series_max: u64,
    ) -> Result<Prepared> {
        let new: std::collections::HashSet<&SeriesKey> = batch
            .series
            .iter()
            .map(|(k, _)| k)
            .filter(|k| catalog.get(k).is_none() && !self.series.contains_key(*k))
            .collect();
        let there = catalog.len() as u64 + self.series.len() as u64;
        if !new.is_empty() && there.saturating_add(new.len() as u64) > series_max {
            return Err(Error::limit(
                "the number of series",
                series_max,
                "raise `limits.series_max` in shiphold.toml, or delete series; those without rows are given up at the next start",
            ));
        }
        let mut report = WriteReport::default();
        let mut resolved = Vec::with_capacity(batch.series.len());
        let mut kept = Vec::with_capacity(batch.series.len());
        for (key, mut frame) in std::mem::take(&mut batch.series) {
            self.drop_conflicts(catalog, &key, &mut frame, &mut report);
            if let Some(place) = self.resolve(catalog, &key, &frame)? {
                resolved.push(place);
                kept.push((key, frame));
            }
        }
        build(WriteBatch { series: kept }, resolved, report)
    }

    fn measurement<'a>(&'a self, catalog: &'a Catalog, key: &SeriesKey) -> Option<&'a Arc<Measurement>> {
        catalog
            .measurement(&key.bucket, &key.measurement)
            .or_else(|| self.measurements.get(&(key.bucket.clone(), key.measurement.clone())))
    }

    fn find_field(&self, measurement: &Arc<Measurement>, name: &str) -> Option<(u32, FieldType)> {
        measurement.fields().find(name).or_else(|| self.names.get(&measurement.id)?.get(name).copied())
    }

    /// As InfluxDB does: a point with a field of another type than the measurement has is dropped whole.
    fn drop_conflicts(
        &self,
        catalog: &Catalog,
        key: &SeriesKey,
        frame: &mut Frame,
        report: &mut WriteReport,
    ) {
        let Some(measurement) = self.measurement(catalog, key) else { return };
        let mut keep = vec![true; frame.len()];
        for column in &frame.columns {
            let got = column.values.field_type();
            let Some((_, have)) = self.find_field(measurement, &column.name).filter(|(_, have)| *have != got)
            else {
                continue;
            };
            let mut any = false;
            for (row, kept) in keep.iter_mut().enumerate() {
                if column.is_valid(row) {
                    *kept = false;
                    any = true;
                }
            }
            let conflict = TypeConflict {
                bucket: key.bucket.clone(),
                measurement: key.measurement.clone(),
                field: column.name.clone(),
                have,
                got,
                value: None,
            };
            if any && report.conflicts.len() < CONFLICTS_MAX && !report.conflicts.contains(&conflict) {
                report.conflicts.push(conflict);
            }
        }
        let dropped = keep.iter().filter(|k| !**k).count();
        if dropped == 0 {
            return;
        }
        report.dropped += dropped as u64;
        let columns = std::mem::take(&mut frame.columns);
        let lanes = columns.iter().zip(0..).map(|(c, field)| Lane {
            field,
            values: c.values.clone(),
            valid: c.valid.clone(),
        });
        let mut run = Run { times: std::mem::take(&mut frame.times), lanes: lanes.collect() };
        run.keep(&keep);
        frame.times = run.times;
        frame.columns = columns
            .into_iter()
            .zip(run.lanes)
            .map(|(c, l)| crate::series::Column { name: c.name, values: l.values, valid: l.valid })
            .collect();
    }

    /// `None` if the frame holds no value.
    fn resolve(&mut self, catalog: &Catalog, key: &SeriesKey, frame: &Frame) -> Result<Option<Resolved>> {
        let holds: Vec<bool> =
            frame.columns.iter().map(|c| (0..frame.len()).any(|row| c.is_valid(row))).collect();
        if !holds.contains(&true) {
            return Ok(None);
        }
        let measurement = match self.measurement(catalog, key) {
            Some(m) => m.clone(),
            None => {
                catalog.damage.refuse_measurement(key)?;
                let id = catalog.next_measurement + self.measurements.len() as i64;
                let m = Arc::new(Measurement::new(id, &key.bucket, &key.measurement));
                self.measurements.insert((key.bucket.clone(), key.measurement.clone()), m.clone());
                m
            }
        };
        let mut numbers = Vec::with_capacity(frame.columns.len());
        for (column, holds) in frame.columns.iter().zip(holds) {
            numbers.push(if holds { Some(self.number(catalog, &measurement, column)?) } else { None });
        }
        let series = match catalog.get(key).or_else(|| self.series.get(key)) {
            Some(s) => s.clone(),
            None => {
                catalog.damage.refuse_series(measurement.id, key, &tables::tags_text(key)?)?;
                let id = catalog.next_series + self.series.len() as i64;
                let s = Arc::new(Series::new(id, Tags::pack(&key.tags), measurement, State::fresh()));
                self.series.insert(key.clone(), s.clone());
                self.touched.insert(id, (s.clone(), Vec::new()));
                s
            }
        };
        let known = match self.touched.get(&series.id) {
            Some((_, fields)) => fields.clone(),
            None => series.state().fields.to_vec(),
        };
        let mut all = known.clone();
        all.extend(numbers.iter().flatten());
        all.sort_unstable();
        all.dedup();
        if all != known {
            self.touched.insert(series.id, (series.clone(), all));
        }
        Ok(Some((series, numbers)))
    }

    fn number(
        &mut self,
        catalog: &Catalog,
        measurement: &Arc<Measurement>,
        column: &crate::series::Column,
    ) -> Result<u32> {
        if let Some((number, _)) = self.find_field(measurement, &column.name) {
            return Ok(number);
        }
        let place = || format!("{}/{}", measurement.bucket, measurement.name);
        catalog.damage.refuse_field(measurement.id, &column.name).map_err(|e| e.context(place()))?;
        let staged = self.names.get(&measurement.id).map_or(0, HashMap::len);
        let number = measurement.fields().list.len() + staged;
        if number >= FIELDS_MAX {
            return Err(too_many_fields().context(place()));
        }
        let number = u32::try_from(number).map_err(|_| too_many_fields())?;
        let of = column.values.field_type();
        self.fields.push((measurement.clone(), number, column.name.clone(), of));
        self.names.entry(measurement.id).or_default().insert(column.name.clone(), (number, of));
        Ok(number)
    }

    /// A batch that was resolved before it had its turn: a delete may have taken the last value of a field from a series since.
    pub(super) fn keep_fields(&mut self, batch: &Prepared) {
        for (series, run) in &batch.parts {
            let lacks = |fields: &[u32]| {
                let lacks = run.lanes.iter().any(|l| fields.binary_search(&l.field).is_err());
                lacks.then(|| fields.to_vec())
            };
            let short = match self.touched.get(&series.id) {
                Some((_, fields)) => lacks(fields),
                None => lacks(&series.state().fields),
            };
            if let Some(mut all) = short {
                all.extend(run.lanes.iter().map(|l| l.field));
                all.sort_unstable();
                all.dedup();
                self.touched.insert(series.id, (series.clone(), all));
            }
        }
    }

    /// Into the transaction of the commit.
    pub(super) fn store(&self, c: &Connection) -> Result<()> {
        for m in self.measurements.values() {
            tables::insert_measurement(c, m)?;
        }
        for (m, number, name, of) in &self.fields {
            tables::insert_field(c, m.id, *number, name, *of)?;
        }
        for (series, fields) in self.touched.values() {
            tables::put_series(c, series, fields)?;
        }
        Ok(())
    }

    /// After the commit: from here on everybody sees it.
    pub(super) fn publish(self, catalog: &mut Catalog) -> Result<()> {
        for (m, _, name, of) in self.fields {
            m.add_field(name, of);
        }
        for (series, fields) in self.touched.into_values() {
            // The locks of fields come before those of series.
            let fields = series.measurement.share_set(&fields);
            series.state().fields = fields;
        }
        for m in self.measurements.into_values() {
            catalog.add_measurement(m);
        }
        for s in self.series.into_values() {
            catalog.add_series(s)?;
        }
        Ok(())
    }
}
