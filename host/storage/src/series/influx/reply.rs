//! Annotated CSV in: what a server says is checked in every part and never trusted.

use crate::error::{Error, Kind, Result};
use crate::series::{Value, Values};

/// One table of a reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// The name of the `yield` it comes from.
    pub result: String,
    pub measurement: Option<String>,
    pub field: Option<String>,
    /// Sorted by key; a tag without a value is not here.
    pub tags: Vec<(String, String)>,
    /// One per value, or none at all for tables without time.
    pub times: Vec<i64>,
    pub values: Values,
}

/// A reply that is not what InfluxDB sends.
fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Unavailable, format!("InfluxDB's reply cannot be read: {why}"))
        .hint("is `series.influxdb2.url` the address of an InfluxDB 2 server, and not of a proxy?")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Float,
    Integer,
    Unsigned,
    Boolean,
    String,
    Time,
}

impl Type {
    fn read(name: &str) -> Result<Self> {
        Ok(match name {
            "double" => Self::Float,
            "long" => Self::Integer,
            "unsignedLong" => Self::Unsigned,
            "boolean" => Self::Boolean,
            "string" => Self::String,
            "dateTime:RFC3339" | "dateTime:RFC3339Nano" => Self::Time,
            other => return Err(malformed(format!("unknown datatype `{}`", short(other)))),
        })
    }
    fn empty(self) -> Result<Values> {
        Ok(match self {
            Self::Float => Values::Float(Vec::new()),
            Self::Integer => Values::Integer(Vec::new()),
            Self::Unsigned => Values::Unsigned(Vec::new()),
            Self::Boolean => Values::Boolean(Vec::new()),
            Self::String => Values::String(Vec::new()),
            Self::Time => return Err(malformed("the values are times")),
        })
    }
}

/// A text cut for an error message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The annotations and the header over a run of tables.
#[derive(Default)]
struct Block {
    types: Vec<Type>,
    defaults: Vec<String>,
    header: Option<Header>,
}

struct Header {
    names: Vec<String>,
    time: Option<usize>,
    /// Of times alone there is none.
    value: Option<usize>,
    measurement: Option<usize>,
    field: Option<usize>,
    /// Columns that are tags.
    tags: Vec<usize>,
}

/// Column 0 holds annotations, 1 the result's name, 2 the table's number; names count from here.
const FIRST_NAMED: usize = 3;

impl Block {
    /// With `times` a table may be of times alone.
    fn header(&self, row: &csv::StringRecord, times: bool) -> Result<Header> {
        let names: Vec<String> = row.iter().map(str::to_string).collect();
        if names.len() != self.types.len() {
            return Err(malformed("the header and its datatypes differ in length"));
        }
        let at = |name: &str| names.iter().skip(FIRST_NAMED).position(|n| n == name).map(|i| i + FIRST_NAMED);
        let (value, time) = (at("_value"), at("_time"));
        if value.is_none() && !(times && time.is_some()) {
            return Err(malformed("a table has no column `_value`"));
        }
        if time.is_some_and(|t| self.types.get(t) != Some(&Type::Time)) {
            return Err(malformed("`_time` is not a time"));
        }
        let own = ["_value", "_time", "_measurement", "_field", "_start", "_stop"];
        let tags = (FIRST_NAMED..names.len())
            .filter(|i| names.get(*i).is_some_and(|n| !own.contains(&n.as_str())))
            .filter(|i| self.types.get(*i) == Some(&Type::String))
            .collect();
        Ok(Header { time, value, measurement: at("_measurement"), field: at("_field"), tags, names })
    }

    fn cell<'a>(&'a self, row: &'a csv::StringRecord, at: usize) -> &'a str {
        match row.get(at) {
            Some("") | None => self.defaults.get(at).map_or("", String::as_str),
            Some(text) => text,
        }
    }
}

fn time(text: &str) -> Result<i64> {
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .and_then(|t| t.timestamp_nanos_opt())
        .ok_or_else(|| malformed(format!("`{}` is not a time", short(text))))
}

fn push(values: &mut Values, text: &str) -> Result<()> {
    let bad = || malformed(format!("`{}` is not a value of its column", short(text)));
    match values {
        Values::Float(v) => {
            v.push(text.parse().ok().filter(|x: &f64| x.is_finite()).ok_or_else(bad)?);
        }
        Values::Integer(v) | Values::Decimal(v, _) => v.push(text.parse().map_err(|_| bad())?),
        Values::Unsigned(v) => v.push(text.parse().map_err(|_| bad())?),
        Values::Boolean(v) => v.push(text.parse().map_err(|_| bad())?),
        Values::String(v) => v.push(text.to_string()),
    }
    Ok(())
}

/// An error that InfluxDB met after its reply began.
fn late_error(row: &csv::StringRecord) -> Error {
    Error::new(Kind::Unavailable, format!("InfluxDB could not answer: {}", short(row.get(1).unwrap_or(""))))
}

