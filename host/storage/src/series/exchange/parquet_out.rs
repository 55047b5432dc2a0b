//! Parquet: row groups of bounded size, zstd, times as nanoseconds in UTC, texts as UTF-8, and no nesting.

use super::columns::{Columns, MEASUREMENT, TIME, field_column, tag_column};
use super::export::{GROUP_BYTES, GROUP_ROWS, Sink};
use crate::error::{Error, Kind, Result};
use crate::series::{Column, FieldType, Frame, SeriesKey, Values};
use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use std::io::Write;
use std::sync::Arc;

/// Says by which rules the columns are named.
const LAYOUT: (&str, &str) = ("shiphold.exchange", "1");

pub(super) struct ParquetFile<'a> {
    columns: Columns,
    file: SerializedFileWriter<&'a mut (dyn Write + Send)>,
    group: Group,
}

/// Rows that were not written yet. Nulls have a definition level of 0 and no value.
#[derive(Default)]
struct Group {
    times: Vec<i64>,
    measurements: Vec<ByteArray>,
    tags: Vec<Cells<Vec<ByteArray>>>,
    fields: Vec<Cells<Stored>>,
    bytes: usize,
}

struct Cells<T> {
    levels: Vec<i16>,
    values: T,
}

/// Decimal digits of the greatest `i64`, and the least bytes that hold so many: Parquet's decimals of 64 bits have one digit less.
const DECIMAL_DIGITS: i32 = 19;
const DECIMAL_BYTES: i32 = 9;

/// Values as Parquet's writers take them.
enum Stored {
    Double(Vec<f64>),
    Long(Vec<i64>),
    Boolean(Vec<bool>),
    Text(Vec<ByteArray>),
    Decimal(Vec<FixedLenByteArray>),
}

/// Units as Parquet has them: big-endian, with the sign in front.
fn decimal(units: i64) -> FixedLenByteArray {
    let mut bytes = vec![if units < 0 { u8::MAX } else { 0 }];
    bytes.extend_from_slice(&units.to_be_bytes());
    ByteArray::from(bytes).into()
}

fn wrong(e: ParquetError) -> Error {
    let said = e.to_string();
    match e {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(io) => Error::io("writing the export", *io),
            Err(other) => Error::new(Kind::Io, format!("writing the export: {other}")),
        },
        _ => Error::new(Kind::Io, format!("writing the export: {said}")),
    }
}

fn leaf(
    name: &str,
    physical: Physical,
    logical: Option<LogicalType>,
    repetition: Repetition,
) -> Result<TypePtr> {
    let built = Type::primitive_type_builder(name, physical)
        .with_logical_type(logical)
        .with_repetition(repetition)
        .build();
    built.map(Arc::new).map_err(wrong)
}

fn schema(columns: &Columns) -> Result<TypePtr> {
    let text = Some(LogicalType::String);
    let utc = LogicalType::Timestamp { is_adjusted_to_u_t_c: true, unit: TimeUnit::NANOS };
    let mut leaves = vec![
        leaf(TIME, Physical::INT64, Some(utc), Repetition::REQUIRED)?,
        leaf(MEASUREMENT, Physical::BYTE_ARRAY, text.clone(), Repetition::REQUIRED)?,
    ];
    for key in &columns.tags {
        leaves.push(leaf(&tag_column(key), Physical::BYTE_ARRAY, text.clone(), Repetition::OPTIONAL)?);
    }
    for (name, of) in &columns.fields {
        let (physical, logical) = match of {
            FieldType::Float => (Physical::DOUBLE, None),
            FieldType::Integer => (Physical::INT64, None),
            FieldType::Unsigned => {
                (Physical::INT64, Some(LogicalType::Integer { bit_width: 64, is_signed: false }))
            }
            FieldType::Boolean => (Physical::BOOLEAN, None),
            FieldType::String => (Physical::BYTE_ARRAY, text.clone()),
            FieldType::Decimal(scale) => {
                let scale = i32::from(*scale);
                let built = Type::primitive_type_builder(&field_column(name), Physical::FIXED_LEN_BYTE_ARRAY)
                    .with_logical_type(Some(LogicalType::Decimal { scale, precision: DECIMAL_DIGITS }))
                    .with_length(DECIMAL_BYTES)
                    .with_precision(DECIMAL_DIGITS)
                    .with_scale(scale)
                    .with_repetition(Repetition::OPTIONAL)
                    .build();
                leaves.push(built.map(Arc::new).map_err(wrong)?);
                continue;
            }
        };
        leaves.push(leaf(&field_column(name), physical, logical, Repetition::OPTIONAL)?);
    }
    Type::group_type_builder("rows").with_fields(leaves).build().map(Arc::new).map_err(wrong)
}

