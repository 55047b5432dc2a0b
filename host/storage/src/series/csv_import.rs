//! Bars from CSV files with a header: the names of columns in any case and order, times with or without an offset.

use super::query::parse_time;
use super::{Column, Frame};
use crate::error::{Error, Kind, Result};
use chrono_tz::Tz;
use std::io::Read;

/// Rows of one frame that is given on.
pub const IMPORT_ROWS: usize = 10_000;
/// Rows of a file: all of them are in memory (some 56 bytes each) before the first is stored.
pub const FILE_ROWS_MAX: u64 = 5_000_000;
/// Columns of a file.
pub const COLUMNS_MAX: usize = 256;

/// Names that the field knows for each column.
const TIME_NAMES: [&str; 5] = ["date", "time", "datetime", "timestamp", "open time"];
const NEEDED: [&str; 4] = ["open", "high", "low", "close"];
const FIELDS: [(&str, &[&str]); 7] = [
    ("open", &["open", "o"]),
    ("high", &["high", "h"]),
    ("low", &["low", "l"]),
    ("close", &["close", "c", "last"]),
    ("volume", &["volume", "vol", "v"]),
    ("adj_close", &["adj close", "adj_close", "adjusted close", "adjclose"]),
    ("vwap", &["vwap"]),
];

/// Reads a whole file of bars into frames of [`IMPORT_ROWS`]. An error names the line (the header is line 1), the column
/// and the text.
pub fn read_bars(input: &mut dyn Read, zone: Tz) -> Result<Vec<Frame>> {
    read_bounded(input, zone, FILE_ROWS_MAX)
}

fn read_bounded(input: &mut dyn Read, zone: Tz, rows_max: u64) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(false).from_reader(input);
    let header = reader.headers().map_err(|e| unreadable(&e))?.clone();
    let columns = Columns::find(&header)?;
    let mut rows = 0_u64;
    let mut pending = Pending::new(&columns);
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| unreadable(&e))? {
        let line = record.position().map_or(rows + 2, csv::Position::line);
        pending.push(&columns, &header, &record, line, zone)?;
        rows += 1;
        if rows > rows_max {
            return Err(Error::limit(
                "the number of rows of the file",
                rows_max,
                "split the file and import its parts",
            ));
        }
        if pending.times.len() == IMPORT_ROWS {
            frames.push(pending.take(&columns));
        }
    }
    if !pending.times.is_empty() {
        frames.push(pending.take(&columns));
    }
    if rows == 0 {
        return Err(Error::invalid("the file has no rows below its header")
            .hint("the first line names the columns: date,open,high,low,close,volume"));
    }
    Ok(frames)
}

fn unreadable(e: &csv::Error) -> Error {
    let place = e.position().map_or_else(String::new, |p| format!("line {}: ", p.line()));
    match e.kind() {
        csv::ErrorKind::Io(io) => Error::new(Kind::Io, format!("{place}the file cannot be read: {io}")),
        _ => Error::invalid(format!("{place}{e}"))
            .hint("every line has as many columns as the header; text with commas stands in quotes"),
    }
}

struct Columns {
    time: usize,
    /// Position and field name.
    fields: Vec<(usize, &'static str)>,
}

impl Columns {
    fn find(header: &csv::StringRecord) -> Result<Self> {
        let found =
            || header.iter().map(|h| format!("`{}`", h.escape_debug())).collect::<Vec<_>>().join(", ");
        if header.len() > COLUMNS_MAX {
            return Err(Error::limit("the number of columns", COLUMNS_MAX, "import a file of bars"));
        }
        // A byte order mark is no part of a name.
        let names: Vec<String> =
            header.iter().map(|h| h.trim_start_matches('\u{feff}').to_lowercase()).collect();
        let position = |known: &[&str]| names.iter().position(|n| known.contains(&n.as_str()));
        let Some(time) = position(&TIME_NAMES) else {
            return Err(Error::invalid(format!("no column with the time; the file has {}", found()))
                .hint(format!("name it one of: {}", TIME_NAMES.join(", "))));
        };
        let fields: Vec<(usize, &'static str)> =
            FIELDS.iter().filter_map(|(field, known)| Some((position(known)?, *field))).collect();
        let missing: Vec<&str> = NEEDED.into_iter().filter(|n| !fields.iter().any(|(_, f)| f == n)).collect();
        if !missing.is_empty() {
            return Err(Error::invalid(format!(
                "no column {}; the file has {}",
                missing.join(", "),
                found()
            ))
            .hint("a bar needs the columns open, high, low and close"));
        }
        Ok(Self { time, fields })
    }
}

struct Pending {
    times: Vec<i64>,
    values: Vec<Vec<f64>>,
    valid: Vec<Vec<bool>>,
}

impl Pending {
    fn new(columns: &Columns) -> Self {
        let empty = || columns.fields.iter().map(|_| Vec::new());
        Self {
            times: Vec::new(),
            values: empty().collect(),
            valid: columns.fields.iter().map(|_| Vec::new()).collect(),
        }
    }

