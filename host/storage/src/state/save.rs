//! Saving, deleting, and what goes with it of what is older.

use super::types::{Checkpoint, INLINE_BYTES_MAX, KEYS_KEPT, Save, Saved, Which, check_name};
use super::{States, rows};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::commits::check_key;
use crate::error::{Error, Result};
use crate::files::{LooseObject, Naming, PutOptions};
use crate::schema::now_ns;
use crate::settings::Expect;
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::{Value, json};
use std::io::Read;
use std::sync::atomic::Ordering;

/// Revisions that go with one save, at most, where there are more than `state.keep`.
pub const PRUNE_STEP: u64 = 100;

/// A checkpoint that was looked at and is not saved yet; large content is on the disk already.
#[derive(Debug)]
pub(crate) struct Prepared {
    strategy: String,
    hash: String,
    size: u64,
    content: Content,
    media_type: String,
    metadata: Value,
    expect: Expect,
    key: Option<String>,
}

#[derive(Debug)]
enum Content {
    /// In the row.
    Row(Vec<u8>),
    /// An object of a file store.
    Object(String),
}

impl Prepared {
    /// BLAKE3 of what is asked for, in hexadecimal; the key is not part of it.
    fn digest(&self) -> Result<String> {
        let asked = json!({
            "strategy": self.strategy, "blake3": self.hash, "media_type": self.media_type, "metadata": self.metadata,
            "expect": self.expect,
        });
        let text =
            serde_json::to_vec(&asked).map_err(|e| Error::internal(format!("writing a request: {e}")))?;
        Ok(blake3::hash(&text).to_hex().to_string())
    }
}

impl States {
    /// Saves what `content` gives as the next revision of a strategy's state; durable on return, whole or not at all. Audited.
    pub fn save(&self, caller: &Caller, strategy: &str, content: &mut dyn Read, save: Save) -> Result<Saved> {
        if save.idempotency_key.is_none() {
            // What cannot be saved need not come in whole.
            Self::may_save(caller, strategy)?;
            let there = self.db.read(|c| rows::find(c, strategy, Which::Newest))?;
            holds(strategy, save.expect, there.as_ref())?;
        }
        let (prepared, object) = self.prepare(caller, strategy, content, save)?;
        let digest = prepared.digest()?;
        let of = object.as_ref().map(|o| (o.store.clone(), o.hash.clone()));
        let replayed = |c: &Connection| replay(c, caller, &prepared, &digest);
        if let Some(done) = self.db.read(replayed)? {
            return Ok(done);
        }
        let named = self.files.naming(Vec::new(), object.into_iter().collect())?;
        let made = self.db.write(|tx| {
            if let Some(done) = replay(tx, caller, &prepared, &digest)? {
                return Ok((done, false));
            }
            let (saved, dropped) = self.save_in(tx, caller, &prepared, &named, now_ns())?;
            remember(tx, caller, &prepared, &digest, &saved)?;
            named.reached();
            Ok((Saved { checkpoint: saved, replayed: false }, dropped))
        });
        named.drop_unless_reached(caller);
        match made {
            Ok((saved, dropped)) => {
                drop(named);
                self.saved(dropped)?;
                Ok(saved)
            }
            Err(e) => {
                drop(named);
                // What was moved into its place has no name.
                if let Some((store, hash)) = of {
                    self.drop_later(&store, &hash);
                }
                Err(e)
            }
        }
    }

    fn may_save(caller: &Caller, strategy: &str) -> Result<()> {
        caller.may_write_state(strategy)?;
        check_name(strategy)
    }

    /// What can be done of a save before its transaction. `idempotency_key` is of this save alone: a commit has its own.
    pub(crate) fn prepare(
        &self,
        caller: &Caller,
        strategy: &str,
        content: &mut dyn Read,
        save: Save,
    ) -> Result<(Prepared, Option<LooseObject<'_>>)> {
        Self::may_save(caller, strategy)?;
        save.idempotency_key.as_deref().map_or(Ok(()), check_key)?;
        let options =
            PutOptions { media_type: save.media_type, metadata: save.metadata, ..PutOptions::default() };
        let (media_type, metadata) = options.checked(&format!("strategy `{strategy}`"))?;
        let mut first = Vec::new();
        let most = INLINE_BYTES_MAX as u64;
        Read::take(&mut *content, most.saturating_add(1))
            .read_to_end(&mut first)
            .map_err(|e| Error::io(format!("reading the checkpoint of strategy `{strategy}`"), e))?;
        let (hash, size, content, object) = if first.len() <= INLINE_BYTES_MAX {
            let hash = blake3::hash(&first).to_hex().to_string();
            (hash, first.len() as u64, Content::Row(first), None)
        } else {
            let store = self.rules.store.as_deref().ok_or_else(|| {
                Error::limit(
                    format!("the checkpoint of strategy `{strategy}`"),
                    format!("{INLINE_BYTES_MAX} bytes"),
                    "name a file store for larger ones: `state.store` in shiphold.toml",
                )
            })?;
            let name = format!("state:{strategy}");
            let object = self.files.loose(store, &name, &mut first.as_slice().chain(content))?;
            (object.hash.clone(), object.size, Content::Object(store.into()), Some(object))
        };
        let prepared = Prepared {
            strategy: strategy.into(),
            hash,
            size,
            content,
            media_type,
            metadata,
            expect: save.expect,
            key: save.idempotency_key,
        };
        Ok((prepared, object))
    }

