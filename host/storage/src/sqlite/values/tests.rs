//! What is kept is never older than what was committed before it was asked for.

use super::*;
use crate::error::Error;
use crate::sqlite::{Database, Migration, Options};
use crate::testing::random::Random;
use crate::testing::{Fault, FaultVfs};
use proptest::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

impl Values {
    /// Everything that it holds belongs together.
    fn check(&self) {
        let state = lock(&self.state);
        let slots: Vec<_> =
            state.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?))).collect();
        assert_eq!(slots.iter().map(|(_, s)| s.bytes).sum::<u64>(), state.bytes);
        assert!(state.bytes <= self.bytes_max, "{} bytes of {}", state.bytes, self.bytes_max);
        assert_eq!(state.slots_of.iter().map(HashMap::len).sum::<usize>(), slots.len());
        assert_eq!(state.free.len() + slots.len(), state.slots.len());
        for (at, slot) in &slots {
            assert_eq!(state.slots_of[slot.noun as usize].get(&slot.key), Some(at));
            assert!(slot.sources.iter().all(|s| state.made_of[s].contains(at)));
        }
        let sources: usize = slots.iter().map(|(_, s)| s.sources.len()).sum();
        assert_eq!(state.made_of.values().map(Vec::len).sum::<usize>(), sources);
        assert!(state.order.len() <= REMEMBERED_MAX && state.remembered.len() <= state.order.len());
        for noun in Noun::ALL {
            let of: Vec<_> = slots.iter().filter(|(_, s)| s.noun == noun).collect();
            let counts = state.counts[noun as usize];
            let there = (of.len() as u64, of.iter().map(|(_, s)| s.bytes).sum::<u64>());
            assert_eq!((counts.entries, counts.bytes), there);
        }
    }
}

const KEYS: usize = 12;
const READERS: usize = 3;
/// Room for nine of the smallest values; those of more than 42 bytes are too large.
const ROOM: u64 = 300 * VALUE_SHARE;

/// What happens next, of readers that go on at the same time and of a commit that is made meanwhile.
#[derive(Debug, Clone)]
enum Step {
    /// A reader asks.
    Ask {
        reader: usize,
        key: usize,
    },
    /// One that found nothing takes its snapshot.
    Look {
        reader: usize,
    },
    /// It hands over what it read; so many bytes.
    Keep {
        reader: usize,
        bytes: usize,
    },
    /// A commit that changes these keys begins, becomes visible, ends.
    Begin {
        keys: Vec<usize>,
        fails: bool,
    },
    Show,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0..READERS;
    prop_oneof![
        4 => (reader.clone(), 0..KEYS).prop_map(|(reader, key)| Step::Ask { reader, key }),
        3 => reader.clone().prop_map(|reader| Step::Look { reader }),
        3 => (reader, 0..48_usize).prop_map(|(reader, bytes)| Step::Keep { reader, bytes }),
        2 => (proptest::collection::vec(0..KEYS, 1..4), any::<bool>()).prop_map(|(keys, fails)| Step::Begin { keys, fails }),
        2 => Just(Step::Show),
        2 => Just(Step::End),
    ]
}

/// A reader between two steps.
#[derive(Debug, Default)]
struct Reader {
    asked: Option<(usize, Ticket)>,
    saw: Option<u64>,
}

/// A commit between two steps.
struct Committing {
    keys: Vec<usize>,
    fails: bool,
    shown: bool,
}