    fn push(
        &mut self,
        columns: &Columns,
        header: &csv::StringRecord,
        record: &csv::StringRecord,
        line: u64,
        zone: Tz,
    ) -> Result<()> {
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let wrong = |at: usize, what: &str, hint: &str| {
            let name = header.get(at).unwrap_or_default();
            Error::invalid(format!(
                "line {line}, column `{name}`: `{}` is not {what}",
                cell(at).escape_debug()
            ))
            .hint(hint.to_string())
        };
        let time = parse_cell_time(cell(columns.time), zone)
            .ok_or_else(|| wrong(columns.time, "a time", "write a date (2026-06-26, or 6/26/2026 with the month first), RFC 3339, or seconds since the epoch"))?;
        let mut bar = [None::<f64>; 4];
        for (slot, (at, field)) in columns.fields.iter().enumerate() {
            let text = cell(*at);
            let needed = NEEDED.iter().position(|n| n == field);
            let value = match text {
                "" if needed.is_none() => None,
                text => Some(text.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| {
                    wrong(*at, "a number", "write numbers with a point and without separators: 1234.56")
                })?),
            };
            if let (Some(v), Some(place)) = (value, needed.and_then(|n| bar.get_mut(n))) {
                *place = Some(v);
            }
            if let (Some(values), Some(valid)) = (self.values.get_mut(slot), self.valid.get_mut(slot)) {
                values.push(value.unwrap_or(0.0));
                valid.push(value.is_some());
            }
        }
        if let [Some(open), Some(high), Some(low), Some(close)] = bar {
            if high < low || high < open.max(close) || low > open.min(close) {
                return Err(Error::invalid(format!("line {line}: the bar's high {high} and low {low} do not enclose its open {open} and close {close}"))
                    .hint("are the columns named in the right order?"));
            }
        }
        self.times.push(time);
        Ok(())
    }

