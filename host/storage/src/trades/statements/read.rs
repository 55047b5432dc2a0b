//! A broker's statement in CSV becomes trades, by a mapping that says which column is what.

use crate::error::{Error, Result};
use crate::series::query::parse_time;
use crate::trades::number::Number;
use crate::trades::types::Side;
use crate::units::Span;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Lines of a statement.
pub const LINES_MAX: usize = 100_000;
/// Bytes of a statement.
pub const STATEMENT_BYTES_MAX: usize = 32 << 20;
/// Lines above the one with the names of the columns.
pub const SKIP_LINES_MAX: usize = 100;
/// Words for buying, and for selling, that a mapping may add.
pub const WORDS_MAX: usize = 100;
/// Characters of a cell that are shown where it is wrong.
const SHOWN_MAX: usize = 64;

/// Which column of a statement is what; names as they stand in its first line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// What the broker calls a trade: `broker_id`, or else the client id of a fill.
    pub id: Option<String>,
    pub time: String,
    pub instrument: String,
    /// None: the sign of the quantity says it.
    pub side: Option<String>,
    pub quantity: String,
    pub price: String,
    pub fee: Option<String>,
    /// Words for buying and selling beside `buy b bot bought` and `sell s sld sold`, in any case.
    pub buy: Vec<String>,
    pub sell: Vec<String>,
    /// The statement has fees that were paid below zero.
    pub fees_are_negative: bool,
    /// As `strftime` has it: `%d.%m.%Y %H:%M:%S`; by default what a query takes.
    pub time_format: Option<String>,
    /// IANA zone of times without an offset; UTC by default.
    pub timezone: Option<String>,
    /// How far apart the same trade may be in both; 1 s unless it is given: give a day where times are dates.
    pub tolerance: Option<Span>,
    /// Between columns; a comma by default.
    pub delimiter: Option<char>,
    /// `1.234,5` in place of `1,234.5`.
    pub decimal_comma: bool,
    /// Lines above the names of the columns.
    pub skip_lines: usize,
    /// Names of instruments in the statement, and what they are here.
    pub instruments: std::collections::BTreeMap<String, String>,
}

/// A trade of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Theirs {
    /// In the file, from 1.
    pub line: u64,
    pub id: Option<String>,
    pub time: i64,
    pub instrument: String,
    pub side: Side,
    pub quantity: Number,
    pub price: Number,
    /// `None`: the statement has none.
    pub fee: Option<Number>,
}

/// Where the columns are.
struct Columns {
    id: Option<usize>,
    time: usize,
    instrument: usize,
    side: Option<usize>,
    quantity: usize,
    price: usize,
    fee: Option<usize>,
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect::<String>().escape_debug().to_string()
}

/// Are the digits in groups as people write them, `1,234,567` or `12,34,567`?
fn is_grouped(whole: &str, group: char) -> bool {
    let Some((first, rest)) = whole.trim_start_matches(['-', '+']).split_once(group) else { return true };
    let last = rest.rsplit(group).next().map_or(0, str::len);
    (1..=3).contains(&first.len())
        && last == 3
        && rest.split(group).all(|digits| matches!(digits.len(), 2 | 3))
}

impl Mapping {
    pub(super) fn tolerance_ns(&self) -> i64 {
        self.tolerance.unwrap_or(Span::from_secs(1)).as_nanos_i64()
    }

    fn zone(&self) -> Result<Tz> {
        let name = self.timezone.as_deref().unwrap_or("UTC");
        name.parse().map_err(|_| {
            Error::invalid(format!("`timezone`: `{}` is no zone", name.escape_debug()))
                .hint("write it as in `America/New_York`")
        })
    }

