//! `/api/v2/write` beside the recorded answers of a real InfluxDB (`recorded/line_protocol.json`).
//!
//! A case has a `body`, what was written `before` it, the real server's `status` and `answer`, and in `equal` what the
//! host promises to say alike: `status`, `code`, `message`, or `line` (the line that cannot be read is named).
//! `ours` is what the host says where it differs, and `why`. The scenarios of `with_influxd` keep the file honest.

use crate::support::{Answer, Host, root};
use serde_json::Value;
use std::path::PathBuf;

pub fn file() -> PathBuf {
    root().join("tests/recorded/line_protocol.json")
}

pub fn load() -> Value {
    serde_json::from_slice(&std::fs::read(file()).unwrap()).unwrap()
}

/// A bucket of its own for each case.
pub fn bucket(at: usize) -> String {
    format!("case{at:02}")
}

/// The line that the real server names first.
fn named_line(message: &str) -> &str {
    let rest = message.strip_prefix("unable to parse '").unwrap_or_else(|| panic!("no line in {message}"));
    &rest[..rest.find("': ").unwrap_or_else(|| panic!("no end of the line in {message}"))]
}

/// What is wrong with the host's answer to a case; `status` and `answer` are the real server's.
pub fn differs(case: &Value, status: &Value, answer: &Value, said: &Answer) -> Option<String> {
    let body: Value = serde_json::from_str(&said.body).unwrap_or(Value::Null);
    let mut wrong = Vec::new();
    for what in case["equal"].as_array().unwrap() {
        let equal = match what.as_str().unwrap() {
            "status" => *status == said.status,
            "code" => answer["code"] == body["code"],
            "message" => answer["message"] == body["message"],
            "line" => {
                let line = named_line(answer["message"].as_str().unwrap());
                body["message"].as_str().is_some_and(|m| m.contains(line))
            }
            other => panic!("`equal` knows no `{other}`"),
        };
        if !equal {
            wrong.push(what.to_string());
        }
    }
    if let Some(ours) = case.get("ours") {
        if ours["status"] != said.status || ours["code"] != body["code"] {
            wrong.push(format!("not as promised: {ours}"));
        }
    }
    (!wrong.is_empty()).then(|| {
        format!(
            "{}: {}: InfluxDB says {status} {answer}, the host {} {}",
            case["name"],
            wrong.join(", "),
            said.status,
            said.body
        )
    })
}

/// What the host says to a case.
pub fn ask(host: &Host, token: &str, at: usize, case: &Value) -> Answer {
    let path = |query: &str| format!("/api/v2/write?org=o&bucket={}&{query}", bucket(at));
    if let Some(before) = case["before"].as_str() {
        let answer = host.http("POST", &path("precision=ns"), Some(token), before.as_bytes());
        assert_eq!(answer.status, 204, "{case}: {answer:?}");
    }
    let query = case["query"].as_str().unwrap();
    host.http("POST", &path(query), Some(token), case["body"].as_str().unwrap().as_bytes())
}

#[test]
fn the_host_answers_lines_as_influxdb_does() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let recorded = load();
    let cases = recorded["cases"].as_array().unwrap();
    assert!(cases.len() >= 40);
    let wrong: Vec<String> = cases
        .iter()
        .enumerate()
        .filter_map(|(at, case)| {
            differs(case, &case["status"], &case["answer"], &ask(&host, &token, at, case))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
