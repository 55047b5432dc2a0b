//! One column of a row group, decoded some rows at a time. The decoders are those of the crate; pages come from [`Pages`].

use super::footer::{Chunk, Leaf, Logical, broken};
use super::pages::Pages;
use crate::error::{Error, Result};
use crate::locks::lock;
use crate::series::exchange::import::{Cells, Text, Times};
use crate::series::{FieldType, Value};
use parquet::basic::Type as Physical;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::schema::types::{ColumnDescriptor, ColumnPath, Type};
use std::fs::File;
use std::sync::{Arc, Mutex};

const NS_PER_DAY: i64 = 86_400_000_000_000;
/// Julian day of 1970-01-01, by which `INT96` counts.
const JULIAN_EPOCH: i64 = 2_440_588;

/// Where the decoder finds its next page. It is handed over when the rows of the one before are read, so that a block of rows
/// keeps one page of each column in memory.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Vec<Page>>>);

impl Iterator for Feed {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        lock(&self.0).pop().map(Ok)
    }
}

impl PageReader for Feed {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        Ok(lock(&self.0).pop())
    }
    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        Err(ParquetError::General("pages are not looked at before they are read".into()))
    }
    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        Err(ParquetError::General("pages are not passed over".into()))
    }
}

/// A column that is being read.
pub(super) struct Column {
    leaf: Leaf,
    pages: Pages,
    feed: Feed,
    reader: ColumnReader,
    /// Rows of the present page that were not read.
    left: u64,
    /// Bytes of the dictionary and of the present page.
    dictionary_bytes: usize,
    page_bytes: usize,
}

/// Values as they are stored; `None` where there is none.
pub(super) enum Raw {
    Boolean(Vec<Option<bool>>),
    Integer(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Bytes(Vec<Option<Text>>),
}

impl Column {
    pub(super) fn open(file: Arc<File>, leaf: &Leaf, chunk: Chunk, rows: u64) -> Result<Self> {
        let built = Type::primitive_type_builder(&leaf.name, leaf.physical)
            .with_length(i32::try_from(leaf.length).unwrap_or_default())
            .build()
            .map_err(|e| wrong(leaf, &e))?;
        let path = ColumnPath::new(vec![leaf.name.clone()]);
        let of = Arc::new(ColumnDescriptor::new(Arc::new(built), i16::from(leaf.optional), 0, path));
        let feed = Feed::default();
        Ok(Self {
            leaf: leaf.clone(),
            pages: Pages::new(file, leaf, chunk, rows)?,
            reader: get_column_reader(of, Box::new(feed.clone())),
            feed,
            left: 0,
            dictionary_bytes: 0,
            page_bytes: 0,
        })
    }

    /// Rows that can be read without another page; 0 after the last one.
    pub(super) fn ready(&mut self) -> Result<u64> {
        while self.left == 0 {
            let Some(taken) = self.pages.next()? else { break };
            self.left = taken.rows;
            if taken.rows == 0 {
                self.dictionary_bytes = taken.bytes;
            } else {
                self.page_bytes = taken.bytes;
            }
            // The decoder takes the last one first.
            lock(&self.feed.0).insert(0, taken.page);
        }
        Ok(self.left)
    }

    /// Bytes that it holds.
    pub(super) const fn bytes(&self) -> usize {
        self.dictionary_bytes + self.page_bytes
    }

