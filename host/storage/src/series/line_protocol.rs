//! InfluxDB line protocol: one pass over the bytes, rows straight into columns.
//!
//! Grammar, limits and the sentences of errors follow the parser of InfluxDB 2.7 (`models/points.go`): one line that
//! cannot be parsed refuses the whole body and every such line is named.

mod number;
#[cfg(test)]
mod tests;

use super::kinds::{Kind, typed};
use super::model::{Column, FieldType, Frame, SeriesKey, TIME_MAX_NS, TIME_MIN_NS, Values, WriteBatch};
use crate::error::{Error, Result};
use memchr::{memchr, memchr2};
use std::borrow::Cow;
use std::collections::HashMap;

/// Bytes of measurement and tags of one line, as written (InfluxDB's own bound).
pub const KEY_BYTES_MAX: usize = 65_535;
/// Bytes of one string value (InfluxDB's own bound).
pub const STRING_BYTES_MAX: usize = 65_535;
/// Lines that an error names; the rest is counted.
const FAULTS_NAMED_MAX: usize = 10;
/// Bytes of a line that an error shows.
const FAULT_BYTES_MAX: usize = 512;

/// The unit of a line's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    Ns,
    Us,
    Ms,
    S,
}

impl Precision {
    const fn ns(self) -> i64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
            Self::S => 1_000_000_000,
        }
    }
}

/// Parses a body; a line without a timestamp gets `now_ns`. An unparsable line refuses the whole body and is named.
/// Lines of known kinds become typed series (docs/line-protocol.md).
pub fn parse(bucket: &str, body: &[u8], precision: Precision, now_ns: i64) -> Result<WriteBatch> {
    let mut rows = Rows { bucket, groups: Vec::new(), by_key: HashMap::new(), last: None };
    let mut faults = Faults::default();
    let mut scratch = Vec::with_capacity(16);
    let mut rest = body;
    let mut number = 0_usize;
    while !rest.is_empty() {
        let end = line_end(rest);
        let (raw, next) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = next.get(1..).unwrap_or(&[]);
        number += 1;
        let line = trim(raw);
        if line.is_empty() || line.first() == Some(&b'#') {
            continue;
        }
        scratch.clear();
        if let Err(why) = parse_line(line, precision, now_ns, &mut scratch).and_then(|head| rows.add(head, &scratch)) {
            faults.add(number, line, &why);
        }
    }
    faults.into_result()?;
    Ok(rows.finish())
}

/// Why a line cannot be parsed, in InfluxDB's words.
type Why = Cow<'static, str>;

#[derive(Default)]
struct Faults {
    named: Vec<String>,
    first_line: usize,
    more: usize,
}

impl Faults {
    fn add(&mut self, number: usize, line: &[u8], why: &str) {
        if self.named.is_empty() {
            self.first_line = number;
        }
        if self.named.len() == FAULTS_NAMED_MAX {
            self.more += 1;
            return;
        }
        let shown = String::from_utf8_lossy(line.get(..FAULT_BYTES_MAX).unwrap_or(line)).into_owned();
        self.named.push(format!("unable to parse '{shown}': {why}"));
    }

    fn into_result(self) -> Result<()> {
        if self.named.is_empty() {
            return Ok(());
        }
        let mut message = self.named.join("\n");
        if self.more > 0 {
            message.push_str(&format!("\nand {} more lines", self.more));
        }
        Err(Error::invalid(message).hint(format!("the first of them is line {}; nothing of this body was stored", self.first_line)))
    }
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let begin = line.iter().position(|b| !matches!(b, b' ' | b'\t' | 0)).unwrap_or(line.len());
    line.get(begin..).unwrap_or(&[])
}

/// The end of the first line: a newline that stands in no quoted string.
fn line_end(buf: &[u8]) -> usize {
    let plain = memchr(b'\n', buf).unwrap_or(buf.len());
    let Some(line) = buf.get(..plain) else { return plain };
    // Comments may hold anything; most lines hold no string.
    if memchr(b'"', line).is_none() || trim(line).first() == Some(&b'#') {
        return plain;
    }
    let (mut i, mut quoted, mut fields, mut equals, mut commas) = (0, false, false, 0_u32, 0_u32);
    while let Some(b) = buf.get(i) {
        match b {
            b'\\' if i + 2 < buf.len() => i += 1,
            b' ' => fields = true,
            b'=' if fields && !quoted => equals += 1,
            b',' if fields && !quoted => commas += 1,
            b'"' if fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return i,
            _ => {}
        }
        i += 1;
    }
    buf.len()
}

