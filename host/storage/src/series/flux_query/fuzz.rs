//! Texts in Flux that nobody would write, asked of a few rows in two engines: both answer alike, within their bounds.

use super::tests::{NOW, tables_of};
use crate::Kind;
use crate::series::embedded::{EmbeddedEngine, EngineOptions};
use crate::series::line_protocol::{Precision, parse_typed};
use crate::series::model_engine::ModelEngine;
use crate::series::{Budget, SeriesEngine};
use crate::testing::fuzz::{mutated, run};
use crate::testing::random::Random;
use crate::units::{ByteSize, Span};
use std::time::{Duration, Instant};

/// Rows of an answer.
const ROWS_MAX: u64 = 150;
/// What a query may take, and what it may take beyond that until it notices.
const TIME_MAX: Duration = Duration::from_millis(300);
const LATE_MAX: Duration = Duration::from_secs(10);
/// Conditions within each other.
const DEPTH: usize = 4;

const LINES: &str = "cpu,host=a,Zone=x usage=1.5,n=1i 1\ncpu,host=a,Zone=x usage=2.5 2\ncpu,host=a,Zone=x usage=3.25,n=3i,s=\"t\" 61\n\
    cpu,host=b usage=10,ok=true,u=5u 1\ncpu,host=b usage=20,ok=false,u=6u 121\nmem,host=a free=0.5 1\n\
    bar,symbol=A,timeframe=1m open=1,close=2,volume=3 60\nbar,symbol=A,timeframe=1m open=2,close=1,volume=0 120\n\
    metrics,component=c v=1 1\nedge,t=a\\,b,x=c\\=d f=1.7976931348623157e308,i=-9223372036854775808i,u=18446744073709551615u 200\n\
    edge,t=a\\,b,x=c\\=d f=-0,i=9223372036854775807i,u=0u,s=\"\\\"\" 201\n";

fn pick(random: &mut Random, of: &[&str]) -> String {
    random.pick(of).map_or_else(String::new, |s| (*s).to_string())
}

fn duration(random: &mut Random) -> String {
    pick(
        random,
        &[
            "1m",
            "1s",
            "7s",
            "1h",
            "1d",
            "1w",
            "1mo",
            "1y",
            "1ns",
            "0s",
            "-1m",
            "1m30s",
            "90s",
            "9223372036s",
            "1d12h",
        ],
    )
}

fn time(random: &mut Random) -> String {
    let times = [
        "0",
        "-5m",
        "-1h",
        "now()",
        "1",
        "60",
        "300",
        "1970-01-01",
        "1970-01-01T00:01:00Z",
        "1970-01-01T00:01:00.5+01:00",
        "-1mo",
        "-292y",
        "9223372036854775807",
        "2262-04-11T23:47:16Z",
        "1677-09-21T00:12:44Z",
        "v.start",
    ];
    pick(random, &times)
}

fn name(random: &mut Random) -> String {
    pick(
        random,
        &[
            "host",
            "Zone",
            "_measurement",
            "_field",
            "_value",
            "_time",
            "symbol",
            "none",
            "t",
            "x",
            "_start",
            "usage",
        ],
    )
}

fn literal(random: &mut Random) -> String {
    let all = [
        "\"a\"",
        "\"b\"",
        "\"cpu\"",
        "\"bar\"",
        "\"usage\"",
        "\"\"",
        "\"\\\\\"",
        "\"\\x41\"",
        "1",
        "2.5",
        "-1",
        "1e3",
        "true",
        "false",
        "0.0",
        "9223372036854775807",
        "-9223372036854775808",
        "1m",
        "1970-01-01T00:01:00Z",
        "[\"a\"]",
        "{a: 1}",
        "now()",
    ];
    pick(random, &all)
}

fn condition(random: &mut Random, depth: usize) -> String {
    let field = |random: &mut Random| match random.coin() {
        true => format!("r.{}", name(random)),
        false => format!("r[\"{}\"]", name(random)),
    };
    match if depth == 0 { 4 + random.below(5) } else { random.below(9) } {
        0 | 1 => {
            let (a, b) = (condition(random, depth - 1), condition(random, depth - 1));
            format!("{a} {} {b}", pick(random, &["and", "or"]))
        }
        2 => format!("not {}", condition(random, depth - 1)),
        3 => format!("({})", condition(random, depth - 1)),
        4 => format!("exists {}", field(random)),
        5 => format!(
            "{} {} /{}/",
            field(random),
            pick(random, &["=~", "!~"]),
            pick(random, &["a", "^c", "", "(a|b)$", "[", "(x*)*", "."])
        ),
        6 => format!("contains(value: {}, set: [{}, {}])", field(random), literal(random), literal(random)),
        _ => {
            let (a, b) = (field(random), literal(random));
            let how = pick(random, &["==", "!=", "<", "<=", ">", ">="]);
            if random.one_in(6) { format!("{b} {how} {a}") } else { format!("{a} {how} {b}") }
        }
    }
}

