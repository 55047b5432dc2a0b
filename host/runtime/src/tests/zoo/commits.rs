//! Units of work and checkpoints: beyond what was granted, beyond the bounds, with addresses and tags that lie.

use super::super::guest::Wat;
use super::grants::Heap;
use super::{Beast, End, SOON, survive, words};
use shiphold_storage::Kind;

const MAKE: &str = r#"(import "shiphold:host/commits@0.1.2" "make" (func $make
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
const SAVE: &str = r#"(import "shiphold:host/state@0.1.2" "save" (func $save
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32)))"#;
const LOAD: &str = r#"(import "shiphold:host/state@0.1.2" "load" (func $load (param i32 i32 i32 i64 i32)))"#;

/// What a guest that commits asks for.
const ASKS: &str = "[grants]\ncommits = true\nskills = { write = [\"*\"] }\nsettings = { write = [\"*\"] }\n\
    series = { write = [\"*/*\"] }\nfiles = { write = [\"*\"] }\nstate = { read = [\"*\"], write = [\"*\"] }\n";
/// What it is given: something else than what it tries.
const OWN: &str = "[@.grants]\ncommits = true\nskills = { write = [\"own.*\"] }\nsettings = { write = [\"own\"] }\n\
    series = { write = [\"market/own.*\"] }\nfiles = { write = [\"attic/own/*\"] }\nstate = { read = [\"own\"], write = [\"own\"] }\n";
/// It traps if what it tried was done.
const TRAP_IF_TAKEN: &str = "(if (i32.eqz (i32.load8_u (i32.const 256))) (then unreachable))";

/// The parts of a unit of work, in their order.
const PARTS: [&str; 6] = ["skills", "performance", "files", "settings", "series", "state"];

/// A commit of one part that is made of these words at 1024, so often.
fn unit(part: &str, count: &str) -> String {
    let parts = PARTS.map(|p| match p == part {
        true => format!("(i32.const 1024) (i32.const {count})"),
        false => "(i32.const 0) (i32.const 0)".into(),
    });
    format!("(call $make (i32.const 0) (i32.const 0) (i32.const 0) {} (i32.const 256))", parts.join(" "))
}

/// A component that commits one part, of these words and texts.
fn commits(name: &'static str, part: &str, at: &[u32], heap: &Heap, then: &str, end: End) -> Beast {
    let fields =
        format!("(memory (export \"memory\") 2) (data (i32.const 1024) {}) {}", words(at), heap.data);
    let body = format!("{} {then} (i32.const 16)", unit(part, "1"));
    Beast::of(name, &Wat::policy(body).import(MAKE).fields(fields).about(ASKS), end).with(OWN)
}

fn heap() -> Heap {
    Heap { at: 4096, data: String::new() }
}

