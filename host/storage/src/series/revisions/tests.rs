//! What is read as of a time is what was there at that time.

use super::rules::Rule;
use super::*;
use crate::Kind;
use crate::manifest::Revision;
use crate::series::embedded::{EmbeddedEngine, EngineOptions};
use crate::series::model_engine::{ModelEngine, Row, frame_of, rows_of};
use crate::series::query::{self, Query};
use crate::series::{Column, Value};
use crate::sqlite::{Database, Options};
use crate::units::{ByteSize, Span};
use proptest::prelude::*;

const NEVER: Span = Span::from_secs(10 * 365 * 86_400);
const MEASUREMENTS: [&str; 2] = ["bar.1d.A", "bar.1d.B"];

fn rules(measurement: &str, window: Span, since: i64) -> Rules {
    let rule = Rule { bucket: "market".into(), measurement: measurement.into(), window, since };
    Rules { rules: vec![rule], ended: Vec::new() }
}

fn recorder(engine: Arc<dyn SeriesEngine>) -> Arc<Recorder> {
    Recorder::new(engine, rules("bar.*", NEVER, 0))
}

fn embedded(dir: &tempfile::TempDir) -> Arc<EmbeddedEngine> {
    let config = crate::manifest::Embedded {
        memory_max: ByteSize::mib(64),
        head_max: ByteSize::mib(1),
        chunk_rows: 1024,
        seal_after: Span::from_secs(3_600),
        compact_every: Span::from_secs(0),
        cache_max: ByteSize::mib(1),
    };
    let path = dir.path().join("series.db");
    Arc::new(EmbeddedEngine::open(&path, &config, EngineOptions::default()).unwrap())
}

fn key(measurement: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, Vec::new()).unwrap()
}

fn frame(rows: &[(i64, &[(&str, f64)])]) -> Frame {
    let rows: Vec<(i64, Row)> = rows
        .iter()
        .map(|(t, cells)| (*t, cells.iter().map(|(n, v)| ((*n).to_string(), Value::Float(*v))).collect()))
        .collect();
    frame_of(&rows)
}

fn write(engine: &dyn SeriesEngine, measurement: &str, rows: &[(i64, &[(&str, f64)])]) -> WriteReport {
    engine.write(WriteBatch { series: vec![(key(measurement), frame(rows))] }).unwrap()
}

fn rows(engine: &dyn SeriesEngine, measurement: &str) -> Vec<(i64, Row)> {
    rows_of(engine.scan(&key(measurement), TimeRange::ALL, None, &Budget::default()).unwrap()).unwrap()
}

/// All series of a bucket have revisions, for ever.
pub(in crate::series) fn recorder_of(engine: Arc<dyn SeriesEngine>, bucket: &str) -> Arc<Recorder> {
    let rule = Rule { bucket: bucket.into(), measurement: "*".into(), window: NEVER, since: 0 };
    Recorder::new(engine, Rules { rules: vec![rule], ended: Vec::new() })
}

/// A time that has passed when it returns.
pub(in crate::series) fn tick(recorder: &Recorder) -> i64 {
    let t = now_ns().max(recorder.clock.progress().last);
    while now_ns() <= t {
        std::hint::spin_loop();
    }
    t
}

