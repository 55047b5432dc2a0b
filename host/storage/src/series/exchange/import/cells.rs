//! Rows as the readers of files give them on: column by column, not yet by series.

use crate::series::{FieldType, Value};

/// Bytes that many rows may share.
pub(in crate::series::exchange) type Text = parquet::data_type::ByteArray;

/// Rows of a file one after another.
#[derive(Debug, Default)]
pub(in crate::series::exchange) struct Block {
    /// Rows of the file before the first of these.
    pub(in crate::series::exchange) first: u64,
    /// Lines of a CSV file on which the rows begin; empty of other files.
    pub(in crate::series::exchange) lines: Vec<u64>,
    pub(in crate::series::exchange) times: Vec<i64>,
    /// The measurement, where a column has it, and the tags, in the order of the plan.
    pub(in crate::series::exchange) names: Vec<Vec<Option<Text>>>,
    /// The fields, in the order of the plan.
    pub(in crate::series::exchange) fields: Vec<Cells>,
}

impl Block {
    /// How an error names a row.
    pub(in crate::series::exchange) fn place(&self, row: usize) -> String {
        match self.lines.get(row) {
            Some(line) => format!("line {line}"),
            None => format!("row {}", self.first + row as u64 + 1),
        }
    }
}

/// One value a row, or none.
#[derive(Debug)]
pub(in crate::series::exchange) enum Cells {
    Float(Vec<Option<f64>>),
    Integer(Vec<Option<i64>>),
    Unsigned(Vec<Option<u64>>),
    Boolean(Vec<Option<bool>>),
    /// UTF-8, which is looked at when it is taken. A text of many rows is there once.
    Text(Vec<Option<Text>>),
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    Text(&'a Text),
}

impl Cells {
    pub(super) fn empty(of: FieldType) -> Self {
        match of {
            FieldType::Float => Self::Float(Vec::new()),
            FieldType::Integer => Self::Integer(Vec::new()),
            FieldType::Unsigned => Self::Unsigned(Vec::new()),
            FieldType::Boolean => Self::Boolean(Vec::new()),
            // No column of a file is one: texts and numbers become decimals where they are written.
            FieldType::String | FieldType::Decimal(_) => Self::Text(Vec::new()),
        }
    }

    pub(super) fn get(&self, row: usize) -> Option<Cell<'_>> {
        match self {
            Self::Float(v) => v.get(row).copied().flatten().map(Cell::Float),
            Self::Integer(v) => v.get(row).copied().flatten().map(Cell::Integer),
            Self::Unsigned(v) => v.get(row).copied().flatten().map(Cell::Unsigned),
            Self::Boolean(v) => v.get(row).copied().flatten().map(Cell::Boolean),
            Self::Text(v) => v.get(row)?.as_ref().map(Cell::Text),
        }
    }

    pub(super) const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::Text(_) => FieldType::String,
        }
    }

    /// The same numbers as another type; the row and its value where it is none of that type.
    pub(in crate::series::exchange) fn into_type(self, of: FieldType) -> Result<Self, (usize, String)> {
        if self.field_type() == of {
            return Ok(self);
        }
        let rows = match &self {
            Self::Float(v) => v.len(),
            Self::Integer(v) => v.len(),
            Self::Unsigned(v) => v.len(),
            Self::Boolean(v) => v.len(),
            Self::Text(v) => v.len(),
        };
        let mut out = Self::empty(of);
        for row in 0..rows {
            let Some(value) = self.get(row).map(Cell::number) else {
                out.push(None);
                continue;
            };
            let shown = value.as_ref().map_or("a text".to_string(), |v| format!("{v:?}"));
            let same = value.and_then(|v| super::super::parquet_in::as_type(v, of));
            out.push(Some(same.ok_or_else(|| (row, format!("is {shown}, which is no {of}")))?));
        }
        Ok(out)
    }

    /// `value` is of the type of the cells; another counts as none.
    pub(super) fn push(&mut self, value: Option<Value>) {
        match self {
            Self::Float(v) => v.push(match value {
                Some(Value::Float(x)) => Some(x),
                _ => None,
            }),
            Self::Integer(v) => v.push(match value {
                Some(Value::Integer(x)) => Some(x),
                _ => None,
            }),
            Self::Unsigned(v) => v.push(match value {
                Some(Value::Unsigned(x)) => Some(x),
                _ => None,
            }),
            Self::Boolean(v) => v.push(match value {
                Some(Value::Boolean(x)) => Some(x),
                _ => None,
            }),
            Self::Text(v) => v.push(match value {
                Some(Value::String(x)) => Some(Text::from(x.into_bytes())),
                _ => None,
            }),
        }
    }
}

impl Cell<'_> {
    pub(super) const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::Text(_) => FieldType::String,
        }
    }

    fn number(self) -> Option<Value> {
        Some(match self {
            Self::Float(v) => Value::Float(v),
            Self::Integer(v) => Value::Integer(v),
            Self::Unsigned(v) => Value::Unsigned(v),
            Self::Boolean(v) => Value::Boolean(v),
            Self::Text(_) => return None,
        })
    }
}

/// The float of a decimal text, where its shortest text is the same number again.
pub(in crate::series::exchange) fn exact_float(text: &str) -> Option<f64> {
    /// Digits before and after the point, without what says nothing.
    fn digits(text: &str) -> (bool, &str, &str) {
        let (less, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let text = text.strip_prefix('+').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        (less, whole.trim_start_matches('0'), fraction.trim_end_matches('0'))
    }
    let value: f64 = text.parse().ok()?;
    (value.is_finite() && digits(&value.to_string()) == digits(text)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_exact_where_its_text_says_the_same() {
        for (text, want) in [
            ("1", Some(1.0)),
            ("-007.50", Some(-7.5)),
            ("0.1", Some(0.1)),
            ("+3", Some(3.0)),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("0.10000000000000000001", None),
            ("1e400", None),
            ("x", None),
        ] {
            assert_eq!(exact_float(text), want, "{text}");
        }
    }

    #[test]
    fn cells_of_another_type_are_the_same_numbers_or_refused() {
        let whole = || Cells::Integer(vec![Some(1), None, Some(-3)]);
        let Ok(Cells::Float(floats)) = whole().into_type(FieldType::Float) else { panic!("no floats") };
        assert_eq!(floats, [Some(1.0), None, Some(-3.0)]);
        let (row, why) = whole().into_type(FieldType::Unsigned).unwrap_err();
        assert!(row == 2 && why.contains("-3") && why.contains("unsigned"), "{row} {why}");
        assert!(Cells::Text(vec![Some(Text::from("x"))]).into_type(FieldType::Float).is_err());
    }
}
