//! What becomes of the values of a window or of a table: one value.

use crate::error::{Error, Result};
use crate::series::query::Function;
use crate::series::{Column, Decimal, FieldType, Value, Values};
use std::ops::Range;

/// A function of the subset by its name in Flux.
pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "first" => Function::First,
        "last" => Function::Last,
        "min" => Function::Min,
        "max" => Function::Max,
        "sum" => Function::Sum,
        "mean" => Function::Mean,
        "count" => Function::Count,
        "stddev" => Function::Stddev,
        _ => return None,
    })
}

/// Does it choose one of the rows? Then their time stays.
pub(super) const fn selects(function: Function) -> bool {
    matches!(function, Function::First | Function::Last | Function::Min | Function::Max)
}

/// The type of what it gives of a field.
pub(super) fn gives(function: Function, of: FieldType, field: &str) -> Result<FieldType> {
    function.gives(of).ok_or_else(|| {
        Error::invalid(format!("unsupported input type for {} aggregate: {of}", function.name())).hint(
            format!("the field `{}` is a {of}: leave it out with a filter of `_field`", field.escape_debug()),
        )
    })
}

/// The values so far.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    function: Function,
    of: FieldType,
    rows: u64,
    values: u64,
    whole: i128,
    sum: f64,
    /// Welford's mean and sum of squares.
    mean: f64,
    squares: f64,
    chosen: Option<(i64, Value)>,
}

impl Fold {
    pub(super) fn new(function: Function, of: FieldType) -> Self {
        Self { function, of, rows: 0, values: 0, whole: 0, sum: 0.0, mean: 0.0, squares: 0.0, chosen: None }
    }

    /// Is the answer known whatever comes?
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.function, Function::First) && self.chosen.is_some()
    }

    /// Adds rows of a column, in ascending time.
    pub(super) fn add(&mut self, times: &[i64], column: &Column, rows: Range<usize>) {
        self.rows += rows.len() as u64;
        match self.function {
            Function::Count => {}
            Function::First if self.chosen.is_some() => {}
            Function::First => self.choose(times, column, rows),
            Function::Last => self.choose(times, column, rows.rev()),
            Function::Min | Function::Max => self.extreme(times, column, rows),
            Function::Sum | Function::Mean | Function::Stddev | Function::Quantile => {
                self.numbers(column, rows)
            }
        }
    }

    fn choose(&mut self, times: &[i64], column: &Column, mut rows: impl Iterator<Item = usize>) {
        let found = rows.find_map(|row| Some((*times.get(row)?, column.get(row)?)));
        self.chosen = found.or(self.chosen.take());
    }

    fn extreme(&mut self, times: &[i64], column: &Column, rows: Range<usize>) {
        for row in rows {
            let (Some(time), Some(value)) = (times.get(row), column.get(row)) else { continue };
            let order = self.chosen.as_ref().and_then(|(_, best)| value.order(best));
            let better = match (order, self.function) {
                (Some(order), Function::Min) => order.is_lt(),
                (Some(order), _) => order.is_gt(),
                (None, _) => self.chosen.is_none(),
            };
            if better {
                self.chosen = Some((*time, value));
            }
        }
    }

    fn numbers(&mut self, column: &Column, rows: Range<usize>) {
        match &column.values {
            Values::Integer(v) => self.each(column, v, rows, |fold, x| {
                fold.whole += i128::from(x);
                x as f64
            }),
            Values::Unsigned(v) => self.each(column, v, rows, |fold, x| {
                fold.whole += i128::from(x);
                x as f64
            }),
            Values::Float(v) => self.each(column, v, rows, |_, x| x),
            Values::Decimal(v, scale) => {
                self.each(column, v, rows, |_, units| Decimal { units, scale: *scale }.to_f64());
            }
            Values::Boolean(_) | Values::String(_) => {}
        }
    }

    fn each<T: Copy>(
        &mut self,
        column: &Column,
        values: &[T],
        rows: Range<usize>,
        take: impl Fn(&mut Self, T) -> f64,
    ) {
        for row in rows {
            let Some(value) = values.get(row).filter(|_| column.is_valid(row)) else { continue };
            let x = take(self, *value);
            self.values += 1;
            self.sum += x;
            if self.function == Function::Stddev {
                let away = x - self.mean;
                self.mean += away / self.values as f64;
                self.squares += away * (x - self.mean);
            }
        }
    }

    /// The value, and the time of the row that was chosen, if it is one.
    pub(super) fn end(self) -> Result<(Option<Value>, Option<i64>)> {
        let count = self.values as f64;
        let value = match self.function {
            Function::Count => {
                return Ok((Some(Value::Integer(i64::try_from(self.rows).unwrap_or(i64::MAX))), None));
            }
            Function::First | Function::Last | Function::Min | Function::Max => {
                let (time, value) = self.chosen.unzip();
                return Ok((value, time));
            }
            _ if self.values == 0 => None,
            Function::Sum => Some(match self.of {
                FieldType::Integer => {
                    Value::Integer(i64::try_from(self.whole).map_err(|_| out_of_range(self.of))?)
                }
                FieldType::Unsigned => {
                    Value::Unsigned(u64::try_from(self.whole).map_err(|_| out_of_range(self.of))?)
                }
                _ => Value::Float(self.sum),
            }),
            Function::Mean => Some(Value::Float(match self.of {
                FieldType::Float => self.sum / count,
                _ => self.whole as f64 / count,
            })),
            // Of a sample; InfluxDB says NaN of one value.
            Function::Stddev if self.values < 2 => Some(Value::Float(f64::NAN)),
            Function::Stddev => Some(Value::Float((self.squares / (count - 1.0)).sqrt())),
            Function::Quantile => None,
        };
        Ok((value, None))
    }
}

fn out_of_range(of: FieldType) -> Error {
    Error::invalid(format!("the sum of a {of} field is out of its range"))
        .hint("ask for its `mean` and `count`, or use shorter windows")
}