#[derive(Debug, Clone)]
enum Op {
    Write(usize, Vec<(i64, u8, f64)>),
    Delete(usize, i64, i64),
    Forget(usize, i64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let cells =
        prop::collection::vec((0_i64..30, 0_u8..3, prop_oneof![Just(0.0), Just(-0.0), 1.0..4.0]), 1..12);
    let op = prop_oneof![
        6 => (0_usize..2, cells).prop_map(|(m, cells)| Op::Write(m, cells)),
        2 => (0_usize..2, 0_i64..30, 0_i64..30).prop_map(|(m, a, b)| Op::Delete(m, a.min(b), a.max(b))),
        1 => (0_usize..2, 0_i64..12).prop_map(|(m, before)| Op::Forget(m, before)),
    ];
    prop::collection::vec(op, 1..14)
}

/// Does the operations and compares every state that there was with what is read as of its time.
fn every_state_is_read_again(engine: Arc<dyn SeriesEngine>, ops: &[Op]) {
    let recorder = recorder(engine);
    // Before the first operation there was nothing.
    recorder.seed().unwrap();
    let mut states = vec![(tick(&recorder), [Vec::new(), Vec::new()])];
    for op in ops {
        match op {
            Op::Write(m, cells) => {
                // Appends at the end, late rows, corrections, the same time twice.
                let batch = cells
                    .iter()
                    .map(|(t, field, v)| {
                        let name = ["open", "close", "volume"][usize::from(*field)];
                        (key(MEASUREMENTS[*m]), frame(&[(*t, &[(name, *v)])]))
                    })
                    .collect();
                let written = recorder.write(WriteBatch { series: batch }).unwrap();
                assert!(written.written <= cells.len() as u64 && written.dropped == 0, "{written:?}");
            }
            Op::Delete(m, start, end) => {
                let range = TimeRange { start: *start, end: *end };
                recorder.delete(&Selector::of(&key(MEASUREMENTS[*m])), range).unwrap();
            }
            Op::Forget(m, before) => {
                let range = TimeRange { start: crate::series::model::TIME_MIN_NS, end: *before };
                if rows(recorder.as_ref(), MEASUREMENTS[*m]).is_empty() {
                    // Retention looks at series that there are.
                    continue;
                }
                let stored = recorder.stored().clone();
                recorder
                    .forget(stored.as_ref(), &Selector::of(&key(MEASUREMENTS[*m])), range, Some(range))
                    .unwrap();
                // What retention dropped is gone from every state.
                for (_, state) in &mut states {
                    state[*m].retain(|(t, _): &(i64, Row)| t >= before);
                }
            }
        }
        let now = MEASUREMENTS.map(|m| rows(recorder.as_ref(), m));
        states.push((tick(&recorder), now));
    }
    // A recorder that begins anew knows the same.
    let again = super::tests::recorder(recorder.stored().clone());
    for recorder in [&recorder, &again] {
        for (at, state) in &states {
            let view = recorder.as_known_at(*at).unwrap();
            let listed =
                view.list(&Selector { measurement: Some("bar.*".into()), ..Selector::default() }).unwrap();
            for (m, want) in MEASUREMENTS.iter().zip(state) {
                assert_eq!(bits(&rows(view.as_ref(), m)), bits(want), "{m} as of {at}, after {ops:?}");
                let part = TimeRange { start: 7, end: 19 };
                let close = ["close".to_string()];
                let got =
                    rows_of(view.scan(&key(m), part, Some(&close), &Budget::default()).unwrap()).unwrap();
                let close_of = |(t, row): &(i64, Row)| {
                    Some((*t, Row::from([("close".into(), row.get("close")?.clone())])))
                };
                let want_part: Vec<_> =
                    want.iter().filter(|(t, _)| part.contains(*t)).filter_map(close_of).collect();
                assert_eq!(bits(&got), bits(&want_part), "{m} as of {at}, a part");
                if let (Some((first, _)), Some((last, _))) = (want.first(), want.last()) {
                    let info = listed.iter().find(|i| i.key == key(m)).unwrap();
                    assert!(info.rows >= want.len() as u64);
                    assert!(info.min_time.unwrap() <= *first && *last <= info.max_time.unwrap());
                }
            }
        }
    }
}

/// A zero has a sign.
fn bits(rows: &[(i64, Row)]) -> Vec<(i64, Vec<(&str, u64)>)> {
    fn cells(row: &Row) -> Vec<(&str, u64)> {
        row.iter().map(|(n, v)| (n.as_str(), v.as_f64().unwrap().to_bits())).collect()
    }
    rows.iter().map(|(t, row)| (*t, cells(row))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_state_that_there_was_is_read_again(ops in ops(), frame_rows in prop_oneof![Just(1_usize), Just(3), Just(1_000)]) {
        every_state_is_read_again(Arc::new(ModelEngine::with_frame_rows(frame_rows)), &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]
    #[test]
    fn every_state_of_the_embedded_engine_is_read_again(ops in ops()) {
        let dir = tempfile::tempdir().unwrap();
        every_state_is_read_again(embedded(&dir), &ops);
    }
}

/// One history, for an engine that takes its time.
pub(in crate::series) fn a_history_is_read_again(engine: Arc<dyn SeriesEngine>) {
    let ops = [
        Op::Write(0, vec![(3, 0, 1.0), (5, 1, 2.0), (9, 1, -0.0)]),
        Op::Write(1, vec![(1, 2, 1.0)]),
        Op::Write(0, vec![(9, 1, 0.0), (4, 1, 3.0), (20, 0, 1.0), (5, 2, 1.5)]),
        Op::Delete(0, 4, 10),
        Op::Write(0, vec![(5, 1, 8.0), (25, 1, 1.0)]),
        Op::Forget(0, 4),
        Op::Delete(1, 0, 30),
        Op::Write(1, vec![(1, 2, 2.0)]),
    ];
    every_state_is_read_again(engine, &ops);
}

#[test]
fn rows_that_are_added_cost_one_row_of_the_log_a_batch() {
    let engine = Arc::new(ModelEngine::default());
    let recorder = recorder(engine.clone());
    for batch in 0..3 {
        let times: Vec<i64> = (batch * 100..batch * 100 + 100).collect();
        let column = Column::float("close", vec![1.0; 100]);
        let frame = Frame { times, columns: vec![column] };
        let report = recorder.write(WriteBatch { series: vec![(key("bar.1d.A"), frame)] }).unwrap();
        assert_eq!(report, WriteReport { written: 100, ..WriteReport::default() });
    }
    let log = hidden(&key("bar.1d.A"));
    assert_eq!(engine.rows(&log).unwrap().len(), 3);
    // Sent again as it is: nothing was changed.
    assert_eq!(write(recorder.as_ref(), "bar.1d.A", &[(5, &[("close", 1.0)])]).written, 1);
    assert_eq!(engine.rows(&log).unwrap().len(), 3);
    // Series without a rule have no log.
    write(recorder.as_ref(), "tick.A", &[(5, &[("price", 1.0)])]);
    assert!(engine.rows(&hidden(&key("tick.A"))).unwrap().is_empty());
}

#[test]
fn nobody_sees_or_reaches_the_log() {
    let recorder = recorder(Arc::new(ModelEngine::default()));
    write(recorder.as_ref(), "bar.1d.A", &[(1, &[("close", 1.0)])]);
    write(recorder.as_ref(), "bar.1d.A", &[(1, &[("close", 2.0)])]);
    let log = hidden(&key("bar.1d.A"));
    assert_eq!(recorder.stored().list(&Selector::default()).unwrap().len(), 2);
    for selector in [Selector::default(), Selector::of(&log)] {
        let seen = recorder.list(&selector).unwrap();
        assert!(seen.iter().all(|i| i.key == key("bar.1d.A")), "{seen:?}");
        assert!(recorder.latest(&selector).unwrap().iter().all(|l| l.key == key("bar.1d.A")));
    }
    assert_eq!(recorder.scan(&log, TimeRange::ALL, None, &Budget::default()).unwrap().count(), 0);
    assert_eq!((recorder.stats().unwrap().series, recorder.stats().unwrap().rows), (1, 1));
    let refused = recorder.write(WriteBatch { series: vec![(log.clone(), frame(&[(1, &[("at", 1.0)])]))] });
    assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
    // Deleting everything leaves the log, which now has what was deleted.
    let before = tick(&recorder);
    recorder.delete(&Selector::of(&log), TimeRange::ALL).unwrap();
    assert_eq!(recorder.delete(&Selector::default(), TimeRange::ALL).unwrap().rows, Some(1));
    assert!(recorder.list(&Selector::default()).unwrap().is_empty());
    let then = recorder.as_known_at(before).unwrap();
    assert_eq!(rows(then.as_ref(), "bar.1d.A").len(), 1);
    let latest = then.latest(&Selector::default()).unwrap();
    assert_eq!((latest.len(), &latest[0].fields[0].value), (1, &Value::Float(2.0)));
}

/// A file that is imported is looked at whole by it, before its first row is written.
#[test]
fn what_the_engine_would_refuse_is_refused_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(embedded(&dir));
    let text = |len: usize| {
        let values = crate::series::Values::String(vec!["x".repeat(len)]);
        let frame = Frame { times: vec![1], columns: vec![Column::new("text", values)] };
        recorder.admit(&WriteBatch { series: vec![(key("m"), frame)] }).map_err(|e| e.kind())
    };
    let most = crate::series::embedded::bounds::STRING_BYTES_MAX;
    assert_eq!((text(most), text(most + 1)), (Ok(()), Err(Kind::Limit)));
    let log = WriteBatch { series: vec![(hidden(&key("bar.1d.A")), frame(&[(1, &[("at", 1.0)])]))] };
    assert_eq!(recorder.admit(&log).unwrap_err().kind(), Kind::Invalid);
    recorder.close().unwrap();
    assert_eq!(recorder.stats().unwrap().rows, 0);
}

#[test]
fn the_window_and_the_beginning_are_bounds() {
    let engine = Arc::new(ModelEngine::default());
    let now = now_ns();
    let hour = Span::from_secs(3_600);
    let reach = |since: i64, at: i64| rules("bar.*", hour, since).reaches(&key("bar.1d.A"), at, now);
    assert!(reach(0, now - hour.as_nanos_i64()).is_ok());
    let before = reach(0, now - hour.as_nanos_i64() - 1).unwrap_err();
    assert!(before.message().contains("the window of 1 h"), "{before}");
    assert!(reach(now - 5, now - 5).is_ok());
    assert!(reach(now - 5, now - 6).unwrap_err().message().contains("since when"));
    let none = rules("bar.*", hour, 0).reaches(&key("tick.A"), now, now).unwrap_err();
    assert!(none.hint_text().unwrap().contains("[[series.revisions]]"));

    // A time that did not come yet is as now.
    let recorder = Recorder::new(engine, rules("bar.*", hour, now));
    write(recorder.as_ref(), "bar.1d.A", &[(1, &[("close", 1.0)])]);
    let later = recorder.as_known_at(now_ns() + 1_000_000_000_000).unwrap();
    assert_eq!(rows(later.as_ref(), "bar.1d.A").len(), 1);
    assert_eq!(rows(recorder.as_known_at(now).unwrap().as_ref(), "bar.1d.A").len(), 0);
}

#[test]
fn a_longer_window_and_a_rule_that_comes_back_begin_where_something_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap();
    let wanted = |secs| {
        vec![Revision { bucket: "market".into(), measurement: "bar.*".into(), window: Span::from_secs(secs) }]
    };
    let s = 1_000_000_000;
    let since = |wanted: &[Revision], now| {
        let rules = Rules::declare(&db, wanted, now);
        (rules.rules.first().map(|r| r.since), rules.ended)
    };
    assert_eq!(since(&wanted(10), 100 * s), (Some(100 * s), vec![]));
    assert_eq!(since(&wanted(10), 200 * s), (Some(100 * s), vec![]));
    assert_eq!(since(&wanted(50), 200 * s).0, Some(190 * s), "what was older is dropped already");
    assert_eq!(since(&wanted(20), 210 * s).0, Some(190 * s));
    assert_eq!(since(&[], 300 * s), (None, vec!["market".into()]));
    assert_eq!(since(&wanted(20), 400 * s), (Some(400 * s), vec![]));
}

#[test]
fn what_is_older_than_the_window_is_dropped_twice_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap();
    let engine = Arc::new(ModelEngine::default());
    let hour = Span::from_secs(3_600);
    let begin = |rules| Recorder::new(engine.clone(), rules);
    let recorder = begin(rules("bar.*", hour, 0));
    write(recorder.as_ref(), "bar.1d.A", &[(1, &[("close", 1.0)])]);
    write(recorder.as_ref(), "bar.1d.A", &[(1, &[("close", 2.0)])]);
    let log = hidden(&key("bar.1d.A"));
    let left = || engine.rows(&log).unwrap().len();
    recorder.maintain(&db, now_ns()).unwrap();
    assert_eq!(left(), 2);
    let far = now_ns() + 2 * hour.as_nanos_i64();
    // The pass of a while ago stands for all that come soon after it.
    recorder.maintain(&db, far).unwrap();
    assert_eq!(left(), 2);
    for _ in 0..2 {
        begin(rules("bar.*", hour, 0)).maintain(&db, far).unwrap();
        assert_eq!(left(), 0);
    }
    // A clock that jumps ahead counts a day beyond what was recorded: of a week nothing is dropped.
    let week = Span::from_secs(7 * 86_400);
    write(begin(rules("bar.*", week, 0)).as_ref(), "bar.1d.A", &[(1, &[("close", 3.0)])]);
    begin(rules("bar.*", week, 0)).maintain(&db, i64::MAX).unwrap();
    assert_eq!(left(), 1);
    // Nor is anything needed of a rule that has ended.
    let over = Rules { rules: Vec::new(), ended: vec!["market".into()] };
    begin(over).maintain(&db, now_ns()).unwrap();
    assert_eq!(left(), 0);
}

