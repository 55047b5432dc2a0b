//! What a version of a skill achieved, out of the record: the fills of its orders, as if they were an account of their own.
//!
//! - **Capital** is what returns are fractions of: as it is given, or the equity of the account at the start.
//! - **Equity** at a time is the capital and what the fills since the start made: profit realised, profit open at the last close (or else
//!   the last fill) and fees.
//! - **Returns** are from day to day (UTC), of the days on which a bar or a fill of its instruments is: a weekend is no return of zero.
//! - **Sharpe ratio**: mean of these over their standard deviation (of a sample), times the root of how many a year has; 0 where they do
//!   not vary.
//! - **Drawdown**: the deepest fall of the equity from its highest before, of the days' ends.
//! - **Exposure**: mean over the days of what is held, each position without its sign, over the equity.
//! - **Win rate**: of the fills that closed something, the share that made a profit before fees.

use super::bars::Room;
use super::fold::{Event, Key, State};
use super::instruments::{self, Known};
use super::number::Number;
use super::states::{self, Split, Until};
use super::types::Side;
use super::writing::known_seq;
use super::{ActionKind, AsOf, PositionsQuery, accounts, fills};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::series::Budget;
use crate::skills::{Performance, Version};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const DAY_NS: i64 = 86_400_000_000_000;
/// Nanoseconds of a year of 365.25 days.
const YEAR_NS: f64 = 365.25 * 86_400.0 * 1e9;
/// How far back the last close of what is held is looked for.
const PRICED_NS: i64 = 10 * DAY_NS;
/// Days of one performance: more than a lifetime of a strategy.
pub const DAYS_MAX: i64 = 20_000;
/// Fills of one performance.
pub const FILLS_MAX: usize = 1_000_000;

/// Of which version, account and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerformanceQuery {
    pub account: String,
    pub skill: String,
    pub version: String,
    /// Nanoseconds since the Unix epoch; the end is not in it.
    pub start: i64,
    pub end: i64,
    /// Default: the equity of the account at the start.
    #[serde(default)]
    pub capital: Option<Number>,
    #[serde(default)]
    pub known_at: Option<i64>,
}

/// What a version achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkillPerformance {
    pub account: String,
    pub skill: String,
    pub version: String,
    pub currency: String,
    pub capital: Number,
    /// Capital and profit at the end.
    pub equity: Number,
    pub realised: Number,
    pub unrealised: Number,
    pub fees: Number,
    /// Within the time, and those of them that closed something.
    pub fills: u64,
    pub trades: u64,
    /// Fraction of the equity, the mean of the days.
    pub exposure: f64,
    /// As it is recorded of a version of a skill: `samples` is how many returns there are.
    #[serde(flatten)]
    pub performance: Performance,
}

/// A position of the skill.
struct Book {
    known: Known,
    /// Fills and splits, in their order.
    events: Vec<(Key, Event)>,
    splits: Vec<Split>,
    state: State,
    begun: State,
    next: usize,
    closes: Vec<(i64, f64)>,
}

impl Book {
    /// Goes on to a time, which is not in it; what closed something: with profit, and all of them.
    fn advance(&mut self, until: i64) -> Result<(u64, u64)> {
        let (mut won, mut closed) = (0, 0);
        while let Some((_, event)) = self.events.get(self.next).filter(|((time, _), _)| *time < until) {
            let held = self.state.quantity;
            let profit = self.state.add(self.known.terms, *event)?;
            if let Event::Fill { side, .. } = event
                && !held.is_zero()
                && held.is_negative() == (*side == Side::Buy)
            {
                closed += 1;
                won += u64::from(profit > Number::ZERO);
            }
            self.next += 1;
        }
        Ok((won, closed))
    }

    /// The last close before a time, of pieces as they are then, or the price of the last fill.
    fn price(&self, until: i64) -> Number {
        let at = self.closes.partition_point(|(time, _)| *time < until);
        let last = at.checked_sub(1).and_then(|at| self.closes.get(at));
        last.and_then(|last| price(*last, &self.splits, until)).unwrap_or(self.state.last_price)
    }

    /// Profit of all of it at a time, and what is held.
    fn worth(&self, until: i64) -> Result<(Number, Number)> {
        let price = self.price(until);
        let open = self.state.unrealised(self.known.terms, price)?;
        let profit = self.state.realised.plus(open)?.minus(self.state.fees)?;
        Ok((profit, self.known.terms.value(self.state.quantity, price)?.abs()))
    }
}

/// What a close says of a later time. The bar has the time of its start, and a split that of the first bar after it.
fn price((time, close): (i64, f64), splits: &[Split], until: i64) -> Option<Number> {
    let since = splits.iter().filter(|(split, ..)| (time + 1..until).contains(split));
    Number::of_float(since.fold(close, |close, (_, new, old)| close * *old as f64 / *new as f64))
}

