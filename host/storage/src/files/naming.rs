//! Objects on their way to a name: written first, moved into their places, and named by one transaction.

use super::content::{Placed, Staged};
use super::rows;
use super::store::{FileStores, Store};
use super::types::{FileVersion, Provenance, PutOptions};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::settings::Expect;
use crate::sqlite::Tx;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::MutexGuard;

/// An object without a name.
pub(crate) struct NewObject<'a> {
    pub(super) staged: Staged<'a>,
    pub(super) new: FileVersion,
    pub(super) made_of: Provenance,
    expect: Expect,
}

/// An object that will be named by something else than a version of a file.
pub(crate) struct LooseObject<'a> {
    staged: Staged<'a>,
    pub(crate) store: String,
    /// BLAKE3 in hexadecimal.
    pub(crate) hash: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// Objects that a transaction names. No other put or collection comes between while it lives.
pub(crate) struct Naming<'a> {
    files: &'a FileStores,
    stores: BTreeMap<String, Held<'a>>,
    news: Vec<New>,
    loose: Vec<(String, Placed, u64)>,
    reached: Cell<bool>,
}

struct Held<'a> {
    _placing: MutexGuard<'a, ()>,
    store: &'a Store,
}

struct New {
    version: FileVersion,
    made_of: Provenance,
    expect: Expect,
    placed: Placed,
    /// Bytes that it takes.
    stored: u64,
}

/// Refuses a version of a name that is not what was expected of it.
pub(super) fn expected(expect: Expect, newest: Option<&FileVersion>, store: &str, path: &str) -> Result<()> {
    let there = newest.filter(|v| v.blake3.is_some()).map(|v| v.version);
    let revision = newest.map_or(0, |v| v.version);
    match (expect, there) {
        (Expect::Absent, Some(version)) => {
            Err(Error::conflict(format!("the file `{store}/{path}` exists, in version {version}"))
                .hint("read it, or put the next version without this condition"))
        }
        (Expect::Revision(want), _) if want != revision => {
            Err(Error::conflict(format!("the file `{store}/{path}` is at version {revision}, not {want}"))
                .hint("read it again and decide anew"))
        }
        _ => Ok(()),
    }
}

impl Naming<'_> {
    /// The last thing that the transaction does.
    pub(crate) fn reached(&self) {
        self.reached.set(true);
    }

    /// After the transaction: where it was refused before its end nothing names the objects, and they go.
    pub(crate) fn drop_unless_reached(&self, caller: &Caller) {
        if self.reached.get() {
            return;
        }
        for (store, held) in &self.stores {
            let news = self.news.iter().filter(|n| n.version.store == *store).map(|n| &n.placed);
            let loose = self.loose.iter().filter(|(s, ..)| s == store).map(|(_, placed, _)| placed);
            let all: Vec<&Placed> = news.chain(loose).collect();
            self.files.drop_refused(caller, (held.store, store), &all, &[]);
        }
    }

    /// Names every object.
    pub(crate) fn insert(&self, tx: &Tx<'_>, caller: &Caller) -> Result<Vec<FileVersion>> {
        let mut made = Vec::new();
        for new in &self.news {
            let New { version, made_of, expect, placed, stored } = new;
            let (store, path) = (&version.store, &version.path);
            let held = self.stores.get(store).ok_or_else(|| Error::internal("a file without its store"))?;
            expected(*expect, rows::newest(tx, store, path)?.as_ref(), store, path)?;
            rows::admit(tx, caller, version, *stored, &held.store.config)?;
            rows::insert_object(tx, store, placed, None, version.created_at)?;
            made.push(rows::insert(tx, caller, version.clone(), made_of)?);
        }
        Ok(made)
    }

    /// Makes the row of a loose object, by store and hash, for what names it in the same transaction.
    pub(crate) fn insert_loose(&self, tx: &Tx<'_>, (store, hash): (&str, &str), now: i64) -> Result<()> {
        let found = self.loose.iter().find(|(s, placed, _)| s == store && placed.hash == hash);
        let (held, (_, placed, stored)) = self
            .stores
            .get(store)
            .zip(found)
            .ok_or_else(|| Error::internal("an object without its store"))?;
        rows::admit_object(tx, (store, hash, *stored), &held.store.config)?;
        rows::insert_object(tx, store, placed, None, now)
    }
}

