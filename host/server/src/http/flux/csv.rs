//! Annotated CSV as InfluxDB writes it: annotations and a head over each run of tables with the same columns, an empty line
//! after it, lines that end with CRLF.

use crate::http::problem::Problem;
use axum::body::Bytes;
use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;
use shiphold_storage::series::flux_query::{Fixed, Head, HeadColumn, Of, Part};
use shiphold_storage::series::{Column, Decimal, FieldType, Frame, Values};
use shiphold_storage::{Error, Result};
use std::io::Write;

/// Bytes that are put together before they are handed on.
const BUFFER_BYTES: usize = 64 << 10;

/// How an answer is written. The prefix of comments and the form of times are those of InfluxDB, whatever is asked for: it
/// does the same.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Dialect {
    header: Option<bool>,
    delimiter: Option<String>,
    annotations: Option<Vec<String>>,
    date_time_format: Option<String>,
}

impl Dialect {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let delimiter = self.delimiter.as_deref().unwrap_or(",");
        if delimiter.chars().count() != 1 || delimiter.contains(['"', '\r', '\n', '\u{fffd}']) {
            return Err(Problem::invalid("invalid dialect delimiter: it is one character, such as `,`"));
        }
        for name in self.annotations.iter().flatten() {
            if !ANNOTATIONS.contains(&name.as_str()) {
                return Err(Problem::invalid(format!(
                    "unknown dialect annotation type: {}",
                    name.escape_debug()
                ))
                .hint("they are datatype, group and default"));
            }
        }
        match self.date_time_format.as_deref() {
            None | Some("" | "RFC3339" | "RFC3339Nano") => Ok(()),
            Some(other) => {
                Err(Problem::invalid(format!("unknown dialect date time format: {}", other.escape_debug())))
            }
        }
    }
}

/// In the order in which they are written.
const ANNOTATIONS: [&str; 3] = ["datatype", "group", "default"];

/// Writes the parts of an answer.
#[derive(Debug)]
pub(super) struct Encoder {
    delimiter: String,
    header: bool,
    /// Of [`ANNOTATIONS`], which are wanted.
    annotations: [bool; 3],
    /// The table that is written.
    head: Option<Head>,
    /// What stands before the first column that a row has of its own, and what stands in place of each fixed one.
    prefix: Vec<u8>,
    fixed: Vec<Option<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(dialect: Dialect) -> Self {
        let wants = |name: &str| dialect.annotations.iter().flatten().any(|a| a == name);
        Self {
            header: dialect.header.unwrap_or(true),
            annotations: ANNOTATIONS.map(wants),
            delimiter: dialect.delimiter.unwrap_or_else(|| ",".into()),
            head: None,
            prefix: Vec::new(),
            fixed: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn part(&mut self, part: &Part<'_>, out: &mut dyn Write) -> Result<()> {
        match part {
            Part::Head(head) => self.head(head),
            Part::Rows(frame) => self.rows(frame, out)?,
            Part::End => {
                self.head = None;
                self.buffer.extend_from_slice(b"\r\n");
            }
        }
        if self.buffer.len() >= BUFFER_BYTES || matches!(part, Part::End) {
            self.flush(out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut dyn Write) -> Result<()> {
        out.write_all(&self.buffer).map_err(|e| Error::io("writing the answer", e))?;
        self.buffer.clear();
        Ok(())
    }

    fn head(&mut self, head: &Head) {
        match &self.head {
            Some(before) if before.is_like(head) => {}
            before => {
                if before.is_some() {
                    self.buffer.extend_from_slice(b"\r\n");
                }
                self.annotate(head);
            }
        }
        let result = if self.has_default() { "" } else { head.result.as_str() };
        let mut prefix = Vec::new();
        self.cells(&mut prefix, ["", result, &head.table.to_string()].into_iter());
        self.prefix = prefix;
        self.fixed = head.columns.iter().map(|c| c.fixed.as_ref().map(|f| self.fixed_cell(f))).collect();
        self.head = Some(head.clone());
    }

    const fn has_default(&self) -> bool {
        self.annotations[2]
    }

    fn fixed_cell(&self, fixed: &Fixed) -> Vec<u8> {
        let mut cell = Vec::new();
        match fixed {
            Fixed::Time(ns) => time(&mut cell, *ns),
            Fixed::Text(value) => text(&mut cell, value, &self.delimiter),
        }
        cell
    }

    fn cells<'a>(&self, to: &mut Vec<u8>, cells: impl Iterator<Item = &'a str>) {
        for (at, cell) in cells.enumerate() {
            if at > 0 {
                to.extend_from_slice(self.delimiter.as_bytes());
            }
            text(to, cell, &self.delimiter);
        }
    }

    fn line<'a>(&mut self, cells: impl Iterator<Item = &'a str>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.cells(&mut buffer, cells);
        buffer.extend_from_slice(b"\r\n");
        self.buffer = buffer;
    }

    fn annotate(&mut self, head: &Head) {
        let columns = || head.columns.iter();
        let [types, groups, defaults] = self.annotations;
        if types {
            self.line(["#datatype", "string", "long"].into_iter().chain(columns().map(datatype)));
        }
        if groups {
            let group = |c: &HeadColumn| if c.fixed.is_some() { "true" } else { "false" };
            self.line(["#group", "false", "false"].into_iter().chain(columns().map(group)));
        }
        if defaults {
            self.line(["#default", &head.result, ""].into_iter().chain(columns().map(|_| "")));
        }
        if self.header {
            self.line(["", "result", "table"].into_iter().chain(columns().map(|c| c.name.as_str())));
        }
    }

    fn rows(&mut self, frame: &Frame, out: &mut dyn Write) -> Result<()> {
        let Some(head) = self.head.take() else { return Ok(()) };
        for (row, ns) in frame.times.iter().enumerate() {
            self.buffer.extend_from_slice(&self.prefix);
            let mut free = frame.columns.iter();
            for (column, fixed) in head.columns.iter().zip(&self.fixed) {
                self.buffer.extend_from_slice(self.delimiter.as_bytes());
                match (fixed, column.of) {
                    (Some(cell), _) => self.buffer.extend_from_slice(cell),
                    (None, Of::Time) => time(&mut self.buffer, *ns),
                    (None, Of::Field(_)) => {
                        if let Some(column) = free.next() {
                            value(&mut self.buffer, column, row, &self.delimiter);
                        }
                    }
                }
            }
            self.buffer.extend_from_slice(b"\r\n");
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush(out)?;
            }
        }
        self.head = Some(head);
        Ok(())
    }
}

const fn datatype(column: &HeadColumn) -> &'static str {
    match column.of {
        Of::Time => "dateTime:RFC3339",
        // Flux knows no decimals.
        Of::Field(FieldType::Float | FieldType::Decimal(_)) => "double",
        Of::Field(FieldType::Integer) => "long",
        Of::Field(FieldType::Unsigned) => "unsignedLong",
        Of::Field(FieldType::Boolean) => "boolean",
        Of::Field(FieldType::String) => "string",
    }
}

