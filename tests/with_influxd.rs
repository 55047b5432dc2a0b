//! Against a real InfluxDB 2.

mod flux;

use crate::recorded;
use crate::support::{Host, bars, times_of};
use serde_json::{Value, json};
use shiphold_storage::testing::influxd::Influxd;

/// Makes a bucket on the real server.
fn make_bucket(server: &Influxd, name: &str) {
    let (_, said) = server.request("GET", "/api/v2/orgs", "").unwrap();
    let orgs: Value = serde_json::from_str(&said).unwrap();
    let org = orgs["orgs"].as_array().unwrap().iter().find(|o| o["name"] == Influxd::ORG).unwrap();
    let body = json!({"orgID": org["id"], "name": name, "retentionRules": []});
    let (status, said) = server.request("POST", "/api/v2/buckets", &body.to_string()).unwrap();
    assert_eq!(status, 201, "{said}");
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
