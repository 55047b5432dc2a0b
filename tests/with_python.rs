//! The trader's side in Python: ten lines of plain HTTP, and the unmodified `influxdb-client`.

use crate::support::{Host, root};
use std::process::Command;

fn python(host: &Host, script: &str, token: &str) -> String {
    let python = std::env::var_os("SHIPHOLD_PYTHON")
        .expect("SHIPHOLD_PYTHON: run `cargo xtask peers` and then `cargo xtask test`");
    let out = Command::new(python)
        .arg(root().join(script))
        .env("SHIPHOLD_URL", host.url(""))
        .env("SHIPHOLD_TOKEN", token)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{script}: {text}{}", String::from_utf8_lossy(&out.stderr));
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
fn the_unmodified_influxdb_client_writes_bars() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("trader", "write");
    python(&host, "examples/python/influxdb_client_bars.py", &token);
    assert_eq!(host.rows("bar.1m.MSFT"), 1_000);
    let latest = host.run(&["--json", "series", "latest", "--measurement", "bar.1m.MSFT"]).json().to_string();
    assert!(latest.contains("509.99"), "{latest}");
}
