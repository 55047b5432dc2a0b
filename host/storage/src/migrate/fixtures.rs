//! Structured databases of every schema that was released open, and hold what they held.
//!
//! `tests/fixtures/structured/NUMBER/` has the database as it was at that migration (`shiphold.db.gz`) and its rows as text
//! (`rows.jsonl`). A new migration says in `fills.rs` what is stored in its tables. When a version is released, the number of its last
//! migration goes into [`crate::schema::RELEASED`], and `SHIPHOLD_WRITE_FIXTURE=1 cargo test -p shiphold-storage --lib -- migrate::fixtures::`
//! writes what is missing. A fixture that was committed never changes.

use super::fills::{self, fill};
use super::*;
use crate::Caller;
use crate::audit::Audit;
use crate::error::Kind;
use crate::layer::DataLayer;
use crate::layer::tests::manifest;
use crate::schema::{MIGRATIONS, RELEASED};
use crate::series::{Budget, Selector, Value};
use crate::settings::Expect;
use crate::skills::{SkillQuery, Status, Version};
use crate::sqlite::{Database, Options};
use crate::state::Which;
use crate::testing::crash::{Workload, fail_everywhere, lose_power_everywhere};
use crate::testing::fixtures::{Row, is_there, is_to_be_written, pack, rows, tables, unpacked};
use crate::testing::{Disk, Fault, FaultVfs, Loss};
use serde_json::json;

const OP: Caller = Caller::Operator;
/// A repository is no place for large files.
const BYTES_MAX: u64 = 60_000;

fn fixture(number: u32) -> PathBuf {
    crate::testing::fixtures::folder("structured").join(format!("{number:04}"))
}

