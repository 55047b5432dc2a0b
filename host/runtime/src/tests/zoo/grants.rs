//! Plans and calls beyond what was granted, and paths that lead elsewhere.

use super::super::guest::{CLOCK, LIST, RANDOM, Wat};
use super::{ASKS_SERIES, Beast, End, READS, survive, words};
use shiphold_storage::Kind;

const SETTING: &str =
    r#"(import "shiphold:host/settings@0.1.2" "get" (func $setting (param i32 i32 i32 i32 i32)))"#;
const WRITE: &str = r#"(import "shiphold:host/series@0.1.2" "write"
    (func $write (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
const SCAN: &str = r#"(import "shiphold:host/series@0.1.2" "open-scan"
    (func $scan (param i32 i32 i32 i32 i32 i32 i64 i64 i32 i32 i32)))"#;

const ALL: &str = "[@.grants.series]\nread = [\"*/*\"]\nwrite = [\"*/*\"]\ndrop = [\"*/*\"]\n";

/// Text for a data segment, with its bytes.
pub(super) struct Heap {
    pub(super) at: u32,
    pub(super) data: String,
}

impl Heap {
    pub(super) fn text(&mut self, bytes: &[u8]) -> [u32; 2] {
        let at = self.at;
        let escaped: String = bytes.iter().map(|b| format!("\\{b:02x}")).collect();
        self.data.push_str(&format!("(data (i32.const {at}) \"{escaped}\")"));
        let len = u32::try_from(bytes.len()).unwrap();
        self.at += len;
        [at, len]
    }
}

enum Step<'a> {
    /// Bucket, measurement, timeframe.
    Roll(&'a [u8], &'a [u8], &'a [u8]),
    /// Bucket, measurement, store.
    Archive(&'a [u8], &'a [u8], &'a [u8]),
    Drop(&'a [u8], &'a [u8]),
    /// Store, path.
    DropFile(&'a [u8], &'a [u8]),
}

/// A plan of these steps before the end of time, `times` of them.
fn plan(steps: &[Step], times: u32) -> Wat {
    let mut heap = Heap { at: 4096, data: String::new() };
    let mut all = Vec::new();
    const END: [u32; 2] = [u32::MAX, i32::MAX as u32];
    for step in steps {
        let (tag, body): (u32, Vec<u32>) = match step {
            Step::Roll(bucket, name, timeframe) => {
                (0, [heap.text(bucket), heap.text(name), [0, 0], heap.text(timeframe), END].concat())
            }
            Step::Archive(bucket, name, store) => {
                (1, [heap.text(bucket), heap.text(name), [0, 0], heap.text(store), [1, 0]].concat())
            }
            Step::Drop(bucket, name) => (2, [heap.text(bucket), heap.text(name), [0, 0], END].concat()),
            Step::DropFile(store, path) => (3, [heap.text(store), heap.text(path)].concat()),
        };
        let mut one = vec![tag, 0];
        one.extend(body);
        one.resize(12, 0);
        all.extend(one);
    }
    let count = u32::try_from(steps.len()).unwrap();
    let fields = format!(
        "(memory (export \"memory\") 20) (data (i32.const 16) {}) (data (i32.const 131072) {}) {}",
        words(&[0, 131_072, count * times, 0]),
        words(&all),
        heap.data
    );
    // The list is written out once and copied behind itself.
    let spread = if times == 1 {
        String::new()
    } else {
        format!(
            "(local $i i32) (loop $l (memory.copy (i32.add (i32.const 131120) (local.get $i)) (i32.const 131072) (i32.const 48))
                (local.set $i (i32.add (local.get $i) (i32.const 48)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const {}))))",
            48 * (times - 1)
        )
    };
    Wat::policy(format!("{spread} (i32.const 16)"))
        .fields(fields)
        .about(&format!("{ASKS_SERIES}\n[grants.files]\nread = [\"*\"]\nwrite = [\"*\"]"))
}