/// A parsed value that borrows from the body.
#[derive(Debug, Clone, PartialEq)]
enum Parsed<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(Cow<'a, str>),
}

/// Measurement and tags as written, and the time.
struct Head<'a> {
    key: &'a [u8],
    time: i64,
}

fn parse_line<'a>(line: &'a [u8], precision: Precision, now_ns: i64, fields: &mut Vec<(&'a [u8], Parsed<'a>)>) -> Result<Head<'a>, Why> {
    let key_end = until_space(line);
    let key = line.get(..key_end).unwrap_or(line);
    if key.is_empty() || key.first() == Some(&b',') {
        return Err("missing measurement".into());
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(format!("max key length exceeded: {} > {KEY_BYTES_MAX}", key.len()).into());
    }
    let rest = skip_spaces(line.get(key_end..).unwrap_or(&[]));
    if rest.is_empty() {
        return Err("missing fields".into());
    }
    let rest = skip_spaces(parse_fields(rest, fields)?);
    let stamp_end = memchr(b' ', rest).unwrap_or(rest.len());
    let stamp = rest.get(..stamp_end).unwrap_or(rest);
    if rest.get(stamp_end..).is_some_and(|after| after.iter().any(|b| *b != b' ')) {
        return Err("point is invalid".into());
    }
    let time = if stamp.is_empty() { now_ns } else { number::timestamp(stamp, precision.ns())? };
    if !(TIME_MIN_NS..=TIME_MAX_NS).contains(&time) {
        return Err(format!("time outside range {TIME_MIN_NS} - {TIME_MAX_NS}").into());
    }
    Ok(Head { key, time })
}

fn skip_spaces(bytes: &[u8]) -> &[u8] {
    let begin = bytes.iter().position(|b| *b != b' ').unwrap_or(bytes.len());
    bytes.get(begin..).unwrap_or(&[])
}

/// The first space that no backslash stands before.
fn until_space(line: &[u8]) -> usize {
    let mut from = 0;
    while let Some(found) = line.get(from..).and_then(|rest| memchr2(b' ', b'\\', rest)) {
        let at = from + found;
        if line.get(at) == Some(&b' ') {
            return at;
        }
        // A backslash keeps what follows it.
        from = at + 2;
    }
    line.len()
}

/// `key=value,key=value`; gives what follows them.
fn parse_fields<'a>(mut rest: &'a [u8], out: &mut Vec<(&'a [u8], Parsed<'a>)>) -> Result<&'a [u8], Why> {
    loop {
        let eq = field_key_end(rest)?;
        let key = rest.get(..eq).unwrap_or(&[]);
        let value = rest.get(eq + 1..).unwrap_or(&[]);
        let (parsed, used) = parse_value(value)?;
        // In one line the last of two equal names wins, as it does in InfluxDB.
        match out.iter_mut().find(|(k, _)| *k == key) {
            Some(slot) => slot.1 = parsed,
            None => out.push((key, parsed)),
        }
        let after = value.get(used..).unwrap_or(&[]);
        match after.first() {
            Some(b',') => rest = after.get(1..).unwrap_or(&[]),
            None | Some(b' ') => return Ok(after),
            Some(_) => return Err("invalid field format".into()),
        }
    }
}

/// Where the `=` of a field is.
fn field_key_end(rest: &[u8]) -> Result<usize, Why> {
    let mut i = 0;
    loop {
        match rest.get(i) {
            Some(b'=') if i == 0 => return Err("missing field key".into()),
            Some(b'=') => return Ok(i),
            Some(b'\\') => i += 2,
            None | Some(b' ' | b',') => return Err("invalid field format".into()),
            Some(_) => i += 1,
        }
    }
}

