//! A plugin that learns: what it commits over all stores is there whole or not at all, whoever reads, whatever is refused, and
//! whenever the host is killed.

use super::{guest, log, runs};
use crate::support::{Host, request, try_request};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times that it learns while readers look.
const RUNS: u64 = 12;
/// `kill -9` this many times.
const KILLS: u64 = 8;
/// How long a host may need after a kill until the plugin has learned something again.
const LEARNS_WITHIN: Duration = Duration::from_secs(60);

const STORES: &str = "[files.models]\nkind = \"models\"\n[state]\nstore = \"models\"\n";
const GRANTS: &str = r#"
[plugins.learns.grants]
commits = true
skills = { write = ["learned"] }
settings = { write = ["live"] }
files = { write = ["models/learned/*"] }
series = { write = ["market/signal.*"] }
state = { read = ["learned"], write = ["learned"] }
"#;

fn host(config: &str) -> Host {
    Host::new().with(STORES).with(&guest("learns", "learns", "", &format!("{GRANTS}{config}")))
}

fn get(host: &Host, token: &str, path: &str) -> crate::support::Answer {
    request(&host.url(path), "GET", &[("Authorization", &format!("Bearer {token}"))], b"")
}

/// What one store says of the newest commit; 0 where there is nothing.
fn look(host: &Host, token: &str, store: usize) -> u64 {
    let of = |path: &str, pointer: &str| {
        let answer = get(host, token, path);
        match answer.status {
            404 => Value::Null,
            _ => answer.json().pointer(pointer).cloned().unwrap_or_default(),
        }
    };
    match store {
        0 => of("/v1/series/latest?measurement=signal.learned", "/0/fields/0/value").as_u64().unwrap_or(0),
        1 => of("/v1/settings/live/learned", "/value").as_u64().unwrap_or(0),
        2 => of("/v1/skills/learned", "/version").as_str().map_or(0, |v| v[4..].parse().unwrap()),
        3 => of("/v1/files/models?prefix=learned/", "/0/version").as_u64().unwrap_or(0),
        4 => of("/v1/skills/learned/performance", "/0/samples").as_u64().unwrap_or(0),
        _ => {
            let answer = get(host, token, "/v1/state/learned");
            if answer.status == 404 {
                return 0;
            }
            let numbers: Vec<u64> = answer.body.split_whitespace().map(|n| n.parse().unwrap()).collect();
            assert!(numbers.iter().all(|n| *n == numbers[0]), "a torn checkpoint");
            assert_eq!(numbers.len(), if numbers[0].is_multiple_of(2) { 20_000 } else { 1 });
            numbers[0]
        }
    }
}

const ALL: usize = 6;

fn seen(host: &Host, token: &str) -> [u64; ALL] {
    std::array::from_fn(|store| look(host, token, store))
}

#[test]
fn what_a_plugin_commits_is_seen_whole_by_every_reader() {
    let mut host = host("");
    host.run(&["check"]).ok();
    host.serve();
    let token = host.token("reader", "read");
    let (over, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for turn in 0..3 {
            let (host, token, over, looks) = (&host, &token, &over, &looks);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    // Each store once, in another order each time: later looks are never older.
                    let mut newest = 0;
                    let first = looks.fetch_add(1, Ordering::SeqCst) as usize + turn;
                    for store in (0..ALL).map(|i| (first + i) % ALL) {
                        let now = look(host, token, store);
                        assert!(now >= newest, "store {store} says {now} after {newest} was seen");
                        newest = now;
                    }
                }
            });
        }
        for n in 1..=RUNS {
            host.run(&["plugins", "run", "learns"]).ok();
            assert_eq!(seen(&host, &token), [n; ALL]);
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(looks.into_inner() > RUNS, "readers looked meanwhile");
    assert_eq!(log(&host, "learns"), [format!("info: commit {RUNS} made {RUNS}")]);
    // What it said of the skill is there, and what it left out is what was.
    let skill = get(&host, &token, "/v1/skills/learned").json();
    assert_eq!(
        (&skill["status"], &skill["provenance"]["run"]),
        (&"draft".into(), &format!("turn {RUNS}").into())
    );
    assert_eq!(skill["provenance"]["parent"]["version"], format!("0.0.{}", RUNS - 1), "{skill}");
    // The trail says who did it, and in which run.
    let run = runs(&host, "learns")[0]["id"].to_string();
    let entries = host.run(&["--json", "audit", "list", "--request", &format!("run:{run}")]).json();
    let entries = entries.as_array().unwrap();
    let actions: Vec<&str> = entries.iter().map(|e| e["action"].as_str().unwrap()).collect();
    for action in
        ["commits.make", "skills.put", "skills.performance", "files.put", "settings.set", "state.save"]
    {
        assert!(actions.contains(&action), "no {action} in {actions:?}");
    }
    assert!(entries.iter().all(|e| e["actor"] == "plugin:learns"), "{entries:?}");
    host.run(&["verify"]).ok();
    host.run(&["audit", "verify"]).ok();
}

