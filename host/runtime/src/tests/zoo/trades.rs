//! The trading record: accounts of others, batches that lie, pages without end.

use super::super::guest::Wat;
use super::grants::Heap;
use super::{Beast, End, SOON, survive, words};
use shiphold_storage::Kind;

const ACCOUNTS: &str =
    r#"(import "shiphold:host/trades@0.1.2" "accounts" (func $accounts (param i32 i32 i32 i32 i32)))"#;
const FILLS: &str = r#"(import "shiphold:host/trades@0.1.2" "fills" (func $fills (param i32 i32)))"#;
const SUBMIT: &str = r#"(import "shiphold:host/trades@0.1.2" "submit"
    (func $submit (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;

const ASKS: &str = "[grants]\ntrades = { read = [\"*\"], write = [\"*\"] }\n";
/// It reads two of the accounts of the zoo, and adds to one of them.
const OWN: &str = "[@.grants]\ntrades = { read = [\"own-*\"], write = [\"own-1\"] }\n";
/// It traps if what it tried was done.
const TRAP_IF_TAKEN: &str = "(if (i32.eqz (i32.load8_u (i32.const 256))) (then unreachable))";
/// It traps if what it tried was refused.
const TRAP_IF_REFUSED: &str = "(if (i32.load8_u (i32.const 256)) (then unreachable))";

fn heap() -> Heap {
    Heap { at: 4096, data: String::new() }
}

/// A batch with so many fills, which are at 1024.
fn submits(account: [u32; 2], count: &str) -> String {
    let [a, al] = account;
    format!(
        "(call $submit (i32.const {a}) (i32.const {al}) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const {count})
            (i32.const 0) (i32.const 0) (i32.const 256))"
    )
}

/// A fill: client id, instrument, side, quantity, price, fee, time, order, broker's id, corrects, void, reason.
fn fill(heap: &mut Heap, id: &[u8], quantity: &[u8]) -> Vec<u32> {
    let ([i, il], [a, al], [q, ql]) = (heap.text(id), heap.text(b"A"), heap.text(quantity));
    let mut at = vec![i, il, a, al, 0, q, ql, q, ql, 0, 0, 0, 0, 0];
    at.extend([0; 14]);
    at
}

fn guest(body: &str, import: &str, at: &[u32], heap: &Heap) -> Wat {
    let fields =
        format!("(memory (export \"memory\") 2) (data (i32.const 1024) {}) {}", words(at), heap.data);
    Wat::policy(format!("{body} (i32.const 16)")).import(import).fields(fields).about(ASKS)
}

/// Submits one fill, and looks at what became of it.
fn tries(name: &'static str, account: &[u8], id: &[u8], quantity: &[u8], then: &str) -> Beast {
    let mut heap = heap();
    let account = heap.text(account);
    let at = fill(&mut heap, id, quantity);
    let body = format!("{} {then}", submits(account, "1"));
    Beast::of(name, &guest(&body, SUBMIT, &at, &heap), End::Harmless).with(OWN)
}

/// Lists fills: the filter and what follows it lie at 1024.
fn reads(name: &'static str, account: &[u8], limit: u32, then: &str) -> Beast {
    let mut heap = heap();
    let [a, al] = heap.text(account);
    let mut at = vec![a, al];
    at.extend([0; 24]);
    at.extend([limit, 0]);
    let body = format!("(call $fills (i32.const 1024) (i32.const 256)) {then}");
    Beast::of(name, &guest(&body, FILLS, &at, &heap), End::Harmless).with(OWN)
}

/// The same fill twice: the second time it was there.
fn twice() -> Beast {
    let mut heap = heap();
    let account = heap.text(b"own-1");
    let at = fill(&mut heap, b"twice", b"3");
    let once = submits(account, "1");
    // The answer is from 264 on: how many were recorded, then three lists; a row is its id, its number, and whether it was there.
    let body = format!(
        "{once} {TRAP_IF_REFUSED} {once} {TRAP_IF_REFUSED}
         (if (i64.ne (i64.load (i32.const 264)) (i64.const 0)) (then unreachable))
         (if (i32.ne (i32.load (i32.const 284)) (i32.const 1)) (then unreachable))
         (if (i32.eqz (i32.load8_u (i32.add (i32.load (i32.const 280)) (i32.const 16)))) (then unreachable))"
    );
    Beast::of("submits-a-fill-twice", &guest(&body, SUBMIT, &at, &heap), End::Harmless).with(OWN)
}

pub(super) fn beasts() -> Vec<Beast> {
    let trapped = || End::Fails(Kind::Plugin, &["trapped"]);
    let counts = |name, count: &str, end: End| {
        let mut heap = heap();
        let account = heap.text(b"own-1");
        let body = format!("{} {TRAP_IF_TAKEN}", submits(account, count));
        Beast::of(name, &guest(&body, SUBMIT, &[], &heap), end).with(OWN)
    };
    let lies = |name, place: usize, word: u32| {
        let mut heap = heap();
        let account = heap.text(b"own-1");
        let mut at = fill(&mut heap, b"lies", b"1");
        at[place] = word;
        let body = format!("{} {TRAP_IF_TAKEN}", submits(account, "1"));
        Beast::of(name, &guest(&body, SUBMIT, &at, &heap), trapped()).with(OWN)
    };
    let endless = {
        let mut heap = heap();
        let account = heap.text(b"own-1");
        let at = fill(&mut heap, b"endless", b"1");
        // Each answer lies where the one before did: it is the deadline that ends it, not its memory.
        guest(&format!("(loop $l {} (br $l)) unreachable", submits(account, "1")), SUBMIT, &at, &heap)
            .realloc("(i32.const 65536)")
    };
    let accounts = "(call $accounts (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 256))";
    // Two of the three that there are: from 264 on is how many.
    let seen = format!(
        "{accounts} {TRAP_IF_REFUSED} (if (i32.ne (i32.load (i32.const 264)) (i32.const 2)) (then unreachable))"
    );
    vec![
        Beast::of(
            "imports-trades",
            &guest(accounts, ACCOUNTS, &[], &heap()),
            End::Refused(&["`trades`", "does not grant"]),
        ),
        Beast::of("sees-its-accounts-alone", &guest(&seen, ACCOUNTS, &[], &heap()), End::Harmless).with(OWN),
        reads("reads-its-own-fills", b"own-1", 1_000, TRAP_IF_REFUSED),
        reads("reads-more-than-a-page", b"own-1", 1_001, TRAP_IF_TAKEN),
        reads("reads-without-end", b"own-1", u32::MAX, TRAP_IF_TAKEN),
        reads("reads-the-fills-of-others", b"main", 9, TRAP_IF_TAKEN),
        reads("reads-the-fills-of-nobody", b"nowhere", 9, TRAP_IF_TAKEN),
        reads("reads-the-fills-of-all", b"*", 9, TRAP_IF_TAKEN),
        reads("reads-fills-after-a-nul", b"own-1\0main", 9, TRAP_IF_TAKEN),
        twice(),
        tries("submits-for-others", b"main", b"f", b"1", TRAP_IF_TAKEN),
        tries("submits-what-it-only-reads", b"own-2", b"f", b"1", TRAP_IF_TAKEN),
        tries("submits-for-all", b"*", b"f", b"1", TRAP_IF_TAKEN),
        tries("submits-an-id-with-a-nul", b"own-1", b"f\0", b"1", TRAP_IF_TAKEN),
        tries("submits-an-id-that-steers", b"own-1", b"\x1b[2J", b"1", TRAP_IF_TAKEN),
        tries("submits-no-id", b"own-1", b"", b"1", TRAP_IF_TAKEN),
        tries("submits-a-quantity-of-nothing", b"own-1", b"f", b"0", TRAP_IF_TAKEN),
        tries("submits-a-quantity-below-zero", b"own-1", b"f", b"-1", TRAP_IF_TAKEN),
        tries("submits-a-float", b"own-1", b"f", b"1e3", TRAP_IF_TAKEN),
        tries("submits-too-many-digits", b"own-1", b"f", b"0.1234567890123456789", TRAP_IF_TAKEN),
        counts("submits-two-gib-of-fills", "0x80000000", trapped()),
        counts("submits-beyond-the-end", "2000", trapped()),
        lies("submits-a-side-of-no-kind", 4, 7),
        lies("submits-a-fee-of-no-kind", 9, 2),
        lies("submits-a-text-far-away", 0, 0x7fff_0000),
        Beast::of("submits-for-ever", &endless, End::Fails(Kind::Timeout, &["limits.deadline"]))
            .with(&format!("{SOON}{OWN}")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_others_stay_as_they_are() {
    survive(beasts()).await;
}
