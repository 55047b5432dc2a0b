//! What is there: series with their fields and spans, newest values, and deletes, which need to know it.

use super::client::Client;
use super::types::or_empty;
use super::{flux, reply};
use crate::error::Result;
use crate::series::model::{TIME_MAX_NS, TIME_MIN_NS};
use crate::series::{Budget, FieldType, Latest, LatestField, Selector, SeriesInfo, SeriesKey, TimeRange};
use std::collections::{BTreeMap, BTreeSet};

/// Measurements that one query asks for.
const ASKED_MAX: usize = 50;
/// Series whose rows are counted exactly in one list; each costs a query.
const COUNTED_MAX: usize = 1_000;
/// Nanoseconds between two rows, where nobody counted them.
const GUESSED_GAP_NS: u64 = 1_000_000_000;

/// The buckets that a selector can choose from.
fn buckets(client: &Client, selector: &Selector) -> Result<Vec<String>> {
    // No series has an empty tag, though to Flux a missing tag equals an empty one.
    if selector.tags.iter().any(|(k, v)| k.is_empty() || v.is_empty()) {
        return Ok(Vec::new());
    }
    match &selector.bucket {
        Some(bucket) => Ok(vec![bucket.clone()]),
        None => client.bucket_names(),
    }
}

/// The measurements that a selector chooses; `None`: all of them, without a filter.
fn measurements(
    client: &Client,
    bucket: &str,
    selector: &Selector,
    budget: &Budget,
) -> Result<Option<Vec<String>>> {
    let Some(pattern) = &selector.measurement else { return Ok(None) };
    if !pattern.contains('*') {
        return Ok(Some(vec![pattern.clone()]));
    }
    let said = or_empty(client.query(&flux::measurements(bucket), budget))?;
    let mut names = Vec::new();
    for table in reply::parse(&said)? {
        if let crate::series::Values::String(values) = table.values {
            names.extend(values.into_iter().filter(|m| crate::caller::pattern_matches(pattern, m)));
        }
    }
    Ok(Some(names))
}

/// Tables of the chosen series of a bucket, with their keys: one per field and aggregate.
fn tables(
    client: &Client,
    bucket: &str,
    selector: &Selector,
    range: TimeRange,
    aggregates: &[&str],
    budget: &Budget,
) -> Result<Vec<(SeriesKey, reply::Table)>> {
    let mut found = Vec::new();
    for names in groups(&measurements(client, bucket, selector, budget)?) {
        let data = format!(
            "{}{}{}",
            flux::source(bucket, range),
            flux::one_of("_measurement", names.iter().map(String::as_str)),
            flux::tags(&selector.tags)
        );
        // Each has a source of its own: of one that they share, the server would read every point.
        let results =
            aggregates.iter().map(|result| format!("{data} |> {result}() |> yield(name: \"{result}\")\n"));
        let said = or_empty(client.query(&results.collect::<String>(), budget))?;
        chosen(bucket, selector, &said, &mut found)?;
    }
    Ok(found)
}

/// Measurements in groups that one query asks for; a group without any asks for all.
fn groups(names: &Option<Vec<String>>) -> Vec<&[String]> {
    match names {
        None => vec![&[]],
        Some(names) => names.chunks(ASKED_MAX).collect(),
    }
}

/// Adds the tables of a reply that the selector chooses, with their keys.
fn chosen(
    bucket: &str,
    selector: &Selector,
    reply: &[u8],
    found: &mut Vec<(SeriesKey, reply::Table)>,
) -> Result<()> {
    for mut table in reply::parse(reply)? {
        let tags = std::mem::take(&mut table.tags);
        let key = SeriesKey::new(bucket, table.measurement()?, tags)?;
        if selector.matches(&key) {
            found.push((key, table));
        }
    }
    Ok(())
}

/// The newest value of each field of the chosen series, ordered by key.
pub(super) fn latest(client: &Client, selector: &Selector) -> Result<Vec<Latest>> {
    let mut found: BTreeMap<SeriesKey, Vec<LatestField>> = BTreeMap::new();
    for bucket in buckets(client, selector)? {
        let mut texts = BTreeSet::new();
        for (key, table) in tables(client, &bucket, selector, TimeRange::ALL, &["last"], &Budget::default())?
        {
            let name = table.field()?.to_string();
            if table.is_text() {
                texts.insert(name);
                continue;
            }
            let field = LatestField { name, time: table.time()?, value: table.value()? };
            found.entry(key).or_default().push(field);
        }
        for (key, mut table) in latest_texts(client, &bucket, selector, &texts)? {
            table.unguard();
            let field =
                LatestField { name: table.field()?.to_string(), time: table.time()?, value: table.value()? };
            found.entry(key).or_default().push(field);
        }
    }
    Ok(found
        .into_iter()
        .map(|(key, mut fields)| {
            fields.sort_by(|a, b| a.name.cmp(&b.name));
            Latest { key, fields }
        })
        .collect())
}

/// The newest texts of some fields, with their line breaks guarded.
fn latest_texts(
    client: &Client,
    bucket: &str,
    selector: &Selector,
    fields: &BTreeSet<String>,
) -> Result<Vec<(SeriesKey, reply::Table)>> {
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for names in groups(&measurements(client, bucket, selector, &Budget::default())?) {
        let query = format!(
            "{}{}{}{}{} |> last(){}",
            flux::GUARD_IMPORT,
            flux::source(bucket, TimeRange::ALL),
            flux::one_of("_measurement", names.iter().map(String::as_str)),
            flux::tags(&selector.tags),
            flux::one_of("_field", fields.iter().map(String::as_str)),
            flux::GUARD_TEXT
        );
        chosen(bucket, selector, &client.query(&query, &Budget::default())?, &mut found)?;
    }
    Ok(found)
}