/// A value and the bytes that it took.
fn parse_value(bytes: &[u8]) -> Result<(Parsed<'_>, usize), Why> {
    match bytes.first() {
        None | Some(b',' | b' ') => Err("missing field value".into()),
        Some(b'"') => parse_string(bytes),
        Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'N' | b'n') => {
            let end = memchr2(b',', b' ', bytes).unwrap_or(bytes.len());
            let text = bytes.get(..end).unwrap_or(bytes);
            number::parse(text).map(|n| (n, end))
        }
        Some(_) => {
            let end = memchr2(b',', b' ', bytes).unwrap_or(bytes.len());
            match bytes.get(..end) {
                Some(b"t" | b"T" | b"true" | b"True" | b"TRUE") => Ok((Parsed::Boolean(true), end)),
                Some(b"f" | b"F" | b"false" | b"False" | b"FALSE") => Ok((Parsed::Boolean(false), end)),
                _ => Err("invalid boolean".into()),
            }
        }
    }
}

fn parse_string(bytes: &[u8]) -> Result<(Parsed<'_>, usize), Why> {
    let mut i = 1;
    let mut escaped = false;
    let end = loop {
        match bytes.get(i..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            None => return Err("unbalanced quotes".into()),
            Some(found) => {
                i += found;
                if bytes.get(i) == Some(&b'"') {
                    break i;
                }
                escaped = true;
                i += 2;
            }
        }
    };
    let raw = bytes.get(1..end).unwrap_or(&[]);
    let text = std::str::from_utf8(raw).map_err(|_| Why::from("invalid UTF-8"))?;
    let text = if escaped { Cow::Owned(unescape(text, &['"', '\\'])) } else { Cow::Borrowed(text) };
    if text.len() > STRING_BYTES_MAX {
        return Err(format!("string of {} bytes exceeds {STRING_BYTES_MAX}", text.len()).into());
    }
    Ok((Parsed::String(text), end + 1))
}

/// Takes the backslash away before one of `of`; before anything else it is a backslash.
fn unescape(text: &str, of: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\' {
            if let Some(next) = chars.next_if(|n| of.contains(n)) {
                out.push(next);
                continue;
            }
        }
        out.push(c);
    }
    out
}

/// Rows of one series with one type per field.
struct Group {
    key: SeriesKey,
    kind: Kind,
    times: Vec<i64>,
    columns: Vec<Building>,
    /// A group of the same series whose fields have other types: the engine decides which are refused.
    other: Option<usize>,
}

struct Building {
    raw: Vec<u8>,
    name: String,
    values: Values,
    /// `None` while every row has a value.
    valid: Option<Vec<bool>>,
}

struct Rows<'a> {
    bucket: &'a str,
    groups: Vec<Group>,
    /// By measurement and tags as written: the same series written in another order is another entry, and merges later.
    by_key: HashMap<&'a [u8], usize>,
    last: Option<(&'a [u8], usize)>,
}

impl<'a> Rows<'a> {
    fn add(&mut self, head: Head<'a>, fields: &[(&[u8], Parsed<'a>)]) -> Result<(), Why> {
        let mut at = match self.last {
            Some((key, at)) if key == head.key => at,
            _ => match self.by_key.get(head.key) {
                Some(at) => *at,
                None => {
                    let key = typed(parse_key(self.bucket, head.key)?);
                    let at = self.push(key);
                    self.by_key.insert(head.key, at);
                    at
                }
            },
        };
        self.last = Some((head.key, at));
        loop {
            let Some(group) = self.groups.get_mut(at) else { return Err("invalid field format".into()) };
            if group.append(head.time, fields)? {
                return Ok(());
            }
            at = match group.other {
                Some(other) => other,
                None => {
                    let key = group.key.clone();
                    let new = self.push(key);
                    if let Some(group) = self.groups.get_mut(at) {
                        group.other = Some(new);
                    }
                    new
                }
            };
        }
    }

    fn push(&mut self, key: SeriesKey) -> usize {
        let kind = Kind::of(&key.measurement);
        self.groups.push(Group { key, kind, times: Vec::new(), columns: Vec::new(), other: None });
        self.groups.len() - 1
    }

    fn finish(self) -> WriteBatch {
        let series = self
            .groups
            .into_iter()
            .map(|g| {
                let columns = g.columns.into_iter().map(|c| Column { name: c.name, values: c.values, valid: c.valid }).collect();
                (g.key, Frame { times: g.times, columns })
            })
            .collect();
        WriteBatch { series }
    }
}

