//! A record: rows of some series as bytes with a checksum, and how a batch is cut into records.

use crate::error::{Error, Result};
use crate::series::query::picked;
use crate::series::{Column, FieldType, Frame, SeriesKey, Values};
use std::sync::Arc;

/// Rows of one part of a record.
pub(crate) const PART_ROWS_MAX: usize = 8_192;
/// Bytes of values after which a record is closed; one part more may follow.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 20;
/// The format of what is written.
const VERSION: u8 = 1;
/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 8;

/// The rows of a record for one series, in the order in which they were written.
pub(crate) type Part = (Arc<SeriesKey>, Arc<Frame>);

/// Cuts a batch into the parts of records: only the rows that are kept and have a value. Gives the number of rows, too.
pub(crate) fn cut(series: Vec<(SeriesKey, Frame)>, refused: &[Option<Vec<bool>>]) -> (Vec<Vec<Part>>, u64) {
    let (mut records, mut open, mut bytes, mut total) = (Vec::new(), Vec::new(), 0, 0);
    for (at, (key, frame)) in series.into_iter().enumerate() {
        let refused = refused.get(at).and_then(Option::as_deref);
        let key = Arc::new(key);
        let rows: Vec<usize> = (0..frame.len())
            .filter(|row| refused.is_none_or(|r| r.get(*row) != Some(&true)))
            .filter(|row| frame.columns.iter().any(|c| c.is_valid(*row)))
            .collect();
        total += rows.len() as u64;
        let whole = rows.len() == frame.len() && rows.len() <= PART_ROWS_MAX;
        let frames: Vec<Frame> = match whole {
            true if rows.is_empty() => Vec::new(),
            true => vec![frame],
            false => rows.chunks(PART_ROWS_MAX).map(|rows| picked(&frame, rows)).collect(),
        };
        for frame in frames {
            bytes += frame.size_bytes();
            open.push((key.clone(), Arc::new(frame)));
            if bytes >= RECORD_BYTES_MAX {
                records.push(std::mem::take(&mut open));
                bytes = 0;
            }
        }
    }
    if !open.is_empty() {
        records.push(open);
    }
    (records, total)
}

fn put_len(out: &mut Vec<u8>, n: usize) -> Result<()> {
    let n = u32::try_from(n).map_err(|_| {
        Error::limit("a part of the batch", "4 GiB", "send smaller batches with shorter texts")
    })?;
    out.extend_from_slice(&n.to_le_bytes());
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    put_len(out, text.len())?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn put_bits(out: &mut Vec<u8>, bits: &[bool]) {
    out.extend(bits.chunks(8).map(|c| c.iter().rev().fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit))));
}

/// The bytes of a record.
pub(crate) fn encode(parts: &[Part]) -> Result<Vec<u8>> {
    let about: usize = parts.iter().map(|(_, f)| f.size_bytes() + 256).sum();
    let mut out = Vec::with_capacity(about);
    out.push(VERSION);
    put_len(&mut out, parts.len())?;
    for (key, frame) in parts {
        put_text(&mut out, &key.bucket)?;
        put_text(&mut out, &key.measurement)?;
        put_len(&mut out, key.tags.len())?;
        for (k, v) in &key.tags {
            put_text(&mut out, k)?;
            put_text(&mut out, v)?;
        }
        put_len(&mut out, frame.len())?;
        put_len(&mut out, frame.columns.len())?;
        frame.times.iter().for_each(|t| out.extend_from_slice(&t.to_le_bytes()));
        for column in &frame.columns {
            put_column(&mut out, column)?;
        }
    }
    let hash = blake3::hash(&out);
    out.extend(hash.as_bytes().iter().take(CHECKSUM_BYTES));
    Ok(out)
}

