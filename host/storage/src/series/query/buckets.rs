//! Rows into buckets of time: running accumulators, never the raw rows.

use super::{Aggregate, Function};
use crate::error::{Error, Result};
use crate::series::kinds::Timeframe;
use crate::series::{Budget, Column, FieldType, Frame, FrameStream, Value, Values};
use chrono_tz::Tz;

/// One output column: which input it is made of, how, and its name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    pub input: String,
    pub function: Function,
    pub name: String,
}

/// OHLCV of bars (`open high low close volume`, other numbers their last) and of ticks (`price`, `size`).
pub(super) fn ohlcv(fields: &[(String, FieldType)]) -> Result<Vec<Output>> {
    let has = |name: &str| fields.iter().any(|(n, t)| n == name && is_number(*t));
    let output = |input: &str, function, name: &str| Output { input: input.into(), function, name: name.into() };
    if has("price") && !has("close") {
        let mut out = vec![
            output("price", Function::First, "open"),
            output("price", Function::Max, "high"),
            output("price", Function::Min, "low"),
            output("price", Function::Last, "close"),
        ];
        if has("size") {
            out.push(output("size", Function::Sum, "volume"));
        }
        return Ok(out);
    }
    if !has("close") {
        return Err(Error::invalid("only bars (a field `close`) and ticks (a field `price`) can be resampled")
            .hint("use a window with aggregates for other fields"));
    }
    let function = |name: &str| match name {
        "open" => Function::First,
        "high" => Function::Max,
        "low" => Function::Min,
        "volume" => Function::Sum,
        _ => Function::Last,
    };
    let order = |name: &str| ["open", "high", "low", "close", "volume"].iter().position(|n| *n == name).unwrap_or(5);
    let mut named: Vec<&String> = fields.iter().filter(|(_, t)| is_number(*t)).map(|(n, _)| n).collect();
    named.sort_by_key(|n| (order(n), n.as_str()));
    Ok(named.into_iter().map(|n| output(n, function(n), n)).collect())
}

/// What a window asks for, checked against the fields that there are.
pub(super) fn window(aggregates: &[Aggregate], fields: &[(String, FieldType)]) -> Result<Vec<Output>> {
    let mut out = Vec::new();
    for a in aggregates {
        let Some((_, of)) = fields.iter().find(|(n, _)| *n == a.field) else { continue };
        let any = matches!(a.function, Function::First | Function::Last | Function::Count);
        if !any && !is_number(*of) {
            return Err(Error::invalid(format!("`{}` is a {of}: it has no {}", a.field, a.function.name())));
        }
        out.push(Output { input: a.field.clone(), function: a.function, name: format!("{}_{}", a.field, a.function.name()) });
    }
    Ok(out)
}

fn is_number(t: FieldType) -> bool {
    matches!(t, FieldType::Float | FieldType::Integer | FieldType::Unsigned)
}

/// The state of one output column in one bucket.
#[derive(Debug, Clone, Default)]
struct Acc {
    count: u64,
    /// `first`, `last`, `min` and `max` of any type.
    value: Option<Value>,
    sum: f64,
    whole: i128,
    /// Welford's running mean and sum of squared distances.
    mean: f64,
    squares: f64,
}

