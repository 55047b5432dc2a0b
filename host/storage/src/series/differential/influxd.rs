//! With a real InfluxDB beside the others. Needs `SHIPHOLD_INFLUXD`; run by the `influxd` step of the tests.

use super::{Compared, Tally, open, round, rounds};
use crate::series::influx::fake_server::engine;
use crate::testing::influxd::Influxd;

#[test]
fn a_real_influxdb_and_embedded_answer_as_the_model_does() {
    let server = Influxd::start();
    let mut tally = Tally::default();
    for seed in rounds(5) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.db");
        // Types stay for all time in one process: each round has an engine and a bucket of its own.
        let influx = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
        let others = [Compared { engine: &influx, counts: true }];
        round(seed, &format!("round {seed}"), &others, &mut || Some(open(&path)), &mut tally);
    }
    tally.check();
}
