//! Old rows as files: written by an operator's word, still answered, read by others, brought back through `kill -9`.

use crate::support::{Host, bars};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;

/// A minute of the morning of 2024-01-01, in seconds.
const FIRST: i64 = 1_704_067_200;
const MINUTES: i64 = 3 * 1_440;

fn host() -> Host {
    Host::new().with("[files.cold]\nkind = \"archives\"\n[safety]\nmax_drop_share = \"50 %\"")
}

/// What a query says that an export must say, too.
fn answers(host: &Host) -> Vec<Value> {
    let ask = |args: &[&str]| {
        let mut all = vec!["--json", "series"];
        all.extend(args);
        host.run(&all).json()
    };
    vec![
        ask(&["query", "--measurement", "bar.1m.AAPL", "--start", "2024-01-01", "--end", "2024-01-04"]),
        ask(&[
            "query",
            "--measurement",
            "bar.1m.AAPL",
            "--start",
            "2024-01-01",
            "--end",
            "2024-01-04",
            "--resample",
            "1h",
        ]),
        ask(&[
            "query",
            "--measurement",
            "bar.1m.AAPL",
            "--start",
            "2024-01-01T23:58:00Z",
            "--end",
            "2024-01-02T00:03:00Z",
        ]),
        ask(&["coverage", "--measurement", "bar.1m.*"]),
        ask(&["latest", "--measurement", "bar.1m.*"]),
    ]
}

fn archives(host: &Host, state: &str) -> usize {
    let listed = host.run(&["--json", "series", "archives", "--state", state]).json();
    listed.as_array().unwrap_or_else(|| panic!("no list in {listed}")).len()
}

#[test]
fn old_rows_go_into_files_are_answered_and_come_back() {
    let mut host = host();
    host.serve();
    let token = host.token("trader", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("AAPL", FIRST, MINUTES)).status, 204);
    assert_eq!(host.write_lines(&token, "market", &bars("MSFT", FIRST, MINUTES)).status, 204);
    let before = answers(&host);
    let cut =
        ["series", "archive", "--measurement", "bar.1m.AAPL", "--store", "cold", "--before", "2024-01-03"];
    let dry = host.run(&[&cut[..], &["--dry-run"]].concat());
    assert!(dry.ok().contains("drop-before") && dry.out.contains("2880"), "{dry:?}");
    assert_eq!(archives(&host, "only"), 0);
    let done = host.run(&cut);
    assert!(done.ok().contains("2880 rows are in the store cold, and 2880 have left"), "{done:?}");
    assert_eq!(archives(&host, "only"), 1);
    assert_eq!(answers(&host), before, "across the border");
    assert_eq!(host.rows("bar.1m.AAPL"), MINUTES.unsigned_abs());
    let asked =
        ["--json", "series", "query", "--measurement", "bar.1m.AAPL", "--start", "2024-01-01", "--explain"];
    assert_eq!(host.run(&asked).json()["archives_read"], 1);
    let recent =
        ["--json", "series", "query", "--measurement", "bar.1m.AAPL", "--start", "2024-01-03", "--explain"];
    assert_eq!(host.run(&recent).json()["archives_read"], 0);
    // More than half of all rows needs a word more.
    let all =
        ["series", "archive", "--measurement", "*", "--store", "cold", "--before", "2024-01-03T12:00:00Z"];
    host.run(&all).fails(1, &["max_drop_share", "--confirm"]);

    // The file is the only copy.
    let file = host.run(&["--json", "series", "archives"]).json()[0]["path"].as_str().unwrap().to_string();
    host.run(&["files", "delete", "cold", &file, "--purge", "--yes"])
        .fails(1, &["only copy of 2880 rows", "series restore"]);
    host.run(&["verify"]).ok();

    // As it is on the disk after a loss of the process, and in a backup.
    host.kill_nine();
    assert_eq!(answers(&host), before);
    host.serve();
    let to = host.path().join("backup");
    host.run(&["backup", "export", to.to_str().unwrap()]).ok();

    let back = ["series", "restore", "--measurement", "bar.1m.AAPL"];
    let dry = host.run(&[&back[..], &["--dry-run"]].concat());
    assert!(dry.ok().contains("1 files with 2880 rows would be brought back"), "{dry:?}");
    let done = host.run(&back);
    assert!(done.ok().contains("2880 rows were written"), "{done:?}");
    assert_eq!((archives(&host, "only"), archives(&host, "restored")), (0, 1));
    assert_eq!(answers(&host), before);
    let again = host.run(&back);
    assert!(again.ok().contains("0 files with 0 rows"), "{again:?}");
    host.run(&["files", "delete", "cold", &file, "--purge", "--yes"]).ok();
    host.run(&["verify"]).ok();
    let trail = host.run(&["--json", "audit", "list", "--action", "series.restore"]).json();
    assert!(trail.to_string().contains("series.restored"), "{trail}");
}

