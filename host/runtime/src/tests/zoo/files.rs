//! Files that are no plugin: cut, flipped, of another kind, of a feature that is off, too big, too deep, too many.

use super::super::guest::{self, Guest, Wat, described, dummy, leb, with_about};
use super::{Beast, EMPTY, End, survive};
use crate::descriptor::{DESCRIPTOR_BYTES_MAX, SECTION};
use crate::inspect::inspect_bytes;
use shiphold_storage::Kind;
use shiphold_storage::units::ByteSize;

const NOT_VALID: End = End::Refused(&["not a valid WebAssembly component"]);

fn honest() -> Vec<u8> {
    Wat::policy(EMPTY).build()
}

/// A component written as text; its `plan` is a core function without parameters, whatever else it has.
fn text(more: &str) -> Vec<u8> {
    let text = format!(
        "(component
            {more}
            (core module $m (func (export \"plan\")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"plan\")))
            (instance $x (export \"plan\" (func $f)))
            (export \"shiphold:host/retention-policy@0.1.2\" (instance $x)))"
    );
    described(wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{more}")), "retention-policy", "")
}

/// A core module of a feature, inside a component.
fn feature(module: &str) -> Vec<u8> {
    text(&format!("(core module {module})"))
}

/// Bytes flipped in a valid component, at a place of its start.
fn flipped(at: usize, mask: u8) -> Vec<u8> {
    let mut file = honest();
    file[at] ^= mask;
    file
}

fn repeated(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

pub(super) fn beasts() -> Vec<Beast> {
    let file = |name, file: Vec<u8>, end: End| Beast::file(name, file, end);
    let refused = |words| End::Refused(words);
    let whole = honest();
    let about = |text: &str| with_about(plain(), text);
    let core = |name, fields: &str, end: End| Beast::of(name, &Wat::policy(EMPTY).fields(fields), end);
    // What a function takes is checked when it is called first.
    let other_type = || End::Fails(Kind::Plugin, &["expected 2-tuple"]);
    let misfit = || End::Refused(&["does not fit this host"]);
    let mut all = vec![
        file("an-empty-file", Vec::new(), NOT_VALID),
        file("a-script", b"#!/bin/sh\nrm -rf /\n".to_vec(), NOT_VALID),
        file("an-elf", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(), NOT_VALID),
        file("a-header-alone", b"\0asm\x0d\0\x01\0".to_vec(), refused(&["exports none of the worlds"])),
        file("a-core-module", Wat::policy(EMPTY).core(), refused(&["core module"])),
        file("a-version-to-come", b"\0asm\x0e\0\x01\0".to_vec(), NOT_VALID),
        file("half-a-component", whole[..whole.len() / 2].to_vec(), NOT_VALID),
        file("all-but-a-byte", whole[..whole.len() - 1].to_vec(), NOT_VALID),
        file("a-byte-too-many", [&whole[..], &[0x55]].concat(), NOT_VALID),
        file("twice-itself", [&whole[..], &whole[..]].concat(), NOT_VALID),
        file("a-flipped-magic", flipped(1, 0x20), NOT_VALID),
        file("a-flipped-section", flipped(8, 0x7f), NOT_VALID),
        file("a-flipped-length", flipped(9, 0x80), NOT_VALID),
        file("a-section-of-4-gib", b"\0asm\x0d\0\x01\0\x07\xff\xff\xff\xff\x0f".to_vec(), NOT_VALID),
        file("a-count-of-4-gib", b"\0asm\x0d\0\x01\0\x07\x05\xff\xff\xff\xff\x0f".to_vec(), NOT_VALID),
        file(
            "another-world",
            described(dummy("query-builder-plugin"), "query-builder", ""),
            refused(&["query-builder"]),
        ),
        file("no-plugin-toml", plain(), refused(&["no plugin.toml"])),
        file("two-plugin-tomls", with_about(whole.clone(), "name = \"again\""), refused(&["two sections"])),
        file(
            "a-giant-plugin-toml",
            about(&format!(
                "name='p'\nversion='1'\nworld='retention-policy'\n{}",
                " ".repeat(DESCRIPTOR_BYTES_MAX)
            )),
            refused(&["plugin.toml", "65536 bytes"]),
        ),
        file("a-plugin-toml-that-is-none", about("name = [["), refused(&["plugin.toml"])),
        file("a-plugin-toml-of-bytes", with_bytes(plain(), b"name='p'\xff"), refused(&["not UTF-8"])),
        file(
            "a-plugin-toml-that-turns",
            about("name='p'\nversion='1'\nworld='retention-policy'\ndescription=\"\\u202Egood\""),
            refused(&["control character"]),
        ),
        file(
            "a-deep-plugin-toml",
            about(&format!(
                "name='p'\nversion='1'\nworld='retention-policy'\nconfig={}{}",
                "[".repeat(20_000),
                "]".repeat(20_000)
            )),
            refused(&["plugin.toml"]),
        ),
        file(
            "a-plugin-toml-of-dotted-keys",
            about(&format!(
                "name='p'\nversion='1'\nworld='retention-policy'\nconfig.{}a=1",
                "a.".repeat(20_000)
            )),
            refused(&["plugin.toml"]),
        ),
        file(
            "a-plugin-toml-of-another-world",
            described(plain(), "skill-indexer", ""),
            refused(&["skill-indexer"]),
        ),
        file("a-plan-of-another-type", text(""), other_type()),
        file(
            "imports-the-file-system",
            text("(import \"wasi:filesystem/types@0.2.0\" (instance))"),
            refused(&["wasi:filesystem"]),
        ),
        file(
            "imports-a-stranger",
            text("(import \"evil:corp/x@1.0.0\" (instance))"),
            refused(&["evil:corp/x"]),
        ),
        file(
            "imports-what-the-interface-has-not",
            text("(import \"shiphold:host/log@0.1.2\" (instance (export \"erase\" (func))))"),
            misfit(),
        ),
        file(
            "imports-another-type",
            text(
                "(import \"shiphold:host/log@0.1.2\" (instance (export \"write\" (func (param \"x\" string)))))",
            ),
            misfit(),
        ),
        file(
            "imports-a-version-to-come",
            text("(import \"shiphold:host/log@9.0.0\" (instance (export \"write\" (func))))"),
            misfit(),
        ),
        file(
            "imports-ten-thousand-functions",
            text(&repeated(10_000, |i| format!("(import \"f{i}\" (func))"))),
            refused(&["more than 1000 imports and exports"]),
        ),
        file(
            "imports-ten-thousand-functions-in-one",
            text(&format!(
                "(import \"shiphold:host/log@0.1.2\" (instance {}))",
                repeated(10_000, |i| format!("(export \"f{i}\" (func))"))
            )),
            misfit(),
        ),
        file(
            "a-core-module-with-ten-thousand-imports",
            text(&format!(
                "(core module {})",
                repeated(10_000, |i| format!("(import \"a\" \"f{i}\" (func))"))
            )),
            other_type(),
        ),
        file(
            "ten-thousand-types",
            text(&repeated(10_000, |_| "(type (record (field \"a\" u8)))".into())),
            other_type(),
        ),
        file("nested-lists", text(&nested_lists(10_000)), NOT_VALID),
        file("nested-components", nested(20_000), refused(&[])),
        file("a-thousand-core-modules", text(&repeated(1_001, |_| "(core module)".into())), NOT_VALID),
        file("five-thousand-instances", text(&repeated(5_000, |_| "(instance)".into())), NOT_VALID),
        file("a-giant-name", text(&format!("(import \"{}\" (func))", "a".repeat(100_001))), NOT_VALID),
        file("a-long-name", text(&format!("(import \"{}\" (func))", "a".repeat(90_000))), refused(&[])),
        file("a-memory-of-64-bits", feature("(memory i64 1)"), other_type()),
        file("threads", feature("(memory 1 1 shared)"), refused(&[])),
        file(
            "garbage-collection",
            feature("(type $s (struct (field i32))) (func (drop (struct.new_default $s)))"),
            refused(&[]),
        ),
        file("exceptions", feature("(tag $e) (func (throw $e))"), refused(&[])),
        file(
            "typed-functions",
            feature("(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))"),
            other_type(),
        ),
        file(
            "stack-switching",
            feature("(type $f (func)) (type $c (cont $f)) (func (param (ref $c)))"),
            refused(&[]),
        ),
        file("pages-of-a-byte", feature("(memory 1 1 (pagesize 1))"), refused(&[])),
        file(
            "arithmetic-of-128-bits",
            feature("(func (result i64 i64) (i64.mul_wide_s (i64.const 1) (i64.const 1)))"),
            refused(&[]),
        ),
        file(
            "locals-beyond-the-bound",
            feature(&format!("(func (local {}))", "i32 ".repeat(50_001))),
            NOT_VALID,
        ),
        core(
            "locals-at-the-bound",
            &format!("(memory (export \"memory\") 2) (func (local {}))", "i32 ".repeat(50_000)),
            End::Harmless,
        ),
        core(
            "a-hundred-thousand-branches",
            &format!(
                "(memory (export \"memory\") 2) (func (param i32) (block $b (br_table {} (local.get 0))))",
                "$b ".repeat(100_000)
            ),
            refused(&["does not compile"]),
        ),
        core(
            "sixty-thousand-branches",
            &format!(
                "(memory (export \"memory\") 2) (func (param i32) (block $b (br_table {} (local.get 0))))",
                "$b ".repeat(60_000)
            ),
            End::Harmless,
        ),
        core(
            "deep-blocks",
            &format!(
                "(memory (export \"memory\") 2) (func {} {})",
                "(block ".repeat(2_000),
                ")".repeat(2_000)
            ),
            End::Harmless,
        ),
        core(
            "a-thousand-parameters",
            &format!("(memory (export \"memory\") 2) (func (param {}))", "i32 ".repeat(1_000)),
            End::Harmless,
        ),
        core(
            "ten-thousand-functions",
            &format!("(memory (export \"memory\") 2) {}", "(func)".repeat(10_000)),
            End::Harmless,
        ),
        core(
            "ten-thousand-globals",
            &format!("(memory (export \"memory\") 2) {}", "(global i64 (i64.const 1))".repeat(10_000)),
            End::Harmless,
        ),
        core(
            "ten-thousand-data-segments",
            &format!("(memory (export \"memory\") 2) {}", "(data (i32.const 99) \"a\")".repeat(10_000)),
            End::Harmless,
        ),
        core(
            "sixteen-memories",
            &format!("(memory (export \"memory\") 2) {}", "(memory 1)".repeat(15)),
            End::Harmless,
        ),
        core(
            "ninety-nine-memories",
            &format!("(memory (export \"memory\") 2) {}", "(memory 1)".repeat(98)),
            End::Fails(Kind::Limit, &["limits.memories = 16"]),
        ),
        core(
            "many-tables",
            &format!("(memory (export \"memory\") 2) {}", "(table 1 funcref)".repeat(64)),
            End::Harmless,
        ),
        core(
            "a-table-of-five-million",
            "(memory (export \"memory\") 2) (table 5000000 funcref)",
            refused(&["table"]),
        ),
        core(
            "a-table-of-ten-million",
            "(memory (export \"memory\") 2) (table 10000000 funcref)",
            refused(&["table"]),
        ),
        core(
            "simd",
            "(memory (export \"memory\") 2) (func (result v128) (i32x4.splat (i32.const 1)))",
            End::Harmless,
        ),
    ];
    for at in [16, 64, 256] {
        let name = match at {
            16 => "flipped-at-16",
            64 => "flipped-at-64",
            _ => "flipped-at-256",
        };
        all.push(file(name, flipped(at, 0xff), refused(&[])));
    }
    all
}

/// An honest component without its plugin.toml.
fn plain() -> Vec<u8> {
    Guest::new(guest::EMPTY).about(None).build()
}

/// A component in a component, and so on.
fn nested(depth: usize) -> Vec<u8> {
    const HEAD: &[u8] = b"\0asm\x0d\0\x01\0";
    // Written from the inside out, so that each length is known; turned round at the end.
    let mut out: Vec<u8> = HEAD.iter().rev().copied().collect();
    for _ in 1..depth {
        let mut len = Vec::new();
        leb(&mut len, out.len());
        out.extend(len.iter().rev());
        out.push(4);
        out.extend(HEAD.iter().rev());
    }
    out.reverse();
    out
}

/// Lists of lists, each a type of its own.
fn nested_lists(depth: usize) -> String {
    let mut out = String::from("(type $t0 (list u8))");
    for i in 1..depth {
        out.push_str(&format!("(type $t{i} (list $t{}))", i - 1));
    }
    out
}

/// A custom section of bytes that are no text.
fn with_bytes(mut component: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    let body = [&[u8::try_from(SECTION.len()).unwrap()], SECTION.as_bytes(), bytes].concat();
    component.extend([0, u8::try_from(body.len()).unwrap()]);
    component.extend(body);
    component
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_not_loaded() {
    survive(beasts()).await;
}

#[test]
fn two_exports_of_one_name_are_refused() {
    let text = "(component (core module $m (func (export \"f\"))) (export \"a\" (core module $m)) (export \"b\" (core module $m)))";
    let mut file = wat::parse_str(text).unwrap();
    assert!(inspect_bytes(&file).is_ok());
    let at = file.windows(2).rposition(|w| w == [1, b'b']).unwrap();
    file[at + 1] = b'a';
    let e = inspect_bytes(&file).unwrap_err();
    assert!(e.kind() == Kind::Invalid && e.message().contains("conflicts"), "{e:?}");
}

/// Bytes of a component by default.
const BOUND: u64 = 64 << 20;

#[test]
fn a_file_is_read_up_to_its_bound_and_not_a_byte_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.wasm");
    let file = std::fs::File::create(&path).unwrap();
    // Holes in a file cost nothing; what is read is read in full.
    let read = |bound: ByteSize| crate::inspect::read(&path, bound).map(|bytes| bytes.len() as u64);
    for bound in [ByteSize::kib(64), ByteSize::mib(64)] {
        file.set_len(bound.0).unwrap();
        assert_eq!(read(bound).unwrap(), bound.0);
        file.set_len(bound.0 + 1).unwrap();
        let e = read(bound).unwrap_err();
        assert!(e.kind() == Kind::Limit && e.message().contains("limits.plugins.component_max"), "{e:?}");
    }
    file.set_len(100_000_000).unwrap();
    assert_eq!(read(ByteSize::mib(64)).unwrap_err().kind(), Kind::Limit);
    // A valid one of exactly the bound: the rest of it is a custom section.
    let mut whole = honest();
    let room = usize::try_from(BOUND).unwrap() - whole.len() - 1 - 4 - 2;
    let mut head = vec![0];
    let mut n = room + 2;
    for i in 0..4 {
        head.push(u8::try_from(n & 0x7f).unwrap() | if i < 3 { 0x80 } else { 0 });
        n >>= 7;
    }
    assert_eq!(n, 0);
    whole.extend(head);
    whole.extend([1, b'x']);
    whole.resize(whole.len() + room, 0);
    assert_eq!(whole.len() as u64, BOUND);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(crate::inspect(&path).unwrap().size, BOUND);
}
