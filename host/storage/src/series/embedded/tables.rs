//! The tables of the series file: what a start reads, and the statements that change them.

use super::bounds::FIELDS_MAX;
use super::catalog::{ById, Catalog, Measurement, Series, State};
use super::chunk::{Chunk, Rows, Sealed};
use super::codec::type_code;
use super::guard::{self, Damage, Sink, keep_above};
use super::tags::Tags;
use crate::error::{Error, Result};
use crate::series::{FieldType, SeriesKey};
use crate::sqlite::Migration;
use rusqlite::{Connection, Row};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration::new(1, "series", include_str!("../../../../../migrations/series/0001_series.sql")),
    Migration::new(
        2,
        "checksums of the catalogue",
        include_str!("../../../../../migrations/series/0002_checksums.sql"),
    )
    .then(guard::fill),
];

/// The numbers of fields as bits.
pub(super) fn field_bits(fields: &[u32]) -> Vec<u8> {
    let mut bits = Vec::new();
    for field in fields {
        let at = (*field / 8) as usize;
        if bits.len() <= at {
            bits.resize(at + 1, 0_u8);
        }
        if let Some(byte) = bits.get_mut(at) {
            *byte |= 1 << (field % 8);
        }
    }
    bits
}

pub(super) fn fields_of_bits(bits: &[u8]) -> Vec<u32> {
    let numbers = bits.iter().flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1)).zip(0_u32..);
    numbers.filter(|(set, _)| *set).map(|(_, n)| n).collect()
}

/// Reads the catalogue; series by id too. Rows that are damaged are left out, and in the catalogue's `damage`.
pub(super) fn load_catalog(c: &Connection) -> Result<(Catalog, ById)> {
    let mut loading = Loading { catalog: Catalog::new(), ..Loading::default() };
    let damage = guard::read(c, &mut loading)?;
    Ok(loading.finish(damage))
}

#[derive(Default)]
struct Loading {
    catalog: Catalog,
    measurements: HashMap<i64, Arc<Measurement>>,
    fields: HashMap<i64, BTreeMap<u32, (String, FieldType)>>,
    /// The fields of each measurement that its series know of.
    widths: HashMap<i64, u32>,
    series: Vec<Arc<Series>>,
}

impl Sink for Loading {
    fn measurement(&mut self, id: i64, bucket: &str, name: &str) -> Result<()> {
        if self.catalog.measurement(bucket, name).is_some() {
            return Err(Error::corrupt("it is in the catalogue twice"));
        }
        let measurement = Arc::new(Measurement::new(id, bucket, name));
        self.measurements.insert(id, measurement.clone());
        self.catalog.add_measurement(measurement);
        Ok(())
    }

    fn field(&mut self, measurement: i64, number: u32, name: &str, of: FieldType) -> Result<()> {
        if !self.measurements.contains_key(&measurement) {
            return Err(no_measurement());
        }
        check_number(number)?;
        self.fields.entry(measurement).or_default().insert(number, (name.to_owned(), of));
        Ok(())
    }

    fn series(&mut self, id: i64, of: i64, tags: Vec<(String, String)>, fields: Vec<u32>) -> Result<()> {
        let measurement = self.measurements.get(&of).ok_or_else(no_measurement)?.clone();
        let last = fields.last().copied();
        last.map_or(Ok(()), check_number)?;
        let key = SeriesKey::new(&measurement.bucket, &measurement.name, tags)?;
        let state = State::stored(measurement.share_set(&fields));
        let series = Arc::new(Series::new(id, Tags::pack(&key.tags), measurement, state));
        self.catalog.add_series(series.clone())?;
        self.series.push(series);
        let width = self.widths.entry(of).or_default();
        *width = (*width).max(last.map_or(0, |n| n + 1));
        Ok(())
    }
}

impl Loading {
    /// A field whose row is damaged or gone keeps its number: chunks have it.
    fn finish(mut self, damage: Damage) -> (Catalog, ById) {
        for (id, measurement) in &self.measurements {
            let mut rows = self.fields.remove(id).unwrap_or_default();
            let known = rows.last_key_value().map_or(0, |(n, _)| n + 1);
            for number in 0..known.max(self.widths.get(id).copied().unwrap_or(0)) {
                match rows.remove(&number) {
                    Some((name, of)) => measurement.add_field(name, of),
                    None => measurement.add_lost_field(),
                }
            }
        }
        // What takes the number of a lost row would be given the rows of the lost one.
        for suspect in damage.suspects() {
            suspect
                .measurement()
                .into_iter()
                .for_each(|id| keep_above(&mut self.catalog.next_measurement, id));
            suspect.series().into_iter().for_each(|id| keep_above(&mut self.catalog.next_series, id));
        }
        self.catalog.damage = damage;
        (self.catalog, ById::new(self.series))
    }
}

pub(super) fn no_measurement() -> Error {
    Error::corrupt("its measurement is damaged or not in the catalogue")
}