impl FileStores {
    /// The content of a version that is not named yet, on the disk and synced; [`FileStores::naming`] takes it on.
    pub(crate) fn object(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        content: &mut dyn Read,
        options: PutOptions,
        expect: Expect,
    ) -> Result<NewObject<'_>> {
        self.may_put(caller, store, path)?;
        let s = self.store(store)?;
        (self.writable)()?;
        let made_of = options.provenance.clone();
        let said = options.checked(&format!("`{store}/{path}`"))?;
        let staged = Staged::write(s, &self.db, (store, path), content)?;
        let new = version(caller, (store, path), (&staged.hash, staged.size), said);
        Ok(NewObject { staged, new, made_of, expect })
    }

    /// Content that no version of a file will name, on the disk and synced; whoever asks for it looked at the caller's right to
    /// write, and names it in the transaction of [`FileStores::naming`]. `name` is what it is called in errors.
    pub(crate) fn loose(&self, store: &str, name: &str, content: &mut dyn Read) -> Result<LooseObject<'_>> {
        let s = self.store(store)?;
        (self.writable)()?;
        // Not in chunks: it goes with its last name, at once and whole.
        let staged = Staged::whole(s, (store, name), content)?;
        let (hash, size) = (staged.hash.clone(), staged.size);
        Ok(LooseObject { staged, store: store.into(), hash, size })
    }

    /// Moves objects into their places, for a transaction that names all of them. No other put or collection comes between.
    pub(crate) fn naming<'a>(
        &'a self,
        objects: Vec<NewObject<'a>>,
        loose: Vec<LooseObject<'a>>,
    ) -> Result<Naming<'a>> {
        let mut stores = BTreeMap::new();
        let (mut news, mut placed) = (Vec::new(), Vec::new());
        // In one order, for everybody who holds several.
        let names: BTreeSet<String> = objects
            .iter()
            .map(|o| o.new.store.clone())
            .chain(loose.iter().map(|l| l.store.clone()))
            .collect();
        for name in names {
            let s = self.store(&name)?;
            stores.insert(name, Held { _placing: s.placing(), store: s });
        }
        let held =
            |store: &str| stores.get(store).map(|h| h.store).ok_or_else(|| Error::internal("no store"));
        for NewObject { staged, new, made_of, expect } in objects {
            let stored = staged.stored();
            let there = self.db.read(|c| rows::form(c, &new.store, &staged.hash))?;
            let at = staged
                .publish(held(&new.store)?, there)
                .map_err(|e| Error::io(format!("storing `{}/{}`", new.store, new.path), e))?;
            news.push(New { version: new, made_of, expect, placed: at, stored });
        }
        for LooseObject { staged, store, .. } in loose {
            let stored = staged.stored();
            let there = self.db.read(|c| rows::form(c, &store, &staged.hash))?;
            let at = staged
                .publish(held(&store)?, there)
                .map_err(|e| Error::io(format!("storing an object in `{store}`"), e))?;
            placed.push((store, at, stored));
        }
        Ok(Naming { files: self, stores, news, loose: placed, reached: Cell::default() })
    }

    /// The content of an object, whole and hashed on its way, as [`FileStores::get`] gives it; [`crate::Kind::NotFound`] when it is
    /// not there. `name` is what it is called in errors.
    pub(crate) fn whole(
        &self,
        store: &str,
        hash: &str,
        size: u64,
        name: &str,
    ) -> Result<Box<dyn Read + Send>> {
        self.open_content(store, (hash, size), name, 0..size)
    }
}

/// A version that has no number yet, by its name, the hash and size of its content, and media type and metadata.
pub(super) fn version(
    caller: &Caller,
    (store, path): (&str, &str),
    (hash, size): (&str, u64),
    (media_type, metadata): (String, serde_json::Value),
) -> FileVersion {
    FileVersion {
        store: store.into(),
        path: path.into(),
        version: 0,
        blake3: Some(hash.into()),
        size,
        created_at: now_ns(),
        created_by: caller.actor(),
        media_type,
        metadata,
    }
}
