//! CSV with a head, read a block of rows at a time from a file that nobody vouches for: a line has a bound, and an error names it.

use super::Source;
use super::cells::{Block, Cells, Text, exact_float};
use super::plan::{Field, Head, Of, Plan};
use super::spool::Spooled;
use crate::error::{Error, Kind, Result};
use crate::series::exchange::COLUMNS_MAX;
use crate::series::{Budget, FieldType, Value};
use csv::ByteRecord;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one line, with the line breaks within its quoted cells.
pub const LINE_BYTES_MAX: u64 = 16 << 20;
/// What is read of the file at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Rows and bytes of a block; one line comes on top.
const BLOCK_ROWS: usize = 8_192;
const BLOCK_BYTES: usize = 8 << 20;
/// What Python, R and spreadsheets write where a column of numbers has no value.
const NO_NUMBER: [&str; 6] = ["NaN", "nan", "NULL", "null", "None", "NA"];

/// Ends a line that does not end: `most` moves on with every line that did.
struct Bounded {
    file: Spooled,
    at: u64,
    most: Arc<AtomicU64>,
}

impl Read for Bounded {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.most.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, too_long()));
        }
        let read = self.file.read_at(to, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn too_long() -> String {
    format!("the line has more than {LINE_BYTES_MAX} bytes")
}

/// The records of a file, the head among them.
pub(super) struct Records {
    csv: csv::Reader<Bounded>,
    most: Arc<AtomicU64>,
    record: ByteRecord,
    width: usize,
}

impl Records {
    /// Opens a file and reads its head.
    pub(super) fn open(file: &Spooled) -> Result<(Self, Vec<Head>)> {
        let most = Arc::new(AtomicU64::new(0));
        let input = Bounded { file: file.clone(), at: 0, most: most.clone() };
        let csv = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(input);
        let mut records = Self { csv, most, record: ByteRecord::new(), width: 0 };
        if records.next()?.is_none() {
            return Err(Error::invalid(
                "the file is empty: it has no line with the time and the other columns",
            )
            .hint("the first line names the columns: date,open,high,low,close,volume"));
        }
        let mut heads = Vec::new();
        for (at, cell) in records.record.iter().enumerate() {
            let name = std::str::from_utf8(cell).map_err(|_| {
                Error::invalid("line 1: a name is not UTF-8").hint("is it a CSV or a Parquet file?")
            })?;
            // A byte order mark is no part of a name.
            let name = if at == 0 { name.trim_start_matches('\u{feff}') } else { name };
            heads.push(Head { name: name.to_string(), of: Of::Text });
        }
        if heads.len() > COLUMNS_MAX + 2 {
            return Err(Error::limit("the number of columns", COLUMNS_MAX + 2, "split the file"));
        }
        records.width = heads.len();
        Ok((records, heads))
    }

    /// The next record and its line; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &ByteRecord)>> {
        let at = self.csv.position().byte();
        self.most.store(at + LINE_BYTES_MAX + BUFFER_BYTES as u64, Ordering::Relaxed);
        let begun = self.csv.position().line();
        if !self.csv.read_byte_record(&mut self.record).map_err(|e| unreadable(&e, begun))? {
            return Ok(None);
        }
        let line = self.record.position().map_or(begun, csv::Position::line);
        if self.csv.position().byte() - at > LINE_BYTES_MAX {
            return Err(Error::limit(
                format!("line {line}"),
                format!("{LINE_BYTES_MAX} bytes a line"),
                "is a quote missing that ends a text?",
            ));
        }
        if self.width != 0 && self.record.len() != self.width {
            return Err(Error::invalid(format!(
                "line {line}: it has {} cells, and the head has {}",
                self.record.len(),
                self.width
            ))
            .hint("every line has as many columns as the header; text with commas stands in quotes"));
        }
        Ok(Some((line, &self.record)))
    }
}

