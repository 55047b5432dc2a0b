//! A plugin written in JavaScript, as a trader and an operator meet it.

use crate::support::{Host, guests};
use serde_json::json;

fn plugin(name: &str, component: &str, tables: &str) -> String {
    let path = guests().join(format!("{component}.wasm"));
    format!("[plugins.{name}]\ncomponent = \"{}\"\nworld = \"skill-indexer\"\n{tables}\n", path.display())
}

fn put(host: &Host, name: &str, description: &str) {
    let file = host.path().join(format!("{name}.py"));
    std::fs::write(&file, format!("# {name}\n")).unwrap();
    host.run(&["skills", "put", name, "--code", file.to_str().unwrap(), "--description", description]).ok();
}

#[test]
fn a_question_finds_a_skill_by_the_operators_own_rules() {
    let mut host = Host::new().with(&plugin(
        "tags",
        "tags-javascript",
        "[[plugins.tags.config.rules]]\ntag = \"mean-reversion\"\nwords = [\"zscore\", \"oversold\"]\n",
    ));
    host.run(&["check"]).ok();
    host.serve();
    put(&host, "spread", "Buys at a zscore below two");
    put(&host, "breakout", "Buys a new high");
    let hits = host.run(&["--json", "skills", "search", "what is oversold"]).json();
    let names: Vec<_> = hits["hits"].as_array().unwrap().iter().map(|h| h["name"].clone()).collect();
    assert_eq!(names, [json!("spread")], "{hits}");
}

#[test]
fn what_a_javascript_plugin_may_not_use_ends_its_call_alone() {
    for (question, key) in [("hog", "limits.memory"), ("loop", "limits.deadline")] {
        let mut host = Host::new().with(&plugin(
            "probe",
            "probe-javascript",
            "[plugins.probe.limits]\nmemory = \"32 MiB\"\ndeadline = \"2 s\"\n",
        ));
        host.serve();
        put(&host, "calm", "Waits for a hog or a loop");
        let hits = host.run(&["--json", "skills", "search", question]).json();
        assert_eq!(hits["hits"][0]["name"], "calm", "{hits}");
        let runs = host.run(&["--json", "plugins", "runs", "probe"]).json();
        assert!(runs.to_string().contains(key), "{runs}");
        assert_eq!(host.http("GET", "/health", None, b"").status, 200);
    }
}

#[test]
fn a_new_target_in_javascript_builds_and_keeps_its_contract_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| -> crate::support::Said {
        let mut command = crate::support::binary();
        command
            .args(args)
            .current_dir(dir.path())
            .env_remove("SHIPHOLD_NODE_MODULES")
            .output()
            .unwrap()
            .into()
    };
    run(&["plugins", "new", "mine", "--world", "backup-target", "--lang", "js"]).ok();
    // As `npm install` leaves it: the packages are the project's own.
    let modules =
        std::env::var_os("SHIPHOLD_NODE_MODULES").expect("SHIPHOLD_NODE_MODULES: run `cargo xtask peers`");
    std::os::unix::fs::symlink(modules, dir.path().join("mine/node_modules")).unwrap();
    let tested = run(&["plugins", "test", "mine"]);
    assert!(tested.ok().contains("2 passed, 0 failed"), "{tested:#?}");
}
