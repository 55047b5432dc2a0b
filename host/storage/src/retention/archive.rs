//! Rows into a file store, as gzip of line protocol, read back before they count as archived.

use crate::backup::lines::SeriesReader;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::files::{PutOptions, as_error};
use crate::layer::DataLayer;
use crate::rollups::roll::first_time;
use crate::series::kinds::Kind as SeriesKind;
use crate::series::model::TIME_MIN_NS;
use crate::series::{Budget, SeriesKey, TimeRange};
use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde_json::json;
use std::io::Read as _;

/// Bytes of a measurement's name in a file's name.
const NAME_BYTES_MAX: usize = 120;

/// Writes the rows of `key` before `before` into a store, a file per UTC day (ticks and books) or month. What is there
/// already, the same, is left. Rows before `dropped` are late: what was archived with them is not here any more, so they
/// get files of their own.
pub(super) fn archive(
    layer: &DataLayer,
    caller: &Caller,
    key: &SeriesKey,
    store: &str,
    dropped: Option<i64>,
    before: i64,
) -> Result<u64> {
    let engine = layer.series().engine();
    let budget = Budget::default();
    let (mut rows, mut from) = (0, TIME_MIN_NS);
    while let Some(first) = first_time(engine.as_ref(), key, TimeRange { start: from, end: before }, &budget)?
    {
        let (date, mut end) = slice_of(key, first);
        end = end.min(before);
        let late = dropped.is_some_and(|d| first < d);
        if let Some(d) = dropped.filter(|_| late) {
            end = end.min(d);
        }
        let range = TimeRange { start: first, end };
        rows += one(layer, caller, key, store, &date, range, late)?;
        from = end;
    }
    Ok(rows)
}

fn one(
    layer: &DataLayer,
    caller: &Caller,
    key: &SeriesKey,
    store: &str,
    date: &str,
    range: TimeRange,
    late: bool,
) -> Result<u64> {
    let open = || SeriesReader::new(key, layer.series().engine().scan(key, range, None, &Budget::default())?);
    let place = format!("archiving {key}");
    let mut hasher = blake3::Hasher::new();
    let mut reader = open()?;
    std::io::copy(&mut reader, &mut hasher).map_err(|e| Error::io(&place, e))?;
    let hash = hasher.finalize().to_hex().to_string();
    let (Some(first), Some(last)) = (reader.first, reader.last) else { return Ok(0) };
    let mut path = path(key, date, first, last);
    if late {
        path = format!("{path}-late-{}", hash.get(..8).unwrap_or_default());
    }
    path.push_str(".lp.gz");
    let there = layer.files().stat(&Caller::Operator, store, &path, None);
    let version = match there {
        Ok(v) if v.blake3.as_deref() == Some(&hash) => v,
        Err(e) if e.kind() != Kind::NotFound => return Err(e),
        _ => {
            let options = PutOptions {
                media_type: Some("application/gzip".into()),
                metadata: json!({ "format": "line protocol, nanoseconds", "bucket": key.bucket, "rows": reader.rows, "first": first, "last": last }),
                ..PutOptions::default()
            };
            layer.files().put(caller, store, &path, &mut open()?, options)?
        }
    };
    if version.blake3.as_deref() != Some(&hash) {
        return Err(Error::new(Kind::Busy, format!("{place}: rows changed while they were archived"))
            .hint("run the plan again"));
    }
    // The reader fails if what lies on the disk is not what was written.
    let (_, mut back) = layer.files().get(&Caller::Operator, store, &path, Some(version.version), None)?;
    let mut step = vec![0; 1 << 16];
    while back.read(&mut step).map_err(as_error)? > 0 {}
    Ok(reader.rows)
}

/// `tick/2026-06-26/tick.AAPL-1a2b3c4d-FIRST-LAST`, without its ending. The eight digits tell series apart whose names
/// differ only by what a file's name cannot hold: bucket, tags, case.
fn path(key: &SeriesKey, date: &str, first: i64, last: i64) -> String {
    let safe: String = key
        .measurement
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .take(NAME_BYTES_MAX)
        .collect();
    let id = blake3::hash(key.to_string().as_bytes()).to_hex();
    let time = |ns| DateTime::<Utc>::from_timestamp_nanos(ns).format("%Y%m%dT%H%M%S.%9fZ");
    format!(
        "{}/{date}/{safe}-{}-{}-{}",
        SeriesKind::of(&key.measurement).name(),
        id.get(..8).unwrap_or_default(),
        time(first),
        time(last)
    )
}

/// A path that stands for those of a series, for a look at the grants.
pub(super) fn example_path(key: &SeriesKey, at: i64) -> String {
    format!("{}.lp.gz", path(key, &slice_of(key, at).0, at, at))
}

/// The date of the file that holds a time, and where that file ends.
fn slice_of(key: &SeriesKey, t: i64) -> (String, i64) {
    let day = DateTime::<Utc>::from_timestamp_nanos(t).date_naive();
    let (start, next) = match SeriesKind::of(&key.measurement) {
        SeriesKind::Tick | SeriesKind::Book => (day, day.succ_opt()),
        _ => {
            let first = NaiveDate::from_ymd_opt(day.year(), day.month(), 1).unwrap_or(day);
            (first, first.checked_add_months(Months::new(1)))
        }
    };
    let end = next
        .and_then(|d| d.and_hms_opt(0, 0, 0))
        .and_then(|d| d.and_utc().timestamp_nanos_opt())
        .unwrap_or(i64::MAX);
    (start.format("%Y-%m-%d").to_string(), end)
}