fn source(key: usize) -> Source {
    Source::Skill(key as i64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// In whichever order readers and commits get on: what is found is what is committed.
    #[test]
    fn nothing_old_is_found_in_any_order_of_steps(steps in proptest::collection::vec(step(), 1..80)) {
        let values = Values::new(ROOM);
        let mut committed = [0_u64; KEYS];
        let mut readers: [Reader; READERS] = Default::default();
        let mut commit: Option<Committing> = None;
        for step in steps {
            match step {
                Step::Ask { reader, key } => match values.get(Noun::Skills, &[key as u8]) {
                    Ok(found) => {
                        let found = *found.downcast::<u64>().unwrap();
                        prop_assert_eq!(found, committed[key], "of key {}", key);
                    }
                    Err(ticket) => readers[reader] = Reader { asked: Some((key, ticket)), saw: None },
                },
                Step::Look { reader } => {
                    let reader = &mut readers[reader];
                    reader.saw = reader.asked.map(|(key, _)| committed[key]);
                }
                Step::Keep { reader, bytes } => {
                    if let Reader { asked: Some((key, ticket)), saw: Some(saw) } = std::mem::take(&mut readers[reader]) {
                        values.keep(ticket, Noun::Skills, &[key as u8], Arc::new(saw), bytes, vec![source(key)]);
                    }
                }
                Step::Begin { keys, fails } if commit.is_none() => {
                    let mut touched = Touched::default();
                    keys.iter().for_each(|k| touched.add(Change::Row(source(*k))));
                    values.commit_begins(touched);
                    commit = Some(Committing { keys, fails, shown: false });
                }
                Step::Show => {
                    if let Some(c) = commit.as_mut().filter(|c| !c.shown) {
                        c.shown = true;
                        if !c.fails {
                            c.keys.iter().for_each(|k| committed[*k] += 1);
                        }
                    }
                }
                Step::End if commit.as_ref().is_some_and(|c| c.shown) => {
                    values.commit_ended();
                    commit = None;
                }
                Step::Begin { .. } | Step::End => {}
            }
            values.check();
        }
    }
}

#[derive(Debug, PartialEq)]
struct Number(i64);

impl Kept for Number {
    const NOUN: Noun = Noun::Skills;
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

const TABLES: Migration = Migration::new(
    1,
    "tables",
    "CREATE TABLE skills(id INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;
     CREATE TABLE other(id INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;",
);

fn open(path: &Path, options: Options) -> Database {
    let db = Database::open(path, options, &[TABLES]).unwrap();
    db.write(|tx| {
        tx.execute_batch("INSERT OR IGNORE INTO skills VALUES (1, 10), (2, 20), (3, 30)")?;
        Ok(())
    })
    .unwrap();
    db
}

fn number(db: &Database, id: i64) -> i64 {
    let read = |c: &rusqlite::Connection| {
        let n = c.query_row("SELECT n FROM skills WHERE id = ?1", [id], |r| r.get(0))?;
        Ok((Number(n), vec![Source::Skill(id)]))
    };
    db.value::<Number>(&id.to_le_bytes(), read).unwrap().0
}

fn set(db: &Database, id: i64, n: i64) -> crate::Result<()> {
    db.write(|tx| {
        tx.execute("UPDATE skills SET n = ?2 WHERE id = ?1", (id, n))?;
        Ok(())
    })
}

fn counts(db: &Database) -> ValueCounts {
    db.counts().values[Noun::Skills as usize]
}

#[test]
fn a_value_is_read_once_and_goes_with_its_row_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("a.db"), Options::default());
    assert!(db.known::<Number>(&1_i64.to_le_bytes()).is_none());
    assert_eq!([number(&db, 1), number(&db, 1), number(&db, 2)], [10, 10, 20]);
    assert_eq!((counts(&db).hits, counts(&db).misses, counts(&db).entries), (1, 2, 2));
    db.write(|tx| Ok(tx.execute("INSERT INTO other VALUES (1, 1)", [])?)).unwrap();
    assert_eq!(counts(&db).outdated, 0, "another table");
    set(&db, 1, 11).unwrap();
    assert!(db.known::<Number>(&1_i64.to_le_bytes()).is_none());
    assert_eq!(*db.known::<Number>(&2_i64.to_le_bytes()).unwrap(), Number(20), "another row");
    assert_eq!((number(&db, 1), counts(&db).outdated), (11, 1));
    db.write(|tx| Ok(tx.execute("DELETE FROM skills WHERE id = 2", [])?)).unwrap();
    let gone = db.value::<Number>(&2_i64.to_le_bytes(), |_| Err(Error::not_found("gone")));
    assert_eq!(gone.unwrap_err().kind(), crate::Kind::NotFound);
    assert_eq!((counts(&db).outdated, counts(&db).entries), (2, 1), "and an error is not kept");
    db.values.check();
}

#[test]
fn what_is_taken_back_or_not_committed_yet_is_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("a.db"), Options::default());
    assert_eq!(number(&db, 1), 10);
    let failed: crate::Result<()> = db.write(|tx| {
        tx.execute("UPDATE skills SET n = 99 WHERE id = 1", [])?;
        assert_eq!(number(&db, 1), 10, "nobody else sees it");
        Err(Error::invalid("changed my mind"))
    });
    assert!(failed.is_err());
    assert_eq!(number(&db, 1), 10);
    set(&db, 1, 11).unwrap();
    assert_eq!(number(&db, 1), 11);
}

