//! Batches become one table again.

use crate::series::{Column, FieldType, Frame, Values};

/// The columns that every batch of an answer must have: those of the first that has any.
#[derive(Debug, Default)]
pub struct Shape(Option<Vec<(String, FieldType)>>);

impl Shape {
    /// What is wrong with a batch, if anything. One without rows may be without columns.
    pub fn check(&mut self, batch: &Frame) -> Result<(), String> {
        if batch.is_empty() && batch.columns.is_empty() {
            return Ok(());
        }
        let Some(first) = &self.0 else {
            let columns = batch.columns.iter().map(|c| (c.name.clone(), c.values.field_type()));
            self.0 = Some(columns.collect());
            return Ok(());
        };
        if batch.columns.len() != first.len() {
            return Err(format!(
                "a batch has {} columns, the first had {}",
                batch.columns.len(),
                first.len()
            ));
        }
        for (column, (name, of)) in batch.columns.iter().zip(first) {
            let (got, shown) = (column.values.field_type(), column.name.escape_debug());
            if column.name != *name {
                return Err(format!("a batch has a column `{shown}` in place of `{name}`"));
            }
            if got != *of {
                return Err(format!("the column `{shown}` is a {of} in one batch and a {got} in the next"));
            }
        }
        Ok(())
    }
}

/// Batches of an answer, one after another, as one frame.
#[derive(Debug, Default)]
pub struct Joined {
    pub frame: Frame,
    shape: Shape,
}

impl Joined {
    /// Adds a batch; or what does not fit: each has the columns of the first.
    pub fn add(&mut self, more: Frame) -> Result<(), String> {
        self.shape.check(&more)?;
        let have = self.frame.len();
        if have == 0 {
            if !more.is_empty() || self.frame.columns.is_empty() {
                self.frame = more;
            }
            return Ok(());
        }
        if more.is_empty() {
            return Ok(());
        }
        for (to, from) in self.frame.columns.iter_mut().zip(more.columns) {
            append(to, from, have);
        }
        self.frame.times.extend(more.times);
        Ok(())
    }
}

fn append(to: &mut Column, from: Column, have: usize) {
    if to.valid.is_some() || from.valid.is_some() {
        let valid = to.valid.get_or_insert_with(|| vec![true; have]);
        valid.extend(from.valid.unwrap_or_else(|| vec![true; from.values.len()]));
    }
    match (&mut to.values, from.values) {
        (Values::Float(a), Values::Float(b)) => a.extend(b),
        (Values::Integer(a), Values::Integer(b)) => a.extend(b),
        (Values::Unsigned(a), Values::Unsigned(b)) => a.extend(b),
        (Values::Boolean(a), Values::Boolean(b)) => a.extend(b),
        (Values::String(a), Values::String(b)) => a.extend(b),
        (Values::Decimal(a, _), Values::Decimal(b, _)) => a.extend(b),
        (_, other) => debug_assert!(false, "the shape was checked: {}", other.field_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_do_not_fit_are_refused() {
        let one = |name: &str, values: Values, valid: Option<Vec<bool>>| Frame {
            times: vec![1],
            columns: vec![Column { name: name.into(), values, valid }],
        };
        let mut joined = Joined::default();
        joined.add(one("x", Values::Float(vec![1.0]), None)).unwrap();
        joined.add(one("x", Values::Float(vec![2.0]), Some(vec![false]))).unwrap();
        assert_eq!(joined.frame.columns[0].valid, Some(vec![true, false]));
        assert!(joined.add(one("y", Values::Float(vec![1.0]), None)).is_err());
        assert!(
            joined.add(one("x", Values::Integer(vec![1]), None)).unwrap_err().contains("float in one batch")
        );
        assert!(joined.add(Frame { times: vec![1], columns: Vec::new() }).is_err());
        assert!(joined.add(Frame::default()).is_ok());
        assert_eq!(joined.frame.len(), 2);
        // Rows without columns are rows.
        let mut bare = Joined::default();
        bare.add(Frame { times: vec![1], columns: Vec::new() }).unwrap();
        assert!(bare.add(one("x", Values::Float(vec![1.0]), None)).is_err());
        // Columns without rows say what comes.
        let mut empty = Joined::default();
        empty.add(Frame { times: Vec::new(), columns: vec![Column::float("x", Vec::new())] }).unwrap();
        assert!(empty.add(one("y", Values::Float(vec![1.0]), None)).is_err());
        empty.add(one("x", Values::Float(vec![1.0]), None)).unwrap();
        assert_eq!(empty.frame.len(), 1);
    }
}
