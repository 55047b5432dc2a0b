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
/// Points of all fields that one list looks at to count rows: the server takes about half a second for a million.
pub(super) const COUNTED_POINTS_MAX: u64 = 5_000_000;
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
pub(super) fn latest(client: &Client, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
    let mut found: BTreeMap<SeriesKey, Vec<LatestField>> = BTreeMap::new();
    for bucket in buckets(client, selector)? {
        let mut texts = BTreeSet::new();
        for (key, table) in tables(client, &bucket, selector, TimeRange::ALL, &["last"], budget)? {
            let name = table.field()?.to_string();
            if table.is_text() {
                texts.insert(name);
                continue;
            }
            let field = LatestField { name, time: table.time()?, value: table.value()? };
            found.entry(key).or_default().push(field);
        }
        for (key, mut table) in latest_texts(client, &bucket, selector, &texts, budget)? {
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
    budget: &Budget,
) -> Result<Vec<(SeriesKey, reply::Table)>> {
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for names in groups(&measurements(client, bucket, selector, budget)?) {
        let query = format!(
            "{}{}{}{}{} |> last(){}",
            flux::GUARD_IMPORT,
            flux::source(bucket, TimeRange::ALL),
            flux::one_of("_measurement", names.iter().map(String::as_str)),
            flux::tags(&selector.tags),
            flux::one_of("_field", fields.iter().map(String::as_str)),
            flux::GUARD_TEXT
        );
        chosen(bucket, selector, &client.query(&query, budget)?, &mut found)?;
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

fn info(key: SeriesKey, rows: u64, spans: Spans) -> SeriesInfo {
    SeriesInfo {
        rows,
        min_time: spans.values().filter_map(|s| s.first).min(),
        max_time: spans.values().filter_map(|s| s.last).max(),
        fields: spans.into_iter().filter_map(|(name, s)| Some((name, s.of?))).collect(),
        key,
    }
}

/// The chosen series, ordered by key. Rows are exact for as many as [`COUNTED_POINTS_MAX`] points; of series beyond them they are
/// those of the fullest field, which are fewer where fields were written apart.
pub(super) fn list(client: &Client, selector: &Selector) -> Result<Vec<SeriesInfo>> {
    list_counting(client, selector, COUNTED_POINTS_MAX)
}

pub(super) fn list_counting(
    client: &Client,
    selector: &Selector,
    points_max: u64,
) -> Result<Vec<SeriesInfo>> {
    let found = spans(client, selector, &["first", "last", "count"], &Budget::default())?;
    let counted = count_rows(client, selector, &found, points_max)?;
    let each = found.into_iter().map(|(key, spans)| {
        let fullest = spans.values().map(|s| s.count).max().unwrap_or(0);
        let rows = counted.get(&key).copied().unwrap_or(0).max(fullest);
        info(key, rows, spans)
    });
    Ok(each.collect())
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

/// Are the times of all fields known to be those of each? Of two points that is told by the first and the last.
fn is_counted(spans: &Spans) -> bool {
    let mut all = spans.values().map(|s| (s.count, s.first, s.last));
    let first = all.next();
    first.is_none_or(|(count, ..)| spans.len() == 1 || (count <= 2 && all.all(|s| Some(s) == first)))
}

/// Distinct times of series over all of their fields, where the counts of these do not tell: as many points alone do not say that the
/// times are the same. The server looks at every point for it, so measurements are taken in their order as long as there is room.
fn count_rows(
    client: &Client,
    selector: &Selector,
    found: &BTreeMap<SeriesKey, Spans>,
    points_max: u64,
) -> Result<BTreeMap<SeriesKey, u64>> {
    let mut of_measurement: BTreeMap<(&str, &str), Counted<'_>> = BTreeMap::new();
    for (key, spans) in found {
        let of = of_measurement.entry((key.bucket.as_str(), key.measurement.as_str())).or_default();
        of.in_doubt |= !is_counted(spans);
        for (name, span) in spans {
            of.points = of.points.saturating_add(span.count);
            if span.of == Some(FieldType::String) {
                of.texts.insert(name);
            }
        }
    }
    let mut plain: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut questions: Vec<(&str, Vec<&str>, BTreeSet<&str>)> = Vec::new();
    let mut left = points_max;
    for ((bucket, measurement), of) in of_measurement {
        if !of.in_doubt || of.points > left {
            continue;
        }
        left -= of.points;
        match of.texts.is_empty() {
            true => plain.entry(bucket).or_default().push(measurement),
            // Another measurement may have numbers under the same name.
            false => questions.push((bucket, vec![measurement], of.texts)),
        }
    }
    for (bucket, names) in plain {
        questions.extend(names.chunks(ASKED_MAX).map(|names| (bucket, names.to_vec(), BTreeSet::new())));
    }
    let mut tables = Vec::new();
    for (bucket, names, texts) in questions {
        let source = flux::source(bucket, TimeRange::ALL)
            + &flux::one_of("_measurement", names)
            + &flux::tags(&selector.tags);
        let query = flux::count_times(&source, texts.iter().copied());
        chosen(bucket, selector, &client.query(&query, &Budget::default())?, &mut tables)?;
    }
    tables.into_iter().map(|(key, table)| Ok((key, table.count()?))).collect()
}

/// What is known of a measurement before its rows are counted.
#[derive(Default)]
struct Counted<'a> {
    points: u64,
    in_doubt: bool,
    texts: BTreeSet<&'a str>,
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
