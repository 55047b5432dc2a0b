//! Names that nobody would choose, in every kind of question to a real server and in its deletes: it answers what the model does.

use super::open;
use crate::error::Kind;
use crate::series::coverage::{CoverageQuery, coverage};
use crate::series::model_engine::{ModelEngine, Row, frame_of, rows_of};
use crate::series::query::{self, Query};
use crate::series::{Budget, Selector, SeriesEngine, SeriesKey, TimeRange, Value, WriteBatch};
use crate::testing::influxd::Influxd;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

const MINUTE: i64 = 60_000_000_000;
/// Rows of each series.
const ROWS: i64 = 6;
/// Each asks a real server some hundred times.
const CASES: u32 = 6;
/// Tries to make a failing case smaller.
const SHRINKS_MAX: u32 = 8;

#[derive(Debug, Clone)]
struct Names {
    bucket: String,
    measurement: String,
    tag: (String, String),
    other: (String, String),
    fields: [String; 3],
    text: String,
}

fn names() -> impl Strategy<Value = Names> {
    let name = || {
        prop_oneof![
            4 => r#"([a-z0-9]|[ ,=\\"'#$\{\}_<>|()\[\]*+?^%/~.:;-]|é|😀|\PC){1,12}"#,
            1 => prop::sample::select(vec![
                "${x}", "a//b", "/re/", "^.*$", "(a|b)", "\") |> drop() //", "x\" OR \"1\"=\"1", "from", "AND", "true", "*", "\\n",
                "a=b", "r[\"_field\"]",
            ])
            .prop_map(String::from),
        ]
    };
    let fields = prop::collection::btree_set(name(), 3..=3);
    (name(), name(), (name(), name()), (name(), name()), fields, r"(\PC|[\n\r\t\\,]){0,12}").prop_filter_map(
        "tags with one key",
        |(bucket, measurement, tag, other, fields, text)| {
            let mut fields = fields.into_iter();
            let fields = [fields.next()?, fields.next()?, fields.next()?];
            // A star makes a pattern, which the model has too; two tags have two keys.
            (tag.0 != other.0).then_some(Names { bucket, measurement, tag, other, fields, text })
        },
    )
}

impl Names {
    /// A series, one with more tags, one with none, and one whose measurement begins alike.
    fn series(&self, bucket: &str) -> Vec<SeriesKey> {
        let key = |measurement: &str, tags: &[&(String, String)]| {
            SeriesKey::new(bucket, measurement, tags.iter().map(|t| (*t).clone()).collect()).unwrap()
        };
        let longer = format!("{}x", self.measurement);
        vec![
            key(&self.measurement, &[&self.tag]),
            key(&self.measurement, &[&self.tag, &self.other]),
            key(&self.measurement, &[]),
            key(&longer, &[&self.tag]),
        ]
    }

    fn rows(&self, of: usize) -> WriteBatch {
        let [a, b, c] = &self.fields;
        let row = |i: i64| {
            let mut row = Row::from([(a.clone(), Value::Float(i as f64 / 3.0 + of as f64))]);
            if i % 2 == 0 {
                row.insert(b.clone(), Value::Integer(i - 7));
            }
            if i % 3 == 0 {
                row.insert(c.clone(), Value::String(self.text.clone()));
            }
            (i * MINUTE / 2, row)
        };
        WriteBatch { series: vec![(self.key(of), frame_of(&(0..ROWS).map(row).collect::<Vec<_>>()))] }
    }

    fn key(&self, of: usize) -> SeriesKey {
        self.series(&self.bucket).remove(of)
    }
}

