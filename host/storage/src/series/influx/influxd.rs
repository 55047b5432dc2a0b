//! The engine against a real InfluxDB. Needs `SHIPHOLD_INFLUXD`; run by the `influxd` step of the tests.

mod names;
mod summed;

use super::fake_server::engine;
use super::{InfluxEngine, catalog};
use crate::error::Kind;
use crate::series::{
    Budget, Column, Frame, Selector, SeriesEngine, SeriesKey, TimeRange, Value, Values, WriteBatch,
    conformance,
};
use crate::testing::influxd::Influxd;

fn open(server: &Influxd) -> InfluxEngine {
    engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000)
}

fn key(bucket: &str, measurement: &str) -> SeriesKey {
    SeriesKey::new(bucket, measurement, vec![]).unwrap()
}

fn one(key: &SeriesKey, column: Column) -> WriteBatch {
    let times = (1..=column.values.len() as i64).collect();
    WriteBatch { series: vec![(key.clone(), Frame { times, columns: vec![column] })] }
}

fn scan(engine: &InfluxEngine, key: &SeriesKey) -> crate::Result<Vec<Frame>> {
    engine.scan(key, TimeRange::ALL, None, &Budget::default())?.collect()
}

#[test]
fn influxd_conforms() {
    let server = Influxd::start();
    conformance::run(&open(&server));
}

#[test]
fn influxd_keeps_decimals() {
    let server = Influxd::start();
    conformance::run_decimals(std::sync::Arc::new(open(&server)));
}

#[test]
fn influxd_keeps_revisions() {
    let server = Influxd::start();
    crate::series::revisions::tests::a_history_is_read_again(std::sync::Arc::new(open(&server)));
}

#[test]
fn an_outage_is_told_in_bounded_time_and_ends() {
    let mut server = Influxd::start();
    let engine = open(&server);
    let key = key("market", "m");
    assert_eq!(engine.write(one(&key, Column::float("v", vec![1.0]))).unwrap().written, 1);
    assert!(engine.verify(&Budget::default()).unwrap().is_empty());
    server.kill();
    assert_eq!(engine.write(one(&key, Column::float("v", vec![2.0]))).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(scan(&engine, &key).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(engine.verify(&Budget::default()).unwrap_err().kind(), Kind::Unavailable);
    server.restart();
    assert_eq!(scan(&engine, &key).unwrap()[0].columns[0].get(0), Some(Value::Float(1.0)));
    assert_eq!(engine.write(one(&key, Column::float("v", vec![2.0]))).unwrap().written, 1);
    assert_eq!(scan(&engine, &key).unwrap()[0].columns[0].get(0), Some(Value::Float(2.0)));
}

#[test]
fn a_wrong_token_or_organisation_is_told() {
    let server = Influxd::start();
    let key = key("market", "m");
    let stranger = engine(&server.url(), Influxd::ORG, "not-the-token", 20_000);
    let error = stranger.write(one(&key, Column::float("v", vec![1.0]))).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthenticated, "{error:?}");
    let lost = engine(&server.url(), "no-such-org", Influxd::TOKEN, 20_000);
    let error = lost.write(one(&key, Column::float("v", vec![1.0]))).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
    assert!(scan(&lost, &key).is_err());
}

#[test]
fn a_bucket_is_made_only_if_the_manifest_says_so() {
    let server = Influxd::start();
    let mut engine = open(&server);
    engine.create_buckets = false;
    let key = key("a/new bucket", "m");
    assert_eq!(scan(&engine, &key).unwrap(), []);
    let error = engine.write(one(&key, Column::float("v", vec![1.0]))).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().contains("create_buckets"), "{error:?}");
    engine.create_buckets = true;
    assert_eq!(engine.write(one(&key, Column::float("v", vec![1.0]))).unwrap().written, 1);
    assert_eq!(scan(&engine, &key).unwrap()[0].len(), 1);
    assert_eq!(engine.list(&Selector::default()).unwrap().len(), 1);
    let stats = engine.stats().unwrap();
    assert_eq!((stats.series, stats.rows, stats.rows_written), (1, 1, 1));
}

