//! How the series stand to commits over several stores: who reads or writes waits for one that is being made.

use super::{SeriesStore, changed};
use crate::caller::Caller;
use crate::changes::Change;
use crate::error::Result;
use crate::series::units::{Read, misfit};
use crate::series::{SeriesEngine as _, WriteBatch, decimals};
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLockWriteGuard};

impl SeriesStore {
    /// Waits for a commit that is in one store and not yet in another.
    pub(super) fn pass(&self) -> Result<()> {
        self.units.as_ref().map_or(Ok(()), |units| units.pass(&self.adding, self.recorder.as_ref()))
    }

    /// [`SeriesStore::pass`] for who changes rows.
    pub(super) fn pass_to_write(&self) -> Result<()> {
        self.units.as_ref().map_or(Ok(()), |units| units.pass_to_write(&self.adding, self.recorder.as_ref()))
    }

    /// What is read, as of one instant with regard to commits.
    pub(super) fn at_once<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        match &self.units {
            Some(units) => units.at_once(&self.adding, |_| read().map(Read::Held)),
            None => read(),
        }
    }

    /// Keeps other callers from writing.
    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.adding.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies what earlier commits left, by whoever has [`SeriesStore::alone`].
    pub(crate) fn settled(&self) -> Result<()> {
        self.units.as_ref().map_or(Ok(()), |units| units.settle(self.recorder.as_ref()))
    }

    /// A batch as it is stored, if every row of it would be; else an error that says why not, or that this cannot be told.
    pub(crate) fn takes_all(&self, batch: WriteBatch) -> Result<WriteBatch> {
        let (stored, report) = decimals::stored(&self.scales, batch)?;
        if let Some(conflict) = report.conflicts.first() {
            return Err(misfit(conflict));
        }
        self.recorder.takes(&stored)?;
        Ok(stored)
    }

    /// The rows of a commit that is durable, as they are stored, by whoever has [`SeriesStore::alone`]. What cannot be applied now is
    /// tried again before anybody reads or writes.
    pub(crate) fn apply_commit(&self, caller: &Caller, batch: WriteBatch, id: i64) {
        let Some(units) = &self.units else { return };
        let names: BTreeSet<Change> = batch.series.iter().map(|(key, _)| changed(key)).collect();
        units.apply(self.recorder.as_ref(), batch, id);
        if self.changes.wanted(caller) {
            self.changes.tell(names);
        }
    }
}
