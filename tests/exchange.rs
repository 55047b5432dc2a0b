//! Files into series: as an operator does it, and through `kill -9` of whoever takes part.

use crate::support::{Host, Said};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Rows after which it is noted how far an import is.
const PIECE: u64 = 65_536;
const ROWS: u64 = 4 * PIECE + 1;
const PATIENCE: Duration = Duration::from_secs(120);

/// A file of ticks: the times are not in order, and a time that is there twice has two prices.
fn ticks(host: &Host) -> PathBuf {
    let mut text = String::from("ts,px,qty,venue\n");
    for i in 0..ROWS {
        let time = 1_700_000_000_000 + i * 7 % 200_000;
        writeln!(text, "{time},{}.25,{},{}", i % 1_000, i, ["XNAS", "ARCX"][(i % 2) as usize]).unwrap();
    }
    let path = host.path().join("ticks.csv");
    std::fs::write(&path, text).unwrap();
    path
}

const OPTIONS: [&str; 12] = [
    "--measurement",
    "tick",
    "--time",
    "ts",
    "--unit",
    "ms",
    "--tag",
    "symbol=A",
    "--tags",
    "venue",
    "--fields",
    "price=px,size=qty",
];

fn import(host: &Host) -> std::process::Command {
    let mut args = vec!["--json", "series", "import", "ticks.csv"];
    args.extend(OPTIONS);
    host.command(&args)
}

fn spawn(host: &Host) -> Child {
    import(host).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Everything that is stored, as a file.
fn stored(host: &Host) -> String {
    let to = host.path().join("all.csv");
    host.run(&["series", "export", "*", "--to", to.to_str().unwrap()]).ok();
    std::fs::read_to_string(to).unwrap()
}

fn resumed(said: &Said) -> u64 {
    let v = said.json();
    assert_eq!(v["rows"], ROWS, "{v}");
    assert_eq!(v["written"].as_u64().unwrap() + v["resumed"].as_u64().unwrap(), ROWS, "{v}");
    v["resumed"].as_u64().unwrap()
}

/// What a host has that nobody stopped, and how long that took.
fn never_stopped() -> (String, Duration) {
    let host = Host::new();
    ticks(&host);
    let begin = Instant::now();
    let said: Said = import(&host).output().unwrap().into();
    assert_eq!(resumed(&said), 0);
    (stored(&host), begin.elapsed())
}

/// Waits until rows are stored, and gives how many.
fn wait_for(host: &Host, rows: u64) -> u64 {
    let begin = Instant::now();
    loop {
        let there = host.rows("tick.A");
        if there >= rows {
            return there;
        }
        assert!(begin.elapsed() < PATIENCE, "only {there} rows: {}", host.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_import_goes_on_after_kill_nine_of_the_host() {
    let (want, _) = never_stopped();
    let mut host = Host::new();
    ticks(&host);
    // A fixed seed: the moments differ between kills and not between runs.
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut kills = 0;
    for piece in 0..3 {
        host.serve();
        let client = spawn(&host);
        wait_for(&host, piece * PIECE / 2 + 1);
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        std::thread::sleep(Duration::from_millis(dice % 150));
        host.kill_nine();
        let said: Said = client.wait_with_output().unwrap().into();
        kills += u32::from(said.code != 0);
    }
    assert!(kills > 0, "every import was over before its host was killed");
    host.serve();
    let said: Said = import(&host).output().unwrap().into();
    resumed(&said);
    assert_eq!(stored(&host), want);
    host.run(&["verify"]).ok();
    // What is done begins anew, and changes nothing.
    let said: Said = import(&host).output().unwrap().into();
    assert_eq!(resumed(&said), 0);
    assert_eq!(stored(&host), want);
}

#[test]
fn an_import_goes_on_after_kill_nine_of_the_client() {
    let (want, _) = never_stopped();
    let mut host = Host::new();
    ticks(&host);
    host.serve();
    let mut client = spawn(&host);
    wait_for(&host, 1);
    client.kill().unwrap();
    client.wait().unwrap();
    let said: Said = import(&host).output().unwrap().into();
    let before = resumed(&said);
    assert!(before.is_multiple_of(PIECE), "{before}");
    assert_eq!(stored(&host), want);
}

#[test]
fn an_import_without_a_host_goes_on_after_kill_nine() {
    let (want, took) = never_stopped();
    let host = Host::new();
    ticks(&host);
    for share in [40, 60, 80, 95] {
        let mut child = spawn(&host);
        std::thread::sleep(took * share / 100);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let said: Said = import(&host).output().unwrap().into();
    assert_eq!(resumed(&said) % PIECE, 0);
    assert_eq!(stored(&host), want);
}

#[test]
fn a_deletion_makes_an_import_begin_anew() {
    let mut host = Host::new();
    ticks(&host);
    host.serve();
    let client = spawn(&host);
    wait_for(&host, 1);
    host.kill_nine();
    drop(client.wait_with_output().unwrap());
    host.serve();
    host.run(&["series", "delete", "--measurement", "tick.A", "--end", "2001-01-01", "--yes"]).ok();
    let said: Said = import(&host).output().unwrap().into();
    assert_eq!(resumed(&said), 0, "rows of the series were deleted");
    let audit = host.run(&["--json", "audit", "list"]).json().to_string();
    assert!(audit.contains("series.import") && audit.contains("series.imported"), "{audit}");
}

#[test]
fn exports_come_back_by_their_columns_alone() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let lines = "m,k=a\\ b f=1.5,i=3i,s=\"x,\\\"y\\\"\",b=true 1\nm f=2.5,u=7u 2\n";
    assert_eq!(host.write_lines(&token, "market", lines).status, 204);
    let want = stored(&host);
    for name in ["m.parquet", "m.csv"] {
        let file = host.path().join(name);
        host.run(&["series", "export", "m", "--to", file.to_str().unwrap()]).ok();
        host.run(&["series", "delete", "--measurement", "m", "--yes"]).ok();
        assert_eq!(host.rows("m"), 0);
        let said = host.run(&["series", "import", file.to_str().unwrap()]);
        assert!(said.ok().contains("2 rows"), "{said:?}");
        assert_eq!(stored(&host), want);
    }
    let help = host.run(&["series", "import", "--help"]);
    assert!(help.ok().contains("shiphold series import trades.parquet"), "{help:?}");
    // What is wrong names the place and the next step, and a reader may not.
    std::fs::write(host.path().join("bad.parquet"), b"PAR1 is not enough PAR1").unwrap();
    host.run(&["series", "import", "bad.parquet"]).fails(1, &["Parquet", "hint:"]);
    let reader = host.token("reader", "read");
    let refused =
        host.http("POST", "/v1/series/import?measurement=m", Some(&reader), b"time,v\n2024-01-02,1\n");
    assert_eq!(refused.status, 403, "{refused:?}");
    let small = host.http("POST", "/v1/series/import?measurement=m&tag=k", Some(&token), b"");
    assert_eq!(small.status, 400, "{small:?}");
}
