//! Files of every format that was ever written open, and hold what they held.
//!
//! `tests/fixtures/series/FORMAT/` has a database as the code of its time left it (`series.db.gz`) and its rows as text
//! (`rows.jsonl`). When a format changes, [`the_present_format_has_a_fixture`] fails until there is one:
//! `SHIPHOLD_WRITE_FIXTURE=1 cargo test -p shiphold-storage --lib -- fixtures::` writes it. A fixture that was committed
//! never changes.

use super::*;
use crate::series::conformance::extremes::HOSTILE;
use crate::series::model::{TIME_MAX_NS, TIME_MIN_NS};
use crate::series::model_engine::{ModelEngine, Row, rows_of};
use crate::series::pieces::{Piece, Wanted};
use crate::series::{Value, Values};
use crate::testing::crash::{Workload, fail_everywhere, lose_power_everywhere};
use crate::testing::random::Random;
use crate::testing::{Disk, Fault, FaultVfs, Loss};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

/// A repository is no place for large files.
const BYTES_MAX: u64 = 100_000;

/// One row as text. A float is its bits, so that nothing is lost on the way.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    series: SeriesKey,
    time: i64,
    fields: BTreeMap<String, Cell>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Cell {
    Float(String),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(String),
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        match value {
            Value::Float(v) => Self::Float(format!("{:016x} {v:?}", v.to_bits())),
            Value::Integer(v) => Self::Integer(*v),
            // No engine gives one.
            Value::Decimal(v) => Self::String(v.to_string()),
            Value::Unsigned(v) => Self::Unsigned(*v),
            Value::Boolean(v) => Self::Boolean(*v),
            Value::String(v) => Self::String(v.clone()),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/series")
}

/// Every row of an engine as lines of text, by series and time.
fn lines(engine: &dyn SeriesEngine) -> Vec<String> {
    let mut out = Vec::new();
    for info in engine.list(&all()).unwrap() {
        let stream = engine.scan(&info.key, TimeRange::ALL, None, &Budget::default()).unwrap();
        for (time, row) in rows_of(stream).unwrap() {
            let fields = row.iter().map(|(k, v)| (k.clone(), Cell::from(v))).collect();
            out.push(serde_json::to_string(&Line { series: info.key.clone(), time, fields }).unwrap());
        }
    }
    out
}

/// The versions in a file: of its tables, and of the chunks, log records and statistics in it.
fn format_of(engine: &EmbeddedEngine) -> String {
    let number =
        |sql: &str| engine.database().read(|c| Ok(c.query_row(sql, [], |r| r.get::<_, i64>(0))?)).unwrap();
    let byte = |column: &str, table: &str| {
        let digits = "instr('123456789abcdef', substr(hex(substr(";
        number(&format!("SELECT {digits}{column}, 2, 1)), 2, 1)) FROM {table} LIMIT 1"))
    };
    format!(
        "tables-{}.chunk-{}.log-{}.statistics-{}",
        number("SELECT max(number) FROM schema_migrations"),
        byte("body", "chunk_data"),
        byte("body", "log"),
        byte("stats", "chunk"),
    )
}

/// Writes one of everything to both; some of it sealed, some deleted, some late, some in the log only.
fn fill(engine: &EmbeddedEngine, model: &ModelEngine) {
    let mut random = Random::new(1);
    let write = |batch: WriteBatch| {
        assert_eq!(engine.write(batch.clone()).unwrap(), model.write(batch).unwrap());
    };
    let text = |n: i64| {
        if n % 3 == 0 { "buy".to_string() } else { format!("{} {n}", HOSTILE[n as usize % HOSTILE.len()]) }
    };
    const ROWS: i64 = 35;
    let minute = 60_000_000_000;
    for chunk in [0_i64, 2, 1, 3] {
        let times: Vec<i64> = (0..ROWS).map(|i| (chunk * 25 + i) * minute).collect();
        let valid: Vec<bool> = (0..ROWS).map(|i| i % 4 != chunk).collect();
        let gaps = |name: &str, values| Column { name: name.into(), values, valid: Some(valid.clone()) };
        let columns = vec![
            Column::float("price", times.iter().map(|t| 100.0 + (t / minute % 97) as f64 / 100.0).collect()),
            Column::float("noise", (0..ROWS).map(|_| (random.next() >> 12) as f64 / 7.0).collect()),
            gaps("size", Values::Integer((0..ROWS).map(|i| i * i - 7).collect())),
            gaps("id", Values::Unsigned((0..ROWS).map(|_| random.next()).collect())),
            gaps("taken", Values::Boolean((0..ROWS).map(|i| i % 3 == 0).collect())),
            gaps("note", Values::String((0..ROWS).map(text).collect())),
            Column::new(
                "side",
                Values::String((0..ROWS).map(|i| if i % 2 == 0 { "buy" } else { "" }.into()).collect()),
            ),
        ];
        let key = SeriesKey::new("market", "everything", vec![("venue".into(), "é 日本".into())]).unwrap();
        write(batch(&key, times, columns));
        if chunk != 3 {
            engine.seal().unwrap();
        }
    }
    // Days of which the chunk's statistics tell, in fields that have gaps.
    let times: Vec<i64> = (72..72 + 260).map(|n| n * 10 * minute).collect();
    let part = |name: &str, values, odd: bool| {
        let valid = (0..times.len()).map(|row| (row % 2 == 1) == odd).collect();
        Column { name: name.into(), values, valid: Some(valid) }
    };
    let prices = times.iter().map(|t| (t / minute % 777) as f64 / 100.0).collect();
    let sizes = times.iter().map(|t| t / minute % 99).collect();
    let columns = vec![part("p", Values::Float(prices), false), part("s", Values::Integer(sizes), true)];
    write(batch(&key("days"), times.clone(), columns));
    engine.seal().unwrap();
    let extremes = SeriesKey::new("other bucket", "extremes", Vec::new()).unwrap();
    let floats = vec![-0.0, f64::MAX, 5e-324, f64::MIN, 0.1 + 0.2];
    let times = vec![TIME_MIN_NS, -1, 0, 1, TIME_MAX_NS];
    write(batch(
        &extremes,
        times,
        vec![
            Column::float("f", floats),
            Column::new("i", Values::Integer(vec![i64::MIN, -1, 0, 1, i64::MAX])),
            Column::new("u", Values::Unsigned(vec![u64::MAX, 0, 1, 2, 1 << 63])),
        ],
    ));
    for (n, name) in (0..).zip(HOSTILE) {
        let key = SeriesKey::new("market", *name, vec![((*name).into(), (*name).into())]).unwrap();
        write(batch(&key, vec![n, 1_000 + n], vec![Column::float(*name, vec![n as f64, 0.5])]));
    }
    let gone = SeriesKey::new("market", "gone", Vec::new()).unwrap();
    write(ramp(&gone, 0..10, 0.0));
    let range = TimeRange::new(30 * minute, 45 * minute).unwrap();
    for (selector, range) in [(Selector::of(&gone), TimeRange::ALL), (all(), range)] {
        assert_eq!(engine.delete(&selector, range).unwrap(), model.delete(&selector, range).unwrap());
    }
    // In the log only: a batch of several series, and one that overwrites what is sealed.
    let mut several = ramp(&extremes, 2..5, 0.25);
    several.series.extend(ramp(&key("late"), 0..40, 0.5).series);
    write(several);
    write(ramp(&key("late"), 20..60, 0.75));
}

fn unpack(from: &Path, to: &Path) {
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(from).unwrap()).read_to_end(&mut bytes).unwrap();
    std::fs::write(to, bytes).unwrap();
}