    fn take(&mut self, columns: &Columns) -> Frame {
        let taken = columns
            .fields
            .iter()
            .zip(self.values.iter_mut().zip(&mut self.valid))
            .map(|((_, field), (values, valid))| {
                let valid = std::mem::take(valid);
                let mut column = Column::float(*field, std::mem::take(values));
                column.valid = valid.contains(&false).then_some(valid);
                column
            })
            .collect();
        Frame { times: std::mem::take(&mut self.times), columns: taken }
    }
}

/// A time, or an epoch in seconds, milliseconds, microseconds or nanoseconds, told apart by their size: any day after
/// 1973 has 12 or more digits in milliseconds.
fn parse_cell_time(text: &str, zone: Tz) -> Option<i64> {
    if let Ok(n) = text.parse::<i64>() {
        let unit = match n.unsigned_abs() {
            0..=99_999_999_999 => 1_000_000_000,
            100_000_000_000..=99_999_999_999_999 => 1_000_000,
            100_000_000_000_000..=99_999_999_999_999_999 => 1_000,
            _ => 1,
        };
        return n.checked_mul(unit);
    }
    parse_time("time", text, zone).ok().or_else(|| parse_time("time", &american(text)?, zone).ok())
}

/// `1/31/1999`, as spreadsheets and American exchanges write it, month first.
fn american(text: &str) -> Option<String> {
    let mut parts = text.splitn(3, '/');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |t: &str, most: u32| t.parse::<u32>().ok().filter(|n| (1..=most).contains(n));
    let (month, day) = (number(month, 12)?, number(day, 31)?);
    (year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()))
        .then(|| format!("{year}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Frame>> {
        read_bars(&mut text.as_bytes(), Tz::UTC)
    }

    #[test]
    fn a_file_has_a_bound() {
        let text = "time,open,high,low,close\n1,1,1,1,1\n2,1,1,1,1\n3,1,1,1,1\n";
        assert!(read_bounded(&mut text.as_bytes(), Tz::UTC, 3).is_ok());
        let e = read_bounded(&mut text.as_bytes(), Tz::UTC, 2).unwrap_err();
        assert!(e.kind() == Kind::Limit && e.hint_text().unwrap().contains("split"), "{e}");
    }

    #[test]
    fn columns_in_any_order_and_case() {
        let frames = read("\u{feff}Volume,CLOSE,Adj Close,low,High,Open,Date\n100,1.5,,0.5,2,1,2024-01-02\n200,2.5,2.4,1.5,3,2,2024-01-03\n").unwrap();
        let f = &frames[0];
        assert_eq!(f.times, [1_704_153_600_000_000_000, 1_704_240_000_000_000_000]);
        assert_eq!(f.column("open").unwrap().floats().unwrap(), [1.0, 2.0]);
        assert_eq!(f.column("volume").unwrap().floats().unwrap(), [100.0, 200.0]);
        assert_eq!(f.column("adj_close").unwrap().get(0), None);
        f.validate().unwrap();
    }

    #[test]
    fn frames_are_bounded() {
        let mut text = String::from("time,open,high,low,close\n");
        for i in 0..=IMPORT_ROWS {
            text.push_str(&format!("{i},1,1,1,1\n"));
        }
        assert_eq!(read(&text).unwrap().iter().map(Frame::len).collect::<Vec<_>>(), [IMPORT_ROWS, 1]);
    }

    #[test]
    fn errors_name_the_place() {
        for (text, words) in [
            (
                "Date,Open,High,Low,Close\n2024-01-02,1,2,0.5,1.5\n2024-01-03,1,two,0.5,1.5\n",
                &["line 3", "High", "two"][..],
            ),
            ("Date,Open,High,Low,Shut\n2024-01-02,1,2,0.5,1.5\n", &["close", "`Shut`"]),
            ("Open,High,Low,Close\n1,1,1,1\n", &["time", "`Open`"]),
            ("Date,Open,High,Low,Close\nsoon,1,2,0.5,1.5\n", &["line 2", "Date", "soon"]),
            ("Date,Open,High,Low,Close\n2024-01-02,1,2,0.5\n", &["line"]),
            ("Date,Open,High,Low,Close\n2024-01-02,1,0.4,0.5,1.5\n", &["line 2", "0.4"]),
            ("Date,Open,High,Low,Close\n2024-01-02,NaN,2,0.5,1.5\n", &["line 2", "Open"]),
            ("Date,Open,High,Low,Close\n", &["no rows"]),
            ("", &["time"]),
        ] {
            let e = read(text).unwrap_err();
            assert!(words.iter().all(|w| e.message().contains(w)), "{text:?}: {e}");
            assert!(e.hint_text().is_some(), "{e}");
        }
    }

    #[test]
    fn epochs_by_their_size() {
        for (text, want) in [
            ("0", 0),
            ("1719408600", 1_719_408_600_000_000_000),
            ("1719408600000", 1_719_408_600_000_000_000),
            ("1719408600000000", 1_719_408_600_000_000_000),
            ("1719408600000000000", 1_719_408_600_000_000_000),
            ("1/4/1999", 915_408_000_000_000_000),
            ("12/31/2018", 1_546_214_400_000_000_000),
        ] {
            assert_eq!(parse_cell_time(text, Tz::UTC), Some(want), "{text}");
        }
        for bad in ["31/1/1999", "1/32/1999", "2/30/1999", "1/1/99", "1/1/1999/1", "//", "0/1/1999"] {
            assert_eq!(parse_cell_time(bad, Tz::UTC), None, "{bad}");
        }
    }
}