    /// Reads rows that are [`Column::ready`].
    pub(super) fn read(&mut self, rows: usize) -> Result<Raw> {
        self.left = self.left.saturating_sub(rows as u64);
        let leaf = &self.leaf;
        Ok(match &mut self.reader {
            ColumnReader::BoolColumnReader(r) => Raw::Boolean(values(leaf, r, rows, |v| v)?),
            ColumnReader::Int32ColumnReader(r) => {
                let unsigned = leaf.logical == Logical::Integer { signed: false };
                Raw::Integer(values(leaf, r, rows, |v| match unsigned {
                    true => i64::from(v.cast_unsigned()),
                    false => i64::from(v),
                })?)
            }
            ColumnReader::Int64ColumnReader(r) => Raw::Integer(values(leaf, r, rows, |v| v)?),
            ColumnReader::Int96ColumnReader(r) => {
                let bytes = |v: parquet::data_type::Int96| -> Text {
                    v.data().iter().flat_map(|part| part.to_le_bytes()).collect::<Vec<u8>>().into()
                };
                Raw::Bytes(values(leaf, r, rows, bytes)?)
            }
            ColumnReader::FloatColumnReader(r) => Raw::Float(values(leaf, r, rows, f64::from)?),
            ColumnReader::DoubleColumnReader(r) => Raw::Float(values(leaf, r, rows, |v| v)?),
            ColumnReader::ByteArrayColumnReader(r) => Raw::Bytes(values(leaf, r, rows, |v| v)?),
            ColumnReader::FixedLenByteArrayColumnReader(r) => Raw::Bytes(values(leaf, r, rows, Text::from)?),
        })
    }
}

fn wrong(leaf: &Leaf, e: &ParquetError) -> Error {
    broken(&format!("column `{}`: {e}", leaf.name))
}

/// One cell a row.
fn values<T: DataType, U>(
    leaf: &Leaf,
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    made: impl Fn(T::T) -> U,
) -> Result<Vec<Option<U>>> {
    let (mut there, mut levels) = (Vec::new(), Vec::new());
    let (read, ..) =
        reader.read_records(rows, Some(&mut levels), None, &mut there).map_err(|e| wrong(leaf, &e))?;
    if read != rows {
        return Err(broken(&format!("column `{}`: it has fewer values than rows", leaf.name)));
    }
    if !leaf.optional {
        return Ok(there.into_iter().map(|v| Some(made(v))).collect());
    }
    let mut there = there.into_iter();
    Ok(levels.iter().map(|level| if *level == 0 { None } else { there.next().map(&made) }).collect())
}

impl Leaf {
    /// The type of field that holds its values.
    pub(in crate::series::exchange) fn field_type(&self) -> Result<FieldType, &'static str> {
        if !self.flat {
            return Err("has lists or columns within it");
        }
        match (self.physical, self.logical) {
            (Physical::INT32 | Physical::INT64, Logical::Date | Logical::Timestamp { .. }) => {
                Err("holds times, and is not the column of times")
            }
            (_, Logical::Other) | (Physical::INT96, _) => Err("holds what no field can"),
            (_, Logical::Decimal { .. } | Logical::Float16) => Ok(FieldType::Float),
            (Physical::BOOLEAN, _) => Ok(FieldType::Boolean),
            (Physical::INT32 | Physical::INT64, Logical::Integer { signed: false }) => {
                Ok(FieldType::Unsigned)
            }
            (Physical::INT32 | Physical::INT64, _) => Ok(FieldType::Integer),
            (Physical::FLOAT | Physical::DOUBLE, _) => Ok(FieldType::Float),
            (Physical::BYTE_ARRAY, _) => Ok(FieldType::String),
            (Physical::FIXED_LEN_BYTE_ARRAY, _) => Err("holds bytes that are no text"),
        }
    }

    pub(in crate::series::exchange) const fn is_decimal(&self) -> bool {
        self.flat && matches!(self.logical, Logical::Decimal { .. })
    }

    pub(in crate::series::exchange) const fn is_time(&self) -> bool {
        self.flat
            && (matches!(self.logical, Logical::Date | Logical::Timestamp { .. })
                || matches!(self.physical, Physical::INT96))
    }

    /// Are its values whole numbers that say no more than that?
    pub(super) fn is_number(&self) -> bool {
        let plain = matches!(self.logical, Logical::None | Logical::Integer { .. });
        plain && matches!(self.physical, Physical::INT32 | Physical::INT64)
    }

    pub(super) fn is_text(&self) -> bool {
        self.flat
            && self.physical == Physical::BYTE_ARRAY
            && matches!(self.logical, Logical::None | Logical::Text)
    }

