//! Rollups over a real InfluxDB behind its outbox. Needs `SHIPHOLD_INFLUXD`; run by the `influxd` step of the tests.

use super::*;
use crate::series::influx::Outbox;
use crate::series::influx::fake_server::{engine, settings};
use crate::testing::influxd::Influxd;
use std::path::Path;

const BOTH: &str = "[safety]\nmax_drop_share = \"100 %\"\n[rollups.hours]\nfrom = \"bar.1m.*\"\nto = \"1h\"\n\
    [rollups.days]\nfrom = \"bar.1h.*\"\nto = \"1d\"\ntimezone = \"America/New_York\"\n\
    [rollups.load]\nfrom = \"metric.*\"\nto = \"1h\"\naggregates = [\"mean(value)\", \"max(value)\", \"count(value)\"]\n";

fn outbox(server: &Influxd, folder: &Path) -> Arc<Outbox> {
    let engine = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
    Arc::new(engine.behind_outbox(&settings(&server.url()), &folder.join("outbox.db")).unwrap())
}

fn store(server: &Influxd) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let engine = outbox(server, dir.path());
    Store::over(dir, BOTH, engine)
}

/// The host ends and begins again, with its outbox.
fn again(s: Store, server: &Influxd) -> Store {
    let Store { dir, engine, layer } = s;
    drop((layer, engine));
    let engine = outbox(server, dir.path());
    Store::over(dir, BOTH, engine)
}

/// Everything that the two stores hold and say.
fn same(s: &Store, model: &Store) {
    for measurement in ["bar.1m.A", "bar.1h.A", "bar.1d.A", "metric.cpu", "rollup.1h.metric.cpu"] {
        assert_eq!(s.rows(measurement), model.rows(measurement), "{measurement}");
    }
    assert_eq!(plain(s.rows("bar.1h.A")), s.asked(resampled("bar.1m.A", "1h", "UTC")));
    assert_eq!(s.late(), 0);
}

fn minutes(from: i64, count: i64, step: i64) -> Vec<(i64, f64)> {
    (0..count).map(|i| (START + (from + i * step) * MINUTE, 100.0 + ((from + i * 7) % 23) as f64)).collect()
}

#[test]
fn they_are_what_they_are_over_the_other_engines() {
    let server = Influxd::start();
    let (mut s, model) = (store(&server), Store::new(BOTH));
    let both = |s: &Store, measurement: &str, rows: &[(i64, f64)]| {
        s.write(measurement, rows);
        model.write(measurement, rows);
    };
    both(&s, "bar.1m.A", &minutes(0, 3_000, 1));
    both(&s, "metric.cpu", &minutes(0, 500, 3));
    let (said, wanted) = (s.run(), model.run());
    assert_eq!(said, wanted);
    same(&s, &model);
    // Late rows, between those that are there, before all of them, and in the place of one; then the host ends.
    both(
        &s,
        "bar.1m.A",
        &[(START + 90 * MINUTE + 1, 999.0), (START - 5 * HOUR, 7.0), (START + 61 * MINUTE, 1.0)],
    );
    both(&s, "metric.cpu", &[(START + 2 * MINUTE, 1_000.0)]);
    assert!(s.late() > 0 && s.late() == model.late());
    s = again(s, &server);
    assert_eq!(s.late(), model.late(), "what is late is noted before it is acknowledged");
    assert_eq!(s.run(), model.run());
    same(&s, &model);
    // Once more there is nothing to do, also after a start.
    assert_eq!(s.run(), Report::default());
    s = again(s, &server);
    assert_eq!(s.run(), Report::default());
    // Kept up by the background work.
    both(&s, "bar.1m.A", &minutes(3_000, 600, 1));
    for of in [&s, &model] {
        of.layer.maintain().unwrap();
        of.run();
    }
    same(&s, &model);
}

#[test]
fn an_outage_holds_them_up_and_ends() {
    let mut server = Influxd::start();
    let (s, model) = (store(&server), Store::new(BOTH));
    let both = |measurement: &str, rows: &[(i64, f64)]| {
        s.write(measurement, rows);
        model.write(measurement, rows);
    };
    both("bar.1m.A", &minutes(0, 300, 1));
    assert_eq!(s.run(), model.run());
    server.kill();
    // Rows in order and a late one are acknowledged; the rollup cannot be kept up, says so and breaks nothing.
    both("bar.1m.A", &minutes(300, 300, 1));
    both("bar.1m.A", &[(START + 30 * MINUTE + 5, 555.0)]);
    let _ = s.layer.maintain();
    let run = s.layer.rollups().run(&s.layer, &OP, None, false, &Budget::default());
    let told = s.layer.rollups().list(&OP).unwrap().into_iter().any(|r| r.error.is_some());
    let failed = run.as_ref().map_or(true, |r| !r.errors.is_empty());
    assert!(failed && (run.is_err() || told), "{run:?}");
    server.restart();
    while s.engine.seal().is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    s.run();
    model.run();
    same(&s, &model);
}

#[test]
fn raw_rows_go_only_after_their_rollup_and_it_stays() {
    let server = Influxd::start();
    let s = store(&server);
    s.write("bar.1m.A", &minutes(0, 300, 1));
    s.run();
    let before = s.rows("bar.1h.A");
    assert_eq!(before.len(), 5);
    let selector = Selector::of(&key("bar.1m.A"));
    s.layer.series().delete(&OP, &selector, TimeRange::new(i64::MIN, START + 2 * HOUR).unwrap()).unwrap();
    s.run();
    assert_eq!(s.rows("bar.1h.A"), before, "an operator's deletion takes no window away");
    assert_eq!(s.rows("bar.1m.A").len(), 180);
}