#[test]
fn a_bucket_gets_the_retention_of_the_manifest() {
    let server = Influxd::start();
    let seconds = || -> Vec<(String, u64)> {
        let said = server.request("GET", "/api/v2/buckets", "").unwrap().1;
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let rules = |b: &serde_json::Value| b["retentionRules"][0]["everySeconds"].as_u64().unwrap_or(0);
        let all = said["buckets"].as_array().unwrap().iter();
        let own = all.filter(|b| !b["name"].as_str().unwrap().starts_with('_'));
        let mut own: Vec<_> = own.map(|b| (b["name"].as_str().unwrap().to_string(), rules(b))).collect();
        own.sort();
        own
    };
    let day = crate::units::Span::from_secs(86_400);
    for (keep, want) in [(day, 86_400), (crate::units::Span::from_secs(3_600), 3_600)] {
        let mut engine = open(&server);
        engine.retention = [(Influxd::BUCKET.to_string(), keep), ("a b".to_string(), keep)].into();
        for bucket in [Influxd::BUCKET, "a b", "other"] {
            let now = crate::schema::now_ns();
            let column = Column::float("v", vec![1.0]);
            let frame = Frame { times: vec![now], columns: vec![column] };
            let batch = WriteBatch { series: vec![(key(bucket, "m"), frame)] };
            assert_eq!(engine.write(batch).unwrap().written, 1, "{bucket}");
        }
        let wanted = [("a b".into(), want), (Influxd::BUCKET.into(), want), ("other".into(), 0)];
        assert_eq!(seconds(), wanted, "made, found, and left alone");
    }
}

#[test]
fn a_type_stays_for_all_time_and_not_for_a_week() {
    let server = Influxd::start();
    let key = key("market", "m");
    assert_eq!(open(&server).write(one(&key, Column::float("v", vec![1.0]))).unwrap().written, 1);
    // Another shard, another process: the server itself would take it.
    let far = Frame { times: vec![i64::MAX / 2], columns: vec![Column::new("v", Values::Integer(vec![1]))] };
    let said = open(&server).write(WriteBatch { series: vec![(key.clone(), far)] }).unwrap();
    assert_eq!((said.written, said.dropped, said.conflicts.len()), (0, 1, 1));
}

#[test]
fn what_others_write_past_the_host_is_counted_or_refused() {
    let server = Influxd::start();
    let engine = open(&server);
    let key = key(Influxd::BUCKET, "m");
    assert_eq!(engine.write(one(&key, Column::new("w", Values::Boolean(vec![true])))).unwrap().written, 1);
    assert_eq!(server.write(Influxd::BUCKET, "m v=\"text\" 1").0, 204);
    let said = engine.write(one(&key, Column::float("v", vec![1.0, 2.0]))).unwrap();
    assert_eq!((said.written, said.dropped, said.conflicts.len()), (0, 2, 1));
    // Tags that are named like columns of a reply are tags all the same.
    server.write(Influxd::BUCKET, "named,table=1,result=r y=1 7");
    let tags = vec![("table".to_string(), "1".to_string()), ("result".to_string(), "r".to_string())];
    let named = SeriesKey::new(Influxd::BUCKET, "named", tags).unwrap();
    assert_eq!(scan(&engine, &named).unwrap()[0].times, [7]);
}

