//! How the values of one lane become bytes: numbers by `pco` (narrowed first where they can be, as they are where that is
//! shorter), booleans as bits, strings with a dictionary where they repeat.

use super::bytes::{Input, Word, bits_len, get_bits, get_words, put_bits, put_len, put_words};
use super::narrow::{Base, EXPONENT_MAX, Narrow, Offset};
use super::run::Lane;
use crate::error::{Error, Result};
use crate::series::{FieldType, Values};
use pco::data_types::Number;
use pco::errors::PcoResult;
use pco::standalone::{DecompressorItem, FileDecompressor, simple_compress};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Effort of `pco`: beyond it a bar gets no shorter, and sealing gets slower.
const PCO_LEVEL: usize = 4;
/// Distinct strings that a dictionary may hold.
const DICTIONARY_MAX: usize = 1 << 16;
/// Numbers that are decompressed at once, into a buffer that stays near the processor: batches of `pco`.
const PIECE: usize = 8 * pco::FULL_BATCH_N;

const RAW: u8 = 0;
const PCO: u8 = 1;
/// An exponent, the bytes of an offset, the least number, and the offsets by `pco`.
const NARROW: u8 = 2;
/// What stands before the offsets.
const BASE_BYTES: usize = 10;
const PLAIN: u8 = 0;
const DICTIONARY: u8 = 1;
const GAPS: u8 = 1;

/// The number by which a type is stored.
pub(super) const fn type_code(of: FieldType) -> u8 {
    match of {
        FieldType::Float => 0,
        // The scale is none of the engine's business: it stores the units.
        FieldType::Integer | FieldType::Decimal(_) => 1,
        FieldType::Unsigned => 2,
        FieldType::Boolean => 3,
        FieldType::String => 4,
    }
}

pub(super) fn type_of_code(code: u8) -> Result<FieldType> {
    Ok(match code {
        0 => FieldType::Float,
        1 => FieldType::Integer,
        2 => FieldType::Unsigned,
        3 => FieldType::Boolean,
        4 => FieldType::String,
        _ => return Err(Error::corrupt(format!("{code} is no type of a field"))),
    })
}

/// Numbers, with their encoding and length in front.
pub(super) fn put_numbers<T: Number + Word>(out: &mut Vec<u8>, values: &[T]) -> Result<()> {
    let packed = pack(values)?;
    if packed.len() >= values.len() * 8 {
        return put_raw(out, values);
    }
    out.push(PCO);
    put_len(out, packed.len())?;
    out.extend_from_slice(&packed);
    Ok(())
}

/// [`put_numbers`] of values, narrowed where they can be: one stream of whole numbers in place of two of a float's digits and
/// of what they are off by.
fn put_values<T: Number + Word + Narrow>(out: &mut Vec<u8>, values: &[T]) -> Result<()> {
    let Some(near) = T::near(values) else { return put_numbers(out, values) };
    let (width, packed) = match u16::try_from(near.span) {
        Ok(_) => (u16::BYTES, pack(&near.offsets::<u16>())?),
        Err(_) => (u32::BYTES, pack(&near.offsets::<u32>())?),
    };
    if BASE_BYTES + packed.len() >= values.len() * 8 {
        return put_raw(out, values);
    }
    out.push(NARROW);
    put_len(out, BASE_BYTES + packed.len())?;
    out.extend_from_slice(&[near.base.exponent, width]);
    out.extend_from_slice(&near.base.least.to_le_bytes());
    out.extend_from_slice(&packed);
    Ok(())
}

fn put_raw<T: Word>(out: &mut Vec<u8>, values: &[T]) -> Result<()> {
    out.push(RAW);
    put_len(out, values.len() * 8)?;
    put_words(out, values);
    Ok(())
}

fn pack<T: Number>(values: &[T]) -> Result<Vec<u8>> {
    simple_compress(values, &pco::ChunkConfig::default().with_compression_level(PCO_LEVEL))
        .map_err(|e| Error::internal(format!("a column cannot be compressed: {e}")))
}

