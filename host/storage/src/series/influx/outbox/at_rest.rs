//! An outbox's file that no host has open: a copy in a backup.

use super::{record, tables};
use crate::error::{Error, Result};
use crate::series::{SeriesEngine, SeriesKey, WriteBatch};
use rusqlite::Connection;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AtRest {
    /// Records that wait.
    pub records: u64,
    /// What InfluxDB refused.
    pub refused: u64,
    /// Records that cannot be read, each with what is wrong.
    pub damaged: Vec<String>,
}

/// Reads every record of a file.
pub(crate) fn look(file: &Connection) -> Result<AtRest> {
    each(file, &mut |_| Ok(()))
}

/// Writes what waits into an engine, in its order.
pub(crate) fn replay(file: &Connection, engine: &dyn SeriesEngine) -> Result<AtRest> {
    each(file, &mut |batch| {
        let report = engine.write(batch)?;
        match report.dropped {
            0 => Ok(()),
            n => Err(Error::conflict(format!("{n} rows that waited have a field of another type"))
                .hint("restore into an empty store")),
        }
    })
}

fn each(file: &Connection, take: &mut dyn FnMut(WriteBatch) -> Result<()>) -> Result<AtRest> {
    let mut found = AtRest { refused: tables::refused_totals(file)?.0, ..AtRest::default() };
    tables::each(file, (i64::MIN, i64::MAX), &mut |row| {
        found.records += 1;
        match record::decode(&row.record) {
            Ok(parts) => {
                let series = parts.into_iter().map(|(k, f)| (SeriesKey::clone(&k), (*f).clone()));
                take(WriteBatch { series: series.collect() })?;
            }
            Err(e) => found.damaged.push(format!("record {} of the outbox: {e}", row.seq)),
        }
        Ok(true)
    })?;
    Ok(found)
}
