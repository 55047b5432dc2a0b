//! Every text that is sent, read by a scanner of its own: whatever the names, it has the words that it has for harmless ones, and
//! the names stand whole in its literals.

use super::super::InfluxEngine;
use super::super::fake_server::{Asked, FakeServer, Reply};
use super::PATIENT_MS;
use crate::series::pieces::{Even, Part, Wanted, WantedField};
use crate::series::store::BUCKET_BYTES_MAX;
use crate::series::{Budget, FieldType, Selector, SeriesEngine, SeriesKey, TimeRange};
use proptest::prelude::*;
use std::sync::Arc;

/// A word of Flux or of a delete's predicate, as far as either is made here.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// Names, numbers and signs, as they stand.
    Plain(String),
    /// What a literal says.
    Text(String),
}

/// The words of a text; an error where anything is in it that is never made: a comment, an expression within a string or a regular
/// one, an unknown escape or sign. After the scanner of Flux (`scanner.rl`), not after what makes the texts.
fn words(text: &str) -> Result<Vec<Word>, String> {
    scan_words(text, true)
}

/// [`words`]; in a delete's predicate, which is InfluxQL, a `$` within a string means nothing.
fn scan_words(text: &str, flux: bool) -> Result<Vec<Word>, String> {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied();
    let (mut out, mut i) = (Vec::new(), 0);
    while let Some(c) = at(i) {
        let begin = i;
        match c {
            b' ' | b'\n' => {
                i += 1;
                continue;
            }
            b'"' => {
                let mut said = Vec::new();
                i += 1;
                loop {
                    let (byte, taken) = match (at(i), at(i + 1)) {
                        (None, _) => return Err(format!("a string does not end: {text}")),
                        (Some(b'"'), _) => break,
                        (Some(b'$'), Some(b'{')) if flux => {
                            return Err(format!("an expression in a string: {text}"));
                        }
                        (Some(b'\\'), Some(e @ (b'"' | b'\\' | b'$'))) => (e, 2),
                        (Some(b'\\'), Some(b'n')) => (b'\n', 2),
                        (Some(b'\\'), Some(b'r')) => (b'\r', 2),
                        (Some(b'\\'), Some(b't')) => (b'\t', 2),
                        (Some(b'\\'), Some(b'x')) => {
                            let hex = text.get(i + 2..i + 4).and_then(|h| u8::from_str_radix(h, 16).ok());
                            (hex.ok_or("a bad number of a character")?, 4)
                        }
                        (Some(b'\\'), _) => return Err(format!("an unknown escape: {text}")),
                        (Some(b), _) => (b, 1),
                    };
                    said.push(byte);
                    i += taken;
                }
                i += 1;
                out.push(Word::Text(String::from_utf8(said).map_err(|e| e.to_string())?));
                continue;
            }
            b if b.is_ascii_alphanumeric() || b == b'_' => {
                while at(i).is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    i += 1;
                }
            }
            b'/' => return Err(format!("a comment or an expression: {text}")),
            b if b"()[]{}:,.=!<>|-".contains(&b) => i += 1,
            _ => return Err(format!("a sign that is never made: {text}")),
        }
        out.push(Word::Plain(text.get(begin..i).unwrap_or_default().to_string()));
    }
    Ok(out)
}

#[test]
fn the_scanner_finds_what_breaks_out() {
    let text = |t: &str| vec![Word::Text(t.into())];
    assert_eq!(words(r#""a\"b\\\x24{\n""#), Ok(text("a\"b\\${\n")));
    assert_eq!(words("\"\u{1f980}\""), Ok(text("\u{1f980}")));
    assert_eq!(words("f(a: 1ns)").unwrap().len(), 6);
    for bad in [r#""a"#, r#""${x}""#, r#""\q""#, "a // b", "r =~ /x/", "'a'", "\"a\\", "a;b", "\"\\xzz\""] {
        assert!(words(bad).is_err(), "{bad}");
    }
    // What a careless writer would send.
    let pasted = r#"from(bucket: "a") |> drop() //")"#;
    assert!(words(pasted).is_err());
}

/// The names of one round.
#[derive(Debug, Clone, PartialEq)]
struct Names {
    bucket: String,
    measurement: String,
    /// In the order of their keys.
    tags: Vec<(String, String)>,
    fields: Vec<String>,
}

impl Names {
    fn all(&self) -> Vec<&str> {
        let tags = self.tags.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]);
        let rest = [self.bucket.as_str(), self.measurement.as_str()].into_iter().chain(tags);
        rest.chain(self.fields.iter().map(String::as_str)).collect()
    }

    /// Harmless ones of the same order, and with a `*` where there is one: it makes a pattern.
    fn harmless(&self) -> Self {
        let star = if self.measurement.contains('*') { "*" } else { "" };
        Self {
            bucket: "bbb".into(),
            measurement: format!("mmm{star}"),
            tags: (0..self.tags.len()).map(|i| (format!("k{i}"), format!("v{i}"))).collect(),
            fields: (0..self.fields.len()).map(|i| format!("f{i}")).collect(),
        }
    }

    fn key(&self) -> SeriesKey {
        SeriesKey::new(&self.bucket, &self.measurement, self.tags.clone()).unwrap()
    }
}