#[test]
fn a_query_of_windows_is_answered_as_of_a_time() {
    let recorder = recorder(Arc::new(ModelEngine::default()));
    let bars = |close| [(0_i64, close), (60_000_000_000, close + 1.0)];
    for (t, close) in bars(10.0) {
        write(
            recorder.as_ref(),
            "bar.1m.A",
            &[(t, &[("open", close), ("high", close), ("low", close), ("close", close)])],
        );
    }
    let at = tick(&recorder);
    write(recorder.as_ref(), "bar.1m.A", &[(60_000_000_000, &[("high", 99.0), ("close", 98.0)])]);
    let asked = Query {
        bucket: Some("market".into()),
        measurement: "bar.1m.*".into(),
        resample: Some("1h".into()),
        ..Query::default()
    };
    let close = |engine: &dyn SeriesEngine| {
        let table = query::execute(engine, &asked, &Budget::default(), 10).unwrap();
        (table.column("high").unwrap().get(0).unwrap(), table.column("close").unwrap().get(0).unwrap())
    };
    assert_eq!(close(recorder.as_ref()), (Value::Float(99.0), Value::Float(98.0)));
    assert_eq!(close(recorder.as_known_at(at).unwrap().as_ref()), (Value::Float(11.0), Value::Float(11.0)));
    // An engine of now must not answer it.
    let unasked = Query { as_known_at: Some(at.into()), ..asked };
    assert_eq!(
        query::execute(recorder.as_ref(), &unasked, &Budget::default(), 10).unwrap_err().kind(),
        Kind::Internal
    );
}