fn config_of_fixtures() -> manifest::Embedded {
    manifest::Embedded { chunk_rows: 512, ..config() }
}

/// Days that statistics tell of, and rows that had to be read; a file of before there were any has no such series.
fn days(engine: &EmbeddedEngine) -> (usize, usize) {
    let day = 86_400_000_000_000;
    let wanted =
        Wanted { within: Arc::new(move |a, b| a / day == b / day), windows: None, fields: Vec::new() };
    let pieces = engine.scan_pieces(&key("days"), TimeRange::ALL, None, wanted, &Budget::default()).unwrap();
    pieces.fold((0, 0), |(days, rows), piece| match piece.unwrap() {
        Piece::Summary(_) => (days + 1, rows),
        Piece::Rows(frame) => (days, rows + frame.len()),
    })
}

fn open_fixture(dir: &Path) -> EmbeddedEngine {
    EmbeddedEngine::open(&dir.join("series.db"), &config_of_fixtures(), EngineOptions::default()).unwrap()
}

/// Fills an engine in a folder; its format and its rows.
fn make(dir: &Path) -> (String, Vec<String>) {
    let (engine, model) = (open_fixture(dir), ModelEngine::default());
    fill(&engine, &model);
    let format = format_of(&engine);
    assert_eq!(lines(&engine), lines(&model));
    engine.close().unwrap();
    (format, lines(&model))
}

