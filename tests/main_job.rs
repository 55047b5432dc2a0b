//! The main job in small, through the binary: import, feed, skills, model, retention dry and real, backup,
//! restore, comparison.

use crate::support::{Host, guests, root};

const DAY_S: i64 = 86_400;

/// The example's manifest, with roots of its own.
pub fn trader() -> Host {
    let component = guests().join("retention.wasm");
    Host::new().with(&format!(
        r#"
[safety]
max_drop_share = "60 %"
[safety.keep_at_least]
tick = "6 h"
bar = "1 d"
[files.models]
kind = "models"
[plugins.retention]
component = "{}"
world = "retention-policy"
[plugins.retention.grants]
clock = true
[plugins.retention.grants.series]
read = ["market/*"]
write = ["market/bar.*"]
drop = ["market/tick.*", "market/bar.1m.*"]
[plugins.retention.config]
tick_days = 2
bar_1m_days = 90
book_days = 2
rollups = ["1h", "1d"]
"#,
        component.display()
    ))
}

/// A bar every ten minutes for `days` days, ending with `last_day`.
pub fn sparse_bars(symbol: &str, last_day: i64, days: i64) -> String {
    let mut out = String::new();
    for day in last_day - days + 1..=last_day {
        for slot in 0..144 {
            let p = 100.0 + (slot % 20) as f64 / 100.0;
            let t = day * DAY_S + slot * 600;
            out.push_str(&format!(
                "bar,symbol={symbol},timeframe=1m open={p},high={},low={},close={p},volume=10 {t}\n",
                p + 0.5,
                p - 0.5
            ));
        }
    }
    out
}

#[test]
fn retention_rolls_up_drops_and_a_backup_of_the_rest_restores() {
    let mut host = trader();
    host.run(&["check"]).ok();
    host.serve();
    let token = host.token("feed", "write");
    let today = 20_600;
    assert_eq!(host.write_lines(&token, "market", &sparse_bars("AAPL", today, 120)).status, 204);
    let before = host.rows("bar.1m.AAPL");
    assert_eq!(before, 120 * 144);

    // Dry: a plan is shown, nothing changes.
    let dry = host.run(&["plugins", "run", "retention", "--dry-run"]);
    assert!(dry.ok().contains("bar.1m.AAPL"), "{dry:?}");
    assert_eq!(host.rows("bar.1m.AAPL"), before);
    assert_eq!(host.rows("bar.1d.AAPL"), 0);

    // For real: what is older than ninety days is rolled up and gone, the rest is there.
    host.run(&["plugins", "run", "retention"]).ok();
    let after = host.rows("bar.1m.AAPL");
    assert!(after < before && after >= 90 * 144, "{after} of {before}");
    assert_eq!(after % 144, 0, "whole days go");
    let daily = host.rows("bar.1d.AAPL");
    assert!(daily >= (before - after) / 144, "{daily} daily bars");
    let audit = host.run(&["audit", "list"]);
    assert!(audit.ok().contains("retention"), "{audit:?}");
    host.run(&["audit", "verify"]).ok();

    // Again: nothing more goes, and the rollups are the same.
    let rollup = host.run(&["--json", "series", "query", "--measurement", "bar.1d.AAPL"]).json();
    host.run(&["plugins", "run", "retention"]).ok();
    assert_eq!(host.rows("bar.1m.AAPL"), after);
    assert_eq!(host.run(&["--json", "series", "query", "--measurement", "bar.1d.AAPL"]).json(), rollup);
    let runs = host.run(&["--json", "plugins", "runs", "retention"]).json();
    assert!(
        runs.to_string().matches("\"ok\":true").count() >= 2 || runs.as_array().is_some_and(|r| r.len() >= 3),
        "{runs}"
    );

    let to = host.path().join("backup");
    host.run(&["backup", "export", to.to_str().unwrap()]).ok();
    let restored = trader();
    host.run(&["backup", "restore", to.to_str().unwrap(), restored.data().to_str().unwrap()]).ok();
    restored.run(&["verify"]).ok();
    for question in
        [&["series", "list"][..], &["series", "latest"], &["series", "query", "--measurement", "bar.1h.AAPL"]]
    {
        let mut args = vec!["--json"];
        args.extend(question);
        assert_eq!(host.run(&args).json(), restored.run(&args).json(), "{question:?}");
    }
}

#[test]
fn a_clock_that_jumps_ten_years_drops_nothing() {
    let mut host = trader();
    host.serve();
    let token = host.token("feed", "write");
    // The newest point is today's; a host that believed a clock far ahead would drop everything.
    assert_eq!(host.write_lines(&token, "market", &sparse_bars("AAPL", 20_600, 30)).status, 204);
    let before = host.rows("bar.1m.AAPL");
    // Whatever the clock of this machine says, ages count from the newest point.
    host.run(&["plugins", "run", "retention", "--now", "2099-01-01T00:00:00Z"]).ok();
    assert_eq!(host.rows("bar.1m.AAPL"), before);
}

#[test]
fn the_example_manifest_is_right() {
    let mut command = crate::support::binary();
    let said: crate::support::Said = command
        .arg("--manifest")
        .arg(root().join("examples/trader/shiphold.toml"))
        .arg("check")
        .output()
        .unwrap()
        .into();
    // The plugins are built into the default target folder by `cargo xtask`; elsewhere they are the one thing missing.
    assert!(
        said.code == 0
            || said
                .err
                .lines()
                .filter(|l| l.contains(": "))
                .all(|l| l.contains("target/guests/") || l.contains("problem")),
        "{said:?}"
    );
}
