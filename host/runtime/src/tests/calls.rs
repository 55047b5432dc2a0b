//! What one call may do, and what becomes of one that does more.

use super::guest::{CONFIG, DROP_CURSOR, EMPTY, GAUGE, Guest, LIST, LOG, NEXT};
use super::{Host, OP, until};
use crate::RunOptions;
use serde_json::Value;
use shiphold_storage::{Error, Kind};

/// Runs a guest that must fail, and looks at what is remembered of it.
async fn fails(guest: &Guest, tables: &str) -> Error {
    let host = Host::new(guest, "", tables).await;
    let error = host.run().await.map(|r| format!("{r:?}")).unwrap_err();
    let run = host.newest().unwrap();
    assert_eq!((run.state.as_str(), run.error.as_deref()), ("failed", Some(error.message())));
    // The engine and the stores go on.
    assert_eq!(host.run().await.map(|_| ()).unwrap_err().kind(), error.kind());
    error
}

#[track_caller]
fn names(e: &Error, kind: Kind, key: &str, value: &str) {
    assert_eq!(e.kind(), kind, "{e:?}");
    assert!(e.message().contains("`p`") && e.message().contains(&format!("limits.{key} = {value}")), "{e}");
    assert!(e.hint_text().unwrap().contains(&format!("plugins.p.limits.{key}")), "{e:?}");
}

