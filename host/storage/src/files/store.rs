//! Putting, listing, deleting.

use super::ages::Ages;
use super::disk::{CapDisk, ObjectDisk};
use super::maintain::Looked;
use super::naming::{NewObject, expected};
use super::pins::{Pins, Watches};
use super::types::{
    FileStat, FileVersion, FilesStats, PAGE_MAX, Provenance, PutOptions, StoreConfig, Writable,
};
use super::uploads::Busy;
use super::{labels, name, rows};
use crate::audit::{Audit, Entry, refuse_archived};
use crate::caller::{Caller, Grants, Scope, pattern_matches};
use crate::error::{Error, Result};
use crate::manifest::FileStore;
use crate::schema::now_ns;
use crate::series::archives::refuse_only_copy;
use crate::settings::Expect;
use crate::sqlite::{Database, Tx};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

#[derive(Debug)]
pub(super) struct Store {
    pub(super) disk: Arc<dyn ObjectDisk>,
    pub(super) config: StoreConfig,
    /// Held from the look at the bounds over the object's move to its row, and by the collector while it removes: so no object goes
    /// between its move and its row, and puts cannot pass a quota together.
    placing: Mutex<()>,
    /// Backups share it while they copy; the collector has it alone.
    pub(super) holds: RwLock<()>,
    pub(super) pins: Arc<Pins>,
    /// Objects that a verification reads at this moment.
    pub(super) watches: Watches,
    /// Uploads that somebody writes to at this moment.
    pub(super) uploading: Busy,
}

impl Store {
    pub(super) fn placing(&self) -> MutexGuard<'_, ()> {
        crate::locks::lock(&self.placing)
    }
}

/// The file stores of a host.
pub struct FileStores {
    pub(super) db: Arc<Database>,
    pub(super) stores: BTreeMap<String, Store>,
    pub(super) writable: Writable,
    pub(super) looked: Looked,
    pub(super) ages: Ages,
}

impl std::fmt::Debug for FileStores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStores").field("stores", &self.stores).finish_non_exhaustive()
    }
}

impl FileStores {
    /// Opens the stores of a manifest.
    pub fn open(stores: &BTreeMap<String, FileStore>, db: Arc<Database>, writable: Writable) -> Result<Self> {
        let mut disks = BTreeMap::new();
        for (name, store) in stores {
            let disk = CapDisk::open(&store.root).map_err(|e| {
                Error::io(format!("opening the store `{name}` at {}", store.root.display()), e)
            })?;
            disks.insert(name.clone(), (Box::new(disk) as Box<dyn ObjectDisk>, StoreConfig::from(store)));
        }
        Self::with_disks(disks, db, writable)
    }

    /// Opens stores on given disks.
    pub fn with_disks(
        disks: BTreeMap<String, (Box<dyn ObjectDisk>, StoreConfig)>,
        db: Arc<Database>,
        writable: Writable,
    ) -> Result<Self> {
        let mut stores = BTreeMap::new();
        for (name, (disk, config)) in disks {
            // What an earlier process left half written.
            for tmp in disk.list_tmp().map_err(|e| Error::io(format!("store `{name}`"), e))? {
                disk.remove_tmp(&tmp)
                    .map_err(|e| Error::io(format!("store `{name}`: removing tmp/{tmp}"), e))?;
            }
            let store = Store {
                disk: Arc::from(disk),
                config,
                placing: Mutex::default(),
                holds: RwLock::default(),
                pins: Arc::default(),
                watches: Watches::default(),
                uploading: Busy::default(),
            };
            stores.insert(name, store);
        }
        let ages = Ages::of(&db)?;
        Ok(Self { db, stores, writable, looked: Looked::default(), ages })
    }

