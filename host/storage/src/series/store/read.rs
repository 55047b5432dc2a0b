//! Questions.

use super::SeriesStore;
use crate::caller::{Caller, Scope};
use crate::error::Result;
use crate::series::coverage::{self, Coverage, CoverageQuery};
use crate::series::decimals::{self, DecimalEngine, Face};
use crate::series::flux_query::{self, FluxQuery, TableSink};
use crate::series::query::{self, Explanation, Query, Table};
use crate::series::units::Read;
use crate::series::{
    Budget, FrameStream, Latest, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, exchange, kinds,
};
use crate::units::Span;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

impl SeriesStore {
    /// The engine that answers a query: of now, or as it was known at a time.
    pub(super) fn answering(&self, query: &mut Query) -> Result<Arc<dyn SeriesEngine>> {
        let Some(time) = query.as_known_at.take() else { return Ok(self.engine.clone()) };
        let zone = kinds::zone("timezone", query.timezone.as_deref())?;
        let known = self.recorder.as_known_at(time.resolve("as_known_at", zone)?)?;
        Ok(DecimalEngine::over(known, &self.scales, Face::Exact))
    }

    /// Answers a query within the host's limits; `budget` adds a cancel flag or a nearer deadline.
    pub fn query(&self, caller: &Caller, query: &Query, budget: &Budget) -> Result<Table> {
        let mut query = self.permitted(caller, query)?;
        let engine = self.answering(&mut query)?;
        let budget = self.budget(budget);
        self.at_once(|| query::execute(engine.as_ref(), &query, &budget, self.limits.query_rows))
    }

    /// Runs a query and says, in place of its rows, what it took.
    pub fn explain(&self, caller: &Caller, query: &Query, budget: &Budget) -> Result<Explanation> {
        let mut query = self.permitted(caller, query)?;
        let engine = self.answering(&mut query)?;
        query::explain(engine.as_ref(), &query, &self.budget(budget), self.limits.query_rows)
    }

    /// [`SeriesStore::query`] batch by batch, without the answer ever being held. The limit on time covers all of it, with what
    /// `sink` takes. An answer of one batch is of one instant; of a longer one each series is.
    pub fn query_into(
        &self,
        caller: &Caller,
        query: &Query,
        budget: &Budget,
        sink: &mut query::Sink<'_>,
    ) -> Result<query::Done> {
        let mut query = self.permitted(caller, query)?;
        let budget = self.budget(budget);
        let engine = self.answering(&mut query)?;
        let Some(units) = &self.units else {
            return query::execute_into(engine.as_ref(), &query, &budget, self.limits.query_rows, sink);
        };
        let (last, done) = units.at_once(&self.adding, |no_commit| {
            let (mut held, mut handed_out) = (None, false);
            let mut take = |frame| match held.replace(frame) {
                None => Ok(()),
                Some(before) => {
                    handed_out = true;
                    // Whoever takes the answer may be slow.
                    *no_commit = None;
                    sink(before)
                }
            };
            let done =
                query::execute_into(engine.as_ref(), &query, &budget, self.limits.query_rows, &mut take)?;
            Ok(if handed_out { Read::HandedOut((held, done)) } else { Read::Held((held, done)) })
        })?;
        last.map_or(Ok(()), sink)?;
        Ok(done)
    }

    /// A query with what it leaves to the manifest, if the caller may read all that it names.
    pub(super) fn permitted(&self, caller: &Caller, query: &Query) -> Result<Query> {
        self.pass()?;
        let mut query = query.clone();
        query.bucket.get_or_insert_with(|| self.bucket.clone());
        for (bucket, measurement) in query.reads() {
            caller.may_read_series(bucket.unwrap_or(&self.bucket), measurement)?;
        }
        self.calendar(&mut query.session)?;
        Ok(query)
    }

    pub fn scan(
        &self,
        caller: &Caller,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        caller.may_read_series(&key.bucket, &key.measurement)?;
        self.pass()?;
        self.engine.scan(key, range, fields, &self.budget(budget))
    }

