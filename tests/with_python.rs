//! The trader's side in Python: ten lines of plain HTTP, and the unmodified `influxdb-client`.

use crate::support::{Host, root};
use std::path::PathBuf;
use std::process::Command;

fn python(host: &Host, script: &str, token: &str) -> String {
    python_with(host, root().join(script), token, &[])
}

fn python_with(host: &Host, script: PathBuf, token: &str, envs: &[(&str, &str)]) -> String {
    let python = std::env::var_os("SHIPHOLD_PYTHON")
        .expect("SHIPHOLD_PYTHON: run `cargo xtask peers` and then `cargo xtask test`");
    let out = Command::new(python)
        .arg(&script)
        .env("SHIPHOLD_URL", host.url(""))
        .env("SHIPHOLD_TOKEN", token)
        .envs(envs.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{}: {text}{}", script.display(), String::from_utf8_lossy(&out.stderr));
    text
}

#[test]
fn the_ten_line_example_writes_and_reads_bars() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("trader", "write");
    let printed = python(&host, "examples/python/plain_http.py", &token);
    assert!(printed.contains("189.9"), "{printed}");
    assert_eq!(host.rows("bar.1m.AAPL"), 3);
}

#[test]
fn the_strategy_of_the_example_goes_on_where_it_was_after_a_kill() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("trader", "write");
    let run = |host: &Host| python(host, "examples/python/checkpoint.py", &token);
    let first = run(&host);
    assert!(first.contains("goes on from bar 0") && first.contains("saved bar 3 as revision 3"), "{first}");
    host.kill_nine();
    host.serve();
    let second = run(&host);
    assert!(second.contains("goes on from bar 3 with a position of 30"), "{second}");
    assert!(second.contains("saved bar 6 as revision 6"), "{second}");
}

#[test]
fn the_unmodified_influxdb_client_writes_bars() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("trader", "write");
    python(&host, "examples/python/influxdb_client_bars.py", &token);
    assert_eq!(host.rows("bar.1m.MSFT"), 1_000);
    let latest = host.run(&["--json", "series", "latest", "--measurement", "bar.1m.MSFT"]).json().to_string();
    assert!(latest.contains("509.99"), "{latest}");
}

#[test]
fn joins_are_those_of_pandas() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("trader", "write");
    let printed = python(&host, "tests/python/merge_asof.py", &token);
    assert!(printed.contains("38400 cells are the same"), "{printed}");
}

#[test]
fn the_unmodified_influxdb_client_writes_frames_queries_and_finds_buckets() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("trader", "write");
    let admin = host.token("owner", "admin");
    let script = root().join("tests/python/influxdb_client_all.py");
    let printed = python_with(&host, script, &token, &[("SHIPHOLD_ADMIN", &admin)]);
    for story in ["batching", "frames", "records", "buckets", "errors", "deletions"] {
        assert!(printed.contains(&format!("{story} ok")), "{printed}");
    }
    assert_eq!(host.rows("bar.1m.SPY"), 1_000);
}

#[test]
fn exports_are_read_by_others_and_their_files_are_imported() {
    let exact =
        "[[series.decimals]]\nbucket = \"exact\"\nmeasurement = \"*\"\nfields = [\"price\"]\nscale = 8";
    let mut host = Host::new().with(exact);
    host.serve();
    let token = host.token("trader", "write");
    let printed = python(&host, "tests/python/read_exports.py", &token);
    for story in ["exports", "round trips", "imports", "refusals", "decimals"] {
        assert!(printed.contains(&format!("{story} ok")), "{printed}");
    }
}

#[test]
fn archives_are_read_by_others_where_they_lie() {
    let exact = "[[series.decimals]]\nmeasurement = \"m\"\nfields = [\"price\"]\nscale = 3\n[files.cold]\nkind = \"archives\"";
    let mut host = Host::new().with(exact);
    host.serve();
    let token = host.token("trader", "write");
    let line = |i: i64| {
        let n = if i % 3 == 0 { String::new() } else { format!("n={i}i,") };
        let price = 100.0 + i as f64 / 8.0;
        format!(
            "m,venue=XNAS price={price},{n}flag={},text=\"n{i}\" {}\n",
            i % 2 == 0,
            1_704_067_200 + i * 60
        )
    };
    let rows = 1_000;
    let lines: String = (0..rows).map(line).collect();
    assert_eq!(host.write_lines(&token, "market", &lines).status, 204);
    // What is newer than a day stays.
    assert_eq!(host.write_lines(&token, "market", &line(100_000)).status, 204);
    let cut =
        ["series", "archive", "--measurement", "m", "--store", "cold", "--before", "2024-01-02", "--confirm"];
    host.run(&cut).ok();
    let file = host.run(&["--json", "series", "archives"]).json()[0]["path"].as_str().unwrap().to_string();
    let copy = host.path().join("archive.parquet");
    host.run(&["files", "get", "cold", &file, "--output", copy.to_str().unwrap()]).ok();
    let script = root().join("tests/python/read_archive.py");
    let count = rows.to_string();
    let envs = [("SHIPHOLD_FILE", copy.to_str().unwrap()), ("SHIPHOLD_ROWS", count.as_str())];
    let printed = python_with(&host, script, &token, &envs);
    for reader in ["pyarrow", "pandas", "polars", "duckdb"] {
        assert!(printed.contains(&format!("{reader} ok")), "{printed}");
    }
    assert_eq!(host.rows("m"), 1_001);
}

