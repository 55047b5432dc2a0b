//! Bars of an instrument as if its splits (and dividends) had always been, and bars of a chain of futures as one series. Adjusted
//! figures are for computing with: floats, made anew at each read from what is stored, which stays as it was traded.
//!
//! - A split of `old` into `new` pieces: prices before it times old/new, volumes times new/old.
//! - A dividend of D: prices before it times 1 − D/C, where C is the last close before it, as CRSP and most vendors have it. D is of a
//!   piece as it is after the splits of its time, and C of the same.
//! - A roll at a time t: the gap is taken between the last closes before t of both contracts. By difference it is added to every price
//!   before t, by ratio every price before t is multiplied; the last contract has its own prices.

use super::AsOf;
use super::actions::{Action, ActionKind, Roll};
use super::bars::{PRICES, Room, Series};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::layer::DataLayer;
use crate::series::kinds::Timeframe;
use crate::series::query::{Table, resample_bars};
use crate::series::{Budget, Column, Frame, TimeRange, Values};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::ops::Range;

/// What bars are adjusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adjust {
    None,
    #[default]
    Splits,
    /// Splits and dividends: a total return.
    All,
}

/// How the contracts of a chain become one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RollBy {
    /// As they were traded, with a gap at each roll.
    None,
    #[default]
    Difference,
    Ratio,
}

/// Bars of an instrument, or of a chain of futures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BarsQuery {
    /// One of the two.
    pub instrument: Option<String>,
    pub chain: Option<String>,
    /// The start is in the range, the end is not; nanoseconds since the Unix epoch.
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub adjust: Adjust,
    pub roll: RollBy,
    /// Only splits, dividends and rolls up to a time, and those that had been recorded by a time.
    pub at: Option<i64>,
    pub known_at: Option<i64>,
    /// A longer timeframe: `1h`, `1d`.
    pub resample: Option<String>,
}

/// A factor and a summand of prices, and a factor of volumes, of what is before a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub before: i64,
    pub times: f64,
    pub plus: f64,
    pub pieces: f64,
}

impl BarsQuery {
    fn as_of(&self) -> AsOf {
        AsOf { at: self.at, known_at: self.known_at }
    }

    fn range(&self) -> Result<(i64, i64)> {
        let all = TimeRange::ALL;
        let (start, end) = (self.start.unwrap_or(all.start), self.end.unwrap_or(all.end));
        if start > end {
            return Err(
                Error::invalid("`start` is after `end`").hint("the start is in the range, the end is not")
            );
        }
        Ok((start, end))
    }
}

impl DataLayer {
    /// Bars of an instrument, adjusted, or of a chain, as one series with the `contract` of each bar. Within the limits of one query,
    /// however many parts it is made of.
    pub fn adjusted_bars(&self, caller: &Caller, query: &BarsQuery, budget: &Budget) -> Result<Table> {
        caller.require(Scope::Read, "read adjusted bars")?;
        let range = query.range()?;
        let mut room = self.room(budget);
        let frame = match (&query.instrument, &query.chain) {
            (Some(name), None) => self.bars_of_instrument(caller, name, query, range, &mut room)?,
            (None, Some(chain)) => self.bars_of_chain(caller, chain, query, range, &mut room)?,
            _ => {
                return Err(
                    Error::invalid("bars are of an `instrument` or of a `chain`").hint("give one of the two")
                );
            }
        };
        let frame = match &query.resample {
            None => frame,
            Some(text) => {
                let timeframe: Timeframe = text.parse()?;
                resample_bars(Box::new(std::iter::once(Ok(frame))), timeframe, room.budget())?
            }
        };
        Ok(Table { frame, truncated: false, next: None })
    }

    fn bars_of_instrument(
        &self,
        caller: &Caller,
        name: &str,
        query: &BarsQuery,
        range: (i64, i64),
        room: &mut Room,
    ) -> Result<Frame> {
        let series = self.bars_of(name, query.as_of())?;
        let mut frame = Frame::default();
        self.add_bars(caller, &series, range, room, &mut frame)?;
        let all = match query.adjust {
            Adjust::None => Vec::new(),
            _ => self.trades().actions(caller, name, query.as_of())?,
        };
        let splits: Vec<(i64, f64, f64)> = all
            .iter()
            .filter_map(|Action { time, action, .. }| match action {
                ActionKind::Split { new, old } => Some((*time, *new as f64, *old as f64)),
                ActionKind::Dividend { .. } => None,
            })
            .collect();
        let split = |(before, new, old): &(i64, f64, f64)| Step {
            before: *before,
            times: old / new,
            plus: 0.0,
            pieces: new / old,
        };
        let mut steps: Vec<Step> = splits.iter().map(split).collect();
        // What is before all bars that were asked for changes none of them.
        for Action { time, action, .. } in all.iter().filter(|a| a.time > range.0) {
            let (ActionKind::Dividend { amount }, Adjust::All) = (action, query.adjust) else { continue };
            // Without a price before it there is nothing to adjust.
            let Some((at, close)) = self.priced(caller, &series, *time, room)? else { continue };
            let since = splits.iter().filter(|(split, ..)| (at + 1..=*time).contains(split));
            let close = since.fold(close, |close, (_, new, old)| close * old / new);
            let times = 1.0 - amount.to_f64() / close;
            if !(times > 0.0 && times.is_finite()) {
                return Err(Error::invalid(format!(
                    "a dividend of {amount} of `{name}` is more than its price of {close}"
                ))
                .hint("record that it did not happen, and the one that did"));
            }
            steps.push(Step { before: *time, times, plus: 0.0, pieces: 1.0 });
        }
        apply(&mut frame, &steps);
        Ok(frame)
    }

