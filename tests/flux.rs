//! `/api/v2/query` beside the recorded answers of a real InfluxDB (`recorded/flux.json`), which holds the same lines.
//!
//! Tables are compared with their columns, types, group keys and rows; which table comes first is not, nor is the order of
//! columns where a case is not `exact`: then the answers are equal byte for byte. `ours` is what the host says where it
//! differs, and `why`. The scenarios of `with_influxd` keep the file honest.

use crate::support::{Answer, Host, request, root};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The relative difference of two floats that counts as none: engines add up in another order.
const FLOAT_DIFFERENCE_MAX: f64 = 1e-12;

pub fn file() -> PathBuf {
    root().join("tests/recorded/flux.json")
}

pub fn load() -> Value {
    serde_json::from_slice(&std::fs::read(file()).unwrap()).unwrap()
}

/// The bucket that holds the lines, on both servers.
pub const BUCKET: &str = "flux";

/// The body of a case's request.
pub fn body(case: &Value) -> String {
    let annotated =
        json!({"annotations": ["datatype", "group", "default"], "header": true, "delimiter": ","});
    let dialect = case.get("dialect").unwrap_or(&annotated);
    let mut body = json!({"query": case["query"], "type": "flux", "dialect": dialect});
    if let Some(given) = case.get("extern") {
        body["extern"] = given.clone();
    }
    body.to_string()
}

/// A table: what is the same in all rows and which types there are, and the rows.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
struct Table {
    result: String,
    columns: BTreeMap<String, (String, String)>,
    rows: Vec<BTreeMap<String, String>>,
}

/// The tables of an annotated CSV, in the order of what they are of.
fn tables(csv: &str) -> Vec<Table> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(csv.as_bytes());
    let (mut types, mut groups, mut defaults, mut names) = (vec![], vec![], vec![], vec![]);
    let mut last = None;
    let mut found: Vec<Table> = Vec::new();
    for row in reader.records() {
        let row: Vec<String> = row.unwrap().iter().map(str::to_string).collect();
        match row[0].as_str() {
            "#datatype" => {
                types = row;
                names.clear();
            }
            "#group" => groups = row,
            "#default" => defaults = row,
            _ if row.get(1).is_some_and(|c| c == "result") => {
                names = row;
                last = None;
            }
            _ => {
                assert!(!names.is_empty() && row.len() == names.len(), "{csv}");
                let cell =
                    |at: usize| if row[at].is_empty() { defaults[at].clone() } else { row[at].clone() };
                if last.as_ref() != Some(&row[2]) {
                    last = Some(row[2].clone());
                    let column = |at: usize| (names[at].clone(), (types[at].clone(), groups[at].clone()));
                    let columns = (3..names.len()).map(column).collect();
                    found.push(Table { result: cell(1), columns, rows: Vec::new() });
                }
                let cells = (3..names.len()).map(|at| (names[at].clone(), cell(at))).collect();
                found.last_mut().unwrap().rows.push(cells);
            }
        }
    }
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found
}

fn is_alike(ours: &[Table], theirs: &[Table]) -> bool {
    let alike = |of: &str, a: &str, b: &str| {
        a == b
            || of == "double"
                && matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(x), Ok(y))
                    if (x - y).abs() <= FLOAT_DIFFERENCE_MAX * x.abs().max(y.abs()))
    };
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(a, b)| {
            a.result == b.result
                && a.columns == b.columns
                && a.rows.len() == b.rows.len()
                && a.rows
                    .iter()
                    .zip(&b.rows)
                    .all(|(x, y)| x.iter().zip(y).all(|((name, x), (_, y))| alike(&a.columns[name].0, x, y)))
        })
}

/// Do two answers hold the same tables?
pub fn are_alike(ours: &str, theirs: &str) -> bool {
    is_alike(&tables(ours), &tables(theirs))
}

/// What is wrong with the host's answer to a case; `status` and `answer` are the real server's.
pub fn differs(case: &Value, status: &Value, answer: &Value, said: &Answer) -> Option<String> {
    let is_ok = if let Some(ours) = case.get("ours") {
        let has = |word: &Value| said.body.contains(word.as_str().unwrap());
        ours["status"] == said.status && ours["words"].as_array().unwrap().iter().all(has)
    } else if *status != said.status {
        false
    } else if said.status != 200 {
        serde_json::from_str::<Value>(&said.body).is_ok_and(|body| body["code"] == answer["code"])
    } else if case["exact"] == true {
        *answer == said.body
    } else {
        are_alike(&said.body, answer.as_str().unwrap())
    };
    (!is_ok).then(|| {
        format!("{}: InfluxDB says {status} {answer},\nthe host {} {}", case["name"], said.status, said.body)
    })
}

/// A host that holds the lines, and a token that may read them.
pub fn host(recorded: &Value) -> (Host, String) {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    fill(&host, &token, recorded);
    (host, token)
}

/// Writes the lines.
pub fn fill(host: &Host, token: &str, recorded: &Value) {
    let path = format!("/api/v2/write?org=o&bucket={BUCKET}&precision=ns");
    let lines = recorded["lines"].as_str().unwrap();
    assert_eq!(host.http("POST", &path, Some(token), lines.as_bytes()).status, 204);
}

/// What the host says to a case.
pub fn ask(host: &Host, token: &str, case: &Value) -> Answer {
    let auth = format!("Token {token}");
    let headers = [("Authorization", auth.as_str()), ("Content-Type", "application/json")];
    request(&host.url("/api/v2/query?org=o"), "POST", &headers, body(case).as_bytes())
}

#[test]
fn the_host_answers_flux_as_influxdb_does() {
    let recorded = load();
    let (host, token) = host(&recorded);
    let cases = recorded["cases"].as_array().unwrap();
    assert!(cases.len() >= 60, "{}", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| differs(case, &case["status"], &case["answer"], &ask(&host, &token, case)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
    // The text alone, as curl and Telegraf's tools send it.
    let auth = format!("Token {token}");
    let headers = [("Authorization", auth.as_str()), ("Content-Type", "application/vnd.flux")];
    let text = cases[0]["query"].as_str().unwrap();
    let alone = request(&host.url("/api/v2/query?org=o"), "POST", &headers, text.as_bytes());
    assert!(alone.status == 200 && alone.body.starts_with(",result,table,_start,_stop,"), "{alone:?}");
    assert!(alone.body.contains("\r\n,_result,0,1970-01-01T00:00:00Z,"), "{alone:?}");
}
