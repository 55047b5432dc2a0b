//! The example policy and hostile components, through the binary: what an operator sees when a plugin is right, wrong,
//! greedy, broken or hostile. Whatever a plugin does, the host and its data go on.

mod budget;
mod commits;
mod hostile;
mod life;
mod limits;
mod reload;
mod worlds;
mod zoo;

use crate::main_job::sparse_bars;
use crate::support::{Host, Said, guests};
use serde_json::Value;
use std::time::{Duration, Instant};

const DAY_S: i64 = 86_400;
const DAY_NS: i64 = DAY_S * 1_000_000_000;
/// The last day that has data; ages count from the newest point, whatever the clock of this machine says.
const LAST_DAY: i64 = 20_000;
/// Later than every point, so that `now` is the newest point plus a day on every machine.
const LATE: &str = "2099-01-01T00:00:00Z";
/// How long a scenario waits for what a schedule does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// `[plugins.NAME]` of a built guest; `top` are its keys, `tables` what follows.
fn guest(name: &str, component: &str, top: &str, tables: &str) -> String {
    let path = guests().join(format!("{component}.wasm"));
    format!(
        "[plugins.{name}]\ncomponent = \"{}\"\nworld = \"retention-policy\"\n{top}\n{tables}\n",
        path.display()
    )
}

const RETENTION: &str = r#"
[plugins.retention.grants.series]
read = ["market/*"]
write = ["market/bar.*"]
drop = ["market/tick.*", "market/book.*", "market/bar.1m.*"]
[plugins.retention.config]
tick_days = 2
bar_1m_days = 90
book_days = 3
rollups = ["1h", "1d"]
"#;

const SAFETY: &str = "[safety]\nmax_drop_share = \"60 %\"\n";

fn retention() -> String {
    guest("retention", "retention", "", RETENTION)
}

/// The example with one text of its part of the manifest replaced.
fn retention_but(old: &str, new: &str) -> String {
    let text = retention();
    assert!(text.contains(old), "{old} in {text}");
    text.replace(old, new)
}

/// A tick and a book every hour of the days that end with [`LAST_DAY`].
fn ticks_and_books(days: i64) -> String {
    let first = (LAST_DAY - days + 1) * DAY_S;
    (0..days * 24)
        .map(|hour| {
            let (t, p) = (first + hour * 3_600, 100.0 + (hour % 7) as f64);
            format!(
                "tick,symbol=AAPL price={p},size=3 {t}\nbook,symbol=AAPL bid_price_1={p},bid_size_1=1,ask_price_1={},ask_size_1=2 {t}\n",
                p + 0.01
            )
        })
        .collect()
}

