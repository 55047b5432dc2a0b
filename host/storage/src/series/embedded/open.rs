//! The start: the file, the catalogue, what is known of chunks, and the head out of the log.

use super::EngineOptions;
use super::bounds::{CHUNK_RAW_BYTES_MAX, CHUNK_ROWS_MAX};
use super::catalog::{ById, Series};
use super::commit::Commit;
use super::compact::Pass;
use super::core::{Core, Gauges};
use super::crew::Crew;
use super::guard::{self, keep_above};
use super::memory::Memory;
use super::record::{self, Section};
use super::tables::{self, CHUNK_COLUMNS, MIGRATIONS};
use super::wal::{self, Ear, WalLength};
use crate::error::{Error, Result};
use crate::manifest;
use crate::sqlite::{Database, Options};
use rusqlite::Connection;
use std::collections::HashMap;
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
        log_bytes_max: wal::BYTES_MAX,
        ..Options::default()
    };
    let db = Database::open(path, database, MIGRATIONS)?;
    let (wal, ear) = WalLength::watch(&db)?;
    give_up_unowned(&db)?;
    let (catalog, by_id) = tables::load_catalog(&*db.pin()?)?;
    let lost = catalog.damage.rows();
    catalog.damage.report();
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
    let damaged = lost + load_chunks(&core, &by_id)? + replay(&core, &by_id)?;
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
    let mut orphans: HashMap<i64, u64> = HashMap::new();
    let mut select = snapshot.prepare(&format!("SELECT {CHUNK_COLUMNS} FROM chunk"))?;
    let mut rows = select.query([])?;
    let mut last = snapshot
        .query_row("SELECT max(id) FROM chunk_data", [], |r| r.get::<_, Option<i64>>(0))?
        .unwrap_or(0);
    while let Some(row) = rows.next()? {
        match tables::chunk_of_row(row) {
            Ok(chunk) => {
                last = last.max(chunk.id).max(chunk.version);
                let Some(series) = by_id.get(chunk.series) else {
                    *orphans.entry(chunk.series).or_default() += 1;
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
    for (series, chunks) in orphans {
        tracing::error!(
            "{chunks} chunks belong to series {series}, which is damaged or not in the catalogue"
        );
        keep_above(&mut super::write(&core.catalog).next_series, series);
    }
    core.next_chunk.store(last.saturating_add(1), Ordering::Relaxed);
    Ok(damaged)
}

/// Rebuilds the heads; gives the number of records that are set aside. Where the log is more than the memory has room for,
/// which was larger when it was written, what was read is sealed in between.
fn replay(core: &Core, by_id: &ById) -> Result<u64> {
    let (mut after, mut may_seal) = (None, true);
    while let Replayed::Full { through } = replay_some(core, by_id, after, may_seal)? {
        after = Some(through);
        let _structure = super::lock(&core.structure);
        if let Err(e) = core.seal_now() {
            tracing::warn!("the log is more than there is memory for, and cannot be sealed: {e}");
            may_seal = false;
        }
    }
    let aside: i64 =
        core.db.read(|c| Ok(c.query_row("SELECT count(*) FROM quarantine", [], |r| r.get(0))?))?;
    Ok(aside.cast_unsigned())
}

/// How far the log was read.
enum Replayed {
    All,
    /// The head is to be sealed before the records after this one are read.
    Full {
        through: i64,
    },
}

/// Reads the records after one, if it is given. They are met in the order of their place in the file, never looked up: in a
/// damaged page a number may not be found again.
fn replay_some(core: &Core, by_id: &ById, after: Option<i64>, may_seal: bool) -> Result<Replayed> {
    let mut commit = super::lock(&core.commit);
    let snapshot = core.db.pin()?;
    // Sealing takes away all records up to a number: one that is out of its place may not have been read by then.
    let may_seal = may_seal && in_order(&snapshot).unwrap_or(false);
    let mut select = snapshot.prepare("SELECT seq, checksum, body FROM log")?;
    let mut rows = select.query([])?;
    let mut through = after;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        if after.is_some_and(|after| seq <= after) {
            continue;
        }
        let body = row.get_ref(2)?.as_bytes().unwrap_or_default();
        let mut size = body.len() as u64;
        let found = sections_of(seq, row.get(1).ok(), body);
        let head = core.gauges.head_bytes.get();
        // The record, and its values, which it holds in fewer bytes.
        let values: usize = found.iter().flatten().map(|section| section.run.size_bytes()).sum();
        let full = head.saturating_add(size).saturating_add(values as u64) > core.memory.written_max();
        if let Some(through) = through.filter(|_| may_seal && full && head > 0) {
            return Ok(Replayed::Full { through });
        }
        through = Some(seq);
        if found.is_ok() {
            keep_above(&mut commit.next_seq, seq);
        }
        let mut problem = None;
        let mut sound = Vec::new();
        match found {
            Ok(sections) => {
                for section in sections {
                    keep_above(&mut super::write(&core.catalog).next_series, section.series);
                    match check(std::slice::from_ref(&section), by_id) {
                        Ok(()) => sound.push(section),
                        Err(e) => problem = problem.or(Some(e)),
                    }
                }
            }
            Err(e) => problem = Some(e),
        }
        if let Some(e) = problem {
            tracing::error!(
                "log record {seq} is damaged and set aside: {e}; run `shiphold verify` and restore the newest backup"
            );
            size = set_aside(core, seq, body, &sound, &e)?;
        }
        commit.log_bytes += size;
        core.gauges.log_bytes.add(size);
        for Section { series, run } in sound {
            if let Some(series) = by_id.get(series) {
                let change = core.put_into_head(&mut commit, series, run, u64::MAX);
                core.memory.wrote(change.before.1, change.after.1);
            }
        }
    }
    Ok(Replayed::All)
}

/// Do the numbers of the log ascend, as they do unless a page is damaged?
fn in_order(c: &Connection) -> Result<bool> {
    let mut select = c.prepare("SELECT seq FROM log")?;
    let mut rows = select.query([])?;
    let mut last = i64::MIN;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        if guard::ascends(&last, &seq).is_err() {
            return Ok(false);
        }
        last = seq;
    }
    Ok(true)
}

/// What a record of the log holds, if it is whole and at its place.
pub(super) fn sections_of(seq: i64, checksum: Option<i64>, body: &[u8]) -> Result<Vec<Section>> {
    let sections = record::decode(body)?;
    if checksum != Some(guard::of_log(seq, body)) {
        return Err(Error::corrupt("its number does not match its checksum"));
    }
    Ok(sections)
}

/// Keeps a record for a person to look at; what of it is sound stays in the log. Gives the bytes that stay.
fn set_aside(core: &Core, seq: i64, body: &[u8], sound: &[Section], why: &Error) -> Result<u64> {
    let rest = match sound {
        [] => None,
        some => Some(record::encode(some.iter().map(|s| (s.series, &s.run)))?),
    };
    core.db.write(|tx| {
        tx.execute(
            "INSERT INTO quarantine(seq, problem, body) VALUES (?1, ?2, ?3)",
            (seq, why.message(), body),
        )?;
        // Never by its number: see above.
        match &rest {
            None => tx.execute("DELETE FROM log WHERE +seq = ?1", [seq])?,
            Some(rest) => tx.execute(
                "UPDATE log SET body = ?2, checksum = ?3 WHERE +seq = ?1",
                (seq, rest, guard::of_log(seq, rest)),
            )?,
        };
        Ok(())
    })?;
    Ok(rest.map_or(0, |r| r.len() as u64))
}

/// Every series and field of a record is in the catalogue, with that type.
pub(super) fn check(sections: &[Section], by_id: &ById) -> Result<()> {
    for section in sections {
        let series = by_id.get(section.series);
        let series = series.ok_or_else(|| {
            Error::corrupt(format!("it names series {}, which is not in the catalogue", section.series))
        })?;
        let fields = series.measurement.fields();
        for lane in &section.run.lanes {
            if !fields.fits(lane.field, lane.field_type()) {
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
