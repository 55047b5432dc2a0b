//! Content that comes in parts: begun, written on from an offset, finished as the next version of a name, or abandoned. What was
//! acknowledged is there after the loss of power; the sender asks how much that is and goes on.

use super::collect::remove;
use super::disk::Area;
use super::refused::Reached;
use super::store::{FileStores, Store};
use super::stream::within;
use super::types::{FileVersion, Provenance, PutOptions, StoreConfig, full};
use crate::audit::{self, Audit};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::schema::now_ns;
use crate::settings::Expect;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Read, Write as _};
use std::sync::Mutex;

/// Uploads of one store that are not finished.
pub const UPLOADS_MAX: i64 = 1_000;
/// Seconds after its last part at which an upload is given up.
pub const UPLOAD_IDLE_S: i64 = 86_400;
/// Bytes of one step of a part.
const STEP_BYTES: usize = 256 << 10;

/// Uploads that somebody writes to, and the bytes of the part of each that are not counted as received yet.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<BTreeMap<String, u64>>);

/// One upload, for one writer at a time.
struct Turn<'a> {
    busy: &'a Busy,
    id: String,
}

impl Busy {
    fn take(&self, id: &str) -> Result<Turn<'_>> {
        if let Entry::Vacant(free) = lock(&self.0).entry(id.into()) {
            free.insert(0);
            return Ok(Turn { busy: self, id: id.into() });
        }
        Err(Error::new(Kind::Busy, format!("somebody writes to the upload {id} at this moment"))
            .hint("send its parts one after another"))
    }
}

impl Turn<'_> {
    /// Takes room for so many bytes of its part; `false`: with what all others are at it is more than `room`.
    fn grow(&self, bytes: u64, room: u64) -> bool {
        let mut all = lock(&self.busy.0);
        let others: u64 = all.iter().filter(|(id, _)| **id != self.id).map(|(_, bytes)| bytes).sum();
        if others.saturating_add(bytes) > room {
            return false;
        }
        all.insert(self.id.clone(), bytes);
        true
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.busy.0).remove(&self.id);
    }
}

/// What bounds a part: bytes that uploads of the store may still take, and those of its sender.
struct Room {
    store: u64,
    caller: u64,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Upload {
    pub id: String,
    pub store: String,
    pub path: String,
    pub by: String,
    /// Bytes that are here, durably: where the next part begins.
    pub received: u64,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
    /// When it is given up unless a part comes.
    pub expires_at: i64,
    /// The version that it became.
    pub version: Option<u64>,
    #[serde(skip)]
    said: String,
}

/// What was said of the file when its upload began.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    media_type: Option<String>,
    metadata: Value,
    provenance: Provenance,
}

const COLUMNS: &str = "id, store, path, actor, received, created_at, touched_at, version, options";

fn read(r: &Row<'_>) -> rusqlite::Result<Upload> {
    let touched: i64 = r.get(6)?;
    Ok(Upload {
        id: r.get(0)?,
        store: r.get(1)?,
        path: r.get(2)?,
        by: r.get(3)?,
        received: r.get::<_, i64>(4)?.unsigned_abs(),
        created_at: r.get(5)?,
        expires_at: touched.saturating_add(UPLOAD_IDLE_S * 1_000_000_000),
        version: r.get::<_, Option<i64>>(7)?.map(i64::unsigned_abs),
        said: r.get(8)?,
    })
}

fn find(c: &Connection, store: &str, id: &str) -> Result<Upload> {
    let sql = format!("SELECT {COLUMNS} FROM file_uploads WHERE id = ?1 AND store = ?2");
    c.prepare_cached(&sql)?.query_row((id, store), read).optional()?.ok_or_else(|| {
        Error::not_found(format!("store `{store}` has no upload `{}`", id.escape_debug()))
            .hint("it may have been given up: begin another one")
    })
}

