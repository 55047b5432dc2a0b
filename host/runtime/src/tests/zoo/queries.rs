//! Query builders: what they describe, what they build, what they make of the rows.

use super::super::guest::{BUMP, LOG, Wat};
use super::{BUILT, Beast, End, READS, SAME, SOON, builder, survive, words};
use shiphold_storage::Kind;

const TRAPPED: End = End::Fails(Kind::Plugin, &["trapped"]);

/// Gives back a query that stands at 1024.
fn built(query: &str) -> Wat {
    let mut wat = builder("q", "(i32.const 240)", "");
    let escaped: String = query.bytes().map(|b| format!("\\{b:02x}")).collect();
    let len = u32::try_from(query.len()).unwrap();
    wat.fields = format!("{} (data (i32.const 240) {})", wat.fields, words(&[0, 131_072, len]));
    wat.fields =
        format!("{} (data (i32.const 131072) \"{escaped}\")", wat.fields.replace("\") 20)", "\") 400)"));
    wat.about("[grants.series]\nread = [\"*/*\"]")
}

/// A frame at 192: its times and columns, and data.
fn frame(times: [u32; 2], columns: [u32; 2], data: &str) -> Wat {
    let mut wat = builder("q", BUILT, "(i32.const 192)");
    wat.fields = format!(
        "{} (data (i32.const 192) {}) {data}",
        wat.fields,
        words(&[0, times[0], times[1], columns[0], columns[1]])
    );
    wat
}

/// What a description is, in place of the honest one.
fn describing(body: &str, data: &str) -> Wat {
    let mut wat = Wat::new("query-builder")
        .about("[grants.series]\nread = [\"*/*\"]")
        .fields(format!("(memory (export \"memory\") 20) {data}"));
    wat.realloc = BUMP.into();
    wat.function("describe", "", body).function("build", "(param i32 i32 i32 i32)", "unreachable").function(
        "transform",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32)",
        "unreachable",
    )
}

