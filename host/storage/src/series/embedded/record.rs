//! A log record: one batch, column by column, mostly as it is in memory.

use super::bytes::{self, Input, bits_len, get_bits, get_words, put_bits, put_len, put_words};
use super::codec::{type_code, type_of_code};
use super::run::{Lane, Run};
use crate::error::{Error, Result};
use crate::series::{FieldType, Values};

const KIND: u8 = b'L';
const VERSION: u8 = 1;
const GAPS: u8 = 1;

/// The rows of a batch for one series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    pub series: i64,
    pub run: Run,
}

pub(super) fn encode<'a>(sections: impl ExactSizeIterator<Item = (i64, &'a Run)> + Clone) -> Result<Vec<u8>> {
    let about: usize = sections.clone().map(|(_, r)| r.size_bytes() + 32 + 8 * r.lanes.len()).sum();
    let mut out = bytes::envelope(KIND, VERSION, about);
    put_len(&mut out, sections.len())?;
    for (series, run) in sections {
        out.extend_from_slice(&series.to_le_bytes());
        put_len(&mut out, run.len())?;
        put_len(&mut out, run.lanes.len())?;
        put_words(&mut out, &run.times);
        for lane in &run.lanes {
            out.extend_from_slice(&lane.field.to_le_bytes());
            out.push(type_code(lane.field_type()));
            out.push(if lane.valid.is_some() { GAPS } else { 0 });
            if let Some(valid) = &lane.valid {
                put_bits(&mut out, valid);
            }
            match &lane.values {
                Values::Float(v) => put_words(&mut out, v),
                Values::Integer(v) | Values::Decimal(v, _) => put_words(&mut out, v),
                Values::Unsigned(v) => put_words(&mut out, v),
                Values::Boolean(v) => put_bits(&mut out, v),
                Values::String(v) => {
                    for s in v {
                        put_len(&mut out, s.len())?;
                        out.extend_from_slice(s.as_bytes());
                    }
                }
            }
        }
    }
    Ok(bytes::close(out))
}

pub(super) fn decode(record: &[u8]) -> Result<Vec<Section>> {
    let mut input = bytes::open(record, KIND, VERSION)?;
    let mut sections = Vec::new();
    for _ in 0..input.len()? {
        let series = input.i64()?;
        let rows = input.len()?;
        let lanes = input.len()?;
        let times: Vec<i64> = get_words(input.take_many(rows, 8)?);
        if !times.is_sorted_by(|a, b| a < b) {
            return Err(Error::corrupt("its times do not ascend"));
        }
        let mut run = Run { times, lanes: Vec::new() };
        for _ in 0..lanes {
            run.lanes.push(lane(&mut input, rows)?);
        }
        if !run.lanes.is_sorted_by(|a, b| a.field < b.field) {
            return Err(Error::corrupt("its fields do not ascend"));
        }
        sections.push(Section { series, run });
    }
    input.end()?;
    Ok(sections)
}

fn lane(input: &mut Input<'_>, rows: usize) -> Result<Lane> {
    let field = input.u32()?;
    let of = type_of_code(input.u8()?)?;
    let valid = match input.u8()? {
        0 => None,
        GAPS => Some(get_bits(input.take(bits_len(rows))?, rows)?),
        flag => return Err(Error::corrupt(format!("a column has the unknown flag {flag}"))),
    };
    let values = match of {
        FieldType::Float => Values::Float(get_words(input.take_many(rows, 8)?)),
        FieldType::Integer | FieldType::Decimal(_) => Values::Integer(get_words(input.take_many(rows, 8)?)),
        FieldType::Unsigned => Values::Unsigned(get_words(input.take_many(rows, 8)?)),
        FieldType::Boolean => Values::Boolean(get_bits(input.take(bits_len(rows))?, rows)?),
        FieldType::String => {
            let mut strings = Vec::new();
            for _ in 0..rows {
                let len = input.len()?;
                let text = std::str::from_utf8(input.take(len)?);
                strings.push(text.map_err(|_| Error::corrupt("a string is not UTF-8"))?.to_owned());
            }
            Values::String(strings)
        }
    };
    Ok(Lane { field, values, valid })
}
