//! What integers mean must not change while there are rows: the declarations are noted in the structured database, and a start
//! with others looks at what is stored before it goes on.

use super::{FieldScales, Scales};
use crate::commits;
use crate::error::{Error, Kind, Result};
use crate::manifest::DecimalFields;
use crate::series::archives;
use crate::series::revisions::names;
use crate::series::{Budget, FieldType, Selector, SeriesEngine, SeriesInfo};
use crate::sqlite::Database;
use rusqlite::Connection;
use std::collections::BTreeSet;

/// Fields that a refusal names.
const SHOWN_MAX: usize = 20;

/// Bucket, pattern of measurements, pattern of fields, scale.
type Noted = BTreeSet<(String, String, String, u8)>;

fn noted(declared: &[DecimalFields]) -> Noted {
    let each = |d: &DecimalFields| {
        let (bucket, measurement, scale) = (d.bucket.clone(), d.measurement.clone(), d.scale);
        let of = move |field: &String| (bucket.clone(), measurement.clone(), field.clone(), scale);
        d.fields.iter().map(of).collect::<Vec<_>>()
    };
    declared.iter().flat_map(each).collect()
}

fn read(c: &Connection) -> Result<Noted> {
    let mut all =
        c.prepare_cached("SELECT bucket, measurement, field, scale FROM series_decimals ORDER BY 1, 2, 3")?;
    let rows = all.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Notes durably what is declared, before the first row is written by it. [`Kind::Conflict`]: rows that are stored would become
/// other numbers.
pub(crate) fn settle(db: &Database, stored: &dyn SeriesEngine, declared: &[DecimalFields]) -> Result<()> {
    let (before, now) = (db.read(read)?, noted(declared));
    if before == now {
        return Ok(());
    }
    let waiting = db.read(elsewhere)?;
    let wrong = differences(&before, declared, stored, &waiting).map_err(|e| {
        e.context("[[series.decimals]] has changed, and what is stored must be looked at first").hint(
            "make the series engine reachable and start again, or put [[series.decimals]] back as it was",
        )
    })?;
    refuse(&wrong)?;
    db.write_always(|tx| {
        tx.execute("DELETE FROM series_decimals", [])?;
        let mut insert = tx.prepare_cached(
            "INSERT INTO series_decimals(bucket, measurement, field, scale) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for row in &now {
            insert.execute((&row.0, &row.1, &row.2, row.3))?;
        }
        Ok(())
    })
}

/// Are these the declarations that were noted? Of a database that may be of an older release.
pub(crate) fn is_settled(c: &Connection, declared: &[DecimalFields]) -> Result<bool> {
    Ok(before(c)? == noted(declared))
}

fn before(c: &Connection) -> Result<Noted> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'series_decimals'";
    match c.query_row(known, [], |r| r.get::<_, i64>(0))? {
        0 => Ok(Noted::new()),
        _ => read(c),
    }
}

/// What a start with these declarations would refuse; nothing is changed.
pub(crate) fn unsettled(
    c: &Connection,
    stored: &dyn SeriesEngine,
    declared: &[DecimalFields],
) -> Result<Vec<String>> {
    differences(&before(c)?, declared, stored, &elsewhere(c)?)
}

/// Rows that the engine does not have: those of commits that wait, and those that only archives have.
fn elsewhere(c: &Connection) -> Result<Vec<SeriesInfo>> {
    let mut all = commits::series_waiting(c)?;
    all.extend(archives::infos(c)?);
    Ok(all)
}

/// [`unsettled`] of a list of series as a host shows it that runs with other declarations.
pub fn misread(declared: &[DecimalFields], shown: &[SeriesInfo]) -> Vec<String> {
    let new = Scales::new(declared);
    let mut wrong = BTreeSet::new();
    for info in shown.iter().filter(|info| info.rows > 0) {
        let new = new.of(&info.key.bucket, &info.key.measurement);
        for (name, of) in &info.fields {
            let (old, of) = match of {
                FieldType::Decimal(scale) => (Some(*scale), FieldType::Integer),
                of => (None, *of),
            };
            let why = other_meaning(old, new.scale(name), of);
            wrong.extend(why.map(|why| of_field(&info.key.bucket, info, name, &why)));
        }
    }
    wrong.into_iter().collect()
}

