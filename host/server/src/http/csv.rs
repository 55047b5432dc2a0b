//! A query's answer as CSV, written row by row.

use chrono::{DateTime, SecondsFormat};
use shiphold_storage::series::Value;
use shiphold_storage::series::query::Table;
use shiphold_storage::{Error, Result};
use std::io::Write;

/// Asked for by spreadsheets and pandas.
pub(super) const MEDIA_TYPE: &str = "text/csv";
/// Given to them.
pub(super) const MEDIA_TYPE_UTF8: &str = "text/csv; charset=utf-8";

/// A head and a line per row; times as RFC 3339, nothing where a row has no value.
pub(super) fn write(out: &mut impl Write, table: &Table) -> Result<()> {
    let wrong = |e: csv::Error| Error::io("writing the answer", e.into());
    let mut csv = csv::Writer::from_writer(out);
    let columns = &table.frame.columns;
    csv.write_record(std::iter::once("time").chain(columns.iter().map(|c| c.name.as_str())))
        .map_err(wrong)?;
    for (row, time) in table.frame.times.iter().enumerate() {
        csv.write_field(DateTime::from_timestamp_nanos(*time).to_rfc3339_opts(SecondsFormat::AutoSi, true))
            .map_err(wrong)?;
        for c in columns {
            match c.get(row) {
                None => csv.write_field(""),
                Some(Value::String(s)) => csv.write_field(s),
                Some(Value::Float(v)) => csv.write_field(v.to_string()),
                Some(Value::Integer(v)) => csv.write_field(v.to_string()),
                Some(Value::Unsigned(v)) => csv.write_field(v.to_string()),
                Some(Value::Boolean(v)) => csv.write_field(v.to_string()),
            }
            .map_err(wrong)?;
        }
        csv.write_record(None::<&[u8]>).map_err(wrong)?;
    }
    csv.flush().map_err(|e| Error::io("writing the answer", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::series::{Column, Frame, Values};

    fn table() -> Table {
        let gap = Column { valid: Some(vec![true, false]), ..Column::float("close", vec![189.7, 0.0]) };
        let text = Column::new("note", Values::String(vec!["a,\"b\"".into(), "ü\n".into()]));
        let count = Column::new("n", Values::Unsigned(vec![u64::MAX, 0]));
        let frame = Frame { times: vec![0, 1_500_000_000], columns: vec![gap, text, count] };
        Table { frame, truncated: true }
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let mut out = Vec::new();
        write(&mut out, &table()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "time,close,note,n\n1970-01-01T00:00:00Z,189.7,\"a,\"\"b\"\"\",18446744073709551615\n\
             1970-01-01T00:00:01.500Z,,\"ü\n\",0\n"
        );
    }
}