/// A plugin of a component that was built of Python.
fn python_plugin(name: &str, component: &str, tables: &str) -> String {
    let path = crate::support::guests().join(format!("{component}.wasm"));
    format!("[plugins.{name}]\ncomponent = \"{}\"\nworld = \"query-builder\"\n{tables}\n", path.display())
}

#[test]
fn an_indicator_in_python_answers_with_the_right_figures() {
    let mut host = crate::support::Host::new().with(&python_plugin(
        "indicators",
        "indicators-python",
        "[plugins.indicators.grants]\nwasi = true\n[plugins.indicators.grants.series]\nread = [\"market/bar.*\"]\n\
         [plugins.indicators.config]\nbucket = \"market\"\n",
    ));
    host.run(&["check"]).ok();
    host.serve();
    let token = host.token("t", "write");
    let closes = [100.0, 80.0, 120.0, 90.0, 110.0];
    let lines: String = closes
        .iter()
        .enumerate()
        .map(|(i, c)| {
            format!(
                "bar,symbol=SPY,timeframe=1d open={c},high={c},low={c},close={c},volume=1 {}\n",
                i * 86_400
            )
        })
        .collect();
    assert_eq!(host.write_lines(&token, "market", &lines).status, 204);
    let said = host.run(&["--json", "queries", "run", "drawdown", "symbol=SPY"]).json();
    let column = said["columns"].as_array().unwrap().iter().find(|c| c["name"] == "drawdown").unwrap();
    let (mut peak, mut want) = (0.0_f64, Vec::new());
    for close in closes {
        peak = peak.max(close);
        want.push((peak - close) / peak);
    }
    let got: Vec<f64> = column["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(got, want, "{said}");
    host.run(&["queries", "run", "rsi", "symbol=SPY", "period=1"]).fails(1, &["from 2 to 1000"]);
}

#[test]
fn a_python_plugin_holds_nothing() {
    let mut host = crate::support::Host::new().with(&python_plugin(
        "probe",
        "probe-python",
        "[plugins.probe.grants]\nwasi = true\n[plugins.probe.limits]\ndeadline = \"2 s\"\nlog_lines = 10\n",
    ));
    host.serve();
    for (query, word) in [
        ("read-file", "Error"),
        ("list-folders", "Error"),
        ("environment", "0 variables, arguments []"),
        ("connect", "Error"),
        ("resolve", "Error"),
        ("clocks", "stand at"),
        ("sleep", "limits.deadline"),
        ("loop", "limits.deadline"),
        ("hog", "limits.memory"),
    ] {
        let said = host.run(&["queries", "run", query]);
        assert!(said.code == 1 && said.err.contains(word), "{query}: {said:?}");
        let through = ["read-file", "list-folders", "connect", "resolve"].contains(&query);
        assert!(!through || !said.err.contains("came through"), "{query}: {said:?}");
        assert_eq!(host.http("GET", "/health", None, b"").status, 200, "after {query}");
    }
}

#[test]
fn without_the_grant_every_wasi_import_is_named() {
    let host = crate::support::Host::new().with(&python_plugin("probe", "probe-python", ""));
    let words = ["wasi:cli/environment", "wasi:sockets/tcp", "wasi:filesystem/types", "wasi:random/random"];
    host.run(&["check"]).fails(2, &words);
}

#[test]
fn a_new_target_in_python_builds_and_keeps_its_contract_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| -> crate::support::Said {
        let mut command = crate::support::binary();
        command.args(args).current_dir(dir.path()).output().unwrap().into()
    };
    run(&["plugins", "new", "mine", "--world", "backup-target", "--lang", "python"]).ok();
    let tested = run(&["plugins", "test", "mine"]);
    assert!(tested.ok().contains("2 passed, 0 failed"), "{tested:#?}");
}