/// Gives the first `take` of packed numbers in pieces.
fn unpack<T: Number + Default>(bytes: &[u8], take: usize, mut give: impl FnMut(&[T])) -> Result<()> {
    let mut done = 0;
    let mut all = || -> PcoResult<()> {
        let mut piece = [T::default(); PIECE];
        let (file, mut rest) = FileDecompressor::new(bytes)?;
        while done < take {
            let DecompressorItem::Chunk(mut chunk) = file.chunk_decompressor::<T, _>(rest)? else { break };
            loop {
                let progress = chunk.read(&mut piece)?;
                let some = piece.get(..progress.n_processed.min(take - done)).unwrap_or_default();
                give(some);
                done += some.len();
                if progress.finished || some.is_empty() || done == take {
                    break;
                }
            }
            rest = chunk.into_src();
        }
        Ok(())
    };
    // Bytes that carry a forged checksum may trip an assertion of the codec.
    catch_unwind(AssertUnwindSafe(&mut all))
        .map_err(|_| Error::corrupt("a column cannot be decompressed"))?
        .map_err(|e| Error::corrupt(format!("a column cannot be decompressed: {e}")))?;
    if done < take {
        return Err(Error::corrupt(format!("a column has {done} of {take} values")));
    }
    Ok(())
}

/// Goes past what [`put_numbers`] wrote.
pub(super) fn skip_numbers(input: &mut Input<'_>) -> Result<()> {
    input.u8()?;
    let len = input.len()?;
    input.take(len)?;
    Ok(())
}

/// The first `take` of `count` numbers.
pub(super) fn get_numbers<T: Number + Word + Narrow>(
    input: &mut Input<'_>,
    count: usize,
    take: usize,
) -> Result<Vec<T>> {
    let encoding = input.u8()?;
    let len = input.len()?;
    let bytes = input.take(len)?;
    let mut out = Vec::with_capacity(take);
    match encoding {
        RAW if len == count * 8 => return Ok(get_words(bytes.get(..take * 8).unwrap_or(bytes))),
        PCO => unpack::<T>(bytes, take, |some| out.extend_from_slice(some))?,
        NARROW => {
            let mut input = Input::of(bytes);
            let (exponent, width, least) = (input.u8()?, input.u8()?, input.i64()?);
            let packed = input.rest();
            if exponent > EXPONENT_MAX {
                return Err(Error::corrupt(format!("a column has the exponent {exponent}")));
            }
            let base = Base { least, exponent };
            match width {
                u16::BYTES => widen::<u16, T>(packed, take, base, &mut out)?,
                u32::BYTES => widen::<u32, T>(packed, take, base, &mut out)?,
                _ => return Err(Error::corrupt(format!("a column has offsets of {width} bytes"))),
            }
        }
        _ => {
            return Err(Error::corrupt(format!(
                "a column of {len} bytes has the unknown encoding {encoding}"
            )));
        }
    }
    Ok(out)
}

fn widen<O: Number + Offset, T: Narrow>(
    packed: &[u8],
    take: usize,
    base: Base,
    out: &mut Vec<T>,
) -> Result<()> {
    unpack::<O>(packed, take, |some| T::widen(base, some.iter().copied(), out))
}

/// Values of one lane with its gaps; only valid values are kept.
pub(super) fn put_lane(out: &mut Vec<u8>, lane: &Lane) -> Result<()> {
    out.push(if lane.valid.is_some() { GAPS } else { 0 });
    if let Some(valid) = &lane.valid {
        put_bits(out, valid);
    }
    match &lane.values {
        Values::Float(v) => put_values(out, &dense(v, lane.valid.as_deref())),
        Values::Integer(v) | Values::Decimal(v, _) => put_values(out, &dense(v, lane.valid.as_deref())),
        Values::Unsigned(v) => put_values(out, &dense(v, lane.valid.as_deref())),
        Values::Boolean(v) => {
            put_bits(out, &dense(v, lane.valid.as_deref()));
            Ok(())
        }
        Values::String(v) => match &lane.valid {
            None => put_strings(out, &v.iter().map(String::as_str).collect::<Vec<_>>()),
            Some(valid) => {
                let kept = v.iter().zip(valid).filter(|(_, k)| **k).map(|(s, _)| s.as_str());
                put_strings(out, &kept.collect::<Vec<_>>())
            }
        },
    }
}

/// The values that are there.
pub(super) fn dense<'a, T: Clone>(values: &'a [T], valid: Option<&[bool]>) -> std::borrow::Cow<'a, [T]> {
    match valid {
        None => values.into(),
        Some(valid) => {
            values.iter().zip(valid).filter(|(_, k)| **k).map(|(v, _)| v.clone()).collect::<Vec<_>>().into()
        }
    }
}

