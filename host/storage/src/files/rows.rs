//! The rows of files: names, versions, objects.

use super::chunks;
use super::content::Placed;
use super::name;
use super::provenance;
use super::types::{FileVersion, FilesStats, Provenance, StoreConfig, full};
use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Value, json};

pub(super) const COLUMNS: &str =
    "store, path, version, hash, size, created_at, created_by, media_type, metadata";

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<FileVersion> {
    let metadata: String = row.get(8)?;
    Ok(FileVersion {
        store: row.get(0)?,
        path: row.get(1)?,
        version: row.get::<_, i64>(2)?.unsigned_abs(),
        blake3: row.get(3)?,
        size: row.get::<_, i64>(4)?.unsigned_abs(),
        created_at: row.get(5)?,
        created_by: row.get(6)?,
        media_type: row.get(7)?,
        metadata: serde_json::from_str(&metadata).unwrap_or(Value::String(metadata)),
    })
}

pub(super) fn newest(c: &Connection, store: &str, path: &str) -> Result<Option<FileVersion>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM file_versions WHERE store = ?1 AND path = ?2 ORDER BY version DESC LIMIT 1"
    );
    Ok(c.prepare_cached(&sql)?.query_row((store, path), read).optional()?)
}

pub(super) fn version(c: &Connection, store: &str, path: &str, number: u64) -> Result<Option<FileVersion>> {
    let sql = format!("SELECT {COLUMNS} FROM file_versions WHERE store = ?1 AND path = ?2 AND version = ?3");
    Ok(c.prepare_cached(&sql)?.query_row((store, path, number.cast_signed()), read).optional()?)
}

pub(super) fn object_is_known(c: &Connection, store: &str, hash: &str) -> Result<bool> {
    let mut statement = c.prepare_cached("SELECT 1 FROM file_objects WHERE store = ?1 AND hash = ?2")?;
    Ok(statement.exists((store, hash))?)
}

/// What is known of an object.
pub(super) struct Object {
    pub(super) chunked: bool,
    pub(super) damaged: Option<String>,
}

pub(super) fn object(c: &Connection, store: &str, hash: &str) -> Result<Option<Object>> {
    let mut statement =
        c.prepare_cached("SELECT chunked, damaged FROM file_objects WHERE store = ?1 AND hash = ?2")?;
    let row = statement.query_row((store, hash), |r| Ok(Object { chunked: r.get(0)?, damaged: r.get(1)? }));
    Ok(row.optional()?)
}

/// Whether an object is in chunks, if it is there and nothing is known against it.
pub(super) fn form(c: &Connection, store: &str, hash: &str) -> Result<Option<bool>> {
    let known = object(c, store, hash)?.filter(|o| o.damaged.is_none());
    let Some(Object { chunked: true, .. }) = known else { return Ok(known.map(|_| false)) };
    // A chunk of it may be damaged: then what comes heals it.
    let sound = match chunked(c, store, hash)? {
        Some(number) => damaged_chunk(c, store, number)?.is_none(),
        None => false,
    };
    Ok(sound.then_some(true))
}

/// The number of an object that is in chunks.
pub(super) fn chunked(c: &Connection, store: &str, hash: &str) -> Result<Option<i64>> {
    let mut statement = c.prepare_cached("SELECT id FROM file_chunked WHERE store = ?1 AND hash = ?2")?;
    Ok(statement.query_row((store, hash), |r| r.get(0)).optional()?)
}

/// What is known against a chunk of an object.
pub(super) fn damaged_chunk(c: &Connection, store: &str, object: i64) -> Result<Option<String>> {
    let mut statement = c.prepare_cached(
        "SELECT c.damaged FROM file_chunks c WHERE c.store = ?1 AND c.damaged IS NOT NULL
         AND EXISTS (SELECT 1 FROM file_recipes r WHERE r.chunk = c.id AND r.object = ?2) LIMIT 1",
    )?;
    Ok(statement.query_row((store, object), |r| r.get(0)).optional()?)
}

