//! Recording a batch: one transaction, whole or not at all.

use super::fold::Key;
use super::instruments::{self, Known};
use super::orders::Standing;
use super::types::{BATCH_ROWS_MAX, Batch, BatchAnswer, Recorded};
use super::writing::Writing;
use super::{Trades, accounts, states};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::sqlite::Tx;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// What is known while a batch is recorded.
pub(super) struct Recorder<'a> {
    pub writing: Writing<'a>,
    pub account: i64,
    known: HashMap<String, Rc<Known>>,
    /// Those that an alias meant, by their numbers.
    meant: HashMap<i64, Rc<Known>>,
    orders: HashMap<String, Option<Standing>>,
    /// From where on the sums of an instrument have changed.
    touched: BTreeMap<i64, Key>,
}

impl Trades {
    /// Records orders, fills, events and movements of cash of one account: durable on return, whole or not at all. What was recorded
    /// before with the same content is answered as it was then; the same id with other content is [`crate::Kind::Conflict`]. Audited
    /// as one entry, with a digest of the rows.
    pub fn record(&self, caller: &Caller, batch: &Batch) -> Result<BatchAnswer> {
        self.record_as(caller, batch, "trades.record", |_, _| Ok(()))
    }

    /// [`Trades::record`] with more that is written in the same transaction.
    pub(super) fn record_as(
        &self,
        caller: &Caller,
        batch: &Batch,
        action: &str,
        more: impl FnOnce(&mut Writing<'_>, &mut Map<String, Value>) -> Result<()>,
    ) -> Result<BatchAnswer> {
        caller.may_write_trades(&batch.account, "record trades")?;
        let rows = batch.orders.len() + batch.fills.len() + batch.events.len() + batch.cash.len();
        if rows > BATCH_ROWS_MAX {
            return Err(Error::limit(
                format!("a batch of {rows} rows"),
                BATCH_ROWS_MAX,
                "record it in several",
            ));
        }
        let (answer, stale) = self.db.write(|tx| {
            let mut recorder = Recorder::begin(tx, &batch.account)?;
            let mut answer = recorder.all(batch)?;
            let mut detail = Map::new();
            for (what, rows) in [
                ("orders", &answer.orders),
                ("fills", &answer.fills),
                ("events", &answer.events),
                ("cash", &answer.cash),
            ] {
                detail.insert(what.into(), fresh(rows).into());
            }
            more(&mut recorder.writing, &mut detail)?;
            let stale = states::follow(tx, recorder.account, &recorder.touched)?;
            answer.recorded = recorder.writing.rows().unsigned_abs();
            recorder.writing.finish(
                caller,
                action,
                format!("account:{}", batch.account),
                Value::Object(detail),
            )?;
            Ok((answer, stale))
        })?;
        if stale {
            self.stale.store(true, Ordering::Relaxed);
        }
        Ok(answer)
    }
}

fn fresh(rows: &[Recorded]) -> usize {
    rows.iter().filter(|r| !r.replayed).count()
}

impl<'a> Recorder<'a> {
    fn begin(tx: &'a Tx<'a>, account: &str) -> Result<Self> {
        let (account, _) = accounts::account(tx, account)?;
        let writing = Writing::begin(tx)?;
        let (known, meant, orders) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self { writing, account, known, meant, orders, touched: BTreeMap::new() })
    }

    fn all(&mut self, batch: &Batch) -> Result<BatchAnswer> {
        fn each<T>(
            what: &str,
            rows: &[T],
            mut f: impl FnMut(&T) -> Result<Recorded>,
        ) -> Result<Vec<Recorded>> {
            let one = |(i, row)| f(row).map_err(|e: Error| e.context(format!("{what}[{i}]")));
            rows.iter().enumerate().map(one).collect()
        }
        Ok(BatchAnswer {
            recorded: 0,
            orders: each("orders", &batch.orders, |o| self.order(o))?,
            fills: each("fills", &batch.fills, |f| self.fill(f))?,
            events: each("events", &batch.events, |e| self.event(e))?,
            cash: each("cash", &batch.cash, |m| self.cash(m))?,
        })
    }

    /// The instrument that a name means at a time.
    pub fn instrument(&mut self, name: &str, time: i64) -> Result<Rc<Known>> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        if let Some(found) = instruments::find(self.writing.tx, name)? {
            let found = Rc::new(found);
            self.known.insert(name.into(), found.clone());
            return Ok(found);
        }
        // What an alias means depends on the time; what that is does not, and all its terms are read once.
        let number = instruments::meant(self.writing.tx, name, time)?;
        if let Some(known) = self.meant.get(&number) {
            return Ok(known.clone());
        }
        let found = Rc::new(instruments::by_id(self.writing.tx, number)?);
        self.meant.insert(number, found.clone());
        Ok(found)
    }

    /// How an order stands, if it is there.
    pub fn standing(&mut self, order: &str) -> Result<Option<&mut Standing>> {
        if !self.orders.contains_key(order) {
            let found = Standing::read(self.writing.tx, self.account, order)?;
            self.orders.insert(order.into(), found);
        }
        Ok(self.orders.get_mut(order).and_then(Option::as_mut))
    }

    /// It is read anew when it is asked for next.
    pub fn forget(&mut self, order: &str) {
        self.orders.remove(order);
    }

    /// Sums of an instrument are others from `key` on.
    pub fn touch(&mut self, instrument: i64, key: Key) {
        let from = self.touched.entry(instrument).or_insert(key);
        *from = key.min(*from);
    }
}
