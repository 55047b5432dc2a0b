//! What a component must not do, and what becomes of it.

use super::{
    DAY_S, LAST_DAY, LATE, eventually, goes_on, guest, log, refused, retention, runs, stock, with_data,
};
use crate::support::{Host, bars};
use std::process::{Child, Stdio};

/// Each hostile component, what holds it, and what the operator reads.
pub(super) fn hostile() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let limited = |name: &'static str, component: &str, limits: &str, tables: &str| {
        guest(name, component, "", &format!("[plugins.{name}.limits]\n{limits}\n{tables}"))
    };
    let read = |name: &str| format!("[plugins.{name}.grants.series]\nread = [\"market/*\"]\n");
    let all = |name: &str| {
        format!(
            "[plugins.{name}.grants.series]\nread = [\"market/*\"]\nwrite = [\"market/*\"]\ndrop = [\"market/*\"]\n"
        )
    };
    let config = |name: &str, text: &str| format!("[plugins.{name}.config]\n{text}\n");
    vec![
        (
            "loops",
            limited("loops", "loops", "deadline = \"300 ms\"", ""),
            vec!["loops", "limits.deadline", "300 ms"],
        ),
        ("burns", limited("burns", "loops", "fuel = 1000000", ""), vec!["burns", "limits.fuel"]),
        (
            "blocks",
            limited("blocks", "blocks", "deadline = \"300 ms\"", &read("blocks")),
            vec!["blocks", "limits.deadline"],
        ),
        ("hog", limited("hog", "hog", "memory = \"16 MiB\"", ""), vec!["hog", "limits.memory", "16 MiB"]),
        ("traps", limited("traps", "traps", "", ""), vec!["traps", "trap"]),
        (
            "hoards",
            limited("hoards", "hoards", "handles = 100", &read("hoards")),
            vec!["hoards", "limits.handles"],
        ),
        (
            "floods",
            limited("floods", "floods", "deadline = \"30 s\"", &config("floods", "lines = 0")),
            vec!["floods", "limits.actions"],
        ),
        (
            "drips",
            limited("drips", "floods", "actions = 5", &config("drips", "lines = 0\nactions = 6")),
            vec!["drips", "limits.actions"],
        ),
        ("replies", limited("replies", "replies", "", ""), vec!["replies", "limits.reply"]),
        (
            "shouts",
            limited(
                "shouts",
                "replies",
                "reply = \"64 KiB\"",
                &config("shouts", "error = 1\nbytes = 1000000"),
            ),
            vec!["shouts", "limits.reply"],
        ),
        ("endless", limited("endless", "endless", "", &all("endless")), vec!["endless", "more"]),
        ("liar", limited("liar", "liar", "", &all("liar")), vec!["liar"]),
        ("wipes", limited("wipes", "wipes", "", &read("wipes")), vec!["wipes", "refused whole"]),
    ]
}

#[test]
fn every_hostile_component_ends_in_a_clear_error_and_the_host_goes_on() {
    let hostile = hostile();
    let manifest: String = hostile.iter().map(|(_, toml, _)| toml.as_str()).collect();
    let host = with_data(&(retention() + &manifest));
    let before = stock(&host);
    for (name, _, words) in &hostile {
        let said = host.run(&["plugins", "run", name, "--now", LATE]);
        said.fails(1, words);
        assert!(!said.err.contains('\u{1b}'), "a plugin's text cannot steer a terminal: {said:?}");
        assert!(said.err.len() < 64 << 10, "{name}: an error of {} bytes", said.err.len());
        goes_on(&host, name);
        assert_eq!(stock(&host), before, "after {name}");
        let newest = &runs(&host, name)[0];
        assert_eq!(newest["state"], "failed", "{newest}");
        assert!(newest["error"].as_str().is_some_and(|e| !e.is_empty()), "{newest}");
    }
    host.run(&["verify"]).ok();
    host.run(&["audit", "verify"]).ok();
}

#[test]
fn a_policy_that_wants_everything_gone_is_refused_whole_even_when_confirmed() {
    let grants = "[plugins.wipes.grants.series]\nread = [\"*/*\"]\nwrite = [\"*/*\"]\ndrop = [\"*/*\"]\n";
    let host = with_data(&(retention() + &guest("wipes", "wipes", "", grants)));
    let before = stock(&host);
    for more in [&[][..], &["--confirm"], &["--now", LATE], &["--confirm", "--now", LATE]] {
        let mut args = vec!["plugins", "run", "wipes"];
        args.extend(more);
        host.run(&args).fails(1, &["bar.1m.AAPL"]);
        assert_eq!(stock(&host), before, "{more:?}");
    }
    let dry = host.run(&["--json", "plugins", "run", "wipes", "--dry-run", "--now", LATE]).json();
    let steps = dry["plan"]["steps"].as_array().unwrap();
    assert!(steps.len() >= 4 && steps.iter().all(|s| s["refused"].is_string()), "each reason is told: {dry}");
    goes_on(&host, "wipes");
}

#[test]
fn what_a_plugin_logs_too_much_is_counted_not_kept() {
    let tables =
        "[plugins.floods.limits]\nlog_lines = 10\n[plugins.floods.config]\nlines = 5000\nactions = 0\n";
    let host = with_data(&guest("floods", "floods", "", tables));
    host.run(&["plugins", "run", "floods", "--now", LATE]).ok();
    let lines = log(&host, "floods");
    assert!((10..=11).contains(&lines.len()), "{lines:?}");
    assert!(lines[9].contains("line 9"), "{lines:?}");
    assert!(lines.last().unwrap().replace(',', "").contains("4990"), "{lines:?}");
}

