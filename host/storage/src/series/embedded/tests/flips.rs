//! A flipped bit in every column, and in every page of the file: no value is ever served that was not written, and what is
//! missing is told. `catalogue.rs` has what becomes of a damaged name.

use super::*;
use crate::series::model_engine::rows_of;
use crate::testing::random::Random;
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use std::collections::BTreeMap;

/// Bits that are flipped of each cell.
const BITS: usize = 6;
/// Bits that are flipped of each page, one at a time.
const BITS_OF_PAGE: usize = 3;
/// The columns whose damage the engine tells by itself, by table, and what names one row.
const GUARDED: [(&str, &str, &[&str]); 7] = [
    ("measurement", "id", &["id", "bucket", "name", "checksum"]),
    ("field", "(measurement, number)", &["measurement", "number", "name", "type", "checksum"]),
    ("series", "id", &["id", "measurement", "tags", "fields", "checksum"]),
    ("log", "seq", &["seq", "body", "checksum"]),
    (
        "chunk",
        "(series, id)",
        &[
            "series",
            "id",
            "version",
            "rows",
            "min_time",
            "max_time",
            "bytes",
            "raw_bytes",
            "checksum",
            "stats",
        ],
    ),
    ("chunk_data", "id", &["id", "body"]),
    ("unowned", "id", &["id"]),
];

type Truth = BTreeMap<SeriesKey, BTreeMap<i64, u64>>;

fn names() -> [SeriesKey; 3] {
    [key("one"), key("two"), key("three")]
}

/// A small file: chunks that overlap, log records, and data that is given up at the next start.
fn make(dir: &Path) -> Truth {
    let engine = open(dir);
    for k in &names() {
        engine.write(ramp(k, 0..40, 0.0)).unwrap();
        engine.seal().unwrap();
        engine.write(ramp(k, 20..60, 0.25)).unwrap();
        engine.seal().unwrap();
        engine.write(ramp(k, 70..75, 0.5)).unwrap();
    }
    engine.close().unwrap();
    let truth = names().map(|k| (k.clone(), found(&engine, &k).unwrap()));
    drop(engine);
    let c = Connection::open(dir.join("series.db")).unwrap();
    c.execute("INSERT INTO chunk_data(id, body) VALUES (6000, x'00')", []).unwrap();
    c.execute("INSERT INTO unowned(id) VALUES (6000)", []).unwrap();
    BTreeMap::from(truth)
}

fn found(engine: &EmbeddedEngine, k: &SeriesKey) -> crate::Result<BTreeMap<i64, u64>> {
    let rows = rows_of(engine.scan(k, TimeRange::ALL, None, &Budget::default())?)?;
    Ok(rows.into_iter().filter_map(|(t, r)| Some((t, r.get("v")?.as_f64()?.to_bits()))).collect())
}

/// Every value is one that was written at its time, perhaps an older one where the newer is set aside.
fn was_written(time: i64, bits: u64) -> bool {
    [0.0, 0.25, 0.5].iter().any(|add| (time as f64 + add).to_bits() == bits)
}

/// What a start makes of the file; says whether something was told. A damaged cell never keeps the rest from being
/// served; a damaged page may.
fn judge(dir: &Path, truth: &Truth, what: &str, cell: bool) -> bool {
    let engine = match EmbeddedEngine::open(&dir.join("series.db"), &config(), EngineOptions::default()) {
        Ok(engine) => engine,
        Err(e) => {
            assert!(!e.message().is_empty() && !cell, "{what}: {e}");
            return true;
        }
    };
    let mut hurt = 0;
    let mut told = engine.verify(&Budget::default()).map_or(true, |faults| !faults.is_empty());
    told |= engine
        .database()
        .pin()
        .and_then(|c| crate::layer::integrity(&c))
        .map_or(true, |problems| !problems.is_empty());
    for (k, rows) in truth {
        match found(&engine, k) {
            Err(_) => told = true,
            Ok(have) => {
                hurt += u64::from(have != *rows);
                let wrong = have.iter().find(|(t, bits)| !was_written(**t, **bits));
                assert_eq!(wrong, None, "{what}: {k} has a row that nobody wrote");
                assert!(
                    told || have == *rows,
                    "{what}: {k} has {} of {} rows, and nobody says so",
                    have.len(),
                    rows.len()
                );
            }
        }
    }
    assert!(!cell || hurt <= 1, "{what}: {hurt} series lack rows");
    told
}

