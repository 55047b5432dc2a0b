//! A strategy that keeps its state here: killed with the host at any moment, it goes on from what was acknowledged.

use crate::support::{Host, try_request};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// `kill -9` this many times.
const KILLS: u64 = 20;
const STORES: &str = "[files.checkpoints]\nkind = \"objects\"\n[state]\nstore = \"checkpoints\"\nkeep = 5";

/// The n-th state of a strategy; every third one is large.
fn content(n: u64) -> String {
    format!("{n} ").repeat(if n.is_multiple_of(3) { 50_000 } else { 10 })
}

/// Which state a content is; it must be whole.
fn number(text: &str) -> u64 {
    let n = text.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(text, content(n), "a torn checkpoint");
    n
}

/// What a strategy does when it starts: one call.
fn start(host: &Host, token: &str) -> (u64, u64) {
    let auth = format!("Bearer {token}");
    let answer = try_request(&host.url("/v1/state/momentum"), "GET", &[("Authorization", &auth)], b"");
    let answer = answer.unwrap();
    if answer.status == 404 {
        return (0, 0);
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    (number(&answer.body), answer.header("x-shiphold-revision").unwrap().parse().unwrap())
}

/// Saves the n-th state over a revision; `None`: no answer came.
fn save(host: &Host, token: &str, n: u64, revision: u64) -> Option<u16> {
    let expect = if revision == 0 { "absent".into() } else { revision.to_string() };
    let url = host.url(&format!("/v1/state/momentum?expect={expect}"));
    let (auth, key) = (format!("Bearer {token}"), format!("state-{n}"));
    let headers = [("Authorization", auth.as_str()), ("Idempotency-Key", key.as_str())];
    try_request(&url, "PUT", &headers, content(n).as_bytes()).ok().map(|answer| answer.status)
}

#[test]
fn a_strategy_goes_on_from_what_was_acknowledged_whenever_the_host_is_killed() {
    let mut host = Host::new().with(STORES);
    host.serve();
    let token = host.token("momentum", "write");
    // The last state that was acknowledged, and the last that was sent with the revision over which it was.
    let (acknowledged, sent) = (AtomicU64::new(0), Mutex::new((0, 0)));
    for round in 0..KILLS {
        let said = acknowledged.load(Ordering::SeqCst);
        let (last, over_revision) = *sent.lock().unwrap();
        // Some strategies send again what nobody answered: it is saved once, whether or not it was.
        if round % 2 == 1 && last > 0 {
            assert_eq!(save(&host, &token, last, over_revision), Some(201), "round {round}: {}", host.log());
            assert_eq!(start(&host, &token), (last, over_revision + 1), "round {round}");
        }
        let (mut n, mut revision) = start(&host, &token);
        assert!(n == said || n == said + 1, "round {round}: {said} was acknowledged, {n} came back");
        assert_eq!(n, revision, "round {round}: each state is one revision");
        std::thread::scope(|scope| {
            let (shared, token): (&Host, &str) = (&host, &token);
            let (acknowledged, sent) = (&acknowledged, &sent);
            scope.spawn(move || {
                loop {
                    *sent.lock().unwrap() = (n + 1, revision);
                    match save(shared, token, n + 1, revision) {
                        Some(201) => (n, revision) = (n + 1, revision + 1),
                        Some(status) => panic!("round {round}: {status}"),
                        None => return,
                    }
                    acknowledged.store(n, Ordering::SeqCst);
                }
            });
            std::thread::sleep(Duration::from_millis(40 + round * 7 % 60));
            let killed = std::process::Command::new("kill").args(["-9", &shared.pid().to_string()]).status();
            assert!(killed.unwrap().success());
        });
        host.kill_nine();
        // Without a host, too.
        let said = acknowledged.load(Ordering::SeqCst);
        let there = host.run(&["state", "load", "momentum"]);
        let there = if there.code == 0 { number(&there.out) } else { 0 };
        assert!(
            there == said || there == said + 1,
            "round {round}: {said} was acknowledged, {there} is there"
        );
        host.serve();
    }
    let (n, _) = start(&host, &token);
    assert!(n > KILLS, "the strategy made progress between the kills: {n}");
    let history = host.run(&["--json", "state", "history", "momentum"]).json();
    let revisions: Vec<u64> =
        history.as_array().unwrap().iter().map(|c| c["revision"].as_u64().unwrap()).collect();
    assert!(revisions.len() == 5 && revisions.windows(2).all(|w| w[0] == w[1] + 1), "{revisions:?}");
    host.run(&["verify"]).ok();
    host.run(&["audit", "verify"]).ok();
    // What the history let go of, the store let go of.
    let begin = std::time::Instant::now();
    let objects = || host.run(&["--json", "files", "list"]).json()[0]["objects"].as_u64().unwrap();
    while objects() > 2 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{} objects are left", objects());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(host.run(&["files", "gc", "checkpoints"]).ok().contains("objects removed"));
    assert_eq!(start(&host, &token).0, n);
}

#[test]
fn the_command_line_saves_loads_and_follows() {
    let mut host = Host::new().with(STORES);
    std::fs::write(host.path().join("a"), content(1)).unwrap();
    std::fs::write(host.path().join("b"), content(3)).unwrap();
    let save = |args: &[&str]| host.run(&[&["state", "save", "momentum"], args].concat());
    host.run(&["state", "load", "momentum"]).fails(1, &["has no checkpoint", "first start"]);
    let first = ["a", "--expect", "absent", "--idempotency-key", "one", "--metadata", r#"{"bar":17}"#];
    assert!(save(&first).ok().contains("momentum revision 1 is saved (20 bytes)"));
    assert!(save(&first).ok().contains("revision 1 was saved before"));
    save(&["b", "--expect", "absent"]).fails(1, &["has a checkpoint, at revision 1"]);
    assert!(save(&["b", "--expect", "1"]).ok().contains("revision 2"));
    assert_eq!(host.run(&["state", "load", "momentum"]).ok(), content(3));
    host.run(&["state", "load", "momentum", "--revision", "1", "--output", "c"]).ok();
    assert_eq!(std::fs::read_to_string(host.path().join("c")).unwrap(), content(1));
    let at = host.run(&["--json", "state", "history", "momentum"]).json()[1]["saved_at"].to_string();
    assert_eq!(host.run(&["state", "load", "momentum", "--at", &at]).ok(), content(1));
    assert!(host.run(&["state", "list"]).ok().contains("momentum"));

    host.serve();
    let mut follower =
        host.command(&["--json", "state", "follow", "--after", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let second = next();
    assert_eq!(
        (&second["change"]["revision"], &second["change"]["store"]),
        (&2.into(), &"checkpoints".into())
    );
    host.run(&["state", "delete", "momentum", "--expect", "2"]).ok();
    assert_eq!(next()["change"]["blake3"], Value::Null);
    host.run(&["state", "delete", "momentum", "--purge"]).fails(2, &["--yes"]);
    host.run(&["state", "delete", "momentum", "--purge", "--yes"]).ok();
    assert_eq!(host.run(&["--json", "state", "history", "momentum"]).json().as_array().unwrap().len(), 1);
    assert_eq!(next()["change"]["revision"], 4);
    host.signal("TERM");
    assert_eq!(follower.wait().unwrap().code(), Some(1));
}
