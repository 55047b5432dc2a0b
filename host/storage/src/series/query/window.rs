//! Aggregates over windows of time: running accumulators over frames, a run of rows of one window at a time.

mod absorb;

pub(super) use absorb::parts_of;

use super::ast::{Aggregate, Function};
use super::columns::Builder;
use crate::error::{Error, Result};
use crate::series::decimals::{Decimal, sum_to_f64};
use crate::series::kinds::{Bar, Calendar, Kind, Timeframe};
use crate::series::pieces::Even;
use crate::series::{Budget, Column, FieldType, Frame, FrameStream, Value, Values};
use chrono_tz::Tz;
use std::cell::Cell;
use std::sync::Arc;

/// Rows that are looked at one by one for the end of a window before the search halves.
const NEAR_ROWS: usize = 16;
/// Values of one window that a quantile looks at; they are held, 8 bytes each.
pub const QUANTILE_VALUES_MAX: usize = 10_000_000;

/// One column of the answer: a function of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) output: String,
    pub(super) input: String,
    pub(super) function: Function,
    /// Of a quantile.
    pub(super) q: f64,
    /// The type of the output.
    pub(super) of: FieldType,
}

impl Spec {
    /// An aggregate of a field, if it is one of this field, and one that its type has.
    fn of(aggregate: &Aggregate, field: &str, of: FieldType) -> Option<Self> {
        let gives = aggregate.function.gives(of).filter(|_| aggregate.field == field)?;
        Some(Self {
            output: aggregate.column(),
            input: field.to_string(),
            function: aggregate.function,
            q: aggregate.q.unwrap_or_default(),
            of: gives,
        })
    }
}

/// What a series is resampled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Bars,
    Ticks,
}

impl Shape {
    /// By kind, or by the fields that there are. `None`: neither.
    pub(super) fn of(kind: Kind, has: impl Fn(&str) -> bool) -> Option<Self> {
        match kind {
            Kind::Bar => Some(Self::Bars),
            Kind::Tick => has("price").then_some(Self::Ticks),
            _ if has("close") => Some(Self::Bars),
            _ if has("price") => Some(Self::Ticks),
            _ => None,
        }
    }

    /// What becomes of one field: of bars the open is the first, the high the greatest and so on, another number is
    /// the last; of ticks the price makes the bar and the size its volume. Decimals stay decimals.
    pub(super) fn specs(self, field: &str, of: FieldType) -> Vec<Spec> {
        let spec = |output: &str, function, of| Spec {
            output: output.to_string(),
            input: field.to_string(),
            function,
            q: 0.0,
            of,
        };
        let is_number = Function::Sum.gives(of).is_some();
        let price = if matches!(of, FieldType::Decimal(_)) { of } else { FieldType::Float };
        match (self, field) {
            _ if !is_number => Vec::new(),
            (Self::Bars, "open") => vec![spec(field, Function::First, price)],
            (Self::Bars, "high") => vec![spec(field, Function::Max, price)],
            (Self::Bars, "low") => vec![spec(field, Function::Min, price)],
            (Self::Bars, "close") => vec![spec(field, Function::Last, price)],
            (Self::Bars, "volume") => vec![spec(field, Function::Sum, price)],
            (Self::Bars, _) => vec![spec(field, Function::Last, of)],
            (Self::Ticks, "price") => vec![
                spec("open", Function::First, price),
                spec("high", Function::Max, price),
                spec("low", Function::Min, price),
                spec("close", Function::Last, price),
            ],
            (Self::Ticks, "size") => vec![spec("volume", Function::Sum, price)],
            (Self::Ticks, _) => Vec::new(),
        }
    }
}

/// How time is cut into windows.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    pub(super) timeframe: Timeframe,
    pub(super) zone: Tz,
    /// Windows are parts of its sessions, or whole ones.
    pub(super) calendar: Option<Arc<Calendar>>,
}

impl Windows {
    /// The windows, where they are all of one length and leave no time out.
    pub(super) fn even(&self) -> Option<Even> {
        if self.calendar.is_some() { None } else { self.timeframe.even(self.zone) }
    }

    /// The window that holds `time`, or the next one, where it is in no session. `None`: there is none any more.
    pub(super) fn from(&self, time: i64) -> Option<Bar> {
        match &self.calendar {
            None => Some(self.timeframe.bar_at(time, self.zone)),
            Some(calendar) => calendar.bar_from(self.timeframe, time),
        }
    }

    /// The window of a row, which is in a session.
    fn of(&self, time: i64) -> Bar {
        self.from(time).unwrap_or_else(|| self.timeframe.bar_at(time, self.zone))
    }
}