/// One query of this name, with a parameter whose default is this text.
fn one_query(name: &str, default: &str) -> Wat {
    let len = |s: &str| u32::try_from(s.len()).unwrap();
    let text = |s: &str| s.bytes().map(|b| format!("\\{b:02x}")).collect::<String>();
    let params = u32::from(!default.is_empty());
    let data = format!(
        "(data (i32.const 128) {}) (data (i32.const 160) {}) (data (i32.const 256) {}) (data (i32.const 320) \"p\")
         (data (i32.const 4096) \"{}\") (data (i32.const 65536) \"{}\")",
        words(&[4096, len(name), 0, 0, 256, params, 0]),
        words(&[0, 128, 1]),
        words(&[320, 1, 0, 0, 0, 1, 65_536, len(default)]),
        text(name),
        text(default),
    );
    describing("(i32.const 160)", &data)
}

/// A column named `c` of this case of values, and flags.
fn column(case: u32, at: u32, len: u32, valid: u32) -> String {
    format!(
        "(data (i32.const 300) \"c\") (data (i32.const 320) {})",
        words(&[300, 1, case, at, len, 400, valid])
    )
}

pub(super) fn beasts() -> Vec<Beast> {
    let of = |name, wat: &Wat, end: End| Beast::of(name, wat, end).with(READS);
    let soon = |name, wat: &Wat| {
        let late = End::Fails(Kind::Timeout, &["limits.deadline = 100 ms"]);
        Beast::of(name, wat, late).with(&format!("{SOON}{READS}"))
    };
    let refused = |name, wat: &Wat, words| Beast::of(name, wat, End::Refused(words)).with(READS);
    let fault = |words| End::Fails(Kind::Plugin, words);
    let ask = |name, query: &str, kind, words| of(name, &built(query), End::Fails(kind, words));
    let transform = |name, body: &str, end: End| of(name, &builder("q", BUILT, body), end);
    let answer = |name, at: u32, end: End| {
        let mut wat = builder("q", "(i32.const 240)", "");
        wat.fields = format!("{} (data (i32.const 240) {})", wat.fields, words(&[0, 512, at]));
        of(name, &wat, end)
    };
    let deep = |open: &str, n: usize| open.repeat(n);
    let endless = "(loop $l (br $l)) unreachable";
    vec![
        ask("builds-nothing", "", Kind::Plugin, &["no query"]),
        ask("builds-no-json", "{\"measurement\": nope", Kind::Plugin, &["no query"]),
        ask("builds-deep-json", &deep("[", 200_000), Kind::Plugin, &["no query"]),
        ask("builds-deep-objects", &deep("{\"window\":", 100_000), Kind::Plugin, &["no query"]),
        ask("builds-a-list", "[]", Kind::Invalid, &["names no measurement"]),
        ask("builds-an-unknown-key", "{\"measurement\":\"x\",\"sql\":\"drop table\"}", Kind::Plugin, &["sql"]),
        ask("asks-beyond-its-grant", "{\"bucket\":\"metrics\",\"measurement\":\"x\"}", Kind::Denied, &["series.read"]),
        ask("asks-for-everything", "{\"bucket\":\"*\",\"measurement\":\"*\"}", Kind::Denied, &[]),
        ask("asks-for-a-path", "{\"bucket\":\"../..\",\"measurement\":\"../etc\"}", Kind::Denied, &[]),
        ask("asks-for-windows-of-nothing", "{\"bucket\":\"market\",\"measurement\":\"bar.1d.A\",\"window\":{\"every\":\"0s\",\"aggregates\":[]}}", Kind::Invalid, &[]),
        ask("asks-for-tiny-windows", "{\"bucket\":\"market\",\"measurement\":\"bar.1d.A\",\"resample\":\"1ns\"}", Kind::Invalid, &[]),
        ask("asks-from-the-end-of-time", "{\"bucket\":\"market\",\"measurement\":\"bar.1d.A\",\"start\":9223372036854775807,\"end\":-9223372036854775808}", Kind::Invalid, &[]),
        of("asks-for-more-rows-than-there-may-be", &built("{\"bucket\":\"market\",\"measurement\":\"bar.1d.A\",\"limit\":18446744073709551615}"), End::Harmless),
        of("builds-nine-mebibytes", &built(&" ".repeat(9 << 20)), End::Fails(Kind::Limit, &["limits.reply"])),
        answer("builds-a-gibibyte", 1 << 30, TRAPPED),
        answer("builds-two-gib", 1 << 31, TRAPPED),
        answer("builds-all-ones", u32::MAX, TRAPPED),
        soon("builds-for-ever", &builder("q", endless, "")),
        of("traps-when-it-builds", &builder("q", "unreachable", ""), TRAPPED),
        soon("transforms-for-ever", &builder("q", BUILT, endless)),
        soon(
            "never-returns-from-transform",
            &builder("q", BUILT, SAME).post_return("transform", "(loop $l (br $l))"),
        ),
        transform("traps-when-it-transforms", "unreachable", TRAPPED),
        transform("recurses-when-it-transforms", RECURSE, fault(&["stack"])),
        transform("transforms-beyond-its-memory", "(i32.const -4)", TRAPPED),
        of("gives-times-without-columns", &frame([1024, 5], [0, 0], ""), End::Harmless),
        of("gives-more-rows-than-it-got", &frame([1024, 100_000], [0, 0], ""), End::Harmless),
        of("gives-a-giant-frame", &frame([8, 160_000], [320, 1], &column(0, 8, 160_000, 0)), End::Harmless),
        of("gives-columns-of-other-lengths", &frame([1024, 2], [320, 1], &column(0, 1024, 3, 0)), fault(&["values"])),
        of("gives-flags-of-other-lengths", &frame([1024, 2], [320, 1], &column(0, 1024, 2, 1)), fault(&[])),
        of("gives-infinity", &frame([1024, 1], [320, 1], &format!("{} (data (i32.const 2048) \"\\00\\00\\00\\00\\00\\00\\f0\\7f\")", column(0, 2048, 1, 0))), fault(&["finite"])),
        of("gives-nan", &frame([1024, 1], [320, 1], &format!("{} (data (i32.const 2048) \"\\00\\00\\00\\00\\00\\00\\f8\\ff\")", column(0, 2048, 1, 0))), fault(&["finite"])),
        of("gives-minus-zero", &frame([1024, 1], [320, 1], &format!("{} (data (i32.const 2048) \"\\00\\00\\00\\00\\00\\00\\00\\80\")", column(0, 2048, 1, 0))), End::Harmless),
        of("gives-values-of-no-kind", &frame([1024, 1], [320, 1], &column(9, 1024, 1, 0)), TRAPPED),
        of("gives-texts-that-are-not-utf-8", &frame([1024, 1], [320, 1], &format!("{} (data (i32.const 2048) {}) (data (i32.const 2064) \"\\ff\\fe\")", column(4, 2048, 1, 0), words(&[2064, 2]))), TRAPPED),
        of("gives-unaligned-times", &frame([1025, 1], [0, 0], ""), fault(&["align"])),
        of("gives-two-gib-of-times", &frame([1024, 1 << 31], [0, 0], ""), TRAPPED),
        of("gives-ten-thousand-columns", &frame([1024, 0], [4096, 10_000], ""), fault(&[])),
        of("gives-columns-of-one-name", &frame([1024, 0], [320, 2], &format!("{} (data (i32.const 348) {})", column(0, 0, 0, 0), words(&[300, 1, 0, 0, 0, 0, 0]))), fault(&[])),
        refused("describes-for-ever", &describing(endless, ""), &["limits.deadline"]),
        refused("traps-when-it-describes", &describing("unreachable", ""), &["trapped"]),
        refused("describes-ten-thousand", &describing("(i32.const 160)", &format!("(data (i32.const 160) {})", words(&[0, 4096, 10_000]))), &["64"]),
        refused("describes-two-gib", &describing("(i32.const 160)", &format!("(data (i32.const 160) {})", words(&[0, 4096, 1 << 31]))), &["trapped"]),
        refused("describes-a-path", &one_query("../../etc", ""), &["is no name"]),
        refused("describes-what-turns", &one_query("q\u{202e}\u{1b}[2J", ""), &["is no name", "\\u{202e}"]),
        refused("describes-a-giant-name", &one_query(&"q".repeat(50_000), ""), &["is no name"]),
        refused("describes-a-deep-default", &one_query("q", &deep("[", 100_000)), &["no JSON"]),
        refused("describes-an-object-as-default", &one_query("q", "{\"a\":1}"), &["not a text"]),
        refused("describes-and-logs-in-realloc", &describing("unreachable", "").import(LOG), &["trapped"]),
    ]
    .into_iter()
    .map(|b| match b.name {
        "describes-for-ever" => b.with(&format!("{SOON}{READS}")),
        _ => b,
    })
    .collect()
}

const RECURSE: &str = "(call $transform (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
    (local.get 5) (local.get 6) (local.get 7) (local.get 8))";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_builder_says_is_checked() {
    survive(beasts()).await;
}