#[test]
fn every_format_that_was_written_opens_and_holds_its_rows() {
    let (mut formats, mut with_days) = (0, 0);
    for entry in std::fs::read_dir(folder()).unwrap() {
        let fixture = entry.unwrap().path();
        let size = |name: &str| fixture.join(name).metadata().unwrap().len();
        assert!(size("series.db.gz") + size("rows.jsonl") < BYTES_MAX, "{}", fixture.display());
        let dir = tempfile::tempdir().unwrap();
        unpack(&fixture.join("series.db.gz"), &dir.path().join("series.db"));
        let wanted = std::fs::read_to_string(fixture.join("rows.jsonl")).unwrap();
        let wanted: Vec<&str> = wanted.lines().collect();
        assert!(wanted.len() > 200, "{} rows", wanted.len());
        let engine = open_fixture(dir.path());
        assert_eq!(lines(&engine), wanted, "{}", fixture.display());
        let has_days = engine.list(&Selector::of(&key("days"))).unwrap().len();
        assert_eq!(days(&engine), (3 * has_days, 0));
        with_days += has_days;
        assert_eq!(engine.verify(&Budget::default()).unwrap(), []);
        assert!(engine.stats().unwrap().chunks > 5 && engine.stats().unwrap().head_rows > 50);
        // It goes on with what it is today.
        engine.seal().unwrap();
        engine.compact().unwrap();
        assert_eq!(lines(&engine), wanted);
        engine.write(ramp(&key("new"), 0..5, 0.0)).unwrap();
        drop(engine);
        let engine = open_fixture(dir.path());
        assert_eq!(count(&engine, &key("new")), 5);
        engine.delete(&Selector::of(&key("new")), TimeRange::ALL).unwrap();
        assert_eq!(lines(&engine), wanted);
        assert_eq!(engine.verify(&Budget::default()).unwrap(), []);
        formats += 1;
    }
    assert!(formats > 0 && with_days > 0, "there is no fixture in {}", folder().display());
}

/// A file of an older format, as a disk in memory has it.
struct Older {
    rows: Vec<String>,
    vfs: Arc<FaultVfs>,
}

impl Workload for Older {
    type Store = EmbeddedEngine;