fn cell(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A reply with what was asked for, so that the next question follows.
fn reply(names: &Names, query: &str) -> String {
    let said = words(query).unwrap_or_default();
    let plain = |w: Option<&Word>, is: &str| w == Some(&Word::Plain(is.into()));
    if said.iter().any(|w| plain(Some(w), "schema")) {
        return format!(
            "#datatype,string,long,string\r\n#group,false,false,false\r\n#default,_result,,\r\n,result,table,_value\r\n,,0,{}\r\n\r\n",
            cell(&names.measurement)
        );
    }
    // Of the distinct times of a series.
    let counts =
        said.iter().any(|w| plain(Some(w), "unique")) && said.iter().any(|w| plain(Some(w), "count"));
    let mut results: Vec<String> = said
        .windows(5)
        .filter(|w| plain(w.first(), "yield") && plain(w.get(2), "name"))
        .filter_map(|w| match w.get(4) {
            Some(Word::Text(name)) => Some(name.clone()),
            _ => None,
        })
        .collect();
    if results.is_empty() {
        results.push("_result".into());
    }
    let mut out = String::new();
    for result in results {
        for (at, field) in names.fields.iter().enumerate() {
            let is_text = at == 1;
            let (of, value) = match (result.as_str(), is_text) {
                ("count", _) => ("long", if is_text { "2" } else { "1" }),
                _ if counts => ("long", "2"),
                ("texts" | "first" | "last" | "_result", true) => ("string", "t"),
                ("texts" | "empty", _) | (_, true) => continue,
                _ => ("double", "1"),
            };
            let tags: String = names.tags.iter().map(|_| ",string").collect();
            let keys: String = names.tags.iter().map(|(k, _)| format!(",{}", cell(k))).collect();
            let values: String = names.tags.iter().map(|(_, v)| format!(",{}", cell(v))).collect();
            let groups = ",true".repeat(2 + names.tags.len());
            let none = ",".repeat(4 + names.tags.len());
            out += &format!(
                "#datatype,string,long,dateTime:RFC3339,{of},string,string{tags}\r\n#group,false,false,false,false{groups}\r\n\
                 #default,{result}{none}\r\n,result,table,_time,_value,_field,_measurement{keys}\r\n\
                 ,,0,1970-01-01T00:00:00Z,{value},{},{}{values}\r\n\r\n",
                cell(field),
                cell(&names.measurement)
            );
        }
    }
    out
}

/// What is sent for every kind of question and of change.
fn sent(names: &Names) -> Vec<Asked> {
    let told = names.clone();
    let server = FakeServer::start(move |_, asked| {
        let query = serde_json::from_str::<serde_json::Value>(&asked.body).unwrap_or_default();
        match query.get("query").and_then(|q| q.as_str()) {
            Some(query) => Reply::http(200, "", &reply(&told, query)),
            None if asked.line.contains("/delete") => Reply::http(204, "", ""),
            None => {
                let bucket =
                    serde_json::json!({"name": told.bucket, "id": "0a", "orgID": "0b", "retentionRules": []});
                Reply::http(200, "", &serde_json::json!({ "buckets": [bucket] }).to_string())
            }
        }
    });
    ask(&server.engine(PATIENT_MS), names);
    server.asked.lock().unwrap().clone()
}

fn ask(engine: &InfluxEngine, names: &Names) {
    let (key, budget) = (names.key(), Budget::default());
    let range = TimeRange { start: -5, end: 70_000_000_000 };
    for fields in [None, Some(names.fields.as_slice())] {
        engine.scan(&key, range, fields, &budget).unwrap().for_each(|f| drop(f.unwrap()));
    }
    engine.times(&key, range, &budget).unwrap().for_each(drop);
    let parts = vec![Part::First, Part::Last, Part::Least, Part::Greatest, Part::Sum, Part::Count];
    let field = |(at, name): (usize, &String)| WantedField {
        name: name.clone(),
        of: [FieldType::Float, FieldType::String, FieldType::Integer][at],
        parts: if at == 1 { vec![Part::Count] } else { parts.clone() },
    };
    let wanted = Wanted {
        within: Arc::new(|_, _| true),
        windows: Some(Even { length: 60_000_000_000, first: -3 }),
        fields: names.fields.iter().enumerate().map(field).collect(),
    };
    // The server's tables do not fit all of it: the texts do.
    engine.scan_pieces(&key, range, Some(&names.fields), wanted, &budget).unwrap().for_each(drop);
    let tags = Selector { measurement: None, ..Selector::of(&key) };
    let pattern = Selector { measurement: Some("*".into()), ..Selector::of(&key) };
    for selector in [Selector::of(&key), tags, pattern, Selector::default()] {
        assert_eq!(engine.list(&selector).unwrap().len(), 1);
        assert_eq!(engine.latest(&selector).unwrap().len(), 1);
    }
    engine.load_types(&names.bucket, &[&names.measurement]).unwrap();
    assert_eq!(engine.delete(&Selector::of(&key), range).unwrap().series, 1);
    engine.stats().unwrap();
}

/// A request in words: the pairs of its address, then those of its body.
fn read(asked: &Asked) -> Result<Vec<Word>, String> {
    let path = asked.line.split(' ').nth(1).unwrap_or_default();
    let url = reqwest::Url::parse(&format!("http://h{path}")).map_err(|e| e.to_string())?;
    let mut out = vec![Word::Plain(url.path().into())];
    for (name, value) in url.query_pairs() {
        out.extend([Word::Plain(name.into()), Word::Text(value.into())]);
    }
    if asked.body.is_empty() {
        return Ok(out);
    }
    let body: serde_json::Value = serde_json::from_str(&asked.body).map_err(|e| e.to_string())?;
    for (name, value) in body.as_object().into_iter().flatten() {
        out.push(Word::Plain(name.clone()));
        match (name.as_str(), value.as_str()) {
            ("query" | "predicate", Some(text)) => out.extend(scan_words(text, name == "query")?),
            _ => out.push(Word::Plain(value.to_string())),
        }
    }
    Ok(out)
}

/// The words of the harmless text with the given names in place of the harmless ones are those of the given text.
fn hold(names: &Names) -> Result<(), TestCaseError> {
    let plain = names.harmless();
    let (got, wanted) = (sent(names), sent(&plain));
    prop_assert_eq!(got.len(), wanted.len(), "as many requests");
    let places: std::collections::BTreeMap<&str, &str> = plain.all().into_iter().zip(names.all()).collect();
    for (got, wanted) in got.iter().zip(&wanted) {
        let words = read(got).map_err(TestCaseError::fail)?;
        let wanted: Vec<Word> = read(wanted)
            .map_err(TestCaseError::fail)?
            .into_iter()
            .map(|word| match word {
                Word::Text(t) => Word::Text(places.get(t.as_str()).map_or(t, |name| (*name).to_string())),
                plain => plain,
            })
            .collect();
        prop_assert_eq!(words, wanted);
    }
    Ok(())
}

/// What breaks out of a literal that is made without care, or looks like a part of the language.
const NASTY: &[&str] = &[
    "\"",
    "\\",
    "\\\"",
    "\") |> drop() //",
    "${1 + 1}",
    "$${x}",
    "\\${x}",
    "$\"",
    "a\nimport \"os\"",
    "\r\n",
    "\0",
    "a\0b",
    "\u{1}\u{7f}",
    "\u{85}\u{2028}\u{feff}",
    "é 日本 🦀",
    "// comment",
    "/* c */",
    "/re/",
    "^.*(a|b)[c]{2}+?$",
    "from",
    "import",
    "return",
    "yield(name: \"x\")",
    "r[\"_field\"]",
    "_value",
    "_measurement",
    "x\" OR \"1\"=\"1",
    "' OR '1'='1",
    "AND",
    "*",
    "a*b",
    "%00%22",
    "&bucket=other#",
    "true",
    "-1",
    " ",
    "\t",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(NASTY).prop_map(String::from),
        3 => r#"([a-z]|\PC|[\\"'${}()\[\]/*.^|+?&%#=, \n\r\t]|\x00){1,20}"#,
        1 => (prop::sample::select(NASTY), 1..3_000_usize).prop_map(|(n, times)| n.repeat(times)),
    ]
}