/// Reads a reply whole.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Table>> {
    read(body, false)
}

/// Reads a reply of times without values.
pub(super) fn parse_times(body: &[u8]) -> Result<Vec<Table>> {
    read(body, true)
}

fn read(body: &[u8], times: bool) -> Result<Vec<Table>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    // Marks come in pairs, also those that stand for themselves: without its second one, a text was cut.
    if !memchr::memchr_iter(b'"', body).count().is_multiple_of(2) {
        return Err(malformed("a text breaks off"));
    }
    // Every table ends with an empty line, but for an error that InfluxDB met on the way, which is told first.
    let is_cut = !body.ends_with(b"\r\n\r\n") && !body.ends_with(b"\n\n");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
    let mut row = csv::StringRecord::new();
    let mut tables: Vec<Table> = Vec::new();
    let mut block = Block::default();
    let mut number = String::new();
    while reader.read_record(&mut row).map_err(malformed)? {
        match row.get(0) {
            Some("#datatype") => {
                block = Block::default();
                for (i, cell) in row.iter().enumerate() {
                    block.types.push(if i == 0 { Type::String } else { Type::read(cell)? });
                }
            }
            Some("#group") => {}
            Some("#default") => block.defaults = row.iter().map(str::to_string).collect(),
            Some("") => {
                let Some(header) = &block.header else {
                    if row.get(1) == Some("error") {
                        reader.read_record(&mut row).map_err(malformed)?;
                        return Err(late_error(&row));
                    }
                    block.header = Some(block.header(&row, times)?);
                    number.clear();
                    continue;
                };
                if row.len() != header.names.len() {
                    return Err(malformed(format!(
                        "a row has {} cells under {} names",
                        row.len(),
                        header.names.len()
                    )));
                }
                let cell = |at: usize| block.cell(&row, at);
                if number.is_empty() || number != cell(2) {
                    number = cell(2).to_string();
                    if number.is_empty() {
                        return Err(malformed("a table has no number"));
                    }
                    let mut tags: Vec<(String, String)> = header
                        .tags
                        .iter()
                        .filter_map(|i| Some((header.names.get(*i)?.clone(), cell(*i).to_string())))
                        .filter(|(_, v)| !v.is_empty())
                        .collect();
                    tags.sort();
                    let of = match header.value {
                        Some(at) => block.types.get(at).copied(),
                        None => Some(Type::Integer),
                    };
                    tables.push(Table {
                        result: cell(1).to_string(),
                        measurement: header.measurement.map(|i| cell(i).to_string()),
                        field: header.field.map(|i| cell(i).to_string()),
                        tags,
                        times: Vec::new(),
                        values: of.ok_or_else(|| malformed("no type"))?.empty()?,
                    });
                }
                if let Some(table) = tables.last_mut() {
                    if let Some(at) = header.time {
                        table.times.push(time(cell(at))?);
                    }
                    if let Some(at) = header.value {
                        push(&mut table.values, cell(at))?;
                    }
                }
            }
            _ => {
                return Err(malformed(format!("`{}` is not annotated CSV", short(row.get(0).unwrap_or("")))));
            }
        }
    }
    if is_cut { Err(malformed("it breaks off")) } else { Ok(tables) }
}

impl Table {
    /// The one value of an aggregate.
    pub fn value(&self) -> Result<Value> {
        self.values.get(0).ok_or_else(|| malformed("an aggregate has no value"))
    }
    pub fn time(&self) -> Result<i64> {
        self.times.first().copied().ok_or_else(|| malformed("a value has no time"))
    }
    /// A whole number of an aggregate.
    pub fn count(&self) -> Result<u64> {
        match self.value()? {
            Value::Integer(n) => u64::try_from(n).map_err(|_| malformed("a count is negative")),
            _ => Err(malformed("a count is not a whole number")),
        }
    }
    pub fn measurement(&self) -> Result<&str> {
        self.measurement.as_deref().ok_or_else(|| malformed("a table names no measurement"))
    }
    pub fn field(&self) -> Result<&str> {
        self.field.as_deref().ok_or_else(|| malformed("a table names no field"))
    }
}

impl Table {
    /// Puts line breaks back that [`super::flux::GUARD_TEXT`] kept.
    pub fn unguard(&mut self) {
        if let Values::String(texts) = &mut self.values {
            for text in texts.iter_mut().filter(|t| t.contains('\\')) {
                *text = super::flux::unguard(text);
            }
        }
    }
    pub fn is_text(&self) -> bool {
        matches!(self.values, Values::String(_))
    }
}

/// A row that was not asked for.
pub(super) fn out_of_range() -> Error {
    unasked("a time")
}

/// Not even the line that stands for no rows.
pub(super) fn empty() -> Error {
    malformed("it is empty")
}

