//! Taking one instant of all stores.

use super::copy::{Partial, copy, digest_of, exists, make_dirs, open_immutable, sync_file};
use super::format::{Contents, Engine, FORMAT, FileEntry, MANIFEST_FILE, is_hash, is_store, object_path};
use super::remote::Remote;
use super::{BackupReport, Progress};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::layer::{DataLayer, OUTBOX_FILE, SERIES_FILE, STRUCTURED_FILE, integrity, open_embedded};
use crate::schema::now_ns;
use crate::series::Selector;
use crate::series::influx::{Held, outbox_at_rest};
use crate::sqlite::Pinned;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pages of one step of a database's copy.
const PAGES_PER_STEP: i32 = 1024;
/// How long a step that finds its file locked is tried again.
const LOCKED_MAX: Duration = Duration::from_secs(5);

/// Exports everything at one instant into a new folder.
pub(crate) fn export(
    layer: &DataLayer,
    caller: &Caller,
    to: &Path,
    progress: Progress<'_>,
) -> Result<BackupReport> {
    caller.require(Scope::Admin, "export a backup")?;
    let to = std::path::absolute(to).map_err(|e| Error::io(to.display(), e))?;
    refuse_target(layer, &to)?;
    let (report, digest) = write(layer, &to, progress)?;
    let entry = Entry::new(caller, "backup.export", format!("backup:{}", to.display()))
        .change(None, Some(digest))
        .detail(json!({ "taken_at": report.taken_at, "bytes": report.bytes, "objects": report.objects, "audit_entries": report.audit_entries }));
    layer.audit().record(&entry)?;
    Ok(report)
}

/// Writes the backup into a new folder; what was written, and the digest of its manifest.
pub(super) fn write(layer: &DataLayer, to: &Path, progress: Progress<'_>) -> Result<(BackupReport, String)> {
    let mut partial = Partial::create(to)?;
    let contents = fill(layer, &partial.path, progress)?;
    let manifest = partial.path.join(MANIFEST_FILE);
    let bytes = contents.to_bytes()?;
    copy(&mut bytes.as_slice(), &manifest, bytes.len() as u64, false, &mut |_| ())?;
    partial.publish()?;
    partial.keep();
    Ok((contents.report(), blake3::hash(&bytes).to_hex().to_string()))
}

pub(super) fn refuse_target(layer: &DataLayer, to: &Path) -> Result<()> {
    let empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut d| d.next().is_none());
    if exists(to)? && !empty(to) {
        return Err(Error::conflict(format!("{} exists and is not an empty folder", to.display()))
            .hint("a backup never overwrites: give the path of a new folder"));
    }
    // Resolved, for a link may lead into the data folder.
    let parent = to.parent().and_then(|p| p.canonicalize().ok()).unwrap_or_default();
    let mut owned: Vec<PathBuf> = vec![layer.manifest().host.data.clone()];
    owned.extend(layer.manifest().files.values().map(|f| f.root.clone()));
    for folder in owned {
        if folder.canonicalize().is_ok_and(|f| parent.starts_with(f)) {
            return Err(Error::invalid(format!(
                "{} is inside {}, which it is to back up",
                to.display(),
                folder.display()
            ))
            .hint("choose a folder apart, on another disk if there is one"));
        }
    }
    Ok(())
}

/// The pinned instant.
struct Instance {
    structured: Pinned,
    series: Option<Pinned>,
    outbox: Option<Pinned>,
    taken_at: i64,
    stood_still: Duration,
}

/// Stops the writers of all files, pins them, lets them go on.
fn pin(layer: &DataLayer, remote: Option<&Remote>) -> Result<Instance> {
    // The connections are opened before: between the barriers there are two short statements.
    let structured = layer.database().connection()?;
    let series = layer.embedded().map(|e| e.database().connection()).transpose()?;
    let held = remote.and_then(Remote::held);
    let outbox = held.map(|h| h.database().connection()).transpose()?;
    let _structured_still = layer.database().barrier();
    let _series_still = layer.embedded().map(|e| e.database().barrier());
    let _outbox_still = held.map(Held::barrier);
    let began = Instant::now();
    let structured = Pinned::new(structured)?;
    let series = series.map(Pinned::new).transpose()?;
    let outbox = outbox.map(Pinned::new).transpose()?;
    Ok(Instance { structured, series, outbox, taken_at: now_ns(), stood_still: began.elapsed() })
}