fn stage(random: &mut Random) -> String {
    let function = |random: &mut Random| {
        pick(random, &["first", "last", "min", "max", "mean", "sum", "count", "stddev", "median"])
    };
    match random.below(10) {
        0..4 => format!("filter(fn: (r) => {})", condition(random, DEPTH)),
        4 => {
            let mut more = String::new();
            if random.coin() {
                more += &format!(", createEmpty: {}", pick(random, &["true", "false"]));
            }
            if random.one_in(3) {
                more += &format!(", offset: {}", duration(random));
            }
            if random.one_in(4) {
                more += &format!(", timeSrc: \"{}\"", pick(random, &["_start", "_stop", "_time"]));
            }
            format!("aggregateWindow(every: {}, fn: {}{more})", duration(random), function(random))
        }
        5 => format!("{}()", function(random)),
        6 => format!(
            "limit(n: {}, offset: {})",
            literal(random),
            pick(random, &["0", "1", "-1", "9223372036854775807"])
        ),
        7 => format!("sort(columns: [\"{}\"], desc: {})", name(random), pick(random, &["true", "false"])),
        8 => "pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\")".into(),
        _ => format!("{}(column: \"{}\")", function(random), name(random)),
    }
}

fn text(random: &mut Random) -> String {
    let mut out = String::from("v = {start: -5m, every: 1m}\n");
    if random.one_in(6) {
        out += "option now = () => 1970-01-01T00:02:00Z\n";
    }
    let results = 1 + usize::from(random.one_in(4));
    for result in 0..results {
        let bucket = pick(random, &["b", "b", "b", "b", "none", "", "_host"]);
        out += &format!("from(bucket: \"{bucket}\") |> range(start: {}", time(random));
        if random.one_in(3) {
            out += &format!(", stop: {}", time(random));
        }
        out += ")";
        for _ in 0..random.below(5) {
            out += &format!(" |> {}", stage(random));
        }
        if results > 1 || random.one_in(5) {
            out += &format!(" |> yield(name: \"{result}\")");
        }
        out += "\n";
    }
    out
}

/// Words in another order, left out, or taken from another text.
fn shuffled(random: &mut Random, text: &str, other: &str) -> String {
    let mut words: Vec<&str> = text.split_inclusive(|c: char| !c.is_alphanumeric()).collect();
    let others: Vec<&str> = other.split_inclusive(|c: char| !c.is_alphanumeric()).collect();
    for _ in 0..1 + random.below(4) {
        let (a, b) = (random.below(words.len()), random.below(words.len()));
        match random.below(4) {
            0 if !words.is_empty() => words.swap(a, b),
            1 if !words.is_empty() => drop(words.remove(a)),
            2 if !words.is_empty() => words.insert(b, words[a]),
            _ => words.insert(a, random.pick(&others).copied().unwrap_or_default()),
        }
    }
    words.concat()
}

fn sealed(dir: &std::path::Path) -> EmbeddedEngine {
    let config = crate::manifest::Embedded {
        memory_max: ByteSize::mib(16),
        head_max: ByteSize::mib(1),
        chunk_rows: 2,
        seal_after: Span::from_secs(3_600),
        compact_every: Span::from_secs(0),
        cache_max: ByteSize::kib(4),
    };
    EmbeddedEngine::open(&dir.join("series.db"), &config, EngineOptions::default()).unwrap()
}

#[test]
fn flux() {
    let dir = tempfile::tempdir().unwrap();
    let (model, embedded) = (ModelEngine::with_frame_rows(2), sealed(dir.path()));
    let batch = parse_typed("b", LINES.as_bytes(), Precision::S, NOW, 1_000).unwrap();
    for engine in [&model as &dyn SeriesEngine, &embedded] {
        assert_eq!(engine.write(batch.clone()).unwrap().dropped, 0);
        engine.seal().unwrap();
    }
    run("flux", |random| {
        let (one, other) = (text(random), text(random));
        let asked = match random.below(6) {
            0 => String::from_utf8_lossy(&mutated(random, one.as_bytes(), other.as_bytes())).into_owned(),
            1 => shuffled(random, &one, &other),
            _ => one,
        };
        let ask = |engine: &dyn SeriesEngine| {
            let begun = Instant::now();
            let budget = Budget { deadline: Some(begun + TIME_MAX), ..Budget::default() };
            let answer = tables_of(engine, &asked, ROWS_MAX, &budget);
            assert!(begun.elapsed() < TIME_MAX + LATE_MAX, "it goes on after its time: {asked}");
            answer
        };
        match (ask(&model), ask(&embedded)) {
            (Ok(a), Ok(b)) => {
                assert_eq!(a, b, "{asked}");
                let rows: u64 = a.iter().map(|table| table.matches('=').count() as u64).sum();
                // A row has a value for each column at most, and a table names its tags.
                assert!(rows <= (ROWS_MAX + a.len() as u64) * 16, "{rows} rows: {asked}");
                true
            }
            (Err(a), Err(b)) => {
                let fair = [Kind::Invalid, Kind::Limit, Kind::Timeout, Kind::NotFound];
                assert!(fair.contains(&a.kind()), "{a:?}: {asked}");
                // Whose time is over first is chance.
                let late = [a.kind(), b.kind()].contains(&Kind::Timeout);
                assert!(late || (a.kind(), a.message()) == (b.kind(), b.message()), "{a:?}, {b:?}: {asked}");
                false
            }
            (a, b) => {
                let late = [&a, &b].into_iter().any(|r| r.as_ref().is_err_and(|e| e.kind() == Kind::Timeout));
                assert!(late, "{a:?}, {b:?}: {asked}");
                false
            }
        }
    });
}