    fn time(&self, text: &str, zone: Tz) -> Result<i64> {
        let Some(format) = &self.time_format else { return parse_time("time", text, zone) };
        // Of a date alone its first moment.
        let local = NaiveDateTime::parse_from_str(text, format)
            .or_else(|_| NaiveDate::parse_from_str(text, format).map(|d| d.and_time(NaiveTime::MIN)));
        let instant = match local {
            Ok(local) => zone.from_local_datetime(&local).earliest().map(|t| t.to_utc()),
            Err(_) => chrono::DateTime::parse_from_str(text, format).ok().map(|t| t.to_utc()),
        };
        instant.and_then(|t| t.timestamp_nanos_opt()).ok_or_else(|| {
            Error::invalid(format!("`{}` is not a time of the form `{}`", shown(text), shown(format)))
                .hint("`time_format` of the mapping is as strftime has it: `%Y-%m-%d %H:%M:%S`")
        })
    }

    fn number(&self, text: &str) -> Result<Number> {
        let (group, point) = if self.decimal_comma { ('.', ',') } else { (',', '.') };
        let bare: String = text.chars().filter(|c| !c.is_whitespace() && *c != '\'').collect();
        // Accountants write what is below zero in brackets.
        let (inner, negative) = match bare.strip_prefix('(').and_then(|b| b.strip_suffix(')')) {
            Some(inner) => (inner, true),
            None => (bare.as_str(), false),
        };
        let (whole, part) = inner.split_once(point).unwrap_or((inner, ""));
        if !is_grouped(whole, group) || part.contains(group) {
            // It would be another number: `1,5` is no 15.
            return Err(Error::invalid(format!(
                "`{}` has a `{group}` where no thousands begin",
                shown(text)
            ))
            .hint("`decimal_comma` of the mapping says which sign is the point"));
        }
        let mut bare = whole.replace(group, "");
        if !part.is_empty() {
            bare.push('.');
            bare.push_str(part);
        }
        let number: Number = bare.parse()?;
        Ok(if negative { -number } else { number })
    }

    fn side(&self, text: &str) -> Result<Side> {
        let word = text.trim().to_lowercase();
        let is = |words: &[&str], more: &[String]| {
            words.contains(&word.as_str()) || more.iter().any(|m| m.to_lowercase() == word)
        };
        match (is(&["buy", "b", "bot", "bought"], &self.buy), is(&["sell", "s", "sld", "sold"], &self.sell)) {
            (true, false) => Ok(Side::Buy),
            (false, true) => Ok(Side::Sell),
            _ => Err(Error::invalid(format!("`{}` is neither buying nor selling", shown(text)))
                .hint("name the word in `buy` or `sell` of the mapping")),
        }
    }

    fn columns(&self, head: &csv::StringRecord) -> Result<Columns> {
        let find = |what: &str, name: &str| {
            head.iter().position(|h| h.trim().trim_start_matches('\u{feff}') == name).ok_or_else(|| {
                let there: Vec<&str> = head.iter().take(40).map(str::trim).collect();
                Error::invalid(format!("the statement has no column `{}` for `{what}`", name.escape_debug()))
                    .hint(format!("it has: {}", there.join(", ")))
            })
        };
        let maybe = |what: &str, name: &Option<String>| name.as_deref().map(|n| find(what, n)).transpose();
        Ok(Columns {
            id: maybe("id", &self.id)?,
            time: find("time", &self.time)?,
            instrument: find("instrument", &self.instrument)?,
            side: maybe("side", &self.side)?,
            quantity: find("quantity", &self.quantity)?,
            price: find("price", &self.price)?,
            fee: maybe("fee", &self.fee)?,
        })
    }

    fn trade(&self, record: &csv::StringRecord, columns: &Columns, zone: Tz, line: u64) -> Result<Theirs> {
        let cell = |at: usize| record.get(at).unwrap_or_default().trim();
        let quantity = self.number(cell(columns.quantity))?;
        let side = match columns.side {
            Some(at) => self.side(cell(at))?,
            None if quantity.is_negative() => Side::Sell,
            None => Side::Buy,
        };
        let fee = match columns.fee.map(cell) {
            None | Some("") => None,
            Some(text) => {
                self.number(text).map(|fee| Some(if self.fees_are_negative { -fee } else { fee }))?
            }
        };
        let name = cell(columns.instrument);
        Ok(Theirs {
            line,
            id: columns.id.map(cell).filter(|id| !id.is_empty()).map(str::to_string),
            time: self.time(cell(columns.time), zone)?,
            instrument: self.instruments.get(name).map_or(name, String::as_str).to_string(),
            side,
            quantity: quantity.abs(),
            price: self.number(cell(columns.price))?,
            fee,
        })
    }
}