impl Group {
    /// Adds a row; `false` if a field has another type here (then nothing was added).
    fn append(&mut self, time: i64, fields: &[(&[u8], Parsed<'_>)]) -> Result<bool, Why> {
        let rows = self.times.len();
        let mut filled = 0;
        // Most rows have the fields of the row before, in its order: then nothing is looked up.
        for (i, (raw, value)) in fields.iter().enumerate() {
            let at = match self.columns.get(i) {
                Some(c) if c.raw == *raw => Some(i),
                _ => self.columns.iter().position(|c| c.raw == *raw),
            };
            let at = match at {
                Some(at) => at,
                None => {
                    let name = field_name(raw)?;
                    // The same name may be written with and without needless backslashes.
                    match self.columns.iter().position(|c| c.name == name) {
                        Some(at) => at,
                        None => {
                            let of = if self.kind.is_float_field(&name) { number_type(value) } else { type_of(value) };
                            self.columns.push(Building::new(raw.to_vec(), name, of, rows));
                            self.columns.len() - 1
                        }
                    }
                }
            };
            let Some(column) = self.columns.get_mut(at) else { continue };
            if column.values.len() > rows {
                column.pop();
                filled -= 1;
            }
            if !column.push(value, self.kind)? {
                // The row is taken out again: it is another group's.
                for c in &mut self.columns {
                    while c.values.len() > rows {
                        c.pop();
                    }
                }
                return Ok(false);
            }
            filled += 1;
        }
        self.times.push(time);
        if filled != self.columns.len() {
            for c in &mut self.columns {
                if c.values.len() == rows {
                    c.push_gap(rows);
                }
            }
        }
        Ok(true)
    }
}

fn type_of(value: &Parsed<'_>) -> FieldType {
    match value {
        Parsed::Float(_) => FieldType::Float,
        Parsed::Integer(_) => FieldType::Integer,
        Parsed::Unsigned(_) => FieldType::Unsigned,
        Parsed::Boolean(_) => FieldType::Boolean,
        Parsed::String(_) => FieldType::String,
    }
}

/// The type in a field that is a float whatever the literal.
fn number_type(value: &Parsed<'_>) -> FieldType {
    match value {
        Parsed::Integer(_) | Parsed::Unsigned(_) => FieldType::Float,
        other => type_of(other),
    }
}

impl Building {
    fn new(raw: Vec<u8>, name: String, of: FieldType, rows: usize) -> Self {
        let mut new = Self { raw, name, values: Values::empty(of), valid: None };
        if rows > 0 {
            new.valid = Some(Vec::with_capacity(rows + 1));
            for row in 0..rows {
                new.push_gap(row);
            }
        }
        new
    }

    fn push(&mut self, value: &Parsed<'_>, kind: Kind) -> Result<bool, Why> {
        match (&mut self.values, value) {
            (Values::Float(v), Parsed::Float(x)) => v.push(*x),
            (Values::Integer(v), Parsed::Integer(x)) => v.push(*x),
            (Values::Unsigned(v), Parsed::Unsigned(x)) => v.push(*x),
            (Values::Boolean(v), Parsed::Boolean(x)) => v.push(*x),
            (Values::String(v), Parsed::String(x)) => v.push(x.clone().into_owned()),
            (Values::Float(v), Parsed::Integer(_) | Parsed::Unsigned(_)) if kind.is_float_field(&self.name) => v.push(exact(value)?),
            _ => return Ok(false),
        }
        if let Some(valid) = &mut self.valid {
            valid.push(true);
        }
        Ok(true)
    }

    fn push_gap(&mut self, rows: usize) {
        match &mut self.values {
            Values::Float(v) => v.push(0.0),
            Values::Integer(v) => v.push(0),
            Values::Unsigned(v) => v.push(0),
            Values::Boolean(v) => v.push(false),
            Values::String(v) => v.push(String::new()),
        }
        self.valid.get_or_insert_with(|| vec![true; rows]).push(false);
    }

    fn pop(&mut self) {
        match &mut self.values {
            Values::Float(v) => drop(v.pop()),
            Values::Integer(v) => drop(v.pop()),
            Values::Unsigned(v) => drop(v.pop()),
            Values::Boolean(v) => drop(v.pop()),
            Values::String(v) => drop(v.pop()),
        }
        if let Some(valid) = &mut self.valid {
            valid.pop();
        }
    }
}

/// Integers above this have no exact float.
const EXACT_MAX: u64 = 1 << 53;

fn exact(value: &Parsed<'_>) -> Result<f64, Why> {
    let (float, size) = match value {
        Parsed::Integer(x) => (*x as f64, x.unsigned_abs()),
        Parsed::Unsigned(x) => (*x as f64, *x),
        _ => return Err("invalid number".into()),
    };
    if size > EXACT_MAX { Err(format!("integer {size} has no exact float, and this field is a float").into()) } else { Ok(float) }
}

fn field_name(raw: &[u8]) -> Result<String, Why> {
    let text = std::str::from_utf8(raw).map_err(|_| Why::from("invalid UTF-8"))?;
    Ok(if text.contains('\\') { unescape(text, &[',', '=', ' ']) } else { text.to_string() })
}

/// `measurement,key=value,…`, once per distinct text.
fn parse_key(bucket: &str, raw: &[u8]) -> Result<SeriesKey, Why> {
    let text = std::str::from_utf8(raw).map_err(|_| Why::from("invalid UTF-8"))?;
    let mut parts = split_plain(text, ',').into_iter();
    let measurement = unescape(parts.next().unwrap_or_default(), &[',', ' ']);
    let mut tags: Vec<(String, String)> = Vec::new();
    for part in parts {
        let sides = split_plain(part, '=');
        let (key, value) = match sides.as_slice() {
            [] | [""] => return Err("missing tag key".into()),
            [_] => return Err("missing tag value".into()),
            ["", _] => return Err("missing tag key".into()),
            [_, ""] => return Err("missing tag value".into()),
            [k, v] => (*k, *v),
            _ => return Err("invalid tag format".into()),
        };
        let name = |t: &str| unescape(t, &[',', '=', ' ']);
        tags.push((name(key), name(value)));
    }
    tags.sort();
    if tags.windows(2).any(|w| matches!(w, [a, b] if a.0 == b.0)) {
        return Err("duplicate tags".into());
    }
    SeriesKey::new(bucket, measurement, tags).map_err(|e| Why::from(e.message().to_string()))
}

/// Splits at a character that no backslash stands before.
fn split_plain(text: &str, at: char) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut begin, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == at {
            out.push(text.get(begin..i).unwrap_or_default());
            begin = i + c.len_utf8();
        }
    }
    out.push(text.get(begin..).unwrap_or_default());
    out
}

