//! The embedded engine with the power taken away, and the disk filled, at every operation.

use super::crash::{Report, Workload, fail_everywhere, lose_power_everywhere};
use super::recovery::{Again, fail_in_recovery};
use super::series::SeriesWorkload;
use super::{Disk, Fault, FaultVfs, Loss};
use crate::error::Result;
use crate::manifest::Embedded;
use crate::series::embedded::{EmbeddedEngine, EngineOptions};
use crate::sqlite::Synchronous;
use crate::units::{ByteSize, Span};
use std::path::Path;

fn open(vfs: &str, synchronous: Synchronous) -> Result<EmbeddedEngine> {
    let config = Embedded {
        memory_max: ByteSize::mib(64),
        head_max: ByteSize::mib(1),
        chunk_rows: 1024,
        seal_after: Span::from_secs(3600),
        compact_every: Span::from_secs(0),
        cache_max: ByteSize::mib(1),
    };
    let options = EngineOptions { vfs: Some(vfs.into()), synchronous, ..EngineOptions::default() };
    EmbeddedEngine::open(Path::new("/data/series.db"), &config, options)
}

type Engine = SeriesWorkload<fn(&str) -> Result<EmbeddedEngine>>;

fn workload(name: &str) -> (std::sync::Arc<FaultVfs>, Engine, Disk) {
    let vfs = FaultVfs::new(name).unwrap();
    let w: Engine = SeriesWorkload::new(|vfs| open(vfs, Synchronous::Full));
    drop(w.open(vfs.name()).unwrap());
    let image = vfs.disk();
    (vfs, w, image)
}

fn sound(report: &Report) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= 30, "{report:?}");
}

#[test]
fn power_lost_at_every_operation_loses_no_acknowledged_batch() {
    let (vfs, w, image) = workload("series-power");
    let report = lose_power_everywhere(&vfs, &w, &image, (1, 1), &|n| match n % 3 {
        0 => vec![Loss::Unsynced, Loss::Tail(n)],
        1 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Tail(n ^ 0xa5a5), Loss::Sectors(n ^ 0x5a5a)],
    });
    sound(&report);
}

#[test]
fn power_lost_while_the_series_are_made_leaves_a_file_that_opens() {
    let (vfs, mut w, _) = workload("series-new");
    w.steps.truncate(3);
    sound(&lose_power_everywhere(&vfs, &w, &Disk::default(), (1, 1), &|n| {
        vec![Loss::Unsynced, Loss::Tail(n)]
    }));
}

#[test]
fn a_full_or_failing_disk_refuses_whole_batches() {
    let (vfs, w, image) = workload("series-fail");
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&vfs, &w, &image, (1, 1), fault, false));
        sound(&fail_everywhere(&vfs, &w, &image, (1, 2), fault, true));
    }
}

#[test]
fn power_lost_during_retention_leaves_raw_rows_or_their_rollup() {
    let vfs = FaultVfs::new("series-retention").unwrap();
    let w: Engine = SeriesWorkload::retention(|vfs| open(vfs, Synchronous::Full));
    drop(w.open(vfs.name()).unwrap());
    let image = vfs.disk();
    let losses = |n: u64| match n % 2 {
        0 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Tail(n)],
    };
    sound(&lose_power_everywhere(&vfs, &w, &image, (1, 1), &losses));
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&vfs, &w, &image, (1, 2), fault, false));
        sound(&fail_everywhere(&vfs, &w, &image, (2, 3), fault, true));
    }
}

/// A start is a job too: it can be cut off anywhere, and the next one finds what the first would have found.
#[test]
fn power_lost_or_a_disk_failing_during_recovery_loses_nothing() {
    let (vfs, w, image) = workload("series-recovery");
    let losses = |n: u64| match n % 3 {
        0 => Loss::Unsynced,
        1 => Loss::Tail(n),
        _ => Loss::Sectors(n),
    };
    sound(&fail_in_recovery(&vfs, &w, &image, (1, 5), &losses, Again::Power));
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_in_recovery(&vfs, &w, &image, (3, 9), &losses, Again::Fails(fault)));
    }
}

#[test]
fn the_harness_finds_a_lost_batch_when_nothing_is_synced() {
    let (vfs, mut w, image) = workload("series-off");
    w.open = |vfs| open(vfs, Synchronous::Off);
    let report = lose_power_everywhere(&vfs, &w, &image, (1, 3), &|_| vec![Loss::Unsynced]);
    assert!(!report.findings.is_empty(), "`synchronous=OFF` passed: the harness proves nothing");
}
