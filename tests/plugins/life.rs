//! The life of a plugin: it is looked at, pinned, loaded, scheduled, disabled, and loaded again faster.

use super::{RETENTION, eventually, goes_on, guest, refused, retention, runs, status, with_data};
use crate::support::{Host, Said, guests};
use serde_json::{Value, json};

#[test]
fn a_pin_holds_the_component_to_its_digest() {
    let component = guests().join("retention.wasm");
    let host = Host::new().with(&retention());
    let seen = host.run(&["--json", "plugins", "inspect", component.to_str().unwrap()]).json();
    let digest = seen["sha256"].as_str().unwrap_or_else(|| panic!("no digest in {seen}")).to_string();
    assert_eq!(digest.len(), 64);

    let pinned = |digest: &str| guest("retention", "retention", &format!("sha256 = \"{digest}\""), RETENTION);
    Host::new().with(&pinned(&digest)).run(&["check"]).ok();
    let other = "0".repeat(64);
    let host = Host::new().with(&pinned(&other));
    host.run(&["check"]).fails(2, &["sha256", &digest]);
    refused(&host.run(&["plugins", "run", "retention", "--dry-run"]), &["sha256", &digest]);
}

#[test]
fn a_component_of_another_world_is_refused_by_name() {
    let host = Host::new().with(&guest("otherworld", "otherworld", "", ""));
    host.run(&["check"]).fails(2, &["otherworld", "query-builder", "retention-policy"]);
    refused(&host.run(&["plugins", "run", "otherworld"]), &["query-builder", "retention-policy"]);
}

#[test]
fn what_is_no_component_is_refused_by_name() {
    let whole = std::fs::read(guests().join("retention.wasm")).unwrap();
    let mut flipped = whole.clone();
    for at in (64..flipped.len()).step_by(97) {
        flipped[at] ^= 0x55;
    }
    for (what, bytes) in [
        ("text", b"#!/bin/sh\necho hello\n".to_vec()),
        ("empty", Vec::new()),
        ("core module", b"\0asm\x01\0\0\0".to_vec()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("flipped", flipped),
    ] {
        let host = Host::new();
        let file = host.path().join("not.wasm");
        std::fs::write(&file, bytes).unwrap();
        let host = host.with(&format!(
            "[plugins.not]\ncomponent = \"{}\"\nworld = \"retention-policy\"\n",
            file.display()
        ));
        let said = host.run(&["check"]);
        said.fails(2, &["plugins.not", "component"]);
        assert!(!said.err.contains("panicked"), "{what}: {said:?}");
        refused(&host.run(&["plugins", "run", "not"]), &["not"]);
        refused(&host.run(&["plugins", "inspect", file.to_str().unwrap()]), &["not.wasm"]);
    }
}

#[test]
fn inspect_shows_what_a_component_is_and_wants_without_a_manifest() {
    let file = guests().join("retention.wasm");
    let mut command = crate::support::binary();
    let said: Said = command.args(["--json", "plugins", "inspect"]).arg(&file).output().unwrap().into();
    let text = said.json().to_string();
    for word in ["retention-policy", "0.1.0", "series", "log", "*/tick.*", "tick_days", "rolled up"] {
        assert!(text.contains(word), "no `{word}` in {text}");
    }
    assert!(!text.contains("shiphold:host/clock"), "it imports only what it uses: {text}");
    assert_eq!(
        said.json()["bytes"].as_u64().or(said.json()["size"].as_u64()),
        file.metadata().ok().map(|m| m.len())
    );
}

#[test]
fn an_unknown_plugin_is_named() {
    let host = Host::new().with(&retention());
    host.run(&["plugins", "run", "nobody"]).fails(1, &["nobody"]);
    host.run(&["plugins", "enable", "nobody"]).fails(1, &["nobody"]);
}

#[test]
fn a_plugin_that_fails_again_and_again_is_disabled_until_an_operator_enables_it() {
    let policy = "[plugins.traps.on_failure]\nretries = 0\ndisable_after = 2\n";
    let host = with_data(&(retention() + &guest("traps", "traps", "schedule = \"every 1 s\"", policy)));
    eventually("traps is disabled", &host, || status(&host, "traps")["enabled"] == false);
    let all = runs(&host, "traps");
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().all(|r| r["trigger"] == "schedule" && r["state"] == "failed"), "{all:?}");
    assert_eq!(status(&host, "traps")["failures"], 2);
    host.run(&["plugins", "run", "traps"]).fails(1, &["traps", "disabled", "plugins enable"]);
    goes_on(&host, "disabling");

    host.run(&["plugins", "enable", "traps"]).ok();
    eventually("traps runs again", &host, || runs(&host, "traps").len() > 2);
    host.run(&["plugins", "disable", "retention"]).ok();
    assert_eq!(status(&host, "retention")["enabled"], false);
    host.run(&["plugins", "run", "retention", "--dry-run"]).fails(1, &["retention", "disabled"]);
}

#[test]
fn a_failed_scheduled_run_is_tried_again() {
    let policy = "[plugins.traps.on_failure]\nretries = 2\nbackoff = \"10 ms\"\ndisable_after = 3\n";
    let host = with_data(&guest("traps", "traps", "schedule = \"every 1 s\"", policy));
    eventually("three tries disable it", &host, || status(&host, "traps")["enabled"] == false);
    let triggers: Vec<Value> = runs(&host, "traps").iter().rev().map(|r| r["trigger"].clone()).collect();
    assert_eq!(triggers, [json!("schedule"), json!("retry"), json!("retry")]);
}

#[test]
fn a_schedule_runs_by_itself_and_its_history_shows() {
    let host = with_data(&guest("retention", "retention", "schedule = \"every 1 s\"", RETENTION));
    eventually("two scheduled runs", &host, || {
        runs(&host, "retention").iter().filter(|r| r["state"] == "ok" && r["trigger"] == "schedule").count()
            >= 2
    });
    let newest = &runs(&host, "retention")[0];
    assert_eq!(newest["dry_run"], false);
    assert!(status(&host, "retention")["next_run_ns"].is_i64());
    eventually("old ticks go by themselves", &host, || host.rows("tick.AAPL") < 144);
}

#[test]
fn the_second_start_compiles_nothing() {
    let mut host = with_data(&retention());
    goes_on(&host, "the first start");
    let first = compiled(&host);
    assert!(!first.is_empty(), "the host keeps what it compiled");
    host.signal("TERM");
    host.serve();
    goes_on(&host, "the second start");
    assert_eq!(compiled(&host), first, "the same files, not written again");
}

/// Files below a folder that is called `cache`, with their times.
fn compiled(host: &Host) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    fn walk(dir: &std::path::Path, out: &mut Vec<(std::path::PathBuf, std::time::SystemTime)>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            if meta.is_dir() {
                walk(&path, out);
            } else if path.components().any(|c| c.as_os_str().to_string_lossy().contains("cache")) {
                out.push((path, meta.modified().unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    walk(&host.data(), &mut out);
    out.sort();
    out
}

#[test]
fn a_damaged_cache_is_compiled_again() {
    let mut host = with_data(&retention());
    goes_on(&host, "the first start");
    host.signal("TERM");
    let kept = compiled(&host);
    assert!(!kept.is_empty());
    for (path, _) in &kept {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 3]).unwrap();
    }
    host.serve();
    goes_on(&host, "a damaged cache");
}
