//! Handles that are forged, given back, given back twice, of another kind, or too many; and calls at the wrong moment.

use super::super::guest::{CONFIG, DROP_CURSOR, LOG, NEXT, Wat};
use super::{ASKS_SERIES, Beast, EMPTY, End, READS, survive};
use shiphold_storage::Kind;

const SCAN: &str = r#"(import "shiphold:host/series@0.1.2" "open-scan"
    (func $scan (param i32 i32 i32 i32 i32 i32 i64 i64 i32 i32 i32)))"#;
const SCAN_NEXT: &str =
    r#"(import "shiphold:host/series@0.1.2" "[method]scan.next" (func $scan_next (param i32 i32 i32)))"#;
const DROP_SCAN: &str =
    r#"(import "shiphold:host/series@0.1.2" "[resource-drop]scan" (func $drop_scan (param i32)))"#;

/// Opens a scan of the rows that are there; its handle is at 36.
const OPEN: &str =
    "(call $scan (i32.const 64) (i32.const 6) (i32.const 70) (i32.const 8) (i32.const 0) (i32.const 0)
    (i64.const 0) (i64.const 9000000000000000000) (i32.const 0) (i32.const 0) (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then (unreachable)))";
const NAMES: &str = "(memory (export \"memory\") 2) (data (i32.const 64) \"marketbar.1d.A\")";

pub(super) fn beasts() -> Vec<Beast> {
    let unknown = End::Fails(Kind::Plugin, &["handle"]);
    let trapped = End::Fails(Kind::Plugin, &["trapped"]);
    let next = |name, handle: &str| {
        let body = format!("(call $next {handle} (i32.const 1) (i32.const 32)) (i32.const 16)");
        Beast::of(name, &Wat::policy(body).import(NEXT), unknown.clone())
    };
    let dropping = |name, body: &str| {
        Beast::of(
            name,
            &Wat::policy(format!("{body} (i32.const 16)")).import(NEXT).import(DROP_CURSOR),
            unknown.clone(),
        )
    };
    let scanning = |name, imports: &[&str], body: &str, end: &End| {
        let wat = Wat::policy(body).fields(NAMES).import(&imports.concat()).about(ASKS_SERIES);
        Beast::of(name, &wat, end.clone()).with(READS)
    };
    let config = |name, realloc: &str, end: &End| {
        let wat = Wat::policy("(call $config (i32.const 32)) (i32.const 16)").import(CONFIG).import(LOG);
        Beast::of(name, &wat.realloc(realloc), end.clone())
    };
    vec![
        next("forges-a-handle", "(i32.const 12345)"),
        next("forges-the-handle-zero", "(i32.const 0)"),
        next("forges-the-highest-handle", "(i32.const -1)"),
        next("forges-the-next-handle", "(i32.add (local.get $cursor) (i32.const 1))"),
        dropping(
            "uses-what-it-gave-back",
            "(call $drop (local.get $cursor)) (call $next (local.get $cursor) (i32.const 1) (i32.const 32))",
        ),
        dropping("gives-back-twice", "(call $drop (local.get $cursor)) (call $drop (local.get $cursor))"),
        dropping("gives-back-what-it-never-had", "(call $drop (i32.const 77))"),
        scanning(
            "takes-a-scan-for-a-cursor",
            &[SCAN, NEXT],
            &format!("{OPEN} (call $next (i32.load (i32.const 36)) (i32.const 1) (i32.const 48)) (i32.const 16)"),
            &End::Fails(Kind::Plugin, &["trapped"]),
        ),
        scanning(
            "gives-a-cursor-back-as-a-scan",
            &[SCAN, DROP_SCAN],
            &format!("{OPEN} (call $drop_scan (local.get $cursor)) (i32.const 16)"),
            &End::Fails(Kind::Plugin, &["trapped"]),
        ),
        scanning(
            "hoards-scans",
            &[SCAN],
            &format!("(loop $l {OPEN} (br $l)) unreachable"),
            &End::Fails(Kind::Limit, &["limits.handles = 1000"]),
        ),
        scanning(
            "leaves-a-scan-open",
            &[SCAN, SCAN_NEXT],
            &format!("{OPEN} (call $scan_next (i32.load (i32.const 36)) (i32.const 1) (i32.const 64)) (i32.const 16)"),
            &End::Harmless,
        ),
        scanning(
            "leaves-nine-hundred-scans-open",
            &[SCAN],
            &format!(
                "(local $i i32) (loop $l {OPEN} (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $l (i32.lt_u (local.get $i) (i32.const 900)))) (i32.const 16)"
            ),
            &End::Harmless,
        ),
        config(
            "calls-the-host-in-realloc",
            "(call $log (i32.const 1) (i32.const 64) (i32.const 4)) (i32.const 1024)",
            &End::Fails(Kind::Plugin, &["cannot leave component instance"]),
        ),
        config("calls-its-own-export-in-realloc", "(call $plan (i32.const 1) (i64.const 1))", &trapped),
        config("traps-in-realloc", "unreachable", &End::Fails(Kind::Plugin, &["unreachable"])),
        Beast::of(
            "traps-in-post-return",
            &Wat::policy(EMPTY).post_return("plan", "unreachable"),
            End::Fails(Kind::Plugin, &["unreachable"]),
        ),
        Beast::of(
            "calls-the-host-in-post-return",
            &Wat::policy(EMPTY)
                .import(LOG)
                .post_return("plan", "(call $log (i32.const 1) (i32.const 64) (i32.const 4))"),
            End::Fails(Kind::Plugin, &["cannot leave component instance"]),
        ),
        Beast::of(
            "traps-in-start",
            &Wat::policy(EMPTY)
                .fields("(memory (export \"memory\") 2) (func $begin unreachable) (start $begin)"),
            End::Fails(Kind::Plugin, &["unreachable"]),
        ),
        Beast::of(
            "calls-the-host-in-start",
            &Wat::policy(EMPTY).import(LOG).fields(
                "(memory (export \"memory\") 2)
                 (func $begin (call $log (i32.const 1) (i32.const 64) (i32.const 4))) (start $begin)",
            ),
            trapped,
        ),
        Beast::of("traps", &Wat::policy("unreachable"), End::Fails(Kind::Plugin, &["unreachable", "plan"])),
        Beast::of(
            "divides-by-zero",
            &Wat::policy("(i32.div_u (i32.const 1) (i32.wrap_i64 (i64.and (local.get $now) (i64.const 0))))"),
            End::Fails(Kind::Plugin, &["divide by zero"]),
        ),
        Beast::of(
            "converts-what-has-no-integer",
            &Wat::policy("(i32.trunc_f64_s (f64.const inf))"),
            End::Fails(Kind::Plugin, &["overflow"]),
        ),
        Beast::of(
            "calls-nothing",
            &Wat::policy("(call_indirect (type $f) (i32.const 0))").fields(
                "(memory (export \"memory\") 2) (type $f (func (result i32))) (table 1 funcref)",
            ),
            End::Fails(Kind::Plugin, &["trapped"]),
        ),
        Beast::of(
            "calls-another-type",
            &Wat::policy("(call_indirect (type $f) (i32.const 0))").fields(
                "(memory (export \"memory\") 2) (type $f (func (result i32))) (table funcref (elem $realloc))",
            ),
            End::Fails(Kind::Plugin, &["type mismatch"]),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_its_own_it_does_not_get() {
    survive(beasts()).await;
}