#[test]
fn one_part_that_is_refused_refuses_all_of_it() {
    // It fails more often in a row than a plugin may by default. The row of another type needs one that is there.
    let mut learned = host("[plugins.learns.on_failure]\ndisable_after = 0\n");
    learned.serve();
    learned.run(&["plugins", "run", "learns"]).ok();
    let token = learned.token("reader", "read");
    for (spoil, words) in [
        (1, vec!["`n`", "is integer, not string"]),
        (2, vec!["performance"]),
        (3, vec!["files.write"]),
        (4, vec!["settings.write"]),
        (5, vec!["series.write"]),
        (6, vec!["state.write"]),
        (7, vec!["revision 1, not 99"]),
    ] {
        learned.edit(|m| match m.split_once("[plugins.learns.config]") {
            Some((before, _)) => format!("{before}[plugins.learns.config]\nspoil = {spoil}\n"),
            None => format!("{m}\n[plugins.learns.config]\nspoil = {spoil}\n"),
        });
        learned.run(&["plugins", "reload"]).ok();
        learned.run(&["plugins", "run", "learns"]).fails(1, &words);
        assert_eq!(seen(&learned, &token), [1; ALL], "spoil = {spoil}");
    }
    learned.run(&["verify"]).ok();
}

#[test]
fn a_dry_run_commits_nothing_and_missing_grants_are_named() {
    let mut host = host("");
    host.serve();
    let token = host.token("reader", "read");
    host.run(&["plugins", "run", "learns", "--dry-run"]).fails(1, &["a dry run writes nothing"]);
    assert_eq!(seen(&host, &token), [0; ALL]);
    let grants = host.run(&["plugins", "grants", "learns"]);
    for words in [
        "make commits",
        "save checkpoints of the strategies `learned`",
        "to go on from where it was",
        "`live`",
    ] {
        assert!(grants.ok().contains(words), "no `{words}` in {grants:?}");
    }
    let file = crate::support::guests().join("learns.wasm");
    let inspected = host.run(&["plugins", "inspect", file.to_str().unwrap()]);
    for words in ["commits", "state", "skills.write", "to point to it"] {
        assert!(inspected.ok().contains(words), "no `{words}` in {inspected:?}");
    }
    host.signal("TERM");
    let bare = Host::new().with(STORES).with(&guest("learns", "learns", "", ""));
    bare.run(&["check"]).fails(2, &["imports `commits`", "imports `state`", "manifest does not grant it"]);
    let half = Host::new().with(STORES).with(&guest(
        "learns",
        "learns",
        "",
        "[plugins.learns.grants.settings]\nwrite = [\"live\"]\n",
    ));
    half.run(&["check"]).fails(2, &["without effect without `commits = true`"]);
}

#[test]
fn a_plugin_goes_on_from_its_checkpoint_whenever_the_host_is_killed() {
    let mut host = host("");
    host.serve();
    let (admin, reader) = (host.token("admin", "admin"), host.token("reader", "read"));
    let told = AtomicU64::new(0);
    for round in 0..KILLS {
        let before = seen(&host, &reader);
        assert!(before.iter().all(|n| *n == before[0]), "round {round}: {before:?}");
        assert!(before[0] >= told.load(Ordering::SeqCst), "round {round}: {before:?}");
        told.store(before[0], Ordering::SeqCst);
        std::thread::scope(|scope| {
            let (shared, admin, told): (&Host, &str, &AtomicU64) = (&host, &admin, &told);
            scope.spawn(move || {
                let auth = format!("Bearer {admin}");
                let headers = [("Authorization", auth.as_str()), ("Content-Type", "application/json")];
                let url = shared.url("/v1/plugins/learns/run");
                loop {
                    match try_request(&url, "POST", &headers, b"{}") {
                        Ok(answer) if answer.status == 200 => told.fetch_add(1, Ordering::SeqCst),
                        Ok(answer) => panic!("round {round}: {answer:?}"),
                        Err(_) => return,
                    };
                }
            });
            // Somewhere in a run, after it learned something in this round.
            let begin = Instant::now();
            while told.load(Ordering::SeqCst) <= before[0] {
                assert!(begin.elapsed() < LEARNS_WITHIN, "round {round}: it learns nothing");
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(round * 13 % 90));
            let killed = std::process::Command::new("kill").args(["-9", &shared.pid().to_string()]).status();
            assert!(killed.unwrap().success());
        });
        host.kill_nine();
        host.serve();
    }
    assert!(told.into_inner() >= KILLS, "it learned between the kills");
    host.run(&["verify"]).ok();
}
