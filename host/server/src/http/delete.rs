//! `POST /api/v2/delete`: rows within a span of time, by a predicate of InfluxDB's kind: `_measurement="cpu" AND host="a"`.

use super::answer;
use super::body::{Params, Raw};
use super::problem::{Answer, Problem};
use crate::app::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use chrono::DateTime;
use serde::Deserialize;
use shiphold_storage::series::{Selector, SeriesKey, TimeRange, buckets, flux_query};
use shiphold_storage::{Caller, DataLayer, Error, Scope};
use std::sync::Arc;

/// Bytes of a predicate.
const PREDICATE_BYTES_MAX: usize = 64 << 10;
/// Conditions of a predicate.
const CONDITIONS_MAX: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Place {
    bucket: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    start: String,
    stop: String,
    #[serde(default)]
    predicate: String,
}

impl Asked {
    fn range(&self) -> Result<TimeRange, Problem> {
        let time = |name: &str, text: &str| {
            let time = DateTime::parse_from_rfc3339(text).ok().and_then(|t| t.timestamp_nanos_opt());
            time.ok_or_else(|| {
                Problem::invalid(format!(
                    "error decoding json body: invalid RFC3339Nano for field {name}, please format your time with RFC3339Nano \
                     format, example: 2009-01-02T23:00:00Z"
                ))
            })
        };
        // The last instant is in it, as with InfluxDB.
        Ok(TimeRange::new(time("start", &self.start)?, time("stop", &self.stop)?.saturating_add(1))?)
    }
}

/// `POST /api/v2/delete`
pub(super) async fn influx(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Params(place): Params<Place>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.require(Scope::Admin, "delete series")?;
    let content = Raw::read(&headers, body, app.body_max()).await?.content()?;
    let asked: Asked = serde_json::from_slice(&content)
        .map_err(|e| Problem::invalid(format!("error decoding json body: {e}")))?;
    let (range, conditions) = (asked.range()?, predicate(&asked.predicate)?);
    let Some(bucket) = place.bucket.filter(|b| !b.is_empty()) else {
        return Err(Problem::invalid("bucket not found in the parameters").hint("name it: ?bucket=market"));
    };
    answer::call(&app, move |layer| remove(layer, &caller, &bucket, conditions, range)).await?;
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

/// A measurement and tags as a client writes them are looked for where the host stores them.
fn remove(
    layer: &DataLayer,
    caller: &Caller,
    bucket: &str,
    mut conditions: Vec<(String, String)>,
    range: TimeRange,
) -> Result<(), Error> {
    buckets::require(layer, caller, std::iter::once(bucket))?;
    let at = conditions.iter().position(|(key, _)| key == "_measurement");
    let measurement = at.map(|at| conditions.remove(at).1);
    let of = Selector { bucket: Some(bucket.into()), ..Selector::default() };
    let series: Vec<SeriesKey> = layer.series().list(caller, &of)?.into_iter().map(|info| info.key).collect();
    for (stored, tags) in flux_query::stored(&series, measurement.as_deref(), &conditions) {
        if stored.contains('*') {
            return Err(Error::invalid(format!("the measurement `{stored}` has a `*` in its name")).hint(
                "a `*` stands for any name here: such a measurement is deleted with all that it matches",
            ));
        }
        let selector = Selector { bucket: Some(bucket.into()), measurement: Some(stored), tags };
        layer.series().delete(caller, &selector, range)?;
    }
    Ok(())
}

/// The pairs of `a="x" AND b='y'`; nothing but equality is understood, as with InfluxDB.
fn predicate(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let wrong = |what: &str| {
        Problem::invalid(format!("error decoding json body: {what}"))
            .hint("a predicate is `_measurement=\"cpu\" AND host=\"a\"`: names, `=`, values, and `AND` between them")
    };
    if text.len() > PREDICATE_BYTES_MAX {
        return Err(wrong("the predicate is too long"));
    }
    let mut rest = text.trim_start();
    let mut found: Vec<(String, String)> = Vec::new();
    while !rest.is_empty() {
        if !found.is_empty() {
            let (joint, after) = word(rest).ok_or_else(|| wrong("a predicate goes on without `AND`"))?;
            if joint.eq_ignore_ascii_case("or") {
                return Err(wrong("the logical operator OR is not supported"));
            }
            if !joint.eq_ignore_ascii_case("and") {
                return Err(wrong("a predicate goes on without `AND`"));
            }
            rest = after;
        }
        let (key, after) = word(rest).ok_or_else(|| wrong("a condition begins with a name"))?;
        let after = after.strip_prefix('=').ok_or_else(|| wrong("a condition is not an equality"))?;
        let (value, after) = word(after.trim_start()).ok_or_else(|| wrong("a condition has no value"))?;
        if key == "_field" || key == "_time" || key == "_value" {
            return Err(wrong("rows are deleted whole: a predicate is of `_measurement` and tags"));
        }
        if value.is_empty() || key.is_empty() || found.iter().any(|(k, _)| *k == key) {
            return Err(wrong("a name or a value is empty, or a name is given twice"));
        }
        if found.len() == CONDITIONS_MAX {
            return Err(wrong("the predicate has too many conditions"));
        }
        found.push((key, value));
        rest = after;
    }
    Ok(found)
}

/// A word, in quotes or without, and what stands after it and blanks.
fn word(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let mut out = String::new();
    if let Some((_, quote @ ('"' | '\''))) = chars.next() {
        loop {
            match chars.next()? {
                (_, '\\') => out.push(chars.next()?.1),
                (at, c) if c == quote => return Some((out, text.get(at + 1..)?.trim_start())),
                (_, c) => out.push(c),
            }
        }
    }
    let is_bare = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
    let end = text.find(|c: char| !is_bare(c)).unwrap_or(text.len());
    let (word, after) = text.split_at_checked(end)?;
    (!word.is_empty()).then(|| (word.to_string(), after.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates() {
        let of = |text: &str| {
            let found = predicate(text).map_err(|p| p.status.as_u16())?;
            Ok::<_, u16>(found.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(of("").as_deref(), Ok(""));
        assert_eq!(of(r#" _measurement="cpu" "#).as_deref(), Ok("_measurement=cpu"));
        assert_eq!(
            of(r#"_measurement="a \"b\"" and host = 'x y' AND z=1"#).as_deref(),
            Ok("_measurement=a \"b\"|host=x y|z=1")
        );
        let deep = "a=1 AND ".repeat(3);
        for bad in [
            "a",
            "a=",
            "=b",
            "a=\"",
            "a!=b",
            "a=b OR c=d",
            "a=b c=d",
            "a=b AND",
            "(a=b)",
            "a=~/x/",
            "_field=\"v\"",
            "a=\"\"",
            &deep,
            "a=1 AND a=2",
        ] {
            assert_eq!(of(bad), Err(400), "{bad}");
        }
        let many = |n: usize| (0..n).map(|i| format!("t{i}=1")).collect::<Vec<_>>().join(" AND ");
        assert!(of(&many(CONDITIONS_MAX)).is_ok());
        assert_eq!(of(&many(CONDITIONS_MAX + 1)), Err(400));
        assert_eq!(of(&format!("a=\"{}\"", "x".repeat(PREDICATE_BYTES_MAX))), Err(400));
    }
}