#[test]
fn what_was_deleted_does_not_come_back_and_a_lost_file_is_named() {
    let mut host = host();
    host.serve();
    let token = host.token("trader", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("AAPL", FIRST, 2 * 1_440)).status, 204);
    let cut = ["series", "archive", "--measurement", "*", "--store", "cold", "--before", "2024-01-02"];
    host.run(&cut).ok();
    let gone = [
        "series",
        "delete",
        "--measurement",
        "bar.1m.AAPL",
        "--start",
        "2024-01-01T10:00:00Z",
        "--end",
        "2024-01-01T11:00:00Z",
        "--yes",
    ];
    assert!(host.run(&gone).ok().contains("60 rows deleted"), "counted where they are");
    assert_eq!(host.rows("bar.1m.AAPL"), 2 * 1_440 - 60);
    host.run(&["series", "restore", "--measurement", "*"]).ok();
    assert_eq!(host.rows("bar.1m.AAPL"), 2 * 1_440 - 60);
    // Again, and the file is lost.
    host.run(&cut).ok();
    let objects = find(host.path(), "objects");
    std::fs::remove_dir_all(&objects).unwrap();
    std::fs::create_dir_all(&objects).unwrap();
    host.kill_nine();
    host.serve();
    host.run(&[
        "series",
        "query",
        "--measurement",
        "bar.1m.AAPL",
        "--start",
        "2024-01-01",
        "--end",
        "2024-01-02",
    ])
    .fails(1, &["archive", "cold/bar/bar.1m.AAPL-", "backup"]);
    host.run(&["--json", "series", "query", "--measurement", "bar.1m.AAPL", "--start", "2024-01-02"]).ok();
}

fn find(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap().flatten() {
            if entry.file_name() == name {
                return entry.path();
            }
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    panic!("no folder {name} in {}", folder.display());
}

#[test]
fn killed_at_any_moment_of_archiving_and_restoring_no_row_is_lost() {
    let mut host = host();
    host.serve();
    let token = host.token("trader", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("AAPL", FIRST, MINUTES)).status, 204);
    assert_eq!(host.write_lines(&token, "market", &bars("MSFT", FIRST, MINUTES)).status, 204);
    let before = answers(&host);
    let cut =
        ["series", "archive", "--measurement", "*", "--store", "cold", "--before", "2024-01-03", "--confirm"];
    let back = ["series", "restore", "--measurement", "*"];
    for round in 0..6_u64 {
        let work: &[&str] = if round % 2 == 0 { &cut } else { &back };
        let mut child = host.command(work).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(15 + 25 * round));
        host.kill_nine();
        child.wait().unwrap();
        host.serve();
        assert_eq!(answers(&host), before, "round {round}");
        host.run(work).ok();
        assert_eq!(answers(&host), before, "round {round}, done again");
    }
    host.run(&["verify"]).ok();
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let mut host = host();
    host.serve();
    let (admin, reader) = (host.token("owner", "admin"), host.token("eye", "read"));
    let post = |path: &str, body: Value| host.http("POST", path, Some(&admin), body.to_string().as_bytes());
    for (path, body, status, word) in [
        ("/v1/series/restore", json!({}), 400, "which series"),
        ("/v1/series/restore", json!({"measurement": "*", "file": "cold/x"}), 400, "whole"),
        ("/v1/series/restore", json!({"file": "x"}), 400, "STORE/PATH"),
        ("/v1/series/restore", json!({"file": "cold/none"}), 404, "no file"),
        ("/v1/series/archive", json!({"measurement": "*", "store": "cold"}), 400, "before"),
        ("/v1/series/archives", json!({"state": "lost"}), 400, "no state"),
        ("/v1/series/archives", json!({"limit": 10_001}), 413, "10000"),
    ] {
        let answer = post(path, body.clone());
        assert!(answer.status == status && answer.body.contains(word), "{path} {body}: {answer:?}");
    }
    let answer = host.http("POST", "/v1/series/restore", Some(&reader), br#"{"measurement": "*"}"#);
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(host.http("GET", "/v1/series/archives", Some(&reader), b"").json(), json!([]));
    assert_eq!(host.http("GET", "/v1/series/archives?old=true", Some(&admin), b"").json(), json!([]));
}