/// Of a text as well: SQLite does not look whether it is one.
fn flip(random: &mut Random, cell: Cell) -> Option<Cell> {
    let bit = 1_u8 << random.below(8);
    Some(match cell {
        Cell::Integer(n) => Cell::Integer(n ^ (1 << random.below(63))),
        Cell::Blob(bytes) => Cell::Blob(flipped(random, bytes, bit)?),
        Cell::Text(text) => Cell::Blob(flipped(random, text.into_bytes(), bit)?),
        _ => return None,
    })
}

fn flipped(random: &mut Random, mut bytes: Vec<u8>, bit: u8) -> Option<Vec<u8>> {
    let at = random.below(bytes.len());
    *bytes.get_mut(at)? ^= bit;
    Some(bytes)
}

#[test]
fn a_bit_in_every_guarded_column_is_told() {
    let sound = tempfile::tempdir().unwrap();
    let truth = make(sound.path());
    let mut random = Random::new(7);
    let mut flips = 0;
    for (table, key, columns) in GUARDED {
        for column in columns {
            for _ in 0..BITS {
                let dir = tempfile::tempdir().unwrap();
                std::fs::copy(sound.path().join("series.db"), dir.path().join("series.db")).unwrap();
                let c = Connection::open(dir.path().join("series.db")).unwrap();
                let rows: i64 =
                    c.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap();
                let row = random.below(usize::try_from(rows).unwrap());
                let place = format!("FROM {table} LIMIT 1 OFFSET {row}");
                let cell: Cell = c.query_row(&format!("SELECT {column} {place}"), [], |r| r.get(0)).unwrap();
                let set = if matches!(cell, Cell::Text(_)) { "CAST(?1 AS TEXT)" } else { "?1" };
                let Some(flipped) = flip(&mut random, cell) else { continue };
                let keys = key.trim_matches(['(', ')']);
                let change =
                    format!("UPDATE {table} SET {column} = {set} WHERE {key} = (SELECT {keys} {place})");
                if c.execute(&change, [&flipped]).is_err() {
                    continue;
                }
                drop(c);
                let what = format!("{table}.{column}, row {row}: {flipped:.60?}");
                // What is given up is nobody's: only what becomes of the others counts.
                let told = judge(dir.path(), &truth, &what, true);
                assert!(told || table == "unowned" || table == "chunk_data", "{what}: nobody says so");
                flips += 1;
            }
        }
    }
    assert!(flips > 120, "only {flips} flips");
}

/// The data of a chunk that is in use is not given up because a list says so.
#[test]
fn data_that_a_chunk_owns_is_never_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let truth = make(dir.path());
    let c = Connection::open(dir.path().join("series.db")).unwrap();
    let owned: i64 = c.query_row("SELECT min(id) FROM chunk", [], |r| r.get(0)).unwrap();
    c.execute("UPDATE unowned SET id = ?1", [owned]).unwrap();
    drop(c);
    let engine = open(dir.path());
    for (k, rows) in &truth {
        assert_eq!(found(&engine, k).unwrap(), *rows, "{k}");
    }
    assert_eq!(engine.verify(&Budget::default()).unwrap(), []);
}

#[test]
fn a_bit_in_every_page_is_told_or_harmless() {
    let sound = tempfile::tempdir().unwrap();
    let truth = make(sound.path());
    let bytes = std::fs::read(sound.path().join("series.db")).unwrap();
    let page = super::super::open::PAGE_BYTES as usize;
    let mut random = Random::new(11);
    let mut told = 0;
    for number in 0..bytes.len() / page {
        for _ in 0..BITS_OF_PAGE {
            // The head of a page is where its structure is.
            let within = if random.coin() { 64 } else { page };
            let at = number * page + random.below(within);
            let mut changed = bytes.clone();
            changed[at] ^= 1 << random.below(8);
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("series.db"), changed).unwrap();
            told +=
                u64::from(judge(dir.path(), &truth, &format!("byte {at}, of page {}", number + 1), false));
        }
    }
    assert!(told > 5, "only {told} were told");
}
