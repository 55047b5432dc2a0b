//! A cold start after `kill -9`: from the start of the process to the first answer.

use super::{OP, fill_skills, name, plain, plain_point};
use crate::data;
use crate::host::Host;
use crate::{Run, Table};
use shiphold_storage::DataLayer;
use shiphold_storage::files::PutOptions;
use shiphold_storage::series::WriteBatch;
use std::time::Instant;

/// Starts, of which the median counts.
const STARTS: usize = 5;
/// Rows of a symbol that are made at once.
const PIECE: usize = 50_000;
const BATCH: usize = 10_000;
/// Who stores files at once: each waits for the disk.
const WRITERS: usize = 8;

pub fn run(run: &Run, table: &mut Table) {
    let (skills, objects) = (run.size(100_000, 1_000), run.size(10_000, 100));
    let pieces = run.size(10, 1);
    let per_symbol = run.size(PIECE, 1_000);
    // Nothing is sealed by the clock: the log stays as long as it is.
    let mut host = Host::new(
        "[files.objects]\nkind = \"objects\"\n[series.embedded]\nseal_after = \"1 d\"\ncompact_every = \"0 s\"\n",
    );
    let manifest = host.manifest();
    let layer = DataLayer::open(&manifest).unwrap();
    fill_skills(&layer, skills);
    fill_files(&layer, objects);
    let mut bars = data::bars(per_symbol);
    let mut next = || {
        let batches = data::batches(&bars, BATCH);
        let span = per_symbol as i64 * data::MINUTE_NS;
        bars.iter_mut().for_each(|b| b.times.iter_mut().for_each(|t| *t += span));
        batches
    };
    let write = |batch: WriteBatch| {
        layer.series().write(&OP, batch).unwrap();
    };
    for _ in 0..pieces {
        next().into_iter().for_each(write);
    }
    layer.series().engine().seal().unwrap();
    layer.series().engine().compact().unwrap();
    // The log at its bound, but for a batch: at the bound it would be sealed.
    let bound = run.size(manifest.series.embedded.head_max.0 as usize, 4 << 20) as u64;
    let stats = || layer.series().stats(&OP).unwrap();
    'full: loop {
        for batch in next() {
            if stats().head_bytes + batch.rows() as u64 * 64 >= bound {
                break 'full;
            }
            write(batch);
        }
    }
    let there = stats();
    table.note(format!(
        "The cold start is over {skills} skills, {objects} objects and {} rows, {} of them in a log of {} MiB. The process is killed, and \
         started again; it has started when it answers a point read over HTTP. `rusqlite` opens a copy of the structured file with its log \
         and reads the same skill.",
        there.rows,
        there.head_rows,
        there.log_bytes >> 20
    ));
    drop(layer);
    host.serve();
    let path = format!("/v1/skills/{}", name(7));
    host.server().connect().get(&path);
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..STARTS {
        host.kill();
        theirs.push(plain_start(&manifest.host.data, host.folder()));
        let begin = Instant::now();
        host.serve();
        let said = host.server().connect().get(&path);
        ours.push(begin.elapsed().as_secs_f64() * 1e3);
        assert!(said.contains("Buys the dip"), "{said}");
    }
    host.kill();
    for all in [&mut ours, &mut theirs] {
        all.sort_by(f64::total_cmp);
    }
    table.cost(
        "cold start after kill -9, to the first answer",
        "ms",
        ours[STARTS / 2],
        Some(("rusqlite", theirs[STARTS / 2])),
        "300",
    );
}

/// Opens a copy of what the killed process left, and reads one skill.
fn plain_start(data: &std::path::Path, to: &std::path::Path) -> f64 {
    for end in ["", "-wal"] {
        let from = data.join(format!("shiphold.db{end}"));
        let copy = to.join(format!("copy.db{end}"));
        let _ = std::fs::remove_file(&copy);
        if from.exists() {
            std::fs::copy(from, copy).unwrap();
        }
    }
    let _ = std::fs::remove_file(to.join("copy.db-shm"));
    let begin = Instant::now();
    let c = plain(&to.join("copy.db"), true);
    assert!(plain_point(&c, &name(7)) > 100);
    begin.elapsed().as_secs_f64() * 1e3
}

fn fill_files(layer: &DataLayer, count: usize) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for i in (writer..count).step_by(WRITERS) {
                    let content = format!("object {i}\n").repeat(40);
                    let put = layer.files().put(
                        &OP,
                        "objects",
                        &format!("run/{i}.bin"),
                        &mut content.as_bytes(),
                        PutOptions::default(),
                    );
                    put.unwrap();
                }
            });
        }
    });
}
