//! Rollups in order, late, cut off, with retention, and over definitions that change.

mod influxd;

use super::*;
use crate::Grants;
use crate::layer::tests::{layer_over, manifest};
use crate::retention::Action;
use crate::series::model_engine::{ModelEngine, Row, frame_of, rows_of};
use crate::series::query::{self, Query};
use crate::series::{Selector, SeriesEngine, TimeRange, Value, WriteBatch};
use proptest::prelude::*;

const OP: Caller = Caller::Operator;
const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const START: i64 = 20_000 * DAY;
const HOURS: &str =
    "[safety]\nmax_drop_share = \"100 %\"\n[rollups.hours]\nfrom = \"bar.1m.*\"\nto = \"1h\"\n";

struct Store {
    dir: tempfile::TempDir,
    engine: Arc<dyn SeriesEngine>,
    layer: Arc<DataLayer>,
}

impl Store {
    fn new(text: &str) -> Self {
        Self::over(tempfile::tempdir().unwrap(), text, Arc::new(ModelEngine::with_frame_rows(50)))
    }

    fn over(dir: tempfile::TempDir, text: &str, engine: Arc<dyn SeriesEngine>) -> Self {
        let layer = layer_over(&manifest(dir.path(), text), Some(engine.clone())).0;
        Self { dir, engine, layer }
    }

    /// The process ends and another begins.
    fn restart(self, text: &str) -> Self {
        let Self { dir, engine, layer } = self;
        drop(layer);
        let layer = layer_over(&manifest(dir.path(), text), Some(engine.clone())).0;
        Self { dir, engine, layer }
    }

    fn write(&self, measurement: &str, rows: &[(i64, f64)]) {
        let fields = if measurement.starts_with("bar") {
            vec!["open", "high", "low", "close", "volume"]
        } else {
            vec!["value"]
        };
        let rows: Vec<(i64, Row)> = rows
            .iter()
            .map(|(t, v)| (*t, fields.iter().map(|f| ((*f).to_string(), Value::Float(*v))).collect()))
            .collect();
        self.layer
            .series()
            .write(&OP, WriteBatch { series: vec![(key(measurement), frame_of(&rows))] })
            .unwrap();
    }

    fn run(&self) -> Report {
        self.layer.rollups().run(&self.layer, &OP, None, false, &Budget::default()).unwrap()
    }

    fn rows(&self, measurement: &str) -> Vec<(i64, Row)> {
        rows_of(self.engine.scan(&key(measurement), TimeRange::ALL, None, &Budget::default()).unwrap())
            .unwrap()
    }

    /// What a query makes of all raw rows.
    fn asked(&self, query: Query) -> Vec<(i64, Row)> {
        let query = Query { bucket: Some("market".into()), ..query };
        let table = query::execute(self.engine.as_ref(), &query, &Budget::default(), 1_000_000).unwrap();
        rows_of(Box::new(std::iter::once(Ok(table.frame)))).unwrap()
    }

    fn late(&self) -> u64 {
        self.layer.rollups().list(&OP).unwrap().iter().map(|s| s.late).sum()
    }
}

fn key(measurement: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, Vec::new()).unwrap()
}

/// Without the count of rows, which a query does not give.
fn plain(rows: Vec<(i64, Row)>) -> Vec<(i64, Row)> {
    let mut rows = rows;
    rows.iter_mut().for_each(|(_, row)| drop(row.remove(SOURCE_ROWS)));
    rows
}

fn resampled(from: &str, to: &str, zone: &str) -> Query {
    Query {
        measurement: from.into(),
        resample: Some(to.into()),
        timezone: Some(zone.into()),
        ..Query::default()
    }
}

