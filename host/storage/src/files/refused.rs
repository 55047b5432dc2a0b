//! What a transaction that was refused would have named is on the disk already. Nothing names it, no quota counts it: it goes at once,
//! or who is refused again and again would fill the disk.
//!
//! Not so where the transaction itself failed: it may be on the disk although it did, and come back with the next start. Then what it
//! names must be there; `gc` takes it when it was written over.

use super::collect::{is_known, remove};
use super::content::Placed;
use super::disk::Area;
use super::store::{FileStores, Store};
use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::error::Result;
use crate::sqlite::Tx;
use serde_json::json;
use std::cell::Cell;

/// Whether a transaction got to its end. What is refused before that is in no commit, whatever becomes of those that it shared the disk
/// with.
#[derive(Debug, Default)]
pub(super) struct Reached(Cell<bool>);

impl Reached {
    /// The last thing that a transaction does.
    pub(super) fn end<T>(&self, made: T) -> T {
        self.0.set(true);
        made
    }

    pub(super) fn is(&self) -> bool {
        self.0.get()
    }
}

impl FileStores {
    /// A transaction of this store, with all that it would name; the caller holds `placing` from its move on.
    pub(super) fn naming_or_nothing<T>(
        &self,
        caller: &Caller,
        (s, store): (&Store, &str),
        placed: &[&Placed],
        packs: &[(String, u64)],
        write: impl FnOnce(&Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        let reached = Reached::default();
        let made = self.db.write(|tx| write(tx).map(|made| reached.end(made)));
        if made.is_err() && !reached.is() {
            self.drop_refused(caller, (s, store), placed, packs);
        }
        made
    }

    /// Removes what was moved into its place for nothing. If this fails, too, it is garbage for `gc`.
    pub(super) fn drop_refused(
        &self,
        caller: &Caller,
        (s, store): (&Store, &str),
        placed: &[&Placed],
        packs: &[(String, u64)],
    ) {
        if let Err(e) = self.try_drop_refused(caller, (s, store), placed, packs) {
            tracing::debug!(store, error = %e, "what was refused was left");
        }
    }

    fn try_drop_refused(
        &self,
        caller: &Caller,
        (s, store): (&Store, &str),
        placed: &[&Placed],
        packs: &[(String, u64)],
    ) -> Result<()> {
        // No two packs have one name: nothing else can need it.
        let own = placed.iter().filter_map(|p| p.chunks.as_ref()).flat_map(|c| &c.packs);
        for (pack, _) in own.chain(packs) {
            remove(s.disk.as_ref(), store, Area::Packs, pack)?;
        }
        let files: Vec<&Placed> =
            placed.iter().copied().filter(|p| p.chunks.is_none() && !p.is_there).collect();
        if files.is_empty() {
            return Ok(());
        }
        // Others have the same content, or put it just before and their commit failed: this one writes over it, as a collection's does.
        let gone = self.db.write_always(|tx| {
            let mut gone = Vec::new();
            for file in files {
                if !is_known(tx, store, Area::Objects, &file.hash)? {
                    gone.push(file);
                }
            }
            if !gone.is_empty() {
                let bytes: u64 = gone.iter().map(|f| f.size).sum();
                let entry = Entry::new(caller, "files.refused", format!("store:{store}"));
                Audit::append(tx, &entry.detail(json!({ "objects": gone.len(), "bytes": bytes })))?;
            }
            Ok(gone)
        })?;
        gone.iter().try_for_each(|file| remove(s.disk.as_ref(), store, Area::Objects, &file.hash))
    }
}