fn refuse(wrong: &[String]) -> Result<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    let mut shown = wrong.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    if wrong.len() > SHOWN_MAX {
        shown.push_str(&format!("; and {} more", wrong.len() - SHOWN_MAX));
    }
    Err(Error::new(
        Kind::Conflict,
        format!("[[series.decimals]] does not fit the rows that are stored: {shown}"),
    )
    .hint(HINT))
}

/// What to do about it.
pub const HINT: &str = "put [[series.decimals]] back as it was; to change it, export the series, delete its rows, \
                               start with the new declaration and import them again (docs/manifest.md)";

/// Every stored field that another declaration gives another meaning, once for each measurement. `waiting`: series whose rows are not in the engine,
/// and are read all the same.
fn differences(
    before: &Noted,
    declared: &[DecimalFields],
    stored: &dyn SeriesEngine,
    waiting: &[SeriesInfo],
) -> Result<Vec<String>> {
    let old = before.iter().map(|(bucket, measurement, field, scale)| DecimalFields {
        bucket: bucket.clone(),
        measurement: measurement.clone(),
        fields: vec![field.clone()],
        scale: *scale,
    });
    let old = Scales::new(&old.collect::<Vec<_>>());
    let new = Scales::new(declared);
    let buckets: BTreeSet<&str> =
        old.0.iter().chain(&new.0).map(|declared| declared.bucket.as_str()).collect();
    let mut wrong = BTreeSet::new();
    for bucket in buckets {
        let waiting = waiting.iter().filter(|info| info.key.bucket == bucket).cloned();
        for info in of_bucket(stored, bucket.to_string())?.into_iter().chain(waiting) {
            let (old, new) = both(&old, &new, bucket, &info);
            for (name, of) in &info.fields {
                wrong.extend(
                    other_meaning(old.scale(name), new.scale(name), *of)
                        .map(|why| of_field(bucket, &info, name, &why)),
                );
            }
        }
        // What a revision was is read by the scale of today, too.
        for info in of_bucket(stored, names::hidden_bucket(bucket))? {
            let (old, new) = both(&old, &new, bucket, &info);
            let kept = info.fields.iter().filter_map(|(kept, _)| names::field(kept));
            for (name, of) in kept.filter(|(_, of)| *of == FieldType::Integer) {
                wrong.extend(
                    other_meaning(old.scale(name), new.scale(name), of)
                        .map(|why| format!("{} (its revisions)", of_field(bucket, &info, name, &why))),
                );
            }
        }
    }
    Ok(wrong.into_iter().collect())
}

fn of_bucket(stored: &dyn SeriesEngine, bucket: String) -> Result<Vec<SeriesInfo>> {
    let of = Selector { bucket: Some(bucket), ..Selector::default() };
    let mut all = stored.choose(&of, &Budget::default())?;
    all.retain(|info| info.rows > 0);
    Ok(all)
}

fn both(old: &Scales, new: &Scales, bucket: &str, info: &SeriesInfo) -> (FieldScales, FieldScales) {
    (old.of(bucket, &info.key.measurement), new.of(bucket, &info.key.measurement))
}

fn of_field(bucket: &str, info: &SeriesInfo, field: &str, why: &str) -> String {
    format!("`{field}` of `{bucket}/{}` {why}", info.key.measurement)
}

fn other_meaning(old: Option<u8>, new: Option<u8>, of: FieldType) -> Option<String> {
    match (old, new) {
        (old, new) if old == new => None,
        (_, Some(new)) if of != FieldType::Integer => {
            Some(format!("holds values of type {of}, which are no decimal({new})"))
        }
        (None, Some(new)) => {
            Some(format!("holds whole numbers, which decimal({new}) would read as other ones"))
        }
        (Some(old), Some(new)) => {
            Some(format!("holds decimal({old}), which decimal({new}) would read as other numbers"))
        }
        (Some(old), None) if of == FieldType::Integer => Some(format!(
            "holds decimal({old}), which would be read as whole numbers without its declaration"
        )),
        (_, None) => None,
    }
}