pub(super) fn beasts() -> Vec<Beast> {
    let (market, bars): (&[u8], &[u8]) = (b"market", b"bar.1d.A");
    let refused = |words| End::Fails(Kind::Denied, words);
    let one = |name, step: Step, end: End| Beast::of(name, &plan(&[step], 1), end).with(ALL);
    let fault = |words| End::Fails(Kind::Plugin, words);
    let settings = |name, namespace: &str, key: &str| {
        let mut heap = Heap { at: 64, data: String::new() };
        let ([n, nl], [k, kl]) = (heap.text(namespace.as_bytes()), heap.text(key.as_bytes()));
        let body = format!(
            "(call $setting (i32.const {n}) (i32.const {nl}) (i32.const {k}) (i32.const {kl}) (i32.const 32))
             (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable)) (i32.const 16)"
        );
        let fields = format!("(memory (export \"memory\") 2) {}", heap.data);
        let wat = Wat::policy(body).fields(fields).import(SETTING).about("[grants.settings]\nread = [\"*\"]");
        Beast::of(name, &wat, End::Harmless).with("[@.grants.settings]\nread = [\"own\"]\n")
    };
    // A write of one row; the guest traps if it is taken.
    let write = |name, bucket: &str, measurement: &str, column: &[u32], grants: &str| {
        let mut heap = Heap { at: 512, data: String::new() };
        let ([b, bl], [m, ml]) = (heap.text(bucket.as_bytes()), heap.text(measurement.as_bytes()));
        let body = format!(
            "(call $write (i32.const {b}) (i32.const {bl}) (i32.const {m}) (i32.const {ml}) (i32.const 0) (i32.const 0)
                (i32.const 64) (i32.const 1) (i32.const 80) (i32.const 1) (i32.const 32))
             (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable)) (i32.const 16)"
        );
        // At 64 a time, at 80 the column, at 120 its name, at 128 not a number.
        let fields = format!(
            "(memory (export \"memory\") 2) (data (i32.const 80) {}) (data (i32.const 120) \"close\")
             (data (i32.const 128) \"\\00\\00\\00\\00\\00\\00\\f8\\7f\") {}",
            words(column),
            heap.data
        );
        let wat = Wat::policy(body).fields(fields).import(WRITE).about(ASKS_SERIES);
        Beast::of(name, &wat, End::Harmless).with(grants)
    };
    let scan = |name, bucket: &str, measurement: &str, taken: &str| {
        let mut heap = Heap { at: 512, data: String::new() };
        let ([b, bl], [m, ml]) = (heap.text(bucket.as_bytes()), heap.text(measurement.as_bytes()));
        let body = format!(
            "(call $scan (i32.const {b}) (i32.const {bl}) (i32.const {m}) (i32.const {ml}) (i32.const 0) (i32.const 0)
                (i64.const 0) (i64.const 9) (i32.const 0) (i32.const 0) (i32.const 32))
             {taken} (i32.const 16)"
        );
        let fields = format!("(memory (export \"memory\") 2) {}", heap.data);
        let wat = Wat::policy(body).fields(fields).import(SCAN).about(ASKS_SERIES);
        Beast::of(name, &wat, End::Harmless).with("[@.grants.series]\nread = [\"market/tick.*\"]\n")
    };
    let trap_if_taken = "(if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))";
    let floats = |at: u32, len: u32| vec![120, 5, 0, at, len, 0, 0];
    let imports = |name, import: &str, call: &str, words| {
        let wat = Wat::policy(format!("{call} (i32.const 16)")).import(import);
        Beast::of(name, &wat, End::Refused(words))
    };
    vec![
        one("drops-everything", Step::Drop(market, bars), refused(&["refused whole", "bar.1d.A"])),
        one("drops-with-a-pattern", Step::Drop(b"*", b"*"), End::Fails(Kind::Denied, &["refused"])),
        Beast::of("drops-what-it-only-reads", &plan(&[Step::Drop(market, bars)], 1), refused(&["series.drop"]))
            .with(READS),
        Beast::of(
            "drops-ten-thousand-times",
            &plan(&[Step::Drop(market, bars)], 10_000),
            refused(&["refused whole", "more"]),
        )
        .with(ALL),
        Beast::of(
            "hides-a-drop-among-rollups",
            &plan(&[Step::Roll(market, bars, b"1w"), Step::Drop(market, bars)], 1),
            refused(&["refused whole"]),
        )
        .with(ALL),
        one("archives-outside", Step::Archive(market, bars, b"../../etc"), refused(&["refused"])),
        one("archives-to-the-root", Step::Archive(market, bars, b"/etc"), refused(&["refused"])),
        one("archives-where-it-has-no-grant", Step::Archive(market, bars, b"attic"), refused(&["files"])),
        one("archives-to-nul", Step::Archive(market, bars, b"attic\0"), refused(&["refused"])),
        one("drops-a-file-above", Step::DropFile(b"attic", b"../../../etc/passwd"), refused(&["refused"])),
        one("drops-a-file-of-the-root", Step::DropFile(b"attic", b"/etc/passwd"), refused(&["refused"])),
        one("drops-a-file-by-a-store-above", Step::DropFile(b"../data", b"shiphold.db"), refused(&["refused"])),
        one("drops-a-file-with-a-nul", Step::DropFile(b"attic", b"a\0b"), refused(&["refused"])),
        one("drops-a-file-that-turns", Step::DropFile(b"attic", "a\u{202e}b\u{1b}[2J".as_bytes()), refused(&["\\u{202e}"])),
        one("drops-a-file-of-no-store", Step::DropFile(b"", b"data/shiphold.db"), refused(&["refused"])),
        one("rolls-up-to-a-path", Step::Roll(market, bars, b"../../x"), refused(&["refused"])),
        one("rolls-up-to-zero", Step::Roll(market, bars, b"0d"), refused(&["refused"])),
        one("names-a-bucket-above", Step::Drop(b"../..", bars), End::Fails(Kind::Denied, &["refused"])),
        one("names-a-series-above", Step::Drop(market, b"../../etc/passwd"), End::Fails(Kind::Denied, &["refused"])),
        one("names-a-series-with-a-nul", Step::Drop(market, b"a\0b"), refused(&["refused whole", "a\\u{0}b"])),
        one("names-nothing", Step::Drop(b"", b""), fault(&["refused whole"])),
        settings("reads-settings-of-others", "secrets", "key"),
        settings("reads-settings-above", "own/../secrets", "key"),
        settings("reads-settings-of-all", "*", "*"),
        settings("reads-settings-after-a-nul", "own\0secrets", "key"),
        write("writes-where-it-may-not", "market", "bar.1d.A", &floats(64, 1), READS),
        write("writes-what-is-no-number", "market", "bar.1d.B", &floats(128, 1), ALL),
        write("writes-columns-of-other-lengths", "market", "bar.1d.B", &floats(64, 2), ALL),
        write("writes-to-a-path", "../../x", "../../y\0", &floats(64, 1), ALL),
        write("writes-over-what-is-there", "market", "bar.1d.A", &floats(64, 1), ALL),
        scan("reads-what-it-may-not", "market", "bar.1d.A", trap_if_taken),
        // Names of series that are not there: a scan of one is empty.
        scan("reads-with-a-pattern", "market", "tick.*", ""),
        scan("reads-above", "market", "tick.../../bar.1d.A", ""),
        imports("imports-the-clock", CLOCK, "(drop (call $now))", &["clock"]),
        imports("imports-randomness", RANDOM, "(call $random (i32.const 0) (i32.const 32))", &["random"]),
        imports(
            "imports-series",
            LIST,
            "(call $list (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32))",
            &["series"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_granted_is_not_done() {
    survive(beasts()).await;
}
