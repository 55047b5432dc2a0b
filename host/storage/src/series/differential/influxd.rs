//! With a real InfluxDB beside the others. Needs `SHIPHOLD_INFLUXD`; run by the `influxd` step of the tests.

use super::{Compared, Tally, open, past, round, rounds};
use crate::series::SeriesEngine;
use crate::series::influx::fake_server::{behind_outbox, engine};
use crate::testing::influxd::Influxd;
use std::sync::Arc;

#[test]
fn a_real_influxdb_and_embedded_answer_as_the_model_does() {
    let server = Influxd::start();
    let mut tally = Tally::default();
    for seed in rounds(5) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.db");
        // Types stay for all time in one process: each round has an engine and a bucket of its own.
        let influx = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
        // Every other one behind an outbox, whose rows are counted when they are delivered.
        let influx: Arc<dyn SeriesEngine> = match seed % 2 {
            0 => Arc::new(influx),
            _ => Arc::new(behind_outbox(influx, &dir.path().join("outbox.db"))),
        };
        let bucket = format!("round {seed}");
        let influx = super::workload::with_decimals(influx, &bucket);
        let others = [Compared { engine: influx.as_ref(), counts: true, bits: true }];
        round(seed, &bucket, &others, &mut || Some(open(&path)), &mut tally);
    }
    tally.check();
    assert!(tally.summed_up > 0, "InfluxDB summed up nothing: {tally:?}");
    eprintln!("{tally:?}");
}

#[test]
fn a_real_influxdb_answers_as_it_was_known() {
    let server = Influxd::start();
    let mut tally = Tally::default();
    for seed in rounds(3) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.db");
        let influx = Arc::new(engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000));
        past::round(seed, &format!("past {seed}"), &path, Some(influx), &mut tally);
    }
    tally.check();
}