/// A running host with a hundred days of bars and six of ticks and books.
fn with_data(manifest: &str) -> Host {
    let mut host = Host::new().with(SAFETY).with(manifest);
    host.serve();
    let token = host.token("feed", "write");
    for lines in [sparse_bars("AAPL", LAST_DAY, 100), ticks_and_books(6)] {
        let answer = host.write_lines(&token, "market", &lines);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    host
}

/// Rows of each series that the scenarios look at.
fn stock(host: &Host) -> [u64; 3] {
    ["bar.1m.AAPL", "tick.AAPL", "book.AAPL"].map(|m| host.rows(m))
}

/// The plan of an answer as `ACTION MEASUREMENT [TIMEFRAME] DAY ROWS`.
fn steps(answer: &Value) -> Vec<String> {
    let steps = answer["plan"]["steps"].as_array().unwrap_or_else(|| panic!("no steps in {answer}"));
    steps
        .iter()
        .map(|s| {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
            let before = s["before"].as_i64().unwrap_or_else(|| panic!("no time in {s}"));
            assert_eq!(before % DAY_NS, 0, "whole days go: {s}");
            let words = [text(&s["action"]), text(&s["key"]["measurement"]), text(&s["timeframe"])];
            let words: Vec<String> = words.into_iter().filter(|w| !w.is_empty()).collect();
            format!("{} {} {}", words.join(" "), before / DAY_NS - LAST_DAY, s["rows"])
        })
        .collect()
}

fn status(host: &Host, name: &str) -> Value {
    let list = host.run(&["--json", "plugins", "list"]).json();
    let found = list.as_array().unwrap().iter().find(|p| p["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

fn runs(host: &Host, name: &str) -> Vec<Value> {
    host.run(&["--json", "plugins", "runs", name]).json().as_array().unwrap().clone()
}

/// The lines that the newest run logged.
fn log(host: &Host, name: &str) -> Vec<String> {
    let newest = runs(host, name).first().cloned().unwrap_or_else(|| panic!("{name} did not run"));
    newest["log"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_string()).collect()
}

#[track_caller]
fn eventually(what: &str, host: &Host, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: {}", host.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The host answers, and so does another plugin.
#[track_caller]
fn goes_on(host: &Host, after: &str) {
    let health = host.http("GET", "/health", None, b"");
    assert_eq!(health.status, 200, "after {after}: {health:?}");
    let plan = host.run(&["--json", "plugins", "run", "retention", "--dry-run", "--now", LATE]).json();
    assert!(!steps(&plan).is_empty(), "after {after}");
}

/// Ended badly, whichever way, with words that name the cause.
#[track_caller]
fn refused(said: &Said, words: &[&str]) {
    assert!(said.code == 1 || said.code == 2, "{said:#?}");
    said.fails(said.code, words);
}

#[test]
fn the_example_proposes_what_it_says_and_the_second_run_has_nothing_to_do() {
    let host = with_data(&retention());
    let before = stock(&host);
    let dry = host.run(&["--json", "plugins", "run", "retention", "--dry-run", "--now", LATE]).json();
    assert_eq!(
        steps(&dry),
        [
            "downsample bar.1m.AAPL 1h -89 1440",
            "downsample bar.1m.AAPL 1d -89 1440",
            "drop-before bar.1m.AAPL -89 1440",
            "drop-before book.AAPL -2 72",
            "downsample tick.AAPL 1m -1 96",
            "downsample tick.AAPL 1h -1 96",
            "downsample tick.AAPL 1d -1 96",
            "drop-before tick.AAPL -1 96",
        ]
    );
    assert_eq!(dry["plan"]["drop_rows"], 1440 + 72 + 96);
    assert_eq!(dry["report"], Value::Null);
    assert_eq!(stock(&host), before, "a dry run changes nothing");

    let run = host.run(&["--json", "plugins", "run", "retention", "--now", LATE]).json();
    assert_eq!(run["report"]["dropped_rows"], 1440 + 72 + 96);
    assert_eq!(stock(&host)[1..], [48, 72]);
    // Ten days of one-minute bars, four of ticks; a bar of a tick's minute may have been there.
    assert!(host.rows("bar.1d.AAPL") >= 10 + 4, "{}", host.rows("bar.1d.AAPL"));
    let line = log(&host, "retention").join("\n");
    assert!(line.contains("5 rollups") && line.contains("3 drops"), "{line}");

    let again = host.run(&["--json", "plugins", "run", "retention", "--now", LATE]).json();
    assert_eq!(again["report"]["dropped_rows"], 0, "{again}");
    assert_eq!(stock(&host)[1..], [48, 72]);
    host.run(&["audit", "verify"]).ok();
}

#[test]
fn a_wrong_configuration_is_named_by_check_and_by_run() {
    for (old, new, words) in [
        ("tick_days = 2", "tick_days = 0", &["tick_days"][..]),
        ("tick_days = 2", "tick_days = \"two\"", &["tick_days"]),
        ("tick_days = 2", "tik_days = 2", &["tik_days"]),
        ("book_days = 3", "", &["book_days"]),
        ("\"1d\"]", "\"2h\"]", &["rollups", "2h"]),
        ("[\"1h\", \"1d\"]", "[]", &["rollups"]),
    ] {
        let host = Host::new().with(&retention_but(old, new));
        host.run(&["check"]).fails(2, words);
        refused(&host.run(&["plugins", "run", "retention", "--dry-run"]), words);
    }
    let host = Host::new().with(&retention());
    host.run(&["check"]).ok();
}

#[test]
fn a_grant_that_is_missing_is_named_and_nothing_is_done() {
    for (old, new, word) in [
        ("\"market/book.*\", ", "", "series.drop"),
        ("write = [\"market/bar.*\"]", "", "series.write"),
        ("write = [\"market/bar.*\"]", "write = [\"metrics/bar.*\"]", "series.write"),
    ] {
        let host = with_data(&retention_but(old, new));
        let before = stock(&host);
        host.run(&["plugins", "run", "retention", "--now", LATE]).fails(1, &[word, "retention"]);
        assert_eq!(stock(&host), before, "without {word}");
        assert_eq!(host.rows("bar.1d.AAPL"), 0, "one refused step refuses the whole plan");
    }
    // What it may not read, it does not see.
    let host = with_data(&retention_but("read = [\"market/*\"]", "read = [\"market/book.*\"]"));
    let dry = host.run(&["--json", "plugins", "run", "retention", "--dry-run", "--now", LATE]).json();
    assert_eq!(steps(&dry), ["drop-before book.AAPL -2 72"]);
}

#[test]
fn a_plan_over_the_share_needs_an_operator() {
    let mut host = Host::new().with("[safety]\nmax_drop_share = \"1 %\"").with(&retention());
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &sparse_bars("AAPL", LAST_DAY, 100)).status, 204);
    let before = host.rows("bar.1m.AAPL");
    host.run(&["plugins", "run", "retention", "--now", LATE]).fails(1, &["max_drop_share", "--confirm"]);
    assert_eq!(host.rows("bar.1m.AAPL"), before);
    host.run(&["plugins", "run", "retention", "--now", LATE, "--confirm"]).ok();
    assert!(host.rows("bar.1m.AAPL") < before);
}