    fn open(&self, vfs: &str) -> crate::Result<EmbeddedEngine> {
        // The copy of a migration that was cut off is removed by a call that does not reach this disk.
        self.vfs.with_disk(|disk| disk.remove("/data/series.db.before-0002"));
        let options = EngineOptions { vfs: Some(vfs.into()), ..EngineOptions::default() };
        EmbeddedEngine::open(Path::new("/data/series.db"), &config_of_fixtures(), options)
    }
    fn steps(&self) -> usize {
        0
    }
    fn step(&self, _: &EmbeddedEngine, _: usize) -> crate::Result<()> {
        Ok(())
    }
    fn check(&self, engine: &EmbeddedEngine, _: usize, _: bool) -> Result<(), String> {
        let faults = engine.verify(&Budget::default()).map_err(|e| e.to_string())?;
        let lines = lines(engine);
        // The probe is one series more.
        let kept = self.rows.iter().all(|row| lines.contains(row));
        if kept && faults.is_empty() { Ok(()) } else { Err(format!("{} lines, {faults:?}", lines.len())) }
    }
    fn probe(&self, engine: &EmbeddedEngine) -> crate::Result<()> {
        engine.write(ramp(&key("probe"), 0..3, 0.0)).map(|_| ())
    }
}

/// A migration is whole or absent, wherever the power goes.
#[test]
fn power_lost_or_a_disk_failing_in_a_migration_does_no_harm() {
    let fixture = folder().join("tables-1.chunk-1.log-1.statistics-1");
    let dir = tempfile::tempdir().unwrap();
    unpack(&fixture.join("series.db.gz"), &dir.path().join("series.db"));
    let mut image = Disk::default();
    let file = image.create("/data/series.db");
    image.write(file, 0, &std::fs::read(dir.path().join("series.db")).unwrap());
    image.sync(file);
    image.sync_folder_of("/data/series.db");
    let rows = std::fs::read_to_string(fixture.join("rows.jsonl")).unwrap();
    let vfs = FaultVfs::new("series-migration").unwrap();
    let older = Older { rows: rows.lines().map(str::to_owned).collect(), vfs: vfs.clone() };
    let losses = |n: u64| {
        if n.is_multiple_of(2) { vec![Loss::Unsynced] } else { vec![Loss::Tail(n), Loss::Sectors(n)] }
    };
    let power = lose_power_everywhere(&vfs, &older, &image, (1, 2), &losses);
    let full = fail_everywhere(&vfs, &older, &image, (1, 2), Fault::Full, false);
    for report in [power, full] {
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
        assert!(report.points >= 20, "{report:?}");
    }
}

#[test]
fn the_present_format_has_a_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let (format, rows) = make(dir.path());
    let fixture = folder().join(&format);
    if std::env::var_os("SHIPHOLD_WRITE_FIXTURE").is_some() && !fixture.exists() {
        std::fs::create_dir_all(&fixture).unwrap();
        let file = std::fs::File::create(fixture.join("series.db.gz")).unwrap();
        let mut gzip = GzEncoder::new(file, Compression::best());
        gzip.write_all(&std::fs::read(dir.path().join("series.db")).unwrap()).unwrap();
        gzip.finish().unwrap();
        std::fs::write(fixture.join("rows.jsonl"), rows.join("\n") + "\n").unwrap();
    }
    assert!(
        fixture.join("series.db.gz").exists(),
        "the format `{format}` has no fixture: run these tests once with SHIPHOLD_WRITE_FIXTURE=1 and commit {}",
        fixture.display()
    );
}

/// The text of a fixture says all of a row.
#[test]
fn a_row_is_text_and_back() {
    let row =
        Row::from([("f".to_string(), Value::Float(-0.0)), ("s".to_string(), Value::String("\n".into()))]);
    let fields: BTreeMap<String, Cell> = row.iter().map(|(k, v)| (k.clone(), Cell::from(v))).collect();
    let text = serde_json::to_string(&Line { series: key("m"), time: TIME_MIN_NS, fields }).unwrap();
    let back: Line = serde_json::from_str(&text).unwrap();
    assert_eq!((back.series, back.time), (key("m"), TIME_MIN_NS));
    assert_eq!(back.fields["f"], Cell::Float("8000000000000000 -0.0".into()));
    assert_eq!(back.fields["s"], Cell::String("\n".into()));
}