#[test]
fn finished_windows_are_rolled_up_and_rows_in_order_mark_nothing() {
    let s = Store::new(HOURS);
    let now = crate::schema::now_ns();
    let hour = now - now.rem_euclid(HOUR) - 3 * HOUR;
    s.write("bar.1m.A", &[(hour, 1.0), (hour + MINUTE, 3.0), (hour + HOUR, 2.0)]);
    s.run();
    // Both have ended, the second by the clock.
    assert_eq!(plain(s.rows("bar.1h.A")), s.asked(resampled("bar.1m.A", "1h", "UTC")));
    assert_eq!(s.rows("bar.1h.A").len(), 2);
    // The window that goes on is none yet, but by the row after it.
    s.write("bar.1m.A", &[(now + DAY, 5.0)]);
    s.run();
    assert_eq!(s.rows("bar.1h.A").len(), 2);
    s.write("bar.1m.A", &[(now + 2 * DAY, 5.0)]);
    assert_eq!(s.late(), 0, "rows in order are none of its business");
    s.run();
    assert_eq!(s.rows("bar.1h.A").len(), 3);
    assert_eq!(s.run(), Report::default(), "once more there is nothing to do");
    let status = &s.layer.rollups().list(&OP).unwrap()[0];
    assert_eq!((status.series, status.behind_ns, status.error.as_deref()), (1, 0, None));
    assert_eq!((status.counts.rows, status.counts.windows), (4, 3));
}

#[test]
fn the_background_work_and_a_dry_run_see_the_same() {
    let s = Store::new(HOURS);
    s.write("bar.1m.A", &[(START, 1.0), (START + 5 * HOUR, 2.0)]);
    let look =
        |s: &Store| s.layer.rollups().run(&s.layer, &OP, Some("hours"), true, &Budget::default()).unwrap();
    let due = look(&s).due;
    assert_eq!((due.len(), due[0].end, due[0].late), (1, START + 6 * HOUR, false));
    assert!(s.rows("bar.1h.A").is_empty(), "a dry run writes nothing");
    s.layer.maintain().unwrap();
    assert_eq!(s.rows("bar.1h.A").len(), 2);
    s.write("bar.1m.A", &[(START + 1, 9.0)]);
    let due = look(&s).due;
    assert_eq!((due.len(), due[0].start, due[0].end, due[0].late), (1, START, START + HOUR, true));
    let unknown = s.layer.rollups().run(&s.layer, &OP, Some("days"), true, &Budget::default()).unwrap_err();
    assert_eq!(unknown.kind(), crate::Kind::NotFound);
}

#[test]
fn late_rows_are_marked_before_they_are_there_and_survive_a_restart() {
    let s = Store::new(HOURS);
    s.write("bar.1m.A", &[(START, 1.0), (START + HOUR, 2.0), (START + 2 * HOUR, 2.0)]);
    s.run();
    s.write("bar.1m.A", &[(START + MINUTE, 7.0), (START + 2 * MINUTE, 8.0)]);
    s.write("bar.1m.A", &[(START + 3 * MINUTE, 9.0)]);
    assert_eq!(s.late(), 1, "one window, marked once");
    let s = s.restart(HOURS);
    assert_eq!(s.late(), 1);
    // A row that is late only to what the last process knew.
    s.write("bar.1m.A", &[(START + HOUR + MINUTE, 5.0)]);
    assert_eq!(s.late(), 2);
    s.run();
    assert_eq!(s.late(), 0);
    assert_eq!(plain(s.rows("bar.1h.A")), s.asked(resampled("bar.1m.A", "1h", "UTC")));
}

#[test]
fn bars_of_a_feed_stay_and_deleted_raw_rows_take_no_rollup_with_them() {
    let s = Store::new(HOURS);
    s.write("bar.1h.A", &[(START, 100.0)]);
    s.write("bar.1m.A", &[(START, 1.0), (START + HOUR, 2.0)]);
    s.run();
    let close = |s: &Store| -> Vec<f64> {
        s.rows("bar.1h.A").iter().map(|(_, row)| row["close"].as_f64().unwrap()).collect()
    };
    assert_eq!(close(&s), [100.0, 2.0]);
    s.layer.series().delete(&OP, &Selector::of(&key("bar.1m.A")), TimeRange::ALL).unwrap();
    s.run();
    assert_eq!(close(&s), [100.0, 2.0]);
}