#[test]
fn a_correction_and_its_log_are_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = embedded(&dir);
    let recorder = recorder(engine.clone());
    write(recorder.as_ref(), "bar.1d.A", &[(1, &[("close", 1.0)]), (3, &[("close", 1.0)])]);
    let commits = engine.stats().unwrap().commits;
    write(
        recorder.as_ref(),
        "bar.1d.A",
        &[(1, &[("close", 2.0)]), (2, &[("close", 2.0)]), (4, &[("close", 2.0)])],
    );
    assert_eq!(engine.stats().unwrap().commits, commits + 1);
}

#[test]
fn a_batch_that_is_refused_leaves_what_was_known() {
    let recorder = recorder(Arc::new(ModelEngine::default()));
    write(recorder.as_ref(), "bar.1d.A", &[(1, &[("close", 1.0)])]);
    let at = tick(&recorder);
    // A row of another type is dropped, though what it would have replaced is in the log.
    let other = Frame {
        times: vec![1, 2],
        columns: vec![Column::new("close", crate::series::Values::Integer(vec![5, 5]))],
    };
    let report = recorder.write(WriteBatch { series: vec![(key("bar.1d.A"), other)] }).unwrap();
    assert_eq!((report.written, report.dropped), (0, 2));
    let bad = Frame { times: vec![1, 2], columns: vec![Column::float("close", vec![f64::NAN, 1.0])] };
    assert!(recorder.write(WriteBatch { series: vec![(key("bar.1d.A"), bad)] }).is_err());
    for engine in [recorder.clone() as Arc<dyn SeriesEngine>, recorder.as_known_at(at).unwrap()] {
        assert_eq!(bits(&rows(engine.as_ref(), "bar.1d.A")), [(1, vec![("close", 1.0_f64.to_bits())])]);
    }
}