fn fill(layer: &DataLayer, folder: &Path, progress: Progress<'_>) -> Result<Contents> {
    // No object goes from before the instant until it is copied.
    let _held = layer.files().hold_objects();
    let remote = Remote::open(layer)?;
    let instance = pin(layer, remote.as_ref())?;
    let (taken_at, stood_still) = (instance.taken_at, instance.stood_still);
    let objects_bytes: i64 =
        instance.structured.query_row("SELECT coalesce(sum(size), 0) FROM file_objects", [], |r| r.get(0))?;
    let of = |pinned: &Option<Pinned>| pinned.as_deref().map_or(Ok(0), size);
    let databases = size(&instance.structured)? + of(&instance.series)? + of(&instance.outbox)?;
    let total = databases
        .saturating_add(objects_bytes.unsigned_abs())
        .saturating_add(remote.as_ref().map_or(0, Remote::progress_bytes));
    let mut done = 0;
    let mut advance = |n: u64| {
        done += n;
        progress(done.min(total), total);
    };

    let structured = folder.join(STRUCTURED_FILE);
    copy_database(&instance.structured, &structured, &mut advance)?;
    let apart =
        layer.manifest().files.iter().filter(|(_, store)| !store.backup).map(|(name, _)| name.as_str());
    leave_out(&structured, &apart.collect::<Vec<_>>())?;
    in_files(&structured)?;
    let series = folder.join(SERIES_FILE);
    if let Some(pinned) = &instance.series {
        copy_database(pinned, &series, &mut advance)?;
    }
    let outbox = folder.join(OUTBOX_FILE);
    if let Some(pinned) = &instance.outbox {
        copy_database(pinned, &outbox, &mut advance)?;
    }
    // The pins go before the long part: while they live the WALs grow.
    drop(instance);

    let mut files = Vec::new();
    let mut outbox_records = None;
    let (engine, series_rows) = match &remote {
        None => {
            sound(&open_immutable(&series)?, SERIES_FILE)?;
            let rows = open_once(layer, &series)?;
            files.push(entry_of(folder, SERIES_FILE)?);
            (Engine::Embedded, rows)
        }
        Some(remote) => {
            if remote.held().is_some() {
                let copy = open_immutable(&outbox)?;
                sound(&copy, OUTBOX_FILE)?;
                outbox_records = Some(outbox_at_rest::look(&copy)?.records);
                files.push(entry_of(folder, OUTBOX_FILE)?);
            }
            (Engine::Influxdb2, remote.export(folder, &mut files, &mut advance)?)
        }
    };
    let buckets = remote.map(Remote::release).unwrap_or_default();
    files.push(entry_of(folder, STRUCTURED_FILE)?);
    let copy = open_immutable(&structured)?;
    sound(&copy, STRUCTURED_FILE)?;
    export_objects(layer, &copy, folder, &mut files, &mut advance)?;
    let proof = Audit::verify_connection(&copy)?;
    if let Some(broken) = proof.broken {
        return Err(Error::corrupt(format!(
            "the audit trail breaks at entry {}: {}",
            broken.seq, broken.problem
        ))
        .hint("`shiphold verify` shows more; a backup of a broken trail would hide when it broke"));
    }
    let schema = copy.query_row("SELECT max(number) FROM schema_migrations", [], |r| r.get(0))?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Contents {
        format: FORMAT,
        host: layer.manifest().host.name.clone(),
        taken_at,
        software: env!("CARGO_PKG_VERSION").into(),
        schema,
        engine,
        series_rows,
        outbox_records,
        buckets,
        audit_entries: proof.entries,
        audit_head: proof.head,
        barrier_us: u64::try_from(stood_still.as_micros()).unwrap_or(u64::MAX),
        files,
    })
}

/// A backup is proven when it is taken: one that cannot be restored helps nobody.
fn sound(connection: &Connection, name: &str) -> Result<()> {
    match integrity(connection)?.first() {
        None => Ok(()),
        Some(problem) => Err(Error::corrupt(format!("{name} is damaged: {problem}")).hint(
            "`shiphold verify` shows more; keep a copy of the data folder, and restore the newest backup",
        )),
    }
}

/// Bytes of a database.
fn size(connection: &Connection) -> Result<u64> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |r| r.get::<_, i64>(0));
    Ok(pragma("page_count")?.unsigned_abs().saturating_mul(pragma("page_size")?.unsigned_abs()))
}

/// Copies what a connection sees. Its open read transaction keeps the copy at one instant.
fn copy_database(source: &Connection, to: &Path, advance: &mut dyn FnMut(u64)) -> Result<()> {
    use rusqlite::OpenFlags as F;
    let place = |e: rusqlite::Error| Error::from(e).context(format!("copying to {}", to.display()));
    let page = size(source)?
        / source.query_row("PRAGMA page_count", [], |r| r.get::<_, i64>(0))?.unsigned_abs().max(1);
    let flags = F::SQLITE_OPEN_READ_WRITE | F::SQLITE_OPEN_CREATE | F::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags).map_err(place)?;
    {
        let backup = Backup::new(source, &mut target).map_err(place)?;
        let mut left = i32::MAX;
        let mut stuck: Option<Instant> = None;
        loop {
            match backup.step(PAGES_PER_STEP).map_err(place)? {
                StepResult::Done => break,
                StepResult::More => {
                    stuck = None;
                    let now = backup.progress();
                    let before = if left == i32::MAX { now.pagecount } else { left };
                    advance(page.saturating_mul(u64::from(before.abs_diff(now.remaining))));
                    left = now.remaining;
                }
                _ if stuck.get_or_insert_with(Instant::now).elapsed() < LOCKED_MAX => {
                    std::thread::sleep(Duration::from_millis(5))
                }
                _ => {
                    return Err(Error::new(
                        Kind::Busy,
                        format!("copying to {}: the file is locked", to.display()),
                    ));
                }
            }
        }
    }
    plain(&target).map_err(place)?;
    drop(target);
    sync_file(to)
}

