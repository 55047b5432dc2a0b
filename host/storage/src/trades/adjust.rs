//! Bars of an instrument as if its splits (and dividends) had always been, and bars of a chain of futures as one series. Adjusted
//! figures are for computing with: floats, made anew at each read from what is stored, which stays as it was traded.
//!
//! - A split of `old` into `new` pieces: prices before it times old/new, volumes times new/old.
//! - A dividend of D: prices before it times 1 − D/C, where C is the last close before it, as CRSP and most vendors have it.
//! - A roll at a time t: the gap is taken between the last closes before t of both contracts. By difference it is added to every price
//!   before t, by ratio every price before t is multiplied; the last contract has its own prices.

use super::AsOf;
use super::actions::{Action, ActionKind, Roll};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::series::kinds::Timeframe;
use crate::series::query::{Query, Table, Time, resample_bars};
use crate::series::{Budget, Column, Frame, Values};
use serde::{Deserialize, Serialize};

/// Columns that are prices of a piece, and those that count pieces.
const PRICES: [&str; 6] = ["open", "high", "low", "close", "vwap", "price"];
const PIECES: [&str; 2] = ["volume", "size"];

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

/// The series of an instrument's bars.
struct Series {
    bucket: Option<String>,
    measurement: String,
}

impl Series {
    fn query(&self) -> Query {
        Query { bucket: self.bucket.clone(), measurement: self.measurement.clone(), ..Query::default() }
    }
}

/// A factor and a summand of prices, and a factor of volumes, of what is before a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub before: i64,
    pub times: f64,
    pub plus: f64,
    pub pieces: f64,
}