    /// Saves inside of a transaction; [`States::saved`] comes after its commit, with whether an object was dropped.
    pub(crate) fn save_in(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        new: &Prepared,
        named: &Naming<'_>,
        now: i64,
    ) -> Result<(Checkpoint, bool)> {
        let there = rows::find(tx, &new.strategy, Which::Newest)?;
        holds(&new.strategy, new.expect, there.as_ref())?;
        let (content, store) = match &new.content {
            Content::Row(bytes) => (Some(bytes.as_slice()), None),
            Content::Object(store) => {
                named.insert_loose(tx, (store, &new.hash), now)?;
                (None, Some(store.clone()))
            }
        };
        let checkpoint = Checkpoint {
            strategy: new.strategy.clone(),
            revision: there.as_ref().map_or(1, |t| t.revision + 1),
            blake3: Some(new.hash.clone()),
            size: new.size,
            media_type: new.media_type.clone(),
            metadata: new.metadata.clone(),
            saved_at: rows::next_time(tx, now)?,
            saved_by: caller.actor(),
            store,
        };
        let keep = self.rules.keep;
        insert(tx, caller, "state.save", there, &checkpoint, content, |strategy, revision| {
            prune(tx, strategy, revision.saturating_sub(keep), PRUNE_STEP)
        })
        .map(|dropped| (checkpoint, dropped))
    }

    /// After the commit of a transaction with [`States::save_in`].
    pub(crate) fn saved(&self, dropped: bool) -> Result<()> {
        if dropped {
            self.dropped.store(true, Ordering::Relaxed);
        }
        self.told()
    }

    /// Says that a strategy has no state any more: a revision without content. Its history stays; with `purge`, for which the caller
    /// must be admin, nothing else of it does. Also on a read-only disk. Audited.
    pub fn delete(&self, caller: &Caller, strategy: &str, expect: Expect, purge: bool) -> Result<Checkpoint> {
        let (scope, action) = match purge {
            true => (Scope::Admin, "state.purge"),
            false => (Scope::Write, "state.delete"),
        };
        caller.require(scope, "delete the state of a strategy")?;
        check_name(strategy)?;
        let (gone, dropped) = self.db.write_always(|tx| {
            let there = rows::find(tx, strategy, Which::Newest)?;
            holds(strategy, expect, there.as_ref())?;
            let newest = match &there {
                // A state that is deleted already can be purged.
                Some(t) if purge || t.blake3.is_some() => t,
                _ => return Err(super::load::none(strategy, there.as_ref())),
            };
            let gone = Checkpoint {
                revision: newest.revision + 1,
                blake3: None,
                size: 0,
                metadata: json!({}),
                saved_at: rows::next_time(tx, now_ns())?,
                saved_by: caller.actor(),
                store: None,
                ..newest.clone()
            };
            let (keep, step) = if purge { (1, u64::MAX) } else { (self.rules.keep, PRUNE_STEP) };
            insert(tx, caller, action, there, &gone, None, |strategy, revision| {
                if purge {
                    tx.prepare_cached("DELETE FROM state_keys WHERE strategy = ?1")?.execute([strategy])?;
                }
                prune(tx, strategy, revision.saturating_sub(keep), step)
            })
            .map(|dropped| (gone, dropped))
        })?;
        self.saved(dropped)?;
        Ok(gone)
    }
}

/// Adds a revision with its audit entry; gives back whether an object was dropped by `older`, which takes older ones away and counts
/// them.
fn insert(
    tx: &Tx<'_>,
    caller: &Caller,
    action: &str,
    before: Option<Checkpoint>,
    new: &Checkpoint,
    content: Option<&[u8]>,
    older: impl FnOnce(i64, u64) -> Result<Pruned>,
) -> Result<bool> {
    let strategy = rows::strategy(tx, &new.strategy)?;
    tx.prepare_cached(
        "INSERT INTO state_checkpoints(strategy, revision, hash, size, media_type, metadata, saved_at, saved_by, store, content)
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
    )?
    .execute((
        strategy,
        new.revision.cast_signed(),
        &new.blake3,
        new.size.cast_signed(),
        &new.media_type,
        new.metadata.to_string(),
        new.saved_at,
        &new.saved_by,
        &new.store,
        content,
    ))?;
    let pruned = older(strategy, new.revision)?;
    let detail = json!({ "revision": new.revision, "size": new.size, "pruned": pruned.revisions });
    let entry = Entry::new(caller, action, format!("state:{}", new.strategy))
        .change(before.and_then(|b| b.blake3), new.blake3.clone())
        .detail(detail);
    Audit::append(tx, &entry)?;
    Ok(pruned.objects)
}

