//! What a trader learned, where it came from, what was believed of it, and how it moves to another host.

use crate::support::Host;
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Duration;

fn write(host: &Host, name: &str, content: &str) -> String {
    let path = host.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn a_skill_is_drafted_proven_and_retired() {
    let host = Host::new();
    let (code, prompt) =
        (write(&host, "a.py", "buy()\nhold()\nsell()\n"), write(&host, "p.txt", "Buy the dip."));
    host.run(&[
        "skills", "put", "dip", "--code", &code, "--status", "draft", "--author", "gpt-4", "--run",
        "trial-7", "--prompt", &prompt,
    ])
    .ok();
    let first = host.run(&["--json", "skills", "get", "dip"]).json();
    assert_eq!((&first["status"], &first["provenance"]["prompt"]), (&json!("draft"), &json!("Buy the dip.")));
    let drafted = first["created_at"].to_string();
    write(&host, "a.py", "buy()\nwait()\nsell()\n");
    host.run(&["skills", "put", "dip", "--code", &code, "--tag", "trend"]).ok();
    let diff = host.run(&["skills", "diff", "dip"]);
    for part in ["--- dip@0.1.0", "+++ dip@0.1.1", "-hold()", "+wait()", "status", "draft", "author"] {
        assert!(diff.ok().contains(part), "no {part} in {diff:?}");
    }
    assert!(
        host.run(&["skills", "diff", "dip", "--from", "0.1.1", "--to", "0.1.1"])
            .ok()
            .contains("nothing changed")
    );
    assert!(host.run(&["skills", "lineage", "dip"]).ok().contains("trial-7"));
    let record = r#"{"period_start":0,"period_end":86400000000000,"returns":0.02,"sharpe":1.5,"win_rate":0.6,"max_drawdown":0.1,"samples":50}"#;
    host.run(&["skills", "performance", "dip", "--version", "0.1.0", "--record", record]).ok();
    let set = host.run(&["skills", "status", "dip", "retired", "--version", "0.1.0", "--reason", "decayed"]);
    assert_eq!(set.ok().trim(), "dip@0.1.0 is retired");
    assert!(host.run(&["skills", "status", "dip"]).ok().contains("decayed"));
    assert!(host.run(&["skills", "believed", "dip"]).ok().contains("dip@0.1.1 is current"));
    let then = host.run(&["--json", "skills", "believed", "dip", "--at", &drafted]).json();
    assert_eq!((&then["current"], &then["versions"][0]["status"]), (&json!("0.1.0"), &json!("draft")));
    assert_eq!(then["versions"][0]["performance"], Value::Null);
    assert_eq!(
        host.run(&["skills", "get", "dip", "--at", &drafted, "--code"]).ok(),
        "buy()\nhold()\nsell()\n"
    );
    host.run(&["skills", "put", "top", "--code", &code, "--depends", "dip@<0.2"]).ok();
    let why = host.run(&["skills", "resolve", "top"]);
    assert!(why.ok().contains("of the 2 versions within <0.2 of top@0.1.0"), "{why:?}");
    host.run(&["skills", "put", "top", "--code", &code, "--depends", "dip@^9"])
        .fails(1, &["`dip` ^9", "the newest is 0.1.1"]);
    host.run(&["skills", "status", "dip", "sold"]).fails(2, &["sold"]);
    host.run(&["skills", "status", "dip", "retired"]).ok();
    let without = host.run(&["skills", "search", "dip"]);
    assert!(without.ok().contains("1 retired skill is left out"), "{without:?}");
    let found = host.run(&["--json", "skills", "search", "dip", "--status", "retired", "--facets"]).json();
    assert_eq!(
        (&found["hits"][0]["name"], &found["hits"][0]["status"], &found["retired_left_out"]),
        (&json!("dip"), &json!("retired"), &json!(0))
    );
    assert_eq!(found["facets"]["statuses"]["values"], json!([{ "value": "retired", "count": 1 }]));
    host.run(&["skills", "search", "dip", "--status", "sold"]).fails(2, &["sold"]);
    assert!(host.run(&["audit", "list", "--action", "skills.status"]).ok().contains("skill:dip@0.1.0"));
    host.run(&["verify"]).ok();
}

#[test]
fn a_library_moves_to_another_host() {
    let (mut from, to) = (Host::new(), Host::new());
    let code = write(&from, "a.py", "x\n");
    from.serve();
    for name in ["base", "top"] {
        from.run(&["skills", "put", name, "--code", &code, "--author", "小林"]).ok();
    }
    from.run(&["skills", "put", "top", "--code", &code, "--depends", "base"]).ok();
    let file = from.path().join("library.jsonl.zst");
    let file = file.to_str().unwrap();
    assert!(from.run(&["skills", "export", "--to", file]).ok().contains("bytes written"));
    assert!(std::fs::read(file).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let dry = to.run(&["skills", "import", file, "--dry-run"]);
    assert!(dry.ok().contains("2 skills, 3 versions, 0 records of performance would be added"), "{dry:?}");
    assert!(to.run(&["--json", "skills", "list"]).json().as_array().unwrap().is_empty());
    assert!(to.run(&["skills", "import", file]).ok().contains("2 skills, 3 versions"));
    assert!(to.run(&["skills", "import", file]).ok().contains("0 skills, 0 versions"));
    let (a, b) = (
        from.run(&["--json", "skills", "versions", "top"]).json(),
        to.run(&["--json", "skills", "versions", "top"]).json(),
    );
    assert_eq!(a, b);
    assert_eq!(to.run(&["--json", "skills", "resolve", "top"]).json().as_array().unwrap().len(), 2);
    // Cut off, it is not taken.
    let whole = std::fs::read(file).unwrap();
    std::fs::write(file, &whole[..whole.len() - 9]).unwrap();
    to.run(&["skills", "import", file]).fails(1, &["cannot be unpacked", "hint:"]);
    // A small file that becomes a large one.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(b"{\"library\":{\"format\":1}}\n").unwrap();
    (0..64).for_each(|_| bomb.write_all(&vec![b' '; 1 << 20]).unwrap());
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 80 << 10);
    std::fs::write(file, bomb).unwrap();
    to.run(&["skills", "import", file])
        .fails(1, &["line 2 of the library exceeds the limit of 16777216 bytes"]);
    to.run(&["skills", "import", file, "--author", "x"]).fails(2, &["--format voyager"]);
    to.run(&["skills", "import", "gone.jsonl"]).fails(1, &["gone.jsonl"]);
    to.run(&["verify"]).ok();
}

#[test]
fn a_library_of_voyager_is_taken_in() {
    let host = Host::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/skills/voyager.json");
    let import =
        ["skills", "import", fixture, "--format", "voyager", "--author", "gpt-4", "--status", "draft"];
    assert!(host.run(&import).ok().contains("4 skills, 4 versions"));
    assert!(host.run(&import).ok().contains("4 versions were here"));
    let names: Vec<String> = host
        .run(&["--json", "skills", "resolve", "trade-one-day"])
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(names, ["moving-average", "size-position", "buy-the-dip", "trade-one-day"]);
    assert!(host.run(&["skills", "search", "moving average"]).ok().contains("buy-the-dip"));
    let wrong = write(&host, "wrong.json", r#"{"a":{"code":"x"},"b":{}}"#);
    host.run(&["skills", "import", &wrong, "--format", "voyager"]).fails(1, &["missing field `code`"]);
    host.run(&["skills", "import", &wrong, "--format", "voyager", "--adopt"]).fails(2, &["--adopt"]);
    assert_eq!(host.run(&["--json", "skills", "list"]).json().as_array().unwrap().len(), 4);
}

#[test]
fn a_commit_carries_where_its_skill_comes_from() {
    let host = Host::new();
    let commit = json!({ "skills": [{ "skill": { "name": "learned", "language": "python", "code": "x", "status": "draft",
        "provenance": { "author": "gpt-4", "run": "run-17", "prompt": "Learn." } } }] });
    let file = write(&host, "c.json", &commit.to_string());
    host.run(&["commits", "make", &file, "--idempotency-key", "k"]).ok();
    assert!(host.run(&["commits", "make", &file, "--idempotency-key", "k"]).ok().contains("was made before"));
    let made = host.run(&["--json", "skills", "get", "learned"]).json();
    assert_eq!((&made["provenance"]["run"], &made["status"]), (&json!("run-17"), &json!("draft")));
}

#[test]
fn an_import_is_whole_or_absent_when_the_host_is_killed() {
    let from = Host::new();
    let skills = 400;
    let all: serde_json::Map<String, Value> = (0..skills)
        .map(|i| (format!("skill{i}"), json!({ "code": "x".repeat(2_000), "description": "words of it" })))
        .collect();
    let voyager = write(&from, "v.json", &Value::Object(all).to_string());
    from.run(&["skills", "import", &voyager, "--format", "voyager"]).ok();
    let file = from.path().join("library.jsonl");
    from.run(&["skills", "export", "--to", file.to_str().unwrap()]).ok();
    let import = |to: &Host| to.command(&["skills", "import", file.to_str().unwrap()]);
    let count =
        |to: &Host| to.run(&["--json", "skills", "list", "--limit", "1000"]).json().as_array().unwrap().len();
    for round in 0..6 {
        let mut to = Host::new();
        to.serve();
        let begun = import(&to).spawn();
        std::thread::sleep(Duration::from_millis(30 + 60 * round));
        to.kill_nine();
        begun.unwrap().wait().unwrap();
        let there = count(&to);
        assert!(there == 0 || there == skills, "round {round}: {there}");
        to.run(&["audit", "verify"]).ok();
        assert!(import(&to).status().unwrap().success());
        assert_eq!(count(&to), skills);
        to.run(&["verify"]).ok();
    }
}