/// Rows of one series, in ascending time, become one row per window that has a value.
#[derive(Debug)]
pub(super) struct Fold {
    windows: Windows,
    accumulators: Vec<Accumulator>,
    times: Vec<i64>,
    open: Option<Bar>,
}

impl Fold {
    pub(super) fn new(windows: Windows, specs: Vec<Spec>) -> Self {
        let accumulators = specs.into_iter().map(Accumulator::new).collect();
        Self { windows, accumulators, times: Vec::new(), open: None }
    }

    /// Windows that are finished.
    pub(super) fn rows(&self) -> usize {
        self.times.len()
    }

    /// Adds a column; the windows before have no value in it.
    fn add(&mut self, spec: Spec) {
        let mut accumulator = Accumulator::new(spec);
        accumulator.out.gap(self.times.len());
        self.accumulators.push(accumulator);
    }

    fn knows(&self, input: &str) -> bool {
        self.accumulators.iter().any(|a| a.spec.input == input)
    }

    pub(super) fn frame(&mut self, frame: &Frame) -> Result<()> {
        let columns: Vec<Option<&Column>> =
            self.accumulators.iter().map(|a| frame.column(&a.spec.input)).collect();
        let mut at = 0;
        while let Some(time) = frame.times.get(at) {
            let end = self.reach(*time)?;
            let to = at + run_length(frame.times.get(at..).unwrap_or_default(), end);
            for (accumulator, column) in self.accumulators.iter_mut().zip(&columns) {
                if let Some(column) = column {
                    accumulator.fold(column, at, to);
                    if accumulator.state.values.len() > QUANTILE_VALUES_MAX {
                        return Err(Error::limit(
                            format!("the values of a window for `{}`", accumulator.spec.output),
                            QUANTILE_VALUES_MAX,
                            "use shorter windows",
                        ));
                    }
                }
            }
            at = to;
        }
        Ok(())
    }

    /// Opens the window of a time; gives its end.
    fn reach(&mut self, time: i64) -> Result<i64> {
        if let Some(bar) = self.open.filter(|bar| time < bar.end) {
            return Ok(bar.end);
        }
        self.close()?;
        let bar = self.windows.of(time);
        self.open = Some(bar);
        Ok(bar.end)
    }

    fn close(&mut self) -> Result<()> {
        let Some(bar) = self.open.take() else { return Ok(()) };
        if self.accumulators.iter().all(|a| a.state.count == 0) {
            return Ok(());
        }
        self.times.push(bar.start);
        for accumulator in &mut self.accumulators {
            accumulator.close()?;
        }
        Ok(())
    }

    /// The windows that are finished; the open one goes on.
    pub(super) fn take(&mut self) -> Frame {
        Frame {
            times: std::mem::take(&mut self.times),
            columns: self.accumulators.iter_mut().map(|a| a.out.take().into_column()).collect(),
        }
    }

    pub(super) fn finish(mut self) -> Result<Frame> {
        self.close()?;
        Ok(Frame {
            times: self.times,
            columns: self.accumulators.into_iter().map(|a| a.out.into_column()).collect(),
        })
    }
}

/// How many of the first rows are before `end`, at least 1. It looks twice as far each time: what is far away is not in the
/// processor's cache, and mostly not needed.
pub(super) fn run_length(times: &[i64], end: i64) -> usize {
    let near = times.iter().take(NEAR_ROWS).take_while(|t| **t < end).count();
    if near < NEAR_ROWS {
        return near.max(1);
    }
    let (mut from, mut to) = (NEAR_ROWS, 2 * NEAR_ROWS);
    while times.get(to - 1).is_some_and(|t| *t < end) {
        (from, to) = (to, 2 * to);
    }
    let rest = times.get(from..to.min(times.len())).unwrap_or_default();
    from + rest.partition_point(|t| *t < end)
}

#[derive(Debug)]
struct Accumulator {
    spec: Spec,
    state: State,
    out: Builder,
}

#[derive(Debug, Default)]
struct State {
    /// Values so far.
    count: u64,
    picked: Option<Value>,
    sum: f64,
    /// Of integers, and of decimals in units of this scale.
    whole: i128,
    scale: u8,
    mean: f64,
    /// The sum of squares of differences from the mean.
    squares: f64,
    /// All of them, for a quantile.
    values: Vec<f64>,
}

impl Accumulator {
    fn new(spec: Spec) -> Self {
        let out = Builder::new(spec.output.as_str(), spec.of);
        Self { spec, state: State::default(), out }
    }