/// What was taken away.
#[derive(Debug, Default)]
struct Pruned {
    revisions: u64,
    /// Objects among it.
    objects: bool,
}

/// Takes revisions up to one away, the oldest first, at most so many; their objects wait for being removed.
fn prune(tx: &Tx<'_>, strategy: i64, upto: u64, most: u64) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    if upto == 0 {
        return Ok(pruned);
    }
    let mut gone = tx.prepare_cached(
        "DELETE FROM state_checkpoints WHERE seq IN (SELECT seq FROM state_checkpoints WHERE strategy = ?1 AND revision <= ?2
         ORDER BY revision LIMIT ?3) RETURNING store, hash",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = gone.query_map((strategy, upto.cast_signed(), most), |r| {
        Ok((r.get::<_, Option<String>>(0)?, r.get::<_, Option<String>>(1)?))
    })?;
    for row in rows {
        pruned.revisions += 1;
        if let (Some(store), Some(hash)) = row? {
            wait(tx, &store, &hash)?;
            pruned.objects = true;
        }
    }
    Ok(pruned)
}

/// An object that may have lost its last name.
pub(super) fn wait(tx: &Tx<'_>, store: &str, hash: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO state_dropped(store, hash) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET looks = 0",
    )?
    .execute((store, hash))?;
    Ok(())
}

/// Refuses a save that expects another state than the one that is there.
fn holds(strategy: &str, expect: Expect, there: Option<&Checkpoint>) -> Result<()> {
    let revision = there.map_or(0, |t| t.revision);
    match (expect, there.filter(|t| t.blake3.is_some())) {
        (Expect::Absent, Some(t)) => Err(Error::conflict(format!(
            "strategy `{strategy}` has a checkpoint, at revision {}",
            t.revision
        ))
        .hint("load it and go on from there")),
        (Expect::Revision(want), _) if want != revision => Err(Error::conflict(format!(
            "the state of strategy `{strategy}` is at revision {revision}, not {want}"
        ))
        .hint("somebody else saved it: load it again and decide anew")),
        _ => Ok(()),
    }
}

/// The answer of an earlier request with the same key.
fn replay(c: &Connection, caller: &Caller, new: &Prepared, digest: &str) -> Result<Option<Saved>> {
    let Some(key) = &new.key else { return Ok(None) };
    let there: Option<(String, String)> = c
        .prepare_cached(
            "SELECT k.digest, k.answer FROM state_strategies s JOIN state_keys k ON k.strategy = s.id
             WHERE s.name = ?1 AND k.actor = ?2 AND k.idempotency_key = ?3",
        )?
        .query_row((&new.strategy, caller.actor(), key), |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    match there {
        None => Ok(None),
        Some((of, answer)) if of == digest => {
            let checkpoint = serde_json::from_str(&answer)
                .map_err(|e| Error::corrupt(format!("the answer of an earlier save cannot be read: {e}")))?;
            Ok(Some(Saved { checkpoint, replayed: true }))
        }
        Some(_) => Err(Error::conflict(format!(
            "the idempotency key `{key}` was used for another checkpoint of strategy `{}`",
            new.strategy
        ))
        .hint("give each save a key of its own, and the same one only to send it again")),
    }
}

/// Keeps the answer under its key, and forgets keys that are old.
fn remember(tx: &Tx<'_>, caller: &Caller, new: &Prepared, digest: &str, saved: &Checkpoint) -> Result<()> {
    let Some(key) = &new.key else { return Ok(()) };
    let strategy = rows::strategy(tx, &new.strategy)?;
    let answer =
        serde_json::to_string(saved).map_err(|e| Error::internal(format!("writing an answer: {e}")))?;
    tx.prepare_cached(
        "INSERT INTO state_keys(strategy, revision, actor, idempotency_key, digest, answer) VALUES (?1,?2,?3,?4,?5,?6)",
    )?
    .execute((strategy, saved.revision.cast_signed(), caller.actor(), key, digest, answer))?;
    let old = saved.revision.saturating_sub(KEYS_KEPT).cast_signed();
    tx.prepare_cached("DELETE FROM state_keys WHERE strategy = ?1 AND revision <= ?2")?
        .execute((strategy, old))?;
    Ok(())
}
