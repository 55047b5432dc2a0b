//! `trades`: pages of the trading record, and batches for it. Which accounts a plugin may see and add to, the data layer says.

mod from_guest;
mod size;
mod to_guest;

use super::error::{Guest, to_guest as said};
use crate::bindings::shiphold::host::trades as wit;
use crate::state::State;
use shiphold_storage::trades::{ListFilter, PositionsQuery};
use shiphold_storage::{Error, Result};

/// Rows of a page.
const PAGE_MAX: u32 = 1_000;
/// Prices at which positions are valued.
const PRICES_MAX: usize = 1_000;

type Said<T> = wasmtime::Result<std::result::Result<T, Guest>>;

fn page(limit: u32) -> Result<u64> {
    if limit <= PAGE_MAX {
        return Ok(limit.into());
    }
    Err(Error::limit(format!("a page of {limit} rows"), PAGE_MAX, "page with `after`"))
}

fn list(filter: wit::Filter, after: Option<i64>, limit: u32) -> Result<ListFilter> {
    Ok(ListFilter {
        account: filter.account,
        instrument: filter.instrument,
        order: filter.order,
        since: filter.since,
        until: filter.until,
        known_at: filter.known_at,
        all: filter.all,
        after,
        limit: Some(page(limit)?),
    })
}

fn held(query: wit::PositionsQuery) -> Result<PositionsQuery> {
    Ok(PositionsQuery {
        account: query.account,
        at: query.at,
        known_at: query.known_at,
        flat: query.flat,
        prices: from_guest::prices(query.prices)?,
    })
}

impl wit::Host for State {
    async fn accounts(&mut self, after: Option<String>, limit: u32) -> Said<Vec<wit::Account>> {
        self.takes(size::maybe(after.as_ref()))?;
        let found = self
            .blocking(move |layer, caller, _| {
                let found = layer.trades().accounts(caller, after.as_deref(), page(limit)?)?;
                Ok(found.into_iter().map(to_guest::account).collect::<Vec<_>>())
            })
            .await?;
        self.gives(found.as_ref().map_or(0, |all| all.iter().map(size::account).sum()))?;
        Ok(found.map_err(|e| said(&e)))
    }

    async fn instruments(&mut self, after: Option<String>, limit: u32) -> Said<Vec<wit::Instrument>> {
        self.takes(size::maybe(after.as_ref()))?;
        let found = self
            .blocking(move |layer, caller, _| {
                let found = layer.trades().instruments(caller, after.as_deref(), page(limit)?)?;
                Ok(found.into_iter().map(to_guest::instrument).collect::<Vec<_>>())
            })
            .await?;
        self.gives(found.as_ref().map_or(0, |all| all.iter().map(size::instrument).sum()))?;
        Ok(found.map_err(|e| said(&e)))
    }

    async fn find_instrument(&mut self, name: String, at: Option<i64>) -> Said<wit::Instrument> {
        self.takes(name.len())?;
        let found = self
            .blocking(move |layer, caller, _| {
                layer.trades().instrument(caller, &name, at).map(|(found, _)| to_guest::instrument(found))
            })
            .await?;
        self.gives(found.as_ref().map_or(0, size::instrument))?;
        Ok(found.map_err(|e| said(&e)))
    }

    async fn orders(&mut self, filter: wit::Filter, after: Option<i64>, limit: u32) -> Said<Vec<wit::Order>> {
        self.takes(size::filter(&filter))?;
        let found = self
            .blocking(move |layer, caller, _| {
                let found = layer.trades().orders(caller, &list(filter, after, limit)?)?;
                Ok(found.into_iter().map(to_guest::order).collect::<Vec<_>>())
            })
            .await?;
        self.gives(found.as_ref().map_or(0, |all| all.iter().map(size::order).sum()))?;
        Ok(found.map_err(|e| said(&e)))
    }

    async fn fills(&mut self, filter: wit::Filter, after: Option<i64>, limit: u32) -> Said<Vec<wit::Fill>> {
        self.takes(size::filter(&filter))?;
        let found = self
            .blocking(move |layer, caller, _| {
                let found = layer.trades().fills(caller, &list(filter, after, limit)?)?;
                Ok(found.into_iter().map(to_guest::fill).collect::<Vec<_>>())
            })
            .await?;
        self.gives(found.as_ref().map_or(0, |all| all.iter().map(size::fill).sum()))?;
        Ok(found.map_err(|e| said(&e)))
    }

    async fn positions(
        &mut self,
        query: wit::PositionsQuery,
        after: Option<String>,
        limit: u32,
    ) -> Said<wit::Holdings> {
        self.takes(size::positions_query(&query) + size::maybe(after.as_ref()))?;
        let found = self
            .blocking(move |layer, caller, _| {
                let limit = usize::try_from(page(limit)?).unwrap_or(usize::MAX);
                let all = layer.trades().positions(caller, &held(query)?)?;
                let after = |name: &str| after.as_deref().is_none_or(|after| name > after);
                let shown = all.positions.into_iter().filter(|p| after(&p.instrument)).take(limit);
                Ok(wit::Holdings {
                    positions: shown.map(to_guest::position).collect(),
                    balances: all.balances.into_iter().map(to_guest::balance).collect(),
                })
            })
            .await?;
        self.gives(found.as_ref().map_or(0, size::holdings))?;
        Ok(found.map_err(|e| said(&e)))
    }

    async fn performance(&mut self, query: wit::PerformanceQuery) -> Said<wit::SkillPerformance> {
        self.takes(size::performance_query(&query))?;
        let found = self
            .blocking(move |layer, caller, budget| {
                let query = from_guest::performance_query(query)?;
                layer.skill_performance(caller, &query, budget).map(to_guest::performance)
            })
            .await?;
        self.gives(found.as_ref().map_or(0, size::performance))?;
        Ok(found.map_err(|e| said(&e)))
    }

    async fn submit(&mut self, batch: wit::Batch) -> Said<wit::Receipt> {
        self.takes(size::batch(&batch))?;
        if let Err(e) = self.may_write() {
            return Ok(Err(said(&e)));
        }
        let done = self
            .blocking(move |layer, caller, _| {
                layer.trades().record(caller, &from_guest::batch(batch)?).map(to_guest::receipt)
            })
            .await?;
        self.gives(done.as_ref().map_or(0, size::receipt))?;
        Ok(done.map_err(|e| said(&e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::Kind;

    #[test]
    fn a_page_has_a_bound() {
        assert_eq!((page(0).unwrap(), page(PAGE_MAX).unwrap()), (0, 1_000));
        for more in [PAGE_MAX + 1, u32::MAX] {
            let e = page(more).unwrap_err();
            assert!(e.kind() == Kind::Limit && e.hint_text().is_some_and(|h| h.contains("after")), "{e:?}");
        }
    }

    #[test]
    fn prices_have_a_bound_and_are_given_once() {
        let of = |count: usize| (0..count).map(|i| (format!("I{i}"), "1.5".to_string())).collect();
        assert_eq!(from_guest::prices(of(PRICES_MAX)).unwrap().len(), PRICES_MAX);
        assert_eq!(from_guest::prices(of(PRICES_MAX + 1)).unwrap_err().kind(), Kind::Limit);
        let twice = vec![("A".to_string(), "1".to_string()), ("A".to_string(), "2".to_string())];
        assert!(from_guest::prices(twice).unwrap_err().message().contains("`A`"));
        let e = from_guest::prices(vec![("A\u{1b}".into(), "1e3".into())]).unwrap_err();
        assert!(e.kind() == Kind::Invalid && !e.message().contains('\u{1b}'), "{e:?}");
    }
}