/// The first `take` of `rows` rows of a lane.
pub(super) fn get_lane(
    mut input: Input<'_>,
    field: u32,
    of: FieldType,
    rows: usize,
    take: usize,
) -> Result<Lane> {
    let valid = match input.u8()? {
        0 => None,
        GAPS => Some(get_bits(input.take(bits_len(rows))?, rows)?),
        flag => return Err(Error::corrupt(format!("a column has the unknown flag {flag}"))),
    };
    let count = valid.as_ref().map_or(rows, |v| v.iter().filter(|b| **b).count());
    let wanted = valid.as_ref().map_or(take, |v| v.iter().take(take).filter(|b| **b).count());
    let valid = valid.map(|mut v| {
        v.truncate(take);
        v
    });
    let gaps = valid.as_deref();
    let values = match of {
        FieldType::Float => Values::Float(spread(get_numbers(&mut input, count, wanted)?, gaps)),
        FieldType::Integer | FieldType::Decimal(_) => {
            Values::Integer(spread(get_numbers(&mut input, count, wanted)?, gaps))
        }
        FieldType::Unsigned => Values::Unsigned(spread(get_numbers(&mut input, count, wanted)?, gaps)),
        FieldType::Boolean => {
            let mut bits = get_bits(input.take(bits_len(count))?, count)?;
            bits.truncate(wanted);
            Values::Boolean(spread(bits, gaps))
        }
        FieldType::String => Values::String(spread(get_strings(&mut input, count, wanted)?, gaps)),
    };
    input.end()?;
    Ok(Lane { field, values, valid })
}

/// Puts values back to the rows that have one.
pub(super) fn spread<T: Default>(values: Vec<T>, valid: Option<&[bool]>) -> Vec<T> {
    let Some(valid) = valid else { return values };
    let mut values = values.into_iter();
    valid.iter().map(|k| if *k { values.next().unwrap_or_default() } else { T::default() }).collect()
}

fn put_strings(out: &mut Vec<u8>, values: &[&str]) -> Result<()> {
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    let mut words: Vec<&str> = Vec::new();
    let mut places: Vec<u64> = Vec::with_capacity(values.len());
    for value in values {
        let next = words.len() as u64;
        let place = *numbers.entry(value).or_insert(next);
        if place == next {
            words.push(value);
        }
        places.push(place);
        if words.len() > DICTIONARY_MAX || words.len() > values.len() / 2 {
            out.push(PLAIN);
            return put_plain(out, values);
        }
    }
    out.push(DICTIONARY);
    put_len(out, words.len())?;
    put_plain(out, &words)?;
    put_numbers(out, &places)
}

fn put_plain(out: &mut Vec<u8>, values: &[&str]) -> Result<()> {
    let lens: Vec<u64> = values.iter().map(|s| s.len() as u64).collect();
    put_numbers(out, &lens)?;
    put_len(out, values.iter().map(|s| s.len()).sum())?;
    values.iter().for_each(|s| out.extend_from_slice(s.as_bytes()));
    Ok(())
}

fn get_strings(input: &mut Input<'_>, count: usize, take: usize) -> Result<Vec<String>> {
    match input.u8()? {
        PLAIN => get_plain(input, count, take),
        DICTIONARY => {
            let words = input.len()?;
            if words > count {
                return Err(Error::corrupt("a dictionary is longer than its column"));
            }
            let words = get_plain(input, words, words)?;
            let places = get_numbers::<u64>(input, count, take)?;
            let word = |p: &u64| usize::try_from(*p).ok().and_then(|p| words.get(p)).cloned();
            places
                .iter()
                .map(|p| word(p).ok_or_else(|| Error::corrupt("a string is not in its dictionary")))
                .collect()
        }
        other => Err(Error::corrupt(format!("strings have the unknown encoding {other}"))),
    }
}

fn get_plain(input: &mut Input<'_>, count: usize, take: usize) -> Result<Vec<String>> {
    let lens = get_numbers::<u64>(input, count, take)?;
    let total = input.len()?;
    let mut bytes = input.part(total)?;
    let mut text = |len: &u64| {
        let len = usize::try_from(*len).map_err(|_| Error::corrupt("a string is too long"))?;
        let text =
            std::str::from_utf8(bytes.take(len)?).map_err(|_| Error::corrupt("a string is not UTF-8"))?;
        Ok(text.to_owned())
    };
    lens.iter().map(&mut text).collect()
}
