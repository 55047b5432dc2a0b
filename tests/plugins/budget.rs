//! The example policy for file stores: what is over the budget goes, the oldest first, and no more than that.

use super::{LATE, guest, log, refused};
use crate::support::Host;
use serde_json::Value;

const GRANTS: &str = r#"
[plugins.budget.grants.files]
read = ["logs/*"]
delete = ["logs/*"]
[[plugins.budget.config.stores]]
store = "logs"
budget_mib = 2
keep_newest = 1
"#;

/// A host with a store of logs: no series, so that ages count from the newest file.
fn with_logs(tables: &str) -> Host {
    let stores = "[files.logs]\nkind = \"logs\"\n[files.models]\nkind = \"models\"\n";
    let mut host = Host::new().with(stores).with(&guest("budget", "store-budget", "", tables));
    host.serve();
    host
}

fn put(host: &Host, name: &str, bytes: usize) {
    let file = host.path().join("content");
    let content: Vec<u8> =
        (0..bytes).map(|i| (i * 7 + name.len() * 31 + i / 251) as u8).chain(name.bytes()).collect();
    std::fs::write(&file, content).unwrap();
    let (store, name) = name.split_once('/').unwrap();
    host.run(&["files", "put", store, name, file.to_str().unwrap()]).ok();
}

fn names(host: &Host, store: &str) -> Vec<String> {
    let list = host.run(&["--json", "files", "list", store]).json();
    list.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_string()).collect()
}

fn dropped(run: &Value) -> Vec<String> {
    let steps = run["plan"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|s| s["action"] == "drop-file"), "{run}");
    steps
        .iter()
        .map(|s| format!("{}/{}", s["store"].as_str().unwrap(), s["path"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_store_over_its_budget_loses_its_oldest_files() {
    let host = with_logs(GRANTS);
    for day in ["a/1", "a/2", "a/3", "b/1"] {
        put(&host, &format!("logs/{day}"), 1 << 20);
    }
    put(&host, "models/old", 1 << 20);
    let run = |args: &[&str]| {
        let all = [&["--json", "plugins", "run", "budget"], args].concat();
        host.run(&all).json()
    };
    assert_eq!(dropped(&run(&["--dry-run"])), [] as [&str; 0], "what is young stays");
    let dry = run(&["--dry-run", "--now", LATE]);
    assert_eq!(dropped(&dry), ["logs/a/1", "logs/a/2"], "{dry}");
    assert_eq!(names(&host, "logs").len(), 4, "a dry run changes nothing");
    let done = run(&["--now", LATE, "--confirm"]);
    assert_eq!(done["report"]["dropped_files"], 2, "{done}");
    assert_eq!(names(&host, "logs"), ["a/3", "b/1"]);
    assert_eq!(names(&host, "models"), ["old"]);
    let line = log(&host, "budget").join("\n");
    assert!(line.contains("logs: 4 files") && line.contains("2 to drop"), "{line}");
    assert_eq!(dropped(&run(&["--now", LATE])), [] as [&str; 0], "the second run has nothing to do");
    host.run(&["audit", "verify"]).ok();
    host.run(&["verify"]).ok();
}

#[test]
fn a_budget_for_a_store_that_it_may_not_thin_out_is_refused_whole() {
    let host = with_logs(&GRANTS.replace("delete = [\"logs/*\"]", "delete = [\"logs/a/*\"]"));
    for name in ["a/1", "a/2", "b/1", "b/2"] {
        put(&host, &format!("logs/{name}"), 2 << 20);
    }
    refused(&host.run(&["plugins", "run", "budget", "--now", LATE, "--confirm"]), &["logs/b/1"]);
    assert_eq!(names(&host, "logs").len(), 4);
}