/// RFC 3339 with as many digits as are needed, as Go writes it.
fn time(to: &mut Vec<u8>, ns: i64) {
    let at = DateTime::from_timestamp_nanos(ns);
    let text = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    to.extend_from_slice(text.as_bytes());
    to.push(b'Z');
}

fn value(to: &mut Vec<u8>, column: &Column, row: usize, delimiter: &str) {
    if !column.is_valid(row) {
        return;
    }
    // Writing to memory does not fail.
    let _ = match &column.values {
        Values::Float(v) => v.get(row).map(|x| match x {
            x if *x == f64::INFINITY => write!(to, "+Inf"),
            x if *x == f64::NEG_INFINITY => write!(to, "-Inf"),
            x => write!(to, "{x}"),
        }),
        Values::Integer(v) => v.get(row).map(|x| write!(to, "{x}")),
        Values::Decimal(v, scale) => {
            v.get(row).map(|units| write!(to, "{}", Decimal { units: *units, scale: *scale }))
        }
        Values::Unsigned(v) => v.get(row).map(|x| write!(to, "{x}")),
        Values::Boolean(v) => v.get(row).map(|x| write!(to, "{x}")),
        Values::String(v) => v.get(row).map(|x| {
            text(to, x, delimiter);
            Ok(())
        }),
    };
}

/// Quoted where Go quotes it. Ends of lines within it stay as they are: InfluxDB makes CRLF of them, and values would
/// change on their way.
fn text(to: &mut Vec<u8>, cell: &str, delimiter: &str) {
    let quoted = cell == "\\."
        || cell.starts_with(char::is_whitespace)
        || cell.contains(['"', '\r', '\n'])
        || cell.contains(delimiter);
    if !quoted {
        return to.extend_from_slice(cell.as_bytes());
    }
    to.push(b'"');
    to.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
    to.push(b'"');
}

/// The table that stands for the rows that could not be sent, as clients look for it.
pub(super) fn last_words(e: &Error) -> Bytes {
    let mut said =
        b"\r\n#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,".to_vec();
    text(&mut said, &e.to_string(), ",");
    said.extend_from_slice(b",\r\n");
    Bytes::from(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_values_and_texts_as_go_writes_them() {
        let at = |ns| {
            let mut to = Vec::new();
            time(&mut to, ns);
            String::from_utf8(to).unwrap()
        };
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_500_000_000), "1970-01-01T00:00:01.5Z");
        assert_eq!(at(10_000_000_001), "1970-01-01T00:00:10.000000001Z");
        let of = |cell: &str| {
            let mut to = Vec::new();
            text(&mut to, cell, ",");
            String::from_utf8(to).unwrap()
        };
        for (cell, written) in [
            ("", ""),
            ("a b", "a b"),
            (" a", "\" a\""),
            ("a,b", "\"a,b\""),
            ("\"", "\"\"\"\""),
            ("\\.", "\"\\.\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(of(cell), written);
        }
        let floats = Column::float("x", vec![1e300, f64::NAN, -0.0, 0.1]);
        let shown = |row| {
            let mut to = Vec::new();
            value(&mut to, &floats, row, ",");
            String::from_utf8(to).unwrap()
        };
        assert_eq!(
            (shown(0).len(), shown(1), shown(2), shown(3)),
            (301, "NaN".into(), "-0".into(), "0.1".into())
        );
    }

    #[test]
    fn a_dialect_is_checked() {
        let of = |json: &str| serde_json::from_str::<Dialect>(json).unwrap().check().map_err(|p| p.detail);
        assert_eq!(
            of(
                r##"{"header":true,"delimiter":";","annotations":["group"],"commentPrefix":"#","dateTimeFormat":"RFC3339Nano"}"##
            ),
            Ok(())
        );
        for bad in [
            r#"{"delimiter":""}"#,
            r#"{"delimiter":",,"}"#,
            r#"{"delimiter":"\""}"#,
            r#"{"annotations":["x"]}"#,
            r#"{"dateTimeFormat":"x"}"#,
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
