//! A trader that keeps what it learned in one unit of work, and a host that is killed while it does.

use crate::support::{Host, try_request};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// `kill -9` this many times.
const KILLS: u64 = 20;
pub const STORES: &str = "[files.models]\nkind = \"models\"\n[state]\nstore = \"models\"";

pub fn commit(n: u64) -> Value {
    json!({
        "idempotency_key": format!("run-{n}"),
        "skills": [{ "skill": { "name": "learned", "version": format!("0.0.{n}"), "language": "python", "code": format!("# {n}") } }],
        "performance": [{ "skill": "learned", "performance": { "period_start": 0, "period_end": 1, "returns": 0.1, "sharpe": 1.0,
                          "win_rate": 0.5, "max_drawdown": 0.1, "samples": n } }],
        "files": [{ "store": "models", "path": "learned/model", "text": format!("weights {n}") }],
        "settings": [{ "namespace": "live", "key": "learned", "value": n }],
        "series": [{ "lines": format!("signal.learned n={n}i {n}") }],
        // Every other one is large: an object beside the model.
        "state": [{ "strategy": "learned", "text": format!("{n} ").repeat(if n.is_multiple_of(2) { 40_000 } else { 1 }),
                    "expect": if n == 1 { json!("absent") } else { json!({ "revision": n - 1 }) } }],
    })
}

/// What each store says of the newest commit; 0 where there is none.
pub fn seen(host: &Host) -> [u64; 6] {
    // What is not there yet is said on standard error.
    let said = |args: &[&str]| {
        let said = host.run(&[&["--json"], args].concat());
        match said.code {
            0 => said.json(),
            _ => {
                assert!(said.err.contains("not-found"), "{said:?}");
                Value::Null
            }
        }
    };
    let number = |v: &Value, pointer: &str| v.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let skill = said(&["skills", "get", "learned"]);
    let patch = skill["version"].as_str().map_or(0, |v| v.rsplit('.').next().unwrap().parse().unwrap());
    [
        number(&said(&["series", "latest", "--measurement", "signal.learned"]), "/0/fields/0/value"),
        number(&said(&["settings", "get", "live", "learned"]), "/value"),
        patch,
        number(&said(&["files", "list", "models", "--prefix", "learned/"]), "/0/version"),
        number(&said(&["skills", "performance", "learned"]), "/0/samples"),
        checkpoint(host),
    ]
}

/// The number that the newest checkpoint is full of.
fn checkpoint(host: &Host) -> u64 {
    let said = host.run(&["state", "load", "learned"]);
    if said.code != 0 {
        assert!(said.err.contains("no checkpoint"), "{said:?}");
        return 0;
    }
    let numbers: Vec<u64> = said.out.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(numbers.iter().all(|n| *n == numbers[0]), "a torn checkpoint");
    assert_eq!(numbers.len(), if numbers[0].is_multiple_of(2) { 40_000 } else { 1 });
    numbers[0]
}

#[test]
fn a_commit_is_whole_whenever_the_host_is_killed() {
    let mut host = Host::new().with(STORES);
    host.serve();
    let token = host.token("w", "write");
    let url = host.url("/v1/commits");
    let (acknowledged, over) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
            let mut n = 1;
            while over.load(Ordering::SeqCst) == 0 {
                // Sent again with the same key until it is answered: it is made once.
                match try_request(&url, "POST", &headers, commit(n).to_string().as_bytes()) {
                    Ok(answer) if answer.status == 201 => {
                        acknowledged.store(n, Ordering::SeqCst);
                        n += 1;
                    }
                    Ok(answer) => assert!(answer.status == 503, "{answer:?}"),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        for round in 0..KILLS {
            std::thread::sleep(Duration::from_millis(40 + round * 7 % 60));
            let before = acknowledged.load(Ordering::SeqCst);
            host.kill_nine();
            // Without a host: what is on the disk, applied by whoever opens it.
            let there = seen(&host);
            assert!(there.iter().all(|n| *n == there[0]), "round {round}: {there:?}");
            assert!(there[0] >= before, "round {round}: {before} was acknowledged, {there:?}");
            host.serve();
        }
        over.store(1, Ordering::SeqCst);
    });
    assert!(acknowledged.load(Ordering::SeqCst) > KILLS / 2, "commits went on between the kills");
    host.run(&["verify"]).ok();
    host.run(&["audit", "verify"]).ok();
}

#[test]
fn a_commit_from_a_file_is_made_once() {
    let host = Host::new().with(STORES);
    let mut first = commit(1);
    first.as_object_mut().unwrap().remove("idempotency_key");
    std::fs::write(host.path().join("c.json"), first.to_string()).unwrap();
    let make = ["commits", "make", "c.json", "--idempotency-key", "one"];
    assert!(
        host.run(&make)
            .ok()
            .contains("commit 1 is made: 1 skills, 1 files, 1 settings, 1 checkpoints, 1 rows")
    );
    assert!(host.run(&make).ok().contains("commit 1 was made before"));
    assert_eq!(seen(&host), [1; 6]);
    std::fs::write(host.path().join("c.json"), commit(2).to_string()).unwrap();
    host.run(&make).fails(1, &["idempotency key `one` was used for another commit"]);
    std::fs::write(host.path().join("c.json"), r#"{"skillz":[]}"#).unwrap();
    host.run(&["commits", "make", "c.json"]).fails(1, &["skillz"]);
    assert_eq!(seen(&host), [1; 6]);
}
