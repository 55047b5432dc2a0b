//! Rows as columns, as the host gives and takes them, and reading them without trust.

/// The values of one field, one per row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Floats(Vec<f64>),
    Integers(Vec<i64>),
    Unsigneds(Vec<u64>),
    Booleans(Vec<bool>),
    Strings(Vec<String>),
}

/// `valid` is empty when every row has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub values: Values,
    pub valid: Vec<bool>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// Nanoseconds since the epoch.
    pub times: Vec<i64>,
    pub columns: Vec<Column>,
}

impl Frame {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// A column to read numbers from. A frame without rows may lack it: a series that is not there has no fields either.
    pub fn numbers(&self, name: &str) -> Result<Numbers<'_>, String> {
        match self.column(name) {
            Some(Column { values: Values::Booleans(_) | Values::Strings(_), .. }) => {
                Err(format!("the field `{name}` holds no numbers"))
            }
            None if !self.times.is_empty() => Err(format!("the answer lacks the field `{name}`")),
            column => Ok(Numbers(column)),
        }
    }
}

/// The numbers of a column.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'f>(Option<&'f Column>);

impl Numbers<'_> {
    /// The number of a row; none where there is no value, no finite number or no such row.
    pub fn get(self, row: usize) -> Option<f64> {
        let Column { values, valid, .. } = self.0?;
        if !valid.is_empty() && !*valid.get(row)? {
            return None;
        }
        let number = match values {
            Values::Floats(v) => *v.get(row)?,
            Values::Integers(v) => *v.get(row)? as f64,
            Values::Unsigneds(v) => *v.get(row)? as f64,
            Values::Booleans(_) | Values::Strings(_) => return None,
        };
        number.is_finite().then_some(number)
    }
}

/// A column of floats. What is no finite number becomes a row without a value: the host takes no other.
pub fn floats(name: &str, cells: impl Iterator<Item = Option<f64>>) -> Column {
    column(name, cells.map(|cell| cell.filter(|v| v.is_finite())), Values::Floats)
}

pub fn integers(name: &str, cells: impl Iterator<Item = Option<i64>>) -> Column {
    column(name, cells, Values::Integers)
}

fn column<T: Default>(
    name: &str,
    cells: impl Iterator<Item = Option<T>>,
    values: impl Fn(Vec<T>) -> Values,
) -> Column {
    let (mut valid, cells): (Vec<bool>, Vec<T>) =
        cells.map(|cell| (cell.is_some(), cell.unwrap_or_default())).unzip();
    if valid.iter().all(|v| *v) {
        valid.clear();
    }
    Column { name: name.into(), values: values(cells), valid }
}

/// Holds rows to ascending time: a fold over others would be wrong without a word.
#[derive(Debug)]
pub struct Ascending {
    last: i64,
}

impl Default for Ascending {
    fn default() -> Self {
        Self { last: i64::MIN }
    }
}

impl Ascending {
    pub fn take(&mut self, time: i64) -> Result<(), String> {
        if time < self.last {
            return Err(format!("the rows are not in ascending time: {time} ns follows {} ns", self.last));
        }
        self.last = time;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(values: Values, valid: &[bool]) -> Frame {
        let column = Column { name: "x".into(), values, valid: valid.into() };
        Frame { times: vec![1, 2, 3], columns: vec![column] }
    }

    #[test]
    fn every_type_of_number_is_read_and_no_other() {
        for values in [
            Values::Floats(vec![1.0, 2.0, 3.0]),
            Values::Integers(vec![1, 2, 3]),
            Values::Unsigneds(vec![1, 2, 3]),
        ] {
            let frame = frame(values, &[true, false, true]);
            let x = frame.numbers("x").unwrap();
            assert_eq!((x.get(0), x.get(1), x.get(2), x.get(3)), (Some(1.0), None, Some(3.0), None));
        }
        for values in [Values::Booleans(vec![true; 3]), Values::Strings(vec![String::new(); 3])] {
            assert_eq!(frame(values, &[]).numbers("x").unwrap_err(), "the field `x` holds no numbers");
        }
    }

    #[test]
    fn columns_that_are_short_missing_or_not_finite_have_no_values() {
        let short = frame(Values::Floats(vec![f64::NAN, f64::INFINITY]), &[]);
        let x = short.numbers("x").unwrap();
        assert_eq!((x.get(0), x.get(1), x.get(2)), (None, None, None));
        let flags = frame(Values::Floats(vec![1.0; 3]), &[true]);
        let x = flags.numbers("x").unwrap();
        assert_eq!((x.get(0), x.get(1)), (Some(1.0), None));
        assert_eq!(short.numbers("y").unwrap_err(), "the answer lacks the field `y`");
        assert_eq!(Frame::default().numbers("y").unwrap().get(0), None);
    }

    #[test]
    fn gaps_are_flagged_and_full_columns_are_not() {
        assert!(floats("x", [Some(1.0), Some(2.0)].into_iter()).valid.is_empty());
        let gaps = floats("x", [Some(f64::NAN), Some(2.0), None].into_iter());
        assert_eq!(
            (gaps.values, gaps.valid),
            (Values::Floats(vec![0.0, 2.0, 0.0]), vec![false, true, false])
        );
        assert_eq!(integers("x", [None].into_iter()).values, Values::Integers(vec![0]));
    }

    #[test]
    fn time_may_stand_still_but_not_go_back() {
        let mut order = Ascending::default();
        assert_eq!((order.take(i64::MIN), order.take(5), order.take(5)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(order.take(4).unwrap_err(), "the rows are not in ascending time: 4 ns follows 5 ns");
    }
}
