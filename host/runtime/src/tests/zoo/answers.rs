//! Answers and arguments that lie: addresses, lengths, tags, texts, numbers.

use super::super::guest::{CONFIG, GAUGE, LIST, LOG, NEXT, Wat};
use super::{ASKS_SERIES, Beast, EMPTY, End, READS, survive, words};
use shiphold_storage::Kind;

const TRAPPED: End = End::Fails(Kind::Plugin, &["trapped"]);
const UNALIGNED: End = End::Fails(Kind::Plugin, &["align"]);

/// An answer whose bytes at 16 are these words.
fn answer(name: &'static str, at: &[u32], end: End) -> Beast {
    let fields = format!("(memory (export \"memory\") 2) (data (i32.const 16) {})", words(at));
    Beast::of(name, &Wat::policy(EMPTY).fields(fields), end)
}

/// A refusal of this case with this text.
fn refusal(name: &'static str, case: u32, text: &str, end: End) -> Beast {
    // An escape of three characters is one byte.
    let len = text.len() - 2 * text.matches('\\').count();
    let fields = format!(
        "(memory (export \"memory\") 2) (data (i32.const 16) {}) (data (i32.const 64) \"{text}\")",
        words(&[1, case, 64, u32::try_from(len).unwrap()])
    );
    Beast::of(name, &Wat::policy(EMPTY).fields(fields), end)
}

/// A plan of one action of this tag.
fn action(name: &'static str, tag: u32, more: &[u32], end: End) -> Beast {
    let mut at = vec![tag, 0];
    at.extend(more);
    let fields = format!(
        "(memory (export \"memory\") 2) (data (i32.const 16) {}) (data (i32.const 1024) {})",
        words(&[0, 1024, 1, 0]),
        words(&at)
    );
    Beast::of(name, &Wat::policy(EMPTY).fields(fields), end)
}

fn result_at(name: &'static str, at: &str, end: End) -> Beast {
    Beast::of(name, &Wat::policy(format!("(i32.const {at})")), end)
}