/// As many points over the same span need not be at the same times.
#[test]
fn rows_are_counted_where_fields_were_written_apart() {
    let server = Influxd::start();
    let engine = open(&server);
    let at = |key: &SeriesKey, times: &[i64], column: Column| {
        let frame = Frame { times: times.to_vec(), columns: vec![column] };
        engine.write(WriteBatch { series: vec![(key.clone(), frame)] }).unwrap();
    };
    let texts = |texts: [&str; 3]| Values::String(texts.map(String::from).to_vec());
    // Together, apart with numbers, and apart with texts whose places the server itself would mix up.
    let (same, apart, words) = (key("market", "a"), key("market", "b"), key("market", "c"));
    for name in ["x", "y"] {
        at(&same, &[1, 2, 4], Column::float(name, vec![1.0; 3]));
    }
    at(&apart, &[1, 2, 4], Column::float("x", vec![1.0; 3]));
    at(&apart, &[1, 3, 4], Column::float("y", vec![1.0; 3]));
    at(&words, &[1, 2, 9], Column::new("x", texts(["x", "", "y"])));
    at(&words, &[1, 5, 9], Column::new("y", Values::Boolean(vec![true; 3])));
    at(&words, &[1, 6, 9], Column::new("z", texts(["", "", ""])));
    let tagged = SeriesKey::new("market", "b", vec![("s".into(), "A".into())]).unwrap();
    at(&tagged, &[1, 2, 4], Column::float("x", vec![1.0; 3]));
    at(&tagged, &[1, 3, 4], Column::float("z", vec![1.0; 3]));
    let rows = |selector: &Selector, points_max| -> Vec<(String, u64)> {
        let found = catalog::list_counting(&engine.client, selector, points_max).unwrap();
        found.into_iter().map(|info| (info.key.to_string(), info.rows)).collect()
    };
    let want = |rows: [u64; 4]| -> Vec<(String, u64)> {
        [&same, &apart, &tagged, &words].iter().map(|key| key.to_string()).zip(rows).collect()
    };
    let all = Selector::default();
    let listed = engine.list(&all).unwrap();
    assert_eq!(listed.iter().map(|i| i.rows).collect::<Vec<_>>(), [3, 4, 4, 5]);
    assert_eq!(rows(&all, catalog::COUNTED_POINTS_MAX), want([3, 4, 4, 5]));
    // 6, 12 and 9 points: at the bound, and a point less.
    assert_eq!(rows(&all, 27), want([3, 4, 4, 5]));
    assert_eq!(rows(&all, 26), want([3, 4, 4, 3]), "of what is not counted: the fullest field");
    assert_eq!(rows(&all, 17), want([3, 3, 3, 5]));
    assert_eq!(rows(&all, 5), want([3; 4]));
    let one = Selector { tags: tagged.tags.clone(), ..Selector::default() };
    assert_eq!(rows(&one, 6), [(tagged.to_string(), 4)]);
}

/// InfluxDB 2.7 itself gives the second text the place of the empty one, or panics.
#[test]
fn an_empty_text_stands_where_it_was_written() {
    let server = Influxd::start();
    let engine = open(&server);
    for (name, texts) in
        [("panics", vec!["x", ""]), ("shifts", vec!["x", "", "y", "", "zz", "", "x"]), ("none", vec!["", ""])]
    {
        let key = key("market", name);
        let texts: Vec<String> = texts.into_iter().map(String::from).collect();
        let column = Column::new("t", Values::String(texts));
        assert_eq!(engine.write(one(&key, column.clone())).unwrap().written, column.values.len() as u64);
        assert_eq!(engine.write(one(&key, Column::float("v", vec![1.0]))).unwrap().written, 1);
        let found = scan(&engine, &key).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].column("t"), Some(&column), "{name}");
        assert_eq!(found[0].column("v").and_then(|c| c.get(0)), Some(Value::Float(1.0)));
    }
}

/// What random names found by luck.
#[test]
fn names_that_the_server_loses_are_refused() {
    let server = Influxd::start();
    let engine = open(&server);
    for (measurement, tag, refused) in [
        ("m", "$", true),
        ("m", "a@b", true),
        ("m", "_t", true),
        ("m", "time", true),
        ("t=", "t", true),
        ("é=x", "é", true),
        ("m", "$a", false),
        ("m", "$$", false),
        ("xt=", "t", false),
        ("t", "t", false),
        ("u=", "t", false),
    ] {
        let key = SeriesKey::new("names", measurement, vec![(tag.to_string(), "0".to_string())]).unwrap();
        match engine.write(one(&key, Column::float("f", vec![1.0]))) {
            Err(e) => assert!(refused && e.kind() == Kind::Invalid, "{key}: {e}"),
            Ok(_) => {
                assert!(!refused, "{key}");
                assert_eq!(scan(&engine, &key).unwrap().len(), 1, "{key}");
                engine.delete(&Selector::of(&key), TimeRange::ALL).unwrap();
                assert!(scan(&engine, &key).unwrap().is_empty(), "{key}");
            }
        }
    }
}