    /// Cells as [`Leaf::field_type`] has them, decimals with all of their digits.
    pub(super) fn cells(&self, raw: Raw) -> Result<Cells, (usize, String)> {
        let none = || (0, "holds what no field can".to_string());
        Ok(match raw {
            Raw::Boolean(v) => Cells::Boolean(v),
            Raw::Float(v) => Cells::Float(v),
            Raw::Integer(v) => match self.logical {
                Logical::Decimal { scale } => {
                    Cells::Decimal(v.into_iter().map(|v| v.map(i128::from)).collect(), digits(scale))
                }
                Logical::Integer { signed: false } => {
                    Cells::Unsigned(v.into_iter().map(|v| v.map(i64::cast_unsigned)).collect())
                }
                _ => Cells::Integer(v),
            },
            Raw::Bytes(v) => match self.logical {
                Logical::Decimal { scale } => Cells::Decimal(
                    mapped(v, |v| whole(v.data()).ok_or("is a decimal of more than 38 digits"))?,
                    digits(scale),
                ),
                Logical::Float16 => {
                    Cells::Float(mapped(v, |v| half(v.data()).ok_or("is no number of two bytes"))?)
                }
                Logical::None | Logical::Text => Cells::Text(v),
                _ => return Err(none()),
            },
        })
    }

    /// Times in nanoseconds since the epoch.
    pub(super) fn times(&self, raw: Raw, times: &Times) -> Result<Vec<i64>, (usize, String)> {
        let gap = |row: usize| (row, "has no time".to_string());
        let at = |(row, time): (usize, Option<Option<i64>>)| {
            let time = time.ok_or_else(|| gap(row))?;
            time.ok_or_else(|| (row, "is not a time that can be stored".to_string()))
        };
        match raw {
            Raw::Integer(v) => {
                let instant = |n: i64| match self.logical {
                    Logical::Timestamp { unit_ns, utc: true } => n.checked_mul(unit_ns),
                    Logical::Timestamp { unit_ns, .. } => times.of_clock(n.checked_mul(unit_ns)?),
                    Logical::Date => times.of_clock(n.checked_mul(NS_PER_DAY)?),
                    _ => times.of_number(n),
                };
                v.into_iter().map(|n| n.map(instant)).enumerate().map(at).collect()
            }
            Raw::Bytes(v) => {
                let instant = |v: &Text| match self.physical {
                    Physical::INT96 => julian(v.data()).and_then(|ns| times.of_clock(ns)),
                    _ => std::str::from_utf8(v.data()).ok().and_then(|text| times.of_text(text)),
                };
                v.iter().map(|v| v.as_ref().map(instant)).enumerate().map(at).collect()
            }
            Raw::Boolean(_) | Raw::Float(_) => Err((0, "is not a time".into())),
        }
    }
}

fn mapped<T, U>(
    from: Vec<Option<T>>,
    made: impl Fn(T) -> Result<U, &'static str>,
) -> Result<Vec<Option<U>>, (usize, String)> {
    let one = |(row, v): (usize, Option<T>)| v.map(&made).transpose().map_err(|why| (row, why.to_string()));
    from.into_iter().enumerate().map(one).collect()
}

/// Digits after the point; a footer with others is refused.
fn digits(scale: i32) -> u32 {
    u32::try_from(scale).unwrap_or_default()
}

/// A whole number, the greatest byte first; more than 16 bytes only say its sign once more.
fn whole(bytes: &[u8]) -> Option<i128> {
    let filler = if *bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [filler; 16];
    let (before, last) = bytes.split_at(bytes.len().saturating_sub(wide.len()));
    wide.get_mut(16 - last.len()..)?.copy_from_slice(last);
    let number = i128::from_be_bytes(wide);
    let same_sign = (number < 0) == (filler == 0xff);
    (same_sign && before.iter().all(|b| *b == filler)).then_some(number)
}