#[test]
fn a_flood_of_a_million_lines_ends_within_its_deadline_and_fills_nothing() {
    let tables = "[plugins.floods.limits]\ndeadline = \"20 s\"\nlog_lines = 100\n[plugins.floods.config]\nactions = 0\n";
    let host = with_data(&(retention() + &guest("floods", "floods", "", tables)));
    let said = host.run(&["plugins", "run", "floods", "--now", LATE]);
    if said.code != 0 {
        said.fails(1, &["limits.deadline"]);
    }
    assert!(log(&host, "floods").len() <= 101);
    assert!(host.log().len() < 1 << 20, "the host's own log has {} bytes", host.log().len());
    goes_on(&host, "floods");
}

#[test]
fn what_a_hostile_plugin_logs_cannot_forge_lines() {
    let tables = "[plugins.liar.grants.series]\nread = [\"*/*\"]\nwrite = [\"*/*\"]\ndrop = [\"*/*\"]\n";
    let host = with_data(&guest("liar", "liar", "", tables));
    refused(&host.run(&["plugins", "run", "liar", "--now", LATE]), &["liar"]);
    let shown = host.run(&["plugins", "runs", "liar", "--log"]);
    assert!(!shown.ok().contains('\u{1b}') && !shown.out.contains('\0'), "{:?}", shown.out);
    assert!(!host.log().contains('\u{1b}'), "{:?}", host.log());
    assert!(!host.log().lines().any(|l| l.starts_with("forged line")), "{}", host.log());
    assert!(log(&host, "liar").iter().all(|l| l.len() <= 5 << 10), "a line has at most 4 KiB");
}

#[test]
fn a_plugin_writes_and_reads_where_it_may_and_nowhere_else() {
    let tables = "[plugins.writer.grants.series]\nread = [\"market/bar.*\"]\nwrite = [\"market/bar.1d.*\"]\n";
    let host = with_data(&guest("writer", "writer", "", tables));
    let before = stock(&host);
    host.run(&["plugins", "run", "writer", "--now", LATE]).ok();
    let lines = log(&host, "writer");
    for (what, how) in [
        ("granted write", "ok"),
        ("the same time again", "Error::Conflict"),
        ("ungranted write", "Error::Denied"),
        ("ungranted bucket", "Error::Denied"),
        ("columns of different lengths", "Error::Invalid"),
        ("not a number", "Error::Invalid"),
        ("the end of time", "Error::Invalid"),
        ("granted read", "ok"),
        ("ungranted read", "Error::Denied"),
    ] {
        let line = lines.iter().find(|l| l.contains(&format!("{what}: ")));
        let line = line.unwrap_or_else(|| panic!("no `{what}` in {lines:#?}"));
        assert!(line.contains(&format!("{what}: {how}")), "{line}");
    }
    assert_eq!(host.rows("bar.1d.WRITER"), 1);
    assert_eq!(stock(&host), before);
    // Overwriting is a grant of its own.
    let more = "[plugins.writer.grants]\noverwrite = true\n";
    let host = with_data(&(guest("writer", "writer", "", more) + tables));
    host.run(&["plugins", "run", "writer", "--now", LATE]).ok();
    assert!(log(&host, "writer").iter().any(|l| l.contains("the same time again: ok")));
    assert_eq!(host.rows("bar.1d.WRITER"), 1);
}

#[test]
fn an_import_beyond_the_grants_is_refused_at_load_with_the_list() {
    let host = Host::new().with(&guest("greedy", "greedy", "", ""));
    host.run(&["check"]).fails(2, &["greedy", "clock", "random"]);
    refused(&host.run(&["plugins", "run", "greedy"]), &["clock", "random"]);
    // Half of it is not enough, and only the other half is named.
    let host = Host::new().with(&guest("greedy", "greedy", "", "[plugins.greedy.grants]\nclock = true\n"));
    host.run(&["check"]).fails(2, &["greedy", "random"]);
    let all = "[plugins.greedy.grants]\nclock = true\nrandom = true\n";
    let host = Host::new().with(&guest("greedy", "greedy", "", all));
    host.run(&["check"]).ok();
    host.run(&["plugins", "run", "greedy"]).ok();
}

#[test]
fn the_host_serves_others_while_a_plugin_never_comes_back() {
    let host = with_data(
        &(retention() + &guest("loops", "loops", "", "[plugins.loops.limits]\ndeadline = \"20 s\"\n")),
    );
    let mut looping = start_looping(&host);
    let token = host.token("other", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("MSFT", LAST_DAY * DAY_S, 100)).status, 204);
    assert_eq!(host.rows("bar.1m.MSFT"), 100);
    goes_on(&host, "a plugin that loops meanwhile");
    assert!(looping.try_wait().unwrap().is_none(), "it still ran while the host did all this");
    looping.kill().unwrap();
    looping.wait().unwrap();
}

#[test]
fn stopping_the_host_does_not_wait_for_a_plugin() {
    let mut host = with_data(&guest("loops", "loops", "", "[plugins.loops.limits]\ndeadline = \"1 h\"\n"));
    let mut looping = start_looping(&host);
    let (_, code) = host.signal("TERM");
    assert_eq!(code, Some(0), "{}", host.log());
    looping.wait().unwrap();
    host.serve();
    let newest = &runs(&host, "loops")[0];
    assert_ne!(newest["state"], "running", "{newest}");
}

/// Begins a run of `loops` and waits until it goes on.
fn start_looping(host: &Host) -> Child {
    let mut run = host.command(&["plugins", "run", "loops"]);
    let child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("loops runs", host, || runs(host, "loops").first().is_some_and(|r| r["state"] == "running"));
    child
}
