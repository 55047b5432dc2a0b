//! The start: the file, the catalogue, what is known of chunks, and the head out of the log.

use super::EngineOptions;
use super::bounds::{CHUNK_RAW_BYTES_MAX, CHUNK_ROWS_MAX};
use super::catalog::{ById, Series};
use super::commit::Commit;
use super::compact::Pass;
use super::core::{Core, Gauges};
use super::crew::Crew;
use super::memory::Memory;
use super::record::{self, Section};
use super::tables::{self, CHUNK_COLUMNS, MIGRATIONS};
use super::wal::{self, Ear, WalLength};
use crate::error::{Error, Result};
use crate::manifest;
use crate::sqlite::{Database, Options};
use rusqlite::OptionalExtension;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// Pages of the series file. Records and chunks are long: large pages need fewer writes.
pub(super) const PAGE_BYTES: u32 = 16 << 10;
/// The part of the memory that a chunk's values may take: a quarter of what is decoded at once.
const CHUNK_PART: u64 = 8;
/// Page cache of each connection; records and chunks pass through it once.
const CACHE_BYTES: u64 = 2 << 20;

pub(super) fn open(path: &Path, config: &manifest::Embedded, options: &EngineOptions) -> Result<(Core, Ear)> {
    let database = Options {
        vfs: options.vfs.clone(),
        readers: options.readers,
        synchronous: options.synchronous,
        page_size: PAGE_BYTES,
        auto_vacuum_incremental: true,
        cache_bytes: CACHE_BYTES,
        wal_kept_bytes: wal::KEPT_BYTES,
        ..Options::default()
    };
    let db = Database::open(path, database, MIGRATIONS)?;
    let (wal, ear) = WalLength::watch(&db)?;
    give_up_unowned(&db)?;
    let (catalog, by_id) = tables::load_catalog(&*db.pin()?)?;
    let core = Core {
        db,
        head_max: config.head_max.0.max(1),
        chunk_rows: usize::try_from(config.chunk_rows).unwrap_or(CHUNK_ROWS_MAX).clamp(1, CHUNK_ROWS_MAX / 2),
        chunk_bytes: (config.memory_max.0 / CHUNK_PART).clamp(1, CHUNK_RAW_BYTES_MAX as u64),
        seal_after: config.seal_after,
        compact_every: config.compact_every,
        series_max: options.series_max,
        catalog: RwLock::new(catalog),
        queue: Mutex::default(),
        commit: Mutex::new(Commit { next_seq: 1, dirty: Vec::new(), log_bytes: 0, head_since: None }),
        structure: Mutex::new(()),
        pass: Mutex::new(Pass::new()),
        retired: Mutex::default(),
        next_chunk: AtomicI64::new(1),
        gauges: Gauges::default(),
        bell: super::seal::Bell::default(),
        wal,
        crew: Crew::new()?,
        memory: Memory::new(config.memory_max.0, config.cache_max.0),
    };
    let damaged = load_chunks(&core, &by_id)? + replay(&core, &by_id)?;
    core.gauges.quarantined.add(damaged);
    if damaged == 0 {
        forget_empty(&core)?;
    }
    Ok((core, ear))
}

/// Data that was written ahead of a transaction that never came, or whose chunk was replaced.
fn give_up_unowned(db: &Database) -> Result<()> {
    // A damaged list must not take what is in use: what a chunk owns stays, whatever the list says.
    let owned: i64 = db.read(|c| {
        Ok(c.query_row("SELECT count(*) FROM unowned WHERE id IN (SELECT id FROM chunk)", [], |r| r.get(0))?)
    })?;
    if owned > 0 {
        tracing::error!("{owned} chunks are listed as given up and are in use; they are kept");
        db.write(|tx| Ok(tx.execute("DELETE FROM unowned WHERE id IN (SELECT id FROM chunk)", [])?))?;
    }
    loop {
        let ids: Vec<i64> = db.read(|c| {
            let mut select = c.prepare_cached("SELECT id FROM unowned LIMIT 64")?;
            let ids = select.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
            Ok(ids)
        })?;
        if ids.is_empty() {
            return Ok(());
        }
        db.write(|tx| ids.iter().try_for_each(|id| tables::delete_data(tx, *id)))?;
    }
}