    fn bars_of_chain(
        &self,
        caller: &Caller,
        chain: &str,
        query: &BarsQuery,
        (start, end): (i64, i64),
        room: &mut Room,
    ) -> Result<Frame> {
        let rolls = self.trades().rolls(caller, chain, query.as_of())?;
        if rolls.is_empty() {
            return Err(Error::not_found(format!("the chain `{chain}` has no contracts"))
                .hint("`shiphold trades roll CHAIN TIME INSTRUMENT` records with which it goes on"));
        }
        let (mut steps, mut whole, mut contracts) = (Vec::new(), Frame::default(), Vec::new());
        let mut before: Option<(&str, Series)> = None;
        for (i, Roll { time, instrument }) in rolls.iter().enumerate() {
            if rolls.get(i + 1).is_some_and(|next| next.time <= start) {
                continue;
            }
            let series = self.bars_of(instrument, query.as_of())?;
            // A roll before all bars that were asked for changes none of them.
            if let Some((name, old)) = &before
                && query.roll != RollBy::None
                && *time > start
            {
                let old = self.close_at_roll(caller, (*name, old), *time, room)?;
                let new = self.close_at_roll(caller, (instrument.as_str(), &series), *time, room)?;
                steps.push(gap(query.roll, *time, old, new)?);
            }
            let until = rolls.get(i + 1).map_or(end, |next| next.time.min(end));
            let from = (*time).max(start);
            if from < until {
                self.add_bars(caller, &series, (from, until), room, &mut whole)?;
                if query.resample.is_none() {
                    contracts.resize(whole.len(), instrument.clone());
                }
            }
            before = Some((instrument.as_str(), series));
        }
        apply(&mut whole, &steps);
        if query.resample.is_none() {
            whole.columns.push(Column::new("contract", Values::String(contracts)));
        }
        Ok(whole)
    }

    /// The last close before a time, and when it was; 0 is no price.
    fn priced(&self, caller: &Caller, series: &Series, time: i64, room: &Room) -> Result<Option<(i64, f64)>> {
        let found = self.last_close(caller, series, (TimeRange::ALL.start, time), room.budget())?;
        Ok(found.filter(|(_, close)| *close != 0.0))
    }

    fn close_at_roll(
        &self,
        caller: &Caller,
        (name, series): (&str, &Series),
        time: i64,
        room: &Room,
    ) -> Result<f64> {
        let found = self.priced(caller, series, time, room)?;
        found.map(|(_, close)| close).ok_or_else(|| {
            Error::not_found(format!("`{name}` has no bar before the roll at {time}"))
                .hint("write its bars, or ask with `roll=none`")
        })
    }
}

/// What a roll does to the prices before it.
fn gap(by: RollBy, time: i64, old: f64, new: f64) -> Result<Step> {
    let (times, plus) = match by {
        RollBy::None => (1.0, 0.0),
        RollBy::Difference => (1.0, new - old),
        RollBy::Ratio if new / old > 0.0 => (new / old, 0.0),
        RollBy::Ratio => {
            return Err(Error::invalid(format!(
                "the prices {old} and {new} at the roll at {time} have no ratio"
            ))
            .hint("ask with `roll=difference`"));
        }
    };
    Ok(Step { before: time, times, plus, pieces: 1.0 })
}

/// Multiplies and adds what every step after a bar says. The steps may come in any order; the times of the frame grow.
pub(super) fn apply(frame: &mut Frame, steps: &[Step]) {
    let mut steps = steps.to_vec();
    steps.sort_by_key(|s| Reverse(s.before));
    let Frame { times: at, columns } = frame;
    // Backwards through the steps: each counts for all that is before it.
    let (mut times, mut plus, mut pieces) = (1.0, 0.0, 1.0);
    let mut until = at.len();
    for step in steps {
        let from = at.partition_point(|time| *time < step.before).min(until);
        scale(columns, from..until, (times, plus, pieces));
        // p × times + plus, and after that what the later steps do with it.
        plus += step.plus * times;
        times *= step.times;
        pieces *= step.pieces;
        until = from;
    }
    scale(columns, 0..until, (times, plus, pieces));
}

fn scale(columns: &mut [Column], rows: Range<usize>, (times, plus, pieces): (f64, f64, f64)) {
    for column in columns {
        let is_price = PRICES.contains(&column.name.as_str());
        let Values::Float(values) = &mut column.values else { continue };
        for value in values.get_mut(rows.clone()).unwrap_or_default() {
            *value = if is_price { *value * times + plus } else { *value * pieces };
        }
    }
}