    /// Only what the caller may read; `as_known_at`, in nanoseconds: as it was known at that time.
    pub fn latest(
        &self,
        caller: &Caller,
        selector: &Selector,
        as_known_at: Option<i64>,
        budget: &Budget,
    ) -> Result<Vec<Latest>> {
        self.may_look(caller)?;
        let budget = self.budget(budget);
        let mut all = self.at_once(|| match as_known_at {
            None => self.engine.latest_within(selector, &budget),
            Some(at) => {
                let units = self.recorder.latest_as_known_at(at, selector, &budget)?;
                Ok(decimals::newest(&self.scales, Face::Exact, units))
            }
        })?;
        all.retain(|l| caller.may_read_series(&l.key.bucket, &l.key.measurement).is_ok());
        Ok(all)
    }

    /// Only what the caller may read.
    pub fn list(&self, caller: &Caller, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        self.readable(caller, self.engine.as_ref(), selector)
    }

    pub(super) fn readable(
        &self,
        caller: &Caller,
        engine: &dyn SeriesEngine,
        selector: &Selector,
    ) -> Result<Vec<SeriesInfo>> {
        self.may_look(caller)?;
        let mut all = self.at_once(|| engine.list(selector))?;
        all.retain(|s| caller.may_read_series(&s.key.bucket, &s.key.measurement).is_ok());
        Ok(all)
    }

    /// What the chosen series have and where rows are missing; only what the caller may read.
    pub fn coverage(&self, caller: &Caller, query: &CoverageQuery, budget: &Budget) -> Result<Vec<Coverage>> {
        self.may_look(caller)?;
        let budget = self.budget(budget);
        let mut query = query.clone();
        let engine = match query.as_known_at.take() {
            None => self.engine.clone(),
            Some(time) => self.recorder.as_known_at(time.resolve("as_known_at", chrono_tz::Tz::UTC)?)?,
        };
        self.calendar(&mut query.session)?;
        let readable = |s: &SeriesInfo| caller.may_read_series(&s.key.bucket, &s.key.measurement).is_ok();
        self.at_once(|| {
            let mut series = engine.choose(&query.selector(), &budget)?;
            series.retain(|s| s.rows > 0 && readable(s));
            coverage::coverage(engine.as_ref(), series, &query, &budget)
        })
    }

    /// Answers a query in Flux table by table, from what the caller may read. Of a bucket that is none there are no tables:
    /// `buckets::require` tells.
    pub fn flux(
        &self,
        caller: &Caller,
        query: &FluxQuery,
        budget: &Budget,
        sink: &mut TableSink<'_>,
    ) -> Result<()> {
        self.may_look(caller)?;
        let readable = |key: &SeriesKey| caller.may_read_series(&key.bucket, &key.measurement).is_ok();
        let budget = self.budget(budget);
        flux_query::run(self.floats.as_ref(), query, &budget, self.limits.query_rows, &readable, sink)
    }

    /// Whole series into `out`, in bounded memory. No limit on rows, and none on time but the budget's own: who writes out
    /// years of ticks means it.
    pub fn export(
        &self,
        caller: &Caller,
        request: &exchange::Export,
        format: exchange::Format,
        budget: &Budget,
        out: &mut (dyn Write + Send),
    ) -> Result<exchange::Exported> {
        let mut request = request.clone();
        let bucket = request.bucket.get_or_insert_with(|| self.bucket.clone());
        caller.may_read_series(bucket, &request.measurement)?;
        self.pass()?;
        exchange::export(self.engine.as_ref(), &request, format, budget, out)
    }

    /// The buckets of the engine and how long it keeps their rows. Not for plugins: they see series, not the server.
    pub fn retentions(&self, caller: &Caller) -> Result<BTreeMap<String, Option<Span>>> {
        if matches!(caller, Caller::Plugin { .. }) {
            return Ok(BTreeMap::new());
        }
        caller.require(Scope::Read, "look at buckets")?;
        self.engine.retentions()
    }
}