    /// The names of the stores.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stores.keys().map(String::as_str)
    }

    pub(super) fn store(&self, name: &str) -> Result<&Store> {
        self.stores.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            Error::not_found(format!("there is no file store `{}`", name.escape_debug()))
                .hint(format!("stores of this manifest: {}; add [files.NAME] for another", known.join(", ")))
        })
    }

    /// May this caller store something under this name? As [`Self::put`] asks first; there may be no room all the same.
    pub fn may_put(&self, caller: &Caller, store: &str, path: &str) -> Result<()> {
        may(caller, Access::Write, store, path)?;
        name::check_in(self.store(store)?.config.layout, path)
    }

    /// Stores what `content` gives as the next version of a name. Durable on return.
    pub fn put(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        content: &mut dyn Read,
        options: PutOptions,
    ) -> Result<FileVersion> {
        self.put_as(caller, store, path, content, options, Expect::Any)
    }

    /// [`FileStores::put`], unless the name is at another version than `expect` says: [`crate::Kind::Conflict`].
    pub fn put_as(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        content: &mut dyn Read,
        options: PutOptions,
        expect: Expect,
    ) -> Result<FileVersion> {
        self.put_with(caller, store, path, content, options, expect, |_| Ok(()), |_, _| Ok(()))
    }

    /// [`FileStores::put_as`], with what its content must be, and what else belongs into its transaction.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn put_with(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        content: &mut dyn Read,
        options: PutOptions,
        expect: Expect,
        is_right: impl FnOnce(&FileVersion) -> Result<()>,
        with: impl FnOnce(&Tx<'_>, &FileVersion) -> Result<()>,
    ) -> Result<FileVersion> {
        let s = self.store(store)?;
        let holds = |c: &Connection| expected(expect, rows::newest(c, store, path)?.as_ref(), store, path);
        if expect != Expect::Any {
            // What cannot be stored need not come in whole.
            self.may_put(caller, store, path)?;
            self.db.read(holds)?;
        }
        let NewObject { staged, new, made_of, .. } =
            self.object(caller, store, path, content, options, expect)?;
        is_right(&new)?;
        let _placing = s.placing();
        // Before the move: a put that is refused leaves no object behind.
        let there = self.db.read(|c| {
            holds(c)?;
            rows::admit(c, caller, &new, staged.stored(), &s.config)?;
            rows::form(c, store, &staged.hash)
        })?;
        let placed =
            staged.publish(s, there).map_err(|e| Error::io(format!("storing `{store}/{path}`"), e))?;
        self.naming_or_nothing(caller, (s, store), &[&placed], &[], |tx| {
            holds(tx)?;
            rows::insert_object(tx, store, &placed, None, new.created_at)?;
            let made = rows::insert(tx, caller, new, &made_of)?;
            with(tx, &made)?;
            Ok(made)
        })
    }

    /// What is known of a version; the newest without a number.
    pub fn stat(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        version: Option<u64>,
    ) -> Result<FileVersion> {
        may(caller, Access::Read, store, path)?;
        self.found(store, path, version)
    }

    /// [`Self::stat`] for a caller whose right was looked at already.
    pub(super) fn found(&self, store: &str, path: &str, version: Option<u64>) -> Result<FileVersion> {
        self.store(store)?;
        name::check(path)?;
        let found = self.db.read(|c| match version {
            None => rows::newest(c, store, path),
            Some(v) => rows::version(c, store, path, v),
        })?;
        found.filter(|v| v.blake3.is_some()).ok_or_else(|| {
            let number = version.map_or(String::new(), |v| format!(" in version {v}"));
            Error::not_found(format!("there is no file `{store}/{}`{number}", path.escape_debug()))
                .hint(format!("`shiphold files list {store}` shows what there is"))
        })
    }

    /// The files whose name begins with `prefix` and that the caller may read, in order, after a name; deleted ones are
    /// left out.
    pub fn list(
        &self,
        caller: &Caller,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<FileStat>> {
        may(caller, Access::Read, store, prefix)?;
        self.store(store)?;
        if limit > PAGE_MAX {
            return Err(Error::limit(format!("a page of {limit} files"), PAGE_MAX, "page with `after`"));
        }
        self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT {} FROM file_versions v WHERE store = ?1 AND path >= ?2 AND path < ?3 AND path > ?4
                 AND version = (SELECT max(version) FROM file_versions x WHERE x.store = v.store AND x.path = v.path)
                 AND hash IS NOT NULL ORDER BY path",
                rows::COLUMNS
            ))?;
            let end = format!("{prefix}\u{10ffff}");
            let rows = statement.query_map((store, prefix, end, after.unwrap_or_default()), rows::read)?;
            // A grant can match the prefix and not what follows it.
            let seen = rows.filter(|row| {
                row.as_ref().map_or(true, |v| may(caller, Access::Read, store, &v.path).is_ok())
            });
            let page = usize::try_from(limit).unwrap_or(usize::MAX);
            Ok(seen.take(page).collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Every version of a name, newest first, deletions too; of more than [`PAGE_MAX`] the newest.
    pub fn versions(&self, caller: &Caller, store: &str, path: &str) -> Result<Vec<FileVersion>> {
        may(caller, Access::Read, store, path)?;
        self.store(store)?;
        let all: Vec<FileVersion> = self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT {} FROM file_versions WHERE store = ?1 AND path = ?2 ORDER BY version DESC LIMIT ?3",
                rows::COLUMNS
            ))?;
            let rows = statement.query_map((store, path, PAGE_MAX.cast_signed()), rows::read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        if all.is_empty() {
            return Err(Error::not_found(format!("there is no file `{store}/{}`", path.escape_debug())));
        }
        Ok(all)
    }

    /// Says that a file is gone; its versions stay readable by number. With `purge` the versions go too, and `gc` frees
    /// their room. Also on a read-only disk. [`crate::Kind::Conflict`]: it is the only copy of rows of a series.
    pub fn delete(&self, caller: &Caller, store: &str, path: &str, purge: bool) -> Result<()> {
        caller.require(Scope::Admin, "delete files")?;
        let s = self.store(store)?;
        if purge {
            return self.purge_for(caller, store, path);
        }
        let _placing = s.placing();
        let there = self.stat(caller, store, path, None)?;
        let gone = FileVersion {
            blake3: None,
            size: 0,
            created_at: now_ns(),
            created_by: caller.actor(),
            metadata: json!({}),
            ..there
        };
        self.db.write_always(|tx| {
            refuse_only_copy(tx, store, path)?;
            rows::admit(tx, caller, &gone, 0, &s.config)?;
            rows::insert(tx, caller, gone, &Provenance::default()).map(drop)
        })
    }

    /// Takes every version of a name away, for a plugin with the grant `files.delete`, and for an admin.
    pub fn remove(&self, caller: &Caller, store: &str, path: &str) -> Result<()> {
        match caller {
            Caller::Plugin { .. } => may(caller, Access::Delete, store, path)?,
            _ => caller.require(Scope::Admin, "delete files")?,
        }
        name::check(path)?;
        self.purge_for(caller, store, path)
    }

    /// Takes every version of a name away, for a caller whose right to do so was looked at already.
    pub(crate) fn purge_for(&self, caller: &Caller, store: &str, path: &str) -> Result<()> {
        let s = self.store(store)?;
        let _placing = s.placing();
        self.db.write_always(|tx| {
            let before = rows::newest(tx, store, path)?.ok_or_else(|| {
                Error::not_found(format!("there is no file `{store}/{}`", path.escape_debug()))
            })?;
            labels::none_of(tx, store, path)?;
            refuse_only_copy(tx, store, path)?;
            // An admin may, and `audit verify` names what is missing then.
            if matches!(caller, Caller::Plugin { .. }) {
                refuse_archived(tx, store, path)?;
            }
            let gone =
                tx.execute("DELETE FROM file_versions WHERE store = ?1 AND path = ?2", (store, path))?;
            rows::forget_name(tx, store, path)?;
            let entry =
                Entry::new(caller, "files.purge", format!("file:{store}/{path}")).change(before.blake3, None);
            Audit::append(tx, &entry.detail(json!({ "versions": gone })))?;
            Ok(())
        })
    }

    /// What a store holds.
    pub fn stats(&self, store: &str) -> Result<FilesStats> {
        self.store(store)?;
        self.db.read(|c| rows::usage(c, store))
    }
}

