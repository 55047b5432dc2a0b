//! What a Parquet file says of itself, read by a walker of our own: every count has a bound, and every place is looked up in the
//! file before anything there is read.
//!
//! The format: <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>

use super::thrift::{Bad, Read, Thrift, Type};
use crate::error::{Error, Result};
use crate::series::exchange::COLUMNS_MAX;
use parquet::basic::Type as Physical;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Bytes of a file's footer.
pub const FOOTER_BYTES_MAX: u64 = 32 << 20;
/// Row groups times columns of a file.
pub const CHUNKS_MAX: usize = 1_000_000;
/// Rows of a file: a few bytes can stand for any number of equal ones.
pub const FILE_ROWS_MAX: i64 = 10_000_000_000;
/// Columns within columns.
const SCHEMA_DEPTH_MAX: usize = 32;
/// Columns and groups of columns.
const ELEMENTS_MAX: usize = 4 * COLUMNS_MAX;

pub(in crate::series::exchange) const MAGIC: &[u8; 4] = b"PAR1";

/// A file as its footer describes it.
#[derive(Debug)]
pub(in crate::series::exchange) struct Footer {
    pub(super) rows: u64,
    pub(in crate::series::exchange) columns: Vec<Leaf>,
    pub(super) groups: Vec<Group>,
}

/// A column that holds values.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::series::exchange) struct Leaf {
    pub(in crate::series::exchange) name: String,
    pub(super) physical: Physical,
    /// Bytes of a value of fixed length.
    pub(super) length: usize,
    pub(super) logical: Logical,
    pub(super) optional: bool,
    /// It has one value a row, or none: it is neither repeated nor within another.
    pub(super) flat: bool,
}

/// What values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    None,
    Text,
    Decimal {
        scale: i32,
    },
    Date,
    /// Nanoseconds of one unit; whether it is an instant or the time on a clock.
    Timestamp {
        unit_ns: i64,
        utc: bool,
    },
    Integer {
        signed: bool,
    },
    Float16,
    /// What no field holds, such as a UUID or a time of day.
    Other,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
    /// One per column of the file.
    pub(super) chunks: Vec<Chunk>,
}

/// The values of one column in one group of rows, pages from `start` to `end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) codec: i64,
    pub(super) start: u64,
    pub(super) end: u64,
}

pub(super) fn broken(why: &str) -> Error {
    Error::invalid(format!("the Parquet file is broken: {why}")).hint("write it anew, or copy it again")
}

impl Footer {
    pub(in crate::series::exchange) fn read(file: &File, length: u64) -> Result<Self> {
        let tail = MAGIC.len() as u64 + 4;
        let mut end = [0; 8];
        let at = length.checked_sub(tail).filter(|at| *at >= MAGIC.len() as u64);
        let at = at.ok_or_else(|| broken("it is too short"))?;
        read_at(file, &mut end, at)?;
        let (size, magic) = end.split_at(4);
        if magic == b"PARE" {
            return Err(Error::invalid("the Parquet file is encrypted").hint("write it without encryption"));
        }
        if magic != MAGIC {
            return Err(broken("it ends early"));
        }
        let size = u64::from(size.try_into().map_or(0, u32::from_le_bytes));
        if size > FOOTER_BYTES_MAX {
            return Err(Error::limit(
                format!("the footer of the Parquet file ({size} bytes)"),
                format!("{FOOTER_BYTES_MAX} bytes"),
                "write fewer columns or larger row groups",
            ));
        }
        let start = at.checked_sub(size).filter(|s| *s >= MAGIC.len() as u64);
        let start = start.ok_or_else(|| broken("its footer is longer than the file"))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        read_at(file, &mut bytes, start)?;
        parse(&bytes, start).map_err(|bad| match bad {
            Bad::Short => broken("its footer ends early"),
            Bad::Wrong(why) => broken(&format!("its footer has {why}")),
        })
    }
}

pub(super) fn read_at(file: &File, to: &mut [u8], at: u64) -> Result<()> {
    file.read_exact_at(to, at).map_err(|e| Error::io("reading the file that is imported", e))
}