    /// Takes rows `from..to` of a column.
    fn fold(&mut self, column: &Column, from: usize, to: usize) {
        let state = &mut self.state;
        let valid = column.valid.as_ref().map(|v| v.get(from..to).unwrap_or_default());
        match self.spec.function {
            Function::First => {
                if state.count == 0 {
                    if let Some(row) = (from..to).find(|row| column.is_valid(*row)) {
                        state.picked = column.values.get(row);
                        state.count = 1;
                    }
                }
            }
            Function::Last => {
                if let Some(row) = (from..to).rev().find(|row| column.is_valid(*row)) {
                    state.picked = column.values.get(row);
                    state.count = 1;
                }
            }
            Function::Count => {
                let rows = valid.map_or(to - from, |v| v.iter().filter(|ok| **ok).count());
                state.count += rows as u64;
            }
            Function::Min | Function::Max => {
                let least = self.spec.function == Function::Min;
                let found = match &column.values {
                    Values::Float(v) => extreme(v.get(from..to), valid, least).map(Value::Float),
                    Values::Integer(v) => extreme(v.get(from..to), valid, least).map(Value::Integer),
                    Values::Unsigned(v) => extreme(v.get(from..to), valid, least).map(Value::Unsigned),
                    Values::Decimal(v, scale) => extreme(v.get(from..to), valid, least)
                        .map(|units| Value::Decimal(Decimal { units, scale: *scale })),
                    Values::Boolean(_) | Values::String(_) => None,
                };
                if let Some(found) = found {
                    state.count += 1;
                    state.picked = Some(match state.picked.take() {
                        Some(before) => better(before, found, least),
                        None => found,
                    });
                }
            }
            Function::Sum | Function::Mean => match &column.values {
                Values::Float(v) if valid.is_none() => {
                    let some = v.get(from..to).unwrap_or_default();
                    state.count += some.len() as u64;
                    state.sum = some.iter().fold(state.sum, |sum, x| sum + x);
                }
                Values::Float(v) => each(v.get(from..to), valid, |x| {
                    state.count += 1;
                    state.sum += x;
                }),
                Values::Integer(v) => each(v.get(from..to), valid, |x| {
                    state.count += 1;
                    state.whole += i128::from(x);
                }),
                Values::Unsigned(v) => each(v.get(from..to), valid, |x| {
                    state.count += 1;
                    state.whole += i128::from(x);
                }),
                Values::Decimal(v, scale) => {
                    state.scale = *scale;
                    each(v.get(from..to), valid, |x| {
                        state.count += 1;
                        state.whole += i128::from(x);
                    });
                }
                Values::Boolean(_) | Values::String(_) => {}
            },
            Function::Stddev => match &column.values {
                Values::Float(v) => each(v.get(from..to), valid, |x| state.welford(x)),
                Values::Integer(v) => each(v.get(from..to), valid, |x| state.welford(x as f64)),
                Values::Unsigned(v) => each(v.get(from..to), valid, |x| state.welford(x as f64)),
                Values::Decimal(v, scale) => each(v.get(from..to), valid, |units| {
                    state.welford(Decimal { units, scale: *scale }.to_f64());
                }),
                Values::Boolean(_) | Values::String(_) => {}
            },
            Function::Quantile => {
                let values = &mut state.values;
                match &column.values {
                    Values::Float(v) => each(v.get(from..to), valid, |x| values.push(x)),
                    Values::Integer(v) => each(v.get(from..to), valid, |x| values.push(x as f64)),
                    Values::Unsigned(v) => each(v.get(from..to), valid, |x| values.push(x as f64)),
                    Values::Decimal(v, scale) => each(v.get(from..to), valid, |units| {
                        values.push(Decimal { units, scale: *scale }.to_f64());
                    }),
                    Values::Boolean(_) | Values::String(_) => {}
                }
                state.count = state.values.len() as u64;
            }
        }
    }

    /// Writes the window's value and begins the next.
    fn close(&mut self) -> Result<()> {
        let mut state = std::mem::take(&mut self.state);
        if state.count == 0 && self.spec.function != Function::Count {
            self.out.push(None);
            return Ok(());
        }
        let total = state.sum + sum_to_f64(state.whole, state.scale);
        let value = match self.spec.function {
            Function::First | Function::Last | Function::Min | Function::Max => state.picked,
            Function::Count => i64::try_from(state.count).ok().map(Value::Integer),
            Function::Sum => match self.spec.of {
                FieldType::Integer => Some(Value::Integer(whole(&self.spec, state.whole)?)),
                FieldType::Unsigned => Some(Value::Unsigned(whole(&self.spec, state.whole)?)),
                FieldType::Decimal(scale) => {
                    Some(Value::Decimal(Decimal { units: whole(&self.spec, state.whole)?, scale }))
                }
                FieldType::Float | FieldType::Boolean | FieldType::String => Some(Value::Float(total)),
            },
            Function::Mean => Some(Value::Float(total / state.count as f64)),
            Function::Quantile => quantile(&mut state.values, self.spec.q).map(Value::Float),
            Function::Stddev if state.count < 2 => None,
            Function::Stddev => Some(Value::Float((state.squares / (state.count - 1) as f64).sqrt())),
        };
        self.out.push(value);
        Ok(())
    }
}