/// Gives the number of chunks that are damaged.
fn load_chunks(core: &Core, by_id: &ById) -> Result<u64> {
    let snapshot = core.db.pin()?;
    let mut damaged = 0;
    let mut select = snapshot.prepare(&format!("SELECT {CHUNK_COLUMNS} FROM chunk"))?;
    let mut rows = select.query([])?;
    let mut last = snapshot
        .query_row("SELECT max(id) FROM chunk_data", [], |r| r.get::<_, Option<i64>>(0))?
        .unwrap_or(0);
    while let Some(row) = rows.next()? {
        match tables::chunk_of_row(row)? {
            Ok(chunk) => {
                last = last.max(chunk.id).max(chunk.version);
                let Some(series) = by_id.get(chunk.series) else {
                    tracing::error!(
                        "chunk {} belongs to series {}, which is not in the catalogue",
                        chunk.id,
                        chunk.series
                    );
                    damaged += 1;
                    continue;
                };
                core.gauges.chunk_came(&chunk);
                series.state().add_chunk(Arc::new(chunk));
            }
            Err((series, id)) => {
                let name = by_id.name(series);
                tracing::error!(
                    "the row of chunk {id} of {name} is damaged and left out; run `shiphold verify`"
                );
                last = last.max(id);
                damaged += 1;
            }
        }
    }
    core.next_chunk.store(last.saturating_add(1), Ordering::Relaxed);
    Ok(damaged)
}

/// Rebuilds the heads; gives the number of records that are set aside.
fn replay(core: &Core, by_id: &ById) -> Result<u64> {
    let mut seq = i64::MIN;
    loop {
        let next: Option<(i64, Result<Vec<u8>>)> = core.db.read(|c| {
            let at: Option<i64> = c
                .prepare_cached("SELECT seq FROM log WHERE seq > ?1 ORDER BY seq LIMIT 1")?
                .query_row([seq], |r| r.get(0))
                .optional()?;
            let Some(at) = at else { return Ok(None) };
            let mut select = c.prepare_cached("SELECT body FROM log WHERE seq = ?1")?;
            Ok(Some((at, select.query_row([at], |r| r.get(0)).map_err(Error::from))))
        })?;
        let Some((at, body)) = next else { break };
        seq = at;
        let body = body?;
        let size = body.len() as u64;
        // More than there is room for, which was less when it was written.
        let head = core.gauges.head_bytes.get();
        if head > 0 && head.saturating_add(size.saturating_mul(2)) > core.memory.written_max() {
            let _structure = super::lock(&core.structure);
            core.seal_now()?;
        }
        let mut commit = super::lock(&core.commit);
        commit.next_seq = commit.next_seq.max(at.saturating_add(1));
        match record::decode(&body).and_then(|sections| check(&sections, by_id).map(|()| sections)) {
            Ok(sections) => {
                commit.log_bytes += size;
                core.gauges.log_bytes.add(size);
                for Section { series, run } in sections {
                    if let Some(series) = by_id.get(series) {
                        let change = core.put_into_head(&mut commit, series, run, u64::MAX);
                        core.memory.wrote(change.before.1, change.after.1);
                    }
                }
            }
            Err(e) => {
                tracing::error!(
                    "log record {at} is damaged and set aside: {e}; run `shiphold verify` and restore the newest backup"
                );
                core.db.write(|tx| {
                    tx.execute(
                        "INSERT INTO quarantine(seq, problem, body) VALUES (?1, ?2, ?3)",
                        (at, e.message(), &body),
                    )?;
                    tx.execute("DELETE FROM log WHERE seq = ?1", [at])?;
                    Ok(())
                })?;
            }
        }
    }
    let aside: i64 =
        core.db.read(|c| Ok(c.query_row("SELECT count(*) FROM quarantine", [], |r| r.get(0))?))?;
    Ok(aside.cast_unsigned())
}

/// Every series and field of a record is in the catalogue, with that type.
pub(super) fn check(sections: &[Section], by_id: &ById) -> Result<()> {
    for section in sections {
        let series = by_id.get(section.series);
        let series = series
            .ok_or_else(|| Error::corrupt(format!("it names the unknown series {}", section.series)))?;
        let fields = series.measurement.fields();
        for lane in &section.run.lanes {
            if fields.name(lane.field).map(|f| f.1) != Some(lane.field_type()) {
                return Err(Error::corrupt(format!(
                    "its field number {} of {} is of another type",
                    lane.field,
                    series.key()
                )));
            }
        }
    }
    Ok(())
}

/// Series whose last row was deleted make room for others.
fn forget_empty(core: &Core) -> Result<()> {
    let mut catalog = super::write(&core.catalog);
    let empty: Vec<Arc<Series>> = catalog.all().filter(|s| !s.state().has_rows()).cloned().collect();
    if empty.is_empty() {
        return Ok(());
    }
    core.db.write(|tx| {
        let mut delete = tx.prepare_cached("DELETE FROM series WHERE id = ?1")?;
        for series in &empty {
            delete.execute([series.id])?;
        }
        Ok(())
    })?;
    empty.iter().for_each(|s| catalog.remove_series(s));
    Ok(())
}