#[test]
fn a_commit_that_fails_leaves_what_the_file_says() {
    for n in 1..60 {
        let vfs = FaultVfs::new("values").unwrap();
        let options = Options { vfs: Some(vfs.name().into()), readers: 1, ..Options::default() };
        let db = open(Path::new("/data/a.db"), options);
        assert_eq!(number(&db, 1), 10);
        vfs.fail_from(n, Fault::Io);
        let done = set(&db, 1, 11);
        vfs.heal();
        let there: i64 =
            db.read(|c| Ok(c.query_row("SELECT n FROM skills WHERE id = 1", [], |r| r.get(0))?)).unwrap();
        assert_eq!(number(&db, 1), there, "operation {n}");
        assert!(done.is_err() || there == 11, "operation {n}");
    }
}

#[test]
fn the_room_has_a_bound_and_large_values_are_not_kept() {
    let values = Values::new(ENTRY_BYTES as u64 * 10 * VALUE_SHARE);
    let keep = |key: &[u8], bytes: usize| {
        let ticket = values.get(Noun::Settings, key).unwrap_err();
        values.keep(ticket, Noun::Settings, key, Arc::new(()), bytes, vec![Source::Setting(0)]);
        values.check();
    };
    let is_kept = |key: &[u8]| values.peek(Noun::Settings, key).is_some();
    let most = ENTRY_BYTES * 9 - 2;
    keep(b"a", most);
    assert!(is_kept(b"a"));
    keep(b"b", most + 1);
    assert!(!is_kept(b"b"), "one byte too many");
    for n in 0..1_000_u32 {
        keep(&n.to_le_bytes(), ENTRY_BYTES);
        assert!(is_kept(b"a"), "what is asked for again and again stays: {n}");
    }
    assert!(is_kept(&999_u32.to_le_bytes()) && !is_kept(&0_u32.to_le_bytes()));
    let counts = values.counts()[Noun::Settings as usize];
    assert!(counts.evicted > 900 && counts.entries > 20, "{counts:?}");
    let none = Values::new(0);
    let ticket = none.get(Noun::Tokens, b"a").unwrap_err();
    none.keep(ticket, Noun::Tokens, b"a", Arc::new(()), 0, Vec::new());
    assert!(none.peek(Noun::Tokens, b"a").is_none());
}

#[test]
fn a_transaction_that_touches_more_than_is_told_apart_outdates_everything() {
    for (rows, all) in [(TOUCHED_MAX, false), (TOUCHED_MAX + 1, true)] {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir.path().join("a.db"), Options::default());
        assert_eq!((number(&db, 1), number(&db, 2)), (10, 20));
        db.write(|tx| {
            // None of the three.
            let many = "WITH RECURSIVE n(i) AS (VALUES (10) UNION ALL SELECT i + 1 FROM n LIMIT ?1) INSERT INTO skills SELECT i, i FROM n";
            Ok(tx.execute(many, [rows as i64])?)
        })
        .unwrap();
        assert_eq!(db.known::<Number>(&1_i64.to_le_bytes()).is_none(), all, "{rows}");
        assert_eq!((number(&db, 1), number(&db, 3)), (10, 30));
        set(&db, 3, 31).unwrap();
        assert_eq!(number(&db, 3), 31);
        db.values.check();
    }
}