impl DataLayer {
    /// What a version of a skill achieved with its orders in an account.
    pub fn skill_performance(
        &self,
        caller: &Caller,
        query: &PerformanceQuery,
        budget: &Budget,
    ) -> Result<SkillPerformance> {
        caller.may_read_trades(&query.account, "compute performance")?;
        let days = query.end.saturating_sub(query.start).checked_div(DAY_NS).unwrap_or(0);
        if query.start >= query.end || query.start < 0 || days > DAYS_MAX {
            return Err(Error::invalid(format!(
                "the time from `start` to `end` is not above zero and at most {DAYS_MAX} days"
            ))
            .hint("write nanoseconds since the Unix epoch, or RFC 3339"));
        }
        let version: Version = query.version.parse().map_err(|e| {
            Error::invalid(format!("`{}` is no version: {e}", query.version.escape_debug()))
                .hint("write it as in `1.0.0`")
        })?;
        let (currency, mut books) = self.database().read(|c| books(c, query, &version))?;
        if let Some(other) = books.iter().find(|b| b.known.currency != currency) {
            return Err(Error::invalid(format!(
                "`{}` is in {}, and the account in {currency}",
                other.known.name, other.known.currency
            ))
            .hint("give the skill an account of its own in each currency"));
        }
        let mut room = self.room(budget);
        let capital = match query.capital {
            Some(capital) => capital,
            None => self.capital(caller, query, &currency, &room)?,
        };
        if capital <= Number::ZERO {
            return Err(Error::invalid(format!("the capital of {capital} is not above zero"))
                .hint("record the deposits of the account, or give `capital`"));
        }
        let mut days = BTreeSet::new();
        for book in &mut books {
            // From some days before, so that what was held over a weekend has a price.
            let from = query.start.saturating_sub(PRICED_NS);
            book.closes = self.closes(caller, &book.known.name, (from, query.end), &mut room)?;
            book.advance(query.start)?;
            book.begun = book.state;
            let fills = book
                .events
                .iter()
                .filter(|(_, e)| matches!(e, Event::Fill { .. }))
                .map(|((time, _), _)| *time);
            let times = book.closes.iter().map(|(time, _)| *time).chain(fills);
            days.extend(
                times.filter(|t| (query.start..query.end).contains(t)).map(|t| t - t.rem_euclid(DAY_NS)),
            );
        }
        run(query, currency, capital, &mut books, &days, room.budget())
    }

    /// [`DataLayer::skill_performance`], recorded as what this version of the skill achieved. Audited.
    pub fn record_skill_performance(
        &self,
        caller: &Caller,
        query: &PerformanceQuery,
        budget: &Budget,
    ) -> Result<SkillPerformance> {
        let found = self.skill_performance(caller, query, budget)?;
        let version: Version = query
            .version
            .parse()
            .map_err(|e| Error::invalid(format!("`{}` is no version: {e}", query.version)))?;
        self.skills().record_performance(caller, &query.skill, &version, &found.performance)?;
        Ok(found)
    }

    /// The equity of the account before the start, at the last closes then, as the profit is.
    fn capital(
        &self,
        caller: &Caller,
        query: &PerformanceQuery,
        currency: &str,
        room: &Room,
    ) -> Result<Number> {
        let mut of = PositionsQuery {
            account: query.account.clone(),
            at: Some(query.start - 1),
            known_at: query.known_at,
            ..PositionsQuery::default()
        };
        let as_of = AsOf { at: of.at, known_at: query.known_at };
        for held in self.trades().positions(caller, &of)?.positions {
            let Some(series) = self.series_of(&held.instrument, None)? else { continue };
            let range = (query.start.saturating_sub(PRICED_NS), query.start);
            let Some(last) = self.last_close(caller, &series, range, room.budget())? else { continue };
            let actions = self.trades().actions(caller, &held.instrument, as_of)?;
            let splits = actions.iter().filter_map(|a| match a.action {
                ActionKind::Split { new, old } => Some((a.time, new, old)),
                ActionKind::Dividend { .. } => None,
            });
            if let Some(price) = price(last, &splits.collect::<Vec<_>>(), query.start) {
                of.prices.insert(held.instrument, price);
            }
        }
        let all = self.trades().positions(caller, &of)?.balances;
        Ok(all.into_iter().find(|b| b.currency == currency).map_or(Number::ZERO, |b| b.equity))
    }
}

