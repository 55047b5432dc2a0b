//! A component replaced while it is asked from all sides: nobody notices, but for the answers of what came.

use super::eventually;
use crate::support::{Host, bars, guests};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Monday, 29 June 2026, 09:30 in New York.
const OPEN_S: i64 = 1_782_739_800;

/// Ends the askers however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A host whose query builder is a file of its own, and bars to ask it about.
fn asked() -> (Host, String) {
    let host = Host::new();
    let component = host.path().join("queries.wasm");
    std::fs::copy(guests().join("market-queries.wasm"), &component).unwrap();
    let mut host = host.with(&format!(
        "[plugins.queries]\ncomponent = \"{}\"\nworld = \"query-builder\"\n\
         [plugins.queries.grants.series]\nread = [\"market/*\"]\n[plugins.queries.config]\nbucket = \"market\"\n",
        component.display()
    ));
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("AAPL", OPEN_S, 400)).status, 204);
    let reader = host.token("reader", "read");
    (host, reader)
}

/// The same component with another digest: a custom section that nobody reads.
fn touch(component: &Path, mark: u8) {
    let mut bytes = std::fs::read(guests().join("market-queries.wasm")).unwrap();
    bytes.extend([0, 3, 1, b'm', mark]);
    place(component, &bytes);
}

/// As a build puts it there: whole or not at all.
fn place(component: &Path, bytes: &[u8]) {
    let partial = component.with_extension("partial");
    std::fs::write(&partial, bytes).unwrap();
    std::fs::rename(partial, component).unwrap();
}

fn hang_up(host: &Host) {
    assert!(Command::new("kill").arg("-HUP").arg(host.pid().to_string()).status().unwrap().success());
}

fn sha256(host: &Host) -> String {
    let status = host.run(&["--json", "plugins", "status", "queries"]).json();
    status["sha256"].as_str().unwrap_or_default().to_string()
}

#[test]
fn queries_from_all_sides_go_on_while_their_component_is_replaced() {
    let (host, token) = asked();
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let component = host.path().join("queries.wasm");
    std::thread::scope(|threads| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                threads.spawn(|| {
                    let mut wrong = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let path = "/v1/queries/rolling-volatility?symbol=AAPL&timeframe=1m&window=20";
                        let answer = host.http("GET", path, Some(&token), b"");
                        if answer.status != 200 || answer.json()["rows"] != 400 {
                            wrong.push(answer);
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    wrong
                })
            })
            .collect();
        let stops = Stop(&stop);
        // By command, by signal, and by the watch; each a version of its own.
        let mut seen = vec![sha256(&host)];
        let manifest = std::fs::read(host.manifest()).unwrap();
        for (mark, how) in [(b'1', "command"), (b'2', "signal"), (b'3', "watch")] {
            touch(&component, mark);
            match how {
                "command" => drop(host.run(&["plugins", "reload"]).ok()),
                "signal" => hang_up(&host),
                // While something else changes all the time.
                _ => {}
            }
            eventually(&format!("the component that came by {how} serves after {seen:?}"), &host, || {
                place(&host.manifest(), &manifest);
                !seen.contains(&sha256(&host))
            });
            seen.push(sha256(&host));
        }
        // What cannot be loaded replaces nothing.
        place(&component, b"not a component");
        host.run(&["plugins", "reload"]);
        assert_eq!(Some(&sha256(&host)), seen.last());
        host.run(&["plugins", "rollback", "queries"]).ok();
        assert_eq!(sha256(&host), seen[2]);
        let before = answered.load(Ordering::Relaxed);
        eventually("it is asked after all of that", &host, || answered.load(Ordering::Relaxed) > before + 20);
        drop(stops);
        for asker in askers {
            let wrong = asker.join().unwrap();
            assert!(wrong.is_empty(), "{} of {answered:?}: {:?}", wrong.len(), wrong[0]);
        }
    });
    assert!(answered.load(Ordering::Relaxed) > 40);
    assert_eq!(host.http("GET", "/health", None, b"").status, 200);
}
