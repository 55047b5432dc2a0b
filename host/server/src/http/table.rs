//! A query's answer as JSON or CSV, written column by column (or row by row) without a copy of the table.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde::ser::{SerializeSeq as _, SerializeStruct as _, Serializer};
use shiphold_storage::series::query::Table;
use shiphold_storage::series::{Column, Value, Values};
use shiphold_storage::{Error, Result};
use std::io::Write;

/// `{"rows","truncated","columns":[{"name","type","values"}]}`, the first column being `time` in nanoseconds.
pub(super) struct Json<'t>(pub &'t Table);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Table", 3)?;
        map.serialize_field("rows", &self.0.rows())?;
        map.serialize_field("truncated", &self.0.truncated)?;
        map.serialize_field("columns", &Columns(self.0))?;
        map.end()
    }
}

struct Columns<'t>(&'t Table);

#[derive(Serialize)]
struct Time<'t> {
    name: &'static str,
    r#type: &'static str,
    values: &'t [i64],
}

#[derive(Serialize)]
struct Named<'t> {
    name: &'t str,
    r#type: String,
    values: Cells<'t>,
}

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let frame = &self.0.frame;
        let mut list = serializer.serialize_seq(Some(frame.columns.len() + 1))?;
        list.serialize_element(&Time { name: "time", r#type: "time", values: &frame.times })?;
        for c in &frame.columns {
            let r#type = c.values.field_type().to_string();
            list.serialize_element(&Named { name: &c.name, r#type, values: Cells(c) })?;
        }
        list.end()
    }
}

/// `null` where a row has no value.
struct Cells<'t>(&'t Column);

impl Serialize for Cells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match &self.0.values {
            Values::Float(v) => cells(self.0, v, serializer),
            Values::Integer(v) => cells(self.0, v, serializer),
            Values::Unsigned(v) => cells(self.0, v, serializer),
            Values::Boolean(v) => cells(self.0, v, serializer),
            Values::String(v) => cells(self.0, v, serializer),
        }
    }
}

fn cells<S: Serializer, T: Serialize>(
    column: &Column,
    values: &[T],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    if column.valid.is_none() {
        return values.serialize(serializer);
    }
    let mut list = serializer.serialize_seq(Some(values.len()))?;
    for (row, value) in values.iter().enumerate() {
        list.serialize_element(&column.is_valid(row).then_some(value))?;
    }
    list.end()
}

/// A head and a line per row; times as RFC 3339, nothing where a row has no value.
pub(super) fn write_csv(out: &mut impl Write, table: &Table) -> Result<()> {
    let wrong = |e: csv::Error| Error::io("writing the answer", e.into());
    let mut csv = csv::Writer::from_writer(out);
    let columns = &table.frame.columns;
    csv.write_record(std::iter::once("time").chain(columns.iter().map(|c| c.name.as_str()))).map_err(wrong)?;
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
    use serde_json::json;
    use shiphold_storage::series::Frame;

    fn table() -> Table {
        let gap = Column { valid: Some(vec![true, false]), ..Column::float("close", vec![189.7, 0.0]) };
        let text = Column::new("note", Values::String(vec!["a,\"b\"".into(), "ü\n".into()]));
        let count = Column::new("n", Values::Unsigned(vec![u64::MAX, 0]));
        let frame = Frame { times: vec![0, 1_500_000_000], columns: vec![gap, text, count] };
        Table { frame, truncated: true }
    }

    #[test]
    fn json_has_typed_columns_with_null_for_a_gap() {
        assert_eq!(
            serde_json::to_value(Json(&table())).unwrap(),
            json!({"rows": 2, "truncated": true, "columns": [
                {"name": "time", "type": "time", "values": [0, 1_500_000_000]},
                {"name": "close", "type": "float", "values": [189.7, null]},
                {"name": "note", "type": "string", "values": ["a,\"b\"", "ü\n"]},
                {"name": "n", "type": "unsigned", "values": [u64::MAX, 0]},
            ]})
        );
        let empty = serde_json::to_value(Json(&Table::default())).unwrap();
        assert_eq!(empty["columns"][0]["values"], json!([]));
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let mut out = Vec::new();
        write_csv(&mut out, &table()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "time,close,note,n\n1970-01-01T00:00:00Z,189.7,\"a,\"\"b\"\"\",18446744073709551615\n\
             1970-01-01T00:00:01.500Z,,\"ü\n\",0\n"
        );
    }
}
