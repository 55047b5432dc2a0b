//! The subset of Flux, beside the real thing.

use super::make_bucket;
use crate::flux;
use serde_json::{Value, json};
use shiphold_storage::testing::influxd::Influxd;

/// A server that holds the lines.
fn server(recorded: &Value) -> Influxd {
    let server = Influxd::start();
    make_bucket(&server, flux::BUCKET);
    assert_eq!(server.write(flux::BUCKET, recorded["lines"].as_str().unwrap()).0, 204);
    server
}

/// What the real server says to a case: status, and CSV or an error.
fn ask(server: &Influxd, case: &Value) -> (Value, Value) {
    let path = format!("/api/v2/query?org={}", Influxd::ORG);
    let (status, body) = server.request("POST", &path, &flux::body(case)).unwrap();
    let answer = if status == 200 { json!(body) } else { serde_json::from_str(&body).unwrap() };
    (json!(status), answer)
}

/// `SHIPHOLD_RECORD=1` writes the file anew.
#[test]
fn the_recorded_answers_are_what_influxdb_says() {
    let mut recorded = flux::load();
    let server = server(&recorded);
    let is_record = std::env::var_os("SHIPHOLD_RECORD").is_some();
    let mut stale = Vec::new();
    for case in recorded["cases"].as_array_mut().unwrap() {
        let (status, answer) = ask(&server, case);
        if is_record {
            case["status"] = status;
            case["answer"] = answer;
        } else if case["status"] != status || !same(&case["answer"], &answer) {
            stale.push(format!("{}: now {status} {answer}", case["name"]));
        }
    }
    if is_record {
        let text = serde_json::to_string_pretty(&recorded).unwrap() + "\n";
        std::fs::write(flux::file(), text).unwrap();
    }
    assert!(stale.is_empty(), "SHIPHOLD_RECORD=1 writes the file anew:\n{}", stale.join("\n"));
}

/// The real server gives the tables of some answers in any order.
fn same(recorded: &Value, now: &Value) -> bool {
    match (recorded.as_str(), now.as_str()) {
        (Some(a), Some(b)) => a == b || flux::are_alike(a, b),
        _ => recorded == now,
    }
}

#[test]
fn the_host_and_influxdb_answer_flux_alike() {
    let recorded = flux::load();
    let server = server(&recorded);
    let (host, token) = flux::host(&recorded);
    let cases = recorded["cases"].as_array().unwrap();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let (status, answer) = ask(&server, case);
            flux::differs(case, &status, &answer, &flux::ask(&host, &token, case))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The rows lie in the real server, under the names that the host gives them; the answers are the same.
#[test]
fn a_host_over_influxdb_answers_flux_alike() {
    let recorded = flux::load();
    let server = Influxd::start();
    let mut host = super::host_over(&server);
    host.serve();
    let token = host.token("feed", "write");
    flux::fill(&host, &token, &recorded);
    let cases = recorded["cases"].as_array().unwrap();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            flux::differs(case, &case["status"], &case["answer"], &flux::ask(&host, &token, case))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}