/// Reads a footer; pages lie before `pages_end`.
fn parse(bytes: &[u8], pages_end: u64) -> Read<Footer> {
    let mut rows = None;
    let mut columns = Vec::new();
    let mut groups = Vec::new();
    let mut chunks = 0;
    Thrift::new(bytes).structure(Type::STRUCT, |t, id, of| {
        match id {
            2 => columns = schema(t, of)?,
            3 => rows = Some(t.int(of)?),
            4 => t.list(of, CHUNKS_MAX, "too many row groups", |t, of| {
                let group = group(t, of, &columns, pages_end)?;
                chunks += group.chunks.len().max(1);
                groups.push(group);
                if chunks > CHUNKS_MAX {
                    return Err(Bad::Wrong("too many row groups"));
                }
                Ok(())
            })?,
            8 => return Err(Bad::Wrong("encrypted columns")),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let rows = rows.filter(|n| (0..=FILE_ROWS_MAX).contains(n)).ok_or(Bad::Wrong("no number of rows"))?;
    let rows = rows.unsigned_abs();
    let sum = groups.iter().try_fold(0_u64, |sum, g| sum.checked_add(g.rows));
    if sum != Some(rows) {
        return Err(Bad::Wrong("row groups whose rows are not those of the file"));
    }
    Ok(Footer { rows, columns, groups })
}

/// One entry of the schema's list: the columns follow their group, depth first.
#[derive(Debug, Default)]
struct Element<'a> {
    physical: Option<i64>,
    length: i64,
    repetition: i64,
    name: &'a str,
    children: i64,
    converted: Option<i64>,
    scale: i64,
    logical: Option<Logical>,
}

fn schema(t: &mut Thrift<'_>, of: Type) -> Read<Vec<Leaf>> {
    let mut leaves = Vec::new();
    // How many columns are still to come of each group that is open.
    let mut open: Vec<i64> = Vec::new();
    let mut first = true;
    let mut names: Vec<String> = Vec::new();
    t.list(of, ELEMENTS_MAX, "too many columns", |t, of| {
        let element = element(t, of)?;
        if first {
            first = false;
            open.push(element.children);
            return Ok(());
        }
        while open.last() == Some(&0) {
            open.pop();
            names.pop();
        }
        *open.last_mut().ok_or(Bad::Wrong("columns that belong to nothing"))? -= 1;
        if element.children > 0 {
            if open.len() >= SCHEMA_DEPTH_MAX {
                return Err(Bad::Wrong("columns within columns without end"));
            }
            open.push(element.children);
            names.push(element.name.to_string());
            return Ok(());
        }
        let leaf = leaf(&element, &names)?;
        leaves.push(leaf);
        Ok(())
    })?;
    // Beside the fields and tags, `time` and `measurement`.
    if leaves.len() > COLUMNS_MAX + 2 {
        return Err(Bad::Wrong("too many columns"));
    }
    if open.iter().any(|left| *left != 0) {
        return Err(Bad::Wrong("fewer columns than it says"));
    }
    Ok(leaves)
}

fn element<'a>(t: &mut Thrift<'a>, of: Type) -> Read<Element<'a>> {
    let mut e = Element::default();
    t.structure(of, |t, id, of| {
        match id {
            1 => e.physical = Some(t.int(of)?),
            2 => e.length = t.int(of)?,
            3 => e.repetition = t.int(of)?,
            4 => e.name = t.text(of)?,
            5 => e.children = t.int(of)?,
            6 => e.converted = Some(t.int(of)?),
            7 => e.scale = t.int(of)?,
            10 => e.logical = Some(logical(t, of)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(e)
}

/// The union of logical types.
fn logical(t: &mut Thrift<'_>, of: Type) -> Read<Logical> {
    let mut found = Logical::Other;
    t.structure(of, |t, id, of| {
        found = match id {
            1 | 4 | 12 => Logical::Text,
            5 => {
                let mut scale = 0;
                t.structure(of, |t, id, of| {
                    if id == 1 {
                        scale = t.int(of)?;
                    }
                    Ok(id == 1)
                })?;
                found = Logical::Decimal { scale: scale_of(scale)? };
                return Ok(true);
            }
            6 => Logical::Date,
            8 => {
                found = timestamp(t, of)?;
                return Ok(true);
            }
            10 => {
                let mut signed = true;
                t.structure(of, |_, id, of| {
                    if id == 2 {
                        signed = Thrift::boolean(of)?;
                    }
                    Ok(id == 2)
                })?;
                found = Logical::Integer { signed };
                return Ok(true);
            }
            // A column that holds nothing but nulls.
            11 => Logical::None,
            15 => Logical::Float16,
            _ => Logical::Other,
        };
        Ok(false)
    })?;
    Ok(found)
}

fn timestamp(t: &mut Thrift<'_>, of: Type) -> Read<Logical> {
    let (mut utc, mut unit_ns) = (false, None);
    t.structure(of, |t, id, of| {
        match id {
            1 => utc = Thrift::boolean(of)?,
            2 => t.structure(of, |_, id, _| {
                unit_ns = match id {
                    1 => Some(1_000_000),
                    2 => Some(1_000),
                    3 => Some(1),
                    _ => None,
                };
                Ok(false)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let unit_ns = unit_ns.ok_or(Bad::Wrong("a time without a unit"))?;
    Ok(Logical::Timestamp { unit_ns, utc })
}

fn scale_of(scale: i64) -> Read<i32> {
    i32::try_from(scale).ok().filter(|s| (0..=76).contains(s)).ok_or(Bad::Wrong("a decimal of such a scale"))
}

/// What older writers say in place of a logical type.
fn converted(of: Option<i64>, scale: i64) -> Read<Logical> {
    Ok(match of {
        None => Logical::None,
        Some(0 | 4 | 19) => Logical::Text,
        Some(5) => Logical::Decimal { scale: scale_of(scale)? },
        Some(6) => Logical::Date,
        Some(9) => Logical::Timestamp { unit_ns: 1_000_000, utc: true },
        Some(10) => Logical::Timestamp { unit_ns: 1_000, utc: true },
        Some(11..=14) => Logical::Integer { signed: false },
        Some(15..=18) => Logical::Integer { signed: true },
        Some(_) => Logical::Other,
    })
}

fn leaf(e: &Element<'_>, within: &[String]) -> Read<Leaf> {
    let physical = match e.physical {
        Some(0) => Physical::BOOLEAN,
        Some(1) => Physical::INT32,
        Some(2) => Physical::INT64,
        Some(3) => Physical::INT96,
        Some(4) => Physical::FLOAT,
        Some(5) => Physical::DOUBLE,
        Some(6) => Physical::BYTE_ARRAY,
        Some(7) => Physical::FIXED_LEN_BYTE_ARRAY,
        _ => return Err(Bad::Wrong("a column of no type")),
    };
    let length = usize::try_from(e.length).unwrap_or_default();
    if physical == Physical::FIXED_LEN_BYTE_ARRAY && !(1..=1_024).contains(&length) {
        return Err(Bad::Wrong("values of such a length"));
    }
    let mut name = within.join(".");
    if !name.is_empty() {
        name.push('.');
    }
    name.push_str(e.name);
    let logical = match e.logical {
        Some(logical) => logical,
        None => converted(e.converted, e.scale)?,
    };
    let flat = within.is_empty() && matches!(e.repetition, 0 | 1);
    Ok(Leaf { name, physical, length, logical, optional: e.repetition == 1, flat })
}

fn group(t: &mut Thrift<'_>, of: Type, columns: &[Leaf], pages_end: u64) -> Read<Group> {
    let (mut chunks, mut rows) = (Vec::new(), None);
    t.structure(of, |t, id, of| {
        match id {
            1 => t.list(of, columns.len(), "more columns in a row group than in the file", |t, of| {
                let leaf = columns.get(chunks.len()).ok_or(Bad::Wrong("a column too many"))?;
                chunks.push(chunk(t, of, leaf, pages_end)?);
                Ok(())
            })?,
            3 => rows = u64::try_from(t.int(of)?).ok(),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let rows = rows.ok_or(Bad::Wrong("a row group without a number of rows"))?;
    if chunks.len() != columns.len() {
        return Err(Bad::Wrong("a row group that misses columns"));
    }
    Ok(Group { rows, chunks })
}

fn chunk(t: &mut Thrift<'_>, of: Type, leaf: &Leaf, pages_end: u64) -> Read<Chunk> {
    let (mut physical, mut codec, mut size) = (None, None, None);
    let (mut data, mut dictionary) = (None, None);
    t.structure(of, |t, id, of| {
        match id {
            1 => return Err(Bad::Wrong("columns in other files")),
            3 => t.structure(of, |t, id, of| {
                match id {
                    1 => physical = Some(t.int(of)?),
                    4 => codec = Some(t.int(of)?),
                    7 => size = u64::try_from(t.int(of)?).ok(),
                    9 => data = u64::try_from(t.int(of)?).ok(),
                    11 => dictionary = u64::try_from(t.int(of)?).ok(),
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            8 | 9 => return Err(Bad::Wrong("encrypted columns")),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (Some(codec), Some(size), Some(data)) = (codec, size, data) else {
        return Err(Bad::Wrong("a column without a place"));
    };
    if physical != Some(leaf.physical as i64) {
        return Err(Bad::Wrong("a column of two types"));
    }
    // Some writers say 0 where there is no dictionary.
    let start = dictionary.filter(|at| *at > 0 && *at < data).unwrap_or(data);
    let end = start.checked_add(size).filter(|end| *end <= pages_end && start >= MAGIC.len() as u64);
    Ok(Chunk { codec, start, end: end.ok_or(Bad::Wrong("a column that lies outside of the file"))? })
}