/// Databases as they were at each migration, in order: each is the one before, migrated and filled.
fn each(mut with: impl FnMut(u32, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(STRUCTURED_FILE);
    for number in MIGRATIONS.iter().map(|m| m.number) {
        fill(number, &path);
        with(number, &path);
    }
}

/// Brings a database of a migration to the newest one in every way that there is, and asks for everything that was in it.
fn check(number: u32, database: &[u8], rows: &[Row]) {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "[files.models]\nkind = \"models\"");
    let path = m.host.data.join(STRUCTURED_FILE);
    std::fs::create_dir_all(&m.host.data).unwrap();
    std::fs::write(&path, database).unwrap();
    if number >= 2 {
        let hash = blake3::hash(fills::WEIGHTS).to_hex().to_string();
        let folder = m.files["models"].root.join("objects").join(&hash[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(hash), fills::WEIGHTS).unwrap();
    }
    let later = MIGRATIONS.iter().filter(|m| m.number > number).count();
    let pending = |all: Vec<DatabaseMigrations>| all[0].pending();
    assert_eq!(pending(status(&m).unwrap()), later, "{number}");
    assert_eq!(pending(up(&m, true).unwrap()), later, "{number}");
    assert_eq!(pending(status(&m).unwrap()), later, "{number}: a dry run changes nothing");
    for row in rows {
        assert!(is_there(&read_only(&path).unwrap(), row), "{number}: {row:?} before");
    }
    assert_eq!(pending(up(&m, false).unwrap()), later, "{number}");
    assert_eq!(pending(status(&m).unwrap()), 0, "{number}");
    let c = read_only(&path).unwrap();
    for row in rows {
        assert!(is_there(&c, row), "{number}: {row:?} after");
    }
    assert_eq!(integrity(&c).unwrap(), Vec::<String>::new(), "{number}");
    drop(c);
    if later > 0 {
        let before = m.host.data.join(format!("{STRUCTURED_FILE}.before-{:04}", number + 1));
        let before = read_only(&before).unwrap();
        assert!(rows.iter().all(|row| is_there(&before, row)), "{number}: the copy of before");
    }
    let layer = DataLayer::open(&m).unwrap();
    answers(number, &layer);
    let report = layer.verify(&OP, &mut |_| ()).unwrap();
    assert!(report.ok, "{number}: {report:?}");
    // It goes on with what it is today.
    layer.settings().set(&OP, "user", "new", json!(number), Expect::Absent).unwrap();
    let proof = layer.audit().verify(&OP).unwrap();
    assert_eq!((proof.entries, proof.broken), (entries(number) + 1, None), "{number}");
}

/// Entries of the audit trail.
fn entries(number: u32) -> u64 {
    match number {
        0..4 => 0,
        4..9 => fills::ENTRIES,
        9.. => fills::ENTRIES_SEALED,
    }
}

/// What the data layer says of what was stored.
fn answers(number: u32, layer: &DataLayer) {
    let skills = layer.skills();
    let there = skills.get(&OP, fills::SKILL, None).unwrap();
    let wanted = fills::skill();
    assert_eq!((&there.code, &there.tags, &there.metadata), (&wanted.code, &wanted.tags, &wanted.metadata));
    assert_eq!(skills.versions(&OP, fills::SKILL).unwrap().len(), 2);
    assert_eq!(skills.performance(&OP, fills::SKILL).unwrap()[0].performance.samples, 120);
    let again = skills.put(&OP, wanted).unwrap();
    assert_eq!(
        (again.version, again.hash),
        (there.version, there.hash),
        "the same content is the same version"
    );
    let found = skills.search(&OP, &SkillQuery { text: "dips".into(), limit: 5, ..SkillQuery::default() });
    assert_eq!(found.unwrap().hits[0].name, fills::SKILL);
    if number >= 2 {
        let (stat, mut content) = layer.files().get(&OP, "models", "pullback/model.bin", None, None).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut content, &mut bytes).unwrap();
        assert_eq!((stat.version, bytes.as_slice()), (1, fills::WEIGHTS));
        let used = layer.files().stats("models").unwrap();
        assert_eq!((used.versions, used.objects, used.stored), (3, 1, fills::WEIGHTS.len() as u64));
        let gone = layer.files().stat(&OP, "models", "Gone.bin", None).unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
    }
    if number >= 3 {
        let theme = layer.settings().get(&OP, "user", "theme", None).unwrap();
        assert_eq!((theme.revision, theme.value), (2, Some(json!("dark"))));
        assert_eq!(layer.settings().get(&OP, "user", "gone", None).unwrap_err().kind(), Kind::NotFound);
        assert!(layer.settings().last_change().unwrap() >= 4, "every revision is part of the feed");
    }
    let proof = layer.audit().verify(&OP).unwrap();
    assert_eq!((proof.entries, proof.broken), (entries(number), None), "{number}");
    if number >= 5 {
        let caller = layer.tokens().authenticate(fills::SECRET).unwrap();
        assert_eq!(caller.actor(), "token:feed");
        let runs = layer.plugins().list(&OP, "retention", 10).unwrap();
        let states: Vec<&str> = runs.iter().map(|r| r.state.as_str()).collect();
        assert_eq!(states, ["interrupted", "ok"]);
        assert_eq!(layer.plugins().state("retention").unwrap().failures, 2);
    }
    if number >= 10 {
        let refused = layer.settings().set(&OP, "user", "lots", json!(501), Expect::Any).unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid, "by its schema");
    }
    if number >= 11 {
        let selector = Selector { measurement: Some(fills::MEASUREMENT.into()), ..Selector::default() };
        let latest = layer.series().latest(&OP, &selector, None, &Budget::default()).unwrap();
        assert_eq!(latest[0].fields[0].value, Value::Integer(fills::VALUE), "what waited was applied");
    }
    if number >= 15 {
        let newest = skills.get(&OP, fills::SKILL, None).unwrap();
        assert_eq!(newest.provenance.author.as_deref(), Some(fills::AUTHOR));
        let oldest = skills.get(&OP, fills::SKILL, Some(&Version::new(0, 1, 0))).unwrap();
        assert_eq!(oldest.status, Status::Retired);
    }
    if number >= 16 {
        let (checkpoint, mut content) = layer.state().load(&OP, fills::SKILL, Which::Newest).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut content, &mut bytes).unwrap();
        assert_eq!((checkpoint.revision, bytes.as_slice()), (1, fills::STATE));
    }
    if number >= 19 {
        let label = layer.files().label(&OP, "models", "production").unwrap();
        assert_eq!((label.path.as_deref(), label.version), (Some("pullback/model.bin"), Some(1)));
        assert_eq!(layer.logs().tail(&OP, "trader", 10).unwrap().lines[0].text, "begun");
    }
}

#[test]
fn a_database_of_every_migration_is_brought_on() {
    each(|number, path| {
        let c = read_only(path).unwrap();
        let all = rows(&c);
        let empty: Vec<String> =
            tables(&c).into_iter().filter(|t| all.iter().all(|r| r.table != *t)).collect();
        assert!(
            number > RELEASED || empty.is_empty(),
            "nothing is stored in {empty:?} of migration {number}"
        );
        drop(c);
        let database = std::fs::read(path).unwrap();
        check(number, &database, &all);
        let folder = fixture(number);
        if number <= RELEASED && is_to_be_written(&folder) {
            pack(&database, &folder.join("shiphold.db.gz"));
            let lines: Vec<String> = all.iter().map(|r| serde_json::to_string(r).unwrap()).collect();
            std::fs::write(folder.join("rows.jsonl"), lines.join("\n") + "\n").unwrap();
        }
    });
}