impl FileStores {
    /// Begins an upload that becomes the next version of a name when it is finished. Audited then.
    pub fn begin_upload(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        options: PutOptions,
    ) -> Result<Upload> {
        self.may_put(caller, store, path)?;
        (self.writable)()?;
        let provenance = options.provenance.clone();
        let (media_type, metadata) = options.checked(&format!("`{store}/{path}`"))?;
        let said = serde_json::to_string(&Said { media_type: Some(media_type), metadata, provenance })
            .map_err(|e| Error::internal(format!("writing the options of an upload: {e}")))?;
        let (id, now) = (super::content::new_name()?, now_ns());
        self.db.write(|tx| {
            let open: i64 = tx
                .prepare_cached("SELECT count(*) FROM file_uploads WHERE store = ?1 AND version IS NULL")?
                .query_row([store], |r| r.get(0))?;
            if open >= UPLOADS_MAX {
                return Err(Error::limit(
                    format!("one more upload to store `{store}`"),
                    UPLOADS_MAX,
                    "finish or abandon some: `shiphold files uploads` lists them",
                ));
            }
            tx.prepare_cached(
                "INSERT INTO file_uploads(id, store, path, actor, options, received, created_at, touched_at)
                 VALUES (?1,?2,?3,?4,?5,0,?6,?6)",
            )?
            .execute((&id, store, path, caller.actor(), said, now))?;
            find(tx, store, &id)
        })
    }

    /// What is known of an upload. Of others' only an admin is told.
    pub fn upload(&self, caller: &Caller, store: &str, id: &str) -> Result<Upload> {
        self.store(store)?;
        let upload = self.db.read(|c| find(c, store, id))?;
        if upload.by != caller.actor() {
            caller.require(Scope::Admin, "look at uploads of others")?;
        }
        Ok(upload)
    }