impl DataLayer {
    /// Bars of an instrument, adjusted, or of a chain, as one series with the `contract` of each bar. Within the limits of a query.
    pub fn adjusted_bars(&self, caller: &Caller, query: &BarsQuery, budget: &Budget) -> Result<Table> {
        caller.require(Scope::Read, "read adjusted bars")?;
        let (start, end) = (query.start.unwrap_or(i64::MIN), query.end.unwrap_or(i64::MAX));
        if start > end {
            return Err(
                Error::invalid("`start` is after `end`").hint("the start is in the range, the end is not")
            );
        }
        let frame = match (&query.instrument, &query.chain) {
            (Some(name), None) => self.bars_of_instrument(caller, name, query, (start, end), budget)?,
            (None, Some(chain)) => self.bars_of_chain(caller, chain, query, (start, end), budget)?,
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
                resample_bars(Box::new(std::iter::once(Ok(frame))), timeframe, budget)?
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
        budget: &Budget,
    ) -> Result<Frame> {
        let as_of = AsOf { at: query.at, known_at: query.known_at };
        let series = self.series_of(name, query.at)?;
        let mut frame = self.bars(caller, &series, range, budget)?;
        let all = match query.adjust {
            Adjust::None => Vec::new(),
            _ => self.trades().actions(caller, name, as_of)?,
        };
        let mut steps = Vec::new();
        for Action { time, action, .. } in all {
            match (action, query.adjust) {
                (ActionKind::Split { new, old }, _) => {
                    let (new, old) = (new as f64, old as f64);
                    steps.push(Step { before: time, times: old / new, plus: 0.0, pieces: new / old });
                }
                (ActionKind::Dividend { amount }, Adjust::All) => {
                    // Without a bar before it there is nothing to adjust.
                    if let Some(close) = self.close_before(caller, &series, time, budget)? {
                        let times = 1.0 - amount.to_f64() / close;
                        if !(times > 0.0 && times.is_finite()) {
                            return Err(Error::invalid(format!(
                                "a dividend of {amount} of `{name}` is more than its price of {close}"
                            ))
                            .hint("record that it did not happen, and the one that did"));
                        }
                        steps.push(Step { before: time, times, plus: 0.0, pieces: 1.0 });
                    }
                }
                (ActionKind::Dividend { .. }, _) => {}
            }
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
        budget: &Budget,
    ) -> Result<Frame> {
        let rolls = self.trades().rolls(caller, chain, AsOf { at: query.at, known_at: query.known_at })?;
        if rolls.is_empty() {
            return Err(Error::not_found(format!("the chain `{chain}` has no contracts"))
                .hint("`shiphold trades roll CHAIN TIME INSTRUMENT` records with which it goes on"));
        }
        let mut steps = Vec::new();
        let mut whole = Frame::default();
        let mut contracts = Vec::new();
        for (i, Roll { time, instrument }) in rolls.iter().enumerate() {
            let series = self.series_of(instrument, query.at)?;
            if let Some(before) = i.checked_sub(1).and_then(|i| rolls.get(i))
                && query.roll != RollBy::None
            {
                let close = |of: &Series, name: &str| {
                    self.close_before(caller, of, *time, budget)?.filter(|c| c.is_finite()).ok_or_else(|| {
                        Error::not_found(format!("`{name}` has no bar before the roll at {time}"))
                            .hint("write its bars, or ask with `roll=none`")
                    })
                };
                let old = close(&self.series_of(&before.instrument, query.at)?, &before.instrument)?;
                let new = close(&series, instrument)?;
                let (times, plus) = match query.roll {
                    RollBy::Ratio if old != 0.0 && new / old > 0.0 => (new / old, 0.0),
                    RollBy::Ratio => {
                        return Err(Error::invalid(format!(
                            "the prices {old} and {new} at the roll at {time} have no ratio"
                        ))
                        .hint("ask with `roll=difference`"));
                    }
                    _ => (1.0, new - old),
                };
                steps.push(Step { before: *time, times, plus, pieces: 1.0 });
            }
            let until = rolls.get(i + 1).map_or(end, |next| next.time.min(end));
            let from = (*time).max(start);
            if from < until {
                let part = self.bars(caller, &series, (from, until), budget)?;
                contracts.extend(std::iter::repeat_n(instrument.clone(), part.len()));
                append(&mut whole, part);
            }
        }
        apply(&mut whole, &steps);
        if query.resample.is_none() {
            whole.columns.push(Column::new("contract", Values::String(contracts)));
        }
        Ok(whole)
    }

    /// Where the bars of an instrument are.
    fn series_of(&self, name: &str, at: Option<i64>) -> Result<Series> {
        let (found, _) = self.trades().instrument(&Caller::Operator, name, at)?;
        let measurement = found.measurement.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("nobody said where the bars of `{name}` are"))
                .hint("`shiphold trades instrument terms NAME --measurement bar.1d.AAPL`")
        })?;
        Ok(Series { bucket: found.bucket, measurement })
    }

    /// All bars of a range, as floats.
    fn bars(
        &self,
        caller: &Caller,
        series: &Series,
        (start, end): (i64, i64),
        budget: &Budget,
    ) -> Result<Frame> {
        let query = Query { start: Some(Time::Ns(start)), end: Some(Time::Ns(end)), ..series.query() };
        let table = self.series().query(caller, &query, budget)?;
        if table.truncated {
            return Err(Error::limit("the bars of an answer", "that of a query", "ask for a shorter range"));
        }
        let mut frame = table.frame;
        if !frame.times.is_sorted() {
            return Err(Error::invalid(format!("`{}` has bars of several series", series.measurement))
                .hint("name one series of bars in the terms of the instrument"));
        }
        frame.columns.retain(|c| PRICES.contains(&c.name.as_str()) || PIECES.contains(&c.name.as_str()));
        for column in &mut frame.columns {
            column.values = Values::Float(floats(&column.values));
        }
        Ok(frame)
    }

    /// The last close before a time.
    fn close_before(
        &self,
        caller: &Caller,
        series: &Series,
        time: i64,
        budget: &Budget,
    ) -> Result<Option<f64>> {
        let query = Query {
            fields: Some(vec!["close".into()]),
            end: Some(Time::Ns(time)),
            descending: true,
            limit: Some(1),
            ..series.query()
        };
        let table = self.series().query(caller, &query, budget)?;
        Ok(table.column("close").and_then(|c| floats(&c.values).first().copied()).filter(|c| *c != 0.0))
    }

    /// Closes of an instrument in a range, in the order of their times; nothing where nobody said where its bars are.
    pub(super) fn closes(
        &self,
        caller: &Caller,
        instrument: &str,
        (start, end): (i64, i64),
        budget: &Budget,
    ) -> Result<Vec<(i64, f64)>> {
        let (found, _) = self.trades().instrument(caller, instrument, None)?;
        let Some(measurement) = found.measurement else { return Ok(Vec::new()) };
        let query = Query {
            bucket: found.bucket,
            measurement,
            fields: Some(vec!["close".into()]),
            start: Some(Time::Ns(start)),
            end: Some(Time::Ns(end)),
            ..Query::default()
        };
        let table = self.series().query(caller, &query, budget)?;
        let closes = table.column("close").map(|c| floats(&c.values)).unwrap_or_default();
        Ok(table.frame.times.iter().copied().zip(closes).filter(|(_, c)| c.is_finite()).collect())
    }
}