impl<'a> ParquetFile<'a> {
    pub(super) fn new(columns: Columns, out: &'a mut (dyn Write + Send)) -> Result<Self> {
        let (key, value) = LAYOUT;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(wrong)?))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            // An index of pages is held until the end of the file.
            .set_offset_index_disabled(true)
            .set_created_by(concat!("shiphold ", env!("CARGO_PKG_VERSION")).into())
            .set_key_value_metadata(Some(vec![KeyValue::new(key.into(), value.to_string())]))
            .build();
        let file = SerializedFileWriter::new(out, schema(&columns)?, Arc::new(properties)).map_err(wrong)?;
        let group = Group::new(&columns);
        Ok(Self { columns, file, group })
    }

    fn write_group(&mut self) -> Result<()> {
        let full = std::mem::replace(&mut self.group, Group::new(&self.columns));
        if full.times.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group().map_err(wrong)?;
        column(&mut group, |w| match w {
            ColumnWriter::Int64ColumnWriter(w) => w.write_batch(&full.times, None, None),
            _ => mismatch(),
        })?;
        column(&mut group, |w| match w {
            ColumnWriter::ByteArrayColumnWriter(w) => w.write_batch(&full.measurements, None, None),
            _ => mismatch(),
        })?;
        for tag in &full.tags {
            column(&mut group, |w| match w {
                ColumnWriter::ByteArrayColumnWriter(w) => w.write_batch(&tag.values, Some(&tag.levels), None),
                _ => mismatch(),
            })?;
        }
        for field in &full.fields {
            let levels = Some(field.levels.as_slice());
            column(&mut group, |w| match (w, &field.values) {
                (ColumnWriter::DoubleColumnWriter(w), Stored::Double(v)) => w.write_batch(v, levels, None),
                (ColumnWriter::Int64ColumnWriter(w), Stored::Long(v)) => w.write_batch(v, levels, None),
                (ColumnWriter::BoolColumnWriter(w), Stored::Boolean(v)) => w.write_batch(v, levels, None),
                (ColumnWriter::ByteArrayColumnWriter(w), Stored::Text(v)) => w.write_batch(v, levels, None),
                (ColumnWriter::FixedLenByteArrayColumnWriter(w), Stored::Decimal(v)) => {
                    w.write_batch(v, levels, None)
                }
                _ => mismatch(),
            })?;
        }
        group.close().map_err(wrong)?;
        // What has left is on its way before more is read.
        self.file.flush().map_err(|e| Error::io("writing the export", e))
    }
}

type Written = parquet::errors::Result<usize>;

/// The columns are those of the schema, in its order.
fn mismatch() -> Written {
    Err(ParquetError::General("the columns are not those of the schema".into()))
}

fn column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    write: impl FnOnce(&mut ColumnWriter<'_>) -> Written,
) -> Result<()> {
    let next = group.next_column().map_err(wrong)?;
    let mut next = next.ok_or_else(|| Error::internal("the export has more columns than its schema"))?;
    write(next.untyped()).map_err(wrong)?;
    next.close().map_err(wrong)
}