/// A name that no version has is free again.
pub(super) fn forget_name(tx: &Tx<'_>, store: &str, path: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM file_names WHERE store = ?1 AND folded = ?2")?
        .execute((store, name::fold(path)))?;
    Ok(())
}

pub(super) fn usage(c: &Connection, store: &str) -> Result<FilesStats> {
    let mut statement =
        c.prepare_cached("SELECT versions, objects, bytes, stored FROM file_usage WHERE store = ?1")?;
    let number = |r: &Row<'_>, column| r.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0));
    let row = statement.query_row([store], |r| {
        Ok(FilesStats {
            versions: number(r, 0)?,
            objects: number(r, 1)?,
            bytes: number(r, 2)?,
            stored: number(r, 3)?,
        })
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// What one caller put into a store: versions, and their bytes.
pub(super) fn usage_by(c: &Connection, store: &str, actor: &str) -> Result<(u64, u64)> {
    let mut statement =
        c.prepare_cached("SELECT versions, bytes FROM file_usage_by WHERE store = ?1 AND actor = ?2")?;
    let row = statement.query_row((store, actor), |r| {
        Ok((r.get::<_, i64>(0)?.unsigned_abs(), r.get::<_, i64>(1)?.unsigned_abs()))
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// Refuses one more version that takes `stored` bytes of the disk, if the bounds or the name forbid it.
pub(super) fn admit(
    c: &Connection,
    caller: &Caller,
    new: &FileVersion,
    stored: u64,
    config: &StoreConfig,
) -> Result<()> {
    let (store, path) = (&new.store, &new.path);
    let spelt: Option<String> = c
        .prepare_cached("SELECT path FROM file_names WHERE store = ?1 AND folded = ?2")?
        .query_row((store, name::fold(path)), |r| r.get(0))
        .optional()?;
    if let Some(other) = spelt.filter(|s| s != path) {
        return Err(Error::conflict(format!(
            "`{store}/{path}` differs from `{other}` only by case or width"
        ))
        .hint("on many disks these are one file: use the name that is there"));
    }
    let Some(hash) = &new.blake3 else {
        // A deletion is never refused for want of room.
        return match newest(c, store, path)?.filter(|v| v.blake3.is_some()) {
            Some(_) => Ok(()),
            None => Err(Error::not_found(format!("there is no file `{store}/{}`", path.escape_debug()))
                .hint(format!("`shiphold files list {store}` shows what there is"))),
        };
    };
    if usage(c, store)?.versions >= config.quota_files {
        return Err(Error::limit(
            format!("one more version in store `{store}`"),
            format!("{} versions", config.quota_files),
            format!("raise `files.{store}.quota_files` in shiphold.toml, or `shiphold files delete --purge`"),
        ));
    }
    admit_caller(c, caller, new, config)?;
    admit_object(c, (store, hash, stored), config)
}

/// Bounds what one token or plugin puts; the person at the machine has the store's own.
fn admit_caller(c: &Connection, caller: &Caller, new: &FileVersion, config: &StoreConfig) -> Result<()> {
    if matches!(caller, Caller::Operator) {
        return Ok(());
    }
    let (store, actor) = (&new.store, caller.actor());
    let (versions, bytes) = usage_by(c, store, &actor)?;
    if versions >= config.caller_files {
        return Err(Error::limit(
            format!("one more version of `{actor}` in store `{store}`"),
            format!("{} versions of one caller", config.caller_files),
            format!(
                "raise `files.{store}.caller_quota_files` in shiphold.toml, or delete some of them with `--purge`"
            ),
        ));
    }
    if bytes.saturating_add(new.size) > config.caller_bytes {
        return Err(Error::limit(
            format!("the versions of `{actor}` in store `{store}`"),
            format!("{} bytes of one caller", config.caller_bytes),
            format!(
                "raise `files.{store}.caller_quota` in shiphold.toml, or delete some of them with `--purge`"
            ),
        ));
    }
    Ok(())
}

/// Refuses one more object, by store, hash and bytes that it takes, if there is no room for it.
pub(super) fn admit_object(
    c: &Connection,
    (store, hash, stored): (&str, &str, u64),
    config: &StoreConfig,
) -> Result<()> {
    let room = config.quota_bytes.saturating_sub(usage(c, store)?.stored);
    if stored > room && !object_is_known(c, store, hash)? {
        return Err(full(store, config.quota_bytes));
    }
    Ok(())
}

/// Adds the row of an object, with its chunks, unless it is there; one that was damaged is whole again. `packs`: the rows of packs
/// that it shares with others; `None`: it has its own.
pub(super) fn insert_object(
    tx: &Tx<'_>,
    store: &str,
    placed: &Placed,
    packs: Option<&[i64]>,
    now: i64,
) -> Result<()> {
    let hash = placed.hash.as_str();
    let chunks = match &placed.chunks {
        None => None,
        Some(of) => {
            let own;
            let packs = match packs {
                Some(shared) => shared,
                None => {
                    own = chunks::add_packs(tx, store, &of.packs, now)?;
                    own.as_slice()
                }
            };
            Some((of, chunks::add(tx, store, of, packs)?))
        }
    };
    match object(tx, store, hash)? {
        None if placed.is_there => {
            return Err(Error::new(
                Kind::Busy,
                format!("the object {hash} of store `{store}` went meanwhile"),
            )
            .hint("send it again"));
        }
        None => {
            tx.prepare_cached(
                "INSERT INTO file_objects(store, hash, size, created_at, chunked) VALUES (?1,?2,?3,?4,?5)",
            )?
            .execute((store, hash, placed.size.cast_signed(), now, chunks.is_some()))?;
        }
        // Also where it is in chunks, comes as a file of its own, and there was no use for a second form: a chunk is damaged.
        Some(known)
            if !placed.is_there && (known.damaged.is_some() || (known.chunked && chunks.is_none())) =>
        {
            if chunks.is_none() {
                chunks::forget_recipe(tx, store, hash)?;
            }
            tx.prepare_cached(
                "UPDATE file_objects SET damaged = NULL, chunked = ?3 WHERE store = ?1 AND hash = ?2",
            )?
            .execute((store, hash, chunks.is_some()))?;
        }
        // It may have been damaged in a chunk; that is written anew.
        Some(_) => return Ok(()),
    }
    if let Some((of, rows)) = chunks {
        chunks::set_recipe(tx, store, hash, &of.pieces, &rows)?;
    }
    Ok(())
}

/// Adds a version with its name, what it was made of and its audit entry; its object has a row already.
pub(super) fn insert(
    tx: &Tx<'_>,
    caller: &Caller,
    mut new: FileVersion,
    made_of: &Provenance,
) -> Result<FileVersion> {
    let before = newest(tx, &new.store, &new.path)?;
    new.version = before.as_ref().map_or(1, |v| v.version + 1);
    tx.prepare_cached(
        "INSERT INTO file_names(store, folded, path) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?
    .execute((&new.store, name::fold(&new.path), &new.path))?;
    tx.prepare_cached(
        "INSERT INTO file_versions(store, path, version, hash, size, created_at, created_by, media_type, metadata)
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
    )?
    .execute((
        &new.store,
        &new.path,
        new.version.cast_signed(),
        &new.blake3,
        new.size.cast_signed(),
        new.created_at,
        &new.created_by,
        &new.media_type,
        new.metadata.to_string(),
    ))?;
    provenance::insert(tx, &new, made_of)?;
    let action = if new.blake3.is_some() { "files.put" } else { "files.delete" };
    let entry = Entry::new(caller, action, format!("file:{}/{}", new.store, new.path))
        .change(before.and_then(|b| b.blake3), new.blake3.clone())
        .detail(json!({ "version": new.version, "size": new.size }));
    Audit::append(tx, &entry)?;
    Ok(new)
}
