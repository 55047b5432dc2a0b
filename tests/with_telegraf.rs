//! A real Telegraf writes what it gathers to the host, also over an outage.

use crate::support::{Host, request};
use serde_json::json;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that a scenario waits for rows.
const PATIENCE: Duration = Duration::from_secs(60);

fn binary() -> PathBuf {
    std::env::var_os("SHIPHOLD_TELEGRAF")
        .map(PathBuf::from)
        .expect("SHIPHOLD_TELEGRAF: run `cargo xtask peers` and then `cargo xtask test`")
}

/// Ends with the test.
struct Telegraf(Child);

impl Telegraf {
    /// With a configuration as an operator writes it: what its manual says of InfluxDB 2, and the address of the host.
    fn start(host: &Host, token: &str) -> Self {
        let config = host.path().join("telegraf.conf");
        let text = format!(
            "[agent]\n  interval = \"1s\"\n  flush_interval = \"1s\"\n  hostname = \"box\"\n\
             [[outputs.influxdb_v2]]\n  urls = [\"{}\"]\n  token = \"$INFLUX_TOKEN\"\n  organization = \"trader\"\n  bucket = \"telegraf\"\n\
             [[inputs.mem]]\n[[inputs.internal]]\n[[inputs.cpu]]\n  percpu = true\n  totalcpu = true\n",
            host.url("")
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(host.path().join("telegraf.log")).unwrap();
        let child = Command::new(binary())
            .arg("--config")
            .arg(&config)
            .env("INFLUX_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Telegraf {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a measurement has so many rows.
fn wait_for(host: &Host, measurement: &str, rows: u64) {
    let begin = Instant::now();
    while host.rows(measurement) < rows {
        let log = std::fs::read_to_string(host.path().join("telegraf.log")).unwrap();
        assert!(begin.elapsed() < PATIENCE, "{measurement}: {} rows\n{log}", host.rows(measurement));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn telegraf_writes_what_it_gathers_and_loses_nothing_over_an_outage() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("telegraf", "write");
    let telegraf = Telegraf::start(&host, &token);
    wait_for(&host, "mem", 2);
    wait_for(&host, "cpu", 2);
    host.kill_nine();
    let down = chrono::Utc::now();
    // It gathers on, and keeps what it cannot write.
    std::thread::sleep(Duration::from_secs(4));
    let up = chrono::Utc::now();
    host.serve();
    let before = host.rows("mem");
    wait_for(&host, "mem", before + 5);
    drop(telegraf);

    let query = "from(bucket: \"telegraf\") |> range(start: -1h) \
                 |> filter(fn: (r) => r._measurement == \"mem\" and r._field == \"used_percent\" and r.host == \"box\")";
    let auth = format!("Token {token}");
    let headers = [("Authorization", auth.as_str()), ("Content-Type", "application/json")];
    let ask = |steps: &str| {
        let body = json!({"query": format!("{query} {steps}"), "type": "flux"}).to_string();
        let answer = request(&host.url("/api/v2/query?org=trader"), "POST", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let last = ask("|> last()");
    assert!(last.contains(",used_percent,mem,box\r\n"), "{last}");
    // Also of the seconds in which the host was away.
    let seconds = ask("|> aggregateWindow(every: 1s, fn: last, createEmpty: false, timeSrc: \"_start\")");
    let times: Vec<chrono::DateTime<chrono::Utc>> = seconds
        .lines()
        .filter(|line| line.starts_with(",_result,"))
        .map(|line| line.split(',').nth(5).unwrap().parse().unwrap())
        .collect();
    assert!(times.iter().any(|t| down < *t && *t < up), "{times:?} has nothing from {down} to {up}");
}