    /// The uploads of a store that are not finished, oldest first; at most [`UPLOADS_MAX`]. Admin.
    pub fn uploads(&self, caller: &Caller, store: &str) -> Result<Vec<Upload>> {
        caller.require(Scope::Admin, "list uploads")?;
        self.store(store)?;
        self.db.read(|c| {
            let sql = format!(
                "SELECT {COLUMNS} FROM file_uploads WHERE store = ?1 AND version IS NULL ORDER BY touched_at LIMIT ?2"
            );
            let mut statement = c.prepare_cached(&sql)?;
            let rows = statement.query_map((store, UPLOADS_MAX), read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Adds a part that begins at `offset`, which must be what was received; `blake3` is the hash of the part, in hexadecimal. Durable
    /// on return. A part that does not come whole, or not with its hash, is as if it had not been sent.
    pub fn append_upload(
        &self,
        caller: &Caller,
        store: &str,
        id: &str,
        (offset, blake3): (u64, &str),
        part: &mut dyn Read,
    ) -> Result<Upload> {
        self.open_upload(caller, store, id)?;
        let s = self.store(store)?;
        (self.writable)()?;
        let turn = s.uploading.take(id)?;
        // Since the first look somebody may have gone on with it or ended it.
        let upload = self.open_upload(caller, store, id)?;
        let here = upload.received;
        if offset != here {
            return Err(Error::conflict(format!(
                "the upload {id} has {here} bytes; this part begins at {offset}"
            ))
            .hint("ask how much was received and go on from there"));
        }
        let room = self.db.read(|c| room(c, &upload, &s.config))?;
        let size = append(s, &turn, &upload, blake3, &room, part)?;
        let reached = Reached::default();
        let moved = self.db.write(|tx| {
            // Others went on meanwhile: together they may be too many.
            let left = self::room(tx, &upload, &s.config)?;
            within_room(&upload, size - offset, &left, &s.config)?;
            let moved = tx
                .prepare_cached(
                    "UPDATE file_uploads SET received = ?2, touched_at = ?4 WHERE id = ?1 AND received = ?3 AND version IS NULL",
                )?
                .execute((id, size.cast_signed(), offset.cast_signed(), now_ns()))?;
            if moved == 0 {
                return Err(Error::conflict(format!("the upload {id} was given up or went on meanwhile")));
            }
            find(tx, store, id).map(|upload| reached.end(upload))
        });
        if moved.is_err() && !reached.is() {
            cut(s, &upload);
        }
        moved
    }

    /// Makes the content the next version of its name. `blake3` and `size`, where they are given, are what it must be. Doing it again
    /// gives the same version.
    pub fn finish_upload(
        &self,
        caller: &Caller,
        store: &str,
        id: &str,
        (blake3, size): (Option<&str>, Option<u64>),
    ) -> Result<FileVersion> {
        let done = |upload: &Upload| {
            upload.version.map(|version| self.stat(caller, store, &upload.path, Some(version)))
        };
        if let Some(made) = done(&self.upload(caller, store, id)?) {
            return made;
        }
        let s = self.store(store)?;
        let _turn = s.uploading.take(id)?;
        // Whoever had the turn before may have finished it.
        let upload = self.upload(caller, store, id)?;
        if let Some(made) = done(&upload) {
            return made;
        }
        let Upload { path, received, said, .. } = upload;
        if size.is_some_and(|n| n != received) {
            return Err(Error::conflict(format!(
                "the upload {id} has {received} bytes instead of {}",
                size.unwrap_or_default()
            ))
            .hint("send what is missing, or abandon it"));
        }
        let Said { media_type, metadata, provenance } = serde_json::from_str(&said)
            .map_err(|e| Error::corrupt(format!("the options of the upload {id} cannot be read: {e}")))?;
        let mut content: Box<dyn Read> = if received == 0 {
            Box::new(io::empty())
        } else {
            let file = s.disk.open(Area::Uploads, id).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => {
                    Error::corrupt(format!("the content of the upload {id} is missing"))
                }
                _ => Error::io(format!("reading the upload {id}"), e),
            })?;
            Box::new(file.take(received))
        };
        let options = PutOptions { media_type, metadata, provenance };
        let wanted = blake3.map(str::to_ascii_lowercase);
        let whole = |made: &FileVersion| {
            if made.size == received && wanted.as_deref().is_none_or(|w| made.blake3.as_deref() == Some(w)) {
                return Ok(());
            }
            let what = format!("the content of the upload {id} does not match its hash");
            Err(Error::invalid(what).hint("abandon it and send the file again"))
        };
        let stored =
            self.put_with(caller, store, &path, &mut content, options, Expect::Any, whole, |tx, made| {
                let ended = tx
                    .prepare_cached(
                        "UPDATE file_uploads SET version = ?2, touched_at = ?3
                         WHERE id = ?1 AND version IS NULL AND received = ?4",
                    )?
                    .execute((id, made.version.cast_signed(), now_ns(), received.cast_signed()))?;
                if ended == 0 {
                    return Err(Error::conflict(format!(
                        "the upload {id} was given up or went on meanwhile"
                    )));
                }
                Ok(())
            })?;
        left(s, store, id);
        Ok(stored)
    }

    /// Gives an upload up. Also on a read-only disk.
    pub fn abandon_upload(&self, caller: &Caller, store: &str, id: &str) -> Result<()> {
        self.open_upload(caller, store, id)?;
        let s = self.store(store)?;
        let _turn = s.uploading.take(id)?;
        let upload = self.open_upload(caller, store, id)?;
        self.db.write_always(|tx| {
            tx.prepare_cached("DELETE FROM file_uploads WHERE id = ?1 AND version IS NULL")?.execute([id])?;
            let entry = audit::Entry::new(caller, "files.abandon", format!("file:{store}/{}", upload.path));
            Audit::append(tx, &entry.detail(json!({ "upload": id, "received": upload.received }))).map(drop)
        })?;
        left(s, store, id);
        Ok(())
    }

    /// Gives up uploads to which nothing came for [`UPLOAD_IDLE_S`], and forgets finished ones as old; how many.
    pub(super) fn expire_uploads(&self, store: &str, now: i64) -> Result<u64> {
        let s = self.store(store)?;
        let before = now.saturating_sub(UPLOAD_IDLE_S * 1_000_000_000);
        let old: Vec<String> = self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT id FROM file_uploads WHERE store = ?1 AND touched_at < ?2 LIMIT ?3",
            )?;
            let rows = statement.query_map((store, before, UPLOADS_MAX), |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        let mut gone = 0;
        for id in old {
            // Somebody writes to it after all.
            let Ok(_turn) = s.uploading.take(&id) else { continue };
            let idle = self.db.write_always(|tx| {
                let mut delete =
                    tx.prepare_cached("DELETE FROM file_uploads WHERE id = ?1 AND touched_at < ?2")?;
                Ok(delete.execute((&id, before))? as u64)
            })?;
            // One to which a part came after the look goes on.
            if idle > 0 {
                gone += idle;
                left(s, store, &id);
            }
        }
        Ok(gone)
    }

    fn open_upload(&self, caller: &Caller, store: &str, id: &str) -> Result<Upload> {
        let upload = self.upload(caller, store, id)?;
        match upload.version {
            None => Ok(upload),
            Some(version) => Err(Error::conflict(format!(
                "the upload {id} is finished: version {version} of `{store}/{}`",
                upload.path
            ))),
        }
    }
}

/// Removes what no upload needs any more. What is done is done: if this fails, a collection takes it.
fn left(s: &Store, store: &str, id: &str) {
    if let Err(e) = remove(s.disk.as_ref(), store, Area::Uploads, id) {
        tracing::debug!(store, upload = id, error = %e, "the parts of an upload were left");
    }
}

/// What uploads of a store, and those of the sender of one, may still take. Their content is counted once more when they are finished.
fn room(c: &Connection, of: &Upload, config: &StoreConfig) -> Result<Room> {
    let (all, own): (i64, i64) = c
        .prepare_cached(
            "SELECT coalesce(sum(received), 0), coalesce(sum(iif(actor = ?2, received, 0)), 0)
             FROM file_uploads WHERE store = ?1 AND version IS NULL",
        )?
        .query_row((&of.store, &of.by), |r| Ok((r.get(0)?, r.get(1)?)))?;
    let is_operator = of.by == Caller::Operator.actor();
    Ok(Room {
        store: config.quota_bytes.saturating_sub(all.unsigned_abs()),
        caller: if is_operator { u64::MAX } else { config.caller_bytes.saturating_sub(own.unsigned_abs()) },
    })
}

fn within_room(of: &Upload, bytes: u64, room: &Room, config: &StoreConfig) -> Result<()> {
    let store = &of.store;
    if bytes > room.store {
        return Err(full(store, config.quota_bytes));
    }
    if bytes > room.caller {
        return Err(Error::limit(
            format!("the uploads of `{}` to store `{store}`", of.by),
            format!("{} bytes of one caller", config.caller_bytes),
            format!("finish or abandon some, or raise `files.{store}.caller_quota` in shiphold.toml"),
        ));
    }
    Ok(())
}

/// Writes a part behind what is there and syncs it; what the file has then. What came of one that is refused goes: nobody counts it.
fn append(
    s: &Store,
    turn: &Turn<'_>,
    of: &Upload,
    blake3: &str,
    room: &Room,
    part: &mut dyn Read,
) -> Result<u64> {
    add(s, turn, of, blake3, room, part).inspect_err(|_| cut(s, of))
}

/// Cuts what came of a part that was refused.
fn cut(s: &Store, of: &Upload) {
    if let Err(e) = s.disk.append(&of.id, of.received) {
        tracing::debug!(store = of.store, upload = of.id, error = %e, "a part that was refused was left");
    }
}

fn add(
    s: &Store,
    turn: &Turn<'_>,
    of: &Upload,
    blake3: &str,
    room: &Room,
    part: &mut dyn Read,
) -> Result<u64> {
    let (store, path, offset) = (of.store.as_str(), of.path.as_str(), of.received);
    let io = |e| Error::io(format!("storing a part of `{store}/{path}`"), e);
    let mut file = s.disk.append(&of.id, offset).map_err(io)?;
    let mut hasher = blake3::Hasher::new();
    let mut step = vec![0; STEP_BYTES];
    let mut size = offset;
    loop {
        let n = match part.read(&mut step) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io(format!("reading a part of `{store}/{path}`"), e)),
        };
        let bytes = step.get(..n).ok_or_else(|| {
            Error::internal(format!("a part of `{store}/{path}` gave {n} bytes instead of {STEP_BYTES}"))
        })?;
        size = size.saturating_add(n as u64);
        within((store, path), size, &s.config)?;
        within_room(of, size - offset, room, &s.config)?;
        if !turn.grow(size - offset, room.store) {
            return Err(full(store, s.config.quota_bytes));
        }
        hasher.update(bytes);
        file.write_all(bytes).map_err(io)?;
    }
    if hasher.finalize().to_hex().as_str() != blake3.to_ascii_lowercase() {
        return Err(Error::invalid(format!(
            "the part of `{store}/{path}` at {offset} does not match its hash"
        ))
        .hint("it was changed on its way: send it again"));
    }
    file.sync().map_err(io)?;
    drop(file);
    s.disk.sync_folder_of(Area::Uploads, &of.id).map_err(io)?;
    Ok(size)
}
