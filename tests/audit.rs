//! An operator who must prove what happened: signed checkpoints, exports, archives.

use crate::support::{Host, request};
use std::process::Command;

#[test]
fn a_trail_is_signed_exported_and_archived_and_a_cut_one_shows() {
    let mut host = Host::new().with("[files.archives]\nkind = \"archives\"");
    let key = host.path().join("audit.key");
    let made = host.run(&["--json", "audit", "keygen", "audit.key"]).json();
    let public = made["verify_key"].as_str().unwrap().to_string();
    host.run(&["audit", "keygen", "audit.key"]).fails(1, &["audit.key"]);
    host.run(&["audit", "keygen", "data/audit.key"]).fails(2, &["inside the data folder"]);
    host.run(&["audit", "checkpoint"]).fails(1, &["no key to sign", "audit keygen"]);
    host.edit(|m| {
        format!("{m}[secrets.k]\nfile = {key:?}\n[audit]\nsigning_key = \"k\"\nverify_key = \"{public}\"\n")
    });
    host.run(&["check"]).ok();
    host.serve();
    for i in 0..5 {
        host.run(&["settings", "set", "user", "theme", &i.to_string()]).ok();
    }
    let token = host.token("w", "admin");

    // A change is found by the id of its request.
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("X-Request-Id", "desk-7:a"),
        ("Content-Type", "application/json"),
    ];
    let set = request(&host.url("/v1/settings/user/theme"), "PUT", &headers, b"{\"value\":9}");
    assert_eq!((set.status, set.header("x-request-id")), (200, Some("desk-7:a")));
    let found = host.run(&["--json", "audit", "list", "--request", "desk-7:a"]).json();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!((&found[0]["action"], &found[0]["actor"]), (&"settings.set".into(), &"token:w".into()));
    let bad = [("Authorization", bearer.as_str()), ("X-Request-Id", "a b")];
    let other = request(&host.url("/v1/settings/user/theme"), "GET", &bad, b"");
    assert!(other.header("x-request-id").is_some_and(|id| id.len() == 16), "a bad id is replaced");

    // What is signed is checked by this program, and by another.
    host.run(&["audit", "checkpoint", "--to", "kept.json"]).ok();
    assert!(host.run(&["audit", "verify", "--checkpoint", "kept.json"]).ok().contains("agrees with"));
    std::fs::write(host.path().join("audit.pub"), made["verify_pem"].as_str().unwrap()).unwrap();
    let openssl = |file: &str| {
        Command::new("openssl")
            .args([
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                "audit.pub",
                "-rawin",
                "-in",
                file,
                "-sigfile",
                "kept.json.sig",
            ])
            .current_dir(host.path())
            .output()
    };
    match openssl("kept.json") {
        Ok(checked) => {
            assert!(checked.status.success(), "{checked:?}");
            assert!(!openssl("audit.pub").unwrap().status.success(), "another text has another signature");
        }
        // Not every machine has it; the form is that of RFC 8410 and RFC 8032 all the same.
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::NotFound),
    }

    // An export needs neither host nor database.
    host.run(&["audit", "export", "--to", "trail.jsonl"]).ok();
    let walk = ["audit", "verify", "--file", "trail.jsonl", "--checkpoint", "kept.json"];
    assert!(host.run(&walk).ok().contains("the chain holds"));
    let text = std::fs::read_to_string(host.path().join("trail.jsonl")).unwrap();
    std::fs::write(host.path().join("trail.jsonl"), text.replace("token:w", "token:x")).unwrap();
    let broken = host.run(&walk);
    assert!(broken.code == 1 && broken.out.contains("BROKEN at entry"), "{broken:?}");
    let csv = host.run(&["audit", "export", "--format", "csv"]);
    assert_eq!(
        csv.ok().lines().next(),
        Some("seq,time,actor,action,object,before,after,detail,request,hash")
    );
    assert!(csv.out.contains("desk-7:a"));

    host.run(&["audit", "seal"]).ok();
    assert!(host.run(&["audit", "archive", "--store", "archives"]).ok().contains("1 segments moved"));
    assert!(host.run(&["audit", "segments"]).ok().contains("audit/segment-00000001.jsonl.gz"));
    let verified = host.run(&["audit", "verify", "--archives", "--checkpoint", "kept.json"]);
    assert!(verified.ok().contains("the chain holds"), "{verified:?}");
    host.run(&["verify"]).ok();
    host.run(&["backup", "export", "copy"]).ok();
    host.run(&["backup", "check", "copy"]).ok();

    // Someone with the file cuts the tail off: the chain alone holds, the checkpoint does not agree.
    host.run(&["audit", "checkpoint", "--to", "later.json"]).ok();
    host.signal("TERM");
    let db = rusqlite::Connection::open(host.data().join("shiphold.db")).unwrap();
    let last: i64 = db.query_row("SELECT max(seq) FROM audit", [], |r| r.get(0)).unwrap();
    db.execute_batch(&format!(
        "DROP TRIGGER audit_is_append_only_2_2; DROP TRIGGER audit_checkpoints_stay; DELETE FROM audit_checkpoints; DELETE FROM audit WHERE seq = {last};"
    ))
    .unwrap();
    drop(db);
    assert!(host.run(&["audit", "verify"]).ok().contains("the chain holds"));
    let cut = host.run(&["audit", "verify", "--checkpoint", "later.json"]);
    assert!(cut.code == 1 && cut.out.contains(&format!("entries {last} to {last} are missing")), "{cut:?}");
}