/// The trades of a statement; every line must be one.
pub(super) fn read(text: &str, mapping: &Mapping) -> Result<Vec<Theirs>> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(Error::limit(
            "the statement",
            format!("{STATEMENT_BYTES_MAX} bytes"),
            "import it in parts",
        ));
    }
    if mapping.skip_lines > SKIP_LINES_MAX {
        return Err(Error::limit("`skip_lines`", SKIP_LINES_MAX, "take away what is above the table"));
    }
    for words in [&mapping.buy, &mapping.sell] {
        if words.len() > WORDS_MAX {
            return Err(Error::limit(
                "the words for one side",
                WORDS_MAX,
                "name those that the statement has",
            ));
        }
    }
    let zone = mapping.zone()?;
    let delimiter = mapping.delimiter.unwrap_or(',');
    let delimiter = u8::try_from(delimiter).ok().filter(u8::is_ascii).ok_or_else(|| {
        Error::invalid(format!("`{}` cannot stand between columns", delimiter.escape_debug()))
            .hint("use a sign of ASCII")
    })?;
    let mut rest = text;
    for _ in 0..mapping.skip_lines {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(rest.as_bytes());
    let broken =
        |e: csv::Error| Error::invalid(format!("the statement is not CSV: {e}")).hint("export it again");
    let columns = mapping.columns(reader.headers().map_err(broken)?)?;
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, csv::Position::line) + mapping.skip_lines as u64;
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if all.len() == LINES_MAX {
            return Err(Error::limit("the statement", format!("{LINES_MAX} lines"), "import it in parts"));
        }
        all.push(
            mapping.trade(&record, &columns, zone, line).map_err(|e| e.context(format!("line {line}")))?,
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        Mapping {
            id: Some("Exec ID".into()),
            time: "When".into(),
            instrument: "Symbol".into(),
            quantity: "Qty".into(),
            price: "Price".into(),
            fee: Some("Commission".into()),
            fees_are_negative: true,
            ..Mapping::default()
        }
    }

    #[test]
    fn a_statement_of_one_broker_and_of_another() {
        let text = "Statement of June\n\nExec ID,When,Symbol,Qty,Price,Commission\nx1,2026-06-26 13:30:00,AAPL,\"1,000\",189.70,-1.25\n,,,,,\nx2,2026-06-26T13:31:00Z,AAPL,-3,190,\n";
        let all = read(text, &Mapping { skip_lines: 2, ..mapping() }).unwrap();
        assert_eq!((all.len(), all[0].line, all[0].quantity.to_string().as_str()), (2, 4, "1000"));
        assert_eq!((all[0].side, all[0].fee.unwrap().to_string().as_str()), (Side::Buy, "1.25"));
        assert_eq!((all[1].side, all[1].quantity.to_string().as_str(), all[1].fee), (Side::Sell, "3", None));
        let german = "Datum;Titel;Art;Menge;Kurs\n26.06.2026 15:30:00;Apple;Kauf;1.000,5;(189,70)\n";
        let map = Mapping {
            id: None,
            time: "Datum".into(),
            instrument: "Titel".into(),
            side: Some("Art".into()),
            quantity: "Menge".into(),
            price: "Kurs".into(),
            fee: None,
            buy: vec!["kauf".into()],
            time_format: Some("%d.%m.%Y %H:%M:%S".into()),
            timezone: Some("Europe/Berlin".into()),
            delimiter: Some(';'),
            decimal_comma: true,
            instruments: [("Apple".to_string(), "AAPL".to_string())].into(),
            ..Mapping::default()
        };
        let one = read(german, &map).unwrap().remove(0);
        assert_eq!((one.instrument.as_str(), one.time), ("AAPL", all[0].time));
        assert_eq!((one.quantity.to_string(), one.price.to_string()), ("1000.5".into(), "-189.7".into()));
        let dates = Mapping { time_format: Some("%d.%m.%Y".into()), ..map };
        let text = german.replace(" 15:30:00", "");
        assert_eq!(one.time - read(&text, &dates).unwrap()[0].time, 55_800_000_000_000);
    }

    #[test]
    fn a_comma_is_no_point_and_a_point_no_comma() {
        let read = |text: &str, decimal_comma| Mapping { decimal_comma, ..mapping() }.number(text);
        for (text, comma, want) in [
            ("1,234,567.5", false, "1234567.5"),
            ("-12,34,567", false, "-1234567"),
            ("(1,000)", false, "-1000"),
            ("1'234.5", false, "1234.5"),
            ("1 234,5", true, "1234.5"),
            ("1.234.567,25", true, "1234567.25"),
            (".5", false, "0.5"),
            ("7", true, "7"),
        ] {
            assert_eq!(read(text, comma).unwrap().to_string(), want, "{text}");
        }
        for (text, comma) in [
            ("1,5", false),
            ("189,70", false),
            ("1.5", true),
            ("189.7", true),
            ("1,2345", false),
            ("1.5,000", false),
            (",500", false),
            ("1,,000", false),
        ] {
            let e = read(text, comma).unwrap_err();
            assert!(e.hint_text().unwrap().contains("decimal_comma"), "{text}: {e:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let head = "Exec ID,When,Symbol,Qty,Price,Commission\n";
        for (text, map, says) in [
            ("a,b\n1,2\n", mapping(), "no column `Exec ID`"),
            (head, Mapping { timezone: Some("Mars".into()), ..mapping() }, "no zone"),
            (head, Mapping { delimiter: Some('→'), ..mapping() }, "between columns"),
            (&format!("{head}x,yesterday,A,1,1,0\n"), mapping(), "line 2: `time`"),
            (&format!("{head}x,2026-06-26,A,many,1,0\n"), mapping(), "line 2: `many`"),
            (&format!("{head}x,2026-06-26,A\n"), mapping(), "line 2: ``"),
            (head, Mapping { skip_lines: SKIP_LINES_MAX + 1, ..mapping() }, "skip_lines"),
            (head, Mapping { buy: vec!["b".into(); WORDS_MAX + 1], ..mapping() }, "words for one side"),
            (head, Mapping { sell: vec!["s".into(); WORDS_MAX + 1], ..mapping() }, "words for one side"),
            (
                "When,Symbol,Qty,Price,Side\n2026-06-26,A,1,1,short\n",
                Mapping { id: None, fee: None, side: Some("Side".into()), ..mapping() },
                "neither buying nor selling",
            ),
        ] {
            let e = read(text, &map).unwrap_err();
            assert!(e.message().contains(says), "{text}: {e:?}");
        }
        let words = vec!["kauf".into(); WORDS_MAX];
        assert_eq!(read(head, &Mapping { buy: words.clone(), sell: words, ..mapping() }).unwrap(), []);
        let long = format!("When,Symbol,Qty,Price,Side\n2026-06-26,A,1,1,{}\n", "x".repeat(100_000));
        let sided = Mapping { id: None, fee: None, side: Some("Side".into()), ..mapping() };
        assert!(read(&long, &sided).unwrap_err().message().len() < 200, "what is shown of a cell is short");
        let line = "x,2026-06-26,A,1,1,0\n";
        assert_eq!(read(&format!("{head}{}", line.repeat(LINES_MAX)), &mapping()).unwrap().len(), LINES_MAX);
        assert_eq!(
            read(&format!("{head}{}", line.repeat(LINES_MAX + 1)), &mapping()).unwrap_err().kind(),
            crate::Kind::Limit
        );
    }
}