/// IEEE 754 of two bytes, the least first.
fn half(bytes: &[u8]) -> Option<f64> {
    let bits = u16::from_le_bytes(bytes.try_into().ok()?);
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let value = match exponent {
        0 => fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1_024.0) * 2_f64.powi(exponent - 15),
    };
    Some(if bits & 0x8000 == 0 { value } else { -value })
}

/// `INT96`: nanoseconds of the day, then the Julian day.
fn julian(bytes: &[u8]) -> Option<i64> {
    let (of_day, day) = bytes.split_at_checked(8)?;
    let of_day = i64::from_le_bytes(of_day.try_into().ok()?);
    let day = i64::from(u32::from_le_bytes(day.try_into().ok()?)) - JULIAN_EPOCH;
    day.checked_mul(NS_PER_DAY)?.checked_add(of_day)
}

/// A value of another type, where it is the same number.
pub(in crate::series::exchange) fn as_type(value: Value, of: FieldType) -> Option<Value> {
    /// Whole numbers up to here are floats of their own.
    const EXACT: u64 = 1 << 53;
    match (value, of) {
        (Value::Integer(v), FieldType::Float) if v.unsigned_abs() <= EXACT => Some(Value::Float(v as f64)),
        (Value::Unsigned(v), FieldType::Float) if v <= EXACT => Some(Value::Float(v as f64)),
        (Value::Integer(v), FieldType::Unsigned) => u64::try_from(v).ok().map(Value::Unsigned),
        (Value::Unsigned(v), FieldType::Integer) => i64::try_from(v).ok().map(Value::Integer),
        (Value::Float(v), FieldType::Integer) if v.fract() == 0.0 && v.abs() <= EXACT as f64 => {
            Some(Value::Integer(v as i64))
        }
        (value, of) => (value.field_type() == of).then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_any_width() {
        assert_eq!(whole(&[0xff, 0x85]), Some(-123));
        assert_eq!(whole(&[0x7f; 16]).map(|n| n > 0), Some(true));
        let wide = |sign: u8, first: u8| {
            let mut bytes = [sign; 32];
            bytes[16] = first;
            whole(&bytes)
        };
        assert_eq!(wide(0, 0x7f).map(|n| n > 0), Some(true));
        assert_eq!(wide(0xff, 0x80).map(|n| n < 0), Some(true));
        assert_eq!((wide(0, 0x80), wide(0xff, 0x7f), wide(1, 0)), (None, None, None));
        assert_eq!((whole(&[]), whole(&[0; 17])), (None, Some(0)));
    }

    #[test]
    fn halves_and_julian_days() {
        for (bits, want) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_477_539_063e-8), (0x7bff, 65_504.0)]
        {
            assert_eq!(half(&u16::to_le_bytes(bits)), Some(want), "{bits:x}");
        }
        assert!(half(&[0, 0x7e]).unwrap().is_nan() && half(&[0]).is_none());
        let mut bytes = 5_i64.to_le_bytes().to_vec();
        bytes.extend(2_440_589_u32.to_le_bytes());
        assert_eq!(julian(&bytes), Some(NS_PER_DAY + 5));
        bytes.truncate(11);
        assert_eq!(julian(&bytes), None);
    }

    #[test]
    fn numbers_change_their_type_only_where_they_stay_the_same() {
        use FieldType::{Float, Integer, String, Unsigned};
        for (value, of, want) in [
            (Value::Integer(1 << 53), Float, Some(Value::Float(9_007_199_254_740_992.0))),
            (Value::Integer((1 << 53) + 1), Float, None),
            (Value::Unsigned(u64::MAX), Float, None),
            (Value::Integer(-1), Unsigned, None),
            (Value::Unsigned(1 << 63), Integer, None),
            (Value::Float(3.0), Integer, Some(Value::Integer(3))),
            (Value::Float(3.5), Integer, None),
            (Value::Float(3.5), Float, Some(Value::Float(3.5))),
            (Value::Boolean(true), String, None),
        ] {
            assert_eq!(as_type(value.clone(), of), want, "{value:?} {of}");
        }
    }
}
