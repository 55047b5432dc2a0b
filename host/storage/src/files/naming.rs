//! Objects on their way to a name: written first, moved into their places, and named by one transaction.

use super::rows;
use super::store::{FileStores, as_long_as, tmp_name};
use super::stream::{Tmp, Verifying};
use super::types::{FileVersion, FilesStats, PutOptions, StoreConfig};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::settings::Expect;
use crate::sqlite::Tx;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek as _};
use std::sync::MutexGuard;

/// An object without a name.
pub(crate) struct NewObject<'a> {
    pub(super) tmp: Tmp<'a>,
    pub(super) new: FileVersion,
    expect: Expect,
}

/// An object that will be named by something else than a version of a file.
pub(crate) struct LooseObject<'a> {
    tmp: Tmp<'a>,
    pub(crate) store: String,
    /// BLAKE3 in hexadecimal.
    pub(crate) hash: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// Objects that a transaction names.
pub(crate) struct Naming<'a> {
    stores: BTreeMap<String, Used<'a>>,
    news: Vec<(FileVersion, Expect)>,
}

struct Used<'a> {
    usage: MutexGuard<'a, FilesStats>,
    /// What it is when the transaction is durable.
    after: Cell<FilesStats>,
    config: &'a StoreConfig,
}

impl Naming<'_> {
    /// Names every object; [`Naming::done`] comes after the commit. If that fails, they stay as garbage.
    pub(crate) fn insert(&self, tx: &Tx<'_>, caller: &Caller) -> Result<Vec<FileVersion>> {
        let mut made = Vec::new();
        for (new, expect) in &self.news {
            let (store, path) = (&new.store, &new.path);
            let used = self.stores.get(store).ok_or_else(|| Error::internal("a file without its store"))?;
            let newest = rows::newest(tx, store, path)?;
            let there = newest.as_ref().filter(|v| v.blake3.is_some()).map(|v| v.version);
            let revision = newest.as_ref().map_or(0, |v| v.version);
            match (expect, there) {
                (Expect::Absent, Some(version)) => {
                    return Err(Error::conflict(format!(
                        "the file `{store}/{path}` exists, in version {version}"
                    )));
                }
                (Expect::Revision(want), _) if *want != revision => {
                    return Err(Error::conflict(format!(
                        "the file `{store}/{path}` is at version {revision}, not {want}"
                    ))
                    .hint("read it again and decide anew"));
                }
                _ => {}
            }
            used.after.set(rows::admit(tx, new, used.config, used.after.get())?);
            made.push(rows::insert(tx, caller, new.clone())?);
        }
        Ok(made)
    }

    /// Makes the row of a loose object, by store, hash and size, for what names it in the same transaction.
    pub(crate) fn insert_loose(&self, tx: &Tx<'_>, object: (&str, &str, u64), now: i64) -> Result<()> {
        let (store, hash, size) = object;
        let used = self.stores.get(store).ok_or_else(|| Error::internal("an object without its store"))?;
        used.after.set(rows::admit_object(tx, object, used.config, used.after.get())?);
        rows::insert_object(tx, store, hash, size, now)
    }

    /// The transaction is durable.
    pub(crate) fn done(self) {
        for (_, mut used) in self.stores {
            *used.usage = used.after.get();
        }
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
        let (media_type, metadata) = options.checked(&format!("`{store}/{path}`"))?;
        let (tmp, hash, size) = Tmp::write(s.disk.as_ref(), tmp_name(), (store, path), content, &s.config)?;
        let new = FileVersion {
            store: store.into(),
            path: path.into(),
            version: 0,
            blake3: Some(hash),
            size,
            created_at: now_ns(),
            created_by: caller.actor(),
            media_type,
            metadata,
        };
        Ok(NewObject { tmp, new, expect })
    }

    /// Content that no version of a file will name, on the disk and synced; whoever asks for it looked at the caller's right to
    /// write, and names it in the transaction of [`FileStores::naming`]. `name` is what it is called in errors.
    pub(crate) fn loose(&self, store: &str, name: &str, content: &mut dyn Read) -> Result<LooseObject<'_>> {
        let s = self.store(store)?;
        (self.writable)()?;
        let (tmp, hash, size) = Tmp::write(s.disk.as_ref(), tmp_name(), (store, name), content, &s.config)?;
        Ok(LooseObject { tmp, store: store.into(), hash, size })
    }

    /// Moves objects into their places, for a transaction that names all of them. No other put or collection comes between.
    pub(crate) fn naming<'a>(
        &'a self,
        objects: Vec<NewObject<'a>>,
        loose: Vec<LooseObject<'a>>,
    ) -> Result<Naming<'a>> {
        let mut stores: BTreeMap<String, Used<'a>> = BTreeMap::new();
        let mut news = Vec::new();
        // In one order, for everybody who holds several.
        let names: BTreeSet<String> = objects
            .iter()
            .map(|o| o.new.store.clone())
            .chain(loose.iter().map(|l| l.store.clone()))
            .collect();
        for name in names {
            let s = self.store(&name)?;
            let usage = s.usage();
            let after = *usage;
            stores.insert(name, Used { usage, after: Cell::new(after), config: &s.config });
        }
        for NewObject { tmp, new, expect } in objects {
            let (store, path) = (&new.store, &new.path);
            tmp.publish(new.blake3.as_deref().unwrap_or_default())
                .map_err(|e| Error::io(format!("storing `{store}/{path}`"), e))?;
            news.push((new, expect));
        }
        for LooseObject { tmp, store, hash, .. } in loose {
            tmp.publish(&hash).map_err(|e| Error::io(format!("storing an object in `{store}`"), e))?;
        }
        Ok(Naming { stores, news })
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
        let opened = self.store(store)?.disk.open(hash);
        let opened = opened.map_err(|e| Error::io(format!("the object {hash} of `{name}`"), e))?;
        let mut object = as_long_as(opened, size, hash, name)?;
        object.rewind().map_err(|e| Error::io(format!("reading `{name}`"), e))?;
        Ok(Box::new(Verifying::new(object, size, hash.into(), name.into())))
    }
}