/// Every kind of answer in words: floats are shown with all their digits.
fn answers(engine: &dyn SeriesEngine, names: &Names) -> Vec<String> {
    let (bucket, budget) = (&names.bucket, Budget::default());
    let [a, b, c] = &names.fields;
    let mut out = Vec::new();
    let mut tell = |what: &str, said: &dyn std::fmt::Debug| out.push(format!("{what}: {said:?}"));
    let part = TimeRange { start: MINUTE / 2, end: 2 * MINUTE };
    for key in names.series(bucket) {
        for (range, fields) in
            [(TimeRange::ALL, None), (part, Some(vec![a.clone(), c.clone(), "none".into()]))]
        {
            let rows = rows_of(engine.scan(&key, range, fields.as_deref(), &budget).unwrap()).unwrap();
            tell("rows", &rows.into_iter().filter(|(_, row)| !row.is_empty()).collect::<Vec<_>>());
        }
        let tags = Selector { measurement: None, ..Selector::of(&key) };
        for selector in [Selector::of(&key), tags] {
            let mut latest = engine.latest(&selector).unwrap();
            latest.iter_mut().for_each(|l| l.fields.sort_by(|a, b| a.name.cmp(&b.name)));
            tell("latest", &latest);
            tell("list", &engine.list(&selector).unwrap());
        }
        let of = json!({ "bucket": bucket, "measurement": key.measurement, "tags": key.tags });
        let every = json!({ "every": "1m", "bucket": bucket, "measurement": key.measurement });
        let every: CoverageQuery = serde_json::from_value(every).unwrap();
        let series = engine.list(&every.selector()).unwrap();
        tell("coverage", &coverage(engine, series, &every, &budget).unwrap());
        let mut aggregates = vec![json!({ "field": c, "function": "count" })];
        for function in ["first", "last", "min", "max", "sum", "mean", "count"] {
            aggregates.extend([a, b].map(|field| json!({ "field": field, "function": function })));
        }
        let window = json!({ "window": { "every": "1m", "aggregates": aggregates } });
        let pattern = regex::escape(&names.tag.1);
        for more in [
            json!({ "limit": 4, "descending": true }),
            json!({ "fields": [b, a] }),
            window.clone(),
            json!({ "where": [{ "tag": names.tag.0, "equals": names.tag.1 }] }),
            json!({ "where": [{ "tag": names.other.0, "in": [names.other.1, ""], "not": true }] }),
            json!({ "where": [{ "tag": names.tag.0, "matches": pattern }] }),
            json!({ "where": [{ "tag": names.tag.0, "matches": pattern, "not": true }] }),
        ] {
            let mut query = of.clone();
            query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let query: Query = serde_json::from_value(query).unwrap();
            let said = query::execute(engine, &query, &budget, 1_000)
                .map_err(|e| (e.kind(), e.message().to_string()));
            tell("query", &said);
        }
    }
    out
}

#[test]
fn names_of_any_kind_are_asked_for_and_deleted_as_they_are() {
    let server = Influxd::start();
    let engine = open(&server);
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        ..Config::default()
    });
    let (count, stored) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    runner
        .run(&names(), |mut names| {
            count.set(count.get() + 1);
            // A bucket of its own: a field of a measurement has one type.
            names.bucket =
                format!("{}{}", names.bucket.trim_start_matches('_').replace('"', ""), count.get());
            let model = ModelEngine::default();
            for of in 0..4 {
                match engine.write(names.rows(of)) {
                    Err(e) => prop_assert_eq!(e.kind(), Kind::Invalid, "{:?}", e),
                    Ok(said) => {
                        prop_assert_eq!(said, model.write(names.rows(of)).unwrap());
                        stored.set(stored.get() + 1);
                    }
                }
            }
            prop_assert_eq!(answers(&engine, &names), answers(&model, &names));
            let (key, range) = (names.key(0), TimeRange { start: MINUTE, end: 2 * MINUTE });
            let others = Selector { measurement: None, ..Selector::of(&key) };
            for (selector, range) in [
                (Selector::of(&key), range),
                (others, TimeRange { start: 0, end: MINUTE }),
                (Selector::of(&key), TimeRange::ALL),
            ] {
                let said = engine.delete(&selector, range).unwrap();
                prop_assert_eq!(said.series, model.delete(&selector, range).unwrap().series);
                prop_assert_eq!(answers(&engine, &names), answers(&model, &names));
            }
            Ok(())
        })
        .unwrap();
    assert!(stored.get() > 6, "most names are refused: {} series of {} rounds", stored.get(), count.get());
}
