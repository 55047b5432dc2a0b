//! A damaged row of the catalogue: named, left out, and nothing takes its place; the rest is served and written.

use super::*;
use crate::series::embedded::open::PAGE_BYTES;
use crate::series::{Fault, Values};
use crate::testing::random::Random;
use rusqlite::Connection;
use rusqlite::types::Value as Cell;

/// Bits that are flipped of a number.
const BITS: u32 = 9;

fn tagged(measurement: &str, symbol: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, vec![("symbol".into(), symbol.into())]).unwrap()
}

fn hurt() -> SeriesKey {
    tagged("hurt", "A")
}
/// Of the same measurement.
fn sibling() -> SeriesKey {
    tagged("hurt", "B")
}
fn other() -> SeriesKey {
    tagged("other", "A")
}

/// Two fields: `v` as [`ramp`] has it, and a whole number.
fn two_fields(key: &SeriesKey, times: std::ops::Range<i64>) -> WriteBatch {
    let mut out = ramp(key, times.clone(), 0.0);
    let n = Column { name: "n".into(), values: Values::Integer(times.collect()), valid: None };
    out.series[0].1.columns.push(n);
    out
}

/// Sealed rows of three series.
fn make(dir: &Path) {
    let engine = open(dir);
    for key in [hurt(), sibling(), other()] {
        engine.write(two_fields(&key, 0..20)).unwrap();
        engine.seal().unwrap();
        engine.write(two_fields(&key, 10..30)).unwrap();
        engine.seal().unwrap();
    }
    engine.close().unwrap();
}

fn file(dir: &Path) -> Connection {
    Connection::open(dir.join("series.db")).unwrap()
}

/// The values of a field of a series, by time.
fn values(engine: &EmbeddedEngine, key: &SeriesKey, field: &str) -> Vec<i64> {
    let mut out = Vec::new();
    for frame in engine.scan(key, TimeRange::ALL, None, &Budget::default()).unwrap() {
        let frame = frame.unwrap();
        frame.validate().unwrap();
        let Some(column) = frame.column(field) else { continue };
        out.extend(
            frame.times.iter().copied().enumerate().filter(|(row, _)| column.is_valid(*row)).map(|(_, t)| t),
        );
    }
    out
}

fn whole(engine: &EmbeddedEngine, key: &SeriesKey) -> bool {
    let all: Vec<i64> = (0..30).collect();
    values(engine, key, "v") == all && values(engine, key, "n") == all
}

fn verify(engine: &EmbeddedEngine) -> Vec<Fault> {
    engine.verify(&Budget::default()).unwrap()
}

/// Every way of one bit of a cell.
fn flipped(cell: &Cell, random: &mut Random) -> Vec<Cell> {
    let bytes = |bytes: &[u8]| -> Vec<Cell> {
        let one = |bit: usize| {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            Cell::Blob(changed)
        };
        (0..bytes.len() * 8).map(one).collect()
    };
    match cell {
        Cell::Integer(n) => {
            (0..BITS).map(|i| Cell::Integer(n ^ (1 << (i * 7 + random.below(7) as u32)))).collect()
        }
        Cell::Text(text) => bytes(text.as_bytes()),
        Cell::Blob(blob) => bytes(blob),
        other => panic!("{other:?}"),
    }
}

/// The columns of the row of `hurt()`, or of its measurement, or of its field `n`.
const ROWS: [(&str, &str, &[&str]); 3] = [
    ("measurement", "name = 'hurt'", &["id", "bucket", "name", "checksum"]),
    ("field", "measurement = 1 AND name = 'n'", &["measurement", "number", "name", "type", "checksum"]),
    ("series", "id = 1", &["id", "measurement", "tags", "fields", "checksum"]),
];

#[test]
fn a_bit_of_a_row_of_the_catalogue_is_named_and_only_that_row_is_left_out() {
    let sound = tempfile::tempdir().unwrap();
    make(sound.path());
    let mut random = Random::new(3);
    let mut flips = 0;
    for (table, row, columns) in ROWS {
        for column in columns {
            let read = format!("SELECT {column} FROM {table} WHERE {row}");
            let cell: Cell = file(sound.path()).query_row(&read, [], |r| r.get(0)).unwrap();
            let set = if matches!(cell, Cell::Text(_)) { "CAST(?1 AS TEXT)" } else { "?1" };
            for changed in flipped(&cell, &mut random) {
                let what = format!("{table}.{column}: {cell:?} as {changed:?}");
                let dir = tempfile::tempdir().unwrap();
                std::fs::copy(sound.path().join("series.db"), dir.path().join("series.db")).unwrap();
                let change = format!("UPDATE {table} SET {column} = {set} WHERE {row}");
                if file(dir.path()).execute(&change, [&changed]).is_err() {
                    // The number of another row.
                    continue;
                }
                left_out(dir.path(), table, &what);
                flips += 1;
            }
        }
    }
    assert!(flips > 300, "only {flips} flips");
}