const LOOP: &str = "(loop $l (br $l)) unreachable";

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_plan_is_a_run_with_nothing_to_do() {
    let host = Host::new(&Guest::new(EMPTY), "", "").await;
    let report = host.run().await.unwrap();
    assert!(report.plan.steps.is_empty() && report.report.is_some() && !report.more);
    assert_eq!((report.memory_peak_bytes, report.fuel), (2 << 16, None));
    let run = host.newest().unwrap();
    assert_eq!((run.state.as_str(), run.id, run.dry_run), ("ok", report.run_id, false));
    let dry = RunOptions { dry_run: true, trigger: "operator".into(), ..RunOptions::default() };
    let dry = host.plugins.run(&OP, "p", dry).await.unwrap();
    assert!(dry.report.is_none() && dry.dry_run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_the_call_and_says_where() {
    let e = fails(&Guest::new("unreachable"), "").await;
    assert_eq!(e.kind(), Kind::Plugin);
    assert!(e.message().contains("trap") && e.message().contains("unreachable"), "{e}");
    assert!(e.message().contains("plan"), "the frame is named: {e}");
    let e = fails(&Guest::new("(call $plan (local.get $cursor) (local.get $now))"), "").await;
    assert!(e.kind() == Kind::Plugin && e.message().contains("stack"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_ends_at_its_deadline() {
    let e = fails(&Guest::new(LOOP), "[plugins.p.limits]\ndeadline = \"50 ms\"").await;
    names(&e, Kind::Timeout, "deadline", "50 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_never_ends_is_ended_too() {
    let guest = Guest::new(EMPTY)
        .fields("(memory (export \"memory\") 2) (func $begin (loop $l (br $l))) (start $begin)");
    let e = fails(&guest, "[plugins.p.limits]\ndeadline = \"50 ms\"").await;
    names(&e, Kind::Timeout, "deadline", "50 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_calls_count_against_the_deadline() {
    let call = "(loop $l (call $list (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)) (br $l)) unreachable";
    let guest = Guest::new(call).imports(&[LIST]).about("[grants.series]\nread = [\"*/*\"]");
    let tables =
        "[plugins.p.limits]\ndeadline = \"100 ms\"\n[plugins.p.grants.series]\nread = [\"market/*\"]";
    names(&fails(&guest, tables).await, Kind::Timeout, "deadline", "100 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_ends_at_its_limit() {
    let limit = "[plugins.p.limits]\nmemory = \"1 MiB\"";
    let grow = |pages: &'static str| Guest::new(pages);
    let e = fails(&grow("(drop (memory.grow (i32.const 15))) (i32.const 16)"), limit).await;
    names(&e, Kind::Limit, "memory", "1 MiB");
    let host = Host::new(&grow("(drop (memory.grow (i32.const 14))) (i32.const 16)"), "", limit).await;
    assert_eq!(host.run().await.unwrap().memory_peak_bytes, 1 << 20, "the limit itself is allowed");
    // What it begins with counts, and so do several memories together.
    let begins = Guest::new(EMPTY).fields("(memory (export \"memory\") 17)");
    names(&fails(&begins, limit).await, Kind::Limit, "memory", "1 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_end_at_their_limit() {
    let limit = "[plugins.p.limits]\ntable_entries = 1000";
    let fields = "(memory (export \"memory\") 2) (table $t 1 funcref)";
    let body = "(drop (table.grow $t (ref.null func) (i32.const 1000))) (i32.const 16)";
    names(&fails(&Guest::new(body).fields(fields), limit).await, Kind::Limit, "table_entries", "1000");
    let body = "(drop (table.grow $t (ref.null func) (i32.const 999))) (i32.const 16)";
    assert!(Host::new(&Guest::new(body).fields(fields), "", limit).await.run().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn fuel_is_counted_and_ends() {
    let e = fails(&Guest::new(LOOP), "[plugins.p.limits]\nfuel = 10000").await;
    names(&e, Kind::Limit, "fuel", "10000");
    let limit = "[plugins.p.limits]\nfuel = 10000";
    let host = Host::new(&Guest::new(EMPTY), "", limit).await;
    let (one, two) = (host.run().await.unwrap().fuel, host.run().await.unwrap().fuel);
    assert!(one.is_some_and(|f| f > 0 && f < 10_000) && one == two, "{one:?} {two:?}");
    assert_eq!(host.newest().unwrap().fuel, one.map(|f| i64::try_from(f).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_has_as_many_actions_as_it_may() {
    // Six actions at 1024, all zero: downsample of a series without a name.
    let six =
        "(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 6)) (i32.const 16)";
    let e = fails(&Guest::new(six), "[plugins.p.limits]\nactions = 5").await;
    names(&e, Kind::Limit, "actions", "5");
    let e = fails(&Guest::new(six), "[plugins.p.limits]\nactions = 6").await;
    assert!(
        e.kind() == Kind::Plugin && e.message().contains("refused whole"),
        "the count is right, the names are not: {e:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_has_as_many_bytes_as_it_may() {
    let error = |len: &'static str| Guest::new(len).fields("(memory (export \"memory\") 32)");
    let limit = "[plugins.p.limits]\nreply = \"64 KiB\"";
    let over = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 28) (i32.const 65537)) (i32.const 16)";
    names(&fails(&error(over), limit).await, Kind::Limit, "reply", "64 KiB");
    let far = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 28) (i32.const 2000000)) (i32.const 16)";
    names(&fails(&error(far), limit).await, Kind::Limit, "reply", "64 KiB");
    let at = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 28) (i32.const 65536)) (i32.const 16)";
    let e = fails(&error(at), limit).await;
    assert!(e.kind() == Kind::Plugin && e.message().contains("refused"), "{e}");
    assert!(e.message().len() < 2_000, "{} bytes", e.message().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_lie_end_the_call() {
    for len in ["2147483647", "-1", "1000000"] {
        let body: &'static str = Box::leak(
            format!("(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const {len})) (i32.const 16)")
                .into_boxed_str(),
        );
        let e = fails(&Guest::new(body), "").await;
        assert!(matches!(e.kind(), Kind::Plugin | Kind::Limit), "{len}: {e:?}");
    }
    // A result that lies outside the memory, and a discriminant that no result has.
    assert_eq!(fails(&Guest::new("(i32.const -16)"), "").await.kind(), Kind::Plugin);
    let e = fails(&Guest::new("(i32.store8 (i32.const 16) (i32.const 7)) (i32.const 16)"), "").await;
    assert_eq!(e.kind(), Kind::Plugin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentence_of_a_guest_cannot_steer_a_terminal() {
    let body = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 24) (i32.const 64)) (i32.store (i32.const 28) (i32.const 9)) (i32.const 16)";
    let guest =
        Guest::new(body).fields("(memory (export \"memory\") 2) (data (i32.const 64) \"no\\1b[2J\\nit\")");
    let e = fails(&guest, "").await;
    assert!(e.message().ends_with("refused: no\\u{1b}[2J\\nit"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_without_actions_is_no_answer() {
    let e = fails(&Guest::new("(i32.store8 (i32.const 28) (i32.const 1)) (i32.const 16)"), "").await;
    assert!(e.kind() == Kind::Plugin && e.message().contains("more"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_cut_counted_and_made_harmless() {
    let body = "(local $i i32)
        (call $log (i32.const 3) (i32.const 64) (i32.const 4))
        (call $log (i32.const 1) (i32.const 1024) (i32.const 5000))
        (loop $l (call $log (i32.const 0) (i32.const 64) (i32.const 1))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 10))))
        (i32.const 16)";
    let fields = "(memory (export \"memory\") 2) (data (i32.const 64) \"a\\0ab\\1b\")";
    let guest = Guest::new(body).imports(&[LOG]).fields(fields);
    let host = Host::new(&guest, "", "[plugins.p.limits]\nlog_lines = 3").await;
    let log = host.run().await.unwrap().log;
    assert_eq!(log.len(), 4, "{log:?}");
    assert_eq!(log[0], "error: a\\nb\\u{1b}");
    assert!(log[1].starts_with("info: \\u{0}") && log[1].len() <= 4 << 10, "{}", log[1].len());
    assert_eq!(log[2], "debug: a");
    assert!(log[3].contains("9 more lines") && log[3].contains("log_lines = 3"), "{log:?}");
    assert_eq!(host.newest().unwrap().log, log);
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_are_kept_and_bad_ones_are_not() {
    // The result of each call is at 32: its discriminant must be `want`.
    let body = "(call $gauge (i32.const 64) (i32.const 3) (f64.const 2.5) (i32.const 32))
        (if (i32.load8_u (i32.const 32)) (then unreachable))
        (call $gauge (i32.const 64) (i32.const 3) (f64.const nan) (i32.const 32))
        (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
        (call $gauge (i32.const 64) (i32.const 5) (f64.const 1) (i32.const 32))
        (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
        (call $gauge (i32.const 64) (i32.const 0) (f64.const 1) (i32.const 32))
        (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
        (i32.const 16)";
    let fields = "(memory (export \"memory\") 2) (data (i32.const 64) \"a_1 B\")";
    let host = Host::new(&Guest::new(body).imports(&[GAUGE]).fields(fields), "", "").await;
    host.run().await.unwrap();
    let gauges = host.plugins.metrics();
    assert_eq!(gauges.len(), 1, "{gauges:?}");
    assert_eq!((gauges[0].plugin.as_str(), gauges[0].name.as_str(), gauges[0].value), ("p", "a_1", 2.5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_handed_over() {
    // Logs what it got: the pointer and the length are at 32.
    let body = "(call $config (i32.const 32)) (call $log (i32.const 1) (i32.load (i32.const 32)) (i32.load (i32.const 36))) (i32.const 16)";
    let guest = Guest::new(body).imports(&[CONFIG, LOG]).about("[config]\ntype = \"object\"");
    let host =
        Host::new(&guest, "", "[plugins.p.config]\ndays = 3\n[plugins.p.config.deep]\nx = [1, 2]").await;
    let log = host.run().await.unwrap().log;
    let got: Value = serde_json::from_str(log[0].strip_prefix("info: ").unwrap()).unwrap();
    assert_eq!(got, serde_json::json!({ "days": 3, "deep": { "x": [1, 2] } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_gives_what_the_grant_lets_see_and_then_nothing() {
    // Each step must give the named number of summaries.
    let body = "(call $next (local.get $cursor) (i32.const 0) (i32.const 32))
        (if (i32.ne (i32.load (i32.const 36)) (i32.const 1)) (then unreachable))
        (call $next (local.get $cursor) (i32.const -1) (i32.const 32))
        (if (i32.ne (i32.load (i32.const 36)) (i32.const 1)) (then unreachable))
        (call $next (local.get $cursor) (i32.const 1) (i32.const 32))
        (if (i32.load (i32.const 36)) (then unreachable))
        (call $drop (local.get $cursor))
        (i32.const 16)";
    let guest = || Guest::new(body).imports(&[NEXT, DROP_CURSOR]).about("[grants.series]\nread = [\"*/*\"]");
    let grant = |pattern: &str| format!("[plugins.p.grants.series]\nread = [\"{pattern}\"]");
    let host = Host::new(&guest(), "", &grant("market/*.A*")).await.with_bars(&["AA", "AB", "B"]);
    host.run().await.unwrap();
    let host = Host::new(&guest(), "", &grant("metrics/*")).await.with_bars(&["AA", "AB", "B"]);
    assert!(host.run().await.unwrap_err().message().contains("unreachable"), "it sees nothing");
    // A handle that was given back is not one any more.
    let twice =
        Guest::new("(call $drop (local.get $cursor)) (call $drop (local.get $cursor)) (i32.const 16)")
            .imports(&[DROP_CURSOR]);
    assert_eq!(fails(&twice, "").await.kind(), Kind::Plugin);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_one_plugin_do_not_overlap_and_end_though_nobody_waits() {
    let host = Host::new(&Guest::new(LOOP), "", "[plugins.p.limits]\ndeadline = \"1 s\"").await;
    let plugins = host.plugins.clone();
    let first = tokio::spawn(async move { plugins.run(&OP, "p", RunOptions::default()).await });
    until("it runs", || host.newest().is_some_and(|r| r.state == "running")).await;
    let e = host.run().await.unwrap_err();
    assert!(e.kind() == Kind::Busy && e.message().contains("`p`"), "{e:?}");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(host.run().await.unwrap_err().kind(), Kind::Busy, "it goes on though its client went away");
    until("it ended and was noted", || host.newest().is_some_and(|r| r.state == "failed")).await;
    assert!(host.newest().unwrap().error.unwrap().contains("limits.deadline"));
}
