//! Databases that are kept as files of the repository, to be opened by every later version.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Set: fixtures that are missing are written. One that is there never changes.
const WRITE: &str = "SHIPHOLD_WRITE_FIXTURE";

/// `tests/fixtures/NAME` of the repository.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// May this fixture be written now?
pub(crate) fn is_to_be_written(fixture: &Path) -> bool {
    std::env::var_os(WRITE).is_some() && !fixture.exists()
}

/// The bytes of a file that gzip wrote.
pub(crate) fn unpacked(from: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) fn pack(bytes: &[u8], to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut gzip = GzEncoder::new(std::fs::File::create(to).unwrap(), Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap();
}

/// A row as text, each value as SQLite writes it in SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub table: String,
    pub row: BTreeMap<String, String>,
}

/// The tables of a file that somebody fills; those that SQLite keeps for itself and for full text are not.
pub(crate) fn tables(c: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = c.prepare(sql).unwrap();
    statement.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Every row of every table, by table.
pub(crate) fn rows(c: &Connection) -> Vec<Row> {
    let mut all = Vec::new();
    for table in tables(c) {
        let mut columns = c.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        let columns: Vec<String> =
            columns.query_map([&table], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let quoted: Vec<String> = columns.iter().map(|c| format!("quote(\"{c}\")")).collect();
        let mut statement = c.prepare(&format!("SELECT {} FROM \"{table}\"", quoted.join(", "))).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells = columns.iter().enumerate().map(|(at, name)| (name.clone(), row.get(at).unwrap()));
            all.push(Row { table: table.clone(), row: cells.collect() });
        }
    }
    all
}

/// Is a row there? Columns that it did not have may say anything.
pub(crate) fn is_there(c: &Connection, row: &Row) -> bool {
    let same: Vec<String> = row.row.iter().map(|(name, value)| format!("\"{name}\" IS {value}")).collect();
    let sql = format!("SELECT count(*) FROM \"{}\" WHERE {}", row.table, same.join(" AND "));
    c.query_row(&sql, [], |r| r.get::<_, i64>(0)).is_ok_and(|n| n > 0)
}

#[test]
fn rows_are_text_and_found_again() {
    let c = Connection::open_in_memory().unwrap();
    c.execute_batch(
        "CREATE TABLE t(a INTEGER, b TEXT, c BLOB, d REAL);
         INSERT INTO t VALUES (1, 'it''s \"ü\"', x'00ff', 0.1), (NULL, NULL, NULL, 1e300);",
    )
    .unwrap();
    let all = rows(&c);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].row["b"], "'it''s \"ü\"'");
    c.execute_batch("ALTER TABLE t ADD COLUMN e TEXT DEFAULT 'new'").unwrap();
    for row in &all {
        let text = serde_json::to_string(row).unwrap();
        assert!(is_there(&c, &serde_json::from_str(&text).unwrap()), "{text}");
    }
    let mut changed = all[0].clone();
    changed.row.insert("a".into(), "2".into());
    assert!(!is_there(&c, &changed));
    changed.table = "gone".into();
    assert!(!is_there(&c, &changed));
    let dir = tempfile::tempdir().unwrap();
    pack(b"bytes", &dir.path().join("a/b.gz"));
    assert_eq!(unpacked(&dir.path().join("a/b.gz")), b"bytes");
}
