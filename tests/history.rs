//! What was known at a time, and rollups that keep up: through the command line and a running host.

use crate::support::{Host, bars, times_of};
use std::time::{Duration, Instant};

const MANIFEST: &str = "[[series.revisions]]\nmeasurement = \"bar.1m.*\"\nwindow = \"90 d\"\n[rollups.hours]\nfrom = \"bar.1m.*\"\nto = \"1h\"\n";

fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_nanos() as i64
}

#[test]
fn a_correction_does_not_rewrite_what_a_backtest_saw() {
    let mut host = Host::new().with(MANIFEST);
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("KO", 1_700_000_000, 100)).status, 204);
    let seen = now_ns();
    let ask = |host: &Host, more: &[&str]| {
        let mut args = vec!["--json", "series", "query", "--measurement", "bar.1m.KO", "--resample", "1d"];
        args.extend(more);
        host.run(&args).json()
    };
    let before = ask(&host, &[]);
    // A correction, a late row and a deletion.
    let fix = "bar,symbol=KO,timeframe=1m high=9999,low=1 1700000060\nbar,symbol=KO,timeframe=1m open=1,high=1,low=1,close=1,volume=1 1699000000";
    assert_eq!(host.write_lines(&token, "market", fix).status, 204);
    host.run(&["series", "delete", "--measurement", "bar.1m.KO", "--start", "1700003000000000000", "--yes"])
        .ok();
    assert_ne!(ask(&host, &[]), before);
    let at = seen.to_string();
    assert_eq!(ask(&host, &["--as-known-at", &at]), before);
    // The same after a restart; and nobody meets the log.
    host.kill_nine();
    assert_eq!(ask(&host, &["--as-known-at", &at]), before);
    let listed = host.run(&["--json", "series", "list"]).json().to_string();
    assert!(!listed.contains(".revisions"), "{listed}");
    let early = host.run(&["series", "query", "--measurement", "bar.1m.KO", "--as-known-at", "2001-01-01"]);
    early.fails(1, &["before the window of 90 d"]);
}

#[test]
fn a_rollup_keeps_up_with_rows_that_come_late() {
    let mut host = Host::new().with(MANIFEST);
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("KO", 1_700_000_000, 300)).status, 204);
    let asked = |host: &Host| {
        let hours = ["--json", "series", "query", "--measurement", "bar.1m.KO", "--resample", "1h"];
        times_of(&host.run(&hours).json())
    };
    let rolled = |host: &Host| {
        let kept = ["--json", "series", "query", "--measurement", "bar.1h.KO"];
        times_of(&host.run(&kept).json())
    };
    let wait = |host: &Host| {
        let begin = Instant::now();
        while rolled(host) != asked(host) && begin.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(rolled(host), asked(host));
    };
    wait(&host);
    assert_eq!(host.write_lines(&token, "market", &bars("KO", 1_699_000_000, 10)).status, 204);
    wait(&host);
    // By hand nothing is left to do; without a host too.
    host.run(&["rollups", "run", "--dry-run"]).ok();
    let list = host.run(&["--json", "rollups", "list"]).json();
    assert_eq!((&list[0]["name"], &list[0]["late"]), (&"hours".into(), &0.into()), "{list}");
    let metrics = host.http("GET", "/metrics", Some(&token), b"").body;
    assert!(metrics.contains("shiphold_rollup_late_spans{rollup=\"hours\"} 0"), "{metrics}");
    host.kill_nine();
    let report = host.run(&["--json", "rollups", "run", "hours"]).json();
    assert_eq!(report["windows"], 0, "{report}");
    host.run(&["rollups", "run", "days"]).fails(1, &["there is no rollup `days`"]);
}