#[test]
fn a_database_of_every_released_schema_opens_and_holds_its_rows() {
    for number in MIGRATIONS.iter().map(|m| m.number).filter(|n| *n <= RELEASED) {
        let folder = fixture(number);
        let size = |name: &str| folder.join(name).metadata().map_or(0, |m| m.len());
        let bytes = size("shiphold.db.gz") + size("rows.jsonl");
        assert!(
            bytes > 0,
            "migration {number} has no fixture: run these tests once with SHIPHOLD_WRITE_FIXTURE=1 and commit {}",
            folder.display()
        );
        assert!(bytes < BYTES_MAX, "{} has {bytes} bytes", folder.display());
        let text = std::fs::read_to_string(folder.join("rows.jsonl")).unwrap();
        let rows: Vec<Row> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert!(rows.len() > 6, "{number}: {} rows", rows.len());
        check(number, &unpacked(&folder.join("shiphold.db.gz")), &rows);
    }
}

#[test]
fn what_was_released_is_a_part_of_what_there_is() {
    assert!(MIGRATIONS.iter().any(|m| m.number == RELEASED));
    assert!(MIGRATIONS.windows(2).all(|w| w[0].number < w[1].number), "in their order");
}

/// The oldest database, as a disk in memory has it.
struct Oldest {
    rows: Vec<Row>,
    vfs: std::sync::Arc<FaultVfs>,
}

impl Workload for Oldest {
    type Store = Database;

    fn open(&self, vfs: &str) -> Result<Database> {
        // The copy of a migration that was cut off is removed by a call that does not reach this disk.
        self.vfs.with_disk(|disk| {
            for number in 2..100 {
                disk.remove(&format!("/data/shiphold.db.before-{number:04}"));
            }
        });
        let options = Options { vfs: Some(vfs.into()), readers: 1, ..Options::default() };
        Database::open(Path::new("/data/shiphold.db"), options, MIGRATIONS)
    }
    fn steps(&self) -> usize {
        0
    }
    fn step(&self, _: &Database, _: usize) -> Result<()> {
        Ok(())
    }
    fn check(&self, db: &Database, _: usize, _: bool) -> std::result::Result<(), String> {
        let pin = db.pin().map_err(|e| e.to_string())?;
        let applied: i64 = pin
            .query_row("SELECT count(*) FROM schema_migrations", [], |r| r.get(0))
            .map_err(|e| e.to_string())?;
        let lost: Vec<&Row> = self.rows.iter().filter(|row| !is_there(&pin, row)).collect();
        let problems = integrity(&pin).map_err(|e| e.to_string())?;
        let broken = Audit::verify_connection(&pin).map_err(|e| e.to_string())?.broken;
        match applied as usize == MIGRATIONS.len()
            && lost.is_empty()
            && problems.is_empty()
            && broken.is_none()
        {
            true => Ok(()),
            false => Err(format!("{applied} migrations, {lost:?} lost, {problems:?}, {broken:?}")),
        }
    }
    fn probe(&self, db: &Database) -> Result<()> {
        db.write(|tx| {
            tx.execute(
                "INSERT INTO skills(name, created_at) VALUES ('probe', 1) ON CONFLICT DO NOTHING",
                [],
            )?;
            Ok(())
        })
    }
}

/// Each migration is whole or absent, wherever the power goes, and the next start goes on from there.
#[test]
fn power_lost_or_a_disk_failing_between_migrations_does_no_harm() {
    let mut image = Disk::default();
    let mut kept = Vec::new();
    each(|number, path| {
        if number == 1 {
            let file = image.create("/data/shiphold.db");
            image.write(file, 0, &std::fs::read(path).unwrap());
            image.sync(file);
            image.sync_folder_of("/data/shiphold.db");
            kept = rows(&read_only(path).unwrap());
        }
    });
    let vfs = FaultVfs::new("structured-migrations").unwrap();
    let oldest = Oldest { rows: kept, vfs: vfs.clone() };
    let losses = |n: u64| {
        if n.is_multiple_of(2) { vec![Loss::Unsynced] } else { vec![Loss::Tail(n), Loss::Sectors(n)] }
    };
    let power = lose_power_everywhere(&vfs, &oldest, &image, (1, 2), &losses);
    let full = fail_everywhere(&vfs, &oldest, &image, (2, 3), Fault::Full, false);
    for report in [power, full] {
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
        assert!(report.points >= 20, "{report:?}");
    }
}
