//! The engine, its archives and their index on one disk, with the power taken away and the disk failing at every operation of
//! archiving, of dropping and of restoring.

use super::*;
use crate::error::Error;
use crate::manifest;
use crate::series::embedded::{EmbeddedEngine, EngineOptions};
use crate::series::model_engine::ModelEngine;
use crate::testing::crash::{Report, Workload, fail_everywhere, lose_power_everywhere};
use crate::testing::{Disk, Fault, Loss};
use crate::units::{ByteSize, Span};

const ROOT: &str = "/files";

/// Times are hours since [`START`].
enum Step {
    Write(&'static [(i64, i64)]),
    Delete(i64, i64),
    Archive(i64),
    Restore(i64, i64),
}

/// Rows that are archived, changed, deleted where they are archived, come late, come back, and go again.
const STEPS: &[Step] = &[
    Step::Write(&[(0, 1), (1, 2), (25, 3), (26, 4), (50, 5)]),
    Step::Archive(30),
    Step::Write(&[(1, 20), (2, 6)]),
    Step::Delete(25, 26),
    Step::Archive(48),
    Step::Restore(0, 24),
    Step::Delete(0, 1),
    Step::Archive(60),
    Step::Restore(0, 100),
];

fn tick() -> SeriesKey {
    key("tick.A")
}

fn range(a: i64, b: i64) -> TimeRange {
    TimeRange { start: START + a * HOUR, end: START + b * HOUR }
}

fn expected(done: usize) -> Vec<(i64, Row)> {
    let model = ModelEngine::default();
    for step in &STEPS[..done] {
        match step {
            Step::Write(cells) => write(&model, cells).unwrap(),
            Step::Delete(a, b) => {
                model.delete(&Selector::of(&tick()), range(*a, *b)).unwrap();
            }
            Step::Archive(_) | Step::Restore(..) => {}
        }
    }
    rows(&model, &tick(), TimeRange::ALL).unwrap()
}

fn write(engine: &dyn SeriesEngine, cells: &[(i64, i64)]) -> Result<()> {
    let times = cells.iter().map(|(t, _)| START + t * HOUR).collect();
    let values = Values::Integer(cells.iter().map(|(_, v)| *v).collect());
    let frame = Frame { times, columns: vec![Column::new("price", values)] };
    engine.write(WriteBatch { series: vec![(tick(), frame)] }).map(drop)
}

struct Archiving {
    vfs: Arc<FaultVfs>,
    careless: bool,
    /// Steps fail, and may have done some of what they do.
    fails: bool,
    folder: tempfile::TempDir,
}

impl Workload for Archiving {
    type Store = Cold;

    fn open(&self, vfs: &str) -> Result<Cold> {
        let options = Options { vfs: Some(vfs.into()), readers: 1, ..Options::default() };
        let db = Arc::new(Database::open(Path::new("/data/shiphold.db"), options, MIGRATIONS)?);
        let mut disk = FaultDisk::new(&self.vfs, ROOT);
        disk.careless = self.careless;
        let disks = BTreeMap::from([(STORE.to_string(), (Box::new(disk) as Box<dyn ObjectDisk>, config()))]);
        let settings = manifest::Embedded {
            memory_max: ByteSize::mib(16),
            head_max: ByteSize::mib(1),
            chunk_rows: 16,
            seal_after: Span::from_secs(300),
            compact_every: Span::from_secs(300),
            cache_max: ByteSize::kib(4),
        };
        let options = EngineOptions { vfs: Some(vfs.into()), readers: 1, ..EngineOptions::default() };
        let engine = EmbeddedEngine::open(Path::new("/data/series.db"), &settings, options)?;
        Cold::over(Arc::new(engine), db, disks, self.folder.path())
    }

    fn steps(&self) -> usize {
        STEPS.len()
    }

