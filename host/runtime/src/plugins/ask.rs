//! The named queries of the plugins.

use super::Plugins;
use crate::queries::{self, Batches, NamedQuery};
use crate::run;
use serde_json::{Map, Value};
use shiphold_storage::series::Budget;
use shiphold_storage::series::query::Table;
use shiphold_storage::{Caller, Error, Result, Scope};

impl Plugins {
    /// Every query that the plugins offer, by name.
    pub fn queries(&self, caller: &Caller) -> Result<Vec<NamedQuery>> {
        caller.require(Scope::Read, "list queries")?;
        let mut all: Vec<NamedQuery> =
            self.slots().values().flat_map(|s| s.queries.iter().cloned()).collect();
        all.sort_by(|a, b| (&a.name, &a.plugin).cmp(&(&b.name, &b.plugin)));
        Ok(all)
    }

    /// A query by its name, and by its plugin where two offer the same.
    pub fn query(&self, caller: &Caller, plugin: Option<&str>, name: &str) -> Result<NamedQuery> {
        let mut found = self.queries(caller)?;
        found.retain(|q| q.name == name && plugin.is_none_or(|p| q.plugin == p));
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(query), None) => Ok(query),
            (Some(one), Some(other)) => Err(Error::invalid(format!(
                "`{name}` is a query of `{}` and of `{}`",
                one.plugin, other.plugin
            ))
            .hint("say which: `--plugin` on the command line, `_plugin` over HTTP")),
            (None, _) => Err(Error::not_found(format!("there is no query `{}`", name.escape_debug()))
                .hint("`shiphold queries list` shows them; a query builder in shiphold.toml adds some")),
        }
    }

    /// Runs a query with the parameters that its plugin described.
    pub async fn ask(
        &self,
        caller: &Caller,
        plugin: Option<&str>,
        name: &str,
        params: &Map<String, Value>,
        budget: &Budget,
    ) -> Result<Table> {
        self.answer(caller, plugin, name, params, budget).await?.table().await
    }

    /// [`Plugins::ask`], batch by batch.
    pub async fn answer(
        &self,
        caller: &Caller,
        plugin: Option<&str>,
        name: &str,
        params: &Map<String, Value>,
        budget: &Budget,
    ) -> Result<Batches> {
        let query = self.query(caller, plugin, name)?;
        let slot = self.slot(&query.plugin)?;
        let loaded = slot.ready()?.clone();
        let (layer, asked) = (self.layer.clone(), query.plugin.clone());
        if !run::blocking(move || Ok(layer.plugins().state(&asked)?.enabled)).await? {
            return Err(run::disabled(&query.plugin));
        }
        // One deadline for all of it: what the plugin does, what the engine reads and what the caller takes.
        let budget = self.layer.series().budget(budget);
        let (layer, params, within) = (self.layer.clone(), params.clone(), budget.clone());
        let work = async move |mut to| {
            let done = queries::ask(&loaded, &layer, &query, &params, &within, &mut to).await;
            (to, done)
        };
        Ok(Batches::of(work, budget, move |ok, took| slot.counts.called(ok, took)))
    }
}
