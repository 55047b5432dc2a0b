//! Line protocol out: which names InfluxDB can hold, how they are escaped, requests of bounded size.

use crate::error::{Error, Result};
use crate::series::{Frame, SeriesKey, Values};
use std::fmt::Write as _;

/// Lines of one request.
pub(super) const REQUEST_LINES_MAX: u64 = 10_000;
/// Bytes after which a request is sent; one line more may follow.
pub(super) const REQUEST_BYTES_MAX: usize = 4 << 20;
/// InfluxDB's own bound on measurement, tags and field name together, in bytes.
const KEY_BYTES_MAX: usize = 65_535;

/// Lines of one bucket that are sent together.
#[derive(Debug)]
pub(super) struct Request {
    pub body: String,
    pub rows: u64,
}

fn refuse(what: &str, name: &str, why: &str) -> Error {
    Error::invalid(format!("InfluxDB cannot hold the {what} `{}`: {why}", name.escape_debug()))
        .hint("choose another name, or the embedded engine")
}

/// What line protocol has no way to say, or what Flux could not read back.
fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(refuse(what, name, "it is empty"));
    }
    if name.chars().any(char::is_control) {
        return Err(refuse(what, name, "it has a control character"));
    }
    let bytes = name.as_bytes();
    let unsayable = bytes.iter().enumerate().any(|(i, b)| {
        *b == b'\\' && bytes.get(i + 1).is_none_or(|next| matches!(next, b',' | b' ' | b'=' | b'"' | b'\\'))
    });
    if unsayable {
        return Err(refuse(
            what,
            name,
            "a backslash stands at its end or before a comma, space, `=`, `\"` or `\\`",
        ));
    }
    Ok(())
}

/// Tag and field names that InfluxDB or Flux uses itself.
fn check_reserved(what: &str, name: &str) -> Result<()> {
    if name == "time" || (what == "tag" && name.starts_with('_')) {
        return Err(refuse(what, name, "InfluxDB uses the name itself"));
    }
    Ok(())
}

/// Refuses what InfluxDB would refuse, lose or be unable to give back.
pub(super) fn check_names(key: &SeriesKey, frame: &Frame) -> Result<()> {
    check_bucket(&key.bucket)?;
    check_name("measurement", &key.measurement)?;
    if key.measurement.starts_with('#') {
        return Err(refuse("measurement", &key.measurement, "a line that starts with `#` is a comment"));
    }
    let mut bytes = key.measurement.len();
    for (tag, value) in &key.tags {
        check_name("tag", tag)?;
        check_reserved("tag", tag)?;
        if tag.contains('@') {
            return Err(refuse("tag", tag, "InfluxDB 2.7 finds no series by a tag whose key has an `@`"));
        }
        if key.measurement.strip_prefix(tag.as_str()).is_some_and(|rest| rest.starts_with('=')) {
            let why = "InfluxDB 2.7 deletes nothing from a measurement that begins with a tag's key and `=`";
            return Err(refuse("measurement", &key.measurement, why));
        }
        // Its storage takes this very name for the value of the point.
        if tag == "$" {
            return Err(refuse("tag", tag, "InfluxDB 2.7 finds no series by a tag whose key is `$`"));
        }
        check_name("tag value", value)?;
        bytes += tag.len() + value.len() + 2;
    }
    for column in &frame.columns {
        check_name("field", &column.name)?;
        check_reserved("field", &column.name)?;
        // Escapes may double a name, and InfluxDB adds a few bytes of its own.
        if (bytes + column.name.len()) * 2 + 8 > KEY_BYTES_MAX {
            return Err(Error::limit(
                format!("the names of `{}`", key.measurement.chars().take(40).collect::<String>()),
                format!("{KEY_BYTES_MAX} bytes of a key in InfluxDB"),
                "use shorter tags",
            ));
        }
    }
    Ok(())
}

/// InfluxDB keeps names with a leading underscore for itself and takes no quotes.
fn check_bucket(name: &str) -> Result<()> {
    check_name("bucket", name)?;
    if name.starts_with('_') {
        return Err(refuse("bucket", name, "a leading `_` marks InfluxDB's own buckets"));
    }
    if name.contains('"') {
        return Err(refuse("bucket", name, "it has a quotation mark"));
    }
    Ok(())
}

fn escape(out: &mut String, name: &str, special: &[char]) {
    for c in name.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

fn value(out: &mut String, values: &Values, row: usize) {
    // Writing to a string cannot fail.
    let _ = match values {
        // The shortest form that reads back as the same bits, `-0.0` included.
        Values::Float(v) => v.get(row).map(|x| write!(out, "{x:?}")),
        Values::Integer(v) | Values::Decimal(v, _) => v.get(row).map(|x| write!(out, "{x}i")),
        Values::Unsigned(v) => v.get(row).map(|x| write!(out, "{x}u")),
        Values::Boolean(v) => v.get(row).map(|x| write!(out, "{x}")),
        Values::String(v) => v.get(row).map(|x| {
            out.push('"');
            escape(out, x, &['"', '\\']);
            out.push('"');
            Ok(())
        }),
    };
}

/// Collects lines of one bucket and hands them on in requests of bounded size.
#[derive(Debug, Default)]
pub(super) struct Lines {
    body: String,
    rows: u64,
}

impl Lines {
    /// Adds the rows of a series, but for those that are refused and those without any value.
    pub fn add<E>(
        &mut self,
        key: &SeriesKey,
        frame: &Frame,
        refused: Option<&[bool]>,
        send: &mut dyn FnMut(Request) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut head = String::new();
        escape(&mut head, &key.measurement, &[',', ' ']);
        for (tag, v) in &key.tags {
            head.push(',');
            escape(&mut head, tag, &[',', ' ', '=']);
            head.push('=');
            escape(&mut head, v, &[',', ' ', '=']);
        }
        let names: Vec<String> = frame
            .columns
            .iter()
            .map(|c| {
                let mut name = String::new();
                escape(&mut name, &c.name, &[',', ' ', '=', '"']);
                name
            })
            .collect();
        for (row, time) in frame.times.iter().enumerate() {
            if refused.is_some_and(|r| r.get(row) == Some(&true)) {
                continue;
            }
            let begin = self.body.len();
            self.body.push_str(&head);
            let mut separator = ' ';
            for (name, column) in names.iter().zip(&frame.columns).filter(|(_, c)| c.is_valid(row)) {
                self.body.push(separator);
                separator = ',';
                self.body.push_str(name);
                self.body.push('=');
                value(&mut self.body, &column.values, row);
            }
            if separator == ' ' {
                self.body.truncate(begin);
                continue;
            }
            let _ = writeln!(self.body, " {time}");
            self.rows += 1;
            if self.rows >= REQUEST_LINES_MAX || self.body.len() >= REQUEST_BYTES_MAX {
                self.flush(send)?;
            }
        }
        Ok(())
    }

    /// Sends what is left.
    pub fn finish<E>(mut self, send: &mut dyn FnMut(Request) -> Result<(), E>) -> Result<(), E> {
        self.flush(send)
    }

    fn flush<E>(&mut self, send: &mut dyn FnMut(Request) -> Result<(), E>) -> Result<(), E> {
        if self.rows == 0 {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        send(Request { body: std::mem::take(&mut self.body), rows })
    }
}
