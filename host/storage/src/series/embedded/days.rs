//! What a chunk says of each UTC day in it, so that windows of whole days need none of its rows: how many rows the day
//! has, and of each field that holds numbers count, first, last, least, greatest and sum. Of booleans and strings the
//! rows tell.
//!
//! Stored behind the statistics of the whole chunk, under their checksum: the number of days, 0 where there are none;
//! the days and their rows; then by field its type, its length and its columns, so that fields that are not asked for
//! are skipped.

use super::bytes::{Input, Word, put_len};
use super::codec::{type_code, type_of_code};
use super::narrow::Narrow;
use super::record::{get_numbers, put_numbers};
use super::run::{Lane, Run};
use super::statistics::{Sum, Totals, totals};
use crate::error::{Error, Result};
use crate::series::{FieldType, Value};

const DAY_NS: i64 = 86_400_000_000_000;
/// Rows that the days of a chunk have on the average, at least; the first and the last, which mostly are parts, count as
/// one. What is known of a day of fewer would cost a good part of what its rows do. Part of the format: `shiphold verify`
/// expects days where there are so many rows.
pub(super) const DAY_ROWS_MIN: usize = 128;
/// What is known of one field of one day, in memory.
pub(super) const TOTALS_BYTES: usize = size_of::<Option<Totals>>();
/// Columns of a field beside its count and sum: first, last, least, greatest.
const PICKED: usize = 4;

/// The day that holds a time, counted from 1970-01-01.
pub(super) fn day_of(time: i64) -> i64 {
    time.div_euclid(DAY_NS)
}

/// The first and the last time of a day that lie between two times.
pub(super) fn span_of(day: i64, (min, max): (i64, i64)) -> (i64, i64) {
    let start = day.saturating_mul(DAY_NS);
    let end = day.saturating_add(1).saturating_mul(DAY_NS);
    (start.max(min), end.saturating_sub(1).min(max))
}

/// Days that have rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Days {
    /// Ascending.
    days: Vec<Day>,
    fields: Vec<DayField>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    /// See [`day_of`].
    pub day: i64,
    pub rows: u32,
}

#[derive(Debug, Clone, PartialEq)]
struct DayField {
    field: u32,
    of: FieldType,
    /// Of each day; `None` where the field has no value in it.
    totals: Vec<Option<Totals>>,
}

/// A type of numbers that days are summed up of.
trait Number: Word + Narrow {
    fn of(value: &Value) -> Option<Self>;
    fn value(self) -> Value;
}

macro_rules! number {
    ($($t:ty: $variant:ident),*) => { $(impl Number for $t {
        fn of(value: &Value) -> Option<Self> {
            if let Value::$variant(v) = value { Some(*v) } else { None }
        }
        fn value(self) -> Value {
            Value::$variant(self)
        }
    })* };
}
number!(f64: Float, i64: Integer, u64: Unsigned);

fn is_number(of: FieldType) -> bool {
    matches!(of, FieldType::Float | FieldType::Integer | FieldType::Decimal(_) | FieldType::Unsigned)
}

/// `None`: it has one day only, of which the whole chunk tells, or too few rows in each.
pub(super) fn of_run(run: &Run) -> Option<Days> {
    let days_max = run.len() / DAY_ROWS_MIN;
    if days_max < 2 || day_of(run.min()?) == day_of(run.max()?) {
        return None;
    }
    let mut days = Vec::new();
    let mut rest = run.times.as_slice();
    while let Some(first) = rest.first() {
        let day = day_of(*first);
        let (of_day, after) = rest.split_at_checked(rest.partition_point(|t| day_of(*t) == day))?;
        days.push(Day { day, rows: u32::try_from(of_day.len()).ok()? });
        if days.len() > days_max + 1 {
            return None;
        }
        rest = after;
    }
    let fields: Vec<DayField> =
        run.lanes.iter().filter(|l| is_number(l.field_type())).map(|lane| of_lane(lane, &days)).collect();
    Some(Days { days, fields }).filter(|days| !days.fields.is_empty())
}

fn of_lane(lane: &Lane, days: &[Day]) -> DayField {
    let mut from = 0;
    let totals = days.iter().map(|day| {
        let to = from + day.rows as usize;
        totals(lane, std::mem::replace(&mut from, to)..to)
    });
    DayField { field: lane.field, of: lane.field_type(), totals: totals.collect() }
}

impl Days {
    pub(super) fn days(&self) -> &[Day] {
        &self.days
    }
    pub(super) fn has(&self, field: u32) -> bool {
        self.fields.iter().any(|f| f.field == field)
    }
    /// All fields are of these types; one that is not known fits.
    pub(super) fn fit(&self, types: &[Option<FieldType>]) -> bool {
        let fits = |f: &DayField| types.get(f.field as usize).is_some_and(|t| t.is_none_or(|t| t == f.of));
        self.fields.iter().all(fits)
    }
    /// Of the day at this place, the fields that have a value in it.
    pub(super) fn totals(&self, at: usize) -> Vec<Totals> {
        self.fields.iter().filter_map(|f| f.totals.get(at).cloned().flatten()).collect()
    }
}

