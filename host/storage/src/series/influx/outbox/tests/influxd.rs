//! The outbox before a real InfluxDB. Needs `SHIPHOLD_INFLUXD`; run by the `influxd` step of the tests.

mod commits;

use super::super::clock::ByHand;
use super::*;
use crate::series::influx::fake_server::engine;
use crate::series::{Values, conformance};
use crate::testing::influxd::Influxd;

fn before(server: &Influxd, folder: &Path) -> Outbox {
    let engine = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
    let options = OutboxOptions { manual: false, batch_wait: Duration::from_millis(20), ..options() };
    Outbox::open(Arc::new(engine), &folder.join("outbox.db"), options).unwrap()
}

#[test]
fn influxd_conforms_behind_an_outbox() {
    let (server, dir) = (Influxd::start(), tempfile::tempdir().unwrap());
    let outbox = before(&server, dir.path());
    conformance::run(&outbox);
    let outbox = Arc::new(outbox);
    conformance::run_decimals(outbox.clone());
    outbox.seal().unwrap();
    let stats = outbox.stats().unwrap();
    assert_eq!((stats.outbox_records, stats.outbox_refused), (0, 0));
}

/// Killed again and again while four threads write, and the host is started again, too.
#[test]
fn killed_during_writes_everything_acknowledged_is_there() {
    const KILLS: i64 = 3;
    const WRITERS: i64 = 4;
    let (mut server, dir) = (Influxd::start(), tempfile::tempdir().unwrap());
    let mut acknowledged = vec![0_i64; WRITERS as usize];
    for round in 0..KILLS {
        let outbox = before(&server, dir.path());
        let over = AtomicBool::new(false);
        std::thread::scope(|s| {
            for (writer, next) in acknowledged.iter_mut().enumerate() {
                let (outbox, over) = (&outbox, &over);
                s.spawn(move || {
                    let of_writer = key(&format!("m{writer}"));
                    while !over.load(Ordering::SeqCst) {
                        let times: Vec<i64> = (*next..*next + 10).collect();
                        let said = outbox.write(batch(&of_writer, &times, round as f64)).unwrap();
                        assert_eq!(said.written, 10);
                        *next += 10;
                    }
                });
            }
            for part in 1..=3 {
                let begin = outbox.core.rows_written.load(Ordering::Relaxed);
                while outbox.core.rows_written.load(Ordering::Relaxed) < begin + 500 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                match part {
                    1 => server.kill(),
                    2 => server.restart(),
                    _ => over.store(true, Ordering::SeqCst),
                }
            }
        });
    }
    let outbox = before(&server, dir.path());
    outbox.seal().unwrap();
    assert_eq!((outbox.stats().unwrap().outbox_records, outbox.stats().unwrap().outbox_refused), (0, 0));
    let direct = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
    for (writer, rows_max) in acknowledged.iter().enumerate() {
        let found = rows(&direct, &key(&format!("m{writer}"))).unwrap();
        assert_eq!(found.iter().map(|(t, _)| *t).collect::<Vec<_>>(), (0..*rows_max).collect::<Vec<_>>());
    }
}

#[test]
fn what_was_written_in_an_outage_is_there_after_it_but_for_what_does_not_fit() {
    let (mut server, dir) = (Influxd::start(), tempfile::tempdir().unwrap());
    let outbox = before(&server, dir.path());
    outbox.write(batch(&key("m"), &[1], 1.0)).unwrap();
    outbox.seal().unwrap();
    server.kill();
    drop(outbox);
    let outbox = before(&server, dir.path());
    // A field of another type, far from the first: another shard, so that the server itself would take it.
    let columns =
        vec![Column::new("v", Values::Integer(vec![1, 1])), Column::new("w", Values::Integer(vec![1, 1]))];
    let mut odd = Frame { times: vec![i64::MAX / 2, 5], columns };
    odd.columns[0].valid = Some(vec![true, false]);
    assert_eq!(outbox.write(WriteBatch { series: vec![(key("m"), odd)] }).unwrap().dropped, 0);
    assert_eq!(outbox.write(batch(&key("n"), &[1, 2], 3.0)).unwrap().written, 2);
    assert_eq!(rows(&outbox, &key("m")).unwrap_err().kind(), Kind::Unavailable);
    server.restart();
    while outbox.core.last_error().is_some() || outbox.seal().is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let found = rows(&outbox, &key("m")).unwrap();
    let times: Vec<_> = found.iter().map(|(t, r)| (*t, r.len())).collect();
    assert_eq!(times, [(1, 1), (5, 1)], "the row that does not fit is not there, its neighbour is");
    assert_eq!(rows(&outbox, &key("n")).unwrap().len(), 2);
    let faults = outbox.verify(&Budget::default()).unwrap();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].problem.contains("`v`") && faults[0].object.starts_with("1 rows"), "{faults:?}");
}

#[test]
fn a_delete_takes_what_is_not_delivered_yet() {
    let (server, dir) = (Influxd::start(), tempfile::tempdir().unwrap());
    let outbox = before(&server, dir.path());
    for round in 0..5 {
        let times: Vec<i64> = (0..50).collect();
        outbox.write(batch(&key("m"), &times, 1.0)).unwrap();
        assert_eq!(outbox.delete(&Selector::of(&key("m")), TimeRange::ALL).unwrap().series, 1, "{round}");
        assert_eq!(rows(&outbox, &key("m")).unwrap(), []);
        outbox.write(batch(&key("m"), &[round], 2.0)).unwrap();
        assert_eq!(rows(&outbox, &key("m")).unwrap().len(), 1);
    }
}

#[test]
fn an_hour_without_the_server_is_there_after_it() {
    use super::hour::{HOUR_S, TRIES_MAX, by_hand, drain, write_seconds};
    let (mut server, dir, clock) = (Influxd::start(), tempfile::tempdir().unwrap(), ByHand::new());
    let open = || {
        let engine = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
        Outbox::open(Arc::new(engine), &dir.path().join("outbox.db"), by_hand(&clock)).unwrap()
    };
    let outbox = open();
    outbox.write(batch(&key("m"), &[-1], 1.0)).unwrap();
    outbox.seal().unwrap();
    drop(outbox);
    let outbox = open();
    server.kill();
    write_seconds(&outbox, &clock, 0..HOUR_S);
    let tries = super::super::lock(&outbox.core.progress).failures;
    assert!((100..=TRIES_MAX).contains(&tries), "{tries} tries in an hour");
    server.restart();
    drain(&outbox, &clock);
    assert_eq!((outbox.stats().unwrap().outbox_records, outbox.stats().unwrap().outbox_refused), (0, 0));
    drop(outbox);
    let direct = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
    let found = rows(&direct, &key("m")).unwrap();
    assert_eq!(found.iter().map(|(t, _)| *t).collect::<Vec<_>>(), (-1..HOUR_S).collect::<Vec<_>>());
}
