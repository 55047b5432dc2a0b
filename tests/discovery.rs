//! Does discovery find what a trader asks for? `tests/discovery/` says what is asked and what is right.

use crate::support::{Host, guests};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SKILLS: &str = include_str!("discovery/skills.tsv");
const PARTS: [(&str, &str); 2] =
    [("dev", include_str!("discovery/dev.tsv")), ("test", include_str!("discovery/test.tsv"))];
/// BLAKE3 of what never changes: the questions that nothing is tuned to, and the skills that they are about.
const FIXED: [(&str, &str); 2] = [("skills", SKILLS_DIGEST), ("test", TEST_DIGEST)];
const SKILLS_DIGEST: &str = "caa8282a43d9d913a84be32cb801c3a12e6f9df887a9b2e5c997d92d8b5a2598";
const TEST_DIGEST: &str = "84b4abe4c1520d92f6256c7a1f22590a800801e4a664239c78fa1679e7cc7790";

/// Words that a question is not about.
const EMPTY_WORDS: &str = "a about after again against all am an and any are as at be because been before being between both but by can could did do \
    does doing during each few for from get had has have having he her here him his how i if in into is it its just let me more most \
    my no nor not now of off on once one only or other our out over own same she should so some such than that the their them then \
    there these they this those through to too under until up very was we were what when where which while who whom whose why will \
    with without would you your us";

struct Skill {
    name: &'static str,
    tags: Vec<&'static str>,
    description: &'static str,
}

#[derive(Clone)]
struct Question {
    kind: &'static str,
    text: &'static str,
    right: Vec<&'static str>,
}

fn rows(table: &'static str) -> impl Iterator<Item = [&'static str; 3]> {
    table.lines().filter(|l| !l.starts_with('#')).map(|l| {
        let cells: Vec<&str> = l.split('\t').collect();
        <[&str; 3]>::try_from(cells).unwrap_or_else(|_| panic!("three cells: {l}"))
    })
}

fn skills() -> Vec<Skill> {
    rows(SKILLS)
        .map(|[name, tags, description]| Skill { name, tags: tags.split(',').collect(), description })
        .collect()
}

fn questions(table: &'static str) -> Vec<Question> {
    rows(table)
        .map(|[kind, text, right]| Question { kind, text, right: right.split(',').collect() })
        .collect()
}

/// Plain FTS5 with stems, in memory.
struct Fts5(Connection);

impl Fts5 {
    fn new() -> Self {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(
            "CREATE VIRTUAL TABLE t USING fts5(name, description, tags, terms, tokenize = 'porter unicode61 remove_diacritics 2');
             CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance');",
        )
        .unwrap();
        Self(c)
    }