fn unreadable(e: &csv::Error, line: u64) -> Error {
    match e.kind() {
        csv::ErrorKind::Io(io) if io.kind() == io::ErrorKind::InvalidData => Error::limit(
            format!("line {line}"),
            format!("{LINE_BYTES_MAX} bytes a line"),
            "is a quote missing that ends a text?",
        ),
        csv::ErrorKind::Io(io) => Error::new(Kind::Io, format!("line {line}: the file cannot be read: {io}")),
        _ => Error::invalid(format!("line {line}: {e}")),
    }
}

/// What the cells of a column are, as far as they were seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    any: bool,
    numbers: bool,
    booleans: bool,
}

/// Looks at all cells of the fields whose type nobody said: a column of numbers is a field of floats, one of `true` and `false` of
/// booleans, any other of strings. One without a value is left out.
pub(super) fn infer(plan: &mut Plan, file: &Spooled, budget: &Budget) -> Result<()> {
    if plan.fields.iter().all(|f| f.of.is_some()) {
        return Ok(());
    }
    let (mut records, _) = Records::open(file)?;
    let mut seen = vec![Seen { any: false, numbers: true, booleans: true }; plan.fields.len()];
    let mut count = 0_usize;
    while let Some((_, record)) = records.next()? {
        count += 1;
        if count.is_multiple_of(BLOCK_ROWS) {
            budget.check()?;
        }
        for (field, seen) in plan.fields.iter().zip(&mut seen).filter(|(f, _)| f.of.is_none()) {
            let Some(text) = record.get(field.column).and_then(|c| std::str::from_utf8(c).ok()) else {
                continue;
            };
            if text.is_empty() || NO_NUMBER.contains(&text) {
                continue;
            }
            seen.any = true;
            seen.booleans = seen.booleans && boolean(text).is_some();
            seen.numbers = seen.numbers && text.trim().parse::<f64>().is_ok();
        }
    }
    for (field, seen) in plan.fields.iter_mut().zip(seen) {
        if field.of.is_none() && seen.any {
            field.of = Some(match seen {
                Seen { booleans: true, .. } => FieldType::Boolean,
                Seen { numbers: true, .. } => FieldType::Float,
                _ => FieldType::String,
            });
        }
    }
    plan.fields.retain(|f| f.of.is_some());
    Ok(())
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Rows of a CSV file.
pub(super) struct CsvRows<'a> {
    plan: &'a Plan,
    records: Records,
    heads: Vec<Head>,
    /// Rows that were read.
    rows: u64,
}

impl<'a> CsvRows<'a> {
    pub(super) fn open(plan: &'a Plan, file: &Spooled) -> Result<Self> {
        let (records, heads) = Records::open(file)?;
        Ok(Self { plan, records, heads, rows: 0 })
    }

    fn add(plan: &Plan, heads: &[Head], block: &mut Block, line: u64, record: &ByteRecord) -> Result<()> {
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let text = |at: usize| {
            std::str::from_utf8(cell(at))
                .map_err(|_| wrong(heads, line, at, cell(at), "UTF-8", "write the file as UTF-8"))
        };
        let time = text(plan.time)?;
        block.times.push(plan.times.of_text(time).ok_or_else(|| {
            let hint = match time.trim().parse::<i64>() {
                Ok(_) if !plan.times.takes_numbers() => "say what the numbers count with `unit`: s, ms, us or ns",
                _ => {
                    "write a date (2026-06-26, or 6/26/2026 with the month first), RFC 3339, or a number since the epoch"
                }
            };
            wrong(heads, line, plan.time, time.as_bytes(), "a time", hint)
        })?);
        block.lines.push(line);
        for (at, column) in plan.names.iter().zip(&mut block.names) {
            let text = text(*at)?.as_bytes();
            // Rows of a series often follow each other: their name is there once.
            let same = column.last().and_then(Option::as_ref).filter(|last| last.data() == text);
            let shared = same.cloned().or_else(|| (!text.is_empty()).then(|| Text::from(text.to_vec())));
            column.push(shared);
        }
        for (field, cells) in plan.fields.iter().zip(&mut block.fields) {
            let text = text(field.column)?;
            let value = value(field, text)
                .map_err(|(what, hint)| wrong(heads, line, field.column, text.as_bytes(), &what, hint))?;
            cells.push(value);
        }
        Ok(())
    }
}