fn names() -> impl Strategy<Value = Names> {
    let different = |n: usize| prop::collection::btree_set(name(), n..=n);
    (name(), name(), different(2), prop::collection::vec(name(), 2), different(3)).prop_map(
        |(bucket, measurement, keys, values, fields)| {
            let tags = keys.into_iter().zip(values).collect();
            given(bucket, measurement, tags, fields.into_iter().collect())
        },
    )
}

/// No bucket of the server's own, which it does not list, nor one that no caller can name, which need not fit into an address; and no
/// tag that it has for a column of its own.
fn given(bucket: String, measurement: String, tags: Vec<(String, String)>, fields: Vec<String>) -> Names {
    let free = |name: String| if name.starts_with('_') { format!("-{name}") } else { name };
    let mut tags: Vec<_> = tags.into_iter().map(|(k, v)| (free(k), v)).collect();
    tags.sort();
    let mut bucket = free(bucket);
    while bucket.len() > BUCKET_BYTES_MAX {
        bucket.pop();
    }
    Names { bucket, measurement, tags, fields }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_names_the_words_are_the_same(names in names()) {
        hold(&names)?;
    }
}

#[test]
fn every_nasty_name_stands_whole_in_every_place() {
    for nasty in NASTY {
        // Next to each other, where an escape of the one could reach the other.
        let name = |n: usize| format!("{nasty}{}", "!".repeat(n));
        let tags = vec![(name(0), name(0)), (name(1), name(0))];
        let fields = vec![name(0), name(1), name(2)];
        let names = given(name(0), name(0), tags, fields);
        hold(&names).unwrap_or_else(|e| panic!("{nasty:?}: {e}"));
    }
}