/// A name in `tmp/` that nobody else in this process has; other processes do not open these folders.
pub(super) fn tmp_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[derive(Clone, Copy)]
pub(super) enum Access {
    Read,
    Write,
    Delete,
}

impl Access {
    /// Of a token, and the grant of a plugin.
    pub(super) const fn needs(self) -> (Scope, &'static str) {
        match self {
            Self::Read => (Scope::Read, "files.read"),
            Self::Write => (Scope::Write, "files.write"),
            Self::Delete => (Scope::Admin, "files.delete"),
        }
    }

    const fn granted(self, grants: &Grants) -> &Vec<String> {
        match self {
            Self::Read => &grants.files_read,
            Self::Write => &grants.files_write,
            Self::Delete => &grants.files_delete,
        }
    }
}

/// May a caller have to do with a store at all? What it may with each name of it is for [`may`] to say.
pub(super) fn may_any(caller: &Caller, access: Access, store: &str) -> Result<()> {
    let Caller::Plugin { name, grants } = caller else { return may(caller, access, store, "") };
    // What a pattern has before its first slash is of the store, so no name of one has a slash.
    let inside = |p: &String| pattern_matches(p.split('/').next().unwrap_or_default(), store);
    match access.granted(grants).iter().any(inside) {
        true => Ok(()),
        false => Err(not_granted(name, access, &format!("{store}/"))),
    }
}

pub(super) fn may(caller: &Caller, access: Access, store: &str, path: &str) -> Result<()> {
    let (scope, key) = access.needs();
    let Caller::Plugin { name, grants } = caller else { return caller.require(scope, key) };
    let wanted = format!("{store}/{path}");
    if access.granted(grants).iter().any(|p| pattern_matches(p, &wanted)) {
        return Ok(());
    }
    Err(not_granted(name, access, &wanted))
}

fn not_granted(plugin: &str, access: Access, wanted: &str) -> Error {
    let (_, key) = access.needs();
    Error::denied(format!("plugin `{plugin}` has no `{key}` grant for `{}`", wanted.escape_debug()))
        .hint(format!("add a pattern to `grants.{key}` of the plugin in shiphold.toml"))
}