fn wrong(heads: &[Head], line: u64, column: usize, cell: &[u8], what: &str, hint: &str) -> Error {
    let name = heads.get(column).map_or("", |h| h.name.as_str());
    let shown: String = String::from_utf8_lossy(cell).chars().take(80).collect();
    Error::invalid(format!("line {line}, column `{name}`: `{}` is not {what}", shown.escape_debug()))
        .hint(hint)
}

/// The value of a cell; what it is not, and what to do, where it is none of its field's type.
fn value(field: &Field, text: &str) -> Result<Option<Value>, (String, &'static str)> {
    let of = field.of.unwrap_or(FieldType::String);
    if of == FieldType::String && !field.decimal {
        return Ok(match text {
            "" => None,
            text if field.escaped => Some(Value::String(text.strip_prefix('\\').unwrap_or(text).to_string())),
            text => Some(Value::String(text.to_string())),
        });
    }
    let text = text.trim();
    if text.is_empty() || NO_NUMBER.contains(&text) {
        return Ok(None);
    }
    let numbers = "write numbers with a point and without separators: 1234.56";
    let read = match of {
        FieldType::Integer => text.parse().map(Value::Integer).map_err(|_| ("an integer".into(), numbers)),
        FieldType::Unsigned => {
            text.parse().map(Value::Unsigned).map_err(|_| ("a whole number without a sign".into(), numbers))
        }
        FieldType::Boolean => {
            boolean(text).map(Value::Boolean).ok_or(("true or false".into(), "write true or false"))
        }
        FieldType::String | FieldType::Decimal(_) => number(text).map(|_| Value::String(text.to_string())),
        FieldType::Float if field.exact => exact_float(text).map(Value::Float).ok_or((
            "a number that a float holds to its last digit".into(),
            "a field of this name is a decimal of the manifest: name the one measurement, and all digits are kept",
        )),
        FieldType::Float => float(text).map(Value::Float),
    };
    read.map(Some)
}

fn number(text: &str) -> Result<f64, (String, &'static str)> {
    let wrong = ("a number".to_string(), "write numbers with a point and without separators: 1234.56");
    text.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or(wrong)
}

fn float(text: &str) -> Result<f64, (String, &'static str)> {
    let v = number(text)?;
    // Of fractions a text is the nearest float; a whole number is that one and no other, such as the number of an order.
    let whole = text.len() > 15 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+'));
    if whole && exact_float(text).is_none() {
        return Err((
            "a number that a float holds".into(),
            "say that the field is whole: `fields` with COLUMN:integer or COLUMN:unsigned, or COLUMN:string",
        ));
    }
    Ok(v)
}

impl Source for CsvRows<'_> {
    fn next(&mut self) -> Result<Option<Block>> {
        let plan = self.plan;
        let mut block = Block {
            first: self.rows,
            names: plan.names.iter().map(|_| Vec::new()).collect(),
            fields: plan.fields.iter().map(|f| Cells::empty(f.of.unwrap_or(FieldType::String))).collect(),
            ..Block::default()
        };
        let mut bytes = 0;
        while block.times.len() < BLOCK_ROWS && bytes < BLOCK_BYTES {
            let Some((line, record)) = self.records.next()? else { break };
            bytes += record.as_slice().len() + 16 * record.len();
            Self::add(plan, &self.heads, &mut block, line, record)?;
        }
        self.rows += block.times.len() as u64;
        Ok((!block.times.is_empty()).then_some(block))
    }

    fn skip(&mut self, rows: u64) -> Result<u64> {
        for done in 0..rows {
            if self.records.next()?.is_none() {
                return Ok(done);
            }
            self.rows += 1;
        }
        Ok(rows)
    }

    fn total(&self) -> u64 {
        0
    }
}
