//! The rows of files: names, versions, objects.

use super::name;
use super::types::{FileVersion, FilesStats, StoreConfig, full};
use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::error::{Error, Result};
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

pub(super) fn object_is_known(c: &Connection, store: &str, hash: &str) -> Result<bool> {
    let mut statement = c.prepare_cached("SELECT 1 FROM file_objects WHERE store = ?1 AND hash = ?2")?;
    Ok(statement.exists((store, hash))?)
}

pub(super) fn usage(c: &Connection, store: &str) -> Result<FilesStats> {
    let versions: i64 =
        c.query_row("SELECT count(*) FROM file_versions WHERE store = ?1", [store], |r| r.get(0))?;
    let (objects, bytes): (i64, i64) = c.query_row(
        "SELECT count(*), coalesce(sum(size), 0) FROM file_objects WHERE store = ?1",
        [store],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )?;
    Ok(FilesStats {
        versions: versions.unsigned_abs(),
        objects: objects.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
    })
}

/// What a store will hold with one more version; an error when the bounds or the name forbid it.
pub(super) fn admit(
    c: &Connection,
    new: &FileVersion,
    config: &StoreConfig,
    used: FilesStats,
) -> Result<FilesStats> {
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
    let mut after = used;
    after.versions += 1;
    let Some(hash) = &new.blake3 else {
        // A deletion is never refused for want of room.
        return match newest(c, store, path)?.filter(|v| v.blake3.is_some()) {
            Some(_) => Ok(after),
            None => Err(Error::not_found(format!("there is no file `{store}/{}`", path.escape_debug()))
                .hint(format!("`shiphold files list {store}` shows what there is"))),
        };
    };
    if after.versions > config.quota_files {
        return Err(Error::limit(
            format!("one more version in store `{store}`"),
            format!("{} versions", config.quota_files),
            format!("raise `files.{store}.quota_files` in shiphold.toml, or `shiphold files delete --purge`"),
        ));
    }
    admit_object(c, (store, hash, new.size), config, after)
}

/// What a store will hold with one more object, by store, hash and size; an error when there is no room for it.
pub(super) fn admit_object(
    c: &Connection,
    (store, hash, size): (&str, &str, u64),
    config: &StoreConfig,
    used: FilesStats,
) -> Result<FilesStats> {
    let mut after = used;
    if !object_is_known(c, store, hash)? {
        after.objects += 1;
        after.bytes = after.bytes.saturating_add(size);
        if after.bytes > config.quota_bytes {
            return Err(full(store, config.quota_bytes));
        }
    }
    Ok(after)
}

/// Adds the row of an object, unless it is there.
pub(super) fn insert_object(tx: &Tx<'_>, store: &str, hash: &str, size: u64, created_at: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO file_objects(store, hash, size, created_at) VALUES (?1,?2,?3,?4) ON CONFLICT DO NOTHING",
    )?
    .execute((store, hash, size.cast_signed(), created_at))?;
    Ok(())
}

/// Adds a version with its name, its object and its audit entry.
pub(super) fn insert(tx: &Tx<'_>, caller: &Caller, mut new: FileVersion) -> Result<FileVersion> {
    let before = newest(tx, &new.store, &new.path)?;
    new.version = before.as_ref().map_or(1, |v| v.version + 1);
    tx.prepare_cached(
        "INSERT INTO file_names(store, folded, path) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?
    .execute((&new.store, name::fold(&new.path), &new.path))?;
    if let Some(hash) = &new.blake3 {
        insert_object(tx, &new.store, hash, new.size, new.created_at)?;
    }
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
    let action = if new.blake3.is_some() { "files.put" } else { "files.delete" };
    let entry = Entry::new(caller, action, format!("file:{}/{}", new.store, new.path))
        .change(before.and_then(|b| b.blake3), new.blake3.clone())
        .detail(json!({ "version": new.version, "size": new.size }));
    Audit::append(tx, &entry)?;
    Ok(new)
}