    fn step(&self, cold: &Cold, index: usize) -> Result<()> {
        match &STEPS[index] {
            Step::Write(cells) => write(cold.engine().as_ref(), cells),
            Step::Delete(a, b) => cold.engine().delete(&Selector::of(&tick()), range(*a, *b)).map(drop),
            Step::Archive(before) => cold.archive(&tick(), START + before * HOUR).map(drop),
            Step::Restore(a, b) => cold.restore(&tick(), range(*a, *b)).map(drop),
        }
    }

    fn check(&self, cold: &Cold, done: usize, in_flight: bool) -> std::result::Result<(), String> {
        let text = |e: Error| format!("{e:?}");
        let have = rows(cold.engine().as_ref(), &tick(), TimeRange::ALL).map_err(text)?;
        // A deletion that failed may be done where the rows are in files.
        let may_be = in_flight || matches!(STEPS.get(done), Some(Step::Delete(..)));
        let next = may_be.then(|| expected(done + 1));
        if have != expected(done) && next.as_ref() != Some(&have) {
            return Err(format!("the rows are {have:?}, not {:?}", expected(done)));
        }
        let live = rows(cold.live().as_ref(), &tick(), TimeRange::ALL).map_err(text)?;
        match done.checked_sub(1).and_then(|n| STEPS.get(n)) {
            // What the next step did before it failed is no matter of this one.
            _ if self.fails && done < STEPS.len() => {}
            Some(Step::Archive(before))
                if !in_flight && live.iter().any(|(t, _)| *t < START + before * HOUR) =>
            {
                return Err(format!("rows before {before} h are in the engine: {live:?}"));
            }
            Some(Step::Restore(a, b)) => {
                let there = |rows: &[(i64, Row)]| {
                    rows.iter().filter(|(t, _)| range(*a, *b).contains(*t)).cloned().collect::<Vec<_>>()
                };
                if !in_flight && there(&live) != there(&have) {
                    return Err(format!("not all is back: {live:?}"));
                }
            }
            _ => {}
        }
        let faults = cold.archived.verify(&Budget::default()).map_err(text)?;
        if !faults.is_empty() {
            return Err(format!("{faults:?}"));
        }
        Ok(())
    }

    fn probe(&self, cold: &Cold) -> Result<()> {
        let other = key("probe");
        let frame = Frame { times: vec![START], columns: vec![Column::float("v", vec![1.0])] };
        cold.engine().write(WriteBatch { series: vec![(other.clone(), frame)] })?;
        cold.archive(&other, START + 1)?;
        match rows(cold.engine().as_ref(), &other, TimeRange::ALL)?.len() {
            1 => Ok(()),
            n => Err(Error::internal(format!("{n} rows of the probe"))),
        }
    }

    fn repeatable(&self) -> bool {
        true
    }
}

fn workload(name: &str) -> (Archiving, Disk) {
    let w = Archiving {
        vfs: FaultVfs::new(name).unwrap(),
        careless: false,
        fails: false,
        folder: tempfile::tempdir().unwrap(),
    };
    drop(w.open(w.vfs.name()).unwrap());
    let image = w.vfs.disk();
    (w, image)
}

fn sound(report: &Report, points: u64) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= points, "{report:?}");
}

#[test]
fn power_lost_at_every_operation_loses_no_row_and_brings_none_back() {
    let (w, image) = workload("archives-power");
    let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 1), &|n| match n % 3 {
        0 => vec![Loss::Tail(n)],
        1 => vec![Loss::Sectors(n)],
        _ => vec![Loss::Unsynced],
    });
    sound(&report, 100);
}

#[test]
fn a_full_or_failing_disk_leaves_rows_where_they_are_looked_for() {
    let (mut w, image) = workload("archives-fail");
    w.fails = true;
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&w.vfs, &w, &image, (1, 3), fault, false), 20);
        sound(&fail_everywhere(&w.vfs, &w, &image, (2, 5), fault, true), 10);
    }
}

#[test]
fn the_harness_finds_a_file_that_was_not_synced() {
    let (mut w, image) = workload("archives-careless");
    w.careless = true;
    let report = lose_power_everywhere(&w.vfs, &w, &image, (1, 7), &|_| vec![Loss::Unsynced]);
    assert!(!report.findings.is_empty());
}