fn run(
    query: &PerformanceQuery,
    currency: String,
    capital: Number,
    books: &mut [Book],
    days: &BTreeSet<i64>,
    budget: &Budget,
) -> Result<SkillPerformance> {
    let mut begun = Number::ZERO;
    for book in books.iter() {
        begun = begun.plus(book.worth(query.start)?.0)?;
    }
    let (mut won, mut closed) = (0, 0);
    let (mut returns, mut exposure) = (Vec::new(), 0.0);
    let (mut equity, mut highest, mut drawdown) = (capital, capital, 0.0_f64);
    for day in days {
        budget.check()?;
        let until = day.saturating_add(DAY_NS).min(query.end);
        let (mut profit, mut held) = (Number::ZERO.minus(begun)?, Number::ZERO);
        for book in books.iter_mut() {
            let (w, c) = book.advance(until)?;
            (won, closed) = (won + w, closed + c);
            let (made, value) = book.worth(until)?;
            (profit, held) = (profit.plus(made)?, held.plus(value)?);
        }
        let before = equity;
        equity = capital.plus(profit)?;
        if before > Number::ZERO {
            returns.push(equity.minus(before)?.to_f64() / before.to_f64());
        }
        if equity > Number::ZERO {
            exposure += held.to_f64() / equity.to_f64();
        }
        highest = highest.max(equity);
        drawdown = drawdown.max(1.0 - equity.to_f64() / highest.to_f64());
    }
    if returns.is_empty() {
        return Err(Error::new(
            Kind::NotFound,
            format!("there is no fill or bar of skill `{}` {} in this time", query.skill, query.version),
        )
        .hint("orders name the skill and its version, fills the order; `shiphold trades orders ACCOUNT` lists them"));
    }
    let (mut realised, mut unrealised, mut fees, mut fills) = (Number::ZERO, Number::ZERO, Number::ZERO, 0);
    for book in books.iter_mut() {
        // Splits after the last of the days.
        book.advance(query.end)?;
        let price = book.price(query.end);
        realised = realised.plus(book.state.realised)?.minus(book.begun.realised)?;
        fees = fees.plus(book.state.fees)?.minus(book.begun.fees)?;
        unrealised = unrealised.plus(book.state.unrealised(book.known.terms, price)?)?;
        fills += book.state.fills - book.begun.fills;
    }
    let samples = returns.len() as u64;
    let years = (query.end - query.start) as f64 / YEAR_NS;
    Ok(SkillPerformance {
        account: query.account.clone(),
        skill: query.skill.clone(),
        version: query.version.clone(),
        currency,
        capital,
        equity,
        realised,
        unrealised,
        fees,
        fills,
        trades: closed,
        exposure: exposure / samples as f64,
        performance: Performance {
            period_start: query.start,
            period_end: query.end,
            returns: equity.minus(capital)?.to_f64() / capital.to_f64(),
            sharpe: sharpe(&returns, years),
            win_rate: if closed == 0 { 0.0 } else { won as f64 / closed as f64 },
            max_drawdown: drawdown.clamp(0.0, 1.0),
            samples,
        },
    })
}

/// Annualised; 0 of what does not vary.
fn sharpe(returns: &[f64], years: f64) -> f64 {
    let n = returns.len() as f64;
    if returns.len() < 2 {
        return 0.0;
    }
    let mean = returns.iter().sum::<f64>() / n;
    let variance = returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let ratio = mean / variance.sqrt() * (n / years).sqrt();
    // What differs only by rounding does not vary.
    if variance.sqrt() <= 1e-12 || !ratio.is_finite() { 0.0 } else { ratio }
}

/// What the skill traded in an account, with all that happened to it.
fn books(c: &Connection, query: &PerformanceQuery, version: &Version) -> Result<(String, Vec<Book>)> {
    let (account, of) = accounts::account(c, &query.account)?;
    let known = known_seq(c, query.known_at)?;
    let sql = format!(
        "SELECT {} FROM trade_orders o JOIN trade_fills f ON f.account = o.account AND f.order_ref = o.client_id
         WHERE o.skill = ?1 AND o.version = ?2 AND o.account = ?3 AND o.seq <= ?4 AND f.seq <= ?4 AND f.time < ?5 AND f.void = 0
           AND NOT EXISTS (SELECT 1 FROM trade_fills s WHERE s.supersedes = f.seq AND s.seq <= ?4) LIMIT ?6",
        fills::COLUMNS
    );
    let mut statement = c.prepare_cached(&sql)?;
    let most = FILLS_MAX as i64 + 1;
    let values = (&query.skill, version.to_string(), account, known, query.end, most);
    let mut rows = statement.query(values)?;
    let mut events: BTreeMap<i64, Vec<(Key, Event)>> = BTreeMap::new();
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        if count > FILLS_MAX {
            return Err(Error::limit(
                "the fills of a performance",
                FILLS_MAX,
                "ask for a time that ends earlier",
            ));
        }
        let f = fills::Text::read(row)?.stored()?;
        let event = Event::Fill { side: f.side, quantity: f.quantity, price: f.price, fee: f.fee };
        events.entry(f.instrument).or_default().push(((f.time, f.fill), event));
    }
    let mut books = Vec::new();
    for (instrument, mut events) in events {
        let until = Until { at: query.end - 1, known };
        let splits = states::splits(c, instrument, until)?;
        events.extend(
            splits.iter().map(|(time, new, old)| ((*time, i64::MIN), Event::Split { new: *new, old: *old })),
        );
        events.sort_by_key(|(key, _)| *key);
        let known = instruments::by_id(c, instrument)?;
        let (state, begun) = (State::default(), State::default());
        books.push(Book { known, events, splits, state, begun, next: 0, closes: Vec::new() });
    }
    Ok((of.currency, books))
}
