//! The types of fields, per (bucket, measurement, field) as both engines promise it. InfluxDB keeps them per
//! shard, so a string would be taken a week after a float, and Flux would then hide one of them.

use super::answers::Conflict;
use super::client::Client;
use super::{flux, reply};
use crate::error::{Error, Kind, Result};
pub(super) use crate::series::units::Fields;
use crate::series::units::fit;
use crate::series::{Budget, FieldType, Frame, TimeRange, TypeConflict, WriteBatch};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Measurements that are remembered; then all are asked for again.
const KNOWN_MAX: usize = 100_000;
/// Measurements that one query asks for.
const ASKED_MAX: usize = 50;
/// Distinct conflicts of a report.
const CONFLICTS_MAX: usize = 100;

/// Per series of a batch: which rows are refused; `None` if none is.
pub(super) type RefusedRows = Vec<Option<Vec<bool>>>;

/// The fields of some measurements.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub fields: Vec<Fields>,
    /// The server was asked; if not, it will be at the next write.
    pub asked: bool,
}

impl Loaded {
    pub fn asked(fields: Vec<Fields>) -> Self {
        Self { fields, asked: true }
    }
}

/// What is known of a measurement.
#[derive(Debug, Default)]
struct Known {
    fields: Fields,
    asked: bool,
}

/// What is known of the server's fields. Forgotten after deletes and errors, asked for again when needed.
#[derive(Debug, Default)]
pub(super) struct Types {
    known: Mutex<HashMap<(String, String), Known>>,
}

/// Which rows of a batch go out.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    pub refused: RefusedRows,
    pub dropped: u64,
    pub conflicts: Vec<TypeConflict>,
    /// Every type was compared with the server's.
    pub checked: bool,
}

/// Adds a conflict that is not told yet, up to the bound.
pub(super) fn note(conflicts: &mut Vec<TypeConflict>, conflict: TypeConflict) {
    if conflicts.len() < CONFLICTS_MAX && !conflicts.contains(&conflict) {
        conflicts.push(conflict);
    }
}

pub(super) fn in_bucket(bucket: &str, c: Conflict) -> TypeConflict {
    TypeConflict {
        bucket: bucket.to_string(),
        measurement: c.measurement,
        field: c.field,
        have: c.have,
        got: c.got,
        value: None,
    }
}

/// The fields of measurements and their types, as the server has them.
pub(super) fn load(client: &Client, bucket: &str, measurements: &[&str]) -> Result<Vec<Fields>> {
    let mut found: BTreeMap<&str, Fields> = measurements.iter().map(|m| (*m, Fields::new())).collect();
    for asked in measurements.chunks(ASKED_MAX) {
        let tables = match load_some(client, bucket, asked) {
            // Somebody wrote a field with two types past us: ask one by one, so that only that measurement is
            // left to the server's own check.
            Err(e) if e.kind() == Kind::Invalid && e.message().contains("schema collision") => {
                let one = |m: &&str| match load_some(client, bucket, &[m]) {
                    Err(e) if e.kind() == Kind::Invalid => {
                        tracing::warn!(bucket, measurement = m, "a field has two types in InfluxDB");
                        Ok(Vec::new())
                    }
                    other => other,
                };
                asked.iter().map(one).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
            }
            other => other?,
        };
        for table in tables {
            if let Some(fields) = found.get_mut(table.measurement()?) {
                fields.insert(table.field()?.to_string(), table.values.field_type());
            }
        }
    }
    Ok(measurements.iter().map(|m| found.get(m).cloned().unwrap_or_default()).collect())
}

fn load_some(client: &Client, bucket: &str, measurements: &[&str]) -> Result<Vec<reply::Table>> {
    let query = format!(
        "{}{} |> group(columns: [\"_measurement\", \"_field\"]) |> first()",
        flux::source(bucket, TimeRange::ALL),
        flux::one_of("_measurement", measurements.iter().copied())
    );
    reply::parse(&client.query(&query, &Budget::default())?)
}