/// One row as a line, with every name escaped; the inverse of [`parse`] for a row that has a value.
pub fn format_row(out: &mut String, key: &SeriesKey, frame: &Frame, row: usize) {
    use std::fmt::Write as _;
    escape_into(out, &key.measurement, &[',', ' ']);
    for (k, v) in &key.tags {
        out.push(',');
        escape_into(out, k, &[',', '=', ' ']);
        out.push('=');
        escape_into(out, v, &[',', '=', ' ']);
    }
    let mut separator = ' ';
    for column in &frame.columns {
        let Some(value) = column.get(row) else { continue };
        out.push(separator);
        separator = ',';
        escape_into(out, &column.name, &[',', '=', ' ']);
        // Writing to a String cannot fail; `{:?}` of a float is the shortest text that reads back bit for bit.
        let _ = match value {
            super::model::Value::Float(v) => write!(out, "={v:?}"),
            super::model::Value::Integer(v) => write!(out, "={v}i"),
            super::model::Value::Unsigned(v) => write!(out, "={v}u"),
            super::model::Value::Boolean(v) => write!(out, "={v}"),
            super::model::Value::String(v) => {
                out.push_str("=\"");
                escape_into(out, &v, &['"', '\\']);
                write!(out, "\"")
            }
        };
    }
    let _ = writeln!(out, " {}", frame.times.get(row).copied().unwrap_or_default());
}

fn escape_into(out: &mut String, text: &str, of: &[char]) {
    for c in text.chars() {
        if of.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}
