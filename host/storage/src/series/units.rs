//! The rows of commits over several stores: applied once their transaction is durable, before anybody else reads or writes.
//!
//! Rows that are applied but for the note of it stay in memory as such: they are not applied again over what came later, and until
//! it is noted nobody writes, or the next start would put them over newer ones.

use super::{
    FieldType, Selector, SeriesEngine, SeriesInfo, SeriesKey, TypeConflict, WriteBatch, WriteReport,
};
use crate::commits::{self, Gate};
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::sqlite::{Database, ReadGate as _};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

/// How often a read begins anew because of a commit that was made meanwhile; then it keeps commits waiting.
const READS_ANEW_MAX: u32 = 3;

#[derive(Debug)]
pub(super) struct Units {
    db: Arc<Database>,
    gate: Arc<Gate>,
    /// There may be rows of commits that are not applied, or not noted.
    left: AtomicBool,
    /// Held while they are: what was applied and could not be noted, with the reason why not all of it is stored.
    unnoted: Mutex<BTreeMap<i64, Option<String>>>,
    /// Odd while rows of a commit are applied; another number after each.
    moment: AtomicU64,
}

impl Units {
    pub(super) fn new(db: Arc<Database>, gate: Arc<Gate>) -> Self {
        Self { db, gate, left: AtomicBool::new(true), unnoted: Mutex::default(), moment: AtomicU64::new(0) }
    }

    /// Waits for the commit that is being made; applies what one left behind.
    pub(super) fn pass(&self, writers: &RwLock<()>, engine: &dyn SeriesEngine) -> Result<()> {
        self.gate.pass()?;
        if !self.left.load(Ordering::SeqCst) {
            return Ok(());
        }
        let _alone = writers.write().unwrap_or_else(PoisonError::into_inner);
        self.apply_left(engine)
    }

    /// [`Units::pass`] for who writes: what is applied must be noted, too.
    pub(super) fn pass_to_write(&self, writers: &RwLock<()>, engine: &dyn SeriesEngine) -> Result<()> {
        self.pass(writers, engine)?;
        self.noted()
    }

    /// Applies, in their order, the rows of commits that are not applied yet, and notes it.
    pub(super) fn settle(&self, engine: &dyn SeriesEngine) -> Result<()> {
        if self.left.load(Ordering::SeqCst) {
            self.apply_left(engine)?;
        }
        self.noted()
    }

    /// Is every commit applied, and that noted? By whoever keeps commits away.
    pub(super) fn is_settled(&self) -> bool {
        !self.left.load(Ordering::SeqCst)
    }

    /// An error while rows that are applied are not noted as such.
    fn noted(&self) -> Result<()> {
        let unnoted = || lock(&self.unnoted).keys().next().copied();
        let Some(id) = self.left.load(Ordering::SeqCst).then(unnoted).flatten() else { return Ok(()) };
        Err(Error::new(
            Kind::Unavailable,
            format!(
                "the rows of commit {id} are applied, which cannot be noted: nothing is written over them"
            ),
        )
        .hint("writes of series wait for that; free the disk, or see the host's log"))
    }

    fn apply_left(&self, engine: &dyn SeriesEngine) -> Result<()> {
        let mut unnoted = lock(&self.unnoted);
        unnoted.retain(|id, why| !self.note(*id, why.as_deref()));
        for id in commits::waiting(&self.db)? {
            if unnoted.contains_key(&id) {
                continue;
            }
            let ended = match commits::rows_of(&self.db, id) {
                Ok(Some(batch)) => self.write(engine, batch),
                Ok(None) => continue,
                Err(e) if e.kind() == Kind::Corrupt => Ok(Some(e.message().to_string())),
                Err(e) => Err(e),
            };
            let why = ended.map_err(|e| {
                Error::new(
                    Kind::Unavailable,
                    format!("the rows of commit {id} are durable and cannot be applied: {e}"),
                )
                .hint("reads and writes of series wait for them; free the disk, or see the host's log")
            })?;
            if !self.note(id, why.as_deref()) {
                unnoted.insert(id, why);
            }
        }
        self.left.store(!unnoted.is_empty(), Ordering::SeqCst);
        Ok(())
    }

    /// Applies the rows of one commit. What fails is tried again before anybody reads or writes.
    pub(super) fn apply(&self, engine: &dyn SeriesEngine, batch: WriteBatch, id: i64) {
        let mut unnoted = lock(&self.unnoted);
        match self.write(engine, batch) {
            Ok(why) if self.note(id, why.as_deref()) => return,
            Ok(why) => drop(unnoted.insert(id, why)),
            Err(e) => {
                tracing::error!(commit = id, error = %e, "the rows of a commit are durable and could not be applied; it is tried again");
            }
        }
        self.left.store(true, Ordering::SeqCst);
    }