/// Takes the rows of stores that are no part of backups out of a copy: what names no object is missed by nobody. Objects of
/// checkpoints stay, wherever they are: what a strategy goes on from is part of every backup.
fn leave_out(path: &Path, stores: &[&str]) -> Result<()> {
    if stores.is_empty() {
        return Ok(());
    }
    let connection = Connection::open(path)?;
    for store in stores {
        for sql in [
            "DELETE FROM file_labels WHERE store = ?1",
            "DELETE FROM file_label_changes WHERE store = ?1",
            "DELETE FROM file_versions WHERE store = ?1",
            "DELETE FROM file_names WHERE store = ?1",
            "DELETE FROM file_objects WHERE store = ?1 AND NOT EXISTS
             (SELECT 1 FROM state_checkpoints c WHERE c.store = file_objects.store AND c.hash = file_objects.hash)",
        ] {
            connection.execute(sql, [store])?;
        }
    }
    plain(&connection)?;
    drop(connection);
    sync_file(path)
}

/// In a backup each object is a file of its own, so the rows of a copy must not say that it is in chunks. Uploads stay behind.
fn in_files(path: &Path) -> Result<()> {
    let connection = Connection::open(path)?;
    for sql in [
        "DELETE FROM file_recipes",
        "DELETE FROM file_chunked",
        "DELETE FROM file_chunks",
        "DELETE FROM file_packs",
        "DELETE FROM file_uploads",
        "UPDATE file_objects SET chunked = 0",
    ] {
        connection.execute(sql, [])?;
    }
    plain(&connection)?;
    drop(connection);
    sync_file(path)
}

/// One file, with no WAL beside it, that opens on a read-only medium.
fn plain(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))
}

/// Opens the copied series as a host would: it is proven to open, and its rows are counted.
fn open_once(layer: &DataLayer, path: &Path) -> Result<u64> {
    let engine = open_embedded(path, Some(layer.manifest()))?;
    let rows = rows_of(&engine)?;
    engine.close()?;
    drop(engine);
    let connection = Connection::open(path)?;
    plain(&connection)?;
    drop(connection);
    sync_file(path)?;
    Ok(rows)
}

/// Rows of all series.
pub(super) fn rows_of(engine: &dyn crate::series::SeriesEngine) -> Result<u64> {
    Ok(engine.list(&Selector::default())?.iter().fold(0, |sum, s| sum.saturating_add(s.rows)))
}

fn entry_of(folder: &Path, name: &str) -> Result<FileEntry> {
    let d = digest_of(&folder.join(name))?;
    Ok(FileEntry {
        path: name.into(),
        bytes: d.bytes,
        blake3: d.blake3,
        sha256: d.sha256,
        bucket: None,
        rows: None,
    })
}

/// Every object that a row names, once: the same content in two stores is one file with two names.
fn export_objects(
    layer: &DataLayer,
    rows: &Connection,
    folder: &Path,
    files: &mut Vec<FileEntry>,
    advance: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut statement = rows.prepare("SELECT store, hash, size FROM file_objects ORDER BY store, hash")?;
    let mut rows = statement.query([])?;
    let mut copied: BTreeMap<String, PathBuf> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (store, hash, bytes): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if !is_store(&store) || !is_hash(&hash) {
            return Err(Error::corrupt(format!(
                "file_objects names `{}/{}`",
                store.escape_debug(),
                hash.escape_debug()
            )));
        }
        let bytes = bytes.unsigned_abs();
        let path = object_path(&store, &hash);
        let to = folder.join(&path);
        to.parent().map_or(Ok(()), make_dirs)?;
        let linked = copied.get(&hash).is_some_and(|first| std::fs::hard_link(first, &to).is_ok());
        if linked {
            advance(bytes);
        } else {
            let mut object = layer.files().open_object(&store, &hash, bytes).map_err(|e| match e.kind() {
                Kind::NotFound => Error::corrupt(format!("object {hash} of store `{store}` is missing: {e}"))
                    .hint("`shiphold verify` names the files that need it; restore it, or purge them"),
                _ => e,
            })?;
            let d = copy(&mut object, &to, bytes, false, advance)?;
            if d.bytes != bytes || d.blake3 != hash {
                return Err(Error::corrupt(format!(
                    "object {hash} of store `{store}` is damaged: its content does not match its hash"
                ))
                .hint("`shiphold verify` names the files that need it; restore it, or purge them"));
            }
            copied.insert(hash.clone(), to);
        }
        files.push(FileEntry { path, bytes, blake3: hash, sha256: None, bucket: None, rows: None });
    }
    Ok(())
}
