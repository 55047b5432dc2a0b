//! Columns of an answer, as they grow.

use crate::series::model::picked_of;
use crate::series::{Column, Decimal, FieldType, Frame, Value, Values};

/// A row that no column has.
pub(super) const NO_ROW: usize = usize::MAX;

/// A column that grows; its type is fixed, numbers of another type become floats where it is a float.
#[derive(Debug)]
pub(in crate::series) struct Builder {
    pub(super) name: String,
    values: Values,
    /// Kept once there is a gap.
    valid: Option<Vec<bool>>,
}

impl Builder {
    pub(in crate::series) fn new(name: impl Into<String>, of: FieldType) -> Self {
        Self { name: name.into(), values: Values::empty(of), valid: None }
    }

    pub(in crate::series) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds a value, or a gap: also for what no engine can hold, a sum that is not finite.
    pub(in crate::series) fn push(&mut self, value: Option<Value>) {
        match (&mut self.values, value) {
            (Values::Float(v), Some(value)) => match value.as_f64().filter(|x| x.is_finite()) {
                Some(x) => v.push(x),
                None => return self.gap(1),
            },
            (Values::Integer(v), Some(Value::Integer(x))) => v.push(x),
            (Values::Unsigned(v), Some(Value::Unsigned(x))) => v.push(x),
            (Values::Boolean(v), Some(Value::Boolean(x))) => v.push(x),
            (Values::String(v), Some(Value::String(x))) => v.push(x),
            (Values::Decimal(v, scale), Some(Value::Decimal(x))) if x.scale == *scale => v.push(x.units),
            _ => return self.gap(1),
        }
        if let Some(valid) = &mut self.valid {
            valid.push(true);
        }
    }

    /// Adds rows without a value.
    pub(in crate::series) fn gap(&mut self, rows: usize) {
        if rows == 0 {
            return;
        }
        let have = self.values.len();
        self.valid.get_or_insert_with(|| vec![true; have]).resize(have + rows, false);
        let to = have + rows;
        match &mut self.values {
            Values::Float(v) => v.resize(to, 0.0),
            Values::Integer(v) | Values::Decimal(v, _) => v.resize(to, 0),
            Values::Unsigned(v) => v.resize(to, 0),
            Values::Boolean(v) => v.resize(to, false),
            Values::String(v) => v.resize(to, String::new()),
        }
    }

    /// Adds the same text `rows` times.
    pub(super) fn repeat(&mut self, text: Option<&str>, rows: usize) {
        match (&mut self.values, text) {
            (Values::String(v), Some(text)) => v.extend(std::iter::repeat_n(text.to_string(), rows)),
            _ => return self.gap(rows),
        }
        if let Some(valid) = &mut self.valid {
            valid.resize(valid.len() + rows, true);
        }
    }

    /// Adds the first `rows` of a column; gaps if there is none.
    pub(super) fn extend(&mut self, column: Option<&Column>, rows: usize) {
        let Some(column) = column else { return self.gap(rows) };
        let have = self.len();
        match (&mut self.values, &column.values) {
            (Values::Float(v), Values::Float(x)) => v.extend(x.iter().take(rows)),
            (Values::Float(v), Values::Integer(x)) => v.extend(x.iter().take(rows).map(|x| *x as f64)),
            (Values::Float(v), Values::Unsigned(x)) => v.extend(x.iter().take(rows).map(|x| *x as f64)),
            (Values::Float(v), Values::Decimal(x, scale)) => {
                v.extend(x.iter().take(rows).map(|units| Decimal { units: *units, scale: *scale }.to_f64()));
            }
            (Values::Decimal(v, scale), Values::Decimal(x, other)) if scale == other => {
                v.extend(x.iter().take(rows));
            }
            (Values::Integer(v), Values::Integer(x)) => v.extend(x.iter().take(rows)),
            (Values::Unsigned(v), Values::Unsigned(x)) => v.extend(x.iter().take(rows)),
            (Values::Boolean(v), Values::Boolean(x)) => v.extend(x.iter().take(rows)),
            (Values::String(v), Values::String(x)) => v.extend(x.iter().take(rows).cloned()),
            _ => return self.gap(rows),
        }
        match (&mut self.valid, &column.valid) {
            (Some(mine), Some(theirs)) => mine.extend(theirs.iter().take(rows)),
            (Some(mine), None) => mine.resize(have + rows, true),
            (None, Some(theirs)) => {
                let mut mine = vec![true; have];
                mine.extend(theirs.iter().take(rows));
                self.valid = Some(mine);
            }
            (None, None) => {}
        }
    }

    /// [`Builder::extend`] with a whole column, which is taken as it is where it is the first.
    pub(super) fn absorb(&mut self, column: Option<Column>, rows: usize) {
        match column {
            Some(column)
                if self.len() == 0
                    && column.values.len() == rows
                    && column.values.field_type() == self.values.field_type() =>
            {
                (self.values, self.valid) = (column.values, column.valid);
            }
            column => self.extend(column.as_ref(), rows),
        }
    }

    /// Adds the value of a column at each of some rows; a gap for [`NO_ROW`], and where the column has none.
    pub(super) fn gather(&mut self, column: Option<&Column>, rows: impl Iterator<Item = usize> + Clone) {
        let Some(column) = column else { return self.gap(rows.count()) };
        let (have, valid) = (self.len(), column.valid.as_deref());
        match (&mut self.values, &column.values) {
            // What is not finite is no value: such a column is looked at value by value.
            (Values::Float(to), Values::Float(from)) if from.iter().all(|x| x.is_finite()) => {
                pick(to, from, valid, rows.clone());
            }
            (Values::Integer(to), Values::Integer(from)) => pick(to, from, valid, rows.clone()),
            (Values::Unsigned(to), Values::Unsigned(from)) => pick(to, from, valid, rows.clone()),
            (Values::Boolean(to), Values::Boolean(from)) => pick(to, from, valid, rows.clone()),
            (Values::Decimal(to, scale), Values::Decimal(from, of)) if scale == of => {
                pick(to, from, valid, rows.clone());
            }
            _ => return rows.for_each(|row| self.push(column.get(row))),
        }
        self.note(have, rows.map(|row| column.is_valid(row)));
    }