    /// Gives rows to the engine; says why not all of them are stored, if they are not and never will be.
    fn write(&self, engine: &dyn SeriesEngine, batch: WriteBatch) -> Result<Option<String>> {
        self.moment.fetch_add(1, Ordering::SeqCst);
        let written = engine.write(batch);
        self.moment.fetch_add(1, Ordering::SeqCst);
        match written {
            Ok(WriteReport { dropped: 0, .. }) => Ok(None),
            Ok(WriteReport { dropped, .. }) => {
                Ok(Some(format!("{dropped} rows have fields of other types than those that are there")))
            }
            // However often it was tried: everybody would wait for ever.
            Err(e) if matches!(e.kind(), Kind::Invalid | Kind::Limit | Kind::Conflict) => {
                Ok(Some(e.to_string()))
            }
            Err(e) => Err(e),
        }
    }

    /// Notes that the rows of a commit are applied, or why they are set aside; `false`: that could not be noted.
    fn note(&self, id: i64, why: Option<&str>) -> bool {
        let noted = match why {
            None => commits::applied(&self.db, id),
            Some(why) => {
                tracing::error!(commit = id, why, "rows of a commit are set aside");
                commits::set_aside(&self.db, id, why)
            }
        };
        if let Err(e) = &noted {
            tracing::error!(commit = id, error = %e, "the rows of a commit are applied, which could not be noted");
        }
        noted.is_ok()
    }

    /// Reads as of one instant: a commit that is made meanwhile is in all of it or in nothing. The read begins anew where there was
    /// one, unless part of its answer was handed out; the last time it keeps commits waiting until it lets go of the guard.
    pub(super) fn at_once<'a, T>(
        &self,
        writers: &'a RwLock<()>,
        mut read: impl FnMut(&mut NoCommit<'a>) -> Result<Read<T>>,
    ) -> Result<T> {
        for _ in 0..READS_ANEW_MAX {
            let before = self.moment.load(Ordering::SeqCst);
            match read(&mut None)? {
                Read::HandedOut(answer) => return Ok(answer),
                Read::Held(answer)
                    if before.is_multiple_of(2) && before == self.moment.load(Ordering::SeqCst) =>
                {
                    return Ok(answer);
                }
                Read::Held(_) => self.gate.pass()?,
            }
        }
        let mut no_commit = Some(writers.read().unwrap_or_else(PoisonError::into_inner));
        read(&mut no_commit).map(Read::answer)
    }
}

/// No commit is applied while this is kept.
pub(super) type NoCommit<'a> = Option<RwLockReadGuard<'a, ()>>;

/// How far an answer is.
pub(super) enum Read<T> {
    /// Nobody saw any of it.
    Held(T),
    /// It cannot be taken back.
    HandedOut(T),
}

impl<T> Read<T> {
    pub(super) fn answer(self) -> T {
        match self {
            Self::Held(answer) | Self::HandedOut(answer) => answer,
        }
    }
}

/// The types of a measurement's fields.
pub(super) type Fields = HashMap<String, FieldType>;

/// An error when a field of `batch` has another type than `stored` says of its measurement, or two within the batch.
pub(super) fn fit(batch: &WriteBatch, stored: &mut dyn FnMut(&SeriesKey) -> Result<Fields>) -> Result<()> {
    let mut known: BTreeMap<(&str, &str), Fields> = BTreeMap::new();
    for (key, frame) in &batch.series {
        let fields = match known.entry((key.bucket.as_str(), key.measurement.as_str())) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(stored(key)?),
        };
        for column in frame.columns.iter().filter(|c| (0..frame.len()).any(|row| c.is_valid(row))) {
            let got = column.values.field_type();
            let have = *fields.entry(column.name.clone()).or_insert(got);
            if have != got {
                let (bucket, measurement) = (key.bucket.clone(), key.measurement.clone());
                let field = column.name.clone();
                return Err(misfit(&TypeConflict { bucket, measurement, field, have, got, value: None }));
            }
        }
    }
    Ok(())
}

/// Why a batch is refused as a whole of which a write would leave out rows.
pub(super) fn misfit(c: &TypeConflict) -> Error {
    let got = match &c.value {
        Some(value) => format!("`{}` is none", value.escape_debug()),
        None => format!("not {}", c.got),
    };
    Error::conflict(format!("field `{}` of `{}/{}` is {}, {got}", c.field, c.bucket, c.measurement, c.have))
        .hint("send what fits the field; nothing was stored")
}

/// The fields of a measurement by the list of an engine.
pub(super) fn listed(
    key: &SeriesKey,
    list: impl FnOnce(&Selector) -> Result<Vec<SeriesInfo>>,
) -> Result<Fields> {
    let of = Selector {
        bucket: Some(key.bucket.clone()),
        measurement: Some(key.measurement.clone()),
        tags: Vec::new(),
    };
    let same = list(&of)?.into_iter().filter(|info| info.key.measurement == key.measurement);
    Ok(same.flat_map(|info| info.fields).collect())
}
