//! `/v1/trades`

use super::answer;
use super::body::{Input, Names, Params};
use super::problem::Answer;
use super::time::When;
use crate::app::App;
use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use shiphold_storage::trades::{
    Account, Adjust, Alias, AsOf, BarsQuery, Batch, ListFilter, Mapping, NewAction, NewInstrument, NewRoll,
    NewStatement, NewTerms, Number, PerformanceQuery, PositionsQuery, Resolve, RollBy,
};
use shiphold_storage::{Caller, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

type Host = (State<Arc<App>>, Extension<Caller>);

/// Rows of a list when the caller names no number.
const LIST_DEFAULT: u64 = 1_000;

fn moment(what: &str, when: Option<&When>) -> Result<Option<i64>> {
    when.map(|w| w.ns(what)).transpose()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    after: Option<String>,
    limit: Option<u64>,
}

pub(super) async fn accounts((State(app), Extension(caller)): Host, Params(l): Params<List>) -> Answer {
    answer::json(&app, move |layer| {
        layer.trades().accounts(&caller, l.after.as_deref(), l.limit.unwrap_or(LIST_DEFAULT))
    })
    .await
}

pub(super) async fn open_account(
    (State(app), Extension(caller)): Host,
    Input(new): Input<Account>,
) -> Answer {
    answer::created(&app, move |layer| layer.trades().open_account(&caller, &new)).await
}

pub(super) async fn instruments((State(app), Extension(caller)): Host, Params(l): Params<List>) -> Answer {
    answer::json(&app, move |layer| {
        layer.trades().instruments(&caller, l.after.as_deref(), l.limit.unwrap_or(LIST_DEFAULT))
    })
    .await
}

pub(super) async fn add_instrument(
    (State(app), Extension(caller)): Host,
    Input(new): Input<NewInstrument>,
) -> Answer {
    answer::created(&app, move |layer| layer.trades().add_instrument(&caller, &new)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moment {
    at: Option<When>,
    known_at: Option<When>,
}

impl Moment {
    fn as_of(&self) -> Result<AsOf> {
        Ok(AsOf {
            at: moment("at", self.at.as_ref())?,
            known_at: moment("known_at", self.known_at.as_ref())?,
        })
    }
}

pub(super) async fn instrument(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Params(m): Params<Moment>,
) -> Answer {
    let as_of = m.as_of()?;
    answer::json(&app, move |layer| {
        let (instrument, aliases) = layer.trades().instrument(&caller, &name, as_of.at)?;
        let actions = layer.trades().actions(&caller, &instrument.name, as_of)?;
        Ok(json!({ "instrument": instrument, "aliases": aliases, "actions": actions }))
    })
    .await
}

pub(super) async fn set_terms(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Input(terms): Input<NewTerms>,
) -> Answer {
    answer::json(&app, move |layer| layer.trades().set_terms(&caller, &name, &terms)).await
}

pub(super) async fn add_alias(
    (State(app), Extension(caller)): Host,
    Names(name): Names<String>,
    Input(alias): Input<Alias>,
) -> Answer {
    answer::created(&app, move |layer| layer.trades().add_alias(&caller, &name, &alias)).await
}

pub(super) async fn add_action(
    (State(app), Extension(caller)): Host,
    Input(new): Input<NewAction>,
) -> Answer {
    answer::created(&app, move |layer| layer.trades().add_action(&caller, &new)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Void {
    instrument: String,
    seq: i64,
    reason: String,
}

pub(super) async fn void_action((State(app), Extension(caller)): Host, Input(v): Input<Void>) -> Answer {
    answer::json(&app, move |layer| {
        layer.trades().void_action(&caller, &v.instrument, v.seq, &v.reason)?;
        Ok(json!({ "voided": v.seq }))
    })
    .await
}

pub(super) async fn rolls(
    (State(app), Extension(caller)): Host,
    Names(chain): Names<String>,
    Params(m): Params<Moment>,
) -> Answer {
    let as_of = m.as_of()?;
    answer::json(&app, move |layer| layer.trades().rolls(&caller, &chain, as_of)).await
}

pub(super) async fn add_roll((State(app), Extension(caller)): Host, Input(new): Input<NewRoll>) -> Answer {
    answer::created(&app, move |layer| layer.trades().add_roll(&caller, &new)).await
}

/// `POST /v1/trades/batch`: orders, fills, events and movements of cash, whole or not at all.
pub(super) async fn batch((State(app), Extension(caller)): Host, Input(batch): Input<Batch>) -> Answer {
    answer::json(&app, move |layer| layer.trades().record(&caller, &batch)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rows {
    instrument: Option<String>,
    order: Option<String>,
    since: Option<When>,
    until: Option<When>,
    known_at: Option<When>,
    #[serde(default)]
    all: bool,
    after: Option<i64>,
    limit: Option<u64>,
}

impl Rows {
    fn filter(self, account: String) -> Result<ListFilter> {
        Ok(ListFilter {
            account,
            since: moment("since", self.since.as_ref())?,
            until: moment("until", self.until.as_ref())?,
            known_at: moment("known_at", self.known_at.as_ref())?,
            instrument: self.instrument,
            order: self.order,
            all: self.all,
            after: self.after,
            limit: self.limit,
        })
    }
}

pub(super) async fn fills(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Params(rows): Params<Rows>,
) -> Answer {
    let filter = rows.filter(account)?;
    answer::json(&app, move |layer| layer.trades().fills(&caller, &filter)).await
}

pub(super) async fn cash(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Params(rows): Params<Rows>,
) -> Answer {
    let filter = rows.filter(account)?;
    answer::json(&app, move |layer| layer.trades().cash_movements(&caller, &filter)).await
}

pub(super) async fn orders(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Params(rows): Params<Rows>,
) -> Answer {
    let filter = rows.filter(account)?;
    answer::json(&app, move |layer| layer.trades().orders(&caller, &filter)).await
}

pub(super) async fn order(
    (State(app), Extension(caller)): Host,
    Names((account, id)): Names<(String, String)>,
    Params(m): Params<Moment>,
) -> Answer {
    let as_of = m.as_of()?;
    answer::json(&app, move |layer| layer.trades().order(&caller, &account, &id, as_of)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Held {
    at: Option<When>,
    known_at: Option<When>,
    flat: bool,
}

impl Held {
    fn query(self, account: String, prices: BTreeMap<String, Number>) -> Result<PositionsQuery> {
        let as_of = Moment { at: self.at, known_at: self.known_at }.as_of()?;
        Ok(PositionsQuery { account, at: as_of.at, known_at: as_of.known_at, flat: self.flat, prices })
    }
}

pub(super) async fn positions(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Params(h): Params<Held>,
) -> Answer {
    let query = h.query(account, BTreeMap::new())?;
    answer::json(&app, move |layer| layer.trades().positions(&caller, &query)).await
}

/// The same at prices that the body gives: `{"AAPL":"189.70"}`.
pub(super) async fn positions_at(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Params(h): Params<Held>,
    Input(prices): Input<BTreeMap<String, Number>>,
) -> Answer {
    let query = h.query(account, prices)?;
    answer::json(&app, move |layer| layer.trades().positions(&caller, &query)).await
}

pub(super) async fn rebuild((State(app), Extension(caller)): Host, Names(account): Names<String>) -> Answer {
    answer::json(&app, move |layer| {
        let states = layer.trades().rebuild(&caller, &account)?;
        Ok(json!({ "states": states }))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bars {
    instrument: Option<String>,
    chain: Option<String>,
    start: Option<When>,
    end: Option<When>,
    #[serde(default)]
    adjust: Adjust,
    #[serde(default)]
    roll: RollBy,
    at: Option<When>,
    known_at: Option<When>,
    resample: Option<String>,
}

pub(super) async fn bars((State(app), Extension(caller)): Host, Params(b): Params<Bars>) -> Answer {
    let query = BarsQuery {
        start: moment("start", b.start.as_ref())?,
        end: moment("end", b.end.as_ref())?,
        at: moment("at", b.at.as_ref())?,
        known_at: moment("known_at", b.known_at.as_ref())?,
        instrument: b.instrument,
        chain: b.chain,
        adjust: b.adjust,
        roll: b.roll,
        resample: b.resample,
    };
    let (guard, budget) = answer::CancelOnDrop::new();
    let done = answer::json(&app, move |layer| layer.adjusted_bars(&caller, &query, &budget)).await;
    drop(guard);
    done
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Performance {
    skill: String,
    version: String,
    start: When,
    end: When,
    capital: Option<Number>,
    known_at: Option<When>,
}

impl Performance {
    fn query(self, account: String) -> Result<PerformanceQuery> {
        Ok(PerformanceQuery {
            account,
            start: self.start.ns("start")?,
            end: self.end.ns("end")?,
            known_at: moment("known_at", self.known_at.as_ref())?,
            skill: self.skill,
            version: self.version,
            capital: self.capital,
        })
    }
}

/// What a version of a skill achieved; nothing is recorded.
pub(super) async fn performance(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Params(p): Params<Performance>,
) -> Answer {
    let query = p.query(account)?;
    let (guard, budget) = answer::CancelOnDrop::new();
    let done = answer::json(&app, move |layer| layer.skill_performance(&caller, &query, &budget)).await;
    drop(guard);
    done
}

/// The same, recorded of the skill.
pub(super) async fn record_performance(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Input(p): Input<Performance>,
) -> Answer {
    let query = p.query(account)?;
    let (guard, budget) = answer::CancelOnDrop::new();
    let done =
        answer::created(&app, move |layer| layer.record_skill_performance(&caller, &query, &budget)).await;
    drop(guard);
    done
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementFile {
    csv: String,
    mapping: Mapping,
    since: Option<When>,
    until: Option<When>,
}

pub(super) async fn compare_statement(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Input(s): Input<StatementFile>,
) -> Answer {
    let new = NewStatement {
        account,
        since: moment("since", s.since.as_ref())?,
        until: moment("until", s.until.as_ref())?,
        csv: s.csv,
        mapping: s.mapping,
    };
    answer::created(&app, move |layer| layer.trades().compare_statement(&caller, &new)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statements {
    before: Option<i64>,
    limit: Option<u64>,
}

pub(super) async fn statements(
    (State(app), Extension(caller)): Host,
    Names(account): Names<String>,
    Params(s): Params<Statements>,
) -> Answer {
    answer::json(&app, move |layer| {
        layer.trades().statements(&caller, &account, s.before, s.limit.unwrap_or(LIST_DEFAULT))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Open {
    #[serde(default)]
    open: bool,
}

pub(super) async fn differences(
    (State(app), Extension(caller)): Host,
    Names((account, statement)): Names<(String, i64)>,
    Params(o): Params<Open>,
) -> Answer {
    answer::json(&app, move |layer| layer.trades().differences(&caller, &account, statement, o.open)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolution {
    number: i64,
    action: Resolve,
    reason: String,
}

pub(super) async fn resolve(
    (State(app), Extension(caller)): Host,
    Names((account, statement)): Names<(String, i64)>,
    Input(r): Input<Resolution>,
) -> Answer {
    if r.number < 1 {
        return Err(Error::invalid(format!("there is no difference {}", r.number))
            .hint("they are numbered from 1")
            .into());
    }
    answer::json(&app, move |layer| {
        layer.trades().resolve_difference(&caller, &account, (statement, r.number), r.action, &r.reason)
    })
    .await
}