impl State {
    fn welford(&mut self, x: f64) {
        self.count += 1;
        let before = x - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (x - self.mean);
    }
}

/// Between the two values that are nearest to the share `q` of all, by their distance.
fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = q * last as f64;
    let below = (place.floor() as usize).min(last);
    let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    let share = place - below as f64;
    // A share of nothing must not make NaN of what is infinitely far.
    Some(if share > 0.0 { low + (high - low) * share } else { low })
}

fn whole<T: TryFrom<i128>>(spec: &Spec, sum: i128) -> Result<T> {
    T::try_from(sum).map_err(|_| {
        Error::invalid(format!("the sum of the {} field `{}` is out of its range", spec.of, spec.input))
            .hint("ask for its `mean` and `count`, or use a shorter window")
    })
}

fn each<T: Copy>(values: Option<&[T]>, valid: Option<&[bool]>, mut take: impl FnMut(T)) {
    let values = values.unwrap_or_default();
    match valid {
        None => values.iter().for_each(|v| take(*v)),
        Some(valid) => values.iter().zip(valid).filter(|(_, ok)| **ok).for_each(|(v, _)| take(*v)),
    }
}

/// The least or greatest; in lanes, so that the compiler can compare several at once.
fn extreme<T: Copy + PartialOrd>(values: Option<&[T]>, valid: Option<&[bool]>, least: bool) -> Option<T> {
    let values = values?;
    if let Some(valid) = valid {
        let mut found: Option<T> = None;
        each(Some(values), Some(valid), |x| {
            found = Some(found.map_or(x, |f| if (x < f) == least && x != f { x } else { f }));
        });
        return found;
    }
    let first = *values.first()?;
    let mut lanes = [first; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    if least {
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane = if *x < *lane { *x } else { *lane };
            }
        }
        Some(lanes.iter().chain(rest).fold(first, |a, x| if *x < a { *x } else { a }))
    } else {
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane = if *x > *lane { *x } else { *lane };
            }
        }
        Some(lanes.iter().chain(rest).fold(first, |a, x| if *x > a { *x } else { a }))
    }
}

fn better(a: Value, b: Value, least: bool) -> Value {
    let b_is_less = b.order(&a).is_some_and(std::cmp::Ordering::is_lt);
    if b_is_less == least { b } else { a }
}

/// Bars (or ticks with `price` and `size`) of a stream as bars of a longer timeframe, in UTC: the open is the first,
/// the high the greatest, the low the least, the close the last, the volume the sum, another number the last. Holds
/// the answer in memory, never the rows.
pub fn resample_bars(stream: FrameStream, timeframe: Timeframe, budget: &Budget) -> Result<Frame> {
    windows_of(stream, timeframe, Tz::UTC, None, budget)
}

/// [`resample_bars`] in a zone; or, with `aggregates`, windows of whatever the stream holds.
pub(crate) fn windows_of(
    stream: FrameStream,
    timeframe: Timeframe,
    zone: Tz,
    aggregates: Option<&[Aggregate]>,
    budget: &Budget,
) -> Result<Frame> {
    let mut fold = Fold::new(Windows { timeframe, zone, calendar: None }, Vec::new());
    let mut shape = None;
    let rows = Cell::new(0);
    for frame in stream {
        let frame = frame?;
        budget.check()?;
        count_rows(&rows, frame.len() as u64, budget)?;
        if frame.is_empty() {
            continue;
        }
        let is_bar = ["open", "high", "low", "close"].iter().any(|n| frame.column(n).is_some());
        let shape = *shape.get_or_insert(if !is_bar && frame.column("price").is_some() {
            Shape::Ticks
        } else {
            Shape::Bars
        });
        for column in &frame.columns {
            if fold.knows(&column.name) {
                continue;
            }
            let of = column.values.field_type();
            let specs = match aggregates {
                None => shape.specs(&column.name, of),
                Some(all) => all.iter().filter_map(|a| Spec::of(a, &column.name, of)).collect(),
            };
            specs.into_iter().for_each(|spec| fold.add(spec));
        }
        fold.frame(&frame)?;
    }
    fold.finish()
}

/// Counts rows read against the budget.
pub(super) fn count_rows(rows: &Cell<u64>, more: u64, budget: &Budget) -> Result<()> {
    rows.set(rows.get().saturating_add(more));
    match budget.rows_max {
        Some(max) if rows.get() > max => {
            Err(Error::limit("the rows read", max, "narrow the range of the query"))
        }
        _ => Ok(()),
    }
}