    fn put(&self, s: &Skill, terms: &str) {
        let row = (s.name, s.description, s.tags.join(" "), terms);
        self.0.execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4)", row).unwrap();
    }

    /// The stems of a text that mean something.
    fn stems(text: &str) -> BTreeSet<String> {
        let it = Self::new();
        let words = text.to_lowercase();
        let said = words
            .split(|c: char| !c.is_alphanumeric())
            .filter(|w| !EMPTY_WORDS.split_whitespace().any(|e| e == *w));
        it.0.execute("INSERT INTO t(name) VALUES (?1)", [said.collect::<Vec<_>>().join(" ")]).unwrap();
        let mut statement = it.0.prepare("SELECT term FROM v").unwrap();
        let found = statement.query_map([], |r| r.get(0)).unwrap();
        found.collect::<rusqlite::Result<_>>().unwrap()
    }

    fn ask(&self, words: impl Iterator<Item = String>) -> Vec<String> {
        let quoted: Vec<String> = words.map(|w| format!("\"{w}\"")).collect();
        let mut statement = self
            .0
            .prepare(
                "SELECT name FROM t WHERE t MATCH ?1 ORDER BY bm25(t, 4.0, 1.0, 2.0, 1.0), name LIMIT 10",
            )
            .unwrap();
        let found = statement.query_map([quoted.join(" OR ")], |r| r.get(0)).unwrap();
        found.collect::<rusqlite::Result<_>>().unwrap()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

#[test]
fn the_questions_are_what_they_say() {
    let all = skills();
    assert!(all.len() >= 300 && all.iter().map(|s| s.name).collect::<BTreeSet<_>>().len() == all.len());
    for (name, digest) in FIXED {
        let text = if name == "skills" { SKILLS } else { PARTS[1].1 };
        assert_eq!(blake3::hash(text.as_bytes()).to_hex().as_str(), digest, "{name}.tsv never changes");
    }
    let said = |s: &Skill| format!("{} {} {}", s.name, s.tags.join(" "), s.description);
    let stems: BTreeMap<&str, BTreeSet<String>> =
        all.iter().map(|s| (s.name, Fts5::stems(&said(s)))).collect();
    let vocabulary: BTreeSet<String> = all.iter().flat_map(|s| words(&said(s))).collect();
    let mut asked = BTreeSet::new();
    for (part, table) in PARTS {
        let questions = questions(table);
        let of = |kind: &str| questions.iter().filter(|q| q.kind == kind).count();
        assert!(
            questions.len() >= 75
                && of("apart") * 3 >= questions.len()
                && of("misspelt") * 6 >= questions.len()
        );
        assert_eq!(of("apart") + of("misspelt") + of("plain"), questions.len());
        for q in &questions {
            assert!(asked.insert(q.text), "asked twice: {}", q.text);
            let own = Fts5::stems(q.text);
            let shares = |name: &&str| {
                stems.get(name).unwrap_or_else(|| panic!("{part}: no skill {name}")).is_disjoint(&own)
            };
            match q.kind {
                "apart" => {
                    assert!(q.right.iter().all(shares), "{part}: {} shares a word with {:?}", q.text, q.right)
                }
                "plain" => assert!(
                    !q.right.iter().all(shares),
                    "{part}: {} shares no word with {:?}",
                    q.text,
                    q.right
                ),
                _ => assert!(
                    words(q.text).iter().any(|w| !vocabulary.contains(w)),
                    "{part}: {} is spelt well",
                    q.text
                ),
            }
        }
    }
}

/// How well some questions were answered.
#[derive(Default, Clone, Copy)]
struct Score {
    questions: f64,
    /// Questions with a right skill among the first five.
    found: f64,
    /// Of the first right skill among the first ten: one over its rank.
    reciprocal: f64,
}

impl Score {
    fn add(&mut self, found: &[String], right: &[&str]) {
        self.questions += 1.0;
        if let Some(at) = found.iter().take(10).position(|name| right.contains(&name.as_str())) {
            self.found += f64::from(u8::from(at < 5));
            self.reciprocal += 1.0 / (at as f64 + 1.0);
        }
    }

    fn recall(&self) -> f64 {
        self.found / self.questions
    }

    fn mrr(&self) -> f64 {
        self.reciprocal / self.questions
    }
}

const WAYS: [&str; 3] = ["plain FTS5", "FTS5 with the indexer", "full blend"];

/// Least of recall@5 and MRR of the full blend, by part and kind: a little below what was reached, so that a step back is seen. The
/// floors of the test part were set once, after everything was tuned on the other.
const FLOORS: [(&str, &str, f64, f64); 8] = [
    ("dev", "plain", 0.85, 0.75),
    ("dev", "apart", 0.80, 0.60),
    ("dev", "misspelt", 0.90, 0.85),
    ("dev", "all", 0.85, 0.72),
    ("test", "plain", 0.85, 0.75),
    ("test", "apart", 0.35, 0.22),
    ("test", "misspelt", 0.90, 0.80),
    ("test", "all", 0.75, 0.68),
];

#[test]
fn discovery_answers_what_traders_ask() {
    let component = guests().join("finance-index.wasm");
    let mut host = Host::new().with(&format!(
        "[plugins.finance]\ncomponent = \"{}\"\nworld = \"skill-indexer\"\n",
        component.display()
    ));
    host.serve();
    let token = host.token("discovery", "write");
    let (plain, indexed) = (Fts5::new(), Fts5::new());
    for s in skills() {
        let body = json!({ "name": s.name, "language": "python", "code": "pass", "description": s.description, "tags": s.tags });
        let answer = host.http("POST", "/v1/skills", Some(&token), body.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        plain.put(&s, "");
    }
    let entries = host.run(&["--json", "sql", "SELECT s.name, i.terms FROM skill_index i JOIN skills s ON s.id = i.skill_id WHERE error IS NULL", "--limit", "1000"]).json();
    let terms: BTreeMap<String, String> = terms_of(&entries);
    assert_eq!(terms.len(), skills().len(), "every skill has an entry");
    for s in skills() {
        indexed.put(&s, &terms[s.name]);
    }
    let mut scores: BTreeMap<(&str, &str, &str), Score> = BTreeMap::new();
    let ask = |text: &str| -> Value {
        let query = json!({ "text": text, "limit": 10, "explain": true }).to_string();
        host.http("POST", "/v1/skills/search", Some(&token), query.as_bytes()).json()
    };
    for (part, table) in PARTS {
        for q in questions(table) {
            let answer = ask(q.text);
            let added = answer["widened"].as_array().into_iter().flatten();
            let added: Vec<String> = added
                .flat_map(|w| w["terms"].as_array().unwrap())
                .flat_map(|t| words(t.as_str().unwrap()))
                .collect();
            let full: Vec<String> = answer["hits"]
                .as_array()
                .unwrap()
                .iter()
                .map(|h| h["name"].as_str().unwrap().into())
                .collect();
            if std::env::var_os("SHIPHOLD_SHOW_MISSES").is_some()
                && part == "dev"
                && !full.iter().take(5).any(|n| q.right.contains(&n.as_str()))
            {
                println!(
                    "missed: [{}] {} → {:?}, not {:?}; read {} widened {}",
                    q.kind,
                    q.text,
                    &full[..full.len().min(5)],
                    q.right,
                    answer["read_as"],
                    answer["widened"]
                );
            }
            let found = [
                plain.ask(words(q.text).into_iter()),
                indexed.ask(words(q.text).into_iter().chain(added)),
                full,
            ];
            for (way, found) in WAYS.iter().zip(&found) {
                for kind in [q.kind, "all"] {
                    scores.entry((part, kind, way)).or_default().add(found, &q.right);
                }
            }
        }
    }
    println!("| part | questions | {} |", WAYS.map(|w| format!("{w}: recall@5, MRR")).join(" | "));
    println!("|---|---|---|---|---|");
    for (part, _) in PARTS {
        for kind in ["plain", "apart", "misspelt", "all"] {
            let of = |way| scores[&(part, kind, way)];
            let cells = WAYS.map(|way| format!("{:.3}, {:.3}", of(way).recall(), of(way).mrr()));
            println!("| {part} | {kind} ({}) | {} |", of(WAYS[0]).questions, cells.join(" | "));
        }
    }
    for (part, kind, recall, mrr) in FLOORS {
        let full = scores[&(part, kind, WAYS[2])];
        assert!(
            full.recall() >= recall && full.mrr() >= mrr,
            "{part} {kind}: {:.3}, {:.3}",
            full.recall(),
            full.mrr()
        );
    }
    for (part, _) in PARTS {
        let of = |way| scores[&(part, "all", way)].mrr();
        assert!(of(WAYS[0]) < of(WAYS[2]), "{part}: the blend is better than plain full text");
    }
}

fn terms_of(answer: &Value) -> BTreeMap<String, String> {
    let rows = answer["rows"]
        .as_array()
        .or_else(|| answer.as_array())
        .unwrap_or_else(|| panic!("no rows in {answer}"));
    let text = |row: &Value, name: &str, at: usize| {
        row.get(name).or_else(|| row.get(at)).and_then(Value::as_str).unwrap().to_string()
    };
    let terms = |text: String| serde_json::from_str::<Vec<String>>(&text).unwrap().join(" ");
    rows.iter().map(|row| (text(row, "name", 0), terms(text(row, "terms", 1)))).collect()
}