fn left_out(dir: &Path, table: &str, what: &str) {
    let engine = open(dir);
    let told = |engine: &EmbeddedEngine| {
        let faults = verify(engine);
        let named =
            faults.iter().find(|f| f.problem == "its row in the catalogue does not match its checksum");
        let named = named.unwrap_or_else(|| panic!("{what}: {faults:?}"));
        assert!(named.object.starts_with(&format!("{table} ")), "{what}: {named:?}");
    };
    told(&engine);
    assert!(engine.stats().unwrap().quarantined > 0, "{what}");
    // What is whole is served whole, and goes on.
    assert!(whole(&engine, &other()), "{what}");
    assert_eq!(values(&engine, &sibling(), "v").len(), if table == "measurement" { 0 } else { 30 }, "{what}");
    let n = values(&engine, &sibling(), "n");
    assert_eq!(n.len(), if table == "series" { 30 } else { 0 }, "{what}");
    engine.write(two_fields(&other(), 0..30)).unwrap();
    assert_eq!(engine.write(ramp(&tagged("other", "new"), 0..5, 0.0)).unwrap().written, 5, "{what}");
    // What is damaged is not there under another name, and nothing takes its place.
    let listed: Vec<SeriesKey> = engine.list(&all()).unwrap().into_iter().map(|s| s.key).collect();
    let mut wanted = vec![hurt(), sibling(), other(), tagged("other", "new")];
    wanted.retain(|k| match table {
        "measurement" => k.measurement != "hurt",
        "series" => *k != hurt(),
        _ => true,
    });
    assert_eq!(listed, wanted, "{what}");
    let refused = engine.write(two_fields(&hurt(), 100..101)).unwrap_err();
    assert_eq!(refused.kind(), crate::Kind::Corrupt, "{what}");
    assert!(refused.message().contains("damaged in the catalogue"), "{what}: {refused}");
    if table == "field" {
        engine.write(ramp(&hurt(), 0..30, 0.0)).unwrap();
        assert_eq!(values(&engine, &hurt(), "v").len(), 30, "{what}");
        assert_eq!(engine.latest(&Selector::of(&hurt())).unwrap()[0].fields.len(), 1, "{what}");
    }
    engine.seal().unwrap();
    engine.compact().unwrap();
    drop(engine);
    // It is told again by the next start, and nothing was thrown away: the right bit brings it back.
    let engine = open(dir);
    told(&engine);
    drop(engine);
    heal(dir);
    let engine = open(dir);
    assert_eq!(verify(&engine), [], "{what}");
    assert!(whole(&engine, &hurt()) && whole(&engine, &sibling()) && whole(&engine, &other()), "{what}");
    assert_eq!(engine.write(two_fields(&hurt(), 100..101)).unwrap().written, 1, "{what}");
}

/// Writes the rows of `hurt()` as they were.
fn heal(dir: &Path) {
    use crate::series::embedded::guard;
    let c = file(dir);
    // Whatever became of its key.
    c.execute_batch(
        "DELETE FROM measurement WHERE id NOT IN (2); DELETE FROM series WHERE id NOT IN (2, 3) AND tags NOT LIKE '%new%';
         DELETE FROM field WHERE NOT (measurement = 2 OR (measurement = 1 AND number = 0));",
    )
    .unwrap();
    let sum = guard::of_measurement(1, "market", "hurt");
    c.execute("INSERT INTO measurement VALUES (1, 'market', 'hurt', ?1)", [sum]).unwrap();
    c.execute("INSERT INTO field VALUES (1, 1, 'n', 1, ?1)", [guard::of_field(1, 1, "n", 1)]).unwrap();
    let tags = r#"[["symbol","A"]]"#;
    let sum = guard::of_series(1, 1, tags, &[3]);
    c.execute("INSERT INTO series VALUES (1, 1, ?1, x'03', ?2)", (tags, sum)).unwrap();
}

/// What a lost row left behind is never given to what comes after it.
#[test]
fn numbers_of_lost_rows_are_not_used_again() {
    for gone in [
        "DELETE FROM series WHERE id = 3",
        "DELETE FROM measurement WHERE name = 'other'",
        "DELETE FROM field WHERE number = 1",
    ] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        file(dir.path()).execute(gone, []).unwrap();
        let engine = open(dir.path());
        let fresh = tagged("fresh", "C");
        engine.write(two_fields(&fresh, 50..55)).unwrap();
        engine.write(two_fields(&tagged("hurt", "C"), 50..55)).unwrap();
        engine.seal().unwrap();
        drop(engine);
        let engine = open(dir.path());
        for key in [fresh, tagged("hurt", "C")] {
            assert_eq!(values(&engine, &key, "n"), (50..55).collect::<Vec<_>>(), "{gone}");
        }
        assert_eq!(values(&engine, &hurt(), "v").len(), 30, "{gone}");
        let n = if gone.contains("field") { 0 } else { 30 };
        assert_eq!(values(&engine, &hurt(), "n").len(), n, "{gone}");
        assert!(verify(&engine).iter().any(|f| f.problem.contains("not in the catalogue")), "{gone}");
    }
}