impl Types {
    /// What is known with the fields of every measurement of a batch; `load` gives those that are not known yet.
    fn with_fields(
        &self,
        batch: &WriteBatch,
        mut load: impl FnMut(&str, &[&str]) -> Result<Loaded>,
    ) -> Result<MutexGuard<'_, HashMap<(String, String), Known>>> {
        let mut unknown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut name = (String::new(), String::new());
            for (key, _) in &batch.series {
                name.0.clone_from(&key.bucket);
                name.1.clone_from(&key.measurement);
                if !known.get(&name).is_some_and(|k| k.asked) {
                    unknown.entry(&key.bucket).or_default().insert(&key.measurement);
                }
            }
        }
        // Asked without the lock, so that a slow server holds up nobody else.
        let mut loaded = Vec::new();
        for (bucket, measurements) in unknown {
            let measurements: Vec<&str> = measurements.into_iter().collect();
            let Loaded { fields, asked } = load(bucket, &measurements)?;
            let known =
                |(m, fields): (&&str, _)| ((bucket.to_string(), (*m).to_string()), Known { fields, asked });
            loaded.extend(measurements.iter().zip(fields).map(known));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + loaded.len() > KNOWN_MAX {
            // What this batch needs is kept, or it would be asked for again and again.
            let needed: BTreeSet<(&str, &str)> =
                batch.series.iter().map(|(k, _)| (k.bucket.as_str(), k.measurement.as_str())).collect();
            known.retain(|(b, m), _| needed.contains(&(b.as_str(), m.as_str())));
        }
        for (name, new) in loaded {
            let have = known.entry(name).or_default();
            if new.asked {
                // The server has the last word.
                have.fields.extend(new.fields);
                have.asked = true;
            } else {
                new.fields.into_iter().for_each(|(name, of)| {
                    have.fields.entry(name).or_insert(of);
                });
            }
        }
        Ok(known)
    }

    /// An error where a row of a batch would be refused, and where that cannot be told because the server was never asked.
    pub fn take(&self, batch: &WriteBatch, load: impl FnMut(&str, &[&str]) -> Result<Loaded>) -> Result<()> {
        let known = self.with_fields(batch, load)?;
        fit(batch, &mut |key| {
            match known.get(&(key.bucket.clone(), key.measurement.clone())) {
            Some(have) if have.asked => Ok(have.fields.clone()),
            _ => Err(Error::new(
                Kind::Unavailable,
                format!(
                    "InfluxDB cannot be asked for the fields of {}/{}: nobody knows whether it takes the rows",
                    key.bucket, key.measurement
                ),
            )
            .hint("try again when InfluxDB can be reached; nothing was stored")),
        }
        })
    }

    /// Decides which rows fit, and remembers the types of fields that are new. `load` gives the fields of
    /// measurements that are not known yet.
    pub fn admit(
        &self,
        batch: &WriteBatch,
        load: impl FnMut(&str, &[&str]) -> Result<Loaded>,
    ) -> Result<Admitted> {
        let mut known = self.with_fields(batch, load)?;
        let mut admitted = Admitted { checked: true, ..Admitted::default() };
        for (key, frame) in &batch.series {
            // Another thread's error may have made it forgotten since: then the server's own check stands.
            let have = known.entry((key.bucket.clone(), key.measurement.clone())).or_default();
            admitted.checked &= have.asked;
            let refused = refuse(frame, &mut have.fields, |field, have, got| {
                let (bucket, measurement) = (key.bucket.clone(), key.measurement.clone());
                note(
                    &mut admitted.conflicts,
                    TypeConflict { bucket, measurement, field, have, got, value: None },
                );
            });
            admitted.dropped += refused.iter().flatten().filter(|r| **r).count() as u64;
            admitted.refused.push(refused);
        }
        Ok(admitted)
    }

    pub fn forget(&self, bucket: &str, measurement: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&(bucket.to_string(), measurement.to_string()));
    }

    pub fn forget_all(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The rows of a frame that do not fit; learns the fields of those that do.
fn refuse(
    frame: &Frame,
    fields: &mut Fields,
    mut tell: impl FnMut(String, FieldType, FieldType),
) -> Option<Vec<bool>> {
    let mut refused: Option<Vec<bool>> = None;
    for column in &frame.columns {
        let got = column.values.field_type();
        let Some(have) = fields.get(&column.name).copied().filter(|have| *have != got) else { continue };
        let rows = refused.get_or_insert_with(|| vec![false; frame.len()]);
        let mut any = false;
        for (row, flag) in rows.iter_mut().enumerate() {
            if column.is_valid(row) {
                (*flag, any) = (true, true);
            }
        }
        if any {
            tell(column.name.clone(), have, got);
        }
    }
    for column in &frame.columns {
        let goes_out =
            |row: usize| column.is_valid(row) && refused.as_ref().is_none_or(|r| r.get(row) != Some(&true));
        if !fields.contains_key(&column.name) && (0..frame.len()).any(goes_out) {
            fields.insert(column.name.clone(), column.values.field_type());
        }
    }
    refused.filter(|r| r.contains(&true))
}

/// A bucket that does not exist has nothing in it.
pub(super) fn or_empty<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(e) if e.kind() == Kind::NotFound && e.message().contains("could not find bucket") => {
            Ok(T::default())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Column, SeriesKey, Values};

    fn batch(columns: Vec<Column>, rows: usize) -> WriteBatch {
        let key = SeriesKey::new("b", "m", vec![]).unwrap();
        WriteBatch { series: vec![(key, Frame { times: (0..rows as i64).collect(), columns })] }
    }

    #[test]
    fn a_row_is_refused_whole_and_teaches_nothing() {
        let types = Types::default();
        let have = |_: &str, _: &[&str]| {
            Ok(Loaded::asked(vec![Fields::from([("v".to_string(), FieldType::Float)])]))
        };
        let mut v = Column::new("v", Values::Integer(vec![1, 0]));
        v.valid = Some(vec![true, false]);
        let mut w = Column::new("w", Values::Boolean(vec![true, false]));
        w.valid = Some(vec![true, false]);
        let n = Column::new("n", Values::Unsigned(vec![1, 2]));
        let said = types.admit(&batch(vec![v, w, n], 2), have).unwrap();
        assert_eq!(said.refused, [Some(vec![true, false])]);
        assert_eq!((said.dropped, said.conflicts.len()), (1, 1));
        assert_eq!((said.conflicts[0].have, said.conflicts[0].got), (FieldType::Float, FieldType::Integer));
        // `w` went nowhere, so it has no type yet; `n` has.
        let never = |_: &str, _: &[&str]| -> Result<Loaded> { panic!("asked twice") };
        let w = Column::new("w", Values::String(vec!["x".into()]));
        assert_eq!(types.admit(&batch(vec![w], 1), never).unwrap().dropped, 0);
        let n = Column::new("n", Values::Integer(vec![1]));
        assert_eq!(types.admit(&batch(vec![n], 1), never).unwrap().dropped, 1);
        types.forget("b", "m");
        let n = Column::new("n", Values::Integer(vec![1]));
        assert_eq!(types.admit(&batch(vec![n], 1), have).unwrap().dropped, 0);
    }

    #[test]
    fn a_batch_is_taken_only_by_what_the_server_said() {
        let types = Types::default();
        let v = |values| batch(vec![Column::new("v", values)], 1);
        let (whole, real) = (v(Values::Integer(vec![1])), v(Values::Float(vec![1.0])));
        let away = |_: &str, m: &[&str]| Ok(Loaded { fields: vec![Fields::new(); m.len()], asked: false });
        let e = types.take(&real, away).unwrap_err();
        assert!(
            e.kind() == Kind::Unavailable && e.message().contains("b/m") && e.hint_text().is_some(),
            "{e:?}"
        );
        let have = |_: &str, _: &[&str]| {
            Ok(Loaded::asked(vec![Fields::from([("v".to_string(), FieldType::Float)])]))
        };
        types.take(&real, have).unwrap();
        let never = |_: &str, _: &[&str]| -> Result<Loaded> { panic!("asked twice") };
        let e = types.take(&whole, never).unwrap_err();
        assert!(e.kind() == Kind::Conflict && e.message().contains("`v` of `b/m` is float"), "{e:?}");
        // It was a look: the field is still new.
        let new = batch(vec![Column::new("n", Values::Integer(vec![1]))], 1);
        types.take(&new, never).unwrap();
        let other = batch(vec![Column::new("n", Values::Float(vec![1.0]))], 1);
        types.take(&other, never).unwrap();
        let both = WriteBatch { series: new.series.into_iter().chain(other.series).collect() };
        assert_eq!(types.take(&both, never).unwrap_err().kind(), Kind::Conflict);
    }

    #[test]
    fn conflicts_are_told_once_and_bounded() {
        let types = Types::default();
        let columns = |integers: bool| -> Vec<Column> {
            (0..150)
                .map(|i| {
                    let values = if integers { Values::Integer(vec![1]) } else { Values::Float(vec![1.0]) };
                    Column::new(format!("f{i}"), values)
                })
                .collect()
        };
        let none = |_: &str, m: &[&str]| Ok(Loaded::asked(vec![Fields::new(); m.len()]));
        assert_eq!(types.admit(&batch(columns(false), 1), none).unwrap().dropped, 0);
        let said = types.admit(&batch(columns(true), 1), none).unwrap();
        assert_eq!((said.dropped, said.conflicts.len()), (1, CONFLICTS_MAX));
    }
}
