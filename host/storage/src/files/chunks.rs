//! The rows of chunks, packs and recipes.

use super::content::{Piece, Place, PlacedChunks};
use super::pins::{ChunkHash, Pinned};
use crate::error::{Error, Kind, Result};
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::BTreeSet;

/// The rows of those chunks that a store has and nothing is known against.
pub(super) fn sound(c: &Connection, store: &str, hashes: &[ChunkHash]) -> Result<Vec<Option<i64>>> {
    let mut statement =
        c.prepare_cached("SELECT id FROM file_chunks WHERE store = ?1 AND hash = ?2 AND damaged IS NULL")?;
    hashes.iter().map(|hash| Ok(statement.query_row((store, hash), |r| r.get(0)).optional()?)).collect()
}

/// Adds packs; their rows, in the same order.
pub(super) fn add_packs(tx: &Tx<'_>, store: &str, packs: &[(String, u64)], now: i64) -> Result<Vec<i64>> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO file_packs(store, name, bytes, created_at) VALUES (?1,?2,?3,?4) RETURNING id",
    )?;
    let add = |(name, bytes): &(String, u64)| {
        Ok(insert.query_row((store, name, bytes.cast_signed(), now), |r| r.get(0))?)
    };
    packs.iter().map(add).collect()
}

/// Adds the chunks of a content that are new, to packs that have rows already; the row of each of its pieces.
pub(super) fn add(tx: &Tx<'_>, store: &str, of: &PlacedChunks, packs: &[i64]) -> Result<Vec<i64>> {
    // What was found damaged between the look and now cannot be relied on.
    let mut any =
        tx.prepare_cached("SELECT 1 FROM file_chunks WHERE store = ?1 AND damaged IS NOT NULL LIMIT 1")?;
    let any = any.exists([store])?;
    let mut damaged = tx.prepare_cached("SELECT 1 FROM file_chunks WHERE id = ?1 AND damaged IS NOT NULL")?;
    let mut upsert = tx.prepare_cached(
        "INSERT INTO file_chunks(store, hash, size, pack, at, stored) VALUES (?1,?2,?3,?4,?5,?6)
         ON CONFLICT(store, hash) DO UPDATE SET pack = excluded.pack, at = excluded.at, stored = excluded.stored,
         damaged = NULL WHERE damaged IS NOT NULL",
    )?;
    let mut find = tx.prepare_cached("SELECT id FROM file_chunks WHERE store = ?1 AND hash = ?2")?;
    let mut rows = Vec::with_capacity(of.pieces.len());
    for Piece { size, hash, place, .. } in &of.pieces {
        if let Place::There(id) = place {
            if any && damaged.exists([id])? {
                return Err(Error::new(
                    Kind::Busy,
                    format!("a chunk in store `{store}` was found damaged meanwhile"),
                )
                .hint("send the file again: the chunk is stored anew"));
            }
            rows.push(*id);
            continue;
        }
        if let Place::New { pack, at, stored } = place {
            let pack = packs.get(*pack).ok_or_else(|| Error::internal("a chunk without its pack"))?;
            let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            upsert.execute((store, hash, signed(*size), pack, at.cast_signed(), signed(*stored)))?;
        }
        rows.push(find.query_row((store, hash), |r| r.get(0))?);
    }
    Ok(rows)
}

/// Says of which chunks an object is made, in the place of what was said before.
pub(super) fn set_recipe(
    tx: &Tx<'_>,
    store: &str,
    hash: &str,
    pieces: &[Piece],
    chunks: &[i64],
) -> Result<()> {
    forget_recipe(tx, store, hash)?;
    let object: i64 = tx
        .prepare_cached("INSERT INTO file_chunked(store, hash) VALUES (?1, ?2) RETURNING id")?
        .query_row((store, hash), |r| r.get(0))?;
    let mut insert = tx.prepare_cached("INSERT INTO file_recipes(object, at, chunk) VALUES (?1,?2,?3)")?;
    for (piece, chunk) in pieces.iter().zip(chunks) {
        insert.execute((object, piece.at.cast_signed(), chunk))?;
    }
    Ok(())
}

/// An object is in no chunks any more.
pub(super) fn forget_recipe(tx: &Tx<'_>, store: &str, hash: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM file_chunked WHERE store = ?1 AND hash = ?2")?.execute((store, hash))?;
    Ok(())
}

