//! The statements that stand in the source of this crate, tests left out.

use regex::Regex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A statement as it is written, white space folded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written {
    /// From the folder of the source: `skills/store.rs`.
    pub file: String,
    pub line: usize,
    pub text: String,
}

/// A string of a file.
struct Text {
    /// Where it begins, in bytes.
    at: usize,
    line: usize,
    text: String,
}

/// The statements of every module that is not for tests alone. What `format!` puts in for a constant that is a text is put in.
pub(super) fn statements() -> Vec<Written> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    modules(&folder.join("lib.rs"), &mut files);
    let read: Vec<(String, String)> = files
        .iter()
        .map(|f| {
            (f.strip_prefix(&folder).unwrap().display().to_string(), std::fs::read_to_string(f).unwrap())
        })
        .map(|(name, text)| (name, without_tests(&text).to_string()))
        .collect();
    let constants: Vec<(String, BTreeMap<String, String>)> =
        read.iter().map(|(name, source)| (name.clone(), constants(source))).collect();
    let mut found = Vec::new();
    for (name, source) in &read {
        for text in strings(source).into_iter().filter(|t| is_statement(&t.text)) {
            let text = Written { file: name.clone(), line: text.line, text: folded(&text.text) };
            found.push(with_constants(text, &constants));
        }
    }
    found
}

pub(super) fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The file of a module and those of the modules in it.
fn modules(file: &Path, to: &mut Vec<PathBuf>) {
    let source = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let parent = file.parent().unwrap();
    let folder = match file.file_stem().unwrap().to_str().unwrap() {
        "lib" | "mod" => parent.to_path_buf(),
        stem => parent.join(stem),
    };
    let mut for_tests = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            for_tests |= line.starts_with("#[cfg") && line.contains("test");
            continue;
        }
        let name = line.strip_suffix(';').and_then(|l| l.rsplit_once("mod ")).filter(|(before, name)| {
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            is_name && (before.is_empty() || (before.starts_with("pub") && before.ends_with(' ')))
        });
        if let Some((_, name)) = name.filter(|_| !for_tests) {
            let beside = folder.join(format!("{name}.rs"));
            let below = folder.join(name).join("mod.rs");
            modules(if beside.exists() { &beside } else { &below }, to);
        }
        if !line.is_empty() && !line.starts_with("//") {
            for_tests = false;
        }
    }
    to.push(file.to_path_buf());
}

/// Up to the module of tests, which stands last.
fn without_tests(source: &str) -> &str {
    let tests = Regex::new(r"#\[cfg\(test\)\]\s*(pub\([a-z]+\) )?mod \w+ \{").unwrap();
    tests.find(source).map_or(source, |m| &source[..m.start()])
}

fn is_statement(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let verb = words
        .next()
        .is_some_and(|w| ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"].contains(&w));
    verb && words.next().is_some()
}

/// `const NAME: &str = "…";`
fn constants(source: &str) -> BTreeMap<String, String> {
    let all = strings(source);
    let declared = Regex::new(r"const ([A-Z_]+): &str =").unwrap();
    declared
        .captures_iter(source)
        .filter_map(|c| {
            let end = c.get(0)?.end();
            let text = all.iter().find(|t| t.at >= end)?;
            Some((c[1].to_string(), folded(&text.text)))
        })
        .collect()
}

/// Constants of the same file before those of others; one that is no text is a number.
fn with_constants(mut of: Written, constants: &[(String, BTreeMap<String, String>)]) -> Written {
    let names = Regex::new(r"\{([A-Z_]+)\}").unwrap();
    let value = |name: &str| {
        let own = constants.iter().filter(|(file, _)| *file == of.file);
        let others = constants.iter().filter(|(file, _)| *file != of.file);
        own.chain(others).find_map(|(_, all)| all.get(name).cloned()).unwrap_or_else(|| "7".into())
    };
    of.text = names.replace_all(&of.text, |c: &regex::Captures<'_>| value(&c[1])).into_owned();
    of
}

/// Every string of a source, in order; comments have none.
fn strings(source: &str) -> Vec<Text> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    let line_of = |at: usize| 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
    while at < bytes.len() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with('\'') {
            at += character(rest);
        } else if let Some(hashes) = raw(source, at) {
            let begin = at + hashes + 2;
            let end = format!("\"{}", "#".repeat(hashes));
            let len = source[begin..].find(&end).unwrap_or(source.len() - begin);
            found.push(Text { at, line: line_of(at), text: source[begin..begin + len].to_string() });
            at = begin + len + end.len();
        } else if let Some(rest) = rest.strip_prefix('"') {
            let (text, len) = quoted(rest);
            found.push(Text { at, line: line_of(at), text });
            at += len + 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// The hashes of a raw string that begins here.
fn raw(source: &str, at: usize) -> Option<usize> {
    let before = source[..at].chars().next_back();
    let rest = source[at..].strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let is_word = before.is_some_and(|c| c != 'b' && (c.is_alphanumeric() || c == '_'));
    (!is_word && rest[hashes..].starts_with('"')).then_some(hashes)
}

/// The length of a character or of the mark of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            after + rest[after..].find('\'').map_or(0, |end| end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

/// A string up to its end, and how long it is in the source.
fn quoted(rest: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at),
            '\\' => match chars.next() {
                // The end of the line and what the next one begins with are no part of it.
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, escaped)) => text.push(escaped),
                None => {}
            },
            c => text.push(c),
        }
    }
    (text, rest.len())
}

#[test]
fn strings_are_found_and_comments_are_not() {
    let source = r###"
        // "a comment" with a quote's mark
        const NAMES: &str = "a, b";
        fn f<'a>(x: &'a str) -> char { let _ = ('"', '\'', '\u{1f}', b"bytes"); '"' } /* "no" */
        let one = "SELECT 1 \
                   FROM \"t\""; let raw = r#"SELECT "x" FROM y"#; let for_r = attr"no raw";
    "###;
    let all: Vec<(usize, String)> = strings(source).into_iter().map(|t| (t.line, t.text)).collect();
    let wanted =
        [(3, "a, b"), (4, "bytes"), (5, "SELECT 1 FROM \"t\""), (6, "SELECT \"x\" FROM y"), (6, "no raw")];
    assert_eq!(all, wanted.map(|(line, text)| (line, text.to_string())));
    assert_eq!(constants(source)["NAMES"], "a, b");
    assert_eq!(strings(source).into_iter().filter(|t| is_statement(&t.text)).count(), 2);
    assert!(!is_statement("SELECT") && !is_statement("select 1") && !is_statement("SELECTED x"));
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n\"SELECT 1\"}"), "a\n");
}
