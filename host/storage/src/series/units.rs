//! The rows of commits over several stores: applied once their transaction is durable, before anybody else reads or writes.

use super::{FieldType, Selector};
use super::{SeriesEngine, WriteBatch, WriteReport};
use crate::commits::{self, Gate};
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::sqlite::{Database, ReadGate as _};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

#[derive(Debug)]
pub(super) struct Units {
    db: Arc<Database>,
    gate: Arc<Gate>,
    /// There may be rows of commits that are not applied.
    left: AtomicBool,
    /// Held while they are.
    settling: Mutex<()>,
}

impl Units {
    pub(super) fn new(db: Arc<Database>, gate: Arc<Gate>) -> Self {
        Self { db, gate, left: AtomicBool::new(true), settling: Mutex::default() }
    }

    /// Waits for the commit that is being made; applies what one left behind.
    pub(super) fn pass(&self, writers: &RwLock<()>, engine: &dyn SeriesEngine) -> Result<()> {
        self.gate.pass()?;
        if !self.left.load(Ordering::SeqCst) {
            return Ok(());
        }
        let _alone = writers.write().unwrap_or_else(PoisonError::into_inner);
        self.settle(engine)
    }

    /// Applies, in their order, the rows of commits that are not applied yet.
    pub(super) fn settle(&self, engine: &dyn SeriesEngine) -> Result<()> {
        if !self.left.load(Ordering::SeqCst) {
            return Ok(());
        }
        let _one = lock(&self.settling);
        let mut all = true;
        for id in commits::waiting(&self.db)? {
            let applied = match commits::rows_of(&self.db, id) {
                Ok(Some(batch)) => engine.write(batch).map(|report| all &= self.end(id, &report)),
                Ok(None) => Ok(()),
                Err(e) if e.kind() == Kind::Corrupt => commits::set_aside(&self.db, id, e.message()),
                Err(e) => Err(e),
            };
            applied.map_err(|e| {
                Error::new(
                    Kind::Unavailable,
                    format!("the rows of commit {id} are durable and cannot be applied: {e}"),
                )
                .hint("reads and writes of series wait for them; free the disk, or see the host's log")
            })?;
        }
        // What could not be noted is applied once more before anybody writes over it.
        self.left.store(!all, Ordering::SeqCst);
        Ok(())
    }

    /// Applies the rows of one commit.
    pub(super) fn apply(&self, engine: &dyn SeriesEngine, batch: WriteBatch, id: i64) {
        match engine.write(batch) {
            Ok(report) => {
                if !self.end(id, &report) {
                    self.left.store(true, Ordering::SeqCst);
                }
            }
            Err(e) => {
                tracing::error!(commit = id, error = %e, "the rows of a commit are durable and could not be applied; it is tried again");
                self.left.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Notes that the rows of a commit are applied; `false`: that could not be noted.
    fn end(&self, id: i64, report: &WriteReport) -> bool {
        let ended = match report.dropped {
            0 => commits::applied(&self.db, id),
            n => commits::set_aside(
                &self.db,
                id,
                &format!("{n} rows have fields of other types than those that are there"),
            ),
        };
        if let Err(e) = &ended {
            // Applied once more it changes nothing, as long as nobody writes before it is.
            tracing::error!(commit = id, error = %e, "the rows of a commit are applied, which could not be noted");
        }
        ended.is_ok()
    }
}

/// An error when a field of `batch` has another type than in the store, or two within the batch.
pub(super) fn takes_all(engine: &dyn SeriesEngine, batch: &WriteBatch) -> Result<()> {
    let mut wanted: BTreeMap<(&str, &str), BTreeMap<&str, FieldType>> = BTreeMap::new();
    let other = |bucket: &str, measurement: &str, field: &str, have: FieldType, got: FieldType| {
        Error::conflict(format!(
            "field `{field}` of `{bucket}/{measurement}` is {have}, the commit has {got}"
        ))
        .hint("send the type that is there; nothing of the commit was made")
    };
    for (key, frame) in &batch.series {
        frame.validate().map_err(|e| e.context(key))?;
        let fields = wanted.entry((&key.bucket, &key.measurement)).or_default();
        for column in &frame.columns {
            let got = column.values.field_type();
            let have = *fields.entry(&column.name).or_insert(got);
            if have != got {
                return Err(other(&key.bucket, &key.measurement, &column.name, have, got));
            }
        }
    }
    for ((bucket, measurement), fields) in wanted {
        let of = Selector {
            bucket: Some(bucket.to_string()),
            measurement: Some(measurement.to_string()),
            tags: Vec::new(),
        };
        for info in engine.list(&of)?.iter().filter(|i| i.key.measurement == measurement) {
            for (name, have) in &info.fields {
                if let Some(got) = fields.get(name.as_str()).filter(|got| *got != have) {
                    return Err(other(bucket, measurement, name, *have, *got));
                }
            }
        }
    }
    Ok(())
}