#[test]
fn an_engine_with_a_recorder_before_it_keeps_every_rule_of_engines() {
    let rules = Rules { rules: Vec::new(), ended: vec!["elsewhere".into()] };
    crate::series::conformance::run(Recorder::new(Arc::new(ModelEngine::default()), rules).as_ref());
}

/// Writers correct the same rows again and again; whoever reads as of a time gets the same answer each time.
#[test]
fn a_time_that_has_passed_gives_one_answer_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(embedded(&dir));
    for t in 0..50 {
        write(recorder.as_ref(), "bar.1d.A", &[(t, &[("close", -1.0)])]);
    }
    std::thread::scope(|scope| {
        for w in 0..2 {
            let recorder = recorder.clone();
            scope.spawn(move || {
                for i in 0..100 {
                    write(
                        recorder.as_ref(),
                        "bar.1d.A",
                        &[(i % 60, &[("close", f64::from(w * 1_000) + i as f64)])],
                    );
                }
            });
        }
        for _ in 0..50 {
            let at = now_ns();
            let first = rows(recorder.as_known_at(at).unwrap().as_ref(), "bar.1d.A");
            for _ in 0..3 {
                assert_eq!(rows(recorder.as_known_at(at).unwrap().as_ref(), "bar.1d.A"), first);
            }
        }
    });
}
