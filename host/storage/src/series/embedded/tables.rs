//! The tables of the series file: what a start reads, and the statements that change them.

use super::catalog::{ById, Catalog, Measurement, Series, State};
use super::chunk::{Chunk, Rows, Sealed};
use super::codec::{type_code, type_of_code};
use super::tags::Tags;
use crate::error::{Error, Result};
use crate::series::{FieldType, SeriesKey};
use crate::sqlite::Migration;
use rusqlite::{Connection, Row};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    number: 1,
    name: "series",
    sql: include_str!("../../../../../migrations/series/0001_series.sql"),
}];

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

fn fields_of_bits(bits: &[u8]) -> Vec<u32> {
    let numbers = bits.iter().flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1)).zip(0_u32..);
    numbers.filter(|(set, _)| *set).map(|(_, n)| n).collect()
}

/// Reads the catalogue; series by id too.
pub(super) fn load_catalog(c: &Connection) -> Result<(Catalog, ById)> {
    let mut catalog = Catalog::new();
    let mut measurements = HashMap::new();
    let mut found = c.prepare("SELECT id, bucket, name FROM measurement")?;
    let mut rows = found.query([])?;
    while let Some(row) = rows.next()? {
        let bucket: String = row.get(1)?;
        let name: String = row.get(2)?;
        let measurement = Arc::new(Measurement::new(row.get(0)?, &bucket, &name));
        measurements.insert(measurement.id, measurement.clone());
        catalog.add_measurement(measurement);
    }
    let mut found =
        c.prepare("SELECT measurement, number, name, type FROM field ORDER BY measurement, number")?;
    let mut rows = found.query([])?;
    while let Some(row) = rows.next()? {
        let (id, number): (i64, u32) = (row.get(0)?, row.get(1)?);
        let damaged = |what| {
            Error::corrupt(format!("the catalogue is damaged: field {number} of measurement {id} {what}"))
        };
        let measurement = measurements.get(&id).ok_or_else(|| damaged("has no measurement"))?;
        if measurement.fields().list.len() as u64 != u64::from(number) {
            return Err(damaged("is not the next"));
        }
        measurement.add_field(row.get(2)?, type_of_code(row.get(3)?).map_err(|_| damaged("has no type"))?);
    }
    let mut by_id = Vec::new();
    let mut found = c.prepare("SELECT id, measurement, tags, fields FROM series")?;
    let mut rows = found.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let damaged = |what| Error::corrupt(format!("the catalogue is damaged: series {id} {what}"));
        let measurement =
            measurements.get(&row.get::<_, i64>(1)?).ok_or_else(|| damaged("has no measurement"))?.clone();
        let tags: Vec<(String, String)> = serde_json::from_str(&row.get::<_, String>(2)?)
            .map_err(|_| damaged("has tags that cannot be read"))?;
        let key = SeriesKey::new(&measurement.bucket, &measurement.name, tags)?;
        let mut fields = fields_of_bits(&row.get::<_, Vec<u8>>(3)?);
        let known = measurement.fields().list.len();
        fields.retain(|f| (*f as usize) < known);
        let state = State::stored(measurement.share_set(&fields));
        let series = Arc::new(Series::new(id, Tags::pack(&key.tags), measurement, state));
        by_id.push(series.clone());
        catalog.add_series(series)?;
    }
    Ok((catalog, ById::new(by_id)))
}

pub(super) const CHUNK_COLUMNS: &str =
    "series, id, version, rows, min_time, max_time, bytes, raw_bytes, checksum";

/// A row of `chunk`; an error where its checksum does not match.
pub(super) fn chunk_of_row(row: &Row<'_>) -> Result<Result<Chunk, (i64, i64)>> {
    let (series, id) = (row.get(0)?, row.get(1)?);
    let (rows, bytes): (i64, i64) = (row.get(3)?, row.get(6)?);
    let rows = u32::try_from(rows).ok().and_then(Rows::new);
    let (Some(rows), Ok(bytes)) = (rows, u32::try_from(bytes)) else { return Ok(Err((series, id))) };
    let (version, min, max) = (row.get(2)?, row.get(4)?, row.get(5)?);
    let raw_bytes = row.get::<_, i64>(7)?.cast_unsigned();
    let chunk = Chunk { series, id, version, min, max, raw_bytes, bytes, rows };
    Ok(if chunk.checksum() == row.get::<_, i64>(8)? { Ok(chunk) } else { Err((series, id)) })
}

pub(super) fn insert_measurement(c: &Connection, m: &Measurement) -> Result<()> {
    c.prepare_cached("INSERT INTO measurement(id, bucket, name) VALUES (?1, ?2, ?3)")?
        .execute((m.id, &m.bucket, &m.name))?;
    Ok(())
}

pub(super) fn insert_field(
    c: &Connection,
    measurement: i64,
    number: u32,
    name: &str,
    of: FieldType,
) -> Result<()> {
    c.prepare_cached("INSERT INTO field(measurement, number, name, type) VALUES (?1, ?2, ?3, ?4)")?
        .execute((measurement, number, name, type_code(of)))?;
    Ok(())
}

pub(super) fn put_series(c: &Connection, series: &Series, fields: &[u32]) -> Result<()> {
    let tags = serde_json::to_string(&series.key().tags)
        .map_err(|e| Error::internal(format!("the tags of `{}`: {e}", series.key())))?;
    c.prepare_cached("INSERT OR REPLACE INTO series(id, measurement, tags, fields) VALUES (?1, ?2, ?3, ?4)")?
        .execute((series.id, series.measurement.id, tags, field_bits(fields)))?;
    Ok(())
}

pub(super) fn insert_log(c: &Connection, seq: i64, body: &[u8]) -> Result<()> {
    c.prepare_cached("INSERT INTO log(seq, body) VALUES (?1, ?2)")?.execute((seq, body))?;
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