fn floats(values: &Values) -> Vec<f64> {
    match values {
        Values::Float(v) => v.clone(),
        Values::Integer(v) => v.iter().map(|v| *v as f64).collect(),
        Values::Unsigned(v) => v.iter().map(|v| *v as f64).collect(),
        Values::Decimal(v, scale) => {
            v.iter().map(|units| crate::series::Decimal { units: *units, scale: *scale }.to_f64()).collect()
        }
        Values::Boolean(v) => vec![f64::NAN; v.len()],
        Values::String(v) => vec![f64::NAN; v.len()],
    }
}

/// Multiplies and adds what every step after a bar says. The steps may come in any order; the times of the frame grow.
pub(super) fn apply(frame: &mut Frame, steps: &[Step]) {
    let mut steps = steps.to_vec();
    steps.sort_by_key(|s| s.before);
    // Backwards through the bars: each step counts for all that is before it.
    let mut factors = vec![(1.0, 0.0, 1.0); frame.len()];
    let (mut times, mut plus, mut pieces) = (1.0, 0.0, 1.0);
    let mut next = steps.iter().rev().peekable();
    for (at, factor) in frame.times.iter().zip(&mut factors).rev() {
        while let Some(step) = next.next_if(|s| *at < s.before) {
            // p × times + plus, and after that what the later steps do with it.
            plus += step.plus * times;
            times *= step.times;
            pieces *= step.pieces;
        }
        *factor = (times, plus, pieces);
    }
    for column in &mut frame.columns {
        let Values::Float(values) = &mut column.values else { continue };
        let is_price = PRICES.contains(&column.name.as_str());
        for (value, (times, plus, pieces)) in values.iter_mut().zip(&factors) {
            *value = if is_price { *value * times + plus } else { *value * pieces };
        }
    }
}

/// Adds the rows of a later part; a column that only one of both has is empty in the other.
fn append(whole: &mut Frame, part: Frame) {
    if whole.is_empty() {
        *whole = part;
        return;
    }
    let (before, more) = (whole.len(), part.len());
    let mut part_columns = part.columns;
    for column in &mut whole.columns {
        let found =
            part_columns.iter().position(|c| c.name == column.name).map(|i| part_columns.swap_remove(i));
        let (Values::Float(values), found) = (&mut column.values, found) else { continue };
        let mut valid = column.valid.take().unwrap_or_else(|| vec![true; before]);
        match found {
            Some(Column { values: Values::Float(next), valid: next_valid, .. }) => {
                values.extend(next);
                valid.extend(next_valid.unwrap_or_else(|| vec![true; more]));
            }
            _ => {
                values.extend(std::iter::repeat_n(f64::NAN, more));
                valid.extend(std::iter::repeat_n(false, more));
            }
        }
        column.valid = valid.contains(&false).then_some(valid);
    }
    for mut column in part_columns {
        if let Values::Float(next) = &mut column.values {
            let mut values = vec![f64::NAN; before];
            values.append(next);
            let mut valid = vec![false; before];
            valid.extend(column.valid.take().unwrap_or_else(|| vec![true; more]));
            whole.columns.push(Column {
                name: column.name,
                values: Values::Float(values),
                valid: Some(valid),
            });
        }
    }
    whole.times.extend(part.times);
}