pub(super) fn put(out: &mut Vec<u8>, days: Option<&Days>) -> Result<()> {
    let Some(Days { days, fields }) = days else { return put_len(out, 0) };
    put_len(out, days.len())?;
    put_numbers(out, &days.iter().map(|d| d.day).collect::<Vec<i64>>());
    put_numbers(out, &days.iter().map(|d| u64::from(d.rows)).collect::<Vec<u64>>());
    put_len(out, fields.len())?;
    let mut columns = Vec::new();
    for field in fields {
        columns.clear();
        match field.of {
            FieldType::Float => put_field::<f64>(&mut columns, field),
            FieldType::Unsigned => put_field::<u64>(&mut columns, field),
            _ => put_field::<i64>(&mut columns, field),
        }
        out.extend_from_slice(&field.field.to_le_bytes());
        out.push(type_code(field.of));
        put_len(out, columns.len())?;
        out.extend_from_slice(&columns);
    }
    Ok(())
}

fn put_field<T: Number>(out: &mut Vec<u8>, DayField { of, totals, .. }: &DayField) {
    let counts = totals.iter().map(|t| t.as_ref().map_or(0, |t| u64::from(t.count)));
    put_numbers(out, &counts.collect::<Vec<u64>>());
    let there = || totals.iter().flatten();
    let mut picked: Vec<T> = Vec::with_capacity(PICKED * totals.len());
    picked.extend(there().filter_map(|t| T::of(&t.first)));
    picked.extend(there().filter_map(|t| T::of(&t.last)));
    picked.extend(there().filter_map(|t| T::of(&t.extremes.as_ref()?.0)));
    picked.extend(there().filter_map(|t| T::of(&t.extremes.as_ref()?.1)));
    put_numbers(out, &picked);
    if *of == FieldType::Float {
        let float = |t: &Totals| if let Sum::Float(sum) = t.sum { Some(sum) } else { None };
        return put_numbers(out, &there().filter_map(float).collect::<Vec<f64>>());
    }
    let whole = |t: &Totals| if let Sum::Whole(sum) = t.sum { Some(sum) } else { None };
    put_numbers(out, &there().filter_map(whole).map(|sum| sum as u64).collect::<Vec<u64>>());
    put_numbers(out, &there().filter_map(whole).map(|sum| (sum >> 64) as i64).collect::<Vec<i64>>());
}

/// What [`put`] wrote, of the fields that are wanted; `None` stands for all.
pub(super) fn get(input: &mut Input<'_>, wanted: Option<&[u32]>) -> Result<Option<Days>> {
    let n = input.len()?;
    if n == 0 {
        return Ok(None);
    }
    let numbers: Vec<i64> = get_numbers(input, n)?;
    let rows: Vec<u64> = get_numbers(input, n)?;
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(Error::corrupt("its days do not ascend"));
    }
    let day = |(day, rows): (&i64, &u64)| match u32::try_from(*rows) {
        Ok(rows) if rows > 0 => Ok(Day { day: *day, rows }),
        _ => Err(Error::corrupt("one of its days has no number of rows")),
    };
    let days: Vec<Day> = numbers.iter().zip(&rows).map(day).collect::<Result<_>>()?;
    let mut fields = Vec::new();
    let mut before = None;
    for _ in 0..input.len()? {
        let field = input.u32()?;
        let of = type_of_code(input.u8()?)?;
        let len = input.len()?;
        let mut columns = input.part(len)?;
        if before.replace(field).is_some_and(|before| before >= field) || !is_number(of) {
            return Err(Error::corrupt("the fields of its days do not ascend, or are no numbers"));
        }
        if wanted.is_some_and(|wanted| !wanted.contains(&field)) {
            continue;
        }
        let totals = match of {
            FieldType::Float => get_field::<f64>(&mut columns, field, of, &days),
            FieldType::Unsigned => get_field::<u64>(&mut columns, field, of, &days),
            _ => get_field::<i64>(&mut columns, field, of, &days),
        }?;
        columns.end()?;
        fields.push(DayField { field, of, totals });
    }
    Ok(Some(Days { days, fields }))
}

fn get_field<T: Number>(
    input: &mut Input<'_>,
    field: u32,
    of: FieldType,
    days: &[Day],
) -> Result<Vec<Option<Totals>>> {
    let counts: Vec<u64> = get_numbers(input, days.len())?;
    if counts.iter().zip(days).any(|(count, day)| *count > u64::from(day.rows)) {
        return Err(Error::corrupt("a field of one of its days has more values than rows"));
    }
    let there = counts.iter().filter(|count| **count > 0).count();
    let picked: Vec<T> = get_numbers(input, PICKED * there)?;
    let sums: Vec<Sum> = if of == FieldType::Float {
        get_numbers::<f64>(input, there)?.into_iter().map(Sum::Float).collect()
    } else {
        let low: Vec<u64> = get_numbers(input, there)?;
        let high: Vec<i64> = get_numbers(input, there)?;
        let whole = |(low, high): (u64, i64)| Sum::Whole(i128::from(high) << 64 | i128::from(low));
        low.into_iter().zip(high).map(whole).collect()
    };
    let mut next = 0;
    let of_day = |count: &u64| -> Result<Option<Totals>> {
        if *count == 0 {
            return Ok(None);
        }
        let at = next;
        next += 1;
        let pick = |column: usize| picked.get(column * there + at).map(|v| v.value());
        let all = || Some((pick(0)?, pick(1)?, pick(2)?, pick(3)?, *sums.get(at)?));
        let (first, last, least, greatest, sum) =
            all().ok_or_else(|| Error::corrupt("a field of one of its days lacks a value"))?;
        let count = u32::try_from(*count).unwrap_or(u32::MAX);
        Ok(Some(Totals { field, count, first, last, extremes: Some((least, greatest)), sum }))
    };
    counts.iter().map(of_day).collect()
}

#[cfg(test)]
mod tests;