impl Acc {
    /// A run of floats without gaps: the hot path.
    fn floats(&mut self, function: Function, run: &[f64]) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        let was = self.value.as_ref().and_then(Value::as_f64);
        match function {
            Function::First => {
                self.value.get_or_insert(Value::Float(*first));
            }
            Function::Last => self.value = Some(Value::Float(*last)),
            Function::Min => self.value = Some(Value::Float(run.iter().copied().fold(was.unwrap_or(*first), |a, b| if b < a { b } else { a }))),
            Function::Max => self.value = Some(Value::Float(run.iter().copied().fold(was.unwrap_or(*first), |a, b| if b > a { b } else { a }))),
            Function::Sum | Function::Mean => self.sum += run.iter().sum::<f64>(),
            Function::Count => {}
            Function::Stddev => run.iter().for_each(|x| self.welford(*x)),
        }
        if function != Function::Stddev {
            self.count += run.len() as u64;
        }
    }

    fn welford(&mut self, x: f64) {
        self.count += 1;
        let off = x - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (x - self.mean);
    }

    fn one(&mut self, function: Function, v: Value) {
        if function == Function::Stddev {
            return self.welford(v.as_f64().unwrap_or(0.0));
        }
        self.count += 1;
        match function {
            Function::First => {
                self.value.get_or_insert(v);
            }
            Function::Last => self.value = Some(v),
            Function::Min | Function::Max => {
                let better = self.value.as_ref().is_none_or(|was| less(&v, was) == (function == Function::Min) && v != *was);
                if better {
                    self.value = Some(v);
                }
            }
            Function::Sum | Function::Mean => match v {
                Value::Integer(x) => self.whole += i128::from(x),
                Value::Unsigned(x) => self.whole += i128::from(x),
                v => self.sum += v.as_f64().unwrap_or(0.0),
            },
            Function::Count | Function::Stddev => {}
        }
    }

    fn take(&mut self, function: Function, of: FieldType, name: &str) -> Result<Option<Value>> {
        let acc = std::mem::take(self);
        if function == Function::Count {
            return Ok(Some(Value::Integer(i64::try_from(acc.count).unwrap_or(i64::MAX))));
        }
        if acc.count == 0 {
            return Ok(None);
        }
        let count = acc.count as f64;
        Ok(match function {
            Function::Sum => match of {
                FieldType::Integer => Some(Value::Integer(i64::try_from(acc.whole).map_err(|_| overflow(name))?)),
                FieldType::Unsigned => Some(Value::Unsigned(u64::try_from(acc.whole).map_err(|_| overflow(name))?)),
                _ if acc.sum.is_finite() => Some(Value::Float(acc.sum)),
                _ => return Err(overflow(name)),
            },
            Function::Mean => Some(Value::Float((acc.sum + acc.whole as f64) / count)),
            Function::Stddev if acc.count > 1 => Some(Value::Float((acc.squares / (count - 1.0)).sqrt())),
            Function::Stddev => None,
            _ => acc.value,
        })
    }
}

fn overflow(name: &str) -> Error {
    Error::invalid(format!("the sum `{name}` does not fit its type")).hint("use smaller windows")
}

fn less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a < b,
        (Value::Unsigned(a), Value::Unsigned(b)) => a < b,
        _ => a.as_f64() < b.as_f64(),
    }
}

/// Buckets of one series, fed with frames in ascending time.
pub(super) struct Buckets {
    timeframe: Timeframe,
    zone: Option<Tz>,
    outputs: Vec<(Output, FieldType, Acc)>,
    /// Start and end of the bucket that is open.
    open: Option<(i64, i64)>,
    times: Vec<i64>,
    rows: Vec<Vec<Option<Value>>>,
}

impl Buckets {
    pub(super) fn new(timeframe: Timeframe, zone: Option<Tz>, outputs: Vec<Output>, fields: &[(String, FieldType)]) -> Self {
        let outputs: Vec<_> = outputs
            .into_iter()
            .map(|o| {
                let of = fields.iter().find(|(n, _)| *n == o.input).map_or(FieldType::Float, |(_, t)| *t);
                (o, of, Acc::default())
            })
            .collect();
        let rows = outputs.iter().map(|_| Vec::new()).collect();
        Self { timeframe, zone, outputs, open: None, times: Vec::new(), rows }
    }

    pub(super) fn bars(&self) -> usize {
        self.times.len()
    }