/// The words of each part, of a name that was not granted.
fn denied(name: &'static str, part: &str, of: &[u8], under: &[u8]) -> Beast {
    let mut heap = heap();
    let ([a, al], [b, bl]) = (heap.text(of), heap.text(under));
    let [py, pyl] = heap.text(b"python");
    let [one, onel] = heap.text(b"1");
    let at: Vec<u32> = match part {
        // Name, version, language, code, description, tags; then metadata, depends, status, provenance, expect.
        "skills" => {
            let mut at = vec![a, al, 0, 0, 0, py, pyl, py, pyl, 0, 0, 0, 0];
            at.extend([0; 24]);
            at
        }
        // Skill, version; from 24 on eight numbers of eight bytes: the end of the period is 1, and so are the samples.
        "performance" => {
            let mut at = vec![a, al, 0, 0, 0, 0];
            at.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            at
        }
        // Store, path, content, media type, metadata, expect.
        "files" => vec![a, al, b, bl, one, onel, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // Namespace, key, value, expect.
        "settings" => vec![a, al, b, bl, 1, one, onel, 0, 0, 0, 0, 0],
        // Bucket, measurement, tags, times, columns: a column is at 2048.
        "series" => vec![a, al, b, bl, 0, 0, 2048, 1, 2056, 1],
        // Strategy, content, media type, metadata, expect.
        _ => vec![a, al, one, onel, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    // A time of zero; a column `a`-named `1` with one float, which is that time.
    let column = format!("(data (i32.const 2056) {})", words(&[one, onel, 0, 2048, 1, 0, 0]));
    heap.data.push_str(&column);
    commits(name, part, &at, &heap, TRAP_IF_TAKEN, End::Harmless)
}

pub(super) fn beasts() -> Vec<Beast> {
    let trapped = || End::Fails(Kind::Plugin, &["trapped"]);
    let lies = |name, part: &str, at: &[u32], end: End| commits(name, part, at, &heap(), TRAP_IF_TAKEN, end);
    let counts = |name, part: &str, count: &str, end: End| {
        let wat = Wat::policy(format!("{} {TRAP_IF_TAKEN} (i32.const 16)", unit(part, count)));
        Beast::of(name, &wat.import(MAKE).about(ASKS), end).with(OWN)
    };
    let setting = |name, value: &[u8], expect: u32, end: End| {
        let mut heap = heap();
        let ([n, nl], [v, vl]) = (heap.text(b"own"), heap.text(value));
        commits(name, "settings", &[n, nl, n, nl, 1, v, vl, 0, expect, 0, 5, 0], &heap, TRAP_IF_TAKEN, end)
    };
    // Of a strategy: a save of so many bytes, and a load.
    let save = |name, strategy: &[u8], bytes: u32, pages: u32, end: End| {
        let mut heap = heap();
        let [s, sl] = heap.text(strategy);
        let body = format!(
            "(call $save (i32.const {s}) (i32.const {sl}) (i32.const 8192) (i32.const {bytes}) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 256)) {TRAP_IF_TAKEN} (i32.const 16)"
        );
        let fields = format!("(memory (export \"memory\") {pages}) {}", heap.data);
        Beast::of(name, &Wat::policy(body).import(SAVE).fields(fields).about(ASKS), end).with(OWN)
    };
    let load = |name, strategy: &[u8]| {
        let mut heap = heap();
        let [s, sl] = heap.text(strategy);
        let body = format!(
            "(call $load (i32.const {s}) (i32.const {sl}) (i32.const 0) (i64.const 0) (i32.const 256)) {TRAP_IF_TAKEN} (i32.const 16)"
        );
        let fields = format!("(memory (export \"memory\") 2) {}", heap.data);
        let wat = Wat::policy(body).import(LOAD).fields(fields).about(ASKS);
        Beast::of(name, &wat, End::Harmless).with(OWN)
    };
    let endless = {
        let mut heap = heap();
        let ([n, nl], [v, vl]) = (heap.text(b"own"), heap.text(b"1"));
        let at = words(&[n, nl, n, nl, 1, v, vl, 0, 0, 0, 0, 0]);
        let fields = format!("(memory (export \"memory\") 2) (data (i32.const 1024) {at}) {}", heap.data);
        Wat::policy(format!("(loop $l {} (br $l)) unreachable", unit("settings", "1")))
            .import(MAKE)
            .fields(fields)
            .about(ASKS)
    };
    let ungranted = |name, import: &str, call: &str, word: &'static [&'static str]| {
        let wat = Wat::policy(format!("{call} (i32.const 16)")).import(import).about(ASKS);
        Beast::of(name, &wat, End::Refused(word))
    };
    vec![
        ungranted("imports-commits", MAKE, &unit("settings", "1"), &["`commits`", "does not grant"]),
        ungranted(
            "imports-state",
            LOAD,
            "(call $load (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 256))",
            &["`state`", "does not grant"],
        ),
        denied("commits-a-skill-of-others", "skills", b"pullback", b""),
        denied("commits-a-success-of-others", "performance", b"pullback", b""),
        denied("commits-a-file-of-others", "files", b"vault", b"weights"),
        denied("commits-a-file-above", "files", b"attic", b"own/../../vault/weights"),
        denied("commits-a-file-of-the-root", "files", b"attic", b"/etc/passwd"),
        denied("commits-a-setting-of-others", "settings", b"system", b"risk"),
        denied("commits-a-setting-of-all", "settings", b"*", b"*"),
        denied("commits-a-setting-after-a-nul", "settings", b"own\0system", b"risk"),
        denied("commits-rows-of-others", "series", b"market", b"bar.1d.A"),
        denied("commits-rows-elsewhere", "series", b"metrics", b"own.a"),
        denied("commits-a-checkpoint-of-others", "state", b"momentum", b""),
        denied("commits-a-checkpoint-above", "state", b"own/../momentum", b""),
        setting("commits-what-is-no-json", b"{", 0, End::Harmless),
        setting("commits-a-secret", b"{\"password\":\"hunter2\"}", 0, End::Harmless),
        setting("commits-over-what-is-not-there", b"1", 2, End::Harmless),
        setting("commits-an-expectation-of-no-kind", b"1", 9, trapped()),
        counts("commits-nothing", "skills", "0", End::Harmless),
        counts("commits-two-gib-of-settings", "settings", "0x80000000", trapped()),
        counts("commits-all-there-is", "state", "-1", trapped()),
        counts("commits-beyond-the-end", "files", "3000", trapped()),
        counts("commits-too-many-parts", "series", "1001", End::Harmless),
        lies("commits-an-option-of-no-kind", "settings", &[0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], trapped()),
        lies(
            "commits-a-text-far-away",
            "settings",
            &[0x7fff_0000, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            trapped(),
        ),
        Beast::of("commits-for-ever", &endless, End::Fails(Kind::Timeout, &["limits.deadline"]))
            .with(&format!("{SOON}{OWN}")),
        save("saves-for-others", b"momentum", 1, 2, End::Harmless),
        save("saves-for-all", b"*", 1, 2, End::Harmless),
        save("saves-above", b"own/../momentum", 1, 2, End::Harmless),
        save("saves-nine-mib", b"own", 9 << 20, 200, End::Fails(Kind::Limit, &["limits.reply"])),
        save("saves-two-gib", b"own", 1 << 31, 2, trapped()),
        load("loads-of-others", b"momentum"),
        load("loads-of-all", b"*"),
        load("loads-after-a-nul", b"own\0momentum"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_was_granted() {
    survive(beasts()).await;
}