#[test]
fn windows_of_free_measurements_in_a_zone_and_rollups_of_rollups() {
    let text = "[rollups.load]\nfrom = \"metric.*\"\nto = \"1d\"\ntimezone = \"Europe/Berlin\"\naggregates = [\"mean(value)\", \"max(value)\", \"count(value)\", \"quantile(value,0.5)\"]\n[rollups.hours]\nfrom = \"bar.1m.*\"\nto = \"1h\"\n[rollups.days]\nfrom = \"bar.1h.*\"\nto = \"1d\"\ntimezone = \"America/New_York\"\n";
    let s = Store::new(text);
    let rows: Vec<(i64, f64)> = (0..500).map(|i| (START + i * 17 * MINUTE, (i % 37) as f64)).collect();
    s.write("metric.cpu", &rows);
    s.write("bar.1m.A", &rows.iter().map(|(t, v)| (t - t.rem_euclid(MINUTE), *v)).collect::<Vec<_>>());
    s.run();
    let aggregates = s.layer.manifest().rollups.iter().find(|d| d.name == "load").unwrap().aggregates.clone();
    let window = query::Window { every: "1d".into(), aggregates };
    let want = Query {
        measurement: "metric.cpu".into(),
        window: Some(window),
        timezone: Some("Europe/Berlin".into()),
        ..Query::default()
    };
    assert_eq!(plain(s.rows("rollup.1d.metric.cpu")), s.asked(want));
    assert_eq!(plain(s.rows("bar.1h.A")), s.asked(resampled("bar.1m.A", "1h", "UTC")));
    assert_eq!(plain(s.rows("bar.1d.A")), s.asked(resampled("bar.1m.A", "1d", "America/New_York")));
    // A late row goes all the way.
    s.write("bar.1m.A", &[(START + HOUR, 999.0)]);
    s.run();
    assert_eq!(plain(s.rows("bar.1d.A")), s.asked(resampled("bar.1m.A", "1d", "America/New_York")));
    assert_eq!(s.rows("bar.1d.A")[0].1["high"], Value::Float(999.0));
}

#[test]
fn another_definition_begins_anew_and_one_that_is_gone_is_forgotten() {
    let s = Store::new(HOURS);
    s.write("bar.1m.A", &[(START, 1.0), (START + 5 * HOUR, 2.0)]);
    s.run();
    let s = s.restart(&HOURS.replace("1h", "2h"));
    s.run();
    assert_eq!(s.rows("bar.2h.A").len(), 2);
    let s = s.restart("");
    assert!(s.layer.rollups().list(&OP).unwrap().is_empty());
    s.write("bar.1m.A", &[(START + MINUTE, 4.0)]);
    let s = s.restart(HOURS);
    s.run();
    assert_eq!(
        plain(s.rows("bar.1h.A")),
        s.asked(resampled("bar.1m.A", "1h", "UTC")),
        "also what came meanwhile"
    );
}

#[test]
fn a_target_of_another_type_is_told_and_stands_in_nobody_elses_way() {
    let s = Store::new(HOURS);
    let other = frame_of(&[(START, Row::from([("open".into(), Value::String("x".into()))]))]);
    s.engine.write(WriteBatch { series: vec![(key("bar.1h.A"), other)] }).unwrap();
    s.write("bar.1m.A", &[(START + HOUR, 1.0)]);
    s.write("bar.1m.B", &[(START + HOUR, 1.0)]);
    let report = s.run();
    assert!(report.errors[0].contains("open is string"), "{report:?}");
    assert_eq!(s.rows("bar.1h.B").len(), 1);
    let status = &s.layer.rollups().list(&OP).unwrap()[0];
    assert!(status.error.is_some() && status.behind_ns > 0, "{status:?}");
    // Mended, it goes on at the next run; the background work waits a while before it tries again.
    s.layer.series().delete(&OP, &Selector::of(&key("bar.1h.A")), TimeRange::ALL).unwrap();
    s.layer.maintain().unwrap();
    assert!(s.layer.rollups().list(&OP).unwrap()[0].error.is_some());
}

fn keeper() -> Caller {
    let all = || vec!["*".to_string()];
    let grants = Grants { series_read: all(), series_write: all(), series_drop: all(), ..Grants::default() };
    Caller::Plugin { name: "keeper".into(), grants: Arc::new(grants) }
}

fn drop_before(s: &Store, before: i64) -> Result<Vec<Option<String>>> {
    let retention = s.layer.retention();
    let now = retention.now(crate::schema::now_ns())?;
    let action = Action::DropBefore { key: key("bar.1m.A"), before };
    let plan = retention.check(&keeper(), vec![action], now, true)?;
    let refused = plan.steps.iter().map(|s| s.refused.clone()).collect();
    if plan.is_allowed() {
        retention.execute(&keeper(), &plan, &mut |_| ())?;
    }
    Ok(refused)
}