/// What is known of a field.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    of: Option<FieldType>,
    count: u64,
    first: Option<i64>,
    last: Option<i64>,
}

/// What is known of each field of a series.
type Spans = BTreeMap<String, Span>;

/// Each field of the chosen series.
fn spans(
    client: &Client,
    selector: &Selector,
    results: &[&str],
    budget: &Budget,
) -> Result<BTreeMap<SeriesKey, Spans>> {
    let mut found: BTreeMap<SeriesKey, Spans> = BTreeMap::new();
    for bucket in buckets(client, selector)? {
        for (key, table) in tables(client, &bucket, selector, TimeRange::ALL, results, budget)? {
            let span = found.entry(key).or_default().entry(table.field()?.to_string()).or_default();
            match table.result.as_str() {
                "count" => span.count = table.count()?,
                "first" => span.first = Some(table.time()?),
                _ => {
                    span.of = Some(table.values.field_type());
                    span.last = Some(table.time()?);
                }
            }
        }
    }
    Ok(found)
}

/// Do all fields have as many points over the same span? So do those that were written together.
fn together(spans: &Spans) -> bool {
    let mut all = spans.values().map(|s| (s.count, s.first, s.last));
    let first = all.next();
    all.all(|s| Some(s) == first)
}

fn info(key: SeriesKey, rows: u64, spans: Spans) -> SeriesInfo {
    SeriesInfo {
        rows,
        min_time: spans.values().filter_map(|s| s.first).min(),
        max_time: spans.values().filter_map(|s| s.last).max(),
        fields: spans.into_iter().filter_map(|(name, s)| Some((name, s.of?))).collect(),
        key,
    }
}

/// The chosen series, ordered by key.
pub(super) fn list(client: &Client, selector: &Selector) -> Result<Vec<SeriesInfo>> {
    let mut counted = 0;
    let found = spans(client, selector, &["first", "last", "count"], &Budget::default())?.into_iter();
    found
        .map(|(key, spans)| {
            let least = spans.values().map(|s| s.count).max().unwrap_or(0);
            let rows = if together(&spans) {
                least
            } else if counted < COUNTED_MAX {
                counted += 1;
                count_rows(client, &key)?.max(least)
            } else {
                spans.values().map(|s| s.count).sum()
            };
            Ok(info(key, rows, spans))
        })
        .collect()
}

/// [`list`], but that rows are guessed: to count them, the server reads every point.
pub(super) fn choose(client: &Client, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
    let found = spans(client, selector, &["first", "last"], budget)?.into_iter();
    let guessed = found.map(|(key, spans)| {
        let mut info = info(key, 0, spans);
        let span = info.min_time.zip(info.max_time).map_or(0, |(min, max)| max.abs_diff(min));
        info.rows = span / GUESSED_GAP_NS + 1;
        info
    });
    Ok(guessed.collect())
}

/// Distinct times of one series, over all its fields.
fn count_rows(client: &Client, key: &SeriesKey) -> Result<u64> {
    let query = format!(
        "{}{}{} |> drop(columns: [\"_value\", \"_field\", \"_start\", \"_stop\"]) |> unique(column: \"_time\") \
         |> map(fn: (r) => ({{r with _value: 1}})) |> count()",
        flux::source(&key.bucket, TimeRange::ALL),
        flux::one_of("_measurement", [key.measurement.as_str()]),
        flux::tags(&key.tags)
    );
    let tables = reply::parse(&client.query(&query, &Budget::default())?)?;
    match tables.iter().find(|t| t.tags == key.tags) {
        Some(table) => table.count(),
        None => Ok(0),
    }
}

/// Series and rows of everything; a series counts as many rows as its fullest field has points.
pub(super) fn totals(client: &Client) -> Result<(u64, u64)> {
    let mut rows: BTreeMap<SeriesKey, u64> = BTreeMap::new();
    for bucket in client.bucket_names()? {
        for (key, table) in
            tables(client, &bucket, &Selector::default(), TimeRange::ALL, &["count"], &Budget::default())?
        {
            let of_series = rows.entry(key).or_default();
            *of_series = (*of_series).max(table.count()?);
        }
    }
    Ok((rows.len() as u64, rows.values().sum()))
}

/// Deletes rows of the chosen series; the number of series that had any.
pub(super) fn delete(client: &Client, selector: &Selector, range: TimeRange) -> Result<u64> {
    let (first, last) = (range.start.max(TIME_MIN_NS), range.end.saturating_sub(1).min(TIME_MAX_NS));
    if range.start >= range.end || first > last {
        return Ok(0);
    }
    let mut series = 0;
    for bucket in buckets(client, selector)? {
        let mut keys = BTreeSet::new();
        for (key, _) in tables(client, &bucket, selector, range, &["first"], &Budget::default())? {
            keys.insert(key);
        }
        series += keys.len() as u64;
        let names: BTreeSet<&str> = keys.iter().map(|k| k.measurement.as_str()).collect();
        for measurement in names {
            client.delete(&bucket, first, last, &flux::predicate(measurement, &selector.tags))?;
        }
    }
    Ok(series)
}