pub(super) fn beasts() -> Vec<Beast> {
    let refused = |words| End::Fails(Kind::Plugin, words);
    let config = |name, at: &str, end: End| {
        let wat = Wat::policy("(call $config (i32.const 32)) (i32.const 16)").import(CONFIG);
        Beast::of(name, &wat.realloc(at), end)
    };
    // A page of summaries is a list of records, which stand at multiples of eight.
    let step = |name, at: &str, end: End| {
        let wat = Wat::policy("(call $next (local.get $cursor) (i32.const 9) (i32.const 32)) (i32.const 16)");
        Beast::of(name, &wat.import(NEXT).about(ASKS_SERIES).realloc(at), end).with(READS)
    };
    let log = |name, level: i32, at: i64, len: i64, end: End| {
        let body =
            format!("(call $log (i32.const {level}) (i32.const {at}) (i32.const {len})) (i32.const 16)");
        let fields = "(memory (export \"memory\") 2) (data (i32.const 64) \"\\ff\\fe\\ed\\a0\\80\\1b[2J\\00\\e2\\80\\aeabc\")";
        Beast::of(name, &Wat::policy(body).import(LOG).fields(fields), end)
    };
    let gauge = |name, value: &str| {
        let body = format!(
            "(call $gauge (i32.const 64) (i32.const 3) (f64.const {value}) (i32.const 32))
             (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable)) (i32.const 16)"
        );
        let fields = "(memory (export \"memory\") 2) (data (i32.const 64) \"a_1\")";
        Beast::of(name, &Wat::policy(body).import(GAUGE).fields(fields), End::Harmless)
    };
    let option = "(call $list (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)) (i32.const 16)";
    let list = |name, body: &str, end: End| {
        Beast::of(name, &Wat::policy(body).import(LIST).about(ASKS_SERIES), end).with(READS)
    };
    vec![
        answer("neither-ok-nor-error", &[7], TRAPPED),
        answer("an-error-of-no-kind", &[1, 99, 64, 3], TRAPPED),
        answer("an-unaligned-list", &[0, 1025, 1, 0], UNALIGNED),
        answer("a-list-that-holds-itself", &[0, 16, 1, 0], End::Fails(Kind::Plugin, &[])),
        answer("a-list-at-the-end", &[0, 131_064, 1, 0], TRAPPED),
        answer("an-empty-list-far-away", &[0, 0x7fff_fff8, 0, 0], TRAPPED),
        answer("more-and-nothing", &[0, 0, 0, 1], refused(&["more"])),
        answer("more-than-true", &[0, 0, 0, 0xff], refused(&["more"])),
        answer("an-error-of-two-gib", &[1, 0, 64, 1 << 31], TRAPPED),
        answer("an-error-of-all-ones", &[1, 0, 0xffff_ffff, 0xffff_ffff], TRAPPED),
        answer("an-error-beyond-the-end", &[1, 0, 131_071, 2], TRAPPED),
        refusal("an-error-that-is-not-utf-8", 0, "\\ff\\fe", TRAPPED),
        refusal("an-error-with-a-surrogate", 3, "\\ed\\a0\\80", TRAPPED),
        refusal("an-error-that-steers", 6, "\\1b[2J\\00\\e2\\80\\aegpj", refused(&["refused", "\\u{1b}[2J"])),
        refusal("an-error-without-words", 2, "", refused(&["refused"])),
        action("an-action-of-no-kind", 200, &[], TRAPPED),
        action("an-action-without-names", 2, &[], refused(&["refused whole"])),
        action("an-action-with-two-gib-of-tags", 2, &[0, 0, 0, 0, 64, 1 << 31], TRAPPED),
        action("an-action-whose-name-is-not-utf-8", 2, &[1024, 200], refused(&[])),
        action(
            "an-action-with-overlapping-names",
            2,
            &[1032, 4, 1033, 4, 0, 0, 0, 0],
            End::Fails(Kind::Denied, &["series.drop", "\\u{8}"]),
        ),
        result_at("an-unaligned-answer", "17", UNALIGNED),
        result_at("an-answer-beyond-its-memory", "131072", TRAPPED),
        result_at("an-answer-across-the-end", "131064", TRAPPED),
        result_at("an-answer-at-two-gib", "0x80000000", TRAPPED),
        result_at("an-answer-at-the-end-of-addresses", "-8", TRAPPED),
        log("a-level-of-no-kind", 9, 64, 1, TRAPPED),
        log("a-negative-level", -1, 64, 1, TRAPPED),
        log("a-line-that-is-not-utf-8", 1, 64, 2, TRAPPED),
        log("a-line-with-a-surrogate", 1, 66, 3, TRAPPED),
        log("a-line-that-steers", 1, 69, 11, End::Harmless),
        log("a-line-of-two-gib", 1, 0, 0x8000_0000, TRAPPED),
        log("a-line-of-all-ones", 1, 0xffff_ffff, 0xffff_ffff, TRAPPED),
        log("a-line-beyond-the-end", 1, 131_071, 2, TRAPPED),
        log("an-empty-line-at-the-end", 1, 131_072, 0, End::Harmless),
        gauge("measures-nan", "nan"),
        gauge("measures-infinity", "inf"),
        gauge("measures-minus-infinity", "-inf"),
        gauge("measures-a-signalling-nan", "nan:0x4000000000000"),
        list("an-option-of-no-kind", option, TRAPPED),
        list(
            "an-answer-of-the-host-beyond-memory",
            &option
                .replace("(i32.const 7)", "(i32.const 0)")
                .replace("(i32.const 32))", "(i32.const 131072))"),
            TRAPPED,
        ),
        list(
            "an-unaligned-answer-of-the-host",
            &option.replace("(i32.const 7)", "(i32.const 0)").replace("(i32.const 32))", "(i32.const 33))"),
            UNALIGNED,
        ),
        config("reallocs-at-zero", "(i32.const 0)", End::Harmless),
        config("reallocs-at-the-same-place", "(i32.const 1024)", End::Harmless),
        config("reallocs-over-its-answer", "(i32.const 32)", End::Harmless),
        config("reallocs-at-the-end", "(i32.const 131071)", End::Fails(Kind::Plugin, &["realloc return"])),
        config(
            "reallocs-at-two-gib",
            "(i32.const 0x80000000)",
            End::Fails(Kind::Plugin, &["realloc return"]),
        ),
        config(
            "reallocs-at-the-end-of-addresses",
            "(i32.const -1)",
            End::Fails(Kind::Plugin, &["realloc return"]),
        ),
        step("reallocs-unaligned", "(i32.const 1025)", UNALIGNED),
        step("reallocs-all-at-one-place", "(i32.const 1024)", End::Harmless),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_is_not_believed() {
    survive(beasts()).await;
}