/// The chunks of an object.
pub(super) fn of_object(c: &Connection, store: &str, hash: &str) -> Result<Vec<i64>> {
    let mut statement = c.prepare_cached(
        "SELECT DISTINCT r.chunk FROM file_chunked o JOIN file_recipes r ON r.object = o.id WHERE o.store = ?1 AND o.hash = ?2",
    )?;
    let rows = statement.query_map((store, hash), |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Takes away those of some chunks that no object is made of and nobody holds; how many, and the packs that they were in.
pub(super) fn drop_unused(tx: &Tx<'_>, chunks: &[i64], pinned: &Pinned) -> Result<(u64, BTreeSet<i64>)> {
    let mut hash = tx.prepare_cached(
        "SELECT hash FROM file_chunks WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM file_recipes r WHERE r.chunk = file_chunks.id)",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM file_chunks WHERE id = ?1 RETURNING pack")?;
    let (mut gone, mut packs) = (0, BTreeSet::new());
    for id in chunks {
        let unused: Option<ChunkHash> = hash.query_row([id], |r| r.get(0)).optional()?;
        if unused.is_some_and(|hash| !pinned.has_chunk(&hash)) {
            packs.insert(delete.query_row([id], |r| r.get(0))?);
            gone += 1;
        }
    }
    Ok((gone, packs))
}

/// Takes away those of some packs that hold no chunk and nobody reads; their names and bytes, for removing the files.
pub(super) fn drop_empty(tx: &Tx<'_>, packs: &BTreeSet<i64>, pinned: &Pinned) -> Result<Vec<(String, u64)>> {
    let mut delete = tx.prepare_cached(
        "DELETE FROM file_packs WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM file_chunks c WHERE c.pack = file_packs.id)
         RETURNING name, bytes",
    )?;
    let mut gone = Vec::new();
    for id in packs.iter().filter(|id| !pinned.has_pack(**id)) {
        let row = delete.query_row([id], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs())));
        gone.extend(row.optional()?);
    }
    Ok(gone)
}

/// A chunk and where it is.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) id: i64,
    /// Where it begins in the content.
    pub(super) at: u64,
    pub(super) size: usize,
    pub(super) hash: ChunkHash,
    pub(super) pack: i64,
    pub(super) pack_name: String,
    pub(super) pack_at: u64,
    pub(super) stored: usize,
}

/// The chunks of an object from the one that has the byte `from` to before `to`, at most `limit`.
pub(super) fn located(c: &Connection, object: i64, from: u64, to: u64, limit: i64) -> Result<Vec<Located>> {
    let mut statement = c.prepare_cached(
        "SELECT c.id, r.at, c.size, c.hash, c.pack, p.name, c.at, c.stored
         FROM file_recipes r JOIN file_chunks c ON c.id = r.chunk JOIN file_packs p ON p.id = c.pack
         WHERE r.object = ?1 AND r.at >= (SELECT coalesce(max(at), 0) FROM file_recipes WHERE object = ?1 AND at <= ?2)
         AND r.at < ?3 ORDER BY r.at LIMIT ?4",
    )?;
    let rows = statement.query_map((object, from.cast_signed(), to.cast_signed(), limit), locate)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The columns of [`Located`], in the order of its fields.
pub(super) fn locate(r: &rusqlite::Row<'_>) -> rusqlite::Result<Located> {
    let size = |n: i64| usize::try_from(n).unwrap_or(0);
    Ok(Located {
        id: r.get(0)?,
        at: r.get::<_, i64>(1)?.unsigned_abs(),
        size: size(r.get(2)?),
        hash: r.get(3)?,
        pack: r.get(4)?,
        pack_name: r.get(5)?,
        pack_at: r.get::<_, i64>(6)?.unsigned_abs(),
        stored: size(r.get(7)?),
    })
}

/// Is there a recipe of this number?
pub(super) fn is_chunked(c: &Connection, object: i64) -> Result<bool> {
    Ok(c.prepare_cached("SELECT 1 FROM file_chunked WHERE id = ?1")?.exists([object])?)
}

/// Are all of these packs there?
pub(super) fn packs_are_there(c: &Connection, packs: &BTreeSet<i64>) -> Result<bool> {
    let mut statement = c.prepare_cached("SELECT 1 FROM file_packs WHERE id = ?1")?;
    for pack in packs {
        if !statement.exists([pack])? {
            return Ok(false);
        }
    }
    Ok(true)
}