#[test]
fn raw_rows_go_after_their_rollup_and_late_rows_then_widen_it() {
    let s = Store::new(HOURS);
    let rows: Vec<(i64, f64)> = (0..5_000).map(|i| (START + i * MINUTE, (i % 60) as f64)).collect();
    s.write("bar.1m.A", &rows);
    let before = START + DAY + 30 * MINUTE;
    let refused = drop_before(&s, before).unwrap();
    assert!(refused[0].as_ref().unwrap().contains("still at work"), "{refused:?}");
    s.run();
    // Late, and not rolled up when the plan is checked: it waits.
    s.write("bar.1m.A", &[(START + 1, 77.0)]);
    assert!(drop_before(&s, before).unwrap()[0].is_some());
    s.run();
    let want = s.asked(resampled("bar.1m.A", "1h", "UTC"));
    assert_eq!(drop_before(&s, before).unwrap(), [None]);
    assert_eq!(s.rows("bar.1m.A")[0].0, START + DAY, "a whole hour");
    s.run();
    assert_eq!(plain(s.rows("bar.1h.A")), want, "the rollup is whole");
    // Late rows of a window without its raw rows: the high rises, the rest stays.
    s.write("bar.1m.A", &[(START + 2 * MINUTE, 500.0), (START + DAY + MINUTE, 600.0)]);
    let report = s.run();
    assert_eq!(report.counts.kept, 1);
    let have = plain(s.rows("bar.1h.A"));
    let (first, day) = (&have[0].1, &have[24].1);
    assert_eq!(
        (&first["high"], &first["close"], &first["volume"]),
        (&Value::Float(500.0), &want[0].1["close"], &want[0].1["volume"])
    );
    assert_eq!(day["high"], Value::Float(600.0));
    assert_eq!(s.layer.rollups().list(&OP).unwrap()[0].counts.kept, 1);
}

#[derive(Debug, Clone)]
enum Op {
    Write(Vec<(i64, f64)>),
    Run,
    Step,
    Restart,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// In whatever order rows come, and whenever the process ends: in the end the rollup is what a query makes of all rows.
    #[test]
    fn when_all_is_quiet_the_rollup_is_what_a_query_gives(ops in prop::collection::vec(prop_oneof![
        4 => prop::collection::vec((0_i64..3_000, 1_i32..9), 1..40).prop_map(|rows| {
            Op::Write(rows.into_iter().map(|(m, v)| (START + m * MINUTE, f64::from(v))).collect())
        }),
        2 => Just(Op::Run),
        2 => Just(Op::Step),
        1 => Just(Op::Restart),
    ], 1..14)) {
        let text = format!("{HOURS}[rollups.days]\nfrom = \"bar.1h.*\"\nto = \"1d\"\n");
        let mut s = Store::new(&text);
        s.write("bar.1m.A", &[(START + DAY, 1.0)]);
        for op in ops {
            match op {
                Op::Write(rows) => s.write("bar.1m.A", &rows),
                Op::Run => { s.run(); }
                Op::Step => s.layer.maintain().unwrap(),
                Op::Restart => s = s.restart(&text),
            }
        }
        s.run();
        prop_assert_eq!(plain(s.rows("bar.1h.A")), s.asked(resampled("bar.1m.A", "1h", "UTC")));
        prop_assert_eq!(plain(s.rows("bar.1d.A")), s.asked(resampled("bar.1m.A", "1d", "UTC")));
        prop_assert_eq!(s.late(), 0);
        prop_assert_eq!(s.run(), Report::default());
    }
}

/// Fails one write, before or after it is done: what a process that dies leaves behind.
#[derive(Debug)]
struct Dying {
    inner: Arc<dyn SeriesEngine>,
    left: std::sync::atomic::AtomicI64,
    stores: bool,
}

