//! Rows as the readers of files give them on: column by column, not yet by series.

use crate::series::decimals::Inexact;
use crate::series::{Decimal, FieldType, Value};

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
    /// Units of so many digits after the point, as a Parquet file has them.
    Decimal(Vec<Option<i128>>, u32),
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    Text(&'a Text),
    Decimal(i128, u32),
    /// Units of a decimal of the manifest.
    Units(Decimal),
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
            Self::Decimal(v, digits) => {
                v.get(row).copied().flatten().map(|units| Cell::Decimal(units, *digits))
            }
        }
    }

    pub(super) const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) | Self::Decimal(..) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::Text(_) => FieldType::String,
        }
    }

    /// Decimals as floats, where they are the same numbers.
    pub(in crate::series::exchange) fn into_floats(self) -> Result<Self, (usize, String)> {
        let Self::Decimal(units, digits) = self else { return Ok(self) };
        let one = |(row, units): (usize, Option<i128>)| {
            units.map(|units| float_of(units, digits)).transpose().map_err(|why| (row, why))
        };
        Ok(Self::Float(units.into_iter().enumerate().map(one).collect::<Result<_, _>>()?))
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
            Self::Decimal(v, _) => v.len(),
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
            // No value is one.
            Self::Decimal(v, _) => v.push(None),
        }
    }
}

impl Cell<'_> {
    pub(super) const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) | Self::Decimal(..) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::Text(_) => FieldType::String,
            Self::Units(d) => FieldType::Decimal(d.scale),
        }
    }

    fn number(self) -> Option<Value> {
        Some(match self {
            Self::Float(v) => Value::Float(v),
            Self::Integer(v) => Value::Integer(v),
            Self::Unsigned(v) => Value::Unsigned(v),
            Self::Boolean(v) => Value::Boolean(v),
            Self::Text(_) | Self::Decimal(..) | Self::Units(_) => return None,
        })
    }

    /// As what it is written: a decimal of a file as one of this scale, or as a float where the field is none; why it is neither.
    pub(super) fn as_declared(self, scale: Option<u8>) -> Result<Self, String> {
        let Self::Decimal(units, digits) = self else { return Ok(self) };
        let Some(scale) = scale else { return float_of(units, digits).map(Self::Float) };
        Decimal::of_units(units, digits, scale).map(Self::Units).map_err(|why| {
            let text = decimal_text(units, digits);
            match why {
                Inexact::Digits => {
                    format!("is {text}, which has more digits after the point than decimal({scale})")
                }
                Inexact::Range | Inexact::NotANumber => {
                    format!("is {text}, which is beyond decimal({scale})")
                }
            }
        })
    }
}

/// `units` times ten to the minus `digits`, with all of its digits.
pub(super) fn decimal_text(units: i128, digits: u32) -> String {
    let digits = usize::try_from(digits).unwrap_or_default();
    let text = format!("{:0>width$}", units.unsigned_abs(), width = digits + 1);
    let (whole, part) = text.split_at(text.len() - digits);
    let sign = if units < 0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// The float whose shortest text is this decimal; none that would be another number.
fn float_of(units: i128, digits: u32) -> Result<f64, String> {
    let text = decimal_text(units, digits);
    exact_float(&text).ok_or_else(|| format!("is {text}, which no float holds"))
}

/// The float of a decimal text, where its shortest text is the same number again.
pub(super) fn exact_float(text: &str) -> Option<f64> {
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
    fn decimals_become_floats_where_they_are_the_same_number() {
        for (units, digits, want) in [
            (18_970, 2, Some(189.7)),
            (-5, 3, Some(-0.005)),
            (0, 0, Some(0.0)),
            (9_007_199_254_740_993, 0, None),
            (123_456_789_012_345_678, 18, None),
            (1, 76, Some(1e-76)),
        ] {
            assert_eq!(float_of(units, digits).ok(), want, "{units} {digits}");
        }
        assert_eq!(decimal_text(i128::MIN, 38), "-1.70141183460469231731687303715884105728");
        assert_eq!((decimal_text(-5, 0).as_str(), decimal_text(5, 1).as_str()), ("-5", "0.5"));
        let why =
            |scale| Cell::Decimal(12_345, 3).as_declared(Some(scale)).map(|c| c.field_type()).unwrap_err();
        assert!(why(2).contains("12.345") && why(2).contains("more digits after the point than decimal(2)"));
        assert!(why(18).contains("beyond decimal(18)"), "{}", why(18));
        assert!(matches!(
            Cell::Decimal(12_300, 3).as_declared(Some(2)),
            Ok(Cell::Units(Decimal { units: 1_230, scale: 2 }))
        ));
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
