//! Room: memories, tables, stacks, and what is handed over.

use super::super::guest::{CONFIG, LIST, LOG, RANDOM, Wat};
use super::{ASKS_SERIES, Beast, EMPTY, End, READS, plan_of, survive};
use shiphold_storage::Kind;

const MEMORY: End = End::Fails(Kind::Limit, &["limits.memory = 64 MiB"]);
const TABLES: End = End::Fails(Kind::Limit, &["limits.table_entries = 10000"]);
const REPLY: End = End::Fails(Kind::Limit, &["limits.reply = 8 MiB"]);
const STACK: End = End::Fails(Kind::Plugin, &["stack"]);
const OUTSIDE: End = End::Fails(Kind::Plugin, &["out of bounds"]);

/// A function with so many locals of 64 bits that calls itself.
fn wide(locals: usize) -> String {
    format!(
        "(memory (export \"memory\") 2) (func $deep (param i64) (result i64) (local {})
            (local.set 1 (local.get 0))
            (i64.add (local.get 1) (call $deep (i64.add (local.get 0) (i64.const 1)))))",
        "i64 ".repeat(locals)
    )
}

pub(super) fn beasts() -> Vec<Beast> {
    let of = |name, fields: &str, body: &str, end| Beast::of(name, &Wat::policy(body).fields(fields), end);
    let memory = |pages: &str| format!("(memory (export \"memory\") {pages})");
    let giant_list = "(call $list (i32.const 0) (i32.const 12582912) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)) (i32.const 16)";
    vec![
        of("grows-at-once", &memory("2"), "(drop (memory.grow (i32.const 60000))) (i32.const 16)", MEMORY),
        of(
            "grows-by-pages",
            &memory("2"),
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.const 16)",
            MEMORY,
        ),
        of("begins-with-4-gib", &memory("65536"), EMPTY, MEMORY),
        of("begins-over-its-limit", &memory("1025"), EMPTY, MEMORY),
        of("may-grow-for-ever", &memory("2 65536"), EMPTY, End::Harmless),
        of("grows-beyond-the-world", &memory("2 3"), "(drop (memory.grow (i32.const -1))) (i32.const 16)", MEMORY),
        of(
            "grows-its-table",
            "(memory (export \"memory\") 2) (table $t 1 funcref)",
            "(drop (table.grow $t (ref.null func) (i32.const 10000))) (i32.const 16)",
            TABLES,
        ),
        of(
            "grows-its-table-for-ever",
            "(memory (export \"memory\") 2) (table $t 1 funcref)",
            "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1)))) (i32.const 16)",
            TABLES,
        ),
        of("begins-with-a-wide-table", "(memory (export \"memory\") 2) (table 10001 funcref)", EMPTY, TABLES),
        of("recurses", &memory("2"), "(call $plan (local.get $cursor) (local.get $now))", STACK),
        of("recurses-with-many-locals", &wide(49_000), "(drop (call $deep (i64.const 1))) (i32.const 16)", STACK),
        of(
            "recurses-through-a-table",
            "(memory (export \"memory\") 2) (type $f (func (result i32))) (table funcref (elem $again))
             (func $again (type $f) (i32.add (i32.const 1) (call_indirect (type $f) (i32.const 0))))",
            "(call $again)",
            STACK,
        ),
        Beast::of(
            "recurses-through-host-calls",
            &Wat::policy("(call $log (i32.const 1) (i32.const 64) (i32.const 4)) (call $plan (local.get $cursor) (local.get $now))")
                .import(LOG),
            STACK,
        ),
        Beast::of(
            "recurses-in-realloc",
            &Wat::policy("(call $config (i32.const 32)) (i32.const 16)").import(CONFIG).realloc(
                "(call $realloc (local.get $old) (local.get $had) (local.get $align) (local.get $size))",
            ),
            STACK,
        ),
        Beast::of(
            "grows-in-realloc",
            &Wat::policy("(call $config (i32.const 32)) (i32.const 16)")
                .import(CONFIG)
                .realloc("(drop (memory.grow (i32.const 60000))) (i32.const 1024)"),
            MEMORY,
        ),
        Beast::of(
            "draws-more-than-it-holds",
            &Wat::policy("(loop $l (call $random (i32.const 65536) (i32.const 32)) (br $l)) unreachable")
                .import(RANDOM)
                .about("[grants]\nrandom = true"),
            OUTSIDE_REALLOC,
        )
        .with("[@.grants]\nrandom = true\n"),
        of("data-beyond-its-memory", "(memory (export \"memory\") 2) (data (i32.const 131071) \"ab\")", EMPTY, OUTSIDE),
        of(
            "data-far-beyond-its-memory",
            "(memory (export \"memory\") 2) (data (i32.const -1) \"ab\")",
            EMPTY,
            OUTSIDE,
        ),
        of(
            "elements-beyond-its-table",
            "(memory (export \"memory\") 2) (table 1 funcref) (elem (i32.const 1) $realloc)",
            EMPTY,
            OUTSIDE,
        ),
        of("loads-beyond-its-memory", &memory("2"), "(i32.load (i32.const 131072))", OUTSIDE),
        of("loads-at-the-end-of-addresses", &memory("2"), "(i32.load offset=4294967295 (i32.const -1))", OUTSIDE),
        of("logs-beyond-its-memory", &memory("2"), "(i32.load (i32.const -4))", OUTSIDE),
        Beast::of(
            "says-a-giant-line",
            &Wat::policy("(call $log (i32.const 1) (i32.const 0) (i32.const 62914560)) (i32.const 16)")
                .fields("(memory (export \"memory\") 1000)")
                .import(LOG),
            REPLY,
        ),
        Beast::of(
            "asks-with-a-giant-text",
            &Wat::policy(giant_list).fields("(memory (export \"memory\") 200)").import(LIST).about(ASKS_SERIES),
            REPLY,
        )
        .with(READS),
        of(
            "a-hundred-thousand-actions",
            &format!("(memory (export \"memory\") 80) {}", plan_of(100_000)),
            EMPTY,
            End::Fails(Kind::Limit, &["limits.reply = 8 MiB"]),
        ),
        of(
            "a-hundred-thousand-actions-with-room",
            &format!("(memory (export \"memory\") 80) {}", plan_of(100_000)),
            EMPTY,
            End::Fails(Kind::Limit, &["limits.actions = 10000"]),
        )
        .with("[@.limits]\nreply = \"64 MiB\"\n"),
        of(
            "an-action-too-many",
            &format!("(memory (export \"memory\") 80) {}", plan_of(10_001)),
            EMPTY,
            End::Fails(Kind::Limit, &["limits.actions = 10000"]),
        ),
        of(
            "a-million-actions",
            &format!("(memory (export \"memory\") 800) {}", plan_of(1_000_000)),
            EMPTY,
            REPLY,
        ),
        of("actions-beyond-its-memory", &format!("(memory (export \"memory\") 2) {}", plan_of(1 << 20)), EMPTY, ANSWER),
        of("two-gib-of-actions", &format!("(memory (export \"memory\") 2) {}", plan_of(1 << 31)), EMPTY, ANSWER),
        of("all-ones-of-actions", &format!("(memory (export \"memory\") 2) {}", plan_of(u32::MAX)), EMPTY, ANSWER),
    ]
}

/// The words differ: what counts is that the host reads nothing.
const ANSWER: End = End::Fails(Kind::Plugin, &["trapped"]);
const OUTSIDE_REALLOC: End = End::Fails(Kind::Plugin, &["realloc return"]);

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_much_is_stopped() {
    survive(beasts()).await;
}