    pub(super) fn feed(&mut self, frame: &Frame) -> Result<()> {
        let columns: Vec<Option<&Column>> = self.outputs.iter().map(|(o, ..)| frame.column(&o.input)).collect();
        let mut from = 0;
        while let Some(time) = frame.times.get(from).copied() {
            let end = match self.open {
                Some((_, end)) if time < end => end,
                _ => {
                    self.close()?;
                    let bounds = self.timeframe.bounds(time, self.zone);
                    self.open = Some(bounds);
                    bounds.1
                }
            };
            let rest = frame.times.get(from..).unwrap_or(&[]);
            let to = from + rest.partition_point(|t| *t < end).max(1);
            for ((output, _, acc), column) in self.outputs.iter_mut().zip(&columns) {
                let Some(column) = column else { continue };
                match column.floats() {
                    Some(all) => acc.floats(output.function, all.get(from..to).unwrap_or(&[])),
                    None => (from..to).filter_map(|row| column.get(row)).for_each(|v| acc.one(output.function, v)),
                }
            }
            from = to;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some((start, _)) = self.open.take() else { return Ok(()) };
        self.times.push(start);
        for ((output, of, acc), rows) in self.outputs.iter_mut().zip(&mut self.rows) {
            rows.push(acc.take(output.function, *of, &output.name)?);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Frame> {
        self.close()?;
        let columns = self
            .outputs
            .into_iter()
            .zip(self.rows)
            .map(|((output, of, _), rows)| {
                let of = match output.function {
                    Function::Count => FieldType::Integer,
                    Function::Mean | Function::Stddev => FieldType::Float,
                    _ => of,
                };
                column(output.name, of, &rows)
            })
            .collect();
        Ok(Frame { times: self.times, columns })
    }
}

/// A column of one type from single values.
pub(in crate::series) fn column(name: String, of: FieldType, rows: &[Option<Value>]) -> Column {
    let mut values = Values::empty(of);
    for v in rows {
        match (&mut values, v) {
            (Values::Float(c), v) => c.push(v.as_ref().and_then(Value::as_f64).unwrap_or(0.0)),
            (Values::Integer(c), v) => c.push(if let Some(Value::Integer(x)) = v { *x } else { 0 }),
            (Values::Unsigned(c), v) => c.push(if let Some(Value::Unsigned(x)) = v { *x } else { 0 }),
            (Values::Boolean(c), v) => c.push(matches!(v, Some(Value::Boolean(true)))),
            (Values::String(c), v) => c.push(if let Some(Value::String(x)) = v { x.clone() } else { String::new() }),
        }
    }
    let valid = rows.iter().any(Option::is_none).then(|| rows.iter().map(Option::is_some).collect());
    Column { name, values, valid }
}

/// Rolls a stream of bars or ticks up into OHLCV bars of `timeframe`, in UTC. Numbers stay of their type; ticks and bars
/// written as integers become floats, so that a rollup has one type whatever its source.
pub fn resample_bars(stream: FrameStream, timeframe: Timeframe, budget: &Budget) -> Result<Frame> {
    let mut buckets: Option<Buckets> = None;
    for frame in stream {
        budget.check()?;
        let frame = frame?;
        if frame.is_empty() {
            continue;
        }
        let mut fields: Vec<(String, FieldType)> = frame.columns.iter().map(|c| (c.name.clone(), c.values.field_type())).collect();
        fields.sort();
        match &mut buckets {
            // A field that appears later in the stream is another set of outputs.
            Some(b) => b.add_outputs(ohlcv(&fields)?, &fields),
            None => buckets = Some(Buckets::new(timeframe, None, ohlcv(&fields)?, &fields)),
        }
        if let Some(b) = &mut buckets {
            b.feed(&frame)?;
        }
    }
    let mut frame = buckets.map_or_else(|| Ok(Frame::default()), Buckets::finish)?;
    for c in &mut frame.columns {
        match &c.values {
            Values::Integer(v) => c.values = Values::Float(v.iter().map(|x| *x as f64).collect()),
            Values::Unsigned(v) => c.values = Values::Float(v.iter().map(|x| *x as f64).collect()),
            _ => {}
        }
    }
    Ok(frame)
}

impl Buckets {
    fn add_outputs(&mut self, outputs: Vec<Output>, fields: &[(String, FieldType)]) {
        for o in outputs {
            if self.outputs.iter().all(|(there, ..)| there.name != o.name) {
                let of = fields.iter().find(|(n, _)| *n == o.input).map_or(FieldType::Float, |(_, t)| *t);
                self.outputs.push((o, of, Acc::default()));
                self.rows.push(vec![None; self.times.len()]);
            }
        }
    }
}
