//! Skill search at scale while others write, beside plain FTS5 and a scan with LIKE over the same skills in the same run.

mod words;

use crate::machine::memory_mib;
use crate::{Run, Table};
use shiphold_storage::skills::{
    Expansion, IndexEntry, NewVersion, SkillIndexer, SkillQuery, SkillVersion, Skills,
};
use shiphold_storage::sqlite::{Database, Options, Synchronous};
use shiphold_storage::{Caller, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use words::{Dice, Words, misspelt};

const OP: Caller = Caller::Operator;
/// Different words of the library that is like a language.
const VOCABULARY: usize = 8_000;
/// Questions that are timed.
const QUESTIONS: usize = 2_000;

pub fn run(run: &Run, table: &mut Table) {
    let count = run.size(100_000, 2_000);
    let language = [
        ("two words", (2, 2), Kind::Plain),
        ("three to eight words", (3, 8), Kind::Plain),
        ("misspelt", (2, 4), Kind::Misspelt),
        ("still being typed", (2, 4), Kind::Typing),
    ];
    library(table, &format!("Zipf, {VOCABULARY} words"), &Words::zipf(VOCABULARY), count, &language, None);
    library(
        table,
        "Zipf, an indexer",
        &Words::zipf(VOCABULARY),
        count,
        &language[1..2],
        Some(Concepts { dense: false }),
    );
    library(
        table,
        "Zipf, dense vectors",
        &Words::zipf(VOCABULARY),
        count,
        &language[1..2],
        Some(Concepts { dense: true }),
    );
    library(table, "48 words", &Words::Few, count, &[("two to four words", (2, 4), Kind::Plain)], None);
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Misspelt,
    Typing,
}

/// An indexer that gives each skill twenty of 200 concepts, and each question four with the words around them.
#[derive(Debug)]
struct Concepts {
    /// Whether a vector uses all of its dimensions.
    dense: bool,
}

impl Concepts {
    fn of(&self, text: &str, count: usize) -> (Vec<String>, Vec<f32>) {
        let seed = text.bytes().fold(7_u64, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        let mut dice = Dice(seed);
        let concepts: Vec<usize> = (0..count).map(|_| dice.below(200)).collect();
        let vector = (0..256)
            .map(|d| {
                if self.dense { dice.roll() as f32 - 0.5 } else { f32::from(u8::from(concepts.contains(&d))) }
            })
            .collect();
        (concepts.iter().map(|c| format!("concept{c}")).collect(), vector)
    }
}

impl SkillIndexer for Concepts {
    fn name(&self) -> &str {
        "concepts"
    }
    fn revision(&self) -> &str {
        "1"
    }
    fn index(&self, skill: &SkillVersion) -> Result<IndexEntry> {
        let (terms, vector) = self.of(&skill.description, 20);
        Ok(IndexEntry { tags: terms[..3].to_vec(), terms, vector })
    }
    fn expand(&self, question: &str) -> Result<Expansion> {
        let (terms, vector) = self.of(question, 16);
        Ok(Expansion { terms, vector })
    }
}

fn new(words: &Words, dice: &mut Dice, name: usize, code: u64) -> NewVersion {
    let length = 8 + dice.below(20);
    NewVersion {
        name: format!("{}-{}-{name}", words.word(dice), words.word(dice)),
        language: "python".into(),
        code: format!("def run(bars):\n    return {code}\n"),
        description: words.text(dice, length),
        tags: vec![words.word(dice), words.word(dice)],
        ..NewVersion::default()
    }
}

fn library(
    table: &mut Table,
    what: &str,
    words: &Words,
    count: usize,
    questions: &[(&str, (usize, usize), Kind)],
    indexer: Option<Concepts>,
) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("skills.db");
    let load = Options { synchronous: Synchronous::Off, ..Options::default() };
    let db = Arc::new(Database::open(&path, load, shiphold_storage::schema::MIGRATIONS).unwrap());
    let skills = Skills::new(db, Arc::default());
    let indexers: Vec<Arc<dyn SkillIndexer>> =
        indexer.into_iter().map(|i| Arc::new(i) as Arc<dyn SkillIndexer>).collect();
    skills.set_indexers(indexers.clone());
    let mut dice = Dice(7);
    for i in 0..count {
        skills.put(&OP, new(words, &mut dice, i, 0)).unwrap();
    }
    drop(skills);

    let db =
        Arc::new(Database::open(&path, Options::default(), shiphold_storage::schema::MIGRATIONS).unwrap());
    let before = memory_mib(std::process::id()).0;
    let skills = Arc::new(Skills::new(db.clone(), Arc::default()));
    skills.set_indexers(indexers);
    let begin = Instant::now();
    skills.warm().unwrap();
    let made = begin.elapsed().as_secs_f64() * 1e3;
    table.cost(&format!("{what}: making the index of {count} skills"), "ms", made, None, "");
    let held = memory_mib(std::process::id()).0 - before;
    table.cost(&format!("{what}: memory that it takes"), "MiB", held, None, "");

    let plain = plain(&db, &dir.path().join("plain.db"));
    for (kind_name, (least, most), kind) in questions {
        let asked: Vec<String> = (0..QUESTIONS)
            .map(|_| {
                let length = least + dice.below(most - least + 1);
                let mut text: Vec<String> = (0..length).map(|_| words.word(&mut dice)).collect();
                let last = text.last_mut().unwrap();
                match kind {
                    Kind::Plain => {}
                    Kind::Misspelt => *last = misspelt(last),
                    Kind::Typing => last.truncate(3),
                }
                text.join(" ")
            })
            .collect();
        let (end, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = {
            let (skills, end, writes) = (skills.clone(), end.clone(), writes.clone());
            let mut dice = Dice(dice.0);
            let first = new(words, &mut Dice(7), 0, 0).name;
            std::thread::spawn(move || {
                // New skills and, every second time, a new version of one, as fast as the disk takes them.
                let mut code = 1;
                while !end.load(Ordering::Relaxed) {
                    let mut next = new(&Words::zipf(VOCABULARY), &mut dice, 0, code);
                    if code % 2 == 0 {
                        next.name.clone_from(&first);
                    }
                    skills.put(&OP, next).unwrap();
                    writes.fetch_add(1, Ordering::Relaxed);
                    code += 1;
                }
            })
        };
        let begin = Instant::now();
        let ours = timed(&asked, |text| {
            let query = SkillQuery { text: text.into(), ..SkillQuery::default() };
            std::hint::black_box(skills.search(&OP, &query).unwrap());
        });
        let rate = writes.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
        end.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        table.note(format!("{what}, {kind_name}: {rate:.0} durable writes a second meanwhile."));
        let fts5 = timed(&asked[..200.min(asked.len())], |text| fts5(&plain, text));
        let like = timed(&asked[..5], |text| like(&plain, text));
        let line = |name: &str| format!("{what}, {kind_name}: {name}");
        table.cost(&line("least"), "ms", ours.0, Some(("plain FTS5", fts5.0)), "");
        let peers = [("plain FTS5", fts5.1), ("LIKE", like.1)];
        table.beside(&line("p50"), "ms", false, ours.1, &peers, "3");
        table.cost(&line("p99"), "ms", ours.2, Some(("plain FTS5", fts5.2)), "10");
    }
}

/// Least, median and 99th percentile, in milliseconds.
fn timed(asked: &[String], mut ask: impl FnMut(&str)) -> (f64, f64, f64) {
    let mut all: Vec<f64> = asked
        .iter()
        .map(|text| {
            let begin = Instant::now();
            ask(text);
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    all.sort_by(f64::total_cmp);
    (all[0], all[all.len() / 2], all[all.len() * 99 / 100])
}

/// The same skills as somebody would put them into FTS5.
fn plain(db: &Database, path: &Path) -> Database {
    let plain = Database::open(path, Options::default(), &[]).unwrap();
    plain
        .write(|tx| {
            tx.execute_batch(
                "CREATE TABLE skills(id INTEGER PRIMARY KEY, name TEXT, description TEXT, tags TEXT);
                 CREATE VIRTUAL TABLE t USING fts5(name, description, tags, tokenize = 'porter unicode61');",
            )?;
            db.read(|c| {
                let mut from = c.prepare("SELECT skill_id, name, description, tags FROM skill_documents")?;
                let mut rows = from.query([])?;
                while let Some(r) = rows.next()? {
                    let row: (i64, String, String, String) = (r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?);
                    tx.prepare_cached("INSERT INTO skills VALUES (?1, ?2, ?3, ?4)")?.execute(row.clone())?;
                    tx.prepare_cached(
                        "INSERT INTO t(rowid, name, description, tags) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(row)?;
                }
                Ok(())
            })
        })
        .unwrap();
    plain
}

fn fts5(plain: &Database, text: &str) {
    let question = text.split(' ').map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(" OR ");
    let found: Vec<(String, String)> = plain
        .read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT s.name, s.description FROM t JOIN skills s ON s.id = t.rowid WHERE t MATCH ?1
                 ORDER BY bm25(t, 4.0, 1.0, 2.0) LIMIT 10",
            )?;
            let rows = statement.query_map([question], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        })
        .unwrap();
    std::hint::black_box(found);
}

fn like(plain: &Database, text: &str) {
    let any = text.split(' ').map(|w| format!("description LIKE '%{w}%'")).collect::<Vec<_>>().join(" OR ");
    let n: i64 = plain
        .read(|c| Ok(c.query_row(&format!("SELECT count(*) FROM skills WHERE {any}"), [], |r| r.get(0))?))
        .unwrap();
    std::hint::black_box(n);
}
