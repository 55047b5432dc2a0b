//! Bad input gets a clear error that names the place and the next step.

use crate::support::{Host, bars};
use serde_json::json;

#[test]
fn a_csv_with_a_wrong_column_names_the_line_the_column_and_the_next_step() {
    let host = Host::new();
    let file = host.path().join("bad.csv");
    std::fs::write(
        &file,
        "Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,0.5,1.5,100\n2024-01-03,1,two,0.5,1.5,100\n",
    )
    .unwrap();
    let import =
        host.run(&["series", "import", file.to_str().unwrap(), "--symbol", "X", "--timeframe", "1d"]);
    import.fails(1, &["line 3", "High", "two", "hint:"]);
    std::fs::write(&file, "Date,Open,High,Low,Shut,Volume\n2024-01-02,1,2,0.5,1.5,100\n").unwrap();
    let import =
        host.run(&["series", "import", file.to_str().unwrap(), "--symbol", "X", "--timeframe", "1d"]);
    import.fails(1, &["close", "hint:"]);
    std::fs::remove_file(&file).unwrap();
    let import =
        host.run(&["series", "import", file.to_str().unwrap(), "--symbol", "X", "--timeframe", "1d"]);
    import.fails(1, &["bad.csv"]);
}

#[test]
fn an_unparsable_line_refuses_the_batch_and_a_conflict_writes_the_rest() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let refused = host.write_lines(&token, "market", "m v=1 1\nm v= 2\nm v=3 3\n");
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["code"], "invalid");
    assert!(refused.json()["message"].as_str().unwrap().contains("m v= 2"), "{refused:?}");
    assert_eq!(host.rows("m"), 0);

    assert_eq!(host.write_lines(&token, "market", "m v=1 1\n").status, 204);
    let partial = host.write_lines(&token, "market", "m v=2 2\nm v=\"text\" 3\nm v=4 4\n");
    assert_eq!(partial.status, 422, "{partial:?}");
    assert!(partial.json()["message"].as_str().unwrap().contains("field type conflict"), "{partial:?}");
    assert_eq!(host.rows("m"), 3);
}

#[test]
fn a_body_over_the_limit_is_refused_by_name() {
    let mut host = Host::new().with("");
    host = host.with("[limits]\nwrite_rows = 100");
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("A", 0, 100)).status, 204);
    let refused = host.write_lines(&token, "market", &bars("A", 0, 101));
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(refused.body.contains("write_rows"), "{refused:?}");
}

#[test]
fn a_file_name_with_dots_is_refused() {
    let host = Host::new().with("[files.models]\nkind = \"models\"");
    let source = host.path().join("m.bin");
    std::fs::write(&source, b"weights").unwrap();
    let source = source.to_str().unwrap();
    for name in ["../m.bin", "a/../../m.bin", "/etc/m.bin", "a//b", "CON", "a\\b", "a/./b"] {
        let put = host.run(&["files", "put", "models", name, source]);
        assert_ne!(put.code, 0, "{name}: {put:?}");
        assert!(put.err.contains("error:"), "{name}: {put:?}");
    }
    host.run(&["files", "put", "models", "momentum/2026/m.bin", source]).ok();
}

#[test]
fn a_database_from_a_newer_version_is_refused() {
    let host = Host::new();
    host.run(&["settings", "list", "system"]).ok();
    let db = rusqlite::Connection::open(host.data().join("shiphold.db")).unwrap();
    db.execute(
        "INSERT INTO schema_migrations(number, name, checksum, applied_at) VALUES (9999, 'future', 'x', 0)",
        [],
    )
    .unwrap();
    drop(db);
    host.run(&["settings", "list", "system"]).fails(1, &["newer", "9999", "hint:"]);
}

#[test]
fn a_full_disk_makes_the_host_read_only_and_says_so() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("A", 0, 10)).status, 204);
    host.signal("TERM");
    // A watermark above what any disk has: the host must behave as on a full one.
    let full = std::fs::read_to_string(host.manifest())
        .unwrap()
        .replace("warn_below = \"2 MiB\"", "warn_below = \"900 TiB\"")
        .replace("read_only_below = \"1 MiB\"", "read_only_below = \"900 TiB\"");
    let mut host = host.replace_manifest(full);
    host.serve();
    let refused = host.write_lines(&token, "market", &bars("A", 600, 10));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("read-only"), "{refused:?}");
    host.run(&["settings", "set", "system", "k", "1"]).fails(1, &["read-only", "hint:"]);
    assert_eq!(host.rows("bar.1m.A"), 10);
    let health = host.http("GET", "/health", None, b"");
    assert!(health.body.contains("read"), "{health:?}");
    // Deleting is how room is made.
    host.run(&[
        "series",
        "delete",
        "--measurement",
        "bar.1m.A",
        "--start",
        "1970-01-01T00:00:00Z",
        "--end",
        "2000-01-01T00:00:00Z",
        "--yes",
    ])
    .ok();
    assert_eq!(host.rows("bar.1m.A"), 0);
}

#[test]
fn a_manifest_with_many_faults_is_answered_once() {
    let host = Host::new().with("[series]\nengin = \"embedded\"\n[limits]\nquery_time = 5\n[files.a]\nkind = \"logs\"\nroot = \"data\"\n[plugins.p]\ncomponent = \"gone.wasm\"\nworld = \"retention-policy\"\n[plugins.p.grants]\nhttp = [\"GET x\"]");
    let check = host.run(&["check"]);
    check.fails(2, &["engin", "query_time", "no unit", "overlaps", "gone.wasm", "not an import"]);
    assert!(check.err.contains(":10: series.engin"), "line numbers: {}", check.err);
    let check = host.run(&["--json", "check"]);
    assert_eq!(check.code, 2);
    let said: serde_json::Value =
        serde_json::from_str(if check.out.is_empty() { &check.err } else { &check.out }).unwrap();
    assert!(said["problems"].as_array().is_some_and(|p| p.len() >= 5), "{said}");
    assert_eq!(Host::new().run(&["check"]).code, 0);
    let gone = Host::new();
    let mut command = crate::support::binary();
    let said: crate::support::Said =
        command.args(["--manifest", "gone.toml", "check"]).current_dir(gone.path()).output().unwrap().into();
    said.fails(2, &["gone.toml", "hint:"]);
    let _ = json!(null);
}

#[test]
fn a_flipped_bit_in_the_name_of_a_series_is_named_and_nothing_takes_its_place() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let lines = "m,host=alpha v=1 1\nm,host=beta v=2 1\n";
    assert_eq!(host.write_lines(&token, "market", lines).status, 204);
    host.run(&["series", "seal"]).ok();
    host.signal("TERM");
    let file = host.data().join("series.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(5).position(|w| w == b"alpha").unwrap();
    bytes[at + 4] ^= 2;
    std::fs::write(&file, bytes).unwrap();
    host.run(&["verify"]).fails(1, &["market/m", "alphc", "does not match its checksum"]);
    host.serve();
    let list = host.run(&["series", "list"]);
    assert!(list.ok().contains("beta") && !list.ok().contains("alph"), "{}", list.ok());
    let refused = host.write_lines(&token, "market", "m,host=alpha v=3 2\n");
    assert_eq!(refused.status, 500, "{refused:?}");
    assert!(refused.body.contains("damaged in the catalogue"), "{refused:?}");
    assert_eq!(host.write_lines(&token, "market", "m,host=beta v=3 2\nm,host=gamma v=3 2\n").status, 204);
    assert_eq!(host.rows("m"), 3);
}
