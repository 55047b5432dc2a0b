//! Code that never ends, wherever a host calls into a guest: its deadline or its fuel ends it.

use super::super::guest::{CLOCK, CONFIG, GAUGE, LIST, LOG, NEXT, RANDOM, Wat};
use super::{ASKS_SERIES, Beast, EMPTY, End, READS, SOON, survive};
use shiphold_storage::Kind;

const LATE: End = End::Fails(Kind::Timeout, &["limits.deadline = 100 ms"]);
const MEBIBYTE: &str = "(memory (export \"memory\") 40)";

fn endless(body: &str) -> String {
    format!("(loop $l {body} (br $l)) unreachable")
}

pub(super) fn beasts() -> Vec<Beast> {
    let plain = |name, body: &str| Beast::of(name, &Wat::policy(body).fields(MEBIBYTE), LATE).with(SOON);
    let with = |name, imports: &[&str], about: &str, body: &str| {
        let wat = Wat::policy(body).fields(MEBIBYTE).import(&imports.concat()).about(about);
        let reads = if about.contains("series") { READS } else { "" };
        let grants = about.replace("[grants]", "[@.grants]");
        let grants = if reads.is_empty() { grants } else { reads.to_string() };
        Beast::of(name, &wat, LATE).with(&format!("{SOON}{grants}"))
    };
    let tables = "(memory (export \"memory\") 2) (table $t 9000 funcref) (table $u 1 funcref)";
    vec![
        plain("loops", &endless("")),
        plain("loops-by-table", "(loop $l (br_table $l $l $l (i32.wrap_i64 (local.get $now)))) unreachable"),
        plain("loops-by-tail-calls", "(return_call $plan (local.get $cursor) (local.get $now))"),
        plain("counts", &endless("(local.set $now (i64.div_u (local.get $now) (i64.const 3)))")),
        plain("fills", &endless("(memory.fill (i32.const 65536) (i32.const 7) (i32.const 2097152))")),
        plain("copies", &endless("(memory.copy (i32.const 65536) (i32.const 65537) (i32.const 2097151))")),
        plain("fills-nothing", &endless("(memory.fill (i32.const 65536) (i32.const 7) (i32.const 0))")),
        plain("grows-by-nothing", &endless("(drop (memory.grow (i32.const 0)))")),
        Beast::of(
            "fills-tables",
            &Wat::policy(endless("(table.fill $t (i32.const 0) (ref.null func) (i32.const 9000))"))
                .fields(tables.replace("(table $u 1 funcref)", "")),
            LATE,
        )
        .with(SOON),
        Beast::of(
            "loops-in-start",
            &Wat::policy(EMPTY)
                .fields("(memory (export \"memory\") 2) (func $begin (loop $l (br $l))) (start $begin)"),
            LATE,
        )
        .with(SOON),
        Beast::of(
            "loops-in-realloc",
            &Wat::policy("(call $config (i32.const 32)) (i32.const 16)")
                .import(CONFIG)
                .realloc("(loop $l (br $l)) unreachable"),
            LATE,
        )
        .with(SOON),
        Beast::of(
            "loops-in-post-return",
            &Wat::policy(EMPTY).post_return("plan", "(loop $l (br $l))"),
            LATE,
        )
        .with(SOON),
        Beast::of(
            "burns-fuel",
            &Wat::policy(endless("")),
            End::Fails(Kind::Limit, &["limits.fuel = 100000"]),
        )
        .with("[@.limits]\nfuel = 100000\n"),
        Beast::of(
            "burns-fuel-in-post-return",
            &Wat::policy(EMPTY).post_return("plan", "(loop $l (br $l))"),
            End::Fails(Kind::Limit, &["limits.fuel = 100000"]),
        )
        .with("[@.limits]\nfuel = 100000\n"),
        with(
            "logs-for-ever",
            &[LOG],
            "",
            &endless("(call $log (i32.const 1) (i32.const 64) (i32.const 4096))"),
        ),
        with(
            "measures-for-ever",
            &[GAUGE],
            "",
            // A name of eight digits that counts up: more names than a plugin may have.
            &endless(
                "(i64.store (i32.const 64) (i64.or (i64.const 0x3030303030303030)
                    (i64.and (local.get $now) (i64.const 0x0707070707070707))))
                 (local.set $now (i64.add (local.get $now) (i64.const 0x0001000100010001)))
                 (global.set $free (i32.const 65536))
                 (call $gauge (i32.const 64) (i32.const 8) (f64.const 1) (i32.const 32))",
            ),
        ),
        with("asks-the-time-for-ever", &[CLOCK], "[grants]\nclock = true", &endless("(drop (call $now))")),
        with(
            "draws-for-ever",
            &[RANDOM],
            "[grants]\nrandom = true",
            &endless("(global.set $free (i32.const 65536)) (call $random (i32.const 65536) (i32.const 32))"),
        ),
        with(
            "steps-for-ever",
            &[NEXT],
            "",
            &endless("(call $next (local.get $cursor) (i32.const 1000) (i32.const 32))"),
        ),
        with(
            "lists-for-ever",
            &[LIST],
            ASKS_SERIES,
            &endless(
                "(call $list (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32))",
            ),
        ),
        with(
            "reads-its-configuration-for-ever",
            &[CONFIG],
            "",
            &endless("(global.set $free (i32.const 65536)) (call $config (i32.const 32))"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_ended() {
    survive(beasts()).await;
}