/// A table that comes or goes with a migration is decided about: whether a value is made of its rows.
#[test]
fn every_table_about_skills_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap();
    let mut there: Vec<String> = db
        .read(|c| {
            let sql =
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'skill_*' ORDER BY name";
            let mut statement = c.prepare(sql)?;
            let names = statement.query_map([], |r| r.get(0))?;
            Ok(names.collect::<rusqlite::Result<_>>()?)
        })
        .unwrap();
    there.retain(|t| t != "skill_versions");
    let mut known = BESIDE_SKILLS;
    known.sort_unstable();
    assert_eq!(there, known);
}

#[test]
fn a_table_that_nobody_knows_outdates_all_values_of_its_noun() {
    assert_eq!(Change::of("skills", 7), Some(Change::Row(Source::Skill(7))));
    for beside in ["skill_tags", "settings", "audit", "skill"] {
        assert_eq!(Change::of(beside, 7), None, "{beside}");
    }
    assert_eq!(Change::of("skill_new_things", 7), Some(Change::AllOf(Noun::Skills)));
    let values = Values::new(VALUES_BYTES_MAX);
    let keep = |noun: Noun, ticket: Ticket| {
        values.keep(ticket, noun, b"a", Arc::new(()), 0, vec![Source::Setting(1)]);
        values.peek(noun, b"a").is_some()
    };
    let ask = |noun: Noun| values.get(noun, b"a").unwrap_err();
    assert!(keep(Noun::Skills, ask(Noun::Skills)) && keep(Noun::Tokens, ask(Noun::Tokens)));
    let mut touched = Touched::default();
    touched.add(Change::AllOf(Noun::Skills));
    touched.add(Change::AllOf(Noun::Settings));
    values.commit_begins(touched);
    values.check();
    assert!(values.peek(Noun::Skills, b"a").is_none() && values.peek(Noun::Tokens, b"a").is_some());
    let before = ask(Noun::Skills);
    assert!(!keep(Noun::Skills, before), "while the commit is made");
    values.commit_ended();
    assert!(!keep(Noun::Skills, before), "read before it ended");
    assert!(keep(Noun::Skills, ask(Noun::Skills)));
}

/// Who reads sees at least what was acknowledged, and what anybody saw, before he began.
#[test]
fn many_readers_never_see_less_than_was_committed_before_they_began() {
    const WRITERS: i64 = 3;
    const ROWS: i64 = 4 * WRITERS;
    const ROUNDS: i64 = 100;
    let dir = tempfile::tempdir().unwrap();
    // Room for eight values: they are evicted all the time, too.
    let values_bytes_max = VALUE_SHARE * (ENTRY_BYTES as u64 + 24);
    let db = open(&dir.path().join("a.db"), Options { values_bytes_max, ..Options::default() });
    db.write(|tx| {
        let rows = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT ?1)
                    INSERT OR REPLACE INTO skills SELECT i, 0 FROM n";
        Ok(tx.execute(rows, [ROWS])?)
    })
    .unwrap();
    let known: [AtomicI64; ROWS as usize] = Default::default();
    let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..8 {
            let (db, known, over, reads) = (&db, &known, &over, &reads);
            scope.spawn(move || {
                let mut random = Random::new(reader);
                while !over.load(Ordering::SeqCst) {
                    let id = random.between(1, ROWS);
                    let of = &known[id as usize - 1];
                    let before = of.load(Ordering::SeqCst);
                    let now = number(db, id);
                    assert!(now >= before, "row {id} was {now} after it was {before}");
                    of.fetch_max(now, Ordering::SeqCst);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (db, known) = (&db, &known);
                scope.spawn(move || {
                    for (n, id) in (1..=ROUNDS).flat_map(|n| (1..=4).map(move |i| (n, 4 * writer + i))) {
                        set(db, id, n).unwrap();
                        known[id as usize - 1].fetch_max(n, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let done: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        done.into_iter().for_each(|d| d.unwrap());
    });
    db.values.check();
    for id in 1..=ROWS {
        assert_eq!(number(&db, id), ROUNDS);
    }
    let counts = counts(&db);
    let reads = reads.load(Ordering::Relaxed);
    assert!(
        counts.hits > 100 && counts.outdated > 100 && counts.evicted > 100,
        "{counts:?} of {reads} reads"
    );
}
