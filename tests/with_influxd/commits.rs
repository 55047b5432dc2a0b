//! A trader that commits, a host that is killed, and an InfluxDB that is killed, too: in turn, and both at once.

use super::host_over;
use crate::commits::{STORES, commit, seen};
use crate::support::{Answer, Host, try_request};
use serde_json::{Value, json};
use shiphold_storage::testing::influxd::Influxd;
use std::io::Result;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times that something is killed.
const KILLS: u64 = 12;
/// How long a trader and a reader may need after a kill until both are served again.
const SERVED_AGAIN: Duration = Duration::from_secs(60);

/// Says that it is over, also when an assertion fails: others wait for it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What somebody may do who has a token.
struct Client {
    address: String,
    bearer: String,
}

impl Client {
    fn of(host: &Host, scope: &str) -> Self {
        Self { address: host.url(""), bearer: format!("Bearer {}", host.token(scope, scope)) }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let headers = [("Authorization", self.bearer.as_str()), ("Content-Type", "application/json")];
        try_request(&format!("{}{path}", self.address), method, &headers, body.as_bytes())
    }

    /// A number of an answer; `None`: nobody answers, or InfluxDB is away.
    fn number(&self, path: &str, pointer: &str) -> Option<u64> {
        let answer = self.ask("GET", path, "").ok()?;
        assert!([200, 502, 503].contains(&answer.status), "{path}: {answer:?}");
        (answer.status == 200).then(|| answer.json().pointer(pointer).and_then(Value::as_u64).unwrap())
    }
}

/// Commits one after another, each sent again with its key until it is answered.
fn trade(client: &Client, acknowledged: &AtomicU64, over: &AtomicBool) {
    let mut n = 2;
    while !over.load(Ordering::SeqCst) {
        match client.ask("POST", "/v1/commits", &commit(n).to_string()) {
            Ok(answer) if answer.status == 201 => {
                acknowledged.store(n, Ordering::SeqCst);
                n += 1;
            }
            // In an outage a host that has just started knows nothing of the fields that are there.
            Ok(answer) => assert!([502, 503].contains(&answer.status), "{answer:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Reads the stores in turn, and counts how often both of them answered. A store that is read later is never older.
fn watch(client: &Client, looks: &AtomicU64, over: &AtomicBool) {
    let setting = || client.number("/v1/settings/live/learned", "/value");
    let rows = || client.number("/v1/series/latest?measurement=signal.learned", "/0/fields/0/value");
    for turn in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let (first, then) = match turn % 2 {
            0 => (setting(), rows()),
            _ => (rows(), setting()),
        };
        if let (Some(first), Some(then)) = (first, then) {
            assert!(then >= first, "turn {turn}: {then} after {first} was seen");
            looks.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Waits until more was committed and more was seen of both stores than before.
fn served(round: u64, acknowledged: &AtomicU64, looks: &AtomicU64, over: &AtomicBool) {
    let count = || [acknowledged, looks].map(|n| n.load(Ordering::SeqCst));
    let (before, begin) = (count(), Instant::now());
    while count().iter().zip(before).any(|(now, before)| *now <= before) {
        assert!(!over.load(Ordering::SeqCst), "round {round}: the trader or the reader has failed");
        assert!(
            begin.elapsed() < SERVED_AGAIN,
            "round {round}: commits and looks were {before:?}, are {:?}",
            count()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_commit_is_whole_whenever_the_host_or_influxdb_is_killed() {
    let mut server = Influxd::start();
    let mut host = host_over(&server).with(STORES);
    host.serve();
    let (trader, reader) = (Client::of(&host, "write"), Client::of(&host, "read"));
    assert_eq!(trader.ask("POST", "/v1/commits", &commit(1).to_string()).unwrap().status, 201);
    let (acknowledged, looks, over) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ends = Ends(&over);
            trade(&trader, &acknowledged, &over);
        });
        scope.spawn(|| {
            let _ends = Ends(&over);
            watch(&reader, &looks, &over);
        });
        let ends = Ends(&over);
        for round in 0..KILLS {
            served(round, &acknowledged, &looks, &over);
            let pause = Duration::from_millis(100 + round * 37 % 90);
            std::thread::sleep(pause);
            let before = acknowledged.load(Ordering::SeqCst);
            match round % 3 {
                0 => {
                    server.kill();
                    std::thread::sleep(pause);
                    server.restart();
                }
                1 => {
                    server.kill();
                    std::thread::sleep(pause);
                    host.kill_nine();
                    server.restart();
                }
                _ => host.kill_nine(),
            }
            if round % 3 > 0 {
                // Without a host: what is on the disk and on the server, for whoever opens it.
                let there = seen(&host);
                assert!(there.iter().all(|n| *n == there[0]), "round {round}: {there:?}");
                assert!(there[0] >= before, "round {round}: {before} was acknowledged, {there:?}");
                host.serve();
            }
        }
        served(KILLS, &acknowledged, &looks, &over);
        drop(ends);
    });
    let made = acknowledged.load(Ordering::SeqCst);
    // The last one may have been made without an answer.
    let there = seen(&host);
    assert!(there == [there[0]; 6] && (made..=made + 1).contains(&there[0]), "{made}: {there:?}");
    assert_eq!(host.rows("signal.learned"), there[0], "a row for each commit, once");
    host.run(&["verify"]).ok();
    host.run(&["audit", "verify"]).ok();
    // The server has them all when nothing waits any more, and each is of its own commit.
    let sum = there[0] * (there[0] + 1) / 2;
    let flux = json!({"query": "from(bucket: \"market\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"signal.learned\") |> sum()"});
    let begin = Instant::now();
    loop {
        let (status, said) = server.request("POST", "/api/v2/query?org=shiphold", &flux.to_string()).unwrap();
        assert_eq!(status, 200, "{said}");
        if said.split([',', '\r', '\n']).any(|cell| cell == sum.to_string()) {
            break;
        }
        assert!(begin.elapsed().as_secs() < 30, "{sum} in {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