pub(super) fn check_number(field: u32) -> Result<()> {
    let fits = usize::try_from(field).is_ok_and(|n| n < FIELDS_MAX);
    if fits { Ok(()) } else { Err(Error::corrupt(format!("there can be no field {field}"))) }
}

pub(super) const CHUNK_COLUMNS: &str =
    "series, id, version, rows, min_time, max_time, bytes, raw_bytes, checksum";

/// A row of `chunk`; its series and its number where its checksum does not match.
pub(super) fn chunk_of_row(row: &Row<'_>) -> Result<Chunk, (i64, i64)> {
    let number = |at| row.get::<_, i64>(at);
    let read = || -> rusqlite::Result<Option<(Chunk, i64)>> {
        let (rows, bytes) = (u32::try_from(number(3)?).ok().and_then(Rows::new), u32::try_from(number(6)?));
        let (Some(rows), Ok(bytes)) = (rows, bytes) else { return Ok(None) };
        let chunk = Chunk {
            series: number(0)?,
            id: number(1)?,
            version: number(2)?,
            min: number(4)?,
            max: number(5)?,
            raw_bytes: number(7)?.cast_unsigned(),
            bytes,
            rows,
        };
        Ok(Some((chunk, number(8)?)))
    };
    match read() {
        Ok(Some((chunk, stored))) if chunk.checksum() == stored => Ok(chunk),
        _ => Err((number(0).unwrap_or_default(), number(1).unwrap_or_default())),
    }
}

pub(super) fn insert_measurement(c: &Connection, m: &Measurement) -> Result<()> {
    c.prepare_cached("INSERT INTO measurement(id, bucket, name, checksum) VALUES (?1, ?2, ?3, ?4)")?
        .execute((m.id, &m.bucket, &m.name, guard::of_measurement(m.id, &m.bucket, &m.name)))?;
    Ok(())
}

pub(super) fn insert_field(
    c: &Connection,
    measurement: i64,
    number: u32,
    name: &str,
    of: FieldType,
) -> Result<()> {
    let of = type_code(of);
    c.prepare_cached(
        "INSERT INTO field(measurement, number, name, type, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((measurement, number, name, of, guard::of_field(measurement, number, name, of)))?;
    Ok(())
}

/// The tags of a series as its row has them.
pub(super) fn tags_text(key: &SeriesKey) -> Result<String> {
    serde_json::to_string(&key.tags).map_err(|e| Error::internal(format!("the tags of `{key}`: {e}")))
}

pub(super) fn put_series(c: &Connection, series: &Series, fields: &[u32]) -> Result<()> {
    let (tags, fields) = (tags_text(&series.key())?, field_bits(fields));
    let sum = guard::of_series(series.id, series.measurement.id, &tags, &fields);
    c.prepare_cached(
        "INSERT OR REPLACE INTO series(id, measurement, tags, fields, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((series.id, series.measurement.id, tags, fields, sum))?;
    Ok(())
}

pub(super) fn insert_log(c: &Connection, seq: i64, body: &[u8]) -> Result<()> {
    c.prepare_cached("INSERT INTO log(seq, body, checksum) VALUES (?1, ?2, ?3)")?.execute((
        seq,
        body,
        guard::of_log(seq, body),
    ))?;
    Ok(())
}

pub(super) fn insert_data(c: &Connection, id: i64, body: &[u8]) -> Result<()> {
    c.prepare_cached("INSERT INTO chunk_data(id, body) VALUES (?1, ?2)")?.execute((id, body))?;
    Ok(())
}

pub(super) fn delete_data(c: &Connection, id: i64) -> Result<()> {
    c.prepare_cached("DELETE FROM chunk_data WHERE id = ?1")?.execute([id])?;
    own(c, id)
}

pub(super) fn disown(c: &Connection, id: i64) -> Result<()> {
    c.prepare_cached("INSERT OR IGNORE INTO unowned(id) VALUES (?1)")?.execute([id])?;
    Ok(())
}

pub(super) fn own(c: &Connection, id: i64) -> Result<()> {
    c.prepare_cached("DELETE FROM unowned WHERE id = ?1")?.execute([id])?;
    Ok(())
}

pub(super) fn insert_chunk(c: &Connection, chunk: &Chunk, stats: &[u8]) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO chunk(series, id, version, rows, min_time, max_time, bytes, raw_bytes, checksum, stats)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        chunk.series,
        chunk.id,
        chunk.version,
        chunk.rows(),
        chunk.min,
        chunk.max,
        chunk.bytes,
        chunk.raw_bytes.cast_signed(),
        chunk.checksum(),
        stats,
    ))?;
    Ok(())
}

/// Its data stays until no scan needs it.
pub(super) fn retire_chunk(c: &Connection, chunk: &Chunk) -> Result<()> {
    c.prepare_cached("DELETE FROM chunk WHERE series = ?1 AND id = ?2")?.execute((chunk.series, chunk.id))?;
    disown(c, chunk.id)
}

pub(super) fn insert_sealed(c: &Connection, sealed: &Sealed) -> Result<()> {
    insert_data(c, sealed.chunk.id, &sealed.body)
}