#[test]
fn rows_in_the_log_of_a_damaged_series_are_set_aside_and_the_others_of_the_batch_served() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open(dir.path());
        let mut both = ramp(&hurt(), 0..20, 0.0);
        both.series.extend(ramp(&other(), 0..20, 0.0).series);
        engine.write(both).unwrap();
        engine.write(ramp(&hurt(), 20..30, 0.0)).unwrap();
    }
    let c = file(dir.path());
    c.execute(r#"UPDATE series SET tags = replace(tags, '"A"', '"C"') WHERE measurement = 1"#, []).unwrap();
    for start in 0..3 {
        let engine = open(dir.path());
        assert_eq!(values(&engine, &other(), "v").len(), 20, "start {start}");
        let mut objects: Vec<String> = verify(&engine).into_iter().map(|f| f.object).collect();
        objects.sort();
        assert_eq!(
            objects,
            ["log record 1", "log record 2", r#"series 1 (market/hurt, tags [["symbol","C"]])"#],
            "start {start}"
        );
        // The row of the catalogue, and the two records.
        assert_eq!(engine.stats().unwrap().quarantined, 3, "start {start}");
        if start == 1 {
            engine.seal().unwrap();
        }
    }
    let mut select = c.prepare("SELECT body FROM quarantine ORDER BY seq").unwrap();
    let bodies: Vec<Vec<u8>> = select.query_map([], |r| r.get(0)).unwrap().map(|b| b.unwrap()).collect();
    let rows = |body: &[u8]| {
        let sections = crate::series::embedded::record::decode(body).unwrap();
        sections.iter().map(|s| (s.series, s.run.len())).collect::<Vec<_>>()
    };
    assert_eq!(bodies.iter().map(|b| rows(b)).collect::<Vec<_>>(), [vec![(1, 20), (2, 20)], vec![(1, 10)]]);
}

/// The place of a record says which of two values is the newer: a record whose number changed is not believed.
#[test]
fn a_record_at_another_place_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open(dir.path());
        for add in [0.0, 0.25, 0.5] {
            engine.write(ramp(&key("m"), 0..4, add)).unwrap();
        }
    }
    file(dir.path()).execute("UPDATE log SET seq = 66 WHERE seq = 2", []).unwrap();
    let engine = open(dir.path());
    assert_eq!(rows(&engine, &key("m"), TimeRange::ALL).first(), Some(&(0, 0.5)));
    assert_eq!(verify(&engine)[0].object, "log record 66");
}

/// Where a page has its keys out of order, a search goes astray: whatever is asked, it ends.
#[test]
fn a_bit_in_the_key_of_a_row_ends_no_start_and_no_verification() {
    let sound = tempfile::tempdir().unwrap();
    {
        let engine = open(sound.path());
        for name in ["a", "b", "c", "d", "e"] {
            engine.write(ramp(&key(name), 0..10, 0.0)).unwrap();
        }
        engine.seal().unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            engine.write(ramp(&key(name), 10..20, 0.0)).unwrap();
        }
        engine.close().unwrap();
    }
    let bytes = std::fs::read(sound.path().join("series.db")).unwrap();
    let page = PAGE_BYTES as usize;
    for table in ["measurement", "series", "log", "chunk"] {
        let root: i64 = file(sound.path())
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |r| r.get(0))
            .unwrap();
        let start = (root as usize - 1) * page;
        let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let leaf = if table == "chunk" { 0x0a } else { 0x0d };
        assert_eq!(bytes[start], leaf, "{table} is one leaf");
        for cell in 0..number(start + 3) {
            let mut at = start + number(start + 8 + 2 * cell);
            // The length of the row; then its key, or the head of a row that begins with its key.
            while bytes[at] & 0x80 != 0 {
                at += 1;
            }
            at += 1;
            let keys = if table == "chunk" {
                at + usize::from(bytes[at])..at + usize::from(bytes[at]) + 2
            } else {
                at..at + 1
            };
            for at in keys {
                for bit in 0..7 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    let dir = tempfile::tempdir().unwrap();
                    std::fs::write(dir.path().join("series.db"), changed).unwrap();
                    let what = format!("{table}, row {cell}, bit {bit} of {:#x}", bytes[at]);
                    let engine = open(dir.path());
                    assert_ne!(verify(&engine), [], "{what}");
                    let whole = ["a", "b", "c", "d", "e"].map(|n| count(&engine, &key(n)) == 20);
                    assert!(whole.iter().filter(|w| **w).count() >= 4, "{what}: {whole:?}");
                    let fresh = key("fresh");
                    assert_eq!(engine.write(ramp(&fresh, 0..5, 0.0)).unwrap().written, 5, "{what}");
                    engine.seal().unwrap();
                    assert_eq!(count(&engine, &fresh), 5, "{what}");
                }
            }
        }
    }
}