/// Something that was not asked for.
pub(super) fn unasked(what: &str) -> Error {
    malformed(format!("it holds {what} that was not asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "#datatype,string,long,dateTime:RFC3339,double,string,string,string\r\n\
        #group,false,false,false,false,true,true,true\r\n\
        #default,_result,,,,,,\r\n\
        ,result,table,_time,_value,_field,_measurement,sym\r\n";

    fn said(rows: &str) -> Result<Vec<Table>> {
        parse(format!("{HEAD}{rows}\r\n\r\n").as_bytes())
    }

    #[test]
    fn tables_are_told_apart_by_their_number() {
        let tables = said(
            ",,0,1970-01-01T00:00:00.000000001Z,-0,f,m,A\r\n,,0,1970-01-01T00:00:00.000000002Z,5e-324,f,m,A\r\n\
             ,,1,1677-09-21T00:12:43.145224194Z,2,g,\"m,\"\"x\",",
        )
        .unwrap();
        assert_eq!(tables.len(), 2);
        assert_eq!(tables[0].times, [1, 2]);
        let Values::Float(v) = &tables[0].values else { panic!("{tables:?}") };
        assert!(v[0] == 0.0 && v[0].is_sign_negative() && v[1] == 5e-324);
        assert_eq!(tables[0].tags, [("sym".to_string(), "A".to_string())]);
        assert_eq!(tables[0].result, "_result");
        assert_eq!(tables[1].measurement.as_deref(), Some("m,\"x"));
        assert_eq!((tables[1].times[0], tables[1].tags.len()), (i64::MIN + 2, 0));
    }

    #[test]
    fn no_rows_is_no_table() {
        assert_eq!(parse(b"\r\n").unwrap(), []);
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[test]
    fn every_fault_is_an_error() {
        for rows in [
            ",,0,1970-01-01T00:00:00Z,1,f,m",
            ",,0,1970-01-01T00:00:00Z,1,f,m,A,B",
            ",,0,yesterday,1,f,m,A",
            ",,0,9999-01-01T00:00:00Z,1,f,m,A",
            ",,0,1970-01-01T00:00:00Z,one,f,m,A",
            ",,0,1970-01-01T00:00:00Z,,f,m,A",
            ",,0,1970-01-01T00:00:00Z,NaN,f,m,A",
            ",,,1970-01-01T00:00:00Z,1,f,m,A",
            "x,,0,1970-01-01T00:00:00Z,1,f,m,A",
        ] {
            let error = said(rows).unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{rows}: {error}");
        }
        for body in [
            "<html>Bad gateway</html>\r\n\r\n",
            ",result,table,_value\r\n,,0,1\r\n\r\n",
            "#datatype,string,long,decimal\r\n,result,table,_value\r\n,,0,1\r\n\r\n",
            "#datatype,string,long,double\r\n,result,table,_other\r\n,,0,1\r\n\r\n",
            "#datatype,string,long\r\n,result,table,_value\r\n,,0,1\r\n\r\n",
            "#datatype,string,long,dateTime:RFC3339\r\n,result,table,_value\r\n,,0,1970-01-01T00:00:00Z\r\n\r\n",
        ] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse(b"\xff\xfe\r\n\r\n").is_err());
        let cut = format!("{HEAD},,0,1970-01-01T00:00:00Z,1,f,m,AAP");
        assert!(parse(cut.as_bytes()).unwrap_err().to_string().contains("breaks off"));
        // Within a text that has an empty line.
        let cut = format!("{HEAD},,0,1970-01-01T00:00:00Z,1,f,m,\"A\r\n\r\n");
        assert!(parse(cut.as_bytes()).unwrap_err().to_string().contains("breaks off"));
    }

    #[test]
    fn an_error_after_the_head_is_told() {
        let body = "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,out of memory,897\r\n\r\n";
        assert!(parse(body.as_bytes()).unwrap_err().to_string().contains("out of memory"));
        // As the server writes it after a table: without an empty line at its end.
        let error =
            "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,boom,\r\n";
        let body = format!("{HEAD},,0,1970-01-01T00:00:00Z,1,f,m,A\r\n\r\n{error}");
        assert!(parse(body.as_bytes()).unwrap_err().to_string().contains("boom"));
        let body = "#datatype,string,string\r\n,error,reference\r\n\r\n";
        assert!(parse(body.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_reply_makes_it_panic(
            body in prop::collection::vec(prop_oneof![
                Just(b'\n'), Just(b'\r'), Just(b','), Just(b'"'), Just(b'#'), any::<u8>()
            ], 0..200),
            cut in 0usize..400,
        ) {
            let _ = parse(&body);
            let mut mixed = format!("{HEAD},,0,1970-01-01T00:00:00Z,1,f,m,A\r\n\r\n").into_bytes();
            mixed.truncate(cut);
            mixed.extend_from_slice(&body);
            let _ = parse(&mixed);
            mixed.extend_from_slice(b"\r\n\r\n");
            let _ = parse(&mixed);
        }
    }
}
