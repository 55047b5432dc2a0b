//! CSV with a head that says the type of each field (`close:float`), so that it is read back as it was.

use super::columns::{Columns, MEASUREMENT, TIME, field_column, tag_column};
use super::export::Sink;
use crate::error::{Error, Result};
use crate::series::{Frame, SeriesKey, Value};
use chrono::{DateTime, SecondsFormat};
use std::io::Write;

pub(super) struct CsvFile<'a> {
    columns: Columns,
    csv: csv::Writer<&'a mut (dyn Write + Send)>,
}

fn wrong(e: csv::Error) -> Error {
    Error::io("writing the export", e.into())
}

/// A cell without a value is empty: a text that is empty, or that begins with a backslash, has one more in front.
pub(super) fn escaped(text: String) -> String {
    if text.is_empty() || text.starts_with('\\') { format!("\\{text}") } else { text }
}

impl<'a> CsvFile<'a> {
    pub(super) fn new(columns: Columns, out: &'a mut (dyn Write + Send)) -> Result<Self> {
        let mut csv = csv::Writer::from_writer(out);
        let mut head = vec![TIME.to_string(), MEASUREMENT.to_string()];
        head.extend(columns.tags.iter().map(|key| tag_column(key)));
        head.extend(columns.fields.iter().map(|(name, of)| format!("{}:{of}", field_column(name))));
        csv.write_record(&head).map_err(wrong)?;
        Ok(Self { columns, csv })
    }
}

impl Sink for CsvFile<'_> {
    fn rows(&mut self, key: &SeriesKey, frame: &Frame) -> Result<()> {
        let cells: Vec<_> = self.columns.fields.iter().map(|(name, _)| frame.column(name)).collect();
        for (row, time) in frame.times.iter().enumerate() {
            let csv = &mut self.csv;
            let time = DateTime::from_timestamp_nanos(*time).to_rfc3339_opts(SecondsFormat::AutoSi, true);
            csv.write_field(time).map_err(wrong)?;
            csv.write_field(&key.measurement).map_err(wrong)?;
            for tag in &self.columns.tags {
                csv.write_field(key.tag(tag).unwrap_or_default()).map_err(wrong)?;
            }
            for cell in &cells {
                let text = match cell.and_then(|c| c.get(row)) {
                    None => String::new(),
                    Some(Value::String(s)) => escaped(s),
                    // The shortest text that gives the same float again.
                    Some(Value::Float(v)) => v.to_string(),
                    Some(Value::Integer(v)) => v.to_string(),
                    Some(Value::Decimal(v)) => v.to_string(),
                    Some(Value::Unsigned(v)) => v.to_string(),
                    Some(Value::Boolean(v)) => v.to_string(),
                };
                csv.write_field(text).map_err(wrong)?;
            }
            csv.write_record(None::<&[u8]>).map_err(wrong)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.csv.flush().map_err(|e| Error::io("writing the export", e))
    }
}
