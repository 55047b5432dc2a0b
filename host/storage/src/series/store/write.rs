//! Rows in, and rows out of the store again.

use super::{SeriesStore, changed, check_bucket};
use crate::audit::Entry;
use crate::caller::{Caller, Scope};
use crate::changes::Change;
use crate::error::{Error, Kind, Result};
use crate::schema::now_ns;
use crate::series::line_protocol::{self, Mapping, Precision};
use crate::series::units::Units;
use crate::series::{
    Budget, DeleteReport, Frame, Selector, SeriesKey, TimeRange, WriteBatch, WriteReport, kinds,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Looking for rows at the times of a plugin's batch; other writers wait that long at most.
pub const LOOK_TIME_MAX: Duration = Duration::from_millis(500);

/// How a write stands to others.
pub(crate) enum Turn<'a> {
    Beside { _lock: RwLockReadGuard<'a, ()> },
    Alone { _lock: RwLockWriteGuard<'a, ()> },
}

impl SeriesStore {
    /// Durable on return. A plugin without `overwrite` only adds. Whole numbers in fields that are floats by definition
    /// (a bar's volume) become floats, and numbers in fields that are declared as decimals become those.
    pub fn write(&self, caller: &Caller, batch: WriteBatch) -> Result<WriteReport> {
        let batch = self.checked(caller, batch)?;
        self.disk.writable()?;
        let _turn = self.turn(only_adds(caller).is_some())?;
        self.keeps_what_is_there(caller, &batch)?;
        let names: Option<BTreeSet<Change>> =
            self.changes.wanted(caller).then(|| batch.series.iter().map(|(key, _)| changed(key)).collect());
        let report = self.engine.write(batch)?;
        if let Some(names) = names {
            self.changes.tell(names);
        }
        Ok(report)
    }

    /// [`SeriesStore::write`]'s turn beside other writers, for what the host itself writes. Retention drops no rows meanwhile, no
    /// plugin that may only add is between its look and its write, and no commit between what it refused and what it stores.
    pub(crate) fn beside(&self) -> Result<Turn<'_>> {
        self.turn(false)
    }

    /// Keeps commits away, and with `alone` other writers. What a commit left is applied by then: it came before.
    fn turn(&self, alone: bool) -> Result<Turn<'_>> {
        loop {
            self.pass_to_write()?;
            let turn = match alone {
                true => Turn::Alone { _lock: self.alone() },
                false => Turn::Beside { _lock: self.adding.read().unwrap_or_else(PoisonError::into_inner) },
            };
            // One may have been made since, and not have been applied.
            if self.units.as_ref().is_none_or(Units::is_settled) {
                return Ok(turn);
            }
        }
    }

    /// A batch as it may be stored.
    pub(crate) fn checked(&self, caller: &Caller, mut batch: WriteBatch) -> Result<WriteBatch> {
        if batch.rows() as u64 > self.limits.write_rows {
            return Err(Error::limit(
                format!("the batch of {} rows", batch.rows()),
                format!("limits.write_rows = {}", self.limits.write_rows),
                "send smaller batches, or raise `limits.write_rows` in shiphold.toml",
            ));
        }
        self.allow(caller, &mut batch)?;
        Ok(batch)
    }

    /// May the caller write such rows? Whole numbers in fields that are floats by definition become floats.
    pub(super) fn allow(&self, caller: &Caller, batch: &mut WriteBatch) -> Result<()> {
        for (key, frame) in &mut batch.series {
            caller.may_write_series(&key.bucket, &key.measurement)?;
            check_bucket(&key.bucket)?;
            kinds::check_levels(&key.measurement, frame)?;
            let scales = self.scales.of(&key.bucket, &key.measurement);
            kinds::fit(&key.measurement, frame, |field| scales.scale(field).is_none());
        }
        Ok(())
    }

    /// Refuses a batch of a plugin without `overwrite` that has rows at times that are taken, by whoever has
    /// [`SeriesStore::alone`].
    pub(crate) fn keeps_what_is_there(&self, caller: &Caller, batch: &WriteBatch) -> Result<()> {
        let Some(name) = only_adds(caller) else { return Ok(()) };
        let budget = Budget { deadline: Some(Instant::now() + LOOK_TIME_MAX), ..Budget::default() };
        batch.series.iter().try_for_each(|(key, frame)| self.finds_none(name, key, frame, &budget))
    }

    /// Refuses rows of a plugin at times that are taken.
    fn finds_none(&self, name: &str, key: &SeriesKey, frame: &Frame, budget: &Budget) -> Result<()> {
        let (Some(first), Some(last)) = (frame.times.iter().min(), frame.times.iter().max()) else {
            return Ok(());
        };
        let new: BTreeSet<i64> = frame.times.iter().copied().collect();
        let range = TimeRange { start: *first, end: last.saturating_add(1) };
        for there in self.engine.scan(key, range, None, budget)? {
            let there = there.map_err(|e| match e.kind() {
                Kind::Timeout => Error::limit(
                    format!("looking for rows of `{key}` that the plugin would replace"),
                    format!("{} ms", LOOK_TIME_MAX.as_millis()),
                    "write rows whose times are near each other, or set `grants.overwrite = true` of the plugin",
                ),
                _ => e,
            })?;
            if let Some(time) = there.times.iter().find(|t| new.contains(t)) {
                return Err(Error::conflict(format!(
                    "plugin `{name}` may only add, and `{key}` has a row at {time} ns"
                ))
                .hint(
                    "set `grants.overwrite = true` of the plugin in shiphold.toml if it may replace rows",
                ));
            }
        }
        Ok(())
    }

    /// Line protocol; maps lines to typed measurements (docs/line-protocol.md).
    pub fn write_lines(
        &self,
        caller: &Caller,
        bucket: &str,
        body: &[u8],
        precision: Precision,
    ) -> Result<WriteReport> {
        let batch = self.parsed(caller, Some(bucket), body, precision)?;
        if batch.series.is_empty() {
            return Ok(WriteReport::default());
        }
        self.write(caller, batch)
    }

    /// The rows of line protocol.
    pub(crate) fn parsed(
        &self,
        caller: &Caller,
        bucket: Option<&str>,
        body: &[u8],
        precision: Precision,
    ) -> Result<WriteBatch> {
        // Before any work is done for someone who may not write at all.
        if !matches!(caller, Caller::Plugin { .. }) {
            caller.require(Scope::Write, "write series")?;
        }
        let bucket = bucket.unwrap_or(&self.bucket);
        check_bucket(bucket)?;
        self.disk.writable()?;
        let mapping =
            Mapping { scales: Some(self.scales.as_ref()), ..Mapping::typed(self.limits.write_rows) };
        line_protocol::parse_mapped(bucket, body, precision, now_ns(), &mapping)
    }

    /// Admin; audited before the first row goes and again when all are gone; allowed on a read-only disk. The time limit of a query
    /// covers what must be read first: rows of archives, and those that are kept as revisions.
    pub fn delete(&self, caller: &Caller, selector: &Selector, range: TimeRange) -> Result<DeleteReport> {
        caller.require(Scope::Admin, "delete series")?;
        self.pass_to_write()?;
        let object = format!(
            "series:{}/{}",
            selector.bucket.as_deref().unwrap_or("*"),
            selector.measurement.as_deref().unwrap_or("*")
        );
        let asked = json!({ "tags": selector.tags, "start": range.start, "end": range.end });
        self.audit.record(&Entry::new(caller, "series.delete", &object).detail(asked))?;
        self.desk.positions().forget_of(selector)?;
        let budget = self.budget(&Budget::default());
        let result = self.disk.make_room(|| self.engine.delete_within(selector, range, &budget));
        let result = result.map_err(|e| match e.kind() {
            Kind::Timeout => {
                Error::new(Kind::Timeout, "the deletion ran out of time while it read what is to go")
                    .hint("delete a narrower range, or raise `limits.query_time` in shiphold.toml")
            }
            _ => e,
        });
        let done = match &result {
            Ok(report) => json!({ "ok": true, "series": report.series, "rows": report.rows }),
            Err(e) => json!({ "ok": false, "error": e.to_string() }),
        };
        self.audit.record(&Entry::new(caller, "series.deleted", object).detail(done))?;
        result
    }

    /// Drops rows of the engine for retention, by whoever has [`SeriesStore::alone`] and saw to it that all is settled. What of them
    /// is in no archive, from `gone` on, is gone from what was known before, too, unlike after a delete.
    pub(crate) fn forget(
        &self,
        selector: &Selector,
        range: TimeRange,
        gone: Option<i64>,
    ) -> Result<DeleteReport> {
        self.desk.positions().forget_of(selector)?;
        let gone = gone.map(|from| TimeRange { start: from.max(range.start), end: range.end });
        self.recorder.forget(self.stored().as_ref(), selector, range, gone)
    }
}

/// The plugin that may not replace rows, if that is who asks.
fn only_adds(caller: &Caller) -> Option<&str> {
    match caller {
        Caller::Plugin { name, grants } if !grants.overwrite => Some(name),
        _ => None,
    }
}