fn put_column(out: &mut Vec<u8>, column: &Column) -> Result<()> {
    put_text(out, &column.name)?;
    out.push(match column.values.field_type() {
        FieldType::Float => 0,
        FieldType::Integer | FieldType::Decimal(_) => 1,
        FieldType::Unsigned => 2,
        FieldType::Boolean => 3,
        FieldType::String => 4,
    });
    out.push(u8::from(column.valid.is_some()));
    if let Some(valid) = &column.valid {
        put_bits(out, valid);
    }
    match &column.values {
        Values::Float(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Values::Integer(v) | Values::Decimal(v, _) => {
            v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()))
        }
        Values::Unsigned(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Values::Boolean(v) => put_bits(out, v),
        Values::String(v) => {
            for text in v {
                put_text(out, text)?;
            }
        }
    }
    Ok(())
}

/// What is left to read; every length is checked before anything is made of it.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(|| Error::corrupt("it ends early"))?;
        self.0 = rest;
        Ok(head)
    }
    fn word<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Error::corrupt("it ends early"))
    }
    fn len(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.word()?) as usize)
    }
    fn byte(&mut self) -> Result<u8> {
        self.word::<1>().map(|[b]| b)
    }
    fn text(&mut self) -> Result<String> {
        let n = self.len()?;
        let text = std::str::from_utf8(self.take(n)?);
        Ok(text.map_err(|_| Error::corrupt("a text is not UTF-8"))?.to_owned())
    }
    fn words<T>(&mut self, n: usize, read: impl Fn([u8; 8]) -> T) -> Result<Vec<T>> {
        let bytes = self.take(n.checked_mul(8).ok_or_else(|| Error::corrupt("a length is absurd"))?)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|c| read(*c)).collect())
    }
    fn bits(&mut self, n: usize) -> Result<Vec<bool>> {
        let bytes = self.take(n.div_ceil(8))?;
        Ok(bytes.iter().flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1)).take(n).collect())
    }
}

/// Reads a record; damage of any kind is [`crate::Kind::Corrupt`].
pub(crate) fn decode(record: &[u8]) -> Result<Vec<Part>> {
    let split = record.len().checked_sub(CHECKSUM_BYTES).and_then(|at| record.split_at_checked(at));
    let (body, checksum) = split.ok_or_else(|| Error::corrupt("it is too short"))?;
    if blake3::hash(body).as_bytes().get(..CHECKSUM_BYTES) != Some(checksum) {
        return Err(Error::corrupt("its checksum does not match"));
    }
    let mut input = Input(body);
    let version = input.byte()?;
    if version != VERSION {
        return Err(Error::corrupt(format!("it has the unknown format {version}")));
    }
    let mut parts = Vec::new();
    for _ in 0..input.len()? {
        let (bucket, measurement) = (input.text()?, input.text()?);
        let mut tags = Vec::new();
        for _ in 0..input.len()? {
            tags.push((input.text()?, input.text()?));
        }
        let key = SeriesKey::new(bucket, measurement, tags)
            .map_err(|e| Error::corrupt(format!("it names no series: {e}")))?;
        let (rows, columns) = (input.len()?, input.len()?);
        let mut frame = Frame { times: input.words(rows, i64::from_le_bytes)?, columns: Vec::new() };
        for _ in 0..columns {
            frame.columns.push(column(&mut input, rows)?);
        }
        frame.validate().map_err(|e| Error::corrupt(format!("rows of `{key}`: {e}")))?;
        parts.push((Arc::new(key), Arc::new(frame)));
    }
    if input.0.is_empty() { Ok(parts) } else { Err(Error::corrupt("it goes on after its end")) }
}

fn column(input: &mut Input<'_>, rows: usize) -> Result<Column> {
    let name = input.text()?;
    let of = input.byte()?;
    let valid = match input.byte()? {
        0 => None,
        1 => Some(input.bits(rows)?),
        flag => return Err(Error::corrupt(format!("a column has the unknown flag {flag}"))),
    };
    let values = match of {
        0 => Values::Float(input.words(rows, f64::from_le_bytes)?),
        1 => Values::Integer(input.words(rows, i64::from_le_bytes)?),
        2 => Values::Unsigned(input.words(rows, u64::from_le_bytes)?),
        3 => Values::Boolean(input.bits(rows)?),
        4 => Values::String((0..rows).map(|_| input.text()).collect::<Result<_>>()?),
        other => return Err(Error::corrupt(format!("a column has the unknown type {other}"))),
    };
    Ok(Column { name, values, valid })
}