    /// [`Builder::gather`] of times, into a column of integers.
    pub(super) fn gather_times(&mut self, times: &[i64], rows: impl Iterator<Item = usize> + Clone) {
        let have = self.len();
        let Values::Integer(to) = &mut self.values else { return self.gap(rows.count()) };
        pick(to, times, None, rows.clone());
        self.note(have, rows.map(|row| row < times.len()));
    }

    /// Which of the rows after the first `have` have a value.
    fn note(&mut self, have: usize, there: impl Iterator<Item = bool> + Clone) {
        if self.valid.is_some() || !there.clone().all(|there| there) {
            self.valid.get_or_insert_with(|| vec![true; have]).extend(there);
        }
    }

    /// What there is; an empty column of the same name and type stays.
    pub(super) fn take(&mut self) -> Self {
        let of = self.values.field_type();
        std::mem::replace(self, Self::new(self.name.as_str(), of))
    }

    pub(in crate::series) fn into_column(self) -> Column {
        let valid = self.valid.filter(|v| v.iter().any(|ok| !ok));
        Column { name: self.name, values: self.values, valid }
    }
}

/// The type's default for a row that is not there, or has no value.
fn pick<T: Copy + Default>(
    to: &mut Vec<T>,
    from: &[T],
    valid: Option<&[bool]>,
    rows: impl Iterator<Item = usize>,
) {
    match valid {
        None => to.extend(rows.map(|row| from.get(row).copied().unwrap_or_default())),
        Some(valid) => to.extend(rows.map(|row| match (from.get(row), valid.get(row)) {
            (Some(value), Some(true)) => *value,
            _ => T::default(),
        })),
    }
}

/// The rows in the other order.
pub(super) fn reverse(frame: &mut Frame) {
    frame.times.reverse();
    for column in &mut frame.columns {
        match &mut column.values {
            Values::Float(v) => v.reverse(),
            Values::Integer(v) | Values::Decimal(v, _) => v.reverse(),
            Values::Unsigned(v) => v.reverse(),
            Values::Boolean(v) => v.reverse(),
            Values::String(v) => v.reverse(),
        }
        if let Some(valid) = &mut column.valid {
            valid.reverse();
        }
    }
}

/// The rows in which one of the columns that `wanted` names has a value.
pub(crate) fn with_values(frame: Frame, wanted: &dyn Fn(&str) -> bool) -> Frame {
    let columns: Vec<&Column> = frame.columns.iter().filter(|c| wanted(&c.name)).collect();
    if columns.iter().any(|c| c.valid.is_none()) {
        return frame;
    }
    let keep: Vec<bool> = (0..frame.len()).map(|row| columns.iter().any(|c| c.is_valid(row))).collect();
    chosen(frame, &keep)
}

/// The rows whose mark in `keep` is true.
pub(in crate::series) fn chosen(frame: Frame, keep: &[bool]) -> Frame {
    if keep.iter().all(|k| *k) {
        return frame;
    }
    fn of<T>(values: Vec<T>, keep: &[bool]) -> Vec<T> {
        values.into_iter().zip(keep).filter(|(_, k)| **k).map(|(v, _)| v).collect()
    }
    Frame {
        times: of(frame.times, keep),
        columns: frame
            .columns
            .into_iter()
            .map(|c| Column {
                name: c.name,
                values: match c.values {
                    Values::Float(v) => Values::Float(of(v, keep)),
                    Values::Integer(v) => Values::Integer(of(v, keep)),
                    Values::Unsigned(v) => Values::Unsigned(of(v, keep)),
                    Values::Boolean(v) => Values::Boolean(of(v, keep)),
                    Values::String(v) => Values::String(of(v, keep)),
                    Values::Decimal(v, scale) => Values::Decimal(of(v, keep), scale),
                },
                valid: c.valid.map(|v| of(v, keep)),
            })
            .collect(),
    }
}

/// The rows of a frame with these numbers, in this order; a number that it does not have is passed over.
pub(in crate::series) fn picked(frame: &Frame, rows: &[usize]) -> Frame {
    let columns = frame.columns.iter().map(|c| Column {
        name: c.name.clone(),
        values: c.values.picked(rows),
        valid: c.valid.as_ref().map(|v| picked_of(v, rows)).filter(|v| v.contains(&false)),
    });
    Frame { times: picked_of(&frame.times, rows), columns: columns.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_picked_in_the_order_that_is_asked_for() {
        let mut gaps = Column::new("b", Values::Decimal(vec![10, 0, 30], 2));
        gaps.valid = Some(vec![true, false, true]);
        let texts = ["x", "y", "z"].map(String::from).to_vec();
        let frame =
            Frame { times: vec![1, 2, 3], columns: vec![gaps, Column::new("s", Values::String(texts))] };
        let back = picked(&frame, &[2, 0, 7, 0]);
        assert_eq!(back.times, [3, 1, 1]);
        assert_eq!(back.columns[0], Column::new("b", Values::Decimal(vec![30, 10, 10], 2)), "no gap is left");
        assert_eq!(back.columns[1].values, Values::String(["z", "x", "x"].map(String::from).to_vec()));
        assert_eq!(picked(&frame, &[1]).columns[0].valid, Some(vec![false]));
        assert_eq!(picked(&frame, &[]).times, [0_i64; 0]);
    }
}
