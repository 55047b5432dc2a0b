//! Against a real InfluxDB 2.

mod commits;
mod flux;

use crate::recorded;
use crate::support::{Host, bars, times_of};
use serde_json::{Value, json};
use shiphold_storage::testing::influxd::Influxd;
use std::time::{Duration, Instant};

/// Makes a bucket on the real server.
fn make_bucket(server: &Influxd, name: &str) {
    let (_, said) = server.request("GET", "/api/v2/orgs", "").unwrap();
    let orgs: Value = serde_json::from_str(&said).unwrap();
    let org = orgs["orgs"].as_array().unwrap().iter().find(|o| o["name"] == Influxd::ORG).unwrap();
    let body = json!({"orgID": org["id"], "name": name, "retentionRules": []});
    let (status, said) = server.request("POST", "/api/v2/buckets", &body.to_string()).unwrap();
    assert_eq!(status, 201, "{said}");
}

/// Waits until nothing waits in the outbox any more.
fn delivered(host: &Host, token: &str) {
    let begin = Instant::now();
    loop {
        let metrics = host.http("GET", "/metrics", Some(token), b"").body;
        if metrics.lines().any(|line| line == "shiphold_series_outbox_records 0") {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the real server says to a recorded case: status and body.
fn ask(server: &Influxd, at: usize, case: &Value) -> (Value, Value) {
    let bucket = recorded::bucket(at);
    make_bucket(server, &bucket);
    if let Some(before) = case["before"].as_str() {
        assert_eq!(server.write(&bucket, before).0, 204);
    }
    let query = case["query"].as_str().unwrap();
    let path = format!("/api/v2/write?org={}&bucket={bucket}&{query}", Influxd::ORG);
    let (status, body) = server.request("POST", &path, case["body"].as_str().unwrap()).unwrap();
    (json!(status), serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// `SHIPHOLD_RECORD=1` writes the file anew.
#[test]
fn the_recorded_answers_are_what_influxdb_says() {
    let server = Influxd::start();
    let mut recorded = recorded::load();
    let mut stale = Vec::new();
    for (at, case) in recorded["cases"].as_array_mut().unwrap().iter_mut().enumerate() {
        let (status, answer) = ask(&server, at, case);
        if case["status"] != status || case["answer"] != answer {
            stale.push(format!("{}: now {status} {answer}", case["name"]));
            case["status"] = status;
            case["answer"] = answer;
        }
    }
    if std::env::var_os("SHIPHOLD_RECORD").is_some() {
        let text = serde_json::to_string_pretty(&recorded).unwrap() + "\n";
        std::fs::write(recorded::file(), text).unwrap();
    } else {
        assert!(stale.is_empty(), "SHIPHOLD_RECORD=1 writes the file anew:\n{}", stale.join("\n"));
    }
}

#[test]
fn the_host_and_influxdb_answer_lines_alike() {
    let server = Influxd::start();
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let recorded = recorded::load();
    let cases = recorded["cases"].as_array().unwrap();
    let wrong: Vec<String> = cases
        .iter()
        .enumerate()
        .filter_map(|(at, case)| {
            let (status, answer) = ask(&server, at, case);
            recorded::differs(case, &status, &answer, &recorded::ask(&host, &token, at, case))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A host that keeps its series in the real server.
fn host_over(server: &Influxd) -> Host {
    Host::new()
        .with(&format!(
            "[series]\nengine = \"influxdb2\"\n[series.influxdb2]\nurl = \"{}\"\norg = \"{}\"\ntoken = \"influx\"\n\
             [secrets.influx]\nenv = \"TEST_INFLUX_TOKEN\"",
            server.url(),
            Influxd::ORG
        ))
        .with_env("TEST_INFLUX_TOKEN", Influxd::TOKEN)
}

#[test]
fn a_host_over_influxdb_writes_queries_and_deletes() {
    let server = Influxd::start();
    let mut host = host_over(&server);
    host.serve();
    let token = host.token("feed", "write");
    for symbol in ["AAPL", "MSFT"] {
        let answer = host.write_lines(&token, "market", &bars(symbol, 1_700_000_000, 500));
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
    }
    assert_eq!(host.rows("bar.1m.AAPL"), 500);

    let query = ["--json", "series", "query", "--measurement", "bar.1m.AAPL"];
    let said = host.run(&[&query[..], &["--limit", "3"]].concat()).json();
    let minute = |i: i64| (1_700_000_000 + i * 60) * 1_000_000_000;
    assert_eq!(times_of(&said), [minute(0), minute(1), minute(2)]);
    let latest = host.run(&["--json", "series", "latest", "--measurement", "bar.1m.AAPL"]).json().to_string();
    assert!(latest.contains("599"), "the last volume is 100 + 499: {latest}");

    // The rows are in the server, and not in the data folder.
    let flux = json!({"query": "from(bucket: \"market\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"bar.1m.AAPL\" and r._field == \"close\") |> count()"});
    let (status, said) = server.request("POST", "/api/v2/query?org=shiphold", &flux.to_string()).unwrap();
    assert!(status == 200 && said.contains("500"), "{status}: {said}");

    // The same conflict as on the embedded engine.
    let partial = host.write_lines(&token, "market", "m v=1 1\nm v=\"text\" 2\nm v=3 3\n");
    assert_eq!(partial.status, 422, "{partial:?}");
    assert!(partial.json()["message"].as_str().unwrap().contains("field type conflict"), "{partial:?}");
    assert_eq!(host.rows("m"), 2);

    let delete = ["series", "delete", "--measurement", "bar.1m.AAPL", "--yes"];
    let half = ["--start", "2023-11-14T22:13:20Z", "--end", "2023-11-15T02:23:20Z"];
    host.run(&[&delete[..], &half].concat()).ok();
    assert_eq!(host.rows("bar.1m.AAPL"), 250);
    assert_eq!(times_of(&host.run(&[&query[..], &["--limit", "1"]].concat()).json()), [minute(250)]);
    assert_eq!(host.rows("bar.1m.MSFT"), 500);
}

#[test]
fn a_host_over_influxdb_keeps_prices_to_the_last_digit() {
    let server = Influxd::start();
    crate::decimals::story(host_over(&server));
    // Whoever reads the server itself sees units.
    let flux = json!({"query": "from(bucket: \"market\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"bar.1m.KO\" and r._field == \"close\")"});
    let (status, said) = server.request("POST", "/api/v2/query?org=shiphold", &flux.to_string()).unwrap();
    assert!(status == 200 && said.contains(",12345678901234567,"), "{status}: {said}");
}

#[test]
fn a_host_outlives_an_outage_of_influxdb() {
    let mut server = Influxd::start();
    let mut host = host_over(&server);
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("A", 1_700_000_000, 10)).status, 204);
    server.kill();
    let taken = host.write_lines(&token, "market", &bars("A", 1_700_000_600, 10));
    assert_eq!(taken.status, 204, "acknowledged, and kept until InfluxDB is back: {taken:?}");
    host.run(&["series", "list"]).fails(1, &["cannot be reached", "hint:"]);
    // What is not series goes on.
    host.run(&["settings", "set", "system", "k", "1"]).ok();
    let faults = host.run(&["verify"]);
    faults.fails(1, &["see that InfluxDB runs"]);
    assert!(faults.out.contains("cannot be reached") && !faults.err.contains("restore"), "{faults:?}");
    server.restart();
    assert_eq!(host.rows("bar.1m.A"), 20);
}

#[test]
fn a_host_starts_without_influxdb_and_finds_it_later() {
    let mut server = Influxd::start();
    server.kill();
    let mut host = host_over(&server);
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", "m v=1 1").status, 204);
    server.restart();
    assert_eq!(host.write_lines(&token, "market", "m v=1 2").status, 204);
    assert_eq!(host.rows("m"), 2);
}

#[test]
fn a_backup_goes_from_one_server_to_another() {
    let server = Influxd::start();
    let mut host = host_over(&server);
    host.serve();
    let token = host.token("feed", "write");
    for symbol in ["AAPL", "MSFT"] {
        assert_eq!(host.write_lines(&token, "market", &bars(symbol, 1_700_000_000, 500)).status, 204);
    }
    assert_eq!(host.write_lines(&token, "a%20b", "m,k=v text=\"two\nlines\",n=1i 5").status, 204);
    let query = ["--json", "series", "query", "--measurement", "bar.1m.MSFT"];
    let before = host.run(&query).json();
    // What waits in the outbox is in the backup as well, but is not counted as a row of the server.
    delivered(&host, &token);
    let to = host.path().join("backup");
    let folder = to.to_str().unwrap();
    let said = host.run(&["--json", "backup", "export", folder]).json();
    assert_eq!(said["series_rows"], 1_001, "{said}");
    host.run(&["backup", "check", folder]).ok();
    host.kill_nine();
    drop(server);

    let second = Influxd::start();
    let mut there = host_over(&second);
    let data = there.data();
    there.run(&["backup", "restore", folder, data.to_str().unwrap(), "--dry-run"]).ok();
    assert!(!data.exists());
    there.run(&["backup", "restore", folder, data.to_str().unwrap()]).ok();
    there.serve();
    assert_eq!(there.run(&query).json()["rows"], before["rows"]);
    assert_eq!((there.rows("bar.1m.AAPL"), there.rows("bar.1m.MSFT"), there.rows("m")), (500, 500, 1));
    // The tokens of the one host open the other.
    assert_eq!(there.write_lines(&token, "market", "m v=1 1").status, 204);
    there.run(&["verify"]).ok();
    // A second one does not go into a server that is in use.
    let third = host_over(&second);
    let data = third.data();
    third
        .run(&["backup", "restore", folder, data.to_str().unwrap()])
        .fails(1, &["is not empty", "hint: a restore never overwrites"]);
}

#[test]
fn a_full_outbox_asks_writers_to_come_back_and_a_killed_host_loses_nothing() {
    let mut server = Influxd::start();
    let mut host = host_over(&server);
    host.edit(|text| text.replace("token = \"influx\"", "token = \"influx\"\noutbox_max = \"1 MiB\""));
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("A", 1_700_000_000, 1)).status, 204);
    assert_eq!(host.rows("bar.1m.A"), 1);
    server.kill();
    let mut taken = 1;
    let full = loop {
        let answer = host.write_lines(&token, "market", &bars("A", 1_700_000_000 + taken * 60, 1_000));
        if answer.status != 204 {
            break answer;
        }
        taken += 1_000;
    };
    assert!(taken > 3_000, "{taken}");
    assert_eq!(full.status, 503, "{full:?}");
    assert!(full.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{full:?}");
    assert!(full.body.contains("outbox is full") && full.body.contains("outbox_max"), "{full:?}");
    // Killed in the middle of the outage, and started again: what was acknowledged waits, and no more fits.
    host.kill_nine();
    host.serve();
    let again = host.write_lines(&token, "market", &bars("A", 1_700_000_000 + taken * 60, 1_000));
    assert_eq!(again.status, 503, "{again:?}");
    server.restart();
    assert_eq!(host.rows("bar.1m.A"), taken as u64, "everything that was acknowledged, and nothing else");
    // As soon as what waits is delivered there is room again.
    let begin = std::time::Instant::now();
    loop {
        let again = host.write_lines(&token, "market", &bars("A", 1_700_000_000 + taken * 60, 1_000));
        if again.status == 204 {
            break;
        }
        assert!(again.status == 503 && begin.elapsed().as_secs() < 60, "{again:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(host.rows("bar.1m.A"), taken as u64 + 1_000);
}

#[test]
fn buckets_are_shown_with_how_long_their_rows_are_kept() {
    let server = Influxd::start();
    make_bucket(&server, "others");
    let mut host = host_over(&server).with("[series.influxdb2.retention]\nticks = \"30 d\"");
    host.serve();
    let token = host.token("feed", "write");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(host.write_lines(&token, "ticks", &format!("m v=1 {now}")).status, 204);
    assert_eq!(host.rows("m"), 1);
    let said = host.run(&["--json", "series", "buckets"]).json();
    let of = |name: &str| said.as_array().unwrap().iter().find(|b| b["name"] == name).unwrap().clone();
    let month = 30 * 86_400;
    assert_eq!(of("ticks"), json!({"name": "ticks", "keep_s": month, "declared_s": month}));
    assert_eq!(of("others"), json!({"name": "others", "keep_s": null, "declared_s": null}));
    let shown = host.run(&["series", "buckets"]);
    let line = shown.ok().lines().find(|l| l.contains("ticks")).unwrap().to_string();
    assert_eq!(line.matches("30 d").count(), 2, "{line}");
    let listed = host.http("GET", "/api/v2/buckets?name=ticks", Some(&token), b"").json();
    assert_eq!(listed["buckets"][0]["retentionRules"][0]["everySeconds"], month, "{listed}");
    // Somebody changes it on the server.
    let (_, all) = server.request("GET", "/api/v2/buckets?name=ticks", "").unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    let body = json!({"retentionRules": [{"type": "expire", "everySeconds": 7 * 86_400}]}).to_string();
    let path = format!("/api/v2/buckets/{}", all["buckets"][0]["id"].as_str().unwrap());
    let (status, said) = server.request("PATCH", &path, &body).unwrap();
    assert_eq!(status, 200, "{said}");
    let faults = host.run(&["verify"]);
    faults.fails(1, &[]);
    assert!(faults.out.contains("bucket `ticks`") && faults.out.contains("for 1 w"), "{faults:?}");
}