impl Sink for ParquetFile<'_> {
    fn rows(&mut self, key: &SeriesKey, frame: &Frame) -> Result<()> {
        // Where there are many columns, gaps take room too: two bytes each.
        let gaps = 2 * (self.columns.tags.len() + self.columns.fields.len());
        let row_bytes = gaps + 64 + frame.size_bytes() / frame.len().max(1);
        let mut from = 0;
        while from < frame.len() {
            let room = GROUP_BYTES.saturating_sub(self.group.bytes) / row_bytes;
            let most = room.clamp(1, GROUP_ROWS - self.group.times.len());
            let to = frame.len().min(from + most);
            self.group.add(&self.columns, key, frame, from, to);
            self.group.bytes += (to - from) * row_bytes;
            if self.group.times.len() >= GROUP_ROWS || self.group.bytes >= GROUP_BYTES {
                self.write_group()?;
            }
            from = to;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_group()?;
        self.file.close().map(drop).map_err(wrong)
    }
}

impl Group {
    fn new(columns: &Columns) -> Self {
        let tags = columns.tags.iter().map(|_| Cells { levels: Vec::new(), values: Vec::new() });
        let fields = columns.fields.iter().map(|(_, of)| Cells {
            levels: Vec::new(),
            values: match of {
                FieldType::Float => Stored::Double(Vec::new()),
                FieldType::Integer | FieldType::Unsigned => Stored::Long(Vec::new()),
                FieldType::Boolean => Stored::Boolean(Vec::new()),
                FieldType::String => Stored::Text(Vec::new()),
                FieldType::Decimal(_) => Stored::Decimal(Vec::new()),
            },
        });
        Self { tags: tags.collect(), fields: fields.collect(), ..Self::default() }
    }

    /// Adds the rows `from..to` of a frame.
    fn add(&mut self, columns: &Columns, key: &SeriesKey, frame: &Frame, from: usize, to: usize) {
        let rows = to - from;
        // One copy of a name, however many rows have it.
        let text = |s: &str| ByteArray::from(Bytes::copy_from_slice(s.as_bytes()));
        self.times.extend(frame.times.iter().skip(from).take(rows));
        self.measurements.extend(std::iter::repeat_n(text(&key.measurement), rows));
        for (tag, cells) in columns.tags.iter().zip(&mut self.tags) {
            let value = key.tag(tag);
            cells.levels.extend(std::iter::repeat_n(i16::from(value.is_some()), rows));
            if let Some(value) = value {
                cells.values.extend(std::iter::repeat_n(text(value), rows));
            }
        }
        for ((name, _), cells) in columns.fields.iter().zip(&mut self.fields) {
            match frame.column(name) {
                Some(column) => cells.add(column, from, rows),
                None => cells.levels.extend(std::iter::repeat_n(0, rows)),
            }
        }
    }
}

impl Cells<Stored> {
    fn add(&mut self, column: &Column, from: usize, rows: usize) {
        let there = |row: &usize| column.is_valid(*row);
        let chosen = from..from + rows;
        match (&mut self.values, &column.values) {
            (Stored::Double(to), Values::Float(v)) => take(to, v, chosen.clone(), there, |x| *x),
            (Stored::Long(to), Values::Integer(v)) => take(to, v, chosen.clone(), there, |x| *x),
            (Stored::Long(to), Values::Unsigned(v)) => {
                take(to, v, chosen.clone(), there, |x| x.cast_signed());
            }
            (Stored::Boolean(to), Values::Boolean(v)) => take(to, v, chosen.clone(), there, |x| *x),
            (Stored::Text(to), Values::String(v)) => {
                take(to, v, chosen.clone(), there, |s| ByteArray::from(s.as_bytes().to_vec()));
            }
            (Stored::Decimal(to), Values::Decimal(v, _)) => {
                take(to, v, chosen.clone(), there, |units| decimal(*units));
            }
            // The types of a measurement's fields never change.
            _ => return self.levels.extend(std::iter::repeat_n(0, rows)),
        }
        self.levels.extend(chosen.map(|row| i16::from(column.is_valid(row))));
    }
}

fn take<T, U>(
    to: &mut Vec<U>,
    values: &[T],
    rows: std::ops::Range<usize>,
    there: impl Fn(&usize) -> bool,
    made: impl Fn(&T) -> U,
) {
    to.extend(rows.filter(there).filter_map(|row| values.get(row)).map(made));
}