impl SeriesEngine for Dying {
    fn write(&self, batch: WriteBatch) -> Result<crate::series::WriteReport> {
        if self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) != 1 {
            return self.inner.write(batch);
        }
        if self.stores {
            self.inner.write(batch)?;
        }
        Err(Error::internal("the process ended"))
    }
    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<crate::series::FrameStream> {
        self.inner.scan(key, range, fields, budget)
    }
    fn delete_within(
        &self,
        selector: &Selector,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<crate::series::DeleteReport> {
        self.inner.delete_within(selector, range, budget)
    }
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<crate::series::Latest>> {
        self.inner.latest_within(selector, budget)
    }
    fn list(&self, selector: &Selector) -> Result<Vec<crate::series::SeriesInfo>> {
        self.inner.list(selector)
    }
    fn capabilities(&self) -> crate::series::Capabilities {
        self.inner.capabilities()
    }
    fn stats(&self) -> Result<crate::series::EngineStats> {
        self.inner.stats()
    }
    fn seal(&self) -> Result<()> {
        self.inner.seal()
    }
    fn compact(&self) -> Result<crate::series::CompactReport> {
        self.inner.compact()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<crate::series::Fault>> {
        self.inner.verify(budget)
    }
}

#[test]
fn a_process_that_ends_at_any_write_leaves_what_can_be_gone_on_with() {
    let text = format!("{HOURS}[rollups.days]\nfrom = \"bar.1h.*\"\nto = \"1d\"\n");
    for (n, stores) in (1..=8).flat_map(|n| [(n, false), (n, true)]) {
        let dir = tempfile::tempdir().unwrap();
        let inner: Arc<dyn SeriesEngine> = Arc::new(ModelEngine::default());
        let left = std::sync::atomic::AtomicI64::new(n);
        let engine: Arc<dyn SeriesEngine> = Arc::new(Dying { inner: inner.clone(), left, stores });
        let layer = layer_over(&manifest(dir.path(), &text), Some(engine)).0;
        for minutes in [vec![0, 61, 1_500, 3_000], vec![2, 3_300], vec![62, 1_501]] {
            let rows: Vec<(i64, Row)> = minutes
                .iter()
                .map(|m| (START + m * MINUTE, Row::from([("close".into(), Value::Float(*m as f64))])))
                .collect();
            let _ =
                layer.series().write(&OP, WriteBatch { series: vec![(key("bar.1m.A"), frame_of(&rows))] });
            let _ = layer.rollups().run(&layer, &OP, None, false, &Budget::default());
        }
        drop(layer);
        let layer = layer_over(&manifest(dir.path(), &text), Some(inner.clone())).0;
        let s = Store { dir, engine: inner, layer };
        s.run();
        assert_eq!(plain(s.rows("bar.1h.A")), s.asked(resampled("bar.1m.A", "1h", "UTC")), "{n} {stores}");
        assert_eq!(plain(s.rows("bar.1d.A")), s.asked(resampled("bar.1m.A", "1d", "UTC")), "{n} {stores}");
        assert_eq!(s.late(), 0);
    }
}

/// Retention between its last look and its drop, a commit, a plugin that may only add: no row comes in between, a rollup's neither.
#[test]
fn a_rollup_writes_nothing_while_somebody_has_the_series_alone() {
    let s = Store::new(HOURS);
    s.write("bar.1m.A", &[(START, 1.0), (START + 5 * HOUR, 2.0)]);
    let alone = s.layer.series().alone();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| s.run());
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!run.is_finished() && s.rows("bar.1h.A").is_empty(), "{:?}", s.rows("bar.1h.A"));
        drop(alone);
        assert_eq!(run.join().unwrap().errors, Vec::<String>::new());
    });
    assert_eq!(s.rows("bar.1h.A").len(), 2);
}

/// Writers send late rows while the work goes on.
#[test]
fn rows_that_come_while_the_work_goes_on_are_not_lost() {
    let s = Store::new(HOURS);
    s.write("bar.1m.A", &[(START + 60 * HOUR, 1.0)]);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_i64)
            .map(|w| {
                let s = &s;
                scope.spawn(move || {
                    for i in 0..300 {
                        s.write("bar.1m.A", &[(START + ((i * 7 + w) % 3_000) * MINUTE, (i + w) as f64)]);
                    }
                })
            })
            .collect();
        while writers.iter().any(|w| !w.is_finished()) {
            s.run();
        }
    });
    s.run();
    assert_eq!(plain(s.rows("bar.1h.A")), s.asked(resampled("bar.1m.A", "1h", "UTC")));
}
