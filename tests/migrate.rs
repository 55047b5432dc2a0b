//! A data folder of an older version: what a newer one would do to it is shown, tried on a copy, and done.

use crate::support::Host;
use flate2::read::GzDecoder;
use rusqlite::Connection;
use std::io::Read as _;
use std::path::Path;

/// What the database is at.
const AT: u64 = 4;

/// A host that is not started, over the database of an older version.
fn older() -> Host {
    let host = Host::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/structured");
    let packed = std::fs::File::open(fixtures.join(format!("{AT:04}/shiphold.db.gz"))).unwrap();
    let mut database = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut database).unwrap();
    std::fs::create_dir_all(host.data()).unwrap();
    std::fs::write(host.data().join("shiphold.db"), database).unwrap();
    host
}

/// Migrations of the structured database that are pending.
fn pending(host: &Host) -> usize {
    let all = host.run(&["--json", "migrate", "status"]).json();
    let structured = all.as_array().unwrap().iter().find(|d| d["file"] == "shiphold.db").unwrap().clone();
    structured["migrations"].as_array().unwrap().iter().filter(|m| m["applied_at"].is_null()).count()
}

#[test]
fn an_older_folder_is_looked_at_rehearsed_and_migrated() {
    let mut host = older();
    let before = pending(&host);
    assert!(before > 5, "{before}");
    assert!(host.run(&["migrate", "status"]).ok().contains("pending"));
    let said = host.run(&["migrate", "up", "--dry-run"]);
    assert!(said.ok().contains(&format!("{before} migrations work on a copy")), "{said:?}");
    assert_eq!(pending(&host), before, "nothing was changed");
    let made = host.run(&["--json", "migrate", "up", "--dry-run"]).json();
    assert_eq!((made["dry_run"].as_bool(), made["applied"].as_u64()), (Some(true), Some(before as u64)));
    host.run(&["migrate", "up"]).ok();
    assert_eq!(pending(&host), 0);
    assert!(host.data().join(format!("shiphold.db.before-{:04}", AT + 1)).exists());
    assert!(host.run(&["migrate", "up"]).ok().contains("nothing is pending"));
    host.serve();
    let token = host.token("t", "read");
    let skill = host.http("GET", "/v1/skills/pullback", Some(&token), b"").json();
    assert_eq!(skill["version"], "0.2.0");
    assert!(host.run(&["settings", "get", "user", "theme"]).ok().contains("dark"));
    host.run(&["audit", "verify"]).ok();
    host.run(&["verify"]).ok();
    // Who owns the folder migrates it: nobody else may meanwhile.
    for args in [&["migrate", "up"][..], &["migrate", "up", "--dry-run"]] {
        host.run(args).fails(1, &["in use"]);
    }
    assert_eq!(pending(&host), 0, "looking is always allowed");
}

#[test]
fn a_start_migrates_by_itself_and_a_newer_folder_is_refused() {
    let mut host = older();
    host.serve();
    assert_eq!(pending(&host), 0);
    assert!(host.data().join(format!("shiphold.db.before-{:04}", AT + 1)).exists());
    host.kill_nine();
    let c = Connection::open(host.data().join("shiphold.db")).unwrap();
    c.execute("INSERT INTO schema_migrations VALUES (9999, 'later', 'x', 0)", []).unwrap();
    drop(c);
    for args in [&["serve"][..], &["migrate", "up"], &["skills", "list"]] {
        host.run(args).fails(1, &["newer version", "9999"]);
    }
}
